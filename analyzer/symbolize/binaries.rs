//! Where the binaries of frames are looked for, in this order:
//!
//! 1. those that the recording carries with it (`record --keep-binaries`, `analyze bundle`);
//! 2. directories that the user names;
//! 3. this machine: the file at the path that was mapped, and `/usr/lib/debug/.build-id`;
//! 4. a debuginfod server, if the user names one.
//!
//! Whatever is found must have the frame's build id.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use clap::Args;
use lookback_schemas::recording::Recording;
use lookback_schemas::symbols::elf::{self, Headers};
use lookback_schemas::symbols::tree::{self, Kind, Tree};
use lookback_schemas::symbols::{Binaries, FOLDER, Found, SYSTEM};
use lookback_schemas::tables::Frame;

use super::debuginfod::Client;

/// Options that say where binaries are.
#[derive(Args, Debug)]
pub struct PlacesArgs {
    /// A directory of binaries or of their debug information, plain or as .build-id/ab/cdef….debug; can
    /// be given again
    #[arg(long, value_name = "DIR")]
    pub debug_dir: Vec<PathBuf>,
}

/// The places in which binaries are looked for.
#[derive(Debug)]
pub struct Places {
    trees: Vec<Tree>,
    server: Option<Client>,
    known: HashMap<String, Option<Found>>,
    missing: BTreeMap<String, u64>,
}

impl Places {
    /// For the frames of a recording.
    #[must_use]
    pub fn new(args: &PlacesArgs, recording: &Recording, server: Option<Client>) -> Places {
        let own = recording.directory().join(FOLDER);
        let trees = std::iter::once(own).chain(args.debug_dir.iter().cloned()).map(Tree::new);
        Places { trees: trees.collect(), server, known: HashMap::new(), missing: BTreeMap::new() }
    }

    /// What was not found, and how many frames lie there.
    #[must_use]
    pub fn missing(&self) -> Vec<(&str, u64)> {
        let mut missing: Vec<_> =
            self.missing.iter().map(|(file, frames)| (file.as_str(), *frames)).collect();
        missing.sort_by_key(|(_, frames)| std::cmp::Reverse(*frames));
        missing
    }

    fn look_for(&mut self, build_id: &str, module: Option<&str>) -> Option<Found> {
        let mut executable = self.in_trees(build_id, Kind::Executable);
        if executable.is_none() {
            let mapped = module.map(Path::new).filter(|path| path.is_absolute());
            executable = mapped
                .filter(|path| elf::build_id(path).as_deref() == Some(build_id))
                .map(Path::to_owned)
                .or_else(|| tree::in_place(Path::new(SYSTEM), build_id, Kind::Executable));
        }
        let mut debug = self
            .in_trees(build_id, Kind::Debug)
            .or_else(|| tree::in_place(Path::new(SYSTEM), build_id, Kind::Debug));
        if let Some(server) = &mut self.server {
            // Of a file of debug information alone the places are not sure.
            executable = executable.or_else(|| server.fetch(build_id, Kind::Executable));
            let tells = executable
                .as_deref()
                .is_some_and(|path| Headers::read(path).is_ok_and(|headers| headers.debug_info));
            if debug.is_none() && !tells {
                debug = server.fetch(build_id, Kind::Debug);
            }
        }
        match (executable, debug) {
            (Some(path), debug) => {
                Some(Found { debug: debug.filter(|debug| *debug != path), path })
            }
            (None, Some(path)) => Some(Found { path, debug: None }),
            (None, None) => None,
        }
    }

    fn in_trees(&mut self, build_id: &str, kind: Kind) -> Option<PathBuf> {
        self.trees.iter_mut().find_map(|tree| tree.find(build_id, kind))
    }
}

impl Binaries for Places {
    fn find(&mut self, frame: &Frame) -> Option<Found> {
        let module = frame.module.as_deref();
        let found = match &frame.build_id {
            Some(build_id) => match self.known.get(build_id) {
                Some(known) => known.clone(),
                None => {
                    let found = self.look_for(build_id, module);
                    self.known.insert(build_id.clone(), found.clone());
                    found
                }
            },
            None => None,
        };
        // Names in brackets are of no files.
        if found.is_none() && !module.is_some_and(|module| module.starts_with('[')) {
            let module = module.unwrap_or("a file of unknown name");
            let build_id = frame.build_id.as_deref().unwrap_or("none");
            *self.missing.entry(format!("{module}, build id {build_id}")).or_default() += 1;
        }
        found
    }
}
