//! Stacks that other tracers take: of allocations, of mappings, at probes.

use lookback_schemas::tables::{Alloc, Probe, Vm};

use super::builds::{CHAIN, reaches_the_start};
use super::{Walk, Walks, burst, profile, share};
use crate::live::shared;
use crate::recording::{Record, Recorded, known, rows_where, text};
use crate::running::Running;
use crate::workload::{self, fact};

/// What `chain` asks for.
const BYTES: i64 = 12345;
const TIMES: usize = 50;

/// Fails unless the chain is whole below each of so many stacks, as the judge says.
fn assert_chain(recorded: &Recorded, output: &str, walks: &[&Walk], leaf: &str) {
    let callers = fact(output, "callers").ints("offsets");
    assert_eq!(walks.len(), TIMES);
    for walk in walks {
        assert!(walk.complete && walk.ends_with(&callers), "{callers:?}: {walk:#?}");
        assert_eq!(walk.walked.as_deref(), Some("tables"));
        let own = [&[leaf], &CHAIN[..]].concat();
        assert_eq!(walk.names_in("chain-pie"), own, "{walk:#?}");
    }
    recorded.assert_nothing_lost();
}

/// Records `chain-pie`: from its first instruction, and while it waits.
fn both_ways(tracer: &str, mode: &str) -> [(Recorded, String); 2] {
    let times = TIMES.to_string();
    let trace = || Record::trace(tracer);
    let commanded = trace().workload("chain-pie", [mode, &times]).run();
    let output = commanded.stdout().to_owned();
    let mut command = std::process::Command::new(workload::path("chain-pie"));
    let mut running = Running::start(command.args(["wait", mode, &times]));
    running.await_line("ready");
    let mut recorder = trace().pid(running.pid()).start();
    recorder.looked_around();
    running.send_line();
    let ended = running.end();
    assert!(ended.status.success(), "{ended:?}");
    [(commanded, output), (recorder.finish(), ended.stdout)]
}

#[test]
fn whoever_allocates_is_known_up_to_the_start() {
    let Some(_turn) = shared(&["alloc"]) else { return };
    for (recorded, output) in both_ways("alloc", "allocate") {
        let rows = recorded.table::<Alloc>();
        let walks = Walks::read(&recorded);
        let wanted = rows_where(&rows, |row| known(&rows.bytes, row) == Some(BYTES));
        let stacks = wanted.into_iter().map(|row| &walks.0[&known(&rows.stack, row).unwrap()]);
        assert_chain(&recorded, &output, &stacks.collect::<Vec<_>>(), "allocate");
    }
}

#[test]
fn whoever_maps_is_known_up_to_the_start() {
    let Some(_turn) = shared(&["vm"]) else { return };
    for (recorded, output) in both_ways("vm", "map") {
        let rows = recorded.table::<Vm>();
        let walks = Walks::read(&recorded);
        let wanted = rows_where(&rows, |row| {
            let maps = |stack| walks.0[&stack].names_in("chain-pie").first() == Some(&"map");
            rows.call.value(row) == lookback_schemas::tables::vm::Call::Mmap as i32
                && known(&rows.stack, row).is_some_and(maps)
        });
        let stacks = wanted.into_iter().map(|row| &walks.0[&known(&rows.stack, row).unwrap()]);
        assert_chain(&recorded, &output, &stacks.collect::<Vec<_>>(), "map");
    }
}

/// A probe of `chain-probed`.
fn probe(kind: &str, rest: &str) -> [String; 2] {
    let program = workload::path("chain-probed");
    ["--probe".to_owned(), format!("{kind}:{}:{rest}", program.display())]
}

/// The stacks that a probe took.
fn stacks_at<'w>(recorded: &Recorded, walks: &'w Walks, name: &str) -> Vec<&'w Walk> {
    let rows = recorded.table::<Probe>();
    let wanted = rows_where(&rows, |row| text(&rows.name, row) == name);
    wanted.into_iter().map(|row| &walks.0[&known(&rows.stack, row).unwrap()]).collect()
}

#[test]
fn stacks_at_probes_are_whole() {
    let Some(_turn) = shared(&["custom"]) else { return };
    let recorded = Record::trace("custom")
        .options(probe("uprobe", "last,stack,name=call"))
        .options(probe("uretprobe", "last,stack,name=return"))
        .options(probe("uretprobe", "sized,at=ret,stack,name=at_ret"))
        .workload("chain-probed", ["shapes", "1"])
        .run();
    let walks = Walks::read(&recorded);
    let expected: [(&str, &[&str]); 3] = [
        ("call", &CHAIN),
        // It is where it returns to.
        ("return", &CHAIN[1..]),
        ("at_ret", &["sized", "large", "main", "_start"]),
    ];
    for (name, expected) in expected {
        let stacks = stacks_at(&recorded, &walks, name);
        assert_eq!(stacks.len(), 1, "{name}");
        assert!(stacks[0].complete, "{name}: {:#?}", stacks[0]);
        assert_eq!(stacks[0].names_in("chain-probed"), expected, "{name}: {:#?}", stacks[0]);
    }
}

#[test]
fn return_addresses_that_probes_have_replaced_are_known() {
    let Some(_turn) = shared(&["custom", "profile"]) else { return };
    let mut record = profile().options(["--trace", "custom"]);
    // All of them are pending at once.
    for function in ["last", "compare", "sorts", "aligned", "sized", "large"] {
        record = record.options(probe("uretprobe", &format!("{function},stack,name={function}")));
    }
    record = record.options(probe("uprobe", "spin,stack,name=spin"));
    let recorded = record.workload("chain-probed", ["shapes", &burst()]).run();
    let walks = Walks::read(&recorded);
    let callers = [
        ("spin", &[&["spin"], &CHAIN[..]].concat()[..]),
        ("last", &CHAIN[1..]),
        ("sorts", &CHAIN[3..]),
        ("large", &CHAIN[6..]),
    ];
    for (name, expected) in callers {
        let stacks = stacks_at(&recorded, &walks, name);
        assert_eq!(stacks.len(), 1, "{name}");
        assert!(stacks[0].complete, "{name}: {:#?}", stacks[0]);
        assert_eq!(stacks[0].names_in("chain-probed"), expected, "{name}");
    }
    let pid = fact(recorded.stdout(), "chain").int32("pid");
    let sampled = walks.sampled(&recorded, pid, &(0..=i64::MAX));
    let in_spin: Vec<&Walk> =
        sampled.into_iter().filter(|walk| walk.calls[0].name == "spin").collect();
    assert!(in_spin.len() > 20, "{} samples", in_spin.len());
    let whole = share(&in_spin, |walk| reaches_the_start(walk, "chain-probed", &["spin"]));
    assert!(whole >= 0.95, "only {whole}: {:#?}", in_spin[0]);
}
