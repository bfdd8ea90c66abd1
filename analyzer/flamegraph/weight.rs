//! What stacks weigh: time on the CPUs or off them, memory, or hits of probes.

use anyhow::bail;
use clap::{Args, ValueEnum};
use lookback_schemas::TableId;
use lookback_schemas::recording::Recording;

use super::folding::Sums;
use super::{cpu, memory, offcpu, probe};
use crate::cli::Source;
use crate::scope::Scope;
use crate::tally::ThreadsArgs;

/// What is added up by stack.
#[derive(Args, Clone, Debug, Default)]
pub struct WeightArgs {
    /// What stacks weigh
    #[arg(long, value_enum, default_value_t = Weight::Cpu)]
    pub weight: Weight,
    /// With `--weight probe` only hits of the probe of this name; can be given again
    #[arg(long, value_name = "NAME")]
    pub probe: Vec<String>,
    /// With `--weight offcpu` or `wall` who ended each wait, behind its stack
    #[arg(long)]
    pub waker: bool,
    /// Memory at this instant: the forms of --since [default: the end]
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// How many threads read.
    #[command(flatten)]
    pub threads: ThreadsArgs,
}

impl WeightArgs {
    /// Makes sure that the options belong together.
    ///
    /// # Errors
    /// Names the one that does not.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        if !self.weight.is_memory() && self.at.is_some() {
            bail!("--at and --diff-at are about memory: take --weight outstanding");
        }
        if self.weight != Weight::Probe && !self.probe.is_empty() {
            bail!("--probe is about hits of probes: take --weight probe");
        }
        if self.waker && !matches!(self.weight, Weight::Offcpu | Weight::Wall) {
            bail!("--waker is about waits: take --weight offcpu");
        }
        Ok(())
    }

    /// Adds up by stack.
    ///
    /// # Errors
    /// If a table is damaged, or the scope cannot be told for it.
    pub(crate) fn sums(&self, source: &Source, scope: &Scope) -> anyhow::Result<Sums> {
        if !self.weight.is_memory() {
            self.weight.tables().iter().try_for_each(|table| scope.check(*table))?;
        }
        match self.weight {
            Weight::Cpu => cpu::sums(self, source, scope, None),
            Weight::Offcpu => offcpu::sums(self, source, scope),
            Weight::Wall => offcpu::wall(self, source, scope),
            Weight::Probe => probe::sums(self, source, scope),
            Weight::Outstanding
            | Weight::Allocated
            | Weight::Peak
            | Weight::Temporary
            | Weight::Count => memory::sums(self, source, scope),
        }
    }
}

/// What a flame graph is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Weight {
    /// CPU time.
    #[default]
    Cpu,
    /// Time off the CPUs: sleeping, and waiting for a CPU.
    Offcpu,
    /// Time on and off the CPUs, all that threads lived.
    Wall,
    /// Bytes of heaps that are outstanding.
    Outstanding,
    /// Bytes that were allocated, freed or not.
    Allocated,
    /// Bytes that were live when most were.
    Peak,
    /// Allocations that were freed before their process made another.
    Temporary,
    /// Allocations that were made.
    Count,
    /// Hits of probes of the user's, as far as they have stacks.
    Probe,
}

impl Weight {
    /// The tables that it is read from.
    pub(crate) fn tables(self) -> &'static [TableId] {
        match self {
            Weight::Cpu => &[TableId::Sample],
            Weight::Offcpu => &[TableId::Offcpu],
            Weight::Wall => &[TableId::Sample, TableId::Offcpu],
            Weight::Probe => &[TableId::Probe],
            Weight::Outstanding
            | Weight::Allocated
            | Weight::Peak
            | Weight::Temporary
            | Weight::Count => &[TableId::Alloc],
        }
    }

    /// Whether it is about memory.
    pub(crate) fn is_memory(self) -> bool {
        self.tables() == [TableId::Alloc]
    }

    /// What it counts.
    pub(crate) fn unit(self, recording: &Recording) -> &'static str {
        match self {
            Weight::Cpu => cpu::period(recording),
            Weight::Offcpu | Weight::Wall => "ns",
            Weight::Outstanding | Weight::Allocated | Weight::Peak => "bytes",
            Weight::Temporary | Weight::Count => "allocations",
            Weight::Probe => "hits",
        }
    }

    /// What it is called in titles.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Weight::Cpu => "CPU time",
            Weight::Offcpu => "Time off the CPUs",
            Weight::Wall => "Wall time",
            Weight::Outstanding => "Outstanding memory",
            Weight::Allocated => "Allocated memory",
            Weight::Peak => "Memory at the peak",
            Weight::Temporary => "Temporary allocations",
            Weight::Count => "Allocations",
            Weight::Probe => "Hits of probes",
        }
    }
}
