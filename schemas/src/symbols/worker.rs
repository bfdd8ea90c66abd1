//! A process for each file, which may break.
//!
//! The files that name frames are anybody's: of programs that were recorded, or from another machine. A
//! parser of debug information meets loops, recursion without end, and sections that say they are
//! terabytes large, and against those there is no defence within a process: a full stack and a failed
//! allocation end it. So each file is read by a process of its own, the same program started again, that
//! has so much memory and so much time. It reads a [`Question`] from its standard input and writes a
//! line for each place that it has names for; what it wrote before it ended counts.

#![expect(
    unsafe_code,
    reason = "limits of a process are set by system calls that no crate here wraps"
)]

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::dwarf;

/// The argument that makes a program name the frames of one file. It is no option for users.
const ARGUMENT: &str = "--name-frames-of-one-file";
/// Memory that the process may have, beside the files that it maps: bytes.
const MEMORY: u64 = 3 << 30;
/// No file has more to say than this, in bytes.
const LONGEST_ANSWER: u64 = 256 << 20;

/// What is asked about a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Question {
    /// The file that the code is in.
    pub path: PathBuf,
    /// The file with what was stripped from it.
    pub debug: Option<PathBuf>,
    /// The places: bytes from the start of the file at `path`.
    pub offsets: Vec<u64>,
    /// Whether to leave debug information alone, and take names from symbol tables.
    pub plain: bool,
    /// Time that it may take: seconds.
    pub seconds: u32,
}

/// What a place is called: a function, or a call that was inlined into it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Its name, demangled.
    pub name: String,
    /// How far the place lies from the function's start; unknown for inlined calls.
    pub offset: Option<i64>,
    /// The source file.
    pub file: Option<String>,
    /// The line in it, from 1.
    pub line: Option<i32>,
}

/// If this process was started to name frames, does so. Programs that ask call this first of all.
#[must_use]
pub fn run_if_asked() -> Option<ExitCode> {
    let mut arguments = std::env::args_os();
    if arguments.len() != 2 || arguments.nth(1)? != ARGUMENT {
        return None;
    }
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    match answer() {
        Ok(()) => Some(ExitCode::SUCCESS),
        Err(why) => {
            eprintln!("{why}");
            Some(ExitCode::FAILURE)
        }
    }
}

fn answer() -> Result<(), String> {
    let question: Question =
        serde_json::from_reader(io::stdin().lock()).map_err(|error| error.to_string())?;
    restrain(Duration::from_secs(question.seconds.into())).map_err(|error| error.to_string())?;
    let mut output = io::stdout().lock();
    let mut broken = Ok(());
    let result = dwarf::name(&question, |place, calls| {
        let line = serde_json::to_string(&(place, calls)).expect("it has only texts and numbers");
        if broken.is_ok() {
            broken = writeln!(output, "{line}");
        }
    });
    broken.map_err(|error| error.to_string())?;
    result
}

/// Limits what this process can take.
#[cfg(unix)]
fn restrain(time: Duration) -> io::Result<()> {
    let limit = |resource, value: u64| {
        let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
        // SAFETY: `limit` is valid for reading.
        match unsafe { libc::setrlimit(resource, &raw const limit) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    limit(libc::RLIMIT_DATA, MEMORY)?;
    limit(libc::RLIMIT_CORE, 0)?;
    limit(libc::RLIMIT_CPU, time.as_secs())?;
    // SAFETY: these take no pointers. A process that waits for a file ends too.
    unsafe {
        libc::alarm(u32::try_from(time.as_secs()).unwrap_or(u32::MAX));
        #[cfg(target_os = "linux")]
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
    }
    Ok(())
}

#[cfg(not(unix))]
fn restrain(_time: Duration) -> io::Result<()> {
    Ok(())
}

/// Asks a process of its own; gives each answer to `found`, as [`dwarf::name`] does.
///
/// # Errors
/// Says why there are no more answers, if not because all places were looked at.
pub fn ask(question: &Question, found: impl FnMut(usize, Vec<Named>)) -> Result<(), String> {
    let start = || -> io::Result<Child> {
        // Also if an update has replaced the file.
        let own = Path::new("/proc/self/exe");
        let own = if own.exists() { own.to_owned() } else { std::env::current_exe()? };
        let mut command = Command::new(own);
        command.arg(ARGUMENT).env_remove("RUST_BACKTRACE");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
    };
    let mut child = start().map_err(|error| format!("cannot start a process: {error}"))?;
    let read = put(question, &mut child).and_then(|()| take(&mut child, found));
    if read.is_err() {
        // It may have ended already.
        let _ = child.kill();
    }
    let mut said = String::new();
    if let Some(stderr) = child.stderr.take() {
        // What it says is only for people.
        let _ = stderr.take(1024).read_to_string(&mut said);
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    read?;
    match status.success() {
        true => Ok(()),
        false if status.code().is_some() && !said.trim().is_empty() => Err(said.trim().to_owned()),
        false => Err(format!("reading it failed: {status}")),
    }
}

fn put(question: &Question, child: &mut Child) -> Result<(), String> {
    let mut input = child.stdin.take().expect("it has a pipe");
    let text = serde_json::to_vec(question).map_err(|error| error.to_string())?;
    input.write_all(&text).map_err(|error| error.to_string())
}

fn take(child: &mut Child, mut found: impl FnMut(usize, Vec<Named>)) -> Result<(), String> {
    let output = child.stdout.take().expect("it has a pipe").take(LONGEST_ANSWER);
    for line in BufReader::new(output).lines() {
        let line = line.map_err(|error| error.to_string())?;
        let (place, calls) = serde_json::from_str(&line).map_err(|error| error.to_string())?;
        found(place, calls);
    }
    Ok(())
}
