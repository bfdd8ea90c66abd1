//! Spans between two probes of the user's: how long they took, and why some took so long.
//!
//! A span is what the user says it is, such as a request from its first function to its last. The
//! table `span` has each with its length. `--blame` asks what its time went to: see [`blame`].

mod blame;
mod list;
mod timeline;

use arrow::array::Array as _;
use clap::{Args, ValueEnum};
use lookback_schemas::TableId;

use crate::bins::StepArgs;
use crate::cli::{Source, SourceArgs};
use crate::distribution::{Group, Report, Scale, Values};
use crate::hosts::Reach;
use crate::hosts::by::{Grouping, host_or_one};
use crate::losses::{late, unrecorded};
use crate::probes::asked::{TRACER, failed_spans};
use crate::processes::known;
use crate::render::{Column, Output, Value};
use crate::scope::{Scope, ScopeArgs};
use crate::tally::{
    Groups, Named, Selection, ThreadsArgs, add_name, process_columns, process_values, projection,
};
use crate::window::MinArgs;

/// Shown below the help.
pub const EXAMPLE: &str = "Examples:\n  analyze spans web1.lookback --by process\n  \
                           analyze spans web1.lookback --list --name request --min 50ms\n  \
                           analyze spans web1.lookback --blame --name request --longest 10\n\n\
                           Recorded, for example, by `record --trace gc,runq --span \
                           'request=uprobe:./srv:handle..uretprobe:./srv:handle' --pid 4711`. With \
                           --blame, --min says from which length on a span is slow; by default the \
                           slowest 1 % are.";

/// Options of `analyze spans`.
#[derive(Args, Debug)]
pub struct SpansArgs {
    /// The recording, and the part of it.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Which processes.
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// Which spans; with --blame those that are slow, by default from the 99th percentile on.
    #[command(flatten)]
    pub min: MinArgs,
    /// Only spans of this name; can be given again
    #[arg(long, value_name = "NAME", help_heading = "Filters")]
    pub name: Vec<String>,
    /// Which report.
    #[command(flatten)]
    pub view: View,
    /// A row, or a histogram, for each of these
    #[arg(long, value_parser = host_or_one::<By>(), conflicts_with_all = ["list", "unfinished", "timeline", "blame"])]
    pub by: Option<Grouping<By>>,
    /// Count in milliseconds instead of microseconds
    #[arg(short, long, requires = "hist")]
    pub milliseconds: bool,
    /// How long a row of --timeline is.
    #[command(flatten)]
    pub step: StepArgs,
    /// With --blame also the slowest spans, each with the pause that it lost most to
    #[arg(long, value_name = "N", requires = "blame")]
    pub longest: Option<usize>,
    /// How many threads read.
    #[command(flatten)]
    pub threads: ThreadsArgs,
}

impl SpansArgs {
    /// What to sum up by, beside the host.
    fn by(&self) -> Option<By> {
        Grouping::one(self.by.as_ref())
    }
}

/// The reports; by default count, mean and percentiles of each name.
#[derive(Args, Debug, Default)]
#[group(multiple = false)]
pub struct View {
    /// A histogram of how long they took
    #[arg(long)]
    pub hist: bool,
    /// Every span
    #[arg(long)]
    pub list: bool,
    /// Every span that had not ended
    #[arg(long)]
    pub unfinished: bool,
    /// Spans over time, by when they began
    #[arg(long)]
    pub timeline: bool,
    /// What the time of slow spans went to: pauses of garbage collection, waits for a CPU, the rest
    #[arg(long)]
    pub blame: bool,
}

/// What to group spans by, beside their name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// By process.
    Process,
    /// By the thread that began them.
    Thread,
}

projection! {
    /// What is added up.
    struct Rows of Span {
        ts: i64,
        duration: Option<i64>,
        name: Option<String>,
        pid: i32,
        tid: i32,
        end_tid: Option<i32>,
        comm: Option<String>,
    }
}

/// What a report is made from.
struct Question<'a> {
    args: &'a SpansArgs,
    source: &'a Source,
    scope: Scope,
}

/// Prints the report.
///
/// # Errors
/// If a table is damaged, or the output cannot be written.
pub fn run(args: &SpansArgs, source: &Source) -> anyhow::Result<()> {
    let scope = source.scope(&args.scope)?;
    scope.check(TableId::Span)?;
    let question = Question { args, source, scope };
    if args.view.blame {
        return question.blame();
    }
    let mut output = source.begin(&[TableId::Span])?;
    output.notes(&question.notes()?)?;
    if args.view.list || args.view.unfinished {
        question.list(&mut output)?;
    } else if args.view.timeline {
        question.timeline(&mut output)?;
    } else {
        question.distributed(&mut output)?;
    }
    output.finish()
}

impl Question<'_> {
    /// What a reader must know.
    fn notes(&self) -> anyhow::Result<Vec<String>> {
        let how = ("spans", "--span NAME=PROBE..PROBE");
        let unknown = unrecorded(&self.source.recording, TableId::Span, how)?;
        let failed = failed_spans(self.source.recording.manifest());
        let late = late(&self.source.recording, TRACER);
        Ok(unknown.into_iter().chain(failed).chain(late).collect())
    }

    fn selection<'a>(&'a self, without: &'a [&'static str]) -> Selection<'a> {
        let (source, scope) = (self.source, &self.scope);
        Selection { source, scope, threads: self.args.threads, without }
    }

    /// Whether a span of this name was asked for.
    fn admits(&self, name: Option<&str>) -> bool {
        let names = &self.args.name;
        names.is_empty() || name.is_some_and(|name| names.iter().any(|wanted| wanted == name))
    }

    /// Prints histograms, or only the figures.
    fn distributed(&self, output: &mut Output) -> anyhow::Result<()> {
        let by = self.args.by();
        let without: &[&str] = if by.is_some() { &["end_tid"] } else { &["comm", "end_tid"] };
        let sums = self.selection(without).sum(|sums: &mut Sums, rows: &Rows, row| {
            let (name, duration) = (known!(rows.name, row), known!(rows.duration, row));
            if !self.admits(name) || !self.args.min.admits_unknown(duration) {
                return;
            }
            let id = match by {
                None => None,
                Some(By::Process) => Some(rows.pid.value(row)),
                Some(By::Thread) => Some(rows.tid.value(row)),
            };
            let spans = sums.of((name.map(str::to_owned), id));
            match by {
                None => {}
                Some(By::Process) => add_name!(spans.name, rows, row),
                Some(By::Thread) => {
                    spans.name.add(rows.ts.value(row), true, known!(rows.comm, row));
                }
            }
            match duration {
                Some(duration) => spans.sum.add(duration),
                None => spans.sum.add_null(),
            }
        })?;
        let reach = match by {
            None => Reach::Everywhere,
            Some(By::Process | By::Thread) => Reach::Boot,
        };
        let Some(sums) = self.source.add_up(reach, sums) else { return Ok(()) };
        let mut keys = vec![Column::new("name", "NAME").wide(16)];
        match by {
            None => {}
            Some(By::Process) => keys.extend(process_columns()),
            Some(By::Thread) => keys.extend([
                Column::new("tid", "TID").right().wide(7),
                Column::new("comm", "COMM").wide(16),
            ]),
        }
        let scale = Scale::of_time(self.args.milliseconds);
        let report = Report::of_durations("duration", keys, scale);
        let report = Report { summary: !self.args.view.hist, nulls: "unfinished", ..report };
        let group = |((name, id), spans): ((Option<String>, Option<i32>), Named<Values>)| {
            let mut title = format!("span = {}", name.as_deref().unwrap_or("-"));
            let mut keys = vec![Value::text(name.as_deref())];
            if let (Some(by), Some(id)) = (by, id) {
                let of = match by {
                    By::Process => "pid",
                    By::Thread => "tid",
                };
                title += &format!(", {of} = {id} {}", spans.name.get().unwrap_or("-"));
                keys.extend(process_values(id, spans.name.get()));
            }
            Group { title: Some(title), keys, values: spans.sum }
        };
        report.print(output, sums.sorted().into_iter().map(group).collect())
    }
}

/// By name and, if that was asked for, process or thread.
type Sums = Groups<(Option<String>, Option<i32>), Named<Values>>;

#[cfg(test)]
mod tests;
