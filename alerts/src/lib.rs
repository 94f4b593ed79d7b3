//! Alerts: rule files in Prometheus' format, their state machine, templates, and the receivers
//! that carry a change to a person.
//!
//! From the inside out:
//!
//! - [`rules`]: rule files to a [`RuleSet`], all problems at once; [`shipped`] embeds ours.
//! - [`testing`]: unit tests of rules, in promtool's format; [`replay`]: when they would have fired.
//! - [`template`]: the Go templates of labels and annotations.
//! - [`Manager`]: the state machine (inactive, pending, firing, resolved). Time and data come in,
//!   samples and [`Notification`]s go out; it does no I/O.
//! - [`manners`]: who hears what, when, and once: routes, groups, silences, incidents. Pure.
//! - `evaluator`: which groups are evaluated when, on threads of its own; [`events`] says which
//!   samples have that done at once.
//! - [`views`]: what `/api/v1/rules` and `/api/v1/alerts` answer.
//! - [`notify`]: receivers: ntfy, email, webhook.
//! - [`delivery`]: queues, retries and rates in front of them; nothing lost, nothing told twice.
//! - [`Ledger`]: what must outlive a crash, as rows.
//! - [`Service`]: the loop around all of it (tokio): evaluates what is due, hands samples to the
//!   store and messages to delivery, and keeps what they come from in one commit.
//!
//! Not here: how samples are kept and queried (`labstat-store`, `labstat-promql`), HTTP routes
//! (`labstat-aggregator`).

pub mod delivery;
mod evaluator;
pub mod events;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzz;
mod hash;
pub mod history;
mod ledger;
pub mod manager;
pub mod manners;
mod message;
mod notification;
pub mod notify;
pub mod replay;
pub mod rules;
mod service;
pub mod shipped;
pub mod template;
pub mod testing;
pub mod views;
mod yaml;

pub use hash::fingerprint;
pub use ledger::{Entry, FileLedger, Keeper, Ledger, LedgerError, MemoryLedger};
pub use manager::{Evaluation, Manager, ManagerOptions, Snapshot};
pub use message::{Event, Message, Reason};
pub use notification::{Notification, Status};
pub use rules::{Group, Problem, Problems, Rule, RuleSet};
pub use service::{Alerting, Database, Service, ServiceOptions, StartError};
