//! `labstat rules test --replay 30d`: when rules would have fired on the history of a server.

use std::fmt::Write;

use jiff::Timestamp;
use labstat_alerts::replay::{self, Firing, Past, Replayed, RuleReplay, Span, Taken};
use labstat_alerts::rules::RuleSet;
use labstat_model::{Labels, Series, duration};

use crate::answer::{Answer, Found};
use crate::client::{Client, Reply};
use crate::failure::Failure;
use crate::progress;

/// Firings of a rule that are shown; of those beyond only the number is.
const SHOWN_MAX: usize = 20;

/// Replays all alerts of a set over the time between two ends; the text to show, and whether all rules
/// could be replayed.
pub(super) async fn replay(
    client: &Client,
    set: &RuleSet,
    (start_ms, end_ms): (i64, i64),
) -> Result<(String, bool), Failure> {
    let mut line = progress::Line::new();
    let replayed = replay::replay(client, set, (start_ms, end_ms), |place| {
        line.say(&format!("{} of {}: {}", place.step, place.steps, place.name));
    });
    let replayed = replayed.await;
    drop(line);
    match replayed {
        Ok(replayed) => Ok(told(&replayed, end_ms)),
        Err(replay::ReplayError::Past(failure)) => Err(failure),
        Err(error) => Err(Failure::new("failed to replay").because(&error)),
    }
}

impl Past for Client {
    type Error = Failure;

    async fn range(&self, expr: &str, span: Span) -> Result<Vec<Series>, Failure> {
        let reply = Self::range(self, expr, (span.from_ms, span.to_ms), span.step_ms).await?;
        self.series(&reply)
    }

    async fn samples(
        &self,
        selector: &str,
        (from_ms, to_ms): (i64, i64),
    ) -> Result<Vec<Series>, Failure> {
        // A range does not hold its beginning.
        let text = format!("{selector}[{}ms]", to_ms.saturating_sub(from_ms).saturating_add(1));
        let reply = self.instant(&text, Some(to_ms)).await?;
        self.series(&reply)
    }

    async fn answers(&self) -> Result<(), Failure> {
        self.instant("1", None).await.map(drop)
    }
}

impl Client {
    fn series(&self, reply: &Reply) -> Result<Vec<Series>, Failure> {
        match reply.answer(self.base())? {
            Answer::Matrix(found) => Ok(found.iter().map(series).collect()),
            _ => Ok(Vec::new()),
        }
    }
}

fn series(found: &Found) -> Series {
    let labels = found.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let mut series = Series::new(Labels::new(labels));
    for point in &found.points {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "what is beyond is not what was asked for"
        )]
        let time_ms = (point.time * 1000.0).round() as i64;
        // A server that says times in another order says nothing.
        if series.times.last().is_none_or(|last_ms| *last_ms < time_ms) {
            series.push(time_ms, point.value);
        }
    }
    series
}

/// What is told of all rules, and whether all could be replayed.
fn told(replayed: &Replayed<'_, Failure>, end_ms: i64) -> (String, bool) {
    let mut text = String::new();
    let mut is_whole = true;
    for RuleReplay { rule, outcome } in &replayed.rules {
        match outcome {
            Ok(firings) => told_of(&mut text, &rule.name, firings, end_ms),
            Err(error) => {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "{}: not replayed: {error}", rule.name);
                is_whole = false;
            }
        }
    }
    for (name, taken) in &replayed.taken {
        let what = match taken {
            Taken::Circular => "reads itself: it is taken as the server has recorded it",
            Taken::Alerts => "reads ALERTS: these are taken as the server has recorded them",
        };
        let _ = writeln!(text, "{name}: {what}");
    }
    (text, is_whole)
}

/// When one alert would have fired.
fn told_of(text: &mut String, name: &str, firings: &[Firing], end_ms: i64) {
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

    #[test]
    fn firings_are_summed() {
        let mut text = String::new();
        let firing = |start_ms, end_ms| Firing { labels: Labels::default(), start_ms, end_ms };
        told_of(&mut text, "A", &[firing(0, Some(60_000)), firing(120_000, None)], 180_076);
        assert!(text.starts_with("A: 2 times, 2m in all\n"), "{text}");
        assert!(text.contains(" to now (1m)"), "{text}");
        text.clear();
        told_of(&mut text, "B", &[], 0);
        assert_eq!(text, "B: never\n");
    }
}
