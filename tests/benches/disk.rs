//! What recordings take on disk.

use std::path::Path;

use anyhow::Result;
use lookback_schemas::TableId;
use lookback_schemas::recording::Recording;

/// A table of a recording.
#[derive(Clone, Copy, Debug)]
pub struct Stored {
    /// Its rows,
    pub rows: u64,
    /// and the bytes of its files.
    pub bytes: u64,
}

impl Stored {
    /// What one row takes.
    pub fn per_row(self) -> f64 {
        self.bytes as f64 / self.rows as f64
    }
}

/// What the table takes.
///
/// # Errors
/// If the recording cannot be read.
pub fn table(recording: &Path, table: TableId) -> Result<Stored> {
    let mut stored = Stored { rows: 0, bytes: 0 };
    for segment in Recording::open(recording)?.segments(table)? {
        stored.rows += segment.rows();
        stored.bytes += std::fs::metadata(segment.path())?.len();
    }
    Ok(stored)
}
