//! How `analyze` behaves to who calls it: exit codes of comparisons, and terminals.

use std::process::{Command, Output};

use crate::golden::fixtures;
use crate::live::missing;
use crate::workload::is_installed;

const ANALYZE: &str = env!("CARGO_BIN_EXE_analyze");

fn analyze(arguments: &[&str]) -> Output {
    Command::new(ANALYZE).args(arguments).current_dir(fixtures()).output().unwrap()
}

#[test]
fn comparisons_end_as_their_conditions_say() {
    let (before, after) = ("tracers.lookback", "probes.lookback");
    for (condition, code, said) in [
        ("runqlat.p99 > 0", 1, "analyze: failed: runqlat.p99 > 0: p99: "),
        ("runqlat.p99 < 0", 0, ""),
        ("runqlat.p99 > +1000000%", 0, ""),
        ("runqlt.p99 > 0", 2, "did you mean `runqlat`?"),
        ("runqlat.p98 > 0", 2, "has no column `p98`"),
        ("runqlat[comm=nobody].p99 > 0", 2, "neither recording has a row"),
        ("runqlat.p99 >", 2, "expected a value"),
    ] {
        let ended = analyze(&["diff", before, after, "runqlat", "--fail-if", condition]);
        let errors = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(code), "{condition}: {errors}");
        assert!(errors.contains(said), "{condition}: {errors}");
    }
    let nowhere = analyze(&["diff", before, "nowhere.lookback"]);
    assert_eq!(nowhere.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("nowhere.lookback"));
    // The words of the report are a command line of their own.
    let help = analyze(&["diff", before, after, "runqlat", "--help"]);
    let text = String::from_utf8(help.stdout).unwrap();
    assert!(
        help.status.success() && text.contains("--fail-if") && text.contains("--blame"),
        "{text}"
    );
}

/// What a terminal of 60 columns shows of `analyze` with these arguments.
fn shown(environment: &str, arguments: &str) -> Option<String> {
    if !is_installed("script") {
        missing("script");
        return None;
    }
    let command = format!("stty cols 60 rows 10; {environment} '{ANALYZE}' {arguments}");
    let mut script = Command::new("script");
    script.args(["-qec", &command, "/dev/null"]).current_dir(fixtures());
    let ended = script.env("TERM", "xterm").env_remove("PAGER").stdin(std::process::Stdio::null());
    let ended = ended.output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    Some(String::from_utf8(ended.stdout).unwrap().replace('\r', ""))
}

#[test]
fn a_terminal_is_paged_and_nothing_else() {
    let report = "processes demo.lookback --execs";
    let pager = "LOOKBACK_PAGER='sed s/^/paged:/'";
    let Some(paged) = shown(pager, report) else { return };
    assert!(
        paged.lines().count() > 5 && paged.lines().all(|line| line.starts_with("paged:")),
        "{paged}"
    );
    let Some(plain) = shown(pager, &format!("{report} --no-pager")) else { return };
    assert_eq!(paged.replace("paged:", ""), plain);
    // A pager that leaves early is no error.
    let Some(first) = shown("LOOKBACK_PAGER='head -n 1'", report) else { return };
    assert_eq!(first.lines().count(), 1);
    // In a pipe there is none.
    let piped = Command::new(ANALYZE)
        .args(report.split(' '))
        .current_dir(fixtures())
        .env("PAGER", "sed s/^/paged:/")
        .output()
        .unwrap();
    assert!(!String::from_utf8(piped.stdout).unwrap().contains("paged:"));
}

#[test]
fn tables_fit_the_terminal_and_nothing_else() {
    let report = "processes demo.lookback --execs --no-pager";
    let rows = |text: &str| -> Vec<usize> {
        let rows = text.lines().filter(|line| !line.starts_with('#'));
        rows.map(|line| line.chars().count()).collect()
    };
    let Some(fitted) = shown("", report) else { return };
    assert!(rows(&fitted).iter().all(|width| *width <= 60) && fitted.contains('…'), "{fitted}");
    let Some(wide) = shown("", &format!("{report} --wide")) else { return };
    assert!(rows(&wide).iter().any(|width| *width > 60) && !wide.contains('…'), "{wide}");
    assert_eq!(rows(&wide).len(), rows(&fitted).len());
    let piped = String::from_utf8(analyze(&report.split(' ').collect::<Vec<_>>()).stdout).unwrap();
    assert_eq!(piped, wide);
}
