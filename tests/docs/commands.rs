//! Commands that the pages name, in blocks and in the text, are ones that the programs take.
//!
//! A command ends at two spaces, behind which stands what it does, at a `#` or at a pipe. `REC` is any
//! recording. What has `…` in it is no command but a pattern.

use std::path::Path;
use std::process::Command;

use crate::docs::pages::{self, Page};
use crate::golden;
use crate::recording::RECORD;
use crate::running::run;

const ANALYZE: &str = env!("CARGO_BIN_EXE_analyze");

/// Recordings that between them have rows in every table.
const FIXTURES: [&str; 6] = ["tracers", "demo", "offcpu", "heap", "probes", "kernel"];

/// What a word of a command line stands for if it names a recording.
const ANY_RECORDING: &str = "REC";

/// The commands of this program on a page.
fn commands(page: &Page, program: &str) -> Vec<String> {
    let blocks = page
        .blocks
        .iter()
        .filter(|block| matches!(&*block.marked, "" | "console" | "console live" | "sh"));
    let joined: Vec<String> = blocks
        .map(|block| block.text.split("\\\n").map(str::trim).collect::<Vec<_>>().join(" "))
        .collect();
    let lines =
        joined.iter().flat_map(|text| text.lines()).chain(page.spans.iter().map(|span| &**span));
    let mut commands = Vec::new();
    for line in lines {
        let line = line.trim().trim_start_matches("$ ").trim_start_matches("sudo ");
        let Some(arguments) = line.strip_prefix(program).and_then(|rest| rest.strip_prefix(' '))
        else {
            continue;
        };
        if !arguments.contains('…') {
            commands.push(command(arguments.trim()).to_owned());
        }
    }
    commands
}

/// The part of a line that is the command.
fn command(line: &str) -> &str {
    let ends = ["  ", " #", " | ", " > ", " && "].map(|end| line.match_indices(end));
    let ends = ends.into_iter().flatten().map(|(end, _)| end);
    let quoted = |end: &usize| line[..*end].matches('\'').count() % 2 == 1;
    &line[..ends.filter(|end| !quoted(end)).min().unwrap_or(line.len())]
}

/// The words of a command line, as a shell divides it.
fn words(arguments: &str) -> Vec<String> {
    let script = format!("for word in {arguments}; do printf '%s\\0' \"$word\"; done");
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_terminator('\0').map(str::to_owned).collect()
}

/// Why `record` does not take this, if so. It is asked to write where something is already, which it says when
/// the command line is read and every tracer found, and before it needs anything of the kernel.
fn refused(arguments: &str) -> Option<String> {
    let mut words = words(arguments);
    let command = words.iter().position(|word| word == "--").unwrap_or(words.len());
    let command = words.split_off(command);
    if let Some(output) = words.iter().position(|word| word == "-o" || word == "--output") {
        words.drain(output..output + 2);
    }
    let only_read = ["--list", "--list-probes", "snapshot", "--version", "--help"];
    if words.iter().any(|word| only_read.contains(&word.as_str())) {
        let ended = run(Command::new(RECORD).args(words).arg("--help"));
        return (!ended.status.success()).then_some(ended.stderr);
    }
    let directory = tempfile::tempdir().unwrap();
    let mut record = Command::new(RECORD);
    record.args(words).arg("--output").arg(directory.path()).args(command);
    let ended = run(&mut record);
    (!ended.stderr.contains("exists already; choose another")).then_some(ended.stderr)
}

/// Whether `analyze` has something to say to this, about any of the recordings; an error if it takes it of none.
fn answers(arguments: &str) -> Result<bool, String> {
    let words = words(arguments);
    let writes = ["symbolize", "bundle", "repair", "redact"];
    if words.first().is_none_or(|word| writes.contains(&word.as_str()))
        || arguments.contains("--help")
    {
        let ended = run(Command::new(ANALYZE).args(words).arg("--help"));
        return if ended.status.success() { Ok(true) } else { Err(ended.stderr) };
    }
    let directory = tempfile::tempdir().unwrap();
    let mut said = Err("there are no recordings".to_owned());
    for fixture in FIXTURES {
        let recording = golden::fixtures().join(format!("{fixture}.lookback"));
        let mut analyze = Command::new(ANALYZE);
        analyze.current_dir(directory.path());
        analyze.args(words.iter().map(|word| match word.as_str() {
            ANY_RECORDING => recording.as_os_str(),
            word => word.as_ref(),
        }));
        let ended = run(&mut analyze);
        let files = std::fs::read_dir(directory.path()).unwrap().count();
        if ended.status.success() {
            if files > 0 || says_something(&ended.stdout) {
                return Ok(true);
            }
            said = Ok(false);
        } else if said.is_err() {
            said = Err(ended.stderr);
        }
    }
    said
}

/// Whether there is more than a heading and the names of columns.
fn says_something(report: &str) -> bool {
    report.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).count() > 1
}

#[test]
fn commands_of_record_are_ones_that_it_takes() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for page in pages::all() {
        for command in commands(&page, "record") {
            count += 1;
            if let Some(why) = refused(&command) {
                wrong.push(format!("{}: record {command}: {}", page.path.display(), why.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 60, "{count} commands");
    assert!(refused("--trace nosuch").is_some() && refused("--nosuch -- true").is_some());
}

#[test]
fn commands_of_analyze_are_ones_that_it_takes() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for page in pages::all() {
        // Who looks for what another tool shows must find it: there are rows.
        let rows = page.path == Path::new("docs/from.md");
        for command in commands(&page, "analyze") {
            if !words(&command).iter().any(|word| word == ANY_RECORDING || word.ends_with("help")) {
                // Its recording is one of the page's own.
                continue;
            }
            count += 1;
            let why = match answers(&command) {
                Err(why) => why,
                Ok(false) if rows => "it has no rows in any recording".to_owned(),
                Ok(_) => continue,
            };
            wrong.push(format!("{}: analyze {command}: {}", page.path.display(), why.trim()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 60, "{count} commands");
    assert!(answers("nosuch REC").is_err() && answers("opens REC --comm nobody") == Ok(false));
}
