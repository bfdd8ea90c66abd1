//! How the values of a column are distributed. See [`distribution`](crate::distribution).

use std::collections::BTreeMap;

use ahash::HashMap;
use anyhow::{Context as _, bail};
use arrow::array::Array as _;
use arrow::record_batch::RecordBatch;
use clap::Args;
use lookback_schemas::{Column, Error, Kind, TableId, Type};

use crate::cat::Cells;
use crate::cli::{Source, WordsArgs};
use crate::distribution::{Group, Report, Scale, Unit, Values};
use crate::hosts::Reach;
use crate::hosts::by::split_host;
use crate::render;
use crate::scope::ScopeArgs;
use crate::tally::{Key, Selection, ThreadsArgs};

/// Shown below the help.
pub const EXAMPLE: &str = "Examples:\n  analyze histogram web1.lookback exit duration --unit ms\n  \
                           analyze histogram web1.lookback exit user --by comm --unit us\n  \
                           analyze histogram web1.lookback exit code --linear 1";

/// Options of `analyze histogram`.
#[derive(Args, Debug)]
pub struct HistogramArgs {
    /// The recordings, the table, and its column.
    #[command(flatten)]
    pub words: WordsArgs<2>,
    /// A histogram for each value of this column, for each `host`, or for both: `host,comm`
    #[arg(long, value_name = "COLUMN|host")]
    pub by: Option<String>,
    /// Rows of this width in units, instead of powers of two
    #[arg(long, value_name = "STEP", value_parser = clap::value_parser!(i64).range(1..))]
    pub linear: Option<i64>,
    /// The unit of the rows; values are divided by it and rounded down [default: the column's own]
    #[arg(long, value_enum)]
    pub unit: Option<Unit>,
    /// Only count, mean and percentiles: one row for each histogram
    #[arg(long)]
    pub summary: bool,
    /// How many threads read.
    #[command(flatten)]
    pub threads: ThreadsArgs,
    /// Which processes.
    #[command(flatten)]
    pub scope: ScopeArgs,
}

impl HistogramArgs {
    /// What to sum up by, beside the host.
    fn by(&self) -> Option<&str> {
        split_host(self.by.as_deref()).1
    }
}

/// Prints the report.
///
/// # Errors
/// If the column does not exist, holds no numbers or does not have the unit; if the table is
/// damaged; or if the output cannot be written.
pub fn run(args: &HistogramArgs, source: &Source) -> anyhow::Result<()> {
    let (table, column) = args.words.table()?;
    let column = column.first().context("which column?")?;
    let scope = source.scope(&args.scope)?;
    scope.check(table)?;
    let column = crate::cli::column(table, column)?;
    let by = args.by().map(|name| crate::cli::column(table, name)).transpose()?;
    let reach = match by.map(|by| by.kind) {
        Some(Kind::Id | Kind::Address) => Reach::Recording,
        None
        | Some(
            Kind::Time
            | Kind::Duration
            | Kind::Bytes
            | Kind::Count
            | Kind::Code
            | Kind::Flag
            | Kind::Text(_),
        ) => Reach::Everywhere,
    };
    let scale = scale(args, table, column)?;
    if let Some(by) = by {
        match by.ty {
            Type::I16 | Type::I32 | Type::I64 | Type::Bool | Type::Text => {}
            Type::Texts | Type::I64s => bail!("--by {}: a list cannot be grouped by", by.name),
        }
    }

    let selection = Selection { source, scope: &scope, threads: args.threads, without: &[] };
    let groups = read(&selection, table, column, by)?;
    let mut output = source.begin(&[table])?;
    let Some(groups) = source.add_up(reach, groups) else { return Ok(()) };
    let report = Report {
        keys: by.into_iter().map(render::Column::recorded).collect(),
        scale,
        column: column.name,
        kind: column.kind,
        summary: args.summary,
        nulls: "nulls",
    };
    let group = |(key, values): (Key, Values)| Group {
        title: by.map(|by| format!("{} = {}", by.name, text(table, by, &key))),
        keys: by.map(|_| key.value()).into_iter().collect(),
        values,
    };
    report.print(&mut output, groups.into_iter().map(group).collect())?;
    output.finish()
}

/// The key as a title says it: codes by their names, where they have one.
fn text(table: TableId, by: &Column, key: &Key) -> String {
    let code = key.number().and_then(|code| i32::try_from(code).ok());
    match (crate::codes::names_of(table, by.name), code) {
        (Some(name), Some(code)) => name(code).into_owned(),
        (Some(_) | None, Some(_) | None) => key.text(),
    }
}

fn scale(args: &HistogramArgs, table: TableId, column: &Column) -> anyhow::Result<Scale> {
    let (table, name) = (table.name(), column.name);
    match (column.ty, column.kind) {
        (Type::Bool | Type::Text | Type::Texts | Type::I64s, _) => {
            bail!("column `{name}` of table `{table}` does not hold numbers")
        }
        (_, Kind::Time) => bail!("column `{name}` of table `{table}` holds moments, not amounts"),
        (_, Kind::Address) => {
            bail!("column `{name}` of table `{table}` holds addresses, not amounts")
        }
        (
            Type::I16 | Type::I32 | Type::I64,
            Kind::Duration
            | Kind::Bytes
            | Kind::Count
            | Kind::Id
            | Kind::Code
            | Kind::Flag
            | Kind::Text(_),
        ) => {}
    }
    if let Some(unit) = args.unit
        && unit.kind() != column.kind
    {
        bail!("--unit does not apply: column `{name}` of table `{table}` is not in such a unit");
    }
    let (label, unit) = match (args.unit, column.kind) {
        (Some(unit), _) => (unit.label(), unit.size()),
        (None, Kind::Duration) => (Unit::Nanoseconds.label(), 1),
        (None, Kind::Bytes) => (Unit::Bytes.label(), 1),
        (
            None,
            Kind::Time
            | Kind::Count
            | Kind::Id
            | Kind::Code
            | Kind::Address
            | Kind::Flag
            | Kind::Text(_),
        ) => (column.name, 1),
    };
    Ok(Scale { label, unit, linear: args.linear })
}

type Groups = HashMap<Key, Values>;

fn read(
    selection: &Selection<'_>,
    table: TableId,
    column: &'static Column,
    by: Option<&'static Column>,
) -> anyhow::Result<BTreeMap<Key, Values>> {
    let Selection { source, scope, threads, .. } = selection;
    let mut columns = vec![column.name];
    columns.extend(by.map(|by| by.name));
    columns.extend(scope.columns(table));
    let window = match crate::window::timed(table) {
        true => source.window.range.clone(),
        false => lookback_schemas::recording::ALL_TIME,
    };
    let scan = source.recording.scan_table(table, window).columns(&columns);
    let groups = scan.fold(
        threads.count(),
        |groups: &mut Groups, path, batch| -> Result<(), Error> {
            let batch = scope.filter(table, path, batch)?;
            add(groups, &batch, column, by).map_err(Error::damaged(path))
        },
        |groups, more| {
            for (group, values) in more {
                groups.entry(group).or_default().merge(values);
            }
        },
    )?;
    Ok(groups.into_iter().collect())
}

fn add(
    groups: &mut Groups,
    batch: &RecordBatch,
    column: &Column,
    by: Option<&Column>,
) -> Result<(), String> {
    let cells = Cells::of(batch, column)?;
    let Some(by) = by else {
        let values = groups.entry(Key::None).or_insert_with(Values::counting);
        match &cells {
            // The usual case: no nulls, so the numbers can be walked as they lie.
            Cells::I64(cells) if cells.null_count() == 0 => {
                cells.values().iter().for_each(|value| values.add(*value));
            }
            Cells::I32(cells) if cells.null_count() == 0 => {
                cells.values().iter().for_each(|value| values.add(i64::from(*value)));
            }
            Cells::I16(_) | Cells::I32(_) | Cells::I64(_) => {
                for row in 0..batch.num_rows() {
                    match cells.number(row) {
                        Some(value) => values.add(value),
                        None => values.add_null(),
                    }
                }
            }
            Cells::Bool(_) | Cells::Text(_) | Cells::Texts(_) | Cells::I64s(_) => {}
        }
        return Ok(());
    };
    // Rows of a group often follow each other.
    let keys = Cells::of(batch, by)?;
    let key = |row: usize| match &keys {
        Cells::I16(_) | Cells::I32(_) | Cells::I64(_) => {
            keys.number(row).map_or(Key::None, Key::Number)
        }
        Cells::Bool(keys) => Key::Flag(keys.value(row)),
        Cells::Text(keys) if keys.is_valid(row) => Key::Text(keys.value(row).to_owned()),
        Cells::Text(_) | Cells::Texts(_) | Cells::I64s(_) => Key::None,
    };
    let same = |row: usize| match &keys {
        Cells::I16(_) | Cells::I32(_) | Cells::I64(_) => keys.number(row) == keys.number(row - 1),
        Cells::Bool(keys) => keys.value(row) == keys.value(row - 1),
        Cells::Text(keys) => {
            keys.is_valid(row) == keys.is_valid(row - 1) && keys.value(row) == keys.value(row - 1)
        }
        Cells::Texts(_) | Cells::I64s(_) => true,
    };
    let mut row = 0;
    while row < batch.num_rows() {
        let values = groups.entry(key(row)).or_default();
        loop {
            match cells.number(row) {
                Some(value) => values.add(value),
                None => values.add_null(),
            }
            row += 1;
            if row == batch.num_rows() || !same(row) {
                break;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::made::{Made, Row, analyze};

    fn exits() -> Made {
        let made = Made::new();
        for group in 0..20 {
            let rows: Vec<Row> = (0..50)
                .map(|row| {
                    let start = f64::from(group);
                    let pid = 100 + row % 3;
                    let status = if row % 5 == 0 { Err(9) } else { Ok(row % 7) };
                    made.exit(start + f64::from(row * row) * 1e-4, pid, 1, start, status)
                })
                .collect();
            made.rows(&rows);
        }
        made.end(30.0);
        made
    }

    #[test]
    fn threads_do_not_matter() {
        let made = exits();
        for args in [
            &["exit", "duration", "--unit", "us"][..],
            &["exit", "duration", "--by", "pid"],
            &["exit", "code", "--linear", "1", "--by", "comm"],
            &["exit", "duration", "--summary", "--format", "json", "--since", "3s"],
        ] {
            let of = |threads| {
                let args = [&["histogram"], args, &["--threads", threads]].concat();
                analyze(&made, &args).expect("it is whole")
            };
            assert_eq!(of("1"), of("8"), "{args:?}");
        }
    }

    #[test]
    fn threads_that_share_a_file_do_not_disturb_each_other() {
        let made = Made::new();
        for group in 0..40 {
            let rows: Vec<Row> = (0..9)
                .map(|row| made.exit(f64::from(group + row), row, 1, f64::from(group), Ok(group)))
                .collect();
            made.rows(&rows);
        }
        let read = |threads| {
            let args = ["histogram", "exit", "duration", "--by", "code", "--threads", threads];
            analyze(&made, &args).expect("it is whole")
        };
        let alone = read("1");
        for _ in 0..20 {
            assert_eq!(read("8"), alone);
        }
    }

    #[test]
    fn nulls_and_groups_are_told() {
        let made = exits();
        let text = analyze(&made, &["histogram", "exit", "code"]).expect("it is whole");
        assert!(text.contains("count 800, mean "), "{text}");
        assert!(text.contains("200 rows have no `code` and are left out"), "{text}");
        let args = ["histogram", "exit", "duration", "--by", "pid", "--format", "csv"];
        let csv = analyze(&made, &args).expect("it is whole");
        assert!(csv.starts_with("pid,low,high,count\n100,0,1,20\n"), "{csv}");
        let args =
            ["histogram", "exit", "duration", "--pid", "101", "--summary", "--format", "csv"];
        let csv = analyze(&made, &args).expect("it is whole");
        assert!(csv.starts_with("count,nulls,negative,mean,p50,p90,p99,p99.9,max\n340,0,0,"));
    }

    #[test]
    fn what_has_no_distribution_is_refused() {
        let made = exits();
        for (args, why) in [
            (&["exit", "comm"][..], "does not hold numbers"),
            (&["exit", "core"], "does not hold numbers"),
            (&["exit", "ts"], "holds moments"),
            (&["exit", "code", "--unit", "ms"], "--unit does not apply"),
            (&["exit", "duration", "--unit", "KiB"], "--unit does not apply"),
            (&["exit", "nothing"], "has no column"),
            (&["exit", "duration", "--linear", "1"], "take a larger step"),
            (&["exec", "argv_bytes", "--by", "argv"], "cannot be grouped"),
        ] {
            let error = analyze(&made, &[&["histogram"], args].concat()).expect_err(why);
            assert!(error.to_string().contains(why), "{error}");
        }
    }
}
