//! `alloc`: memory that programs allocate from their heaps, with stacks. What memleak shows of a process.

use lookback_schemas::TableId::{self, Alloc};

use super::object;
use crate::allocators;
use crate::hooks::{Attach, Feed, Hook, Kind, Tracer};

pub const TRACER: Tracer = Tracer {
    name: "alloc",
    about: "memory that programs allocate and free, with stacks",
    tables: &[Alloc, TableId::Stack, TableId::Frame, TableId::Symbol],
    object: object!("alloc"),
    feeds: &[
        Feed {
            gives: "ends of threads, programs and libraries that are loaded later",
            optional: false,
            hooks: &[Hook {
                kind: Kind::RawTracepoint,
                name: "raw tracepoints sched_process_exit, sched_process_exec",
                programs: &[("forget_thread", Alloc), ("program_changed", Alloc)],
                attach: Attach::BySection,
            }],
        },
        Feed {
            gives: "calls of allocators",
            optional: false,
            hooks: &[
                Hook {
                    kind: Kind::UprobeSession,
                    name: "uprobe sessions",
                    programs: &[
                        ("session", Alloc),
                        ("session_free", Alloc),
                        ("session_wrapper", Alloc),
                        ("linker", Alloc),
                    ],
                    attach: Attach::Allocators {
                        hook: allocators::Hook::Session,
                        object: object!("alloc_session"),
                    },
                },
                Hook {
                    kind: Kind::Uprobe,
                    name: "uprobes and uretprobes",
                    programs: &[
                        ("enter_malloc", Alloc),
                        ("enter_calloc", Alloc),
                        ("enter_realloc", Alloc),
                        ("enter_reallocarray", Alloc),
                        ("enter_posix_memalign", Alloc),
                        ("enter_aligned_alloc", Alloc),
                        ("enter_memalign", Alloc),
                        ("enter_valloc", Alloc),
                        ("enter_pvalloc", Alloc),
                        ("enter_strdup", Alloc),
                        ("enter_new", Alloc),
                        ("enter_free", Alloc),
                        ("enter_delete", Alloc),
                        ("leave_any", Alloc),
                        ("wrapper", Alloc),
                        ("linker", Alloc),
                    ],
                    attach: Attach::Allocators {
                        hook: allocators::Hook::Single,
                        object: object!("alloc"),
                    },
                },
            ],
        },
    ],
};
