//! Signals: who sent which to whom, and what became of them.
//!
//! There are two ways to see a signal. The table `signal` has each one that the kernel generated,
//! whoever caused it (a call, a fault, a timer, a child's end), with what became of it. The table
//! `kill` has the calls of `kill`, `tkill` and `tgkill` with what they returned, also those that
//! failed and generated nothing. bcc's sigsnoop shows either in the same columns.

use anyhow::Context as _;
use arrow::array::Array as _;
use clap::Args;
use lookback_schemas::TableId;
use lookback_schemas::tables::{Kill, Signal};

use crate::cli::{Source, SourceArgs};
use crate::codes;
use crate::lifetimes::{Detail, Lifetimes};
use crate::processes::known;
use crate::render::{Column, Output, Value};
use crate::scope::{Scope, ScopeArgs};
use crate::timeline;

/// Shown below the help.
pub const EXAMPLE: &str = "Examples:\n  analyze signals web1.lookback --signal KILL --name\n  \
                           analyze signals web1.lookback --kill --failed\n\nThe process filters \
                           choose signals whose sender or target they fit.";

/// Options of `analyze signals`.
#[derive(Args, Debug)]
pub struct SignalsArgs {
    /// The recording, and the part of it.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Which processes.
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// The calls of kill, tkill and tgkill with their results, instead of the signals generated
    #[arg(long)]
    pub kill: bool,
    /// Only calls that failed; of signals those that were not delivered
    #[arg(long)]
    pub failed: bool,
    /// Only this signal, by number or name; can be given again
    #[arg(long, value_name = "SIGNAL", value_parser = signal)]
    pub signal: Vec<i32>,
    /// Show signals (and what became of them) by name
    #[arg(long)]
    pub name: bool,
}

fn signal(text: &str) -> Result<i32, String> {
    codes::signal_number(text).ok_or_else(|| "there is no such signal".to_owned())
}

/// Prints the report.
///
/// # Errors
/// If a table is damaged, or the output cannot be written.
pub fn run(args: &SignalsArgs, source: &Source) -> anyhow::Result<()> {
    let scope = source.scope(&args.scope)?;
    let table = if args.kill { TableId::Kill } else { TableId::Signal };
    scope.check(table)?;
    let mut output = source.begin(&[table])?;
    if args.kill {
        calls(args, source, &scope, &mut output)?;
    } else {
        generated(args, source, &scope, &mut output)?;
    }
    output.finish()
}

fn signal_value(number: i32, by_name: bool) -> Value {
    let name = codes::signal(number);
    match by_name && name.parse::<i32>().is_err() {
        true => Value::Named(i64::from(number), format!("SIG{name}").into()),
        false => Value::Int(i64::from(number)),
    }
}

fn generated(
    args: &SignalsArgs,
    source: &Source,
    scope: &Scope,
    output: &mut Output,
) -> anyhow::Result<()> {
    let mut out = output.events(vec![
        Column::new("ts", "TIME").wide(12),
        Column::new("pid", "PID").wide(7),
        Column::new("comm", "COMM").wide(16),
        Column::new("sig", "SIG").wide(9),
        Column::new("target_pid", "TPID").wide(7),
        Column::new("target_comm", "TCOMM").wide(16),
        Column::new("result", "RESULT").wide(6),
        Column::data("tid"),
        Column::data("uid"),
        Column::data("code"),
        Column::data("target_tid"),
        Column::data("target_uid"),
        Column::data("group"),
    ]);
    timeline::rows::<Signal>(&source.recording, &source.window.range, scope, |rows, row| {
        let (sig, result) = (rows.sig.value(row), rows.result.value(row));
        if (!args.signal.is_empty() && !args.signal.contains(&sig)) || (args.failed && result == 0)
        {
            return Ok(());
        }
        out.row(&[
            Value::Clock(rows.ts.value(row)),
            Value::int(known!(rows.pid, row)),
            Value::text(known!(rows.comm, row)),
            signal_value(sig, args.name),
            Value::Int(i64::from(rows.target_pid.value(row))),
            Value::text(known!(rows.target_comm, row)),
            match args.name {
                true => Value::Named(i64::from(result), codes::signal_result(result)),
                false => Value::Int(i64::from(result)),
            },
            Value::int(known!(rows.tid, row)),
            Value::int(known!(rows.uid, row)),
            Value::Int(i64::from(rows.code.value(row))),
            Value::Int(i64::from(rows.target_tid.value(row))),
            Value::Int(i64::from(rows.target_uid.value(row))),
            Value::Flag(rows.group.value(row)),
        ])
    })?;
    out.end()
}

fn calls(
    args: &SignalsArgs,
    source: &Source,
    scope: &Scope,
    output: &mut Output,
) -> anyhow::Result<()> {
    // The call names its target by number alone; who that was, the lifetimes tell.
    let lifetimes =
        Lifetimes::read(&source.recording, Detail::Identity).context("the names of the targets")?;
    let mut out = output.events(vec![
        Column::new("ts", "TIME").wide(12),
        Column::new("pid", "PID").wide(7),
        Column::new("comm", "COMM").wide(16),
        Column::new("call", "CALL").wide(6),
        Column::new("sig", "SIG").wide(9),
        Column::new("target_pid", "TPID").wide(7),
        Column::new("target_tid", "TTID").wide(7),
        Column::new("target_comm", "TCOMM").wide(16),
        Column::new("result", "RESULT").wide(6),
        Column::data("tid"),
        Column::data("uid"),
        Column::data("duration"),
    ]);
    timeline::rows::<Kill>(&source.recording, &source.window.range, scope, |rows, row| {
        let (sig, result) = (rows.sig.value(row), rows.result.value(row));
        if (!args.signal.is_empty() && !args.signal.contains(&sig)) || (args.failed && result >= 0)
        {
            return Ok(());
        }
        let ts = rows.ts.value(row);
        let target = known!(rows.target_pid, row).and_then(|pid| lifetimes.who(pid, ts));
        let name = target.and_then(|target| target.image_at(ts).comm.as_deref());
        let call = rows.call.value(row);
        out.row(&[
            Value::Clock(ts),
            Value::Int(i64::from(rows.pid.value(row))),
            Value::text(known!(rows.comm, row)),
            Value::Named(i64::from(call), codes::kill_call(call)),
            signal_value(sig, args.name),
            Value::int(known!(rows.target_pid, row)),
            Value::int(known!(rows.target_tid, row)),
            Value::text(name),
            Value::Named(i64::from(result), codes::call_result(result)),
            Value::Int(i64::from(rows.tid.value(row))),
            Value::Int(i64::from(rows.uid.value(row))),
            Value::Duration(rows.duration.value(row)),
        ])
    })?;
    out.end()
}

#[cfg(test)]
mod tests {
    use crate::made::{Made, analyze};

    fn signals() -> Made {
        let made = Made::new();
        made.rows(&[
            made.exec(0.5, 20, 1, &["/bin/victim"]),
            made.signal(1.0, Some(10), 20, 15, 0),
            made.signal(2.0, None, 20, 14, 1),
            made.kill(3.0, 10, 20, 9, 0),
            made.kill(4.0, 10, 9999, 15, -3),
            made.loss("signal", "ring full", 1234, 3.1, 4.2),
        ]);
        made.end(12.3);
        made
    }

    fn lines(args: &[&str]) -> Vec<String> {
        crate::made::lines(&signals(), args)
    }

    #[test]
    fn signals_are_sigsnoops() {
        assert_eq!(
            lines(&["signals"]),
            [
                "# 2026-11-22T10:15:00Z + 12.3 s, 1,234 events lost",
                "# LOSSY: 1,234 of signal's events lost (ring full) 3.1 s – 4.2 s after the start",
                "TIME PID COMM SIG TPID TCOMM RESULT",
                "10:15:01.000 10 sender 15 20 target 0",
                "10:15:02.000 - - 14 20 target 1",
            ]
        );
    }

    #[test]
    fn a_sender_that_is_unknown_is_null() {
        let text = analyze(&signals(), &["signals", "--format", "json"]).expect("it is whole");
        let json: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!(json[1]["pid"], serde_json::Value::Null);
        assert_eq!(json[1]["comm"], serde_json::Value::Null);
        assert_eq!(json[1]["sig"], 14);
        let csv = analyze(&signals(), &["signals", "--format", "csv"]).expect("it is whole");
        assert!(csv.lines().nth(2).is_some_and(|line| line.contains(",,,14,20,")), "{csv}");
    }

    #[test]
    fn names_and_filters() {
        assert_eq!(
            lines(&["signals", "--name", "--failed"])[3..],
            ["10:15:02.000 - - SIGALRM 20 target ignored"]
        );
        assert_eq!(lines(&["signals", "--signal", "SIGTERM"]).len(), 4);
        assert_eq!(lines(&["signals", "--pid", "10"]).len(), 4, "by sender");
        assert_eq!(lines(&["signals", "--pid", "20"]).len(), 5, "by target");
        assert_eq!(lines(&["signals", "--comm", "nobody"]).len(), 3);
        assert_eq!(lines(&["signals", "--tid", "10"]).len(), 4, "by thread");
    }

    #[test]
    fn calls_have_results() {
        assert_eq!(
            lines(&["signals", "--kill"])[1..],
            [
                "TIME PID COMM CALL SIG TPID TTID TCOMM RESULT",
                "10:15:03.000 10 sender kill 9 20 - victim 0",
                "10:15:04.000 10 sender kill 15 9999 - - -ESRCH",
            ]
        );
        assert_eq!(lines(&["signals", "--kill", "--failed"]).len(), 3);
    }
}
