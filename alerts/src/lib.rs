//! Alerts: rule files in Prometheus' format, their state machine, templates, and the receivers
//! that carry a change to a person.
//!
//! From the inside out:
//!
//! - [`rules`]: rule files to a [`RuleSet`], all problems at once; [`shipped`] embeds ours.
//! - [`template`]: the Go templates of labels and annotations.
//! - [`Manager`]: the state machine (inactive, pending, firing, resolved). Time and data come in,
//!   samples and [`Notification`]s go out; it does no I/O.
//! - [`views`]: what `/api/v1/rules` and `/api/v1/alerts` answer.
//! - [`notify`]: receivers (ntfy, email, webhook) and the [`notify::Dispatcher`] with its queues.
//! - [`Service`]: the loop around all of it (tokio): evaluates what is due, hands samples to the
//!   store and changes to the dispatcher, and keeps both across a restart.
//!
//! Not here: how samples are kept and queried (`labstat-store`, `labstat-promql`), HTTP routes
//! (`labstat-aggregator`), grouping, silences and routing trees.

mod hash;
pub mod manager;
mod notification;
pub mod notify;
pub mod rules;
mod service;
pub mod shipped;
pub mod template;
pub mod views;

pub use manager::{Evaluation, Manager, ManagerOptions, Snapshot};
pub use notification::{Notification, Status};
pub use notify::{Journal, JournalError};
pub use rules::{Group, Problem, Problems, Rule, RuleSet};
pub use service::{Alerting, Database, Service, ServiceOptions, StartError};
