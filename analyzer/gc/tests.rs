use lookback_schemas::manifest::Probe;

use crate::made::{Collection, Made, Stretch, analyze, at, lines};

/// Ten seconds in which three programs collect: Java with a collection in another and two at once,
/// Python, and Ruby.
fn collections() -> Made {
    let made = Made::new();
    let young = Collection::hotspot(1.0, 100, 100);
    let pool = |seconds: f64, pool, used| {
        let row = Collection { seconds, duration: Some(1_000_000), ..young };
        made.gc(row.pool("G1 Young Generation", pool, used))
    };
    let old = Collection { seconds: 1.01, duration: Some(80_000_000), ..young };
    let inner = Collection { depth: 2, duration: Some(10_000_000), ..old };
    let nested = Collection { seconds: 1.02, depth: 1, full: Some(1), ..young };
    let nested = Collection { duration: Some(20_000_000), ..nested };
    made.rows(&[
        made.process(0.0, 100, 1, -5.0, &["/usr/bin/java"]),
        made.fork(2.0, 200, 1),
        made.exit(4.0, 200, 1, 2.0, Ok(0)),
        // Rows are written when they end.
        pool(1.0, "G1 Eden Space", (8 << 20, 0)),
        pool(1.01, "Metaspace", (5 << 20, 5 << 20)),
        pool(1.01, "CodeHeap 'profiled nmethods'", (3 << 20, 3 << 20)),
        made.gc(nested),
        made.gc(inner.pool("G1 Old Generation", "G1 Old Gen", (7, 5))),
        made.gc(old.pool("G1 Young Generation", "G1 Old Gen", (1 << 20, 3 << 20))),
        made.gc(young),
        made.gc(Collection { seconds: 1.05, tid: 150, ..young }),
        made.gc(Collection::python(3.0, 200, 20, 2)),
        made.gc(Collection { depth: 1, ..Collection::ruby(3.505, 300, 3, 3) }),
        made.gc(Collection::ruby(3.5, 300, 10, 2)),
        made.gc(Collection { duration: None, ..Collection::hotspot(4.5, 100, 0) }),
    ]);
    made.trace("gc", &["gc"], Vec::new());
    made
}

fn ended() -> Made {
    let made = collections();
    made.end(5.0);
    made
}

#[test]
fn collections_are_javagcs() {
    let printed = lines(&ended(), &["gc"]);
    let header = "TIME CPU PID GC TIME(us) COMM RUNTIME FULL COLLECTOR BEFORE AFTER GENERATION \
                  COLLECTED DEPTH";
    assert_eq!(
        printed[1..],
        [
            header,
            // Eden and the old generation as the collections of both found and left them.
            "10:15:01.000 1 100 100000.000 VM Thread hotspot no \
             G1 Young Generation+G1 Old Generation 9.0MiB 3.0MiB - - 0",
            "10:15:01.020 1 100 20000.000 VM Thread hotspot yes - - - - - 1",
            "10:15:01.050 1 100 100000.000 VM Thread hotspot no - - - - - 0",
            "10:15:03.000 1 200 20000.000 script python - generation 2 - - 2 7 0",
            "10:15:03.500 1 300 10000.000 script ruby - mark - - - - 0",
            "10:15:04.500 1 100 - VM Thread hotspot no - - - - - 0",
        ]
    );
    let short = lines(&ended(), &["gc", "--min", "50ms", "--pid", "100", "--until", "1.05s"]);
    assert_eq!(short.len(), 3, "{short:?}");
    // The pools of a collection that began before the window are not without one.
    let late = lines(&ended(), &["gc", "--since", "1.005s", "--until", "1.03s"]);
    assert_eq!(late[2..], ["10:15:01.020 1 100 20000.000 VM Thread hotspot yes - - - - - 1"]);
    let json = analyze(&ended(), &["gc", "--pid", "100", "--format", "json"]).expect("whole");
    let json: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
    assert_eq!((&json[0]["before"], &json[0]["after"]), (&(9 << 20).into(), &(3 << 20).into()));
    assert_eq!(json[3]["duration"], serde_json::Value::Null);
}

#[test]
fn pools_are_listed() {
    let printed = lines(&ended(), &["gc", "--pools"]);
    assert_eq!(printed.len(), 7, "{printed:?}");
    assert_eq!(printed[1], "TIME PID COLLECTOR POOL USED AFTER COMMITTED AFTER TIME(us)");
    assert_eq!(
        printed[2],
        "10:15:01.000 100 G1 Young Generation G1 Eden Space 8.0MiB 0B 1.0MiB 1.0MiB 1000.000"
    );
}

#[test]
fn collections_in_others_are_counted_once() {
    let csv = analyze(&ended(), &["gc", "--summary", "--by", "runtime", "--format", "csv"]);
    assert_eq!(
        csv.expect("it is whole"),
        "runtime,count,unfinished,negative,mean,p50,p90,p99,p99.9,max\n\
         hotspot,2,1,0,100000000,100000000,100000000,100000000,100000000,100000000\n\
         python,1,0,0,20000000,20000000,20000000,20000000,20000000,20000000\n\
         ruby,1,0,0,10000000,10000000,10000000,10000000,10000000,10000000\n"
    );
    let text = analyze(&ended(), &["gc", "--hist", "-m", "--by", "process"]).expect("whole");
    assert!(text.contains("# 1 collections lie in others"), "{text}");
    assert!(text.contains("# 1 collections had not ended"), "{text}");
    assert!(text.contains("\npid = 100 java\n"), "{text}");
    assert!(text.contains("        64 -> 127        : 2        |****"), "{text}");
    let titles = lines(&ended(), &["gc", "--hist", "--by", "collector"]);
    let titles: Vec<_> = titles.iter().filter(|line| line.contains(" = ")).collect();
    assert_eq!(
        titles,
        [
            "collector = -",
            "collector = G1 Young Generation+G1 Old Generation",
            "collector = generation 2",
            "collector = mark",
        ]
    );
}

#[test]
fn shares_are_of_united_pauses_and_of_the_time_that_a_process_lived() {
    // 1.0 to 1.1 s and 1.05 to 1.15 s are 150 ms of 5 s; 20 ms of 2 s.
    assert_eq!(
        lines(&ended(), &["gc", "--share"])[3..],
        [
            "PID COMM RUNTIME PAUSES FULL PAUSED OBSERVED SHARE% LONGEST",
            "100 java hotspot 3 0 150.00ms 5.000s 3 100.00ms",
            "200 ended python 1 - 20.00ms 2.000s 1 20.00ms",
            "300 script ruby 1 - 10.00ms - - 10.00ms",
        ]
    );
    // A pause that began before the window reaches 100 ms into it.
    let part = lines(&ended(), &["gc", "--share", "--since", "1.05s", "--until", "2.05s"]);
    assert_eq!(
        part[1..],
        [
            "PID COMM RUNTIME PAUSES FULL PAUSED OBSERVED SHARE% LONGEST",
            "100 java hotspot 2 0 100.00ms 1.000s 10 100.00ms"
        ]
    );
}

#[test]
fn steps_have_their_part_of_each_pause() {
    let printed = lines(
        &ended(),
        &["gc", "--timeline", "--step", "50ms", "--since", "1s", "--until", "1.2s"],
    );
    assert_eq!(
        printed[2..],
        [
            "TIME PAUSES PAUSED SHARE% LONGEST",
            "10:15:01.000 1 50.00ms 100 100.00ms |****************************************|",
            "10:15:01.050 1 50.00ms 100 100.00ms |****************************************|",
            "10:15:01.100 0 50.00ms 100 - |****************************************|",
            "10:15:01.150 0 0ns 0 - | |",
        ]
    );
    assert_eq!(lines(&ended(), &["gc", "--timeline"]).len(), 64);
    assert!(analyze(&ended(), &["gc", "--timeline", "--step", "0s"]).is_err());
    assert!(analyze(&ended(), &["gc", "--step", "1s"]).is_err(), "steps of what?");
}

#[test]
fn the_longest_tell_what_else_happened() {
    let header = "TIME PID COMM GC TIME RUNTIME FULL COLLECTOR BEFORE AFTER WAITS WAITED LONGEST \
                  SAMPLES SPANS LONGEST POOLS";
    let alone = lines(&ended(), &["gc", "--longest", "1"]);
    assert_eq!(
        alone[3..],
        [
            header,
            "10:15:01.000 100 java 100.00ms hotspot no G1 Young Generation+G1 Old Generation \
             9.0MiB 3.0MiB - - - - - - G1 Eden Space: 8.0MiB -> 0B; G1 Old Gen: 1.0MiB -> 3.0MiB",
        ]
    );
    let made = collections();
    made.trace("runq", &["runq"], Vec::new());
    made.rows(&[
        // 10 ms of a wait from before, 30 ms of one that goes on after it, one of another process.
        made.runq(0.99, 100, 100, 20_000_000, 7, 0),
        made.runq(1.07, 100, 107, 50_000_000, 7, 0),
        made.runq(1.03, 999, 999, 50_000_000, 7, 0),
        made.runq(1.2, 100, 107, 50_000_000, 7, 0),
        made.span(Stretch::new(0.5, 100, "request", 520)),
        made.span(Stretch::new(1.2, 100, "request", 520)),
        made.sample(1.05, 100, "java", None, None),
        made.sample(1.1, 100, "java", None, None),
    ]);
    made.end(5.0);
    let both = lines(&made, &["gc", "--longest", "1"]);
    let rest = both[4].split("3.0MiB ").nth(1).expect("it has these columns");
    assert!(rest.starts_with("2 40.00ms 30.00ms 1 1 520.00ms G1 Eden"), "{rest}");
}

#[test]
fn a_recording_without_collections_says_so() {
    let made = Made::new();
    made.end(1.0);
    for args in [&["gc"][..], &["gc", "--share"], &["gc", "--longest", "3"], &["gc", "--timeline"]]
    {
        let said = &lines(&made, args)[1];
        assert!(said.contains("that takes `record --trace gc`"), "{said}");
    }
    assert!(analyze(&made, &["gc", "--by", "runtime"]).is_err());
}

#[test]
fn where_no_runtime_was_found_nothing_is_known() {
    let made = Made::new();
    made.trace("gc", &["gc"], Vec::new());
    made.rows(&[made.span(Stretch::new(1.0, 10, "request", 5))]);
    made.end(5.0);
    let printed = lines(&made, &["gc", "--timeline"]);
    assert!(printed[1].contains("no program was found that tells"), "{printed:?}");
    assert_eq!(printed.len(), 3, "{printed:?}");
    let blamed = lines(&made, &["spans", "--blame"]);
    assert!(blamed.contains(&"gc - - - - - - - -".to_owned()), "{blamed:?}");
    // A probe that could have told makes nothing a fact.
    let (file, kind, late) = ("/lib/libjvm.so".to_owned(), "emulated".to_owned(), Some(at(0.5)));
    let probe = Probe { file, kind, late, ..Probe::default() };
    made.trace("gc", &["gc"], vec![probe]);
    made.end(5.0);
    let printed = lines(&made, &["gc", "--timeline", "--step", "5s"]);
    assert!(printed[1].contains("libjvm.so were attached 500.00ms after the start"), "{printed:?}");
    assert_eq!(printed[3], "10:15:00.000 0 0ns 0 - | |");
}
