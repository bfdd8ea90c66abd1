//! killsnoop's line of a call that sends a signal.

use arrow::array::Array as _;

use super::value::{Column, Value};
use super::{codes, signal};
use crate::known;
use crate::tables::kill;

/// Its columns.
#[must_use]
pub fn columns() -> Vec<Column> {
    vec![
        Column::new("ts", "TIME").wide(12),
        Column::new("pid", "PID").wide(7),
        Column::new("comm", "COMM").wide(16),
        Column::new("call", "CALL").wide(6),
        Column::new("sig", "SIG").wide(9),
        Column::new("target_pid", "TPID").wide(7),
        Column::new("target_tid", "TTID").wide(7),
        Column::new("target_comm", "TCOMM").wide(16),
        Column::new("result", "RESULT").wide(6),
        Column::data("tid"),
        Column::data("uid"),
        Column::data("duration"),
    ]
}

/// Its values, with the signal's number or name. What the target was called, the row does not tell.
#[must_use]
pub fn values(
    rows: &kill::Columns,
    row: usize,
    by_name: bool,
    target: Option<&str>,
) -> [Value; 12] {
    let (call, result) = (rows.call.value(row), rows.result.value(row));
    [
        Value::Clock(rows.ts.value(row)),
        Value::Int(i64::from(rows.pid.value(row))),
        Value::text(known!(rows.comm, row)),
        Value::Named(i64::from(call), codes::kill_call(call)),
        signal::number(rows.sig.value(row), by_name),
        Value::int(known!(rows.target_pid, row)),
        Value::int(known!(rows.target_tid, row)),
        Value::text(target),
        Value::Named(i64::from(result), codes::call_result(result)),
        Value::Int(i64::from(rows.tid.value(row))),
        Value::Int(i64::from(rows.uid.value(row))),
        Value::Duration(rows.duration.value(row)),
    ]
}
