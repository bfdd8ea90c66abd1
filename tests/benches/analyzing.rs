//! `analyze`, run as users would, and what the kernel says that it took.

#![expect(unsafe_code, reason = "it measures and drives by system calls")]

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Result, bail};

/// What a program took.
pub struct Took {
    /// Seconds on the clock.
    pub wall: f64,
    /// Seconds on CPUs.
    pub cpu: f64,
    /// Bytes of memory, at most.
    pub memory: f64,
}

/// Runs a command, which is shown nowhere.
///
/// # Errors
/// If it cannot be run, or fails.
pub fn run(command: &mut Command) -> Result<Took> {
    let began = Instant::now();
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).spawn()?;
    let pid = i32::try_from(child.id()).expect("pids are small");
    let mut status = 0;
    // SAFETY: all zeroes are a valid `rusage`, which is plain numbers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both places are writable and outlive the call.
    let waited = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
    if waited != pid || status != 0 {
        bail!("{command:?} ended with {status}");
    }
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    Ok(Took {
        wall: began.elapsed().as_secs_f64(),
        cpu: seconds(usage.ru_utime) + seconds(usage.ru_stime),
        memory: usage.ru_maxrss as f64 * 1024.0,
    })
}
