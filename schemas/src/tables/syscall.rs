//! System calls, each with its result. Written by `bpf/syscall.bpf.c`.

use crate::wire::{Comm, Flag, Loc, Maybe, Monotonic, Words};

event! {
    /// A system call: it returned, or its thread ended in it.
    pub struct Syscall = "syscall" {
        /// When it was entered.
        ts: Monotonic as Time,
        /// How long it took; null where it did not return: `exit`, or its thread was killed in it.
        duration: Maybe<i64> as Duration,
        /// What it returned, a negative errno if it failed; null where it did not return. From -516 to
        /// -512 a signal interrupted it, and the kernel will make it again or have it fail with
        /// `EINTR`; where that signal kills the thread, neither happens.
        result: Maybe<i64> as Code,
        /// Its number, on the recording host's architecture.
        number: i32 as Code,
        /// The process.
        pid: i32 as Id,
        /// The thread.
        tid: i32 as Id,
        /// The process's real user id.
        uid: i32 as Id,
        /// The thread's name.
        comm: Comm as Name,
        /// Its arguments, six of them whether it takes them or not; null unless asked for
        /// (`--syscall-args`).
        args: Loc<Words> as Address,
        /// Whether a 32-bit program made it: the number is then of the 32-bit architecture.
        compat: Flag as Flag,
    }
}
