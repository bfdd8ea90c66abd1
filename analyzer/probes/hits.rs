//! How often programs came by each probe.

use std::collections::BTreeMap;

use ahash::HashSet;
use arrow::array::Array as _;

use super::asked::{self, Asked};
use super::{NUMBERS, Question, Rows, TEXTS};
use crate::processes::known;
use crate::render::{Column, Output, Value};
use crate::tally::{Groups, Named, Sum, add_name, process_columns, process_values};

/// The hits of a probe.
#[derive(Clone, Debug, Default)]
struct Hits {
    count: u64,
    pids: HashSet<i32>,
    first: Option<i64>,
    last: Option<i64>,
}

impl Hits {
    fn add(&mut self, ts: i64, pid: i32) {
        self.count += 1;
        self.pids.insert(pid);
        self.first = Some(self.first.map_or(ts, |first| first.min(ts)));
        self.last = self.last.max(Some(ts));
    }
}

impl Sum for Hits {
    fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.pids.extend(other.pids);
        self.first = match (self.first, other.first) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        self.last = self.last.max(other.last);
    }
}

/// The name of a probe, and of what process.
type Key = (Option<String>, Option<i32>);
type Sums = Groups<Key, Named<Hits>>;

impl Question<'_> {
    /// Prints the report.
    pub(super) fn hits(&self, output: &mut Output, by_process: bool) -> anyhow::Result<()> {
        let mut without = [NUMBERS, TEXTS].concat();
        without.extend((!by_process).then_some("comm"));
        let sums: Sums = self.selection(&without).sum(|sums: &mut Sums, rows: &Rows, row| {
            let (name, pid) = (known!(rows.name, row), rows.pid.value(row));
            if !self.admits(name) {
                return;
            }
            let hits = sums.of((name.map(str::to_owned), by_process.then_some(pid)));
            if by_process {
                add_name!(hits.name, rows, row);
            }
            hits.sum.add(rows.ts.value(row), pid);
        })?;
        let probes = asked::all(self.source.recording.manifest());
        match by_process {
            true => self.by_process(output, sums, &probes),
            false => self.by_probe(output, sums, &probes),
        }
    }

    fn by_probe(
        &self,
        output: &mut Output,
        mut sums: Sums,
        probes: &BTreeMap<&str, Asked<'_>>,
    ) -> anyhow::Result<()> {
        for (name, asked) in probes {
            // The rows of a span's ends are in another table, as a rule.
            if !asked.of_span && self.admits(Some(name)) {
                sums.of((Some((*name).to_owned()), None));
            }
        }
        let mut rows = output.rows(vec![
            Column::new("name", "NAME").wide(16),
            Column::new("hits", "HITS").right().wide(9),
            Column::new("processes", "PROCESSES").right(),
            Column::new("rate", "RATE/s").right().wide(9),
            Column::new("first", "FIRST").wide(12),
            Column::new("last", "LAST").wide(12),
            Column::new("cost", "COST").right().wide(7),
            Column::new("failed", "FAILED"),
        ]);
        for ((name, _), Named { sum, .. }) in sums.ranked(None, |hits| hits.sum.count) {
            let asked = name.as_deref().and_then(|name| probes.get(name));
            let failed = asked.and_then(|asked| asked.failed);
            // Of a probe that was not there nobody knows how often it would have been hit.
            let there = sum.count > 0 || failed.is_none();
            let count = |count: u64| if there { Value::count(count) } else { Value::Null };
            let moment = |ts: Option<i64>| ts.map_or(Value::Null, Value::Clock);
            rows.row(&[
                Value::text(name.as_deref()),
                count(sum.count),
                count(sum.pids.len() as u64),
                if there { self.rate(sum.count, asked) } else { Value::Null },
                moment(sum.first),
                moment(sum.last),
                asked.and_then(|asked| asked.cost).map_or(Value::Null, Value::Duration),
                Value::text(failed),
            ])?;
        }
        rows.end()
    }

    fn by_process(
        &self,
        output: &mut Output,
        sums: Sums,
        probes: &BTreeMap<&str, Asked<'_>>,
    ) -> anyhow::Result<()> {
        let mut columns = vec![Column::new("name", "NAME").wide(16)];
        columns.extend(process_columns());
        columns.extend([
            Column::new("hits", "HITS").right().wide(9),
            Column::new("rate", "RATE/s").right().wide(9),
            Column::new("first", "FIRST").wide(12),
            Column::new("last", "LAST").wide(12),
        ]);
        let mut rows = output.rows(columns);
        for ((name, pid), hits) in sums.ranked(None, |hits| hits.sum.count) {
            let asked = name.as_deref().and_then(|name| probes.get(name));
            let mut row = vec![Value::text(name.as_deref())];
            row.extend(process_values(pid.unwrap_or_default(), hits.name.get()));
            let hits = hits.sum;
            row.extend([Value::count(hits.count), self.rate(hits.count, asked)]);
            row.extend([hits.first, hits.last].map(|ts| ts.map_or(Value::Null, Value::Clock)));
            rows.row(&row)?;
        }
        rows.end()
    }

    /// Hits per second of the window, as far as the probe was there.
    fn rate(&self, count: u64, asked: Option<&Asked<'_>>) -> Value {
        let window = &self.source.window;
        let late = asked.and_then(|asked| asked.late);
        let since = late.map_or(window.start(), |late| late.max(window.start()));
        let seconds = window.end().saturating_sub(since) as f64 / 1e9;
        match seconds > 0.0 {
            true => Value::Real((count as f64 / seconds * 100.0).round() / 100.0),
            false => Value::Null,
        }
    }
}
