//! The name of the directory that the recording is written to; [`owner`](crate::owner) creates it.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use lookback_schemas::{Error, manifest};

/// The host's name, made fit for a file name.
pub fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String =
        name.trim().chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).collect();
    if name.is_empty() { "host".to_owned() } else { name }
}

/// The directory that the user asked for, or `./HOST-TIME.lookback`.
///
/// # Errors
/// If there is something already.
pub fn directory(wanted: Option<&Path>) -> Result<PathBuf> {
    let directory = match wanted {
        Some(directory) => directory.to_owned(),
        None => {
            let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
            PathBuf::from(format!("{}-{now}.lookback", host_name()))
        }
    };
    if directory.symlink_metadata().is_ok() {
        bail!("{} exists already; choose another with --output", directory.display());
    }
    Ok(directory)
}

/// Waits until the disk has the directory's name: what is in it would be of no use without.
///
/// # Errors
/// If the disk fails.
pub fn settle(directory: &Path) -> Result<(), Error> {
    let parent = match directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    manifest::sync_directory(parent)
}
