//! Reading from another engine: which of its ways gives raw samples, and the samples made exact.
//!
//! An engine is always asked for a little more than is wanted, and what comes is looked through
//! again: its ranges may leave out an edge, its times may be whole seconds, and one that was sent
//! a write twice may have a sample twice.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::BufReader;
use std::sync::atomic::{AtomicU8, Ordering};

use bytes::Bytes;
use hyper::Uri;
use labstat_model::{Labels, Matcher, Series};
use labstat_wire::{remote_read, remote_write};

use super::http::{Ask, Body, Http, HttpError};
use super::json::{self, LabelMap, ReadError};
use super::selector::selector;
use crate::engine::{EngineConfig, ReadWay};
use crate::http::{TIME_MAX_MS, TIME_MIN_MS};
use crate::storage::{ErrorKind, StorageError, chain};

/// Bytes of JSON that one sample may take: a time and a value with all their digits.
const SAMPLE_JSON_LEN_MAX: usize = 64;

/// Bytes of an answer that are no samples: the labels of a hundred thousand series and more.
const LABELS_LEN_MAX: usize = 64 * 1024 * 1024;

/// Bytes that are read of the network at a time.
const BUFFER_LEN: usize = 64 * 1024;

/// The first time that VictoriaMetrics does not take for none.
const EXPORT_TIME_MIN_MS: i64 = 1000;

/// The last time that VictoriaMetrics takes for seconds and not for milliseconds.
const EXPORT_TIME_MAX_MS: i64 = (u32::MAX as i64) * 1000;

/// The type of a body that is a form.
const FORM: &[(&str, &str)] = &[("content-type", "application/x-www-form-urlencoded")];

/// The type of a body that is a remote read.
const REMOTE_READ: &[(&str, &str)] = &[
    ("content-type", remote_write::CONTENT_TYPE),
    ("content-encoding", remote_write::CONTENT_ENCODING),
    remote_read::VERSION_HEADER,
];

/// The reading side of another engine.
#[derive(Debug)]
pub(super) struct Reader {
    url: String,
    samples_max: usize,
    /// The way as a number, so that it can be found out by whoever comes first.
    way: AtomicU8,
}

/// A range of time that series are looked for in, as the API has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
}

impl Reader {
    pub(super) fn new(config: &EngineConfig, url: &str, samples_max: usize) -> Self {
        let way = AtomicU8::new(number(config.read));
        Self { url: url.to_owned(), samples_max, way }
    }

    /// The samples from `start_ms` to `end_ms`, both included, sorted by labels.
    pub(super) fn select(
        &self,
        http: &Http,
        matchers: &[Matcher],
        times: Times,
    ) -> Result<Vec<Series>, StorageError> {
        let found = match self.way(http)? {
            ReadWay::Export => self.export(http, matchers, times)?,
            ReadWay::RemoteRead => self.remote_read(http, matchers, times)?,
            ReadWay::Query | ReadWay::Auto => self.query(http, matchers, times)?,
        };
        Ok(tidy(found, matchers, times))
    }

    fn export(&self, http: &Http, matchers: &[Matcher], times: Times) -> Read<Vec<Series>> {
        let start_ms = times.start_ms.max(EXPORT_TIME_MIN_MS);
        let end_ms = times.end_ms.min(EXPORT_TIME_MAX_MS);
        if start_ms > end_ms {
            return Ok(Vec::new());
        }
        let form = form(&[
            ("match[]", &selector(matchers).text),
            ("start", &start_ms.div_euclid(1000).to_string()),
            ("end", &seconds_up(end_ms).to_string()),
            // Its own form has infinities that are no JSON in older versions.
            ("format", "promapi"),
        ]);
        let body = self.post(http, "/api/v1/export", form, self.body_len_max())?;
        json::export(body, self.samples_max).map_err(unread)
    }

    fn remote_read(&self, http: &Http, matchers: &[Matcher], times: Times) -> Read<Vec<Series>> {
        let ask = remote_read::encode(matchers, times.start_ms, times.end_ms);
        let ask = ask.map_err(|error| StorageError::failed(READ, error))?;
        let uri = self.uri("/api/v1/read")?;
        let ask = Ask { uri, body: Some(Bytes::from(ask)), headers: REMOTE_READ };
        let len_max = remote_read::body_len_max(self.samples_max);
        let mut body = http.read(ask, len_max).map_err(failed)?;
        let mut block = Vec::new();
        std::io::Read::read_to_end(&mut body, &mut block)
            .map_err(|error| unread(ReadError::Json(serde_json::Error::io(error))))?;
        remote_read::decode(&block, self.samples_max)
            .map_err(|error| StorageError::failed(READ, error))
    }

    fn query(&self, http: &Http, matchers: &[Matcher], times: Times) -> Read<Vec<Series>> {
        // A range ends at a whole second, which all read alike, and that a second late, since some
        // leave out the right edge; it begins a millisecond early, since Prometheus 3 leaves out
        // the left edge and 2 does not.
        let end_s = seconds_up(times.end_ms).saturating_add(1);
        let range_ms = end_s.saturating_mul(1000).saturating_sub(times.start_ms).saturating_add(1);
        let query = format!("{}[{}ms]", selector(matchers).text, range_ms.max(1));
        let form = form(&[("query", &query), ("time", &end_s.to_string())]);
        let body = self.post(http, "/api/v1/query", form, self.body_len_max())?;
        json::matrix(body, self.samples_max).map_err(unread)
    }

    /// The label sets of series that fulfil any of the lists, sorted.
    pub(super) fn series(
        &self,
        http: &Http,
        any: &[Vec<Matcher>],
        times: Times,
    ) -> Read<Vec<Labels>> {
        let form = self.look_up(http, any, times)?;
        let body = self.post(http, "/api/v1/series", form, LABELS_LEN_MAX)?;
        let mut all = Vec::new();
        json::for_each(body, |labels: LabelMap| {
            let labels = labels.labels();
            let fits = |list: &Vec<Matcher>| list.iter().all(|m| m.matches_labels(&labels));
            if any.is_empty() || any.iter().any(fits) {
                all.push(labels);
            }
            Ok(())
        })
        .map_err(unread)?;
        all.sort_unstable();
        all.dedup();
        Ok(all)
    }

    /// The names of labels of the same series, sorted; `None` when the engine cannot be asked that.
    pub(super) fn label_names(
        &self,
        http: &Http,
        any: &[Vec<Matcher>],
        times: Times,
    ) -> Read<Option<Vec<String>>> {
        if any.iter().any(|list| selector(list).wider) {
            return Ok(None);
        }
        let form = self.look_up(http, any, times)?;
        self.list(self.post(http, "/api/v1/labels", form, LABELS_LEN_MAX)?).map(Some)
    }

    /// The values of a label of the same series, sorted; `None` when the engine cannot be asked
    /// that.
    pub(super) fn label_values(
        &self,
        http: &Http,
        name: &str,
        any: &[Vec<Matcher>],
        times: Times,
    ) -> Read<Option<Vec<String>>> {
        if !labstat_model::is_label_name(name) || any.iter().any(|list| selector(list).wider) {
            return Ok(None);
        }
        let form = self.look_up(http, any, times)?;
        let path = format!("/api/v1/label/{name}/values?{form}");
        self.list(self.get(http, &path, LABELS_LEN_MAX)?).map(Some)
    }

    fn list(&self, body: BufReader<Body<'_>>) -> Read<Vec<String>> {
        let mut all = Vec::new();
        let taken = json::for_each(body, |text: String| {
            all.push(text);
            Ok(())
        });
        taken.map_err(unread)?;
        all.sort_unstable();
        all.dedup();
        Ok(all)
    }

    /// The form that asks for series, labels or values.
    fn look_up(&self, http: &Http, any: &[Vec<Matcher>], times: Times) -> Read<String> {
        let Times { mut start_ms, mut end_ms } = times;
        if self.way(http)? == ReadWay::Export {
            start_ms = start_ms.max(EXPORT_TIME_MIN_MS);
            end_ms = end_ms.min(EXPORT_TIME_MAX_MS);
        }
        let selectors: Vec<String> = if any.is_empty() {
            vec![selector(&[]).text]
        } else {
            any.iter().map(|list| selector(list).text).collect()
        };
        let (start, end) = (start_ms.div_euclid(1000).to_string(), seconds_up(end_ms).to_string());
        let mut pairs: Vec<(&str, &str)> =
            selectors.iter().map(|text| ("match[]", text.as_str())).collect();
        // All of time is what they look through when nothing is said.
        if start_ms > TIME_MIN_MS {
            pairs.push(("start", &start));
        }
        if end_ms < TIME_MAX_MS {
            pairs.push(("end", &end));
        }
        Ok(form(&pairs))
    }

    pub(super) fn get<'h>(
        &self,
        http: &'h Http,
        path: &str,
        len_max: usize,
    ) -> Read<BufReader<Body<'h>>> {
        let ask = Ask { uri: self.uri(path)?, body: None, headers: &[] };
        let body = http.read(ask, len_max).map_err(failed)?;
        Ok(BufReader::with_capacity(BUFFER_LEN, body))
    }

    fn post<'h>(
        &self,
        http: &'h Http,
        path: &str,
        form: String,
        len_max: usize,
    ) -> Read<BufReader<Body<'h>>> {
        let ask = Ask { uri: self.uri(path)?, body: Some(Bytes::from(form)), headers: FORM };
        let body = http.read(ask, len_max).map_err(failed)?;
        Ok(BufReader::with_capacity(BUFFER_LEN, body))
    }

    fn uri(&self, path: &str) -> Read<Uri> {
        let uri = format!("{}{path}", self.url).parse();
        uri.map_err(|error: hyper::http::uri::InvalidUri| StorageError::failed(READ, error))
    }

    fn body_len_max(&self) -> usize {
        self.samples_max.saturating_mul(SAMPLE_JSON_LEN_MAX).saturating_add(LABELS_LEN_MAX)
    }

    /// The way that samples are read, found out once.
    fn way(&self, http: &Http) -> Read<ReadWay> {
        let way = way(self.way.load(Ordering::Relaxed));
        if way != ReadWay::Auto {
            return Ok(way);
        }
        let export =
            "/api/v1/export?match%5B%5D=%7B__name__%3D%22labstat_probe%22%7D&start=0&end=1";
        let ask = Ask { uri: self.uri(export)?, body: None, headers: &[] };
        let found = if speaks(http, ask)? {
            ReadWay::Export
        } else {
            let nothing = remote_read::encode_nothing();
            let nothing = nothing.map_err(|error| StorageError::failed(READ, error))?;
            let uri = self.uri("/api/v1/read")?;
            let ask = Ask { uri, body: Some(Bytes::from(nothing)), headers: REMOTE_READ };
            if speaks(http, ask)? { ReadWay::RemoteRead } else { ReadWay::Query }
        };
        tracing::info!(url = self.url, way = ?found, "how the engine is read was found out");
        self.way.store(number(found), Ordering::Relaxed);
        Ok(found)
    }
}

/// What was attempted, for errors.
const READ: &str = "read from the engine";

pub(super) type Read<T> = Result<T, StorageError>;

/// Whether the engine answers to a path at all.
fn speaks(http: &Http, ask: Ask) -> Read<bool> {
    match http.read(ask, BUFFER_LEN) {
        Ok(_) => Ok(true),
        Err(HttpError::Refused { .. }) => Ok(false),
        Err(HttpError::Away { status: Some(status), .. })
            if status.is_client_error() || status.as_u16() == 501 =>
        {
            // Who may not ask at all learns nothing of what there is.
            if matches!(status.as_u16(), 401 | 403 | 429) {
                let what = format!("how it is read cannot be found out: it answers {status}");
                return Err(StorageError::new(ErrorKind::Away, READ, what));
            }
            Ok(false)
        }
        Err(error) => Err(failed(error)),
    }
}

pub(super) fn failed(error: HttpError) -> StorageError {
    match error {
        HttpError::Away { .. } => StorageError::new(ErrorKind::Away, READ, error),
        HttpError::Refused { .. } => StorageError::failed(READ, error),
    }
}

fn unread(error: ReadError) -> StorageError {
    match &error {
        ReadError::TooManySamples { .. } => StorageError::new(ErrorKind::TooMuch, READ, error),
        ReadError::Said(_) => StorageError::failed(READ, error),
        ReadError::Json(cause) => match cause.io_error_kind() {
            // The connection broke off, or it took too long.
            Some(kind) if kind != std::io::ErrorKind::FileTooLarge => {
                StorageError::new(ErrorKind::Away, READ, chain(&error))
            }
            _ => StorageError::failed(READ, error),
        },
    }
}

const fn number(way: ReadWay) -> u8 {
    match way {
        ReadWay::Auto => 0,
        ReadWay::Export => 1,
        ReadWay::RemoteRead => 2,
        ReadWay::Query => 3,
    }
}

const fn way(number: u8) -> ReadWay {
    match number {
        1 => ReadWay::Export,
        2 => ReadWay::RemoteRead,
        3 => ReadWay::Query,
        _ => ReadWay::Auto,
    }
}

/// The next whole second.
const fn seconds_up(ms: i64) -> i64 {
    ms.saturating_add(999).div_euclid(1000)
}

fn form(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// Series as they are wanted of series as they came: those that fulfil all matchers, each once, cut
/// to the range, with ascending times of which each is there once.
fn tidy(found: Vec<Series>, matchers: &[Matcher], times: Times) -> Vec<Series> {
    let mut all: BTreeMap<Labels, Series> = BTreeMap::new();
    let fits = |series: &Series| matchers.iter().all(|m| m.matches_labels(&series.labels));
    for series in found.into_iter().filter(fits) {
        match all.entry(series.labels.clone()) {
            Entry::Vacant(entry) => drop(entry.insert(series)),
            Entry::Occupied(mut entry) => {
                entry.get_mut().times.extend(series.times);
                entry.get_mut().values.extend(series.values);
            }
        }
    }
    let cut = |series| cut(series, times);
    all.into_values().map(cut).filter(|series| !series.is_empty()).collect()
}

fn cut(mut series: Series, times: Times) -> Series {
    let Times { start_ms, end_ms } = times;
    if !series.times.is_sorted_by(|a, b| a < b) {
        let mut samples: Vec<(i64, f64)> =
            series.times.iter().copied().zip(series.values.iter().copied()).collect();
        // The sort is stable, so among equal times the last that came comes last, and counts.
        samples.sort_by_key(|(time_ms, _)| *time_ms);
        let later = samples.iter().skip(1).map(|(time_ms, _)| Some(*time_ms)).chain([None]);
        let last = samples.iter().zip(later).filter(|((at, _), next)| Some(*at) != *next);
        (series.times, series.values) = last.map(|(sample, _)| *sample).unzip();
    }
    let start = series.times.partition_point(|time_ms| *time_ms < start_ms);
    let end = series.times.partition_point(|time_ms| *time_ms <= end_ms);
    series.times.truncate(end);
    series.values.truncate(end);
    series.times.drain(..start.min(end));
    series.values.drain(..start.min(end));
    series
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> Series {
        let (times, values) = samples.iter().copied().unzip();
        Series { labels: Labels::new(labels.iter().copied()), times, values }
    }

    #[test]
    fn what_comes_is_merged_sorted_and_cut() {
        let found = vec![
            series(&[("__name__", "b")], &[(30, 3.0), (10, 1.0), (20, 2.0), (20, 2.5)]),
            series(&[("__name__", "a")], &[(10, 1.0), (20, 2.0), (30, 3.0), (40, 4.0)]),
            series(&[("__name__", "b")], &[(25, 9.0)]),
            series(&[("__name__", "c")], &[(40, 4.0)]),
            series(&[("__name__", "d")], &[(20, 4.0)]),
        ];
        let matchers = [Matcher::new("__name__", labstat_model::MatchOp::Regex, "a|b|c").unwrap()];
        let wanted = vec![
            series(&[("__name__", "a")], &[(20, 2.0), (30, 3.0)]),
            series(&[("__name__", "b")], &[(20, 2.5), (25, 9.0), (30, 3.0)]),
        ];
        assert_eq!(tidy(found, &matchers, Times { start_ms: 20, end_ms: 30 }), wanted);
    }

    #[test]
    fn seconds_are_rounded_up() {
        assert_eq!([0, 1, 999, 1000, 1001, -1, -1000].map(seconds_up), [0, 1, 1, 1, 2, 0, -1]);
    }
}
