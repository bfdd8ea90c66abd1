//! `unlink`: names that leave a directory. What the tutorials' kprobe and fentry examples show, and
//! filelife in part.

use lookback_schemas::TableId::Unlink;

use super::object;
use crate::hooks::{Attach, Feed, Hook, Kind, Tracer};

/// The hook that probes the kernel's functions, by the kind of probes, and by the first part of the
/// functions' names.
macro_rules! functions {
    ($kind:expr, $enter:literal, $leave:literal, $prefix:literal) => {
        Hook {
            kind: $kind,
            name: concat!(
                $enter,
                " and ",
                $leave,
                " ",
                $prefix,
                "_unlinkat, ",
                $prefix,
                "_rmdir, ",
                $prefix,
                "_renameat2"
            ),
            programs: &[
                (concat!($enter, "_", $prefix, "_unlinkat"), Unlink),
                (concat!($enter, "_", $prefix, "_rmdir"), Unlink),
                (concat!($enter, "_", $prefix, "_renameat2"), Unlink),
                (concat!($leave, "_", $prefix, "_unlinkat"), Unlink),
                (concat!($leave, "_", $prefix, "_rmdir"), Unlink),
                (concat!($leave, "_", $prefix, "_renameat2"), Unlink),
                ("forget", Unlink),
            ],
            attach: Attach::BySection,
        }
    };
}

pub const TRACER: Tracer = Tracer {
    name: "unlink",
    about: "names that leave a directory: unlinked, removed, renamed",
    tables: &[Unlink],
    object: object!("unlink"),
    feeds: &[Feed {
        gives: "unlink, rmdir, rename",
        optional: false,
        hooks: &[
            functions!(Kind::Fentry, "fentry", "fexit", "do"),
            functions!(Kind::Fentry, "fentry", "fexit", "filename"),
            functions!(Kind::Kprobe, "kprobe", "kretprobe", "do"),
            functions!(Kind::Kprobe, "kprobe", "kretprobe", "filename"),
            Hook {
                kind: Kind::RawTracepoint,
                name: "raw tracepoints sys_enter, sys_exit",
                programs: &[("raw_enter", Unlink), ("raw_leave", Unlink), ("forget", Unlink)],
                attach: Attach::BySection,
            },
        ],
    }],
};
