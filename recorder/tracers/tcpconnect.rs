//! `tcpconnect`: TCP connections that processes begin. What tcpconnect and tcpconnlat show.
//!
//! bcc's tools probe tcp_v4_connect, tcp_v6_connect and tcp_rcv_state_process. A socket's changes of
//! state say the same on every kernel, without kprobes, and errors too; the functions are watched only
//! for what fails before a SYN is sent.

use lookback_schemas::TableId::Tcpconnect;

use super::object;
use crate::hooks::{Attach, Feed, Hook, Kind, Tracer};

pub const TRACER: Tracer = Tracer {
    name: "tcpconnect",
    about: "TCP connections that processes begin, with latency or the reason of failure",
    tables: &[Tcpconnect],
    object: object!("tcpconnect"),
    feeds: &[
        Feed {
            gives: "connects and their answers",
            optional: false,
            hooks: &[Hook {
                kind: Kind::RawTracepoint,
                name: "raw tracepoint inet_sock_set_state",
                programs: &[("on_state", Tcpconnect)],
                attach: Attach::BySection,
            }],
        },
        Feed {
            gives: "connects that fail before a SYN is sent",
            optional: true,
            hooks: &[
                Hook {
                    kind: Kind::Fentry,
                    name: "fentry and fexit tcp_v4_connect, tcp_v6_connect",
                    programs: &[
                        ("fentry_v4", Tcpconnect),
                        ("fentry_v6", Tcpconnect),
                        ("fexit_v4", Tcpconnect),
                        ("fexit_v6", Tcpconnect),
                    ],
                    attach: Attach::BySection,
                },
                Hook {
                    kind: Kind::Kprobe,
                    name: "kprobe and kretprobe tcp_v4_connect, tcp_v6_connect",
                    programs: &[
                        ("kprobe_v4", Tcpconnect),
                        ("kprobe_v6", Tcpconnect),
                        ("kretprobe_v4", Tcpconnect),
                        ("kretprobe_v6", Tcpconnect),
                    ],
                    attach: Attach::BySection,
                },
            ],
        },
    ],
};
