//! labstat answers as Prometheus does: the same data is given to both, the same queries are asked
//! of both, and every difference is printed.
//!
//! The queries are those of a list and others out of a generator, asked over HTTP, of the engine by
//! itself, and of the engine over buckets.
//!
//! A history that is sealed, merged and restarted answers with the same bits as before.
//!
//! The reference is the Prometheus that `.ci/peers` fetches; where it is not there the tests say
//! so and pass. In the environment, `DIFFERENTIAL_ONLY=text` asks only the queries of the lists that
//! contain the text, `DIFFERENTIAL_COUNT` says how many queries are generated, and
//! `DIFFERENTIAL_SEED` out of which number: a long run is
//! `DIFFERENTIAL_COUNT=20000 DIFFERENTIAL_SEED=$RANDOM cargo test --test differential as_prometheus`.

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
mod generate;
mod histograms;
mod http;
mod rules;
mod sides;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use answer::{Answer, Order, Rules, differences};
use generate::{Generator, Kind, Tree};
use sides::{InProcess, Labstat, Prometheus, Remote, Side, When};

const QUERIES: &str = include_str!("queries.txt");
const REQUESTS: &str = include_str!("requests.txt");

/// Differences printed per query: the first ones say what is wrong.
const LINES_MAX: usize = 4;
/// What is generated where the environment does not say otherwise.
const GENERATED_COUNT: usize = 900;
const GENERATED_SEED: u64 = 8;
/// Queries of the list on which there has to be something to remark.
const REMARKED_MIN: usize = 80;
/// One of so many queries at least has values in some answer: what is empty everywhere compares
/// nothing.
const FILLED_PART: usize = 2;
/// One of so many answers may be excused because operands were rounded, or because the reference
/// does not decide itself. More means that one of the excuses covers a mistake.
const ROUNDED_PART: usize = 400;
const UNDECIDED_PART: usize = 100;
/// Queries that are cut down to what is wrong with them: each takes many questions. One of twenty
/// of those that are generated.
const SHRUNK_MIN: usize = 40;
const SHRUNK_PART: usize = 20;
/// How often the reference is asked again where it is answered differently.
const AGAIN: usize = 8;
/// Threads that ask.
const THREADS: usize = 2;

#[expect(clippy::disallowed_methods, reason = "how a test is run is no setting of the program")]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn number(name: &str) -> Option<u64> {
    environment(name).map(|text| text.parse().expect("a number in the environment"))
}

fn lines(text: &'static str) -> impl Iterator<Item = &'static str> {
    let only = environment("DIFFERENTIAL_ONLY").unwrap_or_default();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.filter(move |line| line.contains(&only))
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

/// A query and when it is asked.
struct Case {
    query: String,
    /// How it was put together, if it was generated.
    tree: Option<Tree>,
    whens: Vec<When>,
}

impl Case {
    fn rules(&self, tolerance: f64, when: When) -> Rules {
        let sorted = matches!(when, When::Instant(_)) && self.query.starts_with("sort");
        let order = match self.tree {
            _ if !sorted => Order::None,
            _ if self.query.starts_with("sort_by_label") => Order::Labels,
            None => Order::Labels,
            Some(_) => Order::Values,
        };
        Rules { tolerance, order, words: self.tree.is_none() }
    }
}

/// Those of the list, each at all times; not in a long run, which is about the others.
fn listed() -> Vec<Case> {
    if number("DIFFERENTIAL_COUNT").is_some() {
        return Vec::new();
    }
    let case = |query: &str| Case { query: query.to_owned(), tree: None, whens: whens() };
    queries().map(case).collect()
}

/// Those out of the generator, each at four of the times.
fn generated() -> Vec<Case> {
    if environment("DIFFERENTIAL_ONLY").is_some() {
        return Vec::new();
    }
    let seed = number("DIFFERENTIAL_SEED").unwrap_or(GENERATED_SEED);
    let count = number("DIFFERENTIAL_COUNT").map_or(GENERATED_COUNT, |count| count as usize);
    println!("{count} queries generated: DIFFERENTIAL_SEED={seed}");
    let mut generator = Generator::new(seed);
    let is_range = |when: &When| matches!(when, When::Range { .. });
    let (mut ranges, instants): (Vec<When>, Vec<When>) = whens().into_iter().partition(is_range);
    let (start, end) = (data::START_MS, data::START_MS + data::LENGTH_MS);
    ranges.extend([
        When::Range { start_ms: start + 599_999, end_ms: end - 1, step_ms: 77_777 },
        When::Range { start_ms: start + 1_800_000, end_ms: start + 5_400_000, step_ms: 300_000 },
        When::Range { start_ms: start - 1, end_ms: end + 1, step_ms: 1_200_000 },
    ]);
    let case = |_| {
        let tree = generator.query();
        let mut whens: Vec<When> = Vec::new();
        for of in [&instants, &instants, &ranges, &ranges] {
            whens.push(of[generator.below(of.len())]);
        }
        Case { query: tree.to_string(), tree: Some(tree), whens }
    };
    (0..count).map(case).collect()
}

/// What came of a comparison.
#[derive(Debug, Default)]
struct Outcome {
    asked: usize,
    different: usize,
    /// Of generated queries: answers that differ because what an operator was given differed in
    /// the last bits, and it made much of them.
    rounded: usize,
    /// Queries on whose answer the reference has something to remark.
    remarked: usize,
    /// Queries to which the reference has values.
    filled: usize,
    /// Of generated queries: answers that the reference gives now so, now so, as it does where one
    /// of equals has to be chosen and it goes through them in no order.
    undecided: usize,
}

/// Who is asked, by which name, and which of the questions: one of so many.
type Asked<'a> = (&'a str, &'a dyn Side, usize);

/// Asks everything of all; prints what differs.
fn compare(tolerance: f64, cases: &[Case], wanted: &dyn Side, sides: &[Asked<'_>]) -> Outcome {
    let (next, shrunk) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let reports: Mutex<BTreeMap<usize, String>> = Mutex::default();
    let total = Mutex::new(Outcome::default());
    let work = || {
        while let Some((at, case)) = {
            let at = next.fetch_add(1, Ordering::Relaxed);
            cases.get(at).map(|case| (at, case))
        } {
            let mut outcome = Outcome::default();
            let mut report = String::new();
            for (turn, when) in case.whens.iter().enumerate() {
                let shrunk_max = SHRUNK_MIN.max(cases.len() / SHRUNK_PART);
                let shrunk = &shrunk;
                let ask = Asking { tolerance, case, when: *when, wanted, shrunk, shrunk_max };
                // Another turn for each query, so that all times come to all sides.
                ask.all(sides, at + turn, &mut outcome, &mut report);
            }
            if !report.is_empty() {
                reports.lock().expect("nobody panicked").insert(at, report);
            }
            let mut total = total.lock().expect("nobody panicked");
            total.asked += outcome.asked;
            total.different += outcome.different;
            total.remarked += outcome.remarked.min(1);
            total.filled += outcome.filled.min(1);
            total.rounded += outcome.rounded;
            total.undecided += outcome.undecided;
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().for_each(|thread| thread.join().expect("an answer"));
    });
    reports.into_inner().expect("nobody panicked").values().for_each(|report| print!("{report}"));
    total.into_inner().expect("nobody panicked")
}

/// A query at one time.
struct Asking<'a> {
    tolerance: f64,
    case: &'a Case,
    when: When,
    wanted: &'a dyn Side,
    /// How many queries have been cut down, and may be.
    shrunk: &'a AtomicUsize,
    shrunk_max: usize,
}

impl Asking<'_> {
    fn all(&self, sides: &[Asked<'_>], turn: usize, outcome: &mut Outcome, report: &mut String) {
        let Self { case, when, .. } = self;
        let wanted = self.wanted.ask(&case.query, *when);
        outcome.remarked += usize::from(!wanted.warnings.is_empty() || !wanted.infos.is_empty());
        outcome.filled += usize::from(!wanted.series.is_empty());
        let mut seen: Vec<(Vec<String>, bool)> = Vec::new();
        for (place, (name, side, one_of)) in sides.iter().enumerate() {
            // All are asked where one is wrong.
            if !(turn + place).is_multiple_of(*one_of) && seen.is_empty() {
                continue;
            }
            outcome.asked += 1;
            let found = side.ask(&case.query, *when);
            let lines = differences(case.rules(self.tolerance, *when), &wanted, &found);
            if lines.is_empty() {
                continue;
            }
            if case.tree.is_some() && seen.is_empty() && !self.is_decided(&wanted) {
                outcome.undecided += sides.len();
                return;
            }
            let culprit = match seen.iter().find(|(other, _)| *other == lines) {
                Some((_, rounded)) if *rounded => {
                    outcome.rounded += 1;
                    continue;
                }
                Some(_) => {
                    outcome.different += 1;
                    report.push_str(&format!("{name}: the same\n"));
                    continue;
                }
                None => case.tree.as_ref().map(|tree| self.culprit(tree, *side)),
            };
            let rounded = culprit == Some(None);
            seen.push((lines.clone(), rounded));
            if rounded {
                outcome.rounded += 1;
                continue;
            }
            outcome.different += 1;
            report.push_str(&format!("{name}: {}   {when:?}\n", case.query));
            let lines = lines.iter().take(LINES_MAX);
            lines.for_each(|line| report.push_str(&format!("    {line}\n")));
            if let Some(Some(culprit)) =
                culprit.filter(|culprit| culprit.as_ref() != Some(&case.query))
            {
                report.push_str(&format!("    smallest: {culprit}\n"));
                let lines = self.differences(self.tolerance, &culprit, *side);
                let lines = lines.iter().take(LINES_MAX);
                lines.for_each(|line| report.push_str(&format!("        {line}\n")));
            }
        }
    }

    /// Whether the reference says the same every time.
    fn is_decided(&self, first: &Answer) -> bool {
        let rules = self.case.rules(self.tolerance, self.when);
        (0..AGAIN).all(|_| {
            let again = self.wanted.ask(&self.case.query, self.when);
            differences(rules, first, &again).is_empty()
        })
    }

    fn differences(&self, tolerance: f64, query: &str, side: &dyn Side) -> Vec<String> {
        let rules = Rules { tolerance, order: Order::None, words: false };
        differences(rules, &self.wanted.ask(query, self.when), &side.ask(query, self.when))
    }

    /// The smallest part of a query that is answered differently though all that goes into it is
    /// the same to the bit. `None` where there is none: then the difference is one of rounding.
    fn culprit(&self, tree: &Tree, side: &dyn Side) -> Option<String> {
        if tree.kind == Kind::Text || self.shrunk.fetch_add(1, Ordering::Relaxed) >= self.shrunk_max
        {
            return Some(tree.to_string());
        }
        let mut blamed = |tree: &Tree| {
            !self.differences(self.tolerance, &tree.to_string(), side).is_empty()
                && tree.children().all(|child| self.is_same(child, side))
        };
        tree.shrunk(&mut blamed).map(|tree| tree.to_string())
    }

    /// Whether both give the same bits for what an operator is given, also before the time it is
    /// asked for, where that is the inside of a subquery.
    fn is_same(&self, tree: &Tree, side: &dyn Side) -> bool {
        match tree.kind {
            Kind::Range => tree.children().all(|inner| {
                let (start_ms, end_ms) = match self.when {
                    When::Instant(time_ms) => (time_ms, time_ms),
                    When::Range { start_ms, end_ms, .. } => (start_ms, end_ms),
                };
                let (start_ms, end_ms) = (start_ms - 3_600_000, end_ms + 3_600_000);
                let before = When::Range { start_ms, end_ms, step_ms: 15_000 };
                Self { when: before, ..*self }.is_same(inner, side)
            }),
            _ => self.differences(0.0, &tree.to_string(), side).is_empty(),
        }
    }
}

/// Sends the requests to both; returns how many were answered differently.
fn compare_requests(wanted: &Remote, found: &Remote) -> usize {
    let time = |ms: i64| (ms / 1000).to_string();
    let (start, end) = (data::START_MS, data::START_MS + data::LENGTH_MS);
    let mut different = 0;
    for line in lines(REQUESTS) {
        let (exact, request) =
            line.strip_prefix('~').map_or((true, line), |request| (false, request));
        let (raw, request) =
            request.strip_prefix('!').map_or((false, request), |request| (true, request));
        let (method, path) = request.split_once(' ').expect("a method and a path");
        let path = path
            .replace("START", &time(start))
            .replace("MIDDLE", &time(start + data::LENGTH_MS / 2))
            .replace("END", &time(end));
        let path = if raw { path } else { http::encode_path(&path) };
        let (wanted, found) = (wanted.request(method, &path), found.request(method, &path));
        let told: Vec<String> =
            wanted.1.iter().filter_map(|h| Some(format!("{}:", h.split_once(':')?.0))).collect();
        let parts = |(status, headers, json): &(u16, Vec<String>, serde_json::Value)| {
            let of = |key: &str| json[key].clone();
            let text = if exact { of("error") } else { Default::default() };
            // What Prometheus does not tell a web page, labstat may; what it does, labstat must.
            let mut headers = headers.clone();
            headers.retain(|header| told.iter().any(|told| header.starts_with(told)));
            let plain = if json.is_object() { Default::default() } else { json.clone() };
            let fields = ["status", "data", "errorType", "warnings"].map(of);
            (*status, headers, fields, text, plain)
        };
        if parts(&wanted) != parts(&found) {
            different += 1;
            println!(
                "{line}\n    wanted {} {} {:?}\n    found  {} {} {:?}",
                wanted.0, wanted.2, wanted.1, found.0, found.2, found.1
            );
        }
    }
    different
}

/// Series that are there now, of all kinds that a page can show. Written after all else is asked:
/// these are new.
fn new_series() -> labstat_model::WriteRequest {
    use labstat_model::Clock;

    let time_ms = labstat_model::SystemClock.now_ms();
    let sets: [&[(&str, &str)]; 11] = [
        &[("__name__", "fed_plain")],
        &[("__name__", "fed_a"), ("instance", "x:1"), ("job", "y")],
        &[("__name__", "fed_a"), ("job", "y")],
        &[("__name__", "fed_a"), ("zone", "\"a\"\\\n\u{fc}")],
        &[("__name__", "fed_h_bucket"), ("le", "10"), ("instance", "i")],
        &[("__name__", "fed_h_bucket"), ("le", "2"), ("instance", "i")],
        &[("__name__", "fed_h_bucket"), ("le", "+Inf"), ("instance", "i")],
        &[("__name__", "fed_h_count"), ("instance", "i")],
        &[("__name__", "fed_h_sum"), ("a", "b"), ("k", "v")],
        &[("__name__", "fed.dots"), ("a.b", "c")],
        &[("__name__", "fed_last"), ("exported_instance", "e")],
    ];
    let values =
        [1.0, -1.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e-7, 1e22, 0.1, 1e21, 5e6];
    let series = sets.iter().zip(values.iter().cycle()).map(|(labels, value)| {
        let sample = labstat_model::Sample { time_ms, value: *value };
        let labels = labstat_model::Labels::new(labels.iter().copied());
        labstat_model::TimeSeries { labels, samples: vec![sample] }
    });
    labstat_model::WriteRequest { series: series.collect(), metadata: Vec::new() }
}

/// Has both show what there is now to a scraper; returns how many pages are different. In which
/// order the lines of a family stand has no meaning.
fn compare_federation(wanted: &Remote, found: &Remote) -> usize {
    let write = new_series();
    let mut different = 0;
    for side in [wanted, found] {
        side.write(&write);
    }
    for selectors in
        ["match[]={__name__=~\"fed.*\"}", "match[]=fed_a&match[]={job=\"y\"}", "match[]={}"]
    {
        let page = |side: &Remote| {
            let path = http::encode_path(&format!("/federate?{selectors}"));
            let (status, headers, text) = side.request("GET", &path);
            let text = text.as_str().unwrap_or_default().to_owned();
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            (status, headers.into_iter().find(|h| h.starts_with("content-type")), lines)
        };
        let (wanted, found) = (page(wanted), page(found));
        if wanted != found || wanted.0 != 200 {
            different += 1;
            println!("/federate?{selectors}\n    wanted {wanted:#?}\n    found  {found:#?}");
        }
    }
    different
}

/// What a side makes of the text of a query: written tidily (`format`) or its tree (`parse`).
fn text_of(side: &Remote, what: &str, query: &str) -> (u16, serde_json::Value) {
    let form = http::form(&[("query", query.to_owned())]);
    let (status, _, json) = side.request("FORM", &format!("/api/v1/{what}_query?{form}"));
    (status, json["data"].clone())
}

/// Whether two texts are the same query, as `side` writes them; the matchers of a tree come in the
/// order in which they were written.
fn is_same_query(side: &Remote, query: &str, text: &serde_json::Value) -> bool {
    let text = text.as_str().unwrap_or_default();
    text_of(side, "format", query) == text_of(side, "format", text)
}

/// Has both write queries tidily and tell their trees; returns how many did so differently. Where
/// the text that Prometheus writes is another query than it was given (it leaves out
/// `ignoring() group_right()` and the quotes of names behind `on`), labstat's must be the same.
fn compare_texts(wanted: &Remote, found: &Remote, queries: &[String]) -> usize {
    let mut different = 0;
    for query in queries {
        for what in ["format", "parse"] {
            let (reference, answer) = (text_of(wanted, what, query), text_of(found, what, query));
            let excused = || {
                what == "format"
                    && !is_same_query(found, query, &reference.1)
                    && is_same_query(found, query, &answer.1)
            };
            if reference != answer && !excused() {
                different += 1;
                println!("{what} {query}\n    wanted {reference:?}\n    found  {answer:?}");
            }
        }
    }
    different
}

/// Has both count the samples that queries look at; returns how often they do so differently.
fn compare_stats(wanted: &Remote, found: &Remote) -> usize {
    let time = |ms: i64| (ms / 1000).to_string();
    let (start, end) = (data::START_MS, data::START_MS + data::LENGTH_MS);
    let mut different = 0;
    // Of the series that `info` looks for by itself, Prometheus counts some, after a reckoning of
    // its own.
    let queries = queries().filter(|query| !query.contains("info("));
    for (turn, query) in queries.enumerate() {
        // At one time or over a range, in turn.
        for (path, times) in [
            ("query", vec![("time", time(end))]),
            (
                "query_range",
                vec![("start", time(start)), ("end", time(end)), ("step", "97".to_owned())],
            ),
        ]
        .into_iter()
        .skip(turn % 2)
        .take(1)
        {
            let mut pairs = vec![("query", query.to_owned()), ("stats", "all".to_owned())];
            pairs.extend(times);
            let form = format!("/api/v1/{path}?{}", http::form(&pairs));
            let [wanted, found] = [wanted, found].map(|side| {
                let mut stats = side.request("FORM", &form).2["data"]["stats"].take();
                // What is the machine's and the engine's own is only there.
                let own = [("/samples", "peakSamples"), ("/timings", "")];
                for (at, name) in own {
                    let fields = stats.pointer_mut(at).and_then(|fields| fields.as_object_mut());
                    let numbers = fields
                        .into_iter()
                        .flatten()
                        .filter(|(field, _)| name.is_empty() || *field == name);
                    for (_, number) in numbers {
                        *number = number.is_number().into();
                    }
                }
                stats
            });
            if wanted != found {
                different += 1;
                println!("{path} {query}\n    wanted {wanted}\n    found  {found}");
            }
        }
    }
    different
}

/// Says how long the parts of a test take.
struct Parts(std::time::Instant);

impl Parts {
    fn begin() -> Self {
        Self(std::time::Instant::now())
    }

    fn end(&mut self, name: &str) {
        println!("{name}: {:.1} s", self.0.elapsed().as_secs_f64());
        *self = Self::begin();
    }
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
    data::late_writes().iter().for_each(|write| prometheus.remote.write(write));
    Some(prometheus)
}

/// There are as many as it takes.
#[test]
fn at_least_1_000_queries_and_200_requests_are_compared() {
    let listed =
        |text: &str| text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count();
    assert!(listed(QUERIES) >= 150 && listed(QUERIES) + GENERATED_COUNT >= 1_000);
    assert!(listed(REQUESTS) >= 200);
}

/// Over HTTP, the whole way: remote write in, through the store, out of the API. The engine by
/// itself, over the data in memory, tells whether a difference is its own: it is asked where there is
/// one, and now and then. Over buckets where their
/// edges agree with those asked for, it uses them, and samples where they do not. Without samples
/// there are buckets so narrow that each has one of them: all edges agree, and what is left of the
/// samples is the samples.
#[test]
fn labstat_answers_as_prometheus_does() {
    let Some(prometheus) = prometheus() else { return };
    let labstat = Labstat::start();
    data::late_writes().iter().for_each(|write| labstat.remote.write(write));
    let series = data::series;
    let engine = InProcess::new(series());
    let buckets = InProcess::rolled_up(series(), i64::MIN, &[15_000, 60_000, 300_000]);
    let narrowest = InProcess::rolled_up(series(), i64::MAX, &[1]);
    let sides: [Asked<'_>; 4] = [
        ("over HTTP", &labstat.remote, 1),
        ("the engine", &engine, 6),
        ("buckets", &buckets, 3),
        ("narrowest buckets", &narrowest, 3),
    ];
    let mut parts = Parts::begin();
    let mut requests = compare_requests(&prometheus.remote, &labstat.remote);
    parts.end("requests");
    let texts: Vec<String> =
        [listed(), generated()].into_iter().flatten().map(|c| c.query).collect();
    let texts_different = compare_texts(&prometheus.remote, &labstat.remote, &texts);
    println!("{} texts and trees: {texts_different} different", 2 * texts.len());
    parts.end("texts and trees");
    requests += texts_different + compare_stats(&prometheus.remote, &labstat.remote);
    parts.end("counted samples");
    let mut different = requests;
    for (cases, remarked_min) in [(listed(), REMARKED_MIN), (generated(), 0)] {
        let outcome = compare(answer::TOLERANCE, &cases, &prometheus.remote, &sides);
        let some = ["DIFFERENTIAL_ONLY", "DIFFERENTIAL_COUNT"].into_iter().find_map(environment);
        println!("{} queries: {outcome:?}", cases.len());
        assert!(some.is_some() || outcome.remarked >= remarked_min, "{outcome:?}");
        assert!(some.is_some() || outcome.filled * FILLED_PART >= cases.len(), "{outcome:?}");
        assert!(outcome.rounded * ROUNDED_PART <= outcome.asked, "{outcome:?}");
        assert!(outcome.undecided * UNDECIDED_PART <= outcome.asked, "{outcome:?}");
        parts.end("queries");
        different += outcome.different;
    }
    different += compare_federation(&prometheus.remote, &labstat.remote);
    assert_eq!(different, 0, "answers differ, of requests {requests}");
}

/// Queries of the list that are asked of a history that is sealed and restarted: every so manieth.
const STORED_QUERIES_STEP: usize = 6;
/// And so many out of the generator.
const STORED_GENERATED_COUNT: usize = 100;

/// Where samples are on disk, and how often they were moved, makes no difference, not in the last
/// bit: all in the log; in blobs, log and late samples beside them; after a restart, which reads it
/// all anew; merged, with buckets; and that after a restart.
#[test]
fn a_history_that_is_sealed_and_restarted_gives_the_same_bits() {
    let (fresh, mut moved) = (Labstat::start(), Labstat::start());
    let writes = data::late_writes();
    writes.iter().for_each(|write| fresh.remote.write(write));
    let compact = |of: &Labstat| {
        let (status, _, said) = of.remote.request("POST", "/api/labstat/v1/compact");
        assert_eq!(status, 200, "{said}");
    };
    for (at, write) in writes.iter().enumerate() {
        moved.remote.write(write);
        match at % 4 {
            1 => compact(&moved),
            2 => moved.restart(),
            _ => {}
        }
    }
    let mut generator = Generator::new(GENERATED_SEED + 1);
    let some = queries().step_by(STORED_QUERIES_STEP).map(str::to_owned);
    let cases: Vec<Case> = some
        .chain((0..STORED_GENERATED_COUNT).map(|_| generator.query().to_string()))
        .map(|query| Case { query, tree: None, whens: whens().into_iter().step_by(3).collect() })
        .collect();
    let mut different = 0;
    for (stage, next) in ["blobs and log", "restarted", "compacted", "compacted and restarted"]
        .into_iter()
        .zip([None, Some(false), Some(true), Some(false)])
    {
        match next {
            Some(true) => compact(&moved),
            Some(false) => moved.restart(),
            None => {}
        }
        let outcome = compare(0.0, &cases, &fresh.remote, &[(stage, &moved.remote, 1)]);
        println!("{stage}: {} queries: {outcome:?}", cases.len());
        different += outcome.different;
    }
    assert_eq!(different, 0, "answers differ with where the samples are");
}

/// Queries of the list that are asked over other engines too: every so manieth.
const ENGINE_QUERIES_STEP: usize = 9;

/// What no other engine gives back to the bit: metrics, for Prometheus' remote read has no negative
/// zero, and VictoriaMetrics keeps neither that nor more than some fifteen digits; and slopes near
/// zero, which those digits are.
const BIT_BY_BIT: [&str; 3] = ["edge", "cancel", "deriv"];

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
        let rules = Rules { tolerance: ENGINE_TOLERANCE, order: Order::None, words: true };
        loop {
            engine.flush();
            let lines = differences(rules, &wanted, &all(&over));
            if lines.is_empty() {
                break;
            }
            assert!(std::time::Instant::now() < deadline, "{}: {lines:?}", engine.name);
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        // Samples that VictoriaMetrics has shown already may be out of sight again for a while, as
        // it writes them out; what stays different is told.
        for left in (0..ENGINE_ROUNDS).rev() {
            let mut some = listed();
            some.retain(|case| !BIT_BY_BIT.iter().any(|name| case.query.contains(name)));
            let some: Vec<Case> = some.into_iter().step_by(ENGINE_QUERIES_STEP).collect();
            let sides: [Asked<'_>; 1] = [(&engine.name, &over.remote, 1)];
            let outcome = compare(ENGINE_TOLERANCE, &some, &local.remote, &sides);
            println!("{}: {outcome:?}", engine.name);
            let different = outcome.different;
            if different == 0 || left == 0 {
                different_all += different;
                break;
            }
            engine.flush();
        }
    }
    assert_eq!(different_all, 0, "answers over other engines");
}
