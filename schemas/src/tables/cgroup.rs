//! Names of control groups. Those that exist at the start come from `/sys/fs/cgroup`, later ones
//! from the tracepoint `cgroup_mkdir` in `bpf/process.bpf.c`.

use crate::wire::{Loc, Maybe, Monotonic, Str};

event! {
    /// A control group (v2) that existed at the start or was created later.
    pub struct Cgroup = "cgroup" {
        /// When it was seen.
        ts: Monotonic as Time,
        /// Its id: the inode number of its directory.
        id: i64 as Id,
        /// Its path below the root of the hierarchy.
        path: Loc<Str> as Path,
        /// The process that created it; null for one that existed at the start.
        pid: Maybe<i32> as Id,
    }
}
