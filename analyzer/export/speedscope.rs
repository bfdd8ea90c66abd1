//! Speedscope's own JSON (<https://www.speedscope.app/file-format-schema.json>).
//!
//! A profile for each thread's name, of sums: the order of time is not in it, so its views *left heavy* and *sandwich* say all
//! that there is. It has a place for files and lines, and none for modules.

use std::io::Write;

use ahash::HashMap;
use serde_json::{Value, json};

use super::Stacked;
use super::walk::{Step, walk_sum};

/// Writes the profiles.
///
/// # Errors
/// If it cannot be written.
pub(super) fn write(content: &Stacked<'_>, out: &mut dyn Write) -> anyhow::Result<()> {
    let Stacked { source, heading, weight, sums, stacks } = content;
    let unit = match weight.unit(&source.recording) {
        "ns" => "nanoseconds",
        "bytes" => "bytes",
        _ => "none",
    };
    let mut frames = Frames::default();
    let said: Vec<&str> =
        std::iter::once(&heading.covers).chain(&heading.warnings).map(String::as_str).collect();
    let name = format!("{} on {}", weight.title(), source.recording.manifest().host.name);
    let head = json!({
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "exporter": format!("lookback {}", env!("CARGO_PKG_VERSION")),
        "name": format!("{name}; {}", said.join("; ")),
        "activeProfileIndex": 0,
    });
    let head = head.to_string();
    out.write_all(head.trim_end_matches('}').as_bytes())?;
    out.write_all(b",\"profiles\":[")?;
    let sorted = sums.sorted();
    for (number, thread) in sorted.chunk_by(|one, other| one.0.comm == other.0.comm).enumerate() {
        let (mut samples, mut weights, mut end) = (Vec::new(), Vec::new(), 0_i64);
        for (key, sum) in thread {
            let steps = walk_sum(stacks, sums, key);
            let mut places: Vec<usize> =
                steps.into_iter().flat_map(|step| frames.of(step)).collect();
            places.reverse();
            samples.push(places);
            weights.push(sum.weight);
            end = end.saturating_add(sum.weight);
        }
        let comm = sums.name(thread[0].0.comm);
        let profile = json!({
            "type": "sampled", "name": comm, "unit": unit, "startValue": 0, "endValue": end,
            "samples": samples, "weights": weights,
        });
        out.write_all(if number > 0 { b",\n" } else { b"\n" })?;
        serde_json::to_writer(&mut *out, &profile)?;
    }
    out.write_all(b"\n],\"shared\":{\"frames\":")?;
    serde_json::to_writer(&mut *out, &frames.all)?;
    out.write_all(b"}}\n").map_err(anyhow::Error::from)
}

/// Frames by their places in the list that profiles share.
#[derive(Default)]
struct Frames {
    all: Vec<Value>,
    places: HashMap<(String, Option<String>, Option<i32>), usize>,
}

impl Frames {
    /// The places of a step's calls, the innermost first.
    fn of(&mut self, step: Step<'_>) -> Vec<usize> {
        let mut calls = step.calls();
        let mut places = Vec::new();
        for name in step.names() {
            let call = calls.next();
            let file = call.and_then(|call| call.file.clone());
            let line = call.and_then(|call| call.line);
            let next = self.all.len();
            let all = &mut self.all;
            let place = *self.places.entry((name, file, line)).or_insert_with_key(|key| {
                let mut frame = json!({ "name": key.0 });
                if let Some(file) = &key.1 {
                    frame["file"] = json!(file);
                }
                if let Some(line) = key.2 {
                    frame["line"] = json!(line);
                }
                all.push(frame);
                next
            });
            places.push(place);
        }
        places
    }
}
