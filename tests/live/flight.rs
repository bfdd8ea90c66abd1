//! The flight recorder: the newest is kept, and frozen when that is asked for, or something happens.
//!
//! The workload `ticker` counts: what was kept has no gap, or a number is missing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lookback_schemas::TableId;
use lookback_schemas::cell::View as _;
use lookback_schemas::manifest::Manifest;
use lookback_schemas::recording::Recording;
use lookback_schemas::tables::{Kill, Sample};
use serde_json::Value;

use super::faults::Random;
use super::sites::Stacks;
use super::{alone, shared};
use crate::command_line::refused;
use crate::recording::{RECORD, Record, Recorder, known, table};
use crate::running::{in_vm, is_alive, monotonic, run, wait_for};
use crate::workload::{Fact, fact};

/// A second, in a virtual machine a longer one.
const fn second() -> Duration {
    Duration::from_secs(1)
}

fn sleep(seconds: u64) {
    std::thread::sleep(second() * u32::try_from(seconds).unwrap());
}

/// Starts a recorder of the ticker; gives also what that says first.
fn recording_ticks(options: &[&str]) -> (Recorder, Fact) {
    let record = Record::trace_aloud("process,signal").options(options);
    let mut recorder = record.workload::<&str>("ticker", []).start();
    let ticker = fact(&recorder.running.await_line("ticker"), "ticker");
    (recorder, ticker)
}

/// What the ticker did, as far as it is recorded: numbers and times, in order. Fails if one is missing in between.
fn ticks(recording: &Recording) -> Vec<(i32, i64)> {
    let kills = table::<Kill>(recording);
    let mut ticks: Vec<(i32, i64)> = (0..kills.rows())
        .filter_map(|row| Some((known(&kills.target_tid, row)?, kills.ts.value(row))))
        .collect();
    ticks.sort_unstable();
    let gap = ticks.windows(2).find(|pair| pair[0].0 + 1 != pair[1].0);
    assert!(gap.is_none(), "a gap in the middle: {gap:?}");
    ticks
}

fn analyze(arguments: &[&str], recording: &Path) -> String {
    let mut analyze = Command::new(env!("CARGO_BIN_EXE_analyze"));
    let ended = run(analyze.args(&arguments[..1]).arg(recording).args(&arguments[1..]));
    assert!(ended.status.success(), "{arguments:?}: {}{}", ended.stdout, ended.stderr);
    ended.stdout
}

fn assert_whole(recording: &Path) {
    let checked = analyze(&["check"], recording);
    assert!(checked.contains("whole: "), "{}: {checked}", recording.display());
}

/// Fails unless reports know the ticker, although it began before anything that is kept.
fn assert_knows(recording: &Path, ticker: &Fact) {
    let processes = analyze(&["processes", "--format", "json"], recording);
    let processes: Vec<Value> = serde_json::from_str(&processes).unwrap();
    let pid = i64::from(ticker.int32("pid"));
    let its = processes.iter().find(|process| process["pid"].as_i64() == Some(pid));
    let its = its.unwrap_or_else(|| panic!("no process {pid}: {processes:?}"));
    assert_eq!(its["comm"].as_str(), Some("ticker"), "{its}");
}

#[test]
fn the_newest_is_kept_without_a_gap() {
    let Some(_turn) = shared(&["signal"]) else { return };
    let (mut recorder, ticker) = recording_ticks(&["--keep", "3s"]);
    sleep(9);
    recorder.running.close_input();
    // Its totals are compared with its rows: seen = recorded + lost + discarded.
    let recorded = recorder.finish_anyhow();
    assert!(recorded.ended.status.success(), "{}", recorded.ended.stderr);
    recorded.assert_nothing_lost();
    let manifest = recorded.recording.manifest();
    let (kept, end) = (manifest.kept.clone().unwrap(), manifest.ended.clone().unwrap().at);
    let ticks = ticks(&recorded.recording);
    let (first, last) = (ticks.first().unwrap().1, ticks.last().unwrap().1);
    // Chunks of a second.
    let length = Duration::from_nanos((end - first).unsigned_abs());
    assert!((second() * 3..second() * 6).contains(&length), "{length:?} are kept");
    // What was still in the rings when the chunk began is there as well.
    assert!((-100_000_000..100_000_000).contains(&(first - kept.from)), "{first}, but {kept:?}");
    assert!(end - last < 1_000_000_000, "the last of {last}, but {end}");
    assert_eq!(kept.time, Some(3_000_000_000));
    assert!(manifest.totals[TableId::Kill.name()].discarded > 2_000, "{:?}", manifest.totals);
    assert!(ticks[0].0 > ticker.int32("first") + 2_000, "{:?}", ticks[0]);
    assert_whole(recorded.recording.directory());
    assert_knows(recorded.recording.directory(), &ticker);
    let info = analyze(&["info"], recorded.recording.directory());
    assert!(info.contains("kept       the newest, 3.0 s or more"), "{info}");
}

#[test]
fn no_more_bytes_are_kept_than_wanted() {
    let Some(_turn) = shared(&["signal"]) else { return };
    const MOST: u64 = 1 << 20;
    // A tick has two rows.
    let options = ["--trace", "syscall", "--keep-size", "1MiB"];
    let (mut recorder, _) = recording_ticks(&options);
    let output = recorder.output();
    let (mut largest, until) = (0, monotonic() + 12_000_000_000);
    while monotonic() < until {
        largest = largest.max(bytes_below(&output));
        std::thread::sleep(Duration::from_millis(5));
    }
    recorder.running.close_input();
    let recorded = recorder.finish_anyhow();
    assert!(largest <= MOST, "{largest} bytes");
    let totals = &recorded.recording.manifest().totals;
    println!("at most {largest} bytes; {:?}", totals[TableId::Kill.name()]);
    ticks(&recorded.recording);
    assert_whole(&output);
}

/// The lengths of all files below a folder. Files come and go meanwhile.
fn bytes_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let length = |path: PathBuf| match path.metadata() {
        Ok(data) if data.is_dir() => bytes_below(&path),
        Ok(data) => data.len(),
        Err(_) => 0,
    };
    entries.map(|entry| length(entry.path())).sum()
}

#[test]
fn stacks_of_what_runs_all_the_time_stay_whole() {
    let Some(_turn) = alone(&["profile"]) else { return };
    let recorded = Record::trace("process,profile")
        .options(["--keep", "2s", "--frequency", "199"])
        .workload("burner", ["shares", "7000"])
        .run();
    let samples = table::<Sample>(&recorded.recording);
    let pid = fact(recorded.stdout(), "burned").int32("pid");
    let stacks = Stacks::read(&recorded);
    let ours: Vec<usize> =
        (0..samples.rows()).filter(|row| samples.pid.value(*row) == pid).collect();
    assert!(ours.len() > if in_vm() { 20 } else { 200 }, "{} samples", ours.len());
    let named = |row: &&usize| {
        let stack = known(&samples.user_stack, **row).expect("a stack");
        stacks.names(stack).iter().any(|name| ["hot", "warm"].contains(name))
    };
    let good = ours.iter().filter(named).count();
    assert!(good * 100 >= ours.len() * 95, "{good} of {} have names", ours.len());
    let kept = recorded.recording.manifest().kept.clone().unwrap();
    assert!(kept.from > recorded.recording.manifest().started + 2_000_000_000, "{kept:?}");
    assert_whole(recorded.recording.directory());
}

/// Asks for a snapshot, as a user does.
fn ask(recorder: &Recorder) -> PathBuf {
    let ended = run(Command::new(RECORD).arg("snapshot").arg(recorder.output()));
    assert!(ended.status.success(), "{}", ended.stderr);
    PathBuf::from(ended.stdout.trim())
}

#[test]
fn a_snapshot_has_what_is_kept_and_recording_goes_on() {
    let Some(_turn) = shared(&["signal"]) else { return };
    for options in [&["--keep", "2s"][..], &[]] {
        let (mut recorder, ticker) = recording_ticks(options);
        sleep(4);
        let asked = monotonic();
        let made = ask(&recorder);
        sleep(1);
        let again = ask(&recorder);
        recorder.running.close_input();
        let recorded = recorder.finish_anyhow();
        assert!(recorded.ended.status.success(), "{}", recorded.ended.stderr);
        let whole = ticks(&recorded.recording);
        for (snapshot, at) in [(&made, asked), (&again, asked + 1_000_000_000)] {
            let recording = Recording::open(snapshot).unwrap();
            let manifest = recording.manifest();
            let ticks = ticks(&recording);
            let last = ticks.last().unwrap().1 - manifest.epoch;
            assert!(last > at - 200_000_000, "{options:?}: the last of {last}, asked at {at}");
            assert_eq!(manifest.ended.as_ref().unwrap().why, "snapshot");
            assert_eq!(manifest.snapshot_of.as_ref().unwrap().why, "asked");
            assert_whole(snapshot);
            assert_knows(snapshot, &ticker);
            if options.is_empty() {
                assert_eq!(ticks[0].0, ticker.int32("first"), "all of it");
            }
        }
        assert!(whole.last().unwrap().1 > asked + 1_000_000_000);
        assert_eq!(recorded.recording.manifest().snapshots.len(), 2);
        assert_whole(recorded.recording.directory());
    }
}

#[test]
fn nobody_is_asked_for_a_snapshot_who_does_not_record() {
    let Some(_turn) = shared(&["signal"]) else { return };
    let recorded = Record::trace("signal").workload("quiet", [] as [&str; 0]).run();
    let directory = recorded.recording.directory().to_str().unwrap();
    let ended = run(Command::new(RECORD).args(["snapshot", directory]));
    assert_eq!(ended.status.code(), Some(2));
    assert!(ended.stderr.contains("nobody records there any more"), "{}", ended.stderr);
}

#[test]
fn a_trigger_keeps_what_was_before_and_what_came_after() {
    let Some(_turn) = shared(&["signal"]) else { return };
    let wanted = 10_000_000 + if in_vm() { 1_000 } else { 3_000 };
    let trigger = format!("kill.target_tid == {wanted} and kill.comm == \"ticker\"");
    // One that is met all the time, and may make one snapshot only.
    let options = ["--keep", "1m", "--trigger", &trigger, "--trigger", "kill.result < 0"];
    let caps = ["--before", "1s", "--after", "1s", "--trigger-every", "1s", "--trigger-count", "2"];
    let options: Vec<&str> = options.into_iter().chain(caps).collect();
    let (mut recorder, _) = recording_ticks(&options);
    let output = recorder.output();
    let snapshots = || Manifest::read(&output).unwrap().snapshots;
    wait_for("two snapshots", || (snapshots().len() == 2).then_some(()));
    sleep(2);
    recorder.running.close_input();
    let recorded = recorder.finish_anyhow();
    assert_eq!(
        recorded.ended.stderr.matches("record: snapshot (").count(),
        2,
        "{}",
        recorded.ended.stderr
    );
    let made = snapshots();
    assert_eq!(made.len(), 2, "no more than that: {made:?}");
    assert_eq!(made[0].why, "kill.result < 0");
    for snapshot in made {
        let directory = output.with_file_name(&snapshot.directory);
        let recording = Recording::open(&directory).unwrap();
        let ticks = ticks(&recording);
        let (first, last) = (ticks.first().unwrap().1, ticks.last().unwrap().1);
        assert!(last > snapshot.at, "{last}: nothing of what came after {}", snapshot.at);
        if snapshot.why == trigger {
            let event = ticks.iter().find(|tick| tick.0 == wanted).expect("the event itself").1;
            assert!(
                first < event - 900_000_000 && last > event + 900_000_000,
                "{first} {event} {last}"
            );
        }
        assert_whole(&directory);
    }
}

#[test]
fn a_trigger_that_cannot_be_is_refused() {
    let ended = refused(&["--keep", "1m", "--trigger", "runq.waiting > 50ms", "--", "true"]);
    assert!(ended.stderr.contains("`runq` has no column `waiting`"), "{}", ended.stderr);
    let ended = refused(&["--trigger", "runq.wait > 50ms", "--", "true"]);
    assert!(ended.stderr.contains("--keep"), "{}", ended.stderr);
}

#[test]
fn what_is_kept_is_whole_when_the_recorder_is_killed() {
    let Some(_turn) = shared(&["signal"]) else { return };
    let mut random = Random::new();
    for _ in 0..if in_vm() { 2 } else { 6 } {
        // Chunks end each second, and from the third one on one is deleted then.
        let delay = Duration::from_millis(random.between(2_900..5_200));
        let (mut recorder, ticker) = recording_ticks(&["--keep", "1s"]);
        std::thread::sleep(delay);
        recorder.running.signal(libc::SIGKILL);
        wait_for("the recorder's end", || recorder.running.has_ended().then_some(()));
        let recording = Recording::open(&recorder.output()).unwrap();
        assert!(ticks(&recording).len() > 500, "after {delay:?}");
        let checked = analyze(&["check", "--format", "json"], &recorder.output());
        assert!(!checked.contains("damage"), "after {delay:?}: {checked}");
        recorder.running.close_input();
        wait_for("the ticker's end", || (!is_alive(ticker.int32("pid"))).then_some(()));
    }
}
