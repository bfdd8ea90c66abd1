//! Shards at work, on this thread or on others.
//!
//! Operations are handed over in batches, since handing over costs more than an operation does. What
//! all shards must answer together, such as what is outstanding now, waits for each of them.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Scope;

use super::shard::{Gaps, Op, Rules, Shard};
use crate::distribution::Values;
use crate::sites::{Sum, Tallies};

/// So many operations are handed over at once.
const BATCH: usize = 4 * 1024;

/// What a worker is told.
enum Order {
    /// Do these, and let the instants before this one be over.
    Work(Vec<Op>, i64),
    /// Tell what is outstanding at this instant, which is over.
    Look(i64),
}

/// The shards, and what is collected for them.
pub struct Crew {
    workers: Workers,
    peak: Option<Peak>,
    /// Operations since the last batch.
    taken: usize,
}

enum Workers {
    /// All addresses are one shard. What waits for it.
    Here(Box<Shard>, Vec<Op>),
    Elsewhere(Vec<Worker>),
}

/// A thread with a shard.
struct Worker {
    waiting: Vec<Op>,
    orders: SyncSender<Order>,
    looks: Receiver<Tallies>,
    deltas: Option<Receiver<Vec<(i64, i64)>>>,
    done: Receiver<Shard>,
}

/// What was found out in the end.
#[derive(Debug, Default)]
pub struct Findings {
    /// What shows that events are missing.
    pub gaps: Gaps,
    /// How long freed blocks lived.
    pub lifetimes: Values,
    /// When most bytes were live, and how many.
    pub peak: Option<(i64, i64)>,
    /// What children hold that counts only in their parents.
    pub inherited: Sum,
}

impl Crew {
    /// One shard on this thread.
    #[must_use]
    pub fn here(rules: Rules) -> Crew {
        let peak = rules.deltas.then(Peak::default);
        let shard = Box::new(Shard::new(rules));
        Crew { workers: Workers::Here(shard, Vec::with_capacity(BATCH)), peak, taken: 0 }
    }

    /// So many shards, each with a thread.
    pub fn elsewhere<'scope>(scope: &'scope Scope<'scope, '_>, count: usize, rules: Rules) -> Crew {
        let worker = |_| {
            let (orders, told) = sync_channel::<Order>(2);
            let (look, looks) = sync_channel(1);
            let (change, deltas) = sync_channel(3);
            let (finish, done) = sync_channel(1);
            scope.spawn(move || {
                let mut shard = Shard::new(rules);
                // Nobody waits for an answer any more only where the report has failed.
                for order in told {
                    match order {
                        Order::Work(ops, until) => {
                            shard.work(&ops);
                            shard.pass(until);
                            if rules.deltas {
                                let _ = change.send(std::mem::take(&mut shard.deltas));
                            }
                        }
                        Order::Look(at) => {
                            let _ = look.send(shard.look(at));
                        }
                    }
                }
                shard.settle();
                let _ = finish.send(shard);
            });
            let deltas = rules.deltas.then_some(deltas);
            Worker { waiting: Vec::with_capacity(BATCH), orders, looks, deltas, done }
        };
        let peak = rules.deltas.then(Peak::default);
        Crew { workers: Workers::Elsewhere((0..count).map(worker).collect()), peak, taken: 0 }
    }

    /// Hands over what happened at an address at the instant `ts`.
    #[inline]
    pub fn take(&mut self, address: u64, op: Op, ts: i64) {
        match &mut self.workers {
            Workers::Here(_, waiting) => waiting.push(op),
            Workers::Elsewhere(workers) => {
                let shard = shard_of(address, workers.len());
                workers[shard].waiting.push(op);
            }
        }
        self.taken += 1;
        if self.taken >= BATCH {
            self.hand_over(ts);
        }
    }

    /// Hands over what concerns all addresses.
    pub fn take_everywhere(&mut self, op: Op) {
        match &mut self.workers {
            Workers::Here(_, waiting) => waiting.push(op),
            Workers::Elsewhere(workers) => workers.iter_mut().for_each(|w| w.waiting.push(op)),
        }
    }

    /// Ends a batch: nothing that follows is older than `until`.
    fn hand_over(&mut self, until: i64) {
        self.taken = 0;
        match &mut self.workers {
            Workers::Here(shard, waiting) => {
                shard.work(waiting);
                waiting.clear();
                if let Some(peak) = &mut self.peak {
                    peak.take(&shard.deltas);
                    shard.deltas.clear();
                }
            }
            Workers::Elsewhere(workers) => {
                for worker in workers.iter_mut() {
                    let ops = std::mem::replace(&mut worker.waiting, Vec::with_capacity(BATCH));
                    worker.orders.send(Order::Work(ops, until)).expect(LISTENS);
                }
                if let Some(peak) = &mut self.peak {
                    let mut deltas = Vec::new();
                    for deltas_of in workers.iter().filter_map(|worker| worker.deltas.as_ref()) {
                        deltas.append(&mut deltas_of.recv().expect(LISTENS));
                    }
                    // Each part is in order already.
                    deltas.sort_by_key(|(ts, _)| *ts);
                    peak.take(&deltas);
                }
            }
        }
    }

    /// What is outstanding at the instant `at`, which is over.
    pub fn look(&mut self, at: i64) -> Tallies {
        self.hand_over(at);
        match &mut self.workers {
            Workers::Here(shard, _) => shard.look(at),
            Workers::Elsewhere(workers) => {
                for worker in workers.iter() {
                    worker.orders.send(Order::Look(at)).expect(LISTENS);
                }
                let mut all = workers.iter().map(|worker| worker.looks.recv().expect(LISTENS));
                let mut tallies = all.next().expect("there is at least one worker");
                all.for_each(|more| tallies.merge(&more));
                tallies
            }
        }
    }

    /// Ends the work.
    #[must_use]
    pub fn finish(mut self) -> Findings {
        self.hand_over(i64::MAX);
        let shards = match self.workers {
            Workers::Here(mut shard, _) => {
                shard.settle();
                vec![*shard]
            }
            Workers::Elsewhere(workers) => {
                let finish = |worker: Worker| {
                    drop(worker.orders);
                    worker.done.recv().expect(LISTENS)
                };
                workers.into_iter().map(finish).collect()
            }
        };
        let mut findings = Findings::default();
        for shard in shards {
            findings.gaps.unknown_frees += shard.gaps.unknown_frees;
            findings.gaps.unknown_reallocs += shard.gaps.unknown_reallocs;
            findings.gaps.missed_frees += shard.gaps.missed_frees;
            findings.inherited.merge(shard.inherited());
            if let Some(peak) = &mut self.peak {
                peak.take(&shard.deltas);
            }
            findings.lifetimes.merge(shard.lifetimes);
        }
        findings.peak = self.peak.map(Peak::finish);
        findings
    }
}

const LISTENS: &str = "a worker ends when its orders do";

/// The shard of an address. Blocks are aligned: the lowest bits say little.
#[inline]
fn shard_of(address: u64, count: usize) -> usize {
    let mixed = (address >> 4).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    // Both are below 2³².
    ((mixed * count as u64) >> 32) as usize
}

/// The most bytes that were ever live. What counts is how many there are when an instant is over.
#[derive(Clone, Copy, Debug, Default)]
struct Peak {
    live: i64,
    /// The last instant that there was a change at.
    ts: i64,
    most: (i64, i64),
}

impl Peak {
    fn take(&mut self, deltas: &[(i64, i64)]) {
        for (ts, bytes) in deltas {
            if *ts != self.ts {
                self.pass();
                self.ts = *ts;
            }
            self.live = self.live.saturating_add(*bytes);
        }
    }

    fn pass(&mut self) {
        if self.live > self.most.1 {
            self.most = (self.ts, self.live);
        }
    }

    fn finish(mut self) -> (i64, i64) {
        self.pass();
        self.most
    }
}
