//! The tracers `hardirq` and `softirq`, against what interrupts a workload, and in a virtual machine
//! against the kernel's own counts.

#![expect(unsafe_code, reason = "tests call the system as programs do")]

use std::collections::BTreeMap;
use std::process::Command;

use lookback_schemas::cell::View as _;
use lookback_schemas::tables::{Hardirq, Softirq};

use super::{alone, shared};
use crate::recording::{Record, known, rows_where};
use crate::running::{in_vm, monotonic, run};
use crate::workload::{self, fact};

/// The vectors in the order of their numbers, as `/proc/softirqs` names them.
const VECTORS: [&str; 10] =
    ["HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU"];
const NET_RX: i32 = 3;

/// A file of `/proc` with a column for each CPU: what stands in front of each line's colon, its counts,
/// and what follows them.
fn counts_of(file: &str) -> BTreeMap<String, (Vec<i64>, String)> {
    let text = std::fs::read_to_string(file).unwrap();
    let mut lines = text.lines();
    let cpus = lines.next().unwrap().split_whitespace().count();
    lines
        .filter_map(|line| {
            let (name, rest) = line.split_once(':')?;
            let words: Vec<&str> = rest.split_whitespace().collect();
            let counts = words.iter().take(cpus).map_while(|word| word.parse().ok()).collect();
            let rest = words.iter().skip(cpus).copied().collect::<Vec<_>>().join(" ");
            Some((name.trim().to_owned(), (counts, rest)))
        })
        .collect()
}

/// The names of a line's handlers, as `/proc/interrupts` has them at its end.
fn handlers(irq: i32) -> Vec<String> {
    let interrupts = counts_of("/proc/interrupts");
    let (_, rest) = interrupts.get(&irq.to_string()).unwrap_or_else(|| panic!("no line {irq}"));
    // The controller and the line's kind come first; names are separated by commas.
    rest.split(' ').flat_map(|word| word.split(',')).map(str::to_owned).collect()
}

fn cpus() -> i32 {
    // SAFETY: no memory is involved.
    unsafe { libc::sysconf(libc::_SC_NPROCESSORS_CONF) as i32 }
}

#[test]
fn packets_are_received_in_soft_interrupts_of_their_sender() {
    const PACKETS: usize = 200;
    let Some(_turn) = shared(&["softirq"]) else { return };
    let recorded =
        Record::trace("softirq").workload("irqs", ["packets", &PACKETS.to_string()]).run();
    recorded.assert_nothing_of_ours_lost();
    let fact = fact(recorded.stdout(), "irqs");
    let softirqs = recorded.table::<Softirq>();
    // Loopback hands a packet over in the sender's own call, unless `ksoftirqd` is at it already.
    let received = rows_where(&softirqs, |row| {
        softirqs.vector.value(row) == NET_RX && softirqs.pid.value(row) == fact.int32("pid")
    });
    assert!(received.len() >= PACKETS / 2, "{} of {PACKETS}", received.len());
    for row in received {
        recorded.assert_within(&fact, softirqs.ts.value(row), softirqs.duration.value(row));
        assert_eq!(softirqs.tid.value(row), fact.int32("tid"));
    }
}

#[test]
fn interrupts_of_a_busy_process_are_recorded() {
    let Some(_turn) = shared(&["hardirq", "softirq"]) else { return };
    let recorded = Record::trace("hardirq,softirq").workload("irqs", ["burn", "1000"]).run();
    recorded.assert_nothing_of_ours_lost();
    let fact = fact(recorded.stdout(), "irqs");
    let (pid, tid) = (fact.int32("pid"), fact.int32("tid"));

    let softirqs = recorded.table::<Softirq>();
    let vector_of = |name| VECTORS.iter().position(|vector| *vector == name).unwrap() as i32;
    let periodic = ["TIMER", "SCHED", "RCU"].map(vector_of);
    let hits = rows_where(&softirqs, |row| periodic.contains(&softirqs.vector.value(row)));
    assert!(!hits.is_empty(), "in a second the kernel's own work interrupts everybody");
    for row in 0..softirqs.rows() {
        assert!((0..VECTORS.len() as i32).contains(&softirqs.vector.value(row)));
        assert!(softirqs.duration.value(row) > 0);
        assert!((0..cpus()).contains(&softirqs.cpu.value(row)));
        assert_eq!((softirqs.pid.value(row), softirqs.tid.value(row)), (pid, tid));
    }
    // Devices may be silent meanwhile.
    let hardirqs = recorded.table::<Hardirq>();
    for row in 0..hardirqs.rows() {
        let name = known(&hardirqs.name, row).unwrap().to_owned();
        let names = handlers(hardirqs.irq.value(row));
        assert!(names.contains(&name), "`{name}` of {names:?}");
        assert!(hardirqs.duration.value(row) > 0);
        assert!((0..cpus()).contains(&hardirqs.cpu.value(row)));
        assert_eq!((hardirqs.pid.value(row), hardirqs.tid.value(row)), (pid, tid));
    }
}

/// The kernel's counts at some moment between two others.
struct Reading {
    before: i64,
    softirqs: BTreeMap<String, (Vec<i64>, String)>,
    interrupts: BTreeMap<String, (Vec<i64>, String)>,
    after: i64,
}

impl Reading {
    fn take() -> Reading {
        Reading {
            before: monotonic(),
            softirqs: counts_of("/proc/softirqs"),
            interrupts: counts_of("/proc/interrupts"),
            after: monotonic(),
        }
    }

    /// How often a line of a table counted up on a CPU from this reading to a later one, and how often
    /// something that was recorded began surely between them, and at most.
    fn check(&self, later: &Reading, what: &str, counted: i64, times: &[i64]) {
        let between =
            |from, to| times.iter().filter(|time| (from..=to).contains(*time)).count() as i64;
        let surely = between(self.after, later.before);
        let at_most = between(self.before, later.after);
        // One whose count came before a reading may have begun just after it, on each CPU.
        let span = surely - 1..=at_most + 1;
        assert!(span.contains(&counted), "{what}: counted {counted}, recorded {span:?}");
    }
}

#[test]
fn the_kernel_counts_the_same_interrupts() {
    if !in_vm() {
        eprintln!("skipped: only in a virtual machine may everything be recorded");
        return;
    }
    let Some(_turn) = alone(&["hardirq", "softirq"]) else { return };
    let mut recorder = Record::trace("hardirq,softirq").start();
    recorder.attached();
    let first = Reading::take();
    run(Command::new(workload::path("irqs")).args(["packets", "500"]));
    run(Command::new(workload::path("irqs")).args(["burn", "2000"]));
    // Its file comes from the host, through a device.
    std::fs::read(workload::path("signals")).unwrap();
    let last = Reading::take();
    recorder.running.signal(libc::SIGINT);
    let recorded = recorder.finish();
    recorded.assert_nothing_of_ours_lost();

    let softirqs = recorded.table::<Softirq>();
    let mut served = 0;
    for (vector, name) in VECTORS.iter().enumerate() {
        for cpu in 0..cpus() as usize {
            let rows = rows_where(&softirqs, |row| {
                softirqs.vector.value(row) == vector as i32 && softirqs.cpu.value(row) == cpu as i32
            });
            let times: Vec<i64> =
                rows.iter().map(|row| recorded.monotonic(softirqs.ts.value(*row))).collect();
            let counted = last.softirqs[*name].0[cpu] - first.softirqs[*name].0[cpu];
            first.check(&last, &format!("{name} on CPU {cpu}"), counted, &times);
            served += counted;
        }
    }
    assert!(served >= 500, "{served}: at least one for each packet");

    let hardirqs = recorded.table::<Hardirq>();
    for (line, (counts, rest)) in &last.interrupts {
        let Ok(irq) = line.parse::<i32>() else { continue };
        // A line that devices share has a row for each handler.
        if rest.contains(',') {
            continue;
        }
        for (cpu, count) in counts.iter().enumerate() {
            let rows = rows_where(&hardirqs, |row| {
                hardirqs.irq.value(row) == irq && hardirqs.cpu.value(row) == cpu as i32
            });
            let times: Vec<i64> =
                rows.iter().map(|row| recorded.monotonic(hardirqs.ts.value(*row))).collect();
            let counted = count - first.interrupts[line].0[cpu];
            first.check(&last, &format!("line {irq} on CPU {cpu}: {rest}"), counted, &times);
            for row in rows {
                let name = known(&hardirqs.name, row).unwrap();
                assert!(rest.ends_with(name), "`{name}` of `{rest}`");
            }
        }
    }
    assert!(hardirqs.rows() > 0, "the root file system is a device");
}
