//! Recordings of what really happened.
//!
//! They need BPF. Only processes that the tests start are recorded, but in a virtual machine of
//! `tests/kernels`, where nobody else is.

mod all_tracers;
mod alloc;
mod capabilities;
mod custom;
#[cfg(feature = "analyze")]
mod diff;
mod ending;
mod faults;
mod files;
mod filters;
mod flight;
mod gc;
mod hooks;
mod hostile_binaries;
mod irqs;
mod jit;
mod kalloc;
mod lacks;
mod losses;
mod lsm;
mod network;
mod offcpu;
mod overload;
mod parity;
mod privacy;
mod process;
mod profile;
mod readline;
mod runq;
mod service;
mod shop;
mod signal;
mod sites;
mod symbols;
mod syscall;
mod tcp;
mod types;
mod unwind;
mod usdt;
mod vm;
mod whole_system;

use std::path::Path;
use std::process::Command;
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::recording::RECORD;
use crate::running;

/// Tests that measure time or CPU usage take turns with all others.
static TURNS: RwLock<()> = RwLock::new(());

/// A turn beside other tests; `None`, after saying why, where these tracers do not work.
pub fn shared(tracers: &[&str]) -> Option<RwLockReadGuard<'static, ()>> {
    possible(tracers).then(|| TURNS.read().unwrap_or_else(PoisonError::into_inner))
}

/// A turn without any other live test at the same time; `None` likewise.
pub fn alone(tracers: &[&str]) -> Option<RwLockWriteGuard<'static, ()>> {
    possible(tracers).then(undisturbed)
}

/// A turn without any live test at the same time, for what needs no tracers here.
pub fn undisturbed() -> RwLockWriteGuard<'static, ()> {
    TURNS.write().unwrap_or_else(PoisonError::into_inner)
}

/// Says that a test is left out, and why. That is a failure where live tests are required.
pub fn skip(why: &str) {
    assert!(
        std::env::var_os("LOOKBACK_REQUIRE_LIVE").is_none_or(|value| value != "1"),
        "LOOKBACK_REQUIRE_LIVE=1, but {why}"
    );
    eprintln!("skipped: {why}");
}

/// Says that a part of a test is left out, since something is not installed that not everybody has. In
/// a virtual machine that is as the host is.
pub fn missing(what: &str) {
    if running::in_vm() {
        eprintln!("left out: {what}");
    } else {
        skip(what);
    }
}

/// Whether the tracepoints' fields can be known; says so where not.
pub fn has_tracefs() -> bool {
    let mounted = Path::new("/sys/kernel/tracing/events").is_dir();
    if !mounted {
        skip("tracefs is not mounted: mount -t tracefs tracefs /sys/kernel/tracing");
    }
    mounted
}

fn possible(tracers: &[&str]) -> bool {
    static LIST: OnceLock<Result<String, String>> = OnceLock::new();
    let list = LIST.get_or_init(|| {
        let ended = running::run(Command::new(RECORD).arg("--list"));
        if ended.status.success() { Ok(ended.stdout) } else { Err(ended.stderr) }
    });
    let why = match list {
        Ok(list) => tracers.iter().find_map(|tracer| why_not(list, tracer)),
        Err(error) => Some(error.trim().to_owned()),
    };
    if let Some(why) = &why {
        skip(why);
    }
    why.is_none()
}

/// Why `record --list` says that a tracer does not work.
fn why_not(list: &str, tracer: &str) -> Option<String> {
    let mut lines = list.lines().skip_while(|line| line.split(' ').next() != Some(tracer));
    lines.next().unwrap_or_else(|| panic!("no `{tracer}` in {list}"));
    lines
        .take_while(|line| line.starts_with(' '))
        .find_map(|line| line.trim_start().strip_prefix("does not work: "))
        .map(|why| format!("{tracer} does not work here: {why}"))
}
