//! Looking back at what `record` recorded: everything behind the program `analyze`.
//!
//! A recording is self-contained: the reports in this crate read its tables and nothing else, so
//! they run on any machine, without privileges, long after the processes are gone. Each report is
//! one module:
//!
//! - [`info`] and [`check`] tell what a recording is and whether it is whole;
//! - [`processes`], [`signals`], [`syscalls`], [`opens`], [`unlinks`], [`runqlat`], [`offcpu`], [`irqs`], [`tcp`],
//!   [`lsm`], [`gc`], [`commands`], [`probes`], [`spans`], [`memleak`], [`flamegraph`] and
//!   [`histogram`] answer questions;
//! - [`report`] puts what they answer on one page;
//! - [`diff`] compares two recordings, by any of these;
//! - [`cat`] prints the rows of any table;
//! - [`views`] prints SQL with which other programs read recordings;
//! - [`export`] writes what other programs read;
//! - [`redact`] copies a recording without what tells of people;
//! - [`repair`] makes a killed recording readable for other programs;
//! - [`manual`] writes man pages and completions;
//! - [`symbolize`] names frames later and elsewhere, with what [`bundle`] packs.
//!
//! Each is written for one recording; [`hosts`] makes one report of several. They share how a recording is narrowed down ([`window`] in time, [`scope`] to processes), how
//! its rows are put into order ([`timeline`]) or added up ([`tally`], [`distribution`]), by steps of
//! time ([`bins`]) or as stretches of it ([`intervals`], [`waits`]), who a pid
//! was at a time ([`lifetimes`]), what memory was held ([`blocks`], [`heap`], [`mapped`]) in which
//! address space ([`spaces`]) and what it adds up to ([`sites`]), what stacks are called ([`stacks`]),
//! what is missing ([`losses`]), and how rows are printed ([`render`]). [`memory`] bounds what all of
//! that takes.
#![cfg(feature = "analyze")]
#![warn(missing_docs)]

pub mod bins;
pub mod blocks;
pub mod bundle;
pub mod cat;
pub mod check;
pub mod cli;
pub mod commands;
pub mod diff;
pub mod distribution;
pub mod export;
pub mod files;
pub mod flamegraph;
pub mod gc;
pub mod heap;
pub mod histogram;
pub mod hosts;
pub mod info;
pub mod intervals;
pub mod irqs;
pub mod lifetimes;
pub mod losses;
pub mod lsm;
pub mod manual;
pub mod mapped;
pub mod memleak;
pub mod memory;
pub mod offcpu;
pub mod opens;
pub mod probes;
pub mod processes;
pub mod redact;
pub mod render;
pub mod repair;
pub mod replay;
pub mod report;
pub mod runqlat;
pub mod scope;
pub mod signals;
pub mod sites;
pub mod spaces;
pub mod spans;
pub mod stacks;
pub mod symbolize;
pub mod syscalls;
pub mod tally;
pub mod tcp;
pub mod timeline;
pub mod unlinks;
pub mod views;
pub mod waits;
pub mod window;

pub use lookback_schemas::lines::codes;

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod made;
