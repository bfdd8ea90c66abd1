//! What programs use: CPU time, and room on the disk.

#![expect(unsafe_code, reason = "it measures and drives by system calls")]

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use anyhow::{Context as _, Result};

/// CPU time of a recorder by thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct Threads {
    /// The thread that empties the rings,
    pub drain: Duration,
    /// the one that makes tables,
    pub encoder: Duration,
    /// and the others.
    pub other: Duration,
}

impl Threads {
    /// That of the process until now, without threads that have ended.
    ///
    /// # Errors
    /// If there is no such process.
    pub fn of(pid: u32) -> Result<Threads> {
        let mut threads = Threads::default();
        for entry in std::fs::read_dir(format!("/proc/{pid}/task"))? {
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

    /// All of them.
    pub fn all(self) -> Duration {
        self.drain + self.encoder + self.other
    }
}

/// Waits for a process, and tells its CPU time: user and system, with that of the children that it
/// waited for.
///
/// # Errors
/// If it is no child, or was waited for.
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

/// Bytes of a file, or of all files in a folder.
///
/// # Errors
/// If there is no such file.
pub fn bytes_of(path: &Path) -> Result<u64> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_dir() {
        return Ok(metadata.len());
    }
    std::fs::read_dir(path)?.map(|entry| bytes_of(&entry?.path())).sum()
}
