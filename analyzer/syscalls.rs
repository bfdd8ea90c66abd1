//! System calls: how many, how long, and which failed.
//!
//! The table `syscall` has a row for each call. Summed up it is bcc's syscount; listed, strace. A
//! call is known by its number, and which call a number means depends on the architecture: on x86-64
//! 2 is `open`, on arm64 it is `io_submit`. So names are those of the machine that was recorded.
//! 32-bit programs on a 64-bit kernel use the numbers of yet another architecture; their calls have
//! no names here and print as `compat:5`.

mod names;
pub(crate) mod over_time;

use std::borrow::Cow;
use std::fmt::Write as _;

use anyhow::Context as _;
use arrow::array::Array as _;
use clap::{Args, ValueEnum};
use lookback_schemas::TableId;
use lookback_schemas::lines::cells::numbers;
use lookback_schemas::suggest::did_you_mean;
use lookback_schemas::tables::{Syscall, syscall};

use crate::cli::{Source, SourceArgs};
use crate::codes;
use crate::distribution::{Group, Report, Scale, Summary, Values};
use crate::hosts::Reach;
use crate::hosts::by::{Grouping, host_or_one};
use crate::processes::known;
use crate::render::{Column, Output, Value, duration};
use crate::scope::{Scope, ScopeArgs};
use crate::tally::{
    Groups, Name, Selection, Sum, ThreadsArgs, add_name, process_columns, process_values,
    projection,
};
use crate::timeline;
use crate::window::MinArgs;
use names::{Call, Names};

pub(crate) use names::name_of;

/// Shown below the help.
pub const EXAMPLE: &str = "Examples:\n  analyze syscalls web1.lookback --sort time --top 10\n  \
                           analyze syscalls web1.lookback --errors --comm nginx\n  \
                           analyze syscalls web1.lookback --latency --syscall read --syscall write\n  \
                           analyze syscalls web1.lookback --list --failed --pid 4711";

/// Options of `analyze syscalls`.
#[derive(Args, Debug)]
pub struct SyscallsArgs {
    /// The recording, and the part of it.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Which processes.
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// Which durations.
    #[command(flatten)]
    pub min: MinArgs,
    /// Which report.
    #[command(flatten)]
    pub view: View,
    /// Sum up by process instead of by system call
    #[arg(long, value_parser = host_or_one::<By>(), conflicts_with_all = ["errors", "list"])]
    pub by: Option<Grouping<By>>,
    /// Only this system call, by name or number; can be given again
    #[arg(long, value_name = "NAME")]
    pub syscall: Vec<String>,
    /// Only calls that failed
    #[arg(long)]
    pub failed: bool,
    /// What to sort by, the largest first
    #[arg(long, value_enum, default_value_t, conflicts_with_all = ["errors", "list"])]
    pub sort: Sort,
    /// Only the first rows, or histograms
    #[arg(long, value_name = "N", conflicts_with = "list")]
    pub top: Option<usize>,
    /// How many threads read.
    #[command(flatten)]
    pub threads: ThreadsArgs,
}

impl SyscallsArgs {
    /// What to sum up by, beside the host.
    fn by(&self) -> Option<By> {
        Grouping::one(self.by.as_ref())
    }
}

/// The reports; by default one row for each system call.
#[derive(Args, Debug, Default)]
#[group(multiple = false)]
pub struct View {
    /// How often each system call failed with which error
    #[arg(long)]
    pub errors: bool,
    /// A histogram of how long each system call took
    #[arg(long)]
    pub latency: bool,
    /// Every call, as strace prints it
    #[arg(long)]
    pub list: bool,
}

/// What to sum up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// By process.
    Process,
}

/// What to sort by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    /// The number of calls.
    #[default]
    Count,
    /// The time that they took together.
    Time,
    /// The number of those that failed.
    Errors,
}

/// Which calls a report is about.
struct Chosen {
    /// Only these; all if empty.
    calls: Vec<Call>,
    failed: bool,
    min: MinArgs,
}

impl Chosen {
    fn new(args: &SyscallsArgs, names: Names, arch: &str) -> anyhow::Result<Chosen> {
        let mut calls = Vec::new();
        for text in &args.syscall {
            let call = names.call(text);
            let known = names != Names::None;
            let why = if known { "there is no such system call" } else { "no names are known" };
            let hint = || did_you_mean(text, names.all().iter().map(String::as_str));
            let wrong = || format!("--syscall {text}: {why} on {arch}{}", hint());
            calls.push(call.with_context(wrong)?);
        }
        Ok(Chosen { calls, failed: args.failed, min: args.min })
    }

    fn admits(&self, call: Call, result: Option<i64>, duration: Option<i64>) -> bool {
        (self.calls.is_empty() || self.calls.contains(&call))
            && (!self.failed || result.and_then(codes::failure).is_some())
            && self.min.admits_unknown(duration)
    }
}

projection! {
    /// What is added up of the calls.
    struct Rows of Syscall {
        ts: i64,
        duration: Option<i64>,
        result: Option<i64>,
        number: i32,
        pid: i32,
        tid: i32,
        comm: Option<String>,
        compat: bool,
    }
}

impl Rows {
    fn call(&self, row: usize) -> Call {
        Call { compat: self.compat.value(row), number: self.number.value(row) }
    }

    fn failure(&self, row: usize) -> Option<i32> {
        known!(self.result, row).and_then(codes::failure)
    }

    fn chosen(&self, row: usize, chosen: &Chosen) -> bool {
        let (result, duration) = (known!(self.result, row), known!(self.duration, row));
        chosen.admits(self.call(row), result, duration)
    }
}

/// What a report is made from.
struct Question<'a> {
    args: &'a SyscallsArgs,
    source: &'a Source,
    scope: Scope,
    names: Names,
    chosen: Chosen,
}

/// Prints the report.
///
/// # Errors
/// If a system call is unknown, the table is damaged, or the output cannot be written.
pub fn run(args: &SyscallsArgs, source: &Source) -> anyhow::Result<()> {
    let scope = source.scope(&args.scope)?;
    scope.check(TableId::Syscall)?;
    let arch = &source.recording.manifest().host.arch;
    let names = Names::of(arch);
    let chosen = Chosen::new(args, names, arch)?;
    let question = Question { args, source, scope, names, chosen };
    let mut output = source.begin(&[TableId::Syscall])?;
    if args.view.list {
        question.list(&mut output)?;
    } else if args.view.errors {
        question.errors(&mut output)?;
    } else {
        let sums = match args.by() {
            None => question.by_call()?,
            Some(By::Process) => question.by_process()?,
        };
        let Some(sums) = sums else { return Ok(()) };
        match args.view.latency {
            true => question.latency(&mut output, sums)?,
            false => question.counts(&mut output, sums)?,
        }
    }
    output.finish()
}

/// Calls that are summed up together.
#[derive(Clone, Debug, Default)]
struct Calls {
    count: u64,
    failed: u64,
    /// How long they took, as far as they returned.
    durations: Values,
    /// Of which process, if they are summed up by process.
    name: Name,
}

impl Sum for Calls {
    fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.failed += other.failed;
        self.durations.merge(other.durations);
        self.name.merge(other.name);
    }
}

impl Calls {
    fn add(&mut self, rows: &Rows, row: usize) {
        self.count += 1;
        self.failed += u64::from(rows.failure(row).is_some());
        match known!(rows.duration, row) {
            Some(duration) => self.durations.add(duration),
            None => self.durations.add_null(),
        }
    }
}

/// Calls with what they have in common.
struct Counted {
    /// What a title says of them.
    title: String,
    /// The values of [`Question::keys`].
    keys: Vec<Value>,
    calls: Calls,
    summary: Summary,
}

impl Question<'_> {
    fn selection<'a>(&'a self, without: &'a [&'static str]) -> Selection<'a> {
        let (source, scope) = (self.source, &self.scope);
        Selection { source, scope, threads: self.args.threads, without }
    }

    fn by_call(&self) -> anyhow::Result<Option<Vec<Counted>>> {
        let sums =
            self.selection(&["comm"]).sum(|sums: &mut Groups<Call, Calls>, rows: &Rows, row| {
                if rows.chosen(row, &self.chosen) {
                    sums.of(rows.call(row)).add(rows, row);
                }
            })?;
        // Numbers are other calls on other architectures.
        let sums = sums.by(|call| (self.names, call));
        let sums = self.source.add_up(Reach::Everywhere, sums);
        Ok(sums.map(|sums| {
            self.sorted(sums, |(names, call), _| {
                let name = names.name(call);
                (format!("syscall = {name}"), call_values(call, &name).to_vec())
            })
        }))
    }

    fn by_process(&self) -> anyhow::Result<Option<Vec<Counted>>> {
        let sums: Groups<i32, Calls> =
            self.selection(&[]).sum(|sums: &mut Groups<i32, Calls>, rows: &Rows, row| {
                if rows.chosen(row, &self.chosen) {
                    let calls = sums.of(rows.pid.value(row));
                    add_name!(calls.name, rows, row);
                    calls.add(rows, row);
                }
            })?;
        let sums = self.source.add_up(Reach::Boot, sums);
        Ok(sums.map(|sums| {
            self.sorted(sums, |pid, calls| {
                let name = calls.name.get();
                let title = format!("pid = {pid} {}", name.unwrap_or("-"));
                (title, process_values(pid, name).to_vec())
            })
        }))
    }

    /// The sums in the order of `--sort`, with what `describe` says of them.
    fn sorted<K: Copy + Eq + std::hash::Hash + Ord>(
        &self,
        sums: Groups<K, Calls>,
        describe: impl Fn(K, &Calls) -> (String, Vec<Value>),
    ) -> Vec<Counted> {
        let mut counted: Vec<Counted> = sums
            .sorted()
            .into_iter()
            .map(|(key, mut calls)| {
                let (title, keys) = describe(key, &calls);
                let summary = calls.durations.summary();
                Counted { title, keys, calls, summary }
            })
            .collect();
        counted.sort_by_key(|counted| {
            std::cmp::Reverse(match self.args.sort {
                Sort::Count => i128::from(counted.calls.count),
                Sort::Time => counted.summary.sum,
                Sort::Errors => i128::from(counted.calls.failed),
            })
        });
        counted.truncate(self.args.top.unwrap_or(usize::MAX));
        counted
    }

    /// The columns of what calls are summed up by.
    fn keys(&self) -> Vec<Column> {
        match self.args.by() {
            None => call_columns().to_vec(),
            Some(By::Process) => process_columns().to_vec(),
        }
    }

    /// bcc's syscount.
    fn counts(&self, output: &mut Output, sums: Vec<Counted>) -> anyhow::Result<()> {
        let mut columns = self.keys();
        columns.extend([
            Column::new("count", "COUNT").right().wide(9),
            Column::new("errors", "ERRORS").right().wide(7),
            Column::new("time", "TIME(us)").right().wide(12),
            Column::data("mean"),
            Column::table("MEAN").right(),
            Column::new("p99", "P99").right(),
            Column::new("max", "MAX").right(),
        ]);
        let mut rows = output.rows(columns);
        for Counted { mut keys, calls, summary, .. } in sums {
            let amount = |value: Option<i64>| value.map_or(Value::Null, Value::Duration);
            keys.extend([
                Value::count(calls.count),
                Value::count(calls.failed),
                Value::Micros(summary.total()),
                summary.mean.map_or(Value::Null, Value::Real),
                amount(summary.mean.map(|mean| mean.round() as i64)),
                amount(summary.p99()),
                amount(summary.max),
            ]);
            rows.row(&keys)?;
        }
        rows.end()
    }

    fn latency(&self, output: &mut Output, sums: Vec<Counted>) -> anyhow::Result<()> {
        let report = Report::of_durations("duration", self.keys(), Scale::of_time(false));
        let group = |Counted { title, keys, calls, .. }| {
            let title = Some(title);
            Group { title, keys, values: calls.durations }
        };
        report.print(output, sums.into_iter().map(group).collect())
    }

    fn errors(&self, output: &mut Output) -> anyhow::Result<()> {
        let without = ["duration", "comm"];
        let without = if self.args.min.min.is_some() { &without[1..] } else { &without[..] };
        let sums: Groups<(Call, i32), u64> = self.selection(without).sum(
            |sums: &mut Groups<(Call, i32), u64>, rows: &Rows, row| {
                if let Some(errno) = rows.failure(row)
                    && rows.chosen(row, &self.chosen)
                {
                    *sums.of((rows.call(row), errno)) += 1;
                }
            },
        )?;
        let sums = sums.by(|(call, errno)| (self.names, call, errno));
        let Some(sums) = self.source.add_up(Reach::Everywhere, sums) else { return Ok(()) };
        let mut columns = call_columns().to_vec();
        columns.extend([
            Column::new("errno", "ERROR").wide(12),
            Column::new("count", "COUNT").right().wide(9),
            Column::table("MEANING"),
        ]);
        let mut rows = output.rows(columns);
        for ((names, call, errno), count) in sums.ranked(self.args.top, |count| *count) {
            let mut row = call_values(call, &names.name(call)).to_vec();
            row.extend([
                Value::Named(i64::from(errno), error_name(errno)),
                Value::count(count),
                Value::text(codes::errno_text(errno)),
            ]);
            rows.row(&row)?;
        }
        rows.end()
    }

    /// strace.
    fn list(&self, output: &mut Output) -> anyhow::Result<()> {
        let mut columns = vec![
            Column::new("ts", "TIME").wide(12),
            Column::table("PID/TID").wide(13),
            Column::new("comm", "COMM").wide(16),
            Column::table("CALL"),
        ];
        columns.extend(call_columns().map(Column::in_data));
        let data = ["result", "duration", "args", "pid", "tid", "uid"];
        columns.extend(data.map(Column::data));
        let mut out = output.events(columns);
        let (recording, range) = (&self.source.recording, &self.source.window.range);
        timeline::rows::<Syscall>(recording, range, &self.scope, |rows, row| {
            let call = Call { compat: rows.compat.value(row), number: rows.number.value(row) };
            let (result, duration) = (known!(rows.result, row), known!(rows.duration, row));
            if !self.chosen.admits(call, result, duration) {
                return Ok(());
            }
            let name = self.names.name(call);
            let (pid, tid) = (rows.pid.value(row), rows.tid.value(row));
            let mut values = vec![
                Value::Clock(rows.ts.value(row)),
                Value::Text(format!("{pid}/{tid}")),
                Value::text(known!(rows.comm, row)),
                Value::Text(strace(&name, rows, row)),
            ];
            values.extend(call_values(call, &name));
            values.extend([
                Value::int(result),
                duration.map_or(Value::Null, Value::Duration),
                numbers(&rows.args, row).map_or(Value::Null, Value::Ints),
                Value::Int(i64::from(pid)),
                Value::Int(i64::from(tid)),
                Value::Int(i64::from(rows.uid.value(row))),
            ]);
            out.row(&values)
        })?;
        out.end()
    }
}

/// The columns that say which call.
fn call_columns() -> [Column; 3] {
    [Column::new("syscall", "SYSCALL").wide(16), Column::data("number"), Column::data("compat")]
}

fn call_values(call: Call, name: &str) -> [Value; 3] {
    let number = Value::Int(i64::from(call.number));
    [Value::Text(name.to_owned()), number, Value::Flag(call.compat)]
}

fn error_name(errno: i32) -> Cow<'static, str> {
    codes::errno(errno).map_or_else(|| Cow::Owned(errno.to_string()), Cow::Borrowed)
}

/// The call in the form of strace: `close(0x3) = -1 EBADF (Bad file descriptor) <1.2µs>`.
fn strace(name: &str, rows: &syscall::Columns, row: usize) -> String {
    let mut text = format!("{name}(");
    match numbers(&rows.args, row) {
        Some(args) => {
            let args: Vec<String> = args.iter().map(|arg| format!("{arg:#x}")).collect();
            text.push_str(&args.join(", "));
        }
        None => text.push_str("..."),
    }
    text.push_str(") = ");
    let result = known!(rows.result, row);
    let written = match result.map(|result| (result, codes::failure(result))) {
        None => write!(text, "?"),
        Some((_, Some(errno))) => {
            let meaning = codes::errno_text(errno).unwrap_or("unknown error");
            write!(text, "-1 {} ({meaning})", error_name(errno))
        }
        // Addresses are known by their size, and read in hex.
        Some((result, None)) if i32::try_from(result).is_err() => write!(text, "{result:#x}"),
        Some((result, None)) => write!(text, "{result}"),
    };
    written.expect("a string takes every text");
    if let Some(ns) = known!(rows.duration, row) {
        write!(text, " <{}>", duration(ns)).expect("a string takes every text");
    }
    text
}

#[cfg(test)]
mod tests {
    use crate::made::{Made, Row, analyze, lines};

    /// On x86-64: 0 is read, 2 open, 3 close, 231 exit_group.
    fn calls() -> Made {
        let made = Made::new();
        made.rows(&[
            made.syscall(1.0, 10, 0, Some(5)),
            made.syscall_of(2.0, 10, 0, Some(-11), 3500, Some([3, 0x7fff, 64, 0, 0, -1]), false),
            made.syscall(3.0, 10, 231, None),
        ]);
        made.rows(&[
            made.syscall(1.5, 20, 3, Some(-9)),
            made.syscall(1.6, 20, 3, Some(-9)),
            made.syscall(1.7, 20, 3, Some(0)),
            made.syscall_of(1.8, 20, 5, Some(1), 500, None, true),
            made.syscall(1.9, 20, 9999, Some(0x7f00_0000_0000)),
        ]);
        made.end(5.0);
        made
    }

    #[test]
    fn counts_are_syscounts() {
        assert_eq!(
            lines(&calls(), &["syscalls"])[1..],
            [
                "SYSCALL COUNT ERRORS TIME(us) MEAN P99 MAX",
                "close 3 2 4.500 1.5µs 1.5µs 1.5µs",
                "read 2 1 5.000 2.5µs 3.5µs 3.5µs",
                "exit_group 1 0 0.000 - - -",
                "9999 1 0 1.500 1.5µs 1.5µs 1.5µs",
                "compat:5 1 0 0.500 500ns 500ns 500ns",
            ]
        );
        let first = |args: &[&str]| lines(&calls(), &[&["syscalls", "--top", "1"], args].concat());
        assert!(first(&["--sort", "time"])[2].starts_with("read 2 "));
        assert!(first(&["--sort", "errors"])[2].starts_with("close 3 2 "));
        assert_eq!(first(&["--sort", "time"]).len(), 3);
    }

    #[test]
    fn processes_are_counted() {
        assert_eq!(
            lines(&calls(), &["syscalls", "--by", "process"])[1..],
            [
                "PID COMM COUNT ERRORS TIME(us) MEAN P99 MAX",
                "20 caller 5 2 6.500 1.3µs 1.5µs 1.5µs",
                "10 caller 3 1 5.000 2.5µs 3.5µs 3.5µs",
            ]
        );
        assert_eq!(lines(&calls(), &["syscalls", "--by", "process", "--tid", "11"]).len(), 3);
    }

    #[test]
    fn errors_are_counted_by_what_they_were() {
        assert_eq!(
            lines(&calls(), &["syscalls", "--errors"])[1..],
            [
                "SYSCALL ERROR COUNT MEANING",
                "close EBADF 2 Bad file number",
                "read EAGAIN 1 Try again",
            ]
        );
        let json = analyze(&calls(), &["syscalls", "--errors", "--format", "json"]);
        assert!(
            json.expect("it is whole")
                .contains(r#"{"syscall":"close","number":3,"compat":false,"errno":9,"count":2}"#)
        );
    }

    #[test]
    fn the_list_is_straces() {
        assert_eq!(
            lines(&calls(), &["syscalls", "--list"])[1..],
            [
                "TIME PID/TID COMM CALL",
                "10:15:01.000 10/11 caller read(...) = 5 <1.5µs>",
                "10:15:01.500 20/21 caller close(...) = -1 EBADF (Bad file number) <1.5µs>",
                "10:15:01.600 20/21 caller close(...) = -1 EBADF (Bad file number) <1.5µs>",
                "10:15:01.700 20/21 caller close(...) = 0 <1.5µs>",
                "10:15:01.800 20/21 caller compat:5(...) = 1 <500ns>",
                "10:15:01.900 20/21 caller 9999(...) = 0x7f0000000000 <1.5µs>",
                "10:15:02.000 10/11 caller read(0x3, 0x7fff, 0x40, 0x0, 0x0, 0xffffffffffffffff) \
                 = -1 EAGAIN (Try again) <3.5µs>",
                "10:15:03.000 10/11 caller exit_group(...) = ?",
            ]
        );
        let json = analyze(&calls(), &["syscalls", "--list", "--format", "json"]);
        let json: serde_json::Value =
            serde_json::from_str(&json.expect("it is whole")).expect("it is JSON");
        assert_eq!(json[6]["args"], serde_json::json!([3, 0x7fff, 64, 0, 0, -1]));
        assert_eq!(json[6]["result"], -11);
        assert_eq!(json[7]["args"], serde_json::Value::Null);
        assert_eq!(json[7]["duration"], serde_json::Value::Null);
    }

    #[test]
    fn calls_are_chosen() {
        let calls = calls();
        let rows =
            |args: &[&str]| lines(&calls, &[&["syscalls", "--list"], args].concat()).len() - 2;
        assert_eq!(rows(&["--syscall", "close"]), 3);
        assert_eq!(rows(&["--syscall", "3", "--syscall", "compat:5"]), 4);
        assert_eq!(rows(&["--failed"]), 3);
        assert_eq!(rows(&["--min", "2us"]), 1, "what did not return took nobody knows how long");
        assert_eq!(rows(&["--syscall", "openat2"]), 0);
        let error = analyze(&calls, &["syscalls", "--syscall", "frobnicate"]);
        assert_eq!(
            error.expect_err("there is none").to_string(),
            "--syscall frobnicate: there is no such system call on x86_64; did you mean `ftruncate`?"
        );
        assert!(analyze(&calls, &["syscalls", "--list", "--sort", "time"]).is_err());
    }

    #[test]
    fn latency_is_a_histogram_for_each_call() {
        let text = analyze(&calls(), &["syscalls", "--latency", "--syscall", "read"]);
        let text = text.expect("it is whole");
        let drawn: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(
            drawn,
            [
                "",
                "syscall = read",
                "     usecs               : count    distribution",
                "         0 -> 1          : 1        |****************************************|",
                "         2 -> 3          : 1        |****************************************|",
                "",
                "count 2, mean 2.5, p50 1.5, p90 3.5, p99 3.5, p99.9 3.5, max 3.5 usecs",
            ]
        );
        let csv = ["syscalls", "--latency", "--by", "process", "--pid", "10", "--format", "csv"];
        let csv = analyze(&calls(), &csv).expect("it is whole");
        assert_eq!(csv, "pid,comm,low,high,count\n10,caller,0,1,1\n10,caller,2,3,1\n");
    }

    #[test]
    fn threads_do_not_matter() {
        let made = Made::new();
        for group in 0..20 {
            let call = |row: i32| {
                let result = if row % 3 == 0 { -i64::from(row % 5) } else { i64::from(row) };
                made.syscall(f64::from(group), row % 7, row % 4, Some(result))
            };
            made.rows(&(0..50).map(call).collect::<Vec<Row>>());
        }
        made.end(30.0);
        for args in [&["--by", "process"][..], &["--errors"], &["--latency"], &["--sort", "time"]] {
            let of = |threads| {
                let args = [&["syscalls", "--threads", threads], args].concat();
                analyze(&made, &args).expect("it is whole")
            };
            assert_eq!(of("1"), of("8"), "{args:?}");
        }
    }
}
