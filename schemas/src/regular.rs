//! Opening the files of a recording that somebody else has made.
//!
//! A recording is regular files in folders. One that was mailed may hold other things under their names: a
//! link to a file of the reader's, which would then be in a report or a bundle; a pipe, at which the reader
//! would wait for ever; a sparse manifest of terabytes. So nothing else is opened, and what is read as a whole
//! has a limit.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// Opens a regular file to be read, without following a link at its end and without waiting for anybody.
///
/// # Errors
/// As [`File::open`]; and if there is something else.
pub fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(
        &mut options,
        libc::O_NONBLOCK | libc::O_NOFOLLOW,
    );
    let file = match options.open(path) {
        // The system says "too many levels of symbolic links" of a single one.
        Err(_) if path.is_symlink() => return Err(not_regular("it is a link")),
        result => result?,
    };
    // Where the flag above is not known.
    match file.metadata()?.is_file() && !path.is_symlink() {
        true => Ok(file),
        false => Err(not_regular("it is no regular file")),
    }
}

/// The bytes of a regular file that has no more than `most`.
///
/// # Errors
/// As [`open`]; and if there are more.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let why = format!("it has more than {most} bytes, which no recorder writes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(bytes)
}

/// Whether there is a folder at `path` itself, and no link to one.
///
/// # Errors
/// If there is something else, or it cannot be told.
pub fn is_folder(path: &Path) -> io::Result<bool> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => Ok(true),
        Ok(_) => Err(not_regular("it is no folder")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn not_regular(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_of_bounded_length_are_read() {
        let directory = tempfile::tempdir().expect("tests may write temporary files");
        let plain = directory.path().join("plain");
        std::fs::write(&plain, "four").expect("tests may write temporary files");
        assert_eq!(read(&plain, 4).expect("it is short enough"), b"four");
        assert!(read(&plain, 3).expect_err("it is longer").to_string().contains("more than 3"));

        let error = read(directory.path(), 4).expect_err("it is a folder");
        assert!(error.to_string().contains("no regular file"), "{error}");
        let missing = read(&directory.path().join("missing"), 4).expect_err("nothing is there");
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[cfg(unix)]
    #[test]
    fn links_and_pipes_are_told_and_not_opened() {
        let directory = tempfile::tempdir().expect("tests may write temporary files");
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("/proc/self/status", &link).expect("links may be made");
        let error = open(&link).expect_err("it is a link");
        assert!(error.to_string().contains("it is a link"), "{error}");
        assert!(is_folder(&link).is_err());

        let pipe = directory.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.expect("mkfifo is everywhere").success());
        // Nobody writes into it: an open that waits would never end.
        let error = open(&pipe).expect_err("it is a pipe");
        assert!(error.to_string().contains("no regular file"), "{error}");
    }
}
