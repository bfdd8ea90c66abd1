//! Reports on several recordings: of many hosts, or of one host at several times.
//!
//! A report is written for one recording, and runs once for each: in turn, so that memory does not grow with
//! their number. How what they say becomes one report is decided here, once for all of them:
//!
//! - *Sums* are handed on from each run to the next ([`Source::add_up`]), as far as what they are of is the
//!   same thing there ([`Reach`]): a system call is, a pid of another host is not.
//! - *Lists* that are in the order of time ([`Output::events`]) are merged by it. Their runs go at once, each
//!   a few rows ahead of what is printed.
//! - *Other rows and texts* follow each other, below the heading of their recording.
//!
//! Which row is of which host says the column `host`. All moments are in one time, see [`clocks`].

pub mod by;
pub mod clocks;
mod merged;
pub(crate) mod part;
pub mod tree;

use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{Scope, ScopedJoinHandle};

use anyhow::Context as _;

use self::clocks::{Aligned, Clocked, Readings, align};
use self::merged::{Merged, Next};
pub use self::part::Reach;
use self::part::{Enough, Last, Part, Said, Sums};
use self::tree::OfHost;
use crate::cli::{Source, SourceArgs};
use crate::render::Output;
use crate::window::{Span, Window};

/// Makes the report `body` on each of the recordings, and brings what they say together. A single recording
/// is reported on as if there were no others, unless each host is to be told for itself.
///
/// # Errors
/// If a recording cannot be opened, `body` fails on one, or the output cannot be written.
pub fn each<T: Send + 'static>(
    args: &SourceArgs,
    by_host: bool,
    body: impl Fn(&Source) -> anyhow::Result<T> + Sync,
) -> anyhow::Result<Vec<T>> {
    if let Some(single) = args.recordings.single().filter(|_| !by_host) {
        let source = Source::open(single, &args.window, &args.output)?;
        return Ok(vec![body(&source)?]);
    }
    let places = places(args, by_host)?;
    let start = places.first().map_or(0, |place| place.source.window.all.start);
    let mut merged = Merged::new(Output::open(&args.output, start)?, &places);
    let results = std::thread::scope(|scope| run(scope, &places, &body, &mut merged))?;
    merged.finish()?;
    Ok(results)
}

/// A recording, ready to be reported on.
struct Place {
    host: String,
    hosts: Arc<[String]>,
    boot: String,
    aligned: Aligned,
    last: Last,
    by_host: bool,
    sums: Sums,
    source: Source,
}

/// Opens the recordings and aligns their clocks.
fn places(args: &SourceArgs, by_host: bool) -> anyhow::Result<Vec<Place>> {
    let all = args.recordings.open()?;
    let clocked = |of: &OfHost| -> anyhow::Result<Clocked> {
        let boot = of.recording.manifest().host.boot_id.clone();
        let readings = Readings::read(&of.recording)?;
        Ok(Clocked { boot, span: Span::of(&of.recording), readings })
    };
    let clocked = all.iter().map(clocked).collect::<anyhow::Result<Vec<Clocked>>>()?;
    let aligned = align(&clocked);
    let shared = |(of, aligned): (&Clocked, &Aligned)| {
        let Span { start, end, ended } = of.span;
        Span { start: aligned.clock.shared(start), end: aligned.clock.shared(end), ended }
    };
    let spans = std::iter::zip(&clocked, &aligned).map(shared);
    let span = spans.reduce(|all, one| Span {
        start: all.start.min(one.start),
        end: all.end.max(one.end),
        ended: all.ended && one.ended,
    });
    let chosen = Window::new(&args.window, span.context("there is no recording")?)?;

    let mut hosts: Vec<String> = all.iter().map(|of| of.host.clone()).collect();
    hosts.dedup();
    let hosts: Arc<[String]> = hosts.into();
    let sums = Sums::default();
    let mut places = Vec::new();
    for ((of, clocked), aligned) in std::iter::zip(std::iter::zip(all, clocked), aligned) {
        let window = chosen.on(&aligned.clock, clocked.span);
        let source =
            Source { recording: of.recording, window, args: args.output.clone(), part: None };
        places.push(Place {
            host: of.host,
            hosts: Arc::clone(&hosts),
            boot: clocked.boot,
            aligned,
            last: Last { everywhere: true, host: true, boot: true },
            by_host,
            sums: Arc::clone(&sums),
            source,
        });
    }
    // Those of a host, and of a boot of it, follow each other.
    for index in 1..places.len() {
        let (before, next) = (&places[index - 1], &places[index]);
        let host = before.host != next.host;
        let boot = host || before.boot != next.boot;
        places[index - 1].last = Last { everywhere: false, host, boot };
    }
    Ok(places)
}

/// A report on one recording that is under way.
struct Running<'scope, T> {
    said: Receiver<Said>,
    thread: ScopedJoinHandle<'scope, anyhow::Result<T>>,
}

impl<T> Running<'_, T> {
    /// How it ended. That nobody wanted more is no error: then somebody else has one, or the rows are enough.
    fn result(self) -> anyhow::Result<Option<T>> {
        drop(self.said);
        match self.thread.join() {
            Ok(Ok(result)) => Ok(Some(result)),
            Ok(Err(error)) if error.chain().any(|cause| cause.is::<Enough>()) => Ok(None),
            Ok(Err(error)) => Err(error),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

fn begin<'scope, 'env, T: Send + 'static>(
    scope: &'scope Scope<'scope, 'env>,
    place: &'scope Place,
    body: &'scope (impl Fn(&Source) -> anyhow::Result<T> + Sync),
) -> Running<'scope, T> {
    let (send, said) = sync_channel(1);
    let part = Part {
        host: place.host.clone(),
        hosts: Arc::clone(&place.hosts),
        aligned: place.aligned.clone(),
        send,
        by_host: place.by_host,
        last: place.last,
        sums: Arc::clone(&place.sums),
        reach: Arc::new(Mutex::new(Reach::Recording)),
        bundle: Vec::new(),
    };
    let source = Source { part: Some(part), ..place.source.clone() };
    let thread = scope.spawn(move || body(&source));
    Running { said, thread }
}

fn run<'scope, 'env, T: Send + 'static>(
    scope: &'scope Scope<'scope, 'env>,
    places: &'scope [Place],
    body: &'scope (impl Fn(&Source) -> anyhow::Result<T> + Sync),
    merged: &mut Merged<'_>,
) -> anyhow::Result<Vec<T>> {
    let mut results = Vec::new();
    for (index, place) in places.iter().enumerate() {
        let first = begin(scope, place, body);
        match merged.follow(index, &first.said)? {
            Next::Done => results.extend(first.result()?),
            Next::Events(columns, order) => {
                let rest = places.iter().skip(index + 1);
                let mut all = vec![first];
                all.extend(rest.map(|place| begin(scope, place, body)));
                let said: Vec<&Receiver<Said>> = all.iter().map(|running| &running.said).collect();
                merged.merge(index, (columns, order), &said)?;
                for running in all {
                    results.extend(running.result()?);
                }
                break;
            }
        }
    }
    Ok(results)
}

#[cfg(test)]
mod tests;
