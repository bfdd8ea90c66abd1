//! `runq`: waits for a CPU. What runqlat, runqslower and `perf sched` show.

use lookback_schemas::TableId;

use super::object;
use crate::hooks::{Attach, Feed, Hook, Kind, Tracer};

pub const TRACER: Tracer = Tracer {
    name: "runq",
    about: "waits of threads for a CPU, and who had it meanwhile",
    tables: &[TableId::Runq],
    object: object!("runq"),
    feeds: &[Feed {
        gives: "wakeups and switches",
        optional: false,
        hooks: &[
            Hook {
                kind: Kind::TypedTracepoint,
                name: "typed raw tracepoints sched_wakeup, sched_wakeup_new, sched_switch",
                programs: &[
                    ("typed_wakeup", TableId::Runq),
                    ("typed_wakeup_new", TableId::Runq),
                    ("typed_switch", TableId::Runq),
                    ("forget", TableId::Runq),
                ],
                attach: Attach::BySection,
            },
            Hook {
                kind: Kind::RawTracepoint,
                name: "raw tracepoints sched_wakeup, sched_wakeup_new, sched_switch",
                programs: &[
                    ("raw_wakeup", TableId::Runq),
                    ("raw_wakeup_new", TableId::Runq),
                    ("raw_switch", TableId::Runq),
                    ("forget", TableId::Runq),
                ],
                attach: Attach::BySection,
            },
        ],
    }],
};
