//! How the values of a column are distributed.
//!
//! The rows are bcc's (`print_log2_hist` and `print_linear_hist` in
//! `libbpf-tools/trace_helpers.c`): a log2 histogram has a row for each power of two, and as many
//! stars as its share of the fullest row. Below stand the count, the mean and percentiles. Those are
//! exact, of the values and not of the rows: a percentile is the smallest value that at least so
//! many of the values do not exceed. Small values are counted one by one in a table, which takes the
//! same room however many there are; large ones are kept in a list.

use std::collections::BTreeMap;

use ahash::HashMap;
use anyhow::bail;
use arrow::array::Array as _;
use arrow::record_batch::RecordBatch;
use clap::{Args, ValueEnum};
use lookback_schemas::{Column, Error, Kind, TableId, Type};

use crate::cat::Cells;
use crate::cli::{Source, SourceArgs};
use crate::render::{self, Format, Output, Value, escaped, real, thousands};
use crate::scope::{Scope, ScopeArgs};

/// Shown below the help.
pub const EXAMPLE: &str = "Examples:\n  analyze histogram web1.lookback exit duration --unit ms\n  \
                           analyze histogram web1.lookback exit user --by comm --unit us\n  \
                           analyze histogram web1.lookback exit code --linear 1";

/// Options of `analyze histogram`.
#[derive(Args, Debug)]
pub struct HistogramArgs {
    /// The recording, and the part of it.
    #[command(flatten)]
    pub source: SourceArgs,
    /// The table
    #[arg(value_parser = crate::cli::table)]
    pub table: TableId,
    /// The column: one of numbers
    pub column: String,
    /// A histogram for each value of this column
    #[arg(long, value_name = "COLUMN")]
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
    /// How many threads read [default: one per CPU]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Which processes.
    #[command(flatten)]
    pub scope: ScopeArgs,
}

/// What the rows count in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "verbatim")]
pub enum Unit {
    /// Nanoseconds.
    #[value(name = "ns")]
    Nanoseconds,
    /// Microseconds.
    #[value(name = "us")]
    Microseconds,
    /// Milliseconds.
    #[value(name = "ms")]
    Milliseconds,
    /// Seconds.
    #[value(name = "s")]
    Seconds,
    /// Bytes.
    #[value(name = "bytes")]
    Bytes,
    /// 1,024 bytes.
    KiB,
    /// 1,048,576 bytes.
    MiB,
}

impl Unit {
    /// How many of what the recording counts in.
    fn size(self) -> i64 {
        match self {
            Unit::Nanoseconds | Unit::Bytes => 1,
            Unit::Microseconds => 1_000,
            Unit::Milliseconds => 1_000_000,
            Unit::Seconds => 1_000_000_000,
            Unit::KiB => 1 << 10,
            Unit::MiB => 1 << 20,
        }
    }

    /// As bcc labels it.
    fn label(self) -> &'static str {
        match self {
            Unit::Nanoseconds => "nsecs",
            Unit::Microseconds => "usecs",
            Unit::Milliseconds => "msecs",
            Unit::Seconds => "secs",
            Unit::Bytes => "bytes",
            Unit::KiB => "KiB",
            Unit::MiB => "MiB",
        }
    }

    fn kind(self) -> Kind {
        match self {
            Unit::Nanoseconds | Unit::Microseconds | Unit::Milliseconds | Unit::Seconds => {
                Kind::Duration
            }
            Unit::Bytes | Unit::KiB | Unit::MiB => Kind::Bytes,
        }
    }
}

/// The scale of a histogram's rows.
#[derive(Clone, Copy, Debug)]
struct Scale {
    label: &'static str,
    unit: i64,
    linear: Option<i64>,
}

/// Prints the report.
///
/// # Errors
/// If the column does not exist, holds no numbers or does not have the unit; if the table is
/// damaged; or if the output cannot be written.
pub fn run(args: &HistogramArgs) -> anyhow::Result<()> {
    let source = Source::open(&args.source)?;
    let scope = Scope::new(&args.scope, &source.recording)?;
    scope.check(args.table)?;
    let column = crate::cli::column(args.table, &args.column)?;
    let by = args.by.as_ref().map(|name| crate::cli::column(args.table, name)).transpose()?;
    let scale = scale(args, column)?;
    if let Some(by) = by {
        match by.ty {
            Type::I16 | Type::I32 | Type::I64 | Type::Bool | Type::Text => {}
            Type::Texts | Type::I64s => bail!("--by {}: a list cannot be grouped by", by.name),
        }
    }

    let groups = read(args, &source, &scope, column, by)?;
    let mut output = source.begin(&[args.table])?;
    if args.summary {
        summaries(&mut output, groups, column, by)?;
    } else if output.format() == Format::Table {
        draw_all(&mut output, groups, column, by, scale)?;
    } else {
        buckets(&mut output, &groups, by, scale)?;
    }
    output.finish()
}

fn scale(args: &HistogramArgs, column: &Column) -> anyhow::Result<Scale> {
    let (table, name) = (args.table.name(), column.name);
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
            | Kind::Text,
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
            | Kind::Text,
        ) => (column.name, 1),
    };
    Ok(Scale { label, unit, linear: args.linear })
}

/// What values are grouped by. The order is that of the output.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Group {
    /// Without `--by`, or where its column is null.
    None,
    Number(i64),
    Text(String),
    Flag(bool),
}

impl Group {
    fn value(&self) -> Value {
        match self {
            Group::None => Value::Null,
            Group::Number(number) => Value::Int(*number),
            Group::Text(text) => Value::Text(text.clone()),
            Group::Flag(flag) => Value::Flag(*flag),
        }
    }

    fn text(&self) -> String {
        match self {
            Group::None => "-".to_owned(),
            Group::Number(number) => number.to_string(),
            Group::Text(text) => escaped(text).into_owned(),
            Group::Flag(flag) => flag.to_string(),
        }
    }
}

/// Values below this are counted in a table, one entry each.
const COUNTED: usize = 1 << 22;

/// The values of one group. Which of them are in the table does not show from outside.
#[derive(Clone, Debug, Default)]
struct Values {
    /// How often each value from 0 on occurs; empty where values are only listed.
    counts: Vec<u64>,
    /// The other values, in no order.
    listed: Vec<i64>,
    nulls: u64,
}

impl Values {
    /// With a table, which takes 32 MiB.
    fn counting() -> Values {
        Values { counts: vec![0; COUNTED], ..Values::default() }
    }

    #[inline]
    fn add(&mut self, value: i64) {
        match self.counts.get_mut(value as usize) {
            // A negative value is a huge index.
            Some(count) => *count += 1,
            None => self.listed.push(value),
        }
    }

    fn merge(&mut self, other: Values) {
        self.nulls += other.nulls;
        if self.counts.is_empty() {
            self.counts = other.counts;
        } else {
            for (count, more) in std::iter::zip(&mut self.counts, other.counts) {
                *count += more;
            }
        }
        if self.listed.is_empty() {
            self.listed = other.listed;
        } else {
            self.listed.extend(other.listed);
        }
    }

    /// Each value with how often it occurs; values can come more than once, in no order.
    fn each(&self) -> impl Iterator<Item = (i64, u64)> {
        let counted = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        // An index of a vector fits.
        let counted = counted.map(|(value, count)| (value as i64, *count));
        counted.chain(self.listed.iter().map(|value| (*value, 1)))
    }

    fn summary(&mut self) -> Summary {
        let counted: u64 = self.counts.iter().sum();
        let count = counted + self.listed.len() as u64;
        let (mut sum, mut max, mut negative) = (0_i128, None::<i64>, 0);
        for (value, times) in self.each() {
            sum += i128::from(value) * i128::from(times);
            max = Some(max.map_or(value, |max| max.max(value)));
            negative += if value < 0 { times } else { 0 };
        }
        let percentile = |values: &mut Values, thousandths: u64| {
            (count > 0).then(|| {
                let rank = u128::from(count) * u128::from(thousandths);
                values.smallest(rank.div_ceil(1000).max(1) as u64, negative)
            })
        };
        Summary {
            count,
            nulls: self.nulls,
            negative,
            mean: (count > 0).then(|| sum as f64 / count as f64),
            percentiles: PERCENTILES.map(|(_, thousandths)| percentile(self, thousandths)),
            max,
        }
    }

    /// The value of this rank, from 1: negative ones first, then those in the table, then the rest.
    fn smallest(&mut self, rank: u64, negative: u64) -> i64 {
        if rank > negative {
            let mut left = rank - negative;
            for (value, count) in self.counts.iter().enumerate() {
                if left <= *count {
                    return value as i64;
                }
                left -= count;
            }
        }
        let counted: u64 = self.counts.iter().sum();
        let place = if rank > negative { rank - 1 - counted } else { rank - 1 };
        let place = usize::try_from(place).expect("the rank is that of a listed value");
        *self.listed.select_nth_unstable(place).1
    }
}

/// The percentiles that are printed: name and thousandths.
const PERCENTILES: [(&str, u64); 4] = [("p50", 500), ("p90", 900), ("p99", 990), ("p99.9", 999)];

/// What stands below a histogram, in the column's own unit.
#[derive(Clone, Debug, PartialEq)]
struct Summary {
    count: u64,
    nulls: u64,
    negative: u64,
    mean: Option<f64>,
    percentiles: [Option<i64>; PERCENTILES.len()],
    max: Option<i64>,
}

type Groups = HashMap<Group, Values>;

fn read(
    args: &HistogramArgs,
    source: &Source,
    scope: &Scope,
    column: &'static Column,
    by: Option<&'static Column>,
) -> anyhow::Result<BTreeMap<Group, Values>> {
    let mut columns = vec![column.name];
    columns.extend(by.map(|by| by.name));
    columns.extend(scope.columns(args.table));
    let threads = match args.threads {
        Some(threads) => usize::from(threads),
        None => std::thread::available_parallelism().map_or(1, usize::from),
    };
    let window = match crate::window::timed(args.table) {
        true => source.window.range.clone(),
        false => lookback_schemas::recording::ALL_TIME,
    };
    let scan = source.recording.scan_table(args.table, window).columns(&columns);
    let groups = scan.fold(
        threads,
        |groups: &mut Groups, path, batch| -> Result<(), Error> {
            let batch = scope.filter(args.table, path, batch)?;
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
        let values = groups.entry(Group::None).or_insert_with(Values::counting);
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
                        None => values.nulls += 1,
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
            keys.number(row).map_or(Group::None, Group::Number)
        }
        Cells::Bool(keys) => Group::Flag(keys.value(row)),
        Cells::Text(keys) if keys.is_valid(row) => Group::Text(keys.value(row).to_owned()),
        Cells::Text(_) | Cells::Texts(_) | Cells::I64s(_) => Group::None,
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
                None => values.nulls += 1,
            }
            row += 1;
            if row == batch.num_rows() || !same(row) {
                break;
            }
        }
    }
    Ok(())
}

/// One row of a histogram: the first and the last value in it, in units, and how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bucket {
    low: i64,
    high: i64,
    count: u64,
}

/// More linear rows than this nobody can read; and hostile values could ask for 2⁶³.
const MOST_ROWS: i128 = 10_000;

impl Scale {
    fn buckets(self, values: &Values) -> anyhow::Result<Vec<Bucket>> {
        match self.linear {
            None => Ok(self.log2(values)),
            Some(step) => self.by_step(values, step),
        }
    }

    /// Row 0 has the values 0 and 1, row n those from 2ⁿ to 2ⁿ⁺¹ - 1. Negative values have no row.
    fn log2(self, values: &Values) -> Vec<Bucket> {
        let mut counts = [0_u64; 64];
        for (value, count) in values.each() {
            if value >= 0 {
                let scaled = value / self.unit;
                counts[scaled.checked_ilog2().unwrap_or(0) as usize] += count;
            }
        }
        let rows = counts.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
        let bucket = |row: usize| Bucket {
            low: if row == 0 { 0 } else { 1 << row },
            high: ((1_u64 << (row + 1)) - 1) as i64,
            count: counts[row],
        };
        (0..rows).map(bucket).collect()
    }

    fn by_step(self, values: &Values, step: i64) -> anyhow::Result<Vec<Bucket>> {
        let mut counts: BTreeMap<i64, u64> = BTreeMap::new();
        for (value, count) in values.each() {
            *counts.entry(value.div_euclid(self.unit).div_euclid(step)).or_default() += count;
        }
        let (Some((first, _)), Some((last, _))) =
            (counts.first_key_value(), counts.last_key_value())
        else {
            return Ok(Vec::new());
        };
        let rows = i128::from(*last) - i128::from(*first) + 1;
        if rows > MOST_ROWS {
            bail!("--linear {step}: that makes {} rows; take a larger step", thousands(rows));
        }
        let bucket = |row: i64| {
            let low = row.saturating_mul(step);
            let count = counts.get(&row).copied().unwrap_or(0);
            Bucket { low, high: low.saturating_add(step - 1), count }
        };
        Ok((*first..=*last).map(bucket).collect())
    }

    /// The histogram as bcc prints it.
    fn draw(self, buckets: &[Bucket]) -> Vec<String> {
        let Some(most) = buckets.iter().map(|bucket| bucket.count).max().filter(|most| *most > 0)
        else {
            return Vec::new();
        };
        let label = self.label;
        let mut lines = Vec::with_capacity(buckets.len() + 1);
        if self.linear.is_some() {
            lines.push(format!("     {label:<13} : count     distribution"));
            for Bucket { low, count, .. } in buckets {
                let stars = stars(*count, most, 40);
                lines.push(format!("        {low:<10} : {count:<8} |{stars}|"));
            }
            return lines;
        }
        let wide = buckets.len() > 33;
        let (indent, header, width, full) = if wide { (15, 29, 20, 20) } else { (5, 19, 10, 40) };
        lines.push(format!("{:indent$}{label:<header$} : count    distribution", ""));
        for Bucket { low, high, count } in buckets {
            let stars = stars(*count, most, full);
            lines.push(format!("{low:>width$} -> {high:<width$} : {count:<8} |{stars}|"));
        }
        lines
    }

    fn in_units(self, value: f64) -> String {
        real(value / self.unit as f64).unwrap_or_default()
    }
}

fn stars(count: u64, most: u64, full: usize) -> String {
    let stars = u128::from(count) * full as u128 / u128::from(most);
    let stars = "*".repeat(usize::try_from(stars).unwrap_or(full));
    format!("{stars:<full$}")
}

fn draw_all(
    output: &mut Output,
    groups: BTreeMap<Group, Values>,
    column: &Column,
    by: Option<&Column>,
    scale: Scale,
) -> anyhow::Result<()> {
    for (group, mut values) in groups {
        if let Some(by) = by {
            output.line(&format!("\n{} = {}", by.name, group.text()))?;
        }
        for line in scale.draw(&scale.buckets(&values)?) {
            output.line(&line)?;
        }
        let summary = values.summary();
        let mut said = vec![format!("count {}", summary.count)];
        if let (Some(mean), Some(max)) = (summary.mean, summary.max) {
            said.push(format!("mean {}", scale.in_units(mean)));
            for ((name, _), value) in std::iter::zip(PERCENTILES, summary.percentiles) {
                let value = value.map(|value| scale.in_units(value as f64)).unwrap_or_default();
                said.push(format!("{name} {value}"));
            }
            said.push(format!("max {} {}", scale.in_units(max as f64), scale.label));
        }
        output.line(&format!("\n{}", said.join(", ")))?;
        if summary.nulls > 0 {
            let nulls = thousands(summary.nulls);
            output.line(&format!("{nulls} rows have no `{}` and are left out", column.name))?;
        }
        if summary.negative > 0 && scale.linear.is_none() {
            let negative = thousands(summary.negative);
            output.line(&format!(
                "{negative} negative values have no row above, but count in the figures"
            ))?;
        }
    }
    Ok(())
}

fn buckets(
    output: &mut Output,
    groups: &BTreeMap<Group, Values>,
    by: Option<&Column>,
    scale: Scale,
) -> anyhow::Result<()> {
    let mut columns: Vec<render::Column> = by.into_iter().map(render::Column::recorded).collect();
    columns.extend(["low", "high", "count"].map(|name| render::Column::new(name, name).right()));
    let mut rows = output.rows(columns);
    for (group, values) in groups {
        for bucket in scale.buckets(values)? {
            let mut row: Vec<Value> = by.map(|_| group.value()).into_iter().collect();
            let count = i64::try_from(bucket.count).unwrap_or(i64::MAX);
            row.extend([bucket.low, bucket.high, count].map(Value::Int));
            rows.row(&row)?;
        }
    }
    rows.end()
}

fn summaries(
    output: &mut Output,
    groups: BTreeMap<Group, Values>,
    column: &Column,
    by: Option<&Column>,
) -> anyhow::Result<()> {
    let mut columns: Vec<render::Column> = by.into_iter().map(render::Column::recorded).collect();
    let names = ["count", "nulls", "negative", "mean"].into_iter();
    let names = names.chain(PERCENTILES.map(|(name, _)| name)).chain(["max"]);
    columns.extend(names.map(|name| render::Column::new(name, name).right()));
    let amount = |value: Option<i64>| match (value, column.kind) {
        (None, _) => Value::Null,
        (Some(value), Kind::Duration) => Value::Duration(value),
        (Some(value), Kind::Bytes) => Value::Bytes(value),
        (
            Some(value),
            Kind::Time
            | Kind::Count
            | Kind::Id
            | Kind::Code
            | Kind::Address
            | Kind::Flag
            | Kind::Text,
        ) => Value::Int(value),
    };
    let mut rows = output.rows(columns);
    for (group, mut values) in groups {
        let summary = values.summary();
        let mut row: Vec<Value> = by.map(|_| group.value()).into_iter().collect();
        let counts = [summary.count, summary.nulls, summary.negative];
        row.extend(counts.map(|count| Value::Int(i64::try_from(count).unwrap_or(i64::MAX))));
        row.push(summary.mean.map_or(Value::Null, Value::Real));
        row.extend(summary.percentiles.map(amount));
        row.push(amount(summary.max));
        rows.row(&row)?;
    }
    rows.end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made::{Made, Row, analyze};

    fn values(counting: bool, list: &[i64]) -> Values {
        let mut values = if counting { Values::counting() } else { Values::default() };
        list.iter().for_each(|value| values.add(*value));
        values
    }

    const LOG2: Scale = Scale { label: "usecs", unit: 1, linear: None };

    #[test]
    fn log2_rows_are_bccs() {
        let list = [0, 1, 2, 3, 3, 3, 9];
        let drawn = LOG2.draw(&LOG2.log2(&values(true, &list)));
        assert_eq!(
            drawn,
            [
                "     usecs               : count    distribution",
                "         0 -> 1          : 2        |********************                    |",
                "         2 -> 3          : 4        |****************************************|",
                "         4 -> 7          : 0        |                                        |",
                "         8 -> 15         : 1        |**********                              |",
            ]
        );
    }

    #[test]
    fn large_values_have_wide_rows() {
        let drawn = LOG2.draw(&LOG2.log2(&values(true, &[i64::MAX, 5, i64::MIN])));
        assert_eq!(drawn.len(), 64);
        assert_eq!(
            drawn[0],
            "               usecs                         : count    distribution"
        );
        assert_eq!(
            drawn[63],
            " 4611686018427387904 -> 9223372036854775807  : 1        |********************|"
        );
        // Row 32 is the last of the narrow form.
        assert!(
            LOG2.draw(&LOG2.log2(&values(true, &[(1 << 33) - 1])))[0].starts_with("     usecs")
        );
        assert!(
            LOG2.draw(&LOG2.log2(&values(true, &[1 << 33])))[0].starts_with("               u")
        );
    }

    #[test]
    fn linear_rows_are_bccs() {
        let scale = Scale { label: "code", unit: 1, linear: Some(5) };
        let buckets = scale.buckets(&values(true, &[12, 12, 13, 27, -1])).expect("few rows");
        assert_eq!(
            scale.draw(&buckets),
            [
                "     code          : count     distribution",
                "        -5         : 1        |*************                           |",
                "        0          : 0        |                                        |",
                "        5          : 0        |                                        |",
                "        10         : 3        |****************************************|",
                "        15         : 0        |                                        |",
                "        20         : 0        |                                        |",
                "        25         : 1        |*************                           |",
            ]
        );
        assert!(scale.buckets(&values(true, &[i64::MIN, i64::MAX])).is_err(), "too many rows");
    }

    #[test]
    fn percentiles_are_exact_wherever_the_values_are() {
        // As sorting tells, over values on both sides of the table's end.
        let mut seed = 1_u64;
        for round in 0..40 {
            let count = 1 + round * 7;
            let list: Vec<i64> = (0..count)
                .map(|_| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let value = (seed >> 33) as i64 - if round % 3 == 0 { 1 << 28 } else { 0 };
                    if seed & 1 == 0 { value } else { value >> 12 }
                })
                .collect();
            let mut sorted = list.clone();
            sorted.sort_unstable();
            let rank = |thousandths: usize| sorted[(count * thousandths).div_ceil(1000).max(1) - 1];
            for counting in [false, true] {
                let summary = values(counting, &list).summary();
                let expected = PERCENTILES.map(|(_, thousandths)| Some(rank(thousandths as usize)));
                assert_eq!(summary.percentiles, expected, "{list:?}");
                assert_eq!(summary.max, sorted.last().copied());
                assert_eq!(summary.count, count as u64);
            }
        }
        let none = values(true, &[]).summary();
        assert_eq!((none.mean, none.max, none.percentiles), (None, None, [None; 4]));
    }

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
