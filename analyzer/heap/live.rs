//! The live blocks of an address space: a table made for a replay.
//!
//! A replay does little else than find blocks by address, and with millions of them each is a wait
//! for memory. So the table is one array without pointers: a block lies at the place that its address
//! hashes to, or in the next free one (linear probing), and the replay can [touch](Live::touch) the
//! places of several addresses at once, so that their waits overlap. Taking a block out moves up those
//! behind it, so nothing is left behind.
//!
//! It also takes no more memory than it must. The standard tables double, and are half empty then.
//! This one grows by a tenth, when it is seven ninths full, and it consists of parts that grow one
//! after the other: so there is never a second copy of all. A block takes 32 bytes, and with what is
//! free 41 to 45.

use super::shard::Block;

/// How many parts there are, a power of two.
const PARTS: usize = 64;

/// The site of a slot that holds nothing: sites are numbered from 0, and there are not so many.
const EMPTY: u32 = u32::MAX - 1;

#[derive(Clone, Copy, Debug)]
struct Slot {
    address: u64,
    block: Block,
}

const NOTHING: Slot = Slot { address: 0, block: Block { ts: 0, bytes: 0, site: EMPTY, serial: 0 } };

impl Slot {
    #[inline]
    fn is_empty(&self) -> bool {
        self.block.site == EMPTY
    }
}

#[derive(Clone, Debug, Default)]
struct Part {
    slots: Vec<Slot>,
    used: usize,
}

/// See the [module](self).
#[derive(Clone, Debug)]
pub struct Live {
    parts: Box<[Part]>,
    /// Chosen anew for each table, so that nobody can make addresses that hash to one place.
    seed: u64,
}

impl Default for Live {
    fn default() -> Self {
        use std::hash::{BuildHasher as _, RandomState};
        let seed = RandomState::new().hash_one(0_u8) | 1;
        Live { parts: vec![Part::default(); PARTS].into(), seed }
    }
}

/// Mixes all bits of an address into all of the hash: the two halves of a product of 128 bits.
#[inline]
fn hash(seed: u64, address: u64) -> u64 {
    let product = u128::from(address ^ seed) * u128::from(seed ^ 0x9e37_79b9_7f4a_7c15);
    // Both halves.
    (product >> 64) as u64 ^ product as u64
}

impl Part {
    /// The place of a hash, of those that are there.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        // Less than the length. The upper bits have chosen the part.
        ((u128::from(hash << PARTS.trailing_zeros()) * self.slots.len() as u128) >> 64) as usize
    }

    #[inline]
    fn after(&self, place: usize) -> usize {
        if place + 1 == self.slots.len() { 0 } else { place + 1 }
    }

    /// Where the address is, or else where it would be.
    #[inline]
    fn find(&self, hash: u64, address: u64) -> (usize, bool) {
        let mut place = self.home(hash);
        loop {
            let slot = &self.slots[place];
            if slot.is_empty() {
                return (place, false);
            }
            if slot.address == address {
                return (place, true);
            }
            place = self.after(place);
        }
    }

    /// Makes sure that there is room for one more.
    #[inline]
    fn make_room(&mut self, seed: u64) {
        if (self.used + 1) * 9 > self.slots.len() * 7 {
            self.grow(seed);
        }
    }

    #[cold]
    fn grow(&mut self, seed: u64) {
        let length = self.slots.len() + self.slots.len() / 10 + 4;
        let old = std::mem::replace(&mut self.slots, vec![NOTHING; length]);
        for slot in old.into_iter().filter(|slot| !slot.is_empty()) {
            let (place, _) = self.find(hash(seed, slot.address), slot.address);
            self.slots[place] = slot;
        }
    }

    fn take_out(&mut self, seed: u64, mut hole: usize) {
        let length = self.slots.len();
        let behind =
            |from: usize, to: usize| if to >= from { to - from } else { to + length - from };
        let mut next = self.after(hole);
        while !self.slots[next].is_empty() {
            let home = self.home(hash(seed, self.slots[next].address));
            // Whoever is looked for from a place up to the hole must still be found.
            if behind(home, next) >= behind(hole, next) {
                self.slots[hole] = self.slots[next];
                hole = next;
            }
            next = self.after(next);
        }
        self.slots[hole] = NOTHING;
        self.used -= 1;
    }
}

impl Live {
    #[inline]
    fn part_of(hash: u64) -> usize {
        // The upper six bits.
        (hash >> (64 - PARTS.trailing_zeros())) as usize
    }

    /// Adds a block. Returns the one that it replaces.
    #[inline]
    pub fn insert(&mut self, address: u64, block: Block) -> Option<Block> {
        let hash = hash(self.seed, address);
        let part = &mut self.parts[Self::part_of(hash)];
        part.make_room(self.seed);
        let (place, found) = part.find(hash, address);
        let old = std::mem::replace(&mut part.slots[place], Slot { address, block });
        part.used += usize::from(!found);
        found.then_some(old.block)
    }

    /// Takes a block out.
    #[inline]
    pub fn remove(&mut self, address: u64) -> Option<Block> {
        let hash = hash(self.seed, address);
        let part = &mut self.parts[Self::part_of(hash)];
        if part.used == 0 {
            return None;
        }
        let (place, found) = part.find(hash, address);
        let block = part.slots[place].block;
        found.then(|| {
            part.take_out(self.seed, place);
            block
        })
    }

    /// The block at the address.
    pub fn get_mut(&mut self, address: u64) -> Option<&mut Block> {
        let hash = hash(self.seed, address);
        let part = &mut self.parts[Self::part_of(hash)];
        if part.used == 0 {
            return None;
        }
        let (place, found) = part.find(hash, address);
        found.then(|| &mut part.slots[place].block)
    }

    /// Has the place of the address fetched from memory, and the cache line behind it, which a search
    /// often goes on to. The value means nothing.
    #[inline]
    #[must_use]
    pub fn touch(&self, address: u64) -> u32 {
        let hash = hash(self.seed, address);
        let part = &self.parts[Self::part_of(hash)];
        let home = part.home(hash);
        let fetch = |place: usize| part.slots.get(place).map_or(0, |slot| slot.block.serial);
        fetch(home) ^ fetch(home + 2)
    }

    /// All blocks, in no order.
    pub fn values(&self) -> impl Iterator<Item = &Block> {
        let slots = self.parts.iter().flat_map(|part| &part.slots);
        slots.filter(|slot| !slot.is_empty()).map(|slot| &slot.block)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn it_holds_what_a_map_holds() {
        assert_eq!(size_of::<Slot>(), 32, "what a block takes, when all is full");
        for seed in 0..200_u64 {
            let mut state = seed;
            let mut random = |bound: u64| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 33) % bound
            };
            let (mut live, mut map) = (Live::default(), HashMap::new());
            let addresses = 1 + random(600);
            for serial in 0..2_000 {
                // The ends of the address space too, and such as no allocator gives.
                let address = match random(addresses) {
                    0 => u64::MAX,
                    other => (other - 1) << (seed % 50),
                };
                let block = Block { ts: i64::MIN, bytes: random(9), site: u32::MAX, serial };
                match random(3) {
                    0 => assert_eq!(live.remove(address), map.remove(&address)),
                    1 => assert_eq!(live.get_mut(address), map.get_mut(&address)),
                    _ => assert_eq!(live.insert(address, block), map.insert(address, block)),
                }
            }
            let mut found: Vec<u32> = live.values().map(|block| block.serial).collect();
            let mut expected: Vec<u32> = map.values().map(|block| block.serial).collect();
            found.sort_unstable();
            expected.sort_unstable();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn it_is_never_half_empty() {
        let mut live = Live::default();
        for address in 0..100_000 {
            live.insert(address * 16, NOTHING.block_of(address));
            let slots: usize = live.parts.iter().map(|part| part.slots.len()).sum();
            let most = (address as usize + 1) * 3 / 2 + PARTS * 8;
            assert!(slots < most, "{slots} slots for {address}");
        }
    }

    impl Slot {
        fn block_of(self, serial: u64) -> Block {
            Block { site: 0, serial: serial as u32, ..self.block }
        }
    }
}
