//! Lines that people gave to a shell: bcc's bashreadline, with who and when.

use arrow::array::Array as _;
use clap::Args;
use lookback_schemas::TableId;
use lookback_schemas::tables::Readline;

use crate::cli::{Source, SourceArgs};
use crate::losses::{late, unrecorded};
use crate::processes::known;
use crate::render::{Column, Value};
use crate::scope::ScopeArgs;
use crate::timeline;

/// Shown below the help.
pub const EXAMPLE: &str = "Examples:\n  analyze commands web1.lookback --uid 0\n  \
                           analyze commands web1.lookback --grep 'rm -' --since 10:00:00\n\n\
                           Recorded by `record --trace readline`.";

/// Options of `analyze commands`.
#[derive(Args, Debug)]
pub struct CommandsArgs {
    /// The recording, and the part of it.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Which processes.
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// Only lines in which this text occurs
    #[arg(long, value_name = "TEXT", help_heading = "Filters")]
    pub grep: Option<String>,
}

/// The tracer that writes the table.
const TRACER: &str = "readline";

/// What a table shows behind a line that was longer than what was kept of it.
const CUT: &str = " … [cut]";

/// Prints the report.
///
/// # Errors
/// If the table is damaged, or the output cannot be written.
pub fn run(args: &CommandsArgs, source: &Source) -> anyhow::Result<()> {
    let scope = source.scope(&args.scope)?;
    scope.check(TableId::Readline)?;
    let mut output = source.begin(&[TableId::Readline])?;
    let how = ("lines that were typed", "--trace readline");
    let unknown = unrecorded(&source.recording, TableId::Readline, how)?;
    let late = late(&source.recording, TRACER);
    output.notes(&unknown.into_iter().chain(late).collect::<Vec<_>>())?;
    let mut out = output.events(vec![
        Column::new("ts", "TIME").wide(12),
        Column::new("pid", "PID").wide(7),
        Column::new("uid", "UID").wide(5),
        Column::new("comm", "COMM").wide(8),
        Column::table("COMMAND"),
        Column::data("line"),
        Column::data("cut"),
    ]);
    let range = &source.window.range;
    timeline::rows::<Readline>(&source.recording, range, &scope, |rows, row| {
        let (line, cut) = (known!(rows.line, row), rows.cut.value(row));
        if args.grep.as_ref().is_some_and(|text| !line.unwrap_or_default().contains(text.as_str()))
        {
            return Ok(());
        }
        let shown = line.map(|line| if cut { format!("{line}{CUT}") } else { line.to_owned() });
        // A uid is an unsigned number whose bits the table keeps in a signed one.
        let uid = rows.uid.value(row).cast_unsigned();
        out.row(&[
            Value::Clock(rows.ts.value(row)),
            Value::Int(i64::from(rows.pid.value(row))),
            Value::Int(i64::from(uid)),
            Value::text(known!(rows.comm, row)),
            shown.map_or(Value::Null, Value::Text),
            Value::text(line),
            Value::Flag(cut),
        ])
    })?;
    out.end()?;
    output.finish()
}

#[cfg(test)]
mod tests {
    use crate::made::{Made, analyze, lines};

    fn typed() -> Made {
        let made = Made::new();
        made.trace("readline", &["readline"], Vec::new());
        made.rows(&[
            made.readline(2.0, 11, Some("echo é\x1b[31m"), true),
            made.readline(1.0, 10, Some("rm -r /tmp/a, b"), false),
            made.readline(3.0, 10, None, false),
        ]);
        made.end(5.0);
        made
    }

    #[test]
    fn lines_are_bashreadlines() {
        assert_eq!(
            lines(&typed(), &["commands"])[1..],
            [
                "TIME PID UID COMM COMMAND",
                "10:15:01.000 10 1000 bash rm -r /tmp/a, b",
                "10:15:02.000 11 1000 bash echo é\\x1b[31m … [cut]",
                "10:15:03.000 10 1000 bash -",
            ]
        );
        let args = ["commands", "--format", "csv", "--pid", "10", "--grep", "rm"];
        assert_eq!(
            analyze(&typed(), &args).expect("it is whole"),
            "ts,pid,uid,comm,line,cut\n\
             1795342501000000000,10,1000,bash,\"rm -r /tmp/a, b\",false\n"
        );
        let of_root = lines(&typed(), &["commands", "--uid", "0"]);
        assert_eq!(of_root.len(), 2, "{of_root:?}");
    }

    #[test]
    fn a_recording_without_lines_says_so() {
        let made = Made::new();
        made.end(1.0);
        let said = &lines(&made, &["commands"])[1];
        assert!(said.contains("that takes `record --trace readline`"), "{said}");
    }
}
