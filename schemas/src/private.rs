//! Files and folders that only their owner reads: recordings hold command lines, and more.
//!
//! The rights are set when something is created, so that there is no moment without them, and again then: the
//! creator's umask may have taken away more, and a folder that cannot be written to is of no use.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::path::Path;

/// What owners may do with files: read and write.
#[cfg(unix)]
const FILE: u32 = 0o600;
/// What owners may do with folders: all.
#[cfg(unix)]
const FOLDER: u32 = 0o700;

/// Creates a file, or empties the one that is there.
///
/// # Errors
/// As [`File::create`].
pub fn create(path: &Path) -> io::Result<File> {
    open(OpenOptions::new().write(true).create(true).truncate(true), path)
}

/// Creates a file where there is none.
///
/// # Errors
/// As [`File::create_new`].
pub fn create_new(path: &Path) -> io::Result<File> {
    open(OpenOptions::new().read(true).write(true).create_new(true), path)
}

/// Opens a file to be changed; creates it if there is none.
///
/// # Errors
/// As [`OpenOptions::open`].
pub fn change(path: &Path) -> io::Result<File> {
    open(OpenOptions::new().write(true).create(true).truncate(false), path)
}

#[cfg(unix)]
fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
    let file = options.mode(FILE).open(path)?;
    file.set_permissions(Permissions::from_mode(FILE))?;
    Ok(file)
}

#[cfg(not(unix))]
fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    options.open(path)
}

/// Creates a folder.
///
/// # Errors
/// If there is something already, or it cannot be created.
#[cfg(unix)]
pub fn create_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    DirBuilder::new().mode(FOLDER).create(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(FOLDER))
}

/// Creates a folder.
///
/// # Errors
/// If there is something already, or it cannot be created.
#[cfg(not(unix))]
pub fn create_folder(path: &Path) -> io::Result<()> {
    std::fs::create_dir(path)
}

/// Creates a folder and those above it, as far as they are not there.
///
/// # Errors
/// If one of them cannot be created.
pub fn create_folders(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(above) = path.parent() {
        create_folders(above)?;
    }
    match create_folder(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        result => result,
    }
}
