//! The programs in `tests/workloads/`, and what they say about what they did.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

mod chains;

/// The program made from `tests/workloads/NAME.c`, or one of its [`VARIANTS`].
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

/// Programs that are compiled in other ways too: the name, the source, the compiler, more flags. Where
/// there is no such compiler there is no such program.
const VARIANTS: &[(&str, &str, &str, &[&str])] = &[
    // This one must also run where there are no libraries.
    ("quiet", "quiet.c", "cc", &["-static"]),
    ("heap-static", "heap.c", "cc", &["-static"]),
    ("heap-stripped", "heap.c", "cc", &["-static", "-s"]),
    ("heap-musl", "heap.c", "musl-gcc", &[]),
    ("heap-musl-static", "heap.c", "musl-gcc", &["-static"]),
    ("libfailing.so", "failing.c", "cc", &["-shared", "-fPIC", "-ldl"]),
    ("libplugin.so", "plugin.c", "cc", &["-shared", "-fPIC"]),
    ("plugins", "plugins.c", "cc", &["-ldl"]),
    ("news", "news.cc", "c++", &["-std=gnu++17"]),
    ("libshop.so", "shoplib.c", "cc", &["-shared", "-fPIC"]),
    ("shop", "shop.c", "cc", &["-ldl"]),
    ("shop-stripped", "shop.c", "cc", &["-ldl", "-s"]),
];

/// Headers that not everybody has. Where one is missing there are no programs of these sources.
const NEEDS: &[(&str, &str)] = &[("shop.c", "sys/sdt.h"), ("shoplib.c", "sys/sdt.h")];

fn compile(directory: &Path) {
    std::fs::create_dir_all(directory).unwrap();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/workloads");
    let variants: Vec<_> = VARIANTS.iter().chain(chains::VARIANTS).collect();
    for entry in std::fs::read_dir(&sources).unwrap() {
        let source = entry.unwrap().path();
        let needs = NEEDS.iter().find(|(name, _)| source.ends_with(name));
        if needs.is_some_and(|(_, header)| !has_header(header)) {
            for (name, ..) in variants.iter().filter(|variant| source.ends_with(variant.1)) {
                // Nor are there those of another time.
                let _ = std::fs::remove_file(directory.join(name));
            }
            continue;
        }
        let own: Vec<_> = variants.iter().filter(|variant| source.ends_with(variant.1)).collect();
        if source.extension().is_some_and(|extension| extension == "c") {
            let name = source.file_stem().unwrap().to_str().unwrap();
            // A program with needs of its own is compiled as those say.
            let of_that_name = own.iter().any(|variant| !variant.0.contains('-'));
            if !of_that_name {
                link(directory, name, &source, "cc", &[]);
            }
        }
        for (name, _, compiler, flags) in own {
            link(directory, name, &source, compiler, flags);
        }
    }
    let private = libraries_of_its_own(directory, "heap");
    let flags = private.iter().map(String::as_str).collect::<Vec<_>>();
    link(directory, "heap-private", &sources.join("heap.c"), "cc", &flags);
    chains::compile_rust(directory, &sources.join("chain.rs"));
    chains::compile_go(directory, &sources.join("chain.go"));
    compile_java(&directory.join(CLASSES), &sources.join("Collections.java"));
}

/// Where the classes of Java programs are.
pub const CLASSES: &str = "classes";

/// Whether there is a program of this name.
pub fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// Whether the C compiler finds a header.
pub fn has_header(header: &str) -> bool {
    let arguments = ["-E", "-include", header, "-x", "c", "/dev/null"];
    Command::new("cc").args(arguments).output().unwrap().status.success()
}

/// Compiles a Java program, if there is a compiler.
fn compile_java(classes: &Path, source: &Path) {
    // Into a new directory: others may run what is in the old one.
    let new = classes.with_extension(std::process::id().to_string());
    let mut command = Command::new("javac");
    match command.args(["--release", "17", "-d"]).arg(&new).arg(source).status() {
        Ok(status) => assert!(status.success(), "javac {}: {status}", source.display()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let _ = std::fs::remove_dir_all(classes);
            return;
        }
        Err(error) => panic!("javac: {error}"),
    }
    std::fs::create_dir_all(classes).unwrap();
    for class in std::fs::read_dir(&new).unwrap() {
        let class = class.unwrap();
        std::fs::rename(class.path(), classes.join(class.file_name())).unwrap();
    }
    std::fs::remove_dir(&new).unwrap();
}

fn link(directory: &Path, name: &str, source: &Path, compiler: &str, flags: &[&str]) {
    let program = directory.join(name);
    // Renamed into place: a program that is running cannot be overwritten.
    let new = directory.join(format!("{name}.{}", std::process::id()));
    let is_c = source.extension().is_some_and(|extension| extension == "c");
    let mut command = Command::new(compiler);
    command.args(FLAGS).args(is_c.then_some("-std=gnu17"));
    match command.arg("-o").arg(&new).arg(source).args(flags).status() {
        Ok(status) => assert!(status.success(), "{compiler} {}: {status}", source.display()),
        Err(error) if compiler != "cc" && error.kind() == ErrorKind::NotFound => {
            // Nor is there one of another time.
            let _ = std::fs::remove_file(&program);
            return;
        }
        Err(error) => panic!("{compiler}: {error}"),
    }
    std::fs::rename(&new, &program).unwrap();
}

/// Copies the C library and the dynamic loader that a program uses; gives the flags that make a
/// program use the copies, whoever executes it. What is attached to these files concerns no process
/// but those of the tests.
fn libraries_of_its_own(directory: &Path, program: &str) -> Vec<String> {
    let private = directory.join("private");
    std::fs::create_dir_all(&private).unwrap();
    let listed = Command::new("ldd").arg(directory.join(program)).output().unwrap();
    assert!(listed.status.success(), "ldd {program}: {listed:?}");
    let mut flags = vec![format!("-Wl,-rpath,{}", private.display())];
    for line in String::from_utf8(listed.stdout).unwrap().lines() {
        let Some(library) = line.split_whitespace().find(|word| word.starts_with('/')) else {
            continue;
        };
        let name = Path::new(library).file_name().unwrap().to_str().unwrap();
        let (copy, new) =
            (private.join(name), private.join(format!("{name}.{}", std::process::id())));
        std::fs::copy(library, &new).unwrap();
        std::fs::rename(&new, &copy).unwrap();
        if name.starts_with("ld") {
            flags.push(format!("-Wl,--dynamic-linker={}", copy.display()));
        }
    }
    assert_eq!(flags.len(), 2, "a dynamic loader among the libraries of {program}");
    flags
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

    /// Whether it says anything of this.
    pub fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
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
