//! Processes that have mapped more code than others.

use std::process::Command;
use std::time::{Duration, Instant};

use super::{Walks, assert_whole, burst, profile, share, spun};
use crate::live::shared;
use crate::running::{Running, in_vm};
use crate::workload;

/// Starts a program that maps a page of its own code so many times, and a recorder for it.
fn record_many(times: u32, processes: usize) -> (crate::recording::Recorded, Vec<String>, u64) {
    let started = |_| {
        let mut command = Command::new(workload::path("chain-pie"));
        command.args(["wait", "many", &burst(), &times.to_string()]);
        let mut running = Running::start(&mut command);
        running.await_line("ready");
        running
    };
    let mut all: Vec<Running> = (0..processes).map(started).collect();
    let mut record = profile();
    for running in &all {
        record = record.pid(running.pid());
    }
    let mut recorder = record.start();
    recorder.looked_around();
    let mut most = 0;
    for running in &mut all {
        running.send_line();
        while !running.has_ended() {
            most = most.max(recorder.running.most_memory().unwrap_or(0));
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let outputs = all.into_iter().map(|running| running.end().stdout).collect();
    let ended = Instant::now();
    let recorded = recorder.finish();
    // What it has still to do when the last process ends is little.
    let most_time = Duration::from_secs(if in_vm() { 100 } else { 15 });
    assert!(ended.elapsed() < most_time, "{:?} to the end", ended.elapsed());
    (recorded, outputs, most)
}

#[test]
fn ten_thousand_mappings_are_known() {
    let Some(_turn) = shared(&["profile"]) else { return };
    let (recorded, outputs, most) = record_many(10_000, 1);
    recorded.assert_nothing_lost();
    let walks = Walks::read(&recorded);
    assert_whole(&recorded, &walks, &spun(&outputs[0])[0], "tables");
    assert!(most > 0 && most < 400 << 10, "{most} KiB");
}

#[test]
fn who_has_too_many_mappings_is_told() {
    let Some(_turn) = shared(&["profile"]) else { return };
    let (recorded, outputs, most) = record_many(if in_vm() { 17_000 } else { 40_000 }, 1);
    let walks = Walks::read(&recorded);
    let spun = &spun(&outputs[0])[0];
    let without = &recorded.recording.manifest().unwinding.as_ref().unwrap().without;
    let told = without.get(&format!("process {}", spun.pid));
    assert!(told.is_some(), "{without:?}");
    assert!(most > 0 && most < 400 << 10, "{most} KiB");
    // Their stacks are there all the same, as far as frame pointers lead.
    let sampled = walks.sampled(&recorded, spun.tid, &spun.span);
    let wrong = |walk: &super::Walk| walk.complete && !walk.ends_with(&spun.callers);
    assert_eq!(share(&sampled, wrong), 0.0);
}
