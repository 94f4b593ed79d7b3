//! `/api/labstat/v1/receivers`: how delivery to each receiver goes.

use std::sync::Arc;

use axum::extract::State;
use labstat_alerts::delivery::ReceiverMetrics;
use serde_json::{Value, json};

use super::error::Json;
use super::status::{rfc3339, success};
use crate::app::App;

/// All receivers in the order of the configuration, then those that are owed something and are configured no more.
pub(crate) async fn list(State(app): State<Arc<App>>) -> Json {
    let now_ms = app.clock.now_ms();
    let receivers = app.alerting.receivers();
    success(&receivers.iter().map(|receiver| view(receiver, now_ms)).collect())
}

fn view(receiver: &ReceiverMetrics, now_ms: i64) -> Value {
    let mut view = json!({
        "name": receiver.receiver,
        "configured": !receiver.integration.is_empty(),
        "owed": receiver.queued,
        "delivered": receiver.sent,
        "attemptsFailed": receiver.failed,
        "refused": receiver.refused,
        "expired": receiver.expired,
        "presumed": receiver.presumed,
        "summarized": receiver.summarized,
    });
    let ago = |age_ms: i64| (age_ms > 0).then(|| json!(rfc3339(now_ms.saturating_sub(age_ms))));
    let at = |time_ms: Option<i64>| time_ms.map(|time_ms| json!(rfc3339(time_ms)));
    let kind = Some(receiver.integration).filter(|kind| !kind.is_empty());
    let known = [
        ("kind", kind.map(|kind| json!(kind))),
        ("oldest", ago(receiver.oldest_age_ms).filter(|_| receiver.queued > 0)),
        ("lastSuccess", at(receiver.last_sent_ms)),
        ("lastError", receiver.last_error.as_ref().map(|error| json!(error))),
        ("failingSince", ago(receiver.failing_ms)),
        ("nextTry", at(receiver.retry_ms)),
        ("rateHeldSince", at(receiver.held_since_ms)),
    ];
    if let Some(fields) = view.as_object_mut() {
        let known = known.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
        fields.extend(known);
    }
    view
}
