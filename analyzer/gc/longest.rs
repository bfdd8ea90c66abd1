//! The longest pauses, and what else happened in their processes meanwhile.
//!
//! A pause is long because there was much to do, or because those who did it had no CPU: the pools
//! tell the one, the waits of the process's threads the other. Samples tell how much of the CPUs it
//! had, and spans of the user's who was kept waiting. What was not recorded is unknown, not nothing.

use std::cmp::Reverse;
use std::ops::Range;
use std::path::Path;

use ahash::HashMap;
use arrow::array::Array as _;
use lookback_schemas::{Error, TableId};

use super::pauses::{Pause, Pool};
use super::stops::Stops;
use super::{Question, table};
use crate::lifetimes::{Detail, Lifetimes};
use crate::memleak::is_recorded;
use crate::processes::known;
use crate::render::{Column, Value, size};
use crate::tally::{Name, Projection, ThreadsArgs, process_columns, process_values, projection};
use crate::waits;

projection! {
    /// What is read of a sample.
    struct Samples of Sample {
        ts: i64,
        pid: i32,
    }
}

projection! {
    /// What is read of a span.
    struct Spans of Span {
        ts: i64,
        duration: Option<i64>,
        pid: i32,
    }
}

/// What happened in a pause.
#[derive(Clone, Copy, Debug, Default)]
struct Meanwhile {
    /// Of the waits for a CPU what lies in the pause.
    waits: Stretches,
    samples: u64,
    /// Spans that overlap with the pause, whole.
    spans: Stretches,
}

/// Stretches of time that were counted.
#[derive(Clone, Copy, Debug, Default)]
struct Stretches {
    count: u64,
    /// In nanoseconds.
    total: i64,
    longest: Option<i64>,
}

impl Stretches {
    fn add(&mut self, length: i64) {
        self.count += 1;
        self.total = self.total.saturating_add(length);
        self.longest = self.longest.max(Some(length));
    }
}

/// The pauses that are shown.
struct Chosen {
    /// By process: its pauses, and what happened in each.
    by_pid: HashMap<i32, (Stops, Vec<Meanwhile>)>,
    /// From the first moment of a pause to the last.
    range: Range<i64>,
}

/// The longest first.
fn rank(pause: &Pause) -> (Reverse<Option<i64>>, i64, i32, i32) {
    (Reverse(pause.duration), pause.ts, pause.pid, pause.tid)
}

impl Chosen {
    fn new(mut pauses: Vec<Pause>, most: usize) -> Chosen {
        pauses.retain(|pause| pause.duration.is_some() && !pause.is_nested());
        pauses.sort_by_key(rank);
        pauses.truncate(most);
        let stretches = || pauses.iter().filter_map(Pause::stretch);
        let start = stretches().map(|(start, _)| start).min().unwrap_or(0);
        let range = start..stretches().map(|(_, end)| end).max().unwrap_or(0);
        let mut by_pid: HashMap<i32, Vec<Pause>> = HashMap::default();
        for pause in pauses {
            by_pid.entry(pause.pid).or_default().push(pause);
        }
        let by_pid = by_pid.into_iter().map(|(pid, pauses)| {
            let stops = Stops::new(pauses);
            let meanwhile = vec![Meanwhile::default(); stops.pauses().len()];
            (pid, (stops, meanwhile))
        });
        Chosen { by_pid: by_pid.collect(), range }
    }

    /// Calls `visit` with each pause of the process that shares time with a stretch, and how much.
    fn share(
        &mut self,
        pid: i32,
        (start, end): (i64, i64),
        mut visit: impl FnMut(&mut Meanwhile, i64),
    ) {
        if let Some((stops, meanwhile)) = self.by_pid.get_mut(&pid) {
            for (place, shared) in stops.overlapping(start, end) {
                visit(&mut meanwhile[place], shared);
            }
        }
    }

    fn wait(&mut self, question: &Question<'_>) -> anyhow::Result<()> {
        let (recording, threads) = (&question.source.recording, ThreadsArgs::default());
        let waits = waits::read(recording, self.range.clone(), threads, |wait| {
            let stops = self.by_pid.get(&wait.pid);
            stops.is_some_and(|(stops, _)| stops.overlapping(wait.start, wait.end).next().is_some())
        })?;
        for wait in waits {
            self.share(wait.pid, (wait.start, wait.end), |meanwhile, shared| {
                meanwhile.waits.add(shared);
            });
        }
        Ok(())
    }

    fn sample(&mut self, question: &Question<'_>) -> anyhow::Result<()> {
        each(question, self.range.clone(), |rows: &Samples, row| {
            let ts = rows.ts.value(row);
            self.share(rows.pid.value(row), (ts, ts.saturating_add(1)), |meanwhile, _| {
                meanwhile.samples += 1;
            });
        })
    }

    fn span(&mut self, question: &Question<'_>) -> anyhow::Result<()> {
        // A span may have begun long before.
        each(question, i64::MIN..self.range.end, |rows: &Spans, row| {
            let Some(duration) = known!(rows.duration, row) else { return };
            let start = rows.ts.value(row);
            let end = start.saturating_add(duration.max(0));
            self.share(rows.pid.value(row), (start, end), |meanwhile, _| {
                meanwhile.spans.add(duration);
            });
        })
    }

    /// All pauses with what happened in them, the longest first.
    fn ranked(&self) -> Vec<(&Pause, &Meanwhile)> {
        let all = self.by_pid.values();
        let all = all.flat_map(|(stops, meanwhile)| std::iter::zip(stops.pauses(), meanwhile));
        let mut all: Vec<_> = all.collect();
        all.sort_by_key(|(pause, _)| rank(pause));
        all
    }
}

/// Visits each row of a table in the range of time, in no order.
fn each<P: Projection>(
    question: &Question<'_>,
    range: Range<i64>,
    mut visit: impl FnMut(&P, usize),
) -> anyhow::Result<()> {
    let scan = question.source.recording.scan_table(P::TABLE, range).columns(P::COLUMNS);
    scan.for_each(|path: &Path, batch| -> Result<(), Error> {
        let rows = P::view(&batch).map_err(Error::damaged(path))?;
        (0..rows.rows()).for_each(|row| visit(&rows, row));
        Ok(())
    })?;
    Ok(())
}

impl Question<'_> {
    /// Prints the report.
    pub(super) fn longest(&self, most: usize) -> anyhow::Result<()> {
        let recording = &self.source.recording;
        let mut tables = vec![TableId::Gc];
        for table in [TableId::Runq, TableId::Sample, TableId::Span] {
            if is_recorded(recording, table)? {
                tables.push(table);
            }
        }
        let recorded = |table| tables.contains(&table);
        let mut pauses = self.begun()?;
        let mut output = self.source.begin(&tables)?;
        self.notes(&mut output, &pauses, true)?;
        let mut chosen = Chosen::new(std::mem::take(&mut pauses.all), most);
        if recorded(TableId::Runq) {
            chosen.wait(self)?;
        }
        if recorded(TableId::Sample) {
            chosen.sample(self)?;
        }
        if recorded(TableId::Span) {
            chosen.span(self)?;
        }
        let lifetimes = Lifetimes::read(recording, Detail::Identity)?;
        let mut rows = output.rows(columns());
        for (pause, meanwhile) in chosen.ranked() {
            let mut name = Name::default();
            super::distributed::name(&mut name, &lifetimes, pause);
            let mut row = vec![Value::Clock(pause.ts)];
            row.extend(process_values(pause.pid, name.get()));
            row.push(pause.duration.map_or(Value::Null, Value::Duration));
            row.extend(table::kind_values(pause));
            row.extend(table::heap_values(pause));
            let waits = recorded(TableId::Runq).then_some(meanwhile.waits);
            let spans = recorded(TableId::Span).then_some(meanwhile.spans);
            let time = |time: Option<i64>| time.map_or(Value::Null, Value::Duration);
            let count = |count: Option<u64>| count.map_or(Value::Null, Value::count);
            row.extend([
                count(waits.map(|waits| waits.count)),
                time(waits.map(|waits| waits.total)),
                time(waits.and_then(|waits| waits.longest)),
                count(recorded(TableId::Sample).then_some(meanwhile.samples)),
                count(spans.map(|spans| spans.count)),
                time(spans.and_then(|spans| spans.longest)),
                pools(&pause.heap_pools()),
            ]);
            rows.row(&row)?;
        }
        rows.end()?;
        output.finish()
    }
}

fn columns() -> Vec<Column> {
    let mut columns = vec![Column::new("ts", "TIME").wide(12)];
    columns.extend(process_columns());
    columns.push(Column::new("duration", "GC TIME").right().wide(9));
    columns.extend(table::kind_columns());
    columns.extend(table::heap_columns());
    let numbers = [
        ("waits", "WAITS"),
        ("waited", "WAITED"),
        ("longest_wait", "LONGEST"),
        ("samples", "SAMPLES"),
        ("spans", "SPANS"),
        ("longest_span", "LONGEST"),
    ];
    columns.extend(numbers.map(|(name, header)| Column::new(name, header).right()));
    columns.push(Column::new("pools", "POOLS"));
    columns
}

/// What each pool held before and after, in words.
fn pools(pools: &[Pool]) -> Value {
    if pools.is_empty() {
        return Value::Null;
    }
    let bytes = |bytes: Option<i64>| bytes.map_or_else(|| "-".to_owned(), size);
    let say = |pool: &Pool| {
        let name = pool.name.as_deref().unwrap_or("-");
        format!("{name}: {} -> {};", bytes(pool.before), bytes(pool.after))
    };
    let mut said: Vec<String> = pools.iter().map(say).collect();
    if let Some(last) = said.last_mut() {
        last.pop();
    }
    Value::Texts(said)
}
