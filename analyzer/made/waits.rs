//! Rows of time off the CPUs.

use lookback_schemas::tables::Offcpu;
use lookback_schemas::wire::{Flag, Header, Monotonic, StackHash};

use super::{Made, Row, at, comm, known, row};

/// A thread was off the CPUs.
#[derive(Clone, Copy)]
pub struct Away<'a> {
    pub seconds: f64,
    pub duration: Option<i64>,
    pub runnable: Option<i64>,
    pub user: Option<i64>,
    pub kernel: Option<i64>,
    pub state: Option<i32>,
    pub io: bool,
    pub syscall: Option<i32>,
    pub pid: i32,
    pub tid: i32,
    /// The CPU that it left; it comes back to CPU 1.
    pub cpu: i32,
    pub comm: &'a str,
    pub by_interrupt: Option<i32>,
    pub waker: Option<(i32, &'a str)>,
}

impl<'a> Away<'a> {
    /// A main thread slept so many milliseconds in system call 202, until thread 20 woke it, and then waited
    /// 1 ms for a CPU.
    pub fn slept(seconds: f64, pid: i32, comm: &'a str, ms: i64) -> Away<'a> {
        Away {
            seconds,
            duration: Some(ms * 1_000_000),
            runnable: Some(1_000_000),
            user: None,
            kernel: None,
            state: Some(1),
            io: false,
            syscall: Some(202),
            pid,
            tid: pid,
            cpu: 0,
            comm,
            by_interrupt: Some(0),
            waker: Some((20, "waker")),
        }
    }

    /// A main thread was preempted.
    pub fn preempted(seconds: f64, pid: i32, comm: &'a str, ms: i64) -> Away<'a> {
        Away {
            runnable: Some(ms * 1_000_000),
            state: Some(0),
            syscall: None,
            by_interrupt: None,
            waker: None,
            ..Away::slept(seconds, pid, comm, ms)
        }
    }

    /// The same wait with these stacks.
    pub fn at(self, user: Option<i64>, kernel: Option<i64>) -> Away<'a> {
        Away { user, kernel, ..self }
    }

    /// The same wait as one that did not end.
    pub fn open(self) -> Away<'a> {
        Away { duration: None, runnable: None, by_interrupt: None, waker: None, ..self }
    }
}

impl Made {
    pub fn offcpu(&self, of: Away<'_>) -> Row {
        let offcpu = Offcpu {
            header: Header::default(),
            ts: Monotonic(at(of.seconds)),
            duration: known(of.duration, i64::MIN),
            runnable: known(of.runnable, i64::MIN),
            user_stack: StackHash(of.user.unwrap_or(i64::MIN)),
            kernel_stack: StackHash(of.kernel.unwrap_or(i64::MIN)),
            state: known(of.state, i32::MIN),
            io: Flag(u32::from(of.io)),
            syscall: known(of.syscall, i32::MIN),
            pid: of.pid,
            tid: of.tid,
            uid: 1000,
            cpu: of.cpu,
            next_cpu: known(of.duration.map(|_| 1), i32::MIN),
            prio: 120,
            woken_by_interrupt: known(of.by_interrupt, i32::MIN),
            waker_pid: known(of.waker.map(|(tid, _)| tid), i32::MIN),
            waker_tid: known(of.waker.map(|(tid, _)| tid), i32::MIN),
            comm: comm(of.comm),
            waker_comm: comm(of.waker.map_or("", |(_, name)| name)),
        };
        row(offcpu, &[])
    }
}
