//! One page for the person on call: everything that a recording tells, on one clock.
//!
//! The page is a single HTML file that needs no network: it opens from the disk, today and in ten years. What
//! is on it comes from the other reports, which are asked as the command line asks them: their rows
//! become its [tables], the timelines and distributions that they add up its [lanes] and [latencies], their
//! folded stacks its [flames]. Each section names the command that tells all of it.
//!
//! The page lets its reader choose a part of the time. So what it shows is kept by [step](crate::bins) of time,
//! and not added up: 240 steps, however long the recording is. That, a number of rows for each table, and a number
//! of nodes and weights for each flame graph bound its size; what was summed up or left out it says.
//!
//! Names in a recording are hostile. They are spelled out as for a terminal, then embedded as JSON in which no
//! character can end the element that it is in; the page's scripts only ever set text. A content security
//! policy allows these scripts and this style by their hashes, and nothing else.

mod document;
mod events;
mod flames;
mod html;
mod lanes;
mod latencies;
mod leaks;
mod tables;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use lookback_schemas::TableId;

use self::document::{Absent, Document, Gap, Time, text};
use crate::bins::{Bins, StepArgs};
use crate::cli::Source;
use crate::info;
use crate::losses::{Heading, missing};
use crate::memleak::is_recorded;
use crate::render::{OutputArgs, spoken};
use crate::tally::ThreadsArgs;
use crate::window::WindowArgs;

/// Shown below the help.
pub const EXAMPLE: &str = "Examples:\n  analyze report web1.lookback -o report.html\n  \
                           analyze report web1.lookback --since 10:15:00 --until 10:16:30 -o minute.html\n  \
                           analyze report web1.lookback --data | jq .covers\n\n\
                           The page is one file without any reference to another: open it from the disk, attach \
                           it to the incident. It has a section for what was recorded, and shows the command that \
                           tells all of it. Without -o it goes to the standard output, or, where that is a \
                           terminal, into report.html.";

/// Options of `analyze report`.
#[derive(Args, Debug)]
pub struct ReportArgs {
    /// The recording: a directory. A page is of one
    #[arg(value_name = "RECORDING")]
    pub recording: PathBuf,
    /// The part of its time.
    #[command(flatten)]
    pub window: WindowArgs,
    /// Write to this file instead of the standard output
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    pub output: Option<PathBuf>,
    /// Only the data of the page, as JSON; its form may change with any version
    #[arg(long, help_heading = "Output")]
    pub data: bool,
    /// How many threads read.
    #[command(flatten)]
    pub threads: ThreadsArgs,
}

/// Into so many steps the page cuts time.
const STEPS: i64 = 240;

/// What the sections of a page are made from.
struct Page<'a> {
    args: &'a ReportArgs,
    source: Source,
    steps: Bins,
}

/// Writes the page.
///
/// # Errors
/// If there is no recording, or the output cannot be written. A table that is damaged is said in its section.
pub fn run(args: &ReportArgs) -> anyhow::Result<()> {
    let mut output = OutputArgs { output: args.output.clone(), ..OutputArgs::default() };
    let to_terminal = std::io::IsTerminal::is_terminal(&std::io::stdout());
    if output.output.is_none() && !args.data && to_terminal {
        output.output = Some("report.html".into());
        eprintln!("analyze: the page is in report.html");
    }
    let source = Source::open(&args.recording, &args.window, &output)?;
    let length = source.window.end().saturating_sub(source.window.start()).max(1);
    let steps = Bins::new(&source.window, StepArgs { step: Some((length - 1) / STEPS + 1) })?;
    let page = Page { args, source, steps };
    let document = page.document()?;
    let json = serde_json::to_string(&document).context("the data of the page")?;
    let mut output = page.source.output()?;
    match args.data {
        true => output.line(&html::inert(&json))?,
        false => output.bytes(html::page(&document.title, &json).as_bytes())?,
    }
    output.finish()
}

impl Page<'_> {
    fn document(&self) -> anyhow::Result<Document> {
        let recording = &self.source.recording;
        let manifest = recording.manifest();
        let heading = self.source.heading(&[]);
        let facts = info::facts(&self.source, manifest);
        let mut absent = Vec::new();
        let distributions = latencies::all(self, &mut absent);
        let (cpu, flames) = flames::all(self, &mut absent);
        let lanes = lanes::all(self, cpu, &distributions);
        let tables = tables::all(self, &distributions, &mut absent);
        let sites = leaks::sites(self, &mut absent);
        Ok(Document {
            title: format!("{} {}", text(&manifest.host.name), heading_time(&heading)),
            host: text(&manifest.host.name),
            covers: text(&heading.covers),
            warnings: heading.warnings.iter().map(|warning| text(warning)).collect(),
            facts: facts.into_iter().map(|(name, fact)| (name, text(&fact))).collect(),
            time: Time {
                start: self.source.window.start().to_string(),
                length: self.source.window.end().saturating_sub(self.source.window.start()),
                step: self.steps.range(0).1.saturating_sub(self.steps.range(0).0),
                steps: self.steps.count(),
                said: spoken(self.steps.range(0).1.saturating_sub(self.steps.range(0).0)),
            },
            gaps: self.gaps(),
            lanes,
            distributions: distributions.into_iter().map(|read| read.shown).collect(),
            flames,
            tables,
            sites,
            absent,
        })
    }

    /// When something was lost.
    fn gaps(&self) -> Vec<Gap> {
        let source = &self.source;
        let all = missing(&source.recording, &[], &source.window).unwrap_or_default();
        let gap = |missing: &crate::losses::Missing| Gap {
            from: self.since_start(missing.start),
            to: self.since_start(missing.end),
            table: text(&missing.table),
            said: text(&missing.describe(source.window.span.start)),
        };
        all.iter().filter(|missing| !missing.is_expected()).map(gap).collect()
    }

    /// A moment as the page has it: in nanoseconds after the start of its time.
    fn since_start(&self, ts: i64) -> i64 {
        ts.saturating_sub(self.source.window.start())
    }

    /// What is missing of these tables.
    fn warnings(&self, tables: &[TableId]) -> Vec<String> {
        let heading = Heading::new(&self.source.recording, tables, &self.source.window);
        heading.warnings.iter().map(|warning| text(warning)).collect()
    }

    /// Whether one of the tables has rows; else notes why the section is not there.
    fn has(&self, tables: &[TableId], title: &'static str, absent: &mut Vec<Absent>) -> bool {
        let recording = &self.source.recording;
        let rows = |table: &TableId| match recording.segments(*table) {
            Ok(segments) => segments.iter().any(|segment| segment.rows() > 0),
            // Its section tells.
            Err(_) => true,
        };
        if tables.iter().any(rows) {
            return true;
        }
        let recorded = tables.iter().any(|table| is_recorded(recording, *table).unwrap_or(false));
        let lossy = !self.warnings(tables).is_empty();
        absent.push(Absent { title, recorded, lossy });
        false
    }
}

/// The part of a heading that says when it was.
fn heading_time(heading: &Heading) -> String {
    heading.covers.split(',').next().unwrap_or_default().to_owned()
}
