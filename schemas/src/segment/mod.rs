//! Segments: the Parquet files of a table, and how they survive a killed recorder.
//!
//! A Parquet file can be read only once it has its footer, and that is written when it is closed. A
//! recorder that is killed would leave files that no program opens. So each time a segment has a new
//! row group, the footer that the file would have if it ended here is written beside it, into the
//! *sidecar* `000001.parquet.footer`, which is renamed into place. [`open`] reads a file by its own
//! footer, or else by its sidecar; there is no repair step, and what is lost is the row group that
//! was being written.
//!
//! A killed process loses nothing of what it has written, but a machine that stops loses what the disk did
//! not have yet. A segment that ends is brought to the disk, and only then its sidecar goes: from then on
//! its rows are safe. Of the one that was being written, the disk may have the sidecar and not all of the
//! row groups that it lists; those that it has are read ([`Segment::cut_off`]).
//!
//! [`TableWriter`] writes the segments of one table. It starts a new one when the current one is
//! large or old. Row groups of a quiet table are small, since each holds one second, and small row
//! groups cost space: a segment that ends is therefore rewritten with large ones, beside the old one
//! and renamed over it.

mod read;
mod replace;
mod write;

use std::path::{Path, PathBuf};

pub use read::{Segment, is_decoding, open};
pub use replace::replace;
pub use write::{Ended, ROW_GROUP_ROWS, Rotation, TableWriter};

/// The sidecar of a segment.
#[must_use]
pub fn sidecar(segment: &Path) -> PathBuf {
    let mut name = segment.file_name().unwrap_or_default().to_owned();
    name.push(".footer");
    segment.with_file_name(name)
}
