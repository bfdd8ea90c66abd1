//! The book (`docs/`): what it shows is what the programs print, and what it names is there.
//!
//! - [`examples`]: a block marked `console` is run; see there.
//! - [`commands`]: every `record …` and `analyze …` that a page names is one that the program takes.
//! - [`structure`]: links lead somewhere, every tracer has its page, every report is named.
//! - [`start`]: the commands that record are run as the page has them.
//! - [`format`]: the reader in Python reads, and no field of the manifest is left out.

mod commands;
mod examples;
mod format;
mod pages;
mod start;
mod structure;
