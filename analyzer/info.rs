//! What a recording is: the manifest and the sizes of the tables, for people.

mod stacks;

use std::collections::BTreeMap;

use clap::Args;
use lookback_schemas::TableId;
use lookback_schemas::manifest::{Manifest, Probe, Stopped, Symbols};

use crate::cli::{Source, SourceArgs};
use crate::hosts::tree::RecordingsArgs;
use crate::losses::{Missing, missing};
use crate::probes::asked::{self, TRACER};
use crate::render::{Column, Format, Output, Value, escaped, size, spoken, thousands};
use crate::window::{WindowArgs, bytes_of};

/// Shown below the help.
pub const EXAMPLE: &str = "Example:\n  analyze info web1.lookback\n  analyze info web1.lookback \
                           --format json\n\nJSON and CSV have one row for each table; the rest is \
                           in the recording's manifest.json.";

/// Options of `analyze info`.
#[derive(Args, Debug)]
pub struct InfoArgs {
    /// The recordings.
    #[command(flatten)]
    pub recordings: RecordingsArgs,
    /// Where the report goes.
    #[command(flatten)]
    pub output: crate::render::OutputArgs,
}

impl InfoArgs {
    /// The same as for other reports.
    #[must_use]
    pub fn source(&self) -> SourceArgs {
        let (recordings, output) = (self.recordings.clone(), self.output.clone());
        SourceArgs { recordings, window: WindowArgs::default(), output }
    }
}

/// What a table takes.
struct Size {
    table: TableId,
    rows: u64,
    bytes: u64,
    seen: Option<u64>,
    lost: i64,
    damaged: Option<String>,
}

/// Prints the report.
///
/// # Errors
/// If the recording has no readable manifest, or the output cannot be written. Damaged tables are
/// part of the report.
pub fn run(source: &Source) -> anyhow::Result<()> {
    let manifest = source.recording.manifest();
    // What cannot be read is in the heading.
    let losses = missing(&source.recording, &[], &source.window).unwrap_or_default();
    let sizes = sizes(source, &losses);
    let mut output = source.begin(&[])?;
    if output.format() == Format::Table {
        for (name, text) in facts(source, manifest) {
            output.line(&format!("{name:<10} {}", escaped(&text)))?;
        }
        output.line("")?;
    }
    tables(&mut output, &sizes)?;
    if output.format() == Format::Table {
        for note in notes(source, &sizes, &losses) {
            output.line(&format!("\n{}", escaped(&note)))?;
        }
    }
    output.finish()
}

fn sizes(source: &Source, losses: &[Missing]) -> Vec<Size> {
    let manifest = source.recording.manifest();
    let mut lost: BTreeMap<&str, i64> = BTreeMap::new();
    for missing in losses.iter().filter(|missing| missing.whole_events()) {
        let sum = lost.entry(&missing.table).or_default();
        *sum = sum.saturating_add(missing.count);
    }
    let mut sizes = Vec::new();
    for table in TableId::ALL {
        let total = manifest.totals.get(table.name());
        let (rows, bytes, damaged) = match source.recording.segments(*table) {
            Ok(segments) => {
                (segments.iter().map(|segment| segment.rows()).sum(), bytes_of(&segments), None)
            }
            Err(error) => (0, 0, Some(error.to_string())),
        };
        let seen = total.and_then(|total| total.seen);
        let lost = lost.get(table.name()).copied().unwrap_or(0);
        if rows > 0 || seen.is_some_and(|seen| seen > 0) || lost > 0 || damaged.is_some() {
            sizes.push(Size { table: *table, rows, bytes, seen, lost, damaged });
        }
    }
    sizes
}

/// The lines above the tables: what they are about, and what to say.
pub(crate) fn facts(source: &Source, manifest: &Manifest) -> Vec<(&'static str, String)> {
    let host = &manifest.host;
    let mut facts = vec![
        ("recording", source.recording.directory().display().to_string()),
        (
            "host",
            format!(
                "{}, {}, {} CPUs, Linux {}, boot {}",
                host.name, host.arch, host.cpus, host.kernel, host.boot_id
            ),
        ),
        ("command", manifest.command_line.join(" ")),
        ("recorder", manifest.recorder.clone()),
        ("filters", filters(manifest)),
    ];
    for tracer in &manifest.tracers {
        let hooks: Vec<String> =
            tracer.hooks.iter().map(|hook| format!("{} by {}", hook.purpose, hook.hook)).collect();
        let what = match &tracer.failed {
            Some(why) => format!("{}: FAILED: {why}", tracer.name),
            None => format!("{}: {}", tracer.name, hooks.join(", ")),
        };
        facts.push(("tracer", what));
        for unknown in &tracer.unknown {
            facts.push(("null", format!("{}: {}", unknown.column, unknown.because)));
        }
        if tracer.name == TRACER {
            let mut lines: Vec<String> =
                tracer.probes.iter().map(|probe| chosen(probe, manifest.started)).collect();
            // A probe may be at several places of a file.
            lines.dedup();
            facts.extend(lines.into_iter().map(|probe| ("probe", probe)));
        } else {
            facts.extend(probes(&tracer.probes).into_iter().map(|probes| ("probes", probes)));
        }
    }
    let span = source.window.span;
    let zone = source.args.tz.zone();
    let time = |ns| crate::render::short_moment(ns, &zone);
    if let Some(snapshot) = &manifest.snapshot_of {
        let (of, why, at) = (&snapshot.directory, &snapshot.why, time(snapshot.at));
        facts.push(("snapshot", format!("of {of}, at {at}: {why}")));
    }
    for snapshot in &manifest.snapshots {
        let (at, why) = (time(snapshot.at), &snapshot.why);
        facts.push(("snapshot", format!("{}, at {at}: {why}", snapshot.directory)));
    }
    for stopped in &manifest.stopped {
        let until = stopped.until.map_or_else(|| "the end".to_owned(), time);
        let Stopped { table, from, why, .. } = stopped;
        facts.push(("stopped", format!("{table} from {} to {until}: {why}", time(*from))));
    }
    if let Some(kept) = &manifest.kept {
        let limits = [
            kept.time.map(|time| format!("{} or more", spoken(time))),
            kept.bytes.map(|bytes| format!("at most {} bytes", thousands(bytes))),
        ];
        let limits: Vec<String> = limits.into_iter().flatten().collect();
        // A snapshot may be of a recording that keeps everything.
        if !limits.is_empty() {
            facts.push(("kept", format!("the newest, {}", limits.join(", "))));
        }
        facts.push((
            "recorded",
            format!("since {}; what is older was discarded", time(manifest.started)),
        ));
    }
    facts.push(("began", time(span.start)));
    facts.push(match &manifest.ended {
        Some(end) => {
            let error = end.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
            let length = spoken(span.length());
            ("ended", format!("{} after {length}, by {}{error}", time(end.at), end.why))
        }
        None => (
            "ended",
            format!(
                "not: the recorder was killed or still runs; the last event is of {}, {} after the \
                 start",
                time(span.end),
                spoken(span.length())
            ),
        ),
    });
    facts.extend(stacks::lines(&source.recording).into_iter().map(|line| ("stacks", line)));
    let symbols = match manifest.symbols {
        Symbols::Pending => "pending: frames have no names yet",
        Symbols::Resolved => "resolved",
        Symbols::Skipped => "left out, as asked",
    };
    facts.push(("symbols", symbols.to_owned()));
    for pass in &manifest.redacted {
        let key = match &pass.key {
            Some(key) => format!("with the key that is known by {key}"),
            None => "with a random key".to_owned(),
        };
        facts.push(("redacted", format!("{} {key}", pass.what.join(", "))));
    }
    facts
}

fn filters(manifest: &Manifest) -> String {
    let filters = &manifest.filters;
    let mut said = Vec::new();
    if !filters.pids.is_empty() {
        let pids: Vec<String> = filters.pids.iter().map(i32::to_string).collect();
        said.push(format!("pid {}", pids.join(", ")));
    }
    if let Some(command) = &filters.command {
        said.push(format!("the command `{}`", command.join(" ")));
    }
    if filters.follow && !said.is_empty() {
        said.push("with descendants".to_owned());
    }
    if let Some(cgroup) = &filters.cgroup {
        said.push(format!("cgroup {cgroup}"));
    }
    if let Some(uid) = filters.uid {
        said.push(format!("uid {uid}"));
    }
    if let Some(comm) = &filters.comm {
        said.push(format!("name {comm}"));
    }
    if filters.min_duration > 0 {
        let shortest = crate::render::duration(filters.min_duration);
        said.push(format!("no exits before {shortest}"));
    }
    if filters.thread_exits {
        said.push("exits of threads too".to_owned());
    }
    if let Some(tid) = filters.tid {
        said.push(format!("thread {tid}"));
    }
    if !filters.syscalls.is_empty() {
        said.push(format!("system calls {}", filters.syscalls.join(", ")));
    }
    if filters.min_latency > 0 {
        said.push(format!("nothing under {}", crate::render::duration(filters.min_latency)));
    }
    if let Some(port) = filters.lport {
        said.push(format!("local port {port}"));
    }
    if let Some(port) = filters.rport {
        said.push(format!("remote port {port}"));
    }
    if let Some(version) = filters.ip_version {
        said.push(format!("IPv{version}"));
    }
    if filters.rtt_sample > 1 {
        said.push(format!("one round trip of {}", filters.rtt_sample));
    }
    if !filters.denied.is_empty() {
        said.push(format!("connects refused to {}", filters.denied.join(", ")));
    }
    if filters.alloc_sample > 0 {
        let rate = size(filters.alloc_sample);
        said.push(format!("one user allocation for about {rate}"));
    }
    if filters.no_alloc_stacks {
        said.push("no stacks of user allocations".to_owned());
    }
    if filters.alloc_follow {
        said.push("allocations of children too".to_owned());
    }
    if filters.min_size > 0 {
        said.push(format!("no allocations under {}", size(filters.min_size)));
    }
    if filters.max_size > 0 {
        said.push(format!("no allocations over {}", size(filters.max_size)));
    }
    if filters.frequency > 0 {
        said.push(format!("{} samples per second and CPU", filters.frequency));
    }
    if said.is_empty() { "none: every process".to_owned() } else { said.join("; ") }
}

/// A line for each file with probes: how many, what they cost, and whether they were late.
fn probes(probes: &[Probe]) -> Vec<String> {
    let mut files: Vec<&str> = probes.iter().map(|probe| probe.file.as_str()).collect();
    files.dedup();
    let line = |file: &str| {
        let of_file = || probes.iter().filter(|probe| probe.file == file);
        let mut said = vec![format!("{} in {file}", of_file().count())];
        let mut kinds: Vec<&str> = of_file().map(|probe| probe.kind.as_str()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        for kind in kinds {
            let costs = of_file().filter(|probe| probe.kind == kind).map(|probe| probe.cost);
            let cost = match costs.clone().flatten().max() {
                Some(cost) => format!(" (up to {} a hit)", crate::render::duration(cost)),
                None => String::new(),
            };
            said.push(format!("{} {kind}{cost}", costs.count()));
        }
        if of_file().any(|probe| probe.late.is_some()) {
            said.push("attached after it was mapped".to_owned());
        }
        let failed = of_file().filter_map(|probe| probe.failed.as_deref());
        said.extend(failed.map(|why| format!("FAILED: {why}")));
        said.join(", ")
    };
    files.into_iter().map(line).collect()
}

/// A line for a probe of the user's: what it is, what it costs, and since when it is there.
fn chosen(probe: &Probe, started: i64) -> String {
    let name = asked::name(probe).unwrap_or("-");
    let mut said = match probe.asked.as_deref().filter(|asked| *asked != name) {
        Some(asked) => vec![format!("{name} ({asked}): {}", probe.kind)],
        None => vec![format!("{name}: {}", probe.kind)],
    };
    if let Some(cost) = probe.cost {
        said.push(format!("{} a hit", crate::render::duration(cost)));
    }
    if let Some(late) = probe.late {
        said.push(format!("attached {} after the start", spoken(late.saturating_sub(started))));
    }
    if let Some(why) = &probe.failed {
        said.push(format!("FAILED: {why}"));
    }
    said.join(", ")
}

fn tables(output: &mut Output, sizes: &[Size]) -> anyhow::Result<()> {
    let data = output.format() != Format::Table;
    let mut rows = output.rows(vec![
        Column::new("table", "TABLE").wide(8),
        Column::new("rows", "ROWS").right().wide(8),
        Column::new("bytes", "BYTES").right().wide(8),
        Column::new("bytes_per_row", "BYTES/ROW").right(),
        Column::new("seen", "SEEN").right().wide(8),
        Column::new("lost", "LOST").right().wide(6),
        Column::data("damaged"),
    ]);
    let count = |number: u64| match (data, i64::try_from(number)) {
        (true, Ok(number)) => Value::Int(number),
        (true, Err(_)) => Value::Null,
        (false, _) => Value::Text(thousands(number)),
    };
    for size in sizes {
        let mean = size.bytes as f64 / size.rows as f64;
        if let Some(damaged) = &size.damaged
            && !data
        {
            let name = Value::Text(size.table.name().to_owned());
            let mut cells = vec![Value::Null; 7];
            cells[0] = name;
            cells[1] = Value::Text("DAMAGED".to_owned());
            cells[6] = Value::Text(damaged.clone());
            rows.row(&cells)?;
            continue;
        }
        rows.row(&[
            Value::Text(size.table.name().to_owned()),
            count(size.rows),
            count(size.bytes),
            Value::Real((mean * 100.0).round() / 100.0),
            size.seen.map_or(Value::Null, count),
            if data { Value::Int(size.lost) } else { Value::Text(thousands(size.lost)) },
            Value::text(size.damaged.as_deref()),
        ])?;
    }
    rows.end()
}

/// What stands below the tables.
fn notes(source: &Source, sizes: &[Size], losses: &[Missing]) -> Vec<String> {
    let mut notes = Vec::new();
    let bytes: u64 = sizes.iter().map(|size| size.bytes).sum();
    notes.push(format!("{} in all.", size(i64::try_from(bytes).unwrap_or(i64::MAX))));
    for loss in losses {
        let what = if loss.is_expected() { "Note" } else { "Lost" };
        notes.push(format!("{what}: {}.", loss.describe(source.window.span.start)));
    }
    for size in sizes {
        if let Some(damaged) = &size.damaged {
            notes.push(format!("Damaged: {damaged}. `analyze check` tests every file."));
        }
        if !source.window.span.ended || size.damaged.is_some() {
            continue;
        }
        if let Some(seen) = size.seen {
            let kept = i128::from(size.rows) + i128::from(size.lost);
            if kept != i128::from(seen) {
                notes.push(format!(
                    "Note: of {} {} events were seen, but {} rows and {} lost ones make {}.",
                    size.table.name(),
                    thousands(seen),
                    thousands(size.rows),
                    thousands(size.lost),
                    thousands(kept),
                ));
            }
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use lookback_schemas::manifest::Probe;

    use crate::made::{Made, analyze, at};

    #[test]
    fn it_tells_what_was_recorded() {
        let made = Made::new();
        made.rows(&[made.fork(1.0, 10, 1), made.fork(2.0, 11, 1)]);
        made.end(12.3);
        let text = analyze(&made, &["info"]).expect("it is whole");
        assert!(text.starts_with("# 2026-11-22T10:15:00Z + 12.3 s, nothing lost\n"), "{text}");
        for part in [
            "host       web1, x86_64, 2 CPUs, Linux 6.12.0, boot b",
            "command    record process",
            "filters    none: every process",
            "tracer     process: exec by raw_tp/sched_process_exec",
            "null       cgroup.path: not mounted",
            "tracer     profile: FAILED: no permission",
            "after 12.3 s, by duration",
            "\nfork            2 ",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("Note:"), "{text}");
        let json = analyze(&made, &["info", "--format", "json"]).expect("it is whole");
        let json: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
        assert_eq!(json[0]["table"], "fork");
        assert_eq!(json[0]["rows"], 2);
        assert_eq!(json[0]["seen"], 2);
    }

    #[test]
    fn each_probe_of_the_users_has_a_line() {
        let made = Made::new();
        let some = |text: &str| Some(text.to_owned());
        let kind = || "emulated".to_owned();
        let start = Probe {
            name: some("start"),
            asked: some("usdt:/bin/app:app:start,arg0"),
            kind: kind(),
            cost: Some(40),
            ..Probe::default()
        };
        let late = Probe { name: some("late"), asked: None, late: Some(at(2.5)), ..start.clone() };
        let gone = Probe {
            asked: some("uprobe:/bin/app:gone"),
            kind: "left out".to_owned(),
            failed: some("there is no function `gone`\x1b"),
            ..Probe::default()
        };
        made.trace("custom", &["probe", "span"], vec![start.clone(), start, late, gone]);
        let file = || "/usr/lib/libjvm.so".to_owned();
        let jvm = Probe { file: file(), kind: kind(), cost: Some(70), ..Probe::default() };
        let failed = Probe { failed: some("it has no probes"), cost: None, ..jvm.clone() };
        made.trace("gc", &["gc"], vec![jvm, failed]);
        made.end(5.0);
        let text = analyze(&made, &["info"]).expect("it is whole");
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("probe")).collect();
        assert_eq!(
            lines,
            [
                "probe      start (usdt:/bin/app:app:start,arg0): emulated, 40ns a hit",
                "probe      late: emulated, 40ns a hit, attached 2.5 s after the start",
                "probe      uprobe:/bin/app:gone: left out, FAILED: there is no function `gone`\\x1b",
                "probes     2 in /usr/lib/libjvm.so, 2 emulated (up to 70ns a hit), FAILED: it has no \
                 probes",
            ]
        );
    }

    #[test]
    fn it_tells_of_losses_and_of_sums_that_do_not_agree() {
        let made = Made::new();
        made.rows(&[made.fork(1.0, 10, 1), made.loss("fork", "ring full", 5, 1.0, 2.0)]);
        made.end(3.0);
        let text = analyze(&made, &["info"]).expect("it is whole");
        assert!(text.contains("LOSSY: 5 of fork's events lost (ring full)"), "{text}");
        assert!(text.contains("1 events were seen, but 1 rows and 5 lost ones make 6"), "{text}");
    }

    #[test]
    fn it_tells_how_a_killed_recording_stands() {
        let made = Made::new();
        made.rows(&[made.fork(1.5, 10, 1)]);
        let text = analyze(&made, &["info"]).expect("a killed recording opens");
        assert!(text.contains("killed or still runs; the last event"), "{text}");
        assert!(text.contains("symbols    pending"), "{text}");
    }
}
