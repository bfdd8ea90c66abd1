//! Man pages and completions of a program, written from the definition of its command line.

use std::path::Path;

use anyhow::Context as _;
use clap_complete::Shell;

/// Writes `NAME.1`, with a page for each subcommand, into `man1` of a directory, and what completes its
/// command line in each shell into `completions`.
///
/// # Errors
/// If a file cannot be written.
pub fn write(command: clap::Command, directory: &Path) -> anyhow::Result<()> {
    let [pages, completions] = ["man1", "completions"].map(|name| directory.join(name));
    for folder in [&pages, &completions] {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    clap_mangen::generate_to(command.clone(), &pages)
        .with_context(|| pages.display().to_string())?;
    let name = command.get_name().to_owned();
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command.clone(), &name, &completions)
            .with_context(|| completions.display().to_string())?;
    }
    Ok(())
}
