//! A recorder that is killed leaves a recording that opens, and nothing else.

use std::fs;
use std::time::{Duration, Instant};

use lookback_schemas::cell::View as _;
use lookback_schemas::manifest::{self, Symbols};
use lookback_schemas::recording::Recording;
use lookback_schemas::tables::{Kill, Loss};

use super::unharmed::{Server, probed};
use super::{
    Held, Random, assert_clean, assert_gapless, assert_unharmed, half_written, numbers, times,
};
use crate::live::alone;
use crate::recording::{Record, Recorder, table};
use crate::running::{in_vm, is_alive, monotonic, wait_for};
use crate::workload::facts;

/// At most this much of the end may be missing: rows go to the disk once a second.
fn most_missing() -> i64 {
    if in_vm() { 6_000_000_000 } else { 1_500_000_000 }
}

/// How long the recordings are that a kill may find ending.
const DURATION: Duration = Duration::from_millis(1500);

/// When a recorder is killed.
#[derive(Clone, Copy, Debug)]
enum When {
    /// So long after it was started: it may be attaching, or not even that.
    Started(Duration),
    /// So long after it has attached. Segments are a second long.
    Attached(Duration),
    /// So long after the time that it was to record: it is finishing, or has finished.
    Over(Duration),
}

impl When {
    fn random(random: &mut Random) -> When {
        match random.between(0..4) {
            0 => When::Started(Duration::from_micros(random.between(500..1_000_000))),
            1 => When::Over(Duration::from_micros(random.between(0..300_000))),
            _ => When::Attached(Duration::from_millis(random.between(0..3000))),
        }
    }

    /// Waits for that moment.
    fn wait(self, recorder: &mut Recorder) {
        match self {
            When::Started(delay) => std::thread::sleep(delay),
            When::Attached(delay) => {
                recorder.attached();
                std::thread::sleep(delay);
            }
            When::Over(delay) => {
                recorder.attached();
                std::thread::sleep(DURATION + delay);
            }
        }
    }
}

/// What a kill found.
#[derive(Debug, Default)]
struct Found {
    nothing: usize,
    unfinished: usize,
    whole: usize,
}

/// Kills a recorder of a ticker, or of a server with probes, and looks at what is left.
fn kill(when: When, server: Option<&mut Server>, found: &mut Found) {
    let record = match &server {
        Some(server) => {
            Record::trace("process,signal,alloc,custom").options(probed()).pid(server.pid())
        }
        None => Record::trace("signal"),
    };
    let mut record = record.options(["--segment-time", "1s"]);
    if matches!(when, When::Over(_)) {
        record = record.options(["--duration", &format!("{}ms", DURATION.as_millis())]);
    }
    let mut recorder = match &server {
        Some(_) => record.start(),
        None => record.workload::<&str>("ticker", []).start(),
    };
    let started = Instant::now();
    when.wait(&mut recorder);
    let pid = recorder.running.pid();
    let at = monotonic();
    // So that it holds nothing more when it is killed.
    if !recorder.running.has_ended() {
        recorder.running.signal(libc::SIGSTOP);
    }
    let stopped = |state| matches!(state, Some('T' | 't' | 'Z') | None);
    wait_for("the recorder to stop", || stopped(super::state(pid)).then_some(()));
    let held = Held::by(pid);
    if !recorder.running.has_ended() {
        recorder.running.signal(libc::SIGKILL);
    }
    wait_for("the recorder's end", || recorder.running.has_ended().then_some(()));
    held.await_end();
    let after = started.elapsed();

    let output = recorder.output();
    if output.join(manifest::FILE).exists() {
        assert_clean(&output);
        let manifest = Recording::open(&output).unwrap().manifest().clone();
        if manifest.ended.is_some() {
            assert_eq!(half_written(&output), Vec::<String>::new());
            found.whole += 1;
        } else {
            assert_eq!(manifest.symbols, Symbols::Pending);
            found.unfinished += 1;
        }
    } else {
        // Killed before it began; there may be the directory, with nothing in it but that manifest.
        let files = fs::read_dir(&output).map_or(0, Iterator::count);
        assert!(files <= 1, "{files} files, and no manifest");
        found.nothing += 1;
    }
    println!("killed after {after:?}, {when:?}; it held {} things", held.count());
    match server {
        Some(server) => {
            assert_unharmed(server.pid());
            server.answers(10);
        }
        None => assert_ticks(recorder, when, at),
    }
}

/// Fails unless all events are there but those of the last second; ends the ticker.
fn assert_ticks(mut recorder: Recorder, when: When, killed_at: i64) {
    let output = recorder.output();
    if output.join(manifest::FILE).exists() {
        let recording = Recording::open(&output).unwrap();
        let manifest = recording.manifest();
        assert_eq!(table::<Loss>(&recording).rows(), 0);
        let numbers = numbers(&recording);
        assert_gapless(10_000_000, &numbers);
        let kills = table::<Kill>(&recording);
        let last = kills.ts.values().iter().max().copied().unwrap_or(manifest.started);
        if let When::Attached(delay) = when {
            let missing = killed_at + manifest.epoch - last;
            assert!(
                missing <= most_missing(),
                "after {delay:?}: the last {missing} ns are missing"
            );
            assert!(!numbers.is_empty() || (delay.as_nanos() as i64) < most_missing());
        }
    }
    // The command goes on without the recorder, if it was started: it ends when its input does.
    let ticker = facts(&recorder.running.output_so_far(), "ticker");
    recorder.running.close_input();
    if let Some(ticker) = ticker.first() {
        let pid = ticker.int32("pid");
        wait_for("the ticker's end", || (!is_alive(pid)).then_some(()));
    }
}

#[test]
fn a_recorder_that_is_killed_loses_the_last_second_at_most() {
    let Some(_turn) = alone(&["process", "signal", "alloc", "custom"]) else { return };
    let mut random = Random::new();
    let kills = times(20, 200);
    let all: Vec<When> = (0..kills).map(|_| When::random(&mut random)).collect();
    // Three at a time: they mostly wait. Every third has probes in its target.
    std::thread::scope(|scope| {
        for some in all.chunks(kills.div_ceil(3)) {
            scope.spawn(move || {
                let (mut server, mut found) = (Server::start(2, &[]), Found::default());
                for (number, when) in some.iter().enumerate() {
                    let server = (number % 3 == 2).then_some(&mut server);
                    kill(*when, server, &mut found);
                }
                server.end();
                println!("{found:?}");
            });
        }
    });
}

/// The children of a process.
fn children_of(parent: i32) -> Vec<i32> {
    let stat = |pid: i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, fields) = stat.rsplit_once(") ")?;
        fields.split(' ').nth(1)?.parse::<i32>().ok()
    };
    let pids = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| stat(*pid) == Some(parent)).collect()
}

#[test]
fn a_command_that_waits_for_its_start_does_not_outlive_the_recorder() {
    let Some(_turn) = alone(&["signal"]) else { return };
    let mut recorder = Record::trace("signal").workload::<&str>("ticker", []).start();
    let pid = recorder.running.pid();
    let waiting = wait_for("the command's process", || children_of(pid).first().copied());
    recorder.running.signal(libc::SIGKILL);
    wait_for("the recorder's end", || recorder.running.has_ended().then_some(()));
    // Had it become the ticker, it would stay: its input is still open.
    wait_for("the waiting process's end", || (!is_alive(waiting)).then_some(()));
    assert!(!recorder.output().exists() || Recording::open(&recorder.output()).is_ok());
}
