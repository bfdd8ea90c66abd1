//! Directories of binaries, in which files are found by their build ids.
//!
//! Distributions and debuggers have agreed on a layout: what belongs to the build id `abcdef…` is
//! `.build-id/ab/cdef….debug` if it is what was stripped, and `.build-id/ab/cdef…` if it is the binary
//! itself. A [`Tree`] may also be of plain files: those are read once to see what they are.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::elf::{self, Headers};

/// Files of more directories than this are not looked at: somebody has given the wrong one.
const MOST_ENTRIES: usize = 1_000_000;
/// Nor directories that lie deeper.
const DEEPEST: usize = 64;

/// Which of the two files of a build id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The binary itself.
    Executable,
    /// What was stripped from it.
    Debug,
}

/// Where a file belongs below a directory; `None` if that is no build id.
#[must_use]
pub fn place(build_id: &str, kind: Kind) -> Option<PathBuf> {
    let hex = build_id.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if !hex || build_id.len() < 4 || !build_id.len().is_multiple_of(2) {
        return None;
    }
    let (first, rest) = build_id.split_at(2);
    let suffix = match kind {
        Kind::Executable => "",
        Kind::Debug => ".debug",
    };
    Some(Path::new(".build-id").join(first).join(format!("{rest}{suffix}")))
}

/// A file in its place below `directory`, if it is there and has that build id.
#[must_use]
pub fn in_place(directory: &Path, build_id: &str, kind: Kind) -> Option<PathBuf> {
    let path = directory.join(place(build_id, kind)?);
    (elf::build_id(&path).as_deref() == Some(build_id)).then_some(path)
}

/// A directory of binaries.
#[derive(Debug)]
pub struct Tree {
    directory: PathBuf,
    /// The plain files, once somebody asked for something that is not in its place.
    plain: Option<HashMap<(String, Kind), PathBuf>>,
}

impl Tree {
    /// Of this directory.
    #[must_use]
    pub fn new(directory: PathBuf) -> Tree {
        Tree { directory, plain: None }
    }

    /// The file of a build id.
    pub fn find(&mut self, build_id: &str, kind: Kind) -> Option<PathBuf> {
        // Users give the directory that has `.build-id`, or that itself.
        let within = self.directory.file_name().is_some_and(|name| name == ".build-id");
        let parent = if within { self.directory.parent() } else { None };
        let directory = parent.unwrap_or(&self.directory);
        if let Some(path) = in_place(directory, build_id, kind) {
            return Some(path);
        }
        let plain = self.plain.get_or_insert_with(|| walk(&self.directory));
        plain.get(&(build_id.to_owned(), kind)).cloned()
    }
}

/// All files below a directory that have a build id. Links to directories are not followed.
fn walk(directory: &Path) -> HashMap<(String, Kind), PathBuf> {
    let mut found = HashMap::new();
    let mut directories = vec![(directory.to_owned(), 0)];
    let mut entries = 0;
    while let Some((directory, depth)) = directories.pop() {
        // What may not be read is not there.
        let Ok(listed) = fs::read_dir(&directory) else { continue };
        for entry in listed.flatten() {
            entries += 1;
            if entries > MOST_ENTRIES {
                return found;
            }
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && depth < DEEPEST {
                directories.push((entry.path(), depth + 1));
            } else if !kind.is_dir()
                && let Ok(headers) = Headers::read(&entry.path())
                && let Some(build_id) = headers.build_id
            {
                let kind = if headers.code { Kind::Executable } else { Kind::Debug };
                if headers.code && headers.debug_info {
                    found.entry((build_id.clone(), Kind::Debug)).or_insert_with(|| entry.path());
                }
                found.entry((build_id, kind)).or_insert_with(|| entry.path());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_build_ids_become_paths() {
        let path = |id| place(id, Kind::Debug).map(|path| path.display().to_string());
        assert_eq!(path("abcdef"), Some(".build-id/ab/cdef.debug".to_owned()));
        for wrong in ["", "ab", "abc", "../../../etc", "ABCD", "ab/d", "a\u{e9}b"] {
            assert_eq!(path(wrong), None, "{wrong}");
        }
    }
}
