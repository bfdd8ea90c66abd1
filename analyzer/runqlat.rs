//! How long threads that could run waited for a CPU.
//!
//! It is bcc's runqlat (and with `--list` runqslower), over rows instead of counters, so that more can be asked afterwards: why
//! each wait began, and who had the CPU meanwhile. The second is the report `--blame`. It names the
//! thread that ran right before the waiter got its CPU; in a long wait others may have run before
//! that one.

use anyhow::Context as _;
use arrow::array::Array as _;
use clap::{Args, ValueEnum};
use lookback_schemas::TableId;
use lookback_schemas::tables::Runq;

use crate::cli::{Source, SourceArgs};
use crate::codes;
use crate::distribution::{Group, Report, Scale, Values};
use crate::hosts::Reach;
use crate::hosts::by::{Grouping, host_or_one};
use crate::lifetimes::Cgroups;
use crate::processes::known;
use crate::render::{Column, Output, Value};
use crate::scope::{Scope, ScopeArgs};
use crate::tally::{
    Groups, IDLE, Key, Name, Named, Selection, Sum, ThreadsArgs, add_name, process_columns,
    process_values, projection,
};
use crate::timeline;
use crate::window::MinArgs;

/// Shown below the help.
pub const EXAMPLE: &str = "Examples:\n  analyze runqlat web1.lookback --by process --summary\n  \
                           analyze runqlat web1.lookback web2.lookback --by host\n  \
                           analyze runqlat web1.lookback --cause preempted -m\n  \
                           analyze runqlat web1.lookback --blame --comm nginx --min 1ms --top 10";

/// Options of `analyze runqlat`.
#[derive(Args, Debug)]
pub struct RunqlatArgs {
    /// The recording, and the part of it.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Which processes.
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// Which waits.
    #[command(flatten)]
    pub min: MinArgs,
    /// A histogram for each of these
    #[arg(long, value_parser = host_or_one::<By>())]
    pub by: Option<Grouping<By>>,
    /// Count in milliseconds instead of microseconds
    #[arg(short, long)]
    pub milliseconds: bool,
    /// Only count, mean and percentiles: one row for each histogram
    #[arg(long)]
    pub summary: bool,
    /// Every wait, as runqslower prints them
    #[arg(long, conflicts_with_all = ["by", "summary", "milliseconds", "blame"])]
    pub list: bool,
    /// Who made whom wait: the waiting process, and the one that had the CPU before it
    #[arg(long, conflicts_with_all = ["by", "summary", "milliseconds"])]
    pub blame: bool,
    /// Only the first rows of --blame
    #[arg(long, value_name = "N", requires = "blame")]
    pub top: Option<usize>,
    /// Only waits that began so; can be given again
    #[arg(long, value_enum)]
    pub cause: Vec<Cause>,
    /// How many threads read.
    #[command(flatten)]
    pub threads: ThreadsArgs,
}

/// What to group waits by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// By process.
    Process,
    /// By thread.
    Thread,
    /// By pid namespace: roughly, by container.
    Pidns,
    /// By cgroup.
    Cgroup,
}

/// Why a thread waited. The numbers are those of the column `cause`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Cause {
    /// It was woken.
    Woken = 0,
    /// It was preempted, or gave up the CPU while it could run.
    Preempted = 1,
    /// It was new.
    New = 2,
}

projection! {
    /// What is added up.
    struct Rows of Runq {
        ts: i64,
        wait: i64,
        cgroup: Option<i64>,
        pid_ns: Option<i64>,
        cause: i32,
        pid: i32,
        tid: i32,
        prev_pid: i32,
        prev_tid: i32,
        comm: Option<String>,
        prev_comm: Option<String>,
    }
}

impl RunqlatArgs {
    /// What to sum up by, beside the host.
    fn by(&self) -> Option<By> {
        Grouping::one(self.by.as_ref())
    }

    fn admits(&self, wait: i64, cause: i32) -> bool {
        self.min.admits(wait)
            && (self.cause.is_empty() || self.cause.iter().any(|wanted| *wanted as i32 == cause))
    }
}

impl Rows {
    fn chosen(&self, row: usize, args: &RunqlatArgs) -> bool {
        args.admits(self.wait.value(row), self.cause.value(row))
    }
}

/// Prints the report.
///
/// # Errors
/// If the table is damaged, or the output cannot be written.
pub fn run(args: &RunqlatArgs, source: &Source) -> anyhow::Result<()> {
    let scope = source.scope(&args.scope)?;
    scope.check(TableId::Runq)?;
    let mut output = source.begin(&[TableId::Runq])?;
    if args.list {
        list(args, source, &scope, &mut output)?;
    } else if args.blame {
        blame(args, source, &scope, &mut output)?;
    } else {
        waits(args, source, &scope, &mut output)?;
    }
    output.finish()
}

fn waits(
    args: &RunqlatArgs,
    source: &Source,
    scope: &Scope,
    output: &mut Output,
) -> anyhow::Result<()> {
    let named = matches!(args.by(), Some(By::Process | By::Thread));
    let without: &[&str] = if named { &["prev_comm"] } else { &["comm", "prev_comm"] };
    let add = |sums: &mut Groups<Key, Named<Values>>, rows: &Rows, row: usize| {
        if !rows.chosen(row, args) {
            return;
        }
        let (pid, tid) = (rows.pid.value(row), rows.tid.value(row));
        let number = |number: Option<i64>| number.map_or(Key::None, Key::Number);
        let waits = sums.of(match args.by() {
            None => Key::None,
            Some(By::Process) => Key::Number(i64::from(pid)),
            Some(By::Thread) => Key::Number(i64::from(tid)),
            Some(By::Pidns) => number(known!(rows.pid_ns, row)),
            Some(By::Cgroup) => number(known!(rows.cgroup, row)),
        });
        if named {
            let of_main_thread = args.by() == Some(By::Thread) || pid == tid;
            waits.name.add(rows.ts.value(row), of_main_thread, known!(rows.comm, row));
        }
        waits.sum.add(rows.wait.value(row));
    };
    let selection = Selection { source, scope, threads: args.threads, without };
    let sums: Groups<Key, Named<Values>> = selection.sum(add)?;
    let reach = match args.by() {
        None => Reach::Everywhere,
        Some(By::Process | By::Thread | By::Pidns | By::Cgroup) => Reach::Boot,
    };
    let Some(sums) = source.add_up(reach, sums) else { return Ok(()) };
    let cgroups = match args.by() {
        Some(By::Cgroup) => Cgroups::read(&source.recording).context("the names of cgroups")?,
        Some(By::Process | By::Thread | By::Pidns) | None => Cgroups::default(),
    };
    let scale = Scale::of_time(args.milliseconds);
    let report = Report::of_durations("wait", keys(args.by()), scale);
    let report = Report { summary: args.summary, ..report };
    let group = |(key, waits): (Key, Named<Values>)| {
        let name = match args.by() {
            Some(By::Cgroup) => key.number().and_then(|id| cgroups.path(id, source.window.end())),
            Some(By::Process | By::Thread | By::Pidns) | None => waits.name.get(),
        };
        describe(args.by(), &key, name, waits.sum)
    };
    report.print(output, sums.sorted().into_iter().map(group).collect())
}

/// The columns that say what a histogram is of.
fn keys(by: Option<By>) -> Vec<Column> {
    let comm = Column::new("comm", "COMM").wide(16);
    match by {
        None => Vec::new(),
        Some(By::Process) => process_columns().to_vec(),
        Some(By::Thread) => vec![Column::new("tid", "TID").right().wide(7), comm],
        Some(By::Pidns) => vec![Column::new("pid_ns", "PIDNS").right().wide(10)],
        Some(By::Cgroup) => {
            vec![Column::data("cgroup"), Column::new("path", "CGROUP").wide(16)]
        }
    }
}

fn describe(by: Option<By>, key: &Key, name: Option<&str>, values: Values) -> Group {
    let (number, said) = (key.value(), key.text());
    let named = name.unwrap_or("-");
    let (title, keys) = match by {
        None => (None, Vec::new()),
        Some(By::Process) => {
            (Some(format!("pid = {said} {named}")), vec![number, Value::text(name)])
        }
        Some(By::Thread) => {
            (Some(format!("tid = {said} {named}")), vec![number, Value::text(name)])
        }
        Some(By::Pidns) => (Some(format!("pidns = {said}")), vec![number]),
        Some(By::Cgroup) => {
            // A cgroup without a name is known by its number.
            let path = name.map_or(said, str::to_owned);
            (Some(format!("cgroup = {path}")), vec![number, Value::Text(path)])
        }
    };
    Group { title, keys, values }
}

/// bcc's runqslower.
fn list(
    args: &RunqlatArgs,
    source: &Source,
    scope: &Scope,
    output: &mut Output,
) -> anyhow::Result<()> {
    let mut out = output.events(vec![
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
    ]);
    timeline::rows::<Runq>(&source.recording, &source.window.range, scope, |rows, row| {
        let (wait, cause) = (rows.wait.value(row), rows.cause.value(row));
        if !args.admits(wait, cause) {
            return Ok(());
        }
        let number = |number: i32| Value::Int(i64::from(number));
        let prev = rows.prev_pid.value(row);
        out.row(&[
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
        ])
    })?;
    out.end()
}

/// The waits of one process behind another.
#[derive(Clone, Debug, Default)]
struct Blame {
    waiter: Name,
    prev: Name,
    count: u64,
    total: i64,
    max: i64,
}

impl Sum for Blame {
    fn merge(&mut self, other: Self) {
        self.waiter.merge(other.waiter);
        self.prev.merge(other.prev);
        self.count += other.count;
        self.total = self.total.saturating_add(other.total);
        self.max = self.max.max(other.max);
    }
}

impl Blame {
    fn add(&mut self, rows: &Rows, row: usize) {
        let (ts, wait) = (rows.ts.value(row), rows.wait.value(row));
        add_name!(self.waiter, rows, row);
        let main = rows.prev_pid.value(row) == rows.prev_tid.value(row);
        self.prev.add(ts, main, known!(rows.prev_comm, row));
        self.count += 1;
        self.total = self.total.saturating_add(wait);
        self.max = self.max.max(wait);
    }
}

fn blame(
    args: &RunqlatArgs,
    source: &Source,
    scope: &Scope,
    output: &mut Output,
) -> anyhow::Result<()> {
    let without = &["cgroup", "pid_ns"];
    let selection = Selection { source, scope, threads: args.threads, without };
    let sums: Groups<(i32, i32), Blame> =
        selection.sum(|sums: &mut Groups<(i32, i32), Blame>, rows: &Rows, row| {
            if rows.chosen(row, args) {
                sums.of((rows.pid.value(row), rows.prev_pid.value(row))).add(rows, row);
            }
        })?;
    let Some(sums) = source.add_up(Reach::Boot, sums) else { return Ok(()) };
    let mut columns = process_columns().to_vec();
    columns.extend([
        Column::new("prev_pid", "PREVPID").right().wide(7),
        Column::new("prev_comm", "PREVCOMM").wide(16),
        Column::new("count", "WAITS").right().wide(8),
        Column::new("total", "TOTAL").right().wide(9),
        Column::new("mean", "MEAN").right().wide(9),
        Column::new("max", "MAX").right().wide(9),
    ]);
    let mut rows = output.rows(columns);
    for ((pid, prev), sum) in sums.ranked(args.top, |sum| sum.total) {
        let prev_name = if prev == 0 { Some(IDLE) } else { sum.prev.get() };
        let count = i64::try_from(sum.count).unwrap_or(i64::MAX).max(1);
        let mut row = process_values(pid, sum.waiter.get()).to_vec();
        row.extend(process_values(prev, prev_name));
        row.extend([
            Value::count(sum.count),
            Value::Duration(sum.total),
            Value::Duration(sum.total / count),
            Value::Duration(sum.max),
        ]);
        rows.row(&row)?;
    }
    rows.end()
}

#[cfg(test)]
mod tests {
    use crate::made::{Made, Row, analyze, lines};

    fn waits() -> Made {
        let made = Made::new();
        made.rows(&[
            made.cgroup(0.0, 5, "/web"),
            made.runq(1.0, 10, 10, 5_000, 20, 0),
            made.runq(2.0, 10, 11, 900_000, 20, 1),
        ]);
        made.rows(&[made.runq(3.0, 12, 12, 1_000, 0, 0), made.runq(1.5, 12, 12, 2_000, 20, 2)]);
        made.end(5.0);
        made
    }

    #[test]
    fn waits_are_runqlats() {
        let text = analyze(&waits(), &["runqlat", "--pid", "12"]).expect("it is whole");
        let drawn: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(
            drawn,
            [
                "     usecs               : count    distribution",
                "         0 -> 1          : 1        |****************************************|",
                "         2 -> 3          : 1        |****************************************|",
                "",
                "count 2, mean 1.5, p50 1, p90 2, p99 2, p99.9 2, max 2 usecs",
            ]
        );
        let text = analyze(&waits(), &["runqlat", "-m"]).expect("it is whole");
        assert!(text.contains("     msecs               : count"), "{text}");
    }

    #[test]
    fn waits_are_grouped() {
        let titles = |by| -> Vec<String> {
            let lines = lines(&waits(), &["runqlat", "--by", by]);
            lines.into_iter().filter(|line| line.contains(" = ")).collect()
        };
        assert_eq!(titles("process"), ["pid = 10 waiter", "pid = 12 waiter"]);
        assert_eq!(titles("thread"), ["tid = 10 waiter", "tid = 11 waiter", "tid = 12 waiter"]);
        assert_eq!(titles("pidns"), ["pidns = 4026531836"]);
        assert_eq!(titles("cgroup"), ["cgroup = /web"]);
    }

    #[test]
    fn summaries_have_a_row_each() {
        assert_eq!(
            lines(&waits(), &["runqlat", "--by", "process", "--summary"])[1..],
            [
                "PID COMM count mean p50 p90 p99 p99.9 max",
                "10 waiter 2 452.5µs 5.0µs 900.0µs 900.0µs 900.0µs 900.0µs",
                "12 waiter 2 1.5µs 1.0µs 2.0µs 2.0µs 2.0µs 2.0µs",
            ]
        );
        let csv = analyze(&waits(), &["runqlat", "--summary", "--cgroup", "5", "--format", "csv"]);
        assert_eq!(
            csv.expect("it is whole"),
            "count,nulls,negative,mean,p50,p90,p99,p99.9,max\n\
             4,0,0,227000,2000,900000,900000,900000,900000\n"
        );
    }

    #[test]
    fn blame_is_by_pairs() {
        assert_eq!(
            lines(&waits(), &["runqlat", "--blame"])[1..],
            [
                "PID COMM PREVPID PREVCOMM WAITS TOTAL MEAN MAX",
                "10 waiter 20 hog 2 905.0µs 452.5µs 900.0µs",
                "12 waiter 20 hog 1 2.0µs 2.0µs 2.0µs",
                "12 waiter 0 [idle] 1 1.0µs 1.0µs 1.0µs",
            ]
        );
        assert_eq!(lines(&waits(), &["runqlat", "--blame", "--top", "1"]).len(), 3);
    }

    #[test]
    fn waits_are_listed() {
        assert_eq!(
            lines(&waits(), &["runqlat", "--list", "--min", "2us"])[1..],
            [
                "TIME COMM TID LAT(us) CAUSE PREVCOMM PREVTID",
                "10:15:01.000 waiter 10 5.000 woken hog 20",
                "10:15:01.500 waiter 12 2.000 new hog 20",
                "10:15:02.000 waiter 11 900.000 preempted hog 20",
            ]
        );
        let idle = lines(&waits(), &["runqlat", "--list", "--since", "3s"]);
        assert_eq!(idle[2..], ["10:15:03.000 waiter 12 1.000 woken [idle] 0"]);
    }

    #[test]
    fn waits_are_chosen_by_cause_and_length() {
        let count = |args: &[&str]| {
            let args = [&["runqlat", "--summary", "--format", "csv"], args].concat();
            let csv = analyze(&waits(), &args).expect("it is whole");
            csv.lines().nth(1).and_then(|line| line.split(',').next().map(str::to_owned))
        };
        assert_eq!(count(&["--cause", "woken"]).as_deref(), Some("2"));
        assert_eq!(count(&["--cause", "preempted", "--cause", "new"]).as_deref(), Some("2"));
        assert_eq!(count(&["--min", "5us"]).as_deref(), Some("2"));
        assert_eq!(count(&["--min", "1s"]), None);
    }

    #[test]
    fn threads_do_not_matter() {
        let made = Made::new();
        for group in 0..20 {
            let wait = |row: i32| {
                let wait = i64::from(row * row) * 700;
                made.runq(f64::from(group), row % 3, row % 9, wait, row % 4, row % 3)
            };
            made.rows(&(0..50).map(wait).collect::<Vec<Row>>());
        }
        for args in [&["--by", "process"][..], &["--by", "thread", "--summary"], &["--blame"]] {
            let of = |threads| {
                let args = [&["runqlat", "--threads", threads], args].concat();
                analyze(&made, &args).expect("it is whole")
            };
            assert_eq!(of("1"), of("8"), "{args:?}");
        }
    }
}
