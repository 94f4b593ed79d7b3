//! What can be said of a query without evaluating it: `/api/v1/format_query`, `parse_query` and
//! `query_exemplars`.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::error::{ApiError, Json};
use super::json;
use super::params::{Params, TIME_MAX_MS, TIME_MIN_MS};

/// A query, written as `promtool promql format` would.
pub(crate) async fn format(params: Params) -> Result<Json, ApiError> {
    let text = labstat_promql::format(params.get("query").unwrap_or(""));
    let text = text.map_err(ApiError::of_query)?;
    Ok(Json(json::envelope(|out| json::push_text(out, &text), &[], &[])))
}

/// The tree of a query.
pub(crate) async fn parse(params: Params) -> Result<Json, ApiError> {
    let tree = labstat_promql::tree_json(params.get("query").unwrap_or(""));
    let tree = tree.map_err(ApiError::of_query)?;
    Ok(Json(json::envelope(|out| out.push_str(&tree), &[], &[])))
}

/// Exemplars are not kept, so there are none; but what is asked for must make sense.
pub(crate) async fn exemplars(params: Params) -> Result<Response, ApiError> {
    let start_ms = params.time("start")?.unwrap_or(TIME_MIN_MS);
    let end_ms = params.time("end")?.unwrap_or(TIME_MAX_MS);
    if end_ms < start_ms {
        return Err(ApiError::bad_data("end timestamp must not be before start timestamp"));
    }
    let query = params.get("query").unwrap_or("");
    let checked = labstat_promql::check(query);
    let checked = checked.map_err(|error| ApiError::bad_data(error.to_string()))?;
    if checked.selectors.is_empty() {
        // Prometheus' answer where no series is asked for.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Ok(Json(json::envelope(|out| out.push_str("[]"), &[], &[])).into_response())
}
