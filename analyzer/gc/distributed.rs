//! How pauses are distributed. Those that lie in others are not counted.

use super::pauses::Pause;
use super::{By, Question};
use crate::codes;
use crate::distribution::{Group, Report, Scale, Values};
use crate::hosts::Reach;
use crate::lifetimes::{Detail, Lifetimes};
use crate::render::{Column, Output, Value};
use crate::tally::{Groups, Key, Name, Named, name_at, process_columns};

impl Question<'_> {
    /// Prints the report.
    pub(super) fn distributed(&self, output: &mut Output) -> anyhow::Result<()> {
        let pauses = self.begun()?;
        self.notes(output, &pauses, true)?;
        let by = self.args.by();
        let lifetimes = match by {
            Some(By::Process) => Lifetimes::read(&self.source.recording, Detail::Identity)?,
            Some(By::Collector | By::Runtime) | None => Lifetimes::default(),
        };
        let mut groups: Groups<Key, Named<Values>> = Groups::default();
        for pause in pauses.all.iter().filter(|pause| !pause.is_nested()) {
            let group = groups.of(key(by, pause));
            if by == Some(By::Process) {
                name(&mut group.name, &lifetimes, pause);
            }
            match pause.duration {
                Some(duration) => group.sum.add(duration),
                None => group.sum.add_null(),
            }
        }
        let reach = match by {
            None | Some(By::Collector | By::Runtime) => Reach::Everywhere,
            Some(By::Process) => Reach::Boot,
        };
        let Some(groups) = self.source.add_up(reach, groups) else { return Ok(()) };
        let scale = Scale::of_time(self.args.milliseconds);
        let report = Report::of_durations("duration", keys(by), scale);
        let report = Report { summary: self.args.view.summary, nulls: "unfinished", ..report };
        let group = |(key, group): (Key, Named<Values>)| describe(by, &key, group);
        report.print(output, groups.sorted().into_iter().map(group).collect())
    }
}

/// Takes the name into account that the pause's process had: the thread that collects has its own.
pub(super) fn name(name: &mut Name, lifetimes: &Lifetimes, pause: &Pause) {
    match name_at(lifetimes, pause.pid, pause.ts) {
        Some(comm) => name.add(pause.ts, true, Some(comm)),
        None => name.add(pause.ts, false, pause.comm.as_deref()),
    }
}

fn key(by: Option<By>, pause: &Pause) -> Key {
    match by {
        None => Key::None,
        Some(By::Process) => Key::Number(i64::from(pause.pid)),
        Some(By::Collector) => pause.collector().map_or(Key::None, Key::Text),
        Some(By::Runtime) => Key::Text(codes::gc_runtime(pause.runtime).into_owned()),
    }
}

fn keys(by: Option<By>) -> Vec<Column> {
    match by {
        None => Vec::new(),
        Some(By::Process) => process_columns().to_vec(),
        Some(By::Collector) => vec![Column::new("collector", "COLLECTOR").wide(19)],
        Some(By::Runtime) => vec![Column::new("runtime", "RUNTIME").wide(7)],
    }
}

fn describe(by: Option<By>, key: &Key, group: Named<Values>) -> Group {
    let (name, said) = (group.name.get(), key.text());
    let (title, keys) = match by {
        None => (None, Vec::new()),
        Some(By::Process) => {
            let title = format!("pid = {said} {}", name.unwrap_or("-"));
            (Some(title), vec![key.value(), Value::text(name)])
        }
        Some(By::Collector) => (Some(format!("collector = {said}")), vec![key.value()]),
        Some(By::Runtime) => (Some(format!("runtime = {said}")), vec![key.value()]),
    };
    Group { title, keys, values: group.sum }
}
