//! The rows of a report as numbers by key.
//!
//! Which of its columns are keys and which are measures follows from their [`Role`]s and from what is in them.
//! Rows whose keys are equal become one, since pids and the like are no keys here: counts and sums are added,
//! means are weighted, and of percentiles, which cannot be brought together, nothing is known.

use std::collections::BTreeMap;

use crate::render::{Captured, Column, Role, Value};

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    Number,
    /// Nanoseconds.
    Time,
    /// Bytes.
    Bytes,
    /// Hundredths.
    Percent,
}

/// A column of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measure {
    /// The column's name; [`ROWS`] for how many rows there were.
    pub name: &'static str,
    /// What the numbers are.
    pub role: Role,
    /// What they count.
    pub unit: Unit,
}

/// The measure of reports that do not count: how many rows have the same key.
pub const ROWS: &str = "rows";

/// Which columns of a report are keys, and which are measures.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The columns that tell rows apart.
    pub keys: Vec<Column>,
    /// The columns of numbers.
    pub measures: Vec<Measure>,
}

/// A row, or several that have the same keys.
#[derive(Clone, Debug)]
pub struct Row {
    /// A value for each of [`Layout::keys`].
    pub keys: Vec<Value>,
    /// A number for each of [`Layout::measures`].
    pub numbers: Vec<Option<f64>>,
}

/// Rows by what their keys read.
pub type Rows = BTreeMap<Vec<String>, Row>;

/// The number that the value is, and what it counts.
fn number(value: &Value) -> Option<(f64, Unit)> {
    match value {
        Value::Int(number) => Some((*number as f64, Unit::Number)),
        Value::Real(number) => Some((*number, Unit::Number)),
        Value::Duration(ns) | Value::Seconds(ns) | Value::Millis(ns) | Value::Micros(ns) => {
            Some((*ns as f64, Unit::Time))
        }
        Value::Bytes(bytes) | Value::Kibibytes(bytes) => Some((*bytes as f64, Unit::Bytes)),
        Value::Null
        | Value::Text(_)
        | Value::Texts(_)
        | Value::Ints(_)
        | Value::Time(_)
        | Value::Clock(_)
        | Value::Flag(_)
        | Value::Hex(_)
        | Value::Named(..) => None,
    }
}

/// Whether the value says nothing that a second recording could say too.
fn is_aside(value: &Value) -> bool {
    matches!(value, Value::Time(_) | Value::Clock(_) | Value::Hex(_))
}

/// What a column is, by what is in it.
enum Kind {
    Key,
    Measure(Measure),
    Aside,
}

fn kind(column: &Column, name: &'static str, values: &[&Value]) -> Kind {
    let aside = matches!(column.role, Role::Aside | Role::Identity);
    if aside || values.iter().any(|value| is_aside(value)) {
        return Kind::Aside;
    }
    let numbers: Option<Vec<(f64, Unit)>> = values.iter().map(|value| number(value)).collect();
    let Some(numbers) = numbers else { return Kind::Key };
    let unit = if column.role == Role::Share {
        Unit::Percent
    } else if ["bytes", "mapped", "of_bytes"].contains(&name) {
        Unit::Bytes
    } else {
        numbers.first().map_or(Unit::Number, |(_, unit)| *unit)
    };
    match column.role {
        Role::Aside | Role::Identity => Kind::Aside,
        // A time or a size of which nothing else is known is a value of its own.
        Role::Key if matches!(unit, Unit::Time | Unit::Bytes) => {
            Kind::Measure(Measure { name, role: Role::Mean, unit })
        }
        Role::Key => Kind::Key,
        role @ (Role::Count
        | Role::Sum
        | Role::Rate
        | Role::Level
        | Role::Share
        | Role::Mean
        | Role::Percentile
        | Role::Max) => Kind::Measure(Measure { name, role, unit }),
    }
}

impl Layout {
    /// The layout of a report, from what it printed of two recordings.
    #[must_use]
    pub fn of(before: &Captured, after: &Captured) -> Layout {
        let mut layout = Layout { keys: Vec::new(), measures: Vec::new() };
        let reports = [before, after];
        for column in before.columns.iter().chain(&after.columns) {
            let Some(name) = column.data_name() else { continue };
            if layout.knows(name) {
                continue;
            }
            let values = reports.iter().flat_map(|report| {
                let place = report.place(name);
                report.rows.iter().filter_map(move |row| place.map(|place| &row[place]))
            });
            let known: Vec<&Value> = values.filter(|value| **value != Value::Null).collect();
            match kind(column, name, &known) {
                Kind::Key => layout.keys.push(column.clone()),
                Kind::Measure(measure) => layout.measures.push(measure),
                Kind::Aside => {}
            }
        }
        // A mean is a fraction, which does not tell of what. The largest value does.
        let max = layout.measures.iter().find(|measure| measure.name == "max").map(|max| max.unit);
        for measure in layout.measures.iter_mut().filter(|measure| measure.name == "mean") {
            measure.unit = max.unwrap_or(measure.unit);
        }
        let counts = |measure: &Measure| matches!(measure.role, Role::Count | Role::Level);
        if !layout.measures.iter().any(counts) {
            let rows = Measure { name: ROWS, role: Role::Count, unit: Unit::Number };
            layout.measures.insert(0, rows);
        }
        layout
    }

    /// The names of all its columns.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        let measures = self.measures.iter().map(|measure| measure.name);
        self.keys.iter().filter_map(Column::data_name).chain(measures)
    }

    fn knows(&self, name: &str) -> bool {
        self.names().any(|known| known == name)
    }

    /// The rows of a report.
    #[must_use]
    pub fn rows(&self, report: &Captured) -> Rows {
        let keys: Vec<Option<usize>> = self
            .keys
            .iter()
            .map(|key| key.data_name().and_then(|name| report.place(name)))
            .collect();
        let measures: Vec<Option<usize>> =
            self.measures.iter().map(|measure| report.place(measure.name)).collect();
        let count = self.measures.iter().position(|measure| measure.role == Role::Count);
        let mut sums: BTreeMap<Vec<String>, (Vec<Value>, Vec<Joined>)> = BTreeMap::new();
        for row in &report.rows {
            let value = |place: &Option<usize>| place.map_or(Value::Null, |at| row[at].clone());
            let key: Vec<Value> = keys.iter().map(value).collect();
            let numbers = std::iter::zip(&self.measures, &measures).map(|(measure, place)| {
                match measure.name {
                    ROWS => Some(1.0),
                    _ => place.and_then(|place| number(&row[place])).map(|(number, _)| number),
                }
            });
            let numbers: Vec<Option<f64>> = numbers.collect();
            let weight = count.and_then(|count| numbers[count]).unwrap_or(1.0);
            let text = key.iter().map(|value| format!("{value:?}")).collect();
            let (_, joined) = sums
                .entry(text)
                .or_insert_with(|| (key, vec![Joined::default(); self.measures.len()]));
            for (joined, number) in std::iter::zip(joined, numbers) {
                joined.add(number, weight);
            }
        }
        let row = |(text, (keys, joined)): (_, (_, Vec<Joined>))| {
            let numbers = std::iter::zip(&self.measures, joined)
                .map(|(measure, joined)| joined.number(measure.role));
            (text, Row { keys, numbers: numbers.collect() })
        };
        sums.into_iter().map(row).collect()
    }
}

/// The numbers that one measure has in rows with the same key.
#[derive(Clone, Debug, Default)]
struct Joined {
    rows: u64,
    unknown: u64,
    sum: f64,
    weighted: f64,
    weights: f64,
    max: Option<f64>,
}

impl Joined {
    fn add(&mut self, number: Option<f64>, weight: f64) {
        self.rows += 1;
        let Some(number) = number.filter(|number| number.is_finite()) else {
            self.unknown += 1;
            return;
        };
        self.sum += number;
        self.weighted += number * weight;
        self.weights += weight;
        self.max = Some(self.max.map_or(number, |max| max.max(number)));
    }

    fn number(&self, role: Role) -> Option<f64> {
        match role {
            // With a part that is unknown, so is the sum.
            Role::Count | Role::Sum | Role::Rate | Role::Level => {
                (self.unknown == 0).then_some(self.sum)
            }
            Role::Mean => (self.weights > 0.0).then(|| self.weighted / self.weights),
            Role::Percentile | Role::Share => self.max.filter(|_| self.rows == 1),
            Role::Max => self.max,
            Role::Key | Role::Identity | Role::Aside => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(columns: &[&'static str], rows: &[&[Value]]) -> Captured {
        let columns = columns.iter().map(|name| Column::new(name, name)).collect();
        let rows = rows.iter().map(|row| row.to_vec()).collect();
        Captured { columns, rows, ..Captured::default() }
    }

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn processes_of_one_name_are_one() {
        let columns = ["pid", "comm", "count", "total", "mean", "p99", "max"];
        let row = |pid, comm, count, total, mean, p99, max| {
            let [total, p99, max] = [total, p99, max].map(Value::Duration);
            [Value::Int(pid), text(comm), Value::Int(count), total, Value::Real(mean), p99, max]
        };
        let rows = [
            row(1, "a", 1, 10, 10.0, 10, 10),
            row(2, "a", 3, 90, 30.0, 50, 60),
            row(3, "b", 2, 4, 2.0, 3, 3),
        ];
        let rows: Vec<&[Value]> = rows.iter().map(|row| &row[..]).collect();
        let report = report(&columns, &rows);
        let layout = Layout::of(&report, &Captured::default());
        let names: Vec<&str> = layout.keys.iter().filter_map(Column::data_name).collect();
        assert_eq!(names, ["comm"]);
        let units: Vec<(&str, Unit)> =
            layout.measures.iter().map(|measure| (measure.name, measure.unit)).collect();
        assert_eq!(
            units,
            [
                ("count", Unit::Number),
                ("total", Unit::Time),
                ("mean", Unit::Time),
                ("p99", Unit::Time),
                ("max", Unit::Time)
            ]
        );
        let rows = layout.rows(&report);
        let numbers: Vec<&Vec<Option<f64>>> = rows.values().map(|row| &row.numbers).collect();
        // The mean of one value 10 and three of 30 is 25; the percentile of both is not known.
        assert_eq!(*numbers[0], [Some(4.0), Some(100.0), Some(25.0), None, Some(60.0)]);
        assert_eq!(*numbers[1], [Some(2.0), Some(4.0), Some(2.0), Some(3.0), Some(3.0)]);
    }

    #[test]
    fn lists_are_counted() {
        let row = |ts, pid, comm, ns| [Value::Clock(ts), Value::Int(pid), text(comm), ns];
        let rows = [
            row(1, 7, "a", Value::Micros(100)),
            row(2, 8, "a", Value::Null),
            row(3, 7, "a", Value::Micros(300)),
        ];
        let rows: Vec<&[Value]> = rows.iter().map(|row| &row[..]).collect();
        let report = report(&["ts", "pid", "comm", "lasted"], &rows);
        let layout = Layout::of(&report, &report);
        let rows = layout.rows(&report);
        let measures: Vec<(&str, Role)> =
            layout.measures.iter().map(|measure| (measure.name, measure.role)).collect();
        assert_eq!(measures, [(ROWS, Role::Count), ("lasted", Role::Mean)]);
        // What is unknown has no part in the mean.
        let row = rows.values().next().expect("there is one");
        assert_eq!((rows.len(), &row.numbers), (1, &vec![Some(3.0), Some(200.0)]));
    }

    #[test]
    fn a_sum_with_an_unknown_part_is_unknown() {
        let rows = [
            [text("a"), Value::Int(1), Value::Duration(5)],
            [text("a"), Value::Int(1), Value::Null],
        ];
        let rows: Vec<&[Value]> = rows.iter().map(|row| &row[..]).collect();
        let report = report(&["comm", "count", "user"], &rows);
        let rows = Layout::of(&report, &report).rows(&report);
        let row = rows.values().next().expect("there is one");
        assert_eq!(row.numbers, [Some(2.0), None]);
    }
}
