//! bashreadline's line, with who and when.

use arrow::array::Array as _;

use super::value::{Column, Value};
use crate::known;
use crate::tables::readline;

/// What a table shows behind a line that was longer than what was kept of it.
const CUT: &str = " … [cut]";

/// Its columns.
#[must_use]
pub fn columns() -> Vec<Column> {
    vec![
        Column::new("ts", "TIME").wide(12),
        Column::new("pid", "PID").wide(7),
        Column::new("uid", "UID").wide(5),
        Column::new("comm", "COMM").wide(8),
        Column::table("COMMAND"),
        Column::data("line"),
        Column::data("cut"),
    ]
}

/// Its values.
#[must_use]
pub fn values(rows: &readline::Columns, row: usize) -> [Value; 7] {
    let (line, cut) = (known!(rows.line, row), rows.cut.value(row));
    let shown = line.map(|line| if cut { format!("{line}{CUT}") } else { line.to_owned() });
    // A uid is an unsigned number whose bits the table keeps in a signed one.
    let uid = rows.uid.value(row).cast_unsigned();
    [
        Value::Clock(rows.ts.value(row)),
        Value::Int(i64::from(rows.pid.value(row))),
        Value::Int(i64::from(uid)),
        Value::text(known!(rows.comm, row)),
        shown.map_or(Value::Null, Value::Text),
        Value::text(line),
        Value::Flag(cut),
    ]
}
