//! `/api/v1/rules` and `/api/v1/alerts`.

use std::sync::Arc;

use axum::extract::State;
use labstat_alerts::views::{KindFilter, RulesFilter};
use serde::Serialize;

use super::error::{ApiError, Json};
use super::json;
use super::params::{Params, boolean, integer};
use crate::app::App;

/// The groups and their rules.
pub(crate) async fn rules(State(app): State<Arc<App>>, params: Params) -> Result<Json, ApiError> {
    params.well_formed()?;
    let matchers = params.selectors(&app, "").await?;
    let kind = match params.get("type").map(str::to_ascii_lowercase).as_deref() {
        None => None,
        Some("alert") => Some(KindFilter::Alerting),
        Some("record") => Some(KindFilter::Recording),
        Some(other) => {
            let cause = format!("not supported value {other:?}");
            return Err(ApiError::parameter("type", cause));
        }
    };
    let exclude = params.optional("exclude_alerts", |text| {
        boolean(text).map_err(|cause| format!("error converting exclude_alerts: {cause}"))
    })?;
    let page = Page::read(&params)?;
    let all = |name: &str| params.all(name).map(str::to_owned).collect();
    let filter = RulesFilter {
        kind,
        rule_names: all("rule_name[]"),
        rule_groups: all("rule_group[]"),
        files: all("file[]"),
        matchers,
        exclude_alerts: exclude.unwrap_or(false),
    };
    let mut view = app.alerting.rules_view(&filter);
    if let Some(Page { groups_max, token }) = page {
        view.page(groups_max, token).map_err(|_| {
            let token = token.unwrap_or("");
            let cause = format!("invalid group_next_token '{token}'. were rule groups changed?");
            ApiError::parameter("group_next_token", cause)
        })?;
    }
    answer(&view)
}

/// Which part of the groups is asked for.
struct Page<'a> {
    groups_max: usize,
    token: Option<&'a str>,
}

impl<'a> Page<'a> {
    fn read(params: &'a Params) -> Result<Option<Self>, ApiError> {
        let token = params.get("group_next_token");
        let Some(text) = params.get("group_limit") else {
            let cause = "group_limit needs to be present in order to paginate over the groups";
            let missing = |_| Err(ApiError::parameter("group_next_token", cause));
            return token.map_or(Ok(None), missing);
        };
        let limit = integer(text).map_err(|cause| {
            let cause =
                format!("group_limit needs to be a valid number: strconv.ParseInt: {cause}");
            ApiError::parameter("group_limit", cause)
        })?;
        let groups_max = usize::try_from(limit).ok().filter(|limit| *limit > 0);
        let groups_max = groups_max.ok_or_else(|| {
            ApiError::parameter("group_limit", "group_limit needs to be greater than 0")
        })?;
        Ok(Some(Self { groups_max, token }))
    }
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
