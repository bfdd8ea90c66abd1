//! The live tests under other kernels, in virtual machines; see `tests/kernels/run`.

mod matrix;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::live;
use crate::recording::RECORD;
use crate::running::{Running, in_vm, run};
use crate::workload;

/// The kernels that are tried unless `LOOKBACK_KERNELS` names others, separated by spaces. 6.1 is the
/// oldest one that many still run.
const KERNELS: &str = "6.1";

/// What is left out: it is about the recorder itself, which is the same under every kernel, and takes
/// long.
const LEFT_OUT: [&str; 4] = [
    "live::crash::a_recorder_that_is_killed",
    "live::ending::",
    "live::hostile_binaries::",
    "live::symbols::",
];

/// Left out as well unless kernels are named (`make test-kernels`): emulated, these take minutes each, a Java
/// virtual machine first of all.
const SLOW: [&str; 6] = [
    "java",
    "live::gc::pauses_of_concurrent_marking",
    "live::gc::slow_spans",
    "live::custom::two_hundred_probes",
    "live::custom::lists_name",
    "live::readline::long_lines",
];

/// Status of `tests/kernels/run` where it cannot run.
const CANNOT: i32 = 77;
/// Its status where the virtual machine failed, and not what ran in it.
const BROKEN: i32 = 125;

/// In the emulated machine, for all tests together.
const LIMIT: Duration = Duration::from_secs(2000);

#[test]
fn live_tests_pass_under_other_kernels() {
    if in_vm() {
        return;
    }
    // They are compiled here: the compiler would be slow there.
    workload::path("quiet");
    let named = std::env::var("LOOKBACK_KERNELS").ok();
    let slow: &[&str] = if named.is_some() { &[] } else { &SLOW };
    for kernel in named.as_deref().unwrap_or(KERNELS).split_whitespace() {
        if run_under(kernel, &[&LEFT_OUT, slow].concat()) {
            matrix::check(kernel, &list_under(kernel));
        }
    }
}

/// The page tells of this machine's kernel as of the others.
#[test]
fn the_page_tells_of_this_kernel() {
    let Some(kernel) = matrix::own() else { return };
    if !live::has_tracefs() {
        return;
    }
    let ended = run(Command::new(RECORD).arg("--list"));
    assert!(ended.status.success(), "{ended:?}");
    matrix::check(kernel, &ended.stdout);
}

/// A command that runs what is appended to it under a kernel.
fn under(kernel: &str) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(root.join("tests/kernels/run"));
    command.current_dir(root).args([kernel, "--"]);
    command.env("VM_TIMEOUT", LIMIT.as_secs().to_string());
    command
}

/// What `record --list` says there.
fn list_under(kernel: &str) -> String {
    let ended = run(under(kernel).args([RECORD, "--list"]));
    assert!(ended.status.success(), "under {kernel}: {ended:?}");
    ended.stdout
}

/// Runs the live tests of this very program under a kernel, but for some; false, after saying why, where that
/// cannot be.
fn run_under(kernel: &str, left_out: &[&str]) -> bool {
    let mut command = under(kernel);
    command.arg(std::env::current_exe().unwrap()).args(["live::", "--test-threads", "2"]);
    for name in left_out {
        command.args(["--skip", name]);
    }
    command
        .env("LOOKBACK_IN_VM", "1")
        .env("LOOKBACK_REQUIRE_LIVE", "1")
        .env_remove("RUST_BACKTRACE");

    // The machine takes both processors: tests that measure time would suffer.
    let _turn = live::undisturbed();
    let mut tries = 0;
    let ended = loop {
        tries += 1;
        let ended = Running::start(&mut command).end_within(LIMIT + Duration::from_secs(300));
        if ended.status.code() != Some(BROKEN) || tries == 2 {
            break ended;
        }
        eprintln!("once more, since the virtual machine failed: {}", ended.stderr);
    };
    if ended.status.code() == Some(CANNOT) {
        eprintln!("not tried under {kernel}: {}", ended.stderr.trim());
        return false;
    }
    println!("under {kernel}:\n{}", ended.stdout);
    assert!(ended.status.success(), "under {kernel}: {}\n{}", ended.status, ended.stderr);
    assert!(ended.stdout.contains("live::whole_system::"), "some tests ran");
    true
}
