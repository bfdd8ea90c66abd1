//! When most of the heap was live, and what it was.
//!
//! The first replay only finds the instant: that after which most bytes were live, the first one if
//! there are several. The second one looks at it.

use super::section::{Reports, Section};
use super::user::User;
use super::{Kind, begin};
use crate::replay::Instants;

/// Prints the report.
///
/// # Errors
/// If a table is damaged, or the output cannot be written.
pub(super) fn run(user: &User<'_>, kinds: &[Kind], missing: &[String]) -> anyhow::Result<()> {
    let mut reports = Reports::new(user.args);
    let mut said = missing.to_vec();
    if kinds.contains(&Kind::Heap) {
        let mut question = user.question();
        question.rules.deltas = true;
        let last = Instants::once(question.end);
        let (found, notes) = user.heap(&question, last, |_| Ok(()))?;
        said.extend(notes);
        // Without any allocation nothing was live at any time.
        let (at, most) = found.findings.peak.unwrap_or_default();
        let at = if most > 0 { at } else { question.end };
        question.rules.deltas = false;
        user.heap(&question, Instants::once(at), |look| {
            let section = Section::of(user.args, &look, |tally| tally.live);
            reports.look(look.at, vec![(Kind::Heap, section)]);
            Ok(())
        })?;
    }
    let mut output = begin(user.source, &[Kind::Heap])?;
    output.notes(&said)?;
    super::print(user, &mut output, &super::kernel::Caches::default(), &reports.all)?;
    output.finish()
}
