//! Conditions that users write, such as `runq.wait > 50ms`: what all kinds of them share.

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Operator {
    /// Each as it is written.
    pub const ALL: [(&'static str, Operator); 6] = [
        ("==", Operator::Equal),
        ("!=", Operator::NotEqual),
        ("<=", Operator::LessOrEqual),
        (">=", Operator::GreaterOrEqual),
        ("<", Operator::Less),
        (">", Operator::Greater),
    ];
}

/// What is left of the first operator, that operator, and what is right of it, without blanks around them. `None`
/// where there is no operator. What stands in quotes or brackets is none.
#[must_use]
pub fn split(text: &str) -> Option<(&str, Operator, &str)> {
    let (mut quoted, mut depth) = (false, 0_usize);
    for (at, letter) in text.char_indices() {
        match letter {
            '"' => quoted = !quoted,
            '[' if !quoted => depth += 1,
            ']' if !quoted => depth = depth.saturating_sub(1),
            _ if quoted || depth > 0 => {}
            _ => {
                // Two signs before one: `<=` begins with `<`.
                let here = Operator::ALL.iter().find(|(sign, _)| text[at..].starts_with(sign));
                if let Some((sign, operator)) = here {
                    return Some((text[..at].trim(), *operator, text[at + sign.len()..].trim()));
                }
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_operator_divides() {
        assert_eq!(split("runq.wait > 50ms"), Some(("runq.wait", Operator::Greater, "50ms")));
        assert_eq!(split("a<=b"), Some(("a", Operator::LessOrEqual, "b")));
        assert_eq!(split("a == \"x > y\""), Some(("a", Operator::Equal, "\"x > y\"")));
        assert_eq!(
            split("r[comm=\"a]>b\"].c < -3%"),
            Some(("r[comm=\"a]>b\"].c", Operator::Less, "-3%"))
        );
        assert_eq!(split("a[b==c]"), None);
        assert_eq!(split(""), None);
    }
}
