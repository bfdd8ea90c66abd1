//! execsnoop's line of a process that replaced its image.

use arrow::array::Array as _;

use super::cells::texts;
use super::value::{Column, Value};
use crate::known;
use crate::tables::exec;

/// Its columns. RET is always 0, since only calls that succeeded are recorded.
#[must_use]
pub fn columns() -> Vec<Column> {
    vec![
        Column::new("ts", "TIME").wide(12),
        Column::new("comm", "PCOMM").wide(16),
        Column::new("pid", "PID").wide(7),
        Column::new("ppid", "PPID").wide(7),
        Column::table("RET").right().wide(3),
        Column::table("ARGS"),
        Column::data("uid"),
        Column::data("caller_tid"),
        Column::data("cgroup"),
        Column::data("filename"),
        Column::data("cwd"),
        Column::data("argv"),
        Column::data("argv_bytes"),
    ]
}

/// Its values.
#[must_use]
pub fn values(rows: &exec::Columns, row: usize) -> [Value; 13] {
    [
        Value::Clock(rows.ts.value(row)),
        Value::text(known!(rows.comm, row)),
        Value::Int(i64::from(rows.pid.value(row))),
        Value::Int(i64::from(rows.ppid.value(row))),
        Value::Int(0),
        exec_arguments(rows, row),
        Value::Int(i64::from(rows.uid.value(row))),
        Value::Int(i64::from(rows.caller_tid.value(row))),
        Value::int(known!(rows.cgroup, row)),
        Value::text(known!(rows.filename, row)),
        Value::text(known!(rows.cwd, row)),
        texts(&rows.argv, row).map_or(Value::Null, Value::Texts),
        Value::int(known!(rows.argv_bytes, row)),
    ]
}

/// Arguments as one text; `...` stands for those that were not recorded.
#[must_use]
pub fn arguments(argv: &[String], cut: bool) -> String {
    let mut text = argv.join(" ");
    if cut {
        text.push_str("...");
    }
    text
}

/// Whether `argv`, of which there were `bytes` in all, holds less than that. What is recorded is at
/// most 4,096 bytes.
#[must_use]
pub fn argv_cut(bytes: Option<i32>) -> bool {
    bytes.is_some_and(|bytes| bytes > 4096)
}

fn exec_arguments(rows: &exec::Columns, row: usize) -> Value {
    let bytes = rows.argv_bytes.is_valid(row).then(|| rows.argv_bytes.value(row));
    match texts(&rows.argv, row) {
        Some(argv) => Value::Text(arguments(&argv, argv_cut(bytes))),
        None if rows.filename.is_valid(row) => Value::Text(rows.filename.value(row).to_owned()),
        None => Value::Null,
    }
}
