//! What processes have outstanding on their heaps, as a counter for each.
//!
//! Allocations are far more than a viewer can show, and what counts is what is live. So they are [replayed](crate::heap),
//! and looked at in even steps.

use std::collections::BTreeMap;

use super::timeline::{Counter, Owner, Sink, Timeline};
use crate::cli::Source;
use crate::heap::shard::{Rules, Within};
use crate::heap::{self, Question, Wanted};
use crate::lifetimes::{Detail, Lifetimes};
use crate::replay::Instants;
use crate::scope::Scope;
use crate::spaces::changes;
use crate::tally::ThreadsArgs;

/// How many steps.
const STEPS: i64 = 500;

/// Puts the counters on the timeline.
///
/// # Errors
/// If a table is damaged, or the timeline cannot be written.
pub(super) fn emit<S: Sink>(
    timeline: &mut Timeline<S>,
    (source, scope): (&Source, &Scope),
    threads: ThreadsArgs,
) -> anyhow::Result<()> {
    let recording = &source.recording;
    let lifetimes = Lifetimes::read(recording, Detail::Identity)?;
    let changes = changes(recording)?;
    let (start, end) = (source.window.start(), source.window.end());
    let question = Question {
        recording,
        range: source.window.range.clone(),
        end,
        changes: &changes,
        wanted: Wanted {
            scope,
            lifetimes: &lifetimes,
            min_size: None,
            max_size: None,
            by_stack: false,
            by_thread: false,
        },
        rules: Rules {
            older: None,
            within: Within::Allocations(1),
            ended: false,
            inherited: false,
            lifetimes: false,
            deltas: false,
            by_space: true,
        },
        sizes: false,
        threads: threads.count(),
    };
    let step = (end.saturating_sub(start) / STEPS).max(1);
    let instants = Instants {
        next: Some(start.saturating_add(step)),
        step: Some(step),
        last: end,
        left: u64::MAX,
    };
    let mut known: BTreeMap<i32, i64> = BTreeMap::new();
    heap::replay(&question, instants, |look| {
        // Whoever has nothing any more has zero.
        known.values_mut().for_each(|bytes| *bytes = 0);
        for (space, _, tally) in look.tallies.each() {
            let bytes = known.entry(look.spaces.process(space)).or_default();
            *bytes = bytes.saturating_add(tally.live.bytes);
        }
        for (pid, bytes) in &known {
            let owner = Owner::Process(timeline.process(*pid, look.at)?);
            let counter = Counter { owner, name: "heap".to_owned(), unit: "bytes" };
            timeline.count(counter, look.at, *bytes)?;
        }
        Ok(())
    })?;
    Ok(())
}
