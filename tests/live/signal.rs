//! The tracer `signal`, against what the senders know.

use lookback_schemas::cell::View as _;
use lookback_schemas::tables::{Kill, Signal};

use super::hooks::by_each_hook;
use super::shared;
use crate::recording::{Record, Recorded, known, rows_where, text};
use crate::workload::{fact, facts};

#[test]
fn each_call_is_recorded_with_its_result() {
    let Some(_turn) = shared(&["signal"]) else { return };
    by_each_hook("signal", &["tracepoint", "raw-tracepoint"], |options| {
        let record = Record::trace("signal").options(options);
        let recorded = record.workload("signals", ["calls"]).run();
        check_calls(&recorded);
        recorded
    });
}

fn check_calls(recorded: &Recorded) {
    recorded.assert_nothing_lost();
    let kills = recorded.table::<Kill>();
    let mut rows: Vec<usize> = (0..kills.rows()).collect();
    rows.sort_by_key(|row| kills.ts.value(*row));
    let recorded_calls: Vec<_> = rows
        .iter()
        .map(|row| {
            assert!(kills.duration.value(*row) > 0);
            assert_eq!(text(&kills.comm, *row), "signals");
            let numbers =
                [&kills.pid, &kills.tid, &kills.uid, &kills.call, &kills.sig, &kills.result]
                    .map(|column| column.value(*row));
            (numbers, known(&kills.target_pid, *row), known(&kills.target_tid, *row))
        })
        .collect();
    let made_calls: Vec<_> = facts(recorded.stdout(), "call")
        .iter()
        .map(|fact| {
            let numbers = ["pid", "tid", "uid", "call", "sig", "result"].map(|key| fact.int32(key));
            (numbers, fact.known("target_pid"), fact.known("target_tid"))
        })
        .collect();
    assert_eq!(recorded_calls, made_calls, "all of them, in order, and no other");

    let results: std::collections::BTreeSet<i32> =
        recorded_calls.iter().map(|(numbers, ..)| numbers[5]).collect();
    let each = [0, -libc::EPERM, -libc::ESRCH, -libc::EINVAL];
    assert_eq!(results, each.into_iter().collect(), "the workload sees them all");
}

#[test]
fn each_signal_is_recorded_with_its_sender_and_its_fate() {
    let Some(_turn) = shared(&["signal"]) else { return };
    for mode in ["calls", "timers"] {
        let recorded = Record::trace("signal").workload("signals", [mode]).run();
        recorded.assert_nothing_lost();
        let own = fact(recorded.stdout(), "signals");
        let (workload, recorder) = (own.int32("pid"), own.int32("parent"));
        let signals = recorded.table::<Signal>();

        let mut rows = rows_where(&signals, |row| signals.target_pid.value(row) != recorder);
        rows.sort_by_key(|row| signals.ts.value(*row));
        let recorded_signals: Vec<_> = rows
            .iter()
            .map(|row| {
                let sender = known(&signals.pid, *row);
                assert_eq!(known(&signals.tid, *row), sender, "no threads here");
                assert_eq!(known(&signals.comm, *row), sender.map(|_| "signals"));
                assert_eq!(text(&signals.target_comm, *row), "signals");
                assert_eq!(signals.target_tid.value(*row), signals.target_pid.value(*row));
                let columns = [&signals.sig, &signals.code, &signals.target_pid, &signals.result];
                (sender, columns.map(|column| column.value(*row)), signals.group.value(*row))
            })
            .collect();
        let sent: Vec<_> = facts(recorded.stdout(), "signal")
            .iter()
            .map(|fact| {
                let numbers = ["sig", "code", "target_pid", "result"].map(|key| fact.int32(key));
                (fact.known("pid"), numbers, fact.int("group") != 0)
            })
            .collect();
        assert_eq!(recorded_signals, sent, "all of them, in order, and no other");

        // What the recorder got is the news of the workload's end.
        let rows = rows_where(&signals, |row| signals.target_pid.value(row) == recorder);
        let news: Vec<_> = rows
            .iter()
            .map(|row| {
                (known(&signals.pid, *row), signals.sig.value(*row), signals.code.value(*row))
            })
            .collect();
        assert_eq!(news, [(Some(workload), libc::SIGCHLD, libc::CLD_EXITED)]);
    }
}

#[test]
fn users_of_sender_and_target_are_recorded() {
    let Some(_turn) = shared(&["signal"]) else { return };
    let recorded = Record::trace("signal").workload("signals", ["calls"]).run();
    let signals = recorded.table::<Signal>();
    let nobody = facts(recorded.stdout(), "call")
        .iter()
        .find(|fact| fact.int("uid") != 0)
        .map(|fact| (fact.int32("pid"), fact.int32("uid")))
        .unwrap();
    let users: Vec<_> = rows_where(&signals, |row| known(&signals.pid, row) == Some(nobody.0))
        .iter()
        .map(|row| (known(&signals.uid, *row), signals.target_uid.value(*row)))
        .collect();
    assert_eq!(users, [(Some(nobody.1), 0)], "its only signal is the news of its end");
}

#[test]
fn a_stream_of_signals_is_recorded_one_by_one() {
    let Some(_turn) = shared(&["signal"]) else { return };
    let recorded = Record::trace("signal").workload("signals", ["many", "5000"]).run();
    recorded.assert_nothing_lost();
    let sent = fact(recorded.stdout(), "sent");
    let (sender, target) = (sent.int32("pid"), sent.int32("target"));

    let kills = recorded.table::<Kill>();
    let calls = rows_where(&kills, |row| {
        kills.sig.value(row) == libc::SIGUSR1 && known(&kills.target_pid, row) == Some(target)
    });
    assert_eq!(calls.len() as i64, sent.int("count"));
    assert!(
        calls.iter().all(|row| (kills.pid.value(*row), kills.result.value(*row)) == (sender, 0))
    );

    let signals = recorded.table::<Signal>();
    let rows = rows_where(&signals, |row| signals.sig.value(row) == libc::SIGUSR1);
    assert_eq!(rows.len() as i64, sent.int("count"));
    for row in &rows {
        assert_eq!(known(&signals.pid, *row), Some(sender));
        assert_eq!(signals.target_pid.value(*row), target);
    }
    // A signal that is pending already is not queued again: what the target took are the others.
    let by_result =
        |result| rows.iter().filter(|row| signals.result.value(**row) == result).count();
    let taken = fact(recorded.stdout(), "taken").int("count") as usize;
    assert_eq!((by_result(0), by_result(2)), (taken, rows.len() - taken));
}
