//! `--by`: what a report sums up by, and whether each host for itself.

use std::ffi::OsStr;
use std::marker::PhantomData;

use clap::ValueEnum;
use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::ErrorKind;

/// What stands for the host.
pub const HOST: &str = "host";

/// What to sum up by: what the report has of its own, and each host for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grouping<T> {
    /// Whether each host is summed up for itself.
    pub host: bool,
    /// What else, in this order.
    pub own: Vec<T>,
}

impl<T: Copy> Grouping<T> {
    /// What else than the host, of a report that takes one thing.
    #[must_use]
    pub fn one(by: Option<&Grouping<T>>) -> Option<T> {
        by.and_then(|by| by.own.first().copied())
    }

    /// Whether each host is summed up for itself.
    #[must_use]
    pub fn is_by_host(by: Option<&Grouping<T>>) -> bool {
        by.is_some_and(|by| by.host)
    }
}

/// Splits the value of a `--by` that takes names of the report's own, which can be anything.
#[must_use]
pub fn split_host(by: Option<&str>) -> (bool, Option<&str>) {
    match by {
        None => (false, None),
        Some(HOST) => (true, None),
        Some(by) => match by.strip_prefix("host,").or_else(|| by.strip_suffix(",host")) {
            Some(own) => (true, Some(own)),
            None => (false, Some(by)),
        },
    }
}

/// Reports that have nothing of their own to sum up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nothing {}

impl ValueEnum for Nothing {
    fn value_variants<'a>() -> &'a [Self] {
        &[]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        None
    }
}

/// Reads a [`Grouping`]: words with commas between.
#[derive(Clone, Debug)]
pub struct GroupingParser<T> {
    most: usize,
    of: PhantomData<T>,
}

/// Takes the host, and one of the report's own.
#[must_use]
pub fn host_or_one<T: ValueEnum>() -> GroupingParser<T> {
    GroupingParser { most: 1, of: PhantomData }
}

/// Takes the host, and any of the report's own.
#[must_use]
pub fn host_or_any<T: ValueEnum>() -> GroupingParser<T> {
    GroupingParser { most: usize::MAX, of: PhantomData }
}

impl<T: ValueEnum + Clone + Send + Sync + 'static> TypedValueParser for GroupingParser<T> {
    type Value = Grouping<T>;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Grouping<T>, clap::Error> {
        let fail = |why: String| clap::Error::raw(ErrorKind::InvalidValue, why).with_cmd(command);
        let option = arg.map_or_else(|| "--by".to_owned(), ToString::to_string);
        let names: Vec<String> = possible::<T>().map(|value| value.get_name().to_owned()).collect();
        let names = names.join(", ");
        let mut by = Grouping { host: false, own: Vec::new() };
        for word in value.to_string_lossy().split(',') {
            match T::from_str(word, false) {
                _ if word == HOST => by.host = true,
                Ok(own) => by.own.push(own),
                Err(_) => {
                    return Err(fail(format!(
                        "invalid value '{word}' for '{option}'\n  [possible values: {names}]\n"
                    )));
                }
            }
        }
        if by.own.len() > self.most {
            return Err(fail(format!("'{option}' takes one of these, and host: {names}\n")));
        }
        Ok(by)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(possible::<T>()))
    }
}

fn possible<T: ValueEnum + 'static>() -> impl Iterator<Item = PossibleValue> {
    let own = T::value_variants().iter().filter_map(ValueEnum::to_possible_value);
    own.chain([PossibleValue::new(HOST).help("Each host for itself")])
}
