//! Writing a table anew, of a recording that is over.

use std::fs;
use std::path::Path;
use std::time::Duration;

use arrow::record_batch::RecordBatch;

use super::{Rotation, TableWriter};
use crate::manifest::sync_directory;
use crate::{Error, TableId, private};

/// Puts `rows` in the place of all that a table holds; the result is how many they are.
///
/// They are written beside the table, and then renamed over its first segment: whoever is interrupted has
/// the old table or the new one. Nobody may be writing the recording.
///
/// # Errors
/// If they cannot be written; the table is then as it was.
pub fn replace(recording: &Path, table: TableId, rows: &[RecordBatch]) -> Result<u64, Error> {
    let beside = recording.join(format!("{}.new", table.name()));
    // Of one that was interrupted.
    if beside.exists() {
        fs::remove_dir_all(&beside).map_err(Error::io(&beside))?;
    }
    let replaced = write(recording, &beside, table, rows);
    // Best effort: it does not belong to the recording.
    let _ = fs::remove_dir_all(&beside);
    replaced
}

fn write(
    recording: &Path,
    beside: &Path,
    table: TableId,
    rows: &[RecordBatch],
) -> Result<u64, Error> {
    let rotation = Rotation { bytes: u64::MAX, age: Duration::MAX };
    let mut writer = TableWriter::new(beside, table, rotation);
    rows.iter().try_for_each(|rows| writer.add(rows))?;
    writer.finish()?;
    let folder = recording.join(table.name());
    private::create_folders(&folder).map_err(Error::io(&folder))?;
    let first = folder.join("000001.parquet");
    let new = beside.join(table.name()).join("000001.parquet");
    let written = writer.rows() > 0;
    if written {
        fs::rename(&new, &first).map_err(Error::io(&first))?;
    }
    // What is left is of the old table: its sidecars, and the first segment if nothing took its place.
    for entry in fs::read_dir(&folder).map_err(Error::io(&folder))? {
        let path = entry.map_err(Error::io(&folder))?.path();
        if !written || path != first {
            fs::remove_file(&path).map_err(Error::io(&path))?;
        }
    }
    sync_directory(&folder)?;
    Ok(writer.rows())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::{RowBuilder as _, View as _};
    use crate::tables::{Clock, clock};
    use crate::{Table as _, segment};

    fn rows(times: std::ops::Range<i64>) -> RecordBatch {
        let mut rows = clock::Builder::default();
        for ts in times {
            let row = Clock { ts, monotonic: ts, boottime: ts, realtime: ts };
            rows.append(&row, &Default::default());
        }
        rows.finish()
    }

    fn stored(folder: &Path) -> Vec<i64> {
        let mut all = Vec::new();
        let segment = segment::open(&folder.join("000001.parquet")).expect("it is whole");
        for batch in segment.reader(None, None).expect("it is readable") {
            let columns =
                clock::Columns::view(&batch.expect("it is whole")).expect("it is a clock");
            all.extend(columns.ts.values());
        }
        all
    }

    #[test]
    fn a_table_is_replaced_whether_it_was_finished_or_not_or_not_there() {
        for old in ["none", "finished", "killed"] {
            let directory = tempfile::tempdir().expect("tests may write temporary files");
            let recording = directory.path();
            if old != "none" {
                let rotation = Rotation { bytes: 0, age: Duration::ZERO };
                let mut writer = TableWriter::new(recording, TableId::Clock, rotation);
                // Two segments.
                writer.append(&rows(0..10)).expect("there is room");
                writer.append(&rows(10..20)).expect("there is room");
                if old == "finished" {
                    writer.finish().expect("there is room");
                }
            }
            let replaced = replace(recording, TableId::Clock, &[rows(50..60), rows(60..70)]);
            assert_eq!(replaced.expect("there is room"), 20, "{old}");
            let folder = recording.join(Clock::NAME);
            assert_eq!(stored(&folder), (50..70).collect::<Vec<_>>(), "{old}");
            let files = fs::read_dir(&folder).expect("it is there").count();
            assert_eq!((files, fs::read_dir(recording).expect("it is there").count()), (1, 1));
        }
    }
}
