//! What is known of a group at one step while its members are folded in.
//!
//! A fold of some members can be joined with that of the members after them, so parts are folded
//! apart. The deviations are not here: of values that are large beside how much they differ, they
//! depend on the very order of the steps.

use labstat_model::{is_stale, stale_marker};

use crate::sums::{Mean, Sum};

/// A fold of values.
pub(super) trait Fold: Copy + Send {
    /// Of no value.
    const EMPTY: Self;
    /// Adds a value after those that are in it.
    fn add(&mut self, value: f64);
    /// Adds those of a later fold.
    fn join(&mut self, later: Self);
    /// `None` of no value.
    fn result(self) -> Option<f64>;
}

/// What no fold gives, where there is no value yet.
const NONE: f64 = stale_marker();

#[derive(Debug, Clone, Copy)]
pub(super) struct Total(Sum);

impl Fold for Total {
    const EMPTY: Self = Self(Sum { value: NONE, error: 0.0 });

    #[inline]
    fn add(&mut self, value: f64) {
        if is_stale(self.0.value) {
            self.0.value = value;
        } else {
            self.0.add(value);
        }
    }

    fn join(&mut self, later: Self) {
        if is_stale(later.0.value) {
            return;
        }
        if is_stale(self.0.value) {
            *self = later;
        } else {
            self.0.add(later.0.value);
            self.0.error += later.0.error;
        }
    }

    fn result(self) -> Option<f64> {
        (!is_stale(self.0.value)).then(|| self.0.total())
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Average(Mean);

impl Fold for Average {
    const EMPTY: Self = Self(Mean::EMPTY);

    #[inline]
    fn add(&mut self, value: f64) {
        self.0.add(value);
    }

    fn join(&mut self, later: Self) {
        self.0.join(later.0);
    }

    fn result(self) -> Option<f64> {
        self.0.some()
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Count(u32);

impl Fold for Count {
    const EMPTY: Self = Self(0);

    #[inline]
    fn add(&mut self, _: f64) {
        self.0 += 1;
    }

    fn join(&mut self, later: Self) {
        self.0 += later.0;
    }

    fn result(self) -> Option<f64> {
        (self.0 > 0).then(|| f64::from(self.0))
    }
}

/// Whether there is any.
#[derive(Debug, Clone, Copy)]
pub(super) struct Any(bool);

impl Fold for Any {
    const EMPTY: Self = Self(false);

    #[inline]
    fn add(&mut self, _: f64) {
        self.0 = true;
    }

    fn join(&mut self, later: Self) {
        self.0 |= later.0;
    }

    fn result(self) -> Option<f64> {
        self.0.then_some(1.0)
    }
}

/// The greatest value, or the least: of equal ones the first, and NaN only of nothing else.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extreme<const LARGEST: bool>(f64);

impl<const LARGEST: bool> Fold for Extreme<LARGEST> {
    const EMPTY: Self = Self(NONE);

    #[inline]
    fn add(&mut self, value: f64) {
        let better = if LARGEST { value > self.0 } else { value < self.0 };
        if better || self.0.is_nan() {
            self.0 = value;
        }
    }

    fn join(&mut self, later: Self) {
        if !is_stale(later.0) {
            self.add(later.0);
        }
    }

    fn result(self) -> Option<f64> {
        Some(self.0).filter(|value| !is_stale(*value))
    }
}

/// Welford's method, term by term.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Deviation {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Deviation {
    pub(super) fn add(&mut self, value: f64) {
        self.count += 1.0;
        if self.count == 1.0 {
            self.mean = value;
            self.squares = if value.is_finite() { 0.0 } else { f64::NAN };
            return;
        }
        let delta = value - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (value - self.mean);
    }

    pub(super) fn variance(self) -> Option<f64> {
        (self.count > 0.0).then(|| self.squares / self.count)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn same(a: Option<f64>, b: Option<f64>) -> bool {
        match (a, b) {
            (Some(a), Some(b)) => {
                a.to_bits() == b.to_bits()
                    || a.is_nan() && b.is_nan()
                    || ((a - b) / a.abs().max(b.abs())).abs() < 1e-12
            }
            (a, b) => a.is_none() && b.is_none(),
        }
    }

    fn in_parts<F: Fold>(values: &[f64], at: usize) -> (Option<f64>, Option<f64>) {
        let of = |values: &[f64]| {
            let mut fold = F::EMPTY;
            values.iter().for_each(|value| fold.add(*value));
            fold
        };
        let (first, later) = values.split_at(at.min(values.len()));
        let mut joined = of(first);
        joined.join(of(later));
        (of(values).result(), joined.result())
    }

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            5 => (-100..100_i32).prop_map(f64::from), 5 => -1e6..1e6, 1 => Just(f64::NAN), 1 => Just(f64::INFINITY),
            1 => Just(f64::MAX), 1 => Just(-0.0),
        ]
    }

    proptest! {
        #[test]
        fn parts_joined_are_the_whole(
            values in prop::collection::vec(value(), 0..12), at in 0_usize..12,
        ) {
            let all = [
                in_parts::<Total>, in_parts::<Average>, in_parts::<Count>, in_parts::<Any>,
                in_parts::<Extreme<true>>, in_parts::<Extreme<false>>,
            ];
            for (which, both) in all.iter().enumerate() {
                let (whole, joined) = both(&values, at);
                prop_assert!(same(whole, joined), "{which} {values:?} {at}: {whole:?} {joined:?}");
            }
        }
    }
}
