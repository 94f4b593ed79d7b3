//! `/api/v1/query` and `/api/v1/query_range`, and what every read of the history goes through.
//!
//! Reads run on blocking threads, a bounded number at a time (see [`crate::gate`]), and stop when
//! their time is up or when whoever asked has hung up. A long answer is written as it is sent, and
//! has its part of the memory for answers meanwhile (see [`super::unsent`]).

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
use labstat_model::duration;
use labstat_promql::{Answer, Engine, ErrorKind, QueryError, QueryOptions, Source};

use super::error::{ApiError, Json};
use super::json::{self, AnswerText};
use super::params::{Params, duration_ms, time_ms, timeout_ms};
use super::stats;
use super::unsent::{self, Held};
use crate::app::App;
use crate::config::{Limits, duration_of};
use crate::gate::{Place, Refused, Weight};
use crate::storage::StorageError;
use crate::telemetry::Queries;

/// Points of one series in one answer, as in Prometheus; more than any screen has.
const POINTS_MAX: usize = 11_000;

/// What Prometheus says of more points than that.
const TOO_MANY_POINTS: &str = "exceeded maximum resolution of 11,000 points per timeseries. \
                               Try decreasing the query resolution (?step=XX)";

/// What Prometheus says of a step that leads nowhere.
const BAD_STEP: &str =
    "zero or negative query resolution step widths are not accepted. Try a positive integer";

/// Of history read, how much makes a query a long one: dashboards show less of it by default.
const LONG_MS: i64 = 86_400_000;

/// What Prometheus says when there was no time to begin with.
const NO_TIME: &str = "query timed out in query execution";

/// A value at one time.
pub(crate) async fn instant(
    State(app): State<Arc<App>>,
    params: Params,
) -> Result<Response, ApiError> {
    let limit = params.limit()?;
    let at_ms = params.time("time")?.unwrap_or_else(|| app.clock.now_ms());
    let asked = Asked::read(&app, &params, limit, 0)?;
    run(app, asked, "instant", (at_ms, at_ms, 0), move |engine, source, query, options| {
        engine.instant(source, query, at_ms, options)
    })
    .await
}

/// Values over a range of time.
pub(crate) async fn range(
    State(app): State<Arc<App>>,
    params: Params,
) -> Result<Response, ApiError> {
    let limit = params.limit()?;
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
    let asked = Asked::read(&app, &params, limit, end_ms.saturating_sub(start_ms))?;
    let times = (start_ms, end_ms, step_ms);
    run(app, asked, "range", times, move |engine, source, query, options| {
        engine.range(source, query, start_ms, end_ms, step_ms, options)
    })
    .await
}

/// What both kinds of queries are asked for.
struct Asked {
    query: String,
    /// Series of the answer; 0 for all.
    limit: usize,
    timeout: Duration,
    lookback_ms: Option<i64>,
    weight: Weight,
    /// What it took is asked for too.
    stats: Option<stats::Asked>,
}

impl Asked {
    /// Reads what both kinds have, in Prometheus' order, so that of several mistakes the same one
    /// is told. `span_ms` is how long the answer is.
    fn read(app: &App, params: &Params, limit: usize, span_ms: i64) -> Result<Self, ApiError> {
        let asked = params.optional("timeout", timeout_ms)?.map(duration_of);
        let timeout = duration_of(app.config.limits.query_timeout_ms);
        let timeout = asked.map_or(timeout, |asked| asked.min(timeout));
        let lookback_ms = params.get("lookback_delta").map(duration_ms).transpose();
        let lookback_ms = lookback_ms.map_err(|cause| {
            ApiError::bad_data(format!("error parsing lookback delta duration: {cause}"))
        })?;
        let query = params.get("query").unwrap_or("").to_owned();
        // A mistake in the query is told without waiting for a place.
        let begun = Instant::now();
        let checked = labstat_promql::check(&query).map_err(ApiError::of_query)?;
        let stats = stats::Asked::read(params).map(|asked| asked.prepared_in(begun.elapsed()));
        if timeout.is_zero() {
            return Err(ApiError::timeout(NO_TIME));
        }
        let reads_ms = span_ms.saturating_add(checked.reach_ms);
        let weight = if reads_ms > LONG_MS { Weight::Long } else { Weight::Light };
        // As in Prometheus, no look-back at all is the usual one.
        let lookback_ms = lookback_ms.filter(|ms| *ms > 0);
        Ok(Self { query, limit, timeout, lookback_ms, weight, stats })
    }
}

async fn run(
    app: Arc<App>,
    asked: Asked,
    kind: &'static str,
    times: (i64, i64, i64),
    evaluate: impl FnOnce(&Engine, &dyn Source, &str, &QueryOptions) -> Result<Answer, QueryError>
    + Send
    + 'static,
) -> Result<Response, ApiError> {
    let Asked { query, limit, timeout, lookback_ms, weight, stats } = asked;
    let mut watch = Watch::new(&app.telemetry.queries, kind);
    let place = match app.gate.enter(weight, timeout).await {
        Ok(place) => place,
        Err(refused) => {
            watch.end("timeout");
            return Err(ApiError::refused(refused, &app.config.limits));
        }
    };
    let cancel = CancelOnDrop::default();
    let (started, waited) = (watch.started, watch.started.elapsed());
    let options = QueryOptions {
        lookback_ms,
        timeout: Some(timeout.saturating_sub(waited)),
        cancel: Some(Arc::clone(&cancel.0)),
        peak: stats.is_some().then(Arc::default),
    };
    let limits = app.config.limits;
    let evaluating = Arc::clone(&app);
    let (answer, place) = blocking(place, move || {
        let begun = Instant::now();
        let (engine, source) = (&evaluating.engine, &evaluating.storage);
        let answer = evaluate(engine, source, &query, &options).map(|answer| {
            let took = stats::Took { waited, evaluation: begun.elapsed() };
            // Counting has the time that is left; what cannot be counted in it is not told.
            let counted = |asked: stats::Asked| {
                let timeout =
                    options.timeout.map(|timeout| timeout.saturating_sub(took.evaluation));
                let options_left = QueryOptions { timeout, peak: None, ..options.clone() };
                let samples = engine.samples(source, &query, times, &options_left).ok()?;
                Some(asked.json(took, &options, &samples))
            };
            (answer, stats.and_then(counted))
        });
        let (answer, stats) = match answer {
            Ok(answer) => answer,
            Err(error) => {
                let error = ApiError::of_query(error).cured(&limits);
                watch.end(error.kind());
                return Err(error);
            }
        };
        watch.end("success");
        let mut text = json::answer(answer, limit);
        if let Some(stats) = stats {
            text = text.with_stats(&stats);
        }
        let bytes = text.left_bytes();
        Ok((text.next().unwrap_or_default(), text, bytes))
    })
    .await?;
    let (first, mut rest, bytes) = answer?;
    let held = app.unsent.hold(bytes, timeout.saturating_sub(started.elapsed())).await?;
    drop(place);
    let Some(second) = rest.next() else {
        return Ok(Json(unsent::bytes(first, held)).into_response());
    };
    let body = Body::new(Pieces { written: [first, second].into(), rest, held });
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// Tells the figures how a query ended, and how long it took; one that is dropped before it ends
/// was canceled while it waited.
struct Watch {
    queries: Queries,
    kind: &'static str,
    started: Instant,
    ended: bool,
}

impl Watch {
    fn new(queries: &Queries, kind: &'static str) -> Self {
        Self { queries: queries.clone(), kind, started: Instant::now(), ended: false }
    }

    fn end(&mut self, outcome: &str) {
        if !std::mem::replace(&mut self.ended, true) {
            self.queries.seconds.with_label_values(&[self.kind]).observe(self.elapsed_s());
            self.queries.total.with_label_values(&[self.kind, outcome]).inc();
        }
    }

    fn elapsed_s(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end("canceled");
    }
}

/// An answer that is written piece by piece, each when the one before it has been sent: the first
/// ones as text, those to come, and the memory they have.
struct Pieces {
    written: VecDeque<String>,
    rest: AnswerText,
    held: Option<Held>,
}

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        let Some(piece) = this.written.pop_front().or_else(|| this.rest.next()) else {
            return Poll::Ready(None);
        };
        let is_last = this.written.is_empty() && this.rest.is_done();
        if let (false, Some(held)) = (is_last, &mut this.held) {
            held.shrink_to(this.rest.left_bytes());
        }
        // The memory is given back when the last piece is sent, not when it is written.
        let held = if is_last { this.held.take() } else { None };
        Poll::Ready(Some(Ok(Frame::data(unsent::bytes(piece, held)))))
    }
}

impl ApiError {
    /// Why a query has no answer. An error that lies in the query says so in Prometheus' words.
    pub(crate) fn of_query(error: QueryError) -> Self {
        match error {
            error if error.kind() == ErrorKind::BadData => Self::parameter("query", error),
            other => other.into(),
        }
    }

    /// Why there was no place to read in, with the cure.
    fn refused(refused: Refused, limits: &Limits) -> Self {
        let Limits { queries_max, .. } = limits;
        Self::timeout(refused.to_string()).with_cure(&format!(
            "{queries_max} queries run at a time; ask again, ask for less at once, or raise \
             queries of [limits]"
        ))
    }

    /// An error of a limit says what can be done about it.
    fn cured(self, limits: &Limits) -> Self {
        let Limits { query_samples_max, query_memory_max, query_timeout_ms, .. } = limits;
        match self.kind() {
            "timeout" => self.with_cure(&format!(
                "ask for fewer series or less time, or raise query_timeout of [limits], which is \
                 {}",
                duration::format_ms(*query_timeout_ms)
            )),
            "execution" if self.to_string().contains("too many samples") => {
                self.with_cure(&format!(
                    "ask for fewer series or less time, or raise query_samples of [limits], which \
                     is {query_samples_max}"
                ))
            }
            "execution" if self.to_string().contains("too much memory") => {
                self.with_cure(&format!(
                    "ask for fewer series or less time, or raise query_memory of [limits], which \
                     is {query_memory_max} bytes"
                ))
            }
            _ => self,
        }
    }
}

/// Runs `work`, which is neither long nor an evaluation, on a blocking thread as soon as there is a
/// place for it.
pub(crate) async fn read<T: Send + 'static>(
    app: Arc<App>,
    work: impl FnOnce(&App) -> T + Send + 'static,
) -> Result<T, ApiError> {
    read_as(app, Weight::Light, work).await
}

/// As [`read`], with what the work weighs.
pub(crate) async fn read_as<T: Send + 'static>(
    app: Arc<App>,
    weight: Weight,
    work: impl FnOnce(&App) -> T + Send + 'static,
) -> Result<T, ApiError> {
    let timeout = duration_of(app.config.limits.query_timeout_ms);
    let place = app.gate.enter(weight, timeout).await;
    let place = place.map_err(|refused| ApiError::refused(refused, &app.config.limits))?;
    blocking(place, move || work(&app)).await.map(|(done, _)| done)
}

/// As [`read`], of a text that is sent: it keeps its place until there is memory for it.
pub(crate) async fn read_text(
    app: Arc<App>,
    work: impl FnOnce(&App) -> Result<String, StorageError> + Send + 'static,
) -> Result<Bytes, ApiError> {
    let timeout = duration_of(app.config.limits.query_timeout_ms);
    let place = app.gate.enter(Weight::Light, timeout).await;
    let place = place.map_err(|refused| ApiError::refused(refused, &app.config.limits))?;
    let reading = Arc::clone(&app);
    let (text, _place) = blocking(place, move || work(&reading)).await?;
    let text = text?;
    let held = app.unsent.hold(text.len(), timeout).await?;
    Ok(unsent::bytes(text, held))
}

/// Runs `work` on a blocking thread, which has its place until it is done even when nobody waits
/// for it any more; gives the place back with what was done.
async fn blocking<T: Send + 'static>(
    place: Place,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<(T, Place), ApiError> {
    let task = tokio::task::spawn_blocking(move || (work(), place));
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
