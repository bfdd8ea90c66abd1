//! One time for recordings of several hosts.
//!
//! Each recording has its own time: the monotonic clock plus an offset that is fixed when it begins. The
//! table `clock` has what the monotonic, the boot and the wall clock showed together, again and again. From
//! those readings follows what to add to a recording's own time, so that it becomes what the host's wall
//! clock says:
//!
//! - Between monotonic and boot clock lies how long the machine slept. Where it grows, the machine slept: what
//!   came after is later by that.
//! - Between boot and wall clock lies nothing that passes: it changes only when somebody sets the clock. What
//!   it was set to last counts, also for what came before, and for all recordings of one boot. So a clock that
//!   is wrong when the machine starts and then put right does not matter.
//! - A clock that runs too fast or too slow needs no correction: what disciplines the wall clock (`adjtimex`)
//!   disciplines the monotonic clock as well.
//!
//! What cannot be corrected is how far the wall clock was from that of another host: nobody recorded it.

use std::sync::Arc;

use lookback_schemas::Error;
use lookback_schemas::recording::{ALL_TIME, Recording};
use lookback_schemas::tables::Clock;

use crate::render::{duration, spoken};
use crate::window::Span;

/// Changes below this, in nanoseconds, are not told from readings that were late: the clocks are read one
/// after the other. No clock is set by so little: those that keep time slew it instead.
const STEP: i64 = 10_000_000;

/// What to add to a recording's own time; by default nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alignment(Arc<[Shift]>);

/// What to add from a moment on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shift {
    /// The first moment, in the recording's own time. The first shift counts before it, too.
    from: i64,
    by: i64,
}

impl Alignment {
    /// The moment `ts` of the recording's own time, in the time of all.
    #[must_use]
    pub fn shared(&self, ts: i64) -> i64 {
        let place = self.0.partition_point(|shift| shift.from <= ts).saturating_sub(1);
        ts.saturating_add(self.0.get(place).map_or(0, |shift| shift.by))
    }

    /// The first moment of the recording's own time that is not before `moment` in the time of all. The ends
    /// of [`ALL_TIME`] stay what they are.
    #[must_use]
    pub fn own(&self, moment: i64) -> i64 {
        if moment == ALL_TIME.start || moment == ALL_TIME.end {
            return moment;
        }
        let mut first = i64::MIN;
        for (place, shift) in self.0.iter().enumerate() {
            let own = moment.saturating_sub(shift.by).max(first);
            match self.0.get(place + 1) {
                Some(next) if own >= next.from => first = next.from,
                Some(_) | None => return own,
            }
        }
        moment
    }
}

/// What the readings of a recording's clocks say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readings {
    /// What the recorder added to the monotonic clock.
    epoch: i64,
    /// How long the machine had slept since it booted: from each of these moments on, in own time.
    slept: Vec<(i64, i64)>,
    /// The wall clock when the machine booted, as it was set from each of these moments on.
    booted: Vec<(i64, i64)>,
    /// How far half of the readings were late, beyond the least.
    late: i64,
    /// The boot clock at the last of them.
    last: i64,
}

impl Readings {
    /// Reads them; `None` where there are none.
    ///
    /// # Errors
    /// If the table is damaged.
    pub fn read(recording: &Recording) -> Result<Option<Readings>, Error> {
        let mut rows: Vec<[i64; 4]> = Vec::new();
        recording.for_each::<Clock, Error>(ALL_TIME, |clock| {
            rows.extend((0..clock.ts.len()).map(|row| {
                let columns = [&clock.ts, &clock.monotonic, &clock.boottime, &clock.realtime];
                columns.map(|column| column.value(row))
            }));
            Ok(())
        })?;
        rows.sort_unstable();
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(None) };
        let minus = |row: &[i64; 4], one: usize, other: usize| row[one].saturating_sub(row[other]);
        let slept = levels(rows.iter().map(|row| (row[0], minus(row, 2, 1))));
        let booted = levels(rows.iter().map(|row| (row[0], minus(row, 3, 2))));
        let mut late: Vec<i64> = Vec::new();
        if let Some((from, level)) = booted.last() {
            let since = rows.iter().filter(|row| row[0] >= *from);
            late.extend(since.map(|row| minus(row, 3, 2).saturating_sub(*level)));
            late.sort_unstable();
        }
        Ok(Some(Readings {
            epoch: minus(first, 0, 1),
            slept,
            booted,
            late: late.get(late.len() / 2).copied().unwrap_or(0),
            last: last[2],
        }))
    }

    /// The wall clock when the machine booted, as it was set last.
    fn set(&self) -> i64 {
        self.booted.last().map_or(0, |(_, level)| *level)
    }

    fn aligned(&self, booted: i64) -> Alignment {
        let shift = |(from, slept): &(i64, i64)| {
            let by = slept.saturating_add(booted).saturating_sub(self.epoch);
            // The offset was measured with more care than a reading was taken.
            Shift { from: *from, by: if by.saturating_abs() < STEP { 0 } else { by } }
        };
        Alignment(self.slept.iter().map(shift).collect())
    }

    /// How exactly the own time is that of the wall clock, in nanoseconds.
    fn exactness(&self, booted: i64) -> i64 {
        let slept = self.slept.first().map_or(0, |(_, level)| *level);
        let by = slept.saturating_add(booted).saturating_sub(self.epoch).saturating_abs();
        self.late.saturating_add(if by < STEP { by } else { 0 })
    }
}

/// The values as they lasted, each with the moment from which on it did. A reading is never early, so the
/// least of those that are nearly the same is the best; and one that differs alone was late.
fn levels(values: impl Iterator<Item = (i64, i64)>) -> Vec<(i64, i64)> {
    let mut levels: Vec<(i64, i64)> = Vec::new();
    let mut values = values.peekable();
    while let Some((ts, value)) = values.next() {
        let Some((_, level)) = levels.last_mut() else {
            levels.push((ts, value));
            continue;
        };
        let differs = |value: i64| value.saturating_sub(*level).saturating_abs() >= STEP;
        if !differs(value) {
            *level = value.min(*level);
        } else if values.peek().is_none_or(|(_, next)| differs(*next)) {
            levels.push((ts, value));
        }
    }
    levels
}

/// A recording whose clocks are to be aligned.
pub struct Clocked {
    /// The boot that it is of: clocks of one boot are one.
    pub boot: String,
    /// From when to when it goes, in its own time.
    pub span: Span,
    /// Its readings.
    pub readings: Option<Readings>,
}

/// How the own times of a recording become the time of all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aligned {
    /// What to add to them.
    pub clock: Alignment,
    /// How exact that is, in a few words.
    pub exactness: String,
    /// What a reader must know of it, one line each.
    pub remarks: Vec<String>,
}

/// Aligns the recordings with each other.
#[must_use]
pub fn align(recordings: &[Clocked]) -> Vec<Aligned> {
    let one = |clocked: &Clocked| {
        let Some(readings) = &clocked.readings else {
            let exactness = "its wall clock was read only when it began".to_owned();
            return Aligned { exactness, ..Aligned::default() };
        };
        let same = |other: &&Clocked| !clocked.boot.is_empty() && other.boot == clocked.boot;
        let of_boot = recordings.iter().filter(same).filter_map(|other| other.readings.as_ref());
        let latest = of_boot.max_by_key(|readings| readings.last).unwrap_or(readings);
        let booted = latest.set();
        let exact = duration(readings.exactness(booted));
        Aligned {
            clock: readings.aligned(booted),
            exactness: format!("times within {exact} of its wall clock"),
            remarks: remarks(readings, clocked.span),
        }
    };
    recordings.iter().map(one).collect()
}

/// More changes of a clock than this are only counted.
const MOST_REMARKS: usize = 5;

fn remarks(readings: &Readings, span: Span) -> Vec<String> {
    let after = |ts: i64| spoken(ts.saturating_sub(span.start).max(0));
    let changes = |levels: &[(i64, i64)]| -> Vec<(i64, i64)> {
        let pairs = levels.windows(2);
        pairs.map(|pair| (pair[1].0, pair[1].1.saturating_sub(pair[0].1))).collect()
    };
    let mut remarks = Vec::new();
    for (ts, by) in changes(&readings.booted) {
        let sign = if by < 0 { "-" } else { "+" };
        remarks.push(format!(
            "its wall clock was set by {sign}{}, {} after the start: times before are given as if it had been \
             set already",
            spoken(by.saturating_abs()),
            after(ts)
        ));
    }
    for (ts, by) in changes(&readings.slept) {
        remarks.push(format!(
            "it slept for {} until {} after the start: times since the reading of its clocks before that may \
             be too early by as much",
            spoken(by),
            after(ts)
        ));
    }
    let more = remarks.len().saturating_sub(MOST_REMARKS);
    remarks.truncate(MOST_REMARKS);
    remarks.extend((more > 0).then(|| format!("its clocks changed {more} times more")));
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn a_late_reading_is_no_change() {
        let level = |values: &[i64]| levels((0..).zip(values.iter().copied()));
        assert_eq!(level(&[7, 5, 9, 60_000_000, 6]), [(0, 5)]);
        assert_eq!(level(&[0, SECOND, SECOND + 3]), [(0, 0), (1, SECOND)]);
        assert_eq!(level(&[0, -SECOND]), [(0, 0), (1, -SECOND)]);
        assert_eq!(level(&[]), []);
    }

    #[test]
    fn what_is_shared_is_found_again() {
        let shift = |from, by| Shift { from, by };
        let slept = Alignment([shift(10, 100), shift(20, 150)].into());
        for (own, shared) in [(0, 100), (10, 110), (19, 119), (20, 170), (25, 175)] {
            assert_eq!(slept.shared(own), shared);
            assert_eq!(slept.own(shared), own);
        }
        assert_eq!(slept.own(130), 20, "while it slept: what came next");
        assert_eq!(slept.own(i64::MIN), i64::MIN);
        assert_eq!(Alignment::default().own(7), 7);
    }
}
