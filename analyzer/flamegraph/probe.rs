//! The stacks of hits of probes of the user's, for a flame graph. A hit weighs one.
//!
//! A stack begins with the name of the thread; where the probe takes stacks of the program and of the
//! kernel, the program's comes first. Hits without any stack cannot be drawn: most are of probes that
//! take none.

use arrow::array::Array as _;

use super::WeightArgs;
use super::folding::{Key, Sum, Sums};
use crate::cli::Source;
use crate::processes::known;
use crate::render::thousands;
use crate::scope::Scope;
use crate::tally::{self, Selection, projection};

projection! {
    /// What is added up.
    struct Rows of Probe {
        name: Option<String>,
        stack: Option<i64>,
        kernel_stack: Option<i64>,
        comm: Option<String>,
    }
}

/// Hits summed up.
#[derive(Default)]
struct Hits {
    with_stacks: Sums,
    without: u64,
}

impl tally::Sum for Hits {
    fn merge(&mut self, other: Self) {
        self.with_stacks.merge(other.with_stacks);
        self.without += other.without;
    }
}

impl Hits {
    fn add(&mut self, rows: &Rows, row: usize) {
        let (user, kernel) = (known!(rows.stack, row), known!(rows.kernel_stack, row));
        if user.is_none() && kernel.is_none() {
            self.without += 1;
            return;
        }
        let sums = &mut self.with_stacks;
        let comm = sums.place(known!(rows.comm, row).unwrap_or("[unknown]"));
        let key = Key { comm, user, kernel, unreadable: false, behind: [None; 2], step: 0 };
        sums.sums.entry(key).or_default().add(Sum { weight: 1, samples: 1 });
    }
}

/// Hits summed up by stack.
pub(super) fn sums(args: &WeightArgs, source: &Source, scope: &Scope) -> anyhow::Result<Sums> {
    let without: &[&str] = if args.probe.is_empty() { &["name"] } else { &[] };
    let selection = Selection { source, scope, threads: args.threads, without };
    let hits = selection.sum(|hits: &mut Hits, rows: &Rows, row| {
        let wanted = |name: &String| known!(rows.name, row) == Some(name.as_str());
        if args.probe.is_empty() || args.probe.iter().any(wanted) {
            hits.add(rows, row);
        }
    })?;
    if hits.without > 0 {
        let without = thousands(hits.without);
        eprintln!("analyze: note: {without} hits have no stack and are left out");
    }
    Ok(hits.with_stacks)
}
