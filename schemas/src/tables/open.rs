//! Opened files, and those that could not be opened. Written by `bpf/open.bpf.c`.

use crate::wire::{Comm, Components, Loc, Maybe, Monotonic, Str};

event! {
    /// A call of `open`, `openat`, `openat2` or `creat` returned.
    pub struct Open = "open" {
        /// When it was entered.
        ts: Monotonic as Time,
        /// How long it took.
        duration: i64 as Duration,
        /// The new descriptor, or a negative errno.
        result: i32 as Code,
        /// The flags as given (`O_…`), without `O_LARGEFILE`; of `creat` those that it stands for.
        flags: i32 as Code,
        /// The permissions as given for a new file; null where the call makes none.
        mode: Maybe<i32> as Code,
        /// The path as given, up to 4,095 bytes; null where it could not be read.
        path: Loc<Str> as Path,
        /// The directory that a relative path begins at, as the process sees it; null for an absolute
        /// path, or where the directory is too deep to be walked.
        dir: Loc<Components> as Path,
        /// The process.
        pid: i32 as Id,
        /// The thread.
        tid: i32 as Id,
        /// The process's real user id.
        uid: i32 as Id,
        /// The thread's name.
        comm: Comm as Name,
    }
}
