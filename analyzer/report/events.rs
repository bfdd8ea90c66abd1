//! How many events there were in each step, and how many of them were bad.

use arrow::array::Array as _;

use super::Page;
use crate::processes::known;
use crate::scope::Scope;
use crate::tally::{Groups, Projection, Selection, Sum, projection};

projection! {
    /// Processes that ended.
    pub(super) struct Exits of Exit {
        ts: i64,
        code: Option<i32>,
        signal: Option<i32>,
        process_ended: bool,
    }
}
projection! {
    /// Signals.
    pub(super) struct Signals of Signal {
        ts: i64,
        sig: i32,
    }
}
projection! {
    /// Sockets that change their state.
    pub(super) struct States of Tcpstate {
        ts: i64,
    }
}
projection! {
    /// Connects.
    pub(super) struct Connects of Tcpconnect {
        ts: i64,
        result: Option<i32>,
    }
}
projection! {
    /// Opened files.
    pub(super) struct Opens of Open {
        ts: i64,
        result: i32,
    }
}

/// An event: when, and whether it was bad.
pub(super) type Event = Option<(i64, bool)>;

impl Exits {
    /// The end of a process, not of a thread; bad unless it exited with 0.
    pub fn event(&self, row: usize) -> Event {
        let bad = known!(self.signal, row).is_some()
            || known!(self.code, row).is_some_and(|code| code != 0);
        self.process_ended.value(row).then(|| (self.ts.value(row), bad))
    }
}

/// Signals that end a process that does not handle them, for what it has done or because somebody wants it gone:
/// ILL, ABRT, BUS, FPE, KILL, SEGV, TERM and SYS.
const ENDING: [i32; 8] = [4, 6, 7, 8, 9, 11, 15, 31];

impl Signals {
    /// A signal; bad if it is one of those that end processes.
    pub fn event(&self, row: usize) -> Event {
        Some((self.ts.value(row), ENDING.contains(&self.sig.value(row))))
    }
}

impl States {
    /// A change.
    pub fn event(&self, row: usize) -> Event {
        Some((self.ts.value(row), false))
    }
}

impl Connects {
    /// A connect; bad if it was not established.
    pub fn event(&self, row: usize) -> Event {
        Some((self.ts.value(row), known!(self.result, row) != Some(0)))
    }
}

impl Opens {
    /// An open; bad if it failed.
    pub fn event(&self, row: usize) -> Event {
        Some((self.ts.value(row), self.result.value(row) < 0))
    }
}

/// How many events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub all: u64,
    pub bad: u64,
}

impl Sum for Count {
    fn merge(&mut self, other: Self) {
        self.all += other.all;
        self.bad += other.bad;
    }
}

/// Those in each step.
pub(super) fn count<P: Projection>(
    page: &Page<'_>,
    event: fn(&P, usize) -> Event,
) -> anyhow::Result<Vec<Count>> {
    let (source, scope, threads) = (&page.source, &Scope::default(), page.args.threads);
    let selection = Selection { source, scope, threads, without: &[] };
    let sums: Groups<usize, Count> =
        selection.sum(|sums: &mut Groups<usize, Count>, rows: &P, row| {
            if let Some((ts, bad)) = event(rows, row) {
                sums.of(page.steps.of(ts)).merge(Count { all: 1, bad: u64::from(bad) });
            }
        })?;
    let mut counts = vec![Count::default(); page.steps.count()];
    for (step, count) in sums.sorted() {
        counts[step] = count;
    }
    Ok(counts)
}
