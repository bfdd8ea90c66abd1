//! Pauses over time.
//!
//! A step counts the pauses that began in it. The time is that in which one of the processes stood
//! still, or more: of several that did at once, it counts once, so that the share stays one.

use super::{Question, is_watched};
use crate::bins::Bins;
use crate::distribution::stars;
use crate::intervals::Intervals;
use crate::render::{Column, Output, Value};

/// What a step has.
#[derive(Clone, Copy, Debug, Default)]
struct Step {
    pauses: u64,
    longest: Option<i64>,
}

/// The stars of a step that was all pause.
const FULL: usize = 40;

impl Question<'_> {
    /// Prints the report.
    pub(super) fn timeline(&self, output: &mut Output) -> anyhow::Result<()> {
        let bins = Bins::new(&self.source.window, self.args.step)?;
        let pauses = self.reaching_in()?;
        self.notes(output, &pauses, true)?;
        let mut steps = vec![Step::default(); bins.count()];
        for pause in pauses.all.iter().filter(|pause| !pause.is_nested()) {
            // What began before the window has time in it, but is no pause of it.
            if self.source.window.range.contains(&pause.ts) {
                let step = &mut steps[bins.of(pause.ts)];
                step.pauses += 1;
                step.longest = step.longest.max(pause.duration);
            }
        }
        let stretches = pauses.all.iter().filter_map(|pause| pause.stretch()).collect();
        let stopped = Intervals::new(stretches);
        let mut rows = output.rows(vec![
            Column::new("ts", "TIME").wide(12),
            Column::new("pauses", "PAUSES").right().wide(7),
            Column::new("paused", "PAUSED").right().wide(9),
            Column::new("share", "SHARE%").right().wide(6),
            Column::new("longest", "LONGEST").right().wide(9),
            Column::table("").wide(FULL + 2),
        ]);
        // Where nobody looked, no row says that there was nothing.
        if is_watched(&self.source.recording)? {
            for (place, step) in steps.iter().enumerate() {
                let (start, end) = bins.range(place);
                let (paused, length) = (stopped.within(start, end), end.saturating_sub(start));
                let bar = stars(paused.unsigned_abs(), length.unsigned_abs(), FULL);
                rows.row(&[
                    Value::Clock(start),
                    Value::count(step.pauses),
                    Value::Duration(paused),
                    Value::percent(paused, Some(length)),
                    step.longest.map_or(Value::Null, Value::Duration),
                    Value::Text(format!("|{bar}|")),
                ])?;
            }
        }
        rows.end()
    }
}
