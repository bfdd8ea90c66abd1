//! Processes whose code changes while they are recorded.

use std::collections::BTreeSet;
use std::process::Command;

use lookback_schemas::tables::Vm;

use super::{Call, Walks, assert_whole, burst, profile, share, spun};
use crate::live::shared;
use crate::recording::{Record, known, rows_where};
use crate::running::{Running, in_vm};
use crate::workload::{self, facts};

#[test]
fn a_library_that_is_loaded_later_has_tables_at_once() {
    let Some(_turn) = shared(&["profile"]) else { return };
    let mut command = Command::new(workload::path("chain-pie"));
    command.args(["wait", "load", &burst()]).arg(workload::path("libchain.so"));
    let mut running = Running::start(&mut command);
    running.await_line("ready");
    let mut recorder = profile().pid(running.pid()).start();
    recorder.looked_around();
    running.send_line();
    let output = running.end().stdout;
    let recorded = recorder.finish();
    let walks = Walks::read(&recorded);
    let whole = assert_whole(&recorded, &walks, &spun(&output)[0], "tables");
    let loaded = share(&whole, |walk| {
        walk.names_in("libchain.so").ends_with(&["spin", "loaded_last", "loaded_first"])
    });
    assert!(loaded >= 0.95, "only {loaded}: {:#?}", whole[0]);
}

#[test]
fn a_program_in_anothers_place_is_not_taken_for_it() {
    let Some(_turn) = shared(&["profile"]) else { return };
    let (chain, other) = (workload::path("chain-static"), workload::path("chain-other"));
    // Both have tables before.
    let (chain, other) = (chain.display(), other.display());
    let script = format!("{other} shapes 10; exec {chain} exec {} {other}", burst());
    let recorded = profile().options(["--", "/bin/sh", "-c", &script]).run();
    let walks = Walks::read(&recorded);
    let all = spun(recorded.stdout());
    let [_, first, second] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!(first.pid, second.pid);
    for (spun, program) in [(first, "chain-static"), (second, "chain-other")] {
        let sampled = assert_whole(&recorded, &walks, spun, "tables");
        for walk in sampled {
            let strays = |call: &Call| !["[vdso]", "", program].contains(&&*call.module);
            assert!(!walk.calls.iter().any(strays), "{walk:#?}");
        }
    }
}

/// At once after an exec, before anybody could tell the kernel of the new image.
#[test]
fn no_table_of_the_image_before_is_used() {
    let Some(_turn) = shared(&["vm", "process"]) else { return };
    let other = workload::path("chain-other");
    let times = if in_vm() { "10" } else { "100" };
    let recorded = Record::trace("process,vm")
        .workload("chain-static", ["relay", times, other.to_str().unwrap()])
        .run();
    let callers: BTreeSet<Vec<i64>> =
        facts(recorded.stdout(), "callers").iter().map(|fact| fact.ints("offsets")).collect();
    assert_eq!(callers.len(), 1, "they all do the same");
    let callers = callers.first().unwrap();
    let children: BTreeSet<i32> =
        facts(recorded.stdout(), "callers").iter().map(|fact| fact.int32("pid")).collect();
    let walks = Walks::read(&recorded);
    let table = recorded.table::<Vm>();
    let rows = rows_where(&table, |row| children.contains(&table.pid.value(row)));
    let stacks: Vec<_> =
        rows.into_iter().map(|row| &walks.0[&known(&table.stack, row).unwrap()]).collect();
    let mut in_chain = 0;
    for walk in stacks.iter().filter(|walk| walk.walked.as_deref() != Some("frame pointers")) {
        let modules: BTreeSet<&str> = walk.calls.iter().map(|call| &*call.module).collect();
        assert_eq!(modules, BTreeSet::from(["chain-other"]), "{walk:#?}");
        if let Some(map) = walk.calls.iter().position(|call| call.name == "map") {
            assert_eq!(walk.offsets()[map + 1..], callers[..], "{walk:#?}");
            in_chain += 1;
        }
        if walk.complete {
            assert_eq!(walk.calls.last().unwrap().name, "_start", "{walk:#?}");
        }
    }
    let all = children.len() * 3;
    assert!(in_chain * 2 >= all, "{in_chain} of {all} by tables");
}

#[test]
fn stacks_of_processes_that_are_gone_at_once_are_whole() {
    let Some(_turn) = shared(&["profile"]) else { return };
    let (times, least) = if in_vm() { (10, 0.8) } else { (50, 0.9) };
    let chain = workload::path("chain-pie");
    let script = format!("for i in $(seq {times}); do {} shapes 10; done", chain.display());
    let recorded = profile().options(["--", "/bin/sh", "-c", &script]).run();
    let walks = Walks::read(&recorded);
    let all = spun(recorded.stdout());
    assert_eq!(all.len(), times);
    let (mut sampled, mut whole) = (0, 0);
    for spun in &all {
        for walk in walks.sampled(&recorded, spun.tid, &spun.span) {
            let good = walk.complete && walk.ends_with(&spun.callers);
            assert!(good || !walk.complete, "{walk:#?} is not complete: {:?}", spun.callers);
            sampled += 1;
            whole += usize::from(good);
        }
    }
    assert!(sampled >= times, "{sampled} samples of {times} processes");
    assert!(whole as f64 >= least * sampled as f64, "{whole} of {sampled}");
}

#[test]
fn a_program_that_was_replaced_on_disk_keeps_its_tables_and_names() {
    let Some(_turn) = shared(&["profile"]) else { return };
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("program");
    std::fs::copy(workload::path("chain-pie"), &program).unwrap();
    let mut running = Running::start(Command::new(&program).args(["wait", "shapes", &burst()]));
    running.await_line("ready");
    std::fs::remove_file(&program).unwrap();
    std::fs::copy(workload::path("chain-fixed"), &program).unwrap();
    let mut recorder = profile().pid(running.pid()).start();
    recorder.looked_around();
    std::fs::remove_file(&program).unwrap();
    std::fs::copy(workload::path("chain-static"), &program).unwrap();
    running.send_line();
    let output = running.end().stdout;
    let recorded = recorder.finish();
    let walks = Walks::read(&recorded);
    let sampled = assert_whole(&recorded, &walks, &spun(&output)[0], "tables");
    let own = |walk: &super::Walk| {
        let own: Vec<Call> =
            walk.calls.iter().filter(|call| call.module.starts_with("program")).cloned().collect();
        own
    };
    let build_ids: BTreeSet<_> =
        sampled.iter().flat_map(|walk| own(walk)).map(|call| call.build_id).collect();
    assert_eq!(build_ids.len(), 1, "{build_ids:?}");
    assert!(build_ids.first().unwrap().is_some());
    let named = share(&sampled, |walk| {
        let names: Vec<String> = own(walk).into_iter().map(|call| call.name).collect();
        names.ends_with(&super::builds::CHAIN.map(str::to_owned))
    });
    assert!(named >= 0.95, "only {named}: {:#?}", sampled[0]);
}
