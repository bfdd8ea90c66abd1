//! The tracer `offcpu`, against threads that know how often they left their CPU, why, and who woke them.

use std::ops::RangeInclusive;
use std::process::Command;

use lookback_schemas::cell::View as _;
use lookback_schemas::tables::offcpu::{Columns, State};
use lookback_schemas::tables::{Loss, Offcpu};
use lookback_schemas::wire::Reason;
use lookback_schemas::{Table as _, TableId};

use super::hooks::by_each_hook;
use super::sites::Stacks;
use super::{alone, shared};
use crate::recording::{Record, Recorded, known, row_where, rows_in_time, text};
use crate::running::{Running, in_vm};
use crate::workload::{self, Fact, fact, facts};

/// How often the workload waits in each way.
const COUNT: i64 = 20;

/// A way of waiting: its name, the state, at least so many nanoseconds, and words of which one is in the
/// names of the kernel's functions in which it waits.
const WAYS: [(&str, State, i64, &[&str]); 5] = [
    ("sleep", State::Interruptible, 10_000_000, &["nanosleep"]),
    ("futex", State::Interruptible, 1_000_000, &["futex"]),
    ("pipe", State::Interruptible, 1_000_000, &["pipe_read"]),
    ("vfork", State::Uninterruptible, 1_000_000, &["vfork", "completion"]),
    ("stop", State::Stopped, 0, &["do_signal_stop", "get_signal"]),
];

/// A sleep, or the wait for its end, may begin a little before the thread is off the CPU. How long before
/// is not known of one that is stopped: its parent is told first.
const SLACK: i64 = 200_000;

/// The kernel now and then leaves out a switch or a wakeup while another program attaches to it; no more than
/// so many in one recording.
const LEFT_OUT: i64 = 3;

fn state(waits: &Columns, row: usize) -> Option<State> {
    State::from_bits(known(&waits.state, row)?)
}

/// The rows of a thread that began in a span of the workload's clock, in order.
fn rows_of(
    recorded: &Recorded,
    waits: &Columns,
    tid: i32,
    span: &RangeInclusive<i64>,
) -> Vec<usize> {
    rows_in_time(&waits.ts, |row| {
        waits.tid.value(row) == tid && span.contains(&recorded.monotonic(waits.ts.value(row)))
    })
}

/// Halves of waits of which the other half was not seen.
fn unpaired(recorded: &Recorded) -> i64 {
    let losses = recorded.table::<Loss>();
    let of_ours = |row: &usize| {
        losses.table.value(*row) == Offcpu::NAME
            && losses.reason.value(*row) == Reason::Unpaired.name()
    };
    (0..losses.rows()).filter(of_ours).map(|row| losses.count.value(row)).sum()
}

/// Fails if a wait was lost. Of the tracer `process`, that runs beside, the kernel may leave out an event.
fn assert_nothing_lost(recorded: &Recorded) {
    assert_eq!(recorded.lost(TableId::Offcpu), 0);
}

/// Fails unless a row has the waker that it must have.
fn check_waker(waits: &Columns, row: usize, said: &Fact) {
    let by_interrupt = known(&waits.woken_by_interrupt, row);
    let waker = known(&waits.waker_tid, row);
    assert_eq!(waker.is_some(), known(&waits.waker_pid, row).is_some());
    match said.int32("waker") {
        // A timer. Where the kernel does not tell interrupts, some thread may be named.
        0 => {
            assert_ne!(by_interrupt, Some(0), "a timer woke it: {said:?}");
            assert_eq!(waker.is_none(), by_interrupt == Some(1));
        }
        // A child of its own each time.
        -1 => {
            assert_ne!(by_interrupt, Some(1), "{said:?}");
            assert!(waker.is_some_and(|waker| waker > said.int32("pid")), "{waker:?}: {said:?}");
        }
        expected => {
            assert_ne!(by_interrupt, Some(1), "{said:?}");
            assert_eq!(waker, Some(expected), "{said:?}");
            assert!(!text(&waits.waker_comm, row).is_empty());
        }
    }
}

/// Fails unless all that the threads of `offcpu each` said is in the recording.
fn check_each(recorded: &Recorded) {
    assert_nothing_lost(recorded);
    let waits = recorded.table::<Offcpu>();
    let stacks = Stacks::read(recorded);
    let said = facts(recorded.stdout(), "waited");
    assert_eq!(said.len(), WAYS.len());
    let mut unseen_wakeups = 0;
    for (way, expected, least, kernel) in WAYS {
        let said = said.iter().find(|fact| fact.word("way") == way).expect("it says each way");
        let span = said.int("began")..=said.int("ended");
        let rows = rows_of(recorded, &waits, said.int32("tid"), &span);
        let slept: Vec<usize> = rows
            .iter()
            .copied()
            .filter(|row| state(&waits, *row) != Some(State::Runnable))
            .collect();
        let unseen = unpaired(recorded);
        let as_many = |rows: &[usize]| rows.len() as i64..=rows.len() as i64 + unseen;
        assert!(as_many(&slept).contains(&said.int("sleeps")), "{}: {said:?}", slept.len());
        let in_call: Vec<usize> = slept
            .into_iter()
            .filter(|row| known(&waits.syscall, *row) == Some(said.int32("call")))
            .collect();
        assert!(as_many(&in_call).contains(&COUNT), "{}: {said:?}", in_call.len());
        for row in in_call {
            // Where the waker was very fast there is none.
            assert!(state(&waits, row).is_none_or(|state| state == expected), "{said:?}");
            let duration = known(&waits.duration, row).expect("it came back");
            assert!(duration >= (least - SLACK).max(1), "{duration} ns: {said:?}");
            let Some(runnable) = known(&waits.runnable, row) else {
                unseen_wakeups += 1;
                assert_eq!(known(&waits.waker_tid, row), None, "{said:?}");
                continue;
            };
            assert!((0..=duration).contains(&runnable), "{runnable} of {duration} ns: {said:?}");
            assert_eq!(waits.pid.value(row), said.int32("pid"));
            assert_eq!(text(&waits.comm, row), way);
            assert!(known(&waits.next_cpu, row).is_some());
            check_waker(&waits, row, said);
            let user = stacks.names(known(&waits.user_stack, row).expect("it is a program"));
            assert!(user.contains(&format!("way_{way}").as_str()), "{user:?}: {said:?}");
            let waits_in = stacks.names(known(&waits.kernel_stack, row).expect("it is in a call"));
            let named = |name: &&str| kernel.iter().any(|word| name.contains(word));
            assert!(waits_in.iter().any(named), "{waits_in:?}: {said:?}");
        }
    }
    assert!(unseen_wakeups <= LEFT_OUT, "{unseen_wakeups} wakeups were not seen");
}

#[test]
fn each_wait_is_recorded_with_reason_and_waker() {
    let Some(_turn) = alone(&["offcpu"]) else { return };
    by_each_hook("offcpu", &["typed-tracepoint", "raw-tracepoint"], |options| {
        let recorded = Record::trace("offcpu")
            .options(options)
            .workload("offcpu", ["each", &COUNT.to_string()])
            .run();
        check_each(&recorded);
        recorded
    });
}

#[test]
fn threads_that_could_run_wait_for_a_cpu_all_the_time() {
    // Others on their CPU would come between them.
    let Some(_turn) = alone(&["offcpu"]) else { return };
    let recorded = Record::trace("offcpu").workload("waits", ["compete", "600"]).run();
    assert_nothing_lost(&recorded);
    let waits = recorded.table::<Offcpu>();
    let threads = facts(recorded.stdout(), "thread");
    assert_eq!(threads.len(), 2);
    for thread in &threads {
        let rows = rows_of(&recorded, &waits, thread.int32("tid"), &(0..=i64::MAX));
        let count = |moment: i64, runnable: bool| {
            let until = |row: &&usize| {
                let duration = known(&waits.duration, **row).expect("they all came back");
                recorded.monotonic(waits.ts.value(**row)) + duration <= moment
                    && (state(&waits, **row) == Some(State::Runnable)) == runnable
            };
            rows.iter().filter(until).count() as i64
        };
        for (key, runnable) in [("involuntary", true), ("voluntary", false)] {
            let (least, most) = (thread.int("before"), thread.int("after"));
            let span = count(least, runnable)..=count(most, runnable) + unpaired(&recorded);
            assert!(span.contains(&thread.int(key)), "{key}: recorded {span:?}: {thread:?}");
        }
        assert!(thread.int("involuntary") > 0);
        for row in rows {
            if state(&waits, row) == Some(State::Runnable) {
                assert_eq!(known(&waits.runnable, row), known(&waits.duration, row));
                assert_eq!(known(&waits.waker_tid, row), None, "nobody has to wake it");
                assert_eq!(known(&waits.woken_by_interrupt, row), None);
            }
        }
    }
}

#[test]
fn short_waits_can_be_left_out() {
    let Some(_turn) = shared(&["offcpu"]) else { return };
    let recorded = Record::trace("offcpu")
        .options(["--min-latency", "2ms"])
        .workload("offcpu", ["each", &COUNT.to_string()])
        .run();
    let waits = recorded.table::<Offcpu>();
    let durations = (0..waits.rows()).filter_map(|row| known(&waits.duration, row));
    assert!(durations.min() >= Some(2_000_000));
    let said = facts(recorded.stdout(), "waited");
    let sleeper = said.iter().find(|fact| fact.word("way") == "sleep").expect("it says each way");
    let span = sleeper.int("began")..=sleeper.int("ended");
    let rows = rows_of(&recorded, &waits, sleeper.int32("tid"), &span);
    let seen = COUNT - unpaired(&recorded)..=COUNT;
    assert!(seen.contains(&(rows.len() as i64)), "its sleeps take longer: {}", rows.len());
}

#[test]
fn what_has_not_come_back_is_recorded_and_what_was_away_before_is_counted() {
    let Some(_turn) = shared(&["offcpu"]) else { return };
    let mut running = Running::start(Command::new(workload::path("offcpu")).arg("hang"));
    running.await_line("ready");
    let mut recorder = Record::trace("offcpu").pid(running.pid()).start();
    recorder.looked_around();
    running.send_line();
    let said = fact(&running.await_line("hangs"), "hangs");
    recorder.running.signal(libc::SIGINT);
    let recorded = recorder.finish();
    running.send_line();
    assert!(running.end().status.success());

    assert_nothing_lost(&recorded);
    // The program waited for its line already; more than that only where the kernel left out a switch.
    assert!((1..=LEFT_OUT).contains(&unpaired(&recorded)));
    let waits = recorded.table::<Offcpu>();
    let open = |tid: i32| {
        row_where(&waits, "a wait that did not end", |row| {
            waits.tid.value(row) == tid && known(&waits.duration, row).is_none()
        })
    };
    let (pid, tid) = (said.int32("pid"), said.int32("tid"));
    let (reads, hangs) = (open(pid), open(tid));
    for (row, call, name) in [(reads, libc::SYS_read, "offcpu"), (hangs, libc::SYS_pause, "hang")] {
        assert_eq!(waits.pid.value(row), pid);
        assert_eq!(state(&waits, row), Some(State::Interruptible));
        assert_eq!(known(&waits.syscall, row), Some(call as i32));
        assert_eq!(text(&waits.comm, row), name);
        for unknown in [&waits.waker_tid, &waits.next_cpu, &waits.woken_by_interrupt] {
            assert_eq!(known(unknown, row), None);
        }
        assert_eq!(known(&waits.runnable, row), None);
    }
    let stacks = Stacks::read(&recorded);
    let user = stacks.names(known(&waits.user_stack, hangs).expect("it is a program"));
    assert!(user.iter().any(|name| name.contains("pause")), "{user:?}");
}

/// What the flame graph of a thread adds up to between two moments of the workload's clock, in nanoseconds.
fn drawn(recorded: &Recorded, weight: &str, tid: i32, [since, until]: [i64; 2]) -> i64 {
    let manifest = recorded.recording.manifest();
    let after_start = |moment: i64| format!("{}ns", moment + manifest.epoch - manifest.started);
    let (tid, since, until) = (tid.to_string(), after_start(since), after_start(until));
    let options = ["--tid", &tid, "--since", &since, "--until", &until];
    let rows = recorded.report(&[&["flamegraph", "--weight", weight], &options[..]].concat());
    rows.iter().map(|row| row["weight"].as_i64().expect("it is a number")).sum()
}

#[test]
fn time_on_and_off_the_cpu_is_all_time() {
    let Some(_turn) = alone(&["offcpu", "profile"]) else { return };
    let frequency = if in_vm() { "99" } else { "999" };
    let recorded = Record::trace("offcpu,profile")
        .options(["--frequency", frequency])
        .workload("waits", ["compete", "1500"])
        .run();
    let tracers = &recorded.recording.manifest().tracers;
    if tracers.iter().flat_map(|tracer| &tracer.hooks).any(|hook| hook.hook.contains("cycles")) {
        eprintln!("left out: the samples of this machine count cycles, and no time");
        return;
    }
    for thread in facts(recorded.stdout(), "thread") {
        const WINDOW: i64 = 1_000_000_000;
        let until = thread.int("before") - 100_000_000;
        let window = [until - WINDOW, until];
        let of = |weight| drawn(&recorded, weight, thread.int32("tid"), window);
        let (off, wall) = (of("offcpu"), of("wall"));
        // Two threads have one CPU, and others of this machine may want it too.
        assert!((WINDOW / 4..WINDOW).contains(&off), "{off} ns off the CPU: {thread:?}");
        let error = (wall - WINDOW).abs() as f64 / WINDOW as f64;
        assert!(error < if in_vm() { 0.3 } else { 0.1 }, "{wall} ns in a second: {thread:?}");
    }
}

#[test]
fn the_report_has_who_woke_whom_where() {
    let Some(_turn) = alone(&["offcpu"]) else { return };
    let count = COUNT.to_string();
    let recorded = Record::trace("offcpu").workload("offcpu", ["each", &count]).run();
    let unseen = unpaired(&recorded);
    let rows = recorded.report(&["offcpu", "--by", "thread,state,syscall,function,waker"]);
    for (way, state, call, waker) in [
        ("futex", "interruptible", "futex", "offcpu"),
        ("pipe", "interruptible", "read", "writer"),
        ("stop", "stopped", "kill", "vfork"),
    ] {
        let is_waker = |said: &str| said.trim_end_matches('?') == waker;
        let found: Vec<_> = rows
            .iter()
            .filter(|row| row["state"] == state && row["syscall"] == call)
            .filter(|row| row["waker"].as_str().is_some_and(is_waker))
            .collect();
        let times: i64 = found.iter().map(|row| row["count"].as_i64().expect("a number")).sum();
        assert!((times..=times + unseen).contains(&COUNT), "{way}: {times} of {rows:?}");
        for row in found {
            let function = row["function"].as_str().expect("it has a name");
            let words = WAYS.iter().find(|(name, ..)| *name == way).expect("it is one").3;
            assert!(words.iter().any(|word| function.contains(word)), "{way}: {function}");
        }
    }
}
