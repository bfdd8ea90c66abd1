//! The verdict in rows.

use super::judged::{Judged, Part, Totals, Verdict};
use super::{Question, Span};
use crate::codes;
use crate::render::{Column, Format, Output, Value, thousands};

/// A reason, and what of spans it is.
type Reason = (&'static str, fn(&Totals) -> Part);

const REASONS: [Reason; 4] = [
    ("gc", |totals| totals.gc),
    ("runq", |totals| totals.runq),
    ("other", |totals| totals.other),
    ("all", |totals| Part { known: totals.count, spans: totals.count, time: totals.time }),
];

fn int(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// What of spans lost time to a reason: how many, in percent, how much, in percent. Unknown where it
/// is of no span.
fn values(part: Part, totals: &Totals) -> [Value; 4] {
    if part.known == 0 {
        return [Value::Null, Value::Null, Value::Null, Value::Null];
    }
    [
        Value::count(part.spans),
        Value::percent(int(part.spans), Some(int(part.known))),
        Value::Duration(part.time),
        Value::percent(part.time, Some(totals.time)),
    ]
}

impl Question<'_> {
    /// Prints what spans lost their time to. Slow are those that took so many nanoseconds, or as it is
    /// said, or more. Where rows are for programs, and single spans were asked for, only those.
    pub(super) fn print(
        &self,
        output: &mut Output,
        verdict: &Verdict,
        (slow, from): (i64, &str),
    ) -> anyhow::Result<()> {
        let table = output.format() == Format::Table;
        if self.args.longest.is_some() && !table {
            return longest(output, verdict.longest.spans());
        }
        if table {
            for line in sentences(verdict, from) {
                output.line(&line)?;
            }
            output.line("")?;
        }
        let mut rows = output.rows(columns());
        for (name, of) in REASONS {
            let mut row = vec![Value::Text(name.to_owned())];
            for totals in [&verdict.slow, &verdict.others] {
                row.extend(values(of(totals), totals));
            }
            row.push(Value::Duration(slow));
            rows.row(&row)?;
        }
        rows.end()?;
        if self.args.longest.is_some() {
            output.line("")?;
            longest(output, verdict.longest.spans())?;
        }
        Ok(())
    }

    /// Prints that there is no span to judge.
    pub(super) fn print_nothing(&self, output: &mut Output) -> anyhow::Result<()> {
        if output.format() == Format::Table {
            return output
                .line("There is no span that ended, in this window and of these processes.");
        }
        match self.args.longest {
            Some(_) => longest(output, &[]),
            None => output.rows(columns()).end(),
        }
    }
}

fn columns() -> Vec<Column> {
    let right = |name, header| Column::new(name, header).right();
    vec![
        Column::new("reason", "REASON").wide(6),
        right("slow_spans", "SLOW").wide(9),
        right("slow_spans_percent", "SPANS%"),
        right("slow_time", "TIME").wide(9),
        right("slow_time_percent", "TIME%").wide(6),
        right("other_spans", "OTHERS").wide(9),
        right("other_spans_percent", "SPANS%"),
        right("other_time", "TIME").wide(9),
        right("other_time_percent", "TIME%").wide(6),
        Column::data("slow_from"),
    ]
}

/// The answer in words.
fn sentences(verdict: &Verdict, from: &str) -> Vec<String> {
    let (slow, others) = (&verdict.slow, &verdict.others);
    let mut said = vec![format!(
        "{} slow spans, of {from} or more; {} others",
        thousands(slow.count),
        thousands(others.count)
    )];
    let share = |part: Part| match part.known {
        0 => "none".to_owned(),
        known => {
            let percent = part.spans as f64 / known as f64 * 100.0;
            format!("{} ({percent:.1} %)", thousands(part.spans))
        }
    };
    if slow.gc.known > 0 {
        said.push(format!(
            "{} of the slow ones overlapped a pause of garbage collection, of the others {}",
            share(slow.gc),
            share(others.gc)
        ));
    }
    said
}

/// The slowest spans.
fn longest(output: &mut Output, spans: &[Judged]) -> anyhow::Result<()> {
    let right = |name, header| Column::new(name, header).right().wide(9);
    let mut rows = output.rows(vec![
        Column::new("ts", "TIME").wide(12),
        Column::new("pid", "PID").right().wide(7),
        Column::new("tid", "TID").right().wide(7),
        Column::new("name", "NAME").wide(16),
        right("duration", "DURATION"),
        right("gc", "GC"),
        right("runq", "RUNQ"),
        right("other", "OTHER"),
        right("pause", "PAUSE"),
        Column::new("pause_full", "FULL"),
        Column::new("pause_collector", "COLLECTOR"),
        Column::data("pause_ts"),
    ]);
    let time = |time: Option<i64>| time.map_or(Value::Null, Value::Duration);
    for Judged { span, name, parts, pause } in spans {
        let Span { start, duration, pid, tid, .. } = *span;
        let pause = pause.as_ref();
        let full = pause.and_then(|pause| pause.full);
        rows.row(&[
            Value::Clock(start),
            Value::Int(i64::from(pid)),
            Value::Int(i64::from(tid)),
            Value::text(name.as_deref()),
            Value::Duration(duration),
            time(parts.gc),
            time(parts.runq),
            Value::Duration(parts.other),
            time(pause.and_then(|pause| pause.duration)),
            full.map_or(Value::Null, |full| Value::Named(i64::from(full), codes::gc_full(full))),
            Value::text(pause.and_then(|pause| pause.collector()).as_deref()),
            pause.map_or(Value::Null, |pause| Value::Time(pause.ts)),
        ])?;
    }
    rows.end()
}
