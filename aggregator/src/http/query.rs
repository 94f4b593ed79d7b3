//! `/api/v1/query` and `/api/v1/query_range`, and what every read of the history goes through.
//!
//! Reads run on blocking threads, a bounded number at a time (see [`crate::gate`]), and stop when
//! their time is up or when whoever asked has hung up. A long answer is written as it is sent, and
//! has its part of the memory for answers meanwhile (see [`super::unsent`]).

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::{Pin, pin};
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
use labstat_promql::{ErrorKind, Query, QueryError, QueryOptions, Reach};
use labstat_store::Stop;

use super::error::{ApiError, Json, is_too_much};
use super::json::{self, AnswerText};
use super::params::{Params, duration_ms, time_ms, timeout_ms};
use super::stats;
use super::unsent::{self, Held};
use crate::app::App;
use crate::config::{Limits, duration_of};
use crate::gate::{LIGHT_MAX, Place, Refused, Weight};
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

/// Points of a subquery from which on a query is a long one: more than a range may have.
const LONG_POINTS: i64 = 11_000;

/// Bytes of queries and selectors, none with a pattern, that are read here and now: it takes
/// microseconds.
const READ_AT_ONCE_MAX: usize = 8 * 1024;

/// What Prometheus says when there was no time to begin with.
const NO_TIME: &str = "query timed out in query execution";

/// A value at one time.
pub(crate) async fn instant(
    State(app): State<Arc<App>>,
    params: Params,
) -> Result<Response, ApiError> {
    let limit = params.limit()?;
    let at_ms = params.time("time")?.unwrap_or_else(|| app.clock.now_ms());
    let asked = Asked::read(&app, &params, limit, (at_ms, at_ms, 0)).await?;
    run(app, asked, "instant").await
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
    let asked = Asked::read(&app, &params, limit, (start_ms, end_ms, step_ms)).await?;
    run(app, asked, "range").await
}

/// What both kinds of queries are asked for.
struct Asked {
    query: Query,
    /// From, to and step; that is 0 for a value at one time.
    times: (i64, i64, i64),
    /// Series of the answer; 0 for all.
    limit: usize,
    /// The time there is, and since when it runs.
    timeout: Duration,
    begun: Instant,
    lookback_ms: Option<i64>,
    weight: Weight,
    /// What it took is asked for too.
    stats: Option<stats::Asked>,
}

impl Asked {
    /// Reads what both kinds have, in Prometheus' order, so that of several mistakes the same one
    /// is told. `times` are those of the answer.
    async fn read(
        app: &App,
        params: &Params,
        limit: usize,
        times: (i64, i64, i64),
    ) -> Result<Self, ApiError> {
        let asked = params.optional("timeout", timeout_ms)?.map(duration_of);
        let timeout = duration_of(app.config.limits.query_timeout_ms);
        let timeout = asked.map_or(timeout, |asked| asked.min(timeout));
        let lookback_ms = params.get("lookback_delta").map(duration_ms).transpose();
        let lookback_ms = lookback_ms.map_err(|cause| {
            ApiError::bad_data(format!("error parsing lookback delta duration: {cause}"))
        })?;
        // A mistake in the query is told without waiting for a place.
        let begun = Instant::now();
        let texts = vec![params.get("query").unwrap_or("").to_owned()];
        let step_ms = app.engine.options().subquery_step_ms;
        let (query, reach) = parsed(app, texts, timeout, move |texts| {
            let query = Query::read(texts.into_iter().next().unwrap_or_default());
            let query = query.map_err(ApiError::of_query)?;
            let reach = query.reach(times, step_ms).map_err(ApiError::of_query)?;
            Ok((query, reach))
        })
        .await?;
        let stats = stats::Asked::read(params).map(|asked| asked.prepared_in(begun.elapsed()));
        if timeout.is_zero() {
            return Err(ApiError::timeout(NO_TIME));
        }
        let weight = weight(times, reach);
        // As in Prometheus, no look-back at all is the usual one.
        let lookback_ms = lookback_ms.filter(|ms| *ms > 0);
        Ok(Self { query, times, limit, timeout, begun, lookback_ms, weight, stats })
    }
}

/// What a query weighs, as far as its text tells.
fn weight((start_ms, end_ms, _): (i64, i64, i64), reach: Reach) -> Weight {
    let reads_ms = end_ms.saturating_sub(start_ms).saturating_add(reach.before_ms);
    if reads_ms > LONG_MS || reach.subquery_points > LONG_POINTS {
        Weight::Long
    } else {
        Weight::Light
    }
}

/// Reads `texts`, which are queries or selectors: on a thread where it may take a while, as it does
/// to compile patterns, and as soon as there is a place for it there.
pub(crate) async fn parsed<T: Send + 'static>(
    app: &App,
    texts: Vec<String>,
    timeout: Duration,
    read: impl FnOnce(Vec<String>) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let len: usize = texts.iter().map(String::len).sum();
    if len <= READ_AT_ONCE_MAX && !texts.iter().any(|text| text.contains('~')) {
        return read(texts);
    }
    let timeout = timeout.min(duration_of(app.config.limits.query_timeout_ms));
    let place = app.gate.read(timeout).await;
    let place = place.map_err(|refused| ApiError::refused(refused, &app.config.limits))?;
    blocking(place, move || read(texts)).await?.0
}

/// The beginning of an answer, what follows it and the bytes of all, or why there is none.
type Written = Result<(String, AnswerText, usize), QueryError>;

/// Evaluates a query and sends the answer.
async fn run(app: Arc<App>, asked: Asked, kind: &'static str) -> Result<Response, ApiError> {
    let mut watch = Watch::new(&app.telemetry.queries, kind);
    let limits = app.config.limits;
    let (timeout, begun) = (asked.timeout, asked.begun);
    let evaluated = evaluated(Arc::clone(&app), asked).await?;
    let evaluated = evaluated.map_err(|refused| ApiError::refused(refused, &limits));
    let written = evaluated.and_then(|(written, place)| {
        let written = written.map_err(|error| ApiError::of_query_within(error, &limits))?;
        Ok((written, place))
    });
    let written = written.inspect_err(|error| watch.end(error.kind()));
    let ((first, mut rest, bytes), place) = written?;
    watch.end("success");
    let held = app.unsent.hold(bytes, timeout.saturating_sub(begun.elapsed())).await?;
    drop(place);
    let Some(second) = rest.next() else {
        return Ok(Json(unsent::bytes(first, held)).into_response());
    };
    let body = Body::new(Pieces { written: [first, second].into(), rest, held });
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// Evaluates a query and begins to write the answer, on a blocking thread as soon as there is a
/// place. A light one that takes too long for that becomes a long one; where there are too many of
/// these, it is stopped and begins anew, in their line.
async fn evaluated(
    app: Arc<App>,
    asked: Asked,
) -> Result<Result<(Written, Place), Refused>, ApiError> {
    let asked = Arc::new(asked);
    let left = || asked.timeout.saturating_sub(asked.begun.elapsed());
    let mut weight = asked.weight;
    loop {
        let waiting = Instant::now();
        let place = match app.gate.enter(weight, left()).await {
            Ok(place) => place,
            Err(refused) => return Ok(Err(refused)),
        };
        let (rank, cancel) = (place.rank(), CancelOnDrop::default());
        let options = QueryOptions {
            lookback_ms: asked.lookback_ms,
            timeout: Some(left()),
            cancel: Some(Arc::clone(&cancel.0)),
            peak: asked.stats.is_some().then(Arc::default),
        };
        let work = {
            let (app, asked, waited) = (Arc::clone(&app), Arc::clone(&asked), waiting.elapsed());
            move || write(&app, &asked, waited, &options)
        };
        let mut work = pin!(blocking(place, work));
        let mut stopped = false;
        if weight == Weight::Light {
            if let Ok(written) = tokio::time::timeout(LIGHT_MAX, &mut work).await {
                return written.map(Ok);
            }
            weight = Weight::Long;
            stopped = !app.gate.make_long(&rank);
            if stopped {
                cancel.stop();
            }
        }
        match work.await? {
            (Err(QueryError::Canceled), _) if stopped => {}
            written => return Ok(Ok(written)),
        }
    }
}

/// One evaluation. Blocks.
fn write(app: &App, asked: &Asked, waited: Duration, options: &QueryOptions) -> Written {
    let begun = Instant::now();
    let (engine, source, query) = (&app.engine, &app.storage, &asked.query);
    let answer = match asked.times {
        (at_ms, _, 0) => engine.instant_of(source, query, at_ms, options)?,
        times => engine.range_of(source, query, times, options)?,
    };
    let took = stats::Took { waited, evaluation: begun.elapsed() };
    let mut text = json::answer(answer, asked.limit);
    if let Some(stats) = asked.stats {
        // Counting has the time that is left; what cannot be counted in it is not told.
        let timeout = options.timeout.map(|timeout| timeout.saturating_sub(took.evaluation));
        let left = QueryOptions { timeout, peak: None, ..options.clone() };
        if let Ok(samples) = engine.samples_of(source, query, asked.times, &left) {
            text = text.with_stats(&stats.json(took, options, &samples));
        }
    }
    let bytes = text.left_bytes();
    Ok((text.next().unwrap_or_default(), text, bytes))
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

    /// The same; an error of a limit says what can be done about it.
    fn of_query_within(error: QueryError, limits: &Limits) -> Self {
        let Limits { query_samples_max, query_memory_max, query_timeout_ms, .. } = limits;
        let limit = match &error {
            QueryError::Timeout => {
                format!(
                    "query_timeout of [limits], which is {}",
                    duration::format_ms(*query_timeout_ms)
                )
            }
            QueryError::TooManySamples { .. } => {
                format!("query_samples of [limits], which is {query_samples_max}")
            }
            QueryError::TooMuchMemory { .. } => {
                format!("query_memory of [limits], which is {query_memory_max} bytes")
            }
            // Another engine was asked for more samples than one query may have.
            error if is_too_much(error) => {
                format!("query_samples of [limits], which is {query_samples_max}")
            }
            _ => return Self::of_query(error),
        };
        let cure = format!("ask for fewer series or less time, or raise {limit}");
        Self::of_query(error).with_cure(&cure)
    }
}

/// Runs `work`, which is neither long nor an evaluation, on a blocking thread as soon as there is a
/// place for it. It is told when to stop: as queries do, when the time for one is up or when
/// whoever asked has hung up.
pub(crate) async fn read<T: Send + 'static>(
    app: Arc<App>,
    work: impl FnOnce(&App, Stop<'_>) -> T + Send + 'static,
) -> Result<T, ApiError> {
    read_as(app, Weight::Light, work).await
}

/// As [`read`], with what the work weighs.
pub(crate) async fn read_as<T: Send + 'static>(
    app: Arc<App>,
    weight: Weight,
    work: impl FnOnce(&App, Stop<'_>) -> T + Send + 'static,
) -> Result<T, ApiError> {
    placed(&app, weight, work).await.map(|(done, _)| done)
}

/// As [`read`], of a text that is sent: it keeps its place until there is memory for it.
pub(crate) async fn read_text(
    app: Arc<App>,
    work: impl FnOnce(&App, Stop<'_>) -> Result<String, StorageError> + Send + 'static,
) -> Result<Bytes, ApiError> {
    let (text, _place) = placed(&app, Weight::Light, work).await?;
    let text = text?;
    let timeout = duration_of(app.config.limits.query_timeout_ms);
    let held = app.unsent.hold(text.len(), timeout).await?;
    Ok(unsent::bytes(text, held))
}

/// As [`read_as`]; gives the place back with what was done.
async fn placed<T: Send + 'static>(
    app: &Arc<App>,
    weight: Weight,
    work: impl FnOnce(&App, Stop<'_>) -> T + Send + 'static,
) -> Result<(T, Place), ApiError> {
    let timeout = duration_of(app.config.limits.query_timeout_ms);
    let until = Instant::now() + timeout;
    let place = app.gate.enter(weight, timeout).await;
    let place = place.map_err(|refused| ApiError::refused(refused, &app.config.limits))?;
    let (rank, reading) = (place.rank(), Arc::clone(app));
    let mut work = pin!(stoppable(place, until, move |stop: Stop<'_>| work(&reading, stop)));
    if weight == Weight::Light {
        if let Ok(done) = tokio::time::timeout(LIGHT_MAX, &mut work).await {
            return done;
        }
        // Where the long ones have all their places it stays where it is: it ends by itself.
        app.gate.make_long(&rank);
    }
    work.await
}

/// Runs `work` on a blocking thread, and tells it to stop at that time or when nobody waits for it
/// any more.
async fn stoppable<P: Send + 'static, T: Send + 'static>(
    place: P,
    until: Instant,
    work: impl FnOnce(Stop<'_>) -> T + Send + 'static,
) -> Result<(T, P), ApiError> {
    let cancel = CancelOnDrop::default();
    let canceled = Arc::clone(&cancel.0);
    let is_over = move || canceled.load(Ordering::Relaxed) || Instant::now() >= until;
    blocking(place, move || work(&is_over)).await
}

/// Runs `work` on a blocking thread, which has its place until it is done even when nobody waits
/// for it any more; gives the place back with what was done.
async fn blocking<P: Send + 'static, T: Send + 'static>(
    place: P,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<(T, P), ApiError> {
    let task = tokio::task::spawn_blocking(move || (work(), place));
    task.await.map_err(|_| ApiError::internal("the work was not finished"))
}

/// Stops an evaluation when the request it belongs to is dropped, as it is when a client hangs up.
#[derive(Default)]
struct CancelOnDrop(Arc<AtomicBool>);

impl CancelOnDrop {
    fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Longer than a test should ever take.
    const LONG: Duration = Duration::from_secs(60);

    /// A look-up that ends only when it is told to; says then that it did.
    fn endless(ended: std::sync::mpsc::Sender<()>) -> impl FnOnce(Stop<'_>) + Send {
        move |stop| {
            let begun = Instant::now();
            while !stop() && begun.elapsed() < LONG {
                std::thread::yield_now();
            }
            let _ = ended.send(());
        }
    }

    #[tokio::test]
    async fn a_look_up_stops_when_its_time_is_up() {
        let (ended, end) = std::sync::mpsc::channel();
        let until = Instant::now() + Duration::from_millis(20);
        let begun = Instant::now();
        stoppable((), until, endless(ended)).await.unwrap();
        assert!(begun.elapsed() < LONG / 2 && end.try_recv().is_ok());
    }

    #[tokio::test]
    async fn a_look_up_stops_when_whoever_asked_hangs_up() {
        let (ended, end) = std::sync::mpsc::channel();
        let asking = stoppable((), Instant::now() + LONG, endless(ended));
        let hung_up = tokio::time::timeout(Duration::from_millis(20), asking).await;
        assert!(hung_up.is_err(), "nothing else ends it");
        end.recv_timeout(LONG / 2).unwrap();
    }

    #[test]
    fn what_reads_much_or_makes_many_points_is_long() {
        let weight = |query: &str, times| {
            super::weight(times, Query::read(query).unwrap().reach(times, 60_000).unwrap())
        };
        let (now, hour) = ((0, 0, 0), (0, 3_600_000, 15_000));
        for query in ["vector(1)", "rate(a[5m])", "max_over_time(rate(a[5m])[1h:1m])"] {
            assert_eq!((weight(query, now), weight(query, hour)), (Weight::Light, Weight::Light));
        }
        let nested = "max_over_time(quantile_over_time(0.5, vector(time())[40000s:1s])[40000s:1s])";
        for query in [nested, "rate(a[2d])", "a offset 1w", "sum_over_time(a[4h:1s])"] {
            assert_eq!(weight(query, now), Weight::Long, "{query}");
        }
        assert_eq!(weight("a", (0, 31_536_000_000, 3_600_000)), Weight::Long);
    }

    #[test]
    fn limits_are_told_by_what_went_wrong_not_by_its_words() {
        let limits = Limits::default();
        let told = |error| ApiError::of_query_within(error, &limits).to_string();
        let words = "too many samples, too much memory";
        assert_eq!(told(QueryError::Execution(words.to_owned())), words);
        assert!(told(QueryError::TooMuchMemory { limit: 1 }).contains("query_memory of [limits]"));
        assert!(
            told(QueryError::TooManySamples { limit: 1 }).contains("query_samples of [limits]")
        );
        assert!(told(QueryError::Timeout).contains("query_timeout of [limits]"));
        let much =
            StorageError::new(crate::storage::ErrorKind::TooMuch, "read samples", "more than 5");
        let much = QueryError::Source(labstat_promql::SourceError(Box::new(much)));
        assert!(told(much).contains("query_samples of [limits]"));
    }
}
