//! What the recorder is compared with, measured in the same run.

#![expect(unsafe_code, reason = "it measures and drives by system calls")]

use std::fs::File;
use std::io::{BufWriter, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use arrow::record_batch::RecordBatch;
use libbpf_rs::libbpf_sys::bpf_map_create_opts;
use libbpf_rs::{MapCore as _, MapFlags, MapHandle, MapType, RingBufferBuilder};
use lookback_schemas::TableId;
use lookback_schemas::recording::Recording;
use lookback_schemas::segment::{Rotation, TableWriter};
use lookback_schemas::wire::COUNTERS;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::load::{Counted, Load, Made, Rate, Shared};
use crate::usage::{bytes_of, cpu_time, wait};

/// How often the minimal consumers look, as the recorder does.
const TICK: Duration = Duration::from_millis(10);

/// What a minimal consumer used.
#[derive(Clone, Copy, Debug)]
pub struct Minimal {
    /// CPU time of its thread.
    pub cpu: Duration,
    /// Rows that it saw.
    pub rows: u64,
    /// What the producer counted.
    pub counted: Counted,
}

/// The same load into rings of its own, drained by a thread that does no more than count the rows,
/// or, if there is a file, copies them there as they are.
///
/// # Errors
/// If the kernel refuses.
pub fn minimal(
    ring_bytes: usize,
    copy: Option<&Path>,
    rate: Rate,
    time: Duration,
) -> Result<(Minimal, Made)> {
    let (shared, ring) = own_rings(ring_bytes)?;
    let load = Load::new(&shared)?;
    let over = AtomicBool::new(false);
    let ((rows, cpu), made) = std::thread::scope(|scope| -> Result<_> {
        let consumer = scope.spawn(|| consume(&ring, copy, &over));
        // In a thread of its own too, since it is bound to a CPU.
        let made = scope.spawn(|| load.run("load", rate, time)).join().expect("it does not panic");
        over.store(true, Ordering::Release);
        Ok((consumer.join().expect("it does not panic")?, made?))
    })?;
    Ok((Minimal { cpu, rows, counted: shared.counted()? }, made))
}

/// What a row costs its producer, in nanoseconds, while nobody takes rows out: as many as the ring
/// holds, in a new ring.
///
/// # Errors
/// If the kernel refuses.
pub fn undrained(program: &'static str) -> Result<f64> {
    const RING_BYTES: usize = 256 << 20;
    let (shared, _ring) = own_rings(RING_BYTES)?;
    let load = Load::new(&shared)?;
    let run = || load.run(program, Rate::Unpaced, Duration::from_millis(150));
    let made = std::thread::scope(|scope| scope.spawn(run).join().expect("it does not panic"))?;
    if shared.counted()?.lost > 0 {
        bail!("the ring is too small for this producer");
    }
    Ok(made.row_ns)
}

fn consume(ring: &MapHandle, copy: Option<&Path>, over: &AtomicBool) -> Result<(u64, Duration)> {
    let mut file =
        copy.map(File::create).transpose()?.map(|file| BufWriter::with_capacity(1 << 20, file));
    let mut rows = 0;
    let mut builder = RingBufferBuilder::new();
    builder.add(ring, |record: &[u8]| {
        rows += 1;
        let written = file.as_mut().map_or(Ok(()), |file| file.write_all(record));
        if written.is_ok() { 0 } else { -1 }
    })?;
    let ring = builder.build()?;
    loop {
        let last = over.load(Ordering::Acquire);
        ring.consume().context("the disk is full")?;
        if last {
            break;
        }
        ring.poll_raw(TICK);
    }
    drop(ring);
    // SAFETY: an rusage is made of integers, for which zeros are valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a variable of the type that getrusage fills.
    unsafe { libc::getrusage(libc::RUSAGE_THREAD, &mut usage) };
    Ok((rows, cpu_time(&usage)))
}

/// Maps as the recorder makes them, but with only one ring, which all CPUs share.
fn own_rings(ring_bytes: usize) -> Result<(Shared, MapHandle)> {
    let create = |kind, key, value, entries, inner: Option<&MapHandle>| {
        let options = bpf_map_create_opts {
            sz: size_of::<bpf_map_create_opts>() as _,
            inner_map_fd: inner.map_or(0, |inner| inner.as_fd().as_raw_fd() as u32),
            ..Default::default()
        };
        MapHandle::create(kind, Some("bench"), key, value, entries, &options)
    };
    let cpus = libbpf_rs::num_possible_cpus()? as u32;
    let ring = create(MapType::RingBuf, 0, 0, ring_bytes as u32, None)?;
    let rings = create(MapType::ArrayOfMaps, 4, 4, cpus, Some(&ring))?;
    for cpu in 0..cpus {
        let fd = ring.as_fd().as_raw_fd();
        rings.update(&cpu.to_ne_bytes(), &fd.to_ne_bytes(), MapFlags::ANY)?;
    }
    let counters =
        create(MapType::PercpuArray, 4, 8, (TableId::ALL.len() * COUNTERS) as u32, None)?;
    Ok((Shared { rings, counters, ring_bytes }, ring))
}

/// What encoding rows takes: CPU nanoseconds and bytes per row.
#[derive(Clone, Copy, Debug)]
pub struct Encoded {
    /// CPU nanoseconds per row.
    pub ns: f64,
    /// Bytes per row on disk.
    pub bytes: f64,
}

/// Writes the first rows of a recording again: as the recorder does, and with the settings that the
/// Parquet library has by default, but compressed with zstd as ours.
///
/// # Errors
/// If the recording cannot be read, or the disk is full.
pub fn encoders(recording: &Path, scratch: &Path) -> Result<(Encoded, Encoded)> {
    const ROW_GROUPS: usize = 6;
    let recording = Recording::open(recording)?;
    let mut groups: Vec<RecordBatch> = Vec::new();
    for segment in recording.segments(TableId::Sample)? {
        for group in 0..segment.metadata().num_row_groups().min(ROW_GROUPS - groups.len()) {
            let schema = lookback_schemas::cell::schema_of(TableId::Sample.columns());
            let batches: Vec<RecordBatch> =
                segment.reader(Some(vec![group]), None)?.collect::<Result<_, _>>()?;
            groups.push(
                arrow::compute::concat_batches(&batches[0].schema(), &batches)?
                    .with_schema(schema)?,
            );
        }
    }
    let rows: usize = groups.iter().map(RecordBatch::num_rows).sum();
    let per_row = |(cpu, bytes): (Duration, u64)| Encoded {
        ns: cpu.as_nanos() as f64 / rows as f64,
        bytes: bytes as f64 / rows as f64,
    };
    let ours = on_a_thread(|| {
        let directory = tempfile::tempdir_in(scratch)?;
        let mut writer = TableWriter::new(directory.path(), TableId::Sample, Rotation::default());
        groups.iter().try_for_each(|group| writer.append(group))?;
        writer.finish()?;
        Ok(writer.bytes())
    })?;
    let default = on_a_thread(|| {
        let path = scratch.join("default.parquet");
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .build();
        let mut writer =
            ArrowWriter::try_new(File::create(&path)?, groups[0].schema(), Some(properties))?;
        for group in &groups {
            writer.write(group)?;
            writer.flush()?;
        }
        writer.close()?;
        Ok(std::fs::metadata(&path)?.len())
    })?;
    Ok((per_row(ours), per_row(default)))
}

/// The CPU time of `work`, and its result.
fn on_a_thread(work: impl FnOnce() -> Result<u64> + Send) -> Result<(Duration, u64)> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let result = work()?;
            // SAFETY: an rusage is made of integers, for which zeros are valid.
            let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
            // SAFETY: the pointer is to a variable of the type that getrusage fills.
            unsafe { libc::getrusage(libc::RUSAGE_THREAD, &mut usage) };
            Ok((cpu_time(&usage), result))
        });
        thread.join().expect("it does not panic")
    })
}

/// What it takes to trace the system call `kill`, per call.
#[derive(Clone, Copy, Debug)]
pub struct Traced {
    /// Time of a call in the traced program.
    pub call_ns: f64,
    /// CPU time of the tracing program.
    pub ns: f64,
    /// Bytes of its output.
    pub bytes: f64,
}

/// Calls of `kill` that the traced program makes.
const CALLS: u32 = 500_000;

/// The traced program: this one, as a child. It prints the time and its CPU time in nanoseconds.
pub fn call_kill() {
    // SAFETY: SIGUSR1 is ignored from here on, so it disturbs nobody.
    unsafe { libc::signal(libc::SIGUSR1, libc::SIG_IGN) };
    let own_pid = std::process::id() as i32;
    let began = Instant::now();
    for _ in 0..CALLS {
        // SAFETY: no memory is involved.
        unsafe { libc::kill(own_pid, libc::SIGUSR1) };
    }
    let elapsed = began.elapsed();
    // SAFETY: an rusage is made of integers, for which zeros are valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a variable of the type that getrusage fills.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) };
    println!("{} {}", elapsed.as_nanos(), cpu_time(&usage).as_nanos());
}

/// The argument that makes this program [`call_kill`].
pub const CALL_KILL: &str = "--call-kill";

/// Runs the traced program under `tracer`, a command line, which writes `output`.
///
/// # Errors
/// If it fails.
pub fn traced(tracer: &[&str], output: &Path) -> Result<Traced> {
    let own = std::env::current_exe()?;
    let line = [tracer, &[own.to_str().context("odd path")?, CALL_KILL]].concat();
    let mut child = Command::new(line[0])
        .args(&line[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot run {}", line[0]))?;
    let mut said = String::new();
    child.stdout.take().expect("it is piped").read_to_string(&mut said)?;
    let (status, cpu) = wait(&child)?;
    let number = said.split_whitespace().map(|word| word.parse().map(Duration::from_nanos));
    let [Ok(elapsed), Ok(own_cpu)] = number.collect::<Vec<_>>()[..] else {
        bail!("{} failed with {status}", line[0])
    };
    let per_call = |time: Duration| time.as_nanos() as f64 / f64::from(CALLS);
    Ok(Traced {
        call_ns: per_call(elapsed),
        // Its own and that of the child that it waited for.
        ns: per_call(cpu.saturating_sub(own_cpu)),
        bytes: bytes_of(output)? as f64 / f64::from(CALLS),
    })
}
