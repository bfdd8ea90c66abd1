//! The pauses of one process in order, to find those that share time with something.

use super::pauses::Pause;

/// Pauses whose end is known, in the order in which they began.
#[derive(Debug, Default)]
pub struct Stops {
    pauses: Vec<Pause>,
    /// Of each, when it or one before it ended last: nanoseconds since the Unix epoch.
    reach: Vec<i64>,
}

impl Stops {
    /// Those of the pauses whose end is known, and that lie in no other.
    #[must_use]
    pub fn new(mut pauses: Vec<Pause>) -> Stops {
        pauses.retain(|pause| pause.duration.is_some() && !pause.is_nested());
        pauses.sort_by_key(|pause| (pause.ts, pause.tid));
        let ends = pauses.iter().filter_map(Pause::end);
        let reach = ends.scan(i64::MIN, |last, end| {
            *last = end.max(*last);
            Some(*last)
        });
        let reach = reach.collect();
        Stops { pauses, reach }
    }

    /// All of them.
    #[must_use]
    pub fn pauses(&self) -> &[Pause] {
        &self.pauses
    }

    /// The places of those that share time with the stretch from `start` to `end`, the last first,
    /// each with how many nanoseconds it shares.
    pub fn overlapping(&self, start: i64, end: i64) -> impl Iterator<Item = (usize, i64)> {
        let begun = self.pauses.partition_point(|pause| pause.ts < end);
        let reaching = (0..begun).rev().take_while(move |place| self.reach[*place] > start);
        reaching.filter_map(move |place| {
            let (from, to) = self.pauses[place].stretch()?;
            let shared = to.min(end).saturating_sub(from.max(start));
            (shared > 0).then_some((place, shared))
        })
    }

    /// The one that shares most time with the stretch; of those that share as much, the first.
    #[must_use]
    pub fn worst(&self, start: i64, end: i64) -> Option<&Pause> {
        // Of equal ones the last that comes wins, and they come backwards.
        let worst = self.overlapping(start, end).max_by_key(|(_, shared)| *shared);
        worst.map(|(place, _)| &self.pauses[place])
    }
}
