//! Recordings in the formats of other programs.
//!
//! Three kinds of formats take three kinds of answers:
//!
//! - *stacks* with what they weigh: folded lines, pprof and Speedscope, of the same sums as a [flame graph](crate::flamegraph), and
//!   the Firefox Profiler and `perf script`, which have the samples one by one;
//! - a *timeline* of slices, instants and counters: Chrome's JSON and Perfetto's protobuf;
//! - the *rows* of tables: CSV, JSON lines and Arrow.
//!
//! All are written as they are read: what is held is the distinct stacks and names, not the rows. Only the Firefox Profiler's
//! format is made in memory. What is missing from the recording is said where the format has a place for it, and on the standard
//! error where not.

mod chrome;
mod events;
mod firefox;
mod heap;
mod perf_script;
mod perfetto;
mod pprof;
mod samples;
mod speedscope;
mod tables;
#[cfg(test)]
mod tests;
mod timeline;
mod walk;

use std::io::{IsTerminal as _, Write};
use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, ValueEnum};
use lookback_schemas::TableId;

use self::samples::Samples;
use self::timeline::{Event, Owner, Sink, Timeline};
use crate::cli::Source;
use crate::flamegraph::folding::{FrameArgs, Sums, fold_sums};
use crate::flamegraph::{self, Weight, WeightArgs};
use crate::losses::Heading;
use crate::memleak::is_recorded;
use crate::render::{self, OutputArgs, Value};
use crate::scope::{Scope, ScopeArgs};
use crate::stacks::Stacks;
use crate::window::WindowArgs;

/// Shown below the help.
pub const EXAMPLE: &str = "Examples:\n  analyze export web1.lookback --format pprof -o cpu.pb.gz && go tool pprof -top cpu.pb.gz\n  \
                           analyze export web1.lookback --format pprof --weight outstanding -o heap.pb.gz\n  \
                           analyze export web1.lookback --format perfetto --since 5s --until 8s -o web1.pftrace\n  \
                           analyze export web1.lookback --format folded | inferno-flamegraph > cpu.svg\n  \
                           analyze export web1.lookback --format perf-script | inferno-collapse-perf\n  \
                           analyze export web1.lookback --format arrow --table exec -o exec.arrow\n  \
                           analyze export web1.lookback --format csv -o web1-csv    # a file for each table\n\n\
                           Which viewer takes which format, and what each leaves out: docs/exports.md";

/// Options of `analyze export`.
#[derive(Args, Debug)]
pub struct ExportArgs {
    /// The recording: a directory; one only, not several hosts
    #[arg(value_name = "RECORDING")]
    pub recording: PathBuf,
    /// The format
    #[arg(long, value_enum)]
    pub format: Format,
    /// Write to this file instead of the standard output; of tables without --table, into this directory
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Only this table, as csv, jsonl or arrow [default: all]
    #[arg(long, value_name = "TABLE", value_parser = crate::cli::table_of)]
    pub table: Option<TableId>,
    /// What stacks weigh.
    #[command(flatten)]
    pub of: WeightArgs,
    /// The part of its time.
    #[command(flatten)]
    pub window: WindowArgs,
    /// Which processes.
    #[command(flatten)]
    pub scope: ScopeArgs,
}

/// The formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Stacks: a line for each, as flamegraph.pl, inferno and Speedscope read it.
    Folded,
    /// Stacks: Go's pprof, Parca, Pyroscope; gzip.
    Pprof,
    /// Timeline: Chrome's JSON.
    Chrome,
    /// Timeline: ui.perfetto.dev; protobuf.
    Perfetto,
    /// Stacks: speedscope.app.
    Speedscope,
    /// Samples: profiler.firefox.com.
    Firefox,
    /// Samples: the text of `perf script`.
    PerfScript,
    /// Rows: comma-separated values; ' before texts like formulas.
    Csv,
    /// Rows: a JSON object in each line.
    Jsonl,
    /// Rows: Arrow IPC, a file with -o, else a stream.
    Arrow,
}

impl Format {
    /// Which kind of format it is.
    fn kind(self) -> Kind {
        match self {
            Format::Folded | Format::Pprof | Format::Speedscope => Kind::Stacks,
            Format::Chrome | Format::Perfetto | Format::Firefox | Format::PerfScript => Kind::Times,
            Format::Csv | Format::Jsonl | Format::Arrow => Kind::Rows,
        }
    }

    /// Whether it is nothing to print.
    fn is_binary(self) -> bool {
        matches!(self, Format::Pprof | Format::Perfetto | Format::Arrow)
    }
}

/// A kind of formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Sums by stack.
    Stacks,
    /// What happened when.
    Times,
    /// Rows of tables.
    Rows,
}

/// Sums by stack, on their way out.
struct Stacked<'a> {
    /// Where they come from.
    source: &'a Source,
    /// What they cover, and what is missing.
    heading: &'a Heading,
    /// What they are of.
    weight: Weight,
    /// The sums.
    sums: &'a Sums,
    /// Their stacks.
    stacks: &'a Stacks,
}

/// Writes the recording in the format.
///
/// # Errors
/// If options do not belong to the format, a table is damaged, or the output cannot be written.
pub fn run(args: &ExportArgs) -> anyhow::Result<()> {
    let kind = args.format.kind();
    args.of.check()?;
    if kind != Kind::Stacks && args.of.weight != Weight::Cpu {
        bail!("--weight is about sums by stack: take --format folded, pprof or speedscope");
    }
    if kind != Kind::Rows && args.table.is_some() {
        bail!("--table is about rows: take --format csv, jsonl or arrow");
    }
    if args.output.is_none() && args.format.is_binary() && std::io::stdout().is_terminal() {
        bail!("this format is nothing for a terminal: name a file with -o");
    }
    let output = OutputArgs { output: args.output.clone(), ..OutputArgs::default() };
    let source = Source::open(&args.recording, &args.window, &output)?;
    let scope = Scope::new(&args.scope, &source.recording)?;
    let from = (&source, &scope);
    match args.format {
        Format::Folded => folded(args, from),
        Format::Pprof => stacks(args, from, pprof::write),
        Format::Speedscope => stacks(args, from, speedscope::write),
        Format::Firefox => samples(args, from, firefox::write),
        Format::PerfScript => samples(args, from, perf_script::write),
        Format::Chrome => chrome(args, from),
        Format::Perfetto => perfetto(args, from),
        Format::Csv => rows(args, from, tables::Format::Text(render::Format::Csv)),
        Format::Jsonl => rows(args, from, tables::Format::Text(render::Format::Jsonl)),
        Format::Arrow => rows(args, from, tables::Format::Arrow),
    }
}

/// What is exported: the part of its time, and the processes.
type From<'a> = (&'a Source, &'a Scope);

fn folded(args: &ExportArgs, (source, scope): From<'_>) -> anyhow::Result<()> {
    source.heading(args.of.weight.tables()).warn();
    let sums = args.of.sums(source, scope)?;
    let mut output = source.output()?;
    for (stack, sum) in fold_sums(&FrameArgs::default(), &source.recording, &sums)? {
        output.line(&format!("{stack} {}", sum.weight))?;
    }
    output.finish()
}

fn stacks(
    args: &ExportArgs,
    (source, scope): From<'_>,
    write: fn(&Stacked<'_>, &mut dyn Write) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let weight = args.of.weight;
    let heading = &source.heading(weight.tables());
    heading.warn();
    let sums = &args.of.sums(source, scope)?;
    let stacks = &Stacks::read(&source.recording, &sums.stacks())?;
    let mut output = source.output()?;
    write(&Stacked { source, heading, weight, sums, stacks }, output.raw())?;
    output.finish()
}

fn samples(
    args: &ExportArgs,
    (source, scope): From<'_>,
    write: fn(&Samples<'_>, &Heading, &mut dyn Write) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let heading = source.heading(&[TableId::Sample]);
    heading.warn();
    let samples = Samples::new(source, scope, args.of.threads)?;
    let mut output = source.output()?;
    write(&samples, &heading, output.raw())?;
    output.finish()
}

fn rows(args: &ExportArgs, from: From<'_>, format: tables::Format) -> anyhow::Result<()> {
    match (args.table, &args.output) {
        (Some(table), _) => {
            crate::cat::check(&args.window, from.1, table)?;
            tables::one(from, table, format)
        }
        (None, Some(directory)) => tables::all(from, format, directory),
        (None, None) => bail!("name a table with --table, or a directory for all with -o"),
    }
}

fn chrome(args: &ExportArgs, from: From<'_>) -> anyhow::Result<()> {
    let (source, manifest) = (from.0, from.0.recording.manifest());
    let heading = source.heading(&[]);
    heading.warn();
    let mut output = source.output()?;
    let chrome = chrome::Chrome::begin(output.raw(), manifest.started)?;
    let mut timeline = Timeline::new(chrome, &source.recording)?;
    fill(&mut timeline, from, (args, &heading))?;
    timeline.sink.finish(&[
        ("host", Value::Text(manifest.host.name.clone())),
        ("kernel", Value::Text(manifest.host.kernel.clone())),
        // More digits than a number of JavaScript has.
        ("start_unix_ns", Value::Text(manifest.started.to_string())),
        ("covers", Value::Text(heading.covers)),
        ("missing", Value::Texts(heading.warnings)),
    ])?;
    output.finish()
}

fn perfetto(args: &ExportArgs, from: From<'_>) -> anyhow::Result<()> {
    let recording = &from.0.recording;
    let heading = from.0.heading(&[]);
    heading.warn();
    let mut output = from.0.output()?;
    let cycles = flamegraph::period(recording) == "cycles";
    let perfetto = perfetto::Perfetto::begin(output.raw(), recording.manifest(), cycles)?;
    let mut timeline = Timeline::new(perfetto, recording)?;
    fill(&mut timeline, from, (args, &heading))?;
    output.finish()
}

/// Puts all tables on the timeline.
fn fill<S: Sink>(
    timeline: &mut Timeline<S>,
    (source, scope): From<'_>,
    (args, heading): (&ExportArgs, &Heading),
) -> anyhow::Result<()> {
    let name = format!("recording of {}", source.recording.manifest().host.name);
    let said = [
        ("covers", Value::Text(heading.covers.clone())),
        ("missing", Value::Texts(heading.warnings.clone())),
    ];
    let ts = source.window.start();
    let event = Event { ts, name: &name, category: "recording", args: &said };
    timeline.instant(Owner::Recording, &event)?;
    events::losses(timeline, source)?;
    let mut left_out = Vec::new();
    for table in TableId::ALL {
        let shape = events::shape(*table);
        if shape == events::Shape::Nothing || !is_recorded(&source.recording, *table)? {
            continue;
        }
        if scope.check(*table).is_err() {
            left_out.push(table.name());
            continue;
        }
        match shape {
            events::Shape::Sample => {
                let samples = Samples::new(source, scope, args.of.threads)?;
                samples.for_each(|sample| {
                    timeline.sample(sample, || walk::walk(&samples.stacks, sample.stacks))
                })?;
            }
            events::Shape::Heap => heap::emit(timeline, (source, scope), args.of.threads)?,
            events::Shape::Slice(_, _)
            | events::Shape::OfCpu(_)
            | events::Shape::Instant
            | events::Shape::Counter => events::emit(timeline, (source, scope), *table)?,
            events::Shape::Nothing => {}
        }
    }
    if !left_out.is_empty() {
        let left_out = left_out.join(", ");
        eprintln!(
            "analyze: note: left out, since they do not tell what was filtered by: {left_out}"
        );
    }
    Ok(())
}
