//! From `.eh_frame` to rows that the kernel side can search.
//!
//! gimli runs the programs of the call frame information. What they can say is more than a row can: a
//! canonical frame address may be the value of any expression. Compilers and the C library use few of them,
//! and those have rules of their own ([`Cfa`]); code with another gets a row that says that nothing is known.

use std::collections::HashMap;
use std::fs::File;

use anyhow::{Context as _, Result, ensure};
use gimli::{
    BaseAddresses, CfaRule, CieOrFde, EhFrame, EhFrameOffset, EndianSlice, LittleEndian, Operation,
    Register, RegisterRule, UnwindContext, UnwindExpression, UnwindSection as _,
};
use lookback_schemas::unwind::{Cfa, Fp, Row};
use object::{Object as _, ObjectSection as _, ObjectSegment as _, ReadCache, SegmentFlags};

/// More of it is not looked at: Chromium's has 20 MB.
const MOST_BYTES: u64 = 256 << 20;
/// More rows are not made of one file: they take as many as this times 8 bytes.
pub const MOST_ROWS: usize = 8 << 20;

/// The code of a file, and how to leave its frames.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallFrames {
    /// Addresses of the file's own address space, in their order, and how to leave a frame from there on.
    pub rows: Vec<(u64, Row)>,
    /// What of the file is mapped as code.
    pub segments: Vec<Segment>,
}

/// A part of a file that is mapped as code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it begins in the file.
    pub offset: u64,
    /// How many bytes of the file it has.
    pub bytes: u64,
    /// Its address in the file's own address space.
    pub address: u64,
}

const FRAME_POINTER: Register = gimli::X86_64::RBP;
const STACK_POINTER: Register = gimli::X86_64::RSP;
const RETURN_ADDRESS: Register = gimli::X86_64::RA;

impl CallFrames {
    /// Reads those of a file.
    ///
    /// # Errors
    /// If it is no ELF file of this machine, or what it says is broken. Without call frame information there
    /// are no rows, and that is no error.
    pub fn of(file: &File) -> Result<CallFrames> {
        let cache = ReadCache::new(file);
        let elf = object::File::parse(&cache).context("it is no ELF file")?;
        ensure!(elf.architecture() == object::Architecture::X86_64, "it is of another machine");
        let segments = elf.segments().filter(is_code).map(|segment| {
            let (offset, bytes) = segment.file_range();
            Segment { offset, bytes, address: segment.address() }
        });
        let segments = segments.collect();
        let Some(section) = elf.section_by_name(".eh_frame") else {
            return Ok(CallFrames { rows: Vec::new(), segments });
        };
        ensure!(section.size() <= MOST_BYTES, "{} bytes are too many", section.size());
        let data = section.data().context("its .eh_frame is not there")?;
        let address = |name| elf.section_by_name(name).map_or(0, |section| section.address());
        let bases = BaseAddresses::default()
            .set_eh_frame(section.address())
            .set_text(address(".text"))
            .set_got(address(".got"));
        Ok(CallFrames { rows: rows(data, &bases)?, segments })
    }

    /// The address, in the file's own address space, of a place in the file.
    pub fn address_of(&self, offset: u64) -> Option<u64> {
        let has = |segment: &&Segment| {
            // Segments begin amid a page, and are mapped from its start.
            let first = segment.offset & !0xfff;
            first <= offset && offset < segment.offset.saturating_add(segment.bytes)
        };
        let segment = self.segments.iter().find(has)?;
        Some(segment.address.wrapping_add(offset).wrapping_sub(segment.offset))
    }
}

fn is_code<'d>(segment: &impl object::ObjectSegment<'d>) -> bool {
    matches!(segment.flags(), SegmentFlags::Elf { p_flags, .. } if p_flags.contains(object::elf::PF_X))
}

type Data<'d> = EndianSlice<'d, LittleEndian>;

fn rows(data: &[u8], bases: &BaseAddresses) -> Result<Vec<(u64, Row)>> {
    let section = EhFrame::new(data, LittleEndian);
    let mut cies = HashMap::new();
    let mut context = UnwindContext::new();
    let mut entries = section.entries(bases);
    let mut rows: Vec<(u64, Row)> = Vec::new();
    // What comes after something broken cannot be found.
    while let Ok(Some(entry)) = entries.next() {
        let CieOrFde::Fde(partial) = entry else { continue };
        let fde = partial.parse(|_, bases, offset: EhFrameOffset| {
            if let Some(cie) = cies.get(&offset) {
                return Ok(gimli::CommonInformationEntry::clone(cie));
            }
            let cie = section.cie_from_offset(bases, offset)?;
            cies.insert(offset, cie.clone());
            Ok(cie)
        });
        let Ok(fde) = fde else { continue };
        if fde.len() == 0 || fde.end_address() < fde.initial_address() {
            continue;
        }
        if fde.is_signal_trampoline() {
            rows.push((fde.initial_address(), row(Cfa::Signal, 0, Fp::Same, 0)));
        } else if let Ok(mut table) = fde.rows(&section, bases, &mut context) {
            // A broken function ends what is known of it.
            while let Ok(Some(found)) = table.next_row() {
                rows.push((found.start_address(), compact(found, &section)));
                ensure!(rows.len() <= MOST_ROWS, "it has more than {MOST_ROWS} rows");
            }
        }
        rows.push((fde.end_address(), Row::default()));
    }
    Ok(in_order(rows))
}

/// Sorts rows, and leaves out those that say what the one before says.
fn in_order(mut rows: Vec<(u64, Row)>) -> Vec<(u64, Row)> {
    // Where one function ends and the next begins, the beginning counts, wherever it stands in the file.
    rows.sort_by_key(|(address, row)| (*address, row.rule != Cfa::None as u8));
    let mut kept: Vec<(u64, Row)> = Vec::with_capacity(rows.len());
    for (address, row) in rows {
        match kept.last_mut() {
            Some((last, same)) if *last == address => *same = row,
            Some((_, same)) if *same == row => {}
            Some(_) | None => kept.push((address, row)),
        }
    }
    kept.shrink_to_fit();
    kept
}

fn row(cfa: Cfa, distance: i16, fp: Fp, fp_distance: i8) -> Row {
    Row { address: 0, cfa: distance, fp: fp_distance, rule: cfa as u8 | (fp as u8) << 4 }
}

/// What a row of the call frame information comes to.
fn compact<'d>(found: &gimli::UnwindTableRow<usize>, section: &EhFrame<Data<'d>>) -> Row {
    match found.register(RETURN_ADDRESS) {
        Some(RegisterRule::Undefined) => return row(Cfa::End, 0, Fp::Same, 0),
        // What is not told is unchanged; of the return address that cannot be meant.
        Some(RegisterRule::Offset(-8)) | None => {}
        Some(_) => return Row::default(),
    }
    let fp = match found.register(FRAME_POINTER) {
        Some(RegisterRule::Offset(distance)) => words(distance).map(|words| (Fp::AtCfa, words)),
        Some(RegisterRule::Expression(expression)) => fp_of(expression, section),
        Some(RegisterRule::SameValue) | None => Some((Fp::Same, 0)),
        Some(_) => None,
    };
    let (fp, fp_distance) = fp.unwrap_or((Fp::Lost, 0));
    let cfa = match found.cfa() {
        CfaRule::RegisterAndOffset { register, offset } if *register == STACK_POINTER => {
            words(*offset).map(|words| (Cfa::Sp, words))
        }
        CfaRule::RegisterAndOffset { register, offset } if *register == FRAME_POINTER => {
            words(*offset).map(|words| (Cfa::Fp, words))
        }
        CfaRule::RegisterAndOffset { .. } => None,
        CfaRule::Expression(expression) => match cfa_of(*expression, section) {
            Some((cfa, words, 0)) => Some((cfa, words)),
            // The place of the frame pointer's distance is taken by this one.
            Some((cfa, words, added)) => {
                let fp = if fp == Fp::Same { Fp::Same } else { Fp::Lost };
                return row(cfa, words, fp, added);
            }
            None => None,
        },
    };
    match cfa {
        Some((cfa, distance)) => row(cfa, distance, fp, fp_distance),
        None => Row::default(),
    }
}

/// A distance in words, if it is one that fits.
fn words<T: TryFrom<i64>>(bytes: i64) -> Option<T> {
    (bytes % 8 == 0).then(|| T::try_from(bytes / 8).ok()).flatten()
}

/// The first operations of an expression; none if there are more.
fn operations<'d>(
    expression: UnwindExpression<usize>,
    section: &EhFrame<Data<'d>>,
) -> Option<Vec<Operation<Data<'d>>>> {
    const MOST: usize = 9;
    let encoding = gimli::Encoding { address_size: 8, format: gimli::Format::Dwarf32, version: 4 };
    let mut operations = Vec::new();
    let mut left = expression.get(section).ok()?.operations(encoding);
    while let Some(operation) = left.next().ok()? {
        if operations.len() == MOST {
            return None;
        }
        operations.push(operation);
    }
    Some(operations)
}

/// Where the caller's frame pointer is saved, if that is at a distance from the frame pointer.
fn fp_of(expression: UnwindExpression<usize>, section: &EhFrame<Data<'_>>) -> Option<(Fp, i8)> {
    match operations(expression, section)?.as_slice() {
        [Operation::RegisterOffset { register: FRAME_POINTER, offset, .. }] => {
            Some((Fp::AtFp, words(*offset)?))
        }
        _others => None,
    }
}

/// What an expression of the canonical frame address comes to, and what is added in the end.
fn cfa_of(
    expression: UnwindExpression<usize>,
    section: &EhFrame<Data<'_>>,
) -> Option<(Cfa, i16, i8)> {
    const INSTRUCTION_POINTER: Register = RETURN_ADDRESS;
    match operations(expression, section)?.as_slice() {
        // gcc, where a function aligns its stack.
        [
            Operation::RegisterOffset { register: FRAME_POINTER, offset, .. },
            Operation::Deref { size: 8, .. },
        ] => Some((Cfa::AtFp, words(*offset)?, 0)),
        // OpenSSL's assembler.
        [
            Operation::RegisterOffset { register: STACK_POINTER, offset, .. },
            Operation::Deref { size: 8, .. },
            Operation::PlusConstant { value },
        ] => Some((Cfa::AtSp, words(*offset)?, words(i64::try_from(*value).ok()?)?)),
        [
            Operation::RegisterOffset { register: STACK_POINTER, offset, .. },
            Operation::Deref { size: 8, .. },
        ] => Some((Cfa::AtSp, words(*offset)?, 0)),
        // Linkers, of the procedure linkage table: rsp + 8 + ((rip & 15) >= N) * 8.
        [
            Operation::RegisterOffset { register: STACK_POINTER, offset: 8, .. },
            Operation::RegisterOffset { register: INSTRUCTION_POINTER, offset: 0, .. },
            Operation::UnsignedConstant { value: 15 },
            Operation::And,
            Operation::UnsignedConstant { value: pushed },
            Operation::Ge,
            Operation::UnsignedConstant { value: 3 },
            Operation::Shl,
            Operation::Plus,
        ] => Some((Cfa::Plt, i16::try_from(*pushed).ok()?, 0)),
        _others => None,
    }
}

#[cfg(test)]
mod tests;
