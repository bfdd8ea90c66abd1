//! What had begun and not ended when the recording did: spans, collections of garbage, and waits off the CPU.
//!
//! The kernel side makes a row when something ends. What is left in its maps when all programs are detached
//! has no end, and becomes rows without a duration, so that what hangs is seen.

use libbpf_rs::{MapCore as _, MapFlags, MapHandle, Object};
use lookback_schemas::TableId;
use lookback_schemas::tables::{Gc, Offcpu, Span};
use lookback_schemas::wire::{Chars, Header, Maybe, Monotonic};
use zerocopy::{FromBytes, Immutable, IntoBytes as _, KnownLayout};

use crate::custom::chars;

/// The maps of tracers in which beginnings wait, kept beyond their programs.
#[derive(Debug, Default)]
pub struct Unfinished {
    nested: Option<MapHandle>,
    keyed: Option<MapHandle>,
    collecting: Option<MapHandle>,
    /// Of the tracer `offcpu`.
    waiting: Option<MapHandle>,
    /// The spans' names; their numbers begin at 1.
    names: Vec<String>,
}

/// `struct open_span` of bpf/probe.bpf.c.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, KnownLayout, Immutable)]
struct OpenSpan {
    since: i64,
    span: u32,
    depth: i32,
}

/// `struct open_spans`.
#[repr(C)]
#[derive(FromBytes, KnownLayout, Immutable)]
struct OpenSpans {
    used: u64,
    pid: i32,
    comm: [u8; 16],
    unused: u32,
    list: [OpenSpan; 16],
}

/// `struct span_key`.
#[repr(C)]
#[derive(FromBytes, KnownLayout, Immutable)]
struct SpanKey {
    key: i64,
    pid: i32,
    span: u32,
}

/// `struct keyed_span`.
#[repr(C)]
#[derive(FromBytes, KnownLayout, Immutable)]
struct KeyedSpan {
    since: i64,
    tid: i32,
    comm: [u8; 16],
    unused: u32,
}

/// `struct pending` of bpf/offcpu.bpf.c.
#[repr(C)]
#[derive(FromBytes, KnownLayout, Immutable)]
struct OffCpu {
    since: u64,
    woken: u64,
    new: u64,
    /// The row as far as it is known.
    row: Offcpu,
}

/// `struct opening` of bpf/gc.bpf.c.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, KnownLayout, Immutable)]
struct Opening {
    since: i64,
    manager: u64,
    pool: u64,
    used: i64,
    committed: i64,
    generation: i64,
    full: i32,
    part: i32,
    runtime: i32,
    depth: i32,
}

/// `struct openings`.
#[repr(C)]
#[derive(FromBytes, KnownLayout, Immutable)]
struct Openings {
    used: u64,
    list: [Opening; 32],
}

impl Unfinished {
    /// `names` are those of the spans.
    pub fn new(names: Vec<String>) -> Unfinished {
        Unfinished { names, ..Unfinished::default() }
    }

    /// Remembers the maps of a tracer's object, of which the tables are these.
    pub fn watch(&mut self, tables: &[TableId], object: &Object) {
        for map in object.maps() {
            let place = match map.name().to_str() {
                Some("open_spans") => &mut self.nested,
                Some("keyed_spans") => &mut self.keyed,
                Some("collecting") => &mut self.collecting,
                Some("pending") if tables.contains(&TableId::Offcpu) => &mut self.waiting,
                _others => continue,
            };
            *place = MapHandle::try_from(&map).ok();
        }
    }

    /// The records of what waits, as the kernel side would have made them.
    pub fn records(&self) -> Vec<(TableId, Vec<u8>)> {
        let mut records = Vec::new();
        each(self.nested.as_ref(), |key, value| {
            let (Some(tid), Ok((open, _))) = (tid(key), OpenSpans::ref_from_prefix(value)) else {
                return;
            };
            // The thread may have ended: see `thread_ended` there.
            let thread = Thread { pid: open.pid, tid, uid: 0, cpu: 0, comm: open.comm };
            for span in open.list.iter().filter(|span| span.span != 0) {
                let row = self.span(span.span, span.since, &thread, None);
                let row = Span { depth: span.depth, ..row };
                records.push((TableId::Span, row.as_bytes().to_vec()));
            }
        });
        each(self.keyed.as_ref(), |key, value| {
            let (Ok((key, _)), Ok((span, _))) =
                (SpanKey::ref_from_prefix(key), KeyedSpan::ref_from_prefix(value))
            else {
                return;
            };
            let thread = Thread { pid: key.pid, tid: span.tid, uid: 0, cpu: 0, comm: span.comm };
            let row = self.span(key.span, span.since, &thread, Some(key.key));
            records.push((TableId::Span, row.as_bytes().to_vec()));
        });
        each(self.collecting.as_ref(), |key, value| {
            let (Some(tid), Ok((open, _))) = (tid(key), Openings::ref_from_prefix(value)) else {
                return;
            };
            let Some(thread) = Thread::of(tid) else { return };
            for opening in open.list.iter().filter(|opening| opening.since != 0) {
                let row = collection(opening, &thread);
                records.push((TableId::Gc, row.as_bytes().to_vec()));
            }
        });
        each(self.waiting.as_ref(), |_, value| {
            let Ok((waiting, _)) = OffCpu::ref_from_prefix(value) else { return };
            if waiting.since != 0 {
                let header = Header { table: TableId::Offcpu as u32, cpu: 0 };
                let row = Offcpu { header, ..waiting.row };
                records.push((TableId::Offcpu, row.as_bytes().to_vec()));
            }
        });
        records
    }

    fn span(&self, number: u32, since: i64, thread: &Thread, key: Option<i64>) -> Span {
        let name = self.names.get((number as usize).wrapping_sub(1));
        Span {
            header: Header { table: TableId::Span as u32, cpu: 0 },
            ts: Monotonic(since),
            duration: Maybe(i64::MIN),
            name: chars(name.map_or("", String::as_str)),
            key: Maybe(key.unwrap_or(i64::MIN)),
            depth: 0,
            pid: thread.pid,
            tid: thread.tid,
            end_tid: Maybe(i32::MIN),
            comm: Chars(thread.comm),
        }
    }
}

/// A pool's names are in the memory of its process, and are not looked for there.
fn collection(opening: &Opening, thread: &Thread) -> Gc {
    let unknown = Maybe(i64::MIN);
    Gc {
        header: Header { table: TableId::Gc as u32, cpu: 0 },
        ts: Monotonic(opening.since),
        duration: unknown,
        part: opening.part,
        runtime: opening.runtime,
        depth: opening.depth,
        full: Maybe(opening.full),
        manager: Chars([0; 48]),
        pool: Chars([0; 48]),
        used_before: Maybe(opening.used),
        used_after: unknown,
        committed_before: Maybe(opening.committed),
        committed_after: unknown,
        generation: Maybe(opening.generation),
        collected: unknown,
        pid: thread.pid,
        tid: thread.tid,
        cpu: thread.cpu,
        uid: thread.uid,
        comm: Chars(thread.comm),
    }
}

fn each(map: Option<&MapHandle>, mut visit: impl FnMut(&[u8], &[u8])) {
    let Some(map) = map else { return };
    for key in map.keys() {
        if let Ok(Some(value)) = map.lookup(&key, MapFlags::ANY) {
            visit(&key, &value);
        }
    }
}

fn tid(key: &[u8]) -> Option<i32> {
    key.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes))
}

/// A thread that lives still: those that ended had their rows made.
struct Thread {
    pid: i32,
    tid: i32,
    uid: i32,
    /// Where it ran last.
    cpu: i32,
    comm: [u8; 16],
}

impl Thread {
    fn of(tid: i32) -> Option<Thread> {
        let process = procfs::process::Process::new(tid).ok()?;
        let (status, cpu) = (process.status().ok()?, process.stat().ok()?.processor?);
        let mut comm = [0; 16];
        let name = status.name.as_bytes();
        let length = name.len().min(15);
        comm[..length].copy_from_slice(&name[..length]);
        Some(Thread { pid: status.tgid, tid, uid: status.ruid as i32, cpu, comm })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_layout_of_the_kernel_side() {
        assert_eq!(size_of::<OpenSpans>(), 32 + 16 * 16);
        assert_eq!(size_of::<Openings>(), 8 + 32 * 64);
        assert_eq!((size_of::<SpanKey>(), size_of::<KeyedSpan>()), (16, 32));
        assert_eq!(size_of::<OffCpu>(), 24 + size_of::<Offcpu>());
    }

    #[test]
    fn this_thread_is_known() {
        let thread = Thread::of(std::process::id() as i32).unwrap();
        assert_eq!(thread.pid, std::process::id() as i32);
        assert!(Thread::of(i32::MAX).is_none());
    }
}
