//! What packets name by number: each is defined in the first packet that needs it.

use std::hash::Hash;

use ahash::HashMap;

use super::message::{Bytes, Frame, InternedData, Mapping, Name};
use crate::export::timeline::{Process, Track};
use crate::export::walk::{Pair, Step};

/// Gives out numbers, from 1.
pub(super) struct Numbers<K>(HashMap<K, u64>);

impl<K: Eq + Hash> Numbers<K> {
    /// The number, and whether it is new.
    pub fn of(&mut self, key: K) -> (u64, bool) {
        let next = self.0.len() as u64 + 1;
        match self.0.entry(key) {
            std::collections::hash_map::Entry::Occupied(known) => (*known.get(), false),
            std::collections::hash_map::Entry::Vacant(new) => (*new.insert(next), true),
        }
    }
}

impl<K> Default for Numbers<K> {
    fn default() -> Self {
        Numbers(HashMap::default())
    }
}

/// What a track's number stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Uuid {
    Process(Process),
    Thread(Process, i32),
    Track(Track),
    Cpus,
    Counter(u64),
}

/// What has a number.
#[derive(Default)]
pub(super) struct Interned {
    pub tracks: Numbers<Uuid>,
    pub categories: Numbers<&'static str>,
    pub names: Numbers<String>,
    pub args: Numbers<&'static str>,
    pub functions: Numbers<String>,
    pub paths: Numbers<String>,
    pub sources: Numbers<String>,
    pub build_ids: Numbers<String>,
    pub mappings: Numbers<(Option<String>, Option<String>)>,
    /// Of a frame its number and the depth of the call; of what is no frame its text.
    pub frames: Numbers<Place>,
    pub stacks: Numbers<Pair>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Place {
    Call(i64, usize),
    Note(String),
}

impl Interned {
    /// The numbers of a step's calls, the innermost first.
    pub fn frames(&mut self, step: Step<'_>, new: &mut InternedData) -> Vec<u64> {
        let names = step.names();
        let mut calls = step.calls();
        let mut numbers = Vec::with_capacity(names.len());
        for (depth, name) in names.into_iter().enumerate() {
            let call = calls.next();
            let place = match step {
                Step::Frame(id, _) => Place::Call(id, depth),
                Step::Note(text) => Place::Note(text.to_owned()),
            };
            let (iid, is_new) = self.frames.of(place);
            numbers.push(iid);
            if !is_new {
                continue;
            }
            let mut frame = Frame { iid: Some(iid), ..Frame::default() };
            frame.function_name_id =
                Some(text(&mut self.functions, &name, &mut new.function_names));
            if let Some(file) = call.and_then(|call| call.file.as_deref()) {
                let path = text(&mut self.sources, file, &mut new.source_paths);
                frame.source_path_iid = Some(path);
            }
            let line = call.and_then(|call| call.line);
            frame.line_number = line.and_then(|line| u32::try_from(line).ok());
            if let Step::Frame(_, place) = step {
                frame.rel_pc = Some(place.file_offset.unwrap_or(place.address).cast_unsigned());
                frame.mapping_id = Some(self.mapping(place, new));
            } else {
                frame.mapping_id = Some(self.mapping(&crate::stacks::Frame::default(), new));
            }
            new.frames.push(frame);
        }
        numbers
    }

    fn mapping(&mut self, frame: &crate::stacks::Frame, new: &mut InternedData) -> u64 {
        let path = match (&frame.module, frame.kernel) {
            (_, true) => {
                let module = frame.calls.first().and_then(|call| call.module.clone());
                Some(module.unwrap_or_else(|| "kernel".to_owned()))
            }
            (module, false) => module.clone(),
        };
        let key = (path.clone(), frame.build_id.clone());
        let (iid, is_new) = self.mappings.of(key);
        if is_new {
            let build_id = frame.build_id.as_deref();
            let build_id = build_id.map(|id| text(&mut self.build_ids, id, &mut new.build_ids));
            let path = path.map(|path| text(&mut self.paths, &path, &mut new.mapping_paths));
            let path_string_ids = path.into_iter().collect();
            new.mappings.push(Mapping { iid: Some(iid), build_id, path_string_ids });
        }
        iid
    }
}

/// The number of a text, which is defined if it is new.
fn text(numbers: &mut Numbers<String>, text: &str, new: &mut Vec<Bytes>) -> u64 {
    let (iid, is_new) = numbers.of(text.to_owned());
    if is_new {
        new.push(Bytes { iid: Some(iid), str: Some(text.as_bytes().to_vec()) });
    }
    iid
}

/// A name with its number.
pub(super) fn named(iid: u64, name: &str) -> Name {
    Name { iid: Some(iid), name: Some(name.to_owned()) }
}
