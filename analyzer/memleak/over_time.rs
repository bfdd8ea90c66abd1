//! The heap and mapped memory over time, as a table.

use std::collections::BTreeMap;

use super::user::User;
use super::{Kind, begin, instants, notes};
use crate::heap::Look;
use crate::mapped;
use crate::render::{Column, Value};
use crate::replay::Instants;
use crate::sites::{SHARES, Sum, Tally};

/// So many steps, unless --every says how long one is.
const STEPS: i64 = 60;

/// What was seen at an instant.
#[derive(Clone, Copy, Debug, Default)]
struct Moment {
    live: Sum,
    allocated: Sum,
    freed: Sum,
    mapped: Option<i64>,
}

/// Prints the report.
///
/// # Errors
/// If a table is damaged, or the output cannot be written.
pub(super) fn run(user: &User<'_>, kinds: &[Kind], missing: &[String]) -> anyhow::Result<()> {
    let question = user.question();
    let (heap, vm) = (kinds.contains(&Kind::Heap), kinds.contains(&Kind::Vm));
    let mut said = missing.to_vec();
    let mut moments: BTreeMap<i64, Moment> = BTreeMap::new();
    if heap {
        let (_, notes) = user.heap(&question, steps(user)?, |look| {
            let sum = |of: fn(&Tally) -> Sum| added_up(&look, of);
            let moment = Moment {
                live: sum(|tally| tally.live),
                allocated: sum(|tally| tally.allocated),
                freed: sum(|tally| tally.freed),
                mapped: None,
            };
            moments.insert(look.at, moment);
            Ok(())
        })?;
        said.extend(notes);
    }
    if vm {
        let found = mapped::replay(&question, steps(user)?, |look| {
            let mapped = added_up(&look, |tally| tally.live).bytes;
            moments.entry(look.at).or_default().mapped = Some(mapped);
            Ok(())
        })?;
        said.extend(notes::of_mapped(user, &question, &found));
    }
    let mut output = begin(user.source, kinds)?;
    output.notes(&said)?;
    let mut columns = vec![Column::new("ts", "TIME")];
    if heap {
        let names = [
            ("bytes", "HEAP"),
            ("count", "BLOCKS"),
            ("allocations", "ALLOC/s"),
            ("frees", "FREE/s"),
        ];
        columns.extend(names.map(|(name, header)| Column::new(name, header).right()));
    }
    if vm {
        columns.push(Column::new("mapped", "MAPPED").right());
    }
    let mut rows = output.rows(columns);
    let mut last = (user.source.window.start(), Moment::default());
    for (at, moment) in moments {
        let seconds = at.saturating_sub(last.0) as f64 / 1e9;
        let rate = |now: Sum, before: Sum| match seconds > 0.0 {
            true => Value::Real((now.less(before).count as f64 / seconds).round()),
            false => Value::Null,
        };
        let mut row = vec![Value::Clock(at)];
        if heap {
            row.extend([
                Value::Bytes(moment.live.bytes),
                Value::Int(moment.live.count),
                rate(moment.allocated, last.1.allocated),
                rate(moment.freed, last.1.freed),
            ]);
        }
        if vm {
            row.push(moment.mapped.map_or(Value::Null, Value::Bytes));
        }
        rows.row(&row)?;
        last = (at, moment);
    }
    rows.end()?;
    output.finish()
}

fn steps(user: &User<'_>) -> anyhow::Result<Instants> {
    if user.args.every.is_some() {
        return instants(user.args, user.source);
    }
    let (start, end) = (user.source.window.start(), user.source.window.end());
    // Rounded up, so that the last step is not followed by a remainder.
    let step = (end.saturating_sub(start) / STEPS).max(1) + 1;
    let next = Some(start.saturating_add(step).min(end));
    Ok(Instants { next, step: Some(step), last: end, left: u64::MAX })
}

/// What all tallies add up to.
fn added_up(look: &Look<'_>, of: impl Fn(&Tally) -> Sum) -> Sum {
    let mut all = Sum::default();
    for (_, number, tally) in look.tallies.each() {
        let sum = of(tally);
        if sum != Sum::default() {
            let shares = i64::from(look.sites.site(number).shares);
            all.merge(Sum { count: sum.count.saturating_mul(shares), ..sum });
        }
    }
    Sum { count: all.count / i64::from(SHARES), ..all }
}
