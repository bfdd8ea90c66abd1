//! The recorder under test: the real program, started as a user would, and what it used.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use libbpf_rs::{MapCore as _, MapHandle, MapType};
use lookback_schemas::TableId;
use lookback_schemas::manifest::Total;
use lookback_schemas::recording::Recording;

use crate::load::Shared;

/// By then it has written its rows: it hands them on every 750 ms.
const QUIET: Duration = Duration::from_millis(1500);

/// A recorder that runs.
#[derive(Debug)]
pub struct Subject {
    child: Child,
    directory: PathBuf,
    began: Instant,
    before: Threads,
}

/// CPU time by thread.
#[derive(Clone, Copy, Debug, Default)]
struct Threads {
    drain: Duration,
    encoder: Duration,
    other: Duration,
}

impl Threads {
    fn all(self) -> Duration {
        self.drain + self.encoder + self.other
    }
}

/// What a recording took.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    /// CPU time of the drain thread,
    pub drain: Duration,
    /// of the encoder thread,
    pub encoder: Duration,
    /// and of the whole process until it ended, also for ending.
    pub cpu: Duration,
    /// CPU time per time while the load was on and its last rows were written.
    pub share: f64,
    /// The largest resident set, in bytes.
    pub peak_rss: u64,
    /// What the manifest says about the rows.
    pub total: Total,
    /// Rows that are on disk.
    pub rows: u64,
    /// Bytes of the table on disk.
    pub bytes: u64,
}

impl Subject {
    /// Starts it. What it records itself is next to nothing: signals of this process.
    pub fn start(directory: &Path) -> Result<(Subject, Shared)> {
        let own_pid = std::process::id().to_string();
        let child = Command::new(env!("CARGO_BIN_EXE_record"))
            .args(["--quiet", "--trace", "signal", "--no-follow", "--pid", &own_pid, "--output"])
            .arg(directory)
            .stdin(Stdio::null())
            .spawn()
            .context("cannot start record")?;
        let mut subject = Subject {
            child,
            directory: directory.to_owned(),
            began: Instant::now(),
            before: Threads::default(),
        };
        // Its first rows are those of the processes that run already.
        let ready = directory.join(TableId::Process.name()).join("000001.parquet");
        while !ready.exists() {
            if let Some(status) = subject.child.try_wait()? {
                bail!("record ended with {status}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(Duration::from_millis(100));
        let shared = subject.shared()?;
        subject.before = subject.threads()?;
        subject.began = Instant::now();
        Ok((subject, shared))
    }

    /// Its maps: the kernel names their ids in /proc/PID/fdinfo.
    fn shared(&self) -> Result<Shared> {
        let (mut rings, mut counters, mut ring_bytes) = (None, None, None);
        for entry in std::fs::read_dir(format!("/proc/{}/fdinfo", self.child.id()))? {
            let info = std::fs::read_to_string(entry?.path())?;
            let Some(id) = info.lines().find_map(|line| line.strip_prefix("map_id:")) else {
                continue;
            };
            let map = MapHandle::from_map_id(id.trim().parse()?)?;
            match map.name().to_string_lossy().into_owned().as_str() {
                "rings" => rings = Some(map),
                "counters" => counters = Some(map),
                _ if map.map_type() == MapType::RingBuf => {
                    ring_bytes = Some(map.max_entries() as usize)
                }
                _ => {}
            }
        }
        let (Some(rings), Some(counters), Some(ring_bytes)) = (rings, counters, ring_bytes) else {
            bail!("record has no rings: its maps have other names now");
        };
        Ok(Shared { rings, counters, ring_bytes })
    }

    fn threads(&self) -> Result<Threads> {
        let mut threads = Threads::default();
        for entry in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let path = entry?.path();
            let name = std::fs::read_to_string(path.join("comm"))?;
            let spent = std::fs::read_to_string(path.join("schedstat"))?;
            let spent = spent.split(' ').next().context("schedstat is empty")?.parse()?;
            *match name.trim() {
                "drain" => &mut threads.drain,
                "encoder" => &mut threads.encoder,
                _ => &mut threads.other,
            } += Duration::from_nanos(spent);
        }
        Ok(threads)
    }

    /// Ends it as Ctrl-C would, and tells what it used since it was ready.
    pub fn finish(self) -> Result<Used> {
        std::thread::sleep(QUIET);
        let after = self.threads()?;
        let share =
            (after.all() - self.before.all()).as_secs_f64() / self.began.elapsed().as_secs_f64();
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let peak =
            status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
        let peak: u64 = peak.trim().trim_end_matches(" kB").parse()?;
        // SAFETY: no memory is involved; the child was not waited for yet, so the pid is its.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGINT) };
        let (status, cpu) = wait(&self.child)?;
        if !status.success() {
            bail!("record ended with {status}");
        }
        let recording = Recording::open(&self.directory)?;
        let total =
            recording.manifest().totals.get(TableId::Sample.name()).copied().unwrap_or_default();
        let (mut rows, mut bytes) = (0, 0);
        for segment in recording.segments(TableId::Sample)? {
            rows += segment.rows();
            bytes += std::fs::metadata(segment.path())?.len();
        }
        Ok(Used {
            drain: after.drain - self.before.drain,
            encoder: after.encoder - self.before.encoder,
            cpu: cpu - self.before.all(),
            share,
            peak_rss: peak * 1024,
            total,
            rows,
            bytes,
        })
    }
}

/// Waits for a process, and tells its CPU time: user and system, with that of the children that it
/// waited for.
pub fn wait(child: &Child) -> Result<(ExitStatus, Duration)> {
    let mut status = 0;
    // SAFETY: an rusage is made of integers, for which zeros are valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to variables of the types that wait4 fills.
    let pid = unsafe { libc::wait4(child.id() as i32, &mut status, 0, &mut usage) };
    if pid < 0 {
        return Err(std::io::Error::last_os_error()).context("cannot wait for a process");
    }
    Ok((ExitStatus::from_raw(status), cpu_time(&usage)))
}

/// User and system time together.
pub fn cpu_time(usage: &libc::rusage) -> Duration {
    let time = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
    };
    time(usage.ru_utime) + time(usage.ru_stime)
}
