//! sigsnoop's line of a signal that was generated.

use arrow::array::Array as _;

use super::codes;
use super::value::{Column, Value};
use crate::known;
use crate::tables::signal;

/// Its columns.
#[must_use]
pub fn columns() -> Vec<Column> {
    vec![
        Column::new("ts", "TIME").wide(12),
        Column::new("pid", "PID").wide(7),
        Column::new("comm", "COMM").wide(16),
        Column::new("sig", "SIG").wide(9),
        Column::new("target_pid", "TPID").wide(7),
        Column::new("target_comm", "TCOMM").wide(16),
        Column::new("result", "RESULT").wide(6),
        Column::data("tid"),
        Column::data("uid"),
        Column::data("code"),
        Column::data("target_tid"),
        Column::data("target_uid"),
        Column::data("group"),
    ]
}

/// Its values, with numbers or names of the signal and of what became of it.
#[must_use]
pub fn values(rows: &signal::Columns, row: usize, by_name: bool) -> [Value; 13] {
    let (sig, result) = (rows.sig.value(row), rows.result.value(row));
    [
        Value::Clock(rows.ts.value(row)),
        Value::int(known!(rows.pid, row)),
        Value::text(known!(rows.comm, row)),
        number(sig, by_name),
        Value::Int(i64::from(rows.target_pid.value(row))),
        Value::text(known!(rows.target_comm, row)),
        match by_name {
            true => Value::Named(i64::from(result), codes::signal_result(result)),
            false => Value::Int(i64::from(result)),
        },
        Value::int(known!(rows.tid, row)),
        Value::int(known!(rows.uid, row)),
        Value::Int(i64::from(rows.code.value(row))),
        Value::Int(i64::from(rows.target_tid.value(row))),
        Value::Int(i64::from(rows.target_uid.value(row))),
        Value::Flag(rows.group.value(row)),
    ]
}

/// A signal's number, or its name if it has one.
pub(super) fn number(number: i32, by_name: bool) -> Value {
    let name = codes::signal(number);
    match by_name && name.parse::<i32>().is_err() {
        true => Value::Named(i64::from(number), format!("SIG{name}").into()),
        false => Value::Int(i64::from(number)),
    }
}
