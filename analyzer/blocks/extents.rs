//! Blocks that are ranges of addresses, and are freed by ranges that need not be theirs.

use std::collections::BTreeMap;
use std::ops::Range;

use ahash::HashSet;

use super::{Block, Space};

/// Memory that is freed by ranges of addresses. The ranges of live blocks do not overlap.
#[derive(Clone, Debug, Default)]
pub struct Extents {
    /// By the first address.
    live: BTreeMap<u64, Extent>,
    /// How many blocks were split so far.
    splits: u64,
}

/// A block, or a piece of one.
#[derive(Clone, Copy, Debug)]
struct Extent {
    /// The first address behind it.
    end: u64,
    /// Which split made it a piece; 0 if it is the only one of its block.
    split: u64,
    block: Block,
}

impl Extents {
    /// Takes the range out of all extents that it touches. What is left of those stays. Calls
    /// `taken` with each, its bytes being those that went.
    pub fn take(&mut self, range: Range<u64>, mut taken: impl FnMut(&Block)) {
        self.take_out(range, false, |_, part| taken(&part.block));
    }

    /// As [`take`](Extents::take), with the first address of each part. Parts that `stay` are put
    /// back somewhere else: they are pieces of their blocks, as what is left of those is.
    fn take_out(&mut self, range: Range<u64>, stay: bool, mut taken: impl FnMut(u64, Extent)) {
        if range.is_empty() {
            return;
        }
        let last = |extents: &Extents| {
            extents.last_before(range.end).filter(|(_, extent)| extent.end > range.start)
        };
        while let Some((first, extent)) = last(self) {
            self.live.remove(&first);
            let (from, to) = (first.max(range.start), extent.end.min(range.end));
            let pieces = [first < from, to < extent.end, stay].into_iter().map(usize::from);
            let split = match extent.split {
                0 if pieces.sum::<usize>() > 1 => {
                    self.splits += 1;
                    self.splits
                }
                split => split,
            };
            taken(
                from,
                Extent { end: to, split, block: Block { bytes: to - from, ..extent.block } },
            );
            self.put(first, Extent { end: from, split, ..extent });
            self.put(to, Extent { split, ..extent });
            if first <= range.start {
                return;
            }
        }
    }

    /// What is in the range `from` moves to `to`, over what is there, as `mremap` does. Where `to` is
    /// shorter, the rest goes; where it is longer, or nothing was known in `from`, there is the block
    /// `rest`. Returns whether anything was known in `from`.
    pub fn relocate(&mut self, from: Range<u64>, to: Range<u64>, rest: Block) -> bool {
        let mut parts = Vec::new();
        self.take_out(from.clone(), true, |first, part| parts.push((first - from.start, part)));
        self.take(to.clone(), |_| {});
        self.put(to.start, Extent { end: to.end, split: 0, block: rest });
        for (offset, part) in &parts {
            let start = to.start.saturating_add(*offset);
            let end = start.saturating_add(part.block.bytes).min(to.end);
            if start < end {
                self.take(start..end, |_| {});
                self.put(start, Extent { end, ..*part });
            }
        }
        !parts.is_empty()
    }

    /// The last extent that begins before `address`.
    fn last_before(&self, address: u64) -> Option<(u64, Extent)> {
        self.live.range(..address).next_back().map(|(first, extent)| (*first, *extent))
    }

    /// Adds an extent, unless it is empty.
    fn put(&mut self, first: u64, mut extent: Extent) {
        if first < extent.end {
            extent.block.bytes = extent.end - first;
            self.live.insert(first, extent);
        }
    }

    /// Where the extent that has `address` in it ends.
    fn end_at(&self, address: u64) -> Option<u64> {
        let (first, extent) = self.last_before(address.saturating_add(1))?;
        (first <= address && address < extent.end).then_some(extent.end)
    }
}

impl Space for Extents {
    type Key = u64;

    /// The block's bytes say how far it reaches. One without any holds nothing.
    fn allocate(&mut self, start: u64, block: Block) -> u64 {
        let mut missed = 0;
        let end = start.saturating_add(block.bytes);
        self.take(start..end, |_| missed += 1);
        self.put(start, Extent { end, split: 0, block });
        missed
    }

    fn free(&mut self, start: u64, bytes: Option<u64>, mut freed: impl FnMut(&Block)) -> bool {
        let end = match bytes {
            Some(bytes) => Some(start.saturating_add(bytes)),
            None => self.end_at(start),
        };
        let mut met = false;
        self.take(start..end.unwrap_or(start), |block| {
            met = true;
            freed(block);
        });
        met
    }

    fn for_each(&self, mut visit: impl FnMut(&Block, bool)) {
        let mut seen = HashSet::default();
        for extent in self.live.values() {
            visit(&extent.block, extent.split == 0 || seen.insert(extent.split));
        }
    }
}
