//! What the recorder may do: to attach, while it records, and what the command may.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use lookback_schemas::recording::Recording;
use lookback_schemas::tables::{Frame, Process, Symbol};

use super::{alone, missing, shared, skip};
use crate::recording::{RECORD, Record, known, rows_where, text};
use crate::running::{Running, kernel_version, run, wait_for};
use crate::workload;

/// Capabilities by name, with their bits (`include/uapi/linux/capability.h`).
const BITS: [(&str, u32); 7] = [
    ("dac_read_search", 2),
    ("kill", 5),
    ("sys_ptrace", 19),
    ("syslog", 34),
    ("perfmon", 38),
    ("bpf", 39),
    ("checkpoint_restore", 40),
];

fn mask(names: &[&str]) -> u64 {
    let bit = |name: &&str| BITS.iter().find(|(known, _)| known == name).unwrap().1;
    names.iter().map(|name| 1 << bit(name)).sum()
}

/// What `/proc` says of a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    /// Permitted, effective, in the bounding set.
    sets: [u64; 3],
    /// Inheritable, ambient.
    handed_on: [u64; 2],
    no_new_privileges: bool,
}

fn held(status: &str) -> (String, Held) {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_start_matches(':').trim()
    };
    let set = |name: &str| u64::from_str_radix(field(name), 16).unwrap();
    let held = Held {
        sets: ["CapPrm", "CapEff", "CapBnd"].map(set),
        handed_on: ["CapInh", "CapAmb"].map(set),
        no_new_privileges: field("NoNewPrivs") == "1",
    };
    (field("Name").to_owned(), held)
}

/// The threads of a process, by name.
fn threads(pid: i32) -> BTreeMap<String, Vec<Held>> {
    let mut threads: BTreeMap<String, Vec<Held>> = BTreeMap::new();
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        // It may end meanwhile.
        let Ok(status) = fs::read_to_string(task.unwrap().path().join("status")) else { continue };
        let (name, held) = held(&status);
        threads.entry(name).or_default().push(held);
    }
    threads
}

/// Waits until each thread of the recorder has exactly what is expected, and nothing to hand on.
fn assert_threads(recorder: &Running, expected: &[(&str, &[&str])]) {
    let wanted: BTreeMap<String, Vec<Held>> = expected
        .iter()
        .map(|(name, capabilities)| {
            let sets = [mask(capabilities); 3];
            let held = Held { sets, handed_on: [0; 2], no_new_privileges: true };
            ((*name).to_owned(), vec![held])
        })
        .collect();
    let mut last = BTreeMap::new();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while std::time::Instant::now() < end {
        last = threads(recorder.pid());
        if last == wanted {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(last, wanted);
}

fn ticker() -> Running {
    let mut running = Running::start(&mut Command::new(workload::path("ticker")));
    running.await_line("ticker");
    running
}

const CODE: &[&str] = &["bpf", "sys_ptrace", "checkpoint_restore", "dac_read_search"];

#[test]
fn while_it_records_no_thread_can_do_more_than_its_work_takes() {
    let Some(_turn) = shared(&["signal", "profile"]) else { return };
    let ticker = ticker();
    let mut recorder = Record::trace("signal").pid(ticker.pid()).start();
    recorder.attached();
    let writers: &[&str] = &["dac_read_search"];
    assert_threads(
        &recorder.running,
        &[("record", &["bpf"]), ("drain", &["bpf"]), ("encoder", writers), ("scribe", writers)],
    );
    recorder.running.signal(libc::SIGINT);
    recorder.finish();

    // With stacks there is code to be read.
    let mut recorder = Record::trace("profile").pid(ticker.pid()).start();
    recorder.attached();
    let main: Vec<&str> = CODE.iter().copied().chain(["syslog"]).collect();
    assert_threads(
        &recorder.running,
        &[
            ("record", &main),
            ("drain", CODE),
            ("unwind", CODE),
            ("encoder", writers),
            ("scribe", writers),
        ],
    );
    recorder.running.signal(libc::SIGINT);
    recorder.finish();
}

#[test]
fn under_sudo_the_threads_that_write_can_do_nothing_else() {
    let Some(_turn) = shared(&["signal"]) else { return };
    const CALLER: u32 = 65534;
    let directory = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(directory.path(), Some(CALLER), Some(CALLER)).unwrap();
    let record = Record::trace_into("signal", directory, "recording").options(["--quiet"]);
    let record = record.env("SUDO_UID", CALLER.to_string()).env("SUDO_GID", CALLER.to_string());
    let mut recorder = record.workload::<&str>("ticker", []).start();
    recorder.attached();
    assert_threads(
        &recorder.running,
        &[("record", &["bpf", "kill"]), ("drain", &["bpf"]), ("encoder", &[]), ("scribe", &[])],
    );
    recorder.running.signal(libc::SIGINT);
    recorder.finish_anyhow();
}

#[test]
fn the_command_keeps_its_privileges() {
    let Some(_turn) = shared(&["process"]) else { return };
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // A program that is another user's, and runs as that user.
    let other = directory.path().join("id");
    fs::copy("/usr/bin/id", &other).unwrap();
    std::os::unix::fs::chown(&other, Some(65534), Some(65534)).unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o4755)).unwrap();
    let script = format!("sleep 0.5; cat /proc/self/status; {} -u", other.display());
    let plain = run(Command::new("sh").args(["-c", &script]));
    let recorded = Record::trace("process").options(["--", "sh", "-c", &script]).run();
    let (_, expected) = held(&plain.stdout);
    let (_, found) = held(recorded.stdout());
    assert_eq!(found, expected);
    assert!(!found.no_new_privileges && found.sets[0] != 0);
    let user = |output: &str| output.lines().last().unwrap().to_owned();
    if user(&plain.stdout) != "65534" {
        return skip("set-uid programs do not work in the temporary directory");
    }
    assert_eq!(user(recorded.stdout()), "65534");
}

/// Starts a program as a user with exactly these capabilities, as a service manager does.
fn as_user(user: &str, capabilities: &[&str]) -> Vec<String> {
    let sets = capabilities.iter().fold("-all".to_owned(), |sets, name| sets + ",+" + name);
    let mut words = vec!["setpriv".to_owned()];
    words.extend(["--reuid", user, "--regid", user, "--clear-groups"].map(str::to_owned));
    words.extend(
        ["--inh-caps", "--ambient-caps", "--bounding-set"]
            .iter()
            .flat_map(|set| [(*set).to_owned(), sets.clone()]),
    );
    words.push("--no-new-privs".to_owned());
    words
}

/// Who is not root.
const USER: &str = "65534";

/// What each tracer takes to be attached to the same hooks as for root, by a user who is not root, to a process
/// of root's.
const TAKES: &[(&str, &[&str])] = &[
    ("process", &["bpf", "perfmon"]),
    ("signal", &["bpf", "perfmon", "dac_read_search"]),
    ("profile", &["bpf", "perfmon"]),
    ("syscall", &["bpf", "perfmon"]),
    ("open", &["bpf", "perfmon"]),
    ("unlink", &["bpf", "perfmon"]),
    ("runq", &["bpf", "perfmon"]),
    ("offcpu", &["bpf", "perfmon"]),
    ("hardirq", &["bpf", "perfmon"]),
    ("softirq", &["bpf", "perfmon"]),
    ("tcpconnect", &["bpf", "perfmon", "dac_read_search"]),
    ("tcpstate", &["bpf", "perfmon"]),
    ("tcprtt", &["bpf", "perfmon"]),
    ("kalloc", &["bpf", "perfmon"]),
    ("alloc", &["bpf", "perfmon", "sys_ptrace"]),
    ("vm", &["bpf", "perfmon"]),
];

/// The hooks by which a process of root's is recorded with these capabilities, or all; or else what was said.
fn hooks(tracer: &str, capabilities: Option<&[&str]>, pid: i32) -> Result<Vec<String>, String> {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let output = directory.path().join("recording");
    let mut words = capabilities.map_or_else(Vec::new, |names| as_user(USER, names));
    words.push(RECORD.to_owned());
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).args(["--quiet", "--duration", "100ms", "--trace", tracer]);
    let ended = run(command.args(["--pid", &pid.to_string(), "--output"]).arg(&output));
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    if !ended.status.success() {
        return Err(ended.stderr);
    }
    let recording = Recording::open(&output).unwrap();
    let hooks = recording.manifest().tracers.iter().flat_map(|tracer| &tracer.hooks);
    Ok(hooks.map(|hook| format!("{}: {}", hook.purpose, hook.hook)).collect())
}

#[test]
fn each_tracer_takes_exactly_the_capabilities_that_the_documentation_says() {
    let Some(_turn) = alone(&["process"]) else { return };
    if kernel_version() != (6, 18) {
        // Which hook is the best, and what it takes, is another matter elsewhere.
        return missing("the page tells of kernel 6.18");
    }
    let page = include_str!("../../docs/service.md");
    let mut running = Running::start(Command::new(workload::path("heap")).args(["wait", "few"]));
    running.await_line("ready");
    for (tracer, takes) in TAKES {
        let with = |names: Option<&[&str]>| hooks(tracer, names, running.pid());
        let all = with(None).unwrap();
        assert_eq!(with(Some(takes)).as_ref(), Ok(&all), "{tracer} with {takes:?}");
        for left_out in *takes {
            let rest: Vec<&str> = takes.iter().copied().filter(|name| name != left_out).collect();
            assert_ne!(with(Some(&rest)).as_ref(), Ok(&all), "{tracer} does not take {left_out}");
        }
        let names: BTreeSet<String> =
            takes.iter().map(|name| format!("CAP_{}", name.to_uppercase())).collect();
        let row = page.lines().find(|line| line.starts_with(&format!("| `{tracer}` |"))).unwrap();
        let said: BTreeSet<String> = row
            .split(['|', ',', ' ', '`'])
            .filter(|word| word.starts_with("CAP_"))
            .map(str::to_owned)
            .collect();
        assert_eq!(said, names, "{row}");
    }
}

#[test]
fn with_the_capabilities_of_the_unit_file_a_service_sees_what_root_sees() {
    let Some(_turn) = alone(&["process", "profile"]) else { return };
    let unit = include_str!("../../docs/lookback.service");
    let line = |name: &str| unit.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    assert_eq!(line("AmbientCapabilities="), line("CapabilityBoundingSet="));
    let names: Vec<String> = line("AmbientCapabilities=")
        .split(' ')
        .map(|name| name.strip_prefix("CAP_").unwrap().to_lowercase())
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    // A program in a folder that is for root alone.
    let hidden = tempfile::tempdir().unwrap();
    let program = hidden.path().join("burner");
    fs::copy(workload::path("burner"), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    let mut shell = Running::start(
        Command::new("sh").args(["-c", &format!("read x; exec {} shares 1000", program.display())]),
    );
    let directory = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(directory.path(), Some(65534), Some(65534)).unwrap();
    let record = Record::trace_into("process,profile", directory, "recording");
    let record = record.options(["--quiet", "--frequency", "499"]).pid(shell.pid());
    let mut recorder = record.under(as_user(USER, &names)).start();
    recorder.looked_around();
    let main: Vec<&str> = CODE.iter().copied().chain(["syslog"]).collect();
    wait_for("the main thread to have given up the rest", || {
        let status =
            fs::read_to_string(format!("/proc/{}/status", recorder.running.pid())).unwrap();
        let (_, held) = held(&status);
        (held.sets[..2] == [mask(&main); 2] && held.handed_on == [mask(&main); 2]).then_some(())
    });
    shell.send_line();
    // The recorder ends when nothing is left of the process.
    shell.end();
    let recorded = recorder.finish();
    let processes = recorded.table::<Process>();
    let exes = rows_where(&processes, |row| known(&processes.exe, row).is_some());
    assert_eq!(exes.len(), 1, "root's process is looked at");
    let (frames, symbols) = (recorded.table::<Frame>(), recorded.table::<Symbol>());
    let own = rows_where(&frames, |row| known(&frames.module, row) == program.to_str());
    assert!(!own.is_empty());
    let named = |name: &str| {
        let of_name = rows_where(&symbols, |row| text(&symbols.name, row) == name);
        of_name.iter().any(|symbol| {
            let frame = symbols.frame.value(*symbol);
            own.iter().any(|row| frames.id.value(*row) == frame)
        })
    };
    assert!(named("hot") && named("main"), "names from a file that is root's");
    let kernel = rows_where(&frames, |row| frames.kernel.value(row));
    let kernel: BTreeSet<i64> = kernel.iter().map(|row| frames.id.value(*row)).collect();
    let known = rows_where(&symbols, |row| kernel.contains(&symbols.frame.value(row)));
    assert!(kernel.is_empty() || !known.is_empty(), "the kernel's names");
}
