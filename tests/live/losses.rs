//! Nothing is lost in silence.

use lookback_schemas::TableId;
use lookback_schemas::cell::View as _;
use lookback_schemas::tables::{Kill, Loss, Signal};

use super::alone;
use crate::recording::{Record, known, rows_where};
use crate::running::in_vm;
use crate::workload::fact;

/// A ring buffer of one page holds some forty events.
const SMALLEST: [&str; 3] = ["--buffer", "4096", "--tolerate-loss"];

fn burst() -> u64 {
    if in_vm() { 50_000 } else { 200_000 }
}

#[test]
fn what_is_recorded_and_what_is_lost_is_what_happened() {
    let Some(_turn) = alone(&["signal"]) else { return };
    let recorded = Record::trace("signal")
        .options(SMALLEST)
        .workload("signals", ["burst", &burst().to_string()])
        .run();
    let sent = fact(recorded.stdout(), "sent").int("count").unsigned_abs();
    assert_eq!(sent, burst());
    let rows = |table: TableId| recorded.recording.manifest().totals[table.name()].rows;
    assert_eq!(rows(TableId::Kill) + recorded.lost(TableId::Kill), sent);
    // One more: the news of the workload's end, to the recorder.
    assert_eq!(rows(TableId::Signal) + recorded.lost(TableId::Signal), sent + 1);
    assert!(recorded.lost(TableId::Kill) > 0, "one page was enough: the test shows nothing");

    let losses = recorded.table::<Loss>();
    let manifest = recorded.recording.manifest();
    let end = manifest.ended.as_ref().unwrap().at;
    for row in 0..losses.rows() {
        assert_eq!(losses.reason.value(row), "ring full");
        assert!(known(&losses.cpu, row).is_some_and(|cpu| cpu >= 0));
        assert!(losses.count.value(row) > 0);
        let (from, to) = (losses.ts.value(row), losses.end.value(row));
        assert!(manifest.started <= from && from < to, "{from} to {to}");
        assert!(to < end + 10_000_000_000, "{to} is long after {end}");
    }

    // Those that were kept are whole.
    let (kills, signals) = (recorded.table::<Kill>(), recorded.table::<Signal>());
    let pid = fact(recorded.stdout(), "sent").int32("pid");
    assert!((0..kills.rows()).all(|row| kills.pid.value(row) == pid));
    let kept = rows_where(&signals, |row| signals.sig.value(row) == libc::SIGUSR1);
    assert!(kept.iter().all(|row| signals.target_pid.value(*row) == pid));
    assert!(kept.iter().all(|row| signals.result.value(*row) == 1), "the workload ignores it");
}

#[test]
fn nothing_is_lost_with_rings_of_the_usual_size() {
    let Some(_turn) = alone(&["signal"]) else { return };
    // More than fit into the ring: it must be emptied meanwhile.
    let sends = 60_000;
    let recorded =
        Record::trace("signal").workload("signals", ["stream", &sends.to_string()]).run();
    recorded.assert_nothing_lost();
    assert_eq!(recorded.table::<Kill>().rows(), sends);
    assert_eq!(recorded.table::<Signal>().rows(), sends + 1);
}
