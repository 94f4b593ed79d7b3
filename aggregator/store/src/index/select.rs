//! Which series fulfil matchers.
//!
//! What can be told from a pattern by looking up (its alternatives) or comparing (its prefix) is,
//! and else a regular expression runs once per distinct value, or once per series where those are
//! fewer. Ended series are only looked at when the range reaches back to the newest sample that any
//! of them has.
//!
//! Not here: what their labels are (`values`).

use labstat_model::Matcher;
use roaring::RoaringBitmap;

use super::hidden::{Which, fulfils_unseen};
use super::{Index, Set};
use crate::patience::Patience;
use crate::symbols::Tier;

/// Looking at one series' labels takes as long as looking at this many values of one name.
const SERIES_COST: u64 = 4;

/// By matchers.
impl Index {
    /// The sorted ids of the series that fulfil all matchers and reach into the range.
    pub(crate) fn select(&self, matchers: &[Matcher], start_ms: i64, end_ms: i64) -> Vec<u32> {
        self.select_which(Which::Samples, matchers, (start_ms, end_ms), &Patience::endless())
    }

    /// As [`Index::select`], of the series that `which` tells; not all of them when patience was
    /// lost.
    pub(crate) fn select_which(
        &self,
        which: Which,
        matchers: &[Matcher],
        (start_ms, end_ms): (i64, i64),
        patience: &Patience<'_>,
    ) -> Vec<u32> {
        let mut ids = Vec::new();
        for tier in self.tiers_in(start_ms) {
            let matching = self.matching(which, matchers, tier, patience);
            let matching = matching.iter().take_while(|_| patience.lasts());
            ids.extend(matching.filter(|id| self.overlaps(*id, start_ms, end_ms)));
        }
        ids.sort_unstable();
        ids
    }

    /// The tiers that may have series with samples since `start_ms`.
    pub(super) fn tiers_in(&self, start_ms: i64) -> impl Iterator<Item = Tier> {
        let ended = start_ms <= self.ended_newest_ms;
        Tier::BOTH.into_iter().filter(move |tier| ended || *tier == Tier::Live)
    }

    pub(super) fn overlaps(&self, id: u32, start_ms: i64, end_ms: i64) -> bool {
        let slot = self.slots.get(id);
        slot.is_some_and(|slot| slot.entry.first_ms <= end_ms && slot.entry.last_ms >= start_ms)
    }

    pub(super) fn matching(
        &self,
        which: Which,
        matchers: &[Matcher],
        tier: Tier,
        patience: &Patience<'_>,
    ) -> RoaringBitmap {
        let mut found: Vec<RoaringBitmap> = Vec::new();
        let mut scans: Vec<&Matcher> = Vec::new();
        for matcher in matchers {
            match fulfils_unseen(matcher) {
                Some(true) => continue,
                Some(false) => return RoaringBitmap::new(),
                None => {}
            }
            match lookups(matcher) {
                Some(values) => {
                    let Some(name) = self.symbols.name(matcher.name()) else {
                        return RoaringBitmap::new();
                    };
                    let pairs = values.iter().filter_map(|value| self.symbols.pair(name, value));
                    found.push(self.symbols.union(pairs, tier));
                }
                None => scans.push(matcher),
            }
        }
        found.sort_by_key(RoaringBitmap::len);
        let mut found = found.into_iter();
        let mut ids = match found.next() {
            Some(least) => least,
            None => self.all.of(tier).clone(),
        };
        for other in found {
            ids &= other;
        }
        self.hidden.narrow(&mut ids, which);
        for matcher in scans {
            if ids.is_empty() || !patience.ask() {
                break;
            }
            self.keep_matching(&mut ids, matcher, tier, patience);
        }
        ids
    }

    /// Leaves of `ids` what fulfils the matcher.
    fn keep_matching(
        &self,
        ids: &mut RoaringBitmap,
        matcher: &Matcher,
        tier: Tier,
        patience: &Patience<'_>,
    ) {
        let name = self.symbols.name(matcher.name());
        // A matcher that takes an empty value also takes series without the label, which no pair
        // lists; so it is applied by taking away what it does not match.
        let takes_empty = matcher.matches("");
        let refused = matcher.alternatives().filter(|_| takes_empty && matcher.is_negative());
        if let (Some(name), Some(values)) = (name, refused) {
            let pairs = values.iter().filter_map(|value| self.symbols.pair(name, value));
            *ids -= self.symbols.union(pairs, tier);
            return;
        }
        let pairs = name.map(|name| self.symbols.pairs_of(name, tier)).unwrap_or_default();
        if ids.len().saturating_mul(SERIES_COST) < pairs.len() as u64 {
            let all = std::mem::take(ids);
            let all = all.iter().take_while(|_| patience.lasts());
            ids.extend(all.filter(|id| self.has(*id, name, matcher)));
            return;
        }
        let chosen = |pair: &u32| matcher.matches(self.symbols.value(*pair)) != takes_empty;
        let pairs = pairs.iter().copied().take_while(|_| patience.lasts());
        let listed = self.symbols.union(pairs.filter(chosen), tier);
        if takes_empty {
            *ids -= listed;
        } else {
            *ids &= listed;
        }
    }

    /// Whether one series fulfils a matcher for the label `name`.
    fn has(&self, id: u32, name: Option<u32>, matcher: &Matcher) -> bool {
        match self.slots.get(id).map(|slot| &slot.set) {
            Some(Set::Ready(labels)) => matcher.matches_labels(labels),
            Some(Set::Pairs(pairs)) => {
                let pair = pairs.iter().find(|pair| self.symbols.name_of(**pair) == name);
                matcher.matches(pair.map(|pair| self.symbols.value(*pair)).unwrap_or_default())
            }
            None => false,
        }
    }
}

/// The values that series must have one of to fulfil a matcher, where these are few and known.
fn lookups(matcher: &Matcher) -> Option<&[String]> {
    let values = matcher.alternatives().filter(|_| !matcher.is_negative())?;
    // An empty value is that of series without the label, too.
    values.iter().all(|value| !value.is_empty()).then_some(values)
}
