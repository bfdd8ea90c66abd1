//! Which rows are slices, instants or counters of a timeline, and what they are called.
//!
//! All that a row tells beside its time and its thread comes along as arguments, under the names of the columns.

use std::borrow::Cow;
use std::ops::ControlFlow;

use ahash::HashMap;
use arrow::record_batch::RecordBatch;
use lookback_schemas::recording::ALL_TIME;
use lookback_schemas::tables::Loss;
use lookback_schemas::{Column, TableId};

use super::timeline::{Counter, Event, Lane, Owner, Sink, Timeline};
use crate::cli::Source;
use crate::codes;
use crate::losses::missing;
use crate::render::Value;
use crate::scope::Scope;
use crate::syscalls;
use crate::timeline::{self, Selection};
use lookback_schemas::lines::cells::{Cells, named};

/// What a table's rows become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Slices in a lane of the thread; the column is the one of their length.
    Slice(Lane, &'static str),
    /// Slices in a lane of the CPU.
    OfCpu(Lane),
    /// Instants on the thread.
    Instant,
    /// Values of a counter.
    Counter,
    /// Samples.
    Sample,
    /// Counters of what is live, by [replay](super::heap).
    Heap,
    /// Nothing by themselves.
    Nothing,
}

/// What the table's rows become.
pub(super) fn shape(table: TableId) -> Shape {
    match table {
        TableId::Exec
        | TableId::Fork
        | TableId::Exit
        | TableId::Signal
        | TableId::Kill
        | TableId::Open
        | TableId::Unlink
        | TableId::Tcpstate
        | TableId::Lsmconnect
        | TableId::Readline
        | TableId::Probe => Shape::Instant,
        TableId::Syscall => Shape::Slice(Lane::Calls, "duration"),
        TableId::Runq => Shape::Slice(Lane::Queue, "wait"),
        TableId::Offcpu => Shape::Slice(Lane::Waits, "duration"),
        TableId::Gc => Shape::Slice(Lane::Collections, "duration"),
        TableId::Span => Shape::Slice(Lane::Spans, "duration"),
        TableId::Tcpconnect => Shape::Slice(Lane::Connects, "latency"),
        TableId::Hardirq => Shape::OfCpu(Lane::Hardirqs),
        TableId::Softirq => Shape::OfCpu(Lane::Softirqs),
        TableId::Tcprtt => Shape::Counter,
        TableId::Sample => Shape::Sample,
        TableId::Alloc => Shape::Heap,
        // Of the kernel's memory and of mappings there is no state without a replay of its own; the rest is what
        // others refer to, or told apart.
        TableId::Kalloc
        | TableId::Vm
        | TableId::Cgroup
        | TableId::Process
        | TableId::Stack
        | TableId::Frame
        | TableId::Symbol
        | TableId::Clock
        | TableId::Loss => Shape::Nothing,
    }
}

/// A row of any table.
struct Row<'a> {
    table: TableId,
    columns: &'a [Column],
    cells: &'a [Cells],
    row: usize,
}

impl Row<'_> {
    fn value(&self, name: &str) -> Value {
        let place = self.columns.iter().position(|column| column.name == name);
        place.map_or(Value::Null, |place| {
            self.cells[place].value(self.columns[place].kind, self.row)
        })
    }

    fn number(&self, name: &str) -> Option<i64> {
        let place = self.columns.iter().position(|column| column.name == name)?;
        self.cells[place].number(self.row)
    }

    fn code(&self, name: &str) -> Option<i32> {
        self.number(name).and_then(|number| i32::try_from(number).ok())
    }

    fn text(&self, name: &str) -> Option<String> {
        let Value::Text(text) = self.value(name) else { return None };
        Some(text)
    }

    /// The columns of the process, the thread and its name that it is about.
    fn who(&self) -> [&'static str; 3] {
        if self.table == TableId::Signal {
            ["target_pid", "target_tid", "target_comm"]
        } else {
            ["pid", "tid", "comm"]
        }
    }

    /// The process and the thread that it is about, where they are known, and the thread's name.
    fn thread(&self) -> (Option<i32>, Option<i32>, Option<String>) {
        let [pid, tid, comm] = self.who();
        let pid = self.code(pid);
        (pid, self.code(tid).or(pid), self.text(comm))
    }

    /// What is known beside what the `shape` shows: where it stands, when, and how long.
    fn args(&self, shape: Shape) -> Vec<(&'static str, Value)> {
        let who = self.who();
        let shown = |name: &str| match shape {
            Shape::OfCpu(_) => ["cpu", "duration"].contains(&name),
            Shape::Slice(_, length) => name == length || who.contains(&name),
            Shape::Instant | Shape::Counter | Shape::Sample | Shape::Heap | Shape::Nothing => {
                who.contains(&name)
            }
        };
        let columns = self.columns.iter().enumerate();
        columns
            .filter(|(_, column)| column.name != "ts" && !shown(column.name))
            .map(|(place, column)| {
                let value = self.cells[place].value(column.kind, self.row);
                (column.name, named(self.table, column, value))
            })
            .filter(|(_, value)| *value != Value::Null)
            .collect()
    }

    /// What it is called.
    fn name(&self, arch: &str) -> Cow<'static, str> {
        let code = |name, names: codes::Name| self.code(name).map_or("unknown".into(), names);
        let text = |name| self.text(name).unwrap_or_else(|| "unknown".to_owned());
        match self.table {
            TableId::Exec => format!("exec {}", text("filename")).into(),
            TableId::Fork => format!("forked by {}", self.number("ppid").unwrap_or(0)).into(),
            TableId::Exit => match (self.number("code"), self.code("signal")) {
                (_, Some(signal)) => format!("killed by {}", codes::signal(signal)).into(),
                (Some(code), None) => format!("exit {code}").into(),
                (None, None) => "exit".into(),
            },
            TableId::Signal => format!("signal {}", code("sig", codes::signal)).into(),
            TableId::Kill => format!("kill {}", code("sig", codes::signal)).into(),
            TableId::Open => format!("open {}", text("path")).into(),
            TableId::Unlink => {
                format!("{} {}", code("call", codes::unlink_call), text("path")).into()
            }
            TableId::Tcpstate => format!("tcp {}", code("new", codes::tcp_state)).into(),
            TableId::Lsmconnect => match self.text("addr") {
                Some(addr) => format!("may connect {addr}").into(),
                None => "may connect".into(),
            },
            TableId::Readline => format!("line {}", text("line")).into(),
            TableId::Probe | TableId::Span | TableId::Hardirq => text("name").into(),
            TableId::Syscall => match self.code("number") {
                Some(number) if self.value("compat") == Value::Flag(true) => {
                    format!("compat:{number}").into()
                }
                Some(number) => syscalls::name_of(arch, number),
                None => "unknown".into(),
            },
            TableId::Runq => code("cause", codes::wait_cause),
            TableId::Offcpu if self.value("io") == Value::Flag(true) => "waits for I/O".into(),
            TableId::Offcpu => code("state", codes::task_state),
            TableId::Gc => match self.text("pool") {
                Some(pool) => pool.into(),
                None => format!(
                    "{} {}",
                    code("runtime", codes::gc_runtime),
                    code("part", codes::gc_part)
                )
                .into(),
            },
            TableId::Tcpconnect => {
                format!("connect {} {}", text("raddr"), self.number("rport").unwrap_or(0)).into()
            }
            TableId::Softirq => code("vector", codes::softirq),
            TableId::Tcprtt => {
                format!("srtt {} {}", text("raddr"), self.number("rport").unwrap_or(0)).into()
            }
            TableId::Sample
            | TableId::Alloc
            | TableId::Kalloc
            | TableId::Vm
            | TableId::Cgroup
            | TableId::Process
            | TableId::Stack
            | TableId::Frame
            | TableId::Symbol
            | TableId::Clock
            | TableId::Loss => self.table.name().into(),
        }
    }
}

/// When a thread was last seen to come to a CPU, by its tid: the end of its wait, and the CPU.
type Arrivals = HashMap<i32, (i64, i32)>;

/// Puts the rows of a table on the timeline.
///
/// # Errors
/// If the table is damaged, or the timeline cannot be written.
pub(super) fn emit<S: Sink>(
    timeline: &mut Timeline<S>,
    (source, scope): (&Source, &Scope),
    table: TableId,
) -> anyhow::Result<()> {
    let shape = shape(table);
    let columns = table.columns();
    let selection = Selection {
        table,
        window: source.window.range.clone(),
        scope,
        columns: Some(columns.iter().map(|column| column.name).collect()),
        ahead: true,
    };
    let cells = |batch: RecordBatch| -> Result<Vec<Cells>, String> {
        columns.iter().map(|column| Cells::of(&batch, column)).collect()
    };
    let arch = source.recording.manifest().host.arch.clone();
    let mut arrivals =
        (table == TableId::Offcpu && knows_what_ran(source)?).then(Arrivals::default);
    timeline::for_each(&source.recording, &selection, cells, |cells, row| {
        let row = Row { table, columns, cells, row };
        let (name, args) = (row.name(&arch), row.args(shape));
        let ts = row.number("ts").unwrap_or(0);
        let event = Event { ts, name: &name, category: table.name(), args: &args };
        let (pid, tid, comm) = row.thread();
        let owner = match (shape, pid, tid) {
            (Shape::OfCpu(_), _, _) => Owner::Cpu(row.code("cpu").unwrap_or(0)),
            (Shape::Counter, Some(pid), _) => Owner::Process(timeline.process(pid, ts)?),
            (_, Some(pid), Some(tid)) => timeline.thread((pid, tid), comm.as_deref(), ts)?,
            (_, _, _) => Owner::Recording,
        };
        match shape {
            Shape::Slice(lane, length) => {
                if let (Some(arrivals), Some(tid)) = (&mut arrivals, tid) {
                    ran(timeline, arrivals, &row, (tid, &comm))?;
                }
                timeline.slice((owner, lane), &event, row.number(length))?;
            }
            Shape::OfCpu(lane) => {
                timeline.slice((owner, lane), &event, row.number("duration"))?;
            }
            Shape::Instant => timeline.instant(owner, &event)?,
            Shape::Counter => {
                let counter = Counter { owner, name: name.into_owned(), unit: "ns" };
                timeline.count(counter, ts, row.number("srtt").unwrap_or(0))?;
            }
            Shape::Sample | Shape::Heap | Shape::Nothing => {}
        }
        Ok(ControlFlow::Continue(()))
    })
}

/// Whether waits tell what ran between them: only if none was left out or lost.
fn knows_what_ran(source: &Source) -> anyhow::Result<bool> {
    let lost = missing(&source.recording, &[TableId::Offcpu], &source.window)?;
    let whole = !lost.iter().any(|missing| missing.whole_events());
    Ok(whole && source.recording.manifest().filters.min_latency == 0)
}

/// From the end of a thread's wait to its next one it had the CPU that it came to, if that is the one that it left.
fn ran<S: Sink>(
    timeline: &mut Timeline<S>,
    arrivals: &mut Arrivals,
    row: &Row<'_>,
    (tid, comm): (i32, &Option<String>),
) -> anyhow::Result<()> {
    let (left, cpu) = (row.number("ts").unwrap_or(0), row.code("cpu"));
    let back = row.number("duration").zip(row.code("next_cpu"));
    let next = back.map(|(duration, cpu)| (left.saturating_add(duration), cpu));
    let came = match next {
        Some(next) => arrivals.insert(tid, next),
        None => arrivals.remove(&tid),
    };
    if let (Some((came, on)), Some(cpu)) = (came, cpu)
        && on == cpu
        && came <= left
    {
        let id = |name| (name, Value::int(row.number(name)));
        let args = [id("pid"), id("tid")];
        let name = comm.as_deref().unwrap_or("unknown");
        let event = Event { ts: came, name, category: "offcpu", args: &args };
        timeline.slice((Owner::Cpu(cpu), Lane::Ran), &event, Some(left.saturating_sub(came)))?;
    }
    Ok(())
}

/// Puts what is missing on the timeline.
///
/// # Errors
/// If the table `loss` is damaged, or the timeline cannot be written.
pub(super) fn losses<S: Sink>(timeline: &mut Timeline<S>, source: &Source) -> anyhow::Result<()> {
    let selection = Selection {
        table: TableId::Loss,
        window: ALL_TIME,
        scope: &Scope::default(),
        columns: None,
        ahead: false,
    };
    let view = |batch: RecordBatch| {
        <<Loss as lookback_schemas::Table>::Columns as lookback_schemas::cell::View>::view(&batch)
    };
    timeline::for_each(&source.recording, &selection, view, |rows, row| {
        let (start, end) = (rows.ts.value(row), rows.end.value(row));
        if source.window.overlaps(start, end.max(start)) {
            let (table, count) = (rows.table.value(row), rows.count.value(row));
            let reason = rows.reason.value(row);
            let name = format!("{count} of {table} ({reason})");
            let args = [
                ("table", Value::Text(table.to_owned())),
                ("count", Value::Int(count)),
                ("reason", Value::Text(reason.to_owned())),
            ];
            let event = Event { ts: start, name: &name, category: "loss", args: &args };
            let lane = (Owner::Recording, Lane::Losses);
            timeline.slice(lane, &event, Some(end.saturating_sub(start)))?;
        }
        Ok(ControlFlow::Continue(()))
    })
}
