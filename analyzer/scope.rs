//! Which processes a report is about.
//!
//! `--pid`, `--comm` and `--uid` must all hold for one of the processes that a row names: a signal
//! names two, its sender and its target, and is in scope if either is. With `--follow` a pid stands
//! for its descendants too. Those are found by [lifetimes](crate::lifetimes), so that a later
//! process that got a descendant's pid is not taken for it.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use anyhow::bail;
use arrow::array::{Array as _, BooleanArray, Int32Array, Int64Array, StringArray};
use arrow::compute::filter_record_batch;
use arrow::record_batch::RecordBatch;
use clap::Args;
use lookback_schemas::cell;
use lookback_schemas::recording::Recording;
use lookback_schemas::{Error, TableId};

use crate::lifetimes::{Detail, Lifetimes};

/// Which processes to look at.
#[derive(Args, Clone, Debug, Default)]
pub struct ScopeArgs {
    /// Only this process; can be given again
    #[arg(short, long, value_name = "PID", help_heading = "Filters")]
    pub pid: Vec<i32>,
    /// The processes of --pid and all their descendants
    #[arg(long, requires = "pid", help_heading = "Filters")]
    pub follow: bool,
    /// Only processes (or threads) of this name; can be given again
    #[arg(long, value_name = "NAME", help_heading = "Filters")]
    pub comm: Vec<String>,
    /// Only processes of this real user id; can be given again
    #[arg(long, value_name = "UID", help_heading = "Filters")]
    pub uid: Vec<u32>,
}

/// The processes in scope; by default all.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    pids: HashSet<i32>,
    /// With `--follow`: when each pid was that of a process in scope.
    followed: Option<HashMap<i32, Vec<std::ops::Range<i64>>>>,
    comms: Vec<String>,
    uids: HashSet<i32>,
}

/// A process as one row names it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Subject<'a> {
    /// Its pid.
    pub pid: Option<i32>,
    /// Its name, or that of its thread.
    pub comm: Option<&'a str>,
    /// Its real user id.
    pub uid: Option<i32>,
}

/// The columns in which a row names one process.
struct Role {
    pid: &'static str,
    comm: &'static str,
    uid: &'static str,
}

const ROLES: [Role; 2] = [
    Role { pid: "pid", comm: "comm", uid: "uid" },
    Role { pid: "target_pid", comm: "target_comm", uid: "target_uid" },
];

impl Scope {
    /// The processes that the arguments choose.
    ///
    /// # Errors
    /// If their descendants are wanted and the tables of processes cannot be read.
    pub fn new(args: &ScopeArgs, recording: &Recording) -> Result<Scope, Error> {
        let pids: HashSet<i32> = args.pid.iter().copied().collect();
        let mut followed = None;
        if args.follow {
            let lifetimes = Lifetimes::read(recording, Detail::Identity)?;
            let mut times: HashMap<i32, Vec<std::ops::Range<i64>>> = HashMap::new();
            for index in lifetimes.descendants(&pids) {
                times.entry(lifetimes.all()[index].pid).or_default().push(lifetimes.tenure(index));
            }
            followed = Some(times);
        }
        // A uid is an unsigned number whose bits the tables keep in a signed one.
        let uids = args.uid.iter().map(|uid| uid.cast_signed()).collect();
        Ok(Scope { pids, followed, comms: args.comm.clone(), uids })
    }

    /// Whether every process is in scope.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.pids.is_empty() && self.comms.is_empty() && self.uids.is_empty()
    }

    /// Whether the process was in scope at the time `ts`.
    #[must_use]
    pub fn admits(&self, subject: Subject<'_>, ts: i64) -> bool {
        let by_pid = self.pids.is_empty()
            || subject.pid.is_some_and(|pid| match &self.followed {
                Some(followed) => followed
                    .get(&pid)
                    .is_some_and(|times| times.iter().any(|time| time.contains(&ts))),
                None => self.pids.contains(&pid),
            });
        by_pid
            && (self.comms.is_empty()
                || subject.comm.is_some_and(|comm| self.comms.iter().any(|name| name == comm)))
            && (self.uids.is_empty() || subject.uid.is_some_and(|uid| self.uids.contains(&uid)))
    }

    /// Makes sure that rows of the table can be told to be in scope or not.
    ///
    /// # Errors
    /// Names the filter that the table has no column for.
    pub fn check(&self, table: TableId) -> anyhow::Result<()> {
        let filters = [
            ("--pid", "pid", self.pids.is_empty()),
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
        let names = ROLES.iter().flat_map(|role| [role.pid, role.comm, role.uid]);
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
            let pid = cell::column::<Option<i32>>(&batch, role.pid).map_err(damaged())?;
            let uid = cell::column::<Option<i32>>(&batch, role.uid).map_err(damaged())?;
            let comm = cell::column::<Option<String>>(&batch, role.comm).map_err(damaged())?;
            self.mark(&pid, &comm, &uid, ts.as_ref(), &mut wanted);
        }
        if wanted.iter().all(|wanted| *wanted) {
            return Ok(batch);
        }
        filter_record_batch(&batch, &BooleanArray::from(wanted)).map_err(Error::damaged(path))
    }

    fn mark(
        &self,
        pid: &Int32Array,
        comm: &StringArray,
        uid: &Int32Array,
        ts: Option<&Int64Array>,
        wanted: &mut [bool],
    ) {
        for (row, wanted) in wanted.iter_mut().enumerate() {
            let subject = Subject {
                pid: pid.is_valid(row).then(|| pid.value(row)),
                comm: comm.is_valid(row).then(|| comm.value(row)),
                uid: uid.is_valid(row).then(|| uid.value(row)),
            };
            *wanted |= self.admits(subject, ts.map_or(i64::MAX, |ts| ts.value(row)));
        }
    }
}
