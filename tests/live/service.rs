//! The recorder as a service, with a service manager that the tests play.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::{Duration, Instant};

use lookback_schemas::tables::Exec;
use tempfile::TempDir;

use super::{alone, missing, shared};
use crate::recording::{RECORD, Record, row_where, text};
use crate::running::{Running, run, wait_for};
use crate::workload;

/// What a service manager is told.
struct Manager {
    socket: UnixDatagram,
    directory: TempDir,
}

impl Manager {
    fn new() -> Manager {
        let directory = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        Manager { socket, directory }
    }

    fn start(&self, record: Record, patience: Duration) -> crate::recording::Recorder {
        let record = record.env("NOTIFY_SOCKET", self.directory.path().join("notify"));
        record.env("WATCHDOG_USEC", patience.as_micros().to_string()).start()
    }

    /// The lines that come within this time, until one for which `enough` holds.
    fn hear(&self, time: Duration, enough: impl Fn(&str) -> bool) -> Vec<String> {
        let end = Instant::now() + time;
        let mut heard = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return heard;
            }
            self.socket.set_read_timeout(Some(left)).unwrap();
            let Ok(length) = self.socket.recv(&mut buffer) else { return heard };
            let told = std::str::from_utf8(&buffer[..length]).unwrap();
            heard.extend(told.lines().map(str::to_owned));
            if heard.iter().any(|line| enough(line)) {
                return heard;
            }
        }
    }
}

fn ticker() -> Running {
    let mut running = Running::start(&mut Command::new(workload::path("ticker")));
    running.await_line("ticker");
    running
}

const LONG: Duration = Duration::from_secs(60);

#[test]
fn a_service_is_ready_when_its_tracers_are_attached_and_says_when_it_stops() {
    let Some(_turn) = shared(&["process"]) else { return };
    let manager = Manager::new();
    let mut shell =
        Running::start(Command::new("sh").args(["-c", "read x; /bin/true; read x; exit 0"]));
    let record = Record::trace("process").pid(shell.pid());
    let recorder = manager.start(record, LONG);
    let heard = manager.hear(LONG, |line| line == "READY=1");
    assert_eq!(heard, ["READY=1"], "the first that it says");
    // From here on every event is recorded.
    shell.send_line();
    let heard = manager.hear(LONG, |line| line.starts_with("STATUS="));
    let status = heard.last().unwrap();
    assert!(status.contains(" events, 0 lost, "), "{status}");
    let counted = |line: &str| line.starts_with("STATUS=") && !line.starts_with("STATUS=0 ");
    let heard = manager.hear(LONG, counted);
    assert!(heard.iter().any(|line| counted(line)), "{heard:?}");
    recorder.running.signal(libc::SIGTERM);
    let heard = manager.hear(LONG, |line| line == "STOPPING=1");
    assert!(heard.contains(&"STOPPING=1".to_owned()), "{heard:?}");
    let recorded = recorder.finish();
    let ended = recorded.recording.manifest().ended.clone().unwrap();
    assert_eq!(ended.why, "terminate");
    let execs = recorded.table::<Exec>();
    row_where(&execs, "true", |row| text(&execs.comm, row) == "true");
    drop(shell);
}

#[test]
fn signs_of_life_stop_when_the_recorder_does() {
    let Some(_turn) = alone(&["signal"]) else { return };
    let ticker = ticker();
    let manager = Manager::new();
    let recorder = manager.start(Record::trace("signal").pid(ticker.pid()), Duration::from_secs(4));
    let alive = |line: &str| line == "WATCHDOG=1";
    for _ in 0..3 {
        let began = Instant::now();
        assert!(manager.hear(LONG, alive).iter().any(|line| alive(line)));
        assert!(began.elapsed() < Duration::from_secs(4), "in time");
    }
    recorder.running.signal(libc::SIGSTOP);
    wait_for("it to stop", || {
        let stat =
            std::fs::read_to_string(format!("/proc/{}/stat", recorder.running.pid())).unwrap();
        stat.contains(") T ").then_some(())
    });
    // What it had said before.
    manager.hear(Duration::from_millis(100), |_| false);
    assert_eq!(manager.hear(Duration::from_secs(4), |_| false), [""; 0]);
    recorder.running.signal(libc::SIGCONT);
    assert!(manager.hear(LONG, alive).iter().any(|line| alive(line)));
    recorder.running.signal(libc::SIGINT);
    recorder.finish();
}

#[test]
fn the_command_does_not_speak_for_the_service() {
    let Some(_turn) = shared(&["process"]) else { return };
    let manager = Manager::new();
    let script = "echo told=$NOTIFY_SOCKET$WATCHDOG_USEC$WATCHDOG_PID.";
    let record = Record::trace("process").options(["--", "sh", "-c", script]);
    let recorded = manager.start(record, LONG).finish();
    assert_eq!(recorded.stdout(), "told=.\n");
    let execs = recorded.table::<Exec>();
    row_where(&execs, "sh", |row| text(&execs.comm, row) == "sh");
}

#[test]
fn the_unit_file_is_well_formed_and_exposes_little() {
    if !workload::is_installed("systemd-analyze") {
        return missing("systemd-analyze is not installed");
    }
    let unit = include_str!("../../docs/lookback.service");
    let program = "/usr/local/bin/record";
    assert!(unit.contains(&format!("ExecStart={program} ")), "{unit}");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lookback.service");
    std::fs::write(&path, unit.replace(program, RECORD)).unwrap();
    let analyze = |options: &[&str]| {
        let ended = run(Command::new("systemd-analyze").args(options).arg(&path));
        assert!(ended.status.success(), "{options:?}: {} {}", ended.stdout, ended.stderr);
        ended
    };
    let verified = analyze(&["verify", "--man=no", "--recursive-errors=no"]);
    assert_eq!((verified.stdout.as_str(), verified.stderr.as_str()), ("", ""));
    // In tenths; a service without any restriction has 96.
    let security = analyze(&["security", "--offline=true", "--threshold=25", "--no-pager"]);
    assert!(security.stdout.contains("Overall exposure level"), "{}", security.stdout);
}
