//! Address spaces: whose memory an address is in.
//!
//! An address means something within one address space only, and a pid is not one: a forked child
//! has a copy of its parent's memory, a child of `vfork` runs in its parent's until it calls `exec`,
//! and `exec` gives a process new memory under its old pid. The tables `fork`, `exec` and `exit` tell
//! all that. They are small beside those of allocations, so what concerns memory is read first, as a
//! list of [`Change`]s in the order of time, and taken up by [`Spaces`] as the replay gets there.
//!
//! A space is a number, from 0 in the order in which spaces were met. It ends when the last process
//! in it leaves, by `exit` or by `exec`.

pub mod memory;

use ahash::HashMap;
use arrow::array::Array as _;
use lookback_schemas::Error;
use lookback_schemas::recording::{ALL_TIME, Recording};

use crate::processes::known;
use crate::tally::projection;

projection! {
    /// Who was created, and in whose memory.
    struct Forks of Fork {
        ts: i64,
        pid: i32,
        ppid: i32,
        caller_tid: i32,
        memory_of: Option<i32>,
    }
}

projection! {
    /// Who replaced its memory.
    struct Execs of Exec {
        ts: i64,
        pid: i32,
    }
}

projection! {
    /// Who ended.
    struct Exits of Exit {
        ts: i64,
        pid: i32,
        process_ended: bool,
    }
}

/// What a process did to its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// When.
    pub ts: i64,
    /// The process.
    pub pid: i32,
    /// What.
    pub what: What,
}

/// See [`Change`]. The order is that of changes at the same instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// It began with a copy of another's memory.
    Copied {
        /// Its parent.
        parent: i32,
        /// The thread that forked it; of another process where the parent was passed on.
        caller: i32,
    },
    /// It began in the memory of this process.
    Shared(i32),
    /// It has new memory.
    Executed,
    /// It ended.
    Exited,
}

impl Change {
    /// Whether it comes before what else happens at its instant: only an end comes after that.
    #[must_use]
    pub fn comes_first(&self) -> bool {
        match self.what {
            What::Copied { .. } | What::Shared(_) | What::Executed => true,
            What::Exited => false,
        }
    }
}

/// All changes that the recording tells of, in the order of time.
///
/// # Errors
/// If a table is damaged.
pub fn changes(recording: &Recording) -> Result<Vec<Change>, Error> {
    let mut changes = Vec::new();
    read::<Forks>(recording, |forks, row| {
        let pid = forks.pid.value(row);
        let what = match known!(forks.memory_of, row) {
            Some(other) if other != pid => What::Shared(other),
            // Recorders that did not tell are older than vfork mattered: most forks copy.
            Some(_) | None => {
                let (parent, caller) = (forks.ppid.value(row), forks.caller_tid.value(row));
                What::Copied { parent, caller }
            }
        };
        changes.push(Change { ts: forks.ts.value(row), pid, what });
    })?;
    read::<Execs>(recording, |execs, row| {
        let (ts, pid) = (execs.ts.value(row), execs.pid.value(row));
        changes.push(Change { ts, pid, what: What::Executed });
    })?;
    read::<Exits>(recording, |exits, row| {
        if exits.process_ended.value(row) {
            let (ts, pid) = (exits.ts.value(row), exits.pid.value(row));
            changes.push(Change { ts, pid, what: What::Exited });
        }
    })?;
    changes.sort_by_key(|change| (change.ts, change.what));
    Ok(changes)
}

fn read<P: crate::tally::Projection>(
    recording: &Recording,
    mut visit: impl FnMut(&P, usize),
) -> Result<(), Error> {
    recording.scan_table(P::TABLE, ALL_TIME).columns(P::COLUMNS).for_each(|path, batch| {
        let rows = P::view(&batch).map_err(Error::damaged(path))?;
        (0..rows.rows()).for_each(|row| visit(&rows, row));
        Ok(())
    })
}

/// How the last process left a space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It ended: what it held then, it never freed.
    Exited,
    /// It called `exec`: what it held was of the program before, and is gone with it.
    Executed,
}

/// What becomes of a space by a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The space `to` begins as a copy of `from`.
    Copied {
        /// The parent's space.
        from: u32,
        /// The child's.
        to: u32,
    },
    /// The space ends.
    Ended {
        /// Which.
        space: u32,
        /// How.
        how: Ending,
    },
}

/// Which process is in which space, at one moment after the other.
#[derive(Clone, Debug, Default)]
pub struct Spaces {
    /// Whether children are recorded. If not, a copy would never be freed, since nobody would see
    /// it: a child then has no space until a row of it comes.
    follows: bool,
    of: HashMap<i32, u32>,
    /// The process that was asked for last, with its space.
    last: Option<(i32, u32)>,
    /// By space, the process that it began with, and how many are in it.
    all: Vec<(i32, u32)>,
}

impl Spaces {
    /// `follows` tells whether children of recorded processes are recorded too.
    #[must_use]
    pub fn new(follows: bool) -> Spaces {
        Spaces { follows, ..Spaces::default() }
    }

    /// The space that the process is in.
    #[inline]
    pub fn of(&mut self, pid: i32) -> u32 {
        if let Some((last, space)) = self.last
            && last == pid
        {
            return space;
        }
        let space = match self.of.get(&pid) {
            Some(space) => *space,
            None => self.add(pid),
        };
        self.last = Some((pid, space));
        space
    }

    /// The process that the space began with.
    #[must_use]
    pub fn process(&self, space: u32) -> i32 {
        self.all[space as usize].0
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> usize {
        self.all.len()
    }

    fn add(&mut self, pid: i32) -> u32 {
        let space = u32::try_from(self.all.len()).expect("spaces fill the memory before");
        self.all.push((pid, 1));
        self.of.insert(pid, space);
        space
    }

    /// Takes up a change. At most two effects: a pid may come back before its end was seen.
    pub fn change(&mut self, change: &Change) -> impl Iterator<Item = Effect> + use<> {
        self.last = None;
        let pid = change.pid;
        let how = match change.what {
            What::Executed => Ending::Executed,
            What::Copied { .. } | What::Shared(_) | What::Exited => Ending::Exited,
        };
        let ended = self.leave(pid, how);
        let copied = match change.what {
            What::Copied { parent, caller } if self.follows => {
                let from = self.of.get(&caller).or_else(|| self.of.get(&parent)).copied();
                from.map(|from| Effect::Copied { from, to: self.add(pid) })
            }
            What::Shared(with) => {
                let space = self.of(with);
                self.all[space as usize].1 += 1;
                self.of.insert(pid, space);
                None
            }
            What::Copied { .. } | What::Executed | What::Exited => None,
        };
        ended.into_iter().chain(copied)
    }

    fn leave(&mut self, pid: i32, how: Ending) -> Option<Effect> {
        let space = self.of.remove(&pid)?;
        let users = &mut self.all[space as usize].1;
        *users -= 1;
        (*users == 0).then_some(Effect::Ended { space, how })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made::Made;

    fn change(pid: i32, what: What) -> Change {
        Change { ts: 0, pid, what }
    }

    fn effects(spaces: &mut Spaces, pid: i32, what: What) -> Vec<Effect> {
        spaces.change(&change(pid, what)).collect()
    }

    #[test]
    fn a_child_has_a_copy_and_exec_a_new_space() {
        let mut spaces = Spaces::new(true);
        let copied = |parent| What::Copied { parent, caller: parent };
        assert_eq!(spaces.of(1), 0);
        assert_eq!(effects(&mut spaces, 2, copied(1)), [Effect::Copied { from: 0, to: 1 }]);
        assert_eq!(effects(&mut spaces, 3, copied(9)), [], "nobody knows what its parent has");
        assert_eq!((spaces.of(2), spaces.process(1)), (1, 2));
        let ended = |space, how| [Effect::Ended { space, how }];
        assert_eq!(effects(&mut spaces, 2, What::Executed), ended(1, Ending::Executed));
        assert_eq!(spaces.of(2), 2);
        assert_eq!(effects(&mut spaces, 2, What::Exited), ended(2, Ending::Exited));
        assert_eq!(effects(&mut spaces, 2, What::Exited), [], "it has ended");
        assert_eq!(
            effects(&mut spaces, 1, copied(1)),
            ended(0, Ending::Exited),
            "the pid is back, and its parent is unknown"
        );
        let mut spaces = Spaces::new(false);
        assert_eq!(spaces.of(1), 0);
        assert_eq!(effects(&mut spaces, 2, copied(1)), [], "nobody would see what it frees");
    }

    #[test]
    fn a_shared_space_ends_with_the_last_in_it() {
        let mut spaces = Spaces::new(true);
        assert_eq!(effects(&mut spaces, 2, What::Shared(1)), []);
        assert_eq!((spaces.of(1), spaces.of(2)), (0, 0));
        assert_eq!(effects(&mut spaces, 1, What::Exited), []);
        let how = Ending::Executed;
        assert_eq!(effects(&mut spaces, 2, What::Executed), [Effect::Ended { space: 0, how }]);
        assert_eq!(spaces.of(2), 1);
    }

    #[test]
    fn changes_are_in_order_and_ends_come_last() {
        let made = Made::new();
        made.rows(&[
            made.exit(2.0, 7, 1, 1.0, Ok(0)),
            made.fork_in(2.0, 8, 7, Some(7)),
            made.fork_in(1.0, 7, 1, None),
            made.exec(1.5, 7, 1, &["/bin/a"]),
        ]);
        let changes = changes(&made.open()).expect("it is whole");
        let what: Vec<_> = changes.iter().map(|change| (change.pid, change.what)).collect();
        let copied = What::Copied { parent: 1, caller: 1 };
        assert_eq!(
            what,
            [(7, copied), (7, What::Executed), (8, What::Shared(7)), (7, What::Exited)]
        );
        assert!(changes[2].comes_first() && !changes[3].comes_first());
    }
}
