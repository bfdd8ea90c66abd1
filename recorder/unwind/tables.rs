//! The tables and spaces, as they lie in the kernel's maps.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType};
use lookback_schemas::manifest::Unwinding;
use lookback_schemas::unwind::{ARENA_PAGES, ARENAS, Page, ROWS, Range, Row, Space};
use zerocopy::IntoBytes as _;

use super::rows::CallFrames;
use super::slices::{Slice, Slices};
use crate::binaries::Binary;
use crate::mappings::{Changed, Mapping, Program};
use crate::maps::map;

/// How many processes can have tables at a time.
const SPACES: u32 = 1 << 14;
/// How many ranges all processes can have together.
const RANGES: u32 = 1 << 16;
/// No process has more of them: what lies further is walked by frame pointers.
const MOST_RANGES: usize = 1 << 14;

/// The kernel's maps.
#[derive(Debug)]
pub struct UnwindMaps {
    /// By process.
    pub spaces: MapHandle,
    /// Those of all processes.
    pub ranges: MapHandle,
    /// Each has pages.
    pub arenas: MapHandle,
}

impl UnwindMaps {
    /// Creates them, without any arena.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn create() -> Result<UnwindMaps> {
        let arenas = ARENAS as u32;
        Ok(UnwindMaps {
            spaces: map(MapType::Hash, "unwind_spaces", 4, size_of::<Space>(), SPACES, None)?,
            ranges: map(MapType::Array, "unwind_ranges", 4, size_of::<Range>(), RANGES, None)?,
            arenas: map(MapType::ArrayOfMaps, "unwind_arenas", 4, 4, arenas, Some(&arena()?))?,
        })
    }
}

fn arena() -> Result<MapHandle> {
    map(MapType::Array, "unwind_arena", 4, size_of::<Page>(), ARENA_PAGES as u32, None)
}

/// The part of a binary whose pages lie in one arena.
#[derive(Clone, Copy, Debug)]
struct Piece {
    /// Its first address, in the file's own address space.
    start: u64,
    /// The address behind its last.
    end: u64,
    page: u32,
    pages: u32,
}

/// The table of a binary.
#[derive(Debug, Default)]
struct Table {
    frames: CallFrames,
    pieces: Vec<Piece>,
}

/// What the kernel has.
#[derive(Debug)]
pub struct Tables {
    arenas: Vec<MapHandle>,
    /// How many pages are in use.
    pages: u32,
    by_binary: HashMap<Key, Arc<Table>>,
    slices: Slices,
    /// Where the ranges of each space are.
    spaces: HashMap<i32, Slice>,
    version: u64,
    told: Unwinding,
    /// What has no table, and why.
    without: BTreeMap<String, String>,
}

/// What tells binaries apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    BuildId(Vec<u8>),
    /// The object itself, which is never given up.
    Binary(usize),
}

impl Key {
    fn of(binary: &Arc<Binary>) -> Key {
        match &binary.build_id {
            Some(id) => Key::BuildId(id.clone()),
            None => Key::Binary(Arc::as_ptr(binary) as usize),
        }
    }
}

impl Default for Tables {
    fn default() -> Tables {
        Tables {
            arenas: Vec::new(),
            pages: 0,
            by_binary: HashMap::new(),
            slices: Slices::of(RANGES),
            spaces: HashMap::new(),
            version: 0,
            told: Unwinding::default(),
            without: BTreeMap::new(),
        }
    }
}

impl Tables {
    /// Makes the table of a binary, if there is none yet.
    pub fn load(&mut self, maps: &UnwindMaps, binary: &Arc<Binary>) {
        let key = Key::of(binary);
        if binary.file.is_none() || self.by_binary.contains_key(&key) {
            return;
        }
        let table = self.make(maps, binary).unwrap_or_else(|error| {
            self.without.insert(binary.shown.clone(), format!("{error:#}"));
            Table::default()
        });
        self.by_binary.insert(key, Arc::new(table));
    }

    /// Tells the kernel what a process has mapped.
    pub fn update(&mut self, maps: &UnwindMaps, changed: &Changed) {
        for mapping in &changed.mappings {
            if let Some(binary) = &mapping.binary {
                self.load(maps, binary);
            }
        }
        let mut ranges: Vec<Range> =
            changed.mappings.iter().flat_map(|mapping| self.ranges_of(mapping)).collect();
        ranges.sort_by_key(|range| range.start);
        if ranges.len() > MOST_RANGES {
            let why = format!("it has mapped {} parts: of the last there are none", ranges.len());
            self.without.insert(format!("process {}", changed.pid), why);
            ranges.truncate(MOST_RANGES);
        }
        let before = self.spaces.remove(&changed.pid);
        match self.publish(maps, changed, &ranges) {
            Ok(Some(slice)) => _ = self.spaces.insert(changed.pid, slice),
            // The map may have lost it already.
            Ok(None) => _ = maps.spaces.delete(&changed.pid.to_ne_bytes()),
            Err(error) => {
                _ = maps.spaces.delete(&changed.pid.to_ne_bytes());
                self.without.insert(format!("process {}", changed.pid), format!("{error:#}"));
            }
        }
        if let Some(slice) = before {
            self.slices.give_back(slice, Instant::now());
        }
    }

    /// Where the code of a program ends, in the address space of its process.
    fn code_end(&self, program: &Program) -> Option<u64> {
        let mapping = match program {
            Program::EndsAt(end) => return Some(*end),
            Program::Mapped(mapping) => mapping,
        };
        let frames = &self.by_binary.get(&Key::of(mapping.binary.as_ref()?))?.frames;
        let bias = mapping.start.wrapping_sub(frames.address_of(mapping.offset)?);
        let ends = frames.segments.iter().map(|code| code.address.wrapping_add(code.bytes));
        Some(ends.max()?.wrapping_add(bias))
    }

    /// What to tell of all this.
    pub fn told(mut self) -> Unwinding {
        self.told.bytes = u64::from(self.pages) * size_of::<Page>() as u64;
        self.told.without = self.without;
        self.told
    }

    fn make(&mut self, maps: &UnwindMaps, binary: &Binary) -> Result<Table> {
        let file = binary.file.as_ref().context("it could not be opened")?;
        let mut frames = CallFrames::of(file)?;
        let rows = std::mem::take(&mut frames.rows);
        let mut pieces = Vec::new();
        let mut left = rows.as_slice();
        while let Some((start, _)) = left.first() {
            let room = ARENA_PAGES - self.pages as usize % ARENA_PAGES;
            let fits = left.len().min(room * ROWS);
            let fits = left[..fits].partition_point(|(at, _)| at - start < u64::from(u32::MAX));
            let (these, others) = left.split_at(fits);
            left = others;
            let last = these.last().map_or(*start, |(at, _)| *at);
            let end = others.first().map_or(last, |(at, _)| *at);
            let page = self.pages;
            let pages = self.put(maps, these, *start)?;
            pieces.push(Piece { start: *start, end, page, pages });
        }
        self.told.binaries += 1;
        self.told.rows += rows.len() as u64;
        Ok(Table { frames, pieces })
    }

    /// Puts rows into pages, as many as there is room for in the arena; returns how many pages they take.
    fn put(&mut self, maps: &UnwindMaps, rows: &[(u64, Row)], start: u64) -> Result<u32> {
        let (arena, first) = (self.pages as usize / ARENA_PAGES, self.pages % ARENA_PAGES as u32);
        if arena == ARENAS {
            bail!(
                "the tables take more than {} MiB",
                (ARENAS * ARENA_PAGES * size_of::<Page>()) >> 20
            );
        }
        if arena == self.arenas.len() {
            let new = self::arena()?;
            let fd = new.as_fd().as_raw_fd();
            let key = (arena as u32).to_ne_bytes();
            maps.arenas.update(&key, &fd.to_ne_bytes(), MapFlags::ANY)?;
            self.arenas.push(new);
        }
        let (mut keys, mut values, mut count) = (Vec::new(), Vec::new(), 0);
        for (number, rows) in (first..).zip(rows.chunks(ROWS)) {
            let rows: Vec<Row> =
                rows.iter().map(|(at, row)| Row { address: (at - start) as u32, ..*row }).collect();
            keys.extend(number.to_ne_bytes());
            values.extend(Page::of(&rows).as_bytes());
            count += 1;
        }
        let arena = &self.arenas[arena];
        arena.update_batch(&keys, &values, count, MapFlags::ANY, MapFlags::ANY)?;
        self.pages += count;
        Ok(count)
    }

    fn ranges_of(&self, mapping: &Mapping) -> Vec<Range> {
        let whole = Range { start: mapping.start, end: mapping.end, ..Range::default() };
        let table = mapping.binary.as_ref().and_then(|binary| self.by_binary.get(&Key::of(binary)));
        let Some(table) = table else { return vec![whole] };
        let Some(address) = table.frames.address_of(mapping.offset) else { return vec![whole] };
        // From an address of the file's own space to one of the process's.
        let bias = mapping.start.wrapping_sub(address);
        let mut ranges = Vec::new();
        let mut from = mapping.start;
        for piece in &table.pieces {
            let start = piece.start.wrapping_add(bias).max(from);
            let end = piece.end.wrapping_add(bias).min(mapping.end);
            if start >= end || start >= mapping.end {
                continue;
            }
            if from < start {
                ranges.push(Range { start: from, end: start, ..Range::default() });
            }
            let base = piece.start.wrapping_add(bias);
            ranges.push(Range { start, end, base, page: piece.page, pages: piece.pages });
            from = end;
        }
        if from < mapping.end {
            ranges.push(Range { start: from, end: mapping.end, ..Range::default() });
        }
        ranges
    }

    /// Writes the ranges, and then that they are the process's; returns where they are.
    fn publish(
        &mut self,
        maps: &UnwindMaps,
        changed: &Changed,
        ranges: &[Range],
    ) -> Result<Option<Slice>> {
        if ranges.is_empty() {
            return Ok(None);
        }
        let code_end = changed.program.as_ref().and_then(|program| self.code_end(program));
        let code_end = code_end.context("where the code of its program ends is not known")?;
        let count = ranges.len() as u32;
        let slice = self.slices.take(count, Instant::now());
        let slice = slice.context("no room for what it has mapped")?;
        let keys: Vec<u8> = (slice.first..).take(ranges.len()).flat_map(u32::to_ne_bytes).collect();
        maps.ranges.update_batch(&keys, ranges.as_bytes(), count, MapFlags::ANY, MapFlags::ANY)?;
        self.version += 1;
        let space = Space { code_end, version: self.version, first: slice.first, count };
        maps.spaces.update(&changed.pid.to_ne_bytes(), space.as_bytes(), MapFlags::ANY)?;
        Ok(Some(slice))
    }
}
