//! The webhook of Alertmanager, version 4: one call for each message, with all alerts of its group.

use std::collections::BTreeMap;

use hyper::StatusCode;
use serde::Serialize;

use super::config::WebhookConfig;
use super::http::{Answer, Http, LoginFiles, header_text};
use super::{BuildError, SendError};
use crate::message::Message;
use crate::notification::Notification;
use crate::views::{NEVER, rfc3339};

/// A URL that takes Alertmanager's webhook.
#[derive(Debug)]
pub(super) struct Webhook {
    http: Http,
    external_url: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    receiver: &'a str,
    status: &'a str,
    alerts: Vec<Alert<'a>>,
    group_labels: &'a BTreeMap<String, String>,
    common_labels: BTreeMap<String, String>,
    common_annotations: BTreeMap<String, String>,
    #[serde(rename = "externalURL")]
    external_url: &'a str,
    version: &'a str,
    group_key: &'a str,
    truncated_alerts: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Alert<'a> {
    status: &'a str,
    labels: &'a BTreeMap<String, String>,
    annotations: &'a BTreeMap<String, String>,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: &'a str,
    fingerprint: &'a str,
}

impl Webhook {
    pub(super) fn build(
        name: &str,
        config: &WebhookConfig,
        external_url: &str,
    ) -> Result<Self, BuildError> {
        let login = LoginFiles {
            token_file: config.token_file.as_deref(),
            username: config.username.as_deref(),
            password_file: config.password_file.as_deref(),
        };
        let http = Http::build(name, &config.url, &login, config.ca_file.as_deref())?;
        Ok(Self { http, external_url: external_url.to_owned() })
    }

    pub(super) async fn send(&self, message: &Message) -> Result<(), SendError> {
        let answer = self.post(message).await?;
        if answer.status != StatusCode::PAYLOAD_TOO_LARGE || message.alerts.len() < 2 {
            return answer.outcome(&self.http);
        }
        // Better the first of the alerts than none.
        let mut short = message.clone();
        short.alerts.truncate(1);
        short.alerts_omitted += message.alerts.len() - 1;
        self.post(&short).await?.outcome(&self.http)
    }

    async fn post(&self, message: &Message) -> Result<Answer, SendError> {
        let body = serde_json::to_string(&body(&self.external_url, message));
        let body = body.map_err(|error| SendError::GiveUp(error.to_string()))?;
        let headers = vec![
            ("content-type", "application/json".to_owned()),
            ("idempotency-key", header_text(&message.id)),
        ];
        self.http.post(headers, body).await
    }
}

fn body<'a>(external_url: &'a str, message: &'a Message) -> Body<'a> {
    Body {
        receiver: &message.receiver,
        status: message.status().as_str(),
        alerts: message.alerts.iter().map(alert).collect(),
        group_labels: &message.group_labels,
        common_labels: message.common_labels(),
        common_annotations: message.common_annotations(),
        external_url,
        version: "4",
        group_key: &message.group_key,
        truncated_alerts: message.alerts_omitted,
    }
}

fn alert(alert: &Notification) -> Alert<'_> {
    Alert {
        status: alert.status.as_str(),
        labels: &alert.labels,
        annotations: &alert.annotations,
        starts_at: rfc3339(alert.starts_at_ms),
        ends_at: alert.ends_at_ms.map_or_else(|| NEVER.to_owned(), rfc3339),
        generator_url: &alert.generator_url,
        fingerprint: &alert.fingerprint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notification::Status;

    /// The body Alertmanager 0.25 sent for this alert, recorded; grouped by its name.
    #[test]
    fn body_is_alertmanagers() {
        let recorded = r#"{"receiver":"hook","status":"firing","alerts":[{"status":"firing","labels":{"alertname":"CephOSDDown","osd":"2","severity":"critical"},"annotations":{"summary":"osd.2 down"},"startsAt":"2026-11-21T02:59:57Z","endsAt":"0001-01-01T00:00:00Z","generatorURL":"http://labstat.test/a","fingerprint":"50169d93bcde0c02"}],"groupLabels":{"alertname":"CephOSDDown"},"commonLabels":{"alertname":"CephOSDDown","osd":"2","severity":"critical"},"commonAnnotations":{"summary":"osd.2 down"},"externalURL":"http://alertmanager.test","version":"4","groupKey":"{}:{alertname=\"CephOSDDown\"}","truncatedAlerts":0}"#;
        let labels = [("alertname", "CephOSDDown"), ("osd", "2"), ("severity", "critical")];
        let pairs = |list: &[(&str, &str)]| {
            list.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
        };
        let change = Notification {
            fingerprint: crate::hash::fingerprint(labels),
            status: Status::Firing,
            labels: pairs(&labels),
            annotations: pairs(&[("summary", "osd.2 down")]),
            active_at_ms: 0,
            starts_at_ms: 1_795_229_997_000,
            ends_at_ms: None,
            value: 1.0,
            generator_url: "http://labstat.test/a".to_owned(),
        };
        let message = Message {
            group_key: r#"{}:{alertname="CephOSDDown"}"#.to_owned(),
            group_labels: pairs(&labels[..1]),
            ..Message::about(change, "hook")
        };
        let ours = serde_json::to_string(&body("http://alertmanager.test", &message));
        assert_eq!(ours.unwrap(), recorded);
    }
}
