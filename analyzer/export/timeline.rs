//! What formats of timelines share: tracks, and slices, instants and counters on them.
//!
//! A *track* is a row in the viewer: a thread, or a *lane* beside it for what would not nest with its calls, or one of a CPU.
//! Viewers want the slices of a track to lie within each other or apart. Recorded ones need not: a thread can have
//! two connects under way, and stamps of different hooks cross by microseconds. So a lane has as many
//! tracks as it takes, and a slice goes to the first where it nests. Nothing is cut or left out.

use ahash::HashMap;
use lookback_schemas::recording::Recording;

use super::samples::Sample;
use super::walk::Step;
use crate::lifetimes::{Detail, Lifetimes};
use crate::render::Value;

/// A process: its pid, and which of those that had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Process {
    /// Its pid.
    pub pid: i32,
    /// Its place among the lifetimes, where it is known.
    pub lifetime: Option<usize>,
}

/// What a track belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Owner {
    /// The recording as a whole.
    Recording,
    /// A CPU.
    Cpu(i32),
    /// A process.
    Process(Process),
    /// A thread of a process, by its tid.
    Thread(Process, i32),
}

/// Which of its owner's tracks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Lane {
    /// System calls, and what happens at an instant.
    Calls,
    /// Time off the CPUs.
    Waits,
    /// Waits for a CPU.
    Queue,
    /// Collections of garbage.
    Collections,
    /// The user's spans.
    Spans,
    /// Connects under way.
    Connects,
    /// What a CPU ran.
    Ran,
    /// Hardware interrupts of a CPU.
    Hardirqs,
    /// Soft interrupts of a CPU.
    Softirqs,
    /// What is missing.
    Losses,
}

impl Lane {
    /// What it is called beside its owner.
    pub fn name(self) -> &'static str {
        match self {
            Lane::Calls => "calls",
            Lane::Waits => "off the CPUs",
            Lane::Queue => "waits for a CPU",
            Lane::Collections => "garbage collection",
            Lane::Spans => "spans",
            Lane::Connects => "connects",
            Lane::Ran => "runs",
            Lane::Hardirqs => "hardirqs",
            Lane::Softirqs => "softirqs",
            Lane::Losses => "missing from the recording",
        }
    }
}

/// A track.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Track {
    /// Whose.
    pub owner: Owner,
    /// Which.
    pub lane: Lane,
    /// Which of those that the lane takes.
    pub number: usize,
}

impl Track {
    /// Whether it is that of the thread itself, and has its name.
    pub fn is_thread(self) -> bool {
        matches!(self.owner, Owner::Thread(_, _)) && self.lane == Lane::Calls && self.number == 0
    }

    /// What it is called.
    pub fn name(self) -> String {
        match self.owner {
            Owner::Cpu(cpu) => format!("CPU {cpu} {}", self.lane.name()),
            Owner::Recording if self.lane == Lane::Calls => "recording".to_owned(),
            Owner::Recording | Owner::Process(_) | Owner::Thread(_, _) => {
                self.lane.name().to_owned()
            }
        }
    }
}

/// What happened.
#[derive(Clone, Debug)]
pub(super) struct Event<'a> {
    /// When it was, or began.
    pub ts: i64,
    /// What it is called.
    pub name: &'a str,
    /// The table that it is from.
    pub category: &'static str,
    /// What else is known of it.
    pub args: &'a [(&'static str, Value)],
}

/// A number over time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Counter {
    /// Whose.
    pub owner: Owner,
    /// What it is called.
    pub name: String,
    /// What it counts: `bytes` or `ns`.
    pub unit: &'static str,
}

/// A process as a viewer shows it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Identity<'a> {
    /// Its name.
    pub name: Option<&'a str>,
    /// Its arguments.
    pub argv: &'a [String],
    /// When it began.
    pub start: Option<i64>,
}

/// Writes a format. Processes and threads are told before their tracks, those before what is on them.
pub(super) trait Sink {
    /// A process that comes to be used.
    fn process(&mut self, process: Process, identity: &Identity<'_>) -> anyhow::Result<()>;
    /// A thread that comes to be used, with its name.
    fn thread(&mut self, process: Process, tid: i32, name: Option<&str>) -> anyhow::Result<()>;
    /// A track that comes to be used; those of threads themselves have been told already.
    fn track(&mut self, track: Track) -> anyhow::Result<()>;
    /// Something that took time; until `None` where its end is not known.
    fn slice(&mut self, track: Track, event: &Event<'_>, end: Option<i64>) -> anyhow::Result<()>;
    /// Something that took none.
    fn instant(&mut self, track: Track, event: &Event<'_>) -> anyhow::Result<()>;
    /// A counter that comes to be used, by its number.
    fn counter(&mut self, number: u64, counter: &Counter) -> anyhow::Result<()>;
    /// What a counter is from now on.
    fn count(&mut self, number: u64, counter: &Counter, ts: i64, value: i64) -> anyhow::Result<()>;
    /// A sample with its stack, the innermost first. `steps` makes it, where it was not seen before.
    fn sample<'a>(
        &mut self,
        track: Track,
        sample: &Sample<'_>,
        steps: impl FnOnce() -> Vec<Step<'a>>,
    ) -> anyhow::Result<()>;
}

/// Gives events their tracks.
pub(super) struct Timeline<S> {
    /// What is written to.
    pub sink: S,
    lifetimes: Lifetimes,
    processes: HashMap<Process, ()>,
    threads: HashMap<(Process, i32), ()>,
    tracks: HashMap<Track, ()>,
    counters: HashMap<Counter, u64>,
    /// When the slices end that are open on a lane's tracks, the innermost last.
    open: HashMap<(Owner, Lane), Vec<Vec<i64>>>,
}

impl<S: Sink> Timeline<S> {
    /// Without anything on it.
    ///
    /// # Errors
    /// If the tables of processes are damaged.
    pub fn new(sink: S, recording: &Recording) -> anyhow::Result<Timeline<S>> {
        Ok(Timeline {
            sink,
            lifetimes: Lifetimes::read(recording, Detail::Images)?,
            processes: HashMap::default(),
            threads: HashMap::default(),
            tracks: HashMap::default(),
            counters: HashMap::default(),
            open: HashMap::default(),
        })
    }

    /// The process that had this pid then.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn process(&mut self, pid: i32, ts: i64) -> anyhow::Result<Process> {
        let process = Process { pid, lifetime: self.lifetimes.index_of(pid, ts) };
        if self.processes.insert(process, ()).is_none() {
            let lifetime = process.lifetime.map(|index| &self.lifetimes.all()[index]);
            let argv = lifetime.and_then(|lifetime| lifetime.image().argv.as_deref());
            let identity = Identity {
                name: lifetime.and_then(|lifetime| lifetime.comm()),
                argv: argv.unwrap_or_default(),
                start: lifetime.and_then(|lifetime| lifetime.start),
            };
            self.sink.process(process, &identity)?;
        }
        Ok(process)
    }

    /// A thread as the owner of tracks.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn thread(
        &mut self,
        (pid, tid): (i32, i32),
        comm: Option<&str>,
        ts: i64,
    ) -> anyhow::Result<Owner> {
        let process = self.process(pid, ts)?;
        if self.threads.insert((process, tid), ()).is_none() {
            self.sink.thread(process, tid, comm)?;
        }
        Ok(Owner::Thread(process, tid))
    }

    fn track(&mut self, owner: Owner, lane: Lane, number: usize) -> anyhow::Result<Track> {
        let track = Track { owner, lane, number };
        if self.tracks.insert(track, ()).is_none() && !track.is_thread() {
            self.sink.track(track)?;
        }
        Ok(track)
    }

    /// Something that took time. Those of a lane come in the order in which they began.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn slice(
        &mut self,
        (owner, lane): (Owner, Lane),
        event: &Event<'_>,
        duration: Option<i64>,
    ) -> anyhow::Result<()> {
        let end = duration.map(|duration| event.ts.saturating_add(duration.max(0)));
        let tracks = self.open.entry((owner, lane)).or_default();
        let number = nest(tracks, event.ts, end.unwrap_or(i64::MAX));
        let track = self.track(owner, lane, number)?;
        self.sink.slice(track, event, end)
    }

    /// Something that took no time.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn instant(&mut self, owner: Owner, event: &Event<'_>) -> anyhow::Result<()> {
        let track = self.track(owner, Lane::Calls, 0)?;
        self.sink.instant(track, event)
    }

    /// What a counter is from now on.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn count(&mut self, counter: Counter, ts: i64, value: i64) -> anyhow::Result<()> {
        let number = match self.counters.get(&counter) {
            Some(number) => *number,
            None => {
                let number = self.counters.len() as u64;
                self.sink.counter(number, &counter)?;
                self.counters.insert(counter.clone(), number);
                number
            }
        };
        self.sink.count(number, &counter, ts, value)
    }

    /// A sample.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn sample<'a>(
        &mut self,
        sample: &Sample<'_>,
        steps: impl FnOnce() -> Vec<Step<'a>>,
    ) -> anyhow::Result<()> {
        let owner = self.thread((sample.pid, sample.tid), sample.comm, sample.ts)?;
        let track = self.track(owner, Lane::Calls, 0)?;
        self.sink.sample(track, sample, steps)
    }
}

/// The first of the tracks where what goes on from `start` to `end` lies within what is open, or after it.
fn nest(tracks: &mut Vec<Vec<i64>>, start: i64, end: i64) -> usize {
    for (number, open) in tracks.iter_mut().enumerate() {
        while open.last().is_some_and(|end| *end <= start) {
            open.pop();
        }
        if open.last().is_none_or(|outer| *outer >= end) {
            open.push(end);
            return number;
        }
    }
    tracks.push(vec![end]);
    tracks.len() - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_of_a_track_nest() {
        let mut tracks = Vec::new();
        let mut place = |start, end| nest(&mut tracks, start, end);
        assert_eq!(place(0, 10), 0);
        assert_eq!(place(2, 5), 0, "within");
        assert_eq!(place(3, 7), 1, "across an end");
        assert_eq!(place(5, 10), 0, "after the one, to the end of the other");
        assert_eq!(place(10, i64::MAX), 0, "after all, without an end");
        assert_eq!(place(12, 13), 0, "within that");
    }
}
