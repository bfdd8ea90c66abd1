//! Chunks: stretches of a recording that can be understood alone, so that the oldest can go.
//!
//! A flight recorder runs for weeks and keeps the newest. What it keeps must not lean on what is gone: a stack
//! that was stored last week, a process that began before that. So, as in the recordings of Java's Flight
//! Recorder, time is cut into chunks. When one ends, the segments of all tables end with it; the next one begins
//! with a list of the processes that live, and has each stack, frame and name that its events refer to. A chunk
//! is discarded as a whole: first its events, then what they refer to, so that a recorder that is killed in
//! between leaves nothing that points nowhere.
//!
//! A recording that keeps everything is one chunk, unless a snapshot of it was asked for.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use lookback_schemas::TableId;
use lookback_schemas::segment::{self, Ended};

/// What is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// At least so much time.
    pub time: Option<Duration>,
    /// At most so many bytes.
    pub bytes: Option<u64>,
}

impl Limits {
    /// How many chunks make up what is kept, about.
    const CHUNKS: u32 = 10;
    /// A chunk is not longer, whatever is kept: as long, memory holds what its stacks are.
    const LONGEST: Duration = Duration::from_mins(10);
    /// Nor shorter: each has a list of processes.
    const SHORTEST: Duration = Duration::from_secs(1);

    /// Whether anything is ever discarded.
    pub fn discard(&self) -> bool {
        self.time.is_some() || self.bytes.is_some()
    }

    /// How long a chunk is.
    pub fn chunk_time(&self) -> Duration {
        let share = self.time.map_or(Self::LONGEST, |time| time / Self::CHUNKS);
        share.clamp(Self::SHORTEST, Self::LONGEST)
    }

    /// At how many bytes a chunk ends before its time.
    pub fn chunk_bytes(&self) -> u64 {
        self.bytes.map_or(u64::MAX, |bytes| bytes / u64::from(Self::CHUNKS))
    }
}

/// A chunk that has ended.
#[derive(Debug)]
pub struct Chunk {
    /// When it began, in the recording's time: nanoseconds since the epoch.
    pub from: i64,
    /// When it ended.
    pub until: i64,
    /// Its files.
    pub segments: Vec<Ended>,
    /// How many events are missing in it, by table.
    pub lost: BTreeMap<TableId, u64>,
}

impl Chunk {
    /// What it takes on the disk now.
    fn bytes(&self) -> u64 {
        let lengths = self.segments.iter().map(|ended| fs::metadata(&ended.path));
        lengths.map(|length| length.map_or(0, |length| length.len())).sum()
    }

    /// Deletes its files; the names of those that could not be deleted are lost with it.
    fn delete(&self) {
        // A name goes before its frame, and a stack before its frames.
        let order = |ended: &&Ended| {
            (is_leaned_on(ended.table), ended.table != TableId::Symbol, ended.table)
        };
        let mut segments: Vec<&Ended> = self.segments.iter().collect();
        segments.sort_by_key(order);
        for ended in segments {
            // The user may have moved it; what is gone is gone.
            let _ = fs::remove_file(&ended.path);
            let _ = fs::remove_file(segment::sidecar(&ended.path));
        }
    }
}

/// Whether rows of other tables mean little without those of this one.
pub fn is_leaned_on(table: TableId) -> bool {
    match table {
        TableId::Exec
        | TableId::Fork
        | TableId::Exit
        | TableId::Cgroup
        | TableId::Process
        | TableId::Stack
        | TableId::Frame
        | TableId::Symbol
        | TableId::Clock
        | TableId::Loss => true,
        TableId::Signal
        | TableId::Kill
        | TableId::Sample
        | TableId::Syscall
        | TableId::Open
        | TableId::Unlink
        | TableId::Runq
        | TableId::Offcpu
        | TableId::Hardirq
        | TableId::Softirq
        | TableId::Tcpconnect
        | TableId::Tcpstate
        | TableId::Tcprtt
        | TableId::Lsmconnect
        | TableId::Kalloc
        | TableId::Alloc
        | TableId::Vm
        | TableId::Gc
        | TableId::Readline
        | TableId::Probe
        | TableId::Span => false,
    }
}

/// What was discarded.
#[derive(Debug, Default)]
pub struct Discarded {
    /// Rows, by table.
    pub rows: BTreeMap<TableId, u64>,
    /// Events that were missing, by table.
    pub lost: BTreeMap<TableId, u64>,
    /// What they took on the disk.
    pub bytes: u64,
}

/// The chunks that are kept.
#[derive(Debug, Default)]
pub struct Chunks {
    limits: Limits,
    kept: VecDeque<Arc<Chunk>>,
    /// Those that go as soon as no snapshot is made of them.
    leaving: Vec<Arc<Chunk>>,
}

impl Chunks {
    /// As many as the limits allow.
    pub fn new(limits: Limits) -> Chunks {
        Chunks { limits, ..Chunks::default() }
    }

    /// Adds one that has just ended, and discards the oldest.
    pub fn add(&mut self, chunk: Chunk) -> Discarded {
        let now = chunk.until;
        self.kept.push_back(Arc::new(chunk));
        let mut discarded = Discarded::default();
        while let Some(oldest) = self.kept.front()
            && self.is_beyond_limits(oldest, now)
        {
            let oldest = self.kept.pop_front().expect("it was there");
            discarded.bytes += oldest.bytes();
            for (table, lost) in &oldest.lost {
                *discarded.lost.entry(*table).or_default() += lost;
            }
            for ended in &oldest.segments {
                *discarded.rows.entry(ended.table).or_default() += ended.rows;
            }
            self.leaving.push(oldest);
        }
        self.leave();
        discarded
    }

    fn is_beyond_limits(&self, oldest: &Chunk, now: i64) -> bool {
        let old = |time: Duration| now.saturating_sub(oldest.until) >= time.as_nanos() as i64;
        // Room for the next one, and for one that is rewritten.
        let room = self.limits.chunk_bytes().saturating_mul(2);
        let large = |limit: u64| {
            self.kept.iter().map(|chunk| chunk.bytes()).sum::<u64>().saturating_add(room) > limit
        };
        self.limits.time.is_some_and(old) || self.limits.bytes.is_some_and(large)
    }

    /// Deletes what nobody makes a snapshot of any more.
    pub fn leave(&mut self) {
        let in_use = self.leaving.extract_if(.., |chunk| Arc::strong_count(chunk) == 1);
        in_use.for_each(|chunk| chunk.delete());
    }

    /// Those that are kept, the oldest first.
    pub fn kept(&self) -> Vec<Arc<Chunk>> {
        self.kept.iter().cloned().collect()
    }

    /// From when on everything is there; `None` before the first one has ended.
    pub fn from(&self) -> Option<i64> {
        self.kept.front().map(|chunk| chunk.from)
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    const MIB: u64 = 1 << 20;

    /// A chunk of a second with a file of each of two tables.
    fn chunk(folder: &Path, second: i64) -> Chunk {
        let segment = |table: TableId| {
            let path = folder.join(format!("{}-{second}.parquet", table.name()));
            fs::write(&path, vec![0; MIB as usize]).expect("tests may write temporary files");
            Ended { table, path, rows: 100 }
        };
        Chunk {
            from: second * 1_000_000_000,
            until: (second + 1) * 1_000_000_000,
            segments: vec![segment(TableId::Stack), segment(TableId::Open)],
            lost: BTreeMap::from([(TableId::Open, 7)]),
        }
    }

    fn files(chunk: &Chunk) -> Vec<PathBuf> {
        chunk.segments.iter().map(|ended| ended.path.clone()).filter(|path| path.exists()).collect()
    }

    #[test]
    fn at_least_so_much_time_is_kept() {
        let folder = tempfile::tempdir().expect("tests may write temporary files");
        let limits = Limits { time: Some(Duration::from_secs(3)), bytes: None };
        let mut chunks = Chunks::new(limits);
        for second in 0..3 {
            assert!(chunks.add(chunk(folder.path(), second)).rows.is_empty(), "{second}");
            assert_eq!(chunks.from(), Some(0));
        }
        // The first one ended three seconds before this one does.
        let discarded = chunks.add(chunk(folder.path(), 3));
        assert_eq!(discarded.rows, BTreeMap::from([(TableId::Stack, 100), (TableId::Open, 100)]));
        assert_eq!(discarded.lost, BTreeMap::from([(TableId::Open, 7)]));
        assert_eq!((discarded.bytes, chunks.from()), (2 * MIB, Some(1_000_000_000)));
        assert_eq!(fs::read_dir(folder.path()).expect("it is there").count(), 6);
    }

    #[test]
    fn there_is_room_for_the_next_chunk() {
        let folder = tempfile::tempdir().expect("tests may write temporary files");
        let limits = Limits { time: None, bytes: Some(20 * MIB) };
        let mut chunks = Chunks::new(limits);
        for second in 0..30 {
            chunks.add(chunk(folder.path(), second));
            let kept: u64 = chunks.kept().iter().map(|chunk| chunk.bytes()).sum();
            assert!(kept + 2 * limits.chunk_bytes() <= 20 * MIB, "{kept} after {second}");
        }
        assert_eq!(chunks.kept().len(), 8);
    }

    #[test]
    fn what_a_snapshot_is_made_of_goes_when_that_is_done() {
        let folder = tempfile::tempdir().expect("tests may write temporary files");
        let limits = Limits { time: Some(Duration::from_secs(1)), bytes: None };
        let mut chunks = Chunks::new(limits);
        chunks.add(chunk(folder.path(), 0));
        let first = chunks.kept().remove(0);
        chunks.add(chunk(folder.path(), 1));
        chunks.add(chunk(folder.path(), 2));
        assert_eq!(files(&first).len(), 2);
        let segments = first.segments.clone();
        drop(first);
        chunks.leave();
        assert!(segments.iter().all(|ended| !ended.path.exists()));
    }

    #[test]
    fn everything_is_kept_without_limits() {
        let folder = tempfile::tempdir().expect("tests may write temporary files");
        let mut chunks = Chunks::default();
        for second in 0..20 {
            chunks.add(chunk(folder.path(), second));
        }
        assert_eq!((chunks.kept().len(), chunks.from()), (20, Some(0)));
    }
}
