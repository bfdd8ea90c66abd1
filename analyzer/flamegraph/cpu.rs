//! What ran whenever the sampling clock ticked.

use ahash::HashSet;
use arrow::array::Array as _;
use arrow::record_batch::RecordBatch;
use lookback_schemas::recording::Recording;
use lookback_schemas::tables::Sample;
use lookback_schemas::{Error, TableId, cell};

use super::WeightArgs;
use super::folding::{Key, Sum, Sums, kernel_threads};
use crate::bins::Bins;
use crate::cli::Source;
use crate::processes::known;
use crate::scope::Scope;

impl Sums {
    /// Adds the samples of a batch. `user_threads` tells by pid which ought to have a user stack
    /// where stacks are known to be missing. With `steps` those of each step stay apart.
    fn add(
        &mut self,
        batch: &RecordBatch,
        kernel_threads: Option<&HashSet<i32>>,
        steps: Option<&Bins>,
    ) -> Result<(), String> {
        let steps = match steps {
            Some(steps) => Some((steps, cell::column::<i64>(batch, "ts")?)),
            None => None,
        };
        let comm = cell::column::<Option<String>>(batch, "comm")?;
        let user = cell::column::<Option<i64>>(batch, "user_stack")?;
        let kernel = cell::column::<Option<i64>>(batch, "kernel_stack")?;
        let period = cell::column::<i64>(batch, "period")?;
        let pid = cell::column::<i32>(batch, "pid")?;
        let mut last: Option<(Key, Sum)> = None;
        let mut name: Option<(&str, u32)> = None;
        for row in 0..batch.num_rows() {
            let text = known!(comm, row).unwrap_or("[unknown]");
            let place = match name {
                Some((known, place)) if known == text => place,
                Some(_) | None => self.place(text),
            };
            name = Some((text, place));
            let user = known!(user, row);
            let unreadable = user.is_none()
                && kernel_threads.is_some_and(|threads| !threads.contains(&pid.value(row)));
            let key = Key {
                comm: place,
                user,
                kernel: known!(kernel, row),
                unreadable,
                behind: [None; 2],
                step: steps.as_ref().map_or(0, |(steps, ts)| steps.of(ts.value(row)) as u32),
            };
            let sum = Sum { weight: period.value(row).max(0), samples: 1 };
            match &mut last {
                Some((known, total)) if *known == key => total.add(sum),
                Some(_) | None => {
                    if let Some((key, total)) = last.replace((key, sum)) {
                        self.sums.entry(key).or_default().add(total);
                    }
                }
            }
        }
        if let Some((key, total)) = last {
            self.sums.entry(key).or_default().add(total);
        }
        Ok(())
    }
}

/// The samples summed up by stack, and by step of time if there are `steps`.
pub(super) fn sums(
    args: &WeightArgs,
    source: &Source,
    scope: &Scope,
    steps: Option<&Bins>,
) -> anyhow::Result<Sums> {
    let kernel_threads = kernel_threads(source, TableId::Sample)?;
    let mut columns = vec!["comm", "user_stack", "kernel_stack", "period", "pid"];
    columns.extend(steps.map(|_| "ts"));
    columns.extend(scope.columns(TableId::Sample));
    let threads = args.threads.count();
    let sums =
        source.recording.scan::<Sample>(source.window.range.clone()).columns(&columns).fold(
            threads,
            |sums: &mut Sums, path, batch| {
                let batch = scope.filter(TableId::Sample, path, batch)?;
                sums.add(&batch, kernel_threads.as_ref(), steps).map_err(Error::damaged(path))
            },
            Sums::merge,
        )?;
    Ok(sums)
}

/// What `period` counts: the sampling hook's name tells.
pub(crate) fn period(recording: &Recording) -> &'static str {
    let hooks = recording.manifest().tracers.iter().flat_map(|tracer| &tracer.hooks);
    let cycles = hooks.map(|hook| &hook.hook).any(|hook| hook.contains("cycles"));
    if cycles { "cycles" } else { "ns" }
}
