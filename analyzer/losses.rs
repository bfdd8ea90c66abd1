//! What is missing from a recording, and how reports say so.
//!
//! A recorder that cannot keep up drops events, counts them, and writes the counts with their time
//! into the table `loss`. A report over such a time must not look complete, so each one begins with
//! a [`Heading`]: what time it covers, and what is missing of the tables that it used. Losses
//! outside the report's window do not concern it.

use std::collections::BTreeMap;

use arrow::array::Array as _;
use jiff::tz::TimeZone;
use lookback_schemas::recording::{ALL_TIME, Recording};
use lookback_schemas::tables::Loss;
use lookback_schemas::wire::Reason;
use lookback_schemas::{Error, TableId};

use crate::render::{duration, escaped, short_moment, spoken, thousands};
use crate::window::Window;

/// Events of one table that are missing for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The table, by name: a newer recorder may have others.
    pub table: String,
    /// Why, in the recorder's words; see [`Reason`].
    pub reason: String,
    /// How many.
    pub count: i64,
    /// The first moment at which they may have happened.
    pub start: i64,
    /// The last.
    pub end: i64,
}

impl Missing {
    /// Whether the events themselves are missing, and not only a part of each. A reason that this
    /// version does not know is taken for the worse.
    #[must_use]
    pub fn whole_events(&self) -> bool {
        Reason::from_name(&self.reason).is_none_or(Reason::loses_the_event)
    }

    /// Whether a report over the table may look complete although this is missing. Halves of pairs
    /// are: a call that was under way when the recording began has no beginning in it, and makes no
    /// row.
    #[must_use]
    pub fn is_expected(&self) -> bool {
        self.what() == What::Halves
    }

    fn what(&self) -> What {
        match Reason::from_name(&self.reason) {
            None
            | Some(
                Reason::RingFull
                | Reason::MapFull
                | Reason::ProgramBusy
                | Reason::WriteFailed
                | Reason::ReturnUnwatched
                | Reason::Stopped,
            ) => What::Events,
            Some(Reason::StackUnreadable) => What::Stacks,
            Some(Reason::Unpaired) => What::Halves,
        }
    }

    /// In words, with times after the recording's `start`.
    #[must_use]
    pub fn describe(&self, start: i64) -> String {
        let what = match self.what() {
            What::Events => "events lost",
            What::Stacks => "stacks lost",
            What::Halves => "halves of pairs left out",
        };
        format!(
            "{} of {}'s {what} ({}) {:.1} s – {:.1} s after the start",
            thousands(self.count),
            self.table,
            self.reason,
            self.start.saturating_sub(start) as f64 / 1e9,
            self.end.saturating_sub(start) as f64 / 1e9,
        )
    }
}

/// What is missing where something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// Events with all their parts.
    Events,
    /// The stacks of events that are there.
    Stacks,
    /// Beginnings without an end, and ends without a beginning.
    Halves,
}

/// What is missing in the window, summed up by table and reason. `tables` limits it to those; an
/// empty list means every table.
///
/// # Errors
/// If the table `loss` cannot be read.
pub fn missing(
    recording: &Recording,
    tables: &[TableId],
    window: &Window,
) -> Result<Vec<Missing>, Error> {
    let mut found: BTreeMap<(String, String), Missing> = BTreeMap::new();
    // Not by the scan's own window: a loss that began before it may reach into it.
    recording.for_each::<Loss, Error>(ALL_TIME, |rows| {
        for row in 0..rows.table.len() {
            let (start, end) = (rows.ts.value(row), rows.end.value(row));
            let table = rows.table.value(row);
            let wanted = tables.is_empty() || tables.iter().any(|id| id.name() == table);
            if !wanted || rows.count.value(row) <= 0 || !window.overlaps(start, end.max(start)) {
                continue;
            }
            let reason = rows.reason.value(row);
            let missing = found.entry((table.to_owned(), reason.to_owned())).or_insert_with(|| {
                Missing { table: table.to_owned(), reason: reason.to_owned(), count: 0, start, end }
            });
            missing.count = missing.count.saturating_add(rows.count.value(row));
            missing.start = missing.start.min(start);
            missing.end = missing.end.max(end);
        }
        Ok(())
    })?;
    Ok(found.into_values().collect())
}

/// What to say where a table was not recorded: that nobody looked, which is not that nothing was.
/// `what` it would tell of, and `how` that is recorded. Nothing where it was recorded.
///
/// # Errors
/// If the table is damaged.
pub fn unrecorded(
    recording: &Recording,
    table: TableId,
    (what, how): (&str, &str),
) -> Result<Option<String>, Error> {
    let recorded = crate::memleak::is_recorded(recording, table)?;
    Ok((!recorded)
        .then(|| format!("the recording does not tell of {what}: that takes `record {how}`")))
}

/// The kind of a probe that is not there; see [`Probe::kind`](lookback_schemas::manifest::Probe).
pub const LEFT_OUT: &str = "left out";

/// Says which files had been in use already when the tracer's probes in them were attached: what
/// they did before is in no table, and in no count of losses.
#[must_use]
pub fn late(recording: &Recording, tracer: &str) -> Vec<String> {
    let manifest = recording.manifest();
    let probes = manifest.tracers.iter().filter(|of| of.name == tracer);
    let mut files: Vec<(&str, i64)> = Vec::new();
    for probe in probes.flat_map(|tracer| &tracer.probes) {
        let Some(late) = probe.late else { continue };
        match files.iter_mut().find(|(file, _)| *file == probe.file) {
            Some((_, latest)) => *latest = late.max(*latest),
            None => files.push((&probe.file, late)),
        }
    }
    let say = |(file, late): (&str, i64)| {
        let after = duration(late.saturating_sub(manifest.started).max(0));
        format!(
            "the probes of {} were attached {after} after the start, when it was mapped already: \
             what it did before is missing",
            escaped(file)
        )
    };
    files.into_iter().map(say).collect()
}

/// Says of which of the tables (every one if empty) the last rows are missing, though they had been written. How
/// many, nobody knows. A segment that cannot be opened is told by who reads it.
fn cut_off(recording: &Recording, tables: &[TableId]) -> Vec<String> {
    let tables = if tables.is_empty() { TableId::ALL } else { tables };
    let cut = tables.iter().filter(|table| recording.is_cut_off(**table).unwrap_or(false));
    let say = |table: &TableId| {
        let name = table.name();
        format!("the last rows of {name} are missing: the machine stopped before the disk had them")
    };
    cut.map(say).collect()
}

/// The first lines of a report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heading {
    /// The time that it covers, and whether anything is missing.
    pub covers: String,
    /// What is missing, one line each.
    pub warnings: Vec<String>,
    /// Of one of several recordings: how its times become those of all.
    pub remarks: Vec<String>,
}

impl Heading {
    /// The heading of a report about `tables` (every table if empty) in the window.
    #[must_use]
    pub fn new(recording: &Recording, tables: &[TableId], window: &Window) -> Heading {
        Heading::zoned(recording, tables, window, &TimeZone::UTC)
    }

    /// The same, with its time in a time zone.
    #[must_use]
    pub fn zoned(
        recording: &Recording,
        tables: &[TableId],
        window: &Window,
        zone: &TimeZone,
    ) -> Heading {
        let time = format!(
            "{} + {}",
            short_moment(window.clock.shared(window.start()), zone),
            spoken(window.end().saturating_sub(window.start()))
        );
        let unended = match window.span.ended {
            true => "",
            false => "; the recorder was killed or still runs",
        };
        let missing = missing(recording, tables, window).map(|mut missing| {
            missing.retain(|missing| !missing.is_expected());
            missing
        });
        let cut_off = cut_off(recording, tables);
        match missing {
            Ok(missing) => {
                let whole = missing.iter().filter(|missing| missing.whole_events());
                let events = whole.fold(0_i64, |sum, missing| sum.saturating_add(missing.count));
                let summary = match events {
                    0 if !cut_off.is_empty() => "the end lost".to_owned(),
                    0 if missing.is_empty() => "nothing lost".to_owned(),
                    0 => "parts of events lost".to_owned(),
                    events => format!("{} events lost", thousands(events)),
                };
                let lost = missing.iter().map(|missing| missing.describe(window.span.start));
                let warnings = lost.chain(cut_off).map(|what| format!("LOSSY: {what}")).collect();
                Heading {
                    covers: format!("{time}, {summary}{unended}"),
                    warnings,
                    remarks: Vec::new(),
                }
            }
            Err(error) => {
                let unknown = format!("LOSSY, perhaps: what was lost is not readable: {error}");
                let cut_off = cut_off.into_iter().map(|what| format!("LOSSY: {what}"));
                let warnings = std::iter::once(unknown).chain(cut_off).collect();
                Heading {
                    covers: format!("{time}, losses unknown{unended}"),
                    warnings,
                    remarks: Vec::new(),
                }
            }
        }
    }

    /// Says on the standard error what is missing, for outputs that have no place for it.
    pub fn warn(&self) {
        for warning in &self.warnings {
            eprintln!("analyze: warning: {}", escaped(warning));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made::{Made, START};
    use crate::window::{Span, WindowArgs};

    fn window(made: &Made, since: Option<&str>) -> Window {
        let args = WindowArgs { since: since.map(str::to_owned), until: None };
        Window::new(&args, Span::of(&made.open())).expect("the test's times are times")
    }

    #[test]
    fn only_losses_in_the_window_and_of_the_tables_count() {
        let made = Made::new();
        made.rows(&[made.loss("signal", "ring full", 1234, 3.1, 4.2)]);
        made.end(12.3);
        let recording = made.open();
        let heading =
            |tables: &[TableId], since| Heading::new(&recording, tables, &window(&made, since));

        let lossy = heading(&[TableId::Signal], None);
        assert_eq!(lossy.covers, "2026-11-22T10:15:00Z + 12.3 s, 1,234 events lost");
        assert_eq!(
            lossy.warnings,
            ["LOSSY: 1,234 of signal's events lost (ring full) 3.1 s – 4.2 s after the start"]
        );
        assert_eq!(heading(&[], None), lossy, "no tables are all tables");
        assert_eq!(heading(&[TableId::Signal], Some("4s")).warnings.len(), 1, "reaches into it");
        assert_eq!(heading(&[TableId::Signal], Some("5s")).warnings.len(), 0);
        let other = heading(&[TableId::Exec], None);
        assert_eq!(other.covers, "2026-11-22T10:15:00Z + 12.3 s, nothing lost");
        assert_eq!(other.warnings.len(), 0);
    }

    #[test]
    fn halves_of_pairs_are_no_loss() {
        let made = Made::new();
        made.rows(&[made.loss("syscall", "unpaired", 7, 0.0, 1.0)]);
        made.end(2.0);
        let window = window(&made, None);
        let heading = Heading::new(&made.open(), &[TableId::Syscall], &window);
        assert_eq!(heading.covers, "2026-11-22T10:15:00Z + 2.0 s, nothing lost");
        assert_eq!(heading.warnings.len(), 0);
        let missing = missing(&made.open(), &[], &window).expect("it is whole");
        assert!(!missing[0].whole_events());
        assert_eq!(
            missing[0].describe(START),
            "7 of syscall's halves of pairs left out (unpaired) 0.0 s – 1.0 s after the start"
        );
    }

    #[test]
    fn rows_that_the_disk_did_not_get_are_told() {
        let made = Made::new();
        made.rows(&[made.fork(2.5, 10, 1)]);
        made.rows(&[made.clock(2.5)]);
        let segment = made
            .open()
            .unfinished()
            .into_iter()
            .find(|path| path.parent().is_some_and(|folder| folder.ends_with("fork")));
        let segment = std::fs::File::options().write(true).open(segment.expect("it is unfinished"));
        segment.and_then(|file| file.set_len(20)).expect("tests may write temporary files");
        let recording = made.open();
        let window = Window::all(Span::of(&recording));
        let heading = Heading::new(&recording, &[], &window);
        assert!(heading.covers.contains(", the end lost; "), "{heading:?}");
        assert_eq!(
            heading.warnings,
            [
                "LOSSY: the last rows of fork are missing: the machine stopped before the disk had them"
            ]
        );
        let other = Heading::new(&recording, &[TableId::Clock], &window);
        assert!(other.covers.contains("nothing lost") && other.warnings.is_empty(), "{other:?}");
    }

    #[test]
    fn a_killed_recording_goes_to_its_last_event_and_says_so() {
        let made = Made::new();
        made.rows(&[made.fork(2.5, 10, 1)]);
        let recording = made.open();
        let span = Span::of(&recording);
        assert_eq!(span, Span { start: START, end: START + 2_500_000_000, ended: false });
        let heading = Heading::new(&recording, &[], &Window::all(span));
        assert_eq!(
            heading.covers,
            "2026-11-22T10:15:00Z + 2.5 s, nothing lost; the recorder was killed or still runs"
        );
    }
}
