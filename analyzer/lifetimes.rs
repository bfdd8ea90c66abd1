//! Who a pid was at a time.
//!
//! The kernel gives out pids again, so a pid alone names no process; a pid and the time it began
//! do. A [`Lifetime`] is one process from its beginning to its end, put together from the four
//! tables that tell of it: `process` (those that were there when recording began), `fork`, `exec`
//! and `exit`. Any of these may be missing for a process: events get lost, filters leave them out,
//! and the snapshot is taken while processes come and go. So the join takes what there is: an event
//! belongs to the lifetime of its pid that is open at the time, and where none is, it opens one.

mod cgroups;
mod events;

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Range;

use lookback_schemas::Error;
use lookback_schemas::recording::Recording;

use events::Event;

pub use cgroups::{Cgroups, container};

/// How far two statements of the same process's beginning may be apart, in nanoseconds. `/proc`
/// tells it in clock ticks of 10 ms, and `sched_process_fork` fires a little after the kernel
/// stamped the new task.
const SAME_START: u64 = 100_000_000;

/// How much of each process to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Who it was: pid, parent, name, beginning and end.
    Identity,
    /// Also what it ran: files, arguments, directories.
    Images,
}

/// What a process ran from some moment on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Image {
    /// Since when.
    pub ts: i64,
    /// Its name.
    pub comm: Option<String>,
    /// The file: of a process from the snapshot the one that `/proc/PID/exe` names, else as the
    /// caller of exec named it.
    pub filename: Option<String>,
    /// Its working directory at the exec.
    pub cwd: Option<String>,
    /// Its arguments.
    pub argv: Option<Vec<String>>,
    /// Whether it had more arguments than were recorded.
    pub argv_cut: bool,
}

/// How a process ended, and what it had used by then. See the table `exit`.
#[derive(Clone, Debug, PartialEq)]
pub struct Ending {
    /// Exit code.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether a core was dumped.
    pub core: bool,
    /// CPU time in user mode, in nanoseconds.
    pub user: i64,
    /// CPU time in kernel mode, in nanoseconds.
    pub system: i64,
    /// Largest resident set in bytes.
    pub max_rss: Option<i64>,
    /// Page faults without I/O.
    pub minor_faults: i64,
    /// Page faults with I/O.
    pub major_faults: i64,
}

/// One process, from its beginning to its end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lifetime {
    /// Its pid.
    pub pid: i32,
    /// The pid of its parent: the first that was recorded, which is the one that made it where
    /// its fork was.
    pub ppid: Option<i32>,
    /// Its parent's place among [`Lifetimes::all`], where that is known.
    pub parent: Option<usize>,
    /// When it began; null where only its exec was recorded.
    pub start: Option<i64>,
    /// When it ended; null where it was still there at the end of the recording, or its end was
    /// not recorded.
    pub end: Option<i64>,
    /// Its real user id as last recorded.
    pub uid: Option<i32>,
    /// Its cgroup as last recorded.
    pub cgroup: Option<i64>,
    /// What it ran, one after the other. Never empty.
    pub images: Vec<Image>,
    /// How it ended, where that was recorded.
    pub ending: Option<Ending>,
    /// The first and the last moment at which something was recorded of it.
    pub seen: (i64, i64),
    /// Whether its pid was another process's before its own end was recorded.
    pub end_missed: bool,
    /// Whether it is a kernel thread: a child of `kthreadd`, which is pid 2, or that itself.
    pub kernel: bool,
    /// Whether it was there before the recording.
    from_snapshot: bool,
    /// When `ppid` was its parent.
    parent_seen: i64,
}

impl Lifetime {
    /// The moment from which on the pid is this process's, as far as anyone knows.
    fn begins(&self) -> i64 {
        match self.start {
            Some(start) => start,
            None if self.from_snapshot => i64::MIN,
            None => self.seen.0,
        }
    }

    /// What it ran last.
    #[must_use]
    pub fn image(&self) -> &Image {
        self.images.last().expect("a lifetime is made from an event, which gives it an image")
    }

    /// What it ran at the time `ts`.
    #[must_use]
    pub fn image_at(&self, ts: i64) -> &Image {
        let later = self.images.partition_point(|image| image.ts <= ts);
        &self.images[later.saturating_sub(1)]
    }

    /// Its name at the end.
    #[must_use]
    pub fn comm(&self) -> Option<&str> {
        self.image().comm.as_deref()
    }

    /// How long it lived in nanoseconds, where beginning and end are known.
    #[must_use]
    pub fn duration(&self) -> Option<i64> {
        Some(self.end?.saturating_sub(self.start?))
    }
}

/// All processes of a recording.
#[derive(Debug, Default)]
pub struct Lifetimes {
    all: Vec<Lifetime>,
    /// The lifetimes of each pid, in the order of time.
    by_pid: HashMap<i32, Vec<usize>>,
}

impl Lifetimes {
    /// Reads them, whatever the time; tables that the recording lacks are empty.
    ///
    /// # Errors
    /// If a table is damaged.
    pub fn read(recording: &Recording, detail: Detail) -> Result<Lifetimes, Error> {
        Ok(Lifetimes::join(events::read(recording, detail)?))
    }

    fn join(mut events: Vec<(i32, i64, Event)>) -> Lifetimes {
        events.sort_by_key(|(pid, ts, event)| (*pid, *ts, event.order()));
        let mut lifetimes = Lifetimes::default();
        let mut open = false;
        for (pid, ts, event) in events {
            let last = lifetimes.by_pid.get(&pid).and_then(|all| all.last().copied());
            open &= last.is_some();
            let current = last.filter(|_| open);
            let into = match &event {
                // A new process: whoever had the pid has ended, seen or not.
                Event::Forked { .. } => None,
                // The snapshot also finds those that were forked since the recording began, and
                // those that have ended but are not yet reaped.
                Event::Found { start, .. } => current.or(last.filter(|last| {
                    let last = &lifetimes.all[*last];
                    last.start.zip(*start).is_none_or(same_start)
                })),
                Event::Executed { .. } => current,
                Event::Ended { start, .. } => current.filter(|current| {
                    lifetimes.all[*current].start.is_none_or(|known| same_start((known, *start)))
                }),
            };
            let index = match into {
                Some(index) => index,
                None => {
                    if let Some(current) = current {
                        lifetimes.all[current].end_missed = true;
                    }
                    lifetimes.add(pid, ts)
                }
            };
            open = lifetimes.all[index].take(ts, event);
        }
        lifetimes.find_parents();
        lifetimes.inherit_images();
        lifetimes
    }

    fn add(&mut self, pid: i32, ts: i64) -> usize {
        let index = self.all.len();
        self.all.push(Lifetime { pid, seen: (ts, ts), ..Lifetime::default() });
        self.by_pid.entry(pid).or_default().push(index);
        index
    }

    fn find_parents(&mut self) {
        for index in 0..self.all.len() {
            let child = &self.all[index];
            let (pid, ppid, seen) = (child.pid, child.ppid, child.parent_seen);
            let parent = ppid.and_then(|ppid| self.index_of(ppid, seen));
            self.all[index].parent = parent.filter(|parent| *parent != index);
            self.all[index].kernel = pid == 2 || ppid == Some(2);
        }
    }

    /// A process that was forked and did not exec runs what its parent ran.
    fn inherit_images(&mut self) {
        let mut order: Vec<usize> = (0..self.all.len()).collect();
        order.sort_by_key(|index| self.all[*index].begins());
        for index in order {
            let child = &self.all[index];
            let image = &child.images[0];
            let Some(parent) = child.parent else { continue };
            if child.from_snapshot || child.start.is_none() || image.filename.is_some() {
                continue;
            }
            let inherited = self.all[parent].image_at(image.ts).clone();
            let image = &mut self.all[index].images[0];
            *image = Image { ts: image.ts, comm: image.comm.take(), ..inherited };
        }
    }

    /// Every lifetime, by pid and then by time.
    #[must_use]
    pub fn all(&self) -> &[Lifetime] {
        &self.all
    }

    /// Who `pid` was at the time `ts`: the last process that had begun by then. A process keeps its
    /// pid after its end until it is reaped, so events soon after the end are still its own (the
    /// kernel sends its parent SIGCHLD in its name).
    #[must_use]
    pub fn who(&self, pid: i32, ts: i64) -> Option<&Lifetime> {
        self.index_of(pid, ts).map(|index| &self.all[index])
    }

    /// The place of [`who`](Lifetimes::who) among [`all`](Lifetimes::all).
    #[must_use]
    pub fn index_of(&self, pid: i32, ts: i64) -> Option<usize> {
        let all = self.by_pid.get(&pid)?;
        let later = all.partition_point(|index| self.all[*index].begins() <= ts);
        match later {
            // Of a process that is known only from later on it may be unknown when it began.
            0 => all.first().copied().filter(|first| self.all[*first].start.is_none()),
            later => Some(all[later - 1]),
        }
    }

    /// When the pid of the lifetime at `index` was its own, as [`who`](Lifetimes::who) sees it.
    #[must_use]
    pub fn tenure(&self, index: usize) -> Range<i64> {
        let all = &self.by_pid[&self.all[index].pid];
        let place = all.iter().position(|other| *other == index).unwrap_or(0);
        let this = &self.all[index];
        let start = if place == 0 && this.start.is_none() { i64::MIN } else { this.begins() };
        let end = all.get(place + 1).map_or(i64::MAX, |next| self.all[*next].begins());
        start..end
    }

    /// The processes that had one of the `pids`, and all that descend from them, in the order of
    /// [`all`](Lifetimes::all).
    #[must_use]
    pub fn descendants(&self, pids: &HashSet<i32>) -> Vec<usize> {
        let children = self.children();
        let mut found = vec![false; self.all.len()];
        let mut queue: VecDeque<usize> =
            (0..self.all.len()).filter(|index| pids.contains(&self.all[*index].pid)).collect();
        while let Some(index) = queue.pop_front() {
            if !std::mem::replace(&mut found[index], true) {
                queue.extend(&children[index]);
            }
        }
        (0..found.len()).filter(|index| found[*index]).collect()
    }

    /// For each lifetime its children, in the order in which they began.
    #[must_use]
    pub fn children(&self) -> Vec<Vec<usize>> {
        let mut children = vec![Vec::new(); self.all.len()];
        for (index, lifetime) in self.all.iter().enumerate() {
            if let Some(parent) = lifetime.parent {
                children[parent].push(index);
            }
        }
        for siblings in &mut children {
            siblings.sort_by_key(|index| (self.all[*index].begins(), *index));
        }
        children
    }
}

fn same_start((one, other): (i64, i64)) -> bool {
    one.abs_diff(other) <= SAME_START
}

impl Lifetime {
    /// Adds what the event says; whether the process goes on after it.
    fn take(&mut self, ts: i64, event: Event) -> bool {
        let first = self.images.is_empty();
        self.seen = (self.seen.0.min(ts), self.seen.1.max(ts));
        match event {
            Event::Forked { ppid, uid, cgroup, comm } => {
                self.start = Some(ts);
                self.belongs(ppid, ts, Some(uid), cgroup);
                self.images.push(Image { ts, comm, ..Image::default() });
                true
            }
            Event::Found { ppid, uid, cgroup, start, image } => {
                let was_known = !first;
                self.belongs(ppid, ts, uid, cgroup);
                if !was_known {
                    self.start = start;
                    self.from_snapshot = true;
                    self.images.push(Image { ts: start.unwrap_or(i64::MIN), ..image });
                } else if self.images[0].filename.is_none() {
                    let (ts, comm) = (self.images[0].ts, self.images[0].comm.take());
                    self.images[0] = Image { ts, comm: comm.or(image.comm), ..image };
                }
                // Whoever was ended before it was found stays so.
                self.end.is_none()
            }
            Event::Executed { ppid, uid, cgroup, image } => {
                self.belongs(ppid, ts, Some(uid), cgroup);
                self.images.push(image);
                true
            }
            Event::Ended { ppid, uid, cgroup, start, comm, ending } => {
                self.belongs(ppid, ts, Some(uid), cgroup);
                self.start = Some(start);
                self.end = Some(ts);
                self.ending = Some(ending);
                match self.images.last_mut() {
                    Some(image) => image.comm = comm.or(image.comm.take()),
                    None => self.images.push(Image { ts: start, comm, ..Image::default() }),
                }
                false
            }
        }
    }

    fn belongs(&mut self, ppid: i32, ts: i64, uid: Option<i32>, cgroup: Option<i64>) {
        if self.ppid.is_none() {
            self.ppid = Some(ppid);
            self.parent_seen = ts;
        }
        self.uid = uid.or(self.uid);
        self.cgroup = cgroup.or(self.cgroup);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made::{Made, at};

    fn read(made: &Made) -> Lifetimes {
        Lifetimes::read(&made.open(), Detail::Images).expect("it is whole")
    }

    #[test]
    fn a_reused_pid_is_two_processes() {
        let made = Made::new();
        made.rows(&[
            made.fork(1.0, 10, 1),
            made.exec(1.1, 10, 1, &["/bin/first"]),
            made.exit(2.0, 10, 1, 1.0, Ok(0)),
            made.fork(3.0, 10, 1),
            made.exec(3.1, 10, 1, &["/bin/second", "x"]),
        ]);
        let lifetimes = read(&made);
        assert_eq!(lifetimes.all().len(), 2);
        let name = |seconds| {
            let image = lifetimes.who(10, at(seconds)).map(|who| who.image_at(at(seconds)));
            image.and_then(|image| image.filename.clone())
        };
        assert_eq!(name(0.5), None);
        assert_eq!(name(1.5).as_deref(), Some("/bin/first"));
        assert_eq!(name(2.5).as_deref(), Some("/bin/first"), "not yet reaped");
        assert_eq!(name(3.5).as_deref(), Some("/bin/second"));
        assert_eq!(lifetimes.all()[0].duration(), Some(1_000_000_000));
        assert_eq!(lifetimes.all()[1].end, None);
    }

    #[test]
    fn the_snapshot_and_events_of_the_same_process_are_one_lifetime() {
        let made = Made::new();
        made.rows(&[
            // Forked before the snapshot looked.
            made.fork(0.1, 10, 1),
            made.process(0.2, 10, 1, 0.095, &["/bin/a"]),
            // There before; ends later.
            made.process(0.2, 11, 1, -100.0, &["/bin/b"]),
            made.exit(5.0, 11, 1, -100.004, Ok(3)),
            // Ended, and found as a zombie.
            made.fork(0.1, 12, 1),
            made.exit(0.15, 12, 1, 0.1, Ok(0)),
            made.process(0.2, 12, 1, 0.1, &[]),
        ]);
        let lifetimes = read(&made);
        let pids: Vec<i32> = lifetimes.all().iter().map(|lifetime| lifetime.pid).collect();
        assert_eq!(pids, [10, 11, 12]);
        assert_eq!(lifetimes.all()[0].image().filename.as_deref(), Some("/bin/a"));
        assert_eq!(lifetimes.all()[1].end, Some(at(5.0)));
        assert_eq!(lifetimes.all()[2].end, Some(at(0.15)));
    }

    #[test]
    fn lost_events_leave_what_is_known() {
        let made = Made::new();
        made.rows(&[
            // The end of the first and the fork of the second are lost.
            made.fork(1.0, 10, 1),
            made.exit(9.0, 10, 1, 5.0, Err(9)),
            // Only an exec.
            made.exec(2.0, 11, 10, &["/bin/x"]),
        ]);
        let lifetimes = read(&made);
        assert_eq!(lifetimes.all().len(), 3);
        assert!(lifetimes.all()[0].end_missed && lifetimes.all()[0].end.is_none());
        assert_eq!(lifetimes.all()[1].start, Some(at(5.0)));
        assert_eq!(lifetimes.all()[2].start, None);
        assert_eq!(lifetimes.all()[2].parent, Some(0), "pid 10 as it was then");
    }

    #[test]
    fn descendants_are_found_by_time_and_loops_end() {
        let made = Made::new();
        made.rows(&[
            made.fork(1.0, 10, 1),
            made.fork(2.0, 11, 10),
            made.exit(3.0, 10, 1, 1.0, Ok(0)),
            made.exit(3.5, 11, 1, 2.0, Ok(0)),
            // Pid 11 again, of someone else.
            made.fork(4.0, 11, 1),
            // Each other's parents, as only a made-up recording says.
            made.process(0.1, 20, 21, -1.0, &["a"]),
            made.process(0.1, 21, 20, -1.0, &["b"]),
        ]);
        let lifetimes = read(&made);
        let of = |pid| -> Vec<(i32, Option<i64>)> {
            let found = lifetimes.descendants(&HashSet::from([pid]));
            found.iter().map(|index| &lifetimes.all()[*index]).map(|l| (l.pid, l.start)).collect()
        };
        assert_eq!(of(10), [(10, Some(at(1.0))), (11, Some(at(2.0)))]);
        assert_eq!(of(20).len(), 2);
        assert_eq!(of(99), []);
    }

    #[test]
    fn a_child_without_exec_runs_what_its_parent_ran() {
        let made = Made::new();
        made.rows(&[
            made.exec(1.0, 10, 1, &["/bin/server", "-x"]),
            made.fork(2.0, 11, 10),
            made.exec(3.0, 10, 1, &["/bin/other"]),
        ]);
        let lifetimes = read(&made);
        assert_eq!(lifetimes.all()[1].image().filename.as_deref(), Some("/bin/server"));
        assert_eq!(lifetimes.all()[1].comm(), Some("parent"));
    }

    #[test]
    fn containers_are_found_in_paths() {
        let id = "0123456789abcdef".repeat(4);
        for path in [
            format!("/system.slice/docker-{id}.scope"),
            format!("/docker/{id}"),
            format!("/docker/{id}/init.scope"),
            format!("/kubepods.slice/kubepods-besteffort.slice/cri-containerd-{id}.scope"),
            format!("/kubepods/burstable/pod1234/{id}"),
            format!("/machine.slice/libpod-{id}.scope/container"),
            format!("/kubepods.slice/crio-{id}.scope"),
            format!("/system.slice:cri-containerd:{id}"),
            format!("/docker/{}/docker/{id}", "f".repeat(64)),
        ] {
            assert_eq!(container(&path), Some(id.as_str()), "{path}");
        }
        for path in [
            "/user.slice/user-1000.slice".to_owned(),
            format!("/machine.slice/libpod-conmon-{id}.scope"),
            format!("/x/{id}0"),
            "/".to_owned(),
        ] {
            assert_eq!(container(&path), None, "{path}");
        }
    }
}
