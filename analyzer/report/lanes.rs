//! What stands in the timeline: everything on one clock, a value for each step.

use lookback_schemas::TableId;

use super::Page;
use super::document::{Lane, text};
use super::events::{self, Connects, Count, Event, Exits, Opens, Signals, States};
use super::flames::Cpu;
use super::latencies::Read;
use super::tables::{Ask, ask};
use crate::gc::GcArgs;
use crate::memleak::MemleakArgs;
use crate::render::{Captured, Keep, Value};
use crate::tally::Projection;

/// The lanes of what was recorded.
pub(super) fn all(page: &Page<'_>, cpu: Cpu, distributions: &[Read]) -> Vec<Lane> {
    let mut lanes = Vec::new();
    lanes.extend(cpu.map(|ran| of_cpu(page, &ran)));
    if let Some(read) = read(distributions, "runq") {
        let values = read.steps.iter().map(|(_, p99)| p99.map(|p99| p99 as f64)).collect();
        let what = "99th percentile".to_owned();
        lanes.push(Lane { unit: "ns", ..lane(page, "runq", "Waits for a CPU", what, values) });
    }
    if has(page, TableId::Gc) {
        lanes.extend(of_gc(page));
    }
    if let Some(read) = read(distributions, "syscalls") {
        let values = read.steps.iter().map(|(count, _)| Some(*count as f64)).collect();
        lanes.push(lane(page, "syscall", "System calls", "each step".to_owned(), values));
    }
    let of = Of { page, lanes: &mut lanes };
    of.events("tcpconnect", "TCP connects", "failed", Connects::event);
    let of = Of { page, lanes: &mut lanes };
    of.events("tcpstate", "TCP state changes", "", States::event);
    let of = Of { page, lanes: &mut lanes };
    of.events("open", "Opens", "failed", Opens::event);
    let of = Of { page, lanes: &mut lanes };
    of.events("exit", "Exits", "not with 0", Exits::event);
    let of = Of { page, lanes: &mut lanes };
    of.events("signal", "Signals", "that end processes", Signals::event);
    if has(page, TableId::Alloc) || has(page, TableId::Vm) {
        lanes.extend(of_memory(page));
    }
    lanes
}

fn read<'a>(distributions: &'a [Read], id: &str) -> Option<&'a Read> {
    distributions.iter().find(|read| read.shown.id == id && !read.steps.is_empty())
}

fn has(page: &Page<'_>, table: TableId) -> bool {
    let segments = page.source.recording.segments(table);
    segments.is_ok_and(|segments| segments.iter().any(|segment| segment.rows() > 0))
}

/// A lane of counts; `id` is the table's name.
fn lane(
    page: &Page<'_>,
    id: &'static str,
    title: &'static str,
    what: String,
    values: Vec<Option<f64>>,
) -> Lane {
    let tables: Vec<TableId> = TableId::from_name(id).into_iter().collect();
    let warnings = page.warnings(&tables);
    Lane { id, title, what, unit: "count", values, marked: None, warnings }
}

/// Samples as a share of what the CPUs could do.
fn of_cpu(page: &Page<'_>, ran: &[i64]) -> Lane {
    let cpus = page.source.recording.manifest().host.cpus;
    let share = |(step, ran): (usize, &i64)| {
        let (start, end) = page.steps.range(step);
        let could = end.saturating_sub(start) as f64 * cpus as f64;
        (could > 0.0).then(|| *ran as f64 / could)
    };
    let filters = &page.source.recording.manifest().filters;
    let all = filters.pids.is_empty()
        && filters.command.is_none()
        && filters.cgroup.is_none()
        && filters.uid.is_none()
        && filters.comm.is_none();
    let filtered = if all { "" } else { ", of the recorded processes alone" };
    let what = format!("of {cpus} CPUs by samples{filtered}");
    let values = ran.iter().enumerate().map(share).collect();
    Lane { unit: "share", ..lane(page, "sample", "CPU use", what, values) }
}

/// Where events are put.
struct Of<'a, 'b> {
    page: &'a Page<'b>,
    lanes: &'a mut Vec<Lane>,
}

impl Of<'_, '_> {
    fn events<P: Projection>(
        self,
        id: &'static str,
        title: &'static str,
        bad: &'static str,
        event: fn(&P, usize) -> Event,
    ) {
        if !has(self.page, P::TABLE) {
            return;
        }
        // What cannot be read its table says.
        let Ok(counts) = events::count(self.page, event) else { return };
        let of = |number: fn(&Count) -> u64| -> Vec<Option<f64>> {
            counts.iter().map(|count| Some(number(count) as f64)).collect()
        };
        let marked = (!bad.is_empty()).then(|| (bad, of(|count| count.bad)));
        let values = of(|count| count.all);
        let lane = lane(self.page, id, title, "each step".to_owned(), values);
        self.lanes.push(Lane { marked, ..lane });
    }
}

/// How long a step is, for a command line.
fn step(page: &Page<'_>) -> String {
    let (start, end) = page.steps.range(0);
    format!("{}ns", end.saturating_sub(start))
}

/// Which share of each step some process stood still.
fn of_gc(page: &Page<'_>) -> Option<Lane> {
    let keep = Keep { rows: page.steps.count(), largest: None };
    let step = step(page);
    let asked = ask::<GcArgs>(page, &Ask { words: &["--timeline", "--step", &step], keep }).ok()?;
    let share = |value: &Value| match value {
        Value::Real(percent) => Some(percent / 100.0),
        other => other.number().map(|percent| percent as f64 / 100.0),
    };
    let values = column(page, &asked, "share", share)?;
    let what = "share of time in which a process stood still".to_owned();
    Some(Lane { unit: "share", ..lane(page, "gc", "Garbage collection", what, values) })
}

/// What the heap held at the end of each step; what was mapped where there is no heap.
fn of_memory(page: &Page<'_>) -> Option<Lane> {
    let keep = Keep { rows: page.steps.count() + 1, largest: None };
    let step = step(page);
    let words = ["--timeline", "--every", &step, "--kind", "heap"];
    let asked = ask::<MemleakArgs>(page, &Ask { words: &words, keep }).ok()?;
    let values = column(page, &asked, "bytes", |value| value.number().map(|n| n as f64))?;
    let what = match asked.notes.first() {
        Some(note) => format!("held at the end of each step; {}", text(note)),
        None => "held at the end of each step".to_owned(),
    };
    Some(Lane { unit: "bytes", ..lane(page, "alloc", "Heap", what, values) })
}

/// A value for each step from the rows of a report, which have the time at which theirs begins or ends.
fn column(
    page: &Page<'_>,
    rows: &Captured,
    name: &str,
    of: impl Fn(&Value) -> Option<f64>,
) -> Option<Vec<Option<f64>>> {
    let (at, place) = (rows.place("ts")?, rows.place(name)?);
    let mut values = vec![None; page.steps.count()];
    let ends = rows.rows.first().and_then(|row| row[at].number())? > page.source.window.start();
    for row in &rows.rows {
        let ts = row[at].number()?;
        let ts = if ends { ts.saturating_sub(1) } else { ts };
        values[page.steps.of(ts)] = of(&row[place]);
    }
    Some(values)
}
