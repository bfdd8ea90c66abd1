//! The recorder under test: the real program, started as a user would, and what it used.

#![expect(unsafe_code, reason = "it measures and drives by system calls")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use libbpf_rs::{MapCore as _, MapHandle, MapType};
use lookback_schemas::TableId;
use lookback_schemas::manifest::Total;
use lookback_schemas::recording::Recording;

use crate::disk::{self, Stored};
use crate::load::Shared;
use crate::usage::{Threads, wait};

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
    /// What is on disk.
    pub stored: Stored,
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
        subject.before = Threads::of(subject.child.id())?;
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

    /// Ends it as Ctrl-C would, and tells what it used since it was ready.
    pub fn finish(self) -> Result<Used> {
        std::thread::sleep(QUIET);
        let after = Threads::of(self.child.id())?;
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
        let stored = disk::table(&self.directory, TableId::Sample)?;
        Ok(Used {
            drain: after.drain - self.before.drain,
            encoder: after.encoder - self.before.encoder,
            cpu: cpu - self.before.all(),
            share,
            peak_rss: peak * 1024,
            total,
            stored,
        })
    }
}
