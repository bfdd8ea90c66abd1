//! `open`: files that are opened, and those that cannot be. What opensnoop shows.

use lookback_schemas::TableId::Open;

use super::object;
use crate::hooks::{Attach, Feed, Hook, Kind, Tracer};

pub const TRACER: Tracer = Tracer {
    name: "open",
    about: "files opened, and those that could not be",
    tables: &[Open],
    object: object!("open"),
    feeds: &[Feed {
        gives: "open, openat, openat2, creat",
        optional: false,
        hooks: &[
            Hook {
                kind: Kind::Fentry,
                name: "fentry and fexit do_sys_openat2",
                programs: &[("fentry_openat2", Open), ("fexit_openat2", Open), ("forget", Open)],
                attach: Attach::BySection,
            },
            Hook {
                kind: Kind::Kprobe,
                name: "kprobe and kretprobe do_sys_openat2",
                programs: &[
                    ("kprobe_openat2", Open),
                    ("kretprobe_openat2", Open),
                    ("forget", Open),
                ],
                attach: Attach::BySection,
            },
            Hook {
                kind: Kind::RawTracepoint,
                name: "raw tracepoints sys_enter, sys_exit",
                programs: &[("raw_enter", Open), ("raw_leave", Open), ("forget", Open)],
                attach: Attach::BySection,
            },
        ],
    }],
};
