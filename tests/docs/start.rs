//! Pages whose commands record: blocks marked `console live` are run one after the other, each in a folder of its
//! page's, and must work. What they print is another time's each time, so only words that do not change are compared.

use std::path::Path;
use std::process::Command;

use crate::docs::pages;
use crate::live::shared;
use crate::recording::RECORD;
use crate::running::run;

#[test]
fn five_minutes_are_as_the_page_says() {
    let Some(_turn) = shared(&["process", "profile", "offcpu", "open"]) else { return };
    let page = pages::read("docs/start.md");
    let directory = tempfile::tempdir().unwrap();
    let folders =
        [RECORD, env!("CARGO_BIN_EXE_analyze")].map(|program| Path::new(program).parent());
    let folders =
        folders.map(|folder| folder.expect("programs are in folders").display().to_string());
    let path = std::env::var("PATH").unwrap_or_default();
    let mut commands = 0;
    for block in page.blocks.iter().filter(|block| block.marked == "console live") {
        for example in block.text.split("$ ").filter(|example| !example.is_empty()) {
            let (command, shown) = example.split_once('\n').unwrap();
            let script = command.trim_start_matches("sudo ");
            let mut shell = Command::new("sh");
            shell.args(["-c", script]).current_dir(directory.path());
            let ended = run(shell.env("PATH", format!("{}:{path}", folders.join(":"))));
            assert!(ended.status.success(), "{command}: {}", ended.stderr);
            let printed = ended.stdout + &ended.stderr;
            // Names of columns and of programs; figures and their units are different.
            for word in shown.split_whitespace().filter(|word| word.chars().all(char::is_uppercase))
            {
                assert!(printed.contains(word), "{command}: no {word} in\n{printed}");
            }
            commands += 1;
        }
    }
    assert!(commands >= 6, "{commands}");
    assert!(directory.path().join("cpu.svg").metadata().unwrap().len() > 1000);
}
