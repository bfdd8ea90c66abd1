//! The machine's clocks, and the recording's own.
//!
//! Events are stamped with the monotonic clock. The recording's time is that clock plus an offset,
//! the *epoch*, that is measured once at the start, so that it reads as Unix time while differences
//! stay exact even if somebody sets the wall clock. The table `clock` keeps what all clocks show.

#![expect(unsafe_code, reason = "`clock_gettime` is a system call that no crate here wraps")]

use lookback_schemas::tables::Clock;

/// The monotonic clock in nanoseconds: `bpf_ktime_get_ns` in user space.
pub fn monotonic() -> i64 {
    read(libc::CLOCK_MONOTONIC)
}

/// What to add to the monotonic clock for Unix time.
///
/// The two clocks cannot be read at once: of several tries the one counts in which the monotonic
/// clock moved least around the reading of the wall clock.
pub fn epoch() -> i64 {
    let tries = (0..10).map(|_| {
        let before = monotonic();
        let wall = read(libc::CLOCK_REALTIME);
        let after = monotonic();
        (after - before, wall - (before + (after - before) / 2))
    });
    tries.min().map_or(0, |(_, epoch)| epoch)
}

/// What the clocks show now.
pub fn reading(epoch: i64) -> Clock {
    let monotonic = monotonic();
    Clock {
        ts: monotonic + epoch,
        monotonic,
        boottime: read(libc::CLOCK_BOOTTIME),
        realtime: read(libc::CLOCK_REALTIME),
    }
}

fn read(clock: libc::clockid_t) -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writing, and these clocks exist on every Linux.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}
