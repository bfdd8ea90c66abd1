//! Runtimes that collect garbage, and their probes.
//!
//! They are found by the notes of their USDT probes. Which probes a runtime has:
//! hotspot, `make/data/hotspot.d` and `src/hotspot/share/services/memoryManager.cpp` of OpenJDK;
//! CPython, `Include/pydtrace.d`; Ruby, `probes.d`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use lookback_schemas::TableId;
use lookback_schemas::manifest;
use lookback_schemas::tables::gc::{Part, Runtime};
use lookback_schemas::wire;

use crate::finder::Search;
use crate::probes::files::CodeFile;
use crate::probes::operand;
use crate::probes::usdt::{self, Note};
use crate::sites::{At, Site};

/// What the tracer `gc` looks for.
pub const SEARCH: Search = Search {
    tracer: "gc",
    what: "JVM, CPython or Ruby with USDT probes",
    sites,
    may_have,
    near,
    usual: Vec::new,
};

/// A probe of a runtime, by which it tells that something begins or ends.
struct Probe {
    runtime: Runtime,
    name: &'static str,
    part: Part,
    program: Program,
    /// Which of its arguments are of interest, in the order in which the program expects them.
    arguments: &'static [usize],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Program {
    Begun,
    Ended,
}

impl Program {
    fn names(self) -> &'static [&'static str] {
        match self {
            Program::Begun => &["begun"],
            Program::Ended => &["ended"],
        }
    }
}

const fn probe(
    runtime: Runtime,
    name: &'static str,
    part: Part,
    program: Program,
    arguments: &'static [usize],
) -> Probe {
    Probe { runtime, name, part, program, arguments }
}

/// The names of a pool's manager and of the pool, what it holds, and what it was given.
const POOL: &[usize] = &[0, 2, 5, 6];

const PROBES: [Probe; 10] = {
    use Program::{Begun, Ended};
    use Runtime::{Hotspot, Python, Ruby};
    [
        probe(Hotspot, "gc__begin", Part::Collection, Begun, &[0]),
        probe(Hotspot, "gc__end", Part::Collection, Ended, &[]),
        probe(Hotspot, "mem__pool__gc__begin", Part::Pool, Begun, POOL),
        probe(Hotspot, "mem__pool__gc__end", Part::Pool, Ended, POOL),
        probe(Python, "gc__start", Part::Collection, Begun, &[0]),
        probe(Python, "gc__done", Part::Collection, Ended, &[0]),
        probe(Ruby, "gc__mark__begin", Part::Mark, Begun, &[]),
        probe(Ruby, "gc__mark__end", Part::Mark, Ended, &[]),
        probe(Ruby, "gc__sweep__begin", Part::Sweep, Begun, &[]),
        probe(Ruby, "gc__sweep__end", Part::Sweep, Ended, &[]),
    ]
};

/// The virtual machine of Java is a library of this name.
const LIBJVM: &str = "libjvm.so";

fn may_have(name: &str) -> bool {
    [LIBJVM, "python", "libpython", "ruby", "libruby"].iter().any(|start| name.starts_with(start))
}

/// The launcher `java` loads the virtual machine from its own tree.
fn near(file: &CodeFile) -> Option<PathBuf> {
    if file.name() != "java" {
        return None;
    }
    let launcher = file.path.canonicalize().ok()?;
    let library = launcher.parent()?.parent()?.join("lib/server").join(LIBJVM);
    library.is_file().then_some(library)
}

/// The probes of the runtime in a file; those first by which it tells that something ended.
fn sites(file: &CodeFile) -> Result<Vec<Site>> {
    let notes = usdt::notes(&file.path)?;
    let known = notes.iter().filter_map(|note| Some((note, known(note)?)));
    let mut sites: Vec<Site> = known.map(|(note, probe)| site(file, note, probe)).collect();
    if sites.is_empty() && file.name().starts_with(LIBJVM) {
        bail!("{} is a JVM without USDT probes: it was built without --enable-dtrace", file.shown);
    }
    sites.sort_by_key(|site| !site.ends);
    Ok(sites)
}

fn known(note: &Note) -> Option<&'static Probe> {
    PROBES.iter().find(|probe| probe.runtime.name() == note.provider && probe.name == note.name)
}

fn site(file: &CodeFile, note: &Note, probe: &Probe) -> Site {
    let mut settings = wire::Site {
        user: 1,
        runtime: probe.runtime as i32,
        part: probe.part as i32,
        ..wire::Site::default()
    };
    for (wanted, number) in probe.arguments.iter().enumerate() {
        // What is nowhere to be read is unknown.
        let found = note.arguments.get(*number).and_then(|text| operand::of_note(text).ok());
        settings.operands.0[wanted] = found.unwrap_or_default();
    }
    let report = manifest::Probe {
        file: file.shown.clone(),
        function: format!("{}:{}", note.provider, note.name),
        offset: note.offset,
        kind: note.place.kind.name().to_owned(),
        ..manifest::Probe::default()
    };
    let at = At::File {
        file: file.clone(),
        offset: note.offset,
        place: note.place.clone(),
        semaphore: note.semaphore,
        returns: false,
    };
    let ends = probe.program == Program::Ended;
    Site { at, programs: probe.program.names(), table: TableId::Gc, ends, settings, report }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_beginning_has_its_end() {
        for probe in PROBES.iter().filter(|probe| probe.program == Program::Begun) {
            let ends = PROBES.iter().filter(|end| {
                end.program == Program::Ended
                    && (end.runtime, end.part) == (probe.runtime, probe.part)
            });
            assert_eq!(ends.count(), 1, "{}", probe.name);
        }
    }
}
