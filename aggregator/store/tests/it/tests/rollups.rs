//! Buckets say what the samples said, also when those are gone.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use super::common::{break_structure, labels, open_with, write};
use labstat_model::{
    BUCKET_WIDTHS_MS, BucketColumn, BucketColumns, Buckets, Labels, ManualClock, Matcher, Rolled,
    Series, bucket_range, stale_marker,
};
use labstat_store::{Keep, NEVER, Options, ReadError, Store};
use proptest::prelude::*;

const DAY_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;
/// A midnight, in the middle of the days of larger blobs.
const START_MS: i64 = 19_003 * DAY_MS;

const RETENTION_DAYS: i64 = 20;
const ROLLUPS_DAYS: [i64; 2] = [30, 90];

fn options(clock: Arc<ManualClock>) -> Options {
    Options {
        retention_ms: Some(RETENTION_DAYS * DAY_MS),
        rollups_ms: ROLLUPS_DAYS.map(|days| Some(days * DAY_MS)),
        keep: vec![
            Keep { matchers: vec![Matcher::equal("__name__", "kept")], keep_ms: None },
            Keep {
                matchers: vec![Matcher::equal("__name__", "longer")],
                keep_ms: Some(40 * DAY_MS),
            },
        ],
        seal_after_ms: HOUR_MS,
        // Several parts of several series, and some of these in halves.
        read_part_samples: 2_000,
        ..Options::new(clock)
    }
}

/// A store, and all that it ever took.
struct Lab {
    dir: tempfile::TempDir,
    clock: Arc<ManualClock>,
    store: Option<Store>,
    model: BTreeMap<Labels, BTreeMap<i64, f64>>,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(START_MS));
        let store = Some(open_with(dir.path(), options(clock.clone())));
        Self { dir, clock, store, model: BTreeMap::new() }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn now_ms(&self) -> i64 {
        use labstat_model::Clock;
        self.clock.now_ms()
    }

    fn reopen(&mut self) {
        self.store = None;
        self.store = Some(open_with(Path::new(self.dir.path()), options(self.clock.clone())));
    }

    fn append(&mut self, name: &str, samples: &[(i64, f64)]) {
        let labels = labels(name, "x");
        let oldest_ms = self.now_ms() - RETENTION_DAYS * DAY_MS;
        self.store().append(&write([(labels.clone(), samples.to_vec())])).unwrap();
        let column = self.model.entry(labels).or_default();
        for (time_ms, value) in samples.iter().filter(|(time_ms, _)| *time_ms >= oldest_ms) {
            column.entry(*time_ms).or_insert(*value);
        }
    }

    /// Lets time go by; somebody always sends something.
    fn advance(&mut self, ms: i64) {
        self.clock.advance_ms(ms);
        self.append("up", &[(self.now_ms(), 1.0)]);
    }

    fn maintain(&self) {
        self.store().maintain(self.now_ms()).unwrap();
    }

    fn series(&self, labels: &Labels, range: (i64, i64)) -> Series {
        let mut series = Series::new(labels.clone());
        let column = self.model.get(labels).unwrap();
        column.range(range.0..=range.1).for_each(|(time_ms, value)| series.push(*time_ms, *value));
        series
    }

    /// Everything that is still to be there is there, and says what it always said.
    fn check(&self, start_ms: i64, end_ms: i64, columns: BucketColumns) {
        let tiers = self.store().tiers();
        for (width_ms, from_ms) in &tiers.buckets {
            let (first_ms, last_ms) = bucket_range(start_ms, end_ms, *width_ms);
            let first_ms = first_ms.max(*from_ms);
            if first_ms > last_ms {
                continue;
            }
            let found = self.store().buckets(&[], first_ms, end_ms, *width_ms, columns).unwrap();
            let mut found: BTreeMap<Labels, Rolled> =
                found.into_iter().map(|rolled| (rolled.labels().clone(), rolled)).collect();
            for labels in self.model.keys() {
                let wanted = Buckets::roll_up(&self.series(labels, (first_ms, last_ms)), *width_ms);
                let what = format!("{labels:?} {width_ms} {first_ms}..{last_ms} {tiers:?}");
                match found.remove(labels) {
                    Some(Rolled::Buckets(found)) => same(&found, &wanted, columns, &what),
                    Some(Rolled::Samples(found)) => {
                        same(&Buckets::roll_up(&found, *width_ms), &wanted, columns, &what);
                    }
                    None => first_difference(&[], &wanted.ends_ms, &what),
                }
            }
            assert!(found.is_empty(), "{found:?}");
        }
        self.check_samples(&tiers);
    }

    fn check_samples(&self, tiers: &labstat_model::Tiers) {
        let found = self.store().select(&[], i64::MIN, i64::MAX).unwrap();
        let found: BTreeMap<&Labels, &Series> =
            found.iter().map(|series| (&series.labels, series)).collect();
        let newest_ms = self.model.values().filter_map(|column| column.keys().max()).max();
        for labels in self.model.keys() {
            let from_ms = match labels.metric_name() {
                "kept" => i64::MIN,
                // What is exactly as old may be gone.
                "longer" => newest_ms.unwrap() - 40 * DAY_MS + 1,
                _ => tiers.samples_from_ms,
            };
            let mut wanted = self.series(labels, (from_ms, i64::MAX));
            let times = found.get(labels).map(|series| {
                let from = series.times.partition_point(|time_ms| *time_ms < from_ms);
                series.times[from..].to_vec()
            });
            let wanted = std::mem::take(&mut wanted.times);
            first_difference(&times.unwrap_or_default(), &wanted, &format!("{labels:?}"));
        }
    }
}

fn same(found: &Buckets, wanted: &Buckets, columns: BucketColumns, what: &str) {
    first_difference(&found.ends_ms, &wanted.ends_ms, what);
    for column in columns.iter() {
        let bits = |buckets: &Buckets| -> Vec<u64> {
            let canonical = |value: &f64| if value.is_nan() { f64::NAN } else { *value };
            buckets.column(column).iter().map(|value| canonical(value).to_bits()).collect()
        };
        first_difference(&bits(found), &bits(wanted), &format!("{what} {column:?}"));
    }
}

fn first_difference<T: PartialEq + std::fmt::Debug>(found: &[T], wanted: &[T], what: &str) {
    let differs = (0..found.len().max(wanted.len())).find(|at| found.get(*at) != wanted.get(*at));
    let Some(at) = differs else { return };
    let lens = (found.len(), wanted.len());
    assert_eq!(found.get(at), wanted.get(at), "{what}: at {at} of {lens:?}");
}

#[derive(Debug, Clone)]
enum Step {
    /// Series, hours back, seconds between samples, how many, and what.
    Append(usize, i64, i64, i64, usize),
    Advance(i64),
    Maintain,
    Compact,
    Reopen,
    Check(i64, i64, u16),
}

const NAMES: [&str; 5] = ["a", "b", "c", "kept", "longer"];

fn value(what: usize, at: i64) -> f64 {
    match what {
        0 => 5.0,
        // A counter that begins anew.
        1 => ((at * 7) % 301) as f64,
        2 => (at as f64).sqrt() - 11.0,
        3 if at % 40 == 39 => stale_marker(),
        4 if at % 11 == 3 => f64::NAN,
        5 => -0.0,
        _ => (at % 17) as f64 / 10.0,
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let second = prop::sample::select(vec![11, 15, 60, 299, 1800]);
    let step = prop_oneof![
        8 => (0..NAMES.len(), 0..19 * 24_i64, second, 1..400_i64, 0..6_usize)
            .prop_map(|(series, back, step, len, what)| Step::Append(series, back, step, len, what)),
        5 => prop::sample::select(vec![1, 5, 24, 24 * 3, 24 * 9]).prop_map(Step::Advance),
        6 => Just(Step::Maintain),
        2 => Just(Step::Compact),
        1 => Just(Step::Reopen),
        3 => (0..60 * 24_i64, 1..60 * 24_i64, 1..0x200_u16)
            .prop_map(|(back, len, columns)| Step::Check(back, len, columns)),
    ];
    prop::collection::vec(step, 1..50)
}

fn columns(bits: u16) -> BucketColumns {
    let chosen = BucketColumn::ALL.into_iter().filter(|column| bits & (1 << *column as u16) != 0);
    BucketColumns::of(&chosen.collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn buckets_equal_those_of_all_samples_there_ever_were(steps in steps()) {
        let mut lab = Lab::new();
        lab.advance(0);
        for step in steps {
            match step {
                Step::Append(series, back, step, len, what) => {
                    let from_ms = lab.now_ms() - back * HOUR_MS;
                    let last = len.min(back * 3_600 / step);
                    let samples: Vec<(i64, f64)> = (0..=last)
                        .map(|at| (from_ms + at * step * 1_000, value(what, at)))
                        .collect();
                    lab.append(NAMES[series], &samples);
                }
                Step::Advance(hours) => lab.advance(hours * HOUR_MS),
                Step::Maintain => {
                    lab.maintain();
                    lab.advance(2 * HOUR_MS);
                    lab.maintain();
                }
                Step::Compact => drop(lab.store().compact().map_err(|error| panic!("{error}"))),
                Step::Reopen => lab.reopen(),
                Step::Check(back, len, bits) => {
                    let from_ms = lab.now_ms() - back * HOUR_MS;
                    lab.check(from_ms, from_ms + len * HOUR_MS, columns(bits));
                }
            }
        }
        lab.check(START_MS - 30 * DAY_MS, lab.now_ms(), BucketColumns::ALL);
        lab.store().compact().unwrap();
        lab.check(START_MS - 30 * DAY_MS, lab.now_ms(), BucketColumns::ALL);
        lab.reopen();
        lab.check(START_MS - 30 * DAY_MS, lab.now_ms(), BucketColumns::ALL);
    }
}

/// A year of a lab in fast motion: samples run out, roll-ups are joined and run out.
#[test]
fn roll_ups_outlive_samples_and_policies_outlive_both() {
    let mut lab = Lab::new();
    for day in 0..130_i64 {
        let from_ms = START_MS + day * DAY_MS;
        for (name, step) in [("a", 60), ("b", 15), ("kept", 300), ("longer", 300)] {
            let samples: Vec<(i64, f64)> = (1..=7_200 / step)
                .map(|at| (from_ms + 5 * HOUR_MS + at * step * 1_000, (day * 10 + at % 7) as f64))
                .collect();
            lab.clock.set_ms(from_ms + 8 * HOUR_MS);
            lab.append(name, &samples);
        }
        lab.advance(8 * HOUR_MS);
        lab.maintain();
        lab.advance(4 * HOUR_MS);
        lab.maintain();
        if day % 13 == 5 {
            lab.check(START_MS, lab.now_ms(), BucketColumns::ALL);
        }
        if day % 29 == 7 {
            lab.reopen();
        }
    }
    let tiers = lab.store().tiers();
    let age_days = |from_ms: i64| (lab.now_ms() - from_ms) / DAY_MS;
    assert_eq!(age_days(tiers.samples_from_ms), RETENTION_DAYS);
    assert_eq!(tiers.buckets.iter().map(|(ms, _)| *ms).collect::<Vec<_>>(), BUCKET_WIDTHS_MS);
    let ages: Vec<i64> = tiers.buckets.iter().map(|(_, from_ms)| age_days(*from_ms)).collect();
    assert_eq!(ages, ROLLUPS_DAYS);
    // Nothing is left to do, however often it is asked.
    lab.store().compact().unwrap();
    let done = lab.store().compact().unwrap();
    let left = (done.merged_blobs, done.rolled_days, done.dropped_blobs, done.dropped_series);
    assert_eq!(left, (0, 0, 0, 0));
    lab.check(START_MS, lab.now_ms(), BucketColumns::ALL);
    // Two years later, of the series that nobody sends any more only the policies' are left.
    for days in [240, 240, 240, 1, 1] {
        lab.advance(days * DAY_MS);
        lab.store().compact().unwrap();
    }
    let all = lab.store().series(&[], i64::MIN, i64::MAX, NEVER).unwrap();
    let names: Vec<&str> = all.iter().map(Labels::metric_name).collect();
    assert_eq!(names, ["kept", "up"]);
    lab.check(START_MS, lab.now_ms(), BucketColumns::ALL);
}

const ALL_TIMES: (i64, i64) = (i64::MIN, i64::MAX);

fn times_of(store: &Store, name: &str) -> Vec<i64> {
    let (start_ms, end_ms) = ALL_TIMES;
    let found = store.select(&[Matcher::equal("__name__", name)], start_ms, end_ms).unwrap();
    found.into_iter().flat_map(|series| series.times).collect()
}

/// The first and the last hour of a day, a sample every 15 s.
fn busy_day(start_ms: i64) -> Vec<(i64, f64)> {
    let hour = |from_ms: i64| (1..=240).map(move |at| (from_ms + at * 15_000, at as f64));
    hour(start_ms).chain(hour(start_ms + 23 * HOUR_MS)).collect()
}

#[test]
fn a_day_stays_until_what_came_late_is_rolled_up_with_it() {
    let mut lab = Lab::new();
    lab.append("a", &busy_day(START_MS - 19 * DAY_MS));
    lab.advance(4 * HOUR_MS);
    lab.store().compact().unwrap();
    // Its samples run out while this one is in no blob yet.
    lab.clock.set_ms(START_MS + 2 * DAY_MS - 60_000);
    lab.append("a", &[(lab.now_ms() - RETENTION_DAYS * DAY_MS + 100, 7.0)]);
    lab.advance(HOUR_MS / 2);
    for _ in 0..4 {
        lab.maintain();
        lab.check(START_MS - 30 * DAY_MS, lab.now_ms(), BucketColumns::ALL);
        lab.advance(HOUR_MS);
    }
}

/// Whoever writes samples by a clock that is wrong for a day does not make years run out.
#[test]
fn a_clock_that_leaps_and_comes_back_eats_no_history() {
    let mut lab = Lab::new();
    for day in 0..5 {
        lab.clock.set_ms(START_MS + day * DAY_MS);
        lab.append("a", &busy_day(START_MS + (day - 1) * DAY_MS));
        lab.advance(HOUR_MS);
        lab.store().compact().unwrap();
    }
    let now_ms = lab.now_ms();
    for hours in [0, 5, 10] {
        lab.clock.set_ms(now_ms + 4_000 * DAY_MS + hours * HOUR_MS);
        lab.advance(0);
        lab.store().compact().unwrap();
        lab.reopen();
        lab.maintain();
    }
    lab.clock.set_ms(now_ms);
    lab.advance(HOUR_MS);
    lab.store().compact().unwrap();
    assert_eq!(times_of(lab.store(), "a").len(), 5 * 480);
    // A lab that was off for years goes on where it is.
    for day in 0..3 {
        lab.clock.set_ms(now_ms + 2_000 * DAY_MS + day * DAY_MS);
        lab.advance(0);
        lab.store().compact().unwrap();
    }
    assert_eq!(times_of(lab.store(), "a"), []);
}

#[test]
fn samples_go_when_no_policy_keeps_them_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START_MS));
    let open = |keep: &[&str]| {
        let keep = keep
            .iter()
            .map(|name| Keep { matchers: vec![Matcher::equal("__name__", *name)], keep_ms: None });
        open_with(dir.path(), Options { keep: keep.collect(), ..options(clock.clone()) })
    };
    let store = open(&["a", "b"]);
    for name in ["a", "b"] {
        let samples = busy_day(START_MS - 15 * DAY_MS);
        store.append(&write([(labels(name, "x"), samples)])).unwrap();
    }
    clock.advance_ms(9 * DAY_MS);
    store.append(&write([(labels("up", "x"), vec![(START_MS + 9 * DAY_MS, 1.0)])])).unwrap();
    store.compact().unwrap();
    assert_eq!((times_of(&store, "a").len(), times_of(&store, "b").len()), (480, 480));
    drop(store);
    let store = open(&["b"]);
    store.compact().unwrap();
    assert_eq!((times_of(&store, "a").len(), times_of(&store, "b").len()), (0, 480));
    let hours = store.buckets(&[], START_MS - 20 * DAY_MS, START_MS, HOUR_MS, BucketColumns::ALL);
    assert_eq!(hours.unwrap().len(), 2);
}

/// A series that policies do not keep lies on one shelf with one that they do.
#[test]
fn the_newest_sample_goes_with_all_others() {
    let mut lab = Lab::new();
    let from_ms = START_MS + HOUR_MS;
    for name in ["a", "kept"] {
        let samples: Vec<(i64, f64)> =
            (0..300).map(|at| (from_ms + at * 15_000, at as f64)).collect();
        lab.clock.set_ms(from_ms + 2 * HOUR_MS);
        lab.append(name, &samples);
    }
    for _ in 0..RETENTION_DAYS + 2 {
        lab.advance(DAY_MS);
        lab.maintain();
    }
    assert!(lab.store().tiers().samples_from_ms > START_MS + DAY_MS);
    let names = |series: Vec<Series>| -> Vec<String> {
        series.iter().map(|series| series.labels.metric_name().to_owned()).collect()
    };
    for end_ms in [i64::MAX, START_MS + DAY_MS] {
        let samples = lab.store().select(&[], START_MS, end_ms).unwrap();
        let newest = lab.store().newest(&[], START_MS, end_ms, NEVER).unwrap();
        assert_eq!(names(newest), names(samples));
    }
}

/// What is known to be gone stays known when the file is mended under a store that runs.
#[test]
fn mending_does_not_bring_back_what_ran_out() {
    let mut lab = Lab::new();
    let samples: Vec<(i64, f64)> = (0..300).map(|at| (START_MS + at * 15_000, at as f64)).collect();
    lab.clock.set_ms(START_MS + 2 * HOUR_MS);
    lab.append("a", &samples);
    for _ in 0..RETENTION_DAYS + 2 {
        lab.advance(DAY_MS);
        lab.maintain();
    }
    let before = lab.store().tiers();
    assert!(before.samples_from_ms > START_MS);
    lab.store().compact().unwrap();
    break_structure(lab.dir.path());
    lab.maintain();
    assert!(lab.dir.path().read_dir().unwrap().count() > 3, "it was mended");
    assert_eq!(lab.store().tiers(), before);
}

/// Where one column of a roll-up is lost, no other one speaks for it.
#[test]
fn buckets_that_lack_a_column_are_not_used() {
    let mut lab = Lab::new();
    let samples = busy_day(START_MS - 5 * DAY_MS).into_iter();
    lab.append("a", &samples.map(|(time_ms, at)| (time_ms, at * 7.0 % 301.0)).collect::<Vec<_>>());
    lab.advance(4 * HOUR_MS);
    lab.store().compact().unwrap();
    lab.store = None;
    let conn = rusqlite::Connection::open(lab.dir.path().join("labstat.db")).unwrap();
    let lost = format!("tier = 2 AND kind = {}", BucketColumn::Max as u32);
    assert_eq!(conn.execute(&format!("DELETE FROM blobs WHERE {lost}"), []).unwrap(), 1);
    drop(conn);
    lab.reopen();
    lab.check(START_MS - 30 * DAY_MS, lab.now_ms(), BucketColumns::ALL);
}

/// However many series there are: what is bounded is what is held at a time.
#[test]
fn buckets_of_any_number_of_series_come_in_parts() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START_MS + 3 * DAY_MS));
    let open = |read_samples_max| {
        let (read_part_samples, clock) = (300, clock.clone());
        let options = Options { read_samples_max, read_part_samples, ..options(clock) };
        open_with(dir.path(), options)
    };
    let store = open(usize::MAX);
    // Two days of quarters of an hour; some series have ten times as many.
    let series = |at: i64| {
        let every = if at % 10 == 0 { 90_000 } else { 900_000 };
        let samples = (0..2 * DAY_MS / every).map(|step| (START_MS + step * every, step as f64));
        (labels("a", &format!("i{at:02}")), samples.collect::<Vec<_>>())
    };
    store.append(&write((0..40).map(series))).unwrap();
    let (start_ms, end_ms) = (START_MS, START_MS + 2 * DAY_MS);
    let ask = |store: &Store| store.buckets(&[], start_ms, end_ms, HOUR_MS, BucketColumns::ALL);
    for seal in [false, true] {
        if seal {
            store.compact().unwrap();
        }
        let mut found = Vec::new();
        let scan = store.scan_buckets(&[], start_ms, end_ms, HOUR_MS, BucketColumns::ALL).unwrap();
        for part in (0..scan.parts()).rev() {
            scan.read(part, &mut |rolled| {
                found.push(rolled);
                ControlFlow::Continue(())
            })
            .unwrap();
        }
        assert!(scan.parts() > 1 && !scan.is_sorted());
        found.sort_by(|a, b| a.labels().cmp(b.labels()));
        assert_eq!(found.len(), 40);
        assert_eq!(format!("{found:?}"), format!("{:?}", ask(&store).unwrap()));
        let is_rolled = |one: &Rolled| matches!(one, Rolled::Buckets(_));
        assert_eq!(found.iter().any(is_rolled), seal, "there are roll-ups");
    }
    drop(store);
    let store = open(5_000);
    assert!(matches!(ask(&store), Err(ReadError::TooManySamples { max: 5_000 })));
    let scan = store.scan_buckets(&[], start_ms, end_ms, HOUR_MS, BucketColumns::ALL).unwrap();
    let mut given = 0;
    for part in 0..scan.parts() {
        scan.read(part, &mut |_| {
            given += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
    }
    assert_eq!(given, 40);
    // Who breaks off gets no more of a part, and a sample that comes late is in none.
    store.append(&write([(labels("a", "i01"), vec![(end_ms - 1, 7.0)])])).unwrap();
    let mut given = 0;
    scan.read(0, &mut |_| {
        given += 1;
        ControlFlow::Break(())
    })
    .unwrap();
    assert_eq!(given, 1);
}
