//! Everything that is HTTP: the listener, who may ask, and one file per group of paths.

pub(crate) mod auth;
mod error;
mod exposition;
mod json;
pub(crate) mod listen;
mod own;
mod params;
mod query;
mod rules;
mod series;
mod status;
pub(crate) mod write;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, State};
use axum::http::{Request, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use tower_http::CompressionLevel;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;

pub(crate) use params::{TIME_MAX_MS, TIME_MIN_MS};

use crate::app::App;

/// All paths, with everything that stands before them.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .merge(prometheus_api())
        .route("/", get(own::home))
        .route("/-/healthy", get(own::healthy))
        .route("/-/ready", get(own::ready))
        .route("/-/reload", post(own::reload).put(own::reload))
        .route("/api/labstat/v1/nodes", get(own::nodes))
        .route("/api/labstat/v1/nodes/{name}", delete(own::forget))
        .route("/api/labstat/v1/compact", post(own::compact))
        .route("/metrics", get(exposition::metrics))
        .route("/federate", get(exposition::federate))
        .route("/nodes/{name}/metrics", get(exposition::node))
        .route("/sd", get(exposition::service_discovery))
        .fallback(own::not_found)
        // A layer stands before those that were added above it.
        // Answers shrink to a seventh; to make it a ninth takes six times as long.
        .layer(CompressionLayer::new().gzip(true).quality(CompressionLevel::Fastest))
        .layer(from_fn_with_state(Arc::clone(&app), auth::guard))
        .layer(from_fn_with_state(Arc::clone(&app), auth::cors))
        .layer(CatchPanicLayer::custom(|_| panicked()))
        .layer(from_fn_with_state(Arc::clone(&app), measure))
        .with_state(app)
}

fn prometheus_api() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/write", post(write::write))
        .route("/api/v1/query", get(query::instant).post(query::instant))
        .route("/api/v1/query_range", get(query::range).post(query::range))
        .route("/api/v1/query_exemplars", get(query::exemplars).post(query::exemplars))
        .route("/api/v1/series", get(series::series).post(series::series))
        .route("/api/v1/labels", get(series::label_names).post(series::label_names))
        .route("/api/v1/label/{name}/values", get(series::label_values))
        .route("/api/v1/metadata", get(series::metadata))
        .route("/api/v1/rules", get(rules::rules))
        .route("/api/v1/alerts", get(rules::alerts))
        .route("/api/v1/status/buildinfo", get(status::buildinfo))
        .route("/api/v1/status/runtimeinfo", get(status::runtimeinfo))
        .route("/api/v1/status/flags", get(status::flags))
        .route("/api/v1/status/config", get(status::config))
        .route("/api/v1/status/tsdb", get(status::tsdb))
}

/// A broken invariant costs one request, not the aggregator; the panic itself is in the log.
fn panicked() -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, "this request met a bug in labstat; see its log\n")
        .into_response()
}

/// Counts requests by the pattern of their path, so that no path from outside makes a series.
async fn measure(State(app): State<Arc<App>>, request: Request<Body>, next: Next) -> Response {
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let handler = matched.as_ref().map_or("none", MatchedPath::as_str);
    let started = Instant::now();
    let response = next.run(request).await;
    let seconds = started.elapsed().as_secs_f64();
    app.telemetry.request_seconds.with_label_values(&[handler]).observe(seconds);
    let code = response.status();
    app.telemetry.requests.with_label_values(&[handler, code.as_str()]).inc();
    response
}
