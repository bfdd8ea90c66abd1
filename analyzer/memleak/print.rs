//! How the report looks: bcc's memleak for people, rows for programs.

use ahash::HashSet;

use super::memory::{Caches, Group, Memory, Sum};
use super::{Kind, MemleakArgs};
use crate::cli::Source;
use crate::distribution::{self, Scale};
use crate::render::{
    Column, Format, Output, Rows, Value, duration, escaped, real, size, thousands,
};
use crate::stacks::{Call, Frame, Stacks};

/// A section as it is printed.
pub(super) struct Ranked {
    pub(super) kind: Kind,
    pub(super) total: Sum,
    pub(super) groups: Vec<(Group, Sum)>,
}

/// What is outstanding at an instant, or has grown until then.
pub(super) struct Report {
    /// Since when; `None` unless it is about growth.
    pub(super) from: Option<i64>,
    pub(super) at: i64,
    pub(super) sections: Vec<Ranked>,
}

/// How long freed blocks lived, a histogram for each kind.
pub(super) fn lifetimes(output: &mut Output, memory: Memory<'_>) -> anyhow::Result<()> {
    let Memory { kinds, lifetimes, .. } = memory;
    let lived = std::iter::zip(Kind::ALL, lifetimes).filter(|(kind, _)| kinds.contains(kind));
    let groups = lived.map(|(kind, values)| distribution::Group {
        title: Some(format!("kind = {}", kind.name())),
        keys: vec![kind_value(kind)],
        values,
    });
    let keys = vec![Column::new("kind", "KIND")];
    distribution::Report::of_durations("lifetime", keys, Scale::of_time(false))
        .print(output, groups.collect())
}

fn kind_value(kind: Kind) -> Value {
    Value::Text(kind.name().to_owned())
}

pub(super) fn print(
    args: &MemleakArgs,
    source: &Source,
    output: &mut Output,
    caches: &Caches,
    reports: &[Report],
) -> anyhow::Result<()> {
    let stacks = Stacks::read(&source.recording, &wanted(reports))?;
    let printer = Printer { args, caches, stacks };
    if output.format() != Format::Table {
        let mut rows = output.rows(printer.columns());
        for report in reports {
            printer.rows(&mut rows, report)?;
        }
        return rows.end();
    }
    reports.iter().try_for_each(|report| printer.report(output, report))
}

/// The stacks that are printed.
fn wanted(reports: &[Report]) -> HashSet<i64> {
    let sections = reports.iter().flat_map(|report| &report.sections);
    sections.flat_map(|section| &section.groups).filter_map(|(group, _)| group.stack).collect()
}

/// Prints reports.
struct Printer<'a> {
    args: &'a MemleakArgs,
    caches: &'a Caches,
    stacks: Stacks,
}

impl Printer<'_> {
    fn columns(&self) -> Vec<Column> {
        let mut columns =
            vec![Column::data("from"), Column::data("ts"), Column::new("kind", "KIND").wide(6)];
        if self.args.by_process {
            columns.push(Column::new("pid", "PID").right().wide(7));
        }
        if self.args.by_cache {
            columns.push(Column::new("cache", "CACHE").wide(24));
        }
        columns.push(Column::new("bytes", "BYTES").right().wide(12));
        columns.push(Column::new("count", "COUNT").right().wide(9));
        if self.args.between.is_some() {
            columns.push(Column::new("rate", "BYTES/s").right().wide(12));
        }
        if self.args.with_stacks() {
            columns.push(Column::new("stack", "STACK"));
        }
        if self.args.between.is_none() {
            columns.remove(0);
        }
        columns
    }

    /// A row for each group; where nothing distinguishes groups, for the totals.
    fn rows(&self, rows: &mut Rows<'_>, report: &Report) -> anyhow::Result<()> {
        for section in &report.sections {
            if self.only_totals() {
                rows.row(&self.row(report, section.kind, Group::default(), section.total))?;
                continue;
            }
            for (group, sum) in &section.groups {
                rows.row(&self.row(report, section.kind, *group, *sum))?;
            }
        }
        Ok(())
    }

    fn row(&self, report: &Report, kind: Kind, group: Group, sum: Sum) -> Vec<Value> {
        let mut row: Vec<Value> = report.from.map(Value::Time).into_iter().collect();
        row.extend([Value::Time(report.at), kind_value(kind)]);
        row.extend(group.pid.map(|pid| Value::Int(i64::from(pid))));
        row.extend(group.cache.map(|cache| Value::text(self.caches.name(cache))));
        row.extend([Value::Int(sum.bytes), Value::Int(sum.count)]);
        row.extend(rate(report, sum).map(Value::Real));
        row.extend(group.stack.map(|stack| Value::Texts(self.frames(stack, false))));
        row
    }

    /// bcc's headline.
    fn title(&self, output: &mut Output, report: &Report) -> anyhow::Result<()> {
        let at = output.moment(report.at, 3);
        let older = match self.args.older {
            Some(older) => format!(" older than {}", duration(older)),
            None => String::new(),
        };
        let what = match (self.args.with_stacks(), self.args.by_cache) {
            (true, _) => format!("Top {} stacks with outstanding allocations", self.args.top),
            (false, true) => format!("Top {} caches with outstanding allocations", self.args.top),
            (false, false) => "Outstanding allocations".to_owned(),
        };
        match report.from {
            None => output.line(&format!("\n[{at}] {what}{older}:")),
            Some(from) => {
                let from = output.moment(from, 3);
                output.line(&format!("\n[{at}] {what}{older}, growth since {from}:"))
            }
        }
    }

    /// A report to read: stacks as bcc prints them, other groups as rows, and before each section
    /// its total.
    fn report(&self, output: &mut Output, report: &Report) -> anyhow::Result<()> {
        self.title(output, report)?;
        for section in &report.sections {
            if !self.only_totals() {
                output.line(&total(report, section))?;
            }
            if self.args.with_stacks() {
                for (group, sum) in &section.groups {
                    self.stack(output, report, *group, *sum)?;
                }
            }
        }
        if self.args.with_stacks() {
            return Ok(());
        }
        let mut rows = output.rows(self.columns());
        self.rows(&mut rows, report)?;
        rows.end()
    }

    /// Whether nothing distinguishes groups, so that the totals are all there is.
    fn only_totals(&self) -> bool {
        self.args.combined_only && !self.args.by_process
    }

    fn stack(
        &self,
        output: &mut Output,
        report: &Report,
        group: Group,
        sum: Sum,
    ) -> anyhow::Result<()> {
        let of = group.pid.map_or_else(String::new, |pid| format!(" of process {pid}"));
        let rate = said_rate(report, sum);
        let Sum { bytes, count } = sum;
        output.line(&format!("{bytes} bytes in {count} allocations{rate}{of} from stack"))?;
        for frame in self.frames(group.stack.unwrap_or(0), true) {
            output.line(&format!("\t{}", escaped(&frame)))?;
        }
        Ok(())
    }

    /// The frames of a stack, the innermost first: a line for each function.
    fn frames(&self, stack: i64, with_address: bool) -> Vec<String> {
        let Some(stack) = self.stacks.stack(stack) else {
            return vec!["[lost stack]".to_owned()];
        };
        let mut lines = Vec::with_capacity(stack.frames.len() + 1);
        for id in &stack.frames {
            match self.stacks.frame(*id) {
                Some(frame) => lines.extend(functions(frame, with_address)),
                None => lines.push("[lost frame]".to_owned()),
            }
        }
        if stack.truncated {
            lines.push("[truncated]".to_owned());
        }
        lines
    }
}

/// The functions at a frame, the innermost first: `ffffffff81234567 kmem_alloc+0x1c [xfs]`.
fn functions(frame: &Frame, with_address: bool) -> Vec<String> {
    let address = match with_address {
        true => format!("{:016x} ", frame.address),
        false => String::new(),
    };
    if frame.calls.is_empty() {
        return vec![format!("{address}{}", frame.place())];
    }
    let module = frame.file().map_or_else(String::new, |file| format!(" [{file}]"));
    let line = |call: &Call| match call.offset {
        Some(offset) => format!("{address}{}+{offset:#x}{module}", call.name),
        None => format!("{address}{}{module}", call.name),
    };
    frame.calls.iter().rev().map(line).collect()
}

/// Growth per second in bytes.
fn rate(report: &Report, sum: Sum) -> Option<f64> {
    let seconds = report.at.saturating_sub(report.from?) as f64 / 1e9;
    Some(sum.bytes as f64 / seconds)
}

/// What a section adds up to, in a line.
fn total(report: &Report, section: &Ranked) -> String {
    let Sum { bytes, count } = section.total;
    format!(
        "{}: {} bytes ({}) in {} allocations{}",
        section.kind.name(),
        thousands(bytes),
        size(bytes),
        thousands(count),
        said_rate(report, section.total),
    )
}

fn said_rate(report: &Report, sum: Sum) -> String {
    let rate = rate(report, sum).and_then(real);
    rate.map_or_else(String::new, |rate| format!(" ({rate} bytes/s)"))
}
