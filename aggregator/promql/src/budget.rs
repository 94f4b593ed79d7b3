//! What one query may cost: samples and bytes held at a time, time, and the patience of who asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use crate::QueryError;
use crate::column::SERIES_COST;

/// Units of work (a sample looked at, a point computed) between two looks at the clock: well below
/// a millisecond of the plainest of work, and a few of the heaviest.
const LOOK_EVERY: usize = 32_768;

/// Bytes of a series beside its points: its labels and the vectors' own.
pub(crate) const SERIES_BYTES: usize = 256;

/// Something held in memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    /// As the bound on samples counts them.
    pub(crate) samples: usize,
    pub(crate) bytes: usize,
}

impl Cost {
    /// So many series of so many points of `size` bytes each.
    pub(crate) fn of(series: usize, points: usize, size: usize) -> Self {
        Self {
            samples: series.saturating_mul(points.saturating_add(SERIES_COST)),
            bytes: series.saturating_mul(points.saturating_mul(size).saturating_add(SERIES_BYTES)),
        }
    }

    /// Columns of so many steps.
    pub(crate) fn columns(series: usize, steps: usize) -> Self {
        Self::of(series, steps, size_of::<f64>())
    }

    /// Series of so many samples each.
    pub(crate) fn samples(series: usize, samples: usize) -> Self {
        Self::of(series, samples, size_of::<i64>() + size_of::<f64>())
    }

    /// Text and the like, which the bound on samples counts by its length.
    pub(crate) fn bytes(bytes: usize) -> Self {
        Self { samples: bytes / (size_of::<i64>() + size_of::<f64>()), bytes }
    }

    /// Whether it is not more than `room`, by either count.
    pub(crate) fn is_within(self, room: Self) -> bool {
        self.samples <= room.samples && self.bytes <= room.bytes
    }

    /// Both together.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            samples: self.samples.saturating_add(other.samples),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }
}

/// What a query may cost.
#[derive(Debug, Clone, Default)]
pub(crate) struct Limits {
    pub(crate) samples_max: usize,
    /// In bytes.
    pub(crate) memory_max: usize,
    pub(crate) deadline: Option<Instant>,
    /// Set to true from outside when nobody waits any more.
    pub(crate) cancel: Option<Arc<AtomicBool>>,
    /// The most samples that were held at a time.
    pub(crate) peak: Option<Arc<AtomicUsize>>,
}

/// What a query may cost, and what it holds just now. Shared by the threads that evaluate it.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    limits: Limits,
    /// What is kept until the end of the query: samples that were read and are needed again.
    kept: Tally,
    /// Intermediate results that are still needed.
    live: Tally,
}

/// What is held, counted by several threads.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    samples: AtomicUsize,
    bytes: AtomicUsize,
}

impl Tally {
    fn get(&self) -> Cost {
        Cost {
            samples: self.samples.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    fn set(&self, cost: Cost) {
        self.samples.store(cost.samples, Ordering::Relaxed);
        self.bytes.store(cost.bytes, Ordering::Relaxed);
    }

    /// Counts more; what it is then.
    pub(crate) fn add(&self, cost: Cost) -> Cost {
        let samples = self.samples.fetch_add(cost.samples, Ordering::Relaxed);
        let bytes = self.bytes.fetch_add(cost.bytes, Ordering::Relaxed);
        Cost { samples, bytes }.and(cost)
    }
}

impl Budget {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// An error when nobody waits any more, or for too long.
    pub(crate) fn check_time(&self) -> Result<(), QueryError> {
        if self.limits.cancel.as_ref().is_some_and(|cancel| cancel.load(Ordering::Relaxed)) {
            return Err(QueryError::Canceled);
        }
        if self.limits.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(QueryError::Timeout);
        }
        Ok(())
    }

    /// An error when `more` beside what is held would be too much.
    pub(crate) fn check(&self, more: Cost) -> Result<(), QueryError> {
        let held = self.kept.get().and(self.live.get()).and(more);
        if let Some(peak) = &self.limits.peak {
            peak.fetch_max(held.samples, Ordering::Relaxed);
        }
        if held.samples > self.limits.samples_max {
            return Err(QueryError::TooManySamples { limit: self.limits.samples_max });
        }
        if held.bytes > self.limits.memory_max {
            return Err(QueryError::TooMuchMemory { limit: self.limits.memory_max });
        }
        Ok(())
    }

    /// One of `parts` equal parts of what may be held.
    pub(crate) fn part(&self, parts: usize) -> Cost {
        let parts = parts.max(1);
        Cost { samples: self.limits.samples_max / parts, bytes: self.limits.memory_max / parts }
    }

    /// Counts what is held from now on until the end of the query.
    pub(crate) fn keep(&self, cost: Cost) -> Result<(), QueryError> {
        self.kept.set(self.kept.get().and(cost));
        self.check(Cost::default())
    }

    /// Takes what was kept off the count.
    pub(crate) fn unkeep(&self, cost: Cost) {
        let kept = self.kept.get();
        self.kept.set(Cost {
            samples: kept.samples.saturating_sub(cost.samples),
            bytes: kept.bytes.saturating_sub(cost.bytes),
        });
    }

    /// What intermediate results hold.
    pub(crate) fn live(&self) -> Cost {
        self.live.get()
    }

    /// Says what they hold now.
    pub(crate) fn set_live(&self, cost: Cost) -> Result<(), QueryError> {
        self.live.set(cost);
        self.check(Cost::default())
    }

    /// Looks at the clock now and then while work is done.
    pub(crate) fn pace(&self) -> Pace<'_> {
        Pace { budget: self, left: LOOK_EVERY }
    }
}

/// Work in progress on one thread.
#[derive(Debug)]
pub(crate) struct Pace<'b> {
    budget: &'b Budget,
    left: usize,
}

impl Pace<'_> {
    /// Counts `work` done; an error when the query is to stop.
    #[inline]
    pub(crate) fn spend(&mut self, work: usize) -> Result<(), QueryError> {
        match self.left.checked_sub(work) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => self.look(),
        }
    }

    #[cold]
    fn look(&mut self) -> Result<(), QueryError> {
        self.left = LOOK_EVERY;
        self.budget.check_time()
    }

    /// The budget it is part of.
    pub(crate) fn budget(&self) -> &Budget {
        self.budget
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget() -> Budget {
        Budget::new(Limits { samples_max: 1_000, memory_max: 10_000, ..Limits::default() })
    }

    #[test]
    fn what_is_held_counts_until_it_is_let_go() {
        let budget = budget();
        let half = Cost { samples: 500, bytes: 1 };
        budget.keep(half).unwrap();
        budget.set_live(half).unwrap();
        assert!(matches!(budget.check(half), Err(QueryError::TooManySamples { limit: 1_000 })));
        budget.set_live(Cost::default()).unwrap();
        budget.check(half).unwrap();
        budget.unkeep(half);
        budget.check(half.and(half)).unwrap();
        let bytes = Cost { samples: 0, bytes: 10_001 };
        assert!(matches!(budget.check(bytes), Err(QueryError::TooMuchMemory { limit: 10_000 })));
    }

    #[test]
    fn a_pace_looks_up_after_some_work() {
        let cancel = Arc::new(AtomicBool::new(true));
        let budget = Budget::new(Limits { cancel: Some(cancel), ..Limits::default() });
        let mut pace = budget.pace();
        let done = (0..10 * LOOK_EVERY).take_while(|_| pace.spend(1).is_ok()).count();
        assert_eq!(done, LOOK_EVERY);
        assert!(pace.spend(usize::MAX).is_err());
    }
}
