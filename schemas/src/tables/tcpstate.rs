//! The lives of TCP sockets, state by state. Written by `bpf/tcpstate.bpf.c`.

use crate::wire::{Comm, Ip, Maybe, Monotonic};

event! {
    /// A TCP socket changed its state.
    ///
    /// A socket that a listener accepted changes its first states in an interrupt; its owner is then
    /// that of the listener, as far as the recorder saw it begin to listen.
    pub struct Tcpstate = "tcpstate" {
        /// When.
        ts: Monotonic as Time,
        /// How long it was in the old state; null where that began before the recording.
        in_old: Maybe<i64> as Duration,
        /// Which socket: unique while it lives.
        socket: i64 as Address,
        /// Bytes of data that were sent and acknowledged so far.
        sent: i64 as Bytes,
        /// Bytes of data that were received so far.
        received: i64 as Bytes,
        /// Segments that were sent again so far.
        retransmits: i64 as Count,
        /// The state that it left: 1 `ESTABLISHED`, 2 `SYN_SENT`, 3 `SYN_RECV`, 4 `FIN_WAIT1`,
        /// 5 `FIN_WAIT2`, 6 `TIME_WAIT`, 7 `CLOSE`, 8 `CLOSE_WAIT`, 9 `LAST_ACK`, 10 `LISTEN`,
        /// 11 `CLOSING`, 12 `NEW_SYN_RECV`.
        old: i32 as Code,
        /// The state that it is in now.
        new: i32 as Code,
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
        /// The owner; null where it is not known.
        pid: Maybe<i32> as Id,
        /// The thread that last opened, connected, shut down or closed it; null where not known.
        tid: Maybe<i32> as Id,
        /// The owner's real user id; null where not known.
        uid: Maybe<i32> as Id,
        /// Name of that thread.
        comm: Comm as Name,
    }
}
