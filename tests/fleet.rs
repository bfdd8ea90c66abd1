//! A fleet: recordings of several hosts in folders `host=NAME`, and `analyze` as a user runs it over them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::golden::fixtures;

/// The hosts, and which recordings of `fixtures/` are theirs.
pub const HOSTS: [(&str, &[&str]); 3] = [
    ("db", &["tracers.lookback"]),
    ("web1", &["demo.lookback", "lossy.lookback"]),
    ("web2", &["killed.lookback"]),
];

/// Makes a fleet in a folder: real recordings, of three hosts.
pub fn make(root: &Path) {
    for (host, recordings) in HOSTS {
        let folder = root.join(format!("host={host}"));
        std::fs::create_dir_all(&folder).unwrap();
        for recording in recordings {
            let status =
                Command::new("cp").arg("-r").arg(fixtures().join(recording)).arg(&folder).status();
            assert!(status.unwrap().success());
        }
    }
}

/// What `analyze` prints.
fn analyze(directory: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_analyze"));
    let output = command.args(arguments).current_dir(directory).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {}: {errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// How many rows each host has; all are of nobody where there is no such column.
fn rows_by_host(csv: &str) -> BTreeMap<String, usize> {
    let mut rows: BTreeMap<String, usize> = BTreeMap::new();
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let host = reader.headers().unwrap().iter().position(|column| column == "host");
    for row in reader.records() {
        let host = host.map(|host| row.as_ref().unwrap()[host].to_owned());
        *rows.entry(host.unwrap_or_default()).or_default() += 1;
    }
    rows
}

#[test]
fn a_fleet_has_the_rows_of_all_its_recordings() {
    let root = tempfile::tempdir().unwrap();
    make(root.path());
    for report in [
        &["processes"][..],
        &["processes", "--execs"],
        &["signals"],
        &["signals", "--kill"],
        &["opens"],
    ] {
        let mut expected = BTreeMap::new();
        for (host, recordings) in HOSTS {
            let of = |recording: &&str| {
                let csv = analyze(&fixtures(), &[report, &[recording, "--format", "csv"]].concat());
                rows_by_host(&csv).values().sum::<usize>()
            };
            let rows: usize = recordings.iter().map(of).sum();
            if rows > 0 {
                expected.insert(host.to_owned(), rows);
            }
        }
        let csv = analyze(root.path(), &[report, &[".", "--format", "csv"]].concat());
        assert!(!expected.is_empty());
        assert_eq!(rows_by_host(&csv), expected, "{report:?}");
    }
}

#[test]
fn events_of_a_fleet_are_in_the_order_of_time() {
    let root = tempfile::tempdir().unwrap();
    make(root.path());
    let csv = analyze(root.path(), &["cat", ".", "kill", "--columns", "ts", "--format", "csv"]);
    let moments = csv.lines().skip(1).map(|line| line.rsplit(',').next().unwrap().parse().unwrap());
    let moments: Vec<i64> = moments.collect();
    assert!(moments.len() > 1000 && moments.is_sorted());
}

#[test]
fn a_fleet_says_who_lost_events() {
    let root = tempfile::tempdir().unwrap();
    make(root.path());
    let said = analyze(root.path(), &["check", "."]);
    let headings: Vec<&str> = said.lines().filter(|line| line.contains(": 2026-")).collect();
    let of = |host: &str| {
        headings.iter().filter(|line| line.starts_with(&format!("# {host}: "))).count()
    };
    assert_eq!(["db", "web1", "web2"].map(of), [1, 2, 1], "{said}");
    let said = analyze(root.path(), &["signals", "."]);
    let lossy: Vec<&str> = said.lines().filter(|line| line.contains("LOSSY")).collect();
    assert!(
        !lossy.is_empty() && lossy.iter().all(|line| line.starts_with("# web1: ")),
        "{lossy:?}"
    );
}
