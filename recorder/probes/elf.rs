//! Functions in ELF files, by name.
//!
//! Names that other files may use are in the dynamic symbol table. The others are in the symbol table
//! proper, which stripping removes; distributions keep it in a file of its own, that is found by the
//! build id or by the debug link.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use object::read::elf::ProgramHeader as _;
use object::{
    Object as _, ObjectSection as _, ObjectSegment as _, ObjectSymbol as _, ReadCache, SymbolKind,
};

/// Where distributions put what they strip.
const DEBUG: &str = "/usr/lib/debug";

/// A function in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name, as it stands in the symbol table.
    pub name: String,
    /// Where it begins: bytes from the file's start.
    pub offset: u64,
    /// Its instructions.
    pub code: Vec<u8>,
}

/// The functions of the file at `path` whose name `wanted` chooses, each name once.
///
/// `root` is the root directory of the process that has the file: what was stripped is looked for there.
///
/// # Errors
/// If the file cannot be read, or is no ELF file.
pub fn functions(path: &Path, root: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<Function>> {
    let cache = ReadCache::new(File::open(path).with_context(|| path.display().to_string())?);
    let file = object::File::parse(&cache)
        .with_context(|| format!("{} is no ELF file", path.display()))?;
    anyhow::ensure!(file.is_64(), "{} is of a 32-bit architecture", path.display());
    let mut found = Vec::new();
    collect(&file, file.dynamic_symbols(), &wanted, &mut found);
    collect(&file, file.symbols(), &wanted, &mut found);
    if file.symbol_table().is_none()
        && let Some(debug) = stripped_symbols(&file, path, root)
        && let Ok(debug) = File::open(debug)
    {
        let cache = ReadCache::new(debug);
        if let Ok(debug) = object::File::parse(&cache) {
            collect(&file, debug.symbols(), &wanted, &mut found);
        }
    }
    Ok(found)
}

/// Adds what is wanted of `symbols`, which may be another file's; the code is `file`'s.
fn collect<'d>(
    file: &object::File<'d, &'d ReadCache<File>>,
    symbols: impl Iterator<Item = impl object::ObjectSymbol<'d>>,
    wanted: &impl Fn(&str) -> bool,
    found: &mut Vec<Function>,
) {
    for symbol in symbols {
        let Ok(name) = symbol.name() else { continue };
        if symbol.kind() != SymbolKind::Text
            || symbol.is_undefined()
            || symbol.size() == 0
            || !wanted(name)
        {
            continue;
        }
        if found.iter().any(|function| function.name == name) {
            continue;
        }
        if let Some((offset, code)) = code_at(file, symbol.address(), symbol.size()) {
            found.push(Function { name: name.to_owned(), offset, code });
        }
    }
}

/// Longer functions are looked at no further.
const MOST_CODE: u64 = 64 << 10;

/// Where the code at an address of the file's own address space lies in the file, and the code.
pub fn code_at<'d>(
    file: &impl object::Object<'d>,
    address: u64,
    size: u64,
) -> Option<(u64, Vec<u8>)> {
    let size = size.min(MOST_CODE);
    file.segments().find_map(|segment| {
        let within = address.checked_sub(segment.address())?;
        let (offset, length) = segment.file_range();
        if within >= length {
            return None;
        }
        let code = segment.data_range(address, size.min(length - within)).ok()??;
        Some((offset + within, code.to_vec()))
    })
}

/// Where what lies at an address of the file's own address space is in the file.
pub fn offset_of<'d>(file: &impl object::Object<'d>, address: u64) -> Option<u64> {
    file.segments().find_map(|segment| {
        let within = address.checked_sub(segment.address())?;
        let (offset, length) = segment.file_range();
        // A semaphore is often where the file has only zeros to come, and so nothing at all.
        (within < length.max(segment.size())).then_some(offset + within)
    })
}

/// The code at an address of the file's own address space, without the name of a function.
///
/// # Errors
/// If the file cannot be read, is no ELF file, or has no code there.
pub fn code_at_address(path: &Path, address: u64) -> Result<Function> {
    let cache = ReadCache::new(File::open(path).with_context(|| path.display().to_string())?);
    let file = object::File::parse(&cache)
        .with_context(|| format!("{} is no ELF file", path.display()))?;
    let found = code_at(&file, address, 256);
    let (offset, code) =
        found.with_context(|| format!("{} has no code at {address:#x}", path.display()))?;
    Ok(Function { name: format!("{address:#x}"), offset, code })
}

/// Whether functions of the file may be left by exceptions of C++ or panics of Rust.
///
/// # Errors
/// If the file cannot be read, or is no ELF file.
pub fn throws(path: &Path) -> Result<bool> {
    const UNWINDS: [&str; 2] = ["__gxx_personality_v0", "rust_eh_personality"];
    let cache = ReadCache::new(File::open(path).with_context(|| path.display().to_string())?);
    let file = object::File::parse(&cache)
        .with_context(|| format!("{} is no ELF file", path.display()))?;
    let mut symbols = file.dynamic_symbols().chain(file.symbols());
    Ok(symbols.any(|symbol| symbol.name().is_ok_and(|name| UNWINDS.contains(&name))))
}

/// Whether the file has no names of functions but those that other files may use.
///
/// # Errors
/// If the file cannot be read, or is no ELF file.
pub fn is_stripped(path: &Path, root: &Path) -> Result<bool> {
    let cache = ReadCache::new(File::open(path).with_context(|| path.display().to_string())?);
    let file = object::File::parse(&cache)
        .with_context(|| format!("{} is no ELF file", path.display()))?;
    Ok(file.symbol_table().is_none() && stripped_symbols(&file, path, root).is_none())
}

/// The file that has the symbols which were stripped from `file`, if it is there.
fn stripped_symbols<'d>(
    file: &object::File<'d, &'d ReadCache<File>>,
    path: &Path,
    root: &Path,
) -> Option<PathBuf> {
    let debug = root.join(DEBUG.trim_start_matches('/'));
    if let Ok(Some([first, rest @ ..])) = file.build_id() {
        let rest: String = rest.iter().map(|byte| format!("{byte:02x}")).collect();
        let by_id = debug.join(format!(".build-id/{first:02x}/{rest}.debug"));
        if by_id.is_file() {
            return Some(by_id);
        }
    }
    let (name, _checksum) = file.gnu_debuglink().ok()??;
    let name = std::str::from_utf8(name).ok()?;
    let folder = path.parent()?;
    // In the process's own terms, below its root.
    let below = folder.strip_prefix(root).unwrap_or(folder);
    let places =
        [folder.join(name), folder.join(".debug").join(name), debug.join(below).join(name)];
    places.into_iter().find(|place| place.is_file())
}

/// The program that loads the file's libraries (`PT_INTERP`); `None` where it needs none.
///
/// # Errors
/// If the file cannot be read, or is no ELF file.
pub fn interpreter(path: &Path) -> Result<Option<PathBuf>> {
    let cache = ReadCache::new(File::open(path).with_context(|| path.display().to_string())?);
    let file = object::File::parse(&cache)
        .with_context(|| format!("{} is no ELF file", path.display()))?;
    let bytes = match &file {
        object::File::Elf64(elf) => {
            let endian = elf.endian();
            let mut headers = elf.elf_program_headers().iter();
            headers.find_map(|header| header.interpreter(endian, elf.data()).ok().flatten())
        }
        _other_formats => None,
    };
    let text = bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    Ok(text.map(PathBuf::from).or_else(|| {
        // `.interp` says the same where the headers were not understood.
        let section = file.section_by_name(".interp")?.data().ok()?;
        let text = String::from_utf8_lossy(section.strip_suffix(b"\0").unwrap_or(section));
        Some(PathBuf::from(text.into_owned()))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_of_this_program_are_found_with_their_code() {
        let own = std::env::current_exe().unwrap();
        let found = functions(&own, Path::new("/"), |name| name == "main").unwrap();
        assert_eq!(found.len(), 1);
        let file = std::fs::read(&own).unwrap();
        assert!(file[found[0].offset as usize..].starts_with(&found[0].code));
        assert!(interpreter(&own).unwrap().is_some_and(|loader| loader.is_file()));
    }

    #[test]
    fn what_is_no_program_is_an_error() {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        assert!(functions(&manifest, Path::new("/"), |_| true).is_err());
        assert!(functions(Path::new("/nonexistent"), Path::new("/"), |_| true).is_err());
    }
}
