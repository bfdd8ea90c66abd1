//! The tracer `runq`, against the kernel's own figures for each thread.

use lookback_schemas::Table as _;
use lookback_schemas::cell::View as _;
use lookback_schemas::tables::{Loss, Runq, runq};
use lookback_schemas::wire::Reason;

use super::hooks::by_each_hook;
use super::{alone, shared};
use crate::recording::{Record, Recorded, known, rows_in_time, text};
use crate::running::in_vm;
use crate::workload::{Fact, facts};

const WOKEN: i32 = 0;
const PREEMPTED: i32 = 1;
const NEW: i32 = 2;

/// The usual priority of a thread that is not nice.
const PRIORITY: i32 = 120;

/// The rows of a thread, in order.
fn rows_of(waits: &runq::Columns, tid: i32) -> Vec<usize> {
    rows_in_time(&waits.ts, |row| waits.tid.value(row) == tid)
}

/// Fails unless a thread's waits are those that the kernel counted, since its first moment and until some
/// moment between `before` and `after`.
fn check_figures(recorded: &Recorded, waits: &runq::Columns, thread: &Fact) {
    let rows = rows_of(waits, thread.int32("tid"));
    let until = |moment: i64| {
        rows.iter().copied().filter(move |row| {
            recorded.monotonic(waits.ts.value(*row)) + waits.wait.value(*row) <= moment
        })
    };
    let (before, after) = (thread.int("before"), thread.int("after"));
    // A thread that gives up the CPU to sleep is woken; one that loses it could still run.
    for (cause, key) in [(WOKEN, "voluntary"), (PREEMPTED, "involuntary")] {
        let count =
            |moment| until(moment).filter(|row| waits.cause.value(*row) == cause).count() as i64;
        // The kernel now and then leaves out a switch while another program attaches to it; the recorder
        // notices, and counts halves.
        let (counted, span) = (thread.int(key), count(before)..=count(after) + unpaired(recorded));
        assert!(span.contains(&counted), "{key} {counted}, recorded {span:?}: {thread:?}");
    }
    let new: Vec<usize> =
        rows.iter().copied().filter(|row| waits.cause.value(*row) == NEW).collect();
    assert_eq!(new, rows[..1], "the first wait, and no other, was a new thread's");

    let sum = |moment| until(moment).map(|row| waits.wait.value(row)).sum::<i64>();
    let delay = thread.int("delay");
    // The kernel takes the time when it begins to choose who is next, the recorder when it has chosen.
    // Under emulation that takes long.
    let choosing = if in_vm() { rows.len() as i64 * 100_000 } else { 0 };
    let tolerance = (delay / 10).max(2_000_000) + choosing;
    let (least, most) = (sum(before) - tolerance, sum(after) + tolerance);
    assert!((least..=most).contains(&delay), "{least} to {most}: {thread:?}");

    let pid = thread.int32("pid");
    for row in rows {
        assert!(waits.wait.value(row) >= 0);
        assert_eq!(waits.pid.value(row), pid);
        assert_eq!(waits.prio.value(row), PRIORITY + thread.int32("niceness"));
    }
}

/// Halves of waits of which the other half was not seen.
fn unpaired(recorded: &Recorded) -> i64 {
    let losses = recorded.table::<Loss>();
    let of_runq = |row: &usize| {
        losses.table.value(*row) == Runq::NAME
            && losses.reason.value(*row) == Reason::Unpaired.name()
    };
    (0..losses.rows()).filter(of_runq).map(|row| losses.count.value(row)).sum()
}

/// The pid namespace of the tests and of their workloads.
fn pid_namespace() -> i64 {
    let link = std::fs::read_link("/proc/self/ns/pid").unwrap();
    let name = link.to_str().unwrap();
    name.trim_start_matches("pid:[").trim_end_matches(']').parse().unwrap()
}

#[test]
fn threads_on_one_cpu_wait_for_each_other() {
    // Others on their CPU would come between them.
    let Some(_turn) = alone(&["runq"]) else { return };
    by_each_hook("runq", &["typed-tracepoint", "raw-tracepoint"], |options| {
        let record = Record::trace("runq").options(options);
        let recorded = record.workload("waits", ["compete", "1000"]).run();
        check_waits_for_each_other(&recorded);
        recorded
    });
}

fn check_waits_for_each_other(recorded: &Recorded) {
    recorded.assert_nothing_lost();
    let waits = recorded.table::<Runq>();
    let threads = facts(recorded.stdout(), "thread");
    assert_eq!(threads.len(), 2);
    for thread in &threads {
        check_figures(recorded, &waits, thread);
    }
    for (thread, other) in [(&threads[0], &threads[1]), (&threads[1], &threads[0])] {
        let tid = thread.int32("tid");
        let (mut for_the_other, mut named) = (0, 0);
        for row in rows_of(&waits, tid) {
            assert_eq!(waits.cpu.value(row), thread.int32("cpu"), "it may use only that one");
            assert_ne!(waits.prev_tid.value(row), tid, "it does not wait for itself");
            assert_eq!(known(&waits.pid_ns, row), Some(pid_namespace()));
            if waits.prev_tid.value(row) == other.int32("tid") {
                for_the_other += 1;
                assert_eq!(waits.prev_pid.value(row), other.int32("pid"));
                if waits.cause.value(row) == PREEMPTED {
                    // Until a thread has taken a name it has its program's.
                    let names =
                        |thread: &Fact| [thread.word("name").to_owned(), "waits".to_owned()];
                    assert!(names(other).contains(&text(&waits.prev_comm, row).to_owned()));
                    assert!(names(thread).contains(&text(&waits.comm, row).to_owned()));
                    named += usize::from(text(&waits.prev_comm, row) == other.word("name"));
                }
            }
        }
        assert!(for_the_other > 0, "no waits of {thread:?} for {other:?}");
        assert!(named > 0, "{other:?} never had its name");
    }
}

#[test]
fn a_thread_waits_each_time_that_it_is_woken() {
    const PINGS: i64 = 200;
    let Some(_turn) = shared(&["runq"]) else { return };
    let recorded = Record::trace("runq").workload("waits", ["pings", &PINGS.to_string()]).run();
    recorded.assert_nothing_lost();
    let waits = recorded.table::<Runq>();
    let threads = facts(recorded.stdout(), "thread");
    assert_eq!(threads.len(), 1);
    check_figures(&recorded, &waits, &threads[0]);
    assert!(threads[0].int("voluntary") >= PINGS, "it slept before each: {threads:?}");
}

#[test]
fn short_waits_can_be_left_out() {
    let Some(_turn) = shared(&["runq"]) else { return };
    let recorded = Record::trace("runq")
        .options(["--min-latency", "1ms"])
        .workload("waits", ["compete", "600"])
        .run();
    let waits = recorded.table::<Runq>();
    assert!((0..waits.rows()).all(|row| waits.wait.value(row) >= 1_000_000));
    // What is left out is short: what is left is as much as the kernel counted, but for as many
    // milliseconds as there were waits.
    for thread in facts(recorded.stdout(), "thread") {
        let rows = rows_of(&waits, thread.int32("tid"));
        let sum: i64 = rows.iter().map(|row| waits.wait.value(*row)).sum();
        let left_out = thread.int("waits") - rows.len() as i64;
        let least = thread.int("delay") * 9 / 10 - left_out.max(0) * 1_000_000 - 2_000_000;
        assert!(!rows.is_empty() && sum >= least, "{sum} ns: {thread:?}");
    }
}
