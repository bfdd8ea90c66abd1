//! Call stacks, and what their frames are called.
//!
//! Events carry the number of their stack. Three tables say what it is: `stack` has its frames,
//! `frame` the place of each in a file or in the kernel, and `symbol` the functions at that place:
//! more than one where calls were inlined. A report adds up by number first, which is cheap, and
//! asks here for the few stacks that it prints.

use std::collections::BTreeMap;

use ahash::{HashMap, HashSet};
use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::Int64Type;
use lookback_schemas::Error;
use lookback_schemas::recording::{ALL_TIME, Recording};
use lookback_schemas::tables;

use crate::processes::known;

/// A call stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stack {
    /// The numbers of its frames, the innermost first.
    pub frames: Vec<i64>,
    /// Whether there may be more frames, further out.
    pub truncated: bool,
}

/// A place that stacks lead through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// The address as first seen.
    pub address: i64,
    /// Whether that is a return address: the code in question ends just before it.
    pub return_address: bool,
    /// Whether it is kernel code.
    pub kernel: bool,
    /// The file that was mapped there.
    pub module: Option<String>,
    /// That file's build id in hex.
    pub build_id: Option<String>,
    /// The place in that file.
    pub file_offset: Option<i64>,
    /// The functions, the outermost first: those after the first were inlined into it. Empty where
    /// no name is known.
    pub calls: Vec<Call>,
}

/// A function at a frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// Its name, as recorded: it is not safe to print.
    pub name: String,
    /// How far the address lies from the function's start; unknown for inlined functions.
    pub offset: Option<i64>,
    /// The source file, as the compiler was given it.
    pub file: Option<String>,
    /// The line in it, from 1.
    pub line: Option<i32>,
    /// The kernel module, where it is not the kernel proper's; `bpf` for BPF programs.
    pub module: Option<String>,
}

impl Call {
    /// The place in the source, where it is known: `cache.c:123`. The folders are left out.
    #[must_use]
    pub fn source(&self) -> Option<String> {
        let file = self.file.as_deref().filter(|file| !file.is_empty())?;
        let name = file.rsplit('/').next().unwrap_or(file);
        Some(match self.line {
            Some(line) => format!("{name}:{line}"),
            None => name.to_owned(),
        })
    }
}

impl Frame {
    /// The file's name without its folders.
    #[must_use]
    pub fn file(&self) -> Option<&str> {
        self.module.as_deref().map(|module| module.rsplit('/').next().unwrap_or(module))
    }

    /// Whether it is code that the process has made itself: it lies in no file.
    #[must_use]
    pub fn is_jit(&self) -> bool {
        !self.kernel && self.file_offset.is_none() && self.module.as_deref() != Some("[vdso]")
    }

    /// What to call a frame whose function has no name: `[libx.so+0x1234]`, or `[unknown]`.
    #[must_use]
    pub fn place(&self) -> String {
        match (self.file(), self.file_offset) {
            (Some(file), Some(offset)) => format!("[{file}+{offset:#x}]"),
            (Some(_), None) | (None, _) => "[unknown]".to_owned(),
        }
    }
}

/// What stands in a stack where it is shown.
#[derive(Clone, Copy, Debug)]
pub enum Entry<'a> {
    /// A frame, by its number.
    Frame(i64, &'a Frame),
    /// What is said where there is none.
    Note(&'static str),
}

/// How the functions begin that lie between a tracepoint and a program (`kernel/trace/bpf_trace.c`,
/// `include/trace/bpf_probe.h`, `include/linux/tracepoint.h`).
const CALLERS: [&str; 3] = ["bpf_trace_run", "__bpf_trace_", "__traceiter_"];
/// The program and these are no more frames than this.
const PROBE_FRAMES: usize = 5;

/// The stacks that a report needs.
#[derive(Clone, Debug, Default)]
pub struct Stacks {
    stacks: HashMap<i64, Stack>,
    frames: HashMap<i64, Frame>,
}

impl Stacks {
    /// Reads the stacks of these numbers with all that is known of their frames.
    ///
    /// # Errors
    /// If one of the tables is damaged.
    pub fn read(recording: &Recording, wanted: &HashSet<i64>) -> Result<Stacks, Error> {
        let mut stacks = Stacks::default();
        if wanted.is_empty() {
            return Ok(stacks);
        }
        let frames = stacks.read_stacks(recording, wanted)?;
        let calls = read_calls(recording, &frames)?;
        stacks.read_frames(recording, &frames, calls)?;
        stacks.leave_out_probes();
        Ok(stacks)
    }

    /// A stack that a tracepoint's program takes begins with the program itself and what called it:
    /// frames of the recorder's, and not of what was recorded.
    fn leave_out_probes(&mut self) {
        let frames = &self.frames;
        let calls_programs = |id: &i64| {
            let name = frames.get(id).filter(|f| f.kernel).and_then(|f| f.calls.first());
            name.is_some_and(|call| CALLERS.iter().any(|start| call.name.starts_with(start)))
        };
        for stack in self.stacks.values_mut() {
            let first = &stack.frames[..stack.frames.len().min(PROBE_FRAMES)];
            let own = first.iter().rposition(calls_programs).map_or(0, |last| last + 1);
            stack.frames.drain(..own);
        }
    }

    /// The stack of this number, if the recording has it.
    #[must_use]
    pub fn stack(&self, id: i64) -> Option<&Stack> {
        self.stacks.get(&id)
    }

    /// What stands in the stack of this number, the innermost first: what of it is not in the recording has
    /// an entry too.
    #[must_use]
    pub fn entries(&self, id: i64) -> Vec<Entry<'_>> {
        let Some(stack) = self.stack(id) else { return vec![Entry::Note("[lost stack]")] };
        let entry = |id: &i64| match self.frame(*id) {
            Some(frame) => Entry::Frame(*id, frame),
            None => Entry::Note("[lost frame]"),
        };
        let truncated = stack.truncated.then_some(Entry::Note("[truncated]"));
        stack.frames.iter().map(entry).chain(truncated).collect()
    }

    /// The frame of this number, if the recording has it.
    #[must_use]
    pub fn frame(&self, id: i64) -> Option<&Frame> {
        self.frames.get(&id)
    }

    /// All frames of the stacks, by number.
    pub fn frames(&self) -> impl Iterator<Item = (i64, &Frame)> {
        self.frames.iter().map(|(id, frame)| (*id, frame))
    }

    /// Reads the table `stack`; returns the frames that occur.
    fn read_stacks(
        &mut self,
        recording: &Recording,
        wanted: &HashSet<i64>,
    ) -> Result<HashSet<i64>, Error> {
        let mut occurring = HashSet::default();
        recording.for_each::<tables::Stack, Error>(ALL_TIME, |rows| {
            for row in 0..rows.id.len() {
                let id = rows.id.value(row);
                if !wanted.contains(&id) || self.stacks.contains_key(&id) {
                    continue;
                }
                let frames = rows.frames.value(row);
                let frames = frames
                    .as_primitive_opt::<Int64Type>()
                    .map(|frames| frames.values().to_vec())
                    .unwrap_or_default();
                occurring.extend(&frames);
                self.stacks.insert(id, Stack { frames, truncated: rows.truncated.value(row) });
            }
            Ok(())
        })?;
        Ok(occurring)
    }

    fn read_frames(
        &mut self,
        recording: &Recording,
        wanted: &HashSet<i64>,
        mut calls: HashMap<i64, Vec<Call>>,
    ) -> Result<(), Error> {
        recording.for_each::<tables::Frame, Error>(ALL_TIME, |rows| {
            for row in 0..rows.id.len() {
                let id = rows.id.value(row);
                if !wanted.contains(&id) || self.frames.contains_key(&id) {
                    continue;
                }
                let frame = Frame {
                    address: rows.address.value(row),
                    return_address: rows.return_address.value(row),
                    kernel: rows.kernel.value(row),
                    module: known!(rows.module, row).map(str::to_owned),
                    build_id: known!(rows.build_id, row).map(str::to_owned),
                    file_offset: known!(rows.file_offset, row),
                    calls: calls.remove(&id).unwrap_or_default(),
                };
                self.frames.insert(id, frame);
            }
            Ok(())
        })
    }
}

/// Reads the table `symbol`: the functions at each of the frames.
fn read_calls(
    recording: &Recording,
    frames: &HashSet<i64>,
) -> Result<HashMap<i64, Vec<Call>>, Error> {
    let mut calls: HashMap<i64, BTreeMap<i32, Call>> = HashMap::default();
    recording.for_each::<tables::Symbol, Error>(ALL_TIME, |rows| {
        for row in 0..rows.frame.len() {
            let frame = rows.frame.value(row);
            if frames.contains(&frame) {
                let name = rows.name.value(row).to_owned();
                let call = Call {
                    name,
                    offset: known!(rows.offset, row),
                    file: known!(rows.file, row).map(str::to_owned),
                    line: known!(rows.line, row),
                    module: known!(rows.module, row).map(str::to_owned),
                };
                calls.entry(frame).or_default().insert(rows.depth.value(row), call);
            }
        }
        Ok(())
    })?;
    let in_order =
        |(frame, calls): (i64, BTreeMap<i32, Call>)| (frame, calls.into_values().collect());
    Ok(calls.into_iter().map(in_order).collect())
}
