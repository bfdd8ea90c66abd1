//! `lsmconnect`: decisions on connects, and refusals. What libbpf-tools' lsm example shows.

use lookback_schemas::TableId;

use super::object;
use crate::hooks::{Attach, Feed, Hook, Kind, Tracer};

pub const TRACER: Tracer = Tracer {
    name: "lsmconnect",
    about: "decisions of the security modules on connects; --deny-connect refuses some",
    tables: &[TableId::Lsmconnect],
    object: object!("lsmconnect"),
    feeds: &[Feed {
        gives: "decisions on connects",
        optional: false,
        hooks: &[Hook {
            kind: Kind::Lsm,
            name: "LSM hook socket_connect",
            programs: &[("on_connect", TableId::Lsmconnect)],
            attach: Attach::BySection,
        }],
    }],
};
