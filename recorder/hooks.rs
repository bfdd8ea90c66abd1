//! Attaching tracers.
//!
//! A tracer wants one or more *feeds*, such as "signals generated" or "calls of kill". For each feed
//! it names *hooks*, the best first: ways to get it, each one or more BPF programs of the tracer's
//! object. The first hook that the kernel gives is used, and the manifest says which. Programs that
//! the kernel would refuse must not be loaded, so a tracer's object is opened anew for each try.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsStr;
use std::fmt;

use anyhow::{Context as _, Result, bail};
use libbpf_rs::{Link, MapCore as _, MapFlags, Object, ObjectBuilder};
use lookback_schemas::TableId;
use lookback_schemas::manifest;
use lookback_schemas::wire::Settings;

use crate::allocators::{self, Allocators};
use crate::maps::Maps;
use crate::missed::Watched;
use crate::sites::{Links, Owner, Programs, Reach, Site};
use crate::types::Types;
use crate::{cures, custom, privileges};

/// A tracer, as it describes itself.
#[derive(Debug)]
pub struct Tracer {
    /// The name by which the user asks for it.
    pub name: &'static str,
    /// What it records, in a line.
    pub about: &'static str,
    /// The tables that it fills.
    pub tables: &'static [TableId],
    /// Its BPF object.
    pub object: &'static [u8],
    /// What it wants.
    pub feeds: &'static [Feed],
}

impl Tracer {
    /// What attaches it to single places.
    pub fn owner<'a>(
        &self,
        settings: &'a Settings,
        reach: &'a Reach,
        types: &'a Types,
    ) -> Owner<'a> {
        let (tracer, bytes, links) = (self.name, self.object, Cell::new(true));
        Owner { tracer, bytes, settings, reach, types, links }
    }
}

/// Something that a tracer wants from the kernel.
#[derive(Debug)]
pub struct Feed {
    /// What it gives, for people.
    pub gives: &'static str,
    /// The ways to get it, the best first.
    pub hooks: &'static [Hook],
    /// Whether the tracer is of use without it.
    pub optional: bool,
}

/// A kind of hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// The entry and exit of a function of the kernel, by a trampoline.
    Fentry,
    /// The same by a breakpoint or ftrace.
    Kprobe,
    /// A tracepoint, whose arguments' types the kernel tells (`tp_btf`).
    TypedTracepoint,
    /// A tracepoint, whose arguments are numbers.
    RawTracepoint,
    /// A tracepoint by perf, which formats its arguments into a record.
    Tracepoint,
    /// A timer or a counter of the processor.
    PerfEvent,
    /// A hook of the security modules.
    Lsm,
    /// A function of a program or library, its entry and return by one probe.
    UprobeSession,
    /// The same by two.
    Uprobe,
}

/// A way to get a feed.
#[derive(Debug)]
pub struct Hook {
    /// Its kind.
    pub kind: Kind,
    /// The kind of hook and the kernel's name for it, for people.
    pub name: &'static str,
    /// The programs in the tracer's object that belong to it, and the table whose rows each makes.
    pub programs: &'static [(&'static str, TableId)],
    /// How they are attached.
    pub attach: Attach,
}

impl Hook {
    /// The table whose rows a program makes, if the program belongs to this hook.
    fn table_of(&self, program: &OsStr) -> Option<TableId> {
        self.programs.iter().find(|(name, _)| program == *name).map(|(_, table)| *table)
    }
}

/// How a hook's programs are attached.
#[derive(Clone, Copy, Debug)]
pub enum Attach {
    /// As their sections say.
    BySection,
    /// To a perf event on each online CPU that this function opens.
    PerfEvents(fn(cpu: u32, frequency: u32) -> std::io::Result<std::os::fd::OwnedFd>),
    /// To the functions of the allocators that were found; by programs of this object, in place of the
    /// tracer's own.
    Allocators { hook: allocators::Hook, object: &'static [u8] },
    /// To the places that were found, each by an object of its own.
    Sites,
}

/// A tracer that is attached. Dropping it detaches it.
pub struct Attached {
    /// Which hook serves each feed.
    pub hooks: Vec<manifest::Hook>,
    /// The programs, for those who count what the kernel did not run.
    pub programs: Vec<Watched>,
    /// Its probes in programs and libraries.
    pub probes: Vec<manifest::Probe>,
    /// How allocators are probed, if they are.
    allocators: Option<allocators::Hook>,
    links: Vec<Link>,
    /// Those of single places.
    sites: Links,
    object: Object,
}

impl Attached {
    /// The tracer's own object, which has its maps.
    pub fn object(&self) -> &Object {
        &self.object
    }

    /// Attaches to places in files that were found by now. The kernel leaves out no hit of such a place, so
    /// that nobody has to count them.
    pub fn probe_sites(&mut self, owner: &Owner<'_>, sites: &[Site]) -> Vec<manifest::Probe> {
        let programs = owner.attach(&self.object, sites);
        self.sites.extend(programs.links);
        programs.report
    }

    /// Probes the allocators that the processes `pids` have mapped since it was looked at last.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn probe_new(
        &mut self,
        allocators: &mut Allocators,
        pids: &[i32],
    ) -> Result<Vec<manifest::Probe>> {
        let Some(hook) = self.allocators else { return Ok(Vec::new()) };
        let probes = allocators.attach_new(&mut self.object, hook, pids)?;
        self.links.extend(probes.links);
        Ok(probes.report)
    }
}

impl Drop for Attached {
    /// Detaches in the reverse order: what ends something is attached before what begins it, and is
    /// detached after it, so that what was seen to begin is seen to end.
    fn drop(&mut self) {
        drop(std::mem::take(&mut self.sites));
        while self.links.pop().is_some() {}
    }
}

impl fmt::Debug for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attached").field("hooks", &self.hooks).finish_non_exhaustive()
    }
}

/// What attaching needs to know.
#[derive(Debug)]
pub struct Environment<'a> {
    /// The shared maps.
    pub maps: &'a Maps,
    /// What the programs are told.
    pub settings: &'a Settings,
    /// Where the kernel's types are from.
    pub types: &'a Types,
    /// Samples per second.
    pub frequency: u32,
    /// Only hooks of this kind, for feeds that have one of it.
    pub kind: Option<Kind>,
    /// The allocators whose functions are traced.
    pub allocators: &'a RefCell<Allocators>,
    /// The places of tracers that are attached to single ones.
    pub places: &'a Places,
}

/// Places that were found for tracers, by the tracers' names.
#[derive(Debug)]
pub struct Places {
    /// The places.
    pub of_tracer: BTreeMap<&'static str, Vec<Site>>,
    /// In which processes.
    pub reach: Reach,
    /// The names of the user's spans; their numbers begin at 1.
    pub spans: Vec<String>,
}

impl Places {
    /// None yet.
    pub fn in_reach(reach: Reach) -> Places {
        Places { of_tracer: BTreeMap::new(), reach, spans: Vec::new() }
    }
}

/// Attaches a tracer by the best hooks that the kernel gives.
///
/// # Errors
/// If a feed cannot be had by any hook: which, what each hook failed with, and what may help.
pub fn attach(tracer: &Tracer, environment: &Environment<'_>) -> Result<Attached> {
    let mut tries: Vec<Try> =
        tracer.feeds.iter().map(|feed| Try::new(feed, environment.kind)).collect();
    loop {
        let hooks: Vec<(usize, &Hook)> = tries
            .iter()
            .enumerate()
            .filter_map(|(index, attempt)| Some((index, attempt.hook()?)))
            .collect();
        let (failed, error) = match try_attach(tracer, &hooks, environment) {
            Ok(Loaded { object, links, sites, programs, probes }) => {
                let allocators = hooks.iter().find_map(|(_, hook)| match hook.attach {
                    Attach::Allocators { hook, .. } => Some(hook),
                    Attach::BySection | Attach::PerfEvents(_) | Attach::Sites => None,
                });
                let hooks = tries.iter().map(Try::outcome).collect();
                return Ok(Attached { hooks, programs, probes, allocators, links, sites, object });
            }
            Err(failure) => failure,
        };
        let attempt = &mut tries[failed];
        attempt.fail(&error);
        if attempt.hook().is_none() && !attempt.feed.optional {
            let (feed, failures) = (attempt.feed.gives, attempt.failures.join("; "));
            bail!("tracer `{}` cannot attach for {feed} ({failures})", tracer.name);
        }
    }
}

/// The search for a hook that serves a feed.
struct Try {
    feed: &'static Feed,
    /// The hooks that are left to try, the next one first.
    hooks: VecDeque<&'static Hook>,
    /// What the hooks before them failed with.
    failures: Vec<String>,
}

impl Try {
    fn new(feed: &'static Feed, kind: Option<Kind>) -> Try {
        let of_kind = |hook: &&Hook| kind.is_none_or(|kind| hook.kind == kind);
        let mut hooks: VecDeque<&Hook> = feed.hooks.iter().filter(of_kind).collect();
        if hooks.is_empty() {
            hooks = feed.hooks.iter().collect();
        }
        Try { feed, hooks, failures: Vec::new() }
    }

    fn hook(&self) -> Option<&'static Hook> {
        self.hooks.front().copied()
    }

    fn fail(&mut self, error: &anyhow::Error) {
        let Some(hook) = self.hooks.pop_front() else { return };
        let cure = cures::of(hook.kind, error).map(|cure| format!(" ({cure})"));
        self.failures.push(format!("{}: {error:#}{}", hook.name, cure.unwrap_or_default()));
    }

    /// What the manifest says about the feed.
    fn outcome(&self) -> manifest::Hook {
        manifest::Hook {
            purpose: self.feed.gives.to_owned(),
            hook: match self.hook() {
                Some(hook) => hook.name.to_owned(),
                None => format!("not available ({})", self.failures.join("; ")),
            },
        }
    }
}

/// An object that was loaded and attached.
struct Loaded {
    object: Object,
    links: Vec<Link>,
    sites: Links,
    programs: Vec<Watched>,
    probes: Vec<manifest::Probe>,
}

/// Loads and attaches just these hooks, one per feed; or tells which feed failed.
fn try_attach(
    tracer: &Tracer,
    hooks: &[(usize, &Hook)],
    environment: &Environment<'_>,
) -> Result<Loaded, (usize, anyhow::Error)> {
    let last = hooks.last().map_or(0, |(feed, _)| *feed);
    // What is missing is found before the load, which would not tell which program it minds.
    for (feed, hook) in hooks {
        check_sections(tracer, hook).map_err(|error| (*feed, error))?;
    }
    let mut object = load(tracer, hooks, environment).map_err(|error| (last, error))?;
    let (mut links, mut programs, mut probes) = (Vec::new(), Vec::new(), Vec::new());
    let mut sites = Links::default();
    for (feed, hook) in hooks {
        let feed = *feed;
        if let Attach::Sites = hook.attach {
            let attached = attach_sites(tracer, &object, environment);
            let attached = attached.map_err(|error| (feed, error))?;
            sites.extend(attached.links);
            programs.extend(attached.watched);
            probes.extend(attached.report);
            continue;
        }
        if let Attach::Allocators { hook, .. } = hook.attach {
            let attached = environment.allocators.borrow_mut().attach(&mut object, hook);
            let attached = attached.map_err(|error| (feed, error))?;
            links.extend(attached.links);
            probes.extend(attached.report);
        }
        for program in object.progs_mut() {
            let Some(table) = hook.table_of(program.name()) else { continue };
            let watched = Watched::new(table, &program).context("no descriptor is left");
            programs.push(watched.map_err(|error| (feed, error))?);
            let attached = match hook.attach {
                Attach::BySection => {
                    program.attach().map(|link| links.push(link)).map_err(Into::into)
                }
                Attach::PerfEvents(open) => {
                    perf_events(&program, open, environment.frequency).map(|l| links.extend(l))
                }
                Attach::Allocators { .. } | Attach::Sites => Ok(()),
            };
            attached
                .with_context(|| program.name().to_string_lossy().into_owned())
                .map_err(|error| (feed, error))?;
        }
    }
    Ok(Loaded { object, links, sites, programs, probes })
}

/// Attaches to the places that were found for a tracer. It is an error if there are some, and none can be
/// attached to.
fn attach_sites(tracer: &Tracer, base: &Object, environment: &Environment<'_>) -> Result<Programs> {
    let places = environment.places;
    let sites = places.of_tracer.get(tracer.name).map_or(&[][..], Vec::as_slice);
    // Before the first span can be over.
    if let Some(names) = base.maps().find(|map| map.name() == "span_names") {
        for (number, name) in (1_u32..).zip(&places.spans) {
            names.update(&number.to_ne_bytes(), &custom::chars(name).0, MapFlags::ANY)?;
        }
    }
    let owner = tracer.owner(environment.settings, &places.reach, environment.types);
    let programs = owner.attach(base, sites);
    if programs.links.is_empty()
        && let Some(error) = programs.report.iter().find_map(|probe| probe.failed.as_deref())
    {
        bail!("{error}");
    }
    Ok(programs)
}

fn load(
    tracer: &Tracer,
    hooks: &[(usize, &Hook)],
    environment: &Environment<'_>,
) -> Result<Object> {
    let other = hooks.iter().find_map(|(_, hook)| match hook.attach {
        Attach::Allocators { object, .. } => Some(object),
        Attach::BySection | Attach::PerfEvents(_) | Attach::Sites => None,
    });
    let mut open = environment.types.open(tracer.name, other.unwrap_or(tracer.object))?;
    for mut program in open.progs_mut() {
        let wanted = hooks.iter().any(|(_, hook)| hook.table_of(program.name()).is_some());
        program.set_autoload(wanted);
    }
    environment.maps.share(&mut open, environment.settings)?;
    open.load().context("the kernel does not load its programs")
}

/// Whether the classic tracepoints and the security module that a hook needs are there.
fn check_sections(tracer: &Tracer, hook: &Hook) -> Result<()> {
    let object = ObjectBuilder::default()
        .open_memory(tracer.object)
        .context("cannot read the BPF object")?;
    for program in object.progs() {
        let section = program.section().to_string_lossy().into_owned();
        if hook.table_of(program.name()).is_none() {
            continue;
        }
        if section.starts_with("lsm/") {
            privileges::check_lsm()?;
        }
        let Some(tracepoint) = section.strip_prefix("tp/") else { continue };
        let Some(events) = tracing_events() else {
            bail!("tracefs is not mounted");
        };
        if !std::path::Path::new(events).join(tracepoint).exists() {
            bail!("this kernel has no tracepoint {tracepoint}");
        }
    }
    Ok(())
}

/// Where tracefs shows the tracepoints, in the order in which libbpf looks.
pub fn tracing_events() -> Option<&'static str> {
    ["/sys/kernel/tracing/events", "/sys/kernel/debug/tracing/events"]
        .into_iter()
        .find(|path| std::path::Path::new(path).is_dir())
}

fn perf_events(
    program: &libbpf_rs::ProgramMut<'_>,
    open: fn(u32, u32) -> std::io::Result<std::os::fd::OwnedFd>,
    frequency: u32,
) -> Result<Vec<Link>> {
    use std::os::fd::IntoRawFd as _;

    let mut links = Vec::new();
    for cpu in online_cpus()? {
        let event = open(cpu, frequency)
            .with_context(|| format!("cannot open a perf event on CPU {cpu}"))?;
        // The link owns the descriptor from here on (bpf_link_perf_detach closes it).
        links.push(program.attach_perf_event(event.into_raw_fd())?);
    }
    Ok(links)
}

/// The numbers of the CPUs that are online.
///
/// # Errors
/// If sysfs does not tell.
pub fn online_cpus() -> Result<Vec<u32>> {
    const PATH: &str = "/sys/devices/system/cpu/online";
    let text = std::fs::read_to_string(PATH).context(PATH)?;
    let mut cpus = Vec::new();
    for range in text.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let parse = |number: &str| number.parse::<u32>().with_context(|| format!("{PATH}: {text}"));
        cpus.extend(parse(first)?..=parse(last)?);
    }
    Ok(cpus)
}
