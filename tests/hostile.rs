//! Recordings that nobody should have made, and `analyze` as a user runs it over them.
//!
//! Whatever is in a recording, a command ends with rows or with an error that says which file is wrong. It
//! does not panic, wait, or take more memory than it may, and it reads no file that is not the recording's
//! ([`bombs`]). What it writes is text that a terminal, a spreadsheet, or a browser only shows
//! ([`values`]). Cut files and flipped bytes are tried within the library (`analyzer/hostile.rs`), and made-up
//! ones by `make fuzz`.

mod bombs;
mod values;

use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use crate::golden::fixtures;
use crate::running::{Ended, Running, run};

/// No command takes as long over the small recordings of these tests.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs `analyze` in a directory.
fn analyze(directory: &Path, arguments: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_analyze"));
    command.args(arguments).current_dir(directory).env_remove("RUST_BACKTRACE");
    sound(arguments, Running::start(&mut command).end_within(LIMIT))
}

/// The same, in so much address space: whoever wants more is ended by a signal, which [`sound`] sees.
fn analyze_within(bytes: u64, directory: &Path, arguments: &[&str]) -> Ended {
    let mut command = Command::new("prlimit");
    command.arg(format!("--as={bytes}")).arg(env!("CARGO_BIN_EXE_analyze"));
    command.args(arguments).current_dir(directory).env_remove("RUST_BACKTRACE");
    sound(arguments, Running::start(&mut command).end_within(LIMIT))
}

/// Fails if a run ended in another way than by success, by finding damage (1), or by an error (2).
fn sound(arguments: &[&str], ended: Ended) -> Ended {
    let status: ExitStatus = ended.status;
    assert!(
        matches!(status.code(), Some(0..=2)) && !ended.stderr.contains("panicked"),
        "{arguments:?}: {status}: {}",
        ended.stderr
    );
    ended
}

/// Copies a recording of `fixtures/` into a directory.
fn copy_of(recording: &str, directory: &Path) {
    let ended = run(Command::new("cp").arg("-r").arg(fixtures().join(recording)).arg(directory));
    assert!(ended.status.success(), "{ended:?}");
}
