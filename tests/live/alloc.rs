//! The tracer `alloc`, against programs that keep books of each call of their allocator.
//!
//! Two things are compared with the books: the rows, by a replay that is as simple as can be, and what
//! `analyze memleak` reports.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use lookback_schemas::TableId;
use lookback_schemas::cell::View as _;
use lookback_schemas::tables::{Alloc, Exec, Fork, alloc::Function};
use lookback_schemas::wire::Reason;
use serde_json::Value;

use super::hooks::by_each_hook;
use super::sites::{Sites, Stacks, Sum, add, booked, report, reported, site_of_row, total};
use super::{missing, shared};
use crate::command_line::refused;
use crate::recording::{Record, Recorded, assert_same, known};
use crate::running::Running;
use crate::workload::{self, Fact, fact, facts};

// --- Making recordings ---

/// Records a workload from its first instruction.
fn commanded(options: &[&str], name: &str, arguments: &[&str]) -> (Recorded, String) {
    let recorded = Record::trace("alloc").options(options).workload(name, arguments).run();
    recorded.assert_nothing_lost();
    let output = recorded.stdout().to_owned();
    (recorded, output)
}

/// Starts a workload that waits for a line.
fn waiting(command: &mut Command) -> Running {
    let mut running = Running::start(command);
    running.await_line("ready");
    running
}

/// Records a workload that waits until the recorder is attached; with a library loaded before others.
fn attached(preload: Option<&Path>, name: &str, arguments: &[&str]) -> (Recorded, String) {
    let mut command = Command::new(workload::path(name));
    command.arg("wait").args(arguments);
    if let Some(library) = preload {
        command.env("LD_PRELOAD", library);
    }
    let mut running = waiting(&mut command);
    let mut recorder = Record::trace("alloc").pid(running.pid()).start();
    recorder.looked_around();
    running.send_line();
    let ended = running.end();
    assert!(ended.status.success(), "{name} {arguments:?}: {ended:?}");
    let recorded = recorder.finish();
    recorded.assert_lost_only(Reason::ReturnUnwatched);
    (recorded, ended.stdout)
}

/// Whether a workload could be compiled here.
fn exists(name: &str) -> bool {
    let exists = workload::path(name).exists();
    if !exists {
        missing(&format!("there is no compiler for {name}"));
    }
    exists
}

/// A library that may be installed.
fn library(name: &str) -> Option<PathBuf> {
    let folders = ["x86_64-linux-gnu", "aarch64-linux-gnu", "."];
    let places = folders.iter().flat_map(|folder| {
        ["/usr/lib", "/usr/lib64"].map(|root| Path::new(root).join(folder).join(name))
    });
    let found = places.into_iter().find(|path| path.exists());
    if found.is_none() {
        missing(&format!("{name} is not installed"));
    }
    found
}

// --- A replay ---

/// A call, with nulls where there is nothing.
#[derive(Clone, Debug)]
struct Row {
    ts: i64,
    duration: Option<i64>,
    address: Option<i64>,
    old: Option<i64>,
    bytes: Option<i64>,
    stands_for: Option<i64>,
    stack: Option<i64>,
    function: Function,
    pid: i32,
    tid: i32,
}

/// All calls in the order of time; where times are equal, frees come first.
fn rows(recorded: &Recorded) -> Vec<Row> {
    let table = recorded.table::<Alloc>();
    let row = |row| Row {
        ts: table.ts.value(row),
        duration: known(&table.duration, row),
        address: known(&table.address, row),
        old: known(&table.old, row),
        bytes: known(&table.bytes, row),
        stands_for: known(&table.stands_for, row),
        stack: known(&table.stack, row),
        function: Function::from_code(table.function.value(row)).unwrap(),
        pid: table.pid.value(row),
        tid: table.tid.value(row),
    };
    let mut rows: Vec<Row> = (0..table.rows()).map(row).collect();
    rows.sort_by_key(|row| (row.ts, !row.function.frees()));
    rows
}

/// A block that is live.
#[derive(Clone, Copy, Debug)]
struct Block {
    since: i64,
    bytes: i64,
    stack: Option<i64>,
}

/// What is live in each process in the end: in those that ended, when they did.
#[derive(Debug, Default)]
struct Heaps {
    live: HashMap<i32, HashMap<i64, Block>>,
    /// Frees of blocks that nobody allocated.
    unknown_frees: usize,
    /// Allocations where a block was live.
    missed_frees: usize,
}

impl Heaps {
    fn of(recorded: &Recorded) -> Heaps {
        enum Event {
            Call(Row),
            Fork(i32, i32),
            Exec(i32),
        }
        let (forks, execs) = (recorded.table::<Fork>(), recorded.table::<Exec>());
        let calls = rows(recorded).into_iter().map(|row| (row.ts, Event::Call(row)));
        let forks = (0..forks.rows()).map(|row| {
            let (parent, child) = (forks.ppid.value(row), forks.pid.value(row));
            // Who runs in its parent's memory has no blocks of its own.
            let copies = known(&forks.memory_of, row) == Some(child);
            (forks.ts.value(row), Event::Fork(if copies { parent } else { 0 }, child))
        });
        let execs =
            (0..execs.rows()).map(|row| (execs.ts.value(row), Event::Exec(execs.pid.value(row))));
        let mut events: Vec<(i64, Event)> = calls.chain(forks).chain(execs).collect();
        events.sort_by_key(|(ts, _)| *ts);

        let mut heaps = Heaps::default();
        for (_, event) in events {
            match event {
                Event::Call(row) => heaps.call(&row),
                Event::Fork(parent, child) => {
                    let copy = heaps.live.get(&parent).cloned().unwrap_or_default();
                    heaps.live.insert(child, copy);
                }
                Event::Exec(pid) => _ = heaps.live.remove(&pid),
            }
        }
        heaps
    }

    fn call(&mut self, row: &Row) {
        let live = self.live.entry(row.pid).or_default();
        if row.function.frees() {
            self.unknown_frees += usize::from(live.remove(&row.address.unwrap()).is_none());
            return;
        }
        if let Some(old) = row.old
            && (row.address.is_some() || row.bytes == Some(0))
        {
            // By now another thread may have got the address.
            let entered = row.ts - row.duration.unwrap();
            match live.get(&old) {
                Some(block) if block.since <= entered => _ = live.remove(&old),
                Some(_) => {}
                None => self.unknown_frees += 1,
            }
        }
        if let Some(address) = row.address {
            let bytes = row.stands_for.or(row.bytes).unwrap();
            let block = Block { since: row.ts, bytes, stack: row.stack };
            self.missed_frees += usize::from(live.insert(address, block).is_some());
        }
    }

    /// What is live in a process: by site, and of others together.
    fn outstanding(&self, pid: i32, stacks: &Stacks, workload: &str) -> (Sites, Sum) {
        let mut sites = Sites::new();
        let mut others = (0, 0);
        for block in self.live[&pid].values() {
            match stacks.site(block.stack.unwrap(), workload) {
                Some(site) => add(&mut sites, site, (block.bytes, 1)),
                None => others = (others.0 + block.bytes, others.1 + 1),
            }
        }
        (sites, others)
    }
}

// --- Comparing ---

/// A call as both the workload and the recording have it: the function, then the address, the old one,
/// and the bytes.
type Call = (&'static str, Option<i64>, Option<i64>, Option<i64>);

/// Functions that are one and the same in some libraries have one name here; unless each allocator's own
/// are asked for, also those that one allocator has and another leaves to the C library.
fn function(name: &str, own: bool) -> &'static str {
    let function = Function::ALL.into_iter().find(|function| function.name() == name).unwrap();
    match function {
        Function::Memalign => "aligned_alloc",
        Function::Reallocarray if !own => "realloc",
        _ => function.name(),
    }
}

/// What the workload says that it called.
fn made(output: &str, own: bool) -> Vec<Call> {
    let call = |fact: &Fact| {
        let some = |key: &str, none: i64| Some(fact.int(key)).filter(|value| *value != none);
        let function = function(fact.word("function"), own);
        (function, some("address", 0), some("old", 0), some("bytes", -1))
    };
    facts(output, "call").iter().map(call).collect()
}

/// What was recorded, without what the libraries did for themselves: allocations without a site, and
/// frees of such blocks.
fn of_sites(rows: &[Row], stacks: &Stacks, workload: &str, own: bool) -> Vec<Call> {
    let mut of_others = HashSet::new();
    let mut calls = Vec::new();
    for row in rows {
        let is_others = match row.stack {
            Some(stack) => stacks.site(stack, workload).is_none(),
            None => of_others.remove(&row.address.unwrap()),
        };
        if is_others {
            of_others.extend(row.address.filter(|_| !row.function.frees()));
        } else {
            let function = function(row.function.name(), own);
            calls.push((function, row.address, row.old, row.bytes));
        }
    }
    calls
}

/// Fails unless each row has what a row of its kind has.
fn assert_well_formed(rows: &[Row], pid: i32) {
    for row in rows {
        let frees = row.function.frees();
        let reallocates = matches!(row.function, Function::Realloc | Function::Reallocarray);
        assert_eq!(row.pid, pid, "{row:?}");
        assert_eq!(row.stack.is_none(), frees, "allocations have a stack: {row:?}");
        assert_eq!(row.duration.is_some(), reallocates, "{row:?}");
        assert!(row.duration.is_none_or(|duration| duration > 0), "{row:?}");
        assert!(row.old.is_none() || reallocates, "{row:?}");
        assert!(!frees || (row.address.is_some() && row.bytes.is_none()), "{row:?}");
        assert_eq!(row.stands_for, None, "nothing was sampled: {row:?}");
    }
}

/// Fails unless all that `heap sites` did was recorded and is reported; `own` as in [`function`].
fn check_sites(recorded: &Recorded, output: &str, workload: &str, own: bool) {
    let pid = fact(output, "heap").int32("pid");
    let (rows, stacks) = (rows(recorded), Stacks::read(recorded));
    assert_well_formed(&rows, pid);
    let made = made(output, own);
    let recorded_calls = of_sites(&rows, &stacks, workload, own);
    assert_same(&recorded_calls, &made);
    let fact = fact(output, "calls");
    let counted = fact.int("allocated") + fact.int("freed") + fact.int("failed");
    assert_eq!(made.len() as i64, counted, "the workload's books are in order");

    let expected = booked(output, pid);
    let heaps = Heaps::of(recorded);
    let (sites, others) = heaps.outstanding(pid, &stacks, workload);
    assert_eq!(sites, expected);
    assert_eq!(heaps.missed_frees, 0);
    assert_eq!(reported(recorded, "heap", &[]), (expected, others));
    if own && workload != "heap-static" {
        assert_eq!(rows.len(), made.len(), "the C library allocates nothing for itself");
        assert_eq!((others, heaps.unknown_frees), ((0, 0), 0));
    }
}

// --- Every function of each allocator ---

#[test]
fn every_call_is_recorded_and_every_leak_is_reported() {
    let Some(_turn) = shared(&["alloc"]) else { return };
    by_each_hook("alloc", &["uprobe-session", "uprobe"], |options| {
        let (recorded, output) = commanded(options, "heap", &["sites"]);
        check_sites(&recorded, &output, "heap", true);
        check_made(&output);
        recorded
    });
}

/// What the workload is for: all of it really happened.
fn check_made(output: &str) {
    let made = made(output, true);
    let resized = |call: &&Call| call.0 == "realloc" && call.1.is_some() && call.2.is_some();
    let in_place = made.iter().filter(resized).filter(|call| call.1 == call.2).count();
    assert!(in_place > 0 && in_place < made.iter().filter(resized).count());
    for name in ["malloc", "calloc", "realloc", "reallocarray", "posix_memalign"] {
        assert!(made.iter().any(|call| call.0 == name && call.1.is_none()), "{name} failed once");
    }
    let four: Vec<Sum> = booked(output, fact(output, "heap").int32("pid"))
        .into_iter()
        .filter(|((name, _), _)| name == "site_four")
        .map(|(_, sum)| sum)
        .collect();
    assert_eq!(four, [(44, 4), (88, 4), (132, 4), (176, 4)], "four lines of one function");
}

#[test]
fn a_process_that_runs_already_is_recorded_from_then_on() {
    let Some(_turn) = shared(&["alloc"]) else { return };
    let (recorded, output) = attached(None, "heap", &["sites"]);
    check_sites(&recorded, &output, "heap", true);
}

#[test]
fn a_static_program_is_recorded() {
    let Some(_turn) = shared(&["alloc"]) else { return };
    let (recorded, output) = commanded(&[], "heap-static", &["sites"]);
    check_sites(&recorded, &output, "heap-static", true);
}

#[test]
fn another_c_library_is_recorded() {
    let Some(_turn) = shared(&["alloc"]) else { return };
    for name in ["heap-musl", "heap-musl-static"] {
        if exists(name) {
            let (recorded, output) = commanded(&[], name, &["sites"]);
            check_sites(&recorded, &output, name, true);
        }
    }
}

/// All that is asked of an allocator that is loaded before the C library.
fn check_preloaded(name: &str, news: &[&str]) {
    let Some(_turn) = shared(&["alloc"]) else { return };
    let Some(library) = library(name) else { return };
    let (recorded, output) = attached(Some(&library), "heap", &["sites"]);
    check_sites(&recorded, &output, "heap", false);
    let (recorded, output) = attached(Some(&library), "heap", &["threads", "4", "500"]);
    check_threads(&recorded, &output);
    if exists("news") {
        // That it ended well is checked, whatever the hook.
        let (recorded, output) = attached(Some(&library), "news", news);
        if recorded
            .recording
            .manifest()
            .tracers
            .iter()
            .any(|tracer| tracer.probes.iter().any(|probe| probe.kind == "left out"))
        {
            return;
        }
        check_news(&recorded, &output);
    }
}

#[test]
fn jemalloc_is_recorded() {
    check_preloaded("libjemalloc.so.2", &["throws"]);
}

#[test]
fn tcmalloc_is_recorded() {
    check_preloaded("libtcmalloc_minimal.so.4", &["throws"]);
}

#[test]
fn mimalloc_is_recorded() {
    // Compiled as C, it ends the program where others throw.
    check_preloaded("libmimalloc.so.2", &[]);
}

/// The recorder sees another program's libraries first, and these only after an exec.
#[test]
fn an_allocator_that_comes_with_an_exec_is_recorded() {
    let Some(_turn) = shared(&["alloc"]) else { return };
    let Some(library) = library("libjemalloc.so.2") else { return };
    let preload = format!("LD_PRELOAD={}", library.display());
    let heap = workload::path("heap");
    let command = ["--", "env", &preload, heap.to_str().unwrap(), "few"];
    let recorded = Record::trace("alloc").options(command).run();
    recorded.assert_nothing_lost();
    let output = recorded.stdout();
    let pid = fact(output, "heap").int32("pid");
    let stacks = Stacks::read(&recorded);
    let (sites, _) = Heaps::of(&recorded).outstanding(pid, &stacks, "heap");
    assert_eq!(sites, booked(output, pid));
    assert_eq!(reported(&recorded, "heap", &[]).0, sites);
}

// --- Threads ---

/// Fails unless the rows of each thread are those that it counted, and the leaks are those booked.
fn check_threads(recorded: &Recorded, output: &str) {
    let pid = fact(output, "heap").int32("pid");
    let (rows, stacks) = (rows(recorded), Stacks::read(recorded));
    assert_well_formed(&rows, pid);
    // Of the thread's own code: `exchange_blocks` is no site, its blocks are all freed.
    for fact in facts(output, "thread") {
        let own = |row: &&Row| row.tid == fact.int32("tid");
        let frees = rows.iter().filter(own).filter(|row| row.function.frees()).count();
        let allocations = rows.iter().filter(own).filter(|row| !row.function.frees()).count();
        assert_eq!(allocations as i64, fact.int("allocated"), "{fact:?}");
        assert_eq!(frees as i64, fact.int("freed"), "{fact:?}");
    }
    let expected = booked(output, pid);
    let heaps = Heaps::of(recorded);
    let (sites, others) = heaps.outstanding(pid, &stacks, "heap");
    assert_eq!(sites, expected);
    assert_eq!((heaps.missed_frees, heaps.unknown_frees), (0, 0));
    assert_eq!(reported(recorded, "heap", &[]), (expected, others));
    // Those that may throw are not watched where the allocator has operators of its own; one of them may
    // call another.
    let (lost, failed) =
        (recorded.lost(TableId::Alloc), fact(output, "calls").int("failed") as u64);
    assert!(lost == 0 || (failed..=2 * failed).contains(&lost), "{lost} of {failed}");
}

#[test]
fn threads_that_free_each_others_blocks() {
    let Some(_turn) = shared(&["alloc"]) else { return };
    for threads in ["1", "8"] {
        let (recorded, output) = commanded(&[], "heap", &["threads", threads, "1000"]);
        check_threads(&recorded, &output);
        // The loader allocates something for each thread that starts.
        let fact = fact(&output, "calls");
        let counted = fact.int("allocated") + fact.int("freed");
        let of_loader: i64 = threads.parse().unwrap();
        assert_eq!(rows(&recorded).len() as i64, counted + of_loader, "{threads} threads");
    }
}

#[test]
fn threads_that_end_leave_what_they_leaked() {
    let Some(_turn) = shared(&["alloc"]) else { return };
    let (recorded, output) = commanded(&[], "heap", &["ended", "8", "500"]);
    let pid = fact(&output, "heap").int32("pid");
    let expected = booked(&output, pid);
    let heaps = Heaps::of(&recorded);
    let (sites, others) = heaps.outstanding(pid, &Stacks::read(&recorded), "heap");
    assert_eq!((sites, heaps.missed_frees), (expected.clone(), 0));
    assert_eq!(reported(&recorded, "heap", &[]), (expected, others));
}

// --- Processes ---

/// Of `heap forks`: the pid of the child that did so.
fn child(output: &str, what: &str) -> i32 {
    let children = facts(output, "child");
    children.iter().find(|fact| fact.word("what") == what).unwrap().int32("pid")
}

/// How many calls each process counted.
fn counted(output: &str) -> BTreeMap<i32, i64> {
    let mut counted = BTreeMap::new();
    for fact in facts(output, "calls") {
        *counted.entry(fact.int32("pid")).or_default() +=
            fact.int("allocated") + fact.int("freed") + fact.int("failed");
    }
    counted
}

fn rows_by_process(recorded: &Recorded) -> BTreeMap<i32, i64> {
    let mut by_process = BTreeMap::new();
    for row in rows(recorded) {
        *by_process.entry(row.pid).or_default() += 1;
    }
    by_process
}

/// Following probes the library in every process that has it: here a copy that only tests use.
#[test]
fn children_are_recorded_if_that_is_asked_for() {
    let Some(_turn) = shared(&["alloc"]) else { return };
    let (recorded, output) = commanded(&["--alloc-follow"], "heap-private", &["forks"]);
    let parent = facts(&output, "heap")[0].int32("pid");
    assert_eq!(counted(&output).len(), 5);
    assert_eq!(rows_by_process(&recorded), counted(&output));

    let stacks = Stacks::read(&recorded);
    let heaps = Heaps::of(&recorded);
    assert_eq!((heaps.missed_frees, heaps.unknown_frees), (0, 0));
    let executed = child(&output, "executed");
    for pid in counted(&output).into_keys() {
        let mut expected = booked(&output, pid);
        if pid == executed {
            // The blocks of before are gone.
            expected.retain(|(name, _), _| name == "site_few");
        }
        let (sites, others) = heaps.outstanding(pid, &stacks, "heap-private");
        assert_eq!((&sites, others), (&expected, (0, 0)), "process {pid}");

        let of_process = |row: &Value| row["pid"] == pid;
        let mut sites = Sites::new();
        for row in report(&recorded, "heap", &["--by-process", "--inherited"])
            .iter()
            .filter(|row| of_process(row))
        {
            let site = site_of_row(row).unwrap();
            add(&mut sites, site, (row["bytes"].as_i64().unwrap(), row["count"].as_i64().unwrap()));
        }
        assert_eq!(sites, expected, "process {pid}");
    }
    let inherited = |pid| {
        let sites = booked(&output, pid).into_iter();
        sites.filter(|((name, _), _)| name == "site_inherited").map(|(_, sum)| sum).next()
    };
    assert_eq!(inherited(parent), Some((1600, 8)));
    assert_eq!(inherited(child(&output, "forked")), Some((1000, 5)));
}

#[test]
fn children_are_left_out_otherwise() {
    let Some(_turn) = shared(&["alloc"]) else { return };
    for options in [&[][..], &["--no-follow"]] {
        let (recorded, output) = commanded(options, "heap-private", &["forks"]);
        let parent = facts(&output, "heap")[0].int32("pid");
        let expected = booked(&output, parent);
        assert_eq!(
            rows_by_process(&recorded),
            BTreeMap::from([(parent, counted(&output)[&parent])])
        );
        let stacks = Stacks::read(&recorded);
        let (sites, _) = Heaps::of(&recorded).outstanding(parent, &stacks, "heap-private");
        assert_eq!(sites, expected);
        let children = if options.is_empty() { 4 } else { 0 };
        assert_eq!(recorded.table::<Fork>().rows(), children, "{options:?}");
    }
}

// --- Libraries ---

#[test]
fn libraries_that_are_loaded_later_have_names_also_when_they_are_gone() {
    let Some(_turn) = shared(&["alloc"]) else { return };
    for mode in ["keep", "close"] {
        let (recorded, output) = commanded(&[], "plugins", &[mode]);
        let pid = fact(&output, "plugins").int32("pid");
        let expected = booked(&output, pid);
        assert_eq!(total(&expected), (2 * 33 + 7 * 77, 2 + 7));
        let stacks = Stacks::read(&recorded);
        let heaps = Heaps::of(&recorded);
        let (sites, others) = heaps.outstanding(pid, &stacks, "plugins");
        assert_eq!(sites, expected, "{mode}");
        assert_eq!(heaps.missed_frees, 0);
        assert_eq!(reported(&recorded, "heap", &[]), (expected, others), "{mode}");
    }
}

/// Fails unless the calls of the toy allocator, which another one gives its memory, are recorded once each.
fn check_toy(recorded: &Recorded, output: &str) {
    let pid = fact(output, "plugins").int32("pid");
    let made = made(output, true);
    let ours: HashSet<i64> = made.iter().filter_map(|call| call.1).collect();
    let stacks = Stacks::read(recorded);
    // What the loader does is no business of the toy's.
    let is_ours = |row: &&Row| match (row.address, row.stack) {
        (Some(address), _) => ours.contains(&address),
        (None, stack) => stack.is_some_and(|stack| stacks.site(stack, "plugins").is_some()),
    };
    let recorded_calls: Vec<Call> = rows(recorded)
        .iter()
        .filter(|row| row.pid == pid)
        .filter(is_ours)
        .map(|row| (function(row.function.name(), true), row.address, row.old, row.bytes))
        .collect();
    assert_same(&recorded_calls, &made);
    let mut expected = booked(output, pid);
    expected.retain(|(name, _), _| name == "site_toy");
    let (mut sites, _) = reported(recorded, "heap", &["--pid", &pid.to_string()]);
    sites.retain(|(name, _), _| name == "site_toy");
    assert_eq!(sites, expected);
}

#[test]
fn an_allocator_with_a_prefix_in_a_library_that_is_loaded_later() {
    let Some(_turn) = shared(&["alloc"]) else { return };
    let library = workload::path("libplugin.so");
    let options = ["--alloc-lib", library.to_str().unwrap(), "--symbol-prefix", "toy_"];
    let (recorded, output) = commanded(&options, "plugins", &["toy"]);
    check_toy(&recorded, &output);
}

#[test]
fn processes_that_share_an_allocator_have_each_call_once() {
    let Some(_turn) = shared(&["alloc"]) else { return };
    let library = workload::path("libplugin.so");
    for named in [true, false] {
        let mut both = [(), ()].map(|()| {
            waiting(Command::new(workload::path("plugins")).args(["early", "wait", "toy"]))
        });
        let mut record = Record::trace("alloc").options(["--symbol-prefix", "toy_"]);
        for running in &both {
            record = record.pid(running.pid());
        }
        if named {
            record = record.options(["--alloc-lib", library.to_str().unwrap()]);
        }
        let mut recorder = record.start();
        recorder.looked_around();
        both.iter_mut().for_each(Running::send_line);
        let ended = both.map(Running::end);
        let recorded = recorder.finish();
        recorded.assert_nothing_lost();
        for process in ended {
            check_toy(&recorded, &process.stdout);
        }
    }
}

// --- C++ ---

/// Fails unless all of `news` is there. That it ended well is part of it: a probe in the way of an
/// exception ends the program.
fn check_news(recorded: &Recorded, output: &str) {
    let pid = fact(output, "news").int32("pid");
    let (rows, stacks) = (rows(recorded), Stacks::read(recorded));
    assert_well_formed(&rows, pid);
    // In `site_nothrow` and `site_thrown`, exceptions are allocated as well.
    let allocations = rows.iter().filter(|row| {
        let site = row.stack.and_then(|stack| stacks.site(stack, "news"));
        site.is_some_and(|(name, _)| match name.as_str() {
            "site_nothrow" => row.bytes == Some(80),
            name => name != "site_thrown",
        })
    });
    assert_eq!(allocations.count() as i64, fact(output, "calls").int("allocated"));
    let expected = booked(output, pid);
    let heaps = Heaps::of(recorded);
    let (sites, others) = heaps.outstanding(pid, &stacks, "news");
    assert_eq!(sites, expected);
    assert_eq!((heaps.missed_frees, heaps.unknown_frees), (0, 0));
    assert_eq!(reported(recorded, "heap", &[]), (expected, others));
}

#[test]
fn new_and_delete_are_recorded_and_exceptions_pass() {
    let Some(_turn) = shared(&["alloc"]) else { return };
    if !exists("news") {
        return;
    }
    let (recorded, output) = commanded(&[], "news", &["throws"]);
    check_news(&recorded, &output);
    let (recorded, output) = attached(None, "news", &["throws"]);
    check_news(&recorded, &output);
}

// --- Options ---

#[test]
fn sizes_can_be_chosen() {
    let Some(_turn) = shared(&["alloc"]) else { return };
    let sizes = 100..=1024;
    let options = ["--min-size", "100B", "--max-size", "1KiB"];
    let (recorded, output) = commanded(&options, "heap", &["sites"]);
    let pid = fact(&output, "heap").int32("pid");
    let mut live = HashSet::new();
    for row in rows(&recorded) {
        // A free comes only after its allocation; `realloc` to another size is one.
        let frees_known = [row.old, row.address.filter(|_| row.function.frees())]
            .into_iter()
            .flatten()
            .any(|address| live.remove(&address));
        let chosen = row.bytes.is_some_and(|bytes| sizes.contains(&bytes));
        assert!(frees_known || chosen, "{row:?}");
        if chosen {
            live.extend(row.address);
        }
    }
    let mut expected = booked(&output, pid);
    expected.retain(|_, (bytes, count)| sizes.contains(&(*bytes / *count)));
    assert!(expected.len() > 5);
    let sizes_of_report = ["--min-size", "100", "--max-size", "1024"];
    assert_eq!(reported(&recorded, "heap", &sizes_of_report), (expected, (0, 0)));
}

#[test]
fn stacks_can_be_left_out() {
    let Some(_turn) = shared(&["alloc"]) else { return };
    let (recorded, output) = commanded(&["--alloc-stacks", "off"], "heap", &["sites"]);
    let pid = fact(&output, "heap").int32("pid");
    let rows = rows(&recorded);
    assert!(rows.iter().all(|row| row.stack.is_none()));
    let calls: Vec<Call> = rows
        .iter()
        .map(|row| (function(row.function.name(), true), row.address, row.old, row.bytes))
        .collect();
    assert_same(&calls, &made(&output, true));
    let sum = report(&recorded, "heap", &[]).iter().fold((0, 0), |sum, row| {
        (sum.0 + row["bytes"].as_i64().unwrap(), sum.1 + row["count"].as_i64().unwrap())
    });
    assert_eq!(sum, total(&booked(&output, pid)));
}

/// How probable it is that an allocation is kept, where each byte is with 1 in `rate`.
fn probability(bytes: f64, rate: f64) -> f64 {
    1.0 - (-bytes / rate).exp()
}

#[test]
fn a_sample_stands_for_all() {
    let Some(_turn) = shared(&["alloc"]) else { return };
    const RATE: f64 = 4096.0;
    let (recorded, output) = commanded(&["--alloc-sample", "4KiB"], "heap", &["sizes", "3000"]);
    let pid = fact(&output, "heap").int32("pid");
    let rows = rows(&recorded);
    for row in rows.iter().filter(|row| !row.function.frees()) {
        let bytes = row.bytes.unwrap() as f64;
        let expected = bytes / probability(bytes, RATE);
        let stands_for = row.stands_for.unwrap_or(row.bytes.unwrap()) as f64;
        assert!((stands_for - expected).abs() <= 1.0 + expected / 100.0, "{row:?}: {expected}");
    }
    let frees = rows.iter().filter(|row| row.function.frees()).count();
    assert!(frees * 2 <= rows.len(), "{frees} frees in {} rows", rows.len());

    let heaps = Heaps::of(&recorded);
    assert_eq!((heaps.missed_frees, heaps.unknown_frees), (0, 0));
    let (sampled, others) = heaps.outstanding(pid, &Stacks::read(&recorded), "heap");
    assert_eq!(others.1, 0);
    let truth = booked(&output, pid);
    let (mut variance, mut off) = (0.0, 0.0);
    for (site, (bytes, count)) in &truth {
        let size = (*bytes / *count) as f64;
        let p = probability(size, RATE);
        let (estimate, kept) = sampled.get(site).copied().unwrap_or_default();
        // Both within five standard deviations: a run in a million is further off.
        let spread = (*count as f64 * p * (1.0 - p)).sqrt();
        let surplus = kept as f64 - *count as f64 * p;
        assert!(surplus.abs() <= 5.0 * spread, "{site:?}: {kept} of {count}, p = {p}");
        variance += (spread * size / p).powi(2);
        off += estimate as f64 - *bytes as f64;
    }
    assert!(off.abs() <= 5.0 * variance.sqrt(), "{off} of {} bytes off", total(&truth).0);
    assert!(sampled.keys().all(|site| truth.contains_key(site)), "what was freed is not listed");

    // The report counts what the rows stand for.
    let (reported, _) = reported(&recorded, "heap", &[]);
    for (site, (estimate, kept)) in &sampled {
        let (bytes, count) = reported[site];
        assert_eq!(bytes, *estimate, "{site:?}");
        let size = truth[site].0 / truth[site].1;
        assert!((count - estimate / size).abs() <= 1 + kept / 2, "{site:?}: {count}");
    }
    assert_eq!(reported.len(), sampled.len());
}

// --- What cannot be ---

#[test]
fn what_has_no_allocator_is_refused() {
    let Some(_turn) = shared(&["alloc"]) else { return };
    let mut command = Command::new(workload::path("heap-stripped"));
    let mut running = Running::start(command.args(["wait", "few"]));
    running.await_line("ready");
    let pid = running.pid().to_string();
    let ended = refused(&["--trace", "alloc", "--pid", &pid]);
    assert!(ended.stderr.contains("heap-stripped") || ended.stderr.contains(&pid), "{ended:?}");
    running.send_line();
    assert!(running.end().status.success());

    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/workloads/heap.c");
    let quiet = workload::path("quiet");
    for library in ["/nonexistent/libmissing.so", source.to_str().unwrap()] {
        let command = ["--", quiet.to_str().unwrap()];
        let options = [&["--trace", "alloc", "--alloc-lib", library][..], &command].concat();
        let ended = refused(&options);
        assert!(ended.stderr.contains(library), "{}", ended.stderr);
    }
}
