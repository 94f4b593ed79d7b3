//! Native histograms in the notation of tests: `{{schema:1 count:3 sum:2.5 buckets:[1 2] offset:-1}}`.

use std::fmt::Write;
use std::sync::Arc;

use labstat_model::{BucketCount, Histogram, Labels, ResetHint};
use labstat_promql::{Engine, MixedValue, QueryOptions, Value};

use super::memory::Memory;
use super::series::Point;

/// Buckets from the first that has something to the last: gaps are written out.
const BUCKETS_MAX: i64 = 10_000;

/// A histogram's description, without the braces around it.
pub(super) fn read(text: &str) -> Result<Histogram, String> {
    let mut parts = Parts::default();
    let mut rest = text.trim_start_matches(' ');
    while !rest.is_empty() {
        let (key, after) = rest
            .split_once(':')
            .ok_or_else(|| format!("histogram description incomplete: {rest:?}"))?;
        let (value, after) = if let Some(list) = after.strip_prefix('[') {
            list.split_once(']').ok_or_else(|| format!("{key}: the list is not closed"))?
        } else {
            after.split_at(after.find(' ').unwrap_or(after.len()))
        };
        parts.take(key, value)?;
        rest = after.trim_start_matches(' ');
        if rest.len() == after.len() && !after.is_empty() {
            return Err(format!("unexpected {after:?} in a histogram description"));
        }
    }
    Ok(parts.histogram())
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
        let number = |text: &str| -> Result<f64, String> {
            let known = match text.trim_start_matches(['+', '-']).to_ascii_lowercase().as_str() {
                "inf" => Some(f64::INFINITY),
                "nan" => Some(f64::NAN),
                plain => plain.replace('_', "").parse().ok(),
            };
            let value: f64 = known.ok_or_else(|| format!("{key}: {text:?} is not a number"))?;
            Ok(if text.starts_with('-') { -value } else { value })
        };
        let whole = |text: &str| -> Result<i32, String> {
            text.parse().map_err(|_| format!("{key}: {text:?} is not a whole number"))
        };
        let list = |text: &str| -> Result<Vec<f64>, String> {
            text.split(' ').filter(|part| !part.is_empty()).map(number).collect()
        };
        let histogram = &mut self.histogram;
        match key {
            "schema" => histogram.schema = whole(value)?,
            "sum" => histogram.sum = number(value)?,
            "count" => histogram.count = number(value)?,
            "z_bucket" => histogram.zero_count = number(value)?,
            "z_bucket_w" => histogram.zero_threshold = number(value)?,
            "custom_values" => histogram.bounds = Arc::from(list(value)?),
            "buckets" => self.buckets.1 = list(value)?,
            "offset" => self.buckets.0 = whole(value)?,
            "n_buckets" => self.negative.1 = list(value)?,
            "n_offset" => self.negative.0 = whole(value)?,
            "counter_reset_hint" => {
                histogram.hint = match value {
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

    fn histogram(self) -> Histogram {
        let spread = |(offset, counts): (i32, Vec<f64>)| -> Vec<BucketCount> {
            let numbered = (offset..).zip(counts);
            let filled = numbered.filter(|(_, count)| *count != 0.0);
            filled.map(|(index, count)| BucketCount { index, count }).collect()
        };
        Histogram {
            positive: spread(self.buckets),
            negative: spread(self.negative),
            ..self.histogram
        }
    }
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
