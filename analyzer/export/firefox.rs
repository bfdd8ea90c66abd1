//! The Firefox Profiler's "processed profile" (<https://profiler.firefox.com>), which the library of samply makes.
//!
//! Processes, threads, and their samples in time. The library keeps the whole profile, some forty bytes for each sample: for
//! more than a few million choose a window. Frames are labels with the names that the recording has, calls
//! that were inlined among them; modules, addresses and lines are not in it.

use std::io::Write;
use std::time::Duration;

use ahash::HashMap;
use fxprof_processed_profile::{
    CategoryColor, CategoryPairHandle, CpuDelta, Frame, FrameFlags, FrameInfo, Profile,
    ReferenceTimestamp, SamplingInterval, StackHandle, ThreadHandle, Timestamp, WeightType,
};

use super::samples::{Sample, Samples};
use super::walk::{Pair, walk};
use crate::lifetimes::{Detail, Lifetimes};
use crate::losses::Heading;

/// Writes the profile.
///
/// # Errors
/// If a table is damaged, or it cannot be written.
pub(super) fn write(
    samples: &Samples<'_>,
    heading: &Heading,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let manifest = samples.source.recording.manifest();
    let start = manifest.started;
    let said: Vec<&str> =
        std::iter::once(&heading.covers).chain(&heading.warnings).map(String::as_str).collect();
    let product = format!("{}: {}", manifest.host.name, said.join("; "));
    let reference = Duration::from_nanos(u64::try_from(start).unwrap_or(0));
    let frequency = manifest.filters.frequency.max(1);
    let mut profile = Profile::new(
        &product,
        ReferenceTimestamp::from_duration_since_unix_epoch(reference),
        SamplingInterval::from_hz(frequency as f32),
    );
    profile.set_os_name(&format!("Linux {}", manifest.host.kernel));
    // All names that are known are in it: nobody needs to look for more.
    profile.set_symbolicated(true);
    let kernel = profile.add_category("Kernel", CategoryColor::Orange).into();
    let user = profile.add_category("User", CategoryColor::Yellow).into();
    let mut threads = Threads {
        lifetimes: Lifetimes::read(&samples.source.recording, Detail::Identity)?,
        start,
        kernel,
        user,
        nanoseconds: crate::flamegraph::period(&samples.source.recording) == "ns",
        processes: HashMap::default(),
        threads: HashMap::default(),
        stacks: HashMap::default(),
    };
    samples.for_each(|sample| {
        threads.add(&mut profile, samples, sample);
        Ok(())
    })?;
    serde_json::to_writer(out, &profile).map_err(anyhow::Error::from)
}

/// A process: its pid, and which of those that had it.
type Process = (i32, Option<usize>);

/// What the profile has so far.
struct Threads {
    lifetimes: Lifetimes,
    start: i64,
    kernel: CategoryPairHandle,
    user: CategoryPairHandle,
    /// Whether the period of samples is time.
    nanoseconds: bool,
    processes: HashMap<Process, fxprof_processed_profile::ProcessHandle>,
    threads: HashMap<(Process, i32), ThreadHandle>,
    stacks: HashMap<(ThreadHandle, Pair), Option<StackHandle>>,
}

impl Threads {
    fn time(&self, ts: i64) -> Timestamp {
        let since = u64::try_from(ts.saturating_sub(self.start)).unwrap_or(0);
        Timestamp::from_nanos_since_reference(since)
    }

    fn thread(&mut self, profile: &mut Profile, sample: &Sample<'_>) -> ThreadHandle {
        let process = (sample.pid, self.lifetimes.index_of(sample.pid, sample.ts));
        if let Some(thread) = self.threads.get(&(process, sample.tid)) {
            return *thread;
        }
        let lifetime = process.1.map(|index| &self.lifetimes.all()[index]);
        let began = self.time(lifetime.and_then(|lifetime| lifetime.start).unwrap_or(sample.ts));
        let ended = lifetime.and_then(|lifetime| lifetime.end).map(|end| self.time(end));
        let name = lifetime.and_then(|lifetime| lifetime.comm()).or(sample.comm);
        let handle = *self.processes.entry(process).or_insert_with(|| {
            let pid = sample.pid.cast_unsigned();
            let handle = profile.add_process(name.unwrap_or("unknown"), pid, began);
            if let Some(ended) = ended {
                profile.set_process_end_time(handle, ended);
            }
            handle
        });
        let is_main = sample.pid == sample.tid;
        let thread = profile.add_thread(handle, sample.tid.cast_unsigned(), began, is_main);
        profile.set_thread_name(thread, sample.comm.unwrap_or("unknown"));
        profile.set_thread_samples_weight_type(thread, WeightType::Samples);
        self.threads.insert((process, sample.tid), thread);
        thread
    }

    fn add(&mut self, profile: &mut Profile, samples: &Samples<'_>, sample: &Sample<'_>) {
        let thread = self.thread(profile, sample);
        let stack = match self.stacks.get(&(thread, sample.stacks)) {
            Some(stack) => *stack,
            None => {
                let mut frames = Vec::new();
                for step in walk(&samples.stacks, sample.stacks).into_iter().rev() {
                    let category_pair = if step.is_kernel() { self.kernel } else { self.user };
                    for name in step.names().iter().rev() {
                        let frame = Frame::Label(profile.intern_string(name));
                        let flags = FrameFlags::empty();
                        frames.push(FrameInfo { frame, category_pair, flags });
                    }
                }
                let stack = profile.intern_stack_frames(thread, frames.into_iter());
                self.stacks.insert((thread, sample.stacks), stack);
                stack
            }
        };
        let cpu = match self.nanoseconds {
            true => CpuDelta::from_nanos(u64::try_from(sample.period).unwrap_or(0)),
            false => CpuDelta::ZERO,
        };
        profile.add_sample(thread, self.time(sample.ts), stack, cpu, 1);
    }
}
