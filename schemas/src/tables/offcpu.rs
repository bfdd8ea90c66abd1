//! Time off the CPU: what threads wait for, and who ends the wait. Written by `bpf/offcpu.bpf.c`.

use crate::wire::{Comm, Flag, Maybe, Monotonic, StackHash};

event! {
    /// A thread left its CPU, and came back to one.
    ///
    /// What kernel function it waits in, its kernel stack says; why it is there, its user stack.
    pub struct Offcpu = "offcpu" {
        /// When it left the CPU.
        ts: Monotonic as Time,
        /// How long it was off the CPU; null where it was not back when the recording ended.
        duration: Maybe<i64> as Duration,
        /// How much of that it could run, and waited for a CPU: since it was woken, or all of it where it
        /// left able to run. Null where it was not back, or nobody saw who woke it.
        runnable: Maybe<i64> as Duration,
        /// The program's code that waits; null for kernel threads. See `stack`.
        user_stack: StackHash as Id,
        /// The kernel's code that waits. See `stack`.
        kernel_stack: StackHash as Id,
        /// How it left: the kernel's bits of a task's state. 0 able to run (preempted, or it gave up the
        /// CPU), 1 interruptible, 2 uninterruptible sleep, 4 stopped, 8 traced, 64 parked; 256 beside 2:
        /// signals that kill end it; 1024 beside 2: it has nothing to do. Others are the kernel's own. Null
        /// where a waker was so fast that the state said so already.
        state: Maybe<i32> as Code,
        /// Whether it waited for a disk or the like, as the kernel accounts it (`iowait`).
        io: Flag as Flag,
        /// The system call that it was in; null where it was in none, in one of a 32-bit program, or where
        /// the kernel does not tell.
        syscall: Maybe<i32> as Code,
        /// The process.
        pid: i32 as Id,
        /// The thread.
        tid: i32 as Id,
        /// Its process's real user id.
        uid: i32 as Id,
        /// The CPU that it left.
        cpu: i32 as Id,
        /// The CPU that it came back to; null where it was not back.
        next_cpu: Maybe<i32> as Id,
        /// Its priority: below 100 real-time, 120 the usual one, 100 to 139 by niceness.
        prio: i32 as Code,
        /// Whether an interrupt handler woke it: 0 no, 1 yes; null where it was not woken, or the kernel does
        /// not tell. Then the waker may be a thread that was only interrupted.
        woken_by_interrupt: Maybe<i32> as Code,
        /// The process whose thread woke it; null where it was not woken, nobody saw it, or an interrupt did.
        waker_pid: Maybe<i32> as Id,
        /// The thread that woke it; null likewise.
        waker_tid: Maybe<i32> as Id,
        /// Name of the thread.
        comm: Comm as Name,
        /// Name of the thread that woke it; null where `waker_tid` is.
        waker_comm: Comm as Name,
    }
}

/// How a thread left its CPU, as `ps` tells states apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// It could run: it was preempted, or gave up the CPU.
    Runnable,
    /// It slept until something happened, or a signal came.
    Interruptible,
    /// It slept, and signals did not wake it, or only those that kill: mostly for disks and locks.
    Uninterruptible,
    /// A signal had stopped it.
    Stopped,
    /// A debugger had stopped it.
    Traced,
    /// A kernel thread was set aside.
    Parked,
    /// A kernel thread had nothing to do.
    Idle,
}

impl State {
    /// Every state.
    pub const ALL: [State; 7] = [
        State::Runnable,
        State::Interruptible,
        State::Uninterruptible,
        State::Stopped,
        State::Traced,
        State::Parked,
        State::Idle,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            State::Runnable => "runnable",
            State::Interruptible => "interruptible",
            State::Uninterruptible => "uninterruptible",
            State::Stopped => "stopped",
            State::Traced => "traced",
            State::Parked => "parked",
            State::Idle => "idle",
        }
    }

    /// The state that these bits stand for (`TASK_…` in `include/linux/sched.h`; they are the same since
    /// 4.14); `None` for others.
    #[must_use]
    pub fn from_bits(bits: i32) -> Option<State> {
        const NO_LOAD: i32 = 0x400;
        /// Locks of the real-time kernel, and the freezer's: uninterruptible too.
        const LOCK_OR_FROZEN: i32 = 0x1000 | 0x8000;
        const NAMED: i32 = 0x4f;
        match bits & NAMED {
            0 if bits & LOCK_OR_FROZEN != 0 => Some(State::Uninterruptible),
            0 if bits == 0 => Some(State::Runnable),
            1 => Some(State::Interruptible),
            2 if bits & NO_LOAD != 0 => Some(State::Idle),
            2 => Some(State::Uninterruptible),
            4 => Some(State::Stopped),
            8 => Some(State::Traced),
            0x40 => Some(State::Parked),
            _others => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::State;

    #[test]
    fn states_are_those_of_ps() {
        let of = |bits| State::from_bits(bits).map(State::name);
        assert_eq!(of(0), Some("runnable"));
        assert_eq!(of(0x2001), Some("interruptible"), "the freezer may take it");
        assert_eq!(of(0x102), Some("uninterruptible"), "but for signals that kill");
        assert_eq!(of(0x402), Some("idle"));
        assert_eq!(of(0x104), Some("stopped"));
        assert_eq!(of(0x1000), Some("uninterruptible"));
        for none in [3, 0x80, 0x200, i32::MIN, -1] {
            assert_eq!(of(none), None, "{none:#x}");
        }
    }
}
