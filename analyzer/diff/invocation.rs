//! Asking a recording what the command line asks, without printing it.
//!
//! A comparison has no reports of its own. The words after the two recordings are those of any other command
//! line of `analyze`, only without a recording; they are read as such, and the report is made of either
//! recording and [kept](crate::render::Capture).

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args as _, CommandFactory as _, FromArgMatches as _};
use jiff::tz::TimeZone;
use lookback_schemas::suggest::did_you_mean;

use super::{DiffArgs, Options};
use crate::cli::{Cli, Command, SourceArgs, WordsArgs};
use crate::render::{Capture, Captured, OutputArgs, moment};
use crate::tcp;
use crate::window::WindowArgs;

/// The words of a report, and what they say.
pub struct Invocation {
    /// Its name: `runqlat`, `tcp rtt`.
    pub name: String,
    /// All of it: `runqlat --by process`.
    pub text: String,
    /// Options of the comparison among them.
    pub options: Options,
    /// How it is to be printed, where the words say it.
    pub output: Option<OutputArgs>,
    command: Command,
}

/// Options that leave rows out, or make several reports of one: what is missing from one recording's rows
/// would be taken for nothing.
const REFUSED: [(&str, &str); 5] = [
    ("top", "it is compared whole; --rows limits what is printed"),
    ("limit", "it is compared whole; --rows limits what is printed"),
    ("longest", "single events are not compared"),
    ("every", "one report is compared with one"),
    ("timeline", "steps of time are not compared; --since and --until choose a part of both"),
];

impl Invocation {
    /// Reads the words of a report.
    ///
    /// # Errors
    /// If they are none, with what may have been meant; or those of clap, a [`clap::Error`].
    pub fn read(words: &[OsString]) -> anyhow::Result<Invocation> {
        let mut cli = Cli::command();
        let path = report_path(&cli, words)?;
        let mut line: Vec<OsString> = vec!["analyze".into()];
        line.extend(path.iter().map(OsString::from));
        // Which recording does not matter yet.
        line.push(".".into());
        line.extend_from_slice(&words[path.len()..]);
        cli = with_options(cli, &path);
        let matches = cli.try_get_matches_from(line)?;
        let mut leaf = &matches;
        while let Some((_, inner)) = leaf.subcommand() {
            leaf = inner;
        }
        for (option, why) in REFUSED {
            if is_given(leaf, option) {
                bail!("--{option} is not for `analyze diff`: {why}");
            }
        }
        let options = Options::from_arg_matches(leaf)?;
        let printed = ["format", "output", "tz", "wide", "no_pager"]
            .iter()
            .any(|option| is_given(leaf, option));
        let output = printed.then(|| OutputArgs::from_arg_matches(leaf)).transpose()?;
        let mut command = Cli::from_arg_matches(&matches)?.command;
        if let Command::Memleak(args) = &mut command {
            args.top = usize::MAX;
        }
        let name = path.join(" ");
        match asked(&mut command) {
            Some(asked) if asked.more => bail!("two recordings are compared, and no more"),
            Some(_) => {}
            None => bail!(
                "`{name}` tells of the recording, not of what was recorded: there is nothing to compare"
            ),
        }
        let text: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        Ok(Invocation { name, text: text.join(" "), options, output, command })
    }

    /// The part of the recordings' time that the words choose.
    pub fn window(&mut self) -> WindowArgs {
        asked(&mut self.command).map_or_else(WindowArgs::default, |asked| asked.window.clone())
    }

    /// Draws what has changed, if the command is a flame graph, which compares by itself.
    ///
    /// # Errors
    /// Those of the report.
    pub fn draw(&mut self, args: &DiffArgs, output: &OutputArgs) -> anyhow::Result<ExitCode> {
        if let Command::Flamegraph(graph) = &mut self.command {
            graph.source.output = output.clone();
            graph.source.recordings.recordings = vec![args.after.clone()];
            graph.diff = Some(args.before.clone());
        }
        self.command.run()
    }

    /// Whether the command is a flame graph.
    #[must_use]
    pub fn is_flamegraph(&self) -> bool {
        matches!(self.command, Command::Flamegraph(_))
    }

    /// Makes the report of a recording, of the part of its time from the first moment to before the second.
    ///
    /// # Errors
    /// Those of the report.
    pub fn run(&mut self, recording: &Path, window: Window) -> anyhow::Result<Captured> {
        let capture = Capture::default();
        let Some(asked) = asked(&mut self.command) else {
            bail!("`{}` has no rows", self.name);
        };
        asked.recording.clear();
        asked.recording.push(recording);
        *asked.window = match window {
            Window::Asked(window) => window,
            Window::Slice { since, until } => {
                let text = |ns| Some(moment(ns, 9, &TimeZone::UTC));
                WindowArgs { since: text(since), until: text(until) }
            }
        };
        *asked.output = OutputArgs { capture: Some(capture.clone()), ..OutputArgs::default() };
        self.command.run()?;
        Ok(capture.take())
    }

    /// Whether the report of this name has an option with this choice, as `--by process`.
    #[must_use]
    pub fn has_choice(name: &str, option: &str, choice: &str) -> bool {
        let cli = Cli::command();
        let mut command = Some(&cli);
        for word in name.split(' ') {
            command = command.and_then(|command| command.find_subcommand(word));
        }
        let mut options = command.into_iter().flat_map(clap::Command::get_arguments);
        options.any(|argument| {
            argument.get_id() == option
                && argument.get_possible_values().iter().any(|value| value.get_name() == choice)
        })
    }
}

/// A part of a recording's time.
#[derive(Clone, Debug)]
pub enum Window {
    /// As the user says it.
    Asked(WindowArgs),
    /// Between two moments, in nanoseconds since the Unix epoch.
    Slice {
        /// The first.
        since: i64,
        /// The first that is not in it.
        until: i64,
    },
}

fn is_given(matches: &ArgMatches, option: &str) -> bool {
    matches
        .ids()
        .any(|id| id == option && matches.value_source(option) == Some(ValueSource::CommandLine))
}

/// The report's name in one word, or two: `tcp` has reports of its own.
fn report_path(cli: &clap::Command, words: &[OsString]) -> anyhow::Result<Vec<String>> {
    let mut path = Vec::new();
    let mut command = cli;
    while command.has_subcommands() {
        let names = || command.get_subcommands().map(clap::Command::get_name);
        let said = path.join(" ");
        let Some(word) = words.get(path.len()).map(|word| word.to_string_lossy()) else {
            let names: Vec<&str> = names().collect();
            bail!("which report of `{said}`? There are {}", names.join(", "));
        };
        let Some(found) = command.find_subcommand(&*word) else {
            let hint = did_you_mean(&word, names());
            bail!("there is no report `{}`{hint}", [said.as_str(), &word].join(" ").trim());
        };
        path.push(word.into_owned());
        command = found;
    }
    Ok(path)
}

/// The command line with the options of a comparison among those of the report.
fn with_options(command: clap::Command, path: &[String]) -> clap::Command {
    match path.split_first() {
        None => Options::augment_args(command),
        Some((first, rest)) => command.mut_subcommand(first, |inner| with_options(inner, rest)),
    }
}

/// What a report is made from, and where it goes.
struct Asked<'a> {
    recording: &'a mut OsString,
    /// Whether more recordings are named than the one.
    more: bool,
    window: &'a mut WindowArgs,
    output: &'a mut OutputArgs,
}

impl<'a> From<&'a mut SourceArgs> for Asked<'a> {
    fn from(args: &'a mut SourceArgs) -> Asked<'a> {
        let recordings = &mut args.recordings;
        let more = recordings.recordings.len() > 1 || !recordings.host.is_empty();
        let recording = recordings.recordings[0].as_mut_os_string();
        Asked { recording, more, window: &mut args.window, output: &mut args.output }
    }
}

impl<'a, const N: usize> From<&'a mut WordsArgs<N>> for Asked<'a> {
    fn from(args: &'a mut WordsArgs<N>) -> Asked<'a> {
        let more = args.words.len() > N + 1 || !args.host.is_empty();
        let recording = &mut args.words[0];
        Asked { recording, more, window: &mut args.window, output: &mut args.output }
    }
}

/// What a report is made from; `None` for what is no report of events.
fn asked(command: &mut Command) -> Option<Asked<'_>> {
    let source = match command {
        Command::Processes(args) => &mut args.source,
        Command::Signals(args) => &mut args.source,
        Command::Syscalls(args) => &mut args.source,
        Command::Opens(args) => &mut args.source,
        Command::Unlinks(args) => &mut args.source,
        Command::Runqlat(args) => &mut args.source,
        Command::Offcpu(args) => &mut args.source,
        Command::Irqs(args) => &mut args.source,
        Command::Tcp(args) => match &mut args.report {
            tcp::Report::Connects(args) => &mut args.source,
            tcp::Report::States(args) => &mut args.source,
            tcp::Report::Lives(args) => &mut args.source,
            tcp::Report::Rtt(args) => &mut args.source,
        },
        Command::Lsm(args) => &mut args.source,
        Command::Gc(args) => &mut args.source,
        Command::Commands(args) => &mut args.source,
        Command::Probes(args) => &mut args.source,
        Command::Spans(args) => &mut args.source,
        Command::Memleak(args) => &mut args.source,
        Command::Flamegraph(args) => &mut args.source,
        Command::Histogram(args) => return Some((&mut args.words).into()),
        Command::Cat(args) => return Some((&mut args.words).into()),
        Command::Info(_)
        | Command::Check(_)
        | Command::Diff(_)
        | Command::Export(_)
        | Command::Views(_)
        | Command::Manual { .. }
        | Command::Report(_)
        | Command::Repair(_)
        | Command::Redact(_)
        | Command::Symbolize(_)
        | Command::Bundle(_) => return None,
    };
    Some(source.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_report_takes_the_options_of_a_comparison() {
        let cli = Cli::command();
        for report in cli.get_subcommands().filter(|report| report.get_name() != "diff") {
            let mut paths = vec![vec![report.get_name().to_owned()]];
            for inner in report.get_subcommands() {
                paths.push([report.get_name(), inner.get_name()].map(str::to_owned).to_vec());
            }
            for path in paths {
                with_options(cli.clone(), &path).debug_assert();
            }
        }
    }
}
