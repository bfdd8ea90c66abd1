//! Rows that are kept instead of written.
//!
//! A page of several reports needs their rows with all columns, as numbers to sort by and as the texts that a
//! table shows. So a report can be given a [`Collector`] as its output: the rows go there, in the words of all
//! formats. What is kept is bounded, and how many there were is counted.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Column, Value};

/// Which rows are kept of those that come.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// How many at most.
    pub rows: usize,
    /// Those with the largest numbers in this column, instead of the first.
    pub largest: Option<&'static str>,
}

/// A row that was kept.
#[derive(Clone, Debug)]
pub struct Row {
    /// A value for each column.
    pub values: Vec<Value>,
    /// The same as a table shows it.
    pub cells: Vec<String>,
}

/// The rows of a report.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    /// Its columns; none if it began no rows.
    pub columns: Vec<Column>,
    /// The rows that were kept, in the order in which they came, or the largest first.
    pub rows: Vec<Row>,
    /// How many there were.
    pub total: u64,
    /// What a reader must know.
    pub notes: Vec<String>,
}

impl Collected {
    /// The place of the column of this name in JSON and CSV.
    #[must_use]
    pub fn place(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name() == name)
    }
}

/// An output that keeps rows.
#[derive(Clone, Debug)]
pub struct Collector {
    keep: Keep,
    collected: Arc<Mutex<Collected>>,
}

impl Collector {
    /// One that is empty.
    #[must_use]
    pub fn new(keep: Keep) -> Collector {
        Collector { keep, collected: Arc::default() }
    }

    /// What was kept.
    #[must_use]
    pub fn take(&self) -> Collected {
        let mut collected = std::mem::take(&mut *self.lock());
        if let Some(place) = self.keep.largest.and_then(|name| collected.place(name)) {
            cut(&mut collected.rows, place, self.keep.rows);
        }
        collected
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Collected> {
        // Whoever panicked while it held a part, the rows before are whole.
        self.collected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin(&self, columns: &[Column]) {
        self.lock().columns = columns.to_vec();
    }

    pub(super) fn note(&self, note: &str) {
        self.lock().notes.push(note.to_owned());
    }

    pub(super) fn row(&self, values: &[Value], cell: impl Fn(&Value) -> String) {
        let mut collected = self.lock();
        collected.total += 1;
        let place = self.keep.largest.and_then(|name| collected.place(name));
        if place.is_none() && collected.rows.len() >= self.keep.rows {
            return;
        }
        let cells = values.iter().map(cell).collect();
        collected.rows.push(Row { values: values.to_vec(), cells });
        if let Some(place) = place
            && collected.rows.len() >= self.keep.rows.saturating_mul(2).max(64)
        {
            cut(&mut collected.rows, place, self.keep.rows);
        }
    }
}

/// Leaves the `most` rows with the largest numbers at `place`, the largest first. Of equal ones the first stays.
fn cut(rows: &mut Vec<Row>, place: usize, most: usize) {
    rows.sort_by_key(|row| std::cmp::Reverse(row.values[place].number()));
    rows.truncate(most);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(keep: Keep, numbers: &[i64]) -> (Vec<i64>, u64) {
        let collector = Collector::new(keep);
        collector.begin(&[Column::new("n", "N")]);
        for number in numbers {
            collector.row(&[Value::Int(*number)], |_| String::new());
        }
        let collected = collector.take();
        let number = |row: &Row| row.values[0].number().expect("it is one");
        (collected.rows.iter().map(number).collect(), collected.total)
    }

    #[test]
    fn the_first_or_the_largest_are_kept_and_all_are_counted() {
        let numbers: Vec<i64> = (0..1000).map(|n| n * 7 % 1000).collect();
        assert_eq!(kept(Keep { rows: 3, largest: None }, &numbers), (vec![0, 7, 14], 1000));
        let largest = Keep { rows: 3, largest: Some("n") };
        assert_eq!(kept(largest, &numbers), (vec![999, 998, 997], 1000));
        assert_eq!(kept(largest, &[5, 9]), (vec![9, 5], 2));
        assert_eq!(kept(Keep { rows: 3, largest: Some("m") }, &[5, 9]), (vec![5, 9], 2));
    }
}
