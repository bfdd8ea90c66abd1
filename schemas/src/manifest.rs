//! The manifest: what a recording is, in one JSON file.
//!
//! `manifest.json` is written when the recording begins, again every few seconds, and for the last
//! time when it ends; each time as a new file that is renamed over the old one, so that it is whole
//! at every moment. A recording whose `ended` is null was killed, or is still running.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Error, FORMAT_VERSION, private, regular};

/// The manifest's file name.
pub const FILE: &str = "manifest.json";
/// No recorder writes a longer one, in bytes.
const MOST_BYTES: u64 = 64 << 20;

/// What a recording is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Manifest {
    /// The format's version; see [`FORMAT_VERSION`].
    pub format: u32,
    /// Version of the recorder.
    pub recorder: String,
    /// The recorded machine.
    pub host: Host,
    /// The recorder's own command line.
    pub command_line: Vec<String>,
    /// When recording began: Unix time in nanoseconds.
    pub started: i64,
    /// What turns the monotonic clock into the recording's time: nanoseconds to add.
    pub epoch: i64,
    /// How and when it ended; null while it runs, and for ever if it was killed.
    pub ended: Option<End>,
    /// The tracers that were asked for.
    pub tracers: Vec<Tracer>,
    /// What was recorded.
    pub filters: Filters,
    /// Per table: how many events there were.
    pub totals: BTreeMap<String, Total>,
    /// By what stacks of programs were walked, if any were; null in recordings of older versions.
    #[serde(default)]
    pub unwinding: Option<Unwinding>,
    /// What became of the names of frames.
    pub symbols: Symbols,
    /// What is left of a recording of which only the newest is kept; null where all is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Kept>,
    /// The process that records; null once it has ended, and in snapshots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorder_pid: Option<i32>,
    /// The recordings that were made of what was kept, while it went on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub snapshots: Vec<Snapshot>,
    /// Tables of which nothing was recorded for a while, since events came faster than they could be written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stopped: Vec<Stopped>,
    /// Of what this is a snapshot, and why it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_of: Option<Snapshot>,
    /// What was replaced by tokens, in each pass that did; empty in a recording that says all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redacted: Vec<Redacted>,
}

/// A time in which the events of a table were only counted: see the table `loss`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    /// The table.
    pub table: String,
    /// Since when: Unix time in nanoseconds.
    pub from: i64,
    /// Until when; null while it lasts.
    pub until: Option<i64>,
    /// How many events a second it had, and how many were lost of all tables.
    pub why: String,
}

/// What is left of a recording of which the oldest is discarded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// From when on all events are there: Unix time in nanoseconds. What took longer may have begun before.
    pub from: i64,
    /// What is kept at least, in nanoseconds; null where only the size counts.
    pub time: Option<i64>,
    /// What is kept at most, in bytes; null where only the time counts.
    pub bytes: Option<u64>,
}

/// A recording that was made of what another one had kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// When it was asked for, or the event that was waited for happened: Unix time in nanoseconds.
    pub at: i64,
    /// `asked`, or the trigger's text.
    pub why: String,
    /// The name of the other recording's folder, which was made beside this one: of a snapshot the one that it
    /// is of, and the other way round.
    pub directory: String,
}

/// What was replaced by tokens. See [`redact`](crate::redact).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redacted {
    /// The choices of `--redact`: `argv`, `paths`, `addresses`, `lines`.
    pub what: Vec<String>,
    /// Tells keys apart: where recordings have the same, their tokens join. Null where the key was a random
    /// one, which nobody has any more.
    pub key: Option<String>,
}

/// The recorded machine.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// The kernel's id of this boot.
    pub boot_id: String,
    /// The kernel's release.
    pub kernel: String,
    /// The machine's architecture.
    pub arch: String,
    /// CPUs that were online.
    pub cpus: usize,
}

/// How a recording ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct End {
    /// When: Unix time in nanoseconds.
    pub at: i64,
    /// Why: `duration`, `interrupt`, `terminate`, `command` or `error`.
    pub why: String,
    /// The error, if it was one.
    pub error: Option<String>,
}

/// A tracer that was asked for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Tracer {
    /// Its name.
    pub name: String,
    /// The tables it writes.
    pub tables: Vec<String>,
    /// The hooks it is attached to, by what they are for; empty if it could not attach.
    pub hooks: Vec<Hook>,
    /// Why it could not attach.
    pub failed: Option<String>,
    /// Its probes in programs and libraries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<Probe>,
    /// What this kernel cannot tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<Unknown>,
}

/// A column that the recorded kernel could not fill: null in every row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unknown {
    /// `table.column`, and of which rows if not of all.
    pub column: String,
    /// What the kernel lacks, and what helps.
    pub because: String,
}

/// A probe in a program or a library.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// The file, as the process saw it.
    pub file: String,
    /// The function that it is in.
    pub function: String,
    /// The place in the file: bytes from its start.
    pub offset: u64,
    /// How far that is behind the function's first instruction.
    pub into_function: u64,
    /// How the kernel runs the instruction there: `emulated`, which is cheap, or `single-stepped`. In the
    /// kernel itself: the kind of hook. Or `left out`: there is no probe, and what happens there is not in
    /// the recording.
    pub kind: String,
    /// What hitting it costs, entry and return together, as measured on this machine when it was
    /// attached: nanoseconds, without what the tracer does then. Null if it was not measured.
    pub cost: Option<i64>,
    /// When it was attached, if that was only after the file was mapped: Unix time in nanoseconds.
    /// What happened there before is not in the recording, and not counted as lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late: Option<i64>,
    /// Its name, if it is a probe of the user's: the column `name` of the table `probe`, or of `span`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What the user asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<String>,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<Argument>,
    /// Why there is no such probe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// An argument of a probe of the user's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Argument {
    /// The column of the table `probe` that has it.
    pub column: String,
    /// What the user calls it: `arg0`, `retval`, or a tracepoint's field.
    pub name: String,
    /// Its type: `i8` to `i64`, `u8` to `u64`, `ptr` for an address, `str` or `kstr` for a text.
    pub kind: String,
}

/// One attached hook.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hook {
    /// What it gives.
    pub purpose: String,
    /// What it is: the kind and the kernel's name.
    pub hook: String,
}

/// What was recorded and what was left out.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Filters {
    /// Only these processes.
    pub pids: Vec<i32>,
    /// The command that was started, and recorded.
    pub command: Option<Vec<String>>,
    /// Whether the descendants of `pids` and `command` are recorded too.
    pub follow: bool,
    /// Only this cgroup and those below it.
    pub cgroup: Option<String>,
    /// Only this real user id.
    pub uid: Option<u32>,
    /// Only tasks of this name.
    pub comm: Option<String>,
    /// Exits of processes that lived shorter are left out: nanoseconds.
    pub min_duration: i64,
    /// Whether exits of single threads are recorded.
    pub thread_exits: bool,
    /// Samples per second and CPU.
    pub frequency: u32,
    /// Only this thread.
    #[serde(default)]
    pub tid: Option<i32>,
    /// Only these system calls, by name; all if empty.
    #[serde(default)]
    pub syscalls: Vec<String>,
    /// Waits, calls, interrupts and connects that took less are left out: nanoseconds.
    #[serde(default)]
    pub min_latency: i64,
    /// Only sockets of this local port.
    #[serde(default)]
    pub lport: Option<u16>,
    /// Only sockets of this remote port.
    #[serde(default)]
    pub rport: Option<u16>,
    /// Only sockets of this version of IP: 4 or 6.
    #[serde(default)]
    pub ip_version: Option<u8>,
    /// Of how many segments one round trip is recorded; 0 and 1 are all.
    #[serde(default)]
    pub rtt_sample: u32,
    /// Destinations that were refused.
    #[serde(default)]
    pub denied: Vec<String>,
    /// Of user allocations a share was recorded, about one for so many bytes; 0 if all.
    #[serde(default)]
    pub alloc_sample: i64,
    /// Whether user allocations have no stacks.
    #[serde(default)]
    pub no_alloc_stacks: bool,
    /// Whether allocations of children are recorded too.
    #[serde(default)]
    pub alloc_follow: bool,
    /// Allocations of fewer bytes are left out.
    #[serde(default)]
    pub min_size: i64,
    /// Allocations of more bytes are left out; 0 for none.
    #[serde(default)]
    pub max_size: i64,
}

/// What happened to a table's events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Total {
    /// Events that the tracer saw; null for tables that user space fills.
    pub seen: Option<u64>,
    /// Rows in the recording.
    pub rows: u64,
    /// Events that are missing; see the table `loss`.
    pub lost: u64,
    /// Events that were recorded, or lost, before the oldest that is kept: they are in neither of the two.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub discarded: u64,
}

// serde passes what it serializes by reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// By what stacks of programs were walked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Unwinding {
    /// What was asked for: `auto`, `fp` or `dwarf`.
    pub asked: String,
    /// Of how many binaries there were tables.
    pub binaries: u64,
    /// How many rows these had.
    pub rows: u64,
    /// How many bytes of the kernel's memory the pages in use took.
    pub bytes: u64,
    /// Binaries and processes without tables, and why.
    pub without: BTreeMap<String, String>,
}

/// What became of the names of frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Symbols {
    /// Not resolved yet: the recording still runs, or was killed.
    #[default]
    Pending,
    /// Resolved, as far as the binaries could be found.
    Resolved,
    /// Left out because the user did not want to wait.
    Skipped,
}

impl Manifest {
    /// Reads the manifest of the recording in `directory`.
    ///
    /// # Errors
    /// If there is none, it is not one, or it is of a newer format.
    pub fn read(directory: &Path) -> Result<Manifest, Error> {
        /// Read first: of a newer format nothing else may be as expected.
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }

        let path = directory.join(FILE);
        if !directory.is_dir() {
            let why = if directory.exists() { "it is no directory" } else { "it does not exist" };
            return Err(Error::NotARecording { path: directory.to_owned(), why: why.to_owned() });
        }
        let text = regular::read(&path, MOST_BYTES).map_err(|cause| match cause.kind() {
            std::io::ErrorKind::NotFound => Error::NotARecording {
                path: directory.to_owned(),
                why: format!("it has no {FILE}"),
            },
            _ => Error::Io { path: path.clone(), cause },
        })?;
        let Version { format } = serde_json::from_slice(&text).map_err(Error::damaged(&path))?;
        if format > FORMAT_VERSION {
            return Err(Error::TooNew { path, found: format });
        }
        serde_json::from_slice(&text).map_err(Error::damaged(&path))
    }

    /// Writes the manifest into `directory`, in place of the one that is there. `durable` waits
    /// until the disk has it.
    ///
    /// # Errors
    /// If it cannot be written; the old one is then still there.
    pub fn write(&self, directory: &Path, durable: bool) -> Result<(), Error> {
        let text = serde_json::to_vec_pretty(self).expect("a manifest has only string keys");
        replace(&directory.join(FILE), &text, durable)
    }
}

/// Notes in the manifest of a recording that is over that its frames have been named, and how many rows
/// the table of names has now. All else stays as it is, also what this version does not know.
///
/// # Errors
/// If it cannot be read or written; it is then unchanged.
pub fn note_symbols(directory: &Path, rows: u64) -> Result<(), Error> {
    let path = directory.join(FILE);
    let text = regular::read(&path, MOST_BYTES).map_err(Error::io(&path))?;
    let mut manifest: serde_json::Value =
        serde_json::from_slice(&text).map_err(Error::damaged(&path))?;
    let known = serde_json::to_value(Symbols::Resolved).expect("it is a text");
    let total = Total { rows, ..Total::default() };
    let total = serde_json::to_value(total).expect("its keys are texts");
    let object = manifest.as_object_mut();
    let object = object.ok_or_else(|| Error::damaged(&path)("it is no object"))?;
    object.insert("symbols".to_owned(), known);
    let totals = object.entry("totals").or_insert_with(|| serde_json::json!({}));
    if let Some(totals) = totals.as_object_mut() {
        totals.insert(crate::TableId::Symbol.name().to_owned(), total);
    }
    let text = serde_json::to_vec_pretty(&manifest).expect("its keys are texts");
    replace(&path, &text, true)
}

/// Puts a file with `content` in the place of `path`, at once: a reader sees the old or the new one.
///
/// # Errors
/// If it cannot be written; what was there is then unchanged.
pub(crate) fn replace(path: &Path, content: &[u8], durable: bool) -> Result<(), Error> {
    let mut name = path.file_name().expect("a file to replace has a name").to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let write = || -> std::io::Result<()> {
        let mut file = private::create(&new)?;
        file.write_all(content)?;
        if durable {
            file.sync_all()?;
        }
        drop(file);
        std::fs::rename(&new, path)
    };
    let directory = path.parent().filter(|_| durable);
    let written = match (write(), directory) {
        // ext4 gives freed blocks away only when its journal is on the disk: what was cut off a moment ago may do.
        (Err(error), Some(directory)) if error.kind() == std::io::ErrorKind::StorageFull => {
            let _ = std::fs::remove_file(&new);
            sync_directory(directory)?;
            write()
        }
        (written, _) => written,
    };
    written.map_err(|cause| {
        // Best effort: the error that matters is the first one.
        let _ = std::fs::remove_file(&new);
        Error::Io { path: path.to_owned(), cause }
    })?;
    directory.map_or(Ok(()), sync_directory)
}

/// Waits until the disk has the names in a directory: without that, a file whose content it has can be
/// gone after the machine stopped.
///
/// # Errors
/// If the disk fails.
pub fn sync_directory(directory: &Path) -> Result<(), Error> {
    std::fs::File::open(directory).and_then(|open| open.sync_all()).map_err(Error::io(directory))
}
