//! Shells that read lines with GNU readline: bash has it built in, others load the library.

use std::path::PathBuf;

use anyhow::Result;
use lookback_schemas::TableId;
use lookback_schemas::manifest;
use lookback_schemas::wire;

use crate::finder::Search;
use crate::probes::files::CodeFile;
use crate::probes::placement::Place;
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
    Ok(found.iter().flat_map(|function| in_function(file, function)).collect())
}

/// Usually a shell waits in the function already, and a return probe would not see that call return. So the
/// probes go on the instructions by which the function returns, if it has no other ways out.
fn in_function(file: &CodeFile, function: &elf::Function) -> Vec<Site> {
    let by_return_probe = || vec![placement::of_function(&function.code, 0)];
    let instructions = placement::returns(&function.code).filter(|_| cfg!(target_arch = "x86_64"));
    let returns = instructions.is_none();
    let site = |place: Place| {
        let report = manifest::Probe {
            file: file.shown.clone(),
            function: function.name.clone(),
            offset: function.offset + place.into,
            into_function: place.into,
            kind: place.kind.name().to_owned(),
            ..manifest::Probe::default()
        };
        let (file, offset) = (file.clone(), function.offset);
        let at = At::File { file, offset, place, semaphore: 0, returns };
        Site {
            at,
            programs: &["line_read"],
            table: TableId::Readline,
            ends: false,
            settings: wire::Site::default(),
            report,
        }
    };
    instructions.unwrap_or_else(by_return_probe).into_iter().map(site).collect()
}
