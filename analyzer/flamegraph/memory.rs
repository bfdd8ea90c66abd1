//! The stacks of allocations, for a flame graph.
//!
//! A stack begins with the name that its process had at the end, or at the instant of --at.

use std::collections::HashMap;

use super::folding::{Key, Sum, Sums};
use super::{Weight, WeightArgs};
use crate::cli::Source;
use crate::heap::shard::{Rules, Within};
use crate::heap::{self, Look, Question, Wanted};
use crate::lifetimes::{Detail, Lifetimes};
use crate::memleak::instant;
use crate::replay::Instants;
use crate::scope::Scope;
use crate::sites::{self, SHARES, Tally};
use crate::spaces::changes;

/// What a stack of a process weighs.
type Weights = HashMap<(i32, i64), Sum>;

/// Allocations summed up by stack, at the instant of --at, or at the end.
pub(super) fn sums(args: &WeightArgs, source: &Source, scope: &Scope) -> anyhow::Result<Sums> {
    let recording = &source.recording;
    let lifetimes = Lifetimes::read(recording, Detail::Identity)?;
    let changes = changes(recording)?;
    let end = source.window.end();
    let stop = args.at.as_deref().map(|at| instant("--at", at, source)).transpose()?;
    let mut question = Question {
        recording,
        range: source.window.range.clone(),
        end,
        changes: &changes,
        wanted: Wanted {
            scope,
            lifetimes: &lifetimes,
            min_size: None,
            max_size: None,
            by_stack: true,
            by_thread: false,
        },
        rules: Rules {
            older: None,
            within: Within::Allocations(1),
            // As in `memleak`: at the end also what processes had when they ended.
            ended: stop.is_none() && args.weight != Weight::Peak,
            inherited: false,
            lifetimes: false,
            deltas: args.weight == Weight::Peak,
            by_space: true,
        },
        sizes: false,
        threads: args.threads.count(),
    };
    let mut look_at = stop.unwrap_or(end);
    if args.weight == Weight::Peak {
        let found = heap::replay(&question, Instants::once(look_at), |_| Ok(()))?;
        look_at = found.findings.peak.filter(|(_, most)| *most > 0).map_or(look_at, |(at, _)| at);
        question.rules.deltas = false;
    }
    let mut weights = Weights::new();
    heap::replay(&question, Instants::once(look_at), |look| {
        weigh(args.weight, &look, &mut weights);
        Ok(())
    })?;
    let mut sums = Sums::default();
    for ((pid, stack), sum) in weights {
        let name = lifetimes
            .who(pid, look_at)
            .and_then(|lifetime| lifetime.image_at(look_at).comm.as_deref());
        let comm = sums.place(name.unwrap_or("[unknown]"));
        let user = Some(stack);
        let key = Key { comm, user, kernel: None, unreadable: false, behind: [None; 2], step: 0 };
        sums.sums.entry(key).or_default().add(sum);
    }
    Ok(sums)
}

fn weigh(weight: Weight, look: &Look<'_>, weights: &mut Weights) {
    for (space, number, tally) in look.tallies.each() {
        let site = look.sites.site(number);
        let sum = chosen(weight, tally);
        let count = i128::from(sum.count.max(0)) * i128::from(site.shares) / i128::from(SHARES);
        let samples = u64::try_from(count).unwrap_or(u64::MAX);
        let weight = match weight {
            Weight::Temporary | Weight::Count => i64::try_from(samples).unwrap_or(i64::MAX),
            Weight::Cpu
            | Weight::Offcpu
            | Weight::Wall
            | Weight::Probe
            | Weight::Outstanding
            | Weight::Allocated
            | Weight::Peak => sum.bytes.max(0),
        };
        if weight > 0 {
            let key = (look.spaces.process(space), site.stack);
            weights.entry(key).or_default().add(Sum { weight, samples });
        }
    }
}

/// What of a tally is drawn.
fn chosen(weight: Weight, tally: &Tally) -> sites::Sum {
    match weight {
        Weight::Cpu
        | Weight::Offcpu
        | Weight::Wall
        | Weight::Probe
        | Weight::Outstanding
        | Weight::Peak => {
            let mut sum = tally.live;
            sum.merge(tally.ended);
            sum
        }
        Weight::Allocated | Weight::Count => tally.allocated,
        Weight::Temporary => tally.temporary,
    }
}
