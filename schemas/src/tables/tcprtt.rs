//! TCP round trips. Written by `bpf/tcprtt.bpf.c`.

use crate::wire::{Comm, Ip, Maybe, Monotonic};

event! {
    /// A segment came in on an established TCP socket.
    pub struct Tcprtt = "tcprtt" {
        /// When.
        ts: Monotonic as Time,
        /// The smoothed round-trip time that the socket reckons with (RFC 6298), which the kernel
        /// keeps in eighths of a microsecond.
        srtt: i64 as Duration,
        /// For how many segments this one stands: more than 1 if samples were asked for
        /// (`--rtt-sample`).
        weight: i32 as Count,
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
        /// The owner; null where it is not known: the socket is older than the recording.
        pid: Maybe<i32> as Id,
        /// The owner's real user id; null where it is not known.
        uid: Maybe<i32> as Id,
        /// Name of the owner's thread; null where it is not known.
        comm: Comm as Name,
    }
}
