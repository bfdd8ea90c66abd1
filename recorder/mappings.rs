//! Which file is mapped at an address of a process.
//!
//! The kernel tells what processes map while they are recorded ([`CodeEvents`]); what they had mapped
//! before stands in `/proc/PID/maps`, which is read when it is first needed.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use procfs::process::{MMPermissions, MMapPath, Process};

use crate::binaries::{Binaries, Binary, Identity, Mapped, VDSO};
use crate::clocks;
use crate::code_events::{CodeEvent, CodeEvents, What};
use crate::finder::Newcomers;

/// How often the map of one process is read. An address that is in no known mapping may be in a new
/// one, but a process with many such addresses must not keep us reading.
const MAX_READS: u32 = 4;
/// How much later a stack may come than the rings were read after it was taken: a program that has not filled its
/// place in a ring yet holds up what is behind it.
const AFTERLIFE: Duration = Duration::from_secs(1);
/// Not more processes that ended are remembered: so many end in seconds only where nothing but that is done.
const MOST_ENDED: usize = 1 << 14;

/// What several threads know of the code that processes have mapped.
#[derive(Clone, Debug, Default)]
pub struct SharedSpaces(Arc<Mutex<AddressSpaces>>);

impl SharedSpaces {
    /// Shares it.
    pub fn new(spaces: AddressSpaces) -> SharedSpaces {
        SharedSpaces(Arc::new(Mutex::new(spaces)))
    }

    /// Uses it. What one thread has left half-done when it panicked is still true as far as it goes.
    pub fn with<T>(&self, use_it: impl FnOnce(&mut AddressSpaces) -> T) -> T {
        use_it(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The code that processes have mapped, as far as it was looked for.
#[derive(Debug, Default)]
pub struct AddressSpaces {
    by_pid: HashMap<i32, Mappings>,
    /// Those whose mappings have changed.
    changed: BTreeSet<i32>,
    binaries: Binaries,
    /// `None` where the kernel does not tell.
    events: Option<CodeEvents>,
    /// Processes that ended, and when, on the monotonic clock.
    ended: VecDeque<(u64, i32)>,
    /// All stacks from before this moment, on the monotonic clock, have been located.
    located_until: u64,
    /// Who is told of files of promising names.
    newcomers: Newcomers,
}

/// Where an address lies.
#[derive(Clone, Debug)]
pub struct Location {
    /// The mapped file, or a name such as `[vdso]`.
    pub module: String,
    /// The place in the file, or in the vdso; unknown where the mapping is of neither.
    pub offset: Option<i64>,
    /// The file.
    pub binary: Option<Arc<Binary>>,
}

/// What a process has mapped now.
#[derive(Clone, Debug)]
pub struct Changed {
    /// The process.
    pub pid: i32,
    /// What it runs; `None` where nobody knows.
    pub program: Option<Program>,
    /// Its code; nothing where it is gone.
    pub mappings: Vec<Mapping>,
}

#[derive(Clone, Debug, Default)]
struct Mappings {
    /// By their first addresses. None overlap.
    ranges: BTreeMap<u64, Mapping>,
    reads: u32,
    /// Whether nothing is missing.
    whole: bool,
    program: Option<Program>,
    /// What was mapped before it called exec, and until when, the oldest first: a stack may be looked at later
    /// than the news of an exec that came after it.
    before: VecDeque<(u64, BTreeMap<u64, Mapping>)>,
}

/// By what the program of a process is known, and told from others that it had or will have.
#[derive(Clone, Debug)]
pub enum Program {
    /// Its code is mapped so: the first that is mapped after an exec.
    Mapped(Mapping),
    /// Its code ends at this address, as `/proc/PID/stat` says.
    EndsAt(u64),
}

/// A part of an address space that has code.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// Its first address.
    pub start: u64,
    /// The address behind its last.
    pub end: u64,
    /// Where it begins in the file.
    pub offset: u64,
    /// The file; `None` where it is of none.
    pub binary: Option<Arc<Binary>>,
    /// The file's path, or a name such as `[vdso]`.
    module: Arc<str>,
    /// Since when this is known, on the monotonic clock.
    since: u64,
}

impl AddressSpaces {
    /// Listens to `events`, which should have begun before any process that matters.
    /// `newcomers` is told of files that tracers may want.
    pub fn listening(events: Option<CodeEvents>, newcomers: Newcomers) -> AddressSpaces {
        AddressSpaces { events, newcomers, ..AddressSpaces::default() }
    }

    /// Takes note of what has happened. Called often enough, nothing is lost.
    ///
    /// An event of one CPU may be seen before an older one of another: so what is known from after an
    /// exec or a fork stays.
    pub fn catch_up(&mut self) {
        let events = self.events.as_mut().map(CodeEvents::take).unwrap_or_default();
        events.into_iter().for_each(|event| self.apply(event));
        let long_ago = self.long_ago();
        while let Some((when, pid)) = self.ended.front().copied()
            && (when < long_ago || self.ended.len() > MOST_ENDED)
        {
            self.ended.pop_front();
            self.by_pid.remove(&pid);
            self.changed.insert(pid);
        }
    }

    /// Takes note that all stacks from before `ts`, on the monotonic clock, have been located. Until then what
    /// has ended is remembered, however long that takes: whoever reads the rings may have to wait for a disk.
    pub fn located_until(&mut self, ts: u64) {
        self.located_until = ts;
    }

    /// No stack from before this moment will be asked for.
    fn long_ago(&self) -> u64 {
        self.located_until.saturating_sub(AFTERLIFE.as_nanos() as u64)
    }

    fn apply(&mut self, event: CodeEvent) {
        match event.what {
            What::Mapped { start, length, offset, name, identity } => {
                if identity.is_some() && name != VDSO {
                    self.newcomers.mapped(event.pid, &name);
                }
                let (end, since) = (start.saturating_add(length), event.ts);
                let mapped = Mapped { pid: event.pid, addresses: (start, end), path: &name };
                let binary = identity.map(|identity| self.binaries.of(&identity, mapped));
                // The kernel counts pages of the vdso from its own start.
                let offset = if name == VDSO { 0 } else { offset };
                let mapping =
                    Mapping { start, end, offset, binary, module: told_name(&name).into(), since };
                let mappings = self.by_pid.entry(event.pid).or_default();
                mappings.began_with(&mapping);
                mappings.map(mapping);
                self.changed.insert(event.pid);
            }
            What::Executed => {
                let long_ago = self.long_ago();
                let mappings = self.by_pid.entry(event.pid).or_default();
                mappings.keep_until(event.ts, long_ago);
                mappings.ranges.retain(|_, range| range.since > event.ts);
                mappings.reads = MAX_READS;
                mappings.whole = true;
                let first = mappings.ranges.values().min_by_key(|range| range.since);
                mappings.program = first.cloned().map(Program::Mapped);
                self.changed.insert(event.pid);
            }
            What::Forked(parent) => {
                let mut copy = self.by_pid.get(&parent).cloned().unwrap_or_default();
                copy.ranges.retain(|_, range| range.since <= event.ts);
                copy.before.clear();
                let own = self.by_pid.remove(&event.pid).unwrap_or_default().ranges;
                own.into_values()
                    .filter(|range| range.since > event.ts)
                    .for_each(|range| copy.map(range));
                self.by_pid.insert(event.pid, copy);
                self.changed.insert(event.pid);
                self.ended.retain(|(_, pid)| *pid != event.pid);
            }
            What::Ended => self.ended.push_back((event.ts, event.pid)),
            // What they were stands in /proc, for those that live still.
            What::Lost => {
                self.by_pid.values_mut().for_each(|mappings| {
                    mappings.reads = 0;
                    mappings.whole = false;
                });
                self.changed.extend(self.by_pid.keys());
            }
        }
    }

    /// Where `address` lay in process `pid` at `ts` on the monotonic clock; `None` if nothing is known to have
    /// been there.
    pub fn locate(&mut self, pid: i32, address: u64, ts: u64) -> Option<Location> {
        self.catch_up();
        let mappings = self.by_pid.entry(pid).or_default();
        if let Some((_, ranges)) = mappings.before.iter().find(|(until, _)| ts < *until) {
            return find(ranges, address);
        }
        if let Some(location) = find(&mappings.ranges, address) {
            return Some(location);
        }
        if mappings.reads < MAX_READS {
            mappings.reads += 1;
            // A process that is gone, or whose map may not be read, has what was known before. The map
            // of one that nobody has waited for is empty.
            if let Ok((ranges, program)) = read(pid, &mut self.binaries)
                && !ranges.is_empty()
            {
                mappings.ranges = ranges.into_iter().map(|range| (range.start, range)).collect();
                mappings.program = program;
                mappings.whole = true;
                self.changed.insert(pid);
            }
        }
        find(&mappings.ranges, address)
    }

    /// Reads what process `pid` has mapped by now.
    pub fn look_at(&mut self, pid: i32) {
        let Ok((ranges, program)) = read(pid, &mut self.binaries) else { return };
        let mappings = self.by_pid.entry(pid).or_default();
        ranges.into_iter().for_each(|range| mappings.map(range));
        mappings.program = program;
        mappings.whole = true;
        self.changed.insert(pid);
    }

    /// Takes it that the mappings of process `pid` have changed, if anything is known of it.
    pub fn look_again(&mut self, pid: i32) {
        if self.by_pid.contains_key(&pid) {
            self.changed.insert(pid);
        }
    }

    /// The processes whose mappings have changed since the last call.
    pub fn take_changed(&mut self) -> Vec<Changed> {
        let changed = std::mem::take(&mut self.changed);
        for pid in &changed {
            if self.by_pid.get(pid).is_some_and(|mappings| !mappings.whole) {
                self.look_at(*pid);
            }
        }
        self.changed.clear();
        let now = |pid: i32| match self.by_pid.get(&pid) {
            Some(its) => Changed {
                pid,
                program: its.program.clone(),
                mappings: its.ranges.values().cloned().collect(),
            },
            None => Changed { pid, program: None, mappings: Vec::new() },
        };
        changed.into_iter().map(now).collect()
    }

    /// Can be read when something has happened.
    pub fn descriptors(&self) -> Vec<RawFd> {
        self.events.as_ref().map_or_else(Vec::new, CodeEvents::descriptors)
    }

    /// Takes note that process `pid` has replaced its image.
    pub fn executed(&mut self, pid: i32) {
        match self.events {
            Some(_) => self.catch_up(),
            None => _ = self.by_pid.remove(&pid),
        }
    }

    /// Takes note that process `pid` has ended: its pid may be another's soon.
    pub fn ended(&mut self, pid: i32) {
        if self.events.is_none() {
            self.by_pid.remove(&pid);
        }
    }

    /// The file at `path`, which is going to be mapped.
    pub fn binary(&mut self, path: &std::path::Path) -> Option<Arc<Binary>> {
        self.binaries.at(path)
    }

    /// Lets go of files that no process has mapped and nothing else refers to.
    pub fn let_go(&mut self) {
        self.binaries.let_go();
    }

    /// All files that were seen.
    pub fn binaries(&self) -> Vec<Arc<Binary>> {
        self.binaries.all().cloned().collect()
    }
}

impl Mappings {
    /// Takes note of a mapping that is the program, if it is the first one since the exec.
    fn began_with(&mut self, mapping: &Mapping) {
        let is_first = match &self.program {
            Some(Program::EndsAt(_)) => false,
            Some(Program::Mapped(first)) => mapping.since < first.since,
            None => self.whole,
        };
        if is_first {
            self.program = Some(Program::Mapped(mapping.clone()));
        }
    }

    /// Adds a mapping, in place of what was there.
    fn map(&mut self, new: Mapping) {
        if new.start >= new.end {
            return;
        }
        let before = self.ranges.range(..new.start).next_back();
        let from = before.filter(|(_, old)| old.end > new.start).map_or(new.start, |(at, _)| *at);
        let overlapped: Vec<u64> = self.ranges.range(from..new.end).map(|(at, _)| *at).collect();
        for at in overlapped {
            let Some(old) = self.ranges.remove(&at) else { continue };
            if old.start < new.start {
                self.ranges.insert(old.start, Mapping { end: new.start, ..old.clone() });
            }
            if new.end < old.end {
                let offset = old.offset + (new.end - old.start);
                self.ranges.insert(new.end, Mapping { start: new.end, offset, ..old });
            }
        }
        self.ranges.insert(new.start, new);
    }

    /// Keeps what was mapped until `ts`, when the process called exec. What was replaced before `long_ago` goes.
    fn keep_until(&mut self, ts: u64, long_ago: u64) {
        const MOST: usize = 64;
        let mut ranges = self.ranges.clone();
        ranges.retain(|_, range| range.since <= ts);
        self.before.push_back((ts, ranges));
        while self.before.len() > MOST || self.before.front().is_some_and(|(at, _)| *at < long_ago)
        {
            self.before.pop_front();
        }
    }
}

fn find(ranges: &BTreeMap<u64, Mapping>, address: u64) -> Option<Location> {
    let (_, mapping) = ranges.range(..=address).next_back()?;
    let mapping = Some(mapping).filter(|mapping| address < mapping.end)?;
    let offset =
        mapping.binary.is_some().then(|| (address - mapping.start + mapping.offset) as i64);
    let module = mapping.module.to_string();
    Some(Location { module, offset, binary: mapping.binary.clone() })
}

/// What the kernel calls a mapping, as `/proc` has it.
fn told_name(name: &str) -> String {
    match name {
        "//anon" => "[anon]".to_owned(),
        name if name.starts_with('/') && !name.starts_with("//") => name.to_owned(),
        name if name.starts_with('[') => name.to_owned(),
        name => format!("[{name}]"),
    }
}

/// What process `pid` has mapped, and its program.
fn read(pid: i32, binaries: &mut Binaries) -> procfs::ProcResult<(Vec<Mapping>, Option<Program>)> {
    let since = clocks::monotonic() as u64;
    let process = Process::new(pid)?;
    let before = process.stat()?.endcode;
    let maps = process.maps()?;
    // It may be another program's map if it has called exec meanwhile. Who may not know reads 0 or 1.
    let code_end = Some(before)
        .filter(|end| *end > 1 && process.stat().is_ok_and(|stat| stat.endcode == *end));
    let executable = maps.into_iter().filter(|map| map.perms.contains(MMPermissions::EXECUTE));
    let mapping = |map: procfs::process::MemoryMap| {
        let (start, end) = map.address;
        let (module, identity) = match map.pathname {
            MMapPath::Path(path) => {
                let (major, minor) = (map.dev.0 as u32, map.dev.1 as u32);
                let identity = Identity::Inode(major, minor, map.inode);
                (path.to_string_lossy().into_owned(), Some(identity))
            }
            MMapPath::Vdso => {
                // Processes of 32 bits have another.
                (VDSO.to_owned(), (start > u64::from(u32::MAX)).then_some(Identity::Vdso))
            }
            MMapPath::Heap => ("[heap]".to_owned(), None),
            MMapPath::Stack | MMapPath::TStack(_) => ("[stack]".to_owned(), None),
            MMapPath::Vvar => ("[vvar]".to_owned(), None),
            MMapPath::Vsyscall => ("[vsyscall]".to_owned(), None),
            MMapPath::Rollup => ("[rollup]".to_owned(), None),
            MMapPath::Anonymous => ("[anon]".to_owned(), None),
            MMapPath::Vsys(key) => (format!("[SYSV{key:08x}]"), None),
            MMapPath::Other(name) => (format!("[{name}]"), None),
        };
        let mapped = Mapped { pid, addresses: (start, end), path: &module };
        let binary = identity.map(|identity| binaries.of(&identity, mapped));
        Mapping { start, end, offset: map.offset, binary, module: module.into(), since }
    };
    Ok((executable.map(mapping).collect(), code_end.map(Program::EndsAt)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(start: u64, end: u64, offset: u64, module: &str) -> Mapping {
        let binary = Binary { shown: module.to_owned(), build_id: None, file: None };
        let binary = Some(Arc::new(binary));
        Mapping { start, end, offset, binary, module: module.into(), since: 0 }
    }

    #[test]
    fn what_is_mapped_later_is_in_place_of_what_was_there() {
        let mut mappings = Mappings::default();
        mappings.map(mapping(0x1000, 0x9000, 0x100, "a"));
        mappings.map(mapping(0x3000, 0x4000, 0, "b"));
        let at = |address| {
            let location = find(&mappings.ranges, address)?;
            Some((location.module, location.offset?))
        };
        assert_eq!(at(0x2fff), Some(("a".to_owned(), 0x20ff)));
        assert_eq!(at(0x3000), Some(("b".to_owned(), 0)));
        assert_eq!(at(0x4000), Some(("a".to_owned(), 0x3100)));
        assert_eq!(at(0x9000), None);
    }

    #[test]
    fn an_exec_that_is_seen_late_leaves_what_came_after_it() {
        let mut spaces = AddressSpaces::default();
        for (ts, module) in [(1, "old"), (3, "new")] {
            let start = ts * 0x1000;
            let (name, identity) = (format!("/{module}"), Some(Identity::BuildId(vec![ts as u8])));
            let what = What::Mapped { start, length: 0x1000, offset: 0, name, identity };
            spaces.apply(CodeEvent { ts, pid: 7, what });
        }
        spaces.apply(CodeEvent { ts: 2, pid: 7, what: What::Executed });
        assert!(spaces.locate(7, 0x1000, 4).is_none());
        assert_eq!(spaces.locate(7, 0x3000, 4).unwrap().module, "/new");
        assert_eq!(spaces.locate(7, 0x1000, 1).unwrap().module, "/old", "before the exec");
        spaces.apply(CodeEvent { ts: 2, pid: 8, what: What::Forked(7) });
        assert!(spaces.locate(8, 0x3000, 4).is_none(), "it was forked before");
    }

    #[test]
    fn what_ended_is_remembered_until_its_stacks_were_located() {
        let second = AFTERLIFE.as_nanos() as u64;
        let mut spaces = AddressSpaces::default();
        // A number that no process here has.
        let pid = i32::MAX;
        let (name, identity) = ("/gone".to_owned(), Some(Identity::BuildId(vec![7])));
        let what = What::Mapped { start: 0x1000, length: 0x1000, offset: 0, name, identity };
        spaces.apply(CodeEvent { ts: second, pid, what });
        spaces.apply(CodeEvent { ts: 2 * second, pid, what: What::Ended });
        std::thread::sleep(AFTERLIFE + Duration::from_millis(1));
        assert_eq!(spaces.locate(pid, 0x1000, second + 1).unwrap().module, "/gone");
        spaces.located_until(3 * second);
        assert!(spaces.locate(pid, 0x1000, second + 1).is_some());
        spaces.located_until(3 * second + 1);
        assert!(spaces.locate(pid, 0x1000, second + 1).is_none());
    }

    #[test]
    fn a_child_that_is_gone_had_mapped_its_program() {
        let Ok(events) = CodeEvents::open(None) else {
            eprintln!("skipped: perf events are not available");
            return;
        };
        let mut spaces = AddressSpaces::listening(Some(events), Newcomers::default());
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id() as i32;
        child.wait().unwrap();
        spaces.catch_up();
        let libc = spaces.by_pid[&pid].ranges.values().find(|range| range.module.contains("libc"));
        let (start, offset) = libc.map(|libc| (libc.start, libc.offset)).unwrap();
        assert_eq!(
            spaces.locate(pid, start + 5, u64::MAX).unwrap().offset,
            Some(offset as i64 + 5)
        );
    }
}
