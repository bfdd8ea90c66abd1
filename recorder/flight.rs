//! The flight recorder: when a chunk ends, and when what is kept is frozen into a snapshot.
//!
//! A chunk ends by time or by size ([`chunks`](crate::chunks)), and when a snapshot is wanted: by
//! `record snapshot` or SIGUSR1, or because an event met a [trigger](crate::triggers). A snapshot for a trigger
//! waits for what comes after the event; further events meanwhile are in it too. There is one at a time, and of
//! those for triggers no more and no more often than the user wants.

#![expect(unsafe_code, reason = "`kill` is a system call that no crate here wraps")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Result;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use lookback_schemas::manifest::{Kept, Manifest, Snapshot};
use lookback_schemas::wire::Settings;

use crate::chunks::{Chunk, Limits};
use crate::cli::FlightArgs;
use crate::drain::Begin;
use crate::freeze;
use crate::mappings::SharedSpaces;
use crate::maps::Maps;
use crate::owner::Scribe;
use crate::snapshot;
use crate::triggers::Hit;
use crate::writer::Progress;

/// How long a chunk may take to end: the drain thread and the encoder have to come to it.
const PATIENCE: Duration = Duration::from_secs(30);

/// What ends chunks and makes snapshots.
#[derive(Debug)]
pub struct Flight {
    args: FlightArgs,
    turns: Sender<Begin>,
    hits: Receiver<Hit>,
    /// When this chunk began.
    began: Instant,
    /// Snapshots for triggers: those that are made or wanted, and when the last one was wanted.
    triggered: (usize, Option<Instant>),
    wanted: Option<Wanted>,
    making: Option<Making>,
}

/// A snapshot that is wanted.
#[derive(Clone, Debug)]
struct Wanted {
    /// Not before then.
    when: Instant,
    /// Of what happened since: monotonic.
    from: i64,
    snapshot: Snapshot,
}

/// A snapshot that is being made.
#[derive(Debug)]
struct Making {
    thread: JoinHandle<Result<()>>,
    snapshot: Snapshot,
}

/// The other ends of the channels: what the drain thread is told, and tells.
#[derive(Debug)]
pub struct Ends {
    /// Tells that a chunk is to begin.
    pub turns: Receiver<Begin>,
    /// Who is told of events that were waited for.
    pub hits: Sender<Hit>,
}

/// What a recording is, for who makes a snapshot of it.
#[derive(Clone, Copy, Debug)]
pub struct Of<'a> {
    /// Its folder.
    pub directory: &'a Path,
    /// Whom it is of.
    pub maps: &'a Maps,
    /// By what filters.
    pub settings: &'a Settings,
    /// The code of its processes.
    pub spaces: &'a SharedSpaces,
    /// Who writes what is its owner's.
    pub scribe: &'a Arc<Scribe>,
}

impl Flight {
    /// As the user wants it.
    pub fn new(args: &FlightArgs) -> (Flight, Ends) {
        let (turns, told) = bounded(1);
        let (tell, hits) = unbounded();
        let flight = Flight {
            args: args.clone(),
            turns,
            hits,
            began: Instant::now(),
            triggered: (0, None),
            wanted: None,
            making: None,
        };
        (flight, Ends { turns: told, hits: tell })
    }

    /// What is kept.
    pub fn limits(&self) -> Limits {
        self.args.limits()
    }

    /// Whether the recording consists of chunks that can be understood alone. Snapshots for triggers are of some
    /// of them.
    pub fn chunked(&self) -> bool {
        self.limits().discard()
    }

    /// What the manifest says of it.
    pub fn kept(&self, progress: &Progress, started: i64) -> Option<Kept> {
        let limits = self.limits();
        limits.discard().then(|| Kept {
            from: progress.kept.1.unwrap_or(started),
            time: limits.time.map(|time| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)),
            bytes: limits.bytes,
        })
    }

    /// Somebody wants a snapshot now.
    pub fn ask(&mut self, manifest: &Manifest) {
        let at = crate::clocks::monotonic() + manifest.epoch;
        let snapshot = Snapshot { at, why: "asked".to_owned(), directory: String::new() };
        // What a trigger waits for is in this one too.
        self.wanted = Some(Wanted { when: Instant::now(), from: i64::MIN, snapshot });
    }

    /// Does what is due. Gives whether the manifest has changed.
    ///
    /// # Errors
    /// If the other threads do not come to it.
    pub fn look(
        &mut self,
        of: Of<'_>,
        manifest: &mut Manifest,
        progress: &Progress,
    ) -> Result<bool> {
        while let Ok(hit) = self.hits.try_recv() {
            self.triggered(&hit, manifest);
        }
        let mut changed = self.made(manifest, false);
        let due = |wanted: &mut Wanted| Instant::now() >= wanted.when;
        if self.making.is_none()
            && let Some(wanted) = self.wanted.take_if(due)
        {
            self.make(wanted, of, manifest)?;
            changed = true;
        }
        let limits = self.limits();
        if limits.discard()
            && (self.began.elapsed() >= limits.chunk_time()
                || progress.chunk_bytes >= limits.chunk_bytes())
        {
            self.turn(of, manifest.epoch, None);
        }
        Ok(changed)
    }

    /// Waits for the snapshot that is being made, and makes the one that is still wanted, of the last `chunks`. The
    /// recording has ended.
    pub fn finish(&mut self, of: Of<'_>, manifest: &mut Manifest, chunks: Vec<Arc<Chunk>>) {
        while let Ok(hit) = self.hits.try_recv() {
            self.triggered(&hit, manifest);
        }
        self.made(manifest, true);
        let Some(wanted) = self.wanted.take() else { return };
        let (source, directory, snapshot) = prepare(wanted, of, manifest);
        let done = freeze::freeze(freeze::Source { chunks, ..source }, &directory, of.scribe);
        note(snapshot, done, manifest);
    }

    fn triggered(&mut self, hit: &Hit, manifest: &Manifest) {
        let (count, last) = self.triggered;
        let too_soon = last.is_some_and(|last| last.elapsed() < self.args.trigger_every);
        if self.wanted.is_some() || count >= self.args.trigger_count || too_soon {
            return;
        }
        self.triggered = (count + 1, Some(Instant::now()));
        let why = self.args.trigger[hit.trigger].text.clone();
        let before = i64::try_from(self.args.before.as_nanos()).unwrap_or(i64::MAX);
        self.wanted = Some(Wanted {
            when: Instant::now() + self.args.after,
            from: hit.at.saturating_sub(before),
            snapshot: Snapshot { at: hit.at + manifest.epoch, why, directory: String::new() },
        });
    }

    /// Ends the chunk, and begins another.
    fn turn(&mut self, of: Of<'_>, epoch: i64, chunks: Option<Sender<Vec<Arc<Chunk>>>>) {
        self.began = Instant::now();
        let begin = if self.limits().discard() {
            let processes = snapshot::processes(epoch, of.maps, of.settings);
            Begin { processes, cgroups: snapshot::cgroups(), chunks }
        } else {
            Begin { processes: snapshot::none(), cgroups: Vec::new(), chunks }
        };
        // Without a drain thread the recording ends anyway.
        let _ = self.turns.send_timeout(begin, PATIENCE);
    }

    fn make(&mut self, wanted: Wanted, of: Of<'_>, manifest: &Manifest) -> Result<()> {
        let (tell, told) = bounded(1);
        self.turn(of, manifest.epoch, Some(tell));
        let (source, directory, snapshot) = prepare(wanted, of, manifest);
        let scribe = Arc::clone(of.scribe);
        let make = move || {
            let chunks = told.recv_timeout(PATIENCE)?;
            freeze::freeze(freeze::Source { chunks, ..source }, &directory, &scribe)
        };
        let thread = std::thread::Builder::new().name("snapshot".to_owned()).spawn(make)?;
        self.making = Some(Making { thread, snapshot });
        Ok(())
    }

    /// Takes note of a snapshot that is done, or is to be waited for.
    fn made(&mut self, manifest: &mut Manifest, wait: bool) -> bool {
        let done = |making: &mut Making| wait || making.thread.is_finished();
        let Some(Making { thread, snapshot }) = self.making.take_if(done) else { return false };
        match thread.join() {
            Ok(done) => note(snapshot, done, manifest),
            Err(panic) => std::panic::resume_unwind(panic),
        }
        true
    }
}

/// What a snapshot is made of, but for the chunks; its folder; and what the recording's manifest says of it.
fn prepare(wanted: Wanted, of: Of<'_>, manifest: &Manifest) -> (freeze::Source, PathBuf, Snapshot) {
    let Wanted { from, mut snapshot, .. } = wanted;
    let directory = freeze::beside(of.directory, snapshot.at);
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    snapshot.directory = name(&directory);
    let source = freeze::Source {
        chunks: Vec::new(),
        from: from.saturating_add(manifest.epoch),
        manifest: manifest.clone(),
        snapshot: Snapshot { directory: name(of.directory), ..snapshot.clone() },
        binaries: of.spaces.with(|spaces| spaces.binaries()),
    };
    (source, directory, snapshot)
}

/// Tells what became of a snapshot.
fn note(snapshot: Snapshot, done: Result<()>, manifest: &mut Manifest) {
    match done {
        Ok(()) => {
            eprintln!("record: snapshot ({}): {}", snapshot.why, snapshot.directory);
            manifest.snapshots.push(snapshot);
        }
        Err(error) => eprintln!("record: the snapshot failed: {error:#}"),
    }
}

/// Has the recorder of a recording make a snapshot, and waits until it has: `record snapshot`.
///
/// # Errors
/// If nobody records there, or the snapshot is not made.
pub fn ask(directory: &Path) -> Result<PathBuf> {
    use anyhow::{Context as _, bail};
    const TIME: Duration = Duration::from_mins(2);
    let manifest = Manifest::read(directory)?;
    let Some(pid) = manifest.recorder_pid.filter(|_| manifest.ended.is_none()) else {
        bail!("{}: nobody records there any more", directory.display());
    };
    // Whoever has the pid now may be another, whom the signal would end.
    let process = procfs::process::Process::new(pid);
    let name = process.ok().and_then(|process| process.stat().ok()).map(|stat| stat.comm);
    if name.as_deref() != Some(env!("CARGO_BIN_NAME")) {
        bail!("{}: its recorder, process {pid}, is gone", directory.display());
    }
    let before = manifest.snapshots.len();
    // SAFETY: no memory is involved.
    if unsafe { libc::kill(pid, libc::SIGUSR1) } != 0 {
        let error = std::io::Error::last_os_error();
        return Err(error).with_context(|| format!("cannot signal the recorder, process {pid}"));
    }
    let asked = Instant::now();
    while asked.elapsed() < TIME {
        let manifest = Manifest::read(directory)?;
        let new = manifest.snapshots.into_iter().skip(before);
        if let Some(made) = new.into_iter().find(|made| made.why == "asked") {
            return Ok(directory.with_file_name(made.directory));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    bail!("no snapshot within {} s; the recorder says why", TIME.as_secs())
}
