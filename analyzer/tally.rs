//! Adding up rows by what they have in common.
//!
//! Most reports are sums: so many calls of each kind, so much time of each process. They need a few
//! columns of a table and no order, so its row groups are read on all cores: each adds up into
//! [`Groups`] of its own, and in the end those are added up too. Sums do not depend on the order, so
//! the number of threads does not show. Where names are kept beside sums, the choice between two
//! names must not depend on the order either; see [`Name`].

use std::collections::BTreeMap;
use std::hash::Hash;
use std::path::Path;

use ahash::HashMap;
use clap::Args;
use lookback_schemas::{Error, TableId};

use crate::cli::Source;
use crate::lifetimes::Lifetimes;
use crate::render::{Column, Value};
use crate::scope::Scope;

/// How many threads read.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct ThreadsArgs {
    /// How many threads read [default: one per CPU]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
}

impl ThreadsArgs {
    /// How many they are.
    #[must_use]
    pub fn count(self) -> usize {
        match self.threads {
            Some(threads) => usize::from(threads),
            None => std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// Some columns of a table, typed. The macro `projection!` defines one.
pub trait Projection: Sized {
    /// The table.
    const TABLE: TableId;
    /// The columns' names.
    const COLUMNS: &'static [&'static str];
    /// Looks at a batch. Nullable columns that it lacks read as null.
    ///
    /// # Errors
    /// Says which column is missing or has the wrong type.
    fn view(batch: &arrow::record_batch::RecordBatch) -> Result<Self, String>;
    /// How many rows there are.
    fn rows(&self) -> usize;
}

/// Defines a [`Projection`]: a struct with an array for each column. A column that can be null has
/// an `Option` as its type.
macro_rules! projection {
    ($(#[doc = $doc:literal])* $visible:vis struct $Name:ident of $Table:ident {
        $($column:ident: $ty:ty,)*
    }) => {
        $(#[doc = $doc])*
        $visible struct $Name {
            rows: usize,
            $($column: <$ty as lookback_schemas::cell::Stored>::Array,)*
        }

        impl $crate::tally::Projection for $Name {
            const TABLE: lookback_schemas::TableId = lookback_schemas::TableId::$Table;
            const COLUMNS: &'static [&'static str] = &[$(stringify!($column)),*];

            fn view(batch: &arrow::record_batch::RecordBatch) -> Result<Self, String> {
                Ok($Name {
                    rows: batch.num_rows(),
                    $($column: lookback_schemas::cell::column::<$ty>(batch, stringify!($column))?,)*
                })
            }

            fn rows(&self) -> usize {
                self.rows
            }
        }
    };
}
pub(crate) use projection;

/// What can be added up in parts.
pub trait Sum: Default {
    /// Adds another part.
    fn merge(&mut self, other: Self);
}

impl Sum for u64 {
    fn merge(&mut self, other: Self) {
        *self += other;
    }
}

impl<A: Sum, B: Sum> Sum for (A, B) {
    fn merge(&mut self, other: Self) {
        self.0.merge(other.0);
        self.1.merge(other.1);
    }
}

impl<K: Ord, S: Sum> Sum for BTreeMap<K, S> {
    fn merge(&mut self, other: Self) {
        for (key, sum) in other {
            self.entry(key).or_default().merge(sum);
        }
    }
}

impl Sum for crate::distribution::Values {
    fn merge(&mut self, other: Self) {
        self.merge(other);
    }
}

/// Sums by key.
#[derive(Clone, Debug)]
pub struct Groups<K, S>(HashMap<K, S>);

impl<K, S> Default for Groups<K, S> {
    fn default() -> Self {
        Groups(HashMap::default())
    }
}

impl<K: Eq + Hash, S: Default> Groups<K, S> {
    /// The sum of this key.
    pub fn of(&mut self, key: K) -> &mut S {
        self.0.entry(key).or_default()
    }
}

impl<K, S> Groups<K, S> {
    /// What there are sums of, in no order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.keys()
    }
}

impl<K: Eq + Hash, S: Sum> Groups<K, S> {
    /// The same sums by what `key` makes of their keys; those that become the same are added up.
    #[must_use]
    pub fn by<L: Eq + Hash>(self, mut key: impl FnMut(K) -> L) -> Groups<L, S> {
        let mut groups: Groups<L, S> = Groups::default();
        for (old, sum) in self.0 {
            groups.of(key(old)).merge(sum);
        }
        groups
    }
}

impl<K: Eq + Hash + Ord, S> Groups<K, S> {
    /// The sums in the order of their keys.
    #[must_use]
    pub fn sorted(self) -> Vec<(K, S)> {
        let mut sorted: Vec<(K, S)> = self.0.into_iter().collect();
        sorted.sort_by(|(one, _), (other, _)| one.cmp(other));
        sorted
    }

    /// The sums, the largest first as `rank` sees them, and the first `top` of them. Those of the
    /// same rank are in the order of their keys.
    #[must_use]
    pub fn ranked<R: Ord>(self, top: Option<usize>, rank: impl Fn(&S) -> R) -> Vec<(K, S)> {
        let mut ranked = self.sorted();
        ranked.sort_by_cached_key(|(_, sum)| std::cmp::Reverse(rank(sum)));
        ranked.truncate(top.unwrap_or(usize::MAX));
        ranked
    }
}

impl<K: Eq + Hash, S: Sum> Sum for Groups<K, S> {
    fn merge(&mut self, other: Self) {
        for (key, sum) in other.0 {
            self.0.entry(key).or_default().merge(sum);
        }
    }
}

/// Which rows to add up, and of which columns.
pub struct Selection<'a> {
    /// The recording, and the part of its time.
    pub source: &'a Source,
    /// The processes.
    pub scope: &'a Scope,
    /// How many threads read.
    pub threads: ThreadsArgs,
    /// Nullable columns of the projection that this report does not need: they read as null.
    pub without: &'a [&'static str],
}

impl Selection<'_> {
    /// Adds up all selected rows of a table: `add` is called with each.
    ///
    /// # Errors
    /// If the table is damaged.
    pub fn sum<P: Projection, S: Sum + Send>(
        &self,
        add: impl Fn(&mut S, &P, usize) + Sync,
    ) -> Result<S, Error> {
        let (table, scope) = (P::TABLE, self.scope);
        let mut columns: Vec<&str> = P::COLUMNS.to_vec();
        columns.retain(|column| !self.without.contains(column));
        columns.extend(scope.columns(table));
        let scan = self.source.recording.scan_table(table, self.source.window.range.clone());
        scan.columns(&columns).fold(
            self.threads.count(),
            |sum: &mut S, path: &Path, batch| {
                let batch = scope.filter(table, path, batch)?;
                let rows = P::view(&batch).map_err(Error::damaged(path))?;
                (0..rows.rows()).for_each(|row| add(sum, &rows, row));
                Ok(())
            },
            S::merge,
        )
    }
}

/// What rows of any table are grouped by. The order is that of the output.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// Nothing, or a column that is null.
    #[default]
    None,
    /// A number.
    Number(i64),
    /// A text.
    Text(String),
    /// Yes or no.
    Flag(bool),
}

impl Key {
    /// As a report prints it.
    #[must_use]
    pub fn value(&self) -> Value {
        match self {
            Key::None => Value::Null,
            Key::Number(number) => Value::Int(*number),
            Key::Text(text) => Value::Text(text.clone()),
            Key::Flag(flag) => Value::Flag(*flag),
        }
    }

    /// The number, if it is one.
    #[must_use]
    pub fn number(&self) -> Option<i64> {
        match self {
            Key::Number(number) => Some(*number),
            Key::None | Key::Text(_) | Key::Flag(_) => None,
        }
    }

    /// As a title says it.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Key::None => "-".to_owned(),
            Key::Number(number) => number.to_string(),
            Key::Text(text) => text.clone(),
            Key::Flag(flag) => flag.to_string(),
        }
    }
}

/// The name of a process, chosen among those that its rows carry: names belong to threads and
/// change. It is the last that its main thread had, or else the last that any thread had.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    of_main_thread: bool,
    ts: i64,
    comm: Option<String>,
}

impl Name {
    /// Takes a row into account.
    pub fn add(&mut self, ts: i64, of_main_thread: bool, comm: Option<&str>) {
        let known = (self.comm.is_some(), self.of_main_thread, self.ts, self.comm.as_deref());
        if (comm.is_some(), of_main_thread, ts, comm) <= known {
            return;
        }
        (self.of_main_thread, self.ts) = (of_main_thread, ts);
        if self.comm.as_deref() != comm {
            self.comm = comm.map(str::to_owned);
        }
    }

    /// The name; `None` where no row had one.
    #[must_use]
    pub fn get(&self) -> Option<&str> {
        self.comm.as_deref()
    }
}

impl Sum for Name {
    fn merge(&mut self, other: Self) {
        self.add(other.ts, other.of_main_thread, other.comm.as_deref());
    }
}

/// Takes the name into account that a row has of its process, of any table that names the thread.
macro_rules! add_name {
    ($name:expr, $rows:expr, $row:expr) => {
        $name.add(
            $rows.ts.value($row),
            $rows.pid.value($row) == $rows.tid.value($row),
            known!($rows.comm, $row),
        )
    };
}
pub(crate) use add_name;

/// The columns of the process that a sum is of.
#[must_use]
pub fn process_columns() -> [Column; 2] {
    [Column::new("pid", "PID").right().wide(7), Column::new("comm", "COMM").wide(16)]
}

/// The values of [`process_columns`].
#[must_use]
pub fn process_values(pid: i32, name: Option<&str>) -> [Value; 2] {
    [Value::Int(i64::from(pid)), Value::text(name)]
}

/// A sum with the name of the process that it is of.
#[derive(Clone, Debug, Default)]
pub struct Named<S> {
    /// The process's name.
    pub name: Name,
    /// The sum.
    pub sum: S,
}

impl<S: Sum> Sum for Named<S> {
    fn merge(&mut self, other: Self) {
        self.name.merge(other.name);
        self.sum.merge(other.sum);
    }
}

/// Calls that were counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// How many.
    pub count: u64,
    /// How many of them failed.
    pub failed: u64,
    /// How long they took together, in nanoseconds.
    pub time: i64,
}

impl Calls {
    /// Adds a call that took `duration` nanoseconds.
    pub fn add(&mut self, duration: i64, failed: bool) {
        self.merge(Calls { count: 1, failed: u64::from(failed), time: duration });
    }
}

impl Sum for Calls {
    fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.failed += other.failed;
        self.time = self.time.saturating_add(other.time);
    }
}

/// The name that a process had at the time, for tables that do not carry it. Pid 0 is a CPU without
/// work.
#[must_use]
pub fn name_at(lifetimes: &Lifetimes, pid: i32, ts: i64) -> Option<&str> {
    match pid {
        0 => Some(IDLE),
        pid => lifetimes.who(pid, ts)?.image_at(ts).comm.as_deref(),
    }
}

/// What stands for a process where the CPU had none to run.
pub const IDLE: &str = "[idle]";

#[cfg(test)]
mod tests {
    use super::*;

    fn name(rows: &[(i64, bool, Option<&str>)]) -> Option<String> {
        let mut name = Name::default();
        rows.iter().for_each(|(ts, main, comm)| name.add(*ts, *main, *comm));
        name.get().map(str::to_owned)
    }

    #[test]
    fn a_name_is_the_last_of_the_main_thread_in_any_order() {
        let mut rows = vec![
            (5, true, Some("sh")),
            (9, true, Some("server")),
            (12, false, Some("worker")),
            (13, true, None),
        ];
        for _ in 0..rows.len() {
            rows.rotate_left(1);
            assert_eq!(name(&rows).as_deref(), Some("server"), "{rows:?}");
            let backwards: Vec<_> = rows.iter().rev().copied().collect();
            assert_eq!(name(&backwards).as_deref(), Some("server"), "{backwards:?}");
        }
        assert_eq!(name(&[(1, false, Some("a")), (2, false, Some("b"))]).as_deref(), Some("b"));
        assert_eq!(name(&[(1, true, None)]), None);
        assert_eq!(name(&[]), None);
    }

    #[test]
    fn groups_are_ranked_and_ties_are_in_order() {
        let mut groups: Groups<&str, Calls> = Groups::default();
        for key in ["c", "a", "b", "b"] {
            groups.of(key).add(1, false);
        }
        let ranked = |top| -> Vec<&str> {
            let ranked = groups.clone().ranked(top, |calls| calls.count);
            ranked.into_iter().map(|(key, _)| key).collect()
        };
        assert_eq!(ranked(None), ["b", "a", "c"]);
        assert_eq!(ranked(Some(2)), ["b", "a"]);
    }
}
