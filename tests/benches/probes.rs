//! What a program pays for each hit of a probe of the user's: under `record`, which keeps each hit, and
//! under bpftrace, which counts them or prints each. `cargo bench --bench probes`; needs root, cc, and
//! Debian's package bpftrace for the peer.
//!
//! The program calls an empty function, and tells its own CPU time. Nobody else has mapped its file. All are
//! measured in turn, several times.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use lookback_schemas::recording::Recording;

const HELP: &str = "\
usage: cargo bench --bench probes [-- OPTION...]
  --calls N     calls in each measurement [200000]
  --repeat N    how often each is measured; the least and the median are shown [5]
  --no-peers    only the recorder";

/// Who traces; `PROGRAM` stands for the path.
#[derive(Clone, Copy)]
enum Who {
    Nobody,
    /// The recorder, with this option.
    Record(&'static str, &'static str),
    Bpftrace(&'static str),
}

const WAYS: [(&str, Who); 10] = [
    ("untraced", Who::Nobody),
    ("record", Who::Record("--probe", "uprobe:PROGRAM:called")),
    ("record, a number", Who::Record("--probe", "uprobe:PROGRAM:called,arg0:i64")),
    ("record, a text", Who::Record("--probe", "uprobe:PROGRAM:called,arg1:str")),
    ("record, stack", Who::Record("--probe", "uprobe:PROGRAM:called,stack")),
    ("record, returns", Who::Record("--probe", "uretprobe:PROGRAM:called")),
    ("record, span", Who::Record("--span", "s=uprobe:PROGRAM:called..uretprobe:PROGRAM:called")),
    ("bpftrace, count", Who::Bpftrace("uprobe:PROGRAM:called { @ = count(); }")),
    ("bpftrace, print", Who::Bpftrace("uprobe:PROGRAM:called { printf(\"%ld\\n\", arg0); }")),
    (
        "bpftrace, span",
        Who::Bpftrace(
            "uprobe:PROGRAM:called { @b[tid] = nsecs; } \
             uretprobe:PROGRAM:called { @d = hist(nsecs - @b[tid]); }",
        ),
    ),
];

/// How the program is compiled: what a function begins with decides what a probe costs.
const BEGINNINGS: [(&str, &[&str]); 2] = [
    (
        "a function that saves its frame pointer (`endbr64; push %rbp`)",
        &["-O0", "-fcf-protection=full"],
    ),
    (
        "a function without a frame, whose first instruction is single-stepped",
        &["-O1", "-fcf-protection=none"],
    ),
];

struct Options {
    calls: u64,
    repeat: usize,
    peers: bool,
}

impl Options {
    fn parse() -> Result<Options> {
        let mut options = Options { calls: 200_000, repeat: 5, peers: true };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut number = || -> Result<u64> {
                let number: Option<u64> = words.next().and_then(|number| number.parse().ok());
                Ok(number.with_context(|| format!("{word} needs a number"))?.max(1))
            };
            match word.as_str() {
                "--calls" => options.calls = number()?,
                "--repeat" => options.repeat = number()? as usize,
                "--no-peers" => options.peers = false,
                "--bench" => {} // cargo's own
                _ => bail!("{HELP}"),
            }
        }
        Ok(options)
    }
}

fn main() -> Result<()> {
    let options = Options::parse()?;
    for (title, flags) in BEGINNINGS {
        println!("\n{title}");
        compare(flags, &options)?;
    }
    Ok(())
}

fn compare(flags: &[&str], options: &Options) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let program = folder.path().join("called");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/benches/called.c");
    let mut compiler = Command::new("cc");
    let compiled = compiler.arg("-o").arg(&program).args(flags).arg(source).status();
    anyhow::ensure!(compiled.context("cannot run cc")?.success(), "cc failed");

    let mut measured: Vec<Vec<f64>> = vec![Vec::new(); WAYS.len()];
    let mut lost = 0;
    for _ in 0..options.repeat {
        for (times, (_, who)) in measured.iter_mut().zip(&WAYS) {
            if matches!(who, Who::Bpftrace(_)) && !options.peers {
                continue;
            }
            let (time, missing) = run(*who, &program, folder.path(), options.calls)?;
            times.push(time);
            lost += missing;
        }
    }
    println!("{:<18} {:>10} {:>10}", "added to a call", "least ns", "median ns");
    let plain = median(&mut measured[0]);
    for (times, (name, _)) in measured.iter_mut().zip(&WAYS).skip(1) {
        if !times.is_empty() {
            let median = median(times);
            println!("{name:<18} {:>10.0} {:>10.0}", times[0] - plain, median - plain);
        }
    }
    println!("{} calls each; an untraced one takes {plain:.1} ns; lost {lost}", options.calls);
    Ok(())
}

/// Sorts them, too.
fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// CPU time of a call, and how many hits were lost.
fn run(who: Who, program: &Path, folder: &Path, calls: u64) -> Result<(f64, u64)> {
    let path = program.display().to_string();
    let recording = folder.join("recording");
    let mut command = match who {
        Who::Nobody => Command::new(program),
        Who::Record(option, words) => {
            let mut record = Command::new(env!("CARGO_BIN_EXE_record"));
            record.args(["--quiet", "--buffer", "16MiB", option, &words.replace("PROGRAM", &path)]);
            record.arg("--output").arg(&recording).arg("--").arg(program);
            record
        }
        Who::Bpftrace(script) => {
            let mut bpftrace = Command::new("bpftrace");
            bpftrace.args(["-e", &script.replace("PROGRAM", &path)]);
            bpftrace.args(["-c", &format!("{path} {calls}")]);
            bpftrace
        }
    };
    if !matches!(who, Who::Bpftrace(_)) {
        command.arg(calls.to_string());
    }
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let time = text.lines().find_map(|line| line.strip_prefix("ns ")?.parse().ok());
    let time = time.with_context(|| format!("{}", String::from_utf8_lossy(&output.stderr)))?;
    let mut lost = 0;
    if matches!(who, Who::Record(..)) {
        let opened = Recording::open(&recording)?;
        let totals = opened.manifest().totals.values();
        let kept = totals
            .map(|total| (total.rows, total.lost))
            .fold((0, 0), |(rows, all), (r, l)| (rows + r, all + l));
        lost = kept.1;
        anyhow::ensure!(kept.0 + lost >= calls, "hits are missing");
        std::fs::remove_dir_all(&recording)?;
    }
    Ok((time, lost))
}
