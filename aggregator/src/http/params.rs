//! The parameters of a request: from the URL and, on a POST, from a form in the body, mixed.

use axum::body::Body;
use axum::extract::FromRequest;
use axum::http::{HeaderMap, Method, Request, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use labstat_model::{Matcher, duration};

use super::error::ApiError;
use super::listen;

/// Bytes of a form. The longest queries of dashboards have some ten thousand.
const FORM_LEN_MAX: usize = 1024 * 1024;

/// How long a form's body may take to arrive.
const FORM_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);

/// Selectors of one request; each is a read of the store. Grafana sends a handful.
const SELECTORS_MAX: usize = 1_000;

/// The first and the last time that can be stored: the years 1 and 9999.
pub(crate) const TIME_MIN_MS: i64 = -62_135_596_800_000;
/// See [`TIME_MIN_MS`].
pub(crate) const TIME_MAX_MS: i64 = 253_402_300_799_999;

/// Names and values in the order they count: those of the body before those of the URL.
/// Unknown names are ignored, as Prometheus does.
#[derive(Debug, Default)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// Reads `a=1&b=2`, percent-encoded.
    pub(crate) fn parse(text: &[u8]) -> Self {
        Self(form_urlencoded::parse(text).into_owned().collect())
    }

    /// The first value of `name`; an empty one counts as none.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let value = self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
        value.filter(|value| !value.is_empty())
    }

    /// All values of `name`.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.0.iter().filter(move |(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// A value that must be there, as read by `read`.
    pub(crate) fn required<T>(
        &self,
        name: &str,
        read: fn(&str) -> Result<T, String>,
    ) -> Result<T, ApiError> {
        // An absent one is read as an empty text, so that the error is the same as Prometheus'.
        let text = self.get(name).unwrap_or("");
        read(text).map_err(|cause| ApiError::parameter(name, cause))
    }

    /// A value that may be there, as read by `read`.
    pub(crate) fn optional<T>(
        &self,
        name: &str,
        read: fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        read(text).map(Some).map_err(|cause| ApiError::parameter(name, cause))
    }

    /// `start` and `end`, which are all of time when they are absent. The end may be before the
    /// start; then there is no time between them.
    pub(crate) fn time_range(&self) -> Result<(i64, i64), ApiError> {
        let start_ms = self.optional("start", time_ms)?.unwrap_or(TIME_MIN_MS);
        let end_ms = self.optional("end", time_ms)?.unwrap_or(TIME_MAX_MS);
        Ok((start_ms, end_ms))
    }

    /// The `match[]` selectors. One that would match a series without labels is refused, since it
    /// matches everything.
    pub(crate) fn selectors(&self) -> Result<Vec<Vec<Matcher>>, ApiError> {
        if self.all("match[]").count() > SELECTORS_MAX {
            let cause = format!("more than {SELECTORS_MAX} selectors");
            return Err(ApiError::parameter("match[]", cause));
        }
        self.all("match[]").map(selector).collect()
    }

    /// `limit`, 0 for none.
    pub(crate) fn limit(&self) -> Result<usize, ApiError> {
        Ok(self.optional("limit", limit)?.unwrap_or(0))
    }
}

fn selector(text: &str) -> Result<Vec<Matcher>, ApiError> {
    let matchers =
        labstat_promql::selector(text).map_err(|error| ApiError::parameter("match[]", error))?;
    if matchers.iter().all(|matcher| matcher.matches("")) {
        let cause = "match[] must contain at least one non-empty matcher";
        return Err(ApiError::parameter("match[]", cause));
    }
    Ok(matchers)
}

fn limit(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "limit must be non-negative".to_owned())
}

/// Reads a time: Unix seconds, with or without a fraction, or RFC 3339.
pub(crate) fn time_ms(text: &str) -> Result<i64, String> {
    let unknown = || format!("cannot parse {text:?} to a valid timestamp");
    let ms = match text.parse::<f64>() {
        Ok(seconds) => whole_ms(seconds).ok_or_else(unknown)?,
        Err(_) => {
            let time: jiff::Timestamp = text.parse().map_err(|_| unknown())?;
            time.as_millisecond()
        }
    };
    // A time outside the years 1 to 9999 is before or after all that can be stored.
    Ok(ms.clamp(TIME_MIN_MS, TIME_MAX_MS))
}

/// Reads a duration: seconds, with or without a fraction, or `1h30m`.
pub(crate) fn duration_ms(text: &str) -> Result<i64, String> {
    let unknown = || format!("cannot parse {text:?} to a valid duration");
    match text.parse::<f64>() {
        Ok(seconds) => whole_ms(seconds).ok_or_else(unknown),
        Err(_) => duration::parse_ms(text).map_err(|_| unknown()),
    }
}

/// Seconds as the nearest millisecond; `None` when that is no number a time can have.
fn whole_ms(seconds: f64) -> Option<i64> {
    let ms = (seconds * 1000.0).round();
    #[expect(clippy::cast_possible_truncation, reason = "the bound is checked in the same line")]
    (ms.abs() < 9e18).then_some(ms as i64)
}

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = ApiError;

    async fn from_request(request: Request<Body>, _: &S) -> Result<Self, ApiError> {
        let (parts, mut body) = request.into_parts();
        let url = Self::parse(parts.uri.query().unwrap_or("").as_bytes());
        if parts.method != Method::POST || !is_form(&parts.headers) {
            return Ok(url);
        }
        let form = Limited::new(&mut body, FORM_LEN_MAX).collect();
        let form = match tokio::time::timeout(FORM_TIMEOUT, form).await {
            Ok(Ok(form)) => form.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                listen::drain(body).await;
                let message = format!("the form is longer than {FORM_LEN_MAX} bytes");
                return Err(ApiError::bad_data(message));
            }
            Ok(Err(error)) => {
                return Err(ApiError::bad_data(format!("error parsing form values: {error}")));
            }
            Err(_) => return Err(ApiError::timeout("the form did not arrive in time")),
        };
        let mut params = Self::parse(&form);
        params.0.extend(url.0);
        Ok(params)
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let media = kind.and_then(|kind| kind.split(';').next()).unwrap_or("").trim();
    media.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_both_forms() {
        for (text, ms) in [
            ("4", 4_000),
            ("1767275100.5", 1_767_275_100_500),
            ("1767275100.123", 1_767_275_100_123),
            ("-1", -1_000),
            ("1e9", 1_000_000_000_000),
            ("2026-01-01T13:45:00.5Z", 1_767_275_100_500),
            ("2026-01-01T14:45:00+01:00", 1_767_275_100_000),
            ("1e15", TIME_MAX_MS),
            ("1769000000000", TIME_MAX_MS),
        ] {
            assert_eq!(time_ms(text), Ok(ms), "{text}");
        }
        for text in ["", "abc", "NaN", "inf", "1e17", "2026-13-01T00:00:00Z", "2026-01-01"] {
            assert!(time_ms(text).is_err(), "{text}");
        }
        assert_eq!(time_ms("x"), Err("cannot parse \"x\" to a valid timestamp".to_owned()));
    }

    #[test]
    fn durations_are_read_in_both_forms() {
        for (text, ms) in [("15", 15_000), ("0.5", 500), ("1m", 60_000), ("1h30m", 5_400_000)] {
            assert_eq!(duration_ms(text), Ok(ms), "{text}");
        }
        for text in ["", "x", "NaN", "1e300", "-5m"] {
            assert!(duration_ms(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lists_and_absent_values() {
        let params = Params::parse(b"match[]=a&match%5B%5D=b%7Bx%3D%22y+z%22%7D&time=&x");
        assert_eq!(params.all("match[]").collect::<Vec<_>>(), ["a", "b{x=\"y z\"}"]);
        assert_eq!(params.get("time"), None, "empty is absent");
        assert_eq!(params.limit().unwrap(), 0);
        assert!(Params::parse(b"limit=-1").limit().is_err());
        assert_eq!(params.time_range().unwrap(), (TIME_MIN_MS, TIME_MAX_MS));
        assert_eq!(Params::parse(b"start=2&end=1").time_range().unwrap(), (2_000, 1_000));
    }
}
