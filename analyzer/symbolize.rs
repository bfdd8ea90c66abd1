//! Naming the frames of a recording, later and elsewhere.
//!
//! `record` names frames when it ends; where it was killed, or the debug information was on another
//! machine, that is made up for here. Frames that have no names, or names without lines, are asked for
//! again, and what is better than before is written into the recording, so that all reports show it.
//!
//! A frame says by build id which file it lies in, so a file of that build id is right wherever it comes
//! from: [`binaries`] says where they are looked for. Frames in files without a build id keep what they
//! have, since another file of the same name proves nothing.

pub mod binaries;
pub mod debuginfod;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use arrow::array::Array as _;
use clap::Args;
use lookback_schemas::recording::{ALL_TIME, Recording};
use lookback_schemas::symbols::kallsyms::Kallsyms;
use lookback_schemas::symbols::{self, Limits, Resolved};
use lookback_schemas::tables::{Frame, Symbol};
use lookback_schemas::{Error, TableId, manifest, segment, tables};

use crate::processes::known;
use crate::render::{escaped, thousands};
use crate::repair::check_at_rest;
use binaries::{Places, PlacesArgs};

/// Shown below the help.
pub const EXAMPLE: &str = "Examples:\n  analyze symbolize web1.lookback\n  analyze symbolize web1.lookback --debug-dir \
     ./build\n  analyze symbolize web1.lookback --debuginfod https://debuginfod.example.org\n\n\
     Nothing is asked of the network without --debuginfod.";

/// A large file of debug information takes a minute; nobody waits for ever.
const LIMITS: Limits = Limits { file: Duration::from_mins(5), total: Duration::from_hours(1) };

/// Files that were not found are listed up to this many.
const MOST_LISTED: usize = 10;

/// Options of `analyze symbolize`.
#[derive(Args, Debug)]
pub struct SymbolizeArgs {
    /// The recording: a directory, which is written to
    #[arg(value_name = "RECORDING")]
    pub recording: PathBuf,
    /// Where binaries are.
    #[command(flatten)]
    pub places: PlacesArgs,
    /// A server to ask for what is not found, or `env` for those of DEBUGINFOD_URLS; can be given again.
    /// Servers learn which binaries were recorded
    #[arg(long, value_name = "URL")]
    pub debuginfod: Vec<String>,
}

/// Names the frames, and says what came of it.
///
/// # Errors
/// If the recorder seems to be still at work, a table is damaged, or the recording cannot be written.
pub fn run(args: &SymbolizeArgs) -> anyhow::Result<()> {
    let recording = Recording::open(&args.recording)?;
    check_at_rest(&recording)?;
    let frames = recording.frames()?;
    let old = names(&recording)?;
    let server = debuginfod::Client::new(&debuginfod::servers(&args.debuginfod))?;
    let mut places = Places::new(&args.places, &recording, server);
    let poor = frames.iter().filter(|frame| old.get(&frame.id).is_none_or(|names| !lines(names)));
    let Resolved { mut symbols, failures } = symbols::resolve(poor, &mut places, LIMITS);
    symbols.extend(kernel(&recording, &frames, &old));
    for (path, why) in failures {
        let path = path.display().to_string();
        eprintln!("analyze: not all names from {}: {}", escaped(&path), escaped(&why));
    }
    let ids: BTreeSet<i64> = frames.iter().map(|frame| frame.id).collect();
    let before = old.keys().filter(|id| ids.contains(id)).count();
    let (names, better) = merge(old, symbols);
    let after = names.keys().filter(|id| ids.contains(id)).count();
    if better > 0 || recording.manifest().symbols != manifest::Symbols::Resolved {
        let all =
            Resolved { symbols: names.into_values().flatten().collect(), failures: Vec::new() };
        let rows = segment::replace(&args.recording, TableId::Symbol, &[all.rows()])?;
        manifest::note_symbols(&args.recording, rows)?;
    }
    let [after, before, better, all] = [after, before, better, frames.len()]
        .map(|count| thousands(u64::try_from(count).unwrap_or(u64::MAX)));
    eprintln!(
        "{after} of {all} frames have names, {before} had before; {better} are better than before"
    );
    say_missing(&places);
    Ok(())
}

fn say_missing(places: &Places) {
    let missing = places.missing();
    for (file, frames) in missing.iter().take(MOST_LISTED) {
        eprintln!("not found: {}, {} frames", escaped(file), thousands(*frames));
    }
    if missing.len() > MOST_LISTED {
        eprintln!("not found: {} more files", missing.len() - MOST_LISTED);
    }
}

/// The names of each frame, by depth.
type Names = BTreeMap<i64, Vec<Symbol>>;

fn names(recording: &Recording) -> Result<Names, Error> {
    let mut names: BTreeMap<(i64, i32), Symbol> = BTreeMap::new();
    recording.for_each::<Symbol, Error>(ALL_TIME, |rows: tables::symbol::Columns| {
        for row in 0..rows.frame.len() {
            let (frame, depth) = (rows.frame.value(row), rows.depth.value(row));
            let symbol = Symbol {
                frame,
                depth,
                name: rows.name.value(row).to_owned(),
                offset: known!(rows.offset, row),
                file: known!(rows.file, row).map(str::to_owned),
                line: known!(rows.line, row),
                module: known!(rows.module, row).map(str::to_owned),
            };
            names.insert((frame, depth), symbol);
        }
        Ok(())
    })?;
    let mut by_frame = Names::new();
    for ((frame, _), symbol) in names {
        by_frame.entry(frame).or_default().push(symbol);
    }
    Ok(by_frame)
}

/// Kernel frames that have no names: the kernel knows them as long as it runs.
fn kernel(recording: &Recording, frames: &[Frame], old: &Names) -> Vec<Symbol> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let nameless = |frame: &&Frame| frame.kernel && !old.contains_key(&frame.id);
    if recording.manifest().host.boot_id != boot.trim() || !frames.iter().any(|f| nameless(&f)) {
        return Vec::new();
    }
    let kallsyms = Kallsyms::now().unwrap_or_default();
    symbols::resolve_kernel(frames.iter().filter(nameless), &kallsyms)
}

fn lines(names: &[Symbol]) -> bool {
    names.iter().any(|name| name.line.is_some())
}

/// Puts `new` names in the place of `old` ones where they tell more; the result is also how many frames
/// that are.
fn merge(mut old: Names, new: Vec<Symbol>) -> (Names, usize) {
    let mut by_frame = Names::new();
    for symbol in new {
        by_frame.entry(symbol.frame).or_default().push(symbol);
    }
    let mut better = 0;
    for (frame, new) in by_frame {
        let known = old.entry(frame).or_default();
        let rank = |names: &[Symbol]| (lines(names), names.len());
        if rank(&new) > rank(known) {
            *known = new;
            better += 1;
        }
    }
    (old, better)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(frame: i64, depth: i32, name: &str, line: Option<i32>) -> Symbol {
        let (name, file) = (name.to_owned(), line.map(|_| "a.c".to_owned()));
        Symbol { frame, depth, name, offset: None, file, line, module: None }
    }

    #[test]
    fn names_are_replaced_only_by_better_ones() {
        let old =
            [named(1, 0, "old", None), named(2, 0, "lined", Some(7)), named(3, 0, "kept", None)];
        let old = old.into_iter().map(|symbol| (symbol.frame, vec![symbol])).collect();
        let new = vec![
            named(1, 0, "outer", Some(1)),
            named(1, 1, "inlined", Some(2)),
            named(2, 0, "bare", None),
            named(3, 0, "other", None),
            named(4, 0, "first", None),
        ];
        let (names, better) = merge(old, new);
        let all: Vec<&str> = names.values().flatten().map(|symbol| symbol.name.as_str()).collect();
        assert_eq!(all, ["outer", "inlined", "lined", "kept", "first"]);
        assert_eq!(better, 2);
    }
}
