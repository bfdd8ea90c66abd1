//! The rows of any table, as they were recorded, in the order of time.

use std::ops::ControlFlow;

use anyhow::bail;
use arrow::array::{
    Array as _, AsArray as _, BooleanArray, Int16Array, Int32Array, Int64Array, ListArray,
    StringArray,
};
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use clap::Args;
use lookback_schemas::wire::{Loc, Words};
use lookback_schemas::{Column, Kind, TableId, Type, cell};

use crate::cli::{Source, WordsArgs};
use crate::codes;
use crate::processes::known;
use crate::render::{self, Value};
use crate::scope::ScopeArgs;
use crate::timeline::{self, Selection};
use crate::window::timed;

/// Shown below the help.
pub const EXAMPLE: &str = "Examples:\n  analyze cat web1.lookback exec --columns ts,pid,argv\n  \
                           analyze cat web1.lookback web2.lookback exec --limit 100\n  \
                           analyze cat web1.lookback sample --since 5s --limit 100 --format csv";

/// Options of `analyze cat`.
#[derive(Args, Debug)]
pub struct CatArgs {
    /// The recordings, the table.
    #[command(flatten)]
    pub words: WordsArgs<1>,
    /// Only these columns, in this order
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    pub columns: Vec<String>,
    /// Only the first rows
    #[arg(long, value_name = "ROWS")]
    pub limit: Option<u64>,
    /// Which processes.
    #[command(flatten)]
    pub scope: ScopeArgs,
}

/// Prints the report.
///
/// # Errors
/// If the table lacks a column that was asked for or is damaged, or the output cannot be written.
pub fn run(args: &CatArgs, source: &Source) -> anyhow::Result<()> {
    let (table, _) = args.words.table()?;
    let scope = source.scope(&args.scope)?;
    scope.check(table)?;
    if !timed(table) && (args.words.window.since.is_some() || args.words.window.until.is_some()) {
        bail!("--since and --until do not apply: table `{}` has no times", table.name());
    }
    let mut columns: Vec<&'static Column> = Vec::new();
    for name in &args.columns {
        columns.push(crate::cli::column(table, name)?);
    }
    if columns.is_empty() {
        columns = table.columns().iter().collect();
    }

    let mut output = source.begin(&[table])?;
    let mut shown: Vec<render::Column> =
        columns.iter().copied().map(render::Column::recorded).collect();
    // Recordings go together by it.
    if let Some(ts) = table.column("ts")
        && columns.iter().all(|column| column.name != ts.name)
    {
        columns.push(ts);
        shown.push(render::Column::recorded(ts).hidden());
    }
    let mut rows = match timed(table) {
        true => output.first_events(shown, args.limit),
        false => output.rows(shown),
    };
    let selection = Selection {
        table,
        window: source.window.range.clone(),
        scope: &scope,
        columns: Some(columns.iter().map(|column| column.name).collect()),
        ahead: false,
    };
    let mut left = args.limit.unwrap_or(u64::MAX);
    if left > 0 {
        let cells = |batch: RecordBatch| -> Result<Vec<Cells>, String> {
            columns.iter().map(|column| Cells::of(&batch, column)).collect()
        };
        timeline::for_each(&source.recording, &selection, cells, |cells, row| {
            let values: Vec<Value> = std::iter::zip(&columns, cells)
                .map(|(column, cells)| named(table, column, cells.value(column.kind, row)))
                .collect();
            rows.row(&values)?;
            left -= 1;
            Ok(if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
    }
    rows.end()?;
    output.finish()
}

/// The value, with its name if it is a code that has one.
fn named(table: TableId, column: &Column, value: Value) -> Value {
    let name = codes::names_of(table, column.name);
    match (name, &value) {
        (Some(name), Value::Int(code)) => match i32::try_from(*code) {
            Ok(small) => Value::Named(*code, name(small)),
            Err(_) => value,
        },
        (Some(_) | None, _) => value,
    }
}

/// The cells of one column in a batch.
pub(crate) enum Cells {
    I16(Int16Array),
    I32(Int32Array),
    I64(Int64Array),
    Bool(BooleanArray),
    Text(StringArray),
    Texts(ListArray),
    I64s(ListArray),
}

impl Cells {
    /// The column of the batch.
    ///
    /// # Errors
    /// If the batch lacks it or has another type there.
    pub(crate) fn of(batch: &RecordBatch, column: &Column) -> Result<Cells, String> {
        let name = column.name;
        Ok(match (column.ty, column.nullable) {
            (Type::I16, false) => Cells::I16(cell::column::<i16>(batch, name)?),
            (Type::I16, true) => Cells::I16(cell::column::<Option<i16>>(batch, name)?),
            (Type::I32, false) => Cells::I32(cell::column::<i32>(batch, name)?),
            (Type::I32, true) => Cells::I32(cell::column::<Option<i32>>(batch, name)?),
            (Type::I64, false) => Cells::I64(cell::column::<i64>(batch, name)?),
            (Type::I64, true) => Cells::I64(cell::column::<Option<i64>>(batch, name)?),
            (Type::Bool, _) => Cells::Bool(cell::column::<Option<bool>>(batch, name)?),
            (Type::Text, false) => Cells::Text(cell::column::<String>(batch, name)?),
            (Type::Text, true) => Cells::Text(cell::column::<Option<String>>(batch, name)?),
            (Type::Texts, _) => Cells::Texts(cell::column::<Option<Vec<String>>>(batch, name)?),
            (Type::I64s, false) => Cells::I64s(cell::column::<Vec<i64>>(batch, name)?),
            (Type::I64s, true) => Cells::I64s(cell::column::<Loc<Words>>(batch, name)?),
        })
    }

    /// The number in the row; `None` if it is unknown, or the column does not hold numbers.
    pub(crate) fn number(&self, row: usize) -> Option<i64> {
        match self {
            Cells::I16(cells) => known!(cells, row).map(i64::from),
            Cells::I32(cells) => known!(cells, row).map(i64::from),
            Cells::I64(cells) => known!(cells, row),
            Cells::Bool(_) | Cells::Text(_) | Cells::Texts(_) | Cells::I64s(_) => None,
        }
    }

    /// The value in the row, of a column of this kind.
    pub(crate) fn value(&self, kind: Kind, row: usize) -> Value {
        match self {
            Cells::I16(_) | Cells::I32(_) | Cells::I64(_) => {
                let Some(number) = self.number(row) else { return Value::Null };
                match kind {
                    Kind::Time => Value::Time(number),
                    Kind::Duration => Value::Duration(number),
                    Kind::Bytes => Value::Bytes(number),
                    Kind::Address => Value::Hex(number),
                    Kind::Count | Kind::Id | Kind::Code | Kind::Flag | Kind::Text(_) => {
                        Value::Int(number)
                    }
                }
            }
            Cells::Bool(cells) => known!(cells, row).map_or(Value::Null, Value::Flag),
            Cells::Text(cells) => Value::text(known!(cells, row)),
            Cells::Texts(cells) => {
                crate::lifetimes::texts(cells, row).map_or(Value::Null, Value::Texts)
            }
            Cells::I64s(cells) => numbers(cells, row).map_or(Value::Null, Value::Ints),
        }
    }
}

/// The numbers of a list column's cell; `None` if they are unknown.
pub(crate) fn numbers(column: &ListArray, row: usize) -> Option<Vec<i64>> {
    let numbers = column.is_valid(row).then(|| column.value(row))?;
    Some(numbers.as_primitive_opt::<Int64Type>()?.values().to_vec())
}

#[cfg(test)]
mod tests {
    use crate::made::{Collection, Heap, Hit, Made, Mapping, Stretch, analyze, lines};

    #[test]
    fn every_table_prints_in_every_format() {
        let made = Made::new();
        made.rows(&[
            made.exec(1.0, 10, 1, &["/bin/a", "x y"]),
            made.fork(0.5, 10, 1),
            made.exit(2.0, 10, 1, 0.5, Ok(0)),
            made.process(0.1, 1, 0, -5.0, &["/sbin/init"]),
            made.cgroup(0.1, 5, "/"),
            made.signal(1.0, None, 2, 3, 4),
            made.kill(1.0, 10, -1, 15, -1),
            made.sample(1.0, 10, "a", Some(-3), None),
            made.stack(-3, &[1, 2], false),
            made.frame(1, false, None, Some(-1)),
            made.symbol(1, 0, "f"),
            made.clock(0.0),
            made.loss("x", "y", 1, 0.0, 1.0),
            made.syscall(1.0, 10, 1, Some(2)),
            made.alloc(Heap::malloc(1.0, 10, 0x1000, 8, 1)),
            made.vm(Mapping::munmap(1.0, 10, 0x1000, 4096)),
            made.opened(1.0, 10, None, None, Ok(3)),
            made.unlink(1.0, 10, 0, "a", None, 0),
            made.runq(1.0, 10, 10, 5, 0, 0),
            made.hardirq(1.0, "eth0", 0, 0, 5),
            made.softirq(1.0, 1, 0, 0, 5),
            made.tcpconnect(1.0, 10, 80, None),
            made.tcpstate(1.0, 1, (1, 7), None),
            made.tcprtt(1.0, None, "::1", 5, 1),
            made.lsmconnect(1.0, 10, None, 0),
            made.gc(Collection::hotspot(1.0, 10, 5)),
            made.readline(1.0, 10, Some("ls"), false),
            made.hit(Hit { seconds: 1.0, name: "start", pid: 10, ..Hit::default() }),
            made.span(Stretch::new(1.0, 10, "request", 5)),
        ]);
        for (table, _) in made.manifest().totals {
            for format in ["table", "json", "csv"] {
                let text = analyze(&made, &["cat", &table, "--format", format]);
                let text = text.expect("it is whole");
                assert!(text.lines().count() >= 2, "{table}: {text}");
            }
        }
        let json = analyze(&made, &["cat", "exec", "--format", "json"]).expect("it is whole");
        let json: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
        assert_eq!(json[0]["argv"], serde_json::json!(["/bin/a", "x y"]));
        assert_eq!(json[0]["cgroup"], serde_json::Value::Null);
        let syscall = analyze(&made, &["cat", "syscall", "--format", "csv"]);
        let syscall = syscall.expect("it is whole");
        assert!(syscall.contains(",caller,,false"), "unknown arguments are no list: {syscall}");
        let gc = lines(&made, &["cat", "gc", "--columns", "part,runtime,full"]);
        assert_eq!(gc[2], "collection hotspot no");
        let frames = analyze(&made, &["cat", "frame"]).expect("it is whole");
        assert!(frames.contains("0x1001") && frames.contains("0xffffffffffffffff"), "{frames}");
    }

    #[test]
    fn columns_rows_and_processes_are_chosen() {
        let made = Made::new();
        made.rows(&[made.fork(2.0, 11, 10), made.fork(1.0, 10, 1), made.fork(3.0, 12, 1)]);
        let cat = |args: &[&str]| {
            analyze(&made, &[&["cat", "fork", "--format", "csv"], args].concat())
                .unwrap_or_else(|error| error.to_string())
        };
        assert_eq!(cat(&["--columns", "pid,ppid", "--limit", "2"]), "pid,ppid\n10,1\n11,10\n");
        assert_eq!(cat(&["--columns", "pid", "--pid", "10", "--follow"]), "pid\n10\n11\n");
        assert_eq!(cat(&["--columns", "pid", "--since", "2s", "--until", "3s"]), "pid\n11\n");
        assert_eq!(cat(&["--columns", "pid", "--comm", "nobody"]), "pid\n");
        assert_eq!(cat(&["--limit", "0", "--columns", "pid"]), "pid\n");
        assert!(cat(&["--columns", "nonsense"]).contains("its columns are ts, pid"));
        let stack = analyze(&made, &["cat", "stack", "--comm", "x"]).expect_err("no such column");
        assert!(stack.to_string().contains("no column `comm`"));
        assert!(analyze(&made, &["cat", "frame", "--since", "1s"]).is_err());
    }
}
