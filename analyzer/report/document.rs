//! What the page's scripts read. Times are nanoseconds after the page's start, lists by step have an entry for
//! each [step](crate::bins); texts are [safe to show](text).

use serde::Serialize;

use crate::render::escaped;

/// Everything on the page.
#[derive(Debug, Serialize)]
pub(super) struct Document {
    pub title: String,
    pub host: String,
    /// What time it covers, and whether anything is missing.
    pub covers: String,
    /// What is missing.
    pub warnings: Vec<String>,
    /// What was recorded, where and when: names and what they are.
    pub facts: Vec<(&'static str, String)>,
    pub time: Time,
    pub gaps: Vec<Gap>,
    pub lanes: Vec<Lane>,
    pub distributions: Vec<Distribution>,
    pub flames: Vec<Flame>,
    pub tables: Vec<Table>,
    pub sites: Option<Sites>,
    pub absent: Vec<Absent>,
}

/// The page's clock.
#[derive(Debug, Serialize)]
pub(super) struct Time {
    /// Its first moment, in nanoseconds since the Unix epoch: more digits than a script's numbers have.
    pub start: String,
    pub length: i64,
    /// How long a step is. The last may be shorter.
    pub step: i64,
    pub steps: usize,
    /// How long a step is, in words.
    pub said: String,
}

/// A time in which something was lost.
#[derive(Debug, Serialize)]
pub(super) struct Gap {
    pub from: i64,
    pub to: i64,
    /// Of which table of the recording.
    pub table: String,
    pub said: String,
}

/// A section that is not there.
#[derive(Debug, Serialize)]
pub(super) struct Absent {
    pub title: &'static str,
    /// Whether somebody looked, so that there was nothing.
    pub recorded: bool,
    /// Unless it was lost.
    pub lossy: bool,
}

/// Something over time.
#[derive(Debug, Serialize)]
pub(super) struct Lane {
    /// The table of the recording that it is made from.
    pub id: &'static str,
    pub title: &'static str,
    /// What it is of, in a few words.
    pub what: String,
    /// `share` (of 1), `ns`, `bytes` or `count`.
    pub unit: &'static str,
    /// A value for each step; `None` where it is unknown.
    pub values: Vec<Option<f64>>,
    /// A part of the values to point out, and what it is.
    pub marked: Option<(&'static str, Vec<Option<f64>>)>,
    /// What is missing.
    pub warnings: Vec<String>,
}

/// How durations are distributed, and how that changed.
#[derive(Debug, Default, Serialize)]
pub(super) struct Distribution {
    pub id: &'static str,
    /// The table of the recording that it is made from.
    pub table: &'static str,
    pub title: &'static str,
    pub what: &'static str,
    pub command: String,
    /// Names and figures of the whole time.
    pub summary: Vec<(&'static str, String)>,
    /// For each step the rows of the histogram that are not empty, each as its place and its count. Row 0 has
    /// 0 and 1 µs, row n from 2ⁿ µs on.
    pub heat: Vec<Vec<u64>>,
    pub notes: Vec<String>,
    pub warnings: Vec<String>,
}

/// Stacks by step.
#[derive(Debug, Serialize)]
pub(super) struct Flame {
    pub id: &'static str,
    pub title: &'static str,
    pub what: &'static str,
    pub command: String,
    /// What the weights count, times `scale`.
    pub unit: &'static str,
    pub scale: i64,
    /// So many of the page's steps are one of the weights'; 0 if they have none.
    pub steps: usize,
    pub names: Vec<String>,
    /// For each node the place of its parent, which is before it. The first, all, is its own.
    pub parents: Vec<u32>,
    /// For each node the place of its name.
    pub labels: Vec<u32>,
    /// For each node what it weighs without its children: steps, as differences, each with the weight.
    pub weights: Vec<Vec<i64>>,
    pub notes: Vec<String>,
    pub warnings: Vec<String>,
}

/// A cell: nothing, a text, a number, or a number that is spelled.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Cell {
    Unknown,
    Text(String),
    Number(f64),
    Spelled(f64, String),
}

/// The rows of a report.
#[derive(Debug, Default, Serialize)]
pub(super) struct Table {
    pub id: &'static str,
    pub title: &'static str,
    pub what: &'static str,
    pub command: String,
    /// What stands above each column, and whether it is aligned right.
    pub columns: Vec<(String, bool)>,
    pub rows: Vec<Vec<Cell>>,
    /// From when to when each row was; empty if rows have no time. `None` is before the page or after it.
    pub times: Vec<(Option<i64>, Option<i64>)>,
    /// How deep each row is in a tree; empty if it is none.
    pub depths: Vec<i64>,
    /// How many rows there are, of which these are the first, or the largest.
    pub total: u64,
    pub largest: bool,
    /// The sums of each row by step: step, count, failed, nanoseconds, one after the other. Empty where there
    /// are none.
    pub steps: Vec<Vec<i64>>,
    pub notes: Vec<String>,
    pub warnings: Vec<String>,
    /// Why there are no rows.
    pub error: Option<String>,
}

/// Where memory is outstanding, and how that grew.
#[derive(Debug, Default, Serialize)]
pub(super) struct Sites {
    pub command: String,
    /// The instants of `Site::growth`.
    pub instants: Vec<i64>,
    pub sites: Vec<Site>,
    pub notes: Vec<String>,
    pub warnings: Vec<String>,
    pub error: Option<String>,
}

/// A call stack that allocated.
#[derive(Debug, Serialize)]
pub(super) struct Site {
    pub bytes: i64,
    /// The same in words.
    pub size: String,
    pub count: i64,
    /// Bytes at each instant; `None` where it was not among the largest.
    pub growth: Vec<Option<i64>>,
    /// The innermost first.
    pub stack: Vec<String>,
}

/// Longer texts are cut, visibly.
const LONGEST: usize = 400;

/// The text as it can be shown: with what steers spelled out, and not too long.
pub(super) fn text(text: &str) -> String {
    let safe = escaped(text);
    match safe.char_indices().nth(LONGEST) {
        None => safe.into_owned(),
        Some((end, _)) => format!("{}…", &safe[..end]),
    }
}
