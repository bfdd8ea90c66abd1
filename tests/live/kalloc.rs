//! The tracer `kalloc`: objects of which the workload knows how many there are.

use std::collections::{HashMap, HashSet};

use lookback_schemas::cell::View as _;
use lookback_schemas::tables::{Kalloc, Stack, Symbol, kalloc};

use serde_json::Value;

use super::shared;
use crate::recording::{Record, Recorded, known, numbers, rows_in_time};
use crate::workload::fact;

const SLAB: i32 = 0;
const PAGES: i32 = 1;
const PERCPU: i32 = 2;
const COUNT: usize = 400;
const CLOSED: usize = 150;

/// The stacks that go through a function whose name has this in it.
fn stacks_through(recorded: &Recorded, name: &str) -> HashSet<i64> {
    let (symbols, stacks) = (recorded.table::<Symbol>(), recorded.table::<Stack>());
    let frames: HashSet<i64> = (0..symbols.rows())
        .filter(|row| symbols.name.value(*row).contains(name))
        .map(|row| symbols.frame.value(row))
        .collect();
    (0..stacks.rows())
        .filter(|row| numbers(&stacks.frames.value(*row)).iter().any(|id| frames.contains(id)))
        .map(|row| stacks.id.value(row))
        .collect()
}

/// Slab objects by stack that were there at a moment of the monotonic clock.
fn live_at(recorded: &Recorded, events: &kalloc::Columns, moment: i64) -> HashMap<i64, usize> {
    let rows = rows_in_time(&events.ts, |row| {
        events.kind.value(row) == SLAB && recorded.monotonic(events.ts.value(row)) <= moment
    });
    let mut live: HashMap<i64, i64> = HashMap::new();
    for row in rows {
        let address = events.address.value(row);
        match known(&events.stack, row) {
            Some(stack) => live.insert(address, stack),
            None => live.remove(&address),
        };
    }
    let mut counts = HashMap::new();
    for stack in live.into_values() {
        *counts.entry(stack).or_default() += 1;
    }
    counts
}

fn record(options: &[&str]) -> Recorded {
    let recorded = Record::trace("kalloc")
        .options(options)
        .workload("eventfds", [COUNT.to_string(), CLOSED.to_string()])
        .run();
    recorded.assert_nothing_of_ours_lost();
    recorded
}

#[test]
fn objects_of_the_kernel_are_recorded_with_their_stacks() {
    let Some(_turn) = shared(&["kalloc"]) else { return };
    let recorded = record(&[]);
    let events = recorded.table::<Kalloc>();
    let made = fact(recorded.stdout(), "eventfds");
    for row in 0..events.rows() {
        let free = events.free.value(row);
        assert_eq!(known(&events.stack, row).is_none(), free, "allocations have a stack");
        if let (Some(bytes), Some(requested)) =
            (known(&events.bytes, row), known(&events.requested, row))
            && events.kind.value(row) == SLAB
        {
            assert!(bytes >= requested && requested > 0, "{requested} of {bytes} bytes");
        }
    }
    for kind in [SLAB, PAGES, PERCPU] {
        let of_kind = |row: &usize| events.kind.value(*row) == kind && !events.free.value(*row);
        assert!((0..events.rows()).any(|row| of_kind(&row)), "no allocation of kind {kind}");
    }
    let eventfd = stacks_through(&recorded, "eventfd");
    assert!(!eventfd.is_empty());
    let most = |moment| {
        let live = live_at(&recorded, &events, moment);
        live.into_iter().filter(|(stack, _)| eventfd.contains(stack)).map(|(_, n)| n).max()
    };
    // Each has at least an object of its own, from one place.
    assert_eq!(most(made.int("made")), Some(COUNT));
    assert_eq!(most(made.int("closed")), Some(COUNT - CLOSED));

    // The report says the same, at any moment.
    for (moment, count) in [("made", COUNT), ("closed", COUNT - CLOSED)] {
        let manifest = recorded.recording.manifest();
        let at = format!("{}ns", made.int(moment) + manifest.epoch - manifest.started);
        let report =
            recorded.report(&["memleak", "--kind", "slab", "--sort", "count", "--at", &at]);
        let through_eventfd = |row: &&Value| {
            row["stack"]
                .as_array()
                .unwrap()
                .iter()
                .any(|call| call.as_str().unwrap().contains("do_eventfd"))
        };
        let first = report.iter().find(through_eventfd).expect("they are outstanding");
        assert_eq!(first["count"], count, "{moment}: {first}");
        let own = first["stack"][0].as_str().unwrap();
        assert!(own.starts_with("kmem_") || own.contains("kmalloc"), "the probe's own: {first}");
    }
}

#[test]
fn kinds_and_sizes_can_be_chosen() {
    let Some(_turn) = shared(&["kalloc"]) else { return };
    let recorded = record(&["--kalloc", "slab", "--min-size", "100B", "--max-size", "1KiB"]);
    let events = recorded.table::<Kalloc>();
    assert!(events.rows() > COUNT);
    for row in 0..events.rows() {
        assert_eq!(events.kind.value(row), SLAB);
        assert!(known(&events.bytes, row).is_none_or(|bytes| (100..=1024).contains(&bytes)));
    }
    // A free comes only after its allocation.
    let mut live = HashSet::new();
    for row in rows_in_time(&events.ts, |_| true) {
        let address = events.address.value(row);
        if events.free.value(row) {
            assert!(live.remove(&address), "{address:x} was not allocated");
        } else {
            live.insert(address);
        }
    }
}
