//! Which parts of an array are in use.
//!
//! A slice that is given back may be read by a BPF program still, which has found it just before. So it is
//! given out again only after a while.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// After so long a slice that was given back is free. No program runs for as long.
pub const WHILE: Duration = Duration::from_secs(1);

/// A part of an array: the first place, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The first place.
    pub first: u32,
    /// How many places.
    pub count: u32,
}

/// The parts of an array.
#[derive(Debug)]
pub struct Slices {
    /// What is free, by the first place.
    free: BTreeMap<u32, u32>,
    given_back: VecDeque<(Instant, Slice)>,
}

impl Slices {
    /// Of an array of so many places, all free.
    pub fn of(count: u32) -> Slices {
        Slices { free: BTreeMap::from([(0, count)]), given_back: VecDeque::new() }
    }

    /// A slice of `count` places, if there is one.
    pub fn take(&mut self, count: u32, now: Instant) -> Option<Slice> {
        while let Some((when, slice)) = self.given_back.front().copied()
            && now.duration_since(when) >= WHILE
        {
            self.given_back.pop_front();
            self.join(slice);
        }
        let (first, free) = self.free.iter().find(|(_, free)| **free >= count)?;
        let (first, free) = (*first, *free);
        self.free.remove(&first);
        if free > count {
            self.free.insert(first + count, free - count);
        }
        Some(Slice { first, count })
    }

    /// Gives one back.
    pub fn give_back(&mut self, slice: Slice, now: Instant) {
        self.given_back.push_back((now, slice));
    }

    fn join(&mut self, Slice { mut first, mut count }: Slice) {
        if let Some((before, free)) = self.free.range(..first).next_back()
            && before + free == first
        {
            (first, count) = (*before, count + free);
        }
        if let Some(free) = self.free.remove(&(first + count)) {
            count += free;
        }
        self.free.insert(first, count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_is_given_out_again_after_a_while() {
        let (mut slices, now) = (Slices::of(10), Instant::now());
        let three: Vec<Slice> = (0..3).map(|_| slices.take(3, now).unwrap()).collect();
        assert_eq!(slices.take(3, now), None);
        three.iter().for_each(|slice| slices.give_back(*slice, now));
        assert_eq!(slices.take(3, now), None, "it may be read still");
        assert_eq!(slices.take(10, now + WHILE), Some(Slice { first: 0, count: 10 }));
    }
}
