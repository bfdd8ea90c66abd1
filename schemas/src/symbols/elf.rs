//! What is needed of an ELF file before its symbols: its build id, and where its code lies.
//!
//! This is read in the process itself, of any file that somebody has mapped, so it reads little, reads it
//! by places (a mapped file that shrinks kills its reader), and only of regular files.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;

use object::read::ReadRef;
use object::read::elf::{FileHeader, ProgramHeader as _, SectionHeader as _};
use object::{ReadCache, elf};

/// More than this is not read of a file's headers and notes, in bytes.
const MOST: u64 = 16 << 20;
/// Nor are names of sections longer.
const LONGEST_NAME: u64 = 256;

/// What an ELF file's headers say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    /// The GNU build id, in hex.
    pub build_id: Option<String>,
    /// Whether there is debug information in it.
    pub debug_info: bool,
    /// Whether there is code in it; not so in files of debug information alone.
    pub code: bool,
    segments: Vec<Segment>,
}

/// A part of the file that is mapped as code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    offset: u64,
    size: u64,
    address: u64,
}

impl Headers {
    /// Reads them.
    ///
    /// # Errors
    /// If it is no regular file, cannot be read, or is no ELF file.
    pub fn read(path: &Path) -> io::Result<Headers> {
        Headers::of(open(path)?)
    }

    /// The same of a file that is open.
    ///
    /// # Errors
    /// If it cannot be read, or is no ELF file.
    pub fn of(file: File) -> io::Result<Headers> {
        let cache = ReadCache::new(file);
        let data = Bounded { cache: &cache, left: &Cell::new(MOST) };
        let damaged =
            |error: object::read::Error| io::Error::new(io::ErrorKind::InvalidData, error);
        match object::FileKind::parse(data).map_err(damaged)? {
            object::FileKind::Elf64 => parse::<elf::FileHeader64<_>>(data).map_err(damaged),
            object::FileKind::Elf32 => parse::<elf::FileHeader32<_>>(data).map_err(damaged),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "it is no ELF file")),
        }
    }

    /// The address that the linker gave to the code at `offset` in the file; `None` if there is none, as
    /// where a stack that could not be walked seems to lead through data.
    #[must_use]
    pub fn address(&self, offset: u64) -> Option<u64> {
        let within = |segment: &Segment| {
            let into = offset.checked_sub(segment.offset).filter(|into| *into < segment.size)?;
            segment.address.checked_add(into)
        };
        self.segments.iter().find_map(within)
    }
}

/// The GNU build id of the file at `path`, in hex; `None` where it has none or cannot be read.
#[must_use]
pub fn build_id(path: &Path) -> Option<String> {
    Headers::read(path).ok()?.build_id
}

/// A build id as tools print it.
#[must_use]
pub fn hex(build_id: &[u8]) -> String {
    build_id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Opens a regular file, and waits for nobody.
fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    let file = options.open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, "it is no regular file")),
    }
}

fn parse<'d, Elf: FileHeader<Endian = object::Endianness>>(
    data: Bounded<'d>,
) -> object::read::Result<Headers> {
    let header = Elf::parse(data)?;
    let endian = header.endian()?;
    let mut headers = Headers::default();
    // A file may have no sections, or no segments.
    let programs = header.program_headers(endian, data).unwrap_or_default();
    for program in programs.iter().filter(|program| {
        program.p_type(endian) == elf::PT_LOAD && program.p_flags(endian).contains(elf::PF_X)
    }) {
        let (offset, size) = program.file_range(endian);
        headers.segments.push(Segment { offset, size, address: program.p_vaddr(endian).into() });
    }
    for program in programs {
        if let Ok(Some(notes)) = program.notes(endian, data) {
            headers.build_id = headers.build_id.or_else(|| find_build_id(notes, endian));
        }
    }
    if let Ok(sections) = header.sections(endian, data) {
        // Files without sections are not made by stripping what is for debuggers, but all of that.
        headers.code = sections.is_empty();
        for section in sections.iter() {
            // The segments of debug files may lead nowhere.
            if let Ok(Some(notes)) = section.notes(endian, data) {
                headers.build_id = headers.build_id.or_else(|| find_build_id(notes, endian));
            }
            let name = sections.section_name(endian, section).unwrap_or_default();
            let filled = section.sh_type(endian) != elf::SHT_NOBITS;
            // Segments do not tell: debug files keep those of their binary.
            headers.code |= filled && section.sh_flags(endian).contains(elf::SHF_EXECINSTR);
            headers.debug_info |= filled && [&b".debug_info"[..], b".zdebug_info"].contains(&name);
        }
    }
    Ok(headers)
}

fn find_build_id<Elf: FileHeader>(
    notes: object::read::elf::NoteIterator<'_, Elf>,
    endian: Elf::Endian,
) -> Option<String> {
    let mut notes = notes.map_while(Result::ok);
    let note = notes.find(|note| {
        note.name() == elf::ELF_NOTE_GNU && note.n_type(endian) == elf::NT_GNU_BUILD_ID
    })?;
    // Linkers make them of 8 to 32 bytes; --build-id=0x… of any number.
    (2..=64).contains(&note.desc().len()).then(|| hex(note.desc()))
}

/// A file of which only so much is read.
#[derive(Clone, Copy)]
struct Bounded<'d> {
    cache: &'d ReadCache<File>,
    left: &'d Cell<u64>,
}

impl<'d> ReadRef<'d> for Bounded<'d> {
    fn len(self) -> Result<u64, ()> {
        self.cache.len()
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'d [u8], ()> {
        self.left.set(self.left.get().checked_sub(size).ok_or(())?);
        self.cache.read_bytes_at(offset, size)
    }

    fn read_bytes_at_until(self, range: Range<u64>, delimiter: u8) -> Result<&'d [u8], ()> {
        let end = range.end.min(range.start.saturating_add(LONGEST_NAME));
        self.left.set(self.left.get().checked_sub(LONGEST_NAME).ok_or(())?);
        self.cache.read_bytes_at_until(range.start..end, delimiter)
    }
}
