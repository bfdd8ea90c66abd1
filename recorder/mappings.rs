//! Which file is mapped at an address of a process, read from `/proc/PID/maps` while it lives.

use std::collections::HashMap;
use std::path::PathBuf;

use procfs::process::{MMPermissions, MMapPath, Process};

/// How often the map of one process is read. An address that is in no known mapping may be in a new
/// one (`dlopen`, a JIT's code), but a process with many such addresses must not keep us reading.
const MAX_READS: u32 = 16;

/// The executable mappings of processes, as far as they were looked at.
#[derive(Debug, Default)]
pub struct AddressSpaces {
    by_pid: HashMap<i32, Mappings>,
}

/// Where an address lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The mapped file, or a name such as `[vdso]`.
    pub module: String,
    /// The place in the file; unknown where the mapping is not of a file.
    pub offset: Option<i64>,
}

#[derive(Debug, Default)]
struct Mappings {
    ranges: Vec<Mapping>,
    reads: u32,
}

#[derive(Debug)]
struct Mapping {
    start: u64,
    end: u64,
    offset: u64,
    module: String,
    of_file: bool,
}

impl AddressSpaces {
    /// Where `address` lies in process `pid`; `None` if the process is gone, or nothing is there.
    pub fn locate(&mut self, pid: i32, address: u64) -> Option<Location> {
        let mappings = self.by_pid.entry(pid).or_default();
        if let Some(location) = mappings.find(address) {
            return Some(location);
        }
        if mappings.reads < MAX_READS {
            mappings.reads += 1;
            // A process that is gone, or whose map may not be read, has what was read before.
            if let Ok(ranges) = read(pid) {
                mappings.ranges = ranges;
            }
        }
        mappings.find(address)
    }

    /// Forgets what process `pid` had mapped: it is gone, or has a new image.
    pub fn forget(&mut self, pid: i32) {
        self.by_pid.remove(&pid);
    }

    /// All files that are known to be mapped somewhere.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        let ranges = self.by_pid.values().flat_map(|mappings| &mappings.ranges);
        ranges.filter(|mapping| mapping.of_file).map(|mapping| PathBuf::from(&mapping.module))
    }
}

impl Mappings {
    fn find(&self, address: u64) -> Option<Location> {
        let mapping =
            self.ranges.iter().find(|range| range.start <= address && address < range.end)?;
        let offset = (mapping.of_file).then(|| (address - mapping.start + mapping.offset) as i64);
        Some(Location { module: mapping.module.clone(), offset })
    }
}

fn read(pid: i32) -> procfs::ProcResult<Vec<Mapping>> {
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
            }
        })
        .collect())
}
