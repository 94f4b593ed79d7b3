//! What the watched machine says: [`Host`], the only door to it, and one [`Collector`] per source.
//!
//! - [`host`] reads files, lists folders, runs commands and asks sockets, each with a bound on size
//!   and time; its twin replays a captured machine ([`ReplayHost`], [`capture`]).
//! - [`collectors`] has one file or folder for each of them, by its name, and [`registry()`] one
//!   line: a new collector is one more of both.
//! - A run of a collector has three outcomes: [`Status::Collected`], [`Status::Absent`] (no such
//!   hardware) and [`CollectError`]; after an error its half-filled batch is to be dropped.
//!
//! Synchronous: whoever must not wait runs a collector on a thread of its own. Not here: when a
//! collector runs and where its samples go (`labstat-agent`), and the shape of the files
//! (`labstat-parse`, reachable as [`parse`]).

mod collector;
pub mod collectors;
mod counts;
pub mod host;
mod memory;
mod network;
mod options;
mod registry;
mod shared;
mod told;

pub use collector::{CollectError, Collector, Entry, Pace, Status, Wake};
pub use host::{
    Begun, CaptureError, CaptureReport, Claim, ClusterQuestion, Counts, Ended, Host, NvmePage,
    Output, PageUse, RealHost, ReplayHost, RunError, Stamp, Timex, Watch, capture, confine_reader,
    read_cluster,
};
/// The parsers, for those that have text and no machine.
pub use labstat_parse as parse;
pub use memory::{DOCUMENT_LEN_MAX, Memory};
pub use options::{
    Ceph, Cpu, Disks, Filesystems, Interfaces, Interrupts, Nut, Options, Patience, Reads, Smartctl,
    Source, Supplies, Systemd, Textfile,
};
pub use registry::registry;
pub use told::Told;
