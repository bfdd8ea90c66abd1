//! opensnoop's line of a file that was opened, or could not be.

use arrow::array::Array as _;

use super::codes;
use super::path::Path;
use super::value::{Column, Value};
use crate::known;
use crate::tables::open;

/// Its columns, in tables with flags and permissions if they are `extended`.
#[must_use]
pub fn columns(extended: bool) -> Vec<Column> {
    let extended = |column: Column| if extended { column } else { column.in_data() };
    vec![
        Column::new("ts", "TIME").wide(12),
        Column::new("pid", "PID").wide(7),
        Column::new("comm", "COMM").wide(16),
        Column::table("FD").right().wide(3),
        Column::table("ERR").wide(6),
        extended(Column::new("flags", "FLAGS").wide(8)),
        extended(Column::new("mode", "MODE").wide(4)),
        Column::table("PATH"),
        Column::data("result"),
        Column::data("path"),
        Column::data("dir"),
        Column::data("duration"),
        Column::data("tid"),
        Column::data("uid"),
    ]
}

/// The path of a row.
#[must_use]
pub fn path(rows: &open::Columns, row: usize) -> Path<'_> {
    Path { given: known!(rows.path, row), dir: known!(rows.dir, row) }
}

/// Its values, with the path as it was given or in `full`.
#[must_use]
pub fn values(rows: &open::Columns, row: usize, full: bool) -> [Value; 14] {
    let (result, mode) = (rows.result.value(row), known!(rows.mode, row));
    let path = path(rows, row);
    [
        Value::Clock(rows.ts.value(row)),
        Value::Int(i64::from(rows.pid.value(row))),
        Value::text(known!(rows.comm, row)),
        Value::Int(i64::from(result.max(-1))),
        Value::Text(codes::error_of(result)),
        octal(rows.flags.value(row), 8),
        mode.map_or(Value::Null, |mode| octal(mode, 4)),
        Value::text(path.shown(full).as_deref()),
        Value::Int(i64::from(result)),
        Value::text(path.given),
        Value::text(path.dir),
        Value::Duration(rows.duration.value(row)),
        Value::Int(i64::from(rows.tid.value(row))),
        Value::Int(i64::from(rows.uid.value(row))),
    ]
}

/// The bits as opensnoop prints them.
fn octal(bits: i32, width: usize) -> Value {
    Value::Named(i64::from(bits), format!("{bits:0width$o}").into())
}
