//! labstat's own paths: the first page, health, reload, nodes and compaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use serde_json::json;

use super::error::{ApiError, Json, plain};
use super::query;
use super::status::{rfc3339, success};
use crate::app::App;
use crate::gate::Weight;
use crate::presence::NodeView;
use crate::telemetry::seconds;

/// The first page: what this is and where to look.
const HOME: &str = include_str!("home.html");

/// What this is and where to look.
pub(crate) async fn home() -> Html<&'static str> {
    Html(HOME)
}

/// It runs.
pub(crate) async fn healthy() -> &'static str {
    "labstat is healthy.\n"
}

/// It answers. The listener opens when everything else is up, so that is always so.
pub(crate) async fn ready() -> &'static str {
    "labstat is ready.\n"
}

/// Reads rule files and the token anew.
pub(crate) async fn reload(State(app): State<Arc<App>>) -> Response {
    let status = crate::server::reload(&app).await;
    if status.problems.is_empty() {
        return StatusCode::OK.into_response();
    }
    let problems: Vec<String> = status.problems.iter().map(ToString::to_string).collect();
    let text = format!("the old rules stay in force:\n{}\n", problems.join("\n"));
    (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
}

/// All nodes that are expected.
pub(crate) async fn nodes(State(app): State<Arc<App>>) -> Json {
    let now_ms = app.clock.now_ms();
    let nodes = app.presence().nodes();
    let list: Vec<_> = nodes.iter().map(|node| view(node, now_ms)).collect();
    success(&json!(list))
}

fn view(node: &NodeView, now_ms: i64) -> serde_json::Value {
    let mut view = json!({
        "name": node.name,
        "jobs": node.jobs,
        "state": if node.down { "down" } else { "up" },
        "lastSeen": rfc3339(node.heard_ms),
        "ageSeconds": seconds(now_ms.saturating_sub(node.heard_ms).max(0)),
        "newestSample": rfc3339(node.newest_ms),
    });
    if let (Some(ms), Some(fields)) = (node.interval_ms, view.as_object_mut()) {
        fields.insert("intervalSeconds".to_owned(), json!(seconds(ms)));
    }
    view
}

/// Forgets a node: it is no longer expected, and neither are the disks that were last seen in it and all
/// else that it told of.
/// Its history stays.
pub(crate) async fn forget(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Json, ApiError> {
    let now_ms = app.clock.now_ms();
    if !app.presence().forget(&name) {
        return Err(ApiError::not_found(format!("no node {name:?} is known")));
    }
    app.disks.registry().forget_node(&name, now_ms);
    app.inventory().forget_node(&name);
    app.alerting.let_go(BTreeMap::from([("instance".to_owned(), name.clone())]));
    let done = tokio::task::spawn_blocking(move || {
        app.part_with_forgotten();
        let kept = app.keep_presence().and(app.keep_inventory());
        app.tell_own();
        app.look_at_disks();
        kept.map_err(|error| ApiError::not_kept(&error))
    });
    done.await.map_err(|_| ApiError::internal("the node was not forgotten"))??;
    Ok(success(&json!({ "forgotten": name })))
}

/// Seals and compacts all that is pending; answers when it is on disk.
pub(crate) async fn compact(State(app): State<Arc<App>>) -> Result<Json, ApiError> {
    // Compactions wait for one another, and must not hold all the threads that writes need.
    let compacted = query::read_as(app, Weight::Long, |app, _| app.storage.compact()).await??;
    Ok(success(&json!(compacted)))
}

/// The answer to a path that is none, as Prometheus gives it.
pub(crate) async fn not_found() -> Response {
    plain(StatusCode::NOT_FOUND, "404 page not found\n")
}
