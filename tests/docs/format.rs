//! The page on the recording: every field of the manifest is on it, and the reader beside it reads.

use std::process::Command;

use lookback_schemas::TableId;
use lookback_schemas::recording::Recording;

use crate::docs::pages;
use crate::golden;
use crate::live::missing;
use crate::running::run;

/// What the reader says to this; `None`, after saying why, where it cannot run.
fn read(arguments: &[&str]) -> Option<String> {
    // `make test` puts pyarrow there.
    let folder = pages::top().join("target/python");
    let python = || {
        let mut python = Command::new("python3");
        python.current_dir(golden::fixtures()).env("PYTHONPATH", &folder);
        python
    };
    let there = python().args(["-c", "import pyarrow.parquet"]).output();
    if !there.is_ok_and(|output| output.status.success()) {
        missing("Python's pyarrow is not installed: make python-packages");
        return None;
    }
    let ended = run(python().arg(pages::top().join("docs/reader.py")).args(arguments));
    assert!(ended.status.success(), "{arguments:?}: {}", ended.stderr);
    Some(ended.stdout)
}

#[test]
fn the_reader_finds_all_rows_that_the_analyzer_finds() {
    // Of the second one the segments have no footers.
    for (name, table) in [("demo.lookback", "exec"), ("killed.lookback", "kill")] {
        let Some(summary) = read(&[name]) else { return };
        let recording = Recording::open(&golden::fixtures().join(name)).unwrap();
        let mut tables = 0;
        for id in TableId::ALL {
            let segments = recording.segments(*id).unwrap();
            let rows: u64 = segments.iter().map(|segment| segment.rows()).sum();
            let line =
                summary.lines().find_map(|line| line.strip_prefix(&format!("{} ", id.name())));
            let found = line.map_or(0, |count| count.trim().parse().unwrap());
            assert_eq!(found, rows, "{name}, {}", id.name());
            tables += u64::from(rows > 0);
        }
        assert!(tables >= 5, "{summary}");

        let text = read(&[name, table]).unwrap();
        let rows: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let times: Vec<i64> = rows.iter().map(|row| row["ts"].as_i64().unwrap()).collect();
        assert!(times.is_sorted() && times[0] > recording.manifest().started);
    }
    let stacks = read(&["demo.lookback", "stacks"]).unwrap();
    assert!(
        stacks.starts_with("1110220432 ") && stacks.contains(";main;work;hot;spin\n"),
        "{stacks}"
    );
    let lost = read(&["lossy.lookback"]).unwrap();
    assert!(lost.contains("3595 of kill from ") && lost.contains(": ring full"), "{lost}");
}

#[test]
fn the_page_names_every_field_of_the_manifest() {
    let source = std::fs::read_to_string(pages::top().join("schemas/src/manifest.rs")).unwrap();
    let fields = source.lines().filter_map(|line| line.strip_prefix("    pub ")?.split_once(':'));
    // Functions are public too.
    let fields: Vec<&str> =
        fields.map(|(name, _)| name).filter(|name| !name.contains(' ')).collect();
    assert!(fields.len() > 70, "{fields:?}");
    let page = pages::read("docs/format.md");
    let left_out: Vec<&str> =
        fields.into_iter().filter(|field| !page.spans.iter().any(|span| span == field)).collect();
    assert!(left_out.is_empty(), "docs/format.md does not name {left_out:?}");
}
