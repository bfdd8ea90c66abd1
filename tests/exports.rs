//! Exports of the recordings in `fixtures/`, read by the programs that they are for.
//!
//! Go's pprof and Python's own modules are asked wherever they are; what `make test-exports` installs into `target/exports` (Python
//! packages, Speedscope for Chromium, Firefox's profiler for the command line) only there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lookback_schemas::recording::Recording;
use serde_json::Value;

use crate::golden::fixtures;
use crate::live::missing;
use crate::running::{Running, run};

const PYTHON: &str = "/usr/bin/python3";

/// Runs a command to its end, and gives what it printed.
fn output(command: &mut Command) -> String {
    let ended = Running::start(command).end_within(Duration::from_secs(300));
    assert!(ended.status.success(), "{command:?}: {}", ended.stderr);
    ended.stdout
}

fn analyze(arguments: &[&str]) -> String {
    let mut analyze = Command::new(env!("CARGO_BIN_EXE_analyze"));
    output(analyze.args(arguments).current_dir(fixtures()))
}

/// Writes an export of one of the recordings into the folder.
fn export(folder: &Path, recording: &str, arguments: &[&str]) -> PathBuf {
    let file = folder.join("export");
    let to = ["-o", file.to_str().unwrap()];
    analyze(&[&["export", recording, "--format"], arguments, &to].concat());
    file
}

/// What `make test-exports` has installed there; says so where it has not.
fn installed(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/exports").join(name);
    if !path.exists() {
        eprintln!("left out: {} is not there: `make test-exports` installs it", path.display());
        return None;
    }
    Some(path)
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/exports").join(name)
}

/// The weights of folded stacks: of all, and by the innermost function.
fn folded(recording: &str) -> (i64, BTreeMap<String, i64>) {
    let (mut sum, mut by_leaf) = (0, BTreeMap::new());
    for line in analyze(&["flamegraph", recording, "--folded"]).lines() {
        let (stack, weight) = line.rsplit_once(' ').unwrap();
        let weight: i64 = weight.parse().unwrap();
        let leaf = stack.rsplit(';').next().unwrap();
        let leaf = plain(leaf);
        sum += weight;
        *by_leaf.entry(leaf.to_owned()).or_default() += weight;
    }
    assert!(sum > 0);
    (sum, by_leaf)
}

#[test]
fn go_tool_pprof_has_the_times_of_the_flame_graph() {
    if Command::new("go").arg("version").output().is_err() {
        return missing("there is no Go");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = export(folder.path(), "demo.lookback", &["pprof"]);
    let pprof = |arguments: &[&str]| {
        output(Command::new("go").args(["tool", "pprof"]).args(arguments).arg(&file))
    };
    let (sum, by_leaf) = folded("demo.lookback");
    let raw = pprof(&["-raw", "-symbolize=none"]);
    let values: Vec<i64> = raw
        .lines()
        .skip_while(|line| {
            *line != "samples/count cpu/nanoseconds[dflt]"
                && *line != "samples/count cpu/nanoseconds"
        })
        .take_while(|line| *line != "Locations")
        .filter_map(|line| line.split_once(": ")?.0.split_whitespace().nth(1)?.parse().ok())
        .collect();
    assert_eq!(values.iter().sum::<i64>(), sum, "{raw}");
    let top =
        pprof(&["-top", "-symbolize=none", "-unit=ns", "-nodecount=10000", "-nodefraction=0"]);
    let flat: BTreeMap<&str, i64> = top
        .lines()
        .skip_while(|line| !line.trim_start().starts_with("flat"))
        .skip(1)
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let flat = words.next()?.trim_end_matches("ns").parse().ok()?;
            Some((words.nth(4)?, flat))
        })
        .collect();
    let (hottest, weight) = by_leaf.iter().max_by_key(|(_, weight)| **weight).unwrap();
    assert_eq!(flat.get(hottest.as_str()), Some(weight), "{hottest} in {top}");
    assert!(pprof(&["-comments"]).contains("nothing lost"));
}

#[test]
fn inferno_makes_the_folded_lines_of_perf_scripts_text() {
    use inferno::collapse::Collapse as _;
    let text = analyze(&["export", "demo.lookback", "--format", "perf-script"]);
    let mut collapsed = Vec::new();
    inferno::collapse::perf::Folder::default().collapse(text.as_bytes(), &mut collapsed).unwrap();
    // A flame graph does not say where a frame is that has no name and lies in no file.
    let collapsed = String::from_utf8(collapsed).unwrap().replace("[[vdso]]", "[unknown]");
    let collapsed = sums(&collapsed);
    let ours = sums(&analyze(&["flamegraph", "demo.lookback", "--folded"]));
    assert!(collapsed.len() > 100);
    assert_eq!(collapsed, ours);
}

/// The weights of folded stacks, without what is written differently: kinds of frames, and places of those without
/// a name.
fn sums(folded: &str) -> BTreeMap<String, i64> {
    let mut sums = BTreeMap::new();
    for line in folded.lines() {
        let (stack, weight) = line.rsplit_once(' ').unwrap();
        let frames = stack.split(';').map(|frame| {
            let frame = plain(frame);
            frame.split_once("+0x").map_or(frame.to_owned(), |(file, _)| format!("{file}]"))
        });
        let stack = frames.collect::<Vec<_>>().join(";");
        *sums.entry(stack).or_default() += weight.parse::<i64>().unwrap();
    }
    sums
}

/// A frame without its kind.
fn plain(frame: &str) -> &str {
    ["_[k]", "_[i]", "_[j]"].iter().fold(frame, |frame, kind| frame.trim_end_matches(kind))
}

#[test]
fn python_reads_every_row_of_csv_and_json_lines() {
    if !Path::new(PYTHON).exists() {
        return missing("there is no Python");
    }
    for recording in ["demo.lookback", "tracers.lookback"] {
        let rows = rows_of(recording);
        for format in ["csv", "jsonl"] {
            let folder = tempfile::tempdir().unwrap();
            let files = export(folder.path(), recording, &[format]);
            let found = output(Command::new(PYTHON).arg(script("rows.py")).arg(files));
            assert_eq!(counts(&found), rows, "{recording} as {format}");
        }
    }
}

/// How many rows each table has.
fn rows_of(recording: &str) -> BTreeMap<String, u64> {
    let recording = Recording::open(&fixtures().join(recording)).unwrap();
    let totals = &recording.manifest().totals;
    let rows = totals.iter().map(|(table, total)| (table.clone(), total.rows));
    rows.filter(|(_, rows)| *rows > 0).collect()
}

/// A name and a number in each line.
fn counts(text: &str) -> BTreeMap<String, u64> {
    let line = |line: &str| {
        let mut words = line.split(' ');
        let name = words.next().unwrap().to_owned();
        (name, words.next().unwrap().parse().unwrap())
    };
    text.lines().map(line).collect()
}

#[test]
fn pyarrow_reads_every_row() {
    let Some(python) = installed("python/bin/python") else { return };
    let folder = tempfile::tempdir().unwrap();
    let files = export(folder.path(), "tracers.lookback", &["arrow"]);
    let found = output(Command::new(python).arg(script("tables.py")).arg(files));
    assert_eq!(counts(&found), rows_of("tracers.lookback"));
}

/// What `tests/exports/trace.py` and `chrome.py` print: how many there are of a kind and a name.
struct Found(Vec<(String, String, u64)>);

impl Found {
    fn of(text: &str) -> Found {
        let line = |line: &str| {
            let (kind, rest) = line.split_once(' ').unwrap();
            let (name, count) = rest.rsplit_once(' ').unwrap();
            (kind.to_owned(), name.to_owned(), count.parse().unwrap())
        };
        Found(text.lines().map(line).collect())
    }

    fn count(&self, kind: &str, name: impl Fn(&str) -> bool) -> u64 {
        let of = self.0.iter().filter(|(of, named, _)| of == kind && name(named));
        of.map(|(_, _, count)| count).sum()
    }

    /// What is there of the recordings' tables.
    fn check(&self, recording: &str) {
        let rows = rows_of(recording);
        let of = |table: &str| rows.get(table).copied().unwrap_or(0);
        let starting = |kind, start| self.count(kind, |name| name.starts_with(start));
        assert_eq!(starting("instant", "exec "), of("exec"));
        assert_eq!(starting("instant", "open "), of("open"));
        assert_eq!(
            self.count("instant", |name| name.starts_with("exit") || name.starts_with("killed by")),
            of("exit")
        );
        assert_eq!(self.count("sample", |_| true), of("sample"));
        assert_eq!(starting("slice", "connect "), of("tcpconnect"));
        let causes = ["woken", "preempted", "new"];
        assert_eq!(self.count("slice", |name| causes.contains(&name)), of("runq"));
        let vectors =
            ["timer", "net_tx", "net_rx", "sched", "rcu", "block", "tasklet", "hrtimer", "hi"];
        assert_eq!(self.count("slice", |name| vectors.contains(&name)), of("softirq"));
        assert_eq!(starting("counter", "srtt "), of("tcprtt"));
        assert_eq!(self.count("slice", |name| name.contains(" of ")), of("loss"));
    }
}

#[test]
fn perfettos_schema_has_all_that_is_written() {
    let Some(python) = installed("python/bin/python") else { return };
    for recording in
        ["demo.lookback", "tracers.lookback", "offcpu.lookback", "probes.lookback", "heap.lookback"]
    {
        let folder = tempfile::tempdir().unwrap();
        let file = export(folder.path(), recording, &["perfetto"]);
        let found = output(Command::new(&python).arg(script("trace.py")).arg(file));
        Found::of(&found).check(recording);
    }
}

#[test]
fn chromes_json_is_as_it_is_described() {
    if !Path::new(PYTHON).exists() {
        return missing("there is no Python");
    }
    for recording in
        ["demo.lookback", "tracers.lookback", "offcpu.lookback", "probes.lookback", "heap.lookback"]
    {
        let folder = tempfile::tempdir().unwrap();
        let file = export(folder.path(), recording, &["chrome"]);
        let found = output(Command::new(PYTHON).arg(script("chrome.py")).arg(file));
        Found::of(&found).check(recording);
    }
}

/// What Speedscope's page shows of an export; nothing where it cannot be shown.
fn speedscope(recording: &str, format: &str) -> Option<String> {
    let python = installed("python/bin/python")?;
    let package = installed("node_modules/speedscope")?;
    if run(Command::new("sh").args(["-c", "command -v chromium"])).status.code() != Some(0) {
        missing("there is no Chromium");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = export(folder.path(), recording, &[format]);
    Some(output(Command::new(python).arg(script("speedscope.py")).arg(package).arg(file)))
}

#[test]
fn speedscope_shows_our_functions_in_a_browser() {
    let Some(page) = speedscope("demo.lookback", "speedscope") else { return };
    let (_, by_leaf) = folded("demo.lookback");
    let (hottest, _) = by_leaf.iter().max_by_key(|(_, weight)| **weight).unwrap();
    assert!(page.contains(hottest.as_str()), "no {hottest} in {page}");
}

#[test]
fn speedscope_shows_the_slices_of_chromes_json_in_a_browser() {
    let Some(page) = speedscope("tracers.lookback", "chrome") else { return };
    // It shows a shell's calls first, with what the slices have beside their names.
    assert!(page.contains("vfork {\"result\":"), "{page}");
}

/// Firefox's profiler for the command line, which loads a profile as the page does, and is asked about it then.
struct FirefoxProfiler {
    node: PathBuf,
    program: PathBuf,
    home: PathBuf,
}

impl FirefoxProfiler {
    fn ask(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(&self.node);
        output(command.arg(&self.program).args(arguments).env("HOME", &self.home))
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ask(&[arguments, &["--json"]].concat())).unwrap()
    }
}

impl Drop for FirefoxProfiler {
    fn drop(&mut self) {
        let mut command = Command::new(&self.node);
        run(command.arg(&self.program).args(["stop", "--all"]).env("HOME", &self.home));
    }
}

#[test]
fn firefoxs_profiler_has_every_sample_where_the_flame_graph_has_it() {
    let Some(node) = installed("node_modules/node/bin/node") else { return };
    let at = "node_modules/@firefox-devtools/profiler-cli/dist/profiler-cli.js";
    let Some(program) = installed(at) else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = export(folder.path(), "demo.lookback", &["firefox"]);
    let profiler = FirefoxProfiler { node, program, home: folder.path().to_owned() };
    profiler.ask(&["load", file.to_str().unwrap()]);
    let threads = profiler.json(&["thread", "list", "--limit", "1000"]);
    let mut samples: BTreeMap<String, i64> = BTreeMap::new();
    for thread in threads["threads"].as_array().unwrap() {
        let thread = ["thread", "functions", "--thread", thread["threadHandle"].as_str().unwrap()];
        let found = profiler.json(&[&thread[..], &["--limit", "100000"]].concat());
        for function in found["functions"].as_array().unwrap() {
            let name = function["name"].as_str().unwrap().to_owned();
            *samples.entry(name).or_default() += function["selfSamples"].as_i64().unwrap();
        }
    }
    let (weight, by_leaf) = folded("demo.lookback");
    let taken = rows_of("demo.lookback")["sample"] as i64;
    // Each stands for one period of the clock.
    let expected = by_leaf.into_iter().map(|(name, of)| (name, of * taken / weight));
    samples.retain(|_, count| *count > 0);
    assert_eq!(samples, expected.collect());
}
