//! Disks that are full or fail.

use std::path::Path;
use std::process::Command;

use lookback_schemas::TableId;
use lookback_schemas::cell::View as _;
use lookback_schemas::manifest;
use lookback_schemas::recording::Recording;
use lookback_schemas::tables::Kill;

use super::{Random, assert_clean, assert_gapless, half_written, is_full, numbers, times};
use crate::live::{alone, skip};
use crate::recording::{RECORD, is_absent, table};
use crate::running::{Ended, Running, run};
use crate::workload::{self, Fact, fact};

/// Records more than there is room for, on a disk that a shell command mounts on `$1`.
fn fill_a_disk(mount: &str) {
    let Some(_turn) = alone(&["signal"]) else { return };
    let directory = tempfile::tempdir().unwrap();
    let (disk, copy) = (directory.path().join("disk"), directory.path().join("copy"));
    std::fs::create_dir(&disk).unwrap();
    // Room for a row group or two, and not for the whole burst. The disk goes away with the
    // namespace: what is on it is copied before.
    let script = format!(
        "{{ {mount}; }} || exit 90
        \"$3\" --quiet --trace signal --output \"$1/recording\" -- \"$4\" burst 2000000
        status=$?
        cp -r \"$1/recording\" \"$2\"
        exit $status"
    );
    let mut shell = Command::new("unshare");
    shell.args(["--mount", "--propagation", "private", "/bin/sh", "-c", &script, "sh"]);
    let ended = run(shell.args([&disk, &copy]).arg(RECORD).arg(workload::path("signals")));
    if ended.status.code() == Some(90) || ended.stderr.contains("unshare failed") {
        return skip(&format!("nothing can be mounted: {}", ended.stderr));
    }
    assert_eq!(ended.status.code(), Some(2), "{}", ended.stderr);
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("record: "), "{lines:?}");
    assert!(lines[0].contains("No space left on device"), "{lines:?}");

    assert_clean(&copy);
    assert_eq!(half_written(&copy), Vec::<String>::new());
    let recording = Recording::open(&copy).unwrap();
    let error = recording.manifest().ended.as_ref().unwrap().error.as_deref();
    assert!(error.is_some_and(|error| error.contains("No space left on device")), "{error:?}");
    let kills = table::<Kill>(&recording);
    let total = recording.manifest().totals[TableId::Kill.name()];
    assert_eq!(total.rows, kills.rows() as u64, "what was written is there");
    assert_eq!(total.seen, Some(total.rows + total.lost), "and what was not is counted");
    assert!(total.rows > 0 && total.lost > 0, "{total:?}");
}

#[test]
fn a_full_disk_ends_the_recording_and_what_was_written_stays() {
    fill_a_disk("mount -t tmpfs -o size=4m tmpfs \"$1\"");
}

#[test]
fn a_full_ext4_ends_the_recording_and_what_was_written_stays() {
    fill_a_disk(
        "truncate -s 8M \"$1.image\" && mkfs.ext4 -q -F \"$1.image\" && mount -o loop \"$1.image\" \"$1\"",
    );
}

/// A recording whose writing was interfered with; see `tests/workloads/failing.c`.
struct Failed {
    directory: tempfile::TempDir,
    ended: Ended,
    /// What the library counted.
    calls: Fact,
}

impl Failed {
    /// Records a second of a load: two segments of each table.
    fn record(mode: &str, at: usize) -> Failed {
        let directory = tempfile::tempdir().unwrap();
        let below = directory.path().join("below");
        std::fs::create_dir(&below).unwrap();
        let count = directory.path().join("count");
        let mut command = Command::new(RECORD);
        command.args(["--quiet", "--trace", "signal", "--segment-time", "100ms", "--output"]);
        command.arg(below.join("recording")).arg("--").arg(workload::path("mix"));
        command.args(["0.9", "200"]);
        command.env("LD_PRELOAD", workload::path("libfailing.so")).env("FAILING_BELOW", &below);
        command.env("FAILING", mode).env("FAILING_AT", at.to_string());
        let mut running = Running::start(command.env("FAILING_COUNT", &count));
        running.await_end();
        let ended = running.end();
        let calls =
            std::fs::read_to_string(&count).expect("the library counts as the process ends");
        Failed { directory, ended, calls: fact(calls.trim(), "failing") }
    }

    fn recording(&self) -> std::path::PathBuf {
        self.directory.path().join("below/recording")
    }

    /// Fails unless the error was told, or did not matter, and what could be written is sound.
    fn check(&self, mode: &str, at: usize) -> &'static str {
        let name = &format!("{mode} {at}");
        assert!(self.calls.int("failed") > 0, "{name}: nothing failed: {:?}", self.calls);
        let (code, stderr) = (self.ended.status.code(), &self.ended.stderr);
        let told = stderr.lines().count() == 1
            && stderr.starts_with("record: ")
            && stderr.contains("Input/output error");
        match code {
            Some(0) => assert_eq!(stderr, "", "{name}"),
            Some(2) => assert!(told, "{name}: {stderr}"),
            _ => panic!("{name}: {:?}", self.ended),
        }
        let path = self.recording();
        if !path.join(manifest::FILE).exists() {
            assert_eq!(code, Some(2), "{name}: it says that there is no recording");
            assert!(is_absent(&path) || is_empty(&path), "{name}: something is left");
            return "not begun";
        }
        assert_clean(&path);
        let recording = Recording::open(&path).unwrap();
        let Some(ended) = &recording.manifest().ended else {
            assert_eq!(code, Some(2), "{name}: the manifest has no end, and nobody was told");
            return "without an end";
        };
        // An error is told there too, but for one after the last word: that the disk did not say that it has it.
        let after_all = code == Some(2) && self.calls.int("calls") == at as i64;
        assert_eq!(
            code == Some(0),
            ended.error.is_none() && !after_all,
            "{name}: {ended:?}, {stderr}"
        );
        let total = recording.manifest().totals[TableId::Kill.name()];
        if ended.why == "command" {
            let calls = 2 * fact(&self.ended.stdout, "did").int("rounds");
            assert_eq!(total.rows + total.lost, calls as u64, "{name}");
        }
        assert_eq!(total.seen, Some(total.rows + total.lost), "{name}");
        match code {
            Some(0) => "whole",
            _ => "with the error",
        }
    }
}

fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none())
}

#[test]
fn whichever_write_fails_the_recording_is_sound() {
    let Some(_turn) = alone(&["signal"]) else { return };
    let all = Failed::record("never", 0).calls.int("calls") as usize;
    assert!(all > 50, "{all}");
    let mut random = Random::new();
    // Each of them, or some.
    let step = if is_full() { 1 } else { all.div_ceil(10) };
    let first = 1 + random.between(0..step as u64) as usize;
    let faults: Vec<(&str, usize)> = ["once", "from"]
        .into_iter()
        .flat_map(|mode| (first..all).step_by(step).map(move |at| (mode, at)))
        .collect();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let outcomes = std::sync::Mutex::new(std::collections::BTreeMap::<_, usize>::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some((mode, at)) =
                    faults.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
                {
                    let failed = Failed::record(mode, *at);
                    // Not all recordings have the same number of calls.
                    if failed.calls.int("calls") >= *at as i64 {
                        let outcome = failed.check(mode, *at);
                        *outcomes.lock().unwrap().entry((*mode, outcome)).or_default() += 1;
                    }
                }
            });
        }
    });
    println!("of {all} calls: {:?}", outcomes.into_inner().unwrap());
}

#[test]
fn writes_that_are_short_or_interrupted_are_continued() {
    let Some(_turn) = alone(&["signal"]) else { return };
    for mode in ["short", "again"] {
        for _ in 0..times(1, 5) {
            let failed = Failed::record(mode, 0);
            assert!(failed.calls.int("failed") > 20, "{mode}: {:?}", failed.calls);
            assert!(failed.ended.status.success(), "{mode}: {:?}", failed.ended);
            assert_eq!(failed.check(mode, 0), "whole");
            let path = failed.recording();
            assert_eq!(half_written(&path), Vec::<String>::new());
            let numbers = numbers(&Recording::open(&path).unwrap());
            assert_gapless(10_000_000, &numbers);
            assert_eq!(numbers.len() as i64, fact(&failed.ended.stdout, "did").int("rounds"));
        }
    }
}
