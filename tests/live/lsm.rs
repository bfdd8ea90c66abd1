//! The tracer `lsmconnect`, against what the callers were told. In a virtual machine only: elsewhere
//! nobody boots with the module `bpf`, and refusing connects is not for a machine that others use.

use std::process::Command;

use lookback_schemas::tables::Lsmconnect;

use super::{alone, shared};
use crate::command_line::refused;
use crate::recording::{Record, assert_same, known, rows_in_time, text};
use crate::running::{in_vm, run};
use crate::workload::{self, Fact, facts};

/// Ports of the virtual machine, where nobody else is; one test at a time uses them.
const PORTS: [&str; 2] = ["4001", "4002"];

fn possible() -> bool {
    if !in_vm() {
        eprintln!("skipped: connects are refused only in a virtual machine");
    }
    in_vm()
}

/// Where a connect went, as `--deny-connect` writes it.
fn destination(fact: &Fact) -> String {
    match fact.word("addr") {
        address if address.contains(':') => format!("[{address}]:{}", fact.int("port")),
        address => format!("{address}:{}", fact.int("port")),
    }
}

/// Records connects while these destinations are refused. Fails unless the callers were refused exactly
/// what `is_denied` names, and each decision is a row that says so.
fn check(denied: &[&str], is_denied: impl Fn(&Fact) -> bool) {
    let options = denied.iter().flat_map(|destination| ["--deny-connect", destination]);
    let recorded = Record::trace("lsmconnect")
        .options(options)
        .workload("tcp", ["ask"].into_iter().chain(PORTS))
        .run();
    recorded.assert_nothing_of_ours_lost();
    let asked = facts(recorded.stdout(), "ask");
    assert_eq!(asked.len(), 11);
    for fact in &asked {
        let allowed = if fact.int32("family") == libc::AF_UNIX { -libc::ENOENT } else { 0 };
        let expected = if is_denied(fact) { -libc::EPERM } else { allowed };
        assert_eq!(fact.int32("result"), expected, "{denied:?}: {fact:?}");
    }

    let decisions = recorded.table::<Lsmconnect>();
    let rows = rows_in_time(&decisions.ts, |_| true);
    let recorded_decisions: Vec<_> = rows
        .iter()
        .map(|row| {
            assert_eq!(text(&decisions.comm, *row), "tcp");
            let numbers = [
                &decisions.pid,
                &decisions.tid,
                &decisions.family,
                &decisions.kind,
                &decisions.verdict,
            ];
            (
                numbers.map(|column| column.value(*row)),
                decisions.denied.value(*row),
                known(&decisions.addr, *row).map(str::to_owned),
                known(&decisions.port, *row),
            )
        })
        .collect();
    let made_decisions: Vec<_> = asked
        .iter()
        .map(|fact| {
            let [pid, tid, family, kind] =
                ["pid", "tid", "family", "kind"].map(|key| fact.int32(key));
            let verdict = if is_denied(fact) { -libc::EPERM } else { 0 };
            let address = Some(fact.word("addr").to_owned()).filter(|address| address != "none");
            ([pid, tid, family, kind, verdict], is_denied(fact), address, fact.known("port"))
        })
        .collect();
    assert_same(&recorded_decisions, &made_decisions);
}

#[test]
fn decisions_are_recorded() {
    if !possible() {
        return;
    }
    let Some(_turn) = alone(&["lsmconnect"]) else { return };
    check(&[], |_| false);
}

#[test]
fn what_is_denied_is_refused_and_nothing_else() {
    if !possible() {
        return;
    }
    let Some(_turn) = alone(&["lsmconnect"]) else { return };
    let denied = ["127.0.0.1:4001", "[::1]:4002"];
    check(&denied, |fact| denied.contains(&destination(fact).as_str()));
    // Without a port it is every port.
    check(&["127.0.0.1"], |fact| fact.word("addr") == "127.0.0.1");
    check(&["::1", "10.0.0.1"], |fact| fact.word("addr") == "::1");
}

#[test]
fn a_kernel_without_the_module_is_named() {
    let Some(_turn) = shared(&["process"]) else { return };
    let modules = std::fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    if modules.split(',').any(|module| module.trim() == "bpf") {
        return eprintln!("skipped: this kernel has the module");
    }
    for options in [&["--trace", "lsmconnect"][..], &["--trace", "process,lsmconnect"]] {
        let ended = refused(options);
        let complaint = "record: tracer `lsmconnect` cannot attach for ";
        assert!(ended.stderr.starts_with(complaint), "{}", ended.stderr);
    }
}

#[test]
fn nobody_else_is_refused() {
    if !possible() {
        return;
    }
    let Some(_turn) = alone(&["lsmconnect"]) else { return };
    let options = ["--deny-connect", "127.0.0.1", "--deny-connect", "::1"];
    let mut recorder =
        Record::trace("lsmconnect").options(options).workload::<&str>("ticker", []).start();
    recorder.attached();
    let ended = run(Command::new(workload::path("tcp")).args(["ask", PORTS[0]]));
    recorder.running.close_input();
    let recorded = recorder.finish();
    let asked = facts(&ended.stdout, "ask");
    assert_eq!(asked.len(), 6);
    for fact in asked {
        assert_ne!(fact.int32("result"), -libc::EPERM, "it was not asked for: {fact:?}");
    }
    let decisions = recorded.table::<Lsmconnect>();
    assert_eq!(rows_in_time(&decisions.ts, |_| true), [0; 0]);
}
