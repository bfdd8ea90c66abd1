//! The tables: rows of the other reports, asked for as on the command line.

mod specs;

use std::ffi::OsString;

use clap::{Args, Parser};

use self::specs::{SPECS, Spec, Times};
use super::Page;
use super::document::{Absent, Cell, Table, text};
use super::latencies::Read;
use crate::cli::Source;
use crate::distribution::PERCENTILES;
use crate::render::{Capture, Captured, Column, Format, Keep, Output, OutputArgs, Value};
use crate::window::{Window, WindowArgs};
use crate::{
    commands, gc, info, irqs, memleak, offcpu, opens, processes, runqlat, signals, spans, syscalls,
    tcp, unlinks,
};

/// Arguments without the name of the program and the command.
#[derive(Parser, Debug)]
#[command(no_binary_name = true)]
struct Line<A: Args> {
    #[command(flatten)]
    args: A,
}

/// A report whose rows can be asked for.
pub(super) trait Report: Args {
    /// Whether it is about the page's part of the time, and not about the whole recording.
    const TIMED: bool = true;
    /// Makes it.
    fn run(&self, source: &Source) -> anyhow::Result<()>;
}

impl Report for info::InfoArgs {
    const TIMED: bool = false;

    fn run(&self, source: &Source) -> anyhow::Result<()> {
        info::run(source)
    }
}

macro_rules! reports {
    ($($Args:path: $run:path;)*) => {$(
        impl Report for $Args {
            fn run(&self, source: &Source) -> anyhow::Result<()> {
                $run(self, source)
            }
        }
    )*};
}

reports! {
    processes::ProcessesArgs: processes::run;
    signals::SignalsArgs: signals::run;
    syscalls::SyscallsArgs: syscalls::run;
    opens::OpensArgs: opens::run;
    unlinks::UnlinksArgs: unlinks::run;
    runqlat::RunqlatArgs: runqlat::run;
    offcpu::OffcpuArgs: offcpu::run;
    irqs::IrqsArgs: irqs::run;
    tcp::connects::ConnectsArgs: tcp::connects::run;
    tcp::lives::LivesArgs: tcp::lives::run;
    gc::GcArgs: gc::run;
    commands::CommandsArgs: commands::run;
    spans::SpansArgs: spans::run;
    memleak::MemleakArgs: memleak::run;
}

/// What is asked of a report.
pub(super) struct Ask<'a> {
    /// Its options.
    pub words: &'a [&'a str],
    /// Which of its rows are kept.
    pub keep: Keep,
}

/// The arguments of a report on the page's recording, with these options.
pub(super) fn arguments<A: Args>(page: &Page<'_>, words: &[&str]) -> anyhow::Result<A> {
    let mut line: Vec<OsString> = vec![page.args.recording.clone().into_os_string()];
    line.extend(words.iter().map(OsString::from));
    Ok(Line::<A>::try_parse_from(line)?.args)
}

/// Asks a report.
pub(super) fn ask<A: Report>(page: &Page<'_>, ask: &Ask<'_>) -> anyhow::Result<Captured> {
    let args: A = arguments(page, ask.words)?;
    let capture = Capture::keeping(ask.keep);
    let mut source = page.source.clone();
    source.args = OutputArgs { capture: Some(capture.clone()), ..OutputArgs::default() };
    if !A::TIMED {
        source.window = Window::new(&WindowArgs::default(), source.window.span)?;
    }
    args.run(&source)?;
    Ok(capture.take())
}

/// About so many bytes of the page a table takes at most.
const MOST_BYTES: usize = 100_000;

/// The tables of what was recorded.
pub(super) fn all(page: &Page<'_>, distributions: &[Read], absent: &mut Vec<Absent>) -> Vec<Table> {
    let wanted = |spec: &&Spec| spec.tables.is_empty() || page.has(spec.tables, spec.title, absent);
    SPECS.iter().filter(wanted).filter_map(|spec| table(page, spec, distributions)).collect()
}

fn table(page: &Page<'_>, spec: &Spec, distributions: &[Read]) -> Option<Table> {
    let slow = spec.slowest_of.and_then(|id| distributions.iter().find(|of| of.shown.id == id));
    let shortest = slow.map(|of| shortest(of, spec.keep.rows));
    let mut words = spec.words.to_vec();
    words.extend(shortest.iter().flat_map(|shortest| ["--min", shortest.as_str()]));
    let command: Vec<&str> =
        ["analyze", spec.command, "REC"].iter().chain(spec.words).copied().collect();
    let head = Table {
        id: spec.id,
        title: spec.title,
        what: spec.what,
        command: command.join(" "),
        warnings: if spec.tables.is_empty() { Vec::new() } else { page.warnings(spec.tables) },
        largest: spec.keep.largest.is_some(),
        ..Table::default()
    };
    let asked = (spec.ask)(page, &Ask { words: &words, keep: spec.keep });
    let captured = match asked {
        Ok(captured) => captured,
        Err(error) => return Some(Table { error: Some(text(&format!("{error:#}"))), ..head }),
    };
    if captured.rows.is_empty() && spec.omit_if_empty {
        return None;
    }
    let total = slow.map_or(captured.total, |of| of.summary.count);
    let mut table = shown(page, spec, &captured);
    if spec.by_step {
        match syscalls::over_time::read(&page.source, page.args.threads, &page.steps) {
            Ok(steps) => table.steps = by_step(&captured, &steps),
            Err(error) => table.notes.push(text(&format!("not by time: {error:#}"))),
        }
    }
    Some(Table {
        total,
        columns: table.columns,
        rows: table.rows,
        times: table.times,
        depths: table.depths,
        steps: table.steps,
        notes: table.notes,
        ..head
    })
}

/// From which duration on at least `rows` rows are as long: so that not all have to be kept.
fn shortest(of: &Read, rows: usize) -> String {
    let longer = |thousandths: u64| of.summary.count / 1000 * (1000 - thousandths);
    let all = std::iter::zip(PERCENTILES, of.summary.percentiles).rev();
    let mut enough = all.filter(|((_, thousandths), _)| longer(*thousandths) >= rows as u64);
    let shortest = enough.next().and_then(|(_, value)| value).unwrap_or(0);
    format!("{}ns", shortest.max(0))
}

/// The rows and columns as the page has them.
fn shown(page: &Page<'_>, spec: &Spec, captured: &Captured) -> Table {
    let wanted = |column: &Column| {
        let named = |names: &[&str]| {
            names.contains(&column.header.as_ref())
                || column.data_name().is_some_and(|name| names.contains(&name))
        };
        (column.shown.in_tables() && !named(spec.hide)) || named(spec.also)
    };
    let all = 0..captured.columns.len();
    let mut places: Vec<usize> = all.filter(|place| wanted(&captured.columns[*place])).collect();
    if spec.tree && !places.is_empty() {
        // What is drawn as a tree, the command, is read first.
        places.rotate_right(1);
    }
    let columns = places.iter().map(|place| &captured.columns[*place]);
    let mut table = Table {
        columns: columns.map(|column| (column.header.clone().into_owned(), column.right)).collect(),
        notes: captured.notes.iter().map(|note| text(note)).collect(),
        ..Table::default()
    };
    let depth = captured.place("depth").filter(|_| spec.tree);
    let start = page.source.window.span.start;
    let printed = Output::to(Box::new(std::io::sink()), Format::Table, start);
    let mut bytes = 0;
    for row in &captured.rows {
        let cell = |place: &usize| cell(page, &row[*place], || printed.cell(&row[*place]));
        let cells: Vec<Cell> = places.iter().map(cell).collect();
        bytes += cells.iter().map(size).sum::<usize>() + 24;
        if bytes > MOST_BYTES {
            break;
        }
        table.rows.push(cells);
        table.times.extend(time(page, spec.times, captured, row));
        table.depths.extend(depth.and_then(|place| row[place].number()));
    }
    table
}

/// The value as the page has it; `shown` is how a table shows it.
fn cell(page: &Page<'_>, value: &Value, shown: impl Fn() -> String) -> Cell {
    let spelled = || text(&shown());
    match value {
        Value::Null => Cell::Unknown,
        Value::Real(number) if number.is_finite() => Cell::Number(*number),
        Value::Int(number) if number.unsigned_abs() < 1 << 53 => Cell::Number(*number as f64),
        Value::Time(ts) | Value::Clock(ts) => {
            Cell::Spelled(page.since_start(*ts) as f64, spelled())
        }
        Value::Int(number)
        | Value::Duration(number)
        | Value::Seconds(number)
        | Value::Millis(number)
        | Value::Micros(number)
        | Value::Bytes(number)
        | Value::Kibibytes(number)
        | Value::Hex(number)
        | Value::Named(number, _) => Cell::Spelled(*number as f64, spelled()),
        Value::Real(_) | Value::Text(_) | Value::Texts(_) | Value::Ints(_) | Value::Flag(_) => {
            Cell::Text(spelled())
        }
    }
}

/// About how many bytes of JSON it is.
fn size(cell: &Cell) -> usize {
    match cell {
        Cell::Unknown => 5,
        Cell::Text(text) => text.len() + 3,
        Cell::Number(_) => 10,
        Cell::Spelled(_, text) => text.len() + 16,
    }
}

type When = (Option<i64>, Option<i64>);

/// When what a row tells of was.
fn time(page: &Page<'_>, times: Times, captured: &Captured, row: &[Value]) -> Option<When> {
    let number = |name| captured.place(name).and_then(|place| row[place].number());
    let moment = |ts: i64| page.since_start(ts);
    match times {
        Times::None => None,
        Times::At(length) => {
            let start = number("ts")?;
            let end = start.saturating_add(length.and_then(number).unwrap_or(0).max(0));
            Some((Some(moment(start)), Some(moment(end))))
        }
        Times::Between => Some((number("start").map(moment), number("end").map(moment))),
    }
}

/// The sums of the rows by step.
fn by_step(captured: &Captured, steps: &syscalls::over_time::Steps) -> Vec<Vec<i64>> {
    let Some(place) = captured.place("syscall") else { return Vec::new() };
    let of_row = |row: &[Value]| -> Vec<i64> {
        let Value::Text(name) = &row[place] else { return Vec::new() };
        let sums = steps.get(name).into_iter().flatten();
        let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        sums.flat_map(|(step, calls)| {
            [*step as i64, count(calls.count), count(calls.failed), calls.time]
        })
        .collect()
    };
    captured.rows.iter().map(|row| of_row(row)).collect()
}
