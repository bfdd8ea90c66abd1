//! A recording of everything, in a virtual machine where there is nobody else.

use std::process::Command;

use lookback_schemas::tables::{Exec, Exit, Fork, Kill, Process, Sample, Signal};

use super::alone;
use crate::recording::{Record, known, row_where, rows_where};
use crate::running::{in_vm, run};
use crate::workload::{self, fact, facts};

#[test]
fn everything_is_recorded_but_the_recorder() {
    if !in_vm() {
        eprintln!("skipped: only in a virtual machine may everything be recorded");
        return;
    }
    let Some(_turn) = alone(&["process", "signal", "profile"]) else { return };
    // Allocations are recorded of chosen programs only.
    let mut recorder = Record::trace("all,-kalloc,-alloc").start();
    recorder.attached();
    let forks_made = run(Command::new(workload::path("exits")).args(["forks", "50"])).stdout;
    let calls_made = run(Command::new(workload::path("signals")).arg("calls")).stdout;
    let burned = run(Command::new(workload::path("burner")).args(["shares", "500"])).stdout;
    let own = recorder.running.pid();
    recorder.running.signal(libc::SIGINT);
    let recorded = recorder.finish();
    if !cfg!(debug_assertions) {
        recorded.assert_nothing_lost();
    }
    for tracer in &recorded.recording.manifest().tracers {
        assert_eq!(tracer.failed, None);
    }

    let (forks, exits) = (recorded.table::<Fork>(), recorded.table::<Exit>());
    let parent = fact(&forks_made, "exits").int32("pid");
    row_where(&forks, "the workload's own fork", |row| forks.pid.value(row) == parent);
    for fact in facts(&forks_made, "exit") {
        let pid = fact.int32("pid");
        let fork = row_where(&forks, "a fork", |row| forks.pid.value(row) == pid);
        let exit = row_where(&exits, "an exit", |row| exits.pid.value(row) == pid);
        assert_eq!(forks.ppid.value(fork), parent);
        assert_eq!(known(&exits.code, exit), Some(fact.int32("code")));
    }
    let kills = recorded.table::<Kill>();
    let caller = fact(&calls_made, "signals").int32("pid");
    let made = facts(&calls_made, "call").iter().filter(|call| call.int32("pid") == caller).count();
    assert_eq!(rows_where(&kills, |row| kills.pid.value(row) == caller).len(), made);
    let samples = recorded.table::<Sample>();
    let burner = fact(&burned, "burned").int32("pid");
    assert!(!rows_where(&samples, |row| samples.pid.value(row) == burner).is_empty());
    let present = recorded.table::<Process>();
    row_where(&present, "the first process", |row| present.pid.value(row) == 1);

    let (execs, signals) = (recorded.table::<Exec>(), recorded.table::<Signal>());
    let nowhere = [&execs.pid, &forks.pid, &exits.pid, &kills.pid, &samples.pid, &present.pid];
    assert!(nowhere.iter().all(|column| !column.values().contains(&own)));
    // But for the signal that ended it: that is about its sender.
    let about_itself = rows_where(&signals, |row| known(&signals.pid, row) == Some(own));
    assert_eq!(about_itself.len(), 0);
}
