//! Names of kernel code, from `/proc/kallsyms`.
//!
//! The kernel lists where each of its functions begins, with the module in brackets where it is not the
//! kernel proper: `ffffffffc0a01000 t nf_hook_slow\t[nf_tables]`. Programs and trampolines of BPF are
//! there too, as of a module `bpf`, while they are loaded; so the list is read more than once. It has no
//! sizes: an address belongs to the symbol before it, if that is near enough. Who may not see addresses is
//! given zeros for all of them, and then nothing has a name.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::Path;

/// Where the kernel has the list.
pub const PATH: &str = "/proc/kallsyms";

/// No function of the kernel is larger, in bytes.
const LARGEST_FUNCTION: u64 = 1 << 20;
/// Programs and trampolines lie where the kernel finds room, so what comes next tells little. Few are
/// larger than this, in bytes; beyond it there is no name rather than a wrong one.
const LARGEST_PROGRAM: u64 = 64 << 10;
/// Longer lines are none of the kernel's, in bytes.
const LONGEST_LINE: u64 = 4096;
/// The module that BPF's own code is in.
const BPF: &str = "bpf";

/// What the kernel's symbols were at one time.
#[derive(Clone, Debug, Default)]
pub struct Kallsyms {
    symbols: BTreeMap<u64, Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    name: Box<str>,
    module: Option<Box<str>>,
}

/// A function of the kernel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function<'k> {
    /// Its name.
    pub name: &'k str,
    /// Its module; `bpf` for BPF programs, `None` for the kernel proper.
    pub module: Option<&'k str>,
    /// How far into it the address lies, in bytes.
    pub offset: u64,
}

impl Kallsyms {
    /// The running kernel's, as they are now.
    ///
    /// # Errors
    /// If the list cannot be read.
    pub fn now() -> io::Result<Kallsyms> {
        Kallsyms::read(std::fs::File::open(Path::new(PATH))?)
    }

    /// Reads a list.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read(list: impl Read) -> io::Result<Kallsyms> {
        let mut symbols = BTreeMap::new();
        let mut list = BufReader::new(list);
        let mut line = Vec::new();
        loop {
            line.clear();
            if list.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)? == 0 {
                return Ok(Kallsyms { symbols });
            }
            if let Some((address, entry)) = str::from_utf8(&line).ok().and_then(parse) {
                // Of several names the first is the one that stack traces of the kernel's use.
                symbols.entry(address).or_insert(entry);
            }
        }
    }

    /// Adds BPF's code of an earlier time, which may be gone by now.
    pub fn add_programs_of(&mut self, earlier: Kallsyms) {
        for (address, entry) in earlier.symbols {
            if entry.module.as_deref() == Some(BPF) {
                self.symbols.insert(address, entry);
            }
        }
    }

    /// Whether nothing is known: addresses are hidden from this user.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.symbols.is_empty()
    }

    /// The function that `address` lies in.
    #[must_use]
    pub fn find(&self, address: u64) -> Option<Function<'_>> {
        let (start, entry) = self.symbols.range(..=address).next_back()?;
        let module = entry.module.as_deref();
        let offset = address - start;
        let largest = if module == Some(BPF) { LARGEST_PROGRAM } else { LARGEST_FUNCTION };
        (offset < largest).then_some(Function { name: &entry.name, module, offset })
    }
}

/// A line: address, type, name, and the module in brackets.
fn parse(line: &str) -> Option<(u64, Entry)> {
    let mut words = line.split_ascii_whitespace();
    let address = u64::from_str_radix(words.next()?, 16).ok().filter(|address| *address != 0)?;
    let _kind = words.next()?;
    let name = words.next()?.into();
    let module = words.next().map(|word| word.trim_matches(['[', ']']).into());
    Some((address, Entry { name, module }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "ffffffff81000000 T _text\n\
                        ffffffff81000100 t do_work\n\
                        ffffffff81000100 t its_other_name\n\
                        ffffffffc0100000 t hook\t[nf_tables]\n\
                        ffffffffc0200000 t bpf_prog_6deef7357e7b4530_on_exit\t[bpf]\n\
                        ffffffffc0201000 t bpf_trampoline_42\t[bpf]\n\
                        nonsense\n";

    fn found(kallsyms: &Kallsyms, address: u64) -> Option<(&str, Option<&str>, u64)> {
        kallsyms.find(address).map(|function| (function.name, function.module, function.offset))
    }

    #[test]
    fn an_address_belongs_to_the_symbol_before_it_if_that_is_near() {
        let kallsyms = Kallsyms::read(LIST.as_bytes()).expect("it is in memory");
        assert_eq!(found(&kallsyms, 0xffff_ffff_80ff_ffff), None);
        assert_eq!(found(&kallsyms, 0xffff_ffff_8100_0123), Some(("do_work", None, 0x23)));
        assert_eq!(found(&kallsyms, 0xffff_ffff_c010_0004), Some(("hook", Some("nf_tables"), 4)));
        let trampoline = Some(("bpf_trampoline_42", Some("bpf"), 8));
        assert_eq!(found(&kallsyms, 0xffff_ffff_c020_1008), trampoline);
        assert_eq!(found(&kallsyms, 0xffff_ffff_c021_1000), None, "too far behind it");
        assert_eq!(found(&kallsyms, 0xffff_ffff_8120_0000), None, "so is this");
    }

    #[test]
    fn programs_that_are_gone_are_kept() {
        let earlier = Kallsyms::read(LIST.as_bytes()).expect("it is in memory");
        let later = "ffffffff81000200 T do_work\nffffffffc0200000 t other\t[late]\n";
        let mut kallsyms = Kallsyms::read(later.as_bytes()).expect("it is in memory");
        kallsyms.add_programs_of(earlier);
        let program = kallsyms.find(0xffff_ffff_c020_0010).map(|function| function.name);
        assert_eq!(program, Some("bpf_prog_6deef7357e7b4530_on_exit"));
        assert_eq!(kallsyms.find(0xffff_ffff_8100_0120), None, "the rest is of the later time");
    }

    #[test]
    fn hidden_addresses_name_nothing() {
        let hidden = "0000000000000000 T _text\n0000000000000000 t do_work\n";
        let kallsyms = Kallsyms::read(hidden.as_bytes()).expect("it is in memory");
        assert!(kallsyms.is_empty());
        assert_eq!(kallsyms.find(0x100), None);
    }
}
