//! Flame graphs: where the CPUs' time went, and that of threads, by call stack.
//!
//! The table `sample` has what ran whenever the sampling clock ticked; a sample stands for its
//! `period`. Stacks are interned: a sample carries the ids of its user and kernel stack. So samples
//! are first summed up by those ids and the thread's name, which is fast, and only then each
//! distinct stack is turned into names, once. A line of the *folded* form is one such sum:
//! `comm;user frames;kernel frames weight`, outermost frame first
//! (<https://www.brendangregg.com/flamegraphs.html>).
//!
//! With `--weight` the same is drawn of time [off the CPUs](offcpu); of [memory](memory): what is outstanding, or
//! was allocated; or of the hits of [probes](probe) of the user's. And with `--diff` or `--diff-at` two graphs are drawn as one, in which red has grown and blue has shrunk.
//!
//! What is unknown is said, not left out: a frame without a name is `[module+0xoffset]` or
//! `[unknown]`, a stack that is not in the recording `[lost stack]`.

mod cpu;
mod drawing;
pub(crate) mod folding;
mod memory;
pub(crate) mod names;
mod offcpu;
pub(crate) mod over_time;
mod probe;
#[cfg(test)]
mod tests;
mod weight;

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::str::FromStr as _;

use anyhow::{Context as _, bail};
use clap::Args;
use inferno::flamegraph::Palette;
use lookback_schemas::TableId;
use lookback_schemas::manifest::Symbols;

use self::drawing::{Picture, draw};
use self::folding::{Folded, FrameArgs, fold_sums};
use self::names::folded_name;
use crate::cli::{Source, SourceArgs};
use crate::hosts::Reach;
use crate::hosts::by::{Grouping, Nothing, host_or_one};
use crate::losses::Heading;
use crate::memleak::is_recorded;
use crate::render::{Column, Format, Output, OutputArgs, Value};
use crate::scope::{Scope, ScopeArgs};
use crate::tally;
use crate::window::WindowArgs;

pub(crate) use self::cpu::period;
pub use self::weight::{Weight, WeightArgs};

/// Shown below the help.
pub const EXAMPLE: &str = "Examples:\n  analyze flamegraph web1.lookback -o flamegraph.svg\n  \
                           analyze flamegraph fleet/ --by host -o fleet.svg\n  \
                           analyze flamegraph web1.lookback --pid 4711 --folded | sort -nrk2\n  \
                           analyze flamegraph web1.lookback --weight outstanding --at 30s -o heap.svg\n  \
                           analyze flamegraph web1.lookback --weight outstanding --diff-at 30s -o grown.svg\n  \
                           analyze flamegraph web1.lookback --weight offcpu --waker -o waits.svg\n  \
                           analyze flamegraph web1.lookback --weight probe --probe request_start\n\n\
                           Without -o the SVG goes to the standard output, or, where that is a \
                           terminal, into flamegraph.svg.";

/// Options of `analyze flamegraph`.
#[derive(Args, Debug)]
pub struct FlamegraphArgs {
    /// The recording, and the part of it.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Which processes.
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// What the graph is of.
    #[command(flatten)]
    pub of: WeightArgs,
    /// What has changed since this instant, of memory
    #[arg(long, value_name = "TIME", conflicts_with = "diff")]
    pub diff_at: Option<String>,
    /// What has changed since this other recording
    #[arg(long, value_name = "RECORDING")]
    pub diff: Option<PathBuf>,
    /// With a frame for each host at the root
    #[arg(long, value_parser = host_or_one::<Nothing>())]
    pub by: Option<Grouping<Nothing>>,
    /// Which frames, and what they say.
    #[command(flatten)]
    pub frames: FrameArgs,
    /// Draw downwards, as an icicle
    #[arg(long)]
    pub inverted: bool,
    /// Write folded text, a line for each stack, instead of the SVG
    #[arg(long)]
    pub folded: bool,
    /// The title
    #[arg(long, value_name = "TEXT")]
    pub title: Option<String>,
    /// Width of the image in pixels; by default it fills its window
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(100..=100_000))]
    pub width: Option<u32>,
    /// Colours: hot, mem, io, wakeup, java, js, perl, python, rust, red, green, blue, aqua, yellow,
    /// purple or orange [default: hot, of memory mem]
    #[arg(long, value_name = "PALETTE", value_parser = Palette::from_str)]
    pub colors: Option<Palette>,
}

fn fold(
    args: &FlamegraphArgs,
    source: &Source,
    scope: &Scope,
    at: Option<&str>,
) -> anyhow::Result<Folded> {
    let of = WeightArgs { at: at.map(str::to_owned), ..args.of.clone() };
    fold_sums(&args.frames, &source.recording, &of.sums(source, scope)?)
}

/// A line of the folded form: of two graphs with both weights, as `difffolded.pl` writes it.
fn lines(stacks: &Folded, before: Option<&Folded>) -> Vec<String> {
    let Some(before) = before else {
        return stacks.iter().map(|(stack, sum)| format!("{stack} {}", sum.weight)).collect();
    };
    let weight = |of: &Folded, stack: &String| of.get(stack).map_or(0, |sum| sum.weight);
    let all: BTreeSet<&String> = before.keys().chain(stacks.keys()).collect();
    let line = |stack| format!("{stack} {} {}", weight(before, stack), weight(stacks, stack));
    all.into_iter().map(line).collect()
}

/// Prints the report.
///
/// # Errors
/// If a table is damaged, there is no sample to draw, or the output cannot be written.
pub fn run(args: &FlamegraphArgs, source: &Source) -> anyhow::Result<()> {
    let scope = source.scope(&args.scope)?;
    let tables = args.of.weight.tables();
    if !args.of.weight.is_memory() && args.diff_at.is_some() {
        bail!("--at and --diff-at are about memory: take --weight outstanding");
    }
    if args.of.weight.is_memory() && args.frames.kernel {
        bail!("--kernel: allocations have user stacks");
    }
    args.of.check()?;
    match source.recording.manifest().symbols {
        Symbols::Resolved => {}
        Symbols::Pending | Symbols::Skipped => {
            eprintln!("analyze: note: the recording has no names of frames, or not all");
        }
    }
    let now = fold(args, source, &scope, args.of.at.as_deref())?;
    let at = args.diff_at.as_deref();
    let before = at.map(|at| fold(args, source, &scope, Some(at))).transpose()?;
    let graph = Graph { now, before: before.unwrap_or_default(), said: Vec::new() };
    let graph = if Grouping::is_by_host(args.by.as_ref()) {
        graph.below(source.host(), args.frames.reverse)
    } else {
        graph
    };
    let is_data = source.args.format != Format::Table && !args.folded;
    let mut output = if is_data { source.begin(tables)? } else { source.output()? };
    let graph = if is_data { graph } else { graph.under(&source.heading(tables)) };
    let Some(mut graph) = source.add_up(Reach::Everywhere, graph) else { return Ok(()) };
    if let Some(other) = &args.diff {
        let other = Source::open(other, &WindowArgs::default(), &OutputArgs::default())?;
        let scope = Scope::new(&args.scope, &other.recording)?;
        graph.before = fold(args, &other, &scope, None)?;
    }
    let compared = args.diff.is_some() || args.diff_at.is_some();
    let (stacks, before) = (&graph.now, compared.then_some(&graph.before));
    if is_data {
        rows(args, &mut output, stacks, before)?;
        return output.finish();
    }
    let lines = lines(stacks, before);
    if args.folded {
        lines.iter().try_for_each(|line| output.line(line))?;
        return output.finish();
    }
    if lines.is_empty() {
        return nothing(args, source);
    }
    let all = [Some(stacks), before];
    let mut sums = all.into_iter().flatten().flat_map(BTreeMap::values);
    let total = sums.try_fold(0_i64, |total, sum| total.checked_add(sum.weight));
    if total.is_none() {
        bail!("the weights add up to more than 64 bits hold");
    }
    let picture = Picture { args, source, said: &graph.said };
    let mut svg = Vec::new();
    draw(&picture, &lines, &mut svg).context("drawing the flame graph")?;
    output.bytes(&svg)?;
    output.finish()
}

/// The arguments with a file for the picture, where it would go to a terminal.
#[must_use]
pub fn into_a_file(args: &FlamegraphArgs) -> SourceArgs {
    let mut source = args.source.clone();
    let picture = source.output.format == Format::Table && !args.folded;
    if picture && source.output.output.is_none() && std::io::stdout().is_terminal() {
        source.output.output = Some("flamegraph.svg".into());
        eprintln!("analyze: the flame graph goes into flamegraph.svg");
    }
    source
}

/// What is drawn, of one recording or of several.
#[derive(Default)]
struct Graph {
    now: Folded,
    /// What it is compared with; empty if with nothing.
    before: Folded,
    /// What it covers, and what is missing.
    said: Vec<String>,
}

impl tally::Sum for Graph {
    fn merge(&mut self, other: Self) {
        tally::Sum::merge(&mut self.now, other.now);
        tally::Sum::merge(&mut self.before, other.before);
        self.said.extend(other.said);
    }
}

impl Graph {
    /// The same with this frame at the root.
    fn below(self, root: &str, reverse: bool) -> Graph {
        let root = folded_name(root);
        let below = |stacks: Folded| {
            let stacks = stacks.into_iter().map(|(stack, sum)| match reverse {
                true => (format!("{stack};{root}"), sum),
                false => (format!("{root};{stack}"), sum),
            });
            stacks.collect()
        };
        Graph { now: below(self.now), before: below(self.before), said: self.said }
    }

    /// The same under a heading, whose warnings are given.
    fn under(self, heading: &Heading) -> Graph {
        heading.warn();
        let said = std::iter::once(&heading.covers).chain(&heading.warnings);
        Graph { said: said.cloned().collect(), ..self }
    }
}

fn rows(
    args: &FlamegraphArgs,
    output: &mut Output,
    stacks: &Folded,
    before: Option<&Folded>,
) -> anyhow::Result<()> {
    let mut columns = vec![Column::new("stack", "STACK")];
    columns.extend(before.map(|_| Column::new("before", "BEFORE").right()));
    columns.push(Column::new("weight", "WEIGHT").right());
    columns.push(match args.of.weight == Weight::Cpu {
        true => Column::new("samples", "SAMPLES").right(),
        false => Column::new("count", "COUNT").right(),
    });
    let mut rows = output.rows(columns);
    let none = Folded::new();
    let all: BTreeSet<&String> = before.unwrap_or(&none).keys().chain(stacks.keys()).collect();
    for stack in all {
        let sum = stacks.get(stack).copied().unwrap_or_default();
        let frames = stack.split(';').map(str::to_owned).collect();
        let mut row = vec![Value::Texts(frames)];
        let weight = |of: &Folded| of.get(stack).map_or(0, |sum| sum.weight);
        row.extend(before.map(|before| Value::Int(weight(before))));
        row.extend([Value::Int(sum.weight), Value::count(sum.samples)]);
        rows.row(&row)?;
    }
    rows.end()
}

/// Says why there is nothing to draw.
fn nothing(args: &FlamegraphArgs, source: &Source) -> anyhow::Result<()> {
    let recording = source.recording.directory().display();
    if args.of.weight == Weight::Probe {
        bail!("{recording}: there is no hit with a stack in this window and of these processes");
    }
    if matches!(args.of.weight, Weight::Offcpu | Weight::Wall) {
        bail!("{recording}: there is no wait in this window and of these processes");
    }
    if args.of.weight != Weight::Cpu {
        bail!("{recording}: there is no allocation in this window and of these processes");
    }
    let hint = match is_recorded(&source.recording, TableId::Alloc)? {
        true => "; there are allocations: --weight outstanding draws those",
        false => "",
    };
    bail!("{recording}: there is no sample in this window and of these processes{hint}");
}
