//! Recordings made up for tests, written as the recorder writes them.

mod runtimes;
mod waits;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use arrow::compute::concat_batches;
use arrow::record_batch::RecordBatch;
use lookback_schemas::cell::{RowBuilder as _, Source};
use lookback_schemas::manifest::{
    End, Filters, Hook, Host, Manifest, Probe, Total, Tracer, Unknown,
};
use lookback_schemas::recording::Recording;
use lookback_schemas::segment::{Rotation, TableWriter};
use lookback_schemas::tables::*;
use lookback_schemas::wire::{Chars, Flag, Header, Ip, Loc, Maybe, Monotonic, StackHash};
use lookback_schemas::{Table, TableId};

pub use self::runtimes::{Collection, Hit, Stretch};
pub use self::waits::Away;

/// When the made recordings begin: 2026-11-22T10:15:00Z.
pub const START: i64 = 1_795_342_500_000_000_000;

/// The moment `seconds` after [`START`].
pub fn at(seconds: f64) -> i64 {
    START.saturating_add((seconds * 1e9).round() as i64)
}

/// A row of any table.
pub type Row = (TableId, RecordBatch);

/// A recording in a temporary directory. Unless it was [ended](Made::end), it is one whose recorder
/// was killed.
pub struct Made {
    directory: tempfile::TempDir,
    writers: RefCell<BTreeMap<TableId, TableWriter>>,
    rows: RefCell<BTreeMap<TableId, u64>>,
    filters: RefCell<Filters>,
    /// The probes of the tracer `alloc`, which is there if there are any.
    probes: RefCell<Vec<Probe>>,
    /// More tracers.
    tracers: RefCell<Vec<Tracer>>,
    /// The host, and its boot.
    host: RefCell<(String, String)>,
}

/// Memory that the kernel allocates.
#[derive(Clone, Copy)]
pub struct Kernel {
    pub seconds: f64,
    pub kind: i32,
    pub address: i64,
    pub bytes: i64,
    pub stack: i64,
    pub pid: i32,
}

/// A call of an allocator.
#[derive(Clone, Copy)]
pub struct Heap {
    pub seconds: f64,
    /// Nanoseconds after that.
    pub ns: i64,
    pub pid: i32,
    pub tid: i32,
    pub function: i32,
    pub address: Option<i64>,
    pub old: Option<i64>,
    pub bytes: Option<i64>,
    pub stands_for: Option<i64>,
    pub stack: i64,
    pub duration: Option<i64>,
}

impl Heap {
    pub fn malloc(seconds: f64, pid: i32, address: i64, bytes: i64, stack: i64) -> Heap {
        Heap {
            seconds,
            ns: 0,
            pid,
            tid: pid,
            function: 0,
            address: Some(address),
            old: None,
            bytes: Some(bytes),
            stands_for: None,
            stack,
            duration: None,
        }
    }

    pub fn free(seconds: f64, pid: i32, address: i64) -> Heap {
        Heap {
            function: 11,
            bytes: None,
            stack: i64::MIN,
            ..Heap::malloc(seconds, pid, address, 0, 0)
        }
    }

    /// A `realloc` that took 1 ms.
    pub fn realloc(
        seconds: f64,
        pid: i32,
        (old, new): (Option<i64>, Option<i64>),
        bytes: i64,
        stack: i64,
    ) -> Heap {
        Heap {
            function: 2,
            address: new,
            old,
            duration: Some(1_000_000),
            ..Heap::malloc(seconds, pid, 0, bytes, stack)
        }
    }
}

/// A call that changes what is mapped.
#[derive(Clone, Copy)]
pub struct Mapping {
    pub seconds: f64,
    /// Nanoseconds after that.
    pub ns: i64,
    pub pid: i32,
    pub call: i32,
    pub address: Option<i64>,
    pub bytes: Option<i64>,
    pub old: Option<i64>,
    pub old_bytes: Option<i64>,
    pub flags: Option<i32>,
    pub error: Option<i32>,
    pub stack: i64,
}

impl Mapping {
    pub fn mmap(seconds: f64, pid: i32, address: i64, bytes: i64, stack: i64) -> Mapping {
        Mapping {
            seconds,
            ns: 0,
            pid,
            call: 0,
            address: Some(address),
            bytes: Some(bytes),
            old: None,
            old_bytes: None,
            flags: Some(0x22),
            error: None,
            stack,
        }
    }

    pub fn munmap(seconds: f64, pid: i32, address: i64, bytes: i64) -> Mapping {
        Mapping { call: 1, flags: None, ..Mapping::mmap(seconds, pid, address, bytes, i64::MIN) }
    }

    pub fn mremap(
        seconds: f64,
        pid: i32,
        (old, old_bytes): (i64, i64),
        (address, bytes): (i64, i64),
        stack: i64,
    ) -> Mapping {
        Mapping {
            call: 2,
            old: Some(old),
            old_bytes: Some(old_bytes),
            flags: Some(1),
            ..Mapping::mmap(seconds, pid, address, bytes, stack)
        }
    }

    pub fn brk(seconds: f64, pid: i32, (old, new): (i64, i64), stack: i64) -> Mapping {
        Mapping {
            call: 3,
            bytes: None,
            old: Some(old),
            flags: None,
            ..Mapping::mmap(seconds, pid, new, 0, stack)
        }
    }
}

/// Collects what a writer is given.
#[derive(Clone, Default)]
pub struct Capture(Arc<Mutex<Vec<u8>>>);

impl Capture {
    pub fn text(&self) -> String {
        let bytes = self.0.lock().expect("no test panics while it writes").clone();
        String::from_utf8(bytes).expect("reports are UTF-8")
    }
}

impl Write for Capture {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no test panics while it writes").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What `analyze` prints when it is called with these arguments; the recording follows the first.
pub fn analyze(made: &Made, args: &[&str]) -> anyhow::Result<String> {
    analyze_at(made.path(), args)
}

/// As [`analyze`], for a recording anywhere.
pub fn analyze_at(recording: &Path, args: &[&str]) -> anyhow::Result<String> {
    analyze_all(&[recording], args)
}

/// As [`analyze`], for several recordings.
pub fn analyze_all(recordings: &[&Path], args: &[&str]) -> anyhow::Result<String> {
    use clap::Parser as _;
    let out = tempfile::NamedTempFile::new()?;
    let path = out.path().to_str().expect("temporary paths are UTF-8");
    let recordings = recordings.iter().map(|path| path.to_str());
    // `tcp` has commands of its own.
    let (command, options) = args.split_at(if args[0] == "tcp" { 2 } else { 1 });
    let mut line = vec!["analyze"];
    line.extend(command);
    line.extend(recordings.map(|path| path.expect("temporary paths are UTF-8")));
    line.extend(options);
    line.extend(["-o", path]);
    let cli = crate::cli::Cli::try_parse_from(line)?;
    crate::cli::run(cli)?;
    Ok(std::fs::read_to_string(path)?)
}

/// The lines that `analyze` prints, with their columns one space apart.
pub fn lines(made: &Made, args: &[&str]) -> Vec<String> {
    spaced(&analyze(made, args).expect("it is whole"))
}

/// The lines, with their columns one space apart.
pub fn spaced(text: &str) -> Vec<String> {
    let single = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    text.lines().map(single).collect()
}

/// Text and lists behind a row.
struct Tail(Vec<u8>);

impl Tail {
    fn new() -> Tail {
        Tail(vec![0; 8])
    }

    fn add<T>(&mut self, bytes: &[u8]) -> Loc<T> {
        let start = self.0.len();
        self.0.extend_from_slice(bytes);
        Loc::new(start as u16, bytes.len() as u16)
    }
}

fn comm(name: &str) -> Chars<16> {
    let mut bytes = [0; 16];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    Chars(bytes)
}

fn ip(text: &str) -> Ip {
    match text.parse::<std::net::IpAddr>().expect("tests name addresses") {
        std::net::IpAddr::V4(address) => Ip(address.to_ipv6_mapped().octets()),
        std::net::IpAddr::V6(address) => Ip(address.octets()),
    }
}

fn known<T>(value: Option<T>, unknown: T) -> Maybe<T> {
    Maybe(value.unwrap_or(unknown))
}

fn row<T: Table>(row: T, tail: &[u8]) -> Row {
    let mut builder = T::Builder::default();
    builder.append(&row, &Source { record: tail, ..Source::default() });
    (T::ID, builder.finish())
}

impl Made {
    pub fn new() -> Made {
        let made = Made {
            directory: tempfile::tempdir().expect("tests may write temporary files"),
            writers: RefCell::default(),
            rows: RefCell::default(),
            filters: RefCell::default(),
            probes: RefCell::default(),
            tracers: RefCell::default(),
            host: RefCell::new(("web1".to_owned(), "b".to_owned())),
        };
        made.write_manifest(None);
        made
    }

    /// Of which host, and of which boot of it.
    pub fn host(&self, name: &str, boot: &str) {
        *self.host.borrow_mut() = (name.to_owned(), boot.to_owned());
        self.write_manifest(None);
    }

    /// What was left out.
    pub fn filter(&self, filters: Filters) {
        *self.filters.borrow_mut() = filters;
        self.write_manifest(None);
    }

    /// The probes of the tracer `alloc`.
    pub fn probe(&self, probes: Vec<Probe>) {
        *self.probes.borrow_mut() = probes;
        self.write_manifest(None);
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn open(&self) -> Recording {
        Recording::open(self.path()).expect("what was made opens")
    }

    pub fn manifest(&self) -> Manifest {
        let rows = self.rows.borrow();
        let totals = rows.iter().map(|(table, rows)| {
            let seen = table.c_struct().map(|_| *rows);
            (table.name().to_owned(), Total { seen, rows: *rows, ..Total::default() })
        });
        let probes = self.probes.borrow().clone();
        let alloc = (!probes.is_empty()).then(|| Tracer {
            name: "alloc".to_owned(),
            tables: vec!["alloc".to_owned()],
            probes,
            ..Tracer::default()
        });
        let (name, boot_id) = self.host.borrow().clone();
        let mut manifest = Manifest {
            format: lookback_schemas::FORMAT_VERSION,
            recorder: "0.1.0".to_owned(),
            host: Host {
                name,
                boot_id,
                kernel: "6.12.0".to_owned(),
                arch: "x86_64".to_owned(),
                cpus: 2,
            },
            command_line: vec!["record".to_owned(), "process".to_owned()],
            started: START,
            epoch: START,
            tracers: vec![
                Tracer {
                    name: "process".to_owned(),
                    tables: vec!["exec".to_owned()],
                    hooks: vec![Hook {
                        purpose: "exec".to_owned(),
                        hook: "raw_tp/sched_process_exec".to_owned(),
                    }],
                    failed: None,
                    unknown: vec![Unknown {
                        column: "cgroup.path".to_owned(),
                        because: "not mounted".to_owned(),
                    }],
                    ..Tracer::default()
                },
                Tracer {
                    name: "profile".to_owned(),
                    tables: vec!["sample".to_owned()],
                    hooks: Vec::new(),
                    failed: Some("no permission".to_owned()),
                    ..Tracer::default()
                },
            ],
            totals: totals.collect(),
            filters: self.filters.borrow().clone(),
            ..Manifest::default()
        };
        manifest.tracers.extend(alloc);
        manifest.tracers.extend(self.tracers.borrow().iter().cloned());
        manifest
    }

    fn write_manifest(&self, ended: Option<End>) {
        let manifest = Manifest { ended, ..self.manifest() };
        manifest.write(self.path(), false).expect("tests may write temporary files");
    }

    /// Appends the rows: one row group for each table.
    pub fn rows(&self, rows: &[Row]) {
        let mut tables: BTreeMap<TableId, Vec<&RecordBatch>> = BTreeMap::new();
        for (table, batch) in rows {
            tables.entry(*table).or_default().push(batch);
        }
        for (table, batches) in tables {
            let batch = concat_batches(&batches[0].schema(), batches).expect("one schema");
            self.batch(table, &batch);
        }
    }

    /// Appends the batch as a row group.
    pub fn batch(&self, table: TableId, batch: &RecordBatch) {
        let mut writers = self.writers.borrow_mut();
        let writer = writers
            .entry(table)
            .or_insert_with(|| TableWriter::new(self.path(), table, Rotation::default()));
        writer.append(batch).expect("tests may write temporary files");
        *self.rows.borrow_mut().entry(table).or_default() += batch.num_rows() as u64;
    }

    /// Ends the recording in good order.
    pub fn end(&self, seconds: f64) {
        for writer in self.writers.borrow_mut().values_mut() {
            writer.finish().expect("tests may write temporary files");
        }
        let (at, why) = (at(seconds), "duration".to_owned());
        self.write_manifest(Some(End { at, why, error: None }));
    }

    pub fn fork(&self, seconds: f64, pid: i32, ppid: i32) -> Row {
        self.fork_in(seconds, pid, ppid, Some(pid))
    }

    /// A fork into the memory of `memory_of`.
    pub fn fork_in(&self, seconds: f64, pid: i32, ppid: i32, memory_of: Option<i32>) -> Row {
        let fork = Fork {
            header: Header::default(),
            ts: Monotonic(at(seconds)),
            pid,
            ppid,
            caller_tid: ppid,
            uid: 1000,
            cgroup: Maybe(i64::MIN),
            comm: comm("parent"),
            memory_of: known(memory_of, i32::MIN),
            own_pid: Maybe(pid),
        };
        row(fork, &[])
    }

    pub fn exec(&self, seconds: f64, pid: i32, ppid: i32, argv: &[&str]) -> Row {
        self.exec_in(seconds, pid, ppid, argv, None, None)
    }

    pub fn exec_in(
        &self,
        seconds: f64,
        pid: i32,
        ppid: i32,
        argv: &[&str],
        cgroup: Option<i64>,
        argv_bytes: Option<i32>,
    ) -> Row {
        let mut tail = Tail::new();
        let name = argv[0].rsplit('/').next().unwrap_or_default();
        let mut words = argv.join("\0");
        words.push('\0');
        let exec = Exec {
            header: Header::default(),
            ts: Monotonic(at(seconds)),
            pid,
            ppid,
            caller_tid: pid,
            uid: 1000,
            cgroup: known(cgroup, i64::MIN),
            comm: comm(&name[..name.len().min(15)]),
            filename: tail.add(argv[0].as_bytes()),
            cwd: tail.add(b"data\0srv\0"),
            argv: tail.add(words.as_bytes()),
            argv_bytes: Maybe(argv_bytes.unwrap_or(words.len() as i32)),
        };
        row(exec, &tail.0)
    }

    /// An exit of a process that began at `start`, with its code or its signal.
    pub fn exit(
        &self,
        seconds: f64,
        pid: i32,
        ppid: i32,
        start: f64,
        status: Result<i32, i32>,
    ) -> Row {
        let exit = Exit {
            header: Header::default(),
            ts: Monotonic(at(seconds)),
            start: Monotonic(at(start)),
            duration: at(seconds).saturating_sub(at(start)),
            user: 2_000_000,
            system: 1_000_000,
            max_rss: Maybe(4096 * 1024),
            minor_faults: 3,
            major_faults: 1,
            cgroup: Maybe(i64::MIN),
            comm: comm("ended"),
            pid,
            tid: pid,
            ppid,
            uid: 1000,
            code: known(status.ok(), i32::MIN),
            signal: known(status.err(), i32::MIN),
            core: Flag(u32::from(status == Err(11))),
            process_ended: Flag(1),
        };
        row(exit, &[])
    }

    pub fn process(&self, seconds: f64, pid: i32, ppid: i32, start: f64, argv: &[&str]) -> Row {
        let argv: Vec<String> = argv.iter().map(|arg| (*arg).to_owned()).collect();
        let process = Process {
            ts: at(seconds),
            pid,
            ppid,
            uid: Some(0),
            start: Some(at(start)),
            cgroup: None,
            comm: argv.first().map(|name| name.rsplit('/').next().unwrap_or_default().to_owned()),
            exe: argv.first().cloned(),
            argv: (!argv.is_empty()).then_some(argv),
        };
        row(process, &[])
    }

    pub fn cgroup(&self, seconds: f64, id: i64, path: &str) -> Row {
        let mut tail = Tail::new();
        let cgroup = Cgroup {
            header: Header::default(),
            ts: Monotonic(at(seconds)),
            id,
            path: tail.add(path.as_bytes()),
            pid: Maybe(i32::MIN),
        };
        row(cgroup, &tail.0)
    }

    pub fn signal(&self, seconds: f64, from: Option<i32>, to: i32, sig: i32, result: i32) -> Row {
        let signal = Signal {
            header: Header::default(),
            ts: Monotonic(at(seconds)),
            pid: known(from, i32::MIN),
            tid: known(from, i32::MIN),
            uid: known(from.map(|_| 1000), i32::MIN),
            sig,
            code: 0,
            target_pid: to,
            target_tid: to,
            target_uid: 1001,
            result,
            group: Flag(1),
            comm: comm(if from.is_some() { "sender" } else { "" }),
            target_comm: comm("target"),
        };
        row(signal, &[])
    }

    pub fn kill(&self, seconds: f64, pid: i32, target: i32, sig: i32, result: i32) -> Row {
        let kill = Kill {
            header: Header::default(),
            ts: Monotonic(at(seconds)),
            duration: 1500,
            pid,
            tid: pid,
            uid: 1000,
            call: 0,
            target_pid: Maybe(target),
            target_tid: Maybe(i32::MIN),
            sig,
            result,
            comm: comm("sender"),
        };
        row(kill, &[])
    }

    /// A system call that took 1.5 µs, or did not return.
    pub fn syscall(&self, seconds: f64, pid: i32, number: i32, result: Option<i64>) -> Row {
        self.syscall_of(seconds, pid, number, result, 1500, None, false)
    }

    #[expect(clippy::too_many_arguments, reason = "the columns that tests vary")]
    pub fn syscall_of(
        &self,
        seconds: f64,
        pid: i32,
        number: i32,
        result: Option<i64>,
        duration: i64,
        args: Option<[i64; 6]>,
        compat: bool,
    ) -> Row {
        let mut tail = Tail::new();
        let args = args.map(|args| args.map(i64::to_ne_bytes).concat());
        let syscall = Syscall {
            header: Header::default(),
            ts: Monotonic(at(seconds)),
            duration: known(result.map(|_| duration), i64::MIN),
            result: known(result, i64::MIN),
            number,
            pid,
            tid: pid + 1,
            uid: 1000,
            comm: comm("caller"),
            args: args.map_or(Loc::new(0, 0), |args| tail.add(&args)),
            compat: Flag(u32::from(compat)),
        };
        row(syscall, &tail.0)
    }

    /// An open of 1.5 µs; `dir` is in components, the last one first.
    pub fn opened(
        &self,
        seconds: f64,
        pid: i32,
        path: Option<&str>,
        dir: Option<&str>,
        result: Result<i32, i32>,
    ) -> Row {
        let mut tail = Tail::new();
        let open = Open {
            header: Header::default(),
            ts: Monotonic(at(seconds)),
            duration: 1500,
            result: result.unwrap_or_else(|errno| -errno),
            flags: 0o101,
            mode: Maybe(0o644),
            path: path.map_or(Loc::new(0, 0), |path| tail.add(path.as_bytes())),
            dir: dir.map_or(Loc::new(0, 0), |dir| tail.add(dir.as_bytes())),
            pid,
            tid: pid,
            uid: 1000,
            comm: comm("opener"),
        };
        row(open, &tail.0)
    }

    /// A call on a name; relative paths begin at /srv/data.
    pub fn unlink(
        &self,
        seconds: f64,
        pid: i32,
        call: i32,
        path: &str,
        new: Option<&str>,
        result: i32,
    ) -> Row {
        let mut tail = Tail::new();
        let dir = |path: Option<&str>, tail: &mut Tail| match path {
            Some(path) if !path.starts_with('/') => tail.add(b"data\0srv\0"),
            Some(_) | None => Loc::new(0, 0),
        };
        let unlink = Unlink {
            header: Header::default(),
            ts: Monotonic(at(seconds)),
            duration: 1500,
            call,
            result,
            flags: 0,
            path: tail.add(path.as_bytes()),
            dir: dir(Some(path), &mut tail),
            new_path: new.map_or(Loc::new(0, 0), |new| tail.add(new.as_bytes())),
            new_dir: dir(new, &mut tail),
            pid,
            tid: pid,
            uid: 1000,
            comm: comm("unlinker"),
        };
        row(unlink, &tail.0)
    }

    /// A wait for CPU 1, which `prev` had; 0 is idle.
    pub fn runq(&self, seconds: f64, pid: i32, tid: i32, wait: i64, prev: i32, cause: i32) -> Row {
        let runq = Runq {
            header: Header::default(),
            ts: Monotonic(at(seconds)),
            wait,
            cgroup: Maybe(5),
            pid_ns: Maybe(4_026_531_836),
            cause,
            pid,
            tid,
            uid: 1000,
            prio: 120,
            cpu: 1,
            prev_pid: prev,
            prev_tid: prev,
            comm: comm("waiter"),
            prev_comm: comm(if prev == 0 { "swapper/1" } else { "hog" }),
        };
        row(runq, &[])
    }

    pub fn hardirq(&self, seconds: f64, name: &str, cpu: i32, pid: i32, duration: i64) -> Row {
        let mut bytes = [0; 28];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        let hardirq = Hardirq {
            header: Header::default(),
            ts: Monotonic(at(seconds)),
            duration,
            irq: 24,
            cpu,
            pid,
            tid: pid,
            name: Chars(bytes),
            handled: Flag(1),
        };
        row(hardirq, &[])
    }

    pub fn softirq(&self, seconds: f64, vector: i32, cpu: i32, pid: i32, duration: i64) -> Row {
        let ts = Monotonic(at(seconds));
        let header = Header::default();
        row(Softirq { header, ts, duration, vector, cpu, pid, tid: pid }, &[])
    }

    pub fn tcpconnect(&self, seconds: f64, pid: i32, rport: i32, result: Option<i32>) -> Row {
        let connect = Tcpconnect {
            header: Header::default(),
            ts: Monotonic(at(seconds)),
            latency: 1_500_000,
            result: known(result, i32::MIN),
            family: 2,
            laddr: ip("10.0.0.1"),
            lport: 40_000,
            raddr: ip("10.0.0.2"),
            rport,
            retransmits: 0,
            pid,
            tid: pid,
            uid: 1000,
            comm: comm("client"),
        };
        row(connect, &[])
    }

    /// A socket changes from one state to another after 250 ms there; it has sent 2,048 bytes.
    pub fn tcpstate(
        &self,
        seconds: f64,
        socket: i64,
        (old, new): (i32, i32),
        pid: Option<i32>,
    ) -> Row {
        self.tcpstate_of(seconds, socket, (old, new), pid, ("10.0.0.1", 80), ("10.0.0.2", 4000))
    }

    pub fn tcpstate_of(
        &self,
        seconds: f64,
        socket: i64,
        (old, new): (i32, i32),
        pid: Option<i32>,
        (laddr, lport): (&str, i32),
        (raddr, rport): (&str, i32),
    ) -> Row {
        let state = Tcpstate {
            header: Header::default(),
            ts: Monotonic(at(seconds)),
            in_old: Maybe(250_000_000),
            socket,
            sent: 2048,
            received: 1024,
            retransmits: 1,
            old,
            new,
            family: if laddr.contains(':') { 10 } else { 2 },
            laddr: ip(laddr),
            lport,
            raddr: ip(raddr),
            rport,
            pid: known(pid, i32::MIN),
            tid: known(pid, i32::MIN),
            uid: known(pid.map(|_| 1000), i32::MIN),
            comm: comm(if pid.is_some() { "server" } else { "" }),
        };
        row(state, &[])
    }

    pub fn tcprtt(
        &self,
        seconds: f64,
        pid: Option<i32>,
        raddr: &str,
        srtt: i64,
        weight: i32,
    ) -> Row {
        let rtt = Tcprtt {
            header: Header::default(),
            ts: Monotonic(at(seconds)),
            srtt,
            weight,
            family: if raddr.contains(':') { 10 } else { 2 },
            laddr: ip("10.0.0.1"),
            lport: 80,
            raddr: ip(raddr),
            rport: 4000,
            pid: known(pid, i32::MIN),
            uid: known(pid.map(|_| 1000), i32::MIN),
            comm: comm(if pid.is_some() { "server" } else { "" }),
        };
        row(rtt, &[])
    }

    /// A decision on an address, or on one of a family that has none here.
    pub fn lsmconnect(&self, seconds: f64, pid: i32, addr: Option<&str>, verdict: i32) -> Row {
        let decision = Lsmconnect {
            header: Header::default(),
            ts: Monotonic(at(seconds)),
            verdict,
            denied: Flag(u32::from(verdict != 0)),
            family: addr.map_or(1, |addr| if addr.contains(':') { 10 } else { 2 }),
            kind: 1,
            addr: addr.map_or(Ip::UNKNOWN, ip),
            port: known(addr.map(|_| 443), i32::MIN),
            pid,
            tid: pid,
            uid: 1000,
            comm: comm("client"),
        };
        row(decision, &[])
    }

    pub fn kalloc(&self, block: &Kernel) -> Row {
        self.kalloc_in(block, "")
    }

    pub fn kalloc_in(&self, block: &Kernel, cache: &str) -> Row {
        let mut name = [0; 24];
        name[..cache.len()].copy_from_slice(cache.as_bytes());
        let kalloc = Kalloc {
            header: Header::default(),
            ts: Monotonic(at(block.seconds)),
            address: block.address,
            bytes: Maybe(block.bytes),
            requested: Maybe(block.bytes),
            stack: StackHash(block.stack),
            kind: block.kind,
            free: Flag(0),
            pid: block.pid,
            tid: block.pid,
            uid: 0,
            cpu: 0,
            comm: comm("taker"),
            cache: Chars(name),
        };
        row(kalloc, &[])
    }

    /// A free in an interrupt.
    pub fn kfree(&self, seconds: f64, kind: i32, address: i64, bytes: Option<i64>) -> Row {
        let kalloc = Kalloc {
            header: Header::default(),
            ts: Monotonic(at(seconds)),
            address,
            bytes: known(bytes, i64::MIN),
            requested: Maybe(i64::MIN),
            stack: StackHash(i64::MIN),
            kind,
            free: Flag(1),
            pid: 0,
            tid: 0,
            uid: 0,
            cpu: 1,
            comm: comm("swapper/1"),
            cache: Chars([0; 24]),
        };
        row(kalloc, &[])
    }

    pub fn alloc(&self, call: Heap) -> Row {
        let alloc = Alloc {
            header: Header::default(),
            ts: Monotonic(at(call.seconds) + call.ns),
            duration: known(call.duration, i64::MIN),
            address: known(call.address, i64::MIN),
            old: known(call.old, i64::MIN),
            bytes: known(call.bytes, i64::MIN),
            stands_for: known(call.stands_for, i64::MIN),
            stack: StackHash(call.stack),
            function: call.function,
            pid: call.pid,
            tid: call.tid,
            cpu: 0,
        };
        row(alloc, &[])
    }

    pub fn vm(&self, call: Mapping) -> Row {
        let vm = Vm {
            header: Header::default(),
            ts: Monotonic(at(call.seconds) + call.ns),
            duration: 900,
            address: known(call.address, i64::MIN),
            bytes: known(call.bytes, i64::MIN),
            old: known(call.old, i64::MIN),
            old_bytes: known(call.old_bytes, i64::MIN),
            stack: StackHash(call.stack),
            call: call.call,
            flags: known(call.flags, i32::MIN),
            protection: Maybe(3),
            fd: Maybe(i32::MIN),
            error: known(call.error, i32::MIN),
            pid: call.pid,
            tid: call.pid,
            cpu: 0,
        };
        row(vm, &[])
    }

    pub fn sample(
        &self,
        seconds: f64,
        pid: i32,
        name: &str,
        user: Option<i64>,
        kernel: Option<i64>,
    ) -> Row {
        let sample = Sample {
            header: Header::default(),
            ts: Monotonic(at(seconds)),
            user_stack: StackHash(user.unwrap_or(i64::MIN)),
            kernel_stack: StackHash(kernel.unwrap_or(i64::MIN)),
            period: 10,
            pid,
            tid: pid,
            uid: 1000,
            cpu: 0,
            comm: comm(name),
        };
        row(sample, &[])
    }

    pub fn stack(&self, id: i64, frames: &[i64], truncated: bool) -> Row {
        let stack = Stack {
            ts: at(0.5),
            id,
            pid: None,
            frames: frames.to_vec(),
            truncated,
            walked: None,
            complete: None,
        };
        row(stack, &[])
    }

    pub fn frame(&self, id: i64, kernel: bool, module: Option<&str>, offset: Option<i64>) -> Row {
        let module = module.map(str::to_owned);
        let (build_id, file_offset, return_address) = (None, offset, false);
        let address = 0x1000 + id;
        let frame = Frame { id, address, return_address, kernel, module, build_id, file_offset };
        row(frame, &[])
    }

    pub fn symbol(&self, frame: i64, depth: i32, name: &str) -> Row {
        let (name, offset, file, line) = (name.to_owned(), Some(4), None, None);
        row(Symbol { frame, depth, name, offset, file, line, module: None }, &[])
    }

    /// A function whose source is known.
    pub fn symbol_at(&self, frame: i64, name: &str, file: &str, line: i32) -> Row {
        let (name, file, line) = (name.to_owned(), Some(file.to_owned()), Some(line));
        row(Symbol { frame, depth: 0, name, offset: Some(4), file, line, module: None }, &[])
    }

    pub fn clock(&self, seconds: f64) -> Row {
        let (ts, monotonic) = (at(seconds), at(seconds) - START);
        row(Clock { ts, monotonic, boottime: monotonic, realtime: ts }, &[])
    }

    /// A reading of the clocks after the machine slept, and its wall clock was set, by so many seconds.
    pub fn clocks(&self, seconds: f64, (slept, set): (f64, f64)) -> Row {
        let (ts, monotonic) = (at(seconds), at(seconds) - START);
        let (boottime, realtime) = (at(seconds + slept) - START, at(seconds + slept + set));
        row(Clock { ts, monotonic, boottime, realtime }, &[])
    }

    pub fn loss(&self, table: &str, reason: &str, count: i64, start: f64, end: f64) -> Row {
        let (table, reason) = (table.to_owned(), reason.to_owned());
        row(Loss { ts: at(start), end: at(end), table, cpu: Some(0), count, reason }, &[])
    }
}
