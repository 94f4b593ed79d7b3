//! Forwarding to Alertmanagers, by their API v2: what fires is told when it begins and each minute
//! from then on, as Prometheus does, since an Alertmanager takes what is not repeated for over.
//!
//! What is repeated is what fires by then ([`Forward::repeat`]) and not what messages began: of an
//! alert that ends while something keeps it quiet no message tells the end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tokio::task::{JoinHandle, JoinSet};

use super::config::AlertmanagerConfig;
use super::http::{Http, LoginFiles};
use super::{BuildError, PROMPT_TIMEOUT, SendError};
use crate::message::Message;
use crate::notification::{Notification, Status};
use crate::views::rfc3339;

/// Alerts that are told again. More than any lab has; what is beyond is told once.
const FIRING_MAX: usize = 10_000;

/// Alerts in one request.
const BATCH_LEN: usize = 500;

/// Some Alertmanagers.
pub(super) struct Forward {
    shared: Arc<Shared>,
    repeating: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    peers: Vec<Arc<Http>>,
    /// What they were told that fires, by fingerprint.
    firing: Mutex<BTreeMap<String, Notification>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Posted<'a> {
    labels: &'a BTreeMap<String, String>,
    annotations: &'a BTreeMap<String, String>,
    starts_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ends_at: Option<String>,
    #[serde(rename = "generatorURL", skip_serializing_if = "str::is_empty")]
    generator_url: &'a str,
}

impl std::fmt::Debug for Forward {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Forward").field("peers", &self.shared.peers).finish_non_exhaustive()
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        if let Some(task) = self.repeating().take() {
            task.abort();
        }
    }
}

impl Forward {
    pub(super) fn build(name: &str, config: &AlertmanagerConfig) -> Result<Self, BuildError> {
        let login = LoginFiles {
            token_file: config.token_file.as_deref(),
            username: config.username.as_deref(),
            password_file: config.password_file.as_deref(),
        };
        let peer = |url: &String| {
            let url = format!("{}/api/v2/alerts", url.trim_end_matches('/'));
            let http = Http::build(name, &url, &login, config.ca_file.as_deref())?;
            Ok(Arc::new(http.within(PROMPT_TIMEOUT)))
        };
        let peers = config.urls.iter().map(peer).collect::<Result<_, BuildError>>()?;
        let shared = Arc::new(Shared { peers, firing: Mutex::default() });
        Ok(Self { shared, repeating: Mutex::default() })
    }

    pub(super) async fn send(&self, message: &Message) -> Result<(), SendError> {
        self.shared.post(&message.alerts).await?;
        let mut firing = self.shared.firing();
        for alert in &message.alerts {
            match alert.status {
                Status::Resolved => {
                    firing.remove(&alert.fingerprint);
                }
                Status::Firing if firing.len() < FIRING_MAX => {
                    firing.insert(alert.fingerprint.clone(), alert.clone());
                }
                Status::Firing => {}
            }
        }
        Ok(())
    }

    /// Tells again of `mine`, which fires now and is for these, and once of what is no longer among
    /// `all` that fires that it is over. What an escalation brought here is among the latter only.
    /// Returns at once. Within a tokio runtime.
    pub(super) fn repeat(&self, mine: &[Notification], all: &[Notification], now_ms: i64) {
        let mut alerts: Vec<Notification> = {
            let mut firing = self.shared.firing();
            let known = all.iter().filter(|alert| firing.contains_key(&alert.fingerprint));
            let present = known.chain(mine).take(FIRING_MAX);
            let present = present.map(|alert| (alert.fingerprint.clone(), alert.clone())).collect();
            let before = std::mem::replace(&mut *firing, present);
            let left =
                before.into_values().filter(|alert| !firing.contains_key(&alert.fingerprint));
            left.map(|alert| over(alert, now_ms)).collect()
        };
        alerts.extend(self.shared.firing().values().cloned());
        let mut repeating = self.repeating();
        if let Some(late) = repeating.take() {
            late.abort();
        }
        if !alerts.is_empty() {
            *repeating = Some(tokio::spawn(repeat(self.shared.clone(), alerts)));
        }
    }

    fn repeating(&self) -> std::sync::MutexGuard<'_, Option<JoinHandle<()>>> {
        self.repeating.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn repeat(shared: Arc<Shared>, alerts: Vec<Notification>) {
    if let Err(error) = shared.post(&alerts).await {
        // The next minute tries again; a message that fails is told by its queue. An end that is
        // lost so is found out by the Alertmanager, which hears of that alert no more.
        tracing::debug!(%error, "alerts could not be told to Alertmanager again");
    }
}

fn over(alert: Notification, now_ms: i64) -> Notification {
    Notification { status: Status::Resolved, ends_at_ms: Some(now_ms), ..alert }
}

impl Shared {
    fn firing(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Notification>> {
        self.firing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells all peers at once. It is enough that one of them takes it: those that were away hear it
    /// with the next repetition.
    async fn post(&self, alerts: &[Notification]) -> Result<(), SendError> {
        for batch in alerts.chunks(BATCH_LEN) {
            let posted: Vec<Posted<'_>> = batch.iter().map(posted).collect();
            let body = serde_json::to_string(&posted);
            let body = body.map_err(|error| SendError::GiveUp(error.to_string()))?;
            let mut told = JoinSet::new();
            for peer in &self.peers {
                told.spawn(tell(peer.clone(), body.clone()));
            }
            first_taken(told).await?;
        }
        Ok(())
    }
}

async fn tell(peer: Arc<Http>, body: String) -> Result<(), SendError> {
    let headers = vec![("content-type", "application/json".to_owned())];
    match peer.post(headers, body).await {
        Ok(answer) => answer.outcome(&peer),
        // An alert that is told twice is still one.
        Err(SendError::Doubt { why, .. }) => Err(SendError::Retry { why, after: None }),
        Err(error) => Err(error),
    }
}

/// Ends with the first that takes it; the others are told all the same, each in its own time. A peer
/// that may take it later counts for more than one that refuses it.
async fn first_taken(mut told: JoinSet<Result<(), SendError>>) -> Result<(), SendError> {
    let mut failure = None;
    while let Some(outcome) = told.join_next().await {
        let outcome = outcome
            .unwrap_or_else(|error| Err(SendError::Retry { why: error.to_string(), after: None }));
        match outcome {
            Ok(()) => {
                told.detach_all();
                return Ok(());
            }
            Err(SendError::GiveUp(_)) if failure.is_some() => {}
            Err(error) => failure = Some(error),
        }
    }
    failure.map_or(Ok(()), Err)
}

/// What fires has no end: the Alertmanager gives it one, five minutes from when it hears of it.
fn posted(alert: &Notification) -> Posted<'_> {
    Posted {
        labels: &alert.labels,
        annotations: &alert.annotations,
        starts_at: rfc3339(alert.starts_at_ms),
        ends_at: alert.ends_at_ms.map(rfc3339),
        generator_url: &alert.generator_url,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::story::tests::{hot, message, over};
    use super::*;
    use crate::message::Reason;

    /// A server that counts the requests with an alert in them.
    async fn server() -> (String, Arc<Mutex<Vec<String>>>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let requests = seen.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut text = String::new();
                let mut buffer = [0; 4096];
                while !text.ends_with(']') {
                    let read = stream.read(&mut buffer).await.unwrap();
                    assert!(read > 0);
                    text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
                }
                requests.lock().unwrap().push(text);
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                stream.write_all(answer).await.unwrap();
            }
        });
        (url, seen)
    }

    async fn until(seen: &Mutex<Vec<String>>, count: usize) {
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while seen.lock().unwrap().len() < count {
            assert!(std::time::Instant::now() < deadline, "{count} requests did not come");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn bodies(seen: &Mutex<Vec<String>>) -> Vec<serde_json::Value> {
        let body = |text: &String| text.split_once("\r\n\r\n").unwrap().1.to_owned();
        let bodies: Vec<String> = seen.lock().unwrap().iter().map(body).collect();
        bodies.iter().map(|body| serde_json::from_str(body).unwrap()).collect()
    }

    fn forward(url: &str) -> Forward {
        // One of two that is away does no harm.
        let config = format!("urls = ['http://127.0.0.1:1', '{url}/']");
        Forward::build("am", &toml::from_str(&config).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn what_fires_is_told_again_until_it_is_over() {
        let (url, seen) = server().await;
        let forward = forward(&url);
        forward.send(&message(vec![hot()], Reason::New)).await.unwrap();
        forward.repeat(&[hot()], &[hot()], 0);
        until(&seen, 2).await;
        forward.send(&message(vec![over(hot())], Reason::Resolved)).await.unwrap();
        forward.repeat(&[], &[], 0);
        assert!(forward.repeating().is_none(), "nothing more is told");
        let requests = seen.lock().unwrap().clone();
        assert!(requests[0].starts_with("POST /api/v2/alerts HTTP/1.1"), "{}", requests[0]);
        let bodies = bodies(&seen);
        assert_eq!(bodies[1][0]["labels"]["alertname"], "DiskTooHot");
        assert_eq!(bodies[1][0]["startsAt"], "2026-01-01T13:45:00Z");
        assert!(bodies[1][0].get("endsAt").is_none());
        assert_eq!(bodies[2][0]["endsAt"], "2026-01-01T14:47:03Z");
        assert_eq!(bodies.len(), 3);
    }

    /// It takes the connection and says nothing, as a machine does that hangs.
    #[tokio::test]
    async fn a_peer_that_stalls_keeps_no_other_from_hearing() {
        let stalled = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (url, seen) = server().await;
        let config = format!("urls = ['http://{}', '{url}']", stalled.local_addr().unwrap());
        let forward = Forward::build("am", &toml::from_str(&config).unwrap()).unwrap();
        let message = message(vec![hot()], Reason::New);
        let sent = tokio::time::timeout(PROMPT_TIMEOUT / 2, forward.send(&message)).await;
        assert_eq!(sent, Ok(Ok(())));
        forward.repeat(&[hot()], &[hot()], 0);
        until(&seen, 2).await;
    }

    /// Such as one that ends while it is silenced, of which no message comes.
    #[tokio::test]
    async fn what_fires_no_longer_is_told_once_as_over_without_a_message() {
        let (url, seen) = server().await;
        let forward = forward(&url);
        forward.send(&message(vec![hot()], Reason::New)).await.unwrap();
        let other = Notification { fingerprint: "other".to_owned(), ..hot() };
        let all = [hot(), other.clone()];
        forward.repeat(&all[1..], &all, 1_767_279_540_000);
        until(&seen, 2).await;
        forward.repeat(&all[1..], &all[1..], 1_767_279_600_000);
        until(&seen, 3).await;
        forward.repeat(&all[1..], &all[1..], 1_767_279_660_000);
        until(&seen, 4).await;
        let bodies = bodies(&seen);
        let ends = |at: usize| -> Vec<Option<&str>> {
            let alerts = bodies[at].as_array().unwrap();
            alerts.iter().map(|alert| alert.get("endsAt").and_then(|end| end.as_str())).collect()
        };
        assert_eq!(ends(1), [None, None], "it fires, if for another receiver");
        assert_eq!(ends(2), [Some("2026-01-01T15:00:00Z"), None]);
        assert_eq!(ends(3), [None], "it is told once");
    }
}
