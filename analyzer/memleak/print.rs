//! How the report looks: bcc's memleak for people, rows for programs.

use std::collections::BTreeMap;

use ahash::HashSet;

use super::kernel::Caches;
use super::section::{Group, Ranked, Report};
use super::user::User;
use super::{Kind, MemleakArgs};
use crate::distribution::{self, Scale, Values};
use crate::render::{
    Column, Format, Output, Rows, Value, duration, escaped, real, size, thousands,
};
use crate::sites::Sum;
use crate::stacks::{Call, Frame, Stacks};

/// Histograms for each kind: of lifetimes in nanoseconds, or of sizes in bytes.
pub(super) fn histograms(
    output: &mut Output,
    values: BTreeMap<Kind, Values>,
    column: &'static str,
    scale: Scale,
) -> anyhow::Result<()> {
    let groups = values.into_iter().map(|(kind, values)| distribution::Group {
        title: Some(format!("kind = {}", kind.name())),
        keys: vec![kind_value(kind)],
        values,
    });
    let keys = vec![Column::new("kind", "KIND")];
    distribution::Report::of_durations(column, keys, scale).print(output, groups.collect())
}

fn kind_value(kind: Kind) -> Value {
    Value::Text(kind.name().to_owned())
}

pub(super) fn print(
    user: &User<'_>,
    output: &mut Output,
    caches: &Caches,
    reports: &[Report],
) -> anyhow::Result<()> {
    let stacks = Stacks::read(&user.source.recording, &wanted(reports))?;
    let sampled = user.error(Kind::Heap, 0).is_some();
    let printer = Printer { args: user.args, user, caches, stacks, sampled };
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
    user: &'a User<'a>,
    /// Whether heap figures are estimates.
    sampled: bool,
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
        if self.args.by_thread {
            columns.push(Column::new("tid", "TID").right().wide(7));
        }
        if self.args.by_cache {
            columns.push(Column::new("cache", "CACHE").wide(24));
        }
        columns.push(Column::new("bytes", "BYTES").right().wide(12).level());
        columns.push(Column::new("count", "COUNT").right().wide(9).level());
        if self.sampled {
            columns.push(Column::new("error", "ERROR").right().wide(9));
        }
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
        row.extend(group.tid.map(|tid| Value::Int(i64::from(tid))));
        row.extend(group.cache.map(|cache| Value::text(self.caches.name(cache))));
        row.extend([Value::Int(sum.bytes), Value::Int(sum.count)]);
        if self.sampled {
            row.push(Value::int(self.user.error(kind, sum.bytes)));
        }
        row.extend(rate(report, sum).map(Value::Real));
        row.extend(group.stack.map(|stack| Value::Texts(frames(&self.stacks, stack, false))));
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
        let what = if self.args.peak { format!("Peak of the heap. {what}") } else { what };
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
                output.line(&self.total(report, section))?;
            }
            if self.args.with_stacks() {
                for (group, sum) in &section.groups {
                    self.stack(output, report, section.kind, (*group, *sum))?;
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
        self.args.combined_only && !self.args.by_process && !self.args.by_thread
    }

    fn stack(
        &self,
        output: &mut Output,
        report: &Report,
        kind: Kind,
        (group, sum): (Group, Sum),
    ) -> anyhow::Result<()> {
        let of_process = group.pid.map_or_else(String::new, |pid| format!(" of process {pid}"));
        let of_thread = group.tid.map_or_else(String::new, |tid| format!(" of thread {tid}"));
        let (rate, error) = (said_rate(report, sum), self.said_error(kind, sum));
        let Sum { bytes, count } = sum;
        output.line(&format!(
            "{bytes} bytes in {count} allocations{error}{rate}{of_process}{of_thread} from stack"
        ))?;
        frames(&self.stacks, group.stack.unwrap_or(0), true)
            .iter()
            .try_for_each(|frame| output.line(&format!("\t{}", escaped(frame))))
    }

    /// What a section adds up to, in a line.
    fn total(&self, report: &Report, section: &Ranked) -> String {
        let Sum { bytes, count } = section.total;
        format!(
            "{}: {} bytes ({}) in {} allocations{}{}",
            section.kind.name(),
            thousands(bytes),
            size(bytes),
            thousands(count),
            self.said_error(section.kind, section.total),
            said_rate(report, section.total),
        )
    }

    /// How far estimates may be off: one standard error, in percent.
    fn said_error(&self, kind: Kind, sum: Sum) -> String {
        match self.user.error(kind, sum.bytes) {
            Some(error) if sum.bytes != 0 => {
                let percent = error as f64 * 100.0 / sum.bytes.unsigned_abs() as f64;
                format!(" (± {percent:.1} %)")
            }
            Some(_) | None => String::new(),
        }
    }
}

/// The frames of a stack, the innermost first: a line for each function.
pub(super) fn frames(stacks: &Stacks, stack: i64, with_address: bool) -> Vec<String> {
    let Some(stack) = stacks.stack(stack) else {
        return vec!["[lost stack]".to_owned()];
    };
    let mut lines = Vec::with_capacity(stack.frames.len() + 1);
    for id in &stack.frames {
        match stacks.frame(*id) {
            Some(frame) => lines.extend(functions(frame, with_address)),
            None => lines.push("[lost frame]".to_owned()),
        }
    }
    if stack.truncated {
        lines.push("[truncated]".to_owned());
    }
    lines
}

/// The functions at a frame, the innermost first: `ffffffff81234567 kmem_alloc+0x1c [xfs]`, or, where
/// the source is known, `00007f0012345678 load+0x1c cache.c:123 [server]`.
fn functions(frame: &Frame, with_address: bool) -> Vec<String> {
    let address = match with_address {
        true => format!("{:016x} ", frame.address),
        false => String::new(),
    };
    if frame.calls.is_empty() {
        return vec![format!("{address}{}", frame.place())];
    }
    let line = |call: &Call| {
        let module = call.module.as_deref().or(frame.file());
        let module = module.map_or_else(String::new, |module| format!(" [{module}]"));
        let offset = call.offset.map_or_else(String::new, |offset| format!("+{offset:#x}"));
        let source = call.source().map_or_else(String::new, |source| format!(" {source}"));
        format!("{address}{}{offset}{source}{module}", call.name)
    };
    frame.calls.iter().rev().map(line).collect()
}

/// Growth per second in bytes.
fn rate(report: &Report, sum: Sum) -> Option<f64> {
    let seconds = report.at.saturating_sub(report.from?) as f64 / 1e9;
    Some(sum.bytes as f64 / seconds)
}

fn said_rate(report: &Report, sum: Sum) -> String {
    let rate = rate(report, sum).and_then(real);
    rate.map_or_else(String::new, |rate| format!(" ({rate} bytes/s)"))
}
