//! Processes that replaced their image. Written by `bpf/process.bpf.c` from `sched_process_exec`,
//! which fires only for calls that succeeded.

use crate::wire::{Comm, Components, Loc, Maybe, Monotonic, Str, Strs};

event! {
    /// A process replaced its image (`execve` and its relatives, successful calls only).
    pub struct Exec = "exec" {
        /// When.
        ts: Monotonic as Time,
        /// The process.
        pid: i32 as Id,
        /// Its parent.
        ppid: i32 as Id,
        /// The thread that called exec. It carries the process's id from here on, and its own is gone.
        caller_tid: i32 as Id,
        /// Its real user id.
        uid: i32 as Id,
        /// Its cgroup (v2); see `cgroup`.
        cgroup: Maybe<i64> as Id,
        /// Its name after the exec.
        comm: Comm as Name,
        /// The file as the caller named it.
        filename: Loc<Str> as Path,
        /// Its working directory as seen from its own root; null where the path is longer than 512
        /// bytes or 24 components.
        cwd: Loc<Components> as Path,
        /// Its arguments, the first 4,096 bytes of them.
        argv: Loc<Strs> as Argv,
        /// Length of all its arguments in bytes, NULs included. Where `argv` holds less, it was cut
        /// at 4,096 bytes.
        argv_bytes: Maybe<i32> as Bytes,
    }
}
