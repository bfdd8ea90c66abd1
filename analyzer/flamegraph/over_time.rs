//! Stacks by step of time, for a flame graph of any part of it.

use std::collections::BTreeMap;

use ahash::HashMap;

use super::folding::each_stack;
use super::{FlamegraphArgs, Weight, cpu, offcpu};
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
    let of = &args.of;
    let unit = of.weight.unit(&source.recording);
    let mut read = OverTime { unit, timed: true, ..OverTime::default() };
    let sums = match of.weight {
        Weight::Cpu => cpu::sums(of, source, &scope, Some(steps))?,
        Weight::Offcpu => {
            let (sums, notes) = offcpu::waits(of, source, &scope, Some(steps))?;
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
            read.timed = false;
            of.sums(source, &scope)?
        }
    };
    each_stack(&args.frames, &source.recording, &sums, |frames, key, sum| {
        let weights = read.stacks.entry(frames.join(";")).or_default();
        let weight = weights.entry(key.step).or_default();
        *weight = weight.saturating_add(sum.weight);
    })?;
    Ok(read)
}
