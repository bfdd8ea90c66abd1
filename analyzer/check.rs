//! Whether a recording is whole: every file, and every reference between its tables.
//!
//! A *damage* is what a correct recorder never leaves behind, killed or not: a file that does not
//! decode, a stack whose frames are missing, totals that do not fit the rows. A *note* is worth
//! knowing but has honest causes, such as the half-written file of a killed recorder, or a cgroup
//! of version 1, which has no name in the recording. After a damage the check goes on with what is
//! left.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use clap::Args;
use lookback_schemas::cell::View as _;
use lookback_schemas::manifest;
use lookback_schemas::segment::{self, Segment};
use lookback_schemas::tables::{
    Alloc, Cgroup, Exec, Exit, Fork, Frame, Kalloc, Loss, Offcpu, Probe, Process, Runq, Sample,
    Stack, Symbol, Vm,
};
use lookback_schemas::wire::Reason;
use lookback_schemas::{Table, TableId, cell, symbols};

use crate::cli::{Source, SourceArgs};
use crate::hosts::tree::RecordingsArgs;
use crate::losses::missing;
use crate::processes::known;
use crate::render::{Column, Format, OutputArgs, Value, thousands};
use crate::window::{Span, WindowArgs, timed};

/// Shown below the help.
pub const EXAMPLE: &str = "Example:\n  analyze check web1.lookback && echo whole\n\nThe exit status \
                           is 0 where nothing is damaged, 1 where something is, and 2 where it is \
                           no recording.";

/// Options of `analyze check`.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// The recordings.
    #[command(flatten)]
    pub recordings: RecordingsArgs,
    /// Where the report goes.
    #[command(flatten)]
    pub output: OutputArgs,
}

impl CheckArgs {
    /// The same as for other reports.
    #[must_use]
    pub fn source(&self) -> SourceArgs {
        let (recordings, output) = (self.recordings.clone(), self.output.clone());
        SourceArgs { recordings, window: WindowArgs::default(), output }
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Severity {
    Damage,
    Note,
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    severity: Severity,
    file: String,
    what: String,
}

/// Prints the report; tells whether nothing is damaged.
///
/// # Errors
/// If the recording has no readable manifest, or the output cannot be written.
pub fn run(source: &Source) -> anyhow::Result<bool> {
    let mut check = Check::new(source);
    check.files();
    check.references();
    check.totals();

    let damages =
        check.findings.iter().filter(|finding| finding.severity == Severity::Damage).count();
    let mut output = source.begin(&[])?;
    if output.format() == Format::Table && check.findings.is_empty() {
        output.line(&format!(
            "whole: {} rows in {} files",
            thousands(check.rows.values().sum::<u64>()),
            thousands(check.segments)
        ))?;
        output.finish()?;
        return Ok(true);
    }
    let mut rows = output.rows(vec![
        Column::new("severity", "SEVERITY"),
        Column::new("file", "FILE"),
        Column::new("finding", "FINDING"),
    ]);
    for finding in check.findings {
        let severity = match finding.severity {
            Severity::Damage => "damage",
            Severity::Note => "note",
        };
        let texts = [severity.to_owned(), finding.file, finding.what];
        rows.row(&texts.map(Value::Text))?;
    }
    rows.end()?;
    output.finish()?;
    Ok(damages == 0)
}

/// Ids that rows refer to, with how many rows do.
type References = BTreeMap<i64, u64>;

struct Check<'a> {
    source: &'a Source,
    findings: Vec<Finding>,
    /// Rows that were found in each table.
    rows: BTreeMap<TableId, u64>,
    /// Tables of which a file is damaged: what is missing there is no further damage.
    damaged: HashSet<TableId>,
    /// Tables of which rows were written that the disk does not have.
    cut_off: HashSet<TableId>,
    segments: u64,
    /// From when to when events may be.
    span: (i64, i64),
    stacks: HashSet<i64>,
    frames: HashSet<i64>,
    cgroups: HashSet<i64>,
    /// By the column that refers.
    to_stacks: BTreeMap<&'static str, References>,
    to_frames: BTreeMap<&'static str, References>,
    to_cgroups: BTreeMap<&'static str, References>,
}

/// How far outside the recorder's own times an event may lie: the clocks are read one after the
/// other.
const SLACK: i64 = 2_000_000_000;

impl<'a> Check<'a> {
    fn new(source: &'a Source) -> Check<'a> {
        // What took long may have begun before what is kept.
        let span = Span { start: source.recording.manifest().started, ..source.window.span };
        Check {
            source,
            findings: Vec::new(),
            rows: BTreeMap::new(),
            damaged: HashSet::new(),
            cut_off: HashSet::new(),
            segments: 0,
            span: (span.start.saturating_sub(SLACK), span.end.saturating_add(SLACK)),
            stacks: HashSet::new(),
            frames: HashSet::new(),
            cgroups: HashSet::new(),
            to_stacks: BTreeMap::new(),
            to_frames: BTreeMap::new(),
            to_cgroups: BTreeMap::new(),
        }
    }

    fn find(&mut self, severity: Severity, path: &Path, what: impl Into<String>) {
        let root = self.source.recording.directory();
        let file = path.strip_prefix(root).unwrap_or(path).display().to_string();
        self.findings.push(Finding { severity, file, what: what.into() });
    }

    /// The error without the path, which stands in a column of its own.
    fn damage(&mut self, table: TableId, path: &Path, error: &lookback_schemas::Error) {
        let what = match error {
            lookback_schemas::Error::Io { cause, .. } => cause.to_string(),
            lookback_schemas::Error::Damaged { path: at, why } if at == path => why.clone(),
            lookback_schemas::Error::Damaged { .. }
            | lookback_schemas::Error::NotARecording { .. }
            | lookback_schemas::Error::TooNew { .. } => error.to_string(),
        };
        self.damaged.insert(table);
        self.find(Severity::Damage, path, what);
    }

    /// Reads every file, and looks for those that should not be there.
    fn files(&mut self) {
        let root = self.source.recording.directory().to_owned();
        for path in self.entries(&root) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            match TableId::from_name(&name) {
                Some(table) if path.is_dir() => self.table(table, &path),
                _ if name == manifest::FILE => {}
                None if name == symbols::FOLDER && path.is_dir() => {}
                _ => self.stray(&path, &name),
            }
        }
    }

    fn stray(&mut self, path: &Path, name: &str) {
        let what = if name.ends_with(".new") || name.ends_with(".compact") {
            "left over from a write that was cut off; it can be deleted"
        } else if path.is_dir() {
            "a table that this version does not know"
        } else {
            "a file that this version does not know"
        };
        self.find(Severity::Note, path, what);
    }

    /// What lies in the directory, in order.
    fn entries(&mut self, directory: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(directory)
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
        match entries {
            Ok(paths) => {
                let mut paths: Vec<PathBuf> = paths;
                paths.sort();
                paths
            }
            Err(error) => {
                self.find(Severity::Damage, directory, error.to_string());
                Vec::new()
            }
        }
    }

    fn table(&mut self, table: TableId, folder: &Path) {
        let mut segments = Vec::new();
        for path in self.entries(folder) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("parquet") => segments.push(path),
                // The sidecar of a segment that was about to be created.
                Some("footer") if name.ends_with(".parquet.footer") => {
                    segments.push(path.with_extension(""));
                }
                Some(_) | None => self.stray(&path, &name),
            }
        }
        segments.dedup();
        for path in segments {
            self.segments += 1;
            match segment::open(&path) {
                Ok(segment) => self.segment(table, &segment),
                Err(error) => self.damage(table, &path, &error),
            }
        }
    }

    fn segment(&mut self, table: TableId, segment: &Segment) {
        let path = segment.path();
        let ended = self.source.window.span.ended;
        let footer = segment::sidecar(path);
        if segment.finished() && footer.exists() {
            self.find(Severity::Note, &footer, "no longer needed: its segment is finished");
        }
        if segment.cut_off() {
            self.cut_off.insert(table);
            let severity = if ended { Severity::Damage } else { Severity::Note };
            let what = "its last rows are missing: the machine stopped before the disk had them";
            self.find(severity, path, what);
        } else if !segment.finished() && ended {
            let what = "has no footer, although the recording has ended: read by its sidecar";
            self.find(Severity::Note, path, what);
        }
        let batches = match segment.reader(None, None) {
            Ok(batches) => batches,
            Err(error) => return self.damage(table, path, &error),
        };
        let mut outside = 0_u64;
        let mut found = 0_u64;
        for batch in batches {
            let result = batch.and_then(|batch| {
                found += batch.num_rows() as u64;
                outside += self.count_outside(table, &batch);
                self.batch(table, &batch).map_err(lookback_schemas::Error::damaged(path))
            });
            if let Err(error) = result {
                self.damage(table, path, &error);
                break;
            }
        }
        *self.rows.entry(table).or_default() += found;
        if outside > 0 {
            let what = format!("{} rows lie outside the recording's time", thousands(outside));
            self.find(Severity::Damage, path, what);
        }
    }

    fn count_outside(&self, table: TableId, batch: &RecordBatch) -> u64 {
        if !timed(table) {
            return 0;
        }
        // What is wrong with the column is found when the batch is decoded.
        let Ok(ts) = cell::column::<i64>(batch, "ts") else { return 0 };
        let (start, end) = self.span;
        ts.values().iter().filter(|ts| **ts < start || **ts > end).count() as u64
    }

    /// Decodes the batch, and remembers what its rows name and refer to.
    fn batch(&mut self, table: TableId, batch: &RecordBatch) -> Result<(), String> {
        match table {
            TableId::Exec => {
                let rows = view::<Exec>(batch)?;
                self.refer_to_cgroups("exec.cgroup", &rows.cgroup);
            }
            TableId::Fork => {
                let rows = view::<Fork>(batch)?;
                self.refer_to_cgroups("fork.cgroup", &rows.cgroup);
            }
            TableId::Exit => {
                let rows = view::<Exit>(batch)?;
                self.refer_to_cgroups("exit.cgroup", &rows.cgroup);
            }
            TableId::Process => {
                let rows = view::<Process>(batch)?;
                self.refer_to_cgroups("process.cgroup", &rows.cgroup);
            }
            TableId::Cgroup => self.cgroups.extend(view::<Cgroup>(batch)?.id.values()),
            TableId::Runq => {
                let rows = view::<Runq>(batch)?;
                self.refer_to_cgroups("runq.cgroup", &rows.cgroup);
            }
            TableId::Signal
            | TableId::Kill
            | TableId::Clock
            | TableId::Syscall
            | TableId::Open
            | TableId::Unlink
            | TableId::Hardirq
            | TableId::Softirq
            | TableId::Tcpconnect
            | TableId::Tcpstate
            | TableId::Tcprtt
            | TableId::Lsmconnect
            | TableId::Gc
            | TableId::Readline
            | TableId::Span => table.validate(batch)?,
            TableId::Kalloc => {
                let rows = view::<Kalloc>(batch)?;
                self.refer_to_stacks("kalloc.stack", &rows.stack);
            }
            TableId::Alloc => {
                let rows = view::<Alloc>(batch)?;
                self.refer_to_stacks("alloc.stack", &rows.stack);
            }
            TableId::Probe => {
                let rows = view::<Probe>(batch)?;
                self.refer_to_stacks("probe.stack", &rows.stack);
                self.refer_to_stacks("probe.kernel_stack", &rows.kernel_stack);
            }
            TableId::Offcpu => {
                let rows = view::<Offcpu>(batch)?;
                self.refer_to_stacks("offcpu.user_stack", &rows.user_stack);
                self.refer_to_stacks("offcpu.kernel_stack", &rows.kernel_stack);
            }
            TableId::Vm => {
                let rows = view::<Vm>(batch)?;
                self.refer_to_stacks("vm.stack", &rows.stack);
            }
            TableId::Loss => {
                let rows = view::<Loss>(batch)?;
                for row in 0..rows.reason.len() {
                    if Reason::from_name(rows.reason.value(row)).is_none() {
                        return Err(format!("unknown reason `{}`", rows.reason.value(row)));
                    }
                }
            }
            TableId::Sample => {
                let rows = view::<Sample>(batch)?;
                self.refer_to_stacks("sample.user_stack", &rows.user_stack);
                self.refer_to_stacks("sample.kernel_stack", &rows.kernel_stack);
            }
            TableId::Stack => {
                let rows = view::<Stack>(batch)?;
                self.stacks.extend(rows.id.values());
                let references = self.to_frames.entry("stack.frames").or_default();
                for row in 0..rows.frames.len() {
                    let frames = rows.frames.value(row);
                    let frames = frames.as_primitive_opt::<Int64Type>();
                    for id in frames.into_iter().flatten() {
                        *references.entry(id.ok_or("a frame of a stack is null")?).or_default() +=
                            1;
                    }
                }
            }
            TableId::Frame => self.frames.extend(view::<Frame>(batch)?.id.values()),
            TableId::Symbol => {
                let rows = view::<Symbol>(batch)?;
                let references = self.to_frames.entry("symbol.frame").or_default();
                for id in rows.frame.values() {
                    *references.entry(*id).or_default() += 1;
                }
            }
        }
        Ok(())
    }

    fn refer_to_cgroups(&mut self, name: &'static str, ids: &arrow::array::Int64Array) {
        let references = self.to_cgroups.entry(name).or_default();
        for row in 0..ids.len() {
            if let Some(id) = known!(ids, row) {
                *references.entry(id).or_default() += 1;
            }
        }
    }

    fn refer_to_stacks(&mut self, name: &'static str, ids: &arrow::array::Int64Array) {
        let references = self.to_stacks.entry(name).or_default();
        for id in ids.iter().flatten() {
            *references.entry(id).or_default() += 1;
        }
    }

    fn references(&mut self) {
        let checks = [
            (std::mem::take(&mut self.to_stacks), TableId::Stack, std::mem::take(&mut self.stacks)),
            (std::mem::take(&mut self.to_frames), TableId::Frame, std::mem::take(&mut self.frames)),
            (
                std::mem::take(&mut self.to_cgroups),
                TableId::Cgroup,
                std::mem::take(&mut self.cgroups),
            ),
        ];
        for (columns, target, known) in checks {
            for (column, references) in columns {
                let mut unknown =
                    references.iter().filter(|(id, _)| !known.contains(id)).peekable();
                let Some((example, _)) = unknown.peek().copied() else { continue };
                let (ids, rows) =
                    unknown.fold((0_u64, 0_u64), |(ids, rows), (_, more)| (ids + 1, rows + more));
                // Filters and version 1 leave cgroups without names. Of a recording that was cut
                // off, one table may reach further than another; and what refers to a damaged file
                // is no damage of its own.
                let honest = target == TableId::Cgroup
                    || !self.source.window.span.ended
                    || self.damaged.contains(&target)
                    || self.lost(target);
                let severity = if honest { Severity::Note } else { Severity::Damage };
                let folder = column.split('.').next().unwrap_or(column);
                let path = self.source.recording.directory().join(folder);
                let what = format!(
                    "{} references of `{column}` to {} ids that are not in table `{}`, such as \
                     {example}",
                    thousands(rows),
                    thousands(ids),
                    target.name(),
                );
                self.find(severity, &path, what);
            }
        }
    }

    /// Whether the recorder says that rows of the table are missing.
    fn lost(&self, table: TableId) -> bool {
        missing(&self.source.recording, &[table], &self.source.window)
            .is_ok_and(|missing| !missing.is_empty())
    }

    /// Compares the rows with what the manifest says.
    fn totals(&mut self) {
        let totals = self.source.recording.manifest().totals.clone();
        let path = self.source.recording.directory().join(manifest::FILE);
        let ended = self.source.window.span.ended;
        for (name, total) in totals {
            let Some(table) = TableId::from_name(&name) else {
                self.find(
                    Severity::Note,
                    &path,
                    format!("names a table `{name}` that this version does not know"),
                );
                continue;
            };
            let found = self.rows.get(&table).copied().unwrap_or(0);
            // While it runs, the manifest is behind the tables, also with what was discarded.
            let fits = match ended {
                true => found == total.rows,
                false => found >= total.rows || self.source.recording.manifest().kept.is_some(),
            };
            if !fits && !self.damaged.contains(&table) {
                let what = format!(
                    "says that table `{name}` has {} rows, but it has {}",
                    thousands(total.rows),
                    thousands(found)
                );
                // Names can be written anew, and the manifest follows. And the disk may have had the
                // manifest before the rows.
                let anew = table == TableId::Symbol;
                let cut_off = !ended && self.cut_off.contains(&table);
                self.find(
                    if anew || cut_off { Severity::Note } else { Severity::Damage },
                    &path,
                    what,
                );
            }
        }
    }
}

fn view<T: Table>(batch: &RecordBatch) -> Result<T::Columns, String> {
    T::Columns::view(batch)
}

#[cfg(test)]
mod tests {
    use crate::made::{Made, analyze};

    fn findings(made: &Made) -> Vec<(String, String, String)> {
        let text = analyze(made, &["check", "--format", "json"]).expect("it is a recording");
        let json: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        json.as_array()
            .expect("an array")
            .iter()
            .map(|row| (text(&row["severity"]), text(&row["file"]), text(&row["finding"])))
            .collect()
    }

    fn good() -> Made {
        let made = Made::new();
        made.rows(&[
            made.fork(1.0, 10, 1),
            made.sample(1.0, 10, "a", Some(1), Some(2)),
            made.stack(1, &[10], false),
            made.stack(2, &[20], false),
            made.frame(10, false, None, None),
            made.frame(20, true, None, None),
            made.symbol(10, 0, "main"),
        ]);
        made
    }

    #[test]
    fn a_good_recording_has_no_findings_killed_or_not() {
        let made = good();
        assert_eq!(findings(&made), []);
        made.end(5.0);
        assert_eq!(findings(&made), []);
        let text = analyze(&made, &["check"]).expect("it is a recording");
        assert!(text.contains("whole: 7 rows in 5 files"), "{text}");
    }

    #[test]
    fn references_to_nothing_are_damage() {
        let made = good();
        made.rows(&[
            made.sample(2.0, 10, "a", Some(99), None),
            made.stack(3, &[77, 10], false),
            made.symbol(78, 0, "f"),
            made.exec_in(2.0, 10, 1, &["/bin/a"], Some(4), None),
        ]);
        made.end(5.0);
        let found = findings(&made);
        let of = |column: &str| {
            let found = found.iter().find(|(_, _, what)| what.contains(column));
            found.map(|(severity, file, _)| format!("{severity} {file}"))
        };
        assert_eq!(of("sample.user_stack").as_deref(), Some("damage sample"));
        assert_eq!(of("stack.frames").as_deref(), Some("damage stack"));
        assert_eq!(of("symbol.frame").as_deref(), Some("damage symbol"));
        assert_eq!(of("exec.cgroup").as_deref(), Some("note exec"));
        assert_eq!(found.len(), 4);
    }

    #[test]
    fn every_damaged_file_is_found() {
        let made = good();
        made.rows(&[made.fork(100.0, 11, 1)]);
        made.end(5.0);
        let path = |name: &str| made.path().join(name);
        std::fs::write(path("symbol/000001.parquet"), b"no Parquet").expect("writable");
        let sample = path("sample/000001.parquet");
        let bytes = std::fs::read(&sample).expect("it is there");
        std::fs::write(&sample, &bytes[..bytes.len() / 2]).expect("writable");
        std::fs::write(path("fork/000002.parquet.new"), b"").expect("writable");
        std::fs::create_dir(path("future")).expect("writable");
        std::fs::remove_file(path("frame/000001.parquet")).expect("writable");
        let found = findings(&made);
        for (severity, file, part) in [
            ("damage", "symbol/000001.parquet", ""),
            ("damage", "sample/000001.parquet", ""),
            ("damage", "fork/000001.parquet", "1 rows lie outside"),
            ("damage", "manifest.json", "`frame` has 2 rows, but it has 0"),
            ("damage", "stack", "stack.frames"),
            ("note", "fork/000002.parquet.new", "left over"),
            ("note", "future", "does not know"),
        ] {
            let matches = |(s, f, what): &&(String, String, String)| {
                s == severity && f == file && what.contains(part)
            };
            assert!(found.iter().find(matches).is_some(), "{file}: {found:?}");
        }
        assert_eq!(found.len(), 7, "{found:?}");
    }
}
