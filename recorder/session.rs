//! A recording from beginning to end.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use crossbeam_channel::Sender;
use lookback_schemas::manifest::{self, End, Filters, Host, Manifest, Symbols, Unwinding};
use lookback_schemas::redact::Redaction;
use lookback_schemas::segment::Rotation;
use lookback_schemas::symbols::kallsyms::Kallsyms;
use lookback_schemas::tables::Frame;
use lookback_schemas::wire::Settings;
use lookback_schemas::{FORMAT_VERSION, TableId};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use crate::cli::{Args, Unwind};
use crate::code_events::CodeEvents;
use crate::command::{self, Running, Stopped, Waiting};
use crate::drain::Drain;
use crate::finder::Newcomers;
use crate::flight::{Ends, Flight, Of};
use crate::hooks::{Attached, Environment, Tracer, attach};
use crate::mappings::{AddressSpaces, SharedSpaces};
use crate::maps::Maps;
use crate::missed::Watched;
use crate::new_code::{ALLOC, NewCode, find_allocators};
use crate::owner::{self, Scribe};
use crate::places::{self, Found};
use crate::privileges::{self, Duties};
use crate::probes::files::{self, CodeFile};
use crate::progress::{self, Line};
use crate::service::Service;
use crate::stacks::Frames;
use crate::tracers::Choice;
use crate::triggers::Triggers;
use crate::types::Types;
use crate::unfinished::Unfinished;
use crate::unwind::Unwinder;
use crate::writer::{Batch, Destination, Message, Progress, Shared, Turn, Writer};
use crate::{clocks, hooks, keep, lacks, output, snapshot, symbols, targets, tracers};

/// How often the main thread looks at what has happened.
const TICK: Duration = Duration::from_millis(50);
/// How often the manifest is written while recording.
const MANIFEST: Duration = Duration::from_secs(5);
/// Programs that run while they are detached are done by then.
const SETTLE: Duration = Duration::from_millis(20);

/// Records, as the command line says. The result is the exit status: the command's, or 0.
///
/// # Errors
/// If nothing could be recorded, or recording ended early.
pub fn record(args: &Args) -> Result<u8> {
    quieten_libbpf(args.verbose);
    let selection = &args.selection;
    let probes = !selection.probe.is_empty() || !selection.span.is_empty();
    let mut choices = selection.check(tracers::choose(&args.trace, probes)?)?;
    let directory = output::directory(args.output.as_deref())?;
    let redaction = redaction(args)?;
    privileges::check()?;
    let types = Types::find(args.btf.as_deref())?;
    // From here on Ctrl-C ends the recording, and not this process.
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGUSR1]).context("cannot handle signals")?;

    let (maps, ring_bytes) = Maps::create(args.buffer.map(|size| size.as_u64()))?;
    let maps = Arc::new(maps);
    let mut settings = targets::settings(args, ring_bytes)?;
    let waiting = match args.command.as_slice() {
        [] => None,
        command => Some(Waiting::start(command)?),
    };
    let started = waiting.as_ref().map(|waiting| waiting.pid);
    settings.command = started.map_or(0, i64::from);
    // Without it, code of processes that end very soon has no names.
    let code = CodeEvents::open(started.filter(|_| args.pid.is_empty()))
        .inspect_err(|error| {
            if args.verbose > 0 {
                eprintln!("record: going on without mappings as they are made: {error:#}");
            }
        })
        .ok();
    let (allocators, left_out) = find_allocators(args, started, &mut choices)?;
    let allocators = RefCell::new(allocators);
    let Found { places, mut finders, left_out: without_places } =
        places::find(args, started, &mut choices)?;
    let environment = Environment {
        maps: &maps,
        settings: &settings,
        types: &types,
        frequency: args.frequency,
        kind: args.hook,
        allocators: &allocators,
        places: &places,
    };
    for destination in &args.selection.deny_connect {
        maps.deny(*destination)?;
    }
    if settings.alloc_sample != 0 {
        maps.sample_allocations(settings.alloc_sample)?;
    }
    let by_target = settings.by_target != 0;
    // No event is older than the recording.
    let began = clocks::monotonic();
    let mut following = by_target.then(|| attach(&tracers::FOLLOW, &environment)).transpose()?;
    let pids: Vec<i32> = args.pid.iter().copied().chain(started).collect();
    targets::add(&maps, &pids, settings.follow != 0)?;
    // As long as they surely live.
    let newcomers = Newcomers::default();
    let mut address_spaces = AddressSpaces::listening(code, newcomers.clone());
    // The command is still a copy of this process.
    let running = maps.targets().into_iter().filter(|pid| Some(*pid) != started);
    running.for_each(|pid| address_spaces.look_at(pid));
    let spaces = SharedSpaces::new(address_spaces);
    let unwinder = follow_code(args, &choices, &maps, &spaces)?;
    let (mut attached, mut reports) = attach_all(&choices, &environment)?;
    let stacks = attached.iter().any(|(tracer, _)| tracer.tables.contains(&TableId::Stack));
    let kernel = stacks.then(symbols::Earlier::read);
    if !args.quiet {
        places::announce(&reports);
    }
    places::merge(&mut reports, without_places);
    reports.extend(left_out);

    let (manifest, scribe) = begin(&directory, new_manifest(args, reports, began), redaction)?;
    let tracings = attached.iter_mut().map(|(_, tracing)| tracing).chain(&mut following);
    let programs = tracings.flat_map(|tracing| std::mem::take(&mut tracing.programs)).collect();
    let (flight, ends) = Flight::new(&args.flight);
    let triggers = Triggers::new(args.flight.trigger.clone());
    let mut recording = Recording::start(
        directory,
        manifest,
        Arc::clone(&maps),
        Sources {
            programs,
            spaces,
            unwinder,
            settings,
            flight,
            ends,
            triggers,
            tolerant: args.tolerate_loss,
            rotation: Rotation { age: args.segment_time, ..Rotation::default() },
        },
        scribe,
    )?;
    let present = snapshot::processes(recording.manifest.epoch, &maps, &settings);
    recording.send(TableId::Process, present);

    let mut command = waiting.map(Waiting::go).transpose();
    let duties = Duties {
        names: stacks,
        attaches: !finders.is_empty() || choices.iter().any(|choice| choice.tracer.name == ALLOC),
        signals: started.is_some(),
        lists: args.flight.limits().discard(),
    };
    privileges::keep(&duties.capabilities())?;
    let mut service = Service::ready();
    let tracers: Vec<&'static Tracer> = attached.iter().map(|(tracer, _)| *tracer).collect();
    let mut line = Line::start(tracers.clone(), args.quiet);
    let ended = match &mut command {
        Ok(command) => {
            let until = Until {
                time: args.duration.map(|duration| recording.began + duration),
                targets: (by_target && command.is_none()).then_some(&*maps),
                command: command.as_mut(),
                code: NewCode {
                    tracing: &mut attached,
                    allocators: &allocators,
                    maps: &maps,
                    command: started,
                    seen: [0; 2],
                    finders: &mut finders,
                    newcomers,
                    settings: &settings,
                    reach: &places.reach,
                    types: &types,
                },
            };
            recording.watch(until, &mut signals, &mut |progress| {
                line.update(progress);
                service.update(progress);
            })
        }
        Err(_) => Ended::Failed("the command could not be started".to_owned()),
    };
    let recorded = recording.began.elapsed();
    let mut unfinished = Unfinished::new(places.spans.clone());
    attached.iter().for_each(|(tracer, tracing)| unfinished.watch(tracer.tables, tracing.object()));
    let kernel = kernel.and_then(symbols::Earlier::names);
    drop(attached);
    drop(following);
    // It may have called exec since it was looked at last.
    if let Some(pid) = started
        && !matches!(ended, Ended::Command)
        && maps.code_changes().is_ok_and(|[_, execs]| execs > 1)
    {
        drop(Stopped(pid));
    }
    service.stopping();
    line.say("writing, resolving symbols; Ctrl-C leaves the symbols out");
    let naming = Naming { kernel, keep: args.keep_binaries, verbose: args.verbose > 0 };
    let result = recording.finish(&ended, &unfinished, naming, &mut signals);
    line.clear();

    let (directory, progress, scribe) = result?;
    let mut command = match command {
        Ok(command) => command,
        Err(error) => {
            // Nothing half-written: nothing was recorded.
            scribe.remove(&directory);
            return Err(error);
        }
    };
    if !args.quiet {
        progress::summary(&directory, recorded, &tracers, &progress);
    }
    if let Ended::Failed(error) = &ended {
        bail!("recording ended early: {error}");
    }
    if let Some(error) = &progress.error {
        bail!("the recording is incomplete: {error}");
    }
    match command.as_mut().map(Running::ended).transpose()?.flatten() {
        Some(status) => Ok(command::status_code(status)),
        None => Ok(0),
    }
}

/// The tracers that are attached.
type Tracing = Vec<(&'static Tracer, Attached)>;

/// Attaches the chosen tracers. One that cannot is left out with a message, unless the user named it.
fn attach_all(
    choices: &[Choice],
    environment: &Environment<'_>,
) -> Result<(Tracing, Vec<manifest::Tracer>)> {
    let mut attached = Vec::new();
    let mut reports = Vec::new();
    for Choice { tracer, by_name } in choices {
        let mut report = manifest::Tracer {
            name: tracer.name.to_owned(),
            tables: tracer.tables.iter().map(|table| table.name().to_owned()).collect(),
            hooks: Vec::new(),
            failed: None,
            probes: Vec::new(),
            unknown: Vec::new(),
        };
        match attach(tracer, environment) {
            Ok(tracing) => {
                report.unknown = lacks::of(tracer.name, environment.types)?;
                report.hooks.clone_from(&tracing.hooks);
                report.probes.clone_from(&tracing.probes);
                attached.push((*tracer, tracing));
            }
            Err(error) if *by_name => return Err(error),
            Err(error) => {
                eprintln!("record: going on without `{}`: {error:#}", tracer.name);
                report.failed = Some(format!("{error:#}"));
            }
        }
        reports.push(report);
    }
    if attached.is_empty() {
        bail!("no tracer could attach");
    }
    Ok((attached, reports))
}

/// Has stacks walked by tables, where a tracer takes any.
fn follow_code(
    args: &Args,
    choices: &[Choice],
    maps: &Arc<Maps>,
    spaces: &SharedSpaces,
) -> Result<Option<Unwinder>> {
    let with_stacks = |choice: &Choice| choice.tracer.tables.contains(&TableId::Stack);
    if args.unwind == Unwind::Fp || !choices.iter().any(with_stacks) {
        return Ok(None);
    }
    let files = match args.command.as_slice() {
        [] => Vec::new(),
        // What cannot be run is told when it is.
        command => files::of_command(command).unwrap_or_default(),
    };
    // The recorder's own libraries are those that most programs have too.
    let program = std::env::current_exe().ok().and_then(|own| CodeFile::here(own).identity());
    let own = files::of_process(std::process::id() as i32).unwrap_or_default();
    let libraries = own.iter().filter(|file| file.identity() != program);
    let mut binaries = Vec::new();
    spaces.with(|spaces| {
        binaries.extend(files.iter().chain(libraries).filter_map(|file| spaces.binary(&file.path)));
    });
    let by_target = !args.pid.is_empty() || !args.command.is_empty();
    Unwinder::start(maps, spaces.clone(), binaries, by_target).map(Some)
}

/// What is not to be told, as the user asked.
fn redaction(args: &Args) -> Result<Option<Arc<Redaction>>> {
    let redaction = match (args.redact.as_slice(), &args.redact_key) {
        ([], None) => return Ok(None),
        ([], Some(_)) => bail!("--redact-key needs --redact"),
        (what, Some(key)) => Redaction::with_key_in(what, key)?,
        (what, None) => Redaction::with_random_key(what).context("cannot make a key")?,
    };
    Ok(Some(Arc::new(redaction)))
}

/// Creates the directory with its first manifest.
fn begin(
    directory: &Path,
    manifest: Manifest,
    redaction: Option<Arc<Redaction>>,
) -> Result<(Manifest, Scribe)> {
    let scribe = owner::create(directory, redaction)?;
    let written = scribe.manifest(&manifest, directory, true);
    let name = directory.to_owned();
    let settle = || Ok(scribe.run(move || output::settle(&name))?);
    if let Err(error) = written.and_then(|()| settle()) {
        // Nothing half-written: there is nothing in it yet.
        scribe.remove(directory);
        return Err(error).context("cannot begin the recording");
    }
    Ok((manifest, scribe))
}

/// What a recording waits for, beside signals.
struct Until<'a> {
    /// This moment.
    time: Option<Instant>,
    /// The end of the last of these processes.
    targets: Option<&'a Maps>,
    /// The end of the command.
    command: Option<&'a mut Running>,
    /// What is to be probed meanwhile.
    code: NewCode<'a>,
}

/// Why a recording ended.
#[derive(Clone, Debug)]
enum Ended {
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
struct Naming {
    /// What the kernel's code was called when the programs were attached.
    kernel: Option<Kallsyms>,
    /// Whether the recording gets copies of their files.
    keep: bool,
    /// Whether to say which files did not tell all.
    verbose: bool,
}

/// Where the events of a recording come from.
struct Sources {
    programs: Vec<Watched>,
    spaces: SharedSpaces,
    unwinder: Option<Unwinder>,
    settings: Settings,
    flight: Flight,
    ends: Ends,
    triggers: Triggers,
    tolerant: bool,
    rotation: Rotation,
}

/// A recording that is being made: the threads and what they write to.
struct Recording {
    directory: PathBuf,
    manifest: Manifest,
    began: Instant,
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
    fn start(
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

    fn send(&self, table: TableId, rows: arrow::record_batch::RecordBatch) {
        if rows.num_rows() > 0 {
            let batch = Batch { table, rows, more: false };
            let message = Message::Rows(batch);
            self.batches.send(message).expect("the encoder runs while a sender is left");
        }
    }

    /// Waits for the end.
    fn watch(
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
    fn finish(
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

fn new_manifest(args: &Args, tracers: Vec<manifest::Tracer>, began: i64) -> Manifest {
    let kernel_file = |name: &str| {
        let text = std::fs::read_to_string(format!("/proc/sys/kernel/{name}"));
        text.unwrap_or_default().trim().to_owned()
    };
    let epoch = clocks::epoch();
    Manifest {
        format: FORMAT_VERSION,
        recorder: env!("CARGO_PKG_VERSION").to_owned(),
        host: Host {
            name: output::host_name(),
            boot_id: kernel_file("random/boot_id"),
            kernel: kernel_file("osrelease"),
            arch: std::env::consts::ARCH.to_owned(),
            cpus: hooks::online_cpus().map_or(0, |cpus| cpus.len()),
        },
        command_line: std::env::args().collect(),
        started: began + epoch,
        epoch,
        ended: None,
        tracers,
        filters: Filters {
            pids: args.pid.clone(),
            command: (!args.command.is_empty()).then(|| args.command.clone()),
            follow: !args.no_follow,
            cgroup: args.cgroup.as_ref().map(|path| path.display().to_string()),
            uid: args.uid.map(|uid| uid as u32),
            comm: args.comm.clone(),
            min_duration: args.min_duration.map_or(0, |time| time.as_nanos() as i64),
            thread_exits: args.thread_exits,
            frequency: args.frequency,
            tid: args.tid,
            ..args.selection.filters()
        },
        totals: BTreeMap::new(),
        unwinding: Some(Unwinding {
            asked: args.unwind.ways().name().to_owned(),
            ..Unwinding::default()
        }),
        symbols: Symbols::Pending,
        kept: None,
        recorder_pid: Some(std::process::id() as i32),
        snapshots: Vec::new(),
        stopped: Vec::new(),
        snapshot_of: None,
        redacted: Vec::new(),
    }
}

/// Keeps libbpf's own messages off the terminal: our errors tell the same in a line. Twice
/// `--verbose` lets them through.
pub fn quieten_libbpf(verbose: u8) {
    if verbose < 2 {
        libbpf_rs::set_print(None);
    }
}
