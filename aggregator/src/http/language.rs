//! What can be said of a query without evaluating it: `/api/v1/format_query`, `parse_query` and
//! `query_exemplars`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use labstat_promql::QueryError;

use super::error::{ApiError, Json};
use super::params::{Params, TIME_MAX_MS, TIME_MIN_MS};
use super::{json, query};
use crate::app::App;

/// A query, written as `promtool promql format` would.
pub(crate) async fn format(State(app): State<Arc<App>>, params: Params) -> Result<Json, ApiError> {
    let text = said(&app, &params, labstat_promql::format).await?;
    let text = text.map_err(ApiError::of_query)?;
    Ok(Json(json::envelope(|out| json::push_text(out, &text), &[], &[])))
}

/// The tree of a query.
pub(crate) async fn parse(State(app): State<Arc<App>>, params: Params) -> Result<Json, ApiError> {
    let tree = said(&app, &params, labstat_promql::tree_json).await?;
    let tree = tree.map_err(ApiError::of_query)?;
    Ok(Json(json::envelope(|out| out.push_str(&tree), &[], &[])))
}

/// Exemplars are not kept, so there are none; but what is asked for must make sense.
pub(crate) async fn exemplars(
    State(app): State<Arc<App>>,
    params: Params,
) -> Result<Response, ApiError> {
    let start_ms = params.time("start")?.unwrap_or(TIME_MIN_MS);
    let end_ms = params.time("end")?.unwrap_or(TIME_MAX_MS);
    if end_ms < start_ms {
        return Err(ApiError::bad_data("end timestamp must not be before start timestamp"));
    }
    let checked = said(&app, &params, labstat_promql::check).await?;
    let checked = checked.map_err(|error| ApiError::bad_data(error.to_string()))?;
    if checked.selectors.is_empty() {
        // Prometheus' answer where no series is asked for.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Ok(Json(json::envelope(|out| out.push_str("[]"), &[], &[])).into_response())
}

/// What is to be said of the query that is asked about.
async fn said<T: Send + 'static>(
    app: &App,
    params: &Params,
    say: impl FnOnce(&str) -> Result<T, QueryError> + Send + 'static,
) -> Result<Result<T, QueryError>, ApiError> {
    let texts = vec![params.get("query").unwrap_or("").to_owned()];
    let work = move |texts: Vec<String>| Ok(say(texts.first().map_or("", String::as_str)));
    query::parsed(app, texts, Duration::MAX, work).await
}
