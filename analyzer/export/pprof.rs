//! pprof: the profiles of Go's tools, Parca, Pyroscope and others.
//!
//! A profile (`profile.proto` of github.com/google/pprof) is a list of sums: a stack of *locations* with its values. A location
//! is an address in a *mapping*, which is a file with its build id, and has a line for each function that
//! was inlined there. Addresses of a file are stored as places in the file, with a mapping that begins at 0: the same code of
//! different processes is one location then, and `pprof` finds its binary and its lines by them.
//!
//! It has no time. The thread's name is the label `comm` (`pprof -tagroot comm` draws it), and what is missing from
//! the recording is in the comments (`pprof -comments`).

pub(super) mod message;

use std::io::Write;

use ahash::HashMap;
use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message as _;

use self::message::{Function, Label, Line, Location, Mapping, Profile, Sample, ValueType};
use super::Stacked;
use super::walk::{Step, walk_sum};
use crate::flamegraph::Weight;
use crate::render::escaped;
use crate::stacks::Frame;

/// Writes the profile, compressed as `pprof` writes its own.
///
/// # Errors
/// If it cannot be written.
pub(super) fn write(content: &Stacked<'_>, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut out = GzEncoder::new(out, Compression::fast());
    let mut tables = Tables::new();
    let Stacked { source, heading, weight, sums, stacks } = content;
    let (count, value) = values(*weight, weight.unit(&source.recording));
    let types: Vec<ValueType> = count.into_iter().chain(value).map(|ty| tables.ty(ty)).collect();
    let measure = types.last().cloned();
    let said = std::iter::once(&heading.covers).chain(&heading.warnings);
    let comment = said.map(|text| tables.text(text)).collect();
    let window = &source.window;
    put(
        &mut out,
        &Profile {
            default_sample_type: measure.as_ref().map_or(0, |measure| measure.ty),
            period_type: measure,
            sample_type: types,
            comment,
            time_nanos: window.start(),
            duration_nanos: window.end().saturating_sub(window.start()),
            ..Profile::default()
        },
    )?;
    let comm = tables.text("comm");
    for (key, sum) in sums.sorted() {
        let samples = i64::try_from(sum.samples).unwrap_or(i64::MAX);
        let values = count.map(|_| samples).into_iter().chain(value.map(|_| sum.weight));
        let steps = walk_sum(stacks, sums, key);
        let sample = Sample {
            location_id: steps.into_iter().map(|step| tables.location(step)).collect(),
            value: values.collect(),
            label: vec![Label { key: comm, str: tables.text(sums.name(key.comm)) }],
        };
        put(&mut out, &Profile { sample: vec![sample], ..Profile::default() })?;
    }
    put(&mut out, &tables.finish())?;
    out.finish()?;
    Ok(())
}

/// Writes a part of the profile: protobuf messages that stand behind each other are one.
fn put(out: &mut impl Write, part: &Profile) -> anyhow::Result<()> {
    out.write_all(&part.encode_to_vec()).map_err(anyhow::Error::from)
}

/// A name and a unit.
type Type = (&'static str, &'static str);

/// What the values of a sum are: how many rows it is of, and their weight where that is another number. The names
/// are those of Go's own profiles where there are such.
fn values(weight: Weight, unit: &'static str) -> (Option<Type>, Option<Type>) {
    let nanoseconds = "nanoseconds";
    match weight {
        Weight::Cpu if unit == "ns" => (Some(("samples", "count")), Some(("cpu", nanoseconds))),
        Weight::Cpu => (Some(("samples", "count")), Some(("cycles", "count"))),
        Weight::Offcpu => (Some(("waits", "count")), Some(("offcpu", nanoseconds))),
        Weight::Wall => (Some(("events", "count")), Some(("wall", nanoseconds))),
        Weight::Outstanding | Weight::Peak => {
            (Some(("inuse_objects", "count")), Some(("inuse_space", "bytes")))
        }
        Weight::Allocated => (Some(("alloc_objects", "count")), Some(("alloc_space", "bytes"))),
        Weight::Temporary => (None, Some(("temporary_objects", "count"))),
        Weight::Count => (None, Some(("alloc_objects", "count"))),
        Weight::Probe => (None, Some(("hits", "count"))),
    }
}

/// What tells mappings apart: the file, and its build id; of the kernel, whether it is that.
type File = (String, Option<String>, bool);

/// What samples refer to, each once, by its place.
struct Tables {
    texts: HashMap<String, i64>,
    strings: Vec<String>,
    mappings: Vec<Mapping>,
    files: HashMap<File, u64>,
    functions: Vec<Function>,
    by_name: HashMap<(i64, i64), u64>,
    locations: Vec<Location>,
    by_frame: HashMap<i64, u64>,
    by_note: HashMap<String, u64>,
}

impl Tables {
    fn new() -> Tables {
        let mut tables = Tables {
            texts: HashMap::default(),
            strings: Vec::new(),
            mappings: Vec::new(),
            files: HashMap::default(),
            functions: Vec::new(),
            by_name: HashMap::default(),
            locations: Vec::new(),
            by_frame: HashMap::default(),
            by_note: HashMap::default(),
        };
        // The first text must be the empty one: 0 stands for none.
        tables.text("");
        tables
    }

    /// The place of a text, which is safe to print.
    fn text(&mut self, text: &str) -> i64 {
        let text = &*escaped(text);
        if let Some(place) = self.texts.get(text) {
            return *place;
        }
        let place = i64::try_from(self.strings.len()).unwrap_or(i64::MAX);
        self.strings.push(text.to_owned());
        self.texts.insert(text.to_owned(), place);
        place
    }

    fn ty(&mut self, (name, unit): Type) -> ValueType {
        ValueType { ty: self.text(name), unit: self.text(unit) }
    }

    fn function(&mut self, name: &str, file: Option<&str>) -> u64 {
        let (name, filename) = (self.text(name), self.text(file.unwrap_or_default()));
        *self.by_name.entry((name, filename)).or_insert_with(|| {
            let id = self.functions.len() as u64 + 1;
            self.functions.push(Function { id, name, system_name: name, filename });
            id
        })
    }

    /// The number of the location.
    fn location(&mut self, step: Step<'_>) -> u64 {
        let known = match step {
            Step::Frame(id, _) => self.by_frame.get(&id),
            Step::Note(text) => self.by_note.get(text),
        };
        if let Some(id) = known {
            return *id;
        }
        let id = self.locations.len() as u64 + 1;
        let location = match step {
            Step::Frame(number, frame) => {
                self.by_frame.insert(number, id);
                let line: Vec<Line> = step
                    .calls()
                    .map(|call| Line {
                        function_id: self.function(&call.name, call.file.as_deref()),
                        line: call.line.map_or(0, i64::from),
                    })
                    .collect();
                let (mapping_id, address) = self.place(frame, !line.is_empty());
                Location { id, mapping_id, address, line }
            }
            Step::Note(text) => {
                self.by_note.insert(text.to_owned(), id);
                let function_id = self.function(text, None);
                let line = vec![Line { function_id, line: 0 }];
                Location { id, line, ..Location::default() }
            }
        };
        self.locations.push(location);
        id
    }

    /// The mapping of a frame, and its address there.
    fn place(&mut self, frame: &Frame, named: bool) -> (u64, u64) {
        let (name, address) = match (&frame.module, frame.file_offset) {
            _ if frame.kernel => {
                let module = frame.calls.first().and_then(|call| call.module.as_deref());
                let name =
                    module.map_or("[kernel.kallsyms]".to_owned(), |name| format!("[{name}]"));
                (name, frame.address)
            }
            (Some(module), Some(offset)) => (module.clone(), offset),
            (Some(module), None) => (module.clone(), frame.address),
            (None, _) => return (0, call_of(frame, frame.address)),
        };
        let address = call_of(frame, address);
        let file: File = (name, frame.build_id.clone(), frame.kernel);
        let id = match self.files.get(&file) {
            Some(id) => *id,
            None => {
                let id = self.mappings.len() as u64 + 1;
                let in_file = frame.file_offset.is_some() && !frame.kernel;
                let filename = self.text(&file.0);
                let build_id = self.text(file.1.as_deref().unwrap_or_default());
                self.mappings.push(Mapping {
                    id,
                    memory_start: if in_file { 0 } else { address },
                    memory_limit: address,
                    file_offset: 0,
                    filename,
                    build_id,
                    has_functions: true,
                    has_filenames: true,
                    has_line_numbers: true,
                    has_inline_frames: true,
                });
                self.files.insert(file, id);
                id
            }
        };
        let mapping = &mut self.mappings[id as usize - 1];
        mapping.memory_start = mapping.memory_start.min(address);
        mapping.memory_limit = mapping.memory_limit.max(address.saturating_add(1));
        // Whether all is known: else `pprof` looks for the file itself.
        mapping.has_functions &= named;
        let first = frame.calls.first();
        mapping.has_filenames &= first.is_some_and(|call| call.file.is_some());
        mapping.has_line_numbers &= first.is_some_and(|call| call.line.is_some());
        mapping.has_inline_frames &= named;
        (id, address)
    }

    fn finish(mut self) -> Profile {
        // `pprof` takes the first one for the program: those of files stand before the kernel's.
        self.mappings.sort_by_key(|mapping| mapping.memory_start != 0);
        Profile {
            mapping: self.mappings,
            location: self.locations,
            function: self.functions,
            string_table: self.strings,
            ..Profile::default()
        }
    }
}

/// The address within the instruction that was executed: a return address is that of the next one.
fn call_of(frame: &Frame, address: i64) -> u64 {
    address.cast_unsigned().wrapping_sub(u64::from(frame.return_address))
}
