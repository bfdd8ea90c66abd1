//! Memory that programs map. Written by `bpf/vm.bpf.c` from the system calls, so that it is the same
//! for every language and every allocator, and static programs too.

use crate::wire::{Maybe, Monotonic, StackHash};

event! {
    /// A process changed what it has mapped: `mmap`, `munmap`, `mremap`, `brk`.
    ///
    /// Heaps are made of it: its bytes must not be added to those of `alloc`.
    pub struct Vm = "vm" {
        /// When the call returned; of `munmap` when it was entered, so that it is older than what is
        /// mapped there next.
        ts: Monotonic as Time,
        /// How long the call took.
        duration: i64 as Duration,
        /// Where: what was mapped, unmapped, or moved to; of `brk` the new end of the heap. Null where
        /// the call failed.
        address: Maybe<i64> as Address,
        /// How much, in whole pages; null for `brk`.
        bytes: Maybe<i64> as Bytes,
        /// Of `mremap`, where it was; of `brk`, the end of the heap before.
        old: Maybe<i64> as Address,
        /// Of `mremap`, how much it was, in whole pages.
        old_bytes: Maybe<i64> as Bytes,
        /// Who called. See `stack`.
        stack: StackHash as Id,
        /// Which call: 0 `mmap`, 1 `munmap`, 2 `mremap`, 3 `brk`.
        call: i32 as Code,
        /// The flags of `mmap` and `mremap` (`MAP_…`, `MREMAP_…`).
        flags: Maybe<i32> as Code,
        /// The protection of `mmap` (`PROT_…`).
        protection: Maybe<i32> as Code,
        /// The file that `mmap` maps; null for memory without a file.
        fd: Maybe<i32> as Id,
        /// Why the call failed; null where it did not. `brk` fails without an error: the end of the heap
        /// stays what it was.
        error: Maybe<i32> as Code,
        /// The process.
        pid: i32 as Id,
        /// The thread.
        tid: i32 as Id,
        /// The CPU.
        cpu: i32 as Id,
    }
}

/// A system call that changes the address space. As a number it is the column `call`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// `mmap`.
    Mmap = 0,
    /// `munmap`.
    Munmap = 1,
    /// `mremap`.
    Mremap = 2,
    /// `brk`.
    Brk = 3,
}

impl Call {
    /// Every call.
    pub const ALL: [Call; 4] = [Call::Mmap, Call::Munmap, Call::Mremap, Call::Brk];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Call::Mmap => "mmap",
            Call::Munmap => "munmap",
            Call::Mremap => "mremap",
            Call::Brk => "brk",
        }
    }

    /// The call of this number.
    #[must_use]
    pub fn from_code(code: i32) -> Option<Call> {
        Call::ALL.into_iter().find(|call| *call as i32 == code)
    }
}
