//! Layouts: where in the samples of a series the steps of a call find what they look at.
//!
//! That depends on the times of the samples alone, and series that came together have the same
//! times, as those of one job on one machine have. So it is found for the first of them and known
//! for the others.

use std::sync::{Mutex, PoisonError};

/// Steps with fewer are looked at one by one: nothing is gained.
const STEPS_MIN: usize = 8;

/// What is kept of layouts, in steps and times: some three megabytes for each thread.
const KEPT_MAX: usize = 128 * 1024;

/// Layouts that are made before any was of use. Where most series have times of their own no more
/// are made.
const TRIED_MAX: usize = 64;

/// The layouts of a call, a part of them for each thread.
#[derive(Debug)]
pub(crate) struct Layouts<T> {
    spare: Mutex<Vec<Known<T>>>,
}

/// Layouts that are known.
#[derive(Debug)]
pub(crate) struct Known<T> {
    all: Vec<Layout<T>>,
    /// The last time of each and how many there are, which tell most of them apart.
    keys: Vec<(Option<i64>, usize)>,
    /// What they take, in steps and times.
    len: usize,
    used: usize,
}

#[derive(Debug)]
struct Layout<T> {
    times: Vec<i64>,
    steps: Vec<T>,
}

impl<T> Default for Layouts<T> {
    fn default() -> Self {
        Self { spare: Mutex::default() }
    }
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self { all: Vec::new(), keys: Vec::new(), len: 0, used: 0 }
    }
}

impl<T> Layouts<T> {
    /// Does `work` with what is known to a thread, where there are steps enough for it.
    pub(super) fn with<R>(&self, steps: usize, work: impl FnOnce(&mut Known<T>) -> R) -> Option<R> {
        if steps < STEPS_MIN {
            return None;
        }
        let spare = || self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = spare().pop();
        let mut known = kept.unwrap_or_default();
        let result = work(&mut known);
        spare().push(known);
        Some(result)
    }
}

impl<T> Known<T> {
    /// What each of so many steps finds in samples of these times; `None` where it is not known and
    /// `make` is not worth it.
    pub(super) fn of<E>(
        &mut self,
        times: &[i64],
        steps: usize,
        make: impl FnOnce() -> Result<Vec<T>, E>,
    ) -> Result<Option<&[T]>, E> {
        let len = times.len() + steps;
        let at = match self.find(times) {
            Some(at) => {
                self.used += 1;
                at
            }
            None if self.len + len > KEPT_MAX || self.all.len() >= TRIED_MAX + self.used => {
                return Ok(None);
            }
            None => {
                self.all.push(Layout { times: times.to_vec(), steps: make()? });
                self.keys.push(key(times));
                self.len += len;
                self.all.len() - 1
            }
        };
        Ok(self.all.get(at).map(|layout| layout.steps.as_slice()))
    }

    fn find(&self, times: &[i64]) -> Option<usize> {
        let wanted = key(times);
        let alike = self.keys.iter().enumerate().filter(|(_, key)| **key == wanted);
        alike
            .map(|(at, _)| at)
            .find(|at| self.all.get(*at).is_some_and(|layout| layout.times == times))
    }
}

fn key(times: &[i64]) -> (Option<i64>, usize) {
    (times.last().copied(), times.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_is_made_once_for_all_that_share_their_times() {
        let (layouts, mut made) = (Layouts::<usize>::default(), 0);
        for round in 0..3 {
            for times in [&[1, 2, 3][..], &[1, 3], &[0, 2, 3], &[2, 3], &[]] {
                let found = layouts.with(100, |known| {
                    let make = || -> Result<_, ()> {
                        made += 1;
                        Ok(vec![times.len(); 2])
                    };
                    known.of(times, 2, make).unwrap().map(<[usize]>::to_vec)
                });
                assert_eq!(found, Some(Some(vec![times.len(); 2])), "{round} {times:?}");
            }
        }
        assert_eq!(made, 5);
        assert!(layouts.with(1, |_| ()).is_none());
    }

    #[test]
    fn layouts_that_are_of_no_use_are_not_made_for_ever() {
        let layouts = Layouts::<()>::default();
        let known = |time: i64| {
            let make = || Ok::<_, ()>(vec![(); 10]);
            layouts.with(10, |known| known.of(&[time], 10, make).unwrap().is_some()).unwrap()
        };
        assert_eq!((0..1_000).filter(|time| known(*time)).count(), TRIED_MAX);
        assert!(known(3) && known(1_000) && !known(1_001));
        let too_long = layouts.with(10, |known| {
            known.of(&[-1], KEPT_MAX, || Err("made")).map(|found| found.is_some())
        });
        assert_eq!(too_long, Some(Ok(false)));
    }
}
