//! What clients send to the Alertmanager API: alerts and silences, read and looked over.
//!
//! Not here: what becomes of them, which the manners of `labstat-alerts` decide.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::{self, DeserializeOwned, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::refusal::Refusal;
use super::time::Time;

/// Bytes of a body with alerts. Prometheus sends 256 alerts at a time at most, of some kilobyte each; this is
/// room for thousands.
const ALERTS_LEN_MAX: usize = 4 * 1024 * 1024;

/// Alerts of a body: without labels they take three bytes each there, and a hundred times as much here.
const ALERTS_MAX: usize = 10_000;

/// Bytes of a body with a silence, of which the matchers may have a part.
const SILENCE_LEN_MAX: usize = 256 * 1024;

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Labels or annotations by name.
pub(crate) type Pairs = BTreeMap<String, String>;

/// An alert as it is posted.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PostedAlert {
    /// What it is; without a pair, it is none.
    #[serde(default)]
    pub(crate) labels: Option<Pairs>,
    /// What is said about it.
    #[serde(default)]
    pub(crate) annotations: Option<Pairs>,
    /// When it began.
    #[serde(default)]
    pub(crate) starts_at: Option<Time>,
    /// When it is over, if nothing more is heard of it.
    #[serde(default)]
    pub(crate) ends_at: Option<Time>,
    /// Where it comes from.
    #[serde(default, rename = "generatorURL")]
    pub(crate) generator_url: Option<String>,
}

/// A silence as it is posted.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PostedSilence {
    /// The silence to be replaced, if any.
    #[serde(default)]
    pub(crate) id: Option<String>,
    #[serde(default)]
    matchers: Option<Vec<Option<PostedMatcher>>>,
    #[serde(default)]
    starts_at: Option<Time>,
    #[serde(default)]
    ends_at: Option<Time>,
    #[serde(default)]
    created_by: Option<String>,
    #[serde(default)]
    comment: Option<String>,
}

/// One matcher of a posted silence.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PostedMatcher {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    value: Option<String>,
    #[serde(default)]
    is_regex: Option<bool>,
    #[serde(default)]
    is_equal: Option<bool>,
}

/// A silence that has everything that one must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WholeSilence {
    /// The silence to be replaced, if any.
    pub(crate) id: Option<String>,
    /// Which alerts it is about: name, value, whether the value is a pattern, whether it must match.
    pub(crate) matchers: Vec<WholeMatcher>,
    /// When it begins, in milliseconds.
    pub(crate) starts_ms: i64,
    /// When it is over, in milliseconds.
    pub(crate) ends_ms: i64,
    /// Who made it.
    pub(crate) created_by: String,
    /// Why.
    pub(crate) comment: String,
}

/// A matcher that has everything that one must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WholeMatcher {
    /// The label's name.
    pub(crate) name: String,
    /// What its value is compared with.
    pub(crate) value: String,
    /// Whether that is a pattern.
    pub(crate) is_regex: bool,
    /// Whether it must be so, or must not be so.
    pub(crate) is_equal: bool,
}

/// The body of a request with alerts, for [`read_alerts`].
pub(crate) async fn alerts(request: Request<Body>) -> Result<Bytes, Refusal> {
    arrived("alerts", request, ALERTS_LEN_MAX).await
}

/// The alerts of a body; `null` is none.
pub(crate) fn read_alerts(body: &[u8]) -> Result<Vec<PostedAlert>, Refusal> {
    let alerts: Option<Few> = parsed("alerts", body)?;
    let Few(alerts) = alerts.unwrap_or_default();
    for (at, alert) in alerts.iter().enumerate() {
        if let Some(url) = alert.generator_url.as_deref().filter(|url| !is_uri(url)) {
            return Err(Refusal::format(&format!("{at}.generatorURL"), "body", "uri", url));
        }
        if alert.labels.is_none() {
            return Err(Refusal::required(&format!("{at}.labels")));
        }
    }
    Ok(alerts)
}

/// Reads the silence of a request.
pub(crate) async fn silence(request: Request<Body>) -> Result<WholeSilence, Refusal> {
    read_silence(&arrived("silence", request, SILENCE_LEN_MAX).await?)
}

/// The silence of a body.
pub(crate) fn read_silence(body: &[u8]) -> Result<WholeSilence, Refusal> {
    let silence: Option<PostedSilence> = parsed("silence", body)?;
    whole(silence.unwrap_or_default())
}

/// The silence, if nothing that must be there is missing; else the first that is, in the order of
/// the fields' names.
fn whole(silence: PostedSilence) -> Result<WholeSilence, Refusal> {
    let required = |field: &'static str| move || Refusal::required(field);
    let PostedSilence { id, matchers, starts_at, ends_at, created_by, comment } = silence;
    let comment = comment.ok_or_else(required("comment"))?;
    let created_by = created_by.ok_or_else(required("createdBy"))?;
    let ends_at = ends_at.ok_or_else(required("endsAt"))?;
    let matchers = matchers.ok_or_else(required("matchers"))?;
    if matchers.is_empty() {
        return Err(Refusal::empty("matchers"));
    }
    let matchers = matchers.into_iter().enumerate().map(|(at, matcher)| {
        let required = |field: &str| Refusal::required(&format!("matchers.{at}.{field}"));
        let PostedMatcher { name, value, is_regex, is_equal } = matcher.unwrap_or_default();
        Ok(WholeMatcher {
            is_regex: is_regex.ok_or_else(|| required("isRegex"))?,
            name: name.ok_or_else(|| required("name"))?,
            value: value.ok_or_else(|| required("value"))?,
            is_equal: is_equal.unwrap_or(true),
        })
    });
    let matchers = matchers.collect::<Result<_, Refusal>>()?;
    let starts_at = starts_at.ok_or_else(required("startsAt"))?;
    let id = id.filter(|id| !id.is_empty());
    Ok(WholeSilence {
        id,
        matchers,
        starts_ms: starts_at.0,
        ends_ms: ends_at.0,
        created_by,
        comment,
    })
}

/// Alerts, up to as many as one request may have.
#[derive(Debug, Default)]
struct Few(Vec<PostedAlert>);

impl<'de> Deserialize<'de> for Few {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(FewVisitor)
    }
}

struct FewVisitor;

impl<'de> Visitor<'de> for FewVisitor {
    type Value = Few;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {ALERTS_MAX} alerts")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Few, A::Error> {
        let mut alerts = Vec::new();
        while let Some(alert) = list.next_element()? {
            if alerts.len() == ALERTS_MAX {
                return Err(de::Error::invalid_length(ALERTS_MAX + 1, &self));
            }
            alerts.push(alert);
        }
        Ok(Few(alerts))
    }
}

/// The body of a request, which must be JSON by its own word and must not be empty.
async fn arrived(what: &str, request: Request<Body>, len_max: usize) -> Result<Bytes, Refusal> {
    let kind = media_type(request.headers());
    let body = Limited::new(request.into_body(), len_max).collect();
    let body = tokio::time::timeout(BODY_TIMEOUT, body).await.map_err(|_| {
        Refusal::coded(StatusCode::REQUEST_TIMEOUT, format!("the {what} did not arrive in time"))
    })?;
    let body = body.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
        Some(_) => {
            let text = format!("the {what} has more than {len_max} bytes");
            Refusal::coded(StatusCode::PAYLOAD_TOO_LARGE, text)
        }
        None => unparsed(what, &*error),
    })?;
    let body = body.to_bytes();
    if body.is_empty() {
        return Err(Refusal::required(what));
    }
    if kind != "application/json" {
        let text = format!("unsupported media type {kind:?}, only [application/json] are allowed");
        return Err(Refusal::coded(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    }
    Ok(body)
}

fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = value.unwrap_or("").split(';').next().unwrap_or("").trim();
    if kind.is_empty() { "application/octet-stream".to_owned() } else { kind.to_ascii_lowercase() }
}

fn parsed<T: DeserializeOwned>(what: &str, body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| unparsed(what, &error))
}

fn unparsed(what: &str, cause: &dyn std::error::Error) -> Refusal {
    let text = format!("parsing {what} body from \"\" failed, because {cause}");
    Refusal::coded(StatusCode::BAD_REQUEST, text)
}

/// Whether a text is a URL or the path of one, or nothing.
fn is_uri(text: &str) -> bool {
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    };
    let shown = !text.chars().any(char::is_control);
    let known = text.split_once(':').is_some_and(|(scheme, _)| is_scheme(scheme));
    text.is_empty() || shown && (text.starts_with('/') || known)
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = "application/json";

    fn request(kind: &str, body: &str) -> Request<Body> {
        let request = Request::post("/").header(header::CONTENT_TYPE, kind);
        request.body(Body::from(body.to_owned())).unwrap()
    }

    async fn alerts_of(body: &str) -> Result<Vec<PostedAlert>, Refusal> {
        read_alerts(&alerts(request(JSON, body)).await?)
    }

    async fn refusal_of(body: &str) -> Refusal {
        alerts_of(body).await.unwrap_err()
    }

    #[test]
    fn more_alerts_than_anyone_has_are_refused_while_they_are_read() {
        let list = |count: usize| format!("[{}]", vec![r#"{"labels":{}}"#; count].join(","));
        assert_eq!(read_alerts(list(ALERTS_MAX).as_bytes()).unwrap().len(), ALERTS_MAX);
        let refused = read_alerts(list(ALERTS_MAX + 1).as_bytes()).unwrap_err();
        let Refusal::Coded(StatusCode::BAD_REQUEST, _, text) = refused else {
            panic!("{refused:?}")
        };
        assert!(text.contains("at most 10000 alerts"), "{text}");
    }

    #[tokio::test]
    async fn alerts_are_read_with_what_they_have() {
        let text = r#"[{"labels":{"alertname":"X","a":"b"},"startsAt":"2026-11-22T03:34:23Z",
            "endsAt":"0001-01-01T00:00:00.000Z","generatorURL":"http://p/g","unknown":1},
            {"labels":{},"annotations":null}]"#;
        let body = alerts(request("application/json; charset=utf-8", text)).await.unwrap();
        let alerts = read_alerts(&body).unwrap();
        assert_eq!(alerts.len(), 2);
        assert_eq!(alerts[0].starts_at.and_then(Time::known_ms), Some(1_795_318_463_000));
        assert_eq!(alerts[0].ends_at.and_then(Time::known_ms), None);
        assert_eq!(alerts[0].generator_url.as_deref(), Some("http://p/g"));
        assert_eq!(alerts_of("[]").await, Ok(Vec::new()));
        assert_eq!(alerts_of("null").await, Ok(Vec::new()));
    }

    #[tokio::test]
    async fn what_is_no_alert_is_refused_as_alertmanager_does() {
        assert_eq!(refusal_of("").await, Refusal::required("alerts"));
        assert_eq!(refusal_of("[{}]").await, Refusal::required("0.labels"));
        let bad = r#"[{"labels":{"a":"b"},"generatorURL":"::bad"}]"#;
        assert_eq!(
            refusal_of(bad).await,
            Refusal::format("0.generatorURL", "body", "uri", "::bad")
        );
        for bad in ["{", "{}", r#"[{"labels":{"a":1}}]"#, r#"[{"labels":{},"startsAt":"x"}]"#] {
            let Refusal::Coded(status, 400, text) = refusal_of(bad).await else { panic!("{bad}") };
            assert_eq!(status, StatusCode::BAD_REQUEST);
            assert!(text.starts_with("parsing alerts body from \"\" failed, because "), "{text}");
        }
        let refused = alerts(request("text/plain", "[]")).await.unwrap_err();
        assert!(matches!(refused, Refusal::Coded(StatusCode::UNSUPPORTED_MEDIA_TYPE, 415, _)));
    }

    #[tokio::test]
    async fn a_body_beyond_the_bound_is_refused() {
        let long = format!("[{}]", " ".repeat(ALERTS_LEN_MAX));
        let refused = refusal_of(&long).await;
        assert!(matches!(refused, Refusal::Coded(StatusCode::PAYLOAD_TOO_LARGE, 413, _)));
    }

    #[tokio::test]
    async fn of_a_silence_the_first_that_is_missing_is_named() {
        let times = r#""startsAt":"2026-11-22T03:00:00Z","endsAt":"2026-11-23T03:00:00Z""#;
        let who = r#""createdBy":"me","comment":"c""#;
        for (body, expected) in [
            ("{}".to_owned(), Refusal::required("comment")),
            ("null".to_owned(), Refusal::required("comment")),
            (format!("{{{who}}}"), Refusal::required("endsAt")),
            (format!("{{{who},{times}}}"), Refusal::required("matchers")),
            (format!(r#"{{"matchers":[],{who},{times}}}"#), Refusal::empty("matchers")),
            (
                format!(r#"{{"matchers":[{{"name":"a","value":"b"}}],{who},{times}}}"#),
                Refusal::required("matchers.0.isRegex"),
            ),
        ] {
            assert_eq!(silence(request(JSON, &body)).await.unwrap_err(), expected, "{body}");
        }
        let matcher = r#"{"name":"a","value":"b","isRegex":true}"#;
        let body = format!(r#"{{"id":"","matchers":[{matcher}],{who},{times}}}"#);
        let silence = silence(request(JSON, &body)).await.unwrap();
        assert_eq!((silence.id, silence.ends_ms - silence.starts_ms), (None, 86_400_000));
        assert!(silence.matchers[0].is_equal && silence.matchers[0].is_regex);
    }

    #[test]
    fn urls_are_told_from_what_is_none() {
        for uri in ["", "http://p/g", "/graph", "x-y:z"] {
            assert!(is_uri(uri), "{uri}");
        }
        for not in ["::bad", "graph", "1a:b", "http://a\nb"] {
            assert!(!is_uri(not), "{not}");
        }
    }
}
