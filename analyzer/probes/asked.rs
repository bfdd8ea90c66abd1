//! The probes of the user's as the manifest knows them.
//!
//! One probe may be at several places: a static probe of a program is wherever its compiler put it.
//! A place that ends or begins a span is a probe too, with a name of its own.

use std::borrow::Cow;
use std::collections::BTreeMap;

use lookback_schemas::manifest::{Argument, Manifest, Probe};

use crate::render::escaped;

/// The tracer that has these probes.
pub(crate) const TRACER: &str = "custom";

/// A probe that was asked for, at all its places.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked<'a> {
    /// Its arguments, in order.
    pub(crate) arguments: &'a [Argument],
    /// What a hit costs where it costs most, in nanoseconds.
    pub(crate) cost: Option<i64>,
    /// Why there is no such probe.
    pub(crate) failed: Option<&'a str>,
    /// Since when it was there, if that is only after the recording began.
    pub(crate) late: Option<i64>,
    /// Whether it begins or ends a span.
    pub(crate) of_span: bool,
}

/// The probes by their names; of those without one by what was asked for.
pub(crate) fn all(manifest: &Manifest) -> BTreeMap<&str, Asked<'_>> {
    let mut probes: BTreeMap<&str, Asked<'_>> = BTreeMap::new();
    for tracer in manifest.tracers.iter().filter(|tracer| tracer.name == TRACER) {
        for probe in &tracer.probes {
            let Some(name) = name(probe) else { continue };
            let new = !probes.contains_key(name);
            let asked = probes.entry(name).or_default();
            // There from the beginning, if it was at one place.
            asked.late = if new { probe.late } else { asked.late.min(probe.late) };
            asked.arguments = &probe.arguments;
            asked.cost = asked.cost.max(probe.cost);
            asked.failed = asked.failed.or(probe.failed.as_deref()).or(tracer.failed.as_deref());
            asked.of_span = probe.asked.as_deref().is_some_and(is_span);
        }
    }
    probes
}

/// What a probe is called.
pub(crate) fn name(probe: &Probe) -> Option<&str> {
    probe.name.as_deref().or(probe.asked.as_deref())
}

/// Whether these are the words of a span, `NAME=PROBE..PROBE`. Those of a probe begin with its kind.
fn is_span(asked: &str) -> bool {
    asked.split(':').next().is_some_and(|first| first.contains('='))
}

/// Says which spans could not be had.
pub(crate) fn failed_spans(manifest: &Manifest) -> Vec<String> {
    let probes = all(manifest);
    let failed = probes.iter().filter(|(_, asked)| asked.of_span);
    let say = |(name, asked): (&&str, &Asked<'_>)| {
        let why = asked.failed?;
        Some(format!("no probe `{}`: {}", escaped(name), escaped(why)))
    };
    failed.filter_map(say).collect()
}

/// The place of an argument among the columns of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// The number of this place.
    Number(usize),
    /// The text of this place.
    Text(usize),
}

impl Slot {
    /// The slot that has this column.
    pub(crate) fn of(column: &str) -> Option<Slot> {
        let place = |columns: [&str; 6]| columns.iter().position(|name| *name == column);
        let number = place(super::NUMBERS).map(Slot::Number);
        number.or_else(|| place(super::TEXTS).map(Slot::Text))
    }

    /// The column's name.
    pub(crate) fn column(self) -> &'static str {
        match self {
            Slot::Number(place) => super::NUMBERS[place],
            Slot::Text(place) => super::TEXTS[place],
        }
    }
}

/// A number as its type prints it: addresses in hex, and what has no sign without one.
pub(crate) fn number(value: i64, kind: &str) -> String {
    match kind {
        "u64" => value.cast_unsigned().to_string(),
        "ptr" => format!("{value:#x}"),
        _ => value.to_string(),
    }
}

/// A text in quotes. What would steer a terminal is left to whoever prints it.
pub(crate) fn quoted(text: &str) -> String {
    let text = match text.contains(['"', '\\']) {
        true => Cow::Owned(text.replace('\\', "\\\\").replace('"', "\\\"")),
        false => Cow::Borrowed(text),
    };
    format!("\"{text}\"")
}
