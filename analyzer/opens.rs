//! Opened files: who opened what, and what could not be opened.
//!
//! The columns are those of bcc's opensnoop. FD is the new descriptor or -1, ERR the error or 0; the
//! data formats have both in the one number that the call returned.

use arrow::array::Array as _;
use clap::Args;
use lookback_schemas::TableId;
use lookback_schemas::tables::{Open, open};

use crate::cli::{Source, SourceArgs};
use crate::codes;
use crate::files::{By, Path, PathArgs, Sums};
use crate::hosts::by::{Grouping, host_or_one};
use crate::processes::known;
use crate::render::{Column, Output, Value};
use crate::scope::{Scope, ScopeArgs};
use crate::tally::{Calls, Groups, Key, Named, Selection, ThreadsArgs, add_name, projection};
use crate::timeline;
use crate::window::MinArgs;

/// Shown below the help.
pub const EXAMPLE: &str = "Examples:\n  analyze opens web1.lookback --failed --full\n  \
                           analyze opens web1.lookback --path /etc/ --by process\n  \
                           analyze opens web1.lookback --comm nginx --by path";

/// Options of `analyze opens`.
#[derive(Args, Debug)]
pub struct OpensArgs {
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
    /// Only what could not be opened
    #[arg(short = 'x', long)]
    pub failed: bool,
    /// Also show the flags and the permissions that were asked for, in octal
    #[arg(short, long, conflicts_with = "by")]
    pub extended: bool,
    /// Sum up instead of listing
    #[arg(long, value_parser = host_or_one::<By>())]
    pub by: Option<Grouping<By>>,
    /// How many threads read, to sum up.
    #[command(flatten)]
    pub threads: ThreadsArgs,
}

projection! {
    /// What is added up.
    struct Rows of Open {
        ts: i64,
        duration: i64,
        result: i32,
        path: Option<String>,
        dir: Option<String>,
        pid: i32,
        tid: i32,
        comm: Option<String>,
    }
}

impl OpensArgs {
    /// What to sum up by, beside the host.
    fn by(&self) -> Option<By> {
        Grouping::one(self.by.as_ref())
    }

    fn admits(&self, result: i32, duration: i64, path: Path<'_>) -> bool {
        (!self.failed || result < 0) && self.min.admits(duration) && self.paths.admits(&[path])
    }
}

/// Prints the report.
///
/// # Errors
/// If the table is damaged, or the output cannot be written.
pub fn run(args: &OpensArgs, source: &Source) -> anyhow::Result<()> {
    let scope = source.scope(&args.scope)?;
    scope.check(TableId::Open)?;
    let mut output = source.begin(&[TableId::Open])?;
    match args.by() {
        None => list(args, source, &scope, &mut output)?,
        Some(by) => sums(args, by, source, &scope)?.print(source, &mut output)?,
    }
    output.finish()
}

fn path_of(rows: &open::Columns, row: usize) -> Path<'_> {
    Path { given: known!(rows.path, row), dir: known!(rows.dir, row) }
}

/// bcc's opensnoop.
fn list(
    args: &OpensArgs,
    source: &Source,
    scope: &Scope,
    output: &mut Output,
) -> anyhow::Result<()> {
    let extended = |column: Column| if args.extended { column } else { column.in_data() };
    let mut out = output.events(vec![
        Column::new("ts", "TIME").wide(12),
        Column::new("pid", "PID").wide(7),
        Column::new("comm", "COMM").wide(16),
        Column::table("FD").right().wide(3),
        Column::table("ERR").wide(6),
        extended(Column::new("flags", "FLAGS").wide(8)),
        extended(Column::new("mode", "MODE").wide(4)),
        Column::table("PATH"),
        Column::data("result"),
        Column::data("path"),
        Column::data("dir"),
        Column::data("duration"),
        Column::data("tid"),
        Column::data("uid"),
    ]);
    timeline::rows::<Open>(&source.recording, &source.window.range, scope, |rows, row| {
        let (result, duration) = (rows.result.value(row), rows.duration.value(row));
        let path = path_of(rows, row);
        if !args.admits(result, duration, path) {
            return Ok(());
        }
        let mode = known!(rows.mode, row);
        out.row(&[
            Value::Clock(rows.ts.value(row)),
            Value::Int(i64::from(rows.pid.value(row))),
            Value::text(known!(rows.comm, row)),
            Value::Int(i64::from(result.max(-1))),
            Value::Text(codes::error_of(result)),
            octal(rows.flags.value(row), 8),
            mode.map_or(Value::Null, |mode| octal(mode, 4)),
            Value::text(args.paths.show(path).as_deref()),
            Value::Int(i64::from(result)),
            Value::text(path.given),
            Value::text(path.dir),
            Value::Duration(duration),
            Value::Int(i64::from(rows.tid.value(row))),
            Value::Int(i64::from(rows.uid.value(row))),
        ])
    })?;
    out.end()
}

/// The bits as opensnoop prints them.
fn octal(bits: i32, width: usize) -> Value {
    Value::Named(i64::from(bits), format!("{bits:0width$o}").into())
}

fn sums(args: &OpensArgs, by: By, source: &Source, scope: &Scope) -> anyhow::Result<Sums> {
    let chosen = |rows: &Rows, row: usize| -> Option<(i64, bool)> {
        let (result, duration) = (rows.result.value(row), rows.duration.value(row));
        args.admits(result, duration, rows.path_of(row)).then_some((duration, result < 0))
    };
    let select = |without| Selection { source, scope, threads: args.threads, without };
    Ok(match by {
        By::Process => {
            let paths: &[&str] = if args.paths.path.is_some() { &[] } else { &["path", "dir"] };
            let add = |sums: &mut Groups<i32, Named<Calls>>, rows: &Rows, row: usize| {
                if let Some((duration, failed)) = chosen(rows, row) {
                    let calls = sums.of(rows.pid.value(row));
                    add_name!(calls.name, rows, row);
                    calls.sum.add(duration, failed);
                }
            };
            Sums::Process(select(paths).sum(add)?)
        }
        By::Path => {
            let add = |sums: &mut Groups<Key, Calls>, rows: &Rows, row: usize| {
                if let Some((duration, failed)) = chosen(rows, row) {
                    let path = args.paths.show(rows.path_of(row));
                    let key = path.map_or(Key::None, |path| Key::Text(path.into_owned()));
                    sums.of(key).add(duration, failed);
                }
            };
            Sums::Path(select(&["comm"]).sum(add)?)
        }
    })
}

impl Rows {
    fn path_of(&self, row: usize) -> Path<'_> {
        Path { given: known!(self.path, row), dir: known!(self.dir, row) }
    }
}

#[cfg(test)]
mod tests {
    use crate::made::{Made, analyze, lines};

    fn opens() -> Made {
        let made = Made::new();
        made.rows(&[
            made.opened(1.0, 10, Some("/etc/passwd"), None, Ok(3)),
            made.opened(2.0, 10, Some("missing"), Some("data\0srv\0"), Err(2)),
        ]);
        made.rows(&[
            made.opened(3.0, 11, None, None, Err(14)),
            made.opened(1.5, 11, Some("/etc/passwd"), None, Ok(4)),
        ]);
        made.end(5.0);
        made
    }

    #[test]
    fn opens_are_opensnoops() {
        assert_eq!(
            lines(&opens(), &["opens"])[1..],
            [
                "TIME PID COMM FD ERR PATH",
                "10:15:01.000 10 opener 3 0 /etc/passwd",
                "10:15:01.500 11 opener 4 0 /etc/passwd",
                "10:15:02.000 10 opener -1 ENOENT missing",
                "10:15:03.000 11 opener -1 EFAULT -",
            ]
        );
        assert_eq!(
            lines(&opens(), &["opens", "-x", "-e", "--full", "--pid", "10"])[1..],
            [
                "TIME PID COMM FD ERR FLAGS MODE PATH",
                "10:15:02.000 10 opener -1 ENOENT 00000101 0644 /srv/data/missing",
            ]
        );
    }

    #[test]
    fn opens_are_chosen() {
        let count = |args: &[&str]| lines(&opens(), &[&["opens"], args].concat()).len() - 2;
        assert_eq!(count(&["--path", "/srv/data"]), 1);
        assert_eq!(count(&["--path", "passwd", "--since", "1.2s"]), 1);
        assert_eq!(count(&["--min", "2us"]), 0);
        assert_eq!(count(&["--min", "1us"]), 4);
    }

    #[test]
    fn opens_are_summed_up() {
        assert_eq!(
            lines(&opens(), &["opens", "--by", "process"])[1..],
            ["PID COMM COUNT FAILED TIME", "10 opener 2 1 3.0µs", "11 opener 2 1 3.0µs"]
        );
        assert_eq!(
            lines(&opens(), &["opens", "--by", "path", "--full"])[1..],
            [
                "COUNT FAILED TIME PATH",
                "2 0 3.0µs /etc/passwd",
                "1 1 1.5µs -",
                "1 1 1.5µs /srv/data/missing",
            ]
        );
    }

    #[test]
    fn data_has_every_column() {
        let text = analyze(&opens(), &["opens", "--format", "json"]).expect("it is whole");
        let json: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!(
            json[2],
            serde_json::json!({
                "ts": crate::made::at(2.0), "pid": 10, "comm": "opener", "flags": 65,
                "mode": 420, "result": -2, "path": "missing", "dir": "/srv/data",
                "duration": 1500, "tid": 10, "uid": 1000,
            })
        );
        assert_eq!(json[3]["path"], serde_json::Value::Null);
    }
}
