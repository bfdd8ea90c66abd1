//! The encoder: batches of rows become row groups on disk.
//!
//! It has a thread of its own, so that the drain thread is never held up by compression or a slow
//! disk; only when several batches wait does the drain thread wait too, and then the rings fill up,
//! and what does not fit is counted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::record_batch::RecordBatch;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use lookback_schemas::cell::RowBuilder as _;
use lookback_schemas::manifest::Total;
use lookback_schemas::segment::{Rotation, TableWriter};
use lookback_schemas::tables::{Loss, loss};
use lookback_schemas::wire::Reason;
use lookback_schemas::{Error, TableId};

use crate::clocks;

/// Batches that may wait for the encoder: at five million rows a second as many as come in 40 ms, and
/// some 12 MB.
const QUEUE: usize = 12;

/// Rows of a table on their way to the disk.
#[derive(Debug)]
pub struct Batch {
    /// The table.
    pub table: TableId,
    /// The rows.
    pub rows: RecordBatch,
    /// Whether more rows follow soon, which may share the row group.
    pub more: bool,
}

/// What is known so far about the recording, for the live line and the manifest.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Per table: seen, written, lost.
    pub totals: BTreeMap<TableId, Total>,
    /// Bytes on disk.
    pub bytes: u64,
    /// The first error of the disk; recording ends then.
    pub error: Option<String>,
}

impl Progress {
    /// All events that were lost.
    pub fn lost(&self) -> u64 {
        self.totals.values().map(|total| total.lost).sum()
    }
}

/// What the threads share. A poisoned lock means that a thread panicked, and so does its user.
pub type Shared = Arc<Mutex<Progress>>;

/// The encoder's thread.
#[derive(Debug)]
pub struct Writer {
    thread: std::thread::JoinHandle<()>,
}

impl Writer {
    /// Starts it for a recording in `directory`. It ends when the last sender is dropped.
    pub fn start(
        directory: &Path,
        epoch: i64,
        rotation: Rotation,
        progress: &Shared,
    ) -> (Writer, Sender<Batch>) {
        let (sender, receiver) = bounded(QUEUE);
        let encoder = Encoder {
            directory: directory.to_owned(),
            epoch,
            rotation,
            tables: BTreeMap::new(),
            failures: BTreeMap::new(),
            progress: Arc::clone(progress),
        };
        let thread = std::thread::Builder::new()
            .name("encoder".to_owned())
            .spawn(move || encoder.run(&receiver))
            .expect("the system has room for one more thread");
        (Writer { thread }, sender)
    }

    /// Waits until everything is written.
    pub fn join(self) {
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

struct Encoder {
    directory: PathBuf,
    epoch: i64,
    rotation: Rotation,
    tables: BTreeMap<TableId, Output>,
    /// Rows that could not be written, by table, and since when.
    failures: BTreeMap<TableId, (i64, u64)>,
    progress: Shared,
}

/// A table on its way to the disk.
struct Output {
    writer: TableWriter,
    /// Rows that it has got,
    taken: u64,
    /// and those of them that could not be written.
    lost: u64,
}

impl Encoder {
    fn run(mut self, batches: &Receiver<Batch>) {
        loop {
            match batches.recv_timeout(Duration::from_secs(1)) {
                Ok(batch) => self.write(&batch),
                Err(RecvTimeoutError::Timeout) => self.each_table(TableWriter::rotate_if_old),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.each_table(TableWriter::flush);
        self.write_failures();
        self.each_table(TableWriter::finish);
    }

    fn write(&mut self, Batch { table, rows, more }: &Batch) {
        let output = self.tables.entry(*table).or_insert_with(|| Output {
            writer: TableWriter::new(&self.directory, *table, self.rotation),
            taken: 0,
            lost: 0,
        });
        output.taken += rows.num_rows() as u64;
        let add = if *more { TableWriter::add } else { TableWriter::append };
        let result = add(&mut output.writer, rows);
        self.note(*table, result);
    }

    /// Writes down what became of a table's rows.
    fn note(&mut self, table: TableId, result: Result<(), Error>) {
        let output = self.tables.get_mut(&table).expect("it was written to");
        let mut progress = self.progress.lock().expect("no thread panicked");
        let total = progress.totals.entry(table).or_default();
        total.rows = output.writer.rows();
        if let Err(error) = result {
            let lost = output.taken - output.lost - total.rows;
            output.lost += lost;
            total.lost += lost;
            if lost > 0 {
                let now = clocks::monotonic() + self.epoch;
                self.failures.entry(table).or_insert((now, 0)).1 += lost;
            }
            progress.error.get_or_insert_with(|| error.to_string());
        }
        progress.bytes = self.tables.values().map(|output| output.writer.bytes()).sum();
    }

    /// Puts the rows that could not be written into the table of losses; there may be room for that
    /// now that the failed row group is gone.
    fn write_failures(&mut self) {
        let mut rows = loss::Builder::default();
        for (table, (since, count)) in std::mem::take(&mut self.failures) {
            let row = Loss {
                ts: since,
                end: clocks::monotonic() + self.epoch,
                table: table.name().to_owned(),
                cpu: None,
                count: i64::try_from(count).unwrap_or(i64::MAX),
                reason: Reason::WriteFailed.name().to_owned(),
            };
            rows.append(&row, &Default::default());
        }
        if rows.rows() > 0 {
            self.write(&Batch { table: TableId::Loss, rows: rows.finish(), more: false });
        }
    }

    fn each_table(&mut self, step: fn(&mut TableWriter) -> Result<(), Error>) {
        let tables: Vec<TableId> = self.tables.keys().copied().collect();
        for table in tables {
            let result =
                self.tables.get_mut(&table).map_or(Ok(()), |output| step(&mut output.writer));
            self.note(table, result);
        }
    }
}
