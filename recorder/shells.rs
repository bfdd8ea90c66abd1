//! Shells that read lines with GNU readline: bash has it built in, others load the library.

use std::path::PathBuf;

use anyhow::Result;
use lookback_schemas::manifest;
use lookback_schemas::wire;

use crate::finder::Search;
use crate::probes::files::CodeFile;
use crate::probes::{elf, placement};
use crate::sites::{At, Site};

/// What the tracer `readline` looks for.
pub const SEARCH: Search = Search {
    tracer: "readline",
    what: "function `readline`, neither of bash nor of libreadline",
    sites,
    may_have,
    near: |_| None,
    usual,
};

/// The function that gives a line.
const FUNCTION: &str = "readline";

fn may_have(name: &str) -> bool {
    name == "bash" || name == "rbash" || name.starts_with("libreadline.so")
}

/// The shell that users have, whether it runs or not.
fn usual() -> Vec<PathBuf> {
    let usual = ["/bin/bash", "/usr/bin/bash", "/usr/local/bin/bash"];
    usual.into_iter().map(PathBuf::from).filter(|path| path.is_file()).collect()
}

fn sites(file: &CodeFile) -> Result<Vec<Site>> {
    let found = elf::functions(&file.path, &file.root, |name| name == FUNCTION)?;
    let site = |function: elf::Function| {
        let place = placement::of_function(&function.code, 0);
        let report = manifest::Probe {
            file: file.shown.clone(),
            function: function.name,
            offset: function.offset + place.into,
            into_function: place.into,
            kind: place.kind.name().to_owned(),
            ..manifest::Probe::default()
        };
        let (file, offset) = (file.clone(), function.offset);
        let at = At::File { file, offset, place, semaphore: 0, returns: true };
        Site { at, programs: &["line_read"], settings: wire::Site::default(), report }
    };
    Ok(found.into_iter().map(site).collect())
}
