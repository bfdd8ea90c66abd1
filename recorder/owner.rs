//! Whose the recording is: of the user who called `sudo`.
//!
//! The recorder may write anywhere, and the caller often only below their home. A file there that root creates,
//! or gives away afterwards, is a trap: the caller may have put a link in its place. So no file is ever given
//! away. All of the recording is written by threads that have the caller's rights on files, and no more
//! ([`Scribe`]): what the caller may not do, the kernel refuses to them too, and what they create is the
//! caller's. Linux has these rights for each thread, and new threads have those of the one that starts them.

#![expect(
    unsafe_code,
    reason = "the identity of one thread is changed by system calls that the C library makes for all of them"
)]

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, bail};
use crossbeam_channel::{Sender, bounded};
use lookback_schemas::manifest::Manifest;
use lookback_schemas::private;
use lookback_schemas::redact::Redaction;

use crate::privileges;

/// Whom files are created for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The user of this process.
    Ours,
    /// The user who called sudo.
    Caller {
        /// Their user id.
        uid: u32,
        /// Their first group.
        gid: u32,
    },
}

impl Owner {
    /// The user who called sudo, as it says in SUDO_UID and SUDO_GID, if this process is root.
    pub fn find() -> Owner {
        let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
        // SAFETY: getuid needs nothing.
        let root = unsafe { libc::getuid() } == 0;
        match (number("SUDO_UID"), number("SUDO_GID")) {
            (Some(uid), Some(gid)) if root && uid != 0 => Owner::Caller { uid, gid },
            (_, _) => Owner::Ours,
        }
    }

    /// Gives the calling thread the owner's rights on files, without groups beyond the first.
    fn assume(self) -> Result<()> {
        let Owner::Caller { uid, gid } = self else { return Ok(()) };
        /// No id: only asks.
        const NONE: u32 = u32::MAX;
        // SAFETY: the list of groups is empty, so nothing is read; the other calls take numbers. Raw, since
        // that of libc changes all threads.
        let groups = unsafe { libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<u32>()) };
        if groups != 0 {
            return Err(std::io::Error::last_os_error()).context("cannot leave root's groups");
        }
        // SAFETY: these take numbers. They do not tell whether they succeeded, so they are asked.
        let now = unsafe {
            libc::setfsgid(gid);
            libc::setfsuid(uid);
            [libc::setfsuid(NONE), libc::setfsgid(NONE)]
        };
        if now != [uid as i32, gid as i32] {
            bail!("cannot create files as user {uid}, group {gid}, who called sudo");
        }
        Ok(())
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// The thread that creates what is the owner's.
#[derive(Debug)]
pub struct Scribe {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    /// What the manifest is not to tell.
    redaction: Option<Arc<Redaction>>,
}

impl Scribe {
    /// Starts it.
    ///
    /// # Errors
    /// If it cannot have the owner's rights.
    pub fn start(owner: Owner, redaction: Option<Arc<Redaction>>) -> Result<Scribe> {
        let (jobs, waiting) = bounded::<Job>(0);
        let (ready, begun) = bounded(1);
        let thread = std::thread::Builder::new()
            .name("scribe".to_owned())
            .spawn(move || {
                let keep = match owner {
                    Owner::Ours => privileges::WRITING,
                    Owner::Caller { .. } => &[],
                };
                let began = owner.assume().and_then(|()| privileges::keep(keep));
                let failed = began.is_err();
                // Whoever started it waits for this.
                let _ = ready.send(began);
                if !failed {
                    waiting.iter().for_each(|job| job());
                }
            })
            .context("cannot start a thread")?;
        begun.recv().context("a thread ended too soon")??;
        Ok(Scribe { jobs: Some(jobs), thread: Some(thread), redaction })
    }

    /// Has it do something, and waits for that. Threads that are started there have its rights too.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = bounded(1);
        let job = move || {
            // Whoever asked waits for this.
            let _ = done.send(job());
        };
        let jobs = self.jobs.as_ref().expect("only dropping takes it");
        jobs.send(Box::new(job)).expect("it takes jobs until this is dropped");
        result.recv().expect("a job that panics is a bug, and was told")
    }

    /// Writes the manifest.
    ///
    /// # Errors
    /// As [`Manifest::write`].
    pub fn manifest(&self, manifest: &Manifest, directory: &Path, durable: bool) -> Result<()> {
        let manifest = match &self.redaction {
            Some(redaction) => redaction.manifest(manifest.clone()),
            None => manifest.clone(),
        };
        let directory = directory.to_owned();
        Ok(self.run(move || manifest.write(&directory, durable))?)
    }

    /// Removes a recording that came to nothing, as far as that can be done.
    pub fn remove(&self, directory: &Path) {
        let directory = directory.to_owned();
        let _ = self.run(move || std::fs::remove_dir_all(directory));
    }

    /// What is not to be told.
    pub fn redaction(&self) -> Option<Arc<Redaction>> {
        self.redaction.clone()
    }
}

impl Drop for Scribe {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // It panicked where a job did, which was told then.
            let _ = thread.join();
        }
    }
}

/// Creates the directory of a recording, for its owner alone. Where nobody but root can write it is root's.
///
/// # Errors
/// If it cannot be created, or the caller of sudo may not.
pub fn create(directory: &Path, redaction: Option<Arc<Redaction>>) -> Result<Scribe> {
    let owner = Owner::find();
    let scribe = Scribe::start(owner, redaction.clone())?;
    let make = |scribe: &Scribe| {
        let directory = directory.to_owned();
        scribe.run(move || private::create_folder(&directory))
    };
    let error = match (make(&scribe), owner) {
        (Ok(()), _) => return Ok(scribe),
        (Err(error), Owner::Caller { uid, .. })
            if error.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            if only_root_writes_above(directory) {
                eprintln!(
                    "record: only root can write there, so {} is root's, and not user {uid}'s",
                    directory.display()
                );
                let scribe = Scribe::start(Owner::Ours, redaction)?;
                return match make(&scribe) {
                    Ok(()) => Ok(scribe),
                    Err(error) => Err(failed(directory, error)),
                };
            }
            let why = failed(directory, error);
            return Err(why.context(format!(
                "the recording is to be of user {uid}, who called sudo, and they may not write there; \
                 choose another directory with --output"
            )));
        }
        (Err(error), Owner::Ours | Owner::Caller { .. }) => error,
    };
    Err(failed(directory, error))
}

fn failed(directory: &Path, error: std::io::Error) -> anyhow::Error {
    anyhow::Error::new(error).context(format!("cannot create {}", directory.display()))
}

/// Whether the way to the directory is of folders, without links, that root alone can change: then nobody
/// else can have it lead elsewhere.
fn only_root_writes_above(directory: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    const OTHERS_WRITE: u32 = 0o022;
    let Ok(absolute) = std::path::absolute(directory) else { return false };
    if absolute.components().any(|part| part == std::path::Component::ParentDir) {
        return false;
    }
    absolute.ancestors().skip(1).all(|above| {
        above
            .symlink_metadata()
            .is_ok_and(|data| data.is_dir() && data.uid() == 0 && data.mode() & OTHERS_WRITE == 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_scribe_does_is_waited_for_and_its_threads_are_like_it() {
        let scribe = Scribe::start(Owner::Ours, None).expect("it takes nothing");
        let one = scribe.run(|| std::thread::spawn(|| 7).join().expect("it does not panic"));
        assert_eq!(one, 7);
    }

    #[test]
    fn a_directory_that_others_can_write_is_not_roots_alone() {
        assert!(!only_root_writes_above(Path::new("/tmp/x")));
        assert!(!only_root_writes_above(Path::new("/usr/../tmp/x")));
        let directory = tempfile::tempdir().expect("tests may write temporary files");
        assert!(!only_root_writes_above(&directory.path().join("x")));
    }
}
