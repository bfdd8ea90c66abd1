//! How recordings end, what the user sees, and what is left after a failure.

#![expect(unsafe_code, reason = "tests call the system as programs do")]

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::process::{Command, Stdio};

use lookback_schemas::cell::View as _;
use lookback_schemas::manifest::Symbols;
use lookback_schemas::tables::{Kill, Sample, Symbol};

use super::shared;
use crate::recording::{RECORD, Record, is_absent};
use crate::running::{Running, is_alive, run, wait_for};
use crate::workload::{self, fact};

/// A process to record: it makes a call every millisecond until it is told to end.
struct Ticker(Running);

impl Ticker {
    fn start() -> Ticker {
        let mut running = Running::start(&mut Command::new(workload::path("ticker")));
        running.await_line("ticker");
        Ticker(running)
    }

    fn pid(&self) -> i32 {
        self.0.pid()
    }
}

#[test]
fn signals_and_time_end_a_recording_well() {
    let Some(_turn) = shared(&["signal"]) else { return };
    let ticker = Ticker::start();
    for (signal, why) in [(libc::SIGINT, "interrupt"), (libc::SIGTERM, "terminate")] {
        let mut recorder = Record::trace("signal").pid(ticker.pid()).start();
        recorder.attached();
        recorder.running.signal(signal);
        let recorded = recorder.finish();
        let ended = recorded.recording.manifest().ended.clone().unwrap();
        assert_eq!((ended.why.as_str(), ended.error), (why, None));
    }

    let recorded = Record::trace("signal").options(["--duration", "700ms"]).pid(ticker.pid()).run();
    let manifest = recorded.recording.manifest();
    let ended = manifest.ended.clone().unwrap();
    assert_eq!((ended.why.as_str(), ended.error), ("duration", None));
    assert!(ended.at - manifest.started >= 700_000_000);
    let kills = recorded.table::<Kill>();
    let times = kills.ts.values();
    let (first, last) = (times.iter().min().unwrap(), times.iter().max().unwrap());
    assert!(manifest.started <= *first && *last <= ended.at);
    assert!(last - first >= 500_000_000, "it recorded all the time");
}

#[test]
fn an_interrupt_is_passed_on_to_the_command() {
    let Some(_turn) = shared(&["signal"]) else { return };
    let mut recorder = Record::trace("signal").workload::<&str>("ticker", []).start();
    let ticker = fact(&recorder.running.await_line("ticker"), "ticker").int32("pid");
    recorder.running.signal(libc::SIGINT);
    wait_for("the command's end", || (!is_alive(ticker)).then_some(()));
    let recorded = recorder.finish_anyhow();
    assert_eq!(recorded.recording.manifest().ended.as_ref().unwrap().why, "interrupt");
    assert_eq!(recorded.ended.stderr, "");
}

/// Holds up whoever opens a file.
struct Lease(File);

impl Lease {
    /// None where the file system has no leases, or somebody has the file open.
    fn take(path: &std::path::Path) -> Option<Lease> {
        /// `include/uapi/asm-generic/fcntl.h`.
        const F_SETSIG: i32 = 10;
        let file = File::open(path).unwrap();
        // SAFETY: the descriptor is open; no memory is involved. SIGURG, which is ignored, instead
        // of the default that would end this process.
        let taken = unsafe {
            libc::fcntl(file.as_raw_fd(), F_SETSIG, libc::SIGURG) == 0
                && libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK) == 0
        };
        taken.then_some(Lease(file))
    }

    /// Whether somebody tries to open the file, and waits.
    fn is_wanted(&self) -> bool {
        // SAFETY: the descriptor is open; no memory is involved.
        let kind = unsafe { libc::fcntl(self.0.as_raw_fd(), libc::F_GETLEASE) };
        assert!(kind >= 0, "{}", std::io::Error::last_os_error());
        kind != libc::F_WRLCK
    }
}

#[test]
fn a_second_interrupt_leaves_the_symbols_out() {
    let Some(_turn) = shared(&["process", "profile"]) else { return };
    let directory = tempfile::tempdir().unwrap();
    // A copy, because nobody else may have it open.
    let burner = directory.path().join("burner");
    std::fs::copy(workload::path("burner"), &burner).unwrap();
    let script = format!("read line; {} shares 300; echo over; read line", burner.display());
    let mut shell = Running::start(Command::new("/bin/sh").args(["-c", &script]));

    let mut recorder =
        Record::trace("process,profile").options(["--frequency", "999"]).pid(shell.pid()).start();
    recorder.attached();
    shell.send_line();
    shell.await_line("over");
    let Some(lease) = Lease::take(&burner) else {
        eprintln!("skipped: no lease on {}", burner.display());
        return;
    };
    recorder.running.signal(libc::SIGINT);
    wait_for("symbols to be resolved", || lease.is_wanted().then_some(()));
    recorder.running.signal(libc::SIGINT);
    let recorded = recorder.finish();
    drop(lease);

    let manifest = recorded.recording.manifest();
    assert_eq!(manifest.symbols, Symbols::Skipped);
    assert_eq!(manifest.ended.as_ref().unwrap().why, "interrupt");
    assert!(recorded.table::<Sample>().rows() > 0);
    assert_eq!(recorded.table::<Symbol>().rows(), 0);
}

/// Runs `record` with a terminal as its standard error, and gives what that shows.
fn on_a_terminal(options: &[&str]) -> String {
    let (mut ours, mut theirs) = (-1, -1);
    let (name, termios, size) = (std::ptr::null_mut(), std::ptr::null(), std::ptr::null());
    // SAFETY: the first two pointers are valid for writing, the others may be null.
    assert_eq!(unsafe { libc::openpty(&raw mut ours, &raw mut theirs, name, termios, size) }, 0);
    // SAFETY: the call succeeded, so these are new descriptors that nobody else owns.
    let (ours, theirs) = unsafe { (OwnedFd::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs)) };
    let shown = std::thread::spawn(move || {
        let mut shown = Vec::new();
        // When the last process has closed the other end, reading fails.
        let _ = File::from(ours).read_to_end(&mut shown);
        String::from_utf8(shown).unwrap()
    });

    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(RECORD);
    command.args(options).arg("--output").arg(directory.path().join("recording"));
    command.env("TERM", "xterm").stdin(Stdio::null()).stdout(Stdio::null()).stderr(theirs);
    let ended = Running::start_as_is(&mut command).end();
    drop(command);
    assert!(ended.status.success());
    shown.join().unwrap()
}

#[test]
fn the_live_line_is_only_for_terminals() {
    let Some(_turn) = shared(&["signal"]) else { return };
    let ticker = Ticker::start();
    let pid = ticker.pid().to_string();
    let options = ["--trace", "signal", "--duration", "1700ms", "--pid", &pid];

    let shown = on_a_terminal(&options);
    assert!(shown.contains("/s  lost 0  "), "{shown:?}");
    assert!(shown.contains("recorded 1."), "{shown:?}");
    assert!(shown.contains("nothing lost"), "{shown:?}");

    let quiet = [&options[..], &["--quiet"]].concat();
    assert_eq!(on_a_terminal(&quiet), "");

    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("recording");
    let piped = run(Command::new(RECORD).args(options).arg("--output").arg(&output));
    assert_eq!(piped.stdout, "");
    let lines: Vec<&str> = piped.stderr.lines().collect();
    assert!(lines[0].starts_with("recorded 1."), "{lines:?}");
    assert!(lines[0].contains(output.to_str().unwrap()), "{lines:?}");
    assert!(lines[1].starts_with("next: analyze "), "{lines:?}");
    assert!(!piped.stderr.contains(['\r', '\x1b']), "{lines:?}");
}

/// One line on the standard error, the status of a failure, and nothing left.
fn assert_refused(options: &[&str], complaint: &str) {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("recording");
    let mut command = Command::new(RECORD);
    let ended = run(command.arg("--output").arg(&output).args(options));
    assert_eq!(ended.status.code(), Some(2), "{options:?}: {}", ended.stderr);
    assert_eq!(ended.stdout, "");
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(lines.len(), 1, "{options:?}: {lines:?}");
    assert!(lines[0].starts_with("record: "), "{lines:?}");
    assert!(lines[0].contains(complaint), "{options:?}: {lines:?}");
    assert!(is_absent(&output), "{options:?} left {}", output.display());
}

#[test]
fn what_cannot_be_recorded_is_refused() {
    let Some(_turn) = shared(&["process", "signal", "profile"]) else { return };
    let mut gone = Command::new("/bin/true").spawn().unwrap();
    gone.wait().unwrap();
    let gone = gone.id().to_string();
    assert_refused(&["--pid", &gone], &format!("--pid {gone}: there is no such process"));
    assert_refused(&["--cgroup", "no/such/group", "--pid", "1"], "no/such/group");
    assert_refused(&["--comm", "a name that is too long", "--pid", "1"], "--comm");
    for size in ["5000", "1KiB", "4GiB"] {
        assert_refused(&["--buffer", size, "--", "/bin/true"], "--buffer");
    }
    assert_refused(&["--", "no-such-command"], "no-such-command");
    assert_refused(&["--", "/dev/null"], "/dev/null");
}

#[test]
fn an_output_that_cannot_be_written_is_refused() {
    let Some(_turn) = shared(&["signal"]) else { return };
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "content").unwrap();
    let missing = directory.path().join("no/such");
    for output in [file.join("recording"), missing.join("recording")] {
        let mut command = Command::new(RECORD);
        command.args(["--trace", "signal", "--output"]).arg(&output).args(["--", "/bin/true"]);
        let ended = run(&mut command);
        assert_eq!(ended.status.code(), Some(2));
        let lines: Vec<&str> = ended.stderr.lines().collect();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains(output.to_str().unwrap()), "{lines:?}");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "content");
    assert!(is_absent(&missing));
}
