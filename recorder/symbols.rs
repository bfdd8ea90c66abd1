//! Names for frames, at the end of the recording, where the binaries are.
//!
//! A file counts only if it has the build id that the frame has: the one at the same path may have been
//! replaced since. Kernel code is named by `/proc/kallsyms`, of the end and of the time when the
//! recorder's own programs were attached.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use lookback_schemas::symbols::kallsyms::Kallsyms;
use lookback_schemas::symbols::tree::{self, Kind};
use lookback_schemas::symbols::{self, Binaries, Found, Limits, Resolved, elf};
use lookback_schemas::tables::Frame;

use crate::binaries::Binary;
use crate::stacks::Frames;

/// Whoever records does not wait longer for names.
const LIMITS: Limits = Limits { file: Duration::from_secs(60), total: Duration::from_mins(5) };

/// The kernel's names of the time when the programs were attached: the recorder's own are gone at the
/// end. Reading them takes a tenth of a second, so a thread does that.
#[derive(Debug)]
pub struct Earlier(JoinHandle<Option<Kallsyms>>);

impl Earlier {
    /// Begins to read them.
    pub fn read() -> Earlier {
        Earlier(std::thread::spawn(|| Kallsyms::now().ok()))
    }

    /// Waits for them. Until then the programs must stay: what is not in the list would be named after its
    /// neighbour.
    pub fn names(self) -> Option<Kallsyms> {
        self.0.join().ok().flatten()
    }
}

/// Resolves the frames, as far as their files can be found; gives also those files, by build id.
pub fn resolve(frames: &Frames, earlier: Option<Kallsyms>) -> (Resolved, BTreeMap<String, Found>) {
    let mut files = Files::new(&frames.binaries);
    let mut resolved = symbols::resolve(&frames.frames, &mut files, LIMITS);
    if frames.frames.iter().any(|frame| frame.kernel) {
        let mut kernel = Kallsyms::now().unwrap_or_default();
        if let Some(earlier) = earlier {
            kernel.add_programs_of(earlier);
        }
        resolved.symbols.extend(symbols::resolve_kernel(&frames.frames, &kernel));
    }
    resolved.symbols.extend(frames.made.iter().cloned());
    resolved.symbols.sort_by_key(|symbol| (symbol.frame, symbol.depth));
    (resolved, symbols::files(&frames.frames, &mut files))
}

/// Finds the files of frames.
struct Files {
    /// Those that are open, by build id and by path.
    open: HashMap<String, PathBuf>,
    build_ids: HashMap<PathBuf, Option<String>>,
}

impl Files {
    fn new(binaries: &[Arc<Binary>]) -> Files {
        let mut open = HashMap::new();
        for binary in binaries {
            let Some(path) = binary.path() else { continue };
            let name = binary.build_id.as_deref().map_or_else(|| binary.shown.clone(), elf::hex);
            open.entry(name).or_insert(path);
        }
        Files { open, build_ids: HashMap::new() }
    }

    fn build_id(&mut self, path: &Path) -> Option<String> {
        if let Some(known) = self.build_ids.get(path) {
            return known.clone();
        }
        // A file that is gone, or is no ELF file, has none.
        let build_id = elf::build_id(path);
        self.build_ids.insert(path.to_owned(), build_id.clone());
        build_id
    }

    /// The file at its own path, if that has the build id still: what was stripped is looked for beside it.
    fn executable(&mut self, frame: &Frame) -> Option<PathBuf> {
        frame.file_offset?;
        let module = frame.module.as_deref()?;
        if let Some(build_id) = &frame.build_id {
            if self.build_id(Path::new(module)).as_ref() == Some(build_id) {
                return Some(PathBuf::from(module));
            }
            return self.open.get(build_id).cloned();
        }
        self.open.get(module).cloned()
    }
}

impl Binaries for Files {
    fn find(&mut self, frame: &Frame) -> Option<Found> {
        let path = self.executable(frame)?;
        let build_id = frame.build_id.as_deref();
        let system = Path::new(symbols::SYSTEM);
        let debug = build_id.and_then(|id| tree::in_place(system, id, Kind::Debug));
        Some(Found { path, debug })
    }
}
