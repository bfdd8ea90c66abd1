//! Values of rows, the columns they stand in, and how people read them.

use std::borrow::Cow;
use std::fmt::Write as _;

use jiff::tz::TimeZone;

use super::role::Role;
use super::text::{duration, escaped, join, moment, real, size, zoned};

/// One value of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Unknown: `-` in a table, null in JSON, nothing in CSV.
    Null,
    /// A number.
    Int(i64),
    /// A number with a fraction. NaN and the infinities are unknown.
    Real(f64),
    /// Text.
    Text(String),
    /// A list of texts, such as arguments. Joined by spaces in a table.
    Texts(Vec<String>),
    /// A list of numbers.
    Ints(Vec<i64>),
    /// A length of time in nanoseconds.
    Duration(i64),
    /// A length of time in nanoseconds, which a table shows as seconds with two digits.
    Seconds(i64),
    /// A length of time in nanoseconds, which a table shows as milliseconds with three digits.
    Millis(i64),
    /// A length of time in nanoseconds, which a table shows as microseconds with three digits.
    Micros(i64),
    /// A moment in nanoseconds since the Unix epoch, which a table shows in full.
    Time(i64),
    /// The same, which a table shows as the time of day where the day is the recording's first.
    Clock(i64),
    /// A size in bytes.
    Bytes(i64),
    /// A size in bytes, which a table shows as whole KiB.
    Kibibytes(i64),
    /// Yes or no.
    Flag(bool),
    /// The bits of an unsigned machine address.
    Hex(i64),
    /// A number that a table shows by its name.
    Named(i64, Cow<'static, str>),
}

impl Value {
    /// The text, or unknown.
    #[must_use]
    pub fn text(text: Option<&str>) -> Value {
        text.map_or(Value::Null, |text| Value::Text(text.to_owned()))
    }

    /// A count, as far as 63 bits hold it.
    #[must_use]
    pub fn count(count: u64) -> Value {
        Value::Int(i64::try_from(count).unwrap_or(i64::MAX))
    }

    /// `part` of `whole` in percent, with two digits; unknown if the whole is, or is nothing.
    #[must_use]
    pub fn percent(part: i64, whole: Option<i64>) -> Value {
        match whole {
            Some(whole @ 1..) => {
                Value::Real((part as f64 / whole as f64 * 10_000.0).round() / 100.0)
            }
            Some(_) | None => Value::Null,
        }
    }

    /// The number that it is, as the data formats have it.
    #[must_use]
    pub fn number(&self) -> Option<i64> {
        match self {
            Value::Int(number)
            | Value::Duration(number)
            | Value::Seconds(number)
            | Value::Millis(number)
            | Value::Micros(number)
            | Value::Time(number)
            | Value::Clock(number)
            | Value::Bytes(number)
            | Value::Kibibytes(number)
            | Value::Hex(number)
            | Value::Named(number, _) => Some(*number),
            Value::Null
            | Value::Real(_)
            | Value::Text(_)
            | Value::Texts(_)
            | Value::Ints(_)
            | Value::Flag(_) => None,
        }
    }

    /// The number, or unknown.
    #[must_use]
    pub fn int<N: Into<i64>>(number: Option<N>) -> Value {
        number.map_or(Value::Null, |number| Value::Int(number.into()))
    }
}

/// Which formats have a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// All of them.
    Everywhere,
    /// Tables alone.
    InTables,
    /// JSON and CSV alone.
    InData,
    /// None: it only tells the order of rows.
    Nowhere,
}

impl Shown {
    /// Whether tables have it.
    #[must_use]
    pub fn in_tables(self) -> bool {
        matches!(self, Shown::Everywhere | Shown::InTables)
    }

    /// Whether JSON and CSV have it.
    #[must_use]
    pub fn in_data(self) -> bool {
        matches!(self, Shown::Everywhere | Shown::InData)
    }
}

/// What a report says about one of its columns.
#[derive(Clone, Debug)]
pub struct Column {
    /// The key in JSON and CSV.
    pub name: &'static str,
    /// The header in tables.
    pub header: Cow<'static, str>,
    /// How many characters it takes in tables at least.
    pub width: usize,
    /// Whether tables align it right.
    pub right: bool,
    /// Which formats have it.
    pub shown: Shown,
    /// What its values are to a comparison.
    pub role: Role,
}

impl Column {
    /// A column that is called `name` in JSON and CSV and `header` in tables, aligned left.
    #[must_use]
    pub fn new(name: &'static str, header: &'static str) -> Column {
        let shown = Shown::Everywhere;
        let role = Role::of(name);
        Column { name, header: Cow::Borrowed(header), width: 0, right: false, shown, role }
    }

    /// A column that only JSON and CSV have.
    #[must_use]
    pub fn data(name: &'static str) -> Column {
        Column { shown: Shown::InData, ..Column::new(name, "") }
    }

    /// A column that only tables have, for what the data says in other columns.
    #[must_use]
    pub fn table(header: &'static str) -> Column {
        Column { shown: Shown::InTables, ..Column::new("", header) }
    }

    /// The column, only in JSON and CSV.
    #[must_use]
    pub fn in_data(self) -> Column {
        Column { shown: Shown::InData, ..self }
    }

    /// The column, only to tell the order of rows by.
    #[must_use]
    pub fn hidden(self) -> Column {
        Column { shown: Shown::Nowhere, ..self }
    }

    /// A column of the recording as it is; its header is its name.
    #[must_use]
    pub fn recorded(column: &crate::Column) -> Column {
        let number = match column.kind {
            crate::Kind::Duration
            | crate::Kind::Bytes
            | crate::Kind::Count
            | crate::Kind::Id
            | crate::Kind::Code => true,
            crate::Kind::Time | crate::Kind::Address | crate::Kind::Flag | crate::Kind::Text(_) => {
                false
            }
        };
        let list = column.ty == crate::Type::I64s;
        Column { right: number && !list, ..Column::new(column.name, column.name) }
    }

    /// Appends its cell to a line of a table, behind what the line has already.
    pub fn put(&self, cell: &str, line: &mut String) {
        if !line.is_empty() {
            line.push(' ');
        }
        let width = self.width;
        // A string takes all that is written to it.
        let _ = match self.right {
            true => write!(line, "{cell:>width$}"),
            false => write!(line, "{cell:<width$}"),
        };
    }

    /// At least this wide in tables.
    #[must_use]
    pub fn wide(self, width: usize) -> Column {
        Column { width, ..self }
    }

    /// Aligned right in tables.
    #[must_use]
    pub fn right(self) -> Column {
        Column { right: true, ..self }
    }

    /// Of what there is at an instant, whatever its name means elsewhere.
    #[must_use]
    pub fn level(self) -> Column {
        Column { role: Role::Level, ..self }
    }

    /// What it is called in JSON and CSV; nothing if only tables have it.
    #[must_use]
    pub fn data_name(&self) -> Option<&'static str> {
        (self.shown != Shown::InTables).then_some(self.name)
    }
}

/// How values are spelled for people.
#[derive(Clone, Debug)]
pub struct Spelling {
    /// The time zone of moments.
    pub zone: TimeZone,
    /// Start of the recording: times of day without a date are of this day.
    pub start: i64,
}

impl Spelling {
    fn clock(&self, ns: i64) -> String {
        let (time, start) = (zoned(ns, &self.zone), zoned(self.start, &self.zone));
        if time.date() == start.date() {
            time.strftime("%H:%M:%S%.3f").to_string()
        } else {
            moment(ns, 0, &self.zone)
        }
    }

    /// The value, in characters that are safe to print.
    #[must_use]
    pub fn cell(&self, value: &Value) -> String {
        match value {
            Value::Null => "-".to_owned(),
            Value::Int(number) => number.to_string(),
            Value::Real(number) => real(*number).unwrap_or_else(|| "-".to_owned()),
            Value::Text(text) => escaped(text).into_owned(),
            Value::Texts(texts) => escaped(&texts.join(" ")).into_owned(),
            Value::Ints(numbers) => join(numbers, " "),
            Value::Duration(ns) => duration(*ns),
            Value::Seconds(ns) => format!("{:.2}", *ns as f64 / 1e9),
            Value::Millis(ns) => format!("{:.3}", *ns as f64 / 1e6),
            Value::Micros(ns) => format!("{:.3}", *ns as f64 / 1e3),
            Value::Time(ns) => moment(*ns, 9, &self.zone),
            Value::Clock(ns) => self.clock(*ns),
            Value::Bytes(bytes) => size(*bytes),
            Value::Kibibytes(bytes) => (bytes / 1024).to_string(),
            Value::Flag(true) => "yes".to_owned(),
            Value::Flag(false) => "no".to_owned(),
            Value::Hex(address) => format!("{address:#x}"),
            Value::Named(_, name) => name.to_string(),
        }
    }
}
