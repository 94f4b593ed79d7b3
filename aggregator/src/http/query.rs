//! `/api/v1/query`, `/api/v1/query_range` and `/api/v1/query_exemplars`.
//!
//! Queries run on blocking threads, a bounded number at a time, and stop when their time is up or
//! when whoever asked has hung up. A long answer is written as it is sent.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;
use labstat_promql::{Answer, Engine, QueryError, QueryOptions, Source};
use tokio::sync::OwnedSemaphorePermit;

use super::error::{ApiError, Json};
use super::json::{self, AnswerText};
use super::params::{Params, duration_ms, time_ms};
use crate::app::App;
use crate::config::duration_of;

/// Points of one series in one answer, as in Prometheus; more than any screen has.
const POINTS_MAX: usize = 11_000;

/// What Prometheus says of more points than that.
const TOO_MANY_POINTS: &str = "exceeded maximum resolution of 11,000 points per timeseries. \
                               Try decreasing the query resolution (?step=XX)";

/// What Prometheus says of a step that leads nowhere.
const BAD_STEP: &str =
    "zero or negative query resolution step widths are not accepted. Try a positive integer";

/// A value at one time.
pub(crate) async fn instant(
    State(app): State<Arc<App>>,
    params: Params,
) -> Result<Response, ApiError> {
    let at_ms = params.optional("time", time_ms)?.unwrap_or_else(|| app.clock.now_ms());
    let query = params.get("query").unwrap_or("").to_owned();
    run(app, &params, "instant", move |engine, source, options| {
        engine.instant(source, &query, at_ms, options)
    })
    .await
}

/// Values over a range of time.
pub(crate) async fn range(
    State(app): State<Arc<App>>,
    params: Params,
) -> Result<Response, ApiError> {
    let start_ms = params.required("start", time_ms)?;
    let end_ms = params.required("end", time_ms)?;
    if end_ms < start_ms {
        return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
    }
    let step_ms = params.required("step", duration_ms)?;
    if step_ms <= 0 {
        return Err(ApiError::parameter("step", BAD_STEP));
    }
    if labstat_promql::steps_len(start_ms, end_ms, step_ms).is_none_or(|len| len > POINTS_MAX + 1) {
        return Err(ApiError::bad_data(TOO_MANY_POINTS));
    }
    let query = params.get("query").unwrap_or("").to_owned();
    run(app, &params, "range", move |engine, source, options| {
        engine.range(source, &query, start_ms, end_ms, step_ms, options)
    })
    .await
}

/// Exemplars are not kept, so there are none.
pub(crate) async fn exemplars() -> Json {
    Json(json::envelope(|out| out.push_str("[]"), &[], &[]))
}

async fn run(
    app: Arc<App>,
    params: &Params,
    kind: &'static str,
    evaluate: impl FnOnce(&Engine, &dyn Source, &QueryOptions) -> Result<Answer, QueryError>
    + Send
    + 'static,
) -> Result<Response, ApiError> {
    let limit = params.limit()?;
    let lookback_ms = params.optional("lookback_delta", duration_ms)?.filter(|ms| *ms > 0);
    let asked = params.optional("timeout", duration_ms)?.map(duration_of);
    let timeout = duration_of(app.config.limits.query_timeout_ms);
    let timeout = asked.map_or(timeout, |asked| asked.min(timeout));
    let started = Instant::now();
    let permit = permit(&app, timeout).await?;
    let cancel = CancelOnDrop::default();
    let options = QueryOptions {
        lookback_ms,
        timeout: Some(timeout.saturating_sub(started.elapsed())),
        cancel: Some(Arc::clone(&cancel.0)),
    };
    let seconds = app.telemetry.query_seconds.with_label_values(&[kind]);
    let answer = blocking(permit, move || {
        let answer = evaluate(&app.engine, &app.storage, &options)?;
        let mut text = json::answer(answer, limit);
        Ok((text.next().unwrap_or_default(), text))
    })
    .await?;
    seconds.observe(started.elapsed().as_secs_f64());
    let (first, mut rest) = answer.map_err(named)?;
    let Some(second) = rest.next() else { return Ok(Json(first).into_response()) };
    let body = Body::new(Pieces([first, second].into(), rest));
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// An answer that is written piece by piece, each when the one before it has been sent: the first
/// ones as text, and those to come.
struct Pieces(VecDeque<String>, AnswerText);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        let piece = this.0.pop_front().or_else(|| this.1.next());
        Poll::Ready(piece.map(|piece| Ok(Frame::data(Bytes::from(piece)))))
    }
}

/// An error that lies in the query says so in Prometheus' words.
fn named(error: QueryError) -> ApiError {
    match error {
        QueryError::Parse { .. } => ApiError::parameter("query", error),
        other => other.into(),
    }
}

/// A permit to read, as soon as there is one.
pub(crate) async fn permit(app: &App, timeout: Duration) -> Result<OwnedSemaphorePermit, ApiError> {
    match tokio::time::timeout(timeout, Arc::clone(&app.queries).acquire_owned()).await {
        Ok(Ok(permit)) => Ok(permit),
        Ok(Err(_)) | Err(_) => Err(ApiError::timeout("query timed out in query queue")),
    }
}

/// Runs `work` on a blocking thread, which has `permit` until it is done even when nobody waits
/// for it any more.
pub(crate) async fn blocking<T: Send + 'static>(
    permit: OwnedSemaphorePermit,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    let task = tokio::task::spawn_blocking(move || {
        let done = work();
        drop(permit);
        done
    });
    task.await.map_err(|_| ApiError::internal("the work was not finished"))
}

/// Stops an evaluation when the request it belongs to is dropped, as it is when a client hangs up.
#[derive(Default)]
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
