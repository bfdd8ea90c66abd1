//! The text of `perf script`, for the many programs that read it.
//!
//! A line for each sample, with the time of the monotonic clock, and one for each frame, the innermost first. A call that was
//! inlined has the module `(inlined)`, as perf writes it. What is missing stands at the top, in lines with `#`.

use std::fmt::Write as _;
use std::io::Write;

use ahash::HashMap;

use super::samples::{Sample, Samples};
use super::walk::{Pair, Step, walk};
use crate::flamegraph::names::folded_name;
use crate::losses::Heading;
use crate::render::escaped;

/// Writes the samples.
///
/// # Errors
/// If a table is damaged, or it cannot be written.
pub(super) fn write(
    samples: &Samples<'_>,
    heading: &Heading,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    for line in std::iter::once(&heading.covers).chain(&heading.warnings) {
        writeln!(out, "# {}", escaped(line))?;
    }
    let epoch = samples.source.recording.manifest().epoch;
    let event = match crate::flamegraph::period(&samples.source.recording) {
        "cycles" => "cycles",
        _ => "cpu-clock",
    };
    // Stacks are few: each is spelled once.
    let mut stacks: HashMap<Pair, String> = HashMap::default();
    samples.for_each(|sample| {
        let Sample { pid, tid, cpu, period, .. } = sample;
        let time = sample.ts.saturating_sub(epoch).max(0);
        let (seconds, ns) = (time / 1_000_000_000, time % 1_000_000_000);
        // Readers look for numbers behind it.
        let comm = folded_name(sample.comm.unwrap_or("[unknown]"));
        writeln!(out, "{comm} {pid}/{tid} [{cpu:03}] {seconds}.{ns:09}: {period} {event}:")?;
        let frames = stacks.entry(sample.stacks).or_insert_with(|| {
            let mut text = String::new();
            walk(&samples.stacks, sample.stacks)
                .into_iter()
                .for_each(|step| frame(&mut text, step));
            text
        });
        out.write_all(frames.as_bytes())?;
        writeln!(out)?;
        Ok(())
    })
}

/// Appends the lines of a step.
fn frame(out: &mut String, step: Step<'_>) {
    let (address, module) = match step {
        Step::Note(text) => {
            let _ = writeln!(out, "\t{:>16x} {} ([unknown])", 0, word(text));
            return;
        }
        Step::Frame(_, frame) if frame.kernel => {
            let module = frame.calls.first().and_then(|call| call.module.as_deref());
            (frame.address, format!("[{}]", module.unwrap_or("kernel.kallsyms")))
        }
        Step::Frame(_, frame) => {
            (frame.address, frame.module.clone().unwrap_or_else(|| "[unknown]".to_owned()))
        }
    };
    let module = word(&module);
    let mut calls: Vec<_> = step.calls().collect();
    let Some(outer) = calls.pop() else {
        let _ = writeln!(out, "\t{address:>16x} [unknown] ({module})");
        return;
    };
    for call in calls {
        let _ = writeln!(out, "\t{address:>16x} {} (inlined)", word(&call.name));
    }
    let name = word(&outer.name);
    let _ = match outer.offset {
        Some(offset) => writeln!(out, "\t{address:>16x} {name}+{offset:#x} ({module})"),
        None => writeln!(out, "\t{address:>16x} {name} ({module})"),
    };
}

/// A text that stays on its line.
fn word(text: &str) -> String {
    escaped(text).into_owned()
}
