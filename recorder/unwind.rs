//! Unwinding: from a frame to its caller's, in code that keeps no frame pointers.
//!
//! Most distributions compile without them, and then a walk by frame pointers ends after a frame or two, or
//! goes astray. `perf record --call-graph dwarf` copies 8 KB of stack for each sample instead, to be
//! unwound later. Here the walk is made in the kernel, by the BPF program itself (`bpf/unwind.h`), which
//! needs two things from user space:
//!
//! - **Tables** ([`tables`]): of each binary, how to leave a frame from each instruction on. They are made
//!   of its call frame information ([`rows`]), once for each build id.
//! - **Spaces**: which table belongs to which addresses of a process. They change whenever it maps or unmaps
//!   code, forks, or calls exec. A thread follows that ([`Unwinder`]): the kernel wakes it for each change
//!   ([`code_events`](crate::code_events)), and it answers within a fraction of a millisecond, unless the
//!   binary is new and must be read first.
//!
//! Until a table is there, frame pointers are followed, and each stack says by what it was walked and
//! whether it reached the thread's start.

#![expect(unsafe_code, reason = "`poll` is a system call that no crate here wraps")]

pub mod rows;
mod slices;
mod tables;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use lookback_schemas::manifest::Unwinding;

use crate::binaries::Binary;
use crate::mappings::SharedSpaces;
use crate::maps::Maps;
use crate::{drain, privileges};
use tables::Tables;

pub use tables::UnwindMaps;

/// How long a change may be overlooked that nobody is woken for.
const TICK: Duration = Duration::from_millis(20);

/// Follows what processes map, and keeps the kernel's tables true.
#[derive(Debug)]
pub struct Unwinder {
    stop: Arc<AtomicBool>,
    /// Until it is waited for.
    thread: Option<JoinHandle<Unwinding>>,
}

impl Unwinder {
    /// Makes the tables of all that is mapped by now and of these files, and follows what comes. If
    /// `targets_only`, of processes that are targets.
    ///
    /// # Errors
    /// If there can be no thread.
    pub fn start(
        maps: &Arc<Maps>,
        spaces: SharedSpaces,
        files: Vec<Arc<Binary>>,
        targets_only: bool,
    ) -> Result<Unwinder> {
        let mut follower = Follower {
            maps: Arc::clone(maps),
            tables: Tables::default(),
            spaces,
            targets_only,
            later: BTreeMap::new(),
        };
        files.iter().for_each(|file| follower.tables.load(&maps.unwind, file));
        follower.update();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("unwind".to_owned())
            .spawn(move || follower.follow(&stopped))
            .context("cannot start a thread")?;
        Ok(Unwinder { stop, thread: Some(thread) })
    }

    /// Ends it; says what tables there were.
    pub fn finish(mut self) -> Unwinding {
        self.stop.store(true, Ordering::Release);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(told)) => told,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Unwinding::default(),
        }
    }
}

impl Drop for Unwinder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// What the thread works with.
struct Follower {
    maps: Arc<Maps>,
    tables: Tables,
    spaces: SharedSpaces,
    targets_only: bool,
    /// Who is to be looked at again, and when.
    later: BTreeMap<i32, Instant>,
}

impl Follower {
    fn follow(mut self, stop: &AtomicBool) -> Unwinding {
        drain::go_first(privileges::CODE);
        let descriptors = self.spaces.with(|spaces| spaces.descriptors());
        let mut polls: Vec<libc::pollfd> = descriptors
            .into_iter()
            .map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 })
            .collect();
        while !stop.load(Ordering::Acquire) {
            let (count, timeout) = (polls.len() as libc::nfds_t, TICK.as_millis() as i32);
            // SAFETY: the pointer and the length are those of one vector. What goes wrong is only that it
            // does not wait.
            if unsafe { libc::poll(polls.as_mut_ptr(), count, timeout) } < 0 {
                std::thread::sleep(TICK);
            }
            self.update();
        }
        self.tables.told()
    }

    fn update(&mut self) {
        let now = Instant::now();
        let due: Vec<i32> =
            self.later.extract_if(.., |_, when| *when <= now).map(|(pid, _)| pid).collect();
        let changed = self.spaces.with(|spaces| {
            spaces.catch_up();
            due.into_iter().for_each(|pid| spaces.look_again(pid));
            spaces.take_changed()
        });
        for changed in changed {
            let wanted = !self.targets_only || self.maps.is_target(changed.pid);
            if (wanted || changed.mappings.is_empty())
                && let Some(after) = self.tables.update(&self.maps.unwind, &changed)
            {
                self.later.insert(changed.pid, now + after);
            }
        }
    }
}
