//! The parameters of a request: from the URL and, on a POST, from a form in the body, mixed.

use std::time::Duration;

use axum::body::Body;
use axum::extract::FromRequest;
use axum::http::{HeaderMap, Method, Request, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use labstat_model::{Matcher, PatternRoom, duration};

use super::error::ApiError;
use super::{listen, query};
use crate::app::App;

/// Bytes of a form. The longest queries of dashboards have some ten thousand.
const FORM_LEN_MAX: usize = 1024 * 1024;

/// How long a form's body may take to arrive.
const FORM_TIMEOUT: Duration = Duration::from_secs(30);

/// Selectors of one request; each is a read of the store. Grafana sends a handful.
const SELECTORS_MAX: usize = 1_000;

/// The first and the last time that can be stored: the years 1 and 9999.
pub(crate) const TIME_MIN_MS: i64 = -62_135_596_800_000;
/// See [`TIME_MIN_MS`].
pub(crate) const TIME_MAX_MS: i64 = 253_402_300_799_999;

/// Names and values in the order they count: those of the body before those of the URL.
/// Unknown names are ignored, and so are pairs that are written wrongly, as Prometheus does.
#[derive(Debug, Default)]
pub(crate) struct Params {
    pairs: Vec<(String, String)>,
    /// What is wrong with a pair that was left out.
    malformed: Option<String>,
}

impl Params {
    /// Reads `a=1&b=2`, percent-encoded.
    pub(crate) fn parse(text: &[u8]) -> Self {
        let mut params = Self::default();
        for pair in text.split(|byte| *byte == b'&') {
            if pair.contains(&b';') {
                params.malformed = Some("invalid semicolon separator in query".to_owned());
            } else if let Some(escape) = bad_escape(pair) {
                let cause = || format!("invalid URL escape {escape:?}");
                params.malformed.get_or_insert_with(cause);
            } else {
                params.pairs.extend(form_urlencoded::parse(pair).into_owned());
            }
        }
        params
    }

    /// An error if a pair was left out. Prometheus looks at that on some paths, and answers on the
    /// others as if the pair were not there.
    pub(crate) fn well_formed(&self) -> Result<(), ApiError> {
        self.malformed.as_ref().map_or(Ok(()), |cause| {
            Err(ApiError::bad_data(format!("error parsing form values: {cause}")))
        })
    }

    /// The first value of `name`; an empty one counts as none.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let mut pairs = self.pairs.iter();
        let value = pairs.find(|(found, _)| found == name).map(|(_, value)| value.as_str());
        value.filter(|value| !value.is_empty())
    }

    /// All values of `name`.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        let found = self.pairs.iter().filter(move |(found, _)| found == name);
        found.map(|(_, value)| value.as_str())
    }

    /// All names with their first values.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (String, String)> {
        self.pairs.iter().rev().cloned()
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

    /// A time that may be there.
    pub(crate) fn time(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        time_ms(text).map(Some).map_err(|cause| {
            ApiError::parameter(name, format!("invalid time value for '{name}': {cause}"))
        })
    }

    /// `start` and `end`, which are all of time when they are absent. The end may be before the
    /// start; then there is no time between them.
    pub(crate) fn time_range(&self) -> Result<(i64, i64), ApiError> {
        let start_ms = self.time("start")?.unwrap_or(TIME_MIN_MS);
        let end_ms = self.time("end")?.unwrap_or(TIME_MAX_MS);
        Ok((start_ms, end_ms))
    }

    /// The `match[]` selectors, or what is wrong with them, which begins with `told`. One that would
    /// match a series without labels is refused, since it matches everything.
    pub(crate) async fn selectors(
        &self,
        app: &App,
        told: &str,
    ) -> Result<Vec<Vec<Matcher>>, ApiError> {
        let wrong = |cause: &str| ApiError::bad_data(format!("{told}{cause}"));
        let selectors = self.read_selectors(app).await?.map_err(|cause| wrong(&cause))?;
        let all = |matchers: &Vec<Matcher>| matchers.iter().all(|matcher| matcher.matches(""));
        if selectors.iter().any(all) {
            return Err(wrong("match[] must contain at least one non-empty matcher"));
        }
        Ok(selectors)
    }

    /// The `match[]` selectors, which may match everything.
    pub(crate) async fn any_selectors(&self, app: &App) -> Result<Vec<Vec<Matcher>>, ApiError> {
        self.read_selectors(app).await?.map_err(ApiError::bad_data)
    }

    async fn read_selectors(
        &self,
        app: &App,
    ) -> Result<Result<Vec<Vec<Matcher>>, String>, ApiError> {
        if self.all("match[]").count() > SELECTORS_MAX {
            return Ok(Err(format!("more than {SELECTORS_MAX} selectors")));
        }
        let texts: Vec<String> = self.all("match[]").map(str::to_owned).collect();
        query::parsed(app, texts, Duration::MAX, |texts| {
            let mut patterns = PatternRoom::default();
            let read = |text: &String| {
                labstat_promql::any_selector_within(text, &mut patterns)
                    .map_err(|error| error.to_string())
            };
            Ok(texts.iter().map(read).collect())
        })
        .await
    }

    /// `limit`, 0 for none.
    pub(crate) fn limit(&self) -> Result<usize, ApiError> {
        Ok(self.optional("limit", limit)?.unwrap_or(0))
    }
}

/// What follows a `%` that is no escape, with it; of the length of an escape at the most.
fn bad_escape(pair: &[u8]) -> Option<String> {
    let is_escape = |at: usize| {
        pair.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    let mut percents = pair.iter().enumerate().filter(|(_, byte)| **byte == b'%');
    let (at, _) = percents.find(|(at, _)| !is_escape(*at))?;
    let found = pair.get(at..)?;
    Some(String::from_utf8_lossy(found.get(..3).unwrap_or(found)).into_owned())
}

fn limit(text: &str) -> Result<usize, String> {
    let limit = integer(text).map_err(|cause| format!("strconv.Atoi: {cause}"))?;
    usize::try_from(limit).map_err(|_| "limit must be non-negative".to_owned())
}

/// Reads a whole number; the error is in the words of Prometheus' library.
pub(crate) fn integer(text: &str) -> Result<i64, String> {
    use std::num::IntErrorKind;

    text.parse().map_err(|error: std::num::ParseIntError| {
        let cause = match error.kind() {
            IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        format!("parsing {text:?}: {cause}")
    })
}

/// Reads yes or no in any of the ways that Prometheus takes.
pub(crate) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {text:?}: invalid syntax")),
    }
}

/// The first and the last time as some clients of Prometheus write them; no calendar has them.
const FIRST_AND_LAST: [(&str, i64); 2] = [
    ("-292273086-05-16T16:47:06Z", TIME_MIN_MS),
    ("292277025-08-18T07:12:54.999999999Z", TIME_MAX_MS),
];

/// Reads a time: Unix seconds, with or without a fraction, or RFC 3339.
pub(crate) fn time_ms(text: &str) -> Result<i64, String> {
    let unknown = || format!("cannot parse {text:?} to a valid timestamp");
    let ms = match number(text) {
        Some(seconds) => nearest_ms(seconds).ok_or_else(unknown)?,
        None => {
            let named = FIRST_AND_LAST.iter().find(|(name, _)| *name == text);
            let time = || rfc3339_ms(text);
            named.map(|(_, ms)| *ms).or_else(time).ok_or_else(unknown)?
        }
    };
    // A time outside the years 1 to 9999 is before or after all that can be stored.
    Ok(ms.clamp(TIME_MIN_MS, TIME_MAX_MS))
}

/// Reads RFC 3339, and nothing of what else looks like a time but hours of one digit, which
/// Prometheus takes.
fn rfc3339_ms(text: &str) -> Option<i64> {
    let (date, time) = text.split_at_checked("0000-00-00T".len())?;
    let padded = (time.as_bytes().get(1) == Some(&b':')).then(|| format!("{date}0{time}"));
    let text = padded.as_deref().unwrap_or(text);
    let plain = |(at, found): (usize, u8)| match at {
        4 | 7 => found == b'-',
        10 => found == b'T',
        13 | 16 => found == b':',
        _ => found.is_ascii_digit(),
    };
    let (date_time, rest) = text.split_at_checked("0000-00-00T00:00:00".len())?;
    let offset =
        rest.trim_start_matches(['.', ',']).trim_start_matches(|c: char| c.is_ascii_digit());
    let is_offset = offset == "Z"
        || offset.len() == "+00:00".len() && offset.starts_with(['+', '-']) && offset.contains(':');
    // Leap seconds are none to Prometheus.
    let is_leap = date_time.ends_with("60");
    if !date_time.bytes().enumerate().all(plain) || is_leap || !is_offset {
        return None;
    }
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond)
}

/// Reads a number, whose digits may be kept apart by underscores.
fn number(text: &str) -> Option<f64> {
    if !text.contains('_') {
        return text.parse().ok();
    }
    let between_digits = |at: usize| {
        let is_digit = |at: Option<usize>| {
            at.and_then(|at| text.as_bytes().get(at)).is_some_and(u8::is_ascii_digit)
        };
        is_digit(at.checked_sub(1)) && is_digit(at.checked_add(1))
    };
    let fits = text.match_indices('_').all(|(at, _)| between_digits(at));
    fits.then(|| text.replace('_', "").parse().ok()).flatten()
}

/// Why a text is no duration.
fn no_duration(text: &str, cause: &str) -> String {
    format!("cannot parse {text:?} to a valid duration{cause}")
}

/// Seconds beyond which a duration in nanoseconds has no place in 64 bits.
const DURATION_MAX_S: f64 = 9_223_372_036.854_775;

/// Reads a duration: seconds, with or without a fraction, or `1h30m`.
pub(crate) fn duration_ms(text: &str) -> Result<i64, String> {
    match number(text) {
        // Less than a millisecond of it counts for nothing.
        #[expect(clippy::cast_possible_truncation, reason = "the bound is checked before")]
        Some(seconds) if seconds.abs() <= DURATION_MAX_S => Ok((seconds * 1000.0) as i64),
        // Neither more nor less than nothing.
        Some(seconds) if seconds.is_nan() => Ok(0),
        Some(_) => Err(no_duration(text, ". It overflows int64")),
        None => match duration::parse_ms(text) {
            #[expect(clippy::cast_precision_loss, reason = "compared with a rounded bound")]
            Ok(ms) if (ms as f64) <= DURATION_MAX_S * 1000.0 => Ok(ms),
            _ => Err(no_duration(text, "")),
        },
    }
}

/// Reads how long something may take, as [`duration_ms`], of which the least there is is a
/// millisecond.
pub(crate) fn timeout_ms(text: &str) -> Result<i64, String> {
    let ms = duration_ms(text)?;
    let is_short = ms == 0 && number(text).is_some_and(|seconds| seconds > 0.0);
    Ok(if is_short { 1 } else { ms })
}

/// Seconds as the nearest millisecond, of which the whole seconds are taken off first, as in
/// Prometheus; `None` when that is no number a time can have.
fn nearest_ms(seconds: f64) -> Option<i64> {
    let ms = seconds.trunc() * 1000.0 + (seconds.fract() * 1000.0).round();
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
        params.pairs.extend(url.pairs);
        params.malformed = params.malformed.or(url.malformed);
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
            ("2026-01-01T9:45:00.25+01:00", 1_767_257_100_250),
            ("1.0005", 1_000),
            ("-1.0005", -1_000),
            ("1_000", 1_000_000),
            ("+5", 5_000),
            (".5", 500),
            ("292277025-08-18T07:12:54.999999999Z", TIME_MAX_MS),
            ("1e15", TIME_MAX_MS),
            ("1769000000000", TIME_MAX_MS),
        ] {
            assert_eq!(time_ms(text), Ok(ms), "{text}");
        }
        for text in [
            "",
            "abc",
            "NaN",
            "inf",
            "1e17",
            "1__0",
            "_1",
            " 1",
            "1m",
            "2026-13-01T00:00:00Z",
            "2026-02-30T00:00:00Z",
            "2026-01-01",
            "2026-01-01T00:00:60Z",
            "2026-01-01T9:0:00Z",
            "0x1p4",
            "2026-01-01T00:00Z",
            "2026-01-01t00:00:00z",
            "2026-01-01 00:00:00Z",
            "2026-01-01T00:00:00 02:00",
            "10000-01-01T00:00:00Z",
        ] {
            assert!(time_ms(text).is_err(), "{text}");
        }
        assert_eq!(time_ms("x"), Err("cannot parse \"x\" to a valid timestamp".to_owned()));
    }

    #[test]
    fn durations_are_read_in_both_forms() {
        for (text, ms) in [("15", 15_000), ("0.5", 500), ("1m", 60_000), ("1h30m", 5_400_000)] {
            assert_eq!(duration_ms(text), Ok(ms), "{text}");
        }
        assert_eq!(duration_ms("0.0019"), Ok(1), "what is less than a millisecond is cut off");
        assert_eq!(duration_ms("NaN"), Ok(0), "which a step may not be");
        for text in ["", "x", "-5m", "1.5m", "1m1h", "300y", "1e300", "Inf", "9223372037"] {
            assert!(duration_ms(text).is_err(), "{text}");
        }
        let overflow = "cannot parse \"1e300\" to a valid duration. It overflows int64";
        assert_eq!(duration_ms("1e300"), Err(overflow.to_owned()));
    }

    #[test]
    fn a_timeout_is_never_rounded_to_none() {
        for (text, ms) in [("0.0005", 1), ("1e-9", 1), ("0", 0), ("-5", -5_000), ("0.0019", 1)] {
            assert_eq!(timeout_ms(text), Ok(ms), "{text}");
        }
        assert!(timeout_ms("x").is_err());
    }

    #[test]
    fn pairs_that_are_written_wrongly_are_left_out_and_told() {
        for (text, pairs, cause) in [
            ("a=%41&b=2", 2, None),
            ("a=1%zz&b=2", 1, Some("invalid URL escape \"%zz\"")),
            ("a=1%&b=%4", 0, Some("invalid URL escape \"%\"")),
            ("%g1=1&b=%4", 0, Some("invalid URL escape \"%g1\"")),
            ("a=%zz&b;c=1&&d", 1, Some("invalid semicolon separator in query")),
        ] {
            let params = Params::parse(text.as_bytes());
            assert_eq!((params.pairs.len(), params.malformed.as_deref()), (pairs, cause), "{text}");
        }
        let error = Params::parse(b"a=%zz").well_formed().unwrap_err();
        assert_eq!(error.to_string(), "error parsing form values: invalid URL escape \"%zz\"");
    }

    #[test]
    fn whole_numbers_and_booleans_fail_in_the_words_of_prometheus() {
        let error = |text: &str| Params::parse(text.as_bytes()).limit().unwrap_err().to_string();
        let start = "invalid parameter \"limit\": ";
        assert_eq!(error("limit=x"), format!("{start}strconv.Atoi: parsing \"x\": invalid syntax"));
        assert_eq!(
            error("limit=99999999999999999999"),
            format!("{start}strconv.Atoi: parsing \"99999999999999999999\": value out of range")
        );
        assert_eq!(error("limit=-1"), format!("{start}limit must be non-negative"));
        assert_eq!((boolean("T"), boolean("0")), (Ok(true), Ok(false)));
        assert!(boolean("yes").is_err());
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
