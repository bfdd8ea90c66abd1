//! Names of code that programs have made themselves.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use lookback_schemas::cell::View as _;
use lookback_schemas::tables::{Sample, Stack, Symbol};

use super::{alone, missing};
use crate::recording::{Record, Recorded, known, numbers, rows_where};
use crate::running::run;
use crate::workload::{self, fact, is_installed};

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
    // 1.5 s of CPU time for each, at 499 samples a second.
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
    // Or it writes another file where it runs.
    let log = format!("--logfile={}", directory.path().join("v8.log").display());
    let own_log = ["--no-logfile-per-isolate", log.as_str()];
    let command = ["node", "--perf-basic-prof", "--interpreted-frames-native-stack"];
    let names = names(&[&command[..], &own_log, &[script.to_str().unwrap()]].concat());
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

#[test]
fn maps_are_found_where_the_process_sees_them() {
    let Some(_turn) = alone(&["process", "profile"]) else { return };
    // In a pid namespace it is the first process, and has a /tmp of its own.
    let script = "exec 3< \"$0\"; mount -t tmpfs none /tmp && exec /proc/self/fd/3 1200";
    let jit = workload::path("jit");
    let command = ["unshare", "--fork", "--pid", "--mount", "sh", "-c", script];
    let recorded = record().options(["--"]).options(command).options([&jit]).run();
    assert_eq!(fact(recorded.stdout(), "jit").int("pid"), 1);
    let stacks = stacks(&recorded);
    for name in ["int first(int)", "second"] {
        let named = stacks.values().any(|stack| stack.iter().any(|frame| frame == name));
        assert!(named, "{name} in {stacks:?}");
    }
}

/// An interpreter that offers maps, which Python does since 3.12.
fn python() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
    if let Ok(versions) = std::fs::read_dir(home.join(".pyenv/versions")) {
        places.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    let names = ["python3.12", "python3.13", "python3.14", "python3"];
    let mut found = places.iter().flat_map(|place| names.map(|name| place.join(name)));
    found.find(|python| {
        let asked = "import sys; sys.exit(0 if sys.is_stack_trampoline_active() else 1)";
        let mut asking = Command::new(python);
        asking.args(["-X", "perf", "-c", asked]).stderr(Stdio::null());
        let Ok(mut asked) = asking.spawn() else { return false };
        let _map = map_of(i32::try_from(asked.id()).unwrap());
        asked.wait().unwrap().success()
    })
}

#[test]
fn python_names_its_functions() {
    let Some(_turn) = alone(&["process", "profile"]) else { return };
    let Some(python) = python() else {
        missing("there is no Python, 3.12 or newer, that offers maps");
        return;
    };
    let work = "import time\ndef hot_loop(n):\n    s = 0\n    for i in range(n):\n        s += i * i\n    \
                return s\nend = time.monotonic() + 1.5\nwhile time.monotonic() < end:\n    \
                hot_loop(100000)\n";
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("work.py");
    std::fs::write(&script, work).unwrap();
    let names = names(&[python.to_str().unwrap(), "-X", "perf", script.to_str().unwrap()]);
    assert!(names.iter().any(|name| name.starts_with("py::hot_loop:")), "{names:?}");
    // Who calls it is on the other side of code that keeps no frame.
    for caller in ["py::<module>:", "_start"] {
        assert!(names.iter().any(|name| name.starts_with(caller)), "{caller} in {names:?}");
    }
}
