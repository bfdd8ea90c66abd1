//! Decisions on connections. Written by `bpf/lsmconnect.bpf.c`.

use crate::wire::{Comm, Flag, Ip, Maybe, Monotonic};

event! {
    /// The security modules were asked whether a process may connect a socket (the LSM hook
    /// `socket_connect`), before anything was sent.
    pub struct Lsmconnect = "lsmconnect" {
        /// When.
        ts: Monotonic as Time,
        /// The verdict as far as it is known here: 0 allowed, or a negative errno. A module that is
        /// asked later may still refuse.
        verdict: i32 as Code,
        /// Whether the recorder refused (`--deny-connect`).
        denied: Flag as Flag,
        /// The address's family: 1 Unix, 2 IPv4, 10 IPv6, …
        family: i32 as Code,
        /// The socket's type: 1 stream, 2 datagram, 3 raw, …
        kind: i32 as Code,
        /// The address; null for other families than IPv4 and IPv6.
        addr: Ip as Ip,
        /// The port; null for other families than IPv4 and IPv6.
        port: Maybe<i32> as Id,
        /// The process.
        pid: i32 as Id,
        /// The thread.
        tid: i32 as Id,
        /// The process's real user id.
        uid: i32 as Id,
        /// The thread's name.
        comm: Comm as Name,
    }
}
