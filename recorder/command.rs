//! The command that `record -- COMMAND` starts.
//!
//! It must not run before the tracers are attached, and they cannot be told its pid before it
//! exists. So the new process waits, between fork and exec, until it is let go.

#![expect(unsafe_code, reason = "between fork and exec there is nothing but system calls")]

use std::io::{PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, ExitStatus};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};

use crate::service;

/// A process that waits to become the command.
#[derive(Debug)]
pub struct Waiting {
    /// Its pid.
    pub pid: i32,
    gate: PipeWriter,
    thread: JoinHandle<std::io::Result<Child>>,
    name: String,
}

/// The command, running.
#[derive(Debug)]
pub struct Running {
    child: Child,
}

impl Waiting {
    /// Starts a process that waits. If this is dropped without [`go`](Waiting::go), it ends.
    ///
    /// # Errors
    /// If there is no room for another process.
    pub fn start(command: &[String]) -> Result<Waiting> {
        let (pid_reader, pid_writer) = std::io::pipe().context("cannot make a pipe")?;
        let (gate_reader, gate) = std::io::pipe().context("cannot make a pipe")?;
        let name = command[0].clone();
        let mut process = std::process::Command::new(&command[0]);
        process.args(&command[1..]);
        // What a service manager has told this process is not for the command.
        service::VARIABLES.iter().for_each(|name| {
            process.env_remove(name);
        });
        let gate_fd = gate.as_raw_fd();
        // SAFETY: between fork and exec only async-signal-safe calls are made: read, write, close,
        // getpid.
        unsafe { process.pre_exec(move || wait(&pid_writer, &gate_reader, gate_fd)) };
        // `spawn` returns when the exec happened or failed, so it needs a thread of its own.
        let thread = std::thread::spawn(move || process.spawn());
        let mut pid = [0; 4];
        (&pid_reader).read_exact(&mut pid).context("cannot start the command's process")?;
        Ok(Waiting { pid: i32::from_ne_bytes(pid), gate, thread, name })
    }

    /// Lets it become the command.
    ///
    /// # Errors
    /// If there is no such command.
    pub fn go(mut self) -> Result<Running> {
        self.gate.write_all(b"!").context("the command's process is gone")?;
        let child = match self.thread.join() {
            Ok(child) => child.with_context(|| format!("cannot run `{}`", self.name))?,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        Ok(Running { child })
    }
}

/// Runs in the new process: tells its pid, then waits for the gate.
fn wait(pid: &PipeWriter, gate: &PipeReader, own_end: i32) -> std::io::Result<()> {
    let mut pid = pid;
    let mut gate = gate;
    // SAFETY: this process's copy of the gate's writing end; only the recorder's may keep the pipe
    // open, or this process would outlive a recorder that was killed.
    unsafe { libc::close(own_end) };
    let told = pid.write_all(&std::process::id().to_ne_bytes());
    if told.and_then(|()| gate.read_exact(&mut [0])).is_err() {
        // The recorder is gone. An error would be for it, and the standard library aborts over it.
        // SAFETY: no memory is involved.
        unsafe { libc::_exit(255) };
    }
    Ok(())
}

impl Running {
    /// Its status, if it ended.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().context("cannot wait for the command")
    }

    /// Passes on a signal that the recorder got.
    pub fn signal(&self, signal: i32) {
        // SAFETY: no memory is involved. The child was not waited for yet, so the pid is still its.
        unsafe { libc::kill(self.child.id() as i32, signal) };
    }
}

/// The command's process, which stops when it calls exec. When this is dropped it goes on: a signal to do
/// so also takes back one to stop that has not had its effect yet.
#[derive(Debug)]
pub struct Stopped(pub i32);

impl Drop for Stopped {
    fn drop(&mut self) {
        // SAFETY: no memory is involved. It is our child, and was not waited for.
        unsafe { libc::kill(self.0, libc::SIGCONT) };
    }
}

/// The status that a shell would give.
pub fn status_code(status: ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => code as u8,
        (None, Some(signal)) => 128 + signal as u8,
        (None, None) => 255,
    }
}
