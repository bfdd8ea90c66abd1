//! exitsnoop's line of a process that ended.

use arrow::array::Array as _;

use super::codes;
use super::value::{Column, Value};
use crate::known;
use crate::tables::exit;

/// Its columns.
#[must_use]
pub fn columns() -> Vec<Column> {
    vec![
        Column::new("ts", "TIME").wide(12),
        Column::new("comm", "PCOMM").wide(16),
        Column::new("pid", "PID").wide(7),
        Column::new("ppid", "PPID").wide(7),
        Column::new("tid", "TID").wide(7),
        Column::new("duration", "AGE(s)").wide(7),
        Column::table("EXIT_CODE"),
        Column::data("code"),
        Column::data("signal"),
        Column::data("core"),
        Column::data("process_ended"),
        Column::data("uid"),
        Column::data("start"),
        Column::data("user"),
        Column::data("system"),
        Column::data("max_rss"),
        Column::data("minor_faults"),
        Column::data("major_faults"),
        Column::data("cgroup"),
    ]
}

/// Its values.
#[must_use]
pub fn values(rows: &exit::Columns, row: usize) -> [Value; 19] {
    let (code, signal, core) =
        (known!(rows.code, row), known!(rows.signal, row), rows.core.value(row));
    [
        Value::Clock(rows.ts.value(row)),
        Value::text(known!(rows.comm, row)),
        Value::Int(i64::from(rows.pid.value(row))),
        Value::Int(i64::from(rows.ppid.value(row))),
        Value::Int(i64::from(rows.tid.value(row))),
        Value::Seconds(rows.duration.value(row)),
        Value::Text(status(code, signal, core)),
        Value::int(code),
        Value::int(signal),
        Value::Flag(core),
        Value::Flag(rows.process_ended.value(row)),
        Value::Int(i64::from(rows.uid.value(row))),
        Value::Time(rows.start.value(row)),
        Value::Duration(rows.user.value(row)),
        Value::Duration(rows.system.value(row)),
        Value::int(known!(rows.max_rss, row)),
        Value::Int(rows.minor_faults.value(row)),
        Value::Int(rows.major_faults.value(row)),
        Value::int(known!(rows.cgroup, row)),
    ]
}

/// How a process ended, in exitsnoop's words.
#[must_use]
pub fn status(code: Option<i32>, signal: Option<i32>, core: bool) -> String {
    match (code, signal) {
        (_, Some(signal)) => {
            let dumped = if core { ", core dumped" } else { "" };
            format!("signal {signal} ({}){dumped}", codes::signal(signal))
        }
        (Some(0), None) => "0".to_owned(),
        (Some(code), None) => format!("code {code}"),
        (None, None) => "-".to_owned(),
    }
}
