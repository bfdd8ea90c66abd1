//! Redaction: what tells of people is replaced by tokens, before it is written or later.
//!
//! A token is a keyed hash (BLAKE3) of what it stands for, so equal values have equal tokens, in all columns,
//! and whoever groups, counts or joins gets the same answers. Without the key nobody can find out by trying
//! what a token stands for. As a rule the key is random and never written; with one of the user's, several
//! recordings join.
//!
//! What is replaced by which choice ([`What`]), each column's definition says ([`Content`]):
//!
//! - of a **path** each component by itself, so that directories still group. Names of the file system's
//!   usual layout (`usr`, `lib`, `home`, …) stay;
//! - each **argument** and each **line** as a whole; empty ones stay empty;
//! - an **IP address** as a whole, marked `ip4` or `ip6`. Loopback and unspecified addresses stay: they tell
//!   of nobody;
//! - in names of **functions** what looks like an absolute path, to the end of the name.
//!
//! A token says how often, when and beside what its value occurred, and not how long it was. Who knows one of
//! the values from elsewhere may recognize it by that.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, DictionaryArray, ListArray, StringArray, new_null_array,
};
use arrow::datatypes::{DataType, Int32Type};
use arrow::record_batch::RecordBatch;

use crate::manifest::{Filters, Hook, Manifest, Probe, Redacted, Snapshot, Tracer, Unwinding};
use crate::{Content, Error, Kind, TableId, What, cell};

/// What tokens begin with.
pub const MARK: char = '~';
/// A key of the user's has so many bytes at least: fewer can be found by trying.
const KEY_BYTES: usize = 32;

/// Names that are the same on every machine, as components of paths.
const USUAL: [&str; 41] = [
    "bin",
    "boot",
    "cache",
    "dev",
    "etc",
    "home",
    "include",
    "init.scope",
    "lib",
    "lib32",
    "lib64",
    "libexec",
    "libx32",
    "local",
    "log",
    "media",
    "mnt",
    "null",
    "opt",
    "proc",
    "pts",
    "root",
    "run",
    "sbin",
    "self",
    "share",
    "shm",
    "spool",
    "srv",
    "sys",
    "system.slice",
    "tmp",
    "tty",
    "user.slice",
    "usr",
    "var",
    "zero",
    "[vdso]",
    "[vsyscall]",
    "[heap]",
    "[stack]",
];
/// What the kernel puts behind the path of a file that is gone.
const DELETED: &str = " (deleted)";

/// Replaces what tells of people.
#[derive(Clone)]
pub struct Redaction {
    what: BTreeSet<What>,
    key: [u8; blake3::KEY_LEN],
    /// Whether others have the key.
    shared: bool,
}

impl std::fmt::Debug for Redaction {
    /// Without the key.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Redaction").field("what", &self.what).finish_non_exhaustive()
    }
}

impl Redaction {
    /// Replaces this, with a random key that is gone when this is.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub fn with_random_key(what: &[What]) -> io::Result<Redaction> {
        let mut key = [0; blake3::KEY_LEN];
        getrandom::fill(&mut key).map_err(io::Error::other)?;
        Ok(Redaction { what: what.iter().copied().collect(), key, shared: false })
    }

    /// Replaces this, with the key in a file: any bytes, 32 at least.
    ///
    /// # Errors
    /// If the file cannot be read, or is shorter.
    pub fn with_key_in(what: &[What], path: &Path) -> Result<Redaction, Error> {
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        if bytes.len() < KEY_BYTES {
            let short = format!("a key has {KEY_BYTES} bytes at least: head -c 32 /dev/urandom");
            return Err(Error::io(path)(io::Error::new(io::ErrorKind::InvalidData, short)));
        }
        let key = blake3::derive_key("lookback 2026 redaction of recordings", &bytes);
        Ok(Redaction { what: what.iter().copied().collect(), key, shared: true })
    }

    /// The same without what earlier passes have replaced; `None` if nothing is left.
    #[must_use]
    pub fn beyond(mut self, earlier: &[Redacted]) -> Option<Redaction> {
        let done: Vec<&String> = earlier.iter().flat_map(|pass| &pass.what).collect();
        self.what.retain(|what| !done.iter().any(|name| *name == what.name()));
        // What can be anything, any earlier pass has replaced: a token of a token joins with nothing, but
        // tells nothing either.
        (!self.what.is_empty()).then_some(self)
    }

    /// What the manifest says about this.
    #[must_use]
    pub fn note(&self) -> Redacted {
        Redacted {
            what: self.what.iter().map(|what| what.name().to_owned()).collect(),
            key: self.shared.then(|| self.token("").trim_start_matches(MARK).to_owned()),
        }
    }

    /// Rows of a table, without what tells of people. Columns that a recording of an older version does not
    /// have are null; those that this version does not know are left out.
    ///
    /// # Errors
    /// Says which column is missing, or is of another type.
    pub fn rows(&self, table: TableId, rows: &RecordBatch) -> Result<RecordBatch, String> {
        let mut fields = Vec::new();
        let mut arrays = Vec::new();
        let schema = rows.schema();
        for column in table.columns() {
            let (array, field) = match schema.column_with_name(column.name) {
                Some((index, field)) => (Arc::clone(rows.column(index)), field.clone()),
                None if column.nullable => {
                    let field = cell::schema_of(std::slice::from_ref(column)).field(0).clone();
                    (new_null_array(field.data_type(), rows.num_rows()), field)
                }
                None => return Err(format!("column `{}` is missing", column.name)),
            };
            let array = match column.kind {
                Kind::Text(content) if self.replaces(content) => self
                    .texts(&array, content)
                    .map_err(|ty| format!("column `{}` is {ty}, which is no text", column.name))?,
                Kind::Text(_)
                | Kind::Time
                | Kind::Duration
                | Kind::Bytes
                | Kind::Count
                | Kind::Id
                | Kind::Code
                | Kind::Address
                | Kind::Flag => array,
            };
            fields.push(field);
            arrays.push(array);
        }
        let schema = Arc::new(arrow::datatypes::Schema::new(fields));
        RecordBatch::try_new(schema, arrays).map_err(|error| error.to_string())
    }

    fn replaces(&self, content: Content) -> bool {
        content.redacted_by().iter().any(|what| self.what.contains(what))
    }

    /// The array with its texts replaced; fails with the type of one that has none.
    fn texts(&self, array: &ArrayRef, content: Content) -> Result<ArrayRef, DataType> {
        if let Some(texts) = array.as_string_opt::<i32>() {
            let replaced = texts.iter().map(|text| text.map(|text| self.text(content, text)));
            return Ok(Arc::new(replaced.collect::<StringArray>()));
        }
        if let Some(list) = array.as_list_opt::<i32>() {
            let values = self.texts(list.values(), content)?;
            let DataType::List(item) = list.data_type() else {
                return Err(list.data_type().clone());
            };
            let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
            return Ok(Arc::new(ListArray::new(Arc::clone(item), offsets, values, nulls)));
        }
        if let Some(coded) = array.as_dictionary_opt::<Int32Type>() {
            let values = self.texts(coded.values(), content)?;
            return Ok(Arc::new(DictionaryArray::new(coded.keys().clone(), values)));
        }
        Err(array.data_type().clone())
    }

    /// What stands in the place of a text of this kind.
    fn text(&self, content: Content, text: &str) -> String {
        match content {
            Content::Name => text.to_owned(),
            Content::Argv | Content::Line | Content::Anything => self.whole(text),
            Content::Path => self.path(text),
            Content::Function => self.function(text),
            Content::Ip => self.address(text),
        }
    }

    /// The token of a value: 64 bits of its hash, in hex.
    fn token(&self, value: &str) -> String {
        let hash = blake3::keyed_hash(&self.key, value.as_bytes());
        format!("{MARK}{}", &hash.to_hex()[..16])
    }

    fn whole(&self, text: &str) -> String {
        if text.is_empty() { String::new() } else { self.token(text) }
    }

    fn path(&self, path: &str) -> String {
        let (path, deleted) = match path.strip_suffix(DELETED) {
            Some(path) => (path, DELETED),
            None => (path, ""),
        };
        let component = |name: &str| match name {
            "" | "." | ".." => name.to_owned(),
            name if USUAL.contains(&name) => name.to_owned(),
            name => self.token(name),
        };
        let components: Vec<String> = path.split('/').map(component).collect();
        components.join("/") + deleted
    }

    fn address(&self, text: &str) -> String {
        let Ok(address) = text.parse::<IpAddr>() else { return self.whole(text) };
        let address = address.to_canonical();
        if address.is_loopback() || address.is_unspecified() {
            return text.to_owned();
        }
        let family = if address.is_ipv4() { "ip4" } else { "ip6" };
        format!("{family}{}", self.token(&address.to_string()))
    }

    /// A text with an absolute path at its end, such as what compilers at run time call functions:
    /// `py::main:/home/me/x.py`, `~ask /srv/app.js:12:3`.
    fn function(&self, name: &str) -> String {
        let begins = |at: usize| match name[..at].chars().next_back() {
            None => true,
            Some(before) => before.is_whitespace() || "([{<:,;=@'\"`~*".contains(before),
        };
        let Some((at, _)) = name.match_indices('/').find(|(at, _)| begins(*at)) else {
            return name.to_owned();
        };
        let (head, path) = name.split_at(at);
        // The line and the column.
        let end = path.trim_end_matches(|c: char| c.is_ascii_digit() || ":)".contains(c)).len();
        let end = path[end..].find([':', ')']).map_or(path.len(), |colon| end + colon);
        format!("{head}{}{}", self.path(&path[..end]), &path[end..])
    }

    /// A message: in each of its parts between colons, a path from the word that has a slash to the end.
    fn message(&self, text: &str) -> String {
        let part = |part: &str| {
            let Some(slash) = part.find('/') else { return part.to_owned() };
            let word = part[..slash].rfind([' ', '`', '(', '"']).map_or(0, |before| before + 1);
            format!("{}{}", &part[..word], self.path(&part[word..]))
        };
        text.split(": ").map(part).collect::<Vec<_>>().join(": ")
    }

    /// The manifest, without what tells of people, and with a note about that. Command lines can hold
    /// anything, so each choice replaces all of their words.
    #[must_use]
    pub fn manifest(&self, manifest: Manifest) -> Manifest {
        // Without `..`, so that a new field is thought about.
        let Manifest {
            format,
            recorder,
            host,
            command_line,
            started,
            epoch,
            ended,
            tracers,
            filters,
            totals,
            unwinding,
            symbols,
            kept,
            recorder_pid,
            snapshots,
            stopped,
            snapshot_of,
            mut redacted,
        } = manifest;
        redacted.push(self.note());
        Manifest {
            format,
            recorder,
            host,
            command_line: self.words(command_line),
            started,
            epoch,
            ended: ended.map(|mut end| {
                end.error = end.error.map(|error| self.said(error));
                end
            }),
            tracers: tracers.into_iter().map(|tracer| self.tracer(tracer)).collect(),
            filters: self.filters(filters),
            totals,
            unwinding: unwinding.map(|unwinding| Unwinding {
                without: self.all_said(unwinding.without),
                ..unwinding
            }),
            symbols,
            kept,
            recorder_pid,
            snapshots: snapshots.into_iter().map(|made| self.snapshot(made)).collect(),
            stopped,
            snapshot_of: snapshot_of.map(|of| self.snapshot(of)),
            redacted,
        }
    }

    /// A trigger can name anything; the folder is named after the host.
    fn snapshot(&self, snapshot: Snapshot) -> Snapshot {
        Snapshot { why: self.named(Content::Anything, snapshot.why), ..snapshot }
    }

    fn words(&self, words: Vec<String>) -> Vec<String> {
        words.iter().map(|word| self.whole(word)).collect()
    }

    fn said(&self, message: String) -> String {
        if self.what.contains(&What::Paths) { self.message(&message) } else { message }
    }

    fn all_said(&self, messages: BTreeMap<String, String>) -> BTreeMap<String, String> {
        messages.into_iter().map(|(about, why)| (self.said(about), self.said(why))).collect()
    }

    fn named(&self, content: Content, text: String) -> String {
        if self.replaces(content) { self.text(content, &text) } else { text }
    }

    fn tracer(&self, tracer: Tracer) -> Tracer {
        let Tracer { name, tables, hooks, failed, probes, unknown } = tracer;
        let hook =
            |Hook { purpose, hook }| Hook { purpose, hook: self.named(Content::Function, hook) };
        Tracer {
            name,
            tables,
            hooks: hooks.into_iter().map(hook).collect(),
            failed: failed.map(|why| self.said(why)),
            probes: probes.into_iter().map(|probe| self.probe(probe)).collect(),
            unknown,
        }
    }

    fn probe(&self, probe: Probe) -> Probe {
        Probe {
            file: self.named(Content::Path, probe.file),
            function: self.named(Content::Function, probe.function),
            asked: probe.asked.map(|asked| self.named(Content::Anything, asked)),
            failed: probe.failed.map(|why| self.said(why)),
            ..probe
        }
    }

    fn filters(&self, filters: Filters) -> Filters {
        let denied = |destination: String| match destination.parse::<SocketAddr>() {
            Ok(socket) => format!("{}:{}", self.address(&socket.ip().to_string()), socket.port()),
            Err(_) => self.address(&destination),
        };
        Filters {
            command: filters.command.map(|words| self.words(words)),
            cgroup: filters.cgroup.map(|path| self.named(Content::Path, path)),
            denied: match self.replaces(Content::Ip) {
                true => filters.denied.into_iter().map(denied).collect(),
                false => filters.denied,
            },
            ..filters
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::{RowBuilder as _, View as _};
    use crate::tables::{Process, process};

    fn all() -> Redaction {
        Redaction::with_random_key(&What::ALL).expect("the system has random numbers")
    }

    #[test]
    fn equal_values_have_equal_tokens_and_others_have_others() {
        let one = all();
        assert_eq!(one.token("alice"), one.token("alice"));
        assert_ne!(one.token("alice"), one.token("alicf"));
        assert_ne!(one.token("alice"), all().token("alice"), "each key is another");
        assert_eq!(one.token("alice").len(), 17, "however long the value is");
        assert_eq!(one.token(&"x".repeat(4000)).len(), 17);
    }

    #[test]
    fn directories_still_group() {
        let one = all();
        let [a, b] = ["/home/alice/secret/a", "/home/alice/secret/b"].map(|path| one.path(path));
        let (above_a, above_b) = (a.rsplit_once('/'), b.rsplit_once('/'));
        assert_eq!(above_a.map(|it| it.0), above_b.map(|it| it.0));
        assert_ne!(a, b);
        assert!(a.starts_with("/home/~") && !a.contains("alice"), "{a}");
        for same in ["/", "", "..", "./.", "/usr/lib/", "[vdso]", "/dev/null"] {
            assert_eq!(one.path(same), same);
        }
        assert_eq!(one.path("/bin/x (deleted)"), format!("{} (deleted)", one.path("/bin/x")));
        assert!(one.path("[secret]").starts_with(MARK));
    }

    #[test]
    fn addresses_keep_their_family_and_what_tells_of_nobody() {
        let one = all();
        for same in ["127.0.0.1", "127.8.9.1", "::1", "0.0.0.0", "::"] {
            assert_eq!(one.address(same), same);
        }
        assert!(one.address("192.168.7.9").starts_with("ip4~"));
        assert!(one.address("fe80::7").starts_with("ip6~"));
        assert_eq!(one.address("::ffff:10.0.0.1"), one.address("10.0.0.1"), "it is the same host");
    }

    #[test]
    fn paths_in_names_of_functions_go_and_the_rest_stays() {
        let one = all();
        for same in ["main", "operator/", "github.com/me/x.F", "Ljava/lang/String;::get", "a / b"] {
            let (found, same) = (one.function(same), same);
            // A slash by itself is a path without components.
            assert_eq!(found.replace(&one.token(" b"), " b"), same);
        }
        let js = one.function("~ask /srv/my secret/app.js:12:3");
        assert!(js.starts_with("~ask /srv/~") && js.ends_with(":12:3"), "{js}");
        assert!(!js.contains("secret") && !js.contains("app"), "{js}");
        let py = one.function("py::main:/home/alice/x.py");
        assert_eq!(py, format!("py::main:{}", one.path("/home/alice/x.py")));
        let numbered = one.function("f /srv/2024");
        assert!(!numbered.contains("2024"), "{numbered}");
    }

    #[test]
    fn messages_keep_their_reason() {
        let one = all();
        let told = one.message("cannot write my secret/exec/000001.parquet: No space left");
        assert!(told.ends_with(": No space left") && !told.contains("exec"), "{told}");
        assert_eq!(one.message("no function `readline`"), "no function `readline`");
    }

    fn processes() -> RecordBatch {
        let mut rows = process::Builder::default();
        for (exe, argv) in [
            (Some("/home/alice/run"), Some(vec!["run", "--password", "", "alice"])),
            (None, None),
            (Some("/home/alice/run"), Some(vec![])),
        ] {
            let row = Process {
                ts: 1,
                pid: 2,
                ppid: 3,
                uid: None,
                start: None,
                cgroup: None,
                comm: Some("run".to_owned()),
                exe: exe.map(str::to_owned),
                argv: argv.map(|words| words.into_iter().map(str::to_owned).collect()),
            };
            rows.append(&row, &Default::default());
        }
        rows.finish()
    }

    #[test]
    fn only_what_was_chosen_is_replaced_and_nulls_stay_null() {
        let plain = processes();
        let argv = Redaction::with_random_key(&[What::Argv]).expect("there are random numbers");
        let rows = argv.rows(TableId::Process, &plain).expect("it is such a table");
        assert_eq!(rows.schema(), plain.schema());
        let columns = process::Columns::view(&rows).expect("it is such a table still");
        assert_eq!(columns.exe.value(0), "/home/alice/run");
        assert!(columns.exe.is_null(1) && columns.argv.is_null(1));
        let words = columns.argv.value(0);
        let words: Vec<&str> = words.as_string::<i32>().iter().flatten().collect();
        assert_eq!(
            words,
            [argv.token("run"), argv.token("--password"), String::new(), argv.token("alice")]
        );
        assert_eq!(columns.argv.value(2).len(), 0);

        let paths = Redaction::with_random_key(&[What::Paths]).expect("there are random numbers");
        let rows = paths.rows(TableId::Process, &plain).expect("it is such a table");
        let columns = process::Columns::view(&rows).expect("it is such a table still");
        assert_eq!(columns.exe.value(0), columns.exe.value(2));
        assert!(!columns.exe.value(0).contains("alice"));
        assert_eq!(columns.argv.value(0).as_string::<i32>().value(3), "alice");
    }

    #[test]
    fn the_manifest_says_what_was_replaced_and_tells_no_more_of_it() {
        let manifest = || Manifest {
            command_line: vec!["record".into(), "--output".into(), "alice/x".into()],
            filters: Filters {
                command: Some(vec!["curl".into(), "http://alice".into()]),
                cgroup: Some("/alice.slice".into()),
                denied: vec!["10.11.12.13:80".into(), "10.11.12.13".into(), "::1".into()],
                ..Filters::default()
            },
            tracers: vec![Tracer {
                failed: Some("cannot open /home/alice/x: no such file".into()),
                hooks: vec![Hook { purpose: "lines".into(), hook: "uprobe /alice/bash:f".into() }],
                probes: vec![Probe {
                    file: "/alice/bash".into(),
                    function: "alice_is_no_path".into(),
                    asked: Some("uprobe:/alice/bash:f".into()),
                    failed: Some("/alice/bash: no".into()),
                    ..Probe::default()
                }],
                ..Tracer::default()
            }],
            unwinding: Some(Unwinding {
                without: BTreeMap::from([("/alice/x".into(), "/alice/x: odd".into())]),
                ..Unwinding::default()
            }),
            ended: Some(crate::manifest::End {
                at: 1,
                why: "error".into(),
                error: Some("alice/x/exec/000001.parquet: full".into()),
            }),
            ..Manifest::default()
        };
        let redacted = all().manifest(manifest());
        let text = serde_json::to_string(&redacted).expect("it is JSON");
        let left = text.replace("alice_is_no_path", "");
        assert!(!left.contains("alice") && !left.contains("10.11"), "{left}");
        assert!(left.contains("::1") && left.contains(": full"), "{left}");
        assert_eq!(redacted.redacted[0].what, What::ALL.map(What::name));
        assert_eq!(redacted.redacted[0].key, None);

        let lines = Redaction::with_random_key(&[What::Lines]).expect("there are random numbers");
        let text = serde_json::to_string(&lines.manifest(manifest())).expect("it is JSON");
        assert!(text.contains("/alice.slice") && text.contains("10.11.12.13:80"), "{text}");
        assert!(!text.contains("http"), "{text}");
    }

    #[test]
    fn with_a_key_of_the_users_recordings_join() {
        let directory = tempfile::tempdir().expect("tests may write temporary files");
        let [key, other, short] = ["key", "other", "short"].map(|name| directory.path().join(name));
        std::fs::write(&key, [7; 32]).expect("there is room");
        std::fs::write(&other, [8; 40]).expect("there is room");
        std::fs::write(&short, [7; 31]).expect("there is room");
        let with = |path| Redaction::with_key_in(&[What::Argv], path);
        let [one, again, another] = [&key, &key, &other].map(|path| with(path).expect("it is one"));
        assert_eq!(one.token("x"), again.token("x"));
        assert_ne!(one.token("x"), another.token("x"));
        assert_eq!(one.note(), again.note());
        assert_ne!(one.note().key, another.note().key);
        let error = with(&short).expect_err("it can be found by trying");
        assert!(error.to_string().contains("32 bytes"), "{error}");
        assert!(!format!("{one:?}").contains("key"), "{one:?}");
    }

    #[test]
    fn what_was_replaced_once_is_not_replaced_again() {
        let first = Redacted { what: vec!["argv".into(), "paths".into()], key: None };
        let left = all().beyond(std::slice::from_ref(&first)).expect("two are left");
        assert_eq!(left.note().what, ["addresses", "lines"]);
        assert!(
            left.beyond(&[Redacted { what: vec!["addresses".into(), "lines".into()], key: None }])
                .is_none()
        );
    }
}
