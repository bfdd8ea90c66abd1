//! `vm`: memory that programs map and unmap, by their system calls.

use lookback_schemas::TableId::{self, Vm};

use super::object;
use crate::hooks::{Attach, Feed, Hook, Kind, Tracer};

pub const TRACER: Tracer = Tracer {
    name: "vm",
    about: "memory that programs map and unmap, with stacks",
    tables: &[Vm, TableId::Stack, TableId::Frame, TableId::Symbol],
    object: object!("vm"),
    feeds: &[Feed {
        gives: "mmap, munmap, mremap, brk",
        optional: false,
        hooks: &[Hook {
            kind: Kind::RawTracepoint,
            name: "raw tracepoints sys_enter, sys_exit",
            programs: &[("on_enter", Vm), ("on_leave", Vm), ("forget_thread", Vm)],
            attach: Attach::BySection,
        }],
    }],
};
