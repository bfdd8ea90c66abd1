//! Reading a recording: which tables it has, and their rows.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use arrow::array::{Array as _, AsArray as _, BooleanArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use parquet::file::statistics::Statistics;

use crate::cell::View as _;
use crate::manifest::Manifest;
use crate::segment::{self, Segment};
use crate::tables::Frame;
use crate::{Error, Table, TableId, regular};

/// A recording that was opened.
#[derive(Clone, Debug)]
pub struct Recording {
    directory: PathBuf,
    manifest: Manifest,
    tables: BTreeMap<TableId, Vec<PathBuf>>,
}

impl Recording {
    /// Opens the recording in `directory`, whether it is finished, still written, or its recorder
    /// was killed. Segments are opened when they are read.
    ///
    /// # Errors
    /// If it is no recording, is of a newer format, or cannot be read.
    pub fn open(directory: &Path) -> Result<Recording, Error> {
        let manifest = Manifest::read(directory)?;
        let mut tables = BTreeMap::new();
        for id in TableId::ALL {
            tables.insert(*id, segments_in(&directory.join(id.name()))?);
        }
        Ok(Recording { directory: directory.to_owned(), manifest, tables })
    }

    /// Where it is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Opens the segments of a table, oldest first.
    ///
    /// # Errors
    /// If one of them is damaged.
    pub fn segments(&self, table: TableId) -> Result<Vec<Segment>, Error> {
        self.tables[&table].iter().map(|path| segment::open(path)).collect()
    }

    /// The segments that still have a sidecar: their recorder was killed, or is writing them.
    #[must_use]
    pub fn unfinished(&self) -> Vec<PathBuf> {
        let segments = self.tables.values().flatten();
        segments.filter(|path| segment::sidecar(path).exists()).cloned().collect()
    }

    /// Whether rows that had been written are missing at the end of one of the table's segments: see
    /// [`Segment::cut_off`]. Only unfinished ones are opened for that.
    ///
    /// # Errors
    /// If one of them is damaged.
    pub fn is_cut_off(&self, table: TableId) -> Result<bool, Error> {
        for path in self.tables[&table].iter().filter(|path| segment::sidecar(path).exists()) {
            if segment::open(path)?.cut_off() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Rows of a table that lie in the time `window`, in the order in which they were recorded: by
    /// time for each CPU, and nearly so over all.
    #[must_use]
    pub fn scan<T: Table>(&self, window: Range<i64>) -> Scan<'_> {
        self.scan_table(T::ID, window)
    }

    /// As [`scan`](Recording::scan), for a table chosen at run time.
    #[must_use]
    pub fn scan_table(&self, table: TableId, window: Range<i64>) -> Scan<'_> {
        Scan { recording: self, table, window, columns: None }
    }

    /// Calls `visit` with the typed batches of a table, of all time. See [`Scan::for_each`].
    ///
    /// # Errors
    /// If a segment is damaged, or `visit` fails.
    pub fn for_each<T: Table, E: From<Error>>(
        &self,
        window: Range<i64>,
        mut visit: impl FnMut(T::Columns) -> Result<(), E>,
    ) -> Result<(), E> {
        self.scan::<T>(window)
            .for_each(|path, batch| visit(T::Columns::view(&batch).map_err(Error::damaged(path))?))
    }

    /// All frames, each once, by their numbers.
    ///
    /// # Errors
    /// If the table is damaged.
    pub fn frames(&self) -> Result<Vec<Frame>, Error> {
        let mut frames = BTreeMap::new();
        self.for_each::<Frame, Error>(ALL_TIME, |rows| {
            for row in 0..rows.id.len() {
                let id = rows.id.value(row);
                frames.entry(id).or_insert_with(|| Frame {
                    id,
                    address: rows.address.value(row),
                    return_address: rows.return_address.value(row),
                    kernel: rows.kernel.value(row),
                    module: rows.module.is_valid(row).then(|| rows.module.value(row).to_owned()),
                    build_id: rows
                        .build_id
                        .is_valid(row)
                        .then(|| rows.build_id.value(row).to_owned()),
                    file_offset: rows
                        .file_offset
                        .is_valid(row)
                        .then(|| rows.file_offset.value(row)),
                });
            }
            Ok(())
        })?;
        Ok(frames.into_values().collect())
    }
}

/// The numbered segments in a table's folder; also those of which only the sidecar is there yet.
fn segments_in(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    if !regular::is_folder(folder).map_err(Error::io(folder))? {
        return Ok(Vec::new());
    }
    let entries = std::fs::read_dir(folder).map_err(Error::io(folder))?;
    let mut segments = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::io(folder))?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("parquet") => segments.push(path),
            Some("footer") => segments.push(path.with_extension("")),
            Some(_) | None => {}
        }
    }
    segments.sort();
    segments.dedup();
    Ok(segments)
}

/// A reading of one table; see [`Recording::scan`].
#[derive(Clone, Debug)]
pub struct Scan<'a> {
    recording: &'a Recording,
    table: TableId,
    window: Range<i64>,
    columns: Option<Vec<&'a str>>,
}

/// A part of a scan that can be read on its own: one row group.
#[derive(Clone, Copy, Debug)]
struct Unit<'s> {
    segment: &'s Segment,
    row_group: usize,
    /// Whether all its rows lie in the window.
    whole: bool,
}

impl<'a> Scan<'a> {
    /// Reads only these columns (and `ts`, where the window needs it).
    #[must_use]
    pub fn columns(mut self, columns: &[&'a str]) -> Scan<'a> {
        self.columns = Some(columns.to_vec());
        self
    }

    /// Calls `visit` with each batch and the file that it is from.
    ///
    /// # Errors
    /// If a segment is damaged, or `visit` fails.
    pub fn for_each<E: From<Error>>(
        &self,
        mut visit: impl FnMut(&Path, RecordBatch) -> Result<(), E>,
    ) -> Result<(), E> {
        let segments = self.recording.segments(self.table)?;
        for unit in self.units(&segments) {
            self.read(unit, &mut visit)?;
        }
        Ok(())
    }

    /// Folds the batches on `threads` threads: each starts from `A::default()` and takes row groups
    /// as it is ready for them; `merge` brings two results together. The outcome must not depend on
    /// the order.
    ///
    /// # Errors
    /// As [`for_each`](Scan::for_each).
    pub fn fold<A, E>(
        &self,
        threads: usize,
        visit: impl Fn(&mut A, &Path, RecordBatch) -> Result<(), E> + Sync,
        mut merge: impl FnMut(&mut A, A),
    ) -> Result<A, E>
    where
        A: Default + Send,
        E: From<Error> + Send,
    {
        let segments = self.recording.segments(self.table)?;
        let units: Vec<Unit<'_>> = self.units(&segments).collect();
        let next = std::sync::atomic::AtomicUsize::new(0);
        let worker = || -> Result<A, E> {
            let mut state = A::default();
            while let Some(unit) =
                units.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
            {
                self.read(*unit, &mut |path, batch| visit(&mut state, path, batch))?;
            }
            Ok(state)
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> =
                (1..threads.min(units.len())).map(|_| scope.spawn(worker)).collect();
            let mut all = worker();
            for thread in workers {
                let one = match thread.join() {
                    Ok(one) => one,
                    Err(panic) => std::panic::resume_unwind(panic),
                };
                all = match (all, one) {
                    (Ok(mut all), Ok(one)) => {
                        merge(&mut all, one);
                        Ok(all)
                    }
                    (Err(error), _) | (_, Err(error)) => Err(error),
                };
            }
            all
        })
    }

    /// The row groups that may hold rows of the window.
    fn units<'s>(&self, segments: &'s [Segment]) -> impl Iterator<Item = Unit<'s>> {
        let window = self.window.clone();
        segments.iter().flat_map(move |segment| {
            let window = window.clone();
            let groups = segment.metadata().row_groups();
            (0..groups.len()).filter_map(move |row_group| {
                let span = times(&groups[row_group]);
                let (outside, whole) = match &span {
                    Some((first, last)) => (
                        *last < window.start || *first >= window.end,
                        *first >= window.start && *last < window.end,
                    ),
                    None => (false, window == ALL_TIME),
                };
                (!outside).then_some(Unit { segment, row_group, whole })
            })
        })
    }

    fn read<E: From<Error>>(
        &self,
        unit: Unit<'_>,
        visit: &mut impl FnMut(&Path, RecordBatch) -> Result<(), E>,
    ) -> Result<(), E> {
        let path = unit.segment.path();
        let mut columns = self.columns.clone();
        if let Some(columns) = &mut columns
            && !unit.whole
            && !columns.contains(&"ts")
        {
            columns.push("ts");
        }
        for batch in unit.segment.reader(Some(vec![unit.row_group]), columns.as_deref())? {
            let mut batch = batch?;
            if !unit.whole {
                batch = self.clip(path, &batch)?;
            }
            if batch.num_rows() > 0 {
                visit(path, batch)?;
            }
        }
        Ok(())
    }

    /// The rows of the batch that lie in the window.
    fn clip(&self, path: &Path, batch: &RecordBatch) -> Result<RecordBatch, Error> {
        let Some(ts) = batch.column_by_name("ts") else {
            return Ok(batch.clone());
        };
        let ts = ts
            .as_primitive_opt::<Int64Type>()
            .ok_or_else(|| Error::Damaged { path: path.to_owned(), why: "ts is no i64".into() })?;
        let inside: BooleanArray =
            ts.iter().map(|ts| Some(ts.is_some_and(|ts| self.window.contains(&ts)))).collect();
        filter_record_batch(batch, &inside).map_err(Error::damaged(path))
    }
}

/// The window that holds every moment.
pub const ALL_TIME: Range<i64> = i64::MIN..i64::MAX;

/// First and last `ts` of a row group, where its statistics tell.
#[must_use]
pub fn times(group: &parquet::file::metadata::RowGroupMetaData) -> Option<(i64, i64)> {
    let chunk = group.columns().iter().find(|chunk| chunk.column_path().string() == "ts")?;
    match chunk.statistics()? {
        Statistics::Int64(values) => Some((*values.min_opt()?, *values.max_opt()?)),
        Statistics::Boolean(_)
        | Statistics::Int32(_)
        | Statistics::Int96(_)
        | Statistics::Float(_)
        | Statistics::Double(_)
        | Statistics::ByteArray(_)
        | Statistics::FixedLenByteArray(_) => None,
    }
}
