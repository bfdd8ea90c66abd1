//! Making a recording and reading it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::process::Command;

use arrow::array::{ArrayAccessor, ArrayRef, AsArray as _, Int64Array};
use arrow::compute::concat_batches;
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use lookback_schemas::cell::{self, View as _};
use lookback_schemas::manifest;
use lookback_schemas::recording::{ALL_TIME, Recording};
use lookback_schemas::tables::{Cgroup, Loss};
use lookback_schemas::wire::Reason;
use lookback_schemas::{Error, Table, TableId};
use serde_json::Value;
use tempfile::TempDir;

use crate::running::{Ended, Running, kernel_version, run, wait_for};
use crate::workload::{self, Fact};

/// The program.
pub const RECORD: &str = env!("CARGO_BIN_EXE_record");

/// A program in a mount namespace of its own, in which `/sys/kernel/btf` is empty.
pub fn without_types(program: &OsStr) -> Command {
    among_mounts("mount -t tmpfs none /sys/kernel/btf", program)
}

/// A program in a mount namespace of its own, which a shell command has changed.
fn among_mounts(change: &str, program: &OsStr) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c"]);
    command.arg(format!("{change} && exec \"$0\" \"$@\"")).arg(program);
    command
}

/// A recording that is to be made, into a temporary directory of its own.
#[derive(Debug)]
pub struct Record {
    directory: TempDir,
    command: Command,
}

impl Record {
    /// With these tracers.
    pub fn trace(tracers: &str) -> Record {
        Record::trace_aloud(tracers).options(["--quiet"])
    }

    /// The same, but it is to say what is worth saying.
    pub fn trace_aloud(tracers: &str) -> Record {
        Record::trace_into(tracers, tempfile::tempdir().unwrap(), "recording")
    }

    /// The same, into this place in a directory.
    pub fn trace_into(tracers: &str, directory: TempDir, output: &str) -> Record {
        let mut command = Command::new(RECORD);
        command.args(["--trace", tracers, "--output"]);
        command.arg(directory.path().join(output));
        Record { directory, command }
    }

    /// With this in its environment.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Record {
        self.command.env(name, value);
        self
    }

    /// With this umask, of which nothing of the environment is kept that was set before.
    pub fn umask(self, umask: &str) -> Record {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("umask {umask} && exec \"$0\" \"$@\"")]);
        command.arg(self.command.get_program());
        self.by(command)
    }

    /// With these programs before it, each of which runs the next.
    pub fn under<S: AsRef<OsStr>>(self, programs: impl IntoIterator<Item = S>) -> Record {
        let mut programs = programs.into_iter();
        let mut command = Command::new(programs.next().expect("there is one"));
        command.args(programs).arg(self.command.get_program());
        self.by(command)
    }

    /// With these options.
    pub fn options<S: AsRef<OsStr>>(mut self, options: impl IntoIterator<Item = S>) -> Record {
        self.command.args(options);
        self
    }

    /// Where the kernel seems not to tell its types.
    pub fn without_types(self) -> Record {
        let command = without_types(self.command.get_program());
        self.by(command)
    }

    /// Where no cgroup hierarchy is mounted.
    pub fn without_cgroups(self) -> Record {
        let change = "{ umount --recursive --lazy /sys/fs/cgroup || true; }";
        let command = among_mounts(change, self.command.get_program());
        self.by(command)
    }

    fn by(self, mut command: Command) -> Record {
        command.args(self.command.get_args());
        Record { command, ..self }
    }

    /// Only this process, and what else is given so.
    pub fn pid(self, pid: i32) -> Record {
        self.options(["--pid".to_owned(), pid.to_string()])
    }

    /// Of a workload that the recorder starts. No options can follow.
    pub fn workload<S: AsRef<OsStr>>(
        self,
        name: &str,
        arguments: impl IntoIterator<Item = S>,
    ) -> Record {
        let program = workload::path(name);
        self.options(["--".as_ref(), program.as_os_str()]).options(arguments)
    }

    /// Starts the recorder.
    pub fn start(mut self) -> Recorder {
        let running = Running::start(&mut self.command);
        Recorder { running, directory: self.directory }
    }

    /// Records to the end, which must be a good one.
    pub fn run(self) -> Recorded {
        self.start().finish()
    }
}

/// A recorder at work.
#[derive(Debug)]
pub struct Recorder {
    pub running: Running,
    directory: TempDir,
}

impl Recorder {
    /// Where it writes.
    pub fn output(&self) -> PathBuf {
        self.directory.path().join("recording")
    }

    /// Waits until its programs are attached: from here on every event is recorded.
    pub fn attached(&mut self) {
        let manifest = self.output().join(manifest::FILE);
        wait_for("the manifest", || (manifest.exists() || self.running.has_ended()).then_some(()));
    }

    /// Waits until it has also looked at the processes that are there.
    pub fn looked_around(&mut self) {
        self.attached();
        let table = self.output().join(TableId::Process.name());
        wait_for("the processes", || (table.exists() || self.running.has_ended()).then_some(()));
    }

    /// Waits until it ends, which must be with success.
    pub fn finish(self) -> Recorded {
        let recorded = self.finish_anyhow();
        let Ended { status, stderr, .. } = &recorded.ended;
        assert!(status.success(), "{status}: {stderr}");
        assert_eq!(stderr, "", "--quiet prints nothing");
        recorded
    }

    /// Waits until it ends; `Err` if it began no recording.
    pub fn finish_if_recorded(self) -> Result<Recorded, Ended> {
        let output = self.output();
        let ended = self.running.end();
        if is_absent(&output) { Err(ended) } else { Ok(Recorded::open(self.directory, ended)) }
    }

    /// Waits until it ends, with success or not.
    pub fn finish_anyhow(self) -> Recorded {
        let ended = self.running.end();
        Recorded::open(self.directory, ended)
    }
}

/// A recording that was made.
#[derive(Debug)]
pub struct Recorded {
    pub recording: Recording,
    pub ended: Ended,
    _directory: TempDir,
}

impl Recorded {
    /// A recording that lies in a directory, with the name `recording`; what its recorder left.
    pub fn open(directory: TempDir, ended: Ended) -> Recorded {
        let path = directory.path().join("recording");
        let recording = Recording::open(&path)
            .unwrap_or_else(|error| panic!("{error}; standard error: {}", ended.stderr));
        let recorded = Recorded { recording, ended, _directory: directory };
        recorded.check_totals();
        recorded
    }

    /// What the command wrote.
    pub fn stdout(&self) -> &str {
        &self.ended.stdout
    }

    /// All rows of a table.
    pub fn table<T: Table>(&self) -> T::Columns {
        table::<T>(&self.recording)
    }

    /// A time of the recording on the clock that the workloads read.
    pub fn monotonic(&self, time: i64) -> i64 {
        time - self.recording.manifest().epoch
    }

    /// The rows of a report of `analyze`: its command, and options.
    pub fn report(&self, report: &[&str]) -> Vec<Value> {
        let (command, options) = report.split_at(1 + usize::from(report[0] == "tcp"));
        let mut analyze = Command::new(env!("CARGO_BIN_EXE_analyze"));
        analyze.args(command).arg(self.recording.directory()).args(options);
        let ended = run(analyze.args(["--format", "json"]));
        assert!(ended.status.success(), "{report:?}: {}", ended.stderr);
        serde_json::from_str(&ended.stdout).unwrap()
    }

    /// Fails unless something that began at `time` and took `duration` lies between the fact's `began`
    /// and `ended`.
    pub fn assert_within(&self, fact: &Fact, time: i64, duration: i64) {
        let began = self.monotonic(time);
        let span = fact.int("began")..=fact.int("ended");
        assert!(duration > 0, "{duration} ns: {fact:?}");
        assert!(span.contains(&began), "began at {began}: {fact:?}");
        assert!(span.contains(&(began + duration)), "began at {began}, {duration} ns: {fact:?}");
    }

    /// How many events of a table were lost.
    pub fn lost(&self, table: TableId) -> u64 {
        self.recording.manifest().totals.get(table.name()).map_or(0, |total| total.lost)
    }

    /// Fails if anything was lost. In 7.x threads are preempted within tracepoints, and for another thread that
    /// comes by meanwhile, the program is not run: that is any thread of the machine, and so it does not count
    /// here. Whoever compares rows with what was done finds those that are missing.
    pub fn assert_nothing_lost(&self) {
        let counts = |reason| reason != Reason::ProgramBusy || kernel_version() < (7, 0);
        assert_eq!(losses(&self.recording, counts), BTreeMap::new());
    }

    /// Fails if anything was lost for another reason.
    pub fn assert_lost_only(&self, expected: Reason) {
        let busy = |reason| reason == Reason::ProgramBusy && kernel_version() >= (7, 0);
        let counts = |reason| reason != expected && !busy(reason);
        assert_eq!(losses(&self.recording, counts), BTreeMap::new());
    }

    /// Fails if anything was lost that surely is of the processes that were to be recorded. Where the
    /// kernel did not run a program, nobody knows whose the event was.
    pub fn assert_nothing_of_ours_lost(&self) {
        let of_ours = losses(&self.recording, |reason| reason != Reason::ProgramBusy);
        assert_eq!(of_ours, BTreeMap::new());
    }

    /// In every recording, what the manifest says about a table is what the tables say: its rows,
    /// and what the table of losses has about it; and every event is one or the other.
    fn check_totals(&self) {
        let losses = losses(&self.recording, |_| true);
        for table in TableId::ALL {
            let total =
                self.recording.manifest().totals.get(table.name()).copied().unwrap_or_default();
            let rows: u64 =
                self.recording.segments(*table).unwrap().iter().map(|part| part.rows()).sum();
            let name = table.name();
            assert_eq!(total.rows, rows, "rows of {name}");
            assert_eq!(total.lost, losses.get(name).copied().unwrap_or(0), "losses of {name}");
            let of_events = match table {
                // A raw stack is sent again after a loss, and one that is known leaves no row.
                TableId::Stack => continue,
                // Those that were there at the start are no events, nor when a chunk began.
                TableId::Cgroup if total.discarded > 0 => continue,
                TableId::Cgroup => self.table::<Cgroup>().pid.iter().flatten().count() as u64,
                _ => total.rows,
            };
            if let Some(seen) = total.seen {
                assert_eq!(seen, of_events + total.lost + total.discarded, "events of {name}");
            }
        }
    }
}

/// All rows of a table.
pub fn table<T: Table>(recording: &Recording) -> T::Columns {
    let mut batches: Vec<RecordBatch> = Vec::new();
    let read = recording.scan::<T>(ALL_TIME).for_each::<Error>(|_, batch| {
        batches.push(batch);
        Ok(())
    });
    read.unwrap();
    let schema = batches.first().map_or_else(cell::schema::<T>, RecordBatch::schema);
    T::Columns::view(&concat_batches(&schema, &batches).unwrap()).unwrap()
}

/// Events that were lost for such reasons, by table.
pub fn losses(recording: &Recording, wanted: impl Fn(Reason) -> bool) -> BTreeMap<String, u64> {
    let losses = table::<Loss>(recording);
    let mut by_table = BTreeMap::new();
    for row in 0..losses.rows() {
        let reason = Reason::from_name(losses.reason.value(row)).unwrap();
        if reason.loses_the_event() && wanted(reason) {
            *by_table.entry(losses.table.value(row).to_owned()).or_default() +=
                u64::try_from(losses.count.value(row)).unwrap();
        }
    }
    by_table
}

/// The value in a row, if it is known.
pub fn known<A: ArrayAccessor>(column: A, row: usize) -> Option<A::Item> {
    column.is_valid(row).then(|| column.value(row))
}

/// A text that is known.
pub fn text(column: &arrow::array::StringArray, row: usize) -> &str {
    known(column, row).expect("the text is known")
}

/// The texts in a row's list.
pub fn texts(list: &ArrayRef) -> Vec<String> {
    list.as_string::<i32>().iter().map(|text| text.unwrap().to_owned()).collect()
}

/// The numbers in a row's list.
pub fn numbers(list: &ArrayRef) -> Vec<i64> {
    list.as_primitive::<Int64Type>().values().to_vec()
}

/// The rows for which `wanted` holds, in the order of their times.
pub fn rows_in_time(times: &Int64Array, wanted: impl Fn(usize) -> bool) -> Vec<usize> {
    let mut rows: Vec<usize> = (0..times.len()).filter(|row| wanted(*row)).collect();
    rows.sort_by_key(|row| times.value(*row));
    rows
}

/// The rows for which `wanted` holds.
pub fn rows_where<V: cell::View>(columns: &V, wanted: impl Fn(usize) -> bool) -> Vec<usize> {
    (0..columns.rows()).filter(|row| wanted(*row)).collect()
}

/// The only row for which `wanted` holds.
pub fn row_where<V: cell::View>(columns: &V, what: &str, wanted: impl Fn(usize) -> bool) -> usize {
    let rows = rows_where(columns, wanted);
    assert_eq!(rows.len(), 1, "rows of {what}");
    rows[0]
}

/// Fails unless what was recorded is what was made: all of it, in order, and no more. Names every
/// difference.
pub fn assert_same<T: Debug + PartialEq>(recorded: &[T], made: &[T]) {
    let missing: Vec<&T> = made.iter().filter(|one| !recorded.contains(one)).collect();
    let extra: Vec<&T> = recorded.iter().filter(|one| !made.contains(one)).collect();
    let lines = |all: &[&T]| all.iter().map(|one| format!("\n    {one:?}")).collect::<String>();
    assert!(
        missing.is_empty() && extra.is_empty(),
        "not recorded:{}\nnot made:{}",
        lines(&missing),
        lines(&extra)
    );
    assert_eq!(recorded, made, "in order, and each once");
}

/// Whether there is nothing at `path`.
pub fn is_absent(path: &Path) -> bool {
    path.symlink_metadata().is_err()
}
