//! Which files the tables of recordings are in, and the views over them.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use lookback_schemas::recording::Recording;
use lookback_schemas::segment::Segment;
use lookback_schemas::{Column, TableId, Type};

use super::engine::Engine;
use crate::render::escaped;

/// Characters that some engine takes for a pattern, a variable, or a part of an address.
const NOT_IN_PATHS: &str = "*?[]{}\\$'\"`%#;";

/// What each view begins with: whose rows these are.
pub const SOURCE: [(&str, &str); 2] = [
    ("host", "The machine: the name in the path (host=NAME), or else what the recording says."),
    ("recording", "The name of the recording's folder. Pids, stacks and frames are its own."),
];

/// A recording that views are made over.
pub struct Source {
    recording: Recording,
    /// Its path, safe to stand in SQL.
    path: String,
    /// Values of the columns of [`SOURCE`].
    host: String,
    name: String,
    /// Segments that the engines cannot read.
    pub left_out: Vec<LeftOut>,
}

/// A segment that was not finished, so that no other program can read it.
pub struct LeftOut {
    /// Of which table.
    pub table: TableId,
    /// Its file's name.
    pub file: String,
    /// How many rows it has.
    pub rows: u64,
}

/// Files of one table that have the same columns.
struct Part {
    /// A pattern for these files and no others.
    pattern: String,
    missing: Vec<&'static str>,
}

impl Source {
    /// Opens the recording.
    ///
    /// # Errors
    /// If it is none, or its path is not read by all engines as it stands.
    pub fn open(directory: &Path) -> anyhow::Result<Source> {
        let recording = Recording::open(directory)?;
        let path = directory.to_str().with_context(|| {
            format!("{}: engines read paths as UTF-8; rename it", directory.display())
        })?;
        if path.chars().any(|c| c.is_control() || NOT_IN_PATHS.contains(c)) {
            bail!(
                "{}: engines read some characters in paths as more than themselves ({NOT_IN_PATHS}); rename \
                 it, or make a link to it",
                escaped(path)
            );
        }
        let path = path.trim_end_matches('/').to_owned();
        let partition = path.split('/').rev().find_map(|part| part.strip_prefix("host="));
        let host = partition.unwrap_or(&recording.manifest().host.name);
        let name = path.rsplit('/').next().unwrap_or(&path);
        let (host, name) = (escaped(host).into_owned(), escaped(name).into_owned());
        Ok(Source { recording, path, host, name, left_out: Vec::new() })
    }

    /// The recording.
    pub fn recording(&self) -> &Recording {
        &self.recording
    }

    /// Its path, safe to stand in SQL.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Its values in the view of recordings.
    pub fn values(&self, engine: Engine) -> String {
        let manifest = self.recording.manifest();
        let text = |text: &str| engine.quoted(&escaped(text));
        let (at, why) = match &manifest.ended {
            Some(end) => (end.at.to_string(), text(&end.why)),
            None => (engine.null(Type::I64), engine.null(Type::Text)),
        };
        [
            text(&self.host),
            text(&self.name),
            text(&self.path),
            manifest.started.to_string(),
            at,
            why,
            text(&manifest.host.kernel),
            text(&manifest.host.arch),
            manifest.host.cpus.to_string(),
        ]
        .join(", ")
    }

    /// The values of the columns of [`SOURCE`].
    pub fn of(&self, engine: Engine) -> [String; 2] {
        [&self.host, &self.name].map(|text| engine.quoted(text))
    }

    /// Where the table's rows are that engines can read; notes the files that they cannot.
    fn parts(&mut self, table: TableId) -> anyhow::Result<Vec<Part>> {
        let segments = self.recording.segments(table)?;
        let (finished, unfinished): (Vec<&Segment>, Vec<&Segment>) =
            segments.iter().partition(|segment| segment.finished());
        self.left_out.extend(unfinished.iter().map(|segment| LeftOut {
            table,
            file: segment.path().file_name().unwrap_or_default().to_string_lossy().into_owned(),
            rows: segment.rows(),
        }));
        let folder = format!("{}/{}", self.path, table.name());
        let all = unfinished.is_empty();
        let mut parts = Vec::new();
        for alike in finished.chunk_by(|a, b| missing(a, table) == missing(b, table)) {
            let files = match alike {
                _ if all && alike.len() == finished.len() => vec!["*".to_owned()],
                _ => {
                    alike.iter().map(|segment| number(segment.path())).collect::<Result<_, _>>()?
                }
            };
            let missing = missing(alike[0], table);
            parts.extend(files.into_iter().map(|file| Part {
                pattern: format!("{folder}/{file}.parquet"),
                missing: missing.clone(),
            }));
        }
        Ok(parts)
    }
}

/// The number that a segment is called by. A pattern must name no other file.
fn number(path: &Path) -> anyhow::Result<String> {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    let number = stem.filter(|stem| stem.bytes().all(|byte| byte.is_ascii_digit()));
    let number =
        number.with_context(|| format!("{}: that is no segment's name", path.display()))?;
    Ok(number.to_owned())
}

/// Columns of the table that the segment lacks: an older recorder wrote it.
fn missing(segment: &Segment, table: TableId) -> Vec<&'static str> {
    let schema = segment.metadata().file_metadata().schema_descr().root_schema();
    let names: Vec<&str> = schema.get_fields().iter().map(|field| field.name()).collect();
    let columns = table.columns().iter().map(|column| column.name);
    columns.filter(|column| !names.contains(column)).collect()
}

/// A view over the table of all recordings, as statements.
///
/// # Errors
/// If a segment is damaged.
pub fn view(engine: Engine, table: TableId, sources: &mut [Source]) -> anyhow::Result<Vec<String>> {
    let (mut statements, mut selects) = (Vec::new(), Vec::new());
    for (number, source) in sources.iter_mut().enumerate() {
        for (place, part) in source.parts(table)?.iter().enumerate() {
            let name = format!("{}_{}_{}", table.name(), number + 1, place + 1);
            let (before, from) = files(engine, &name, &part.pattern);
            statements.extend(before);
            let of = std::iter::zip(SOURCE, source.of(engine))
                .map(|((name, _), value)| format!("{value} AS {}", engine.identifier(name)));
            let columns = table.columns().iter().map(|column| {
                let name = engine.identifier(column.name);
                match part.missing.contains(&column.name) {
                    true => format!("{} AS {name}", engine.null(column.ty)),
                    false => name,
                }
            });
            let columns: Vec<String> = of.chain(columns).collect();
            selects.push(format!("SELECT {} FROM {from}", columns.join(", ")));
        }
    }
    if selects.is_empty() {
        let of = SOURCE.map(|(name, _)| (name, Type::Text));
        let columns = table.columns().iter().map(|column| (column.name, column.ty));
        let columns: Vec<String> = of
            .into_iter()
            .chain(columns)
            .map(|(name, ty)| format!("{} AS {}", engine.null(ty), engine.identifier(name)))
            .collect();
        selects.push(format!("SELECT {} WHERE 1 = 0", columns.join(", ")));
    }
    let of = SOURCE.map(|(name, doc)| (name.to_owned(), doc.to_owned()));
    let columns = table.columns().iter().map(|column| (column.name.to_owned(), describe(column)));
    let columns: Vec<(String, String)> = of.into_iter().chain(columns).collect();
    let doc = table.doc().split_whitespace().collect::<Vec<_>>().join(" ");
    let body = selects.join("\nUNION ALL ");
    statements.extend(super::statements(engine, table.name(), &doc, &columns, &body));
    Ok(statements)
}

/// What to select from, to read the files of a pattern; and a statement that must come before.
fn files(engine: Engine, name: &str, pattern: &str) -> (Option<String>, String) {
    let (name, path) = (engine.identifier(name), engine.quoted(pattern));
    match engine {
        Engine::Duckdb => (None, format!("read_parquet({path}, hive_partitioning = false)")),
        Engine::Datafusion => {
            let create = format!("CREATE EXTERNAL TABLE {name} STORED AS PARQUET LOCATION {path}");
            (Some(create), name)
        }
        Engine::Spark => {
            let create = format!(
                "CREATE OR REPLACE TEMPORARY VIEW {name} USING parquet OPTIONS (path {path})"
            );
            (Some(create), name)
        }
    }
}

/// What a column holds, in a line: its unit before what the definition says.
fn describe(column: &Column) -> String {
    let doc = column.doc.split_whitespace().collect::<Vec<_>>().join(" ");
    match column.kind.unit() {
        Some(unit) => format!("{unit}: {doc}"),
        None => doc,
    }
}

/// The recordings at or below the paths.
///
/// # Errors
/// If there is none below one of them, one cannot be opened, or two have the same host and name.
pub fn sources(paths: &[PathBuf]) -> anyhow::Result<Vec<Source>> {
    let mut sources: Vec<Source> = Vec::new();
    let mut known = HashSet::new();
    for path in paths {
        for recording in recordings_below(path)? {
            let source = Source::open(&recording)?;
            if !known.insert((source.host.clone(), source.name.clone())) {
                bail!(
                    "{}: another recording of {} is called so, and its rows could not be told apart; rename \
                     one, or put it into a folder host=NAME",
                    recording.display(),
                    source.host
                );
            }
            sources.push(source);
        }
    }
    Ok(sources)
}

/// The recordings at or below a path, in order.
///
/// # Errors
/// If there is none, or a folder cannot be read.
pub fn recordings_below(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    find(path, &mut found)?;
    if found.is_empty() {
        bail!("{}: neither a recording, nor are there any below it", path.display());
    }
    found.sort();
    Ok(found)
}

fn find(path: &Path, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    if path.join(lookback_schemas::manifest::FILE).exists() {
        found.push(path.to_owned());
        return Ok(());
    }
    let entries = std::fs::read_dir(path).with_context(|| path.display().to_string())?;
    for entry in entries {
        let entry = entry.with_context(|| path.display().to_string())?;
        // Of the entry itself: a link is followed only where it was given.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            find(&entry.path(), found)?;
        }
    }
    Ok(())
}
