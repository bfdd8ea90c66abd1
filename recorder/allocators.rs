//! Allocators in programs and libraries, and the probes on their functions.
//!
//! Whatever file defines both `malloc` and `free` is taken for an allocator: the C library, another
//! library in its place (jemalloc, tcmalloc, mimalloc), or a static program; there can be several in a
//! process. They are looked for in the files that the processes have mapped, or will map: then the
//! probes are there before the first instruction. What is mapped later (`dlopen`, `exec`) is probed as
//! soon as that is noticed, and the manifest says how late that was.
//!
//! A probe is part of the file. Attached for one process it is put only into that process's memory;
//! a child that it forks has none. To see children too, the probes must be put into every process that
//! has the file, and those that are not recorded pay for them as well: about half a microsecond or more
//! for each call.

mod attach;
mod functions;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use libbpf_rs::Object;
use lookback_schemas::manifest;
use lookback_schemas::tables::alloc::Function;

pub use self::attach::{Hook, Probes};
use self::functions::{LEFT_OUT, Role, Site};
use crate::cli::Args;
use crate::maps::Maps;
use crate::probes::files::{self, CodeFile};
use crate::probes::placement::Kind;
use crate::probes::{calibration, elf, placement};

/// The dynamic linker calls it whenever it has mapped or unmapped libraries, for debuggers.
const LINKER_HOOK: &str = "_dl_debug_state";

/// A file with an allocator.
#[derive(Clone, Debug)]
struct Allocator {
    file: CodeFile,
    /// The processes that get its probes, or [`EVERYONE`].
    pids: Vec<i32>,
    sites: Vec<Site>,
    /// Where the dynamic linker tells of libraries, if it is this file.
    linker_hook: Option<u64>,
}

/// In place of a pid: every process that maps the file.
const EVERYONE: i32 = -1;

impl Allocator {
    /// Whether it is more than the dynamic linker.
    fn allocates(&self) -> bool {
        self.sites.iter().any(|site| site.role.returns())
    }
}

/// Whose allocations are recorded, and by which functions.
#[derive(Clone, Debug, Default)]
pub struct Allocators {
    /// The processes that get probes; every process that maps the files if empty.
    pids: Vec<i32>,
    /// Names that functions have with one of these before them are probed too.
    prefixes: Vec<String>,
    allocators: Vec<Allocator>,
    /// How many of them have their probes.
    attached: usize,
    /// The files that were looked into, each for a process or for everyone. A file that had its probes
    /// twice in a process would give each call twice.
    known: HashSet<(i32, (u64, u64))>,
    /// Also functions whose exceptions the probes are in the way of.
    throwing: bool,
    /// Nothing is to be said.
    quiet: bool,
    warned: HashSet<String>,
}

impl Allocators {
    /// Finds the allocators of the processes and the command that are recorded; `started` is the pid
    /// that the command will have.
    ///
    /// # Errors
    /// If no process was named, or none of its files has an allocator.
    pub fn find(args: &Args, started: Option<i32>) -> Result<Allocators> {
        let selection = &args.selection;
        let mut pids: Vec<i32> = args.pid.iter().copied().chain(started).collect();
        if pids.is_empty() && selection.alloc_lib.is_empty() {
            bail!(
                "tracer `alloc` needs --pid or a command, or --alloc-lib for every process that has the file"
            );
        }
        let named: Vec<i32> = args.pid.clone();
        if selection.alloc_follow {
            pids.clear();
        }
        let prefixes = selection.symbol_prefix.clone();
        let mut allocators = Allocators {
            pids,
            prefixes,
            throwing: selection.alloc_throwing,
            quiet: args.quiet,
            ..Allocators::default()
        };
        for path in &selection.alloc_lib {
            let file =
                CodeFile::of(path).with_context(|| format!("--alloc-lib {}", path.display()))?;
            if !allocators.look_into(&file, None)? {
                bail!("--alloc-lib {}: it has no malloc and free; {HINT}", path.display());
            }
        }
        for pid in named {
            let mut found = false;
            for file in files::of_process(pid)? {
                found |= allocators.look_into(&file, Some(pid)).unwrap_or(false);
            }
            if !found && selection.alloc_lib.is_empty() {
                bail!(
                    "process {pid} has no malloc and free in any file that it has mapped; {HINT}"
                );
            }
        }
        if let Some(pid) = started {
            let mut found = false;
            for file in files::of_command(&args.command)? {
                found |= allocators.look_into(&file, Some(pid)).unwrap_or(false);
            }
            if !found && selection.alloc_lib.is_empty() {
                allocators.warn(&format!(
                    "`{}` has no malloc and free that can be found; {HINT}",
                    args.command[0]
                ));
            }
        }
        Ok(allocators)
    }

    /// Looks for an allocator in a file of process `pid`, or of all that are recorded; whether there is
    /// one. What was found before is not looked for again.
    fn look_into(&mut self, file: &CodeFile, pid: Option<i32>) -> Result<bool> {
        let Some(identity) = file.identity() else { return Ok(false) };
        let mut pids = match pid {
            _ if self.pids.is_empty() => vec![EVERYONE],
            Some(pid) => vec![pid],
            None => self.pids.clone(),
        };
        pids.retain(|pid| self.known.insert((*pid, identity)));
        if pids.is_empty() {
            let its = |known: &&Allocator| known.file.identity() == Some(identity);
            return Ok(self.allocators.iter().find(its).is_some_and(Allocator::allocates));
        }
        let Some(allocator) = self.allocator(file, pids)? else { return Ok(false) };
        let allocates = allocator.allocates();
        self.allocators.push(allocator);
        Ok(allocates)
    }

    fn allocator(&self, file: &CodeFile, pids: Vec<i32>) -> Result<Option<Allocator>> {
        let function = |name: &str| self.function(name);
        let functions = elf::functions(&file.path, &file.root, |name| {
            name == LINKER_HOOK || function(name).is_some()
        })?;
        let linker_hook = functions.iter().find(|f| f.name == LINKER_HOOK).map(|f| f.offset);
        let find = |name: &str| functions.iter().find(|function| function.name == name);
        let prefixes = std::iter::once("").chain(self.prefixes.iter().map(String::as_str));
        let mut pairs = prefixes.filter_map(|prefix| {
            Some((find(&format!("{prefix}malloc")), find(&format!("{prefix}free"))?))
        });
        let pair = if is_loader(file) { None } else { pairs.next_back() };
        let (malloc, free) = pair.unzip();
        let malloc = malloc.flatten();
        let mut sites: BTreeMap<u64, Site> = BTreeMap::new();
        for found in &functions {
            let Some(function) = function(&found.name) else { continue };
            let leads_to = |inner: Option<&elf::Function>| {
                inner.is_some_and(|inner| {
                    let distance = inner.offset.cast_signed() - found.offset.cast_signed();
                    placement::leads_to(&found.code, distance)
                })
            };
            // Operators that only call malloc and free need no probes of their own.
            let role = match function {
                Function::New if free.is_none() || leads_to(malloc) => Role::Wrapper,
                Function::Delete if leads_to(free) => continue,
                _ if free.is_none() => continue,
                function => Role::Function(function),
            };
            let site = Site {
                role,
                name: found.name.clone(),
                offset: found.offset,
                place: functions::place(&found.code, role),
            };
            // Of several names of the same code the one in C counts.
            match sites.entry(found.offset) {
                Entry::Vacant(entry) => _ = entry.insert(site),
                Entry::Occupied(mut entry) if entry.get().role > role => _ = entry.insert(site),
                Entry::Occupied(_) => {}
            }
        }
        if sites.is_empty() && linker_hook.is_none() {
            return Ok(None);
        }
        Ok(Some(Allocator {
            file: file.clone(),
            pids,
            sites: sites.into_values().collect(),
            linker_hook,
        }))
    }

    /// What the function of this name does, if it is an allocator's.
    fn function(&self, name: &str) -> Option<Function> {
        let prefixed = self.prefixes.iter().filter_map(|prefix| name.strip_prefix(prefix.as_str()));
        std::iter::once(name).chain(prefixed).find_map(functions::named)
    }

    /// Attaches the programs of `object`, a loaded `alloc`, to all that was found.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn attach(&mut self, object: &mut Object, hook: Hook) -> Result<Probes> {
        self.attached = self.allocators.len();
        let found = std::mem::take(&mut self.allocators);
        let result = self.attach_to(&found, object, hook);
        self.allocators = found;
        result
    }

    /// Looks again at the processes, which have mapped more files, and attaches to what is new.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn attach_new(&mut self, object: &mut Object, hook: Hook, pids: &[i32]) -> Result<Probes> {
        let before = self.attached;
        for pid in pids {
            // A process may be gone by now.
            for file in files::of_process(*pid).unwrap_or_default() {
                if let Err(error) = self.look_into(&file, Some(*pid)) {
                    self.warn(&format!("{error:#}"));
                }
            }
        }
        let new = self.allocators[before..].to_vec();
        self.attached = self.allocators.len();
        let mut probes = Probes::default();
        for allocator in new {
            match self.attach_to(std::slice::from_ref(&allocator), object, hook) {
                Ok(attached) => {
                    probes.links.extend(attached.links);
                    probes.report.extend(attached.report);
                }
                // The process may be gone. What was attached before goes on.
                Err(error) => {
                    self.warn(&format!("{error:#}"));
                    let sites = allocator.sites.iter();
                    probes.report.extend(sites.map(|site| site.report(&allocator.file, LEFT_OUT)));
                }
            }
        }
        Ok(probes)
    }

    /// Looks into what process `pid`, which has just called exec and stands before its first instruction,
    /// will have mapped soon.
    pub fn expect_image(&mut self, pid: i32) {
        let files = files::of_image(pid);
        for file in files.inspect_err(|error| self.warn(&format!("{error:#}"))).unwrap_or_default()
        {
            if let Err(error) = self.look_into(&file, Some(pid)) {
                self.warn(&format!("{error:#}"));
            }
        }
    }

    /// The processes in which an allocator may appear.
    pub fn processes(&self, maps: &Maps) -> Vec<i32> {
        if self.pids.is_empty() { maps.targets() } else { self.pids.clone() }
    }

    fn attach_to(
        &mut self,
        found: &[Allocator],
        object: &mut Object,
        hook: Hook,
    ) -> Result<Probes> {
        let mut probes = Probes::default();
        let mut costs = BTreeMap::new();
        for allocator in found {
            let path = &allocator.file.path;
            let (left_out, sites): (Vec<Site>, Vec<Site>) =
                allocator.sites.iter().cloned().partition(|site| self.leaves_out(hook, site));
            for pid in &allocator.pids {
                let links = hook.attach(object, *pid, path, &sites);
                let links = links.with_context(|| allocator.file.shown.clone())?;
                probes.links.extend(links);
                if let Some(offset) = allocator.linker_hook {
                    probes.links.extend(hook.watch_linker(
                        object,
                        *pid,
                        &allocator.file.path,
                        offset,
                    ));
                }
            }
            for site in &sites {
                let key = (site.role.returns(), calibration::function_like(&site.place));
                let cost = *costs.entry(key).or_insert_with(|| hook.measure(object, site).ok());
                let kind = site.place.kind.name();
                probes.report.push(manifest::Probe { cost, ..site.report(&allocator.file, kind) });
            }
            let left = left_out.iter().map(|site| site.report(&allocator.file, LEFT_OUT));
            probes.report.extend(left);
            if !left_out.is_empty() {
                self.warn(&format!(
                    "calls of operator new in {} are not recorded: before 6.13 its exceptions could not pass \
                     the probes (--alloc-throwing records them)",
                    allocator.file.shown
                ));
            }
            self.warn_of_slow(allocator, &probes.report);
        }
        Ok(probes)
    }

    /// Whether a function is left alone: where each call's return must be watched, also those of which an
    /// exception comes, since that would find the return probe in its way, and end the program.
    fn leaves_out(&self, hook: Hook, site: &Site) -> bool {
        hook == Hook::Single
            && !self.throwing
            && site.role == Role::Function(Function::New)
            && !site.name.contains("nothrow")
    }

    /// Says which functions that are called all the time have an expensive probe.
    fn warn_of_slow(&mut self, allocator: &Allocator, report: &[manifest::Probe]) {
        let often =
            |site: &&Site| site.place.kind == Kind::SingleStepped && site.role.is_frequent();
        let names: Vec<&str> =
            allocator.sites.iter().filter(often).map(|site| site.name.as_str()).collect();
        let cost = report
            .iter()
            .filter(|probe| names.contains(&probe.function.as_str()))
            .filter_map(|probe| probe.cost)
            .max();
        if !names.is_empty() && cost.is_none_or(|cost| cost > 5_000) {
            let cost = cost.map_or_else(String::new, |cost| format!(", about {} µs", cost / 1000));
            self.warn(&format!(
                "each call of {} in {} is expensive{cost}: the kernel must single-step it",
                names.join(", "),
                allocator.file.shown
            ));
        }
    }

    fn warn(&mut self, text: &str) {
        if self.warned.insert(text.to_owned()) && !self.quiet {
            eprintln!("record: {text}");
        }
    }
}

/// What may help where no allocator is found.
const HINT: &str = "a stripped static program, or one whose functions have other names, needs its symbols \
                    or --symbol-prefix";

/// glibc's loader has an allocator of its own, for the time before the C library is there: what that
/// gives is never freed. musl's is the C library.
fn is_loader(file: &CodeFile) -> bool {
    let name = file.shown.rsplit('/').next().unwrap_or_default();
    name.starts_with("ld-") && !name.contains("musl")
}

impl CodeFile {
    /// A file that the user named.
    fn of(path: &Path) -> Result<CodeFile> {
        let path = path.canonicalize()?;
        let shown = path.display().to_string();
        Ok(CodeFile { path, shown, root: PathBuf::from("/") })
    }
}
