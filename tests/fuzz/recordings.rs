//! Recordings for the fuzzer: a plain one in a temporary directory, of which a target replaces one file.

use std::path::{Path, PathBuf};

use analyzer::cli::{Cli, run};
use clap::Parser as _;
use lookback_schemas::TableId;

/// What stands in every manifest, if it is not that which is tried.
const MANIFEST: &str = include_str!("../../fixtures/probes.lookback/manifest.json");

/// A recording whose files are written again for each try.
#[derive(Debug)]
pub struct Recording {
    directory: tempfile::TempDir,
}

impl Recording {
    /// With a manifest and nothing else. Panics of the Parquet decoder are errors for `analyze`, and so
    /// they are here: the fuzzer would take each for a finding.
    #[must_use]
    pub fn new() -> Recording {
        let directory = tempfile::tempdir().expect("there is room");
        std::fs::write(directory.path().join("manifest.json"), MANIFEST).expect("there is room");
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !lookback_schemas::segment::is_decoding() {
                usual(panic);
            }
        }));
        Recording { directory }
    }

    /// A place in it.
    #[must_use]
    pub fn path(&self, within: &str) -> PathBuf {
        self.directory.path().join(within)
    }

    /// Writes a file of it.
    pub fn write(&self, path: &Path, bytes: &[u8]) {
        std::fs::create_dir_all(path.parent().expect("it lies in the recording")).expect("it can");
        std::fs::write(path, bytes).expect("there is room");
    }

    /// Asks `analyze`; the answer may be an error.
    pub fn ask(&self, words: &[&str]) {
        let mut arguments = vec!["analyze".into(), words[0].into(), self.directory.path().into()];
        arguments.extend(words[1..].iter().map(std::ffi::OsString::from));
        arguments.extend(["--output", "/dev/null"].map(std::ffi::OsString::from));
        let cli = Cli::try_parse_from(arguments).expect("the words are a command");
        let _ = run(cli);
    }

    /// Asks what the table says, in each way that reads all of it.
    pub fn ask_about(&self, table: TableId) {
        self.ask(&["check"]);
        self.ask(&["cat", table.name()]);
        self.ask(match table {
            TableId::Fork | TableId::Exec | TableId::Exit | TableId::Process | TableId::Cgroup => {
                &["processes", "--tree"]
            }
            TableId::Signal | TableId::Kill => &["signals"],
            TableId::Syscall => &["syscalls", "--latency"],
            TableId::Open => &["opens"],
            TableId::Unlink => &["unlinks"],
            TableId::Runq => &["runqlat", "--blame"],
            TableId::Offcpu => &["offcpu", "--by", "function,waker"],
            TableId::Hardirq | TableId::Softirq => &["irqs"],
            TableId::Lsmconnect => &["lsm"],
            TableId::Gc => &["gc", "--longest", "3"],
            TableId::Readline => &["commands"],
            TableId::Probe => &["probes"],
            TableId::Span => &["spans", "--blame"],
            TableId::Alloc | TableId::Vm | TableId::Kalloc => &["memleak", "--lifetimes"],
            TableId::Sample
            | TableId::Stack
            | TableId::Frame
            | TableId::Symbol
            | TableId::Tcpconnect
            | TableId::Tcpstate
            | TableId::Tcprtt
            | TableId::Clock
            | TableId::Loss => &["info"],
        });
    }
}

impl Default for Recording {
    fn default() -> Recording {
        Recording::new()
    }
}

/// The first byte says which table the rest is about.
#[must_use]
pub fn table(bytes: &[u8]) -> Option<(TableId, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    Some((TableId::ALL[usize::from(*first) % TableId::ALL.len()], rest))
}

/// The bytes as a file without a name.
#[must_use]
pub fn file(bytes: &[u8]) -> std::fs::File {
    use std::io::Write as _;
    let mut file = tempfile::tempfile().expect("there is room");
    file.write_all(bytes).expect("there is room");
    file
}
