//! System calls by step of time.

use std::collections::BTreeMap;

use arrow::array::Array as _;

use super::{Call, Names, Rows};
use crate::bins::Bins;
use crate::cli::Source;
use crate::processes::known;
use crate::scope::Scope;
use crate::tally::{self, Groups, Selection, ThreadsArgs};

/// The calls of each name in each step that has any, in order.
pub(crate) type Steps = BTreeMap<String, Vec<(usize, tally::Calls)>>;

/// Adds them up. Calls that did not return count, and take no time.
///
/// # Errors
/// If the table is damaged.
pub(crate) fn read(source: &Source, threads: ThreadsArgs, steps: &Bins) -> anyhow::Result<Steps> {
    type Sums = Groups<(Call, usize), tally::Calls>;
    let names = Names::of(&source.recording.manifest().host.arch);
    let selection = Selection { source, scope: &Scope::default(), threads, without: &["comm"] };
    let sums: Sums = selection.sum(|sums: &mut Sums, rows: &Rows, row| {
        let duration = known!(rows.duration, row).unwrap_or(0);
        let step = steps.of(rows.ts.value(row));
        sums.of((rows.call(row), step)).add(duration, rows.failure(row).is_some());
    })?;
    let mut all = Steps::new();
    for ((call, step), calls) in sums.sorted() {
        all.entry(names.name(call).into_owned()).or_default().push((step, calls));
    }
    Ok(all)
}
