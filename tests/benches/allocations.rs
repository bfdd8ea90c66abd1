//! What a program pays for each of its allocations while they are recorded: under `record`, under
//! heaptrack, which is preloaded, and under a bpftrace program that only counts. `cargo bench --bench
//! allocations`; needs root, cc, and Debian's packages heaptrack, zstd and bpftrace for the peers.
//!
//! The program is `churn.c`, linked to copies of the C library and the loader that nobody else has
//! mapped: a probe is in a file, and so could concern every process that has it. It is started anew
//! for each measurement, waits until the tracer is ready, and tells its own CPU time. All are measured
//! in turn, several times.

#![expect(unsafe_code, reason = "it measures and drives by system calls")]

mod disk;
mod tracer;
mod usage;

use std::fs::File;
use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use disk::Stored;
use libbpf_rs::libbpf_sys;
use libbpf_rs::query::ProgInfoIter;
use lookback_schemas::TableId;
use lookback_schemas::recording::Recording;
use tracer::Tracer;
use usage::{Threads, bytes_of, wait};

const HELP: &str = "\
usage: cargo bench --bench allocations [-- OPTION...]
  --pairs N     pairs of malloc and free in each measurement [200000]
  --repeat N    how often each is measured; the least and the median are shown [5]
  --no-peers    only the recorder
  --programs    what each BPF program of the recorder takes, by the kernel's count; that itself takes
                time, so nothing else is shown";

/// `record` probes the C library as soon as the program has mapped it. This is more than that takes.
const SETTLED: Duration = Duration::from_millis(1000);
/// By then it has written its rows: it hands them on every 750 ms.
const QUIET: Duration = Duration::from_millis(1500);

/// What the program does, and how to say so.
const MODES: [(&str, &str); 2] = [
    ("mixed", "16 to 512 bytes from 8 places, 512 blocks alive"),
    ("small", "64 bytes, freed at once"),
];

/// Who traces.
#[derive(Clone, Copy)]
enum Who {
    Nobody,
    /// The recorder, with these options.
    Record(&'static [&'static str]),
    Heaptrack,
    Bpftrace,
}

const WAYS: [(&str, Who); 7] = [
    ("untraced", Who::Nobody),
    ("record", Who::Record(&[])),
    ("record, frame pointers", Who::Record(&["--unwind", "fp"])),
    ("record, no stacks", Who::Record(&["--alloc-stacks", "off"])),
    ("record, sampled 32 KiB", Who::Record(&["--alloc-sample", "32KiB"])),
    ("heaptrack", Who::Heaptrack),
    ("bpftrace, counting", Who::Bpftrace),
];

/// Calls at which bpftrace counts: both functions, entered and left.
const COUNTED: [&str; 4] = ["uprobe:malloc", "uretprobe:malloc", "uprobe:free", "uretprobe:free"];

struct Options {
    pairs: u64,
    repeat: usize,
    peers: bool,
    programs: bool,
}

impl Options {
    fn parse() -> Result<Options> {
        let mut options = Options { pairs: 200_000, repeat: 5, peers: true, programs: false };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut number = || -> Result<u64> {
                let number: Option<u64> = words.next().and_then(|number| number.parse().ok());
                Ok(number.with_context(|| format!("{word} needs a number"))?.max(1))
            };
            match word.as_str() {
                "--pairs" => options.pairs = number()?,
                "--repeat" => options.repeat = number()? as usize,
                "--no-peers" => options.peers = false,
                "--programs" => options.programs = true,
                "--bench" => {} // cargo's own
                _ => bail!("{HELP}"),
            }
        }
        Ok(options)
    }
}

/// What was measured in one run.
#[derive(Debug)]
struct Run {
    /// CPU time of the traced program for a pair, in nanoseconds.
    pair_ns: f64,
    /// CPU time of what the tracer runs beside it, in nanoseconds per call: the recorder until all is
    /// written; heaptrack's interpreter, and zstd.
    own_ns: f64,
    kept: Kept,
}

/// What the tracer has to show.
#[derive(Debug)]
enum Kept {
    Nothing,
    Recording {
        /// The table of allocations,
        table: Stored,
        /// and what the program lost of it.
        lost: u64,
        /// Bytes of the whole recording.
        bytes: u64,
        /// CPU time of the recorder from when all was written until it had ended.
        end: Duration,
        calls: u64,
        programs: Vec<Program>,
    },
    /// Heaptrack's bytes per call of the program.
    Files {
        /// As the program writes them,
        raw: f64,
        /// as they are interpreted,
        interpreted: f64,
        /// and as those are kept.
        compressed: f64,
    },
}

fn main() -> Result<()> {
    let options = Options::parse()?;
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let bench = Bench::new(scratch.path(), options.pairs)?;
    println!("{} pairs, each measured {} times", options.pairs, options.repeat);
    for (mode, title) in MODES {
        if options.programs {
            programs(&bench, mode, title, options.repeat)?;
        } else {
            compare(&bench, mode, title, &options)?;
        }
    }
    Ok(())
}

/// Measures one kind of work under everybody, in turn.
fn compare(bench: &Bench, mode: &str, title: &str, options: &Options) -> Result<()> {
    let mut runs: [Vec<Run>; WAYS.len()] = Default::default();
    let mut left_out = [false; WAYS.len()];
    for _ in 0..options.repeat {
        for (way, (name, who)) in WAYS.iter().enumerate() {
            let is_peer = matches!(who, Who::Heaptrack | Who::Bpftrace);
            if left_out[way] || is_peer && !options.peers {
                continue;
            }
            match bench.run(*who, mode) {
                Ok(run) => runs[way].push(run),
                Err(error) if is_peer => {
                    println!("{name} is left out: {error:#}");
                    left_out[way] = true;
                }
                Err(error) => return Err(error.context(*name)),
            }
        }
    }
    let pair_ns = |way: usize| Figures::of(runs[way].iter().map(|run| run.pair_ns));
    let alone = pair_ns(0);
    println!("\n{title}: {:.1} ns per pair untraced (median {:.1})", alone.least, alone.median);
    println!("  {:<24}{:>22}{:>12}", "ns per pair", "added (median)", "× untraced");
    let added = |way: usize| pair_ns(way).least - alone.least;
    for (way, (name, who)) in WAYS.iter().enumerate().skip(1) {
        let Some(last) = runs[way].last() else { continue };
        let figures = pair_ns(way);
        let shown = format!("+{:.0} ({:.0})", added(way), figures.median - alone.median);
        print!("  {name:<24}{shown:>22}{:>12.1}", figures.least / alone.least);
        if !matches!(who, Who::Record(_)) {
            let of = |record: usize| added(way) / added(record);
            print!("   {:.2} of what record adds, {:.2} without stacks", of(1), of(2));
        }
        println!();
        let own = Figures::of(runs[way].iter().map(|run| run.own_ns));
        match &last.kept {
            Kept::Nothing => {}
            Kept::Recording { table, lost, bytes, end, calls, .. } => {
                println!(
                    "    {} rows of {calls} calls, {lost} lost; {:.2} bytes per row; the rest of the \
                     recording {:.0} kB",
                    table.rows,
                    table.per_row(),
                    (bytes - table.bytes) as f64 / 1e3,
                );
                println!(
                    "    CPU of the recorder: {:.0} ns per call (median {:.0}), and {:.0} ms to end",
                    own.least,
                    own.median,
                    end.as_secs_f64() * 1e3,
                );
            }
            Kept::Files { raw, interpreted, compressed } => {
                println!(
                    "    bytes per call: {raw:.2} raw, {interpreted:.2} interpreted, \
                     {compressed:.2} with zstd"
                );
                println!(
                    "    CPU of the interpreter and zstd: {:.0} ns per call (median {:.0})",
                    own.least, own.median,
                );
            }
        }
    }
    Ok(())
}

/// The least of some figures, since all that disturbs makes them larger, and the median.
struct Figures {
    least: f64,
    median: f64,
}

impl Figures {
    fn of(figures: impl Iterator<Item = f64>) -> Figures {
        let mut figures: Vec<f64> = figures.collect();
        figures.sort_by(f64::total_cmp);
        let at = |index: usize| figures.get(index).copied().unwrap_or(f64::NAN);
        Figures { least: at(0), median: at(figures.len() / 2) }
    }
}

/// What each BPF program of the recorder takes. The least of some runs.
fn programs(bench: &Bench, mode: &str, title: &str, repeat: usize) -> Result<()> {
    let _counting = count_run_time()?;
    println!("\n{title}");
    for (name, who) in WAYS {
        let Who::Record(_) = who else { continue };
        let mut least: Option<(f64, Vec<Program>)> = None;
        for _ in 0..repeat {
            let Run { pair_ns, kept: Kept::Recording { programs, .. }, .. } =
                bench.run(who, mode)?
            else {
                bail!("there is no recording");
            };
            if least.as_ref().is_none_or(|least| pair_ns < least.0) {
                least = Some((pair_ns, programs));
            }
        }
        let (pair_ns, programs) = least.context("it was measured")?;
        println!("  {name}: {pair_ns:.0} ns per pair while this is counted");
        // The others run when a process or thread starts or ends.
        for program in programs.iter().filter(|program| program.runs > bench.pairs / 100) {
            println!(
                "    {:<20}{:>8.0} ns a run{:>8.2} runs per pair{:>8.0} ns per pair",
                program.name,
                program.time.as_nanos() as f64 / program.runs as f64,
                program.runs as f64 / bench.pairs as f64,
                program.time.as_nanos() as f64 / bench.pairs as f64,
            );
        }
    }
    Ok(())
}

/// What a BPF program took while it was measured.
#[derive(Clone, Debug)]
struct Program {
    id: u32,
    name: String,
    runs: u64,
    time: Duration,
}

/// The kernel counts until the descriptor is closed.
fn count_run_time() -> Result<OwnedFd> {
    // SAFETY: no memory is involved.
    let fd = unsafe { libbpf_sys::bpf_enable_stats(libbpf_sys::BPF_STATS_RUN_TIME) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error()).context("the kernel does not count run time");
    }
    // SAFETY: it is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The BPF programs of process `pid`, and what they took so far.
fn programs_of(pid: u32) -> Result<Vec<Program>> {
    let mut ids: Vec<u32> = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        // A file that was closed in the meantime is no program.
        let info = std::fs::read_to_string(entry?.path()).unwrap_or_default();
        let id = info.lines().find_map(|line| line.strip_prefix("prog_id:"));
        ids.extend(id.map(|id| id.trim().parse::<u32>()).transpose()?);
    }
    let known = ProgInfoIter::default().filter(|program| ids.contains(&program.id));
    let program = |info: libbpf_rs::query::ProgramInfo| Program {
        id: info.id,
        name: info.name.to_string_lossy().into_owned(),
        runs: info.run_cnt,
        time: Duration::from_nanos(info.run_time_ns),
    };
    Ok(known.map(program).collect())
}

/// The program that is traced, compiled, and where tracers may write.
struct Bench {
    churn: PathBuf,
    libc: PathBuf,
    scratch: PathBuf,
    pairs: u64,
}

impl Bench {
    fn new(scratch: &Path, pairs: u64) -> Result<Bench> {
        let churn = scratch.join("churn");
        compile(&churn, &[])?;
        let (mut libc, mut flags) = (None, vec![format!("-Wl,-rpath,{}", scratch.display())]);
        for library in libraries_of(&churn)? {
            let name = library.file_name().and_then(|name| name.to_str()).context("odd name")?;
            let copy = scratch.join(name);
            std::fs::copy(&library, &copy)?;
            if name.starts_with("ld") {
                flags.push(format!("-Wl,--dynamic-linker={}", copy.display()));
            } else if name.starts_with("libc.") {
                libc = Some(copy);
            }
        }
        compile(&churn, &flags)?;
        let libc = libc.context("cc does not link to a shared C library")?;
        if !libraries_of(&churn)?.contains(&libc) {
            bail!("the program does not use its own copy of the C library");
        }
        Ok(Bench { churn, libc, scratch: scratch.to_owned(), pairs })
    }

    fn run(&self, who: Who, mode: &str) -> Result<Run> {
        match who {
            Who::Nobody => {
                let mut churn = Churn::start(&mut self.churn(mode))?;
                let done = churn.go()?;
                churn.end()?;
                Ok(self.result(done, Duration::ZERO, Kept::Nothing))
            }
            Who::Record(options) => self.record(options, mode),
            Who::Heaptrack => self.heaptrack(mode),
            Who::Bpftrace => self.bpftrace(mode),
        }
    }

    fn churn(&self, mode: &str) -> Command {
        let mut command = Command::new(&self.churn);
        command.args([mode, &self.pairs.to_string()]);
        command
    }

    fn result(&self, done: Done, own: Duration, kept: Kept) -> Run {
        Run {
            pair_ns: done.cpu.as_nanos() as f64 / self.pairs as f64,
            own_ns: own.as_nanos() as f64 / done.calls as f64,
            kept,
        }
    }

    fn record(&self, options: &[&str], mode: &str) -> Result<Run> {
        let directory = self.scratch.join("allocations.lookback");
        let churn = self.churn(mode);
        let mut command = Command::new(env!("CARGO_BIN_EXE_record"));
        command.args(["--quiet", "--trace", "alloc"]).args(options).arg("--output");
        command.arg(&directory).arg("--").arg(churn.get_program()).args(churn.get_args());
        let mut churn = Churn::start(&mut command)?;
        std::thread::sleep(SETTLED);
        let pid = churn.child.id();
        let (programs, before) = (programs_of(pid)?, Threads::of(pid)?.all());
        let done = churn.go()?;
        let programs = since(&programs, programs_of(pid)?);
        std::thread::sleep(QUIET);
        let after = Threads::of(pid)?.all();
        let cpu = churn.end()?;
        let table = disk::table(&directory, TableId::Alloc)?;
        let recording = Recording::open(&directory)?;
        let total = recording.manifest().totals.get(TableId::Alloc.name()).copied();
        let lost = total.context("the manifest has no allocations")?.lost;
        if options.contains(&"--alloc-sample") {
            if table.rows == 0 || table.rows >= done.calls {
                bail!("{} rows are no sample of {} calls", table.rows, done.calls);
            }
        } else if table.rows + lost != done.calls {
            bail!("{} rows and {lost} lost, of {} calls", table.rows, done.calls);
        }
        let kept = Kept::Recording {
            table,
            lost,
            bytes: bytes_of(&directory)?,
            end: cpu.saturating_sub(after),
            calls: done.calls,
            programs,
        };
        std::fs::remove_dir_all(&directory)?;
        Ok(self.result(done, after - before, kept))
    }

    /// As the script of that name does it, but into a file, so that it can be seen as it is.
    fn heaptrack(&self, mode: &str) -> Result<Run> {
        let script = which("heaptrack")?.canonicalize()?;
        let library = script.with_file_name("../lib/heaptrack/libheaptrack_preload.so");
        let interpreter = script.with_file_name("../lib/heaptrack/libexec/heaptrack_interpret");
        let raw = self.scratch.join("heaptrack.raw");
        let mut command = self.churn(mode);
        command.env("LD_PRELOAD", &library).env("DUMP_HEAPTRACK_OUTPUT", &raw);
        let mut churn = Churn::start(&mut command)?;
        let done = churn.go()?;
        churn.end()?;
        let (interpreted, compressed) = (raw.with_extension("txt"), raw.with_extension("zst"));
        let mut cpu = Duration::ZERO;
        for (command, from, to) in
            [(interpreter, &raw, &interpreted), (which("zstd")?, &interpreted, &compressed)]
        {
            let mut command = Command::new(command);
            command.stdin(File::open(from)?).stdout(File::create(to)?).stderr(Stdio::null());
            let (status, used) = wait(&command.spawn()?)?;
            if !status.success() {
                bail!("{} ended with {status}", command.get_program().display());
            }
            cpu += used;
        }
        let per_call = |file: &PathBuf| -> Result<f64> {
            Ok(std::fs::metadata(file)?.len() as f64 / done.calls as f64)
        };
        let kept = Kept::Files {
            raw: per_call(&raw)?,
            interpreted: per_call(&interpreted)?,
            compressed: per_call(&compressed)?,
        };
        for file in [&raw, &interpreted, &compressed] {
            std::fs::remove_file(file)?;
        }
        Ok(self.result(done, cpu, kept))
    }

    /// At the C library that no other process has: as old as Debian's, it does not heed `-p`.
    fn bpftrace(&self, mode: &str) -> Result<Run> {
        let program = which("bpftrace")?;
        let output = self.scratch.join("bpftrace.txt");
        let mut churn = Churn::start(&mut self.churn(mode))?;
        let probe = |(number, probe): (usize, &&str)| {
            let (kind, function) = probe.split_once(':').unwrap_or_default();
            format!("{kind}:{}:{function} {{ @n{number} = count(); }} ", self.libc.display())
        };
        let script: String = COUNTED.iter().enumerate().map(probe).collect();
        let mut command = Command::new(program);
        command
            .args(["-p", &churn.child.id().to_string(), "-o"])
            .arg(&output)
            .args(["-e", &script]);
        let tracer = Tracer::start(&mut command)?;
        let done = churn.go();
        tracer.stop()?;
        let done = done?;
        churn.end()?;
        let counts = std::fs::read_to_string(&output)?;
        let counted = |number: usize| -> Option<u64> {
            let count =
                counts.lines().find_map(|line| line.strip_prefix(&format!("@n{number}: ")))?;
            count.trim().parse().ok()
        };
        if let Some(wrong) =
            (0..COUNTED.len()).find(|number| counted(*number) != Some(done.calls / 2))
        {
            bail!(
                "{} was counted {:?} times in {} pairs",
                COUNTED[wrong],
                counted(wrong),
                done.calls / 2
            );
        }
        Ok(self.result(done, Duration::ZERO, Kept::Nothing))
    }
}

/// What the programs that run now took since `before`; those that took most come first.
fn since(before: &[Program], now: Vec<Program>) -> Vec<Program> {
    let mut programs: Vec<Program> = now
        .into_iter()
        .map(|program| match before.iter().find(|before| before.id == program.id) {
            Some(before) => Program {
                runs: program.runs - before.runs,
                time: program.time - before.time,
                ..program
            },
            None => program,
        })
        .collect();
    programs.sort_by_key(|program| std::cmp::Reverse(program.time));
    programs
}

/// Frame pointers are how the kernel walks stacks.
fn compile(program: &Path, flags: &[String]) -> Result<()> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/benches/churn.c");
    let mut command = Command::new("cc");
    command.args(["-O2", "-g", "-Wall", "-Wextra", "-Werror", "-std=gnu17"]);
    command.args(["-fno-omit-frame-pointer", "-fno-optimize-sibling-calls", "-o"]);
    let status = command.arg(program).arg(source).args(flags).status().context("cannot run cc")?;
    if !status.success() {
        bail!("cc ended with {status}");
    }
    Ok(())
}

/// The shared libraries and the loader that a program uses.
fn libraries_of(program: &Path) -> Result<Vec<PathBuf>> {
    let listed = Command::new("ldd").arg(program).output().context("cannot run ldd")?;
    let listed = String::from_utf8(listed.stdout)?;
    let path =
        |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(Into::into);
    Ok(listed.lines().filter_map(path).collect())
}

/// Where a command is.
fn which(command: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").context("there is no PATH")?;
    let found = std::env::split_paths(&path).map(|folder| folder.join(command));
    found
        .into_iter()
        .find(|file| file.is_file())
        .with_context(|| format!("{command} is not installed"))
}

/// The program that is traced, or the tracer that runs it.
struct Churn {
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

/// What it did.
struct Done {
    calls: u64,
    cpu: Duration,
}

impl Churn {
    /// Starts it, and waits until it waits.
    fn start(command: &mut Command) -> Result<Churn> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", command.get_program().display()))?;
        let input = child.stdin.take().context("it is piped")?;
        let lines = BufReader::new(child.stdout.take().context("it is piped")?).lines();
        let mut churn = Churn { child, input, lines };
        churn.said("ready")?;
        Ok(churn)
    }

    /// Lets it allocate.
    fn go(&mut self) -> Result<Done> {
        self.input.write_all(b"\n")?;
        let line = self.said("churned ")?;
        let number = |key: &str| -> Option<u64> {
            line.split(' ').find_map(|word| word.strip_prefix(key))?.parse().ok()
        };
        let (Some(calls), Some(ns)) = (number("calls="), number("ns=")) else {
            bail!("it said `{line}`");
        };
        Ok(Done { calls, cpu: Duration::from_nanos(ns) })
    }

    /// Lets it end. The CPU time of the tracer that runs it, without its own.
    fn end(mut self) -> Result<Duration> {
        drop(self.input);
        let said = next_of(&mut self.lines, "ended ns=")?;
        let own = said.strip_prefix("ended ns=").unwrap_or_default().parse()?;
        let (status, cpu) = wait(&self.child)?;
        if !status.success() {
            bail!("it ended with {status}");
        }
        Ok(cpu.saturating_sub(Duration::from_nanos(own)))
    }

    fn said(&mut self, word: &str) -> Result<String> {
        next_of(&mut self.lines, word)
    }
}

/// The next line that begins with `word`.
fn next_of(lines: &mut Lines<BufReader<ChildStdout>>, word: &str) -> Result<String> {
    for line in lines {
        let line = line?;
        if line.starts_with(word) {
            return Ok(line);
        }
    }
    bail!("it ended without a word");
}
