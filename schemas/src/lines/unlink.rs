//! The line of a name that left its directory.

use std::borrow::Cow;

use arrow::array::Array as _;

use super::codes;
use super::path::Path;
use super::value::{Column, Value};
use crate::known;
use crate::tables::unlink;

/// Its columns.
#[must_use]
pub fn columns() -> Vec<Column> {
    vec![
        Column::new("ts", "TIME").wide(12),
        Column::new("pid", "PID").wide(7),
        Column::new("comm", "COMM").wide(16),
        Column::table("CALL").wide(6),
        Column::data("call"),
        Column::new("result", "RESULT").wide(7),
        Column::table("PATH"),
        Column::data("flags"),
        Column::data("path"),
        Column::data("dir"),
        Column::data("new_path"),
        Column::data("new_dir"),
        Column::data("duration"),
        Column::data("tid"),
        Column::data("uid"),
    ]
}

/// The old and the new path of a row.
#[must_use]
pub fn paths(rows: &unlink::Columns, row: usize) -> [Path<'_>; 2] {
    [
        Path { given: known!(rows.path, row), dir: known!(rows.dir, row) },
        Path { given: known!(rows.new_path, row), dir: known!(rows.new_dir, row) },
    ]
}

/// Its values, with paths as they were given or in `full`.
#[must_use]
pub fn values(rows: &unlink::Columns, row: usize, full: bool) -> [Value; 15] {
    let (call, result) = (rows.call.value(row), rows.result.value(row));
    let [path, new] = paths(rows, row);
    [
        Value::Clock(rows.ts.value(row)),
        Value::Int(i64::from(rows.pid.value(row))),
        Value::text(known!(rows.comm, row)),
        Value::Text(codes::unlink_call(call).into_owned()),
        Value::Int(i64::from(call)),
        Value::Named(i64::from(result), codes::call_result(result)),
        Value::text(names(rows, row, full).as_deref()),
        Value::Int(i64::from(rows.flags.value(row))),
        Value::text(path.given),
        Value::text(path.dir),
        Value::text(new.given),
        Value::text(new.dir),
        Value::Duration(rows.duration.value(row)),
        Value::Int(i64::from(rows.tid.value(row))),
        Value::Int(i64::from(rows.uid.value(row))),
    ]
}

/// The call's number for a rename, in the table `unlink`.
const RENAMED: i32 = 2;

/// The path, or `old -> new`.
fn names(rows: &unlink::Columns, row: usize, full: bool) -> Option<String> {
    let [path, new] = paths(rows, row).map(|path| path.shown(full));
    if rows.call.value(row) != RENAMED {
        return path.map(Cow::into_owned);
    }
    let [path, new] = [path, new].map(|path| path.unwrap_or("?".into()));
    Some(format!("{path} -> {new}"))
}
