//! Code that recorded processes map while they are recorded, and its allocators.
//!
//! The kernel side counts when a process has called exec or loaded libraries (`bpf/alloc.bpf.c`). Whatever
//! is new is then looked at, and probed if it allocates. The command that the recorder has started is
//! stopped meanwhile when it calls exec; all others go on.

use std::cell::RefCell;

use anyhow::Result;
use lookback_schemas::manifest::{self, Manifest};

use crate::allocators::Allocators;
use crate::cli::Args;
use crate::clocks;
use crate::command::Stopped;
use crate::hooks::{Attached, Tracer};
use crate::maps::Maps;
use crate::tracers::Choice;

/// The tracer of user allocations.
const ALLOC: &str = "alloc";

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

/// Probes allocators that recorded processes map while they are recorded.
pub struct NewCode<'a> {
    attached: &'a mut Attached,
    allocators: &'a RefCell<Allocators>,
    maps: &'a Maps,
    /// The process that is the command.
    command: Option<i32>,
    /// The changes that were looked at.
    seen: [u64; 2],
}

impl<'a> NewCode<'a> {
    /// Where allocations are recorded.
    pub fn watched(
        attached: &'a mut [(&'static Tracer, Attached)],
        allocators: &'a RefCell<Allocators>,
        maps: &'a Maps,
        command: Option<i32>,
    ) -> Option<NewCode<'a>> {
        let (_, attached) = attached.iter_mut().find(|(tracer, _)| tracer.name == ALLOC)?;
        Some(NewCode { attached, allocators, maps, command, seen: [0; 2] })
    }

    /// Probes what is new, and adds it to the manifest.
    pub fn look(&mut self, manifest: &mut Manifest) -> Result<()> {
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
        let mut probes = self.attached.probe_new(&mut allocators, &pids)?;
        if stopped.is_some() {
            extend(manifest, probes);
            return Ok(());
        }
        let now = clocks::monotonic() + manifest.epoch;
        probes.iter_mut().for_each(|probe| probe.late = Some(now));
        extend(manifest, probes);
        Ok(())
    }
}

/// Adds probes to what the manifest says.
fn extend(manifest: &mut Manifest, probes: Vec<manifest::Probe>) {
    if let Some(tracer) = manifest.tracers.iter_mut().find(|tracer| tracer.name == ALLOC) {
        tracer.probes.extend(probes);
    }
}
