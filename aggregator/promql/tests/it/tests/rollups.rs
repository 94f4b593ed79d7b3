//! Queries over buckets: the same as over samples where the edges of windows are edges of buckets,
//! and close to it where the samples are gone.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::memory::Memory;
use labstat_model::{
    BucketColumn, BucketColumns, Labels, Matcher, Rolled, Series, Tiers, bucket_range, stale_marker,
};
use labstat_promql::{
    Answer, BucketScan, Engine, ErrorKind, Options, QueryError, QueryOptions, Source, SourceError,
    Value,
};
use proptest::prelude::*;

const MINUTE_MS: i64 = 60_000;
const FIVE_MS: i64 = 5 * MINUTE_MS;
const HOUR_MS: i64 = 60 * MINUTE_MS;

/// What a source was asked for.
#[derive(Debug, Clone, PartialEq)]
enum Asked {
    Samples(i64, i64),
    Newest(i64, i64),
    Buckets(i64, i64, i64, BucketColumns),
}

/// Series of which the older samples are gone.
struct Tiered {
    memory: Memory,
    tiers: Tiers,
    /// Whether the series of this place come as samples when buckets are asked for.
    sampled: fn(usize) -> bool,
    asked: Mutex<Vec<Asked>>,
}

impl Tiered {
    /// Samples since then, buckets since ever.
    fn since(memory: Memory, samples_from_ms: i64) -> Self {
        let buckets = vec![(FIVE_MS, i64::MIN), (HOUR_MS, i64::MIN)];
        let tiers = Tiers { samples_from_ms, buckets };
        Self { memory, tiers, sampled: |_| false, asked: Mutex::default() }
    }

    fn note(&self, asked: Asked) {
        self.asked.lock().unwrap().push(asked);
    }

    fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

impl Source for Tiered {
    fn select(&self, m: &[Matcher], start: i64, end: i64) -> Result<Vec<Series>, SourceError> {
        assert!(start >= self.tiers.samples_from_ms, "samples from {start} on are gone");
        self.note(Asked::Samples(start, end));
        self.memory.select(m, start, end)
    }

    fn newest(&self, m: &[Matcher], start: i64, end: i64) -> Result<Vec<Series>, SourceError> {
        assert!(start >= self.tiers.samples_from_ms, "samples from {start} on are gone");
        self.note(Asked::Newest(start, end));
        self.memory.newest(m, start, end)
    }

    fn tiers(&self) -> Tiers {
        self.tiers.clone()
    }

    fn buckets(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
        bucket_ms: i64,
        columns: BucketColumns,
    ) -> Result<Vec<Rolled>, SourceError> {
        self.note(Asked::Buckets(start_ms, end_ms, bucket_ms, columns));
        let (first_ms, last_ms) = bucket_range(start_ms, end_ms, bucket_ms);
        let series = self.memory.select(matchers, first_ms, last_ms)?;
        let rolled = |(at, series): (usize, Series)| {
            if (self.sampled)(at) {
                return Rolled::Samples(series);
            }
            let mut rolled = Rolled::of(&series, bucket_ms, columns);
            if let Rolled::Buckets(buckets) = &mut rolled {
                // What was not asked for need not come.
                assert_eq!(buckets.columns.iter().filter(|c| !c.is_empty()).count(), {
                    if buckets.ends_ms.is_empty() { 0 } else { columns.iter().count() }
                });
            }
            rolled
        };
        Ok(series.into_iter().enumerate().map(rolled).collect())
    }
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => (0..1000_i32).prop_map(f64::from),
        4 => -1e9..1e9_f64,
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
        1 => Just(f64::NEG_INFINITY),
        1 => Just(-0.0),
        2 => Just(stale_marker()),
    ]
}

/// A distance in time: mostly that of a scrape, at times that of an outage, and at times so that a
/// sample is on the edge of a bucket.
fn gap() -> impl Strategy<Value = i64> {
    prop_oneof![
        8 => 1..100_000_i64,
        2 => 1..8_000_000_i64,
        4 => Just(15_000_i64),
        3 => Just(-1_i64),
    ]
}

const START_MS: i64 = -10 * HOUR_MS;
const END_MS: i64 = 70 * HOUR_MS;

/// The distance of a sample, its value, and how many follow it at that of a scrape.
type Gapped = (i64, f64, usize);

fn memory() -> impl Strategy<Value = Memory> {
    let samples = prop::collection::vec((gap(), value(), 0..40_usize), 0..60);
    prop::collection::vec((samples, START_MS..END_MS), 1..4).prop_map(|all| {
        let one = |(at, (samples, start_ms)): (usize, (Vec<Gapped>, i64))| {
            let mut one = Series::new(Labels::new([("__name__", "a"), ("n", &at.to_string())]));
            let mut time_ms = start_ms;
            for (gap_ms, value, more) in samples {
                time_ms = match gap_ms {
                    -1 => (time_ms.div_euclid(FIVE_MS) + 1) * FIVE_MS,
                    gap_ms => time_ms + gap_ms,
                };
                one.push(time_ms, value);
                for step in 0..more {
                    time_ms += 15_000;
                    one.push(time_ms, value + f64::from(u8::try_from(step % 7).unwrap()));
                }
            }
            one
        };
        Memory(all.into_iter().enumerate().map(one).collect())
    })
}

/// What is exact over buckets: `#` is a range, `%` a shift.
const EXACT: &[&str] = &[
    "a %",
    "timestamp(a %)",
    "rate(a[#] %)",
    "increase(a[#] %)",
    "delta(a[#] %)",
    "count_over_time(a[#] %)",
    "sum_over_time(a[#] %)",
    "avg_over_time(a[#] %)",
    "min_over_time(a[#] %)",
    "max_over_time(a[#] %)",
    "first_over_time(a[#] %)",
    "last_over_time(a[#] %)",
    "present_over_time(a[#] %)",
    "absent_over_time(a[#] %)",
    "ts_of_first_over_time(a[#] %)",
    "ts_of_last_over_time(a[#] %)",
];

/// Shifts by multiples of five minutes.
fn shift() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just(String::new()),
        2 => (1..400_i64).prop_map(|n| format!("offset {}m", n * 5)),
        2 => (1..400_i64).prop_map(|n| format!("offset -{}m", n * 5)),
        1 => (-100..800_i64).prop_map(|n| format!("@ {}", n * 300)),
        1 => Just("@ end() offset 35m".to_owned()),
    ]
}

fn query() -> impl Strategy<Value = String> {
    let range = prop_oneof![
        (1..40_i64).prop_map(|n| format!("{}m", n * 5)),
        (1..40_i64).prop_map(|n| format!("{n}h")),
    ];
    (prop::sample::select(EXACT), range, shift())
        .prop_map(|(query, range, shift)| query.replace('#', &range).replace('%', &shift))
}

/// Start, step and length of a range of which all times are multiples of five minutes.
fn steps() -> impl Strategy<Value = (i64, i64, i64)> {
    let step =
        prop_oneof![(1..12_i64).prop_map(|n| n * FIVE_MS), (1..4_i64).prop_map(|n| n * HOUR_MS),];
    (-120..700_i64, step, 0..150_i64).prop_map(|(n, step, len)| (n * FIVE_MS, step, len))
}

fn range(source: &dyn Source, query: &str, steps: (i64, i64, i64)) -> Result<Answer, QueryError> {
    let (start_ms, step_ms, len) = steps;
    let end_ms = start_ms + step_ms * len;
    Engine::default().range(source, query, start_ms, end_ms, step_ms, &QueryOptions::default())
}

/// The same but for the last digits of sums, which are as large as their terms were.
fn same(a: f64, b: f64, terms: f64) -> bool {
    a.to_bits() == b.to_bits()
        || (a.is_nan() && b.is_nan())
        || (a - b).abs() <= 1e-12 * a.abs().max(terms)
}

fn terms(memory: &Memory) -> f64 {
    let values = memory.0.iter().flat_map(|series| &series.values);
    values.filter(|value| value.is_finite()).map(|value| value.abs()).sum::<f64>()
}

fn compare(memory: &Memory, wanted: &Value, found: &Value) -> Result<(), TestCaseError> {
    let (Value::Matrix(wanted), Value::Matrix(found)) = (wanted, found) else {
        return Err(TestCaseError::fail("a matrix"));
    };
    prop_assert_eq!(wanted.len(), found.len(), "{:?} {:?}", wanted, found);
    // A sum of three terms that cancel each other is known to the digits of the largest.
    let terms = terms(memory) * 1e-3;
    for (a, b) in wanted.iter().zip(found) {
        prop_assert_eq!(&a.labels, &b.labels);
        prop_assert_eq!(&a.times, &b.times);
        for ((time, x), y) in a.times.iter().zip(&a.values).zip(&b.values) {
            prop_assert!(same(*x, *y, terms), "{} at {}: {} {}", a.labels, time, x, y);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// Where the edges agree, buckets say what samples say, whether these are there or not.
    #[test]
    fn buckets_answer_as_samples(
        memory in memory(),
        query in query(),
        steps in steps(),
        samples_from in prop_oneof![
            2 => Just(i64::MIN),
            1 => Just(i64::MAX),
            3 => START_MS..END_MS,
        ],
        some_sampled in any::<bool>(),
    ) {
        let wanted = range(&memory, &query, steps).unwrap();
        let mut source = Tiered::since(memory, samples_from);
        if some_sampled {
            source.sampled = |at| at % 2 == 0;
        }
        let found = range(&source, &query, steps).unwrap();
        compare(&source.memory, &wanted.value, &found.value)?;
        prop_assert_eq!(wanted.infos, found.infos);
    }

    /// Whatever is asked of what is left, there is an answer or a reason; where samples are there
    /// for all of it, it is that of the samples.
    #[test]
    fn anything_is_answered(
        memory in memory(),
        query in prop::sample::select(vec![
            "a", "timestamp(a)", "rate(a[7m])", "irate(a[2h])", "deriv(a[90m])", "a[3h]",
            "quantile_over_time(0.5, a[1h1m])", "sum_over_time(a[10s])", "changes(a[3h])",
            "avg_over_time(a[3h:1m])", "max_over_time(rate(a[1h])[1d:1h])", "a @ 12345.678",
            "double_exponential_smoothing(a[1h], 0.5, 0.5)", "predict_linear(a[1h], 60)",
            "stddev_over_time(a[1h] offset -13m)", "increase(a[1h]) / count_over_time(a[1h])",
        ]),
        start in START_MS..END_MS,
        step in 1..HOUR_MS * 3,
        len in 0..100_i64,
        samples_from in START_MS..END_MS,
    ) {
        let source = Tiered::since(memory, samples_from);
        if query == "a[3h]" {
            let answer = Engine::default().instant(&source, query, start, &QueryOptions::default());
            prop_assert!(answer.is_ok(), "{:?}", answer);
            return Ok(());
        }
        let found = range(&source, query, (start, step, len)).unwrap();
        if found.infos.iter().any(|info| info.contains("approximate")) {
            return Ok(());
        }
        let wanted = range(&source.memory, query, (start, step, len)).unwrap();
        compare(&source.memory, &wanted.value, &found.value)?;
    }
}

/// A counter that grows by one a second, a sample every ten seconds, for that many hours.
fn counter(hours: i64) -> Memory {
    let mut series = Series::new(Labels::new([("__name__", "a_total")]));
    (0..hours * 360).for_each(|at| series.push(at * 10_000, at as f64 * 10.0));
    Memory(vec![series])
}

fn at(source: &dyn Source, query: &str, minutes: i64) -> (Value, Vec<String>) {
    let time_ms = minutes * MINUTE_MS;
    let answer = Engine::default().instant(source, query, time_ms, &QueryOptions::default());
    let answer = answer.unwrap();
    (answer.value, answer.infos)
}

fn only(value: &Value) -> f64 {
    match value {
        Value::Vector(vector) if vector.len() == 1 => vector[0].sample.value,
        value => panic!("one value, not {value:?}"),
    }
}

/// All of this is asked of samples that are gone, at 62 minutes: buckets begin and end at 55, 60
/// and 65.
#[test]
fn where_samples_are_gone_the_window_is_widened() {
    let source = Tiered::since(counter(10), i64::MAX);
    for (query, wanted) in [
        // The growth of ten minutes, by the second.
        ("rate(a_total[7m])", 1.0),
        ("increase(a_total[7m])", 420.0),
        ("delta(a_total[7m])", 420.0),
        // 60 samples in ten minutes, of which seven were asked for.
        ("count_over_time(a_total[7m])", 42.0),
        ("sum_over_time(a_total[7m])", 3605.0 * 42.0),
        ("avg_over_time(a_total[7m])", 3605.0),
        ("min_over_time(a_total[7m])", 3310.0),
        ("max_over_time(a_total[7m])", 3900.0),
        ("first_over_time(a_total[7m])", 3310.0),
        ("last_over_time(a_total[7m])", 3900.0),
        ("present_over_time(a_total[7m])", 1.0),
        ("ts_of_last_over_time(a_total[7m])", 3900.0),
        // The first sample of the bucket, ten seconds after its start.
        ("a_total", 3610.0),
        ("timestamp(a_total)", 3610.0),
        // Of samples are left those at 3310, 3600, 3610 and 3900 seconds.
        ("irate(a_total[5m])", 1.0),
        ("changes(a_total[7m])", 3.0),
        ("quantile_over_time(0.5, a_total[7m])", 3605.0),
        ("deriv(a_total[7m])", 1.0),
    ] {
        let (value, infos) = at(&source, query, 62);
        let value = only(&value);
        assert!((value - wanted).abs() <= 1e-9 * wanted, "{query}: {value}, not {wanted}");
        let column = query.rfind('(').filter(|_| query.contains('[')).map_or(1, |at| at + 2);
        let column = if query.starts_with("timestamp") { 11 } else { column };
        let column = if query.starts_with("quantile") { 25 } else { column };
        let told = format!(
            "PromQL info: older samples are kept as buckets of 5m only, the result there is \
             approximate (1:{column})"
        );
        assert_eq!(infos, [told], "{query}");
    }
}

#[test]
fn on_the_edge_of_a_bucket_nothing_is_approximate() {
    let source = Tiered::since(counter(10), i64::MAX);
    for (query, wanted) in [
        ("a_total", 3600.0),
        ("rate(a_total[10m])", 1.0),
        ("count_over_time(a_total[5m])", 30.0),
        ("sum_over_time(a_total[15m] offset 10m)", 90.0 * 2555.0),
    ] {
        let (value, infos) = at(&source, query, 60);
        assert_eq!((only(&value), infos), (wanted, Vec::<String>::new()), "{query}");
    }
}

#[test]
fn a_range_of_samples_is_what_is_left_of_them() {
    let source = Tiered::since(counter(10), i64::MAX);
    let (Value::Matrix(matrix), infos) = at(&source, "a_total[10m]", 62) else {
        panic!("a matrix")
    };
    assert_eq!(matrix[0].values, [3300.0, 3310.0, 3600.0, 3610.0]);
    assert_eq!(infos.len(), 1);
}

/// The bucket's samples end before the time asked for, or a marker followed them.
#[test]
fn what_ended_within_a_bucket_has_ended() {
    let mut series = Series::new(Labels::new([("__name__", "a")]));
    [(61, 1.0), (121, 2.0), (122, stale_marker()), (181, 3.0)]
        .into_iter()
        .for_each(|(minute, value)| series.push(minute * MINUTE_MS, value));
    let mut source = Tiered::since(Memory(vec![series]), i64::MAX);
    source.tiers.buckets.remove(0);
    for (minute, wanted) in
        [(60, None), (62, Some(1.0)), (65, Some(1.0)), (66, None), (124, None), (183, Some(3.0))]
    {
        let Value::Vector(vector) = at(&source, "a", minute).0 else { panic!("a vector") };
        assert_eq!(vector.first().map(|one| one.sample.value), wanted, "{minute}");
    }
}

/// Old steps of buckets, new ones of samples, in one series and with one remark.
#[test]
fn a_range_over_both_is_one_series() {
    let source = Tiered::since(counter(10), 5 * HOUR_MS);
    let query = "increase(a_total[7m]) + 0 * rate(a_total[8m])";
    let answer = range(&source, query, (2 * MINUTE_MS + HOUR_MS, HOUR_MS, 8)).unwrap();
    let Value::Matrix(matrix) = answer.value else { panic!("a matrix") };
    assert_eq!(matrix.len(), 1);
    assert_eq!(matrix[0].len(), 9);
    assert!(matrix[0].values.iter().all(|value| (value - 420.0).abs() < 1e-9), "{matrix:?}");
    assert_eq!(answer.infos.len(), 1);
    let asked = source.asked();
    let samples = |asked: &&Asked| matches!(asked, Asked::Samples(..));
    assert_eq!((asked.len(), asked.iter().filter(samples).count()), (4, 2), "{asked:?}");
    assert_eq!(
        asked[1],
        Asked::Samples(5 * HOUR_MS + 1 + 55 * MINUTE_MS, 9 * HOUR_MS + 2 * MINUTE_MS)
    );
}

/// A series that is kept as it came is exact however old it is.
#[test]
fn series_that_come_as_samples_are_exact() {
    let mut source = Tiered::since(counter(10), i64::MAX);
    source.sampled = |_| true;
    for (query, wanted) in [
        ("a_total", 3720.0),
        ("max_over_time(a_total[7m])", 3720.0),
        ("irate(a_total[7m])", 1.0),
        ("count_over_time(a_total[7m])", 42.0),
        ("changes(a_total[7m])", 41.0),
    ] {
        let (value, infos) = at(&source, query, 62);
        assert_eq!((only(&value), infos), (wanted, Vec::<String>::new()), "{query}");
    }
}

#[test]
fn the_source_is_asked_for_no_more_than_is_needed() {
    use BucketColumn::{Count, First, FirstAfter, Last, LastAfter, Resets, Sum};
    let source = Tiered::since(counter(100), i64::MIN);
    let steps = (HOUR_MS, HOUR_MS, 48);
    let last = 49 * HOUR_MS;
    let buckets = |first: i64, last: i64, width: i64, columns: &[BucketColumn]| {
        Asked::Buckets(first, last, width, BucketColumns::of(columns))
    };
    let growth = [Count, FirstAfter, First, LastAfter, Last, Resets];
    for (query, wanted) in [
        ("a_total", buckets(HOUR_MS - FIVE_MS + 1, last, HOUR_MS, &[LastAfter, Last])),
        ("a_total / a_total", buckets(HOUR_MS - FIVE_MS + 1, last, HOUR_MS, &[LastAfter, Last])),
        ("rate(a_total[1h])", buckets(1, last, HOUR_MS, &growth)),
        ("increase(a_total[5m])", buckets(HOUR_MS - FIVE_MS + 1, last, FIVE_MS, &growth)),
        ("delta(a_total[2h])", buckets(1 - HOUR_MS, last, HOUR_MS, &growth[..5])),
        ("avg_over_time(a_total[1h])", buckets(1, last, HOUR_MS, &[Count, Sum])),
        ("count_over_time(a_total[1h])", buckets(1, last, HOUR_MS, &[Count])),
        ("absent_over_time(a_total[1h])", buckets(1, last, HOUR_MS, &[Count])),
        ("last_over_time(a_total[1h] offset 1h)", {
            buckets(1 - HOUR_MS, last - HOUR_MS, HOUR_MS, &[Count, Last])
        }),
        ("deriv(a_total[1h])", Asked::Samples(1, last)),
        ("rate(a_total[59m])", Asked::Samples(MINUTE_MS + 1, last)),
        ("rate(a_total[1h] offset 1m)", Asked::Samples(1 - MINUTE_MS, last - MINUTE_MS)),
    ] {
        range(&source, query, steps).unwrap();
        assert_eq!(source.asked(), [wanted], "{query}");
    }
    let time_ms = 50 * HOUR_MS;
    let options = QueryOptions::default();
    for (query, wanted) in [
        ("a_total", Asked::Newest(time_ms - FIVE_MS + 1, time_ms)),
        ("rate(a_total[1h])", Asked::Samples(time_ms - HOUR_MS + 1, time_ms)),
        ("rate(a_total[2d])", buckets(time_ms - 48 * HOUR_MS + 1, time_ms, HOUR_MS, &growth)),
    ] {
        Engine::default().instant(&source, query, time_ms, &options).unwrap();
        assert_eq!(source.asked(), [wanted], "{query}");
    }
}

/// Seven numbers each of sixty buckets are more than 150 samples; three are fewer.
#[test]
fn buckets_that_may_not_be_held_are_read_all_the_same() {
    let source = Tiered::since(counter(100), i64::MIN);
    let bounded = Engine::new(Options { samples_max: 150, ..Options::default() });
    let options = QueryOptions::default();
    for query in ["rate(a_total[60h])", "sum_over_time(a_total[60h])"] {
        let wanted = Engine::default().instant(&source, query, 70 * HOUR_MS, &options);
        let found = bounded.instant(&source, query, 70 * HOUR_MS, &options);
        assert_eq!(found.unwrap(), wanted.unwrap(), "{query}");
    }
}

/// Buckets in parts: one series each, the last one first.
struct InParts(Tiered);

struct Parts(Vec<Rolled>);

impl BucketScan for Parts {
    fn parts(&self) -> usize {
        self.0.len()
    }

    fn is_sorted(&self) -> bool {
        false
    }

    fn read(
        &self,
        part: usize,
        each: &mut dyn FnMut(Rolled) -> ControlFlow<()>,
    ) -> Result<(), SourceError> {
        let at = self.0.len() - 1 - part;
        let _ = each(self.0[at].clone());
        Ok(())
    }
}

impl Source for InParts {
    fn select(&self, m: &[Matcher], from: i64, to: i64) -> Result<Vec<Series>, SourceError> {
        self.0.select(m, from, to)
    }

    fn tiers(&self) -> Tiers {
        self.0.tiers()
    }

    fn buckets(
        &self,
        _: &[Matcher],
        _: i64,
        _: i64,
        _: i64,
        _: BucketColumns,
    ) -> Result<Vec<Rolled>, SourceError> {
        panic!("buckets are read in parts")
    }

    fn scan_buckets(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
        bucket_ms: i64,
        columns: BucketColumns,
    ) -> Result<Box<dyn BucketScan + '_>, SourceError> {
        let all = self.0.buckets(matchers, start_ms, end_ms, bucket_ms, columns)?;
        Ok(Box::new(Parts(all)))
    }
}

/// Few parts are held, many flow; the answer is the same.
#[test]
fn buckets_that_come_in_parts_answer_as_all_at_once() {
    let (start_ms, end_ms) = (2 * HOUR_MS, 20 * HOUR_MS);
    for len in [1, 3, 40] {
        let memory = || {
            let names = (0..len).map(|at| format!("{at:02}"));
            let series = names.map(|name| {
                let labels = Labels::new([("__name__", "a_total"), ("n", &*name)]);
                Series { labels, ..counter(100).0.remove(0) }
            });
            Memory(series.collect())
        };
        let plain = Tiered::since(memory(), i64::MIN);
        let parts = InParts(Tiered::since(memory(), i64::MIN));
        for query in
            ["rate(a_total[1h])", "sum(increase(a_total[2h]))", "a_total", "a_total + a_total"]
        {
            let options = QueryOptions::default();
            let ask = |source: &dyn Source| {
                let answer =
                    Engine::default().range(source, query, start_ms, end_ms, HOUR_MS, &options);
                answer.unwrap().value
            };
            assert_eq!(ask(&parts), ask(&plain), "{query} of {len}");
        }
    }
}

/// Whoever asked goes away while the buckets are read.
#[test]
fn evaluation_over_buckets_can_be_stopped() {
    struct Stopping(Tiered, Arc<AtomicBool>);
    impl Source for Stopping {
        fn select(&self, m: &[Matcher], from: i64, to: i64) -> Result<Vec<Series>, SourceError> {
            self.0.select(m, from, to)
        }
        fn tiers(&self) -> Tiers {
            self.0.tiers()
        }
        fn buckets(
            &self,
            matchers: &[Matcher],
            start_ms: i64,
            end_ms: i64,
            bucket_ms: i64,
            columns: BucketColumns,
        ) -> Result<Vec<Rolled>, SourceError> {
            self.1.store(true, Ordering::Relaxed);
            self.0.buckets(matchers, start_ms, end_ms, bucket_ms, columns)
        }
    }
    for query in ["a_total", "rate(a_total[1h])"] {
        let cancel = Arc::new(AtomicBool::new(false));
        let source = Stopping(Tiered::since(counter(100), i64::MIN), Arc::clone(&cancel));
        let options = QueryOptions { cancel: Some(cancel), ..QueryOptions::default() };
        let end_ms = 48 * HOUR_MS;
        let answer = Engine::default().range(&source, query, 0, end_ms, HOUR_MS, &options);
        assert_eq!(answer.unwrap_err().kind(), ErrorKind::Canceled, "{query}");
    }
}
