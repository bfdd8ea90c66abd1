//! Stretches of time, united.
//!
//! How long did a process stand still, if it was stopped twice at once? How much of a request was
//! spent in pauses? Both are questions to a union: stretches that overlap are made one, so that no
//! moment counts twice. They are then in order and apart from each other, and with the time that was
//! covered before each of them, how much of a span they cover takes two binary searches, however
//! many there are.

/// Stretches of time in order, none touching the next. Times are in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Intervals(Vec<Interval>);

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Interval {
    start: i64,
    end: i64,
    /// What those before it cover together.
    before: i64,
}

impl Intervals {
    /// The union of stretches, each from its first moment to the first after it, in any order.
    #[must_use]
    pub fn new(mut all: Vec<(i64, i64)>) -> Intervals {
        all.sort_unstable();
        let mut united: Vec<Interval> = Vec::with_capacity(all.len());
        for (start, end) in all.into_iter().filter(|(start, end)| start < end) {
            match united.last_mut() {
                Some(last) if start <= last.end => last.end = last.end.max(end),
                last => {
                    let before = last.map_or(0, |last| last.covered(last.end));
                    united.push(Interval { start, end, before });
                }
            }
        }
        united.shrink_to_fit();
        Intervals(united)
    }

    /// How long they are together, in nanoseconds.
    #[must_use]
    pub fn total(&self) -> i64 {
        self.covered(i64::MAX)
    }

    /// How much of the time from `start` to `end` they cover, in nanoseconds.
    #[must_use]
    pub fn within(&self, start: i64, end: i64) -> i64 {
        self.covered(end).saturating_sub(self.covered(start)).max(0)
    }

    /// How much they cover of the time before `ts`.
    fn covered(&self, ts: i64) -> i64 {
        let begun = self.0.partition_point(|interval| interval.start < ts);
        begun.checked_sub(1).map_or(0, |last| self.0[last].covered(ts))
    }

    /// What of them lies in none of the `others`.
    #[must_use]
    pub fn without(&self, others: &Intervals) -> Intervals {
        let mut left = Vec::with_capacity(self.0.len());
        let mut next = 0;
        for interval in &self.0 {
            while others.0.get(next).is_some_and(|other| other.end <= interval.start) {
                next += 1;
            }
            let mut start = interval.start;
            // The last one may reach into the next interval too: it is not passed.
            for other in others.0[next..].iter().take_while(|other| other.start < interval.end) {
                left.push((start, other.start));
                start = other.end;
            }
            left.push((start, interval.end));
        }
        Intervals::new(left)
    }
}

impl Interval {
    /// What it and those before it cover of the time before `ts`, which is after its start.
    fn covered(&self, ts: i64) -> i64 {
        self.before.saturating_add(ts.min(self.end).saturating_sub(self.start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_moment_counts_twice() {
        let united = Intervals::new(vec![(30, 40), (0, 10), (5, 12), (7, 8), (12, 15), (50, 50)]);
        assert_eq!(united, Intervals::new(vec![(0, 15), (30, 40)]));
        assert_eq!(united.total(), 25);
        assert_eq!(united.within(10, 35), 10);
        assert_eq!(united.within(15, 30), 0);
        assert_eq!(united.within(-5, 100), 25);
        assert_eq!(united.within(35, 10), 0, "backwards");
        assert_eq!(Intervals::default().within(0, 100), 0);
    }

    #[test]
    fn what_others_cover_is_taken_away() {
        let all = Intervals::new(vec![(0, 10), (20, 30), (40, 50)]);
        let others = Intervals::new(vec![(-5, 2), (4, 6), (8, 25), (29, 45)]);
        let left = Intervals::new(vec![(2, 4), (6, 8), (25, 29), (45, 50)]);
        assert_eq!(all.without(&others), left);
        assert_eq!(all.without(&Intervals::default()), all);
        assert_eq!(Intervals::default().without(&all), Intervals::default());
    }

    #[test]
    fn all_time_fits() {
        let all = Intervals::new(vec![(i64::MIN, -1), (0, i64::MAX)]);
        assert_eq!(all.total(), i64::MAX);
        assert_eq!(all.within(5, 9), 0, "what does not fit is a bound");
        assert_eq!(all.without(&all), Intervals::default());
    }
}
