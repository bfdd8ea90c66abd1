//! Every span.

use arrow::array::Array as _;
use lookback_schemas::tables::Span;

use super::Question;
use crate::processes::known;
use crate::render::{Column, Output, Value};
use crate::timeline;

impl Question<'_> {
    /// Prints the report: all spans, or those that had not ended.
    pub(super) fn list(&self, output: &mut Output) -> anyhow::Result<()> {
        let mut out = output.events(vec![
            Column::new("ts", "TIME").wide(12),
            Column::new("pid", "PID").right().wide(7),
            Column::new("tid", "TID").right().wide(7),
            Column::new("comm", "COMM").wide(15),
            Column::new("name", "NAME").wide(16),
            Column::new("duration", "DURATION").right().wide(9),
            Column::new("key", "KEY").right().wide(5),
            Column::new("end_tid", "ENDTID").right().wide(7),
            Column::new("depth", "DEPTH").right(),
        ]);
        let range = &self.source.window.range;
        timeline::rows::<Span>(&self.source.recording, range, &self.scope, |rows, row| {
            let (name, duration) = (known!(rows.name, row), known!(rows.duration, row));
            let wanted = !self.args.view.unfinished || duration.is_none();
            if !wanted || !self.admits(name) || !self.args.min.admits_unknown(duration) {
                return Ok(());
            }
            out.row(&[
                Value::Clock(rows.ts.value(row)),
                Value::Int(i64::from(rows.pid.value(row))),
                Value::Int(i64::from(rows.tid.value(row))),
                Value::text(known!(rows.comm, row)),
                Value::text(name),
                duration.map_or(Value::Null, Value::Duration),
                Value::int(known!(rows.key, row)),
                Value::int(known!(rows.end_tid, row)),
                Value::Int(i64::from(rows.depth.value(row))),
            ])
        })?;
        out.end()
    }
}
