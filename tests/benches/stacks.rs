//! Stacks of a program that was compiled without frame pointers: under `record`, and under `perf record`.
//! `cargo bench --bench stacks`; needs root, and Debian's packages python3 and linux-perf.
//!
//! The program is Debian's own Python, sampled in turn by each. Compared are how many bytes a sample takes on
//! disk, how long it takes to draw them, and how many stacks are whole: those whose outermost frame is
//! where a process or a thread begins. That is judged from the folded text of both alike. Then how much a
//! sample costs the sampled CPU, of which the kernel tells for BPF programs (`kernel.bpf_stats_enabled`).

#![expect(unsafe_code, reason = "it measures and drives by system calls")]

mod sampled;

use std::collections::HashMap;
use std::fs;
use std::io::{BufReader, Cursor};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use inferno::collapse::Collapse as _;
use inferno::collapse::perf::Folder;

const HELP: &str = "\
usage: cargo bench --bench stacks [-- OPTION...]
  --seconds N    how long each samples [10]
  --hz N         samples per second [997]
  --no-peers     only the recorder";

/// Where processes and threads begin.
const BEGINNINGS: [&str; 5] = ["_start", "clone", "__clone3", "clone3", "thread_start"];

struct Options {
    seconds: u64,
    hz: u64,
    peers: bool,
}

impl Options {
    fn parse() -> Result<Options> {
        let mut options = Options { seconds: 10, hz: 997, peers: true };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut number = || -> Result<u64> {
                let number: Option<u64> = words.next().and_then(|number| number.parse().ok());
                number.with_context(|| format!("{word} needs a number"))
            };
            match word.as_str() {
                "--seconds" => options.seconds = number()?.max(2),
                "--hz" => options.hz = number()?.max(1),
                "--no-peers" => options.peers = false,
                "--bench" => {} // cargo's own
                _ => bail!("{HELP}"),
            }
        }
        Ok(options)
    }
}

/// What one of them came to.
struct Came {
    samples: u64,
    bytes: u64,
    drawn: Duration,
    whole: f64,
    /// Nanoseconds of a sample; the kernel does not tell it of perf.
    cost: Option<f64>,
}

fn main() -> Result<()> {
    let options = Options::parse()?;
    let folder = tempfile::tempdir()?;
    let stats = Statistics::on();
    println!(
        "{:<34} {:>8} {:>12} {:>10} {:>10} {:>8} {:>10}",
        "", "samples", "bytes/sample", "MiB", "draw s", "whole", "ns/sample"
    );
    for how in ["auto", "dwarf", "fp"] {
        let came = recorded(how, &options, folder.path())?;
        show(&format!("record --unwind {how}"), &came);
    }
    drop(stats);
    if options.peers {
        for how in ["fp", "dwarf"] {
            let came = by_perf(how, &options, folder.path())?;
            show(&format!("perf record --call-graph {how}"), &came);
        }
    }
    Ok(())
}

fn show(name: &str, came: &Came) {
    let cost = came.cost.map_or_else(|| "-".to_owned(), |cost| format!("{cost:.0}"));
    println!(
        "{name:<34} {:>8} {:>12.1} {:>10.2} {:>10.2} {:>7.1}% {cost:>10}",
        came.samples,
        came.bytes as f64 / came.samples as f64,
        came.bytes as f64 / f64::from(1 << 20),
        came.drawn.as_secs_f64(),
        came.whole * 100.0
    );
}

/// As long as it lives, the kernel measures BPF programs.
struct Statistics {
    _open: Option<OwnedFd>,
}

impl Statistics {
    fn on() -> Statistics {
        use std::os::fd::FromRawFd as _;
        // SAFETY: no memory is involved.
        let fd = unsafe {
            libbpf_rs::libbpf_sys::bpf_enable_stats(libbpf_rs::libbpf_sys::BPF_STATS_RUN_TIME)
        };
        // SAFETY: it is a new descriptor, which nobody else owns.
        Statistics { _open: (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) }) }
    }
}

fn recorded(how: &str, options: &Options, folder: &Path) -> Result<Came> {
    let recording = folder.join(format!("{how}.lookback"));
    let mut record = Command::new(env!("CARGO_BIN_EXE_record"));
    record.args(["--quiet", "--trace", "profile", "--unwind", how, "-F", &options.hz.to_string()]);
    record.arg("--output").arg(&recording).args(["--", sampled::PYTHON, "-c", sampled::PROGRAM]);
    let mut child = record.arg(options.seconds.to_string()).spawn()?;
    std::thread::sleep(Duration::from_secs(options.seconds - 1));
    let cost = cost_of(&child);
    ensure!(child.wait()?.success(), "record failed");
    let svg = folder.join("record.svg");
    let begun = Instant::now();
    let mut analyze = Command::new(env!("CARGO_BIN_EXE_analyze"));
    ensure!(analyze.arg("flamegraph").arg(&recording).arg("-o").arg(svg).status()?.success());
    let drawn = begun.elapsed();
    let mut analyze = Command::new(env!("CARGO_BIN_EXE_analyze"));
    let folded = analyze.arg("flamegraph").arg(&recording).arg("--folded").output()?;
    let opened = lookback_schemas::recording::Recording::open(&recording)?;
    let samples = opened.manifest().totals.get("sample").map_or(0, |total| total.rows);
    // Of the samples alone, with their stacks, frames and names.
    let bytes = ["sample", "stack", "frame", "symbol"].map(|table| size(&recording.join(table)));
    let bytes = bytes.iter().sum();
    Ok(Came { samples, bytes, drawn, whole: whole(&String::from_utf8(folded.stdout)?), cost })
}

fn by_perf(how: &str, options: &Options, folder: &Path) -> Result<Came> {
    let data = folder.join(format!("{how}.data"));
    let mut perf = Command::new("perf");
    perf.args(["record", "--quiet", "-F", &options.hz.to_string(), "--call-graph", how, "-o"]);
    perf.arg(&data).args(["--", sampled::PYTHON, "-c", sampled::PROGRAM]);
    perf.arg(options.seconds.to_string()).stderr(Stdio::null());
    ensure!(perf.status().context("cannot run perf")?.success(), "perf record failed");
    let begun = Instant::now();
    let mut script = Command::new("perf");
    // With a period it would be the weight.
    script
        .args(["script", "-F", "comm,pid,tid,time,event,ip,sym,dso", "-i"])
        .arg(&data)
        .stderr(Stdio::null())
        .stdout(Stdio::piped());
    let mut script = script.spawn()?;
    let output = script.stdout.take().context("it was piped")?;
    let mut folded = Vec::new();
    Folder::default().collapse(BufReader::new(output), &mut folded)?;
    ensure!(script.wait()?.success(), "perf script failed");
    let text = String::from_utf8(folded)?;
    let mut svg = Vec::new();
    let mut look = inferno::flamegraph::Options::default();
    inferno::flamegraph::from_reader(&mut look, Cursor::new(&text), &mut svg)?;
    fs::write(folder.join("perf.svg"), svg)?;
    let drawn = begun.elapsed();
    let samples = text.lines().filter_map(weight).sum();
    Ok(Came { samples, bytes: size(&data), drawn, whole: whole(&text), cost: None })
}

fn weight(line: &str) -> Option<u64> {
    line.rsplit_once(' ')?.1.parse().ok()
}

/// The share of the samples in user code whose stack begins where one does.
fn whole(folded: &str) -> f64 {
    let (mut whole, mut all) = (0, 0);
    for line in folded.lines() {
        let (Some(weight), Some((stack, _))) = (weight(line), line.rsplit_once(' ')) else {
            continue;
        };
        let Some(first) = stack.split(';').nth(1) else { continue };
        all += weight;
        whole += if BEGINNINGS.contains(&first) { weight } else { 0 };
    }
    whole as f64 / f64::max(all as f64, 1.0)
}

/// How long the program `sample` of the recorder ran each time, by the kernel's own account.
fn cost_of(recorder: &Child) -> Option<f64> {
    let folder = PathBuf::from(format!("/proc/{}/fdinfo", recorder.id()));
    let mut most: Option<(f64, f64)> = None;
    for entry in fs::read_dir(folder).ok()? {
        let text = fs::read_to_string(entry.ok()?.path()).unwrap_or_default();
        let fields: HashMap<&str, &str> =
            text.lines().filter_map(|line| line.split_once(":\t")).collect();
        let number = |name| fields.get(name).and_then(|text| text.trim().parse::<f64>().ok());
        if let (Some(time), Some(count)) = (number("run_time_ns"), number("run_cnt"))
            && most.is_none_or(|(_, before)| before < count)
        {
            most = Some((time, count));
        }
    }
    most.map(|(time, count)| time / count.max(1.0))
}

fn size(path: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(path) else {
        return fs::metadata(path).map_or(0, |data| data.len());
    };
    entries.flatten().map(|entry| size(&entry.path())).sum()
}
