//! Native histograms: the same ones are sent to Prometheus and to labstat, and the answers of both
//! to the same queries are compared, remarks and all.

use std::collections::BTreeSet;

use labstat_model::{BucketCount, Histogram, Labels, ResetHint, Sample, stale_marker};
use labstat_wire::remote_write::{Message, compress};
use serde_json::Value as Json;

use crate::answer::TOLERANCE;
use crate::data::{INTERVAL_MS, Noise, START_MS};
use crate::http;
use crate::sides::{Labstat, Remote, When};

const QUERIES: &str = include_str!("histograms.txt");

/// How many samples each series has.
const STEPS: i64 = 80;

/// Differences printed per query.
const LINES_MAX: usize = 3;

/// One sample of a series.
enum Value {
    Number(f64),
    Whole(Histogram),
    Fraction(Histogram),
}

fn side(counts: impl IntoIterator<Item = (i32, f64)>) -> Vec<BucketCount> {
    counts.into_iter().map(|(index, count)| BucketCount { index, count }).collect()
}

/// With count and sum that fit its buckets.
fn whole(mut histogram: Histogram) -> Histogram {
    let sides = histogram.positive.iter().chain(&histogram.negative);
    histogram.count = histogram.zero_count + sides.map(|bucket| bucket.count).sum::<f64>();
    let weight = |bucket: &BucketCount| bucket.count * (f64::from(bucket.index) + 1.5);
    histogram.sum = histogram.positive.iter().map(weight).sum::<f64>()
        - histogram.negative.iter().map(weight).sum::<f64>();
    histogram
}

/// A counter that has grown for so many steps.
fn counter(schema: i32, grown: i64, seed: i64) -> Histogram {
    let grown = grown as f64;
    let buckets = (-2..6).map(|index| {
        let pace = f64::from((index * 7 + seed as i32).rem_euclid(5));
        (index * 2 + seed as i32, (grown * pace).floor())
    });
    let zero_count = (grown * 1.5).floor();
    let positive = side(buckets);
    whole(Histogram { schema, zero_threshold: 0.001, zero_count, positive, ..Histogram::default() })
}

fn custom(bounds: &[f64], grown: i64) -> Histogram {
    let buckets =
        (0..=bounds.len()).map(|index| (index as i32, (grown * (index as i64 + 1)) as f64));
    let (schema, bounds) = (Histogram::CUSTOM_SCHEMA, bounds.into());
    whole(Histogram { schema, bounds, positive: side(buckets), ..Histogram::default() })
}

fn stale() -> Histogram {
    Histogram { sum: stale_marker(), ..Histogram::default() }
}

/// What is sent at a step: name, label and value.
fn at(step: i64, noise: &mut Noise) -> Vec<(&'static str, &'static str, Value)> {
    use Value::{Fraction, Number, Whole};
    let since = |reset: i64| if step >= reset { step - reset } else { step + 3 };
    let mut all = vec![
        ("h", "a", Whole(counter(3, since(33), 1))),
        ("h", "b", Whole(counter(3, step, 2))),
        ("h", "c", Whole(counter(1, step, 3))),
        ("empty", "a", Whole(Histogram { schema: 2, zero_threshold: 0.5, ..Histogram::default() })),
    ];
    let mut both = counter(2, step + 1, 4);
    both.negative = side((0..4).map(|index| (index, (step * i64::from(index)) as f64 * 0.25)));
    all.push(("float", "a", Fraction(whole(both.clone()))));
    both.positive.clear();
    all.push(("float", "b", Fraction(whole(both))));
    let schema = match step {
        0..20 => 4,
        20..50 => 2,
        _ => 5,
    };
    all.push(("schema", "a", Whole(counter(schema, step, 1))));
    all.push(("schema", "b", Whole(Histogram { hint: ResetHint::Unknown, ..counter(0, step, 5) })));
    let mut zero = counter(0, step, 1);
    zero.zero_threshold = match step {
        0..20 => 0.001,
        20..50 => 0.7,
        _ => 0.01,
    };
    if step >= 20 {
        let taken: f64 = zero.positive.iter().filter(|b| b.index <= 0).map(|b| b.count).sum();
        zero.positive.retain(|bucket| bucket.index > 0);
        zero.zero_count += taken;
    }
    all.push(("zero", "a", Whole(whole(zero))));
    let bounds: &[f64] = if step < 40 { &[0.5, 1.0, 2.5] } else { &[0.5, 1.0, 5.0] };
    all.push(("custom", "a", Whole(custom(bounds, step))));
    all.push(("custom", "b", Whole(custom(&[0.5, 1.0, 2.5], since(60)))));
    all.push(("custom", "c", Fraction(custom(&[-2.0, 0.0, 2.5], step))));
    let mut gauge = counter(1, noise.below(40) as i64, 2);
    gauge.hint = ResetHint::Gauge;
    all.push(("gauge", "a", Whole(gauge)));
    all.push(("gauge", "b", Number(noise.below(40) as f64)));
    match step {
        20 | 60 => all.push(("gone", "a", Whole(stale()))),
        21..40 => {}
        _ => all.push(("gone", "a", Whole(counter(1, since(40), 1)))),
    }
    match step {
        0..30 => all.push(("mixed", "a", Number(step as f64))),
        30..50 => all.push(("mixed", "a", Whole(counter(1, step, 1)))),
        _ if step % 2 == 0 => all.push(("mixed", "a", Whole(counter(1, step, 1)))),
        _ => all.push(("mixed", "a", Number(step as f64))),
    }
    all.push(("mixed", "b", Number(step as f64 * 2.0)));
    all.push(("mixed", "c", Whole(counter(1, step, 4))));
    let mut nan = counter(1, step, 1);
    (nan.count, nan.sum) = (nan.count + 20.0, f64::NAN);
    all.push(("nan", "a", Whole(nan)));
    all.push(if step < 30 {
        ("kinds", "a", Whole(counter(0, step, 1)))
    } else {
        ("kinds", "a", Whole(custom(&[1.0, 2.0], step)))
    });
    all.push(("kinds", "b", Whole(counter(0, step, 1))));
    all.push(("both", "a", Whole(counter(1, step, 1))));
    all.push(("both", "b", Whole(counter(1, step, 1))));
    all
}

fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn field(out: &mut Vec<u8>, tag: u64, number: u64) {
    varint(out, tag << 3);
    varint(out, number);
}

fn double(out: &mut Vec<u8>, tag: u64, number: f64) {
    varint(out, tag << 3 | 1);
    out.extend(number.to_bits().to_le_bytes());
}

fn bytes(out: &mut Vec<u8>, tag: u64, inner: &[u8]) {
    varint(out, tag << 3 | 2);
    varint(out, inner.len() as u64);
    out.extend(inner);
}

fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

/// Spans, and the differences from count to count.
fn whole_side(out: &mut Vec<u8>, (spans, deltas): (u64, u64), side: &[BucketCount]) {
    let (mut next, mut before, mut packed) = (0, 0, Vec::new());
    for run in side.chunk_by(|a, b| a.index + 1 == b.index) {
        let mut span = Vec::new();
        field(&mut span, 1, zigzag(i64::from(run[0].index - next)));
        field(&mut span, 2, run.len() as u64);
        bytes(out, spans, &span);
        next = run[run.len() - 1].index + 1;
    }
    for bucket in side {
        let count = bucket.count as i64;
        varint(&mut packed, zigzag(count - before));
        before = count;
    }
    bytes(out, deltas, &packed);
}

/// A time series of the request with one histogram of whole counts.
fn whole_series(labels: &Labels, time_ms: i64, histogram: &Histogram) -> Vec<u8> {
    let (mut series, mut message) = (Vec::new(), Vec::new());
    for (name, value) in labels.iter() {
        let mut label = Vec::new();
        bytes(&mut label, 1, name.as_bytes());
        bytes(&mut label, 2, value.as_bytes());
        bytes(&mut series, 1, &label);
    }
    field(&mut message, 1, histogram.count as u64);
    double(&mut message, 3, histogram.sum);
    field(&mut message, 4, zigzag(i64::from(histogram.schema)));
    double(&mut message, 5, histogram.zero_threshold);
    field(&mut message, 6, histogram.zero_count as u64);
    whole_side(&mut message, (8, 9), &histogram.negative);
    whole_side(&mut message, (11, 12), &histogram.positive);
    field(&mut message, 14, histogram.hint as u64);
    field(&mut message, 15, time_ms.cast_unsigned());
    let bounds: Vec<u8> = histogram.bounds.iter().flat_map(|b| b.to_bits().to_le_bytes()).collect();
    if !bounds.is_empty() {
        bytes(&mut message, 16, &bounds);
    }
    bytes(&mut series, 4, &message);
    series
}

fn labels(name: &str, instance: &str) -> Labels {
    Labels::new([("__name__", name), ("i", instance), ("job", "x")])
}

/// The bodies of the writes, one for each step.
fn writes() -> Vec<Vec<u8>> {
    let mut noise = Noise::new(5);
    (0..STEPS)
        .map(|step| {
            let time_ms = START_MS + step * INTERVAL_MS;
            let mut request = Vec::new();
            let mut message = Message::new();
            for (name, instance, value) in at(step, &mut noise) {
                let labels = labels(name, instance);
                match value {
                    Value::Number(value) => {
                        message.series(labels.iter(), [Sample { time_ms, value }]);
                    }
                    Value::Whole(histogram) => {
                        bytes(&mut request, 1, &whole_series(&labels, time_ms, &histogram));
                    }
                    Value::Fraction(histogram) => {
                        message.histograms(labels.iter(), [(time_ms, &histogram)]);
                    }
                }
            }
            for (le, count) in [("1", step), ("2", step * 2), ("+Inf", step * 3)] {
                let labels = labels("both", "a").with("le", le);
                message.series(labels.iter(), [Sample { time_ms, value: count as f64 }]);
            }
            request.extend(message.as_bytes());
            compress(&request).expect("it is small")
        })
        .collect()
}

fn ask(side: &Remote, query: &str, when: When) -> Json {
    let seconds = |ms: i64| format!("{}.{:03}", ms / 1000, ms % 1000);
    let query = ("query", query.to_owned());
    let (path, form) = match when {
        When::Instant(time_ms) => ("/api/v1/query", vec![query, ("time", seconds(time_ms))]),
        When::Range { start_ms, end_ms, step_ms } => {
            let times = [("start", start_ms), ("end", end_ms), ("step", step_ms)];
            let times = times.map(|(name, ms)| (name, seconds(ms)));
            ("/api/v1/query_range", std::iter::once(query).chain(times).collect())
        }
    };
    side.request("FORM", &format!("{path}?{}", http::form(&form))).2
}

/// What is different between two answers, one line each.
fn differences(wanted: &Json, found: &Json) -> Vec<String> {
    let mut lines = Vec::new();
    for key in ["status", "errorType"] {
        if wanted[key] != found[key] {
            lines.push(format!("{key}: wanted {} found {}", wanted[key], found[key]));
        }
    }
    for key in ["warnings", "infos"] {
        let notes = |json: &Json| -> BTreeSet<String> {
            json[key].as_array().into_iter().flatten().map(Json::to_string).collect()
        };
        let (wanted, found) = (notes(wanted), notes(found));
        lines.extend(wanted.difference(&found).map(|note| format!("{key}: missing {note}")));
        lines.extend(found.difference(&wanted).map(|note| format!("{key}: surplus {note}")));
    }
    let sorted = |json: &Json| {
        let mut all = json["data"]["result"].clone();
        if let Some(all) = all.as_array_mut().filter(|_| json["data"]["resultType"] != "scalar") {
            all.sort_by_cached_key(|one| one["metric"].to_string());
        }
        all
    };
    differing(&sorted(wanted), &sorted(found), "result", &mut lines);
    lines
}

fn differing(wanted: &Json, found: &Json, at: &str, lines: &mut Vec<String>) {
    match (wanted, found) {
        (Json::Array(a), Json::Array(b)) if a.len() == b.len() => {
            for (place, (a, b)) in a.iter().zip(b).enumerate() {
                differing(a, b, &format!("{at}.{place}"), lines);
            }
        }
        (Json::Object(a), Json::Object(b)) if a.keys().eq(b.keys()) => {
            for ((key, a), b) in a.iter().zip(b.values()) {
                differing(a, b, &format!("{at}.{key}"), lines);
            }
        }
        (Json::String(a), Json::String(b)) if is_close(a, b) => {}
        (a, b) if a == b => {}
        (a, b) => lines.push(format!("{at}: wanted {a} found {b}")),
    }
}

fn is_close(a: &str, b: &str) -> bool {
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) if a.is_finite() && b.is_finite() => {
            (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()).max(1e-6)
        }
        _ => a == b,
    }
}

fn whens() -> [When; 7] {
    let time = |step: i64| START_MS + step * INTERVAL_MS;
    [
        When::Instant(time(18)),
        When::Instant(time(36) + 1),
        When::Instant(time(55) + 7_000),
        When::Instant(time(STEPS) + 250_000),
        When::Range { start_ms: time(0), end_ms: time(STEPS), step_ms: 60_000 },
        When::Range { start_ms: time(15) + 1_234, end_ms: time(62), step_ms: 15_000 },
        When::Range { start_ms: time(-2), end_ms: time(STEPS + 30), step_ms: 301_000 },
    ]
}

#[test]
fn native_histograms_are_answered_as_prometheus_does() {
    let queries: Vec<&str> =
        QUERIES.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert!(queries.len() >= 150);
    let Some(prometheus) = crate::prometheus() else { return };
    let labstat = Labstat::start();
    for body in writes() {
        prometheus.remote.write_body(&body);
        labstat.remote.write_body(&body);
    }
    let only = crate::environment("DIFFERENTIAL_ONLY").unwrap_or_default();
    let (mut asked, mut different) = (0, 0);
    for query in queries.into_iter().filter(|query| query.contains(&only)) {
        for when in whens() {
            let wanted = ask(&prometheus.remote, query, when);
            let found = ask(&labstat.remote, query, when);
            let lines = differences(&wanted, &found);
            asked += 1;
            if !lines.is_empty() {
                different += 1;
                println!("{query} at {when:?}");
                for line in lines.iter().take(LINES_MAX) {
                    println!("    {line}");
                }
            }
        }
    }
    assert_eq!(different, 0, "answers differ, of {asked}");
}
