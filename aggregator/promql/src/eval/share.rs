//! Selectors that stand in a query more than once, with other functions over them or at other
//! times near by: they are read once, for the times of all, and held.
//!
//! What is far apart in time, or too much to hold, is read each time it is needed.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use labstat_model::Series;

use super::Evaluator;
use super::plan::{Ask, Basis, Windows};
use super::prepared::children;
use super::window;
use crate::budget::{Cost, Tally};
use crate::column::Steps;
use crate::expr::{Edges, Expr, Node, Selector};
use crate::{QueryError, order};

/// The times that are read for all may be longer by this part of the longest one.
const LONGER: i64 = 4;

/// The part of what a query may hold that may be series read for several uses.
const HELD_SHARE: usize = 4;

/// From when to when samples are read, in milliseconds.
type Reach = (i64, i64);

/// What is read for several uses, by what the selectors have in common.
#[derive(Debug, Default)]
pub(super) struct Shared(HashMap<u64, Read>);

#[derive(Debug)]
struct Read {
    reach: Reach,
    /// `None` when it was too much to hold.
    series: OnceCell<Option<Arc<Vec<Series>>>>,
}

/// A place in the query where a selector is read.
#[derive(Debug, Clone, Copy)]
struct Use {
    reach: Reach,
    /// Whether the newest sample of each series is all that is looked at.
    newest: bool,
}

/// The times to read for all of these uses, when reading once is less than reading each.
fn common(uses: &[Use]) -> Option<Reach> {
    if uses.len() < 2 || uses.iter().all(|used| used.newest) {
        return None;
    }
    let start_ms = uses.iter().map(|used| used.reach.0).min()?;
    let end_ms = uses.iter().map(|used| used.reach.1).max()?;
    let len = |(start_ms, end_ms): Reach| end_ms.saturating_sub(start_ms);
    let longest = uses.iter().map(|used| len(used.reach)).max()?;
    let near = len((start_ms, end_ms)) <= longest.saturating_add(longest / LONGER);
    near.then_some((start_ms, end_ms))
}

impl Evaluator<'_> {
    /// Looks for selectors that are read more than once when `expr` is evaluated at `steps`.
    pub(crate) fn plan(&mut self, expr: &Expr, steps: Steps) {
        if !self.prepared.selects_again() {
            return;
        }
        let (mut uses, mut seen) = (HashMap::new(), HashSet::new());
        self.find_uses(expr, steps, &mut uses, &mut seen);
        let read = |(key, uses): (u64, Vec<Use>)| {
            let reach = common(&uses)?;
            Some((key, Read { reach, series: OnceCell::new() }))
        };
        self.shared = Shared(uses.into_iter().filter_map(read).collect());
    }

    fn find_uses(
        &self,
        expr: &Expr,
        steps: Steps,
        uses: &mut HashMap<u64, Vec<Use>>,
        seen: &mut HashSet<(u64, Steps)>,
    ) {
        // An equal part is not evaluated again.
        if self.prepared.key(expr).is_some_and(|key| !seen.insert((key, steps))) {
            return;
        }
        let steps = if expr.invariant && steps.len > 1 { steps.first() } else { steps };
        match &expr.node {
            Node::Selector(selector) if selector.edges == Edges::Smoothed => {
                self.note_use(self.smoothed_reach(selector), Ask::Samples, steps, uses);
            }
            Node::Selector(selector) => {
                let (shift, range_ms) = (selector.shift, self.lookback_ms);
                self.note_use(
                    window::Reach { selector, shift, range_ms },
                    Ask::Newest,
                    steps,
                    uses,
                );
            }
            Node::Range(range) => self.note_use(self.windows_of(range), Ask::Known, steps, uses),
            Node::Subquery(subquery) => {
                // What is too long to be evaluated is not read at all.
                if let Ok(inner) = self.subquery_steps(subquery, steps) {
                    self.find_uses(&subquery.expr, inner, uses, seen);
                }
            }
            node => children(node).for_each(|child| self.find_uses(child, steps, uses, seen)),
        }
    }

    fn note_use(
        &self,
        of: window::Reach<'_>,
        ask: Ask,
        steps: Steps,
        uses: &mut HashMap<u64, Vec<Use>>,
    ) {
        let window::Reach { selector, shift, range_ms } = of;
        let Some(key) = self.prepared.selected(selector) else { return };
        let windows = Windows { steps, shift, range_ms, ask };
        // Buckets are read otherwise.
        if !windows.pieces(self.tiers()).iter().all(|piece| piece.basis == Basis::Samples) {
            return;
        }
        let reach = (shift.apply(steps.start_ms) - range_ms + 1, shift.apply(steps.last()));
        let newest = ask == Ask::Newest && steps.len == 1;
        uses.entry(key).or_default().push(Use { reach, newest });
    }

    /// The series of a selector with at least the samples of these times, where they are read for
    /// several uses.
    pub(super) fn shared(
        &self,
        selector: &Selector,
        reach: Reach,
    ) -> Result<Option<Arc<Vec<Series>>>, QueryError> {
        let key = self.prepared.selected(selector);
        let Some(read) = key.and_then(|key| self.shared.0.get(&key)) else { return Ok(None) };
        if read.reach.0 > reach.0 || read.reach.1 < reach.1 {
            return Ok(None);
        }
        if let Some(known) = read.series.get() {
            return Ok(known.clone());
        }
        let series = self.read_all(selector, read.reach)?.map(Arc::new);
        Ok(read.series.get_or_init(|| series).clone())
    }

    /// All series of a selector; `None` when that is too much.
    fn read_all(
        &self,
        selector: &Selector,
        reach: Reach,
    ) -> Result<Option<Vec<Series>>, QueryError> {
        let scan = self.source.scan(&selector.matchers, reach.0, reach.1);
        let feed = super::feed::Feed::Scan(scan.map_err(QueryError::Source)?);
        let (budget, room) = (&self.budget, self.budget.part(HELD_SHARE));
        let held = Tally::default();
        let part = |part: usize| {
            let (mut series, mut pace) = (Vec::new(), budget.pace());
            let mut cost = Cost::default();
            feed.read(part, &mut |item| {
                let super::feed::Item::Series(one) = item else { return Ok(()) };
                pace.spend(one.times.len())?;
                let more = Cost::samples(1, one.times.len());
                cost = cost.and(more);
                if !held.add(more).is_within(room) {
                    // Ends the reading of this part and of those after it.
                    return Err(QueryError::TooMuchMemory { limit: room.bytes });
                }
                series.push(one.to_series());
                Ok(())
            })?;
            Ok((series, cost))
        };
        let (mut all, mut kept) = (Vec::new(), Cost::default());
        let read = self.pool.in_order(budget, feed.parts(), &part, &mut |(mut series, cost)| {
            kept = kept.and(cost);
            all.append(&mut series);
            Ok(())
        });
        match read {
            Err(error) if error.is_too_much() => return Ok(None),
            other => other?,
        }
        budget.keep(kept)?;
        if !feed.is_sorted() {
            all = order::sorted(all, budget, |a, b| a.labels.cmp(&b.labels))?;
        }
        Ok(Some(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_near_is_read_once() {
        let used = |start_ms, end_ms, newest| Use { reach: (start_ms, end_ms), newest };
        assert_eq!(common(&[used(0, 100, false)]), None);
        assert_eq!(common(&[used(0, 100, true), used(0, 100, true)]), None);
        assert_eq!(common(&[used(0, 100, false), used(90, 110, true)]), Some((0, 110)));
        assert_eq!(common(&[used(0, 100, false), used(100, 200, false)]), None);
        assert_eq!(common(&[used(0, 100, false), used(-20, 80, false)]), Some((-20, 100)));
    }
}
