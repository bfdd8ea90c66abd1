//! Rows on their way out: as a table to read, as JSON, or as CSV.
//!
//! A report does not print. It says which [`Column`]s it has and hands over rows of [`Value`]s, and
//! all three formats are made from those. A table is for people: times, sizes and codes are spelled
//! out, and headers are those of the tools that people know. JSON and CSV are for programs: keys are
//! the names of the recorded columns, and numbers stay what they are (nanoseconds, bytes).
//!
//! Recorded text is untrusted: a process may carry terminal escape sequences in its arguments.
//! Wherever text can reach a terminal, control characters are [escaped].

mod captured;
mod data;
mod pager;
mod rows;

use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use jiff::tz::TimeZone;

use crate::hosts::part::{Order, Part, Said};
use crate::losses::Heading;
use lookback_schemas::lines::value::Spelling;
use pager::Pager;

pub use captured::{Capture, Captured, Keep};
pub(crate) use data::{json, json_text};
pub use lookback_schemas::lines::role::Role;
pub use lookback_schemas::lines::text::{
    duration, escaped, moment, real, short_moment, size, spoken, thousands, utc,
};
pub use lookback_schemas::lines::value::{Column, Value};
pub(crate) use rows::Paused;
pub use rows::Rows;

/// How rows are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns to read.
    #[default]
    Table,
    /// One JSON array of objects.
    Json,
    /// A JSON object in each line.
    Jsonl,
    /// Comma-separated values with a header line (RFC 4180); ' before texts like formulas.
    Csv,
}

/// In which time zone tables show times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Zone {
    /// Coordinated Universal Time.
    #[default]
    Utc,
    /// The time zone of this machine.
    Local,
}

impl Zone {
    /// The zone itself.
    #[must_use]
    pub fn zone(self) -> TimeZone {
        match self {
            Zone::Utc => TimeZone::UTC,
            Zone::Local => TimeZone::system(),
        }
    }
}

/// Where a report goes, and in which format.
#[derive(Args, Clone, Debug, Default)]
pub struct OutputArgs {
    /// How to write the rows
    #[arg(long, value_enum, default_value_t, help_heading = "Output")]
    pub format: Format,
    /// Write to this file instead of the standard output
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    pub output: Option<PathBuf>,
    /// Time zone of the times in tables
    #[arg(long, value_enum, default_value_t, help_heading = "Output")]
    pub tz: Zone,
    /// Do not cut the last text of tables that are wider than the terminal
    #[arg(long, help_heading = "Output")]
    pub wide: bool,
    /// Do not page what is longer than the terminal (with $LOOKBACK_PAGER, $PAGER or less)
    #[arg(long, help_heading = "Output")]
    pub no_pager: bool,
    /// Keep the report here and print nothing.
    #[arg(skip)]
    pub capture: Option<Capture>,
}

/// Where the output goes, opened.
pub struct Output {
    sink: BufWriter<Named>,
    format: Format,
    spelling: Spelling,
    colour: bool,
    terminal: bool,
    /// How wide tables may be.
    width: Option<usize>,
    /// Of a report on one of several recordings: what takes it all.
    part: Option<Part>,
    /// Takes the report instead.
    capture: Option<Capture>,
}

/// A writer whose errors name it.
struct Named {
    name: String,
    inner: Box<dyn Write>,
}

impl Named {
    fn error(&self, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("{}: {error}", self.name))
    }
}

impl Write for Named {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.write(bytes).map_err(|error| self.error(&error))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush().map_err(|error| self.error(&error))
    }
}

/// Whether the error only says that whoever read our output has read enough, as `head` does.
#[must_use]
pub fn reader_left(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}

impl Output {
    /// Opens the output. `start` is when the recording began.
    ///
    /// # Errors
    /// If the file cannot be created.
    pub fn open(args: &OutputArgs, start: i64) -> anyhow::Result<Output> {
        if let Some(capture) = &args.capture {
            // What is for programs is what can be compared.
            let output = Output::to(Box::new(io::sink()), Format::Json, start);
            return Ok(Output { capture: Some(capture.clone()), ..output });
        }
        let (name, inner, terminal): (_, Box<dyn Write>, _) = match &args.output {
            Some(path) => {
                let name = path.display().to_string();
                let file = std::fs::File::create(path).with_context(|| name.clone())?;
                (name, Box::new(file), false)
            }
            None => {
                let stdout = io::stdout();
                let terminal = stdout.is_terminal();
                let pager = (terminal && !args.no_pager).then(Pager::find).flatten();
                let writer: Box<dyn Write> = match pager {
                    Some(pager) => Box::new(pager),
                    None => Box::new(stdout),
                };
                ("standard output".to_owned(), writer, terminal)
            }
        };
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let mut output = Output::to(inner, args.format, start);
        output.sink.get_mut().name = name;
        let width = (terminal && !args.wide).then(terminal_size::terminal_size).flatten();
        // A terminal that does not tell has none.
        let width = width.map(|(width, _)| usize::from(width.0)).filter(|width| *width > 0);
        output.spelling.zone = args.tz.zone();
        Ok(Output { colour: terminal && !no_colour, terminal, width, ..output })
    }

    /// The output of a report on one of several recordings: it goes to the report on all.
    pub(crate) fn of_part(args: &OutputArgs, part: Part) -> Output {
        let mut output = Output::to(Box::new(io::sink()), args.format, 0);
        output.spelling.zone = args.tz.zone();
        Output { part: Some(part), ..output }
    }

    /// An output that goes into `inner`, which is no terminal; times in UTC.
    #[must_use]
    pub fn to(inner: Box<dyn Write>, format: Format, start: i64) -> Output {
        let sink = BufWriter::with_capacity(64 << 10, Named { name: String::new(), inner });
        let spelling = Spelling { zone: TimeZone::UTC, start };
        let (colour, terminal) = (false, false);
        let (width, part, capture) = (None, None, None);
        Output { sink, format, spelling, colour, terminal, width, part, capture }
    }

    /// The format that was asked for.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Whether the report is kept instead of printed.
    #[must_use]
    pub fn is_compared(&self) -> bool {
        self.capture.is_some()
    }

    /// Writes the report's first lines, in which it says what it covers and what is missing. In
    /// JSON and CSV, which have no place for that, what is missing goes to the standard error.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn heading(&mut self, heading: &Heading) -> anyhow::Result<()> {
        if let Some(part) = &self.part {
            return part.say(Said::Heading(heading.clone()));
        }
        if let Some(capture) = &self.capture {
            capture.lock().heading = heading.clone();
            return Ok(());
        }
        match self.format {
            Format::Table => {
                self.line(&format!("# {}", heading.covers))?;
                for warning in &heading.warnings {
                    let text = escaped(warning);
                    if self.colour {
                        self.line(&format!("\x1b[1;31m# {text}\x1b[0m"))?;
                    } else {
                        self.line(&format!("# {text}"))?;
                    }
                }
                self.notes(&heading.remarks)?;
            }
            Format::Json | Format::Jsonl | Format::Csv => heading.warn(),
        }
        Ok(())
    }

    /// Says what a reader must know about the rows, in lines that are safe to print. In JSON and CSV,
    /// which have no place for that, it goes to the standard error.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn notes(&mut self, notes: &[String]) -> anyhow::Result<()> {
        if let Some(part) = &self.part {
            return part.say(Said::Notes(notes.iter().map(|note| part.of_host(note)).collect()));
        }
        if let Some(capture) = &self.capture {
            capture.lock().notes.extend_from_slice(notes);
            return Ok(());
        }
        for note in notes {
            match self.format {
                Format::Table => self.line(&format!("# {note}"))?,
                Format::Json | Format::Jsonl | Format::Csv => eprintln!("analyze: note: {note}"),
            }
        }
        Ok(())
    }

    /// Writes a line of text, which must be safe to print.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn line(&mut self, text: &str) -> anyhow::Result<()> {
        if let Some(part) = &self.part {
            return part.say(Said::Line(text.to_owned()));
        }
        writeln!(self.sink, "{text}").map_err(anyhow::Error::from)
    }

    /// Writes what is neither rows nor lines.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn bytes(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        match &self.part {
            Some(part) => part.say(Said::Bytes(bytes.to_vec())),
            None => self.sink.write_all(bytes).map_err(anyhow::Error::from),
        }
    }

    /// Where the bytes of one recording's report go as they are made. What is made from several has no such
    /// place: see [`bytes`](Output::bytes).
    pub(crate) fn raw(&mut self) -> &mut impl Write {
        debug_assert!(
            self.part.is_none(),
            "only reports on one recording write bytes as they come"
        );
        &mut self.sink
    }

    /// Begins the rows of a report. Those of several recordings follow each other.
    pub fn rows(&mut self, columns: Vec<Column>) -> Rows<'_> {
        self.rows_in_order(columns, None)
    }

    /// Begins the rows of a report that come in the order of the moments in their column `ts`. Those of
    /// several recordings go together in that order.
    pub fn events(&mut self, columns: Vec<Column>) -> Rows<'_> {
        self.events_by("ts", columns)
    }

    /// As [`events`](Output::events), in the order of another column.
    pub fn events_by(&mut self, order: &'static str, columns: Vec<Column>) -> Rows<'_> {
        self.rows_in_order(columns, Some(Order { column: order, most: None }))
    }

    /// As [`events`](Output::events), where each recording has `most` rows at most, and all together too.
    pub fn first_events(&mut self, columns: Vec<Column>, most: Option<u64>) -> Rows<'_> {
        self.rows_in_order(columns, Some(Order { column: "ts", most }))
    }

    fn rows_in_order(&mut self, columns: Vec<Column>, order: Option<Order>) -> Rows<'_> {
        if let Some(part) = &self.part {
            part.begin(columns.clone(), order);
        }
        if let Some(capture) = &self.capture {
            capture.lock().columns.clone_from(&columns);
        }
        self.resume(Paused::new(columns))
    }

    /// Goes on with rows that were paused.
    pub(crate) fn resume(&mut self, paused: Paused) -> Rows<'_> {
        Rows::resumed(self, paused)
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(mut self) -> anyhow::Result<()> {
        self.sink.flush().map_err(anyhow::Error::from)
    }

    /// The value as a table shows it, safe to print.
    pub(crate) fn cell(&self, value: &Value) -> String {
        self.spelling.cell(value)
    }

    /// The moment as a table shows it: RFC 3339 with `digits` of a second.
    #[must_use]
    pub fn moment(&self, ns: i64, digits: u8) -> String {
        let ns = self.part.as_ref().map_or(ns, |part| part.shared(ns));
        moment(ns, digits, &self.spelling.zone)
    }
}

#[cfg(test)]
mod tests {
    use lookback_schemas::lines::text::steers;

    use super::rows::ROWS_FOR_WIDTHS;
    use super::*;
    use crate::made::Capture;

    fn printed(format: Format, rows: &[Vec<Value>]) -> String {
        let capture = Capture::default();
        let mut output = Output::to(Box::new(capture.clone()), format, 0);
        let mut writer = output.rows(vec![
            Column::new("pid", "PID").right(),
            Column::data("uid"),
            Column::new("comm", "COMM").wide(6),
            Column::table("NOTE"),
        ]);
        for row in rows {
            writer.row(row).expect("memory takes every row");
        }
        writer.end().expect("memory takes every row");
        output.finish().expect("memory takes every row");
        capture.text()
    }

    fn row(comm: Value) -> Vec<Value> {
        vec![Value::Int(7), Value::Null, comm, Value::Text("x".to_owned())]
    }

    #[test]
    fn the_same_rows_make_every_format() {
        let rows = [row(Value::Text("a,\"b\"".to_owned())), row(Value::Null)];
        assert_eq!(
            printed(Format::Table, &rows),
            "PID COMM   NOTE\n  7 a,\"b\"  x\n  7 -      x\n"
        );
        assert_eq!(
            printed(Format::Json, &rows),
            "[\n{\"pid\":7,\"uid\":null,\"comm\":\"a,\\\"b\\\"\"},\n\
             {\"pid\":7,\"uid\":null,\"comm\":null}\n]\n"
        );
        assert_eq!(
            printed(Format::Jsonl, &rows),
            "{\"pid\":7,\"uid\":null,\"comm\":\"a,\\\"b\\\"\"}\n\
             {\"pid\":7,\"uid\":null,\"comm\":null}\n"
        );
        assert_eq!(printed(Format::Csv, &rows), "pid,uid,comm\n7,,\"a,\"\"b\"\"\"\n7,,\n");
    }

    #[test]
    fn no_rows_are_still_a_table_an_array_and_a_header() {
        assert_eq!(printed(Format::Table, &[]), "PID COMM   NOTE\n");
        assert_eq!(printed(Format::Json, &[]), "[]\n");
        assert_eq!(printed(Format::Jsonl, &[]), "");
        assert_eq!(printed(Format::Csv, &[]), "pid,uid,comm\n");
    }

    #[test]
    fn rows_after_the_widths_are_fixed_still_come() {
        let rows = vec![row(Value::Int(1)); ROWS_FOR_WIDTHS + 5];
        let text = printed(Format::Table, &rows);
        assert_eq!(text.lines().count(), ROWS_FOR_WIDTHS + 6);
        assert!(text.lines().skip(1).all(|line| line == "  7 1      x"));
    }

    #[test]
    fn recorded_text_cannot_steer_the_terminal() {
        let hostile = "a\x1b]0;owned\x07\u{9b}31m\r\n\u{202e}b";
        let rows = [row(Value::Text(hostile.to_owned()))];
        for format in [Format::Table, Format::Json] {
            let text = printed(format, &rows);
            assert!(!text.trim_end().replace('\n', "").chars().any(steers), "{text:?}");
        }
        let text = printed(Format::Json, &rows);
        let json: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!(json[0]["comm"], hostile, "JSON loses nothing");
    }

    #[test]
    fn spreadsheets_calculate_nothing_that_was_recorded() {
        for text in ["=1+1", "+1", "-bash", "@SUM(A1)", "\t=1", "\r=1"] {
            let printed = printed(Format::Csv, &[row(Value::Text(text.to_owned()))]);
            let mut reader = csv::Reader::from_reader(printed.as_bytes());
            let record = reader.records().next().expect("there is a row").expect("it is CSV");
            assert_eq!(&record[2], format!("'{text}"));
        }
        let harmless = [row(Value::Text("a;=1".to_owned())), row(Value::Int(-5))];
        assert_eq!(printed(Format::Csv, &harmless), "pid,uid,comm\n7,,\"a;=1\"\n7,,-5\n");
    }

    #[test]
    fn tables_show_units_and_data_keeps_numbers() {
        let values = [Value::Millis(1_234_567), Value::Micros(-1_500), Value::Kibibytes(2047)];
        let printed = |format| -> Vec<String> {
            values.iter().map(|value| printed(format, &[row(value.clone())])).collect()
        };
        for (text, shown) in std::iter::zip(printed(Format::Table), ["1.235", "-1.500", "1"]) {
            assert_eq!(text.split_whitespace().nth(4), Some(shown));
        }
        for (text, kept) in std::iter::zip(printed(Format::Csv), ["1234567", "-1500", "2047"]) {
            assert!(text.ends_with(&format!(",{kept}\n")), "{text}");
        }
        assert_eq!(Value::count(u64::MAX), Value::Int(i64::MAX));
    }
}
