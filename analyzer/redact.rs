//! A copy of a recording that tells less of people: see [`lookback_schemas::redact`].
//!
//! The copy is made table by table, of the columns that this version knows and nothing else; so it has no
//! binaries either, which hold paths of those who built them.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use lookback_schemas::manifest::Manifest;
use lookback_schemas::recording::{ALL_TIME, Recording};
use lookback_schemas::redact::Redaction;
use lookback_schemas::segment::{Rotation, TableWriter};
use lookback_schemas::{Error, TableId, What, private, symbols};

use crate::render::{escaped, thousands};
use crate::repair::check_at_rest;

/// Shown below the help.
pub const EXAMPLE: &str = "Example:\n  analyze redact web1.lookback -o to-share.lookback\n  analyze redact \
                           web1.lookback -o to-share.lookback --what argv,lines";

/// Options of `analyze redact`.
#[derive(Args, Debug)]
pub struct RedactArgs {
    /// The recording: a directory
    #[arg(value_name = "RECORDING")]
    pub recording: PathBuf,
    /// The directory to write, which must not exist yet
    #[arg(short, long, value_name = "DIR")]
    pub output: PathBuf,
    /// What to replace by tokens, separated by commas: argv, paths, addresses, lines [default: all of them]
    #[arg(long, value_name = "WHAT", value_delimiter = ',', value_parser = What::from_name)]
    pub what: Vec<What>,
    /// Make the tokens with the key in this file, 32 bytes at least, so that several recordings join; without
    /// it the key is a random one, which nobody ever has
    #[arg(long, value_name = "FILE")]
    pub redact_key: Option<PathBuf>,
}

/// Writes the copy, and says what is in it.
///
/// # Errors
/// If the recorder seems to be still at work, all of it was redacted before, a table is damaged, or the copy
/// cannot be written. Then there is no copy.
pub fn run(args: &RedactArgs) -> anyhow::Result<()> {
    let recording = Recording::open(&args.recording)?;
    check_at_rest(&recording)?;
    let what = if args.what.is_empty() { &What::ALL[..] } else { &args.what };
    let redaction = match &args.redact_key {
        Some(key) => Redaction::with_key_in(what, key)?,
        None => Redaction::with_random_key(what).context("cannot make a key")?,
    };
    let Some(redaction) = redaction.beyond(&recording.manifest().redacted) else {
        bail!("{}: all of that is redacted already", args.recording.display());
    };
    private::create_folder(&args.output)
        .with_context(|| format!("cannot create {}", args.output.display()))?;
    let rows = copy(&recording, &redaction, &args.output).inspect_err(|_| {
        // Best effort: the error that matters is the first one.
        let _ = std::fs::remove_dir_all(&args.output);
    })?;
    let shown = args.output.display().to_string();
    let names = redaction.note().what.join(", ");
    eprintln!("{}: {} rows, without {names}", escaped(&shown), thousands(rows));
    if args.recording.join(symbols::FOLDER).exists() {
        eprintln!("the binaries that the recording keeps are not copied: they hold paths");
    }
    Ok(())
}

/// Copies the tables, and last the manifest; the result is how many rows there are.
fn copy(recording: &Recording, redaction: &Redaction, output: &Path) -> anyhow::Result<u64> {
    let mut all = 0;
    let mut totals = recording.manifest().totals.clone();
    for table in TableId::ALL {
        let mut writer = TableWriter::new(output, *table, Rotation::default());
        recording.scan_table(*table, ALL_TIME).for_each(|path, batch| {
            let rows = redaction.rows(*table, &batch).map_err(Error::damaged(path))?;
            writer.add(&rows)
        })?;
        writer.finish()?;
        all += writer.rows();
        // Of a recorder that was killed, the manifest is a little older than the tables.
        if writer.rows() > 0 {
            totals.entry(table.name().to_owned()).or_default().rows = writer.rows();
        }
    }
    let manifest = Manifest { totals, ..recording.manifest().clone() };
    redaction.manifest(manifest).write(output, true)?;
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made::{Made, analyze};

    fn redact(made: &Made, output: &Path, what: &[What]) -> anyhow::Result<()> {
        run(&RedactArgs {
            recording: made.path().to_owned(),
            output: output.to_owned(),
            what: what.to_vec(),
            redact_key: None,
        })
    }

    #[test]
    fn what_exists_is_not_overwritten_and_what_is_redacted_is_not_redacted_again() {
        let made = Made::new();
        let row = made.clock(0.0);
        made.rows(&[row]);
        made.end(5.0);
        let directory = tempfile::tempdir().expect("tests may write temporary files");
        let copy = directory.path().join("copy");
        redact(&made, &copy, &[]).expect("nothing is wrong");
        let error = redact(&made, &copy, &[]).expect_err("it is there");
        assert!(format!("{error:#}").contains("cannot create"), "{error:#}");
        let again = RedactArgs {
            recording: copy,
            output: directory.path().join("again"),
            what: vec![What::Paths],
            redact_key: None,
        };
        let error = run(&again).expect_err("it is done");
        assert!(error.to_string().contains("redacted already"), "{error}");
        assert!(!again.output.exists());
    }

    #[test]
    fn a_damaged_table_leaves_no_copy() {
        let made = Made::new();
        let row = made.clock(0.0);
        made.rows(&[row]);
        made.end(5.0);
        let segment = made.path().join("clock/000001.parquet");
        std::fs::write(segment, "no Parquet at all").expect("tests may write temporary files");
        assert!(analyze(&made, &["cat", "clock"]).is_err());
        let directory = tempfile::tempdir().expect("tests may write temporary files");
        let copy = directory.path().join("copy");
        assert!(redact(&made, &copy, &[]).is_err());
        assert!(!copy.exists());
    }
}
