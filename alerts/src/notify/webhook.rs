//! The webhook of Alertmanager, version 4: a group of one alert per call, as Alertmanager sends it
//! where a route has `group_by: ['...']`. So the group is named by all labels: to a taker that goes
//! by groups, the end of one alert is not the end of others of the same name.

use std::collections::BTreeMap;

use serde::Serialize;

use super::config::WebhookConfig;
use super::http::{Login, Post};
use super::{BuildError, SendError};
use crate::notification::Notification;
use crate::views::{NEVER, rfc3339};

/// A URL that takes Alertmanager's webhook.
#[derive(Debug)]
pub(super) struct Webhook {
    post: Post,
    external_url: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    receiver: &'a str,
    status: &'a str,
    alerts: [Alert<'a>; 1],
    group_labels: &'a BTreeMap<String, String>,
    common_labels: &'a BTreeMap<String, String>,
    common_annotations: &'a BTreeMap<String, String>,
    #[serde(rename = "externalURL")]
    external_url: &'a str,
    version: &'a str,
    group_key: String,
    truncated_alerts: u32,
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
        let login = Login {
            token_file: config.token_file.as_deref(),
            username: config.username.as_deref(),
            password_file: config.password_file.as_deref(),
        };
        let post = Post::build(name, &config.url, &login, config.ca_file.as_deref())?;
        Ok(Self { post, external_url: external_url.to_owned() })
    }

    pub(super) async fn send(&self, name: &str, change: &Notification) -> Result<(), SendError> {
        let body = serde_json::to_string(&body(name, &self.external_url, change));
        let body = body.map_err(|error| SendError::GiveUp(error.to_string()))?;
        self.post.send(vec![("content-type", "application/json".to_owned())], body).await
    }
}

fn body<'a>(receiver: &'a str, external_url: &'a str, change: &'a Notification) -> Body<'a> {
    let status = change.status.as_str();
    Body {
        receiver,
        status,
        alerts: [Alert {
            status,
            labels: &change.labels,
            annotations: &change.annotations,
            starts_at: rfc3339(change.starts_at_ms),
            ends_at: change.ends_at_ms.map_or_else(|| NEVER.to_owned(), rfc3339),
            generator_url: &change.generator_url,
            fingerprint: &change.fingerprint,
        }],
        group_labels: &change.labels,
        common_labels: &change.labels,
        common_annotations: &change.annotations,
        external_url,
        version: "4",
        group_key: group_key(&change.labels),
        truncated_alerts: 0,
    }
}

/// The key of the group of these labels below the one route there is.
fn group_key(labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{{}}:{{{}}}", pairs.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notification::Status;

    /// The body Alertmanager 0.25 sent for this alert, recorded; its group had one label.
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
        let ours = serde_json::to_string(&body("hook", "http://alertmanager.test", &change));
        let all = r#"{"alertname":"CephOSDDown","osd":"2","severity":"critical"}"#;
        let recorded = recorded
            .replace(
                r#""groupLabels":{"alertname":"CephOSDDown"}"#,
                &format!(r#""groupLabels":{all}"#),
            )
            .replace(
                r#"\"CephOSDDown\"}"#,
                r#"\"CephOSDDown\", osd=\"2\", severity=\"critical\"}"#,
            );
        assert_eq!(ours.unwrap(), recorded);
    }
}
