//! Replays of a history in memory, beside what a running server comes to over the same time.

use std::convert::Infallible;
use std::sync::Mutex;

use labstat_promql::{Engine, Options, QueryOptions, Source, SourceError, Value};

use super::*;
use crate::manager::{Manager, ManagerOptions};
use crate::notification::Status;

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const START: i64 = 1_700_000_000_000 - 1_700_000_000_000 % HOUR;
/// So many that rules in lock-step go through several parts.
const HOURS: i64 = 20;
/// Nothing changes shortly before it.
const END: i64 = START + HOURS * HOUR - 2 * MINUTE;

/// Series in memory, and what a server adds to them.
#[derive(Default)]
struct Memory(Mutex<BTreeMap<Labels, Series>>);

impl Memory {
    /// A sample each 15 s, where `at` gives a value for the minute; marked as ended where it does not.
    fn add(&self, labels: &[(&str, &str)], at: impl Fn(i64) -> Option<f64>) {
        let labels = Labels::new(labels.iter().copied());
        let mut series = Series::new(labels.clone());
        for time_ms in (0..=HOURS * HOUR).step_by(15_000) {
            let value = at(time_ms / MINUTE).unwrap_or_else(labstat_model::stale_marker);
            series.push(START + time_ms, value);
        }
        self.0.lock().unwrap().insert(labels, series);
    }

    fn keep(&self, labels: &Labels, time_ms: i64, value: f64) {
        let mut all = self.0.lock().unwrap();
        let series = all.entry(labels.clone()).or_insert_with(|| Series::new(labels.clone()));
        // A store refuses a second value for the same time.
        if series.times.last().is_none_or(|last_ms| *last_ms < time_ms) {
            series.push(time_ms, value);
        }
    }
}

impl Source for Memory {
    fn select(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<Series>, SourceError> {
        let all = self.0.lock().unwrap();
        let fits = |it: &&Series| matchers.iter().all(|m| m.matches_labels(&it.labels));
        let cut = |series: &Series| {
            let mut part = Series::new(series.labels.clone());
            let first = series.times.partition_point(|time_ms| *time_ms < start_ms);
            let end = series.times.partition_point(|time_ms| *time_ms <= end_ms);
            part.times = series.times[first..end].to_vec();
            part.values = series.values[first..end].to_vec();
            part
        };
        let parts = all.values().filter(fits).map(cut);
        Ok(parts.filter(|series| !series.times.is_empty()).collect())
    }
}

/// Answers as a server does over its API: marks are not among samples.
impl Past for Memory {
    type Error = SourceError;

    async fn range(&self, expr: &str, span: Span) -> Result<Vec<Series>, SourceError> {
        let engine = Engine::new(Options::default());
        let (start_ms, end_ms, step_ms) = (span.from_ms, span.to_ms, span.step_ms);
        assert!((end_ms - start_ms) / step_ms < 11_000, "as many as Prometheus answers");
        let options = QueryOptions::default();
        match engine.range(self, expr, start_ms, end_ms, step_ms, &options).map(|it| it.value) {
            Ok(Value::Matrix(series)) => Ok(series),
            other => Err(SourceError(format!("{other:?}").into())),
        }
    }

    async fn samples(
        &self,
        selector: &str,
        (start_ms, end_ms): (i64, i64),
    ) -> Result<Vec<Series>, SourceError> {
        let matchers = labstat_promql::selector(selector).unwrap();
        let mut found = self.select(&matchers, start_ms, end_ms)?;
        for series in &mut found {
            let mut unmarked = Series::new(series.labels.clone());
            let samples = series.samples().filter(|it| !it.value.is_nan());
            samples.for_each(|it| unmarked.push(it.time_ms, it.value));
            *series = unmarked;
        }
        Ok(found)
    }

    async fn answers(&self) -> Result<(), SourceError> {
        Ok(())
    }
}

fn temperatures() -> Memory {
    let memory = Memory::default();
    let add = |disk: &str, at: &dyn Fn(i64) -> Option<f64>| {
        memory.add(&[("__name__", "temp"), ("disk", disk), ("job", "smart")], at);
    };
    // Hot for a while now and then; away from hour 9 to 11 while it is hot; hot for good near the end.
    add("sda", &|minute| Some(if minute % 300 < 40 { 60.0 } else { 40.0 }));
    add("sdb", &|minute| match minute {
        500..540 => Some(70.0),
        540..660 => None,
        1100.. => Some(65.0),
        _ => Some(41.0),
    });
    add("sdc", &|minute| Some(50.0 + (minute % 120) as f64 / 10.0));
    memory
        .add(&[("__name__", "info"), ("disk", "sdb"), ("bay", "1")], |m| (m < 600).then_some(1.0));
    memory
        .add(&[("__name__", "info"), ("disk", "sdb"), ("bay", "2")], |m| (m >= 600).then_some(1.0));
    memory
}

const RULES: &str = "
groups:
  - name: chain
    interval: 15s
    rules:
      - { record: 'disk:max', expr: 'max by (disk) (temp)' }
      - { record: 'disk:mean', expr: 'avg_over_time(disk:max[1h])', labels: { of: hour } }
      - { record: 'hot', expr: 'disk:max > 55' }
      - { record: 'twice', expr: 'max by (disk) (temp{disk=~\"sda|sdb\"})' }
      - { record: 'twice', expr: 'max by (disk) (temp{disk!=\"sda\"})' }
  - name: of-records
    interval: 1m
    rules:
      - { alert: Hot, expr: 'hot', for: 5m }
      - { alert: HotOfLate, expr: 'disk:mean{of=\"hour\"} > 51', keep_firing_for: 90s }
      - { alert: Twice, expr: 'twice > 64' }
      - { alert: Gone, expr: 'temp offset 30m unless on (disk) disk:max' }
      - { alert: RawAndRecorded, expr: 'temp * on (disk) group_left (bay) info > 60 and on (disk) hot' }
      - { alert: Risen, expr: 'increase(disk:max[30m]) > 8 or deriv(temp[10m]) > 1 and on (disk) hot' }
      - { alert: Sub, expr: 'max_over_time((hot - 50)[20m:1m]) > 9' }
  - name: plain
    interval: 30s
    rules:
      - alert: Kept
        expr: temp > 59
        for: 1m
        labels: { severity: warning }
        annotations: { labstat_keep_while: 'temp > 57' }
      - { alert: KeptByRecord, expr: 'temp > 59', annotations: { labstat_keep_while: 'disk:max > 57' } }
  - name: late
    interval: 1m
    query_offset: 20m
    rules:
      - { alert: Late, expr: 'hot > 64' }
";

/// What a server tells that evaluates the rules all the time.
fn lived(set: &RuleSet, memory: &Memory) -> Vec<(String, String, i64, Option<i64>)> {
    // From before, so that what looks back finds what it does in a replay.
    let manager = Manager::new(set.clone(), ManagerOptions::default(), START);
    let engine = Engine::new(Options::default());
    let mut told: Vec<(String, String, i64, Option<i64>)> = Vec::new();
    for time_ms in (START..=END).step_by(5_000) {
        for due in manager.due(time_ms) {
            let evaluation = manager.evaluate(&due, &engine, memory);
            for one in &evaluation.write.floats.series {
                one.samples.iter().for_each(|it| memory.keep(&one.labels, it.time_ms, it.value));
            }
            for alert in evaluation.notifications {
                let disk = alert.labels.get("disk").cloned().unwrap_or_default();
                let name = alert.name().to_owned();
                match alert.status {
                    Status::Firing => told.push((name, disk, due.time_ms, None)),
                    Status::Resolved => {
                        let is_it = |it: &&mut (String, String, i64, Option<i64>)| {
                            (&it.0, &it.1, it.3) == (&name, &disk, None)
                        };
                        told.iter_mut().find(is_it).unwrap().3 = Some(due.time_ms);
                    }
                }
            }
        }
        assert_eq!(manager.failing_len(), 0, "a rule fails");
    }
    told
}

fn replayed(set: &RuleSet, memory: &Memory) -> Vec<(String, String, i64, Option<i64>)> {
    let mut steps = Vec::new();
    let ends_ms = (START, END);
    let replayed =
        block_on(replay(memory, set, ends_ms, |place| steps.push((place.step, place.steps))));
    let replayed = replayed.unwrap();
    assert_eq!(replayed.taken, []);
    let whole = steps.len();
    assert!(steps.iter().enumerate().all(|(at, step)| *step == (at + 1, whole)), "{steps:?}");
    let mut told = Vec::new();
    for RuleReplay { rule, outcome } in replayed.rules {
        for firing in outcome.unwrap() {
            let disk = firing.labels.get("disk").unwrap_or_default().to_owned();
            told.push((rule.name.clone(), disk, firing.start_ms, firing.end_ms));
        }
    }
    told
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

#[test]
fn a_replay_comes_to_what_a_server_came_to() {
    let set = RuleSet::parse(&[("rules.yml", RULES)]).unwrap();
    let mut replayed = replayed(&set, &temperatures());
    let mut lived = lived(&set, &temperatures());
    replayed.sort();
    lived.sort();
    let names: BTreeSet<&str> = lived.iter().map(|it| it.0.as_str()).collect();
    let alerts = RULES.matches("alert:").count();
    assert_eq!(names.len(), alerts, "each alert fires: {names:?}");
    assert!(lived.iter().any(|it| it.3.is_none()), "some fire at the end");
    let text = |told: &[(String, String, i64, Option<i64>)]| -> Vec<String> {
        let minutes = |time_ms: i64| (time_ms - START) as f64 / MINUTE as f64;
        let line = |it: &(String, String, i64, Option<i64>)| {
            format!("{} {} {:.1} {:.1?}", it.0, it.1, minutes(it.2), it.3.map(minutes))
        };
        told.iter().map(line).collect()
    };
    let both = (text(&replayed), text(&lived));
    assert_eq!(replayed.len(), lived.len(), "{both:#?}");
    for (one, other) in replayed.iter().zip(&lived) {
        // A server evaluates each group at a moment of its own, and records of other groups are
        // of their last evaluation.
        let is_near = |one: i64, other: i64| (one - other).abs() <= 90 * SECOND;
        let ends = (one.3, other.3);
        let is_end_near = matches!(ends, (None, None))
            || matches!(ends, (Some(one), Some(other)) if is_near(one, other));
        let is_same = (&one.0, &one.1) == (&other.0, &other.1);
        assert!(is_same && is_near(one.2, other.2) && is_end_near, "{one:?} {other:?}: {both:#?}");
    }
}

#[test]
fn records_come_before_what_reads_them_and_only_those_that_are_read() {
    let rules = "
groups:
  - name: g
    rules:
      - { alert: Last, expr: 'b > 1' }
      - { record: b, expr: 'sum(a)' }
      - { record: b, expr: 'sum({__name__=~\"a|x\"})', labels: { also: 'yes' } }
      - { record: a, expr: 'rate(raw_total[1m])' }
      - { record: unread, expr: 'a' }
      - { record: round, expr: 'round or vector(0)' }
      - { record: round, expr: 'vector(1)' }
      - { record: after, expr: 'round * 2' }
      - { alert: Round, expr: 'after', annotations: { labstat_keep_while: 'a > 3' } }
      - { alert: Others, expr: 'ALERTS{alertname=\"Last\"}' }
";
    let set = RuleSet::parse(&[("g.yml", rules)]).unwrap();
    let all = set.groups.iter().flat_map(|group| group.rules.iter().map(move |it| (group, it)));
    let all = all.map(|(group, rule)| Replaying::<Infallible>::new(group, rule).unwrap()).collect();
    let Ordered { rules, taken } = in_order(all);
    let names: Vec<&str> = rules.iter().map(Replaying::name).collect();
    assert_eq!(names, ["a", "after", "b", "b", "Last", "Round", "Others"]);
    assert_eq!(taken, [("round", Taken::Circular), ("Others", Taken::Alerts)]);
    let reaches_ms = [0, 5, 10, 20, 300, 4_000, 0];
    assert_eq!(backs_ms(&rules, &reaches_ms), [4_000, 4_000, 300, 300, 0, 0, 0]);
}

#[test]
fn what_cannot_be_replayed_is_told_and_takes_its_readers_along() {
    let rules = "
groups:
  - name: g
    interval: 1m
    rules:
      - { record: all, expr: 'temp', labels: { disk: all } }
      - { alert: All, expr: 'all > 1' }
      - { record: good, expr: 'temp' }
      - { alert: Ahead, expr: 'good offset -5m > 1' }
      - { alert: Pinned, expr: 'temp @ end() > 1' }
      - { alert: Good, expr: 'good > 1' }
";
    let set = RuleSet::parse(&[("g.yml", rules)]).unwrap();
    let memory = temperatures();
    let replayed = block_on(replay(&memory, &set, (START, START + HOUR), |_| {})).unwrap();
    let told = |it: &RuleReplay<'_, SourceError>| {
        let outcome = it.outcome.as_ref().map(Vec::len).map_err(ToString::to_string);
        (it.rule.name.clone(), outcome)
    };
    let told: BTreeMap<_, _> = replayed.rules.iter().map(told).collect();
    assert_eq!(told["Good"], Ok(3));
    assert_eq!(told["All"], Err("it reads all, which is not replayed".to_owned()));
    for name in ["all", "Ahead", "Pinned"] {
        assert!(told[name].is_err(), "{told:?}");
    }
    assert_eq!(told.len(), 5, "{told:?}");
}

#[test]
fn a_time_without_end_is_gone_through_without_overflow() {
    let ends_ms = (i64::MIN, i64::MAX);
    assert_eq!(turns(ends_ms, None).len(), 1);
    let turns = turns((i64::MAX - 10, i64::MAX), Some(i64::MAX));
    assert_eq!(turns.len(), 2);
    for turn in turns {
        let span = Span::within(turn.from_ms.saturating_sub(i64::MAX), turn.before_ms, 1_000);
        assert!(span.is_some());
    }
}
