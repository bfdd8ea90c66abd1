//! Finishing what a killed recorder left unfinished, for readers that know nothing of sidecars.
//!
//! Our own reader needs none of this; see [`segment`](crate::segment). Other programs want a footer
//! at the end of each file, so it is put there: the sidecar's bytes behind the last row group that
//! they cover. Should that be interrupted, the sidecar still holds.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;

use crate::{Error, private, segment};

/// What every Parquet file begins with.
const MAGIC: &[u8; 4] = b"PAR1";

/// Gives an unfinished segment its footer, and removes its sidecar. Nobody may be writing it. The
/// result is whether there was anything to do.
///
/// # Errors
/// If the segment is damaged, or cannot be written.
pub fn repair(path: &Path) -> Result<bool, Error> {
    let sidecar = segment::sidecar(path);
    let segment = segment::open(path)?;
    if !sidecar.exists() {
        return Ok(false);
    }
    if !segment.finished() {
        let footer = std::fs::read(&sidecar).map_err(Error::io(&sidecar))?;
        let groups = segment.metadata().row_groups().iter();
        let ends = groups.flat_map(|group| group.columns()).map(|chunk| {
            let (start, length) = chunk.byte_range();
            start + length
        });
        let end = ends.max().unwrap_or(0);
        let finish = || -> std::io::Result<()> {
            let mut file = private::change(path)?;
            file.set_len(end)?;
            file.seek(SeekFrom::End(0))?;
            if end == 0 {
                file.write_all(MAGIC)?;
            }
            file.write_all(&footer)?;
            file.sync_all()
        };
        finish().map_err(Error::io(path))?;
    }
    std::fs::remove_file(&sidecar).map_err(Error::io(&sidecar))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use super::*;
    use crate::cell::RowBuilder as _;
    use crate::segment::{Rotation, TableWriter};
    use crate::tables::{Clock, clock};
    use crate::{Table as _, TableId};

    #[test]
    fn a_repaired_segment_is_plain_parquet_with_the_same_rows() {
        let directory = tempfile::tempdir().expect("tests may write temporary files");
        let mut writer = TableWriter::new(directory.path(), TableId::Clock, Rotation::default());
        let mut rows = clock::Builder::default();
        for ts in 0..1000 {
            let row = Clock { ts, monotonic: ts, boottime: ts, realtime: ts };
            rows.append(&row, &Default::default());
        }
        writer.append(&rows.finish()).expect("there is room");
        // As a killed recorder leaves it.
        drop(writer);
        let path = directory.path().join(Clock::NAME).join("000001.parquet");
        // The half-written row group that the sidecar does not cover.
        let mut file = OpenOptions::new().append(true).open(&path).expect("it exists");
        file.write_all(&[7; 4096]).expect("there is room");

        assert!(repair(&path).expect("nothing is damaged"));
        assert!(!segment::sidecar(&path).exists());
        let segment = segment::open(&path).expect("it has a footer");
        assert!(segment.finished());
        let batches = segment.reader(None, None).expect("it is readable");
        let rows: usize = batches.map(|batch| batch.expect("it is whole").num_rows()).sum();
        assert_eq!(rows, 1000);
        assert!(!repair(&path).expect("nothing is damaged"));
    }

    #[test]
    fn a_segment_that_has_only_its_sidecar_becomes_an_empty_file() {
        let directory = tempfile::tempdir().expect("tests may write temporary files");
        let mut writer = TableWriter::new(directory.path(), TableId::Clock, Rotation::default());
        let mut rows = clock::Builder::default();
        rows.append(&Clock { ts: 0, monotonic: 0, boottime: 0, realtime: 0 }, &Default::default());
        // Not flushed: the sidecar covers nothing yet.
        writer.add(&rows.finish()).expect("there is room");
        drop(writer);
        let path = directory.path().join(Clock::NAME).join("000001.parquet");
        std::fs::remove_file(&path).expect("it exists");

        assert!(repair(&path).expect("nothing is damaged"));
        let segment = segment::open(&path).expect("it has a footer");
        assert!(segment.finished());
        assert_eq!(segment.rows(), 0);
    }
}
