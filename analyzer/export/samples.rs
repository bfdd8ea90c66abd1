//! Samples one by one in the order of time, for formats that keep it.

use std::ops::ControlFlow;

use ahash::HashSet;
use arrow::array::Array as _;
use lookback_schemas::TableId;

use super::walk::Pair;
use crate::cli::Source;
use crate::flamegraph::folding::kernel_threads;
use crate::processes::known;
use crate::scope::Scope;
use crate::stacks::Stacks;
use crate::tally::{self, Groups, Projection as _, ThreadsArgs, projection};
use crate::timeline;

projection! {
    /// What is read of samples.
    struct Rows of Sample {
        ts: i64,
        user_stack: Option<i64>,
        kernel_stack: Option<i64>,
        period: i64,
        pid: i32,
        tid: i32,
        cpu: i32,
        comm: Option<String>,
    }
}

projection! {
    /// What is read of samples to know which stacks there are.
    struct Ids of Sample {
        user_stack: Option<i64>,
        kernel_stack: Option<i64>,
    }
}

/// A sample.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample<'a> {
    /// When.
    pub ts: i64,
    /// The process.
    pub pid: i32,
    /// The thread.
    pub tid: i32,
    /// The CPU.
    pub cpu: i32,
    /// The thread's name.
    pub comm: Option<&'a str>,
    /// What it stands for: nanoseconds or cycles.
    pub period: i64,
    /// Its stacks.
    pub stacks: Pair,
}

/// The samples of a recording.
pub(super) struct Samples<'a> {
    /// Where they are from.
    pub source: &'a Source,
    scope: &'a Scope,
    kernel_threads: Option<HashSet<i32>>,
    /// All their stacks.
    pub stacks: Stacks,
}

impl<'a> Samples<'a> {
    /// Reads which stacks there are.
    ///
    /// # Errors
    /// If a table is damaged, or the scope cannot be told for samples.
    pub fn new(
        source: &'a Source,
        scope: &'a Scope,
        threads: ThreadsArgs,
    ) -> anyhow::Result<Samples<'a>> {
        scope.check(TableId::Sample)?;
        let selection = tally::Selection { source, scope, threads, without: &[] };
        let ids = selection.sum(|ids: &mut Groups<i64, u64>, rows: &Ids, row| {
            let both = [known!(rows.user_stack, row), known!(rows.kernel_stack, row)];
            both.into_iter().flatten().for_each(|id| *ids.of(id) += 1);
        })?;
        let wanted = ids.sorted().into_iter().map(|(id, _)| id).collect();
        let stacks = Stacks::read(&source.recording, &wanted)?;
        let kernel_threads = kernel_threads(source, TableId::Sample)?;
        Ok(Samples { source, scope, kernel_threads, stacks })
    }

    /// Calls `visit` with each sample, in the order of time.
    ///
    /// # Errors
    /// If the table is damaged, or `visit` fails.
    pub fn for_each(
        &self,
        mut visit: impl FnMut(&Sample<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let selection = timeline::Selection {
            table: TableId::Sample,
            window: self.source.window.range.clone(),
            scope: self.scope,
            columns: Some(Rows::COLUMNS.to_vec()),
            ahead: true,
        };
        let view = |batch| Rows::view(&batch);
        timeline::for_each(&self.source.recording, &selection, view, |rows: &Rows, row| {
            let (pid, user) = (rows.pid.value(row), known!(rows.user_stack, row));
            let expected = |threads: &HashSet<i32>| !threads.contains(&pid);
            let unreadable = user.is_none() && self.kernel_threads.as_ref().is_some_and(expected);
            visit(&Sample {
                ts: rows.ts.value(row),
                pid,
                tid: rows.tid.value(row),
                cpu: rows.cpu.value(row),
                comm: known!(rows.comm, row),
                period: rows.period.value(row).max(0),
                stacks: Pair { user, kernel: known!(rows.kernel_stack, row), unreadable },
            })
            .map(ControlFlow::Continue)
        })
    }
}
