//! Flame graphs: where the CPUs' time went, by call stack.
//!
//! The table `sample` has what ran whenever the sampling clock ticked; a sample stands for its
//! `period`. Stacks are interned: a sample carries the ids of its user and kernel stack. So samples
//! are first summed up by those ids and the thread's name, which is fast, and only then each
//! distinct stack is turned into names, once. A line of the *folded* form is one such sum:
//! `comm;user frames;kernel frames weight`, outermost frame first
//! (<https://www.brendangregg.com/flamegraphs.html>).
//!
//! With `--weight` the same is drawn of [memory](memory): what is outstanding, or was allocated; or of
//! the hits of [probes](probe) of the user's. And with `--diff` or `--diff-at` two graphs are drawn as one, in which red has grown and blue has shrunk.
//!
//! What is unknown is said, not left out: a frame without a name is `[module+0xoffset]` or
//! `[unknown]`, a stack that is not in the recording `[lost stack]`.

mod memory;
mod names;
mod probe;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::PathBuf;
use std::str::FromStr as _;

use ahash::{HashMap, HashSet};
use anyhow::{Context as _, bail};
use arrow::array::Array as _;
use arrow::record_batch::RecordBatch;
use clap::{Args, ValueEnum};
use inferno::flamegraph::color::BasicPalette;
use inferno::flamegraph::{Direction, Options, Palette};
use lookback_schemas::manifest::Symbols;
use lookback_schemas::recording::Recording;
use lookback_schemas::tables::Sample;
use lookback_schemas::wire::Reason;
use lookback_schemas::{Error, TableId, cell};

use crate::cli::{Source, SourceArgs};
use crate::lifetimes::{Detail, Lifetimes};
use crate::losses::missing;
use crate::memleak::is_recorded;
use crate::processes::known;
use crate::render::{Column, Format, Output, OutputArgs, Value, escaped};
use crate::scope::{Scope, ScopeArgs};
use crate::tally::ThreadsArgs;
use crate::window::WindowArgs;
use names::{Names, folded_name};

/// Shown below the help.
pub const EXAMPLE: &str = "Examples:\n  analyze flamegraph web1.lookback -o flamegraph.svg\n  \
                           analyze flamegraph web1.lookback --pid 4711 --folded | sort -nrk2\n  \
                           analyze flamegraph web1.lookback --weight outstanding --at 30s -o heap.svg\n  \
                           analyze flamegraph web1.lookback --weight outstanding --diff-at 30s -o grown.svg\n  \
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
    /// What the graph is of
    #[arg(long, value_enum, default_value_t = Weight::Cpu)]
    pub weight: Weight,
    /// With `--weight probe` only hits of the probe of this name; can be given again
    #[arg(long, value_name = "NAME")]
    pub probe: Vec<String>,
    /// Memory at this instant: the forms of --since [default: the end]
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// What has changed since this instant, of memory
    #[arg(long, value_name = "TIME", conflicts_with = "diff")]
    pub diff_at: Option<String>,
    /// What has changed since this other recording
    #[arg(long, value_name = "RECORDING")]
    pub diff: Option<PathBuf>,
    /// How many threads read.
    #[command(flatten)]
    pub threads: ThreadsArgs,
    /// Only user frames; samples without any are left out
    #[arg(long, conflicts_with = "kernel")]
    pub user: bool,
    /// Only kernel frames; samples without any are left out
    #[arg(long)]
    pub kernel: bool,
    /// Merge from the leaves: what calls a function, instead of what it calls
    #[arg(long)]
    pub reverse: bool,
    /// What the frames say.
    #[command(flatten)]
    pub labels: names::LabelArgs,
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

/// What a flame graph is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Weight {
    /// CPU time.
    #[default]
    Cpu,
    /// Bytes of heaps that are outstanding.
    Outstanding,
    /// Bytes that were allocated, freed or not.
    Allocated,
    /// Bytes that were live when most were.
    Peak,
    /// Allocations that were freed before their process made another.
    Temporary,
    /// Allocations that were made.
    Count,
    /// Hits of probes of the user's, as far as they have stacks.
    Probe,
}

impl Weight {
    fn table(self) -> TableId {
        match self {
            Weight::Cpu => TableId::Sample,
            Weight::Probe => TableId::Probe,
            Weight::Outstanding
            | Weight::Allocated
            | Weight::Peak
            | Weight::Temporary
            | Weight::Count => TableId::Alloc,
        }
    }

    /// What it counts.
    fn unit(self, recording: &Recording) -> &'static str {
        match self {
            Weight::Cpu => period(recording),
            Weight::Outstanding | Weight::Allocated | Weight::Peak => "bytes",
            Weight::Temporary | Weight::Count => "allocations",
            Weight::Probe => "hits",
        }
    }

    fn title(self, args: &FlamegraphArgs) -> &'static str {
        match (self, args.user, args.kernel) {
            (Weight::Cpu, true, _) => "User CPU time",
            (Weight::Cpu, _, true) => "Kernel CPU time",
            (Weight::Cpu, false, false) => "CPU time",
            (Weight::Outstanding, _, _) => "Outstanding memory",
            (Weight::Allocated, _, _) => "Allocated memory",
            (Weight::Peak, _, _) => "Memory at the peak",
            (Weight::Temporary, _, _) => "Temporary allocations",
            (Weight::Count, _, _) => "Allocations",
            (Weight::Probe, _, _) => "Hits of probes",
        }
    }
}

/// Folded stacks with their sums, in order.
type Folded = BTreeMap<String, Sum>;

fn fold(
    args: &FlamegraphArgs,
    source: &Source,
    scope: &Scope,
    at: Option<&str>,
) -> anyhow::Result<Folded> {
    match args.weight {
        Weight::Cpu => {
            scope.check(TableId::Sample)?;
            collapse(args, source, scope)
        }
        Weight::Probe => {
            scope.check(TableId::Probe)?;
            probe::collapse(args, source, scope)
        }
        Weight::Outstanding
        | Weight::Allocated
        | Weight::Peak
        | Weight::Temporary
        | Weight::Count => memory::collapse(args, source, scope, at),
    }
}

/// The graph to compare with, if there is one.
fn before(args: &FlamegraphArgs, source: &Source, scope: &Scope) -> anyhow::Result<Option<Folded>> {
    if let Some(other) = &args.diff {
        let recording = other.clone();
        let (window, output) = (WindowArgs::default(), OutputArgs::default());
        let other = Source::open(&SourceArgs { recording, window, output })?;
        let scope = Scope::new(&args.scope, &other.recording)?;
        return fold(args, &other, &scope, None).map(Some);
    }
    let at = args.diff_at.as_deref();
    at.map(|at| fold(args, source, scope, Some(at))).transpose()
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
pub fn run(args: &FlamegraphArgs) -> anyhow::Result<()> {
    let mut source = Source::open(&args.source)?;
    let scope = Scope::new(&args.scope, &source.recording)?;
    let table = args.weight.table();
    if table != TableId::Alloc && (args.at.is_some() || args.diff_at.is_some()) {
        bail!("--at and --diff-at are about memory: take --weight outstanding");
    }
    if args.weight != Weight::Probe && !args.probe.is_empty() {
        bail!("--probe is about hits of probes: take --weight probe");
    }
    let stacks = fold(args, &source, &scope, args.at.as_deref())?;
    let before = before(args, &source, &scope)?;
    let heading = source.heading(&[table]);
    match source.recording.manifest().symbols {
        Symbols::Resolved => {}
        Symbols::Pending | Symbols::Skipped => {
            eprintln!("analyze: note: the recording has no names of frames, or not all");
        }
    }
    if source.args.format != Format::Table && !args.folded {
        let mut output = source.begin(&[table])?;
        rows(args, &mut output, &stacks, before.as_ref())?;
        return output.finish();
    }
    heading.warn();
    let lines = lines(&stacks, before.as_ref());
    if args.folded {
        let mut output = source.output()?;
        lines.iter().try_for_each(|line| output.line(line))?;
        return output.finish();
    }
    if lines.is_empty() {
        return nothing(args, &source);
    }
    let mut svg = Vec::new();
    let all = [Some(&stacks), before.as_ref()];
    let mut sums = all.into_iter().flatten().flat_map(BTreeMap::values);
    let total = sums.try_fold(0_i64, |total, sum| total.checked_add(sum.weight));
    if total.is_none() {
        bail!("the weights add up to more than 64 bits hold");
    }
    draw(args, &source, &heading, &lines, &mut svg).context("drawing the flame graph")?;
    if source.args.output.is_none() && std::io::IsTerminal::is_terminal(&std::io::stdout()) {
        source.args.output = Some("flamegraph.svg".into());
        eprintln!("analyze: the flame graph is in flamegraph.svg");
    }
    let mut output = source.output()?;
    output.raw().write_all(&svg)?;
    output.finish()
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
    columns.push(match args.weight == Weight::Cpu {
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
    if args.weight == Weight::Probe {
        bail!("{recording}: there is no hit with a stack in this window and of these processes");
    }
    if args.weight != Weight::Cpu {
        bail!("{recording}: there is no allocation in this window and of these processes");
    }
    let hint = match is_recorded(&source.recording, TableId::Alloc)? {
        true => "; there are allocations: --weight outstanding draws those",
        false => "",
    };
    bail!("{recording}: there is no sample in this window and of these processes{hint}");
}

fn draw(
    args: &FlamegraphArgs,
    source: &Source,
    heading: &crate::losses::Heading,
    lines: &[String],
    svg: &mut Vec<u8>,
) -> anyhow::Result<()> {
    let manifest = source.recording.manifest();
    let title = args
        .title
        .clone()
        .unwrap_or_else(|| format!("{} on {}", args.weight.title(args), manifest.host.name));
    let mut options = Options::default();
    options.title = escaped(&title).into_owned();
    let said = std::iter::once(&heading.covers).chain(&heading.warnings);
    let said: Vec<&str> = said.map(String::as_str).collect();
    options.subtitle = Some(escaped(&said.join("; ")).into_owned());
    options.count_name = args.weight.unit(&source.recording).to_owned();
    let palette = match args.weight {
        Weight::Cpu | Weight::Probe => BasicPalette::Hot,
        Weight::Outstanding
        | Weight::Allocated
        | Weight::Peak
        | Weight::Temporary
        | Weight::Count => BasicPalette::Mem,
    };
    options.colors = args.colors.unwrap_or(Palette::Basic(palette));
    options.deterministic = true;
    options.image_width = args.width.map(|width| width as usize);
    options.direction = if args.inverted { Direction::Inverted } else { Direction::Straight };
    inferno::flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), svg)?;
    Ok(())
}

/// What `period` counts: the sampling hook's name tells.
fn period(recording: &Recording) -> &'static str {
    let hooks = recording.manifest().tracers.iter().flat_map(|tracer| &tracer.hooks);
    let cycles = hooks.map(|hook| &hook.hook).any(|hook| hook.contains("cycles"));
    if cycles { "cycles" } else { "ns" }
}

/// What the samples of one stack add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    /// The sum of their periods.
    weight: i64,
    samples: u64,
}

impl Sum {
    fn add(&mut self, other: Sum) {
        self.weight = self.weight.saturating_add(other.weight);
        self.samples += other.samples;
    }
}

/// What distinguishes samples before their stacks have names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    /// Place of the thread's name among [`Sums::names`].
    comm: u32,
    user: Option<i64>,
    kernel: Option<i64>,
    /// Whether there should be a user stack, but it could not be read.
    unreadable: bool,
}

/// Samples summed up.
#[derive(Default)]
struct Sums {
    names: Vec<String>,
    places: HashMap<String, u32>,
    sums: HashMap<Key, Sum>,
}

impl Sums {
    fn place(&mut self, name: &str) -> u32 {
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        let place = u32::try_from(self.names.len()).expect("names fill the memory before");
        self.names.push(name.to_owned());
        self.places.insert(name.to_owned(), place);
        place
    }

    /// Adds the samples of a batch. `user_threads` tells by pid which ought to have a user stack
    /// where stacks are known to be missing.
    fn add(
        &mut self,
        batch: &RecordBatch,
        kernel_threads: Option<&HashSet<i32>>,
    ) -> Result<(), String> {
        let comm = cell::column::<Option<String>>(batch, "comm")?;
        let user = cell::column::<Option<i64>>(batch, "user_stack")?;
        let kernel = cell::column::<Option<i64>>(batch, "kernel_stack")?;
        let period = cell::column::<i64>(batch, "period")?;
        let pid = cell::column::<i32>(batch, "pid")?;
        let mut last: Option<(Key, Sum)> = None;
        let mut name: Option<(&str, u32)> = None;
        for row in 0..batch.num_rows() {
            let text = known!(comm, row).unwrap_or("[unknown]");
            let place = match name {
                Some((known, place)) if known == text => place,
                Some(_) | None => self.place(text),
            };
            name = Some((text, place));
            let user = known!(user, row);
            let unreadable = user.is_none()
                && kernel_threads.is_some_and(|threads| !threads.contains(&pid.value(row)));
            let key = Key { comm: place, user, kernel: known!(kernel, row), unreadable };
            let sum = Sum { weight: period.value(row).max(0), samples: 1 };
            match &mut last {
                Some((known, total)) if *known == key => total.add(sum),
                Some(_) | None => {
                    if let Some((key, total)) = last.replace((key, sum)) {
                        self.sums.entry(key).or_default().add(total);
                    }
                }
            }
        }
        if let Some((key, total)) = last {
            self.sums.entry(key).or_default().add(total);
        }
        Ok(())
    }

    fn merge(&mut self, other: Sums) {
        let places: Vec<u32> = other.names.iter().map(|name| self.place(name)).collect();
        for (key, sum) in other.sums {
            let key = Key { comm: places[key.comm as usize], ..key };
            self.sums.entry(key).or_default().add(sum);
        }
    }
}

/// The folded stacks with their sums, in order.
fn collapse(
    args: &FlamegraphArgs,
    source: &Source,
    scope: &Scope,
) -> anyhow::Result<BTreeMap<String, Sum>> {
    let recording = &source.recording;
    // Only where stacks are known to be missing does a null stack need an explanation.
    let losses = missing(recording, &[TableId::Sample], &source.window).unwrap_or_default();
    let unreadable = losses.iter().any(|loss| loss.reason == Reason::StackUnreadable.name());
    let kernel_threads: Option<HashSet<i32>> = match unreadable {
        true => {
            let lifetimes = Lifetimes::read(recording, Detail::Identity)?;
            let kernel = lifetimes.all().iter().filter(|lifetime| lifetime.kernel);
            // Pid 0 are the idle threads.
            Some(kernel.map(|lifetime| lifetime.pid).chain([0]).collect())
        }
        false => None,
    };

    let mut columns = vec!["comm", "user_stack", "kernel_stack", "period", "pid"];
    columns.extend(scope.columns(TableId::Sample));
    let threads = args.threads.count();
    let sums = recording.scan::<Sample>(source.window.range.clone()).columns(&columns).fold(
        threads,
        |sums: &mut Sums, path, batch| {
            let batch = scope.filter(TableId::Sample, path, batch)?;
            sums.add(&batch, kernel_threads.as_ref()).map_err(Error::damaged(path))
        },
        Sums::merge,
    )?;
    fold_sums(args, recording, &sums)
}

/// Gives the stacks their names.
fn fold_sums(args: &FlamegraphArgs, recording: &Recording, sums: &Sums) -> anyhow::Result<Folded> {
    let wanted: HashSet<i64> =
        sums.sums.keys().flat_map(|key| [key.user, key.kernel]).flatten().collect();
    let names = Names::read(recording, &wanted, &args.labels)?;
    let mut folded: BTreeMap<String, Sum> = BTreeMap::new();
    let mut stacks: HashMap<(i64, bool), Vec<String>> = HashMap::default();
    for (key, sum) in &sums.sums {
        if sum.weight == 0 {
            continue;
        }
        let mut frames = Vec::new();
        let mut stack = |id: Option<i64>, kernel: bool, frames: &mut Vec<String>| {
            if let Some(id) = id {
                let named = stacks.entry((id, kernel)).or_insert_with(|| names.stack(id, kernel));
                frames.extend_from_slice(named);
            }
        };
        if !args.kernel {
            stack(key.user, false, &mut frames);
            if key.unreadable {
                frames.push("[stack unreadable]".to_owned());
            }
        }
        if !args.user {
            stack(key.kernel, true, &mut frames);
        }
        if frames.is_empty() && (args.user || args.kernel) {
            continue;
        }
        frames.insert(0, folded_name(&sums.names[key.comm as usize]));
        if args.reverse {
            frames.reverse();
        }
        folded.entry(frames.join(";")).or_default().add(*sum);
    }
    Ok(folded)
}

#[cfg(test)]
mod tests {
    use super::names::folded_name;
    use crate::made::{Heap, Hit, Made, analyze};

    fn profile() -> Made {
        let made = Made::new();
        made.rows(&[
            made.process(0.0, 2, 0, -9.0, &[]),
            made.process(0.0, 30, 2, -9.0, &[]),
            made.stack(1, &[11, 10], false),
            made.stack(2, &[20], false),
            made.stack(3, &[12, 99], true),
            made.frame(10, false, Some("/bin/app"), Some(0x10)),
            made.frame(11, false, Some("/bin/app"), Some(0x20)),
            made.frame(12, false, Some("/lib/libx.so"), Some(0x1234)),
            made.frame(20, true, None, None),
            made.symbol(10, 0, "main"),
            made.symbol(11, 1, "inlined<1;2>"),
            made.symbol(11, 0, "work"),
            made.symbol(20, 0, "do_syscall"),
            made.sample(1.0, 10, "app", Some(1), None),
            made.sample(1.1, 10, "app", Some(1), Some(2)),
            made.sample(1.2, 10, "app", Some(1), Some(2)),
            made.sample(1.3, 11, "app", Some(3), None),
            made.sample(1.4, 12, "other", Some(777), None),
            made.sample(1.5, 30, "kworker 3", None, Some(2)),
            made.sample(1.6, 13, "gone", None, Some(2)),
        ]);
        made
    }

    fn folded(made: &Made, args: &[&str]) -> Vec<String> {
        let args = [&["flamegraph", "--folded"], args].concat();
        analyze(made, &args).expect("it is whole").lines().map(str::to_owned).collect()
    }

    #[test]
    fn samples_are_summed_by_stack() {
        assert_eq!(
            folded(&profile(), &[]),
            [
                "app;[truncated];[lost frame];[libx.so+0x1234] 10",
                "app;main;work;inlined<1:2>_[i] 10",
                "app;main;work;inlined<1:2>_[i];do_syscall_[k] 20",
                "gone;do_syscall_[k] 10",
                "kworker_3;do_syscall_[k] 10",
                "other;[lost stack] 10",
            ]
        );
    }

    #[test]
    fn missing_stacks_are_named_where_the_losses_tell_of_them() {
        let made = profile();
        made.rows(&[made.loss("sample", "stack unreadable", 1, 1.0, 2.0)]);
        let lines = folded(&made, &[]);
        assert!(lines.contains(&"gone;[stack unreadable];do_syscall_[k] 10".to_owned()));
        assert!(lines.contains(&"kworker_3;do_syscall_[k] 10".to_owned()), "a kernel thread");
    }

    #[test]
    fn parts_can_be_chosen() {
        let made = profile();
        let args: [(&[&str], &[&str]); 5] = [
            (&["--kernel", "--comm", "app"], &["app;do_syscall_[k] 20"]),
            (&["--user", "--pid", "10"], &["app;main;work;inlined<1:2>_[i] 30"]),
            (
                &["--reverse", "--since", "1.05s", "--until", "1.15s"],
                &["do_syscall_[k];inlined<1:2>_[i];work;main;app 10"],
            ),
            (&["--uid", "5"], &[]),
            (&["--pid", "11"], &["app;[truncated];[lost frame];[libx.so+0x1234] 10"]),
        ];
        for (args, lines) in args {
            assert_eq!(folded(&made, args), lines, "{args:?}");
        }
    }

    #[test]
    fn the_drawing_is_well_formed_whatever_names_there_are() {
        let made = profile();
        made.rows(&[
            made.sample(2.0, 40, "<a&b>\"'\x1b[1m", Some(1), None),
            made.sample(2.0, 40, "# x 5", None, None),
            made.sample(2.0, 40, "7 8", None, None),
        ]);
        let args = ["flamegraph", "--title", "<t>&\x07", "--width", "800"];
        let svg = analyze(&made, &args).expect("it is whole");
        // The suffix chooses the colour and is not drawn.
        assert!(svg.contains("main") && svg.contains("do_syscall"));
        assert!(svg.contains("&lt;a&amp;b&gt;") && !svg.contains("<a&"), "names are escaped");
        assert!(svg.contains("&lt;t&gt;&amp;\\x07"), "so is the title");
        assert!(!svg.contains(['\x1b', '\x07']), "XML has no such characters");
        assert_eq!(svg, analyze(&made, &args).expect("it is whole"), "the same each time");
        let icicle = analyze(&made, &["flamegraph", "--inverted"]).expect("it is whole");
        assert_ne!(icicle, svg);
    }

    #[test]
    fn without_samples_there_is_nothing_to_draw() {
        let made = Made::new();
        let error = analyze(&made, &["flamegraph"]).expect_err("there is none");
        assert!(error.to_string().contains("no sample"), "{error}");
        assert_eq!(folded(&made, &[]), Vec::<String>::new());
    }

    /// Two allocations by two stacks, of which one is freed and allocated anew by the other.
    fn heap() -> Made {
        let made = profile();
        let exec = made.exec(0.5, 10, 1, &["/bin/app"]);
        let calls = [
            Heap::malloc(1.0, 10, 0x1000, 100, 1),
            Heap::malloc(2.0, 10, 0x2000, 30, 3),
            Heap::free(3.0, 10, 0x2000),
            Heap::malloc(4.0, 10, 0x2000, 5, 1),
        ];
        made.rows(&[&[exec][..], &calls.map(|call| made.alloc(call))].concat());
        made.end(5.0);
        made
    }

    #[test]
    fn memory_is_drawn_by_what_is_asked_of_it() {
        let work = |weight| format!("app;main;work;inlined<1:2>_[i] {weight}");
        let lost = |weight| format!("app;[truncated];[lost frame];[libx.so+0x1234] {weight}");
        let of = |args: &[&str]| folded(&heap(), &[&["--weight"], args].concat());
        assert_eq!(of(&["outstanding"]), [work("105")]);
        assert_eq!(of(&["outstanding", "--at", "2s"]), [lost("30"), work("100")]);
        assert_eq!(of(&["allocated"]), [lost("30"), work("105")]);
        assert_eq!(of(&["peak"]), [lost("30"), work("100")]);
        assert_eq!(of(&["temporary"]), [lost("1")]);
        assert_eq!(of(&["count"]), [lost("1"), work("2")]);
        assert_eq!(of(&["outstanding", "--comm", "nobody"]), Vec::<String>::new());
        assert_eq!(
            of(&["outstanding", "--diff-at", "2s"]),
            [lost("30 0"), work("100 105")],
            "before and now"
        );
        for kernel in ["--kernel", "--at=99s"] {
            assert!(analyze(&heap(), &["flamegraph", "--weight", "peak", kernel]).is_err());
        }
        assert!(analyze(&heap(), &["flamegraph", "--at", "2s"]).is_err(), "of CPU time");
    }

    #[test]
    fn two_recordings_are_compared() {
        let (made, other) = (heap(), profile());
        other.rows(&[other.alloc(Heap::malloc(1.0, 10, 0x1000, 7, 1))]);
        let other = other.path().to_str().expect("temporary paths are UTF-8");
        let args = ["--weight", "allocated", "--diff", other];
        let lines = folded(&made, &args);
        assert!(lines.contains(&"app;main;work;inlined<1:2>_[i] 0 105".to_owned()), "{lines:?}");
        assert!(
            lines.contains(&"[unknown];main;work;inlined<1:2>_[i] 7 0".to_owned()),
            "{lines:?}"
        );
        let svg = analyze(&made, &[&["flamegraph"], &args[..]].concat()).expect("it is whole");
        assert!(svg.contains("Allocated memory on web1") && svg.contains("105 bytes"), "{svg}");
        let csv = analyze(&made, &[&["flamegraph", "--format", "csv"], &args[..]].concat());
        assert!(csv.expect("it is whole").starts_with("stack,before,weight,count\n"));
        assert!(folded(&made, &["--diff", other]).iter().all(|line| {
            let weights: Vec<&str> = line.rsplit(' ').take(2).collect();
            weights[0] == weights[1]
        }));
    }

    #[test]
    fn without_samples_allocations_are_pointed_to() {
        let made = Made::new();
        made.rows(&[made.alloc(Heap::malloc(1.0, 10, 0x1000, 7, 1))]);
        let error = analyze(&made, &["flamegraph"]).expect_err("there is no sample");
        assert!(error.to_string().contains("--weight outstanding draws those"), "{error}");
    }

    #[test]
    fn names_cannot_be_mistaken_for_separators_or_weights() {
        assert_eq!(folded_name("operator()(int; 12"), "operator()(int:_12");
        assert_eq!(folded_name(" "), "[unknown]");
        assert_eq!(folded_name("# 1"), "#_1");
    }

    #[test]
    fn hits_of_probes_are_drawn_by_their_stacks() {
        let made = profile();
        let hit = Hit { seconds: 1.0, name: "start", pid: 10, stack: Some(1), ..Hit::default() };
        made.rows(&[
            made.hit(hit),
            made.hit(Hit { kernel_stack: Some(2), ..hit }),
            made.hit(hit),
            made.hit(Hit { name: "other", stack: None, kernel_stack: Some(2), ..hit }),
            made.hit(Hit { name: "bare", stack: None, ..hit }),
        ]);
        let stack = "app;main;work;inlined<1:2>_[i]";
        assert_eq!(
            folded(&made, &["--weight", "probe"]),
            [
                "app;do_syscall_[k] 1".to_owned(),
                format!("{stack} 2"),
                format!("{stack};do_syscall_[k] 1")
            ]
        );
        assert_eq!(
            folded(&made, &["--weight", "probe", "--probe", "other"]),
            ["app;do_syscall_[k] 1"]
        );
        assert!(folded(&made, &["--weight", "probe", "--probe", "bare"]).is_empty());
        for wrong in [&["--probe", "start"][..], &["--weight", "probe", "--at", "1s"]] {
            assert!(analyze(&made, &[&["flamegraph"], wrong].concat()).is_err());
        }
    }
}
