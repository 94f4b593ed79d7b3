//! Windows that overlap: folds that look at each sample a few times, however long the window.
//!
//! A window moves forward only, so its samples are kept as two parts. Of the older part there is
//! a fold for every place it may begin at; the newer part is folded as samples come. A window is
//! the two put together, and nothing is ever subtracted, so no precision is lost. When the older
//! part has been left behind, the whole window becomes the older part.

use std::ops::Range;

/// What is known of consecutive samples, such that two neighbours can be put together.
pub(crate) trait Fold: Copy {
    /// What is folded: the value of a sample, or what a bucket knows of many.
    type Of: Copy;
    /// Whether the values can be folded in any grouping with the same result as in their order.
    fn suits(values: &[Self::Of]) -> bool;
    /// Of a single sample.
    fn of(value: Self::Of) -> Self;
    /// Of these samples and, after them, `later` ones.
    fn then(self, later: Self) -> Self;
}

/// The fold of a window that moves over a series.
#[derive(Debug)]
pub(crate) struct Slide<F> {
    /// Folds of the older part: the last of its samples, the last two, and so on.
    older: Vec<F>,
    /// Where the older part ends and the newer one begins.
    split: usize,
    newer: Option<F>,
    /// Where the newer part ends.
    end: usize,
}

impl<F: Fold> Slide<F> {
    pub(crate) fn new() -> Self {
        Self { older: Vec::new(), split: 0, newer: None, end: 0 }
    }

    /// The fold of `values[window]`; `None` when that is empty. Neither end of the window may be
    /// before that of the call before.
    pub(crate) fn fold(&mut self, values: &[F::Of], window: &Range<usize>) -> Option<F> {
        if window.start >= self.split {
            self.start_anew(values, window);
        } else {
            for value in values.get(self.end..window.end).unwrap_or(&[]) {
                let one = F::of(*value);
                self.newer = Some(self.newer.map_or(one, |newer| newer.then(one)));
            }
        }
        self.end = window.end;
        let older = (self.split - window.start).checked_sub(1).and_then(|at| self.older.get(at));
        match (older.copied(), self.newer) {
            (Some(older), Some(newer)) => Some(older.then(newer)),
            (older, newer) => older.or(newer),
        }
    }

    fn start_anew(&mut self, values: &[F::Of], window: &Range<usize>) {
        self.older.clear();
        self.newer = None;
        self.split = window.end.max(window.start);
        let mut last: Option<F> = None;
        for value in values.get(window.clone()).unwrap_or(&[]).iter().rev() {
            let one = F::of(*value);
            let fold = last.map_or(one, |last| one.then(last));
            self.older.push(fold);
            last = Some(fold);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The samples themselves: shows that none is missing, doubled or out of order.
    #[derive(Debug, Clone, Copy, PartialEq)]
    struct Ends(f64, f64, usize);

    impl Fold for Ends {
        type Of = f64;

        fn suits(_: &[f64]) -> bool {
            true
        }

        fn of(value: f64) -> Self {
            Self(value, value, 1)
        }

        fn then(self, later: Self) -> Self {
            assert_eq!(self.1 + 1.0, later.0, "neighbours are put together");
            Self(self.0, later.1, self.2 + later.2)
        }
    }

    proptest! {
        #[test]
        fn a_window_is_all_its_samples_in_order(moves in prop::collection::vec((0_usize..9, 0_usize..9), 1..60)) {
            let values: Vec<f64> = (0..1000_u32).map(f64::from).collect();
            let (mut from, mut to) = (0, 0);
            let mut slide = Slide::<Ends>::new();
            for (start, end) in moves {
                to += end;
                from = (from + start).min(to);
                let window = &values[from..to];
                let wanted = window.first().map(|first| Ends(*first, window[window.len() - 1], window.len()));
                prop_assert_eq!(slide.fold(&values, &(from..to)), wanted);
            }
        }
    }
}
