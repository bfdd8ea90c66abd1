//! Signals as the kernel generates them. Written by `bpf/signal.bpf.c` from `signal_generate`.

use crate::wire::{Comm, Flag, Maybe, Monotonic};

event! {
    /// A signal was generated for a process or thread, whoever caused it.
    pub struct Signal = "signal" {
        /// When.
        ts: Monotonic as Time,
        /// The sender: the process that was running. Null where the signal came from a timer, which
        /// interrupts whatever runs.
        pid: Maybe<i32> as Id,
        /// The sending thread; null likewise.
        tid: Maybe<i32> as Id,
        /// Real user id of the sender; null likewise.
        uid: Maybe<i32> as Id,
        /// The signal's number.
        sig: i32 as Code,
        /// `si_code`: 0 from `kill`, -6 from `tgkill`, 128 from the kernel, others by signal
        /// (`include/uapi/asm-generic/siginfo.h`).
        code: i32 as Code,
        /// The process that gets it.
        target_pid: i32 as Id,
        /// The thread that it was generated for.
        target_tid: i32 as Id,
        /// Real user id of the process that gets it.
        target_uid: i32 as Id,
        /// What became of it, as in `include/trace/events/signal.h`: 0 delivered, 1 ignored,
        /// 2 already pending, 3 queue overflow, 4 delivered without its information.
        result: i32 as Code,
        /// Whether it is for the whole process.
        group: Flag as Flag,
        /// Name of the sending thread; null as `pid`.
        comm: Comm as Name,
        /// Name of the thread that gets it.
        target_comm: Comm as Name,
    }
}
