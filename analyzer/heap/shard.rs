//! A part of the addresses: the blocks that are live there.
//!
//! What happens at one address does not concern another, so the addresses are dealt out to shards,
//! and each replays its own with a thread of its own. What concerns all of a space, such as its end,
//! goes to every shard. A shard keeps blocks by space, so that ending a space is dropping a table and
//! forking it is copying one.

use super::live::Live;
use crate::distribution::Values;
use crate::sites::{Sum, Tallies, UNWANTED, signed};
use crate::spaces::Ending;
use crate::spaces::memory::{Memories, Memory};

/// Memory that was allocated at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// When.
    pub ts: i64,
    /// How much, or how much it stands for.
    pub bytes: u64,
    /// Where; see [`Sites`](crate::sites::Sites).
    pub site: u32,
    /// Which allocation of its space it was, in the lower [`SERIAL`] bits. The upper one tells that
    /// it was allocated on top of a live block.
    pub serial: u32,
}

/// The bits of [`Block::serial`] that count. They go round.
pub const SERIAL: u32 = u32::MAX >> 1;
const ON_TOP: u32 = !SERIAL;

/// The places of so many operations are fetched together.
const TOGETHER: usize = 16;

/// What happens in a shard.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    /// A block was allocated.
    Allocated {
        /// The address space.
        space: u32,
        /// Where in it.
        address: u64,
        /// What.
        block: Block,
    },
    /// A block was freed.
    Freed {
        /// The address space.
        space: u32,
        /// Where in it.
        address: u64,
        /// When.
        ts: i64,
        /// How many allocations the space had until then.
        serial: u32,
    },
    /// `realloc` returned, and has freed its old block.
    Moved {
        /// The address space.
        space: u32,
        /// Where in it.
        address: u64,
        /// When it was called. A block that was allocated there later is not the one it freed.
        called: i64,
        /// When it returned.
        ts: i64,
        /// How many allocations the space had until then.
        serial: u32,
    },
    /// A process was forked.
    Copied {
        /// The parent's space.
        from: u32,
        /// The child's.
        to: u32,
        /// When.
        ts: i64,
    },
    /// A space ended.
    Ended {
        /// Which.
        space: u32,
        /// How.
        how: Ending,
        /// When.
        ts: i64,
    },
}

/// When a freed block was temporary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Within {
    /// It was freed when its process had made fewer than so many allocations after it.
    Allocations(u32),
    /// It lived so many nanoseconds at most.
    Time(i64),
}

/// What a shard is to find out.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Only blocks of this age or older, in nanoseconds, are outstanding or have a lifetime.
    pub older: Option<i64>,
    /// Which freed blocks are temporary.
    pub within: Within,
    /// Whether what was live when a process ended stays in the books.
    pub ended: bool,
    /// Whether what a child inherited counts in it too.
    pub inherited: bool,
    /// Whether lifetimes are collected.
    pub lifetimes: bool,
    /// Whether to tell how the live bytes change.
    pub deltas: bool,
    /// Whether to tally by space.
    pub by_space: bool,
}

impl Rules {
    /// Whether a block of this age is old enough.
    #[must_use]
    pub fn admits(&self, age: i64) -> bool {
        self.older.is_none_or(|older| age >= older)
    }
}

/// What shows that events are missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gaps {
    /// Frees that met no live block.
    pub unknown_frees: u64,
    /// Reallocations of blocks that were not live.
    pub unknown_reallocs: u64,
    /// Live blocks on top of which another was allocated.
    pub missed_frees: u64,
}

/// Whether the report counts the block in this space.
#[inline]
fn counts(space: &Memory<Live>, block: &Block) -> bool {
    block.site != UNWANTED && space.counts(block.ts)
}

/// See the [module](self).
#[derive(Debug)]
pub struct Shard {
    rules: Rules,
    spaces: Memories<Live>,
    /// The allocations of the last instant: frees of that instant go first.
    held: Vec<(u32, u64, Block)>,
    /// What happened at each site.
    pub tallies: Tallies,
    /// What shows that events are missing.
    pub gaps: Gaps,
    /// How long freed blocks lived.
    pub lifetimes: Values,
    /// By how much the live bytes changed, and when, in the order of time.
    pub deltas: Vec<(i64, i64)>,
}

impl Shard {
    /// An empty one.
    #[must_use]
    pub fn new(rules: Rules) -> Shard {
        Shard {
            rules,
            spaces: Memories::default(),
            held: Vec::new(),
            tallies: Tallies::new(rules.by_space),
            gaps: Gaps::default(),
            lifetimes: Values::default(),
            deltas: Vec::new(),
        }
    }

    /// Takes what happens next, in order.
    pub fn work(&mut self, ops: &[Op]) {
        for ops in ops.chunks(TOGETHER) {
            // The waits for memory overlap, since none depends on another.
            let touched = ops.iter().fold(0, |all, op| all ^ self.touch(op));
            std::hint::black_box(touched);
            ops.iter().for_each(|op| self.take(op));
        }
    }

    #[inline]
    fn touch(&mut self, op: &Op) -> u32 {
        match *op {
            Op::Allocated { space, address, .. }
            | Op::Freed { space, address, .. }
            | Op::Moved { space, address, .. } => {
                self.spaces.get(space).map_or(0, |memory| memory.blocks.touch(address))
            }
            Op::Copied { .. } | Op::Ended { .. } => 0,
        }
    }

    #[inline]
    fn take(&mut self, op: &Op) {
        match *op {
            Op::Allocated { space, address, block } => {
                self.pass(block.ts);
                self.held.push((space, address, block));
            }
            Op::Freed { space, address, ts, serial } => {
                self.pass(ts);
                self.free(space, address, ts, serial);
            }
            Op::Moved { space, address, called, ts, serial } => {
                self.pass(ts);
                self.moved(space, address, called, ts, serial);
            }
            Op::Copied { from, to, ts } => {
                self.settle();
                self.copied(from, to, ts);
            }
            Op::Ended { space, how, ts } => {
                self.settle();
                self.ended(space, how, ts);
            }
        }
    }

    /// Lets the instants before `ts` be over.
    #[inline]
    pub fn pass(&mut self, ts: i64) {
        if self.held.last().is_some_and(|(_, _, block)| block.ts != ts) {
            self.settle();
        }
    }

    /// Lets the last instant be over: no event of it follows.
    pub fn settle(&mut self) {
        let mut held = std::mem::take(&mut self.held);
        for (space, address, block) in held.drain(..) {
            self.allocate(space, address, block);
        }
        self.held = held;
    }

    #[inline]
    fn allocate(&mut self, number: u32, address: u64, mut block: Block) {
        let space = self.spaces.of(number);
        let wanted = counts(space, &block);
        if let Some(old) = space.blocks.insert(address, block) {
            self.gaps.missed_frees += 1;
            block.serial |= ON_TOP;
            space.blocks.insert(address, block);
            if counts(space, &old) {
                self.tallies.of(number, old.site).live.remove(old.bytes);
                self.change(block.ts, -signed(old.bytes));
            }
        }
        if wanted {
            let tally = self.tallies.of(number, block.site);
            tally.live.add(block.bytes, true);
            tally.allocated.add(block.bytes, true);
            self.change(block.ts, signed(block.bytes));
        }
    }

    #[inline]
    fn change(&mut self, ts: i64, bytes: i64) {
        if self.rules.deltas {
            self.deltas.push((ts, bytes));
        }
    }

    #[inline]
    fn free(&mut self, number: u32, address: u64, ts: i64, serial: u32) {
        let found = self.spaces.get(number).and_then(|space| {
            let block = space.blocks.remove(address)?;
            Some((block, counts(space, &block)))
        });
        match found {
            Some((block, true)) => self.freed(number, &block, ts, serial),
            Some((_, false)) => {}
            None => self.gaps.unknown_frees += 1,
        }
    }

    fn freed(&mut self, number: u32, block: &Block, ts: i64, serial: u32) {
        let age = ts.saturating_sub(block.ts);
        let temporary = match self.rules.within {
            Within::Time(most) => age <= most,
            Within::Allocations(most) => serial.wrapping_sub(block.serial) & SERIAL < most,
        };
        let tally = self.tallies.of(number, block.site);
        tally.live.remove(block.bytes);
        tally.freed.add(block.bytes, true);
        if temporary {
            tally.temporary.add(block.bytes, true);
        }
        if self.rules.lifetimes && self.rules.admits(age) {
            self.lifetimes.add(age);
        }
        self.change(ts, -signed(block.bytes));
    }

    fn moved(&mut self, number: u32, address: u64, called: i64, ts: i64, serial: u32) {
        let block = self.spaces.get(number).and_then(|space| space.blocks.get_mut(address));
        match block {
            None => self.gaps.unknown_reallocs += 1,
            Some(block) if block.ts <= called => self.free(number, address, ts, serial),
            // Another thread has the address by now, and has got it since the old block was freed:
            // that was no missed free.
            Some(block) if block.serial & ON_TOP != 0 => {
                block.serial &= SERIAL;
                self.gaps.missed_frees = self.gaps.missed_frees.saturating_sub(1);
            }
            Some(_) => self.gaps.unknown_reallocs += 1,
        }
    }

    fn copied(&mut self, from: u32, to: u32, ts: i64) {
        self.spaces.copy(from, to, ts, self.rules.inherited);
        if self.rules.inherited
            && let Some(child) = self.spaces.get(to)
        {
            let inherited: Vec<Block> = child.blocks.values().copied().collect();
            inherited.iter().for_each(|block| self.inherit(to, block, ts));
        }
    }

    /// From now on the block counts in this space, which inherited it.
    fn inherit(&mut self, number: u32, block: &Block, ts: i64) {
        if block.site != UNWANTED {
            self.tallies.of(number, block.site).live.add(block.bytes, true);
            self.change(ts, signed(block.bytes));
        }
    }

    fn ended(&mut self, number: u32, how: Ending, ts: i64) {
        let Some(space) = self.spaces.end(number) else { return };
        let stays = self.rules.ended && how == Ending::Exited;
        for block in space.blocks.values().filter(|block| counts(&space, block)) {
            let tally = self.tallies.of(number, block.site);
            tally.live.remove(block.bytes);
            if stays && self.rules.admits(ts.saturating_sub(block.ts)) {
                tally.ended.add(block.bytes, true);
            }
            self.change(ts, -signed(block.bytes));
        }
        if stays {
            return;
        }
        let mut inherited: Vec<(u32, Block)> = Vec::new();
        self.spaces.pass_on(&space, |child, memory| {
            let blocks = memory.blocks.values().filter(|block| memory.inherited(block.ts));
            inherited.extend(blocks.map(|block| (child, *block)));
        });
        inherited.iter().for_each(|(child, block)| self.inherit(*child, block, ts));
    }

    /// What is outstanding at the instant `now`, which is over, and all that happened before.
    #[must_use]
    pub fn look(&mut self, now: i64) -> Tallies {
        self.settle();
        let mut tallies = self.tallies.clone();
        if self.rules.older.is_none() {
            return tallies;
        }
        tallies.clear_live();
        for (number, space) in self.spaces.each() {
            for block in space.blocks.values() {
                let age = now.saturating_sub(block.ts);
                if counts(space, block) && self.rules.admits(age) {
                    tallies.of(number, block.site).live.add(block.bytes, true);
                }
            }
        }
        tallies
    }

    /// How much children hold that counts only in their parents.
    #[must_use]
    pub fn inherited(&self) -> Sum {
        let mut sum = Sum::default();
        for (_, space) in self.spaces.each().filter(|(_, space)| space.born.is_some()) {
            let inherited = |block: &&Block| block.site != UNWANTED && !counts(space, block);
            space.blocks.values().filter(inherited).for_each(|block| sum.add(block.bytes, true));
        }
        sum
    }
}
