//! `softirq`: soft interrupts. What softirqs shows.

use lookback_schemas::TableId;

use super::object;
use crate::hooks::{Attach, Feed, Hook, Kind, Tracer};

pub const TRACER: Tracer = Tracer {
    name: "softirq",
    about: "soft interrupts, and whom they interrupted",
    tables: &[TableId::Softirq],
    object: object!("softirq"),
    feeds: &[Feed {
        gives: "vectors that are served",
        optional: false,
        hooks: &[Hook {
            kind: Kind::RawTracepoint,
            name: "raw tracepoints softirq_entry, softirq_exit",
            programs: &[("on_entry", TableId::Softirq), ("on_exit", TableId::Softirq)],
            attach: Attach::BySection,
        }],
    }],
};
