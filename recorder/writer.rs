//! The encoder: batches of rows become row groups on disk.
//!
//! It has a thread of its own, so that the drain thread is never held up by compression or a slow
//! disk; only when several batches wait does the drain thread wait too, and then the rings fill up,
//! and what does not fit is counted.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::record_batch::RecordBatch;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use lookback_schemas::cell::{RowBuilder as _, View as _};
use lookback_schemas::manifest::{self, Total};
use lookback_schemas::redact::Redaction;
use lookback_schemas::segment::{Rotation, TableWriter};
use lookback_schemas::tables::{Loss, loss};
use lookback_schemas::wire::Reason;
use lookback_schemas::{Error, TableId};

use crate::chunks::{Chunk, Chunks, Limits};
use crate::clocks;
use crate::live::Tap;

/// Batches that may wait for the encoder: at five million rows a second as many as come in 40 ms, and
/// some 12 MB.
const QUEUE: usize = 12;

/// What the encoder is told.
#[derive(Debug)]
pub enum Message {
    /// Rows to write.
    Rows(Batch),
    /// A chunk has ended.
    Turn(Turn),
}

/// The end of a chunk.
#[derive(Debug)]
pub struct Turn {
    /// When, in the recording's time.
    pub at: i64,
    /// Who wants the chunks that are kept then.
    pub chunks: Option<Sender<Vec<Arc<Chunk>>>>,
}

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
    /// Bytes of those that are in the chunk which is being written.
    pub chunk_bytes: u64,
    /// How many chunks are kept, and from when on.
    pub kept: (usize, Option<i64>),
    /// Tables that were stopped for a while.
    pub stopped: Vec<manifest::Stopped>,
    /// The first error of the disk; recording ends then.
    pub error: Option<String>,
    /// How often the threads that drain and encode have come round: what watches them sees that they do.
    pub turns: Turns,
}

/// How often threads have come round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turns {
    /// The drain thread.
    pub drain: u64,
    /// The encoder.
    pub encoder: u64,
}

impl Progress {
    /// All events that were lost.
    pub fn lost(&self) -> u64 {
        self.totals.values().map(|total| total.lost).sum()
    }
}

/// What the threads share. A poisoned lock means that a thread panicked, and so does its user.
pub type Shared = Arc<Mutex<Progress>>;

/// A recording that the encoder writes.
#[derive(Debug)]
pub struct Destination {
    /// The recording.
    pub directory: PathBuf,
    /// What turns the monotonic clock into the recording's time.
    pub epoch: i64,
    /// When recording began, in the recording's time.
    pub started: i64,
    /// What is kept.
    pub limits: Limits,
    /// When segments end.
    pub rotation: Rotation,
    /// What never reaches the disk.
    pub redaction: Option<Arc<Redaction>>,
    /// Where rows go that are also printed.
    pub live: Option<Tap>,
}

/// The encoder's thread.
#[derive(Debug)]
pub struct Writer {
    thread: std::thread::JoinHandle<()>,
}

impl Writer {
    /// Starts it. It ends when the last sender is dropped.
    pub fn start(destination: Destination, progress: &Shared) -> (Writer, Sender<Message>) {
        let (sender, receiver) = bounded(QUEUE);
        let encoder = Encoder {
            directory: destination.directory,
            epoch: destination.epoch,
            rotation: destination.rotation,
            tables: BTreeMap::new(),
            failures: BTreeMap::new(),
            chunks: Chunks::new(destination.limits),
            began: destination.started,
            lost: BTreeMap::new(),
            written: 0,
            discarded: 0,
            progress: Arc::clone(progress),
            redaction: destination.redaction,
            live: destination.live,
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
    chunks: Chunks,
    /// When this chunk began,
    began: i64,
    /// and how many events are missing in it.
    lost: BTreeMap<TableId, u64>,
    /// Bytes that had been written when it began, and those of all that were discarded.
    written: u64,
    discarded: u64,
    progress: Shared,
    redaction: Option<Arc<Redaction>>,
    live: Option<Tap>,
}

/// A table on its way to the disk.
struct Output {
    writer: TableWriter,
    /// Rows that it has got,
    taken: u64,
    /// and those of them that could not be written.
    lost: u64,
    /// Rows that were written, and discarded since.
    discarded: u64,
}

impl Encoder {
    fn run(mut self, messages: &Receiver<Message>) {
        loop {
            match messages.recv_timeout(Duration::from_secs(1)) {
                Ok(Message::Rows(batch)) => self.write(&batch),
                Ok(Message::Turn(turn)) => self.turn(turn),
                Err(RecvTimeoutError::Timeout) => {
                    self.each_table(TableWriter::rotate_if_old);
                    self.chunks.leave();
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.progress.lock().expect("no thread panicked").turns.encoder += 1;
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
            discarded: 0,
        });
        if *table == TableId::Loss {
            add_losses(&mut self.lost, rows);
        }
        output.taken += rows.num_rows() as u64;
        let redacted = self.redaction.as_ref().map(|redaction| {
            redaction.rows(*table, rows).expect("the builders are made from the same definition")
        });
        let rows = redacted.as_ref().unwrap_or(rows);
        let add = if *more { TableWriter::add } else { TableWriter::append };
        let result = add(&mut output.writer, rows);
        if let (Some(live), Ok(())) = (&mut self.live, &result) {
            live.take(*table, rows);
        }
        self.note(*table, result);
    }

    /// Writes down what became of a table's rows.
    fn note(&mut self, table: TableId, result: Result<(), Error>) {
        let output = self.tables.get_mut(&table).expect("it was written to");
        let mut progress = self.progress.lock().expect("no thread panicked");
        let total = progress.totals.entry(table).or_default();
        total.rows = output.writer.rows() - output.discarded;
        if let Err(error) = result {
            let lost = output.taken - output.lost - output.writer.rows();
            output.lost += lost;
            total.lost += lost;
            if lost > 0 {
                let now = clocks::monotonic() + self.epoch;
                self.failures.entry(table).or_insert((now, 0)).1 += lost;
            }
            progress.error.get_or_insert_with(|| error.to_string());
        }
        let written: u64 = self.tables.values().map(|output| output.writer.bytes()).sum();
        progress.bytes = written.saturating_sub(self.discarded);
        progress.chunk_bytes = written.saturating_sub(self.written);
    }

    /// Ends the segments of all tables, and discards what is not to be kept.
    fn turn(&mut self, Turn { at, chunks }: Turn) {
        self.each_table(TableWriter::rotate);
        let ended = self.tables.values_mut().flat_map(|output| output.writer.take_ended());
        let chunk = Chunk {
            from: std::mem::replace(&mut self.began, at),
            until: at,
            segments: ended.collect(),
            lost: std::mem::take(&mut self.lost),
        };
        let discarded = self.chunks.add(chunk);
        self.discarded += discarded.bytes;
        for (table, rows) in &discarded.rows {
            if let Some(output) = self.tables.get_mut(table) {
                output.discarded += rows;
            }
        }
        self.each_table(|_| Ok(()));
        let kept = self.chunks.kept();
        let mut progress = self.progress.lock().expect("no thread panicked");
        for (table, rows) in discarded.rows {
            progress.totals.entry(table).or_default().discarded += rows;
        }
        for (table, lost) in discarded.lost {
            let total = progress.totals.entry(table).or_default();
            total.lost -= lost;
            total.discarded += lost;
        }
        self.written = progress.bytes + self.discarded;
        progress.chunk_bytes = 0;
        progress.kept = (kept.len(), self.chunks.from());
        drop(progress);
        if let Some(asker) = chunks {
            // Who has asked may be gone.
            let _ = asker.send(kept);
        }
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

    /// Takes a step with each table.
    fn each_table(&mut self, step: fn(&mut TableWriter) -> Result<(), Error>) {
        let tables: Vec<TableId> = self.tables.keys().copied().collect();
        for table in tables {
            let result =
                self.tables.get_mut(&table).map_or(Ok(()), |output| step(&mut output.writer));
            self.note(table, result);
        }
    }
}

/// Adds up the events that a batch of the table `loss` tells to be missing.
pub fn add_losses(lost: &mut BTreeMap<TableId, u64>, batch: &RecordBatch) {
    let Ok(rows) = loss::Columns::view(batch) else { return };
    for row in 0..batch.num_rows() {
        let table = TableId::from_name(rows.table.value(row));
        let reason = Reason::from_name(rows.reason.value(row));
        if let (Some(table), Some(reason)) = (table, reason)
            && reason.loses_the_event()
        {
            *lost.entry(table).or_default() += rows.count.value(row).cast_unsigned();
        }
    }
}
