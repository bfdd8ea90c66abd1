//! The part of a recording's time that a report is about.
//!
//! A recording spans from when its recorder started to when it ended; where the recorder was
//! killed, to the last event that reached the disk. Where only the newest was kept, it spans from
//! the oldest that is left. `--since` and `--until` choose a part of that.
//! All times are nanoseconds since the Unix epoch, on the recording's own clock. Of several recordings,
//! `--since` and `--until` choose the same time of all: it counts from when the first of them began.

use std::ops::Range;

use anyhow::{Context as _, bail};
use clap::Args;
use jiff::civil;
use jiff::tz::TimeZone;
use lookback_schemas::recording::{ALL_TIME, Recording, times};
use lookback_schemas::{TableId, segment};

use crate::hosts::clocks::Alignment;

/// Which part of the recording's time to look at.
#[derive(Args, Clone, Debug, Default)]
pub struct WindowArgs {
    /// Leave out what came before: `5s` or `1.5m` after the start, `10:15:00` (UTC, on the
    /// recording's day), or `2026-11-22T10:15:00Z`
    #[arg(long, value_name = "TIME", help_heading = "Filters")]
    pub since: Option<String>,
    /// Leave out what came then or later; same forms
    #[arg(long, value_name = "TIME", help_heading = "Filters")]
    pub until: Option<String>,
}

/// From when to when a recording goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// When recording began.
    pub start: i64,
    /// When it ended, or the last event of a recording that was not ended.
    pub end: i64,
    /// Whether the recorder ended it; false for one that was killed or still runs.
    pub ended: bool,
}

impl Span {
    /// The recording's span. Damaged files count for nothing.
    #[must_use]
    pub fn of(recording: &Recording) -> Span {
        let manifest = recording.manifest();
        let start = manifest.kept.as_ref().map_or(manifest.started, |kept| kept.from);
        if let Some(end) = &manifest.ended {
            return Span { start, end: end.at.max(start), ended: true };
        }
        let mut end = start;
        for table in TableId::ALL {
            let Ok(segments) = recording.segments(*table) else { continue };
            let groups = segments.iter().flat_map(|segment| segment.metadata().row_groups());
            for (_, last) in groups.filter_map(times) {
                end = end.max(last);
            }
        }
        Span { start, end, ended: false }
    }

    /// How long it is in nanoseconds.
    #[must_use]
    pub fn length(&self) -> i64 {
        self.end.saturating_sub(self.start)
    }
}

/// The chosen part of a recording's time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// The whole recording.
    pub span: Span,
    /// The first moment in the window and the first after it. Open ends are those of
    /// [`ALL_TIME`], so that nothing is left out over a clock's error.
    pub range: Range<i64>,
    /// From when to when all recordings of the report go, in the time of all.
    pub all: Span,
    /// What turns the recording's own time into the time of all.
    pub clock: Alignment,
}

impl Window {
    /// The window that the arguments choose.
    ///
    /// # Errors
    /// If a time is in none of the forms, or nothing lies between the two.
    pub fn new(args: &WindowArgs, span: Span) -> anyhow::Result<Window> {
        let parse = |name: &str, text: &Option<String>| -> anyhow::Result<Option<i64>> {
            let moment = text
                .as_ref()
                .map(|text| moment(text, span).with_context(|| format!("{name} {text}")));
            moment.transpose()
        };
        let since = parse("--since", &args.since)?;
        let until = parse("--until", &args.until)?;
        let range = since.unwrap_or(ALL_TIME.start)..until.unwrap_or(ALL_TIME.end);
        if range.start >= range.end {
            bail!("--until must be later than --since");
        }
        Ok(Window { span, range, all: span, clock: Alignment::default() })
    }

    /// The whole recording.
    #[must_use]
    pub fn all(span: Span) -> Window {
        Window { span, range: ALL_TIME, all: span, clock: Alignment::default() }
    }

    /// The same part of the time of all, on the clock of a recording that spans `span`.
    #[must_use]
    pub fn on(&self, clock: &Alignment, span: Span) -> Window {
        let range = clock.own(self.range.start)..clock.own(self.range.end);
        Window { span, range, all: self.all, clock: clock.clone() }
    }

    /// Reads a moment in one of the forms of `--since`, on the recording's own clock.
    ///
    /// # Errors
    /// If it is in none of them.
    pub fn moment(&self, text: &str) -> anyhow::Result<i64> {
        moment(text, self.all).map(|moment| self.clock.own(moment))
    }

    /// The first moment of the window within the recording.
    #[must_use]
    pub fn start(&self) -> i64 {
        self.range.start.max(self.span.start)
    }

    /// The window's end within the recording.
    #[must_use]
    pub fn end(&self) -> i64 {
        self.range.end.min(self.span.end).max(self.start())
    }

    /// Whether something that went on from `start` to `end` lies in the window, if only in part.
    #[must_use]
    pub fn overlaps(&self, start: i64, end: i64) -> bool {
        start < self.range.end && end >= self.range.start
    }
}

/// Reads a moment in one of the forms of `--since`.
///
/// # Errors
/// If it is in none of them.
fn moment(text: &str, span: Span) -> anyhow::Result<i64> {
    const FORMS: &str = "is no time: take `5s` or `1.5m` after the start, `10:15:00` of the \
                         recording's day in UTC, or `2026-11-22T10:15:00Z`";
    if let Ok(moment) = text.parse::<jiff::Timestamp>() {
        return i64::try_from(moment.as_nanosecond()).context("is too far from today");
    }
    if let Some(offset) = offset(text) {
        return span.start.checked_add(offset).context("is too far from the recording");
    }
    let time: civil::Time = text.parse().ok().with_context(|| FORMS)?;
    let day =
        jiff::Timestamp::from_nanosecond(i128::from(span.start))?.to_zoned(TimeZone::UTC).date();
    let of_day = |day: civil::Date| -> anyhow::Result<i64> {
        let moment = day.to_datetime(time).to_zoned(TimeZone::UTC)?.timestamp();
        i64::try_from(moment.as_nanosecond()).context("is too far from today")
    };
    // A recording over midnight: a time before its start may be meant for the next day.
    let moment = of_day(day)?;
    match of_day(day.tomorrow()?) {
        Ok(next) if moment < span.start && next <= span.end => Ok(next),
        Ok(_) | Err(_) => Ok(moment),
    }
}

/// Reads a length of time such as `5s`, `1.5m`, `250ms` or plain seconds; in nanoseconds.
fn offset(text: &str) -> Option<i64> {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ns" => 1.0,
        "us" => 1e3,
        "ms" => 1e6,
        "" | "s" => 1e9,
        "m" | "min" => 60e9,
        "h" => 3600e9,
        _ => return None,
    };
    if !digits.chars().all(|character| character.is_ascii_digit() || character == '.') {
        return None;
    }
    let ns = digits.parse::<f64>().ok()? * unit;
    (ns.is_finite() && ns < i64::MAX as f64).then_some(ns.round() as i64)
}

/// Which durations to look at.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct MinArgs {
    /// Leave out what took less, such as `10us`, `1.5ms` or `2s`
    #[arg(long, value_name = "TIME", value_parser = length, help_heading = "Filters")]
    pub min: Option<i64>,
}

impl MinArgs {
    /// Whether what took `duration` nanoseconds took long enough.
    #[must_use]
    pub fn admits(self, duration: i64) -> bool {
        self.admits_unknown(Some(duration))
    }

    /// The same, of what may not have ended: if a shortest time is asked for, it is left out.
    #[must_use]
    pub fn admits_unknown(self, duration: Option<i64>) -> bool {
        self.min.is_none_or(|min| duration.is_some_and(|duration| duration >= min))
    }
}

/// Reads a length of time such as `10us`, `1.5ms` or `2s`, for a command line; in nanoseconds.
///
/// # Errors
/// If it is none.
pub fn length(text: &str) -> Result<i64, String> {
    offset(text).ok_or_else(|| "is no length of time: take `10us`, `1.5ms` or `2s`".to_owned())
}

/// Whether the table's rows have a time.
#[must_use]
pub fn timed(table: TableId) -> bool {
    table.column("ts").is_some()
}

/// The bytes that a table takes on disk, as far as its files can be asked.
#[must_use]
pub fn bytes_of(segments: &[segment::Segment]) -> u64 {
    let sizes = segments.iter().filter_map(|segment| std::fs::metadata(segment.path()).ok());
    sizes.map(|metadata| metadata.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    // 2026-11-22T23:59:50Z, for 20 s.
    const SPAN: Span =
        Span { start: 1_795_391_990_000_000_000, end: 1_795_392_010_000_000_000, ended: true };

    fn after_start(text: &str) -> Option<f64> {
        moment(text, SPAN).ok().map(|ns| (ns - SPAN.start) as f64 / 1e9)
    }

    #[test]
    fn times_are_read_in_all_their_forms() {
        assert_eq!(after_start("5s"), Some(5.0));
        assert_eq!(after_start("1.5m"), Some(90.0));
        assert_eq!(after_start("250ms"), Some(0.25));
        assert_eq!(after_start("7"), Some(7.0));
        assert_eq!(after_start("2026-11-22T23:59:55Z"), Some(5.0));
        assert_eq!(after_start("2026-11-23T00:59:55+01:00"), Some(5.0));
        assert_eq!(after_start("23:59:52"), Some(2.0));
        assert_eq!(after_start("00:00:05"), Some(15.0), "after midnight");
        assert_eq!(after_start("12:00:00"), Some(-43_190.0), "before, not a day later");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "s", "-5s", "1e3s", "5 s", "nan", "inf", "99999999999h", "25:00:00", "5x"]
        {
            assert_eq!(after_start(text), None, "{text}");
        }
    }

    #[test]
    fn an_empty_window_is_an_error() {
        let args = |since: &str, until: &str| WindowArgs {
            since: Some(since.to_owned()),
            until: Some(until.to_owned()),
        };
        assert!(Window::new(&args("5s", "5s"), SPAN).is_err());
        assert!(Window::new(&args("5s", "6s"), SPAN).is_ok());
    }

    #[test]
    fn short_durations_are_left_out() {
        let at_least = |text| MinArgs { min: length(text).ok() };
        assert!(at_least("10us").admits(10_000) && !at_least("10us").admits(9_999));
        assert!(!at_least("1ns").admits_unknown(None));
        assert!(MinArgs::default().admits_unknown(None) && MinArgs::default().admits(-1));
        assert!(length("10 us").is_err() && length("soon").is_err());
    }
}
