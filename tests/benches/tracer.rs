//! A program that traces another until it is told to end.

#![expect(unsafe_code, reason = "it measures and drives by system calls")]

use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// Peers do not say when they are ready. This is more than any takes.
const READY: Duration = Duration::from_millis(2500);

/// One that runs.
#[derive(Debug)]
pub struct Tracer(Child);

impl Tracer {
    /// Starts it, and waits until it traces.
    ///
    /// # Errors
    /// If it ends by itself; with what it said.
    pub fn start(command: &mut Command) -> Result<Tracer> {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        std::thread::sleep(READY);
        if let Some(status) = child.try_wait()? {
            let mut said = String::new();
            child.stderr.take().context("it is piped")?.read_to_string(&mut said)?;
            bail!("it ended with {status}: {}", said.trim());
        }
        Ok(Tracer(child))
    }

    /// Ends it as Ctrl-C would.
    ///
    /// # Errors
    /// If it cannot be waited for.
    pub fn stop(mut self) -> Result<()> {
        // SAFETY: no memory is involved; the child was not waited for yet, so the pid is its.
        unsafe { libc::kill(self.0.id() as i32, libc::SIGINT) };
        self.0.wait()?;
        Ok(())
    }
}
