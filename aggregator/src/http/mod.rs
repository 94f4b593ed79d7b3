//! Everything that is HTTP: the listener, who may ask, and one file per group of paths.

mod act;
mod alerts;
pub(crate) mod auth;
mod disks;
mod error;
mod exposition;
mod graph;
mod inventory;
mod json;
mod language;
pub(crate) mod listen;
mod methods;
mod own;
mod page;
mod params;
mod query;
mod receivers;
mod rules;
mod runbooks;
mod series;
mod socket;
mod stats;
mod status;
mod targets;
pub(crate) mod unsent;
pub(crate) mod v2;
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
use methods::{asks, changes, probes, reads, takes};
use tower_http::CompressionLevel;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;

pub(crate) use params::{TIME_MAX_MS, TIME_MIN_MS};

use crate::app::App;

/// Bytes from which on an answer is compressed: less fits into one packet as it is.
const COMPRESSED_MIN: u64 = 1_200;

/// All paths, with everything that stands before them.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .merge(prometheus_api())
        .merge(v2::router())
        .route("/", get(own::home))
        .route("/-/healthy", probes(own::healthy))
        .route("/-/ready", probes(own::ready))
        .route("/-/reload", changes(own::reload))
        .route("/api/labstat/v1/nodes", get(own::nodes))
        .route("/api/labstat/v1/nodes/{name}", delete(own::forget))
        .route("/api/labstat/v1/disks", get(disks::list))
        .route(
            "/api/labstat/v1/disks/{*name}",
            get(disks::one).post(disks::acknowledge).delete(disks::forget),
        )
        .route("/api/labstat/v1/alerts", get(alerts::list))
        .route("/api/labstat/v1/alerts/{fingerprint}", get(alerts::one))
        .route("/api/labstat/v1/ack", post(alerts::acknowledge))
        .route("/api/labstat/v1/ack/{alert}", delete(alerts::unacknowledge))
        .route("/api/labstat/v1/routes", get(alerts::routes))
        .route("/api/labstat/v1/receivers", get(receivers::list))
        .route("/api/labstat/v1/act/{token}", get(act::ask).post(act::act))
        .route("/api/labstat/v1/inventory", get(inventory::list))
        .route("/api/labstat/v1/inventory/{kind}/{instance}/{*name}", delete(inventory::forget))
        .route("/api/labstat/v1/compact", post(own::compact))
        .route("/metrics", reads(exposition::metrics))
        .route("/federate", reads(exposition::federate))
        .route("/nodes/{name}/metrics", reads(exposition::node))
        .route("/sd", reads(exposition::service_discovery))
        .route(graph::PATH, reads(graph::graph))
        .route(runbooks::PATH, reads(runbooks::index))
        .route("/runbooks/{name}", reads(runbooks::one))
        .route("/version", reads(status::version))
        .fallback(own::not_found)
        // A layer stands before those that were added above it.
        // Answers shrink to a seventh; to make it a ninth takes six times as long.
        .layer(
            CompressionLayer::new()
                .deflate(true)
                .gzip(true)
                .zstd(true)
                .quality(CompressionLevel::Fastest)
                .compress_when(SizeAbove::new(COMPRESSED_MIN)),
        )
        .layer(from_fn_with_state(Arc::clone(&app), auth::guard))
        .layer(from_fn_with_state(Arc::clone(&app), auth::cors))
        .layer(CatchPanicLayer::custom(|_| panicked()))
        .layer(from_fn_with_state(Arc::clone(&app), measure))
        .with_state(app)
}

fn prometheus_api() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/write", takes(write::write))
        .route("/api/v1/query", asks(query::instant))
        .route("/api/v1/query_range", asks(query::range))
        .route("/api/v1/query_exemplars", asks(language::exemplars))
        .route("/api/v1/format_query", asks(language::format))
        .route("/api/v1/parse_query", asks(language::parse))
        .route("/api/v1/series", asks(series::series).delete(series::delete))
        .route("/api/v1/labels", asks(series::label_names))
        .route("/api/v1/label/{name}/values", reads(series::label_values))
        .route("/api/v1/metadata", reads(series::metadata))
        .route("/api/v1/rules", reads(rules::rules))
        .route("/api/v1/alerts", reads(rules::alerts))
        .route("/api/v1/alertmanagers", reads(targets::alertmanagers))
        .route("/api/v1/targets", reads(targets::targets))
        .route("/api/v1/targets/metadata", reads(targets::metadata))
        .route("/api/v1/scrape_pools", reads(targets::scrape_pools))
        .route("/api/v1/notifications", reads(status::notifications))
        .route("/api/v1/features", reads(status::features))
        .route("/api/v1/status/buildinfo", reads(status::buildinfo))
        .route("/api/v1/status/runtimeinfo", reads(status::runtimeinfo))
        .route("/api/v1/status/flags", reads(status::flags))
        .route("/api/v1/status/config", reads(status::config))
        .route("/api/v1/status/tsdb", reads(status::tsdb))
        .route("/api/v1/status/walreplay", reads(status::walreplay))
        .route("/api/v1/admin/tsdb/snapshot", changes(status::admin))
        .route("/api/v1/admin/tsdb/delete_series", changes(status::admin))
        .route("/api/v1/admin/tsdb/clean_tombstones", changes(status::admin))
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
