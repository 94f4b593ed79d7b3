//! `/api/v1/status/…`: what runs, since when, and how full it is, in Prometheus' shapes.
//!
//! Only what is true of labstat is told; what is Go's own is left out.

use std::sync::Arc;

use axum::extract::State;
use labstat_model::{Matcher, duration};
use serde_json::{Value, json};

use super::error::{ApiError, Json};
use super::params::{Params, integer};
use super::query;
use crate::app::App;

/// The Prometheus whose API this is. Clients choose by it what they may ask for; labstat's own
/// version stands beside it as the revision.
const API_VERSION: &str = "3.5.0";

/// Entries of each list of `status/tsdb` when nothing is said.
const TOP_LEN: usize = 10;

/// The most entries of each list, whatever is said: a bound on what one answer takes.
const TOP_MAX: usize = 10_000;

/// What runs. There is no `features` key, since a client that finds one takes us for Mimir.
pub(crate) async fn buildinfo() -> Json {
    success(&build())
}

/// The same, where Prometheus has had it since before its API.
pub(crate) async fn version() -> String {
    format!("{}\n", build())
}

fn build() -> Value {
    json!({
        "version": API_VERSION,
        "revision": concat!("labstat-", env!("CARGO_PKG_VERSION")),
        "branch": "labstat",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    })
}

/// Since when it runs and how it fares.
pub(crate) async fn runtimeinfo(State(app): State<Arc<App>>) -> Json {
    let rules = app.alerting.status();
    let folder = std::env::current_dir().map(|dir| dir.display().to_string());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    success(&json!({
        "startTime": rfc3339(app.start_ms),
        "CWD": folder.unwrap_or_default(),
        "hostname": rustix::system::uname().nodename().to_string_lossy(),
        "serverTime": rfc3339(app.clock.now_ms()),
        "reloadConfigSuccess": rules.problems.is_empty(),
        "lastConfigTime": rfc3339(app.alerting.loaded_ms()),
        "corruptionCount": app.notices.len(),
        "GOMAXPROCS": threads,
        "storageRetention": retention(&app),
    }))
}

/// The settings that Prometheus has as flags.
pub(crate) async fn flags(State(app): State<Arc<App>>) -> Json {
    let limits = app.config.limits;
    let size = app.config.size_max_bytes;
    let cors = app.config.cors_origin.as_ref().map_or("", Matcher::value);
    success(&json!({
        "enable-feature": "promql-experimental-functions,promql-duration-expr,\
                           promql-per-step-stats",
        "query.lookback-delta": duration::format_ms(limits.lookback_ms),
        "query.max-concurrency": limits.queries_max.to_string(),
        "query.max-samples": limits.query_samples_max.to_string(),
        "query.timeout": duration::format_ms(limits.query_timeout_ms),
        "storage.tsdb.path": app.config.data_dir.display().to_string(),
        "storage.tsdb.retention.size": format!("{}B", size.unwrap_or(0)),
        "storage.tsdb.retention.time": retention(&app),
        "web.cors.origin": cors,
        "web.enable-admin-api": "false",
        "web.enable-lifecycle": "true",
        "web.enable-remote-write-receiver": "true",
        "web.external-url": app.config.external_url.as_deref().unwrap_or(""),
        "web.listen-address": app.addr.to_string(),
        "web.max-connections": limits.connections_max.to_string(),
    }))
}

/// What whoever looks after it should know now: that rule files could not be taken.
pub(crate) async fn notifications(State(app): State<Arc<App>>) -> Json {
    let failed = !app.alerting.status().problems.is_empty();
    let notification = json!({
        "text": "Configuration reload has failed.",
        "date": rfc3339(app.alerting.read_ms()),
        "active": true,
    });
    success(&json!(Vec::from_iter(failed.then_some(notification))))
}

/// Which of Prometheus' optional parts are there.
pub(crate) async fn features() -> Json {
    success(&json!({
        "api": {
            "admin": false,
            "exclude_alerts": true,
            "label_values_match": true,
            "lifecycle": true,
            "openapi_3.1": false,
            "otlp_write_receiver": false,
            "query_stats": true,
            "query_warnings": true,
            "remote_write_receiver": true,
            "time_range_labels": true,
            "time_range_series": true,
        },
        "promql": {
            "at_modifier": true,
            "bool": true,
            "by": true,
            "duration_expr": true,
            "experimental_functions": true,
            "group_left": true,
            "group_right": true,
            "ignoring": true,
            "negative_offset": true,
            "offset": true,
            "on": true,
            "per_query_lookback_delta": true,
            "per_step_stats": true,
            "subqueries": true,
            "without": true,
        },
    }))
}

/// Writes are in place before the first request is answered, so there is nothing left to replay.
pub(crate) async fn walreplay() -> Json {
    success(&json!({ "min": 0, "max": 0, "current": 0 }))
}

/// What Prometheus answers where its administration is not switched on. Here history is looked
/// after by the command line.
pub(crate) async fn admin() -> ApiError {
    ApiError::switched_off("admin APIs disabled")
}

/// The settings that Prometheus has in its configuration file. JSON strings are YAML strings.
pub(crate) async fn config(State(app): State<Arc<App>>) -> Json {
    let interval = duration::format_ms(labstat_alerts::rules::INTERVAL_DEFAULT_MS);
    let mut yaml = format!("global:\n  evaluation_interval: {interval}\nrule_files:");
    if app.config.rules.is_empty() {
        yaml.push_str(" []");
    }
    yaml.push('\n');
    for path in &app.config.rules {
        yaml.push_str("- ");
        super::json::push_text(&mut yaml, &path.display().to_string());
        yaml.push('\n');
    }
    success(&json!({ "yaml": yaml }))
}

/// How much there is.
pub(crate) async fn tsdb(State(app): State<Arc<App>>, params: Params) -> Result<Json, ApiError> {
    let limit = match params.get("limit").map(integer) {
        None => TOP_LEN,
        Some(Ok(limit)) if limit > 0 => usize::try_from(limit).unwrap_or(usize::MAX).min(TOP_MAX),
        Some(_) => return Err(ApiError::bad_data("limit must be a positive number")),
    };
    let stats = query::read(app, move |app, stop| app.storage.cardinalities(limit, stop)).await??;
    let named = |list: &[(String, usize)]| -> Vec<Value> {
        let entry = |(name, value): &(String, usize)| json!({"name": name, "value": value});
        list.iter().take(limit).map(entry).collect()
    };
    let pairs: Vec<Value> = stats
        .pairs
        .iter()
        .take(limit)
        .map(|((name, value), count)| json!({"name": format!("{name}={value}"), "value": count}))
        .collect();
    Ok(success(&json!({
        "headStats": {
            "numSeries": stats.series,
            "numLabelPairs": stats.label_pairs,
            "chunkCount": stats.blobs,
            "minTime": stats.oldest_ms.unwrap_or(i64::MAX),
            "maxTime": stats.newest_ms.unwrap_or(i64::MIN),
        },
        "seriesCountByMetricName": named(&stats.metric_names),
        "labelValueCountByLabelName": named(&stats.label_names),
        "memoryInBytesByLabelName": named(&stats.label_bytes),
        "seriesCountByLabelValuePair": pairs,
    })))
}

fn retention(app: &App) -> String {
    app.config.retention_ms.map_or_else(|| "forever".to_owned(), duration::format_ms)
}

/// A successful answer with small data.
pub(crate) fn success(data: &Value) -> Json {
    Json(super::json::envelope(|out| out.push_str(&data.to_string()), &[], &[]))
}

/// A time as RFC 3339 in UTC.
pub(crate) fn rfc3339(time_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(time_ms).map_or_else(|_| String::new(), |t| t.to_string())
}
