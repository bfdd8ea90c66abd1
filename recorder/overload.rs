//! Overload: what is done when events outrun the CPU or the disk.
//!
//! A ring that overflows for an instant loses some events, which are counted. When it goes on for seconds, the
//! machine has no room for what is asked of it, and recording on would take the CPU from what is recorded, and
//! lose events of every tracer at random. So the loudest table is stopped: its events are only counted, at a few
//! nanoseconds each, and the others have their rings again. After a while it is tried again; if that was too
//! early, it stops for twice as long. All of it is in the recording: in the table `loss`, with the reason
//! `stopped`, and in the manifest.
//!
//! Processes, stacks and what else other tables refer to are never stopped.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lookback_schemas::TableId;
use lookback_schemas::manifest;

use crate::chunks::is_leaned_on;

/// Losses that go on for so long are no accident.
const PATIENCE: Duration = Duration::from_secs(3);
/// For how long a table is stopped for the first time, and at most.
const PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// Which tables are stopped, and why.
#[derive(Debug, Default)]
pub struct Overload {
    /// Whether the user wants all tables, whatever they lose.
    tolerated: bool,
    /// Since when each look has found losses.
    losing: Option<Instant>,
    stopped: BTreeMap<TableId, Pause>,
}

#[derive(Clone, Copy, Debug)]
struct Pause {
    /// `None` while the table is recorded again.
    until: Option<Instant>,
    length: Duration,
}

/// What happened since the last look.
#[derive(Clone, Debug, Default)]
pub struct Load {
    /// How long that is.
    pub time: Duration,
    /// Events that were seen, by table.
    pub seen: BTreeMap<TableId, u64>,
    /// Events of all tables that found their ring full.
    pub overflown: u64,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Stop a table; why.
    Stop(TableId, String),
    /// Record it again.
    Resume(TableId),
}

impl Overload {
    /// `tolerated` if nothing is to be stopped.
    pub fn new(tolerated: bool) -> Overload {
        Overload { tolerated, ..Overload::default() }
    }

    /// What is to be done after such a time.
    pub fn look(&mut self, load: &Load, now: Instant) -> Vec<Step> {
        let mut steps = Vec::new();
        for (table, pause) in &mut self.stopped {
            if pause.until.is_some_and(|until| now >= until) {
                pause.until = None;
                steps.push(Step::Resume(*table));
            }
        }
        if load.overflown == 0 || self.tolerated {
            self.losing = None;
            return steps;
        }
        let since = *self.losing.get_or_insert(now);
        if now.duration_since(since) < PATIENCE {
            return steps;
        }
        let runs =
            |table: TableId| self.stopped.get(&table).is_none_or(|pause| pause.until.is_none());
        let loudest = load.seen.iter().filter(|(table, _)| !is_leaned_on(**table) && runs(**table));
        if let Some((table, seen)) = loudest.max_by_key(|(_, seen)| **seen) {
            let rate = |events: u64| events as f64 / load.time.as_secs_f64().max(0.001);
            let why = format!(
                "{:.0} events a second, and {:.0} of all were lost",
                rate(*seen),
                rate(load.overflown)
            );
            let before = self.stopped.get(table).map(|pause| pause.length);
            let length = before.map_or(PAUSE, |length| (length * 2).min(LONGEST_PAUSE));
            self.stopped.insert(*table, Pause { until: Some(now + length), length });
            self.losing = None;
            steps.push(Step::Stop(*table, why));
        }
        steps
    }
}

/// Notes a step in what the manifest says.
pub fn note(step: &Step, at: i64, stopped: &mut Vec<manifest::Stopped>) {
    match step {
        Step::Stop(table, why) => stopped.push(manifest::Stopped {
            table: table.name().to_owned(),
            from: at,
            until: None,
            why: why.clone(),
        }),
        Step::Resume(table) => {
            let its = |stop: &&mut manifest::Stopped| stop.table == table.name();
            if let Some(last) = stopped.iter_mut().rev().find(its) {
                last.until = Some(at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(overflown: u64) -> Load {
        let seen = [(TableId::Stack, 900), (TableId::Open, 10), (TableId::Syscall, 500)];
        Load { time: Duration::from_secs(1), seen: seen.into(), overflown }
    }

    fn stops(steps: &[Step]) -> Vec<TableId> {
        let stopped = |step: &Step| match step {
            Step::Stop(table, _) => Some(*table),
            Step::Resume(_) => None,
        };
        steps.iter().filter_map(stopped).collect()
    }

    #[test]
    fn the_loudest_table_is_stopped_when_losses_go_on_and_for_longer_each_time() {
        let mut overload = Overload::default();
        let start = Instant::now();
        let mut look = |second: u64, overflown: u64| {
            overload.look(&load(overflown), start + Duration::from_secs(second))
        };
        // An accident, and another.
        assert_eq!(look(0, 5), []);
        assert_eq!(look(1, 0), []);
        assert_eq!(look(2, 5), []);
        assert_eq!(look(4, 5), []);
        assert_eq!(stops(&look(5, 5)), [TableId::Syscall]);
        // If that does not help, the next one; what others refer to is never stopped.
        assert_eq!(look(6, 5), []);
        assert_eq!(stops(&look(9, 5)), [TableId::Open]);
        assert_eq!(look(10, 5), []);
        assert_eq!(look(13, 5), []);
        assert_eq!(look(15, 0), [Step::Resume(TableId::Syscall)]);
        assert_eq!(look(19, 0), [Step::Resume(TableId::Open)]);
        assert_eq!(look(20, 5), []);
        assert_eq!(stops(&look(23, 5)), [TableId::Syscall]);
        assert_eq!(look(42, 0), []);
        assert_eq!(look(43, 0), [Step::Resume(TableId::Syscall)]);
    }

    #[test]
    fn nothing_is_stopped_where_losses_are_tolerated() {
        let mut overload = Overload::new(true);
        let start = Instant::now();
        for second in 0..10 {
            assert_eq!(overload.look(&load(5), start + Duration::from_secs(second)), []);
        }
    }
}
