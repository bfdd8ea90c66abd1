//! What each address space holds, and for whom it counts.
//!
//! A forked child begins with a copy of its parent's memory. Those are the same allocations, so they
//! count once: with the parent, as long as it lives. Then they are the child's, unless they stay in
//! the books as what the parent held when it ended.

/// What one space holds.
#[derive(Clone, Debug, Default)]
pub struct Memory<M> {
    /// The blocks, however they are found.
    pub blocks: M,
    /// When it was copied; what is older is inherited. `None` if it was not copied.
    pub born: Option<i64>,
    /// Whether inherited blocks count here.
    pub heir: bool,
    /// The spaces that were copied from it.
    children: Vec<u32>,
}

impl<M> Memory<M> {
    /// Whether a block of this age was there when the space was copied.
    #[inline]
    #[must_use]
    pub fn inherited(&self, ts: i64) -> bool {
        self.born.is_some_and(|born| ts < born)
    }

    /// Whether a block that was allocated at `ts` counts here.
    #[inline]
    #[must_use]
    pub fn counts(&self, ts: i64) -> bool {
        self.heir || !self.inherited(ts)
    }
}

/// The memory of all spaces, by number.
#[derive(Clone, Debug)]
pub struct Memories<M>(Vec<Option<Box<Memory<M>>>>);

impl<M> Default for Memories<M> {
    fn default() -> Self {
        Memories(Vec::new())
    }
}

impl<M: Clone + Default> Memories<M> {
    /// The memory of the space, if it has any.
    #[inline]
    pub fn get(&mut self, space: u32) -> Option<&mut Memory<M>> {
        self.0.get_mut(space as usize)?.as_deref_mut()
    }

    /// The memory of the space, empty if it had none.
    #[inline]
    pub fn of(&mut self, space: u32) -> &mut Memory<M> {
        self.place(space).get_or_insert_default()
    }

    fn place(&mut self, space: u32) -> &mut Option<Box<Memory<M>>> {
        let index = space as usize;
        if index >= self.0.len() {
            self.0.resize_with(index + 1, || None);
        }
        &mut self.0[index]
    }

    /// Each space that has memory.
    pub fn each(&self) -> impl Iterator<Item = (u32, &Memory<M>)> {
        let all = self.0.iter().enumerate();
        // Spaces are numbered by 32 bits.
        all.filter_map(|(space, memory)| Some((space as u32, memory.as_deref()?)))
    }

    /// The space `to` begins at `ts` as a copy of `from`. `heir` tells whether what it inherits
    /// counts there too.
    pub fn copy(&mut self, from: u32, to: u32, ts: i64, heir: bool) {
        let Some(parent) = self.get(from) else { return };
        parent.children.push(to);
        let blocks = parent.blocks.clone();
        let child = Memory { blocks, born: Some(ts), heir, children: Vec::new() };
        *self.place(to) = Some(Box::new(child));
    }

    /// The space ends: what it held.
    pub fn end(&mut self, space: u32) -> Option<Box<Memory<M>>> {
        self.0.get_mut(space as usize)?.take()
    }

    /// What the children of an ended space inherited counts there from now on. Calls `heir` with each
    /// child where that is new.
    pub fn pass_on(&mut self, ended: &Memory<M>, mut heir: impl FnMut(u32, &Memory<M>)) {
        for child in &ended.children {
            if let Some(memory) = self.get(*child)
                && !std::mem::replace(&mut memory.heir, true)
            {
                heir(*child, memory);
            }
        }
    }
}
