//! Chrome's trace JSON ("Trace Event Format"), which chrome://tracing, Perfetto and Speedscope read.
//!
//! One object, whose `traceEvents` are written as they come. A slice is a complete event (`X`); one whose end is not
//! known only begins (`B`). Lanes beside a thread's calls are threads of their own here, with ids above all that
//! Linux gives out. Times are microseconds since the recording began, with three digits: Unix time would not fit
//! the numbers of JavaScript to the nanosecond. A sample is an instant with its stack in `sf`, which `stackFrames` spells.

use std::fmt::Write as _;
use std::io::Write;

use ahash::HashMap;

use super::samples::Sample;
use super::timeline::{Counter, Event, Identity, Lane, Owner, Process, Sink, Track};
use super::walk::{Pair, Step};
use crate::render::{Value, json, json_text};

/// Ids from here on are no process's: Linux gives out smaller ones only (`PID_MAX_LIMIT`).
const IDS: i64 = 1 << 22;
/// The process that stands for the recording.
const RECORDING: i64 = IDS;
/// The process that stands for the CPUs.
const CPUS: i64 = IDS + 1;
/// How many lanes there are.
const LANES: i64 = 16;

/// A place in the tree of stacks.
struct Node {
    name: String,
    parent: Option<u32>,
}

/// Writes the JSON.
pub(super) struct Chrome<W> {
    out: W,
    /// When the recording began.
    start: i64,
    line: String,
    first: bool,
    nodes: Vec<Node>,
    by_place: HashMap<(Option<u32>, String), u32>,
    /// The innermost place of stacks, and its name.
    by_pair: HashMap<Pair, Option<u32>>,
}

impl<W: Write> Chrome<W> {
    /// Begins the object.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn begin(mut out: W, start: i64) -> anyhow::Result<Chrome<W>> {
        out.write_all(b"{\"displayTimeUnit\":\"ns\",\"traceEvents\":[")?;
        Ok(Chrome {
            out,
            start,
            line: String::new(),
            first: true,
            nodes: Vec::new(),
            by_place: HashMap::default(),
            by_pair: HashMap::default(),
        })
    }

    /// Ends the object with what is said about the whole.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(mut self, about: &[(&'static str, Value)]) -> anyhow::Result<()> {
        self.out.write_all(b"\n],\"stackFrames\":{")?;
        for (id, node) in self.nodes.iter().enumerate() {
            self.line.clear();
            let _ = write!(self.line, "{}\n\"{id}\":{{\"name\":", if id > 0 { "," } else { "" });
            json_text(&node.name, &mut self.line);
            if let Some(parent) = node.parent {
                let _ = write!(self.line, ",\"parent\":\"{parent}\"");
            }
            self.line.push('}');
            self.out.write_all(self.line.as_bytes())?;
        }
        self.line.clear();
        self.line.push_str("\n},\"otherData\":");
        object(about, &mut self.line);
        self.line.push_str("}\n");
        self.out.write_all(self.line.as_bytes()).map_err(anyhow::Error::from)
    }

    /// Begins an event.
    fn event(&mut self, phase: char, (pid, tid): (i64, i64), name: &str) {
        self.line.clear();
        self.line.push_str(if std::mem::replace(&mut self.first, false) { "\n" } else { ",\n" });
        let _ = write!(self.line, "{{\"ph\":\"{phase}\",\"pid\":{pid},\"tid\":{tid},\"name\":");
        json_text(name, &mut self.line);
    }

    fn time(&mut self, key: &str, ns: i64) {
        let (sign, ns) = (if ns < 0 { "-" } else { "" }, ns.unsigned_abs());
        let _ = write!(self.line, ",\"{key}\":{sign}{}.{:03}", ns / 1000, ns % 1000);
    }

    fn body(&mut self, event: &Event<'_>) {
        let _ = write!(self.line, ",\"cat\":\"{}\"", event.category);
        self.time("ts", event.ts.saturating_sub(self.start));
        if !event.args.is_empty() {
            self.line.push_str(",\"args\":");
            object(event.args, &mut self.line);
        }
    }

    fn end(&mut self) -> anyhow::Result<()> {
        self.line.push('}');
        self.out.write_all(self.line.as_bytes()).map_err(anyhow::Error::from)
    }

    fn metadata(&mut self, ids: (i64, i64), what: &str, name: &str) -> anyhow::Result<()> {
        self.event('M', ids, what);
        self.line.push_str(",\"args\":{\"name\":");
        json_text(name, &mut self.line);
        self.line.push('}');
        self.end()
    }

    /// The innermost place of a stack.
    fn leaf(&mut self, steps: Vec<Step<'_>>) -> Option<u32> {
        let mut parent = None;
        for name in steps.into_iter().rev().flat_map(|step| step.names().into_iter().rev()) {
            let next = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
            let place = (parent, name);
            let node = match self.by_place.get(&place) {
                Some(node) => *node,
                None => {
                    self.nodes.push(Node { name: place.1.clone(), parent });
                    self.by_place.insert(place, next);
                    next
                }
            };
            parent = Some(node);
        }
        parent
    }
}

/// Appends an object.
fn object(members: &[(&'static str, Value)], out: &mut String) {
    out.push('{');
    for (place, (name, value)) in members.iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        json_text(name, out);
        out.push(':');
        json(value, out);
    }
    out.push('}');
}

/// The process and the thread that a track is here.
fn ids(track: Track) -> (i64, i64) {
    let lane = (track.lane as i64 + LANES * i64::try_from(track.number).unwrap_or(0)) * IDS;
    match track.owner {
        Owner::Recording => (RECORDING, lane),
        Owner::Cpu(cpu) => (CPUS, i64::from(cpu) + lane),
        Owner::Process(process) => (i64::from(process.pid), i64::from(process.pid) + lane),
        Owner::Thread(process, tid) => (i64::from(process.pid), i64::from(tid) + lane),
    }
}

impl<W: Write> Sink for Chrome<W> {
    fn process(&mut self, process: Process, identity: &Identity<'_>) -> anyhow::Result<()> {
        let pid = i64::from(process.pid);
        self.metadata((pid, pid), "process_name", identity.name.unwrap_or("unknown"))
    }

    fn thread(&mut self, process: Process, tid: i32, name: Option<&str>) -> anyhow::Result<()> {
        let ids = (i64::from(process.pid), i64::from(tid));
        self.metadata(ids, "thread_name", name.unwrap_or("unknown"))
    }

    fn track(&mut self, track: Track) -> anyhow::Result<()> {
        let (ids, mut name) = (ids(track), track.name());
        match track.owner {
            Owner::Recording => self.metadata(ids, "process_name", "recording")?,
            Owner::Cpu(_) => self.metadata(ids, "process_name", "CPUs")?,
            Owner::Process(_) => {}
            // They do not stand below their thread here.
            Owner::Thread(_, tid) => name = format!("{tid} {name}"),
        }
        self.metadata(ids, "thread_name", &name)
    }

    fn slice(&mut self, track: Track, event: &Event<'_>, end: Option<i64>) -> anyhow::Result<()> {
        self.event(if end.is_some() { 'X' } else { 'B' }, ids(track), event.name);
        if let Some(end) = end {
            self.time("dur", end.saturating_sub(event.ts));
        }
        self.body(event);
        self.end()
    }

    fn instant(&mut self, track: Track, event: &Event<'_>) -> anyhow::Result<()> {
        self.event('i', ids(track), event.name);
        self.line.push_str(",\"s\":\"t\"");
        self.body(event);
        self.end()
    }

    fn counter(&mut self, _number: u64, counter: &Counter) -> anyhow::Result<()> {
        match counter.owner {
            Owner::Recording => self.metadata((RECORDING, 0), "process_name", "recording"),
            Owner::Cpu(_) | Owner::Process(_) | Owner::Thread(_, _) => Ok(()),
        }
    }

    fn count(
        &mut self,
        _number: u64,
        counter: &Counter,
        ts: i64,
        value: i64,
    ) -> anyhow::Result<()> {
        let track = Track { owner: counter.owner, lane: Lane::Calls, number: 0 };
        self.event('C', ids(track), &counter.name);
        self.time("ts", ts.saturating_sub(self.start));
        let _ = write!(self.line, ",\"args\":{{\"{}\":{value}}}", counter.unit);
        self.end()
    }

    fn sample<'a>(
        &mut self,
        track: Track,
        sample: &Sample<'_>,
        steps: impl FnOnce() -> Vec<Step<'a>>,
    ) -> anyhow::Result<()> {
        let leaf = match self.by_pair.get(&sample.stacks) {
            Some(leaf) => *leaf,
            None => {
                let leaf = self.leaf(steps());
                self.by_pair.insert(sample.stacks, leaf);
                leaf
            }
        };
        self.event('i', ids(track), "sample");
        self.line.push_str(",\"s\":\"t\",\"cat\":\"sample\"");
        self.time("ts", sample.ts.saturating_sub(self.start));
        if let Some(leaf) = leaf {
            let _ = write!(self.line, ",\"sf\":\"{leaf}\"");
        }
        let _ =
            write!(self.line, ",\"args\":{{\"cpu\":{},\"period\":{}", sample.cpu, sample.period);
        if let Some(leaf) = leaf {
            self.line.push_str(",\"function\":");
            json_text(&self.nodes[leaf as usize].name, &mut self.line);
        }
        self.line.push('}');
        self.end()
    }
}
