//! Collections as wholes, put together from the rows of the table `gc`.
//!
//! A whole collection is a row of its own: a *pause*. Of hotspot the memory pools that it worked on
//! have rows beside it, in the same thread and within its time; each belongs to the innermost
//! collection that it lies in. Ruby tells only of marking and sweeping: there each of these is a
//! pause, unless it lies in something else.
//!
//! Some pools are not of the heap: classes and compiled code live there. What a collection did to the
//! heap is summed up over the others.

use std::ops::Range;
use std::sync::Arc;

use ahash::HashSet;
use arrow::array::Array as _;
use lookback_schemas::recording::Recording;
use lookback_schemas::tables::Gc;
use lookback_schemas::tables::gc::{self, Part, Runtime};

use crate::processes::known;
use crate::render::thousands;
use crate::scope::Scope;
use crate::timeline;

/// A whole collection.
#[derive(Clone, Debug)]
pub struct Pause {
    /// When it began: nanoseconds since the Unix epoch.
    pub ts: i64,
    /// How long it took in nanoseconds; `None` where its end was not seen.
    pub duration: Option<i64>,
    /// What it is: a collection, or of Ruby marking or sweeping.
    pub part: Part,
    /// The runtime's number; see [`Runtime`].
    pub runtime: i32,
    /// How many others it lies in.
    pub depth: i32,
    /// Whether all of the heap was collected (1) or a part (0), where the runtime tells.
    pub full: Option<i32>,
    /// CPython: the generation.
    pub generation: Option<i64>,
    /// CPython: how many objects were freed.
    pub collected: Option<i64>,
    /// The process.
    pub pid: i32,
    /// The thread that collected.
    pub tid: i32,
    /// The CPU on which it ended.
    pub cpu: i32,
    /// The process's real user id.
    pub uid: i32,
    /// The thread's name.
    pub comm: Option<Arc<str>>,
    /// Hotspot: the pools, as they were recorded.
    pools: Vec<Pool>,
}

/// A pool of memory in a collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Who collected.
    pub manager: Option<Arc<str>>,
    /// The pool.
    pub name: Option<Arc<str>>,
    /// What it held before, in bytes.
    pub before: Option<i64>,
    /// What it held after, in bytes.
    pub after: Option<i64>,
    /// When its row ended.
    end: i64,
}

/// The pools of hotspot that are not of the heap: those of exactly these names.
const NOT_HEAP: [&str; 3] = ["Metaspace", "Compressed Class Space", "Code Cache"];

/// And those whose names begin so.
const CODE: [&str; 2] = ["CodeHeap", "CodeCache"];

impl Pool {
    /// Whether it is a part of the heap.
    #[must_use]
    pub fn is_heap(&self) -> bool {
        let name = self.name.as_deref().unwrap_or_default();
        !NOT_HEAP.contains(&name) && !CODE.iter().any(|code| name.starts_with(code))
    }
}

impl Pause {
    /// When it ended, where that is known.
    #[must_use]
    pub fn end(&self) -> Option<i64> {
        self.duration.map(|duration| self.ts.saturating_add(duration.max(0)))
    }

    /// Whether it lies in another collection, which counts for it.
    #[must_use]
    pub fn is_nested(&self) -> bool {
        self.depth > 0
    }

    /// Its time, from its first moment to the first after it.
    #[must_use]
    pub fn stretch(&self) -> Option<(i64, i64)> {
        self.end().map(|end| (self.ts, end))
    }

    /// Who collected: hotspot's managers, several joined by `+`; `generation 2` of CPython, `mark` or
    /// `sweep` of Ruby.
    #[must_use]
    pub fn collector(&self) -> Option<String> {
        match (self.part, self.generation) {
            (Part::Mark | Part::Sweep, _) => return Some(self.part.name().to_owned()),
            (Part::Collection | Part::Pool, Some(generation))
                if self.runtime == Runtime::Python as i32 =>
            {
                return Some(format!("generation {generation}"));
            }
            (Part::Collection | Part::Pool, _) => {}
        }
        let mut managers: Vec<&str> = Vec::new();
        for manager in self.pools.iter().filter_map(|pool| pool.manager.as_deref()) {
            if !managers.contains(&manager) {
                managers.push(manager);
            }
        }
        (!managers.is_empty()).then(|| managers.join("+"))
    }

    /// The pools of the heap, each once: what the first row of it says of before, and the last of
    /// after.
    #[must_use]
    pub fn heap_pools(&self) -> Vec<Pool> {
        let mut pools: Vec<Pool> = Vec::new();
        for pool in self.pools.iter().filter(|pool| pool.is_heap()) {
            match pools.iter_mut().find(|known| known.name == pool.name) {
                Some(known) if known.end <= pool.end => {
                    (known.after, known.end) = (pool.after, pool.end);
                }
                Some(_) => {}
                None => pools.push(pool.clone()),
            }
        }
        pools
    }

    /// What the heap held before and after, in bytes; `None` where that is unknown of a pool, or no
    /// pool was recorded.
    #[must_use]
    pub fn heap(&self) -> (Option<i64>, Option<i64>) {
        let pools = self.heap_pools();
        let sum = |of: fn(&Pool) -> Option<i64>| {
            let add = |sum: i64, pool| Some(sum.saturating_add(of(pool)?));
            (!pools.is_empty()).then(|| pools.iter().try_fold(0, add)).flatten()
        };
        (sum(|pool| pool.before), sum(|pool| pool.after))
    }

    /// Whether the row lies in it.
    fn contains(&self, row: &PoolRow) -> bool {
        (self.pid, self.tid) == (row.pid, row.tid)
            && self.ts <= row.ts
            && self.depth < row.depth
            && self.end().is_none_or(|end| row.ts <= end)
    }
}

/// A row that tells of a pool.
struct PoolRow {
    pid: i32,
    tid: i32,
    ts: i64,
    depth: i32,
    pool: Pool,
}

/// Collections in the order in which they began.
#[derive(Debug, Default)]
pub struct Pauses {
    /// All of them.
    pub all: Vec<Pause>,
    /// Rows of parts that this version does not know.
    strange: u64,
    /// Pools that lie in no collection.
    loose: u64,
}

impl Pauses {
    /// What a reader must know about them.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let strange = (self.strange > 0).then(|| {
            let strange = thousands(self.strange);
            format!("{strange} rows are of parts that this version does not know")
        });
        let loose = (self.loose > 0).then(|| {
            let loose = thousands(self.loose);
            format!("{loose} rows of pools lie in no collection that was recorded")
        });
        strange.into_iter().chain(loose).collect()
    }
}

/// Reads the collections that began in the `range` of time.
///
/// # Errors
/// If the table is damaged.
pub fn read(recording: &Recording, range: &Range<i64>, scope: &Scope) -> anyhow::Result<Pauses> {
    let mut pauses = Pauses::default();
    let (mut pools, mut texts) = (Vec::new(), Texts::default());
    timeline::rows::<Gc>(recording, range, scope, |rows, row| {
        let depth = rows.depth.value(row);
        match Part::from_code(rows.part.value(row)) {
            Some(Part::Collection) => pauses.all.push(pause(rows, row, &mut texts)),
            // Those that lie in something are a part of it.
            Some(Part::Mark | Part::Sweep) if depth == 0 => {
                pauses.all.push(pause(rows, row, &mut texts));
            }
            Some(Part::Mark | Part::Sweep) => {}
            Some(Part::Pool) => pools.push(pool(rows, row, &mut texts)),
            None => pauses.strange += 1,
        }
        Ok(())
    })?;
    // Rows are written when they end: of those that began at once the inner one comes first.
    pauses.all.sort_by_key(|pause| (pause.ts, pause.depth));
    pauses.loose = join(&mut pauses.all, pools);
    Ok(pauses)
}

fn pause(rows: &gc::Columns, row: usize, texts: &mut Texts) -> Pause {
    Pause {
        ts: rows.ts.value(row),
        duration: known!(rows.duration, row),
        part: Part::from_code(rows.part.value(row)).unwrap_or(Part::Collection),
        runtime: rows.runtime.value(row),
        depth: rows.depth.value(row),
        full: known!(rows.full, row),
        generation: known!(rows.generation, row),
        collected: known!(rows.collected, row),
        pid: rows.pid.value(row),
        tid: rows.tid.value(row),
        cpu: rows.cpu.value(row),
        uid: rows.uid.value(row),
        comm: texts.one(known!(rows.comm, row)),
        pools: Vec::new(),
    }
}

fn pool(rows: &gc::Columns, row: usize, texts: &mut Texts) -> PoolRow {
    let (ts, duration) = (rows.ts.value(row), known!(rows.duration, row));
    PoolRow {
        pid: rows.pid.value(row),
        tid: rows.tid.value(row),
        ts,
        depth: rows.depth.value(row),
        pool: Pool {
            manager: texts.one(known!(rows.manager, row)),
            name: texts.one(known!(rows.pool, row)),
            before: known!(rows.used_before, row),
            after: known!(rows.used_after, row),
            end: ts.saturating_add(duration.unwrap_or(0).max(0)),
        },
    }
}

/// Gives each pool to the innermost collection that it lies in; tells how many lie in none.
fn join(pauses: &mut [Pause], mut pools: Vec<PoolRow>) -> u64 {
    if pools.is_empty() {
        return 0;
    }
    pools.sort_by_key(|row| (row.pid, row.tid, row.ts, row.depth));
    let mut order: Vec<usize> = (0..pauses.len()).collect();
    let key = |pause: &Pause| (pause.pid, pause.tid, pause.ts, pause.depth);
    order.sort_by_key(|place| key(&pauses[*place]));
    let mut next = order.into_iter().peekable();
    // Those that have begun, the innermost last.
    let (mut open, mut loose): (Vec<usize>, u64) = (Vec::new(), 0);
    for row in pools {
        let now = (row.pid, row.tid, row.ts, row.depth);
        while let Some(place) = next.next_if(|place| key(&pauses[*place]) <= now) {
            open.push(place);
        }
        while open.pop_if(|place| !pauses[*place].contains(&row)).is_some() {}
        match open.last() {
            Some(place) => pauses[*place].pools.push(row.pool),
            None => loose += 1,
        }
    }
    loose
}

/// Texts that repeat, each kept once.
#[derive(Default)]
struct Texts(HashSet<Arc<str>>);

impl Texts {
    fn one(&mut self, text: Option<&str>) -> Option<Arc<str>> {
        let text = text?;
        if let Some(known) = self.0.get(text) {
            return Some(Arc::clone(known));
        }
        let new: Arc<str> = text.into();
        self.0.insert(Arc::clone(&new));
        Some(new)
    }
}
