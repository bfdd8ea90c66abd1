//! Probes that programs were built with (USDT, "user statically defined tracing").
//!
//! `sys/sdt.h` leaves a `nop` in the code, and a note in the ELF section `.note.stapsdt` that says where it
//! is, what it is called and where its arguments are at that moment. Some have a *semaphore* too: a counter
//! in the program's memory that must not be zero, or the program leaves out the probe with all that leads to
//! it. The kernel counts it up where it puts a probe, if it is told the place (1cc33161a83d, 4.20).
//! <https://sourceware.org/systemtap/wiki/UserSpaceProbeImplementation>

use std::fs::File;
use std::path::Path;

use anyhow::{Context as _, Result};
use object::elf::FileHeader64;
use object::read::elf::{ElfFile, FileHeader as _, SectionHeader as _};
use object::{Endianness, Object as _, ObjectSection as _, ReadCache, ReadRef};

use super::elf;
use super::placement::{self, Place};

/// Such a probe, at one of the places where the program has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Who provides it: usually the program's name.
    pub provider: String,
    /// Its name.
    pub name: String,
    /// Where it is: bytes from the file's start.
    pub offset: u64,
    /// The instruction there.
    pub place: Place,
    /// Where its semaphore is in the file, or 0 if it has none.
    pub semaphore: u64,
    /// Its arguments, as the note has them.
    pub arguments: Vec<String>,
}

/// The name and the type of the notes.
const OWNER: &[u8] = b"stapsdt";
const TYPE: object::elf::NoteType = object::elf::NoteType(3);

/// The probes of the program or library at `path`.
///
/// # Errors
/// If it cannot be read, or is no ELF file of 64 bits, or a note is broken.
pub fn notes(path: &Path) -> Result<Vec<Note>> {
    let cache = ReadCache::new(File::open(path).with_context(|| path.display().to_string())?);
    let file = ElfFile::<FileHeader64<Endianness>, _>::parse(&cache)
        .with_context(|| format!("{} is no ELF file of 64 bits", path.display()))?;
    in_file(&file).with_context(|| format!("{}: broken notes of probes", path.display()))
}

fn in_file<'d, R: ReadRef<'d>>(
    file: &ElfFile<'d, FileHeader64<Endianness>, R>,
) -> Result<Vec<Note>> {
    let (endian, data) = (file.endian(), file.data());
    let sections = file.elf_header().sections(endian, data)?;
    let base = file.section_by_name(".stapsdt.base").map(|section| section.address());
    let mut found = Vec::new();
    for section in sections.iter() {
        let Some(mut notes) = section.notes(endian, data)? else { continue };
        while let Some(note) = notes.next()? {
            if note.name() != OWNER || note.n_type(endian) != TYPE {
                continue;
            }
            let Some(description) = Description::read(note.desc()) else { continue };
            // Prelinking moves code after the notes were written.
            let moved = base.map_or(0, |base| base.wrapping_sub(description.base));
            let address = description.pc.wrapping_add(moved);
            let Some((offset, code)) = elf::code_at(file, address, INSTRUCTION) else { continue };
            let semaphore = match description.semaphore {
                0 => Some(0),
                address => elf::offset_of(file, address.wrapping_add(moved)),
            };
            found.push(Note {
                provider: description.provider,
                name: description.name,
                offset,
                place: placement::at(&code, 0),
                semaphore: semaphore.context("a semaphore is outside the file")?,
                arguments: arguments(&description.arguments),
            });
        }
    }
    Ok(found)
}

/// No instruction is longer.
const INSTRUCTION: u64 = 16;

/// What a note holds.
struct Description {
    pc: u64,
    base: u64,
    semaphore: u64,
    provider: String,
    name: String,
    arguments: String,
}

impl Description {
    fn read(bytes: &[u8]) -> Option<Description> {
        let (numbers, texts) = bytes.split_at_checked(24)?;
        let (numbers, _) = numbers.as_chunks::<8>();
        let [pc, base, semaphore] = [0, 1, 2].map(|at| u64::from_le_bytes(numbers[at]));
        let mut texts = texts.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        let mut text = || Some(texts.next()?.into_owned());
        Some(Description {
            pc,
            base,
            semaphore,
            provider: text()?,
            name: text()?,
            arguments: text().unwrap_or_default(),
        })
    }
}

/// Arguments are separated by spaces; those of aarch64 have some inside brackets.
fn arguments(text: &str) -> Vec<String> {
    let mut arguments: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match arguments.last_mut() {
            Some(last) if last.contains('[') && !last.contains(']') => {
                last.push(' ');
                last.push_str(word);
            }
            _ => arguments.push(word.to_owned()),
        }
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read() {
        let mut bytes: Vec<u8> = [0x1234_u64, 0x2000, 0x3000].map(u64::to_le_bytes).concat();
        bytes.extend(b"shop\0order\08@%rdi -4@$5\0");
        let note = Description::read(&bytes).unwrap();
        assert_eq!((note.pc, note.base, note.semaphore), (0x1234, 0x2000, 0x3000));
        assert_eq!((note.provider.as_str(), note.name.as_str()), ("shop", "order"));
        assert_eq!(arguments(&note.arguments), ["8@%rdi", "-4@$5"]);
        assert!(Description::read(&bytes[..20]).is_none());
        assert!(Description::read(&bytes[..24]).is_none_or(|note| note.name.is_empty()));
        assert_eq!(arguments("8@[sp, 16] 4@x1"), ["8@[sp, 16]", "4@x1"]);
        assert!(arguments("").is_empty());
    }

    #[test]
    fn the_dynamic_loader_has_probes() {
        let own = std::env::current_exe().unwrap();
        let loader = elf::interpreter(&own).unwrap().unwrap();
        let notes = notes(&loader).unwrap();
        // Not every C library has them: musl's has none.
        for note in notes.iter().filter(|note| note.provider == "rtld") {
            assert_eq!(note.place.instruction, [0x90], "{note:?}");
        }
        assert!(super::notes(Path::new("/nonexistent")).is_err());
    }
}
