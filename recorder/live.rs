//! `--live`: rows are printed while they are recorded, as the tools do that people know.
//!
//! What is printed is what is written: the encoder hands over each batch of rows when it has written it, redacted
//! as it is then. So lines come within a second, which is how long rows are collected, and each *round* of
//! them in the order of time.
//!
//! Printing never holds the recording up. The encoder hands rounds over without waiting, a few of limited size;
//! what a terminal does not take in time is left out there, and how many rows that were is printed as soon as
//! it takes something again. The thread that prints waits behind all others for a CPU.

mod printer;

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use arrow::record_batch::RecordBatch;
use crossbeam_channel::{Sender, TrySendError, bounded};
use lookback_schemas::TableId;
use lookback_schemas::cell::View as _;
use lookback_schemas::lines::text::thousands;
use lookback_schemas::tables::clock;

use crate::tracers::Choice;
use crate::writer::add_losses;
use printer::Printer;

/// Rounds that may wait for the printer.
const QUEUE: usize = 2;
/// Bytes of rows in a round, beyond which it takes no more batches. A round and a batch more are some ten MB.
const ROUND_BYTES: usize = 4 << 20;
/// After so long without progress, the rest is not waited for.
const PATIENCE: Duration = Duration::from_millis(500);

/// What the user wants to see: names of tracers and tables; none for what is usual.
#[derive(Clone, Debug)]
pub struct Wanted(Vec<String>);

impl FromStr for Wanted {
    type Err = std::convert::Infallible;

    fn from_str(names: &str) -> Result<Wanted, Self::Err> {
        let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
        Ok(Wanted(names.map(str::to_owned).collect()))
    }
}

/// How the rows of a table are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    /// A line for each.
    Lines,
    /// How many there are, once a second.
    Counted,
}

/// How the rows of a table are shown where the user names none: lines, where a person can read them as they come.
fn usual(table: TableId) -> Option<Shown> {
    match table {
        TableId::Exec
        | TableId::Exit
        | TableId::Signal
        | TableId::Kill
        | TableId::Open
        | TableId::Unlink
        | TableId::Tcpconnect
        | TableId::Tcpstate
        | TableId::Lsmconnect
        | TableId::Gc
        | TableId::Readline
        | TableId::Probe
        | TableId::Span => Some(Shown::Lines),
        TableId::Fork
        | TableId::Sample
        | TableId::Syscall
        | TableId::Runq
        | TableId::Offcpu
        | TableId::Hardirq
        | TableId::Softirq
        | TableId::Tcprtt
        | TableId::Kalloc
        | TableId::Alloc
        | TableId::Vm => Some(Shown::Counted),
        // What events refer to.
        TableId::Cgroup
        | TableId::Process
        | TableId::Stack
        | TableId::Frame
        | TableId::Symbol
        | TableId::Clock
        | TableId::Loss => None,
    }
}

/// The tables to show, by table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables(BTreeMap<TableId, Shown>);

impl Tables {
    /// Those that are wanted of what these tracers record. A tracer that is named has lines for what usually has
    /// them, or else for all of its tables.
    ///
    /// # Errors
    /// If a name is neither a tracer's nor a table's that is recorded.
    pub fn choose(wanted: &Wanted, choices: &[Choice]) -> Result<Tables> {
        let recorded = choices.iter().flat_map(|choice| choice.tracer.tables).copied();
        let recorded: BTreeMap<TableId, Shown> =
            recorded.filter_map(|table| Some((table, usual(table)?))).collect();
        if wanted.0.is_empty() {
            return Ok(Tables(recorded));
        }
        let mut tables = BTreeMap::new();
        for name in &wanted.0 {
            let of_tracer = choices.iter().find(|choice| choice.tracer.name == name);
            let mut named: Vec<TableId> = match of_tracer {
                Some(choice) => choice.tracer.tables.to_vec(),
                None => TableId::from_name(name).into_iter().collect(),
            };
            named.retain(|table| recorded.contains_key(table));
            if named.is_empty() {
                bail!(
                    "--live={name}: no tracer of that name, or with that table, is chosen by --trace"
                );
            }
            if named.iter().any(|table| recorded[table] == Shown::Lines) {
                named.retain(|table| recorded[table] == Shown::Lines);
            }
            tables.extend(named.into_iter().map(|table| (table, Shown::Lines)));
        }
        Ok(Tables(tables))
    }
}

/// Rows that were recorded at about the same time.
#[derive(Debug, Default)]
struct Round {
    /// When it ended, in the recording's time.
    at: i64,
    /// Those that get lines.
    batches: Vec<(TableId, RecordBatch)>,
    bytes: usize,
    /// How many others there were.
    counted: BTreeMap<TableId, u64>,
    /// Events that were lost.
    lost: BTreeMap<TableId, u64>,
}

impl Round {
    fn is_empty(&self) -> bool {
        self.batches.is_empty() && self.counted.is_empty() && self.lost.is_empty()
    }

    fn rows(&self) -> u64 {
        self.batches.iter().map(|(_, rows)| rows.num_rows() as u64).sum()
    }
}

/// What became of the rows that were to get lines.
#[derive(Debug, Default)]
struct Counts {
    /// All of them.
    rows: AtomicU64,
    /// Those that were left out, and it was not said yet.
    missed: AtomicU64,
    /// Those that were printed, or it was said that they are not.
    settled: AtomicU64,
}

/// Where the encoder hands rows over.
#[derive(Debug)]
pub struct Tap {
    tables: Tables,
    round: Round,
    /// Until nobody reads what is printed.
    printer: Option<Sender<Round>>,
    counts: Arc<Counts>,
}

impl Tap {
    /// Takes rows that were written. Never waits.
    pub fn take(&mut self, table: TableId, rows: &RecordBatch) {
        match (table, self.tables.0.get(&table)) {
            (TableId::Loss, _) => add_losses(&mut self.round.lost, rows),
            // The drain thread sends it behind all that it has.
            (TableId::Clock, _) => {
                let clocks = clock::Columns::view(rows).ok();
                let last = clocks.filter(|clocks| clocks.rows() > 0);
                if let Some(clocks) = last {
                    self.end_round(clocks.ts.value(clocks.rows() - 1));
                }
            }
            (_, Some(Shown::Counted)) => {
                *self.round.counted.entry(table).or_default() += rows.num_rows() as u64;
            }
            (_, Some(Shown::Lines)) => {
                let count = rows.num_rows() as u64;
                self.counts.rows.fetch_add(count, Ordering::Relaxed);
                if self.printer.is_none() {
                    // They count as not shown in the end.
                } else if self.round.bytes < ROUND_BYTES {
                    self.round.bytes += rows.get_array_memory_size();
                    self.round.batches.push((table, rows.clone()));
                } else {
                    self.counts.missed.fetch_add(count, Ordering::Relaxed);
                }
            }
            (_, None) => {}
        }
    }

    fn end_round(&mut self, at: i64) {
        let Some(printer) = &self.printer else { return };
        if self.round.is_empty() && self.counts.missed.load(Ordering::Relaxed) == 0 {
            return;
        }
        let round = Round { at, ..std::mem::take(&mut self.round) };
        match printer.try_send(round) {
            Ok(()) => {}
            // Numbers do not get lost.
            Err(TrySendError::Full(Round { batches, counted, lost, .. })) => {
                let left_out = Round { batches, ..Round::default() };
                self.counts.missed.fetch_add(left_out.rows(), Ordering::Relaxed);
                self.round = Round { counted, lost, ..Round::default() };
            }
            Err(TrySendError::Disconnected(_)) => self.printer = None,
        }
    }
}

/// The thread that prints.
#[derive(Debug)]
pub struct Live {
    thread: JoinHandle<()>,
    counts: Arc<Counts>,
}

impl Live {
    /// Starts it. It ends when the tap is dropped, or nobody reads any more. `started` is when recording began.
    ///
    /// # Errors
    /// If there is no standard output, or no room for a thread.
    pub fn start(tables: Tables, started: i64) -> Result<(Live, Tap)> {
        let counts = Arc::<Counts>::default();
        let (printer, rounds) = bounded(QUEUE);
        let tap = Tap {
            tables,
            round: Round::default(),
            printer: Some(printer),
            counts: Arc::clone(&counts),
        };
        let printer = Printer::new(started, Arc::clone(&counts))?;
        let thread = std::thread::Builder::new()
            .name("printer".to_owned())
            .spawn(move || printer.run(&rounds))
            .context("cannot start a thread")?;
        Ok((Live { thread, counts }, tap))
    }

    /// Waits until all is printed, if whoever reads it goes on doing so, and says what is not.
    pub fn finish(self) {
        let settled = || self.counts.settled.load(Ordering::Relaxed);
        let mut before = settled();
        let mut waited = Duration::ZERO;
        while !self.thread.is_finished() && waited < PATIENCE {
            const TICK: Duration = Duration::from_millis(5);
            std::thread::sleep(TICK);
            let now = settled();
            waited = if now == before { waited + TICK } else { Duration::ZERO };
            before = now;
        }
        let rest = self.counts.rows.load(Ordering::Relaxed) - settled();
        if rest > 0 {
            eprintln!("record: {} rows were recorded and not shown", thousands(rest));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracers;

    fn chosen(wanted: &str, tracers: &str) -> Result<Vec<(&'static str, Shown)>> {
        let tracers: Vec<String> = tracers.split(',').map(str::to_owned).collect();
        let choices = tracers::choose(&tracers, false)?;
        let tables = Tables::choose(&wanted.parse()?, &choices)?;
        Ok(tables.0.into_iter().map(|(table, shown)| (table.name(), shown)).collect())
    }

    #[test]
    fn tables_are_chosen_by_tracer_and_by_name() {
        use Shown::{Counted, Lines};
        let process = [("exec", Lines), ("fork", Counted), ("exit", Lines)];
        assert_eq!(chosen("", "process").unwrap(), process);
        assert_eq!(chosen("process", "process").unwrap(), [process[0], process[2]]);
        assert_eq!(chosen("fork, exec", "process").unwrap(), [process[0], ("fork", Lines)]);
        assert_eq!(chosen("profile", "process,profile").unwrap(), [("sample", Lines)]);
        assert_eq!(chosen("", "profile").unwrap(), [("sample", Counted)]);
        assert_eq!(chosen("kill", "signal").unwrap(), [("kill", Lines)]);
        for not_recorded in ["open", "nosuch", "stack", "cgroup", "clock"] {
            assert!(chosen(not_recorded, "process,profile").is_err(), "{not_recorded}");
        }
    }
}
