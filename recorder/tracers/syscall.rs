//! `syscall`: system calls with their durations and results. What syscount and strace show.

use lookback_schemas::TableId;

use super::object;
use crate::hooks::{Attach, Feed, Hook, Kind, Tracer};

pub const TRACER: Tracer = Tracer {
    name: "syscall",
    about: "system calls, those of --syscall or all, with their durations and results",
    tables: &[TableId::Syscall],
    object: object!("syscall"),
    feeds: &[Feed {
        gives: "calls with their results",
        optional: false,
        hooks: &[Hook {
            kind: Kind::RawTracepoint,
            name: "raw tracepoints sys_enter, sys_exit, sched_process_exec, _exit",
            programs: &[
                ("on_enter", TableId::Syscall),
                ("on_leave", TableId::Syscall),
                ("on_exec", TableId::Syscall),
                ("on_exit", TableId::Syscall),
            ],
            attach: Attach::BySection,
        }],
    }],
};
