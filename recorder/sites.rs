//! Single places of programs, libraries and the kernel, each with a program of its own.
//!
//! Places differ in where their arguments are. On newer kernels one program could be told its place by a
//! cookie (7adfc6c9b315, 5.15) and look it up at each hit. Here the tracer's object is loaded once for each
//! place instead, with what is known of it as read-only data: that works on every kernel, and costs nothing
//! when the place is hit (`bpf/site.h`). All these objects share the maps of the first one, which the
//! tracer's other programs belong to.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use libbpf_rs::{
    Link, MapCore as _, Object, ObjectBuilder, ProgramMut, TracepointCategory, UprobeOpts,
};
use lookback_schemas::TableId;
use lookback_schemas::manifest;
use lookback_schemas::wire::{self, Settings};
use std::os::fd::AsFd as _;
use zerocopy::IntoBytes as _;

use crate::missed::Watched;
use crate::probes::calibration;
use crate::probes::files::CodeFile;
use crate::probes::placement::Place;

/// A place that gets a program.
#[derive(Clone, Debug)]
pub struct Site {
    /// Where it is.
    pub at: At,
    /// The tracer's programs for it, the best first: the kernel may not take it.
    pub programs: &'static [&'static str],
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

/// What was attached.
#[derive(Default)]
pub struct Programs {
    /// Keeps the programs attached.
    pub links: Vec<Link>,
    /// Keeps them loaded.
    pub objects: Vec<Object>,
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
    /// Its table, which tells of programs that did not run.
    pub table: TableId,
    /// Its object.
    pub bytes: &'static [u8],
    /// What its programs are told.
    pub settings: &'a Settings,
    /// In which processes.
    pub reach: &'a Reach,
}

impl Owner<'_> {
    /// Attaches a program to each of `sites`. Those that fail are only reported. `base` is the tracer's
    /// own object, whose maps are shared.
    pub fn attach(&self, base: &Object, sites: &[Site]) -> Programs {
        let mut programs = Programs::default();
        for site in sites {
            let mut report = site.report.clone();
            match self.attach_one(base, site, &mut programs) {
                Ok(object) => programs.objects.push(object),
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
        let (mut object, name) = self.load(base, site)?;
        let program = program(&mut object, name)?;
        let watched = Watched::new(self.table, &program).context("no descriptor is left")?;
        let mut links = Vec::new();
        match (&site.at, self.reach) {
            (At::File { .. }, Reach::Processes(pids)) => {
                for pid in pids {
                    links.push(site.attach(&program, *pid)?);
                }
            }
            (At::File { .. }, Reach::Everywhere) => links.push(site.attach(&program, EVERYONE)?),
            (At::Kprobe { .. } | At::Trampoline { .. } | At::Tracepoint { .. }, _) => {
                links.push(site.attach(&program, EVERYONE)?);
            }
        }
        programs.links.extend(links);
        programs.watched.push(watched);
        Ok(object)
    }

    /// Loads the object for one place, with the best program that the kernel takes.
    fn load(&self, base: &Object, site: &Site) -> Result<(Object, &'static str)> {
        let mut result = Err(anyhow::anyhow!("there is no program for it"));
        for name in site.programs {
            result = self.load_with(base, site, name).map(|object| (object, *name));
            if result.is_ok() {
                break;
            }
        }
        result
    }

    fn load_with(&self, base: &Object, site: &Site, name: &str) -> Result<Object> {
        let mut open = ObjectBuilder::default()
            .name(self.tracer)?
            .open_memory(self.bytes)
            .context("cannot read the BPF object")?;
        for mut program in open.progs_mut() {
            let wanted = program.name() == name;
            program.set_autoload(wanted);
            if let At::Trampoline { function } = &site.at
                && wanted
            {
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

    /// What a hit costs a process that is not recorded: our own.
    fn measure(&self, base: &Object, site: &Site) -> Result<i64> {
        let At::File { place, returns, .. } = &site.at else { bail!("it is no code of ours") };
        let (mut object, name) = self.load(base, site)?;
        calibration::cost(place, |path, offset| {
            let program = program(&mut object, name)?;
            let options = UprobeOpts { retprobe: *returns, ..UprobeOpts::default() };
            let own = std::process::id() as i32;
            Ok(vec![program.attach_uprobe_with_opts(own, path, offset, options)?])
        })
    }
}

/// Stands for every process, in `bpf_program__attach_uprobe_opts`.
const EVERYONE: i32 = -1;

/// The kind of a probe that was not attached, in the manifest.
pub const LEFT_OUT: &str = "left out";

impl Site {
    fn attach(&self, program: &ProgramMut<'_>, pid: i32) -> Result<Link> {
        Ok(match &self.at {
            At::File { file, offset, place, semaphore, returns } => {
                let options = UprobeOpts {
                    ref_ctr_offset: *semaphore as usize,
                    retprobe: *returns,
                    ..UprobeOpts::default()
                };
                let at = (offset + place.into) as usize;
                program.attach_uprobe_with_opts(pid, &file.path, at, options)?
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
