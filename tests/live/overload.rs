//! What is too much is stopped, and said.

use lookback_schemas::TableId;
use lookback_schemas::cell::View as _;
use lookback_schemas::tables::Loss;

use super::alone;
use crate::recording::Record;
use crate::running::in_vm;
use crate::workload::fact;

#[test]
fn what_is_too_much_is_stopped_and_counted_to_the_last_event() {
    let Some(_turn) = alone(&["signal"]) else { return };
    let sends = if in_vm() { 400_000 } else { 12_000_000_u64 };
    // A ring buffer of one page holds some forty events.
    let recorded = Record::trace_aloud("signal")
        .options(["--buffer", "4096"])
        .workload("signals", ["burst", &sends.to_string()])
        .start()
        .finish_anyhow();
    assert!(recorded.ended.status.success(), "{}", recorded.ended.stderr);
    assert_eq!(fact(recorded.stdout(), "sent").int("count").unsigned_abs(), sends);
    // Seen = recorded + lost was looked at when it was opened.
    let manifest = recorded.recording.manifest();
    let total = manifest.totals[TableId::Kill.name()];
    assert_eq!(total.rows + total.lost, sends);

    let stopped = &manifest.stopped;
    let first = stopped.first().expect("one of the two tables was stopped");
    assert!(["kill", "signal"].contains(&first.table.as_str()), "{first:?}");
    let said = format!("events of `{}` are only counted for a while", first.table);
    assert!(recorded.ended.stderr.contains(&said), "{}", recorded.ended.stderr);
    assert!(first.from - manifest.started >= 3_000_000_000, "not at the first loss");

    let losses = recorded.table::<Loss>();
    let of = |row: &usize| {
        losses.table.value(*row) == first.table && losses.reason.value(*row) == "stopped"
    };
    let rows: Vec<usize> = (0..losses.rows()).filter(of).collect();
    assert!(!rows.is_empty(), "they are counted");
    assert!(rows.iter().all(|row| losses.end.value(*row) >= first.from));
}
