//! What `record` says before it needs the kernel.

#![expect(unsafe_code, reason = "tests call the system as programs do")]

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::live::shared;
use crate::recording::{RECORD, is_absent};
use crate::running::{Ended, run};

/// Runs `record` with these options and an output. Fails unless it says why not in one line and leaves
/// nothing; gives what it said.
pub fn refused(options: &[&str]) -> Ended {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("recording");
    let ended = run(Command::new(RECORD).arg("--output").arg(&output).args(options));
    assert_eq!(ended.status.code(), Some(2), "{options:?}: {}", ended.stderr);
    assert_eq!(ended.stdout, "");
    assert!(is_absent(&output), "{options:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.starts_with("record: "), "{}", ended.stderr);
    ended
}

#[test]
fn values_that_make_no_sense_are_refused() {
    let cases = [
        (["--duration", "soon"], "expected a time such as 500ms, 60s or 1h30m"),
        (["--duration", "0s"], "expected a time longer than zero"),
        (["--duration=-5s", "--quiet"], "expected a time longer than zero"),
        (["--min-duration", "x"], "expected a time such as"),
        (["--frequency", "0"], "0 is not in 1..=20000"),
        (["--pid", "0"], "0 is not in 1..="),
        (["--pid", "init"], "invalid digit"),
        (["--buffer", "big"], "--buffer"),
        (["--tid", "0"], "0 is not in 1..="),
        (["--syscall", "wriet"], "there is no system call `wriet` on "),
        (["--syscall", "wriet"], "; did you mean `write`?"),
        (["--syscall", "read,,write"], "there is no system call `` on "),
        (["--min-latency", "fast"], "expected a time such as"),
        (["--lport", "0"], "0 is not in 1..=65535"),
        (["--rport", "65536"], "65536 is not in 1..=65535"),
        (["--family", "5"], "invalid value '5' for '--family <FAMILY>'"),
        (["--rtt-sample", "0"], "0 is not in 1..=1000000"),
        (["--deny-connect", "localhost"], "expected an address such as 10.0.0.1, 10.0.0.1:80"),
        (["--deny-connect", "[::1]"], "expected an address such as"),
        (["--deny-connect", "127.0.0.1:70000"], "expected an address such as"),
        (["--no-such-option", "1"], "unexpected argument '--no-such-option'"),
    ];
    for (options, complaint) in cases {
        let ended = refused(&options);
        assert!(ended.stderr.contains(complaint), "{}", ended.stderr);
    }
}

#[test]
fn an_unknown_tracer_is_refused_and_the_known_ones_are_named() {
    let cases = [
        (["--trace", "proces"], "record: unknown tracer `proces`; there are: process, signal, "),
        (["--trace", "-nosuch"], "record: unknown tracer `nosuch`; there are: process, signal, "),
        (["--trace", "signal,-signal"], "record: --trace leaves no tracer"),
    ];
    for (options, complaint) in cases {
        let ended = refused(&options);
        assert!(ended.stderr.starts_with(complaint), "{}", ended.stderr);
    }
    let ended = refused(&["--trace", "proces"]);
    assert!(ended.stderr.ends_with("; did you mean `process`?\n"), "{}", ended.stderr);
    let ended = refused(&["--keep", "1m", "--trigger", "runq.wiat > 5ms"]);
    assert!(ended.stderr.contains("; did you mean `wait`?"), "{}", ended.stderr);
}

#[test]
fn an_output_that_exists_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "content").unwrap();
    let dangling = directory.path().join("dangling");
    std::os::unix::fs::symlink("nowhere", &dangling).unwrap();
    for output in [directory.path(), &file, &dangling] {
        let mut command = Command::new(RECORD);
        let ended = run(command.arg("--output").arg(output).args(["--", "/bin/true"]));
        assert_eq!(ended.status.code(), Some(2));
        let complaint =
            format!("record: {} exists already; choose another with --output\n", output.display());
        assert_eq!(ended.stderr, complaint);
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "content");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
}

#[test]
fn a_user_without_privileges_is_told_which_are_missing() {
    const NOBODY: u32 = 65534;
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("recording");
    // By descriptor: nobody else may be allowed into the directories above the program.
    let program = File::open(RECORD).unwrap();
    for options in [&["--list"][..], &["--duration", "1s"]] {
        let mut command = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
        command.args(options).arg("--output").arg(&output);
        // SAFETY: geteuid needs nothing.
        if unsafe { libc::geteuid() } == 0 {
            command.uid(NOBODY).gid(NOBODY);
        }
        let ended = run(&mut command);
        assert_eq!(ended.status.code(), Some(2), "{ended:?}");
        assert_eq!(ended.stdout, "");
        assert_eq!(
            ended.stderr,
            "record: missing capabilities: CAP_BPF (to load BPF programs), CAP_PERFMON (to attach \
             them to tracepoints); run it as root, with sudo\n"
        );
        assert!(is_absent(&output));
    }
}

#[test]
fn ipv6_that_is_off_is_said() {
    if shared(&["tcprtt"]).is_none() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("recording");
    // In a network namespace of its own.
    let script = r#"echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6 &&
        exec "$1" --trace tcprtt --family 6 --output "$2""#;
    let mut unshare = Command::new("unshare");
    let ended = run(unshare.args(["--net", "sh", "-c", script, "sh", RECORD]).arg(&output));
    assert_eq!(ended.status.code(), Some(2), "{}", ended.stderr);
    assert_eq!(ended.stderr, "record: --family 6: IPv6 is disabled on this machine\n");
    assert!(is_absent(&output));
}
