use lookback_schemas::manifest::Filters;

use crate::made::{Collection, Made, Row, Stretch, analyze, lines};

/// Requests of process 10: nineteen of 1 ms to 19 ms, one that a pause and a wait made slow, one that
/// another thread ended, and one that did not end.
fn requests() -> Made {
    let made = Made::new();
    let span = |place: i32| made.span(Stretch::new(f64::from(place), 10, "request", place.into()));
    let mut rows: Vec<Row> = (1..20).map(span).collect();
    let slow = Stretch::new(20.0, 10, "request", 100);
    rows.extend([
        made.span(slow),
        made.span(Stretch { tid: 11, key: Some(5), ..Stretch::new(21.0, 10, "handed on", 50) }),
        made.span(Stretch { tid: 12, ..Stretch::new(22.0, 10, "request", 0) }.unfinished()),
    ]);
    made.rows(&rows);
    made
}

/// The same, with what made it slow.
fn reasons() -> Made {
    let made = requests();
    let young = Collection::hotspot(20.01, 10, 30);
    let pool = Collection { duration: Some(1_000_000), ..young };
    made.rows(&[
        // 20.01 to 20.04, and at once 20.03 to 20.06 with another in it: 50 ms are lost.
        made.gc(pool.pool("G1 Young", "G1 Eden Space", (10, 0))),
        made.gc(young),
        made.gc(Collection { tid: 77, full: Some(1), ..Collection::hotspot(20.03, 10, 30) }),
        made.gc(Collection { tid: 77, depth: 1, ..Collection::hotspot(20.04, 10, 10) }),
        // 1 ms of the span of 10 ms, and the whole of the one that was handed on: 50 ms.
        made.gc(Collection::hotspot(9.999, 10, 2)),
        made.gc(Collection::hotspot(20.99, 10, 900)),
        // Another process stood still all the time.
        made.gc(Collection::hotspot(0.0, 99, 30_000)),
        // Of the wait 10 ms lie before the span, 10 ms in it before the pause, and 5 ms in that.
        made.runq(19.99, 10, 10, 25_000_000, 7, 0),
        // 10 ms in the pause, 5 ms after it.
        made.runq(20.05, 10, 10, 15_000_000, 7, 0),
        // The span of 5 ms waited 2 ms; another thread waited too.
        made.runq(5.001, 10, 10, 2_000_000, 7, 0),
        made.runq(20.0, 10, 11, 100_000_000, 7, 0),
        made.runq(21.0, 10, 11, 40_000_000, 7, 0),
    ]);
    made.trace("gc", &["gc"], Vec::new());
    made.trace("runq", &["runq"], Vec::new());
    made
}

fn blame(made: &Made, args: &[&str]) -> Vec<String> {
    made.end(30.0);
    lines(made, &[&["spans", "--blame"], args].concat())
}

#[test]
fn spans_are_summed_up_by_name() {
    let made = requests();
    made.end(30.0);
    assert_eq!(
        lines(&made, &["spans"])[1..],
        [
            "NAME count unfinished mean p50 p90 p99 p99.9 max",
            "handed on 1 0 50.00ms 50.00ms 50.00ms 50.00ms 50.00ms 50.00ms",
            "request 20 1 14.50ms 10.00ms 18.00ms 100.00ms 100.00ms 100.00ms",
        ]
    );
    assert_eq!(
        lines(&made, &["spans", "--by", "thread", "--min", "19ms"])[1..],
        [
            "NAME TID COMM count mean p50 p90 p99 p99.9 max",
            "handed on 11 server 1 50.00ms 50.00ms 50.00ms 50.00ms 50.00ms 50.00ms",
            "request 10 server 2 59.50ms 19.00ms 100.00ms 100.00ms 100.00ms 100.00ms",
        ]
    );
    let text = analyze(&made, &["spans", "--hist", "-m", "--name", "request", "--by", "process"]);
    let text = text.expect("it is whole");
    assert!(text.contains("\nspan = request, pid = 10 server\n"), "{text}");
    assert!(text.contains("        64 -> 127        : 1        |*****"), "{text}");
    assert!(text.contains("1 rows have no `duration`"), "{text}");
}

#[test]
fn spans_are_listed() {
    let made = requests();
    made.end(30.0);
    assert_eq!(
        lines(&made, &["spans", "--list", "--since", "20s"])[1..],
        [
            "TIME PID TID COMM NAME DURATION KEY ENDTID DEPTH",
            "10:15:20.000 10 10 server request 100.00ms - 10 0",
            "10:15:21.000 10 11 server handed on 50.00ms 5 10 0",
            "10:15:22.000 10 12 server request - - - 0",
        ]
    );
    let unfinished = lines(&made, &["spans", "--unfinished"]);
    assert_eq!(unfinished[2..], ["10:15:22.000 10 12 server request - - - 0"]);
    assert_eq!(lines(&made, &["spans", "--list", "--min", "50ms"]).len(), 4);
}

#[test]
fn spans_go_over_time() {
    let made = requests();
    made.end(30.0);
    assert_eq!(
        lines(&made, &["spans", "--timeline", "--step", "10s"])[1..],
        [
            "TIME COUNT UNFINISHED P50 P99 MAX",
            "10:15:00.000 9 0 5.00ms 9.00ms 9.00ms",
            "10:15:10.000 10 0 14.00ms 19.00ms 19.00ms",
            "10:15:20.000 2 1 50.00ms 100.00ms 100.00ms",
        ]
    );
}

#[test]
fn slow_spans_are_compared_with_the_others() {
    // The slow one lost 50 ms to pauses, which overlap; 10 ms before and 5 ms after them to waits. Of
    // the others, 190 ms together, one lost 1 ms to a pause and one 2 ms to a wait.
    assert_eq!(
        blame(&reasons(), &["--name", "request"])[1..],
        [
            "# 1 spans had not ended, and are not counted",
            "1 slow spans, of 100.00ms (the 99th percentile) or more; 19 others",
            "1 (100.0 %) of the slow ones overlapped a pause of garbage collection, of the others 1 \
             (5.3 %)",
            "",
            "REASON SLOW SPANS% TIME TIME% OTHERS SPANS% TIME TIME%",
            "gc 1 100 50.00ms 50 1 5.26 1.00ms 0.53",
            "runq 1 100 15.00ms 15 1 5.26 2.00ms 1.05",
            "other 1 100 35.00ms 35 19 100 187.00ms 98.42",
            "all 1 100 100.00ms 100 19 100 190.00ms 100",
        ]
    );
    let csv = analyze(&reasons(), &["spans", "--blame", "--min", "50ms", "--format", "csv"]);
    let csv = csv.expect("it is whole");
    // Of the one that was handed on it is unknown whose waits count.
    assert_eq!(
        csv.lines().skip(1).collect::<Vec<_>>(),
        [
            "gc,2,100,100000000,66.67,1,5.26,1000000,0.53,50000000",
            "runq,1,100,15000000,10,1,5.26,2000000,1.05,50000000",
            "other,1,50,35000000,23.33,19,100,187000000,98.42,50000000",
            "all,2,100,150000000,100,19,100,190000000,100,50000000",
        ]
    );
}

#[test]
fn the_slowest_name_the_pause_that_they_lost_most_to() {
    let printed = blame(&reasons(), &["--longest", "2", "--min", "10ms"]);
    let rows = &printed[printed.len() - 3..];
    assert_eq!(
        rows,
        [
            "TIME PID TID NAME DURATION GC RUNQ OTHER PAUSE FULL COLLECTOR",
            "10:15:20.000 10 10 request 100.00ms 50.00ms 15.00ms 35.00ms 30.00ms no G1 Young",
            "10:15:21.000 10 11 handed on 50.00ms 50.00ms - 0ns 900.00ms no -",
        ]
    );
    assert!(printed.iter().any(|line| line.contains("1 spans were ended by another thread")));
    let csv = ["spans", "--blame", "--longest", "5", "--min", "1s", "--format", "csv"];
    assert_eq!(analyze(&reasons(), &csv).expect("it is whole").lines().count(), 1);
}

#[test]
fn what_was_not_recorded_is_unknown() {
    let printed = blame(&requests(), &["--name", "request", "--longest", "1"]);
    let all = printed.join("\n");
    assert!(all.contains("# the recording does not tell of collections of garbage"), "{all}");
    assert!(all.contains("# the recording does not tell of waits for a CPU"), "{all}");
    assert!(
        all.contains("\ngc - - - - - - - -\nrunq - - - - - - - -\nother 1 100 100.00ms"),
        "{all}"
    );
    assert!(!all.contains("overlapped"), "{all}");
    assert!(all.ends_with("request 100.00ms - - 100.00ms - - -"), "{all}");
    let nothing = blame(&requests(), &["--name", "nothing"]);
    assert!(nothing.last().is_some_and(|line| line.starts_with("There is no span")));
}

#[test]
fn processes_without_pauses_are_told() {
    let made = requests();
    made.rows(&[made.gc(Collection::hotspot(1.0, 99, 5))]);
    made.filter(Filters { min_latency: 1_000_000, ..Filters::default() });
    made.trace("runq", &["runq"], Vec::new());
    let printed = blame(&made, &["--name", "request"]);
    let told = |part| printed.iter().any(|line| line.contains(part));
    assert!(told("# no collection was seen of the processes that have these spans"), "{printed:?}");
    assert!(told("# waits for a CPU under 1.00ms were not recorded"), "{printed:?}");
    assert!(told("gc 0 0 0ns 0 0 0 0ns 0"), "{printed:?}");
}

#[test]
fn threads_do_not_matter() {
    let made = reasons();
    for group in 0..10 {
        let span = |row: i32| {
            let seconds = f64::from(group) + f64::from(row) * 1e-3;
            made.span(Stretch::new(seconds, 10 + row % 2, "request", i64::from(row % 7)))
        };
        made.rows(&(0..50).map(span).collect::<Vec<Row>>());
    }
    made.end(30.0);
    for args in [
        &["--blame", "--longest", "30"][..],
        &["--blame", "--min", "2ms", "--longest", "7"],
        &["--by", "process"],
        &["--timeline"],
    ] {
        let of = |threads| {
            let args = [&["spans", "--threads", threads], args].concat();
            analyze(&made, &args).expect("it is whole")
        };
        assert_eq!(of("1"), of("8"), "{args:?}");
    }
}

#[test]
fn durations_are_distributed_by_name() {
    let made = requests();
    made.end(30.0);
    let args = ["histogram", "span", "duration", "--by", "name", "--summary", "--format", "csv"];
    let csv = analyze(&made, &args).expect("it is whole");
    assert!(csv.contains("\nhanded on,1,0,0,50000000,"), "{csv}");
    assert!(csv.contains("\nrequest,20,1,0,14500000,"), "{csv}");
}
