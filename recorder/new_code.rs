//! Code that recorded processes map while they are recorded: its allocators, and other places that tracers
//! look for.
//!
//! Places are looked for when the kernel tells that a file of a promising name was mapped
//! ([`code_events`](crate::code_events)). For allocators, the kernel side counts when a process has called exec or loaded libraries (`bpf/alloc.bpf.c`). Whatever
//! is new is then looked at, and probed if it allocates. The command that the recorder has started is
//! stopped meanwhile when it calls exec; all others go on.

use std::cell::RefCell;

use anyhow::Result;
use lookback_schemas::manifest::{self, Manifest};
use lookback_schemas::wire::Settings;

use crate::allocators::Allocators;
use crate::cli::Args;
use crate::clocks;
use crate::command::Stopped;
use crate::finder::{Finder, Newcomers};
use crate::hooks::{Attached, Tracer};
use crate::maps::Maps;
use crate::sites::Reach;
use crate::tracers::Choice;
use crate::types::Types;

/// The tracer of user allocations.
pub const ALLOC: &str = "alloc";

/// Finds what the tracer of user allocations is to probe. If that is nothing, the tracer is left out,
/// unless the user named it; the manifest is to say so then.
pub fn find_allocators(
    args: &Args,
    started: Option<i32>,
    choices: &mut Vec<Choice>,
) -> Result<(Allocators, Option<manifest::Tracer>)> {
    let Some(place) = choices.iter().position(|choice| choice.tracer.name == ALLOC) else {
        return Ok((Allocators::default(), None));
    };
    match Allocators::find(args, started) {
        Ok(found) => Ok((found, None)),
        Err(error) if choices[place].by_name => Err(error),
        Err(error) => {
            if !args.quiet {
                eprintln!("record: going on without `{ALLOC}`: {error:#}");
            }
            let tracer = choices.remove(place).tracer;
            let left_out = manifest::Tracer {
                name: tracer.name.to_owned(),
                tables: tracer.tables.iter().map(|table| table.name().to_owned()).collect(),
                failed: Some(format!("{error:#}")),
                ..manifest::Tracer::default()
            };
            Ok((Allocators::default(), Some(left_out)))
        }
    }
}

/// Probes what recorded processes map while they are recorded.
pub struct NewCode<'a> {
    /// The tracers that are attached.
    pub tracing: &'a mut [(&'static Tracer, Attached)],
    /// The allocators that are known.
    pub allocators: &'a RefCell<Allocators>,
    /// Tells what has changed, and who is recorded.
    pub maps: &'a Maps,
    /// The process that is the command.
    pub command: Option<i32>,
    /// The changes that were looked at.
    pub seen: [u64; 2],
    /// What is looked for in new files.
    pub finders: &'a mut [Finder],
    /// Who has mapped some.
    pub newcomers: Newcomers,
    /// What programs are told.
    pub settings: &'a Settings,
    /// In which processes places of files get programs.
    pub reach: &'a Reach,
    /// Where the kernel's types are from.
    pub types: &'a Types,
}

impl NewCode<'_> {
    /// Probes what is new, and adds it to the manifest.
    ///
    /// # Errors
    /// If the kernel does not tell what has changed.
    pub fn look(&mut self, manifest: &mut Manifest) -> Result<()> {
        self.look_for_places(manifest);
        self.look_for_allocators(manifest)
    }

    fn look_for_places(&mut self, manifest: &mut Manifest) {
        for pid in self.newcomers.take() {
            let reached = match self.reach {
                Reach::Everywhere => self.settings.by_target == 0 || self.maps.is_target(pid),
                Reach::Processes(pids) => pids.contains(&pid),
            };
            if !reached {
                continue;
            }
            for finder in &mut *self.finders {
                let name = finder.search.tracer;
                let its = self.tracing.iter_mut().find(|(tracer, _)| tracer.name == name);
                let Some((tracer, attached)) = its else { continue };
                let sites = finder.process(pid, true);
                if sites.is_empty() {
                    continue;
                }
                let owner = tracer.owner(self.settings, self.reach, self.types);
                let mut probes = attached.probe_sites(&owner, &sites);
                let now = clocks::monotonic() + manifest.epoch;
                probes.iter_mut().for_each(|probe| probe.late = Some(now));
                extend(manifest, name, probes);
            }
        }
    }

    fn look_for_allocators(&mut self, manifest: &mut Manifest) -> Result<()> {
        let its = self.tracing.iter_mut().find(|(tracer, _)| tracer.name == ALLOC);
        let Some((_, attached)) = its else { return Ok(()) };
        let changes = self.maps.code_changes()?;
        let before = std::mem::replace(&mut self.seen, changes);
        if before == changes {
            return Ok(());
        }
        let mut allocators = self.allocators.borrow_mut();
        let pids = allocators.processes(self.maps);
        // The command stops when it calls exec, but for the first time (bpf/alloc.bpf.c).
        let stopped = self.command.filter(|_| changes[1] > before[1].max(1)).map(Stopped);
        if let Some(Stopped(pid)) = &stopped {
            allocators.expect_image(*pid);
        }
        let mut probes = attached.probe_new(&mut allocators, &pids)?;
        if stopped.is_some() {
            extend(manifest, ALLOC, probes);
            return Ok(());
        }
        let now = clocks::monotonic() + manifest.epoch;
        probes.iter_mut().for_each(|probe| probe.late = Some(now));
        extend(manifest, ALLOC, probes);
        Ok(())
    }
}

/// Adds probes to what the manifest says of a tracer.
fn extend(manifest: &mut Manifest, tracer: &str, probes: Vec<manifest::Probe>) {
    if let Some(tracer) = manifest.tracers.iter_mut().find(|known| known.name == tracer) {
        tracer.probes.extend(probes);
    }
}
