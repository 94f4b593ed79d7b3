//! `/api/labstat/v1/alerts`, `ack` and `routes`: what labstat knows of alerts and Alertmanager's API
//! has no place for, and the acknowledging of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::Request;
use http_body_util::{BodyExt, Limited};
use labstat_alerts::manners::{AckError, AlertStatus, AlertsFilter, Manners};
use labstat_alerts::views::AlertView;
use labstat_model::duration;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::error::{ApiError, Json};
use super::params::Params;
use super::status::{rfc3339, success};
use crate::alerting::Acknowledge;
use crate::app::App;

/// Bytes of a request to acknowledge: some names and a sentence.
const BODY_LEN_MAX: usize = 64 * 1024;

/// How long such a request may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Alerts that are named in one request.
const NAMES_MAX: usize = 1_000;

/// Characters of a comment or of a name of who makes it.
const TEXT_LEN_MAX: usize = 1_000;

/// All alerts: those that fire with all that is known of them, then those that are about to.
pub(crate) async fn list(State(app): State<Arc<App>>) -> Json {
    let mut list = app.alerting.look(|manners, now_ms| {
        let alerts = manners.alerts(&AlertsFilter::default(), now_ms);
        alerts.iter().map(|alert| firing(manners, alert, now_ms)).collect::<Vec<Value>>()
    });
    let pending = app.alerting.alerts_view().alerts;
    list.extend(pending.iter().filter(|alert| alert.state == "pending").map(pending_view));
    success(&Value::Array(list))
}

/// One alert, with what happened so far in the messages that tell of it.
pub(crate) async fn one(
    State(app): State<Arc<App>>,
    Path(fingerprint): Path<String>,
) -> Result<Json, ApiError> {
    let found = app.alerting.look(|manners, now_ms| {
        let alert = manners.alert(&fingerprint, now_ms)?;
        let mut view = firing(manners, &alert, now_ms);
        if let Some(fields) = view.as_object_mut() {
            fields.insert("timeline".to_owned(), timeline(manners, &alert, now_ms));
        }
        Some(view)
    });
    let unknown = || ApiError::not_found(format!("no alert has the fingerprint {fingerprint:?}"));
    found.map(|view| success(&view)).ok_or_else(unknown)
}

fn timeline(manners: &Manners, alert: &AlertStatus, now_ms: i64) -> Value {
    let fingerprint = &alert.alert.fingerprint;
    let groups = manners.groups(&AlertsFilter::default(), now_ms);
    let with_it = groups
        .into_iter()
        .filter(|group| group.alerts.iter().any(|other| other.alert.fingerprint == *fingerprint));
    // Several receivers have a group of it; that with the longest story tells all.
    let longest = with_it.map(|group| group.timeline).max_by_key(Vec::len).unwrap_or_default();
    longest
        .iter()
        .map(|event| {
            json!({
                "at": rfc3339(event.time_ms),
                "fingerprint": event.fingerprint,
                "status": event.status,
                "text": event.text,
            })
        })
        .collect()
}

fn firing(manners: &Manners, status: &AlertStatus, now_ms: i64) -> Value {
    let alert = &status.alert;
    let mut view = json!({
        "fingerprint": alert.fingerprint,
        "labels": alert.labels,
        "annotations": alert.annotations,
        "state": alert.status,
        "suppressed": status.is_suppressed(),
        "activeAt": rfc3339(alert.active_at_ms),
        "startsAt": rfc3339(alert.starts_at_ms),
        "updatedAt": rfc3339(status.updated_ms),
        "receivers": status.receivers,
        "inhibitedBy": status.inhibited_by,
        "mutedBy": status.muted_by,
        "incident": status.incident,
        "generatorURL": alert.generator_url,
    });
    let silences: Vec<Value> = status
        .silenced_by
        .iter()
        .filter_map(|id| manners.silence(id, now_ms))
        .map(|(silence, _)| {
            json!({
                "id": silence.id,
                "by": silence.created_by,
                "comment": silence.comment,
                "until": rfc3339(silence.ends_at_ms),
            })
        })
        .collect();
    let mut put = |key: &str, value: Value| {
        if let Some(fields) = view.as_object_mut() {
            fields.insert(key.to_owned(), value);
        }
    };
    put("silencedBy", Value::Array(silences));
    if alert.value.is_finite() {
        put("value", json!(alert.value));
    }
    if let Some(ms) = alert.ends_at_ms {
        put("endsAt", json!(rfc3339(ms)));
    }
    if let Some(cause) = &status.caused_by {
        put("causedBy", json!(cause));
    }
    if let Some(count) = status.flapping {
        put("flapping", json!(count));
    }
    if let Some(ack) = &status.acknowledged {
        let mut fields = Map::new();
        fields.insert("by".to_owned(), json!(ack.who));
        fields.insert("comment".to_owned(), json!(ack.comment));
        fields.insert("at".to_owned(), json!(rfc3339(ack.at_ms)));
        if let Some(ms) = ack.until_ms {
            fields.insert("until".to_owned(), json!(rfc3339(ms)));
        }
        put("acknowledged", Value::Object(fields));
    }
    view
}

fn pending_view(alert: &AlertView) -> Value {
    let mut view = json!({
        "labels": alert.labels,
        "annotations": alert.annotations,
        "state": alert.state,
        "activeAt": alert.active_at,
    });
    let value = alert.value.parse::<f64>().ok().filter(|value| value.is_finite());
    if let (Some(value), Some(fields)) = (value, view.as_object_mut()) {
        fields.insert("value".to_owned(), json!(value));
    }
    view
}

/// Who acknowledges what.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// Names of alerts, or their fingerprints.
    #[serde(default)]
    alerts: Vec<String>,
    #[serde(default)]
    by: String,
    #[serde(default)]
    comment: String,
    /// For how long, such as `2h`; without it, until it is over.
    #[serde(default, rename = "for")]
    length: String,
}

/// Acknowledges alerts: they are not told again, and nobody else is called.
pub(crate) async fn acknowledge(
    State(app): State<Arc<App>>,
    request: Request<Body>,
) -> Result<Json, ApiError> {
    let wanted = checked(wanted(request).await?)?;
    let done = app.alerting.acknowledge(wanted).await.map_err(ApiError::internal)?;
    Ok(success(&json!({ "acknowledged": done.map_err(refused)? })))
}

/// Takes an acknowledgement back.
pub(crate) async fn unacknowledge(
    State(app): State<Arc<App>>,
    Path(alert): Path<String>,
) -> Result<Json, ApiError> {
    let done = app.alerting.unacknowledge(alert).await.map_err(ApiError::internal)?;
    Ok(success(&json!({ "unacknowledged": done.map_err(refused)? })))
}

fn refused(error: AckError) -> ApiError {
    match error {
        AckError::NotFound => ApiError::not_found(error.to_string()),
        AckError::EndsInThePast => ApiError::bad_data(error.to_string()),
    }
}

/// What is asked for, as JSON, or as a form in the body or the URL.
async fn wanted(request: Request<Body>) -> Result<Wanted, ApiError> {
    let query = request.uri().query().unwrap_or("").to_owned();
    let body = Limited::new(request.into_body(), BODY_LEN_MAX).collect();
    let body = tokio::time::timeout(BODY_TIMEOUT, body).await;
    let body = body.map_err(|_| ApiError::timeout("the request did not arrive in time"))?;
    let body = body.map_err(|error| ApiError::bad_data(format!("nothing can be read: {error}")))?;
    let body = body.to_bytes();
    if body.first() == Some(&b'{') {
        let read = serde_json::from_slice(&body);
        return read.map_err(|error| ApiError::bad_data(format!("nothing can be read: {error}")));
    }
    let forms = [&*body, query.as_bytes()].map(Params::parse);
    let get = |name: &str| {
        forms.iter().find_map(|params| params.get(name)).unwrap_or_default().to_owned()
    };
    let alerts = forms.iter().flat_map(|params| params.all("alert").map(str::to_owned));
    Ok(Wanted {
        alerts: alerts.collect(),
        by: get("by"),
        comment: get("comment"),
        length: get("for"),
    })
}

fn checked(wanted: Wanted) -> Result<Acknowledge, ApiError> {
    let Wanted { alerts, by, comment, length } = wanted;
    if alerts.is_empty() || alerts.len() > NAMES_MAX {
        let cause = format!("expected the names or fingerprints of 1 to {NAMES_MAX} alerts");
        return Err(ApiError::parameter("alerts", cause));
    }
    for (name, text) in [("by", &by), ("comment", &comment)] {
        if text.chars().count() > TEXT_LEN_MAX {
            let cause = format!("longer than {TEXT_LEN_MAX} characters");
            return Err(ApiError::parameter(name, cause));
        }
    }
    let for_ms = match length.as_str() {
        "" => None,
        text => match duration::parse_ms(text) {
            Ok(ms) if ms > 0 => Some(ms),
            Ok(_) => return Err(ApiError::parameter("for", "must be longer than nothing")),
            Err(error) => return Err(ApiError::parameter("for", error)),
        },
    };
    Ok(Acknowledge {
        alerts,
        who: by.trim().to_owned(),
        comment: comment.trim().to_owned(),
        for_ms,
    })
}

/// What would become of an alert whose labels are the parameters; without any, all routes too.
pub(crate) async fn routes(State(app): State<Arc<App>>, params: Params) -> Result<Json, ApiError> {
    params.well_formed()?;
    let labels: BTreeMap<String, String> = params.pairs().collect();
    let (told, tree) = app.alerting.look(|manners, now_ms| {
        let tree = labels.is_empty().then(|| manners.config().routes());
        (manners.explain(&labels, now_ms), tree)
    });
    let mut view = json!(told);
    if let Some(fields) = view.as_object_mut() {
        fields.insert("suppressed".to_owned(), json!(told.is_suppressed()));
        fields.extend(tree.map(|tree| ("tree".to_owned(), json!(tree))));
    }
    Ok(success(&view))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(body: &str) -> Result<Acknowledge, String> {
        let request = Request::post("/ack?by=url").body(Body::from(body.to_owned())).unwrap();
        let wanted = wanted(request).await.map_err(|error| error.to_string())?;
        checked(wanted).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn what_is_acknowledged_comes_as_json_or_as_a_form() {
        let json = r#"{"alerts":["NodeDown"],"by":" anna ","comment":"on it","for":"2h"}"#;
        let expected = Acknowledge {
            alerts: vec!["NodeDown".to_owned()],
            who: "anna".to_owned(),
            comment: "on it".to_owned(),
            for_ms: Some(7_200_000),
        };
        assert_eq!(read(json).await, Ok(expected));
        let form = read("alert=a&alert=b&comment=x+y").await.unwrap();
        assert_eq!(
            (form.alerts.len(), form.who.as_str(), form.comment.as_str()),
            (2, "url", "x y")
        );
        assert_eq!(form.for_ms, None);
    }

    #[tokio::test]
    async fn what_makes_no_sense_is_refused() {
        for (body, part) in [
            ("{}", "alerts"),
            ("", "alerts"),
            (r#"{"alerts":["a"],"for":"soon"}"#, "for"),
            (r#"{"alerts":["a"],"for":"0s"}"#, "longer than nothing"),
            (r#"{"alerts":["a"],"who":"x"}"#, "unknown field"),
            (r#"{"alerts":3}"#, "nothing can be read"),
            (&format!("alert=a&comment={}", "x".repeat(1_001)), "comment"),
        ] {
            let error = read(body).await.unwrap_err();
            assert!(error.contains(part), "{body}: {error}");
        }
    }
}
