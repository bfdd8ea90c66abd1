//! TCP connections that processes here began. Written by `bpf/tcpconnect.bpf.c`.

use crate::wire::{Comm, Ip, Maybe, Monotonic};

event! {
    /// An active open came to its end: established, or failed.
    pub struct Tcpconnect = "tcpconnect" {
        /// When the SYN was about to be sent.
        ts: Monotonic as Time,
        /// From then until the SYN-ACK came, or the attempt failed.
        latency: i64 as Duration,
        /// 0 if it was established, else a negative errno: `-ECONNREFUSED` for a RST, `-ETIMEDOUT`
        /// where nobody answered, and so on; null where the socket was closed before an answer came.
        result: Maybe<i32> as Code,
        /// The socket's family: 2 IPv4, 10 IPv6.
        family: i32 as Code,
        /// Local address.
        laddr: Ip as Ip,
        /// Local port.
        lport: i32 as Id,
        /// Remote address.
        raddr: Ip as Ip,
        /// Remote port.
        rport: i32 as Id,
        /// How often the SYN was sent again.
        retransmits: i32 as Count,
        /// The process that connected.
        pid: i32 as Id,
        /// The thread that connected.
        tid: i32 as Id,
        /// The process's real user id.
        uid: i32 as Id,
        /// Name of the thread that connected.
        comm: Comm as Name,
    }
}
