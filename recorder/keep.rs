//! Copies of the binaries of recorded frames, which make a recording complete in itself.
//!
//! They lie in the recording's folder `binaries`, by build id, where `analyze symbolize` looks first and
//! where debuggers find them too. What is too large is left out, and said.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use lookback_schemas::private;
use lookback_schemas::symbols::tree::{self, Kind};
use lookback_schemas::symbols::{FOLDER, Found};

use crate::owner::Scribe;

/// No larger file is copied, in bytes.
const LARGEST: u64 = 512 << 20;
/// All of them together are not larger, in bytes.
const ALL: u64 = 2 << 30;

/// A file that was left out, and why.
pub type LeftOut = (PathBuf, String);

/// Copies the files of build ids into the recording in `directory`, which is the scribe's, until `enough` says
/// that nobody waits any longer. The result is what was left out.
pub fn copy(
    directory: &Path,
    files: BTreeMap<String, Found>,
    scribe: &Scribe,
    mut enough: impl FnMut() -> bool,
) -> Vec<LeftOut> {
    let mut left_out = Vec::new();
    let mut left = ALL;
    let both = files.into_iter().flat_map(|(build_id, Found { path, debug })| {
        let debug = debug.map(|debug| (build_id.clone(), Kind::Debug, debug));
        std::iter::once((build_id, Kind::Executable, path)).chain(debug)
    });
    for (build_id, kind, path) in both {
        let Some(place) = tree::place(&build_id, kind) else { continue };
        let place = directory.join(FOLDER).join(place);
        let copied = match enough() {
            true => Err("as asked".to_owned()),
            false => copy_one(&path, &place, left.min(LARGEST), scribe),
        };
        match copied {
            Ok(size) => left -= size,
            Err(why) => left_out.push((path, why)),
        }
    }
    left_out
}

/// Copies a file, without the rights that it has: the copy is not to be run. The result is its size.
fn copy_one(path: &Path, place: &Path, most: u64, scribe: &Scribe) -> Result<u64, String> {
    let too_large = || format!("it is larger than {}, of what may be kept", ByteSize(most));
    let new = place.with_extension("new");
    let take = || -> io::Result<Option<u64>> {
        let mut file = File::open(path)?;
        if file.metadata()?.len() > most {
            return Ok(None);
        }
        let copy = new.clone();
        let mut copy = scribe.run(move || {
            private::create_folders(copy.parent().expect("it is below the recording"))?;
            private::create(&copy)
        })?;
        let size = io::copy(&mut file.by_ref().take(most + 1), &mut copy)?;
        if size > most {
            return Ok(None);
        }
        let (new, place) = (new.clone(), place.to_owned());
        scribe.run(move || fs::rename(new, place))?;
        Ok(Some(size))
    };
    let taken =
        take().map_err(|error| error.to_string()).and_then(|size| size.ok_or_else(too_large));
    taken.inspect_err(|_| {
        // Best effort: the error that matters is the first one.
        let new = new.clone();
        let _ = scribe.run(move || fs::remove_file(new));
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::owner::Owner;

    fn scribe() -> Scribe {
        Scribe::start(Owner::Ours, None).unwrap()
    }

    #[test]
    fn what_is_too_large_is_left_out_and_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let (path, place) = (directory.path().join("binary"), directory.path().join("a/b"));
        fs::write(&path, [7; 100]).unwrap();
        assert!(copy_one(&path, &place, 99, &scribe()).unwrap_err().contains("larger"));
        assert!(!place.exists());
        assert_eq!(copy_one(&path, &place, 100, &scribe()), Ok(100));
        assert_eq!(fs::read(&place).unwrap(), [7; 100]);
    }

    #[test]
    fn nobody_is_kept_waiting() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("binary");
        fs::write(&path, [7; 100]).unwrap();
        let files =
            || BTreeMap::from([("abcd".to_owned(), Found { path: path.clone(), debug: None })]);
        assert_eq!(copy(directory.path(), files(), &scribe(), || true)[0].0, path);
        assert_eq!(copy(directory.path(), files(), &scribe(), || false), []);
        assert!(directory.path().join("binaries/.build-id/ab/cd").exists());
    }
}
