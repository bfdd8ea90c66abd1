//! What the kernel itself tells about code: which files processes map, when they replace their image,
//! fork and end.
//!
//! perf asks the kernel for these *sideband* events, to give samples a meaning (`perf_event_open(2)`,
//! `PERF_RECORD_MMAP2`). They cost nothing until something is mapped, and they are there for processes
//! too that are gone before `/proc` could be read.

use std::fmt;
use std::os::fd::{AsRawFd as _, RawFd};

use anyhow::{Context as _, Result};
use perf_event::data::Record;
use perf_event::events::Software;
use perf_event::{Builder, Clock, SampleFlag, Sampler};

use crate::binaries::{Identity, VDSO};
use crate::hooks;

/// Room for each CPU: some hundred events between two looks.
const RING_BYTES: usize = 128 << 10;
/// `PERF_RECORD_MISC_COMM_EXEC` (include/uapi/linux/perf_event.h): the name changed because of an exec.
const BY_EXEC: u16 = 1 << 13;

/// Something that happened to a process's code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeEvent {
    /// When, on the monotonic clock.
    pub ts: u64,
    /// To which process.
    pub pid: i32,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A part of a file was mapped as code.
    Mapped {
        /// The first address.
        start: u64,
        /// How many bytes.
        length: u64,
        /// Where the part begins in the file.
        offset: u64,
        /// The file, or what the kernel calls something else.
        name: String,
        /// What tells the file from others; `None` where it is none.
        identity: Option<Identity>,
    },
    /// It replaced its image: nothing is mapped any more.
    Executed,
    /// It is a copy of this process.
    Forked(i32),
    /// It ended.
    Ended,
    /// Some events of any processes were lost.
    Lost,
}

/// The kernel's events of all processes.
pub struct CodeEvents {
    samplers: Vec<Sampler>,
}

impl fmt::Debug for CodeEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodeEvents").field("cpus", &self.samplers.len()).finish()
    }
}

impl CodeEvents {
    /// Begins to listen: to process `pid`, which has one thread, and all that it will start, or to all
    /// processes.
    ///
    /// # Errors
    /// If the kernel refuses: it needs CAP_PERFMON.
    pub fn open(pid: Option<i32>) -> Result<CodeEvents> {
        // The kernel tells build ids since 5.12 (88a16a130933), and refuses before.
        CodeEvents::open_with(pid, true).or_else(|_| CodeEvents::open_with(pid, false))
    }

    fn open_with(pid: Option<i32>, build_ids: bool) -> Result<CodeEvents> {
        let open = |cpu: u32| {
            let mut builder = Builder::new(Software::DUMMY);
            match pid {
                Some(pid) => builder.observe_pid(pid).inherit(true),
                None => builder.any_pid(),
            };
            builder.one_cpu(cpu as usize).mmap(true).mmap2(true);
            builder.comm(true).comm_exec(true).task(true).build_id(build_ids);
            // Tables are to be there before the code is sampled: each record wakes who waits.
            builder.wakeup_watermark(1);
            builder.sample(SampleFlag::TIME).sample_id_all(true).clockid(Clock::MONOTONIC);
            let mut sampler = builder.build()?.sampled(RING_BYTES)?;
            sampler.enable()?;
            anyhow::Ok(sampler)
        };
        let cpus = hooks::online_cpus()?;
        let samplers = cpus.into_iter().map(|cpu| open(cpu).context("perf events of mapped code"));
        Ok(CodeEvents { samplers: samplers.collect::<Result<_>>()? })
    }

    /// Can be read when something has happened.
    pub fn descriptors(&self) -> Vec<RawFd> {
        self.samplers.iter().map(|sampler| sampler.as_raw_fd()).collect()
    }

    /// What happened since the last call, in the order of time.
    pub fn take(&mut self) -> Vec<CodeEvent> {
        let mut events = Vec::new();
        for sampler in &mut self.samplers {
            while let Some(record) = sampler.next_record() {
                // Of `sample_id` only the time was asked for: it ends each record.
                let bytes = record.to_contiguous();
                let Some(ts) = bytes.last_chunk().map(|ts| u64::from_ne_bytes(*ts)) else {
                    continue;
                };
                let by_exec = record.misc() & BY_EXEC != 0;
                if let Ok(parsed) = record.parse_record()
                    && let Some((pid, what)) = meaning(&parsed, by_exec)
                {
                    events.push(CodeEvent { ts, pid: pid as i32, what });
                }
            }
        }
        events.sort_by_key(|event| event.ts);
        events
    }
}

fn meaning(record: &Record<'_>, by_exec: bool) -> Option<(u32, What)> {
    match record {
        Record::Mmap2(map) => {
            let name = String::from_utf8_lossy(&map.filename);
            let name = name.trim_end_matches('\0').to_owned();
            let identity = match map.build_id() {
                _ if !name.starts_with('/') || name.starts_with("//") => None,
                Some(id) => Some(Identity::BuildId(id.to_vec())),
                None => Some(Identity::Inode(map.maj()?, map.min()?, map.ino()?)),
            };
            // Processes of 32 bits have another.
            let vdso = name == VDSO && map.addr > u64::from(u32::MAX);
            let identity = if vdso { Some(Identity::Vdso) } else { identity };
            let (start, length, offset) = (map.addr, map.len, map.pgoff);
            Some((map.pid, What::Mapped { start, length, offset, name, identity }))
        }
        Record::Comm(comm) if by_exec => Some((comm.pid, What::Executed)),
        // New threads have their process's pid as parent too.
        Record::Fork(fork) if fork.pid != fork.ppid => {
            Some((fork.pid, What::Forked(fork.ppid as i32)))
        }
        Record::Exit(exit) if exit.pid == exit.tid => Some((exit.pid, What::Ended)),
        Record::Lost(_) => Some((0, What::Lost)),
        _others => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_child_maps_is_told() {
        let Ok(mut events) = CodeEvents::open(None) else {
            eprintln!("skipped: perf events are not available");
            return;
        };
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id() as i32;
        child.wait().unwrap();
        let told: Vec<What> =
            events.take().into_iter().filter(|event| event.pid == pid).map(|e| e.what).collect();
        let maps = |part: &str| {
            let is = |what: &What| matches!(what, What::Mapped { name, .. } if name.contains(part));
            told.iter().position(is)
        };
        let executed = told.iter().position(|what| *what == What::Executed);
        assert!(executed.is_some() && executed < maps("libc"), "{told:?}");
        assert_eq!(told.last(), Some(&What::Ended), "{told:?}");
        assert!(events.take().iter().all(|event| event.pid != pid));
    }
}
