//! Waits for a CPU. Written by `bpf/runq.bpf.c`.

use crate::wire::{Comm, Maybe, Monotonic};

event! {
    /// A thread that could run waited for a CPU, and got it.
    pub struct Runq = "runq" {
        /// When the wait began.
        ts: Monotonic as Time,
        /// How long it waited.
        wait: i64 as Duration,
        /// The waiter's cgroup (v2); see `cgroup`.
        cgroup: Maybe<i64> as Id,
        /// The waiter's pid namespace: the inode number of `/proc/PID/ns/pid`.
        pid_ns: Maybe<i64> as Id,
        /// Why it waited: 0 it was woken, 1 it was preempted or gave up the CPU while it could run,
        /// 2 it was new.
        cause: i32 as Code,
        /// The process that waited.
        pid: i32 as Id,
        /// The thread that waited.
        tid: i32 as Id,
        /// Its process's real user id.
        uid: i32 as Id,
        /// Its priority: below 100 real-time, 120 the usual one, 100 to 139 by niceness.
        prio: i32 as Code,
        /// The CPU that it got.
        cpu: i32 as Id,
        /// The process that had that CPU before; 0 where it was idle.
        prev_pid: i32 as Id,
        /// The thread that had that CPU before; 0 where it was idle.
        prev_tid: i32 as Id,
        /// Name of the thread that waited.
        comm: Comm as Name,
        /// Name of the thread that had the CPU before.
        prev_comm: Comm as Name,
    }
}
