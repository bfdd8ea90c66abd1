//! The tracer `readline`: lines that are typed at a terminal.

#![expect(unsafe_code, reason = "tests call the system as programs do")]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lookback_schemas::cell::View as _;
use lookback_schemas::tables::{Readline, readline};
use tempfile::TempDir;

use super::privacy::found;
use super::{missing, shared};
use crate::recording::{RECORD, Record, Recorded, known, rows_in_time, text};
use crate::running::{Ended, Running, limit, monotonic, wait_for};
use crate::workload;

// --- A terminal ---

/// A terminal with a program at it.
struct Terminal {
    running: Running,
    ours: File,
    shown: Arc<Mutex<String>>,
}

impl Terminal {
    fn start(command: &mut Command) -> Terminal {
        let (mut ours, mut theirs) = (-1, -1);
        let size = libc::winsize { ws_row: 50, ws_col: 200, ws_xpixel: 0, ws_ypixel: 0 };
        let (name, termios) = (std::ptr::null_mut(), std::ptr::null());
        // SAFETY: the first two pointers are valid for writing, the last for reading, the others may be
        // null.
        let made = unsafe {
            libc::openpty(&raw mut ours, &raw mut theirs, name, termios, &raw const size)
        };
        assert_eq!(made, 0);
        // SAFETY: the call succeeded, so these are new descriptors that nobody else owns.
        let (ours, theirs) = unsafe { (OwnedFd::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs)) };
        let end = || theirs.try_clone().unwrap();
        command.stdin(end()).stdout(end()).stderr(end());
        // SAFETY: both calls are allowed between fork and exec, and need no memory.
        unsafe {
            command.pre_exec(|| {
                if libc::setsid() < 0 || libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let running = Running::start_as_is(command);
        // The command holds the other ends, and would keep the terminal open.
        command.stdin(std::process::Stdio::null());
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        drop(theirs);
        let ours = File::from(ours);
        let shown = Arc::<Mutex<String>>::default();
        let (mut reading, to) = (ours.try_clone().unwrap(), Arc::clone(&shown));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // When the last process has closed the other end, reading fails.
            while let Ok(length @ 1..) = reading.read(&mut buffer) {
                to.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..length]));
            }
        });
        Terminal { running, ours, shown }
    }

    /// Waits until it shows this, and until what is typed goes to a program that edits lines.
    fn awaits(&self, shown: &str) {
        let end = Instant::now() + limit();
        while !self.shown.lock().unwrap().contains(shown) {
            let all = self.shown.lock().unwrap().clone();
            assert!(Instant::now() < end, "no `{shown}` in what is shown: {all:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
        wait_for("a program that edits lines", || {
            // SAFETY: the descriptor is open, and the structure is valid for writing and may be zero.
            let flags = unsafe {
                let mut termios: libc::termios = std::mem::zeroed();
                assert_eq!(libc::tcgetattr(self.ours.as_raw_fd(), &raw mut termios), 0);
                termios.c_lflag
            };
            (flags & libc::ICANON == 0).then_some(())
        });
    }

    /// Types a line.
    fn enter(&mut self, keys: &str) {
        self.ours.write_all(keys.as_bytes()).unwrap();
        self.ours.write_all(b"\r").unwrap();
    }

    /// Waits until the program ends.
    fn end(self) -> Ended {
        let shown = Arc::clone(&self.shown);
        let ended = self.running.end();
        assert!(ended.status.success(), "{}: {}", ended.status, shown.lock().unwrap());
        ended
    }
}

// --- Lines ---

/// A line that was typed, when, and by whom it was read.
#[derive(Clone, Debug)]
struct Typed {
    line: String,
    began: i64,
    ended: i64,
    pid: i32,
}

/// A shell, as a copy of its own.
struct Shell {
    directory: TempDir,
}

impl Shell {
    /// None where there is no bash, or one without a readline of its own.
    fn new() -> Option<Shell> {
        let Some(bash) =
            ["/bin/bash", "/usr/bin/bash"].into_iter().find(|path| Path::new(path).exists())
        else {
            missing("bash is not installed");
            return None;
        };
        let directory = tempfile::tempdir().unwrap();
        std::fs::copy(bash, directory.path().join("bash")).unwrap();
        Some(Shell { directory })
    }

    fn program(&self) -> PathBuf {
        self.directory.path().join("bash")
    }

    /// A command at a terminal that knows no tricks. Each prompt has a number, in angle brackets.
    fn environment<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env_clear().env("HOME", self.directory.path()).env("TERM", "dumb");
        command.env("PATH", "/usr/bin:/bin").env("LC_ALL", "C.UTF-8").env("PS1", "$ ");
        command.env("PS2", "<more>").env("PROMPT_COMMAND", "echo \"<$((++shown))>\"")
    }

    fn start(&self) -> Session {
        let mut command = Command::new(self.program());
        let command = self.environment(command.args(["--norc", "--noprofile", "-i"]));
        Session::new(Terminal::start(command))
    }
}

/// What is typed to a shell.
struct Session {
    terminal: Terminal,
    prompts: usize,
    pid: i32,
    typed: Vec<Typed>,
}

impl Session {
    fn new(terminal: Terminal) -> Session {
        let pid = terminal.running.pid();
        terminal.awaits("<1>");
        Session { terminal, prompts: 1, pid, typed: Vec::new() }
    }

    /// Types keys of which the shell reads this line, and waits until `then` is shown.
    fn keys_until(&mut self, keys: &str, line: &str, then: &str) {
        let began = monotonic();
        self.terminal.enter(keys);
        self.terminal.awaits(then);
        let typed = Typed { line: line.to_owned(), began, ended: monotonic(), pid: self.pid };
        self.typed.push(typed);
    }

    fn keys(&mut self, keys: &str, line: &str) {
        self.prompts += 1;
        let prompt = format!("<{}>", self.prompts);
        self.keys_until(keys, line, &prompt);
    }

    fn line(&mut self, line: &str) {
        self.keys(line, line);
    }

    /// Ends the shell; gives all lines, also that one.
    fn exit(self) -> Vec<Typed> {
        self.exit_with().0
    }

    /// The same, and what the program left.
    fn exit_with(mut self) -> (Vec<Typed>, Ended) {
        let began = monotonic();
        self.terminal.enter("exit");
        let ended = self.terminal.end();
        let typed = Typed { line: "exit".to_owned(), began, ended: monotonic(), pid: self.pid };
        self.typed.push(typed);
        (self.typed, ended)
    }
}

/// The most bytes of a line that are kept.
const MOST: usize = readline::LINE_BYTES - 1;

/// Fails unless exactly these lines were recorded.
fn check(recorded: &Recorded, typed: &[Typed], comm: &str) {
    recorded.assert_nothing_lost();
    let table = recorded.table::<Readline>();
    let rows = rows_in_time(&table.ts, |_| true);
    for (row, typed) in rows.iter().copied().zip(typed) {
        let line = known(&table.line, row).expect("a line");
        let kept = typed.line.floor_char_boundary(MOST.min(typed.line.len()));
        assert!(line == &typed.line[..kept], "{line:?} for {:?}", typed.line);
        assert_eq!(table.cut.value(row), typed.line.len() > MOST, "{} bytes", typed.line.len());
        assert_eq!(table.pid.value(row), typed.pid, "{:?}", typed.line);
        // SAFETY: getuid needs nothing.
        assert_eq!(table.uid.value(row), unsafe { libc::getuid() } as i32);
        assert_eq!(text(&table.comm, row), comm);
        let at = recorded.monotonic(table.ts.value(row));
        assert!((typed.began..=typed.ended).contains(&at), "{:?}", typed.line);
    }
    assert_eq!(table.rows(), typed.len(), "no others");
}

/// A comment of so many bytes at least, made of these characters; it is a whole one.
fn comment(characters: &str, bytes: usize) -> String {
    let mut line = "# ".to_owned();
    line.extend(characters.chars().cycle().take(bytes));
    line.truncate(line.ceil_char_boundary(bytes));
    line
}

fn type_all(session: &mut Session) {
    session.line("echo hello");
    session.line("");
    session.line(": Grüße aus Köln, größer als 5 µm");
    session.line(": 漢字かな交じり文");
    session.line(": '🍎🍏 👩‍👩‍👧 e\u{301}'");
    session.line("   : spaces around   ");
    session.line("echo \"quotes\" 'and' \\backslash $HOME | cat; true && false");
    // Each after the key that takes the next as it is.
    session.keys(": '\x16\t\x16\x01\x16\x1b[31m\x16\x7f'", ": '\t\x01\x1b[31m\x7f'");
    // What was typed is not what was read: the line was edited.
    session.keys("echp\x7fo edited\x01# \x05 ends", "# echo edited ends");
    session.keys(": first\x15: second", ": second");
    // Two lines for one command.
    session.keys_until("for i in 1 2; do", "for i in 1 2; do", "<more>");
    session.line("true; done");
    // Another that reads with it.
    session.keys_until(
        "read -e -p \"[an\"\"swer]\" answer",
        "read -e -p \"[an\"\"swer]\" answer",
        "[answer]",
    );
    session.line("an answer: ja, ñandú");
    session.line(&comment("abcdefghij ", 3000));
    session.line(&comment("äöü漢🍎", 3000 * 3));
}

#[test]
fn each_line_that_is_typed_is_recorded() {
    let Some(_turn) = shared(&["readline"]) else { return };
    let Some(shell) = Shell::new() else { return };
    let mut session = shell.start();
    session.line(": before");
    session.typed.clear();
    let mut recorder = Record::trace("readline").pid(session.pid).start();
    recorder.looked_around();
    type_all(&mut session);
    let typed = session.exit();
    assert!(typed.len() >= 17);
    check(&recorder.finish(), &typed, "bash");
}

#[test]
fn typed_lines_that_are_redacted_are_in_no_file_and_equal_ones_stay_equal() {
    let Some(_turn) = shared(&["readline"]) else { return };
    let Some(shell) = Shell::new() else { return };
    let mut session = shell.start();
    let record = Record::trace("readline").options(["--redact", "lines"]);
    let mut recorder = record.pid(session.pid).start();
    recorder.looked_around();
    session.line(": qzline once");
    session.line("");
    session.line(": qzline another");
    session.line(": qzline once");
    session.exit();
    let recorded = recorder.finish();
    assert_eq!(found(recorded.recording.directory(), &["qzline"]), [""; 0]);
    let table = recorded.table::<Readline>();
    let rows = rows_in_time(&table.ts, |_| true);
    let lines: Vec<&str> = rows.iter().map(|row| table.line.value(*row)).collect();
    let [one, empty, another, again, _exit] = lines.as_slice() else { panic!("{lines:?}") };
    assert!(one == again && one != another && empty.is_empty(), "{lines:?}");
}

#[test]
fn long_lines_are_cut_at_a_whole_character() {
    let Some(_turn) = shared(&["readline"]) else { return };
    let Some(shell) = Shell::new() else { return };
    let mut session = shell.start();
    let mut recorder = Record::trace("readline").pid(session.pid).start();
    recorder.looked_around();
    let long = |characters: &str, bytes: usize| {
        let line = comment(characters, bytes);
        assert_eq!(line.len(), bytes);
        line
    };
    session.line(&long("x", MOST));
    session.line(&long("x", MOST + 1));
    session.line(&long("x", 40_000));
    // One whose last character is cut, after each of its bytes.
    session.line(&long("漢", 2 + 3 * 6000));
    session.line(&format!("#{}", "漢".repeat(6000)));
    session.line(&format!("###{}", "漢".repeat(6000)));
    session.line(&format!("##{}", "🍎".repeat(5000)));
    session.line(": short again");
    let typed = session.exit();
    check(&recorder.finish(), &typed, "bash");
}

#[test]
fn a_shell_that_the_recorder_starts_is_recorded() {
    let Some(_turn) = shared(&["readline"]) else { return };
    let Some(shell) = Shell::new() else { return };
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("recording");
    let mut command = Command::new(RECORD);
    command.args(["--quiet", "--trace", "readline", "--output"]).arg(&output).arg("--");
    command.arg(shell.program()).args(["--norc", "--noprofile", "-i"]);
    let mut session = Session::new(Terminal::start(shell.environment(&mut command)));
    session.keys_until("echo \"pid\"=$$.", "echo \"pid\"=$$.", "pid=");
    session.prompts += 1;
    session.terminal.awaits("<2>");
    let shown = session.terminal.shown.lock().unwrap().clone();
    let number = shown.rsplit("pid=").next().unwrap().split('.').next().unwrap();
    session.pid = number.parse().unwrap_or_else(|_| panic!("a pid in {shown:?}"));
    session.typed[0].pid = session.pid;
    session.line(": Grüße");

    // A shell in the shell, of the same file.
    let inner = format!("{} --norc --noprofile -i", shell.program().display());
    session.terminal.shown.lock().unwrap().clear();
    session.keys_until(&inner, &inner, "<1>");
    let outer = session.pid;
    let first = session.typed.len();
    session.keys_until("echo \"inner\"=$$.", "echo \"inner\"=$$.", "inner=");
    session.terminal.awaits("<2>");
    let shown = session.terminal.shown.lock().unwrap().clone();
    let number = shown.rsplit("inner=").next().unwrap().split('.').next().unwrap();
    session.pid = number.parse().unwrap_or_else(|_| panic!("a pid in {shown:?}"));
    assert_ne!(session.pid, outer);
    session.typed[first].pid = session.pid;
    session.terminal.shown.lock().unwrap().clear();
    session.keys_until(": innen", ": innen", "<3>");
    session.terminal.shown.lock().unwrap().clear();
    session.keys_until("exit", "exit", "<4>");
    session.pid = outer;
    session.prompts = 4;
    session.line(": outside again");
    let (typed, ended) = session.exit_with();

    let recorded = Recorded::open(directory, ended);
    check(&recorded, &typed, "bash");
}

#[test]
fn a_line_of_another_shell_is_not_recorded() {
    let Some(_turn) = shared(&["readline"]) else { return };
    let Some(shell) = Shell::new() else { return };
    let (mut ours, mut other) = (shell.start(), shell.start());
    let mut recorder = Record::trace("readline").pid(ours.pid).start();
    recorder.looked_around();
    ours.line(": ours");
    other.line(": of the other");
    ours.line(": ours again");
    other.exit();
    let typed = ours.exit();
    check(&recorder.finish(), &typed, "bash");
}

#[test]
fn other_programs_with_readline_are_recorded() {
    let Some(_turn) = shared(&["readline"]) else { return };
    let directory = tempfile::tempdir().unwrap();
    let Some(library) = library_of(Path::new("/usr/bin/sqlite3"), "libreadline") else {
        return missing("there is no sqlite3 with readline (sqlite3)");
    };
    // Copies of their own.
    std::fs::copy("/usr/bin/sqlite3", directory.path().join("sqlite3")).unwrap();
    std::fs::copy(&library, directory.path().join(library.file_name().unwrap())).unwrap();
    let mut command = Command::new(directory.path().join("sqlite3"));
    command.env_clear().env("TERM", "dumb").env("LC_ALL", "C.UTF-8");
    command.env("HOME", directory.path()).env("LD_LIBRARY_PATH", directory.path());
    let mut terminal = Terminal::start(&mut command);
    let pid = terminal.running.pid();
    terminal.awaits("sqlite> ");
    let mut recorder = Record::trace("readline").pid(pid).start();
    recorder.looked_around();
    let mut typed = Vec::new();
    for (line, answer) in [
        ("select 'an'||'swer';", "answer"),
        ("select 'Gr'||'üße';", "Grüße"),
        ("select 'la'||'st', 1;", "last|1"),
    ] {
        let began = monotonic();
        terminal.enter(line);
        terminal.awaits(answer);
        typed.push(Typed { line: line.to_owned(), began, ended: monotonic(), pid });
    }
    let began = monotonic();
    terminal.enter(".quit");
    terminal.end();
    typed.push(Typed { line: ".quit".to_owned(), began, ended: monotonic(), pid });
    check(&recorder.finish(), &typed, "sqlite3");
}

/// The library of this name that a program is linked with.
fn library_of(program: &Path, name: &str) -> Option<PathBuf> {
    let listed = Command::new("ldd").arg(program).output().ok()?;
    let listed = String::from_utf8(listed.stdout).ok()?;
    let mut words = listed.split_whitespace();
    words.find(|word| word.starts_with('/') && word.contains(name)).map(PathBuf::from)
}

#[test]
fn a_process_without_readline_has_no_lines() {
    let Some(_turn) = shared(&["readline"]) else { return };
    let mut running = Running::start(Command::new(workload::path("heap")).args(["wait", "few"]));
    running.await_line("ready");
    let pid = running.pid();
    let mut recorder = Record::trace_aloud("readline").pid(pid).start();
    // It goes on where there is a shell that the process could become.
    recorder.attached();
    running.send_line();
    assert!(running.end().status.success());
    let ended = match recorder.finish_if_recorded() {
        Ok(recorded) => {
            assert_eq!(recorded.table::<Readline>().rows(), 0);
            recorded.ended
        }
        Err(ended) => {
            assert_eq!(ended.status.code(), Some(2), "{ended:?}");
            ended
        }
    };
    let said = format!("record: readline: process {pid} has no function `readline`");
    assert!(ended.stderr.lines().any(|line| line.starts_with(&said)), "{ended:?}");
}
