//! The command line of `analyze`, and what every command does first: open the recording, find its
//! span, choose the window, open the output.

use std::path::PathBuf;
use std::process::ExitCode;

use bytesize::ByteSize;
use clap::{Args, Parser, Subcommand};
use lookback_schemas::TableId;
use lookback_schemas::recording::Recording;

use crate::losses::Heading;
use crate::render::{Output, OutputArgs};
use crate::window::{Span, Window, WindowArgs};
use crate::{
    bundle, cat, check, commands, flamegraph, gc, histogram, info, irqs, lsm, memleak, offcpu,
    opens, probes, processes, redact, repair, report, runqlat, signals, spans, symbolize, syscalls,
    tcp, unlinks,
};

/// Answer questions from a recording: on any machine, without privileges
#[derive(Parser, Debug)]
#[command(name = "analyze", version, about, max_term_width = 100, infer_long_args = false)]
#[command(
    after_help = "Example:\n  analyze info web1.lookback\n  analyze processes web1.lookback --tree\n\n\
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
}

/// Which recording to read, and which part of its time.
#[derive(Args, Clone, Debug)]
pub struct SourceArgs {
    /// The recording: a directory
    #[arg(value_name = "RECORDING")]
    pub recording: PathBuf,
    /// The part of its time.
    #[command(flatten)]
    pub window: WindowArgs,
    /// Where the report goes.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// A recording that a report is made from.
pub struct Source {
    /// The recording.
    pub recording: Recording,
    /// The part of its time that the report is about.
    pub window: Window,
    /// Where the report goes.
    pub args: OutputArgs,
}

impl Source {
    /// Opens the recording.
    ///
    /// # Errors
    /// If it is none, or the window is empty.
    pub fn open(args: &SourceArgs) -> anyhow::Result<Source> {
        let recording = Recording::open(&args.recording)?;
        let window = Window::new(&args.window, Span::of(&recording))?;
        Ok(Source { recording, window, args: args.output.clone() })
    }

    /// Opens the output, for a report that has its own heading or none.
    ///
    /// # Errors
    /// If its file cannot be created.
    pub fn output(&self) -> anyhow::Result<Output> {
        Output::open(&self.args, self.window.span.start)
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
        Heading::new(&self.recording, tables, &self.window)
    }
}

/// Does what the command line asks.
///
/// # Errors
/// If the recording cannot be read or the output not be written; the error names the file.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let done = |()| ExitCode::SUCCESS;
    match cli.command {
        Command::Info(args) => info::run(&args).map(done),
        Command::Check(args) => check::run(&args),
        Command::Processes(args) => processes::run(&args).map(done),
        Command::Signals(args) => signals::run(&args).map(done),
        Command::Syscalls(args) => syscalls::run(&args).map(done),
        Command::Opens(args) => opens::run(&args).map(done),
        Command::Unlinks(args) => unlinks::run(&args).map(done),
        Command::Runqlat(args) => runqlat::run(&args).map(done),
        Command::Offcpu(args) => offcpu::run(&args).map(done),
        Command::Irqs(args) => irqs::run(&args).map(done),
        Command::Tcp(args) => tcp::run(&args).map(done),
        Command::Lsm(args) => lsm::run(&args).map(done),
        Command::Gc(args) => gc::run(&args).map(done),
        Command::Commands(args) => commands::run(&args).map(done),
        Command::Probes(args) => probes::run(&args).map(done),
        Command::Spans(args) => spans::run(&args).map(done),
        Command::Memleak(args) => memleak::run(&args).map(done),
        Command::Flamegraph(args) => flamegraph::run(&args).map(done),
        Command::Report(args) => report::run(&args).map(done),
        Command::Histogram(args) => histogram::run(&args).map(done),
        Command::Cat(args) => cat::run(&args).map(done),
        Command::Repair(args) => repair::run(&args).map(done),
        Command::Redact(args) => redact::run(&args).map(done),
        Command::Symbolize(args) => symbolize::run(&args).map(done),
        Command::Bundle(args) => bundle::run(&args).map(done),
    }
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

/// The table of this name, for a command line.
///
/// # Errors
/// Lists the tables there are.
pub fn table(name: &str) -> Result<TableId, String> {
    TableId::from_name(name).ok_or_else(|| {
        let names: Vec<&str> = TableId::ALL.iter().map(|table| table.name()).collect();
        format!("there is no such table; the tables are {}", names.join(", "))
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
            "table `{}` has no column `{name}`; its columns are {}",
            table.name(),
            names.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::made::{Made, analyze, analyze_at};

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
        let cli = Cli::command();
        let nested = cli.get_subcommands().flat_map(clap::Command::get_subcommands);
        for command in cli.get_subcommands().chain(nested) {
            assert!(command.get_about().is_some() && command.get_after_help().is_some());
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
        for args in [
            &["processes", "--format", "csv"][..],
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
        ] {
            let text = analyze(&made, args).expect("nothing is wrong");
            assert_eq!(text.lines().count(), 1, "{text}");
        }
        assert!(analyze(&made, &["cat", "nonsense"]).is_err());
    }
}
