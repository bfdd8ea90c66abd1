//! The programs in `tests/workloads/`, and what they say about what they did.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The program made from `tests/workloads/NAME.c`.
///
/// All of them are compiled when the first is needed. A virtual machine finds those that its host
/// compiled: its compiler would take twenty times as long.
pub fn path(name: &str) -> PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    let directory = DIRECTORY.get_or_init(|| {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("workloads");
        if std::env::var_os("LOOKBACK_IN_VM").is_none() {
            compile(&directory);
        }
        directory
    });
    directory.join(name)
}

/// Frame pointers are how the kernel walks stacks, also in functions that call no other.
const FLAGS: &[&str] = &[
    "-std=gnu17",
    "-O1",
    "-g",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-fno-omit-frame-pointer",
    "-mno-omit-leaf-frame-pointer",
    "-fno-optimize-sibling-calls",
    "-pthread",
];

fn compile(directory: &Path) {
    std::fs::create_dir_all(directory).unwrap();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/workloads");
    for entry in std::fs::read_dir(&sources).unwrap() {
        let source = entry.unwrap().path();
        if source.extension().is_none_or(|extension| extension != "c") {
            continue;
        }
        let name = source.file_stem().unwrap();
        let program = directory.join(name);
        // This one must also run where there are no libraries.
        let linked: &[&str] = if name == "quiet" { &["-static"] } else { &[] };
        // Renamed into place: a program that is running cannot be overwritten.
        let new = program.with_extension(std::process::id().to_string());
        let mut compiler = Command::new("cc");
        compiler.args(FLAGS).args(linked).arg("-o").arg(&new).arg(&source);
        let status = compiler.status().unwrap();
        assert!(status.success(), "cc {}: {status}", source.display());
        std::fs::rename(&new, &program).unwrap();
    }
}

/// One line of a workload's output: `WORD KEY=VALUE KEY=VALUE…`.
#[derive(Clone, Debug)]
pub struct Fact(HashMap<String, String>);

/// The facts in `output` that begin with `word`.
pub fn facts(output: &str, word: &str) -> Vec<Fact> {
    output
        .lines()
        .filter_map(|line| line.strip_prefix(word)?.strip_prefix(' '))
        .map(|line| {
            let pairs = line.split(' ').map(|pair| pair.split_once('=').unwrap());
            Fact(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
        })
        .collect()
}

/// The only fact in `output` that begins with `word`.
pub fn fact(output: &str, word: &str) -> Fact {
    let mut all = facts(output, word);
    assert_eq!(all.len(), 1, "facts `{word}` in: {output}");
    all.remove(0)
}

impl Fact {
    /// A value as it stands.
    pub fn word(&self, key: &str) -> &str {
        self.0.get(key).unwrap_or_else(|| panic!("no `{key}` in {self:?}"))
    }

    /// A number.
    pub fn int(&self, key: &str) -> i64 {
        self.word(key).parse().unwrap()
    }

    /// A pid, or another number of 32 bits.
    pub fn int32(&self, key: &str) -> i32 {
        self.word(key).parse().unwrap()
    }

    /// A number that may be unknown.
    pub fn known(&self, key: &str) -> Option<i32> {
        Some(self.int32(key)).filter(|value| *value != i32::MIN)
    }

    /// Bytes, which stand there in hex.
    pub fn bytes(&self, key: &str) -> Vec<u8> {
        let (pairs, []) = self.word(key).as_bytes().as_chunks::<2>() else {
            panic!("half a byte in `{key}` of {self:?}");
        };
        let byte = |pair: &[u8; 2]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
        pairs.iter().map(byte).collect()
    }

    /// Text as [`text`](Fact::text), where there is one.
    pub fn some_text(&self, key: &str) -> Option<String> {
        (self.word(key) != "none").then(|| self.text(key))
    }

    /// Numbers, with commas between them.
    pub fn ints(&self, key: &str) -> Vec<i64> {
        self.word(key).split(',').map(|number| number.parse().unwrap()).collect()
    }

    /// Text, which stands there in hex; what is not UTF-8 is replaced.
    pub fn text(&self, key: &str) -> String {
        String::from_utf8_lossy(&self.bytes(key)).into_owned()
    }
}
