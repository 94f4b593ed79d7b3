//! `/api/v1/status/…`: what runs, since when, and how full it is, in Prometheus' shapes.
//!
//! Only what is true of labstat is told; what is Go's own is left out.

use std::sync::Arc;

use axum::extract::State;
use labstat_model::duration;
use serde_json::{Value, json};

use super::error::{ApiError, Json};
use super::query;
use crate::app::App;
use crate::config::duration_of;

/// The Prometheus whose API this is. Clients choose by it what they may ask for; labstat's own
/// version stands beside it as the revision.
const API_VERSION: &str = "3.5.0";

/// Entries of each list of `status/tsdb` when nothing is said.
const TOP_LEN: usize = 10;

/// What runs. There is no `features` key, since a client that finds one takes us for Mimir.
pub(crate) async fn buildinfo() -> Json {
    success(&json!({
        "version": API_VERSION,
        "revision": concat!("labstat-", env!("CARGO_PKG_VERSION")),
        "branch": "labstat",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    }))
}

/// Since when it runs and how it fares.
pub(crate) async fn runtimeinfo(State(app): State<Arc<App>>) -> Json {
    let rules = app.alerting.status();
    success(&json!({
        "startTime": rfc3339(app.start_ms),
        "serverTime": rfc3339(app.clock.now_ms()),
        "reloadConfigSuccess": rules.problems.is_empty(),
        "corruptionCount": app.notices.len(),
        "storageRetention": retention(&app),
    }))
}

/// The settings that Prometheus has as flags.
pub(crate) async fn flags(State(app): State<Arc<App>>) -> Json {
    let limits = app.config.limits;
    success(&json!({
        "query.lookback-delta": duration::format_ms(limits.lookback_ms),
        "query.max-concurrency": limits.queries_max.to_string(),
        "query.max-samples": limits.query_samples_max.to_string(),
        "query.timeout": duration::format_ms(limits.query_timeout_ms),
        "storage.tsdb.path": app.config.data_dir.display().to_string(),
        "storage.tsdb.retention.time": retention(&app),
        "web.external-url": app.config.external_url.as_deref().unwrap_or(""),
        "web.listen-address": app.addr.to_string(),
    }))
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
pub(crate) async fn tsdb(State(app): State<Arc<App>>) -> Result<Json, ApiError> {
    let permit = query::permit(&app, duration_of(app.config.limits.query_timeout_ms)).await?;
    let stats = query::blocking(permit, move || app.storage.cardinalities()).await??;
    let named = |list: &[(String, usize)]| -> Vec<Value> {
        list.iter()
            .take(TOP_LEN)
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect()
    };
    let pairs: Vec<Value> = stats
        .pairs
        .iter()
        .take(TOP_LEN)
        .map(|((name, value), count)| json!({"name": format!("{name}={value}"), "value": count}))
        .collect();
    Ok(success(&json!({
        "headStats": {
            "numSeries": stats.series,
            "numLabelPairs": stats.label_pairs,
            "chunkCount": stats.blobs,
            "minTime": stats.oldest_ms.unwrap_or(0),
            "maxTime": stats.newest_ms.unwrap_or(0),
        },
        "seriesCountByMetricName": named(&stats.metric_names),
        "labelValueCountByLabelName": named(&stats.label_names),
        "memoryInBytesByLabelName": [],
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
