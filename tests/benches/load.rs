//! The load generator: a BPF program that makes rows of `sample` on one CPU, at a given rate or as
//! fast as it can. It writes into whatever rings it is given, so the recorder's own or a peer's.

#![expect(unsafe_code, reason = "it measures and drives by system calls")]

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use libbpf_rs::{MapCore as _, MapFlags, MapHandle, Object, ObjectBuilder, ProgramInput};
use lookback_schemas::TableId;
use lookback_schemas::wire::{Bits, COUNTERS, Chars, Reason, Settings};
use zerocopy::IntoBytes as _;

/// The CPU that makes the rows. The consumer has the others.
pub const CPU: usize = 0;
/// How often a paced producer makes some rows.
const BEAT: Duration = Duration::from_millis(1);
/// Rows of one call into the kernel by a producer that is not paced: about a millisecond.
const CHUNK: u64 = 10_000;

/// The maps that a consumer shares with its producer.
#[derive(Debug)]
pub struct Shared {
    /// The ring of each CPU.
    pub rings: MapHandle,
    /// What the producer counted.
    pub counters: MapHandle,
    /// Size of each ring.
    pub ring_bytes: usize,
}

/// What the producer's counters say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Rows that it made, or would have made.
    pub seen: u64,
    /// Those of them that the ring had no room for.
    pub lost: u64,
}

impl Shared {
    /// What was counted so far.
    pub fn counted(&self) -> Result<Counted> {
        let counter = |what: usize| -> Result<u64> {
            let index = (TableId::Sample as usize * COUNTERS + what) as u32;
            let values = self.counters.lookup_percpu(&index.to_ne_bytes(), MapFlags::ANY)?;
            let values = values.context("there is no such counter")?;
            Ok(values.iter().filter_map(|v| v.first_chunk()).map(|v| u64::from_ne_bytes(*v)).sum())
        };
        Ok(Counted { seen: counter(0)?, lost: counter(Reason::RingFull as usize)? })
    }
}

/// How fast rows are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// So many in a second.
    PerSecond(u64),
    /// As fast as one CPU can.
    Unpaced,
}

/// What was made.
#[derive(Clone, Copy, Debug)]
pub struct Made {
    /// Rows, also those that were lost.
    pub rows: u64,
    /// From the first to the last of them.
    pub elapsed: Duration,
    /// Time in the program, the median call's, per row.
    pub row_ns: f64,
}

/// The producer, loaded.
#[derive(Debug)]
pub struct Load {
    object: Object,
}

impl Load {
    /// Loads it, to write into `shared`.
    ///
    /// # Errors
    /// If the kernel refuses it.
    pub fn new(shared: &Shared) -> Result<Load> {
        const OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/load.bpf.o"));
        // A copy, because libelf wants it aligned.
        let object = OBJECT.to_vec();
        let mut open = ObjectBuilder::default().open_memory(&object)?;
        let settings = Settings {
            ring_bytes: shared.ring_bytes as i64,
            cgroup: 0,
            cgroup_level: 0,
            uid: -1,
            comm: Chars([0; 16]),
            by_target: 0,
            follow: 0,
            own_pid: 0,
            page_size: 4096,
            min_duration: 0,
            thread_exits: 0,
            ways: 0,
            syscall_args: 0,
            some_syscalls: 0,
            syscalls: Bits::of([]),
            min_latency: 0,
            min_size: 0,
            max_size: 0,
            kalloc_kinds: 0,
            lport: 0,
            rport: 0,
            family: 0,
            rtt_sample: 1,
            tid: 0,
            denied: 0,
            alloc_sample: 0,
            alloc_stacks: 0,
            alloc_follow: 0,
            command: 0,
        };
        for mut map in open.maps_mut() {
            match map.name().to_string_lossy().into_owned().as_str() {
                "rings" => map.reuse_fd(shared.rings.as_fd())?,
                "counters" => map.reuse_fd(shared.counters.as_fd())?,
                "bare_ring" => map.set_max_entries(shared.ring_bytes as u32)?,
                name if name.ends_with(".rodata.settings") => {
                    map.set_initial_value(settings.as_bytes())?
                }
                _own => {}
            }
        }
        Ok(Load { object: open.load().context("the kernel refuses the load generator")? })
    }

    /// Runs one of its programs on [`CPU`], to which it binds this thread.
    ///
    /// # Errors
    /// If there is no such program or CPU.
    pub fn run(&self, program: &str, rate: Rate, time: Duration) -> Result<Made> {
        bind_to(CPU)?;
        let program =
            self.object.progs_mut().find(|p| p.name() == program).context("no such program")?;
        let chunk = match rate {
            Rate::PerSecond(rows) => rows * BEAT.as_nanos() as u64 / 1_000_000_000,
            Rate::Unpaced => CHUNK,
        };
        let mut calls = Vec::new();
        let began = Instant::now();
        while began.elapsed() < time {
            let mut context = chunk.to_ne_bytes();
            let call = Instant::now();
            program
                .test_run(ProgramInput { context_in: Some(&mut context), ..Default::default() })?;
            calls.push(call.elapsed());
            if let Rate::PerSecond(_) = rate {
                let next = began + BEAT * calls.len() as u32;
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        }
        let (rows, elapsed) = (chunk * calls.len() as u64, began.elapsed());
        calls.sort_unstable();
        let median = calls[calls.len() / 2];
        Ok(Made { rows, elapsed, row_ns: median.as_nanos() as f64 / chunk as f64 })
    }
}

fn bind_to(cpu: usize) -> Result<()> {
    // SAFETY: a cpu_set_t is an array of integers, for which zeros are valid.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `cpu` is small, and CPU_SET ignores what does not fit into the set.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the pointer and the size are those of one set.
    let result = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
    if result != 0 {
        return Err(std::io::Error::last_os_error()).context("cannot bind the producer to a CPU");
    }
    Ok(())
}
