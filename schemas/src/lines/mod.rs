//! Rows as lines to read.
//!
//! Each table that a well-known tool prints has a module here: the columns of that tool, with its headers, and
//! the values that a row has in them. Reports that list rows print these, and so does a recorder that shows what
//! it records. The rest is what any line is made of: [`value`]s and the [`text`] that they are spelled in, the
//! names of [`codes`], and the [`cells`] of tables whose columns have no such module.
//!
//! Recorded text is untrusted. Whatever [`value::Spelling::cell`] gives is safe for a terminal.

pub mod cells;
pub mod codes;
pub mod exec;
pub mod exit;
pub mod kill;
pub mod lsmconnect;
pub mod open;
pub mod path;
pub mod readline;
pub mod role;
pub mod runq;
pub mod signal;
pub mod sockets;
pub mod tcpconnect;
pub mod tcpstate;
pub mod text;
pub mod unlink;
pub mod value;

use arrow::record_batch::RecordBatch;

use crate::cell::View as _;
use crate::{TableId, tables};
use cells::{Cells, named};
use value::{Column, Spelling, Value};

/// A nullable column's value.
#[macro_export]
macro_rules! known {
    ($column:expr, $row:expr) => {
        $column.is_valid($row).then(|| $column.value($row))
    };
}

/// How wide a table's name is shown.
const NAME: usize = 10;

/// How the rows of a table are shown among those of other tables: when, which table, and then what the tool shows
/// that people know; or where there is none, `column=value` for each column.
#[derive(Clone, Debug)]
pub struct Line {
    table: TableId,
    /// The first is the time.
    columns: Vec<Column>,
    tool: bool,
}

/// Gives the values of a row in the columns of a [`Line`].
pub type Values = Box<dyn Fn(usize) -> Vec<Value>>;

impl Line {
    /// The lines of a table.
    #[must_use]
    pub fn of(table: TableId) -> Line {
        let columns = match table {
            TableId::Exec => Some(exec::columns()),
            TableId::Exit => Some(exit::columns()),
            TableId::Signal => Some(signal::columns()),
            TableId::Kill => Some(kill::columns()),
            TableId::Open => Some(open::columns(false)),
            TableId::Unlink => Some(unlink::columns()),
            TableId::Runq => Some(runq::columns()),
            TableId::Tcpconnect => Some(tcpconnect::columns(true, false)),
            TableId::Tcpstate => Some(tcpstate::columns(true)),
            TableId::Lsmconnect => Some(lsmconnect::columns()),
            TableId::Readline => Some(readline::columns()),
            TableId::Fork
            | TableId::Cgroup
            | TableId::Sample
            | TableId::Syscall
            | TableId::Offcpu
            | TableId::Hardirq
            | TableId::Softirq
            | TableId::Tcprtt
            | TableId::Kalloc
            | TableId::Alloc
            | TableId::Vm
            | TableId::Gc
            | TableId::Probe
            | TableId::Span
            | TableId::Process
            | TableId::Stack
            | TableId::Frame
            | TableId::Symbol
            | TableId::Clock
            | TableId::Loss => None,
        };
        let tool = columns.is_some();
        let recorded = || table.columns().iter().map(Column::recorded).collect();
        Line { table, columns: columns.unwrap_or_else(recorded), tool }
    }

    /// The headers, where the columns have any.
    #[must_use]
    pub fn header(&self) -> Option<String> {
        self.tool.then(|| {
            let shown = self.columns.iter().skip(1).filter(|column| column.shown.in_tables());
            self.joined("TIME", "TABLE", shown.map(|column| (column, column.header.to_string())))
        })
    }

    /// The values of a batch of the table.
    ///
    /// # Errors
    /// Says which column is missing or has the wrong type.
    pub fn values(&self, batch: &RecordBatch) -> Result<Values, String> {
        macro_rules! rows {
            ($table:ident, |$rows:ident, $row:ident| $values:expr) => {{
                let $rows = tables::$table::Columns::view(batch)?;
                Box::new(move |$row| $values.to_vec())
            }};
        }
        Ok(match self.table {
            TableId::Exec => rows!(exec, |rows, row| exec::values(&rows, row)),
            TableId::Exit => rows!(exit, |rows, row| exit::values(&rows, row)),
            TableId::Signal => rows!(signal, |rows, row| signal::values(&rows, row, false)),
            TableId::Kill => rows!(kill, |rows, row| kill::values(&rows, row, false, None)),
            TableId::Open => rows!(open, |rows, row| open::values(&rows, row, false)),
            TableId::Unlink => rows!(unlink, |rows, row| unlink::values(&rows, row, false)),
            TableId::Runq => rows!(runq, |rows, row| runq::values(&rows, row)),
            TableId::Tcpconnect => rows!(tcpconnect, |rows, row| tcpconnect::values(&rows, row)),
            TableId::Tcpstate => rows!(tcpstate, |rows, row| tcpstate::values(&rows, row)),
            TableId::Lsmconnect => rows!(lsmconnect, |rows, row| lsmconnect::values(&rows, row)),
            TableId::Readline => rows!(readline, |rows, row| readline::values(&rows, row)),
            table @ (TableId::Fork
            | TableId::Cgroup
            | TableId::Sample
            | TableId::Syscall
            | TableId::Offcpu
            | TableId::Hardirq
            | TableId::Softirq
            | TableId::Tcprtt
            | TableId::Kalloc
            | TableId::Alloc
            | TableId::Vm
            | TableId::Gc
            | TableId::Probe
            | TableId::Span
            | TableId::Process
            | TableId::Stack
            | TableId::Frame
            | TableId::Symbol
            | TableId::Clock
            | TableId::Loss) => {
                let columns = table.columns();
                let cells: Result<Vec<Cells>, String> =
                    columns.iter().map(|column| Cells::of(batch, column)).collect();
                let cells = cells?;
                Box::new(move |row| {
                    let value = |(column, cells): (&crate::Column, &Cells)| {
                        named(table, column, cells.value(column.kind, row))
                    };
                    columns.iter().zip(&cells).map(value).collect()
                })
            }
        })
    }

    /// The line of a row that was at `ts`.
    #[must_use]
    pub fn text(&self, ts: i64, values: &[Value], spelling: &Spelling) -> String {
        let cells = self.columns.iter().zip(values).skip(1);
        let time = spelling.cell(&Value::Clock(ts));
        if self.tool {
            let shown = cells.filter(|(column, _)| column.shown.in_tables());
            let shown = shown.map(|(column, value)| (column, spelling.cell(value)));
            return self.joined(&time, self.table.name(), shown);
        }
        let mut line = format!("{time:<12} {:<NAME$}", self.table.name());
        for (column, value) in cells {
            let cell = spelling.cell(value);
            // Where a text ends is to be seen.
            line.push_str(&match value {
                Value::Text(_) | Value::Texts(_) => {
                    format!(" {}=\"{}\"", column.name, cell.replace('"', "\\\""))
                }
                _other => format!(" {}={cell}", column.name),
            });
        }
        line
    }

    fn joined<'a>(
        &self,
        time: &str,
        table: &str,
        cells: impl Iterator<Item = (&'a Column, String)>,
    ) -> String {
        let mut line = format!("{time:<12} {table:<NAME$}");
        for (column, cell) in cells {
            column.put(&cell, &mut line);
        }
        line.truncate(line.trim_end_matches(' ').len());
        line
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::Table as _;
    use crate::cell::RowBuilder as _;
    use crate::tables::{Process, process};

    #[test]
    fn a_table_that_no_tool_prints_has_lines_of_columns() {
        let mut rows = process::Builder::default();
        let row = Process {
            ts: 1_795_342_501_500_000_000,
            pid: 7,
            ppid: 1,
            uid: None,
            start: Some(1_795_342_501_000_000_000),
            cgroup: None,
            comm: Some("a\x1b[31m\"".to_owned()),
            exe: None,
            argv: Some(vec!["a".to_owned(), "b c".to_owned()]),
        };
        rows.append(&row, &Default::default());
        let line = Line::of(Process::ID);
        let values = line.values(&rows.finish()).expect("the builder is the table's")(0);
        let spelling = Spelling { zone: TimeZone::UTC, start: row.ts };
        let text = line.text(row.ts, &values, &spelling);
        assert!(text.starts_with("10:15:01.500 process    "), "{text}");
        assert!(text.contains(" pid=7 ") && text.contains(" uid=- "), "{text}");
        assert!(text.contains(" comm=\"a\\x1b[31m\\\"\""), "{text}");
        assert!(text.contains(" argv=\"a b c\""), "{text}");
        assert_eq!(line.header(), None);
    }
}
