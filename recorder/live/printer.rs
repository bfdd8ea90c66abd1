//! The thread that prints what is recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, Result};
use arrow::array::{ArrayRef, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use crossbeam_channel::Receiver;
use jiff::tz::TimeZone;
use lookback_schemas::TableId;
use lookback_schemas::cell;
use lookback_schemas::lines::text::thousands;
use lookback_schemas::lines::value::{Spelling, Value};
use lookback_schemas::lines::{Line, Values};

use super::{Counts, Round};
use crate::drain;

/// So much is written at once.
const CHUNK: usize = 16 << 10;
/// How often it is told what is only counted, in nanoseconds.
const SECOND: i64 = 1_000_000_000;

/// What prints.
pub struct Printer {
    output: File,
    /// Lines that are not written yet, and how many of them are rows.
    text: String,
    rows: u64,
    spelling: Spelling,
    /// Tables that have had their header.
    begun: BTreeSet<TableId>,
    counted: BTreeMap<TableId, u64>,
    /// When it was told last what is only counted.
    told: i64,
    counts: Arc<Counts>,
}

/// The rows of a batch.
struct Rows {
    table: TableId,
    line: Line,
    ts: Int64Array,
    values: Values,
}

impl Printer {
    /// What prints to the standard output. Times of day are UTC, as `analyze` shows them.
    ///
    /// # Errors
    /// If there is no standard output.
    pub fn new(started: i64, counts: Arc<Counts>) -> Result<Printer> {
        let output = io::stdout().as_fd().try_clone_to_owned().context("the standard output")?;
        Ok(Printer {
            output: output.into(),
            text: String::new(),
            rows: 0,
            spelling: Spelling { zone: TimeZone::UTC, start: started },
            begun: BTreeSet::new(),
            counted: BTreeMap::new(),
            told: started,
            counts,
        })
    }

    /// Prints until no more rounds come, or nobody reads.
    pub fn run(mut self, rounds: &Receiver<Round>) {
        drain::go_last();
        for round in rounds {
            if let Err(error) = self.print(round) {
                // Whoever reads with `head` knows.
                if error.kind() != ErrorKind::BrokenPipe {
                    eprintln!("record: no more rows are shown, recording goes on: {error}");
                }
                return;
            }
        }
        let left = self.counts.missed.load(Ordering::Relaxed) > 0 || !self.counted.is_empty();
        if left {
            // The recording has ended: who does not read now is told otherwise.
            let _ = self.print(Round { at: self.told + SECOND, ..Round::default() });
        }
    }

    fn print(&mut self, Round { at, batches, counted, lost, .. }: Round) -> io::Result<()> {
        let missed = self.counts.missed.swap(0, Ordering::Relaxed);
        if missed > 0 {
            self.line(&format!("… {} rows not shown", thousands(missed)));
            self.rows += missed;
        }
        for (table, events) in lost {
            self.line(&format!("# {} events of `{}` lost", thousands(events), table.name()));
        }
        self.rows(batches)?;
        for (table, rows) in counted {
            *self.counted.entry(table).or_default() += rows;
        }
        if at - self.told >= SECOND {
            self.told = at;
            if !self.counted.is_empty() {
                let mut line =
                    format!("{:<12} {:<10}", self.spelling.cell(&Value::Clock(at)), "counted");
                for (table, rows) in std::mem::take(&mut self.counted) {
                    line.push_str(&format!(" {}={rows}", table.name()));
                }
                self.line(&line);
            }
        }
        self.write()
    }

    /// Prints rows in the order of time.
    fn rows(&mut self, batches: Vec<(TableId, RecordBatch)>) -> io::Result<()> {
        let views = batches.into_iter().map(|(table, batch)| Rows::of(table, &batch));
        let views: Vec<Rows> = views.collect::<Result<_, String>>().map_err(io::Error::other)?;
        let mut order: Vec<(i64, usize, usize)> = Vec::new();
        for (view, rows) in views.iter().enumerate() {
            order.extend(rows.ts.values().iter().enumerate().map(|(row, ts)| (*ts, view, row)));
        }
        order.sort_unstable();
        for (ts, view, row) in order {
            let Rows { table, line, values, .. } = &views[view];
            if self.begun.insert(*table)
                && let Some(header) = line.header()
            {
                self.line(&header);
            }
            let text = line.text(ts, &values(row), &self.spelling);
            self.line(&text);
            self.rows += 1;
            if self.text.len() >= CHUNK {
                self.write()?;
            }
        }
        Ok(())
    }

    fn line(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    /// Writes what there is, and waits for it.
    fn write(&mut self) -> io::Result<()> {
        let mut bytes = self.text.as_bytes();
        while !bytes.is_empty() {
            match self.output.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => bytes = &bytes[written..],
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    // Others that have the same terminal can say that nobody waits for it.
                    ErrorKind::WouldBlock => std::thread::sleep(Duration::from_millis(10)),
                    _other => return Err(error),
                },
            }
        }
        self.text.clear();
        self.counts.settled.fetch_add(std::mem::take(&mut self.rows), Ordering::Relaxed);
        Ok(())
    }
}

impl Rows {
    fn of(table: TableId, batch: &RecordBatch) -> Result<Rows, String> {
        let batch = spelled_out(batch)?;
        let line = Line::of(table);
        let values = line.values(&batch)?;
        Ok(Rows { table, line, ts: cell::column::<i64>(&batch, "ts")?, values })
    }
}

/// The batch as readers have it: builders code texts by dictionaries.
fn spelled_out(batch: &RecordBatch) -> Result<RecordBatch, String> {
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns());
    let (fields, columns): (Vec<Field>, Vec<ArrayRef>) = columns
        .map(|(field, column)| match column.data_type() {
            DataType::Dictionary(..) => {
                let column = cast(column, &DataType::Utf8).map_err(|error| error.to_string())?;
                let field = Field::new(field.name(), DataType::Utf8, field.is_nullable());
                Ok((field, column))
            }
            _other => Ok((field.as_ref().clone(), Arc::clone(column))),
        })
        .collect::<Result<Vec<_>, String>>()?
        .into_iter()
        .unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(|error| error.to_string())
}
