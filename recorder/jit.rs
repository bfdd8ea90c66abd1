//! Names of frames in code that processes have made themselves.
//!
//! Such a frame lies in no file; what it is called says the process's [map](perf_map), for a while. So the
//! maps are read as they grow, and a frame gets the name of the time at which it was first seen. Where the
//! map has no name yet it may have one later: some runtimes write a bit late, Java not before it ends. When
//! other code takes the place, frames there are others.
//!
//! A thread of its own reads, since nobody knows what is mounted where a process has its `/tmp`: a file
//! system that does not answer must not keep events from being drained.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use lookback_schemas::tables::Symbol;
use procfs::Current as _;
use procfs::process::Process;

use crate::perf_map::PerfMap;

/// How often maps are looked at.
const INTERVAL: Duration = Duration::from_millis(100);
/// How long the last look may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// So much is read of a map at once, in bytes.
const CHUNK: u64 = 4 << 20;
/// How long the code of a process that ended is remembered: stacks of its last moments are in the rings.
const AFTERLIFE: Duration = Duration::from_secs(1);
/// Not more processes are followed at once.
const MOST_PROCESSES: usize = 1024;

/// Names for the code of processes.
#[derive(Debug, Default)]
pub struct Jit {
    shared: Arc<Shared>,
    /// Once there is something to read.
    reader: Option<JoinHandle<()>>,
}

/// What the thread shares.
#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Tells the thread that it is the end.
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    codes: HashMap<i32, Code>,
    /// How many processes there were.
    lives: u32,
    named: HashMap<i64, Symbol>,
    finish: bool,
}

/// The code that a process has made.
#[derive(Debug)]
struct Code {
    /// Which process this is, among those that had this pid.
    life: u32,
    map: PerfMap,
    /// Frames without names.
    waiting: HashSet<Waiting>,
    /// When its process ended, or replaced its image.
    ended: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Waiting {
    frame: i64,
    /// Of the code: just before a return address.
    address: u64,
}

/// Which code it was that lay at an address: other code at the same address is another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Which {
    life: u32,
    generation: u32,
}

impl Jit {
    /// Which code lies at an address of a process now, as far as is known.
    pub fn which(&self, pid: i32, address: u64) -> Which {
        let mut state = self.shared.lock();
        let Some(code) = state.code(pid) else { return Which::default() };
        let generation = code.map.find(address).map_or(0, |function| function.generation);
        Which { life: code.life, generation }
    }

    /// Takes note of a frame in code that is of no file.
    pub fn saw(&mut self, pid: i32, address: u64, frame: i64) {
        let mut state = self.shared.lock();
        if state.named.contains_key(&frame) {
            return;
        }
        if let Some(code) = state.code(pid) {
            code.waiting.insert(Waiting { frame, address });
            let names = code.take_names();
            state.named.extend(names);
        }
        drop(state);
        if self.reader.is_none() {
            let shared = Arc::clone(&self.shared);
            let reader = std::thread::Builder::new().name("perf maps".to_owned());
            // Without a thread there are no names.
            self.reader = reader.spawn(move || read(&shared)).ok();
        }
    }

    /// Takes note that a process has ended, or has replaced its image: its code is gone, and its pid may be
    /// another's soon.
    pub fn ended(&self, pid: i32) {
        if let Some(code) = self.shared.lock().codes.get_mut(&pid) {
            code.ended.get_or_insert_with(Instant::now);
        }
    }

    /// Looks a last time; gives the names.
    pub fn finish(self) -> Vec<Symbol> {
        self.shared.lock().finish = true;
        self.shared.wake.notify_all();
        let until = Instant::now() + PATIENCE;
        while self.reader.as_ref().is_some_and(|reader| !reader.is_finished())
            && Instant::now() < until
        {
            std::thread::sleep(Duration::from_millis(2));
        }
        std::mem::take(&mut self.shared.lock().named).into_values().collect()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics with the lock")
    }
}

impl State {
    /// The code of the process that has this pid now.
    fn code(&mut self, pid: i32) -> Option<&mut Code> {
        let known = self.codes.get(&pid).is_some_and(|code| !code.is_gone());
        if !known {
            if self.codes.len() >= MOST_PROCESSES {
                return None;
            }
            self.lives += 1;
            let (life, map) = (self.lives, PerfMap::default());
            let code = Code { life, map, waiting: HashSet::new(), ended: None };
            self.codes.insert(pid, code);
        }
        self.codes.get_mut(&pid)
    }
}

impl Code {
    fn is_gone(&self) -> bool {
        self.ended.is_some_and(|ended| ended.elapsed() > AFTERLIFE)
    }

    /// The names of frames that have one by now.
    fn take_names(&mut self) -> Vec<(i64, Symbol)> {
        let mut named = Vec::new();
        self.waiting.retain(|Waiting { frame, address }| {
            let Some(function) = self.map.find(*address) else { return true };
            let symbol = Symbol {
                frame: *frame,
                depth: 0,
                name: function.name.to_string(),
                offset: i64::try_from(function.offset).ok(),
                file: None,
                line: None,
                module: None,
            };
            named.push((*frame, symbol));
            false
        });
        named
    }
}

/// The thread: looks at the maps until the end.
fn read(shared: &Shared) {
    let mut files: HashMap<u32, MapFile> = HashMap::new();
    loop {
        let state = shared.lock();
        let state = match state.finish {
            true => state,
            false => {
                let waited = shared.wake.wait_timeout(state, INTERVAL);
                waited.expect("nothing panics with the lock").0
            }
        };
        let last = state.finish;
        let codes: Vec<_> =
            state.codes.iter().map(|(pid, code)| (*pid, code.life, code.is_gone())).collect();
        drop(state);
        files.retain(|life, _| codes.iter().any(|(_, of, _)| of == life));
        for (pid, life, gone) in codes {
            let file = files.entry(life).or_insert_with(|| MapFile::of(pid));
            let more = grow(shared, file, pid, life, last || gone);
            if gone && !more {
                let mut state = shared.lock();
                if state.codes.get(&pid).is_some_and(|code| code.life == life) {
                    state.codes.remove(&pid);
                }
            }
        }
        if last {
            return;
        }
    }
}

/// Reads what a map has got, all of it if `last`. The result is whether there is more.
fn grow(shared: &Shared, file: &mut MapFile, pid: i32, life: u32, last: bool) -> bool {
    loop {
        let Some(grown) = file.grow() else { return false };
        let mut state = shared.lock();
        let Some(code) = state.codes.get_mut(&pid).filter(|code| code.life == life) else {
            return false;
        };
        if grown.anew {
            code.map.begin_anew();
        }
        code.map.add(&grown.text);
        let full = code.map.is_full();
        let names = code.take_names();
        state.named.extend(names);
        if full || !grown.more {
            return false;
        }
        if !last {
            return true;
        }
    }
}

/// The file with the map of a process, from the first frame on until its end.
#[derive(Debug, Default)]
struct MapFile {
    /// The process's `/tmp`, which outlives the process so.
    directory: Option<File>,
    name: String,
    owner: u32,
    /// When the process started, in seconds since the epoch: older maps are others'.
    started: i64,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    identity: (u64, u64),
    offset: u64,
}

/// What a map has got.
struct Grown {
    text: Vec<u8>,
    /// Whether it was begun anew.
    anew: bool,
    more: bool,
}

impl MapFile {
    /// Of a process that lives; one that is gone already has none.
    fn of(pid: i32) -> MapFile {
        MapFile::find(pid).unwrap_or_default()
    }

    fn find(pid: i32) -> Option<MapFile> {
        let process = Process::new(pid).ok()?;
        let status = process.status().ok()?;
        // As the process itself sees its pid.
        let own = status.nspid.and_then(|pids| pids.last().copied()).unwrap_or(pid);
        let since_boot = process.stat().ok()?.starttime / procfs::ticks_per_second();
        let started = booted()? + i64::try_from(since_boot).ok()?;
        let path = PathBuf::from(format!("/proc/{pid}/root/tmp"));
        let mut options = File::options();
        std::os::unix::fs::OpenOptionsExt::custom_flags(
            options.read(true),
            libc::O_PATH | libc::O_DIRECTORY,
        );
        Some(MapFile {
            directory: Some(options.open(path).ok()?),
            name: format!("perf-{own}.map"),
            owner: status.euid,
            started,
            open: None,
        })
    }

    /// What is there now, if it is a map that the process may have written. Nothing is waited for.
    fn look(&self) -> Option<(File, (u64, u64), u64)> {
        use std::os::fd::AsRawFd as _;
        let directory = self.directory.as_ref()?;
        let path = format!("/proc/self/fd/{}/{}", directory.as_raw_fd(), self.name);
        let mut options = File::options();
        std::os::unix::fs::OpenOptionsExt::custom_flags(
            options.read(true),
            libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY,
        );
        let file = options.open(path).ok()?;
        let metadata = file.metadata().ok()?;
        let own = metadata.uid() == self.owner || metadata.uid() == 0;
        let of_this_process = metadata.mtime() >= self.started - 1;
        (metadata.is_file() && own && of_this_process)
            .then(|| (file, (metadata.dev(), metadata.ino()), metadata.len()))
    }

    /// Reads what has come since the last time; `None` if nothing has.
    fn grow(&mut self) -> Option<Grown> {
        let mut anew = false;
        if let Some((file, identity, length)) = self.look() {
            let known = self.open.as_ref();
            if known.is_none_or(|open| open.identity != identity || open.offset > length) {
                anew = true;
                self.open = Some(Open { file, identity, offset: 0 });
            }
        }
        // It may have been removed since it was opened.
        let open = self.open.as_mut()?;
        let length = open.file.metadata().ok()?.len();
        let new = length.saturating_sub(open.offset).min(CHUNK);
        let mut text = vec![0; usize::try_from(new).ok()?];
        let read = open.file.read_at(&mut text, open.offset).ok()?;
        text.truncate(read);
        open.offset += read as u64;
        (read > 0).then_some(Grown { text, anew, more: open.offset < length })
    }
}

/// When the machine started, in seconds since the epoch.
fn booted() -> Option<i64> {
    let uptime = procfs::Uptime::current().ok()?.uptime_duration();
    let booted = SystemTime::now().checked_sub(uptime)?.duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(booted.ok()?.as_secs()).ok()
}

/// Whether code that is mapped from this has no file of its own, whatever the kernel calls it.
pub fn is_memory(module: &str) -> bool {
    ["/memfd:", "/dev/zero", "/SYSV"].iter().any(|start| module.starts_with(start))
        || module == "[anon]"
        || module == "[heap]"
}
