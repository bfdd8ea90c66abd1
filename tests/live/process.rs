//! The tracer `process`, against what the processes and their parents know.

use std::collections::BTreeMap;
use std::time::Duration;

use lookback_schemas::TableId;
use lookback_schemas::cell::View as _;
use lookback_schemas::tables::{Exec, Exit, Fork, Process, exit};

use super::{alone, shared};
use crate::recording::{Record, known, row_where, rows_where, text, texts};
use crate::running::{in_vm, is_alive, send_signal};
use crate::workload::{self, Fact, fact, facts};

/// What `record` keeps of the arguments.
const ARGV_BYTES: usize = 4096;

fn quiet() -> String {
    workload::path("quiet").to_str().unwrap().to_owned()
}

#[test]
fn execs_have_the_arguments_that_were_given() {
    let Some(_turn) = shared(&["process"]) else { return };
    let recorded = Record::trace("process").workload("execs", ["argv", &quiet()]).run();
    recorded.assert_nothing_lost();
    let facts = facts(recorded.stdout(), "exec");
    let execs = recorded.table::<Exec>();
    assert_eq!(execs.rows(), facts.len() + 1, "the workload itself was executed too");

    let mut cut = 0;
    for fact in &facts {
        let row = row_where(&execs, "an exec", |row| execs.pid.value(row) == fact.int32("pid"));
        let given = fact.bytes("argv");
        let kept = &given[..given.len().min(ARGV_BYTES)];
        let expected: Vec<String> = kept
            .strip_suffix(b"\0")
            .unwrap_or(kept)
            .split(|byte| *byte == 0)
            .map(|argument| String::from_utf8_lossy(argument).into_owned())
            .collect();
        assert_eq!(texts(&execs.argv.value(row)), expected);
        assert_eq!(known(&execs.argv_bytes, row), Some(given.len() as i32));
        cut += usize::from(given.len() > ARGV_BYTES);

        assert_eq!(text(&execs.comm, row), "quiet");
        assert_eq!(text(&execs.filename, row), quiet());
        assert_eq!(execs.caller_tid.value(row), fact.int32("caller"));
    }
    assert!(facts.len() >= 12 && cut >= 3, "the workload tries many: {}", facts.len());
}

#[test]
fn execs_have_the_working_directory() {
    let Some(_turn) = shared(&["process"]) else { return };
    let directory = tempfile::tempdir().unwrap();
    let below = directory.path().to_str().unwrap();
    let recorded = Record::trace("process").workload("execs", ["cwd", &quiet(), below]).run();
    let execs = recorded.table::<Exec>();
    let (mut whole, mut too_long) = (0, 0);
    for fact in facts(recorded.stdout(), "exec") {
        let row = row_where(&execs, "an exec", |row| execs.pid.value(row) == fact.int32("pid"));
        assert_eq!(text(&execs.filename, row), fact.text("file"), "as the caller named it");
        let cwd = fact.text("cwd");
        if cwd.len() > 512 || cwd.split('/').skip(1).count() > 24 {
            assert_eq!(known(&execs.cwd, row), None, "too long: {cwd}");
            too_long += 1;
        } else {
            assert_eq!(known(&execs.cwd, row), Some(cwd.as_str()));
            whole += 1;
        }
    }
    assert!(whole >= 20 && too_long >= 5, "{whole} whole, {too_long} too long");
}

#[test]
fn the_working_directory_is_seen_from_the_processs_own_root() {
    let Some(_turn) = shared(&["process"]) else { return };
    let root = tempfile::tempdir().unwrap();
    std::fs::copy(quiet(), root.path().join("quiet")).unwrap();
    let directory = root.path().to_str().unwrap();
    let recorded =
        Record::trace("process").workload("execs", ["chroot", "/quiet", directory]).run();
    let execs = recorded.table::<Exec>();
    let expected = [("/inner", "/quiet"), ("/", "/quiet")];
    let facts = facts(recorded.stdout(), "exec");
    assert_eq!(facts.len(), expected.len());
    for (fact, (cwd, filename)) in facts.iter().zip(expected) {
        let row = row_where(&execs, "an exec", |row| execs.pid.value(row) == fact.int32("pid"));
        assert_eq!((text(&execs.cwd, row), text(&execs.filename, row)), (cwd, filename));
    }
}

#[test]
fn a_thread_that_executes_takes_the_processs_id() {
    let Some(_turn) = shared(&["process"]) else { return };
    let recorded = Record::trace("process").workload("execs", ["thread", &quiet()]).run();
    let fact = fact(recorded.stdout(), "exec");
    let (pid, caller) = (fact.int32("pid"), fact.int32("caller"));
    assert_ne!(pid, caller);
    let execs = recorded.table::<Exec>();
    let row = row_where(&execs, "the exec", |row| execs.pid.value(row) == pid);
    assert_eq!(execs.caller_tid.value(row), caller);
    assert_eq!(texts(&execs.argv.value(row)), ["quiet", "from a thread"]);

    // The main thread made way for it; the process went on.
    let exits = recorded.table::<Exit>();
    let row = row_where(&exits, "the exit", |row| exits.pid.value(row) == pid);
    assert_eq!((exits.tid.value(row), text(&exits.comm, row)), (pid, "quiet"));
    assert_eq!(known(&exits.code, row), Some(0));
}

/// Checks an exit against what the kernel told the parent.
fn check_exit(exits: &exit::Columns, row: usize, fact: &Fact) {
    let expect = |key: &str| Some(fact.int32(key)).filter(|value| *value >= 0);
    assert_eq!(known(&exits.code, row), expect("code"), "{fact:?}");
    assert_eq!(known(&exits.signal, row), expect("signal"), "{fact:?}");
    assert_eq!(exits.core.value(row), fact.int("core") != 0, "{fact:?}");
    assert!(exits.process_ended.value(row));
    assert_eq!(exits.ppid.value(row), fact.int32("parent"));
    assert_eq!(exits.ts.value(row) - exits.start.value(row), exits.duration.value(row));
    assert!((0..=fact.int("at_most")).contains(&exits.duration.value(row)), "{fact:?}");
}

#[test]
fn exits_have_the_code_or_the_signal() {
    let Some(_turn) = shared(&["process"]) else { return };
    let recorded = Record::trace("process").workload("exits", ["codes"]).run();
    let facts = facts(recorded.stdout(), "exit");
    let exits = recorded.table::<Exit>();
    for fact in &facts {
        let row = row_where(&exits, "an exit", |row| exits.pid.value(row) == fact.int32("pid"));
        check_exit(&exits, row, fact);
    }
    let codes: Vec<i64> = facts.iter().map(|fact| fact.int("code")).collect();
    assert_eq!(codes, [0, 7, 255, -1, -1, -1, -1]);
    assert!(facts.iter().all(|fact| fact.int("core") == 0), "the workload allows no cores");
}

#[test]
fn forks_execs_and_exits_match_one_to_one() {
    let Some(_turn) = shared(&["process"]) else { return };
    const FORKS: usize = 500;
    let recorded = Record::trace("process").workload("exits", ["forks", &FORKS.to_string()]).run();
    recorded.assert_nothing_lost();
    let parent = fact(recorded.stdout(), "exits").int32("pid");
    let facts = facts(recorded.stdout(), "exit");
    assert_eq!(facts.len(), FORKS);

    let (forks, execs) = (recorded.table::<Fork>(), recorded.table::<Exec>());
    let exits = recorded.table::<Exit>();
    // The workload itself existed before the recording, executed, and ended.
    assert_eq!((forks.rows(), execs.rows(), exits.rows()), (FORKS, 1, FORKS + 1));
    assert_eq!(execs.pid.value(0), parent);
    let present = recorded.table::<Process>();
    assert_eq!((present.rows(), present.pid.value(0)), (1, parent));

    let by_pid = |pids: &arrow::array::Int32Array| -> BTreeMap<i32, usize> {
        (0..pids.len()).map(|row| (pids.value(row), row)).collect()
    };
    let (fork_of, exit_of) = (by_pid(&forks.pid), by_pid(&exits.pid));
    assert_eq!((fork_of.len(), exit_of.len()), (FORKS, FORKS + 1), "each pid once");
    for fact in &facts {
        let fork = fork_of[&fact.int32("pid")];
        let exit = exit_of[&fact.int32("pid")];
        check_exit(&exits, exit, fact);
        assert_eq!((forks.ppid.value(fork), forks.caller_tid.value(fork)), (parent, parent));
        assert_eq!((text(&forks.comm, fork), text(&exits.comm, exit)), ("exits", "exits"));
        assert!(exits.start.value(exit) <= forks.ts.value(fork));
        assert!(forks.ts.value(fork) < exits.ts.value(exit));
        assert_eq!(known(&forks.cgroup, fork), known(&exits.cgroup, exit));
    }
}

#[test]
fn a_process_ends_once_and_with_its_last_thread() {
    let Some(_turn) = shared(&["process"]) else { return };
    let recorded = Record::trace("process").workload("exits", ["leader"]).run();
    let fact = fact(recorded.stdout(), "exit");
    let exits = recorded.table::<Exit>();
    let row = row_where(&exits, "the exit", |row| exits.pid.value(row) == fact.int32("pid"));
    check_exit(&exits, row, &fact);
    assert_eq!(known(&exits.code, row), Some(3));
    let last = workload::fact(recorded.stdout(), "thread");
    assert_eq!(exits.tid.value(row), last.int32("tid"), "not the main thread, which went first");
}

#[test]
fn threads_that_end_together_give_one_exit() {
    let Some(_turn) = shared(&["process"]) else { return };
    let count = if in_vm() { 100 } else { 400 };
    let recorded = Record::trace("process").workload("exits", ["races", &count.to_string()]).run();
    recorded.assert_nothing_lost();
    let facts = facts(recorded.stdout(), "exit");
    assert_eq!(facts.len(), count);
    let exits = recorded.table::<Exit>();
    for fact in &facts {
        let row = row_where(&exits, "an exit", |row| exits.pid.value(row) == fact.int32("pid"));
        check_exit(&exits, row, fact);
    }
    assert_eq!(exits.rows(), count + 1);
}

#[test]
fn exits_of_threads_are_recorded_on_request() {
    let Some(_turn) = shared(&["process"]) else { return };
    const THREADS: usize = 5;
    let arguments = ["threads".to_owned(), THREADS.to_string()];
    let without = Record::trace("process").workload("exits", &arguments).run();
    assert_eq!(without.table::<Exit>().rows(), 1);

    let with =
        Record::trace("process").options(["--thread-exits"]).workload("exits", &arguments).run();
    let exits = with.table::<Exit>();
    let facts = facts(with.stdout(), "thread");
    assert_eq!((facts.len(), exits.rows()), (THREADS + 1, THREADS + 1));
    for fact in &facts {
        let (pid, tid) = (fact.int32("pid"), fact.int32("tid"));
        let row = row_where(&exits, "a thread's exit", |row| exits.tid.value(row) == tid);
        assert_eq!(exits.pid.value(row), pid);
        assert_eq!(exits.process_ended.value(row), tid == pid);
        assert_eq!(text(&exits.comm, row), fact.text("name"));
        assert_eq!(known(&exits.max_rss, row).is_some(), tid == pid, "only processes have one");
    }
}

/// Whether `value` is as `expected`, but for the share and the amount that are allowed.
fn near(value: i64, expected: i64, share: f64, amount: i64) -> bool {
    (value - expected).abs() <= ((expected as f64 * share) as i64).max(amount)
}

#[test]
fn usage_is_what_wait4_reports() {
    let Some(_turn) = alone(&["process"]) else { return };
    let recorded = Record::trace("process").workload("exits", ["usage"]).run();
    let exits = recorded.table::<Exit>();
    let facts = facts(recorded.stdout(), "exit");
    let whats: Vec<&str> = facts.iter().map(|fact| fact.word("what")).collect();
    assert_eq!(whats, ["user", "system", "threads", "memory"]);
    for fact in &facts {
        let row = row_where(&exits, "an exit", |row| exits.pid.value(row) == fact.int32("pid"));
        check_exit(&exits, row, fact);
        // Between the record and the end that wait4 knows, the process still cleans up.
        let (user, system) = (exits.user.value(row), exits.system.value(row));
        let (user_known, system_known) = (fact.int("user"), fact.int("system"));
        assert!(near(user, user_known, 0.05, 25_000_000), "user {user}: {fact:?}");
        assert!(near(system, system_known, 0.05, 25_000_000), "system {system}: {fact:?}");
        let max_rss = known(&exits.max_rss, row).unwrap();
        assert!(near(max_rss, fact.int("max_rss"), 0.1, 0), "max_rss {max_rss}: {fact:?}");
        let (minor, major) = (exits.minor_faults.value(row), exits.major_faults.value(row));
        assert!(near(minor, fact.int("minor"), 0.0, 8), "minor faults {minor}: {fact:?}");
        assert!(near(major, fact.int("major"), 0.0, 8), "major faults {major}: {fact:?}");
    }
    // The figures are what the workload is about, and not all zero.
    let by_what = |what: &str| facts.iter().find(|fact| fact.word("what") == what).unwrap();
    assert!(by_what("user").int("user") + by_what("user").int("system") >= 600_000_000);
    assert!(by_what("system").int("system") >= 200_000_000);
    assert!(by_what("threads").int("user") + by_what("threads").int("system") >= 600_000_000);
    assert!(by_what("memory").int("max_rss") >= 96 << 20);
    assert!(by_what("memory").int("minor") >= 96 << 8 || in_vm(), "huge pages need fewer faults");
}

#[test]
fn short_lives_can_be_left_out() {
    let Some(_turn) = alone(&["process"]) else { return };
    let minimum = Duration::from_millis(400);
    let recorded = Record::trace("process")
        .options(["--min-duration", "400ms"])
        .workload("exits", ["lives", "900"])
        .run();
    let exits = recorded.table::<Exit>();
    let forks = recorded.table::<Fork>();
    let facts = facts(recorded.stdout(), "exit");
    let mut left_out = 0;
    for fact in &facts {
        let pid = fact.int32("pid");
        let rows = rows_where(&exits, |row| exits.pid.value(row) == pid);
        row_where(&forks, "a fork", |row| forks.pid.value(row) == pid);
        if fact.word("what") == "long" {
            assert_eq!(rows.len(), 1, "{fact:?}");
            assert!(exits.duration.value(rows[0]) >= 900_000_000);
        } else if u128::from(fact.int("at_most").unsigned_abs()) < minimum.as_nanos() {
            assert_eq!(rows.len(), 0, "{fact:?}");
            left_out += 1;
        }
    }
    assert!(left_out > 0, "on a machine this slow the test shows nothing: {facts:?}");
    assert_eq!(recorded.recording.manifest().filters.min_duration, minimum.as_nanos() as i64);
}

#[test]
fn the_commands_exit_status_is_passed_on() {
    let Some(_turn) = shared(&["process"]) else { return };
    let cases = [
        ("exit 0", 0, Some(0), None),
        ("exit 7", 7, Some(7), None),
        ("kill -9 $$", 137, None, Some(9)),
    ];
    for (script, status, code, signal) in cases {
        let options = ["--", "/bin/sh", "-c", script];
        let recorded = Record::trace("process").options(options).start().finish_anyhow();
        assert_eq!(recorded.ended.status.code(), Some(status), "{script}");
        assert_eq!(recorded.ended.stderr, "");
        let exits = recorded.table::<Exit>();
        assert_eq!((known(&exits.code, 0), known(&exits.signal, 0)), (code, signal), "{script}");
        let ended = recorded.recording.manifest().ended.clone().unwrap();
        assert_eq!((ended.why.as_str(), ended.error), ("command", None));
    }
}

#[test]
fn a_child_that_outlives_the_command_is_not_waited_for() {
    let Some(_turn) = shared(&["process"]) else { return };
    let recorded = Record::trace("process").workload("exits", ["outlived"]).run();
    let child = fact(recorded.stdout(), "outlived").int32("pid");
    let alive = is_alive(child);
    if alive {
        send_signal(child, libc::SIGKILL);
    }
    assert!(alive, "recording does not touch it");
    let (forks, exits) = (recorded.table::<Fork>(), recorded.table::<Exit>());
    row_where(&forks, "its fork", |row| forks.pid.value(row) == child);
    assert_eq!(rows_where(&exits, |row| exits.pid.value(row) == child).len(), 0);
    assert_eq!(recorded.lost(TableId::Exit), 0);
}
