//! Places in files that processes map: known ones when recording begins, others as they are mapped.
//!
//! A tracer of this kind knows its places when it sees the file: the probes of a Java virtual machine, the
//! function `readline`. So all files of the processes in question are looked into, each once; and whenever
//! a process maps another one whose name says that it may have such places, that is looked into as well.

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;

use crate::cli::Args;
use crate::probes::files::{self, CodeFile};
use crate::sites::{Reach, Site};
use crate::{runtimes, shells};

/// What a tracer looks for.
#[derive(Debug)]
pub struct Search {
    /// The tracer's name.
    pub tracer: &'static str,
    /// What is looked for, for people.
    pub what: &'static str,
    /// The places in a file. A file that should have some and has not is an error.
    pub sites: fn(&CodeFile) -> Result<Vec<Site>>,
    /// Whether a file of this name (without its folder) may have such places.
    pub may_have: fn(&str) -> bool,
    /// Files beside the program `file` that it is going to load.
    pub near: fn(&CodeFile) -> Option<PathBuf>,
    /// Files that are looked into although no process has mapped them yet.
    pub usual: fn() -> Vec<PathBuf>,
}

/// All searches.
pub const SEARCHES: [&Search; 2] = [&runtimes::SEARCH, &shells::SEARCH];

/// A search, and what was found.
#[derive(Debug)]
pub struct Finder {
    /// What is looked for.
    pub search: &'static Search,
    /// The files that were looked into.
    known: HashSet<(u64, u64)>,
    quiet: bool,
}

impl Finder {
    /// Begins a search.
    pub fn new(search: &'static Search, quiet: bool) -> Finder {
        Finder { search, known: HashSet::new(), quiet }
    }

    /// Looks into the files of the processes and the command that are recorded, or of all processes, if
    /// all are. A process that was named and has nothing is told in a line.
    pub fn begin(&mut self, args: &Args) -> Vec<Site> {
        let mut found: Vec<Site> = Vec::new();
        for pid in &args.pid {
            let before = found.len();
            let already = self.known.len();
            found.extend(self.process(*pid, false));
            if found.len() == before && self.known.len() > already {
                self.say(&format!("process {pid} has no {}", self.search.what));
            }
        }
        let mut files = match args.command.as_slice() {
            [] => Vec::new(),
            // What cannot be run is told when it is.
            command => files::of_command(command).unwrap_or_default(),
        };
        let near: Vec<PathBuf> = files.iter().filter_map(self.search.near).collect();
        files.extend(near.into_iter().chain((self.search.usual)()).map(CodeFile::here));
        found.extend(files.iter().flat_map(|file| self.look_into(file)));
        if args.pid.is_empty() && args.command.is_empty() {
            let processes = procfs::process::all_processes().into_iter().flatten().flatten();
            for process in processes {
                found.extend(self.process(process.pid, true));
            }
        }
        found
    }

    /// The places in files that a process has mapped and that were not looked into before; only in those
    /// of promising names, if `by_name`.
    pub fn process(&mut self, pid: i32, by_name: bool) -> Vec<Site> {
        // It may be gone by now.
        let files = files::of_process(pid).unwrap_or_default();
        let promising = |file: &&CodeFile| !by_name || (self.search.may_have)(file.name());
        let files: Vec<&CodeFile> = files.iter().filter(promising).collect();
        files.into_iter().flat_map(|file| self.look_into(file)).collect()
    }

    fn look_into(&mut self, file: &CodeFile) -> Vec<Site> {
        let Some(identity) = file.identity() else { return Vec::new() };
        if !self.known.insert(identity) {
            return Vec::new();
        }
        (self.search.sites)(file).unwrap_or_else(|error| {
            if (self.search.may_have)(file.name()) {
                self.say(&format!("{error:#}"));
            }
            Vec::new()
        })
    }

    fn say(&self, text: &str) {
        if !self.quiet {
            eprintln!("record: {}: {text}", self.search.tracer);
        }
    }
}

/// In which processes places of files get their programs: where children are recorded, wherever the file
/// is mapped, since a child may be over before it is noticed.
pub fn reach(args: &Args, started: Option<i32>) -> Reach {
    let pids: Vec<i32> = args.pid.iter().copied().chain(started).collect();
    if pids.is_empty() || !args.no_follow { Reach::Everywhere } else { Reach::Processes(pids) }
}

/// Processes that have mapped a file of a promising name since it was looked at last.
#[derive(Clone, Debug, Default)]
pub struct Newcomers(Arc<Mutex<BTreeSet<i32>>>);

impl Newcomers {
    /// Takes note that a process has mapped the file at `path`.
    pub fn mapped(&self, pid: i32, path: &str) {
        let name = path.rsplit('/').next().unwrap_or_default();
        if SEARCHES.iter().any(|search| (search.may_have)(name)) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(pid);
        }
    }

    /// Takes them.
    pub fn take(&self) -> BTreeSet<i32> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
