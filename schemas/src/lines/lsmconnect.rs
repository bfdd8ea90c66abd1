//! The line of a connect that the security modules decided on.

use arrow::array::Array as _;

use super::codes;
use super::value::{Column, Value};
use crate::known;
use crate::tables::lsmconnect;

/// Its columns.
#[must_use]
pub fn columns() -> Vec<Column> {
    vec![
        Column::new("ts", "TIME").wide(12),
        Column::new("pid", "PID").right().wide(7),
        Column::new("comm", "COMM").wide(16),
        Column::new("uid", "UID").right().wide(5),
        Column::new("family", "FAMILY").wide(6),
        Column::new("kind", "KIND").wide(6),
        Column::new("addr", "ADDRESS").wide(15),
        Column::new("port", "PORT").right().wide(5),
        Column::new("verdict", "VERDICT").wide(7),
        Column::data("denied"),
        Column::data("tid"),
    ]
}

/// Its values.
#[must_use]
pub fn values(rows: &lsmconnect::Columns, row: usize) -> [Value; 11] {
    let (family, kind) = (rows.family.value(row), rows.kind.value(row));
    let verdict = rows.verdict.value(row);
    [
        Value::Clock(rows.ts.value(row)),
        Value::Int(i64::from(rows.pid.value(row))),
        Value::text(known!(rows.comm, row)),
        Value::Int(i64::from(rows.uid.value(row))),
        Value::Named(i64::from(family), codes::address_family(family)),
        Value::Named(i64::from(kind), codes::socket_kind(kind)),
        Value::text(known!(rows.addr, row)),
        Value::int(known!(rows.port, row)),
        Value::Named(
            i64::from(verdict),
            match verdict {
                0 => "allowed".into(),
                verdict => codes::call_result(verdict),
            },
        ),
        Value::Flag(rows.denied.value(row)),
        Value::Int(i64::from(rows.tid.value(row))),
    ]
}
