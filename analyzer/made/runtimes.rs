//! Rows of runtimes, shells, and probes and spans of the user's.

use lookback_schemas::manifest::{Probe as Place, Tracer};
use lookback_schemas::tables::{Gc, Probe, Readline, Span};
use lookback_schemas::wire::{Chars, Flag, Header, Loc, Maybe, Monotonic, StackHash};

use super::{Made, Row, Tail, at, comm, known, row};

/// A collection of garbage, or a part of one.
#[derive(Clone, Copy)]
pub struct Collection<'a> {
    pub seconds: f64,
    pub duration: Option<i64>,
    pub part: i32,
    pub runtime: i32,
    pub depth: i32,
    pub full: Option<i32>,
    pub manager: &'a str,
    pub pool: &'a str,
    pub used: (Option<i64>, Option<i64>),
    pub generation: Option<i64>,
    pub collected: Option<i64>,
    pub pid: i32,
    pub tid: i32,
}

impl<'a> Collection<'a> {
    /// A whole collection of hotspot, by the thread after its process's main one.
    pub fn hotspot(seconds: f64, pid: i32, ms: i64) -> Collection<'a> {
        Collection {
            seconds,
            duration: Some(ms * 1_000_000),
            part: 0,
            runtime: 0,
            depth: 0,
            full: Some(0),
            manager: "",
            pool: "",
            used: (None, None),
            generation: None,
            collected: None,
            pid,
            tid: pid + 1,
        }
    }

    /// A pool of a collection.
    pub fn pool(self, manager: &'a str, pool: &'a str, used: (i64, i64)) -> Collection<'a> {
        let (depth, used) = (self.depth + 1, (Some(used.0), Some(used.1)));
        Collection { part: 1, depth, manager, pool, used, full: None, ..self }
    }

    /// A collection of CPython's.
    pub fn python(seconds: f64, pid: i32, ms: i64, generation: i64) -> Collection<'a> {
        Collection {
            runtime: 1,
            full: None,
            generation: Some(generation),
            collected: Some(7),
            tid: pid,
            ..Collection::hotspot(seconds, pid, ms)
        }
    }

    /// A part of a collection of Ruby's.
    pub fn ruby(seconds: f64, pid: i32, ms: i64, part: i32) -> Collection<'a> {
        let whole = Collection::hotspot(seconds, pid, ms);
        Collection { runtime: 2, full: None, part, tid: pid, ..whole }
    }
}

/// A hit of a probe of the user's.
#[derive(Clone, Copy, Default)]
pub struct Hit<'a> {
    pub seconds: f64,
    pub name: &'a str,
    pub pid: i32,
    pub numbers: [Option<i64>; 6],
    pub texts: [Option<&'a str>; 6],
    pub stack: Option<i64>,
    pub kernel_stack: Option<i64>,
}

/// A span of the user's.
#[derive(Clone, Copy)]
pub struct Stretch<'a> {
    pub seconds: f64,
    pub duration: Option<i64>,
    pub name: &'a str,
    pub key: Option<i64>,
    pub depth: i32,
    pub pid: i32,
    pub tid: i32,
    pub end_tid: Option<i32>,
}

impl<'a> Stretch<'a> {
    /// A span of the main thread.
    pub fn new(seconds: f64, pid: i32, name: &'a str, ms: i64) -> Stretch<'a> {
        Stretch {
            seconds,
            duration: Some(ms * 1_000_000),
            name,
            key: None,
            depth: 0,
            pid,
            tid: pid,
            end_tid: Some(pid),
        }
    }

    /// The same, but it did not end.
    pub fn unfinished(self) -> Stretch<'a> {
        Stretch { duration: None, end_tid: None, ..self }
    }
}

fn chars<const N: usize>(text: &str) -> Chars<N> {
    let mut bytes = [0; N];
    bytes[..text.len()].copy_from_slice(text.as_bytes());
    Chars(bytes)
}

impl Made {
    /// A tracer that wrote this table, with its probes.
    pub fn trace(&self, name: &str, tables: &[&str], probes: Vec<Place>) {
        let (name, tables) = (name.to_owned(), tables.iter().map(|name| (*name).to_owned()));
        self.tracer(Tracer { name, tables: tables.collect(), probes, ..Tracer::default() });
    }

    /// A tracer.
    pub fn tracer(&self, tracer: Tracer) {
        self.tracers.borrow_mut().push(tracer);
        self.write_manifest(None);
    }

    pub fn gc(&self, of: Collection<'_>) -> Row {
        let gc = Gc {
            header: Header::default(),
            ts: Monotonic(at(of.seconds)),
            duration: known(of.duration, i64::MIN),
            part: of.part,
            runtime: of.runtime,
            depth: of.depth,
            full: known(of.full, i32::MIN),
            manager: chars(of.manager),
            pool: chars(of.pool),
            used_before: known(of.used.0, i64::MIN),
            used_after: known(of.used.1, i64::MIN),
            committed_before: known(of.used.0.map(|_| 1 << 20), i64::MIN),
            committed_after: known(of.used.1.map(|_| 1 << 20), i64::MIN),
            generation: known(of.generation, i64::MIN),
            collected: known(of.collected, i64::MIN),
            pid: of.pid,
            tid: of.tid,
            cpu: 1,
            uid: 1000,
            comm: comm(if of.runtime == 0 { "VM Thread" } else { "script" }),
        };
        row(gc, &[])
    }

    /// A line that user 1000 typed.
    pub fn readline(&self, seconds: f64, pid: i32, line: Option<&str>, cut: bool) -> Row {
        let mut tail = Tail::new();
        let readline = Readline {
            header: Header::default(),
            ts: Monotonic(at(seconds)),
            line: line.map_or(Loc::new(0, 0), |line| tail.add(line.as_bytes())),
            cut: Flag(u32::from(cut)),
            pid,
            uid: 1000,
            comm: comm("bash"),
        };
        row(readline, &tail.0)
    }

    pub fn hit(&self, hit: Hit<'_>) -> Row {
        let mut tail = Tail::new();
        let [arg0, arg1, arg2, arg3, arg4, arg5] =
            hit.numbers.map(|number| Maybe(number.unwrap_or(i64::MIN)));
        let mut text = |place: usize| {
            hit.texts[place].map_or(Loc::new(0, 0), |text| tail.add(text.as_bytes()))
        };
        let probe = Probe {
            header: Header::default(),
            ts: Monotonic(at(hit.seconds)),
            name: chars(hit.name),
            arg0,
            arg1,
            arg2,
            arg3,
            arg4,
            arg5,
            text0: text(0),
            text1: text(1),
            text2: text(2),
            text3: text(3),
            text4: text(4),
            text5: text(5),
            stack: StackHash(hit.stack.unwrap_or(i64::MIN)),
            kernel_stack: StackHash(hit.kernel_stack.unwrap_or(i64::MIN)),
            pid: hit.pid,
            tid: hit.pid,
            cpu: 1,
            uid: 1000,
            comm: comm("app"),
        };
        row(probe, &tail.0)
    }

    pub fn span(&self, of: Stretch<'_>) -> Row {
        let span = Span {
            header: Header::default(),
            ts: Monotonic(at(of.seconds)),
            duration: known(of.duration, i64::MIN),
            name: chars(of.name),
            key: known(of.key, i64::MIN),
            depth: of.depth,
            pid: of.pid,
            tid: of.tid,
            end_tid: known(of.end_tid, i32::MIN),
            comm: comm("server"),
        };
        row(span, &[])
    }
}
