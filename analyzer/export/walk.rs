//! Stacks as other programs take them: one list of calls, the innermost first.
//!
//! A row has up to two stacks, the program's and the kernel's. What is unknown stands in the list too, as a
//! [`Step`] that is no place: so no format draws a stack whole that is not.

use crate::flamegraph::folding::{Key, Sums, UNREADABLE};
use crate::stacks::{Call, Entry, Frame, Stacks};

/// The stacks of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Pair {
    /// The program's.
    pub user: Option<i64>,
    /// The kernel's.
    pub kernel: Option<i64>,
    /// Whether there should be one of the program's, but it could not be read.
    pub unreadable: bool,
}

/// What stands in a stack.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step<'a> {
    /// A place in code, by its number.
    Frame(i64, &'a Frame),
    /// What is said where there is no place.
    Note(&'a str),
}

impl<'a> Step<'a> {
    /// The calls at the place, the innermost first; empty where no name is known.
    pub fn calls(self) -> impl Iterator<Item = &'a Call> {
        let calls = match self {
            Step::Frame(_, frame) => frame.calls.as_slice(),
            Step::Note(_) => &[],
        };
        calls.iter().rev()
    }

    /// The names of the calls, the innermost first; never none.
    pub fn names(self) -> Vec<String> {
        match self {
            Step::Note(text) => vec![text.to_owned()],
            Step::Frame(_, frame) if frame.calls.is_empty() => vec![frame.place()],
            Step::Frame(_, _) => self.calls().map(|call| call.name.clone()).collect(),
        }
    }

    /// Whether it is the kernel's code.
    pub fn is_kernel(self) -> bool {
        matches!(self, Step::Frame(_, frame) if frame.kernel)
    }
}

/// The whole of a row's stacks, the innermost first.
pub(super) fn walk(stacks: &Stacks, pair: Pair) -> Vec<Step<'_>> {
    let entries = |id: Option<i64>| id.map(|id| stacks.entries(id)).unwrap_or_default();
    let step = |entry| match entry {
        Entry::Frame(id, frame) => Step::Frame(id, frame),
        Entry::Note(text) => Step::Note(text),
    };
    let mut steps: Vec<Step<'_>> = entries(pair.kernel).into_iter().map(step).collect();
    if pair.unreadable {
        steps.push(Step::Note(UNREADABLE));
    }
    steps.extend(entries(pair.user).into_iter().map(step));
    steps
}

/// The whole of what a sum is of, the innermost first; the thread's name is not in it.
pub(super) fn walk_sum<'a>(stacks: &'a Stacks, sums: &'a Sums, key: &Key) -> Vec<Step<'a>> {
    let behind = key.behind.iter().rev().flatten();
    let mut steps: Vec<Step<'a>> = behind.map(|place| Step::Note(sums.name(*place))).collect();
    let pair = Pair { user: key.user, kernel: key.kernel, unreadable: key.unreadable };
    steps.extend(walk(stacks, pair));
    steps
}
