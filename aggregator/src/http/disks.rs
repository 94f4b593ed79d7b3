//! `/api/labstat/v1/disks`: every disk, what is thought of it, and the two things that people do
//! about it: acknowledge and forget.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::Request;
use http_body_util::{BodyExt, Limited};
use labstat_disks::Projection;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::error::{ApiError, Json};
use super::params::Params;
use super::status::{rfc3339, success};
use crate::app::App;
use crate::disks::disk::Disk;
use crate::disks::registry::Refused;
use crate::disks::{Identity, Place};
use crate::telemetry::seconds;

/// Bytes of a request to acknowledge: a note is a sentence or two.
const BODY_LEN_MAX: usize = 64 * 1024;

/// Characters of a note.
const NOTE_LEN_MAX: usize = 1_000;

/// How long such a request may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// What is appended to a disk's name to acknowledge it.
const ACK: &str = "/ack";

/// All disks that are not retired.
pub(crate) async fn list(State(app): State<Arc<App>>) -> Json {
    let now_ms = app.clock.now_ms();
    let registry = app.disks.registry();
    let list: Vec<Value> = registry.shown().map(|disk| view(disk, now_ms)).collect();
    success(&json!(list))
}

/// One disk.
pub(crate) async fn one(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Json, ApiError> {
    let registry = app.disks.registry();
    Ok(success(&view(registry.find(&name)?, app.clock.now_ms())))
}

/// Accepts what a disk says now, so that only more than that counts from here on.
pub(crate) async fn acknowledge(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Result<Json, ApiError> {
    let no_path = || ApiError::not_found("the path to acknowledge a disk ends in /ack");
    let name = name.strip_suffix(ACK).ok_or_else(no_path)?.to_owned();
    let note = note(request).await?;
    let now_ms = app.clock.now_ms();
    let identity = app.disks.registry().acknowledge(&name, note, now_ms)?;
    looked(app, identity).await
}

/// Forgets a disk: it is no longer expected, until it is seen again. Its history stays.
pub(crate) async fn forget(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Json, ApiError> {
    let now_ms = app.clock.now_ms();
    let identity = app.disks.registry().forget(&name, now_ms)?;
    looked(app, identity).await
}

/// The disk after a look, so that what was asked for shows and is on disk.
async fn looked(app: Arc<App>, identity: Identity) -> Result<Json, ApiError> {
    let done = tokio::task::spawn_blocking(move || {
        app.look_at_disks();
        app.keep_disks().map_err(|error| ApiError::not_kept(&error))?;
        let registry = app.disks.registry();
        Ok::<_, ApiError>(registry.disks.get(&identity).map(|disk| view(disk, app.clock.now_ms())))
    });
    let found = done.await.map_err(|_| ApiError::internal("it was not put down"))??;
    Ok(success(&found.unwrap_or(Value::Null)))
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Unknown(_) => Self::not_found(refused.to_string()),
            _ => Self::bad_data(refused.to_string()),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Acknowledge {
    #[serde(default)]
    note: String,
}

/// The note of a request: `{"note": …}`, or `note=…` in a form or the URL.
async fn note(request: Request<Body>) -> Result<String, ApiError> {
    let query = request.uri().query().unwrap_or("").to_owned();
    let body = Limited::new(request.into_body(), BODY_LEN_MAX).collect();
    let body = tokio::time::timeout(BODY_TIMEOUT, body).await;
    let body = body.map_err(|_| ApiError::timeout("the note did not arrive in time"))?;
    let body = body.map_err(|error| ApiError::bad_data(format!("no note can be read: {error}")))?;
    let body = body.to_bytes();
    let note = if body.first() == Some(&b'{') {
        let read: Result<Acknowledge, _> = serde_json::from_slice(&body);
        read.map_err(|error| ApiError::bad_data(format!("no note can be read: {error}")))?.note
    } else {
        let found = [&*body, query.as_bytes()].map(Params::parse);
        found.iter().find_map(|params| params.get("note")).unwrap_or_default().to_owned()
    };
    let note = note.trim().to_owned();
    if note.chars().count() > NOTE_LEN_MAX {
        return Err(ApiError::parameter("note", format!("longer than {NOTE_LEN_MAX} characters")));
    }
    Ok(note)
}

fn view(disk: &Disk, now_ms: i64) -> Value {
    let mut view = Map::new();
    let mut put = |key: &str, value: Value| {
        if !value.is_null() {
            view.insert(key.to_owned(), value);
        }
    };
    let text = |text: &str| if text.is_empty() { Value::Null } else { json!(text) };
    put("serialNumber", text(&disk.identity.serial));
    let is_shared = disk.told.as_ref().is_some_and(|told| told.placed);
    if is_shared && disk.identity.is_named() {
        put("serialNumberShared", json!(true));
    }
    put("modelName", text(&disk.identity.model));
    put("namespace", text(&disk.identity.namespace));
    put("instance", json!(disk.place.instance));
    put("device", json!(disk.place.device));
    put("placeSince", json!(rfc3339(disk.place_since_ms)));
    let also: Vec<String> = disk.also.iter().map(Place::to_string).collect();
    put("also", if also.is_empty() { Value::Null } else { json!(also) });
    put("verdict", json!(disk.verdict));
    put("verdictSince", json!(rfc3339(disk.verdict_ms)));
    put("reasons", json!(disk.reasons(now_ms)));
    put("state", json!(disk.state.as_str()));
    put("stateReason", text(&disk.state_reason));
    put("firstSeen", json!(rfc3339(disk.first_seen_ms)));
    put("lastAnswered", json!(rfc3339(disk.answered_ms)));
    put("ageSeconds", json!(seconds(now_ms.saturating_sub(disk.answered_ms).max(0))));
    put("lastRead", disk.read_ms.map_or(Value::Null, |ms| json!(rfc3339(ms))));
    put("intervalSeconds", disk.interval_ms().map_or(Value::Null, |ms| json!(seconds(ms))));
    put("silentSince", disk.silent_ms.map_or(Value::Null, |ms| json!(rfc3339(ms))));
    if disk.node_down {
        put("nodeDown", json!(true));
    }
    if let Some(retired_ms) = disk.retired_ms {
        put("retired", json!(rfc3339(retired_ms)));
    }
    if let Some(latest) = &disk.latest {
        put("modelFamily", json!(latest.identity.family));
        put("firmwareVersion", json!(latest.identity.firmware));
        put("capacityBytes", json!(latest.capacity_bytes));
        put("powerOnHours", json!(latest.power_on_hours));
        put("wearRatio", json!(latest.wear_ratio));
        put("availableSparePercent", json!(latest.available_spare));
    }
    if let Some(seen) = &disk.acknowledged {
        put("acknowledged", json!({ "at": rfc3339(seen.at_ms), "note": seen.note }));
    }
    put("wearOut", projection(disk.wear_out.as_ref()));
    put("spareOut", projection(disk.spare_out.as_ref()));
    Value::Object(view)
}

fn projection(projection: Option<&Projection>) -> Value {
    let Some(projection) = projection else { return Value::Null };
    #[expect(clippy::cast_possible_truncation, reason = "saturates, and no such time is written")]
    let at = |seconds: f64| rfc3339((seconds * 1000.0) as i64);
    json!({
        "at": at(projection.at_seconds),
        "earliest": at(projection.earliest_seconds),
        "latest": projection.latest_seconds.map(at),
        "confidence": projection.confidence.as_str(),
    })
}
