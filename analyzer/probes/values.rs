//! How the values of an argument are distributed.

use anyhow::{Context as _, bail, ensure};
use arrow::array::Array as _;
use lookback_schemas::Kind;

use super::asked::{self, Asked, Slot};
use super::{NUMBERS, PROCESS, Question, Rows, TEXTS, numbers, texts};
use crate::distribution::{Group, Report, Scale, Values};
use crate::hosts::Reach;
use crate::processes::known;
use crate::render::{Column, Output, Value};
use crate::tally::{Groups, Key, Named, add_name, process_columns};

/// What there is a histogram for each of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Process,
    Argument(Slot),
}

/// An argument of a probe.
struct Found<'a> {
    slot: Slot,
    /// Its type; empty if the manifest does not tell.
    kind: &'a str,
}

/// The argument of this name, or in this column.
fn find<'a>(text: &str, asked: Option<&Asked<'a>>) -> anyhow::Result<Found<'a>> {
    let arguments = asked.map_or(&[][..], |asked| asked.arguments);
    let by_name = arguments.iter().find(|argument| argument.name == text);
    let by_column = || arguments.iter().find(|argument| argument.column == text);
    if let Some(argument) = by_name.or_else(by_column) {
        let slot = Slot::of(&argument.column)
            .with_context(|| format!("{text}: the table has no column `{}`", argument.column))?;
        return Ok(Found { slot, kind: &argument.kind });
    }
    let slot = Slot::of(text).with_context(|| {
        let names: Vec<&str> = arguments.iter().map(|argument| argument.name.as_str()).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        format!("the probe has no argument `{text}`; its arguments are: {names}")
    })?;
    Ok(Found { slot, kind: "" })
}

type Sums = Groups<Key, Named<Values>>;

impl Question<'_> {
    /// Prints the report.
    pub(super) fn distributed(&self, output: &mut Output, argument: &str) -> anyhow::Result<()> {
        let [name] = self.args.name.as_slice() else {
            bail!("--hist is of the arguments of one probe: give --name once");
        };
        let probes = asked::all(self.source.recording.manifest());
        let asked = probes.get(name.as_str());
        let found = find(argument, asked).context("--hist")?;
        let Slot::Number(place) = found.slot else {
            bail!("--hist: argument `{argument}` is a text");
        };
        ensure!(found.kind != "ptr", "--hist: argument `{argument}` holds addresses, not amounts");
        let by = match self.args.by() {
            None => None,
            Some(PROCESS) => Some(By::Process),
            Some(other) => Some(By::Argument(find(other, asked).context("--by")?.slot)),
        };
        let sums = self.sums(found, place, by)?;
        let reach = match by {
            None | Some(By::Argument(_)) => Reach::Everywhere,
            Some(By::Process) => Reach::Boot,
        };
        let Some(sums) = self.source.add_up(reach, sums) else { return Ok(()) };
        let column = found_column(place);
        let report = Report {
            keys: match by {
                None => Vec::new(),
                Some(By::Process) => process_columns().to_vec(),
                Some(By::Argument(slot)) => vec![Column::new(slot.column(), slot.column())],
            },
            scale: Scale { label: column, unit: 1, linear: None },
            column,
            kind: Kind::Count,
            summary: self.args.summary,
            nulls: "nulls",
        };
        let group = |(key, values): (Key, Named<Values>)| {
            let (process, said) = (values.name.get(), key.text());
            let (title, keys) = match by {
                None => (format!("{argument} of {name}"), Vec::new()),
                Some(By::Process) => (
                    format!("pid = {said} {}", process.unwrap_or("-")),
                    vec![key.value(), Value::text(process)],
                ),
                Some(By::Argument(_)) => {
                    let by = self.args.by().unwrap_or_default();
                    (format!("{by} = {said}"), vec![key.value()])
                }
            };
            Group { title: Some(title), keys, values: values.sum }
        };
        report.print(output, sums.sorted().into_iter().map(group).collect())
    }

    fn sums(&self, found: Found<'_>, place: usize, by: Option<By>) -> anyhow::Result<Sums> {
        let unsigned = found.kind == "u64";
        let mut without = [NUMBERS, TEXTS].concat();
        without.push("comm");
        without.retain(|column| {
            let wanted = match by {
                None => false,
                Some(By::Process) => *column == "comm",
                Some(By::Argument(slot)) => *column == slot.column(),
            };
            *column != NUMBERS[place] && !wanted
        });
        let sums = self.selection(&without).sum(|sums: &mut Sums, rows: &Rows, row| {
            if !self.admits(known!(rows.name, row)) {
                return;
            }
            let key = match by {
                None => Key::None,
                Some(By::Process) => Key::Number(i64::from(rows.pid.value(row))),
                Some(By::Argument(Slot::Number(place))) => {
                    known!(numbers!(rows)[place], row).map_or(Key::None, Key::Number)
                }
                Some(By::Argument(Slot::Text(place))) => {
                    let text = known!(texts!(rows)[place], row);
                    text.map_or(Key::None, |text| Key::Text(text.to_owned()))
                }
            };
            let group = sums.of(key);
            if by == Some(By::Process) {
                add_name!(group.name, rows, row);
            }
            match known!(numbers!(rows)[place], row) {
                // An unsigned number that does not fit is a very large one.
                Some(..0) if unsigned => group.sum.add(i64::MAX),
                Some(value) => group.sum.add(value),
                None => group.sum.add_null(),
            }
        })?;
        Ok(sums)
    }
}

fn found_column(place: usize) -> &'static str {
    Slot::Number(place).column()
}
