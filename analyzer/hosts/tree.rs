//! Which recordings a report is made from: those that are named, and those in folders of hosts.
//!
//! A folder `host=NAME` holds recordings of a host, or is one; a folder of such folders is a fleet. Programs
//! that read partitioned Parquet ("hive" partitions) take `host` for a column.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use lookback_schemas::manifest;
use lookback_schemas::recording::Recording;

/// Which recordings to read.
#[derive(Args, Clone, Debug, Default)]
pub struct RecordingsArgs {
    /// The recording: a directory. Several are told apart by host, and so are those in directories
    /// host=NAME below this one
    #[arg(value_name = "RECORDING", required = true)]
    pub recordings: Vec<PathBuf>,
    /// Only recordings of this host; can be given again
    #[arg(long, value_name = "NAME", help_heading = "Filters")]
    pub host: Vec<String>,
}

impl RecordingsArgs {
    /// The one recording, if there is no more to it.
    #[must_use]
    pub fn single(&self) -> Option<&Path> {
        match self.recordings.as_slice() {
            [one] if self.host.is_empty() && folders(one).is_empty() && host_in(one).is_none() => {
                Some(one)
            }
            _ => None,
        }
    }

    /// Opens all of them, those of a host one after the other.
    ///
    /// # Errors
    /// If one is no recording, or --host names a host of which there is none.
    pub fn open(&self) -> anyhow::Result<Vec<OfHost>> {
        let mut all: Vec<OfHost> = Vec::new();
        for path in &self.recordings {
            for (host, path) in below(path)? {
                let recording = Recording::open(&path)?;
                let host = host.unwrap_or_else(|| recording.manifest().host.name.clone());
                all.push(OfHost { host, recording });
            }
        }
        let mut paths = HashSet::new();
        for one in &all {
            let path = one.recording.directory();
            // Who is counted twice makes sums wrong.
            if !paths.insert(path.canonicalize().unwrap_or_else(|_| path.to_owned())) {
                bail!("{}: this recording is named twice", path.display());
            }
        }
        let mut hosts: Vec<&str> = Vec::new();
        for one in &all {
            if !hosts.contains(&one.host.as_str()) {
                hosts.push(&one.host);
            }
        }
        if let Some(unknown) = self.host.iter().find(|host| !hosts.contains(&host.as_str())) {
            bail!(
                "--host {unknown}: there is no recording of it; there are those of {}",
                hosts.join(", ")
            );
        }
        let hosts: Vec<String> = hosts.into_iter().map(str::to_owned).collect();
        all.retain(|one| self.host.is_empty() || self.host.contains(&one.host));
        // Of a boot, too, all stand together: clocks may be set back.
        let mut boots: HashMap<String, i64> = HashMap::new();
        for one in &all {
            let manifest = one.recording.manifest();
            let began = boots.entry(manifest.host.boot_id.clone()).or_insert(manifest.started);
            *began = manifest.started.min(*began);
        }
        all.sort_by_cached_key(|one| {
            let manifest = one.recording.manifest();
            let (boot, started) = (&manifest.host.boot_id, manifest.started);
            let host = hosts.iter().position(|host| *host == one.host);
            (host, boots[boot], boot.clone(), started, one.recording.directory().to_owned())
        });
        Ok(all)
    }
}

/// A recording, and whose it is.
#[derive(Debug)]
pub struct OfHost {
    /// The host: as its folder says, or else its manifest.
    pub host: String,
    /// The recording.
    pub recording: Recording,
}

/// What a folder of a host begins with.
const PREFIX: &str = "host=";

/// The host that a folder of this name is of.
fn host_of(folder: &Path) -> Option<String> {
    let name = folder.file_name()?.to_str()?.strip_prefix(PREFIX)?;
    (!name.is_empty()).then(|| name.to_owned())
}

/// The host that a path names: the nearest folder that does.
fn host_in(path: &Path) -> Option<String> {
    path.ancestors().find_map(host_of)
}

/// The folders of hosts in a folder that is no recording itself, in order.
fn folders(path: &Path) -> Vec<PathBuf> {
    if is_recording(path) {
        return Vec::new();
    }
    let mut folders = children(path).unwrap_or_default();
    folders.retain(|folder| host_of(folder).is_some());
    folders
}

fn is_recording(path: &Path) -> bool {
    path.join(manifest::FILE).exists()
}

/// The folders in a folder, in order. Links to folders count: a fleet can be put together of them.
fn children(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut children = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let path = entry?.path();
        if path.is_dir() {
            children.push(path);
        }
    }
    children.sort();
    Ok(children)
}

/// The recordings that a path stands for, with the host where folders say so.
fn below(path: &Path) -> anyhow::Result<Vec<(Option<String>, PathBuf)>> {
    let folders = folders(path);
    if !folders.is_empty() {
        let below =
            folders.iter().map(|folder| below(folder)).collect::<anyhow::Result<Vec<_>>>()?;
        return Ok(below.concat());
    }
    let host = host_in(path);
    if is_recording(path) || host_of(path).is_none() {
        return Ok(vec![(host, path.to_owned())]);
    }
    let recordings = children(path).with_context(|| path.display().to_string())?;
    if recordings.is_empty() {
        bail!("{}: there is no recording in it", path.display());
    }
    Ok(recordings.into_iter().map(|recording| (host.clone(), recording)).collect())
}
