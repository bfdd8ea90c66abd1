//! The tables of a lookback recording, each defined once.
//!
//! A recording is a directory: a manifest, and a folder of Parquet segments for each table. This
//! crate is all there is to know about it:
//!
//! - [`tables`] holds one file per table. The macros in [`mod@definition`] turn each definition into
//!   the row that BPF programs fill, the C struct they are compiled with, the Arrow schema, the
//!   column builders and the typed view that reports read.
//! - [`wire`] says how a row crosses from the kernel to user space.
//! - [`unwind`] says how stacks are walked that have no frame pointers.
//! - [`manifest`], [`segment`] and [`recording`] (feature `store`) write and read the files;
//!   [`repair`] finishes those of a killed recorder for other programs; [`redact`] replaces what tells
//!   of people; [`private`] makes files that only their owner reads, and [`regular`] opens those that
//!   somebody else has made.
//! - [`condition`] and `suggest` are what the command lines of both programs share: conditions on columns,
//!   and what somebody meant who misspelt a name.
//! - `symbols` (feature of that name) names the frames of stacks.
//!
//! Without the feature `store` only the definitions are left, without Arrow and Parquet: that is
//! what the build script needs to write the C header of the events.

#[macro_use]
pub mod wire;
#[macro_use]
pub mod definition;
pub mod condition;
#[cfg(feature = "store")]
pub mod suggest;
pub mod tables;
pub mod unwind;

#[cfg(feature = "store")]
pub mod cell;
#[cfg(feature = "store")]
mod encode;
#[cfg(feature = "store")]
pub mod error;
#[cfg(feature = "store")]
pub mod manifest;
#[cfg(feature = "store")]
pub mod private;
#[cfg(feature = "store")]
pub mod recording;
#[cfg(feature = "store")]
pub mod redact;
#[cfg(feature = "store")]
pub mod regular;
#[cfg(feature = "store")]
pub mod repair;
#[cfg(feature = "store")]
pub mod segment;
#[cfg(feature = "symbols")]
pub mod symbols;

pub use definition::{Column, Content, Kind, Table, Type, What};
pub use tables::TableId;

#[cfg(feature = "store")]
pub use error::Error;

/// The version of the recording format that this crate writes, and the newest that it reads.
///
/// A change that old readers cannot understand raises it. New tables and new nullable columns do
/// not: a reader skips what it does not know and takes a missing column as null.
pub const FORMAT_VERSION: u32 = 1;
