//! Segments: the Parquet files of a table, and how they survive a killed recorder.
//!
//! A Parquet file can be read only once it has its footer, and that is written when it is closed. A
//! recorder that is killed would leave files that no program opens. So each time a segment has a new
//! row group, the footer that the file would have if it ended here is written beside it, into the
//! *sidecar* `000001.parquet.footer`, which is renamed into place. [`open`] reads a file by its own
//! footer, or else by its sidecar; there is no repair step, and what is lost is the row group that
//! was being written.
//!
//! [`TableWriter`] writes the segments of one table. It starts a new one when the current one is
//! large or old. Row groups of a quiet table are small, since each holds one second, and small row
//! groups cost space: a segment that ends is therefore rewritten with large ones, beside the old one
//! and renamed over it.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::file::metadata::{
    FileMetaData, ParquetMetaData, ParquetMetaDataReader, ParquetMetaDataWriter,
};
use parquet::file::reader::{ChunkReader, Length};
use parquet::schema::types::SchemaDescPtr;

use crate::encode::Encoder;
use crate::{Column, Error, TableId, cell, manifest};

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

/// The sidecar of a segment.
#[must_use]
pub fn sidecar(segment: &Path) -> PathBuf {
    let mut name = segment.file_name().unwrap_or_default().to_owned();
    name.push(".footer");
    segment.with_file_name(name)
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
        }
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

    /// Ends the current segment, and waits until the disk has all. The writer can go on with another
    /// one.
    ///
    /// # Errors
    /// As [`add`](TableWriter::add).
    pub fn finish(&mut self) -> Result<(), Error> {
        self.flush()?;
        self.segment.take().map_or(Ok(()), |segment| self.end(segment))?;
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
        std::fs::create_dir_all(&self.directory).map_err(Error::io(&self.directory))?;
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
        let file = File::create_new(&path).map_err(Error::io(&path))?;
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
        let footer = sidecar(path);
        std::fs::remove_file(&footer).map_err(Error::io(&footer))?;
        let directory = path.parent().expect("a segment lies in its table's folder");
        File::open(directory).and_then(|d| d.sync_all()).map_err(Error::io(directory))?;
        Ok(std::fs::metadata(path).map_err(Error::io(path))?.len())
    }
}

/// Rewrites a finished segment with row groups as large as they may be.
fn compact(path: &Path, columns: &'static [Column]) -> Result<(), Error> {
    let new = path.with_extension("compact");
    let rewrite = || -> Result<(), Error> {
        let file = File::create(&new).map_err(Error::io(&new))?;
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
        let source = match error {
            parquet::errors::ParquetError::External(inner) => match inner.downcast() {
                Ok(io) => *io,
                Err(other) => std::io::Error::other(other),
            },
            other => std::io::Error::other(other),
        };
        Error::Io { path: path.to_owned(), source }
    }
}

/// A segment that was opened for reading.
#[derive(Debug)]
pub struct Segment {
    path: PathBuf,
    /// The file, where there is one. It is kept open only while it is unfinished, since it may be
    /// replaced; a long recording has more finished ones than a process may have open.
    file: Option<Kept>,
    metadata: ArrowReaderMetadata,
    finished: bool,
}

/// How a segment comes back to its file.
#[derive(Debug)]
enum Kept {
    Open(Places),
    /// By its path, when it is read; its length then was this.
    Closed(u64),
}

/// A file as the decoder reads it: by places. The position of a `File` is shared with all its
/// clones, so threads that read row groups of one file would move it under each other.
#[derive(Clone, Debug)]
struct Places {
    file: Arc<File>,
    length: u64,
}

impl Places {
    fn open(path: &Path) -> std::io::Result<Places> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok(Places { file: Arc::new(file), length })
    }
}

/// Reads a file from a place on.
struct FromPlace {
    file: Arc<File>,
    place: u64,
}

impl Read for FromPlace {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        #[cfg(unix)]
        let read = std::os::unix::fs::FileExt::read_at(&*self.file, buffer, self.place)?;
        #[cfg(windows)]
        let read = std::os::windows::fs::FileExt::seek_read(&*self.file, buffer, self.place)?;
        self.place += read as u64;
        Ok(read)
    }
}

impl Length for Places {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for Places {
    type T = BufReader<FromPlace>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        Ok(BufReader::new(FromPlace { file: Arc::clone(&self.file), place: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        // First of all, so that a made-up length allocates nothing.
        if start.checked_add(length as u64).is_none_or(|end| end > self.length) {
            let end = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
            return Err(parquet::errors::ParquetError::External(end.into()));
        }
        let mut bytes = vec![0; length];
        FromPlace { file: Arc::clone(&self.file), place: start }.read_exact(&mut bytes)?;
        Ok(bytes.into())
    }
}

/// Opens a segment: by its footer, or, where it has none since the recorder was killed, by its
/// sidecar.
///
/// # Errors
/// If it has neither, or is no Parquet file.
pub fn open(path: &Path) -> Result<Segment, Error> {
    match open_once(path) {
        // The recorder may have finished it, and removed the sidecar, between two of the steps.
        Err(_) if !sidecar(path).exists() => open_once(path),
        result => result,
    }
}

fn open_once(path: &Path) -> Result<Segment, Error> {
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let file = match Places::open(path) {
        Ok(file) => Some(file),
        // The sidecar comes first: the recorder was killed before it created the file.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(source) => return Err(Error::Io { path: path.to_owned(), source }),
    };
    let own_footer = match &file {
        Some(file) => decoding(path, || ParquetMetaDataReader::new().parse_and_finish(file)),
        None => Err(Error::Damaged { path: path.to_owned(), why: "no such file".to_owned() }),
    };
    let (metadata, finished) = match own_footer {
        Ok(metadata) => (metadata, true),
        Err(footer_error) => match std::fs::read(sidecar(path)) {
            Ok(footer) => {
                let footer_path = sidecar(path);
                let metadata = decoding(&footer_path, || {
                    ParquetMetaDataReader::new().parse_and_finish(&Bytes::from(footer))
                })?;
                (metadata, false)
            }
            Err(_) => return Err(footer_error),
        },
    };
    check_extent(path, file.as_ref().map_or(0, |file| file.length), &metadata)?;
    let metadata = decoding(path, || ArrowReaderMetadata::try_new(Arc::new(metadata), options))?;
    let file = file.map(|file| if finished { Kept::Closed(file.length) } else { Kept::Open(file) });
    Ok(Segment { path: path.to_owned(), file, metadata, finished })
}

/// Refuses a footer that names places outside the file, or more values than its bytes could hold.
fn check_extent(path: &Path, length: u64, metadata: &ParquetMetaData) -> Result<(), Error> {
    let damaged = |why: &str| Error::Damaged { path: path.to_owned(), why: why.to_owned() };
    let mut total: i64 = 0;
    for group in metadata.row_groups() {
        let rows = group.num_rows();
        if rows < 0 {
            return Err(damaged("a row group has a negative number of rows"));
        }
        total = total.checked_add(rows).ok_or_else(|| damaged("its row count overflows"))?;
        for chunk in group.columns() {
            let start = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
            let size = chunk.compressed_size();
            let end = start.checked_add(size);
            if start < 4 || size < 0 || end.is_none_or(|end| end as u64 > length) {
                return Err(damaged("it is shorter than its footer says"));
            }
            if chunk.num_values() < 0 || chunk.uncompressed_size() < 0 {
                return Err(damaged("a column has a negative size"));
            }
            if chunk.column_descr().max_rep_level() == 0 && chunk.num_values() != rows {
                return Err(damaged(
                    "a column and its row group disagree about the number of rows",
                ));
            }
        }
    }
    if total != metadata.file_metadata().num_rows() {
        return Err(damaged("its row count is not that of its row groups"));
    }
    Ok(())
}

impl Segment {
    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its Parquet metadata.
    #[must_use]
    pub fn metadata(&self) -> &ParquetMetaData {
        self.metadata.metadata()
    }

    /// Whether it has its footer; false for one whose recorder was killed, or still writes it.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.finished
    }

    /// Rows in it.
    #[must_use]
    pub fn rows(&self) -> u64 {
        u64::try_from(self.metadata().file_metadata().num_rows()).unwrap_or(0)
    }

    /// Reads the given row groups (all if `None`) and of them the given top-level columns (all if
    /// `None`; names that the file lacks are left out).
    ///
    /// # Errors
    /// If the file is damaged; also while iterating.
    pub fn reader(
        &self,
        row_groups: Option<Vec<usize>>,
        columns: Option<&[&str]>,
    ) -> Result<impl Iterator<Item = Result<RecordBatch, Error>> + use<>, Error> {
        let path = self.path.clone();
        let file = match &self.file {
            None => None,
            Some(Kept::Open(file)) => Some(file.clone()),
            Some(Kept::Closed(length)) => {
                let file = Places::open(&path).map_err(Error::io(&path))?;
                if file.length != *length {
                    let why = "it changed while it was read; try again".to_owned();
                    return Err(Error::Damaged { path, why });
                }
                Some(file)
            }
        };
        let mut batches = match file {
            None => None,
            Some(file) => Some(decoding(&path, || self.batches(file, row_groups, columns))?),
        };
        Ok(std::iter::from_fn(move || {
            let reader = batches.as_mut()?;
            let next = decoding(&path, || Ok(reader.next().transpose()?)).transpose();
            if !matches!(next, Some(Ok(_))) {
                batches = None;
            }
            next
        }))
    }

    fn batches(
        &self,
        file: Places,
        row_groups: Option<Vec<usize>>,
        columns: Option<&[&str]>,
    ) -> parquet::errors::Result<parquet::arrow::arrow_reader::ParquetRecordBatchReader> {
        let mut builder =
            ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
                .with_batch_size(64 * 1024);
        if let Some(row_groups) = row_groups {
            builder = builder.with_row_groups(row_groups);
        }
        if let Some(columns) = columns {
            let fields = builder.parquet_schema().root_schema().get_fields();
            let wanted: Vec<usize> = (0..fields.len())
                .filter(|index| columns.contains(&fields[*index].name()))
                .collect();
            let mask = parquet::arrow::ProjectionMask::roots(builder.parquet_schema(), wanted);
            builder = builder.with_projection(mask);
        }
        builder.build()
    }
}

thread_local! {
    static DECODING: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Whether this thread is decoding a segment: a panic hook stays silent then, since the panic
/// becomes an error that names the file.
#[must_use]
pub fn is_decoding() -> bool {
    DECODING.get()
}

/// Runs a step of Parquet's decoder. It may panic over bytes that were made up to be hostile; that
/// is an error of the file like any other.
fn decoding<T>(path: &Path, step: impl FnOnce() -> parquet::errors::Result<T>) -> Result<T, Error> {
    DECODING.set(true);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(step));
    DECODING.set(false);
    match result {
        Ok(result) => result.map_err(Error::damaged(path)),
        Err(_) => Err(Error::Damaged {
            path: path.to_owned(),
            why: "its pages contradict its footer".to_owned(),
        }),
    }
}
