//! Did pauses of garbage collection make spans slow, or was there no CPU?
//!
//! The time of each span is divided in three: what overlaps pauses of its process; of the rest what
//! its thread waited for a CPU; and what is left, in which it ran, slept or waited for something
//! else. A span that was ended by another thread than began it has no waits of its own: which
//! thread's would they be?
//!
//! That slow spans overlap pauses does not say much by itself: perhaps all do. So the slow ones stand
//! beside all others. Where pauses are to blame, they take a far larger part of the slow ones.
//!
//! The spans are read twice. First to learn which are slow, and whose pauses and waits to read; then
//! to divide them. Pauses and waits are [united](crate::intervals), so that a span costs a few binary
//! searches. A span that lies in another of the same thread counts for itself, as the other does.

mod causes;
mod judged;
mod print;

use ahash::HashSet;
use arrow::array::Array as _;
use lookback_schemas::TableId;

use self::causes::Causes;
use self::judged::{Judged, Totals, Verdict};
use super::{Question, Rows};
use crate::distribution::Values;
use crate::memleak::is_recorded;
use crate::processes::known;
use crate::render::{duration, thousands};
use crate::tally::Sum;

/// What there is to know before spans are judged.
#[derive(Debug, Default)]
struct Survey {
    durations: Values,
    /// From when the first began to when the last ended.
    range: Option<(i64, i64)>,
    pids: HashSet<i32>,
    /// The threads that began and ended a span, with their processes.
    threads: HashSet<(i32, i32)>,
}

impl Sum for Survey {
    fn merge(&mut self, other: Self) {
        self.durations.merge(other.durations);
        if let Some((start, end)) = other.range {
            self.reach(start, end);
        }
        self.pids.extend(other.pids);
        self.threads.extend(other.threads);
    }
}

impl Survey {
    fn reach(&mut self, start: i64, end: i64) {
        let (first, last) = self.range.unwrap_or((start, end));
        self.range = Some((first.min(start), last.max(end)));
    }

    fn add(&mut self, span: Span) {
        self.durations.add(span.duration);
        self.reach(span.start, span.end());
        self.pids.insert(span.pid);
        if span.in_one_thread {
            self.threads.insert((span.pid, span.tid));
        }
    }
}

/// A span that ended.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: i64,
    duration: i64,
    pid: i32,
    tid: i32,
    in_one_thread: bool,
}

impl Span {
    /// The span in the row; `None` if it had not ended.
    fn of(rows: &Rows, row: usize) -> Option<Span> {
        let tid = rows.tid.value(row);
        Some(Span {
            start: rows.ts.value(row),
            duration: known!(rows.duration, row)?.max(0),
            pid: rows.pid.value(row),
            tid,
            in_one_thread: known!(rows.end_tid, row) == Some(tid),
        })
    }

    fn end(self) -> i64 {
        self.start.saturating_add(self.duration)
    }
}

impl Question<'_> {
    /// Prints the report.
    pub(super) fn blame(&self) -> anyhow::Result<()> {
        let recording = &self.source.recording;
        let mut tables = vec![TableId::Span];
        for table in [TableId::Gc, TableId::Runq] {
            if is_recorded(recording, table)? {
                tables.push(table);
            }
        }
        let mut survey = self.survey()?;
        let summary = survey.durations.summary();
        let mut output = self.source.begin(&tables)?;
        let mut notes = self.notes()?;
        if summary.nulls > 0 {
            let unfinished = thousands(summary.nulls);
            notes.push(format!("{unfinished} spans had not ended, and are not counted"));
        }
        let slow = self.args.min.min.or_else(|| summary.p99());
        let causes = Causes::read(self, &survey)?;
        let verdict = match slow {
            Some(slow) => self.judge(&causes, slow)?,
            None => Verdict::default(),
        };
        notes.extend(causes.notes(self)?);
        let across = verdict.slow.across() + verdict.others.across();
        if across > 0 && causes.knows_waits() {
            notes.push(format!(
                "{} spans were ended by another thread than began them: what they waited for a CPU \
                 is in the rest",
                thousands(across)
            ));
        }
        output.notes(&notes)?;
        if let Some(slow) = slow {
            let from = match self.args.min.min {
                Some(_) => duration(slow),
                None => format!("{} (the 99th percentile)", duration(slow)),
            };
            self.print(&mut output, &verdict, (slow, &from))?;
        } else {
            self.print_nothing(&mut output)?;
        }
        output.finish()
    }

    fn survey(&self) -> anyhow::Result<Survey> {
        let without = ["comm"];
        let survey = self.selection(&without).sum(|survey: &mut Survey, rows: &Rows, row| {
            if !self.admits(known!(rows.name, row)) {
                return;
            }
            match Span::of(rows, row) {
                Some(span) => survey.add(span),
                None => survey.durations.add_null(),
            }
        })?;
        Ok(survey)
    }

    /// Divides the time of all spans. Those that took `slow` nanoseconds or more are slow.
    fn judge(&self, causes: &Causes, slow: i64) -> anyhow::Result<Verdict> {
        let most = self.args.longest.unwrap_or(0);
        let without = ["comm"];
        let verdict = self.selection(&without).sum(|verdict: &mut Verdict, rows: &Rows, row| {
            let name = known!(rows.name, row);
            let Some(span) = Span::of(rows, row).filter(|_| self.admits(name)) else { return };
            let parts = causes.divide(span);
            if span.duration < slow {
                verdict.others.add(span.duration, parts);
                return;
            }
            verdict.slow.add(span.duration, parts);
            if most > 0 {
                let (name, pause) = (name.map(str::to_owned), None);
                verdict.longest.add(Judged { span, name, parts, pause }, most);
            }
        })?;
        Ok(Verdict { longest: verdict.longest.with_pauses(causes), ..verdict })
    }
}

impl Totals {
    /// How many spans were ended by another thread than began them.
    fn across(&self) -> u64 {
        self.count - self.in_one_thread
    }
}
