//! Faults: what happens to recorders, disks, targets and machines, and what must be true afterwards.
//!
//! After each fault the recording opens, `analyze check` finds no damage, every event is a row or counted as
//! lost, and nothing of the recorder's is left: no programs, maps or links in the kernel, no probes in the code
//! of its targets, which go on, and no half-written files.
//!
//! `make test-faults` runs them at their full counts, by `LOOKBACK_FAULTS=1`; docs/reliability.md has the
//! results.

#![expect(unsafe_code, reason = "tests call the system as programs do")]

mod disk;
mod kills;
mod machine;
mod pauses;
mod power;
mod soak;
mod targets;
mod unharmed;

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use lookback_schemas::TableId;
use lookback_schemas::recording::Recording;
use lookback_schemas::tables::Kill;

use crate::recording::{Recorded, table};
use crate::running::{run, wait_for};

/// How often a fault is tried: fewer times unless `LOOKBACK_FAULTS` is set.
fn times(few: usize, all: usize) -> usize {
    if is_full() { all } else { few }
}

/// Whether faults are tried at their full counts.
fn is_full() -> bool {
    std::env::var_os("LOOKBACK_FAULTS").is_some()
}

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

/// What a recorder holds in the kernel, by id.
#[derive(Debug, Default)]
pub struct Held {
    programs: Vec<u32>,
    maps: Vec<u32>,
    links: Vec<u32>,
}

impl Held {
    /// What a process holds now.
    pub fn by(pid: i32) -> Held {
        let mut held = Held::default();
        // It may just be ending.
        for entry in fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten() {
            let info = fs::read_to_string(entry.path()).unwrap_or_default();
            let id = |key: &str| {
                info.lines().find_map(|line| line.strip_prefix(key)?.trim().parse::<u32>().ok())
            };
            // A link tells of its program too.
            if let Some(link) = id("link_id:") {
                held.links.push(link);
            }
            held.programs.extend(id("prog_id:"));
            held.maps.extend(id("map_id:"));
        }
        held
    }

    /// How many they are.
    pub fn count(&self) -> usize {
        self.programs.len() + self.maps.len() + self.links.len()
    }

    /// Waits until the kernel has none of them, which is some time after the last descriptor is closed.
    pub fn await_end(&self) {
        use libbpf_rs::libbpf_sys::{
            bpf_link_get_fd_by_id, bpf_map_get_fd_by_id, bpf_prog_get_fd_by_id,
        };
        let exists = |get: unsafe extern "C" fn(u32) -> i32, id: u32| {
            // SAFETY: no memory is involved; a descriptor that comes of it is closed here.
            unsafe {
                let descriptor = get(id);
                if descriptor >= 0 {
                    libc::close(descriptor);
                }
                descriptor != -libc::ENOENT
            }
        };
        wait_for("programs, maps and links to go", || {
            let none = |ids: &[u32], get| ids.iter().all(|id| !exists(get, *id));
            (none(&self.links, bpf_link_get_fd_by_id)
                && none(&self.programs, bpf_prog_get_fd_by_id)
                && none(&self.maps, bpf_map_get_fd_by_id))
            .then_some(())
        });
    }
}

/// Fails unless a recording opens and nothing in it is damaged. One that came to its end is whole, to the
/// last file; the others may have one that was being written.
pub fn assert_clean(directory: &Path) {
    let info = analyze("info", directory);
    assert!(info.status.success(), "{}: {}", directory.display(), info.stderr);
    let check = analyze("check", directory);
    assert!(check.status.success(), "{}:\n{}{}", directory.display(), check.stdout, check.stderr);
    let recording = Recording::open(directory).unwrap();
    let ended = recording.manifest().ended.as_ref();
    if ended.is_some_and(|ended| ended.error.is_none()) {
        assert!(check.stdout.contains("whole: "), "{}", check.stdout);
    }
    if ended.is_some() {
        assert_all_accounted_for(&recording);
    }
}

fn analyze(report: &str, directory: &Path) -> crate::running::Ended {
    run(Command::new(env!("CARGO_BIN_EXE_analyze")).arg(report).arg(directory))
}

/// Fails unless every event that was seen is a row or lost.
fn assert_all_accounted_for(recording: &Recording) {
    for table in TableId::ALL {
        let totals = &recording.manifest().totals;
        let Some(total) = totals.get(table.name()) else { continue };
        // The one is sent again after a loss, the other has rows that are no events.
        if matches!(table, TableId::Stack | TableId::Cgroup) {
            continue;
        }
        if let Some(seen) = total.seen {
            assert_eq!(seen, total.rows + total.lost, "events of {}: {total:?}", table.name());
        }
    }
}

/// Files below a directory whose names say that they were to be renamed.
pub fn half_written(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(half_written(&path));
        } else if path.extension().is_some_and(|end| end == "new" || end == "compact") {
            found.push(path.display().to_string());
        }
    }
    found
}

/// The numbers of the calls of `ticker` or `mix` that were recorded, in order.
fn numbers(recording: &Recording) -> Vec<i32> {
    let kills = table::<Kill>(recording);
    let mut numbers: Vec<i32> =
        kills.target_tid.iter().flatten().filter(|number| *number >= 10_000_000).collect();
    numbers.sort_unstable();
    numbers
}

/// Fails unless these are all numbers from `first` on.
fn assert_gapless(first: i32, numbers: &[i32]) {
    let gap = (first..).zip(numbers).find(|(number, recorded)| number != *recorded);
    assert_eq!(gap, None, "{} numbers from {first} on", numbers.len());
}

/// A letter for what a process does, as in /proc: R, S, T and so on.
fn state(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Fails if a process is stopped or traced, or has probes in its code.
pub fn assert_unharmed(pid: i32) {
    wait_for("the probes to go", || (changed_code(pid) == 0).then_some(()));
    let state = state(pid);
    assert!(state.is_some_and(|state| !matches!(state, 'T' | 't' | 'Z')), "{pid}: {state:?}");
}

/// How many bytes of a process's code are not those of the files that it was loaded from.
pub fn changed_code(pid: i32) -> usize {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut changed = 0;
    for line in maps.lines().filter(|line| line.contains(" r-xp ") && line.contains(" /")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let hex = |text: &str| u64::from_str_radix(text, 16).unwrap();
        let (start, end) = words[0].split_once('-').unwrap();
        let length = (hex(end) - hex(start)) as usize;
        let (mut loaded, mut stored) = (vec![0; length], vec![0; length]);
        memory.read_exact_at(&mut loaded, hex(start)).unwrap();
        let file = File::open(words[5]).unwrap();
        // The last page may be longer than the file.
        let in_file = file.read_at(&mut stored, hex(words[2])).unwrap();
        changed += std::iter::zip(&loaded[..in_file], &stored).filter(|(a, b)| a != b).count();
    }
    changed
}

/// How many rows of a table a recording has, and how many of it are lost.
fn rows_and_lost(recorded: &Recorded, table: TableId) -> (u64, u64) {
    let totals = &recorded.recording.manifest().totals;
    totals.get(table.name()).map_or((0, 0), |total| (total.rows, total.lost))
}
