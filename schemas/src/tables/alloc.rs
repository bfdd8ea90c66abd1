//! Memory that programs allocate from their heaps. Written by `bpf/alloc.bpf.c`.
//!
//! An allocator calls itself: `realloc(NULL, n)` is a `malloc`, and a large `malloc` maps memory. Only
//! the outermost call is a row, since that is what the program asked for.

use crate::wire::{Maybe, Monotonic, StackHash};

event! {
    /// A program called its allocator: memory was allocated, moved, freed, or refused.
    ///
    /// A block is live from the row that has it as `address` to the row of the same process that frees
    /// it, or has it as `old` and did not fail. An address means something within one address space only:
    /// a forked child begins with a copy of its parent's blocks (`fork`), and `exec` and `exit` end all.
    pub struct Alloc = "alloc" {
        /// When: an allocation, when the allocator returned; a free, when it was entered. So a free is
        /// always older than the next allocation of its address, on any CPU.
        ts: Monotonic as Time,
        /// How long `realloc` took: within that time before `ts` the old block was freed. Null for the
        /// other functions.
        duration: Maybe<i64> as Duration,
        /// The block that was allocated or freed; null where the call failed, and of a `realloc` that
        /// only freed.
        address: Maybe<i64> as Address,
        /// The block that `realloc` was given; null where that was none, and for the other functions.
        old: Maybe<i64> as Address,
        /// What was asked for, of `calloc` and `reallocarray` the product; null for frees, and where
        /// the product does not fit 64 bits.
        bytes: Maybe<i64> as Bytes,
        /// How many bytes the allocation stands for where only some were recorded (`--alloc-sample`):
        /// it stands for `stands_for / bytes` allocations like it. Null where it stands for itself.
        stands_for: Maybe<i64> as Bytes,
        /// Who called; null for frees, and unless stacks were recorded. See `stack`.
        stack: StackHash as Id,
        /// The function that was called: see `codes`.
        function: i32 as Code,
        /// The process.
        pid: i32 as Id,
        /// The thread.
        tid: i32 as Id,
        /// The CPU.
        cpu: i32 as Id,
    }
}

/// A function of an allocator, by what it does with its arguments. As a number it is the column
/// `function`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Function {
    /// `malloc(size)`.
    Malloc = 0,
    /// `calloc(count, size)`.
    Calloc = 1,
    /// `realloc(old, size)`.
    Realloc = 2,
    /// `reallocarray(old, count, size)`.
    Reallocarray = 3,
    /// `posix_memalign(&block, alignment, size)`.
    PosixMemalign = 4,
    /// `aligned_alloc(alignment, size)`; `memalign` is often the same code.
    AlignedAlloc = 5,
    /// `memalign(alignment, size)`.
    Memalign = 6,
    /// `valloc(size)`.
    Valloc = 7,
    /// `pvalloc(size)`.
    Pvalloc = 8,
    /// `strdup(text)` and `strndup(text, size)`: what they take is known from the `malloc` in them.
    Strdup = 9,
    /// `operator new` in its forms, where the allocator has its own.
    New = 10,
    /// `free(block)`, `free_sized`, `free_aligned_sized`, `cfree`.
    Free = 11,
    /// `operator delete` in its forms, where the allocator has its own.
    Delete = 12,
}

impl Function {
    /// Every function.
    pub const ALL: [Function; 13] = [
        Function::Malloc,
        Function::Calloc,
        Function::Realloc,
        Function::Reallocarray,
        Function::PosixMemalign,
        Function::AlignedAlloc,
        Function::Memalign,
        Function::Valloc,
        Function::Pvalloc,
        Function::Strdup,
        Function::New,
        Function::Free,
        Function::Delete,
    ];

    /// Its name in C, or in C++.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Function::Malloc => "malloc",
            Function::Calloc => "calloc",
            Function::Realloc => "realloc",
            Function::Reallocarray => "reallocarray",
            Function::PosixMemalign => "posix_memalign",
            Function::AlignedAlloc => "aligned_alloc",
            Function::Memalign => "memalign",
            Function::Valloc => "valloc",
            Function::Pvalloc => "pvalloc",
            Function::Strdup => "strdup",
            Function::New => "new",
            Function::Free => "free",
            Function::Delete => "delete",
        }
    }

    /// The function of this number.
    #[must_use]
    pub fn from_code(code: i32) -> Option<Function> {
        Function::ALL.into_iter().find(|function| *function as i32 == code)
    }

    /// Whether it frees and nothing else.
    #[must_use]
    pub fn frees(self) -> bool {
        matches!(self, Function::Free | Function::Delete)
    }
}
