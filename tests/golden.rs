//! What `analyze` says about the recordings in `fixtures/`, byte for byte.
//!
//! After a change that is meant, `fixtures/make --expected` writes the reports anew.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The folder of the recordings.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// Runs `analyze` where the recordings lie, with nothing of the environment that could matter.
fn analyze(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_analyze"));
    command
        .args(arguments)
        .current_dir(fixtures())
        .env("TZ", "Asia/Kathmandu")
        .env("COLUMNS", "40");
    command.output().unwrap()
}

/// The reports in the list: the file, and the arguments.
pub fn reports() -> Vec<(String, Vec<String>)> {
    let list = std::fs::read_to_string(fixtures().join("reports")).unwrap();
    let mut reports = Vec::new();
    for line in list.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut words = line.split_whitespace().map(str::to_owned);
        reports.push((words.next().unwrap(), words.collect()));
    }
    assert!(reports.len() > 20);
    reports
}

/// The first line in which two texts differ.
fn difference(expected: &str, found: &str) -> Option<String> {
    if expected == found {
        return None;
    }
    let mut pairs = expected.split('\n').zip(found.split('\n')).enumerate();
    Some(match pairs.find(|(_, (expected, found))| expected != found) {
        Some((line, (expected, found))) => {
            format!("line {}:\nexpected: {expected}\nfound:    {found}", line + 1)
        }
        None => "one goes on where the other ends".to_owned(),
    })
}

/// Reports that add up, or replay, on all cores.
const PARALLEL: [&str; 9] =
    ["histogram", "syscalls", "opens", "unlinks", "runqlat", "irqs", "memleak", "probes", "spans"];

/// Of these, such as list rows, which one thread does.
const IN_ORDER: [&str; 2] = ["--list", "--unfinished"];

#[test]
fn reports_are_as_expected() {
    let mut wrong = Vec::new();
    for (file, arguments) in reports() {
        let mut runs = vec![arguments.clone()];
        let in_order = arguments.iter().any(|argument| IN_ORDER.contains(&argument.as_str()));
        if PARALLEL.contains(&arguments[0].as_str()) && !in_order {
            // However many threads read.
            for threads in ["1", "2"] {
                let mut run = arguments.clone();
                run.extend(["--threads", threads].map(str::to_owned));
                runs.push(run);
            }
        }
        let expected = std::fs::read_to_string(fixtures().join("expected").join(&file)).unwrap();
        for run in runs {
            let arguments: Vec<&str> = run.iter().map(String::as_str).collect();
            let output = analyze(&arguments);
            let errors = String::from_utf8_lossy(&output.stderr);
            if !output.status.success() {
                wrong.push(format!("{}: {}: {errors}", run.join(" "), output.status));
            }
            let found = String::from_utf8(output.stdout).unwrap();
            if let Some(difference) = difference(&expected, &found) {
                wrong.push(format!("{file} ({}), {difference}", run.join(" ")));
            }
        }
    }
    assert!(wrong.is_empty(), "fixtures/make --expected writes them anew:\n{}", wrong.join("\n"));
}

#[test]
fn every_expected_report_is_in_the_list() {
    let entries = std::fs::read_dir(fixtures().join("expected")).unwrap();
    let files: BTreeSet<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let listed: BTreeSet<String> = reports().into_iter().map(|(file, _)| file).collect();
    assert_eq!(files, listed);
}

#[test]
fn a_lossy_recording_is_never_reported_without_a_warning() {
    for arguments in [
        &["processes", "lossy.lookback"][..],
        &["signals", "lossy.lookback"],
        &["signals", "lossy.lookback", "--format", "json"],
        &["histogram", "lossy.lookback", "kill", "duration"],
        &["cat", "lossy.lookback", "signal", "--format", "csv", "--limit", "1"],
        &["info", "lossy.lookback"],
    ] {
        let output = analyze(arguments);
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        assert!(output.status.success(), "{arguments:?}: {said:?}");
        let warns = |text: &String| text.contains("lost");
        // Of processes nothing is lost here, and the heading says so.
        let nothing = arguments[0] == "processes" && said[0].contains("nothing lost");
        assert!(nothing || said.iter().any(warns), "{arguments:?}: {said:?}");
    }
}

#[test]
fn the_killed_recording_has_unfinished_segments() {
    // Or the reports on it would show nothing.
    let recording = fixtures().join("killed.lookback");
    let table = lookback_schemas::TableId::Kill;
    let opened = lookback_schemas::recording::Recording::open(&recording).unwrap();
    let segments = opened.segments(table).unwrap();
    assert!(opened.manifest().ended.is_none());
    assert!(segments.iter().any(|segment| !segment.finished() && segment.rows() > 1000));
}
