//! Names for frames, at the end of the recording, where the binaries are.
//!
//! blazesym reads symbol tables and debug information. A file counts only if it has the build id that
//! the frame has: the one at the same path may have been replaced since.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use blazesym::helper::read_elf_build_id;
use blazesym::symbolize::source::{Elf, Kernel, Source};
use blazesym::symbolize::{CodeInfo, Input, Symbolized, Symbolizer};
use lookback_schemas::cell::RowBuilder as _;
use lookback_schemas::tables::{Frame, Symbol, symbol};

use crate::binaries::Binary;
use crate::stacks::{Frames, hex};

/// Resolves the frames, as far as their files can be found.
pub fn resolve(frames: &Frames) -> arrow::record_batch::RecordBatch {
    let mut rows = symbol::Builder::default();
    let symbolizer = Symbolizer::new();
    let mut files = Files::new(&frames.binaries);
    let mut by_file: BTreeMap<Option<PathBuf>, Vec<&Frame>> = BTreeMap::new();
    for frame in &frames.frames {
        if frame.kernel {
            by_file.entry(None).or_default().push(frame);
        } else if let Some(file) = files.of(frame) {
            by_file.entry(Some(file)).or_default().push(frame);
        }
    }
    for (file, frames) in by_file {
        // The code that called lies before its return address.
        let place = |frame: &&Frame| {
            let place = frame.file_offset.unwrap_or(frame.address) as u64;
            place - u64::from(frame.return_address)
        };
        let places: Vec<u64> = frames.iter().map(place).collect();
        let resolved = match &file {
            Some(path) => {
                symbolizer.symbolize(&Source::Elf(Elf::new(path)), Input::FileOffset(&places))
            }
            None => {
                symbolizer.symbolize(&Source::Kernel(Kernel::default()), Input::AbsAddr(&places))
            }
        };
        // A file that cannot be read as ELF leaves its frames without names.
        for (frame, symbolized) in frames.iter().zip(resolved.unwrap_or_default()) {
            append(&mut rows, frame, &symbolized);
        }
    }
    rows.finish()
}

/// No function of the kernel is larger, in bytes.
const LARGEST_FUNCTION: usize = 1 << 20;

fn append(rows: &mut symbol::Builder, frame: &Frame, symbolized: &Symbolized<'_>) {
    let Symbolized::Sym(sym) = symbolized else { return };
    // kallsyms has no sizes: an address beyond all functions, in a BPF program's code for one, is given to
    // the last of them.
    if frame.kernel && sym.offset > LARGEST_FUNCTION {
        return;
    }
    let mut append =
        |depth: usize, name: &str, offset: Option<i64>, code: Option<&CodeInfo<'_>>| {
            let row = Symbol {
                frame: frame.id,
                depth: depth as i32,
                name: name.to_owned(),
                offset,
                file: code.map(|code| code.to_path().to_string_lossy().into_owned()),
                line: code.and_then(|code| code.line).map(|line| line as i32),
            };
            rows.append(&row, &Default::default());
        };
    append(0, &sym.name, Some(sym.offset as i64), sym.code_info.as_deref());
    for (depth, inlined) in (1..).zip(&sym.inlined) {
        append(depth, &inlined.name, None, inlined.code_info.as_ref());
    }
}

/// Finds the file of a frame.
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
            let name = binary.build_id.as_deref().map_or_else(|| binary.shown.clone(), hex);
            open.entry(name).or_insert(path);
        }
        Files { open, build_ids: HashMap::new() }
    }

    fn build_id(&mut self, path: &Path) -> Option<String> {
        if let Some(known) = self.build_ids.get(path) {
            return known.clone();
        }
        // A file that is gone, or is no ELF file, has none.
        let build_id = read_elf_build_id(path).ok().flatten().map(|id| hex(&id));
        self.build_ids.insert(path.to_owned(), build_id.clone());
        build_id
    }

    /// The file at its own path, if that has the build id still: what was stripped is looked for beside it.
    fn of(&mut self, frame: &Frame) -> Option<PathBuf> {
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
