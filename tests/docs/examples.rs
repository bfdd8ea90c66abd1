//! Examples that are run.
//!
//! In a block marked `console`, each line `$ COMMAND` is run by a shell where the recordings of `fixtures/` lie
//! and `analyze` is this one; the lines below it, up to the next `$` or the end, are what it must print. A line
//! that is only `…` stands for any lines, also none. `make docs` writes what a page should have into it, for the
//! commands of which it has something else; shorten it by hand then.

use std::process::Command;

use crate::docs::pages::{self, Block};
use crate::golden;

/// Stands for any lines.
const ANY: &str = "…";

/// A command and what it is to print.
struct Example {
    command: String,
    shown: Vec<String>,
}

/// The examples of a block.
fn examples(block: &Block) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    for line in block.text.lines() {
        match (line.strip_prefix("$ "), examples.last_mut()) {
            (Some(command), _) => {
                examples.push(Example { command: command.to_owned(), shown: Vec::new() });
            }
            (None, Some(example)) => example.shown.push(line.to_owned()),
            (None, None) => panic!("a console block begins with a command, not with {line}"),
        }
    }
    examples
}

/// What the command prints, on both outputs, with no spaces at the ends of lines.
fn printed(command: &str) -> Vec<String> {
    let analyze = std::path::Path::new(env!("CARGO_BIN_EXE_analyze"));
    let folder = analyze.parent().expect("it is in a folder").display();
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("sh")
        .args(["-c", &format!("{{ {command}; }} 2>&1")])
        .current_dir(golden::fixtures())
        .env("PATH", format!("{folder}:{path}"))
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stdout));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.trim_end().to_owned()).collect()
}

/// Whether lines are those that are shown.
fn matches(shown: &[String], printed: &[String]) -> bool {
    match shown {
        [] => printed.is_empty(),
        [any, rest @ ..] if any == ANY => {
            (0..=printed.len()).any(|left_out| matches(rest, &printed[left_out..]))
        }
        [line, rest @ ..] => printed.first() == Some(line) && matches(rest, &printed[1..]),
    }
}

#[test]
fn examples_print_what_the_book_shows() {
    let write = std::env::var_os("LOOKBACK_WRITE_DOCS").is_some_and(|value| value == "1");
    let mut wrong = Vec::new();
    let mut count = 0;
    for page in pages::all() {
        let mut text = page.text.clone();
        // From the end, so that the places before stay what they are.
        for block in page.blocks.iter().rev().filter(|block| block.marked == "console") {
            let mut anew = String::new();
            for Example { command, shown } in examples(block) {
                count += 1;
                let printed = printed(&command);
                let right = matches(&shown, &printed);
                let lines = if right { &shown } else { &printed };
                anew += &format!("$ {command}\n");
                anew.extend(lines.iter().map(|line| format!("{line}\n")));
                if !right && !write {
                    let first = lines.iter().zip(&shown).find(|(printed, shown)| printed != shown);
                    wrong.push(format!("{}: {command}\n{first:?}", page.path.display()));
                }
            }
            text.replace_range(block.place.clone(), &anew);
        }
        if text != page.text && write {
            std::fs::write(pages::top().join(&page.path), text).unwrap();
        }
    }
    assert!(wrong.is_empty(), "`make docs` writes what is printed:\n{}", wrong.join("\n"));
    assert!(count > 30, "{count} examples");
}

#[test]
fn dots_stand_for_any_lines_and_nothing_else_does() {
    let fits = |shown: &str, printed: &str| {
        let lines = |text: &str| text.split_terminator('|').map(str::to_owned).collect::<Vec<_>>();
        matches(&lines(shown), &lines(printed))
    };
    assert!(fits("a|b", "a|b") && fits("…", "") && fits("a|…|d|…", "a|b|c|d"));
    assert!(!fits("a|b", "a|c") && !fits("a", "a|b") && !fits("a|b", "a"));
    assert!(!fits("a|…|e", "a|b|c|d") && !fits("…|a", "a|b"));
}
