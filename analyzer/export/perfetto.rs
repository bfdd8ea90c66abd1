//! Perfetto's own trace, in protobuf: for ui.perfetto.dev and its trace processor, which answers SQL.
//!
//! A trace is packets, written as they come. Names, arguments' names, frames and stacks are *interned*: the first packet
//! that needs one defines it by a number. Times are Unix time in nanoseconds, as in the tables; the first packet says
//! what the machine's other clocks showed.

mod interned;
pub(super) mod message;

use std::io::Write;

use ahash::HashMap;
use lookback_schemas::manifest::Manifest;
use prost::Message as _;

use self::interned::{Interned, Uuid, named};
use self::message::{
    Argument, Callstack, Clock, ClockSnapshot, CounterDescriptor, Data, DebugAnnotation,
    InternedData, PerfSample, PerfSampleDefaults, ProcessDescriptor, SystemInfo, ThreadDescriptor,
    Timebase, Trace, TracePacket, TracePacketDefaults, TrackDescriptor, TrackEvent, Utsname,
};
use super::samples::Sample;
use super::timeline::{Counter, Event, Identity, Owner, Process, Sink, Track};
use super::walk::Step;
use crate::render::Value;

/// All packets are of one sequence: whoever interns is one.
const SEQUENCE: u32 = 1;
/// What is interned is forgotten: so at the beginning.
const CLEARED: u32 = 1;
/// What is interned is needed.
const NEEDED: u32 = 2;
/// `BUILTIN_CLOCK_REALTIME`, `_MONOTONIC`, `_BOOTTIME`.
const REALTIME: u32 = 1;
const MONOTONIC: u32 = 3;
const BEGINS: u32 = 1;
const ENDS: u32 = 2;
const INSTANT: u32 = 3;
const COUNTS: u32 = 4;

/// Writes the trace.
pub(super) struct Perfetto<W> {
    out: W,
    buffer: Vec<u8>,
    interned: Interned,
    /// What the sampling clock of each CPU has counted.
    counted: HashMap<i32, u64>,
}

impl<W: Write> Perfetto<W> {
    /// Begins the trace.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn begin(out: W, manifest: &Manifest, cycles: bool) -> anyhow::Result<Perfetto<W>> {
        let (buffer, interned) = (Vec::new(), Interned::default());
        let mut trace = Perfetto { out, buffer, interned, counted: HashMap::default() };
        let clock = |id, ns: i64| Clock { clock_id: Some(id), timestamp: Some(unsigned(ns)) };
        let started = manifest.started;
        let clocks = vec![
            clock(REALTIME, started),
            clock(MONOTONIC, started.saturating_sub(manifest.epoch)),
        ];
        let snapshot = ClockSnapshot { clocks, primary_trace_clock: Some(REALTIME) };
        let frequency = manifest.filters.frequency;
        let timebase = Timebase {
            frequency: (frequency > 0).then_some(u64::from(frequency)),
            counter: Some(if cycles { 10 } else { 1 }),
        };
        trace.packet(TracePacket {
            timestamp: Some(unsigned(started)),
            sequence_flags: Some(CLEARED),
            trace_packet_defaults: Some(TracePacketDefaults {
                timestamp_clock_id: Some(REALTIME),
                perf_sample_defaults: Some(PerfSampleDefaults { timebase: Some(timebase) }),
            }),
            data: Some(Data::ClockSnapshot(snapshot)),
            ..TracePacket::default()
        })?;
        trace.data(Data::SystemInfo(SystemInfo {
            utsname: Some(Utsname {
                sysname: Some("Linux".to_owned()),
                release: Some(manifest.host.kernel.clone()),
                machine: Some(manifest.host.arch.clone()),
            }),
            tracing_service_version: Some(format!("lookback {}", manifest.recorder)),
            num_cpus: u32::try_from(manifest.host.cpus).ok(),
        }))?;
        Ok(trace)
    }

    fn packet(&mut self, packet: TracePacket) -> anyhow::Result<()> {
        let packet = TracePacket { trusted_packet_sequence_id: Some(SEQUENCE), ..packet };
        self.buffer.clear();
        Trace { packet: vec![packet] }.encode(&mut self.buffer)?;
        self.out.write_all(&self.buffer).map_err(anyhow::Error::from)
    }

    fn data(&mut self, data: Data) -> anyhow::Result<()> {
        self.packet(TracePacket { data: Some(data), ..TracePacket::default() })
    }

    fn uuid(&mut self, of: Uuid) -> u64 {
        self.interned.tracks.of(of).0
    }

    fn event(&mut self, track: Track, event: &Event<'_>, ty: u32) -> anyhow::Result<()> {
        let mut new = InternedData::default();
        let (category, is_new) = self.interned.categories.of(event.category);
        if is_new {
            new.event_categories.push(named(category, event.category));
        }
        // Slices have few names; instants may each have one of their own, such as a path.
        let mut name = (None, Some(event.name.to_owned()));
        if ty == BEGINS {
            let (iid, is_new) = self.interned.names.of(event.name.to_owned());
            if is_new {
                new.event_names.push(named(iid, event.name));
            }
            name = (Some(iid), None);
        }
        let mut debug_annotations = Vec::with_capacity(event.args.len());
        for (key, value) in event.args {
            let (iid, is_new) = self.interned.args.of(key);
            if is_new {
                new.debug_annotation_names.push(named(iid, key));
            }
            debug_annotations.push(DebugAnnotation { name_iid: Some(iid), ..annotation(value) });
        }
        let track_event = TrackEvent {
            category_iids: vec![category],
            debug_annotations,
            ty: Some(ty),
            name_iid: name.0,
            name: name.1,
            track_uuid: Some(self.uuid_of(track)),
            ..TrackEvent::default()
        };
        self.with_interned(event.ts, new, Data::TrackEvent(track_event))
    }

    fn with_interned(&mut self, ts: i64, new: InternedData, data: Data) -> anyhow::Result<()> {
        self.packet(TracePacket {
            timestamp: Some(unsigned(ts)),
            interned_data: (new != InternedData::default()).then_some(new),
            sequence_flags: Some(NEEDED),
            data: Some(data),
            ..TracePacket::default()
        })
    }

    fn uuid_of(&mut self, track: Track) -> u64 {
        match track.owner {
            Owner::Thread(process, tid) if track.is_thread() => {
                self.uuid(Uuid::Thread(process, tid))
            }
            Owner::Recording | Owner::Cpu(_) | Owner::Process(_) | Owner::Thread(_, _) => {
                self.uuid(Uuid::Track(track))
            }
        }
    }

    fn parent(&mut self, owner: Owner) -> Option<u64> {
        match owner {
            Owner::Recording => None,
            Owner::Cpu(_) => Some(self.uuid(Uuid::Cpus)),
            Owner::Process(process) => Some(self.uuid(Uuid::Process(process))),
            Owner::Thread(process, tid) => Some(self.uuid(Uuid::Thread(process, tid))),
        }
    }
}

/// Times before 1970 are none that a trace can have.
fn unsigned(ns: i64) -> u64 {
    u64::try_from(ns).unwrap_or(0)
}

fn annotation(value: &Value) -> DebugAnnotation {
    let list = |values: Vec<Argument>| DebugAnnotation {
        array_values: values
            .into_iter()
            .map(|value| DebugAnnotation { value: Some(value), ..DebugAnnotation::default() })
            .collect(),
        ..DebugAnnotation::default()
    };
    let value = match value {
        Value::Null => return DebugAnnotation::default(),
        Value::Texts(texts) => return list(texts.iter().cloned().map(Argument::Text).collect()),
        Value::Ints(numbers) => return list(numbers.iter().copied().map(Argument::Int).collect()),
        Value::Int(number)
        | Value::Duration(number)
        | Value::Seconds(number)
        | Value::Millis(number)
        | Value::Micros(number)
        | Value::Time(number)
        | Value::Clock(number)
        | Value::Bytes(number)
        | Value::Kibibytes(number) => Argument::Int(*number),
        Value::Hex(number) => Argument::Pointer(number.cast_unsigned()),
        Value::Named(_, name) => Argument::Text(name.to_string()),
        Value::Real(number) => Argument::Real(*number),
        Value::Text(text) => Argument::Text(text.clone()),
        Value::Flag(flag) => Argument::Flag(*flag),
    };
    DebugAnnotation { value: Some(value), ..DebugAnnotation::default() }
}

impl<W: Write> Sink for Perfetto<W> {
    fn process(&mut self, process: Process, identity: &Identity<'_>) -> anyhow::Result<()> {
        let descriptor = ProcessDescriptor {
            pid: Some(process.pid),
            cmdline: identity.argv.to_vec(),
            process_name: identity.name.map(str::to_owned),
            start_timestamp_ns: identity.start,
        };
        let uuid = Some(self.uuid(Uuid::Process(process)));
        let track =
            TrackDescriptor { uuid, process: Some(descriptor), ..TrackDescriptor::default() };
        self.data(Data::TrackDescriptor(track))
    }

    fn thread(&mut self, process: Process, tid: i32, name: Option<&str>) -> anyhow::Result<()> {
        let descriptor = ThreadDescriptor {
            pid: Some(process.pid),
            tid: Some(i64::from(tid)),
            thread_name: name.map(str::to_owned),
        };
        let uuid = Some(self.uuid(Uuid::Thread(process, tid)));
        let parent_uuid = self.parent(Owner::Process(process));
        let thread = Some(descriptor);
        let track = TrackDescriptor { uuid, parent_uuid, thread, ..TrackDescriptor::default() };
        self.data(Data::TrackDescriptor(track))
    }

    fn track(&mut self, track: Track) -> anyhow::Result<()> {
        if let Owner::Cpu(_) = track.owner {
            let (uuid, is_new) = self.interned.tracks.of(Uuid::Cpus);
            if is_new {
                let (uuid, name) = (Some(uuid), Some("CPUs".to_owned()));
                let cpus = TrackDescriptor { uuid, name, ..TrackDescriptor::default() };
                self.data(Data::TrackDescriptor(cpus))?;
            }
        }
        let (uuid, parent_uuid) = (Some(self.uuid_of(track)), self.parent(track.owner));
        let name = Some(track.name());
        let track = TrackDescriptor { uuid, parent_uuid, name, ..TrackDescriptor::default() };
        self.data(Data::TrackDescriptor(track))
    }

    fn slice(&mut self, track: Track, event: &Event<'_>, end: Option<i64>) -> anyhow::Result<()> {
        self.event(track, event, BEGINS)?;
        let Some(end) = end else { return Ok(()) };
        let track_uuid = Some(self.uuid_of(track));
        let ends = TrackEvent { ty: Some(ENDS), track_uuid, ..TrackEvent::default() };
        self.with_interned(end, InternedData::default(), Data::TrackEvent(ends))
    }

    fn instant(&mut self, track: Track, event: &Event<'_>) -> anyhow::Result<()> {
        self.event(track, event, INSTANT)
    }

    fn counter(&mut self, number: u64, counter: &Counter) -> anyhow::Result<()> {
        let (uuid, parent_uuid) =
            (Some(self.uuid(Uuid::Counter(number))), self.parent(counter.owner));
        let unit = match counter.unit {
            "bytes" => Some(3),
            "ns" => Some(1),
            _ => None,
        };
        let (name, counter) = (Some(counter.name.clone()), Some(CounterDescriptor { unit }));
        let track =
            TrackDescriptor { uuid, parent_uuid, name, counter, ..TrackDescriptor::default() };
        self.data(Data::TrackDescriptor(track))
    }

    fn count(
        &mut self,
        number: u64,
        _counter: &Counter,
        ts: i64,
        value: i64,
    ) -> anyhow::Result<()> {
        let track_uuid = Some(self.uuid(Uuid::Counter(number)));
        let (ty, counter_value) = (Some(COUNTS), Some(value));
        let event = TrackEvent { ty, track_uuid, counter_value, ..TrackEvent::default() };
        self.with_interned(ts, InternedData::default(), Data::TrackEvent(event))
    }

    fn sample<'a>(
        &mut self,
        _track: Track,
        sample: &Sample<'_>,
        steps: impl FnOnce() -> Vec<Step<'a>>,
    ) -> anyhow::Result<()> {
        let mut new = InternedData::default();
        let (stack, is_new) = self.interned.stacks.of(sample.stacks);
        if is_new {
            let mut frame_ids = Vec::new();
            for step in steps() {
                frame_ids.extend(self.interned.frames(step, &mut new));
            }
            frame_ids.reverse();
            new.callstacks.push(Callstack { iid: Some(stack), frame_ids });
        }
        let counted = self.counted.entry(sample.cpu).or_default();
        *counted = counted.saturating_add(unsigned(sample.period));
        let perf_sample = PerfSample {
            cpu: Some(sample.cpu.cast_unsigned()),
            pid: Some(sample.pid.cast_unsigned()),
            tid: Some(sample.tid.cast_unsigned()),
            callstack_iid: Some(stack),
            cpu_mode: Some(if sample.stacks.kernel.is_some() { 1 } else { 2 }),
            timebase_count: Some(*counted),
        };
        self.with_interned(sample.ts, new, Data::PerfSample(perf_sample))
    }
}
