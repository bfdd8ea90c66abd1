//! Rows in the order of time.
//!
//! The recorder writes rows as the ring buffers give them: those of one CPU are in order, but those
//! of another CPU may come in a later row group although they are older. Sorting a whole table
//! would need memory for all of it. Instead each row group is sorted when it is read, and a row is
//! held back until no row group still to come can have an older one, which their statistics tell.
//! So the order is exact, and what is held is about one row group.
//!
//! A row group consists of runs that are in order already, a few for each CPU. The standard
//! library's stable sort finds runs and merges them, which is far cheaper than sorting. Where a
//! table is large, the next row group is decoded while the rows of this one are visited.

use std::collections::VecDeque;
use std::ops::{ControlFlow, Range};
use std::sync::mpsc;

use arrow::record_batch::RecordBatch;
use lookback_schemas::cell::{self, View};
use lookback_schemas::recording::{Recording, times};
use lookback_schemas::segment::Segment;
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
    /// Whether another thread decodes the next row group meanwhile.
    pub ahead: bool,
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
) -> anyhow::Result<()>
where
    T::Columns: Send,
{
    let window = window.clone();
    let selection = Selection { table: T::ID, window, scope, columns: None, ahead: false };
    let view = |batch: RecordBatch| T::Columns::view(&batch);
    for_each(recording, &selection, view, |rows, row| visit(rows, row).map(ControlFlow::Continue))
}

/// As [`rows`], for a table chosen at run time: `visit` gets what `prepare` made of the batch, and
/// says when it has had enough. Rows of tables without a time come as they are stored.
///
/// # Errors
/// If the table is damaged, or `prepare` or `visit` fails.
pub fn for_each<P: Send>(
    recording: &Recording,
    selection: &Selection<'_>,
    prepare: impl Fn(RecordBatch) -> Result<P, String> + Sync,
    visit: impl FnMut(&P, usize) -> anyhow::Result<ControlFlow<()>>,
) -> anyhow::Result<()> {
    let segments = recording.segments(selection.table)?;
    let reader = Reader::new(&segments, selection, prepare);
    let mut line = Line { held: VecDeque::new(), first: 0, places: Vec::new(), visit };
    if !selection.ahead {
        for group in &reader.groups {
            if line.take(reader.read(group)?)?.is_break() {
                break;
            }
        }
        return Ok(());
    }
    std::thread::scope(|scope| {
        // Without a buffer: while one group is visited the next is decoded, and no more.
        let (send, receive) = mpsc::sync_channel(0);
        let reader = &reader;
        scope.spawn(move || {
            for group in &reader.groups {
                let read = reader.read(group);
                let failed = read.is_err();
                // Whoever does not listen any more has had enough.
                if send.send(read).is_err() || failed {
                    return;
                }
            }
        });
        for read in receive {
            if line.take(read?)?.is_break() {
                break;
            }
        }
        Ok(())
    })
}

/// A row group that may have rows of the window.
struct Group<'a> {
    segment: &'a Segment,
    index: usize,
    /// The oldest row that a later group may have; `None` for the last one.
    horizon: Option<i64>,
}

/// A row that was read: when, in which batch, and where in it. Places sort by time, and those of the
/// same time stay as they were.
type Place = (i64, u32, u32);

/// A row group that was read.
struct Read<P> {
    /// Its batches, with how many of their rows there are to visit.
    batches: Vec<(P, usize)>,
    /// Its rows in the order of time. The number of the batch is its place in `batches`.
    places: Vec<Place>,
    /// Rows from this moment on wait for later groups.
    horizon: Option<i64>,
}

/// Reads row groups.
struct Reader<'a, F> {
    selection: &'a Selection<'a>,
    timed: bool,
    columns: Option<Vec<&'static str>>,
    groups: Vec<Group<'a>>,
    prepare: F,
}

impl<'a, P, F: Fn(RecordBatch) -> Result<P, String>> Reader<'a, F> {
    fn new(segments: &'a [Segment], selection: &'a Selection<'a>, prepare: F) -> Self {
        let timed = crate::window::timed(selection.table);
        let window = &selection.window;
        let columns = selection.columns.as_ref().map(|columns| {
            let mut columns = columns.clone();
            columns.extend(timed.then_some("ts"));
            columns.extend(selection.scope.columns(selection.table));
            columns
        });
        let mut groups = Vec::new();
        let mut firsts = Vec::new();
        for segment in segments {
            for (index, group) in segment.metadata().row_groups().iter().enumerate() {
                let span = times(group);
                let outside =
                    span.is_some_and(|(first, last)| last < window.start || first >= window.end);
                if !(timed && outside) {
                    groups.push(Group { segment, index, horizon: None });
                    // Of rows without statistics nothing is known: they may be the oldest.
                    firsts.push(span.map_or(i64::MIN, |(first, _)| first));
                }
            }
        }
        let mut oldest = None::<i64>;
        for (group, first) in std::iter::zip(&mut groups, firsts).rev() {
            group.horizon = oldest.filter(|_| timed);
            oldest = Some(oldest.map_or(first, |oldest| oldest.min(first)));
        }
        Reader { selection, timed, columns, groups, prepare }
    }

    fn read(&self, group: &Group<'_>) -> Result<Read<P>, Error> {
        let (selection, path) = (self.selection, group.segment.path());
        let mut read = Read { batches: Vec::new(), places: Vec::new(), horizon: group.horizon };
        for batch in group.segment.reader(Some(vec![group.index]), self.columns.as_deref())? {
            let batch = selection.scope.filter(selection.table, path, batch?)?;
            let (before, number) = (read.places.len(), read.batches.len() as u32);
            if self.timed {
                let ts = cell::column::<i64>(&batch, "ts").map_err(Error::damaged(path))?;
                let rows = ts.values().iter().enumerate();
                let inside = rows.filter(|(_, ts)| selection.window.contains(ts));
                read.places.extend(inside.map(|(row, ts)| (*ts, number, row as u32)));
            } else {
                let rows = 0..batch.num_rows();
                read.places.extend(rows.map(|row| (0, number, row as u32)));
            }
            let rows = read.places.len() - before;
            if rows > 0 {
                let prepared = (self.prepare)(batch).map_err(Error::damaged(path))?;
                read.batches.push((prepared, rows));
            }
        }
        read.places.sort_by_key(|(ts, _, _)| *ts);
        Ok(read)
    }
}

/// Brings the rows of several groups into one order.
struct Line<P, V> {
    /// Batches with how many of their rows there are to visit; `None` when that is done.
    held: VecDeque<Option<(P, usize)>>,
    /// The number of the first one that is held.
    first: u32,
    places: Vec<Place>,
    visit: V,
}

impl<P, V: FnMut(&P, usize) -> anyhow::Result<ControlFlow<()>>> Line<P, V> {
    /// Adds a group, and visits what is then known to be the oldest.
    fn take(&mut self, mut read: Read<P>) -> anyhow::Result<ControlFlow<()>> {
        let number = self.first.wrapping_add(self.held.len() as u32);
        read.places.iter_mut().for_each(|place| place.1 = place.1.wrapping_add(number));
        self.held.extend(read.batches.into_iter().map(Some));
        if self.places.is_empty() {
            self.places = read.places;
        } else {
            self.places.append(&mut read.places);
            self.places.sort_by_key(|(ts, _, _)| *ts);
        }
        let ready = match read.horizon {
            None => self.places.len(),
            Some(horizon) => self.places.partition_point(|(ts, _, _)| *ts < horizon),
        };
        for (_, batch, row) in self.places.drain(..ready) {
            let held = &mut self.held[batch.wrapping_sub(self.first) as usize];
            let (prepared, left) =
                held.as_mut().expect("a batch is held as long as it has rows to visit");
            if (self.visit)(prepared, row as usize)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            *left -= 1;
            if *left == 0 {
                *held = None;
            }
        }
        while self.held.front().is_some_and(Option::is_none) {
            self.held.pop_front();
            self.first = self.first.wrapping_add(1);
        }
        Ok(ControlFlow::Continue(()))
    }
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

    #[test]
    fn decoding_ahead_changes_nothing() {
        let made = Made::new();
        for group in 0..20 {
            let fork = |row: i32| made.fork(f64::from((row * 7 + group * 3) % 40), row, group);
            made.rows(&(0..9).map(fork).collect::<Vec<_>>());
        }
        made.end(50.0);
        let (recording, scope) = (made.open(), Scope::default());
        let read = |ahead, most: usize| {
            let table = TableId::Fork;
            let selection =
                Selection { table, window: ALL_TIME, scope: &scope, columns: None, ahead };
            let view = |batch: RecordBatch| <Fork as Table>::Columns::view(&batch);
            let mut rows = Vec::new();
            for_each(&recording, &selection, view, |fork, row| {
                rows.push((fork.ts.value(row), fork.pid.value(row), fork.ppid.value(row)));
                Ok(match rows.len() < most {
                    true => ControlFlow::Continue(()),
                    false => ControlFlow::Break(()),
                })
            })
            .expect("it is whole");
            rows
        };
        let all = read(false, usize::MAX);
        assert!(all.len() == 180 && all.is_sorted_by_key(|row| row.0));
        assert_eq!(read(true, usize::MAX), all);
        assert_eq!(read(true, 30), all[..30], "it stops when it is told to");
    }
}
