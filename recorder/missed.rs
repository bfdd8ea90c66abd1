//! Programs that the kernel did not run, because they ran on that CPU already.
//!
//! A program that is interrupted in the middle is not entered a second time: the kernel drops the
//! event and only counts it, in the program's own `recursion_misses`. It is rare, but it is a loss.

#![expect(unsafe_code, reason = "bpf(2) for what libbpf-rs does not read")]

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use libbpf_rs::libbpf_sys::{bpf_obj_get_info_by_fd, bpf_prog_info};
use lookback_schemas::TableId;

/// A program that is watched.
#[derive(Debug)]
pub struct Watched {
    /// The table whose rows it makes.
    pub table: TableId,
    program: OwnedFd,
    /// What it had missed when it was looked at last.
    before: u64,
}

impl Watched {
    /// Begins to watch a program that was just loaded.
    ///
    /// # Errors
    /// If there is no descriptor left.
    pub fn new(table: TableId, program: impl AsFd) -> io::Result<Watched> {
        Ok(Watched { table, program: program.as_fd().try_clone_to_owned()?, before: 0 })
    }

    /// How many events it has missed since the last call. Kernels before 5.12 do not count them.
    ///
    /// # Errors
    /// If the kernel does not tell.
    pub fn missed(&mut self) -> io::Result<u64> {
        let mut info = bpf_prog_info::default();
        let mut size = size_of::<bpf_prog_info>() as u32;
        // SAFETY: `info` is valid for writing `size` bytes, and all zero is a valid request.
        let result = unsafe {
            bpf_obj_get_info_by_fd(self.program.as_raw_fd(), (&raw mut info).cast(), &raw mut size)
        };
        if result < 0 {
            return Err(io::Error::from_raw_os_error(-result));
        }
        let missed = info.recursion_misses - self.before;
        self.before = info.recursion_misses;
        Ok(missed)
    }
}
