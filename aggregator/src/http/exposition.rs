//! What scrapers read: `/metrics`, `/federate`, `/nodes/NAME/metrics` and `/sd`.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use labstat_model::{Family, Kind, Labels, Matcher, Metadata, Sample, Series, is_stale};
use labstat_store::Stop;
use labstat_wire::exposition::{self, Row};

use super::error::ApiError;
use super::params::Params;
use super::{json, query};
use crate::app::App;
use crate::presence::is_own_word;
use crate::storage::{StorageError, chain};

/// labstat's own figures.
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let text =
        tokio::task::spawn_blocking(move || app.own_metrics().map_err(|error| chain(&error)));
    match text.await {
        Ok(Ok(text)) => text_response(text),
        Ok(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, error).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The latest samples of the series that fulfil any `match[]`, with their times.
///
/// The type of every family is untyped, as it is when Prometheus federates: a selector may pick
/// half of a histogram. A series without `instance` gets an empty one, which tells the scraper not
/// to put its own there.
pub(crate) async fn federate(State(app): State<Arc<App>>, params: Params) -> Response {
    if let Err(error) = params.well_formed() {
        return error.into_text();
    }
    let selectors = match params.any_selectors(&app).await {
        Ok(selectors) => selectors,
        Err(error) => return error.into_text(),
    };
    let text = page(app, move |app, stop| {
        let now_ms = app.clock.now_ms();
        let mut latest = Vec::new();
        // One without any matcher finds nothing, as in Prometheus.
        for selector in selectors.iter().filter(|selector| !selector.is_empty()) {
            latest.extend(read_latest(app, selector, now_ms, stop)?);
        }
        // Selectors may overlap; of a series that several picked, the writer takes the first.
        let families: Vec<Family> = latest.iter().map(|(labels, _)| untyped(labels)).collect();
        let rows = latest.iter().zip(&families).map(|((labels, sample), family)| Row {
            family,
            labels: labels.as_ref(),
            value: sample.value,
            time_ms: Some(sample.time_ms),
        });
        let mut out = String::new();
        exposition::write_with(&mut out, rows, Some("instance"));
        Ok(out)
    });
    text.await.map_or_else(ApiError::into_text, text_response)
}

/// One node as if it were scraped there: its latest samples without `instance` and `job`, which
/// a scraper sets itself. The families of all its jobs stand on one page.
pub(crate) async fn node(State(app): State<Arc<App>>, Path(name): Path<String>) -> Response {
    let Some(node) = app.presence().node(&name) else {
        return (StatusCode::NOT_FOUND, format!("no node {name:?} is known\n")).into_response();
    };
    if node.down {
        // As a scrape of a node that is off would fail, this one does.
        let since = super::status::rfc3339(node.heard_ms);
        let text = format!("node {name:?} has been silent since {since}\n");
        return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    }
    let text = page(app, move |app, stop| {
        let matchers = [Matcher::equal("instance", &*name)];
        let latest = read_latest(app, &matchers, app.clock.now_ms(), stop)?;
        Ok(node_page(latest, &app.storage.metadata()?))
    });
    text.await.map_or_else(ApiError::into_text, text_response)
}

fn node_page(latest: Vec<(Labels, Sample)>, metadata: &[Metadata]) -> String {
    let known: HashMap<&str, &Metadata> =
        metadata.iter().map(|family| (&*family.family, family)).collect();
    let mut latest: Vec<(Labels, Sample)> = latest
        .into_iter()
        // Shown to a scraper, its own notes would clash with those it makes.
        .filter(|(labels, _)| is_own_word(labels.metric_name()))
        .map(|(labels, sample)| {
            (labels.without(|name| name == "instance" || name == "job"), sample)
        })
        .collect();
    // Two jobs may have the same series; the newer one is written.
    latest.sort_by_key(|(_, sample)| std::cmp::Reverse(sample.time_ms));
    let families: Vec<Family> =
        latest.iter().map(|(labels, _)| family(labels.metric_name(), &known)).collect();
    let rows = latest.iter().zip(&families).map(|((labels, sample), family)| Row {
        family,
        labels: labels.as_ref(),
        value: sample.value,
        time_ms: None,
    });
    let mut out = String::new();
    exposition::write(&mut out, rows);
    out
}

fn untyped(labels: &Labels) -> Family {
    Family::dynamic(labels.metric_name().to_owned(), Kind::Untyped, "")
}

/// The family of a metric: its own, or the histogram or summary that it is a part of.
fn family(metric: &str, known: &HashMap<&str, &Metadata>) -> Family {
    let make =
        |found: &Metadata| Family::dynamic(found.family.clone(), found.kind, found.help.clone());
    if let Some(found) = known.get(metric) {
        return make(found);
    }
    let whole = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| {
        let found = known.get(metric.strip_suffix(suffix)?)?;
        matches!(found.kind, Kind::Histogram | Kind::Summary).then_some(found)
    });
    whole.map_or_else(|| Family::dynamic(metric.to_owned(), Kind::Untyped, ""), |found| make(found))
}

/// The last sample of each series within the look-back, unless the series has ended. The left
/// edge is out, as in Prometheus.
fn read_latest(
    app: &App,
    matchers: &[Matcher],
    now_ms: i64,
    stop: Stop<'_>,
) -> Result<Vec<(Labels, Sample)>, StorageError> {
    let start_ms = now_ms.saturating_sub(app.config.limits.lookback_ms).saturating_add(1);
    let series = app.storage.newest(matchers, start_ms, now_ms, stop)?;
    Ok(series.into_iter().filter_map(last_of).collect())
}

fn last_of(series: Series) -> Option<(Labels, Sample)> {
    let last = series.samples().last()?;
    (!is_stale(last.value)).then_some((series.labels, last))
}

/// Reads and writes a page on a blocking thread.
async fn page(
    app: Arc<App>,
    make: impl FnOnce(&App, Stop<'_>) -> Result<String, StorageError> + Send + 'static,
) -> Result<Bytes, ApiError> {
    query::read_text(app, make).await
}

fn text_response(text: impl IntoResponse) -> Response {
    ([(header::CONTENT_TYPE, exposition::CONTENT_TYPE)], text).into_response()
}

/// Targets for Prometheus' HTTP service discovery: each node under this very address, so that a
/// Prometheus which reaches us reaches them.
pub(crate) async fn service_discovery(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
) -> super::error::Json {
    let target = own_host(&app, &headers);
    let nodes = app.presence().nodes();
    let mut out = String::new();
    json::push_list(&mut out, &nodes, |out, node| {
        out.push_str("{\"targets\":[");
        json::push_text(out, &target);
        out.push_str("],\"labels\":{\"__metrics_path__\":");
        json::push_text(out, &metrics_path(&node.name));
        out.push_str(",\"instance\":");
        json::push_text(out, &node.name);
        out.push_str("}}");
    });
    super::error::Json(out)
}

/// The host and port by which a request asked, since they lead here from where it came from.
pub(super) fn own_host(app: &App, headers: &HeaderMap) -> String {
    let asked = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    asked.map_or_else(|| app.addr.to_string(), str::to_owned)
}

/// Where the samples of a node are shown; see [`node`].
pub(super) fn metrics_path(node: &str) -> String {
    format!("/nodes/{}/metrics", path_segment(node))
}

/// `text` as one segment of a path.
fn path_segment(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use labstat_model::stale_marker;

    use super::*;

    fn latest(labels: &[(&str, &str)], time_ms: i64, value: f64) -> (Labels, Sample) {
        (Labels::new(labels.iter().copied()), Sample { time_ms, value })
    }

    #[test]
    fn a_nodes_page_has_all_its_jobs_and_nothing_a_scraper_sets() {
        let metadata = [Metadata {
            family: "node_load1".to_owned(),
            kind: Kind::Gauge,
            help: "1m load average.".to_owned(),
            unit: String::new(),
        }];
        let load = |job, time_ms, value| {
            let labels = [("__name__", "node_load1"), ("instance", "vertex"), ("job", job)];
            latest(&labels, time_ms, value)
        };
        let page = node_page(
            vec![
                load("node", 1_000, 0.5),
                load("other", 2_000, 0.75),
                latest(&[("__name__", "up"), ("job", "node")], 1_000, 1.0),
                latest(&[("__name__", "ALERTS"), ("alertname", "X")], 1_000, 1.0),
                latest(&[("__name__", "node:load:avg")], 1_000, 1.0),
                latest(&[("__name__", "smartctl_device"), ("device", "sda")], 1_000, 1.0),
            ],
            &metadata,
        );
        assert_eq!(
            page,
            "# HELP node_load1 1m load average.\n# TYPE node_load1 gauge\nnode_load1 0.75\n\
             # TYPE smartctl_device untyped\nsmartctl_device{device=\"sda\"} 1\n"
        );
    }

    #[test]
    fn parts_of_a_histogram_stand_under_it() {
        let histogram = Metadata {
            family: "h".to_owned(),
            kind: Kind::Histogram,
            help: "H.".to_owned(),
            unit: String::new(),
        };
        let known = HashMap::from([("h", &histogram)]);
        assert_eq!(family("h_bucket", &known).name, "h");
        assert_eq!(family("x_bucket", &known).name, "x_bucket");
    }

    #[test]
    fn an_ended_series_has_no_latest_sample() {
        let mut series = Series::new(Labels::default());
        series.push(1, 1.0);
        assert!(last_of(series.clone()).is_some());
        series.push(2, stale_marker());
        assert!(last_of(series).is_none());
    }

    #[test]
    fn names_are_one_segment() {
        assert_eq!(path_segment("vertex.lab:9100"), "vertex.lab:9100");
        assert_eq!(path_segment("a/b ü"), "a%2Fb%20%C3%BC");
    }
}
