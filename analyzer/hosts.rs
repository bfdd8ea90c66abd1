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

use self::clocks::{Alignment, Clocked, Readings, align};
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
    alignment: Alignment,
    remarks: Vec<String>,
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
    let shared = |(clocked, (alignment, _)): (&Clocked, &(Alignment, _))| {
        (alignment.shared(clocked.span.start), alignment.shared(clocked.span.end))
    };
    let spans: Vec<(i64, i64)> = std::iter::zip(&clocked, &aligned).map(shared).collect();
    let start = spans.iter().map(|(start, _)| *start).min().unwrap_or_default();
    let end = spans.iter().map(|(_, end)| *end).max().unwrap_or_default();
    let ended = clocked.iter().all(|clocked| clocked.span.ended);
    let chosen = Window::new(&args.window, Span { start, end, ended })?;

    let of: Vec<(String, String)> = std::iter::zip(&all, &clocked)
        .map(|(of, clocked)| (of.host.clone(), clocked.boot.clone()))
        .collect();
    let mut hosts: Vec<String> = all.iter().map(|of| of.host.clone()).collect();
    hosts.dedup();
    let hosts: Arc<[String]> = hosts.into();
    let sums = Sums::default();
    let place = |(index, ((of_host, clocked), (alignment, remarks))): (
        usize,
        ((OfHost, Clocked), (Alignment, Vec<String>)),
    )| {
        let (host, boot) = of[index].clone();
        let after = &of[index + 1..];
        let last = Last {
            everywhere: after.is_empty(),
            host: after.iter().all(|(other, _)| *other != host),
            boot: after.iter().all(|other| *other != (host.clone(), boot.clone())),
        };
        let window = chosen.on(&alignment, clocked.span);
        let source =
            Source { recording: of_host.recording, window, args: args.output.clone(), part: None };
        let hosts = Arc::clone(&hosts);
        Place {
            host,
            hosts,
            boot,
            alignment,
            remarks,
            last,
            by_host,
            sums: Arc::clone(&sums),
            source,
        }
    };
    Ok(std::iter::zip(std::iter::zip(all, clocked), aligned).enumerate().map(place).collect())
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
            Ok(Err(error)) if error.is::<Enough>() => Ok(None),
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
        clock: place.alignment.clone(),
        remarks: place.remarks.clone(),
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
