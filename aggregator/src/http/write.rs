//! `/api/v1/write`: remote write 1.0, the one way in.
//!
//! The answer tells a sender what to do: 204 when all is on disk, 400 when some or all of it will
//! never be taken (what was good is kept), 413 when it must be split, 5xx when it should be sent
//! again later. Memory is bounded over all requests together: a request waits until there is room
//! for its body, and when that has come, for what it may decompress to.

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
use labstat_wire::remote_write::Ignored;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::listen;
use crate::app::{App, PERMIT_BYTES};
use crate::storage::{WriteFailed, chain};

/// The memory that the largest request may take, compressed and decoded, in bytes.
pub(crate) const REQUEST_BYTES_MAX: usize = WRITE_BODY_LEN_MAX + WRITE_DECODED_LEN_MAX;

/// The most bytes that snappy can make of one.
const GROWTH_MAX: usize = 22;

/// How the memory for writes is shared between bodies and their content: as in the largest request.
pub(crate) fn shares(bytes: usize) -> (usize, usize) {
    let bodies = (bytes / REQUEST_BYTES_MAX).saturating_mul(WRITE_BODY_LEN_MAX);
    let bodies = bodies.max(WRITE_BODY_LEN_MAX);
    (bodies, bytes.saturating_sub(bodies).max(WRITE_DECODED_LEN_MAX))
}

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a request waits for room before its sender is told to come back.
const ROOM_TIMEOUT: Duration = Duration::from_secs(10);

/// Seconds after which a sender should try again when there was no room in memory.
const RETRY_BUSY_S: &str = "5";

/// Seconds after which a sender should try again when there was no room on disk.
const RETRY_FULL_S: &str = "60";

/// A write that was not taken, or not all of it.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    /// Seconds after which the sender should try again.
    retry_s: Option<&'static str>,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, retry_s: None, message: message.into() }
    }

    fn later(status: StatusCode, retry_s: &'static str, message: impl Into<String>) -> Self {
        Self { status, retry_s: Some(retry_s), message: message.into() }
    }

    fn too_large() -> Self {
        let message = format!("body over the limit of {WRITE_BODY_LEN_MAX} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let retry = self.retry_s.map(|seconds| [(header::RETRY_AFTER, seconds)]);
        (self.status, retry, format!("{}\n", self.message)).into_response()
    }
}

/// Takes a write.
pub(crate) async fn write(State(app): State<Arc<App>>, request: Request<Body>) -> Response {
    match take(app, request).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

async fn take(app: Arc<App>, request: Request<Body>) -> Result<(), Refusal> {
    let stated = check_headers(request.headers()).and_then(|()| content_len(request.headers()));
    let len = match stated {
        Ok(len) => len,
        Err(refusal) => {
            listen::drain(request.into_body()).await;
            return Err(refusal);
        }
    };
    let body_room = match room(&app.body_memory, len).await {
        Ok(room) => room,
        Err(refusal) => {
            listen::drain(request.into_body()).await;
            return Err(refusal);
        }
    };
    let body = read_body(request.into_body()).await?;
    let content_len = body.len().saturating_mul(GROWTH_MAX).min(WRITE_DECODED_LEN_MAX);
    let room = (body_room, room(&app.write_memory, content_len).await?);
    // The room and the work stay together, so that a sender that hangs up early frees nothing
    // that is still in use.
    let done = tokio::task::spawn_blocking(move || {
        let taken = decode_and_store(&app, &body);
        drop(room);
        taken
    });
    done.await.unwrap_or_else(|_| {
        Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the write was not finished"))
    })
}

/// Remote write 2.0 and anything else that 1.0 does not say is refused with 415, which makes a
/// sender that knows both go on with 1.0.
fn check_headers(headers: &HeaderMap) -> Result<(), Refusal> {
    let unsupported =
        |message: String| Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    let get = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let kind = get(header::CONTENT_TYPE).unwrap_or("application/x-protobuf");
    let mut parts = kind.split(';').map(str::trim);
    let media = parts.next().unwrap_or("");
    if !media.eq_ignore_ascii_case("application/x-protobuf") {
        return unsupported(format!("content type {media:?}: expected application/x-protobuf"));
    }
    for (name, proto) in parts.filter_map(|part| part.split_once('=')) {
        let proto = proto.trim_matches('"');
        if name.eq_ignore_ascii_case("proto") && proto != "prometheus.WriteRequest" {
            return unsupported(format!(
                "message {proto}: remote write 2.0 is not taken yet, send 1.0 \
                 (prometheus.WriteRequest)"
            ));
        }
    }
    match get(header::CONTENT_ENCODING) {
        Some(encoding) if !encoding.eq_ignore_ascii_case("snappy") => {
            unsupported(format!("content encoding {encoding:?}: expected snappy"))
        }
        _ => Ok(()),
    }
}

/// The body's length as stated; the largest there may be where it is not.
fn content_len(headers: &HeaderMap) -> Result<usize, Refusal> {
    let stated = headers.get(header::CONTENT_LENGTH).and_then(|len| len.to_str().ok());
    let len = stated.map_or(Some(WRITE_BODY_LEN_MAX), |len| len.parse().ok());
    len.filter(|len| *len <= WRITE_BODY_LEN_MAX).ok_or_else(Refusal::too_large)
}

async fn room(memory: &Arc<Semaphore>, len: usize) -> Result<OwnedSemaphorePermit, Refusal> {
    let permits = u32::try_from(len.div_ceil(PERMIT_BYTES).max(1)).unwrap_or(u32::MAX);
    let wait = Arc::clone(memory).acquire_many_owned(permits);
    let got = tokio::time::timeout(ROOM_TIMEOUT, wait).await.ok().and_then(Result::ok);
    got.ok_or_else(|| {
        let message = "too many writes at a time";
        Refusal::later(StatusCode::SERVICE_UNAVAILABLE, RETRY_BUSY_S, message)
    })
}

async fn read_body(body: Body) -> Result<Bytes, Refusal> {
    let collected = Limited::new(body, WRITE_BODY_LEN_MAX).collect();
    match tokio::time::timeout(BODY_TIMEOUT, collected).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::too_large()),
        Ok(Err(error)) => {
            Err(Refusal::new(StatusCode::BAD_REQUEST, format!("failed to read the body: {error}")))
        }
        Err(_) => Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time")),
    }
}

fn decode_and_store(app: &App, body: &[u8]) -> Result<(), Refusal> {
    app.with_decoder(|decoder| {
        let body = decoder.decode(body).map_err(|error| {
            app.telemetry.ingest.failures.with_label_values(&["malformed"]).inc();
            let large = error.is_too_large();
            let status =
                if large { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::BAD_REQUEST };
            Refusal::new(status, chain(&error))
        })?;
        count_left_out(app, body.ignored);
        let appended = app.ingest(&body).map_err(|error| not_kept(&error))?;
        outcome(app, &appended)
    })
}

/// Nothing was kept, and the sender should come back.
fn not_kept(error: &WriteFailed) -> Refusal {
    let why = chain(error);
    tracing::error!(error = why, "a write was not kept");
    match error {
        WriteFailed::Full(_) => Refusal::later(StatusCode::INSUFFICIENT_STORAGE, RETRY_FULL_S, why),
        WriteFailed::Closed => Refusal::later(StatusCode::SERVICE_UNAVAILABLE, RETRY_BUSY_S, why),
        WriteFailed::Failed(_) => Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, why),
    }
}

fn count_left_out(app: &App, ignored: Ignored) {
    let counter = &app.telemetry.ingest.ignored;
    let parts = [("exemplar", ignored.exemplars)];
    for (kind, count) in parts.into_iter().filter(|(_, count)| *count > 0) {
        counter.with_label_values(&[kind]).inc_by(u64::try_from(count).unwrap_or(0));
    }
}

/// All is well when nothing was refused; else 400 with the reasons.
fn outcome(app: &App, appended: &Appended) -> Result<(), Refusal> {
    let refused = &app.telemetry.ingest.refused;
    for refusal in &appended.refusals {
        refused.with_label_values(&[refusal.reason.as_str()]).inc();
    }
    // The store names the first few only.
    let unnamed = appended.refused.saturating_sub(appended.refusals.len());
    let bad_labels = &appended.bad_labels;
    for (reason, count) in [("unnamed", unnamed), ("labels", bad_labels.samples)] {
        if count > 0 {
            let count = u64::try_from(count).unwrap_or(0);
            refused.with_label_values(&[reason]).inc_by(count);
        }
    }
    if appended.refused == 0 && bad_labels.series == 0 {
        return Ok(());
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
    Err(Refusal::new(StatusCode::BAD_REQUEST, message))
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
        checked.err().map(|refusal| refusal.status.as_u16())
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
