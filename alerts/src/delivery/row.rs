//! The rows that messages on their way are kept as; `docs/formats/alert-state.md` lists them.
//!
//! - `queue/message/SEQ`: a message, written once and taken away when it has ended.
//! - `queue/attempt/SEQ`: how far the attempts to deliver it have come. It is on disk before one
//!   begins, so that after a crash it is known that the message may have arrived, and who has it.
//! - `queue/sent/RECEIVER`: when messages went out, for the rate.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ledger::Entry;
use crate::message::Message;

/// What the keys of all these rows begin with.
pub(super) const PREFIX: &str = "queue/";

const MESSAGE: &str = "queue/message/";
const ATTEMPT: &str = "queue/attempt/";
const SENT: &str = "queue/sent/";

/// A message that is not delivered yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Queued {
    /// When it was queued, in milliseconds since the epoch.
    pub(super) since_ms: i64,
    /// The message.
    pub(super) message: Message,
    /// The threads of the messages that it stands for, which it must not be overtaken by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) threads: Vec<String>,
    /// When the newest of the messages that it stands for was queued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) newest_ms: Option<i64>,
}

impl Queued {
    /// A message that is queued now.
    pub(super) fn new(message: Message, since_ms: i64) -> Self {
        Self { since_ms, message, threads: Vec::new(), newest_ms: None }
    }

    /// About how many bytes it takes.
    pub(super) fn weight(&self) -> usize {
        self.message.weight() + self.threads.iter().map(String::len).sum::<usize>()
    }

    /// From when on it becomes too old: a summary is as fresh as the newest that it stands for.
    pub(super) fn fresh_ms(&self) -> i64 {
        self.newest_ms.unwrap_or(self.since_ms)
    }
}

/// How far the attempts at one message have come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Attempts {
    /// Those begun.
    pub(super) begun: u32,
    /// When the last one began, in milliseconds since the epoch.
    pub(super) time_ms: i64,
    /// Whether one of them may have arrived without our knowing: also while the last one runs.
    pub(super) in_doubt: bool,
    /// The addresses that have not taken it while others of the receiver have, with what was said of
    /// each last; none before anybody has it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) missing: BTreeMap<String, String>,
}

/// When messages went out, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sent {
    pub(super) times_ms: Vec<i64>,
    /// When the last summary went out.
    pub(super) summary_ms: Option<i64>,
}

/// All rows as they were kept.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) messages: BTreeMap<u64, (Queued, Attempts)>,
    pub(super) sent: BTreeMap<String, Sent>,
    /// The largest number given so far.
    pub(super) last_seq: u64,
}

pub(super) fn put_message(seq: u64, queued: &Queued) -> Entry {
    put(format!("{MESSAGE}{seq:016x}"), queued)
}

pub(super) fn put_attempts(seq: u64, attempts: &Attempts) -> Entry {
    put(format!("{ATTEMPT}{seq:016x}"), attempts)
}

pub(super) fn put_sent(receiver: &str, sent: &Sent) -> Entry {
    put(format!("{SENT}{receiver}"), sent)
}

/// Takes a message away, with what is known of its attempts.
pub(super) fn delete(seq: u64, entries: &mut Vec<Entry>) {
    entries.push(Entry::delete(format!("{MESSAGE}{seq:016x}")));
    entries.push(Entry::delete(format!("{ATTEMPT}{seq:016x}")));
}

pub(super) fn delete_sent(receiver: &str) -> Entry {
    Entry::delete(format!("{SENT}{receiver}"))
}

fn put(key: String, row: &impl Serialize) -> Entry {
    // Texts, numbers and lists: there is nothing in them that JSON does not have.
    Entry::put(key, serde_json::to_vec(row).unwrap_or_default())
}

/// Reads the rows. One that does not read is told and left out.
pub(super) fn read(kept: Vec<(String, Vec<u8>)>) -> Rows {
    let mut rows = Rows::default();
    let mut attempts: BTreeMap<u64, Attempts> = BTreeMap::new();
    for (key, value) in kept {
        if take(&mut rows, &mut attempts, &key, &value).is_none() {
            tracing::error!(key, "a message on its way is damaged and lost");
        }
    }
    for (seq, (_, of_message)) in &mut rows.messages {
        *of_message = attempts.remove(seq).unwrap_or_default();
    }
    rows
}

fn take(
    rows: &mut Rows,
    attempts: &mut BTreeMap<u64, Attempts>,
    key: &str,
    value: &[u8],
) -> Option<()> {
    if let Some(receiver) = key.strip_prefix(SENT) {
        rows.sent.insert(receiver.to_owned(), serde_json::from_slice(value).ok()?);
        return Some(());
    }
    let (seq, is_message) = match key.strip_prefix(MESSAGE) {
        Some(seq) => (seq, true),
        None => (key.strip_prefix(ATTEMPT)?, false),
    };
    let seq = number(seq)?;
    rows.last_seq = rows.last_seq.max(seq);
    if is_message {
        let queued = serde_json::from_slice(value).ok()?;
        rows.messages.insert(seq, (queued, Attempts::default()));
    } else {
        attempts.insert(seq, serde_json::from_slice(value).ok()?);
    }
    Some(())
}

/// The number that stands in a key as it is written here; after the last there is no other.
fn number(text: &str) -> Option<u64> {
    let seq = u64::from_str_radix(text, 16).ok()?;
    (seq < u64::MAX && format!("{seq:016x}") == text).then_some(seq)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_written_in_one_way_and_has_a_next() {
        assert_eq!(number("000000000000001f"), Some(31));
        // What is read under a name that it is not taken away by would be sent at each start.
        for other in ["1f", "+00000000000001f", "000000000000001F", "ffffffffffffffff", ""] {
            assert_eq!(number(other), None, "{other}");
        }
    }

    #[test]
    fn times_of_a_rate_that_no_calendar_has_do_no_harm() {
        let mut window = super::super::rate::Window::new([i64::MIN, i64::MAX]);
        let rate = "2/1m".parse().unwrap();
        assert_eq!(window.room(rate, 0), super::super::rate::Room::Summary);
    }
}
