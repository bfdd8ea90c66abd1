//! What programs have mapped, replayed.
//!
//! The table `vm` has the system calls that change an address space. What is mapped is a set of
//! ranges, and a call names a range that need not be one that was mapped at once:
//!
//! - `mmap` makes a region, over whatever was there: with `MAP_FIXED` that is allowed and usual.
//! - `munmap` takes a range out of the regions that it touches; one that is met in its middle goes on
//!   as two pieces, which count as one.
//! - `mremap` moves what was in a range, with the stack and the age of the `mmap`. What it adds at the
//!   end is a region of its own with the stack of the `mremap`: who made it grow is who asked. Where
//!   nothing is known of the old range, or the old one stays (`MREMAP_DONTUNMAP`, or an old size of
//!   0), all of the new one is.
//! - `brk` moves the end of the heap: each growth is a region, from the old end to the new one.
//!
//! Heaps are made of mapped memory, so it is never added to that of [`heap`](crate::heap). Regions are
//! few beside blocks: they are replayed on one thread, and added up when someone looks.

use arrow::array::Array as _;
use lookback_schemas::tables::vm::Call;

use crate::blocks::{Block, Extents, Space as _};
use crate::distribution::Values;
use crate::heap::{Admitted, Counts, Look, Question};
use crate::processes::known;
use crate::replay::{Instants, Replay, Walk, walk};
use crate::sites::{SHARES, Site, Sites, Sum, Tallies, UNWANTED, signed};
use crate::spaces::memory::Memories;
use crate::spaces::{Change, Effect, Ending, Spaces};
use crate::tally::{Projection as _, projection};

projection! {
    /// What is replayed.
    pub struct Rows of Vm {
        ts: i64,
        address: Option<i64>,
        bytes: Option<i64>,
        old: Option<i64>,
        old_bytes: Option<i64>,
        stack: Option<i64>,
        call: i32,
        flags: Option<i32>,
        error: Option<i32>,
        pid: i32,
        tid: i32,
    }
}

/// `MREMAP_DONTUNMAP`: the old range stays mapped, though empty.
const DONT_UNMAP: i32 = 4;

/// What was found out beside what looks see.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// What was counted.
    pub counts: Counts,
    /// The sizes of what was mapped.
    pub sizes: Values,
    /// How long what was unmapped had been mapped, region by region.
    pub lifetimes: Values,
    /// Calls that unmapped or moved a range of which nothing was known.
    pub unknown: u64,
    /// What children have that counts only in their parents.
    pub inherited: Sum,
}

/// Replays, and looks at the instants. Of the question's rules it follows those about age, ends and
/// children; lifetimes and the like are about heaps.
///
/// # Errors
/// If a table is damaged, or a look fails.
pub fn replay(
    question: &Question<'_>,
    instants: Instants,
    look: impl FnMut(Look<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<Found> {
    let filters = &question.recording.manifest().filters;
    let all = filters.pids.is_empty() && filters.command.is_none();
    let mut mapped = Mapped {
        question,
        look,
        spaces: Spaces::new(filters.follow || all),
        memories: Memories::default(),
        sites: Sites::default(),
        tallies: Tallies::new(question.rules.by_space),
        admitted: Admitted::default(),
        found: Found::default(),
    };
    let mut columns = Rows::COLUMNS.to_vec();
    columns.retain(|column| *column != "stack" || question.wanted.by_stack);
    let through = Walk {
        recording: question.recording,
        table: Rows::TABLE,
        columns,
        range: question.range.clone(),
        end: question.end,
        changes: question.changes,
        instants,
        ahead: question.threads > 1,
    };
    walk(through, Rows::view, &mut mapped)?;
    let mut found = mapped.found;
    for (_, memory) in mapped.memories.each().filter(|(_, memory)| memory.born.is_some()) {
        memory.blocks.for_each(|block, counts| {
            if block.label != UNWANTED && !memory.counts(block.ts) {
                found.inherited.add(block.bytes, counts);
            }
        });
    }
    Ok(found)
}

struct Mapped<'a, L> {
    question: &'a Question<'a>,
    look: L,
    spaces: Spaces,
    memories: Memories<Extents>,
    sites: Sites,
    /// All but what is live.
    tallies: Tallies,
    admitted: Admitted,
    found: Found,
}

impl<L> Mapped<'_, L> {
    /// A region that the row makes, of so many bytes.
    fn region(&mut self, rows: &Rows, row: usize, space: u32, bytes: u64) -> Block {
        let ts = rows.ts.value(row);
        let (pid, tid) = (rows.pid.value(row), rows.tid.value(row));
        let wanted = &self.question.wanted;
        let mut label = UNWANTED;
        if wanted.admits_size(bytes) && self.admitted.admits(wanted, pid, tid, ts) {
            let stack = if wanted.by_stack { known!(rows.stack, row).unwrap_or(0) } else { 0 };
            let tid = if wanted.by_thread { tid } else { 0 };
            label = self.sites.number(Site { stack, tid, shares: SHARES });
            if bytes > 0 {
                self.tallies.of(space, label).allocated.add(bytes, true);
                if self.question.sizes {
                    self.found.sizes.add(signed(bytes));
                }
            }
        }
        Block { ts, bytes, stack: None, pid, label }
    }

    /// A range was given back.
    fn unmap(&mut self, space: u32, address: u64, bytes: u64, now: i64) {
        let rules = self.question.rules;
        let memory = self.memories.of(space);
        let (heir, born) = (memory.heir, memory.born);
        let lifetimes = &mut self.found.lifetimes;
        let met = memory.blocks.free(address, Some(bytes), |block| {
            let counts = heir || born.is_none_or(|born| block.ts >= born);
            let age = block.age(now);
            if rules.lifetimes && block.label != UNWANTED && counts && rules.admits(age) {
                lifetimes.add(age);
            }
        });
        self.found.unknown += u64::from(!met);
    }

    /// Does what the call did; `None` if the row does not say what that was.
    fn happen(&mut self, rows: &Rows, row: usize, call: Call) -> Option<()> {
        let ts = rows.ts.value(row);
        let space = self.spaces.of(rows.pid.value(row));
        let address = known!(rows.address, row)?.cast_unsigned();
        let size = |bytes: Option<i64>| u64::try_from(bytes?).ok();
        match call {
            Call::Mmap => {
                let bytes = size(known!(rows.bytes, row))?;
                let region = self.region(rows, row, space, bytes);
                self.memories.of(space).blocks.allocate(address, region);
            }
            Call::Munmap => {
                self.unmap(space, address, size(known!(rows.bytes, row))?, ts);
            }
            Call::Mremap => {
                let bytes = size(known!(rows.bytes, row))?;
                let old = known!(rows.old, row)?.cast_unsigned();
                let old_bytes = size(known!(rows.old_bytes, row))?;
                let stays = old_bytes == 0
                    || known!(rows.flags, row).is_some_and(|flags| flags & DONT_UNMAP != 0);
                let added = if stays { bytes } else { bytes.saturating_sub(old_bytes) };
                let mut rest = self.region(rows, row, space, added);
                rest.bytes = bytes;
                let blocks = &mut self.memories.of(space).blocks;
                if stays {
                    blocks.allocate(address, rest);
                } else {
                    let from = old..old.saturating_add(old_bytes);
                    let to = address..address.saturating_add(bytes);
                    let known = blocks.relocate(from, to, rest);
                    self.found.unknown += u64::from(!known);
                }
            }
            Call::Brk => {
                let old = known!(rows.old, row)?.cast_unsigned();
                if address > old {
                    let region = self.region(rows, row, space, address - old);
                    self.memories.of(space).blocks.allocate(old, region);
                } else if address < old {
                    self.unmap(space, address, old - address, ts);
                }
            }
        }
        Some(())
    }
}

impl<L: FnMut(Look<'_>) -> anyhow::Result<()>> Replay for Mapped<'_, L> {
    type Rows = Rows;

    fn time(rows: &Rows, row: usize) -> i64 {
        rows.ts.value(row)
    }

    fn row(&mut self, rows: &Rows, row: usize) {
        self.found.counts.rows += 1;
        let failed = rows.error.is_valid(row);
        if failed {
            let (pid, tid, ts) = (rows.pid.value(row), rows.tid.value(row), rows.ts.value(row));
            let admitted = self.admitted.admits(&self.question.wanted, pid, tid, ts);
            self.found.counts.failed += u64::from(admitted);
            return;
        }
        let call = Call::from_code(rows.call.value(row));
        if call.and_then(|call| self.happen(rows, row, call)).is_none() {
            self.found.counts.strange += 1;
        }
    }

    fn change(&mut self, change: &Change) {
        self.admitted.forget();
        let rules = self.question.rules;
        for effect in self.spaces.change(change) {
            match effect {
                Effect::Copied { from, to } => {
                    self.memories.copy(from, to, change.ts, rules.inherited);
                }
                Effect::Ended { space, how } => {
                    let exited = how == Ending::Exited;
                    let Some(memory) = self.memories.end(space) else { continue };
                    self.found.counts.ended += u64::from(exited);
                    if !(rules.ended && exited) {
                        self.memories.pass_on(&memory, |_, _| {});
                        continue;
                    }
                    memory.blocks.for_each(|block, counts| {
                        let wanted = block.label != UNWANTED && memory.counts(block.ts);
                        if wanted && rules.admits(block.age(change.ts)) {
                            self.tallies.of(space, block.label).ended.add(block.bytes, counts);
                        }
                    });
                }
            }
        }
    }

    fn look(&mut self, at: i64) -> anyhow::Result<()> {
        let mut tallies = self.tallies.clone();
        for (space, memory) in self.memories.each() {
            memory.blocks.for_each(|block, counts| {
                let wanted = block.label != UNWANTED && memory.counts(block.ts);
                if wanted && self.question.rules.admits(block.age(at)) {
                    tallies.of(space, block.label).live.add(block.bytes, counts);
                }
            });
        }
        let (sites, spaces, counts) = (&self.sites, &self.spaces, &self.found.counts);
        (self.look)(Look { at, tallies, sites, spaces, counts })
    }
}
