//! Texts that mean something to whoever shows them: every text of every table, and of the manifest, is one.

use std::fs::File;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray as _, ListArray, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::{analyze, copy_of};
use crate::golden::reports;

const HOSTILE: [&str; 14] = [
    "\x1b]0;owned\x07\x1b[2J",
    "\u{9b}31m",
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "</script><script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "]]>&lt;&#0;",
    "\u{202e}gnp.exe\u{2028}",
    "a;b,\"c\"\r\nd",
    "../../../etc/passwd",
    "\0\u{fffe}\u{ffff}",
];

/// Equal texts stay equal, so that what was counted together still is.
fn hostile(text: &str) -> String {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let place = usize::try_from(hasher.finish() % HOSTILE.len() as u64).unwrap();
    format!("{}{text}", HOSTILE[place])
}

fn spoiled(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Utf8 => {
            let texts = column.as_string::<i32>().iter().map(|text| text.map(hostile));
            Arc::new(texts.collect::<StringArray>())
        }
        DataType::List(field) if field.data_type() == &DataType::Utf8 => {
            let lists = column.as_list::<i32>();
            let (offsets, nulls) = (lists.offsets().clone(), lists.nulls().cloned());
            Arc::new(ListArray::new(Arc::clone(field), offsets, spoiled(lists.values()), nulls))
        }
        _ => Arc::clone(column),
    }
}

/// The files of a recording.
fn files(recording: &Path) -> Vec<PathBuf> {
    let entries = |path: &Path| std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let within = entries(recording).flat_map(|path| match path.is_dir() {
        true => entries(&path).collect(),
        false => vec![path],
    });
    within.collect()
}

/// Replaces the texts of a table.
fn spoil(path: &Path) {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    let schema = Arc::clone(reader.schema());
    let batches: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
    let mut writer =
        ArrowWriter::try_new(File::create(path).unwrap(), Arc::clone(&schema), None).unwrap();
    for batch in batches {
        let columns = batch.columns().iter().map(spoiled).collect();
        writer.write(&RecordBatch::try_new(Arc::clone(&schema), columns).unwrap()).unwrap();
    }
    writer.close().unwrap();
}

/// Replaces the texts of a manifest, but those that this version must know.
fn spoil_manifest(path: &Path) {
    fn walk(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::String(text) => *text = hostile(text),
            serde_json::Value::Array(values) => values.iter_mut().for_each(walk),
            serde_json::Value::Object(values) => {
                const KNOWN: [&str; 3] = ["symbols", "why", "kind"];
                let free = values.iter_mut().filter(|(key, _)| !KNOWN.contains(&key.as_str()));
                free.for_each(|(_, value)| walk(value));
            }
            serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {
            }
        }
    }
    let mut manifest = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    walk(&mut manifest);
    std::fs::write(path, serde_json::to_vec(&manifest).unwrap()).unwrap();
}

/// The recordings of `fixtures/`, with every text replaced.
fn everything_hostile() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for recording in ["demo", "heap", "kernel", "offcpu", "probes", "tracers"] {
        let name = format!("{recording}.lookback");
        copy_of(&name, directory.path());
        let recording = directory.path().join(&name);
        for path in files(&recording) {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("parquet") => spoil(&path),
                Some("json") => spoil_manifest(&path),
                _ => {}
            }
        }
    }
    directory
}

/// Whether a terminal would do more than show it.
fn steers(character: char) -> bool {
    let turns = ('\u{202a}'..='\u{202e}').contains(&character) || character == '\u{2028}';
    turns || (character.is_control() && character != '\n')
}

/// The reports of `fixtures/reports` about these recordings, and pictures.
fn questions() -> Vec<Vec<String>> {
    let listed = reports().into_iter().map(|(_, arguments)| arguments);
    let killed = ["killed.lookback", "lossy.lookback"];
    let listed = listed.filter(|words| !words.iter().any(|word| killed.contains(&word.as_str())));
    let drawn =
        ["demo", "heap --weight outstanding", "offcpu --weight wall", "probes --weight probe"];
    let drawn = drawn.map(|words| {
        let (recording, options) = words.split_once(' ').unwrap_or((words, ""));
        let name = format!("{recording}.lookback");
        let options = options.split_whitespace().map(str::to_owned);
        ["flamegraph".to_owned(), name].into_iter().chain(options).collect()
    });
    listed.chain(drawn).collect()
}

#[test]
fn what_is_written_is_only_text_to_whoever_shows_it() {
    let directory = everything_hostile();
    let (mut rows, mut pictures, mut hostile_cells, mut scripts_shown) = (0, 0, 0, 0);
    for question in questions() {
        let arguments: Vec<&str> = question.iter().map(String::as_str).collect();
        let ended = analyze(directory.path(), &arguments);
        let text = &ended.stdout;
        if ended.status.code() != Some(0) && arguments[0] != "check" {
            // A filter by name finds nothing, or a text that must be known is not.
            assert!(ended.stderr.starts_with("analyze: "), "{arguments:?}: {ended:?}");
        }
        assert!(!ended.stderr.chars().any(steers), "{arguments:?}: {:?}", ended.stderr);
        let format = arguments.iter().position(|word| *word == "--format");
        match format.map(|at| arguments[at + 1]) {
            Some("csv") => {
                let mut reader = csv::Reader::from_reader(text.as_bytes());
                for record in reader.records() {
                    let record = record.unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
                    for cell in &record {
                        let formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
                        let number = cell.parse::<f64>().is_ok();
                        assert!(!formula || number, "{arguments:?}: {cell:?}");
                        hostile_cells += u32::from(cell.starts_with('\''));
                    }
                    rows += 1;
                }
            }
            Some("json") => {
                let json: serde_json::Value = serde_json::from_str(text)
                    .unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
                rows += json.as_array().map_or(1, Vec::len);
                assert!(!text.chars().any(steers), "{arguments:?}");
            }
            Some(_) | None if text.starts_with("<?xml") => {
                let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
                let svg = roxmltree::Document::parse_with_options(text, options)
                    .unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
                let scripts = svg.descendants().filter(|node| node.has_tag_name("script"));
                // The viewer's own.
                assert!(scripts.count() <= 1, "{arguments:?}");
                let mut images = svg.descendants().filter(|node| node.has_tag_name("img"));
                assert!(images.next().is_none(), "{arguments:?}");
                scripts_shown += text.matches("&lt;/script&gt;").count();
                pictures += 1;
            }
            Some(_) | None => {
                // Stacks are indented by a tab.
                let lines = text.lines().map(|line| line.strip_prefix('\t').unwrap_or(line));
                let found: String = lines.flat_map(str::chars).filter(|one| steers(*one)).collect();
                assert!(found.is_empty(), "{arguments:?}: {found:?} in {text}");
                rows += text.lines().count();
            }
        }
    }
    let counts = [rows, pictures, hostile_cells as usize, scripts_shown];
    assert!(rows > 1000 && pictures == 4 && hostile_cells > 0 && scripts_shown > 0, "{counts:?}");
}

#[test]
fn pages_hold_hostile_texts_as_data() {
    let directory = everything_hostile();
    let mut hostile_texts = 0;
    for recording in ["demo", "heap", "offcpu", "probes", "tracers"] {
        let ended = analyze(directory.path(), &["report", &format!("{recording}.lookback")]);
        assert_eq!(ended.status.code(), Some(0), "{recording}: {}", ended.stderr);
        let page = &ended.stdout;
        let ends = page.matches("</script").count();
        assert_eq!(ends, 2, "{recording}: those of the data and of the scripts");
        assert!(!page.chars().any(steers), "{recording}");
        let (_, rest) = page.split_once("id=\"data\">").unwrap();
        let (data, _) = rest.split_once("</script>").unwrap();
        assert!(!data.contains(['<', '>', '&']), "{recording}");
        let parsed: serde_json::Value = serde_json::from_str(data).unwrap();
        assert!(parsed["tables"].as_array().is_some_and(|tables| !tables.is_empty()));
        hostile_texts += data.matches("\\u003cimg src=x onerror").count();
    }
    assert!(hostile_texts > 0);
}

#[test]
fn the_texts_are_all_there_in_json() {
    let directory = everything_hostile();
    let asked = ["cat", "demo.lookback", "exec", "--format", "json"];
    let ended = analyze(directory.path(), &asked);
    let rows: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    let text = |row: &serde_json::Value| row["comm"].as_str().unwrap().to_owned();
    let found: Vec<String> = rows.as_array().unwrap().iter().map(text).collect();
    assert!(found.len() > 3);
    for text in found {
        let plain = HOSTILE.iter().find_map(|hostile| text.strip_prefix(hostile));
        assert_eq!(hostile(plain.unwrap()), text, "it is as it was recorded");
    }
}
