//! `process`: the lives of processes. What execsnoop, exitsnoop and libbpf-bootstrap's example show.

use lookback_schemas::TableId;

use super::object;
use crate::hooks::{Attach, Feed, Hook, Kind, Tracer};

pub const TRACER: Tracer = Tracer {
    name: "process",
    about: "processes that fork, exec and exit, and the cgroups made for them",
    tables: &[TableId::Fork, TableId::Exec, TableId::Exit, TableId::Cgroup],
    object: object!("process"),
    feeds: &[
        Feed {
            gives: "fork, exec and exit",
            optional: false,
            hooks: &[Hook {
                kind: Kind::RawTracepoint,
                name: "raw tracepoints sched_process_fork, _exec, _exit",
                programs: &[
                    ("on_fork", TableId::Fork),
                    ("on_exec", TableId::Exec),
                    ("on_exit", TableId::Exit),
                ],
                attach: Attach::BySection,
            }],
        },
        Feed {
            gives: "new cgroups",
            optional: false,
            hooks: &[Hook {
                kind: Kind::RawTracepoint,
                name: "raw tracepoint cgroup_mkdir",
                programs: &[("on_cgroup_mkdir", TableId::Cgroup)],
                attach: Attach::BySection,
            }],
        },
    ],
};
