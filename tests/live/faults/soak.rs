//! A recorder that runs for long takes no more memory, descriptors or files than at its beginning.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use lookback_schemas::TableId;
use lookback_schemas::cell::View as _;
use lookback_schemas::tables::{Exit, Fork, Open};

use super::{assert_clean, assert_gapless, numbers};
use crate::live::alone;
use crate::recording::{Record, known};
use crate::running::limit;
use crate::workload::fact;

/// How long, unless `SOAK_SECONDS` says so: too short to tell whether memory grows.
const SHORT: u64 = 6;
/// From here on it is told.
const LONG: u64 = 300;
/// Rounds a second of the load.
const RATE: u64 = 200;
/// How much memory may differ between two quarters of a run.
const GROWTH: f64 = 1.10;

/// What a recorder has at a moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    /// Kilobytes of memory.
    resident: u64,
    descriptors: usize,
    threads: usize,
    segments: usize,
    bytes: u64,
}

impl Sample {
    /// None once it ended.
    fn take(pid: i32, output: &Path) -> Option<Sample> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let number = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        let (mut segments, mut bytes) = (0, 0);
        for table in fs::read_dir(output).ok()?.flatten().filter(|entry| entry.path().is_dir()) {
            for file in fs::read_dir(table.path()).ok()?.flatten() {
                segments +=
                    usize::from(file.path().extension().is_some_and(|end| end == "parquet"));
                bytes += file.metadata().map_or(0, |metadata| metadata.len());
            }
        }
        Some(Sample {
            resident: number("VmRSS:")?,
            descriptors: fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count(),
            threads: number("Threads:")? as usize,
            segments,
            bytes,
        })
    }
}

/// The mean of a quarter of the samples, counted from 0.
fn mean(samples: &[Sample], quarter: usize, of: impl Fn(&Sample) -> u64) -> f64 {
    let size = samples.len() / 4;
    let part = &samples[quarter * size..(quarter + 1) * size];
    part.iter().map(|sample| of(sample) as f64).sum::<f64>() / size as f64
}

fn print_table(samples: &[Sample]) {
    println!("| second | resident KiB | descriptors | threads | segments | KiB on disk |");
    println!("|---|---|---|---|---|---|");
    let step = (samples.len() / 12).max(1);
    for (second, sample) in samples.iter().enumerate().step_by(step) {
        let Sample { resident, descriptors, threads, segments, bytes } = sample;
        let kib = bytes / 1024;
        println!("| {second} | {resident} | {descriptors} | {threads} | {segments} | {kib} |");
    }
}

#[test]
fn a_long_recording_takes_no_more_than_a_short_one() {
    let tracers =
        ["process", "open", "syscall", "tcpconnect", "tcpstate", "signal", "alloc", "profile"];
    let Some(_turn) = alone(&tracers) else { return };
    let asked = std::env::var("SOAK_SECONDS").ok();
    let seconds = asked.map_or(SHORT, |text| text.parse().expect("SOAK_SECONDS is a number"));
    let mut recorder = Record::trace(&tracers.join(","))
        .options(["--syscall", "write,openat,tkill"])
        .workload("mix", [seconds.to_string(), RATE.to_string()])
        .start();
    recorder.looked_around();
    let (pid, output) = (recorder.running.pid(), recorder.output());
    let end = Instant::now() + Duration::from_secs(seconds) + limit();
    let mut samples = Vec::new();
    // The load says when it is over: then the recorder resolves symbols, which is another matter.
    while !recorder.running.output_so_far().contains("\ndid ") {
        assert!(Instant::now() < end, "the load does not end");
        samples.extend(Sample::take(pid, &output));
        std::thread::sleep(Duration::from_secs(1));
    }
    let recorded = recorder.finish();
    print_table(&samples);
    assert_clean(recorded.recording.directory());
    recorded.assert_nothing_of_ours_lost();

    // All of it is there.
    let did = fact(recorded.stdout(), "did");
    let (rounds, tens) = (did.int("rounds") as usize, did.int("tens") as usize);
    let numbers = numbers(&recorded.recording);
    assert_gapless(10_000_000, &numbers);
    assert_eq!(numbers.len(), rounds);
    let forks = recorded.table::<Fork>();
    let row = |row| (forks.pid.value(row), forks.ppid.value(row), known(&forks.comm, row));
    let load = i32::try_from(did.int("pid")).unwrap();
    let strange: Vec<_> =
        (0..forks.rows()).map(row).filter(|(_, parent, _)| *parent != load).collect();
    assert!(strange.is_empty(), "forks that are not the load's: {strange:?}");
    assert_eq!(forks.rows(), tens);
    assert_eq!(recorded.table::<Exit>().rows(), tens + 1);
    let opens = recorded.table::<Open>();
    let missing = (0..opens.rows()).filter(|row| {
        known(&opens.path, *row).is_some_and(|path| path.starts_with("/lookback-has-no-such-file/"))
    });
    assert_eq!(missing.count(), rounds);
    let connects = recorded.recording.manifest().totals[TableId::Tcpconnect.name()];
    assert_eq!(connects.rows as usize, tens);

    // A file of each table a minute, and one that is being written.
    let last = samples.last().unwrap();
    let tables = fs::read_dir(recorded.recording.directory()).unwrap().count();
    assert!(last.segments <= tables * (seconds as usize / 60 + 2), "{} segments", last.segments);
    if seconds < LONG {
        println!(
            "{seconds} s are too short to tell whether memory grows: SOAK_SECONDS={LONG}, or more"
        );
        return;
    }
    let resident = |quarter| mean(&samples, quarter, |sample| sample.resident);
    let descriptors = |quarter| mean(&samples, quarter, |sample| sample.descriptors as u64);
    println!(
        "resident: {:.0} KiB in the second quarter, {:.0} KiB in the last",
        resident(1),
        resident(3)
    );
    assert!(resident(3) <= GROWTH * resident(1));
    assert!((descriptors(3) - descriptors(1)).abs() < 2.0, "{} {}", descriptors(1), descriptors(3));
}
