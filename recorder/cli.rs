//! The command line of `record`.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{ArgGroup, Parser};
use lookback_schemas::What;
use lookback_schemas::unwind::Ways;

use crate::chunks::Limits;
use crate::hooks::Kind;
use crate::live;
use crate::selection::Selection;
use crate::triggers::Trigger;

/// Record what Linux does now; `analyze` looks back at it later, on any machine.
#[derive(Debug, Parser)]
#[command(name = "record", version, max_term_width = 100, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Args {
    /// Instead of recording.
    #[command(subcommand)]
    pub action: Option<Action>,

    /// Stop after this time, such as 60s, 10m or 1h30m. Without it: until Ctrl-C, or until COMMAND
    /// ends.
    #[arg(short, long, value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,

    /// Directory to write, which must not exist yet [default: ./HOST-TIME.lookback]
    #[arg(short, long, value_name = "DIR")]
    pub output: Option<PathBuf>,

    /// Tracers to attach, separated by commas: names from --list, `all`, or `-NAME` to leave one out
    #[arg(short, long, value_name = "TRACERS", value_delimiter = ',', allow_hyphen_values = true)]
    pub trace: Vec<String>,

    /// Show the tracers, or those of --trace: what works on this kernel, by which hook, and why the rest
    /// does not
    #[arg(short, long)]
    pub list: bool,

    /// Show what can be probed, in the words of --probe: usdt:PATH, uprobe:PATH:FUNC*, kprobe:tcp_*,
    /// fentry:tcp_*, tracepoint:sched:*
    #[arg(long, value_name = "PATTERN", conflicts_with = "list")]
    pub list_probes: Option<String>,

    /// Use hooks of this kind where a tracer has one, and not the best that works
    #[arg(long, value_enum, value_name = "KIND")]
    pub hook: Option<Kind>,

    /// The kernel's types, where it does not tell them itself: BTF, or an ELF file with a section .BTF
    #[arg(long, value_name = "FILE")]
    pub btf: Option<PathBuf>,

    /// Samples per second and CPU that `profile` takes
    #[arg(short = 'F', long, value_name = "HZ", default_value_t = 99,
          value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub frequency: u32,

    /// How stacks of programs are walked
    #[arg(long, value_enum, value_name = "HOW", default_value_t = Unwind::Auto)]
    pub unwind: Unwind,

    /// Leave out exits of processes that lived shorter than this
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub min_duration: Option<Duration>,

    /// Record exits of single threads too, not only of processes
    #[arg(long)]
    pub thread_exits: bool,

    /// Only this process and its descendants (repeatable)
    #[arg(short, long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pub pid: Vec<i32>,

    /// Only this thread
    #[arg(long, value_name = "TID", value_parser = clap::value_parser!(i32).range(1..))]
    pub tid: Option<i32>,

    /// With --pid or COMMAND: not their descendants
    #[arg(long)]
    pub no_follow: bool,

    /// Only processes in this cgroup (version 2) or below it: a directory of /sys/fs/cgroup
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<PathBuf>,

    /// Only processes of this real user id
    #[arg(long, value_name = "UID", value_parser = clap::value_parser!(i32).range(0..))]
    pub uid: Option<i32>,

    /// Only threads of exactly this name (the kernel keeps 15 bytes)
    #[arg(long, value_name = "NAME")]
    pub comm: Option<String>,

    /// What single tracers are to record.
    #[command(flatten)]
    pub selection: Selection,

    /// Size of each CPU's ring buffer [default: by memory and number of CPUs]
    #[arg(long, value_name = "SIZE")]
    pub buffer: Option<ByteSize>,

    /// Lose events of every tracer when there are too many, for as long as that lasts; else the loudest is stopped
    /// for a while after some seconds
    #[arg(long)]
    pub tolerate_loss: bool,

    /// What is kept of a long recording.
    #[command(flatten)]
    pub flight: FlightArgs,
    /// Bring what was recorded to the disk, and begin new files, after this time: so much is missing at most
    /// if the machine stops
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "1m")]
    pub segment_time: Duration,

    /// Keep copies of the binaries of recorded frames in the recording, up to 512 MiB each and 2 GiB in
    /// all, so that `analyze symbolize` has them on another machine
    #[arg(long)]
    pub keep_binaries: bool,

    /// Write tokens instead of what tells of people, separated by commas: argv, paths, addresses, lines. Equal
    /// values have equal tokens
    #[arg(long, value_name = "WHAT", value_delimiter = ',', value_parser = What::from_name,
          conflicts_with = "keep_binaries")]
    pub redact: Vec<What>,

    /// Make the tokens with the key in this file, 32 bytes at least, so that several recordings join; without
    /// it the key is a random one, which nobody ever has
    #[arg(long, value_name = "FILE")]
    pub redact_key: Option<PathBuf>,

    /// Also print rows as they are recorded, as the tools do that people know: of all tracers, or of these tracers
    /// and tables, separated by commas. Without names, of samples, allocations and the like only how many
    #[arg(long, value_name = "NAMES", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub live: Option<live::Wanted>,

    /// No live line and no summary
    #[arg(short, long)]
    pub quiet: bool,

    /// Say what is done; twice: also what libbpf says
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// Start this command, record it and its descendants, and end when it ends
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// What `record` does beside recording.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Action {
    /// Make a recording of what a running recorder has kept so far; prints its name
    #[command(after_help = "Example:\n  record snapshot web1-20261122T101500Z.lookback")]
    Snapshot {
        /// What is being recorded into
        #[arg(value_name = "RECORDING")]
        recording: PathBuf,
    },
    /// Write man pages, and completions for bash, zsh and fish
    #[command(hide = true, after_help = "Example:\n  record manual target/manual")]
    Manual {
        /// Where to
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
}

/// What is kept of a long recording, and when it is frozen into a snapshot.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Flight recorder", group(ArgGroup::new("keeping").multiple(true)))]
pub struct FlightArgs {
    /// Keep the newest of so much time, and discard what is older
    #[arg(long, group = "keeping", value_name = "TIME", value_parser = duration)]
    pub keep: Option<Duration>,

    /// Keep the newest of so many bytes at most, and discard what is older
    #[arg(long, group = "keeping", value_name = "SIZE", value_parser = keep_size)]
    pub keep_size: Option<ByteSize>,

    /// Make a snapshot when a row meets this, such as 'runq.wait > 50ms' or 'exit.signal == 11 and exit.comm ==
    /// "nginx"': columns of docs/tables.md (repeatable)
    #[arg(long, value_name = "CONDITION", requires = "keeping")]
    pub trigger: Vec<Trigger>,

    /// What a snapshot has at least of the time before its trigger
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = duration, requires = "trigger")]
    pub before: Duration,

    /// How long a snapshot waits after its trigger
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration, requires = "trigger")]
    pub after: Duration,

    /// Make no more snapshots than this for triggers
    #[arg(long, value_name = "N", default_value_t = 10, requires = "trigger")]
    pub trigger_count: usize,

    /// Make them no more often
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = duration, requires = "trigger")]
    pub trigger_every: Duration,
}

impl FlightArgs {
    /// What is kept.
    pub fn limits(&self) -> Limits {
        Limits { time: self.keep, bytes: self.keep_size.map(|size| size.as_u64()) }
    }
}

/// The least that can be kept: a row group of each table takes some KiB.
const LEAST_KEPT: u64 = 1 << 20;

fn keep_size(text: &str) -> Result<ByteSize, String> {
    let size: ByteSize = text.parse().map_err(|_| "expected a size such as 2GiB".to_owned())?;
    if size.as_u64() < LEAST_KEPT {
        return Err(format!("expected {} or more", ByteSize(LEAST_KEPT)));
    }
    Ok(size)
}

/// How stacks of programs are walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Unwind {
    /// By the binaries' call frame information, and by frame pointers in code that has none.
    Auto,
    /// By frame pointers only: cheaper, and whole only where all code has them.
    Fp,
    /// By call frame information only.
    Dwarf,
}

impl Unwind {
    /// What the kernel side is told.
    pub fn ways(self) -> Ways {
        match self {
            Unwind::Auto => Ways::Both,
            Unwind::Fp => Ways::FramePointers,
            Unwind::Dwarf => Ways::Tables,
        }
    }
}

const EXAMPLES: &str = "\
Examples:
  record --duration 60s                     everything on this machine, for a minute
  record --trace profile -- make -j8        where a build spends its time
  record --trace process,signal --pid 4242  what a service and its children do, until Ctrl-C
  record --keep 10m --trigger 'runq.wait > 50ms'
                                            for weeks; what led to each long wait is kept
  record --trace gc,runq --span 'answer=uprobe:./srv:answer..uretprobe:./srv:answer' --pid 4242
                                            whether garbage collection makes answers slow

Afterwards: analyze info DIR, analyze flamegraph DIR, analyze --help";

/// Reads a length of time.
///
/// # Errors
/// If it is none, or not longer than zero.
pub fn duration(text: &str) -> Result<Duration, String> {
    let signed: jiff::SignedDuration =
        text.parse().map_err(|_| "expected a time such as 500ms, 60s or 1h30m".to_owned())?;
    match Duration::try_from(signed) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        Ok(_) | Err(_) => Err("expected a time longer than zero".to_owned()),
    }
}

/// What is wrong with the command line, and the tip if clap has one, in one line.
pub fn in_one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let mut lines = text.lines().map(str::trim);
    let first = lines.next().unwrap_or_default();
    let first = first.strip_prefix("error: ").unwrap_or(first);
    let mut first = first.to_owned();
    if first.ends_with(':') {
        // What is missing is listed below.
        for line in lines.by_ref().take_while(|line| !line.is_empty()) {
            first = format!("{first} {line}");
        }
    }
    match lines.find_map(|line| line.strip_prefix("tip: ")) {
        Some(tip) => format!("{first} ({tip})"),
        None => first,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn everything_has_examples() {
        let command = Args::command();
        for command in std::iter::once(&command).chain(command.get_subcommands()) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.starts_with("Example"), "{}", command.get_name());
        }
    }
}
