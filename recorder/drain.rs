//! The drain thread: takes records out of the rings and puts them into the columns of their tables.
//!
//! It wakes every 50 ms, or when a ring is half full. BPF programs do not wake it for each record:
//! that costs the producer and the consumer several times what the record itself does. Once a second
//! it hands what it has to the [`writer`](crate::writer), reads the kernel's counters, and notes what
//! was lost since the last time.

#![expect(
    unsafe_code,
    reason = "polling the rings and the thread's priority are system calls that no crate here wraps"
)]

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use arrow::record_batch::RecordBatch;
use caps::Capability;
use crossbeam_channel::{Receiver, Sender};
use libbpf_rs::{RingBuffer, RingBufferBuilder};
use lookback_schemas::cell::{RecordBuilder, RowBuilder as _, Source};
use lookback_schemas::tables::{Loss, clock, loss};
use lookback_schemas::wire::{Header, Reason};
use lookback_schemas::{Table as _, TableId};
use zerocopy::FromBytes as _;

use crate::chunks::Chunk;
use crate::mappings::SharedSpaces;
use crate::maps::Maps;
use crate::missed::Watched;
use crate::overload::{self, Load, Overload, Step};
use crate::stacks::{Frames, Stacks};
use crate::triggers::{Hit, Triggers};
use crate::writer::{Batch, Message, Shared, Turn};
use crate::{clocks, privileges, progress};

/// How often the rings are looked at. At high rates they are half full, and wake us, before that.
const TICK: Duration = Duration::from_millis(50);
/// How often rows go to the writer. What a killed recorder loses is this and the time to encode.
const FLUSH: Duration = Duration::from_millis(750);
/// Rows of a table that go to the writer at once. So few stay in the processor's cache until they are
/// encoded; many more would also take more memory.
const BATCH_ROWS: usize = 16 * 1024;
/// Records that are taken from one ring before the next one has its turn.
const TURN: usize = 64 * 1024;

/// What the drain thread works with.
pub struct Drain {
    /// The rings and counters.
    pub maps: Arc<Maps>,
    /// What turns the monotonic clock into the recording's time.
    pub epoch: i64,
    /// When recording began, in the recording's time.
    pub started: i64,
    /// Where batches go.
    pub writer: Sender<Message>,
    /// Tells that another chunk is to begin.
    pub turns: Receiver<Begin>,
    /// Whether each chunk is to be understood alone.
    pub chunked: bool,
    /// Whether nothing is stopped when events are too many.
    pub tolerant: bool,
    /// What is waited for, and who is told.
    pub triggers: (Triggers, Sender<Hit>),
    /// What the other threads want to know.
    pub progress: Shared,
    /// The programs, to be asked what the kernel did not run.
    pub programs: Vec<Watched>,
    /// The code that processes have mapped.
    pub spaces: SharedSpaces,
    /// Set when the programs are detached: what is in the rings is then the last.
    pub finish: Arc<AtomicBool>,
    /// Records that come after those: user space has made them.
    pub last: Arc<Mutex<Vec<Vec<u8>>>>,
    /// What the thread needs to be able to do.
    pub keep: &'static [Capability],
}

/// What a chunk begins with.
#[derive(Debug)]
pub struct Begin {
    /// The processes that live.
    pub processes: RecordBatch,
    /// The cgroups that there are, as records.
    pub cgroups: Vec<Vec<u8>>,
    /// Who wants the chunks that are kept then.
    pub chunks: Option<Sender<Vec<Arc<Chunk>>>>,
}

impl Drain {
    /// Runs until `finish` is set and the rings are empty. `first` are records that user space made
    /// itself.
    ///
    /// # Errors
    /// If the rings cannot be mapped or the counters not read.
    pub fn run(mut self, first: &[Vec<u8>]) -> Result<Frames> {
        go_first(self.keep);
        let mut losses = Losses::new(&self);
        let tables = RefCell::new(Tables::new(&self));
        for record in first {
            tables.borrow_mut().take(record);
        }
        let rings = self.rings(&tables)?;
        // Since when each ring has nothing older.
        let mut emptied = vec![0; rings.len()];
        let mut flushed = Instant::now();
        loop {
            let finishing = self.finish.load(Ordering::Acquire);
            self.progress.lock().expect("no thread panicked").turns.drain += 1;
            tables.borrow_mut().stacks.catch_up();
            let now = clocks::monotonic() as u64;
            let mut more = false;
            for (ring, emptied) in rings.iter().zip(&mut emptied) {
                let taken = ring.consume_raw_n(TURN);
                if taken < 0 {
                    anyhow::bail!(
                        "reading a ring buffer failed: {}",
                        std::io::Error::from_raw_os_error(-taken)
                    );
                }
                match (taken as usize) < TURN {
                    true => *emptied = now,
                    false => more = true,
                }
            }
            let located = emptied.iter().copied().min().unwrap_or(now);
            self.spaces.with(|spaces| spaces.located_until(located));
            let over = finishing && !more;
            if over {
                let last = std::mem::take(&mut *self.last.lock().expect("no thread panicked"));
                last.iter().for_each(|record| tables.borrow_mut().take(record));
            }
            if over || flushed.elapsed() >= FLUSH {
                flushed = Instant::now();
                tables.borrow_mut().flush();
                losses.note(&mut self, &tables.borrow())?;
            }
            if over {
                break;
            }
            if let Ok(begin) = self.turns.try_recv() {
                flushed = Instant::now();
                tables.borrow_mut().flush();
                losses.note(&mut self, &tables.borrow())?;
                let kept = self.progress.lock().expect("no thread panicked").kept.0;
                let unmet = tables.borrow_mut().turn(begin, kept);
                self.maps.forget_stacks(&unmet);
            }
            if !more {
                wait(&rings)?;
            }
        }
        drop(rings);
        Ok(tables.into_inner().stacks.finish())
    }

    fn rings<'t>(&self, tables: &'t RefCell<Tables>) -> Result<Vec<RingBuffer<'t>>> {
        let ring = |map| {
            let mut builder = RingBufferBuilder::new();
            builder.add(map, move |record: &[u8]| {
                tables.borrow_mut().take(record);
                0
            })?;
            builder.build()
        };
        self.maps.rings.iter().map(|map| ring(map).context("cannot map a ring buffer")).collect()
    }
}

/// Lets this thread run before others that can run: while it waits for a CPU, rings fill up, or stacks are not
/// whole. What it does is little. Without CAP_SYS_NICE it waits like any other. Then only these capabilities are
/// kept.
pub fn go_first(keep: &[Capability]) {
    take_turns(-10, keep);
}

/// Lets this thread run behind others, and with no capability: what it does, nothing waits for.
pub fn go_last() {
    take_turns(10, &[]);
}

fn take_turns(niceness: i32, keep: &[Capability]) {
    const THIS_THREAD: libc::id_t = 0;
    // SAFETY: no memory is involved.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, THIS_THREAD, niceness) };
    privileges::keep(keep).expect("a thread may always give up what it has");
}

/// Sleeps for a tick, or until a ring is half full.
fn wait(rings: &[RingBuffer<'_>]) -> Result<()> {
    let mut polls: Vec<libc::pollfd> = rings
        .iter()
        .map(|ring| libc::pollfd { fd: ring.epoll_fd(), events: libc::POLLIN, revents: 0 })
        .collect();
    // SAFETY: the pointer and the length are those of one slice.
    let ready = unsafe {
        libc::poll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, TICK.as_millis() as i32)
    };
    if ready < 0 {
        let error = std::io::Error::last_os_error();
        if error.kind() != std::io::ErrorKind::Interrupted {
            return Err(error).context("waiting for the ring buffers failed");
        }
    }
    Ok(())
}

const STACK: usize = TableId::Stack as usize;
const EXEC: usize = TableId::Exec as usize;
const EXIT: usize = TableId::Exit as usize;

/// The columns that are being filled, by table.
struct Tables {
    epoch: i64,
    builders: Vec<Option<Box<dyn RecordBuilder>>>,
    /// The tables of which the writer has got a part of a row group.
    begun: Vec<bool>,
    stacks: Stacks,
    writer: Sender<Message>,
    triggers: (Triggers, Sender<Hit>),
    chunked: bool,
    /// Records that fit no table. There is none unless a BPF program is wrong.
    unreadable: u64,
}

impl Tables {
    fn new(drain: &Drain) -> Tables {
        Tables {
            epoch: drain.epoch,
            builders: TableId::ALL.iter().map(|table| table.record_builder()).collect(),
            begun: vec![false; TableId::ALL.len()],
            stacks: Stacks::new(drain.spaces.clone(), drain.chunked),
            writer: drain.writer.clone(),
            triggers: drain.triggers.clone(),
            chunked: drain.chunked,
            unreadable: 0,
        }
    }

    #[inline]
    fn take(&mut self, record: &[u8]) {
        let table = match Header::ref_from_prefix(record) {
            Ok((header, _)) => header.table as usize,
            Err(_) => usize::MAX,
        };
        match table {
            STACK => return self.stacks.add(record, self.epoch),
            EXEC => self.stacks.exec(record),
            EXIT => self.stacks.exit(record),
            _ => {}
        }
        let Some(Some(builder)) = self.builders.get_mut(table) else {
            self.unreadable += 1;
            return;
        };
        let source = Source { record, epoch: self.epoch, stacks: Some(self.stacks.numbers()) };
        match builder.append_record(&source) {
            Ok(BATCH_ROWS..) => {
                let rows = builder.finish_batch();
                self.begun[table] = true;
                self.hand_over(Batch { table: TableId::ALL[table], rows, more: true });
            }
            Ok(_few) => {}
            Err(_) => self.unreadable += 1,
        }
    }

    /// Hands all rows to the writer.
    fn flush(&mut self) {
        let [frames, symbols, stacks] = self.stacks.take();
        self.send(TableId::Frame, frames);
        self.send(TableId::Symbol, symbols);
        self.send(TableId::Stack, stacks);
        for index in 0..self.builders.len() {
            let begun = std::mem::take(&mut self.begun[index]);
            if let Some(builder) = &mut self.builders[index]
                && (begun || builder.rows() > 0)
            {
                let rows = builder.finish_batch();
                self.hand_over(Batch { table: TableId::ALL[index], rows, more: false });
            }
        }
    }

    /// Ends the chunk, of which all rows have been handed over, and begins another. Gives hashes of stacks that
    /// the BPF programs are to forget.
    fn turn(&mut self, begin: Begin, kept: usize) -> Vec<i64> {
        let mut unmet = Vec::new();
        if self.chunked {
            // The one that has just ended is not among those that are kept yet.
            let (names, stacks) = self.stacks.begin_chunk(kept + 1);
            self.send(TableId::Symbol, names);
            unmet = stacks;
        }
        let turn = Turn { at: clocks::monotonic() + self.epoch, chunks: begin.chunks };
        self.writer.send(Message::Turn(turn)).expect("the encoder runs as long as this thread");
        self.send(TableId::Process, begin.processes);
        begin.cgroups.iter().for_each(|record| self.take(record));
        unmet
    }

    fn send(&self, table: TableId, rows: RecordBatch) {
        if rows.num_rows() > 0 {
            self.hand_over(Batch { table, rows, more: false });
        }
    }

    fn hand_over(&self, batch: Batch) {
        let (triggers, hits) = &self.triggers;
        for hit in triggers.look(&batch) {
            // Nobody listens any more when the recording ends.
            let _ = hits.send(hit);
        }
        self.writer
            .send(Message::Rows(batch))
            .expect("the encoder runs until the last sender is dropped");
    }
}

/// What the kernel's counters said the last time.
struct Losses {
    since: i64,
    lost: Vec<Vec<u64>>,
    /// Per table, what it had seen.
    seen: Vec<u64>,
    /// When that was.
    looked: Instant,
    overload: Overload,
    /// Per table, how often the kernel did not run its programs.
    missed: Vec<u64>,
}

impl Losses {
    /// Counts from the beginning: programs run, and lose events, before this thread does.
    fn new(drain: &Drain) -> Losses {
        Losses {
            since: drain.started,
            lost: vec![Vec::new(); TableId::ALL.len() * Reason::ALL.len()],
            seen: vec![0; TableId::ALL.len()],
            looked: Instant::now(),
            overload: Overload::new(drain.tolerant),
            missed: vec![0; TableId::ALL.len()],
        }
    }

    /// Writes down what was lost since the last time, what the clocks show, and the totals.
    fn note(&mut self, drain: &mut Drain, tables: &Tables) -> Result<()> {
        let now = clocks::monotonic() + drain.epoch;
        let mut rows = loss::Builder::default();
        let mut missed = vec![0; TableId::ALL.len()];
        for program in &mut drain.programs {
            missed[program.table as usize] += program.missed().context("asking a BPF program")?;
        }
        let mut last = self.lost.iter_mut();
        let mut load = Load { time: self.looked.elapsed(), ..Load::default() };
        for table in TableId::ALL {
            let mut lost_events = 0;
            for reason in Reason::ALL {
                let counts = drain.maps.counter(*table, reason as usize)?;
                let last = last.next().expect("there is one for each table and reason");
                last.resize(counts.len(), 0);
                for (cpu, (count, before)) in counts.iter().zip(last.iter()).enumerate() {
                    if count > before {
                        let row = Loss {
                            ts: self.since,
                            end: now,
                            table: table.name().to_owned(),
                            cpu: Some(cpu as i32),
                            count: (count - before) as i64,
                            reason: reason.name().to_owned(),
                        };
                        rows.append(&row, &Default::default());
                    }
                    if reason.loses_the_event() {
                        lost_events += count - before;
                    }
                    if reason == Reason::RingFull {
                        load.overflown += count - before;
                    }
                }
                *last = counts;
            }
            let missed = missed[*table as usize];
            if missed > 0 {
                rows.append(
                    &Loss {
                        ts: self.since,
                        end: now,
                        table: table.name().to_owned(),
                        cpu: None,
                        count: missed as i64,
                        reason: Reason::ProgramBusy.name().to_owned(),
                    },
                    &Default::default(),
                );
                self.missed[*table as usize] += missed;
                lost_events += missed;
            }
            let seen =
                drain.maps.counter(*table, 0)?.iter().sum::<u64>() + self.missed[*table as usize];
            let before = std::mem::replace(&mut self.seen[*table as usize], seen);
            load.seen.insert(*table, seen - before);
            let mut progress = drain.progress.lock().expect("no thread panicked");
            if seen > 0 {
                let total = progress.totals.entry(*table).or_default();
                total.seen = Some(seen);
                total.lost += lost_events;
            }
            if tables.unreadable > 0 {
                progress.error.get_or_insert_with(|| {
                    format!("{} records fit no table: a BPF program is wrong", tables.unreadable)
                });
            }
        }
        self.since = now;
        self.looked = Instant::now();
        for step in self.overload.look(&load, self.looked) {
            let (table, stopped) = match &step {
                Step::Stop(table, _) => (*table, true),
                Step::Resume(table) => (*table, false),
            };
            drain.maps.stop(table, stopped)?;
            let mut progress = drain.progress.lock().expect("no thread panicked");
            overload::note(&step, now, &mut progress.stopped);
            drop(progress);
            progress::overload(&step);
        }
        tables.send(Loss::ID, rows.finish());
        let mut clocks = clock::Builder::default();
        clocks.append(&clocks::reading(drain.epoch), &Default::default());
        tables.send(TableId::Clock, clocks.finish());
        Ok(())
    }
}
