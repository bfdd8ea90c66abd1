//! Every kind of hook of a tracer gives the same rows: those that the workload tells of.
//!
//! A tracer takes the best hook that the kernel has, so the others would be tried on no kernel, or on a rare one.
//! Here each is forced. A kernel that lacks one is told apart from a hook that is broken by what
//! `record --list` says of it; in the virtual machines it must have all that it can.

use std::path::Path;
use std::process::Command;

use super::has_tracefs;
use crate::recording::{RECORD, Recorded};
use crate::running::{in_vm, kernel_version, run};

/// Each kind of hook, as `--hook` calls it, and how the names begin that the manifest has for it.
const NAMES: [(&str, &str); 7] = [
    ("fentry", "fentry"),
    ("kprobe", "kprobe"),
    ("typed-tracepoint", "typed raw tracepoint"),
    ("raw-tracepoint", "raw tracepoint"),
    ("tracepoint", "tracepoint"),
    ("uprobe-session", "uprobe session"),
    ("uprobe", "uprobes and"),
];

/// Makes a recording with each kind of hook that the kernel gives the tracer of these, by the options that `make`
/// gets; with any hook where it gives none.
pub fn by_each_hook(tracer: &str, kinds: &[&str], make: impl Fn(&[&str]) -> Recorded) {
    let mut made = 0;
    for kind in kinds {
        if let Err(why) = given(tracer, kind) {
            assert!(may_lack(kind), "{tracer} by {kind}: {why}");
            eprintln!("left out: {tracer} by {kind}: {why}");
            continue;
        }
        let recorded = make(&["--hook", kind]);
        let tracers = &recorded.recording.manifest().tracers;
        let mut hooks = tracers.iter().filter(|its| its.name == tracer).flat_map(|its| &its.hooks);
        assert!(hooks.any(|hook| is(&hook.hook, kind)), "{tracer} by {kind}: {tracers:?}");
        made += 1;
    }
    if made == 0 {
        make(&[]);
    }
}

fn is(name: &str, kind: &str) -> bool {
    let (_, begin) = NAMES.iter().find(|(its, _)| *its == kind).unwrap();
    name.starts_with(begin)
}

/// Why the kernel does not give a tracer this kind of hook.
fn given(tracer: &str, kind: &str) -> Result<(), String> {
    let ended = run(Command::new(RECORD).args(["--list", "--trace", tracer, "--hook", kind]));
    assert!(ended.status.success(), "{ended:?}");
    let mut hooks = ended.stdout.lines().skip(1).filter_map(|line| line.split_once(": "));
    if hooks.any(|(_, hook)| is(hook, kind)) { Ok(()) } else { Err(ended.stdout) }
}

/// Whether this kernel may lack this kind: it was built without it, refuses it, or is too old.
fn may_lack(kind: &str) -> bool {
    match kind {
        // Since 6.13 (99b403d2060f).
        "uprobe-session" => kernel_version() < (6, 13),
        "kprobe" => !Path::new("/sys/bus/event_source/devices/kprobe").exists(),
        // Machines of clouds may refuse it to everyone.
        "fentry" => !in_vm(),
        "tracepoint" => !has_tracefs(),
        _ => false,
    }
}
