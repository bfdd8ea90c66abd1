//! What has changed from one recording to another.
//!
//! Any report that has numbers is made of both recordings, its rows are joined by their keys, and each number is
//! shown before and after. The comparison knows no report: it reads the words of one as the command line would
//! ([`invocation`]), keeps the rows that would be printed ([`Captured`](crate::render::Captured)), and learns from the
//! columns' [roles](crate::render::Role) what adds up and what does not ([`measured`]).
//!
//! Recordings of different length are compared per second where a number grows with time. Whether a
//! change is more than chance is said of each number where it can be said ([`noise`]). And so that a machine can ask,
//! [conditions](condition) turn a change into an exit code.

pub mod comparison;
pub mod condition;
pub mod invocation;
pub mod measured;
pub mod noise;
pub mod print;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use lookback_schemas::suggest::did_you_mean;

use self::comparison::{Comparison, Line, Pair, Side};
use self::condition::Condition;
use self::invocation::Invocation;
use crate::render::{Output, OutputArgs, Value, duration, escaped, real, size};

/// Shown below the help.
pub const EXAMPLE: &str = "Examples:\n  analyze diff before.lookback after.lookback\n  \
                           analyze diff before.lookback after.lookback runqlat --by process\n  \
                           analyze diff before.lookback after.lookback tcp rtt --by rport\n  \
                           analyze diff before.lookback after.lookback flamegraph -o diff.svg\n  \
                           analyze diff before.lookback after.lookback --fail-if 'runqlat[comm=nginx].p99 > +20%'\n\n\
                           Exit codes: 1 if a condition of --fail-if holds, 2 on errors, or else 0.";

/// Options of `analyze diff`.
#[derive(Args, Debug)]
#[command(
    subcommand_help_heading = "Report",
    override_usage = "analyze diff [OPTIONS] <BEFORE> <AFTER> [REPORT [OPTIONS OF THE REPORT]]"
)]
pub struct DiffArgs {
    /// The recording to compare with
    pub before: PathBuf,
    /// The recording that may have changed
    pub after: PathBuf,
    /// How to compare.
    #[command(flatten)]
    pub options: Options,
    /// Where the comparison goes.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Which report.
    #[command(subcommand)]
    pub report: Option<Report>,
}

/// The words of a report.
#[derive(Subcommand, Debug)]
pub enum Report {
    /// Those of any other command, without its recording.
    #[command(external_subcommand)]
    Words(Vec<OsString>),
}

/// Options that can stand among those of the report too.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Comparison")]
pub struct Options {
    /// Exit with 1 if this holds: REPORT.COLUMN or REPORT[KEY=VALUE].COLUMN, one of > >= < <=, and a value: `5ms` is
    /// what it may not be, `+5ms` and `+20%` by how much it may not change; can be given again
    #[arg(long, value_name = "CONDITION")]
    pub fail_if: Vec<Condition>,
    /// Changes of less than so many percent are never beyond noise
    #[arg(long, value_name = "PERCENT", default_value_t = LEAST)]
    pub least: f64,
    /// Print only so many rows
    #[arg(long, value_name = "N")]
    pub rows: Option<usize>,
}

/// By so much recordings of the same work differ from each other, whatever the slices of one say.
const LEAST: f64 = 5.0;

/// What is compared where no report is named.
const SUMMARY: [&str; 18] = [
    "histogram sample period --by comm",
    "runqlat --by process",
    "offcpu --by process,state",
    "syscalls",
    "irqs --hard",
    "irqs --soft",
    "opens --by process",
    "unlinks --by process",
    "signals --name",
    "tcp connects --hist",
    "tcp rtt",
    "lsm --by process",
    "gc --summary --by runtime",
    "gc --share",
    "spans",
    "probes",
    "memleak --combined-only",
    "histogram exit duration --by comm",
];

/// Prints the comparison, and says which conditions hold.
///
/// # Errors
/// If a recording cannot be read, or a report, a column or a key does not exist.
pub fn run(args: &DiffArgs) -> anyhow::Result<ExitCode> {
    let words = args.report.as_ref().map(|Report::Words(words)| words.as_slice());
    let mut invocation = words.map(Invocation::read).transpose()?;
    let printed = invocation.as_mut().and_then(|invocation| invocation.output.take());
    let output = printed.unwrap_or_else(|| args.output.clone());
    let mut options = args.options.clone();
    if let Some(invocation) = &invocation {
        options.join(&invocation.options);
    }
    if let Some(invocation) = invocation.as_mut().filter(|one| one.is_flamegraph()) {
        if !options.fail_if.is_empty() {
            bail!("--fail-if is about numbers: a flame graph has none");
        }
        return invocation.draw(args, &output);
    }
    let pair = Pair { before: Side::open(&args.before)?, after: Side::open(&args.after)? };
    let mut output = Output::open(&output, pair.before.start())?;
    let mut comparisons = match &mut invocation {
        Some(invocation) => {
            let comparison = Comparison::new(invocation, &pair, options.least)?;
            print::heading(&comparison, &mut output)?;
            print::legend(&mut output)?;
            print::report(&comparison, options.rows, &mut output)?;
            vec![comparison]
        }
        None => {
            let comparisons = summary(&pair, options.least)?;
            print_summary(&comparisons, &options, &mut output)?;
            comparisons
        }
    };
    output.finish()?;
    let mut failed = false;
    let named = comparisons.first().filter(|_| words.is_some()).map(|named| named.text.clone());
    for condition in &options.fail_if {
        let place = find(condition, named.as_deref(), &mut comparisons, &pair, options.least);
        failed |= place
            .and_then(|place| holds(condition, &comparisons[place]))
            .with_context(|| format!("--fail-if '{}'", condition.text))?;
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

impl Options {
    /// Adds those that stand among the report's.
    fn join(&mut self, other: &Options) {
        self.fail_if.extend(other.fail_if.iter().cloned());
        if other.least != LEAST {
            self.least = other.least;
        }
        self.rows = other.rows.or(self.rows);
    }
}

/// The reports of which both recordings have something to tell.
fn summary(pair: &Pair, least: f64) -> anyhow::Result<Vec<Comparison>> {
    let mut comparisons = Vec::new();
    for report in SUMMARY {
        let comparison = compare(report, pair, least)?;
        if comparison.told == [true, true] && !comparison.lines.is_empty() {
            comparisons.push(comparison);
        }
    }
    Ok(comparisons)
}

fn compare(report: &str, pair: &Pair, least: f64) -> anyhow::Result<Comparison> {
    let words: Vec<OsString> = report.split(' ').map(OsString::from).collect();
    Comparison::new(&mut Invocation::read(&words)?, pair, least).with_context(|| report.to_owned())
}

fn print_summary(
    comparisons: &[Comparison],
    options: &Options,
    output: &mut Output,
) -> anyhow::Result<()> {
    let Some(first) = comparisons.first() else {
        bail!("the recordings have nothing in common that could be compared");
    };
    // What is missing differs from report to report, the time that is covered does not.
    let mut headings = first.headings.clone();
    for comparison in &comparisons[1..] {
        for (heading, other) in std::iter::zip(&mut headings, &comparison.headings) {
            let new = other.warnings.iter().filter(|warning| !heading.warnings.contains(warning));
            let new: Vec<String> = new.cloned().collect();
            heading.warnings.extend(new);
        }
    }
    headings.iter().try_for_each(|heading| output.heading(heading))?;
    print::legend(output)?;
    let numbers: usize = comparisons.iter().map(|comparison| comparison.lines.len()).sum();
    let reports: Vec<&str> =
        comparisons.iter().map(|comparison| comparison.text.as_str()).collect();
    output
        .notes(&[format!("the numbers beyond noise, of {numbers} in: {}", reports.join("; "))])?;
    print::summary(comparisons, options.rows, output)
}

/// Whether a condition holds; says so, with the numbers.
fn holds(condition: &Condition, comparison: &Comparison) -> anyhow::Result<bool> {
    let lines: Vec<&Line> = comparison
        .lines
        .iter()
        .filter(|line| condition.concerns(&comparison.layout, line))
        .collect();
    let Some(first) = lines.first() else {
        bail!("neither recording has a row of `{}` with these keys", comparison.text);
    };
    condition.check(first.measure.unit).map_err(anyhow::Error::msg)?;
    let mut known = false;
    let mut holds = false;
    for line in lines {
        let met = condition.is_met(line);
        known |= met.is_some();
        if met == Some(true) {
            holds = true;
            eprintln!(
                "analyze: failed: {}: {}",
                escaped(&condition.text),
                escaped(&say(comparison, line))
            );
        }
    }
    if !known {
        bail!("nothing is known of that number in one of the recordings, or both");
    }
    Ok(holds)
}

/// A line in words.
fn say(comparison: &Comparison, line: &Line) -> String {
    let amount = |number| match print::amount(line.measure.unit, number) {
        Value::Real(number) => real(number).unwrap_or_else(|| "unknown".to_owned()),
        Value::Duration(ns) => duration(ns),
        Value::Bytes(bytes) => size(bytes),
        _other => "unknown".to_owned(),
    };
    let per_second = if line.measure.role.grows() { "/s" } else { "" };
    let change = line.percent().map_or_else(String::new, |percent| format!(" ({percent:+.1}%)"));
    let noise = match line.beyond {
        Some(true) => "beyond noise",
        Some(false) => "within noise",
        None => "noise unknown",
    };
    let of = print::said(comparison, line);
    let of = if of.is_empty() { of } else { format!(" of {of}") };
    let (before, after) = (amount(line.before), amount(line.after));
    format!("{}{per_second}{of}: {before} -> {after}{change}, {noise}", line.measure.name)
}

/// The report that a condition is about: the one that was `named`, or the first form of it that has the column
/// and the keys. Its place among those that are made.
fn find(
    condition: &Condition,
    named: Option<&str>,
    made: &mut Vec<Comparison>,
    pair: &Pair,
    least: f64,
) -> anyhow::Result<usize> {
    let name = &condition.report;
    // As it was named, as it is, by the key, and as the summary has it.
    let mut forms: Vec<String> = named.map(str::to_owned).into_iter().collect();
    forms.push(name.clone());
    for (key, _) in &condition.keys {
        let choice = if key == "comm" { "process" } else { key };
        if Invocation::has_choice(name, "by", choice) {
            forms.push(format!("{name} --by {choice}"));
        }
    }
    forms.extend(SUMMARY.iter().map(|form| (*form).to_owned()));
    forms.retain(|form| form == name || form.starts_with(&format!("{name} --")));
    for form in &forms {
        let place = made.iter().position(|comparison| comparison.text == *form);
        let place = match place {
            Some(place) => place,
            None => {
                made.push(compare(form, pair, least)?);
                made.len() - 1
            }
        };
        if condition.fits(&made[place].layout) {
            return Ok(place);
        }
    }
    let known = made.iter().filter(|comparison| comparison.name == *name);
    let columns: BTreeSet<&str> = known.flat_map(|comparison| comparison.layout.names()).collect();
    let mut wanted = condition.keys.iter().map(|(key, _)| key).chain([&condition.column]);
    let Some(missing) = wanted.find(|wanted| !columns.contains(wanted.as_str())) else {
        bail!(
            "no form of `{name}` has that column and these keys; name one: analyze diff A B {name} …"
        );
    };
    let hint = did_you_mean(missing, columns.iter().copied());
    let columns: Vec<&str> = columns.iter().copied().collect();
    bail!("`{name}` has no column `{missing}`, but {}{hint}", columns.join(", "))
}
