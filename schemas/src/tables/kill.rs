//! Calls that send signals, with what they returned. Written by `bpf/signal.bpf.c`.

use crate::wire::{Comm, Maybe, Monotonic};

event! {
    /// A call of `kill`, `tkill` or `tgkill` returned.
    pub struct Kill = "kill" {
        /// When it was entered.
        ts: Monotonic as Time,
        /// How long it took.
        duration: i64 as Duration,
        /// The caller.
        pid: i32 as Id,
        /// The calling thread.
        tid: i32 as Id,
        /// The caller's real user id.
        uid: i32 as Id,
        /// Which call: 0 `kill`, 1 `tkill`, 2 `tgkill`.
        call: i32 as Code,
        /// The process as given: of `kill` also 0 (own group), -1 (all) or a group's negative id;
        /// null for `tkill`, which names a thread alone.
        target_pid: Maybe<i32> as Id,
        /// The thread as given; null for `kill`.
        target_tid: Maybe<i32> as Id,
        /// The signal's number; 0 only asks whether the target exists.
        sig: i32 as Code,
        /// What the call returned: 0, or a negative errno.
        result: i32 as Code,
        /// Name of the calling thread.
        comm: Comm as Name,
    }
}
