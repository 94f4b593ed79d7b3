//! How the value behind an alert went before it was told: what a message says in numbers and draws.
//!
//! The expression of an alert says what is compared with what ([`Reading`]); the query that is
//! compared, over the last hours, is the picture ([`Illustration`]). Everything here may fail: then
//! the message goes out without it.
//!
//! Not here: how a picture is drawn (`notify::sparkline`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use labstat_model::{METRIC_NAME, Series};
use labstat_promql::{
    Condition, Engine, Limit, QueryOptions, Source, Unit, Value, conditions, unit,
};

use crate::message::Message;
use crate::notification::Notification;
use crate::service::Database;

/// How long all pictures of one message may take. A message is worth more than its picture.
const DEADLINE: Duration = Duration::from_secs(2);

/// Alerts of one message that get a picture: more than these nobody looks at.
const PICTURES_MAX: usize = 4;

/// How much of the past a picture shows: an evening.
const SPAN_MS: i64 = 6 * 60 * 60 * 1000;

/// The most that it shows of an alert that lasted longer.
const SPAN_MAX_MS: i64 = 7 * 86_400 * 1000;

/// Values of a picture.
const VALUES_LEN: i64 = 120;

/// The time between two values, at the least: agents send no more often.
const STEP_MIN_MS: i64 = 10_000;

/// Bytes of an expression that is looked at.
const EXPRESSION_LEN_MAX: usize = 16 * 1024;

/// Labels that a rule gives its alerts: they say nothing about the series behind one.
const RULE_LABELS: [&str; 3] = [METRIC_NAME, "alertname", "severity"];

/// What the expression of an alert says about its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// What is compared, as a query; the whole expression where nothing is.
    pub subject: String,
    /// The comparisons; empty where nothing is compared.
    conditions: Vec<Condition>,
    /// What the value counts, where that can be told.
    pub unit: Option<Unit>,
}

/// The course of the value behind one alert, and the limit it is held to.
#[derive(Debug, Clone, PartialEq)]
pub struct Illustration {
    /// The alert's fingerprint.
    pub fingerprint: String,
    /// The time of the first value, in milliseconds since the epoch.
    pub start_ms: i64,
    /// The time from one value to the next, in milliseconds.
    pub step_ms: i64,
    /// The values; `None` where there was none.
    pub values: Vec<Option<f64>>,
    /// The number that the value is compared with.
    pub limit: Option<f64>,
    /// Whether what lies above the limit is bad, and not what lies below.
    pub is_upper: bool,
    /// What the values count.
    pub unit: Option<Unit>,
}

impl Illustration {
    /// The time of the last value.
    pub fn end_ms(&self) -> i64 {
        let steps = i64::try_from(self.values.len().saturating_sub(1)).unwrap_or(0);
        self.start_ms.saturating_add(steps.saturating_mul(self.step_ms))
    }

    /// The lowest and the highest of the values.
    pub fn range(&self) -> Option<(f64, f64)> {
        let mut known = self.values.iter().flatten().copied();
        let first = known.next()?;
        Some(known.fold((first, first), |(low, high), value| (low.min(value), high.max(value))))
    }
}

/// Answers queries about the past.
pub trait Past: Send + Sync {
    /// The values of `query` from `start_ms` to `end_ms`; blocks, no longer than `timeout`, and no
    /// longer than `cancel` is false. `None` when it cannot be answered.
    fn range(
        &self,
        query: &str,
        times: (i64, i64, i64),
        timeout: Duration,
        cancel: &Arc<AtomicBool>,
    ) -> Option<Vec<Series>>;
}

/// The past as a database and an engine know it.
#[derive(Clone)]
pub struct Archive {
    /// Where the samples are.
    pub database: Arc<dyn Database>,
    /// What evaluates queries.
    pub engine: Engine,
}

impl Past for Archive {
    fn range(
        &self,
        query: &str,
        (start_ms, end_ms, step_ms): (i64, i64, i64),
        timeout: Duration,
        cancel: &Arc<AtomicBool>,
    ) -> Option<Vec<Series>> {
        let options = QueryOptions {
            timeout: Some(timeout),
            cancel: Some(cancel.clone()),
            ..QueryOptions::default()
        };
        let source: &dyn Source = self.database.as_ref();
        match self.engine.range(source, query, start_ms, end_ms, step_ms, &options).ok()?.value {
            Value::Matrix(series) => Some(series),
            _ => None,
        }
    }
}

/// The pictures of a message's first alerts, within two seconds. Within a tokio runtime.
pub async fn illustrate(message: &Message, past: Arc<dyn Past>) -> Vec<Illustration> {
    let alerts: Vec<Notification> = message.alerts.iter().take(PICTURES_MAX).cloned().collect();
    let now_ms = message.created_ms;
    let cancel = Arc::new(AtomicBool::new(false));
    let flag = cancel.clone();
    let work = tokio::task::spawn_blocking(move || {
        let until = Instant::now() + DEADLINE;
        let drawn = |alert| illustration(alert, past.as_ref(), now_ms, until, &flag);
        alerts.iter().filter_map(drawn).collect()
    });
    let pictures = tokio::time::timeout(DEADLINE, work).await;
    cancel.store(true, Ordering::Relaxed);
    pictures.map(Result::unwrap_or_default).unwrap_or_default()
}

/// The picture of one alert, when there is anything to draw.
fn illustration(
    alert: &Notification,
    past: &dyn Past,
    now_ms: i64,
    until: Instant,
    cancel: &Arc<AtomicBool>,
) -> Option<Illustration> {
    let reading = Reading::of(alert)?;
    // What is not compared is one or nothing: no course to draw.
    reading.conditions.first()?;
    let end_ms = alert.ends_at_ms.unwrap_or(now_ms).min(now_ms);
    let lasted_ms = end_ms.saturating_sub(alert.active_at_ms).max(0);
    let span_ms = lasted_ms.saturating_add(lasted_ms / 4).clamp(SPAN_MS, SPAN_MAX_MS);
    let step_ms = (span_ms / VALUES_LEN).max(STEP_MIN_MS);
    let start_ms = end_ms.saturating_sub(span_ms / step_ms * step_ms);
    let ask = |query: &str, start_ms| {
        let left = until.checked_duration_since(Instant::now())?;
        let series = past.range(query, (start_ms, end_ms, step_ms), left, cancel)?;
        pick(&series, alert).cloned()
    };
    let series = ask(&reading.subject, start_ms)?;
    let mut values = vec![None; usize::try_from((end_ms - start_ms) / step_ms + 1).ok()?];
    for (time_ms, value) in series.times.iter().zip(&series.values) {
        let at = usize::try_from((time_ms - start_ms) / step_ms).ok();
        if let Some(slot) = at.and_then(|at| values.get_mut(at)).filter(|_| value.is_finite()) {
            *slot = Some(*value);
        }
    }
    // One point is no course.
    if values.iter().flatten().count() < 2 {
        return None;
    }
    let bound = reading.nearest_bound(alert.value, |query| {
        ask(query, end_ms).and_then(|series| series.values.last().copied())
    });
    let fingerprint = alert.fingerprint.clone();
    Some(Illustration {
        fingerprint,
        start_ms,
        step_ms,
        values,
        limit: bound.map(|(limit, _)| limit),
        is_upper: bound.is_none_or(|(_, is_upper)| is_upper),
        unit: reading.unit,
    })
}

/// The series that the alert comes from: its labels are the alert's, as far as both have them; of
/// several the one with the most of them, then with the value nearest to the alert's.
fn pick<'a>(series: &'a [Series], alert: &Notification) -> Option<&'a Series> {
    let shared = |series: &Series| {
        let mut shared = 0_usize;
        for (name, value) in series.labels.iter() {
            match alert.labels.get(name) {
                _ if RULE_LABELS.contains(&name) => {}
                Some(own) if own != value => return None,
                Some(_) => shared += 1,
                None => {}
            }
        }
        Some(shared)
    };
    let distance = |series: &Series| {
        let last = series.values.last().copied().unwrap_or(f64::NAN);
        (last - alert.value).abs()
    };
    let fits = series.iter().filter_map(|series| Some((shared(series)?, series)));
    let better = |a: &(usize, &Series), b: &(usize, &Series)| {
        a.0.cmp(&b.0).then_with(|| distance(b.1).total_cmp(&distance(a.1)))
    };
    fits.max_by(better).map(|(_, series)| series)
}

impl Reading {
    /// What the expression of `alert`, which stands in its link, says; `None` where there is none.
    pub fn of(alert: &Notification) -> Option<Self> {
        let expression = expression(&alert.generator_url)?;
        let conditions = conditions(&expression).ok()?;
        Some(match conditions.first() {
            Some(first) => {
                let (subject, unit) = (first.subject.clone(), first.unit);
                Self { subject, conditions, unit }
            }
            None => Self { unit: unit(&expression), subject: expression, conditions },
        })
    }

    /// The number that the value passed, where it stands in the expression.
    pub fn limit(&self, value: f64) -> Option<f64> {
        self.nearest_bound(value, |_| None).map(|(limit, _)| limit)
    }

    /// Whether the value says how grave it is: it is held against a bound, and not just there.
    pub fn is_measured(&self) -> bool {
        let operator =
            |condition: &Condition| matches!(condition.operator, ">" | ">=" | "<" | "<=");
        self.conditions.iter().any(operator)
    }

    /// Of several bounds, such as `40 < x < 150`, the one that is meant is the nearest; and whether
    /// what lies above it is bad. None when one of them is not known: it might be the one.
    fn nearest_bound(&self, value: f64, ask: impl Fn(&str) -> Option<f64>) -> Option<(f64, bool)> {
        let mut nearest: Option<(f64, bool)> = None;
        for condition in &self.conditions {
            let limit = match &condition.limit {
                Limit::Number(limit) => *limit,
                Limit::Query(query) => ask(query)?,
            };
            let is_nearer = |(other, _): (f64, bool)| (limit - value).abs() < (other - value).abs();
            if limit.is_finite() && nearest.is_none_or(is_nearer) {
                nearest = Some((limit, !condition.operator.starts_with('<')));
            }
        }
        nearest
    }
}

/// The expression in the link of an alert: `…/graph?g0.expr=…`, ours and Prometheus'.
fn expression(url: &str) -> Option<String> {
    let (_, query) = url.split_once('?')?;
    let query = query.split('#').next().unwrap_or_default();
    let pairs = form_urlencoded::parse(query.as_bytes());
    let found = pairs.into_iter().find(|(name, _)| name == "g0.expr")?.1.into_owned();
    (!found.is_empty() && found.len() <= EXPRESSION_LEN_MAX).then_some(found)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use labstat_model::Labels;

    use super::*;
    use crate::notify::test_alert;

    struct Fixed {
        series: Vec<Series>,
        asked: Mutex<Vec<String>>,
    }

    impl Past for Fixed {
        fn range(
            &self,
            query: &str,
            (start_ms, end_ms, step_ms): (i64, i64, i64),
            _: Duration,
            _: &Arc<AtomicBool>,
        ) -> Option<Vec<Series>> {
            self.asked.lock().unwrap().push(query.to_owned());
            let mut out = Vec::new();
            for series in &self.series {
                let mut answer = Series::new(series.labels.clone());
                let mut time_ms = start_ms;
                while time_ms <= end_ms {
                    answer.push(time_ms, series.values[0]);
                    time_ms += step_ms;
                }
                out.push(answer);
            }
            Some(out)
        }
    }

    fn series(labels: &[(&str, &str)], value: f64) -> Series {
        let mut series = Series::new(Labels::new(labels.iter().copied()));
        series.push(0, value);
        series
    }

    fn alert(expression: &str, value: f64) -> Notification {
        let mut alert = test_alert(100_000_000);
        let coded: String = form_urlencoded::byte_serialize(expression.as_bytes()).collect();
        alert.generator_url = format!("http://lab:5227/graph?g0.expr={coded}&g0.tab=1");
        alert.value = value;
        alert.labels.insert("instance".to_owned(), "vertex".to_owned());
        alert
    }

    #[test]
    fn the_expression_is_read_from_the_link() {
        let url = "http://x/graph?g0.expr=a%7Bb%3D%22c+d%22%7D+%3E+5&g0.tab=1#m";
        assert_eq!(expression(url).as_deref(), Some("a{b=\"c d\"} > 5"));
        for url in ["", "http://x/graph", "http://x/?g0.expr=", "http://x/?expr=a"] {
            assert_eq!(expression(url), None, "{url}");
        }
    }

    #[test]
    fn the_limit_is_the_bound_that_was_passed() {
        let reading = Reading::of(&alert("x_celsius < 200 and x_celsius >= 80", 84.0)).unwrap();
        assert_eq!(reading.limit(84.0), Some(80.0));
        let unknown = Reading::of(&alert("x_celsius < 200 and x_celsius >= crit", 84.0)).unwrap();
        assert_eq!(unknown.limit(84.0), None, "it may be the one that is not known");
        assert_eq!(reading.unit, Some(Unit::Celsius));
        assert!(reading.is_measured());
        assert!(!Reading::of(&alert("up == 0", 0.0)).unwrap().is_measured());
        assert_eq!(Reading::of(&alert("absent(up)", 1.0)).unwrap().limit(1.0), None);
        assert_eq!(Reading::of(&alert("no query )", 1.0)), None);
    }

    #[test]
    fn the_picture_is_of_the_series_behind_the_alert() {
        let past = Fixed {
            series: vec![
                series(&[("__name__", "x"), ("instance", "apex"), ("chip", "a")], 84.0),
                series(&[("instance", "vertex"), ("chip", "a")], 50.0),
                series(&[("instance", "vertex"), ("chip", "b"), ("severity", "odd")], 83.0),
            ],
            asked: Mutex::default(),
        };
        let draw = |alert: &Notification| {
            let until = Instant::now() + Duration::from_secs(600);
            illustration(alert, &past, 100_000_000, until, &Arc::new(AtomicBool::new(false)))
        };
        let picture = draw(&alert("max by (instance) (x_celsius > limit_celsius)", 84.0)).unwrap();
        assert_eq!(picture.values.first(), Some(&Some(83.0)));
        assert_eq!(picture.values.len(), 121);
        assert_eq!(picture.end_ms(), 100_000_000);
        assert_eq!(picture.limit, Some(83.0), "the limit is asked for too");
        assert_eq!(past.asked.lock().unwrap().as_slice(), ["x_celsius", "limit_celsius"]);
        assert_eq!(draw(&alert("absent(up)", 1.0)), None);
        let mut elsewhere = alert("x_celsius > 80", 84.0);
        elsewhere.labels.insert("instance".to_owned(), "zenith".to_owned());
        assert_eq!(draw(&elsewhere), None);
    }

    #[test]
    fn a_long_alert_is_drawn_from_its_beginning() {
        let past = Fixed { series: vec![series(&[], 1.0)], asked: Mutex::default() };
        let mut long = alert("x > 0", 1.0);
        long.active_at_ms = 0;
        let until = Instant::now() + Duration::from_secs(600);
        let flag = Arc::new(AtomicBool::new(false));
        let picture = illustration(&long, &past, 100_000_000, until, &flag).unwrap();
        assert!(picture.start_ms < 0 && picture.values.len() < 130);
        // The deadline is over before anything was asked.
        assert_eq!(illustration(&long, &past, 100_000_000, Instant::now(), &flag), None);
    }
}
