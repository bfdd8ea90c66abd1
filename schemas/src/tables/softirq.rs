//! Soft interrupts. Written by `bpf/softirq.bpf.c`.

use crate::wire::Monotonic;

event! {
    /// A soft interrupt was served.
    pub struct Softirq = "softirq" {
        /// When it began.
        ts: Monotonic as Time,
        /// How long it ran.
        duration: i64 as Duration,
        /// Which: 0 `hi`, 1 `timer`, 2 `net_tx`, 3 `net_rx`, 4 `block`, 5 `irq_poll`, 6 `tasklet`,
        /// 7 `sched`, 8 `hrtimer`, 9 `rcu`.
        vector: i32 as Code,
        /// The CPU.
        cpu: i32 as Id,
        /// The process that it interrupted; 0 where the CPU was idle.
        pid: i32 as Id,
        /// The thread that it interrupted, also `ksoftirqd`; 0 where the CPU was idle.
        tid: i32 as Id,
    }
}
