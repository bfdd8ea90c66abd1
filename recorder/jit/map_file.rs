//! The file `/tmp/perf-PID.map` as it grows: found where the process sees it, and kept beyond the process's end.

use std::fs::File;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::PathBuf;
use std::time::SystemTime;

use procfs::Current as _;
use procfs::process::Process;

/// So much is read of a map at once, in bytes.
const CHUNK: u64 = 4 << 20;

/// The file with the map of a process, from the first frame on until its end.
#[derive(Debug, Default)]
pub(super) struct MapFile {
    /// The process's `/tmp`, which outlives the process so.
    directory: Option<File>,
    name: String,
    owner: u32,
    /// When the process started, in seconds since the epoch: older maps are others'.
    started: i64,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    identity: (u64, u64),
    offset: u64,
}

/// What a map has got.
pub(super) struct Grown {
    pub(super) text: Vec<u8>,
    /// Whether it was begun anew.
    pub(super) anew: bool,
    pub(super) more: bool,
}

impl MapFile {
    /// Of a process that lives; one that is gone already has none.
    pub(super) fn of(pid: i32, executed: i64) -> MapFile {
        let mut file = MapFile::find(pid).unwrap_or_default();
        file.started = file.started.max(executed);
        file
    }

    fn find(pid: i32) -> Option<MapFile> {
        let process = Process::new(pid).ok()?;
        let status = process.status().ok()?;
        // As the process itself sees its pid.
        let own = status.nspid.and_then(|pids| pids.last().copied()).unwrap_or(pid);
        let since_boot = process.stat().ok()?.starttime / procfs::ticks_per_second();
        let started = booted()? + i64::try_from(since_boot).ok()?;
        let path = PathBuf::from(format!("/proc/{pid}/root/tmp"));
        let mut options = File::options();
        std::os::unix::fs::OpenOptionsExt::custom_flags(
            options.read(true),
            libc::O_PATH | libc::O_DIRECTORY,
        );
        Some(MapFile {
            directory: Some(options.open(path).ok()?),
            name: format!("perf-{own}.map"),
            owner: status.euid,
            started,
            open: None,
        })
    }

    /// What is there now, if it is a map that the process may have written. Nothing is waited for.
    fn look(&self) -> Option<(File, (u64, u64), u64)> {
        use std::os::fd::AsRawFd as _;
        let directory = self.directory.as_ref()?;
        let path = format!("/proc/self/fd/{}/{}", directory.as_raw_fd(), self.name);
        let mut options = File::options();
        std::os::unix::fs::OpenOptionsExt::custom_flags(
            options.read(true),
            libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY,
        );
        let file = options.open(path).ok()?;
        let metadata = file.metadata().ok()?;
        let own = metadata.uid() == self.owner || metadata.uid() == 0;
        let of_this_process = metadata.mtime() >= self.started - 1;
        (metadata.is_file() && own && of_this_process)
            .then(|| (file, (metadata.dev(), metadata.ino()), metadata.len()))
    }

    /// Reads what has come since the last time; `None` if nothing has.
    pub(super) fn grow(&mut self) -> Option<Grown> {
        let mut anew = false;
        if let Some((file, identity, length)) = self.look() {
            let known = self.open.as_ref();
            if known.is_none_or(|open| open.identity != identity || open.offset > length) {
                anew = true;
                self.open = Some(Open { file, identity, offset: 0 });
            }
        }
        // It may have been removed since it was opened.
        let open = self.open.as_mut()?;
        let length = open.file.metadata().ok()?.len();
        let new = length.saturating_sub(open.offset).min(CHUNK);
        let mut text = vec![0; usize::try_from(new).ok()?];
        let read = open.file.read_at(&mut text, open.offset).ok()?;
        text.truncate(read);
        open.offset += read as u64;
        (read > 0).then_some(Grown { text, anew, more: open.offset < length })
    }
}

/// When the machine started, in seconds since the epoch.
fn booted() -> Option<i64> {
    let uptime = procfs::Uptime::current().ok()?.uptime_duration();
    seconds(SystemTime::now().checked_sub(uptime)?)
}

/// Since the epoch.
pub(super) fn seconds(time: SystemTime) -> Option<i64> {
    i64::try_from(time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_for_what_is_no_map() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("perf-1.map");
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        let mut file = MapFile {
            directory: Some(File::open(directory.path()).unwrap()),
            name: "perf-1.map".to_owned(),
            ..MapFile::default()
        };
        file.owner = std::fs::metadata(&path).unwrap().uid();
        assert!(file.grow().is_none(), "a pipe");
        std::fs::remove_file(&path).unwrap();
        let real = directory.path().join("real");
        std::fs::write(&real, "1000 10 name\n").unwrap();
        std::os::unix::fs::symlink(&real, &path).unwrap();
        assert!(file.grow().is_none(), "a link");
        std::fs::remove_file(&path).unwrap();
        std::fs::rename(&real, &path).unwrap();
        file.started = i64::MAX;
        assert!(file.grow().is_none(), "another process's");
        file.started = 0;
        assert_eq!(file.grow().unwrap().text, b"1000 10 name\n");
        assert!(file.grow().is_none(), "nothing new");
    }
}
