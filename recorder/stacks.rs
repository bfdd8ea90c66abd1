//! From raw stacks to frames that outlive the process.
//!
//! An address means something only while the process that it is from has the same memory map. So
//! when a stack is first seen, each of its frames becomes a place in a file, of which the build id is told
//! ([`mappings`](crate::mappings)). Frames are numbered, and the same place has the same number in every
//! process.
//!
//! A stack is stored once. Where only the newest [chunks](crate::chunks) of a recording are kept, that is once
//! in each chunk that refers to it: so what is still in use is remembered, and stored again, with its frames,
//! when it is met in another chunk; the rest is forgotten.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use lookback_schemas::cell::{Forgotten, RowBuilder, StackNumbers};
use lookback_schemas::symbols::elf::hex;
use lookback_schemas::tables::{Exec, Exit, Frame, Stack, Symbol, frame, stack, symbol};
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
    /// The stacks that are stored in this chunk, by number.
    stored: HashSet<i64>,
    frames: HashMap<i64, Known>,
    ids: HashMap<Place, i64>,
    /// How many frames have a number.
    numbered: i64,
    /// Where the recording consists of chunks.
    chunks: Option<Chunks>,
    spaces: SharedSpaces,
    jit: Jit,
    stack_rows: stack::Builder,
    frame_rows: frame::Builder,
    symbol_rows: symbol::Builder,
}

/// What is remembered for later chunks.
#[derive(Default)]
struct Chunks {
    /// The one that is being written.
    current: u32,
    /// Stacks that are in use, by number.
    stacks: HashMap<i64, Stack>,
    /// The files of each chunk's frames, since the oldest that is kept: they must stay open for their names.
    binaries: VecDeque<Vec<Arc<Binary>>>,
}

/// A frame that has a number.
struct Known {
    frame: Frame,
    /// Its file.
    binary: Option<Arc<Binary>>,
    /// Its name, if it lies in code that its process has made.
    made: Option<Symbol>,
    /// The chunk in which it was last stored.
    chunk: u32,
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
    /// For processes that have mapped this; `chunked` if the recording consists of chunks.
    pub fn new(spaces: SharedSpaces, chunked: bool) -> Stacks {
        Stacks { spaces, chunks: chunked.then(Chunks::default), ..Stacks::default() }
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
        let in_code = frames.iter().all(|id| self.frames[id].frame.module.is_some());
        let row = Stack {
            ts: raw.ts.0 + epoch,
            id,
            pid,
            frames,
            truncated: Shape::Truncated.is_in(shape),
            walked: pid.and_then(|_| walked(shape)).map(str::to_owned),
            complete: pid.map(|_| Shape::Complete.is_in(shape) && in_code),
        };
        self.store(row);
    }

    fn store(&mut self, row: Stack) {
        self.stack_rows.append(&row, &Default::default());
        let Some(chunks) = &mut self.chunks else { return };
        for id in &row.frames {
            let known = self.frames.get_mut(id).expect("frames are remembered as long as stacks");
            if known.chunk != chunks.current {
                known.chunk = chunks.current;
                self.frame_rows.append(&known.frame, &Default::default());
                if let Some(name) = &known.made {
                    self.symbol_rows.append(name, &Default::default());
                }
            }
        }
        chunks.stacks.insert(row.id, row);
    }

    /// Ends the chunk, and begins another: gives names of frames that belong into the ended one, and hashes
    /// that BPF programs are to forget. Binaries are let go that none of the last `kept` chunks has frames of.
    ///
    /// The rows of the ended chunk have been taken before.
    pub fn begin_chunk(&mut self, kept: usize) -> (RecordBatch, Vec<i64>) {
        let Some(chunks) = &mut self.chunks else { return (self.symbol_rows.finish(), Vec::new()) };
        for name in self.jit.take() {
            self.symbol_rows.append(&name, &Default::default());
            if let Some(known) = self.frames.get_mut(&name.frame) {
                known.made = Some(name);
            }
        }
        let ended = chunks.current;
        chunks.current += 1;
        let Forgotten { unmet, numbers } = self.numbers.begin_chunk();
        for number in &numbers {
            chunks.stacks.remove(number);
        }
        let of_ended = self.frames.values().filter(|known| known.chunk == ended);
        let mut binaries: Vec<Arc<Binary>> =
            of_ended.filter_map(|known| known.binary.clone()).collect();
        binaries.sort_by_key(Arc::as_ptr);
        binaries.dedup_by_key(|binary| Arc::as_ptr(binary));
        chunks.binaries.push_back(binaries);
        while chunks.binaries.len() > kept {
            chunks.binaries.pop_front();
        }
        // A stack that is remembered was met in the last two chunks, and its frames were stored with it.
        self.frames.retain(|_, known| known.chunk + 1 >= ended);
        self.ids.retain(|_, id| self.frames.contains_key(id));
        self.stored.clear();
        self.spaces.with(|spaces| spaces.let_go());
        (self.symbol_rows.finish(), unmet)
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

    /// The new rows of `frame`, `symbol` and `stack`. Frames come first: a stack without its frames would
    /// point nowhere if the recorder were killed in between.
    pub fn take(&mut self) -> [RecordBatch; 3] {
        for number in self.numbers.take_again() {
            let row = self.chunks.as_ref().and_then(|chunks| chunks.stacks.get(&number)).cloned();
            // One that was sent but did not come is not known here either.
            if let Some(row) = row
                && self.stored.insert(number)
            {
                self.store(row);
            }
        }
        [self.frame_rows.finish(), self.symbol_rows.finish(), self.stack_rows.finish()]
    }

    /// All frames, when the recording is over.
    pub fn finish(self) -> Frames {
        let binaries = self.spaces.with(|spaces| spaces.binaries());
        let mut frames: Vec<Frame> = self.frames.into_values().map(|known| known.frame).collect();
        frames.sort_unstable_by_key(|frame| frame.id);
        Frames { frames, binaries, made: self.jit.finish() }
    }

    fn kernel_frame(&mut self, address: i64, returns: bool) -> i64 {
        self.number(Place::Kernel { address, returns }, None, |id| Frame {
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
        let build_id = binary.as_ref().and_then(|binary| Some(hex(binary.build_id.as_ref()?)));
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
        let id = self.number(place, binary, |id| Frame {
            id,
            address,
            return_address: returns,
            kernel: false,
            module,
            build_id,
            file_offset: offset,
        });
        if of_no_file && self.frames.get(&id).is_some_and(|known| known.made.is_none()) {
            self.jit.saw(pid, code_at, id);
        }
        id
    }

    fn number(
        &mut self,
        place: Place,
        binary: Option<Arc<Binary>>,
        row: impl FnOnce(i64) -> Frame,
    ) -> i64 {
        if let Some(id) = self.ids.get(&place) {
            return *id;
        }
        self.numbered += 1;
        let id = self.numbered;
        let frame = row(id);
        self.frame_rows.append(&frame, &Default::default());
        let (chunk, binary) = match &self.chunks {
            Some(chunks) => (chunks.current, binary),
            // All files stay open anyway.
            None => (0, None),
        };
        self.frames.insert(id, Known { frame, binary, made: None, chunk });
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
