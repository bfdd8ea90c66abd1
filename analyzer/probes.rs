//! Probes that the user chose: how often programs came by, with which arguments.
//!
//! The table `probe` has the hits. What a probe is, what its arguments are called and what a hit
//! costs stands in the manifest; also those probes are there that nobody came by, or that could not
//! be had. See [`asked`].

pub(crate) mod asked;
mod hits;
mod list;
mod values;

use anyhow::ensure;
use clap::Args;
use lookback_schemas::TableId;

use crate::cli::{Source, SourceArgs};
use crate::hosts::by::split_host;
use crate::losses::{late, unrecorded};
use crate::scope::{Scope, ScopeArgs};
use crate::tally::{Selection, ThreadsArgs, projection};

/// Shown below the help.
pub const EXAMPLE: &str = "Examples:\n  analyze probes web1.lookback --by process\n  \
                           analyze probes web1.lookback --list --name request_start --pid 4711\n  \
                           analyze probes web1.lookback --hist arg0 --name request_start --by arg1\n\n\
                           Recorded, for example, by `record --probe \
                           'usdt:/usr/bin/app:app:request_start,arg0:u64,arg1:str,stack'`. Where they \
                           come from shows `analyze flamegraph --weight probe`.";

/// Options of `analyze probes`.
#[derive(Args, Debug)]
pub struct ProbesArgs {
    /// The recording, and the part of it.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Which processes.
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// Only the probe of this name; can be given again
    #[arg(long, value_name = "NAME", help_heading = "Filters")]
    pub name: Vec<String>,
    /// Every hit, with its arguments
    #[arg(long, conflicts_with_all = ["hist", "by"])]
    pub list: bool,
    /// A histogram of this argument, by its name or its column, of the probe of --name
    #[arg(long, value_name = "ARG", requires = "name")]
    pub hist: Option<String>,
    /// With --hist only count, mean and percentiles
    #[arg(long, requires = "hist")]
    pub summary: bool,
    /// A row, or a histogram, for each `process`; with --hist also for each value of an argument; for each
    /// `host`, alone or with one of these: `host,process`
    #[arg(long, value_name = "process|ARG|host")]
    pub by: Option<String>,
    /// How many threads read.
    #[command(flatten)]
    pub threads: ThreadsArgs,
}

impl ProbesArgs {
    /// What to sum up by, beside the host.
    fn by(&self) -> Option<&str> {
        split_host(self.by.as_deref()).1
    }
}

/// What stands for the process in `--by`.
const PROCESS: &str = "process";

projection! {
    /// What is added up.
    struct Rows of Probe {
        ts: i64,
        name: Option<String>,
        arg0: Option<i64>,
        arg1: Option<i64>,
        arg2: Option<i64>,
        arg3: Option<i64>,
        arg4: Option<i64>,
        arg5: Option<i64>,
        text0: Option<String>,
        text1: Option<String>,
        text2: Option<String>,
        text3: Option<String>,
        text4: Option<String>,
        text5: Option<String>,
        pid: i32,
        tid: i32,
        comm: Option<String>,
    }
}

/// The columns of arguments that are numbers, in order.
const NUMBERS: [&str; 6] = ["arg0", "arg1", "arg2", "arg3", "arg4", "arg5"];

/// Those of arguments that are texts.
const TEXTS: [&str; 6] = ["text0", "text1", "text2", "text3", "text4", "text5"];

/// The numbers of all arguments, of either kind of rows.
macro_rules! numbers {
    ($rows:expr) => {
        [&$rows.arg0, &$rows.arg1, &$rows.arg2, &$rows.arg3, &$rows.arg4, &$rows.arg5]
    };
}
use numbers;

/// The texts of all arguments.
macro_rules! texts {
    ($rows:expr) => {
        [&$rows.text0, &$rows.text1, &$rows.text2, &$rows.text3, &$rows.text4, &$rows.text5]
    };
}
use texts;

/// What a report is made from.
struct Question<'a> {
    args: &'a ProbesArgs,
    source: &'a Source,
    scope: Scope,
}

/// Prints the report.
///
/// # Errors
/// If an argument is unknown, the table is damaged, or the output cannot be written.
pub fn run(args: &ProbesArgs, source: &Source) -> anyhow::Result<()> {
    let scope = source.scope(&args.scope)?;
    scope.check(TableId::Probe)?;
    let question = Question { args, source, scope };
    let mut output = source.begin(&[TableId::Probe])?;
    let unknown = unrecorded(&source.recording, TableId::Probe, ("probes", "--probe …"))?;
    let late = late(&source.recording, asked::TRACER);
    output.notes(&unknown.into_iter().chain(late).collect::<Vec<_>>())?;
    match (&args.hist, args.list) {
        (Some(argument), _) => question.distributed(&mut output, argument)?,
        (None, true) => question.list(&mut output)?,
        (None, false) => {
            let by_process = args.by() == Some(PROCESS);
            ensure!(
                by_process || args.by().is_none(),
                "--by: `process`, or with --hist an argument"
            );
            question.hits(&mut output, by_process)?;
        }
    }
    output.finish()
}

impl Question<'_> {
    fn selection<'a>(&'a self, without: &'a [&'static str]) -> Selection<'a> {
        let (source, scope) = (self.source, &self.scope);
        Selection { source, scope, threads: self.args.threads, without }
    }

    /// Whether a probe of this name was asked for.
    fn admits(&self, name: Option<&str>) -> bool {
        let names = &self.args.name;
        names.is_empty() || name.is_some_and(|name| names.iter().any(|wanted| wanted == name))
    }
}

#[cfg(test)]
mod tests;
