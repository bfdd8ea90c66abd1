//! A recording from beginning to end.

mod recording;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use lookback_schemas::manifest::{self, Filters, Host, Manifest, Symbols, Unwinding};
use lookback_schemas::redact::Redaction;
use lookback_schemas::segment::Rotation;
use lookback_schemas::{FORMAT_VERSION, TableId};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use crate::cli::{Args, Unwind};
use crate::code_events::CodeEvents;
use crate::command::{self, Running, Stopped, Waiting};
use crate::finder::Newcomers;
use crate::flight::Flight;
use crate::hooks::{Attached, Environment, Tracer, attach};
use crate::live::Live;
use crate::mappings::{AddressSpaces, SharedSpaces};
use crate::maps::Maps;
use crate::new_code::{ALLOC, NewCode, find_allocators};
use crate::owner::{self, Scribe};
use crate::places::{self, Found};
use crate::privileges::{self, Duties};
use crate::probes::files::{self, CodeFile};
use crate::progress::{self, Line};
use crate::service::Service;
use crate::tracers::Choice;
use crate::triggers::Triggers;
use crate::types::Types;
use crate::unfinished::Unfinished;
use crate::unwind::Unwinder;
use crate::{clocks, hooks, lacks, live, output, snapshot, symbols, targets, tracers};
use recording::{Ended, Naming, Recording, Sources, Until};

/// Records, as the command line says. The result is the exit status: the command's, or 0.
///
/// # Errors
/// If nothing could be recorded, or recording ended early.
pub fn record(args: &Args) -> Result<u8> {
    quieten_libbpf(args.verbose);
    let selection = &args.selection;
    let probes = !selection.probe.is_empty() || !selection.span.is_empty();
    let mut choices = selection.check(tracers::choose(&args.trace, probes)?)?;
    let shown =
        args.live.as_ref().map(|wanted| live::Tables::choose(wanted, &choices)).transpose()?;
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
    let live = shown.map(|tables| Live::start(tables, manifest.started)).transpose()?;
    let (live, tap) = live.unzip();
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
            live: tap,
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
    let mut line = Line::start(tracers.clone(), args.quiet || live.is_some());
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
    if let Some(live) = live {
        live.finish();
    }

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
