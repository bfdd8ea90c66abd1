//! The files that processes have mapped as code, held open.
//!
//! A path says little: the process may see another root, and by the time at which names are looked for the
//! file may have been replaced or deleted. So a file is opened when it is first seen to be mapped, and stays
//! open: it is then the same file, whatever happens to its name, until the recording ends. What tells files
//! apart is the build id, which the kernel itself reads where it can (`PERF_RECORD_MISC_MMAP_BUILD_ID`, since
//! 5.12, 88a16a130933), or else device and inode.

#![expect(
    unsafe_code,
    reason = "`memfd_create` and `fstatfs` are system calls that no crate here wraps"
)]

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object::Object as _;
use object::ReadCache;

/// The name of the code that the kernel gives to every process.
pub const VDSO: &str = "[vdso]";

/// What tells files apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// Its build id.
    BuildId(Vec<u8>),
    /// Device (major, minor) and inode.
    Inode(u32, u32, u64),
    /// The kernel's own code for processes.
    Vdso,
}

/// A file that is or was mapped as code.
#[derive(Debug)]
pub struct Binary {
    /// Its path as the first process saw it that mapped it.
    pub shown: String,
    /// The GNU build id; `None` where it has none, or is no ELF file.
    pub build_id: Option<Vec<u8>>,
    /// The file; `None` where it could not be opened any more.
    pub file: Option<File>,
}

impl Binary {
    /// A path at which this process and its children find the file as long as it is open.
    pub fn path(&self) -> Option<PathBuf> {
        let descriptor = self.file.as_ref()?.as_raw_fd();
        Some(PathBuf::from(format!("/proc/{}/fd/{descriptor}", std::process::id())))
    }
}

/// A mapping of a file.
#[derive(Clone, Copy, Debug)]
pub struct Mapped<'a> {
    /// Whose it is.
    pub pid: i32,
    /// Its first address and the one behind its last.
    pub addresses: (u64, u64),
    /// The file's path, as the process sees it.
    pub path: &'a str,
}

/// All of them.
#[derive(Default)]
pub struct Binaries {
    known: HashMap<Identity, Arc<Binary>>,
    open: usize,
}

impl fmt::Debug for Binaries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Binaries").field("known", &self.known.len()).finish_non_exhaustive()
    }
}

/// As many are held open, as far as this process may have as many files.
const MOST_OPEN: usize = 8192;

impl Binaries {
    /// The file of a mapping, which is opened if it is new.
    pub fn of(&mut self, identity: &Identity, mapped: Mapped<'_>) -> Arc<Binary> {
        if let Some(known) = self.known.get(identity)
            && (known.file.is_some() || self.open >= MOST_OPEN)
        {
            return Arc::clone(known);
        }
        let file = if self.open < MOST_OPEN { open(identity, mapped) } else { None };
        self.open += usize::from(file.is_some());
        let build_id = match (identity, &file) {
            (Identity::BuildId(id), _) => Some(id.clone()),
            (Identity::Inode(..) | Identity::Vdso, Some(file)) => build_id(file),
            (Identity::Inode(..) | Identity::Vdso, None) => None,
        };
        let binary = Arc::new(Binary { shown: mapped.path.to_owned(), build_id, file });
        self.known.insert(identity.clone(), Arc::clone(&binary));
        binary
    }

    /// The file at `path`, which is going to be mapped.
    pub fn at(&mut self, path: &Path) -> Option<Arc<Binary>> {
        let file = open_regular(path)?;
        let data = file.metadata().ok()?;
        let (major, minor) = (libc::major(data.dev()), libc::minor(data.dev()));
        let identity = match build_id(&file) {
            Some(id) => Identity::BuildId(id),
            None => Identity::Inode(major, minor, data.ino()),
        };
        // No process has it yet.
        let mapped = Mapped { pid: 0, addresses: (0, 0), path: path.to_str()? };
        Some(self.of(&identity, mapped))
    }

    /// Closes those that nobody refers to.
    pub fn let_go(&mut self) {
        let open = &mut self.open;
        self.known.retain(|_, binary| {
            let stays = Arc::strong_count(binary) > 1;
            *open -= usize::from(!stays && binary.file.is_some());
            stays
        });
    }

    /// All that were seen, but for those that were let go.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Binary>> {
        self.known.values()
    }
}

/// The build id of an ELF file.
pub fn build_id(file: &File) -> Option<Vec<u8>> {
    let cache = ReadCache::new(file);
    let elf = object::File::parse(&cache).ok()?;
    elf.build_id().ok().flatten().map(<[u8]>::to_vec)
}

/// Opens the file of a mapping: the mapping itself leads to it while the process lives, and then its path
/// may, in the root of the process or in ours.
fn open(identity: &Identity, mapped: Mapped<'_>) -> Option<File> {
    if *identity == Identity::Vdso {
        return vdso();
    }
    let Mapped { pid, addresses: (start, end), path } = mapped;
    let by_map = PathBuf::from(format!("/proc/{pid}/map_files/{start:x}-{end:x}"));
    let below = path.strip_prefix('/').unwrap_or(path);
    let by_root = Path::new("/proc").join(pid.to_string()).join("root").join(below);
    // The map itself may have changed since the kernel told a build id; but without one it is what was read.
    let trusted = matches!(identity, Identity::Inode(..));
    let by_map = open_regular(&by_map).filter(|file| trusted || is(identity, file));
    by_map.or_else(|| {
        let ways = [by_root, PathBuf::from(path)];
        ways.iter().find_map(|path| open_regular(path).filter(|file| is(identity, file)))
    })
}

/// Opens a regular file without waiting for it: the path may be anything by now.
fn open_regular(path: &Path) -> Option<File> {
    let mut options = File::options();
    let file =
        options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path).ok()?;
    file.metadata().is_ok_and(|data| data.is_file()).then_some(file)
}

fn is(identity: &Identity, file: &File) -> bool {
    match identity {
        Identity::BuildId(id) => build_id(file).as_ref() == Some(id),
        Identity::Inode(major, minor, inode) => file.metadata().is_ok_and(|data| {
            let device = (libc::major(data.dev()), libc::minor(data.dev()));
            data.ino() == *inode && (device == (*major, *minor) || is_on_overlay(file))
        }),
        Identity::Vdso => false,
    }
}

/// Whether the file system puts others above each other, as those of containers do: of a mapping the kernel then
/// tells the device of the one that has the file (`/proc/PID/maps` before 6.8, 3efdc78fdc21), and nobody else
/// does.
fn is_on_overlay(file: &File) -> bool {
    let mut told = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the pointer is to as much memory as the call writes.
    if unsafe { libc::fstatfs(file.as_raw_fd(), told.as_mut_ptr()) } != 0 {
        return false;
    }
    // SAFETY: the call succeeded, so it has written all of it.
    unsafe { told.assume_init() }.f_type == libc::OVERLAYFS_SUPER_MAGIC
}

/// The kernel's code for processes, as this one has it: every process of 64 bits has the same.
fn vdso() -> Option<File> {
    let maps = procfs::process::Process::myself().ok()?.maps().ok()?;
    let vdso = maps.into_iter().find(|map| map.pathname == procfs::process::MMapPath::Vdso)?;
    let (start, end) = vdso.address;
    let mut bytes = vec![0; (end - start) as usize];
    File::open("/proc/self/mem").ok()?.read_exact_at(&mut bytes, start).ok()?;
    let file = tempfile()?;
    file.write_all_at(&bytes, 0).ok()?;
    Some(file)
}

/// A file in memory.
fn tempfile() -> Option<File> {
    use std::os::fd::{FromRawFd as _, OwnedFd};
    // SAFETY: the name is a string that ends with NUL.
    let fd = unsafe { libc::memfd_create(c"vdso".as_ptr(), libc::MFD_CLOEXEC) };
    // SAFETY: the call succeeded, so this is a new descriptor that nobody else owns.
    (fd >= 0).then(|| File::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(path: &str) -> Mapped<'_> {
        Mapped { pid: std::process::id() as i32, addresses: (0, 0), path }
    }

    #[test]
    fn a_file_stays_what_it_was_when_its_name_is_anothers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        std::fs::copy(std::env::current_exe().unwrap(), &path).unwrap();
        let data = std::fs::metadata(&path).unwrap();
        let (major, minor) = (libc::major(data.dev()), libc::minor(data.dev()));
        let identity = Identity::Inode(major, minor, data.ino());
        let shown = path.display().to_string();
        let mut binaries = Binaries::default();
        let own = build_id(&File::open(&path).unwrap());
        assert!(own.is_some());
        assert_eq!(binaries.of(&identity, mapped(&shown)).build_id, own);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "something else").unwrap();
        let still = binaries.of(&identity, mapped(&shown));
        assert_eq!(build_id(&File::open(still.path().unwrap()).unwrap()), own);
        let other = Identity::BuildId(vec![1; 20]);
        assert!(binaries.of(&other, mapped(&shown)).file.is_none(), "it has another build id");
    }

    #[test]
    fn a_file_on_an_overlay_is_known_by_the_device_below_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["above", "below", "both"] {
            std::fs::create_dir(at(name)).unwrap();
        }
        let below = at("below").join("program");
        std::fs::write(&below, "some code").unwrap();
        std::fs::write(at("below").join("other"), "other code").unwrap();
        let identity = |path: &Path| {
            let data = std::fs::metadata(path).unwrap();
            Identity::Inode(libc::major(data.dev()), libc::minor(data.dev()), data.ino())
        };
        let layers = format!("lowerdir={}:{}", at("above").display(), at("below").display());
        // Mounts of a thread that has its own are gone with it.
        let seen = std::thread::scope(|scope| {
            let mounted = || {
                let both = at("both").join("program");
                mount_overlay(&at("both"), &layers).then(|| File::open(both).unwrap())
            };
            scope.spawn(mounted).join().unwrap()
        });
        let Some(file) = seen else {
            eprintln!("skipped: this process cannot mount an overlay");
            return;
        };
        let data = file.metadata().unwrap();
        assert_ne!(data.dev(), std::fs::metadata(&below).unwrap().dev());
        assert!(is(&identity(&below), &file));
        assert!(!is(&identity(&at("below").join("other")), &file));
        assert!(!is(&identity(&below), &File::open(at("below").join("other")).unwrap()));
    }

    fn mount_overlay(at: &Path, options: &str) -> bool {
        let text = |text: &str| std::ffi::CString::new(text).unwrap();
        let (at, options, overlay) = (text(at.to_str().unwrap()), text(options), text("overlay"));
        let (of, none) = (overlay.as_ptr(), std::ptr::null());
        // SAFETY: each pointer is null or to a string that lives until the calls are over.
        unsafe {
            libc::unshare(libc::CLONE_NEWNS) == 0
                && libc::mount(
                    none,
                    c"/".as_ptr(),
                    none,
                    libc::MS_REC | libc::MS_PRIVATE,
                    none.cast(),
                ) == 0
                && libc::mount(of, at.as_ptr(), of, 0, options.as_ptr().cast()) == 0
        }
    }

    #[test]
    fn the_kernels_own_code_is_a_file_too() {
        let vdso = Binaries::default().of(&Identity::Vdso, mapped(VDSO));
        assert!(vdso.build_id.is_some(), "{vdso:?}");
    }
}
