//! The tracer `syscall`, against what each thread knows about its calls.

#![expect(unsafe_code, reason = "tests call the system as programs do")]

use std::collections::BTreeSet;
use std::process::Command;

use arrow::array::Array as _;
use lookback_schemas::cell::View as _;
use lookback_schemas::tables::{Syscall, syscall};

use super::shared;
use crate::recording::{
    Record, Recorded, known, numbers, row_where, rows_in_time, rows_where, text,
};
use crate::running::Running;
use crate::workload::{self, Fact, fact, facts};

const COUNT: usize = 50;

/// Fails unless each thread's calls of the kinds that `wanted` names are there, each with its result, and
/// none of the other kinds.
fn check_made(recorded: &Recorded, output: &str, wanted: impl Fn(&Fact) -> bool) {
    let calls = recorded.table::<Syscall>();
    let pid = fact(output, "calls").int32("pid");
    // SAFETY: getuid needs nothing.
    let uid = unsafe { libc::getuid() } as i32;
    let threads = facts(output, "thread");
    assert_eq!(threads.len(), 2);
    for made in facts(output, "made") {
        let (tid, number) = (made.int32("tid"), made.int32("number"));
        let thread = threads.iter().find(|thread| thread.int32("tid") == tid).unwrap();
        let rows = rows_where(&calls, |row| {
            calls.tid.value(row) == tid && calls.number.value(row) == number
        });
        let expected = if wanted(&made) { made.int("count") } else { 0 };
        assert_eq!(rows.len() as i64, expected, "{made:?}");
        for row in &rows {
            let duration = known(&calls.duration, *row).expect("it returned");
            recorded.assert_within(thread, calls.ts.value(*row), duration);
            assert!(duration >= made.int("at_least"), "{duration} ns: {made:?}");
            assert_eq!(known(&calls.result, *row), Some(made.int("result")), "{made:?}");
            assert_eq!((calls.pid.value(*row), calls.uid.value(*row)), (pid, uid));
            assert_eq!(text(&calls.comm, *row), "calls");
            assert!(!calls.compat.value(*row));
        }
    }
    // One after the other: together they took no longer than the thread.
    for thread in &threads {
        let durations = rows_where(&calls, |row| {
            calls.tid.value(row) == thread.int32("tid")
                && recorded.monotonic(calls.ts.value(row)) >= thread.int("began")
                && recorded.monotonic(calls.ts.value(row)) <= thread.int("ended")
        });
        let total: i64 = durations.iter().filter_map(|row| known(&calls.duration, *row)).sum();
        assert!(total <= thread.int("ended") - thread.int("began"), "{total} ns: {thread:?}");
    }
}

/// The main thread calls write for each line of its output, and for nothing else: these are the results.
fn check_lines(recorded: &Recorded) {
    let calls = recorded.table::<Syscall>();
    let pid = fact(recorded.stdout(), "calls").int32("pid");
    let rows = rows_in_time(&calls.ts, |row| {
        calls.tid.value(row) == pid
            && i64::from(calls.number.value(row)) == libc::SYS_write
            && text(&calls.comm, row) == "calls"
    });
    let results: Vec<_> = rows.iter().map(|row| known(&calls.result, *row)).collect();
    let lines: Vec<_> = recorded.stdout().lines().map(|line| Some(line.len() as i64 + 1)).collect();
    assert_eq!(results, lines);
}

#[test]
fn every_call_is_recorded_with_its_result() {
    let Some(_turn) = shared(&["syscall"]) else { return };
    let recorded = Record::trace("syscall").workload("calls", ["counts", &COUNT.to_string()]).run();
    check_made(&recorded, recorded.stdout(), |_| true);
    check_lines(&recorded);
    let calls = recorded.table::<Syscall>();
    assert_eq!(calls.args.null_count(), calls.rows(), "nobody asked for arguments");
    recorded.assert_nothing_of_ours_lost();
}

#[test]
fn one_call_alone() {
    let Some(_turn) = shared(&["syscall"]) else { return };
    let recorded = Record::trace("syscall")
        .options(["--syscall", "write"])
        .workload("calls", ["counts", &COUNT.to_string()])
        .run();
    check_made(&recorded, recorded.stdout(), |made| made.word("name") == "write");
    check_lines(&recorded);
    let calls = recorded.table::<Syscall>();
    assert!((0..calls.rows()).all(|row| i64::from(calls.number.value(row)) == libc::SYS_write));
    recorded.assert_nothing_of_ours_lost();
}

#[test]
fn some_calls_with_their_arguments() {
    let Some(_turn) = shared(&["syscall"]) else { return };
    let recorded = Record::trace("syscall")
        .options(["--syscall", "write,dup", "--syscall", "nanosleep", "--syscall-args"])
        .workload("calls", ["counts", &COUNT.to_string()])
        .run();
    let names = ["write", "dup", "nanosleep"];
    check_made(&recorded, recorded.stdout(), |made| names.contains(&made.word("name")));
    let calls = recorded.table::<Syscall>();
    for made in facts(recorded.stdout(), "made") {
        let rows = rows_where(&calls, |row| {
            calls.tid.value(row) == made.int32("tid")
                && calls.number.value(row) == made.int32("number")
        });
        for row in rows {
            assert_eq!(numbers(&calls.args.value(row)), made.ints("args"), "{made:?}");
        }
    }
    let numbers: BTreeSet<i64> =
        calls.number.values().iter().map(|number| i64::from(*number)).collect();
    assert_eq!(
        numbers,
        [libc::SYS_write, libc::SYS_dup, libc::SYS_nanosleep].into_iter().collect()
    );
    recorded.assert_nothing_of_ours_lost();
}

#[test]
fn short_calls_can_be_left_out() {
    let Some(_turn) = shared(&["syscall"]) else { return };
    let recorded = Record::trace("syscall")
        .options(["--min-latency", "15ms"])
        .workload("calls", ["counts", &COUNT.to_string()])
        .run();
    let calls = recorded.table::<Syscall>();
    for row in 0..calls.rows() {
        assert!(known(&calls.duration, row).is_none_or(|duration| duration >= 15_000_000));
    }
    let made = facts(recorded.stdout(), "made");
    for made in made.iter().filter(|made| made.int("at_least") >= 15_000_000) {
        let rows = rows_where(&calls, |row| {
            calls.tid.value(row) == made.int32("tid")
                && calls.number.value(row) == made.int32("number")
        });
        assert_eq!(rows.len() as i64, made.int("count"), "{made:?}");
    }
    let all: i64 = made.iter().map(|made| made.int("count")).sum();
    assert!((calls.rows() as i64) < all / 2, "{} of {all}", calls.rows());
}

#[test]
fn one_thread() {
    let Some(_turn) = shared(&["syscall"]) else { return };
    let mut command = Command::new(workload::path("calls"));
    let mut running = Running::start(command.args(["later", &COUNT.to_string()]));
    let ready = fact(&running.await_line("ready"), "ready");
    let (pid, tid) = (ready.int32("pid"), ready.int32("second"));
    let mut recorder =
        Record::trace("syscall").options(["--tid", &tid.to_string()]).pid(pid).start();
    recorder.looked_around();
    running.send_line();
    let output = running.end().stdout;
    let recorded = recorder.finish();
    check_made(&recorded, &output, |made| made.int32("tid") == tid);
    let calls = recorded.table::<Syscall>();
    assert!(calls.tid.values().iter().all(|of| *of == tid), "no other thread's");
}

/// Whether a row says that its call did not return.
fn did_not_return(calls: &syscall::Columns, row: usize) -> bool {
    known(&calls.duration, row).is_none() && known(&calls.result, row).is_none()
}

/// `include/linux/errno.h`
const ERESTARTSYS: i64 = -512;

#[test]
fn calls_that_do_not_return_are_recorded() {
    let Some(_turn) = shared(&["syscall"]) else { return };
    let recorded = Record::trace("syscall").workload("calls", ["ends"]).run();
    let calls = recorded.table::<Syscall>();
    let last = facts(recorded.stdout(), "last");
    for fact in &last {
        let (tid, number) = (fact.int32("tid"), fact.int32("number"));
        let row = row_where(&calls, &format!("{fact:?}"), |row| {
            calls.tid.value(row) == tid && calls.number.value(row) == number
        });
        assert_eq!(calls.pid.value(row), fact.int32("pid"));
        let (duration, result) = (known(&calls.duration, row), known(&calls.result, row));
        // A signal that kills takes the thread out of the call as any signal does, with a code of the
        // kernel's own (ERESTARTSYS), and only then does the thread end.
        let interrupted = fact.word("why") == "killed" && result == Some(ERESTARTSYS);
        assert!(interrupted || did_not_return(&calls, row), "{duration:?} {result:?}: {fact:?}");
        let times = calls.ts.values().iter();
        let later = times
            .zip(calls.tid.values())
            .filter(|(ts, of)| **of == tid && **ts > calls.ts.value(row));
        assert_eq!(later.count(), 0, "it was the thread's last: {fact:?}");
    }
    assert_eq!(last.iter().filter(|fact| fact.word("why") == "killed").count(), 2);
    recorded.assert_nothing_of_ours_lost();
}
