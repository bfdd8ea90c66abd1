//! What the user sees: a live line on a terminal, and a summary at the end.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use lookback_schemas::TableId;

use crate::hooks::Tracer;
use crate::keep::LeftOut;
use crate::overload::Step;
use crate::writer::Progress;

/// The live line.
#[derive(Debug)]
pub struct Line {
    bar: ProgressBar,
    tracers: Vec<&'static Tracer>,
    last: (Instant, Vec<u64>),
    rates: String,
}

impl Line {
    /// A line on standard error, if that is a terminal and `quiet` is false.
    pub fn start(tracers: Vec<&'static Tracer>, quiet: bool) -> Line {
        let bar = if quiet || !std::io::stderr().is_terminal() {
            ProgressBar::hidden()
        } else {
            ProgressBar::new_spinner()
        };
        bar.set_style(
            ProgressStyle::with_template("{spinner} {elapsed} {msg}")
                .expect("the template has only keys that exist"),
        );
        let seen = vec![0; tracers.len()];
        Line { bar, tracers, last: (Instant::now(), seen), rates: String::new() }
    }

    /// Shows how it stands.
    pub fn update(&mut self, progress: &Progress) {
        if self.bar.is_hidden() {
            return;
        }
        let elapsed = self.last.0.elapsed();
        if elapsed >= Duration::from_secs(1) {
            let seen: Vec<u64> =
                self.tracers.iter().map(|tracer| seen(progress, tracer.tables)).collect();
            let rate = |(tracer, (now, before)): (&&Tracer, (&u64, &u64))| {
                let rate = (now - before) as f64 / elapsed.as_secs_f64();
                format!("{} {}/s", tracer.name, HumanCount(rate.round() as u64))
            };
            let pairs = seen.iter().zip(&self.last.1);
            self.rates = self.tracers.iter().zip(pairs).map(rate).collect::<Vec<_>>().join("  ");
            self.last = (Instant::now(), seen);
        }
        let (lost, bytes) = (HumanCount(progress.lost()), ByteSize(progress.bytes));
        self.bar.set_message(format!("{}  lost {lost}  {bytes}", self.rates));
        self.bar.tick();
    }

    /// Shows what is being done after the recording.
    pub fn say(&self, what: &str) {
        self.bar.set_message(what.to_owned());
        self.bar.tick();
    }

    /// Removes the line.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

fn seen(progress: &Progress, tables: &[TableId]) -> u64 {
    let totals = tables.iter().filter_map(|table| progress.totals.get(table));
    totals.filter_map(|total| total.seen).sum()
}

/// Tells which files did not name all their frames, and why.
pub fn unnamed(failures: &[(PathBuf, String)]) {
    for (path, why) in failures {
        let path = path.to_string_lossy();
        eprintln!("record: not all names from {}: {}", path.escape_debug(), why.escape_debug());
    }
}

/// Tells which binaries were not kept, and why.
pub fn not_kept(left_out: &[LeftOut]) {
    for (path, why) in left_out {
        let path = path.to_string_lossy();
        eprintln!("record: not kept: {}: {}", path.escape_debug(), why.escape_debug());
    }
}

/// Tells at once that a table is stopped, or recorded again.
pub fn overload(step: &Step) {
    match step {
        Step::Stop(table, why) => eprintln!(
            "record: too much to record ({why}): events of `{}` are only counted for a while; --tolerate-loss goes on",
            table.name()
        ),
        Step::Resume(table) => eprintln!("record: events of `{}` are recorded again", table.name()),
    }
}

/// Tells what was recorded, and what to do with it.
pub fn summary(directory: &Path, recorded: Duration, tracers: &[&Tracer], progress: &Progress) {
    let tables: Vec<TableId> = tracers.iter().flat_map(|tracer| tracer.tables).copied().collect();
    let lost = match progress.lost() {
        0 => "nothing lost".to_owned(),
        lost => format!("{} LOST (see `analyze info`)", HumanCount(lost)),
    };
    let directory = directory.display();
    eprintln!(
        "recorded {:.1} s into {directory}: {} events, {lost}, {}",
        recorded.as_secs_f64(),
        HumanCount(seen(progress, &tables)),
        ByteSize(progress.bytes),
    );
    let mut next = vec![format!("analyze info {directory}")];
    if tables.contains(&TableId::Exec) {
        next.push(format!("analyze processes {directory}"));
    }
    if tables.contains(&TableId::Sample) {
        next.push(format!("analyze flamegraph {directory} -o flamegraph.svg"));
    }
    eprintln!("next: {}", next.join("\n      "));
}
