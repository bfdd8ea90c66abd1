//! Single places of programs, libraries and the kernel, each with a program of its own.
//!
//! Places differ in where their arguments are. On newer kernels one program could be told its place by a
//! cookie (7adfc6c9b315, 5.15) and look it up at each hit. Here the tracer's object is loaded once for each
//! place instead, with what is known of it as read-only data: that works on every kernel, and costs nothing
//! when the place is hit (`bpf/site.h`). All these objects share the maps of the first one, which the
//! tracer's other programs belong to.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::os::fd::AsFd as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use libbpf_rs::{
    Link, MapCore as _, Object, ProgramAttachType, ProgramMut, TracepointCategory, UprobeMultiOpts,
    UprobeOpts,
};
use lookback_schemas::TableId;
use lookback_schemas::manifest;
use lookback_schemas::wire::{self, Settings};
use zerocopy::IntoBytes as _;

use crate::missed::Watched;
use crate::probes::calibration;
use crate::probes::files::CodeFile;
use crate::probes::placement::Place;
use crate::types::Types;

/// A place that gets a program.
#[derive(Clone, Debug)]
pub struct Site {
    /// Where it is.
    pub at: At,
    /// The tracer's programs for it, the best first: the kernel may not take it.
    pub programs: &'static [&'static str],
    /// Whose rows it makes: that table tells of hits at which the kernel did not run the program.
    pub table: TableId,
    /// Whether something ends there that begins elsewhere. Such places come first among sites.
    pub ends: bool,
    /// What the program is told.
    pub settings: wire::Site,
    /// What the manifest says of it.
    pub report: manifest::Probe,
}

/// Where a place is.
#[derive(Clone, Debug)]
pub enum At {
    /// In a program or library.
    File {
        /// The file.
        file: CodeFile,
        /// Where the function or probe begins in it.
        offset: u64,
        /// The instruction that is replaced.
        place: Place,
        /// Where the probe's semaphore is in the file, or 0.
        semaphore: u64,
        /// Whether the program is to run when the function returns.
        returns: bool,
    },
    /// A function of the kernel, by a kprobe or kretprobe.
    Kprobe {
        /// Its name.
        function: String,
        /// Whether the program is to run when it returns.
        returns: bool,
    },
    /// A function of the kernel, by a trampoline.
    Trampoline {
        /// Its name.
        function: String,
    },
    /// A tracepoint of the kernel.
    Tracepoint {
        /// Its category.
        category: String,
        /// Its name.
        name: String,
    },
}

/// In which processes the places of files get their programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Wherever the file is mapped, now or later; whom filters leave out pays for the hit all the same.
    Everywhere,
    /// In these processes only.
    Processes(Vec<i32>),
}

/// Attached programs. Dropping them detaches: first where something begins, then where it ends.
#[derive(Default)]
pub struct Links {
    ends: Vec<Link>,
    others: Vec<Link>,
}

impl Links {
    /// Whether nothing is attached.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty() && self.others.is_empty()
    }

    /// Adds more.
    pub fn extend(&mut self, mut more: Links) {
        self.ends.append(&mut more.ends);
        self.others.append(&mut more.others);
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        detach(&mut self.others);
        detach(&mut self.ends);
    }
}

/// As many wait at once.
const DETACHING: usize = 64;

/// Detaches. The kernel lets each one wait until nobody can be in its program any more, a tenth of a second;
/// those that wait at the same time have it in common.
fn detach(links: &mut Vec<Link>) {
    std::thread::scope(|scope| {
        let share = links.len().div_ceil(DETACHING).max(1);
        while !links.is_empty() {
            let some = links.split_off(links.len().saturating_sub(share));
            scope.spawn(move || drop(some));
        }
    });
}

/// What was attached.
#[derive(Default)]
pub struct Programs {
    /// Keeps the programs attached.
    pub links: Links,
    /// For those who count what the kernel did not run.
    pub watched: Vec<Watched>,
    /// What the manifest says, also of what could not be attached.
    pub report: Vec<manifest::Probe>,
}

/// The tracer whose places they are.
#[derive(Debug)]
pub struct Owner<'a> {
    /// Its name.
    pub tracer: &'static str,
    /// Its object.
    pub bytes: &'static [u8],
    /// What its programs are told.
    pub settings: &'a Settings,
    /// In which processes.
    pub reach: &'a Reach,
    /// Where the kernel's types are from.
    pub types: &'a Types,
    /// Whether the kernel may know links to uprobes.
    pub links: Cell<bool>,
}

impl Owner<'_> {
    /// Attaches a program to each of `sites`. Those that fail are only reported. `base` is the tracer's
    /// own object, whose maps are shared.
    pub fn attach(&self, base: &Object, sites: &[Site]) -> Programs {
        let mut programs = Programs::default();
        for site in sites {
            let mut report = site.report.clone();
            match self.attach_one(base, site, &mut programs) {
                // What is attached stays loaded, also without the object and its twenty descriptors.
                Ok(_object) => {}
                Err(error) => {
                    LEFT_OUT.clone_into(&mut report.kind);
                    report.failed = Some(format!("{error:#}"));
                }
            }
            programs.report.push(report);
        }
        // That takes a while, and places are hit already.
        let mut costs: BTreeMap<(bool, Vec<u8>), Option<i64>> = BTreeMap::new();
        for (site, report) in sites.iter().zip(&mut programs.report) {
            if let Some(alike) = site.alike().filter(|_| report.failed.is_none()) {
                let measured = costs.entry(alike);
                report.cost = *measured.or_insert_with(|| self.measure(base, site).ok());
            }
        }
        programs
    }

    fn attach_one(&self, base: &Object, site: &Site, programs: &mut Programs) -> Result<Object> {
        let everyone = [EVERYONE];
        let pids = match (&site.at, self.reach) {
            (At::File { .. }, Reach::Processes(pids)) => pids.as_slice(),
            (_, _) => &everyone,
        };
        let (mut object, links, name) = self.attach_best(base, site, pids, None)?;
        let program = program(&mut object, name)?;
        let watched = Watched::new(site.table, &program).context("no descriptor is left")?;
        let its = if site.ends { &mut programs.links.ends } else { &mut programs.links.others };
        its.extend(links);
        programs.watched.push(watched);
        Ok(object)
    }

    /// Loads and attaches the best program that the kernel takes, in the best way; `elsewhere` is a file
    /// that is to get it instead, at its start. Tells the program's name, too.
    fn attach_best(
        &self,
        base: &Object,
        site: &Site,
        pids: &[i32],
        elsewhere: Option<&Path>,
    ) -> Result<(Object, Vec<Link>, &'static str)> {
        // Before 6.10 a link for one process takes its first thread for all of it (46ba0e49b642).
        let by_link = self.links.get() && matches!(site.at, At::File { .. }) && pids == [EVERYONE];
        let ways: &[Way] = if by_link { &[Way::Link, Way::Event] } else { &[Way::Event] };
        let mut failure = anyhow::anyhow!("there is no program for it");
        for way in ways {
            for name in site.programs {
                let attached = self.load(base, site, name, *way).and_then(|mut object| {
                    let program = program(&mut object, name)?;
                    let attach = |pid: &i32| site.attach(&program, *way, *pid, elsewhere);
                    let links = pids.iter().map(attach).collect::<Result<Vec<Link>>>()?;
                    Ok((object, links, *name))
                });
                match attached {
                    Ok(attached) => {
                        // Once is enough to know.
                        self.links.set(self.links.get() && (*way == Way::Link || !by_link));
                        return Ok(attached);
                    }
                    Err(error) => failure = error,
                }
            }
        }
        Err(failure)
    }

    /// Loads the object for one place.
    fn load(&self, base: &Object, site: &Site, name: &str, way: Way) -> Result<Object> {
        let mut open = self.types.open(self.tracer, self.bytes)?;
        for mut program in open.progs_mut() {
            let wanted = program.name() == name;
            program.set_autoload(wanted);
            if !wanted {
                continue;
            }
            if way == Way::Link {
                program.set_attach_type(ProgramAttachType::TraceUprobeMulti);
            }
            if let At::Trampoline { function } = &site.at {
                let target = program.set_attach_target(0, Some(function.clone()));
                target
                    .with_context(|| format!("the kernel has no function `{function}` for it"))?;
            }
        }
        for mut map in open.maps_mut() {
            let name = map.name().to_string_lossy().into_owned();
            // libbpf puts a part of the object's name before those of read-only data.
            if name.ends_with(".rodata.settings") {
                map.set_initial_value(self.settings.as_bytes())?;
            } else if name.ends_with(".rodata.site") {
                map.set_initial_value(site.settings.as_bytes())?;
            } else if let Some(shared) = base.maps().find(|map| map.name() == name.as_str()) {
                map.reuse_fd(shared.as_fd()).with_context(|| format!("cannot share map {name}"))?;
            }
        }
        open.load().context("the kernel does not load its program")
    }

    /// What a hit costs a process that is not recorded: our own. Where the place is, every other process
    /// has it too, so that the same way is taken.
    fn measure(&self, base: &Object, site: &Site) -> Result<i64> {
        let At::File { place, .. } = &site.at else { bail!("it is no code of ours") };
        let mut object = None;
        calibration::cost(place, |path, _start| {
            let (loaded, links, _) = self.attach_best(base, site, &[EVERYONE], Some(path))?;
            object = Some(loaded);
            Ok(links)
        })
    }
}

/// How a program is attached to a place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// By a link to uprobes (since 6.6, 89ae89f53d20). Many can be detached at the same time.
    Link,
    /// By an event of perf. Each waits for the one before it when it is detached.
    Event,
}

/// Stands for every process, in `bpf_program__attach_uprobe_opts`.
const EVERYONE: i32 = -1;

/// The kind of a probe that was not attached, in the manifest.
pub const LEFT_OUT: &str = "left out";

impl Site {
    fn attach(
        &self,
        program: &ProgramMut<'_>,
        way: Way,
        pid: i32,
        elsewhere: Option<&Path>,
    ) -> Result<Link> {
        Ok(match &self.at {
            At::File { file, offset, place, semaphore, returns } => {
                let (path, at, semaphore) = match elsewhere {
                    Some(path) => (path, 0, 0),
                    None => {
                        (file.path.as_path(), (offset + place.into) as usize, *semaphore as usize)
                    }
                };
                let retprobe = *returns;
                match way {
                    Way::Link => {
                        let options = UprobeMultiOpts {
                            offsets: vec![at],
                            ref_ctr_offsets: vec![semaphore],
                            retprobe,
                            ..UprobeMultiOpts::default()
                        };
                        program.attach_uprobe_multi_with_opts(pid, path, "", options)?
                    }
                    Way::Event => {
                        let options = UprobeOpts {
                            ref_ctr_offset: semaphore,
                            retprobe,
                            ..UprobeOpts::default()
                        };
                        program.attach_uprobe_with_opts(pid, path, at, options)?
                    }
                }
            }
            At::Kprobe { function, returns } => {
                check_kprobes()?;
                program.attach_kprobe(*returns, function)?
            }
            At::Trampoline { .. } => program.attach_trace()?,
            At::Tracepoint { category, name } => {
                let category = TracepointCategory::Custom(category.clone());
                program.attach_tracepoint(category, name)?
            }
        })
    }

    /// The same for places whose probes cost the same.
    fn alike(&self) -> Option<(bool, Vec<u8>)> {
        match &self.at {
            At::File { place, returns, .. } => Some((*returns, calibration::function_like(place))),
            At::Kprobe { .. } | At::Trampoline { .. } | At::Tracepoint { .. } => None,
        }
    }
}

/// Makes sure that there are kprobes at all.
///
/// # Errors
/// If the kernel was built without.
pub fn check_kprobes() -> Result<()> {
    const KPROBES: &str = "/sys/bus/event_source/devices/kprobe";
    if !Path::new(KPROBES).exists() {
        bail!("this kernel has no kprobes (CONFIG_KPROBE_EVENTS)");
    }
    Ok(())
}

fn program<'o>(object: &'o mut Object, name: &str) -> Result<ProgramMut<'o>> {
    object
        .progs_mut()
        .find(|program| program.name() == name)
        .with_context(|| format!("the BPF object has no program `{name}`"))
}
