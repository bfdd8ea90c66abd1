//! Writing segments.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowSchemaConverter;
use parquet::file::metadata::{FileMetaData, ParquetMetaData, ParquetMetaDataWriter};
use parquet::schema::types::SchemaDescPtr;

use super::{open, sidecar};
use crate::encode::Encoder;
use crate::manifest::sync_directory;
use crate::{Column, Error, TableId, cell, manifest, private};

/// A row group of so many rows is full.
pub const ROW_GROUP_ROWS: usize = 256 * 1024;
/// Or one that takes so many bytes of memory: long texts.
const ROW_GROUP_BYTES: usize = 32 << 20;

/// When a segment ends and the next one begins.
#[derive(Clone, Copy, Debug)]
pub struct Rotation {
    /// At this size in bytes,
    pub bytes: u64,
    /// or at this age.
    pub age: Duration,
}

impl Default for Rotation {
    fn default() -> Self {
        Rotation { bytes: 256 << 20, age: Duration::from_mins(1) }
    }
}

/// Writes one table of a recording, segment by segment.
#[derive(Debug)]
pub struct TableWriter {
    table: TableId,
    directory: PathBuf,
    rotation: Rotation,
    segment: Option<SegmentWriter>,
    /// The one before, while the disk takes it, and its size.
    settling: Option<(u64, JoinHandle<Result<u64, Error>>)>,
    segments: u32,
    settled_bytes: u64,
    rows: u64,
    /// Segments that have ended since they were last asked for.
    ended: Vec<Ended>,
}

/// A segment that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its table.
    pub table: TableId,
    /// The file. It has its footer; until the disk has all of it, there is also a sidecar.
    pub path: PathBuf,
    /// How many rows it has.
    pub rows: u64,
}

impl TableWriter {
    /// A writer for `table` of the recording in `recording`. Nothing is written yet.
    #[must_use]
    pub fn new(recording: &Path, table: TableId, rotation: Rotation) -> TableWriter {
        TableWriter {
            table,
            directory: recording.join(table.name()),
            rotation,
            segment: None,
            settling: None,
            segments: 0,
            settled_bytes: 0,
            rows: 0,
            ended: Vec::new(),
        }
    }

    /// The writer for a table that has so many segments already.
    #[must_use]
    pub fn after(self, segments: u32) -> TableWriter {
        TableWriter { segments, ..self }
    }

    /// Adds the batch as a row group. When this returns, the rows survive the end of this process.
    ///
    /// # Errors
    /// As [`add`](TableWriter::add).
    pub fn append(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        self.add(batch)?;
        self.flush()
    }

    /// Adds the batch to the open row group. Its rows are encoded, but on disk only with the next
    /// [`flush`](TableWriter::flush), which a full row group brings about by itself.
    ///
    /// # Errors
    /// If it cannot be written. The rows of earlier row groups stay readable; the segment is given
    /// up with the open one, and the next batch starts another.
    pub fn add(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let mut segment = match self.segment.take() {
            Some(segment) => segment,
            None => self.next_segment()?,
        };
        segment.add(batch)?;
        let full =
            segment.encoder.rows() >= ROW_GROUP_ROWS || segment.encoder.bytes() >= ROW_GROUP_BYTES;
        self.segment = Some(segment);
        if full { self.flush() } else { Ok(()) }
    }

    /// Ends the open row group. When this returns, its rows survive the end of this process.
    ///
    /// # Errors
    /// As [`add`](TableWriter::add).
    pub fn flush(&mut self) -> Result<(), Error> {
        let Some(mut segment) = self.segment.take() else { return Ok(()) };
        let rows = segment.encoder.rows() as u64;
        if rows > 0 {
            segment.flush()?;
            self.rows += rows;
        }
        if segment.bytes >= self.rotation.bytes || segment.opened.elapsed() >= self.rotation.age {
            self.end(segment)
        } else {
            self.segment = Some(segment);
            Ok(())
        }
    }

    /// Rows that survive the end of this process.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Ends the current segment if it is older than the rotation allows, for tables that have
    /// gone quiet.
    ///
    /// # Errors
    /// As [`add`](TableWriter::add).
    pub fn rotate_if_old(&mut self) -> Result<(), Error> {
        let old = |segment: &mut SegmentWriter| {
            segment.encoder.rows() == 0 && segment.opened.elapsed() >= self.rotation.age
        };
        self.segment.take_if(old).map_or(Ok(()), |segment| self.end(segment))
    }

    /// Ends the current segment, if there is one. The disk takes its time for it.
    ///
    /// # Errors
    /// As [`add`](TableWriter::add).
    pub fn rotate(&mut self) -> Result<(), Error> {
        self.flush()?;
        self.segment.take().map_or(Ok(()), |segment| self.end(segment))
    }

    /// The segments that have ended since this was last called.
    pub fn take_ended(&mut self) -> Vec<Ended> {
        std::mem::take(&mut self.ended)
    }

    /// Ends the current segment, and waits until the disk has all. The writer can go on with another
    /// one.
    ///
    /// # Errors
    /// As [`add`](TableWriter::add).
    pub fn finish(&mut self) -> Result<(), Error> {
        self.rotate()?;
        self.settle()
    }

    /// Bytes on disk so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let settling = self.settling.as_ref().map_or(0, |(bytes, _)| *bytes);
        self.settled_bytes + settling + self.segment.as_ref().map_or(0, |segment| segment.bytes)
    }

    /// Ends a segment. The disk takes its time, and meanwhile the next segment gets its rows: a
    /// recorder that waited here would lose events.
    fn end(&mut self, segment: SegmentWriter) -> Result<(), Error> {
        let ended = segment.end()?;
        self.ended.push(Ended { table: self.table, path: ended.path.clone(), rows: ended.rows });
        self.settle()?;
        self.settling = Some((ended.bytes, std::thread::spawn(move || ended.settle())));
        Ok(())
    }

    /// Waits for the segment before.
    fn settle(&mut self) -> Result<(), Error> {
        if let Some((_, thread)) = self.settling.take() {
            match thread.join() {
                Ok(bytes) => self.settled_bytes += bytes?,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(())
    }

    fn next_segment(&mut self) -> Result<SegmentWriter, Error> {
        private::create_folders(&self.directory).map_err(Error::io(&self.directory))?;
        self.segments += 1;
        let path = self.directory.join(format!("{:06}.parquet", self.segments));
        SegmentWriter::create(path, self.table.columns())
    }
}

/// One segment that is being written.
#[derive(Debug)]
struct SegmentWriter {
    path: PathBuf,
    columns: &'static [Column],
    schema: SchemaDescPtr,
    encoder: Encoder,
    opened: Instant,
    bytes: u64,
}

impl SegmentWriter {
    /// Creates the file; its sidecar comes first, so that no moment has a file without one.
    fn create(path: PathBuf, columns: &'static [Column]) -> Result<SegmentWriter, Error> {
        let arrow = cell::schema_of(columns);
        let schema = ArrowSchemaConverter::new()
            .convert(&arrow)
            .map(Arc::new)
            .map_err(Error::damaged(&path))?;
        write_sidecar(&path, &schema, &[])?;
        let file = private::create_new(&path).map_err(Error::io(&path))?;
        let encoder = Encoder::new(file, columns).map_err(write_error(&path))?;
        Ok(SegmentWriter { path, columns, schema, encoder, opened: Instant::now(), bytes: 0 })
    }

    fn add(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        self.encoder.add(batch).map_err(write_error(&self.path)).inspect_err(|_| self.give_back())
    }

    /// Ends the open row group.
    fn flush(&mut self) -> Result<(), Error> {
        self.encoder
            .flush()
            .map_err(write_error(&self.path))
            .and_then(|()| write_sidecar(&self.path, &self.schema, self.encoder.row_groups()))
            .inspect_err(|_| self.give_back())?;
        self.bytes = self.encoder.bytes_written() as u64;
        Ok(())
    }

    /// Gives back what a half-written row group took: a full disk is the likely reason for an error,
    /// and there must be room for saying so. The sidecar does not cover it anyway.
    fn give_back(&self) {
        let _ = self.encoder.file().set_len(self.bytes);
    }

    /// Writes the footer.
    fn end(mut self) -> Result<EndedSegment, Error> {
        let metadata = self.encoder.finish().map_err(write_error(&self.path))?;
        let (groups, rows) =
            (metadata.num_row_groups(), metadata.file_metadata().num_rows() as usize);
        Ok(EndedSegment {
            path: self.path,
            columns: self.columns,
            bytes: self.encoder.bytes_written() as u64,
            rows: rows as u64,
            scattered: groups > 1 && rows / groups < ROW_GROUP_ROWS / 4,
        })
    }
}

/// A segment that has its footer.
#[derive(Debug)]
struct EndedSegment {
    path: PathBuf,
    columns: &'static [Column],
    bytes: u64,
    rows: u64,
    /// Whether its row groups are small.
    scattered: bool,
}

impl EndedSegment {
    /// Waits for the disk, and gives the file's size.
    fn settle(self) -> Result<u64, Error> {
        let path = &self.path;
        if self.scattered {
            compact(path, self.columns)?;
        } else {
            File::open(path).and_then(|file| file.sync_all()).map_err(Error::io(path))?;
        }
        // The names as well: the segment's in its table's folder, and the folder's in the recording.
        for directory in path.ancestors().skip(1).take(2) {
            sync_directory(directory)?;
        }
        // Only now: where there is none, the disk has the segment.
        let footer = sidecar(path);
        std::fs::remove_file(&footer).map_err(Error::io(&footer))?;
        Ok(std::fs::metadata(path).map_err(Error::io(path))?.len())
    }
}

/// Rewrites a finished segment with row groups as large as they may be.
fn compact(path: &Path, columns: &'static [Column]) -> Result<(), Error> {
    let new = path.with_extension("compact");
    let rewrite = || -> Result<(), Error> {
        let file = private::create(&new).map_err(Error::io(&new))?;
        let mut encoder = Encoder::new(file, columns).map_err(write_error(&new))?;
        for batch in open(path)?.reader(None, None)? {
            let batch = batch.map_err(Error::damaged(path))?;
            if encoder.rows() + batch.num_rows() > ROW_GROUP_ROWS {
                encoder.flush().map_err(write_error(&new))?;
            }
            encoder.add(&batch).map_err(write_error(&new))?;
        }
        encoder.finish().map_err(write_error(&new))?;
        encoder.file().sync_all().map_err(Error::io(&new))?;
        std::fs::rename(&new, path).map_err(Error::io(path))
    };
    rewrite().inspect_err(|_| {
        // Best effort: the segment itself is whole.
        let _ = std::fs::remove_file(&new);
    })
}

fn write_sidecar(
    segment: &Path,
    schema: &SchemaDescPtr,
    row_groups: &[parquet::file::metadata::RowGroupMetaData],
) -> Result<(), Error> {
    let rows = row_groups.iter().map(|group| group.num_rows()).sum();
    let file = FileMetaData::new(2, rows, None, None, Arc::clone(schema), None);
    let metadata = ParquetMetaData::new(file, row_groups.to_vec());
    let mut footer = Vec::new();
    ParquetMetaDataWriter::new(&mut footer, &metadata).finish().map_err(write_error(segment))?;
    manifest::replace(&sidecar(segment), &footer, false)
}

/// An error of the Parquet writer: the system's own where there is one underneath.
fn write_error(path: &Path) -> impl FnOnce(parquet::errors::ParquetError) -> Error + '_ {
    move |error| {
        let cause = match error {
            parquet::errors::ParquetError::External(inner) => match inner.downcast() {
                Ok(io) => *io,
                Err(other) => std::io::Error::other(other),
            },
            other => std::io::Error::other(other),
        };
        Error::Io { path: path.to_owned(), cause }
    }
}
