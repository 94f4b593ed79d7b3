//! Sums that do not lose the small terms, and what is built on them.

/// A sum with the error it has made so far (Kahan's, with Neumaier's improvement).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sum {
    pub(crate) value: f64,
    pub(crate) error: f64,
}

impl Sum {
    pub(crate) fn of(value: f64) -> Self {
        Self { value, error: 0.0 }
    }

    pub(crate) fn add(&mut self, term: f64) {
        let total = self.value + term;
        if total.is_infinite() {
            self.error = 0.0;
        } else if self.value.abs() >= term.abs() {
            self.error += (self.value - total) + term;
        } else {
            self.error += (term - total) + self.value;
        }
        self.value = total;
    }

    pub(crate) fn total(self) -> f64 {
        if self.value.is_infinite() { self.value } else { self.value + self.error }
    }

    /// The mean of the `count` terms of a finite sum.
    pub(crate) fn mean(self, count: f64) -> f64 {
        self.value / count + self.error / count
    }

    fn scaled(self, factor: f64) -> Self {
        Self { value: self.value * factor, error: self.error * factor }
    }
}

/// A mean: of the sum as long as that is finite, and from there on adjusted term by term.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mean {
    sum: Sum,
    count: f64,
    incremental: bool,
}

impl Mean {
    pub(crate) fn add(&mut self, term: f64) {
        self.count += 1.0;
        if self.count == 1.0 {
            self.sum = Sum::of(term);
            return;
        }
        if !self.incremental {
            let mut sum = self.sum;
            sum.add(term);
            if !sum.value.is_infinite() {
                self.sum = sum;
                return;
            }
            self.incremental = true;
            let before = self.count - 1.0;
            self.sum = Sum { value: self.sum.value / before, error: self.sum.error / before };
        }
        self.sum = self.sum.scaled((self.count - 1.0) / self.count);
        self.sum.add(term / self.count);
    }

    /// Of no term.
    pub(crate) const EMPTY: Self =
        Self { sum: Sum { value: 0.0, error: 0.0 }, count: 0.0, incremental: false };

    /// Adds the terms of a later mean.
    pub(crate) fn join(&mut self, later: Self) {
        if later.count == 0.0 {
            return;
        }
        if self.count == 0.0 {
            *self = later;
            return;
        }
        if !self.incremental && !later.incremental {
            let mut sum = self.sum;
            sum.add(later.sum.value);
            if !sum.value.is_infinite() {
                sum.error += later.sum.error;
                (self.sum, self.count) = (sum, self.count + later.count);
                return;
            }
        }
        let count = self.count + later.count;
        let (mut mean, other) = (self.as_mean(count), later.as_mean(count));
        mean.add(other.value);
        mean.error += other.error;
        *self = Self { sum: mean, count, incremental: true };
    }

    /// The part of the mean of `count` terms that these are.
    fn as_mean(self, count: f64) -> Sum {
        if self.incremental {
            self.sum.scaled(self.count / count)
        } else {
            Sum { value: self.sum.value / count, error: self.sum.error / count }
        }
    }

    /// The mean, when there is any term.
    pub(crate) fn some(self) -> Option<f64> {
        (self.count > 0.0).then(|| self.mean())
    }

    pub(crate) fn mean(self) -> f64 {
        if self.incremental {
            return self.sum.value + self.sum.error;
        }
        self.sum.mean(self.count)
    }
}

/// The value at quantile `q`, interpolated, NaN counting as least; reorders `values`.
pub(crate) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let last = values.len() - 1;
    #[expect(clippy::cast_precision_loss, reason = "fewer than 2^53 values fit in memory")]
    let rank = q * last as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to len - 1")]
    let at = (rank.floor() as usize).min(last);
    let weight = rank - rank.floor();
    // Sorting all of them is not needed to know two neighbours.
    let (_, lower, above) = values.select_nth_unstable_by(at, |a, b| nan_first(*a, *b));
    let upper = above.iter().copied().min_by(|a, b| nan_first(*a, *b)).unwrap_or(*lower);
    *lower * (1.0 - weight) + upper * weight
}

/// Ascending, with NaN before everything.
pub(crate) fn nan_first(a: f64, b: f64) -> std::cmp::Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_terms_are_not_lost() {
        let mut sum = Sum::default();
        for term in [1.0, 1e100, 1.0, -1e100] {
            sum.add(term);
        }
        assert_eq!(sum.total(), 2.0);
    }

    #[test]
    fn mean_of_huge_values_is_finite() {
        let mut mean = Mean::default();
        for _ in 0..4 {
            mean.add(f64::MAX);
        }
        assert!((mean.mean() / f64::MAX - 1.0).abs() < 1e-15);
    }

    #[test]
    fn quantiles_interpolate_and_sort_nan_first() {
        assert_eq!(quantile(0.5, &mut [3.0, 1.0, 2.0, 4.0]), 2.5);
        assert_eq!(quantile(1.0, &mut [f64::NAN, 1.0, 2.0]), 2.0);
        assert!(quantile(0.0, &mut [1.0, f64::NAN]).is_nan());
        assert_eq!(quantile(2.0, &mut [1.0]), f64::INFINITY);
    }
}
