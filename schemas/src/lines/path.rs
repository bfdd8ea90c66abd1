//! Paths of files, as the rows of several tables have them.

use std::borrow::Cow;

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

    /// The path as it was given, or in `full` from the root on.
    #[must_use]
    pub fn shown(self, full: bool) -> Option<Cow<'a, str>> {
        if full { self.joined() } else { self.given.map(Cow::Borrowed) }
    }
}
