//! `analyze`: answers questions from a recording. See the library `analyzer`.

use std::process::ExitCode;

use clap::Parser as _;

#[global_allocator]
static MEMORY: analyzer::memory::Counted = analyzer::memory::Counted::new();

fn main() -> ExitCode {
    if let Some(status) = lookback_schemas::symbols::worker::run_if_asked() {
        return status;
    }
    analyzer::cli::quiet_decoder();
    let cli = analyzer::cli::Cli::parse();
    MEMORY.limit(cli.max_memory.as_u64());
    match analyzer::cli::run(cli) {
        Ok(code) => code,
        Err(error) if analyzer::render::reader_left(&error) => ExitCode::SUCCESS,
        // Of the words after `diff`, which are a command line of their own.
        Err(error) if error.is::<clap::Error>() => {
            error.downcast::<clap::Error>().expect("it is one").exit()
        }
        Err(error) => {
            eprintln!("analyze: {}", analyzer::render::escaped(&format!("{error:#}")));
            ExitCode::from(2)
        }
    }
}
