//! Random histories, replayed and worked out by a model that is slow and obviously right.
//!
//! The model keeps no state between questions. To tell what is live at an instant it sorts all that
//! happened until then and plays it on a plain list of blocks, in which it looks for everything.

use std::collections::BTreeMap;

use lookback_schemas::manifest::Filters;
use lookback_schemas::tables::alloc::Function;

use super::shard::{Rules, Within};
use super::{Look, Question, Wanted};
use crate::lifetimes::Lifetimes;
use crate::made::{Heap, Made, Mapping, Row, START, analyze};
use crate::mapped;
use crate::replay::Instants;
use crate::scope::Scope;
use crate::sites::{Sum, Tally};
use crate::spaces::changes;

/// Knuth's generator; its high bits are good enough.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040);
        (self.0 >> 33) % bound
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }
}

#[derive(Clone, Copy, Debug)]
enum Happens {
    Fork { pid: i32, parent: i32, shares: bool },
    Exec(i32),
    Exit(i32),
    Heap(Heap),
    Map(Mapping),
}

impl std::fmt::Debug for Heap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Heap { pid, function, address, old, bytes, duration, .. } = self;
        write!(f, "{pid}: {function} {old:?} -> {address:?} {bytes:?} in {duration:?}")
    }
}

impl std::fmt::Debug for Mapping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Mapping { pid, call, address, bytes, old, old_bytes, .. } = self;
        write!(f, "{pid}: vm {call} {old:?}+{old_bytes:?} -> {address:?}+{bytes:?}")
    }
}

/// What happens and when, in nanoseconds after the start; instants are shared now and then.
type History = Vec<(i64, Happens)>;

const PIDS: [i32; 4] = [10, 11, 12, 13];

fn history(seed: u64) -> History {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1);
    let mut history = History::new();
    let (mut now, mut last_change) = (1, 0);
    for _ in 0..(10 + random.below(120)) {
        now += random.below(4) as i64;
        let pid = random.one_of(&PIDS);
        let some_address = |random: &mut Random| 0x1000 + 16 * random.below(10) as i64;
        let what = match random.below(40) {
            0 | 1 => {
                let parent = random.one_of(&PIDS);
                match parent == pid {
                    true => continue,
                    false => Happens::Fork { pid, parent, shares: random.below(3) == 0 },
                }
            }
            2 => Happens::Exec(pid),
            3 => Happens::Exit(pid),
            4..=19 => {
                let function = random.one_of(&[0, 1, 4, 10]);
                let address = (random.below(12) > 0).then(|| some_address(&mut random));
                let bytes = Some(random.below(5) as i64 * 10);
                let bytes = if random.below(20) == 0 { None } else { bytes };
                let call = Heap::malloc(0.0, pid, 0, 0, 1 + random.below(3) as i64);
                Happens::Heap(Heap { function, address, bytes, ..call })
            }
            20..=25 => {
                let old = (random.below(4) > 0).then(|| some_address(&mut random));
                let new = (random.below(4) > 0).then(|| some_address(&mut random));
                let bytes = random.below(3) as i64 * 10;
                let call = Heap::realloc(0.0, pid, (old, new), bytes, 1 + random.below(3) as i64);
                Happens::Heap(Heap { duration: Some(random.below(8) as i64), ..call })
            }
            26..=32 => {
                let address = some_address(&mut random);
                let function = random.one_of(&[11, 12]);
                Happens::Heap(Heap { function, ..Heap::free(0.0, pid, address) })
            }
            call => {
                let range = |random: &mut Random| (random.below(12) as i64, random.below(6) as i64);
                let ((to, length), stack) = (range(&mut random), 1 + random.below(3) as i64);
                Happens::Map(match call {
                    33..=35 => Mapping::mmap(0.0, pid, to, length, stack),
                    36 | 37 => Mapping::munmap(0.0, pid, to, length),
                    38 => {
                        let from = range(&mut random);
                        let flags = Some(random.one_of(&[1, 5]));
                        Mapping { flags, ..Mapping::mremap(0.0, pid, from, (to, length), stack) }
                    }
                    _ => Mapping::brk(0.0, pid, (to + 2, to + length), stack),
                })
            }
        };
        let changes = matches!(what, Happens::Fork { .. } | Happens::Exec(_) | Happens::Exit(_));
        // Of two changes at one instant nothing tells which came first.
        now += i64::from(changes && last_change == now);
        last_change = if changes { now } else { last_change };
        history.push((now, what));
    }
    history
}

/// The recording of a history, its rows dealt out to row groups that overlap in time.
fn record(history: &History) -> Made {
    let made = Made::new();
    made.filter(Filters { follow: true, alloc_follow: true, ..Filters::default() });
    let mut groups: [Vec<Row>; 3] = Default::default();
    for (ns, what) in history {
        let seconds = *ns as f64 / 1e9;
        let row = match *what {
            Happens::Fork { pid, parent, shares } => {
                made.fork_in(seconds, pid, parent, Some(if shares { parent } else { pid }))
            }
            Happens::Exec(pid) => made.exec(seconds, pid, 1, &["/bin/a"]),
            Happens::Exit(pid) => made.exit(seconds, pid, 1, 0.0, Ok(0)),
            Happens::Heap(call) => made.alloc(Heap { ns: *ns, ..call }),
            Happens::Map(call) => made.vm(Mapping { ns: *ns, ..call }),
        };
        // Rows of one instant stay in their order, as those of one CPU do.
        groups[(*ns / 7 % 3) as usize].push(row);
    }
    groups.iter().filter(|rows| !rows.is_empty()).for_each(|rows| made.rows(rows));
    made
}

/// A block, or one address of a region, and everything that can be known of it.
#[derive(Clone, Copy, Debug)]
struct Held {
    space: usize,
    address: i64,
    ts: i64,
    bytes: i64,
    stack: i64,
    serial: u32,
    on_top: bool,
}

#[derive(Clone, Debug, Default)]
struct Space {
    process: i32,
    users: Vec<i32>,
    parent: Option<usize>,
    born: i64,
    /// Whether it ended, and whether by an exit.
    ended: Option<bool>,
    serial: u32,
}

/// By process and stack.
type Sums = BTreeMap<(i32, i64), (i64, i64)>;

/// What there is to know at an instant.
#[derive(Clone, Debug, Default, PartialEq)]
struct Known {
    live: Sums,
    ended: Sums,
    temporary: Sums,
    allocated: Sums,
    /// Unknown frees, unknown reallocations, missed frees.
    gaps: (u64, u64, u64),
    failed: u64,
    /// When most was live, and how much.
    peak: (i64, i64),
}

struct Model {
    rules: Rules,
    spaces: Vec<Space>,
    blocks: Vec<Held>,
    found: Known,
    /// What is mapped: by space and address, with the number of its region.
    mapped: BTreeMap<(usize, i64), (u64, Held)>,
    regions: u64,
    unknown_ranges: u64,
}

impl Model {
    fn space(&mut self, pid: i32) -> usize {
        let there = |space: &Space| space.ended.is_none() && space.users.contains(&pid);
        if let Some(space) = self.spaces.iter().position(there) {
            return space;
        }
        self.spaces.push(Space { process: pid, users: vec![pid], ..Space::default() });
        self.spaces.len() - 1
    }

    fn known(&self, pid: i32) -> Option<usize> {
        self.spaces.iter().position(|s| s.ended.is_none() && s.users.contains(&pid))
    }

    fn counts(&self, block: &Held) -> bool {
        let mut space = &self.spaces[block.space];
        if space.parent.is_none() || block.ts >= space.born || self.rules.inherited {
            return true;
        }
        // The parent's, as long as it is there, or has it in the books.
        space = &self.spaces[space.parent.expect("it was copied")];
        match space.ended {
            None => false,
            Some(exited) => !(exited && self.rules.ended),
        }
    }

    fn add(&self, sums: &mut Sums, block: &Held) {
        let sum = sums.entry((self.spaces[block.space].process, block.stack)).or_default();
        *sum = (sum.0 + block.bytes, sum.1 + 1);
    }

    fn leave(&mut self, pid: i32, exited: bool, now: i64) {
        let Some(space) = self.known(pid) else { return };
        self.spaces[space].users.retain(|user| *user != pid);
        if !self.spaces[space].users.is_empty() {
            return;
        }
        if exited && self.rules.ended {
            for block in self.blocks.clone() {
                let old = self.rules.admits(now - block.ts);
                if block.space == space && self.counts(&block) && old {
                    let mut ended = std::mem::take(&mut self.found.ended);
                    self.add(&mut ended, &block);
                    self.found.ended = ended;
                }
            }
        }
        if exited && self.rules.ended {
            for (key, sum) in self.live_regions(now, Some(space)) {
                let entry = self.found.ended.entry(key).or_default();
                *entry = (entry.0 + sum.0, entry.1 + sum.1);
            }
        }
        self.blocks.retain(|block| block.space != space);
        self.mapped.retain(|(of, _), _| *of != space);
        self.spaces[space].ended = Some(exited);
    }

    fn process(&mut self, now: i64, what: Happens) {
        match what {
            Happens::Fork { pid, parent, shares } => {
                self.leave(pid, true, now);
                if shares {
                    let space = self.space(parent);
                    self.spaces[space].users.push(pid);
                } else if let Some(from) = self.known(parent) {
                    let serial = self.spaces[from].serial;
                    let to = self.spaces.len();
                    self.spaces.push(Space {
                        process: pid,
                        users: vec![pid],
                        parent: Some(from),
                        born: now,
                        ended: None,
                        serial,
                    });
                    let copies: Vec<Held> = self.blocks.to_vec();
                    let copies = copies.into_iter().filter(|block| block.space == from);
                    self.blocks.extend(copies.map(|block| Held { space: to, ..block }));
                    let mapped = self.mapped.clone();
                    let units = mapped.into_iter().filter(|((space, _), _)| *space == from);
                    self.mapped.extend(units.map(|((_, address), unit)| ((to, address), unit)));
                }
            }
            Happens::Exec(pid) => self.leave(pid, false, now),
            Happens::Exit(pid) => self.leave(pid, true, now),
            Happens::Heap(_) | Happens::Map(_) => {}
        }
    }

    fn place(&self, space: usize, address: i64) -> Option<usize> {
        self.blocks.iter().position(|b| b.space == space && b.address == address)
    }

    fn release(&mut self, place: usize, now: i64, serial: u32) {
        let block = self.blocks[place];
        let temporary = match self.rules.within {
            Within::Allocations(most) => serial - block.serial < most,
            Within::Time(most) => now - block.ts <= most,
        };
        if temporary && self.counts(&block) {
            let mut sums = std::mem::take(&mut self.found.temporary);
            self.add(&mut sums, &block);
            self.found.temporary = sums;
        }
        self.blocks.remove(place);
    }

    /// All rows of one instant: first what they free, then what they allocate.
    fn rows(&mut self, now: i64, calls: &[Heap]) {
        let mut made = Vec::new();
        for call in calls {
            let frees = Function::from_code(call.function).is_some_and(Function::frees);
            let failed = !frees && call.address.is_none() && call.bytes != Some(0);
            let space = self.space(call.pid);
            self.found.failed += u64::from(failed);
            if failed {
                continue;
            }
            let serial = self.spaces[space].serial;
            if frees {
                let address = call.address.expect("frees have one here");
                match self.place(space, address) {
                    Some(place) => self.release(place, now, serial),
                    None => self.found.gaps.0 += 1,
                }
                continue;
            }
            if let Some(old) = call.old {
                let called = now - call.duration.unwrap_or(0);
                match self.place(space, old) {
                    Some(place) if self.blocks[place].ts <= called => {
                        self.release(place, now, serial);
                    }
                    Some(place) if self.blocks[place].on_top => {
                        self.blocks[place].on_top = false;
                        self.found.gaps.2 -= 1;
                    }
                    Some(_) | None => self.found.gaps.1 += 1,
                }
            }
            if let Some(address) = call.address {
                self.spaces[space].serial += 1;
                let (stack, bytes) = (call.stack, call.bytes.unwrap_or(0));
                let serial = self.spaces[space].serial;
                let (ts, on_top) = (now, false);
                made.push(Held { space, address, ts, bytes, stack, serial, on_top });
            }
        }
        for mut block in made {
            if let Some(old) = self.place(block.space, block.address) {
                self.found.gaps.2 += 1;
                block.on_top = true;
                self.blocks.remove(old);
            }
            let mut sums = std::mem::take(&mut self.found.allocated);
            self.add(&mut sums, &block);
            self.found.allocated = sums;
            self.blocks.push(block);
        }
    }

    fn units(&mut self, space: usize, start: i64, length: i64) -> BTreeMap<i64, (u64, Held)> {
        let range = start..start + length;
        let place = |address| ((space, address), address - start);
        let all = range.map(place).collect::<Vec<_>>();
        let taken = all.into_iter().filter_map(|(key, at)| Some((at, self.mapped.remove(&key)?)));
        taken.collect()
    }

    fn region(&mut self, now: i64, call: &Mapping, space: usize, start: i64, length: i64) {
        self.regions += 1;
        let (ts, stack) = (now, call.stack);
        for address in start..start + length {
            let (bytes, serial, on_top) = (1, 0, false);
            let held = Held { space, address, ts, bytes, stack, serial, on_top };
            self.mapped.insert((space, address), (self.regions, held));
        }
    }

    fn map(&mut self, now: i64, call: &Mapping) {
        let space = self.space(call.pid);
        let (address, bytes) = (call.address.expect("none fails"), call.bytes.unwrap_or(0));
        let (old, old_bytes) = (call.old.unwrap_or(0), call.old_bytes.unwrap_or(0));
        match call.call {
            0 => self.region(now, call, space, address, bytes),
            1 => {
                let met = !self.units(space, address, bytes).is_empty();
                self.unknown_ranges += u64::from(!met);
            }
            2 => {
                let stays = old_bytes == 0 || call.flags == Some(5);
                let moved = match stays {
                    true => BTreeMap::new(),
                    false => self.units(space, old, old_bytes),
                };
                self.unknown_ranges += u64::from(!stays && moved.is_empty());
                self.region(now, call, space, address, bytes);
                for (at, unit) in moved.into_iter().filter(|(at, _)| *at < bytes) {
                    self.mapped.insert((space, address + at), unit);
                }
            }
            _ if address > old => self.region(now, call, space, old, address - old),
            _ if address < old => {
                let met = !self.units(space, address, old - address).is_empty();
                self.unknown_ranges += u64::from(!met);
            }
            _ => {}
        }
    }

    /// All that is live, as a report sums it up.
    fn live(&self, now: i64) -> Sums {
        let mut live = Sums::new();
        let old = |block: &&Held| self.counts(block) && self.rules.admits(now - block.ts);
        self.blocks.iter().filter(old).for_each(|block| self.add(&mut live, block));
        live
    }

    /// All that is mapped, or all in one space: its bytes and regions.
    fn live_regions(&self, now: i64, only: Option<usize>) -> Sums {
        let mut regions: BTreeMap<(usize, u64), (i64, Held)> = BTreeMap::new();
        let of = |space: &usize| only.is_none_or(|only| only == *space);
        for ((space, _), (region, held)) in self.mapped.iter().filter(|((s, _), _)| of(s)) {
            let held = Held { space: *space, ..*held };
            regions.entry((*space, *region)).or_insert((0, held)).0 += 1;
        }
        let mut live = Sums::new();
        for (bytes, held) in regions.into_values() {
            if self.counts(&held) && self.rules.admits(now - held.ts) {
                self.add(&mut live, &Held { bytes, ..held });
            }
        }
        live
    }
}

/// What the model says of the heap, and of what is mapped, at the instant `until`.
fn expected(history: &History, until: i64, rules: Rules) -> (Known, Known, u64) {
    let model = |mapped: bool| {
        let mut model = Model {
            rules,
            spaces: Vec::new(),
            blocks: Vec::new(),
            found: Known::default(),
            mapped: BTreeMap::new(),
            regions: 0,
            unknown_ranges: 0,
        };
        let mut peak = (0, 0);
        for now in 0..=until {
            let of_now: Vec<Happens> =
                history.iter().filter(|(ts, _)| *ts == now).map(|(_, what)| *what).collect();
            let exits = |what: &&Happens| matches!(what, Happens::Exit(_));
            of_now.iter().filter(|what| !exits(what)).for_each(|what| model.process(now, *what));
            let calls = of_now.iter().filter_map(|what| match what {
                Happens::Heap(call) => Some(*call),
                _ => None,
            });
            match mapped {
                false => model.rows(now, &calls.collect::<Vec<_>>()),
                true => of_now.iter().for_each(|what| {
                    if let Happens::Map(call) = what {
                        model.map(now, call);
                    }
                }),
            }
            of_now.iter().filter(exits).for_each(|what| model.process(now, *what));
            let counted = model.blocks.iter().filter(|block| model.counts(block));
            let bytes: i64 = counted.map(|block| block.bytes).sum();
            if bytes > peak.1 {
                peak = (now, bytes);
            }
        }
        model.found.live = if mapped { model.live_regions(until, None) } else { model.live(until) };
        model.found.peak = peak;
        (model.found, model.unknown_ranges)
    };
    let (heap, _) = model(false);
    let (mapped, unknown) = model(true);
    (heap, mapped, unknown)
}

fn sums(look: &Look<'_>, of: impl Fn(&Tally) -> Sum) -> Sums {
    let mut sums = Sums::new();
    for (space, site, tally) in look.tallies.each() {
        let sum = of(tally);
        if sum != Sum::default() {
            let key = (look.spaces.process(space), look.sites.site(site).stack);
            let entry = sums.entry(key).or_default();
            *entry = (entry.0 + sum.bytes, entry.1 + sum.count);
        }
    }
    sums
}

fn known(look: &Look<'_>) -> Known {
    Known {
        live: sums(look, |tally| tally.live),
        ended: sums(look, |tally| tally.ended),
        temporary: sums(look, |tally| tally.temporary),
        allocated: sums(look, |tally| tally.allocated),
        ..Known::default()
    }
}

/// How many histories: each takes a recording on disk. `LOOKBACK_SEEDS` asks for more.
fn seeds() -> u64 {
    let asked = std::env::var("LOOKBACK_SEEDS").ok();
    asked.and_then(|seeds| seeds.parse().ok()).unwrap_or(300)
}

#[test]
fn any_history_gives_what_the_model_gives() {
    for seed in 0..seeds() {
        let history = history(seed);
        let made = record(&history);
        let recording = made.open();
        let last = history.last().map_or(1, |(ts, _)| *ts);
        let mut random = Random(seed + 7);
        let within = match random.below(2) {
            0 => Within::Allocations(1 + random.below(3) as u32),
            _ => Within::Time(random.below(9) as i64),
        };
        let rules = Rules {
            older: (random.below(3) == 0).then(|| random.below(20) as i64),
            within,
            ended: random.below(2) == 0,
            inherited: random.below(3) == 0,
            lifetimes: false,
            deltas: true,
            by_space: true,
        };
        let until = random.below(last.unsigned_abs()) as i64 + 1;
        let (heap, regions, unknown) = expected(&history, until, rules);
        let changes = changes(&recording).expect("it is whole");
        for threads in [1, 4] {
            let question = Question {
                recording: &recording,
                range: i64::MIN..i64::MAX,
                end: START + 1_000_000_000,
                changes: &changes,
                wanted: Wanted {
                    scope: &Scope::default(),
                    lifetimes: &Lifetimes::default(),
                    min_size: None,
                    max_size: None,
                    by_stack: true,
                    by_thread: false,
                },
                rules,
                sizes: false,
                threads,
            };
            let mut seen = Known::default();
            // An early look must not disturb the later one.
            let instants = Instants {
                next: Some(START + until / 2),
                step: Some(until - until / 2),
                last: START + until,
                left: 2,
            };
            let found = super::replay(&question, instants.clone(), |look| {
                seen = known(&look);
                seen.failed = look.counts.failed;
                Ok(())
            })
            .expect("it is whole");
            let gaps = found.findings.gaps;
            seen.gaps = (gaps.unknown_frees, gaps.unknown_reallocs, gaps.missed_frees);
            let (ts, most) = found.findings.peak.expect("it was asked for");
            seen.peak = if most > 0 { (ts - START, most) } else { (0, 0) };
            assert_eq!(seen, heap, "seed {seed}, {threads} threads, {rules:?}, {history:#?}");
            let found = mapped::replay(&question, instants, |look| {
                seen = known(&look);
                Ok(())
            })
            .expect("it is whole");
            let what = format!("seed {seed}, until {until}, {rules:?}, {history:#?}");
            assert_eq!(
                (seen.live, seen.ended),
                (regions.live.clone(), regions.ended.clone()),
                "{what}"
            );
            assert_eq!(found.unknown, unknown, "{what}");
        }
    }
}

#[test]
fn reports_read_the_same_however_many_threads_there_are() {
    let reports: [&[&str]; 6] = [
        &["--by-process", "--every", "20ns"],
        &["--older", "9ns"],
        &["--temporary", "--within", "2", "--by-process"],
        &["--lifetimes", "--kind", "heap"],
        &["--peak"],
        &["--timeline", "--every", "15ns"],
    ];
    for seed in 0..60 {
        let made = record(&history(seed));
        // It ends soon, so that steps can be short.
        made.end(2e-7);
        for report in reports {
            let with = |threads| {
                let args = [&["memleak"], report, &["--threads", threads]].concat();
                analyze(&made, &args).expect("it is whole")
            };
            assert_eq!(with("1"), with("4"), "seed {seed}, {report:?}");
        }
    }
}
