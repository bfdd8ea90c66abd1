//! Which processes are recorded: what the user's filters mean to the kernel side.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use lookback_schemas::wire::{Bits, Chars, Settings};
use procfs::process::Process;

use crate::cli::Args;
use crate::maps::Maps;
use crate::selection::{Family, Switch};

/// What the programs are told, by the command line.
///
/// # Errors
/// If a process or cgroup does not exist.
pub fn settings(args: &Args, ring_bytes: usize) -> Result<Settings> {
    let selection = &args.selection;
    let (cgroup, cgroup_level) = match &args.cgroup {
        Some(path) => cgroup(path)?,
        None => (0, 0),
    };
    for pid in &args.pid {
        if Process::new(*pid).and_then(|process| process.stat()).is_err() {
            bail!("--pid {pid}: there is no such process");
        }
    }
    let mut comm = [0; 16];
    if let Some(name) = &args.comm {
        if name.is_empty() || name.len() > 15 {
            bail!("--comm: the kernel keeps 1 to 15 bytes of a name, not {}", name.len());
        }
        comm[..name.len()].copy_from_slice(name.as_bytes());
    }
    let by_target = !args.pid.is_empty() || !args.command.is_empty();
    Ok(Settings {
        ring_bytes: ring_bytes as i64,
        cgroup,
        cgroup_level,
        uid: args.uid.unwrap_or(-1),
        comm: Chars(comm),
        by_target: i32::from(by_target),
        follow: i32::from(by_target && !args.no_follow),
        own_pid: std::process::id() as i32,
        page_size: procfs::page_size() as i32,
        min_duration: args.min_duration.map_or(0, |time| time.as_nanos() as i64),
        thread_exits: i32::from(args.thread_exits),
        ways: args.unwind.ways() as i32,
        syscall_args: i32::from(selection.syscall_args),
        some_syscalls: i32::from(!selection.syscall.is_empty()),
        syscalls: Bits::of(selection.syscall.iter().map(|call| call.0)),
        min_latency: selection.min_latency.map_or(0, |time| time.as_nanos() as i64),
        min_size: selection.min_size.map_or(0, |size| size.as_u64() as i64),
        max_size: selection.max_size.map_or(0, |size| size.as_u64() as i64),
        kalloc_kinds: selection.kalloc.iter().fold(0, |bits, kind| bits | 1 << *kind as i64),
        lport: selection.lport.map_or(0, i32::from),
        rport: selection.rport.map_or(0, i32::from),
        family: selection.family.map_or(0, Family::number),
        rtt_sample: selection.rtt_sample as i32,
        tid: args.tid.unwrap_or(0),
        denied: selection.deny_connect.len() as i32,
        alloc_sample: selection.alloc_sample.map_or(0, |size| size.as_u64() as i64),
        alloc_stacks: i32::from(selection.alloc_stacks == Switch::On),
        alloc_follow: i32::from(selection.alloc_follow),
        command: 0,
    })
}

/// Adds the processes that were asked for. With `follow` also their descendants, of which new ones
/// are followed already: it looks again until no unknown one is left.
///
/// # Errors
/// If there are too many.
pub fn add(maps: &Maps, pids: &[i32], follow: bool) -> Result<()> {
    for pid in pids {
        maps.add_target(*pid)?;
    }
    let mut look_again = follow;
    while look_again {
        look_again = false;
        for (pid, parent) in parents() {
            if !maps.is_target(pid) && maps.is_target(parent) {
                maps.add_target(pid)?;
                look_again = true;
            }
        }
    }
    Ok(())
}

/// Each process and its parent, now.
fn parents() -> Vec<(i32, i32)> {
    let Ok(processes) = procfs::process::all_processes() else { return Vec::new() };
    // A process may end while it is looked at.
    processes.flatten().filter_map(|p| p.stat().ok()).map(|stat| (stat.pid, stat.ppid)).collect()
}

/// Where the hierarchy of version 2 is mounted.
pub fn cgroup_root() -> Option<PathBuf> {
    let mounts = Process::myself().and_then(|process| process.mountinfo()).ok()?;
    mounts.into_iter().find(|mount| mount.fs_type == "cgroup2").map(|mount| mount.mount_point)
}

/// A cgroup's id, and its depth below the root.
fn cgroup(path: &Path) -> Result<(i64, i32)> {
    let Some(root) = cgroup_root() else {
        bail!("--cgroup: the cgroup hierarchy of version 2 is not mounted");
    };
    let absolute = if path.starts_with(&root) {
        path.to_owned()
    } else {
        root.join(path.strip_prefix("/").unwrap_or(path))
    };
    let absolute = absolute.canonicalize().with_context(|| {
        format!(
            "--cgroup {}: there is no such cgroup of version 2, below {}",
            path.display(),
            root.display()
        )
    })?;
    let Ok(below) = absolute.strip_prefix(&root) else {
        bail!("--cgroup {}: not below {}", path.display(), root.display());
    };
    Ok((cgroup_id(&absolute)?, below.components().count() as i32))
}

/// A cgroup's id is the inode number of its directory.
///
/// # Errors
/// If it does not exist.
pub fn cgroup_id(directory: &Path) -> Result<i64> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = std::fs::metadata(directory)
        .with_context(|| format!("no such cgroup: {}", directory.display()))?;
    Ok(metadata.ino() as i64)
}
