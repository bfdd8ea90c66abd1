//! A window cut into equal steps, for what changes over time.

use anyhow::ensure;
use clap::Args;

use crate::render::thousands;
use crate::window::{Window, length};

/// How long a step is.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct StepArgs {
    /// One row of --timeline for so long, such as `1s` or `250ms` [default: 60 rows]
    #[arg(long, value_name = "TIME", value_parser = length, requires = "timeline")]
    pub step: Option<i64>,
}

/// So many steps, unless the reader says how long one is.
const STEPS: i64 = 60;

/// More rows than this nobody can read.
const MOST: i64 = 1_000_000;

/// A window in steps. The last may be shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bins {
    start: i64,
    end: i64,
    step: i64,
    count: usize,
}

impl Bins {
    /// The window's steps.
    ///
    /// # Errors
    /// If the step is 0, or there would be too many.
    pub fn new(window: &Window, args: StepArgs) -> anyhow::Result<Bins> {
        let (start, end) = (window.start(), window.end());
        let length = end.saturating_sub(start).max(1);
        // Rounded up, so that the last step is not followed by a remainder.
        let step = args.step.unwrap_or((length - 1) / STEPS + 1);
        ensure!(step > 0, "--step: takes some time, such as `1s`");
        let count = (length - 1) / step + 1;
        ensure!(count <= MOST, "--step: that makes {} rows; take a larger step", thousands(count));
        Ok(Bins { start, end, step, count: count as usize })
    }

    /// How many steps there are: at least one.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// In which one `ts` lies. What lies outside the window counts in the step that is nearest.
    #[must_use]
    pub fn of(&self, ts: i64) -> usize {
        let place = ts.saturating_sub(self.start) / self.step;
        usize::try_from(place).unwrap_or(0).min(self.count - 1)
    }

    /// The first moment of a step, and the first after it.
    #[must_use]
    pub fn range(&self, place: usize) -> (i64, i64) {
        let start = self.start.saturating_add(self.step.saturating_mul(place as i64));
        (start, start.saturating_add(self.step).min(self.end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::Span;

    fn bins(length: i64, step: Option<i64>) -> anyhow::Result<Bins> {
        let window = Window::all(Span { start: 100, end: 100 + length, ended: true });
        Bins::new(&window, StepArgs { step })
    }

    #[test]
    fn the_last_step_may_be_shorter() {
        let bins = bins(25, Some(10)).expect("few steps");
        assert_eq!(bins.count(), 3);
        assert_eq!([0, 1, 2].map(|place| bins.range(place)), [(100, 110), (110, 120), (120, 125)]);
        assert_eq!([99, 100, 109, 110, 124, 125, 999].map(|ts| bins.of(ts)), [0, 0, 0, 1, 2, 2, 2]);
    }

    #[test]
    fn without_a_step_there_are_sixty_at_most() {
        assert_eq!(bins(600, None).expect("few steps").count(), 60);
        assert_eq!(bins(601, None).expect("few steps").count(), 55);
        assert_eq!(bins(0, None).expect("one step").count(), 1);
        assert!(bins(10, Some(0)).is_err());
        assert!(bins(i64::MAX - 100, Some(1)).is_err());
    }
}
