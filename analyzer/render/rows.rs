//! The rows of a report, written as they come.
//!
//! JSON and CSV need no more than the row at hand. A table has widths: its first rows are held until enough are there
//! to tell how wide each column is, and from then on each is written at once, so that memory does not grow with
//! the report.

use std::borrow::Cow;
use std::io::Write as _;

use super::data::{csv_field, csv_line, json, json_text};
use super::{Column, Format, Output, Value};

/// Rows of this many are looked at before a table's columns get their widths.
pub(super) const ROWS_FOR_WIDTHS: usize = 1000;

/// No column is cut to less.
const LEAST_WIDTH: usize = 8;

/// The text's first characters, and `…` where there were more than `most`.
fn shortened(text: &str, most: usize) -> Cow<'_, str> {
    if text.chars().count() <= most {
        return Cow::Borrowed(text);
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    Cow::Owned(format!("{kept}…"))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Begun,
    Flowing,
}

/// Rows that are to go on later.
pub(crate) struct Paused {
    columns: Vec<Column>,
    held: Vec<Vec<String>>,
    cut: Option<(usize, usize)>,
    state: State,
    line: String,
}

impl Paused {
    /// Rows of these columns, of which none has come yet.
    pub(super) fn new(columns: Vec<Column>) -> Paused {
        Paused { columns, held: Vec::new(), cut: None, state: State::Begun, line: String::new() }
    }

    /// The rows with other columns, of which data has the same: a header of CSV is written once.
    pub(crate) fn with(self, columns: Vec<Column>) -> Option<Paused> {
        let names = |columns: &[Column]| -> Vec<&'static str> {
            let in_data = columns.iter().filter(|column| column.shown.in_data());
            in_data.map(|column| column.name).collect()
        };
        (names(&self.columns) == names(&columns)).then_some(Paused { columns, ..self })
    }
}

/// Writes the rows of a report as they come.
pub struct Rows<'o> {
    output: &'o mut Output,
    columns: Vec<Column>,
    held: Vec<Vec<String>>,
    /// Which of the columns of a table is cut, and to how many characters.
    cut: Option<(usize, usize)>,
    state: State,
    line: String,
}

impl<'o> Rows<'o> {
    /// Goes on where the rows were paused.
    pub(super) fn resumed(output: &'o mut Output, paused: Paused) -> Rows<'o> {
        let Paused { columns, held, cut, state, line } = paused;
        Rows { output, columns, held, cut, state, line }
    }

    /// Lets go of the output, to go on later.
    pub(crate) fn pause(self) -> Paused {
        let Rows { columns, held, cut, state, line, .. } = self;
        Paused { columns, held, cut, state, line }
    }

    /// Writes a row: a value for each column, in order.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn row(&mut self, values: &[Value]) -> anyhow::Result<()> {
        debug_assert_eq!(values.len(), self.columns.len(), "a value for each column");
        if let Some(part) = &mut self.output.part {
            return part.row(values);
        }
        if let Some(capture) = &self.output.capture {
            capture.row(values);
            return Ok(());
        }
        match self.output.format {
            Format::Table => {
                let cells = std::iter::zip(&self.columns, values)
                    .filter(|(column, _)| column.shown.in_tables())
                    .map(|(_, value)| self.output.spelling.cell(value))
                    .collect::<Vec<_>>();
                if self.state == State::Flowing {
                    return self.table_line(&cells);
                }
                self.held.push(cells);
                if self.held.len() == ROWS_FOR_WIDTHS { self.begin_table() } else { Ok(()) }
            }
            Format::Json => {
                self.line.clear();
                self.line.push_str(match self.state {
                    State::Begun => "[\n",
                    State::Flowing => ",\n",
                });
                self.state = State::Flowing;
                self.json_object(values);
                self.output.sink.write_all(self.line.as_bytes())?;
                Ok(())
            }
            Format::Jsonl => {
                self.line.clear();
                self.json_object(values);
                self.line.push('\n');
                self.output.sink.write_all(self.line.as_bytes())?;
                Ok(())
            }
            Format::Csv => {
                self.csv_header()?;
                let terminal = self.output.terminal;
                let fields = std::iter::zip(&self.columns, values)
                    .filter(|(column, _)| column.shown.in_data())
                    .map(|(_, value)| csv_field(value, terminal));
                csv_line(&mut self.output.sink, &mut self.line, fields)
            }
        }
    }

    /// Appends a row as an object to the line.
    fn json_object(&mut self, values: &[Value]) {
        self.line.push('{');
        let mut first = true;
        for (column, value) in std::iter::zip(&self.columns, values) {
            if !column.shown.in_data() {
                continue;
            }
            if !std::mem::replace(&mut first, false) {
                self.line.push(',');
            }
            json_text(column.name, &mut self.line);
            self.line.push(':');
            json(value, &mut self.line);
        }
        self.line.push('}');
    }

    /// Ends the rows.
    ///
    /// # Errors
    /// If what is left cannot be written.
    pub fn end(mut self) -> anyhow::Result<()> {
        if let Some(part) = &mut self.output.part {
            return part.end();
        }
        match (self.output.format, self.state) {
            (Format::Table, State::Begun) => self.begin_table(),
            (Format::Table, State::Flowing) => Ok(()),
            (Format::Json, State::Begun) => self.output.line("[]"),
            (Format::Json, State::Flowing) => self.output.line("\n]"),
            (Format::Jsonl, _) => Ok(()),
            (Format::Csv, _) => self.csv_header(),
        }
    }

    fn csv_header(&mut self) -> anyhow::Result<()> {
        if self.state == State::Begun {
            self.state = State::Flowing;
            let names = self
                .columns
                .iter()
                .filter(|column| column.shown.in_data())
                .map(|column| column.name.to_owned());
            csv_line(&mut self.output.sink, &mut self.line, names)?;
        }
        Ok(())
    }

    /// Fixes the widths and writes the header and the rows that were held for it.
    fn begin_table(&mut self) -> anyhow::Result<()> {
        self.state = State::Flowing;
        let held = std::mem::take(&mut self.held);
        let shown = self.columns.iter_mut().filter(|column| column.shown.in_tables());
        let mut header = Vec::new();
        for (index, column) in shown.enumerate() {
            let cells = held.iter().map(|cells| cells[index].chars().count());
            let widest = cells.max().unwrap_or(0).max(column.header.chars().count());
            column.width = column.width.max(widest);
            header.push(column.header.to_string());
        }
        self.fit();
        self.table_line(&header)?;
        for cells in &held {
            self.table_line(cells)?;
        }
        Ok(())
    }

    /// Makes the last column of texts so narrow that lines fit the terminal.
    fn fit(&mut self) {
        let Some(most) = self.output.width else { return };
        let mut shown: Vec<&mut Column> =
            self.columns.iter_mut().filter(|column| column.shown.in_tables()).collect();
        let line = shown.iter().map(|column| column.width + 1).sum::<usize>().saturating_sub(1);
        let Some(place) = shown.iter().rposition(|column| !column.right) else { return };
        if line > most {
            let column = &mut shown[place];
            column.width =
                column.width.saturating_sub(line - most).max(LEAST_WIDTH.min(column.width));
            self.cut = Some((place, column.width));
        }
    }

    fn table_line(&mut self, cells: &[String]) -> anyhow::Result<()> {
        self.line.clear();
        let shown = self.columns.iter().filter(|column| column.shown.in_tables());
        for (place, (column, cell)) in std::iter::zip(shown, cells).enumerate() {
            let cell = match self.cut {
                Some((cut, most)) if cut == place => shortened(cell, most),
                Some(_) | None => Cow::Borrowed(cell.as_str()),
            };
            column.put(&cell, &mut self.line);
        }
        self.line.truncate(self.line.trim_end_matches(' ').len());
        self.line.push('\n');
        self.output.sink.write_all(self.line.as_bytes()).map_err(anyhow::Error::from)
    }
}
