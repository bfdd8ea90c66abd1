//! A row of `offcpu` as reports and flame graphs look at it.

use std::borrow::Cow;

use arrow::array::Array as _;
use lookback_schemas::tables::offcpu::State;

use crate::processes::known;
use crate::tally::projection;

projection! {
    /// What is read of waits.
    pub(crate) struct Rows of Offcpu {
        ts: i64,
        duration: Option<i64>,
        runnable: Option<i64>,
        user_stack: Option<i64>,
        kernel_stack: Option<i64>,
        state: Option<i32>,
        io: bool,
        syscall: Option<i32>,
        pid: i32,
        tid: i32,
        woken_by_interrupt: Option<i32>,
        comm: Option<String>,
        waker_comm: Option<String>,
    }
}

impl Rows {
    /// The wait in a row.
    pub fn wait(&self, row: usize) -> Wait<'_> {
        Wait {
            start: self.ts.value(row),
            duration: known!(self.duration, row),
            runnable: known!(self.runnable, row),
            user_stack: known!(self.user_stack, row),
            kernel_stack: known!(self.kernel_stack, row),
            bits: known!(self.state, row),
            io: self.io.value(row),
            syscall: known!(self.syscall, row),
            pid: self.pid.value(row),
            tid: self.tid.value(row),
            by_interrupt: known!(self.woken_by_interrupt, row).map(|by| by != 0),
            comm: known!(self.comm, row),
            waker: known!(self.waker_comm, row),
        }
    }
}

/// A thread was off the CPUs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait<'a> {
    /// When it left its CPU.
    pub start: i64,
    /// How long it was off; `None` where it was not back when the recording ended.
    pub duration: Option<i64>,
    /// How much of that it could run.
    pub runnable: Option<i64>,
    /// The program's stack.
    pub user_stack: Option<i64>,
    /// The kernel's.
    pub kernel_stack: Option<i64>,
    /// The kernel's bits of its state.
    pub bits: Option<i32>,
    /// Whether the kernel accounts it as a wait for a disk.
    pub io: bool,
    /// The system call that it was in.
    pub syscall: Option<i32>,
    /// The process.
    pub pid: i32,
    /// The thread.
    pub tid: i32,
    /// Whether an interrupt handler woke it.
    by_interrupt: Option<bool>,
    /// The thread's name.
    pub comm: Option<&'a str>,
    /// The name of the one that woke it.
    waker: Option<&'a str>,
}

impl<'a> Wait<'a> {
    /// How it left its CPU.
    pub fn state(&self) -> Option<State> {
        self.bits.and_then(State::from_bits)
    }

    /// Who ended it: a thread's name, with a question mark where that may only have been interrupted; or that
    /// an interrupt or somebody unknown did. `None` where it did not end, or nobody had to.
    pub fn waker(&self) -> Option<Cow<'a, str>> {
        if self.state() == Some(State::Runnable) || self.duration.is_none() {
            return None;
        }
        Some(match (self.by_interrupt, self.waker) {
            (Some(true), _) => Cow::Borrowed("[interrupt]"),
            (Some(false), Some(name)) => Cow::Borrowed(name),
            (None, Some(name)) => Cow::Owned(format!("{name}?")),
            (Some(false) | None, None) => Cow::Borrowed("[unknown]"),
        })
    }
}
