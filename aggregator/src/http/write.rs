//! `/api/v1/write`: remote write 1.0, the one way in.
//!
//! The answer tells a sender what to do: 204 when all is on disk, 400 when some or all of it will
//! never be taken (what was good is kept), 413 when it must be split, 5xx when it should be sent
//! again later. Memory is bounded over all requests together: a request waits until there is room
//! for its body and what that may decompress to.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use labstat_model::limits::{WRITE_BODY_LEN_MAX, WRITE_DECODED_LEN_MAX};
use labstat_store::Appended;
use labstat_wire::remote_write::{self, Decoded};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::app::{App, PERMIT_BYTES};
use crate::storage::{WriteFailed, chain};

/// The memory that the largest request may take, compressed and decoded, in bytes.
pub(crate) const REQUEST_BYTES_MAX: usize = WRITE_BODY_LEN_MAX + WRITE_DECODED_LEN_MAX;

/// What a byte of a body may become: itself, and the most that snappy can make of it.
const GROWTH_MAX: usize = 1 + 22;

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a request waits for room before its sender is told to come back.
const ROOM_TIMEOUT: Duration = Duration::from_secs(10);

/// Seconds after which a sender should try again when there was no room in memory.
const RETRY_BUSY_S: &str = "5";

/// Seconds after which a sender should try again when there was no room on disk.
const RETRY_FULL_S: &str = "60";

/// Takes a write.
pub(crate) async fn write(State(app): State<Arc<App>>, request: Request<Body>) -> Response {
    match take(app, request).await {
        Ok(response) | Err(response) => response,
    }
}

async fn take(app: Arc<App>, request: Request<Body>) -> Result<Response, Response> {
    check_headers(request.headers())?;
    let len = content_len(request.headers())?;
    let room = room(&app.write_memory, len).await?;
    let body = read_body(request.into_body()).await?;
    // The room and the work stay together, so that a sender that hangs up early frees nothing
    // that is still in use.
    let done = tokio::task::spawn_blocking(move || {
        let response = decode_and_store(&app, &body);
        drop(room);
        response
    });
    Ok(done
        .await
        .unwrap_or_else(|_| text(StatusCode::INTERNAL_SERVER_ERROR, "the write was not finished")))
}

/// Remote write 2.0 and anything else that 1.0 does not say is refused with 415, which makes a
/// sender that knows both go on with 1.0.
fn check_headers(headers: &HeaderMap) -> Result<(), Response> {
    let get = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let kind = get(header::CONTENT_TYPE).unwrap_or("application/x-protobuf");
    let mut parts = kind.split(';').map(str::trim);
    let media = parts.next().unwrap_or("");
    if !media.eq_ignore_ascii_case("application/x-protobuf") {
        let message = format!("content type {media:?}: expected application/x-protobuf");
        return Err(text(StatusCode::UNSUPPORTED_MEDIA_TYPE, &message));
    }
    for part in parts {
        let Some((name, proto)) = part.split_once('=') else { continue };
        if name.eq_ignore_ascii_case("proto")
            && proto.trim_matches('"') != "prometheus.WriteRequest"
        {
            let message = format!(
                "message {proto}: remote write 2.0 is not taken yet, send 1.0 \
                 (prometheus.WriteRequest)"
            );
            return Err(text(StatusCode::UNSUPPORTED_MEDIA_TYPE, &message));
        }
    }
    match get(header::CONTENT_ENCODING) {
        None => Ok(()),
        Some(encoding) if encoding.eq_ignore_ascii_case("snappy") => Ok(()),
        Some(other) => {
            let message = format!("content encoding {other:?}: expected snappy");
            Err(text(StatusCode::UNSUPPORTED_MEDIA_TYPE, &message))
        }
    }
}

/// The body's length as stated; the largest there may be where it is not.
fn content_len(headers: &HeaderMap) -> Result<usize, Response> {
    let stated = headers.get(header::CONTENT_LENGTH).and_then(|len| len.to_str().ok());
    let len = stated.map_or(Some(WRITE_BODY_LEN_MAX), |len| len.parse().ok());
    match len {
        Some(len) if len <= WRITE_BODY_LEN_MAX => Ok(len),
        _ => Err(body_too_large()),
    }
}

async fn room(memory: &Arc<Semaphore>, len: usize) -> Result<OwnedSemaphorePermit, Response> {
    let bytes = len.saturating_mul(GROWTH_MAX).clamp(PERMIT_BYTES, REQUEST_BYTES_MAX);
    let permits = u32::try_from(bytes.div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX);
    let wait = Arc::clone(memory).acquire_many_owned(permits);
    match tokio::time::timeout(ROOM_TIMEOUT, wait).await {
        Ok(Ok(permit)) => Ok(permit),
        Ok(Err(_)) | Err(_) => {
            Err(later(StatusCode::SERVICE_UNAVAILABLE, RETRY_BUSY_S, "too many writes at a time"))
        }
    }
}

async fn read_body(body: Body) -> Result<Bytes, Response> {
    let collected = Limited::new(body, WRITE_BODY_LEN_MAX).collect();
    match tokio::time::timeout(BODY_TIMEOUT, collected).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(body_too_large()),
        Ok(Err(error)) => {
            Err(text(StatusCode::BAD_REQUEST, &format!("failed to read the body: {error}")))
        }
        Err(_) => Err(text(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time")),
    }
}

fn body_too_large() -> Response {
    let message = format!("body over the limit of {WRITE_BODY_LEN_MAX} bytes");
    text(StatusCode::PAYLOAD_TOO_LARGE, &message)
}

fn decode_and_store(app: &App, body: &[u8]) -> Response {
    let decoded = match remote_write::decode(body) {
        Ok(decoded) => decoded,
        Err(error) => {
            let status = if error.is_too_large() {
                StatusCode::PAYLOAD_TOO_LARGE
            } else {
                StatusCode::BAD_REQUEST
            };
            app.telemetry.ingest.failures.with_label_values(&["malformed"]).inc();
            return text(status, &chain(&error));
        }
    };
    count_left_out(app, &decoded);
    match app.ingest(&decoded.request) {
        Ok(appended) => outcome(app, &decoded, &appended),
        Err(error @ WriteFailed::Full(_)) => {
            tracing::error!(error = chain(&error), "a write was not kept");
            later(StatusCode::INSUFFICIENT_STORAGE, RETRY_FULL_S, &chain(&error))
        }
        Err(error @ WriteFailed::Closed) => {
            later(StatusCode::SERVICE_UNAVAILABLE, RETRY_BUSY_S, &chain(&error))
        }
        Err(error @ WriteFailed::Failed(_)) => {
            tracing::error!(error = chain(&error), "a write was not kept");
            text(StatusCode::INTERNAL_SERVER_ERROR, &chain(&error))
        }
    }
}

fn count_left_out(app: &App, decoded: &Decoded) {
    let ignored = &app.telemetry.ingest.ignored;
    let parts =
        [("histogram", decoded.ignored.histograms), ("exemplar", decoded.ignored.exemplars)];
    for (kind, count) in parts.into_iter().filter(|(_, count)| *count > 0) {
        ignored.with_label_values(&[kind]).inc_by(u64::try_from(count).unwrap_or(0));
    }
}

/// 204 when nothing was refused, else 400 with the reasons.
fn outcome(app: &App, decoded: &Decoded, appended: &Appended) -> Response {
    let refused = &app.telemetry.ingest.refused;
    for refusal in &appended.refusals {
        // The store names the first few; the rest share their reason nearly always.
        refused.with_label_values(&[refusal.reason.as_str()]).inc();
    }
    let unnamed = appended.refused.saturating_sub(appended.refusals.len());
    if unnamed > 0 {
        refused.with_label_values(&["unnamed"]).inc_by(u64::try_from(unnamed).unwrap_or(0));
    }
    let bad_labels = &decoded.refused;
    if bad_labels.samples > 0 {
        let samples = u64::try_from(bad_labels.samples).unwrap_or(0);
        refused.with_label_values(&["labels"]).inc_by(samples);
    }
    if appended.refused == 0 && bad_labels.series == 0 {
        return StatusCode::NO_CONTENT.into_response();
    }
    let mut message = format!(
        "{} samples were stored, {} were refused",
        appended.accepted + appended.duplicates,
        appended.refused + bad_labels.samples
    );
    let first = appended.refusals.first().map(ToString::to_string);
    for reason in first.into_iter().chain(bad_labels.first.as_ref().map(ToString::to_string)) {
        message.push_str("; ");
        message.push_str(&reason);
    }
    text(StatusCode::BAD_REQUEST, &message)
}

fn text(status: StatusCode, message: &str) -> Response {
    (status, format!("{message}\n")).into_response()
}

fn later(status: StatusCode, seconds: &'static str, message: &str) -> Response {
    (status, [(header::RETRY_AFTER, seconds)], format!("{message}\n")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(pairs: &[(&'static str, &'static str)]) -> Option<u16> {
        let headers: HeaderMap = pairs
            .iter()
            .map(|&(name, value)| {
                let name = header::HeaderName::from_static(name);
                (name, header::HeaderValue::from_static(value))
            })
            .collect();
        let checked = check_headers(&headers).and_then(|()| content_len(&headers).map(|_| ()));
        checked.err().map(|response| response.status().as_u16())
    }

    #[test]
    fn headers_of_1_0_pass_and_others_say_what_is_wanted() {
        let v1 = "application/x-protobuf;proto=prometheus.WriteRequest";
        let v2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
        assert_eq!(status(&[]), None);
        assert_eq!(status(&[("content-type", v1), ("content-encoding", "snappy")]), None);
        assert_eq!(status(&[("content-type", v2)]), Some(415));
        assert_eq!(status(&[("content-type", "application/json")]), Some(415));
        assert_eq!(status(&[("content-encoding", "gzip")]), Some(415));
        assert_eq!(status(&[("content-length", "17000000")]), Some(413));
        assert_eq!(status(&[("content-length", "99999999999999999999999")]), Some(413));
    }
}
