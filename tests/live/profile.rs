//! The tracer `profile`, against programs that know where they spent their time.

use std::collections::HashMap;

use lookback_schemas::TableId;
use lookback_schemas::cell::View as _;
use lookback_schemas::manifest::Symbols;
use lookback_schemas::tables::{Exec, Sample, Stack, Symbol};

use super::alone;
use crate::recording::{Record, Recorded, known, rows_where, text};
use crate::running::in_vm;
use crate::workload::{self, fact, facts};

/// Samples per second: more than usual, so that a second is enough for good figures. An emulated
/// processor is late for many of its timers, and the kernel does not make up for that.
fn frequency() -> i64 {
    if in_vm() { 99 } else { 499 }
}

fn profile() -> Record {
    Record::trace("process,profile").options(["--frequency", &frequency().to_string()])
}

/// The names of the functions in each user stack, the innermost first.
fn stacks(recorded: &Recorded) -> HashMap<i64, Vec<String>> {
    let symbols = recorded.table::<Symbol>();
    // None of the workloads' own functions is inlined: the outermost of a frame is the function.
    let names: HashMap<i64, String> = rows_where(&symbols, |row| symbols.depth.value(row) == 0)
        .into_iter()
        .map(|row| (symbols.frame.value(row), symbols.name.value(row).to_owned()))
        .collect();
    let stacks = recorded.table::<Stack>();
    (0..stacks.rows())
        .map(|row| {
            let frames = stacks.frames.value(row);
            let frames =
                arrow::array::AsArray::as_primitive::<arrow::datatypes::Int64Type>(&frames);
            let name = |frame: &i64| names.get(frame).cloned().unwrap_or_default();
            (stacks.id.value(row), frames.values().iter().map(name).collect())
        })
        .collect()
}

/// Whether the samples are as many as the CPU time makes them, give or take 15 %.
fn assert_as_many(samples: usize, cpu: i64) {
    let expected = (cpu * frequency() / 1_000_000_000) as f64;
    let ratio = samples as f64 / expected;
    let least = if in_vm() { 0.3 } else { 0.85 };
    assert!((least..=1.15).contains(&ratio), "{samples} samples where {expected} were expected");
}

#[test]
fn samples_are_where_the_time_is_spent() {
    let Some(_turn) = alone(&["process", "profile"]) else { return };
    let recorded = profile().workload("burner", ["shares", "3000"]).run();
    recorded.assert_nothing_lost();
    assert_eq!(recorded.recording.manifest().symbols, Symbols::Resolved);
    let fact = fact(recorded.stdout(), "burned");
    let samples = recorded.table::<Sample>();
    let rows = rows_where(&samples, |row| samples.pid.value(row) == fact.int32("pid"));
    assert_eq!(rows.len(), samples.rows(), "nothing else was to be recorded");
    assert_as_many(rows.len(), fact.int("cpu"));

    let stacks = stacks(&recorded);
    let mut innermost: HashMap<&str, usize> = HashMap::new();
    let mut in_main = 0;
    let executed = recorded.table::<Exec>().ts.value(0);
    for row in &rows {
        // Before, it is still the recorder that starts it.
        if samples.ts.value(*row) > executed {
            assert_eq!(text(&samples.comm, *row), "burner");
        }
        assert_eq!(samples.tid.value(*row), fact.int32("pid"));
        let Some(stack) = known(&samples.user_stack, *row).map(|id| &stacks[&id]) else { continue };
        let own = stack.iter().position(|name| name == "hot" || name == "warm");
        if let Some(own) = own {
            *innermost.entry(stack[own].as_str()).or_default() += 1;
            assert!(stack[own..].iter().any(|name| name == "main"), "{stack:?}");
            in_main += 1;
        }
    }
    let most = if in_vm() { 0.85 } else { 0.95 };
    assert!(in_main as f64 >= most * rows.len() as f64, "{in_main} of {}", rows.len());
    let hot = innermost["hot"] as f64 / in_main as f64;
    let off = if in_vm() { 0.12 } else { 0.05 };
    assert!((hot - 0.75).abs() <= off, "hot has three quarters of the time, not {hot}");
}

#[test]
fn frames_of_processes_that_are_long_gone_have_names() {
    let Some(_turn) = alone(&["process", "profile"]) else { return };
    let burner = workload::path("burner");
    // The last line of the script keeps the shell from becoming the second program.
    let script = format!("{} shares 400; {} sleep 2500; true", burner.display(), burner.display());
    let recorded = profile().options(["--", "/bin/sh", "-c", &script]).run();
    let burned = facts(recorded.stdout(), "burned");
    let gone = burned[0].int32("pid");
    let samples = recorded.table::<Sample>();
    let rows = rows_where(&samples, |row| samples.pid.value(row) == gone);
    assert!(rows.len() as i64 * 10 >= frequency(), "{} samples", rows.len());
    let stacks = stacks(&recorded);
    let named = rows.iter().filter(|row| {
        let stack = known(&samples.user_stack, **row).map(|id| stacks[&id].clone());
        let stack = stack.unwrap_or_default();
        ["hot", "warm"].iter().any(|name| stack.iter().any(|frame| frame == name))
            && stack.iter().any(|frame| frame == "main")
    });
    let named = named.count() as f64 / rows.len() as f64;
    // The rest is where programs are loaded, which takes long where the processor is emulated.
    let most = if in_vm() { 0.7 } else { 0.9 };
    assert!(named >= most, "only {named} of the samples have their names");
}

#[test]
fn threads_are_told_apart() {
    let Some(_turn) = alone(&["process", "profile"]) else { return };
    let recorded = profile().workload("burner", ["threads", "1500"]).run();
    let samples = recorded.table::<Sample>();
    let stacks = stacks(&recorded);
    for (name, function) in [("left", "hot"), ("right", "warm")] {
        let facts = facts(recorded.stdout(), "burned");
        let fact = facts.iter().find(|fact| fact.word("name") == name).unwrap();
        let rows = rows_where(&samples, |row| samples.tid.value(row) == fact.int32("tid"));
        assert_as_many(rows.len(), fact.int("cpu"));
        for row in &rows {
            assert_eq!(samples.pid.value(*row), fact.int32("pid"));
        }
        // Until it has given itself its name, it is called as the program.
        let called = rows.iter().filter(|row| text(&samples.comm, **row) == name).count();
        let at_work = rows.iter().filter(|row| {
            let stack = known(&samples.user_stack, **row).map(|id| &stacks[&id]);
            stack.is_some_and(|stack| stack.iter().any(|frame| frame == function))
        });
        let (called, at_work) = (called as f64, at_work.count() as f64);
        let most = if in_vm() { 0.8 } else { 0.95 };
        assert!(called >= most * rows.len() as f64, "{called} of {}", rows.len());
        assert!(at_work >= most * rows.len() as f64, "{at_work} of {}", rows.len());
    }
}

#[test]
fn who_sleeps_is_not_sampled() {
    let Some(_turn) = alone(&["process", "profile"]) else { return };
    let recorded = profile().workload("burner", ["sleep", "1000"]).run();
    let fact = fact(recorded.stdout(), "burned");
    let samples = recorded.table::<Sample>();
    // It takes some CPU time to start, and more where the machine is emulated.
    let few = fact.int("cpu") * frequency() / 1_000_000_000 + if in_vm() { 25 } else { 10 };
    assert!((samples.rows() as i64) <= few, "{} samples of a sleeper", samples.rows());
    assert_eq!(recorded.lost(TableId::Sample), 0);
}
