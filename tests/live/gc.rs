//! The tracer `gc`, against what runtimes say of their collections: the Java virtual machine in its log,
//! Python to its callbacks, and Ruby in its counters.

#![expect(unsafe_code, reason = "tests call the system as programs do")]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use lookback_schemas::cell::View as _;
use lookback_schemas::tables::Gc;
use lookback_schemas::tables::gc::{Part, Runtime};
use tempfile::TempDir;

use super::faults::changed_code;
use super::shop::{self, Between};
use super::{alone, has_tracefs, missing, shared};
use crate::recording::{RECORD, Record, Recorded, is_absent, known, text};
use crate::running::{Running, in_vm, run, wait_for};
use crate::workload::{self, fact, facts};

// --- What was recorded ---

/// A row.
#[derive(Clone, Debug)]
struct Row {
    /// On the clock of the program.
    began: i64,
    ended: Option<i64>,
    part: Part,
    runtime: Runtime,
    depth: i32,
    full: Option<i32>,
    manager: Option<String>,
    pool: Option<String>,
    /// What the pool held before and after, and what the system had given to it.
    used: [Option<i64>; 2],
    committed: [Option<i64>; 2],
    generation: Option<i64>,
    collected: Option<i64>,
    pid: i32,
    tid: i32,
    comm: String,
}

/// All rows, in the order of time.
fn rows(recorded: &Recorded) -> Vec<Row> {
    let table = recorded.table::<Gc>();
    let row = |row| {
        let began = recorded.monotonic(table.ts.value(row));
        // SAFETY: getuid needs nothing.
        assert_eq!(table.uid.value(row), unsafe { libc::getuid() } as i32);
        Row {
            began,
            ended: known(&table.duration, row).map(|duration| began + duration),
            part: Part::from_code(table.part.value(row)).unwrap(),
            runtime: Runtime::from_code(table.runtime.value(row)).unwrap(),
            depth: table.depth.value(row),
            full: known(&table.full, row),
            manager: known(&table.manager, row).map(str::to_owned),
            pool: known(&table.pool, row).map(str::to_owned),
            used: [known(&table.used_before, row), known(&table.used_after, row)],
            committed: [known(&table.committed_before, row), known(&table.committed_after, row)],
            generation: known(&table.generation, row),
            collected: known(&table.collected, row),
            pid: table.pid.value(row),
            tid: table.tid.value(row),
            comm: text(&table.comm, row).to_owned(),
        }
    };
    let mut rows: Vec<Row> = (0..table.rows()).map(row).collect();
    rows.sort_by_key(|row| row.began);
    rows
}

// --- Java ---

/// A virtual machine that may be installed.
#[derive(Clone, Debug)]
struct Java {
    program: PathBuf,
}

/// All that are installed and have the probes.
fn javas() -> Vec<Java> {
    let mut homes = BTreeSet::new();
    for home in std::fs::read_dir("/usr/lib/jvm").into_iter().flatten() {
        let home = home.unwrap().path();
        if let Ok(library) = home.join("lib/server/libjvm.so").canonicalize() {
            let content = std::fs::read(&library).unwrap();
            if contains(&content, b"\0hotspot\0mem__pool__gc__begin\0") {
                homes.insert(home.canonicalize().unwrap());
            }
        }
    }
    if homes.is_empty() || !workload::path(workload::CLASSES).is_dir() {
        missing("there is no JDK with probes (openjdk-17-jdk-headless)");
        return Vec::new();
    }
    let mut javas: Vec<Java> =
        homes.into_iter().map(|home| Java { program: home.join("bin/java") }).collect();
    // Emulated, each takes a minute: one has to be enough, and one collector, and one test.
    javas.truncate(if in_vm() { 1 } else { usize::MAX });
    javas
}

fn contains(content: &[u8], wanted: &[u8]) -> bool {
    content.windows(wanted.len()).any(|window| window == wanted)
}

/// A collector of garbage.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Collector {
    Serial,
    Parallel,
    G1,
}

impl Collector {
    fn all() -> &'static [Collector] {
        let all = &[Collector::Serial, Collector::Parallel, Collector::G1];
        if in_vm() { &all[..1] } else { all }
    }

    /// Who collects the young, and who everything.
    fn managers(self) -> [&'static str; 2] {
        match self {
            Collector::Serial => ["Copy", "MarkSweepCompact"],
            Collector::Parallel => ["PS Scavenge", "PS MarkSweep"],
            Collector::G1 => ["G1 Young Generation", "G1 Old Generation"],
        }
    }

    /// The pools of the heap.
    fn pools(self) -> [&'static str; 3] {
        match self {
            Collector::Serial => ["Eden Space", "Survivor Space", "Tenured Gen"],
            Collector::Parallel => ["PS Eden Space", "PS Survivor Space", "PS Old Gen"],
            Collector::G1 => ["G1 Eden Space", "G1 Survivor Space", "G1 Old Gen"],
        }
    }
}

/// The command that runs `Collections`, with the log of its collections.
fn java(
    java: &Java,
    collector: Collector,
    log: &Path,
    options: &[&str],
    steps: &[&str],
) -> Vec<OsString> {
    let mut command: Vec<OsString> = vec![java.program.clone().into()];
    command.push(format!("-XX:+Use{collector:?}GC").into());
    command.push(format!("-Xlog:gc,gc+start:file={}:timenanos,tid,tags", log.display()).into());
    // Small, and with nothing that others see.
    command.extend(
        ["-Xms64m", "-Xmx64m", "-XX:-UsePerfData", "-XX:TieredStopAtLevel=1"].map(Into::into),
    );
    command.extend(options.iter().map(Into::into));
    command.extend(["-cp".into(), workload::path(workload::CLASSES).into(), "Collections".into()]);
    command.extend(steps.iter().map(Into::into));
    command
}

/// A pause, as the log has it.
#[derive(Clone, Debug)]
struct Pause {
    /// `Young`, `Full`, `Remark` or `Cleanup`.
    kind: String,
    line: String,
    began: i64,
    ended: i64,
    tid: i32,
    /// MiB in use before and after, and the heap's, rounded down.
    heap: [i64; 3],
    /// As the log says it, in nanoseconds.
    took: i64,
}

/// The pauses in a log, in the order of time. Lines are `[NANOSECONDSns][TID][TAGS] GC(NUMBER) Pause KIND …`
/// with `start` among the tags when it begins, and with `17M->0M(61M) 2.525ms` at the line's end when it
/// has ended. The clock is the one that events carry.
fn pauses(log: &Path) -> Vec<Pause> {
    let log = std::fs::read_to_string(log).unwrap();
    let mut begun: BTreeMap<(String, String), i64> = BTreeMap::new();
    let mut pauses = Vec::new();
    for line in log.lines() {
        let Some((decorations, message)) = line.split_once("] GC(") else { continue };
        let mut decorations = decorations.trim_start_matches('[').split("][");
        let at: i64 = decorations.next().unwrap().strip_suffix("ns").unwrap().parse().unwrap();
        let tid: i32 = decorations.next().unwrap().parse().unwrap();
        let starts = decorations.next().unwrap().contains("start");
        let words: Vec<&str> = message.split_whitespace().collect();
        let [number, "Pause", kind, ..] = words[..] else { continue };
        let key = (number.to_owned(), kind.to_owned());
        if starts {
            assert_eq!(begun.insert(key, at), None, "{line}");
            continue;
        }
        let [.., heap, took] = words[..] else { panic!("{line}") };
        let sizes: Vec<i64> = heap
            .split(['-', '>', '(', ')'])
            .filter_map(|size| size.strip_suffix('M')?.parse().ok())
            .collect();
        let milliseconds: f64 = took.strip_suffix("ms").unwrap().parse().unwrap();
        pauses.push(Pause {
            kind: kind.to_owned(),
            line: line.to_owned(),
            began: begun.remove(&key).unwrap_or_else(|| panic!("the start of {line}")),
            ended: at,
            tid,
            heap: sizes.try_into().unwrap_or_else(|_| panic!("sizes in {line}")),
            took: (milliseconds * 1e6) as i64,
        });
    }
    assert_eq!(begun, BTreeMap::new(), "each pause ended");
    pauses.sort_by_key(|pause| pause.began);
    pauses
}

/// How much longer or shorter a collection may be than the pauses in it: what the virtual machine does
/// between its probes and its log, and what the probes themselves take.
fn most_between() -> i64 {
    if in_vm() { 1_000_000_000 } else { 20_000_000 }
}

const MIB: i64 = 1 << 20;

/// Fails unless the rows of a virtual machine are what its log says: each pause is in one collection, and
/// each collection has a pause.
fn check_java(collector: Collector, rows: &[Row], pauses: &[Pause], pid: i32) {
    assert!(!pauses.is_empty());
    for row in rows {
        assert_eq!((row.runtime, row.pid, row.comm.as_str()), (Runtime::Hotspot, pid, "VM Thread"));
        assert_eq!((row.generation, row.collected), (None, None));
        assert!(matches!(row.part, Part::Collection | Part::Pool));
        let ended = row.ended.unwrap_or_else(|| panic!("each has its end: {row:?}"));
        assert!(ended > row.began, "{row:?}");
        // Those collections that had begun in the thread, and had not ended.
        let around = |other: &&Row| {
            other.part == Part::Collection
                && other.tid == row.tid
                && (other.began..other.ended.unwrap()).contains(&row.began)
                && other.began < row.began
        };
        assert_eq!(row.depth as usize, rows.iter().filter(around).count(), "{row:?}");
    }

    let whole: Vec<&Row> = rows.iter().filter(|row| row.part == Part::Collection).collect();
    let mut of_whole: Vec<Vec<&Pause>> = vec![Vec::new(); whole.len()];
    for pause in pauses {
        let meets = |row: &Row| {
            row.tid == pause.tid && row.began < pause.ended && row.ended.unwrap() > pause.began
        };
        let met: Vec<usize> = (0..whole.len()).filter(|place| meets(whole[*place])).collect();
        assert_eq!(met.len(), 1, "{pause:?} is in one of {whole:#?}");
        of_whole[met[0]].push(pause);
    }

    let mut differences = Vec::new();
    for (row, pauses) in std::iter::zip(&whole, &of_whole) {
        assert!(!pauses.is_empty(), "in the log: {row:?}");
        let (began, ended) = (pauses[0].began, pauses.last().unwrap().ended);
        // In one thread, all has an order. Some pauses begin before the collection, and end after it.
        let around = row.began <= began && row.ended.unwrap() >= ended;
        let within = row.began >= began && row.ended.unwrap() <= ended;
        assert!(around || (within && pauses.len() == 1), "{row:?}: {pauses:?}");
        differences.extend([(row.began - began).abs(), (row.ended.unwrap() - ended).abs()]);
        let took: i64 = pauses.iter().map(|pause| pause.took).sum();
        let duration = row.ended.unwrap() - row.began;
        assert!((duration - took).abs() <= most_between(), "{row:?}: {pauses:?}");

        assert_eq!((&row.manager, &row.pool), (&None, &None));
        assert_eq!((row.used, row.committed), ([None; 2], [None; 2]));
        let full = row.full.expect("hotspot tells whether it is full");
        let asked = |pause: &Pause| pause.line.contains("Pause Full (System.gc())");
        if pauses.iter().any(|pause| asked(pause)) {
            assert_eq!(full, 1, "{row:?}: {pauses:?}");
        } else if !pauses.iter().any(|pause| pause.kind == "Full") {
            assert_eq!(full, 0, "{row:?}: {pauses:?}");
        }
    }
    assert!(differences.iter().all(|difference| *difference <= most_between()), "{differences:?}");
    differences.sort_unstable();
    let median = differences[differences.len() / 2];
    assert!(in_vm() || median <= 1_000_000, "half of them are {median} ns off");
    println!(
        "{collector:?}: at most {} ns off, half of them {median}",
        differences.last().unwrap()
    );

    let mut seen = 0;
    for pause in pauses {
        let within = |row: &&Row| {
            let span = pause.began..=pause.ended;
            row.part == Part::Pool
                && span.contains(&row.began)
                && span.contains(&row.ended.unwrap())
        };
        let pools: Vec<&Row> = rows.iter().filter(within).collect();
        seen += pools.len();
        check_pools(collector, pause, &pools);
    }
    let all = rows.iter().filter(|row| row.part == Part::Pool).count();
    assert_eq!(seen, all, "each row of a pool is in a pause");
}

/// Fails unless the pools held what the log says.
fn check_pools(collector: Collector, pause: &Pause, pools: &[&Row]) {
    let [young, full] = collector.managers();
    let manager = match pause.kind.as_str() {
        "Young" => young,
        "Full" => full,
        // Only newer ones tell of the pools there.
        "Remark" | "Cleanup" if pools.is_empty() => return,
        "Remark" | "Cleanup" => "G1 Concurrent GC",
        other => panic!("{other}: {pause:?}"),
    };
    let names: BTreeSet<&str> = pools.iter().map(|row| row.pool.as_deref().unwrap()).collect();
    assert_eq!(names.len(), pools.len(), "each once: {pools:?}");
    assert!(names.contains("Metaspace"), "{names:?}");
    for row in pools {
        assert_eq!(row.manager.as_deref(), Some(manager), "{pause:?}");
        assert_eq!(row.full, None, "{row:?}");
        assert!(row.used.iter().chain(&row.committed).all(|bytes| bytes.unwrap() >= 0), "{row:?}");
    }
    let heap: Vec<&&Row> = pools
        .iter()
        .filter(|row| collector.pools().contains(&row.pool.as_deref().unwrap()))
        .collect();
    assert_eq!(heap.len(), 3, "{names:?}");
    let sum = |bytes: fn(&Row) -> i64| heap.iter().map(|row| bytes(row)).sum::<i64>();
    let before = sum(|row| row.used[0].unwrap());
    let after = sum(|row| row.used[1].unwrap());
    let committed = sum(|row| row.committed[1].unwrap());
    // Those of G1 count regions of a MiB, and not at the same moment.
    let off = if collector == Collector::G1 { 4 } else { 0 };
    for (bytes, logged) in
        [(before, pause.heap[0]), (after, pause.heap[1]), (committed, pause.heap[2])]
    {
        assert!((bytes / MIB - logged).abs() <= off, "{bytes} bytes: {pause:?} {heap:#?}");
    }
}

/// A Java program that was recorded: its output, and the pauses in its log.
struct Collected {
    output: String,
    pauses: Vec<Pause>,
    _directory: TempDir,
}

/// What both runs do: collections of the young, and of all.
const STEPS: [&str; 6] =
    ["garbage:60", "keep:8", "collect:3", "garbage:60", "threads:3", "collect:1"];

/// Records a virtual machine that waits until the recorder is there.
fn attached(
    program: &Java,
    collector: Collector,
    options: &[&str],
    steps: &[&str],
) -> (Recorded, Collected) {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let command = java(program, collector, &log, options, &[&["wait"], steps].concat());
    let mut running = Running::start(Command::new(&command[0]).args(&command[1..]));
    running.await_line("ready");
    let mut recorder = Record::trace("gc").pid(running.pid()).start();
    recorder.looked_around();
    running.send_line();
    let ended = running.end();
    assert!(ended.status.success(), "{ended:?}");
    let recorded = recorder.finish();
    recorded.assert_nothing_lost();
    let pauses = pauses(&log);
    (recorded, Collected { output: ended.stdout, pauses, _directory: directory })
}

/// What the program asked for is there: a full collection each time, and nothing else that was full then.
fn check_asked(rows: &[Row], output: &str, asked: usize) {
    let facts = facts(output, "collect");
    assert_eq!(facts.len(), asked);
    for fact in facts {
        let span = fact.int("began")..=fact.int("ended");
        let within = rows.iter().filter(|row| {
            row.part == Part::Collection
                && row.full == Some(1)
                && span.contains(&row.began)
                && span.contains(&row.ended.unwrap())
        });
        assert_eq!(within.count(), 1, "{fact:?}");
    }
}

#[test]
fn each_pause_of_java_is_recorded() {
    let Some(_turn) = alone(&["gc"]) else { return };
    for program in javas() {
        for collector in Collector::all().iter().copied() {
            let (recorded, collected) = attached(&program, collector, &[], &STEPS);
            let (rows, pauses) = (rows(&recorded), &collected.pauses);
            check_java(collector, &rows, pauses, fact(&collected.output, "java").int32("pid"));
            check_asked(&rows, &collected.output, 4);
            let kinds = |kind: &str| pauses.iter().filter(|pause| pause.kind == kind).count();
            assert!(kinds("Young") >= 3 && kinds("Full") >= 4, "{collector:?}: {pauses:?}");
        }
    }
}

#[test]
fn pauses_of_concurrent_marking_are_recorded() {
    let Some(_turn) = alone(&["gc"]) else { return };
    if in_vm() {
        return;
    }
    for program in javas() {
        let options = ["-XX:+ExplicitGCInvokesConcurrent"];
        let steps = ["keep:10", "garbage:30", "collect:3"];
        let (recorded, collected) = attached(&program, Collector::G1, &options, &steps);
        let (rows, pauses) = (rows(&recorded), &collected.pauses);
        check_java(Collector::G1, &rows, pauses, fact(&collected.output, "java").int32("pid"));
        for kind in ["Remark", "Cleanup"] {
            let count = pauses.iter().filter(|pause| pause.kind == kind).count();
            assert!(count >= 2, "{kind}: {pauses:?}");
        }
    }
}

#[test]
fn java_is_recorded_from_its_first_instruction() {
    let Some(_turn) = shared(&["gc"]) else { return };
    if in_vm() {
        return;
    }
    for program in javas() {
        let collector = *Collector::all().last().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let command = java(&program, collector, &log, &[], &STEPS);
        let recorder = Record::trace("gc").options(["--"]).options(&command);
        let recorded = recorder.run();
        recorded.assert_nothing_lost();
        let rows = rows(&recorded);
        check_java(collector, &rows, &pauses(&log), fact(recorded.stdout(), "java").int32("pid"));
        check_asked(&rows, recorded.stdout(), 4);
    }
}

#[test]
fn two_javas_that_a_shell_starts_are_told_apart() {
    let Some(_turn) = shared(&["gc"]) else { return };
    if in_vm() {
        return;
    }
    let programs = javas();
    let (Some(first), Some(last)) = (programs.first(), programs.last()) else { return };
    let directory = tempfile::tempdir().unwrap();
    let logs = ["one", "two"].map(|name| directory.path().join(name));
    let word = |word: &OsString| format!("'{}'", word.to_str().unwrap());
    let line = |command: Vec<OsString>| command.iter().map(word).collect::<Vec<_>>().join(" ");
    let steps = [&["wait", "garbage:40", "collect:3"][..], &["wait", "garbage:80", "collect:2"]];
    // Each has an input of its own: in the background it would have none.
    let inputs = logs.each_ref().map(|log| {
        let path = log.with_extension("in");
        assert!(run(Command::new("mkfifo").arg(&path)).status.success());
        // So that nobody waits for another to open it.
        File::options().read(true).write(true).open(&path).unwrap()
    });
    let output =
        |log: &Path| std::fs::read_to_string(log.with_extension("out")).unwrap_or_default();
    let commands = std::iter::zip([first, last], std::iter::zip(&logs, steps));
    let commands: Vec<String> = commands
        .map(|(program, (log, steps))| {
            let log_of = |extension: &str| log.with_extension(extension).display().to_string();
            let command = line(java(program, Collector::Serial, log, &[], steps));
            format!("{command} < {} > {} & ", log_of("in"), log_of("out"))
        })
        .collect();
    let script = format!("{}wait", commands.concat());
    let recorder = Record::trace("gc").options(["--", "/bin/sh", "-c", &script]).start();
    for (log, mut input) in std::iter::zip(&logs, inputs) {
        let ready =
            || output(log).contains("ready\n").then(|| fact(&output(log), "java").int32("pid"));
        let pid = wait_for("a virtual machine", ready);
        // Its library is a new file: it is noticed after a while.
        wait_for_probes(pid);
        input.write_all(b"\n").unwrap();
    }
    let recorded = recorder.finish();
    recorded.assert_nothing_lost();
    let all = rows(&recorded);
    let mut counted = 0;
    for (log, asked) in logs.iter().zip([3, 2]) {
        let output = output(log);
        let pid = fact(&output, "java").int32("pid");
        let rows: Vec<Row> = all.iter().filter(|row| row.pid == pid).cloned().collect();
        check_java(Collector::Serial, &rows, &pauses(log), pid);
        check_asked(&rows, &output, asked);
        counted += rows.len();
    }
    assert_eq!(counted, all.len(), "of no other process");
}

#[test]
fn other_javas_are_not_recorded() {
    let Some(_turn) = shared(&["gc"]) else { return };
    if in_vm() {
        return;
    }
    let Some(program) = javas().into_iter().next() else { return };
    let directory = tempfile::tempdir().unwrap();
    let start = |name: &str| {
        let log = directory.path().join(name);
        let command = java(&program, Collector::Serial, &log, &[], &["wait", "collect:3"]);
        let mut running = Running::start(Command::new(&command[0]).args(&command[1..]));
        running.await_line("ready");
        (running, log)
    };
    let ((mut ours, log), (mut other, _)) = (start("ours"), start("other"));
    let mut recorder = Record::trace("gc").pid(ours.pid()).start();
    recorder.looked_around();
    other.send_line();
    assert!(other.end().status.success());
    let pid = ours.pid();
    ours.send_line();
    assert!(ours.end().status.success());
    let recorded = recorder.finish();
    check_java(Collector::Serial, &rows(&recorded), &pauses(&log), pid);
}

/// What a user asks for all this for: which requests were slow because of the collector?
#[test]
fn slow_spans_are_blamed_on_the_pauses_that_they_met() {
    let Some(_turn) = alone(&["gc", "custom", "runq"]) else { return };
    if in_vm() || !has_tracefs() {
        return;
    }
    let Some(program) = javas().into_iter().next() else { return };
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let place = format!("-Djava.io.tmpdir={}", directory.path().display());
    let command = java(&program, Collector::Serial, &log, &[&place], &["keep:20", "serve:8"]);
    let span =
        "request=tracepoint:syscalls:sys_exit_fsync..tracepoint:syscalls:sys_enter_ftruncate";
    let recorder = Record::trace("gc,runq").options(["--span", span, "--"]).options(&command);
    let recorded = recorder.run();
    recorded.assert_nothing_lost();
    let (output, pauses) = (recorded.stdout(), pauses(&log));
    let rows = rows(&recorded);
    check_java(Collector::Serial, &rows, &pauses, fact(output, "java").int32("pid"));

    // Each request of each thread has its span.
    let mut by_thread: BTreeMap<i32, Vec<Between>> = BTreeMap::new();
    for span in shop::spans(&recorded, "request", None) {
        by_thread.entry(span.tid).or_default().push(span);
    }
    let requests = facts(output, "request");
    assert_eq!(by_thread.len(), 3);
    for thread in ["0", "1", "2"] {
        let own = requests.iter().filter(|fact| fact.word("thread") == thread);
        let own: Vec<(i64, i64)> = own.map(|fact| (fact.int("began"), fact.int("ended"))).collect();
        let within = |spans: &Vec<Between>| {
            std::iter::zip(spans, &own)
                .all(|(span, (began, ended))| span.began > *began && span.ended.unwrap() < *ended)
        };
        let its: Vec<_> = by_thread.values().filter(|spans| within(spans)).collect();
        assert_eq!(its.len(), 1, "thread {thread}");
        assert_eq!(its[0].len(), own.len());
    }

    // The pauses of one collector do not overlap: what a span lost to them is a sum.
    let whole: Vec<&Row> = rows.iter().filter(|row| row.part == Part::Collection).collect();
    let met = |span: &Between, row: &Row| {
        (span.ended.unwrap().min(row.ended.unwrap()) - span.began.max(row.began)).max(0)
    };
    let spans: Vec<&Between> = by_thread.values().flatten().collect();
    let report = recorded.report(&["spans", "--blame", "--min", "1us", "--longest", "1000000"]);
    assert_eq!(report.len(), spans.len());
    let mut blamed = 0;
    for line in report {
        let number = |key: &str| line[key].as_i64().unwrap_or_else(|| panic!("{key} in {line}"));
        let began = recorded.monotonic(number("ts"));
        let of_line =
            |span: &&&Between| (span.began, i64::from(span.tid)) == (began, number("tid"));
        let span = *spans.iter().find(of_line).unwrap_or_else(|| panic!("{line}"));
        assert_eq!(number("gc"), whole.iter().map(|row| met(span, row)).sum::<i64>(), "{line}");
        assert_eq!(number("gc") + number("runq") + number("other"), number("duration"), "{line}");
        let worst = whole.iter().max_by_key(|row| met(span, row)).unwrap();
        let full = pauses.iter().any(|pause| {
            pause.kind == "Full" && (worst.began..=worst.ended.unwrap()).contains(&pause.began)
        });
        if number("gc") == 0 {
            assert!(line["pause_collector"].is_null(), "{line}");
        } else if full {
            assert_eq!(
                (number("pause_full"), &line["pause_collector"]),
                (1, &"MarkSweepCompact".into())
            );
            blamed += 1;
        }
    }
    // Of three threads that answer all the time, most are in a request.
    assert!(blamed >= 8, "{blamed} requests met a collection of eight");
}

// --- Python ---

/// A Python that has probes, as a copy of its own; it looks for its modules where the original does.
fn python() -> Option<(TempDir, PathBuf)> {
    let found = std::fs::read_dir("/usr/bin").unwrap().find_map(|entry| {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str()?;
        let version = name.strip_prefix("python3.")?;
        version.parse::<u32>().ok()?;
        contains(&std::fs::read(&path).ok()?, b"\0python\0gc__start\0").then_some(path)
    });
    let Some(found) = found else {
        missing("there is no Python with probes (python3)");
        return None;
    };
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join(found.file_name().unwrap());
    std::fs::copy(&found, &copy).unwrap();
    Some((directory, copy))
}

/// Waits until process `pid` has all its probes: one place after the other gets its own, as many as it has.
fn wait_for_probes(pid: i32) {
    let mut last = (0, Instant::now());
    wait_for("the probes", || {
        let changed = changed_code(pid);
        if changed != last.0 {
            last = (changed, Instant::now());
        }
        (changed > 0 && last.1.elapsed() > Duration::from_secs(1)).then_some(())
    });
}

fn script(name: &str) -> String {
    format!("{}/tests/workloads/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Fails unless the collections are those that its callbacks saw.
fn check_python(recorded: &Recorded, output: &str) {
    let pid = fact(output, "python").int32("pid");
    let seen = facts(output, "gc");
    // What it did before the callbacks were there, nobody knows.
    let first = seen[0].int("began");
    let all = rows(recorded);
    let rows: Vec<&Row> = all.iter().filter(|row| row.began >= first).collect();
    for (row, fact) in rows.iter().zip(&seen) {
        let what = format!("{row:?}: {fact:?}");
        assert_eq!((row.runtime, row.part, row.depth), (Runtime::Python, Part::Collection, 0));
        assert_eq!(row.generation, Some(fact.int("generation")), "{what}");
        assert_eq!(row.collected, Some(fact.int("collected")), "{what}");
        let ended = row.ended.expect("an end");
        assert!(fact.int("began") <= row.began && row.began < ended, "{what}");
        assert!(ended <= fact.int("ended"), "{what}");
        assert_eq!((row.pid, row.tid), (pid, pid));
        assert_eq!((&row.manager, &row.pool, row.full), (&None, &None, None));
        assert_eq!((row.used, row.committed), ([None; 2], [None; 2]));
    }
    assert_eq!(rows.len(), seen.len());
    // The one that it asked for before.
    assert!(all.len() > rows.len());
}

#[test]
fn each_collection_of_python_is_recorded() {
    let Some(_turn) = shared(&["gc"]) else { return };
    let Some((_directory, python)) = python() else { return };
    let script = script("collect.py");
    for mode in ["asked", "automatic"] {
        let mut command = Command::new(&python);
        let mut running = Running::start(command.args(["-I", "-S", &script, "wait", mode]));
        running.await_line("ready");
        let mut recorder = Record::trace("gc").pid(running.pid()).start();
        recorder.looked_around();
        running.send_line();
        let ended = running.end();
        assert!(ended.status.success(), "{ended:?}");
        let recorded = recorder.finish();
        recorded.assert_nothing_lost();
        check_python(&recorded, &ended.stdout);

        let program = python.to_str().unwrap();
        let recorder = Record::trace("gc");
        let recorded = recorder.options(["--", program, "-I", "-S", &script, mode]).run();
        recorded.assert_nothing_lost();
        check_python(&recorded, recorded.stdout());
    }
}

#[test]
fn python_that_a_shell_starts_is_recorded() {
    let Some(_turn) = shared(&["gc"]) else { return };
    let Some((_directory, python)) = python() else { return };
    let command =
        format!("/bin/true; {} -I -S {} wait asked", python.display(), script("collect.py"));
    let mut recorder = Record::trace("gc").options(["--", "/bin/sh", "-c", &command]).start();
    let pid = fact(&recorder.running.await_line("ready"), "python").int32("pid");
    // Its file is a new one: it is noticed after a while, and the manifest says when.
    wait_for_probes(pid);
    recorder.running.send_line();
    let recorded = recorder.finish();
    recorded.assert_nothing_lost();
    check_python(&recorded, recorded.stdout());
    let tracers = &recorded.recording.manifest().tracers;
    let gc = tracers.iter().find(|tracer| tracer.name == "gc").unwrap();
    assert!(gc.probes.iter().any(|probe| probe.late.is_some()), "{gc:?}");
}

// --- Ruby ---

/// A Ruby, and a copy of its library where that has probes.
fn ruby() -> Option<(TempDir, PathBuf)> {
    let ruby = Path::new("/usr/bin/ruby").canonicalize().ok();
    let library = ruby.as_ref().and_then(|ruby| {
        let listed = Command::new("ldd").arg(ruby).output().ok()?;
        let listed = String::from_utf8(listed.stdout).ok()?;
        let found = listed
            .split_whitespace()
            .find(|word| word.starts_with("/") && word.contains("libruby"))?;
        let found = PathBuf::from(found);
        contains(&std::fs::read(&found).ok()?, b"\0ruby\0gc__mark__begin\0").then_some(found)
    });
    let Some(library) = library else {
        missing("there is no Ruby with probes (ruby)");
        return None;
    };
    let directory = tempfile::tempdir().unwrap();
    std::fs::copy(&library, directory.path().join(library.file_name().unwrap())).unwrap();
    Some((directory, ruby.unwrap()))
}

#[test]
fn marking_and_sweeping_of_ruby_is_recorded() {
    let Some(_turn) = shared(&["gc"]) else { return };
    let Some((directory, ruby)) = ruby() else { return };
    let mut command = Command::new(&ruby);
    command.env("LD_LIBRARY_PATH", directory.path()).arg("--disable-gems");
    let mut running = Running::start(command.args([&script("collect.rb"), "wait", "10"]));
    running.await_line("ready");
    let mut recorder = Record::trace("gc").pid(running.pid()).start();
    recorder.looked_around();
    running.send_line();
    let ended = running.end();
    assert!(ended.status.success(), "{ended:?}");
    let recorded = recorder.finish();
    recorded.assert_nothing_lost();

    let pid = fact(&ended.stdout, "ruby").int32("pid");
    let collected = fact(&ended.stdout, "collected");
    let span = collected.int("began")..=collected.int("ended");
    let rows = rows(&recorded);
    for row in &rows {
        assert_eq!((row.runtime, row.pid), (Runtime::Ruby, pid));
        assert!(matches!(row.part, Part::Mark | Part::Sweep), "{row:?}");
        assert!(row.ended.is_some_and(|ended| ended > row.began), "{row:?}");
        assert!(span.contains(&row.began), "{row:?}");
    }
    let count = |part| rows.iter().filter(|row| row.part == part).count() as i64;
    assert!(collected.int("count") >= 10);
    assert_eq!(count(Part::Mark), collected.int("count"));
    assert!(count(Part::Sweep) >= count(Part::Mark));
}

// --- What cannot be ---

#[test]
fn a_process_without_such_a_runtime_is_refused() {
    let Some(_turn) = shared(&["gc"]) else { return };
    let mut running = Running::start(Command::new(workload::path("heap")).args(["wait", "few"]));
    running.await_line("ready");
    let pid = running.pid().to_string();
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("recording");
    let mut command = Command::new(RECORD);
    let ended = run(command.args(["--trace", "gc", "--pid", &pid, "--output"]).arg(&output));
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    assert!(is_absent(&output) && ended.stdout.is_empty());
    assert!(ended.stderr.lines().all(|line| line.starts_with("record: gc: ")), "{ended:?}");
    assert!(ended.stderr.contains(&pid), "{ended:?}");
    for runtime in ["JVM", "CPython", "Ruby"] {
        assert!(ended.stderr.contains(runtime), "{ended:?}");
    }
    running.send_line();
    assert!(running.end().status.success());
}
