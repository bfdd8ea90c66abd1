//! From sums by stack to folded lines: each distinct stack is turned into names once.

use std::collections::BTreeMap;

use ahash::{HashMap, HashSet};
use clap::Args;
use lookback_schemas::TableId;
use lookback_schemas::recording::Recording;
use lookback_schemas::wire::Reason;

use super::names::{LabelArgs, Names, folded_name};
use crate::cli::Source;
use crate::lifetimes::{Detail, Lifetimes};
use crate::losses::missing;
use crate::tally;

/// Which frames stand in a folded stack.
#[derive(Args, Clone, Debug, Default)]
pub struct FrameArgs {
    /// Only user frames; samples without any are left out
    #[arg(long, conflicts_with = "kernel")]
    pub user: bool,
    /// Only kernel frames; samples without any are left out
    #[arg(long)]
    pub kernel: bool,
    /// Merge from the leaves: what calls a function, instead of what it calls
    #[arg(long)]
    pub reverse: bool,
    /// What the frames say.
    #[command(flatten)]
    pub labels: LabelArgs,
}

/// Folded stacks with their sums, in order.
pub(crate) type Folded = BTreeMap<String, Sum>;

/// Stands where a user stack should be and could not be read.
pub(crate) const UNREADABLE: &str = "[stack unreadable]";

/// What the samples of one stack add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    /// The sum of their periods.
    pub weight: i64,
    /// How many they are.
    pub samples: u64,
}

impl Sum {
    /// Adds another.
    pub fn add(&mut self, other: Sum) {
        self.weight = self.weight.saturating_add(other.weight);
        self.samples += other.samples;
    }
}

impl tally::Sum for Sum {
    fn merge(&mut self, other: Self) {
        self.add(other);
    }
}

/// What distinguishes samples before their stacks have names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// Place of the thread's name among [`Sums::names`].
    pub comm: u32,
    /// The stack of the program.
    pub user: Option<i64>,
    /// The stack of the kernel.
    pub kernel: Option<i64>,
    /// Whether there should be a user stack, but it could not be read.
    pub unreadable: bool,
    /// What stands behind the stacks, innermost: places among [`Sums::names`].
    pub behind: [Option<u32>; 2],
    /// In which step of time; 0 where time is not cut into any.
    pub step: u32,
}

/// Samples summed up.
#[derive(Default)]
pub(crate) struct Sums {
    names: Vec<String>,
    places: HashMap<String, u32>,
    pub sums: HashMap<Key, Sum>,
}

impl Sums {
    /// The place of a name.
    pub fn place(&mut self, name: &str) -> u32 {
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        let place = u32::try_from(self.names.len()).expect("names fill the memory before");
        self.names.push(name.to_owned());
        self.places.insert(name.to_owned(), place);
        place
    }

    /// The name at a place.
    pub fn name(&self, place: u32) -> &str {
        &self.names[place as usize]
    }

    /// The sums that weigh something, in the order of the threads' names and then of the stacks' numbers.
    pub fn sorted(&self) -> Vec<(&Key, &Sum)> {
        let mut sorted: Vec<(&Key, &Sum)> =
            self.sums.iter().filter(|(_, sum)| sum.weight != 0).collect();
        sorted.sort_by_cached_key(|(key, _)| {
            let behind = key.behind.map(|place| place.map(|place| self.name(place)));
            (self.name(key.comm), key.user, key.kernel, key.unreadable, behind)
        });
        sorted
    }

    /// The stacks that occur.
    pub fn stacks(&self) -> HashSet<i64> {
        self.sums.keys().flat_map(|key| [key.user, key.kernel]).flatten().collect()
    }

    /// The same sums, with this behind all stacks.
    pub fn behind(mut self, text: &str) -> Sums {
        let behind = [Some(self.place(text)), None];
        self.sums = self.sums.into_iter().map(|(key, sum)| (Key { behind, ..key }, sum)).collect();
        self
    }

    /// Adds others.
    pub fn merge(&mut self, other: Sums) {
        let places: Vec<u32> = other.names.iter().map(|name| self.place(name)).collect();
        for (key, sum) in other.sums {
            let place = |old: u32| places[old as usize];
            let (comm, behind) = (place(key.comm), key.behind.map(|old| old.map(place)));
            let key = Key { comm, behind, ..key };
            self.sums.entry(key).or_default().add(sum);
        }
    }
}

/// Gives the stacks their names, and adds up those of the same names.
pub(crate) fn fold_sums(
    args: &FrameArgs,
    recording: &Recording,
    sums: &Sums,
) -> anyhow::Result<Folded> {
    let mut folded = Folded::new();
    each_stack(args, recording, sums, |frames, _, sum| {
        folded.entry(frames.join(";")).or_default().add(sum);
    })?;
    Ok(folded)
}

/// Calls `visit` with the names of each stack, in no order; the same stack may come again.
pub(super) fn each_stack(
    args: &FrameArgs,
    recording: &Recording,
    sums: &Sums,
    mut visit: impl FnMut(&[String], &Key, Sum),
) -> anyhow::Result<()> {
    let names = Names::read(recording, &sums.stacks(), &args.labels)?;
    let mut stacks: HashMap<(i64, bool), Vec<String>> = HashMap::default();
    for (key, sum) in &sums.sums {
        if sum.weight == 0 {
            continue;
        }
        let mut frames = Vec::new();
        let mut stack = |id: Option<i64>, kernel: bool, frames: &mut Vec<String>| {
            if let Some(id) = id {
                let named = stacks.entry((id, kernel)).or_insert_with(|| names.stack(id, kernel));
                frames.extend_from_slice(named);
            }
        };
        if !args.kernel {
            stack(key.user, false, &mut frames);
            if key.unreadable {
                frames.push(UNREADABLE.to_owned());
            }
        }
        if !args.user {
            stack(key.kernel, true, &mut frames);
        }
        if frames.is_empty() && (args.user || args.kernel) {
            continue;
        }
        let behind = key.behind.iter().flatten();
        frames.extend(behind.map(|place| folded_name(sums.name(*place))));
        frames.insert(0, folded_name(sums.name(key.comm)));
        if args.reverse {
            frames.reverse();
        }
        visit(&frames, key, *sum);
    }
    Ok(())
}

/// The processes that need no user stack, if stacks of the table are known to be missing: only then does a
/// null stack need an explanation.
pub(crate) fn kernel_threads(
    source: &Source,
    table: TableId,
) -> anyhow::Result<Option<HashSet<i32>>> {
    let recording = &source.recording;
    let losses = missing(recording, &[table], &source.window).unwrap_or_default();
    if !losses.iter().any(|loss| loss.reason == Reason::StackUnreadable.name()) {
        return Ok(None);
    }
    let lifetimes = Lifetimes::read(recording, Detail::Identity)?;
    let kernel = lifetimes.all().iter().filter(|lifetime| lifetime.kernel);
    // Pid 0 are the idle threads.
    Ok(Some(kernel.map(|lifetime| lifetime.pid).chain([0]).collect()))
}
