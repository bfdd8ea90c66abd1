//! A report on one of several recordings, as the report on all of them sees it.
//!
//! It runs in a thread of its own and prints nothing. What it would print goes through a channel that holds one
//! message, so that it gets no further than what is taken from it.

use std::any::Any;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};

use super::clocks::Aligned;
use crate::losses::Heading;
use crate::render::{Column, Value, escaped};
use crate::tally::Sum;

/// What a report on one recording says.
pub(crate) enum Said {
    /// What it covers.
    Heading(Heading),
    /// What a reader must know.
    Notes(Vec<String>),
    /// A line of text.
    Line(String),
    /// What is neither rows nor lines.
    Bytes(Vec<u8>),
    /// Rows begin.
    Begin(Begin),
    /// Some of them.
    Rows(Vec<Vec<Value>>),
    /// Rows end.
    End,
}

/// The rows that begin.
pub(crate) struct Begin {
    pub columns: Vec<Column>,
    /// By what they are in order, if they are.
    pub order: Option<Order>,
    /// What they are of.
    pub reach: Reach,
}

/// The order of rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    /// The column that has their moments.
    pub column: &'static str,
    /// Only so many, of all recordings together.
    pub most: Option<u64>,
}

/// How far sums go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// What has the same name on every host, such as a system call or a path.
    Everywhere,
    /// What is a host's own, such as its CPUs.
    Host,
    /// What a host gives out anew after it has booted, such as pids.
    Boot,
    /// What only a recording knows, such as ids of stacks.
    Recording,
}

/// Whether a recording is the last one of its kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Last {
    pub everywhere: bool,
    pub host: bool,
    pub boot: bool,
}

/// The sums of the recordings so far.
pub(super) type Sums = Arc<Mutex<Option<Box<dyn Any + Send>>>>;

/// Rows go in bundles of so many.
const BUNDLE: usize = 64;

/// More hosts than this are not named in a title.
const MOST_NAMES: usize = 5;

/// The place of one recording in a report on several.
#[derive(Clone)]
pub(crate) struct Part {
    /// The host's name.
    pub(super) host: String,
    /// The names of all hosts.
    pub(super) hosts: Arc<[String]>,
    /// How its times become those of all.
    pub(super) aligned: Aligned,
    pub(super) send: SyncSender<Said>,
    pub(super) by_host: bool,
    pub(super) last: Last,
    pub(super) sums: Sums,
    /// What the rows are of.
    pub(super) reach: Arc<Mutex<Reach>>,
    pub(super) bundle: Vec<Vec<Value>>,
}

/// Nobody wants to know more: the report has its last row, or cannot be written.
#[derive(Debug)]
pub(super) struct Enough;

impl std::fmt::Display for Enough {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the report on all recordings has ended")
    }
}

impl std::error::Error for Enough {}

impl Part {
    /// The host's name.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The names of all hosts, in a sentence; of many, how many they are.
    pub(crate) fn hosts(&self) -> String {
        match self.hosts.as_ref() {
            hosts if hosts.len() <= MOST_NAMES => hosts.join(", "),
            hosts => format!("{} hosts", hosts.len()),
        }
    }

    /// Hands this on.
    ///
    /// # Errors
    /// If nobody wants it any more.
    pub(crate) fn say(&self, said: Said) -> anyhow::Result<()> {
        self.send.send(said).map_err(|_| anyhow::Error::new(Enough))
    }

    /// Begins rows.
    pub(crate) fn begin(&self, columns: Vec<Column>, order: Option<Order>) {
        let reach = *self.reach.lock().unwrap_or_else(PoisonError::into_inner);
        // If nobody wants them, the first row says so.
        let _ = self.say(Said::Begin(Begin { columns, order, reach }));
    }

    /// Hands on a row, with its moments in the time of all.
    ///
    /// # Errors
    /// If nobody wants it any more.
    pub(crate) fn row(&mut self, values: &[Value]) -> anyhow::Result<()> {
        let shared = |value: &Value| match value {
            Value::Time(ts) => Value::Time(self.aligned.clock.shared(*ts)),
            Value::Clock(ts) => Value::Clock(self.aligned.clock.shared(*ts)),
            Value::Null
            | Value::Int(_)
            | Value::Real(_)
            | Value::Text(_)
            | Value::Texts(_)
            | Value::Ints(_)
            | Value::Duration(_)
            | Value::Seconds(_)
            | Value::Millis(_)
            | Value::Micros(_)
            | Value::Bytes(_)
            | Value::Kibibytes(_)
            | Value::Flag(_)
            | Value::Hex(_)
            | Value::Named(_, _) => value.clone(),
        };
        self.bundle.push(values.iter().map(shared).collect());
        if self.bundle.len() < BUNDLE { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        match std::mem::take(&mut self.bundle) {
            rows if rows.is_empty() => Ok(()),
            rows => self.say(Said::Rows(rows)),
        }
    }

    /// Ends the rows.
    ///
    /// # Errors
    /// If nobody wants them any more.
    pub(crate) fn end(&mut self) -> anyhow::Result<()> {
        self.flush()?;
        self.say(Said::End)
    }

    /// The moment, in the time of all.
    pub(crate) fn shared(&self, ts: i64) -> i64 {
        self.aligned.clock.shared(ts)
    }

    /// The text with the host before it.
    pub(crate) fn of_host(&self, text: &str) -> String {
        format!("{}: {text}", escaped(&self.host))
    }

    /// The heading, with the host before each line and what its clocks say.
    pub(crate) fn heading(&self, heading: Heading) -> Heading {
        Heading {
            covers: self.of_host(&format!("{}; {}", heading.covers, self.aligned.exactness)),
            warnings: heading.warnings.iter().map(|warning| self.of_host(warning)).collect(),
            remarks: self.aligned.remarks.iter().map(|remark| self.of_host(remark)).collect(),
        }
    }

    /// See [`Source::add_up`](crate::cli::Source::add_up).
    pub(crate) fn add_up<S: Sum + Send + 'static>(&self, reach: Reach, sums: S) -> Option<S> {
        let reach = if self.by_host { reach.max(Reach::Host) } else { reach };
        *self.reach.lock().unwrap_or_else(PoisonError::into_inner) = reach;
        let mut all = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        let sums = match all.take().map(|sums| sums.downcast::<S>()) {
            None => sums,
            Some(Ok(mut all)) => {
                all.merge(sums);
                *all
            }
            Some(Err(_)) => unreachable!("a report adds up sums of one type, once"),
        };
        let done = match reach {
            Reach::Everywhere => self.last.everywhere,
            Reach::Host => self.last.host,
            Reach::Boot => self.last.boot,
            Reach::Recording => true,
        };
        if done {
            return Some(sums);
        }
        *all = Some(Box::new(sums));
        None
    }
}
