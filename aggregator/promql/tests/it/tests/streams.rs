//! What reading in parts must not change, and what is read at all.

use std::ops::ControlFlow;

use super::made::Made;
use labstat_model::{Labels, Matcher, Series, SeriesRef};
use labstat_promql::{Engine, Options, QueryOptions, Scan, Source, SourceError, Value};

const HOUR_MS: i64 = 3_600_000;
const START_MS: i64 = 100 * HOUR_MS;

fn engine(threads: usize) -> Engine {
    Engine::new(Options { threads, ..Options::default() })
}

fn range(engine: &Engine, source: &Made, query: &str) -> Vec<Series> {
    let options = QueryOptions::default();
    let end_ms = START_MS + HOUR_MS / 2;
    let answer = engine.range(source, query, START_MS, end_ms, 15_000, &options);
    let Value::Matrix(matrix) = answer.unwrap().value else { panic!("a matrix") };
    assert!(!matrix.is_empty(), "{query}");
    matrix
}

#[test]
fn answers_have_the_same_bits_whatever_the_threads() {
    let source = Made::new(1_500, 15_000);
    for query in [
        "sum by (instance) (rate(x_total[5m]))",
        "avg(x)",
        "stddev by (le) (x)",
        "quantile by (instance) (0.9, x)",
        "topk(3, rate(x_total[1m]))",
        "count_values by (instance) (\"v\", round(x, 500))",
        "histogram_quantile(0.9, sum by (le) (rate(x_bucket[5m])))",
        "max_over_time(x[5m]) - on (id) group_left min_over_time(x[5m])",
        "sum(sum_over_time(x[10m:1m]))",
        "limitk(5, x)",
    ] {
        let alone = range(&engine(1), &source, query);
        for threads in [2, 3, 8] {
            assert!(range(&engine(threads), &source, query) == alone, "{query}: {threads} threads");
        }
    }
}

/// How often the source is read for a query.
fn scans(query: &str) -> usize {
    let source = Made::new(300, 15_000);
    range(&engine(2), &source, query);
    source.scans.into_inner().unwrap().len()
}

#[test]
fn a_selector_is_read_once_whatever_is_made_of_it() {
    assert_eq!(scans("sum(rate(x_total[5m])) / count(rate(x_total[5m]))"), 1);
    assert_eq!(scans("max_over_time(x[5m]) - min_over_time(x[5m])"), 1);
    assert_eq!(scans("x / avg_over_time(x[10m])"), 1);
    assert_eq!(scans("sum(x) + sum(x offset 5m)"), 1);
    // Far apart in time, reading twice is less.
    assert_eq!(scans("x - x offset 1d"), 2);
    assert_eq!(scans("x + on (id) y"), 2);
}

#[test]
fn numbers_that_a_function_takes_are_evaluated_once() {
    assert_eq!(scans("quantile_over_time(scalar(avg(y)), x[5m])"), 2);
    assert_eq!(scans("double_exponential_smoothing(x[5m], 0.5 + 0 * scalar(avg(y)), 0.5)"), 2);
    assert_eq!(scans("histogram_quantile(scalar(avg(y)), x)"), 2);
}

/// What is shared gives the answers that reading apart gives.
#[test]
fn what_is_read_once_is_the_same() {
    let source = Made::new(300, 15_000);
    let engine = engine(2);
    let apart = range(&engine, &source, "max_over_time(x[5m])");
    let shared = range(&engine, &source, "max_over_time(x[5m]) or avg_over_time(x[7m])");
    assert!(apart == shared);
    let far = range(&engine, &source, "sum(x - x offset 1d)");
    let near = range(&engine, &source, "sum(x - x offset 1d) + 0 * sum(rate(x[6m]))");
    assert!(far == near);
}

/// What stands in a query twice is evaluated once: what is made of what is read, too.
#[test]
fn equal_parts_are_evaluated_once() {
    // Too much to be read for several uses, so that each evaluation reads.
    let scans = |query: &str| {
        let source = Made::new(2_000, 15_000);
        let engine = Engine::new(Options { memory_max: 12 << 20, ..Options::default() });
        range(&engine, &source, query);
        source.scans.into_inner().unwrap().len()
    };
    assert_eq!(
        scans("sum by (id) (rate(x_total[5m])) / on (id) sum by (id) (rate(x_total[5m]))"),
        1
    );
    assert_eq!(scans("sum(x)/sum(x)"), 1);
    assert_eq!(scans("max_over_time(sum(x)[5m:1m]) - min_over_time(sum(x)[5m:1m])"), 1);
    // Beside a part that is the same at all steps.
    assert_eq!(scans("sum(x @ 360000) / sum(x @ 360000) + pi()"), 1);
}

/// An expression that stands in a query twice flows twice where it cannot be held.
#[test]
fn equal_parts_that_are_too_much_to_hold_are_answered() {
    let source = Made::new(2_000, 15_000);
    let query = "sum(rate(x_total[5m])) / count(rate(x_total[5m]))";
    let roomy = range(&engine(2), &source, query);
    let engine = Engine::new(Options { memory_max: 1 << 20, ..Options::default() });
    assert!(range(&engine, &source, query) == roomy);
}

/// Quantiles need the values of all series, but not at all steps at a time.
#[test]
fn quantiles_hold_as_many_steps_as_there_is_room_for() {
    let source = Made::new(2_000, 15_000);
    for query in ["quantile by (instance) (0.9, x)", "max(quantile by (instance, le) (0.5, x)) + 1"]
    {
        let roomy = range(&engine(2), &source, query);
        let engine = Engine::new(Options { memory_max: 1 << 20, ..Options::default() });
        assert!(range(&engine, &source, query) == roomy, "{query}");
    }
}

/// Too much to hold is read again.
#[test]
fn what_is_too_much_to_hold_is_read_each_time() {
    let source = Made::new(2_000, 15_000);
    let engine = Engine::new(Options { memory_max: 8 << 20, ..Options::default() });
    range(&engine, &source, "sum(max_over_time(x[5m])) - sum(min_over_time(x[5m]))");
    assert_eq!(source.scans.into_inner().unwrap().len(), 3);
    // The reading that was in vain ended early.
    assert!(source.read.into_inner() < 2 * 2_000 + 1_900);
}

/// The series of a list from the last to the first, one a part.
struct Backwards(Vec<Series>);

impl Source for Backwards {
    fn select(&self, _: &[Matcher], _: i64, _: i64) -> Result<Vec<Series>, SourceError> {
        Ok(self.0.clone())
    }

    fn scan(&self, _: &[Matcher], _: i64, _: i64) -> Result<Box<dyn Scan + '_>, SourceError> {
        Ok(Box::new(BackwardsScan(&self.0)))
    }
}

struct BackwardsScan<'s>(&'s [Series]);

impl Scan for BackwardsScan<'_> {
    fn parts(&self) -> usize {
        self.0.len()
    }

    fn is_sorted(&self) -> bool {
        false
    }

    fn read(
        &self,
        part: usize,
        each: &mut dyn FnMut(SeriesRef<'_>) -> ControlFlow<()>,
    ) -> Result<(), SourceError> {
        if let Some(series) = self.0.iter().rev().nth(part) {
            let _ = each(series.as_ref());
        }
        Ok(())
    }
}

/// A source that gives series in another order changes no answer: neither which come first nor
/// which of equal ones are chosen.
#[test]
fn the_order_of_a_scan_does_not_show() {
    struct Sorted(Vec<Series>);
    impl Source for Sorted {
        fn select(&self, _: &[Matcher], _: i64, _: i64) -> Result<Vec<Series>, SourceError> {
            Ok(self.0.clone())
        }
    }
    let series: Vec<Series> = (0..40_u8)
        .map(|at| Series {
            labels: Labels::new([("__name__", "a"), ("id", &format!("{at:02}")), ("x", "y")]),
            times: vec![500, 1_000],
            values: vec![0.0, f64::from(at % 4)],
        })
        .collect();
    let (sorted, backwards) = (Sorted(series.clone()), Backwards(series));
    let (engine, options) = (Engine::default(), QueryOptions::default());
    for query in [
        "a",
        "-a",
        "rate(a[1s])",
        "topk(3, a)",
        "bottomk by (x) (3, a)",
        "limitk(2, a)",
        "sum by (id) (a)",
        "stddev(a)",
        "quantile(0.3, a)",
        "a + on (id) a",
        "max_over_time(a[1s]) - min_over_time(a[2s])",
    ] {
        let of = |source: &dyn Source| {
            let instant = engine.instant(source, query, 1_000, &options).unwrap();
            let range = engine.range(source, query, 0, 1_000, 100, &options).unwrap();
            format!("{instant:?} {range:?}")
        };
        assert_eq!(of(&backwards), of(&sorted), "{query}");
    }
}

/// Names that go are among the labels that series are ordered by, however they are read.
#[test]
fn the_order_is_that_of_the_labels_as_they_were_read() {
    struct Sorted(Vec<Series>);
    impl Source for Sorted {
        fn select(&self, _: &[Matcher], _: i64, _: i64) -> Result<Vec<Series>, SourceError> {
            Ok(self.0.clone())
        }
    }
    let series = [("a", "3"), ("b", "2"), ("c", "1")].map(|(name, id)| Series {
        labels: Labels::new([("__name__", name), ("id", id)]),
        times: vec![1_000],
        values: vec![1.0],
    });
    let (sorted, backwards) = (Sorted(series.to_vec()), Backwards(series.to_vec()));
    let (engine, options) = (Engine::default(), QueryOptions::default());
    for query in [
        "-{id!=\"\"}",
        "limitk(1, -{id!=\"\"})",
        "topk(1, 2 * {id!=\"\"})",
        "limitk(1, sum by (id) ({id!=\"\"}))",
        "sum by (id) ({id!=\"\"})",
        "stddev by (id) ({id!=\"\"})",
        "count_values by (id) (\"v\", {id!=\"\"})",
    ] {
        let of = |source: &dyn Source| {
            format!("{:?}", engine.instant(source, query, 1_000, &options).unwrap())
        };
        assert_eq!(of(&backwards), of(&sorted), "{query}");
    }
}

/// Parts from the last to the first.
struct Shuffled(Made);

struct ShuffledScan<'s>(Box<dyn Scan + 's>);

impl Source for Shuffled {
    fn select(&self, _: &[Matcher], _: i64, _: i64) -> Result<Vec<Series>, SourceError> {
        Err(SourceError("all series at once were asked for".into()))
    }

    fn scan(&self, all: &[Matcher], from: i64, to: i64) -> Result<Box<dyn Scan + '_>, SourceError> {
        Ok(Box::new(ShuffledScan(self.0.scan(all, from, to)?)))
    }
}

impl Scan for ShuffledScan<'_> {
    fn parts(&self) -> usize {
        self.0.parts()
    }

    fn is_sorted(&self) -> bool {
        false
    }

    fn read(
        &self,
        part: usize,
        each: &mut dyn FnMut(SeriesRef<'_>) -> ControlFlow<()>,
    ) -> Result<(), SourceError> {
        self.0.read(self.parts() - 1 - part, each)
    }
}

/// What takes some series of each group, or little of each, does not need all of them at once.
#[test]
fn choices_of_more_series_than_can_be_held_are_made() {
    for (series, room) in [(2_000, 2 << 20), (6_000, 12 << 20)] {
        let source = Shuffled(Made::new(series, 15_000));
        let range = |memory_max: usize, query: &str| {
            let engine = Engine::new(Options { threads: 2, memory_max, ..Options::default() });
            let (end_ms, options) = (START_MS + HOUR_MS / 2, QueryOptions::default());
            let answer = engine.range(&source, query, START_MS, end_ms, 15_000, &options);
            let Value::Matrix(matrix) = answer.unwrap().value else { panic!("a matrix") };
            matrix
        };
        for query in [
            "topk(3, x)",
            "bottomk by (le) (2, x)",
            "limitk by (instance) (2, x)",
            "limit_ratio(0.01, x)",
            "count_values(\"v\", x > bool 2.4e6)",
        ] {
            assert!(range(room, query) == range(1 << 30, query), "{query}");
        }
        // Of equal ones those with the first labels.
        let equal = range(room, "topk(3, x > bool 0)");
        let ids = equal.iter().map(|one| one.labels.get("id").unwrap()).collect::<Vec<_>>();
        assert_eq!(ids, ["0000000", "0000001", "0000002"]);
        let (apart, whole) = (range(room, "stddev(x)"), range(1 << 30, "stddev(x)"));
        for (apart, whole) in apart[0].values.iter().zip(&whole[0].values) {
            assert!((apart - whole).abs() <= 1e-9 * whole, "{apart} {whole}");
        }
    }
}
