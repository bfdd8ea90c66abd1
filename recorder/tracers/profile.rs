//! `profile`: what runs on the CPUs, with user and kernel stacks. What bcc's profile shows.
//!
//! Every online CPU has its own sampling clock; with filters the kernel side drops samples of other
//! processes. `cycles` of the hardware is the better clock, since it does not tick with the
//! scheduler's and can interrupt sections with interrupts off; virtual machines mostly lack it, and
//! `cpu-clock`, a timer, is what remains.

#![expect(unsafe_code, reason = "`perf_event_open` is a system call that no crate here wraps")]

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};

use libbpf_rs::libbpf_sys::{
    PERF_COUNT_HW_CPU_CYCLES, PERF_COUNT_SW_CPU_CLOCK, PERF_FLAG_FD_CLOEXEC, PERF_TYPE_HARDWARE,
    PERF_TYPE_SOFTWARE, perf_event_attr,
};
use lookback_schemas::TableId;

use super::object;
use crate::hooks::{Attach, Feed, Hook, Kind, Tracer};

pub const TRACER: Tracer = Tracer {
    name: "profile",
    about: "samples of what runs on the CPUs, with user and kernel stacks",
    tables: &[TableId::Sample, TableId::Stack, TableId::Frame, TableId::Symbol],
    object: object!("profile"),
    feeds: &[Feed {
        gives: "samples",
        optional: false,
        hooks: &[
            Hook {
                kind: Kind::PerfEvent,
                name: "perf event cycles",
                programs: &[("sample", TableId::Sample)],
                attach: Attach::PerfEvents(cycles),
            },
            Hook {
                kind: Kind::PerfEvent,
                name: "perf event cpu-clock",
                programs: &[("sample", TableId::Sample)],
                attach: Attach::PerfEvents(cpu_clock),
            },
        ],
    }],
};

fn cycles(cpu: u32, frequency: u32) -> io::Result<OwnedFd> {
    open(PERF_TYPE_HARDWARE, PERF_COUNT_HW_CPU_CYCLES, cpu, frequency)
}

fn cpu_clock(cpu: u32, frequency: u32) -> io::Result<OwnedFd> {
    open(PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CPU_CLOCK, cpu, frequency)
}

fn open(kind: u32, event: u32, cpu: u32, frequency: u32) -> io::Result<OwnedFd> {
    const FREQUENCY: u64 = 1;
    let mut attr = perf_event_attr {
        type_: kind,
        size: size_of::<perf_event_attr>() as u32,
        config: u64::from(event),
        ..Default::default()
    };
    attr.__bindgen_anon_1.sample_freq = u64::from(frequency);
    attr.set_freq(FREQUENCY);
    let anyone: libc::pid_t = -1;
    let no_group = -1;
    // SAFETY: `attr` is a valid perf_event_attr of the size that it says.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attr,
            anyone,
            cpu as libc::c_int,
            no_group,
            PERF_FLAG_FD_CLOEXEC,
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so this is a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}
