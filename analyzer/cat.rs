//! The rows of any table, as they were recorded, in the order of time.

use std::ops::ControlFlow;

use anyhow::bail;
use arrow::record_batch::RecordBatch;
use clap::Args;
use lookback_schemas::lines::cells::{Cells, named};
use lookback_schemas::{Column, TableId};

use crate::cli::{Source, WordsArgs};
use crate::render::{self, Output, Value};
use crate::scope::{Scope, ScopeArgs};
use crate::timeline::{self, Selection};
use crate::window::{WindowArgs, timed};

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
    check(&args.words.window, &scope, table)?;
    let mut columns: Vec<&'static Column> = Vec::new();
    for name in &args.columns {
        columns.push(crate::cli::column(table, name)?);
    }
    if columns.is_empty() {
        columns = table.columns().iter().collect();
    }

    let mut output = source.begin(&[table])?;
    rows((source, &scope), table, columns, args.limit, &mut output)?;
    output.finish()
}

/// Makes sure that the rows of the table can be told to be wanted or not.
///
/// # Errors
/// Names the filter that does not apply.
pub(crate) fn check(window: &WindowArgs, scope: &Scope, table: TableId) -> anyhow::Result<()> {
    scope.check(table)?;
    if !timed(table) && (window.since.is_some() || window.until.is_some()) {
        bail!("--since and --until do not apply: table `{}` has no times", table.name());
    }
    Ok(())
}

/// Writes the rows of the table in the order of time, the first `limit` of them if there is one.
///
/// # Errors
/// If the table is damaged, or the output cannot be written.
pub(crate) fn rows(
    (source, scope): (&Source, &Scope),
    table: TableId,
    mut columns: Vec<&'static Column>,
    limit: Option<u64>,
    output: &mut Output,
) -> anyhow::Result<()> {
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
        true => output.first_events(shown, limit),
        false => output.rows(shown),
    };
    let mut limit = limit.unwrap_or(u64::MAX);
    let selection = Selection {
        table,
        window: source.window.range.clone(),
        scope,
        columns: Some(columns.iter().map(|column| column.name).collect()),
        ahead: false,
    };
    if limit > 0 {
        let cells = |batch: RecordBatch| -> Result<Vec<Cells>, String> {
            columns.iter().map(|column| Cells::of(&batch, column)).collect()
        };
        timeline::for_each(&source.recording, &selection, cells, |cells, row| {
            let values: Vec<Value> = std::iter::zip(&columns, cells)
                .map(|(column, cells)| named(table, column, cells.value(column.kind, row)))
                .collect();
            rows.row(&values)?;
            limit -= 1;
            Ok(if limit == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
    }
    rows.end()
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
