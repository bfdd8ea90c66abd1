//! What the sites of a workload have outstanding: as the workload booked it (`tests/workloads/blocks.h`),
//! as a naive replay of rows finds it, and as `analyze memleak` reports it.
//!
//! A site is a line of a function whose name begins with `site_`. A stack belongs to the innermost site
//! in it; one without a site is of a block that a library allocated for itself.

use std::collections::{BTreeMap, HashMap};

use lookback_schemas::cell::View as _;
use lookback_schemas::tables::{Frame, Stack, Symbol};
use serde_json::Value;

use crate::recording::{Recorded, known, numbers};
use crate::workload::facts;

/// A function and a line in it.
pub type Site = (String, i32);

/// Bytes, and in how many blocks.
pub type Sum = (i64, i64);

/// What each site has outstanding, if anything.
pub type Sites = BTreeMap<Site, Sum>;

/// What a process booked.
pub fn booked(output: &str, pid: i32) -> Sites {
    let of_pid = facts(output, "site").into_iter().filter(|fact| fact.int32("pid") == pid);
    let sites = of_pid.map(|fact| {
        let site = (fact.word("name").to_owned(), fact.int32("line"));
        (site, (fact.int("bytes"), fact.int("count")))
    });
    sites.filter(|(_, (_, count))| *count > 0).collect()
}

/// Adds a block, or several.
pub fn add(sites: &mut Sites, site: Site, (bytes, count): Sum) {
    let sum = sites.entry(site).or_default();
    *sum = (sum.0 + bytes, sum.1 + count);
}

/// What all have together.
pub fn total(sites: &Sites) -> Sum {
    sites.values().fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1))
}

/// A function in a stack.
#[derive(Clone, Debug)]
struct Call {
    name: String,
    module: String,
    line: Option<i32>,
}

/// The stacks of a recording.
#[derive(Debug)]
pub struct Stacks(HashMap<i64, Vec<Call>>);

/// What allocators call their functions: in a stack that was taken in there they come first.
const ALLOCATORS: [&str; 9] = [
    "malloc",
    "calloc",
    "realloc",
    "reallocarray",
    "posix_memalign",
    "aligned_alloc",
    "memalign",
    "valloc",
    "pvalloc",
];

impl Stacks {
    /// Reads them.
    pub fn read(recorded: &Recorded) -> Stacks {
        let frames = recorded.table::<Frame>();
        let modules: HashMap<i64, String> = (0..frames.rows())
            .filter_map(|row| Some((frames.id.value(row), known(&frames.module, row)?.to_owned())))
            .collect();
        let symbols = recorded.table::<Symbol>();
        // By depth, the outermost first.
        let mut calls: HashMap<i64, BTreeMap<i32, Call>> = HashMap::new();
        for row in 0..symbols.rows() {
            let frame = symbols.frame.value(row);
            let name = symbols.name.value(row);
            let call = Call {
                // In C++ there are parameters.
                name: name.split('(').next().unwrap().to_owned(),
                module: modules.get(&frame).cloned().unwrap_or_default(),
                line: known(&symbols.line, row),
            };
            calls.entry(frame).or_default().insert(symbols.depth.value(row), call);
        }
        let unnamed = |frame: i64| Call {
            name: String::new(),
            module: modules.get(&frame).cloned().unwrap_or_default(),
            line: None,
        };
        let stacks = recorded.table::<Stack>();
        let stack = |row| {
            let frames = numbers(&stacks.frames.value(row));
            let calls = frames.into_iter().flat_map(|frame| match calls.get(&frame) {
                Some(calls) => calls.values().rev().cloned().collect(),
                None => vec![unnamed(frame)],
            });
            (stacks.id.value(row), calls.collect())
        };
        Stacks((0..stacks.rows()).map(stack).collect())
    }

    /// The innermost function of a stack, if it has a name.
    pub fn innermost(&self, stack: i64) -> &str {
        &self.0[&stack][0].name
    }

    /// The functions of a stack, the innermost first.
    pub fn names(&self, stack: i64) -> Vec<&str> {
        self.0[&stack].iter().map(|call| call.name.as_str()).collect()
    }

    /// All that is known of a stack, for messages.
    pub fn calls(&self, stack: i64) -> impl std::fmt::Debug {
        &self.0[&stack]
    }

    /// The site that a stack belongs to. Fails for a stack without one that begins in the workload's own
    /// code, or in code that nobody knows.
    pub fn site(&self, stack: i64, workload: &str) -> Option<Site> {
        let calls = &self.0[&stack];
        if let Some(call) = calls.iter().find(|call| call.name.starts_with("site_")) {
            let line = call.line.unwrap_or_else(|| panic!("no line of {call:?}"));
            return Some((call.name.clone(), line));
        }
        let own = |call: &&Call| ALLOCATORS.contains(&call.name.trim_start_matches("__libc_"));
        let caller = calls.iter().find(|call| !own(call));
        // In a static program the C library's functions are its own.
        if workload.ends_with("-static") {
            return None;
        }
        let module = caller.map_or("", |call| call.module.rsplit('/').next().unwrap());
        assert!(!module.is_empty() && module != workload, "whose is {calls:?}?");
        None
    }
}

/// What `analyze memleak` reports: by site, and of all stacks without a site together.
pub fn reported(recorded: &Recorded, kind: &str, options: &[&str]) -> (Sites, Sum) {
    let mut sites = Sites::new();
    let mut others = (0, 0);
    for row in report(recorded, kind, options) {
        let sum = (row["bytes"].as_i64().unwrap(), row["count"].as_i64().unwrap());
        match site_of_row(&row) {
            Some(site) => add(&mut sites, site, sum),
            None => others = (others.0 + sum.0, others.1 + sum.1),
        }
    }
    (sites, others)
}

/// All rows of the report.
pub fn report(recorded: &Recorded, kind: &str, options: &[&str]) -> Vec<Value> {
    recorded.report(&[&["memleak", "--kind", kind, "--top", "100000"], options].concat())
}

/// The innermost site: `site_four+0x1c heap.c:35 [heap]`.
pub fn site_of_row(row: &Value) -> Option<Site> {
    let stack = row["stack"].as_array().unwrap_or_else(|| panic!("a stack: {row}"));
    let call =
        stack.iter().map(|call| call.as_str().unwrap()).find(|call| call.starts_with("site_"))?;
    let name = call.split(['+', '(', ' ']).next().unwrap();
    let line = call.split(' ').find_map(|word| word.rsplit_once(':')?.1.parse().ok());
    Some((name.to_owned(), line.unwrap_or_else(|| panic!("no line in `{call}`"))))
}
