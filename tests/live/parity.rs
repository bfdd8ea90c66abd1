//! The recorder beside the tools of BCC (Debian's package `libbpf-tools`), over the same workload: they
//! count the same.
//!
//! The tools see everybody, but for those that can be told a process or a port: the others run only in a
//! virtual machine, where nobody else is.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use lookback_schemas::cell::View as _;
use lookback_schemas::tables::{
    Exec, Exit, Hardirq, Open, Runq, Signal, Softirq, Syscall, Tcpconnect, Tcprtt, Tcpstate,
};

use super::alone;
use super::tcp::free_port;
use crate::recording::{Record, Recorded, Recorder, assert_same, known, rows_where, text};
use crate::running::{Running, in_vm, limit, monotonic, run};
use crate::workload::{self, Fact, fact, facts};

/// For whom a tool looks.
#[derive(PartialEq)]
enum Sees {
    Everybody,
    Chosen,
}

/// One of the tools, attached.
struct Tool(Running);

impl Tool {
    /// Starts it and waits for the line that begins with `ready`, which it writes when it is attached.
    /// `None`, after saying why, where it does not work or must not.
    fn start(sees: Sees, name: &str, arguments: &[&str], ready: &str) -> Option<Tool> {
        let program = Path::new("/usr/sbin").join(name);
        if sees == Sees::Everybody && !in_vm() {
            eprintln!("skipped: {name} sees everybody: only in a virtual machine");
            return None;
        }
        if !program.exists() {
            eprintln!("skipped: no {} (package libbpf-tools)", program.display());
            return None;
        }
        // By lines, so that what it says can be waited for.
        let mut command = Command::new("stdbuf");
        let mut running = Running::start(command.arg("-oL").arg(program).args(arguments));
        let end = Instant::now() + limit();
        while !running.output_so_far().lines().any(|line| line.trim_start().starts_with(ready)) {
            if running.has_ended() {
                let ended = running.end();
                eprintln!("skipped: {name} does not work here: {}", ended.stderr.trim());
                return None;
            }
            assert!(Instant::now() < end, "{name}: {}", running.output_so_far());
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(Tool(running))
    }

    /// Waits until it has nothing more to say, ends it, and gives its output.
    fn finish(self) -> String {
        // It looks for events ten times a second.
        let quiet = Duration::from_millis(if in_vm() { 3000 } else { 500 });
        let end = Instant::now() + limit();
        let mut length = self.0.output_so_far().len();
        let mut since = Instant::now();
        while since.elapsed() < quiet && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(50));
            if self.0.output_so_far().len() != length {
                length = self.0.output_so_far().len();
                since = Instant::now();
            }
        }
        self.0.signal(libc::SIGINT);
        self.0.end().stdout
    }
}

/// The words of each line.
fn words(output: &str) -> Vec<Vec<&str>> {
    output.lines().map(|line| line.split_whitespace().collect()).collect()
}

/// The counts of a histogram's lines, `LOW -> HIGH : COUNT |…|`, added up for each title above them.
fn histograms(output: &str) -> BTreeMap<String, i64> {
    let mut totals = BTreeMap::new();
    let mut title = String::new();
    for line in words(output) {
        match line[..] {
            [_, "->", _, ":", count, ..] => {
                *totals.entry(title.clone()).or_default() += count.parse::<i64>().unwrap();
            }
            ["softirq", "=", name] => name.clone_into(&mut title),
            _ => {}
        }
    }
    totals
}

#[test]
fn opensnoop() {
    let Some(_turn) = alone(&["open"]) else { return };
    let Some(tool) = Tool::start(Sees::Everybody, "opensnoop", &[], "PID") else { return };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let recorded = Record::trace("open").workload("files", ["opens", path]).run();
    let output = tool.finish();

    // It knows two of the calls, cuts long paths, and writes them as they are.
    let kept =
        |path: &str| path.len() < 200 && !path.is_empty() && !path.contains(char::is_whitespace);
    let made = facts(recorded.stdout(), "open");
    let opens = recorded.table::<Open>();
    let mut ours: Vec<(i32, i32, String)> = Vec::new();
    for fact in &made {
        let rows = rows_where(&opens, |row| {
            opens.pid.value(row) == fact.int32("pid")
                && (fact.int("began")..=fact.int("ended"))
                    .contains(&recorded.monotonic(opens.ts.value(row)))
        });
        assert_eq!(rows.len(), 1, "{fact:?}");
        let path = known(&opens.path, rows[0]).unwrap_or_default().to_owned();
        if [libc::SYS_open, libc::SYS_openat].contains(&fact.int("number")) && kept(&path) {
            ours.push((fact.int32("pid"), opens.result.value(rows[0]), path));
        }
    }
    let pids: Vec<String> = made.iter().map(|fact| fact.word("pid").to_owned()).collect();
    let mut theirs: Vec<(i32, i32, String)> = words(&output)
        .iter()
        .filter_map(|line| match line[..] {
            [pid, "files", fd, errno, path]
                if pids.iter().any(|wanted| wanted == pid) && kept(path) =>
            {
                let (fd, errno) = (fd.parse::<i32>().unwrap(), errno.parse::<i32>().unwrap());
                Some((pid.parse().unwrap(), if errno != 0 { -errno } else { fd }, path.to_owned()))
            }
            _ => None,
        })
        .collect();
    assert!(ours.len() >= 12, "{ours:?}");
    // It prints what one CPU has, and then the next.
    ours.sort();
    theirs.sort();
    assert_same(&ours, &theirs);
}

/// How many of the lines have these words at the places named.
fn lines_with(output: &str, wanted: &[(usize, &str)]) -> usize {
    let has = |line: &Vec<&str>| wanted.iter().all(|(at, word)| line.get(*at) == Some(word));
    words(output).iter().filter(|line| has(line)).count()
}

#[test]
fn execsnoop() {
    let Some(_turn) = alone(&["process"]) else { return };
    let Some(tool) = Tool::start(Sees::Everybody, "execsnoop", &[], "PCOMM") else { return };
    let quiet = workload::path("quiet");
    let recorded =
        Record::trace("process").workload("execs", ["argv", quiet.to_str().unwrap()]).run();
    let output = tool.finish();
    let execs = recorded.table::<Exec>();
    assert_eq!(execs.rows(), facts(recorded.stdout(), "exec").len() + 1);
    for row in 0..execs.rows() {
        let (pid, comm) = (execs.pid.value(row).to_string(), known(&execs.comm, row).unwrap());
        assert_eq!(lines_with(&output, &[(0, comm), (1, &pid), (3, "0")]), 1, "{pid}: {output}");
    }
}

#[test]
fn exitsnoop() {
    let Some(_turn) = alone(&["process"]) else { return };
    let Some(tool) = Tool::start(Sees::Everybody, "exitsnoop", &[], "PCOMM") else { return };
    let recorded = Record::trace("process").workload("exits", ["codes"]).run();
    let output = tool.finish();
    let exits = recorded.table::<Exit>();
    assert_eq!(exits.rows(), facts(recorded.stdout(), "exit").len() + 1);
    for row in 0..exits.rows() {
        let (pid, parent) = (exits.pid.value(row).to_string(), exits.ppid.value(row).to_string());
        let end = match (known(&exits.code, row), known(&exits.signal, row)) {
            (Some(0), None) => vec![(5, "0".to_owned())],
            (Some(code), None) => vec![(5, "code".to_owned()), (6, code.to_string())],
            (None, Some(signal)) => vec![(5, "signal".to_owned()), (6, signal.to_string())],
            both => panic!("{both:?}"),
        };
        let mut wanted = vec![(1, pid.as_str()), (2, parent.as_str())];
        wanted.extend(end.iter().map(|(at, word)| (*at, word.as_str())));
        assert_eq!(lines_with(&output, &wanted), 1, "{wanted:?}: {output}");
    }
}

#[test]
fn sigsnoop() {
    let Some(_turn) = alone(&["signal"]) else { return };
    let Some(tool) = Tool::start(Sees::Everybody, "sigsnoop", &[], "TIME") else { return };
    let recorded = Record::trace("signal").workload("signals", ["calls"]).run();
    let output = tool.finish();
    let pid = fact(recorded.stdout(), "signals").int32("pid");
    let signals = recorded.table::<Signal>();
    let mut ours: BTreeMap<(i32, i32), usize> = BTreeMap::new();
    for row in rows_where(&signals, |row| known(&signals.pid, row) == Some(pid)) {
        let (sig, target) = (signals.sig.value(row), signals.target_pid.value(row));
        *ours.entry((sig, target)).or_default() += 1;
    }
    assert!(ours.len() >= 5, "{ours:?}");
    for ((sig, target), count) in ours {
        let wanted = [(1, pid.to_string()), (3, sig.to_string()), (4, target.to_string())];
        let wanted = wanted.each_ref().map(|(at, word)| (*at, word.as_str()));
        assert_eq!(lines_with(&output, &wanted), count, "{wanted:?}: {output}");
    }
}

/// The states by their numbers, as the tool names them.
const STATES: [&str; 13] = [
    "",
    "ESTABLISHED",
    "SYN_SENT",
    "SYN_RECV",
    "FIN_WAIT1",
    "FIN_WAIT2",
    "TIME_WAIT",
    "CLOSE",
    "CLOSE_WAIT",
    "LAST_ACK",
    "LISTEN",
    "CLOSING",
    "NEW_SYN_RECV",
];

#[test]
fn tcpstates() {
    let Some(_turn) = alone(&["tcpstate"]) else { return };
    let port = free_port().to_string();
    let Some(tool) = Tool::start(Sees::Chosen, "tcpstates", &["-D", &port], "SKADDR") else {
        return;
    };
    let recorded = Record::trace("tcpstate")
        .options(["--rport", &port])
        .workload("tcp", ["talk", "4", "5", "3", &port])
        .run();
    let output = tool.finish();
    let states = recorded.table::<Tcpstate>();
    let mut ours: BTreeMap<(String, String), i64> = BTreeMap::new();
    for row in 0..states.rows() {
        let name = |state: i32| STATES[state as usize].to_owned();
        *ours.entry((name(states.old.value(row)), name(states.new.value(row)))).or_default() += 1;
    }
    let mut theirs: BTreeMap<(String, String), i64> = BTreeMap::new();
    for line in words(&output).into_iter().skip(1) {
        if let Some(arrow) = line.iter().position(|word| *word == "->") {
            *theirs.entry((line[arrow - 1].to_owned(), line[arrow + 1].to_owned())).or_default() +=
                1;
        }
    }
    assert_eq!(ours.get(&("CLOSE".to_owned(), "SYN_SENT".to_owned())), Some(&5));
    assert_eq!(ours, theirs, "{output}");
}

#[test]
fn tcpconnlat() {
    let Some(_turn) = alone(&["tcpconnect"]) else { return };
    let Some(tool) = Tool::start(Sees::Everybody, "tcpconnlat", &[], "PID") else { return };
    let recorded = Record::trace("tcpconnect").workload("tcp", ["connects", "4", "4"]).run();
    let output = tool.finish();
    let connects = recorded.table::<Tcpconnect>();
    // It tells of those that were answered, with whatever.
    let answered = rows_where(&connects, |row| {
        matches!(known(&connects.result, row), Some(0))
            || known(&connects.result, row) == Some(-libc::ECONNREFUSED)
    });
    let pid = connects.pid.value(0).to_string();
    assert_eq!(answered.len(), 9);
    assert_eq!(lines_with(&output, &[(0, &pid), (1, "connector")]), answered.len(), "{output}");
}

#[test]
fn tcprtt() {
    let Some(_turn) = alone(&["tcprtt"]) else { return };
    let port = free_port().to_string();
    let tool = Tool::start(Sees::Chosen, "tcprtt", &["-p", &port], "Tracing");
    let Some(tool) = tool else { return };
    let recorded = Record::trace("tcprtt")
        .options(["--lport", &port])
        .workload("tcp", ["talk", "4", "2", "50", &port])
        .run();
    let output = tool.finish();
    let theirs: i64 = histograms(&output).values().sum();
    let ours = recorded.table::<Tcprtt>().rows() as i64;
    assert!(ours >= 100);
    assert_eq!(ours, theirs, "{output}");
}

/// Two threads that wait for a line before they make their calls. They share a CPU: `syscount` adds to its
/// counters and makes them without regard to other CPUs, and misses calls where two return at once.
struct Caller {
    running: Running,
    pid: String,
}

impl Caller {
    fn start() -> Caller {
        let mut command = Command::new(workload::path("calls"));
        let mut running = Running::start(command.args(["in-turn", "200"]));
        let pid = fact(&running.await_line("ready"), "ready").word("pid").to_owned();
        Caller { running, pid }
    }

    /// Lets it make its calls while `recorder` looks; gives what it said.
    fn act(mut self, recorder: &mut Recorder) -> String {
        recorder.looked_around();
        self.running.send_line();
        self.running.end().stdout
    }
}

#[test]
fn syscount() {
    let Some(_turn) = alone(&["syscall"]) else { return };
    let caller = Caller::start();
    let arguments = ["-p", &caller.pid, "-T", "100"];
    let Some(tool) = Tool::start(Sees::Chosen, "syscount", &arguments, "Tracing") else { return };
    let mut recorder = Record::trace("syscall").options(["--pid", &caller.pid]).start();
    let made = facts(&caller.act(&mut recorder), "made");
    let recorded = recorder.finish();
    let output = tool.finish();
    let calls = recorded.table::<Syscall>();
    let names: BTreeMap<i32, &str> =
        made.iter().map(|fact: &Fact| (fact.int32("number"), fact.word("name"))).collect();
    assert_eq!(names.len(), 5);
    for (number, name) in names {
        let ours = rows_where(&calls, |row| calls.number.value(row) == number).len();
        // The tool counts returns: also that of the read that waited for a line when both began.
        let theirs = ours + usize::from(name == "read");
        let line = words(&output).into_iter().find(|line| line.first() == Some(&name));
        let line = line.map(|line| line[1].to_owned());
        assert_eq!(line, Some(theirs.to_string()), "{name}: {output}");
    }
}

#[test]
fn runqlat() {
    let Some(_turn) = alone(&["runq"]) else { return };
    let caller = Caller::start();
    let arguments = ["-p", &caller.pid];
    let Some(tool) = Tool::start(Sees::Chosen, "runqlat", &arguments, "Tracing") else { return };
    let mut recorder = Record::trace("runq").options(["--pid", &caller.pid]).start();
    caller.act(&mut recorder);
    let recorded = recorder.finish();
    let output = tool.finish();
    let ours = recorded.table::<Runq>().rows() as i64;
    let theirs: i64 = histograms(&output).values().sum();
    assert!(ours >= 5, "each thread sleeps and is woken: {ours}");
    // It overlooks a thread that loses the CPU while it is about to sleep.
    assert!((theirs..=theirs + 2).contains(&ours), "{ours}: {output}");
}

/// Records interrupts while a tool looks for them that begins later and ends earlier. Gives the tool's
/// output, and two moments between which it looked.
fn interrupts(
    tracer: &str,
    name: &str,
    arguments: &[&str],
) -> Option<(Recorded, String, [i64; 2])> {
    if !in_vm() {
        eprintln!("skipped: {name} sees everybody: only in a virtual machine");
        return None;
    }
    let mut recorder = Record::trace(tracer).start();
    recorder.attached();
    let tool = Tool::start(Sees::Everybody, name, arguments, "Tracing")?;
    let from = monotonic();
    run(Command::new(workload::path("irqs")).args(["packets", "300"]));
    run(Command::new(workload::path("irqs")).args(["burn", "1000"]));
    let until = monotonic();
    let output = tool.finish();
    recorder.running.signal(libc::SIGINT);
    Some((recorder.finish(), output, [from, until]))
}

/// Fails unless the tool's counts lie between the recorder's for the time that it surely looked, and those
/// for the whole time.
fn check_interrupts<'a>(
    theirs: &BTreeMap<String, i64>,
    ours: impl Iterator<Item = (&'a str, i64)>,
    [from, until]: [i64; 2],
) {
    let mut spans: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for (name, time) in ours {
        let (surely, at_most) = spans.entry(name).or_default();
        *surely += i64::from((from..=until).contains(&time));
        *at_most += 1;
    }
    for (name, count) in theirs {
        let (surely, at_most) = spans.remove(name.as_str()).unwrap_or_default();
        // One that ran when the tool or the recorder began is in one of them only, on each CPU.
        assert!(
            (surely..=at_most + 2).contains(count),
            "{name}: {count}, not {surely} to {at_most}"
        );
    }
    assert!(spans.values().all(|(surely, _)| *surely == 0), "unknown to the tool: {spans:?}");
}

#[test]
fn softirqs() {
    let Some(_turn) = alone(&["softirq"]) else { return };
    let Some((recorded, output, span)) = interrupts("softirq", "softirqs", &["-d"]) else { return };
    const NAMES: [&str; 10] = [
        "hi", "timer", "net_tx", "net_rx", "block", "irq_poll", "tasklet", "sched", "hrtimer",
        "rcu",
    ];
    let softirqs = recorded.table::<Softirq>();
    let ours = (0..softirqs.rows()).map(|row| {
        let name = NAMES[softirqs.vector.value(row) as usize];
        (name, recorded.monotonic(softirqs.ts.value(row)))
    });
    let theirs = histograms(&output);
    assert!(theirs.get("net_rx").is_some_and(|count| *count >= 100), "{output}");
    check_interrupts(&theirs, ours, span);
}

#[test]
fn hardirqs() {
    let Some(_turn) = alone(&["hardirq"]) else { return };
    let Some((recorded, output, span)) = interrupts("hardirq", "hardirqs", &["-C"]) else { return };
    let hardirqs = recorded.table::<Hardirq>();
    let ours = (0..hardirqs.rows())
        .map(|row| (text(&hardirqs.name, row), recorded.monotonic(hardirqs.ts.value(row))));
    let theirs: BTreeMap<String, i64> = words(&output)
        .iter()
        .filter_map(|line| match line[..] {
            [name, count] => Some((name.to_owned(), count.parse().ok()?)),
            _ => None,
        })
        .collect();
    assert!(!theirs.is_empty(), "{output}");
    check_interrupts(&theirs, ours, span);
}
