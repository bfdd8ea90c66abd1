//! The tables and spaces, as they lie in the kernel's maps.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType};
use lookback_schemas::manifest::Unwinding;
use lookback_schemas::unwind::{ARENA_PAGES, ARENAS, Page, ROWS, Range, Row, Space};
use zerocopy::IntoBytes as _;

use super::rows::CallFrames;
use super::slices::{self, Slice, Slices};
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
    page: u32,
    pages: u32,
}

/// The table of a binary.
#[derive(Debug, Default)]
struct Table {
    frames: CallFrames,
    pieces: Vec<Piece>,
}

/// What the kernel was told of a process.
#[derive(Clone, Copy, Debug)]
struct Told {
    slice: Slice,
    at: Instant,
}

impl Told {
    /// How long nothing more is told of it. What a slice has had is not free at once, so that one who maps
    /// ten thousand parts, and is told of after each, would soon take all the room.
    fn rest(self) -> Duration {
        const FREELY: u32 = 1000;
        Duration::from_millis(u64::from(self.slice.count.saturating_sub(FREELY)) / 20)
    }
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
    spaces: HashMap<i32, Told>,
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

    /// Tells the kernel what a process has mapped. Where there is no room it is to be told again, after the
    /// time that comes back; and one that has mapped very much is told of in turns.
    pub fn update(&mut self, maps: &UnwindMaps, changed: &Changed) -> Option<Duration> {
        let now = Instant::now();
        let before = self.spaces.get(&changed.pid);
        if let Some(early) = before.and_then(|told| told.rest().checked_sub(now - told.at))
            && !changed.mappings.is_empty()
        {
            return Some(early);
        }
        for mapping in &changed.mappings {
            if let Some(binary) = &mapping.binary {
                self.load(maps, binary);
            }
        }
        let mut ranges: Vec<Range> =
            changed.mappings.iter().flat_map(|mapping| self.ranges_of(mapping)).collect();
        ranges.sort_by_key(|range| range.start);
        let name = format!("process {}", changed.pid);
        let all = ranges.len();
        ranges.truncate(MOST_RANGES);
        let before = self.spaces.remove(&changed.pid);
        let published = self.publish(maps, changed, &ranges);
        if let Some(told) = before {
            self.slices.give_back(told.slice, now);
        }
        match published {
            Ok(Some(slice)) if all > MOST_RANGES => {
                let why = format!("it has mapped {all} parts: of the last there are none");
                self.without.insert(name, why);
                self.spaces.insert(changed.pid, Told { slice, at: now });
                None
            }
            Ok(Some(slice)) => {
                self.without.remove(&name);
                self.spaces.insert(changed.pid, Told { slice, at: now });
                None
            }
            Ok(None) => {
                // The map may have lost it already.
                let _ = maps.spaces.delete(&changed.pid.to_ne_bytes());
                None
            }
            Err(error) => {
                let _ = maps.spaces.delete(&changed.pid.to_ne_bytes());
                self.without.insert(name, format!("{error:#}"));
                Some(slices::WHILE)
            }
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
            let page = self.pages;
            let pages = self.put(maps, these, *start)?;
            pieces.push(Piece { start: *start, page, pages });
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
        let Some(table) = table.filter(|table| !table.pieces.is_empty()) else {
            return vec![whole];
        };
        let Some(address) = table.frames.address_of(mapping.offset) else { return vec![whole] };
        // From an address of the file's own space to one of the process's.
        let bias = mapping.start.wrapping_sub(address);
        let at = |address: u64| address.wrapping_add(bias);
        // What lies before the first row is the first piece's, so that a mapping has one range for each.
        let starts = table.pieces.iter().skip(1).map(|piece| at(piece.start));
        let ends = starts.clone().chain([mapping.end]);
        let ranges = std::iter::once(mapping.start).chain(starts).zip(ends).zip(&table.pieces);
        ranges
            .map(|((start, end), piece)| Range {
                start: start.max(mapping.start),
                end: end.min(mapping.end),
                base: at(piece.start),
                page: piece.page,
                pages: piece.pages,
            })
            .filter(|range| range.start < range.end)
            .collect()
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
