//! What programs hold, on the heap or mapped, replayed and added up.

use lookback_schemas::manifest::Filters;

use super::section::{Reports, Section};
use super::{Kind, MemleakArgs, notes};
use crate::cli::Source;
use crate::distribution::Values;
use crate::heap::shard::Rules;
use crate::heap::{self, Look, Question, Wanted};
use crate::lifetimes::{Detail, Lifetimes};
use crate::mapped;
use crate::replay::Instants;
use crate::scope::Scope;
use crate::spaces::{Change, changes};

/// What every replay of user memory needs.
pub(super) struct User<'a> {
    pub(super) args: &'a MemleakArgs,
    pub(super) source: &'a Source,
    scope: &'a Scope,
    lifetimes: Lifetimes,
    changes: Vec<Change>,
}

/// What was found of one kind of memory.
pub(super) struct OfKind<'a> {
    pub(super) reports: Reports<'a>,
    pub(super) notes: Vec<String>,
    /// Lifetimes, or sizes.
    pub(super) values: Values,
}

impl<'a> User<'a> {
    pub(super) fn new(
        args: &'a MemleakArgs,
        source: &'a Source,
        scope: &'a Scope,
    ) -> anyhow::Result<User<'a>> {
        // The tables do not name threads or users: processes are looked up, where that matters.
        let lifetimes = match scope.is_everything() {
            true => Lifetimes::default(),
            false => Lifetimes::read(&source.recording, Detail::Identity)?,
        };
        let changes = changes(&source.recording)?;
        Ok(User { args, source, scope, lifetimes, changes })
    }

    pub(super) fn filters(&self) -> &'a Filters {
        &self.source.recording.manifest().filters
    }

    pub(super) fn question(&self) -> Question<'_> {
        let (args, source) = (self.args, self.source);
        Question {
            recording: &source.recording,
            range: source.window.range.clone(),
            end: source.window.end(),
            changes: &self.changes,
            wanted: Wanted {
                scope: self.scope,
                lifetimes: &self.lifetimes,
                min_size: args.min_size,
                max_size: args.max_size,
                by_stack: args.with_stacks(),
                by_thread: args.by_thread,
            },
            rules: Rules {
                older: args.older,
                within: args.within,
                ended: args.counts_ended(),
                inherited: args.inherited,
                lifetimes: args.lifetimes,
                deltas: false,
                by_space: args.by_process,
            },
            sizes: args.sizes,
            threads: args.threads.count(),
        }
    }

    /// One standard error of so many bytes of the heap, in bytes, where only some allocations were
    /// recorded: for each byte of the rate an allocation was drawn or not, independently.
    pub(super) fn error(&self, kind: Kind, bytes: i64) -> Option<i64> {
        let rate = self.filters().alloc_sample;
        let sampled = kind == Kind::Heap && rate > 0;
        // As precise as an estimate needs to be.
        sampled.then(|| (rate as f64 * bytes.unsigned_abs() as f64).sqrt().round() as i64)
    }

    /// Replays the heap; returns also what is to be said of it.
    pub(super) fn heap(
        &self,
        question: &Question<'_>,
        instants: Instants,
        look: impl FnMut(Look<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<(heap::Found, Vec<String>)> {
        let found = heap::replay(question, instants, look)?;
        let notes = notes::of_heap(self, question, &found);
        Ok((found, notes))
    }

    /// What is outstanding of this kind at these instants.
    pub(super) fn outstanding(&self, kind: Kind, instants: Instants) -> anyhow::Result<OfKind<'a>> {
        let question = self.question();
        let mut reports = Reports::new(self.args);
        let look = |look: Look<'_>| {
            let section = Section::of(self.args, &look, |tally| {
                let mut sum = tally.live;
                sum.merge(tally.ended);
                sum
            });
            reports.look(look.at, vec![(kind, section)]);
            Ok(())
        };
        if kind == Kind::Vm {
            let found = mapped::replay(&question, instants, look)?;
            let notes = notes::of_mapped(self, &question, &found);
            let values = if self.args.sizes { found.sizes } else { found.lifetimes };
            return Ok(OfKind { reports, notes, values });
        }
        let (found, notes) = self.heap(&question, instants, look)?;
        let values = if self.args.sizes { found.sizes } else { found.findings.lifetimes };
        Ok(OfKind { reports, notes, values })
    }
}
