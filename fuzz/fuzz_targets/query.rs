//! Any text, asked at any time over a few series, is answered or refused, and soon.
#![no_main]

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use labstat_model::{
    BucketCount, Histogram, HistogramSeries, Labels, Matcher, ResetHint, Series, stale_marker,
};
use labstat_promql::{Engine, Options, QueryOptions, Source, SourceError, Value};
use libfuzzer_sys::fuzz_target;

/// How long one query may take here, and how much longer until it has stopped: what is
/// instrumented is slow.
const TIMEOUT: Duration = Duration::from_millis(300);
const STOPPED: Duration = Duration::from_secs(3);

/// Counters, a gauge with gaps, buckets, a series that ends and native histograms.
struct Few;

/// Finer or coarser from time to time, with bounds of its own where `custom`, and begun anew now
/// and then.
fn histogram(tick: i64, custom: bool) -> Histogram {
    let grown = (tick % 13) as f64;
    let bucket = |index| BucketCount { index, count: grown * f64::from(index.abs() + 1) };
    let (schema, bounds): (i32, &[f64]) = match (custom, tick % 3) {
        (true, 0) => (Histogram::CUSTOM_SCHEMA, &[0.5, 1.0, 4.0]),
        (true, _) => (Histogram::CUSTOM_SCHEMA, &[0.5, 1.0, 2.0, 4.0]),
        (false, turn) => (turn as i32 - 1, &[]),
    };
    let positive: Vec<BucketCount> = [0, 1, 3].map(bucket).to_vec();
    let negative: Vec<BucketCount> = if custom { Vec::new() } else { [-2, 5].map(bucket).to_vec() };
    let zero_count = if custom { 0.0 } else { grown };
    let counted = positive.iter().chain(&negative).map(|bucket| bucket.count);
    Histogram {
        hint: ResetHint::of_number(tick as u64 % 5),
        schema,
        zero_threshold: if custom { 0.0 } else { 0.001 * (1 + tick % 2) as f64 },
        zero_count,
        count: zero_count + counted.sum::<f64>(),
        sum: if tick % 17 == 5 { f64::NAN } else { grown * 3.5 },
        positive,
        negative,
        bounds: Arc::from(bounds),
    }
}

impl Source for Few {
    fn select(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<Series>, SourceError> {
        let all = [
            [("__name__", "a"), ("x", "1")],
            [("__name__", "a"), ("x", "2")],
            [("__name__", "b"), ("le", "+Inf")],
            [("__name__", "b"), ("le", "1")],
            [("__name__", "c"), ("x", "1")],
        ];
        let mut found = Vec::new();
        for (at, labels) in all.iter().enumerate() {
            let mut series = Series::new(Labels::new(labels.iter().copied()));
            if !matchers.iter().all(|matcher| matcher.matches_labels(&series.labels)) {
                continue;
            }
            for tick in (0..40_i64).filter(|tick| (start_ms..=end_ms).contains(&(tick * 15_000))) {
                let value = match (at, tick % 10) {
                    (4, 9) => stale_marker(),
                    (4, 3) => f64::NAN,
                    (4, 4) => f64::INFINITY,
                    (1, 5) => 0.0,
                    _ => (tick * (5 - at as i64)) as f64,
                };
                series.push(tick * 15_000, value);
            }
            found.push(series);
        }
        Ok(found)
    }

    fn histograms(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<HistogramSeries>, SourceError> {
        // The first has floats too, at other times.
        let all = [("c", "1", 7_500, false), ("h", "1", 0, false), ("h", "2", 0, true)];
        let mut found = Vec::new();
        for (name, x, late_ms, custom) in all {
            let labels = Labels::new([("__name__", name), ("x", x)]);
            if !matchers.iter().all(|matcher| matcher.matches_labels(&labels)) {
                continue;
            }
            let mut series = HistogramSeries::new(labels);
            for tick in 10..40_i64 {
                let time_ms = tick * 15_000 + late_ms;
                if (start_ms..=end_ms).contains(&time_ms) {
                    series.push(time_ms, histogram(tick, custom));
                }
            }
            found.push(series);
        }
        Ok(found)
    }
}

fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    let options = Options {
        samples_max: 100_000,
        memory_max: 16 << 20,
        timeout: TIMEOUT,
        threads: 1,
        ..Options::default()
    };
    ENGINE.get_or_init(|| Engine::new(options))
}

/// Series come once each, sorted, and their samples at the times that were asked for.
fn check(value: &Value, step: Option<(i64, i64, i64)>) {
    let series: Vec<(&Labels, &[i64])> = match value {
        Value::Matrix(matrix) => matrix.iter().map(|one| (&one.labels, &*one.times)).collect(),
        Value::MixedMatrix(matrix) => {
            let lists = matrix.iter().map(|one| [&*one.numbers.times, &*one.histograms.times]);
            lists.flatten().for_each(|times| check_times(times, step));
            matrix.iter().map(|one| (&one.numbers.labels, &*one.numbers.times)).collect()
        }
        _ => return,
    };
    assert!(series.is_sorted_by(|a, b| a.0 < b.0), "BUG: series not in order");
    series.iter().for_each(|(_, times)| check_times(times, step));
}

fn check_times(times: &[i64], step: Option<(i64, i64, i64)>) {
    assert!(times.is_sorted_by(|a, b| a < b), "BUG: times not in order");
    let Some((start_ms, end_ms, step_ms)) = step else { return };
    let is_asked =
        |time: &i64| (start_ms..=end_ms).contains(time) && (time - start_ms) % step_ms == 0;
    assert!(times.iter().all(is_asked), "BUG: a time nobody asked for");
}

fuzz_target!(|input: (i64, u16, u32, i64, String)| {
    let (start_ms, length_s, step_ms, lookback_ms, text) = input;
    let near = lookback_ms % 2 == 0;
    let start_ms = if near { start_ms % 1_000_000 } else { start_ms };
    let asked =
        QueryOptions { lookback_ms: (!near).then_some(lookback_ms), ..QueryOptions::default() };
    let begun = Instant::now();
    if let Ok(answer) = engine().instant(&Few, &text, start_ms, &asked) {
        check(&answer.value, None);
    }
    let end_ms = start_ms.saturating_add(i64::from(length_s) * 1000);
    let step_ms = i64::from(step_ms).max(end_ms.saturating_sub(start_ms) / 50);
    if let Ok(answer) = engine().range(&Few, &text, start_ms, end_ms, step_ms, &asked) {
        check(&answer.value, near.then_some((start_ms, end_ms, step_ms)));
    }
    let _ = engine().samples(&Few, &text, (start_ms, end_ms, step_ms), &asked);
    assert!(begun.elapsed() < STOPPED, "BUG: it does not stop in time");
});
