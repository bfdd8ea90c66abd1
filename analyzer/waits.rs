//! Waits for a CPU as stretches of time, for reports on something else that want to know who could
//! not run meanwhile.

use std::ops::Range;
use std::path::Path;

use lookback_schemas::recording::Recording;
use lookback_schemas::{Error, TableId};

use crate::tally::{Projection as _, ThreadsArgs, projection};

/// A wait of a thread that could run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// The process.
    pub pid: i32,
    /// The thread.
    pub tid: i32,
    /// When it began: nanoseconds since the Unix epoch.
    pub start: i64,
    /// When the thread got its CPU.
    pub end: i64,
}

projection! {
    /// What is read of a wait.
    struct Rows of Runq {
        ts: i64,
        wait: i64,
        pid: i32,
        tid: i32,
    }
}

/// A wait that reaches into a stretch of time began no longer before it than this, in nanoseconds.
/// Rows are found by when they began, and nobody waits for 10 s.
const LONGEST: i64 = 10_000_000_000;

/// The waits that `keep` wants, of those that may reach into the `range` of time; in no order.
///
/// # Errors
/// If the table is damaged.
pub fn read(
    recording: &Recording,
    range: Range<i64>,
    threads: ThreadsArgs,
    keep: impl Fn(&Wait) -> bool + Sync,
) -> Result<Vec<Wait>, Error> {
    let range = range.start.saturating_sub(LONGEST)..range.end;
    let scan = recording.scan_table(TableId::Runq, range);
    scan.columns(Rows::COLUMNS).fold(
        threads.count(),
        |waits: &mut Vec<Wait>, path: &Path, batch| {
            let rows = Rows::view(&batch).map_err(Error::damaged(path))?;
            let all = (0..rows.rows()).map(|row| {
                let start = rows.ts.value(row);
                let end = start.saturating_add(rows.wait.value(row).max(0));
                Wait { pid: rows.pid.value(row), tid: rows.tid.value(row), start, end }
            });
            waits.extend(all.filter(&keep));
            Ok(())
        },
        |waits, mut more| waits.append(&mut more),
    )
}
