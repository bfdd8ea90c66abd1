//! What the four tables that tell of processes say, as events of one kind each.

use arrow::array::{Array as _, Int32Array, Int64Array, StringArray};
use lookback_schemas::lines::cells::texts;
use lookback_schemas::lines::exec::argv_cut;
use lookback_schemas::recording::{ALL_TIME, Recording};
use lookback_schemas::tables::{Exec, Exit, Fork, Process};
use lookback_schemas::{Error, Table, cell::View as _};

use super::{Detail, Ending, Image};

/// What a table says of a process, in the order in which events of the same time happen.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Forked {
        ppid: i32,
        uid: i32,
        cgroup: Option<i64>,
        comm: Option<String>,
    },
    Found {
        ppid: i32,
        uid: Option<i32>,
        cgroup: Option<i64>,
        start: Option<i64>,
        image: Image,
    },
    Executed {
        ppid: i32,
        uid: i32,
        cgroup: Option<i64>,
        image: Image,
    },
    Ended {
        ppid: i32,
        uid: i32,
        cgroup: Option<i64>,
        start: i64,
        comm: Option<String>,
        ending: Ending,
    },
}

impl Event {
    /// Which comes first of two at the same time.
    pub(super) fn order(&self) -> u8 {
        match self {
            Event::Forked { .. } => 0,
            Event::Found { .. } => 1,
            Event::Executed { .. } => 2,
            Event::Ended { .. } => 3,
        }
    }
}

fn some32(column: &Int32Array, row: usize) -> Option<i32> {
    column.is_valid(row).then(|| column.value(row))
}

fn some64(column: &Int64Array, row: usize) -> Option<i64> {
    column.is_valid(row).then(|| column.value(row))
}

pub(super) fn text(column: &StringArray, row: usize) -> Option<String> {
    column.is_valid(row).then(|| column.value(row).to_owned())
}

type Events = Vec<(i32, i64, Event)>;

/// What all tables say, in no order: pid, when, what.
pub(super) fn read(recording: &Recording, detail: Detail) -> Result<Events, Error> {
    let mut events = Vec::new();
    read_snapshot(recording, detail, &mut events)?;
    read_forks(recording, &mut events)?;
    read_execs(recording, detail, &mut events)?;
    read_exits(recording, &mut events)?;
    Ok(events)
}

/// Calls `visit` with the batches of a table, without the nullable columns of `images` where those
/// are not wanted: they then read as null.
pub(super) fn scan<T: Table>(
    recording: &Recording,
    detail: Detail,
    images: &[&str],
    mut visit: impl FnMut(T::Columns),
) -> Result<(), Error> {
    let mut scan = recording.scan::<T>(ALL_TIME);
    if detail == Detail::Identity {
        let names = T::COLUMNS.iter().map(|column| column.name);
        let names: Vec<&str> = names.filter(|name| !images.contains(name)).collect();
        scan = scan.columns(&names);
    }
    scan.for_each(|path, batch| {
        visit(T::Columns::view(&batch).map_err(Error::damaged(path))?);
        Ok(())
    })
}

fn read_snapshot(recording: &Recording, detail: Detail, out: &mut Events) -> Result<(), Error> {
    scan::<Process>(recording, detail, &["exe", "argv"], |rows| {
        for row in 0..rows.ts.len() {
            let event = Event::Found {
                ppid: rows.ppid.value(row),
                uid: some32(&rows.uid, row),
                cgroup: some64(&rows.cgroup, row),
                start: some64(&rows.start, row),
                image: Image {
                    ts: rows.ts.value(row),
                    comm: text(&rows.comm, row),
                    filename: text(&rows.exe, row),
                    cwd: None,
                    argv: texts(&rows.argv, row),
                    argv_cut: false,
                },
            };
            out.push((rows.pid.value(row), rows.ts.value(row), event));
        }
    })
}

fn read_forks(recording: &Recording, out: &mut Events) -> Result<(), Error> {
    scan::<Fork>(recording, Detail::Images, &[], |rows| {
        for row in 0..rows.ts.len() {
            let event = Event::Forked {
                ppid: rows.ppid.value(row),
                uid: rows.uid.value(row),
                cgroup: some64(&rows.cgroup, row),
                comm: text(&rows.comm, row),
            };
            out.push((rows.pid.value(row), rows.ts.value(row), event));
        }
    })
}

fn read_execs(recording: &Recording, detail: Detail, out: &mut Events) -> Result<(), Error> {
    scan::<Exec>(recording, detail, &["filename", "cwd", "argv"], |rows| {
        for row in 0..rows.ts.len() {
            let event = Event::Executed {
                ppid: rows.ppid.value(row),
                uid: rows.uid.value(row),
                cgroup: some64(&rows.cgroup, row),
                image: Image {
                    ts: rows.ts.value(row),
                    comm: text(&rows.comm, row),
                    filename: text(&rows.filename, row),
                    cwd: text(&rows.cwd, row),
                    argv: texts(&rows.argv, row),
                    argv_cut: argv_cut(some32(&rows.argv_bytes, row)),
                },
            };
            out.push((rows.pid.value(row), rows.ts.value(row), event));
        }
    })
}

fn read_exits(recording: &Recording, out: &mut Events) -> Result<(), Error> {
    scan::<Exit>(recording, Detail::Images, &[], |rows| {
        for row in 0..rows.ts.len() {
            if !rows.process_ended.value(row) {
                continue;
            }
            let event = Event::Ended {
                ppid: rows.ppid.value(row),
                uid: rows.uid.value(row),
                cgroup: some64(&rows.cgroup, row),
                start: rows.start.value(row),
                comm: text(&rows.comm, row),
                ending: Ending {
                    code: some32(&rows.code, row),
                    signal: some32(&rows.signal, row),
                    core: rows.core.value(row),
                    user: rows.user.value(row),
                    system: rows.system.value(row),
                    max_rss: some64(&rows.max_rss, row),
                    minor_faults: rows.minor_faults.value(row),
                    major_faults: rows.major_faults.value(row),
                },
            };
            out.push((rows.pid.value(row), rows.ts.value(row), event));
        }
    })
}
