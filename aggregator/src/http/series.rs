//! What there is: `/api/v1/series`, `labels`, `label/NAME/values` and `metadata`.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use labstat_model::{Kind, Matcher, Metadata};
use labstat_store::Stop;

use super::error::{ApiError, Json};
use super::params::{self, Params};
use super::{json, query};
use crate::app::App;
use crate::storage::{Storage, StorageError};

/// What a look-up is asked for.
struct Asked {
    selectors: Vec<Vec<Matcher>>,
    start_ms: i64,
    end_ms: i64,
    limit: usize,
}

impl Asked {
    /// Reads all of it; an error of a selector begins with `told`.
    async fn read(app: &App, params: &Params, told: &str) -> Result<Self, ApiError> {
        let limit = params.limit()?;
        let (start_ms, end_ms) = params.time_range()?;
        let selectors = params.selectors(app, told).await?;
        Ok(Self { selectors, start_ms, end_ms, limit })
    }

    /// As read, but a time that ends before it begins is turned around: Prometheus looks for names
    /// and values in whole blocks, and finds those between the two.
    async fn in_order(app: &App, params: &Params) -> Result<Self, ApiError> {
        let asked = Self::read(app, params, "").await?;
        let (start_ms, end_ms) = (asked.start_ms, asked.end_ms);
        Ok(Self { start_ms: start_ms.min(end_ms), end_ms: start_ms.max(end_ms), ..asked })
    }
}

/// The label sets of series.
pub(crate) async fn series(
    State(app): State<Arc<App>>,
    params: Params,
) -> Result<Json<Bytes>, ApiError> {
    params.well_formed()?;
    if params.all("match[]").next().is_none() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let asked = Asked::read(&app, &params, "invalid parameter \"match[]\": ").await?;
    list(app, asked, json::push_labels, |storage, asked, stop| {
        // As in Prometheus, there are no series in a time that ends before it begins.
        if asked.end_ms < asked.start_ms {
            return Ok(Vec::new());
        }
        storage.series(&asked.selectors, asked.start_ms, asked.end_ms, stop)
    })
    .await
}

/// Samples are not deleted by this path, in Prometheus neither; what is there is its answer.
pub(crate) async fn delete() -> ApiError {
    ApiError::internal("not implemented")
}

/// The names of labels.
pub(crate) async fn label_names(
    State(app): State<Arc<App>>,
    params: Params,
) -> Result<Json<Bytes>, ApiError> {
    let asked = Asked::in_order(&app, &params).await?;
    list(
        app,
        asked,
        |out, name: &String| json::push_text(out, name),
        |storage, asked, stop| {
            storage.label_names(&asked.selectors, asked.start_ms, asked.end_ms, stop)
        },
    )
    .await
}

/// The values of one label. A name that no label has is no error; it has no values.
pub(crate) async fn label_values(
    State(app): State<Arc<App>>,
    path: Result<Path<String>, PathRejection>,
    params: Params,
) -> Result<Json<Bytes>, ApiError> {
    let Ok(Path(name)) = path else {
        return Err(ApiError::bad_data("invalid label name: it is not UTF-8"));
    };
    let name = unescape(&name).unwrap_or(name);
    if name.is_empty() {
        return Err(ApiError::bad_data("invalid label name: \"\""));
    }
    let asked = Asked::in_order(&app, &params).await?;
    list(
        app,
        asked,
        |out, value: &String| json::push_text(out, value),
        move |storage, asked, stop| {
            storage.label_values(&name, &asked.selectors, asked.start_ms, asked.end_ms, stop)
        },
    )
    .await
}

/// Answers with a list, cut to the limit that was asked for.
async fn list<T: Send + 'static>(
    app: Arc<App>,
    asked: Asked,
    push: impl Fn(&mut String, &T) + Send + 'static,
    read: impl FnOnce(&dyn Storage, &Asked, Stop<'_>) -> Result<Vec<T>, StorageError> + Send + 'static,
) -> Result<Json<Bytes>, ApiError> {
    let text = query::read_text(app, move |app, stop| {
        let mut items = read(&*app.storage, &asked, stop)?;
        let cut = asked.limit > 0 && json::truncate(&mut items, asked.limit);
        let warnings = if cut { vec![json::TRUNCATED.to_owned()] } else { Vec::new() };
        Ok(json::envelope(
            |out| json::push_list(out, &items, |out, item| push(out, item)),
            &warnings,
            &[],
        ))
    })
    .await?;
    Ok(Json(text))
}

/// How a name begins that was written so that it has only letters, digits and underscores.
const ESCAPED: &str = "U__";

/// The name that was written in Prometheus' way for those that fit no path: `U__`, then `__` for an
/// underscore and `_2e_` for the character with that number. `None` when it is no such name.
fn unescape(name: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = name.strip_prefix(ESCAPED)?;
    while let Some((plain, tail)) = rest.split_once('_') {
        out.push_str(plain);
        let (number, tail) = tail.split_once('_')?;
        let number = if number.is_empty() { "5f" } else { number };
        out.push(u32::from_str_radix(number, 16).ok().and_then(char::from_u32)?);
        rest = tail;
    }
    out.push_str(rest);
    Some(out)
}

/// How much of the metadata is asked for.
#[derive(Debug, Clone, Copy)]
struct MetadataLimits {
    families: usize,
    per_family: usize,
}

impl MetadataLimits {
    fn read(params: &Params) -> Result<Self, ApiError> {
        let number = |name: &str| {
            let text = params.get(name).unwrap_or("-1");
            let number = params::integer(text);
            number.map_err(|_| ApiError::bad_data(format!("{name} must be a number")))
        };
        // Here 0 is none, and less than 0 all; of one family, 0 is all too. So it is in Prometheus.
        let families = usize::try_from(number("limit")?).unwrap_or(usize::MAX);
        let per_family = usize::try_from(number("limit_per_metric")?).unwrap_or(0);
        Ok(Self { families, per_family: if per_family == 0 { usize::MAX } else { per_family } })
    }
}

/// What is known of metric families.
pub(crate) async fn metadata(
    State(app): State<Arc<App>>,
    params: Params,
) -> Result<Json<Bytes>, ApiError> {
    let limits = MetadataLimits::read(&params)?;
    let wanted = params.get("metric").map(str::to_owned);
    let text = query::read_text(app, move |app, _| {
        let mut families = app.storage.metadata()?;
        families.retain(|family| wanted.as_ref().is_none_or(|wanted| *wanted == family.family));
        Ok(json::envelope(|out| push_metadata(out, &families, limits), &[], &[]))
    })
    .await?;
    Ok(Json(text))
}

/// What the API calls a kind of metric: it has its own word for what the text format calls untyped.
pub(super) fn kind_word(kind: Kind) -> &'static str {
    if kind == Kind::Untyped { "unknown" } else { kind.as_str() }
}

/// An object of lists; each list has at least one entry.
fn push_metadata(out: &mut String, families: &[Metadata], limits: MetadataLimits) {
    out.push('{');
    let groups = families.chunk_by(|a, b| a.family == b.family).take(limits.families);
    for (at, group) in groups.enumerate() {
        if at > 0 {
            out.push(',');
        }
        json::push_text(out, group.first().map_or("", |family| &family.family));
        out.push(':');
        json::push_list(out, group.iter().take(limits.per_family), |out, family| {
            out.push_str("{\"type\":\"");
            out.push_str(kind_word(family.kind));
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
    fn names_that_fit_no_path_are_read() {
        assert_eq!(unescape("U__job").as_deref(), Some("job"));
        assert_eq!(unescape("U__jo_62_").as_deref(), Some("job"));
        assert_eq!(unescape("U__a_2e_b__c").as_deref(), Some("a.b_c"));
        for not in ["job", "U_job", "U__a_b", "U__a_zz_", "U__a_110000_"] {
            assert_eq!(unescape(not), None, "{not}");
        }
    }

    #[test]
    fn limits_of_metadata_are_numbers() {
        for text in ["limit=x", "limit_per_metric=x"] {
            let error = MetadataLimits::read(&Params::parse(text.as_bytes())).unwrap_err();
            assert_eq!(error.to_string(), format!("{} must be a number", &text[..text.len() - 2]));
        }
    }

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
        let limits = |text: &str| MetadataLimits::read(&Params::parse(text.as_bytes())).unwrap();
        let mut out = String::new();
        push_metadata(&mut out, &families, limits("limit=1"));
        assert_eq!(
            out,
            r#"{"a":[{"type":"gauge","help":"H\"","unit":""},{"type":"unknown","help":"H\"","unit":""}]}"#
        );
        out.clear();
        push_metadata(&mut out, &families, limits("limit=1&limit_per_metric=1"));
        assert_eq!(out, r#"{"a":[{"type":"gauge","help":"H\"","unit":""}]}"#);
        out.clear();
        push_metadata(&mut out, &families, limits("limit=0"));
        assert_eq!(out, "{}");
        out.clear();
        push_metadata(&mut out, &[], limits("limit=-1&limit_per_metric=-1"));
        assert_eq!(out, "{}");
    }
}
