//! Collections of garbage: when programs stood still, for how long, and what was freed.
//!
//! The first report is bcc's javagc, for Java, Python and Ruby, with what each collection was and
//! what it freed. The others tell what the pauses add up to: how they are distributed, which share
//! of a process's time they took, what else happened in the longest, and how it went over time.
//! Whether pauses made requests slow is asked elsewhere: `analyze spans --blame`.
//!
//! Only whole collections are pauses; the parts that lie in them are not counted again, see
//! [`pauses`].

mod distributed;
mod longest;
pub mod pauses;
mod share;
pub mod stops;
mod table;
mod timeline;

use clap::{Args, ValueEnum};
use lookback_schemas::recording::Recording;
use lookback_schemas::{Error, TableId};

use self::pauses::{Pause, Pauses};
use crate::bins::StepArgs;
use crate::cli::{Source, SourceArgs};
use crate::hosts::by::{Grouping, host_or_one};
use crate::losses::{LEFT_OUT, late, unrecorded};
use crate::render::{Output, thousands};
use crate::scope::{Scope, ScopeArgs};
use crate::window::MinArgs;

/// Shown below the help.
pub const EXAMPLE: &str = "Examples:\n  analyze gc web1.lookback --min 10ms\n  \
                           analyze gc web1.lookback --share\n  \
                           analyze gc web1.lookback --hist --by collector\n  \
                           analyze gc web1.lookback --longest 5 --pid 4711\n\n\
                           Recorded by `record --trace gc`; with `--trace gc,runq,profile` --longest \
                           also tells what else happened in a pause.";

/// Options of `analyze gc`.
#[derive(Args, Debug)]
pub struct GcArgs {
    /// The recording, and the part of it.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Which processes.
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// Which pauses.
    #[command(flatten)]
    pub min: MinArgs,
    /// Which report.
    #[command(flatten)]
    pub view: View,
    /// A histogram for each of these
    #[arg(long, value_parser = host_or_one::<By>())]
    pub by: Option<Grouping<By>>,
    /// Count in milliseconds instead of microseconds
    #[arg(short, long, requires = "hist")]
    pub milliseconds: bool,
    /// How long a row of --timeline is.
    #[command(flatten)]
    pub step: StepArgs,
}

impl GcArgs {
    /// What to sum up by, beside the host.
    fn by(&self) -> Option<By> {
        Grouping::one(self.by.as_ref())
    }
}

/// The reports; by default one row for each collection, as javagc prints them.
#[derive(Args, Debug, Default)]
#[group(multiple = false)]
pub struct View {
    /// The memory pools of Java's collections: what each held before and after
    #[arg(long, conflicts_with = "by")]
    pub pools: bool,
    /// A histogram of the pauses
    #[arg(long)]
    pub hist: bool,
    /// Only count, mean and percentiles of the pauses
    #[arg(long)]
    pub summary: bool,
    /// Which share of its time each process stood still
    #[arg(long, conflicts_with = "by")]
    pub share: bool,
    /// The longest pauses, and what else happened in the process meanwhile
    #[arg(long, value_name = "N", conflicts_with = "by")]
    pub longest: Option<usize>,
    /// Pauses over time
    #[arg(long, conflicts_with = "by")]
    pub timeline: bool,
}

/// What to group pauses by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// By process.
    Process,
    /// By what collected: Java's collector, CPython's generation, Ruby's mark or sweep.
    Collector,
    /// By runtime.
    Runtime,
}

/// What a report is made from.
struct Question<'a> {
    args: &'a GcArgs,
    source: &'a Source,
    scope: Scope,
}

/// Prints the report.
///
/// # Errors
/// If a table is damaged, or the output cannot be written.
pub fn run(args: &GcArgs, source: &Source) -> anyhow::Result<()> {
    let scope = source.scope(&args.scope)?;
    scope.check(TableId::Gc)?;
    anyhow::ensure!(
        args.by().is_none() || args.view.hist || args.view.summary,
        "--by goes with --hist or --summary"
    );
    let question = Question { args, source, scope };
    if let Some(most) = args.view.longest {
        return question.longest(most);
    }
    let mut output = source.begin(&[TableId::Gc])?;
    if args.view.pools {
        question.pools(&mut output)?;
    } else if args.view.share {
        question.share(&mut output)?;
    } else if args.view.timeline {
        question.timeline(&mut output)?;
    } else if args.view.hist || args.view.summary {
        question.distributed(&mut output)?;
    } else {
        question.list(&mut output)?;
    }
    output.finish()
}

impl Question<'_> {
    /// The pauses that began in the window.
    fn begun(&self) -> anyhow::Result<Pauses> {
        let mut pauses = self.until_the_end()?;
        pauses.all.retain(|pause| self.source.window.range.contains(&pause.ts));
        Ok(pauses)
    }

    /// The pauses that lie in the window, if only in part.
    fn reaching_in(&self) -> anyhow::Result<Pauses> {
        let mut pauses = self.until_the_end()?;
        pauses
            .all
            .retain(|pause| self.source.window.overlaps(pause.ts, pause.end().unwrap_or(pause.ts)));
        Ok(pauses)
    }

    /// All pauses that began before the window's end. There are not many, and what belongs to one may
    /// lie on the other side of the window's start.
    fn until_the_end(&self) -> anyhow::Result<Pauses> {
        let range = i64::MIN..self.source.window.range.end;
        let mut pauses = pauses::read(&self.source.recording, &range, &self.scope)?;
        pauses.all.retain(|pause| self.args.min.admits_unknown(pause.duration));
        Ok(pauses)
    }

    /// Says what a reader must know.
    fn notes(&self, output: &mut Output, pauses: &Pauses, sums: bool) -> anyhow::Result<()> {
        let mut notes = unknown(self.source)?;
        notes.extend(pauses.notes());
        let nested = pauses.all.iter().filter(|pause| pause.is_nested()).count();
        if sums && nested > 0 {
            let nested = thousands(nested as i64);
            notes.push(format!("{nested} collections lie in others, and are counted with those"));
        }
        let unfinished = |pause: &&Pause| !pause.is_nested() && pause.duration.is_none();
        let unfinished = pauses.all.iter().filter(unfinished).count();
        if sums && unfinished > 0 {
            let unfinished = thousands(unfinished as i64);
            notes.push(format!(
                "{unfinished} collections had not ended when their process or the recording did: \
                 how long they took is unknown, and is not in the times"
            ));
        }
        output.notes(&notes)
    }
}

/// The tracer that writes the table.
const TRACER: &str = "gc";

/// Whether collections would have been seen: the tracer had a probe somewhere, or there are rows.
///
/// # Errors
/// If the table is damaged.
pub fn is_watched(recording: &Recording) -> Result<bool, Error> {
    let tracers = recording.manifest().tracers.iter().filter(|tracer| tracer.name == TRACER);
    let mut probes = tracers.flat_map(|tracer| &tracer.probes);
    if probes.any(|probe| probe.failed.is_none() && probe.kind != LEFT_OUT) {
        return Ok(true);
    }
    Ok(recording.segments(TableId::Gc)?.iter().any(|segment| segment.rows() > 0))
}

/// Says of what time or what programs collections are unknown.
///
/// # Errors
/// If the table is damaged.
pub fn unknown(source: &Source) -> Result<Vec<String>, Error> {
    let recording = &source.recording;
    let how = ("collections of garbage", "--trace gc");
    let mut notes: Vec<String> = unrecorded(recording, TableId::Gc, how)?.into_iter().collect();
    if notes.is_empty() && !is_watched(recording)? {
        notes.push(
            "no program was found that tells of its collections of garbage: whether there were any \
             is unknown"
                .to_owned(),
        );
    }
    notes.extend(late(recording, TRACER));
    Ok(notes)
}

#[cfg(test)]
mod tests;
