//! Orders of values and of texts, with ties and NaN going as in Prometheus.

use std::cmp::Ordering;

use crate::QueryError;
use crate::budget::{Budget, Pace};

/// Up to this many elements Prometheus sorts by insertion, which shows where elements are equal:
/// those keep their order. Of more, the order of equal ones is nobody's promise.
const INSERTED_MAX: usize = 12;

/// Elements that are sorted between two looks at the clock.
const RUN_LEN: usize = 8_192;

/// What comparing two elements takes, in numbers looked at.
const COMPARING: usize = 16;

/// Sorts such that nothing stands before what is `less` than it. `less` may say so of both of two
/// elements, or of one and itself, as it does for NaN; then the later one comes first.
pub(crate) fn sort<T>(
    mut items: Vec<T>,
    budget: &Budget,
    less: impl Fn(&T, &T) -> bool,
) -> Result<Vec<T>, QueryError> {
    if !is_few(items.len()) {
        return sorted(items, budget, |a, b| less(b, a).cmp(&less(a, b)));
    }
    for end in 1..items.len() {
        let mut at = end;
        while let Some(before) = at.checked_sub(1) {
            match items.get(before..=at) {
                Some([first, second]) if less(second, first) => items.swap(before, at),
                _ => break,
            }
            at = before;
        }
    }
    Ok(items)
}

/// Sorts, equal elements keeping their order: in runs, so that it can be called off.
pub(crate) fn sorted<T>(
    mut items: Vec<T>,
    budget: &Budget,
    compare: impl Fn(&T, &T) -> Ordering,
) -> Result<Vec<T>, QueryError> {
    if items.len() <= RUN_LEN {
        items.sort_by(compare);
        return Ok(items);
    }
    let mut runs = Vec::with_capacity(items.len().div_ceil(RUN_LEN));
    let mut rest = items.into_iter();
    while rest.len() > 0 {
        budget.check_time()?;
        let mut run: Vec<T> = rest.by_ref().take(RUN_LEN).collect();
        run.sort_by(&compare);
        runs.push(run);
    }
    let mut pace = budget.pace();
    while runs.len() > 1 {
        let mut pairs = runs.into_iter();
        let mut longer = Vec::with_capacity(pairs.len().div_ceil(2));
        while let Some(first) = pairs.next() {
            longer.push(match pairs.next() {
                Some(second) => merged(first, second, &mut pace, &compare)?,
                None => first,
            });
        }
        runs = longer;
    }
    Ok(runs.pop().unwrap_or_default())
}

/// One run of two.
fn merged<T>(
    mut first: Vec<T>,
    second: Vec<T>,
    pace: &mut Pace<'_>,
    compare: &impl Fn(&T, &T) -> Ordering,
) -> Result<Vec<T>, QueryError> {
    if let (Some(last), Some(next)) = (first.last(), second.first())
        && compare(last, next).is_le()
    {
        pace.spend(second.len())?;
        first.extend(second);
        return Ok(first);
    }
    let mut all = Vec::with_capacity(first.len() + second.len());
    let (mut first, mut second) = (first.into_iter().peekable(), second.into_iter().peekable());
    while let (Some(a), Some(b)) = (first.peek(), second.peek()) {
        pace.spend(COMPARING)?;
        let next = if compare(a, b).is_le() { first.next() } else { second.next() };
        all.extend(next);
    }
    all.extend(first);
    all.extend(second);
    Ok(all)
}

/// Whether so few elements are sorted that Prometheus does it by insertion.
pub(crate) fn is_few(len: usize) -> bool {
    len <= INSERTED_MAX
}

/// Compares texts run by run, digits as numbers (`node2` before `node10`): where the runs differ
/// first, or which text ends first. Numbers that differ in leading zeros alone are equal.
pub(crate) fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    while !a.is_empty() && !b.is_empty() {
        let ((run_a, rest_a), (run_b, rest_b)) = (split_run(a), split_run(b));
        let order = compare_runs(run_a, run_b);
        if order.is_ne() {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
    a.len().cmp(&b.len())
}

/// What Prometheus makes of the same: it puts a text before another of which it is a beginning,
/// even where they are equal, and none before or after an empty one.
pub(crate) fn stands_before(a: &str, b: &str) -> bool {
    let (mut a, mut b) = (a, b);
    while !a.is_empty() && !b.is_empty() {
        let ((run_a, rest_a), (run_b, rest_b)) = (split_run(a), split_run(b));
        let order = compare_runs(run_a, run_b);
        if order.is_ne() || rest_a.is_empty() || rest_b.is_empty() {
            return order.is_lt() || order.is_eq() && rest_a.is_empty();
        }
        (a, b) = (rest_a, rest_b);
    }
    false
}

/// A number that is too large for a number is a text.
fn compare_runs(a: &str, b: &str) -> Ordering {
    match (a.parse::<i64>(), b.parse::<i64>()) {
        (Ok(a), Ok(b)) => a.cmp(&b),
        _ => a.cmp(b),
    }
}

/// The digits, or what is no digit, at the beginning of `text`, and the rest.
fn split_run(text: &str) -> (&str, &str) {
    let digits = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_within_labels_sort_by_value() {
        assert_eq!(natural("node2", "node10"), Ordering::Less);
        assert_eq!(natural("a", "a1"), Ordering::Less);
        assert_eq!(natural("b1", "a2"), Ordering::Greater);
        assert_eq!(natural("node02", "node2"), Ordering::Equal);
        assert_eq!(natural("99999999999999999999", "9999999999999999999a"), Ordering::Greater);
    }

    #[test]
    fn a_beginning_stands_before_the_whole_and_beside_the_empty_nothing_does() {
        assert!(stands_before("node2", "node10") && !stands_before("node10", "node2"));
        assert!(stands_before("node", "node1") && !stands_before("node1", "node"));
        assert!(stands_before("node02", "node2") && stands_before("node2", "node02"));
        assert!(!stands_before("", "a") && !stands_before("a", ""));
    }

    #[test]
    fn equal_elements_keep_their_order_and_others_find_theirs() {
        for len in [0, 1, 2, 5, 12, 13, 40] {
            let items: Vec<(usize, usize)> = (0..len).map(|at| (at * 7 % 5, at)).collect();
            let items = sort(items, &Budget::default(), |a, b| a.0 < b.0).unwrap();
            assert!(items.is_sorted(), "{items:?}");
        }
    }

    #[test]
    fn the_last_of_several_nan_comes_first() {
        let less = |a: &(f64, u8), b: &(f64, u8)| b.0.is_nan() || a.0 < b.0;
        let items = vec![(f64::NAN, 0), (2.0, 1), (f64::NAN, 2), (1.0, 3)];
        let items = sort(items, &Budget::default(), less).unwrap();
        assert_eq!(items.iter().map(|item| item.1).collect::<Vec<_>>(), [3, 1, 2, 0]);
    }

    #[test]
    fn many_are_sorted_and_equal_ones_keep_their_order() {
        let items: Vec<(usize, usize)> = (0..50_000).map(|at| (at * 7_919 % 1_000, at)).collect();
        let mut wanted = items.clone();
        wanted.sort_by_key(|item| item.0);
        let sorted = sorted(items, &Budget::default(), |a, b| a.0.cmp(&b.0)).unwrap();
        assert_eq!(sorted, wanted);
        let sorted = super::sorted(wanted.clone(), &Budget::default(), Ord::cmp).unwrap();
        assert_eq!(sorted, wanted);
    }
}
