//! Recordings that nobody should have made: cut, flipped, foreign. Each command must end with rows
//! or with an error that names a file, never with a panic, and never ask for memory that the
//! recording's size does not justify.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, ListArray, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use lookback_schemas::TableId;
use parquet::arrow::ArrowWriter;

use crate::made::{
    Away, Collection, Heap, Hit, Kernel, Made, Mapping, Stretch, analyze, analyze_at,
};

/// Every command, with the options that read differently.
const COMMANDS: [&[&str]; 65] = [
    &["info"],
    &["check"],
    &["processes"],
    &["processes", "--tree"],
    &["processes", "--execs", "--format", "json"],
    &["processes", "--exits"],
    &["processes", "--bootstrap"],
    &["signals"],
    &["signals", "--kill"],
    &["syscalls"],
    &["syscalls", "--by", "process", "--latency"],
    &["syscalls", "--errors", "--cgroup", "5"],
    &["syscalls", "--list"],
    &["opens", "--full"],
    &["opens", "--by", "path"],
    &["unlinks", "--path", "a"],
    &["unlinks", "--by", "process"],
    &["runqlat", "--by", "cgroup"],
    &["runqlat", "--by", "thread", "--summary", "--cgroup", "5"],
    &["runqlat", "--blame"],
    &["runqlat", "--list"],
    &["offcpu"],
    &["offcpu", "--by", "thread,function,waker,syscall", "--top", "5", "--threads", "3"],
    &["irqs", "--by", "interrupted"],
    &["irqs", "--dist", "--by", "cpu"],
    &["tcp", "connects"],
    &["tcp", "connects", "--hist"],
    &["tcp", "states", "--raddr", "::1"],
    &["tcp", "lives", "--open"],
    &["tcp", "rtt", "--by", "raddr", "--average"],
    &["tcp", "rtt", "--by", "process", "--summary"],
    &["lsm"],
    &["lsm", "--by", "address"],
    &["memleak"],
    &["memleak", "--by-cache", "--cgroup", "5"],
    &["memleak", "--lifetimes"],
    &["memleak", "--peak", "--inherited", "--by-process"],
    &["memleak", "--temporary", "--within", "1ms"],
    &["memleak", "--timeline", "--uid", "0"],
    &["memleak", "--sizes"],
    &["memleak", "--by-thread", "--older", "1s", "--threads", "3"],
    &["gc"],
    &["gc", "--pools"],
    &["gc", "--hist", "--by", "collector"],
    &["gc", "--share"],
    &["gc", "--longest", "2"],
    &["gc", "--timeline"],
    &["commands", "--grep", "a"],
    &["probes"],
    &["probes", "--by", "process"],
    &["probes", "--list"],
    &["probes", "--hist", "arg0", "--name", "start", "--by", "text1"],
    &["spans", "--by", "thread"],
    &["spans", "--list"],
    &["spans", "--timeline"],
    &["spans", "--blame", "--longest", "2"],
    &["flamegraph", "--weight", "probe", "--folded"],
    &["flamegraph", "--weight", "outstanding", "--folded"],
    &["flamegraph", "--weight", "offcpu", "--waker", "--folded"],
    &["flamegraph"],
    &["report"],
    &["flamegraph", "--folded", "--pid", "10", "--follow"],
    &["histogram", "exit", "duration", "--by", "comm"],
    &["cat", "exec"],
    &["cat", "stack", "--format", "csv"],
];

fn everything() -> Made {
    let made = Made::new();
    for group in 0..2 {
        let time = f64::from(group);
        made.rows(&[
            made.process(time, 1, 0, -5.0, &["/sbin/init"]),
            made.cgroup(time, 5, "/system.slice"),
            made.fork(time + 0.1, 10, 1),
            made.exec_in(time + 0.2, 10, 1, &["/bin/a", "x"], Some(5), None),
            made.exit(time + 0.9, 10, 1, time + 0.1, Ok(0)),
            made.signal(time + 0.3, Some(10), 1, 15, 0),
            made.kill(time + 0.3, 10, 1, 15, 0),
            made.sample(time + 0.4, 10, "a", Some(1), Some(2)),
            made.syscall_of(time + 0.4, 10, 0, Some(-2), 900, Some([1; 6]), false),
            made.opened(time + 0.4, 10, Some("a"), Some("srv\0"), Err(2)),
            made.unlink(time + 0.4, 10, 2, "a", Some("b"), 0),
            made.runq(time + 0.4, 10, 10, 900, 0, 0),
            made.offcpu(Away::slept(time + 0.4, 10, "a", 5).at(Some(1), Some(2))),
            made.offcpu(Away::slept(time + 0.5, 10, "a", 5).open()),
            made.hardirq(time + 0.4, "eth0", 0, 10, 900),
            made.softirq(time + 0.4, 3, 0, 10, 900),
            made.tcpconnect(time + 0.4, 10, 443, Some(0)),
            made.tcpstate(time + 0.4, 1, (7, 2), Some(10)),
            made.tcprtt(time + 0.4, Some(10), "::1", 900, 1),
            made.lsmconnect(time + 0.4, 10, Some("::1"), 0),
            made.kalloc(&Kernel {
                seconds: time + 0.4,
                kind: group,
                address: 1,
                bytes: 9,
                stack: 2,
                pid: 10,
            }),
            made.kfree(time + 0.5, 1, 3, Some(1)),
            made.alloc(Heap::malloc(time + 0.4, 10, 16, 9, 1)),
            made.alloc(Heap::realloc(time + 0.5, 10, (Some(16), Some(32)), 99, 1)),
            made.alloc(Heap::free(time + 0.6, 10, 32)),
            made.vm(Mapping::mmap(time + 0.4, 10, 0, 9, 1)),
            made.vm(Mapping::mremap(time + 0.5, 10, (0, 9), (4, 2), 1)),
            made.gc(Collection::hotspot(time + 0.4, 10, 30)),
            made.gc(Collection::hotspot(time + 0.4, 10, 20).pool("G1 Young", "G1 Eden", (9, 3))),
            made.gc(Collection { depth: 1, ..Collection::python(time + 0.41, 10, 5, 2) }),
            made.gc(Collection::ruby(time + 0.5, 10, 5, 3)),
            made.readline(time + 0.4, 10, Some("rm -r a"), true),
            made.hit(Hit {
                seconds: time + 0.4,
                name: "start",
                pid: 10,
                numbers: [Some(7), None, None, None, None, None],
                texts: [None, Some("a"), None, None, None, None],
                stack: Some(1),
                kernel_stack: Some(2),
            }),
            made.span(Stretch::new(time + 0.38, 10, "request", 40)),
            made.span(Stretch::new(time + 0.5, 10, "request", 0).unfinished()),
            made.stack(1, &[10, 11], false),
            made.stack(2, &[20], false),
            made.frame(10, false, Some("/bin/a"), Some(16)),
            made.frame(11, false, None, None),
            made.frame(20, true, None, None),
            made.symbol(10, 0, "main"),
            made.clock(time),
            made.loss("fork", "ring full", 1, time, time + 1.0),
        ]);
    }
    made
}

/// Runs every command; each must return. Tells how many fail.
fn survive(recording: &Path) -> usize {
    let results = COMMANDS.iter().map(|args| analyze_at(recording, args));
    results.filter_map(Result::err).map(|error| eprintln!("{error:#}")).count()
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("readable") {
        let path = entry.expect("readable").path();
        let target = to.join(path.file_name().expect("entries have names"));
        if path.is_dir() {
            std::fs::create_dir_all(&target).expect("writable");
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).expect("writable");
        }
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The parts of commands that read one table only, so that many mutations of it stay cheap.
fn survive_table(recording: &Path, table: &str) {
    let _ = analyze_at(recording, &["check"]);
    let _ = analyze_at(recording, &["cat", table]);
}

#[test]
fn every_command_reads_a_whole_and_a_killed_recording() {
    let made = everything();
    assert_eq!(survive(made.path()), 0, "killed");
    made.end(5.0);
    assert_eq!(survive(made.path()), 0, "ended");
}

#[test]
fn flipped_bytes_are_errors_at_worst() {
    crate::cli::quiet_decoder();
    for ended in [true, false] {
        let made = everything();
        if ended {
            made.end(5.0);
        }
        let copied = tempfile::tempdir().expect("tests may write temporary files");
        copy(made.path(), copied.path());
        let mut seed = 7_u64;
        for path in files(copied.path()) {
            let table = path.parent().and_then(Path::file_name).expect("a folder").to_owned();
            let table = table.to_str().expect("tables have plain names");
            let bytes = std::fs::read(&path).expect("readable");
            for _ in 0..6 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(11);
                let place = (seed >> 33) as usize % bytes.len();
                let mut flipped = bytes.clone();
                flipped[place] ^= 1 << (seed >> 20 & 7) | (seed >> 24) as u8;
                std::fs::write(&path, &flipped).expect("writable");
                match TableId::from_name(table) {
                    Some(_) => survive_table(copied.path(), table),
                    None => drop(survive(copied.path())),
                }
            }
            std::fs::write(&path, &bytes).expect("writable");
        }
        assert_eq!(survive(copied.path()), 0, "whole again");
    }
}

#[test]
fn cut_files_are_errors_or_read_up_to_the_cut() {
    crate::cli::quiet_decoder();
    let made = everything();
    made.end(5.0);
    for path in files(made.path()) {
        let bytes = std::fs::read(&path).expect("readable");
        for length in (0..bytes.len()).step_by(bytes.len() / 20 + 1) {
            std::fs::write(&path, &bytes[..length]).expect("writable");
            let error = analyze(&made, &["check", "--format", "csv"]);
            let named = match error {
                Ok(text) => text,
                Err(error) => format!("{error:#}"),
            };
            let name = path.file_name().and_then(|name| name.to_str()).expect("plain names");
            assert!(named.contains(name), "{name} cut at {length}: {named}");
        }
        std::fs::write(&path, &bytes).expect("writable");
    }
}

fn foreign(made: &Made, table: &str, columns: Vec<(&str, ArrayRef)>) {
    let batch = RecordBatch::try_from_iter(columns).expect("columns of one length");
    let path = made.path().join(table).join("000001.parquet");
    std::fs::create_dir_all(path.parent().expect("it has one")).expect("writable");
    let file = std::fs::File::create(path).expect("writable");
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).expect("writable");
    writer.write(&batch).expect("writable");
    writer.close().expect("writable");
}

fn error(made: &Made, args: &[&str]) -> String {
    format!("{:#}", analyze(made, args).expect_err("it is not as it should be"))
}

#[test]
fn foreign_files_are_refused_by_name() {
    let texts = || Arc::new(StringArray::from(vec!["a", "b"])) as ArrayRef;
    let numbers = || Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef;

    let made = Made::new();
    foreign(&made, "symbol", vec![("frame", texts()), ("depth", numbers())]);
    let said = error(&made, &["cat", "symbol"]);
    assert!(said.contains("symbol/000001.parquet: damaged: column `frame` is Utf8"), "{said}");

    let made = Made::new();
    foreign(&made, "fork", vec![("ts", texts())]);
    for args in [&["processes"][..], &["cat", "fork"], &["histogram", "fork", "pid"]] {
        let said = error(&made, args);
        assert!(said.contains("fork/000001.parquet: damaged"), "{said}");
    }

    let made = Made::new();
    let holes = Arc::new(Int64Array::from(vec![Some(1), None])) as ArrayRef;
    foreign(&made, "stack", vec![("ts", holes), ("id", numbers())]);
    assert!(error(&made, &["cat", "stack"]).contains("column `ts` has nulls"));
}

#[test]
fn a_list_of_any_length_is_read_or_refused() {
    let made = Made::new();
    let long: Vec<Option<i64>> = (0..200_000).map(Some).collect();
    let rows = 1;
    let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([Some(long)]);
    foreign(
        &made,
        "stack",
        vec![
            ("ts", Arc::new(Int64Array::from(vec![0; rows]))),
            ("id", Arc::new(Int64Array::from(vec![1; rows]))),
            ("frames", Arc::new(lists)),
            ("truncated", Arc::new(arrow::array::BooleanArray::from(vec![false; rows]))),
        ],
    );
    made.rows(&[made.sample(1.0, 10, "a", Some(1), None)]);
    let folded = analyze(&made, &["flamegraph", "--folded"]).expect("it is only long");
    assert_eq!(folded.split(';').count(), 200_001);
    assert_eq!(survive(made.path()), 0);
}

#[test]
fn processes_that_are_their_own_ancestors_are_shown_once() {
    let made = Made::new();
    made.rows(&[
        made.process(0.0, 1, 2, -5.0, &["/sbin/one"]),
        made.process(0.0, 2, 1, -5.0, &["/sbin/two"]),
        made.process(0.0, 3, 3, -5.0, &["/sbin/three"]),
        made.fork(0.1, 10, 11),
        made.fork(0.1, 11, 12),
        made.fork(0.1, 12, 10),
        made.fork(0.2, 13, 13),
    ]);
    let tree = analyze(&made, &["processes", "--tree", "--format", "csv"]).expect("it ends");
    let pids: Vec<&str> = tree.lines().skip(1).filter_map(|line| line.split(',').next()).collect();
    let mut each = pids.clone();
    each.sort_unstable();
    each.dedup();
    assert_eq!((each.len(), pids.len()), (7, 7), "{tree}");
    assert_eq!(survive(made.path()), 1, "only the flame graph has nothing to draw");
}

#[test]
fn columns_that_an_older_recorder_did_not_have_are_null() {
    let made = Made::new();
    let number = |value: i64| Arc::new(Int64Array::from(vec![value])) as ArrayRef;
    let small = |value: i32| Arc::new(arrow::array::Int32Array::from(vec![value])) as ArrayRef;
    foreign(
        &made,
        "fork",
        vec![
            ("ts", number(crate::made::at(1.0))),
            ("pid", small(10)),
            ("ppid", small(1)),
            ("caller_tid", small(1)),
            ("uid", small(0)),
            // And one that a newer recorder may have.
            ("colour", small(3)),
        ],
    );
    let text = analyze(&made, &["cat", "fork", "--format", "json"]).expect("it is only older");
    let json: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    assert_eq!(json[0]["comm"], serde_json::Value::Null);
    assert_eq!(json[0]["pid"], 10);
    assert_eq!(survive(made.path()), 1, "only the flame graph has nothing to draw");
}

#[test]
fn hostile_numbers_do_not_overflow() {
    let made = Made::new();
    let far = 9_223_372_036.0;
    let kalloc = |seconds, kind, bytes| {
        made.kalloc(&Kernel { seconds, kind, address: -9, bytes, stack: i64::MIN + 1, pid: -1 })
    };
    let heap = |seconds, function, (address, old), (bytes, stands_for)| {
        let (old, stands_for, duration) = (Some(old), Some(stands_for), Some(i64::MAX));
        let call = Heap::malloc(seconds, -1, address, bytes, i64::MIN + 1);
        made.alloc(Heap { function, old, stands_for, duration, ..call })
    };
    let away = |seconds, state, duration, runnable| {
        let slept = Away::slept(seconds, -1, "\x1b[31m", 0).at(Some(-1), Some(i64::MAX));
        let (duration, runnable, waker) = (Some(duration), Some(runnable), Some((-1, "\x1b[31m")));
        let (state, syscall, tid) = (Some(state), Some(state), i32::MIN);
        made.offcpu(Away { duration, runnable, waker, state, syscall, tid, ..slept })
    };
    let gc = |seconds, part, size: i64| {
        let whole =
            Collection { part, runtime: part, tid: -1, ..Collection::hotspot(seconds, -1, 0) };
        let (duration, full, depth) = (Some(size), Some(part), (part % 2) * i32::MAX);
        let (manager, pool) = ("\x1b[31m", "\u{202e}");
        let used = (Some(size), Some(size));
        let generation = Some(size);
        made.gc(Collection { duration, full, depth, manager, pool, used, generation, ..whole })
    };
    let hit = |seconds, number| {
        let (numbers, texts) = ([Some(number); 6], [Some("\x1b[31m"); 6]);
        let (stack, kernel_stack) = (Some(number), Some(-1));
        made.hit(Hit { seconds, name: "start", pid: -1, numbers, texts, stack, kernel_stack })
    };
    let span = |seconds, duration, tid| {
        let end_tid = Some(-1);
        let whole = Stretch::new(seconds, -1, "\x1b[31m", 0);
        made.span(Stretch { duration: Some(duration), depth: i32::MIN, tid, end_tid, ..whole })
    };
    let vm = |seconds, call, (address, bytes), (old, old_bytes)| {
        let (old, old_bytes, flags) = (Some(old), Some(old_bytes), Some(i32::MAX ^ 4));
        let mapping = Mapping::mmap(seconds, -1, address, bytes, 1);
        made.vm(Mapping { call, old, old_bytes, flags, ..mapping })
    };
    made.rows(&[
        made.fork(-far, i32::MIN, i32::MAX),
        made.exit(6_000_000_000.0, i32::MIN, i32::MIN, -far, Err(i32::MAX)),
        made.exec_in(0.0, -1, -1, &["x"], Some(i64::MAX), Some(i32::MAX)),
        made.signal(0.0, Some(-7), i32::MIN + 1, i32::MAX, i32::MAX),
        made.kill(0.0, -1, -1, i32::MAX, i32::MIN + 1),
        made.syscall_of(-far, -1, i32::MIN, Some(i64::MIN + 1), i64::MAX, None, false),
        made.syscall_of(-far, -1, i32::MIN, Some(i64::MAX), i64::MAX, None, true),
        made.opened(-far, -1, Some(""), Some(""), Err(i32::MAX)),
        made.unlink(-far, -1, i32::MIN, "\x1b[31m", None, i32::MIN),
        made.runq(-far, -1, i32::MAX, i64::MIN, i32::MIN, i32::MAX),
        made.runq(-far, -1, i32::MAX, i64::MAX, i32::MIN, i32::MAX),
        made.runq(-far, -1, i32::MAX, i64::MAX, i32::MIN, i32::MAX),
        away(-far, i32::MAX, i64::MAX, i64::MIN + 1),
        away(far, i32::MIN + 1, i64::MAX, i64::MAX),
        away(far, 0, i64::MIN + 1, i64::MAX),
        away(0.0, 1, 5, i64::MAX),
        made.hardirq(-far, "\x1b[31m", i32::MIN, i32::MIN, i64::MAX),
        made.softirq(far, i32::MAX, i32::MIN, i32::MIN, i64::MIN),
        made.tcpconnect(far, i32::MAX, i32::MIN, Some(i32::MAX)),
        made.tcpstate(-far, i64::MIN, (i32::MIN, i32::MAX), Some(-1)),
        made.tcpstate(far, i64::MIN, (i32::MIN, 7), Some(-1)),
        made.tcprtt(far, Some(-1), "::", i64::MIN, i32::MAX),
        made.tcprtt(far, Some(-1), "::", i64::MAX, i32::MIN),
        made.lsmconnect(far, -1, Some("::"), i32::MIN),
        kalloc(-far, 0, i64::MIN),
        kalloc(far, 0, i64::MAX),
        kalloc(far, 1, i64::MAX),
        kalloc(far, 1, i64::MIN),
        kalloc(far, i32::MIN, 0),
        made.kfree(far, 1, -1, Some(i64::MIN + 1)),
        made.kfree(far, 1, i64::MAX, Some(i64::MAX)),
        made.fork_in(far, -1, -1, Some(-1)),
        made.fork_in(far, -2, -1, Some(i32::MAX)),
        heap(-far, 0, (-1, -1), (i64::MAX, i64::MAX)),
        heap(far, 2, (-1, -1), (i64::MIN + 1, i64::MIN + 1)),
        heap(far, 2, (-1, i64::MAX), (-1, -1)),
        heap(far, 3, (i64::MAX, i64::MAX), (i64::MAX, i64::MAX)),
        heap(0.0, 0, (1, 1), (1, i64::MAX)),
        heap(0.0, 11, (i64::MIN + 1, 0), (0, 0)),
        heap(0.0, i32::MAX, (0, 0), (0, 0)),
        vm(-far, 0, (-1, i64::MAX), (0, 0)),
        vm(far, 1, (i64::MIN + 1, i64::MIN + 1), (0, 0)),
        vm(far, 2, (-1, -1), (i64::MAX, i64::MAX)),
        vm(far, 2, (-9, i64::MAX), (i64::MAX, i64::MAX)),
        vm(far, 3, (i64::MIN + 1, 0), (i64::MAX, 0)),
        vm(far, i32::MIN, (0, 0), (0, 0)),
        gc(-far, 0, i64::MAX),
        gc(far, 1, i64::MAX),
        gc(-far, 2, i64::MIN + 1),
        gc(far, i32::MAX, 0),
        made.readline(-far, -1, Some("\x1b[31m\0\u{202e}"), true),
        hit(-far, i64::MAX),
        hit(far, i64::MIN + 1),
        span(-far, i64::MAX, -1),
        span(far, i64::MAX, 0),
        span(0.0, i64::MIN + 1, -1),
        made.loss("fork", "\x1b[31m", i64::MAX, -far, 6_000_000_000.0),
        made.loss("fork", "\x1b[31m", i64::MAX, far, -far),
    ]);
    assert_eq!(survive(made.path()), 1, "only the flame graph has nothing to draw");
    let wide = analyze(&made, &["memleak", "--peak", "--min-size", "1"]);
    assert!(wide.is_ok(), "sums that do not fit: {wide:?}");
    assert!(!analyze(&made, &["info"]).expect("it opens").contains('\x1b'));
}
