//! The live tests under other kernels, in virtual machines; see `tests/kernels/run`.

mod matrix;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::live;
use crate::recording::RECORD;
use crate::running::{Ended, Running, in_vm, run};
use crate::workload;

/// The kernels that are tried unless `LOOKBACK_KERNELS` names others, separated by spaces: the oldest, which
/// differs most from the one that the other tests run on.
const KERNELS: &str = "5.10";

/// What is left out: it is about the programs themselves, which are the same under every kernel, and takes
/// long.
const LEFT_OUT: [&str; 16] = [
    "live::capabilities::",
    "live::diff::",
    "live::ending::",
    "live::faults::disk::",
    "live::faults::kills::a_recorder_that_is_killed",
    "live::faults::pauses::",
    "live::faults::power::",
    "live::faults::soak::",
    "live::faults::targets::a_target",
    "live::faults::targets::two_recorders",
    "live::flight::",
    "live::network::",
    "live::printed::",
    "live::privacy::",
    "live::hostile_binaries::",
    "live::symbols::",
];

/// Left out as well but for `LOOKBACK_SLOW` (`make test-kernels`): emulated, these take long, a Java virtual
/// machine first of all, and most of what they are about is in user space, the same under every kernel.
const SLOW: [&str; 22] = [
    "java",
    "live::alloc::another_c_library",
    "live::alloc::children_are_left_out",
    "live::alloc::jemalloc",
    "live::alloc::mimalloc",
    "live::alloc::new_and_delete",
    "live::alloc::tcmalloc",
    "live::custom::lists_name",
    "live::custom::places_are_named",
    "live::custom::two_hundred_probes",
    "live::faults::unharmed::",
    "live::gc::pauses_of_concurrent_marking",
    "live::gc::slow_spans",
    "live::jit::",
    "live::overload::memory",
    "live::readline::long_lines",
    "live::service::",
    "live::unwind::builds::",
    "live::unwind::limits::",
    "live::usdt::a_program_without_symbols",
    "live::usdt::an_argument_that_is_a_variable",
    "live::usdt::what_is_listed",
];

/// Status of `tests/kernels/run` where it cannot run.
const CANNOT: i32 = 77;
/// Its status where the virtual machine failed, and not what ran in it.
const BROKEN: i32 = 125;

/// In the emulated machine, for all tests together.
const LIMIT: Duration = Duration::from_secs(3600);

#[test]
fn live_tests_pass_under_other_kernels() {
    if in_vm() {
        return;
    }
    // They are compiled here: the compiler would be slow there.
    workload::path("quiet");
    let named = std::env::var("LOOKBACK_KERNELS").ok();
    let slow: &[&str] = if std::env::var_os("LOOKBACK_SLOW").is_some() { &[] } else { &SLOW };
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
    let ended = Running::start(under(kernel).args([RECORD, "--list"])).end_within(LIMIT);
    assert!(ended.status.success(), "under {kernel}: {ended:?}");
    ended.stdout
}

/// Runs the live tests of this very program under a kernel, but for some; false, after saying why, where that
/// cannot be.
///
/// Those that fail under 7.x are run again, one at a time, and must pass then. There, threads are preempted within
/// tracepoints, and a program that thus comes upon itself is not run: the row is lost and counted, which tests
/// take for a failure. On an emulated processor programs run long enough for that.
fn run_under(kernel: &str, left_out: &[&str]) -> bool {
    let skip = left_out.iter().flat_map(|name| ["--skip", name]);
    let mut ended = run_tests(kernel, ["live::", "--test-threads", "2"].into_iter().chain(skip));
    let stdout = ended.stdout.clone();
    let failed: Vec<&str> = stdout
        .lines()
        .filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"))
        .collect();
    if ended.stdout.contains("test result: FAILED") && kernel.starts_with("7.") {
        println!("once more under {kernel}: {failed:?}, which failed:\n{}", ended.stdout);
        let again = ["--exact", "--test-threads", "1"].into_iter().chain(failed);
        ended = run_tests(kernel, again);
    } else if ended.status.success() {
        assert!(stdout.contains("live::whole_system::"), "some tests ran");
    }
    if ended.status.code() == Some(CANNOT) {
        eprintln!("not tried under {kernel}: {}", ended.stderr.trim());
        return false;
    }
    println!("under {kernel}:\n{}", ended.stdout);
    assert!(ended.status.success(), "under {kernel}: {}\n{}", ended.status, ended.stderr);
    true
}

/// Runs this very program under a kernel, with arguments of the test harness.
fn run_tests<'a>(kernel: &str, arguments: impl Iterator<Item = &'a str>) -> Ended {
    let mut command = under(kernel);
    command.arg(std::env::current_exe().unwrap()).args(arguments);
    command
        .env("LOOKBACK_IN_VM", "1")
        .env("LOOKBACK_REQUIRE_LIVE", "1")
        .env_remove("RUST_BACKTRACE");
    // The machine takes both processors: tests that measure time would suffer.
    let _turn = live::undisturbed();
    let mut tries = 0;
    loop {
        tries += 1;
        let ended = Running::start(&mut command).end_within(LIMIT + Duration::from_secs(300));
        if ended.status.code() != Some(BROKEN) || tries == 2 {
            return ended;
        }
        eprintln!("once more, since the virtual machine failed: {}", ended.stderr);
    }
}
