//! The BPF maps that all tracers share: rings, counters, targets, and the stacks that were seen.
//!
//! Each tracer is a BPF object of its own, and declares these maps so that its programs can name
//! them. Before it is loaded, its declarations are replaced by the maps that are made here.

use std::net::IpAddr;
use std::os::fd::{AsFd as _, AsRawFd as _};

use anyhow::{Context as _, Result, bail};
use libbpf_rs::{MapCore as _, MapFlags, MapHandle, MapType, OpenObject};
use lookback_schemas::TableId;
use lookback_schemas::wire::{COUNTERS, Settings, WEIGHT_STEPS, WEIGHTS};
use zerocopy::IntoBytes as _;

use crate::selection::Destination;
use crate::unwind::UnwindMaps;

/// All rings together, if the user does not say otherwise: enough for 10 ms of five million events a
/// second on one CPU of two, and still little on a machine with many.
const RINGS_BYTES: usize = 16 << 20;
/// The smallest and the largest ring by default. A page is the smallest that the kernel takes.
const RING_BYTES: std::ops::RangeInclusive<usize> = 512 << 10..=8 << 20;
/// How many processes can be followed at a time.
const TARGETS: u32 = 1 << 16;
/// How many stacks are remembered as sent.
const STACKS: u32 = 1 << 16;
/// How many sockets can be known at a time.
const SOCKETS: u32 = 1 << 16;

/// In how many threads, or under how many keys, spans can be open at a time.
const SPANS: u32 = 1 << 14;
/// How many allocations of the kernel can be known at a time, where only some are recorded.
const BLOCKS: u32 = 1 << 17;
/// How many blocks of programs can be known at a time, where only some are recorded.
const HEAP_BLOCKS: u32 = 1 << 18;
/// How many destinations can be denied.
const DENIED: u32 = 1024;

/// `struct destination` of bpf/lsmconnect.bpf.c.
#[repr(C)]
#[derive(zerocopy::IntoBytes, zerocopy::Immutable)]
struct Denied {
    /// IPv4 is mapped into IPv6.
    address: [u8; 16],
    /// 0 is every port.
    port: u32,
}

/// The shared maps.
#[derive(Debug)]
pub struct Maps {
    /// The ring buffer of each CPU, by its number.
    pub rings: Vec<MapHandle>,
    rings_by_cpu: MapHandle,
    counters: MapHandle,
    targets: MapHandle,
    stacks_seen: MapHandle,
    stopped: MapHandle,
    denied: MapHandle,
    weights: MapHandle,
    code_changes: MapHandle,
    /// By what stacks are walked.
    pub unwind: UnwindMaps,
}

impl Maps {
    /// Creates the maps, with rings of `ring_bytes` each, or of a size that suits the machine.
    ///
    /// # Errors
    /// If the kernel refuses, or `ring_bytes` is no power of two of at least a page.
    pub fn create(ring_bytes: Option<u64>) -> Result<(Maps, usize)> {
        let cpus = libbpf_rs::num_possible_cpus().context("cannot count the CPUs")?;
        let ring_bytes = match ring_bytes {
            Some(bytes) => match usize::try_from(bytes) {
                Ok(bytes) if bytes.is_power_of_two() && (4096..=1 << 30).contains(&bytes) => bytes,
                Ok(_) | Err(_) => {
                    bail!("--buffer: {bytes} bytes is no power of two between 4 KiB and 1 GiB")
                }
            },
            None => (RINGS_BYTES / cpus)
                .next_power_of_two()
                .clamp(*RING_BYTES.start(), *RING_BYTES.end()),
        };
        let ring = || map(MapType::RingBuf, "lookback_ring", 0, 0, ring_bytes as u32, None);
        let rings = (0..cpus).map(|_| ring()).collect::<Result<Vec<_>>>()?;
        let cpus = cpus as u32;
        let rings_by_cpu = map(MapType::ArrayOfMaps, "rings", 4, 4, cpus, rings.first())?;
        for (cpu, ring) in (0..cpus).zip(&rings) {
            let fd = ring.as_fd().as_raw_fd();
            rings_by_cpu.update(&cpu.to_ne_bytes(), &fd.to_ne_bytes(), MapFlags::ANY)?;
        }
        let counters = (TableId::ALL.len() * COUNTERS) as u32;
        let maps = Maps {
            rings,
            rings_by_cpu,
            counters: map(MapType::PercpuArray, "counters", 4, 8, counters, None)?,
            targets: map(MapType::Hash, "targets", 4, 1, TARGETS, None)?,
            stacks_seen: map(MapType::Hash, "stacks_seen", 8, 1, STACKS, None)?,
            stopped: map(MapType::Array, "stopped", 4, 4, TableId::ALL.len() as u32, None)?,
            denied: map(MapType::Hash, "denied", size_of::<Denied>() as u32, 1, DENIED, None)?,
            weights: map(MapType::Array, "weights", 4, 8, WEIGHTS as u32, None)?,
            code_changes: map(MapType::Array, "code_changes", 4, 8, 2, None)?,
            unwind: UnwindMaps::create()?,
        };
        Ok((maps, ring_bytes))
    }

    /// Puts the shared maps into an object that is about to be loaded, and tells it the settings.
    ///
    /// # Errors
    /// If libbpf refuses one.
    pub fn share(&self, object: &mut OpenObject, settings: &Settings) -> Result<()> {
        for mut map in object.maps_mut() {
            let name = map.name().to_string_lossy().into_owned();
            let shared = match name.as_str() {
                "rings" => &self.rings_by_cpu,
                "counters" => &self.counters,
                "targets" => &self.targets,
                "stacks_seen" => &self.stacks_seen,
                "stopped" => &self.stopped,
                "denied" => &self.denied,
                "weights" => &self.weights,
                "code_changes" => &self.code_changes,
                "unwind_spaces" => &self.unwind.spaces,
                "unwind_ranges" => &self.unwind.ranges,
                "unwind_arenas" => &self.unwind.arenas,
                "pending" => {
                    map.set_max_entries(threads())?;
                    continue;
                }
                "sockets" | "listeners" | "attempts" => {
                    map.set_max_entries(SOCKETS)?;
                    continue;
                }
                "open_spans" | "keyed_spans" => {
                    map.set_max_entries(SPANS)?;
                    continue;
                }
                "blocks" => {
                    map.set_max_entries(BLOCKS)?;
                    continue;
                }
                "heap_blocks" if settings.leaves_out_allocations() => {
                    map.set_max_entries(HEAP_BLOCKS)?;
                    continue;
                }
                // libbpf puts a part of the object's name before it.
                data if data.ends_with(".rodata.settings") => {
                    map.set_initial_value(settings.as_bytes())
                        .with_context(|| format!("cannot set {data}"))?;
                    continue;
                }
                _own => continue,
            };
            map.reuse_fd(shared.as_fd()).with_context(|| format!("cannot share map {name}"))?;
        }
        Ok(())
    }

    /// Adds a process to those that are recorded.
    ///
    /// # Errors
    /// If the map is full.
    pub fn add_target(&self, pid: i32) -> Result<()> {
        self.targets
            .update(&pid.to_ne_bytes(), &[1], MapFlags::ANY)
            .with_context(|| format!("cannot follow process {pid}"))
    }

    /// Adds a destination to those that nobody may connect to.
    ///
    /// # Errors
    /// If the map is full.
    pub fn deny(&self, destination: Destination) -> Result<()> {
        let address = match destination.address {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        let key = Denied { address: address.octets(), port: destination.port.into() };
        self.denied
            .update(key.as_bytes(), &[1], MapFlags::ANY)
            .with_context(|| format!("--deny-connect: no more than {DENIED} addresses"))
    }

    /// Tells the programs what sampled allocations stand for, where one for about `rate` bytes is
    /// recorded: one of `s` bytes for `s / (1 - e^(-s / rate))`. See `bpf/alloc.bpf.c`.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn sample_allocations(&self, rate: i64) -> Result<()> {
        for step in 0..WEIGHTS as u32 {
            let rates = f64::from(step) / WEIGHT_STEPS as f64;
            let weight = if step == 0 { 1.0 } else { rates / -(-rates).exp_m1() };
            let bytes = (rate as f64 * weight).round() as u64;
            self.weights.update(&step.to_ne_bytes(), &bytes.to_ne_bytes(), MapFlags::ANY)?;
        }
        Ok(())
    }

    /// How often recorded processes have mapped more code so far, and how often the command has called
    /// exec.
    ///
    /// # Errors
    /// If the kernel does not tell.
    pub fn code_changes(&self) -> Result<[u64; 2]> {
        let read = |what: u32| {
            let value = self.code_changes.lookup(&what.to_ne_bytes(), MapFlags::ANY)?;
            let bytes = value.context("the map of changes is too small")?;
            anyhow::Ok(bytes.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes)))
        };
        Ok([read(0)?, read(1)?])
    }

    /// The processes that are recorded.
    pub fn targets(&self) -> Vec<i32> {
        let pid = |key: Vec<u8>| key.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes));
        self.targets.keys().filter_map(pid).collect()
    }

    /// Whether a process is recorded.
    pub fn is_target(&self, pid: i32) -> bool {
        matches!(self.targets.lookup(&pid.to_ne_bytes(), MapFlags::ANY), Ok(Some(_)))
    }

    /// Forgets processes that are gone: of one whose end the kernel did not tell, we would wait for ever.
    pub fn forget_gone(&self) {
        for pid in self.targets() {
            if !std::path::Path::new("/proc").join(pid.to_string()).exists() {
                // Somebody else may have been faster.
                let _ = self.targets.delete(&pid.to_ne_bytes());
            }
        }
    }

    /// Has stacks with these hashes sent again when they are met.
    pub fn forget_stacks(&self, hashes: &[i64]) {
        for hash in hashes {
            // One that did not fit into the map is sent each time anyway.
            let _ = self.stacks_seen.delete(&hash.to_ne_bytes());
        }
    }

    /// Has events of a table only counted, or recorded again.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn stop(&self, table: TableId, stopped: bool) -> Result<()> {
        let (key, value) = (table as u32, u32::from(stopped));
        self.stopped
            .update(&key.to_ne_bytes(), &value.to_ne_bytes(), MapFlags::ANY)
            .with_context(|| format!("cannot stop or start table {}", table.name()))
    }

    /// Whether there is still anything to record.
    pub fn has_targets(&self) -> bool {
        self.targets.keys().next().is_some()
    }

    /// Counts events of a table as seen that user space makes up.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn count_seen(&self, table: TableId, events: u64) -> Result<()> {
        let mut seen = self.counter(table, 0)?;
        if let Some(first) = seen.first_mut() {
            *first += events;
        }
        let key = (table as usize * COUNTERS) as u32;
        let values: Vec<Vec<u8>> = seen.iter().map(|count| count.to_ne_bytes().to_vec()).collect();
        self.counters
            .update_percpu(&key.to_ne_bytes(), &values, MapFlags::ANY)
            .context("cannot write the counters")
    }

    /// A counter of a table, per CPU.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn counter(&self, table: TableId, what: usize) -> Result<Vec<u64>> {
        let index = (table as usize * COUNTERS + what) as u32;
        let values = self
            .counters
            .lookup_percpu(&index.to_ne_bytes(), MapFlags::ANY)
            .context("cannot read the counters")?
            .context("the map of counters is too small")?;
        Ok(values
            .iter()
            .map(|value| value.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes)))
            .collect())
    }
}

/// How many threads can be in the middle of something at once: as many as the kernel lets live, up to
/// what takes some 10 MB. More are counted as lost ("map full").
fn threads() -> u32 {
    let limit = std::fs::read_to_string("/proc/sys/kernel/threads-max");
    let limit = limit.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(u32::MAX);
    limit.clamp(1 << 12, 1 << 16)
}

/// Creates a map, of which `inner` is an example of the values if they are maps.
///
/// # Errors
/// If the kernel refuses.
pub fn map(
    kind: MapType,
    name: &str,
    key: u32,
    value: usize,
    entries: u32,
    inner: Option<&MapHandle>,
) -> Result<MapHandle> {
    let options = libbpf_rs::libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_rs::libbpf_sys::bpf_map_create_opts>() as _,
        inner_map_fd: inner.map_or(0, |inner| inner.as_fd().as_raw_fd() as u32),
        ..Default::default()
    };
    MapHandle::create(kind, Some(name), key, value as u32, entries, &options)
        .with_context(|| format!("the kernel does not make a map `{name}` of {entries} entries"))
}
