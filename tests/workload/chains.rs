//! The programs whose stacks are walked, compiled in all ways that make a difference to a walk.

use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

/// As distributions compile: no frame pointers. These flags come last, so they win.
macro_rules! optimized {
    ($($more:literal),*) => {
        &["-O2", "-fomit-frame-pointer", "-momit-leaf-frame-pointer", $($more),*]
    };
}

/// As `VARIANTS` of all workloads. What is called `chain` has frame pointers.
pub const VARIANTS: &[(&str, &str, &str, &[&str])] = &[
    ("chain-pie", "chain.c", "cc", optimized!("-pie", "-fPIE")),
    // Its functions are probed, in all processes that run it: the judge cannot see through that.
    ("chain-probed", "chain.c", "cc", optimized!("-pie", "-fPIE")),
    ("chain-fixed", "chain.c", "cc", optimized!("-no-pie", "-fno-pie")),
    ("chain-static", "chain.c", "cc", optimized!("-static", "-DWITHOUT_LOADER")),
    ("chain-other", "chain.c", "cc", &["-O1", "-static", "-DWITHOUT_LOADER"]),
    ("chain-static-pie", "chain.c", "cc", optimized!("-static-pie", "-fPIE", "-DWITHOUT_LOADER")),
    ("chain-stripped", "chain.c", "cc", optimized!("-s")),
    ("chain-musl", "chain.c", "musl-gcc", optimized!("-DWITHOUT_JUDGE")),
    ("chain-clang", "chain.c", "clang", optimized!("-Wno-unknown-attributes")),
    (
        "chain-untold",
        "chain.c",
        "cc",
        &["-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-DWITHOUT_JUDGE"],
    ),
    (
        "chain-nothing",
        "chain.c",
        "cc",
        optimized!("-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-DWITHOUT_JUDGE"),
    ),
    ("libchain.so", "libchain.c", "cc", optimized!("-shared", "-fPIC")),
    ("throws", "throws.cc", "c++", optimized!("-std=gnu++17")),
    ("machine", "machine.c", "cc", optimized!()),
];

/// Compiles the chain in Rust. There is a compiler where there is cargo.
pub fn compile_rust(directory: &Path, source: &Path) {
    let new = directory.join(format!("chain-rust.{}", std::process::id()));
    let mut command = Command::new("rustc");
    command.args(["--edition", "2024", "-O", "-C", "force-frame-pointers=no", "-o"]);
    let status = command.arg(&new).arg(source).status().unwrap();
    assert!(status.success(), "rustc {}: {status}", source.display());
    std::fs::rename(&new, directory.join("chain-rust")).unwrap();
}

/// Compiles the chain in Go, if there is a compiler.
pub fn compile_go(directory: &Path, source: &Path) {
    let new = directory.join(format!("chain-go.{}", std::process::id()));
    let mut command = Command::new("go");
    command.env("GOCACHE", directory.join("go-cache")).args(["build", "-o"]).arg(&new).arg(source);
    match command.status() {
        Ok(status) => assert!(status.success(), "go build {}: {status}", source.display()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // Nor is there one of another time.
            let _ = std::fs::remove_file(directory.join("chain-go"));
            return;
        }
        Err(error) => panic!("go: {error}"),
    }
    std::fs::rename(&new, directory.join("chain-go")).unwrap();
}
