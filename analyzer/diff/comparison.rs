//! One report of two recordings, number by number.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use lookback_schemas::TableId;
use lookback_schemas::recording::Recording;

use super::invocation::{Invocation, Window};
use super::measured::{Layout, Measure, Row, Rows, Unit};
use super::noise::{self, Counted, SLICES};
use crate::losses::Heading;
use crate::memleak::is_recorded;
use crate::render::{Captured, Role, Value};
use crate::window::{self, Span};

/// The two recordings.
pub struct Pair {
    /// The one that is compared with.
    pub before: Side,
    /// The one that may have changed.
    pub after: Side,
}

/// A recording.
pub struct Side {
    path: PathBuf,
    recording: Recording,
}

impl Side {
    /// Opens it.
    ///
    /// # Errors
    /// If it is none.
    pub fn open(path: &Path) -> anyhow::Result<Side> {
        Ok(Side { path: path.to_owned(), recording: Recording::open(path)? })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tables that it does not tell of.
    ///
    /// # Errors
    /// If one is damaged.
    pub fn lacks(&self, tables: &[TableId]) -> anyhow::Result<Vec<TableId>> {
        let mut lacks = Vec::new();
        for table in tables {
            if !is_recorded(&self.recording, *table)? {
                lacks.push(*table);
            }
        }
        Ok(lacks)
    }

    /// When it began.
    #[must_use]
    pub fn start(&self) -> i64 {
        Span::of(&self.recording).start
    }
}

/// A report of one of them.
struct Report {
    captured: Captured,
    lacks: Vec<TableId>,
    seconds: f64,
    window: window::Window,
}

/// A number before and after.
#[derive(Clone, Debug)]
pub struct Line {
    /// What it is of: a value for each of the layout's keys.
    pub keys: Vec<Value>,
    /// Which number it is.
    pub measure: Measure,
    /// What it was; counts and sums per second. `None` if unknown.
    pub before: Option<f64>,
    /// What it is.
    pub after: Option<f64>,
    /// Whether the change is beyond noise; `None` if that cannot be told.
    pub beyond: Option<bool>,
}

impl Line {
    /// By how much it has changed.
    #[must_use]
    pub fn change(&self) -> Option<f64> {
        Some(self.after? - self.before?)
    }

    /// The same in percent of what it was; infinite from nothing.
    #[must_use]
    pub fn percent(&self) -> Option<f64> {
        let (change, before) = (self.change()?, self.before?);
        Some(if change == 0.0 { 0.0 } else { change / before.abs() * 100.0 })
    }

    /// How large the change is as a ratio, whichever way it goes.
    #[must_use]
    pub fn size(&self) -> f64 {
        match (self.before, self.after) {
            (Some(before), Some(after)) if before != after => (after / before).ln().abs(),
            (Some(_), Some(_)) | (None, _) | (_, None) => 0.0,
        }
    }
}

/// A report of both.
pub struct Comparison {
    /// The report's words.
    pub text: String,
    /// Its name.
    pub name: String,
    /// Its columns.
    pub layout: Layout,
    /// All numbers that either has.
    pub lines: Vec<Line>,
    /// What each covers, and what it lacks.
    pub headings: [Heading; 2],
    /// What the report says of each.
    pub notes: Vec<String>,
    /// Whether each recording tells of what the report is about.
    pub told: [bool; 2],
}

/// What the tests of noise need to know of one of the recordings.
struct Sliced<'a> {
    rows: &'a Rows,
    slices: Vec<Rows>,
    seconds: f64,
}

impl Comparison {
    /// Makes the report of both. What changes by less than `least` percent is not beyond noise.
    ///
    /// # Errors
    /// Those of the report.
    pub fn new(invocation: &mut Invocation, pair: &Pair, least: f64) -> anyhow::Result<Comparison> {
        let window = invocation.window();
        let mut report = |side: &Side| -> anyhow::Result<Report> {
            let captured = invocation
                .run(&side.path, Window::Asked(window.clone()))
                .with_context(|| side.path.display().to_string())?;
            let lacks = side.lacks(&captured.tables)?;
            let window = window::Window::new(&window, Span::of(&side.recording))?;
            let seconds = window.end().saturating_sub(window.start()) as f64 / 1e9;
            Ok(Report { captured, lacks, seconds, window })
        };
        let (before, after) = (report(&pair.before)?, report(&pair.after)?);
        let layout = Layout::of(&before.captured, &after.captured);
        let rows = [&before, &after].map(|report| layout.rows(&report.captured));
        let told = [&before, &after].map(|report| report.lacks.is_empty());
        let judged =
            told == [true, true] && layout.measures.iter().any(|measure| is_judged(measure.role));
        let mut slices = [Vec::new(), Vec::new()];
        if judged && !(rows[0].is_empty() && rows[1].is_empty()) {
            for (slices, (report, side)) in
                std::iter::zip(&mut slices, [(&before, &pair.before), (&after, &pair.after)])
            {
                *slices = sliced(invocation, &layout, report, &side.path)?;
            }
        }
        let [before_slices, after_slices] = slices;
        let sides = [
            Sliced { rows: &rows[0], slices: before_slices, seconds: before.seconds },
            Sliced { rows: &rows[1], slices: after_slices, seconds: after.seconds },
        ];
        let lossy =
            [&before, &after].iter().any(|report| !report.captured.heading.warnings.is_empty());
        let lines = lines(&layout, &sides, told, (least, lossy));
        Ok(Comparison {
            text: invocation.text.clone(),
            name: invocation.name.clone(),
            lines,
            told,
            notes: notes(&before, &after),
            headings: [
                heading("before", &pair.before, &before),
                heading("after", &pair.after, &after),
            ],
            layout,
        })
    }
}

/// Whether the tests of noise have something to say about such numbers: not about the largest of many, which is
/// one event, nor about an instant.
fn is_judged(role: Role) -> bool {
    match role {
        Role::Count | Role::Sum | Role::Rate | Role::Share | Role::Mean | Role::Percentile => true,
        Role::Max | Role::Level | Role::Key | Role::Identity | Role::Aside => false,
    }
}

/// The report of each slice of a recording's window. None if it is too short to be cut.
fn sliced(
    invocation: &mut Invocation,
    layout: &Layout,
    report: &Report,
    path: &Path,
) -> anyhow::Result<Vec<Rows>> {
    let (start, end) = (report.window.start(), report.window.end());
    let length = end.saturating_sub(start) / SLICES;
    if length == 0 {
        return Ok(Vec::new());
    }
    let mut slices = Vec::new();
    for slice in 0..SLICES {
        let since = start + slice * length;
        let until = since + length;
        slices.push(layout.rows(&invocation.run(path, Window::Slice { since, until })?));
    }
    Ok(slices)
}

fn lines(
    layout: &Layout,
    sides: &[Sliced<'_>; 2],
    told: [bool; 2],
    (least, lossy): (f64, bool),
) -> Vec<Line> {
    let [before, after] = sides;
    let mut keys: Vec<&Vec<String>> = before.rows.keys().collect();
    keys.extend(after.rows.keys().filter(|key| !before.rows.contains_key(*key)));
    let mut lines = Vec::new();
    for key in keys {
        let (was, is) = (before.rows.get(key), after.rows.get(key));
        for (place, measure) in layout.measures.iter().enumerate() {
            let number = |row: Option<&Row>, side: &Sliced<'_>, told: bool| {
                let number = number(row, place, measure.role, told)?;
                match measure.role.grows() {
                    true => (side.seconds > 0.0).then(|| number / side.seconds),
                    false => Some(number),
                }
            };
            let line = Line {
                keys: was.or(is).map(|row| row.keys.clone()).unwrap_or_default(),
                measure: *measure,
                before: number(was, before, told[0]),
                after: number(is, after, told[1]),
                beyond: None,
            };
            let unsure = lossy && measure.role.grows();
            let beyond = match unsure || !is_judged(measure.role) {
                true => None,
                false => beyond(&line, key, place, sides),
            };
            let small = line.percent().is_some_and(|percent| percent.abs() < least);
            lines.push(Line { beyond: beyond.map(|beyond| beyond && !small), ..line });
        }
    }
    lines
}

/// A row's number. Where the recording tells of such rows and has none, there were none.
fn number(row: Option<&Row>, place: usize, role: Role, told: bool) -> Option<f64> {
    let adds_up = role.grows() || matches!(role, Role::Rate | Role::Level);
    match row {
        Some(row) => row.numbers[place],
        None => (told && adds_up).then_some(0.0),
    }
}

fn beyond(line: &Line, key: &[String], place: usize, sides: &[Sliced<'_>; 2]) -> Option<bool> {
    let (before, after) = (line.before?, line.after?);
    let role = line.measure.role;
    let [was, is] = sides.each_ref().map(|side| -> Vec<f64> {
        let numbers = side.slices.iter().map(|rows| number(rows.get(key), place, role, true));
        // All slices are of one length, but those of the two recordings may not be.
        let seconds = if role.grows() { side.seconds / SLICES as f64 } else { 1.0 };
        numbers.flatten().map(|number| number / seconds).collect()
    });
    let by_ranks = noise::ranks(&was, &is)?;
    if !role.grows() || line.measure.unit != Unit::Number {
        return Some(by_ranks);
    }
    let [was, is] = std::array::from_fn(|side| {
        let (rate, seconds) = ([before, after][side], sides[side].seconds);
        Counted { events: rate * seconds, seconds }
    });
    Some(by_ranks && noise::counts(was, is))
}

/// What a reader must know of each report; what is said of both, once.
fn notes(before: &Report, after: &Report) -> Vec<String> {
    let (before, after) = (&before.captured.notes, &after.captured.notes);
    let both = before.iter().filter(|note| after.contains(note)).cloned();
    let only = |name: &'static str, notes: &[String], others: &[String]| -> Vec<String> {
        let notes = notes.iter().filter(|note| !others.contains(note));
        notes.map(|note| format!("{name}: {note}")).collect()
    };
    let mut notes: Vec<String> = both.collect();
    notes.extend(only("before", before, after));
    notes.extend(only("after", after, before));
    notes
}

fn heading(name: &str, side: &Side, report: &Report) -> Heading {
    let path = side.path.display().to_string();
    let Heading { covers, remarks, warnings } = &report.captured.heading;
    let lacks = report.lacks.iter().map(|table| {
        format!("{name}: it does not tell of {}, which was not recorded", table.name())
    });
    let warnings = warnings.iter().map(|warning| format!("{name}: {warning}")).chain(lacks);
    Heading {
        covers: format!("{name}: {}: {covers}", crate::render::escaped(&path)),
        remarks: remarks.iter().map(|remark| format!("{name}: {remark}")).collect(),
        warnings: warnings.collect(),
    }
}
