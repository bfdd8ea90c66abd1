//! Round-trip times, as a histogram: bcc's tcprtt.
//!
//! A row is a segment that came in, with the round trip that its socket reckoned with then. Where
//! only one segment in so many was recorded, a row counts as often as it stands for segments.

use arrow::array::Array as _;
use clap::{Args, ValueEnum};
use lookback_schemas::TableId;

use super::{EndsArgs, ends};
use crate::cli::{Source, SourceArgs};
use crate::distribution::{Group, Report, Scale, Values};
use crate::hosts::Reach;
use crate::hosts::by::{Grouping, host_or_one};
use crate::processes::known;
use crate::render::{Column, Value};
use crate::scope::{Scope, ScopeArgs};
use crate::tally::{Groups, Key, Named, Selection, ThreadsArgs, process_columns, projection};
use crate::window::MinArgs;

/// Shown below the help.
pub const EXAMPLE: &str = "Examples:\n  analyze tcp rtt web1.lookback --by raddr --average\n  \
                           analyze tcp rtt web1.lookback --by process --summary\n  \
                           analyze tcp rtt web1.lookback -m --lport 443";

/// Options of `analyze tcp rtt`.
#[derive(Args, Debug)]
pub struct RttArgs {
    /// The recording, and the part of it.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Which processes.
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// Which sockets.
    #[command(flatten)]
    pub ends: EndsArgs,
    /// Which round trips.
    #[command(flatten)]
    pub min: MinArgs,
    /// A histogram for each of these
    #[arg(long, value_parser = host_or_one::<By>())]
    pub by: Option<Grouping<By>>,
    /// Count in milliseconds instead of microseconds
    #[arg(short, long)]
    pub milliseconds: bool,
    /// Say the average above each histogram
    #[arg(long)]
    pub average: bool,
    /// Only count, mean and percentiles: one row for each histogram
    #[arg(long)]
    pub summary: bool,
    /// How many threads read.
    #[command(flatten)]
    pub threads: ThreadsArgs,
}

impl RttArgs {
    /// What to sum up by, beside the host.
    fn by(&self) -> Option<By> {
        Grouping::one(self.by.as_ref())
    }
}

/// What to group round trips by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// By local address.
    Laddr,
    /// By remote address.
    Raddr,
    /// By local port.
    Lport,
    /// By remote port.
    Rport,
    /// By process.
    Process,
}

projection! {
    /// What is added up.
    struct Rows of Tcprtt {
        ts: i64,
        srtt: i64,
        weight: i32,
        family: i32,
        laddr: Option<String>,
        lport: i32,
        raddr: Option<String>,
        rport: i32,
        pid: Option<i32>,
        comm: Option<String>,
    }
}

impl Rows {
    fn key(&self, row: usize, by: Option<By>) -> Key {
        let address = |address: Option<&str>| {
            address.map_or(Key::None, |address| Key::Text(address.to_owned()))
        };
        let number = |number: i32| Key::Number(i64::from(number));
        match by {
            None => Key::None,
            Some(By::Laddr) => address(known!(self.laddr, row)),
            Some(By::Raddr) => address(known!(self.raddr, row)),
            Some(By::Lport) => number(self.lport.value(row)),
            Some(By::Rport) => number(self.rport.value(row)),
            Some(By::Process) => known!(self.pid, row).map_or(Key::None, number),
        }
    }
}

/// Prints the report.
///
/// # Errors
/// If the table is damaged, or the output cannot be written.
pub fn run(args: &RttArgs, source: &Source) -> anyhow::Result<()> {
    let scope = source.scope(&args.scope)?;
    scope.check(TableId::Tcprtt)?;
    let sums = sum(args, source, &scope)?;
    let mut output = source.begin(&[TableId::Tcprtt])?;
    let reach = match args.by() {
        None | Some(By::Laddr | By::Raddr | By::Lport | By::Rport) => Reach::Everywhere,
        Some(By::Process) => Reach::Boot,
    };
    let Some(sums) = source.add_up(reach, sums) else { return Ok(()) };
    let scale = Scale::of_time(args.milliseconds);
    let report = Report::of_durations("srtt", keys(args.by()), scale);
    let report = Report { summary: args.summary, ..report };
    let group = |(key, trips)| describe(args, scale, &key, trips);
    report.print(&mut output, sums.sorted().into_iter().map(group).collect())?;
    output.finish()
}

type Sums = Groups<Key, Named<Values>>;

fn sum(args: &RttArgs, source: &Source, scope: &Scope) -> anyhow::Result<Sums> {
    let named = args.by() == Some(By::Process);
    let without: &[&str] = if named { &[] } else { &["pid", "comm"] };
    let selection = Selection { source, scope, threads: args.threads, without };
    Ok(selection.sum(|sums: &mut Sums, rows: &Rows, row| {
        let srtt = rows.srtt.value(row);
        // A weight below 1 no recorder writes.
        let Ok(weight @ 1..) = u64::try_from(rows.weight.value(row)) else { return };
        if !args.min.admits(srtt) || !args.ends.admits(ends!(rows, row)) {
            return;
        }
        let trips = sums.of(rows.key(row, args.by()));
        if named {
            // Whose thread the name is of is not recorded.
            trips.name.add(rows.ts.value(row), false, known!(rows.comm, row));
        }
        trips.sum.add_times(srtt, weight);
    })?)
}

/// The columns that say what a histogram is of.
fn keys(by: Option<By>) -> Vec<Column> {
    match by {
        None => Vec::new(),
        Some(By::Laddr) => vec![Column::new("laddr", "LADDR").wide(15)],
        Some(By::Raddr) => vec![Column::new("raddr", "RADDR").wide(15)],
        Some(By::Lport) => vec![Column::new("lport", "LPORT").right().wide(5)],
        Some(By::Rport) => vec![Column::new("rport", "RPORT").right().wide(5)],
        Some(By::Process) => process_columns().to_vec(),
    }
}

fn describe(args: &RttArgs, scale: Scale, key: &Key, trips: Named<Values>) -> Group {
    let (name, mut values) = (trips.name.get().map(str::to_owned), trips.sum);
    let said = key.text();
    let title = match args.by() {
        None => args.average.then(|| "All Addresses = *******".to_owned()),
        Some(By::Laddr) => Some(format!("Local Address = {said}")),
        Some(By::Raddr) => Some(format!("Remote Address = {said}")),
        Some(By::Lport) => Some(format!("Local Port = {said}")),
        Some(By::Rport) => Some(format!("Remote Port = {said}")),
        Some(By::Process) => Some(format!("pid = {said} {}", name.as_deref().unwrap_or("-"))),
    };
    let title = title.map(|title| match values.summary().mean {
        // Whole units, as tcprtt divides.
        Some(mean) if args.average => format!("{title} [AVG {}]", mean as i64 / scale.unit),
        Some(_) | None => title,
    });
    let keys = match args.by() {
        None => Vec::new(),
        Some(By::Laddr | By::Raddr | By::Lport | By::Rport) => vec![key.value()],
        Some(By::Process) => vec![key.value(), Value::text(name.as_deref())],
    };
    Group { title, keys, values }
}

#[cfg(test)]
mod tests {
    use crate::made::{Made, Row, analyze, lines};

    fn trips() -> Made {
        let made = Made::new();
        made.rows(&[
            made.tcprtt(1.0, Some(10), "10.0.0.2", 100_000, 1),
            made.tcprtt(2.0, Some(10), "10.0.0.3", 3_000_000, 3),
            made.tcprtt(3.0, None, "2001:db8::1", 200_000, 1),
            made.tcprtt(3.0, None, "2001:db8::1", 200_000, -5),
        ]);
        made.end(5.0);
        made
    }

    fn titles(args: &[&str]) -> Vec<String> {
        let lines = lines(&trips(), &[&["tcp", "rtt"], args].concat());
        lines.into_iter().filter(|line| line.contains(" = ")).collect()
    }

    #[test]
    fn round_trips_count_by_their_weight() {
        let text = analyze(&trips(), &["tcp", "rtt", "-m"]).expect("it is whole");
        let drawn: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(
            drawn,
            [
                "     msecs               : count    distribution",
                "         0 -> 1          : 2        |**************************              |",
                "         2 -> 3          : 3        |****************************************|",
                "",
                "count 5, mean 1.86, p50 3, p90 3, p99 3, p99.9 3, max 3 msecs",
            ]
        );
    }

    #[test]
    fn round_trips_are_grouped_with_averages() {
        assert_eq!(titles(&["--average"]), ["All Addresses = ******* [AVG 1860]"]);
        assert_eq!(
            titles(&["--by", "raddr", "--average"]),
            [
                "Remote Address = 10.0.0.2 [AVG 100]",
                "Remote Address = 10.0.0.3 [AVG 3000]",
                "Remote Address = 2001:db8::1 [AVG 200]",
            ]
        );
        assert_eq!(titles(&["--by", "laddr"]), ["Local Address = 10.0.0.1"]);
        assert_eq!(titles(&["--by", "lport"]), ["Local Port = 80"]);
        assert_eq!(titles(&["--by", "rport", "--family", "6"]), ["Remote Port = 4000"]);
        assert_eq!(titles(&["--by", "process"]), ["pid = - -", "pid = 10 server"]);
        assert_eq!(titles(&["--by", "process", "--uid", "1000"]), ["pid = 10 server"]);
    }

    #[test]
    fn summaries_have_a_row_each() {
        assert_eq!(
            lines(&trips(), &["tcp", "rtt", "--by", "raddr", "--summary", "--family", "4"])[1..],
            [
                "RADDR count mean p50 p90 p99 p99.9 max",
                "10.0.0.2 1 100.0µs 100.0µs 100.0µs 100.0µs 100.0µs 100.0µs",
                "10.0.0.3 3 3.00ms 3.00ms 3.00ms 3.00ms 3.00ms 3.00ms",
            ]
        );
        let error = analyze(&trips(), &["tcp", "rtt", "--tid", "1"]).expect_err("no such column");
        assert!(error.to_string().contains("`tcprtt` has no column `tid`"), "{error}");
    }

    #[test]
    fn threads_do_not_matter() {
        let made = Made::new();
        for group in 0..20 {
            let trip = |row: i32| {
                let pid = (row % 3 > 0).then_some(row % 3);
                let raddr = format!("10.0.0.{}", row % 5);
                made.tcprtt(f64::from(group), pid, &raddr, i64::from(row) * 999, row % 4)
            };
            made.rows(&(0..50).map(trip).collect::<Vec<Row>>());
        }
        for by in ["raddr", "process"] {
            let of = |threads| {
                let args = ["tcp", "rtt", "--by", by, "--average", "--threads", threads];
                analyze(&made, &args).expect("it is whole")
            };
            assert_eq!(of("1"), of("8"), "{by}");
        }
    }
}
