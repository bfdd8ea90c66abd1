//! Memory that the kernel allocates for itself. Written by `bpf/kalloc.bpf.c`.

use crate::wire::{Chars, Comm, Flag, Maybe, Monotonic, StackHash};

event! {
    /// The kernel allocated or freed memory: an object of a slab, pages, or memory of each CPU.
    ///
    /// The three are separate worlds: slabs are made of pages, so their bytes must not be added.
    pub struct Kalloc = "kalloc" {
        /// When.
        ts: Monotonic as Time,
        /// The memory's address. Of pages it stands for their number: consecutive pages are 4,096
        /// apart (or what a page is), and no other use may be made of it.
        address: i64 as Address,
        /// What was taken or, of pages, given back; null where a free does not tell.
        bytes: Maybe<i64> as Bytes,
        /// What was asked for; null for frees and pages.
        requested: Maybe<i64> as Bytes,
        /// Where in the kernel it was allocated; null for frees. See `stack`.
        stack: StackHash as Id,
        /// Of which world: 0 slab, 1 pages, 2 percpu.
        kind: i32 as Code,
        /// Whether it was freed.
        free: Flag as Flag,
        /// The process on whose time it happened; a free is often on another's, or in an interrupt.
        pid: i32 as Id,
        /// The thread.
        tid: i32 as Id,
        /// The process's real user id.
        uid: i32 as Id,
        /// The CPU.
        cpu: i32 as Id,
        /// The thread's name.
        comm: Comm as Name,
        /// The slab cache, where the kernel tells it: of `kmem_cache_alloc` since 6.1.
        cache: Chars<24> as Name,
    }
}
