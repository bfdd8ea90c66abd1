//! Hardware interrupts. Written by `bpf/hardirq.bpf.c`.

use crate::wire::{Chars, Flag, Monotonic};

event! {
    /// A handler of a hardware interrupt ran. A line that devices share has several.
    pub struct Hardirq = "hardirq" {
        /// When it began.
        ts: Monotonic as Time,
        /// How long it ran.
        duration: i64 as Duration,
        /// The line's number, as in `/proc/interrupts`.
        irq: i32 as Id,
        /// The CPU.
        cpu: i32 as Id,
        /// The process that it interrupted; 0 where the CPU was idle.
        pid: i32 as Id,
        /// The thread that it interrupted; 0 where the CPU was idle.
        tid: i32 as Id,
        /// The handler's name, up to 27 bytes.
        name: Chars<28> as Name,
        /// Whether the handler found its device to be the cause.
        handled: Flag as Flag,
    }
}
