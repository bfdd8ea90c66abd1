//! The vdso: code that the kernel maps into each process, of no file.
//!
//! All processes of one word size have the same, so what this process has is what the frames lie in. Its
//! image goes into a file in memory, which is read like any other binary.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::OnceLock;

use lookback_schemas::symbols::elf::Headers;
use procfs::process::{MMapPath, Process};

/// What the mapping is called.
pub const NAME: &str = "[vdso]";
/// It is a few pages; larger ones are not looked at, in bytes.
const LARGEST: u64 = 1 << 20;

/// The image of the vdso.
#[derive(Debug)]
pub struct Image {
    /// Its GNU build id, in hex.
    pub build_id: String,
    file: File,
}

impl Image {
    /// A path at which this process and those of the same user find it.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()))
    }
}

/// The vdso of processes of this one's word size; `None` where it has none, or none with a build id.
pub fn image() -> Option<&'static Image> {
    static IMAGE: OnceLock<Option<Image>> = OnceLock::new();
    IMAGE.get_or_init(read).as_ref()
}

fn read() -> Option<Image> {
    let maps = Process::myself().ok()?.maps().ok()?;
    let (start, end) = maps.into_iter().find(|map| map.pathname == MMapPath::Vdso)?.address;
    let size = end.checked_sub(start).filter(|size| *size <= LARGEST)?;
    let mut image = vec![0; usize::try_from(size).ok()?];
    File::open("/proc/self/mem").ok()?.read_exact_at(&mut image, start).ok()?;
    // SAFETY: the name is a C string.
    let memory = unsafe { libc::memfd_create(c"vdso".as_ptr(), libc::MFD_CLOEXEC) };
    if memory < 0 {
        return None;
    }
    // SAFETY: the descriptor is new, and nobody else's.
    let mut file = unsafe { File::from_raw_fd(memory) };
    file.write_all(&image).ok()?;
    let build_id = Headers::of(file.try_clone().ok()?).ok()?.build_id?;
    Some(Image { build_id, file })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vdso_is_a_binary_with_a_build_id() {
        let Some(image) = image() else {
            eprintln!("skipped: this process has no vdso");
            return;
        };
        let headers = Headers::read(&image.path()).expect("it is an ELF file");
        assert_eq!(headers.build_id.as_ref(), Some(&image.build_id));
        assert!(headers.code);
    }
}
