//! Native histograms in the notation of tests: `{{schema:1 count:3 sum:2.5 buckets:[1 2] offset:-1}}`.

use std::fmt::Write;
use std::sync::Arc;

use labstat_model::{BucketCount, Histogram, Labels, ResetHint};
use labstat_promql::{Engine, MixedValue, QueryOptions, Value};

use super::memory::Memory;
use super::series::{self, Point, SPACES};

/// Buckets from the first that has something to the last: gaps are written out.
const BUCKETS_MAX: i64 = 10_000;

/// A histogram's description, without the braces around it.
pub(super) fn read(text: &str) -> Result<Histogram, String> {
    let mut parts = Parts::default();
    let mut rest = if text.trim_start_matches(SPACES).is_empty() { "" } else { text };
    while !rest.is_empty() {
        let (key, after) = rest
            .split_once(':')
            .ok_or_else(|| format!("histogram description incomplete: {rest:?}"))?;
        let end = match after.strip_prefix('[') {
            Some(list) => list.find(']').map(|at| at + 2),
            None => Some(after.find(SPACES).unwrap_or(after.len())),
        };
        let end = end.ok_or_else(|| format!("{key}: the list is not closed"))?;
        let (value, after) = after.split_at(end);
        parts.take(&key.to_ascii_lowercase(), value)?;
        rest = after.trim_start_matches(SPACES);
        if rest.len() == after.len() && !after.is_empty() {
            return Err(format!("unexpected {after:?} in a histogram description"));
        }
    }
    parts.histogram()
}

/// A number that may have a minus, and nothing after it.
fn number(text: &str) -> Result<f64, String> {
    let plain = text.strip_prefix('-').unwrap_or(text);
    match series::unsigned(plain) {
        Ok((value, "")) if !plain.starts_with('.') => {
            Ok(if plain.len() < text.len() { -value } else { value })
        }
        Ok(_) => Err(format!("{text:?} is not a number")),
        Err(why) => Err(why),
    }
}

#[derive(Default)]
struct Parts {
    given: Vec<String>,
    histogram: Histogram,
    buckets: (i32, Vec<f64>),
    negative: (i32, Vec<f64>),
}

impl Parts {
    fn take(&mut self, key: &str, value: &str) -> Result<(), String> {
        if self.given.iter().any(|given| given == key) {
            return Err(format!("duplicate key {key:?} in histogram"));
        }
        self.given.push(key.to_owned());
        let number = |text: &str| number(text).map_err(|why| format!("{key}: {why}"));
        let whole = |text: &str| -> Result<i32, String> {
            let plain = Some(text).filter(|text| !text.starts_with('+'));
            plain
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| format!("{key}: {text:?} is not a whole number"))
        };
        let list = |text: &str| -> Result<Vec<f64>, String> {
            let items = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
            let items = items.ok_or_else(|| format!("{key}: a list, not {text:?}"))?;
            if items.is_empty() || items.starts_with(SPACES) {
                return Err(format!("{key}: a number after the bracket"));
            }
            items.split(SPACES).filter(|item| !item.is_empty()).map(number).collect()
        };
        let histogram = &mut self.histogram;
        match key {
            "schema" => histogram.schema = whole(value)?,
            "sum" => histogram.sum = number(value)?,
            "count" => histogram.count = number(value)?,
            "z_bucket" => histogram.zero_count = number(value)?,
            "z_bucket_w" if value.starts_with('-') => {
                return Err(format!("{key}: {value} is below zero"));
            }
            "z_bucket_w" => histogram.zero_threshold = number(value)?,
            "custom_values" => histogram.bounds = Arc::from(list(value)?),
            "buckets" => self.buckets.1 = list(value)?,
            "offset" => self.buckets.0 = whole(value)?,
            "n_buckets" => self.negative.1 = list(value)?,
            "n_offset" => self.negative.0 = whole(value)?,
            "counter_reset_hint" => {
                histogram.hint = match value.to_ascii_lowercase().as_str() {
                    "unknown" => ResetHint::Unknown,
                    "reset" => ResetHint::Reset,
                    "not_reset" => ResetHint::Continued,
                    "gauge" => ResetHint::Gauge,
                    other => return Err(format!("{key}: {other:?} is none")),
                }
            }
            other => return Err(format!("unknown key {other:?} in a histogram description")),
        }
        Ok(())
    }

    fn histogram(self) -> Result<Histogram, String> {
        let Self { histogram, buckets, negative, .. } = self;
        if !histogram.is_custom() && !Histogram::SCHEMAS.contains(&histogram.schema) {
            return Err(format!("schema {} is none", histogram.schema));
        }
        Ok(Histogram { positive: spread(buckets)?, negative: spread(negative)?, ..histogram })
    }
}

/// The buckets of a list that begins at an offset.
fn spread((offset, counts): (i32, Vec<f64>)) -> Result<Vec<BucketCount>, String> {
    let end = i32::try_from(counts.len()).ok().and_then(|len| offset.checked_add(len));
    let end = end.ok_or_else(|| format!("buckets after {offset} have no number"))?;
    let filled = (offset..end).zip(counts).filter(|(_, count)| *count != 0.0);
    Ok(filled.map(|(index, count)| BucketCount { index, count }).collect())
}

/// Why Prometheus' storage refuses a histogram, where it does.
pub(super) fn fault(histogram: &Histogram) -> Option<&'static str> {
    let Histogram { bounds, positive, negative, .. } = histogram;
    if positive.iter().chain(negative).any(|bucket| bucket.count < 0.0) {
        return Some("a bucket holds less than nothing");
    }
    if !histogram.is_custom() {
        return (!bounds.is_empty()).then_some("bounds of its own need schema -53");
    }
    if histogram.zero_count != 0.0 || histogram.zero_threshold != 0.0 || !negative.is_empty() {
        return Some("with bounds of its own it has buckets above zero only");
    }
    let falls = bounds.iter().zip(bounds.iter().skip(1)).any(|(a, b)| b <= a);
    if falls || bounds.iter().any(|bound| bound.is_infinite()) {
        return Some("its bounds must ascend and be finite");
    }
    let within = |bucket: &BucketCount| {
        usize::try_from(bucket.index).is_ok_and(|index| index <= bounds.len())
    };
    (!positive.iter().all(within)).then_some("it has more buckets than bounds")
}

/// `last` and one more `step`, added or taken away, as the engine calculates.
pub(super) fn step(
    last: &Arc<Histogram>,
    step: &Arc<Histogram>,
    sign: char,
) -> Result<Arc<Histogram>, String> {
    if last.schema > step.schema {
        let (from, to) = (step.schema, last.schema);
        return Err(format!("error combining histograms: cannot merge from schema {from} to {to}"));
    }
    let mut memory = Memory::default();
    for (name, histogram) in [("a", last), ("b", step)] {
        let labels = Labels::new([(labstat_model::METRIC_NAME, name)]);
        memory.push(&labels, 0, &Point::Histogram(Arc::clone(histogram)))?;
    }
    let query = format!("a {sign} b");
    let answer = Engine::default().instant(&memory, &query, 0, &QueryOptions::default());
    match answer.map_err(|error| error.to_string())?.value {
        Value::MixedVector(vector) => match vector.first().map(|sample| &sample.value) {
            Some(MixedValue::Histogram(histogram)) => Ok(Arc::clone(histogram)),
            _ => Err("the histograms cannot be combined".to_owned()),
        },
        _ => Err("the histograms cannot be combined".to_owned()),
    }
}

/// A histogram in the notation of tests; two that are equal have the same text.
pub(super) fn text(histogram: &Histogram) -> String {
    let mut parts: Vec<String> = Vec::new();
    let number = labstat_model::number::format_g;
    if histogram.schema != 0 {
        parts.push(format!("schema:{}", histogram.schema));
    }
    for (key, value) in [
        ("count", histogram.count),
        ("sum", histogram.sum),
        ("z_bucket", histogram.zero_count),
        ("z_bucket_w", histogram.zero_threshold),
    ] {
        if value != 0.0 {
            parts.push(format!("{key}:{}", number(value)));
        }
    }
    let list = |values: &[f64]| -> String {
        values.iter().map(|value| number(*value)).collect::<Vec<_>>().join(" ")
    };
    if histogram.is_custom() {
        parts.push(format!("custom_values:[{}]", list(&histogram.bounds)));
    }
    match histogram.hint {
        ResetHint::Unknown => {}
        ResetHint::Reset => parts.push("counter_reset_hint:reset".to_owned()),
        ResetHint::Continued => parts.push("counter_reset_hint:not_reset".to_owned()),
        ResetHint::Gauge => parts.push("counter_reset_hint:gauge".to_owned()),
    }
    for (offset_key, key, buckets) in
        [("offset", "buckets", &histogram.positive), ("n_offset", "n_buckets", &histogram.negative)]
    {
        let filled = || buckets.iter().filter(|bucket| bucket.count != 0.0);
        let (Some(first), Some(last)) = (filled().next(), filled().next_back()) else { continue };
        if first.index != 0 {
            parts.push(format!("{offset_key}:{}", first.index));
        }
        let mut counts = String::new();
        let mut next = i64::from(first.index);
        for bucket in filled() {
            let gap = (i64::from(bucket.index) - next).clamp(0, BUCKETS_MAX);
            (0..gap).for_each(|_| counts.push_str("0 "));
            next = i64::from(bucket.index) + 1;
            let end = if bucket.index == last.index { "" } else { " " };
            // Writing to a String cannot fail.
            let _ = write!(counts, "{}{end}", number(bucket.count));
        }
        parts.push(format!("{key}:[{counts}]"));
    }
    format!("{{{{{}}}}}", parts.join(" "))
}
