//! What the security modules were asked: who wanted to connect to where, and what the answer was.
//!
//! The kernel asks before anything is sent, and for every family, so this also shows connections to
//! Unix sockets, and of datagram sockets, which never become a TCP connection.

use arrow::array::Array as _;
use clap::{Args, ValueEnum};
use lookback_schemas::TableId;
use lookback_schemas::tables::Lsmconnect;

use crate::cli::{Source, SourceArgs};
use crate::codes;
use crate::hosts::Reach;
use crate::hosts::by::{Grouping, host_or_one};
use crate::processes::known;
use crate::render::{Column, Output, Value};
use crate::scope::{Scope, ScopeArgs};
use crate::tally::{
    Groups, Named, Selection, Sum, ThreadsArgs, add_name, process_columns, process_values,
    projection,
};
use crate::timeline;

/// Shown below the help.
pub const EXAMPLE: &str = "Examples:\n  analyze lsm web1.lookback --denied\n  \
                           analyze lsm web1.lookback --by address --comm curl";

/// Options of `analyze lsm`.
#[derive(Args, Debug)]
pub struct LsmArgs {
    /// The recording, and the part of it.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Which processes.
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// Only what was refused
    #[arg(long)]
    pub denied: bool,
    /// Sum up instead of listing
    #[arg(long, value_parser = host_or_one::<By>())]
    pub by: Option<Grouping<By>>,
    /// How many threads read, to sum up.
    #[command(flatten)]
    pub threads: ThreadsArgs,
}

impl LsmArgs {
    /// What to sum up by, beside the host.
    fn by(&self) -> Option<By> {
        Grouping::one(self.by.as_ref())
    }
}

/// What to sum up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// By process.
    Process,
    /// By family, address and port.
    Address,
}

projection! {
    /// What is added up.
    struct Rows of Lsmconnect {
        ts: i64,
        verdict: i32,
        family: i32,
        addr: Option<String>,
        port: Option<i32>,
        pid: i32,
        tid: i32,
        comm: Option<String>,
    }
}

/// Questions that were asked.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    count: u64,
    denied: u64,
}

impl Sum for Asked {
    fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.denied += other.denied;
    }
}

impl Asked {
    fn add(&mut self, denied: bool) {
        self.merge(Asked { count: 1, denied: u64::from(denied) });
    }
}

/// Prints the report.
///
/// # Errors
/// If the table is damaged, or the output cannot be written.
pub fn run(args: &LsmArgs, source: &Source) -> anyhow::Result<()> {
    let scope = source.scope(&args.scope)?;
    scope.check(TableId::Lsmconnect)?;
    let mut output = source.begin(&[TableId::Lsmconnect])?;
    let (threads, scope) = (args.threads, &scope);
    let selection = |without| Selection { source, scope, threads, without };
    match args.by() {
        None => list(args, source, scope, &mut output)?,
        Some(By::Process) => by_process(args, &selection(&["addr", "port"]), &mut output)?,
        Some(By::Address) => by_address(args, &selection(&["comm"]), &mut output)?,
    }
    output.finish()
}

fn list(args: &LsmArgs, source: &Source, scope: &Scope, output: &mut Output) -> anyhow::Result<()> {
    let mut out = output.events(vec![
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
    ]);
    timeline::rows::<Lsmconnect>(&source.recording, &source.window.range, scope, |rows, row| {
        let verdict = rows.verdict.value(row);
        if args.denied && verdict == 0 {
            return Ok(());
        }
        let (family, kind) = (rows.family.value(row), rows.kind.value(row));
        out.row(&[
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
        ])
    })?;
    out.end()
}

fn counts() -> [Column; 2] {
    [Column::new("count", "COUNT").right().wide(8), Column::new("denied", "DENIED").right().wide(7)]
}

fn by_process(
    args: &LsmArgs,
    selection: &Selection<'_>,
    output: &mut Output,
) -> anyhow::Result<()> {
    type Sums = Groups<i32, Named<Asked>>;
    let sums: Sums = selection.sum(|sums: &mut Sums, rows: &Rows, row| {
        let denied = rows.verdict.value(row) != 0;
        if denied || !args.denied {
            let asked = sums.of(rows.pid.value(row));
            add_name!(asked.name, rows, row);
            asked.sum.add(denied);
        }
    })?;
    let Some(sums) = selection.source.add_up(Reach::Boot, sums) else { return Ok(()) };
    let mut columns = process_columns().to_vec();
    columns.extend(counts());
    let mut rows = output.rows(columns);
    for (pid, asked) in sums.ranked(None, |asked| asked.sum.count) {
        let mut row = process_values(pid, asked.name.get()).to_vec();
        row.extend([asked.sum.count, asked.sum.denied].map(Value::count));
        rows.row(&row)?;
    }
    rows.end()
}

fn by_address(
    args: &LsmArgs,
    selection: &Selection<'_>,
    output: &mut Output,
) -> anyhow::Result<()> {
    type Sums = Groups<(i32, Option<String>, Option<i32>), Asked>;
    let sums: Sums = selection.sum(|sums: &mut Sums, rows: &Rows, row| {
        let denied = rows.verdict.value(row) != 0;
        if denied || !args.denied {
            let address = known!(rows.addr, row).map(str::to_owned);
            let port = known!(rows.port, row);
            sums.of((rows.family.value(row), address, port)).add(denied);
        }
    })?;
    let Some(sums) = selection.source.add_up(Reach::Everywhere, sums) else { return Ok(()) };
    let mut columns = vec![
        Column::new("family", "FAMILY").wide(6),
        Column::new("addr", "ADDRESS").wide(15),
        Column::new("port", "PORT").right().wide(5),
    ];
    columns.extend(counts());
    let mut rows = output.rows(columns);
    for ((family, address, port), asked) in sums.ranked(None, |asked| asked.count) {
        rows.row(&[
            Value::Named(i64::from(family), codes::address_family(family)),
            Value::text(address.as_deref()),
            Value::int(port),
            Value::count(asked.count),
            Value::count(asked.denied),
        ])?;
    }
    rows.end()
}

#[cfg(test)]
mod tests {
    use crate::made::{Made, analyze, lines};

    fn asked() -> Made {
        let made = Made::new();
        made.rows(&[
            made.lsmconnect(1.0, 10, Some("10.0.0.2"), 0),
            made.lsmconnect(2.0, 10, Some("2001:db8::1"), -1),
            made.lsmconnect(3.0, 11, None, 0),
            made.lsmconnect(4.0, 11, Some("10.0.0.2"), -13),
        ]);
        made.end(5.0);
        made
    }

    #[test]
    fn decisions_are_listed() {
        assert_eq!(
            lines(&asked(), &["lsm"])[1..],
            [
                "TIME PID COMM UID FAMILY KIND ADDRESS PORT VERDICT",
                "10:15:01.000 10 client 1000 ipv4 stream 10.0.0.2 443 allowed",
                "10:15:02.000 10 client 1000 ipv6 stream 2001:db8::1 443 -EPERM",
                "10:15:03.000 11 client 1000 unix stream - - allowed",
                "10:15:04.000 11 client 1000 ipv4 stream 10.0.0.2 443 -EACCES",
            ]
        );
        assert_eq!(lines(&asked(), &["lsm", "--denied"]).len(), 4);
        let csv = analyze(&asked(), &["lsm", "--pid", "10", "--denied", "--format", "csv"]);
        assert_eq!(
            csv.expect("it is whole").lines().nth(1),
            Some("1795342502000000000,10,client,1000,10,1,2001:db8::1,443,-1,true,10")
        );
    }

    #[test]
    fn decisions_are_summed_up() {
        assert_eq!(
            lines(&asked(), &["lsm", "--by", "process"])[1..],
            ["PID COMM COUNT DENIED", "10 client 2 1", "11 client 2 1"]
        );
        assert_eq!(
            lines(&asked(), &["lsm", "--by", "address"])[1..],
            [
                "FAMILY ADDRESS PORT COUNT DENIED",
                "ipv4 10.0.0.2 443 2 1",
                "unix - - 1 0",
                "ipv6 2001:db8::1 443 1 1",
            ]
        );
    }
}
