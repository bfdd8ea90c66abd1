//! What reports on calls that name files share: which paths to look at, and how to show them.
//!
//! A process names a file by a path that may be relative: to its working directory, or to a
//! directory that it has open. The recording has the path as it was given and, for a relative one,
//! that directory, so that both forms can be shown.

use std::borrow::Cow;

use clap::{Args, ValueEnum};

use crate::cli::Source;
use crate::hosts::Reach;
use crate::render::{Column, Output, Value};
use crate::tally::{Calls, Groups, Key, Named, process_columns, process_values};

/// Which paths to look at, and how to show them.
#[derive(Args, Clone, Debug, Default)]
pub struct PathArgs {
    /// Only paths with this text in them; relative ones are joined to their directory before
    #[arg(long, value_name = "TEXT")]
    pub path: Option<String>,
    /// Show relative paths joined to the directory that they begin at
    #[arg(long)]
    pub full: bool,
}

impl PathArgs {
    /// Whether one of the paths is to be looked at.
    #[must_use]
    pub fn admits(&self, paths: &[Path<'_>]) -> bool {
        self.path.as_ref().is_none_or(|text| {
            let mut whole = paths.iter().filter_map(|path| path.joined());
            whole.any(|path| path.contains(text.as_str()))
        })
    }

    /// The path as it is to be shown.
    #[must_use]
    pub fn show<'a>(&self, path: Path<'a>) -> Option<Cow<'a, str>> {
        if self.full { path.joined() } else { path.given.map(Cow::Borrowed) }
    }
}

/// A path as a row has it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Path<'a> {
    /// As it was given; `None` where it could not be read.
    pub given: Option<&'a str>,
    /// The directory that it begins at, where it is relative and that is known.
    pub dir: Option<&'a str>,
}

impl<'a> Path<'a> {
    /// The path from the root on, as far as that is known.
    #[must_use]
    pub fn joined(self) -> Option<Cow<'a, str>> {
        let given = self.given?;
        match self.dir {
            Some(dir) if given.is_empty() => Some(Cow::Borrowed(dir)),
            Some(dir) if !given.starts_with('/') => {
                Some(Cow::Owned(format!("{}/{given}", dir.trim_end_matches('/'))))
            }
            Some(_) | None => Some(Cow::Borrowed(given)),
        }
    }
}

/// What to sum up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// By process.
    Process,
    /// By path.
    Path,
}

/// Calls summed up by process or by path.
pub enum Sums {
    /// By pid.
    Process(Groups<i32, Named<Calls>>),
    /// By path.
    Path(Groups<Key, Calls>),
}

impl Sums {
    /// Prints them, the most calls first.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub fn print(self, source: &Source, output: &mut Output) -> anyhow::Result<()> {
        let count = Column::new("count", "COUNT").right().wide(8);
        let failed = Column::new("failed", "FAILED").right().wide(7);
        let time = Column::new("time", "TIME").right().wide(9);
        let values = |calls: Calls| {
            let counts = [calls.count, calls.failed].map(Value::count);
            counts.into_iter().chain([Value::Duration(calls.time)])
        };
        match self {
            Sums::Process(sums) => {
                let Some(sums) = source.add_up(Reach::Boot, sums) else { return Ok(()) };
                let mut columns = process_columns().to_vec();
                columns.extend([count, failed, time]);
                let mut rows = output.rows(columns);
                for (pid, calls) in sums.ranked(None, |calls| calls.sum.count) {
                    let mut row = process_values(pid, calls.name.get()).to_vec();
                    row.extend(values(calls.sum));
                    rows.row(&row)?;
                }
                rows.end()
            }
            Sums::Path(sums) => {
                let Some(sums) = source.add_up(Reach::Everywhere, sums) else { return Ok(()) };
                let path = Column::new("path", "PATH");
                let mut rows = output.rows(vec![count, failed, time, path]);
                for (path, calls) in sums.ranked(None, |calls| calls.count) {
                    let row: Vec<Value> = values(calls).chain([path.value()]).collect();
                    rows.row(&row)?;
                }
                rows.end()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path<'a>(given: &'a str, dir: Option<&'a str>) -> Path<'a> {
        Path { given: Some(given), dir }
    }

    #[test]
    fn relative_paths_are_joined() {
        let joined = |given, dir| path(given, dir).joined().map(Cow::into_owned);
        assert_eq!(joined("a/b", Some("/srv")).as_deref(), Some("/srv/a/b"));
        assert_eq!(joined("a", Some("/")).as_deref(), Some("/a"));
        assert_eq!(joined("a", None).as_deref(), Some("a"));
        assert_eq!(joined("/a", Some("/srv")).as_deref(), Some("/a"));
        assert_eq!(joined("", Some("/srv")).as_deref(), Some("/srv"), "AT_EMPTY_PATH");
        assert_eq!(Path::default().joined(), None);
    }

    #[test]
    fn paths_are_chosen_by_their_joined_form() {
        let args = PathArgs { path: Some("srv/a".to_owned()), full: false };
        assert!(args.admits(&[path("a", Some("/srv"))]));
        assert!(args.admits(&[Path::default(), path("/srv/abc", None)]));
        assert!(!args.admits(&[path("a", None)]) && !args.admits(&[Path::default()]));
        assert_eq!(args.show(path("a", Some("/srv"))).as_deref(), Some("a"));
    }
}
