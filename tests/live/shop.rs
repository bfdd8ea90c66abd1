//! What `shop` says of the probes that it came by (`tests/workloads/shop.h`), and what was recorded of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use lookback_schemas::cell::View as _;
use lookback_schemas::tables::{Probe, Span};
use tempfile::TempDir;

use super::missing;
use crate::recording::{Record, Recorded, Recorder, known, rows_in_time, text};
use crate::running::{Running, wait_for};
use crate::workload::{self, Fact, facts};

/// Bytes of a text that are kept.
const TEXT: usize = 255;

/// The program, or one of its variants; `None`, after saying why, where it could not be compiled.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = workload::path(name);
    if path.exists() {
        return Some(path);
    }
    missing("sys/sdt.h is not installed (systemtap-sdt-dev)");
    None
}

/// A copy of the program and its library: who attaches to it concerns no other test. A semaphore counts
/// in every process that has the file.
#[derive(Debug)]
pub struct Copy {
    directory: TempDir,
}

impl Copy {
    pub fn new() -> Option<Copy> {
        program("shop")?;
        let directory = tempfile::tempdir().unwrap();
        for name in ["shop", "libshop.so"] {
            std::fs::copy(workload::path(name), directory.path().join(name)).unwrap();
        }
        Some(Copy { directory })
    }

    pub fn program(&self) -> PathBuf {
        self.directory.path().join("shop")
    }

    pub fn library(&self) -> PathBuf {
        self.directory.path().join("libshop.so")
    }
}

/// Options that name each of the probes.
pub fn probes<S: AsRef<str>>(probes: &[S]) -> Vec<String> {
    probes.iter().flat_map(|probe| ["--probe".to_owned(), probe.as_ref().to_owned()]).collect()
}

/// Records it from its first instruction.
pub fn commanded(program: &Path, options: &[String], arguments: &[&str]) -> (Recorded, String) {
    let recorder = Record::trace("custom").options(options);
    let recorded = recorder.options(["--".as_ref(), program.as_os_str()]).options(arguments).run();
    recorded.assert_nothing_lost();
    let output = recorded.stdout().to_owned();
    (recorded, output)
}

/// Starts it, and a recorder that has attached to it when this returns.
pub fn attach(program: &Path, options: &[String], arguments: &[&str]) -> (Running, Recorder) {
    let mut running = Running::start(Command::new(program).arg("wait").args(arguments));
    running.await_line("ready");
    let mut recorder = Record::trace("custom").options(options).pid(running.pid()).start();
    recorder.looked_around();
    (running, recorder)
}

/// Records it while it waits.
pub fn attached(program: &Path, options: &[String], arguments: &[&str]) -> (Recorded, String) {
    let (mut running, recorder) = attach(program, options, arguments);
    running.send_line();
    let ended = running.end();
    assert!(ended.status.success(), "{arguments:?}: {ended:?}");
    let recorded = recorder.finish();
    recorded.assert_nothing_lost();
    (recorded, ended.stdout)
}

/// Asks `shop steady` how often it has called.
pub fn progress(running: &mut Running) -> i64 {
    let before = facts(&running.output_so_far(), "progress").len();
    running.send_line();
    let all = wait_for("a progress", || {
        let output = running.output_so_far();
        let all = if output.ends_with('\n') { facts(&output, "progress") } else { Vec::new() };
        (all.len() > before).then_some(all)
    });
    all.last().unwrap().int("calls")
}

/// That the program came by a probe.
#[derive(Clone, Debug)]
pub struct Event {
    pub site: String,
    pub pid: i32,
    pub tid: i32,
    pub began: i64,
    pub ended: i64,
    pub args: Vec<i64>,
    /// As it is to be recorded.
    pub text: Option<String>,
}

/// What of a text is kept.
fn kept(text: &[u8]) -> String {
    if text.len() <= TEXT {
        return String::from_utf8_lossy(text).into_owned();
    }
    match str::from_utf8(&text[..TEXT]) {
        Ok(whole) => whole.to_owned(),
        Err(error) => String::from_utf8_lossy(&text[..error.valid_up_to()]).into_owned(),
    }
}

/// When the program came by the probe of this name: in the order of each thread's time.
pub fn events(output: &str, probe: &str) -> Vec<Event> {
    let event = |fact: &Fact| Event {
        site: fact.word("site").to_owned(),
        pid: fact.int32("pid"),
        tid: fact.int32("tid"),
        began: fact.int("began"),
        ended: fact.int("ended"),
        args: if fact.has("args") { fact.ints("args") } else { Vec::new() },
        text: (fact.word("text") != "none").then(|| kept(&fact.bytes("text"))),
    };
    let of_probe = facts(output, "event").into_iter().filter(|fact| fact.word("probe") == probe);
    let mut events: Vec<Event> = of_probe.map(|fact| event(&fact)).collect();
    assert!(!events.is_empty(), "the program comes by {probe}: {output}");
    events.sort_by_key(|event| (event.pid, event.tid, event.began));
    events
}

/// A row of the table `probe`.
#[derive(Clone, Debug)]
pub struct Hit {
    /// On the clock of the program.
    pub at: i64,
    pub args: [Option<i64>; 6],
    pub texts: [Option<String>; 6],
    pub stack: Option<i64>,
    pub kernel_stack: Option<i64>,
    pub pid: i32,
    pub tid: i32,
    pub comm: String,
}

/// The rows of a probe, in the order of each thread's time.
pub fn hits(recorded: &Recorded, name: &str) -> Vec<Hit> {
    let table = recorded.table::<Probe>();
    let args = [&table.arg0, &table.arg1, &table.arg2, &table.arg3, &table.arg4, &table.arg5];
    let texts =
        [&table.text0, &table.text1, &table.text2, &table.text3, &table.text4, &table.text5];
    let rows = rows_in_time(&table.ts, |row| text(&table.name, row) == name);
    let hit = |row| Hit {
        at: recorded.monotonic(table.ts.value(row)),
        args: args.map(|column| known(column, row)),
        texts: texts.map(|column| known(column, row).map(str::to_owned)),
        stack: known(&table.stack, row),
        kernel_stack: known(&table.kernel_stack, row),
        pid: table.pid.value(row),
        tid: table.tid.value(row),
        comm: text(&table.comm, row).to_owned(),
    };
    let mut hits: Vec<Hit> = rows.into_iter().map(hit).collect();
    hits.sort_by_key(|hit| (hit.pid, hit.tid));
    hits
}

/// How many rows each name has.
pub fn counts(recorded: &Recorded) -> BTreeMap<String, usize> {
    let table = recorded.table::<Probe>();
    let mut counts = BTreeMap::new();
    for row in 0..table.rows() {
        *counts.entry(text(&table.name, row).to_owned()).or_default() += 1;
    }
    counts
}

/// What a row has: its numbers, and its texts, each with its column.
pub type Values = (Vec<(usize, i64)>, Vec<(usize, Option<String>)>);

/// Fails unless the rows are what happened: in order, no more and no less, each at its time and in its
/// thread, with what `expected` makes of the event, and nulls in all other columns.
pub fn assert_hits(hits: &[Hit], events: &[Event], expected: impl Fn(&Event) -> Values) {
    for (hit, event) in hits.iter().zip(events) {
        let (numbers, texts) = expected(event);
        let mut args = [None; 6];
        numbers.iter().for_each(|(column, number)| args[*column] = Some(*number));
        let mut all: [Option<String>; 6] = Default::default();
        texts.into_iter().for_each(|(column, text)| all[column] = text);
        assert_eq!((&hit.args, &hit.texts), (&args, &all), "{event:?}");
        assert_eq!((hit.pid, hit.tid), (event.pid, event.tid), "{event:?}");
        assert!((event.began..=event.ended).contains(&hit.at), "{hit:?}: {event:?}");
        assert_eq!(hit.comm, "shop");
    }
    assert_eq!(hits.len(), events.len(), "each is recorded once");
}

/// All of an event's numbers, in the first columns.
pub fn numbers(event: &Event) -> Values {
    (event.args.iter().copied().enumerate().collect(), Vec::new())
}

/// A row of the table `span`.
#[derive(Clone, Debug)]
pub struct Between {
    pub began: i64,
    /// None if it did not end.
    pub ended: Option<i64>,
    pub key: Option<i64>,
    pub depth: i32,
    pub pid: i32,
    pub tid: i32,
    pub end_tid: Option<i32>,
}

/// The rows of a span, in the order of each thread's time; of a program of this name, if one is given.
pub fn spans(recorded: &Recorded, name: &str, comm: Option<&str>) -> Vec<Between> {
    let table = recorded.table::<Span>();
    let rows = rows_in_time(&table.ts, |row| text(&table.name, row) == name);
    let mut spans: Vec<Between> = rows
        .into_iter()
        .map(|row| {
            let began = recorded.monotonic(table.ts.value(row));
            assert!(comm.is_none_or(|comm| text(&table.comm, row) == comm));
            Between {
                began,
                ended: known(&table.duration, row).map(|duration| began + duration),
                key: known(&table.key, row),
                depth: table.depth.value(row),
                pid: table.pid.value(row),
                tid: table.tid.value(row),
                end_tid: known(&table.end_tid, row),
            }
        })
        .collect();
    spans.sort_by_key(|span| (span.pid, span.tid));
    spans
}
