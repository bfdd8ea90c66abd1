//! Which share of its time each process stood still.
//!
//! Pauses of a process are united first: those that lie in others, or that two threads made at once,
//! count once. The time is that of the window in which the process lived, as far as that is known.

use std::collections::BTreeSet;

use super::distributed::name;
use super::pauses::Pause;
use super::{Question, table};
use crate::intervals::Intervals;
use crate::lifetimes::{Detail, Lifetimes};
use crate::render::{Column, Output, Value};
use crate::tally::{Groups, Name, process_columns, process_values};

/// The pauses of one process.
#[derive(Debug, Default)]
struct Stops {
    name: Name,
    runtimes: BTreeSet<i32>,
    pauses: u64,
    /// How many were full; `None` as long as the runtime told of none.
    full: Option<u64>,
    times: Vec<(i64, i64)>,
    longest: Option<i64>,
}

impl Stops {
    fn add(&mut self, pause: &Pause, (start, end): (i64, i64)) {
        if let Some((from, to)) = pause.stretch() {
            self.times.push((from.max(start), to.min(end)));
        }
        if pause.is_nested() {
            return;
        }
        self.runtimes.insert(pause.runtime);
        self.pauses += 1;
        if let Some(full) = pause.full {
            *self.full.get_or_insert(0) += u64::from(full == 1);
        }
        self.longest = self.longest.max(pause.duration);
    }
}

impl Question<'_> {
    /// Prints the report.
    pub(super) fn share(&self, output: &mut Output) -> anyhow::Result<()> {
        let pauses = self.reaching_in()?;
        self.notes(output, &pauses, true)?;
        let lifetimes = Lifetimes::read(&self.source.recording, Detail::Identity)?;
        let window = (self.source.window.start(), self.source.window.end());
        // A pid that was given out again is another process.
        let mut groups: Groups<(i32, Option<usize>), Stops> = Groups::default();
        for pause in &pauses.all {
            let of = (pause.pid, lifetimes.index_of(pause.pid, pause.ts));
            let stops = groups.of(of);
            name(&mut stops.name, &lifetimes, pause);
            stops.add(pause, window);
        }
        let mut columns = process_columns().to_vec();
        columns.extend([
            Column::new("runtime", "RUNTIME").wide(7),
            Column::new("pauses", "PAUSES").right().wide(7),
            Column::new("full", "FULL").right().wide(5),
            Column::new("paused", "PAUSED").right().wide(9),
            Column::new("observed", "OBSERVED").right().wide(9),
            Column::new("share", "SHARE%").right().wide(6),
            Column::new("longest", "LONGEST").right().wide(9),
        ]);
        let mut rows = output.rows(columns);
        let mut stops: Vec<_> = groups
            .sorted()
            .into_iter()
            .map(|(of, mut stops)| {
                let paused = Intervals::new(std::mem::take(&mut stops.times)).total();
                (of, stops, paused)
            })
            .collect();
        stops.sort_by_key(|(_, _, paused)| std::cmp::Reverse(*paused));
        for ((pid, place), stops, paused) in stops {
            let observed = place.map(|place| observed(&lifetimes, place, window));
            let mut row = process_values(pid, stops.name.get()).to_vec();
            row.extend([
                runtimes(&stops.runtimes),
                Value::count(stops.pauses),
                stops.full.map_or(Value::Null, Value::count),
                Value::Duration(paused),
                observed.map_or(Value::Null, Value::Duration),
                Value::percent(paused, observed),
                stops.longest.map_or(Value::Null, Value::Duration),
            ]);
            rows.row(&row)?;
        }
        rows.end()
    }
}

/// A process has one runtime; should it have more, all are named.
fn runtimes(codes: &BTreeSet<i32>) -> Value {
    match codes.iter().collect::<Vec<_>>().as_slice() {
        [] => Value::Null,
        [code] => table::runtime(**code),
        codes => {
            let names = codes.iter().map(|code| crate::codes::gc_runtime(**code));
            Value::Text(names.collect::<Vec<_>>().join("+"))
        }
    }
}

/// How long the process was there in the window, in nanoseconds.
fn observed(lifetimes: &Lifetimes, place: usize, (start, end): (i64, i64)) -> i64 {
    let tenure = lifetimes.tenure(place);
    let ended = lifetimes.all()[place].end.unwrap_or(i64::MAX).min(tenure.end);
    ended.min(end).saturating_sub(tenure.start.max(start)).max(0)
}
