//! How fast `analyze flamegraph` draws and `analyze export` writes, and how much memory they take. `cargo bench
//! --bench draw`; needs root, to record.
//!
//! Debian's Python is sampled for some seconds. Those samples are then written again and again, each time a
//! little later, into a recording of as many rows as are wanted, with the stacks, frames and names of the
//! first: that of a steady program. What such a sample takes on the disk is told too. With `--page` the page of
//! `analyze report` on it is kept, for `make test-page`.

mod analyzing;
mod sampled;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use analyzing::run;
use anyhow::{Context as _, Result, bail, ensure};
use arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch};
use arrow::datatypes::Int64Type;
use lookback_schemas::TableId;
use lookback_schemas::error::Error;
use lookback_schemas::manifest::Total;
use lookback_schemas::recording::Recording;
use lookback_schemas::segment::{Rotation, TableWriter};

const HELP: &str = "\
usage: cargo bench --bench draw [-- OPTION...]
  --samples N    [10000000]
  --seconds N    for which samples are taken [20]
  --threads N    that draw [2]
  --repeat N     how often; the median counts [5]
  --page FILE    where the page is left [nowhere]";

/// A page has at most so many bytes.
const LARGEST_PAGE: u64 = 3 << 20;

const WITH_STACKS: [&str; 4] = ["sample", "stack", "frame", "symbol"];

struct Options {
    samples: u64,
    seconds: u64,
    threads: u64,
    repeat: u64,
    page: Option<PathBuf>,
}

impl Options {
    fn parse() -> Result<Options> {
        let mut options =
            Options { samples: 10_000_000, seconds: 20, threads: 2, repeat: 5, page: None };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let place = match word.as_str() {
                "--samples" => &mut options.samples,
                "--seconds" => &mut options.seconds,
                "--threads" => &mut options.threads,
                "--repeat" => &mut options.repeat,
                "--bench" => continue, // cargo's own
                "--page" => {
                    options.page = Some(words.next().context("--page needs a file")?.into());
                    continue;
                }
                _ => bail!("{HELP}"),
            };
            let number = words.next().and_then(|number| number.parse().ok());
            *place = number.with_context(|| format!("{word} needs a number"))?;
        }
        options.repeat = options.repeat.max(1);
        Ok(options)
    }
}

fn sample(options: &Options, recording: &Path) -> Result<()> {
    let mut record = Command::new(env!("CARGO_BIN_EXE_record"));
    record.args(["--quiet", "--trace", "profile", "-F", "997", "--output"]).arg(recording);
    record.args(["--", sampled::PYTHON, "-c", sampled::PROGRAM, &options.seconds.to_string()]);
    ensure!(record.status()?.success(), "record failed");
    Ok(())
}

/// The rows so much later.
fn later(batch: &RecordBatch, by: i64) -> Result<RecordBatch> {
    let mut columns: Vec<ArrayRef> = batch.columns().to_vec();
    let ts = columns[0].as_primitive::<Int64Type>();
    columns[0] = Arc::new(ts.unary::<_, Int64Type>(|ts| ts + by));
    Ok(RecordBatch::try_new(batch.schema(), columns)?)
}

/// Makes `long` of `short`.
fn repeat(options: &Options, short: &Path, long: &Path) -> Result<()> {
    let copied = Command::new("cp").arg("-r").arg(short).arg(long).status()?;
    ensure!(copied.success(), "cp failed");
    fs::remove_dir_all(long.join("sample"))?;
    let recording = Recording::open(short)?;
    let mut batches: Vec<RecordBatch> = Vec::new();
    recording.scan_table(TableId::Sample, i64::MIN..i64::MAX).for_each(|_, batch| {
        batches.push(batch);
        Ok::<(), Error>(())
    })?;
    let first = batches.first().context("there is no sample")?;
    let began = first.column(0).as_primitive::<Int64Type>().value(0);
    let last = batches.last().context("there is no sample")?.column(0);
    let took = last.as_primitive::<Int64Type>().value(last.len() - 1) - began + 1_000_000;
    let mut writer = TableWriter::new(long, TableId::Sample, Rotation::default());
    let (mut rows, mut now) = (0, began);
    while rows < options.samples {
        for batch in &batches {
            let wanted = batch.num_rows().min((options.samples - rows) as usize);
            writer.append(&later(&batch.slice(0, wanted), now - began)?)?;
            rows += wanted as u64;
        }
        now += took;
    }
    writer.finish()?;
    let mut manifest = recording.manifest().clone();
    manifest
        .totals
        .insert("sample".to_owned(), Total { seen: Some(rows), rows, ..Total::default() });
    if let Some(end) = &mut manifest.ended {
        end.at = now;
    }
    manifest.write(long, false).context("writing the manifest")
}

fn size(path: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(path) else {
        return fs::metadata(path).map_or(0, |data| data.len());
    };
    entries.flatten().map(|entry| size(&entry.path())).sum()
}

fn main() -> Result<()> {
    let options = Options::parse()?;
    let folder = tempfile::tempdir()?;
    let (short, long) = (folder.path().join("short"), folder.path().join("long"));
    sample(&options, &short)?;
    repeat(&options, &short, &long)?;
    let taken = Recording::open(&short)?.manifest().totals["sample"].rows;
    let stacks = Recording::open(&short)?.manifest().totals["stack"].rows;
    println!("{} samples, of which {taken} were taken; {stacks} stacks", options.samples);
    let per_sample = |directory: &Path, tables: &[&str], samples: u64| {
        let bytes: u64 = tables.iter().map(|table| size(&directory.join(table))).sum();
        bytes as f64 / samples as f64
    };
    println!(
        "bytes per sample: {:.1} of those, {:.1} of all; with stacks, frames and names {:.1} and {:.1}",
        per_sample(&short, &["sample"], taken),
        per_sample(&long, &["sample"], options.samples),
        per_sample(&short, &WITH_STACKS, taken),
        per_sample(&long, &WITH_STACKS, options.samples),
    );
    println!("{:<11} {:>8} {:>8} {:>8}", "OUTPUT", "s", "CPU s", "MiB");
    let null = ["-o", "/dev/null"];
    let draw = |arguments: &[&'static str]| [&["flamegraph"], arguments].concat();
    let export = |format| [&["export", "--format", format], &null[..]].concat();
    let page = options.page.clone().unwrap_or_else(|| folder.path().join("page.html"));
    let page_file = page.to_string_lossy();
    for (name, arguments) in [
        ("SVG", draw(&null)),
        ("folded", draw(&["--folded"])),
        ("pprof", export("pprof")),
        ("perf script", export("perf-script")),
        ("perfetto", export("perfetto")),
        ("chrome", export("chrome")),
        ("firefox", export("firefox")),
        ("page", vec!["report", "-o", &page_file]),
    ] {
        let mut took = Vec::new();
        for _ in 0..options.repeat {
            let mut analyze = Command::new(env!("CARGO_BIN_EXE_analyze"));
            analyze.args(&arguments).arg(&long);
            took.push(run(analyze.args(["--threads", &options.threads.to_string()]))?);
        }
        took.sort_by(|a, b| a.wall.total_cmp(&b.wall));
        let median = &took[took.len() / 2];
        let memory = median.memory / f64::from(1 << 20);
        println!("{name:<11} {:>8.2} {:>8.2} {memory:>8.0}", median.wall, median.cpu);
    }
    let bytes = fs::metadata(&page)?.len();
    println!("the page has {bytes} bytes");
    ensure!(bytes <= LARGEST_PAGE, "that is more than {LARGEST_PAGE}");
    Ok(())
}
