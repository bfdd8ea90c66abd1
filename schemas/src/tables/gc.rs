//! Collections of garbage by the runtimes of programs. Written by `bpf/gc.bpf.c`.
//!
//! A collection of hotspot, the usual Java virtual machine, is one row for the whole, from its probes
//! `gc__begin` and `gc__end`, and one for each of its memory pools, from `mem__pool__gc__begin` and
//! `mem__pool__gc__end`, which tell how much the pool held before and after. A pool's row lies within that of
//! its collection, in the same thread; `depth` tells how deep rows lie in collections.

use crate::wire::{Chars, Comm, Maybe, Monotonic};

event! {
    /// A runtime collected garbage, or a part of it. Rows with the `part` 0 are pauses: the threads of the
    /// program that use the runtime stood still meanwhile.
    pub struct Gc = "gc" {
        /// When it began.
        ts: Monotonic as Time,
        /// How long it took; null where its end was not seen: the process ended, or the recording.
        duration: Maybe<i64> as Duration,
        /// What: 0 a whole collection, 1 a pool of memory in it, 2 marking, 3 sweeping.
        part: i32 as Code,
        /// The runtime: 0 hotspot (Java), 1 CPython, 2 Ruby.
        runtime: i32 as Code,
        /// How many other collections it lies in: such as had begun before in the same thread. So a pool of
        /// a collection has 1.
        depth: i32 as Count,
        /// Whether all of the heap was collected (1) or a part of it (0); null where the runtime does not
        /// tell. Of hotspot it is the argument of `gc__begin`.
        full: Maybe<i32> as Code,
        /// Hotspot: who collected, such as `G1 Young Generation`; null on rows of whole collections.
        manager: Chars<48> as Name,
        /// Hotspot: the pool, such as `G1 Eden Space`; null on rows of whole collections.
        pool: Chars<48> as Name,
        /// What the pool held when its row began.
        used_before: Maybe<i64> as Bytes,
        /// What the pool held when its row ended.
        used_after: Maybe<i64> as Bytes,
        /// What the system had given to the pool when its row began.
        committed_before: Maybe<i64> as Bytes,
        /// The same when its row ended.
        committed_after: Maybe<i64> as Bytes,
        /// CPython: the generation that was collected, 0 the youngest.
        generation: Maybe<i64> as Id,
        /// CPython: how many objects were freed.
        collected: Maybe<i64> as Count,
        /// The process.
        pid: i32 as Id,
        /// The thread that collected.
        tid: i32 as Id,
        /// The CPU on which it ended; of one that did not, where its thread ran last.
        cpu: i32 as Id,
        /// The process's real user id.
        uid: i32 as Id,
        /// The thread's name.
        comm: Comm as Name,
    }
}

/// What of a collection a row is about. As a number it is the column `part`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// All of it: a pause.
    Collection = 0,
    /// One pool of memory.
    Pool = 1,
    /// Finding what is in use.
    Mark = 2,
    /// Freeing what is not.
    Sweep = 3,
}

impl Part {
    /// Every part.
    pub const ALL: [Part; 4] = [Part::Collection, Part::Pool, Part::Mark, Part::Sweep];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Part::Collection => "collection",
            Part::Pool => "pool",
            Part::Mark => "mark",
            Part::Sweep => "sweep",
        }
    }

    /// The part of this number.
    #[must_use]
    pub fn from_code(code: i32) -> Option<Part> {
        Part::ALL.into_iter().find(|part| *part as i32 == code)
    }
}

/// A runtime that collects garbage. As a number it is the column `runtime`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Runtime {
    /// The Java virtual machine of OpenJDK.
    Hotspot = 0,
    /// The usual Python.
    Python = 1,
    /// The usual Ruby.
    Ruby = 2,
}

impl Runtime {
    /// Every runtime.
    pub const ALL: [Runtime; 3] = [Runtime::Hotspot, Runtime::Python, Runtime::Ruby];

    /// Its name, which is also the provider of its probes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Runtime::Hotspot => "hotspot",
            Runtime::Python => "python",
            Runtime::Ruby => "ruby",
        }
    }

    /// The runtime of this number.
    #[must_use]
    pub fn from_code(code: i32) -> Option<Runtime> {
        Runtime::ALL.into_iter().find(|runtime| *runtime as i32 == code)
    }
}
