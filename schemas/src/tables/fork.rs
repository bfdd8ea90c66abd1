//! New processes. Written by `bpf/process.bpf.c` from `sched_process_fork`; new threads of a process
//! are left out.

use crate::wire::{Comm, Maybe, Monotonic};

event! {
    /// A process was created (`fork`, `vfork`, `clone` without `CLONE_THREAD`).
    pub struct Fork = "fork" {
        /// When.
        ts: Monotonic as Time,
        /// The new process.
        pid: i32 as Id,
        /// Its parent: with `CLONE_PARENT` not the process that called.
        ppid: i32 as Id,
        /// The thread that called.
        caller_tid: i32 as Id,
        /// The new process's real user id.
        uid: i32 as Id,
        /// Its cgroup (v2); see `cgroup`.
        cgroup: Maybe<i64> as Id,
        /// Its name, still that of the thread that called.
        comm: Comm as Name,
        /// The process in whose memory it runs until it calls `exec` (`CLONE_VM`, as `vfork` and
        /// `posix_spawn`): its parent's pid; its own pid where it has a copy.
        memory_of: Maybe<i32> as Id,
        /// Its pid as it sees it itself, in its own pid namespace; unlike `pid` in a container.
        own_pid: Maybe<i32> as Id,
    }
}
