//! Which processes a report is about.
//!
//! `--pid`, `--tid`, `--comm`, `--uid` and `--cgroup` must all hold for one of the processes that a
//! row names: a signal names two, its sender and its target, and is in scope if either is. A row
//! whose process is unknown is out of scope as soon as one of them is given.
//!
//! With `--follow` a pid stands for its descendants too. Those are found by
//! [lifetimes](crate::lifetimes), so that a later process that got a descendant's pid is not taken
//! for it. A cgroup stands for those below it. Where a row does not say in which its process was,
//! the process's lifetime does.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::Range;
use std::path::Path;

use anyhow::bail;
use arrow::array::{Array as _, BooleanArray, Int32Array, Int64Array, StringArray};
use arrow::compute::filter_record_batch;
use arrow::record_batch::RecordBatch;
use clap::Args;
use lookback_schemas::cell;
use lookback_schemas::recording::Recording;
use lookback_schemas::{Error, TableId};

use crate::lifetimes::{Cgroups, Detail, Lifetimes};
use crate::processes::known;

/// Which processes to look at.
#[derive(Args, Clone, Debug, Default)]
pub struct ScopeArgs {
    /// Only this process; can be given again
    #[arg(short, long, value_name = "PID", help_heading = "Filters")]
    pub pid: Vec<i32>,
    /// The processes of --pid and all their descendants
    #[arg(long, requires = "pid", help_heading = "Filters")]
    pub follow: bool,
    /// Only this thread; can be given again
    #[arg(long, value_name = "TID", help_heading = "Filters")]
    pub tid: Vec<i32>,
    /// Only processes (or threads) of this name; can be given again
    #[arg(long, value_name = "NAME", help_heading = "Filters")]
    pub comm: Vec<String>,
    /// Only processes of this real user id; can be given again
    #[arg(long, value_name = "UID", help_heading = "Filters")]
    pub uid: Vec<u32>,
    /// Only processes in this cgroup (v2) or below it: its path or its id; can be given again
    #[arg(long, value_name = "PATH|ID", help_heading = "Filters")]
    pub cgroup: Vec<String>,
}

/// When something was so, by pid or by cgroup.
type Times = HashMap<i64, Vec<Range<i64>>>;

fn holds(times: &Times, id: i64, ts: i64) -> bool {
    times.get(&id).is_some_and(|times| times.iter().any(|time| time.contains(&ts)))
}

/// The processes in scope; by default all.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    pids: HashSet<i32>,
    /// With `--follow`: when each pid was that of a process in scope.
    followed: Option<Times>,
    tids: HashSet<i32>,
    /// With `--cgroup`.
    cgroups: Option<InCgroups>,
    comms: Vec<String>,
    uids: HashSet<i32>,
}

/// What is in the cgroups of `--cgroup`.
#[derive(Clone, Debug, Default)]
struct InCgroups {
    /// When each id was that of such a cgroup: ids are given out again.
    ids: Times,
    /// When each pid was that of a process in one.
    pids: Times,
}

impl InCgroups {
    fn read(wanted: &[String], recording: &Recording) -> anyhow::Result<InCgroups> {
        let names = Cgroups::read(recording)?;
        let mut ids = Times::new();
        for wanted in wanted {
            let within =
                names.within(wanted).ok_or_else(|| UnknownCgroup { wanted: wanted.clone() })?;
            for (id, times) in within {
                ids.entry(id).or_default().extend(times);
            }
        }
        let lifetimes = Lifetimes::read(recording, Detail::Identity)?;
        let mut pids = Times::new();
        for (index, lifetime) in lifetimes.all().iter().enumerate() {
            // A cgroup's id may have had another name before: what counts is the name when the
            // process was last seen in it.
            let inside = lifetime.cgroup.is_some_and(|id| holds(&ids, id, lifetime.seen.1));
            if inside {
                let times = pids.entry(i64::from(lifetime.pid)).or_default();
                times.push(lifetimes.tenure(index));
            }
        }
        Ok(InCgroups { ids, pids })
    }

    fn admits(&self, subject: Subject<'_>, ts: i64) -> bool {
        match (subject.cgroup, subject.pid) {
            (Some(cgroup), _) => holds(&self.ids, cgroup, ts),
            (None, Some(pid)) => holds(&self.pids, i64::from(pid), ts),
            (None, None) => false,
        }
    }
}

/// A recording knows no cgroup that was asked for.
#[derive(Clone, Debug)]
pub struct UnknownCgroup {
    /// Its path or id.
    pub wanted: String,
}

impl fmt::Display for UnknownCgroup {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wanted = &self.wanted;
        write!(
            formatter,
            "--cgroup {wanted}: the recording knows no such cgroup; `analyze cat REC cgroup` lists them"
        )
    }
}

impl std::error::Error for UnknownCgroup {}

/// A process as one row names it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Subject<'a> {
    /// Its pid.
    pub pid: Option<i32>,
    /// The thread.
    pub tid: Option<i32>,
    /// Its cgroup, where the row says so.
    pub cgroup: Option<i64>,
    /// Its name, or that of its thread.
    pub comm: Option<&'a str>,
    /// Its real user id.
    pub uid: Option<i32>,
}

/// The columns in which a row names one process.
struct Role {
    pid: &'static str,
    tid: &'static str,
    cgroup: &'static str,
    comm: &'static str,
    uid: &'static str,
}

const ROLES: [Role; 2] = [
    Role { pid: "pid", tid: "tid", cgroup: "cgroup", comm: "comm", uid: "uid" },
    Role {
        pid: "target_pid",
        tid: "target_tid",
        // No table has it: lifetimes tell.
        cgroup: "target_cgroup",
        comm: "target_comm",
        uid: "target_uid",
    },
];

impl Scope {
    /// The processes that the arguments choose.
    ///
    /// # Errors
    /// If a cgroup is unknown ([`UnknownCgroup`]), or the tables of processes are needed and cannot be read.
    pub fn new(args: &ScopeArgs, recording: &Recording) -> anyhow::Result<Scope> {
        let pids: HashSet<i32> = args.pid.iter().copied().collect();
        let mut followed = None;
        if args.follow {
            let lifetimes = Lifetimes::read(recording, Detail::Identity)?;
            let mut times = Times::new();
            for index in lifetimes.descendants(&pids) {
                let pid = i64::from(lifetimes.all()[index].pid);
                times.entry(pid).or_default().push(lifetimes.tenure(index));
            }
            followed = Some(times);
        }
        let cgroups = match args.cgroup.is_empty() {
            true => None,
            false => Some(InCgroups::read(&args.cgroup, recording)?),
        };
        // A uid is an unsigned number whose bits the tables keep in a signed one.
        let uids = args.uid.iter().map(|uid| uid.cast_signed()).collect();
        let tids = args.tid.iter().copied().collect();
        Ok(Scope { pids, followed, tids, cgroups, comms: args.comm.clone(), uids })
    }

    /// No process.
    #[must_use]
    pub fn nothing() -> Scope {
        Scope { cgroups: Some(InCgroups::default()), ..Scope::default() }
    }

    /// Whether every process is in scope.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.pids.is_empty()
            && self.tids.is_empty()
            && self.cgroups.is_none()
            && self.comms.is_empty()
            && self.uids.is_empty()
    }

    /// Whether the process was in scope at the time `ts`.
    #[must_use]
    pub fn admits(&self, subject: Subject<'_>, ts: i64) -> bool {
        if self.is_everything() {
            return true;
        }
        let Some(pid) = subject.pid else { return false };
        let by_pid = self.pids.is_empty()
            || match &self.followed {
                Some(followed) => holds(followed, i64::from(pid), ts),
                None => self.pids.contains(&pid),
            };
        by_pid
            && (self.tids.is_empty() || subject.tid.is_some_and(|tid| self.tids.contains(&tid)))
            && (self.comms.is_empty()
                || subject.comm.is_some_and(|comm| self.comms.iter().any(|name| name == comm)))
            && (self.uids.is_empty() || subject.uid.is_some_and(|uid| self.uids.contains(&uid)))
            && self.cgroups.as_ref().is_none_or(|cgroups| cgroups.admits(subject, ts))
    }

    /// Makes sure that rows of the table can be told to be in scope or not.
    ///
    /// # Errors
    /// Names the filter that the table has no column for.
    pub fn check(&self, table: TableId) -> anyhow::Result<()> {
        let filters = [
            ("--pid", "pid", self.pids.is_empty()),
            ("--tid", "tid", self.tids.is_empty()),
            ("--cgroup", "pid", self.cgroups.is_none()),
            ("--comm", "comm", self.comms.is_empty()),
            ("--uid", "uid", self.uids.is_empty()),
        ];
        for (option, column, unused) in filters {
            if !unused && table.column(column).is_none() {
                bail!("{option} does not apply: table `{}` has no column `{column}`", table.name());
            }
        }
        Ok(())
    }

    /// The columns of the table that [`filter`](Scope::filter) reads.
    #[must_use]
    pub fn columns(&self, table: TableId) -> Vec<&'static str> {
        if self.is_everything() {
            return Vec::new();
        }
        let of_role = |role: &Role| [role.pid, role.tid, role.cgroup, role.comm, role.uid];
        let names = ROLES.iter().flat_map(of_role);
        names.chain(["ts"]).filter(|name| table.column(name).is_some()).collect()
    }

    /// The rows of the batch that name a process in scope.
    ///
    /// # Errors
    /// If a column is not what the format says; names the file, `path`.
    pub fn filter(
        &self,
        table: TableId,
        path: &Path,
        batch: RecordBatch,
    ) -> Result<RecordBatch, Error> {
        if self.is_everything() {
            return Ok(batch);
        }
        let damaged = || Error::damaged::<String>(path);
        let ts = match table.column("ts") {
            Some(_) => Some(cell::column::<i64>(&batch, "ts").map_err(damaged())?),
            None => None,
        };
        let mut wanted = vec![false; batch.num_rows()];
        for role in ROLES.iter().filter(|role| table.column(role.pid).is_some()) {
            let named = Named::of(&batch, role).map_err(damaged())?;
            for (row, wanted) in wanted.iter_mut().enumerate() {
                let ts = ts.as_ref().map_or(i64::MAX, |ts| ts.value(row));
                *wanted |= self.admits(named.subject(row), ts);
            }
        }
        if wanted.iter().all(|wanted| *wanted) {
            return Ok(batch);
        }
        filter_record_batch(&batch, &BooleanArray::from(wanted)).map_err(Error::damaged(path))
    }
}

/// The columns of a batch in which its rows name one process.
struct Named {
    pid: Int32Array,
    tid: Int32Array,
    cgroup: Int64Array,
    comm: StringArray,
    uid: Int32Array,
}

impl Named {
    fn of(batch: &RecordBatch, role: &Role) -> Result<Named, String> {
        Ok(Named {
            pid: cell::column::<Option<i32>>(batch, role.pid)?,
            tid: cell::column::<Option<i32>>(batch, role.tid)?,
            cgroup: cell::column::<Option<i64>>(batch, role.cgroup)?,
            comm: cell::column::<Option<String>>(batch, role.comm)?,
            uid: cell::column::<Option<i32>>(batch, role.uid)?,
        })
    }

    fn subject(&self, row: usize) -> Subject<'_> {
        Subject {
            pid: known!(self.pid, row),
            tid: known!(self.tid, row),
            cgroup: known!(self.cgroup, row),
            comm: known!(self.comm, row),
            uid: known!(self.uid, row),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::made::{Made, analyze};

    /// Two services; the second of pid 12 is in neither.
    fn services() -> Made {
        let made = Made::new();
        made.rows(&[
            made.cgroup(0.0, 1, "/"),
            made.cgroup(0.0, 5, "/system.slice/web.service"),
            made.cgroup(0.0, 6, "/system.slice/web.service/worker"),
            made.cgroup(0.0, 7, "/system.slice/web.service2"),
            made.exec_in(1.0, 10, 1, &["/bin/web"], Some(5), None),
            made.exec_in(1.0, 11, 1, &["/bin/other"], Some(7), None),
            made.fork(1.5, 12, 1),
            made.exec_in(2.0, 12, 10, &["/bin/worker"], Some(6), None),
            made.exit(3.0, 12, 10, 1.5, Ok(0)),
            made.fork(4.0, 12, 1),
            made.kill(2.5, 12, 1, 15, 0),
            made.kill(4.5, 12, 1, 15, 0),
            made.kill(2.5, 11, 1, 15, 0),
        ]);
        made.end(5.0);
        made
    }

    fn rows(args: &[&str]) -> Vec<String> {
        let text = analyze(&services(), &[args, &["--format", "csv"]].concat());
        text.expect("it is whole").lines().skip(1).map(str::to_owned).collect()
    }

    #[test]
    fn a_cgroup_is_found_by_path_and_id_with_those_below_it() {
        let execs = |cgroup| rows(&["cat", "exec", "--columns", "pid", "--cgroup", cgroup]);
        for web in ["/system.slice/web.service", "system.slice/web.service/", "5"] {
            assert_eq!(execs(web), ["10", "12"], "{web}");
        }
        assert_eq!(execs("/sys/fs/cgroup/system.slice/web.service/worker"), ["12"]);
        assert_eq!(execs("/"), ["10", "11", "12"]);
        let error = analyze(&services(), &["cat", "exec", "--cgroup", "/nowhere"]);
        let error = format!("{:#}", error.expect_err("there is no such cgroup"));
        assert!(error.contains("--cgroup /nowhere: the recording knows no such"), "{error}");
    }

    #[test]
    fn rows_without_a_cgroup_are_of_their_process_at_that_time() {
        let kills = |cgroup| rows(&["cat", "kill", "--columns", "pid", "--cgroup", cgroup]);
        assert_eq!(kills("6"), ["12"], "only the first that had this pid");
        assert_eq!(kills("7"), ["11"]);
    }

    #[test]
    fn threads_are_chosen_where_tables_have_them() {
        assert_eq!(rows(&["cat", "kill", "--columns", "tid", "--tid", "11"]), ["11"]);
        let error = analyze(&services(), &["cat", "fork", "--tid", "11"]);
        let error = format!("{:#}", error.expect_err("there is no such column"));
        assert!(error.contains("--tid does not apply: table `fork` has no column `tid`"));
    }
}
