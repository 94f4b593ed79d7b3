//! How much room alerts may take: how many there may be, and how many bytes those that are posted.
//!
//! Alerts of rules are not weighed: what they say stands in the rule files, and the state of the rules
//! bounds how many there are.

use std::collections::HashMap;

use super::ALERTS_MAX;
use crate::notification::Notification;

/// The most bytes of posted alerts together. With their tables they take a few times as much memory: this
/// is room for [`ALERTS_MAX`] alerts of more than a kilobyte, which is what senders say.
pub const POSTED_SUM_MAX: usize = 64 * 1024 * 1024;

/// The bounds, and what the posted alerts take.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) alerts_max: usize,
    pub(super) posted_max: usize,
    /// The bytes of each posted alert, by its fingerprint.
    posted: HashMap<String, usize>,
    posted_sum: usize,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            alerts_max: ALERTS_MAX,
            posted_max: POSTED_SUM_MAX,
            posted: HashMap::new(),
            posted_sum: 0,
        }
    }
}

impl Room {
    /// Whether a posted alert may take so many bytes, in place of those that it takes now.
    pub(super) fn fits(&self, fingerprint: &str, len: usize) -> bool {
        let now = self.posted.get(fingerprint).copied().unwrap_or(0);
        len <= now || self.posted_sum - now + len <= self.posted_max
    }

    /// A posted alert takes so many bytes; with `None`, there is none of that name any more.
    pub(super) fn set(&mut self, fingerprint: &str, len: Option<usize>) {
        let before = match len {
            Some(len) => self.posted.insert(fingerprint.to_owned(), len),
            None => self.posted.remove(fingerprint),
        };
        self.posted_sum = self.posted_sum - before.unwrap_or(0) + len.unwrap_or(0);
    }
}

#[cfg(test)]
impl Room {
    /// The bytes that posted alerts take together.
    pub(super) fn posted_sum(&self) -> usize {
        self.posted_sum
    }
}

/// The bytes of an alert: the names and values of its labels and annotations and its link.
pub(super) fn len_of(alert: &Notification) -> usize {
    let pairs = alert.labels.iter().chain(&alert.annotations);
    alert.generator_url.len() + pairs.map(|(name, value)| name.len() + value.len()).sum::<usize>()
}
