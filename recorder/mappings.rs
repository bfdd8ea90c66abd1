//! Which file is mapped at an address of a process.
//!
//! The kernel tells what processes map while they are recorded ([`CodeEvents`]); what they had mapped
//! before stands in `/proc/PID/maps`, which is read when it is first needed.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use procfs::process::{MMPermissions, MMapPath, Process};

use crate::clocks;
use crate::code_events::{CodeEvent, CodeEvents, What};
use crate::finder::Newcomers;
use crate::vdso;

/// How often the map of one process is read. An address that is in no known mapping may be in a new
/// one, but a process with many such addresses must not keep us reading.
const MAX_READS: u32 = 4;
/// How long a process that ended is remembered: stacks of its last moments are still in the rings.
const AFTERLIFE: Duration = Duration::from_secs(1);

/// The code that processes have mapped, as far as it was looked for.
#[derive(Debug, Default)]
pub struct AddressSpaces {
    by_pid: HashMap<i32, Mappings>,
    /// `None` where the kernel does not tell.
    events: Option<CodeEvents>,
    ended: VecDeque<(Instant, i32)>,
    /// Who is told of files of promising names.
    newcomers: Newcomers,
}

/// Where an address lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The mapped file, or a name such as `[vdso]`.
    pub module: String,
    /// The place in the file, or in the vdso; unknown where the mapping is of neither.
    pub offset: Option<i64>,
}

#[derive(Clone, Debug, Default)]
struct Mappings {
    ranges: Vec<Mapping>,
    reads: u32,
}

#[derive(Clone, Debug)]
struct Mapping {
    start: u64,
    end: u64,
    offset: u64,
    module: String,
    of_file: bool,
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
        while let Some((when, pid)) = self.ended.front().copied()
            && when.elapsed() > AFTERLIFE
        {
            self.ended.pop_front();
            self.by_pid.remove(&pid);
        }
    }

    fn apply(&mut self, event: CodeEvent) {
        match event.what {
            What::Mapped { start, length, offset, name } => {
                let (module, of_file) = told_name(&name);
                if of_file {
                    self.newcomers.mapped(event.pid, &module);
                }
                let end = start.saturating_add(length);
                let mappings = self.by_pid.entry(event.pid).or_default();
                let since = event.ts;
                mappings.map(Mapping { start, end, offset, module, of_file, since });
            }
            What::Executed => {
                let mappings = self.by_pid.entry(event.pid).or_default();
                mappings.ranges.retain(|range| range.since > event.ts);
                mappings.reads = MAX_READS;
            }
            What::Forked(parent) => {
                let mut copy = self.by_pid.get(&parent).cloned().unwrap_or_default();
                copy.ranges.retain(|range| range.since <= event.ts);
                let own = self.by_pid.remove(&event.pid).unwrap_or_default().ranges;
                own.into_iter()
                    .filter(|range| range.since > event.ts)
                    .for_each(|range| copy.map(range));
                self.by_pid.insert(event.pid, copy);
                self.ended.retain(|(_, pid)| *pid != event.pid);
            }
            What::Ended => self.ended.push_back((Instant::now(), event.pid)),
            // What they were stands in /proc, for those that live still.
            What::Lost => self.by_pid.values_mut().for_each(|mappings| mappings.reads = 0),
        }
    }

    /// Where `address` lies in process `pid`; `None` if nothing is known to be there.
    pub fn locate(&mut self, pid: i32, address: u64) -> Option<Location> {
        if let Some(location) = self.by_pid.get(&pid).and_then(|mappings| mappings.find(address)) {
            return Some(location);
        }
        self.catch_up();
        let mappings = self.by_pid.entry(pid).or_default();
        if let Some(location) = mappings.find(address) {
            return Some(location);
        }
        if mappings.reads < MAX_READS {
            mappings.reads += 1;
            // A process that is gone, or whose map may not be read, has what was known before. The map
            // of one that nobody has waited for is empty.
            if let Ok(ranges) = read(pid)
                && !ranges.is_empty()
            {
                mappings.ranges = ranges;
            }
        }
        mappings.find(address)
    }

    /// Reads what process `pid` has mapped by now.
    pub fn look_at(&mut self, pid: i32) {
        let ranges = read(pid).unwrap_or_default();
        let mappings = self.by_pid.entry(pid).or_default();
        ranges.into_iter().for_each(|range| mappings.map(range));
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

    /// All files that are known to be mapped somewhere.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        let ranges = self.by_pid.values().flat_map(|mappings| &mappings.ranges);
        ranges.filter(|mapping| mapping.of_file).map(|mapping| PathBuf::from(&mapping.module))
    }
}

impl Mappings {
    /// Adds a mapping, in place of what was there.
    fn map(&mut self, new: Mapping) {
        let mut kept = Vec::with_capacity(self.ranges.len() + 2);
        for old in self.ranges.drain(..) {
            if old.end <= new.start || new.end <= old.start {
                kept.push(old);
                continue;
            }
            if old.start < new.start {
                kept.push(Mapping { end: new.start, ..old.clone() });
            }
            if new.end < old.end {
                let offset = old.offset + (new.end - old.start);
                kept.push(Mapping { start: new.end, offset, ..old });
            }
        }
        kept.push(new);
        self.ranges = kept;
    }

    fn find(&self, address: u64) -> Option<Location> {
        let mapping =
            self.ranges.iter().find(|range| range.start <= address && address < range.end)?;
        let offset = match mapping.module.as_str() {
            vdso::NAME => Some((address - mapping.start) as i64),
            _ => mapping.of_file.then(|| (address - mapping.start + mapping.offset) as i64),
        };
        Some(Location { module: mapping.module.clone(), offset })
    }
}

/// What the kernel calls a mapping, as `/proc` has it, and whether it is a file.
fn told_name(name: &str) -> (String, bool) {
    match name {
        "//anon" => ("[anon]".to_owned(), false),
        name if name.starts_with('/') && !name.starts_with("//") => (name.to_owned(), true),
        name if name.starts_with('[') => (name.to_owned(), false),
        name => (format!("[{name}]"), false),
    }
}

fn read(pid: i32) -> procfs::ProcResult<Vec<Mapping>> {
    let since = clocks::monotonic() as u64;
    let maps = Process::new(pid)?.maps()?;
    let executable = maps.into_iter().filter(|map| map.perms.contains(MMPermissions::EXECUTE));
    Ok(executable
        .map(|map| {
            let (module, of_file) = match map.pathname {
                MMapPath::Path(path) => (path.to_string_lossy().into_owned(), true),
                MMapPath::Heap => ("[heap]".to_owned(), false),
                MMapPath::Stack | MMapPath::TStack(_) => ("[stack]".to_owned(), false),
                MMapPath::Vdso => ("[vdso]".to_owned(), false),
                MMapPath::Vvar => ("[vvar]".to_owned(), false),
                MMapPath::Vsyscall => ("[vsyscall]".to_owned(), false),
                MMapPath::Rollup => ("[rollup]".to_owned(), false),
                MMapPath::Anonymous => ("[anon]".to_owned(), false),
                MMapPath::Vsys(key) => (format!("[SYSV{key:08x}]"), false),
                MMapPath::Other(name) => (format!("[{name}]"), false),
            };
            Mapping {
                start: map.address.0,
                end: map.address.1,
                offset: map.offset,
                module,
                of_file,
                since,
            }
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(start: u64, end: u64, offset: u64, module: &str) -> Mapping {
        Mapping { start, end, offset, module: module.to_owned(), of_file: true, since: 0 }
    }

    #[test]
    fn what_is_mapped_later_is_in_place_of_what_was_there() {
        let mut mappings = Mappings::default();
        mappings.map(mapping(0x1000, 0x9000, 0x100, "a"));
        mappings.map(mapping(0x3000, 0x4000, 0, "b"));
        let at = |address| {
            let location = mappings.find(address)?;
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
            let what =
                What::Mapped { start, length: 0x1000, offset: 0, name: format!("/{module}") };
            spaces.apply(CodeEvent { ts, pid: 7, what });
        }
        spaces.apply(CodeEvent { ts: 2, pid: 7, what: What::Executed });
        assert_eq!(spaces.locate(7, 0x1000), None);
        assert_eq!(spaces.locate(7, 0x3000).unwrap().module, "/new");
        spaces.apply(CodeEvent { ts: 2, pid: 8, what: What::Forked(7) });
        assert_eq!(spaces.locate(8, 0x3000), None, "it was forked before");
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
        let libc = spaces.by_pid[&pid].ranges.iter().find(|range| range.module.contains("libc"));
        let (start, offset) = libc.map(|libc| (libc.start, libc.offset)).unwrap();
        assert_eq!(spaces.locate(pid, start + 5).unwrap().offset, Some(offset as i64 + 5));
    }
}
