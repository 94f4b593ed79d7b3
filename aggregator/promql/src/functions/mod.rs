//! The functions of PromQL: one table, a file per family.
//!
//! To add a function, write it in the file of its family and give it its line here.

mod calendar;
mod distribution;
pub(crate) mod edges;
mod gofloat;
mod histogram;
mod info;
mod labels;
mod math;
pub(crate) mod native;
mod over_time;
mod rate;
mod shape;

use labstat_model::BucketColumns;

use crate::column::{Columns, Steps};
use crate::eval::{BucketWindow, Evaluator, SeriesFn, WindowFn};
use crate::expr::Call;
use crate::{QueryError, ValueType, elementary};

/// One function.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Function {
    pub(crate) name: &'static str,
    /// The types of its arguments.
    pub(crate) args: &'static [ValueType],
    /// How many of the last argument there may be.
    pub(crate) last: Last,
    pub(crate) returns: ValueType,
    /// Whether the result depends on the time of the step even where its arguments do not.
    pub(crate) at_step: bool,
    pub(crate) run: Run,
    /// How a function over a range is computed of buckets; `None` when it needs the samples.
    pub(crate) buckets: Option<OfBuckets>,
}

/// How a function over a range is computed of buckets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OfBuckets {
    /// What it needs of them. [`Count`](labstat_model::BucketColumn::Count) must be among it: it tells buckets that hold
    /// no sample.
    pub(crate) columns: BucketColumns,
    pub(crate) run: fn(&BucketWindow) -> Option<f64>,
}

/// How often the last argument of a function may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Last {
    Once,
    Optional,
    AnyTimes,
    /// At least once and at most this often.
    UpTo(usize),
}

/// How a function is computed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Run {
    /// Each value by itself. The metric name goes.
    Value(fn(f64) -> f64),
    /// Each value by itself, with the scalar arguments at that step; `None` drops it. The metric
    /// name goes.
    ValueWith(fn(f64, &[f64]) -> Option<f64>),
    /// The samples in a range, with the scalar arguments at that step. The metric name goes.
    Window(WindowFn),
    /// As `Window`, and the metric name stays.
    WindowNamed(WindowFn),
    /// The windows of each series in turn: for folds that go from one window to the next, and for
    /// what is worth a loop compiled for it. The metric name goes.
    Series(SeriesFn),
    /// As `Series`, with a remark where the name is not that of a counter.
    Counter(SeriesFn),
    /// Anything else: gets its arguments unevaluated.
    Whole(Whole),
}

/// A function that is more than one value from one value.
type Whole = fn(&Evaluator<'_>, &Call, Steps) -> Result<Columns, QueryError>;

impl Function {
    /// The least and the largest number of arguments.
    pub(crate) fn args_len(&self) -> (usize, Option<usize>) {
        let len = self.args.len();
        match self.last {
            Last::Once => (len, Some(len)),
            Last::Optional => (len.saturating_sub(1), Some(len)),
            Last::AnyTimes => (len.saturating_sub(1), None),
            Last::UpTo(times) => (len, Some(len.saturating_sub(1).saturating_add(times))),
        }
    }
}

/// Quantiles that one call of `histogram_quantiles` takes, as in Prometheus.
const QUANTILES_MAX: usize = 10;

/// The function of this name.
pub(crate) fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

const S: ValueType = ValueType::Scalar;
const T: ValueType = ValueType::String;
const V: ValueType = ValueType::Vector;
const M: ValueType = ValueType::Matrix;

const fn vector(name: &'static str, args: &'static [ValueType], run: Run) -> Function {
    Function { name, args, last: Last::Once, returns: V, at_step: false, run, buckets: None }
}

const fn value(name: &'static str, run: fn(f64) -> f64) -> Function {
    vector(name, &[V], Run::Value(run))
}

const fn window(name: &'static str, run: WindowFn) -> Function {
    vector(name, &[M], Run::Window(run))
}

const fn named(name: &'static str, run: WindowFn) -> Function {
    vector(name, &[M], Run::WindowNamed(run))
}

const fn series(name: &'static str, run: SeriesFn) -> Function {
    vector(name, &[M], Run::Series(run))
}

const fn counter(name: &'static str, run: SeriesFn) -> Function {
    vector(name, &[M], Run::Counter(run))
}

/// A part of the calendar of each value, or of the time of the step.
const fn date(name: &'static str, run: Whole) -> Function {
    Function {
        name,
        args: &[V],
        last: Last::Optional,
        returns: V,
        at_step: true,
        run: Run::Whole(run),
        buckets: None,
    }
}

/// What is known of the query itself: the same at every step.
const fn of_query(name: &'static str, run: Whole) -> Function {
    Function { returns: S, ..whole(name, &[], run) }
}

const fn whole(name: &'static str, args: &'static [ValueType], run: Whole) -> Function {
    vector(name, args, Run::Whole(run))
}

/// A function that can be computed of buckets too.
const fn bucketed(buckets: OfBuckets, function: Function) -> Function {
    Function { buckets: Some(buckets), ..function }
}

static FUNCTIONS: &[Function] = &[
    value("abs", f64::abs),
    whole("absent", &[V], shape::absent),
    bucketed(over_time::PRESENT, whole("absent_over_time", &[M], shape::absent_over_time)),
    value("acos", f64::acos),
    value("acosh", math::acosh),
    value("asin", f64::asin),
    value("asinh", math::asinh),
    value("atan", f64::atan),
    value("atanh", f64::atanh),
    bucketed(over_time::AVG, series("avg_over_time", over_time::avg_folded)),
    value("ceil", f64::ceil),
    series("changes", over_time::changes_folded),
    vector("clamp", &[V, S, S], Run::ValueWith(math::clamp)),
    vector("clamp_max", &[V, S], Run::ValueWith(math::clamp_max)),
    vector("clamp_min", &[V, S], Run::ValueWith(math::clamp_min)),
    value("cos", f64::cos),
    value("cosh", f64::cosh),
    bucketed(over_time::COUNT, window("count_over_time", over_time::count)),
    date("day_of_month", calendar::day_of_month),
    date("day_of_week", calendar::day_of_week),
    date("day_of_year", calendar::day_of_year),
    date("days_in_month", calendar::days_in_month),
    value("deg", math::deg),
    bucketed(rate::DELTA, series("delta", rate::delta)),
    window("deriv", rate::deriv),
    whole("double_exponential_smoothing", &[M, S, S], over_time::double_exponential_smoothing),
    of_query("end", calendar::end),
    value("exp", elementary::exp),
    bucketed(over_time::FIRST, named("first_over_time", over_time::first)),
    value("floor", f64::floor),
    whole("histogram_avg", &[V], distribution::avg),
    whole("histogram_count", &[V], distribution::count),
    whole("histogram_fraction", &[S, S, V], histogram::fraction),
    whole("histogram_quantile", &[S, V], histogram::quantile),
    Function {
        last: Last::UpTo(QUANTILES_MAX),
        ..whole("histogram_quantiles", &[V, T, S], histogram::quantiles)
    },
    whole("histogram_stddev", &[V], distribution::stddev),
    whole("histogram_stdvar", &[V], distribution::stdvar),
    whole("histogram_sum", &[V], distribution::sum),
    date("hour", calendar::hour),
    window("idelta", rate::idelta),
    bucketed(rate::INCREASE, counter("increase", rate::increase)),
    Function { last: Last::Optional, ..whole("info", &[V, V], info::info) },
    window("irate", rate::irate),
    Function { last: Last::AnyTimes, ..whole("label_join", &[V, T, T, T], labels::join) },
    whole("label_replace", &[V, T, T, T, T], labels::replace),
    bucketed(over_time::LAST, named("last_over_time", over_time::last)),
    value("ln", elementary::ln),
    value("log10", elementary::log10),
    value("log2", elementary::log2),
    window("mad_over_time", over_time::mad),
    Function { returns: S, ..whole("max_of", &[S, S], math::max_of) },
    bucketed(over_time::MAX, series("max_over_time", over_time::max_folded)),
    Function { returns: S, ..whole("min_of", &[S, S], math::min_of) },
    bucketed(over_time::MIN, series("min_over_time", over_time::min_folded)),
    date("minute", calendar::minute),
    date("month", calendar::month),
    Function { returns: S, ..whole("pi", &[], math::pi) },
    Function {
        at_step: true,
        ..vector("predict_linear", &[M, S], Run::Window(rate::predict_linear))
    },
    bucketed(over_time::PRESENT, window("present_over_time", over_time::present)),
    whole("quantile_over_time", &[S, M], over_time::quantile_noted),
    value("rad", math::rad),
    of_query("range", calendar::range),
    bucketed(rate::RATE, counter("rate", rate::rate)),
    window("resets", over_time::resets),
    Function { last: Last::Optional, ..vector("round", &[V, S], Run::ValueWith(math::round)) },
    Function { returns: S, ..whole("scalar", &[V], shape::scalar) },
    value("sgn", math::sgn),
    value("sin", f64::sin),
    value("sinh", f64::sinh),
    whole("sort", &[V], shape::sort),
    Function { last: Last::AnyTimes, ..whole("sort_by_label", &[V, T], shape::sort_by_label) },
    Function {
        last: Last::AnyTimes,
        ..whole("sort_by_label_desc", &[V, T], shape::sort_by_label_desc)
    },
    whole("sort_desc", &[V], shape::sort_desc),
    value("sqrt", f64::sqrt),
    of_query("start", calendar::start),
    window("stddev_over_time", over_time::stddev),
    window("stdvar_over_time", over_time::stdvar),
    of_query("step", calendar::step),
    bucketed(over_time::SUM, series("sum_over_time", over_time::sum_folded)),
    value("tan", f64::tan),
    value("tanh", f64::tanh),
    Function { returns: S, at_step: true, ..whole("time", &[], calendar::time) },
    Function { at_step: true, ..whole("timestamp", &[V], calendar::timestamp) },
    bucketed(over_time::TS_OF_FIRST, window("ts_of_first_over_time", over_time::ts_of_first)),
    bucketed(over_time::TS_OF_LAST, window("ts_of_last_over_time", over_time::ts_of_last)),
    window("ts_of_max_over_time", over_time::ts_of_max),
    window("ts_of_min_over_time", over_time::ts_of_min),
    whole("vector", &[S], shape::vector),
    date("year", calendar::year),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_has_each_name_once() {
        let names: Vec<_> = FUNCTIONS.iter().map(|function| function.name).collect();
        assert!(names.is_sorted(), "{names:?}");
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn every_function_is_in_the_manual() {
        let manual = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/promql.md");
        let manual = std::fs::read_to_string(manual).unwrap();
        let names = FUNCTIONS.iter().map(|function| function.name);
        let missing: Vec<_> = names.filter(|name| !manual.contains(&format!("`{name}`"))).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    /// Every function has a script with results that were worked out by hand.
    #[test]
    fn every_function_is_in_a_script() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts");
        let scripts: String = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
            .collect();
        let called = |name: &str| {
            let call = format!("{name}(");
            scripts
                .match_indices(&call)
                .any(|(at, _)| !scripts[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
        };
        let names = FUNCTIONS.iter().map(|function| function.name);
        let missing: Vec<_> = names.filter(|name| !called(name)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
