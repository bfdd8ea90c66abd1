//! Reports that are not printed, but kept, to be compared.

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
    /// The columns, those that only tables have among them.
    pub columns: Vec<Column>,
    /// The rows: a value for each column.
    pub rows: Vec<Vec<Value>>,
}

/// Where a report is kept. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Capture(Arc<Mutex<Captured>>);

impl Capture {
    /// What is there so far.
    pub(super) fn lock(&self) -> MutexGuard<'_, Captured> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says which tables the report is about.
    pub fn about(&self, tables: &[TableId]) {
        self.lock().tables = tables.to_vec();
    }

    /// Takes what the report has left there.
    #[must_use]
    pub fn take(&self) -> Captured {
        std::mem::take(&mut *self.lock())
    }
}
