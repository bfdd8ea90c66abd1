//! Reports on user memory, of recordings made by hand.

use lookback_schemas::manifest::{Filters, Probe};

use crate::made::{Heap, Made, Mapping, analyze, at, lines};

/// Follows children.
fn following() -> Filters {
    Filters { alloc_follow: true, follow: true, ..Filters::default() }
}

fn heap(made: &Made, calls: &[Heap]) {
    made.rows(&calls.iter().map(|call| made.alloc(*call)).collect::<Vec<_>>());
}

/// The rows of a report without stacks, after the instant.
fn totals(made: &Made, args: &[&str]) -> Vec<String> {
    let args = [&["memleak", "--combined-only", "--format", "csv"], args].concat();
    let text = analyze(made, &args).expect("it is whole");
    let tail = |line: &str| line.split_once(',').map(|(_, tail)| tail.to_owned());
    text.lines().skip(1).filter_map(tail).collect()
}

/// A program that leaks at two places, and ends.
fn program() -> Made {
    let made = Made::new();
    made.filter(following());
    made.rows(&[
        made.exec(0.5, 10, 1, &["/bin/prog"]),
        made.stack(1, &[11, 10], false),
        made.stack(2, &[12, 10], false),
        made.frame(10, false, Some("/bin/prog"), Some(16)),
        made.frame(11, false, Some("/bin/prog"), Some(32)),
        made.frame(12, false, Some("/bin/prog"), Some(48)),
        made.symbol_at(10, "main", "/src/prog.c", 9),
        made.symbol_at(11, "load", "/src/cache.c", 123),
        made.symbol(12, 0, "once"),
        made.exit(9.0, 10, 1, 0.4, Ok(0)),
    ]);
    heap(
        &made,
        &[
            Heap::malloc(1.0, 10, 0x1000, 100, 1),
            Heap::malloc(2.0, 10, 0x2000, 100, 1),
            Heap { tid: 11, ..Heap::malloc(3.0, 10, 0x3000, 1000, 2) },
            Heap::free(4.0, 10, 0x3000),
            Heap { tid: 11, ..Heap::malloc(5.0, 10, 0x3000, 30, 2) },
            Heap::free(5.5, 10, 0x9000),
            Heap { address: None, ..Heap::malloc(6.0, 10, 0, i64::MAX, 2) },
        ],
    );
    made.rows(&[made.vm(Mapping::mmap(1.0, 10, 0x10_0000, 8192, 1))]);
    made.end(10.0);
    made
}

#[test]
fn what_a_program_had_when_it_ended_is_outstanding() {
    assert_eq!(
        lines(&program(), &["memleak"]),
        [
            "# 2026-11-22T10:15:00Z + 10.0 s, nothing lost",
            "# heap: 1 frees of unknown blocks, allocated before the recording or by what was not \
             recorded",
            "# heap: 1 allocations failed: nothing was returned",
            "# heap: 1 processes ended: what they had then counts as outstanding; --at shows what \
             was left at an instant",
            "# vm: 1 processes ended: what they had then counts as outstanding; --at shows what was \
             left at an instant",
            "",
            "[2026-11-22T10:15:10.000Z] Top 10 stacks with outstanding allocations:",
            "heap: 230 bytes (230B) in 3 allocations",
            "200 bytes in 2 allocations from stack",
            "000000000000100b load+0x4 cache.c:123 [prog]",
            "000000000000100a main+0x4 prog.c:9 [prog]",
            "30 bytes in 1 allocations from stack",
            "000000000000100c once+0x4 [prog]",
            "000000000000100a main+0x4 prog.c:9 [prog]",
            "vm: 8,192 bytes (8.0KiB) in 1 allocations",
            "8192 bytes in 1 allocations from stack",
            "000000000000100b load+0x4 cache.c:123 [prog]",
            "000000000000100a main+0x4 prog.c:9 [prog]",
        ]
    );
}

#[test]
fn at_an_instant_only_what_lives_is_outstanding() {
    let made = program();
    assert_eq!(totals(&made, &["--at", "4.5s"]), ["heap,200,2", "vm,8192,1"]);
    assert_eq!(totals(&made, &["--at", "9s"]), ["heap,0,0", "vm,0,0"], "it has ended then");
    assert_eq!(totals(&made, &["--older", "4.5s"]), ["heap,200,2", "vm,8192,1"], "at its exit");
    assert_eq!(totals(&made, &["--kind", "heap", "--older", "8s"]), ["heap,100,1"]);
    assert_eq!(totals(&made, &["--kind", "heap", "--max-size", "99"]), ["heap,30,1"]);
    assert_eq!(totals(&made, &["--kind", "heap", "--comm", "ended"]), ["heap,230,3"]);
    assert_eq!(totals(&made, &["--kind", "heap", "--comm", "other"]), ["heap,0,0"]);
    assert_eq!(totals(&made, &["--kind", "heap", "--tid", "11"]), ["heap,30,1"]);
    assert_eq!(totals(&made, &["--kind", "heap", "--uid", "1000"]), ["heap,230,3"]);
    assert_eq!(
        totals(&made, &["--kind", "heap", "--by-thread"]),
        ["heap,10,200,2", "heap,11,30,1"]
    );
    assert_eq!(
        totals(&made, &["--kind", "heap", "--by-process", "--between", "1.5s", "5s"]),
        ["1795342505000000000,heap,10,130,2,37.143"]
    );
    let every = totals(&made, &["--kind", "heap", "--every", "2s", "--count", "2"]);
    assert_eq!(every, ["heap,200,2", "heap,200,2"]);
}

#[test]
fn the_peak_is_found_and_looked_at() {
    let lines = lines(&program(), &["memleak", "--peak", "--top", "1"]);
    assert_eq!(
        lines[4..7],
        [
            "[2026-11-22T10:15:03.000Z] Peak of the heap. Top 1 stacks with outstanding allocations:",
            "heap: 1,200 bytes (1.2KiB) in 3 allocations",
            "1000 bytes in 1 allocations from stack",
        ]
    );
}

#[test]
fn temporary_allocations_are_freed_before_the_next() {
    let made = program();
    let csv = |args: &[&str]| {
        let args = [&["memleak", "--temporary", "--combined-only", "--format", "csv"], args];
        analyze(&made, &args.concat()).expect("it is whole")
    };
    assert_eq!(
        csv(&[]),
        "bytes,count,of_bytes,of_count,share\n1000,1,1230,4,25\n",
        "the one that lived for a second"
    );
    assert_eq!(csv(&["--within", "999ms"]).lines().count(), 1);
    assert_eq!(csv(&["--within", "1s"]).lines().count(), 2);
    let text = lines(&made, &["memleak", "--temporary"]);
    assert!(
        text.contains(&"heap: 1,000 bytes in 1 temporary allocations, 25.0 % of 4".to_owned()),
        "{text:?}"
    );
    assert!(text.contains(&"000000000000100c once+0x4 [prog]".to_owned()), "{text:?}");
}

#[test]
fn sizes_lifetimes_and_the_course_of_time() {
    let made = program();
    let csv = |args: &[&str]| lines(&made, &[&["memleak"], args, &["--format", "csv"]].concat());
    let sizes = csv(&["--sizes"]);
    assert_eq!(
        sizes[1..6],
        ["heap,0,1,0", "heap,2,3,0", "heap,4,7,0", "heap,8,15,0", "heap,16,31,1"]
    );
    assert_eq!(sizes.last().map(String::as_str), Some("vm,8192,16383,1"));
    assert_eq!(csv(&["--lifetimes"]).last().map(String::as_str), Some("heap,524288,1048575,1"));
    assert_eq!(
        csv(&["--timeline", "--every", "2500ms"]),
        [
            "ts,bytes,count,allocations,frees,mapped",
            "1795342502500000000,200,2,1,0,8192",
            "1795342505000000000,230,3,1,0,8192",
            "1795342507500000000,230,3,0,0,8192",
            "1795342510000000000,0,0,0,0,0",
        ]
    );
    assert_eq!(csv(&["--timeline"]).len(), 61);
}

#[test]
fn a_childs_copy_is_its_own_but_counts_once() {
    let made = Made::new();
    made.filter(following());
    made.rows(&[
        made.fork(2.0, 20, 10),
        made.exit(6.0, 10, 1, 0.0, Ok(0)),
        made.exit(8.0, 20, 10, 2.0, Ok(0)),
    ]);
    heap(
        &made,
        &[
            Heap::malloc(1.0, 10, 0x1000, 100, 1),
            Heap::malloc(1.5, 10, 0x2000, 10, 1),
            Heap::free(3.0, 20, 0x1000),
            Heap::malloc(3.5, 20, 0x1000, 7, 2),
            Heap::free(4.0, 10, 0x2000),
        ],
    );
    made.end(9.0);
    let by = |args: &[&str]| totals(&made, &[&["--by-process"], args].concat());
    assert_eq!(by(&["--at", "2.5s"]), ["heap,10,110,2"]);
    assert_eq!(by(&["--at", "2.5s", "--inherited"]), ["heap,10,110,2", "heap,20,110,2"]);
    assert_eq!(by(&["--at", "5s"]), ["heap,10,100,1", "heap,20,7,1"]);
    assert_eq!(by(&["--at", "5s", "--inherited"]), ["heap,10,100,1", "heap,20,17,2"]);
    assert_eq!(by(&["--at", "7s"]), ["heap,20,17,2"], "the parent has ended: it is the child's");
    assert_eq!(by(&[]), ["heap,10,100,1", "heap,20,7,1"]);
    let text = lines(&made, &["memleak", "--at", "5s"]);
    assert!(!text.iter().any(|line| line.contains("unknown")), "{text:?}");
    assert!(text.iter().any(|line| line.contains("children hold 1 blocks (10B)")), "{text:?}");
    // Not recorded: nobody saw what the child freed.
    made.filter(Filters::default());
    assert_eq!(by(&["--at", "7s"]), ["heap,20,7,1"]);
}

#[test]
fn exec_begins_anew_and_vfork_shares_until_then() {
    let made = Made::new();
    made.filter(following());
    made.rows(&[
        made.fork_in(2.0, 20, 10, Some(10)),
        made.exec(4.0, 20, 10, &["/bin/b"]),
        made.exec(7.0, 10, 1, &["/bin/c"]),
    ]);
    heap(
        &made,
        &[
            Heap::malloc(1.0, 10, 0x1000, 100, 1),
            Heap::malloc(1.0, 10, 0x2000, 10, 1),
            Heap::free(3.0, 20, 0x1000),
            Heap::malloc(3.5, 20, 0x3000, 5, 1),
            Heap::malloc(5.0, 20, 0x2000, 3, 2),
        ],
    );
    made.end(9.0);
    let by = |args: &[&str]| totals(&made, &[&["--by-process"], args].concat());
    assert_eq!(by(&["--at", "3.5s"]), ["heap,10,15,2"], "it is the parent's memory");
    assert_eq!(by(&["--at", "6s"]), ["heap,10,15,2", "heap,20,3,1"]);
    assert_eq!(by(&[]), ["heap,20,3,1"], "what exec cleared is no leak");
}

#[test]
fn realloc_frees_the_block_that_it_was_given() {
    let made = Made::new();
    let (a, b) = (0x1000, 0x2000);
    heap(
        &made,
        &[
            Heap::malloc(1.0, 10, a, 100, 1),
            Heap::realloc(2.0, 10, (Some(a), Some(b)), 200, 2),
            Heap::realloc(3.0, 10, (Some(b), Some(b)), 300, 3),
            // It fails: the old one stays.
            Heap::realloc(4.0, 10, (Some(b), None), 1 << 60, 3),
            Heap::realloc(5.0, 10, (None, Some(a)), 7, 4),
            Heap::realloc(6.0, 10, (Some(a), None), 0, 4),
            // Of what nobody saw.
            Heap::realloc(7.0, 10, (Some(0x9000), Some(a)), 8, 5),
        ],
    );
    // Another thread gets the address before realloc returns.
    heap(
        &made,
        &[
            Heap { ns: -500_000, tid: 11, ..Heap::malloc(8.0, 10, a, 40, 6) },
            Heap::realloc(8.0, 10, (Some(a), Some(0x3000)), 16, 7),
        ],
    );
    made.end(9.0);
    let at = |at| totals(&made, &["--at", at]);
    assert_eq!(at("2s"), ["heap,200,1"]);
    assert_eq!(at("3s"), ["heap,300,1"]);
    assert_eq!(at("4s"), ["heap,300,1"]);
    assert_eq!(at("5s"), ["heap,307,2"]);
    assert_eq!(at("6s"), ["heap,300,1"]);
    assert_eq!(at("7s"), ["heap,308,2"]);
    assert_eq!(at("9s"), ["heap,356,3"]);
    let text = lines(&made, &["memleak"]).join("\n");
    assert!(text.contains("# heap: 1 reallocations of unknown blocks"), "{text}");
    assert!(text.contains("# heap: 1 allocations failed"), "{text}");
    assert!(!text.contains("missed frees"), "the address was free: {text}");
}

#[test]
fn mapped_memory_is_ranges() {
    let made = Made::new();
    let k = 0x1000;
    made.rows(&[
        made.vm(Mapping::mmap(1.0, 10, 0, 8 * k, 1)),
        made.vm(Mapping::munmap(2.0, 10, 2 * k, 2 * k)),
        // Over the end of it, as MAP_FIXED may be.
        made.vm(Mapping::mmap(3.0, 10, 7 * k, 2 * k, 2)),
        // The middle moves, and grows by one.
        made.vm(Mapping::mremap(4.0, 10, (4 * k, 2 * k), (100 * k, 3 * k), 3)),
        made.vm(Mapping::brk(5.0, 10, (1000 * k, 1004 * k), 4)),
        made.vm(Mapping::brk(6.0, 10, (1004 * k, 1003 * k), 4)),
        made.vm(Mapping { error: Some(12), address: None, ..Mapping::mmap(6.5, 10, 0, k, 9) }),
        made.vm(Mapping::munmap(7.0, 10, 0x7000_0000, k)),
        made.vm(Mapping::mremap(8.0, 10, (5000 * k, k), (6000 * k, 2 * k), 5)),
        made.vm(Mapping { flags: Some(5), ..Mapping::mremap(8.5, 10, (0, k), (7000 * k, k), 6) }),
    ]);
    made.end(9.0);
    let at = |at| totals(&made, &["--at", at]);
    assert_eq!(at("1s"), ["vm,32768,1"]);
    assert_eq!(at("2s"), ["vm,24576,1"], "in two pieces");
    assert_eq!(at("3s"), ["vm,28672,2"]);
    assert_eq!(at("4s"), ["vm,32768,3"], "what grew is a region of its own");
    assert_eq!(at("5s"), ["vm,49152,4"]);
    assert_eq!(at("7s"), ["vm,45056,4"]);
    assert_eq!(at("8s"), ["vm,53248,5"]);
    assert_eq!(at("9s"), ["vm,57344,6"], "the old range stays");
    let text = lines(&made, &["memleak", "--at", "4s"]);
    for (line, bytes) in [(3, 20480), (5, 8192), (7, 4096)] {
        assert_eq!(
            text[line + 1],
            format!("{bytes} bytes in 1 allocations from stack"),
            "{text:?}"
        );
    }
    let text = lines(&made, &["memleak"]).join("\n");
    assert!(text.contains("# vm: 2 calls unmapped or moved what was mapped before"), "{text}");
    assert!(text.contains("# vm: 1 calls failed, and changed nothing"), "{text}");
}

#[test]
fn samples_stand_for_others_and_say_so() {
    let made = Made::new();
    made.filter(Filters { alloc_sample: 1000, ..Filters::default() });
    let sampled = |seconds, address, bytes, stands_for| Heap {
        stands_for: Some(stands_for),
        ..Heap::malloc(seconds, 10, address, bytes, 1)
    };
    heap(
        &made,
        &[
            sampled(1.0, 0x1000, 100, 1050),
            sampled(2.0, 0x2000, 100, 1050),
            sampled(3.0, 0x3000, 400, 1213),
            Heap::free(4.0, 10, 0x3000),
            Heap::free(5.0, 10, 0x5000),
        ],
    );
    made.end(9.0);
    assert_eq!(totals(&made, &[]), ["heap,2100,21,1449"], "√(1000 × 2100)");
    assert_eq!(totals(&made, &["--at", "3s"]), ["heap,3313,24,1820"]);
    let text = lines(&made, &["memleak"]).join("\n");
    assert!(text.contains("# heap: the figures are estimates: about one"), "{text}");
    assert!(text.contains("heap: 2,100 bytes (2.1KiB) in 21 allocations (± 69.0 %)"), "{text}");
    assert!(text.contains("2100 bytes in 21 allocations (± 69.0 %) from stack"), "{text}");
    assert!(!text.contains("unknown"), "of what was not recorded no frees are known: {text}");
    let sizes = lines(&made, &["memleak", "--sizes", "--format", "csv"]);
    assert!(sizes.contains(&"heap,64,127,22".to_owned()), "eleven each, rounded: {sizes:?}");
}

#[test]
fn what_makes_figures_bounds_is_said() {
    let made = Made::new();
    let probe = |file: &str, late| Probe { file: file.to_owned(), late, ..Probe::default() };
    made.probe(vec![probe("/lib/libc.so", None), probe("/opt/libj.so", Some(at(0.25)))]);
    made.rows(&[made.loss("alloc", "ring full", 5, 1.0, 2.0)]);
    made.end(3.0);
    let text = lines(&made, &["memleak"]);
    assert!(text.iter().any(|line| line.starts_with("# heap: the figures are bounds")), "{text:?}");
    let late: Vec<_> = text.iter().filter(|line| line.contains("were attached")).collect();
    assert_eq!(late.len(), 1, "{text:?}");
    assert!(
        late[0].starts_with("# heap: the probes of /opt/libj.so were attached 250"),
        "{late:?}"
    );
}

#[test]
fn what_is_not_recorded_is_said() {
    let made = Made::new();
    made.end(1.0);
    let text = lines(&made, &["memleak"]);
    assert_eq!(
        text[1..4],
        [
            "# the recording does not tell what programs allocated: that takes `record --trace \
             alloc`",
            "# the recording does not tell what programs mapped: that takes `record --trace vm`",
            "# the recording does not tell what the kernel allocated: that takes `record --trace \
             kalloc`",
        ]
    );
    for question in ["--peak", "--temporary", "--timeline", "--sizes", "--lifetimes"] {
        let text = lines(&made, &["memleak", question]).join("\n");
        assert!(text.contains("`record --trace alloc`"), "{question}: {text}");
    }
    let text = lines(&program(), &["memleak", "--kind", "heap", "--kind", "slab"]).join("\n");
    assert!(text.contains("`record --trace kalloc`") && text.contains("heap: 230"), "{text}");
}

#[test]
fn only_processes_that_allocated_are_said_to_have_ended() {
    let made = Made::new();
    made.filter(Filters { no_alloc_stacks: true, ..following() });
    made.rows(&[
        made.fork_in(1.0, 20, 30, Some(30)),
        made.exec(1.1, 20, 30, &["/bin/b"]),
        made.exit(2.0, 30, 1, 0.0, Ok(0)),
        made.exit(2.5, 20, 30, 1.0, Ok(0)),
    ]);
    heap(&made, &[Heap::malloc(1.5, 20, 0x1000, 8, i64::MIN)]);
    made.end(3.0);
    let text = lines(&made, &["memleak"]).join("\n");
    assert!(text.contains("# heap: 1 processes ended"), "{text}");
    assert!(text.contains("# heap: stacks were not recorded"), "{text}");
    assert!(text.contains("8 bytes in 1 allocations from stack"), "{text}");
}

#[test]
fn functions_of_newer_recorders_are_counted() {
    let made = Made::new();
    heap(
        &made,
        &[
            Heap { function: 99, ..Heap::malloc(1.0, 10, 0x1000, 100, 1) },
            Heap { bytes: Some(-5), ..Heap::malloc(1.0, 10, 0x2000, 0, 1) },
        ],
    );
    made.rows(&[made.vm(Mapping { call: 9, ..Mapping::mmap(1.0, 10, 0, 1, 1) })]);
    let text = lines(&made, &["memleak"]).join("\n");
    assert!(text.contains("# heap: 2 events are of kinds"), "{text}");
    assert!(text.contains("# vm: 1 events are of kinds"), "{text}");
    assert!(text.contains("heap: 0 bytes (0B) in 1 allocations"), "{text}");
}
