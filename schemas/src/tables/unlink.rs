//! Names that leave a directory: unlinked, removed, renamed. Written by `bpf/unlink.bpf.c`.

use crate::wire::{Comm, Components, Loc, Monotonic, Str};

event! {
    /// A call of `unlink`, `unlinkat`, `rmdir`, `rename`, `renameat` or `renameat2` returned.
    pub struct Unlink = "unlink" {
        /// When it was entered.
        ts: Monotonic as Time,
        /// How long it took.
        duration: i64 as Duration,
        /// What it did: 0 unlinked, 1 removed a directory, 2 renamed.
        call: i32 as Code,
        /// 0, or a negative errno.
        result: i32 as Code,
        /// The flags as given to `renameat2`; 0 for other calls.
        flags: i32 as Code,
        /// The path as given, up to 4,095 bytes; null where it could not be read.
        path: Loc<Str> as Path,
        /// The directory that a relative path begins at, as the process sees it; null for an absolute
        /// path, or where the directory is too deep to be walked.
        dir: Loc<Components> as Path,
        /// The new path as given; null unless renamed.
        new_path: Loc<Str> as Path,
        /// As `dir`, of the new path.
        new_dir: Loc<Components> as Path,
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
