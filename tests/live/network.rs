//! `analyze` and the network: it is left alone.

use std::process::Command;

use analyzer::cli::Cli;
use arrow::array::Array as _;
use clap::CommandFactory as _;
use lookback_schemas::cell::View as _;
use lookback_schemas::tables::{Exec, Syscall};

use super::{missing, shared};
use crate::recording::{Record, Recorded, rows_where, text};
use crate::running::run;
use crate::workload;

/// A server that nobody is.
const SERVER: &str = "http://127.0.0.1:9";

/// What follows the name of a command, `$R` being a recording, and `$D` a folder to write to; `None` for a
/// command that has commands of its own.
fn arguments(command: &str) -> Option<&'static str> {
    Some(match command {
        "info" | "check" | "processes" | "signals" | "syscalls" | "opens" | "unlinks"
        | "runqlat" | "offcpu" | "irqs" | "lsm" | "gc" | "commands" | "probes" | "spans"
        | "memleak" | "repair" | "symbolize" | "connects" | "states" | "lives" | "rtt" => "$R",
        "tcp" => return None,
        "flamegraph" => "$R --folded",
        "histogram" => "$R exit duration",
        "cat" => "$R exec",
        "views" => "--engine duckdb $R",
        "diff" => "$R $R",
        "export" => "$R --format pprof -o $D/cpu.pb.gz",
        "report" => "$R -o $D/report.html",
        "manual" => "$D/manual",
        "bundle" => "$R -o $D/bundle.tar.zst",
        "redact" => "$R -o $D/redacted",
        unknown => panic!("how is `analyze {unknown}` called?"),
    })
}

/// Every command of `analyze`, as it is called.
fn commands() -> Vec<String> {
    let cli = Cli::command();
    let mut commands = Vec::new();
    for command in cli.get_subcommands().filter(|command| command.get_name() != "help") {
        match arguments(command.get_name()) {
            Some(arguments) => commands.push(format!("{} {arguments}", command.get_name())),
            None => {
                for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
                    let arguments = arguments(inner.get_name()).expect("commands nest once");
                    commands.push(format!(
                        "{} {} {arguments}",
                        command.get_name(),
                        inner.get_name()
                    ));
                }
            }
        }
    }
    commands
}

/// Records the system calls of the network, and exit, that these commands make.
fn record(commands: &[String]) -> Recorded {
    let directory = tempfile::tempdir().unwrap();
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/demo.lookback");
    let copied =
        run(Command::new("cp").args(["-r", fixture]).arg(directory.path().join("recording")));
    assert!(copied.status.success(), "{}", copied.stderr);
    let run_all: String = commands
        .iter()
        .map(|command| format!("\"$A\" {command} > /dev/null 2>&1 || echo \"failed: {command}\"\n"))
        .collect();
    let script = format!("A=$0 D=$1 R=$1/recording\n{run_all}");
    let calls = "socket,socketpair,connect,bind,sendto,sendmsg,exit_group";
    let record = Record::trace("process,syscall").options(["--syscall", calls]);
    let record =
        record.env("DEBUGINFOD_URLS", SERVER).env("DEBUGINFOD_CACHE_PATH", directory.path());
    let record = record.options(["--", "sh", "-c", &script, env!("CARGO_BIN_EXE_analyze")]);
    let recorded = record.options([directory.path()]).run();
    assert_eq!(recorded.stdout(), "", "all commands work");
    recorded.assert_nothing_of_ours_lost();
    recorded
}

/// How often `analyze` was run, and its calls but those that end it.
fn runs_and_calls(recorded: &Recorded) -> (usize, usize, Vec<i32>) {
    let execs = recorded.table::<Exec>();
    let runs = rows_where(&execs, |row| text(&execs.comm, row) == "analyze");
    let calls = recorded.table::<Syscall>();
    let own = rows_where(&calls, |row| text(&calls.comm, row) == "analyze");
    let ends = |row: &&usize| calls.number.value(**row) == libc::SYS_exit_group as i32;
    assert!(calls.comm.len() == calls.rows());
    let others = own.iter().filter(|row| !ends(row)).map(|row| calls.number.value(*row)).collect();
    (runs.len(), own.iter().filter(ends).count(), others)
}

#[test]
fn no_command_of_analyze_opens_the_network() {
    let Some(_turn) = shared(&["process", "syscall"]) else { return };
    let commands = commands();
    assert!(commands.len() > 25, "{commands:?}");
    let recorded = record(&commands);
    let (runs, ends, calls) = runs_and_calls(&recorded);
    assert!(runs >= commands.len() && ends >= commands.len(), "{runs} runs, {ends} ends");
    assert_eq!(calls, [0; 0], "numbers of system calls");
}

#[test]
fn the_network_is_seen_where_a_server_is_asked() {
    let Some(_turn) = shared(&["process", "syscall"]) else { return };
    if !cfg!(feature = "debuginfod") {
        return missing("this is built without debuginfod");
    }
    if !workload::is_installed("sh") {
        return missing("there is no shell");
    }
    let recorded = record(&["symbolize $R --debuginfod env".to_owned()]);
    let (_, _, calls) = runs_and_calls(&recorded);
    let wanted = [libc::SYS_socket, libc::SYS_connect].map(|number| number as i32);
    assert!(wanted.iter().all(|call| calls.contains(call)), "{calls:?}");
}
