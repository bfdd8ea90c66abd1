//! All tracers at once, from what workloads did to what the reports say.

use super::alone;
use crate::recording::Record;
use crate::running::in_vm;
use crate::workload::{self, facts};

/// Some workloads, one after the other.
const SCRIPT: &str = r#""$1" opens "$5" && "$1" unlinks "$6" && "$2" counts 20 &&
    "$3" connects 4 2 && "$4" calls"#;

#[test]
fn every_report_has_what_was_done() {
    // A stack for each allocation of the kernel is more than a debug build can take besides.
    let tracers = if in_vm() { "all,-kalloc" } else { "all,-kalloc,-lsmconnect" };
    let Some(_turn) = alone(&["process", "open", "unlink", "tcpconnect", "tcpstate"]) else {
        return;
    };
    let (opened, unlinked) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let programs = ["files", "calls", "tcp", "signals"].map(workload::path);
    let recorded = Record::trace(tracers)
        .options(["--", "sh", "-c", SCRIPT, "sh"])
        .options(programs)
        .options([opened.path(), unlinked.path()])
        .run();
    recorded.assert_nothing_of_ours_lost();
    for tracer in &recorded.recording.manifest().tracers {
        assert_eq!(tracer.failed, None);
    }

    let said = recorded.stdout();
    for (word, report) in [
        ("open", &["opens", "--comm", "files"][..]),
        ("unlink", &["unlinks"]),
        ("connect", &["tcp", "connects"]),
        ("call", &["signals", "--kill"]),
    ] {
        let made = facts(said, word);
        let pids: Vec<i64> = made.iter().map(|fact| fact.int("pid")).collect();
        let mut done: Vec<(i64, Option<i64>)> = made
            .iter()
            .map(|fact| (fact.int("pid"), fact.known("result").map(i64::from)))
            .collect();
        let mut reported: Vec<(i64, Option<i64>)> = recorded
            .report(report)
            .iter()
            .map(|row| (row["pid"].as_i64().unwrap(), row["result"].as_i64()))
            .filter(|(pid, _)| pids.contains(pid))
            .collect();
        done.sort();
        reported.sort();
        assert!(!done.is_empty());
        assert_eq!(reported, done, "{report:?}");
    }
    let calls = recorded.report(&["syscalls", "--list", "--comm", "calls"]);
    for fact in facts(said, "made") {
        let (tid, number) = (fact.int("tid"), fact.int("number"));
        let of_kind = calls.iter().filter(|call| call["tid"] == tid && call["number"] == number);
        assert_eq!(of_kind.count() as i64, fact.int("count"), "{fact:?}");
    }
}
