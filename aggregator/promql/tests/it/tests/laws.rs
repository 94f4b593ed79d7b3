//! Ways to ask for the same thing, which give the same answer for all queries and all data; and
//! sources that keep to nothing, which do no harm.

use std::ops::ControlFlow;

use super::queries::{any_value, at, at_fixed_times, firm_query, is_same, memory, query, vector};
use labstat_model::{Labels, Matcher, Series, SeriesRef, stale_marker};
use labstat_promql::{
    Engine, ErrorKind, Options, QueryError, QueryOptions, Scan, Source, SourceError, Value,
};
use proptest::prelude::*;

/// A time and what each series is at it, sorted.
type Points = Vec<(i64, Vec<(Labels, f64)>)>;

fn instant(source: &dyn Source, query: &str, time_ms: i64) -> Result<Value, QueryError> {
    let engine = Engine::new(Options { threads: 2, ..Options::default() });
    Ok(engine.instant(source, query, time_ms, &QueryOptions::default())?.value)
}

fn range(
    source: &dyn Source,
    query: &str,
    (start_ms, end_ms, step_ms): (i64, i64, i64),
) -> Result<Value, QueryError> {
    let engine = Engine::new(Options { threads: 2, ..Options::default() });
    Ok(engine.range(source, query, start_ms, end_ms, step_ms, &QueryOptions::default())?.value)
}

/// What a query gives at these times, as if `shift_ms` later.
fn points(value: &Value, times: (i64, i64, i64), shift_ms: i64) -> Points {
    let (start_ms, end_ms, step_ms) = times;
    let steps = (0..=(end_ms - start_ms) / step_ms).map(|step| start_ms + step * step_ms);
    steps.map(|time| (time + shift_ms, at(value, time))).collect()
}

fn are_same(a: &Points, b: &Points) -> bool {
    let vectors = |a: &[(Labels, f64)], b: &[(Labels, f64)]| {
        // Which zero of several is the least is nobody's promise.
        let is_equal = |a, b| is_same(a, b) || a == b;
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && is_equal(a.1, b.1))
    };
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && vectors(&a.1, &b.1))
}

/// Two queries that say the same, over a range of times.
fn mean_the_same(source: &dyn Source, one: &str, other: &str) -> Result<(), TestCaseError> {
    let times = (-30_000, 610_000, 40_000);
    match (range(source, one, times), range(source, other, times)) {
        (Ok(a), Ok(b)) => {
            let (a, b) = (points(&a, times, 0), points(&b, times, 0));
            prop_assert!(are_same(&a, &b), "{}\n{:?}\n{}\n{:?}", one, a, other, b);
        }
        // Which of two clashes is found first depends on what is around them.
        (Err(_), Err(_)) => {}
        (a, b) => prop_assert!(false, "{}: {:?}\n{}: {:?}", one, a, other, b),
    }
    Ok(())
}

/// What may be moved in time, in the place of the `#`.
fn movable() -> impl Strategy<Value = String> {
    let range = prop::sample::select(vec![
        "rate",
        "increase",
        "delta",
        "irate",
        "deriv",
        "sum_over_time",
        "avg_over_time",
        "min_over_time",
        "last_over_time",
        "count_over_time",
        "stddev_over_time",
        "changes",
        "resets",
        "present_over_time",
        "mad_over_time",
        "ts_of_max_over_time",
    ]);
    let over =
        prop::sample::select(vec!["a[3m]", "b_total[90s]", "c_bucket[2m]", "{node=\"1\"}[1m]"]);
    prop_oneof![
        1 => Just("a#".to_owned()),
        1 => Just("timestamp({node=~\"0|1\"}#)".to_owned()),
        2 => (range.clone(), over).prop_map(|(f, over)| format!("{f}({over}#)")),
        4 => (range, query()).prop_map(|(f, query)| {
            let query = vector(at_fixed_times(&query));
            format!("{f}(({query})[2m:20s]#)")
        }),
    ]
}

/// Numbers of so few digits that sums of some are exact in any order, and those that are none.
fn exact_value() -> impl Strategy<Value = f64> {
    prop_oneof![
        12 => (-400..400_i32).prop_map(|quarters| f64::from(quarters) / 4.0),
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
        1 => Just(stale_marker()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// To look back is to be asked earlier.
    #[test]
    fn an_offset_moves_the_time(
        memory in memory(any_value()),
        query in movable(),
        shift_ms in -200_000..200_000_i64,
    ) {
        let shifted = query.replace('#', &format!(" offset {}{}ms", if shift_ms < 0 { "-" } else { "" }, shift_ms.abs()));
        let plain = query.replace('#', "");
        let times = (-30_000, 610_000, 40_000);
        let earlier = (times.0 - shift_ms, times.1 - shift_ms, times.2);
        match (range(&memory, &shifted, times), range(&memory, &plain, earlier)) {
            (Ok(a), Ok(b)) => {
                let (a, b) = (points(&a, times, 0), points(&b, earlier, shift_ms));
                prop_assert!(are_same(&a, &b), "{}\n{:?}\n{:?}", shifted, a, b);
            }
            (Err(_), Err(_)) => {}
            (a, b) => prop_assert!(false, "{}: {:?} {:?}", shifted, a, b),
        }
    }

    /// `@` is the value at that time, whenever asked.
    #[test]
    fn a_pinned_query_is_its_value_at_that_time(
        memory in memory(any_value()),
        query in movable(),
        pin_ms in -100_000..600_000_i64,
        offset_ms in 0..100_000_i64,
    ) {
        let pin = format!(" @ {} offset {offset_ms}ms", pin_ms as f64 / 1000.0);
        let pinned = query.replace('#', &pin);
        let wanted = instant(&memory, &query.replace('#', ""), pin_ms - offset_ms);
        let times = (0, 600_000, 150_000);
        match (range(&memory, &pinned, times), wanted) {
            (Ok(found), Ok(wanted)) => {
                let wanted = at(&wanted, pin_ms - offset_ms);
                let wanted = (0..=4).map(|step| (step * 150_000, wanted.clone())).collect();
                let found = points(&found, times, 0);
                prop_assert!(are_same(&found, &wanted), "{}\n{:?}\n{:?}", pinned, found, wanted);
            }
            (Err(_), Err(_)) => {}
            (a, b) => prop_assert!(false, "{}: {:?} {:?}", pinned, a, b),
        }
    }

    /// A subquery is the range query over the multiples of its step.
    #[test]
    fn a_subquery_is_a_range_query(
        memory in memory(any_value()),
        query in query(),
        time_ms in 0..700_000_i64,
        range_ms in 1..300_000_i64,
        step_ms in 5_000..70_000_i64,
    ) {
        let query = vector(at_fixed_times(&query));
        let first = ((time_ms - range_ms).div_euclid(step_ms) + 1) * step_ms;
        let subquery = format!("({query})[{range_ms}ms:{step_ms}ms]");
        let found = instant(&memory, &subquery, time_ms);
        if first > time_ms {
            prop_assert!(!found.is_ok_and(|found| found != Value::Matrix(Vec::new())));
            return Ok(());
        }
        let times = (first, time_ms, step_ms);
        match (range(&memory, &query, times), found) {
            (Ok(wanted), Ok(found)) => {
                let (wanted, found) = (points(&wanted, times, 0), points(&found, times, 0));
                prop_assert!(are_same(&wanted, &found), "{}\n{:?}\n{:?}", subquery, wanted, found);
            }
            (Err(_), Err(_)) => {}
            (a, b) => prop_assert!(false, "{}: {:?} {:?}", subquery, a, b),
        }
    }

    /// Without some labels is by the rest.
    #[test]
    fn without_is_by_the_rest(
        memory in memory(any_value()),
        query in firm_query(),
        aggregate in prop::sample::select(vec![
            "sum(", "avg(", "count(", "min(", "max(", "group(", "stddev(", "stdvar(", "topk(2, ",
            "bottomk(1, ", "quantile(0.3, ", "count_values(\"w\", ", "limitk(2, ",
        ]),
    ) {
        let (op, args) = aggregate.split_once('(').unwrap();
        let query = vector(query);
        let without = format!("{op} without (le) ({args}{query})");
        let by = format!("{op} by (node, v, w) ({args}{query})");
        // Counted values stand in a label that is no part of the grouping.
        let by = by.replace("count_values by (node, v, w)", "count_values by (node, v)");
        mean_the_same(&memory, &without, &by)?;
    }

    /// A whole is made of its parts.
    #[test]
    fn a_whole_is_made_of_its_parts(
        memory in memory(exact_value()),
        query in firm_query(),
        plain in prop::sample::select(vec!["a", "-b_total", "abs(c_bucket)", "{node!=\"1\"} offset 1m", "last_over_time(a[2m])"]),
        label in prop::sample::select(vec!["node", "le", "node, le", "none"]),
    ) {
        mean_the_same(&memory, &format!("sum({plain})"), &format!("sum(sum by ({label}) ({plain}))"))?;
        let by = format!("avg by ({label}) ({plain})");
        mean_the_same(&memory, &by, &format!("sum by ({label}) ({plain}) / count by ({label}) ({plain})"))?;
        let query = vector(query);
        for (whole, part) in [("sum", "count"), ("min", "min"), ("max", "max"), ("group", "group")] {
            let parts = format!("{whole}({part} by ({label}) ({query}))");
            mean_the_same(&memory, &format!("{part}({query})"), &parts)?;
        }
    }

    /// A set and itself.
    #[test]
    fn a_set_with_itself_is_itself(memory in memory(any_value()), query in firm_query()) {
        let query = vector(query);
        mean_the_same(&memory, &query, &format!("({query}) and ({query})"))?;
        mean_the_same(&memory, &query, &format!("({query}) or ({query})"))?;
        mean_the_same(&memory, &format!("({query}) < 0 > 0"), &format!("({query}) unless ({query})"))?;
    }
}

/// A source that keeps to little of what a source is to keep to.
#[derive(Debug, Clone)]
struct Careless {
    series: Vec<Series>,
    part_len: usize,
    /// The part at which reading fails.
    broken: Option<usize>,
    says_sorted: bool,
}

impl Source for Careless {
    /// All samples, whatever was asked for.
    fn select(&self, matchers: &[Matcher], _: i64, _: i64) -> Result<Vec<Series>, SourceError> {
        let found = |series: &&Series| matchers.iter().all(|m| m.matches_labels(&series.labels));
        Ok(self.series.iter().filter(found).cloned().collect())
    }

    fn scan(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Box<dyn Scan + '_>, SourceError> {
        let series = self.select(matchers, start_ms, end_ms)?;
        Ok(Box::new(Self { series, ..self.clone() }))
    }

    fn scan_newest(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Box<dyn Scan + '_>, SourceError> {
        let series = self.newest(matchers, start_ms, end_ms)?;
        Ok(Box::new(Self { series, ..self.clone() }))
    }
}

impl Scan for Careless {
    fn parts(&self) -> usize {
        self.series.len().div_ceil(self.part_len)
    }

    fn is_sorted(&self) -> bool {
        self.says_sorted
    }

    fn read(
        &self,
        part: usize,
        each: &mut dyn FnMut(SeriesRef<'_>) -> ControlFlow<()>,
    ) -> Result<(), SourceError> {
        let series = self.series.chunks(self.part_len).nth(part).unwrap_or(&[]);
        // Some of a part comes before it fails.
        let _: ControlFlow<()> = series.iter().map(Series::as_ref).try_for_each(each);
        match self.broken {
            Some(broken) if broken == part => Err(SourceError("the disk is gone".into())),
            _ => Ok(()),
        }
    }
}

/// Series as nobody should hand them out: times in any order, twice, and aeons away; label sets
/// twice and out of order.
fn careless() -> impl Strategy<Value = Careless> {
    let time = prop_oneof![
        8 => -100_000..700_000_i64,
        1 => -(1_i64 << 60)..1_i64 << 60,
        1 => prop::sample::select(vec![0, 60_000, 300_000]),
    ];
    let name = prop::sample::select(vec!["a", "b_total", "c_bucket"]);
    let le = prop::sample::select(vec!["0.1", "+Inf", "x", ""]);
    let samples = prop::collection::vec((time, any_value()), 0..30);
    let series = (name, 0..2_u8, le, samples).prop_map(|(name, node, le, samples)| {
        let node = node.to_string();
        let mut one = Series::new(Labels::new([("__name__", name), ("node", &node), ("le", le)]));
        (one.times, one.values) = samples.into_iter().unzip();
        one
    });
    let series = prop::collection::vec(series, 0..10);
    (series, 1..4_usize, any::<bool>()).prop_map(|(series, part_len, says_sorted)| Careless {
        series,
        part_len,
        broken: None,
        says_sorted,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// What comes in no order is answered or refused.
    #[test]
    fn a_careless_source_does_no_harm(source in careless(), query in query()) {
        let (asked, times) = (QueryOptions::default(), (0, 600_000, 40_000));
        let _ = instant(&source, &query, 300_000);
        let _ = instant(&source, &format!("({query})[3m:30s]"), 300_000);
        let _ = instant(&source, "{node=~\"0|1\"}[5m]", 300_000);
        let _ = range(&source, &query, times);
        let _ = Engine::default().samples(&source, &query, times, &asked);
    }

    /// Samples that nobody asked for are not looked at, and in which parts series come, and in
    /// which order, makes no difference.
    #[test]
    fn what_was_not_asked_for_makes_no_difference(
        memory in memory(exact_value()),
        query in firm_query(),
        part_len in 1..4_usize,
        time_ms in 0..600_000_i64,
    ) {
        let mut series = memory.0.clone();
        series.reverse();
        for one in &mut series {
            one.times.insert(0, i64::MIN);
            one.values.insert(0, 1.0);
            one.push(i64::MAX, 2.0);
        }
        let all = Careless { series, part_len, broken: None, says_sorted: false };
        let query = vector(query);
        for query in [query.as_str(), "a", "{node=\"1\"}[2m]", "rate(b_total[2m] offset 1m)"] {
            match (instant(&memory, query, time_ms), instant(&all, query, time_ms)) {
                (Ok(wanted), Ok(found)) => {
                    let (wanted, found) = (at(&wanted, time_ms), at(&found, time_ms));
                    let (wanted, found) = (vec![(time_ms, wanted)], vec![(time_ms, found)]);
                    prop_assert!(are_same(&wanted, &found), "{}: {:?} {:?}", query, wanted, found);
                }
                (Err(_), Err(_)) => {}
                (a, b) => prop_assert!(false, "{}: {:?} {:?}", query, a, b),
            }
            let times = (0, 600_000, 40_000);
            match (range(&memory, query, times), range(&all, query, times)) {
                (Ok(wanted), Ok(found)) => {
                    let (wanted, found) = (points(&wanted, times, 0), points(&found, times, 0));
                    prop_assert!(are_same(&wanted, &found), "{}: {:?} {:?}", query, wanted, found);
                }
                (Err(_), Err(_)) => {}
                (a, b) => prop_assert!(false, "{}: {:?} {:?}", query, a, b),
            }
        }
    }
}

/// A source that fails somewhere fails the query: a part of the answer is no answer.
#[test]
fn a_source_that_breaks_on_the_way_is_an_error() {
    let series = |at: i64| {
        let id = format!("{at:02}");
        let mut series = Series::new(Labels::new([("__name__", "a"), ("id", &id), ("le", "1")]));
        (0..60).for_each(|tick| series.push(tick * 10_000, (tick * at) as f64));
        series
    };
    let whole = Careless {
        series: (0..12).map(series).collect(),
        part_len: 2,
        broken: None,
        says_sorted: true,
    };
    for query in [
        "a",
        "a[1m]",
        "sum(a)",
        "rate(a[1m])",
        "topk(2, a)",
        "quantile(0.5, a)",
        "a + a",
        "count_values(\"v\", a)",
        "a or a",
        "absent(a)",
        "absent_over_time(a[1m])",
        "-a",
        "sort(a)",
        "histogram_quantile(0.9, a)",
        "max_over_time(a[5m:1m])",
        "sum(a) / count(a)",
        "label_replace(a, \"x\", \"$1\", \"id\", \"(.*)\")",
        "a and on (id) a",
        "scalar(a)",
        "limit_ratio(0.5, a)",
        "stddev by (id) (a)",
        "timestamp(a)",
        "info(a)",
        "limitk(1, a)",
        "sum(rate(a[1m])) + sum(rate(a[2m]))",
        "{id=\"03\"} * on () group_left a{id=\"11\"}",
    ] {
        assert!(instant(&whole, query, 300_000).is_ok(), "{query}");
        for (part, says_sorted) in [(0, true), (0, false), (5, true), (5, false)] {
            let broken = Careless { broken: Some(part), says_sorted, ..whole.clone() };
            let found = [
                instant(&broken, query, 300_000),
                range(&broken, query, (300_000, 600_000, 15_000)),
            ];
            let single = query.starts_with('{') && part > 0;
            for found in found.into_iter().filter(|_| !query.ends_with(']') && !single) {
                let error = found.expect_err(query);
                assert_eq!(error.kind(), ErrorKind::Internal, "{query}");
            }
        }
    }
}
