//! `custom`: probes of the user's.

use lookback_schemas::TableId::{self, Probe, Span};

use super::object;
use crate::hooks::{Attach, Feed, Hook, Kind, Tracer};

pub const TRACER: Tracer = Tracer {
    name: "custom",
    about: "probes and spans of your own (--probe, --span)",
    tables: &[Probe, Span, TableId::Stack, TableId::Frame, TableId::Symbol],
    object: object!("probe"),
    feeds: &[
        Feed {
            gives: "ends of threads",
            optional: false,
            hooks: &[Hook {
                kind: Kind::RawTracepoint,
                name: "raw tracepoint sched_process_exit",
                programs: &[("thread_ended", Span)],
                attach: Attach::BySection,
            }],
        },
        Feed {
            gives: "probes",
            optional: false,
            hooks: &[Hook {
                kind: Kind::Uprobe,
                name: "a program for each place",
                programs: &[("by_registers", Probe)],
                attach: Attach::Sites,
            }],
        },
    ],
};
