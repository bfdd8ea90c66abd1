//! The map of code that a process has made itself: `/tmp/perf-PID.map`.
//!
//! Runtimes with a compiler of their own (Node.js with `--perf-basic-prof`, Java with
//! `-XX:+DumpPerfMapAtExit` or an agent, Python with `-X perf`) append a line for each function that they
//! compile: `START SIZE name`, the numbers in hex. Code is moved and thrown away, and its place is taken by
//! other code, so the latest line that covers an address holds.
//!
//! The file is the process's, who may write anything: lines that are none are skipped, and what is read
//! and kept is bounded.

use std::collections::BTreeMap;
use std::sync::Arc;

/// No longer line is taken, in bytes.
const LONGEST_LINE: usize = 4096;
/// Nor more of them, of one process,
const MOST_ENTRIES: usize = 1 << 20;
/// nor more of their text, in bytes.
const MOST_TEXT: usize = 128 << 20;

/// What is known of a process's own code.
#[derive(Debug, Default)]
pub struct PerfMap {
    /// By where they start; they do not overlap.
    entries: BTreeMap<u64, Entry>,
    text: usize,
    /// The beginning of a line whose end was not there yet.
    partial: Vec<u8>,
    /// Whether that is too long.
    skipping: bool,
}

#[derive(Clone, Debug)]
struct Entry {
    end: u64,
    /// Where the function starts: what is left of one may start later.
    start: u64,
    name: Arc<str>,
    generation: u32,
}

/// A function that a process has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name, as it stands in the map.
    pub name: Arc<str>,
    /// How far into it the address lies, in bytes.
    pub offset: u64,
    /// How many others were here before.
    pub generation: u32,
}

impl PerfMap {
    /// Takes what the file has got.
    pub fn add(&mut self, text: &[u8]) {
        for part in text.split_inclusive(|byte| *byte == b'\n') {
            let whole = part.ends_with(b"\n");
            if self.skipping || self.partial.len() + part.len() > LONGEST_LINE {
                self.partial.clear();
                self.skipping = !whole;
                continue;
            }
            self.partial.extend_from_slice(part);
            if whole {
                let line = std::mem::take(&mut self.partial);
                if let Some((start, end, name)) = parse(&line) {
                    self.insert(start, end, name.into());
                }
            }
        }
    }

    /// Forgets the beginning of a line: the file was begun anew.
    pub fn begin_anew(&mut self) {
        self.partial.clear();
        self.skipping = false;
    }

    /// Whether no more is taken.
    pub fn is_full(&self) -> bool {
        self.entries.len() >= MOST_ENTRIES || self.text >= MOST_TEXT
    }

    /// The function at an address, of those that were read.
    pub fn find(&self, address: u64) -> Option<Function> {
        let (_, entry) = self.entries.range(..=address).next_back()?;
        let Entry { end, start, name, generation } = entry;
        (address < *end).then(|| Function {
            name: Arc::clone(name),
            offset: address - start,
            generation: *generation,
        })
    }

    /// Adds a function, in place of what was there.
    fn insert(&mut self, start: u64, end: u64, name: Arc<str>) {
        if self.is_full() {
            return;
        }
        self.text += name.len();
        let mut generation = 0;
        while let Some((at, old)) = self.last_before(end).filter(|(_, old)| old.end > start) {
            self.entries.remove(&at);
            generation = generation.max(old.generation.saturating_add(1));
            if old.end > end {
                self.entries.insert(end, old.clone());
            }
            if at < start {
                self.entries.insert(at, Entry { end: start, ..old });
            }
        }
        self.entries.insert(start, Entry { end, start, name, generation });
    }

    /// The last entry that starts before an address, and where it does.
    fn last_before(&self, address: u64) -> Option<(u64, Entry)> {
        let (at, entry) = self.entries.range(..address).next_back()?;
        Some((*at, entry.clone()))
    }
}

/// A line: where a function starts and ends, and its name. Java puts `0x` before its numbers.
fn parse(line: &[u8]) -> Option<(u64, u64, String)> {
    let line = String::from_utf8_lossy(line);
    let mut words = line.trim_end_matches(['\n', '\r']).splitn(3, ' ');
    let mut number = || {
        let word = words.next()?;
        u64::from_str_radix(word.strip_prefix("0x").unwrap_or(word), 16).ok()
    };
    let (start, size) = (number()?, number()?);
    let name = words.next()?.trim();
    let end = start.checked_add(size).filter(|end| *end > start)?;
    (!name.is_empty()).then(|| (start, end, name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(map: &PerfMap, address: u64) -> Option<(String, u64, u32)> {
        let Function { name, offset, generation } = map.find(address)?;
        Some((name.to_string(), offset, generation))
    }

    #[test]
    fn the_latest_line_that_covers_an_address_holds() {
        let mut map = PerfMap::default();
        map.add(b"1000 1000 outer\n0x1400 0x100 void inner(int, long)\r\n");
        assert_eq!(at(&map, 0xfff), None);
        assert_eq!(at(&map, 0x13ff), Some(("outer".to_owned(), 0x3ff, 0)));
        assert_eq!(at(&map, 0x1404), Some(("void inner(int, long)".to_owned(), 4, 1)));
        assert_eq!(at(&map, 0x1500), Some(("outer".to_owned(), 0x500, 0)), "what is left of it");
        assert_eq!(at(&map, 0x2000), None);
        map.add(b"1000 1000 other\n");
        assert_eq!(at(&map, 0x1404), Some(("other".to_owned(), 0x404, 2)));
    }

    #[test]
    fn a_line_may_come_in_pieces() {
        let mut map = PerfMap::default();
        map.add(b"10");
        map.add(b"00 10 na");
        assert_eq!(at(&map, 0x1000), None, "it is not whole");
        map.add(b"me\n2000 10 half");
        assert_eq!(at(&map, 0x1000), Some(("name".to_owned(), 0, 0)));
        map.begin_anew();
        map.add(b"3000 10 new\n");
        assert_eq!(at(&map, 0x2000), None);
        assert_eq!(at(&map, 0x3000), Some(("new".to_owned(), 0, 0)));
    }

    #[test]
    fn lines_that_are_none_are_skipped() {
        let mut map = PerfMap::default();
        let long = "x".repeat(10_000);
        let lines = [
            "",
            "x",
            "1000",
            "1000 10",
            "1000 10 ",
            "1000 0 empty",
            "-1 10 negative",
            "ffffffffffffffff ff beyond",
            "1ffffffffffffffff 1 huge",
            "\u{0}\u{7f} 1 control",
        ];
        for line in lines {
            map.add(format!("{line}\n").as_bytes());
        }
        map.add(format!("1000 10 {long}").as_bytes());
        map.add(format!("{long}\n").as_bytes());
        map.add(&[0xff; 5000]);
        map.add(b"\n");
        assert!(map.entries.is_empty(), "{:?}", map.entries);
        map.add(b"1000 10 \xffname\x1b[1m\n");
        assert_eq!(at(&map, 0x1001), Some(("\u{fffd}name\u{1b}[1m".to_owned(), 1, 0)));
        assert!(map.partial.is_empty());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut map = PerfMap::default();
        let name = "y".repeat(4000);
        for start in 0..40_000_u64 {
            map.add(format!("{:x} 8 {name}\n", start * 16).as_bytes());
        }
        assert!(map.is_full() && map.text < MOST_TEXT + LONGEST_LINE);
    }
}
