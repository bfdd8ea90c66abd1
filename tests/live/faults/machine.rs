//! The clock is set and processors go and come, which only a virtual machine of `tests/kernels` is made for.

#![expect(unsafe_code, reason = "tests call the system as programs do")]

use std::fs;
use std::time::Duration;

use lookback_schemas::TableId;
use lookback_schemas::cell::View as _;
use lookback_schemas::tables::{Clock, Kill};

use super::{assert_clean, assert_gapless, numbers, rows_and_lost};
use crate::live::shared;
use crate::recording::{Record, rows_in_time};
use crate::running::in_vm;
use crate::workload::{self, fact};

/// Whether the machine is ours; says so where not.
fn is_ours() -> bool {
    if !in_vm() {
        println!(
            "left out: it changes the machine, and is tried in a virtual one (make test-faults)"
        );
    }
    in_vm()
}

/// Sets the wall clock forward, or back.
fn step_the_clock(nanoseconds: i64) {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writing, and for reading.
    unsafe {
        assert_eq!(libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut time), 0);
        let at = time.tv_sec * 1_000_000_000 + time.tv_nsec + nanoseconds;
        time = libc::timespec { tv_sec: at / 1_000_000_000, tv_nsec: at % 1_000_000_000 };
        assert_eq!(libc::clock_settime(libc::CLOCK_REALTIME, &raw const time), 0);
    }
}

#[test]
fn a_clock_that_is_set_moves_no_event() {
    if !is_ours() {
        return;
    }
    let Some(_turn) = shared(&["signal"]) else { return };
    const HOUR: i64 = 3_600_000_000_000;
    let mut recorder = Record::trace("signal").workload::<&str>("ticker", []).start();
    recorder.attached();
    for step in [HOUR, -2 * HOUR, HOUR] {
        std::thread::sleep(Duration::from_secs(3));
        step_the_clock(step);
    }
    std::thread::sleep(Duration::from_secs(3));
    recorder.running.signal(libc::SIGINT);
    let recorded = recorder.finish_anyhow();
    assert_clean(recorded.recording.directory());
    assert_gapless(10_000_000, &numbers(&recorded.recording));

    let manifest = recorded.recording.manifest();
    let (from, to) = (manifest.started, manifest.ended.as_ref().unwrap().at);
    assert!((9_000_000_000..HOUR / 2).contains(&(to - from)), "{} ns", to - from);
    let kills = recorded.table::<Kill>();
    assert!(kills.ts.values().iter().all(|ts| (from..=to).contains(ts)));
    let in_order = rows_in_time(&kills.ts, |_| true);
    let targets: Vec<_> = in_order.iter().map(|row| kills.target_tid.value(*row)).collect();
    assert!(targets.is_sorted(), "in time they are in the order in which they were");

    // What the wall clock said is there.
    let clocks = recorded.table::<Clock>();
    let ahead: Vec<i64> = (0..clocks.rows())
        .map(|row| (clocks.realtime.value(row) - clocks.ts.value(row)) / (HOUR / 60))
        .collect();
    for minutes in [0, 60, -60] {
        assert!(ahead.iter().any(|ahead| (ahead - minutes).abs() <= 1), "{minutes}: {ahead:?}");
    }
}

/// Takes the second processor away, or gives it back.
fn second_cpu(online: bool) {
    fs::write("/sys/devices/system/cpu/cpu1/online", if online { "1" } else { "0" }).unwrap();
}

#[test]
fn processors_may_go_and_come() {
    if !is_ours() {
        return;
    }
    let Some(_turn) = shared(&["signal", "profile"]) else { return };
    for first in [true, false] {
        second_cpu(first);
        let mut recorder = Record::trace("signal,profile")
            .options(["--buffer", "4MiB", "--"])
            .options(["/bin/sh", "-c", "read line; exec taskset -c 1 \"$0\" stream 20000"])
            .options([workload::path("signals")])
            .start();
        recorder.looked_around();
        for online in [!first, first, true] {
            second_cpu(online);
            std::thread::sleep(Duration::from_millis(700));
        }
        recorder.running.send_line();
        recorder.running.await_line("sent");
        let recorded = recorder.finish();
        assert_clean(recorded.recording.directory());
        let (rows, lost) = rows_and_lost(&recorded, TableId::Kill);
        let sent = fact(recorded.stdout(), "sent").int("count") as u64;
        println!(
            "the second processor there at first: {first}; {sent} sent, {rows} rows, {lost} lost"
        );
        assert_eq!(rows + lost, sent);
        assert!(rows > sent / 2, "{rows} of {sent}");
    }
}
