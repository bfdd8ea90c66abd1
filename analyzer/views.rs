//! Views over recordings, for other programs that answer SQL.
//!
//! The tables of a recording are Parquet files, which DuckDB, DataFusion and Spark read. What they do not
//! know is which files belong together, what the columns mean, and what our reports make of them. That is
//! printed here as `CREATE VIEW` statements: one view for each [table](tables) over the rows of all
//! recordings, with the columns `host` and `recording` before its own; and one for each [report](reports).
//! Tables that no recording has are views without rows, so that every report runs.
//!
//! A segment that was not finished has no footer in it, and only `analyze` reads it. Such are left out: the
//! text says so, and so do the views `left_out` and `losses`.

pub mod engine;
pub mod reports;
pub mod tables;

use std::path::PathBuf;

use clap::Args;
use lookback_schemas::{TableId, Type};

use self::engine::Engine;
use self::tables::{SOURCE, Source};
use crate::losses::Heading;
use crate::render::{Output, OutputArgs, escaped};
use crate::window::{Span, Window};

/// Shown below the help.
pub const EXAMPLE: &str = "Examples:\n  analyze views --engine duckdb web1.lookback > web1.sql && duckdb \
                           -init web1.sql\n  analyze views --engine spark recordings/\n\nBelow a \
                           directory all recordings are found; in a tree such as host=web1/REC, the column \
                           `host` is from the path. See docs/sql.md.";

/// Options of `analyze views`.
#[derive(Args, Debug)]
pub struct ViewsArgs {
    /// For which program
    #[arg(long, value_enum)]
    pub engine: Engine,
    /// Recordings, or directories with recordings below them; the SQL names them as they are given
    #[arg(value_name = "RECORDING", required = true)]
    pub recordings: Vec<PathBuf>,
}

/// Prints the statements.
///
/// # Errors
/// If there is no recording, a segment is damaged, or the output cannot be written.
pub fn run(args: &ViewsArgs) -> anyhow::Result<()> {
    let mut sources = tables::sources(&args.recordings)?;
    let mut output = Output::open(&OutputArgs::default(), 0)?;
    for statement in script(args.engine, &mut sources)? {
        output.line(&statement)?;
    }
    output.finish()
}

/// All of the text: comments, and statements that each end with `;`.
fn script(engine: Engine, sources: &mut [Source]) -> anyhow::Result<Vec<String>> {
    let mut views = Vec::new();
    for table in TableId::ALL {
        views.extend(tables::view(engine, *table, sources)?);
    }
    views.extend(recordings(engine, sources));
    views.extend(left_out(engine, sources));
    for report in reports::ALL {
        let columns: Vec<(String, String)> = of_source()
            .chain(report.columns.iter().map(|(name, doc)| ((*name).to_owned(), (*doc).to_owned())))
            .collect();
        let body = engine.spell(report.definition.trim_end());
        views.extend(statements(engine, report.name, report.doc, &columns, &body));
    }
    let mut script = vec![format!("-- Views over recordings of lookback, for {}.", engine.name())];
    script.extend(sources.iter().flat_map(said));
    script.extend(views.into_iter().map(|statement| format!("\n{statement};")));
    Ok(script)
}

/// What a reader must know of a recording.
fn said(source: &Source) -> Vec<String> {
    let recording = source.recording();
    let heading = Heading::new(recording, &[], &Window::all(Span::of(recording)));
    let mut said = vec![format!("{}: {}", source.path(), heading.covers)];
    said.extend(heading.warnings);
    if !source.left_out.is_empty() {
        let rows: u64 = source.left_out.iter().map(|segment| segment.rows).sum();
        said.push(format!(
            "LEFT OUT: {} unfinished segments with {rows} rows, which only `analyze` reads: see the view \
             left_out. `analyze repair` finishes them; then print this again.",
            source.left_out.len(),
        ));
    }
    said.iter().map(|line| format!("-- {}", escaped(line))).collect()
}

fn of_source() -> impl Iterator<Item = (String, String)> {
    SOURCE.iter().map(|(name, doc)| ((*name).to_owned(), (*doc).to_owned()))
}

/// A row for each recording.
fn recordings(engine: Engine, sources: &[Source]) -> Vec<String> {
    let columns = [
        ("path", "Where it is."),
        ("started", "ns since the epoch: When recording began."),
        (
            "ended",
            "ns since the epoch: When it ended; null where the recorder was killed or still runs.",
        ),
        ("why", "Why it ended: duration, interrupt, terminate, command or error."),
        ("kernel", "The kernel's release."),
        ("arch", "The machine's architecture, as uname -m has it."),
        ("cpus", "CPUs that were online."),
    ];
    let rows = sources.iter().map(|source| source.values(engine)).collect();
    let doc = "The recordings that these views are over.";
    listed(engine, "recordings", doc, &columns, rows)
}

/// A row for each segment that the views leave out.
fn left_out(engine: Engine, sources: &[Source]) -> Vec<String> {
    let columns = [
        ("table", "The table that misses its rows."),
        ("file", "The segment."),
        ("rows", "How many rows it has."),
    ];
    let mut rows = Vec::new();
    for source in sources {
        for segment in &source.left_out {
            let [host, recording] = source.of(engine);
            let table = engine.quoted(segment.table.name());
            let file = engine.quoted(&escaped(&segment.file));
            rows.push(format!("{host}, {recording}, {table}, {file}, {}", segment.rows));
        }
    }
    if rows.is_empty() {
        let text = engine.null(Type::Text);
        rows.push(format!("{text}, {text}, {text}, {text}, {}", engine.null(Type::I64)));
    }
    let doc = "Segments that were not finished, and whose rows are in no view: `analyze repair` finishes them.";
    listed(engine, "left_out", doc, &columns, rows)
}

/// A view of these rows. Where its last column is null, it has none.
fn listed(
    engine: Engine,
    name: &str,
    doc: &str,
    columns: &[(&str, &str)],
    rows: Vec<String>,
) -> Vec<String> {
    let own = columns.iter().map(|(name, doc)| ((*name).to_owned(), (*doc).to_owned()));
    let columns: Vec<(String, String)> = of_source().chain(own).collect();
    let names: Vec<String> = columns.iter().map(|(name, _)| engine.identifier(name)).collect();
    let rows: Vec<String> = rows.into_iter().map(|row| format!("({row})")).collect();
    let last = names.last().map_or("", String::as_str);
    let body = format!(
        "SELECT * FROM (VALUES\n  {}\n) AS listed({}) WHERE {last} IS NOT NULL",
        rows.join(",\n  "),
        names.join(", ")
    );
    statements(engine, name, doc, &columns, &body)
}

/// The statements that make a view, and say what it and its columns are. None of the texts comes from a
/// recording.
fn statements(
    engine: Engine,
    name: &str,
    doc: &str,
    columns: &[(String, String)],
    body: &str,
) -> Vec<String> {
    let create = engine.create_view();
    let view = engine.identifier(name);
    match engine {
        Engine::Duckdb => {
            let mut statements = vec![format!("{create} {view} AS\n{body}")];
            statements.push(format!("COMMENT ON VIEW {view} IS {}", engine.quoted(doc)));
            statements.extend(columns.iter().map(|(column, doc)| {
                let column = engine.identifier(column);
                format!("COMMENT ON COLUMN {view}.{column} IS {}", engine.quoted(doc))
            }));
            statements
        }
        Engine::Datafusion => {
            // It keeps no comments.
            let docs: String =
                columns.iter().map(|(column, doc)| format!("--   {column}: {doc}\n")).collect();
            vec![format!("-- {name}: {doc}\n{docs}{create} {view} AS\n{body}")]
        }
        Engine::Spark => {
            let docs: Vec<String> = columns
                .iter()
                .map(|(column, doc)| {
                    format!("  {} COMMENT {}", engine.identifier(column), engine.quoted(doc))
                })
                .collect();
            let (docs, doc) = (docs.join(",\n"), engine.quoted(doc));
            vec![format!("{create} {view} (\n{docs}\n) COMMENT {doc} AS\n{body}")]
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::made::Made;

    fn printed(engine: Engine, recording: &Path) -> String {
        let source = Source::open(recording).expect("it is a recording");
        script(engine, &mut [source]).expect("it is whole").join("\n")
    }

    /// A recording of one fork, in a place of this name.
    fn forked_at(name: &str) -> (tempfile::TempDir, PathBuf) {
        let made = Made::new();
        made.rows(&[made.fork(1.0, 10, 1)]);
        made.end(2.0);
        let directory = tempfile::tempdir().expect("tests may make temporary directories");
        let recording = directory.path().join(name);
        let above = recording.parent().expect("it lies in the directory");
        std::fs::create_dir_all(above).expect("tests may make temporary directories");
        std::fs::rename(made.path(), &recording).expect("both are temporary");
        (directory, recording)
    }

    #[test]
    fn every_table_and_report_has_a_view_for_each_engine() {
        let made = Made::new();
        made.end(1.0);
        for engine in Engine::ALL {
            let text = printed(engine, made.path());
            let tables = TableId::ALL.iter().map(|table| table.name());
            for name in tables.chain(reports::ALL.iter().map(|report| report.name)) {
                let create = format!("{} {} ", engine.create_view(), engine.identifier(name));
                assert!(text.contains(&create), "{create}");
            }
            let empty = text.matches("WHERE 1 = 0").count();
            assert_eq!(empty, TableId::ALL.len(), "there is no row, so each is empty");
            assert!(!text.contains('@') && !text.contains("LEFT OUT"));
        }
    }

    #[test]
    fn rows_have_the_host_of_the_path_or_else_of_the_recording() {
        let (_directory, path) = forked_at("host=web7/a.lookback");
        let text = printed(Engine::Duckdb, &path);
        let select = "SELECT 'web7' AS \"host\", 'a.lookback' AS \"recording\", \"ts\", \"pid\"";
        assert!(text.contains(select), "{text}");
        let files = format!("FROM read_parquet('{}/fork/*.parquet'", path.display());
        assert!(text.contains(&files), "{text}");
        let (_directory, path) = forked_at("a.lookback");
        let host = Source::open(&path).expect("it is a recording").of(Engine::Duckdb)[0].clone();
        assert_eq!(host, "'web1'", "which is what its manifest says");
    }

    #[test]
    fn segments_that_only_we_read_are_left_out_and_said_to_be() {
        let made = Made::new();
        made.rows(&[made.fork(1.0, 10, 1), made.fork(2.0, 11, 1)]);
        for engine in Engine::ALL {
            let text = printed(engine, made.path());
            assert!(text.contains("-- LEFT OUT: 1 unfinished segments with 2 rows"), "{text}");
            assert!(text.contains("'fork', '000001.parquet', 2)"), "{text}");
            assert!(!text.contains("/fork/"), "{text}");
        }
    }

    #[test]
    fn where_one_segment_is_left_out_the_others_are_named() {
        let (_directory, path) = forked_at("a.lookback");
        let sidecar = path.join("fork/000002.parquet.footer");
        std::fs::write(sidecar, "").expect("tests may write temporary files");
        for engine in Engine::ALL {
            let text = printed(engine, &path);
            assert!(text.contains("/a.lookback/fork/000001.parquet'"), "{text}");
            assert!(text.contains("'fork', '000002.parquet', 0)"), "{text}");
        }
    }

    #[test]
    fn recordings_that_could_not_be_told_apart_are_refused() {
        let (one, path) = forked_at("a.lookback");
        let (other, _) = forked_at("a.lookback");
        let sources = |paths: &[&Path]| {
            let paths: Vec<PathBuf> = paths.iter().map(|path| (*path).to_owned()).collect();
            tables::sources(&paths).map(|sources| sources.len())
        };
        assert_eq!(sources(&[one.path()]).expect("there is one"), 1);
        let error = sources(&[one.path(), other.path()]).expect_err("of one name").to_string();
        assert!(error.contains("another recording of web1 is called so"), "{error}");
        assert!(sources(&[&path, &path]).is_err());
    }

    #[test]
    fn paths_that_engines_would_read_otherwise_are_refused() {
        for name in
            ["a*.lookback", "it's.lookback", "$HOME.lookback", "50%.lookback", "a\n--.lookback"]
        {
            let (_directory, path) = forked_at(name);
            let error = Source::open(&path).err().expect("it is refused").to_string();
            assert!(error.contains("rename"), "{error}");
        }
        let (directory, path) = forked_at("hosts/host=a/x/a.lookback");
        let found = tables::recordings_below(directory.path()).expect("there is one");
        assert_eq!(found, [path]);
        let nothing = tempfile::tempdir().expect("tests may make temporary directories");
        assert!(tables::recordings_below(nothing.path()).is_err());
    }
}
