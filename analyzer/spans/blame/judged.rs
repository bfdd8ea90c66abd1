//! What the parts of many spans add up to.

use std::cmp::Reverse;

use super::Span;
use super::causes::{Causes, Parts};
use crate::gc::pauses::Pause;
use crate::tally::Sum;

/// Of spans those that lost time to one cause, and how much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    /// Of so many spans it is known.
    pub(super) known: u64,
    /// So many lost time to it.
    pub(super) spans: u64,
    /// How much, in nanoseconds.
    pub(super) time: i64,
}

impl Part {
    fn add(&mut self, time: Option<i64>) {
        let Some(time) = time else { return };
        self.merge(Part { known: 1, spans: u64::from(time > 0), time });
    }
}

impl Sum for Part {
    fn merge(&mut self, other: Self) {
        self.known += other.known;
        self.spans += other.spans;
        self.time = self.time.saturating_add(other.time);
    }
}

/// Spans, and what their time went to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) count: u64,
    /// Those that one thread began and ended.
    pub(super) in_one_thread: u64,
    /// In nanoseconds.
    pub(super) time: i64,
    pub(super) gc: Part,
    pub(super) runq: Part,
    pub(super) other: Part,
}

impl Totals {
    /// Adds a span of so many nanoseconds.
    pub(super) fn add(&mut self, duration: i64, parts: Parts) {
        self.count += 1;
        self.in_one_thread += u64::from(parts.in_one_thread);
        self.time = self.time.saturating_add(duration);
        self.gc.add(parts.gc);
        self.runq.add(parts.runq);
        self.other.add(Some(parts.other));
    }
}

impl Sum for Totals {
    fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.in_one_thread += other.in_one_thread;
        self.time = self.time.saturating_add(other.time);
        self.gc.merge(other.gc);
        self.runq.merge(other.runq);
        self.other.merge(other.other);
    }
}

/// A span with what its time went to.
#[derive(Clone, Debug)]
pub(super) struct Judged {
    pub(super) span: Span,
    pub(super) name: Option<String>,
    pub(super) parts: Parts,
    /// The pause that it lost most to.
    pub(super) pause: Option<Pause>,
}

impl Judged {
    /// The order in which they are shown: the slowest first.
    fn rank(&self) -> (Reverse<i64>, i64, i32, i32, Option<&str>) {
        let Span { start, duration, pid, tid, .. } = self.span;
        (Reverse(duration), start, pid, tid, self.name.as_deref())
    }
}

/// The slowest of the spans that are added.
#[derive(Debug, Default)]
pub(super) struct Longest {
    most: usize,
    spans: Vec<Judged>,
}

/// So many more than are wanted may be held before the others are let go.
const SPARE: usize = 1024;

impl Longest {
    /// Adds a span; the `most` slowest stay.
    pub(super) fn add(&mut self, span: Judged, most: usize) {
        self.most = most;
        self.spans.push(span);
        if self.spans.len() > most.saturating_mul(2).saturating_add(SPARE) {
            self.let_go();
        }
    }

    fn let_go(&mut self) {
        self.spans.sort_by(|one, other| one.rank().cmp(&other.rank()));
        self.spans.truncate(self.most);
    }

    /// The same, each with the pause that it lost most to, the slowest first.
    pub(super) fn with_pauses(mut self, causes: &Causes) -> Longest {
        self.let_go();
        for judged in &mut self.spans {
            judged.pause = causes.worst(judged.span).cloned();
        }
        self
    }

    pub(super) fn spans(&self) -> &[Judged] {
        &self.spans
    }
}

impl Sum for Longest {
    fn merge(&mut self, other: Self) {
        self.most = self.most.max(other.most);
        self.spans.extend(other.spans);
        self.let_go();
    }
}

/// The spans, judged.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) slow: Totals,
    pub(super) others: Totals,
    pub(super) longest: Longest,
}

impl Sum for Verdict {
    fn merge(&mut self, other: Self) {
        self.slow.merge(other.slow);
        self.others.merge(other.others);
        self.longest.merge(other.longest);
    }
}
