//! labstat answers as Prometheus does: the same data is given to both, the same queries are asked
//! of both, and every difference is printed.
//!
//! The reference is the Prometheus that `.ci/peers` fetches; where it is not there the tests say
//! so and pass. `DIFFERENTIAL_ONLY=text` asks only the queries that contain the text.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking and says why on its output; its numbers are small"
)]

mod answer;
mod data;
#[path = "../support/engines.rs"]
#[expect(dead_code, reason = "the end-to-end tests use the rest")]
mod engines;
mod http;
mod sides;

use std::io::Write;
use std::path::Path;

use answer::differences_within;
use sides::{InProcess, Labstat, Prometheus, Remote, Side, When};

const QUERIES: &str = include_str!("queries.txt");
const REQUESTS: &str = include_str!("requests.txt");

/// Differences printed per query: the first ones say what is wrong.
const LINES_MAX: usize = 4;

fn lines(text: &'static str) -> impl Iterator<Item = &'static str> {
    let only = option_env!("DIFFERENTIAL_ONLY").unwrap_or("");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.filter(move |line| line.contains(only))
}

fn queries() -> impl Iterator<Item = &'static str> {
    lines(QUERIES)
}

/// Times on a sample, between samples, before the first, after the last, and at the edges of
/// look-back; ranges with steps shorter and longer than the distance of samples.
fn whens() -> Vec<When> {
    let (start, end) = (data::START_MS, data::START_MS + data::LENGTH_MS);
    let mut whens: Vec<When> = [
        start,
        start + 3_600_000,
        start + 3_600_000 + 7_001,
        start + 50 * 60_000 + 1,
        start - 1,
        end,
        end + 299_999,
        end + 300_000,
        end + 3_600_000,
    ]
    .map(When::Instant)
    .to_vec();
    for (from, to, step_ms) in [
        (start, end, 60_000),
        (start + 1_234, start + 1_800_000, 7_000),
        (start - 600_000, end + 600_000, 301_000),
        (start + 3_600_000, start + 3_600_000, 15_000),
    ] {
        whens.push(When::Range { start_ms: from, end_ms: to, step_ms });
    }
    whens
}

fn is_ordered(query: &str, when: When) -> bool {
    matches!(when, When::Instant(_)) && query.starts_with("sort")
}

/// Asks everything of both; returns how many queries were asked and how many answers differed.
fn compare(wanted: &dyn Side, found: &dyn Side) -> (usize, usize) {
    compare_each(answer::TOLERANCE, queries(), wanted, found)
}

fn compare_each(
    tolerance: f64,
    queries: impl Iterator<Item = &'static str>,
    wanted: &dyn Side,
    found: &dyn Side,
) -> (usize, usize) {
    let (mut asked, mut different) = (0, 0);
    for query in queries {
        for when in whens() {
            asked += 1;
            let (wanted, found) = (wanted.ask(query, when), found.ask(query, when));
            let ordered = is_ordered(query, when);
            let lines = differences_within(tolerance, &wanted, &found, ordered);
            if lines.is_empty() {
                continue;
            }
            different += 1;
            println!("{query}   {when:?}");
            lines.iter().take(LINES_MAX).for_each(|line| println!("    {line}"));
        }
    }
    (asked, different)
}

/// Sends the requests to both; returns how many were answered differently.
fn compare_requests(wanted: &Remote, found: &Remote) -> usize {
    let time = |ms: i64| (ms / 1000).to_string();
    let (start, end) = (data::START_MS, data::START_MS + data::LENGTH_MS);
    let mut different = 0;
    for line in lines(REQUESTS) {
        let (method, path) = line.split_once(' ').expect("a method and a path");
        let path = path
            .replace("START", &time(start))
            .replace("MIDDLE", &time(start + data::LENGTH_MS / 2))
            .replace("END", &time(end));
        let path = http::encode_path(&path);
        let (wanted, found) = (wanted.request(method, &path), found.request(method, &path));
        let parts = |(status, json): &(u16, serde_json::Value)| {
            let remarks = json["warnings"].clone();
            (
                *status,
                json["status"].clone(),
                json["data"].clone(),
                json["errorType"].clone(),
                remarks,
            )
        };
        if parts(&wanted) != parts(&found) {
            different += 1;
            println!(
                "{line}\n    wanted {} {}\n    found  {} {}",
                wanted.0, wanted.1, found.0, found.1
            );
        }
    }
    different
}

fn prometheus() -> Option<Prometheus> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let Some(program) = Prometheus::program(root) else {
        // Past the test harness, which shows what a passing test prints to nobody.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: {} queries not compared: no target/peers/bin/prometheus (.ci/peers fetches it)",
            queries().count()
        );
        return None;
    };
    let prometheus = Prometheus::start(&program);
    data::writes().iter().for_each(|write| prometheus.remote.write(write));
    Some(prometheus)
}

/// There is a list worth the name.
#[test]
fn the_list_holds_at_least_150_queries() {
    assert!(queries().count() >= 150 || option_env!("DIFFERENTIAL_ONLY").is_some());
}

fn holds(wanted: &dyn Side, found: &dyn Side) {
    let (asked, different) = compare(wanted, found);
    println!("{asked} answers compared, {different} differ");
    assert_eq!(different, 0, "of {asked} answers");
}

/// The whole way: remote write in, through the store, out of the HTTP API.
#[test]
fn labstat_answers_as_prometheus_does() {
    let Some(prometheus) = prometheus() else { return };
    let labstat = Labstat::start();
    data::writes().iter().for_each(|write| labstat.remote.write(write));
    let requests = compare_requests(&prometheus.remote, &labstat.remote);
    holds(&prometheus.remote, &labstat.remote);
    assert_eq!(requests, 0, "requests answered differently");
}

/// The engine by itself, over the data in memory: tells whether a difference is its own.
#[test]
fn the_engine_answers_as_prometheus_does() {
    let Some(prometheus) = prometheus() else { return };
    holds(&prometheus.remote, &InProcess::new(data::series()));
}

/// The engine over buckets where their edges agree with those asked for, and over samples where
/// they do not.
#[test]
fn buckets_answer_as_prometheus_does() {
    let Some(prometheus) = prometheus() else { return };
    let widths_ms = [15_000, 60_000, 300_000];
    holds(&prometheus.remote, &InProcess::rolled_up(data::series(), i64::MIN, &widths_ms));
}

/// The engine without samples, over buckets so narrow that each has one of them: all edges agree,
/// and what is left of the samples is the samples.
#[test]
fn the_narrowest_buckets_answer_everything() {
    let Some(prometheus) = prometheus() else { return };
    holds(&prometheus.remote, &InProcess::rolled_up(data::series(), i64::MAX, &[1]));
}

/// Queries of the list that are asked over other engines too: every so manieth.
const ENGINE_QUERIES_STEP: usize = 9;

/// The metrics whose values no other engine gives back to the bit: Prometheus' remote read has no
/// negative zero, and VictoriaMetrics keeps neither that nor more than some fifteen digits.
const BIT_BY_BIT: [&str; 2] = ["edge", "cancel"];

/// How often another engine is asked everything, until all its answers are right.
const ENGINE_ROUNDS: usize = 4;

/// What those digits come to where a function takes the difference of large numbers.
const ENGINE_TOLERANCE: f64 = 1e-7;

/// Where the samples are makes no difference: over another engine labstat answers as over its own.
#[test]
fn labstat_answers_over_other_engines_as_over_its_own() {
    let local = Labstat::start();
    data::writes().iter().for_each(|write| local.remote.write(write));
    let mut different_all = 0;
    for mut engine in engines::Engine::all() {
        engine.start();
        let config = labstat_aggregator::EngineConfig {
            url: Some(engine.url()),
            ..labstat_aggregator::EngineConfig::default()
        };
        let over = Labstat::over(config);
        data::writes().iter().for_each(|write| over.remote.write(write));
        // What was acknowledged is on its way.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        let all = |side: &Labstat| {
            let end = When::Instant(data::START_MS + data::LENGTH_MS + 60_000);
            side.remote.ask("last_over_time({__name__!~\"edge|cancel\"}[3h])", end)
        };
        let wanted = all(&local);
        loop {
            engine.flush();
            let lines = differences_within(ENGINE_TOLERANCE, &wanted, &all(&over), false);
            if lines.is_empty() {
                break;
            }
            assert!(std::time::Instant::now() < deadline, "{}: {lines:?}", engine.name);
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        // Samples that VictoriaMetrics has shown already may be out of sight again for a while, as
        // it writes them out; what stays different is told.
        for left in (0..ENGINE_ROUNDS).rev() {
            let some =
                queries().filter(|query| !BIT_BY_BIT.iter().any(|name| query.contains(name)));
            let some = some.step_by(ENGINE_QUERIES_STEP);
            let (asked, different) =
                compare_each(ENGINE_TOLERANCE, some, &local.remote, &over.remote);
            println!("{}: {asked} answers compared, {different} differ", engine.name);
            if different == 0 || left == 0 {
                different_all += different;
                break;
            }
            engine.flush();
        }
    }
    assert_eq!(different_all, 0, "answers over other engines");
}
