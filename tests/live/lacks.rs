//! What a kernel cannot tell is null, and listed; what is not listed is told.

use lookback_schemas::cell::View as _;
use lookback_schemas::tables::{Kalloc, Offcpu};

use super::shared;
use crate::recording::{Record, Recorded, known, rows_where};
use crate::running::kernel_version;

/// Whether a recording lists a column as one that its kernel cannot fill.
fn lists(recorded: &Recorded, column: &str) -> bool {
    let tracers = &recorded.recording.manifest().tracers;
    tracers.iter().flat_map(|tracer| &tracer.unknown).any(|unknown| unknown.column == column)
}

#[test]
fn who_is_interrupted_is_known_or_listed() {
    let Some(_turn) = shared(&["offcpu"]) else { return };
    let recorded = Record::trace("offcpu").workload("offcpu", ["each", "20"]).run();
    let waits = recorded.table::<Offcpu>();
    let woken = rows_where(&waits, |row| known(&waits.waker_pid, row).is_some());
    assert!(!woken.is_empty());
    let unknown = woken.iter().all(|row| known(&waits.woken_by_interrupt, *row).is_none());
    assert_eq!(unknown, lists(&recorded, "offcpu.woken_by_interrupt"));
}

#[test]
fn what_the_kernels_memory_is_called_and_takes_is_known_or_listed() {
    let Some(_turn) = shared(&["kalloc"]) else { return };
    let recorded = Record::trace("kalloc").workload("eventfds", ["20", "10"]).run();
    let (names, bytes) = ("kalloc.cache", "kalloc.bytes of percpu memory");
    assert_eq!(lists(&recorded, names), kernel_version() < (6, 1));
    assert_eq!(lists(&recorded, bytes), kernel_version() < (6, 0));
    let blocks = recorded.table::<Kalloc>();
    let named = rows_where(&blocks, |row| known(&blocks.cache, row).is_some());
    assert_eq!(named.is_empty(), lists(&recorded, names), "{} rows", blocks.rows());
}
