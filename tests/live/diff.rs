//! `analyze diff`, on recordings of work that is the same and work that is slower.

use std::process::Command;

use super::alone;
use crate::recording::{Record, Recorded};
use crate::running::{Ended, run};

/// A call of nanosleep each 50 ms, of so many milliseconds.
fn paced(ms: &str) -> Recorded {
    let record = Record::trace("syscall").options(["--syscall", "nanosleep"]);
    let recorded = record.workload("paced", ["64", "50", ms]).run();
    recorded.assert_nothing_lost();
    recorded
}

fn diff(before: &Recorded, after: &Recorded, options: &[&str]) -> Ended {
    let mut analyze = Command::new(env!("CARGO_BIN_EXE_analyze"));
    analyze
        .arg("diff")
        .args([before, after].map(|recorded| recorded.recording.directory()))
        .args(options);
    run(&mut analyze)
}

#[test]
fn the_same_work_is_within_noise_and_slower_work_is_beyond() {
    let Some(_turn) = alone(&["syscall"]) else { return };
    let (one, same, slower) = (paced("20"), paced("20"), paced("30"));
    let options = ["--format", "csv", "--fail-if", "syscalls[syscall=nanosleep].mean > +20%"];
    let ended = diff(&one, &same, &options);
    let header = "report,key,measure,unit,before,after,change,percent,beyond_noise\n";
    assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(0), header), "{}", ended.stderr);

    let ended = diff(
        &one,
        &slower,
        &["--format", "csv", "--fail-if", "syscalls[syscall=nanosleep].mean > +20%"],
    );
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("beyond noise"), "{}", ended.stderr);
    let lines: Vec<&str> = ended
        .stdout
        .lines()
        .filter(|line| line.starts_with("syscalls,syscall=nanosleep"))
        .collect();
    let mean =
        lines.iter().find(|line| line.contains(",mean,ns,")).unwrap_or_else(|| panic!("{lines:?}"));
    let percent: f64 = mean.split(',').nth(7).unwrap().parse().unwrap();
    assert!((40.0..60.0).contains(&percent) && mean.ends_with(",true"), "{mean}");
    // As many calls as before.
    assert!(!lines.iter().any(|line| line.contains(",count,")), "{lines:?}");
}
