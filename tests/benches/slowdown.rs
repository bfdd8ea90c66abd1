//! How much slower a program becomes while it is traced: under `record`, which keeps every event, and
//! under the program of libbpf-tools that counts the same events in the kernel. `cargo bench --bench
//! slowdown`, or with the names of tracers behind `--` only of these; needs root, and Debian's package
//! libbpf-tools for the peers.
//!
//! This program is also the one that is traced: `--work NAME` waits for a line on its standard input,
//! then does one thing over and over, and prints how long each took.

#![expect(unsafe_code, reason = "it measures and drives by system calls")]

mod disk;
mod tracer;

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result};
use lookback_schemas::TableId;
use tracer::Tracer;

/// How often each kind of work is measured under each tracer; the smallest time counts, since all that
/// disturbs makes it longer.
const REPEAT: usize = 5;
/// How often the work is done in a run, in parts of which the fastest counts.
const PARTS: usize = 10;

/// A kind of work, and who traces it.
struct Work {
    name: &'static str,
    /// Does it so often.
    run: fn(times: u32),
    times: u32,
    /// The tracer, and the table that it fills.
    tracer: &'static str,
    table: TableId,
    /// The peer and its arguments; `PID` stands for the process.
    peer: &'static [&'static str],
}

const WORKS: [Work; 10] = [
    Work {
        name: "system call getppid",
        run: system_calls,
        times: 200_000,
        tracer: "syscall",
        table: TableId::Syscall,
        peer: &["syscount", "-L", "-p", "PID", "-i", "100"],
    },
    Work {
        name: "switch between two threads on one CPU",
        run: switches,
        times: 20_000,
        tracer: "runq",
        table: TableId::Runq,
        peer: &["runqlat", "-p", "PID", "100", "1"],
    },
    Work {
        name: "the same, with stacks of the waits",
        run: switches,
        times: 20_000,
        tracer: "offcpu",
        table: TableId::Offcpu,
        peer: &["offcputime", "-p", "PID", "100"],
    },
    Work {
        name: "UDP datagram on loopback",
        run: datagrams,
        times: 50_000,
        tracer: "softirq",
        table: TableId::Softirq,
        peer: &["softirqs", "-d", "100", "1"],
    },
    Work {
        name: "TCP connect, accept and close",
        run: connections,
        times: 2_000,
        tracer: "tcpstate",
        table: TableId::Tcpstate,
        peer: &["tcpstates"],
    },
    Work {
        name: "TCP connect, accept and close, connects alone",
        run: connections,
        times: 2_000,
        tracer: "tcpconnect",
        table: TableId::Tcpconnect,
        peer: &["tcpconnect", "-p", "PID"],
    },
    Work {
        name: "file opened and closed",
        run: opens,
        times: 50_000,
        tracer: "open",
        table: TableId::Open,
        peer: &["opensnoop", "-p", "PID"],
    },
    Work {
        name: "file created and unlinked",
        run: unlinks,
        times: 10_000,
        tracer: "unlink",
        table: TableId::Unlink,
        peer: &["filelife", "-p", "PID"],
    },
    Work {
        name: "process that executes true",
        run: processes,
        times: 500,
        tracer: "process",
        table: TableId::Exec,
        peer: &["execsnoop", "-n", "true"],
    },
    Work {
        name: "TCP byte there and back",
        run: round_trips,
        times: 10_000,
        tracer: "tcprtt",
        table: TableId::Tcprtt,
        peer: &["tcprtt", "-i", "100"],
    },
];

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, name, ..] = words.as_slice()
        && flag == "--work"
    {
        let work = WORKS.iter().find(|work| work.name == name).context("no such work")?;
        return worker(work);
    }
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    // Cargo has flags of its own.
    let chosen: Vec<&String> = words.iter().filter(|word| !word.starts_with("--")).collect();
    let is_chosen =
        |work: &&Work| chosen.is_empty() || chosen.iter().any(|name| *name == work.tracer);
    for work in WORKS.iter().filter(is_chosen) {
        measure(work, scratch.path())?;
    }
    Ok(())
}

/// Measures one kind of work untraced, under `record`, and under its peer, in turn.
fn measure(work: &Work, scratch: &Path) -> Result<()> {
    let (mut alone, mut ours, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    let directory = scratch.join("slowdown.lookback");
    let mut bytes = 0.0;
    let mut peer_works = true;
    for _ in 0..REPEAT {
        alone.push(Worker::start(work)?.go()?);
        let worker = Worker::start(work)?;
        let mut record = Command::new(env!("CARGO_BIN_EXE_record"));
        record.args(["--quiet", "--trace", work.tracer, "--pid", &worker.pid(), "--output"]);
        let time = under(record.arg(&directory), worker)?;
        ours.push(time);
        bytes = disk::table(&directory, work.table)?.per_row();
        std::fs::remove_dir_all(&directory)?;
        if peer_works {
            let worker = Worker::start(work)?;
            let pid = worker.pid();
            let mut words =
                work.peer.iter().map(|word| if *word == "PID" { pid.as_str() } else { word });
            let mut peer = Command::new(words.next().context("the peer has a name")?);
            match under(peer.args(words), worker) {
                Ok(time) => theirs.push(time),
                Err(error) => {
                    eprintln!("{} is left out: {error:#}", work.peer[0]);
                    peer_works = false;
                }
            }
        }
    }
    let least = |times: &[f64]| times.iter().copied().fold(f64::INFINITY, f64::min);
    let alone = least(&alone);
    println!("\n{}: {alone:.0} ns untraced", work.name);
    let show = |who: &str, times: &[f64], more: &str| {
        if !times.is_empty() {
            let time = least(times);
            println!("  {who:<12} +{:>6.0} ns  × {:.2}{more}", time - alone, time / alone);
        }
    };
    show("record", &ours, &format!("   {bytes:.1} bytes per row"));
    show(work.peer[0], &theirs, "");
    Ok(())
}

/// The worker's time while `tracer` runs.
fn under(tracer: &mut Command, worker: Worker) -> Result<f64> {
    let tracer = Tracer::start(tracer)?;
    let time = worker.go();
    tracer.stop()?;
    time
}

/// The process that is traced, waiting.
struct Worker(Child);

impl Worker {
    fn start(work: &Work) -> Result<Worker> {
        let child = Command::new(std::env::current_exe()?)
            .args(["--work", work.name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        Ok(Worker(child))
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }

    /// Lets it work. The time that each took in nanoseconds.
    fn go(mut self) -> Result<f64> {
        self.0.stdin.take().context("it is piped")?.write_all(b"\n")?;
        let mut line = String::new();
        BufReader::new(self.0.stdout.take().context("it is piped")?).read_line(&mut line)?;
        self.0.wait()?;
        line.trim().parse().context("the worker failed")
    }
}

fn worker(work: &Work) -> Result<()> {
    std::io::stdin().read_line(&mut String::new())?;
    let part = |_| {
        let began = Instant::now();
        (work.run)(work.times / PARTS as u32);
        began.elapsed().as_nanos() as f64 / f64::from(work.times / PARTS as u32)
    };
    println!("{}", (0..PARTS).map(part).fold(f64::INFINITY, f64::min));
    Ok(())
}

fn system_calls(times: u32) {
    for _ in 0..times {
        // SAFETY: the call has no arguments and no effect.
        unsafe { libc::syscall(libc::SYS_getppid) };
    }
}

fn switches(times: u32) {
    let pin = || {
        // SAFETY: a cpu_set_t is made of integers, for which zeros are valid, and the size is its own.
        unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(0, &mut set);
            libc::sched_setaffinity(0, size_of_val(&set), &raw const set);
        }
    };
    let (mut their_reader, mut writer) = std::io::pipe().expect("there are descriptors left");
    let (mut reader, mut their_writer) = std::io::pipe().expect("there are descriptors left");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            pin();
            let mut byte = [0];
            while their_reader.read_exact(&mut byte).is_ok() {
                their_writer.write_all(&byte).expect("the other end is open");
            }
        });
        scope.spawn(move || {
            pin();
            for _ in 0..times / 2 {
                writer.write_all(b"x").expect("the other end is open");
                reader.read_exact(&mut [0]).expect("the other end is open");
            }
        });
    });
}

fn datagrams(times: u32) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback is up");
    socket.connect(socket.local_addr().expect("it is bound")).expect("loopback is up");
    for _ in 0..times {
        socket.send(b"x").expect("loopback is up");
        socket.recv(&mut [0]).expect("loopback is up");
    }
}

fn connections(times: u32) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is up");
    let address = listener.local_addr().expect("it is bound");
    for _ in 0..times {
        drop((TcpStream::connect(address), listener.accept()));
    }
}

fn opens(times: u32) {
    for _ in 0..times {
        drop(File::open("/dev/null").expect("everybody may read it"));
    }
}

fn unlinks(times: u32) {
    let path = std::env::temp_dir().join(format!("slowdown-{}", std::process::id()));
    for _ in 0..times {
        drop(File::create(&path).expect("it is a directory for such files"));
        std::fs::remove_file(&path).expect("it is there");
    }
}

fn processes(times: u32) {
    for _ in 0..times {
        let ended = Command::new("true").status().expect("every system has it");
        assert!(ended.success());
    }
}

fn round_trips(times: u32) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is up");
    let mut here =
        TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
    let (mut there, _) = listener.accept().expect("somebody connected");
    here.set_nodelay(true).expect("it is TCP");
    there.set_nodelay(true).expect("it is TCP");
    for _ in 0..times {
        here.write_all(b"x").expect("it is connected");
        there.read_exact(&mut [0]).expect("it is connected");
        there.write_all(b"x").expect("it is connected");
        here.read_exact(&mut [0]).expect("it is connected");
    }
}
