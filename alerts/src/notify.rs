//! Receivers: what puts a message into words and sends it.
//!
//! A receiver only sends: it says that it did, that it is worth another try, or that it is not
//! ([`SendError`]). Queues, retries and what survives a restart are [`crate::delivery`]'s.
//!
//! - [`config`]: receivers as the configuration has them; secrets come from files.
//! - [`ntfy`], [`email`], [`webhook`], [`alertmanager`], [`generic`]: the kinds.
//! - [`story`]: a message in words; [`text`] and [`html`] give it a shape, [`units`] write numbers
//!   and [`sparkline`] draws.
//! - [`smtp`]: one conversation with a mail server.
//! - [`http`]: one client for all that speak HTTP; [`secret`]: files that must not be told.

mod alertmanager;
pub mod config;
mod context;
mod email;
mod generic;
mod html;
mod http;
mod ntfy;
mod secret;
mod smtp;
mod sparkline;
mod story;
mod text;
mod units;
mod webhook;

use std::fmt;
use std::time::Duration;

use labstat_model::Matcher;

use crate::message::{Message, Reason};
use crate::notification::{Notification, Status};

pub use config::{
    AlertmanagerConfig, EmailConfig, HttpConfig, NtfyConfig, ReceiverConfig, Severity, SmtpTls,
    WebhookConfig,
};
pub use context::{Context, Links, SILENCE_MS};
pub use text::test_alert;

/// How long a receiver may take to answer that can be asked what it has, or to which a repetition
/// does no harm: a stalled one is soon tried again.
const PROMPT_TIMEOUT: Duration = Duration::from_secs(20);

/// A message that has arrived, at all of the receiver's addresses but for those that are named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Those of the receiver's addresses that will not get it, while others have it.
    pub refused: Vec<Refusal>,
    /// Those that do not take it now, while others have it: it may be sent again for them alone
    /// ([`Context::only`]).
    pub later: Vec<Refusal>,
}

/// An address that did not take a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The address.
    pub to: String,
    /// What the server said.
    pub why: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.to, self.why)
    }
}

/// What a receiver answers when it is asked whether it has a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// It has it.
    There,
    /// It does not.
    Missing,
    /// It did not answer; it may later.
    Unanswered,
    /// It cannot say, or tells nobody who asks as we do.
    Unknowable,
}

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
    /// It may have worked: the connection was lost, or nobody answered, after the message went out.
    /// The receiver is asked ([`Receiver::was_delivered`]) before it gets it again.
    #[error("{why}")]
    Doubt {
        /// What went wrong.
        why: String,
        /// Whether the receiver itself was there: it had spoken before, or held on without an answer
        /// for as long as it may. What forwards connections to one that is away (a tunnel, a
        /// container's port) takes them and cuts them at once.
        was_there: bool,
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
    shape: u64,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Ntfy(ntfy::Ntfy),
    Email(Box<email::Email>),
    Webhook(webhook::Webhook),
    Alertmanager(alertmanager::Forward),
    Http(Box<generic::Generic>),
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
        } else if let Some(alertmanager) = &config.alertmanager {
            Kind::Alertmanager(alertmanager::Forward::build(name, alertmanager)?)
        } else if let Some(http) = &config.http {
            Kind::Http(Box::new(generic::Generic::build(name, http, external_url)?))
        } else {
            let problem = "no kind is given".to_owned();
            return Err(BuildError::Config { name: name.clone(), problem });
        };
        Ok(Self {
            name: name.clone(),
            matchers: config.parsed_matchers().unwrap_or_default(),
            severity: config.severity,
            send_resolved: config.send_resolved,
            shape: config.shape(),
            kind,
        })
    }

    /// The name of the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is made of: its configuration and what the files say that this names.
    pub(crate) fn shape(&self) -> u64 {
        self.shape
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

    /// Sends a real test message, past any queue; for callers without a
    /// [`Delivery`](crate::delivery::Delivery).
    pub async fn test(&self, now_ms: i64) -> Result<Delivered, SendError> {
        self.send(&self.test_message(now_ms), &Context::default()).await
    }

    /// The message with which this receiver is tried out.
    pub fn test_message(&self, now_ms: i64) -> Message {
        let mut message = Message::about(text::test_alert(now_ms), &self.name);
        message.reason = Reason::Test;
        message
    }

    /// Delivers once. Each kind bounds the time that this takes, by what is at stake: as long as
    /// nothing has gone out it can be tried again, and after that it may arrive twice.
    pub async fn send(&self, message: &Message, context: &Context) -> Result<Delivered, SendError> {
        match &self.kind {
            Kind::Ntfy(ntfy) => ntfy.send(message, context).await?,
            Kind::Email(email) => return email.send(message, context).await,
            Kind::Webhook(webhook) => webhook.send(message).await?,
            Kind::Alertmanager(forward) => forward.send(message).await?,
            Kind::Http(generic) => generic.send(message, context).await?,
        }
        Ok(Delivered::default())
    }

    /// The word by which Alertmanager's metrics name this kind.
    pub fn integration(&self) -> &'static str {
        match &self.kind {
            Kind::Ntfy(_) => "ntfy",
            Kind::Email(_) => "email",
            Kind::Webhook(_) => "webhook",
            Kind::Alertmanager(_) => "alertmanager",
            Kind::Http(_) => "http",
        }
    }

    /// Whether messages of this kind show how the values behind alerts went.
    pub fn shows_pictures(&self) -> bool {
        match &self.kind {
            Kind::Ntfy(_) | Kind::Email(_) | Kind::Http(_) => true,
            Kind::Webhook(_) | Kind::Alertmanager(_) => false,
        }
    }

    /// Says what fires now, for a receiver that tells of it again and again: an Alertmanager. `mine`
    /// of it is for this receiver. Only what it [wants](Self::wants) is taken. Within a tokio runtime.
    pub fn repeat(&self, mine: &[Notification], all: &[Notification], now_ms: i64) {
        if let Kind::Alertmanager(forward) = &self.kind {
            let wanted = |alerts: &[Notification]| -> Vec<Notification> {
                alerts.iter().filter(|alert| self.wants(alert)).cloned().collect()
            };
            forward.repeat(&wanted(mine), &wanted(all), now_ms);
        }
    }

    /// Whether `message` has arrived, for an attempt whose outcome is not known.
    pub async fn was_delivered(&self, message: &Message) -> Arrival {
        match &self.kind {
            Kind::Ntfy(ntfy) => {
                let asking = ntfy.was_delivered(message);
                tokio::time::timeout(PROMPT_TIMEOUT, asking).await.unwrap_or(Arrival::Unanswered)
            }
            Kind::Email(_) | Kind::Webhook(_) | Kind::Alertmanager(_) | Kind::Http(_) => {
                Arrival::Unknowable
            }
        }
    }
}
