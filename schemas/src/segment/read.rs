//! Reading segments, of which no byte is trusted.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::file::metadata::{
    FileMetaData, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData,
};
use parquet::file::reader::{ChunkReader, Length};
use parquet::schema::types::{SchemaDescriptor, Type};

use super::sidecar;
use crate::{Error, regular};

/// A sidecar is not longer, in bytes: it has a few hundred for each row group of a segment.
const MOST_SIDECAR_BYTES: u64 = 64 << 20;
/// A row group, which a recorder ends after a second or 32 MiB, has neither more rows
const MOST_ROWS: i64 = 1 << 28;
/// nor, when it is unpacked, more bytes.
const MOST_BYTES: i64 = 4 << 30;

/// A segment that was opened for reading.
#[derive(Debug)]
pub struct Segment {
    path: PathBuf,
    /// The file, where there is one. It is kept open only while it is unfinished, since it may be
    /// replaced; a long recording has more finished ones than a process may have open.
    file: Option<Kept>,
    metadata: ArrowReaderMetadata,
    finished: bool,
    cut_off: bool,
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
        let file = regular::open(path)?;
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
    let places = || match Places::open(path) {
        Ok(file) => Ok(Some(file)),
        // The sidecar comes first: the recorder was killed before it created the file.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(Error::Io { path: path.to_owned(), cause }),
    };
    let mut file = places()?;
    let own_footer = match &file {
        Some(file) => decoding(path, || ParquetMetaDataReader::new().parse_and_finish(file)),
        None => Err(Error::Damaged { path: path.to_owned(), why: "no such file".to_owned() }),
    };
    let length = |file: &Option<Places>| file.as_ref().map_or(0, |file| file.length);
    let (metadata, finished, cut_off) = match own_footer {
        Ok(metadata) => (metadata, true, false),
        Err(footer_error) => match regular::read(&sidecar(path), MOST_SIDECAR_BYTES) {
            // The machine stopped before the disk had it.
            Ok(footer) if footer.is_empty() => (nothing(), false, true),
            Ok(footer) => {
                let footer_path = sidecar(path);
                let metadata = decoding(&footer_path, || {
                    ParquetMetaDataReader::new().parse_and_finish(&Bytes::from(footer))
                })?;
                // It may have grown since, and the sidecar with it.
                file = places()?;
                let (metadata, cut_off) = within(metadata, length(&file));
                (metadata, false, cut_off)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(footer_error),
            Err(cause) => return Err(Error::Io { path: sidecar(path), cause }),
        },
    };
    check_extent(path, length(&file), &metadata)?;
    let metadata = decoding(path, || ArrowReaderMetadata::try_new(Arc::new(metadata), options))?;
    let file = file.map(|file| if finished { Kept::Closed(file.length) } else { Kept::Open(file) });
    Ok(Segment { path: path.to_owned(), file, metadata, finished, cut_off })
}

/// What stands in a segment of which nothing is known, not even its columns.
fn nothing() -> ParquetMetaData {
    let root = Type::group_type_builder("schema").build().expect("a group may be empty");
    let schema = Arc::new(SchemaDescriptor::new(Arc::new(root)));
    ParquetMetaData::new(FileMetaData::new(2, 0, None, None, schema, None), Vec::new())
}

/// What of a sidecar's row groups lies within the file's length, and whether that is not all. A disk takes
/// the end of a file when it likes, and if the machine stops before, the sidecar may be ahead.
fn within(metadata: ParquetMetaData, length: u64) -> (ParquetMetaData, bool) {
    let ends_within = |group: &&RowGroupMetaData| {
        group.columns().iter().all(|chunk| {
            let start = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
            let end = start.checked_add(chunk.compressed_size());
            end.is_some_and(|end| u64::try_from(end).is_ok_and(|end| end <= length))
        })
    };
    let groups: Vec<RowGroupMetaData> =
        metadata.row_groups().iter().take_while(ends_within).cloned().collect();
    if groups.len() == metadata.num_row_groups() {
        return (metadata, false);
    }
    let rows = groups.iter().fold(0_i64, |rows, group| rows.saturating_add(group.num_rows()));
    let schema = metadata.file_metadata().schema_descr_ptr();
    let file = FileMetaData::new(2, rows, None, None, schema, None);
    (ParquetMetaData::new(file, groups), true)
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
        if rows > MOST_ROWS {
            return Err(damaged("a row group has more rows than any recorder writes"));
        }
        let mut unpacked: i64 = 0;
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
            unpacked = unpacked.saturating_add(chunk.uncompressed_size());
            if unpacked > MOST_BYTES {
                return Err(damaged("a row group unpacks to more than any recorder writes"));
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

    /// Whether rows are missing at its end that had been written: the machine stopped before the disk had
    /// them.
    #[must_use]
    pub fn cut_off(&self) -> bool {
        self.cut_off
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
    /// If the file is damaged, or has fewer or more rows than its footer says; also while iterating.
    pub fn reader(
        &self,
        row_groups: Option<Vec<usize>>,
        columns: Option<&[&str]>,
    ) -> Result<impl Iterator<Item = Result<RecordBatch, Error>> + use<>, Error> {
        let path = self.path.clone();
        let groups = self.metadata().row_groups();
        let rows = |group: &RowGroupMetaData| u64::try_from(group.num_rows()).unwrap_or(0);
        let mut left: u64 = match &row_groups {
            Some(wanted) => wanted.iter().filter_map(|at| groups.get(*at)).map(rows).sum(),
            None => groups.iter().map(rows).sum(),
        };
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
            let end = match decoding(&path, || Ok(reader.next().transpose()?)) {
                Ok(Some(batch)) if batch.num_rows() as u64 <= left => {
                    left -= batch.num_rows() as u64;
                    return Some(Ok(batch));
                }
                Ok(None) if left == 0 => None,
                Ok(Some(_) | None) => {
                    let why = "its pages have not as many rows as its footer says".to_owned();
                    Some(Err(Error::Damaged { path: path.clone(), why }))
                }
                Err(error) => Some(Err(error)),
            };
            batches = None;
            end
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
