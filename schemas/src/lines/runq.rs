//! runqslower's line of a wait for a CPU.

use arrow::array::Array as _;

use super::codes;
use super::value::{Column, Value};
use crate::known;
use crate::tables::runq;

/// What stands for a process where the CPU had none to run.
pub const IDLE: &str = "[idle]";

/// Its columns.
#[must_use]
pub fn columns() -> Vec<Column> {
    vec![
        Column::new("ts", "TIME").wide(12),
        Column::new("comm", "COMM").wide(16),
        Column::data("pid"),
        Column::new("tid", "TID").right().wide(7),
        Column::new("wait", "LAT(us)").right().wide(12),
        Column::new("cause", "CAUSE").wide(9),
        Column::new("prev_comm", "PREVCOMM").wide(16),
        Column::data("prev_pid"),
        Column::new("prev_tid", "PREVTID").right().wide(7),
        Column::data("cpu"),
        Column::data("prio"),
        Column::data("uid"),
        Column::data("pid_ns"),
        Column::data("cgroup"),
    ]
}

/// Its values.
#[must_use]
pub fn values(rows: &runq::Columns, row: usize) -> [Value; 14] {
    let (wait, cause) = (rows.wait.value(row), rows.cause.value(row));
    let number = |number: i32| Value::Int(i64::from(number));
    let prev = rows.prev_pid.value(row);
    [
        Value::Clock(rows.ts.value(row)),
        Value::text(known!(rows.comm, row)),
        number(rows.pid.value(row)),
        number(rows.tid.value(row)),
        Value::Micros(wait),
        Value::Named(i64::from(cause), codes::wait_cause(cause)),
        Value::text(if prev == 0 { Some(IDLE) } else { known!(rows.prev_comm, row) }),
        number(prev),
        number(rows.prev_tid.value(row)),
        number(rows.cpu.value(row)),
        number(rows.prio.value(row)),
        number(rows.uid.value(row)),
        Value::int(known!(rows.pid_ns, row)),
        Value::int(known!(rows.cgroup, row)),
    ]
}
