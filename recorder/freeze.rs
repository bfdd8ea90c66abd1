//! Snapshots: a recording of what another one has kept, made while that goes on.
//!
//! The files of a chunk that has ended do not change any more. So a snapshot takes no copies: it gives them
//! other names (hard links), and is whole whatever becomes of the recording. Only names of frames are
//! written anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use lookback_schemas::manifest::{End, Kept, Manifest, Snapshot, Symbols, Total};
use lookback_schemas::recording::Recording;
use lookback_schemas::segment::{self, Ended, Rotation, TableWriter};
use lookback_schemas::tables::Frame;
use lookback_schemas::{TableId, private};

use crate::binaries::Binary;
use crate::chunks::Chunk;
use crate::owner::Scribe;
use crate::stacks::Frames;
use crate::symbols;

/// How long the disk may take for a segment that has ended.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a snapshot is made of.
#[derive(Debug)]
pub struct Source {
    /// The chunks that are kept.
    pub chunks: Vec<Arc<Chunk>>,
    /// Only those that reach beyond this moment, in the recording's time.
    pub from: i64,
    /// The recording's manifest.
    pub manifest: Manifest,
    /// Why, and of what: its folder.
    pub snapshot: Snapshot,
    /// The files that are held open.
    pub binaries: Vec<Arc<Binary>>,
}

/// Makes a snapshot in `directory`, which must not exist.
///
/// # Errors
/// If it cannot be written. What there is of it then stays readable.
pub fn freeze(source: Source, directory: &Path, scribe: &Scribe) -> Result<()> {
    let Source { chunks, from, mut manifest, snapshot, binaries } = source;
    let chunks: Vec<_> = chunks.into_iter().filter(|chunk| chunk.until >= from).collect();
    let began = chunks.first().map_or(manifest.started, |chunk| chunk.from);
    let ended = chunks.last().map_or(snapshot.at, |chunk| chunk.until);
    manifest.kept = Some(Kept { from: began, ..manifest.kept.unwrap_or_default() });
    manifest.recorder_pid = None;
    manifest.snapshots = Vec::new();
    manifest.symbols = Symbols::Pending;
    manifest.totals = totals(&chunks);
    let new = directory.to_owned();
    scribe
        .run(move || private::create_folder(&new))
        .with_context(|| format!("cannot create {}", directory.display()))?;
    scribe.manifest(&manifest, directory, true)?;
    // A thread with the scribe's rights: it may have to wait for the disk, and the scribe has more to do.
    let new = directory.to_owned();
    let link = move || std::thread::spawn(move || link(&chunks, &new));
    let (names, frames) = match scribe.run(link).join() {
        Ok(linked) => linked?,
        Err(panic) => std::panic::resume_unwind(panic),
    };
    let frames = Frames { frames, binaries, made: Vec::new() };
    let (resolved, _) = symbols::resolve(&frames, None);
    let mut rows = resolved.rows();
    if let Some(redaction) = scribe.redaction() {
        rows = redaction.rows(TableId::Symbol, &rows).map_err(anyhow::Error::msg)?;
    }
    if rows.num_rows() > 0 {
        let table = TableId::Symbol;
        let mut writer = TableWriter::new(directory, table, Rotation::default()).after(names);
        let written = scribe.run(move || {
            writer.append(&rows)?;
            writer.finish()?;
            Ok::<u64, lookback_schemas::Error>(writer.rows())
        })?;
        manifest.totals.entry(table.name().to_owned()).or_default().rows += written;
    }
    manifest.symbols = Symbols::Resolved;
    manifest.ended = Some(End { at: ended, why: "snapshot".to_owned(), error: None });
    manifest.snapshot_of = Some(snapshot);
    scribe.manifest(&manifest, directory, true)
}

/// What the chunks have. What was seen is not known of a part: what had not come yet belongs to it or not.
fn totals(chunks: &[Arc<Chunk>]) -> BTreeMap<String, Total> {
    let mut totals: BTreeMap<String, Total> = BTreeMap::new();
    for chunk in chunks {
        for ended in &chunk.segments {
            totals.entry(ended.table.name().to_owned()).or_default().rows += ended.rows;
        }
        for (table, lost) in &chunk.lost {
            totals.entry(table.name().to_owned()).or_default().lost += lost;
        }
    }
    totals
}

/// Gives the segments names in another recording. Gives the number of the last one that has names of frames, and
/// the frames.
fn link(chunks: &[Arc<Chunk>], directory: &Path) -> Result<(u32, Vec<Frame>)> {
    let mut names = 0;
    for ended in chunks.iter().flat_map(|chunk| &chunk.segments) {
        let number = link_one(ended, directory).with_context(|| {
            format!(
                "cannot take {} into the snapshot {}",
                ended.path.display(),
                directory.display()
            )
        })?;
        if ended.table == TableId::Symbol {
            names = number;
        }
    }
    Ok((names, Recording::open(directory)?.frames()?))
}

/// Gives a segment a name in another recording; its number there.
fn link_one(ended: &Ended, directory: &Path) -> Result<u32> {
    let folder = directory.join(ended.table.name());
    private::create_folders(&folder)?;
    let sidecar = segment::sidecar(&ended.path);
    // It is synced, and perhaps rewritten.
    let until = Instant::now() + PATIENCE;
    while sidecar.exists() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    let name = ended.path.file_name().context("a segment has a name")?;
    let new = folder.join(name);
    if fs::hard_link(&ended.path, &new).is_err() {
        // Some file systems have no links.
        let mut copy = private::create_new(&new)?;
        std::io::copy(&mut fs::File::open(&ended.path)?, &mut copy)?;
    }
    let number = Path::new(name).file_stem().and_then(|stem| stem.to_str()?.parse().ok());
    number.context("a segment has a number")
}

/// A free name beside the recording in `directory`.
pub fn beside(directory: &Path, at: i64) -> PathBuf {
    let time = jiff::Timestamp::from_nanosecond(i128::from(at)).unwrap_or_default();
    let time = time.strftime("%Y%m%dT%H%M%S%.3fZ");
    let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let stem = name.strip_suffix(".lookback").unwrap_or(&name);
    directory.with_file_name(format!("{stem}-snapshot-{time}.lookback"))
}
