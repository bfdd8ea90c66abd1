//! `hardirq`: handlers of hardware interrupts. What hardirqs shows.

use lookback_schemas::TableId;

use super::object;
use crate::hooks::{Attach, Feed, Hook, Kind, Tracer};

pub const TRACER: Tracer = Tracer {
    name: "hardirq",
    about: "handlers of hardware interrupts, and whom they interrupted",
    tables: &[TableId::Hardirq],
    object: object!("hardirq"),
    feeds: &[Feed {
        gives: "handlers that run",
        optional: false,
        hooks: &[Hook {
            kind: Kind::RawTracepoint,
            name: "raw tracepoints irq_handler_entry, irq_handler_exit",
            programs: &[("on_entry", TableId::Hardirq), ("on_exit", TableId::Hardirq)],
            attach: Attach::BySection,
        }],
    }],
};
