//! The command line of `analyze`, and what every command does first: open the recording, find its
//! span, choose the window, open the output.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use bytesize::ByteSize;
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use lookback_schemas::TableId;
use lookback_schemas::recording::Recording;
use lookback_schemas::suggest::did_you_mean;

use crate::hosts::by::{Grouping, split_host};
use crate::hosts::part::Part;
use crate::hosts::tree::RecordingsArgs;
use crate::hosts::{self, Reach};
use crate::losses::Heading;
use crate::render::{Output, OutputArgs, escaped};
use crate::scope::{Scope, ScopeArgs, UnknownCgroup};
use crate::tally::Sum;
use crate::window::{Span, Window, WindowArgs};
use crate::{
    bundle, cat, check, commands, diff, export, flamegraph, gc, histogram, info, irqs, lsm, manual,
    memleak, offcpu, opens, probes, processes, redact, repair, report, runqlat, signals, spans,
    symbolize, syscalls, tcp, unlinks, views,
};

/// Answer questions from a recording: on any machine, without privileges
#[derive(Parser, Debug)]
#[command(name = "analyze", version, about, max_term_width = 100, infer_long_args = false)]
#[command(
    after_help = "Example:\n  analyze info web1.lookback\n  analyze processes web1.lookback --tree\n  \
                        analyze runqlat web1.lookback web2.lookback --by host\n\n\
                        `analyze COMMAND --help` shows each command's options and an example."
)]
pub struct Cli {
    /// Memory to take at most; more is an error. It guards against recordings that are made to exhaust it
    #[arg(long, global = true, value_name = "SIZE", default_value = "4GiB")]
    pub max_memory: ByteSize,
    /// What to ask.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// What was recorded: where, when, how, how much, and what is missing
    #[command(after_help = info::EXAMPLE)]
    Info(info::InfoArgs),
    /// Test every file of a recording and every reference between its tables
    #[command(after_help = check::EXAMPLE)]
    Check(check::CheckArgs),
    /// Processes with their lifetimes: what ran, when, from where, and how it ended
    #[command(after_help = processes::EXAMPLE)]
    Processes(processes::ProcessesArgs),
    /// Signals: who sent which to whom, and what became of them
    #[command(after_help = signals::EXAMPLE)]
    Signals(signals::SignalsArgs),
    /// System calls: how many, how long, and which failed
    #[command(after_help = syscalls::EXAMPLE)]
    Syscalls(syscalls::SyscallsArgs),
    /// Opened files, and those that could not be opened
    #[command(after_help = opens::EXAMPLE)]
    Opens(opens::OpensArgs),
    /// Files unlinked, directories removed, and both renamed
    #[command(after_help = unlinks::EXAMPLE)]
    Unlinks(unlinks::UnlinksArgs),
    /// How long threads that could run waited for a CPU, and behind whom
    #[command(after_help = runqlat::EXAMPLE)]
    Runqlat(runqlat::RunqlatArgs),
    /// Time off the CPUs: what threads wait for, how long, and who ends it
    #[command(after_help = offcpu::EXAMPLE)]
    Offcpu(offcpu::OffcpuArgs),
    /// Interrupts: how much time their handlers took, and from whom
    #[command(after_help = irqs::EXAMPLE)]
    Irqs(irqs::IrqsArgs),
    /// TCP: connections begun, states, lives of sockets, round trips
    #[command(after_help = tcp::EXAMPLE)]
    Tcp(tcp::TcpArgs),
    /// What the security modules were asked about connections, and what they answered
    #[command(after_help = lsm::EXAMPLE)]
    Lsm(lsm::LsmArgs),
    /// Collections of garbage in Java, Python and Ruby: pauses, what they freed, and their share of time
    #[command(after_help = gc::EXAMPLE)]
    Gc(gc::GcArgs),
    /// Lines that people gave to a shell
    #[command(after_help = commands::EXAMPLE)]
    Commands(commands::CommandsArgs),
    /// Probes that the user chose: hits, arguments, and what there was not
    #[command(after_help = probes::EXAMPLE)]
    Probes(probes::ProbesArgs),
    /// Spans between two probes: how long they took, and whether pauses or waits made them slow
    #[command(after_help = spans::EXAMPLE)]
    Spans(spans::SpansArgs),
    /// Memory that programs, or the kernel for itself, allocated and did not free, at any instant
    #[command(after_help = memleak::EXAMPLE)]
    Memleak(memleak::MemleakArgs),
    /// A flame graph of what ran on the CPUs, of what waited, of who allocated memory, or came by a probe
    #[command(after_help = flamegraph::EXAMPLE)]
    Flamegraph(flamegraph::FlamegraphArgs),
    /// One page for the person on call: everything that was recorded, on one clock
    #[command(after_help = report::EXAMPLE)]
    Report(report::ReportArgs),
    /// How the values of a column are distributed, as a log2 or linear histogram
    #[command(after_help = histogram::EXAMPLE)]
    Histogram(histogram::HistogramArgs),
    /// The rows of a table, in the order of time
    #[command(after_help = cat::EXAMPLE)]
    Cat(cat::CatArgs),
    /// What has changed from one recording to another: any report of both, number by number
    #[command(after_help = diff::EXAMPLE)]
    Diff(diff::DiffArgs),
    /// SQL for DuckDB, DataFusion or Spark: views of all tables and reports over recordings
    #[command(after_help = views::EXAMPLE)]
    Views(views::ViewsArgs),
    /// Write what other programs read: pprof, Perfetto, Chrome, Speedscope, Firefox, perf script, CSV, Arrow
    #[command(after_help = export::EXAMPLE)]
    Export(export::ExportArgs),
    /// Finish the files of a killed recording, for other programs that read Parquet
    #[command(after_help = repair::EXAMPLE)]
    Repair(repair::RepairArgs),
    /// Copy a recording, with tokens instead of what tells of people
    #[command(after_help = redact::EXAMPLE)]
    Redact(redact::RedactArgs),
    /// Name the frames of a recording with the binaries and debug information that are here
    #[command(after_help = symbolize::EXAMPLE)]
    Symbolize(symbolize::SymbolizeArgs),
    /// Pack a recording with the binaries of its frames, for another machine
    #[command(after_help = bundle::EXAMPLE)]
    Bundle(bundle::BundleArgs),
    /// Write man pages, and completions for bash, zsh and fish
    #[command(hide = true, after_help = "Example:\n  analyze manual target/manual")]
    Manual {
        /// Where to
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
}

/// Which recordings to read, and which part of their time.
#[derive(Args, Clone, Debug, Default)]
pub struct SourceArgs {
    /// The recordings.
    #[command(flatten)]
    pub recordings: RecordingsArgs,
    /// The part of their time.
    #[command(flatten)]
    pub window: WindowArgs,
    /// Where the report goes.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Which recordings to read, `N` words that say what of them, and which part of their time.
#[derive(Args, Clone, Debug)]
pub struct WordsArgs<const N: usize> {
    /// The recording, or several of them; then what to read of it
    #[arg(value_names = NAMES[..=N].iter().copied(), num_args = 1.., required = true)]
    pub words: Vec<OsString>,
    /// Only recordings of this host; can be given again
    #[arg(long, value_name = "NAME", help_heading = "Filters")]
    pub host: Vec<String>,
    /// The part of their time.
    #[command(flatten)]
    pub window: WindowArgs,
    /// Where the report goes.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// What the words are.
const NAMES: [&str; 3] = ["RECORDING", "TABLE", "COLUMN"];

impl<const N: usize> WordsArgs<N> {
    /// The recordings, and the part of their time.
    ///
    /// # Errors
    /// If there are too few words.
    pub fn source(&self) -> anyhow::Result<SourceArgs> {
        // Options may stand between words, so that the parser does not count them.
        let words = self.words.len().saturating_sub(N);
        ensure!(words > 0, "which {}? They stand in this order", NAMES[..=N].join(", "));
        let recordings = self.words.iter().take(words).map(PathBuf::from).collect();
        let recordings = RecordingsArgs { recordings, host: self.host.clone() };
        Ok(SourceArgs { recordings, window: self.window.clone(), output: self.output.clone() })
    }

    /// The table, and the other words.
    ///
    /// # Errors
    /// If there is no such table.
    pub fn table(&self) -> anyhow::Result<(TableId, Vec<String>)> {
        let rest = self.words.iter().skip(self.words.len().saturating_sub(N));
        let mut rest = rest.map(|word| word.to_string_lossy().into_owned());
        let table = rest.next().context("which table?")?;
        let id = table_of(&table).map_err(|why| anyhow::anyhow!("{table}: {why}"))?;
        Ok((id, rest.collect()))
    }
}

/// A recording that a report is made from.
#[derive(Clone)]
pub struct Source {
    /// The recording.
    pub recording: Recording,
    /// The part of its time that the report is about.
    pub window: Window,
    /// Where the report goes.
    pub args: OutputArgs,
    /// Its place among the others, if there are more.
    pub(crate) part: Option<Part>,
}

impl Source {
    /// Opens a single recording.
    ///
    /// # Errors
    /// If it is none, or the window is empty.
    pub fn open(
        recording: &Path,
        window: &WindowArgs,
        output: &OutputArgs,
    ) -> anyhow::Result<Source> {
        let recording = Recording::open(recording)?;
        let window = Window::new(window, Span::of(&recording))?;
        Ok(Source { recording, window, args: output.clone(), part: None })
    }

    /// Opens the output, for a report that has its own heading or none.
    ///
    /// # Errors
    /// If its file cannot be created.
    pub fn output(&self) -> anyhow::Result<Output> {
        match &self.part {
            Some(part) => Ok(Output::of_part(&self.args, part.clone())),
            None => Output::open(&self.args, self.window.span.start),
        }
    }

    /// Opens the output and writes the heading of a report about `tables`.
    ///
    /// # Errors
    /// If its file cannot be created or written.
    pub fn begin(&self, tables: &[TableId]) -> anyhow::Result<Output> {
        let mut output = self.output()?;
        output.heading(&self.heading(tables))?;
        Ok(output)
    }

    /// The heading of a report about `tables`; every table if empty.
    #[must_use]
    pub fn heading(&self, tables: &[TableId]) -> Heading {
        if let Some(capture) = &self.args.capture {
            capture.about(tables);
        }
        let zone = self.args.tz.zone();
        let heading = Heading::zoned(&self.recording, tables, &self.window, &zone);
        match &self.part {
            Some(part) => part.heading(heading),
            None => heading,
        }
    }

    /// The processes that the arguments choose. That one of several hosts has no such cgroup is said, and no
    /// error.
    ///
    /// # Errors
    /// As [`Scope::new`].
    pub fn scope(&self, args: &ScopeArgs) -> anyhow::Result<Scope> {
        match (Scope::new(args, &self.recording), &self.part) {
            (Err(error), Some(_)) if error.is::<UnknownCgroup>() => {
                self.output()?.notes(&[escaped(&error.to_string()).into_owned()])?;
                Ok(Scope::nothing())
            }
            (scope, _) => scope,
        }
    }

    /// Whether the report is on this recording only.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.part.is_none()
    }

    /// The name of the host.
    #[must_use]
    pub fn host(&self) -> &str {
        match &self.part {
            Some(part) => part.host(),
            None => &self.recording.manifest().host.name,
        }
    }

    /// The names of the hosts of all recordings.
    #[must_use]
    pub fn hosts(&self) -> String {
        match &self.part {
            Some(part) => part.hosts(),
            None => self.host().to_owned(),
        }
    }

    /// Adds these sums to those of the recordings before, as far as they go together. Gives all of them when
    /// this is the last recording of those; `None` while there are more, and nothing to print yet.
    #[must_use]
    pub fn add_up<S: Sum + Send + 'static>(&self, reach: Reach, sums: S) -> Option<S> {
        match &self.part {
            Some(part) => part.add_up(reach, sums),
            None => Some(sums),
        }
    }
}

/// Does what the command line asks.
///
/// # Errors
/// If the recording cannot be read or the output not be written; the error names the file.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    cli.command.run()
}

impl Command {
    /// Does what it says.
    ///
    /// # Errors
    /// Those of [`run`].
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        match self {
            Command::Info(args) => reports(&args.source(), false, info::run)?,
            Command::Check(args) => {
                let whole = hosts::each(&args.source(), false, check::run)?;
                if whole.contains(&false) {
                    return Ok(ExitCode::FAILURE);
                }
            }
            Command::Processes(args) => {
                reports(&args.source, false, |source| processes::run(args, source))?;
            }
            Command::Signals(args) => {
                reports(&args.source, false, |source| signals::run(args, source))?;
            }
            Command::Syscalls(args) => {
                let by_host = Grouping::is_by_host(args.by.as_ref());
                reports(&args.source, by_host, |source| syscalls::run(args, source))?;
            }
            Command::Opens(args) => {
                let by_host = Grouping::is_by_host(args.by.as_ref());
                reports(&args.source, by_host, |source| opens::run(args, source))?;
            }
            Command::Unlinks(args) => {
                let by_host = Grouping::is_by_host(args.by.as_ref());
                reports(&args.source, by_host, |source| unlinks::run(args, source))?;
            }
            Command::Runqlat(args) => {
                let by_host = Grouping::is_by_host(args.by.as_ref());
                reports(&args.source, by_host, |source| runqlat::run(args, source))?;
            }
            Command::Offcpu(args) => {
                let by_host = args.by.iter().any(|by| by.host);
                reports(&args.source, by_host, |source| offcpu::run(args, source))?;
            }
            Command::Irqs(args) => {
                let by_host = Grouping::is_by_host(args.by.as_ref());
                reports(&args.source, by_host, |source| irqs::run(args, source))?;
            }
            Command::Tcp(args) => tcp::run(args)?,
            Command::Lsm(args) => {
                let by_host = Grouping::is_by_host(args.by.as_ref());
                reports(&args.source, by_host, |source| lsm::run(args, source))?;
            }
            Command::Gc(args) => {
                let by_host = Grouping::is_by_host(args.by.as_ref());
                reports(&args.source, by_host, |source| gc::run(args, source))?;
            }
            Command::Commands(args) => {
                reports(&args.source, false, |source| commands::run(args, source))?;
            }
            Command::Probes(args) => {
                let by_host = split_host(args.by.as_deref()).0;
                reports(&args.source, by_host, |source| probes::run(args, source))?;
            }
            Command::Spans(args) => {
                let by_host = Grouping::is_by_host(args.by.as_ref());
                reports(&args.source, by_host, |source| spans::run(args, source))?;
            }
            Command::Memleak(args) => {
                reports(&args.source, false, |source| memleak::run(args, source))?;
            }
            Command::Flamegraph(args) => {
                // One picture of all: hosts are frames in it.
                let source = flamegraph::into_a_file(args);
                reports(&source, false, |source| flamegraph::run(args, source))?;
            }
            // One page of one recording: its clock is that of all on it.
            Command::Report(args) => report::run(args)?,
            Command::Histogram(args) => {
                let by_host = split_host(args.by.as_deref()).0;
                reports(&args.words.source()?, by_host, |source| histogram::run(args, source))?;
            }
            Command::Cat(args) => {
                reports(&args.words.source()?, false, |source| cat::run(args, source))?;
            }
            Command::Views(args) => views::run(args)?,
            Command::Export(args) => export::run(args)?,
            Command::Repair(args) => repair::run(args)?,
            Command::Redact(args) => redact::run(args)?,
            Command::Symbolize(args) => symbolize::run(args)?,
            Command::Bundle(args) => bundle::run(args)?,
            Command::Diff(args) => return diff::run(args),
            Command::Manual { directory } => manual::write(Cli::command(), directory)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Makes a report on all recordings; see [`hosts::each`].
fn reports(
    args: &SourceArgs,
    by_host: bool,
    report: impl Fn(&Source) -> anyhow::Result<()> + Sync,
) -> anyhow::Result<()> {
    hosts::each(args, by_host, report).map(|_| ())
}

/// Keeps panics of the Parquet decoder over damaged files off the terminal: they become errors that
/// name the file.
pub fn quiet_decoder() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !lookback_schemas::segment::is_decoding() {
            usual(panic);
        }
    }));
}

/// The table of this name.
///
/// # Errors
/// Lists the tables there are.
pub(crate) fn table_of(name: &str) -> Result<TableId, String> {
    TableId::from_name(name).ok_or_else(|| {
        let names: Vec<&str> = TableId::ALL.iter().map(|table| table.name()).collect();
        let hint = did_you_mean(name, names.iter().copied());
        format!("there is no such table; the tables are {}{hint}", names.join(", "))
    })
}

/// The column `name` of `table`, for a command line.
///
/// # Errors
/// Lists the columns there are.
pub fn column(table: TableId, name: &str) -> anyhow::Result<&'static lookback_schemas::Column> {
    table.column(name).ok_or_else(|| {
        let names: Vec<&str> = table.columns().iter().map(|column| column.name).collect();
        anyhow::anyhow!(
            "table `{}` has no column `{name}`; its columns are {}{}",
            table.name(),
            names.join(", "),
            did_you_mean(name, names.iter().copied())
        )
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::made::{Made, analyze, analyze_at};

    /// A report of each kind, as CSV.
    pub(crate) const REPORTS: &[&[&str]] = &[
        &["processes", "--format", "csv"],
        &["signals", "--format", "csv"],
        &["syscalls", "--format", "csv"],
        &["syscalls", "--list", "--format", "csv"],
        &["syscalls", "--latency", "--format", "csv"],
        &["opens", "--format", "csv"],
        &["opens", "--by", "path", "--format", "csv"],
        &["unlinks", "--format", "csv"],
        &["runqlat", "--format", "csv"],
        &["runqlat", "--blame", "--format", "csv"],
        &["offcpu", "--format", "csv"],
        &["offcpu", "--by", "function,waker", "--format", "csv"],
        &["irqs", "--format", "csv"],
        &["tcp", "connects", "--format", "csv"],
        &["tcp", "connects", "--hist", "--format", "csv"],
        &["tcp", "states", "--format", "csv"],
        &["tcp", "lives", "--open", "--format", "csv"],
        &["tcp", "rtt", "--summary", "--format", "csv"],
        &["lsm", "--format", "csv"],
        &["memleak", "--format", "csv"],
        &["memleak", "--by-cache", "--format", "csv"],
        &["memleak", "--between", "0s", "1s", "--format", "csv"],
        &["memleak", "--lifetimes", "--format", "csv"],
        &["memleak", "--sizes", "--format", "csv"],
        &["memleak", "--peak", "--format", "csv"],
        &["memleak", "--temporary", "--format", "csv"],
        &["memleak", "--timeline", "--format", "csv"],
        &["gc", "--format", "csv"],
        &["gc", "--pools", "--format", "csv"],
        &["gc", "--hist", "--by", "process", "--format", "csv"],
        &["gc", "--summary", "--format", "csv"],
        &["gc", "--share", "--format", "csv"],
        &["gc", "--longest", "3", "--format", "csv"],
        &["gc", "--timeline", "--format", "csv"],
        &["commands", "--format", "csv"],
        &["probes", "--format", "csv"],
        &["probes", "--by", "process", "--format", "csv"],
        &["probes", "--list", "--format", "csv"],
        &["probes", "--hist", "arg0", "--name", "x", "--format", "csv"],
        &["spans", "--format", "csv"],
        &["spans", "--hist", "--by", "thread", "--format", "csv"],
        &["spans", "--list", "--format", "csv"],
        &["spans", "--unfinished", "--format", "csv"],
        &["spans", "--timeline", "--format", "csv"],
        &["spans", "--blame", "--format", "csv"],
        &["spans", "--blame", "--longest", "3", "--format", "csv"],
        &["cat", "exec", "--format", "csv"],
    ];

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
        let cli = Cli::command();
        let nested = cli.get_subcommands().flat_map(clap::Command::get_subcommands);
        for command in cli.get_subcommands().chain(nested) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(command.get_about().is_some() && help.starts_with("Example"));
        }
    }

    #[test]
    fn a_misspelt_command_gets_a_suggestion() {
        let error = Cli::try_parse_from(["analyze", "flamegrpah", "x"]).expect_err("no command");
        assert!(error.to_string().contains("'flamegraph'"), "{error}");
    }

    #[test]
    fn errors_name_the_file() {
        let made = Made::new();
        let error = |result: anyhow::Result<String>| {
            format!("{:#}", result.expect_err("there is something wrong"))
        };
        let missing = made.path().join("nowhere");
        assert!(error(analyze_at(&missing, &["info"])).contains("nowhere: not a recording"));
        let empty = tempfile::tempdir().expect("tests may write temporary files");
        assert!(error(analyze_at(empty.path(), &["info"])).contains("it has no manifest.json"));
        std::fs::write(made.path().join("manifest.json"), r#"{"format": 99}"#).expect("writable");
        assert!(error(analyze(&made, &["info"])).contains("upgrade lookback"));
        std::fs::write(made.path().join("manifest.json"), "{").expect("writable");
        assert!(error(analyze(&made, &["info"])).contains("manifest.json: damaged"));
    }

    #[test]
    fn a_missing_table_is_an_empty_one() {
        let made = Made::new();
        made.end(1.0);
        for args in REPORTS {
            let text = analyze(&made, args).expect("nothing is wrong");
            assert_eq!(text.lines().count(), 1, "{text}");
        }
        assert!(analyze(&made, &["cat", "nonsense"]).is_err());
    }
}
