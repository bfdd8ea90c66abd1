//! tcpstates' line of a socket that changed its state.

use arrow::array::Array as _;

use super::codes;
use super::sockets::{end_columns, end_values, time_column};
use super::value::{Column, Value};
use crate::tables::tcpstate;
use crate::{ends, known};

/// Its columns, in tables with the time if that is wanted. MS is how long the socket was in the state that it
/// leaves.
#[must_use]
pub fn columns(time: bool) -> Vec<Column> {
    let mut columns = vec![
        time_column(time),
        Column::new("socket", "SKADDR").wide(16),
        Column::new("pid", "PID").right().wide(7),
        Column::new("comm", "COMM").wide(16),
    ];
    columns.extend(end_columns());
    columns.extend([
        Column::new("old", "OLDSTATE").wide(11),
        Column::table("->"),
        Column::new("new", "NEWSTATE").wide(11),
        Column::new("in_old", "MS").right().wide(9),
    ]);
    let data = ["family", "sent", "received", "retransmits", "tid", "uid"];
    columns.extend(data.map(Column::data));
    columns
}

/// Its values.
#[must_use]
pub fn values(rows: &tcpstate::Columns, row: usize) -> Vec<Value> {
    let ends = ends!(rows, row);
    let state = |number: i32| Value::Named(i64::from(number), codes::tcp_state(number));
    let mut values = vec![
        Value::Clock(rows.ts.value(row)),
        Value::Hex(rows.socket.value(row)),
        Value::int(known!(rows.pid, row)),
        Value::text(known!(rows.comm, row)),
    ];
    values.extend(end_values(ends));
    values.extend([
        state(rows.old.value(row)),
        Value::Text("->".to_owned()),
        state(rows.new.value(row)),
        known!(rows.in_old, row).map_or(Value::Null, Value::Millis),
        Value::Int(i64::from(ends.family)),
        Value::Bytes(rows.sent.value(row)),
        Value::Bytes(rows.received.value(row)),
        Value::Int(rows.retransmits.value(row)),
        Value::int(known!(rows.tid, row)),
        Value::int(known!(rows.uid, row)),
    ]);
    values
}
