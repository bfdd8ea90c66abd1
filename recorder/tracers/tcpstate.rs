//! `tcpstate`: TCP sockets from state to state. What tcpstates and tcplife show.

use lookback_schemas::TableId;

use super::object;
use crate::hooks::{Attach, Feed, Hook, Kind, Tracer};

pub const TRACER: Tracer = Tracer {
    name: "tcpstate",
    about: "TCP sockets that change their state, with owner and bytes",
    tables: &[TableId::Tcpstate],
    object: object!("tcpstate"),
    feeds: &[Feed {
        gives: "changes of state",
        optional: false,
        hooks: &[Hook {
            kind: Kind::RawTracepoint,
            name: "raw tracepoint inet_sock_set_state",
            programs: &[("on_state", TableId::Tcpstate)],
            attach: Attach::BySection,
        }],
    }],
};
