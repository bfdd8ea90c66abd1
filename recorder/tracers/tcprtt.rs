//! `tcprtt`: TCP round trips. What tcprtt shows.

use lookback_schemas::TableId;

use super::object;
use crate::hooks::{Attach, Feed, Hook, Kind, Tracer};

pub const TRACER: Tracer = Tracer {
    name: "tcprtt",
    about: "smoothed round-trip times of TCP sockets",
    tables: &[TableId::Tcprtt],
    object: object!("tcprtt"),
    feeds: &[Feed {
        gives: "segments, and the owners of sockets",
        optional: false,
        hooks: &[Hook {
            kind: Kind::RawTracepoint,
            name: "raw tracepoints tcp_probe, inet_sock_set_state",
            programs: &[("on_segment", TableId::Tcprtt), ("on_state", TableId::Tcprtt)],
            attach: Attach::BySection,
        }],
    }],
};
