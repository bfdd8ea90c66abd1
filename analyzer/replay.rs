//! Rows, what processes do, and looks, in one order of time.
//!
//! A replay takes the rows of a table one after the other. Between them processes fork and end,
//! which changes [whose memory](crate::spaces) an address is in, and there are instants at which the
//! report looks at what is live. [`walk`] brings the three together. What happened at the instant of
//! a look has happened then. At one instant forks and execs come first, then rows, then exits.

use std::ops::{ControlFlow, Range};

use arrow::record_batch::RecordBatch;
use lookback_schemas::TableId;
use lookback_schemas::recording::Recording;

use crate::scope::Scope;
use crate::spaces::Change;
use crate::timeline;

/// What replays.
pub trait Replay {
    /// A batch of rows.
    type Rows: Send;

    /// When the row's event happened.
    fn time(rows: &Self::Rows, row: usize) -> i64;
    /// Takes the next row.
    fn row(&mut self, rows: &Self::Rows, row: usize);
    /// Takes the next change.
    fn change(&mut self, change: &Change);
    /// Looks at what is live at the instant `at`: nothing of it follows.
    ///
    /// # Errors
    /// Whatever the report makes of it may fail.
    fn look(&mut self, at: i64) -> anyhow::Result<()>;
}

/// The instants at which to look, in order.
#[derive(Clone, Debug)]
pub struct Instants {
    /// The next one.
    pub next: Option<i64>,
    /// From one to the one after; without it there is only one.
    pub step: Option<i64>,
    /// None is later. It is one itself, unless `left` ends them before.
    pub last: i64,
    /// How many there are still to be.
    pub left: u64,
}

impl Instants {
    /// One instant.
    #[must_use]
    pub fn once(at: i64) -> Instants {
        Instants { next: Some(at), step: None, last: at, left: 1 }
    }

    /// The one after this.
    fn advance(&mut self) {
        self.left = self.left.saturating_sub(1);
        self.next = match (self.next, self.step) {
            (Some(now), Some(step)) if now < self.last && self.left > 0 => {
                Some(now.saturating_add(step).min(self.last))
            }
            (Some(_) | None, Some(_) | None) => None,
        };
    }
}

/// What to walk through.
pub struct Walk<'a> {
    /// The recording.
    pub recording: &'a Recording,
    /// The table.
    pub table: TableId,
    /// Its columns that are needed.
    pub columns: Vec<&'static str>,
    /// Only rows and changes of these moments; changes from before it too, since they tell where
    /// memory is.
    pub range: Range<i64>,
    /// When the recording ends. After it nothing happens: what its clock puts there has happened
    /// when someone looks at the end.
    pub end: i64,
    /// What processes did, in order.
    pub changes: &'a [Change],
    /// When to look.
    pub instants: Instants,
    /// Whether another thread decodes rows meanwhile.
    pub ahead: bool,
}

/// What is due next beside rows.
struct Marks<'a> {
    changes: &'a [Change],
    instants: Instants,
    end: i64,
}

enum Mark<'a> {
    Change(&'a Change),
    Look(i64),
}

impl<'a> Marks<'a> {
    /// The first instant whose rows have something due before them.
    fn due(&self) -> i64 {
        let change = self.changes.first().map_or(i64::MAX, |change| match change.comes_first() {
            true => change.ts,
            false => change.ts.saturating_add(1),
        });
        change.min(self.look_after().saturating_add(1))
    }

    /// The moment after which the next look is.
    fn look_after(&self) -> i64 {
        self.instants.next.filter(|at| *at < self.end).unwrap_or(i64::MAX)
    }

    /// What is next, a change or a look.
    fn take(&mut self) -> Option<Mark<'a>> {
        let look = self.look_after();
        if let Some((change, rest)) = self.changes.split_first()
            && change.ts <= look
        {
            self.changes = rest;
            return Some(Mark::Change(change));
        }
        let at = self.instants.next?;
        self.instants.advance();
        Some(Mark::Look(at))
    }
}

fn happen<R: Replay>(replay: &mut R, mark: Mark<'_>) -> anyhow::Result<()> {
    match mark {
        Mark::Change(change) => replay.change(change),
        Mark::Look(at) => replay.look(at)?,
    }
    Ok(())
}

/// Calls `replay` with all that happens until the last look, in order.
///
/// # Errors
/// If the table is damaged, or a look fails.
pub fn walk<R: Replay>(
    walk: Walk<'_>,
    prepare: impl Fn(&RecordBatch) -> Result<R::Rows, String> + Sync,
    replay: &mut R,
) -> anyhow::Result<()> {
    let everything = Scope::default();
    let mut range = walk.range;
    if walk.instants.last < walk.end {
        range.end = range.end.min(walk.instants.last.saturating_add(1));
    }
    let later = walk.changes.partition_point(|change| change.ts < range.end);
    let mut marks =
        Marks { changes: &walk.changes[..later], instants: walk.instants, end: walk.end };
    let selection = timeline::Selection {
        table: walk.table,
        window: range,
        scope: &everything,
        columns: Some(walk.columns),
        ahead: walk.ahead,
    };
    let mut due = marks.due();
    timeline::for_each(
        walk.recording,
        &selection,
        |batch| prepare(&batch),
        |rows, row| {
            let ts = R::time(rows, row);
            while ts >= due {
                match marks.take() {
                    Some(mark) => happen(replay, mark)?,
                    None => break,
                }
                due = marks.due();
            }
            replay.row(rows, row);
            Ok(ControlFlow::Continue(()))
        },
    )?;
    while let Some(mark) = marks.take() {
        happen(replay, mark)?;
    }
    Ok(())
}
