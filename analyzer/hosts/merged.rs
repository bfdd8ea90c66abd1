//! The one output of a report on several recordings.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::mpsc::Receiver;

use anyhow::ensure;

use super::Place;
use super::by::HOST;
use super::part::{Begin, Order, Reach, Said};
use crate::render::{Column, Format, Output, Paused, Value};

/// What comes after a report's turn.
pub(super) enum Next {
    /// It has said all.
    Done,
    /// It lists events, which go together with those of the others.
    Events(Vec<Column>, Order),
}

/// What all reports have said so far.
pub(super) struct Merged<'a> {
    places: &'a [Place],
    output: Output,
    /// Whether rows of some host are of one of its recordings, and must say of which.
    several_of_a_host: bool,
    /// The rows that were begun: in data they go on from host to host.
    rows: Option<Paused>,
    /// What stands before a row, where rows are not of all hosts.
    before: Option<Vec<Value>>,
    /// Whether there is something under the last heading.
    text: bool,
    clocks_explained: bool,
}

impl<'a> Merged<'a> {
    pub(super) fn new(output: Output, places: &'a [Place]) -> Merged<'a> {
        let several_of_a_host =
            (1..places.len()).any(|index| places[index - 1].host == places[index].host);
        Merged {
            places,
            output,
            several_of_a_host,
            rows: None,
            before: None,
            text: false,
            clocks_explained: false,
        }
    }

    fn is_data(&self) -> bool {
        self.output.format() != Format::Table
    }

    /// Prints what the report on one recording says, until it lists events.
    pub(super) fn follow(&mut self, index: usize, said: &Receiver<Said>) -> anyhow::Result<Next> {
        while let Ok(said) = said.recv() {
            match said {
                Said::Begin(Begin { columns, order: Some(order), .. }) => {
                    return Ok(Next::Events(columns, order));
                }
                Said::Begin(begin) => self.begin(index, begin)?,
                Said::Rows(rows) => rows.iter().try_for_each(|row| self.row(row))?,
                Said::End if self.is_data() => {}
                Said::End => self.end()?,
                Said::Heading(heading) => {
                    if self.text && !self.is_data() {
                        self.output.line("")?;
                    }
                    self.text = false;
                    self.output.heading(&heading)?;
                    self.explain_clocks()?;
                }
                Said::Notes(notes) => self.output.notes(&notes)?,
                Said::Line(line) => {
                    self.text = true;
                    self.output.line(&line)?;
                }
                Said::Bytes(bytes) => self.output.bytes(&bytes)?,
            }
        }
        Ok(Next::Done)
    }

    /// Says once what no reading of clocks can tell.
    fn explain_clocks(&mut self) -> anyhow::Result<()> {
        let several = self.places.first().is_some_and(|place| place.hosts.len() > 1);
        if several && !std::mem::replace(&mut self.clocks_explained, true) {
            let say = "times of different hosts are as exact as their wall clocks: how far those were off was \
                       not recorded";
            self.output.notes(&[say.to_owned()])?;
        }
        Ok(())
    }

    fn begin(&mut self, index: usize, begin: Begin) -> anyhow::Result<()> {
        let place = &self.places[index];
        self.text = true;
        let mut before = vec![Value::Text(place.host.clone())];
        let mut columns = vec![Column::new(HOST, "HOST")];
        if begin.reach == Reach::Recording && self.several_of_a_host {
            columns.push(Column::new("recording", "RECORDING"));
            let directory = place.source.recording.directory();
            let name = directory.file_name().unwrap_or(directory.as_os_str());
            before.push(Value::Text(name.to_string_lossy().into_owned()));
        }
        // In tables the heading says it.
        let told = self.is_data() && begin.reach != Reach::Everywhere;
        self.before = told.then_some(before);
        if !told {
            columns.clear();
        }
        columns.extend(begin.columns);
        self.rows = match self.rows.take() {
            None => Some(self.output.rows(columns).pause()),
            Some(begun) => begun.with(columns),
        };
        ensure!(self.rows.is_some(), "the rows of {} have other columns: take --host", place.host);
        Ok(())
    }

    fn row(&mut self, values: &[Value]) -> anyhow::Result<()> {
        let paused = self.rows.take().expect("rows come only after they have begun");
        let mut rows = self.output.resume(paused);
        match &self.before {
            None => rows.row(values)?,
            Some(before) => rows.row(&[before, values].concat())?,
        }
        self.rows = Some(rows.pause());
        Ok(())
    }

    fn end(&mut self) -> anyhow::Result<()> {
        match self.rows.take() {
            Some(rows) => self.output.resume(rows).end(),
            None => Ok(()),
        }
    }

    /// Prints the events of all reports from the one at `first` on, in the order that they have.
    pub(super) fn merge(
        &mut self,
        first: usize,
        (columns, order): (Vec<Column>, Order),
        said: &[&Receiver<Said>],
    ) -> anyhow::Result<()> {
        for (offset, said) in said.iter().enumerate().skip(1) {
            // Headings and notes of all come before the rows. One that fails has none.
            self.follow(first + offset, said)?;
        }
        let by = columns.iter().position(|column| column.name() == Some(order.column));
        let by = by.expect("rows are in the order of one of their columns");
        let host = vec![Column::new(HOST, "HOST")];
        self.rows = Some(self.output.rows([host, columns].concat()).pause());
        let mut lines: Vec<Line<'_>> = said.iter().map(|said| Line::new(said, by)).collect();
        // The oldest row of each; of those of one moment the first recording's comes first.
        let mut next: BinaryHeap<Reverse<(i64, usize)>> = BinaryHeap::new();
        for (place, line) in lines.iter_mut().enumerate() {
            next.extend(line.next_at().map(|ts| Reverse((ts, place))));
        }
        let mut left = order.most.unwrap_or(u64::MAX);
        while let Some(Reverse((_, place))) = next.pop() {
            if left == 0 {
                break;
            }
            left -= 1;
            let line = &mut lines[place];
            let row = line.rows.pop_front().expect("the row that was looked at");
            self.before = Some(vec![Value::Text(self.places[first + place].host.clone())]);
            self.row(&row)?;
            next.extend(line.next_at().map(|ts| Reverse((ts, place))));
        }
        self.end()
    }

    /// Ends the rows and writes what is left.
    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        self.end()?;
        self.output.finish()
    }
}

/// The events of one recording.
struct Line<'a> {
    said: &'a Receiver<Said>,
    order: usize,
    rows: VecDeque<Vec<Value>>,
    /// When the last row was: one whose moment is unknown stays behind it.
    last: i64,
}

impl Line<'_> {
    fn new(said: &Receiver<Said>, order: usize) -> Line<'_> {
        Line { said, order, rows: VecDeque::new(), last: i64::MIN }
    }

    /// When the next row is; `None` after the last.
    fn next_at(&mut self) -> Option<i64> {
        while self.rows.is_empty() {
            match self.said.recv() {
                Ok(Said::Rows(rows)) => self.rows.extend(rows),
                // Nothing follows the rows of such a report.
                Ok(_) | Err(_) => return None,
            }
        }
        if let Some(Value::Clock(ts) | Value::Time(ts) | Value::Int(ts)) =
            self.rows[0].get(self.order)
        {
            self.last = *ts;
        }
        Some(self.last)
    }
}
