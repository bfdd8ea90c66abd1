//! Where threads were while they were not on a CPU: how often and how long they waited, by what they waited
//! for and who ended it.
//!
//! A wait counts where it began. What it waited for shows at three depths: the task's state, the system call,
//! and the kernel's function: the innermost that is not the scheduler's own, as in `/proc/PID/wchan`. From
//! where in the program, the flame graph shows (`analyze flamegraph --weight offcpu`).

#[cfg(test)]
mod tests;
pub(crate) mod wait;

use std::borrow::Cow;

use ahash::{HashMap, HashSet};
use clap::{Args, ValueEnum};
use lookback_schemas::TableId;

use self::wait::{Rows, Wait};
use crate::cli::{Source, SourceArgs};
use crate::codes;
use crate::distribution::Values;
use crate::hosts::Reach;
use crate::hosts::by::{Grouping, host_or_any};
use crate::losses::unrecorded;
use crate::render::{Column, Output, Value};
use crate::scope::ScopeArgs;
use crate::stacks::Stacks;
use crate::syscalls;
use crate::tally::{Groups, Key, Name, Selection, Sum, ThreadsArgs, process_columns};
use crate::window::MinArgs;

/// Shown below the help.
pub const EXAMPLE: &str = "Examples:\n  analyze offcpu web1.lookback\n  \
                           analyze offcpu web1.lookback --by thread,syscall --top 10\n  \
                           analyze offcpu web1.lookback --pid 4711 --by function,waker --min 1ms\n  \
                           analyze histogram web1.lookback offcpu duration --by state --unit us\n\n\
                           Recorded by `record --trace offcpu`.";

/// Options of `analyze offcpu`.
#[derive(Args, Debug)]
pub struct OffcpuArgs {
    /// The recording, and the part of it.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Which processes.
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// Which waits.
    #[command(flatten)]
    pub min: MinArgs,
    /// What to sum up by; several, separated by commas
    #[arg(long, value_parser = host_or_any::<By>(), default_value = "process,state")]
    pub by: Vec<Grouping<By>>,
    /// Only the first rows: those with the most time
    #[arg(long, value_name = "N")]
    pub top: Option<usize>,
    /// How many threads read.
    #[command(flatten)]
    pub threads: ThreadsArgs,
}

impl OffcpuArgs {
    /// What to sum up by, beside the host.
    fn by(&self) -> Vec<By> {
        self.by.iter().flat_map(|by| by.own.iter().copied()).collect()
    }
}

/// What to sum up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// By process.
    Process,
    /// By thread.
    Thread,
    /// By how the thread left its CPU.
    State,
    /// By the system call that it was in.
    Syscall,
    /// By the kernel's function that it waited in.
    Function,
    /// By the name of the thread that woke it; `NAME?` may only have been interrupted then.
    Waker,
}

/// How the functions begin that are the scheduler's own (`__sched` in the kernel's source).
const SCHEDULER: [&str; 6] =
    ["schedule", "__schedule", "io_schedule", "preempt_schedule", "__cond_resched", "__preempt"];

/// Waits that are summed up together.
#[derive(Clone, Debug, Default)]
struct Waits {
    process: Name,
    thread: Name,
    durations: Values,
    /// How much of their time they could run.
    runnable: i64,
    /// Those that had not ended.
    open: u64,
}

impl Sum for Waits {
    fn merge(&mut self, other: Self) {
        self.process.merge(other.process);
        self.thread.merge(other.thread);
        self.durations.merge(other.durations);
        self.runnable = self.runnable.saturating_add(other.runnable);
        self.open += other.open;
    }
}

impl Waits {
    fn add(&mut self, wait: &Wait<'_>) {
        self.process.add(wait.start, wait.pid == wait.tid, wait.comm);
        self.thread.add(wait.start, true, wait.comm);
        self.runnable = self.runnable.saturating_add(wait.runnable.unwrap_or(0).max(0));
        match wait.duration {
            Some(duration) => self.durations.add(duration),
            None => self.open += 1,
        }
    }
}

impl By {
    /// What of a wait is summed up by. Of a function, first the stack that leads to it.
    fn key(self, wait: &Wait<'_>) -> Key {
        let number = |number: Option<i64>| number.map_or(Key::None, Key::Number);
        let text = |text: Option<Cow<'_, str>>| {
            text.map_or(Key::None, |text| Key::Text(text.into_owned()))
        };
        match self {
            By::Process => Key::Number(i64::from(wait.pid)),
            By::Thread => Key::Number(i64::from(wait.tid)),
            By::State if wait.io => Key::Text("I/O".to_owned()),
            By::State => text(wait.bits.map(codes::task_state)),
            By::Syscall => number(wait.syscall.map(i64::from)),
            By::Function => number(wait.kernel_stack),
            By::Waker => text(wait.waker()),
        }
    }

    fn columns(self) -> Vec<Column> {
        let column = |name, header| vec![Column::new(name, header).wide(16)];
        match self {
            By::Process => process_columns().to_vec(),
            By::Thread => vec![
                Column::new("tid", "TID").right().wide(7),
                Column::new("thread", "THREAD").wide(16),
            ],
            By::State => column("state", "STATE"),
            By::Syscall => column("syscall", "SYSCALL"),
            By::Function => column("function", "FUNCTION"),
            By::Waker => column("waker", "WAKER"),
        }
    }

    fn values(self, key: &Key, waits: &Waits) -> Vec<Value> {
        match self {
            By::Process => vec![key.value(), Value::text(waits.process.get())],
            By::Thread => vec![key.value(), Value::text(waits.thread.get())],
            By::State | By::Syscall | By::Function | By::Waker => vec![key.value()],
        }
    }
}

/// Prints the report.
///
/// # Errors
/// If the table is damaged, or the output cannot be written.
pub fn run(args: &OffcpuArgs, source: &Source) -> anyhow::Result<()> {
    let scope = source.scope(&args.scope)?;
    scope.check(TableId::Offcpu)?;
    let mut output = source.begin(&[TableId::Offcpu])?;
    let how = ("time off the CPUs", "--trace offcpu");
    output.notes(
        &unrecorded(&source.recording, TableId::Offcpu, how)?.into_iter().collect::<Vec<_>>(),
    )?;
    let selection =
        Selection { source, scope: &scope, threads: args.threads, without: &["user_stack"] };
    let by = args.by();
    let sums: Groups<Vec<Key>, Waits> =
        selection.sum(|sums: &mut Groups<Vec<Key>, Waits>, rows: &Rows, row| {
            let wait = rows.wait(row);
            if args.min.admits_unknown(wait.duration) {
                sums.of(by.iter().map(|by| by.key(&wait)).collect()).add(&wait);
            }
        })?;
    let sums = named(&by, source, sums)?;
    let reach = match by.iter().any(|by| matches!(by, By::Process | By::Thread)) {
        true => Reach::Boot,
        false => Reach::Everywhere,
    };
    let Some(sums) = source.add_up(reach, sums) else { return Ok(()) };
    print(args, sums, &mut output)?;
    output.finish()
}

/// The same sums by names, that other recordings know as well: stacks that lead to one function are together.
fn named(
    by: &[By],
    source: &Source,
    sums: Groups<Vec<Key>, Waits>,
) -> anyhow::Result<Groups<Vec<Key>, Waits>> {
    let is_function = |(by, _): &(&By, &Key)| **by == By::Function;
    let stacks_of = |keys: &Vec<Key>| -> Vec<i64> {
        let keys = std::iter::zip(by, keys).filter(is_function);
        keys.filter_map(|(_, key)| key.number()).collect()
    };
    let wanted: HashSet<i64> = sums.keys().flat_map(stacks_of).collect();
    let stacks = Stacks::read(&source.recording, &wanted)?;
    let functions: HashMap<i64, Key> =
        wanted.into_iter().map(|stack| (stack, function(&stacks, stack))).collect();
    let arch = &source.recording.manifest().host.arch;
    Ok(sums.by(|mut keys| {
        for (by, key) in std::iter::zip(by, &mut keys) {
            let Some(number) = key.number() else { continue };
            match by {
                By::Function => *key = functions.get(&number).cloned().unwrap_or_default(),
                By::Syscall => {
                    let number = i32::try_from(number).ok();
                    let name = number.map(|number| syscalls::name_of(arch, number).into_owned());
                    *key = name.map_or(Key::None, Key::Text);
                }
                By::Process | By::Thread | By::State | By::Waker => {}
            }
        }
        keys
    }))
}

/// The innermost function of a stack that is not the scheduler's own, if it has a name.
fn function(stacks: &Stacks, stack: i64) -> Key {
    let frames = stacks.stack(stack).map(|stack| stack.frames.as_slice()).unwrap_or_default();
    let mut names = frames.iter().map(|frame| Some(&stacks.frame(*frame)?.calls.first()?.name));
    let scheduler = |name: &String| SCHEDULER.iter().any(|start| name.starts_with(start));
    let innermost = names.find(|name| !name.is_some_and(scheduler)).flatten();
    innermost.map_or(Key::None, |name| Key::Text(name.clone()))
}

fn print(
    args: &OffcpuArgs,
    sums: Groups<Vec<Key>, Waits>,
    output: &mut Output,
) -> anyhow::Result<()> {
    let mut sums: Vec<_> = sums
        .sorted()
        .into_iter()
        .map(|(keys, mut waits)| {
            let summary = waits.durations.summary();
            (keys, waits, summary)
        })
        .collect();
    sums.sort_by_key(|(_, _, summary)| std::cmp::Reverse(summary.sum));
    sums.truncate(args.top.unwrap_or(usize::MAX));
    let any_open = sums.iter().any(|(_, waits, _)| waits.open > 0);
    let by = args.by();
    let mut columns: Vec<Column> = by.iter().flat_map(|by| by.columns()).collect();
    let amount = |name, header| Column::new(name, header).right().wide(9);
    columns.extend([
        amount("count", "COUNT"),
        if any_open { amount("open", "OPEN") } else { Column::data("open") },
        amount("total", "TOTAL"),
        amount("runnable", "RUNNABLE"),
        Column::data("mean"),
        Column::table("MEAN").right().wide(9),
        amount("p50", "P50"),
        amount("p99", "P99"),
        amount("max", "MAX"),
    ]);
    let mut rows = output.rows(columns);
    for (keys, waits, summary) in sums {
        let by = std::iter::zip(&by, &keys);
        let mut row: Vec<Value> = by.flat_map(|(by, key)| by.values(key, &waits)).collect();
        let time = |time: Option<i64>| time.map_or(Value::Null, Value::Duration);
        row.extend([
            Value::count(summary.count),
            Value::count(waits.open),
            Value::Duration(summary.total()),
            Value::Duration(waits.runnable),
            summary.mean.map_or(Value::Null, Value::Real),
            time(summary.mean.map(|mean| mean.round() as i64)),
            time(summary.p50()),
            time(summary.p99()),
            time(summary.max),
        ]);
        rows.row(&row)?;
    }
    rows.end()
}
