//! Files that ask for more than they are worth, and what is no file at all.

use std::fs::File;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::{
    ColumnChunkMetaData, FileMetaData, ParquetMetaData, ParquetMetaDataReader,
    ParquetMetaDataWriter, RowGroupMetaData,
};
use parquet::file::properties::WriterProperties;
use tempfile::TempDir;

use super::{analyze, analyze_within, copy_of};
use crate::running::{Ended, run};

/// A recording that ended, in a directory of its own, whose tables are to be spoiled.
struct Spoiled {
    directory: TempDir,
}

const NAME: &str = "demo.lookback";
const SEGMENT: &str = "000001.parquet";

impl Spoiled {
    fn new() -> Spoiled {
        let directory = tempfile::tempdir().unwrap();
        copy_of(NAME, directory.path());
        Spoiled { directory }
    }

    fn path(&self, within: &str) -> PathBuf {
        self.directory.path().join(NAME).join(within)
    }

    fn analyze(&self, arguments: &[&str]) -> Ended {
        analyze(self.directory.path(), arguments)
    }

    /// What `analyze` says when it fails over this.
    fn error(&self, arguments: &[&str]) -> String {
        let ended = self.analyze(arguments);
        assert_eq!(ended.status.code(), Some(2), "{arguments:?}: {ended:?}");
        ended.stderr
    }

    /// Puts a table of these columns in the place of the one that is there. A page is as long as it likes, and
    /// a text stands in it once (`dictionary`), or in each row.
    fn replace(&self, table: &str, batch: &RecordBatch, dictionary: bool) {
        let folder = self.path(table);
        std::fs::remove_dir_all(&folder).unwrap();
        std::fs::create_dir(&folder).unwrap();
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).unwrap()))
            .set_data_page_size_limit(1 << 30)
            .set_data_page_row_count_limit(usize::MAX)
            .set_write_batch_size(1 << 20)
            .set_dictionary_enabled(dictionary)
            .build();
        let file = File::create(folder.join(SEGMENT)).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
        writer.write(batch).unwrap();
        writer.close().unwrap();
    }

    /// Puts another footer behind the rows of a table.
    fn lie(&self, table: &str, change: impl Fn(ParquetMetaData) -> ParquetMetaData) {
        let path = self.path(table).join(SEGMENT);
        let metadata =
            ParquetMetaDataReader::new().parse_and_finish(&File::open(&path).unwrap()).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let footer = u32::from_le_bytes(bytes[bytes.len() - 8..][..4].try_into().unwrap());
        let mut lying = bytes[..bytes.len() - 8 - footer as usize].to_owned();
        ParquetMetaDataWriter::new(&mut lying, &change(metadata)).finish().unwrap();
        std::fs::write(path, lying).unwrap();
    }
}

/// A footer whose row groups and columns say that they have so many rows.
fn with_rows(metadata: &ParquetMetaData, rows: i64) -> ParquetMetaData {
    let column = |chunk: &ColumnChunkMetaData| {
        chunk.clone().into_builder().set_num_values(rows).build().unwrap()
    };
    let group = |group: &RowGroupMetaData| {
        let columns = group.columns().iter().map(column).collect();
        let builder = group.clone().into_builder().set_num_rows(rows);
        builder.set_column_metadata(columns).build().unwrap()
    };
    let groups: Vec<_> = metadata.row_groups().iter().map(group).collect();
    let schema = metadata.file_metadata().schema_descr_ptr();
    let all = rows.saturating_mul(i64::try_from(groups.len()).unwrap());
    ParquetMetaData::new(FileMetaData::new(2, all, None, None, schema, None), groups)
}

const TRIED: [&[&str]; 6] = [
    &["info", NAME],
    &["check", NAME],
    &["signals", NAME],
    &["processes", NAME, "--tree"],
    &["cat", NAME, "signal", "--format", "csv"],
    &["histogram", NAME, "exit", "duration"],
];

#[test]
fn a_footer_that_lies_about_its_rows_is_an_error_that_names_the_file() {
    for rows in [1, 1_000_000, 1 << 27, 1 << 40, i64::MAX] {
        let spoiled = Spoiled::new();
        spoiled.lie("signal", |metadata| with_rows(&metadata, rows));
        for arguments in TRIED {
            spoiled.analyze(arguments);
        }
        let error = spoiled.error(&["cat", NAME, "signal"]);
        assert!(error.contains("signal/000001.parquet: damaged"), "{rows}: {error}");
        let checked = spoiled.analyze(&["check", NAME]);
        assert_eq!(checked.status.code(), Some(1), "{rows}: {checked:?}");
        assert!(checked.stdout.contains("signal/000001.parquet"), "{rows}: {checked:?}");
    }
}

#[test]
fn a_page_that_unpacks_to_a_thousand_times_its_length_stays_within_the_limit() {
    let spoiled = Spoiled::new();
    let (rows, text) = (1 << 20, "a".repeat(400));
    let batch = RecordBatch::try_from_iter([
        ("ts", Arc::new(Int64Array::from(vec![0; rows])) as ArrayRef),
        ("comm", Arc::new(StringArray::from(vec![text.as_str(); rows]))),
    ]);
    spoiled.replace("exec", &batch.unwrap(), false);
    let length = std::fs::metadata(spoiled.path("exec").join(SEGMENT)).unwrap().len();
    assert!(length < 400 << 10, "400 MiB in {length} bytes");
    let ended = within_limit(&spoiled, &["histogram", NAME, "exec", "ts", "--by", "comm"]);
    assert_ne!(ended.status.code(), Some(0), "{ended:?}");
    let ended = within_limit(&spoiled, &["check", NAME]);
    assert!(ended.stderr.contains("--max-memory"), "{ended:?}");
    within_limit(&spoiled, &["processes", NAME]);
}

#[test]
fn a_text_that_stands_in_every_row_stays_within_the_limit() {
    let spoiled = Spoiled::new();
    let text = "é\x1b".repeat(20_000);
    let rows = 16_384;
    let batch = RecordBatch::try_from_iter([
        ("ts", Arc::new(Int64Array::from(vec![0; rows])) as ArrayRef),
        ("pid", Arc::new(Int32Array::from(vec![1; rows]))),
        ("comm", Arc::new(StringArray::from(vec![text.as_str(); rows]))),
    ]);
    spoiled.replace("exit", &batch.unwrap(), true);
    let length = std::fs::metadata(spoiled.path("exit").join(SEGMENT)).unwrap().len();
    assert!(length < 1 << 20, "nearly a gigabyte of text in {length} bytes");
    let ended = within_limit(&spoiled, &["cat", NAME, "exit", "--columns", "comm"]);
    assert!(ended.stderr.contains("--max-memory"), "{ended:?}");
    within_limit(&spoiled, &["histogram", NAME, "exit", "pid", "--by", "comm"]);
}

/// Runs it with a limit of memory, and with so much more of address space that only who minds the limit
/// lives: threads and what is mapped of the program count there.
fn within_limit(spoiled: &Spoiled, arguments: &[&str]) -> Ended {
    let limited = [arguments, &["--max-memory", "200MiB"]].concat();
    analyze_within(900 << 20, spoiled.directory.path(), &limited)
}

#[test]
fn files_of_terabytes_are_not_read() {
    for (file, error) in [
        ("manifest.json", "more than"),
        ("signal/000001.parquet", "signal/000001.parquet: damaged"),
        ("signal/000002.parquet.footer", "more than"),
    ] {
        let spoiled = Spoiled::new();
        let file = spoiled.path(file);
        let open = File::options().create(true).append(true).open(&file).unwrap();
        open.set_len(1 << 42).unwrap();
        if file.ends_with("000002.parquet.footer") {
            // A sidecar counts only beside a file that has no footer.
            std::fs::write(file.with_extension(""), "PAR1").unwrap();
        }
        let ended = within_limit(&spoiled, &["signals", NAME]);
        assert_eq!(ended.stderr.matches(error).count(), 1, "{}: {ended:?}", file.display());
    }
}

fn pipe(path: &Path) {
    assert!(run(Command::new("mkfifo").arg(path)).status.success());
}

#[test]
fn what_is_no_file_of_the_recording_is_not_read() {
    let secrets = tempfile::tempdir().unwrap();
    let elsewhere = Spoiled::new();
    std::fs::write(secrets.path().join("secret"), "the_secret_of_the_reader").unwrap();
    for file in ["manifest.json", "signal/000001.parquet", "signal"] {
        let makers: [&dyn Fn(&Path); 5] = [
            &pipe,
            &|path| symlink("/dev/zero", path).unwrap(),
            &|path| symlink(secrets.path().join("secret"), path).unwrap(),
            &|path| symlink(path, path).unwrap(),
            // It would do, but it is not the recording's.
            &|path| symlink(elsewhere.path(file), path).unwrap(),
        ];
        for make in makers {
            let spoiled = Spoiled::new();
            let path = spoiled.path(file);
            let removed = run(Command::new("rm").arg("-r").arg(&path));
            assert!(removed.status.success());
            make(&path);
            let named = path.display().to_string();
            let named = named.rsplit(NAME).next().unwrap().to_owned();
            for arguments in [&["signals", NAME][..], &["cat", NAME, "signal"], &["bundle", NAME]] {
                let said = spoiled.error(arguments);
                assert!(said.contains(&named) && !said.contains("the_secret"), "{said}");
            }
            let checked = spoiled.analyze(&["check", NAME]);
            assert_ne!(checked.status.code(), Some(0), "{file}: {checked:?}");
            assert!(!spoiled.directory.path().join("demo.lookback.tar.zst").exists());
        }
    }
}

#[test]
fn a_sidecar_that_is_none_is_not_read() {
    for make in [&pipe as &dyn Fn(&Path), &|path| symlink("/dev/zero", path).unwrap()] {
        let spoiled = Spoiled::new();
        std::fs::write(spoiled.path("signal/000002.parquet"), "PAR1").unwrap();
        make(&spoiled.path("signal/000002.parquet.footer"));
        let said = spoiled.error(&["signals", NAME]);
        assert!(said.contains("signal/000002.parquet"), "{said}");
    }
}
