//! `readline`: lines that people gave to a shell. What bashreadline shows.

use lookback_schemas::TableId::Readline;

use super::object;
use crate::hooks::{Attach, Feed, Hook, Kind, Tracer};

pub const TRACER: Tracer = Tracer {
    name: "readline",
    about: "lines that people gave to bash, or another program with GNU readline",
    tables: &[Readline],
    object: object!("readline"),
    feeds: &[Feed {
        gives: "lines read",
        optional: false,
        hooks: &[Hook {
            kind: Kind::Uprobe,
            name: "uprobes on the returns of readline",
            programs: &[("line_read", Readline)],
            attach: Attach::Sites,
        }],
    }],
};
