//! Which series there are.
//!
//! In memory, built at start. What is known of a series stands in a slot by its id. A series that
//! has a sample of the last days is *live* and has its labels at hand; one that has none is *ended*
//! and has the numbers of its label pairs only. `symbols` has the pairs, and the series of each.
//!
//! Here is what comes and goes: series, their spans, and which of them live. `select` finds those
//! that fulfil matchers, `values` tells their labels and cardinalities.

mod hidden;
mod select;
mod values;

use std::collections::BTreeSet;

use hashbrown::HashTable;
use labstat_model::{HISTOGRAM_LABEL, Labels};
use roaring::RoaringBitmap;

use crate::catalog::{ShelfSeries, Span};
use crate::slots::Slots;
use crate::symbols::{Symbols, Tier, Tiers, mix, spread};

pub(crate) use hidden::Which;

use hidden::Hidden;

/// A series whose newest sample is older than this, counted from the newest of all, has ended.
/// Machines that are switched off for a weekend go on as if they had not been.
pub(crate) const LIVE_MS: i64 = 3 * 86_400_000;

/// What is known of a series, but for its labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SeriesEntry {
    /// The group of series it is sealed with.
    pub(crate) shelf: u32,
    /// The range its samples span; empty (first after last) while there are none.
    pub(crate) first_ms: i64,
    pub(crate) last_ms: i64,
    /// The bits of the sample at `last_ms`, where they are known.
    pub(crate) last_bits: Option<u64>,
}

/// The labels of a series.
#[derive(Debug)]
enum Set {
    /// A live series'.
    Ready(Labels),
    /// An ended series'; ascending by name.
    Pairs(Box<[u32]>),
}

impl Set {
    const fn tier(&self) -> Tier {
        match self {
            Self::Ready(_) => Tier::Live,
            Self::Pairs(_) => Tier::Ended,
        }
    }
}

#[derive(Debug)]
struct Slot {
    set: Set,
    hash: u32,
    /// Where its labels stand among those of all that have a place; see [`Index::rank`].
    rank: u32,
    entry: SeriesEntry,
}

/// The place of a series that has none.
const UNRANKED: u32 = u32::MAX;

/// How many of some series that were put in order have no place.
pub(crate) fn unranked_len(ordered: &[(u32, u32)]) -> usize {
    ordered.iter().rev().take_while(|(rank, _)| *rank == UNRANKED).count()
}

/// All series.
#[derive(Debug)]
pub(crate) struct Index {
    slots: Slots<Slot>,
    symbols: Symbols,
    by_labels: HashTable<u32>,
    all: Tiers<RoaringBitmap>,
    hidden: Hidden,
    /// The series of every shelf.
    shelves: Vec<RoaringBitmap>,
    /// A sample since then makes a series live.
    live_since_ms: i64,
    /// No ended series has a newer sample.
    ended_newest_ms: i64,
    /// Ended series that got a sample since `live_since_ms`, until [`Index::settle`].
    returning: Vec<u32>,
    oldest_ms: i64,
    newest_ms: i64,
}

impl Default for Index {
    fn default() -> Self {
        Self {
            slots: Slots::default(),
            symbols: Symbols::default(),
            by_labels: HashTable::new(),
            all: Tiers::default(),
            hidden: Hidden::default(),
            shelves: Vec::new(),
            live_since_ms: i64::MIN,
            ended_newest_ms: i64::MIN,
            returning: Vec::new(),
            oldest_ms: i64::MAX,
            newest_ms: i64::MIN,
        }
    }
}

/// Changing.
impl Index {
    /// Adds a series without samples.
    pub(crate) fn insert(&mut self, id: u32, shelf: u32, labels: Labels) {
        let mut pairs = Vec::new();
        self.intern(&labels, &mut pairs);
        let entry = SeriesEntry { shelf, first_ms: i64::MAX, last_ms: i64::MIN, last_bits: None };
        self.put(id, &pairs, entry, Set::Ready(labels));
    }

    fn intern(&mut self, labels: &Labels, pairs: &mut Vec<u32>) {
        pairs.extend(labels.iter().map(|(name, value)| self.symbols.intern(name, value)));
    }

    fn put(&mut self, id: u32, pairs: &[u32], entry: SeriesEntry, set: Set) {
        if self.slots.get(id).is_some() {
            self.remove(&BTreeSet::from([id]));
        }
        let tier = set.tier();
        let hash = pairs.iter().fold(0, |hash, pair| mix(hash, self.symbols.hash_of(*pair)));
        for &pair in pairs {
            self.symbols.add(pair, id, tier);
        }
        if let Some(part) = self.part(pairs).map(str::to_owned) {
            self.hidden.insert(id, &part);
        }
        self.slots.insert(id, Slot { set, hash, rank: UNRANKED, entry });
        let slots = &self.slots;
        let hash_of = |id: &u32| spread(slots.get(*id).map_or(0, |slot| slot.hash));
        self.by_labels.insert_unique(spread(hash), id, hash_of);
        self.all.of_mut(tier).insert(id);
        let shelf = entry.shelf as usize;
        if self.shelves.len() <= shelf {
            self.shelves.resize_with(shelf + 1, RoaringBitmap::new);
        }
        if let Some(ids) = self.shelves.get_mut(shelf) {
            ids.insert(id);
        }
    }

    /// The part of a histogram that a series with these pairs is.
    fn part(&self, pairs: &[u32]) -> Option<&str> {
        let name = self.symbols.name(HISTOGRAM_LABEL)?;
        let pair = pairs.iter().find(|pair| self.symbols.name_of(**pair) == Some(name))?;
        Some(self.symbols.value(*pair))
    }

    /// Says when live series must have had a sample, before any is added.
    pub(crate) const fn begin(&mut self, live_since_ms: i64) {
        self.live_since_ms = live_since_ms;
    }

    /// Adds the series of a shelf with what is known of their samples, ascending by id.
    pub(crate) fn restore(&mut self, shelf: u32, series: &ShelfSeries, spans: &[Span]) {
        let known: Vec<u32> =
            series.pairs().map(|(name, value)| self.symbols.intern(name, value)).collect();
        let mut spans = spans.iter().peekable();
        let mut pairs = Vec::new();
        for (id, set) in series.series() {
            while spans.next_if(|span| span.id < id).is_some() {}
            let span = spans.next_if(|span| span.id == id);
            let entry = SeriesEntry {
                shelf,
                first_ms: span.map_or(i64::MAX, |span| span.first_ms),
                last_ms: span.map_or(i64::MIN, |span| span.last_ms),
                last_bits: span.and_then(|span| span.last_bits),
            };
            pairs.clear();
            pairs.extend(set.iter().filter_map(|at| known.get(*at as usize)));
            let set = if entry.last_ms >= self.live_since_ms {
                Set::Ready(series.labels(set))
            } else {
                self.ended_newest_ms = self.ended_newest_ms.max(entry.last_ms);
                Set::Pairs(pairs.as_slice().into())
            };
            self.oldest_ms = self.oldest_ms.min(entry.first_ms);
            self.newest_ms = self.newest_ms.max(entry.last_ms);
            self.put(id, &pairs, entry, set);
        }
    }

    /// Widens the range of a series; `last_bits` are those of the sample at `last_ms`. To be
    /// followed by [`Index::settle`] before anyone reads.
    #[inline]
    pub(crate) fn widen(&mut self, id: u32, first_ms: i64, last_ms: i64, last_bits: Option<u64>) {
        let Some(slot) = self.slots.get_mut(id) else { return };
        let entry = &mut slot.entry;
        if last_ms > entry.last_ms {
            (entry.last_ms, entry.last_bits) = (last_ms, last_bits);
            self.newest_ms = self.newest_ms.max(last_ms);
            if matches!(slot.set, Set::Pairs(_)) {
                if last_ms >= self.live_since_ms {
                    self.returning.push(id);
                } else {
                    self.ended_newest_ms = self.ended_newest_ms.max(last_ms);
                }
            }
        } else if last_ms == entry.last_ms {
            entry.last_bits = entry.last_bits.or(last_bits);
        }
        if first_ms < entry.first_ms {
            entry.first_ms = first_ms;
            self.oldest_ms = self.oldest_ms.min(first_ms);
        }
    }

    /// Makes series live that got samples since they had ended.
    pub(crate) fn settle(&mut self) {
        if !self.returning.is_empty() {
            let mut returning = std::mem::take(&mut self.returning);
            returning.sort_unstable();
            returning.dedup();
            self.shift(&returning, Tier::Ended);
        }
    }

    /// Ends the series that have no sample since `live_since_ms`. Goes through all series.
    pub(crate) fn age(&mut self, live_since_ms: i64) {
        self.returning.clear();
        self.live_since_ms = live_since_ms;
        let mut moving: Tiers<Vec<u32>> = Tiers::default();
        self.ended_newest_ms = i64::MIN;
        for (id, slot) in self.slots.iter() {
            let last_ms = slot.entry.last_ms;
            let tier = if last_ms >= live_since_ms { Tier::Live } else { Tier::Ended };
            if tier == Tier::Ended {
                self.ended_newest_ms = self.ended_newest_ms.max(last_ms);
            }
            if tier != slot.set.tier() {
                moving.of_mut(slot.set.tier()).push(id);
            }
        }
        for tier in Tier::BOTH {
            self.shift(moving.of(tier), tier);
        }
    }

    /// When series that are live now must have had a sample; see [`live_since`].
    pub(crate) fn live_since(&self, now_ms: i64) -> i64 {
        live_since(now_ms, self.newest_ms)
    }

    /// Moves series of one tier to the other one.
    fn shift(&mut self, ids: &[u32], from: Tier) {
        let mut gone = Vec::new();
        let mut pairs = Vec::new();
        for &id in ids {
            let Some(slot) = self.slots.get(id).filter(|slot| slot.set.tier() == from) else {
                continue;
            };
            pairs.clear();
            let set = match &slot.set {
                Set::Ready(labels) => {
                    pairs.extend(
                        labels.iter().map(|(name, value)| self.symbols.intern(name, value)),
                    );
                    Set::Pairs(pairs.as_slice().into())
                }
                Set::Pairs(known) => {
                    pairs.extend_from_slice(known);
                    Set::Ready(self.labels_of(known))
                }
            };
            for &pair in &pairs {
                self.symbols.add(pair, id, from.other());
                gone.push((pair, id));
            }
            if let Some(slot) = self.slots.get_mut(id) {
                slot.set = set;
                slot.rank = UNRANKED;
            }
            self.all.of_mut(from).remove(id);
            self.all.of_mut(from.other()).insert(id);
        }
        self.symbols.remove(&gone, from);
    }

    /// Removes series.
    pub(crate) fn remove(&mut self, gone: &BTreeSet<u32>) {
        let mut pairs: Tiers<Vec<(u32, u32)>> = Tiers::default();
        for &id in gone {
            let Some(Slot { set, hash, entry, .. }) = self.slots.remove(id) else { continue };
            let tier = set.tier();
            let pairs = pairs.of_mut(tier);
            match &set {
                Set::Ready(labels) => pairs.extend(
                    labels.iter().map(|(name, value)| (self.symbols.intern(name, value), id)),
                ),
                Set::Pairs(known) => pairs.extend(known.iter().map(|pair| (*pair, id))),
            }
            if let Ok(found) = self.by_labels.find_entry(spread(hash), |found| *found == id) {
                found.remove();
            }
            self.all.of_mut(tier).remove(id);
            self.hidden.remove(id);
            if let Some(ids) = self.shelves.get_mut(entry.shelf as usize) {
                ids.remove(id);
            }
        }
        for tier in Tier::BOTH {
            self.symbols.remove(pairs.of(tier), tier);
        }
        self.measure();
    }

    /// Finds the oldest and the newest sample anew.
    fn measure(&mut self) {
        let spans = self.slots.iter().map(|(_, slot)| (slot.entry.first_ms, slot.entry.last_ms));
        (self.oldest_ms, self.newest_ms) =
            spans.fold((i64::MAX, i64::MIN), |all, span| (all.0.min(span.0), all.1.max(span.1)));
    }
}

/// When series that are live must have had a sample, going by a clock that says `now_ms` and the
/// newest sample of all: not by the clock alone, which may jump ahead.
pub(crate) fn live_since(now_ms: i64, newest_ms: i64) -> i64 {
    now_ms.min(newest_ms).saturating_sub(LIVE_MS)
}

/// In the order of labels.
impl Index {
    /// How many series live.
    pub(crate) fn live_len(&self) -> usize {
        usize::try_from(self.all.of(Tier::Live).len()).unwrap_or(usize::MAX)
    }

    /// All live series with their labels, in the order of those that are ranked.
    pub(crate) fn live(&self) -> Vec<(u32, Labels)> {
        let keys = self.ordered(self.all.of(Tier::Live).iter());
        keys.into_iter().filter_map(|(_, id)| Some((id, self.labels(id)?))).collect()
    }

    /// Series with their places, in the order of their labels; those that have no place, which is
    /// [`UNRANKED`], come last.
    pub(crate) fn ordered(&self, ids: impl IntoIterator<Item = u32>) -> Vec<(u32, u32)> {
        let mut keys: Vec<(u32, u32)> = ids.into_iter().map(|id| (self.rank_of(id), id)).collect();
        keys.sort_unstable();
        keys
    }

    /// Takes note in which order series come by their labels, of all that live. Others have no
    /// place, which is above all that have one.
    pub(crate) fn rank(&mut self, ordered: impl Iterator<Item = u32>) {
        for (rank, id) in (0..UNRANKED).zip(ordered) {
            if let Some(slot) = self.slots.get_mut(id)
                && matches!(slot.set, Set::Ready(_))
            {
                slot.rank = rank;
            }
        }
    }

    fn rank_of(&self, id: u32) -> u32 {
        self.slots.get(id).map_or(UNRANKED, |slot| slot.rank)
    }
}

/// One by one.
impl Index {
    /// The id of a label set.
    pub(crate) fn id(&self, labels: &Labels) -> Option<u32> {
        let hash =
            labels.iter().fold(0, |hash, (name, value)| mix(hash, self.symbols.hash(name, value)));
        let is = |id: &u32| {
            self.slots.get(*id).is_some_and(|slot| match &slot.set {
                Set::Ready(known) => known == labels,
                Set::Pairs(pairs) => {
                    pairs.iter().map(|pair| self.symbols.texts(*pair)).eq(labels.iter())
                }
            })
        };
        self.by_labels.find(spread(hash), is).copied()
    }

    /// What is known of a series.
    pub(crate) fn get(&self, id: u32) -> Option<SeriesEntry> {
        self.slots.get(id).map(|slot| slot.entry)
    }

    /// The labels of a series.
    pub(crate) fn labels(&self, id: u32) -> Option<Labels> {
        self.slots.get(id).map(|slot| match &slot.set {
            Set::Ready(labels) => labels.clone(),
            Set::Pairs(pairs) => self.labels_of(pairs),
        })
    }

    fn labels_of(&self, pairs: &[u32]) -> Labels {
        Labels::new(pairs.iter().map(|pair| self.symbols.texts(*pair)))
    }

    /// The newest sample of a series that is known: its time, and the bits of its value. A marker
    /// of staleness is a sample too. `None` when there is none, or its value is only in a blob.
    ///
    /// It was stored; whether it still is, in spite of retention, is for the caller to know.
    #[cfg(test)]
    pub(crate) fn newest(&self, id: u32) -> Option<(i64, u64)> {
        let entry = self.get(id)?;
        Some((entry.last_ms, entry.last_bits?))
    }

    /// The series of a shelf, ascending.
    pub(crate) fn shelf(&self, shelf: u32) -> impl Iterator<Item = u32> {
        self.shelves.get(shelf as usize).into_iter().flatten()
    }

    /// The number of series of a shelf.
    pub(crate) fn shelf_len(&self, shelf: u32) -> u64 {
        self.shelves.get(shelf as usize).map_or(0, RoaringBitmap::len)
    }

    /// The labels of a series, one by one.
    pub(crate) fn pairs(&self, id: u32) -> Vec<(&str, &str)> {
        match self.slots.get(id).map(|slot| &slot.set) {
            Some(Set::Ready(labels)) => labels.iter().collect(),
            Some(Set::Pairs(pairs)) => pairs.iter().map(|pair| self.symbols.texts(*pair)).collect(),
            None => Vec::new(),
        }
    }

    /// What is known of the samples of a series; `None` while it has none.
    pub(crate) fn span(&self, id: u32) -> Option<Span> {
        let SeriesEntry { first_ms, last_ms, last_bits, .. } = self.get(id)?;
        (first_ms <= last_ms).then_some(Span { id, first_ms, last_ms, last_bits })
    }

    /// Calls `each` with the name and value of each label of a series, ascending by name.
    pub(crate) fn each_label(&self, id: u32, mut each: impl FnMut(&str, &str)) {
        match self.slots.get(id).map(|slot| &slot.set) {
            Some(Set::Ready(labels)) => labels.iter().for_each(|(name, value)| each(name, value)),
            Some(Set::Pairs(pairs)) => {
                for pair in pairs {
                    let (name, value) = self.symbols.texts(*pair);
                    each(name, value);
                }
            }
            None => {}
        }
    }

    /// All series, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, SeriesEntry)> {
        self.slots.iter().map(|(id, slot)| (id, slot.entry))
    }

    /// The newest series.
    pub(crate) fn last_id(&self) -> Option<u32> {
        Tier::BOTH.iter().filter_map(|tier| self.all.of(*tier).max()).max()
    }

    /// The number of series, as lists have them.
    pub(crate) fn len(&self) -> usize {
        let unlisted = usize::try_from(self.hidden.unlisted_len()).unwrap_or(usize::MAX);
        self.slots.len().saturating_sub(unlisted)
    }

    /// Whether there are series of parts of histograms.
    pub(crate) fn has_parts(&self) -> bool {
        !self.hidden.is_empty()
    }

    /// The oldest sample's time.
    pub(crate) fn oldest_ms(&self) -> Option<i64> {
        (self.oldest_ms <= self.newest_ms).then_some(self.oldest_ms)
    }

    /// The newest sample's time.
    pub(crate) fn newest_ms(&self) -> Option<i64> {
        (self.oldest_ms <= self.newest_ms).then_some(self.newest_ms)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use labstat_model::{METRIC_NAME, MatchOp, Matcher};
    use proptest::prelude::*;

    use super::*;
    use crate::patience::Patience;

    const NAMES: [&str; 4] = ["__name__", "b", "c", "absent"];

    #[derive(Debug, Clone)]
    struct Known {
        labels: Labels,
        shelf: u32,
        first_ms: i64,
        last: Option<(i64, u64)>,
    }

    #[derive(Debug, Clone)]
    enum Step {
        /// Samples of a label set: times and values. New sets get a new id.
        Write((String, String, String), Vec<(i64, u64)>),
        Age(i64),
        Remove(Vec<prop::sample::Index>),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let set = ("(a|ab|abc|B|ü|x)", "(|a|aa|b|1|11|x|y|z)", "(|x|xy)");
        let samples = prop::collection::vec((0_i64..100, 0..9_u64), 1..4);
        let step = prop_oneof![
            9 => (set, samples).prop_map(|(set, samples)| Step::Write(set, samples)),
            2 => (0_i64..120).prop_map(Step::Age),
            1 => prop::collection::vec(any::<prop::sample::Index>(), 1..4).prop_map(Step::Remove),
        ];
        prop::collection::vec(step, 0..60)
    }

    fn matcher() -> impl Strategy<Value = Matcher> {
        let ops = vec![MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];
        let values = vec![
            "",
            "x",
            "a",
            "x|y",
            "x|",
            "ab?",
            "a(b|bc)",
            ".*",
            ".+",
            "z?",
            "a.*",
            "a.+",
            "[ax]",
            "(?i)b",
            "(?i)AB?C?",
            "1+",
            "^a$",
            "ü",
            r"\x61",
            "[^a]*",
            "nothing",
            "a||b",
            "(a|x).?",
        ];
        (prop::sample::select(&NAMES), prop::sample::select(ops), prop::sample::select(values))
            .prop_map(|(name, op, value)| Matcher::new(name, op, value).unwrap())
    }

    fn matchers() -> impl Strategy<Value = Vec<Matcher>> {
        prop::collection::vec(matcher(), 0..4)
    }

    /// The index, and what it should say.
    #[derive(Default)]
    struct Both {
        index: Index,
        known: BTreeMap<u32, Known>,
        next: u32,
    }

    impl Both {
        fn step(&mut self, step: Step) {
            match step {
                Step::Write((a, b, c), samples) => {
                    let labels = Labels::new([(NAMES[0], &*a), (NAMES[1], &b), (NAMES[2], &c)]);
                    let known = self.known.iter().find(|(_, known)| known.labels == labels);
                    let id = known.map(|(id, _)| *id);
                    assert_eq!(self.index.id(&labels), id);
                    let id = id.unwrap_or_else(|| self.create(labels));
                    self.widen(id, &samples);
                }
                Step::Age(live_since_ms) => self.index.age(live_since_ms),
                Step::Remove(which) => {
                    let ids: Vec<u32> = self.known.keys().copied().collect();
                    let gone: BTreeSet<u32> =
                        which.iter().filter(|_| !ids.is_empty()).map(|at| *at.get(&ids)).collect();
                    self.index.remove(&gone);
                    self.known.retain(|id, _| !gone.contains(id));
                }
            }
        }

        fn create(&mut self, labels: Labels) -> u32 {
            self.next += 1 + self.next % 3 * 700;
            let shelf = self.next % 5;
            self.index.insert(self.next, shelf, labels.clone());
            self.known.insert(self.next, Known { labels, shelf, first_ms: i64::MAX, last: None });
            self.next
        }

        fn widen(&mut self, id: u32, samples: &[(i64, u64)]) {
            for &(time_ms, bits) in samples {
                self.index.widen(id, time_ms, time_ms, Some(bits));
                let known = self.known.get_mut(&id).unwrap();
                known.first_ms = known.first_ms.min(time_ms);
                // Of two samples at one time the store takes the first.
                if known.last.is_none_or(|(last_ms, _)| last_ms < time_ms) {
                    known.last = Some((time_ms, bits));
                }
            }
            self.index.settle();
        }

        fn scan(&self, matchers: &[Matcher], (start_ms, end_ms): (i64, i64)) -> Vec<u32> {
            let fits = |known: &Known| {
                known.first_ms <= end_ms
                    && known.last.is_some_and(|(last_ms, _)| last_ms >= start_ms)
                    && matchers.iter().all(|matcher| matcher.matches_labels(&known.labels))
            };
            let found = self.known.iter().filter(|(_, known)| fits(known));
            found.map(|(id, _)| *id).collect()
        }

        fn check_each(&self) {
            let Self { index, known, .. } = self;
            assert_eq!(index.len(), known.len());
            assert!(index.iter().map(|(id, _)| id).eq(known.keys().copied()));
            for (id, known) in known {
                let entry = index.get(*id).unwrap();
                assert_eq!((entry.shelf, entry.first_ms), (known.shelf, known.first_ms));
                assert_eq!(index.newest(*id), known.last);
                assert_eq!(index.labels(*id).as_ref(), Some(&known.labels));
                assert_eq!(index.id(&known.labels), Some(*id));
                let mut labels = Vec::new();
                index.each_label(*id, |name, value| {
                    labels.push((name.to_owned(), value.to_owned()));
                });
                assert!(
                    labels.iter().map(|(name, value)| (&**name, &**value)).eq(known.labels.iter())
                );
            }
            let oldest_ms = known.values().map(|known| known.first_ms).min();
            let newest_ms = known.values().filter_map(|known| known.last).map(|last| last.0).max();
            assert_eq!((index.oldest_ms(), index.newest_ms()), (oldest_ms, newest_ms));
        }

        fn check_names(&self, any: &[Vec<Matcher>], range: (i64, i64)) {
            let ids: BTreeSet<u32> = match any {
                [] => self.scan(&[], range).into_iter().collect(),
                any => any.iter().flat_map(|matchers| self.scan(matchers, range)).collect(),
            };
            let sets: BTreeSet<&Labels> = ids.iter().map(|id| &self.known[id].labels).collect();
            assert!(
                self.index
                    .series(any, range, &Patience::endless())
                    .unwrap()
                    .0
                    .iter()
                    .eq(sets.iter().copied())
            );
            let pairs: BTreeSet<(&str, &str)> = sets.iter().flat_map(|set| set.iter()).collect();
            let names: BTreeSet<&str> = pairs.iter().map(|(name, _)| *name).collect();
            let found = self.index.label_names(any, range, &Patience::endless());
            assert!(found.unwrap().iter().eq(names));
            for name in NAMES {
                let values = pairs.iter().filter(|pair| pair.0 == name).map(|(_, value)| *value);
                let found = self.index.label_values(name, any, range, &Patience::endless());
                assert!(found.unwrap().iter().eq(values));
            }
        }

        fn check_cardinality(&self, max: usize) {
            let mut pairs: BTreeMap<(&str, &str), usize> = BTreeMap::new();
            for pair in self.known.values().flat_map(|known| known.labels.iter()) {
                *pairs.entry(pair).or_default() += 1;
            }
            let mut names: BTreeMap<&str, usize> = BTreeMap::new();
            pairs.keys().for_each(|(name, _)| *names.entry(name).or_default() += 1);
            let metrics = pairs.iter().filter(|(pair, _)| pair.0 == METRIC_NAME);
            let metrics = metrics.map(|((_, value), len)| ((*value).to_owned(), *len));
            let found = self.index.cardinality(max, &Patience::endless()).unwrap();
            assert_eq!(found.metric_names, largest(metrics, max));
            let names = names.into_iter().map(|(name, len)| (name.to_owned(), len));
            assert_eq!(found.label_names, largest(names, max));
            let mut bytes: BTreeMap<&str, usize> = BTreeMap::new();
            for ((name, value), len) in &pairs {
                *bytes.entry(name).or_default() += value.len() * len;
            }
            let bytes = bytes.into_iter().map(|(name, len)| (name.to_owned(), len));
            assert_eq!(found.label_bytes, largest(bytes, max));
            let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
            assert_eq!(self.index.pairs_len(), pairs.len());
            let pairs = pairs.into_iter().map(|(pair, len)| (owned(pair), len));
            assert_eq!(found.pairs, largest(pairs, max));
        }
    }

    fn largest<T: Ord>(counts: impl Iterator<Item = (T, usize)>, max: usize) -> Vec<(T, usize)> {
        let mut counts: Vec<(T, usize)> = counts.collect();
        counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        counts.truncate(max);
        counts
    }

    proptest! {
        /// Whatever was written, ended, came back and was removed: the index says what looking at
        /// every series would.
        #[test]
        fn equals_a_scan(
            steps in steps(),
            queries in prop::collection::vec((matchers(), 0_i64..110, 0_i64..110), 1..6),
            any in prop::collection::vec(matchers(), 0..3),
        ) {
            let mut both = Both::default();
            steps.into_iter().for_each(|step| both.step(step));
            both.check_each();
            both.check_cardinality(3);
            for (matchers, a, b) in queries {
                let range = (a.min(b), a.max(b));
                let found = both.index.select(&matchers, range.0, range.1);
                prop_assert_eq!(found, both.scan(&matchers, range), "{:?} {:?}", matchers, range);
                both.check_names(&any, range);
            }
        }
    }

    /// What has ended is no part of a question about now, however the samples came.
    #[test]
    fn ended_series_are_not_looked_at() {
        let mut index = Index::default();
        for id in 0..10_u32 {
            index.insert(id, 0, Labels::new([("__name__", "m"), ("id", &*id.to_string())]));
            index.widen(id, 0, i64::from(id) * 10, None);
        }
        index.age(50);
        let tiers = |index: &Index, start_ms| index.tiers_in(start_ms).count();
        assert_eq!((tiers(&index, 41), tiers(&index, 40)), (1, 2));
        let id = index.symbols.name("id").unwrap();
        assert_eq!(index.symbols.pairs_of(id, Tier::Live).len(), 5);
        // A late sample of one that has ended, and one with which it goes on.
        index.widen(2, 45, 45, None);
        index.settle();
        assert_eq!((tiers(&index, 46), tiers(&index, 45)), (1, 2));
        index.widen(2, 50, 50, Some(7));
        index.settle();
        assert_eq!(index.symbols.pairs_of(id, Tier::Live).len(), 6);
        assert_eq!(index.newest(2), Some((50, 7)));
        assert_eq!(index.select(&[Matcher::equal("id", "2")], 60, 70), Vec::<u32>::new());
        assert_eq!(index.select(&[Matcher::equal("id", "2")], 50, 70), [2]);
    }

    #[test]
    fn a_clock_that_jumped_ahead_ends_nothing() {
        let mut index = Index::default();
        index.insert(1, 0, Labels::new([("__name__", "m")]));
        index.widen(1, 0, 1_000 * LIVE_MS, None);
        assert_eq!(index.live_since(i64::MAX), 999 * LIVE_MS);
        assert_eq!(index.live_since(500 * LIVE_MS), 499 * LIVE_MS);
    }
}
