//! Collections and pools as rows.

use arrow::array::Array as _;
use lookback_schemas::tables::Gc;
use lookback_schemas::tables::gc::Part;

use super::pauses::Pause;
use super::{Question, unknown};
use crate::codes;
use crate::processes::known;
use crate::render::{Column, Output, Value};
use crate::timeline;

/// The columns that say what a collection was.
pub(super) fn kind_columns() -> [Column; 3] {
    [
        Column::new("runtime", "RUNTIME").wide(7),
        Column::new("full", "FULL").wide(4),
        Column::new("collector", "COLLECTOR").wide(19),
    ]
}

/// The values of [`kind_columns`].
pub(super) fn kind_values(pause: &Pause) -> [Value; 3] {
    [runtime(pause.runtime), full(pause.full), Value::text(pause.collector().as_deref())]
}

/// The columns that say what the heap held.
pub(super) fn heap_columns() -> [Column; 2] {
    [Column::new("before", "BEFORE").right().wide(8), Column::new("after", "AFTER").right().wide(8)]
}

/// The values of [`heap_columns`].
pub(super) fn heap_values(pause: &Pause) -> [Value; 2] {
    let (before, after) = pause.heap();
    [before, after].map(bytes)
}

/// A runtime by its name.
pub(super) fn runtime(code: i32) -> Value {
    Value::Named(i64::from(code), codes::gc_runtime(code))
}

fn full(code: Option<i32>) -> Value {
    code.map_or(Value::Null, |code| Value::Named(i64::from(code), codes::gc_full(code)))
}

fn bytes(bytes: Option<i64>) -> Value {
    bytes.map_or(Value::Null, Value::Bytes)
}

fn number(number: i32) -> Value {
    Value::Int(i64::from(number))
}

impl Question<'_> {
    /// bcc's javagc, with what each collection was.
    pub(super) fn list(&self, output: &mut Output) -> anyhow::Result<()> {
        let pauses = self.begun()?;
        self.notes(output, &pauses, false)?;
        let mut columns = vec![
            Column::new("ts", "TIME").wide(12),
            Column::new("cpu", "CPU").wide(3),
            Column::new("pid", "PID").wide(7),
            Column::new("duration", "GC TIME(us)").right().wide(11),
            Column::new("comm", "COMM").wide(15),
        ];
        columns.extend(kind_columns());
        columns.extend(heap_columns());
        columns.extend([
            Column::new("generation", "GENERATION").right(),
            Column::new("collected", "COLLECTED").right(),
            Column::new("depth", "DEPTH").right(),
            Column::data("part"),
            Column::data("tid"),
            Column::data("uid"),
        ]);
        let mut rows = output.events(columns);
        for pause in &pauses.all {
            let mut row = vec![
                Value::Clock(pause.ts),
                number(pause.cpu),
                number(pause.pid),
                pause.duration.map_or(Value::Null, Value::Micros),
                Value::text(pause.comm.as_deref()),
            ];
            row.extend(kind_values(pause));
            row.extend(heap_values(pause));
            row.extend([
                Value::int(pause.generation),
                Value::int(pause.collected),
                number(pause.depth),
                number(pause.part as i32),
                number(pause.tid),
                number(pause.uid),
            ]);
            rows.row(&row)?;
        }
        rows.end()
    }

    /// The pools of hotspot.
    pub(super) fn pools(&self, output: &mut Output) -> anyhow::Result<()> {
        output.notes(&unknown(self.source)?)?;
        let sizes = [
            ("used_before", "USED"),
            ("used_after", "AFTER"),
            ("committed_before", "COMMITTED"),
            ("committed_after", "AFTER"),
        ];
        let mut columns = vec![
            Column::new("ts", "TIME").wide(12),
            Column::new("pid", "PID").wide(7),
            Column::new("manager", "COLLECTOR").wide(19),
            Column::new("pool", "POOL").wide(16),
        ];
        columns.extend(sizes.map(|(name, header)| Column::new(name, header).right().wide(9)));
        columns.extend([
            Column::new("duration", "TIME(us)").right().wide(10),
            Column::data("depth"),
            Column::data("tid"),
            Column::data("comm"),
        ]);
        let mut out = output.events(columns);
        let range = &self.source.window.range;
        timeline::rows::<Gc>(&self.source.recording, range, &self.scope, |rows, row| {
            let duration = known!(rows.duration, row);
            let pool = Part::from_code(rows.part.value(row)) == Some(Part::Pool);
            if !pool || !self.args.min.admits_unknown(duration) {
                return Ok(());
            }
            out.row(&[
                Value::Clock(rows.ts.value(row)),
                number(rows.pid.value(row)),
                Value::text(known!(rows.manager, row)),
                Value::text(known!(rows.pool, row)),
                bytes(known!(rows.used_before, row)),
                bytes(known!(rows.used_after, row)),
                bytes(known!(rows.committed_before, row)),
                bytes(known!(rows.committed_after, row)),
                duration.map_or(Value::Null, Value::Micros),
                number(rows.depth.value(row)),
                number(rows.tid.value(row)),
                Value::text(known!(rows.comm, row)),
            ])
        })?;
        out.end()
    }
}
