//! Processes that the tests start: never without a time limit, and never left behind.

#![expect(unsafe_code, reason = "tests call the system as programs do")]

use std::io::{Read, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long anything may take before it counts as hanging. Emulated machines are slow.
pub fn limit() -> Duration {
    Duration::from_secs(if in_vm() { 240 } else { 60 })
}

/// Whether these tests run in a virtual machine of `tests/kernels`.
pub fn in_vm() -> bool {
    std::env::var_os("LOOKBACK_IN_VM").is_some()
}

/// The version of the kernel.
pub fn kernel_version() -> (u32, u32) {
    let text = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = text.split(['.', '-']).map(|number| number.trim().parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// The clock that the workloads read and that events carry, in nanoseconds.
pub fn monotonic() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writing.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) }, 0);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// Waits until `ready` gives something, and fails after the [`limit`].
pub fn wait_for<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit();
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A process of which the test holds all ends: it is killed if the test forgets it or fails.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: Output,
    stderr: Output,
}

/// What a process that ended has left.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Running {
    /// Starts it, with pipes for its input and outputs where `command` does not say otherwise.
    pub fn start(command: &mut Command) -> Running {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        Running::start_as_is(command.stderr(Stdio::piped()))
    }

    /// Starts it with the input and outputs that `command` has.
    pub fn start_as_is(command: &mut Command) -> Running {
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = Output::of(child.stdout.take());
        let stderr = Output::of(child.stderr.take());
        Running { child, stdout, stderr }
    }

    /// Its pid.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Waits until it has written a line on its standard output that begins with `word`; gives all
    /// that it wrote so far.
    pub fn await_line(&mut self, word: &str) -> String {
        let found = self.stdout.wait(|text| {
            let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
            whole.lines().any(|line| line.starts_with(word)).then(|| whole.to_owned())
        });
        found.unwrap_or_else(|text| {
            let errors = self.stderr.so_far();
            panic!("no line `{word}`; standard output: {text}; standard error: {errors}")
        })
    }

    /// How much memory it had at most so far, in KiB; `None` when it is gone.
    pub fn most_memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().strip_suffix(" kB")?.parse().ok()
    }

    /// What it has written on its standard output so far.
    pub fn output_so_far(&self) -> String {
        self.stdout.so_far()
    }

    /// Writes a line to its standard input.
    pub fn send_line(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    /// Ends its standard input.
    pub fn close_input(&mut self) {
        self.child.stdin = None;
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: i32) {
        send_signal(self.pid(), signal);
    }

    /// Whether it ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits until it ends by itself: its input stays open.
    pub fn await_end(&mut self) {
        wait_for("a process to end", || self.has_ended().then_some(()));
    }

    /// Waits until it ends, and until all of its output is there.
    pub fn end(self) -> Ended {
        self.end_within(limit())
    }

    /// As [`end`](Running::end), with a time limit of its own.
    pub fn end_within(mut self, limit: Duration) -> Ended {
        self.close_input();
        let end = Instant::now() + limit;
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() < end => std::thread::sleep(Duration::from_millis(5)),
                None => {
                    let (out, err) = (self.stdout.so_far(), self.stderr.so_far());
                    panic!("it does not end; standard output: {out}; standard error: {err}");
                }
            }
        };
        Ended { status, stdout: self.stdout.all(), stderr: self.stderr.all() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After `end` it is gone, and both do nothing.
        let _ = self.child.kill();
        // One that hangs in the kernel may wait for another that this test still holds.
        let end = Instant::now() + Duration::from_secs(10);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Ended {
    Running::start(command).end()
}

/// Sends a signal to a process that the tests started.
pub fn send_signal(pid: i32, signal: i32) {
    assert!(pid > 1);
    // SAFETY: no memory is involved.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0, "kill {pid} {signal}");
}

/// Whether there is such a process, and it is not just waiting to be waited for.
pub fn is_alive(pid: i32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => !matches!(stat.rsplit(") ").next().map(|rest| &rest[..1]), Some("Z" | "X")),
        Err(_) => false,
    }
}

/// What comes out of a pipe, read by a thread.
#[derive(Debug, Default)]
struct Output {
    text: Arc<(Mutex<Collected>, Condvar)>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Collected {
    bytes: Vec<u8>,
    over: bool,
}

impl Output {
    fn of(pipe: Option<impl Read + Send + 'static>) -> Output {
        let text = Arc::<(Mutex<Collected>, Condvar)>::default();
        let shared = Arc::clone(&text);
        let reader = pipe.map(|mut pipe| {
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                loop {
                    let length = pipe.read(&mut buffer).unwrap_or(0);
                    let mut collected = shared.0.lock().unwrap();
                    collected.bytes.extend_from_slice(&buffer[..length]);
                    collected.over = length == 0;
                    shared.1.notify_all();
                    if collected.over {
                        return;
                    }
                }
            })
        });
        Output { text, reader }
    }

    /// Waits until `found` finds something in the text; gives the text if it ends without.
    fn wait<T>(&self, found: impl Fn(&str) -> Option<T>) -> Result<T, String> {
        let end = Instant::now() + limit();
        let mut collected = self.text.0.lock().unwrap();
        loop {
            let text = String::from_utf8_lossy(&collected.bytes).into_owned();
            if let Some(found) = found(&text) {
                return Ok(found);
            }
            let left = end.saturating_duration_since(Instant::now());
            if collected.over || left.is_zero() {
                return Err(text);
            }
            collected = self.text.1.wait_timeout(collected, left).unwrap().0;
        }
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.text.0.lock().unwrap().bytes).into_owned()
    }

    fn all(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        self.so_far()
    }
}
