//! Stacks by step of time, for a flame graph of any part of it.

use std::collections::BTreeMap;

use ahash::HashMap;

use super::folding::{Folded, each_stack};
use super::{FlamegraphArgs, Weight, cpu, fold, offcpu};
use crate::bins::Bins;
use crate::cli::Source;
use crate::scope::Scope;

/// What weighs how much in which step.
#[derive(Debug, Default)]
pub(crate) struct OverTime {
    /// The weights of each stack, in folded form, by step; in order.
    pub stacks: BTreeMap<String, HashMap<u32, i64>>,
    /// What the weights count.
    pub unit: &'static str,
    /// Whether there is more than one step: memory is only known at the end.
    pub timed: bool,
    /// What a reader must know.
    pub notes: Vec<String>,
}

/// The stacks of a flame graph in each of the steps.
///
/// # Errors
/// If a table is damaged.
pub(crate) fn read(
    args: &FlamegraphArgs,
    source: &Source,
    steps: &Bins,
) -> anyhow::Result<OverTime> {
    let scope = Scope::new(&args.scope, &source.recording)?;
    let unit = args.weight.unit(&source.recording);
    let mut read = OverTime { unit, timed: true, ..OverTime::default() };
    let sums = match args.weight {
        Weight::Cpu => cpu::sums(args, source, &scope, Some(steps))?,
        Weight::Offcpu => {
            let (sums, notes) = offcpu::sums(args, source, &scope, Some(steps))?;
            read.notes = notes;
            sums
        }
        Weight::Wall
        | Weight::Outstanding
        | Weight::Allocated
        | Weight::Peak
        | Weight::Temporary
        | Weight::Count
        | Weight::Probe => {
            let folded: Folded = fold(args, source, &scope, args.at.as_deref())?;
            let whole = |(stack, sum): (_, super::folding::Sum)| {
                (stack, HashMap::from_iter([(0, sum.weight)]))
            };
            read.stacks = folded.into_iter().map(whole).collect();
            read.timed = false;
            return Ok(read);
        }
    };
    each_stack(args, &source.recording, &sums, |frames, key, sum| {
        let weights = read.stacks.entry(frames.join(";")).or_default();
        let weight = weights.entry(key.step).or_default();
        *weight = weight.saturating_add(sum.weight);
    })?;
    Ok(read)
}
