//! Quantiles and fractions of histograms: classic ones, which are one series per bucket, told apart
//! by `le`, and native ones.

use std::collections::HashMap;

use labstat_model::Labels;

use super::gofloat;
use crate::QueryError;
use crate::column::{Column, Columns, Steps};
use crate::eval::Evaluator;
use crate::expr::{Call, Expr, Node};
use crate::histogram::NanEffect;
use crate::order;

const BUCKET_LABEL: &str = "le";

/// What it takes to find the histogram of a bucket, in numbers looked at.
const GATHERING: usize = 64;

/// Differences between buckets below this part of their sum are errors of rounding, not of the
/// data.
const SMALL_DELTA: f64 = 1e-12;

/// A bucket at one step: its upper bound and how many observations were not above it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bucket {
    le: f64,
    count: f64,
}

/// The buckets of one histogram: their bounds and columns.
struct Histogram<'a> {
    /// All labels but that of the bucket.
    key: Labels,
    labels: Labels,
    name: String,
    buckets: Vec<(f64, &'a Column)>,
    /// The steps at which there is a native histogram of the same labels.
    blocked: Vec<usize>,
}

/// What is known of a histogram at one step.
enum Observed<'a> {
    /// At least one.
    Buckets(&'a mut Vec<Bucket>),
    Native(&'a labstat_model::Histogram),
}

impl Histogram<'_> {
    /// The buckets that have a value at a step, in place of what is in `buckets`; false when there
    /// are none.
    fn at(&self, step: usize, buckets: &mut Vec<Bucket>) -> bool {
        buckets.clear();
        // Steps are blocked in their order.
        if self.blocked.binary_search(&step).is_err() {
            let bucket = |(le, column): &(f64, &Column)| {
                column.get(step).map(|count| Bucket { le: *le, count })
            };
            buckets.extend(self.buckets.iter().filter_map(bucket));
        }
        !buckets.is_empty()
    }

    fn is_at(&self, step: usize) -> bool {
        self.buckets.iter().any(|(_, column)| column.get(step).is_some())
    }
}

pub(super) fn quantile(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
) -> Result<Columns, QueryError> {
    let [q, vector] = call.args.as_slice() else { return Ok(Columns::Vector(Vec::new())) };
    let quantiles = evaluator.scalar(q, steps)?;
    evaluator.note_quantiles(quantiles.iter().copied(), q.start);
    let mut fixed = FixedNames::default();
    let result = over_histograms(evaluator, vector, steps, |step, name, observed| {
        let q = quantiles.get(step).copied().unwrap_or(f64::NAN);
        match observed {
            Observed::Buckets(buckets) => fixed.quantile(q, name, buckets),
            Observed::Native(histogram) => native_quantile(evaluator, vector, q, name, histogram),
        }
    })?;
    fixed.remark(evaluator, vector);
    Ok(result)
}

fn native_quantile(
    evaluator: &Evaluator<'_>,
    vector: &Expr,
    q: f64,
    name: &str,
    histogram: &labstat_model::Histogram,
) -> f64 {
    let (value, effect) = crate::histogram::quantile(q, histogram);
    let result = match effect {
        NanEffect::None => return value,
        NanEffect::Result => "NaN",
        NanEffect::Skew => "skewed higher",
    };
    let message = format!(
        "input to histogram_quantile has NaN observations, result is {result} for metric name \
         {name:?}"
    );
    evaluator.inform(&message, vector.start);
    value
}

/// The names of the metrics whose buckets were not monotonic.
#[derive(Default)]
struct FixedNames(Vec<String>);

impl FixedNames {
    fn quantile(&mut self, q: f64, name: &str, buckets: &mut Vec<Bucket>) -> f64 {
        let (value, fixed) = bucket_quantile(q, buckets);
        if fixed && !self.0.iter().any(|known| known == name) {
            self.0.push(name.to_owned());
        }
        value
    }

    fn remark(self, evaluator: &Evaluator<'_>, vector: &Expr) {
        for name in self.0 {
            let message = format!(
                "input to histogram_quantile needed to be fixed for monotonicity (see \
                 https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile) \
                 for metric name {name:?}"
            );
            evaluator.inform(&message, vector.start);
        }
    }
}

/// `histogram_quantiles(v, label, q…)`: as [`quantile`] for each of the quantiles, told apart by
/// the label.
pub(super) fn quantiles(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
) -> Result<Columns, QueryError> {
    let [vector, label, quantiles @ ..] = call.args.as_slice() else {
        return Ok(Columns::Vector(Vec::new()));
    };
    let label = match &label.node {
        Node::Text(label) if !label.is_empty() => label,
        _ => {
            let message = "invalid quantile label name in histogram_quantiles(): ";
            return Err(QueryError::execution(message));
        }
    };
    let columns = evaluator.vector(vector, steps)?;
    let mut histograms = gather(evaluator, vector, &columns)?;
    let natives = natives(evaluator, vector, &columns, &mut histograms)?;
    let mut fixed = FixedNames::default();
    let mut results = Vec::new();
    for arg in quantiles {
        let quantiles = evaluator.scalar(arg, steps)?;
        evaluator.note_quantiles(quantiles.iter().copied(), arg.start);
        for native in &natives {
            evaluator.check_time()?;
            evaluator.check_columns(results.len() + 1, steps)?;
            let mut named = Named::new(&native.labels, label, steps);
            for (step, histogram) in &native.at {
                let q = quantiles.get(*step).copied().unwrap_or(f64::NAN);
                let value = native_quantile(evaluator, vector, q, &native.name, histogram);
                named.set(q, *step, value);
            }
            results.extend(named.columns());
        }
        for histogram in &histograms {
            evaluator.check_time()?;
            evaluator.check_columns(results.len() + 1, steps)?;
            results.extend(named_quantiles(histogram, label, &quantiles, steps, &mut fixed));
        }
    }
    fixed.remark(evaluator, vector);
    evaluator.merge(results).map(Columns::Vector)
}

/// The quantiles of one histogram: a column for each that is asked for at some step.
fn named_quantiles(
    histogram: &Histogram<'_>,
    label: &str,
    quantiles: &[f64],
    steps: Steps,
    fixed: &mut FixedNames,
) -> Vec<Column> {
    let mut named = Named::new(&histogram.labels, label, steps);
    let (mut name, mut buckets) = (histogram.name.as_str(), Vec::new());
    for (step, q) in quantiles.iter().enumerate() {
        if histogram.at(step, &mut buckets) {
            named.set(*q, step, fixed.quantile(*q, name, &mut buckets));
            name = "";
        }
    }
    named.columns().collect()
}

/// Columns told apart by the quantile they show.
struct Named<'n> {
    labels: &'n Labels,
    label: &'n str,
    len: usize,
    columns: Vec<(f64, Column)>,
}

impl<'n> Named<'n> {
    fn new(labels: &'n Labels, label: &'n str, steps: Steps) -> Self {
        Self { labels, label, len: steps.len, columns: Vec::new() }
    }

    fn set(&mut self, q: f64, step: usize, value: f64) {
        let is_known = |(known, _): &(f64, Column)| known.to_bits() == q.to_bits();
        let at = match self.columns.iter().position(is_known) {
            Some(at) => at,
            None => {
                let labels = self.labels.with(self.label, &gofloat::open_metrics(q));
                self.columns.push((q, Column::absent(labels, self.len)));
                self.columns.len() - 1
            }
        };
        if let Some((_, column)) = self.columns.get_mut(at) {
            column.set(step, value);
        }
    }

    fn columns(self) -> impl Iterator<Item = Column> {
        self.columns.into_iter().map(|(_, column)| column)
    }
}

pub(super) fn fraction(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
) -> Result<Columns, QueryError> {
    let [lower, upper, vector] = call.args.as_slice() else {
        return Ok(Columns::Vector(Vec::new()));
    };
    let (lower, upper) = (evaluator.scalar(lower, steps)?, evaluator.scalar(upper, steps)?);
    over_histograms(evaluator, vector, steps, |step, name, observed| {
        let bound = |bounds: &[f64]| bounds.get(step).copied().unwrap_or(f64::NAN);
        let (lower, upper) = (bound(&lower), bound(&upper));
        match observed {
            Observed::Buckets(buckets) => bucket_fraction(lower, upper, buckets),
            Observed::Native(histogram) => {
                let (value, has_nan) = crate::histogram::fraction(lower, upper, histogram);
                if has_nan {
                    let message = format!(
                        "input to histogram_fraction has NaN observations, which are excluded \
                         from all fractions for metric name {name:?}"
                    );
                    evaluator.inform(&message, vector.start);
                }
                value
            }
        }
    })
}

/// Calls `f` for every histogram at every step at which it has buckets.
fn over_histograms(
    evaluator: &Evaluator<'_>,
    vector: &Expr,
    steps: Steps,
    mut f: impl FnMut(usize, &str, Observed<'_>) -> f64,
) -> Result<Columns, QueryError> {
    let columns = evaluator.vector(vector, steps)?;
    let mut histograms = gather(evaluator, vector, &columns)?;
    let mut results = Vec::with_capacity(histograms.len());
    let mut pace = evaluator.budget.pace();
    for native in natives(evaluator, vector, &columns, &mut histograms)? {
        evaluator.check_columns(results.len() + 1, steps)?;
        let mut result = Column::absent(native.labels, steps.len);
        for (step, histogram) in native.at {
            pace.spend(histogram.numbers_len())?;
            result.set(step, f(step, &native.name, Observed::Native(histogram)));
        }
        results.push(result);
    }
    let mut buckets = Vec::new();
    for histogram in &histograms {
        evaluator.check_columns(results.len() + 1, steps)?;
        let mut result = Column::absent(histogram.labels.clone(), steps.len);
        // Prometheus knows the name at the first step only, and so do remarks.
        let mut name = histogram.name.as_str();
        for step in 0..steps.len {
            pace.spend(histogram.buckets.len())?;
            if histogram.at(step, &mut buckets) {
                result.set(step, f(step, name, Observed::Buckets(&mut buckets)));
                name = "";
            }
        }
        results.push(result);
    }
    evaluator.merge(results).map(Columns::Vector)
}

/// A series' native histograms.
struct Native<'a> {
    labels: Labels,
    name: String,
    at: Vec<(usize, &'a labstat_model::Histogram)>,
}

/// The native histograms among `columns`. Where there is a classic one of the same labels, neither
/// counts.
fn natives<'a>(
    evaluator: &Evaluator<'_>,
    vector: &Expr,
    columns: &'a [Column],
    classic: &mut [Histogram<'_>],
) -> Result<Vec<Native<'a>>, QueryError> {
    let mut found = Vec::new();
    if !columns.iter().any(|column| column.has_histograms()) {
        return Ok(found);
    }
    let mut pace = evaluator.budget.pace();
    let mut places: HashMap<Labels, usize> = HashMap::with_capacity(classic.len());
    for (place, histogram) in classic.iter().enumerate() {
        pace.spend(GATHERING)?;
        places.insert(histogram.key.clone(), place);
    }
    for column in columns.iter().filter(|column| column.has_histograms()) {
        pace.spend(GATHERING)?;
        let name = column.labels.metric_name();
        let mut same = places.get(&column.labels).and_then(|place| classic.get_mut(*place));
        let mut at = Vec::new();
        for (step, histogram) in column.histograms() {
            pace.spend(1)?;
            match same.as_mut().filter(|same| same.is_at(step)) {
                Some(same) => {
                    let message = "vector contains a mix of classic and native histograms for \
                                   metric name";
                    evaluator.warn(&format!("{message} {name:?}"), vector.start);
                    same.blocked.push(step);
                }
                None => at.push((step, &**histogram)),
            }
        }
        found.push(Native { labels: column.labels.without_metadata(), name: name.to_owned(), at });
    }
    Ok(found)
}

/// The classic histograms among `columns`, in order of first appearance.
fn gather<'a>(
    evaluator: &Evaluator<'_>,
    vector: &Expr,
    columns: &'a [Column],
) -> Result<Vec<Histogram<'a>>, QueryError> {
    let mut pace = evaluator.budget.pace();
    let mut at: HashMap<Labels, usize> = HashMap::new();
    let mut histograms: Vec<Histogram<'a>> = Vec::new();
    for column in columns.iter().filter(|column| column.has_numbers()) {
        pace.spend(GATHERING)?;
        let name = column.labels.metric_name();
        let le = column.labels.get(BUCKET_LABEL).unwrap_or("");
        let Some(bound) = gofloat::parse(le) else {
            let message = format!(
                "bucket label \"le\" is missing or has a malformed value of {le:?} for metric \
                 name {name:?}"
            );
            evaluator.warn(&message, vector.start);
            continue;
        };
        let key = column.labels.without(|label| label == BUCKET_LABEL);
        let slot = *at.entry(key.clone()).or_insert(histograms.len());
        if slot == histograms.len() {
            let (labels, name) = (key.without_metadata(), name.to_owned());
            histograms.push(Histogram {
                key: key.clone(),
                labels,
                name,
                buckets: Vec::new(),
                blocked: Vec::new(),
            });
        }
        if let Some(histogram) = histograms.get_mut(slot) {
            histogram.buckets.push((bound, column));
        }
    }
    for histogram in &mut histograms {
        pace.spend(histogram.buckets.len())?;
        let buckets = std::mem::take(&mut histogram.buckets);
        histogram.buckets = order::sorted(buckets, &evaluator.budget, |a, b| a.0.total_cmp(&b.0))?;
    }
    Ok(histograms)
}

/// Makes one bucket of those with equal bounds; the buckets are sorted by bound.
fn coalesce(buckets: &mut Vec<Bucket>) {
    buckets.dedup_by(|bucket, last| {
        let same = last.le == bucket.le;
        if same {
            last.count += bucket.count;
        }
        same
    });
}

/// Lets no bucket count less than the one below it. True when that took more than rounding.
fn make_monotonic(buckets: &mut [Bucket]) -> bool {
    let mut fixed = false;
    let Some(first) = buckets.first() else { return false };
    let mut before = first.count;
    for bucket in buckets.iter_mut().skip(1) {
        if bucket.count == before {
            continue;
        }
        if almost_equal(before, bucket.count) {
            bucket.count = before;
        } else if bucket.count < before {
            bucket.count = before;
            fixed = true;
        } else {
            before = bucket.count;
        }
    }
    fixed
}

fn almost_equal(a: f64, b: f64) -> bool {
    if a.is_nan() && b.is_nan() || a == b {
        return true;
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < SMALL_DELTA * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < SMALL_DELTA
}

/// The value below which a part `q` of the observations lies, and whether buckets were fixed.
fn bucket_quantile(q: f64, buckets: &mut Vec<Bucket>) -> (f64, bool) {
    if q.is_nan() {
        return (f64::NAN, false);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, false);
    }
    if q > 1.0 {
        return (f64::INFINITY, false);
    }
    if buckets.last().is_none_or(|last| last.le != f64::INFINITY) {
        return (f64::NAN, false);
    }
    coalesce(buckets);
    let fixed = make_monotonic(buckets);
    (monotonic_quantile(q, buckets), fixed)
}

fn monotonic_quantile(q: f64, buckets: &[Bucket]) -> f64 {
    let [.., highest_finite, last] = buckets else { return f64::NAN };
    let observations = last.count;
    if observations == 0.0 {
        return f64::NAN;
    }
    let mut rank = q * observations;
    let below_last = buckets.split_last().map_or(&[][..], |(_, rest)| rest);
    let at = first_not_below(below_last, rank);
    let Some(bucket) = below_last.get(at) else { return highest_finite.le };
    if at == 0 && bucket.le <= 0.0 {
        return bucket.le;
    }
    let (mut start, mut count) = (0.0, bucket.count);
    if let Some(lower) = at.checked_sub(1).and_then(|at| below_last.get(at)) {
        start = lower.le;
        count -= lower.count;
        rank -= lower.count;
    }
    start + (bucket.le - start) * (rank / count)
}

/// Where the first bucket is that counts at least `rank`, by halves. What is not a number is in no
/// order, so which halves are looked at decides; they are Prometheus'.
fn first_not_below(buckets: &[Bucket], rank: f64) -> usize {
    let (mut from, mut to) = (0, buckets.len());
    while from < to {
        let middle = from.midpoint(to);
        match buckets.get(middle) {
            Some(bucket) if bucket.count >= rank => to = middle,
            _ => from = middle + 1,
        }
    }
    from
}

/// Which part of the observations lies between the bounds.
fn bucket_fraction(lower: f64, upper: f64, buckets: &mut Vec<Bucket>) -> f64 {
    if buckets.last().is_none_or(|last| last.le != f64::INFINITY) {
        return f64::NAN;
    }
    coalesce(buckets);
    let count = buckets.last().map_or(0.0, |last| last.count);
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let (low, high) = (rank_of(lower, buckets, count), rank_of(upper, buckets, count));
    (high - low) / count
}

/// How many observations are not above `value`, interpolated within its bucket.
fn rank_of(value: f64, buckets: &[Bucket], count: f64) -> f64 {
    let mut rank = 0.0;
    let mut low = match buckets.first() {
        // As in quantiles, the lowest bucket of positive values begins at zero.
        Some(first) if first.le > 0.0 => 0.0,
        _ => f64::NEG_INFINITY,
    };
    for bucket in buckets {
        if low >= value {
            break;
        }
        if bucket.le > value {
            rank += (bucket.count - rank) * (value - low) / (bucket.le - low);
            break;
        }
        rank = bucket.count;
        low = bucket.le;
    }
    if rank > count { count } else { rank }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(pairs: &[(f64, f64)]) -> Vec<Bucket> {
        pairs.iter().map(|(le, count)| Bucket { le: *le, count: *count }).collect()
    }

    #[test]
    fn quantiles_interpolate_in_their_bucket() {
        let of = |q| {
            bucket_quantile(q, &mut buckets(&[(1.0, 10.0), (2.0, 30.0), (f64::INFINITY, 40.0)]))
        };
        assert_eq!(of(0.5), (1.5, false));
        assert_eq!(of(0.125), (0.5, false));
        assert_eq!(of(1.0), (2.0, false));
        assert_eq!(of(-1.0).0, f64::NEG_INFINITY);
    }

    #[test]
    fn no_infinite_bucket_no_answer() {
        assert!(bucket_quantile(0.5, &mut buckets(&[(1.0, 10.0), (2.0, 30.0)])).0.is_nan());
        assert!(bucket_quantile(0.5, &mut buckets(&[(f64::INFINITY, 30.0)])).0.is_nan());
    }

    #[test]
    fn counts_that_are_no_numbers_put_the_quantile_into_the_highest_bucket() {
        let nan = f64::NAN;
        let mut input = buckets(&[(-2.0, 0.0), (0.0, nan), (2.0, nan), (f64::INFINITY, nan)]);
        assert_eq!(bucket_quantile(0.9, &mut input).0, 2.0);
    }

    #[test]
    fn decreasing_buckets_are_fixed_and_said_to_be() {
        let mut input = buckets(&[(1.0, 10.0), (2.0, 5.0), (f64::INFINITY, 20.0)]);
        assert_eq!(bucket_quantile(0.25, &mut input), (0.5, true));
    }
}
