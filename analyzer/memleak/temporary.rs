//! Allocations that were freed at once: work that an allocation outside the loop, or on the stack,
//! would save.
//!
//! A block is temporary if its process made fewer than `N` allocations between its allocation and its
//! free; with the default of 1 none, which is what heaptrack calls temporary. Instead of a number it
//! can be a time that it lived at most. What `realloc` replaces counts as freed.

use std::cmp::Reverse;

use ahash::HashMap;

use super::print::frames;
use super::section::{Group, Section};
use super::user::User;
use super::{Kind, Sort, begin};
use crate::heap::shard::Within;
use crate::render::{Column, Format, Output, Value, duration, escaped, thousands};
use crate::replay::Instants;
use crate::sites::Sum;
use crate::stacks::Stacks;

/// Of one group, or of all: what was allocated, and what of that was temporary.
#[derive(Clone, Copy, Debug, Default)]
struct Churn {
    allocated: Sum,
    temporary: Sum,
}

impl Churn {
    /// The share of allocations that were temporary, in percent.
    fn share(self) -> f64 {
        match self.allocated.count {
            0 => 0.0,
            count => self.temporary.count as f64 * 100.0 / count as f64,
        }
    }
}

/// Prints the report.
///
/// # Errors
/// If a table is damaged, or the output cannot be written.
pub(super) fn run(user: &User<'_>, kinds: &[Kind], missing: &[String]) -> anyhow::Result<()> {
    let mut said = missing.to_vec();
    let mut total = Churn::default();
    let mut groups: HashMap<Group, Churn> = HashMap::default();
    if kinds.contains(&Kind::Heap) {
        let question = user.question();
        let (_, notes) = user.heap(&question, Instants::once(question.end), |look| {
            let allocated = Section::of(user.args, &look, |tally| tally.allocated);
            let temporary = Section::of(user.args, &look, |tally| tally.temporary);
            total = Churn { allocated: allocated.total, temporary: temporary.total };
            for (group, sum) in temporary.groups() {
                groups.entry(*group).or_default().temporary = *sum;
            }
            for (group, sum) in allocated.groups() {
                if let Some(churn) = groups.get_mut(group) {
                    churn.allocated = *sum;
                }
            }
            Ok(())
        })?;
        said.extend(notes);
    }
    let mut ranked: Vec<(Group, Churn)> = groups.into_iter().collect();
    let rank = |churn: &Churn| match user.args.sort {
        Sort::Size => (churn.temporary.bytes, churn.temporary.count),
        Sort::Count => (churn.temporary.count, churn.temporary.bytes),
    };
    ranked.sort_unstable_by_key(|(group, churn)| (Reverse(rank(churn)), *group));
    ranked.truncate(user.args.top);
    let wanted = ranked.iter().filter_map(|(group, _)| group.stack).collect();
    let stacks = Stacks::read(&user.source.recording, &wanted)?;
    let mut output = begin(user.source, &[Kind::Heap])?;
    output.notes(&said)?;
    let printer = Printer { user, stacks };
    match output.format() {
        Format::Table if !kinds.contains(&Kind::Heap) => {}
        Format::Table => printer.text(&mut output, total, &ranked)?,
        Format::Json | Format::Jsonl | Format::Csv => printer.rows(&mut output, &ranked)?,
    }
    output.finish()
}

struct Printer<'a> {
    user: &'a User<'a>,
    stacks: Stacks,
}

impl Printer<'_> {
    fn text(
        &self,
        output: &mut Output,
        total: Churn,
        ranked: &[(Group, Churn)],
    ) -> anyhow::Result<()> {
        let within = match self.user.args.within {
            Within::Allocations(1) => "before the next allocation of their process".to_owned(),
            Within::Allocations(most) => {
                format!("before {} more allocations of their process", thousands(most))
            }
            Within::Time(most) => format!("within {}", duration(most)),
        };
        output.line(&format!("\nTemporary allocations: freed {within}"))?;
        output.line(&format!("heap: {}", said(total)))?;
        if self.user.args.combined_only {
            if self.user.args.by_process || self.user.args.by_thread {
                return self.rows(output, ranked);
            }
            return Ok(());
        }
        for (group, churn) in ranked {
            let process = group.pid.map_or_else(String::new, |pid| format!(" of process {pid}"));
            let thread = group.tid.map_or_else(String::new, |tid| format!(" of thread {tid}"));
            output.line(&format!("{}{process}{thread} from stack", said(*churn)))?;
            for frame in frames(&self.stacks, group.stack.unwrap_or(0), true) {
                output.line(&format!("\t{}", escaped(&frame)))?;
            }
        }
        Ok(())
    }

    fn rows(&self, output: &mut Output, ranked: &[(Group, Churn)]) -> anyhow::Result<()> {
        let args = self.user.args;
        let mut columns = Vec::new();
        if args.by_process {
            columns.push(Column::new("pid", "PID").right().wide(7));
        }
        if args.by_thread {
            columns.push(Column::new("tid", "TID").right().wide(7));
        }
        let names = [
            ("bytes", "BYTES"),
            ("count", "COUNT"),
            ("of_bytes", "OF BYTES"),
            ("of_count", "OF COUNT"),
            ("share", "SHARE%"),
        ];
        columns.extend(names.map(|(name, header)| Column::new(name, header).right()));
        if args.with_stacks() {
            columns.push(Column::new("stack", "STACK"));
        }
        let mut rows = output.rows(columns);
        for (group, churn) in ranked {
            let mut row: Vec<Value> = Vec::new();
            row.extend(
                [group.pid, group.tid].into_iter().flatten().map(|id| Value::Int(id.into())),
            );
            row.extend([churn.temporary.bytes, churn.temporary.count].map(Value::Int));
            row.extend([churn.allocated.bytes, churn.allocated.count].map(Value::Int));
            row.push(Value::Real((churn.share() * 100.0).round() / 100.0));
            row.extend(group.stack.map(|stack| Value::Texts(frames(&self.stacks, stack, false))));
            rows.row(&row)?;
        }
        rows.end()
    }
}

fn said(churn: Churn) -> String {
    format!(
        "{} bytes in {} temporary allocations, {:.1} % of {}",
        thousands(churn.temporary.bytes),
        thousands(churn.temporary.count),
        churn.share(),
        thousands(churn.allocated.count),
    )
}
