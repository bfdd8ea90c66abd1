//! `record --live`: what is printed is what is recorded, and never in its way.

use std::io::{PipeReader, Read as _};
use std::process::{Command, Stdio};

use lookback_schemas::TableId;
use lookback_schemas::tables::Open;
use tempfile::TempDir;

use super::shared;
use crate::command_line::refused;
use crate::recording::{RECORD, Record, Recorded, rows_where, texts};
use crate::running::{Running, run, wait_for};

/// The lines of a table, without their first columns where those say the table, and with single spaces.
fn printed(output: &str, table: &str) -> Vec<String> {
    let lines = output.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let of_table = lines.filter(|words| words.len() > 2 && words[1] == table);
    of_table.map(|words| [&words[..1], &words[2..]].concat().join(" ")).collect()
}

/// The rows of a report as it prints them, with single spaces.
fn reported(recorded: &Recorded, report: &[&str]) -> Vec<String> {
    let mut analyze = Command::new(env!("CARGO_BIN_EXE_analyze"));
    let (command, options) = report.split_at(1);
    let ended = run(analyze.args(command).arg(recorded.recording.directory()).args(options));
    assert!(ended.status.success(), "{}", ended.stderr);
    let lines = ended.stdout.lines().filter(|line| !line.starts_with('#')).skip(1);
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn the_lines_are_the_rows_in_the_order_of_time() {
    let Some(_turn) = shared(&["process", "open"]) else { return };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let recorded =
        Record::trace("process,open").options(["--live"]).workload("files", ["opens", path]).run();
    recorded.assert_nothing_of_ours_lost();
    let stdout = recorded.stdout();
    for (table, report) in [
        ("open", &["opens"][..]),
        ("exec", &["processes", "--execs"]),
        ("exit", &["processes", "--exits"]),
    ] {
        let lines = printed(stdout, table);
        assert!(!lines.is_empty(), "{table}: {stdout}");
        assert_eq!(lines, reported(&recorded, report), "{table}");
    }
    let headers = stdout.lines().filter(|line| line.starts_with("TIME")).count();
    assert_eq!(headers, 3, "one for each table that has rows: {stdout}");
    assert!(stdout.contains("TIME         TABLE      PID     COMM              FD ERR    PATH"));
}

#[test]
fn names_choose_and_what_is_not_named_is_not_printed() {
    let Some(_turn) = shared(&["process", "open"]) else { return };
    let record =
        |live: &str| Record::trace("process,open").options([live]).workload("quiet", [""; 0]).run();
    // A table of tracer `process` that has no lines where it is not named.
    let recorded = record("--live=fork,open");
    let words = |line: &str| line.split_whitespace().nth(1).map(str::to_owned);
    let tables: Vec<String> = recorded.stdout().lines().filter_map(words).collect();
    assert!(tables.iter().all(|table| ["TABLE", "open", "fork"].contains(&table.as_str())));
    assert_eq!(record("--live=exec").stdout().lines().count(), 2, "a header and an exec");
    for unknown in ["--live=nosuch", "--live=signal", "--live=stack"] {
        let ended = refused(&["--trace", "process", unknown]);
        assert!(ended.stderr.contains("no tracer of that name"), "{}", ended.stderr);
    }
}

#[test]
fn what_was_typed_cannot_steer_the_terminal() {
    let Some(_turn) = shared(&["process"]) else { return };
    let hostile = "\x1b]0;owned\x07\r\n\u{9b}31m\u{202e}";
    let recorded =
        Record::trace("process").options(["--live=exec"]).workload("quiet", [hostile]).run();
    let lines = printed(recorded.stdout(), "exec");
    assert_eq!(lines.len(), 1, "{}", recorded.stdout());
    assert!(
        lines[0].ends_with("\\x1b]0;owned\\x07\\r\\n\\u{9b}31m\\u{202e}"),
        "spelled out: {lines:?}"
    );
    let steers = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
    assert!(!recorded.stdout().contains(steers), "{:?}", recorded.stdout());
}

#[test]
fn what_is_redacted_is_not_printed_either() {
    let Some(_turn) = shared(&["process"]) else { return };
    let options = ["--live=exec", "--redact", "argv,paths"];
    let recorded =
        Record::trace("process").options(options).workload("quiet", ["secret-word"]).run();
    let execs = recorded.table::<lookback_schemas::tables::Exec>();
    let token = texts(&execs.argv.value(0))[1].clone();
    assert!(token.starts_with('~'), "{token}");
    assert!(!recorded.stdout().contains("secret-word"), "{}", recorded.stdout());
    assert!(printed(recorded.stdout(), "exec")[0].ends_with(&token), "{}", recorded.stdout());
}

#[test]
fn what_is_only_counted_is_told_as_a_number() {
    let Some(_turn) = shared(&["process", "runq"]) else { return };
    // Nobody sees waits one by one without asking for them.
    let recorded =
        Record::trace("process,runq").options(["--live"]).workload("quiet", [""; 0]).run();
    let lines = printed(recorded.stdout(), "counted");
    let number = |line: &String, table: &str| -> u64 {
        let words = line.split(' ').filter_map(|word| word.split_once('='));
        words.filter(|(name, _)| *name == table).map(|(_, rows)| rows.parse::<u64>().unwrap()).sum()
    };
    let told: u64 = lines.iter().map(|line| number(line, "runq")).sum();
    let rows = recorded.recording.manifest().totals[TableId::Runq.name()].rows;
    assert_eq!(told, rows, "{}", recorded.stdout());
    assert_eq!(printed(recorded.stdout(), "runq"), Vec::<String>::new());
}

/// Opens files for some seconds, far more than a pipe takes lines.
const OPENS: usize = 6000;
const MANY: &str = "for round in 1 2 3 4 5 6; do
        i=0; while [ $i -lt 1000 ]; do : < /dev/null; i=$((i + 1)); done; sleep 0.8
    done; : > \"$1/done\"; sleep 1.5";

/// Records that with its standard output into a pipe.
fn record_many(directory: &TempDir) -> (Running, PipeReader) {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = Command::new(RECORD);
    command.args(["--quiet", "--trace", "open", "--live=open", "--output"]);
    command.arg(directory.path().join("recording")).args(["--", "sh", "-c", MANY, "sh"]);
    command.arg(directory.path()).stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped());
    (Running::start_as_is(&mut command), reader)
}

/// Fails unless all of that was recorded; gives how many rows there are, and the number in what was said.
fn all_recorded(directory: TempDir, running: Running) -> (usize, usize) {
    let ended = running.end();
    assert!(ended.status.success(), "{}", ended.stderr);
    let left = match ended.stderr.split_once(" rows were recorded and not shown") {
        Some((before, _)) => number(before.trim_start_matches("record: ")),
        None => 0,
    };
    let recorded = Recorded::open(directory, ended);
    recorded.assert_nothing_of_ours_lost();
    let opens = recorded.table::<Open>();
    let ours = rows_where(&opens, |row| opens.path.value(row) == "/dev/null");
    assert_eq!(ours.len(), OPENS, "each open is recorded");
    (opens.ts.values().len(), left)
}

fn number(text: &str) -> usize {
    text.replace(',', "").parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn a_reader_that_never_reads_holds_nothing_up() {
    let Some(_turn) = shared(&["open"]) else { return };
    let directory = tempfile::tempdir().unwrap();
    let (running, mut reader) = record_many(&directory);
    let (rows, left) = all_recorded(directory, running);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    let shown = printed(&text, "open").len();
    assert!(0 < shown && shown < rows, "{shown} of {rows}");
    // What was on its way when the pipe was full counts as not shown.
    assert!((rows..rows + 400).contains(&(shown + left)), "{shown} + {left}, {rows}");
}

#[test]
fn a_reader_that_comes_late_is_told_what_it_missed() {
    let Some(_turn) = shared(&["open"]) else { return };
    let directory = tempfile::tempdir().unwrap();
    let (running, mut reader) = record_many(&directory);
    let done = directory.path().join("done");
    wait_for("the workload", || done.exists().then_some(()));
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    let (rows, left) = all_recorded(directory, running);
    let missed =
        text.lines().filter_map(|line| line.strip_prefix("… ")?.strip_suffix(" rows not shown"));
    let missed: Vec<usize> = missed.map(number).collect();
    assert!(!missed.is_empty(), "there were too many");
    assert_eq!(printed(&text, "open").len() + missed.iter().sum::<usize>(), rows);
    assert_eq!(left, 0);
}

#[test]
fn recording_goes_on_when_nobody_reads_any_more() {
    let Some(_turn) = shared(&["open"]) else { return };
    let directory = tempfile::tempdir().unwrap();
    let (running, reader) = record_many(&directory);
    drop(reader);
    let (rows, left) = all_recorded(directory, running);
    assert_eq!(left, rows);
}
