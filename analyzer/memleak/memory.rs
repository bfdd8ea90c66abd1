//! What the kernel holds, replayed and added up.

use ahash::HashMap;
use arrow::array::Array as _;
use lookback_schemas::TableId;

use super::{Kind, MemleakArgs, Sort};
use crate::blocks::{Block, Event, Exact, Extents, Gaps, Replay, Space as _};
use crate::distribution::Values;
use crate::processes::known;
use crate::scope::{Scope, Subject};
use crate::tally::{Projection as _, projection};

projection! {
    /// What is replayed.
    pub(super) struct Events of Kalloc {
        ts: i64,
        address: i64,
        bytes: Option<i64>,
        requested: Option<i64>,
        stack: Option<i64>,
        kind: i32,
        free: bool,
        pid: i32,
        tid: Option<i32>,
        uid: Option<i32>,
        comm: Option<String>,
        cache: Option<String>,
    }
}

impl Events {
    /// The columns that these arguments need.
    pub(super) fn columns(args: &MemleakArgs, scope: &Scope) -> Vec<&'static str> {
        let mut columns = Self::COLUMNS.to_vec();
        let scoped = scope.columns(TableId::Kalloc);
        columns.retain(|column| match *column {
            "tid" | "uid" | "comm" => scoped.contains(column),
            "cache" => args.by_cache,
            _ => true,
        });
        columns
    }

    /// When the row's event happened.
    pub(super) fn time(&self, row: usize) -> i64 {
        self.ts.value(row)
    }

    fn subject(&self, row: usize) -> Subject<'_> {
        Subject {
            pid: Some(self.pid.value(row)),
            tid: known!(self.tid, row),
            cgroup: None,
            comm: known!(self.comm, row),
            uid: known!(self.uid, row),
        }
    }

    /// How much was allocated. Old kernels do not say what percpu memory takes, only what was asked.
    fn allocated(&self, row: usize) -> u64 {
        let bytes = known!(self.bytes, row).or(known!(self.requested, row));
        bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0)
    }
}

/// What is added up of outstanding blocks, or the difference of two such sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) bytes: i64,
    pub(super) count: i64,
}

impl Sum {
    fn add(&mut self, bytes: u64, counts: bool) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.bytes = self.bytes.saturating_add(bytes);
        self.count += i64::from(counts);
    }

    fn less(self, other: Sum) -> Sum {
        Sum {
            bytes: self.bytes.saturating_sub(other.bytes),
            count: self.count.saturating_sub(other.count),
        }
    }

    fn rank(self, sort: Sort) -> (i64, i64) {
        match sort {
            Sort::Size => (self.bytes, self.count),
            Sort::Count => (self.count, self.bytes),
        }
    }
}

/// What blocks are summed up by; a part that was not asked for is `None` in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Group {
    /// The number of the stack; 0 where it was lost.
    pub(super) stack: Option<i64>,
    pub(super) pid: Option<i32>,
    pub(super) cache: Option<u32>,
}

/// Outstanding memory of one kind, or its growth.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) total: Sum,
    groups: HashMap<Group, Sum>,
}

impl Section {
    fn add(&mut self, group: Group, block: &Block, counts: bool) {
        self.total.add(block.bytes, counts);
        self.groups.entry(group).or_default().add(block.bytes, counts);
    }

    /// How much more it is than `earlier`.
    pub(super) fn since(mut self, earlier: &Section) -> Section {
        for (group, sum) in &earlier.groups {
            let entry = self.groups.entry(*group).or_default();
            *entry = entry.less(*sum);
        }
        Section { total: self.total.less(earlier.total), groups: self.groups }
    }

    /// The largest groups, the largest first.
    pub(super) fn ranked(self, args: &MemleakArgs) -> Vec<(Group, Sum)> {
        let mut ranked: Vec<(Group, Sum)> = self.groups.into_iter().collect();
        ranked.retain(|(_, sum)| *sum != Sum::default());
        ranked
            .sort_unstable_by_key(|(group, sum)| (std::cmp::Reverse(sum.rank(args.sort)), *group));
        ranked.truncate(args.top);
        ranked
    }
}

/// The names of caches; blocks have their places in the list.
#[derive(Default)]
pub(super) struct Caches {
    names: Vec<Option<String>>,
    places: HashMap<Option<String>, u32>,
}

impl Caches {
    fn place(&mut self, name: Option<&str>) -> u32 {
        let name = name.filter(|name| !name.is_empty()).map(str::to_owned);
        if let Some(place) = self.places.get(&name) {
            return *place;
        }
        let place = u32::try_from(self.names.len()).expect("names fill the memory before");
        self.names.push(name.clone());
        self.places.insert(name, place);
        place
    }

    pub(super) fn name(&self, place: u32) -> Option<&str> {
        self.names.get(place as usize)?.as_deref()
    }
}

/// The label of a block that the report is not about. It is replayed all the same: what is
/// allocated on top of it, and what frees it, is no gap.
const UNWANTED: u32 = u32::MAX;

/// The replay of all kinds of memory, and how far it has come.
pub(super) struct Memory<'a> {
    args: &'a MemleakArgs,
    pub(super) scope: &'a Scope,
    pub(super) kinds: Vec<Kind>,
    slab: Replay<Exact<u64>>,
    pages: Replay<Extents>,
    percpu: Replay<Exact<u64>>,
    pub(super) caches: Caches,
    /// How long freed blocks lived, by kind.
    pub(super) lifetimes: [Values; Kind::ALL.len()],
    /// Rows whose kind this version does not know.
    pub(super) strange: u64,
}

impl<'a> Memory<'a> {
    pub(super) fn new(args: &'a MemleakArgs, scope: &'a Scope) -> Memory<'a> {
        Memory {
            args,
            scope,
            kinds: args.kinds(),
            slab: Replay::default(),
            pages: Replay::default(),
            percpu: Replay::default(),
            caches: Caches::default(),
            lifetimes: Default::default(),
            strange: 0,
        }
    }

    /// Replays a row.
    pub(super) fn take(&mut self, rows: &Events, row: usize) {
        let Some(kind) = Kind::from_code(rows.kind.value(row)) else {
            self.strange += 1;
            return;
        };
        if !self.kinds.contains(&kind) {
            return;
        }
        let event = self.event(rows, row);
        let (args, now) = (self.args, rows.ts.value(row));
        let lifetimes = &mut self.lifetimes[kind as usize];
        let freed = |block: &Block| {
            let age = block.age(now);
            if args.lifetimes && block.label != UNWANTED && args.admits_age(age) {
                lifetimes.add(age);
            }
        };
        match kind {
            Kind::Slab => self.slab.take(event, freed),
            Kind::Pages => self.pages.take(event, freed),
            Kind::Percpu => self.percpu.take(event, freed),
        }
    }

    fn event(&mut self, rows: &Events, row: usize) -> Event<u64> {
        let (ts, key) = (rows.ts.value(row), rows.address.value(row).cast_unsigned());
        if rows.free.value(row) {
            let bytes = known!(rows.bytes, row).and_then(|bytes| u64::try_from(bytes).ok());
            return Event::Freed { key, bytes, ts };
        }
        let bytes = rows.allocated(row);
        let wanted = self.args.admits_size(bytes) && self.scope.admits(rows.subject(row), ts);
        let label = match wanted {
            true => self.caches.place(known!(rows.cache, row)),
            false => UNWANTED,
        };
        let stack = known!(rows.stack, row).and_then(std::num::NonZeroI64::new);
        Event::Allocated(key, Block { ts, bytes, stack, pid: rows.pid.value(row), label })
    }

    /// Lets the last instant be over.
    pub(super) fn settle(&mut self) {
        self.slab.settle();
        self.pages.settle();
        self.percpu.settle();
    }

    pub(super) fn gaps(&self) -> Gaps {
        let all = [self.slab.gaps(), self.pages.gaps(), self.percpu.gaps()];
        Gaps {
            unknown_frees: all.iter().map(|gaps| gaps.unknown_frees).sum(),
            missed_frees: all.iter().map(|gaps| gaps.missed_frees).sum(),
        }
    }

    /// What is outstanding after the last row; the age of blocks is that at the instant `now`.
    pub(super) fn outstanding(&mut self, now: i64) -> Vec<(Kind, Section)> {
        self.settle();
        self.kinds.iter().map(|kind| (*kind, self.section(*kind, now))).collect()
    }

    fn section(&self, kind: Kind, now: i64) -> Section {
        let mut section = Section::default();
        let add = |block: &Block, counts: bool| {
            if block.label != UNWANTED && self.args.admits_age(block.age(now)) {
                section.add(self.group(block), block, counts);
            }
        };
        match kind {
            Kind::Slab => self.slab.live().for_each(add),
            Kind::Pages => self.pages.live().for_each(add),
            Kind::Percpu => self.percpu.live().for_each(add),
        }
        section
    }

    fn group(&self, block: &Block) -> Group {
        let stack = block.stack.map_or(0, std::num::NonZeroI64::get);
        Group {
            stack: self.args.with_stacks().then_some(stack),
            pid: self.args.by_process.then_some(block.pid),
            cache: self.args.by_cache.then_some(block.label),
        }
    }
}
