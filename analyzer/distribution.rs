//! Distributions: values counted so that percentiles stay exact, and the rows in which they print.
//!
//! The rows are bcc's (`print_log2_hist` and `print_linear_hist` in
//! `libbpf-tools/trace_helpers.c`): a log2 histogram has a row for each power of two, and as many
//! stars as its share of the fullest row. Below stand the count, the mean and percentiles. Those are
//! exact, of the values and not of the rows: a percentile is the smallest value that at least so
//! many of the values do not exceed.
//!
//! To be exact, every value must be kept; to be small, it is kept once, with how often it occurs.
//! Where one distribution is asked for, small values have a table with an entry for each, so that a
//! value costs one addition. Other values are collected, and whenever as many new ones have come as
//! there were, equal ones are brought together. Durations repeat: millions of them make some
//! thousands of entries.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use anyhow::bail;
use clap::ValueEnum;
use lookback_schemas::Kind;

use crate::render::{self, Format, Output, Role, Value, real, thousands};

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
    #[must_use]
    pub fn size(self) -> i64 {
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
    #[must_use]
    pub fn label(self) -> &'static str {
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

    /// What it measures.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self {
            Unit::Nanoseconds | Unit::Microseconds | Unit::Milliseconds | Unit::Seconds => {
                Kind::Duration
            }
            Unit::Bytes | Unit::KiB | Unit::MiB => Kind::Bytes,
        }
    }
}

/// Values below this are counted in a table, one entry each.
const COUNTED: usize = 1 << 22;

/// At least so many new values are collected before equal ones are brought together.
const NEW_VALUES: usize = 1 << 10;

/// The values of one distribution. Where each of them is kept does not show from outside.
#[derive(Clone, Debug, Default)]
pub struct Values {
    /// How often each value from 0 on occurs; empty where there is no table.
    counts: Vec<u64>,
    /// The other values with how often each occurs. The first `tidy` of them are
    /// in order, each once.
    others: Vec<(i64, u64)>,
    tidy: usize,
    nulls: u64,
}

impl Values {
    /// With a table, which takes 32 MiB.
    #[must_use]
    pub fn counting() -> Values {
        Values { counts: vec![0; COUNTED], ..Values::default() }
    }

    /// Adds the value.
    #[inline]
    pub fn add(&mut self, value: i64) {
        self.add_times(value, 1);
    }

    /// Adds the value as often as `times` says.
    #[inline]
    pub fn add_times(&mut self, value: i64, times: u64) {
        match self.counts.get_mut(value as usize) {
            // A negative value is a huge index.
            Some(count) => *count += times,
            None => self.collect(value, times),
        }
    }

    /// Adds a row whose value is unknown.
    pub fn add_null(&mut self) {
        self.nulls += 1;
    }

    fn collect(&mut self, value: i64, times: u64) {
        if times == 0 {
            return;
        }
        self.others.push((value, times));
        if self.others.len() - self.tidy >= self.tidy.max(NEW_VALUES) {
            self.tidy_up();
        }
    }

    /// Brings equal values together.
    fn tidy_up(&mut self) {
        // A stable sort finds that the first part is in order.
        self.others.sort_by_key(|(value, _)| *value);
        self.others.dedup_by(|(value, times), (kept, sum)| {
            let same = value == kept;
            *sum += if same { *times } else { 0 };
            same
        });
        self.tidy = self.others.len();
    }

    /// Adds all values of another distribution.
    pub fn merge(&mut self, other: Values) {
        self.nulls += other.nulls;
        let mut others = other.others;
        if self.counts.is_empty() && !other.counts.is_empty() {
            self.counts = other.counts;
            others.append(&mut self.others);
            self.tidy = 0;
        } else {
            for (count, more) in std::iter::zip(&mut self.counts, other.counts) {
                *count += more;
            }
        }
        for (value, times) in others {
            self.add_times(value, times);
        }
    }

    /// Each value with how often it occurs; values can come more than once, in no order.
    fn each(&self) -> impl Iterator<Item = (i64, u64)> {
        self.counted().chain(self.others.iter().copied())
    }

    /// What is in the table.
    fn counted(&self) -> impl Iterator<Item = (i64, u64)> {
        let counted = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        // An index of a vector fits.
        counted.map(|(value, count)| (value as i64, *count))
    }

    /// The figures that describe the values.
    #[must_use]
    pub fn summary(&mut self) -> Summary {
        self.tidy_up();
        let (mut count, mut sum, mut negative) = (0_u64, 0_i128, 0_u64);
        for (value, times) in self.each() {
            count += times;
            sum += i128::from(value) * i128::from(times);
            negative += if value < 0 { times } else { 0 };
        }
        let mut percentiles = [None; PERCENTILES.len()];
        let rank =
            |thousandths: u64| (u128::from(count) * u128::from(thousandths)).div_ceil(1000).max(1);
        let (mut passed, mut next, mut max) = (0_u128, 0, None);
        // Negative values come before the table, the rest of the others after it.
        let below = self.others.partition_point(|(value, _)| *value < 0);
        let (below, above) = self.others.split_at(below);
        let in_order = below.iter().copied().chain(self.counted()).chain(above.iter().copied());
        for (value, times) in in_order {
            passed += u128::from(times);
            max = Some(value);
            while next < PERCENTILES.len() && rank(PERCENTILES[next].1) <= passed {
                percentiles[next] = Some(value);
                next += 1;
            }
        }
        let mean = (count > 0).then(|| sum as f64 / count as f64);
        Summary { count, nulls: self.nulls, negative, sum, mean, percentiles, max }
    }
}

/// The percentiles that are printed, in order: name and thousandths.
pub const PERCENTILES: [(&str, u64); 4] =
    [("p50", 500), ("p90", 900), ("p99", 990), ("p99.9", 999)];

/// The figures that describe a distribution, in the unit of its values.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// How many values there are.
    pub count: u64,
    /// How many rows had none.
    pub nulls: u64,
    /// How many values are negative.
    pub negative: u64,
    /// Their sum.
    pub sum: i128,
    /// Their mean; `None` where there are none, as for what follows.
    pub mean: Option<f64>,
    /// The values of [`PERCENTILES`].
    pub percentiles: [Option<i64>; PERCENTILES.len()],
    /// The largest.
    pub max: Option<i64>,
}

impl Summary {
    /// The sum as far as 64 bits hold it.
    #[must_use]
    pub fn total(&self) -> i64 {
        i64::try_from(self.sum).unwrap_or(if self.sum < 0 { i64::MIN } else { i64::MAX })
    }

    /// The median.
    #[must_use]
    pub fn p50(&self) -> Option<i64> {
        self.percentile("p50")
    }

    /// The 99th percentile.
    #[must_use]
    pub fn p99(&self) -> Option<i64> {
        self.percentile("p99")
    }

    fn percentile(&self, wanted: &str) -> Option<i64> {
        let place = PERCENTILES.iter().position(|(name, _)| *name == wanted);
        place.and_then(|place| self.percentiles[place])
    }
}

/// The scale of a histogram's rows.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// What stands above the values.
    pub label: &'static str,
    /// What values are divided by, and rounded down.
    pub unit: i64,
    /// The width of the rows in units; powers of two if `None`.
    pub linear: Option<i64>,
}

impl Scale {
    /// Powers of two of a microsecond, or of a millisecond.
    #[must_use]
    pub fn of_time(milliseconds: bool) -> Scale {
        let unit = if milliseconds { Unit::Milliseconds } else { Unit::Microseconds };
        Scale { label: unit.label(), unit: unit.size(), linear: None }
    }
}

/// One row of a histogram: the first and the last value in it, in units, and how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bucket {
    pub(crate) low: i64,
    pub(crate) high: i64,
    pub(crate) count: u64,
}

/// More linear rows than this nobody can read; and hostile values could ask for 2⁶³.
const MOST_ROWS: i128 = 10_000;

impl Scale {
    /// The rows, in order and without gaps, from the first that is asked for to the last with a value.
    pub(crate) fn buckets(self, values: &Values) -> anyhow::Result<Vec<Bucket>> {
        match self.linear {
            None => Ok(self.by_power(values)),
            Some(step) => self.by_step(values, step),
        }
    }

    /// Row 0 has the values 0 and 1, row n those from 2ⁿ to 2ⁿ⁺¹ - 1. Negative values have no row.
    fn by_power(self, values: &Values) -> Vec<Bucket> {
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

    /// The figures in one line.
    fn say(self, summary: &Summary) -> String {
        let mut said = vec![format!("count {}", summary.count)];
        if let (Some(mean), Some(max)) = (summary.mean, summary.max) {
            said.push(format!("mean {}", self.in_units(mean)));
            for ((name, _), value) in std::iter::zip(PERCENTILES, summary.percentiles) {
                let value = value.map(|value| self.in_units(value as f64)).unwrap_or_default();
                said.push(format!("{name} {value}"));
            }
            said.push(format!("max {} {}", self.in_units(max as f64), self.label));
        }
        said.join(", ")
    }

    fn in_units(self, value: f64) -> String {
        real(value / self.unit as f64).unwrap_or_default()
    }
}

/// A bar of up to `full` stars: as many of them as `count` is of `most`. Blanks fill it up.
#[must_use]
pub fn stars(count: u64, most: u64, full: usize) -> String {
    let stars = u128::from(count) * full as u128 / u128::from(most.max(1));
    let stars = "*".repeat(usize::try_from(stars).unwrap_or(full));
    format!("{stars:<full$}")
}

/// A distribution, and what it is of.
#[derive(Clone, Debug)]
pub struct Group {
    /// What a table says above it, such as `pid = 12 sh`; nothing if there is only one.
    pub title: Option<String>,
    /// A value for each of [`Report::keys`].
    pub keys: Vec<Value>,
    /// The distribution.
    pub values: Values,
}

/// How distributions print.
pub struct Report {
    /// The columns that say what each is of.
    pub keys: Vec<render::Column>,
    /// The rows of the histograms.
    pub scale: Scale,
    /// The name of the column that the values are of.
    pub column: &'static str,
    /// What the values mean.
    pub kind: Kind,
    /// Only count, mean and percentiles: one row for each.
    pub summary: bool,
    /// The column of a summary that says how many rows had no value.
    pub nulls: &'static str,
}

impl Report {
    /// Histograms of the durations in this column.
    #[must_use]
    pub fn of_durations(column: &'static str, keys: Vec<render::Column>, scale: Scale) -> Report {
        Report { keys, scale, column, kind: Kind::Duration, summary: false, nulls: "nulls" }
    }

    /// Prints them in this order.
    ///
    /// # Errors
    /// If one would have too many rows, or the output cannot be written.
    pub fn print(self, output: &mut Output, groups: Vec<Group>) -> anyhow::Result<()> {
        if output.is_compared() {
            let groups = self.joined(groups);
            self.summaries(output, groups)
        } else if self.summary {
            self.summaries(output, groups)
        } else if output.format() == Format::Table {
            groups.into_iter().try_for_each(|group| self.draw(output, group))
        } else {
            self.buckets(output, &groups)
        }
    }

    /// The groups, where those that another recording could not tell apart are one: percentiles of
    /// several can only be told from their values.
    fn joined(&self, groups: Vec<Group>) -> Vec<Group> {
        let mut joined: Vec<Group> = Vec::new();
        let mut places: BTreeMap<String, usize> = BTreeMap::new();
        for mut group in groups {
            for (column, key) in std::iter::zip(&self.keys, &mut group.keys) {
                if column.role == Role::Identity {
                    *key = Value::Null;
                }
            }
            match places.entry(format!("{:?}", group.keys)) {
                Entry::Occupied(place) => joined[*place.get()].values.merge(group.values),
                Entry::Vacant(place) => {
                    place.insert(joined.len());
                    joined.push(group);
                }
            }
        }
        joined
    }

    fn draw(&self, output: &mut Output, group: Group) -> anyhow::Result<()> {
        let (scale, mut values) = (self.scale, group.values);
        if let Some(title) = group.title {
            output.line(&format!("\n{}", render::escaped(&title)))?;
        }
        for line in scale.draw(&scale.buckets(&values)?) {
            output.line(&line)?;
        }
        let summary = values.summary();
        output.line(&format!("\n{}", scale.say(&summary)))?;
        if summary.nulls > 0 {
            let nulls = thousands(summary.nulls);
            output.line(&format!("{nulls} rows have no `{}` and are left out", self.column))?;
        }
        if summary.negative > 0 && scale.linear.is_none() {
            let negative = thousands(summary.negative);
            output.line(&format!(
                "{negative} negative values have no row above, but count in the figures"
            ))?;
        }
        Ok(())
    }

    fn buckets(self, output: &mut Output, groups: &[Group]) -> anyhow::Result<()> {
        let mut columns = self.keys;
        let names = ["low", "high", "count"];
        columns.extend(names.map(|name| render::Column::new(name, name).right()));
        let mut rows = output.rows(columns);
        for group in groups {
            for bucket in self.scale.buckets(&group.values)? {
                let mut row = group.keys.clone();
                row.extend([bucket.low, bucket.high].map(Value::Int));
                row.push(Value::count(bucket.count));
                rows.row(&row)?;
            }
        }
        rows.end()
    }

    fn summaries(self, output: &mut Output, groups: Vec<Group>) -> anyhow::Result<()> {
        let groups: Vec<(Vec<Value>, Summary)> =
            groups.into_iter().map(|mut group| (group.keys, group.values.summary())).collect();
        let column = |name| render::Column::new(name, name).right();
        let unusual = |name, any: bool| match any {
            true => column(name),
            false => render::Column::data(name),
        };
        let any = |of: fn(&Summary) -> u64| groups.iter().any(|(_, summary)| of(summary) > 0);
        let mut columns = self.keys;
        columns.extend([
            column("count"),
            unusual(self.nulls, any(|summary| summary.nulls)),
            unusual("negative", any(|summary| summary.negative)),
            render::Column::data("mean"),
            render::Column::table("mean").right(),
        ]);
        columns.extend(PERCENTILES.map(|(name, _)| column(name)));
        columns.push(column("max"));
        let amount = |value: Option<i64>| match (value, self.kind) {
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
                | Kind::Text(_),
            ) => Value::Int(value),
        };
        let mut rows = output.rows(columns);
        for (mut row, summary) in groups {
            let mean = summary.mean.map_or(Value::Null, Value::Real);
            row.extend([summary.count, summary.nulls, summary.negative].map(Value::count));
            row.extend([
                mean.clone(),
                match self.kind {
                    Kind::Duration | Kind::Bytes => {
                        amount(summary.mean.map(|mean| mean.round() as i64))
                    }
                    Kind::Time
                    | Kind::Count
                    | Kind::Id
                    | Kind::Code
                    | Kind::Address
                    | Kind::Flag
                    | Kind::Text(_) => mean,
                },
            ]);
            row.extend(summary.percentiles.map(amount));
            row.push(amount(summary.max));
            rows.row(&row)?;
        }
        rows.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(counting: bool, list: &[i64]) -> Values {
        let mut values = if counting { Values::counting() } else { Values::default() };
        list.iter().for_each(|value| values.add(*value));
        values
    }

    const LOG2: Scale = Scale { label: "usecs", unit: 1, linear: None };

    #[test]
    fn log2_rows_are_bccs() {
        let list = [0, 1, 2, 3, 3, 3, 9];
        let drawn = LOG2.draw(&LOG2.by_power(&values(true, &list)));
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
        let drawn = LOG2.draw(&LOG2.by_power(&values(true, &[i64::MAX, 5, i64::MIN])));
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
            LOG2.draw(&LOG2.by_power(&values(true, &[(1 << 33) - 1])))[0].starts_with("     usecs")
        );
        assert!(
            LOG2.draw(&LOG2.by_power(&values(true, &[1 << 33])))[0].starts_with("               u")
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

    #[test]
    fn equal_values_are_kept_once() {
        let mut values = Values::default();
        for round in 0..100_000_i64 {
            values.add(round % 500);
        }
        assert!(values.others.len() <= 500 + NEW_VALUES, "{}", values.others.len());
        let summary = values.summary();
        assert_eq!((summary.count, summary.max), (100_000, Some(499)));
        assert_eq!(values.others.len(), 500);
    }

    #[test]
    fn a_weight_is_so_many_values() {
        let mut weighted = Values::default();
        weighted.add_times(7, 3);
        weighted.add_times(9, 1);
        weighted.add_times(1, 0);
        assert_eq!(weighted.summary(), values(false, &[7, 7, 9, 7]).summary());
    }

    #[test]
    fn merging_is_adding() {
        let (one, other) = ([5, 3, 1 << 30, -2], [4, 3, 1 << 30, -9, 70]);
        let all = [&one[..], &other[..]].concat();
        for (first, second) in [(false, false), (true, true), (false, true), (true, false)] {
            let mut merged = values(first, &one);
            merged.merge(values(second, &other));
            assert_eq!(merged.summary(), values(false, &all).summary());
        }
    }
}
