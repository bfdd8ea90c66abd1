//! Sockets changing from state to state: bcc's tcpstates.
//!
//! MS is how long the socket was in the state that it leaves.

use arrow::array::Array as _;
use clap::Args;
use lookback_schemas::TableId;
use lookback_schemas::tables::Tcpstate;

use super::{EndsArgs, end_columns, end_values, ends, time_column};
use crate::cli::{Source, SourceArgs};
use crate::codes;
use crate::processes::known;
use crate::render::{Column, Value};
use crate::scope::ScopeArgs;
use crate::timeline;
use crate::window::MinArgs;

/// Shown below the help.
pub const EXAMPLE: &str = "Examples:\n  analyze tcp states web1.lookback --time --lport 443\n  \
                           analyze tcp states web1.lookback --min 1s --comm nginx";

/// Options of `analyze tcp states`.
#[derive(Args, Debug)]
pub struct StatesArgs {
    /// The recording, and the part of it.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Which processes.
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// Which sockets.
    #[command(flatten)]
    pub ends: EndsArgs,
    /// Which times in a state.
    #[command(flatten)]
    pub min: MinArgs,
    /// Also show when each change was
    #[arg(short, long)]
    pub time: bool,
}

/// Prints the report.
///
/// # Errors
/// If the table is damaged, or the output cannot be written.
pub fn run(args: &StatesArgs, source: &Source) -> anyhow::Result<()> {
    let scope = source.scope(&args.scope)?;
    scope.check(TableId::Tcpstate)?;
    let mut output = source.begin(&[TableId::Tcpstate])?;
    let mut columns = vec![
        time_column(args.time),
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
    let mut out = output.events(columns);
    let (recording, range) = (&source.recording, &source.window.range);
    timeline::rows::<Tcpstate>(recording, range, &scope, |rows, row| {
        let (in_old, ends) = (known!(rows.in_old, row), ends!(rows, row));
        if !args.min.admits_unknown(in_old) || !args.ends.admits(ends) {
            return Ok(());
        }
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
            in_old.map_or(Value::Null, Value::Millis),
            Value::Int(i64::from(ends.family)),
            Value::Bytes(rows.sent.value(row)),
            Value::Bytes(rows.received.value(row)),
            Value::Int(rows.retransmits.value(row)),
            Value::int(known!(rows.tid, row)),
            Value::int(known!(rows.uid, row)),
        ]);
        out.row(&values)
    })?;
    out.end()?;
    output.finish()
}

#[cfg(test)]
mod tests {
    use crate::made::{Made, analyze, lines};

    #[test]
    fn states_are_tcpstates() {
        let made = Made::new();
        made.rows(&[
            made.tcpstate(2.0, 0x1234, (3, 1), Some(10)),
            made.tcpstate(1.0, 0x1234, (10, 3), None),
            made.tcpstate(3.0, -4096, (77, 7), Some(11)),
        ]);
        made.end(5.0);
        assert_eq!(
            lines(&made, &["tcp", "states"])[1..],
            [
                "SKADDR PID COMM LADDR LPORT RADDR RPORT OLDSTATE -> NEWSTATE MS",
                "0x1234 - - 10.0.0.1 80 10.0.0.2 4000 LISTEN -> SYN_RECV 250.000",
                "0x1234 10 server 10.0.0.1 80 10.0.0.2 4000 SYN_RECV -> ESTABLISHED 250.000",
                "0xfffffffffffff000 11 server 10.0.0.1 80 10.0.0.2 4000 77 -> CLOSE 250.000",
            ]
        );
        assert_eq!(lines(&made, &["tcp", "states", "--uid", "1000"]).len(), 4, "known owners");
        assert_eq!(lines(&made, &["tcp", "states", "--rport", "80"]).len(), 2);
        let csv = analyze(&made, &["tcp", "states", "-t", "--pid", "10", "--format", "csv"]);
        assert_eq!(
            csv.expect("it is whole").lines().nth(1),
            Some(
                "1795342502000000000,4660,10,server,10.0.0.1,80,10.0.0.2,4000,3,1,250000000,2,\
                 2048,1024,1,10,1000"
            )
        );
    }
}
