//! The heaps of programs, replayed.
//!
//! The table `alloc` has what programs asked their allocators for. Row after row is turned into what
//! it does to blocks:
//!
//! - A block is live from the row that returns its address to the one that frees it, in its own
//!   [address space](crate::spaces).
//! - `realloc` frees its old block at some time before it returns, and another thread may have got
//!   that address since: so at its return the old block goes, but only one that was there when it was
//!   called. It makes a new block, with the stack and the time of the call. One that failed leaves
//!   its old block; one of zero bytes that returned nothing has freed it.
//! - A call that returned nothing, though something was asked for, has failed, and is counted.
//!
//! What blocks do is replayed by [shards](shard) of the addresses, on as many threads.

mod crew;
mod live;
#[cfg(test)]
mod model_tests;
pub mod shard;

use std::ops::Range;

use ahash::HashMap;
use arrow::array::Array as _;
use lookback_schemas::recording::Recording;
use lookback_schemas::tables::alloc::Function;

use self::crew::Crew;
pub use self::crew::Findings;
use self::shard::{Block, Op, Rules, SERIAL};
use crate::distribution::Values;
use crate::lifetimes::Lifetimes;
use crate::processes::known;
use crate::replay::{Instants, Replay, Walk, walk};
use crate::scope::{Scope, Subject};
use crate::sites::{SHARES, Site, Sites, Tallies, UNWANTED};
use crate::spaces::{Change, Effect, Ending, Spaces};
use crate::tally::{Projection as _, projection};

projection! {
    /// What is replayed.
    pub struct Rows of Alloc {
        ts: i64,
        duration: Option<i64>,
        address: Option<i64>,
        old: Option<i64>,
        bytes: Option<i64>,
        stands_for: Option<i64>,
        stack: Option<i64>,
        function: i32,
        pid: i32,
        tid: Option<i32>,
    }
}

impl Rows {
    /// The columns that the question needs.
    fn columns(question: &Question<'_>) -> Vec<&'static str> {
        let wanted = &question.wanted;
        let sampled = question.recording.manifest().filters.alloc_sample > 0;
        let mut columns = Self::COLUMNS.to_vec();
        columns.retain(|column| match *column {
            "stack" => wanted.by_stack,
            "stands_for" => sampled,
            "tid" => wanted.by_thread || !wanted.scope.is_everything(),
            _ => true,
        });
        columns
    }
}

/// Which allocations a report is about.
pub struct Wanted<'a> {
    /// Those of these processes. Names and users are those that the process had then.
    pub scope: &'a Scope,
    /// Who had which pid; needed where the scope is not everything.
    pub lifetimes: &'a Lifetimes,
    /// Only allocations of at least so many bytes.
    pub min_size: Option<u64>,
    /// Only allocations of at most so many bytes.
    pub max_size: Option<u64>,
    /// Whether call stacks are told apart.
    pub by_stack: bool,
    /// Whether threads are.
    pub by_thread: bool,
}

impl Wanted<'_> {
    /// Whether an allocation of this size is wanted.
    #[must_use]
    pub fn admits_size(&self, bytes: u64) -> bool {
        self.min_size.is_none_or(|min| bytes >= min) && self.max_size.is_none_or(|max| bytes <= max)
    }

    fn admits(&self, pid: i32, tid: i32, ts: i64) -> bool {
        let lifetime = self.lifetimes.who(pid, ts);
        let subject = Subject {
            pid: Some(pid),
            tid: Some(tid),
            cgroup: None,
            comm: lifetime.and_then(|lifetime| lifetime.image_at(ts).comm.as_deref()),
            uid: lifetime.and_then(|lifetime| lifetime.uid),
        };
        self.scope.admits(subject, ts)
    }
}

/// Remembers who is in scope: it only changes when processes do.
#[derive(Default)]
pub(crate) struct Admitted(HashMap<(i32, i32), bool>);

impl Admitted {
    #[inline]
    pub(crate) fn admits(&mut self, wanted: &Wanted<'_>, pid: i32, tid: i32, ts: i64) -> bool {
        wanted.scope.is_everything()
            || *self.0.entry((pid, tid)).or_insert_with(|| wanted.admits(pid, tid, ts))
    }

    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }
}

/// A replay that is asked for.
pub struct Question<'a> {
    /// The recording.
    pub recording: &'a Recording,
    /// Only what happened in this part of its time.
    pub range: Range<i64>,
    /// When it ends.
    pub end: i64,
    /// What processes did: see [`changes`](crate::spaces::changes).
    pub changes: &'a [Change],
    /// Which allocations.
    pub wanted: Wanted<'a>,
    /// What to find out of them.
    pub rules: Rules,
    /// Whether the sizes that were asked for are collected.
    pub sizes: bool,
    /// On how many threads.
    pub threads: usize,
}

/// What a look sees.
pub struct Look<'a> {
    /// The instant.
    pub at: i64,
    /// What happened until then.
    pub tallies: Tallies,
    /// The sites that the tallies are of.
    pub sites: &'a Sites,
    /// The spaces.
    pub spaces: &'a Spaces,
    /// What was counted of rows until then.
    pub counts: &'a Counts,
}

/// What is counted of rows, whether the report is about them or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All rows.
    pub rows: u64,
    /// Calls that returned nothing although something was asked for, of those in scope.
    pub failed: u64,
    /// Rows of functions or calls that this version does not know, or that contradict themselves.
    pub strange: u64,
    /// Processes that ended, of those that allocated.
    pub ended: u64,
}

/// What was found out beside what looks see.
#[derive(Debug, Default)]
pub struct Found {
    /// What the shards have found.
    pub findings: Findings,
    /// What was counted.
    pub counts: Counts,
    /// The sizes that were asked for.
    pub sizes: Values,
}

/// Replays, and looks at the instants.
///
/// # Errors
/// If a table is damaged, or a look fails.
pub fn replay(
    question: &Question<'_>,
    instants: Instants,
    look: impl FnMut(Look<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<Found> {
    if question.threads <= 1 {
        return Heap::new(question, Crew::here(question.rules), look).run(instants);
    }
    std::thread::scope(|scope| {
        let crew = Crew::elsewhere(scope, question.threads, question.rules);
        Heap::new(question, crew, look).run(instants)
    })
}

/// Turns rows into what they do to blocks.
struct Heap<'a, L> {
    question: &'a Question<'a>,
    crew: Crew,
    look: L,
    spaces: Spaces,
    /// How many allocations each space had.
    serials: Vec<u32>,
    sites: Sites,
    admitted: Admitted,
    counts: Counts,
    sizes: Values,
}

impl<'a, L: FnMut(Look<'_>) -> anyhow::Result<()>> Heap<'a, L> {
    fn new(question: &'a Question<'a>, crew: Crew, look: L) -> Self {
        // What an unrecorded child frees is not seen.
        let spaces = Spaces::new(question.recording.manifest().filters.alloc_follow);
        Heap {
            question,
            crew,
            look,
            spaces,
            serials: Vec::new(),
            sites: Sites::default(),
            admitted: Admitted::default(),
            counts: Counts::default(),
            sizes: Values::default(),
        }
    }

    fn run(mut self, instants: Instants) -> anyhow::Result<Found> {
        let question = self.question;
        let through = Walk {
            recording: question.recording,
            table: Rows::TABLE,
            columns: Rows::columns(question),
            range: question.range.clone(),
            end: question.end,
            changes: question.changes,
            instants,
            ahead: question.threads > 1,
        };
        walk(through, Rows::view, &mut self)?;
        Ok(Found { findings: self.crew.finish(), counts: self.counts, sizes: self.sizes })
    }

    fn serial(&mut self, space: u32) -> &mut u32 {
        let index = space as usize;
        if index >= self.serials.len() {
            self.serials.resize(index + 1, 0);
        }
        &mut self.serials[index]
    }

    /// A block was freed, or may have been by `realloc`, which was `called` then.
    #[inline]
    fn free(&mut self, space: u32, address: u64, ts: i64, called: Option<i64>) {
        let serial = *self.serial(space);
        let op = match called {
            None => Op::Freed { space, address, ts, serial },
            Some(called) => Op::Moved { space, address, called, ts, serial },
        };
        self.crew.take(address, op, ts);
    }

    #[inline]
    fn allocate(&mut self, rows: &Rows, row: usize, space: u32, address: u64) {
        let ts = rows.ts.value(row);
        let serial = self.serial(space);
        *serial = serial.wrapping_add(1) & SERIAL;
        let serial = *serial;
        // What `strdup` took may be unknown.
        let asked = known!(rows.bytes, row).map_or(Ok(0), u64::try_from);
        let asked = asked.unwrap_or_else(|_| {
            self.counts.strange += 1;
            0
        });
        let mut block = Block { ts, bytes: asked, site: UNWANTED, serial };
        let (pid, tid) = (rows.pid.value(row), known!(rows.tid, row).unwrap_or(0));
        let wanted = &self.question.wanted;
        if wanted.admits_size(asked) && self.admitted.admits(wanted, pid, tid, ts) {
            let mut shares = SHARES;
            let stands_for = known!(rows.stands_for, row).and_then(|b| u64::try_from(b).ok());
            if let Some(stands_for) = stands_for {
                block.bytes = stands_for;
                let exact = u128::from(stands_for) * u128::from(SHARES) / u128::from(asked.max(1));
                shares = u32::try_from(exact).unwrap_or(u32::MAX);
            }
            let stack = if wanted.by_stack { known!(rows.stack, row).unwrap_or(0) } else { 0 };
            let tid = if wanted.by_thread { tid } else { 0 };
            block.site = self.sites.number(Site { stack, tid, shares });
            if self.question.sizes {
                let times = (u64::from(shares) + u64::from(SHARES / 2)) / u64::from(SHARES);
                self.sizes.add_times(crate::sites::signed(asked), times);
            }
        }
        self.crew.take(address, Op::Allocated { space, address, block }, ts);
    }

    fn fail(&mut self, rows: &Rows, row: usize) {
        let (pid, ts) = (rows.pid.value(row), rows.ts.value(row));
        let tid = known!(rows.tid, row).unwrap_or(0);
        if self.admitted.admits(&self.question.wanted, pid, tid, ts) {
            self.counts.failed += 1;
        }
    }
}

impl<L: FnMut(Look<'_>) -> anyhow::Result<()>> Replay for Heap<'_, L> {
    type Rows = Rows;

    #[inline]
    fn time(rows: &Rows, row: usize) -> i64 {
        rows.ts.value(row)
    }

    #[inline]
    fn row(&mut self, rows: &Rows, row: usize) {
        self.counts.rows += 1;
        // Functions are numbered as they are listed.
        let code = usize::try_from(rows.function.value(row)).ok();
        let Some(function) = code.and_then(|code| Function::ALL.get(code)) else {
            self.counts.strange += 1;
            return;
        };
        let ts = rows.ts.value(row);
        let space = self.spaces.of(rows.pid.value(row));
        let address = known!(rows.address, row).map(i64::cast_unsigned);
        if function.frees() {
            // Freeing nothing is nothing.
            if let Some(address) = address {
                self.free(space, address, ts, None);
            }
            return;
        }
        let nothing = known!(rows.bytes, row) == Some(0);
        if address.is_none() && !nothing {
            self.fail(rows, row);
            return;
        }
        if let Some(old) = known!(rows.old, row) {
            let called = ts.saturating_sub(known!(rows.duration, row).unwrap_or(0).max(0));
            self.free(space, old.cast_unsigned(), ts, Some(called));
        }
        if let Some(address) = address {
            self.allocate(rows, row, space, address);
        }
    }

    fn change(&mut self, change: &Change) {
        self.admitted.forget();
        for effect in self.spaces.change(change) {
            let ts = change.ts;
            let op = match effect {
                Effect::Copied { from, to } => {
                    let serial = *self.serial(from);
                    *self.serial(to) = serial;
                    Op::Copied { from, to, ts }
                }
                Effect::Ended { space, how } => {
                    let allocated = *self.serial(space) > 0;
                    self.counts.ended += u64::from(allocated && how == Ending::Exited);
                    Op::Ended { space, how, ts }
                }
            };
            self.crew.take_everywhere(op);
        }
    }

    fn look(&mut self, at: i64) -> anyhow::Result<()> {
        let tallies = self.crew.look(at);
        let (sites, spaces, counts) = (&self.sites, &self.spaces, &self.counts);
        (self.look)(Look { at, tallies, sites, spaces, counts })
    }
}
