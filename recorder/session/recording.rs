//! A recording while it is made: its threads, what the main thread waits for, and its end.
//!
//! The drain thread takes events out of the rings, and the encoder writes them ([`drain`](crate::drain),
//! [`writer`](crate::writer)). Meanwhile the main thread comes round every [`TICK`]: it looks for the
//! end, has new code probed, and writes the manifest. When the programs are detached, what the rings still hold is
//! written, and frames get their names.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use crossbeam_channel::Sender;
use lookback_schemas::TableId;
use lookback_schemas::manifest::{self, End, Manifest, Symbols, Unwinding};
use lookback_schemas::segment::Rotation;
use lookback_schemas::symbols::kallsyms::Kallsyms;
use lookback_schemas::tables::Frame;
use lookback_schemas::wire::Settings;
use signal_hook::consts::{SIGINT, SIGUSR1};
use signal_hook::iterator::Signals;

use crate::command::Running;
use crate::drain::Drain;
use crate::flight::{Ends, Flight, Of};
use crate::live::Tap;
use crate::mappings::SharedSpaces;
use crate::maps::Maps;
use crate::missed::Watched;
use crate::new_code::NewCode;
use crate::owner::Scribe;
use crate::stacks::Frames;
use crate::triggers::Triggers;
use crate::unfinished::Unfinished;
use crate::unwind::Unwinder;
use crate::writer::{Batch, Destination, Message, Progress, Shared, Turn, Writer};
use crate::{clocks, keep, privileges, progress, snapshot, symbols};

/// How often the main thread looks at what has happened.
const TICK: Duration = Duration::from_millis(50);
/// How often the manifest is written while recording.
const MANIFEST: Duration = Duration::from_secs(5);
/// Programs that run while they are detached are done by then.
const SETTLE: Duration = Duration::from_millis(20);

/// What a recording waits for, beside signals.
pub struct Until<'a> {
    /// This moment.
    pub time: Option<Instant>,
    /// The end of the last of these processes.
    pub targets: Option<&'a Maps>,
    /// The end of the command.
    pub command: Option<&'a mut Running>,
    /// What is to be probed meanwhile.
    pub code: NewCode<'a>,
}

/// Why a recording ended.
#[derive(Clone, Debug)]
pub enum Ended {
    Duration,
    Interrupt,
    Terminate,
    Command,
    Processes,
    Failed(String),
}

impl Ended {
    fn name(&self) -> &'static str {
        match self {
            Ended::Duration => "duration",
            Ended::Interrupt => "interrupt",
            Ended::Terminate => "terminate",
            Ended::Command => "command",
            Ended::Processes => "processes",
            Ended::Failed(_) => "error",
        }
    }
}

/// How frames are named.
pub struct Naming {
    /// What the kernel's code was called when the programs were attached.
    pub kernel: Option<Kallsyms>,
    /// Whether the recording gets copies of their files.
    pub keep: bool,
    /// Whether to say which files did not tell all.
    pub verbose: bool,
}

/// Where the events of a recording come from.
pub struct Sources {
    pub programs: Vec<Watched>,
    pub spaces: SharedSpaces,
    pub unwinder: Option<Unwinder>,
    pub settings: Settings,
    pub flight: Flight,
    pub ends: Ends,
    pub triggers: Triggers,
    pub tolerant: bool,
    pub rotation: Rotation,
    pub live: Option<Tap>,
}

/// A recording that is being made: the threads and what they write to.
pub struct Recording {
    directory: PathBuf,
    /// What its manifest says.
    pub manifest: Manifest,
    /// When it began.
    pub began: Instant,
    progress: Shared,
    finish: Arc<AtomicBool>,
    maps: Arc<Maps>,
    last: Arc<Mutex<Vec<Vec<u8>>>>,
    /// Until it is waited for.
    drain: Option<JoinHandle<Result<Frames>>>,
    unwinder: Option<Unwinder>,
    settings: Settings,
    spaces: SharedSpaces,
    flight: Flight,
    writer: Writer,
    batches: Sender<Message>,
    scribe: Arc<Scribe>,
}

impl Recording {
    pub fn start(
        directory: PathBuf,
        manifest: Manifest,
        maps: Arc<Maps>,
        Sources {
            programs,
            spaces,
            unwinder,
            settings,
            flight,
            ends,
            triggers,
            tolerant,
            rotation,
            live,
        }: Sources,
        scribe: Scribe,
    ) -> Result<Recording> {
        let stacks = manifest
            .tracers
            .iter()
            .any(|tracer| tracer.tables.iter().any(|table| table == TableId::Stack.name()));
        let progress = Arc::new(Mutex::new(Progress::default()));
        let finish = Arc::new(AtomicBool::new(false));
        let epoch = manifest.epoch;
        let limits = flight.limits();
        let destination = Destination {
            directory: directory.clone(),
            epoch,
            started: manifest.started,
            limits,
            rotation,
            redaction: scribe.redaction(),
            live,
        };
        // From there, so that it has the rights of the scribe, and no more.
        let (writer, batches) = {
            let progress = Arc::clone(&progress);
            scribe.run(move || Writer::start(destination, &progress))
        };
        let last = Arc::default();
        let drain = Drain {
            maps: Arc::clone(&maps),
            epoch,
            started: manifest.started,
            writer: batches.clone(),
            turns: ends.turns,
            chunked: limits.discard(),
            tolerant,
            triggers: (triggers, ends.hits),
            progress: Arc::clone(&progress),
            programs,
            spaces: spaces.clone(),
            finish: Arc::clone(&finish),
            last: Arc::clone(&last),
            // It asks processes for their code when stacks come.
            keep: if stacks { privileges::CODE } else { privileges::COUNTING },
        };
        let drain = std::thread::Builder::new()
            .name("drain".to_owned())
            .spawn(move || drain.run(&snapshot::cgroups()))
            .context("cannot start a thread")
            .map(Some)?;
        let began = Instant::now();
        Ok(Recording {
            directory,
            manifest,
            began,
            progress,
            finish,
            maps,
            last,
            drain,
            unwinder,
            settings,
            spaces,
            flight,
            writer,
            batches,
            scribe: Arc::new(scribe),
        })
    }

    pub fn send(&self, table: TableId, rows: arrow::record_batch::RecordBatch) {
        if rows.num_rows() > 0 {
            let batch = Batch { table, rows, more: false };
            let message = Message::Rows(batch);
            self.batches.send(message).expect("the encoder runs while a sender is left");
        }
    }

    /// Waits for the end.
    pub fn watch(
        &mut self,
        mut until: Until<'_>,
        signals: &mut Signals,
        tell: &mut dyn FnMut(&Progress),
    ) -> Ended {
        let mut written = Instant::now();
        loop {
            let arrived: Vec<i32> = signals.pending().collect();
            let asked = arrived.contains(&SIGUSR1);
            if let Some(signal) = arrived.into_iter().find(|signal| *signal != SIGUSR1) {
                if let Some(command) = &until.command {
                    command.signal(signal);
                }
                return if signal == SIGINT { Ended::Interrupt } else { Ended::Terminate };
            }
            if until.time.is_some_and(|time| Instant::now() >= time) {
                return Ended::Duration;
            }
            match until.command.as_mut().map(|command| command.ended()).transpose() {
                Ok(Some(Some(_))) => return Ended::Command,
                Ok(Some(None) | None) => {}
                Err(error) => return Ended::Failed(format!("{error:#}")),
            }
            if until.targets.is_some_and(|maps| !maps.has_targets()) {
                return Ended::Processes;
            }
            if self.drain.as_ref().is_none_or(JoinHandle::is_finished) {
                return Ended::Failed("the drain thread stopped".to_owned());
            }
            if let Err(error) = until.code.look(&mut self.manifest) {
                return Ended::Failed(format!("{error:#}"));
            }
            let progress = self.progress();
            tell(&progress);
            if let Some(error) = progress.error {
                return Ended::Failed(error);
            }
            let changed = match self.fly(asked) {
                Ok(changed) => changed,
                Err(error) => return Ended::Failed(format!("{error:#}")),
            };
            if changed || written.elapsed() >= MANIFEST {
                written = Instant::now();
                if let Some(maps) = until.targets {
                    maps.forget_gone();
                }
                if let Err(error) = self.write_manifest(false) {
                    return Ended::Failed(format!("{error:#}"));
                }
            }
            let now = Instant::now();
            let left = until.time.map_or(TICK, |time| time.saturating_duration_since(now));
            std::thread::sleep(left.min(TICK));
        }
    }

    /// Takes what the rings still hold, resolves symbols, and writes all that is left. The programs
    /// are detached before.
    pub fn finish(
        mut self,
        ended: &Ended,
        unfinished: &Unfinished,
        naming: Naming,
        signals: &mut Signals,
    ) -> Result<(PathBuf, Progress, Arc<Scribe>)> {
        let at = clocks::monotonic() + self.manifest.epoch;
        std::thread::sleep(SETTLE);
        for (table, record) in unfinished.records() {
            self.maps.count_seen(table, 1)?;
            self.last.lock().expect("no thread panicked").push(record);
        }
        self.finish.store(true, Ordering::Release);
        let frames = match self.drain.take().map(JoinHandle::join) {
            Some(Ok(frames)) => frames,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Ok(Frames::default()),
        };
        let (mut frames, mut failed) = match frames {
            Ok(frames) => (frames, None),
            Err(error) => (Frames::default(), Some(format!("{error:#}"))),
        };
        if self.flight.chunked() {
            match self.land() {
                Ok(kept) => frames.frames = kept,
                Err(error) => _ = failed.get_or_insert_with(|| format!("{error:#}")),
            }
        }
        if let Some(told) = self.unwinder.take().map(Unwinder::finish) {
            let asked = self.manifest.unwinding.take().map(|told| told.asked).unwrap_or_default();
            self.manifest.unwinding = Some(Unwinding { asked, ..told });
        }
        // Symbols take a while. Until then the manifest has the totals, but no end.
        self.write_manifest(true).unwrap_or_else(|error| {
            failed.get_or_insert_with(|| format!("{error:#}"));
        });
        self.manifest.symbols = self.resolve_symbols(frames, naming, signals);
        let Recording { directory, mut manifest, progress, writer, batches, scribe, .. } = self;
        drop(batches);
        writer.join();
        let progress = progress.lock().expect("no thread panicked").clone();
        let error = match ended {
            Ended::Failed(error) => Some(error.clone()),
            Ended::Duration
            | Ended::Interrupt
            | Ended::Terminate
            | Ended::Command
            | Ended::Processes => progress.error.clone().or_else(|| failed.clone()),
        };
        manifest.ended = Some(End { at, why: ended.name().to_owned(), error });
        manifest.totals = totals(&progress);
        manifest.recorder_pid = None;
        manifest.stopped.clone_from(&progress.stopped);
        scribe.manifest(&manifest, &directory, true)?;
        if let Some(error) = failed {
            bail!("the recording is incomplete: {error}");
        }
        Ok((directory, progress, scribe))
    }

    /// In a thread of its own, so that the user can decide not to wait.
    fn resolve_symbols(&self, frames: Frames, naming: Naming, signals: &mut Signals) -> Symbols {
        // They stay open until they are copied.
        let binaries = frames.binaries.clone();
        let mut enough = || signals.pending().any(|signal| signal != SIGUSR1);
        let thread = std::thread::spawn(move || symbols::resolve(&frames, naming.kernel));
        while !thread.is_finished() {
            if enough() {
                if naming.keep {
                    eprintln!("record: binaries are not kept: there was no time to find them");
                }
                return Symbols::Skipped;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        match thread.join() {
            Ok((resolved, files)) => {
                if naming.verbose {
                    progress::unnamed(&resolved.failures);
                }
                self.send(TableId::Symbol, resolved.rows());
                if naming.keep {
                    progress::not_kept(&keep::copy(&self.directory, files, &self.scribe, enough));
                }
                drop(binaries);
                Symbols::Resolved
            }
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Ends the chunk if that is due, and makes snapshots. Gives whether the manifest has changed.
    fn fly(&mut self, asked: bool) -> Result<bool> {
        if asked {
            self.flight.ask(&self.manifest);
        }
        let progress = self.progress();
        // A snapshot has what the manifest says, also before that is written for the first time.
        self.manifest.kept = self.flight.kept(&progress, self.manifest.started);
        let of = Of {
            directory: &self.directory,
            maps: &self.maps,
            settings: &self.settings,
            spaces: &self.spaces,
            scribe: &self.scribe,
        };
        self.flight.look(of, &mut self.manifest, &progress)
    }

    /// Ends the last chunk, and makes the snapshot that is still wanted. Gives the frames of what is kept: most of
    /// them have been forgotten.
    fn land(&mut self) -> Result<Vec<Frame>> {
        let (tell, told) = crossbeam_channel::bounded(1);
        let at = clocks::monotonic() + self.manifest.epoch;
        let turn = Message::Turn(Turn { at, chunks: Some(tell) });
        self.batches.send(turn).expect("the encoder runs while a sender is left");
        let chunks = told.recv().context("the encoder stopped")?;
        let of = Of {
            directory: &self.directory,
            maps: &self.maps,
            settings: &self.settings,
            spaces: &self.spaces,
            scribe: &self.scribe,
        };
        self.flight.finish(of, &mut self.manifest, chunks);
        self.write_manifest(false)?;
        let directory = self.directory.clone();
        let read = move || lookback_schemas::recording::Recording::open(&directory)?.frames();
        Ok(self.scribe.run(read)?)
    }

    fn progress(&self) -> Progress {
        self.progress.lock().expect("no thread panicked").clone()
    }

    fn write_manifest(&mut self, durable: bool) -> Result<()> {
        let progress = self.progress();
        self.manifest.totals = totals(&progress);
        self.manifest.stopped.clone_from(&progress.stopped);
        self.manifest.kept = self.flight.kept(&progress, self.manifest.started);
        self.scribe.manifest(&self.manifest, &self.directory, durable)
    }
}

fn totals(progress: &Progress) -> BTreeMap<String, manifest::Total> {
    progress.totals.iter().map(|(table, total)| (table.name().to_owned(), *total)).collect()
}
