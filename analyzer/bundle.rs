//! A recording with the binaries of its frames, in one file.
//!
//! What `analyze symbolize` needs on another machine is packed where the binaries are: the recording, and
//! below its folder `binaries` each file of a frame by its build id, with what was stripped from it. The
//! bundle is a tar archive compressed with zstd; unpacked it is a recording like any other.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use lookback_schemas::recording::Recording;
use lookback_schemas::symbols::tree::{self, Kind};
use lookback_schemas::symbols::{self, FOLDER, Found};
use lookback_schemas::{TableId, manifest, private, regular};

use crate::render::{escaped, thousands};
use crate::repair::check_at_rest;
use crate::symbolize::binaries::{Places, PlacesArgs};

/// Shown below the help.
pub const EXAMPLE: &str = "Example:\n  analyze bundle web1.lookback -o web1.tar.zst\n\nElsewhere:\n  tar -xf web1.tar.zst\n  \
     analyze symbolize web1.lookback";

/// Options of `analyze bundle`.
#[derive(Args, Debug)]
pub struct BundleArgs {
    /// The recording: a directory
    #[arg(value_name = "RECORDING")]
    pub recording: PathBuf,
    /// The file to write [default: the recording's name with .tar.zst, here]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Where binaries are.
    #[command(flatten)]
    pub places: PlacesArgs,
}

/// Packs the recording, and says what is in the bundle.
///
/// # Errors
/// If the recorder seems to be still at work, a table is damaged, or something cannot be read or written.
pub fn run(args: &BundleArgs) -> anyhow::Result<()> {
    let recording = Recording::open(&args.recording)?;
    check_at_rest(&recording)?;
    let path = fs::canonicalize(&args.recording)?;
    let name = path.file_name().context("the recording has no name of its own")?.to_owned();
    let output = args.output.clone().unwrap_or_else(|| {
        let mut output = name.clone();
        output.push(".tar.zst");
        PathBuf::from(output)
    });
    if output.is_dir() {
        bail!("{} is a directory", output.display());
    }
    let mut places = Places::new(&args.places, &recording, None);
    let files = symbols::files(&recording.frames()?, &mut places);
    let new = {
        let mut new = output.clone().into_os_string();
        new.push(".new");
        PathBuf::from(new)
    };
    let packed = pack(&new, Path::new(&name), &path, files);
    let binaries = packed.and_then(|binaries| Ok(fs::rename(&new, &output).map(|()| binaries)?));
    let binaries = binaries.inspect_err(|_| {
        // Best effort: the error that matters is the first one.
        let _ = fs::remove_file(&new);
    });
    let binaries = binaries.with_context(|| output.display().to_string())?;
    let size = fs::metadata(&output).map_or(0, |metadata| metadata.len());
    eprintln!(
        "{}: the recording and {binaries} binaries and debug files, {} bytes",
        escaped(&output.display().to_string()),
        thousands(size)
    );
    for (file, frames) in places.missing() {
        eprintln!("not found: {}, {} frames", escaped(file), thousands(frames));
    }
    Ok(())
}

/// Writes the archive; the result is how many binaries are in it.
fn pack(
    new: &Path,
    name: &Path,
    recording: &Path,
    files: std::collections::BTreeMap<String, Found>,
) -> anyhow::Result<usize> {
    let file = BufWriter::new(private::create(new)?);
    let mut archive = tar::Builder::new(zstd::Encoder::new(file, 0)?);
    // Whoever unpacks it has it for themselves: what is in it may tell of people.
    let mut folder = tar::Header::new_gnu();
    folder.set_entry_type(tar::EntryType::Directory);
    folder.set_mode(0o700);
    folder.set_size(0);
    archive.append_data(&mut folder, name, io::empty())?;
    // Of the recording nothing but files is packed: a link could lead to what is not the recording's.
    let own = |path: &Path| regular::open(path).with_context(|| path.display().to_string());
    append(&mut archive, &name.join(manifest::FILE), own(&recording.join(manifest::FILE))?)?;
    for table in TableId::ALL {
        let folder = recording.join(table.name());
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        paths.sort();
        for path in paths {
            let file = path.file_name().unwrap_or_default();
            append(&mut archive, &name.join(table.name()).join(file), own(&path)?)?;
        }
    }
    let mut packed = BTreeSet::new();
    for (build_id, Found { path, debug }) in files {
        let kinds = [(Kind::Executable, Some(path)), (Kind::Debug, debug)];
        for (kind, path) in kinds {
            let (Some(path), Some(place)) = (path, tree::place(&build_id, kind)) else { continue };
            let place = name.join(FOLDER).join(place);
            let file = File::open(&path).with_context(|| path.display().to_string())?;
            append(&mut archive, &place, file)?;
            packed.insert(place);
        }
    }
    let mut file = archive.into_inner()?.finish()?;
    file.flush()?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    Ok(packed.len())
}

/// Adds a file, without its owner and its times.
fn append(
    archive: &mut tar::Builder<impl io::Write>,
    name: &Path,
    mut file: File,
) -> anyhow::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_metadata_in_mode(&file.metadata()?, tar::HeaderMode::Deterministic);
    header.set_mode(0o600);
    archive.append_data(&mut header, name, &mut file).with_context(|| name.display().to_string())
}
