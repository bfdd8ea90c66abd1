//! A recorder that is killed leaves a recording that opens, and nothing else.

use std::fs;
use std::time::{Duration, SystemTime};

use lookback_schemas::cell::View as _;
use lookback_schemas::manifest::Symbols;
use lookback_schemas::recording::{ALL_TIME, Recording};
use lookback_schemas::tables::{Kill, Loss};
use lookback_schemas::{Error, TableId};

use super::alone;
use crate::recording::{Record, table};
use crate::running::{in_vm, is_alive, monotonic, wait_for};
use crate::workload::fact;

/// A generator that a seed repeats (xorshift).
pub struct Random(u64);

impl Random {
    /// Seeded by `LOOKBACK_SEED`, or else by the clock; says which.
    pub fn new() -> Random {
        let seed = match std::env::var("LOOKBACK_SEED") {
            Ok(seed) => seed.parse().unwrap(),
            Err(_) => SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64 | 1,
        };
        println!("to repeat this: LOOKBACK_SEED={seed}");
        Random(seed)
    }

    pub fn between(&mut self, range: std::ops::Range<u64>) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        range.start + self.0 % (range.end - range.start)
    }
}

/// At most this much of the end may be missing: rows go to the disk once a second.
fn most_missing() -> i64 {
    if in_vm() { 6_000_000_000 } else { 1_500_000_000 }
}

/// The ids of the BPF programs that a process holds.
fn programs_of(pid: i32) -> Vec<u32> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap();
    let mut ids: Vec<u32> = descriptors
        .filter_map(|entry| fs::read_to_string(entry.unwrap().path()).ok())
        .filter_map(|info| {
            info.lines().find_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok())
        })
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Whether the kernel has a BPF program of this id.
fn program_exists(id: u32) -> bool {
    // SAFETY: no memory is involved; a descriptor that comes of it is closed here.
    unsafe {
        let descriptor = libbpf_rs::libbpf_sys::bpf_prog_get_fd_by_id(id);
        if descriptor >= 0 {
            libc::close(descriptor);
        }
        descriptor != -libc::ENOENT
    }
}

/// Kills a recorder `delay` after it has begun, and looks at what is left.
fn kill_after(delay: Duration) {
    let mut recorder = Record::trace("signal").workload::<&str>("ticker", []).start();
    recorder.attached();
    std::thread::sleep(delay);
    let programs = programs_of(recorder.running.pid());
    assert!(!programs.is_empty(), "it has its programs while it runs");
    let killed_at = monotonic();
    recorder.running.signal(libc::SIGKILL);
    wait_for("the recorder's end", || recorder.running.has_ended().then_some(()));

    let recording = Recording::open(&recorder.output()).unwrap();
    let manifest = recording.manifest();
    assert!(manifest.ended.is_none() && manifest.symbols == Symbols::Pending);
    for table in TableId::ALL {
        let read = recording.scan_table(*table, ALL_TIME).for_each::<Error>(|_, _| Ok(()));
        read.unwrap_or_else(|error| panic!("after {delay:?}: {error}"));
    }
    assert_eq!(table::<Loss>(&recording).rows(), 0);

    let kills = table::<Kill>(&recording);
    let mut numbers: Vec<i32> = kills.target_tid.iter().flatten().collect();
    numbers.sort_unstable();
    let killed_at = killed_at + manifest.epoch;
    let last = kills.ts.values().iter().max().copied().unwrap_or(manifest.started);
    let missing = killed_at - last;
    assert!(missing <= most_missing(), "after {delay:?}: the last {missing} ns are missing");
    println!("killed after {delay:?}: {} events, {missing} ns missing", numbers.len());
    if delay.as_nanos() as i64 > most_missing() {
        assert!(!numbers.is_empty());
    }

    // The command goes on without the recorder: it ends when its input does.
    let ticker = fact(&recorder.running.await_line("ticker"), "ticker");
    let first = ticker.int32("first");
    let gapless = (first..).zip(&numbers).all(|(number, recorded)| number == *recorded);
    assert!(gapless, "after {delay:?}: not from the first event on without a gap: {numbers:?}");
    recorder.running.close_input();
    wait_for("the ticker's end", || (!is_alive(ticker.int32("pid"))).then_some(()));
    // The kernel frees programs some time after the last that holds them.
    wait_for("the programs to go", || programs.iter().all(|id| !program_exists(*id)).then_some(()));
}

#[test]
fn a_recorder_that_is_killed_loses_the_last_second_at_most() {
    let Some(_turn) = alone(&["signal"]) else { return };
    let mut random = Random::new();
    let kills = if in_vm() { 4 } else { 20 };
    let delays: Vec<u64> = (0..kills).map(|_| random.between(300..3000)).collect();
    // Two at a time: they mostly wait.
    std::thread::scope(|scope| {
        for delays in delays.chunks(kills / 2) {
            scope.spawn(move || {
                for delay in delays {
                    kill_after(Duration::from_millis(*delay));
                }
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
