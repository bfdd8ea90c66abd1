//! What is too much is stopped, and said.

use std::time::{Duration, Instant};

use lookback_schemas::TableId;
use lookback_schemas::cell::View as _;
use lookback_schemas::tables::Loss;

use super::alone;
use crate::recording::Record;
use crate::running::{in_vm, limit};
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

/// What the recorder takes at most, rings and all, in KiB: docs/reliability.md says so.
const MOST_MEMORY: u64 = 512 << 10;

#[test]
fn memory_stays_bounded_at_any_rate() {
    let Some(_turn) = alone(&["signal", "syscall", "profile"]) else { return };
    let sends = if in_vm() { 200_000 } else { 6_000_000_u64 };
    let mut recorder = Record::trace("signal,syscall,profile")
        .options(["--frequency", "999"])
        .workload("signals", ["burst", &sends.to_string()])
        .start();
    let (mut most, end) = (0, Instant::now() + 2 * limit());
    while !recorder.running.has_ended() {
        assert!(Instant::now() < end, "the burst does not end");
        most = most.max(recorder.running.most_memory().unwrap_or(0));
        std::thread::sleep(Duration::from_millis(20));
    }
    let recorded = recorder.finish_anyhow();
    assert!(recorded.ended.status.success(), "{}", recorded.ended.stderr);
    let totals = &recorded.recording.manifest().totals;
    let seen: u64 = totals.values().filter_map(|total| total.seen).sum();
    println!("{most} KiB at most, of {seen} events");
    // Each is a call, a signal that is sent, and one that is generated.
    assert!(seen > 2 * sends, "{totals:?}");
    assert!((1024..MOST_MEMORY).contains(&most), "{most} KiB");
}
