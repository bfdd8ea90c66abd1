//! Probes that the user chose. Written by `bpf/probe.bpf.c`.
//!
//! What each probe is, and what its arguments are, stands in the manifest, with the tracer `custom`.

use crate::wire::{Chars, Comm, Loc, Maybe, Monotonic, StackHash, Str};

event! {
    /// A thread came by a probe of the user's (`--probe`). A number that was asked for is in the column
    /// `argN` of its place among the arguments, and a text in `textN`; the other columns are null.
    pub struct Probe = "probe" {
        /// When.
        ts: Monotonic as Time,
        /// The probe's name: what the user called it, or the function or event it is at.
        name: Chars<64> as Name,
        /// The first argument, if it is a number. Of an unsigned one of 64 bits, its bits.
        arg0: Maybe<i64> as Count,
        /// The second.
        arg1: Maybe<i64> as Count,
        /// The third.
        arg2: Maybe<i64> as Count,
        /// The fourth.
        arg3: Maybe<i64> as Count,
        /// The fifth.
        arg4: Maybe<i64> as Count,
        /// The sixth.
        arg5: Maybe<i64> as Count,
        /// The first argument, if it is a text, up to 255 bytes and to the last whole character; null where
        /// it could not be read.
        text0: Loc<Str> as Anything,
        /// The second.
        text1: Loc<Str> as Anything,
        /// The third.
        text2: Loc<Str> as Anything,
        /// The fourth.
        text3: Loc<Str> as Anything,
        /// The fifth.
        text4: Loc<Str> as Anything,
        /// The sixth.
        text5: Loc<Str> as Anything,
        /// Where the program was, if the probe takes stacks. See `stack`.
        stack: StackHash as Id,
        /// Where the kernel was, if the probe takes stacks of the kernel.
        kernel_stack: StackHash as Id,
        /// The process.
        pid: i32 as Id,
        /// The thread.
        tid: i32 as Id,
        /// The CPU.
        cpu: i32 as Id,
        /// The process's real user id.
        uid: i32 as Id,
        /// The thread's name.
        comm: Comm as Name,
    }
}

/// Bytes of a text that are kept, and its NUL.
pub const TEXT_BYTES: usize = 256;
