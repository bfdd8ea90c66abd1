//! Lines that people gave to a shell. Written by `bpf/readline.bpf.c`.

use crate::wire::{Comm, Flag, Loc, Monotonic, Str};

event! {
    /// bash, or another program with GNU readline, has read a line from its terminal.
    pub struct Readline = "readline" {
        /// When it was read.
        ts: Monotonic as Time,
        /// The line, without its end; null where it could not be read. Of a line of more than 16,383 bytes
        /// what comes before, up to the last whole character.
        line: Loc<Str> as Line,
        /// Whether the line was longer.
        cut: Flag as Flag,
        /// The process.
        pid: i32 as Id,
        /// The process's real user id.
        uid: i32 as Id,
        /// The thread's name.
        comm: Comm as Name,
    }
}

/// Bytes of a line that are kept, and its NUL.
pub const LINE_BYTES: usize = 16 << 10;
