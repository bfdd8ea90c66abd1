//! Comparisons of recordings of known numbers.

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::Cli;
use crate::made::{Made, START, lines};

/// Sixteen seconds, in which the processes wait ten times a second each, so long in microseconds.
fn waits(pids: &[i32], us: i64) -> Made {
    let made = Made::new();
    let wait = |pid: i32, number: i64| {
        let seconds = 0.05 + number as f64 * 0.1;
        made.runq(seconds, pid, pid, us * 1000 + number % 7, 20, 0)
    };
    let rows = pids.iter().flat_map(|pid| (0..160).map(move |number| wait(*pid, number)));
    made.rows(&rows.collect::<Vec<_>>());
    made.end(16.0);
    made
}

/// What `analyze diff` of the two prints with these arguments, and how it ends.
fn diff(before: &Made, after: &Made, args: &[&str]) -> anyhow::Result<(String, ExitCode)> {
    let out = tempfile::NamedTempFile::new()?;
    let path = out.path().to_str().expect("temporary paths are UTF-8");
    let [before, after] = [before, after].map(|made| made.path().to_str().expect("as above"));
    let mut line = vec!["analyze", "diff", "-o", path, before, after];
    line.extend(args);
    let code = crate::cli::run(Cli::try_parse_from(line)?)?;
    Ok((std::fs::read_to_string(path)?, code))
}

/// The lines of a comparison as CSV, without the header.
fn rows(before: &Made, after: &Made, args: &[&str]) -> Vec<String> {
    let args = [&["--format", "csv"], args].concat();
    let (text, _) = diff(before, after, &args).expect("it is whole");
    text.lines().skip(1).map(str::to_owned).collect()
}

#[test]
fn each_number_is_shown_before_and_after() {
    // Two processes of one name before, one of another pid after.
    let (before, after) = (waits(&[10, 11], 1000), waits(&[70], 3000));
    let rows = rows(&before, &after, &["runqlat", "--by", "process"]);
    let row = |measure: &str| {
        let row = rows.iter().find(|row| row.starts_with(&format!("waiter,{measure},")));
        row.unwrap_or_else(|| panic!("{measure}: {rows:#?}")).as_str()
    };
    assert_eq!(row("count"), "waiter,count,/s,20,10,-10,-50,true");
    assert_eq!(row("p50"), "waiter,p50,ns,1000003,3000003,2000000,200,true");
    // Of 320 values, 0 to 6 more than a millisecond.
    assert_eq!(row("p99"), "waiter,p99,ns,1000006,3000006,2000000,200,true");
    assert!(row("mean").starts_with("waiter,mean,ns,1000003,3000003,"), "{}", row("mean"));
    assert_eq!(row("max"), "waiter,max,ns,1000006,3000006,2000000,200,", "nobody knows");
}

#[test]
fn the_same_work_is_within_noise() {
    let (one, other) = (waits(&[10], 1000), waits(&[20], 1010));
    for row in rows(&one, &other, &["runqlat"]) {
        assert!(!row.ends_with(",true"), "{row}");
    }
    let (text, _) = diff(&one, &other, &["--format", "csv"]).expect("it is whole");
    assert_eq!(text.lines().count(), 1, "{text}");
    // One in a hundred is more than chance would have it, and less than recordings differ.
    let rows = rows(&one, &other, &["--least", "0.5", "runqlat"]);
    assert!(rows.iter().any(|row| row.starts_with("p50,") && row.ends_with(",true")), "{rows:#?}");
}

#[test]
fn lengths_do_not_matter() {
    let (short, long) = (waits(&[10], 1000), Made::new());
    let wait = |number: i64| long.runq(0.05 + number as f64 * 0.1, 9, 9, 1_000_000, 20, 0);
    long.rows(&(0..480).map(wait).collect::<Vec<_>>());
    long.end(48.0);
    let rows = rows(&short, &long, &["runqlat"]);
    assert_eq!(rows[0], "count,/s,10,10,0,0,false");
}

#[test]
fn the_summary_has_what_is_beyond_noise() {
    let (text, code) = diff(&waits(&[10], 1000), &waits(&[70], 3000), &[]).expect("it is whole");
    assert_eq!(code, ExitCode::SUCCESS);
    let before = "# before: ";
    assert!(text.starts_with(before) && text.contains("\n# after: "), "{text}");
    assert!(text.contains("per second"), "{text}");
    let found: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("runqlat"))
        .map(|line| line.split_whitespace().collect())
        .collect();
    let p99 = ["runqlat", "comm=waiter", "p99", "1.00ms", "3.00ms", "2.00ms", "200", "BEYOND"];
    assert!(found.iter().any(|line| *line == p99), "{text}");
    assert!(!text.contains("count/s"), "as many as before: {text}");
}

#[test]
fn what_was_not_recorded_is_unknown_and_not_nothing() {
    let (before, after) = (waits(&[10], 1000), Made::new());
    after.rows(&[after.fork(1.0, 10, 1)]);
    after.end(16.0);
    let rows = rows(&before, &after, &["runqlat"]);
    assert_eq!(rows[0], "count,/s,10,,,,");
    let (text, _) = diff(&before, &after, &["runqlat"]).expect("it is whole");
    assert!(text.contains("# after: it does not tell of runq, which was not recorded"), "{text}");
    // It was recorded, and there was none.
    let quiet = waits(&[], 1);
    quiet.rows(&[quiet.runq(15.95, 5, 5, 1, 20, 1)]);
    quiet.end(16.0);
    let args = ["runqlat", "--cause", "woken"];
    let rows = self::rows(&before, &quiet, &args);
    assert_eq!(rows[0], "count,/s,10,0,-10,-100,true");
}

#[test]
fn losses_of_either_are_said_and_make_counts_unsure() {
    let (before, after) = (waits(&[10], 1000), waits(&[10], 1000));
    let lossy = waits(&[10, 11, 12], 1000);
    lossy.rows(&[lossy.loss("runq", "ring full", 1234, 3.1, 4.2)]);
    lossy.end(16.0);
    assert!(rows(&before, &lossy, &["runqlat"])[0].ends_with(",200,"), "tripled, but who knows");
    let (text, _) = diff(&after, &lossy, &["runqlat"]).expect("it is whole");
    assert!(text.contains("# after: LOSSY: 1,234 of runq's events lost"), "{text}");
}

#[test]
fn conditions_make_exit_codes() {
    let (before, after) = (waits(&[10], 1000), waits(&[70], 3000));
    let code = |condition: &str| {
        let (_, code) = diff(&before, &after, &["--fail-if", condition])?;
        Ok::<bool, anyhow::Error>(code == ExitCode::FAILURE)
    };
    for (condition, fails) in [
        ("runqlat.p99 > +20%", true),
        ("runqlat.p99 > +250%", false),
        ("runqlat.p99.9 > 2ms", true),
        ("runqlat.p99 > 5ms", false),
        ("runqlat.p99 > +1ms", true),
        ("runqlat.p99 > +3ms", false),
        ("runqlat.p99 < -10%", false),
        ("runqlat.count > 9", true),
        ("runqlat.count > +0%", false),
        ("runqlat.max > 0", true),
        ("runqlat[comm=waiter].p99 > +20%", true),
        ("runqlat[cgroup=5].p99 > +20%", true),
    ] {
        let found = code(condition).map_err(|error| format!("{error:#}"));
        // A cgroup's number is of one recording only: the path is the key.
        let expected = if condition.contains("cgroup") { None } else { Some(fails) };
        assert_eq!(found.clone().ok(), expected, "{condition}: {found:?}");
    }
    // Of all waits if no key is given, also where the summary has them by process.
    let two = waits(&[10, 11], 1000);
    let (_, code_of_two) =
        diff(&before, &two, &["--fail-if", "runqlat.count > 19"]).expect("it is whole");
    assert_eq!(code_of_two, ExitCode::FAILURE);
    let error = |condition| format!("{:#}", code(condition).expect_err(condition));
    assert!(error("runqlt.p99 > 5ms").contains("did you mean `runqlat`?"));
    assert!(
        error("runqlat.p9 > 5ms").contains("did you mean `p9"),
        "{}",
        error("runqlat.p9 > 5ms")
    );
    assert!(error("runqlat[com=x].p99 > 5ms").contains("did you mean `comm`?"));
    assert!(error("runqlat[comm=x].p99 > 5ms").contains("neither recording has a row"));
    assert!(error("runqlat.p99 > 5").contains("5ms"));
    assert!(error("syscalls.p99 > 5ms").contains("neither recording"));
    assert!(error("info.rows > 5").contains("nothing to compare"));
    // Of a report that is named, on either side of it.
    let args = ["runqlat", "--by", "process", "--fail-if", "runqlat[comm=waiter].p50 > +20%"];
    let (_, code) = diff(&before, &after, &args).expect("it is whole");
    assert_eq!(code, ExitCode::FAILURE);
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let made = waits(&[10], 1000);
    let error = |args: &[&str]| format!("{:#}", diff(&made, &made, args).expect_err("no"));
    assert!(error(&["runqlt"]).contains("no report `runqlt`; did you mean `runqlat`?"));
    assert!(error(&["tcp", "rt"]).contains("no report `tcp rt`; did you mean `rtt`?"));
    assert!(error(&["tcp"]).contains("connects, states, lives, rtt"));
    assert!(error(&["info"]).contains("nothing to compare"));
    assert!(error(&["runqlat", "--blame", "--top", "3"]).contains("it is compared whole"));
    assert!(error(&["runqlat", "--bye", "process"]).contains("'--by'"), "clap's own tip");
    assert!(error(&["flamegraph"]).contains("there is no sample"), "it is drawn");
}

#[test]
fn a_report_that_is_compared_prints_as_ever() {
    // Keeping what a report says must not change it.
    let made = waits(&[10], 1000);
    let alone = lines(&made, &["runqlat", "--summary"]);
    let (_, code) = diff(&made, &made, &["runqlat"]).expect("it is whole");
    assert_eq!((lines(&made, &["runqlat", "--summary"]), code), (alone, ExitCode::SUCCESS));
    assert_eq!(START % 1_000_000_000, 0);
}
