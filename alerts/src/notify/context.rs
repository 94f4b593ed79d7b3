//! What a receiver is given beside the message: pictures, links, the zone of times, and for whom it is.

use std::fmt;
use std::sync::Arc;

use jiff::tz::TimeZone;

use crate::history::Illustration;
use crate::message::{Message, Reason};
use crate::notification::Status;

/// How long the silence behind the button of a message lasts.
pub const SILENCE_MS: i64 = 4 * 60 * 60 * 1000;

/// What a receiver may use to tell a message better. Without any of it the message is told all the
/// same.
#[derive(Clone)]
pub struct Context {
    /// How the values behind the alerts went; not of every alert.
    pub pictures: Vec<Illustration>,
    /// What makes the links of buttons.
    pub links: Option<Arc<dyn Links>>,
    /// The zone in which times are told.
    pub zone: TimeZone,
    /// Of a receiver that has several addresses: those that the message is for, since others have it.
    /// None stands for all.
    pub only: Vec<String>,
}

impl Default for Context {
    /// No pictures, no links, times as on this machine, for all.
    fn default() -> Self {
        Self { pictures: Vec::new(), links: None, zone: TimeZone::system(), only: Vec::new() }
    }
}

impl Context {
    /// What makes the links of `message`, if there is something that they can act on: not what is
    /// over or was never real, nor a summary, whose thread is none that alerts are kept by.
    pub(super) fn links_for(&self, message: &Message) -> Option<&Arc<dyn Links>> {
        let is_real = !matches!(message.reason, Reason::Test | Reason::Summary);
        self.links.as_ref().filter(|_| is_real && message.status() == Status::Firing)
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("pictures", &self.pictures.len()).finish_non_exhaustive()
    }
}

/// Makes URLs that do one thing to what a message tells of, signed so that they need no login. POST
/// does it; GET shows a page that asks first.
pub trait Links: Send + Sync {
    /// Acknowledges the alerts of `message`: no reminders until they are over.
    fn acknowledge(&self, message: &Message) -> Option<String>;

    /// Silences them for so long, in milliseconds.
    fn silence(&self, message: &Message, duration_ms: i64) -> Option<String>;
}
