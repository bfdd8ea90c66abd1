//! What spans may have lost their time to: pauses of their processes, and waits of their threads.

use ahash::HashMap;
use lookback_schemas::TableId;

use super::{Question, Span, Survey};
use crate::gc;
use crate::gc::pauses::{self, Pause};
use crate::gc::stops::Stops;
use crate::intervals::Intervals;
use crate::losses::unrecorded;
use crate::memleak::is_recorded;
use crate::render::{duration, thousands};
use crate::scope::Scope;
use crate::waits;

/// What stopped a process.
#[derive(Debug)]
struct Stopped {
    /// When it stood still, in whichever of its threads somebody collected.
    united: Intervals,
    stops: Stops,
}

impl Stopped {
    fn new(pauses: Vec<Pause>) -> Stopped {
        let united = Intervals::new(pauses.iter().filter_map(Pause::stretch).collect());
        Stopped { united, stops: Stops::new(pauses) }
    }
}

/// How long a span lost to what, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    /// To pauses; `None` if they were not recorded.
    pub(super) gc: Option<i64>,
    /// To waits for a CPU outside of pauses; `None` if they were not recorded, or it is unknown of
    /// which thread they would be.
    pub(super) runq: Option<i64>,
    /// What is left.
    pub(super) other: i64,
    /// Whether one thread began and ended it.
    pub(super) in_one_thread: bool,
}

/// Pauses and waits, as far as they were recorded.
#[derive(Debug, Default)]
pub(super) struct Causes {
    /// By process.
    stops: Option<HashMap<i32, Stopped>>,
    /// By process and thread: waits without what lies in pauses.
    waits: Option<HashMap<(i32, i32), Intervals>>,
    /// Pauses whose end was not seen.
    endless: u64,
}

impl Causes {
    /// Reads those of the processes and threads that have spans.
    pub(super) fn read(question: &Question<'_>, survey: &Survey) -> anyhow::Result<Causes> {
        let recording = &question.source.recording;
        let mut causes = Causes::default();
        let Some((start, end)) = survey.range else { return Ok(causes) };
        if gc::is_watched(recording)? {
            let mut by_pid: HashMap<i32, Vec<Pause>> = HashMap::default();
            // Whose thread collects is not asked: the pause is the process's.
            let pauses = pauses::read(recording, &(i64::MIN..end), &Scope::default())?;
            for pause in pauses.all {
                if survey.pids.contains(&pause.pid) && pause.end().is_none_or(|end| end > start) {
                    causes.endless += u64::from(pause.duration.is_none());
                    by_pid.entry(pause.pid).or_default().push(pause);
                }
            }
            let stops = by_pid.into_iter().map(|(pid, pauses)| (pid, Stopped::new(pauses)));
            causes.stops = Some(stops.collect());
        }
        if is_recorded(recording, TableId::Runq)? {
            let threads = question.args.threads;
            let waits = waits::read(recording, start..end, threads, |wait| {
                survey.threads.contains(&(wait.pid, wait.tid))
            })?;
            let mut by_thread: HashMap<(i32, i32), Vec<(i64, i64)>> = HashMap::default();
            for wait in waits {
                by_thread.entry((wait.pid, wait.tid)).or_default().push((wait.start, wait.end));
            }
            let waits = by_thread.into_iter().map(|(thread, waits)| {
                let waits = Intervals::new(waits);
                let outside = match causes.stopped(thread.0) {
                    Some(stopped) => waits.without(&stopped.united),
                    None => waits,
                };
                (thread, outside)
            });
            causes.waits = Some(waits.collect());
        }
        Ok(causes)
    }

    fn stopped(&self, pid: i32) -> Option<&Stopped> {
        self.stops.as_ref()?.get(&pid)
    }

    /// Whether waits for a CPU were recorded.
    pub(super) fn knows_waits(&self) -> bool {
        self.waits.is_some()
    }

    /// Divides the time of a span.
    pub(super) fn divide(&self, span: Span) -> Parts {
        let gc = self.stops.as_ref().map(|_| {
            let stopped = self.stopped(span.pid);
            stopped.map_or(0, |stopped| stopped.united.within(span.start, span.end()))
        });
        let waits = self.waits.as_ref().filter(|_| span.in_one_thread);
        let runq = waits.map(|waits| {
            let waits = waits.get(&(span.pid, span.tid));
            waits.map_or(0, |waits| waits.within(span.start, span.end()))
        });
        let known = gc.unwrap_or(0).saturating_add(runq.unwrap_or(0));
        let other = span.duration.saturating_sub(known).max(0);
        Parts { gc, runq, other, in_one_thread: span.in_one_thread }
    }

    /// The pause that the span lost most to.
    pub(super) fn worst(&self, span: Span) -> Option<&Pause> {
        self.stopped(span.pid)?.stops.worst(span.start, span.end())
    }

    /// What a reader must know about them.
    pub(super) fn notes(&self, question: &Question<'_>) -> anyhow::Result<Vec<String>> {
        let recording = &question.source.recording;
        let mut notes = gc::unknown(question.source)?;
        if self.stops.as_ref().is_some_and(HashMap::is_empty) {
            notes.push(
                "no collection was seen of the processes that have these spans: they made none, or \
                 their runtimes do not tell"
                    .to_owned(),
            );
        }
        let how = ("waits for a CPU", "--trace runq");
        notes.extend(unrecorded(recording, TableId::Runq, how)?);
        let shortest = recording.manifest().filters.min_latency;
        if self.knows_waits() && shortest > 0 {
            let shortest = duration(shortest);
            notes.push(format!(
                "waits for a CPU under {shortest} were not recorded: they are in the rest"
            ));
        }
        if self.endless > 0 {
            let endless = thousands(self.endless);
            notes.push(format!(
                "{endless} collections had not ended when their process or the recording did, and are \
                 not counted"
            ));
        }
        Ok(notes)
    }
}
