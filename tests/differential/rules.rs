//! Rules are evaluated as Prometheus does it: the same samples, ahead of time so that neither has one
//! too late, and the same rules. Prometheus evaluates them every second; then we do, at the very times
//! at which it did, and all that rules wrote is compared at each of these times, with what the API says
//! of rules and alerts at the end.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use labstat_alerts::{Manager, ManagerOptions, RuleSet, views::RulesFilter};
use labstat_model::{
    Labels, METRIC_NAME, Matcher, Sample, Series, SeriesRef, TimeSeries, WriteRequest, stale_marker,
};
use labstat_promql::{Engine, QueryOptions, Source, SourceError, Value};
use serde_json::Value as Json;

use crate::sides::Prometheus;

const RULES: &str = include_str!("rules.yml");

/// More than the longest `query_offset`.
const OFFSET_MS: i64 = 4_000;

/// How long Prometheus evaluates.
const SECONDS: i64 = 44;

/// All series in memory.
#[derive(Default)]
struct Memory(Mutex<BTreeMap<Labels, Series>>);

impl Memory {
    fn push(&self, series: &TimeSeries) {
        let mut all = self.0.lock().expect("nobody panicked");
        let labels = series.labels.clone();
        let known = all.entry(labels.clone()).or_insert_with(|| Series::new(labels));
        for sample in &series.samples {
            let at = known.times.partition_point(|time_ms| *time_ms < sample.time_ms);
            known.times.insert(at, sample.time_ms);
            known.values.insert(at, sample.value);
        }
    }
}

impl Source for Memory {
    fn select(&self, m: &[Matcher], start: i64, end: i64) -> Result<Vec<Series>, SourceError> {
        let all = self.0.lock().expect("nobody panicked");
        let fits = |series: &&Series| m.iter().all(|m| m.matches_labels(&series.labels));
        let cut = |series: &Series| {
            let from = series.times.partition_point(|time_ms| *time_ms < start);
            let to = series.times.partition_point(|time_ms| *time_ms <= end);
            let (times, values) = (&series.times[from..to], &series.values[from..to]);
            SeriesRef { labels: &series.labels, times, values }.to_series()
        };
        Ok(all.values().filter(fits).map(cut).collect())
    }
}

/// What comes: series that rise and fall, one that ends and comes back, one that falls silent.
fn input(start_ms: i64) -> Vec<TimeSeries> {
    let value = |name: &str, second: i64| -> Option<f64> {
        match (name, second % 14) {
            ("a", 5..=10) => Some(9.0),
            ("a", _) => Some(1.0),
            ("b", 3 | 4 | 7 | 8 | 9) => Some(6.0),
            ("b", _) => Some(2.0),
            ("c", _) if (12..24).contains(&second) => (second == 12).then(stale_marker),
            ("c", _) => Some(7.0 + if second > 30 { 1.5 } else { 0.0 }),
            ("d", _) => (second > 8 && second < 20).then_some(5.5),
            _ => None,
        }
    };
    let series = |name: &str| {
        let samples = (0..SECONDS + 10).filter_map(|second| {
            let time_ms = start_ms + second * 1000;
            Some(Sample { time_ms, value: value(name, second)? })
        });
        let labels = [(METRIC_NAME, "input"), ("n", name), ("job", "j")];
        TimeSeries { labels: Labels::new(labels), samples: samples.collect() }
    };
    ["a", "b", "c", "d"].map(series).to_vec()
}

#[expect(clippy::disallowed_methods, reason = "Prometheus goes by the wall clock")]
fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
    now.as_millis() as i64
}

fn get(prometheus: &Prometheus, path: &str) -> Json {
    let (status, _, json) = prometheus.remote.request("GET", path);
    assert_eq!(status, 200, "{path}: {json}");
    json["data"].clone()
}

fn seconds(ms: i64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

/// When each group was evaluated, in order: what each of them records first says so.
fn rounds(prometheus: &Prometheus, rules: &RuleSet) -> Vec<(i64, String)> {
    let mut rounds = Vec::new();
    for group in &rules.groups {
        let path = format!("/api/v1/query?query=tick_{}%5B5m%5D", group.name);
        let found = get(prometheus, &path);
        for sample in found["result"][0]["values"].as_array().expect("its rounds") {
            let time_s = sample[0].as_f64().expect("a time");
            let time_ms = (time_s * 1000.0).round() as i64 + group.query_offset_ms;
            rounds.push((time_ms, group.name.clone()));
        }
    }
    rounds.sort();
    rounds
}

/// What rules have written, as it is seen at a time: series and value.
fn theirs(prometheus: &Prometheus, time_ms: i64) -> BTreeMap<String, String> {
    let query = "%7B__name__=~%22.%2B%22,__name__%21~%22input%7Ctick_.*%22%7D";
    let found = get(prometheus, &format!("/api/v1/query?query={query}&time={}", seconds(time_ms)));
    let result = found["result"].as_array().expect("a vector").clone();
    let series = |one: Json| {
        let metric = one["metric"].as_object().expect("labels").clone();
        let pairs =
            metric.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap_or("")));
        (Labels::new(pairs).to_string(), one["value"][1].as_str().expect("a value").to_owned())
    };
    result.into_iter().map(series).collect()
}

fn ours(memory: &Memory, engine: &Engine, time_ms: i64) -> BTreeMap<String, String> {
    let query = "{__name__=~\".+\",__name__!~\"input|tick_.*\"}";
    let answer = engine.instant(memory, query, time_ms, &QueryOptions::default());
    let Value::Vector(vector) = answer.expect("an answer").value else { panic!("no vector") };
    let text = |value: f64| labstat_model::number::format_v(value);
    vector.into_iter().map(|one| (one.labels.to_string(), text(one.sample.value))).collect()
}

/// What the API says of rules between two evaluations: in the midst of one, some of a group are ahead.
fn rules_at_rest(prometheus: &Prometheus) -> Json {
    let time_ms = |of: &Json| -> i64 {
        let time: jiff::Timestamp =
            of["lastEvaluation"].as_str().expect("a time").parse().expect("a time");
        time.as_millisecond()
    };
    let is_at_rest = |group: &Json| {
        let took_ms = group["evaluationTime"].as_f64().expect("seconds") * 1000.0;
        let end_ms = time_ms(group) + took_ms.ceil() as i64;
        group["rules"].as_array().expect("rules").iter().all(|rule| time_ms(rule) <= end_ms)
    };
    for _ in 0..1_000 {
        let said = get(prometheus, "/api/v1/rules");
        if said["groups"].as_array().expect("groups").iter().all(is_at_rest) {
            return said;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("rules are evaluated all the time");
}

/// The rules as the API has them, without what may differ.
fn rules_of(data: &Json) -> BTreeMap<String, Json> {
    let mut all = BTreeMap::new();
    for group in data["groups"].as_array().expect("groups") {
        for (at, rule) in group["rules"].as_array().expect("rules").iter().enumerate() {
            let mut rule = rule.clone();
            let fields = rule.as_object_mut().expect("a rule");
            fields.remove("evaluationTime");
            fields.remove("lastEvaluation");
            // Prometheus writes it anew from its tree; we give it as it was written.
            fields.remove("query");
            // 2 and 2.0 are the same number.
            for name in ["duration", "keepFiringFor"] {
                if let Some(seconds) = fields.get(name).and_then(Json::as_f64) {
                    fields.insert(name.to_owned(), seconds.into());
                }
            }
            if let Some(alerts) = fields.get_mut("alerts").and_then(Json::as_array_mut) {
                alerts.sort_by_key(|alert| alert["labels"].to_string());
                alerts.iter_mut().for_each(times_in_milliseconds);
            }
            all.insert(format!("{} {at}", group["name"]), rule);
        }
    }
    all
}

/// Prometheus has nanoseconds of which it keeps milliseconds in samples.
fn times_in_milliseconds(alert: &mut Json) {
    for name in ["activeAt", "keepFiringSince"] {
        if let Some(text) = alert[name].as_str() {
            let time: jiff::Timestamp = text.parse().expect("a time");
            alert[name] = time.as_millisecond().into();
        }
    }
}

#[test]
fn rules_come_to_what_they_come_to_in_prometheus() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let Some(program) = Prometheus::program(root) else {
        println!("SKIPPED: there is no Prometheus; .ci/peers fetches it");
        return;
    };
    let file = root.join("tests/differential/rules.yml");
    let config = format!("rule_files: ['{}']\n", file.display());
    let prometheus = Prometheus::start_with(&program, &config);
    // No rule has anything to find before each has been evaluated once.
    let start_ms = now_ms() / 1000 * 1000 + 9_000;
    let series = input(start_ms);
    prometheus.remote.write(&WriteRequest { series: series.clone(), ..Default::default() });
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(SECONDS.unsigned_abs()) {
        std::thread::sleep(Duration::from_millis(100));
    }
    // Its rules say when they were last evaluated; what it has written since is not looked at.
    let said = rules_at_rest(&prometheus);

    let rules = RuleSet::parse(&[(&file.display().to_string(), RULES)]).expect("the rules");
    let rounds = rounds(&prometheus, &rules);
    let last: BTreeMap<String, i64> = said["groups"]
        .as_array()
        .expect("groups")
        .iter()
        .map(|group| {
            let text = group["lastEvaluation"].as_str().expect("a time");
            let time: jiff::Timestamp = text.parse().expect("a time");
            (group["name"].as_str().unwrap_or("").to_owned(), time.as_millisecond())
        })
        .collect();
    let (memory, engine) = (Memory::default(), Engine::default());
    series.iter().for_each(|series| memory.push(series));
    let manager = Manager::new(rules, ManagerOptions::default(), 0);
    for (time_ms, name) in &rounds {
        if last.get(name).is_some_and(|last_ms| time_ms <= last_ms) {
            let due = manager.all_at(*time_ms).into_iter().find(|due| &due.group().name == name);
            let out = manager.evaluate(&due.expect("the group"), &engine, &memory);
            out.write.floats.series.iter().for_each(|series| memory.push(series));
        }
    }
    // What is written for a time that lies back comes later, and both have all of it by now.
    let settled_ms = last.values().min().expect("groups") - OFFSET_MS;
    let (mut compared, mut differences) = (0, Vec::new());
    // In its first rounds Prometheus writes no alerts: it restores them after that.
    for (time_ms, _) in rounds.iter().skip(12).filter(|(time_ms, _)| *time_ms <= settled_ms) {
        let (theirs, ours) = (theirs(&prometheus, *time_ms), ours(&memory, &engine, *time_ms));
        compared += theirs.len();
        for (series, value) in &theirs {
            if ours.get(series) != Some(value) {
                differences
                    .push(format!("{time_ms} {series}: {value}, ours {:?}", ours.get(series)));
            }
        }
        let more = ours.iter().filter(|(series, _)| !theirs.contains_key(*series));
        differences
            .extend(more.map(|(series, value)| format!("{time_ms} only ours: {series} {value}")));
    }
    let (wanted, found) = (rules_of(&said), rules_of(&api(&manager)));
    for (name, rule) in &wanted {
        if found.get(name) != Some(rule) {
            differences.push(format!("{name}: {rule}\n  ours: {:?}", found.get(name)));
        }
    }
    println!("{} rounds, {compared} values and {} rules compared", rounds.len(), wanted.len());
    assert!(compared > 1_000, "{compared}");
    assert!(differences.is_empty(), "{}", differences[..differences.len().min(40)].join("\n"));
}

fn api(manager: &Manager) -> Json {
    serde_json::to_value(manager.rules_view(&RulesFilter::default())).expect("JSON")
}
