//! What somebody meant who misspelt a name.

/// How alike two names must be: what clap takes for its own suggestions.
const ALIKE: f64 = 0.7;

/// The name that is most like `word`, if one is like it.
#[must_use]
pub fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let alike = names
        .into_iter()
        .map(|name| (strsim::jaro(&word, &name.to_lowercase()), name))
        .filter(|(alike, _)| *alike > ALIKE);
    alike.max_by(|(one, _), (other, _)| one.total_cmp(other)).map(|(_, name)| name)
}

/// The question that goes behind a complaint about `word`: `; did you mean ...?`. Empty where no name is like it.
#[must_use]
pub fn did_you_mean<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, names).map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_alike_is_suggested_and_nothing_else() {
        let names = ["process", "profile", "runq", "write", "writev", "tcpconnect"];
        assert_eq!(nearest("proces", names), Some("process"));
        assert_eq!(nearest("wriet", names), Some("write"));
        assert_eq!(nearest("RUNQ", names), Some("runq"));
        assert_eq!(nearest("tcp_connect", names), Some("tcpconnect"));
        assert_eq!(nearest("zzz", names), None);
        assert_eq!(nearest("", names), None);
        assert_eq!(did_you_mean("profil", names), "; did you mean `profile`?");
        assert_eq!(did_you_mean("kmem", names), "");
    }
}
