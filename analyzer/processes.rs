//! Processes: what ran, when, from where, and how it ended.
//!
//! Without an option each row is a process with its whole [lifetime](crate::lifetimes). The options
//! show the events that lifetimes are made of, in the columns of the tools that people know:
//! `--execs` those of bcc's execsnoop, `--exits` those of exitsnoop, `--bootstrap` those of the
//! example in libbpf-bootstrap.

use std::collections::HashMap;

use arrow::array::Array as _;
use clap::Args;
use lookback_schemas::TableId;
use lookback_schemas::recording::ALL_TIME;
use lookback_schemas::tables::{Exec, Exit, exec, exit};

use crate::cli::{Source, SourceArgs};
use crate::codes;
use crate::lifetimes::{Cgroups, Detail, Lifetime, Lifetimes, argv_cut, container, texts};
use crate::render::{Column, Format, Output, Value};
use crate::scope::{Scope, ScopeArgs, Subject};
use crate::timeline;

/// Shown below the help.
pub const EXAMPLE: &str = "Examples:\n  analyze processes web1.lookback --tree\n  \
                           analyze processes fleet/ --host web1 --host web2\n  \
                           analyze processes web1.lookback --pid 4711 --follow --execs\n  \
                           analyze processes web1.lookback --exits --since 10s --until 20s";

/// Options of `analyze processes`.
#[derive(Args, Debug)]
pub struct ProcessesArgs {
    /// The recording, and the part of it.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Which processes.
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// Which report.
    #[command(flatten)]
    pub view: View,
}

/// The reports; by default one row for each process.
#[derive(Args, Debug, Default)]
#[group(multiple = false)]
pub struct View {
    /// Draw processes below their parents
    #[arg(long)]
    pub tree: bool,
    /// Each exec, as execsnoop prints it; RET is always 0, since only successful calls are recorded
    #[arg(long)]
    pub execs: bool,
    /// Each exit, as exitsnoop prints it
    #[arg(long)]
    pub exits: bool,
    /// Execs and exits, as libbpf-bootstrap's `bootstrap` prints them
    #[arg(long)]
    pub bootstrap: bool,
}

/// Prints the report.
///
/// # Errors
/// If a table is damaged, or the output cannot be written.
pub fn run(args: &ProcessesArgs, source: &Source) -> anyhow::Result<()> {
    let scope = source.scope(&args.scope)?;
    let view = &args.view;
    let tables: &[TableId] = match (view.execs, view.exits, view.bootstrap) {
        (true, _, _) => &[TableId::Exec],
        (_, true, _) => &[TableId::Exit],
        (_, _, true) => &[TableId::Exec, TableId::Exit],
        (false, false, false) => {
            &[TableId::Process, TableId::Fork, TableId::Exec, TableId::Exit, TableId::Cgroup]
        }
    };
    if !view.execs && !view.exits && !view.bootstrap {
        scope.check(TableId::Process)?;
        return lifetimes(source, &scope, tables, view.tree);
    }
    tables.iter().try_for_each(|table| scope.check(*table))?;
    let mut output = source.begin(tables)?;
    if view.execs {
        execs(source, &scope, &mut output)?;
    } else if view.exits {
        exits(source, &scope, &mut output)?;
    } else {
        bootstrap(source, &scope, &mut output)?;
    }
    output.finish()
}

/// A row for each process.
fn lifetimes(source: &Source, scope: &Scope, tables: &[TableId], tree: bool) -> anyhow::Result<()> {
    let lifetimes = Lifetimes::read(&source.recording, Detail::Images)?;
    let cgroups = Cgroups::read(&source.recording)?;
    let chosen: Vec<bool> =
        lifetimes.all().iter().map(|lifetime| chosen(lifetime, source, scope)).collect();
    let mut output = source.begin(tables)?;
    let order = if tree { branches(&lifetimes, &chosen) } else { by_start(&lifetimes, &chosen) };

    let text = output.format() == Format::Table;
    let mut columns = vec![
        Column::new("pid", "PID").right().wide(7),
        Column::new("ppid", "PPID").right().wide(7),
        Column::new("uid", "UID").right().wide(5),
        Column::new("start", "START").wide(12),
        Column::new("end", "END").wide(12),
        Column::new("duration", "DURATION").right(),
        Column::new("user", "USER").right(),
        Column::new("system", "SYSTEM").right(),
        Column::new("max_rss", "RSS").right(),
        Column::data("minor_faults"),
        Column::data("major_faults"),
        Column::table("EXIT"),
        Column::data("code"),
        Column::data("signal"),
        Column::data("core"),
        Column::data("kernel"),
        Column::data("comm"),
        Column::data("exe"),
        Column::data("argv"),
        Column::data("argv_cut"),
        Column::data("cwd"),
        Column::data("cgroup"),
        Column::new("container", "CONTAINER"),
        Column::table("COMMAND"),
    ];
    if tree {
        columns.push(Column::data("depth"));
    }
    // In the order of START, as far as that is known.
    let mut rows = if tree { output.rows(columns) } else { output.events_by("start", columns) };
    for branch in order {
        let lifetime = &lifetimes.all()[branch.index];
        let mut row = lifetime_row(lifetime, &cgroups, text, &branch.drawn);
        if tree {
            row.push(Value::Int(branch.depth));
        }
        rows.row(&row)?;
    }
    rows.end()?;
    output.finish()
}

/// Whether the process existed in the window and is in scope.
fn chosen(lifetime: &Lifetime, source: &Source, scope: &Scope) -> bool {
    let start = lifetime.start.unwrap_or(lifetime.seen.0);
    let end = lifetime.end.unwrap_or(if lifetime.end_missed { lifetime.seen.1 } else { i64::MAX });
    let (pid, uid, cgroup) = (Some(lifetime.pid), lifetime.uid, lifetime.cgroup);
    let subject = Subject { pid, uid, cgroup, ..Subject::default() };
    // Its own pid at its own time: any moment of it will do.
    let during = lifetime.start.map_or(lifetime.seen.1, |start| start.max(lifetime.seen.0));
    source.window.overlaps(start, end.max(start))
        && lifetime
            .images
            .iter()
            .any(|image| scope.admits(Subject { comm: image.comm.as_deref(), ..subject }, during))
}

/// A process's place in the report.
struct Branch {
    index: usize,
    depth: i64,
    /// What to draw before its name.
    drawn: String,
}

fn by_start(lifetimes: &Lifetimes, chosen: &[bool]) -> Vec<Branch> {
    let mut order: Vec<usize> = (0..chosen.len()).filter(|index| chosen[*index]).collect();
    order.sort_by_key(|index| {
        let lifetime = &lifetimes.all()[*index];
        (lifetime.start.unwrap_or(lifetime.seen.0), lifetime.pid)
    });
    order.into_iter().map(|index| Branch { index, depth: 0, drawn: String::new() }).collect()
}

/// The chosen processes, each below its parent where that is chosen too. Parents that form a loop,
/// which no kernel makes but a damaged recording may claim, are cut at the first of them.
fn branches(lifetimes: &Lifetimes, chosen: &[bool]) -> Vec<Branch> {
    let mut children = lifetimes.children();
    for siblings in &mut children {
        siblings.retain(|index| chosen[*index]);
    }
    let is_root =
        |index: &usize| lifetimes.all()[*index].parent.is_none_or(|parent| !chosen[parent]);
    let order: Vec<usize> = by_start(lifetimes, chosen).iter().map(|branch| branch.index).collect();
    let (roots, rest): (Vec<usize>, Vec<usize>) = order.into_iter().partition(is_root);

    let mut drawn = vec![false; chosen.len()];
    let mut branches = Vec::new();
    // The roots first; what they do not reach lies on loops.
    for root in roots.into_iter().chain(rest) {
        // To draw, with the text before its name and before those of its children.
        let mut stack = vec![(root, 0, String::new(), String::new())];
        while let Some((index, depth, own, below)) = stack.pop() {
            if std::mem::replace(&mut drawn[index], true) {
                continue;
            }
            let siblings: Vec<usize> =
                children[index].iter().copied().filter(|child| !drawn[*child]).collect();
            let last = siblings.last().copied();
            // A tree this deep is no longer read by its lines.
            let below = if depth < 64 { below } else { String::new() };
            for child in siblings.into_iter().rev() {
                let (branch, beyond) =
                    if Some(child) == last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
                let lines = (format!("{below}{branch}"), format!("{below}{beyond}"));
                stack.push((child, depth + 1, lines.0, lines.1));
            }
            branches.push(Branch { index, depth, drawn: own });
        }
    }
    branches
}

fn lifetime_row(lifetime: &Lifetime, cgroups: &Cgroups, text: bool, drawn: &str) -> Vec<Value> {
    let image = lifetime.image();
    let path = lifetime.cgroup.and_then(|id| cgroups.path(id, lifetime.seen.1));
    let container = path.and_then(container);
    let ending = lifetime.ending.as_ref();
    let nanoseconds = |ns: Option<i64>| ns.map_or(Value::Null, Value::Duration);
    let time = |ns: Option<i64>| ns.map_or(Value::Null, Value::Clock);
    let command = match (&image.argv, lifetime.kernel) {
        (Some(argv), _) => arguments(argv, image.argv_cut),
        (None, true) => format!("[{}]", lifetime.comm().unwrap_or("?")),
        (None, false) => {
            let name = image.filename.as_deref().or(lifetime.comm());
            name.map_or_else(|| "?".to_owned(), |name| format!("({name})"))
        }
    };
    vec![
        Value::Int(i64::from(lifetime.pid)),
        Value::int(lifetime.ppid),
        Value::int(lifetime.uid),
        time(lifetime.start),
        time(lifetime.end),
        nanoseconds(lifetime.duration()),
        nanoseconds(ending.map(|ending| ending.user)),
        nanoseconds(ending.map(|ending| ending.system)),
        ending.and_then(|ending| ending.max_rss).map_or(Value::Null, Value::Bytes),
        Value::int(ending.map(|ending| ending.minor_faults)),
        Value::int(ending.map(|ending| ending.major_faults)),
        match ending {
            Some(ending) => Value::Text(status(ending.code, ending.signal, ending.core)),
            None if lifetime.end_missed => Value::Text("not recorded".to_owned()),
            None => Value::Null,
        },
        Value::int(ending.and_then(|ending| ending.code)),
        Value::int(ending.and_then(|ending| ending.signal)),
        ending.map_or(Value::Null, |ending| Value::Flag(ending.core)),
        Value::Flag(lifetime.kernel),
        Value::text(lifetime.comm()),
        Value::text(image.filename.as_deref()),
        image.argv.clone().map_or(Value::Null, Value::Texts),
        Value::Flag(image.argv_cut),
        Value::text(image.cwd.as_deref()),
        Value::text(path),
        // As the container tools abbreviate it.
        Value::text(container.map(|id| if text { &id[..12] } else { id })),
        Value::Text(format!("{drawn}{command}")),
    ]
}

/// Arguments as one text; `...` stands for those that were not recorded.
fn arguments(argv: &[String], cut: bool) -> String {
    let mut text = argv.join(" ");
    if cut {
        text.push_str("...");
    }
    text
}

/// How a process ended, in exitsnoop's words.
fn status(code: Option<i32>, signal: Option<i32>, core: bool) -> String {
    match (code, signal) {
        (_, Some(signal)) => {
            let dumped = if core { ", core dumped" } else { "" };
            format!("signal {signal} ({}){dumped}", codes::signal(signal))
        }
        (Some(0), None) => "0".to_owned(),
        (Some(code), None) => format!("code {code}"),
        (None, None) => "-".to_owned(),
    }
}

fn exec_arguments(rows: &exec::Columns, row: usize) -> Value {
    let bytes = rows.argv_bytes.is_valid(row).then(|| rows.argv_bytes.value(row));
    match texts(&rows.argv, row) {
        Some(argv) => Value::Text(arguments(&argv, argv_cut(bytes))),
        None if rows.filename.is_valid(row) => Value::Text(rows.filename.value(row).to_owned()),
        None => Value::Null,
    }
}

/// A nullable column's value.
macro_rules! known {
    ($column:expr, $row:expr) => {
        $column.is_valid($row).then(|| $column.value($row))
    };
}
pub(crate) use known;

/// bcc's execsnoop.
fn execs(source: &Source, scope: &Scope, output: &mut Output) -> anyhow::Result<()> {
    let mut out = output.events(vec![
        Column::new("ts", "TIME").wide(12),
        Column::new("comm", "PCOMM").wide(16),
        Column::new("pid", "PID").wide(7),
        Column::new("ppid", "PPID").wide(7),
        Column::table("RET").right().wide(3),
        Column::table("ARGS"),
        Column::data("uid"),
        Column::data("caller_tid"),
        Column::data("cgroup"),
        Column::data("filename"),
        Column::data("cwd"),
        Column::data("argv"),
        Column::data("argv_bytes"),
    ]);
    timeline::rows::<Exec>(&source.recording, &source.window.range, scope, |rows, row| {
        out.row(&[
            Value::Clock(rows.ts.value(row)),
            Value::text(known!(rows.comm, row)),
            Value::Int(i64::from(rows.pid.value(row))),
            Value::Int(i64::from(rows.ppid.value(row))),
            Value::Int(0),
            exec_arguments(rows, row),
            Value::Int(i64::from(rows.uid.value(row))),
            Value::Int(i64::from(rows.caller_tid.value(row))),
            Value::int(known!(rows.cgroup, row)),
            Value::text(known!(rows.filename, row)),
            Value::text(known!(rows.cwd, row)),
            texts(&rows.argv, row).map_or(Value::Null, Value::Texts),
            Value::int(known!(rows.argv_bytes, row)),
        ])
    })?;
    out.end()
}

/// bcc's exitsnoop.
fn exits(source: &Source, scope: &Scope, output: &mut Output) -> anyhow::Result<()> {
    let mut out = output.events(vec![
        Column::new("ts", "TIME").wide(12),
        Column::new("comm", "PCOMM").wide(16),
        Column::new("pid", "PID").wide(7),
        Column::new("ppid", "PPID").wide(7),
        Column::new("tid", "TID").wide(7),
        Column::new("duration", "AGE(s)").wide(7),
        Column::table("EXIT_CODE"),
        Column::data("code"),
        Column::data("signal"),
        Column::data("core"),
        Column::data("process_ended"),
        Column::data("uid"),
        Column::data("start"),
        Column::data("user"),
        Column::data("system"),
        Column::data("max_rss"),
        Column::data("minor_faults"),
        Column::data("major_faults"),
        Column::data("cgroup"),
    ]);
    timeline::rows::<Exit>(&source.recording, &source.window.range, scope, |rows, row| {
        out.row(&[
            Value::Clock(rows.ts.value(row)),
            Value::text(known!(rows.comm, row)),
            Value::Int(i64::from(rows.pid.value(row))),
            Value::Int(i64::from(rows.ppid.value(row))),
            Value::Int(i64::from(rows.tid.value(row))),
            Value::Seconds(rows.duration.value(row)),
            Value::Text(exit_status(rows, row)),
            Value::int(known!(rows.code, row)),
            Value::int(known!(rows.signal, row)),
            Value::Flag(rows.core.value(row)),
            Value::Flag(rows.process_ended.value(row)),
            Value::Int(i64::from(rows.uid.value(row))),
            Value::Time(rows.start.value(row)),
            Value::Duration(rows.user.value(row)),
            Value::Duration(rows.system.value(row)),
            Value::int(known!(rows.max_rss, row)),
            Value::Int(rows.minor_faults.value(row)),
            Value::Int(rows.major_faults.value(row)),
            Value::int(known!(rows.cgroup, row)),
        ])
    })?;
    out.end()
}

fn exit_status(rows: &exit::Columns, row: usize) -> String {
    status(known!(rows.code, row), known!(rows.signal, row), rows.core.value(row))
}

/// libbpf-bootstrap's `bootstrap`: execs and exits of processes. The duration runs from the exec,
/// as there, and is missing where the exec is.
fn bootstrap(source: &Source, scope: &Scope, output: &mut Output) -> anyhow::Result<()> {
    struct Line {
        ts: i64,
        event: &'static str,
        comm: Option<String>,
        pid: i32,
        ppid: i32,
        filename: Option<String>,
        exit: Option<(Option<i32>, Option<i32>)>,
    }
    let (recording, range) = (&source.recording, &source.window.range);
    let mut lines = Vec::new();
    // Execs from before the window too: exits in it tell how long ago they were.
    timeline::rows::<Exec>(recording, &ALL_TIME, scope, |rows, row| {
        lines.push(Line {
            ts: rows.ts.value(row),
            event: "EXEC",
            comm: known!(rows.comm, row).map(str::to_owned),
            pid: rows.pid.value(row),
            ppid: rows.ppid.value(row),
            filename: known!(rows.filename, row).map(str::to_owned),
            exit: None,
        });
        Ok(())
    })?;
    timeline::rows::<Exit>(recording, &ALL_TIME, scope, |rows, row| {
        if rows.process_ended.value(row) {
            lines.push(Line {
                ts: rows.ts.value(row),
                event: "EXIT",
                comm: known!(rows.comm, row).map(str::to_owned),
                pid: rows.pid.value(row),
                ppid: rows.ppid.value(row),
                filename: None,
                exit: Some((known!(rows.code, row), known!(rows.signal, row))),
            });
        }
        Ok(())
    })?;
    lines.sort_by_key(|line| line.ts);

    let mut out = output.events(vec![
        Column::new("ts", "TIME").wide(12),
        Column::new("event", "EVENT").wide(5),
        Column::new("comm", "COMM").wide(16),
        Column::new("pid", "PID").wide(7),
        Column::new("ppid", "PPID").wide(7),
        Column::table("FILENAME/EXIT CODE"),
        Column::data("filename"),
        Column::data("code"),
        Column::data("signal"),
        Column::data("duration"),
    ]);
    let mut began: HashMap<i32, i64> = HashMap::new();
    for line in lines {
        let (mut code, mut signal, mut duration) = (None, None, None);
        let what = match line.exit {
            None => {
                began.insert(line.pid, line.ts);
                line.filename.clone().unwrap_or_default()
            }
            Some(status) => {
                (code, signal) = status;
                duration = began.remove(&line.pid).map(|exec| line.ts.saturating_sub(exec));
                let mut text = match (code, signal) {
                    (_, Some(signal)) => format!("[signal {signal}]"),
                    (code, None) => format!("[{}]", code.unwrap_or(0)),
                };
                if let Some(ns) = duration {
                    text += &format!(" ({}ms)", ns / 1_000_000);
                }
                text
            }
        };
        if !range.contains(&line.ts) {
            continue;
        }
        out.row(&[
            Value::Clock(line.ts),
            Value::Text(line.event.to_owned()),
            Value::text(line.comm.as_deref()),
            Value::Int(i64::from(line.pid)),
            Value::Int(i64::from(line.ppid)),
            Value::Text(what),
            Value::text(line.filename.as_deref()),
            Value::int(code),
            Value::int(signal),
            duration.map_or(Value::Null, Value::Duration),
        ])?;
    }
    out.end()
}

#[cfg(test)]
mod tests {
    use crate::made::{Made, analyze, lines};

    fn shell() -> Made {
        let made = Made::new();
        let id = "ab".repeat(32);
        made.rows(&[
            made.cgroup(0.0, 5, &format!("/system.slice/docker-{id}.scope")),
            made.process(0.1, 1, 0, -1000.0, &["/sbin/init"]),
            made.fork(1.0, 10, 1),
            made.exec_in(1.1, 10, 1, &["/bin/sh", "-c", "a; b"], Some(5), None),
            made.fork(2.0, 11, 10),
            made.exec(2.1, 11, 10, &["/bin/a", "x"]),
            made.exit(2.5, 11, 10, 2.0, Err(11)),
            made.fork(3.0, 12, 10),
            made.exec_in(3.1, 12, 10, &["/bin/b"], None, Some(9000)),
            made.exit(3.4, 12, 10, 3.0, Ok(7)),
            made.exit(4.0, 10, 1, 1.0, Ok(0)),
        ]);
        made.end(5.0);
        made
    }

    #[test]
    fn each_process_is_a_row() {
        let made = shell();
        let text = analyze(&made, &["processes", "--format", "json"]).expect("it is whole");
        let json: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!(json.as_array().map(Vec::len), Some(4));
        let sh = &json[1];
        assert_eq!(sh["pid"], 10);
        assert_eq!(sh["duration"], 3_000_000_000_i64);
        assert_eq!(sh["argv"], serde_json::json!(["/bin/sh", "-c", "a; b"]));
        assert_eq!(sh["cwd"], "/srv/data");
        assert_eq!(sh["container"], "ab".repeat(32));
        assert_eq!(sh["code"], 0);
        assert_eq!(json[2]["signal"], 11);
        assert_eq!(json[2]["core"], true);
        assert_eq!(json[0]["end"], serde_json::Value::Null);
    }

    #[test]
    fn the_tree_hangs_children_below_their_parents() {
        let made = shell();
        let text = analyze(&made, &["processes", "--tree"]).expect("it is whole");
        let header = text.lines().nth(1).expect("a header follows the heading");
        let column = header.find("COMMAND").expect("the last column");
        let commands: Vec<String> =
            text.lines().skip(2).map(|line| line.chars().skip(column).collect()).collect();
        assert_eq!(
            commands,
            ["/sbin/init", "└─ /bin/sh -c a; b", "   ├─ /bin/a x", "   └─ /bin/b..."]
        );
    }

    #[test]
    fn a_loop_of_parents_is_drawn_once() {
        let made = Made::new();
        made.rows(&[
            made.process(0.1, 20, 21, -1.0, &["a"]),
            made.process(0.1, 21, 20, -1.0, &["b"]),
            made.process(0.1, 22, 22, -1.0, &["c"]),
        ]);
        assert_eq!(lines(&made, &["processes", "--tree"]).len(), 5);
    }

    #[test]
    fn a_chain_of_parents_of_any_length_is_drawn() {
        let made = Made::new();
        let rows: Vec<_> =
            (10..3000).map(|pid| made.fork(f64::from(pid) / 1000.0, pid, pid - 1)).collect();
        made.rows(&rows);
        assert_eq!(lines(&made, &["processes", "--tree"]).len(), 2992);
    }

    #[test]
    fn execs_are_execsnoops() {
        let made = shell();
        let lines = lines(&made, &["processes", "--execs"]);
        assert_eq!(
            lines[1..],
            [
                "TIME PCOMM PID PPID RET ARGS",
                "10:15:01.100 sh 10 1 0 /bin/sh -c a; b",
                "10:15:02.100 a 11 10 0 /bin/a x",
                "10:15:03.100 b 12 10 0 /bin/b...",
            ]
        );
    }

    #[test]
    fn exits_are_exitsnoops() {
        let made = shell();
        let lines = lines(&made, &["processes", "--exits"]);
        assert_eq!(
            lines[1..],
            [
                "TIME PCOMM PID PPID TID AGE(s) EXIT_CODE",
                "10:15:02.500 ended 11 10 11 0.50 signal 11 (SEGV), core dumped",
                "10:15:03.400 ended 12 10 12 0.40 code 7",
                "10:15:04.000 ended 10 1 10 3.00 0",
            ]
        );
    }

    #[test]
    fn bootstrap_is_bootstraps() {
        let made = shell();
        let lines = lines(&made, &["processes", "--bootstrap", "--since", "2.2s"]);
        assert_eq!(
            lines[1..],
            [
                "TIME EVENT COMM PID PPID FILENAME/EXIT CODE",
                "10:15:02.500 EXIT ended 11 10 [signal 11] (400ms)",
                "10:15:03.100 EXEC b 12 10 /bin/b",
                "10:15:03.400 EXIT ended 12 10 [7] (300ms)",
                "10:15:04.000 EXIT ended 10 1 [0] (2900ms)",
            ]
        );
    }

    #[test]
    fn filters_choose_processes() {
        let made = shell();
        let count = |args: &[&str]| {
            let args = [&["processes", "--format", "csv"], args].concat();
            lines(&made, &args).len() - 1
        };
        assert_eq!(count(&["--pid", "10"]), 1);
        assert_eq!(count(&["--pid", "10", "--follow"]), 3);
        assert_eq!(count(&["--uid", "0"]), 1);
        assert_eq!(count(&["--since", "3s", "--until", "3.05s"]), 3);
        assert_eq!(count(&["--until", "500ms"]), 1);
        let execs = ["processes", "--execs", "--format", "csv", "--pid", "10", "--follow"];
        assert_eq!(lines(&made, &execs).len(), 4);
    }
}
