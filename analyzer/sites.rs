//! Where memory was allocated, and what that adds up to.
//!
//! Blocks are many and where they come from is little: a [`Site`] is a call stack, with the thread
//! where that matters. A block carries the number of its site, and sums are kept by that number. The
//! process is told by the address space that a block is in, since a forked child's blocks have the
//! sites of its parent.

use ahash::HashMap;

/// What blocks of a site have in common. What was not asked for is the same in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Site {
    /// The number of the call stack; 0 where it was lost.
    pub stack: i64,
    /// The thread that allocated.
    pub tid: i32,
    /// How many allocations one block stands for, in [`SHARES`]ths: more than one where only some
    /// were recorded.
    pub shares: u32,
}

/// What one allocation is in [`Site::shares`].
pub const SHARES: u32 = 1024;

/// The site of a block that the report is not about. It is replayed all the same: what is allocated
/// on top of it, and what frees it, is no gap.
pub const UNWANTED: u32 = u32::MAX;

/// All sites, numbered as they are met.
#[derive(Clone, Debug)]
pub struct Sites {
    all: Vec<Site>,
    numbers: HashMap<Site, u32>,
    /// Sites that were asked for lately, each where its stack says: few are hot.
    hot: Box<[(Site, u32)]>,
}

const HOT: usize = 4096;
/// The number of a hot place that is empty.
const NONE: u32 = u32::MAX;

impl Default for Sites {
    fn default() -> Self {
        let hot = vec![(Site::default(), NONE); HOT].into();
        Sites { all: Vec::new(), numbers: HashMap::default(), hot }
    }
}

impl Sites {
    /// The number of the site.
    #[inline]
    pub fn number(&mut self, site: Site) -> u32 {
        // Any bits will do.
        let hot = (site.stack as usize ^ (site.tid as usize).wrapping_mul(31)) % HOT;
        let (known, number) = self.hot[hot];
        if known == site && number != NONE {
            return number;
        }
        let next = u32::try_from(self.all.len()).expect("sites fill the memory before");
        let number = *self.numbers.entry(site).or_insert_with(|| {
            self.all.push(site);
            next
        });
        self.hot[hot] = (site, number);
        number
    }

    /// The site of this number.
    #[must_use]
    pub fn site(&self, number: u32) -> Site {
        self.all[number as usize]
    }
}

/// So many bytes in so many blocks; or the difference of two such sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Bytes.
    pub bytes: i64,
    /// Blocks, or allocations.
    pub count: i64,
}

impl Sum {
    /// Adds a block; `counts` is false of all but one of its pieces.
    pub fn add(&mut self, bytes: u64, counts: bool) {
        self.merge(Sum { bytes: signed(bytes), count: i64::from(counts) });
    }

    /// Takes a block out.
    pub fn remove(&mut self, bytes: u64) {
        *self = self.less(Sum { bytes: signed(bytes), count: 1 });
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: Sum) {
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.count = self.count.saturating_add(other.count);
    }

    /// How much more it is than `other`.
    #[must_use]
    pub fn less(self, other: Sum) -> Sum {
        Sum {
            bytes: self.bytes.saturating_sub(other.bytes),
            count: self.count.saturating_sub(other.count),
        }
    }
}

/// A size as sums have it: no memory has more than 63 bits.
#[must_use]
pub fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// What happened at a site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// What is live.
    pub live: Sum,
    /// What was allocated so far.
    pub allocated: Sum,
    /// What was freed so far.
    pub freed: Sum,
    /// What of that was temporary.
    pub temporary: Sum,
    /// What was live when its process ended.
    pub ended: Sum,
}

impl Tally {
    fn merge(&mut self, other: &Tally) {
        self.live.merge(other.live);
        self.allocated.merge(other.allocated);
        self.freed.merge(other.freed);
        self.temporary.merge(other.temporary);
        self.ended.merge(other.ended);
    }
}

/// Tallies by site, or by address space and site.
#[derive(Clone, Debug)]
pub struct Tallies {
    /// By site.
    flat: Vec<Tally>,
    /// By space and site, where spaces are told apart.
    keyed: Option<HashMap<(u32, u32), Tally>>,
}

impl Tallies {
    /// `by_space` tells spaces apart.
    #[must_use]
    pub fn new(by_space: bool) -> Tallies {
        Tallies { flat: Vec::new(), keyed: by_space.then(HashMap::default) }
    }

    /// The tally of a site in a space.
    #[inline]
    pub fn of(&mut self, space: u32, site: u32) -> &mut Tally {
        if let Some(keyed) = &mut self.keyed {
            return keyed.entry((space, site)).or_default();
        }
        let index = site as usize;
        if index >= self.flat.len() {
            self.flat.resize(index + 1, Tally::default());
        }
        &mut self.flat[index]
    }

    /// Adds those of another part of the memory.
    pub fn merge(&mut self, other: &Tallies) {
        other.each().for_each(|(space, site, tally)| self.of(space, site).merge(tally));
    }

    /// Each with its space and site; the space is 0 where spaces are not told apart.
    pub fn each(&self) -> impl Iterator<Item = (u32, u32, &Tally)> {
        let flat = self.flat.iter().enumerate();
        // No more than there are sites, which are numbered by 32 bits.
        let flat = flat.map(|(site, tally)| (0, site as u32, tally));
        let keyed = self.keyed.iter().flatten();
        flat.chain(keyed.map(|((space, site), tally)| (*space, *site, tally)))
    }

    /// Only what is live is forgotten.
    pub fn clear_live(&mut self) {
        self.flat.iter_mut().for_each(|tally| tally.live = Sum::default());
        let keyed = self.keyed.iter_mut().flat_map(HashMap::values_mut);
        keyed.for_each(|tally| tally.live = Sum::default());
    }
}
