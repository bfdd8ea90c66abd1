//! Interrupts: how much time the handlers took, and from whom.
//!
//! These are bcc's hardirqs and softirqs in one report. A hardware interrupt is known by its
//! handler's name, a soft interrupt by its vector. Both run in whatever thread the CPU was at; that
//! thread's process loses the time, and `--by interrupted` sums it up.

use std::borrow::Cow;

use arrow::array::Array as _;
use clap::{Args, ValueEnum};
use lookback_schemas::TableId;

use crate::cli::{Source, SourceArgs};
use crate::codes;
use crate::distribution::{Group, Report, Scale, Summary, Values};
use crate::hosts::Reach;
use crate::hosts::by::{Grouping, host_or_one};
use crate::lifetimes::{Detail, Lifetimes};
use crate::processes::known;
use crate::render::{Column, Format, Output, Value};
use crate::scope::{Scope, ScopeArgs};
use crate::tally::{Groups, Selection, Sum, ThreadsArgs, name_at, process_columns, projection};
use crate::window::MinArgs;

/// Shown below the help.
pub const EXAMPLE: &str = "Examples:\n  analyze irqs web1.lookback --by cpu\n  \
                           analyze irqs web1.lookback --soft --by interrupted\n  \
                           analyze irqs web1.lookback --hard --dist\n\nThe process filters choose \
                           interrupts by the process that they interrupted.";

/// Options of `analyze irqs`.
#[derive(Args, Debug)]
pub struct IrqsArgs {
    /// The recording, and the part of it.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Which processes.
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// Which durations.
    #[command(flatten)]
    pub min: MinArgs,
    /// Only hardware interrupts
    #[arg(long, conflicts_with = "soft")]
    pub hard: bool,
    /// Only soft interrupts
    #[arg(long)]
    pub soft: bool,
    /// A histogram of how long each handler or vector took
    #[arg(long)]
    pub dist: bool,
    /// Also by CPU, or by the process that was interrupted
    #[arg(long, value_parser = host_or_one::<By>())]
    pub by: Option<Grouping<By>>,
    /// How many threads read.
    #[command(flatten)]
    pub threads: ThreadsArgs,
}

/// What else to sum up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// By CPU.
    Cpu,
    /// By the process that was interrupted.
    Interrupted,
}

/// An interrupt's handler.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Handler {
    /// Of a hardware interrupt, by name; `None` where it has none.
    Hard(Option<String>),
    /// Of a soft interrupt, by its vector.
    Soft(i32),
}

impl Handler {
    fn name(&self) -> Option<Cow<'_, str>> {
        match self {
            Handler::Hard(name) => name.as_deref().map(Cow::Borrowed),
            Handler::Soft(vector) => Some(codes::softirq(*vector)),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Handler::Hard(_) => "hardirq",
            Handler::Soft(_) => "softirq",
        }
    }
}

projection! {
    /// What is added up of hardware interrupts.
    struct Hard of Hardirq {
        ts: i64,
        duration: i64,
        cpu: i32,
        pid: i32,
        name: Option<String>,
    }
}

projection! {
    /// What is added up of soft interrupts.
    struct Soft of Softirq {
        ts: i64,
        duration: i64,
        vector: i32,
        cpu: i32,
        pid: i32,
    }
}

/// What interrupts are summed up by: the handler, and the CPU or pid of `--by`.
type Of = (Handler, Option<i32>);

/// The interrupts that are summed up together.
#[derive(Clone, Debug, Default)]
struct Interrupts {
    durations: Values,
    /// When the last of them began.
    last: i64,
}

impl Sum for Interrupts {
    fn merge(&mut self, other: Self) {
        self.durations.merge(other.durations);
        self.last = self.last.max(other.last);
    }
}

impl Interrupts {
    fn add(&mut self, ts: i64, duration: i64) {
        self.durations.add(duration);
        self.last = self.last.max(ts);
    }
}

/// Prints the report.
///
/// # Errors
/// If a process filter does not apply, a table is damaged, or the output cannot be written.
pub fn run(args: &IrqsArgs, source: &Source) -> anyhow::Result<()> {
    let scope = source.scope(&args.scope)?;
    let mut tables = Vec::new();
    tables.extend((!args.soft).then_some(TableId::Hardirq));
    tables.extend((!args.hard).then_some(TableId::Softirq));
    tables.iter().try_for_each(|table| scope.check(*table))?;
    let by = args.by();
    let lifetimes = match by {
        Some(By::Interrupted) => Lifetimes::read(&source.recording, Detail::Identity)?,
        Some(By::Cpu) | None => Lifetimes::default(),
    };
    let hard = if args.soft { Sums::default() } else { hard(args, source, &scope)? };
    let soft = if args.hard { Sums::default() } else { soft(args, source, &scope)? };
    let mut output = source.begin(&tables)?;
    let reach = match by {
        None => Reach::Everywhere,
        Some(By::Cpu) => Reach::Host,
        // Whom a pid was is told by the recording's own processes.
        Some(By::Interrupted) => Reach::Recording,
    };
    let Some((hard, soft)) = source.add_up(reach, (hard, soft)) else { return Ok(()) };
    let mut sections = Vec::new();
    if !args.soft {
        sections.push(("HARDIRQ", told(by, hard, &lifetimes)));
    }
    if !args.hard {
        sections.push(("SOFTIRQ", told(by, soft, &lifetimes)));
    }
    match args.dist {
        true => histograms(by, sections, &mut output)?,
        false => totals(by, sections, &mut output)?,
    }
    output.finish()
}

type Sums = Groups<Of, Interrupts>;

impl IrqsArgs {
    /// What to sum up by, beside the host.
    fn by(&self) -> Option<By> {
        Grouping::one(self.by.as_ref())
    }

    /// Adds an interrupt, if it is to be looked at.
    fn add(&self, sums: &mut Sums, handler: Handler, seen: Seen) {
        let by = match self.by() {
            None => None,
            Some(By::Cpu) => Some(seen.cpu),
            Some(By::Interrupted) => Some(seen.pid),
        };
        if self.min.admits(seen.duration) {
            sums.of((handler, by)).add(seen.ts, seen.duration);
        }
    }
}

/// What both kinds of interrupts have.
struct Seen {
    ts: i64,
    duration: i64,
    cpu: i32,
    pid: i32,
}

/// What the row has of [`Seen`].
macro_rules! seen {
    ($rows:expr, $row:expr) => {
        Seen {
            ts: $rows.ts.value($row),
            duration: $rows.duration.value($row),
            cpu: $rows.cpu.value($row),
            pid: $rows.pid.value($row),
        }
    };
}

fn hard(args: &IrqsArgs, source: &Source, scope: &Scope) -> anyhow::Result<Sums> {
    let selection = Selection { source, scope, threads: args.threads, without: &[] };
    Ok(selection.sum(|sums: &mut Sums, rows: &Hard, row| {
        let handler = Handler::Hard(known!(rows.name, row).map(str::to_owned));
        args.add(sums, handler, seen!(rows, row));
    })?)
}

fn soft(args: &IrqsArgs, source: &Source, scope: &Scope) -> anyhow::Result<Sums> {
    let selection = Selection { source, scope, threads: args.threads, without: &[] };
    Ok(selection.sum(|sums: &mut Sums, rows: &Soft, row| {
        args.add(sums, Handler::Soft(rows.vector.value(row)), seen!(rows, row));
    })?)
}

/// A sum as a report tells it.
struct Told {
    title: String,
    /// Values of the [`keys`].
    keys: Vec<Value>,
    values: Values,
    summary: Summary,
}

/// The sums, the most time first.
fn told(by: Option<By>, sums: Sums, lifetimes: &Lifetimes) -> Vec<Told> {
    let mut told: Vec<Told> = sums
        .sorted()
        .into_iter()
        .map(|((handler, number), interrupts)| {
            let name = handler.name();
            let mut title = format!("{} = {}", handler.kind(), name.as_deref().unwrap_or("-"));
            let mut keys =
                vec![Value::Text(handler.kind().to_owned()), Value::text(name.as_deref())];
            if let (Some(by), Some(number)) = (by, number) {
                keys.push(Value::Int(i64::from(number)));
                match by {
                    By::Cpu => title.push_str(&format!(", cpu = {number}")),
                    By::Interrupted => {
                        let name = name_at(lifetimes, number, interrupts.last);
                        title.push_str(&format!(", pid = {number} {}", name.unwrap_or("-")));
                        keys.push(Value::text(name));
                    }
                }
            }
            let mut values = interrupts.durations;
            let summary = values.summary();
            Told { title, keys, values, summary }
        })
        .collect();
    told.sort_by_key(|told| std::cmp::Reverse(told.summary.sum));
    told
}

/// The columns of what is summed up by.
fn keys(by: Option<By>, header: &'static str) -> Vec<Column> {
    let mut columns = vec![Column::data("kind"), Column::new("name", header).wide(26)];
    match by {
        None => {}
        Some(By::Cpu) => columns.push(Column::new("cpu", "CPU").right().wide(4)),
        Some(By::Interrupted) => {
            columns.extend(process_columns());
        }
    }
    columns
}

/// One kind of interrupts, under its header.
type Section = (&'static str, Vec<Told>);

/// bcc's hardirqs and softirqs: in tables one below the other, in data all together.
fn totals(by: Option<By>, sections: Vec<Section>, output: &mut Output) -> anyhow::Result<()> {
    if output.format() != Format::Table {
        let all = sections.into_iter().flat_map(|(_, told)| told).collect();
        return section(by, ("", all), output);
    }
    for (place, one) in sections.into_iter().enumerate() {
        if place > 0 {
            output.line("")?;
        }
        section(by, one, output)?;
    }
    Ok(())
}

fn section(by: Option<By>, (header, sums): Section, output: &mut Output) -> anyhow::Result<()> {
    let mut columns = keys(by, header);
    columns.extend([
        Column::new("time", "TOTAL_usecs").right().wide(14),
        Column::new("count", "COUNT").right().wide(9),
        Column::data("mean"),
        Column::data("max"),
    ]);
    let mut rows = output.rows(columns);
    for Told { mut keys, summary, .. } in sums {
        keys.extend([
            Value::Micros(summary.total()),
            Value::count(summary.count),
            summary.mean.map_or(Value::Null, Value::Real),
            summary.max.map_or(Value::Null, Value::Duration),
        ]);
        rows.row(&keys)?;
    }
    rows.end()
}

fn histograms(by: Option<By>, sections: Vec<Section>, output: &mut Output) -> anyhow::Result<()> {
    let report = Report::of_durations("duration", keys(by, ""), Scale::of_time(false));
    let group =
        |told: Told| Group { title: Some(told.title), keys: told.keys, values: told.values };
    report.print(output, sections.into_iter().flat_map(|(_, told)| told).map(group).collect())
}

#[cfg(test)]
mod tests {
    use crate::made::{Made, Row, analyze, lines};

    fn irqs() -> Made {
        let made = Made::new();
        made.rows(&[
            made.exec(0.5, 10, 1, &["/bin/busy"]),
            made.hardirq(1.0, "eth0", 0, 10, 1_500),
            made.hardirq(2.0, "eth0", 1, 0, 3_500),
            made.hardirq(2.0, "", 0, 99, 1_000),
            made.softirq(1.0, 3, 0, 10, 2_000),
            made.softirq(1.5, 42, 1, 0, 9_000),
        ]);
        made.end(5.0);
        made
    }

    #[test]
    fn totals_are_hardirqs_and_softirqs() {
        assert_eq!(
            lines(&irqs(), &["irqs"])[1..],
            [
                "HARDIRQ TOTAL_usecs COUNT",
                "eth0 5.000 2",
                "- 1.000 1",
                "",
                "SOFTIRQ TOTAL_usecs COUNT",
                "42 9.000 1",
                "net_rx 2.000 1",
            ]
        );
        assert_eq!(lines(&irqs(), &["irqs", "--hard"]).len(), 4);
        assert_eq!(lines(&irqs(), &["irqs", "--soft", "--min", "5us"])[2..], ["42 9.000 1"]);
        let csv = analyze(&irqs(), &["irqs", "--format", "csv"]).expect("it is whole");
        assert_eq!(
            csv,
            "kind,name,time,count,mean,max\nhardirq,eth0,5000,2,2500,3500\n\
             hardirq,,1000,1,1000,1000\nsoftirq,42,9000,1,9000,9000\n\
             softirq,net_rx,2000,1,2000,2000\n"
        );
    }

    #[test]
    fn the_interrupted_have_names() {
        assert_eq!(
            lines(&irqs(), &["irqs", "--hard", "--by", "interrupted"])[1..],
            [
                "HARDIRQ PID COMM TOTAL_usecs COUNT",
                "eth0 0 [idle] 3.500 1",
                "eth0 10 busy 1.500 1",
                "- 99 - 1.000 1",
            ]
        );
        assert_eq!(
            lines(&irqs(), &["irqs", "--soft", "--by", "cpu"])[1..],
            ["SOFTIRQ CPU TOTAL_usecs COUNT", "42 1 9.000 1", "net_rx 0 2.000 1"]
        );
    }

    #[test]
    fn distributions_are_drawn_for_each() {
        let titles = |args: &[&str]| -> Vec<String> {
            let lines = lines(&irqs(), &[&["irqs", "--dist"], args].concat());
            lines.into_iter().filter(|line| line.contains(" = ")).collect()
        };
        assert_eq!(
            titles(&[]),
            ["hardirq = eth0", "hardirq = -", "softirq = 42", "softirq = net_rx"]
        );
        assert_eq!(
            titles(&["--soft", "--by", "interrupted"]),
            ["softirq = 42, pid = 0 [idle]", "softirq = net_rx, pid = 10 busy"]
        );
        let csv = analyze(&irqs(), &["irqs", "--dist", "--by", "cpu", "--format", "csv"]);
        let csv = csv.expect("it is whole");
        assert!(
            csv.starts_with(
                "kind,name,cpu,low,high,count
hardirq,eth0,1,0,1,0
"
            ),
            "{csv}"
        );
    }

    #[test]
    fn filters_choose_the_interrupted_or_are_refused() {
        assert_eq!(lines(&irqs(), &["irqs", "--hard", "--pid", "10"])[2..], ["eth0 1.500 1"]);
        for filter in ["--comm", "--uid"] {
            let error = analyze(&irqs(), &["irqs", filter, "1"]).expect_err("no such column");
            assert!(error.to_string().contains("does not apply: table `hardirq`"), "{error}");
        }
    }

    #[test]
    fn threads_do_not_matter() {
        let made = Made::new();
        for group in 0..20 {
            let irq = |row: i32| {
                let duration = i64::from(row * row) * 90;
                made.softirq(f64::from(group), row % 12, row % 2, row % 4, duration)
            };
            made.rows(&(0..50).map(irq).collect::<Vec<Row>>());
        }
        for args in [&["--by", "cpu"][..], &["--by", "interrupted"], &["--dist"]] {
            let of = |threads| {
                let args = [&["irqs", "--threads", threads], args].concat();
                analyze(&made, &args).expect("it is whole")
            };
            assert_eq!(of("1"), of("8"), "{args:?}");
        }
    }
}
