//! `record`: attaches tracers and writes what they see into a recording.
//!
//! The way of an event: a BPF program (`bpf/`) puts a record into its CPU's ring buffer ([`maps`]);
//! the [`drain`] thread takes it out and into the columns of its table; once a second, or when they
//! are many, the rows of each table go as a batch to the [`writer`] thread, which encodes them to
//! Parquet. [`session`] starts all that and ends it.

mod allocators;
mod binaries;
mod chunks;
mod cli;
mod clocks;
mod code_events;
mod command;
mod cures;
mod custom;
mod drain;
mod finder;
mod flight;
mod freeze;
mod hooks;
mod jit;
mod keep;
mod lacks;
mod list;
mod live;
#[path = "../analyzer/manual.rs"]
mod manual;
mod mappings;
mod maps;
mod missed;
mod new_code;
mod output;
mod overload;
mod owner;
mod perf_map;
mod places;
mod privileges;
mod probes;
mod progress;
mod runtimes;
mod selection;
mod service;
mod session;
mod shells;
mod sites;
mod snapshot;
mod stacks;
mod symbols;
mod targets;
mod tracers;
mod triggers;
mod types;
mod unfinished;
mod unwind;
mod writer;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

/// Column builders and encoders allocate and free large buffers all the time: mimalloc makes the
/// whole path about a tenth cheaper than glibc's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if let Some(status) = lookback_schemas::symbols::worker::run_if_asked() {
        return status;
    }
    let args = match cli::Args::try_parse() {
        Ok(args) => args,
        Err(error) if error.use_stderr() => {
            eprintln!("record: {}", cli::in_one_line(&error));
            return ExitCode::from(2);
        }
        // --help and --version.
        Err(error) => error.exit(),
    };
    let result = match (&args.action, &args.list_probes) {
        (Some(cli::Action::Snapshot { recording }), _) => flight::ask(recording).map(|made| {
            println!("{}", made.display());
            0
        }),
        (Some(cli::Action::Manual { directory }), _) => {
            manual::write(cli::Args::command(), directory).map(|()| 0)
        }
        (None, Some(pattern)) => custom::list::list(&args, pattern),
        (None, None) if args.list => list::list(&args),
        (None, None) => session::record(&args),
    };
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("record: {error:#}");
            ExitCode::from(2)
        }
    }
}
