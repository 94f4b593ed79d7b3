//! What holds for all queries and all data.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::memory::Memory;
use super::queries::{any_value, at, firm_query, is_same, memory, query};
use labstat_model::{Labels, Matcher, Series, stale_marker};
use labstat_promql::{
    Answer, Engine, ErrorKind, Options, QueryError, QueryOptions, Source, SourceError, Value,
    check, selector,
};
use proptest::prelude::*;

const STEP_MS: i64 = 40_000;
const END_MS: i64 = 600_000;

fn range(memory: &Memory, query: &str) -> Result<Answer, QueryError> {
    Engine::default().range(memory, query, 0, END_MS, STEP_MS, &QueryOptions::default())
}

fn instant(memory: &Memory, query: &str, time_ms: i64) -> Result<Answer, QueryError> {
    Engine::default().instant(memory, query, time_ms, &QueryOptions::default())
}

/// The same but for the last bits, in which the sums of windows that overlap may differ.
fn is_nearly(a: f64, b: f64) -> bool {
    is_same(a, b) || (a - b).abs() <= a.abs() * 1e-15 + f64::MIN_POSITIVE
}

/// Where the range query is not the instant query at each of its steps.
fn range_is_instants(
    memory: &Memory,
    query: &str,
    is_like: fn(f64, f64) -> bool,
) -> Result<(), TestCaseError> {
    let Ok(whole) = range(memory, query) else { return Ok(()) };
    for time in (0..=END_MS / STEP_MS).map(|step| step * STEP_MS) {
        let one = instant(memory, query, time);
        let one = one.map_err(|e| TestCaseError::fail(format!("{query} at {time}: {e}")))?;
        let (wanted, found) = (at(&one.value, time), at(&whole.value, time));
        prop_assert_eq!(wanted.len(), found.len(), "{} at {}", query, time);
        for (a, b) in wanted.iter().zip(&found) {
            prop_assert!(a.0 == b.0 && is_like(a.1, b.1), "{} at {}: {:?} {:?}", query, time, a, b);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// A range query is the instant query at each of its steps, to the bit.
    #[test]
    fn a_range_is_its_instants(memory in memory(any_value()), query in firm_query()) {
        range_is_instants(&memory, &query, is_same)?;
    }

    /// Where windows are summed it is so but for the last bits, of which an operator around them
    /// may make much, so that none is.
    #[test]
    fn a_range_of_sums_is_its_instants(
        memory in memory(any_value()),
        query in firm_query(),
        sum in prop::sample::select(vec!["sum_over_time", "avg_over_time"]),
        name in prop::sample::select(vec!["a", "b_total", "c_bucket"]),
    ) {
        let query = format!("{sum}(({})[2m:20s])", super::queries::vector(query));
        range_is_instants(&memory, &query, is_nearly)?;
        range_is_instants(&memory, &format!("{sum}({name}[3m])"), is_nearly)?;
    }

    /// So it is where series have the same times, and what those are to the steps is found once: of
    /// counters that grow, are reset or begin at zero as of anything.
    #[test]
    fn a_range_of_series_that_came_together_is_its_instants(
        gaps in prop::collection::vec(1..60_000_i64, 0..40),
        values in prop::collection::vec(prop::collection::vec(any_value(), 40), 1..5),
        growth in prop::collection::vec(0..100_u32, 40),
        query in prop::sample::select(vec![
            "rate(b_total[2m])", "increase(b_total[1m] offset 20s)", "delta(b_total[3m])",
            "max_over_time(b_total[2m])", "changes(b_total[2m] @ 300)", "b_total", "timestamp(b_total)",
            "b_total offset -50s", "rate(b_total[3m:20s])",
        ]),
    ) {
        let grown = growth.iter().scan(0, |all, by| {
            *all = if *by == 0 { 0 } else { *all + by };
            Some(f64::from(*all))
        });
        let counters = [grown.clone().collect(), grown.map(|all| all + 1e6).collect()];
        let series = |(at, values): (usize, &Vec<f64>)| {
            let at = at.to_string();
            let mut one = Series::new(Labels::new([("__name__", "b_total"), ("x", at.as_str())]));
            let mut time = 0;
            for (gap, value) in gaps.iter().zip(values) {
                time += gap;
                one.push(time, *value);
            }
            one
        };
        let all = values.iter().chain(&counters).enumerate().map(series);
        range_is_instants(&Memory(all.collect()), query, is_same)?;
    }

    /// A sum is the sum of the sums of its parts, where no rounding comes between.
    #[test]
    fn a_sum_is_the_sum_of_its_parts(values in prop::collection::vec(-1000..1000_i32, 1..20)) {
        let series = values.iter().enumerate().map(|(at, value)| {
            let (n, node) = (at.to_string(), (at % 3).to_string());
            let labels = [("__name__", "a"), ("n", n.as_str()), ("node", node.as_str())];
            let mut series = Series::new(Labels::new(labels));
            series.push(0, f64::from(*value));
            series
        });
        let memory = Memory(series.collect());
        let whole = at(&instant(&memory, "sum(a)", 0).unwrap().value, 0);
        let parts = at(&instant(&memory, "sum(sum by (node) (a))", 0).unwrap().value, 0);
        prop_assert_eq!(whole[0].1, f64::from(values.iter().sum::<i32>()));
        prop_assert_eq!(whole, parts);
    }

    /// No text does harm, whatever is in it.
    #[test]
    fn any_text_is_answered_or_refused(text in ".{0,60}") {
        let _ = check(&text);
        let _ = selector(&text);
    }

    /// Neither do pieces of the language in any order.
    #[test]
    fn any_row_of_tokens_is_answered_or_refused(
        memory in memory(any_value()),
        tokens in prop::collection::vec(prop::sample::select(vec![
            "a", "sum", "rate", "topk", "by", "on", "offset", "@", "(", ")", "[", "]", "{", "}", ",", "=",
            "=~", "\"x\"", "'(?i'", "5m", "1e9", "-", "+", "^", "and", "bool", "group_left", "start", ":", "0",
            "9223372036854775807", "1e300", "inf", "time()", "a[5m]", "a[1ms:1ms]", "[100y:1s]", "0x", "`r`", "#",
        ]), 0..14),
    ) {
        let engine = Engine::new(Options { samples_max: 20_000, ..Options::default() });
        let query = tokens.join(" ");
        let _ = engine.instant(&memory, &query, 60_000, &QueryOptions::default());
        let _ = engine.range(&memory, &query, 0, 60_000, 20_000, &QueryOptions::default());
    }

    /// Nor do times at the ends of what an integer holds.
    #[test]
    fn any_time_is_answered(
        memory in memory(any_value()),
        query in query(),
        times in (any::<i64>(), any::<i64>(), any::<i64>()),
    ) {
        let engine = Engine::new(Options { samples_max: 20_000, ..Options::default() });
        let options = QueryOptions { lookback_ms: Some(times.2), ..QueryOptions::default() };
        let _ = engine.instant(&memory, &query, times.0, &options);
        let _ = engine.range(&memory, &query, times.0, times.1, times.2, &options);
    }
}

fn one_series() -> Memory {
    let mut series = Series::new(Labels::new([("__name__", "a")]));
    (0..1000).for_each(|at| series.push(at * 1000, 1.0));
    Memory(vec![series])
}

#[test]
fn deep_queries_are_refused_before_they_exhaust_the_stack() {
    // As small a stack as a server's threads may have.
    let deep = || {
        let sum = "a+".repeat(240) + "a";
        let nested = "-(".repeat(95) + "a" + &")".repeat(95);
        let calls = "abs(".repeat(290) + "a" + &")".repeat(290);
        let joins = "a*on()(".repeat(140) + "a" + &")".repeat(140);
        let sums = "sum(".repeat(290) + "a" + &")".repeat(290);
        for query in [sum, nested, calls, joins, sums] {
            assert!(instant(&one_series(), &query, 1000).is_ok(), "{query}");
        }
        for query in
            ["(".repeat(100_000), "-".repeat(100_000), "a[".to_owned() + &"(".repeat(9_000)]
        {
            let error = instant(&one_series(), &query, 0).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BadData);
        }
    };
    let thread = std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(deep);
    thread.unwrap().join().unwrap();
}

#[test]
fn samples_are_bounded() {
    let engine = Engine::new(Options { samples_max: 500, ..Options::default() });
    for query in ["a[1h]", "sum_over_time(a[1h])", "sum_over_time(vector(1)[100y:1ms])"] {
        let error = engine.instant(&one_series(), query, 1_000_000, &QueryOptions::default());
        assert!(matches!(error, Err(QueryError::TooManySamples { limit: 500 })), "{query}");
    }
    let error = engine.range(&one_series(), "1", 0, i64::MAX, 1, &QueryOptions::default());
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Execution);
}

/// A thousand series that came one after the other, as containers do, each of two samples.
fn followers(name: &str, count: i64) -> Vec<Series> {
    let one = |at: i64| {
        let id = format!("{at:04}");
        let mut series = Series::new(Labels::new([("__name__", name), ("id", &id)]));
        series.push(at * 1_000, 1.0);
        series.push(at * 1_000 + 1, stale_marker());
        series
    };
    (0..count).map(one).collect()
}

#[test]
fn series_without_samples_in_common_cost_nothing_when_they_are_matched() {
    let source = Memory([followers("a", 300), followers("b", 300)].concat());
    let engine = Engine::new(Options { samples_max: 1_000_000, ..Options::default() });
    let query = "a * on() group_left b";
    let answer = engine.range(&source, query, 0, 300_000, 1_000, &QueryOptions::default());
    let Value::Matrix(matrix) = answer.unwrap().value else { panic!("a matrix") };
    assert_eq!(matrix.len(), 300);
}

#[test]
fn many_series_are_many_samples_however_short_they_are() {
    let engine = Engine::new(Options { samples_max: 2_000, ..Options::default() });
    let source = Memory(followers("a", 500));
    let query = "last_over_time(a[1h])";
    let error = engine.instant(&source, query, 500_000, &QueryOptions::default());
    assert!(matches!(error, Err(QueryError::TooManySamples { .. })), "{error:?}");
    // What is folded as it comes is not held.
    let query = "count(last_over_time(a[1h]))";
    assert!(engine.instant(&source, query, 500_000, &QueryOptions::default()).is_ok());
}

#[test]
fn long_labels_are_memory_too() {
    let engine = Engine::new(Options { samples_max: 100_000, ..Options::default() });
    let source = Memory(followers("a", 100));
    let long = "x".repeat(50_000);
    for query in [
        format!(r#"label_replace(last_over_time(a[1h]), "l", "{long}", "", "")"#),
        format!(r#"label_join(last_over_time(a[1h]), "l", "{long}", "id", "id")"#),
    ] {
        let error = engine.instant(&source, &query, 100_000, &QueryOptions::default());
        assert!(matches!(error, Err(QueryError::TooManySamples { .. })), "{error:?}");
    }
}

#[test]
fn what_nobody_waits_for_is_stopped() {
    let cancel = Arc::new(AtomicBool::new(false));
    let options = QueryOptions { cancel: Some(Arc::clone(&cancel)), ..QueryOptions::default() };
    assert!(Engine::default().instant(&one_series(), "a", 0, &options).is_ok());
    cancel.store(true, Ordering::Relaxed);
    let error = Engine::default().instant(&one_series(), "a", 0, &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Canceled);

    let options = QueryOptions { timeout: Some(Duration::ZERO), ..QueryOptions::default() };
    let error = Engine::default().instant(&one_series(), "a", 0, &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

/// Says which windows it was asked for.
struct Asked(std::sync::Mutex<Vec<(i64, i64)>>);

impl Source for Asked {
    fn select(&self, _: &[Matcher], start: i64, end: i64) -> Result<Vec<Series>, SourceError> {
        self.0.lock().map_err(|_| SourceError("poisoned".into()))?.push((start, end));
        Ok(Vec::new())
    }
}

/// One select per selector and query, whatever the number of steps, and one for the same selector
/// twice.
#[test]
fn a_selector_is_read_once() {
    let source = Asked(std::sync::Mutex::default());
    let query = "a / (a + rate(b[5m] offset 1m)) + max_over_time(c[10m:1m])";
    let options = QueryOptions::default();
    Engine::default().range(&source, query, 0, 3_600_000, 15_000, &options).unwrap();
    let asked = source.0.into_inner().unwrap();
    let lookback = 300_000;
    assert_eq!(
        asked,
        [
            (1 - lookback, 3_600_000),
            (1 - 300_000 - 60_000, 3_600_000 - 60_000),
            (-540_000 + 1 - lookback, 3_600_000),
        ]
    );
}

/// At one time the newest samples are all that is asked for, and a range that has more than one
/// step is selected.
#[test]
fn one_step_reads_the_newest_samples_alone() {
    struct Newest;
    impl Source for Newest {
        fn select(&self, _: &[Matcher], _: i64, _: i64) -> Result<Vec<Series>, SourceError> {
            Err(SourceError("all samples were asked for".into()))
        }
        fn newest(&self, _: &[Matcher], from: i64, to: i64) -> Result<Vec<Series>, SourceError> {
            assert_eq!((from, to), (300_001, 600_000));
            let mut series = Series::new(Labels::new([("__name__", "a")]));
            series.push(590_000, 7.0);
            Ok(vec![series])
        }
    }
    let (engine, options) = (Engine::default(), QueryOptions::default());
    for (query, wanted) in [("a", 7.0), ("timestamp(a)", 590.0), ("sum(a) * 2", 14.0)] {
        let value = engine.instant(&Newest, query, 600_000, &options).unwrap().value;
        assert_eq!(at(&value, 600_000)[0].1, wanted, "{query}");
    }
    assert!(engine.range(&Newest, "a", 0, 600_000, 60_000, &options).is_err());
    assert!(engine.instant(&Newest, "last_over_time(a[5m])", 600_000, &options).is_err());
}

/// A source that fails is not an empty one.
#[test]
fn a_broken_source_is_an_error() {
    struct Broken;
    impl Source for Broken {
        fn select(&self, _: &[Matcher], _: i64, _: i64) -> Result<Vec<Series>, SourceError> {
            Err(SourceError("the disk is gone".into()))
        }
    }
    let error = Engine::default().instant(&Broken, "a", 0, &QueryOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
}

#[test]
fn check_tells_what_a_query_is() {
    let checked =
        check("sum(rate(a_total[5m])) / on() group_left count(b{x=\"1\"} or a_total)").unwrap();
    assert_eq!(checked.value_type.as_str(), "vector");
    assert_eq!(checked.metric_names, ["a_total", "b"]);
    assert_eq!(checked.selectors.len(), 3);
    assert_eq!(check("a[5m]").unwrap().value_type.as_str(), "matrix");
    assert_eq!(check("1 + 1").unwrap().value_type.as_str(), "scalar");
    assert!(check("sum(").is_err());
}

#[test]
fn selectors_are_read_for_the_api() {
    let matchers = selector("up{job=~\"n.*\"}").unwrap();
    let texts: Vec<String> = matchers.iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["job=~\"n.*\"", "__name__=\"up\""]);
    for text in ["up[5m]", "up offset 5m", "up + up", "{}", "{a=\"\"}"] {
        assert!(selector(text).is_err(), "{text}");
    }
}
