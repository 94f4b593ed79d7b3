//! `labstat rules test --replay 30d`: when rules would have fired on the history of a server.
//!
//! The server evaluates each alert's expression over the time, at the group's interval, in parts
//! that it and we hold easily; `for` and `keep_firing_for` are applied here. What recording rules
//! give is taken from the history, where it was recorded.

use std::collections::BTreeMap;
use std::fmt::Write;

use jiff::Timestamp;
use labstat_alerts::rules::{AlertRule, Group, Rule, RuleKind, RuleSet};
use labstat_model::duration;

use crate::answer::{Answer, Found, LabelMap};
use crate::client::Client;
use crate::failure::Failure;
use crate::progress;

/// Points of one question: Prometheus answers at most 11,000 of a series.
const POINTS_MAX: i64 = 2_000;

/// Firings of a rule that are shown; of those beyond only the number is.
const SHOWN_MAX: usize = 20;

/// One alert that fired.
struct Firing {
    labels: LabelMap,
    start_ms: i64,
    /// None for one that goes on at the end.
    end_ms: Option<i64>,
}

/// What is known of one series of a rule's result.
struct Active {
    since_ms: i64,
    seen_ms: i64,
    fired_ms: Option<i64>,
}

/// One rule over the time: series that are active, and what has fired.
struct Replay<'a> {
    alert: &'a AlertRule,
    active: BTreeMap<LabelMap, Active>,
    firings: Vec<Firing>,
}

impl Replay<'_> {
    /// The next evaluation, with the labels of all results.
    fn step(&mut self, time_ms: i64, found: &[&LabelMap]) {
        for labels in found {
            let new = Active { since_ms: time_ms, seen_ms: time_ms, fired_ms: None };
            let active = match self.active.get_mut(*labels) {
                Some(active) => active,
                None => self.active.entry((*labels).clone()).or_insert(new),
            };
            active.seen_ms = time_ms;
            if active.fired_ms.is_none() && time_ms - active.since_ms >= self.alert.for_ms {
                active.fired_ms = Some(time_ms);
            }
        }
        let keep_ms = self.alert.keep_firing_for_ms;
        let firings = &mut self.firings;
        self.active.retain(|labels, active| {
            if active.seen_ms == time_ms {
                return true;
            }
            let Some(start_ms) = active.fired_ms else { return false };
            // It is missed for the first time one step after it was last seen.
            let goes_on = keep_ms > 0 && time_ms - active.seen_ms <= keep_ms;
            if !goes_on {
                firings.push(Firing { labels: labels.clone(), start_ms, end_ms: Some(time_ms) });
            }
            goes_on
        });
    }

    fn finish(mut self) -> Vec<Firing> {
        for (labels, active) in self.active {
            if let Some(start_ms) = active.fired_ms {
                self.firings.push(Firing { labels, start_ms, end_ms: None });
            }
        }
        self.firings.sort_by_key(|firing| firing.start_ms);
        self.firings
    }
}

/// Replays all alerts of a set over the time between two ends; the text to show.
pub(super) async fn replay(
    client: &Client,
    set: &RuleSet,
    (start_ms, end_ms): (i64, i64),
) -> Result<String, Failure> {
    let mut line = progress::Line::new();
    let mut text = String::new();
    let alerts: Vec<(&Group, &Rule, &AlertRule)> = set
        .groups
        .iter()
        .flat_map(|group| group.rules.iter().map(move |rule| (group.as_ref(), rule)))
        .filter_map(|(group, rule)| match &rule.kind {
            RuleKind::Alert(alert) => Some((group, rule, alert)),
            RuleKind::Record { .. } => None,
        })
        .collect();
    for (at, (group, rule, alert)) in alerts.iter().enumerate() {
        let mut replay = Replay { alert, active: BTreeMap::new(), firings: Vec::new() };
        let step_ms = group.interval_ms.max(1);
        let mut from_ms = start_ms - start_ms.rem_euclid(step_ms);
        while from_ms <= end_ms {
            line.say(&format!("{} of {}: {}", at + 1, alerts.len(), rule.name));
            let to_ms = from_ms.saturating_add(step_ms.saturating_mul(POINTS_MAX - 1)).min(end_ms);
            let reply = client.range(&rule.expr, (from_ms, to_ms), step_ms).await;
            let reply = reply.map_err(|failure| failure.within(format!("alert {}", rule.name)))?;
            let found = match reply.answer(client.base())? {
                Answer::Matrix(found) => found,
                _ => Vec::new(),
            };
            feed(&mut replay, found, (from_ms, to_ms, step_ms));
            from_ms = to_ms - (to_ms - from_ms).rem_euclid(step_ms) + step_ms;
        }
        told(&mut text, &rule.name, &replay.finish(), end_ms);
    }
    drop(line);
    Ok(text)
}

/// Steps through one part of the time.
fn feed(replay: &mut Replay<'_>, found: Vec<Found>, (from_ms, to_ms, step_ms): (i64, i64, i64)) {
    let mut by_time: BTreeMap<i64, Vec<&LabelMap>> = BTreeMap::new();
    let mut found = found;
    for series in &mut found {
        series.labels.remove("__name__");
    }
    for series in &found {
        for point in &series.points {
            #[expect(clippy::cast_possible_truncation, reason = "times are far below 2^53 ms")]
            let time_ms = (point.time * 1000.0).round() as i64;
            by_time.entry(time_ms).or_default().push(&series.labels);
        }
    }
    let mut time_ms = from_ms;
    while time_ms <= to_ms {
        replay.step(time_ms, by_time.get(&time_ms).map_or(&[][..], Vec::as_slice));
        time_ms = time_ms.saturating_add(step_ms);
    }
}

fn told(text: &mut String, name: &str, firings: &[Firing], end_ms: i64) {
    let lasted = |firing: &Firing| firing.end_ms.unwrap_or(end_ms) - firing.start_ms;
    let sum_ms: i64 = firings.iter().map(lasted).sum();
    let what = match firings.len() {
        0 => "never".to_owned(),
        1 => format!("once, {} in all", length(sum_ms)),
        times => format!("{times} times, {} in all", length(sum_ms)),
    };
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{name}: {what}");
    for firing in firings.iter().take(SHOWN_MAX) {
        let labels = firing.labels.iter().map(|(name, value)| format!("{name}={value:?}"));
        let labels = labels.collect::<Vec<_>>().join(", ");
        let end = firing.end_ms.map_or_else(|| "now".to_owned(), moment);
        let (start, lasted) = (moment(firing.start_ms), length(lasted(firing)));
        let _ = writeln!(text, "  {start} to {end} ({lasted})  {{{labels}}}");
    }
    if firings.len() > SHOWN_MAX {
        let _ = writeln!(text, "  and {} more", firings.len() - SHOWN_MAX);
    }
}

/// A length of time, to the second: rules look no closer.
fn length(length_ms: i64) -> String {
    duration::format_ms(length_ms - length_ms % 1_000)
}

/// A time as people here read it.
fn moment(time_ms: i64) -> String {
    let time = Timestamp::from_millisecond(time_ms).unwrap_or_default();
    time.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fired(for_ms: i64, keep_firing_for_ms: i64, seen: &[i64]) -> Vec<(i64, Option<i64>)> {
        let alert = AlertRule { for_ms, keep_firing_for_ms, ..AlertRule::default() };
        let mut replay = Replay { alert: &alert, active: BTreeMap::new(), firings: Vec::new() };
        let labels = LabelMap::new();
        for time_ms in 0..10 {
            let found: &[&LabelMap] = if seen.contains(&time_ms) { &[&labels] } else { &[] };
            replay.step(time_ms, found);
        }
        replay.finish().iter().map(|firing| (firing.start_ms, firing.end_ms)).collect()
    }

    #[test]
    fn an_alert_waits_fires_and_is_kept() {
        assert_eq!(fired(0, 0, &[2, 3, 6]), [(2, Some(4)), (6, Some(7))]);
        assert_eq!(fired(2, 0, &[1, 2, 3, 4, 8, 9]), [(3, Some(5))]);
        assert_eq!(fired(0, 2, &[2, 4, 8]), [(2, Some(7)), (8, None)]);
        assert!(fired(5, 0, &[1, 2, 3, 4]).is_empty());
    }

    #[test]
    fn firings_are_summed() {
        let mut text = String::new();
        let firing = |start_ms, end_ms| Firing { labels: LabelMap::new(), start_ms, end_ms };
        told(&mut text, "A", &[firing(0, Some(60_000)), firing(120_000, None)], 180_076);
        assert!(text.starts_with("A: 2 times, 2m in all\n"), "{text}");
        assert!(text.contains(" to now (1m)"), "{text}");
        text.clear();
        told(&mut text, "B", &[], 0);
        assert_eq!(text, "B: never\n");
    }
}
