//! The lives of sockets: bcc's tcplife.
//!
//! A life is put together from a socket's changes of state. It begins with the first of them and
//! ends when the socket is closed; the kernel then gives the same address to other sockets. So the
//! rows are read in the order of time, and what is held is the lives that are open. Of a socket that
//! was there before the recording, only the end of its life is known.
//!
//! Who owns a socket may become known late: one that a listener accepts changes its first states in
//! an interrupt. So process filters are asked when the life is complete.

use ahash::HashMap;
use arrow::array::Array as _;
use clap::Args;
use lookback_schemas::TableId;
use lookback_schemas::recording::ALL_TIME;
use lookback_schemas::tables::{Tcpstate, tcpstate};

use super::{Ends, EndsArgs, end_columns, end_values, ends, time_column};
use crate::cli::{Source, SourceArgs};
use crate::codes;
use crate::processes::known;
use crate::render::{Column, Rows, Value};
use crate::scope::{Scope, ScopeArgs, Subject};
use crate::timeline;
use crate::window::MinArgs;

/// Shown below the help.
pub const EXAMPLE: &str = "Examples:\n  analyze tcp lives web1.lookback --time --lport 443\n  \
                           analyze tcp lives web1.lookback --open --comm nginx\n\nA life is in \
                           the window if any part of it is.";

/// Options of `analyze tcp lives`.
#[derive(Args, Debug)]
pub struct LivesArgs {
    /// The recording, and the part of it.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Which processes.
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// Which sockets.
    #[command(flatten)]
    pub ends: EndsArgs,
    /// Which lengths of lives.
    #[command(flatten)]
    pub min: MinArgs,
    /// Also show sockets that were open at the end, in which state, without a length
    #[arg(long)]
    pub open: bool,
    /// Also show when each life began
    #[arg(short, long)]
    pub time: bool,
}

/// The states that a life turns on, by their numbers in the table `tcpstate`.
const CLOSE: i32 = 7;
const LISTEN: i32 = 10;

/// Who owns a socket.
#[derive(Clone, Debug, PartialEq)]
struct Owner {
    pid: i32,
    tid: Option<i32>,
    uid: Option<i32>,
    comm: Option<String>,
}

/// The life of a socket, as far as it was read.
#[derive(Clone, Debug)]
struct Life {
    socket: i64,
    /// When its first change was.
    start: i64,
    end: Option<i64>,
    /// Whether its first change was seen, and not only a later one.
    whole: bool,
    state: i32,
    owner: Option<Owner>,
    family: i32,
    laddr: Option<String>,
    lport: i32,
    raddr: Option<String>,
    rport: i32,
    sent: i64,
    received: i64,
    retransmits: i64,
}

impl Life {
    fn begin(rows: &tcpstate::Columns, row: usize) -> Life {
        Life {
            socket: rows.socket.value(row),
            start: rows.ts.value(row),
            end: None,
            whole: begins(rows.old.value(row)),
            state: 0,
            owner: None,
            family: rows.family.value(row),
            laddr: None,
            lport: 0,
            raddr: None,
            rport: 0,
            sent: 0,
            received: 0,
            retransmits: 0,
        }
    }

    /// Adds a change of state.
    fn take(&mut self, rows: &tcpstate::Columns, row: usize) {
        self.state = rows.new.value(row);
        if self.owner.is_none() {
            self.owner = owner(rows, row);
        }
        // Ends become known as a connection is made, and are forgotten as it is torn down.
        let ends = ends!(rows, row);
        replace_address(&mut self.laddr, ends.laddr);
        replace_address(&mut self.raddr, ends.raddr);
        replace_port(&mut self.lport, ends.lport);
        replace_port(&mut self.rport, ends.rport);
        self.sent = self.sent.max(rows.sent.value(row));
        self.received = self.received.max(rows.received.value(row));
        self.retransmits = self.retransmits.max(rows.retransmits.value(row));
        if self.state == CLOSE {
            self.end = Some(rows.ts.value(row));
        }
    }

    fn duration(&self) -> Option<i64> {
        Some(self.end?.saturating_sub(self.start))
    }

    fn ends(&self) -> Ends<'_> {
        Ends {
            family: self.family,
            laddr: self.laddr.as_deref(),
            lport: self.lport,
            raddr: self.raddr.as_deref(),
            rport: self.rport,
        }
    }

    fn subject(&self) -> Subject<'_> {
        let owner = self.owner.as_ref();
        Subject {
            pid: owner.map(|owner| owner.pid),
            tid: owner.and_then(|owner| owner.tid),
            uid: owner.and_then(|owner| owner.uid),
            comm: owner.and_then(|owner| owner.comm.as_deref()),
            cgroup: None,
        }
    }
}

/// Whether a change from this state begins a life: a socket that connects was closed before, and one
/// that is accepted is made as a copy of its listener.
fn begins(old: i32) -> bool {
    old == CLOSE || old == LISTEN
}

fn owner(rows: &tcpstate::Columns, row: usize) -> Option<Owner> {
    Some(Owner {
        pid: known!(rows.pid, row)?,
        tid: known!(rows.tid, row),
        uid: known!(rows.uid, row),
        comm: known!(rows.comm, row).map(str::to_owned),
    })
}

fn replace_address(known: &mut Option<String>, address: Option<&str>) {
    let specified = address.filter(|address| !matches!(*address, "0.0.0.0" | "::"));
    if specified.is_some() && known.as_deref() != specified {
        *known = specified.map(str::to_owned);
    } else if known.is_none() {
        *known = address.map(str::to_owned);
    }
}

fn replace_port(known: &mut i32, port: i32) {
    if port != 0 {
        *known = port;
    }
}

/// The lives that are open, by socket.
#[derive(Default)]
struct Lives(HashMap<i64, Life>);

impl Lives {
    /// Adds a change of state; the life that it ends. Where the end of the socket's life before was
    /// not recorded, that life is given up: nobody knows how long it was.
    fn take(&mut self, rows: &tcpstate::Columns, row: usize) -> Option<Life> {
        let socket = rows.socket.value(row);
        let (old, new) = (rows.old.value(row), rows.new.value(row));
        // A listener, or a socket that never was connected.
        if new == LISTEN || (begins(old) && new == CLOSE) {
            self.0.remove(&socket);
            return None;
        }
        if begins(old) {
            self.0.remove(&socket);
        }
        let life = self.0.entry(socket).or_insert_with(|| Life::begin(rows, row));
        life.take(rows, row);
        if life.end.is_some() { self.0.remove(&socket) } else { None }
    }

    /// Those that are left, in the order in which they began.
    fn open(self) -> Vec<Life> {
        let mut open: Vec<Life> = self.0.into_values().collect();
        open.sort_by_key(|life| (life.start, life.socket));
        open
    }
}

impl LivesArgs {
    fn admits(&self, life: &Life, source: &Source, scope: &Scope) -> bool {
        let end = life.end.unwrap_or(i64::MAX);
        source.window.overlaps(life.start, end)
            && self.min.admits_unknown(life.duration())
            && self.ends.admits(life.ends())
            && scope.admits(life.subject(), end.min(source.window.span.end).max(life.start))
    }

    fn columns(&self) -> Vec<Column> {
        let mut columns = vec![
            time_column(self.time),
            Column::new("pid", "PID").right().wide(7),
            Column::new("comm", "COMM").wide(16),
        ];
        columns.extend(end_columns());
        let state = Column::new("state", "STATE").wide(11);
        columns.extend([
            Column::new("sent", "TX_KB").right().wide(6),
            Column::new("received", "RX_KB").right().wide(6),
            Column::new("duration", "MS").right().wide(9),
            if self.open { state } else { state.in_data() },
        ]);
        let data = ["end", "whole", "retransmits", "family", "socket", "tid", "uid"];
        columns.extend(data.map(Column::data));
        columns
    }
}

/// Prints the report.
///
/// # Errors
/// If the table is damaged, or the output cannot be written.
pub fn run(args: &LivesArgs, source: &Source) -> anyhow::Result<()> {
    let scope = source.scope(&args.scope)?;
    scope.check(TableId::Tcpstate)?;
    let mut output = source.begin(&[TableId::Tcpstate])?;
    let mut rows = output.events_by("end", args.columns());
    let mut lives = Lives::default();
    // All time and everyone: a life in the window may begin before it, and become known to be of a
    // process only later.
    let everyone = Scope::default();
    timeline::rows::<Tcpstate>(&source.recording, &ALL_TIME, &everyone, |batch, row| match lives
        .take(batch, row)
    {
        Some(life) if args.admits(&life, source, &scope) => print(&life, &mut rows),
        Some(_) | None => Ok(()),
    })?;
    if args.open {
        for life in lives.open().iter().filter(|life| args.admits(life, source, &scope)) {
            print(life, &mut rows)?;
        }
    }
    rows.end()?;
    output.finish()
}

fn print(life: &Life, rows: &mut Rows<'_>) -> anyhow::Result<()> {
    let owner = life.owner.as_ref();
    let mut values = vec![
        Value::Clock(life.start),
        Value::int(owner.map(|owner| owner.pid)),
        Value::text(owner.and_then(|owner| owner.comm.as_deref())),
    ];
    values.extend(end_values(life.ends()));
    values.extend([
        Value::Kibibytes(life.sent),
        Value::Kibibytes(life.received),
        life.duration().map_or(Value::Null, Value::Millis),
        Value::Named(i64::from(life.state), codes::tcp_state(life.state)),
        life.end.map_or(Value::Null, Value::Clock),
        Value::Flag(life.whole),
        Value::Int(life.retransmits),
        Value::Int(i64::from(life.family)),
        Value::Hex(life.socket),
        Value::int(owner.and_then(|owner| owner.tid)),
        Value::int(owner.and_then(|owner| owner.uid)),
    ]);
    rows.row(&values)
}

#[cfg(test)]
mod tests {
    use crate::made::{Made, analyze, lines};

    fn sockets() -> Made {
        let made = Made::new();
        let nowhere = ("0.0.0.0", 0);
        made.rows(&[
            // A listener, which is no life.
            made.tcpstate(0.1, 1, (7, 10), Some(10)),
            // Accepted: its owner becomes known as it closes.
            made.tcpstate(1.0, 2, (10, 3), None),
            made.tcpstate(1.1, 2, (3, 1), None),
            made.tcpstate(2.0, 2, (1, 4), Some(10)),
            made.tcpstate(2.5, 2, (4, 7), Some(99)),
            // Connected: where to is known before the local port is, and forgotten at the end.
            made.tcpstate_of(1.2, 3, (7, 2), Some(20), nowhere, ("10.0.0.9", 443)),
            made.tcpstate_of(1.3, 3, (2, 1), None, ("10.0.0.1", 5000), ("10.0.0.9", 443)),
            made.tcpstate_of(1.4, 3, (1, 7), None, nowhere, nowhere),
        ]);
        made.rows(&[
            // The same address again, still open at the end.
            made.tcpstate(3.0, 2, (10, 3), Some(10)),
            made.tcpstate(3.1, 2, (3, 1), Some(10)),
            // Older than the recording.
            made.tcpstate(3.5, 4, (1, 8), Some(30)),
            made.tcpstate(3.6, 4, (8, 7), Some(30)),
            made.tcpstate(4.0, 1, (10, 7), Some(10)),
            // Never connected.
            made.tcpstate(4.0, 5, (7, 7), Some(10)),
        ]);
        made.end(5.0);
        made
    }

    #[test]
    fn lives_are_tcplifes() {
        assert_eq!(
            lines(&sockets(), &["tcp", "lives"])[1..],
            [
                "PID COMM LADDR LPORT RADDR RPORT TX_KB RX_KB MS",
                "20 server 10.0.0.1 5000 10.0.0.9 443 2 1 200.000",
                "10 server 10.0.0.1 80 10.0.0.2 4000 2 1 1500.000",
                "30 server 10.0.0.1 80 10.0.0.2 4000 2 1 100.000",
            ]
        );
        let lives = lines(&sockets(), &["tcp", "lives", "--open", "--time", "--pid", "10"]);
        assert_eq!(
            lives[1..],
            [
                "TIME PID COMM LADDR LPORT RADDR RPORT TX_KB RX_KB MS STATE",
                "10:15:01.000 10 server 10.0.0.1 80 10.0.0.2 4000 2 1 1500.000 CLOSE",
                "10:15:03.000 10 server 10.0.0.1 80 10.0.0.2 4000 2 1 - ESTABLISHED",
            ]
        );
    }

    #[test]
    fn lives_are_chosen_as_a_whole() {
        let count =
            |args: &[&str]| lines(&sockets(), &[&["tcp", "lives"], args].concat()).len() - 2;
        assert_eq!(count(&["--since", "2.2s", "--until", "3s"]), 1, "any part of it");
        assert_eq!(count(&["--since", "1.35s", "--until", "1.36s"]), 2);
        assert_eq!(count(&["--min", "150ms"]), 2);
        assert_eq!(count(&["--min", "150ms", "--open"]), 2, "nobody knows how long");
        assert_eq!(count(&["--raddr", "10.0.0.9"]), 1);
        assert_eq!(count(&["--pid", "99"]), 0, "the first known owner");
    }

    #[test]
    fn data_tells_what_was_not_seen() {
        let text = analyze(&sockets(), &["tcp", "lives", "--open", "--format", "json"]);
        let json: serde_json::Value =
            serde_json::from_str(&text.expect("it is whole")).expect("it is JSON");
        let column = |name: &str| -> Vec<serde_json::Value> {
            json.as_array().into_iter().flatten().map(|row| row[name].clone()).collect()
        };
        assert_eq!(column("whole"), [true, true, false, true]);
        assert_eq!(column("state"), [7, 7, 7, 1]);
        assert_eq!(column("retransmits"), [1; 4]);
        assert_eq!(json[3]["duration"], serde_json::Value::Null);
        assert_eq!(json[0]["sent"], 2048);
    }

    #[test]
    fn no_rows_are_no_lives() {
        let made = Made::new();
        made.end(1.0);
        assert_eq!(lines(&made, &["tcp", "lives", "--open"]).len(), 2);
    }
}
