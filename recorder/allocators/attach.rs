//! Attaching the tracer's programs to functions of allocators.

use std::path::Path;

use anyhow::{Context as _, Result};
use libbpf_rs::{Link, Object, ProgramMut, UprobeMultiOpts, UprobeOpts};
use lookback_schemas::manifest;

use super::functions::Site;
use crate::probes::calibration;
use crate::probes::placement::Place;

/// What was attached. Dropping the links detaches.
#[derive(Default)]
pub struct Probes {
    /// The attached programs.
    pub links: Vec<Link>,
    /// What the manifest says of them.
    pub report: Vec<manifest::Probe>,
}

/// By which kind of probe the functions are traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// One probe for entry and return.
    Session,
    /// A probe for each.
    Single,
}

impl Hook {
    /// Attaches the programs to functions of a file, in process `pid`, or in all (-1).
    pub fn attach(
        self,
        object: &mut Object,
        pid: i32,
        path: &Path,
        sites: &[Site],
    ) -> Result<Vec<Link>> {
        match self {
            Hook::Session => attach_sessions(object, pid, path, sites),
            Hook::Single => attach_singly(object, pid, path, sites),
        }
    }

    /// What the probe of a function costs.
    pub fn measure(self, object: &mut Object, site: &Site) -> Result<i64> {
        let own = std::process::id() as i32;
        calibration::cost(&site.place, |path, offset| {
            let place = Place { into: 0, ..site.place.clone() };
            let measured = Site { offset: offset as u64, place, ..site.clone() };
            self.attach(object, own, path, &[measured])
        })
    }

    /// Watches for libraries that are loaded later. Without it only `exec` is noticed.
    pub fn watch_linker(
        self,
        object: &mut Object,
        pid: i32,
        path: &Path,
        offset: u64,
    ) -> Option<Link> {
        let program = program_named(object, "linker").ok()?;
        program.attach_uprobe_with_opts(pid, path, offset as usize, UprobeOpts::default()).ok()
    }
}

/// Attaches a program to all functions at once that it is for: those that free first, so that what is
/// seen to be allocated is seen to be freed.
fn attach_sessions(
    object: &mut Object,
    pid: i32,
    path: &Path,
    sites: &[Site],
) -> Result<Vec<Link>> {
    let mut links = Vec::new();
    for name in ["session_free", "session_wrapper", "session"] {
        let its: Vec<&Site> = sites.iter().filter(|site| site.role.session() == name).collect();
        if its.is_empty() {
            continue;
        }
        let options = UprobeMultiOpts {
            offsets: its.iter().map(|site| site.probe_offset()).collect(),
            cookies: its.iter().map(|site| site.role.cookie()).collect(),
            session: name == "session",
            ..UprobeMultiOpts::default()
        };
        let program = program_named(object, name)?;
        links.push(program.attach_uprobe_multi_with_opts(pid, path, "", options)?);
    }
    Ok(links)
}

/// Attaches each function's program, and where its return is of interest a second one; in the same order.
fn attach_singly(object: &mut Object, pid: i32, path: &Path, sites: &[Site]) -> Result<Vec<Link>> {
    let mut links = Vec::new();
    let (frees, others): (Vec<&Site>, Vec<&Site>) =
        sites.iter().partition(|site| !site.role.returns());
    for site in frees.into_iter().chain(others) {
        let at = site.probe_offset();
        // The return probe first: an entry that is seen has its return.
        if site.role.returns() {
            let options = UprobeOpts { retprobe: true, ..UprobeOpts::default() };
            let leave = program_named(object, "leave_any")?;
            links.push(leave.attach_uprobe_with_opts(pid, path, at, options)?);
        }
        let enter = program_named(object, &site.role.program())?;
        links.push(enter.attach_uprobe_with_opts(pid, path, at, UprobeOpts::default())?);
    }
    Ok(links)
}

fn program_named<'o>(object: &'o mut Object, name: &str) -> Result<ProgramMut<'o>> {
    object
        .progs_mut()
        .find(|program| program.name() == name)
        .with_context(|| format!("the BPF object has no program `{name}`"))
}
