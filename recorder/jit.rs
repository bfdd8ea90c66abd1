//! Names of frames in code that processes have made themselves.
//!
//! Such a frame lies in no file; what it is called says the process's [map](perf_map), for a while. So the
//! maps are read as they grow, and a frame gets the name of the time at which it was first seen. Where the
//! map has no name yet it may have one later: some runtimes write a bit late, Java not before it ends. When
//! other code takes the place, frames there are others.
//!
//! A thread of its own reads, since nobody knows what is mounted where a process has its `/tmp`: a file
//! system that does not answer must not keep events from being drained.

mod map_file;

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use lookback_schemas::tables::Symbol;

use crate::perf_map::PerfMap;
use map_file::{MapFile, seconds};

/// How often maps are looked at.
const INTERVAL: Duration = Duration::from_millis(100);
/// How long the last look may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// What happened on one CPU may be heard so much later than what happened on another.
const NEWS: Duration = Duration::from_millis(250);
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
    waiting: HashMap<i64, Waiting>,
    /// When the process was last seen to replace its image, in seconds since the epoch: older maps are of
    /// what it was before.
    executed: i64,
    /// When the process ended.
    ended: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    /// Of the code: just before a return address.
    address: u64,
    since: Instant,
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
            code.waiting.insert(frame, Waiting { address, since: Instant::now() });
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

    /// Takes note that a process has replaced its image: its code is gone.
    pub fn executed(&self, pid: i32) {
        let mut state = self.shared.lock();
        let life = state.lives + 1;
        let Some(code) = state.codes.get_mut(&pid) else { return };
        // Stacks of the new image may come before the news of it, from another CPU.
        code.waiting.retain(|_, waiting| waiting.since.elapsed() < NEWS);
        code.map = PerfMap::default();
        code.executed = seconds(SystemTime::now()).unwrap_or_default() - 1;
        code.life = life;
        state.lives = life;
    }

    /// Takes note that a process has ended: its pid may be another's soon.
    pub fn ended(&self, pid: i32) {
        if let Some(code) = self.shared.lock().codes.get_mut(&pid) {
            code.ended.get_or_insert_with(Instant::now);
        }
    }

    /// Looks a last time; gives the names.
    pub fn finish(mut self) -> Vec<Symbol> {
        self.shared.lock().finish = true;
        self.shared.wake.notify_all();
        let until = Instant::now() + PATIENCE;
        while self.reader.as_ref().is_some_and(|reader| !reader.is_finished())
            && Instant::now() < until
        {
            std::thread::sleep(Duration::from_millis(2));
        }
        self.take()
    }

    /// The names that were found since they were last taken.
    pub fn take(&mut self) -> Vec<Symbol> {
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
            let code = Code { life, map, waiting: HashMap::new(), executed: 0, ended: None };
            self.codes.insert(pid, code);
        }
        self.codes.get_mut(&pid)
    }
}

impl Code {
    /// Which process it is, and since when it has its image.
    fn identity(&self) -> (u32, i64) {
        (self.life, self.executed)
    }

    fn is_gone(&self) -> bool {
        self.ended.is_some_and(|ended| ended.elapsed() > AFTERLIFE)
    }

    /// The names of frames that have one by now.
    fn take_names(&mut self) -> Vec<(i64, Symbol)> {
        let mut named = Vec::new();
        self.waiting.retain(|frame, Waiting { address, .. }| {
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
            state.codes.iter().map(|(pid, code)| (*pid, code.identity(), code.is_gone())).collect();
        drop(state);
        files.retain(|life, _| codes.iter().any(|(_, (of, _), _)| of == life));
        for (pid, (life, executed), gone) in codes {
            let file = files.entry(life).or_insert_with(|| MapFile::of(pid, executed));
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

/// Whether code that is mapped from this has no file of its own, whatever the kernel calls it.
pub fn is_memory(module: &str) -> bool {
    ["/memfd:", "/dev/zero", "/SYSV"].iter().any(|start| module.starts_with(start))
        || module == "[anon]"
        || module == "[heap]"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_of_a_new_image_is_not_forgotten_when_the_exec_is_heard_of_later() {
        let mut jit = Jit::default();
        // This process, under a number that it does not have elsewhere.
        let pid = i32::try_from(std::process::id()).unwrap();
        let path = format!("/tmp/perf-{pid}.map");
        jit.saw(pid, 0x1004, 7);
        let before = jit.which(pid, 0x1004);
        jit.executed(pid);
        assert_ne!(jit.which(pid, 0x1004), before, "other code");
        std::fs::write(&path, "1000 10 late\n").unwrap();
        // Longer than a process is remembered that has ended.
        std::thread::sleep(AFTERLIFE + INTERVAL);
        let names = jit.finish();
        let _ = std::fs::remove_file(&path);
        let names: Vec<_> = names.iter().map(|name| (name.frame, name.name.as_str())).collect();
        assert_eq!(names, [(7, "late")]);
    }
}
