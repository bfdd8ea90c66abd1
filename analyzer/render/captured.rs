//! Reports that are not printed, but kept: to be compared, or put on a page.
//!
//! A report does not know who takes its rows. Given a [`Capture`] as its output, it leaves there what it would have
//! printed, with the columns of all formats. A comparison wants all rows. A page wants those that a reader gets
//! to, so a capture can [keep](Keep) a number of them; how many there were is counted.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lookback_schemas::TableId;

use super::{Column, Value};
use crate::losses::Heading;

/// What a report would have printed.
#[derive(Clone, Debug, Default)]
pub struct Captured {
    /// The tables that it is about.
    pub tables: Vec<TableId>,
    /// What it covers.
    pub heading: Heading,
    /// What a reader must know.
    pub notes: Vec<String>,
    /// The columns, those that only tables have among them. None if it began no rows.
    pub columns: Vec<Column>,
    /// The rows: a value for each column. In the order in which they came, or the largest first.
    pub rows: Vec<Vec<Value>>,
    /// How many rows there were, those that were not kept among them.
    pub total: u64,
}

impl Captured {
    /// The place of the column of this name in JSON and CSV.
    #[must_use]
    pub fn place(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.data_name() == Some(name))
    }

    fn keep(&mut self, values: &[Value], keep: Keep) {
        let place = keep.largest.and_then(|name| self.place(name));
        if place.is_none() && self.rows.len() >= keep.rows {
            return;
        }
        self.rows.push(values.to_vec());
        if let Some(place) = place
            && self.rows.len() >= keep.rows.saturating_mul(2).max(64)
        {
            cut(&mut self.rows, place, keep.rows);
        }
    }
}

/// Which rows are kept of those that come.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// How many at most.
    pub rows: usize,
    /// Those with the largest numbers in this column, instead of the first.
    pub largest: Option<&'static str>,
}

/// Where a report is kept. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Capture {
    /// `None` for all.
    keep: Option<Keep>,
    captured: Arc<Mutex<Captured>>,
}

impl Capture {
    /// One that keeps not all rows.
    #[must_use]
    pub fn keeping(keep: Keep) -> Capture {
        Capture { keep: Some(keep), ..Capture::default() }
    }

    /// What is there so far.
    pub(super) fn lock(&self) -> MutexGuard<'_, Captured> {
        // Whoever panicked while it held a part, the rows before are whole.
        self.captured.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says which tables the report is about.
    pub fn about(&self, tables: &[TableId]) {
        self.lock().tables = tables.to_vec();
    }

    /// Takes a row.
    pub(super) fn row(&self, values: &[Value]) {
        let mut captured = self.lock();
        captured.total += 1;
        match self.keep {
            Some(keep) => captured.keep(values, keep),
            None => captured.rows.push(values.to_vec()),
        }
    }

    /// Takes what the report has left there.
    #[must_use]
    pub fn take(&self) -> Captured {
        let mut captured = std::mem::take(&mut *self.lock());
        if let Some(keep) = self.keep
            && let Some(place) = keep.largest.and_then(|name| captured.place(name))
        {
            cut(&mut captured.rows, place, keep.rows);
        }
        captured
    }
}

/// Leaves the `most` rows with the largest numbers at `place`, the largest first. Of equal ones the first stays.
fn cut(rows: &mut Vec<Vec<Value>>, place: usize, most: usize) {
    rows.sort_by_key(|row| std::cmp::Reverse(row[place].number()));
    rows.truncate(most);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(capture: &Capture, numbers: &[i64]) -> (Vec<i64>, u64) {
        capture.lock().columns = vec![Column::new("n", "N")];
        for number in numbers {
            capture.row(&[Value::Int(*number)]);
        }
        let captured = capture.take();
        let number = |row: &Vec<Value>| row[0].number().expect("it is one");
        (captured.rows.iter().map(number).collect(), captured.total)
    }

    #[test]
    fn all_the_first_or_the_largest_are_kept_and_all_are_counted() {
        let numbers: Vec<i64> = (0..1000).map(|n| n * 7 % 1000).collect();
        assert_eq!(kept(&Capture::default(), &numbers), (numbers.clone(), 1000));
        let keep = |rows, largest| Capture::keeping(Keep { rows, largest });
        assert_eq!(kept(&keep(3, None), &numbers), (vec![0, 7, 14], 1000));
        assert_eq!(kept(&keep(3, Some("n")), &numbers), (vec![999, 998, 997], 1000));
        assert_eq!(kept(&keep(3, Some("n")), &[5, 9]), (vec![9, 5], 2));
        assert_eq!(kept(&keep(3, Some("m")), &[5, 9]), (vec![5, 9], 2));
    }
}
