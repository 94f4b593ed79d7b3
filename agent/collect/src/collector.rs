//! What a collector is, and how one run of it can end.

use std::borrow::Cow;
use std::error::Error;
use std::io;
use std::time::Duration;

use labstat_model::Batch;
use labstat_parse::shown;

use crate::host::{Host, RunError};
use crate::options::Options;

/// One source of samples.
///
/// A collector may keep what it needs from one run to the next (the last counters, buffers, the
/// time of the last scan); it keeps no open file and no time of its own.
pub trait Collector: Send {
    /// Reads the source once and adds its samples to `out`.
    ///
    /// On an error `out` may hold some of the samples: the caller drops all of them.
    fn collect(&mut self, host: &dyn Host, out: &mut Batch) -> Result<Status, CollectError>;

    /// Whom the samples of the last run are about, if not the node: what is shipped has it as
    /// `instance`.
    fn instance(&self) -> Option<String> {
        None
    }

    /// Whether the last run found what is not to wait for the next round ([`Wake::Own`]).
    fn has_news(&self) -> bool {
        false
    }
}

/// How a run ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The source is there; what it says is in the batch, which may be empty.
    Collected,
    /// This machine has no such thing. The batch is empty.
    Absent,
}

/// How often a collector runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// In every round: what the kernel has at hand.
    Fast,
    /// On a schedule of its own, with this time between two starts: what wakes a device or asks
    /// another program. Its last samples stand in the rounds between.
    Slow(Duration),
    /// Beside the rounds, on a thread of its own, this long after its last start at the soonest:
    /// what has a schedule of its own for each device and only begins what is due. A run is short.
    Aside(Duration),
}

/// What makes a collector run between two rounds: its samples are shipped at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// This file has changed, as [`Host::watch`] tells.
    Poll(&'static str),
    /// It looks for changes itself, between rounds too, as often as its [`Pace`] says, and tells of them
    /// with [`Collector::has_news`]. For one that is not fast.
    Own,
}

/// One line of the [`registry`](crate::registry()).
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// The name, as `--only` takes it and `node_scrape_collector_success{collector}` shows it.
    pub name: &'static str,
    /// The `job` label of its samples: `node`, `smartctl` or `ceph`.
    pub job: &'static str,
    /// How often it runs, unless the user says otherwise.
    pub pace: Pace,
    /// Whether it runs unless the user says otherwise.
    pub is_on: bool,
    /// What it is also run for, when there is such a thing.
    pub wake: Option<Wake>,
    /// Makes one. Never fails: what cannot be read is found out when it runs.
    pub make: fn(&Options) -> Box<dyn Collector>,
}

/// Why one run of a collector gave nothing.
///
/// `Display` never repeats the cause: the one place that logs errors prints the chain.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// A file could not be read.
    #[error("failed to read {from}")]
    Read {
        /// Its path.
        from: String,
        /// What the kernel said.
        #[source]
        cause: io::Error,
    },
    /// A command could not be run, or did not end well.
    #[error("failed to run {command}")]
    Run {
        /// The program and its arguments.
        command: String,
        /// What went wrong.
        #[source]
        cause: RunError,
    },
    /// The input was had but is not what the parser knows.
    #[error("{what} makes no sense")]
    Parse {
        /// The file or the command it came from.
        what: Cow<'static, str>,
        /// Where and what.
        #[source]
        cause: Box<dyn Error + Send + Sync>,
    },
    /// The input is larger than any host we know of; refuse it rather than grow.
    #[error("{what}: {count} is over the limit of {max}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many are taken.
        max: usize,
    },
}

impl CollectError {
    /// A [`Read`](Self::Read) error, shaped for `map_err`.
    pub(crate) fn read(from: &str) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self::Read { from: from.to_owned(), cause }
    }

    /// A [`Parse`](Self::Parse) error, shaped for `map_err`.
    pub(crate) fn parse<E>(what: impl Into<Cow<'static, str>>) -> impl FnOnce(E) -> Self
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        move |cause| Self::Parse { what: what.into(), cause: cause.into() }
    }

    /// The same, of something that is not a number.
    pub(crate) fn no_number(what: impl Into<Cow<'static, str>>, found: &[u8]) -> Self {
        let found = String::from_utf8_lossy(found);
        Self::parse(what)(format!("not a number: {:?}", shown(&found)))
    }
}

/// Whether a failed read means that the machine has no such thing.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
