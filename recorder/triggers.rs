//! Triggers: events that are waited for, so that what led to them is kept.
//!
//! A trigger is a text such as `runq.wait > 50ms`, or `exit.signal == 11 and exit.comm == "nginx"`: columns of
//! one table, each compared with a value. It is looked for in the rows that go to the disk, a batch at a time,
//! so it costs the programs nothing and the recorder little. What is unknown meets no condition.

use std::str::FromStr;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Int16Array, Int32Array, Int64Array, Scalar, StringArray,
};
use arrow::compute::{and_kleene, cast, kernels::cmp};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use bytesize::ByteSize;
use lookback_schemas::condition::{Operator, split};
use lookback_schemas::suggest::did_you_mean;
use lookback_schemas::{Column, Kind, TableId, Type};

use crate::cli;
use crate::clocks;
use crate::writer::Batch;

/// A condition that rows of a table may meet.
#[derive(Clone, Debug)]
pub struct Trigger {
    /// What the user wrote.
    pub text: String,
    /// The table whose rows are looked at.
    pub table: TableId,
    comparisons: Arc<[Comparison]>,
}

#[derive(Clone, Debug)]
struct Comparison {
    column: &'static str,
    operator: Operator,
    value: ArrayRef,
}

/// A trigger that some row has met.
#[derive(Clone, Debug)]
pub struct Hit {
    /// Its place among the triggers.
    pub trigger: usize,
    /// When it was noticed, on the monotonic clock: within a second after the event.
    pub at: i64,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Triggers(Vec<Trigger>);

impl Triggers {
    /// These.
    pub fn new(triggers: Vec<Trigger>) -> Triggers {
        Triggers(triggers)
    }

    /// The triggers that some row of a batch meets.
    pub fn look(&self, batch: &Batch) -> Vec<Hit> {
        let of_table = self.0.iter().enumerate().filter(|(_, known)| known.table == batch.table);
        let met = of_table.filter(|(_, known)| known.is_met(batch));
        met.map(|(trigger, _)| Hit { trigger, at: clocks::monotonic() }).collect()
    }
}

impl Trigger {
    fn is_met(&self, batch: &Batch) -> bool {
        let mut all: Option<BooleanArray> = None;
        for comparison in &*self.comparisons {
            // The types were compared when the text was read.
            let Ok(met) = comparison.rows(batch) else { return false };
            all = match all.map(|all| and_kleene(&all, &met)) {
                None => Some(met),
                Some(Ok(both)) => Some(both),
                Some(Err(_)) => return false,
            };
        }
        all.is_some_and(|all| all.iter().any(|met| met == Some(true)))
    }
}

impl Comparison {
    /// Which rows of a batch meet it.
    fn rows(&self, batch: &Batch) -> Result<BooleanArray, ArrowError> {
        let column = batch
            .rows
            .column_by_name(self.column)
            .ok_or_else(|| ArrowError::SchemaError(self.column.to_owned()))?;
        // Builders code texts by dictionaries.
        let column = match column.data_type() {
            DataType::Dictionary(..) => cast(column, &DataType::Utf8)?,
            _other => Arc::clone(column),
        };
        let value = Scalar::new(Arc::clone(&self.value));
        match self.operator {
            Operator::Equal => cmp::eq(&column, &value),
            Operator::NotEqual => cmp::neq(&column, &value),
            Operator::Less => cmp::lt(&column, &value),
            Operator::LessOrEqual => cmp::lt_eq(&column, &value),
            Operator::Greater => cmp::gt(&column, &value),
            Operator::GreaterOrEqual => cmp::gt_eq(&column, &value),
        }
    }
}

impl FromStr for Trigger {
    type Err = String;

    fn from_str(text: &str) -> Result<Trigger, String> {
        let mut table = None;
        let mut comparisons = Vec::new();
        for part in parts(text)? {
            let (its, comparison) = comparison(part.trim())?;
            if *table.get_or_insert(its) != its {
                return Err("all conditions of a trigger are of one table".to_owned());
            }
            comparisons.push(comparison);
        }
        let table = table.ok_or("expected a condition such as `runq.wait > 50ms`")?;
        Ok(Trigger { text: text.to_owned(), table, comparisons: comparisons.into() })
    }
}

/// The conditions between the words `and`; what stands in quotes is no such word.
fn parts(text: &str) -> Result<Vec<&str>, String> {
    let mut parts = Vec::new();
    let (mut start, mut quoted) = (0, false);
    for (at, letter) in text.char_indices() {
        if letter == '"' {
            quoted = !quoted;
        } else if !quoted && letter.is_whitespace() {
            let rest = text[at..].trim_start();
            if let Some(after) = rest.strip_prefix("and")
                && after.starts_with(char::is_whitespace)
            {
                parts.push(&text[start..at]);
                start = text.len() - after.len();
            }
            if rest.starts_with("or ") {
                return Err("instead of `or`, give --trigger twice".to_owned());
            }
        }
    }
    if quoted {
        return Err("a quotation mark is missing".to_owned());
    }
    parts.push(text.get(start..).unwrap_or_default());
    Ok(parts)
}

fn comparison(text: &str) -> Result<(TableId, Comparison), String> {
    let Some((name, operator, value)) = split(text) else {
        return Err(format!(
            "`{text}`: expected TABLE.COLUMN, one of == != < <= > >=, and a value"
        ));
    };
    let Some((table, column)) = name.split_once('.') else {
        return Err(format!("`{name}`: expected TABLE.COLUMN"));
    };
    let table = TableId::from_name(table).ok_or_else(|| {
        let hint = did_you_mean(table, TableId::ALL.iter().map(|table| table.name()));
        format!("`{table}` is no table; docs/tables.md lists them{hint}")
    })?;
    let column = table.column(column).ok_or_else(|| {
        let columns: Vec<&str> = table.columns().iter().map(|column| column.name).collect();
        let hint = did_you_mean(column, columns.iter().copied());
        format!("`{}` has no column `{column}`, but {}{hint}", table.name(), columns.join(", "))
    })?;
    let value = typed(column, value).map_err(|why| format!("`{name}`: {why}"))?;
    Ok((table, Comparison { column: column.name, operator, value }))
}

/// A value of the column's type, in the column's unit.
fn typed(column: &Column, text: &str) -> Result<ArrayRef, String> {
    let number = || -> Result<i64, String> {
        match column.kind {
            Kind::Duration => cli::duration(text)
                .map(|time| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX))
                .or_else(|why| if text == "0" { Ok(0) } else { Err(why) }),
            Kind::Bytes => text
                .parse::<ByteSize>()
                .map(|size| i64::try_from(size.as_u64()).unwrap_or(i64::MAX))
                .map_err(|_| "expected a size such as 64KiB".to_owned()),
            Kind::Time | Kind::Count | Kind::Id | Kind::Code | Kind::Address => {
                text.parse().map_err(|_| format!("expected a number, not `{text}`"))
            }
            Kind::Flag | Kind::Text(_) => unreachable!("it is stored as a number"),
        }
    };
    let too_large = |_| format!("{text} is too large");
    Ok(match column.ty {
        Type::I16 => Arc::new(Int16Array::from(vec![i16::try_from(number()?).map_err(too_large)?])),
        Type::I32 => Arc::new(Int32Array::from(vec![i32::try_from(number()?).map_err(too_large)?])),
        Type::I64 => Arc::new(Int64Array::from(vec![number()?])),
        Type::Bool => match text {
            "true" => Arc::new(BooleanArray::from(vec![true])),
            "false" => Arc::new(BooleanArray::from(vec![false])),
            other => return Err(format!("expected true or false, not `{other}`")),
        },
        Type::Text => {
            let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
            let text = inner.ok_or_else(|| format!("expected a text in quotes, not {text}"))?;
            Arc::new(StringArray::from(vec![text]))
        }
        Type::Texts | Type::I64s => return Err("lists cannot be compared".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use lookback_schemas::cell::RowBuilder as _;
    use lookback_schemas::tables::{Process, process};

    use super::*;

    fn why_not(text: &str) -> String {
        text.parse::<Trigger>().expect_err("it is wrong")
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert!(why_not("").contains("expected"), "{}", why_not(""));
        assert!(why_not("runq.wait").contains("== !="));
        assert!(why_not("wait > 5ms").contains("TABLE.COLUMN"));
        assert!(why_not("queue.wait > 5ms").contains("no table"));
        assert!(why_not("runq.waiting > 5ms").contains("wait, cgroup"));
        assert!(why_not("runq.wait > 50").contains("such as 500ms"));
        assert!(why_not("exit.comm == nginx").contains("in quotes"));
        assert!(why_not("exit.comm == \"nginx").contains("quotation mark"));
        assert!(why_not("runq.cpu > 3000000000").contains("too large"));
        assert!(why_not("runq.wait > 5ms and exit.code == 1").contains("one table"));
        assert!(why_not("runq.wait > 5ms or runq.cpu == 1").contains("twice"));
        assert!(why_not("exec.argv == \"a\"").contains("lists"));
    }

    #[test]
    fn rows_meet_conditions_or_do_not() {
        let row = |pid, uid, comm: Option<&str>| Process {
            ts: 5,
            pid,
            ppid: 1,
            uid,
            start: None,
            cgroup: None,
            comm: comm.map(str::to_owned),
            exe: None,
            argv: None,
        };
        let mut rows = process::Builder::default();
        for row in
            [row(10, Some(7), Some("a and b")), row(20, None, Some("c")), row(30, Some(9), None)]
        {
            rows.append(&row, &Default::default());
        }
        let batch = Batch { table: TableId::Process, rows: rows.finish(), more: false };
        for (text, met) in [
            ("process.pid == 10", true),
            ("process.pid==11", false),
            ("process.pid != 10", true),
            ("process.pid >= 30", true),
            ("process.pid > 30", false),
            ("process.pid <= 9", false),
            ("process.pid < 11", true),
            ("process.comm == \"a and b\"", true),
            ("process.comm == \"a and b\" and process.uid == 7", true),
            // Of two rows, one meets the one, and one the other.
            ("process.comm == \"c\" and process.uid == 7", false),
            // What is unknown is neither equal nor unequal.
            ("process.pid == 20 and process.uid != 7", false),
            ("process.pid == 30 and process.comm != \"c\"", false),
            ("fork.pid == 10", false),
        ] {
            let trigger = text.parse().unwrap_or_else(|why| panic!("{text}: {why}"));
            let hits = Triggers::new(vec![trigger]).look(&batch);
            assert_eq!(!hits.is_empty(), met, "{text}");
        }
    }
}
