//! `signal`: who sends which signal to whom, and what becomes of it. What sigsnoop and killsnoop show.

use lookback_schemas::TableId;

use super::object;
use crate::hooks::{Attach, Feed, Hook, Kind, Tracer};

pub const TRACER: Tracer = Tracer {
    name: "signal",
    about: "signals generated, and calls of kill, tkill and tgkill with their results",
    tables: &[TableId::Signal, TableId::Kill],
    object: object!("signal"),
    feeds: &[
        Feed {
            gives: "signals generated",
            optional: false,
            hooks: &[Hook {
                kind: Kind::RawTracepoint,
                name: "raw tracepoint signal_generate",
                programs: &[("on_signal", TableId::Signal)],
                attach: Attach::BySection,
            }],
        },
        Feed {
            gives: "calls that send signals",
            optional: false,
            hooks: &[
                Hook {
                    kind: Kind::Tracepoint,
                    name: "tracepoints sys_enter and sys_exit of kill, tkill, tgkill",
                    programs: &[
                        ("enter_kill", TableId::Kill),
                        ("enter_tkill", TableId::Kill),
                        ("enter_tgkill", TableId::Kill),
                        ("leave_kill", TableId::Kill),
                        ("leave_tkill", TableId::Kill),
                        ("leave_tgkill", TableId::Kill),
                    ],
                    attach: Attach::BySection,
                },
                Hook {
                    kind: Kind::RawTracepoint,
                    name: "raw tracepoints sys_enter, sys_exit",
                    programs: &[("enter_any", TableId::Kill), ("leave_any", TableId::Kill)],
                    attach: Attach::BySection,
                },
            ],
        },
    ],
};
