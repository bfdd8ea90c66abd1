//! What the kernel holds, replayed and added up.

use std::collections::BTreeMap;

use ahash::HashMap;
use arrow::array::Array as _;
use lookback_schemas::TableId;

use super::section::{Group, Reports, Section};
use super::{Kind, MemleakArgs};
use crate::blocks::{Block, Event, Exact, Extents, Gaps, Replay, Space as _};
use crate::cli::Source;
use crate::distribution::Values;
use crate::processes::known;
use crate::replay::{self, Instants, Walk};
use crate::scope::{Scope, Subject};
use crate::sites::UNWANTED;
use crate::spaces::Change;
use crate::tally::{Projection as _, projection};

projection! {
    /// What is replayed.
    pub(super) struct Rows of Kalloc {
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

impl Rows {
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

/// The replay of all kinds of memory, and how far it has come.
pub(super) struct Memory<'a> {
    args: &'a MemleakArgs,
    scope: &'a Scope,
    pub(super) kinds: Vec<Kind>,
    slab: Replay<Exact<u64>>,
    pages: Replay<Extents>,
    percpu: Replay<Exact<u64>>,
    pub(super) caches: Caches,
    /// How long freed blocks lived, by kind.
    pub(super) lifetimes: BTreeMap<Kind, Values>,
    /// Rows whose kind this version does not know.
    pub(super) strange: u64,
    /// What was seen when someone looked.
    pub(super) reports: Reports<'a>,
}

impl<'a> Memory<'a> {
    pub(super) fn new(args: &'a MemleakArgs, scope: &'a Scope, kinds: Vec<Kind>) -> Memory<'a> {
        Memory {
            args,
            scope,
            kinds,
            slab: Replay::default(),
            pages: Replay::default(),
            percpu: Replay::default(),
            caches: Caches::default(),
            lifetimes: BTreeMap::new(),
            strange: 0,
            reports: Reports::new(args),
        }
    }

    /// Replays the table, and looks at the instants.
    pub(super) fn replay(&mut self, source: &Source, instants: Instants) -> anyhow::Result<()> {
        let walk = Walk {
            recording: &source.recording,
            table: TableId::Kalloc,
            columns: Rows::columns(self.args, self.scope),
            range: source.window.range.clone(),
            end: source.window.end(),
            changes: &[],
            instants,
            ahead: self.args.threads.count() > 1,
        };
        replay::walk(walk, Rows::view, self)?;
        self.settle();
        Ok(())
    }

    /// Replays a row.
    fn take(&mut self, rows: &Rows, row: usize) {
        let Some(kind) = Kind::from_code(rows.kind.value(row)) else {
            self.strange += 1;
            return;
        };
        if !self.kinds.contains(&kind) {
            return;
        }
        let event = self.event(rows, row);
        let (args, now) = (self.args, rows.ts.value(row));
        let lifetimes = self.lifetimes.entry(kind).or_default();
        let freed = |block: &Block| {
            let age = block.age(now);
            if args.lifetimes && block.label != UNWANTED && args.admits_age(age) {
                lifetimes.add(age);
            }
        };
        match kind {
            Kind::Heap | Kind::Vm => {}
            Kind::Slab => self.slab.take(event, freed),
            Kind::Pages => self.pages.take(event, freed),
            Kind::Percpu => self.percpu.take(event, freed),
        }
    }

    fn event(&mut self, rows: &Rows, row: usize) -> Event<u64> {
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
    fn settle(&mut self) {
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
    fn outstanding(&mut self, now: i64) -> Vec<(Kind, Section)> {
        self.settle();
        self.kinds.iter().map(|kind| (*kind, self.section(*kind, now))).collect()
    }

    fn section(&self, kind: Kind, now: i64) -> Section {
        let mut section = Section::default();
        let add = |block: &Block, counts: bool| {
            if block.label != UNWANTED && self.args.admits_age(block.age(now)) {
                section.add(self.group(block), block.bytes, counts);
            }
        };
        match kind {
            Kind::Heap | Kind::Vm => {}
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
            tid: None,
            cache: self.args.by_cache.then_some(block.label),
        }
    }
}

impl replay::Replay for Memory<'_> {
    type Rows = Rows;

    #[inline]
    fn time(rows: &Rows, row: usize) -> i64 {
        rows.ts.value(row)
    }

    fn row(&mut self, rows: &Rows, row: usize) {
        self.take(rows, row);
    }

    fn change(&mut self, _: &Change) {}

    fn look(&mut self, at: i64) -> anyhow::Result<()> {
        let sections = self.outstanding(at);
        self.reports.look(at, sections);
        Ok(())
    }
}
