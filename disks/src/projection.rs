//! When something that is used up will be used up: wear, or spare.
//!
//! A straight line through the history (Theil and Sen: the median of all slopes, which a few wild
//! points do not move), with the slopes' quartiles as the interval. Nothing is said of what does
//! not move, or was not watched for long enough.

use serde::Serialize;

/// Points that are looked at: more are thinned out, for the slopes of all pairs are taken.
const POINTS_MAX: usize = 200;
/// A history shorter than this says nothing: load changes from week to week.
const SPAN_SECONDS_MIN: f64 = 14.0 * DAY_SECONDS;
/// From here on the date can be relied on, if the slopes agree.
const SPAN_SECONDS_GOOD: f64 = 120.0 * DAY_SECONDS;
/// From here on it is good for planning, if the slopes agree.
const SPAN_SECONDS_FAIR: f64 = 60.0 * DAY_SECONDS;
/// Steps that the number must have made; disks count in whole percents.
const STEPS_MIN: usize = 2;
/// As above, for a date to rely on.
const STEPS_GOOD: usize = 5;
/// Nobody plans beyond this.
const HORIZON_SECONDS: f64 = 50.0 * 365.25 * DAY_SECONDS;
const DAY_SECONDS: f64 = 86_400.0;

/// How far a projection can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// A guess: short history, or slopes that disagree.
    Low,
    /// Good for planning.
    Fair,
    /// Long and even.
    Good,
}

impl Confidence {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Fair => "fair",
            Self::Good => "good",
        }
    }
}

/// When it will be used up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Projection {
    /// Most likely, in Unix seconds.
    pub at_seconds: f64,
    /// Not before, by the steeper half of the history, in Unix seconds.
    pub earliest_seconds: f64,
    /// Not after, by the flatter half, in Unix seconds; `None` where that is never.
    pub latest_seconds: Option<f64>,
    /// How far that can be relied on.
    pub confidence: Confidence,
}

/// When the number in `history`, points of `(Unix seconds, number)`, will reach `end`: a wear
/// ratio 1, a spare its own threshold. Points may come in any order.
///
/// `None` when it does not move towards `end`, is there already, has been watched for less than
/// two weeks, or would take more than fifty years.
pub fn project(history: &[(f64, f64)], end: f64) -> Option<Projection> {
    let mut points: Vec<(f64, f64)> =
        history.iter().copied().filter(|(at, it)| at.is_finite() && it.is_finite()).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (&first, &last) = (points.first()?, points.last()?);
    let span = last.0 - first.0;
    let steps = points.windows(2).filter(|pair| matches!(pair, [a, b] if a.1 != b.1)).count();
    let left = end - last.1;
    if span < SPAN_SECONDS_MIN || steps < STEPS_MIN || left == 0.0 {
        return None;
    }
    let slopes = slopes(&thinned(&points));
    // Towards the end is forwards.
    let mut speeds: Vec<f64> = slopes.into_iter().map(|slope| slope * left.signum()).collect();
    speeds.sort_by(f64::total_cmp);
    let quantile = |part: usize| speeds.get((speeds.len().checked_sub(1)? * part) / 4).copied();
    let (slow, middle, fast) = (quantile(1)?, quantile(2)?, quantile(3)?);
    let at = |speed: f64| {
        (speed > 0.0).then(|| left.abs() / speed).filter(|wait| *wait <= HORIZON_SECONDS)
    };
    let wait = at(middle)?;
    let latest = at(slow);
    let even = latest.is_some_and(|latest| latest <= wait * 1.5) && fast <= middle * 1.5;
    let confidence = match () {
        () if even && span >= SPAN_SECONDS_GOOD && steps >= STEPS_GOOD => Confidence::Good,
        () if span >= SPAN_SECONDS_GOOD || even && span >= SPAN_SECONDS_FAIR => Confidence::Fair,
        () => Confidence::Low,
    };
    Some(Projection {
        at_seconds: last.0 + wait,
        earliest_seconds: last.0 + at(fast).unwrap_or(wait),
        latest_seconds: latest.map(|wait| last.0 + wait),
        confidence,
    })
}

/// At most [`POINTS_MAX`] of the points, evenly, the last one among them.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let stride = points.len().div_ceil(POINTS_MAX).max(1);
    let mut kept: Vec<_> = points.iter().rev().step_by(stride).copied().collect();
    kept.reverse();
    kept
}

/// The slopes between all pairs.
fn slopes(points: &[(f64, f64)]) -> Vec<f64> {
    let mut slopes = Vec::new();
    for (at, a) in points.iter().enumerate() {
        let later = points.iter().skip(at + 1).filter(|b| b.0 > a.0);
        slopes.extend(later.map(|b| (b.1 - a.1) / (b.0 - a.0)));
    }
    slopes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A number a day that grows by `speed` a day, in whole percents as disks count.
    fn history(days: u32, speed: f64) -> Vec<(f64, f64)> {
        let at = |day: u32| f64::from(day) * DAY_SECONDS;
        (0..days).map(|day| (at(day), (f64::from(day) * speed * 100.0).floor() / 100.0)).collect()
    }

    #[test]
    fn an_even_wear_ends_where_the_line_does() {
        // A thousandth a day: 1000 days from the beginning.
        let found = project(&history(365, 0.001), 1.0).unwrap();
        let days = found.at_seconds / DAY_SECONDS;
        assert!((900.0..1100.0).contains(&days), "{days}");
        assert!(found.earliest_seconds <= found.at_seconds);
        assert!(found.latest_seconds.unwrap() >= found.at_seconds);
        assert_eq!(found.confidence, Confidence::Good);
    }

    #[test]
    fn a_spare_falls_to_its_threshold() {
        let falling: Vec<_> = history(200, 0.002).iter().map(|(at, it)| (*at, 1.0 - it)).collect();
        let found = project(&falling, 0.1).unwrap();
        let days = found.at_seconds / DAY_SECONDS;
        assert!((400.0..500.0).contains(&days), "{days}");
    }

    #[test]
    fn nothing_is_said_of_what_cannot_be_known() {
        assert_eq!(project(&[], 1.0), None);
        assert_eq!(project(&history(5, 0.01), 1.0), None, "too short");
        assert_eq!(project(&history(365, 0.0), 1.0), None, "it does not move");
        assert_eq!(project(&history(365, 0.001), -1.0), None, "it moves away");
        assert_eq!(project(&history(40, 0.000_3), 1.0), None, "one step is no line");
        let wild = [(0.0, f64::NAN), (f64::INFINITY, 1.0)];
        assert_eq!(project(&wild, 1.0), None);
    }

    #[test]
    fn a_short_history_is_a_guess() {
        let found = project(&history(30, 0.002), 1.0).unwrap();
        assert_eq!(found.confidence, Confidence::Low);
    }

    proptest! {
        #[test]
        fn never_panics_and_never_lies_in_the_past(
            points in prop::collection::vec((0.0..1e9, -1.0..300.0), 0..300), end in -1.0..300.0,
        ) {
            if let Some(found) = project(&points, end) {
                let last = points.iter().map(|point| point.0).fold(0.0, f64::max);
                prop_assert!(found.at_seconds >= last);
                prop_assert!(found.earliest_seconds <= found.at_seconds + 1.0);
            }
        }
    }
}
