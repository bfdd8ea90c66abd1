//! Spans over time, by when they began.

use arrow::array::Array as _;
use lookback_schemas::TableId;

use super::{Question, Rows};
use crate::bins::Bins;
use crate::distribution::Values;
use crate::memleak::is_recorded;
use crate::processes::known;
use crate::render::{Column, Output, Value};
use crate::tally::Groups;

type Steps = Groups<usize, Values>;

impl Question<'_> {
    /// Prints the report.
    pub(super) fn timeline(&self, output: &mut Output) -> anyhow::Result<()> {
        let bins = Bins::new(&self.source.window, self.args.step)?;
        let without = ["comm", "end_tid"];
        let steps = self.selection(&without).sum(|steps: &mut Steps, rows: &Rows, row| {
            let duration = known!(rows.duration, row);
            let wanted = self.args.min.admits_unknown(duration);
            if wanted && self.admits(known!(rows.name, row)) {
                let step = steps.of(bins.of(rows.ts.value(row)));
                match duration {
                    Some(duration) => step.add(duration),
                    None => step.add_null(),
                }
            }
        })?;
        let right = |name, header| Column::new(name, header).right();
        let mut rows = output.rows(vec![
            Column::new("ts", "TIME").wide(12),
            right("count", "COUNT").wide(8),
            right("unfinished", "UNFINISHED"),
            right("p50", "P50").wide(9),
            right("p99", "P99").wide(9),
            right("max", "MAX").wide(9),
        ]);
        let mut steps = steps.sorted().into_iter().peekable();
        // Where nobody looked, no row says that there was nothing.
        let count =
            if is_recorded(&self.source.recording, TableId::Span)? { bins.count() } else { 0 };
        for place in 0..count {
            let step = steps.next_if(|(step, _)| *step == place);
            let summary = step.map(|(_, values)| values).unwrap_or_default().summary();
            let time = |time: Option<i64>| time.map_or(Value::Null, Value::Duration);
            rows.row(&[
                Value::Clock(bins.range(place).0),
                Value::count(summary.count),
                Value::count(summary.nulls),
                time(summary.p50()),
                time(summary.p99()),
                time(summary.max),
            ])?;
        }
        rows.end()
    }
}
