//! `/api/v1/rules` and `/api/v1/alerts`.

use std::sync::Arc;

use axum::extract::State;
use labstat_alerts::views::{KindFilter, RulesFilter};
use serde::Serialize;

use super::error::{ApiError, Json};
use super::json;
use super::params::Params;
use crate::app::App;

/// The groups and their rules.
pub(crate) async fn rules(State(app): State<Arc<App>>, params: Params) -> Result<Json, ApiError> {
    let kind = match params.get("type") {
        None => None,
        Some("alert") => Some(KindFilter::Alerting),
        Some("record") => Some(KindFilter::Recording),
        Some(other) => {
            let cause = format!("not supported value {other:?}");
            return Err(ApiError::parameter("type", cause));
        }
    };
    let all = |name: &str| params.all(name).map(str::to_owned).collect();
    let filter = RulesFilter {
        kind,
        rule_names: all("rule_name[]"),
        rule_groups: all("rule_group[]"),
        files: all("file[]"),
        exclude_alerts: params.get("exclude_alerts") == Some("true"),
    };
    answer(&app.alerting.rules_view(&filter))
}

/// The pending and firing alerts.
pub(crate) async fn alerts(State(app): State<Arc<App>>) -> Result<Json, ApiError> {
    answer(&app.alerting.alerts_view())
}

fn answer(view: &impl Serialize) -> Result<Json, ApiError> {
    let data =
        serde_json::to_string(view).map_err(|error| ApiError::internal(error.to_string()))?;
    Ok(Json(json::envelope(|out| out.push_str(&data), &[], &[])))
}
