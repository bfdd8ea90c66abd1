//! Other engines: they read every table as `analyze` does, and the views of `analyze views` say in them what our
//! reports say.
//!
//! The engines come from PyPI, in the versions of `tests/engines/*.txt`; what drives them and compares is Python,
//! beside those. `make test` tries DuckDB on the recordings in `fixtures/`. `make test-engines` also tries DataFusion,
//! Polars and two versions of Spark, and recordings of three hosts that are made for it: with Spark that takes minutes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::golden::fixtures;
use crate::live::{missing, shared};
use crate::recording::Record;
use crate::running::{Ended, Running, run};

/// Spark takes long to begin.
const LIMIT: Duration = Duration::from_secs(1800);

/// The Python of the environment that the Makefile makes under this name, where it has the module.
fn python(environment: &str, module: &str) -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let python = target.join(environment).join("bin/python");
    let found = python.exists()
        && run(Command::new(&python).args(["-c", &format!("import {module}")])).status.success();
    found.then_some(python)
}

/// Runs one of our Python programs in a directory.
fn run_python(python: &Path, program: &str, directory: &Path, arguments: &[&str]) -> Ended {
    let mut command = Command::new(python);
    command.env("PYTHONDONTWRITEBYTECODE", "1").current_dir(directory);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engines").join(program));
    let ended = Running::start(command.args(arguments)).end_within(LIMIT);
    assert!(ended.status.success(), "{program} {arguments:?}: {}{}", ended.stdout, ended.stderr);
    ended
}

/// Some recordings as three hosts had them: a tree by host.
fn hosts() -> (TempDir, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    let mut recordings = Vec::new();
    for (host, names) in [
        ("a", &["demo", "tracers"][..]),
        ("b", &["heap", "probes"]),
        ("c", &["kernel", "lossy", "offcpu"]),
    ] {
        let folder = directory.path().join(format!("host={host}"));
        std::fs::create_dir(&folder).unwrap();
        for name in names {
            let recording = format!("{name}.lookback");
            copy(&fixtures().join(&recording), &folder.join(&recording));
            recordings.push(format!("host={host}/{recording}"));
        }
    }
    (directory, recordings)
}

fn copy(from: &Path, to: &Path) {
    let ended = run(Command::new("cp").arg("-r").arg(from).arg(to));
    assert!(ended.status.success(), "{ended:?}");
}

/// Fails unless the engine says of the recordings of [`hosts`], and others, what our reports say; what was
/// compared.
fn compare(python: &Path, engine: &str, directory: &Path, recordings: &[String]) -> String {
    // Of a recording that lacks most tables, whose views are empty.
    if engine != "polars" {
        let arguments = [engine, env!("CARGO_BIN_EXE_analyze"), "host=c/kernel.lookback"];
        let said = run_python(python, "check.py", directory, &arguments).stdout;
        assert!(said.starts_with("46 views\n7 tables: "), "{said}");
    }
    let mut arguments = vec![engine, env!("CARGO_BIN_EXE_analyze")];
    arguments.extend(recordings.iter().map(String::as_str));
    let said = run_python(python, "check.py", directory, &arguments).stdout;
    // Or nothing would have been compared.
    assert!(
        said.starts_with(if engine == "polars" { "31 tables: " } else { "46 views\n" }),
        "{said}"
    );
    assert!(!said.contains(": 0 rows"), "{said}");
    said
}

const NOT_THERE: &str = "DuckDB is not installed (make engine-packages)";

#[test]
fn duckdb_says_what_our_reports_say() {
    let Some(python) = python("engines", "duckdb") else {
        return missing(NOT_THERE);
    };
    let (directory, recordings) = hosts();
    compare(&python, "duckdb", directory.path(), &recordings);
}

/// The page's second part, which DuckDB gives, begins so.
const QUERIES: &str = "\n# Ten queries\n";

#[test]
fn queries_of_the_tables_page_are_up_to_date() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/tables.md");
    let Some(python) = python("engines", "duckdb") else {
        return missing(NOT_THERE);
    };
    let analyze = env!("CARGO_BIN_EXE_analyze");
    let expected = run_python(&python, "queries.py", &fixtures(), &[analyze]).stdout;
    assert_eq!(expected.matches("```sql").count(), 10);
    let text = std::fs::read_to_string(&page).unwrap();
    let (tables, queries) = text.split_once(QUERIES).unwrap_or((&text, ""));
    if std::env::var_os("LOOKBACK_WRITE_DOCS").is_some_and(|value| value == "1") {
        std::fs::write(&page, format!("{tables}{QUERIES}{expected}")).unwrap();
        return;
    }
    let differing = std::iter::zip(queries.lines(), expected.lines()).find(|(old, new)| old != new);
    assert!(queries == expected, "docs/tables.md: `make docs` writes it: {differing:?}");
}

/// Recordings of three hosts, made now of a workload that allocates, forks and waits.
fn record_three(directory: &Path) -> Vec<String> {
    let workloads: [(&str, &[&str], &[&str]); 3] = [
        ("a", &[], &["heap", "sites"]),
        ("b", &["--alloc-sample", "4KiB"], &["heap", "sites"]),
        ("c", &[], &["heap", "forks"]),
    ];
    let each = workloads.into_iter().map(|(host, options, workload)| {
        let record = Record::trace("process,runq,alloc,kalloc,syscall,profile");
        let record = record.options(["--alloc-follow"]).options(options);
        let recorded = record.workload(workload[0], &workload[1..]).run();
        copy(recorded.recording.directory(), &directory.join(format!("host={host}/live.lookback")));
        format!("host={host}/live.lookback")
    });
    each.collect()
}

/// The engines of `LOOKBACK_ENGINES`: by what name, in which environment, which module, and how [`compare`] calls it.
const ENGINES: [(&str, &str, &str, &str); 5] = [
    ("duckdb", "engines", "duckdb", "duckdb"),
    ("datafusion", "engines", "datafusion", "datafusion"),
    ("polars", "engines", "polars", "polars"),
    ("spark", "engines", "pyspark", "spark"),
    ("spark35", "engines-spark35", "pyspark", "spark"),
];

#[test]
fn every_engine_says_what_our_reports_say() {
    let Ok(asked) = std::env::var("LOOKBACK_ENGINES") else {
        eprintln!("left out: engines that are slow to install or to start (make test-engines)");
        return;
    };
    let (directory, mut recordings) = hosts();
    if let Some(_turn) = shared(&["process", "runq", "alloc", "kalloc", "syscall", "profile"]) {
        recordings.extend(record_three(directory.path()));
    }
    for name in asked.split(',') {
        let engine = ENGINES.iter().find(|engine| engine.0 == name);
        let (_, environment, module, engine) = engine.unwrap_or_else(|| panic!("no engine {name}"));
        let python = python(environment, module);
        let python = python.unwrap_or_else(|| panic!("{name} is missing: make test-engines"));
        eprintln!("{name}:\n{}", compare(&python, engine, directory.path(), &recordings));
    }
}
