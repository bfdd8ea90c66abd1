//! Making a killed recording readable for other programs.
//!
//! `analyze` opens such a recording as it is. DuckDB, Polars and Spark want each Parquet file to end
//! with its footer, which a killed recorder could not write any more; it is beside the file, in the
//! sidecar.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use lookback_schemas::recording::Recording;
use lookback_schemas::{TableId, repair};

/// Shown below the help.
pub const EXAMPLE: &str = "Example:\n  analyze repair web1.lookback\n  duckdb -c \"SELECT count(*) \
                           FROM 'web1.lookback/exec/*.parquet'\"";

/// A recording that was written to more recently than this may have a living recorder, which writes
/// at least once in a second.
const QUIET: Duration = Duration::from_secs(10);

/// Options of `analyze repair`.
#[derive(Args, Debug)]
pub struct RepairArgs {
    /// The recording: a directory
    #[arg(value_name = "RECORDING")]
    pub recording: PathBuf,
}

/// Repairs the recording, and says what was done.
///
/// # Errors
/// If the recorder seems to be still at work, or a file is damaged or cannot be written.
pub fn run(args: &RepairArgs) -> anyhow::Result<()> {
    let recording = Recording::open(&args.recording)?;
    check_at_rest(&recording)?;
    let unfinished = recording.unfinished();
    for path in &unfinished {
        repair::repair(path)?;
    }
    let tables = TableId::ALL.len();
    match unfinished.len() {
        0 => eprintln!("nothing to repair: every file of the {tables} tables is finished"),
        files => eprintln!("repaired {files} files"),
    }
    Ok(())
}

/// Fails if the recorder seems to be still at work: then nobody else may write into the recording.
///
/// # Errors
/// So, or if a file is gone.
pub(crate) fn check_at_rest(recording: &Recording) -> anyhow::Result<()> {
    for path in recording.unfinished() {
        let sidecar = lookback_schemas::segment::sidecar(&path);
        let modified = std::fs::metadata(&sidecar).and_then(|data| data.modified());
        let age = modified.with_context(|| sidecar.display().to_string())?.elapsed();
        if age.is_ok_and(|age| age < QUIET) {
            bail!(
                "{}: written less than {} s ago; is its recorder still running?",
                sidecar.display(),
                QUIET.as_secs()
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made::Made;

    #[test]
    fn a_recording_that_is_still_written_is_left_alone() {
        let made = Made::new();
        let row = made.clock(0.0);
        made.rows(&[row]);
        let table = made.path().join("clock");
        let segment = table.join("000002.parquet");
        let sidecar = lookback_schemas::segment::sidecar(&segment);
        std::fs::write(&sidecar, "just written").expect("tests may write temporary files");
        let args = RepairArgs { recording: made.path().to_owned() };
        let error = run(&args).expect_err("it may be in use");
        assert!(error.to_string().contains("still running"), "{error}");
    }
}
