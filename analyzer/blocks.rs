//! Which memory is held: allocations and frees, replayed.
//!
//! What is outstanding at an instant is what was allocated before it and not yet freed. So a replay
//! goes through the events in the order of time and keeps the blocks that are live. It needs memory
//! for those alone, however long the recording is, and it can stop at any instant and look.
//!
//! How a free finds its block depends on the memory, which is what a [`Space`] is:
//!
//! - [`Exact`]: a free names the address that the allocation returned. So do heaps, the kernel's
//!   slabs, and its memory of each CPU. The key is whatever tells one address from another: a heap
//!   of several processes has the process in it.
//! - [`Extents`]: a free names a range, and it need not be the range of one allocation. The kernel
//!   may take 8 pages in one piece and give them back one by one.
//!
//! Recordings have gaps: they begin when much is allocated already, and events can be lost. A
//! replay counts what shows of that. A free that meets no live block is *unknown*: its block is
//! older than the recording, or its allocation was lost. An allocation on top of a live block means
//! that the block was freed and nobody saw it: the *free was missed*, and the old block goes.
//!
//! Events of one instant can come in any order, since clocks have steps. An allocator can only give
//! out what is free, so of two events on one address at one instant the free is the first:
//! [`Replay`] holds allocations back until their instant is over.

mod extents;

use std::hash::Hash;
use std::num::NonZeroI64;

use ahash::HashMap;

pub use self::extents::Extents;

/// Memory that was allocated at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// When it was allocated.
    pub ts: i64,
    /// How much of it is live.
    pub bytes: u64,
    /// The number of the call stack that allocated it; unknown where it was lost.
    pub stack: Option<NonZeroI64>,
    /// The process that allocated it.
    pub pid: i32,
    /// For whoever replays; nothing here looks at it.
    pub label: u32,
}

impl Block {
    /// How long the block has lived at the instant `now`.
    #[must_use]
    pub fn age(&self, now: i64) -> i64 {
        now.saturating_sub(self.ts)
    }
}

/// What happened to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<K> {
    /// A block was allocated.
    Allocated(K, Block),
    /// Memory was given back.
    Freed {
        /// Where.
        key: K,
        /// How much, where the event tells. Without it the whole block went.
        bytes: Option<u64>,
        /// When.
        ts: i64,
    },
}

/// What shows that events are missing from a replay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gaps {
    /// Frees that met no live block.
    pub unknown_frees: u64,
    /// Live blocks on top of which another was allocated.
    pub missed_frees: u64,
}

/// Blocks that are live, and how a free finds them.
pub trait Space: Default {
    /// Where a block is.
    type Key: Copy;

    /// Adds a block. Returns how many blocks were in its way; they, or what of them was in its way,
    /// are gone.
    fn allocate(&mut self, key: Self::Key, block: Block) -> u64;

    /// Removes what is freed. Calls `freed` with each block that it was part of; its bytes are those
    /// that went. Returns whether there was any.
    fn free(&mut self, key: Self::Key, bytes: Option<u64>, freed: impl FnMut(&Block)) -> bool;

    /// Calls `visit` with each live block, in no order. A block that was freed in part may come as
    /// several pieces: the flag is true for one of them.
    fn for_each(&self, visit: impl FnMut(&Block, bool));
}

/// Memory that is freed by the address that its allocation returned.
#[derive(Clone, Debug)]
pub struct Exact<K> {
    live: HashMap<K, Block>,
}

impl<K> Default for Exact<K> {
    fn default() -> Self {
        Exact { live: HashMap::default() }
    }
}

impl<K: Copy + Eq + Hash> Space for Exact<K> {
    type Key = K;

    fn allocate(&mut self, key: K, block: Block) -> u64 {
        u64::from(self.live.insert(key, block).is_some())
    }

    fn free(&mut self, key: K, _: Option<u64>, mut freed: impl FnMut(&Block)) -> bool {
        let block = self.live.remove(&key);
        block.iter().for_each(&mut freed);
        block.is_some()
    }

    fn for_each(&self, mut visit: impl FnMut(&Block, bool)) {
        self.live.values().for_each(|block| visit(block, true));
    }
}

/// Replays the events of one space. They must come in the order of time.
#[derive(Clone, Debug)]
pub struct Replay<S: Space> {
    space: S,
    /// The allocations of the last instant: frees of that instant go first.
    held: Vec<(S::Key, Block)>,
    gaps: Gaps,
}

impl<S: Space> Default for Replay<S> {
    fn default() -> Self {
        Replay { space: S::default(), held: Vec::new(), gaps: Gaps::default() }
    }
}

impl<S: Space> Replay<S> {
    /// Takes the next event. Calls `freed` with each block that it frees, or with the part of it
    /// that is freed.
    #[inline]
    pub fn take(&mut self, event: Event<S::Key>, freed: impl FnMut(&Block)) {
        match event {
            Event::Allocated(key, block) => {
                self.pass(block.ts);
                self.held.push((key, block));
            }
            Event::Freed { key, bytes, ts } => {
                self.pass(ts);
                if !self.space.free(key, bytes, freed) {
                    self.gaps.unknown_frees += 1;
                }
            }
        }
    }

    /// Lets the instants before `ts` be over.
    #[inline]
    fn pass(&mut self, ts: i64) {
        if self.held.last().is_some_and(|(_, block)| block.ts != ts) {
            self.settle();
        }
    }

    /// Lets the last instant be over: no event of it follows.
    pub fn settle(&mut self) {
        for (key, block) in self.held.drain(..) {
            self.gaps.missed_frees += self.space.allocate(key, block);
        }
    }

    /// What is live, as it was when the last instant was [over](Replay::settle).
    #[must_use]
    pub fn live(&self) -> &S {
        &self.space
    }

    /// What shows that events are missing.
    #[must_use]
    pub fn gaps(&self) -> Gaps {
        self.gaps
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn block(ts: i64, bytes: u64) -> Block {
        Block { ts, bytes, stack: NonZeroI64::new(ts), pid: 1, label: 0 }
    }

    fn allocated<K>(ts: i64, key: K, bytes: u64) -> Event<K> {
        Event::Allocated(key, block(ts, bytes))
    }

    fn freed<K>(ts: i64, key: K, bytes: Option<u64>) -> Event<K> {
        Event::Freed { key, bytes, ts }
    }

    /// The live blocks: when they were allocated, their live bytes, and how many pieces count.
    fn live<S: Space>(replay: &Replay<S>) -> Vec<(i64, u64, u64)> {
        let mut live: BTreeMap<i64, (u64, u64)> = BTreeMap::new();
        replay.live().for_each(|block, counts| {
            let sum = live.entry(block.ts).or_default();
            sum.0 += block.bytes;
            sum.1 += u64::from(counts);
        });
        live.into_iter().map(|(ts, (bytes, count))| (ts, bytes, count)).collect()
    }

    fn replayed<S: Space>(events: &[Event<S::Key>]) -> (Replay<S>, Vec<(i64, u64)>) {
        let mut gone = Vec::new();
        let mut replay = Replay::<S>::default();
        for event in events {
            replay.take(*event, |block| gone.push((block.ts, block.bytes)));
        }
        replay.settle();
        (replay, gone)
    }

    fn gaps(unknown_frees: u64, missed_frees: u64) -> Gaps {
        Gaps { unknown_frees, missed_frees }
    }

    #[test]
    fn what_is_not_freed_is_live() {
        let events = [
            allocated(1, 'a', 10),
            allocated(2, 'b', 20),
            freed(3, 'a', None),
            freed(4, 'x', None),
            allocated(5, 'a', 30),
            allocated(6, 'b', 40),
        ];
        let (replay, gone) = replayed::<Exact<char>>(&events);
        assert_eq!(live(&replay), [(5, 30, 1), (6, 40, 1)]);
        assert_eq!(gone, [(1, 10)], "what was freed unseen is not known to have been freed then");
        assert_eq!(replay.gaps(), gaps(1, 1));
    }

    #[test]
    fn of_one_instant_frees_come_first() {
        let events = [allocated(1, 'a', 10), allocated(2, 'a', 20), freed(2, 'a', None)];
        let (replay, gone) = replayed::<Exact<char>>(&events);
        assert_eq!(live(&replay), [(2, 20, 1)]);
        assert_eq!((gone, replay.gaps()), (vec![(1, 10)], gaps(0, 0)));
    }

    #[test]
    fn a_range_freed_inside_splits_its_block() {
        let events = [allocated(1, 8, 8), freed(2, 10, Some(2))];
        let (mut replay, gone) = replayed::<Extents>(&events);
        assert_eq!(live(&replay), [(1, 6, 1)], "two pieces of one allocation");
        assert_eq!(gone, [(1, 2)]);
        replay.take(freed(3, 12, None), |_| {});
        assert_eq!(live(&replay), [(1, 2, 1)], "the rest of the second piece");
        replay.take(freed(4, 9, None), |_| {});
        replay.take(freed(5, 8, Some(1)), |_| {});
        assert_eq!((live(&replay), replay.gaps()), (vec![], gaps(0, 0)));
        replay.take(freed(6, 8, None), |_| {});
        replay.take(freed(6, 0, Some(64)), |_| {});
        assert_eq!(replay.gaps(), gaps(2, 0));
    }

    #[test]
    fn a_range_may_cover_several_blocks() {
        let events =
            [allocated(1, 0, 4), allocated(2, 4, 4), allocated(3, 8, 4), freed(4, 2, Some(8))];
        let (replay, gone) = replayed::<Extents>(&events);
        assert_eq!(live(&replay), [(1, 2, 1), (3, 2, 1)]);
        assert_eq!(gone, [(3, 2), (2, 4), (1, 2)]);
        let (replay, gone) = replayed::<Extents>(&[&events[..3], &[allocated(4, 2, 8)]].concat());
        assert_eq!(live(&replay), [(1, 2, 1), (3, 2, 1), (4, 8, 1)]);
        assert_eq!((gone.len(), replay.gaps()), (0, gaps(0, 3)));
    }

    #[test]
    fn the_ends_of_the_address_space_are_no_trouble() {
        let top = u64::MAX;
        let events = [
            allocated(1, top - 1, top),
            allocated(2, 0, 0),
            freed(3, top, Some(top)),
            freed(4, top, None),
        ];
        let (replay, _) = replayed::<Extents>(&events);
        assert_eq!((live(&replay), replay.gaps()), (vec![(1, 1, 1)], gaps(2, 0)));
    }

    /// Knuth's generator; its high bits are good enough.
    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (self.0 >> 33) % bound
        }
    }

    /// A history on few addresses, in which all goes wrong that can. Instants are shared, but each
    /// allocation is known by its process.
    fn history(seed: u64) -> Vec<Event<u64>> {
        let mut random = Random(seed);
        let mut ts = 0;
        let length = 1 + random.below(60);
        let mut events = Vec::new();
        for number in 0..length {
            ts += random.below(3) as i64;
            let (key, bytes) = (random.below(24), random.below(9));
            let pid = number as i32;
            events.push(match random.below(5) {
                0..3 => Event::Allocated(key, Block { pid, ..block(ts, bytes) }),
                3 => freed(ts, key, Some(bytes)),
                _ => freed(ts, key, None),
            });
        }
        events
    }

    fn instant(event: &Event<u64>) -> (i64, bool) {
        match event {
            Event::Allocated(_, block) => (block.ts, true),
            Event::Freed { ts, .. } => (*ts, false),
        }
    }

    /// The history up to and with an instant, replayed address by address: who holds each.
    fn naive(events: &[Event<u64>], until: i64, exact: bool) -> (BTreeMap<u64, Block>, Gaps) {
        let mut events: Vec<_> = events.iter().filter(|e| instant(e).0 <= until).collect();
        events.sort_by_key(|event| instant(event));
        let mut held: BTreeMap<u64, Block> = BTreeMap::new();
        let mut gaps = Gaps::default();
        for event in events {
            match event {
                Event::Allocated(key, block) => {
                    let reach = if exact { 1 } else { block.bytes };
                    let old = (*key..key + reach).map(|address| held.insert(address, *block));
                    let mut runs: Vec<Option<i32>> = old.map(|old| Some(old?.pid)).collect();
                    runs.dedup();
                    gaps.missed_frees += runs.iter().flatten().count() as u64;
                }
                Event::Freed { key, bytes, .. } => {
                    let owner = held.get(key).map(|block| block.pid);
                    let reach = match (exact, bytes) {
                        (true, _) => 1,
                        (false, Some(bytes)) => *bytes,
                        (false, None) => (*key..)
                            .take_while(|a| owner.is_some() && held.get(a).map(|b| b.pid) == owner)
                            .count() as u64,
                    };
                    let gone = (*key..key + reach).filter(|address| held.remove(address).is_some());
                    gaps.unknown_frees += u64::from(gone.count() == 0);
                }
            }
        }
        (held, gaps)
    }

    /// By allocation: its live bytes, and whether it counts once.
    type Held = BTreeMap<i32, (u64, u64)>;

    fn agrees<S: Space<Key = u64>>(events: &[Event<u64>], exact: bool, seed: u64) {
        let mut replay = Replay::<S>::default();
        for (index, event) in events.iter().enumerate() {
            replay.take(*event, |_| {});
            let now = instant(event).0;
            if events.get(index + 1).is_some_and(|next| instant(next).0 == now) {
                continue;
            }
            replay.settle();
            let mut held = Held::new();
            replay.live().for_each(|block, counts| {
                let sum = held.entry(block.pid).or_default();
                *sum = (sum.0 + block.bytes, sum.1 + u64::from(counts));
            });
            let (blocks, gaps) = naive(events, now, exact);
            let mut expected = Held::new();
            for block in blocks.values() {
                let sum = expected.entry(block.pid).or_default();
                *sum = (sum.0 + if exact { block.bytes } else { 1 }, 1);
            }
            assert_eq!(held, expected, "seed {seed}, instant {now}");
            assert_eq!(replay.gaps(), gaps, "seed {seed}, instant {now}");
        }
    }

    #[test]
    fn any_history_gives_what_a_naive_replay_gives() {
        for seed in 0..4_000 {
            let events = history(seed);
            agrees::<Exact<u64>>(&events, true, seed);
            agrees::<Extents>(&events, false, seed);
        }
    }

    #[test]
    fn what_is_freed_and_what_is_live_is_what_was_allocated() {
        for seed in 0..2_000 {
            let events = history(seed);
            let (replay, gone) = replayed::<Extents>(&events);
            let allocated: u64 = events
                .iter()
                .map(|event| match event {
                    Event::Allocated(_, block) => block.bytes,
                    Event::Freed { .. } => 0,
                })
                .sum();
            let sum = |list: Vec<u64>| list.iter().sum::<u64>();
            let freed = sum(gone.iter().map(|(_, bytes)| *bytes).collect());
            let live = sum(live(&replay).iter().map(|(_, bytes, _)| *bytes).collect());
            match replay.gaps().missed_frees {
                0 => assert_eq!(freed + live, allocated, "seed {seed}"),
                _ => assert!(freed + live < allocated, "seed {seed}"),
            }
        }
    }
}
