//! How the stacks of programs were walked, and how many are whole.

use std::collections::HashSet;

use arrow::array::Array as _;
use lookback_schemas::Error;
use lookback_schemas::manifest::Unwinding;
use lookback_schemas::recording::{ALL_TIME, Recording};
use lookback_schemas::tables::Stack;

use crate::render::{size, thousands};

/// So many binaries without tables are named.
const NAMED: usize = 5;

/// Stacks of programs.
#[derive(Debug, Default)]
struct Counts {
    all: u64,
    whole: u64,
    truncated: u64,
}

/// Lines on the stacks; none where there are none, or where the recording does not tell.
pub fn lines(recording: &Recording) -> Vec<String> {
    // What cannot be read is said with its table.
    let counts = counts(recording).unwrap_or_default();
    if counts.all == 0 {
        return Vec::new();
    }
    let mut line = format!(
        "{} different ones of programs, of which {} reach the thread's start",
        thousands(counts.all as i64),
        thousands(counts.whole as i64)
    );
    if counts.truncated > 0 {
        line += &format!(" and {} were cut", thousands(counts.truncated as i64));
    }
    let Some(unwinding) = &recording.manifest().unwinding else { return vec![line] };
    if let Some(walked) = tables(unwinding) {
        line += &format!("; {walked}");
    }
    let without = unwinding.without.iter().map(|(name, why)| format!("no table of {name}: {why}"));
    let mut lines: Vec<String> = std::iter::once(line).chain(without.take(NAMED)).collect();
    if let Some(more @ 1..) = unwinding.without.len().checked_sub(NAMED) {
        lines.push(format!("no tables of {more} others: see manifest.json"));
    }
    lines
}

fn tables(unwinding: &Unwinding) -> Option<String> {
    match unwinding.binaries {
        0 if unwinding.asked == "fp" => Some("walked by frame pointers".to_owned()),
        // Tables are counted when the recorder ends; a snapshot is made before, and it may be killed.
        0 => None,
        binaries => Some(format!(
            "walked by tables of {binaries} binaries ({} rows, {})",
            thousands(unwinding.rows as i64),
            size(unwinding.bytes as i64)
        )),
    }
}

fn counts(recording: &Recording) -> Result<Counts, Error> {
    let mut counts = Counts::default();
    // Where only the newest is kept, a stack is stored with each chunk that refers to it.
    let mut known = HashSet::new();
    recording.for_each::<Stack, Error>(ALL_TIME, |rows| {
        for row in (0..rows.id.len()).filter(|row| rows.complete.is_valid(*row)) {
            if !known.insert(rows.id.value(row)) {
                continue;
            }
            counts.all += 1;
            counts.whole += u64::from(rows.complete.value(row));
            counts.truncated += u64::from(rows.truncated.value(row));
        }
        Ok(())
    })?;
    Ok(counts)
}
