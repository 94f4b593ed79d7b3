//! Any text, asked at any time over a few series, is answered or refused, and soon.
#![no_main]

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use labstat_model::{Labels, Matcher, Series, stale_marker};
use labstat_promql::{Engine, Options, QueryOptions, Source, SourceError, Value};
use libfuzzer_sys::fuzz_target;

/// How long one query may take here, and how much longer until it has stopped: what is
/// instrumented is slow.
const TIMEOUT: Duration = Duration::from_millis(300);
const STOPPED: Duration = Duration::from_secs(3);

/// Two counters, a gauge with gaps, buckets and a series that ends.
struct Few;

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
    let Value::Matrix(matrix) = value else { return };
    assert!(matrix.is_sorted_by(|a, b| a.labels < b.labels), "BUG: series not in order");
    for series in matrix {
        assert_eq!(series.times.len(), series.values.len());
        assert!(series.times.is_sorted_by(|a, b| a < b), "BUG: times not in order");
        if let Some((start_ms, end_ms, step_ms)) = step {
            let asked = |time: &i64| {
                (start_ms..=end_ms).contains(time) && (time - start_ms) % step_ms == 0
            };
            assert!(series.times.iter().all(asked), "BUG: a time nobody asked for");
        }
    }
}

fuzz_target!(|input: (i64, u16, u32, i64, String)| {
    let (start_ms, length_s, step_ms, lookback_ms, text) = input;
    let near = lookback_ms % 2 == 0;
    let start_ms = if near { start_ms % 1_000_000 } else { start_ms };
    let asked = QueryOptions {
        lookback_ms: (!near).then_some(lookback_ms),
        ..QueryOptions::default()
    };
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
