//! Who is watched, in the words of Prometheus, for which everything is a target that it scrapes:
//! `/api/v1/targets`, `targets/metadata`, `scrape_pools` and `alertmanagers`.
//!
//! A target is a job of a node, its pool the job. That nodes send by themselves shows in nothing
//! but in what a scraper would know of a scrape, which is left out.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use labstat_model::{Labels, METRIC_NAME, Matcher, Metadata, duration};
use labstat_store::Stop;
use serde_json::{Map, Value, json};

use super::error::{ApiError, Json};
use super::exposition::{metrics_path, own_host};
use super::params::{Params, integer};
use super::query;
use super::series::kind_word;
use super::status::{rfc3339, success};
use crate::app::App;
use crate::presence::NodeView;
use crate::storage::StorageError;

/// Everybody who is watched.
pub(crate) async fn targets(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    params: Params,
) -> Json {
    let host = own_host(&app, &headers);
    let state = params.get("state").unwrap_or("any").to_ascii_lowercase();
    let active = state == "any" || state == "active";
    let dropped = state == "any" || state == "dropped";
    let pool = params.get("scrapePool");
    let nodes = app.presence().nodes();
    let pairs = by_job(&nodes);
    let wanted = pairs.iter().filter(|(job, _)| active && pool.is_none_or(|pool| pool == *job));
    let list: Vec<Value> = wanted.map(|(job, node)| target(&app, &host, job, node)).collect();
    let pools = pools(&nodes);
    let none = |job: &&str| ((*job).to_owned(), json!(0));
    let counts: Option<Map<String, Value>> = dropped.then(|| pools.iter().map(none).collect());
    success(&json!({
        "activeTargets": list,
        "droppedTargets": [],
        "droppedTargetCounts": counts,
    }))
}

/// The jobs, as pools of targets.
pub(crate) async fn scrape_pools(State(app): State<Arc<App>>) -> Json {
    let nodes = app.presence().nodes();
    success(&json!({ "scrapePools": pools(&nodes) }))
}

/// Alerts go to receivers and to no Alertmanager.
pub(crate) async fn alertmanagers() -> Json {
    success(&json!({ "activeAlertmanagers": [], "droppedAlertmanagers": [] }))
}

fn pools(nodes: &[NodeView]) -> BTreeSet<&str> {
    nodes.iter().flat_map(|node| node.jobs.iter().map(String::as_str)).collect()
}

/// Jobs and their nodes, by job and then by node.
fn by_job(nodes: &[NodeView]) -> Vec<(&str, &NodeView)> {
    let mut pairs: Vec<(&str, &NodeView)> = Vec::new();
    for node in nodes {
        pairs.extend(node.jobs.iter().map(|job| (job.as_str(), node)));
    }
    pairs.sort_by(|(job, node), (other_job, other)| {
        (job, &node.name).cmp(&(other_job, &other.name))
    });
    pairs
}

/// By which labels the series of a target are found. A job without a name is no label.
fn labels(job: &str, node: &NodeView) -> Labels {
    let all = [("instance", node.name.as_str()), ("job", job)];
    Labels::new(all.into_iter().filter(|(_, value)| !value.is_empty()))
}

fn target(app: &App, host: &str, job: &str, node: &NodeView) -> Value {
    let path = metrics_path(&node.name);
    let url = app.config.external_url.clone().unwrap_or_else(|| format!("http://{host}"));
    let mut found = json!({
        "__address__": host,
        "__metrics_path__": path,
        "__scheme__": "http",
    });
    let labels = labels(job, node);
    let labels: Map<String, Value> = labels.iter().map(|(n, v)| (n.to_owned(), json!(v))).collect();
    let (health, error) = health(app, node);
    let interval = node.interval_ms.map(duration::format_ms);
    if let Some(fields) = found.as_object_mut() {
        fields.extend(labels.clone());
        let interval = interval.iter().map(|text| ("__scrape_interval__".to_owned(), json!(text)));
        fields.extend(interval);
    }
    let mut target = json!({
        "discoveredLabels": found,
        "labels": labels,
        "scrapePool": job,
        "scrapeUrl": format!("http://{host}{path}"),
        "globalUrl": format!("{}{path}", url.trim_end_matches('/')),
        "lastError": error,
        "health": health,
        "scrapeInterval": interval.unwrap_or_default(),
    });
    // The time of no sample is no time.
    if let (Some(fields), true) = (target.as_object_mut(), node.newest_ms > i64::MIN) {
        fields.insert("lastScrape".to_owned(), json!(rfc3339(node.newest_ms)));
    }
    target
}

/// Whether a node is heard, and what is wrong if not. Of one that was heard before this process
/// began, and whose silence is not yet long, nothing is known.
fn health(app: &App, node: &NodeView) -> (&'static str, String) {
    if node.down {
        return ("down", format!("no samples since {}", rfc3339(node.heard_ms)));
    }
    let health = if node.heard_ms < app.start_ms { "unknown" } else { "up" };
    (health, String::new())
}

/// What is known of the metric families of each target: those of which it had samples lately.
pub(crate) async fn metadata(
    State(app): State<Arc<App>>,
    params: Params,
) -> Result<Json, ApiError> {
    let limit = integer(params.get("limit").unwrap_or("-1"))
        .map_err(|_| ApiError::bad_data("limit must be a number"))?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let texts = params.get("match_target").map(str::to_owned).into_iter().collect();
    let matchers = query::parsed(&app, texts, Duration::MAX, |texts| {
        let selector = texts.first().map(|text| labstat_promql::any_selector(text)).transpose();
        selector.map_err(|error| ApiError::parameter("match_target", error))
    });
    let matchers = matchers.await?;
    let metric = params.get("metric").map(str::to_owned);
    let list = query::read(app, move |app, stop| {
        let nodes = app.presence().nodes();
        let targets = by_job(&nodes);
        let targets = targets.iter().map(|(job, node)| labels(job, node)).filter(|labels| {
            matchers.iter().flatten().all(|matcher| matcher.matches_labels(labels))
        });
        let families = app.storage.metadata()?;
        let mut list = Vec::new();
        for target in targets.take(limit) {
            list.extend(families_of(app, &target, &families, metric.as_deref(), stop)?);
        }
        Ok::<_, StorageError>(list)
    })
    .await??;
    Ok(success(&json!(list)))
}

fn families_of(
    app: &App,
    target: &Labels,
    families: &[Metadata],
    metric: Option<&str>,
    stop: Stop<'_>,
) -> Result<Vec<Value>, StorageError> {
    let now_ms = app.clock.now_ms();
    let start_ms = now_ms.saturating_sub(app.config.limits.lookback_ms);
    let matchers = target.iter().map(|(name, value)| Matcher::equal(name, value)).collect();
    let names = app.storage.label_values(METRIC_NAME, &[matchers], start_ms, now_ms, stop)?;
    let has = |family: &str| {
        let has = |name: String| names.binary_search(&name).is_ok();
        ["", "_bucket", "_count", "_sum", "_total"].iter().any(|end| has(format!("{family}{end}")))
    };
    let labels: Map<String, Value> =
        target.iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
    let found = families.iter().filter(|family| {
        metric.is_none_or(|metric| metric == family.family) && has(&family.family)
    });
    let view = |family: &Metadata| {
        let mut view = json!({
            "target": labels,
            "type": kind_word(family.kind),
            "help": family.help,
            "unit": family.unit,
        });
        if let (None, Some(fields)) = (metric, view.as_object_mut()) {
            fields.insert("metric".to_owned(), json!(family.family));
        }
        view
    };
    Ok(found.map(view).collect())
}
