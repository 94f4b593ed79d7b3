//! Receivers, and the dispatcher that carries changes to them.
//!
//! A receiver only sends: it says that it did, that it is worth another try, or that it is not
//! ([`SendError`]). Queues, retries and what survives a restart are the [`Dispatcher`]'s.
//!
//! - [`config`]: receivers as the configuration has them; secrets come from files.
//! - [`ntfy`], [`email`], [`webhook`]: the three kinds.
//! - [`text`]: a notification in words.
//! - [`http`]: one client for all that speak HTTP.

pub mod config;
mod dispatcher;
mod email;
mod http;
mod ntfy;
mod text;
mod webhook;

use std::time::Duration;

use labstat_model::Matcher;

use crate::notification::{Notification, Status};

pub use config::{EmailConfig, NtfyConfig, ReceiverConfig, Severity, SmtpTls, WebhookConfig};
pub use dispatcher::{
    Dispatcher, DispatcherOptions, Journal, JournalError, QUEUE_LEN_MAX, ReceiverMetrics, TestError,
};

/// How long one attempt to deliver may take, connecting included. Long enough for a slow mail
/// server's greeting, short enough that a stalled one does not hold the queue for minutes.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(20);

/// Why an attempt to deliver failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// It may work later.
    #[error("{why}")]
    Retry {
        /// What went wrong.
        why: String,
        /// How long the receiver asked to be left alone.
        after: Option<Duration>,
    },
    /// It will not work, however often it is tried.
    #[error("{0}")]
    GiveUp(String),
}

/// Why a receiver could not be made from its configuration.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// What the configuration says makes no receiver.
    #[error("receiver {name:?}: {problem}")]
    Config {
        /// The receiver's name.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// A file with a secret or a certificate cannot be read.
    #[error("receiver {name:?}: failed to read {path}")]
    Secret {
        /// The receiver's name.
        name: String,
        /// The file.
        path: String,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
}

/// A receiver, ready to send.
#[derive(Debug)]
pub struct Receiver {
    name: String,
    matchers: Vec<Matcher>,
    severity: Option<Severity>,
    send_resolved: bool,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Ntfy(ntfy::Ntfy),
    Email(Box<email::Email>),
    Webhook(webhook::Webhook),
}

impl Receiver {
    /// A receiver as configured; reads the files with its secrets.
    pub fn build(config: &ReceiverConfig, external_url: &str) -> Result<Self, BuildError> {
        let name = &config.name;
        if let Some(problem) = config.problems().into_iter().next() {
            return Err(BuildError::Config { name: name.clone(), problem });
        }
        let kind = if let Some(ntfy) = &config.ntfy {
            Kind::Ntfy(ntfy::Ntfy::build(name, ntfy, external_url)?)
        } else if let Some(email) = &config.email {
            Kind::Email(Box::new(email::Email::build(name, email, external_url)?))
        } else if let Some(webhook) = &config.webhook {
            Kind::Webhook(webhook::Webhook::build(name, webhook, external_url)?)
        } else {
            let problem = "no kind is given".to_owned();
            return Err(BuildError::Config { name: name.clone(), problem });
        };
        Ok(Self {
            name: name.clone(),
            matchers: config.parsed_matchers().unwrap_or_default(),
            severity: config.severity,
            send_resolved: config.send_resolved,
            kind,
        })
    }

    /// The name of the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether this receiver wants to hear of it.
    pub fn wants(&self, notification: &Notification) -> bool {
        let value = |name: &str| notification.labels.get(name).map_or("", String::as_str);
        let severe = self.severity.is_none_or(|least| {
            // A severity nobody knows is told rather than lost.
            Severity::parse(notification.severity()).is_none_or(|severity| severity >= least)
        });
        (self.send_resolved || notification.status == Status::Firing)
            && severe
            && self.matchers.iter().all(|matcher| matcher.matches(value(matcher.name())))
    }

    /// Sends a real test message, past any queue; for callers without a [`Dispatcher`].
    pub async fn test(&self, now_ms: i64) -> Result<(), SendError> {
        self.send(&text::test_message(now_ms)).await
    }

    /// Delivers once, within [`SEND_TIMEOUT`].
    pub async fn send(&self, notification: &Notification) -> Result<(), SendError> {
        let attempt = async {
            match &self.kind {
                Kind::Ntfy(ntfy) => ntfy.send(notification).await,
                Kind::Email(email) => email.send(notification).await,
                Kind::Webhook(webhook) => webhook.send(&self.name, notification).await,
            }
        };
        match tokio::time::timeout(SEND_TIMEOUT, attempt).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let why = format!("no answer within {} s", SEND_TIMEOUT.as_secs());
                Err(SendError::Retry { why, after: None })
            }
        }
    }
}
