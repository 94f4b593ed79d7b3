//! Which steps of a selector are computed of samples, and which of buckets.
//!
//! Buckets give the answer that samples give wherever the edges of the windows are edges of
//! buckets; there the widest are taken that are worth it. Where samples are kept no longer,
//! buckets are all there is: if no edges agree then the finest, and the answer approximates.
//!
//! Pure: nothing is read here.

use labstat_model::Tiers;

use crate::column::Steps;
use crate::expr::Shift;

/// Fewer buckets than this, a day of hours, are not worth it while there are samples: these are
/// read about as fast, and of the newest no buckets are in store yet.
const BUCKETS_MIN: i64 = 24;

/// What a selector is looked at through: at each step a window that ends there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Windows {
    pub(super) steps: Steps,
    pub(super) shift: Shift,
    /// How far back each window reaches; its first millisecond is not in it.
    pub(super) range_ms: i64,
    /// What of a window is asked.
    pub(super) ask: Ask,
}

/// What of a window is asked, which decides when buckets answer it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// The newest sample and its time: exact where the window's end is the end of a bucket.
    Newest,
    /// What a bucket knows of its samples: exact where both edges are edges of buckets.
    Known,
    /// The samples themselves: never exact.
    Samples,
}

/// What a stretch of steps is computed of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Basis {
    Samples,
    Buckets { width_ms: i64, exact: bool },
}

/// Consecutive steps with the same basis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// The number of the first of them.
    pub(super) first: usize,
    pub(super) steps: Steps,
    pub(super) basis: Basis,
}

impl Windows {
    /// All steps, in order.
    pub(super) fn pieces(&self, tiers: &Tiers) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut first = 0;
        while first < self.steps.len {
            let basis = self.basis(tiers, self.begin_ms(first));
            let next = self.next_change(tiers, first).clamp(first + 1, self.steps.len);
            let len = next - first;
            match pieces.last_mut() {
                Some(last) if last.basis == basis => last.steps.len += len,
                _ => {
                    let steps = Steps { start_ms: self.steps.time(first), len, ..self.steps };
                    pieces.push(Piece { first, steps, basis });
                }
            }
            first = next;
        }
        pieces
    }

    /// The first millisecond in the window of a step.
    fn begin_ms(&self, step: usize) -> i64 {
        self.shift.apply(self.steps.time(step)) - self.range_ms + 1
    }

    /// The first step after `step` whose window begins in another tier.
    fn next_change(&self, tiers: &Tiers, step: usize) -> usize {
        let begin_ms = self.begin_ms(step);
        let edges = tiers.buckets.iter().map(|(_, from_ms)| *from_ms);
        let later = edges.chain([tiers.samples_from_ms]).filter(|edge_ms| *edge_ms > begin_ms);
        let Some(edge_ms) = later.min().filter(|_| self.shift.at_ms.is_none()) else {
            return self.steps.len;
        };
        let steps = (edge_ms.saturating_sub(begin_ms) - 1) / self.steps.step_ms.max(1) + 1;
        step.saturating_add(usize::try_from(steps).unwrap_or(usize::MAX))
    }

    fn basis(&self, tiers: &Tiers, begin_ms: i64) -> Basis {
        let sampled = begin_ms >= tiers.samples_from_ms;
        let widths = || tiers.buckets.iter().filter(|(width_ms, _)| *width_ms > 0);
        let covering = || widths().filter(|(_, from_ms)| *from_ms <= begin_ms);
        let mut exact = covering()
            .filter(|(width_ms, _)| self.is_exact(*width_ms))
            .filter(|(width_ms, _)| !sampled || self.is_worth(*width_ms));
        if let Some((width_ms, _)) = exact.next_back() {
            return Basis::Buckets { width_ms: *width_ms, exact: true };
        }
        if sampled {
            return Basis::Samples;
        }
        // Before all tiers there may still be series that are kept for longer than most.
        match covering().next().or_else(|| widths().next_back()) {
            Some((width_ms, _)) => {
                Basis::Buckets { width_ms: *width_ms, exact: self.is_exact(*width_ms) }
            }
            None => Basis::Samples,
        }
    }

    /// Whether there is more than one window.
    fn moves(&self) -> bool {
        self.steps.len > 1 && self.shift.at_ms.is_none()
    }

    /// Whether buckets are less to read than samples.
    fn is_worth(&self, width_ms: i64) -> bool {
        let span_ms = self.shift.apply(self.steps.last()) - self.begin_ms(0) + 1;
        let newest_alone = self.ask == Ask::Newest && !self.moves();
        !newest_alone && span_ms / width_ms >= BUCKETS_MIN
    }

    /// Whether the edges that matter are edges of buckets at every step.
    fn is_exact(&self, width_ms: i64) -> bool {
        let on_edge = |ms: i64| ms % width_ms == 0;
        let ends = on_edge(self.shift.apply(self.steps.start_ms))
            && (!self.moves() || on_edge(self.steps.step_ms));
        match self.ask {
            Ask::Newest => ends,
            Ask::Known => ends && on_edge(self.range_ms),
            Ask::Samples => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: i64 = 60_000;
    const HOUR: i64 = 60 * MIN;
    const DAY: i64 = 24 * HOUR;

    fn windows(start_ms: i64, step_ms: i64, len: usize, range_ms: i64, ask: Ask) -> Windows {
        let steps = Steps { start_ms, step_ms, len };
        Windows { steps, shift: Shift::default(), range_ms, ask }
    }

    /// Samples since day 100, buckets of five minutes since day 50, hours since ever.
    fn tiers() -> Tiers {
        Tiers { samples_from_ms: 100 * DAY, buckets: vec![(5 * MIN, 50 * DAY), (HOUR, i64::MIN)] }
    }

    fn bases(windows: Windows, tiers: &Tiers) -> Vec<(usize, usize, Basis)> {
        let pieces = windows.pieces(tiers);
        pieces.iter().map(|piece| (piece.first, piece.steps.len, piece.basis)).collect()
    }

    const HOURS: Basis = Basis::Buckets { width_ms: HOUR, exact: true };
    const FIVE: Basis = Basis::Buckets { width_ms: 5 * MIN, exact: true };
    const ABOUT_FIVE: Basis = Basis::Buckets { width_ms: 5 * MIN, exact: false };
    const ABOUT_HOURS: Basis = Basis::Buckets { width_ms: HOUR, exact: false };

    #[test]
    fn the_widest_buckets_are_taken_whose_edges_agree() {
        let at = |start, step, range, ask| bases(windows(start, step, 200, range, ask), &tiers());
        let of = |basis| vec![(0, 200, basis)];
        let day = 200 * DAY;
        assert_eq!(at(day, HOUR, HOUR, Ask::Known), of(HOURS));
        assert_eq!(at(day, HOUR, 30 * MIN, Ask::Known), of(FIVE));
        assert_eq!(at(day, 10 * MIN, HOUR, Ask::Known), of(FIVE));
        assert_eq!(at(day + 5 * MIN, HOUR, HOUR, Ask::Known), of(FIVE));
        assert_eq!(at(day + MIN, HOUR, HOUR, Ask::Known), of(Basis::Samples));
        assert_eq!(at(day, MIN, HOUR, Ask::Known), of(Basis::Samples));
        assert_eq!(at(day, HOUR, MIN, Ask::Known), of(Basis::Samples));
        assert_eq!(at(day, HOUR, MIN, Ask::Newest), of(HOURS));
        assert_eq!(at(day, HOUR, HOUR, Ask::Samples), of(Basis::Samples));
    }

    #[test]
    fn few_buckets_are_not_worth_it() {
        let few = windows(200 * DAY, HOUR, 20, HOUR, Ask::Known);
        assert_eq!(bases(few, &tiers()), [(0, 20, FIVE)]);
        let fewer = windows(200 * DAY, HOUR, 1, HOUR, Ask::Known);
        assert_eq!(bases(fewer, &tiers()), [(0, 1, Basis::Samples)]);
        let long = windows(200 * DAY, 1, 1, 30 * DAY, Ask::Known);
        assert_eq!(bases(long, &tiers()), [(0, 1, HOURS)]);
    }

    #[test]
    fn without_samples_buckets_have_to_do() {
        let days = windows(40 * DAY + MIN, DAY, 100, HOUR, Ask::Known);
        assert_eq!(
            bases(days, &tiers()),
            [(0, 11, ABOUT_HOURS), (11, 50, ABOUT_FIVE), (61, 39, Basis::Samples)]
        );
        let days = windows(40 * DAY, DAY, 100, HOUR, Ask::Samples);
        assert_eq!(
            bases(days, &tiers()),
            [(0, 11, ABOUT_HOURS), (11, 50, ABOUT_FIVE), (61, 39, Basis::Samples)]
        );
    }

    #[test]
    fn before_all_tiers_the_widest_is_asked() {
        let mut tiers = tiers();
        tiers.buckets[1].1 = 10 * DAY;
        let old = windows(DAY + MIN, DAY, 3, HOUR, Ask::Newest);
        assert_eq!(bases(old, &tiers), [(0, 3, ABOUT_HOURS)]);
        tiers.buckets.clear();
        assert_eq!(bases(old, &tiers), [(0, 3, Basis::Samples)]);
    }

    #[test]
    fn what_is_pinned_has_one_basis() {
        let mut pinned = windows(0, MIN, 50, 2 * DAY, Ask::Known);
        pinned.shift = Shift { at_ms: Some(80 * DAY), offset_ms: HOUR };
        assert_eq!(bases(pinned, &tiers()), [(0, 50, HOURS)]);
        pinned.shift.offset_ms = -MIN;
        assert_eq!(bases(pinned, &tiers()), [(0, 50, ABOUT_FIVE)]);
        assert_eq!(bases(windows(0, 1, 0, 1, Ask::Known), &tiers()), []);
    }
}
