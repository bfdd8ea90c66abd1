//! What is there when the recording begins: processes and cgroups. Events tell only what changes.

use std::path::{Path, PathBuf};

use arrow::record_batch::RecordBatch;
use lookback_schemas::TableId;
use lookback_schemas::cell::RowBuilder as _;
use lookback_schemas::tables::{Cgroup, Process, process};
use lookback_schemas::wire::{Header, Loc, Maybe, Monotonic, Settings};
use zerocopy::IntoBytes as _;

use crate::maps::Maps;
use crate::{clocks, targets};

/// The processes that the filters let through, as rows of the table `process`.
pub fn processes(epoch: i64, maps: &Maps, settings: &Settings) -> RecordBatch {
    let mut rows = process::Builder::default();
    let Ok(processes) = procfs::process::all_processes() else { return rows.finish() };
    let root = targets::cgroup_root();
    let own = std::env::current_exe().ok().map(|path| path.to_string_lossy().into_owned());
    let clocks = clocks::reading(epoch);
    let boot = clocks.ts - clocks.boottime;
    // One that ends while it is looked at leaves no row.
    for process in processes.flatten() {
        if process.pid == settings.own_pid
            || settings.by_target != 0 && !maps.is_target(process.pid)
        {
            continue;
        }
        let folder = cgroup_folder(&process, root.as_deref());
        let Some(mut row) = row(&process, boot, folder.as_deref()) else { continue };
        if row.ppid == settings.own_pid && row.exe == own {
            // The command that waits to be let go: still a copy of this program.
            (row.comm, row.exe, row.argv) = (None, None, None);
        }
        if wanted(&row, folder.as_deref(), settings) {
            rows.append(&row, &Default::default());
        }
    }
    rows.finish()
}

/// No processes.
pub fn none() -> RecordBatch {
    process::Builder::default().finish()
}

/// The tests of `bpf/filter.h`, but for targets.
fn wanted(row: &Process, cgroup: Option<&Path>, settings: &Settings) -> bool {
    let comm = String::from_utf8_lossy(&settings.comm.0);
    let comm = comm.trim_end_matches('\0');
    let in_cgroup = |folder: &Path| {
        folder.ancestors().any(|above| targets::cgroup_id(above).ok() == Some(settings.cgroup))
    };
    (settings.uid == -1 || row.uid == Some(settings.uid))
        && (comm.is_empty() || row.comm.as_deref() == Some(comm))
        && (settings.cgroup == 0 || cgroup.is_some_and(in_cgroup))
}

fn cgroup_folder(process: &procfs::process::Process, root: Option<&Path>) -> Option<PathBuf> {
    let groups = process.cgroups().ok()?;
    let path = groups.into_iter().find(|group| group.hierarchy == 0)?.pathname;
    Some(root?.join(path.strip_prefix('/').unwrap_or(&path)))
}

fn row(process: &procfs::process::Process, boot: i64, cgroup: Option<&Path>) -> Option<Process> {
    let stat = process.stat().ok()?;
    let status = process.status().ok();
    let tick = 1_000_000_000 / procfs::ticks_per_second() as i64;
    Some(Process {
        ts: boot + clocks::reading(0).boottime,
        pid: stat.pid,
        ppid: stat.ppid,
        uid: status.map(|status| status.ruid as i32),
        start: Some(boot + stat.starttime as i64 * tick),
        cgroup: cgroup.and_then(|folder| targets::cgroup_id(folder).ok()),
        comm: Some(stat.comm),
        exe: process.exe().ok().map(|path| path.to_string_lossy().into_owned()),
        argv: process.cmdline().ok().filter(|argv| !argv.is_empty()),
    })
}

/// The cgroups of version 2 as records of the table `cgroup`.
pub fn cgroups() -> Vec<Vec<u8>> {
    let Some(root) = targets::cgroup_root() else { return Vec::new() };
    let mut records = Vec::new();
    let mut folders: Vec<PathBuf> = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        let Ok(id) = targets::cgroup_id(&folder) else { continue };
        let below = folder.strip_prefix(&root).unwrap_or(&folder);
        records.push(cgroup_record(id, &format!("/{}", below.display())));
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        folders.extend(
            entries
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path()),
        );
    }
    records
}

/// A record as `bpf/process.bpf.c` makes it. A path that is too long for a record stays unknown.
fn cgroup_record(id: i64, path: &str) -> Vec<u8> {
    let fixed = size_of::<Cgroup>();
    let row = Cgroup {
        header: Header { table: TableId::Cgroup as u32, cpu: 0 },
        ts: Monotonic(clocks::monotonic()),
        id,
        path: Loc::new(fixed as u16, u16::try_from(path.len()).unwrap_or(0)),
        pid: Maybe(i32::MIN),
    };
    let mut record = row.as_bytes().to_vec();
    record.extend_from_slice(path.as_bytes());
    record
}
