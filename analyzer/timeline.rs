//! Rows in the order of time.
//!
//! The recorder writes rows as the ring buffers give them: those of one CPU are in order, but those
//! of another CPU may come in a later row group although they are older. Sorting a whole table
//! would need memory for all of it. Instead each row group is sorted when it is read, and a row is
//! held back until no row group still to come can have an older one, which their statistics tell.
//! So the order is exact, and what is held is about one row group.

use std::ops::{ControlFlow, Range};
use std::path::Path;

use ahash::HashMap;
use arrow::record_batch::RecordBatch;
use lookback_schemas::cell::{self, View};
use lookback_schemas::recording::{Recording, times};
use lookback_schemas::{Error, Table, TableId};

use crate::scope::Scope;

/// Which rows of which table.
#[derive(Clone, Debug)]
pub struct Selection<'a> {
    /// The table.
    pub table: TableId,
    /// Only rows of these moments.
    pub window: Range<i64>,
    /// Only rows of these processes.
    pub scope: &'a Scope,
    /// Only these columns, beside those that the window and the scope need; all if `None`.
    pub columns: Option<Vec<&'static str>>,
}

/// Calls `visit` with each row of table `T`, as the batch that it is in and its place there.
///
/// # Errors
/// If the table is damaged, or `visit` fails.
pub fn rows<T: Table>(
    recording: &Recording,
    window: &Range<i64>,
    scope: &Scope,
    mut visit: impl FnMut(&T::Columns, usize) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let selection = Selection { table: T::ID, window: window.clone(), scope, columns: None };
    let view = |batch: RecordBatch| T::Columns::view(&batch);
    for_each(recording, &selection, view, |rows, row| visit(rows, row).map(ControlFlow::Continue))
}

/// A row that was read: when, in which batch, and where in it. It sorts by time, and rows of the
/// same time stay as they were.
type Place = (i64, u32, u32);

/// As [`rows`], for a table chosen at run time: `visit` gets what `prepare` made of the batch, and
/// says when it has had enough. Rows of tables without a time come as they are stored.
///
/// # Errors
/// If the table is damaged, or `prepare` or `visit` fails.
pub fn for_each<P>(
    recording: &Recording,
    selection: &Selection<'_>,
    prepare: impl Fn(RecordBatch) -> Result<P, String>,
    mut visit: impl FnMut(&P, usize) -> anyhow::Result<ControlFlow<()>>,
) -> anyhow::Result<()> {
    let timed = crate::window::timed(selection.table);
    let window = &selection.window;
    let columns = selection.columns.as_ref().map(|columns| {
        let mut columns = columns.clone();
        columns.extend(timed.then_some("ts"));
        columns.extend(selection.scope.columns(selection.table));
        columns
    });
    let segments = recording.segments(selection.table)?;
    let mut groups = Vec::new();
    for segment in &segments {
        for (index, group) in segment.metadata().row_groups().iter().enumerate() {
            let span = times(group);
            let outside =
                span.is_some_and(|(first, last)| last < window.start || first >= window.end);
            if !(timed && outside) {
                // Of rows without statistics nothing is known: they may be the oldest.
                groups.push((segment, index, span.map_or(i64::MIN, |(first, _)| first)));
            }
        }
    }
    // For each row group, the oldest row that a later one may have.
    let mut horizons = vec![None; groups.len()];
    let mut oldest = None::<i64>;
    for (horizon, (_, _, first)) in std::iter::zip(&mut horizons, &groups).rev() {
        *horizon = oldest;
        oldest = Some(oldest.map_or(*first, |oldest| oldest.min(*first)));
    }

    let mut held: HashMap<u32, (P, usize)> = HashMap::default();
    let mut places: Vec<Place> = Vec::new();
    let mut next = 0_u32;
    for ((segment, group, _), horizon) in std::iter::zip(groups, horizons) {
        let path: &Path = segment.path();
        for batch in segment.reader(Some(vec![group]), columns.as_deref())? {
            let batch = selection.scope.filter(selection.table, path, batch?)?;
            let count = batch.num_rows();
            let before = places.len();
            if timed {
                let ts = cell::column::<i64>(&batch, "ts").map_err(Error::damaged(path))?;
                let inside = ts.values().iter().enumerate().filter(|(_, ts)| window.contains(ts));
                places.extend(inside.map(|(row, ts)| (*ts, next, row as u32)));
            } else {
                places.extend((0..count).map(|row| (0, next, row as u32)));
            }
            if places.len() > before {
                let rows = places.len() - before;
                held.insert(next, (prepare(batch).map_err(Error::damaged(path))?, rows));
                next += 1;
            }
        }
        places.sort_unstable();
        let ready = match horizon {
            None => places.len(),
            Some(_) if !timed => places.len(),
            Some(horizon) => places.partition_point(|(ts, _, _)| *ts < horizon),
        };
        for (_, batch, row) in places.drain(..ready) {
            let (prepared, left) =
                held.get_mut(&batch).expect("a batch is held as long as it has rows to visit");
            if visit(prepared, row as usize)?.is_break() {
                return Ok(());
            }
            *left -= 1;
            if *left == 0 {
                held.remove(&batch);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use lookback_schemas::recording::ALL_TIME;
    use lookback_schemas::tables::Fork;

    use super::*;
    use crate::made::{Made, at};

    fn pids(made: &Made, window: Range<i64>) -> Vec<i32> {
        let mut pids = Vec::new();
        rows::<Fork>(&made.open(), &window, &Scope::default(), |fork, row| {
            pids.push(fork.pid.value(row));
            Ok(())
        })
        .expect("it is whole");
        pids
    }

    #[test]
    fn rows_come_in_order_across_row_groups() {
        let made = Made::new();
        made.rows(&[made.fork(3.0, 3, 1), made.fork(1.0, 1, 1), made.fork(5.0, 5, 1)]);
        made.rows(&[made.fork(2.0, 2, 1), made.fork(6.0, 6, 1)]);
        made.rows(&[made.fork(4.0, 4, 1), made.fork(7.0, 7, 1), made.fork(4.0, 44, 1)]);
        assert_eq!(pids(&made, ALL_TIME), [1, 2, 3, 4, 44, 5, 6, 7], "while it is written");
        assert_eq!(pids(&made, at(2.0)..at(5.0)), [2, 3, 4, 44]);
        made.end(8.0);
        assert_eq!(pids(&made, ALL_TIME), [1, 2, 3, 4, 44, 5, 6, 7], "when it has ended");
    }
}
