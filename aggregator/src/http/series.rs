//! What there is: `/api/v1/series`, `labels`, `label/NAME/values` and `metadata`.

use std::sync::Arc;

use axum::extract::{Path, State};
use labstat_model::{Kind, Matcher, Metadata};

use super::error::{ApiError, Json};
use super::params::Params;
use super::{json, query};
use crate::app::App;
use crate::config::duration_of;
use crate::storage::{Storage, StorageError};

/// What a look-up is asked for.
struct Asked {
    selectors: Vec<Vec<Matcher>>,
    start_ms: i64,
    end_ms: i64,
    limit: usize,
}

impl Asked {
    fn read(params: &Params) -> Result<Self, ApiError> {
        let (start_ms, end_ms) = params.time_range()?;
        Ok(Self { selectors: params.selectors()?, start_ms, end_ms, limit: params.limit()? })
    }

    /// As read, but a time that ends before it begins is turned around: Prometheus looks for names
    /// and values in whole blocks, and finds those between the two.
    fn in_order(params: &Params) -> Result<Self, ApiError> {
        let asked = Self::read(params)?;
        let (start_ms, end_ms) = (asked.start_ms, asked.end_ms);
        Ok(Self { start_ms: start_ms.min(end_ms), end_ms: start_ms.max(end_ms), ..asked })
    }
}

/// The label sets of series.
pub(crate) async fn series(State(app): State<Arc<App>>, params: Params) -> Result<Json, ApiError> {
    let asked = Asked::read(&params)?;
    if asked.selectors.is_empty() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    list(app, asked, json::push_labels, |storage, asked| {
        // As in Prometheus, there are no series in a time that ends before it begins.
        if asked.end_ms < asked.start_ms {
            return Ok(Vec::new());
        }
        storage.series(&asked.selectors, asked.start_ms, asked.end_ms)
    })
    .await
}

/// The names of labels.
pub(crate) async fn label_names(
    State(app): State<Arc<App>>,
    params: Params,
) -> Result<Json, ApiError> {
    list(
        app,
        Asked::in_order(&params)?,
        |out, name: &String| json::push_text(out, name),
        |storage, asked| storage.label_names(&asked.selectors, asked.start_ms, asked.end_ms),
    )
    .await
}

/// The values of one label. A name that no label has is no error; it has no values.
pub(crate) async fn label_values(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    params: Params,
) -> Result<Json, ApiError> {
    list(
        app,
        Asked::in_order(&params)?,
        |out, value: &String| json::push_text(out, value),
        move |storage, asked| {
            storage.label_values(&name, &asked.selectors, asked.start_ms, asked.end_ms)
        },
    )
    .await
}

/// Answers with a list, cut to the limit that was asked for.
async fn list<T: Send + 'static>(
    app: Arc<App>,
    asked: Asked,
    push: impl Fn(&mut String, &T) + Send + 'static,
    read: impl FnOnce(&dyn Storage, &Asked) -> Result<Vec<T>, StorageError> + Send + 'static,
) -> Result<Json, ApiError> {
    let permit = query::permit(&app, duration_of(app.config.limits.query_timeout_ms)).await?;
    let text = query::blocking(permit, move || {
        let mut items = read(&*app.storage, &asked)?;
        let cut = asked.limit > 0 && json::truncate(&mut items, asked.limit);
        let warnings = if cut { vec![json::TRUNCATED.to_owned()] } else { Vec::new() };
        Ok::<_, StorageError>(json::envelope(
            |out| json::push_list(out, &items, |out, item| push(out, item)),
            &warnings,
            &[],
        ))
    })
    .await??;
    Ok(Json(text))
}

/// What is known of metric families.
pub(crate) async fn metadata(
    State(app): State<Arc<App>>,
    params: Params,
) -> Result<Json, ApiError> {
    let limit = params.limit()?;
    let wanted = params.get("metric").map(str::to_owned);
    let permit = query::permit(&app, duration_of(app.config.limits.query_timeout_ms)).await?;
    let text = query::blocking(permit, move || {
        let mut families = app.storage.metadata()?;
        families.retain(|family| wanted.as_ref().is_none_or(|wanted| *wanted == family.family));
        Ok::<_, StorageError>(json::envelope(|out| push_metadata(out, &families, limit), &[], &[]))
    })
    .await??;
    Ok(Json(text))
}

/// An object of lists; each list has at least one entry.
fn push_metadata(out: &mut String, families: &[Metadata], limit: usize) {
    out.push('{');
    let limit = if limit == 0 { usize::MAX } else { limit };
    let groups = families.chunk_by(|a, b| a.family == b.family).take(limit);
    for (at, group) in groups.enumerate() {
        if at > 0 {
            out.push(',');
        }
        json::push_text(out, group.first().map_or("", |family| &family.family));
        out.push(':');
        json::push_list(out, group, |out, family| {
            // The API has its own word for what the text format calls untyped.
            let kind = if family.kind == Kind::Untyped { "unknown" } else { family.kind.as_str() };
            out.push_str("{\"type\":\"");
            out.push_str(kind);
            out.push_str("\",\"help\":");
            json::push_text(out, &family.help);
            out.push_str(",\"unit\":");
            json::push_text(out, &family.unit);
            out.push('}');
        });
    }
    out.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_groups_by_family_and_is_cut_by_family() {
        let family = |name: &str, kind| Metadata {
            family: name.to_owned(),
            kind,
            help: "H\"".to_owned(),
            unit: String::new(),
        };
        let families =
            [family("a", Kind::Gauge), family("a", Kind::Untyped), family("b", Kind::Counter)];
        let mut out = String::new();
        push_metadata(&mut out, &families, 1);
        assert_eq!(
            out,
            r#"{"a":[{"type":"gauge","help":"H\"","unit":""},{"type":"unknown","help":"H\"","unit":""}]}"#
        );
        out.clear();
        push_metadata(&mut out, &[], 0);
        assert_eq!(out, "{}");
    }
}
