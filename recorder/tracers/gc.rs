//! `gc`: collections of garbage by Java, Python and Ruby. What javagc shows.

use lookback_schemas::TableId::Gc;

use super::object;
use crate::hooks::{Attach, Feed, Hook, Kind, Tracer};

pub const TRACER: Tracer = Tracer {
    name: "gc",
    about: "collections of garbage by Java, Python and Ruby: pauses, pools",
    tables: &[Gc],
    object: object!("gc"),
    feeds: &[
        Feed {
            gives: "ends of threads",
            optional: false,
            hooks: &[Hook {
                kind: Kind::RawTracepoint,
                name: "raw tracepoint sched_process_exit",
                programs: &[("thread_ended", Gc)],
                attach: Attach::BySection,
            }],
        },
        Feed {
            gives: "collections begun and ended",
            optional: false,
            hooks: &[Hook {
                kind: Kind::Uprobe,
                name: "USDT probes of the runtimes",
                programs: &[("begun", Gc), ("ended", Gc)],
                attach: Attach::Sites,
            }],
        },
    ],
};
