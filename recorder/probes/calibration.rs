//! What a probe costs on this machine, measured.
//!
//! The recorder makes a small function that has the instruction in question, attaches the same programs
//! to it as to the function that is to be traced, and calls it, first without and then with them. So
//! it is also seen whether the kernel really emulates the instruction. What the programs do for a process
//! that is recorded comes on top: they let the recorder's own process through.

#![expect(unsafe_code, reason = "it makes a function of bytes, and calls it")]

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result};
use libbpf_rs::Link;

use super::placement::{Kind, Place};

/// Calls in a measurement, of which the fastest of a few counts.
const CALLS: u32 = 100;
const MEASUREMENTS: u32 = 5;

/// Nanoseconds that a probe at `place` adds to a call. `attach` attaches the programs at an offset of a
/// file, in this process.
///
/// # Errors
/// If the kernel gives no memory for it, or `attach` fails.
pub fn cost(place: &Place, attach: impl FnOnce(&Path, usize) -> Result<Vec<Link>>) -> Result<i64> {
    let code = Code::map(&function_like(place))?;
    let without = code.time();
    let links = attach(&code.path(), 0)?;
    let with = code.time();
    drop(links);
    Ok(with - without)
}

/// A function that begins with an instruction like that of `place`, and changes nothing. Which register is
/// pushed, how far and on which condition it is jumped makes no difference to the kernel.
pub fn function_like(place: &Place) -> Vec<u8> {
    const RET: u8 = 0xc3;
    let mut code = match (place.kind, place.instruction.as_slice()) {
        (Kind::SingleStepped, _) => vec![0x85, 0xff], // test %edi,%edi
        (Kind::Emulated, [0x41, _]) => vec![0x41, 0x54, 0x41, 0x5c], // push %r12; pop %r12
        (Kind::Emulated, [0x50..=0x57]) => vec![0x55, 0x5d], // push %rbp; pop %rbp
        (Kind::Emulated, [0xe8, ..]) => vec![0xe8, 0, 0, 0, 0, 0x58], // call the next; pop %rax
        (Kind::Emulated, [0xeb, _]) => vec![0xeb, 0], // jmp to the next
        (Kind::Emulated, [0xe9, ..]) => vec![0xe9, 0, 0, 0, 0], // the same, in five bytes
        (Kind::Emulated, [0x70..=0x7f, _]) => vec![0x74, 0], // je to the next
        (Kind::Emulated, [0x0f, ..]) => vec![0x0f, 0x84, 0, 0, 0, 0], // the same, in six bytes
        (Kind::Emulated, _) => vec![0x90],            // nop
    };
    code.push(RET);
    code
}

/// Code that was made here, mapped from a file that is in no folder.
struct Code {
    file: File,
    address: *mut libc::c_void,
}

const PAGE: usize = 4096;

impl Code {
    fn map(code: &[u8]) -> Result<Code> {
        // SAFETY: the name is a text that ends with NUL; a descriptor that is returned is ours.
        let fd = unsafe { libc::memfd_create(c"lookback-probe".as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(std::io::Error::last_os_error()).context("cannot make a file in memory");
        }
        // SAFETY: as above.
        let mut file = unsafe { File::from_raw_fd(fd) };
        let mut page = code.to_vec();
        page.resize(PAGE, 0);
        file.write_all(&page).context("cannot write to memory")?;
        let flags = libc::PROT_READ | libc::PROT_EXEC;
        // SAFETY: a new mapping wherever the kernel likes.
        let address = unsafe {
            libc::mmap(std::ptr::null_mut(), PAGE, flags, libc::MAP_PRIVATE, file.as_raw_fd(), 0)
        };
        if address == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error()).context("cannot map code");
        }
        Ok(Code { file, address })
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    /// Nanoseconds per call.
    fn time(&self) -> i64 {
        // SAFETY: `function_like` made a function of it, that follows the C ABI and changes nothing but
        // the flags and %rax; it is mapped as long as `self` lives.
        let function: extern "C" fn() = unsafe { std::mem::transmute(self.address) };
        let measure = |_| {
            let start = Instant::now();
            for _ in 0..CALLS {
                function();
            }
            start.elapsed().as_nanos() as i64 / i64::from(CALLS)
        };
        (0..MEASUREMENTS).map(measure).min().unwrap_or(0)
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        // SAFETY: the mapping that `map` made; nobody keeps its address.
        unsafe { libc::munmap(self.address, PAGE) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probes::placement::best;

    #[test]
    fn made_functions_can_be_called() {
        for code in [
            &[0x55, 0xc3][..],
            &[0x41, 0x54, 0xc3],
            &[0x90, 0xc3],
            &[0xe8, 1, 2, 3, 4],
            &[0xe9, 1, 2, 3, 4],
            &[0xeb, 0x7f],
            &[0x74, 0x10],
            &[0x0f, 0x84, 1, 0, 0, 0],
            &[0x48, 0x85, 0xff, 0xc3],
        ] {
            let place = best(code, 1);
            let called = Code::map(&function_like(&place)).unwrap();
            assert!(called.time() < 1_000_000, "{code:x?}");
        }
    }
}
