//! tcpconnlat's line of a connection that was begun here. RESULT is 0, the error, or `closed` where the socket
//! was closed before an answer came.

use arrow::array::Array as _;

use super::codes;
use super::sockets::{end_values, ip_version, time_column};
use super::value::{Column, Value};
use crate::tables::tcpconnect;
use crate::{ends, known};

/// Its columns, in tables with the time and the local port if those are wanted.
#[must_use]
pub fn columns(time: bool, local_port: bool) -> Vec<Column> {
    let lport = Column::new("lport", "LPORT").right().wide(5);
    vec![
        time_column(time),
        Column::new("pid", "PID").right().wide(7),
        Column::new("comm", "COMM").wide(16),
        Column::new("family", "IP").wide(2),
        Column::new("laddr", "SADDR").wide(15),
        if local_port { lport } else { lport.in_data() },
        Column::new("raddr", "DADDR").wide(15),
        Column::new("rport", "DPORT").right().wide(5),
        Column::new("latency", "LAT(ms)").right().wide(9),
        Column::table("RESULT"),
        Column::data("result"),
        Column::data("retransmits"),
        Column::data("tid"),
        Column::data("uid"),
    ]
}

/// Its values.
#[must_use]
pub fn values(rows: &tcpconnect::Columns, row: usize) -> [Value; 14] {
    let (ends, result) = (ends!(rows, row), known!(rows.result, row));
    let [laddr, lport, raddr, rport] = end_values(ends);
    [
        Value::Clock(rows.ts.value(row)),
        Value::Int(i64::from(rows.pid.value(row))),
        Value::text(known!(rows.comm, row)),
        ip_version(ends.family),
        laddr,
        lport,
        raddr,
        rport,
        Value::Millis(rows.latency.value(row)),
        Value::Text(result.map_or_else(|| "closed".to_owned(), codes::error_of)),
        Value::int(result),
        Value::Int(i64::from(rows.retransmits.value(row))),
        Value::Int(i64::from(rows.tid.value(row))),
        Value::Int(i64::from(rows.uid.value(row))),
    ]
}
