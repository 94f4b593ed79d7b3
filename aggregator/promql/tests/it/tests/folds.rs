//! What is folded as it comes is what comes out when everything is held and looked at plainly.

#![expect(clippy::cast_precision_loss, reason = "the counts are small")]

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use labstat_model::{Labels, Matcher, Series, SeriesRef};
use labstat_promql::{Engine, Options, QueryOptions, Scan, Source, SourceError, Value};
use proptest::prelude::*;

const STEP_MS: i64 = 10_000;
const STEPS: i64 = 6;
const RANGE_MS: i64 = 25_000;

/// Series that are read in parts of so many.
#[derive(Debug)]
struct Parted {
    series: Vec<Series>,
    part_len: usize,
}

impl Source for Parted {
    fn select(&self, _: &[Matcher], _: i64, _: i64) -> Result<Vec<Series>, SourceError> {
        Ok(self.series.clone())
    }

    fn scan(&self, _: &[Matcher], _: i64, _: i64) -> Result<Box<dyn Scan + '_>, SourceError> {
        Ok(Box::new(PartedScan(self)))
    }
}

struct PartedScan<'p>(&'p Parted);

impl Scan for PartedScan<'_> {
    fn parts(&self) -> usize {
        self.0.series.len().div_ceil(self.0.part_len)
    }

    fn read(
        &self,
        part: usize,
        each: &mut dyn FnMut(SeriesRef<'_>) -> ControlFlow<()>,
    ) -> Result<(), SourceError> {
        let series = self.0.series.chunks(self.0.part_len).nth(part).unwrap_or(&[]);
        let _ = series.iter().map(Series::as_ref).try_for_each(each);
        Ok(())
    }
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => (-9..9_i32).prop_map(f64::from),
        4 => -1e6..1e6,
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
        1 => Just(f64::NEG_INFINITY),
        1 => Just(-0.0),
    ]
}

fn parted() -> impl Strategy<Value = Parted> {
    let samples = prop::collection::vec((1..25_000_i64, value()), 0..12);
    let all = prop::collection::vec((0..3_u8, samples), 1..24);
    (all, 1..9_usize).prop_map(|(all, part_len)| {
        let one = |(id, (group, samples)): (usize, (u8, Vec<(i64, f64)>))| {
            let (id, group) = (format!("{id:02}"), group.to_string());
            let labels = [("__name__", "x"), ("g", group.as_str()), ("id", id.as_str())];
            let mut series = Series::new(Labels::new(labels));
            let mut time = -30_000;
            for (gap, value) in samples {
                time += gap;
                series.push(time, value);
            }
            series
        };
        let mut series: Vec<Series> = all.into_iter().enumerate().map(one).collect();
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        Parted { series, part_len }
    })
}

/// The values by labels and step.
type Table = BTreeMap<(String, i64), f64>;

fn asked(source: &Parted, threads: usize, query: &str) -> Vec<Series> {
    let engine = Engine::new(Options { threads, ..Options::default() });
    let end_ms = (STEPS - 1) * STEP_MS;
    let answer = engine.range(source, query, 0, end_ms, STEP_MS, &QueryOptions::default());
    let Value::Matrix(matrix) = answer.unwrap().value else { panic!("a matrix") };
    matrix
}

fn table(matrix: &[Series]) -> Table {
    let cells = |series: &Series| {
        let labels = series.labels.to_string();
        series.samples().map(move |s| ((labels.clone(), s.time_ms), s.value)).collect::<Vec<_>>()
    };
    matrix.iter().flat_map(cells).collect()
}

/// The values of each group's members at each step.
fn members(matrix: &[Series]) -> BTreeMap<(String, i64), Vec<f64>> {
    let mut members: BTreeMap<(String, i64), Vec<f64>> = BTreeMap::new();
    for series in matrix {
        let group = format!("{{g=\"{}\"}}", series.labels.get("g").unwrap());
        for sample in series.samples() {
            members.entry((group.clone(), sample.time_ms)).or_default().push(sample.value);
        }
    }
    members
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn variance(values: &[f64]) -> f64 {
    let mean = mean(values);
    values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64
}

fn extreme(values: &[f64], better: fn(f64, f64) -> bool) -> f64 {
    let numbers = values.iter().copied().filter(|value| !value.is_nan());
    numbers.reduce(|a, b| if better(b, a) { b } else { a }).unwrap_or(f64::NAN)
}

/// NaN is less than all others.
fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| b.is_nan().cmp(&a.is_nan()).then(a.total_cmp(b)));
    sorted
}

fn median(values: &[f64]) -> f64 {
    let sorted = sorted(values);
    let rank = (sorted.len() - 1) as f64 * 0.5;
    // The upper neighbour counts, if for nothing, even where the middle is hit: times infinity, that
    // is NaN.
    let lower = (sorted.len() - 1) / 2;
    let (low, high) = (sorted[lower], sorted[(lower + 1).min(sorted.len() - 1)]);
    let weight = rank - rank.floor();
    low * (1.0 - weight) + high * weight
}

fn same(a: f64, b: f64) -> bool {
    let near = (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0);
    a == b || near || (a.is_nan() && b.is_nan())
}

/// The square of a number so large that it is less exact than what is added.
fn nearly(a: f64, b: f64) -> bool {
    same(a, b) || (a - b).abs() <= 1e-6 * a.abs().max(b.abs())
}

type Naive = fn(&[f64]) -> f64;

/// What is asked of a group, and the plain way to it.
const AGGREGATIONS: &[(&str, Naive)] = &[
    ("sum by (g) (#)", |values| values.iter().sum()),
    ("avg by (g) (#)", mean),
    ("count by (g) (#)", |values| values.len() as f64),
    ("group by (g) (#)", |_| 1.0),
    ("min by (g) (#)", |values| extreme(values, |a, b| a < b)),
    ("max by (g) (#)", |values| extreme(values, |a, b| a > b)),
    ("stdvar by (g) (#)", variance),
    ("stddev by (g) (#)", |values| variance(values).sqrt()),
    ("quantile by (g) (0.5, #)", median),
    ("sum by (g) (topk by (g) (2, #))", |values| sorted(values).iter().rev().take(2).sum()),
    ("count by (g) (limitk by (g) (2, #))", |values| values.len().min(2) as f64),
    ("sum by (g) (count_values by (g) (\"v\", #))", |values| values.len() as f64),
];

/// What is asked of a window.
const OVER_TIME: &[(&str, Naive)] = &[
    ("sum_over_time(x[25s])", |values| values.iter().sum()),
    ("avg_over_time(x[25s])", mean),
    ("count_over_time(x[25s])", |values| values.len() as f64),
    ("min_over_time(x[25s])", |values| extreme(values, |a, b| a < b)),
    ("max_over_time(x[25s])", |values| extreme(values, |a, b| a > b)),
    ("stdvar_over_time(x[25s])", variance),
    ("quantile_over_time(0.5, x[25s])", median),
    ("last_over_time(x[25s])", |values| *values.last().unwrap()),
    ("present_over_time(x[25s])", |_| 1.0),
];

/// The values of each window, by the labels of its series without the name.
fn windows(source: &Parted) -> BTreeMap<(String, i64), Vec<f64>> {
    let mut windows: BTreeMap<(String, i64), Vec<f64>> = BTreeMap::new();
    for series in &source.series {
        for step in 0..STEPS {
            let end_ms = step * STEP_MS;
            let within = |time_ms: i64| end_ms - RANGE_MS < time_ms && time_ms <= end_ms;
            let samples = series.samples().filter(|sample| within(sample.time_ms));
            let values: Vec<f64> = samples.map(|sample| sample.value).collect();
            if !values.is_empty() {
                let id = series.labels.get("id").unwrap().to_owned();
                windows.insert((id, end_ms), values);
            }
        }
    }
    windows
}

proptest! {
    #[test]
    fn what_is_folded_is_what_is_there(source in parted(), threads in 1..4_usize) {
        for of in ["x", "(x * 2)", "last_over_time(x[25s])"] {
            let held = members(&asked(&source, 1, of));
            for (query, naive) in AGGREGATIONS {
                let query = query.replace('#', of);
                let folded = table(&asked(&source, threads, &query));
                prop_assert_eq!(folded.len(), held.len(), "{}", query);
                for (at, values) in &held {
                    let (wanted, found) = (naive(values), folded[at]);
                    prop_assert!(nearly(wanted, found), "{query} {at:?} {values:?}: {wanted} {found}");
                }
            }
        }
    }

    #[test]
    fn windows_are_folded_as_they_are(source in parted(), threads in 1..4_usize) {
        let held = windows(&source);
        for (query, naive) in OVER_TIME {
            let matrix = asked(&source, threads, query);
            let found = |series: &Series| {
                let id = series.labels.get("id").unwrap().to_owned();
                series.samples().map(|s| ((id.clone(), s.time_ms), s.value)).collect::<Vec<_>>()
            };
            let folded: Table = matrix.iter().flat_map(found).collect();
            prop_assert_eq!(folded.len(), held.len(), "{}", query);
            for (at, values) in &held {
                let (wanted, found) = (naive(values), folded[at]);
                prop_assert!(nearly(wanted, found), "{query} {at:?} {values:?}: {wanted} {found}");
            }
        }
    }
}
