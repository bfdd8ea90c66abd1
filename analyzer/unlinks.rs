//! Names that left a directory: files unlinked, directories removed, and both renamed.
//!
//! It answers who deleted a file. A rename is there because it also takes the old name away, and
//! because it may delete what had the new one.

use arrow::array::Array as _;
use clap::{Args, ValueEnum};
use lookback_schemas::TableId;
use lookback_schemas::tables::{Unlink, unlink};

use crate::cli::{Source, SourceArgs};
use crate::codes;
use crate::files::{Path, PathArgs, Sums};
use crate::hosts::by::{Grouping, host_or_one};
use crate::processes::known;
use crate::render::{Column, Output, Value};
use crate::scope::{Scope, ScopeArgs};
use crate::tally::{Calls, Groups, Named, Selection, ThreadsArgs, add_name, projection};
use crate::timeline;
use crate::window::MinArgs;

/// Shown below the help.
pub const EXAMPLE: &str = "Examples:\n  analyze unlinks web1.lookback --path /var/lib/ --full\n  \
                           analyze unlinks web1.lookback --failed\n  \
                           analyze unlinks web1.lookback --by process";

/// Options of `analyze unlinks`.
#[derive(Args, Debug)]
pub struct UnlinksArgs {
    /// The recording, and the part of it.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Which processes.
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// Which durations.
    #[command(flatten)]
    pub min: MinArgs,
    /// Which paths.
    #[command(flatten)]
    pub paths: PathArgs,
    /// Only calls that failed
    #[arg(short = 'x', long)]
    pub failed: bool,
    /// Sum up instead of listing
    #[arg(long, value_parser = host_or_one::<By>())]
    pub by: Option<Grouping<By>>,
    /// How many threads read, to sum up.
    #[command(flatten)]
    pub threads: ThreadsArgs,
}

/// What to sum up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// By process.
    Process,
}

projection! {
    /// What is added up.
    struct Rows of Unlink {
        ts: i64,
        duration: i64,
        result: i32,
        path: Option<String>,
        dir: Option<String>,
        new_path: Option<String>,
        new_dir: Option<String>,
        pid: i32,
        tid: i32,
        comm: Option<String>,
    }
}

/// The old and the new path of a row.
macro_rules! paths {
    ($rows:expr, $row:expr) => {
        [
            Path { given: known!($rows.path, $row), dir: known!($rows.dir, $row) },
            Path { given: known!($rows.new_path, $row), dir: known!($rows.new_dir, $row) },
        ]
    };
}

impl UnlinksArgs {
    /// What to sum up by, beside the host.
    fn by(&self) -> Option<By> {
        Grouping::one(self.by.as_ref())
    }

    fn admits(&self, result: i32, duration: i64, paths: &[Path<'_>]) -> bool {
        (!self.failed || result < 0) && self.min.admits(duration) && self.paths.admits(paths)
    }
}

/// Prints the report.
///
/// # Errors
/// If the table is damaged, or the output cannot be written.
pub fn run(args: &UnlinksArgs, source: &Source) -> anyhow::Result<()> {
    let scope = source.scope(&args.scope)?;
    scope.check(TableId::Unlink)?;
    let mut output = source.begin(&[TableId::Unlink])?;
    match args.by() {
        None => list(args, source, &scope, &mut output)?,
        Some(By::Process) => by_process(args, source, &scope)?.print(source, &mut output)?,
    }
    output.finish()
}

fn list(
    args: &UnlinksArgs,
    source: &Source,
    scope: &Scope,
    output: &mut Output,
) -> anyhow::Result<()> {
    let mut out = output.events(vec![
        Column::new("ts", "TIME").wide(12),
        Column::new("pid", "PID").wide(7),
        Column::new("comm", "COMM").wide(16),
        Column::table("CALL").wide(6),
        Column::data("call"),
        Column::new("result", "RESULT").wide(7),
        Column::table("PATH"),
        Column::data("flags"),
        Column::data("path"),
        Column::data("dir"),
        Column::data("new_path"),
        Column::data("new_dir"),
        Column::data("duration"),
        Column::data("tid"),
        Column::data("uid"),
    ]);
    timeline::rows::<Unlink>(&source.recording, &source.window.range, scope, |rows, row| {
        let (result, duration) = (rows.result.value(row), rows.duration.value(row));
        let [path, new] = paths!(rows, row);
        if !args.admits(result, duration, &[path, new]) {
            return Ok(());
        }
        let call = rows.call.value(row);
        out.row(&[
            Value::Clock(rows.ts.value(row)),
            Value::Int(i64::from(rows.pid.value(row))),
            Value::text(known!(rows.comm, row)),
            Value::Text(codes::unlink_call(call).into_owned()),
            Value::Int(i64::from(call)),
            Value::Named(i64::from(result), codes::call_result(result)),
            Value::text(shown(args, rows, row).as_deref()),
            Value::Int(i64::from(rows.flags.value(row))),
            Value::text(path.given),
            Value::text(path.dir),
            Value::text(new.given),
            Value::text(new.dir),
            Value::Duration(duration),
            Value::Int(i64::from(rows.tid.value(row))),
            Value::Int(i64::from(rows.uid.value(row))),
        ])
    })?;
    out.end()
}

/// The call's number for a rename, in the table `unlink`.
const RENAMED: i32 = 2;

/// The path, or `old -> new`.
fn shown(args: &UnlinksArgs, rows: &unlink::Columns, row: usize) -> Option<String> {
    let [path, new] = paths!(rows, row).map(|path| args.paths.show(path));
    if rows.call.value(row) != RENAMED {
        return path.map(std::borrow::Cow::into_owned);
    }
    let [path, new] = [path, new].map(|path| path.unwrap_or("?".into()));
    Some(format!("{path} -> {new}"))
}

fn by_process(args: &UnlinksArgs, source: &Source, scope: &Scope) -> anyhow::Result<Sums> {
    let without: &[&str] = match args.paths.path {
        Some(_) => &[],
        None => &["path", "dir", "new_path", "new_dir"],
    };
    let selection = Selection { source, scope, threads: args.threads, without };
    let sums = selection.sum(|sums: &mut Groups<i32, Named<Calls>>, rows: &Rows, row| {
        let (result, duration) = (rows.result.value(row), rows.duration.value(row));
        if args.admits(result, duration, &paths!(rows, row)) {
            let calls = sums.of(rows.pid.value(row));
            add_name!(calls.name, rows, row);
            calls.sum.add(duration, result < 0);
        }
    })?;
    Ok(Sums::Process(sums))
}

#[cfg(test)]
mod tests {
    use crate::made::{Made, analyze, lines};

    fn unlinks() -> Made {
        let made = Made::new();
        made.rows(&[
            made.unlink(1.0, 10, 0, "/tmp/a", None, 0),
            made.unlink(2.0, 10, 1, "empty", None, -39),
            made.unlink(3.0, 11, 2, "old", Some("/tmp/new"), 0),
            made.unlink(4.0, 11, 9, "x", None, 0),
        ]);
        made.end(5.0);
        made
    }

    #[test]
    fn unlinks_are_listed() {
        assert_eq!(
            lines(&unlinks(), &["unlinks"])[1..],
            [
                "TIME PID COMM CALL RESULT PATH",
                "10:15:01.000 10 unlinker unlink 0 /tmp/a",
                "10:15:02.000 10 unlinker rmdir -ENOTEMPTY empty",
                "10:15:03.000 11 unlinker rename 0 old -> /tmp/new",
                "10:15:04.000 11 unlinker 9 0 x",
            ]
        );
        assert_eq!(
            lines(&unlinks(), &["unlinks", "--full", "--failed"])[2..],
            ["10:15:02.000 10 unlinker rmdir -ENOTEMPTY /srv/data/empty"]
        );
        assert_eq!(
            lines(&unlinks(), &["unlinks", "--path", "/tmp/new", "--full"])[2..],
            ["10:15:03.000 11 unlinker rename 0 /srv/data/old -> /tmp/new"]
        );
    }

    #[test]
    fn unlinks_are_summed_up_by_process() {
        assert_eq!(
            lines(&unlinks(), &["unlinks", "--by", "process"])[1..],
            ["PID COMM COUNT FAILED TIME", "10 unlinker 2 1 3.0µs", "11 unlinker 2 0 3.0µs"]
        );
        let csv = analyze(&unlinks(), &["unlinks", "--pid", "11", "--format", "csv"]);
        let csv = csv.expect("it is whole");
        assert!(csv.lines().nth(1).is_some_and(|line| line.contains(",old,/srv/data,/tmp/new,,")));
    }
}
