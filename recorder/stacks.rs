//! From raw stacks to frames that outlive the process.
//!
//! An address means something only while the process that it is from has the same memory map. So
//! when a stack is first seen, each of its frames becomes a place in a file, of which the build id is told
//! ([`mappings`](crate::mappings)). Frames are numbered, and the same place has the same number in every
//! process.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use lookback_schemas::cell::{RowBuilder, StackNumbers};
use lookback_schemas::symbols::elf::hex;
use lookback_schemas::tables::{Exec, Exit, Frame, Stack, Symbol, frame, stack};
use lookback_schemas::unwind::Shape;
use lookback_schemas::wire::RawStack;
use zerocopy::FromBytes as _;

use crate::binaries::Binary;
use crate::jit::{self, Jit};
use crate::mappings::SharedSpaces;

/// Turns raw stacks into rows of `stack` and `frame`.
#[derive(Default)]
pub struct Stacks {
    numbers: StackNumbers,
    /// The stacks that are stored, by number.
    stored: HashSet<i64>,
    frames: Vec<Frame>,
    ids: HashMap<Place, i64>,
    spaces: SharedSpaces,
    jit: Jit,
    stack_rows: stack::Builder,
    frame_rows: frame::Builder,
}

/// What makes two frames the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Place {
    Kernel { address: i64, returns: bool },
    File { name: String, offset: i64, returns: bool },
    Unknown { pid: i32, address: i64, returns: bool, code: jit::Which },
}

/// All that the recording's frames are, and where their files may be.
#[derive(Debug, Default)]
pub struct Frames {
    /// The frames, in the order of their numbers.
    pub frames: Vec<Frame>,
    /// The files that were mapped.
    pub binaries: Vec<Arc<Binary>>,
    /// Names of frames in code that processes have made themselves.
    pub made: Vec<Symbol>,
}

impl Stacks {
    /// For processes that have mapped this.
    pub fn new(spaces: SharedSpaces) -> Stacks {
        Stacks { spaces, ..Stacks::default() }
    }

    /// Takes note of what has been mapped meanwhile.
    pub fn catch_up(&mut self) {
        self.spaces.with(|spaces| spaces.catch_up());
    }

    /// The numbers that stand for stacks in the other tables.
    pub fn numbers(&self) -> &StackNumbers {
        &self.numbers
    }

    /// Takes a raw stack as it came from the ring buffer. A stack that is known is left out.
    pub fn add(&mut self, record: &[u8], epoch: i64) {
        let Ok((raw, _)) = RawStack::read_from_prefix(record) else { return };
        let id = self.numbers.number(raw.id);
        if !self.stored.insert(id) {
            return;
        }
        let pid = raw.pid.get();
        let shape = i64::from(raw.shape);
        let interrupted = |depth: usize| match depth {
            0 => !Shape::FirstReturned.is_in(shape),
            1..64 => raw.interrupted >> depth & 1 != 0,
            64..128 => raw.interrupted_further >> (depth - 64) & 1 != 0,
            _ => false,
        };
        let frames: Vec<i64> = raw
            .frames
            .words(record)
            .enumerate()
            .map(|(depth, address)| {
                let returns = !interrupted(depth);
                match pid {
                    None => self.kernel_frame(address, returns),
                    Some(pid) => self.user_frame(pid, address, returns, raw.ts.0),
                }
            })
            .collect();
        // What is no frame pointer may lead to a zero too, but hardly through code only.
        let in_code = frames.iter().all(|frame| self.frames[*frame as usize - 1].module.is_some());
        let row = Stack {
            ts: raw.ts.0 + epoch,
            id,
            pid,
            frames,
            truncated: Shape::Truncated.is_in(shape),
            walked: pid.and_then(|_| walked(shape)).map(str::to_owned),
            complete: pid.map(|_| Shape::Complete.is_in(shape) && in_code),
        };
        self.stack_rows.append(&row, &Default::default());
    }

    /// Takes note of an exec: a new memory map.
    pub fn exec(&mut self, record: &[u8]) {
        let Ok((exec, _)) = Exec::ref_from_prefix(record) else { return };
        self.spaces.with(|spaces| spaces.executed(exec.pid));
        self.jit.executed(exec.pid);
    }

    /// Takes note of an exit: the pid may be another's soon.
    pub fn exit(&mut self, record: &[u8]) {
        if let Ok((exit, _)) = Exit::ref_from_prefix(record)
            && exit.process_ended.0 != 0
        {
            self.spaces.with(|spaces| spaces.ended(exit.pid));
            self.jit.ended(exit.pid);
        }
    }

    /// The new rows of `stack` and `frame`. Frames come first: a stack without its frames would
    /// point nowhere if the recorder were killed in between.
    pub fn take(&mut self) -> (RecordBatch, RecordBatch) {
        (self.frame_rows.finish(), self.stack_rows.finish())
    }

    /// All frames, when the recording is over.
    pub fn finish(self) -> Frames {
        let binaries = self.spaces.with(|spaces| spaces.binaries());
        Frames { frames: self.frames, binaries, made: self.jit.finish() }
    }

    fn kernel_frame(&mut self, address: i64, returns: bool) -> i64 {
        self.number(Place::Kernel { address, returns }, |id| Frame {
            id,
            address,
            return_address: returns,
            kernel: true,
            module: None,
            build_id: None,
            file_offset: None,
        })
    }

    fn user_frame(&mut self, pid: i32, address: i64, returns: bool, ts: i64) -> i64 {
        let location = self.spaces.with(|spaces| spaces.locate(pid, address as u64, ts as u64));
        let (module, offset, binary) = match location {
            Some(location) => (Some(location.module), location.offset, location.binary),
            None => (None, None, None),
        };
        let build_id = binary.and_then(|binary| Some(hex(binary.build_id.as_ref()?)));
        let offset = match (&build_id, &module) {
            (None, Some(module)) if jit::is_memory(module) => None,
            (_, _) => offset,
        };
        let code_at = (address as u64).saturating_sub(u64::from(returns));
        let place = match (offset, build_id.as_ref().or(module.as_ref())) {
            (Some(offset), Some(name)) => Place::File { name: name.clone(), offset, returns },
            (_, _) => {
                let code = self.jit.which(pid, code_at);
                Place::Unknown { pid, address, returns, code }
            }
        };
        let of_no_file = matches!(place, Place::Unknown { .. });
        let id = self.number(place, |id| Frame {
            id,
            address,
            return_address: returns,
            kernel: false,
            module,
            build_id,
            file_offset: offset,
        });
        if of_no_file {
            self.jit.saw(pid, code_at, id);
        }
        id
    }

    fn number(&mut self, place: Place, row: impl FnOnce(i64) -> Frame) -> i64 {
        if let Some(id) = self.ids.get(&place) {
            return *id;
        }
        let id = self.frames.len() as i64 + 1;
        let row = row(id);
        self.frame_rows.append(&row, &Default::default());
        self.frames.push(row);
        self.ids.insert(place, id);
        id
    }
}

/// By what a user stack was walked.
fn walked(shape: i64) -> Option<&'static str> {
    match (Shape::ByTables.is_in(shape), Shape::ByFramePointers.is_in(shape)) {
        (true, true) => Some("both"),
        (true, false) => Some("tables"),
        (false, true) => Some("frame pointers"),
        (false, false) => None,
    }
}
