//! The aggregator: takes samples by remote write, keeps them, answers the Prometheus API, looks
//! after rules and silent nodes, and tells receivers.
//!
//! This crate is the wiring and the HTTP; it starts and stops within a process ([`Aggregator`],
//! [`Running`]), prints nothing and reads no environment.
//!
//! - [`Config`]: what it is told, from TOML, with every problem and its line.
//! - `http`: the listener, the bearer token, and one file per group of paths.
//! - `storage`: the one door to the history; `engine`: what stands behind it.
//! - [`offline`], [`Snapshot`]: the history's files, without a server or beside it.
//! - `presence`: every node ever heard is expected; silence becomes `up 0`.
//! - `inventory`: arrays, pools, interfaces, OSDs and UPSes that are expected, and which are missing.
//! - `own`: the aggregator's own figures as series of its history; `heartbeat`: the dead man's switch.
//! - `disks`: every disk ever seen, what is thought of it, and whether it still answers.
//! - `alerting`: rule files, their evaluation, and what goes to receivers.
//! - `telemetry`: labstat's own figures for `/metrics`.
//!
//! Not here: PromQL (`labstat-promql`), how samples lie on disk (`labstat-store`), what a rule
//! or a message is (`labstat-alerts`), the bytes of the wire (`labstat-wire`).

mod alerting;
mod app;
mod config;
mod disks;
mod engine;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzz;
mod gate;
mod heartbeat;
mod http;
mod inventory;
mod kept;
mod late;
mod links;
pub mod offline;
mod own;
mod presence;
mod server;
mod storage;
mod telemetry;
mod unstored;
mod wiring;

pub use alerting::RulesStatus;
pub use config::{
    Audience, AudienceError, Config, ConfigSource, Limits, ListenError, MannersSettings, PORT,
    Problem, RetentionError, parse_listen, parse_retention,
};
pub use engine::{EngineConfig, EngineError, ReadWay};
pub use heartbeat::{HeartbeatConfig, HeartbeatError, Secret};
pub use labstat_alerts::Problem as RuleProblem;
pub use labstat_store::{
    Checked, CopyError, Damage, Draft, Inspection, Maintained as Compacted, Progress, Snapshot,
    SnapshotError,
};
pub use server::{Aggregator, Running, ShutdownError, StartError, runtime};
