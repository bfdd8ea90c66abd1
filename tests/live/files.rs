//! The tracers `open` and `unlink`, against what the callers know.

use lookback_schemas::TableId;
use lookback_schemas::tables::{Open, Unlink};

use super::hooks::by_each_hook;
use super::shared;
use crate::recording::{Record, Recorded, assert_same, known, rows_in_time, text};
use crate::workload::{Fact, facts};

/// By what both can be had.
const KINDS: &[&str] = &["fentry", "kprobe", "raw-tracepoint"];

/// What is kept of a path.
const PATH_BYTES: usize = 4095;

/// A path as it is kept.
fn kept(fact: &Fact, key: &str) -> Option<String> {
    if fact.word(key) == "none" {
        return None;
    }
    let bytes = fact.bytes(key);
    Some(String::from_utf8_lossy(&bytes[..bytes.len().min(PATH_BYTES)]).into_owned())
}

/// The processes of facts: they did nothing else.
fn pids(facts: &[Fact]) -> Vec<i32> {
    facts.iter().map(|fact| fact.int32("pid")).collect()
}

fn record(tracer: &str, options: &[&str], mode: &str) -> Recorded {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let recorded = Record::trace(tracer).options(options).workload("files", [mode, path]).run();
    recorded.assert_nothing_of_ours_lost();
    recorded
}

#[test]
fn every_open_is_recorded_with_its_path_and_result() {
    let Some(_turn) = shared(&["open"]) else { return };
    by_each_hook("open", KINDS, |options| {
        let recorded = record("open", options, "opens");
        check_opens(&recorded);
        recorded
    });
}

pub fn check_opens(recorded: &Recorded) {
    let made = facts(recorded.stdout(), "open");
    let (pids, opens) = (pids(&made), recorded.table::<Open>());
    let rows = rows_in_time(&opens.ts, |row| pids.contains(&opens.pid.value(row)));

    let recorded_opens: Vec<_> = rows
        .iter()
        .map(|row| {
            let numbers = [&opens.pid, &opens.tid, &opens.uid, &opens.flags, &opens.result]
                .map(|column| column.value(*row));
            let texts =
                [&opens.path, &opens.dir].map(|column| known(column, *row).map(str::to_owned));
            (numbers, known(&opens.mode, *row), texts)
        })
        .collect();
    let made_opens: Vec<_> = made
        .iter()
        .map(|fact| {
            let numbers = ["pid", "tid", "uid", "flags", "result"].map(|key| fact.int32(key));
            (numbers, fact.known("mode"), [kept(fact, "path"), fact.some_text("dir")])
        })
        .collect();
    assert_same(&recorded_opens, &made_opens);
    for (row, fact) in rows.iter().zip(&made) {
        recorded.assert_within(fact, opens.ts.value(*row), opens.duration.value(*row));
        assert_eq!(text(&opens.comm, *row), "files");
    }

    // The workload sees all of these.
    let errors = [libc::ENOENT, libc::EEXIST, libc::EACCES, libc::EISDIR, libc::ENOTDIR];
    for errno in errors.into_iter().chain([libc::EBADF, libc::ENAMETOOLONG]) {
        assert!(made.iter().any(|fact| fact.int32("result") == -errno), "errno {errno}");
    }
    let long = |fact: &&Fact| fact.int("result") >= 0 && fact.bytes("path").len() >= 2000;
    assert_eq!(made.iter().filter(long).count(), 1, "one long path was opened");
    assert_eq!(recorded.lost(TableId::Open), 0);
}

#[test]
fn every_name_that_goes_is_recorded_with_its_result() {
    let Some(_turn) = shared(&["unlink"]) else { return };
    by_each_hook("unlink", KINDS, |options| {
        let recorded = record("unlink", options, "unlinks");
        check_unlinks(&recorded);
        recorded
    });
}

fn check_unlinks(recorded: &Recorded) {
    let made = facts(recorded.stdout(), "unlink");
    let (pids, unlinks) = (pids(&made), recorded.table::<Unlink>());
    let rows = rows_in_time(&unlinks.ts, |row| pids.contains(&unlinks.pid.value(row)));

    let recorded_unlinks: Vec<_> = rows
        .iter()
        .map(|row| {
            let numbers = [
                &unlinks.pid,
                &unlinks.tid,
                &unlinks.uid,
                &unlinks.call,
                &unlinks.flags,
                &unlinks.result,
            ];
            let texts = [&unlinks.path, &unlinks.dir, &unlinks.new_path, &unlinks.new_dir];
            (
                numbers.map(|column| column.value(*row)),
                texts.map(|column| known(column, *row).map(str::to_owned)),
            )
        })
        .collect();
    let made_unlinks: Vec<_> = made
        .iter()
        .map(|fact| {
            let numbers =
                ["pid", "tid", "uid", "call", "flags", "result"].map(|key| fact.int32(key));
            let paths = [kept(fact, "path"), fact.some_text("dir")];
            let new = [kept(fact, "new_path"), fact.some_text("new_dir")];
            let [path, dir] = paths;
            let [new_path, new_dir] = new;
            (numbers, [path, dir, new_path, new_dir])
        })
        .collect();
    assert_same(&recorded_unlinks, &made_unlinks);
    for (row, fact) in rows.iter().zip(&made) {
        recorded.assert_within(fact, unlinks.ts.value(*row), unlinks.duration.value(*row));
        assert_eq!(text(&unlinks.comm, *row), "files");
    }

    // The workload sees all of these, of each kind.
    let errors = [libc::ENOENT, libc::EEXIST, libc::EACCES, libc::EISDIR, libc::ENOTDIR];
    for errno in errors.into_iter().chain([libc::ENOTEMPTY, libc::EINVAL]) {
        assert!(made.iter().any(|fact| fact.int32("result") == -errno), "errno {errno}");
    }
    for call in 0..=2 {
        let done = |fact: &Fact| fact.int32("call") == call && fact.int("result") == 0;
        assert!(made.iter().any(done), "call {call}");
    }
}
