//! What can be wrong with a recording.

use std::path::{Path, PathBuf};

/// An error that names the file it is about.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be opened, read or written.
    #[error("{}: {cause}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said. It is in the message, so it is no source: who prints those too would say it twice.
        cause: std::io::Error,
    },
    /// The path is not a recording at all.
    #[error("{}: not a recording ({why})", path.display())]
    NotARecording {
        /// The path.
        path: PathBuf,
        /// What was expected there.
        why: String,
    },
    /// The recording was written by a newer version.
    #[error("{}: format version {found} is newer than {} that this version reads; upgrade lookback", path.display(), crate::FORMAT_VERSION)]
    TooNew {
        /// The manifest.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// The file does not hold what it should.
    #[error("{}: damaged: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

impl Error {
    /// An I/O error on `path`.
    pub fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error + '_ {
        move |cause| Error::Io { path: path.to_owned(), cause }
    }

    /// `path` is damaged in the way that the inner error says.
    pub fn damaged<E: std::fmt::Display>(path: &Path) -> impl FnOnce(E) -> Error + '_ {
        move |why| Error::Damaged { path: path.to_owned(), why: why.to_string() }
    }
}
