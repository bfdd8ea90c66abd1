//! Finishing what a killed recorder left unfinished, for readers that know nothing of sidecars.
//!
//! Our own reader needs none of this; see [`segment`](crate::segment). Other programs want a footer
//! at the end of each file, so it is put there, behind the last row group that it covers. Should that be
//! interrupted, the sidecar still holds.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;

use parquet::file::metadata::ParquetMetaDataWriter;

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
    let columns = segment.metadata().file_metadata().schema_descr().num_columns();
    if columns == 0 {
        // Nothing of it came to the disk, and no program reads a file without columns.
        if path.exists() {
            std::fs::remove_file(path).map_err(Error::io(path))?;
        }
    } else if !segment.finished() {
        let mut footer = Vec::new();
        ParquetMetaDataWriter::new(&mut footer, segment.metadata())
            .finish()
            .map_err(Error::damaged(path))?;
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
        writer.append(&clock_rows(0..1000)).expect("there is room");
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

    fn clock_rows(times: std::ops::Range<i64>) -> arrow::record_batch::RecordBatch {
        let mut rows = clock::Builder::default();
        for ts in times {
            let row = Clock { ts, monotonic: ts, boottime: ts, realtime: ts };
            rows.append(&row, &Default::default());
        }
        rows.finish()
    }

    #[test]
    fn what_the_disk_has_of_a_segment_is_read_and_repaired() {
        let directory = tempfile::tempdir().expect("tests may write temporary files");
        let mut writer = TableWriter::new(directory.path(), TableId::Clock, Rotation::default());
        let path = directory.path().join(Clock::NAME).join("000001.parquet");
        let length = || std::fs::metadata(&path).expect("it exists").len();
        let mut lengths = Vec::new();
        for part in 0..3 {
            writer.append(&clock_rows(part * 100..part * 100 + 100)).expect("there is room");
            lengths.push(length());
        }
        drop(writer);
        let sidecar = std::fs::read(segment::sidecar(&path)).expect("it exists");
        let cut_to = |length: u64| {
            let file = OpenOptions::new().write(true).open(&path).expect("it exists");
            file.set_len(length).expect("it is writable");
            segment::open(&path).expect("it opens, however much is missing")
        };
        for (length, rows, cut_off) in [
            (lengths[2], 300, false),
            (lengths[2] - 1, 200, true),
            (lengths[1], 200, true),
            (lengths[0] + 1, 100, true),
            (lengths[0] - 1, 0, true),
            (0, 0, true),
        ] {
            let segment = cut_to(length);
            assert_eq!((segment.rows(), segment.cut_off()), (rows, cut_off), "{length} bytes");
            let batches = segment.reader(None, None).expect("it is readable");
            let read: usize = batches.map(|batch| batch.expect("it is whole").num_rows()).sum();
            assert_eq!(read as u64, rows);
        }
        assert!(repair(&path).expect("nothing is damaged"));
        let segment = segment::open(&path).expect("it has a footer");
        assert!(segment.finished() && segment.rows() == 0);

        // Nor did the disk have the sidecar.
        std::fs::write(segment::sidecar(&path), "").expect("it is writable");
        std::fs::write(&path, "").expect("it is writable");
        let segment = segment::open(&path).expect("it opens");
        assert!(segment.rows() == 0 && segment.cut_off() && !segment.finished());
        assert!(repair(&path).expect("nothing is damaged"));
        assert!(!path.exists() && !segment::sidecar(&path).exists());

        // What is no sidecar at all is damage.
        std::fs::write(segment::sidecar(&path), &sidecar[1..]).expect("it is writable");
        assert!(segment::open(&path).is_err());
    }

    #[test]
    fn a_segment_that_has_only_its_sidecar_becomes_an_empty_file() {
        let directory = tempfile::tempdir().expect("tests may write temporary files");
        let mut writer = TableWriter::new(directory.path(), TableId::Clock, Rotation::default());
        // Not flushed: the sidecar covers nothing yet.
        writer.add(&clock_rows(0..1)).expect("there is room");
        drop(writer);
        let path = directory.path().join(Clock::NAME).join("000001.parquet");
        std::fs::remove_file(&path).expect("it exists");

        assert!(repair(&path).expect("nothing is damaged"));
        let segment = segment::open(&path).expect("it has a footer");
        assert!(segment.finished());
        assert_eq!(segment.rows(), 0);
    }
}
