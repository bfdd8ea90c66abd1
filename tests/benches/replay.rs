//! How fast `analyze memleak` replays, and how much memory it takes. `cargo bench --bench replay`.
//!
//! A recording is made up: allocations and frees of one process, as two CPUs would write them, with
//! so many blocks live at once. Then `analyze` replays it as users would, and the kernel tells what
//! that took. Nothing is judged.

mod analyzing;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use analyzing::{Took, run};
use anyhow::{Context as _, Result, bail};
use arrow::array::{ArrayRef, Int32Array, Int64Array};
use lookback_schemas::TableId;
use lookback_schemas::cell;
use lookback_schemas::manifest::{End, Manifest, Total, Tracer};
use lookback_schemas::segment::{ROW_GROUP_ROWS, Rotation, TableWriter};
use lookback_schemas::tables::Alloc;

const HELP: &str = "\
usage: cargo bench --bench replay [-- OPTION...]
  --events N     allocations and frees [20000000]
  --live N       blocks that are live at once [100000]
  --threads N    repeatable [1, 2]
  --keep DIR     make the recording there and keep it";

/// Rows that one CPU writes before the other's follow.
const RUN: usize = 16 * 1024;
/// Distinct call stacks.
const STACKS: u64 = 4_000;
const START: i64 = 1_795_342_500_000_000_000;

struct Options {
    events: u64,
    live: u64,
    threads: Vec<u64>,
    keep: Option<String>,
}

impl Options {
    fn parse() -> Result<Options> {
        let mut options =
            Options { events: 20_000_000, live: 100_000, threads: Vec::new(), keep: None };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut next = || words.next().with_context(|| format!("{word} needs a value"));
            match word.as_str() {
                "--events" => options.events = next()?.parse()?,
                "--live" => options.live = next()?.parse()?,
                "--threads" => options.threads.push(next()?.parse()?),
                "--keep" => options.keep = Some(next()?),
                "--bench" => {} // cargo's own
                _ => bail!("{HELP}"),
            }
        }
        if options.threads.is_empty() {
            options.threads = vec![1, 2];
        }
        Ok(options)
    }
}

/// Knuth's generator; its high bits are good enough.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % bound
    }
}

/// The rows of one batch.
#[derive(Default)]
struct Rows {
    ts: Vec<i64>,
    address: Vec<i64>,
    bytes: Vec<Option<i64>>,
    stack: Vec<Option<i64>>,
    function: Vec<i32>,
    cpu: Vec<i32>,
}

impl Rows {
    fn write(self, writer: &mut TableWriter) -> Result<()> {
        let rows = self.ts.len();
        let none = || Arc::new(Int64Array::new_null(rows)) as ArrayRef;
        let same = |number| Arc::new(Int32Array::from(vec![number; rows])) as ArrayRef;
        let batch = cell::batch::<Alloc>(vec![
            Arc::new(Int64Array::from(self.ts)),
            none(),
            Arc::new(Int64Array::from(self.address)),
            none(),
            Arc::new(Int64Array::from(self.bytes)),
            none(),
            Arc::new(Int64Array::from(self.stack)),
            Arc::new(Int32Array::from(self.function)),
            same(10),
            same(10),
            Arc::new(Int32Array::from(self.cpu)),
        ]);
        writer.append(&batch).context("writing the recording")
    }
}

/// Makes the recording.
fn make(directory: &Path, options: &Options) -> Result<()> {
    let mut random = Random(options.events);
    let mut live: Vec<i64> = Vec::new();
    let mut unused: Vec<i64> = Vec::new();
    let mut writer = TableWriter::new(directory, TableId::Alloc, Rotation::default());
    let mut rows = Rows::default();
    // What one CPU does in its run happens while the other does its own.
    let mut pending = [Vec::new(), Vec::new()];
    for event in 0..options.events {
        let ts = START + event as i64 * 50;
        let full = live.len() as u64 >= options.live;
        let row = if full && event % 2 == 0 {
            let place = random.below(live.len() as u64) as usize;
            let address = live.swap_remove(place);
            unused.push(address);
            (ts, address, None, None, 11)
        } else {
            let next = 0x5555_0000_0000 + (live.len() + unused.len()) as i64 * 64;
            let address = unused.pop().unwrap_or(next);
            live.push(address);
            let bytes = 16 + random.below(64) as i64 * 8;
            (ts, address, Some(bytes), Some(1 + random.below(STACKS) as i64), 0)
        };
        let cpu = usize::from(random.below(2) == 1);
        pending[cpu].push(row);
        let last = event + 1 == options.events;
        for (cpu, run) in pending.iter_mut().enumerate() {
            if run.len() < RUN && !last {
                continue;
            }
            for (ts, address, bytes, stack, function) in run.drain(..) {
                rows.ts.push(ts);
                rows.address.push(address);
                rows.bytes.push(bytes);
                rows.stack.push(stack);
                rows.function.push(function);
                rows.cpu.push(cpu as i32);
            }
        }
        if rows.ts.len() + RUN > ROW_GROUP_ROWS || last {
            std::mem::take(&mut rows).write(&mut writer)?;
        }
    }
    writer.finish()?;
    let total = Total { seen: Some(options.events), rows: options.events, ..Total::default() };
    let at = START + options.events as i64 * 50;
    let tables = vec!["alloc".to_owned()];
    let manifest = Manifest {
        format: lookback_schemas::FORMAT_VERSION,
        started: START,
        ended: Some(End { at, why: "duration".to_owned(), error: None }),
        tracers: vec![Tracer { name: "alloc".to_owned(), tables, ..Tracer::default() }],
        totals: [("alloc".to_owned(), total)].into(),
        ..Manifest::default()
    };
    manifest.write(directory, false).context("writing the manifest")
}

fn replay(recording: &Path, threads: u64, more: &[&str]) -> Result<Took> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_analyze"));
    command.arg("memleak").arg(recording).args(["--threads", &threads.to_string()]).args(more);
    run(&mut command)
}

fn main() -> Result<()> {
    let options = Options::parse()?;
    let scratch = tempfile::tempdir()?;
    let directory = options.keep.as_ref().map_or(scratch.path(), Path::new);
    std::fs::create_dir_all(directory)?;
    make(directory, &options)?;
    let events = options.events as f64;
    println!(
        "{} million events, {} blocks live\n\
         REPORT               THREADS  M/s  M/s/CPU  ns CPU/event  MiB  bytes/block over 100 MB",
        events / 1e6,
        options.live
    );
    let reports: [(&str, &[&str]); 4] = [
        ("outstanding", &[]),
        ("totals only", &["--combined-only"]),
        ("temporary", &["--temporary"]),
        ("peak (two replays)", &["--peak"]),
    ];
    for (name, arguments) in reports {
        for threads in &options.threads {
            let took = replay(directory, *threads, arguments)?;
            println!(
                "{name:<20} {threads:>7} {:>5.1} {:>7.1} {:>13.1} {:>5.0} {:>6.1}",
                events / took.wall / 1e6,
                events / took.cpu / 1e6,
                took.cpu * 1e9 / events,
                took.memory / f64::from(1 << 20),
                (took.memory - 100e6).max(0.0) / options.live as f64,
            );
        }
    }
    Ok(())
}
