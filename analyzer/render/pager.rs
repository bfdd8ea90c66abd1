//! Long output goes through a pager, as git's does: only on a terminal, through `$LOOKBACK_PAGER`, `$PAGER` or `less`,
//! which ends by itself where all fits on one screen. An empty command, or `cat`, is none.

use std::io::{self, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

/// Writes into a pager, which starts with the first bytes. When it is dropped it waits until the reader has
/// read enough.
pub struct Pager {
    command: Command,
    child: Option<Child>,
}

/// What shell command pages, where one is wanted. `variable` gives the environment's.
fn chosen(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    if variable("TERM").is_none_or(|terminal| terminal == "dumb") {
        return None;
    }
    let pager = variable("LOOKBACK_PAGER").or_else(|| variable("PAGER"));
    let pager = pager.unwrap_or_else(|| "less".to_owned());
    (!["", "cat"].contains(&pager.trim())).then_some(pager)
}

impl Pager {
    /// The pager of this environment, if there is one.
    pub fn find() -> Option<Pager> {
        let pager = chosen(|name| std::env::var(name).ok())?;
        // What is not there by default is not missed.
        let there = |command: &str| {
            let paths = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&paths).any(|path| path.join(command).is_file())
        };
        if pager == "less" && !there("less") {
            return None;
        }
        let mut command = Command::new("sh");
        command.arg("-c").arg(pager).stdin(Stdio::piped());
        // End if it fits, show colours, leave the screen as it is: git's choice, unless the user has one.
        if std::env::var_os("LESS").is_none() {
            command.env("LESS", "FRX");
        }
        Some(Pager { command, child: None })
    }
}

impl Write for Pager {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.child.is_none() {
            // Ctrl-C is for the pager now; ending before it would leave the terminal to two readers.
            let _ = signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::default());
            self.child = Some(self.command.spawn()?);
        }
        match self.child.as_mut().and_then(|child| child.stdin.as_mut()) {
            Some(stdin) => stdin.write(bytes),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Pager {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            drop(child.stdin.take());
            let _ = child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_chooses_as_it_does_for_git() {
        let pager = |variables: &[(&str, &str)]| {
            chosen(|name| {
                let known = variables.iter().chain(&[("TERM", "xterm")]);
                known
                    .clone()
                    .find(|(known, _)| *known == name)
                    .map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(pager(&[]).as_deref(), Some("less"));
        assert_eq!(pager(&[("PAGER", "more")]).as_deref(), Some("more"));
        let both = [("PAGER", "more"), ("LOOKBACK_PAGER", "less -S")];
        assert_eq!(pager(&both).as_deref(), Some("less -S"));
        assert_eq!(pager(&[("PAGER", "more"), ("LOOKBACK_PAGER", "")]), None);
        assert_eq!(pager(&[("PAGER", "cat")]), None);
        assert_eq!(pager(&[("TERM", "dumb")]), None);
    }
}
