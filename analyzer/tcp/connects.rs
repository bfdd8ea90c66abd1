//! Connections that processes here began: how long each took to be established, or how it failed.
//!
//! The latency runs from the SYN to the SYN-ACK, which is one round trip and what the other side
//! took to answer. The columns are those of bcc's tcpconnlat. RESULT is 0, the error, or `closed`
//! where the socket was closed before an answer came.

use arrow::array::Array as _;
use clap::Args;
use lookback_schemas::TableId;
use lookback_schemas::tables::Tcpconnect;

use super::{EndsArgs, end_values, ends, ip_version, time_column};
use crate::cli::{Source, SourceArgs};
use crate::codes;
use crate::distribution::{Group, Report, Scale, Values};
use crate::hosts::Reach;
use crate::hosts::by::{Grouping, Nothing, host_or_one};
use crate::processes::known;
use crate::render::{Column, Output, Value};
use crate::scope::{Scope, ScopeArgs};
use crate::tally::{Selection, ThreadsArgs, projection};
use crate::timeline;
use crate::window::MinArgs;

/// Shown below the help.
pub const EXAMPLE: &str = "Examples:\n  analyze tcp connects web1.lookback --failed --time\n  \
                           analyze tcp connects web1.lookback --min 100ms --rport 5432\n  \
                           analyze tcp connects web1.lookback --hist --comm curl";

/// Options of `analyze tcp connects`.
#[derive(Args, Debug)]
pub struct ConnectsArgs {
    /// The recording, and the part of it.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Which processes.
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// Which sockets.
    #[command(flatten)]
    pub ends: EndsArgs,
    /// Which latencies.
    #[command(flatten)]
    pub min: MinArgs,
    /// Only connections that were not established
    #[arg(short = 'x', long)]
    pub failed: bool,
    /// Also show the local port
    #[arg(long)]
    pub lport_column: bool,
    /// Also show when each began
    #[arg(short, long)]
    pub time: bool,
    /// A histogram of the latencies in microseconds instead of the list
    #[arg(long)]
    pub hist: bool,
    /// A histogram for each host
    #[arg(long, requires = "hist", value_parser = host_or_one::<Nothing>())]
    pub by: Option<Grouping<Nothing>>,
    /// The histogram in milliseconds
    #[arg(short, long, requires = "hist")]
    pub milliseconds: bool,
    /// How many threads read, for the histogram.
    #[command(flatten)]
    pub threads: ThreadsArgs,
}

projection! {
    /// What is added up.
    struct Rows of Tcpconnect {
        latency: i64,
        result: Option<i32>,
        family: i32,
        laddr: Option<String>,
        lport: i32,
        raddr: Option<String>,
        rport: i32,
    }
}

impl ConnectsArgs {
    fn admits(&self, latency: i64, result: Option<i32>, ends: super::Ends<'_>) -> bool {
        self.min.admits(latency) && !(self.failed && result == Some(0)) && self.ends.admits(ends)
    }
}

/// Prints the report.
///
/// # Errors
/// If the table is damaged, or the output cannot be written.
pub fn run(args: &ConnectsArgs, source: &Source) -> anyhow::Result<()> {
    let scope = source.scope(&args.scope)?;
    scope.check(TableId::Tcpconnect)?;
    let mut output = source.begin(&[TableId::Tcpconnect])?;
    match args.hist {
        true => histogram(args, source, &scope, &mut output)?,
        false => list(args, source, &scope, &mut output)?,
    }
    output.finish()
}

/// bcc's tcpconnlat.
fn list(
    args: &ConnectsArgs,
    source: &Source,
    scope: &Scope,
    output: &mut Output,
) -> anyhow::Result<()> {
    let lport = Column::new("lport", "LPORT").right().wide(5);
    let mut out = output.events(vec![
        time_column(args.time),
        Column::new("pid", "PID").right().wide(7),
        Column::new("comm", "COMM").wide(16),
        Column::new("family", "IP").wide(2),
        Column::new("laddr", "SADDR").wide(15),
        if args.lport_column { lport } else { lport.in_data() },
        Column::new("raddr", "DADDR").wide(15),
        Column::new("rport", "DPORT").right().wide(5),
        Column::new("latency", "LAT(ms)").right().wide(9),
        Column::table("RESULT"),
        Column::data("result"),
        Column::data("retransmits"),
        Column::data("tid"),
        Column::data("uid"),
    ]);
    timeline::rows::<Tcpconnect>(&source.recording, &source.window.range, scope, |rows, row| {
        let (latency, result) = (rows.latency.value(row), known!(rows.result, row));
        let ends = ends!(rows, row);
        if !args.admits(latency, result, ends) {
            return Ok(());
        }
        let [laddr, lport, raddr, rport] = end_values(ends);
        out.row(&[
            Value::Clock(rows.ts.value(row)),
            Value::Int(i64::from(rows.pid.value(row))),
            Value::text(known!(rows.comm, row)),
            ip_version(ends.family),
            laddr,
            lport,
            raddr,
            rport,
            Value::Millis(latency),
            Value::Text(result.map_or_else(|| "closed".to_owned(), codes::error_of)),
            Value::int(result),
            Value::Int(i64::from(rows.retransmits.value(row))),
            Value::Int(i64::from(rows.tid.value(row))),
            Value::Int(i64::from(rows.uid.value(row))),
        ])
    })?;
    out.end()
}

fn histogram(
    args: &ConnectsArgs,
    source: &Source,
    scope: &Scope,
    output: &mut Output,
) -> anyhow::Result<()> {
    let selection = Selection { source, scope, threads: args.threads, without: &[] };
    let values: Values = selection.sum(|values: &mut Values, rows: &Rows, row| {
        let (latency, result) = (rows.latency.value(row), known!(rows.result, row));
        if args.admits(latency, result, ends!(rows, row)) {
            values.add(latency);
        }
    })?;
    let Some(values) = source.add_up(Reach::Everywhere, values) else { return Ok(()) };
    let scale = Scale::of_time(args.milliseconds);
    let report = Report::of_durations("latency", Vec::new(), scale);
    report.print(output, vec![Group { title: None, keys: Vec::new(), values }])
}

#[cfg(test)]
mod tests {
    use crate::made::{Made, analyze, lines};

    fn connects() -> Made {
        let made = Made::new();
        made.rows(&[
            made.tcpconnect(1.0, 10, 443, Some(0)),
            made.tcpconnect(2.0, 10, 81, Some(-111)),
            made.tcpconnect(3.0, 11, 443, None),
        ]);
        made.end(5.0);
        made
    }

    #[test]
    fn connects_are_tcpconnlats() {
        assert_eq!(
            lines(&connects(), &["tcp", "connects"])[1..],
            [
                "PID COMM IP SADDR DADDR DPORT LAT(ms) RESULT",
                "10 client 4 10.0.0.1 10.0.0.2 443 1.500 0",
                "10 client 4 10.0.0.1 10.0.0.2 81 1.500 ECONNREFUSED",
                "11 client 4 10.0.0.1 10.0.0.2 443 1.500 closed",
            ]
        );
        assert_eq!(
            lines(
                &connects(),
                &["tcp", "connects", "-t", "--lport-column", "-x", "--rport", "443"]
            )[1..],
            [
                "TIME PID COMM IP SADDR LPORT DADDR DPORT LAT(ms) RESULT",
                "10:15:03.000 11 client 4 10.0.0.1 40000 10.0.0.2 443 1.500 closed",
            ]
        );
        let csv = analyze(&connects(), &["tcp", "connects", "--pid", "11", "--format", "csv"]);
        assert_eq!(
            csv.expect("it is whole").lines().nth(1),
            Some("1795342503000000000,11,client,2,10.0.0.1,40000,10.0.0.2,443,1500000,,0,11,1000")
        );
    }

    #[test]
    fn latencies_have_a_histogram() {
        let text = analyze(&connects(), &["tcp", "connects", "--hist", "-m", "--failed"]);
        let text = text.expect("it is whole");
        assert!(text.contains("         0 -> 1          : 2        |***"), "{text}");
        assert!(text.contains("count 2, mean 1.5, "), "{text}");
        let none = analyze(&connects(), &["tcp", "connects", "--hist", "--min", "2ms"]);
        assert!(none.expect("it is whole").ends_with("\ncount 0\n"));
    }
}
