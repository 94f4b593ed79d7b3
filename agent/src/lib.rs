//! The agent: runs the collectors on schedule, and ships what they give.
//!
//! It starts and stops within a process ([`Agent::start`], [`Running::shutdown`]), needs no more
//! than a current-thread runtime, prints nothing and reads no environment.
//!
//! ```text
//! schedule ─ tick ─► crew (threads) ─ batches ─► round ─ parcel ─► queue ─► ship ─► remote write
//!                                                  │                          │ ▲
//!                                                  └► http: own /metrics      ▼ │
//!                                                                            spool
//! ```
//!
//! - `config`: what it is told, from TOML, with every problem and its line ([`Config`]).
//! - `schedule`: which ticks are due, whatever the clock does; pure.
//! - `crew`: the collectors, on threads; a hung one is left behind and never delays a round. `lap`:
//!   those of a round, one after the other on one thread.
//! - `round`: all samples of one tick, and the markers of the series that ended.
//! - `spool`: rounds on disk while the receiver is away (`docs/formats/spool.md`).
//! - `memory`: what collectors must know after a restart (`docs/formats/agent-disks.md`).
//! - `ship`: the queue, the requests, what to do with each answer. `remote`: the HTTP client.
//! - `alarm`: who is told, and by whom, when the aggregator cannot be reached for long ([`Voice`]).
//! - `http`: the agent's own `/metrics`. `process`, `telemetry`: figures about itself.
//!
//! Invariants: one round, one timestamp. Nothing that blocks runs on the runtime's thread. The
//! queue, the spool and the number of threads are bounded.
//!
//! Not here: reading the machine (`labstat-collect`), the bytes of the wire (`labstat-wire`).

mod agent;
mod alarm;
mod config;
mod crew;
#[cfg(test)]
mod endurance;
mod findings;
mod http;
mod lap;
mod memory;
mod once;
mod process;
mod remote;
mod round;
mod schedule;
mod ship;
mod spool;
mod telemetry;
#[cfg(test)]
mod tests;

pub use agent::{Agent, Running, StartError};
pub use alarm::{Refused, Telling, Untold, Voice, Word};
pub use config::{AlarmConfig, Config, SpoolBounds, UnknownCollector, UrlError, write_url};
pub use findings::{Finding, Outcome};
/// The collectors and parsers, for a command line that needs them without a runtime.
pub use labstat_collect as collect;
pub use labstat_model::settings::Problem;
pub use once::{Once, once};
pub use remote::RemoteError;
pub use spool::SpoolError;
pub use telemetry::Shipped;
