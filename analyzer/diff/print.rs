//! How comparisons are printed.

use super::comparison::{Comparison, Line};
use super::condition::reads;
use super::measured::Unit;
use crate::render::{Column, Format, Output, Value};

/// A number, as the report itself would print it.
#[must_use]
pub fn amount(unit: Unit, number: Option<f64>) -> Value {
    match (unit, number) {
        (_, None) => Value::Null,
        (Unit::Number | Unit::Percent, Some(number)) => Value::Real(number),
        (Unit::Time, Some(ns)) => Value::Duration(ns.round() as i64),
        (Unit::Bytes, Some(bytes)) => Value::Bytes(bytes.round() as i64),
    }
}

/// What the numbers of a line count: `ns`, `/s`, `bytes/s`.
fn unit(line: &Line) -> String {
    let unit = match line.measure.unit {
        Unit::Number => "",
        Unit::Time => "ns",
        Unit::Bytes => "bytes",
        Unit::Percent => "%",
    };
    format!("{unit}{}", if line.measure.role.grows() { "/s" } else { "" })
}

/// The columns of a line's numbers.
fn columns() -> [Column; 9] {
    let right = |name, header| Column::new(name, header).right().wide(9);
    [
        Column::data("measure"),
        Column::table("MEASURE").wide(9),
        Column::data("unit"),
        right("before", "BEFORE"),
        right("after", "AFTER"),
        right("change", "CHANGE"),
        right("percent", "CHANGE%"),
        Column::data("beyond_noise"),
        Column::table("NOISE"),
    ]
}

fn values(line: &Line) -> [Value; 9] {
    let (name, unit_of) = (line.measure.name, line.measure.unit);
    let per_second = if line.measure.role.grows() { "/s" } else { "" };
    let noise = match line.beyond {
        Some(true) => "BEYOND",
        Some(false) => "within",
        None => "-",
    };
    [
        Value::Text(name.to_owned()),
        Value::Text(format!("{name}{per_second}")),
        Value::Text(unit(line)),
        amount(unit_of, line.before),
        amount(unit_of, line.after),
        amount(unit_of, line.change()),
        percent(line),
        line.beyond.map_or(Value::Null, Value::Flag),
        Value::Text(noise.to_owned()),
    ]
}

fn percent(line: &Line) -> Value {
    line.percent().map_or(Value::Null, |percent| Value::Real((percent * 10.0).round() / 10.0))
}

/// Prints what both cover and how to read the numbers.
///
/// # Errors
/// If the output cannot be written.
pub fn heading(comparison: &Comparison, output: &mut Output) -> anyhow::Result<()> {
    for heading in &comparison.headings {
        output.heading(heading)?;
    }
    output.notes(&comparison.notes)
}

/// How to read the numbers.
///
/// # Errors
/// If the output cannot be written.
pub fn legend(output: &mut Output) -> anyhow::Result<()> {
    if output.format() == Format::Table {
        output.line(
            "# counts and sums are per second (/s); percentiles, means and levels are as they are",
        )?;
    }
    Ok(())
}

/// Prints the lines of one report: the keys with what has changed most beyond noise first, and of each key all
/// its numbers.
///
/// # Errors
/// If the output cannot be written.
pub fn report(
    comparison: &Comparison,
    most: Option<usize>,
    output: &mut Output,
) -> anyhow::Result<()> {
    let mut columns_of = comparison.layout.keys.clone();
    columns_of.extend(columns());
    let measures = comparison.layout.measures.len().max(1);
    let mut keys: Vec<&[Line]> = comparison.lines.chunks(measures).collect();
    let weight = |lines: &[Line]| {
        let beyond = lines.iter().filter(|line| line.beyond == Some(true)).map(Line::size);
        beyond.fold(-1.0, f64::max)
    };
    keys.sort_by(|one, other| weight(other).total_cmp(&weight(one)));
    let lines: Vec<&Line> = keys.into_iter().flatten().collect();
    let shown = most.unwrap_or(lines.len()).min(lines.len());
    let mut rows = output.rows(columns_of);
    for line in &lines[..shown] {
        let mut row = line.keys.clone();
        row.extend(values(line));
        rows.row(&row)?;
    }
    rows.end()?;
    left_out(lines.len() - shown, output)
}

/// Prints the lines of all reports that are beyond noise, the largest change first.
///
/// # Errors
/// If the output cannot be written.
pub fn summary(
    comparisons: &[Comparison],
    most: Option<usize>,
    output: &mut Output,
) -> anyhow::Result<()> {
    let mut lines: Vec<(&Comparison, &Line)> = Vec::new();
    for comparison in comparisons {
        let beyond = comparison.lines.iter().filter(|line| line.beyond == Some(true));
        lines.extend(beyond.map(|line| (comparison, line)));
    }
    lines.sort_by(|(_, one), (_, other)| other.size().total_cmp(&one.size()));
    let shown = most.unwrap_or(lines.len()).min(lines.len());
    let mut all = vec![Column::new("report", "REPORT"), Column::new("key", "OF").wide(16)];
    all.extend(columns());
    let mut rows = output.rows(all);
    for (comparison, line) in &lines[..shown] {
        let mut row =
            vec![Value::Text(comparison.name.clone()), Value::Text(said(comparison, line))];
        row.extend(values(line));
        rows.row(&row)?;
    }
    rows.end()?;
    left_out(lines.len() - shown, output)
}

fn left_out(lines: usize, output: &mut Output) -> anyhow::Result<()> {
    match lines {
        0 => Ok(()),
        lines => output.notes(&[format!("{lines} more lines")]),
    }
}

/// The keys of a line, as `comm=nginx state=sleeping`.
#[must_use]
pub fn said(comparison: &Comparison, line: &Line) -> String {
    let keys = std::iter::zip(&comparison.layout.keys, &line.keys);
    let known = keys.filter(|(_, value)| **value != Value::Null);
    let said =
        known.map(|(key, value)| format!("{}={}", key.name().unwrap_or_default(), reads(value)));
    said.collect::<Vec<_>>().join(" ")
}
