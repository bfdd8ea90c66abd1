//! How many events a second reach the disk, and what each costs. `cargo bench`; needs root.
//!
//! A load generator (`load.rs`, `load.bpf.c`) makes rows in the rings of a recorder that runs as
//! users run it. Nothing in the recorder knows of it. Beside it the same load goes to consumers that
//! do next to nothing (`peers.rs`), because a figure alone says more about the machine.
//!
//! The exit status tells whether rows were lost at the rates that are promised; times are not judged.

mod disk;
mod load;
mod peers;
mod subject;
mod usage;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use load::{Load, Made, Rate};
use lookback_schemas::manifest::Total;
use serde_json::{Value, json};
use subject::{Subject, Used};

const HELP: &str = "\
usage: cargo bench [-- OPTION...]
  --json          one object per line in place of the table
  --rate N        rows per second, repeatable; 0 is as fast as it can [10000, 5000000, 0]
  --seconds N     how long the load lasts [10 at up to 100000 rows per second, else 3]
  --repeat N      how often each is measured; the medians are shown [3, or 1 below 100000]
  --no-peers      only the recorder";

/// Rates up to here are measured once and for longer: little happens, and it varies little.
const SLOW: u64 = 100_000;
/// At rates up to here no row may be lost.
const PROMISED: u64 = 5_000_000;

struct Options {
    json: bool,
    rates: Vec<u64>,
    seconds: Option<u64>,
    repeat: Option<usize>,
    peers: bool,
}

impl Options {
    fn parse() -> Result<Options> {
        let mut options =
            Options { json: false, rates: Vec::new(), seconds: None, repeat: None, peers: true };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut number = || -> Result<u64> {
                let number = words.next().and_then(|number| number.parse().ok());
                number.with_context(|| format!("{word} needs a number"))
            };
            match word.as_str() {
                "--json" => options.json = true,
                "--rate" => options.rates.push(number()?),
                "--seconds" => options.seconds = Some(number()?.max(1)),
                "--repeat" => options.repeat = Some(number()?.max(1) as usize),
                "--no-peers" => options.peers = false,
                "--bench" => {} // cargo's own
                _ => bail!("{HELP}"),
            }
        }
        if options.rates.is_empty() {
            options.rates = vec![10_000, PROMISED, 0];
        }
        Ok(options)
    }

    /// How often to measure what takes a few seconds.
    fn repeat(&self) -> usize {
        self.repeat.unwrap_or(3)
    }

    /// Measures some things in turn, `repeat` times, and shows the medians, with the first column of
    /// the first thing as the measure of the others'.
    fn compare(
        &self,
        title: &str,
        repeat: usize,
        mut measure: impl FnMut() -> Result<Vec<Line>>,
    ) -> Result<()> {
        let mut runs = Vec::new();
        for _ in 0..repeat {
            runs.push(measure()?);
        }
        if !self.json {
            println!("\n{title}");
        }
        for index in 0..runs[0].len() {
            let Line { what, columns } = &runs[0][index];
            let medians = (0..columns.len()).map(|column| {
                let mut values: Vec<f64> =
                    runs.iter().map(|run| run[index].columns[column].1).collect();
                values.sort_by(f64::total_cmp);
                (columns[column].0, values[values.len() / 2])
            });
            if self.json {
                let mut object: serde_json::Map<String, Value> =
                    medians.map(|(name, value)| (name.to_owned(), json!(value))).collect();
                object.insert("what".to_owned(), json!(what));
                object.insert("title".to_owned(), json!(title));
                println!("{}", Value::Object(object));
            } else {
                let shown = medians.map(|(name, value)| format!("{:>9} {name}", number(value)));
                println!("  {what:<28}{}", shown.collect::<Vec<_>>().join(""));
            }
        }
        Ok(())
    }
}

/// Three digits are enough.
fn number(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{:.2} M", value / 1e6),
        value if value >= 100.0 || value == 0.0 => format!("{value:.0}"),
        value if value >= 1.0 => format!("{value:.1}"),
        value => format!("{value:.3}"),
    }
}

/// Something that was measured.
struct Line {
    what: &'static str,
    columns: Vec<(&'static str, f64)>,
}

fn line(what: &'static str, columns: &[(&'static str, f64)]) -> Line {
    Line { what, columns: columns.to_vec() }
}

fn main() -> Result<()> {
    if std::env::args().any(|word| word == peers::CALL_KILL) {
        peers::call_kill();
        return Ok(());
    }
    let options = Options::parse()?;
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let mut lost = 0;
    for rate in &options.rates {
        lost += at_rate(*rate, &options, scratch.path())?;
    }
    if options.peers {
        encoding(&options, scratch.path())?;
        producing(&options)?;
        tracing(&options, scratch.path())?;
    }
    if lost > 0 {
        bail!("{lost} rows were lost at a rate at which none may be");
    }
    Ok(())
}

/// The way from the ring to the disk. Tells how many rows were lost, if none may be.
fn at_rate(rows_per_second: u64, options: &Options, scratch: &Path) -> Result<u64> {
    let slow = (1..=SLOW).contains(&rows_per_second);
    let time = Duration::from_secs(options.seconds.unwrap_or(if slow { 10 } else { 3 }));
    let (rate, title) = match rows_per_second {
        0 => (Rate::Unpaced, "as many rows as one producer makes".to_owned()),
        _ => (
            Rate::PerSecond(rows_per_second),
            format!("{} rows per second", number(rows_per_second as f64)),
        ),
    };
    let repeat = options.repeat.unwrap_or(if slow { 1 } else { options.repeat() });
    let mut broken = 0;
    options.compare(&title, repeat, || {
        let directory = scratch.join("rate.lookback");
        let (ring_bytes, made, used) = record(&directory, rate, time)?;
        std::fs::remove_dir_all(&directory)?;
        if (1..=PROMISED).contains(&rows_per_second) {
            broken += used.total.lost;
        }
        let rows = used.stored.rows as f64;
        let each = |time: Duration| time.as_nanos() as f64 / rows;
        let lost = |lost: u64| lost as f64 / made.rows as f64 * 100.0;
        let mut lines = vec![line(
            "record",
            &[
                ("rows/s to disk", rows / made.elapsed.as_secs_f64()),
                ("% lost", lost(used.total.lost)),
                ("ns CPU/row", each(used.cpu)),
                ("ns drain", each(used.drain)),
                ("ns encode", each(used.encoder)),
                ("% of a core", used.share * 100.0),
                ("MiB RSS", used.peak_rss as f64 / f64::from(1 << 20)),
                ("bytes/row", used.stored.per_row()),
            ],
        )];
        if options.peers && !slow {
            let file = scratch.join("copy");
            for (what, copy) in
                [("count the rows only", None), ("copy them to a file", Some(&*file))]
            {
                let (minimal, made) = peers::minimal(ring_bytes, copy, rate, time)?;
                lines.push(line(
                    what,
                    &[
                        ("rows/s", minimal.rows as f64 / made.elapsed.as_secs_f64()),
                        ("% lost", lost(minimal.counted.lost)),
                        ("ns CPU/row", minimal.cpu.as_nanos() as f64 / minimal.rows as f64),
                    ],
                ));
            }
            std::fs::remove_file(&file)?;
        }
        Ok(lines)
    })?;
    Ok(broken)
}

/// Records a load. That nothing is missing without being counted is checked.
fn record(directory: &Path, rate: Rate, time: Duration) -> Result<(usize, Made, Used)> {
    let (subject, shared) = Subject::start(directory)?;
    let load = Load::new(&shared)?;
    let made = std::thread::scope(|scope| {
        scope.spawn(|| load.run("load", rate, time)).join().expect("it does not panic")
    })?;
    let counted = shared.counted()?;
    let used = subject.finish()?;
    let Total { seen, rows, lost, .. } = used.total;
    if seen != Some(made.rows)
        || counted.seen != made.rows
        || counted.lost != lost
        || rows != used.stored.rows
        || rows + lost != made.rows
    {
        bail!("the books do not balance: {made:?}, {counted:?}, {used:?}");
    }
    Ok((shared.ring_bytes, made, used))
}

/// The encoder alone, on rows of a recording.
fn encoding(options: &Options, scratch: &Path) -> Result<()> {
    let directory = scratch.join("encode.lookback");
    record(&directory, Rate::PerSecond(PROMISED / 5), Duration::from_secs(2))?;
    options.compare("encoding alone", options.repeat(), || {
        let (ours, default) = peers::encoders(&directory, scratch)?;
        let columns =
            |encoded: peers::Encoded| [("ns CPU/row", encoded.ns), ("bytes/row", encoded.bytes)];
        Ok(vec![
            line("as record does", &columns(ours)),
            line("parquet's defaults, zstd", &columns(default)),
        ])
    })
}

/// The producer alone: what a row costs inside a BPF program.
fn producing(options: &Options) -> Result<()> {
    options.compare("making a row", options.repeat(), || {
        let mut lines = Vec::new();
        for (what, program) in
            [("bpf/events.h", "load"), ("a bare ring buffer", "bare"), ("no ring at all", "idle")]
        {
            lines.push(line(what, &[("ns", peers::undrained(program)?)]));
        }
        Ok(lines)
    })
}

/// The whole way, for a program that makes system calls, and perf's way.
fn tracing(options: &Options, scratch: &Path) -> Result<()> {
    let (recording, data) = (scratch.join("kill.lookback"), scratch.join("perf.data"));
    let text = |path: &Path| path.display().to_string();
    let (recording_text, data_text) = (text(&recording), text(&data));
    let ours = [
        env!("CARGO_BIN_EXE_record"),
        "--quiet",
        "--trace",
        "signal",
        "--output",
        &recording_text,
        "--",
    ];
    let perf = [
        "perf",
        "record",
        "--output",
        &data_text,
        "--event",
        "signal:signal_generate",
        "--event",
        "syscalls:sys_enter_kill",
        "--event",
        "syscalls:sys_exit_kill",
        "--",
    ];
    if let Err(error) = peers::traced(&perf, &data) {
        eprintln!("perf is left out: {error:#}");
        return Ok(());
    }
    options.compare("system call kill, two rows each", options.repeat(), || {
        let mut lines = Vec::new();
        for (what, tracer, output) in
            [("record", &ours[..], &recording), ("perf record", &perf[..], &data)]
        {
            let traced = peers::traced(tracer, output)?;
            lines.push(line(
                what,
                &[
                    ("ns CPU/call", traced.ns),
                    ("bytes/call", traced.bytes),
                    ("ns/call in the program", traced.call_ns),
                ],
            ));
        }
        std::fs::remove_dir_all(&recording)?;
        Ok(lines)
    })
}
