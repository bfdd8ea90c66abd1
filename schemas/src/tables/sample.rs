//! Samples of what runs on the CPUs. Written by `bpf/profile.bpf.c`.

use crate::wire::{Comm, Monotonic, StackHash};

event! {
    /// A task was found running when the sampling clock ticked.
    pub struct Sample = "sample" {
        /// When.
        ts: Monotonic as Time,
        /// Its user stack; null for a kernel thread, or where it could not be read. See `stack`.
        user_stack: StackHash as Id,
        /// Its kernel stack; null where it ran in user mode. See `stack`.
        kernel_stack: StackHash as Id,
        /// What the sample stands for: nanoseconds of the sampling clock, or cycles, since the last.
        period: i64 as Count,
        /// The process.
        pid: i32 as Id,
        /// The thread.
        tid: i32 as Id,
        /// Its real user id.
        uid: i32 as Id,
        /// The CPU.
        cpu: i32 as Id,
        /// The thread's name.
        comm: Comm as Name,
    }
}
