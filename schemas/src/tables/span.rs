//! What lies between two probes of the user's. Written by `bpf/probe.bpf.c`.

use crate::wire::{Chars, Comm, Maybe, Monotonic};

event! {
    /// A span (`--span`): a thread came by the probe that begins it, and later it, or with a key another
    /// thread of the process, by the probe that ends it. Spans of a thread may nest: an end belongs to the
    /// last beginning. With a key it belongs to the only one that waits.
    pub struct Span = "span" {
        /// When it began.
        ts: Monotonic as Time,
        /// How long it took; null where it had not ended when the recording, or its thread, did.
        duration: Maybe<i64> as Duration,
        /// The span's name.
        name: Chars<64> as Name,
        /// What tells spans apart that are begun and ended by different threads (`key=`); null if threads do.
        key: Maybe<i64> as Id,
        /// How many spans of the same name, begun before in the same thread, it lies in.
        depth: i32 as Count,
        /// The process.
        pid: i32 as Id,
        /// The thread that began it.
        tid: i32 as Id,
        /// The thread that ended it; null if none did.
        end_tid: Maybe<i32> as Id,
        /// The name of the thread that began it.
        comm: Comm as Name,
    }
}
