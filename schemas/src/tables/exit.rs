//! Ended processes and what they used. Written by `bpf/process.bpf.c` from `sched_process_exit`.

use crate::wire::{Comm, Flag, Maybe, Monotonic};

event! {
    /// A process ended: its last thread exited. With `--thread-exits` also each other thread.
    ///
    /// Of a process, times, faults and memory are those of all its threads, as `wait4` reports them;
    /// of a single thread, its own.
    pub struct Exit = "exit" {
        /// When.
        ts: Monotonic as Time,
        /// When the process (or thread) began.
        start: Monotonic as Time,
        /// How long it lived.
        duration: i64 as Duration,
        /// CPU time in user mode. The kernel counts it in ticks and scales it to the exact run time,
        /// as `getrusage` does.
        user: i64 as Duration,
        /// CPU time in kernel mode, likewise.
        system: i64 as Duration,
        /// Largest resident set over the life of the process.
        max_rss: Maybe<i64> as Bytes,
        /// Page faults served without I/O.
        minor_faults: i64 as Count,
        /// Page faults that needed I/O.
        major_faults: i64 as Count,
        /// Its cgroup (v2); see `cgroup`.
        cgroup: Maybe<i64> as Id,
        /// Its name.
        comm: Comm as Name,
        /// The process.
        pid: i32 as Id,
        /// The thread that exited last (or this thread).
        tid: i32 as Id,
        /// The parent at the end: the original one may have ended before.
        ppid: i32 as Id,
        /// Its real user id.
        uid: i32 as Id,
        /// Exit code; null where a signal ended it.
        code: Maybe<i32> as Code,
        /// The signal that ended it; null where it exited by itself.
        signal: Maybe<i32> as Code,
        /// Whether a core was dumped.
        core: Flag as Flag,
        /// Whether the process ended with this row; false for the exit of one thread among others.
        process_ended: Flag as Flag,
    }
}
