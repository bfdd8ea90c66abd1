//! What the frames of stacks are called.
//!
//! A frame is a place in a file, told by the file's build id (see [`Frame`]). [`resolve`] asks a
//! [`Binaries`] for the file of each frame, and then each file for the functions at those places: those
//! that calls were inlined into come first, each with its source file and line as far as debug
//! information tells. Names are demangled. Who calls has to find the files, and the two programs know
//! different places: `record` has what processes had mapped, `analyze` what a user gives it, what a
//! recording carries with it, or a server.
//!
//! - [`elf`] reads the headers of a file: its build id and where its code lies.
//! - [`tree`] finds files by build id in directories.
//! - [`dwarf`] reads symbols and debug information, in a process of its own that [`worker`] starts.
//! - [`kallsyms`] names kernel code.

pub mod dwarf;
pub mod elf;
pub mod kallsyms;
pub mod tree;
pub mod worker;

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::tables::{Frame, Symbol};
use kallsyms::Kallsyms;
use worker::{Named, Question};

/// The folder of a recording that has binaries of its frames, as a [`tree`] of build ids.
pub const FOLDER: &str = "binaries";
/// Where distributions put what they strip.
pub const SYSTEM: &str = "/usr/lib/debug";

/// The files of a frame.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// The file that the frame's code is in. Another process opens it: `/proc/PID/fd/3` will do, and
    /// `/proc/self/fd/3` will not.
    pub path: PathBuf,
    /// The file with what was stripped from it, if that is another.
    pub debug: Option<PathBuf>,
}

/// Who finds the files of frames.
pub trait Binaries {
    /// The files of this frame, which is one of user space. They must be those that were mapped, and not
    /// just others of the same name.
    fn find(&mut self, frame: &Frame) -> Option<Found>;
}

/// How long naming may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For one file,
    pub file: Duration,
    /// and for all of them.
    pub total: Duration,
}

/// Names for frames.
#[derive(Clone, Debug, Default)]
pub struct Resolved {
    /// Rows of the table `symbol`, in the order of their frames.
    pub symbols: Vec<Symbol>,
    /// Files that did not tell all, and why.
    pub failures: Vec<(PathBuf, String)>,
}

impl Resolved {
    /// The rows as a batch.
    #[must_use]
    pub fn rows(&self) -> arrow::record_batch::RecordBatch {
        use crate::cell::RowBuilder as _;
        let mut rows = crate::tables::symbol::Builder::default();
        self.symbols.iter().for_each(|symbol| rows.append(symbol, &Default::default()));
        rows.finish()
    }
}

/// Names the frames that lie in files, as far as `binaries` finds them.
pub fn resolve<'f>(
    frames: impl IntoIterator<Item = &'f Frame>,
    binaries: &mut dyn Binaries,
    limits: Limits,
) -> Resolved {
    let until = Instant::now() + limits.total;
    let mut resolved = Resolved::default();
    let mut by_file: BTreeMap<Found, Vec<&Frame>> = BTreeMap::new();
    for frame in frames {
        if !frame.kernel
            && frame.file_offset.is_some()
            && let Some(found) = binaries.find(frame)
        {
            by_file.entry(found).or_default().push(frame);
        }
    }
    for (found, frames) in by_file {
        let left = || until.saturating_duration_since(Instant::now()).min(limits.file);
        if let Err(why) = ask(&found, &frames, false, left(), &mut resolved.symbols) {
            resolved.failures.push((found.path.clone(), why));
            // Debug information is broken more easily than the symbol table.
            let named: HashSet<i64> = resolved.symbols.iter().map(|symbol| symbol.frame).collect();
            let rest: Vec<_> = frames.into_iter().filter(|f| !named.contains(&f.id)).collect();
            if let Err(why) = ask(&found, &rest, true, left(), &mut resolved.symbols) {
                resolved.failures.push((found.path, why));
            }
        }
    }
    resolved.symbols.sort_by_key(|symbol| (symbol.frame, symbol.depth));
    resolved
}

/// Asks a file for the names of its frames.
fn ask(
    found: &Found,
    frames: &[&Frame],
    plain: bool,
    time: Duration,
    symbols: &mut Vec<Symbol>,
) -> Result<(), String> {
    if frames.is_empty() {
        return Ok(());
    }
    if time < Duration::from_secs(1) {
        return Err("there is no time left for it".to_owned());
    }
    // Frames without a place in a file are not asked for.
    let offset = |frame: &&Frame| code_at(frame, frame.file_offset.unwrap_or_default());
    let question = Question {
        path: found.path.clone(),
        debug: found.debug.clone(),
        offsets: frames.iter().map(|frame| offset(frame).unwrap_or_default()).collect(),
        plain,
        seconds: u32::try_from(time.as_secs()).unwrap_or(u32::MAX),
    };
    worker::ask(&question, |place, calls| {
        if let Some(frame) = frames.get(place) {
            symbols.extend(rows(frame.id, calls));
        }
    })
}

/// The files of frames, by build id, as far as `binaries` finds them; those of no build id are left out.
pub fn files<'f>(
    frames: impl IntoIterator<Item = &'f Frame>,
    binaries: &mut dyn Binaries,
) -> BTreeMap<String, Found> {
    let mut files = BTreeMap::new();
    for frame in frames {
        if let Some(build_id) = &frame.build_id
            && !files.contains_key(build_id)
            && let Some(found) = binaries.find(frame)
        {
            files.insert(build_id.clone(), found);
        }
    }
    files
}

/// Names kernel frames.
pub fn resolve_kernel<'f>(
    frames: impl IntoIterator<Item = &'f Frame>,
    kallsyms: &Kallsyms,
) -> Vec<Symbol> {
    let frames = frames.into_iter().filter(|frame| frame.kernel);
    let named = frames.filter_map(|frame| {
        let function = kallsyms.find(code_at(frame, frame.address)?)?;
        Some(Symbol {
            frame: frame.id,
            depth: 0,
            name: function.name.to_owned(),
            offset: i64::try_from(function.offset).ok(),
            file: None,
            line: None,
            module: function.module.map(str::to_owned),
        })
    });
    named.collect()
}

/// The place of the code in question: a call lies before its return address.
#[expect(clippy::cast_sign_loss, reason = "an address is a u64 in an i64")]
fn code_at(frame: &Frame, place: i64) -> Option<u64> {
    (place as u64).checked_sub(u64::from(frame.return_address))
}

fn rows(frame: i64, calls: Vec<Named>) -> impl Iterator<Item = Symbol> {
    (0..).zip(calls).map(move |(depth, Named { name, offset, file, line })| Symbol {
        frame,
        depth,
        name,
        offset,
        file,
        line,
        module: None,
    })
}
