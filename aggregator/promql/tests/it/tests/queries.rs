//! Histories and queries by chance, for what holds for all of them.

use labstat_model::{Labels, Series, stale_marker};
use labstat_promql::{Value, ValueType, check};
use proptest::prelude::*;

use super::memory::Memory;

/// Any number, mostly plain ones.
pub(crate) fn any_value() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => (-100..100_i32).prop_map(f64::from),
        3 => any::<f64>(),
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
        1 => Just(stale_marker()),
    ]
}

/// A few series of three metrics with such values; some have no samples.
pub(crate) fn memory(value: impl Strategy<Value = f64>) -> impl Strategy<Value = Memory> {
    let names = prop::sample::select(vec!["a", "b_total", "c_bucket"]);
    let labels = (names, 0..3_u8, prop::sample::select(vec!["0.1", "1", "+Inf", "x"]));
    let samples = prop::collection::vec((1..90_000_i64, value), 0..30);
    prop::collection::btree_map(labels, samples, 0..12).prop_map(|all| {
        let mut series: Vec<Series> = Vec::new();
        for ((name, node, le), samples) in all {
            let node = node.to_string();
            let labels = Labels::new([("__name__", name), ("node", node.as_str()), ("le", le)]);
            let mut one = Series::new(labels);
            let mut time = 0;
            for (gap, value) in samples {
                time += gap;
                one.push(time, value);
            }
            series.push(one);
        }
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        Memory(series)
    })
}

/// What a query is made of, at its leaves.
const LEAVES: &[&str] = &[
    "a",
    "b_total",
    "c_bucket",
    "{node=\"1\"}",
    "a offset 1m",
    "a @ 60",
    "b_total @ end()",
    "1",
    "-0.5",
    "NaN",
    "time()",
    "rate(b_total[2m])",
    "sum_over_time(a[90s])",
    "a{node=~\"0|2\"}",
    "max_over_time(a[3m:25s])",
    "timestamp(a)",
    "absent(a)",
    "deriv(a[5m])",
    "last_over_time(a[1m] offset 1m)",
    "quantile_over_time(0.3, c_bucket[4m])",
    "histogram_quantile(0.7, c_bucket)",
    "scalar(a)",
];

/// What stands between two of them.
const OPERATORS: &[&str] = &[
    "+",
    "-",
    "*",
    "/",
    "%",
    "^",
    "== bool",
    ">",
    "<= bool",
    "and",
    "or",
    "unless",
    "* on(node) group_left()",
    "+ ignoring(le)",
    "== on(node, le)",
    "atan2",
];

/// What is put around one.
const WRAPPERS: &[&str] = &[
    "sum(#)",
    "sum by (node) (#)",
    "avg without (le) (#)",
    "topk(2, #)",
    "bottomk by (node) (1, #)",
    "quantile(0.4, #)",
    "count_values(\"v\", #)",
    "stddev(#)",
    "max(#)",
    "-(#)",
    "abs(#)",
    "round(#, 0.5)",
    "sort(#)",
    "avg_over_time((#)[2m:20s])",
    "vector(scalar(#))",
    "clamp(#, 0, 5)",
    "label_replace(#, \"le\", \"$1\", \"node\", \"(.*)\")",
    "count by (le) (#)",
    "absent(#)",
    "predict_linear((#)[3m:30s], 60)",
    "group(#)",
    "ceil(#)",
    "day_of_week(#)",
];

/// Queries that look like queries.
pub(crate) fn query() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(LEAVES).prop_map(str::to_owned);
    grown(leaf, OPERATORS, WRAPPERS.to_vec())
}

/// Selectors of one metric, whose series come in the same order at every time.
const ORDERLY: &[&str] = &[
    "a",
    "b_total",
    "a offset 1m",
    "a @ 60",
    "rate(b_total[2m])",
    "a{node=~\"0|2\"}",
    "max_over_time(a[3m:25s])",
    "deriv(a[5m])",
    "quantile_over_time(0.3, c_bucket[4m])",
];

/// What changes values and no order.
const ELEMENTWISE: &[&str] = &[
    "-(#)",
    "abs(#)",
    "round(#, 0.5)",
    "clamp(#, 0, 5)",
    "ceil(#)",
    "(#) > 0",
    "(#) * on (node, le) (#)",
];

/// What depends on the order of what it is given: in which of equals it takes, of zeros too, and
/// in the last bits.
const OF_ORDER: &[&str] = &[
    "sum(#)",
    "sum by (node) (#)",
    "avg without (le) (#)",
    "topk(2, #)",
    "bottomk by (node) (1, #)",
    "limitk(2, #)",
    "quantile(0.4, #)",
    "stddev(#)",
    "max(#)",
    "min by (le) (#)",
];

/// Queries that are no less than the same whatever the times they are asked for with: nothing that
/// depends on the order of series is made of what may change it (groups, `or` and labels that
/// become the same come in the order in which they are first seen), and no sums of windows, whose
/// last bits depend on the windows before.
pub(crate) fn firm_query() -> impl Strategy<Value = String> {
    let is_firm = |text: &&str| {
        !OF_ORDER.contains(text)
            && !text.contains("sum_over_time")
            && !text.contains("avg_over_time")
    };
    let firm = |all: &[&'static str]| -> Vec<&'static str> {
        all.iter().copied().filter(is_firm).collect()
    };
    let orderly = prop::sample::select(ORDERLY).prop_map(str::to_owned);
    let orderly = prop_oneof![
        orderly.clone(),
        (orderly.clone(), prop::sample::select(ELEMENTWISE)).prop_map(put),
    ];
    let leaf = prop_oneof![
        2 => prop::sample::select(firm(LEAVES)).prop_map(str::to_owned),
        1 => (orderly, prop::sample::select(OF_ORDER)).prop_map(put),
    ];
    grown(leaf, OPERATORS, firm(WRAPPERS)).prop_map(|query| at_fixed_times(&query))
}

fn put((inner, wrapper): (String, &str)) -> String {
    wrapper.replace('#', &inner)
}

fn grown(
    leaf: impl Strategy<Value = String> + 'static,
    operators: &'static [&'static str],
    wrappers: Vec<&'static str>,
) -> impl Strategy<Value = String> {
    leaf.prop_recursive(4, 24, 2, move |inner| {
        let op = prop::sample::select(operators);
        let wrap = prop::sample::select(wrappers.clone());
        prop_oneof![
            (inner.clone(), op, inner.clone()).prop_map(|(a, op, b)| format!("({a}) {op} ({b})")),
            (inner, wrap).prop_map(put),
        ]
    })
}

/// The same without `end()`, which is another time by meaning.
pub(crate) fn at_fixed_times(query: &str) -> String {
    query.replace("end()", "300")
}

/// The query, as a vector.
pub(crate) fn vector(query: String) -> String {
    match check(&query) {
        Ok(checked) if checked.value_type == ValueType::Scalar => format!("vector({query})"),
        _ => query,
    }
}

/// Whether two numbers are the same; of those that are none there is one.
pub(crate) fn is_same(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

/// The value at one time, as sorted pairs.
pub(crate) fn at(value: &Value, time_ms: i64) -> Vec<(Labels, f64)> {
    let mut found: Vec<(Labels, f64)> = match value {
        Value::Scalar(sample) => vec![(Labels::default(), sample.value)],
        Value::Vector(vector) => {
            vector.iter().map(|e| (e.labels.clone(), e.sample.value)).collect()
        }
        Value::Matrix(matrix) => matrix
            .iter()
            .filter_map(|series| {
                let sample = series.samples().find(|sample| sample.time_ms == time_ms)?;
                Some((series.labels.clone(), sample.value))
            })
            .collect(),
        // There are no native histograms in these data.
        Value::String { .. } | Value::MixedVector(_) | Value::MixedMatrix(_) => Vec::new(),
    };
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}
