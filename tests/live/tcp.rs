//! The tracers `tcpconnect`, `tcpstate` and `tcprtt`, against what both ends of connections on loopback
//! know.

use std::collections::BTreeMap;
use std::net::{Ipv6Addr, TcpListener};

use arrow::array::{Int32Array, StringArray};
use lookback_schemas::cell::View as _;
use lookback_schemas::tables::{Tcpconnect, Tcprtt, Tcpstate, tcprtt, tcpstate};

use super::hooks::by_each_hook;
use super::shared;
use crate::recording::{Record, Recorded, assert_same, known, rows_in_time, rows_where, text};
use crate::workload::{Fact, fact, facts};

const ESTABLISHED: i32 = 1;
const SYN_SENT: i32 = 2;
const SYN_RECV: i32 = 3;
const FIN_WAIT1: i32 = 4;
const FIN_WAIT2: i32 = 5;
const CLOSE: i32 = 7;
const CLOSE_WAIT: i32 = 8;
const LAST_ACK: i32 = 9;
const LISTEN: i32 = 10;

/// The side that connects and closes first. The kernel keeps TIME_WAIT, and what is left of FIN_WAIT2,
/// in a small substitute: the socket itself goes over to CLOSE.
const OF_CLIENT: [i32; 6] = [CLOSE, SYN_SENT, ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE];
/// The side that accepts. Its socket comes from the listener's.
const OF_SERVER: [i32; 6] = [LISTEN, SYN_RECV, ESTABLISHED, CLOSE_WAIT, LAST_ACK, CLOSE];
const OF_LISTENER: [i32; 3] = [CLOSE, LISTEN, CLOSE];

/// The versions of IP that loopback has here.
fn families() -> Vec<&'static str> {
    match TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) {
        Ok(_) => vec!["4", "6"],
        Err(error) => {
            eprintln!("skipped for IPv6: {error}");
            vec!["4"]
        }
    }
}

#[test]
fn each_connect_is_recorded_with_its_result() {
    let Some(_turn) = shared(&["tcpconnect"]) else { return };
    for family in families() {
        by_each_hook("tcpconnect", &["fentry", "kprobe"], |options| {
            let recorded = Record::trace("tcpconnect")
                .options(options)
                .workload("tcp", ["connects", family, &CONNECTS.to_string()])
                .run();
            check_connects(&recorded);
            recorded
        });
    }
}

/// How many connects of each kind there are.
const CONNECTS: usize = 3;

fn check_connects(recorded: &Recorded) {
    recorded.assert_nothing_of_ours_lost();
    let made = facts(recorded.stdout(), "connect");
    let connects = recorded.table::<Tcpconnect>();
    let rows = rows_in_time(&connects.ts, |_| true);
    let recorded_connects: Vec<_> = rows
        .iter()
        .map(|row| {
            let numbers = [
                &connects.pid,
                &connects.tid,
                &connects.family,
                &connects.lport,
                &connects.rport,
                &connects.retransmits,
            ];
            let addresses = [&connects.laddr, &connects.raddr].map(|column| text(column, *row));
            assert_eq!(text(&connects.comm, *row), "connector");
            let numbers = numbers.map(|column| column.value(*row));
            (numbers, known(&connects.result, *row), addresses)
        })
        .collect();
    let made_connects: Vec<_> = made
        .iter()
        .map(|fact| {
            let keys = ["pid", "tid", "family", "lport", "rport", "retransmits"];
            let addresses = [fact.word("addr"); 2];
            (keys.map(|key| fact.int32(key)), fact.known("result"), addresses)
        })
        .collect();
    assert_same(&recorded_connects, &made_connects);
    for (row, fact) in rows.iter().zip(&made) {
        recorded.assert_within(fact, connects.ts.value(*row), connects.latency.value(*row));
    }

    // The workload sees every way in which a connect can end.
    let count = |what| made.iter().filter(|fact| fact.word("what") == what).count();
    assert_eq!((count("accepted"), count("refused")), (CONNECTS + 1, CONNECTS));
    assert_eq!((count("abandoned"), count("unanswered")), (CONNECTS, 1));
    assert!(made.iter().any(|fact| fact.int("retransmits") > 0));
}

#[test]
fn fast_connects_can_be_left_out() {
    let Some(_turn) = shared(&["tcpconnect"]) else { return };
    let recorded = Record::trace("tcpconnect")
        .options(["--min-latency", "700ms"])
        .workload("tcp", ["connects", "4", "2"])
        .run();
    let connects = recorded.table::<Tcpconnect>();
    let mut lports: Vec<i32> = connects.lport.values().to_vec();
    lports.sort_unstable();
    // The kernel sends the second SYN after a second; all that waited for it are here.
    let made = facts(recorded.stdout(), "connect");
    let long = made.iter().filter(|fact| fact.int("retransmits") > 0);
    let mut expected: Vec<i32> = long.map(|fact| fact.int32("lport")).collect();
    expected.sort_unstable();
    assert_eq!(lports, expected);
    assert_eq!(expected.len(), 2);
}

/// The life of a socket: its rows in order, until it was closed.
struct Life {
    rows: Vec<usize>,
}

impl Life {
    fn last(&self) -> usize {
        *self.rows.last().unwrap()
    }

    /// The states that it went through.
    fn path(&self, states: &tcpstate::Columns) -> Vec<i32> {
        let first = states.old.value(self.rows[0]);
        let rest = self.rows.iter().map(|row| states.new.value(*row));
        std::iter::once(first).chain(rest).collect()
    }
}

/// The lives of the sockets. A socket's number is free again when the socket is closed.
fn lives(states: &tcpstate::Columns) -> Vec<Life> {
    let mut open: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    let mut lives = Vec::new();
    for row in rows_in_time(&states.ts, |_| true) {
        let rows = open.entry(states.socket.value(row)).or_default();
        if let Some(before) = rows.last() {
            assert_eq!(states.old.value(row), states.new.value(*before), "from state to state");
            let passed = states.ts.value(row) - states.ts.value(*before);
            assert_eq!(known(&states.in_old, row), Some(passed));
            assert!(states.sent.value(row) >= states.sent.value(*before));
            assert!(states.received.value(row) >= states.received.value(*before));
        }
        rows.push(row);
        if states.new.value(row) == CLOSE {
            lives.push(Life { rows: open.remove(&states.socket.value(row)).unwrap() });
        }
    }
    assert_eq!(open.len(), 0, "every socket was closed");
    lives
}

/// Fails unless a socket went through the states that are expected of one side, belonged to its process,
/// and carried its bytes.
fn check_life(
    states: &tcpstate::Columns,
    life: &Life,
    path: &[i32],
    talk: &Fact,
    side: &Fact,
    name: &str,
) {
    assert_eq!(life.path(states), path, "{side:?}");
    let address = Some(talk.word("addr"));
    for (index, row) in life.rows.iter().copied().enumerate() {
        assert_eq!(known(&states.pid, row), Some(side.int32("pid")), "row {index}: {side:?}");
        assert_eq!(known(&states.tid, row), Some(side.int32("tid")), "row {index}: {side:?}");
        assert_eq!(known(&states.comm, row), Some(name), "row {index}: {side:?}");
        assert_eq!(states.family.value(row), talk.int32("family"));
        assert_eq!(states.retransmits.value(row), 0, "on loopback");
        // The first change comes before the kernel has given the socket its names.
        if index > 0 {
            assert_eq!(states.lport.value(row), side.int32("lport"));
            assert_eq!(states.rport.value(row), side.int32("rport"));
            assert_eq!(known(&states.laddr, row), address);
            assert_eq!(known(&states.raddr, row), address);
        }
    }
    let last = life.last();
    let carried = (states.sent.value(last), states.received.value(last));
    assert_eq!(carried, (side.int("sent"), side.int("received")), "bytes of data: {side:?}");
    let before = life.rows[0];
    assert_eq!((states.sent.value(before), states.received.value(before)), (0, 0));
}

#[test]
fn sockets_go_from_state_to_state() {
    const CONNECTIONS: usize = 4;
    let Some(_turn) = shared(&["tcpstate"]) else { return };
    for family in families() {
        let recorded = Record::trace("tcpstate")
            .workload("tcp", ["talk", family, &CONNECTIONS.to_string(), "10"])
            .run();
        recorded.assert_nothing_of_ours_lost();
        let talk = fact(recorded.stdout(), "talk");
        let states = recorded.table::<Tcpstate>();
        let mut lives = lives(&states);
        let mut take = |lport: i32, rport: i32| {
            let found = lives.iter().position(|life| {
                let last = life.last();
                (states.lport.value(last), states.rport.value(last)) == (lport, rport)
            });
            lives.swap_remove(found.unwrap_or_else(|| panic!("no socket {lport} to {rport}")))
        };
        let (clients, servers) =
            (facts(recorded.stdout(), "client"), facts(recorded.stdout(), "server"));
        assert_eq!((clients.len(), servers.len()), (CONNECTIONS, CONNECTIONS));
        let sides = [(clients, &OF_CLIENT, "tcp-client"), (servers, &OF_SERVER, "tcp-server")];
        for (sides, path, name) in sides {
            for side in sides {
                let life = take(side.int32("lport"), side.int32("rport"));
                check_life(&states, &life, path, &talk, &side, name);
            }
        }
        let listener = take(talk.int32("port"), 0);
        assert_eq!(listener.path(&states), OF_LISTENER);
        for row in listener.rows {
            assert_eq!(known(&states.pid, row), Some(talk.int32("server")));
        }
        assert_eq!(lives.len(), 0, "and no other socket");
    }
}

/// The rows of one side of a connection, in order.
fn segments_of(segments: &tcprtt::Columns, lport: i32, rport: i32) -> Vec<usize> {
    rows_in_time(&segments.ts, |row| {
        segments.lport.value(row) == lport && segments.rport.value(row) == rport
    })
}

#[test]
fn each_segment_has_its_round_trip_time() {
    const ROUNDS: usize = 100;
    let Some(_turn) = shared(&["tcprtt"]) else { return };
    for family in families() {
        let recorded = Record::trace("tcprtt")
            .workload("tcp", ["talk", family, "3", &ROUNDS.to_string()])
            .run();
        recorded.assert_nothing_of_ours_lost();
        let talk = fact(recorded.stdout(), "talk");
        let segments = recorded.table::<Tcprtt>();
        let address = Some(talk.word("addr"));
        for row in 0..segments.rows() {
            assert!(segments.srtt.value(row) > 0);
            assert_eq!(segments.weight.value(row), 1);
            assert_eq!(segments.family.value(row), talk.int32("family"));
            assert_eq!(
                (known(&segments.laddr, row), known(&segments.raddr, row)),
                (address, address)
            );
            let of_server = segments.lport.value(row) == talk.int32("port");
            let owner = if of_server { ("server", "tcp-server") } else { ("client", "tcp-client") };
            assert_eq!(known(&segments.pid, row), Some(talk.int32(owner.0)));
            assert_eq!(known(&segments.comm, row), Some(owner.1));
        }
        for client in facts(recorded.stdout(), "client") {
            let (lport, rport) = (client.int32("lport"), client.int32("rport"));
            let rows = segments_of(&segments, lport, rport);
            let until = |moment| {
                let came = |row: &&usize| recorded.monotonic(segments.ts.value(**row)) <= moment;
                rows.iter().filter(came).count()
            };
            // What the kernel counted on the way, but for the handshake's segment.
            let counted = client.int("segments") as usize - 1;
            let span = until(client.int("before"))..=until(client.int("after"));
            assert!(span.contains(&counted), "{span:?}: {client:?}");
            // What the kernel said then is what the next segment found.
            let next = rows[*span.end()];
            assert_eq!(segments.srtt.value(next) / 1000, client.int("rtt"), "{client:?}");

            assert!(rows.len() >= ROUNDS, "{}: at least each answer", rows.len());
            let other_side = segments_of(&segments, rport, lport);
            assert!(other_side.len() >= ROUNDS, "{}: at least each question", other_side.len());
        }
    }
}

#[test]
fn samples_of_round_trips_stand_for_all() {
    const ROUNDS: i64 = 2000;
    let Some(_turn) = shared(&["tcprtt"]) else { return };
    let recorded = Record::trace("tcprtt")
        .options(["--rtt-sample", "10"])
        .workload("tcp", ["talk", "4", "1", &ROUNDS.to_string()])
        .run();
    recorded.assert_nothing_of_ours_lost();
    let client = fact(recorded.stdout(), "client");
    let segments = recorded.table::<Tcprtt>();
    let rows = segments_of(&segments, client.int32("lport"), client.int32("rport"));
    let weight: i64 = rows.iter().map(|row| i64::from(segments.weight.value(*row))).sum();
    // At half-way the kernel had counted this many; on the way there are as many again. A quarter is
    // five times the deviation that there would be if each segment were chosen by lot.
    let segments_in = client.int("segments") * 2;
    assert!(segments_in >= ROUNDS);
    assert!((weight - segments_in).abs() <= segments_in / 4, "{weight} for {segments_in}");
    assert!(rows.len() as i64 <= segments_in / 5, "{} rows for {segments_in}", rows.len());
    assert!(rows.iter().all(|row| segments.weight.value(*row) == 10));
}

/// A port that is free now.
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// A talk on a port, recorded with a filter. `%` in an option stands for the port.
fn filtered(port: u16, option: &str, family: &str) -> Recorded {
    let port = port.to_string();
    let option = option.replace('%', &port);
    let recorded = Record::trace("tcpconnect,tcpstate,tcprtt")
        .options(option.split(' '))
        .workload("tcp", ["talk", family, "2", "5", &port])
        .run();
    recorded.assert_nothing_of_ours_lost();
    recorded
}

fn all_are(column: &Int32Array, value: u16) -> bool {
    column.values().iter().all(|number| *number == i32::from(value))
}

#[test]
fn sockets_are_chosen_by_port_and_family() {
    let Some(_turn) = shared(&["tcpconnect", "tcpstate", "tcprtt"]) else { return };
    let rows_by_path = |states: &tcpstate::Columns, path: &[i32]| {
        lives(states).iter().filter(|life| life.path(states) == path).count()
    };

    // The server's port is the remote one of the clients' sockets.
    let port = free_port();
    let recorded = filtered(port, "--rport %", "4");
    let (connects, segments) = (recorded.table::<Tcpconnect>(), recorded.table::<Tcprtt>());
    let states = recorded.table::<Tcpstate>();
    assert!(all_are(&connects.rport, port) && all_are(&segments.rport, port));
    assert!(all_are(&states.rport, port));
    assert_eq!(connects.rows(), 2);
    assert_eq!((rows_by_path(&states, &OF_CLIENT), rows_by_path(&states, &OF_SERVER)), (2, 0));
    assert!(segments.rows() >= 10);

    // It is the local one of the server's.
    let port = free_port();
    let recorded = filtered(port, "--lport %", "4");
    let (connects, segments) = (recorded.table::<Tcpconnect>(), recorded.table::<Tcprtt>());
    let states = recorded.table::<Tcpstate>();
    assert!(all_are(&segments.lport, port) && all_are(&states.lport, port));
    assert_eq!(connects.rows(), 0);
    assert_eq!((rows_by_path(&states, &OF_CLIENT), rows_by_path(&states, &OF_SERVER)), (0, 2));
    assert_eq!(rows_by_path(&states, &OF_LISTENER), 1);
    assert!(segments.rows() >= 10);

    // Of both versions of IP, each alone.
    for family in families() {
        let number = if family == "4" { libc::AF_INET } else { libc::AF_INET6 };
        for wanted in ["4", "6"] {
            let recorded = filtered(0, &format!("--family {wanted}"), family);
            let (connects, segments) = (recorded.table::<Tcpconnect>(), recorded.table::<Tcprtt>());
            let states = recorded.table::<Tcpstate>();
            let families = [&connects.family, &states.family, &segments.family];
            let rows = families.map(|column| column.len());
            if wanted == family {
                assert_eq!(rows_by_path(&states, &OF_CLIENT), 2);
                assert!(rows.iter().all(|rows| *rows > 0), "{rows:?}");
                assert!(families.iter().all(|column| column.iter().all(|of| of == Some(number))));
            } else {
                assert_eq!(rows, [0; 3], "IPv{family}, though only IPv{wanted} was asked for");
            }
        }
    }
}

/// The addresses in a column.
fn addresses(column: &StringArray) -> Vec<Option<String>> {
    let mut all: Vec<Option<String>> = column.iter().map(|text| text.map(str::to_owned)).collect();
    all.sort_unstable();
    all.dedup();
    all
}

#[test]
fn others_connections_are_left_out() {
    let Some(_turn) = shared(&["tcpconnect", "tcpstate", "tcprtt"]) else { return };
    // The tests talk beside the workload, as everybody does on a machine.
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = i32::from(listener.local_addr().unwrap().port());
    let mut recorder =
        Record::trace("tcpconnect,tcpstate,tcprtt").workload("tcp", ["connects", "4", "1"]).start();
    recorder.attached();
    while !recorder.running.has_ended() {
        drop(std::net::TcpStream::connect(("127.0.0.1", port as u16)).unwrap());
        drop(listener.accept().unwrap());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let recorded = recorder.finish();
    let connects = recorded.table::<Tcpconnect>();
    assert_eq!(connects.rows(), facts(recorded.stdout(), "connect").len());
    let (states, segments) = (recorded.table::<Tcpstate>(), recorded.table::<Tcprtt>());
    for ports in [&states.lport, &states.rport, &segments.lport, &segments.rport] {
        assert!(!ports.values().contains(&port), "{port} is the tests'");
    }
    assert!(!rows_where(&states, |_| true).is_empty());
    assert_eq!(addresses(&connects.laddr), [Some("127.0.0.1".to_owned())]);
}
