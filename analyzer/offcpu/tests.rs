//! The report, on recordings that are made up.

use crate::made::{Away, Made, Row, analyze, lines};

/// Three threads of two processes, one of them away until the end.
fn waits() -> Made {
    let made = Made::new();
    made.rows(&[
        made.frame(30, true, None, None),
        made.frame(31, true, None, None),
        made.frame(32, true, None, None),
        made.symbol(30, 0, "__schedule"),
        made.symbol(31, 0, "schedule_timeout"),
        made.symbol(32, 0, "futex_wait"),
        made.stack(1, &[30, 31, 32], false),
        made.stack(2, &[30, 32], false),
        made.stack(3, &[30], false),
        made.offcpu(Away::slept(1.0, 10, "srv", 10).at(None, Some(1))),
        made.offcpu(Away { tid: 11, ..Away::slept(1.5, 10, "worker", 20).at(None, Some(2)) }),
        made.offcpu(Away::preempted(2.0, 10, "srv", 4).at(None, Some(3))),
    ]);
    made.rows(&[
        made.offcpu(Away {
            io: true,
            state: Some(2),
            syscall: Some(74),
            by_interrupt: Some(1),
            waker: None,
            ..Away::slept(2.5, 12, "disk", 7)
        }),
        made.offcpu(Away {
            syscall: Some(9_999),
            by_interrupt: None,
            waker: None,
            ..Away::slept(3.0, 12, "disk", 3)
        }),
        made.offcpu(Away { by_interrupt: None, ..Away::slept(3.5, 12, "disk", 2) }),
        made.offcpu(Away::slept(4.0, 12, "disk", 0).open()),
    ]);
    made.end(5.0);
    made
}

fn by(by: &str) -> Vec<String> {
    lines(&waits(), &["offcpu", "--by", by])[1..].to_vec()
}

#[test]
fn waits_are_by_process_and_state() {
    assert_eq!(
        lines(&waits(), &["offcpu"])[1..],
        [
            "PID COMM STATE COUNT OPEN TOTAL RUNNABLE MEAN P50 P99 MAX",
            "10 srv interruptible 2 0 30.00ms 2.00ms 15.00ms 10.00ms 20.00ms 20.00ms",
            "12 disk I/O 1 0 7.00ms 1.00ms 7.00ms 7.00ms 7.00ms 7.00ms",
            "12 disk interruptible 2 1 5.00ms 2.00ms 2.50ms 2.00ms 3.00ms 3.00ms",
            "10 srv runnable 1 0 4.00ms 4.00ms 4.00ms 4.00ms 4.00ms 4.00ms",
        ]
    );
}

#[test]
fn waits_are_by_what_is_asked() {
    let first_words = |of: &str, count: usize| -> Vec<String> {
        let words = |line: &String| line.split(' ').take(count).collect::<Vec<_>>().join(" ");
        by(of).iter().skip(1).map(words).collect()
    };
    assert_eq!(first_words("thread", 3), ["11 worker 1", "10 srv 2", "12 disk 3"]);
    assert_eq!(first_words("syscall", 2), ["futex 3", "fsync 1", "- 1", "9999 1"]);
    assert_eq!(first_words("function", 2), ["futex_wait 2", "- 4"]);
    assert_eq!(
        first_words("waker", 2),
        ["waker 2", "[interrupt] 1", "- 1", "[unknown] 1", "waker? 1"]
    );
    assert_eq!(
        first_words("function,waker", 3),
        ["futex_wait waker 2", "- [interrupt] 1", "- - 1", "- [unknown] 1", "- waker? 1"]
    );
}

#[test]
fn rows_are_chosen() {
    let count = |args: &[&str]| lines(&waits(), &[&["offcpu", "--by", "process"], args].concat());
    assert_eq!(
        count(&["--top", "1"])[2..],
        ["10 srv 3 34.00ms 6.00ms 11.33ms 10.00ms 20.00ms 20.00ms"]
    );
    assert_eq!(count(&["--tid", "11"]).len(), 3);
    assert_eq!(count(&["--min", "20ms"]).len(), 3);
    assert_eq!(count(&["--comm", "nobody"]).len(), 2);
    // By when they began.
    let until = count(&["--since", "1.005s", "--until", "2s"]);
    assert_eq!(until[2..], ["10 worker 1 20.00ms 1.00ms 20.00ms 20.00ms 20.00ms 20.00ms"]);
}

#[test]
fn data_has_all_columns() {
    let csv = analyze(&waits(), &["offcpu", "--by", "state", "--pid", "12", "--format", "csv"]);
    assert_eq!(
        csv.expect("it is whole"),
        "state,count,open,total,runnable,mean,p50,p99,max\n\
         I/O,1,0,7000000,1000000,7000000,7000000,7000000,7000000\n\
         interruptible,2,1,5000000,2000000,2500000,2000000,3000000,3000000\n"
    );
}

#[test]
fn a_recording_without_waits_says_so() {
    let made = Made::new();
    made.end(1.0);
    let said = &lines(&made, &["offcpu"])[1];
    assert!(said.contains("that takes `record --trace offcpu`"), "{said}");
}

#[test]
fn threads_do_not_matter() {
    let made = Made::new();
    for group in 0..20 {
        let wait = |row: i32| {
            let ms = i64::from(row * row % 17);
            made.offcpu(Away { tid: row % 9, ..Away::slept(f64::from(group), row % 3, "a", ms) })
        };
        made.rows(&(0..50).map(wait).collect::<Vec<Row>>());
    }
    for by in ["process", "thread,state", "function"] {
        let of = |threads| {
            analyze(&made, &["offcpu", "--by", by, "--threads", threads]).expect("it is whole")
        };
        assert_eq!(of("1"), of("8"), "{by}");
    }
}
