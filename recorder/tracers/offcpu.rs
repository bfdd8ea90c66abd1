//! `offcpu`: time that threads spend off the CPUs, with stacks and wakers. What offcputime, wakeuptime and
//! offwaketime show.

use lookback_schemas::TableId::{self, Offcpu};

use super::object;
use crate::hooks::{Attach, Feed, Hook, Kind, Tracer};

pub const TRACER: Tracer = Tracer {
    name: "offcpu",
    about: "time of threads off the CPUs: where and why they wait, and who wakes them",
    tables: &[Offcpu, TableId::Stack, TableId::Frame, TableId::Symbol],
    object: object!("offcpu"),
    feeds: &[Feed {
        gives: "switches and wakeups",
        optional: false,
        hooks: &[
            Hook {
                kind: Kind::TypedTracepoint,
                name: "typed raw tracepoints sched_switch, sched_waking, sched_wakeup_new",
                programs: &[
                    ("typed_switch", Offcpu),
                    ("typed_waking", Offcpu),
                    ("typed_new", Offcpu),
                ],
                attach: Attach::BySection,
            },
            Hook {
                kind: Kind::RawTracepoint,
                name: "raw tracepoints sched_switch, sched_waking, sched_wakeup_new",
                programs: &[("raw_switch", Offcpu), ("raw_waking", Offcpu), ("raw_new", Offcpu)],
                attach: Attach::BySection,
            },
        ],
    }],
};
