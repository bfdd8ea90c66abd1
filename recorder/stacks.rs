//! From raw stacks to frames that outlive the process.
//!
//! An address means something only while the process that it is from has the same memory map. So
//! when a stack is first seen, each of its frames becomes a place in a file: from the memory map in
//! `/proc`, read while the process lives, and from the build id that the kernel finds in the mapped
//! file itself, which also serves processes that were gone before we looked. Frames are numbered, and
//! the same place has the same number in every process.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use arrow::record_batch::RecordBatch;
use lookback_schemas::cell::{RowBuilder, StackNumbers};
use lookback_schemas::symbols::elf::hex;
use lookback_schemas::tables::{Exec, Exit, Frame, Stack, Symbol, frame, stack};
use lookback_schemas::wire::RawStack;
use zerocopy::FromBytes as _;

use crate::jit::{self, Jit};
use crate::mappings::AddressSpaces;
use crate::vdso;

/// As many frames as the kernel side takes (MAX_FRAMES in stacks.h).
const MAX_FRAMES: usize = 127;

/// Turns raw stacks into rows of `stack` and `frame`.
#[derive(Default)]
pub struct Stacks {
    numbers: StackNumbers,
    /// The stacks that are stored, by number.
    stored: HashSet<i64>,
    frames: Vec<Frame>,
    ids: HashMap<Place, i64>,
    address_spaces: AddressSpaces,
    modules: HashMap<BuildId, String>,
    /// The other way round.
    build_ids: HashMap<String, BuildId>,
    files: HashSet<PathBuf>,
    jit: Jit,
    stack_rows: stack::Builder,
    frame_rows: frame::Builder,
}

/// A GNU build id, as the kernel has it.
type BuildId = [u8; 20];

/// What makes two frames the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Place {
    Kernel { address: i64, returns: bool },
    File { name: String, offset: i64, returns: bool },
    Unknown { pid: i32, address: i64, returns: bool, code: jit::Which },
}

/// A frame as `struct bpf_stack_build_id` gives it (include/uapi/linux/bpf.h).
#[repr(C)]
#[derive(Clone, Copy, zerocopy::FromBytes, zerocopy::KnownLayout, zerocopy::Immutable)]
struct KernelFrame {
    status: i32,
    build_id: BuildId,
    offset: u64,
}

/// The shape of a stack, as bits (stacks.h).
const FIRST_RETURNED: i64 = 1;
const SECOND_PUT_IN: i64 = 2;

/// `BPF_STACK_BUILD_ID_VALID`.
const VALID: i32 = 1;

/// All that the recording's frames are, and where their files may be.
#[derive(Debug, Default)]
pub struct Frames {
    /// The frames, in the order of their numbers.
    pub frames: Vec<Frame>,
    /// Files that ran or were mapped: candidates for frames of which only the build id is known.
    pub files: HashSet<PathBuf>,
    /// Names of frames in code that processes have made themselves.
    pub made: Vec<Symbol>,
}

impl Stacks {
    /// For processes that have mapped this.
    pub fn new(address_spaces: AddressSpaces) -> Stacks {
        Stacks { address_spaces, ..Stacks::default() }
    }

    /// Takes note of what has been mapped meanwhile.
    pub fn catch_up(&mut self) {
        self.address_spaces.catch_up();
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
        let addresses: Vec<i64> = raw.frames.words(record).collect();
        let kernel_frames = raw.build_ids.bytes(record).unwrap_or_default();
        let kernel_frames = <[KernelFrame]>::ref_from_bytes(kernel_frames).unwrap_or_default();
        // The BPF program may have put in the second frame, which the kernel did not see.
        let put_in = raw.shape & SECOND_PUT_IN != 0;
        let hints = kernel_frames.iter().map(Some);
        let hints: Vec<_> = match (put_in, kernel_frames.split_first()) {
            (true, Some((first, rest))) => {
                [Some(first), None].into_iter().chain(rest.iter().map(Some)).collect()
            }
            (true, None) | (false, _) => hints.collect(),
        };
        let frames = addresses
            .iter()
            .enumerate()
            .map(|(depth, address)| {
                let returns = depth > 0 || raw.shape & FIRST_RETURNED != 0;
                match pid {
                    None => self.kernel_frame(*address, returns),
                    Some(pid) => {
                        // For an address outside every mapping the kernel may name the file of the next
                        // one, with an offset before its start (stack_map_get_build_id_offset).
                        let hint = hints.get(depth).copied().flatten().filter(|frame| {
                            frame.status == VALID && i64::try_from(frame.offset).is_ok()
                        });
                        self.user_frame(pid, *address, returns, hint)
                    }
                }
            })
            .collect();
        let row = Stack {
            ts: raw.ts.0 + epoch,
            id,
            pid,
            frames,
            truncated: addresses.len() >= MAX_FRAMES,
        };
        self.stack_rows.append(&row, &Default::default());
    }

    /// Takes note of an exec: a new memory map, and a file in which frames may lie.
    pub fn exec(&mut self, record: &[u8]) {
        let Ok((exec, _)) = Exec::ref_from_prefix(record) else { return };
        self.address_spaces.executed(exec.pid);
        self.jit.executed(exec.pid);
        if let Some(name) = exec.filename.bytes(record) {
            let name = String::from_utf8_lossy(name.strip_suffix(b"\0").unwrap_or(name));
            self.files.insert(PathBuf::from(name.into_owned()));
        }
    }

    /// Takes note of an exit: the pid may be another's soon.
    pub fn exit(&mut self, record: &[u8]) {
        if let Ok((exit, _)) = Exit::ref_from_prefix(record)
            && exit.process_ended.0 != 0
        {
            self.address_spaces.ended(exit.pid);
            self.jit.ended(exit.pid);
        }
    }

    /// The new rows of `stack` and `frame`. Frames come first: a stack without its frames would
    /// point nowhere if the recorder were killed in between.
    pub fn take(&mut self) -> (RecordBatch, RecordBatch) {
        (self.frame_rows.finish(), self.stack_rows.finish())
    }

    /// All frames, when the recording is over.
    pub fn finish(mut self) -> Frames {
        self.files.extend(self.modules.into_values().map(PathBuf::from));
        self.files.extend(self.address_spaces.files());
        Frames { frames: self.frames, files: self.files, made: self.jit.finish() }
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

    fn user_frame(
        &mut self,
        pid: i32,
        address: i64,
        returns: bool,
        hint: Option<&KernelFrame>,
    ) -> i64 {
        // Where the two disagree, the process has replaced its image since.
        let location = self
            .address_spaces
            .locate(pid, address as u64)
            .filter(|location| hint.is_none_or(|hint| location.offset == Some(hint.offset as i64)));
        let build_id = match (hint, &location) {
            (Some(hint), Some(location)) => {
                self.modules.entry(hint.build_id).or_insert_with(|| location.module.clone());
                self.build_ids.entry(location.module.clone()).or_insert(hint.build_id);
                Some(hint.build_id)
            }
            (Some(hint), None) => Some(hint.build_id),
            (None, Some(location)) => self.build_ids.get(&location.module).copied(),
            (None, None) => None,
        };
        let offset = match (hint, &location) {
            (Some(hint), _) => Some(hint.offset as i64),
            (None, Some(location)) => location.offset,
            (None, None) => None,
        };
        let module = match (location, build_id) {
            (Some(location), _) => Some(location.module),
            (None, Some(build_id)) => self.modules.get(&build_id).cloned(),
            (None, None) => None,
        };
        let build_id = match &module {
            Some(module) if module == vdso::NAME => vdso_of(address),
            Some(_) | None => build_id.map(|build_id| hex(&build_id)),
        };
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

/// The build id of the vdso that has code at `address`. 32-bit processes have another, whose build id is
/// not known.
fn vdso_of(address: i64) -> Option<String> {
    let image = vdso::image().filter(|_| address > i64::from(u32::MAX))?;
    Some(image.build_id.clone())
}
