//! Kernels that do not tell their types, which `--btf` then has.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::files::check_opens;
use super::shared;
use crate::recording::{RECORD, Record, without_types};
use crate::running::run;
use crate::workload;

/// What the kernel tells, as a file that somebody brought along.
fn brought() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("types.btf");
    std::fs::copy("/sys/kernel/btf/vmlinux", &file).unwrap();
    (directory, file)
}

#[test]
fn a_kernel_without_types_is_told_what_to_do() {
    let Some(_turn) = shared(&["open"]) else { return };
    for action in ["--list", "--duration=1s"] {
        let ended = run(without_types(RECORD.as_ref()).arg(action));
        assert_eq!(ended.status.code(), Some(2), "{ended:?}");
        assert!(ended.stderr.contains("CONFIG_DEBUG_INFO_BTF"), "{ended:?}");
        assert!(ended.stderr.contains("--btf FILE"), "{ended:?}");
    }
}

#[test]
fn files_without_a_kernels_types_are_refused() {
    let Some(_turn) = shared(&["open"]) else { return };
    let nothing = Path::new("/nonexistent/file").to_owned();
    for file in [nothing, workload::path("files")] {
        let ended = run(std::process::Command::new(RECORD).arg("--list").arg("--btf").arg(&file));
        assert_eq!(ended.status.code(), Some(2), "{ended:?}");
        let named = format!("--btf {}", file.display());
        assert!(ended.stderr.contains(&named), "{ended:?}");
    }
}

#[test]
fn types_can_be_brought_along() {
    let Some(_turn) = shared(&["open"]) else { return };
    let (_directory, file) = brought();
    let opened = tempfile::tempdir().unwrap();
    let recorded = Record::trace("open")
        .without_types()
        .options(["--btf".as_ref(), file.as_os_str()])
        .workload("files", ["opens", opened.path().to_str().unwrap()])
        .run();
    recorded.assert_nothing_of_ours_lost();
    check_opens(&recorded);
}

/// The tracers that work, by `record --list`.
fn working(list: &str) -> Vec<&str> {
    let mut working = Vec::new();
    for line in list.lines() {
        if !line.starts_with(' ') {
            working.extend(line.split(' ').next());
        } else if line.trim_start().starts_with("does not work") {
            working.pop();
        }
    }
    working
}

#[test]
fn tracers_work_with_types_that_were_brought_along() {
    let Some(_turn) = shared(&["open"]) else { return };
    let (_directory, file) = brought();
    let told = run(std::process::Command::new(RECORD).arg("--list"));
    let brought = run(without_types(RECORD.as_ref()).arg("--list").arg("--btf").arg(&file));
    assert!(brought.status.success(), "{brought:?}");
    let mut expected = working(&told.stdout);
    // The kernel itself must know the types of what security modules are asked.
    expected.retain(|tracer| *tracer != "lsmconnect");
    assert_eq!(working(&brought.stdout), expected, "{}", brought.stdout);
}
