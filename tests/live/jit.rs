//! Names of code that programs have made themselves.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::process::Command;

use lookback_schemas::cell::View as _;
use lookback_schemas::tables::{Sample, Stack, Symbol};

use super::{alone, missing};
use crate::recording::{Record, Recorded, known, numbers, rows_where};
use crate::running::run;
use crate::workload::{fact, is_installed};

fn record() -> Record {
    Record::trace("process,profile").options(["--frequency", "499"])
}

/// The names of all functions in each stack, by number.
fn stacks(recorded: &Recorded) -> HashMap<i64, Vec<String>> {
    let symbols = recorded.table::<Symbol>();
    let mut names: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    for row in 0..symbols.rows() {
        let name = symbols.name.value(row).to_owned();
        names.entry(symbols.frame.value(row)).or_default().push(name);
    }
    let stacks = recorded.table::<Stack>();
    let named = |row: usize| {
        let frames = numbers(&stacks.frames.value(row));
        frames.iter().flat_map(|frame| names.get(frame).cloned().unwrap_or_default()).collect()
    };
    (0..stacks.rows()).map(|row| (stacks.id.value(row), named(row))).collect()
}

/// Whatever a program left in /tmp.
struct Map(PathBuf);

impl Drop for Map {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn map_of(pid: i32) -> Map {
    Map(PathBuf::from(format!("/tmp/perf-{pid}.map")))
}

#[test]
fn code_has_the_name_of_the_time_when_it_ran() {
    let Some(_turn) = alone(&["process", "profile"]) else { return };
    let recorded = record().workload("jit", ["1500"]).run();
    let fact = fact(recorded.stdout(), "jit");
    let _map = map_of(fact.int32("pid"));
    let stacks = stacks(&recorded);
    let samples = recorded.table::<Sample>();
    let mut counts: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
    for row in 0..samples.rows() {
        let Some(stack) = known(&samples.user_stack, row).map(|id| &stacks[&id]) else { continue };
        let after = recorded.monotonic(samples.ts.value(row)) > fact.int("changed");
        for name in ["int first(int)", "second"] {
            if stack.iter().any(|frame| frame == name) {
                counts.entry(name).or_default()[usize::from(after)] += 1;
            }
        }
    }
    let [first, second] = ["int first(int)", "second"].map(|name| counts[name]);
    assert_eq!((first[1], second[0]), (0, 0), "{counts:?}");
    // 1.5 s of each at 499 samples a second.
    assert!(first[0] > 500 && second[1] > 500, "{counts:?}");
}

/// The names in the stacks of a program that was recorded.
fn names(command: &[&str]) -> BTreeSet<String> {
    let recorded = record().options(["--"]).options(command).run();
    let stacks = stacks(&recorded);
    let samples = recorded.table::<Sample>();
    let pids: BTreeSet<i32> = samples.pid.values().iter().copied().collect();
    drop(pids.into_iter().map(map_of).collect::<Vec<Map>>());
    let with_stack = rows_where(&samples, |row| known(&samples.user_stack, row).is_some());
    let seen = with_stack.into_iter().flat_map(|row| {
        let id = known(&samples.user_stack, row).expect("it has one");
        stacks[&id].clone()
    });
    seen.collect()
}

#[test]
fn node_names_its_functions() {
    let Some(_turn) = alone(&["process", "profile"]) else { return };
    if !is_installed("node") {
        missing("there is no node");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("work.js");
    let work = "function hotLoop(n) { let s = 0; for (let i = 0; i < n; i++) s = (s * 31 + i) % 1e9; return s }\n\
                const end = Date.now() + 1500; let s = 0; while (Date.now() < end) s += hotLoop(1e6);\n\
                console.log(s)\n";
    std::fs::write(&script, work).unwrap();
    let command = [
        "node",
        "--perf-basic-prof",
        "--no-logfile-per-isolate",
        "--logfile=/dev/null",
        "--interpreted-frames-native-stack",
    ];
    let names = names(&[&command[..], &[script.to_str().unwrap()]].concat());
    let named = names.iter().any(|name| name.contains("hotLoop") && name.contains("work.js"));
    assert!(named, "{names:?}");
}

#[test]
fn java_names_its_methods_when_it_ends() {
    let Some(_turn) = alone(&["process", "profile"]) else { return };
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("Work.java");
    let work = "public class Work { static long hotLoop(long n) { long s = 0; for (long i = 0; i < n; i++) \
                s = s * 31 + i; return s; } public static void main(String[] a) { long end = \
                System.currentTimeMillis() + 1500, s = 0; while (System.currentTimeMillis() < end) s += \
                hotLoop(1000000); System.out.println(s); } }\n";
    std::fs::write(&source, work).unwrap();
    if !is_installed("javac") || !is_installed("java") {
        missing("there is no Java");
        return;
    }
    let mut javac = Command::new("javac");
    let compiled = run(javac.arg("-d").arg(directory.path()).arg(&source));
    assert!(compiled.status.success(), "{}", compiled.stderr);
    let classes = directory.path().to_str().unwrap();
    let options =
        ["-XX:+UnlockDiagnosticVMOptions", "-XX:+DumpPerfMapAtExit", "-XX:+PreserveFramePointer"];
    let names = names(&[&["java"], &options[..], &["-cp", classes, "Work"]].concat());
    assert!(names.iter().any(|name| name.contains("Work.hotLoop")), "{names:?}");
}
