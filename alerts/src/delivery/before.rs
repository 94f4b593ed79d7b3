//! The state of the alerts as it was kept before there was a ledger: one JSON document with the
//! alerts and the queues, under the key `alerts/state` of the store. It is taken over once.

use std::collections::{BTreeMap, VecDeque};

use serde::Deserialize;

use super::row::{self, Queued};
use crate::ledger::{Entry, Keeper, LedgerError};
use crate::manager::Snapshot;
use crate::message::Message;
use crate::notification::Notification;

/// The document's key, as the ledger sees it.
const DOCUMENT: &str = "state";

#[derive(Debug, Default, Deserialize)]
struct Document {
    alerts: Snapshot,
    queues: BTreeMap<String, VecDeque<Pending>>,
}

#[derive(Debug, Deserialize)]
struct Pending {
    id: u64,
    since_ms: i64,
    notification: Notification,
}

/// Puts rows in the place of the document, when there is one. `alerts` makes those of the alerts.
/// To be called before anything else reads the ledger.
pub(crate) fn take_over(
    keeper: &Keeper,
    alerts: impl FnOnce(Snapshot) -> Vec<Entry>,
) -> Result<(), LedgerError> {
    let kept = keeper.load(DOCUMENT)?;
    let Some((_, bytes)) = kept.into_iter().find(|(key, _)| key == DOCUMENT) else { return Ok(()) };
    let document: Document = serde_json::from_slice(&bytes).unwrap_or_else(|error| {
        // Alerts that still hold are then told again, which is better than not starting.
        tracing::error!(%error, "the state of the alerts of an older version is damaged");
        Document::default()
    });
    let mut entries = alerts(document.alerts);
    let mut waiting: Vec<(String, Pending)> = document
        .queues
        .into_iter()
        .flat_map(|(name, queue)| queue.into_iter().map(move |pending| (name.clone(), pending)))
        .collect();
    waiting.sort_by_key(|(_, pending)| pending.id);
    for (seq, (receiver, pending)) in (1..).zip(waiting) {
        let message = Message::about(pending.notification, &receiver);
        let queued = Queued::new(message, pending.since_ms);
        entries.push(row::put_message(seq, &queued));
    }
    entries.push(Entry::delete(DOCUMENT));
    keeper.commit(entries)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ledger::{Ledger, MemoryLedger};

    /// As version 0.1 wrote it.
    const KEPT: &str = r#"{"alerts":{"version":1,"groups":[]},"queues":{"phone":[
        {"id":7,"since_ms":5000,"notification":{"fingerprint":"0123456789abcdef","status":"firing",
        "labels":{"alertname":"Down"},"annotations":{},"active_at_ms":1000,"starts_at_ms":2000,
        "ends_at_ms":null,"value":"1","generator_url":""}},
        {"id":9,"since_ms":6000,"notification":{"fingerprint":"0123456789abcdef","status":"resolved",
        "labels":{"alertname":"Down"},"annotations":{},"active_at_ms":1000,"starts_at_ms":2000,
        "ends_at_ms":5500,"value":"NaN","generator_url":""}}]}}"#;

    #[test]
    fn what_an_older_version_kept_is_taken_over_once() {
        let ledger = Arc::new(MemoryLedger::default());
        let put = |text: &str| Entry::put(DOCUMENT, text.as_bytes().to_vec());
        ledger.commit(&[put(KEPT), Entry::put("statements", Vec::new())]).unwrap();
        let keeper = Keeper::new(ledger.clone());
        let alerts = |snapshot: Snapshot| {
            assert_eq!(snapshot.version, 1);
            vec![Entry::put("rule/x", Vec::new())]
        };
        take_over(&keeper, alerts).unwrap();
        take_over(&keeper, |_| panic!("only once")).unwrap();
        let rows = row::read(keeper.load(row::PREFIX).unwrap());
        let messages: Vec<_> = rows.messages.values().map(|(queued, _)| queued).collect();
        assert_eq!(messages.len(), 2);
        assert_eq!((messages[0].since_ms, messages[1].since_ms), (5000, 6000));
        assert_eq!(messages[0].message.thread, messages[1].message.thread);
        assert_ne!(messages[0].message.id, messages[1].message.id);
        assert_eq!(keeper.load("rule/").unwrap().len(), 1);
        assert_eq!(keeper.load(DOCUMENT).unwrap().len(), 1, "another key that begins alike");

        ledger.commit(&[put("{\"half")]).unwrap();
        take_over(&keeper, |snapshot| {
            assert_eq!(snapshot, Snapshot::default());
            Vec::new()
        })
        .unwrap();
        assert_eq!(keeper.load(DOCUMENT).unwrap().len(), 1, "and it is gone");
    }
}
