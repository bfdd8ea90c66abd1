//! Filters: what they ask for is recorded, all of it, and nothing of a family of processes that does
//! the same beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use lookback_schemas::cell::View as _;
use lookback_schemas::tables::{Cgroup, Exec, Exit, Fork, Kill, Process, Sample, Signal};

use super::{shared, skip};
use crate::command_line::refused;
use crate::recording::{Record, Recorded, known, row_where, rows_where, text};
use crate::running::{Running, in_vm, run};
use crate::workload::{self, fact, facts};

/// A family of processes; see `tests/workloads/tree.c`.
struct Tree {
    running: Running,
    first: i32,
    child: i32,
}

/// What a family did.
struct Deeds {
    first: i32,
    child: i32,
    grandchild: i32,
    /// Calls of kill, by process.
    calls: BTreeMap<i32, i64>,
}

impl Tree {
    /// Starts it; it waits.
    fn start(arguments: &[&str]) -> Tree {
        let mut command = Command::new(workload::path("tree"));
        let mut running = Running::start(command.args(arguments));
        let ready = fact(&running.await_line("ready"), "ready");
        Tree { running, first: ready.int32("pid"), child: ready.int32("child") }
    }

    /// Lets it do all that it does, and end.
    fn act(mut self) -> Deeds {
        self.running.send_line();
        self.running.await_line("done");
        let ended = self.running.end();
        assert!(ended.status.success(), "{ended:?}");
        let members = facts(&ended.stdout, "member");
        let calls: BTreeMap<i32, i64> =
            members.iter().map(|fact| (fact.int32("pid"), fact.int("calls"))).collect();
        let last = members.iter().find(|fact| fact.word("role") == "grandchild").unwrap();
        assert_eq!(calls.len(), 3);
        Deeds { first: self.first, child: self.child, grandchild: last.int32("pid"), calls }
    }
}

/// Calls of kill in a recording, by process.
fn calls(recorded: &Recorded) -> BTreeMap<i32, i64> {
    let kills = recorded.table::<Kill>();
    let mut calls = BTreeMap::new();
    for row in 0..kills.rows() {
        *calls.entry(kills.pid.value(row)).or_default() += 1;
    }
    calls
}

fn pids(column: &arrow::array::Int32Array) -> Vec<i32> {
    let mut pids: Vec<i32> = column.values().to_vec();
    pids.sort_unstable();
    pids
}

fn sorted<const N: usize>(mut pids: [i32; N]) -> Vec<i32> {
    pids.sort_unstable();
    pids.to_vec()
}

/// All of the family is there, as far as `kept` says, and no event is without one of them.
fn assert_only(recorded: &Recorded, kept: &BTreeSet<i32>) {
    let (signals, samples) = (recorded.table::<Signal>(), recorded.table::<Sample>());
    for row in 0..signals.rows() {
        let sender = known(&signals.pid, row);
        let is_kept = |pid| kept.contains(&pid);
        assert!(sender.is_some_and(is_kept) || is_kept(signals.target_pid.value(row)));
    }
    for row in 0..samples.rows() {
        assert!(kept.contains(&samples.pid.value(row)));
    }
    recorded.assert_nothing_lost();
}

const TRACERS: &str = "process,signal,profile";

#[test]
fn a_process_and_its_descendants() {
    let Some(_turn) = shared(&["process", "signal", "profile"]) else { return };
    let (wanted, other) = (Tree::start(&["wanted"]), Tree::start(&["other"]));
    let mut recorder = Record::trace(TRACERS).pid(wanted.first).start();
    recorder.looked_around();
    other.act();
    let deeds = wanted.act();
    // Nobody is left to record.
    let recorded = recorder.finish();
    assert_eq!(recorded.recording.manifest().ended.as_ref().unwrap().why, "processes");

    let Deeds { first, child, grandchild, .. } = deeds;
    assert_eq!(calls(&recorded), deeds.calls);
    assert_eq!(pids(&recorded.table::<Process>().pid), sorted([first, child]), "there before");
    let forks = recorded.table::<Fork>();
    assert_eq!((pids(&forks.pid), pids(&forks.ppid)), (vec![grandchild], vec![child]));
    assert_eq!(pids(&recorded.table::<Exec>().pid), [grandchild]);
    assert_eq!(pids(&recorded.table::<Exit>().pid), sorted([first, child, grandchild]));
    assert_only(&recorded, &deeds.calls.keys().copied().collect());
}

#[test]
fn a_process_without_its_descendants() {
    let Some(_turn) = shared(&["process", "signal", "profile"]) else { return };
    let (wanted, other) = (Tree::start(&["wanted"]), Tree::start(&["other"]));
    let mut recorder = Record::trace(TRACERS).options(["--no-follow"]).pid(wanted.first).start();
    recorder.looked_around();
    other.act();
    let deeds = wanted.act();
    let recorded = recorder.finish();

    let first = deeds.first;
    assert_eq!(calls(&recorded), BTreeMap::from([(first, deeds.calls[&first])]));
    assert_eq!(pids(&recorded.table::<Process>().pid), [first]);
    assert_eq!(recorded.table::<Fork>().rows(), 0);
    assert_eq!(recorded.table::<Exec>().rows(), 0);
    assert_eq!(pids(&recorded.table::<Exit>().pid), [first]);
    assert_only(&recorded, &BTreeSet::from([first]));
}

#[test]
fn a_command_without_its_descendants() {
    let Some(_turn) = shared(&["process"]) else { return };
    let recorded =
        Record::trace("process").options(["--no-follow"]).workload("exits", ["forks", "20"]).run();
    let command = fact(recorded.stdout(), "exits").int32("pid");
    assert_eq!(facts(recorded.stdout(), "exit").len(), 20);
    assert_eq!(recorded.table::<Fork>().rows(), 0);
    assert_eq!(pids(&recorded.table::<Exit>().pid), [command]);
    assert!(!recorded.recording.manifest().filters.follow);
}

#[test]
fn a_user() {
    let Some(_turn) = shared(&["process", "signal", "profile"]) else { return };
    let (wanted, other) = (Tree::start(&["tree", "54321"]), Tree::start(&["tree", "54322"]));
    // Both families, so that nothing else is recorded; of these the one user.
    let mut recorder = Record::trace(TRACERS)
        .pid(wanted.first)
        .pid(other.first)
        .options(["--uid", "54321"])
        .start();
    recorder.looked_around();
    let others = other.act();
    let deeds = wanted.act();
    let recorded = recorder.finish();

    let Deeds { first, child, grandchild, .. } = deeds;
    assert_eq!(others.calls.len(), deeds.calls.len());
    assert_eq!(calls(&recorded), deeds.calls);
    assert_eq!(pids(&recorded.table::<Process>().pid), sorted([first, child]));
    assert_eq!(pids(&recorded.table::<Fork>().pid), [grandchild]);
    let exits = recorded.table::<Exit>();
    assert_eq!(pids(&exits.pid), sorted([first, child, grandchild]));
    assert!(exits.uid.values().iter().all(|uid| *uid == 54321));
    assert_only(&recorded, &deeds.calls.keys().copied().collect());
}

#[test]
fn a_name() {
    let Some(_turn) = shared(&["process", "signal", "profile"]) else { return };
    let (wanted, other) = (Tree::start(&["wanted"]), Tree::start(&["wanted, not"]));
    let mut recorder = Record::trace(TRACERS)
        .pid(wanted.first)
        .pid(other.first)
        .options(["--comm", "wanted"])
        .start();
    recorder.looked_around();
    other.act();
    let deeds = wanted.act();
    let recorded = recorder.finish();

    let Deeds { first, child, grandchild, .. } = deeds;
    assert_eq!(calls(&recorded), deeds.calls);
    assert_eq!(pids(&recorded.table::<Fork>().pid), [grandchild]);
    // What it executes gives the grandchild another name.
    assert_eq!(recorded.table::<Exec>().rows(), 0);
    assert_eq!(pids(&recorded.table::<Exit>().pid), sorted([first, child]));
    assert_only(&recorded, &deeds.calls.keys().copied().collect());
}

/// A control group of version 2 that goes away with the test.
pub struct Group(pub PathBuf);

impl Group {
    pub fn create(path: PathBuf) -> std::io::Result<Group> {
        std::fs::create_dir(&path).map(|()| Group(path))
    }

    pub fn adopt(&self, pid: i32) -> std::io::Result<()> {
        std::fs::write(self.0.join("cgroup.procs"), pid.to_string())
    }

    fn id(&self) -> i64 {
        use std::os::unix::fs::MetadataExt as _;
        std::fs::metadata(&self.0).unwrap().ino() as i64
    }

    /// As the recording names it.
    fn name(&self, root: &Path) -> String {
        format!("/{}", self.0.strip_prefix(root).unwrap().display())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Its processes are gone by now, unless the test failed.
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// Where the hierarchy of version 2 is mounted.
pub fn hierarchy() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let of_cgroup2 = |line: &str| {
        let (mount, source) = line.split_once(" - ")?;
        source.starts_with("cgroup2 ").then(|| mount.split(' ').nth(4).map(PathBuf::from))?
    };
    mounts.lines().find_map(of_cgroup2)
}

#[test]
fn a_cgroup_that_is_gone_is_refused() {
    let Some(_turn) = shared(&["process"]) else { return };
    let ended = refused(&["--trace", "process", "--cgroup", "/sys/fs/cgroup/lookback-gone"]);
    assert!(ended.stderr.contains("/sys/fs/cgroup/lookback-gone"), "{}", ended.stderr);
}

/// A directory in which a hierarchy of version 1 is mounted, and one of its cgroups.
struct Old(tempfile::TempDir);

impl Old {
    fn mount() -> Old {
        let old = Old(tempfile::tempdir().unwrap());
        let options = ["-t", "cgroup", "-o", "none,name=lookback", "none"];
        let ended = run(Command::new("mount").args(options).arg(old.0.path()));
        assert!(ended.status.success(), "{ended:?}");
        old
    }
}

impl Drop for Old {
    fn drop(&mut self) {
        let ended = run(Command::new("umount").arg(self.0.path()));
        assert!(std::thread::panicking() || ended.status.success(), "{ended:?}");
    }
}

/// Only in a virtual machine: such a hierarchy is the whole system's.
#[test]
fn cgroups_of_version_1_are_none() {
    if !in_vm() {
        return;
    }
    let Some(_turn) = shared(&["process"]) else { return };
    let old = Old::mount();
    let made = old.0.path().join("made");
    let script = format!("mkdir {0} && echo $$ > {0}/cgroup.procs", made.display());
    let recorded = Record::trace("process").options(["--", "sh", "-c", &script]).run();
    assert!(made.is_dir());
    let cgroups = recorded.table::<Cgroup>();
    let paths: Vec<&str> = (0..cgroups.rows()).map(|row| text(&cgroups.path, row)).collect();
    assert!(!paths.is_empty() && !paths.iter().any(|path| path.contains("made")), "{paths:?}");
    let ended = refused(&["--trace", "process", "--cgroup", made.to_str().unwrap()]);
    assert!(ended.stderr.contains("version 2"), "{}", ended.stderr);
    std::fs::remove_dir(made).unwrap();
}

#[test]
fn where_there_is_no_hierarchy_of_version_2_it_is_told() {
    let Some(_turn) = shared(&["process"]) else { return };
    let recorded = Record::trace("process").without_cgroups().options(["--", "true"]).run();
    let manifest = recorded.recording.manifest();
    let unknown = &manifest.tracers[0].unknown;
    assert!(unknown.iter().any(|unknown| unknown.column == "cgroup.path"), "{unknown:?}");
    assert_eq!(recorded.table::<Cgroup>().rows(), 0);
    let exits = recorded.table::<Exit>();
    assert!(exits.rows() > 0);
}

#[test]
fn a_cgroup_and_those_below_it() {
    let Some(_turn) = shared(&["process", "signal", "profile"]) else { return };
    let Some(root) = hierarchy() else { return skip("no cgroup hierarchy of version 2") };
    let name = format!("lookback-test-{}", std::process::id());
    let made = Group::create(root.join(&name)).and_then(|outer| {
        let inner = Group::create(outer.0.join("inner"))?;
        let beside = Group::create(root.join(name + "-beside"))?;
        Ok((inner, beside, outer))
    });
    let (inner, beside, outer) = match made {
        Ok(groups) => groups,
        Err(error) => return skip(&format!("no cgroup can be made: {error}")),
    };
    let (wanted, other) = (Tree::start(&["wanted"]), Tree::start(&["other"]));
    for (group, pid) in [(&outer, wanted.first), (&inner, wanted.child)] {
        group.adopt(pid).unwrap();
    }
    for pid in [other.first, other.child] {
        beside.adopt(pid).unwrap();
    }

    let mut recorder =
        Record::trace(TRACERS).options(["--cgroup".as_ref(), outer.0.as_os_str()]).start();
    recorder.looked_around();
    let later = Group::create(inner.0.join("later")).unwrap();
    other.act();
    let deeds = wanted.act();
    // A group stays, whether anybody is in it or not.
    recorder.running.signal(libc::SIGINT);
    let recorded = recorder.finish();

    let Deeds { first, child, grandchild, .. } = deeds;
    assert_eq!(calls(&recorded), deeds.calls);
    assert_eq!(pids(&recorded.table::<Process>().pid), sorted([first, child]));
    assert_eq!(pids(&recorded.table::<Fork>().pid), [grandchild]);
    assert_eq!(pids(&recorded.table::<Exec>().pid), [grandchild]);
    let exits = recorded.table::<Exit>();
    assert_eq!(pids(&exits.pid), sorted([first, child, grandchild]));
    for row in 0..exits.rows() {
        let group = if exits.pid.value(row) == first { &outer } else { &inner };
        assert_eq!(known(&exits.cgroup, row), Some(group.id()));
    }
    assert_only(&recorded, &deeds.calls.keys().copied().collect());

    // The names of groups are there: those that were, and those that came.
    let groups = recorded.table::<Cgroup>();
    let (before, by_me) = (None, Some(std::process::id() as i32));
    for (group, maker) in [(&outer, before), (&inner, before), (&beside, before), (&later, by_me)] {
        let row = row_where(&groups, "a cgroup", |row| {
            groups.id.value(row) == group.id() && known(&groups.pid, row) == maker
        });
        assert_eq!(text(&groups.path, row), group.name(&root));
        // The look at what is there may be late enough to find the one that came, too.
        let rows = rows_where(&groups, |row| groups.id.value(row) == group.id());
        assert!(rows.len() == 1 || maker == by_me && rows.len() == 2, "{rows:?}");
    }
    let root_rows = rows_where(&groups, |row| known(&groups.path, row) == Some("/"));
    assert_eq!(root_rows.len(), 1);
    drop((later, inner));
}
