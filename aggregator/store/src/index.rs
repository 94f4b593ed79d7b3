//! Which series there are, and which of them fulfil matchers.
//!
//! In memory, built at start from the series table: label sets by id, ids by label set, and for
//! every label pair the sorted ids of its series (the postings). Matchers are answered from the
//! postings: a regular expression runs once per distinct value and not once per series.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use labstat_model::{Labels, Matcher};

/// What is known of a series.
#[derive(Debug, Clone)]
pub(crate) struct SeriesEntry {
    pub(crate) labels: Labels,
    /// The group of series it is sealed with.
    pub(crate) shelf: u32,
    /// The range its samples span; empty (first after last) while there are none.
    pub(crate) first_ms: i64,
    pub(crate) last_ms: i64,
}

type Postings = BTreeMap<Box<str>, BTreeMap<Box<str>, Vec<u32>>>;

/// All series.
#[derive(Debug, Default)]
pub(crate) struct Index {
    entries: HashMap<u32, SeriesEntry>,
    ids: HashMap<Labels, u32>,
    all: BTreeSet<u32>,
    postings: Postings,
}

impl Index {
    /// Adds a series.
    pub(crate) fn insert(&mut self, id: u32, shelf: u32, labels: Labels) {
        for (name, value) in labels.iter() {
            if !self.postings.contains_key(name) {
                self.postings.insert(name.into(), BTreeMap::new());
            }
            let Some(values) = self.postings.get_mut(name) else { continue };
            match values.get_mut(value) {
                Some(ids) => insert_sorted(ids, id),
                None => drop(values.insert(value.into(), vec![id])),
            }
        }
        self.ids.insert(labels.clone(), id);
        self.all.insert(id);
        let entry = SeriesEntry { labels, shelf, first_ms: i64::MAX, last_ms: i64::MIN };
        self.entries.insert(id, entry);
    }

    /// Widens the range of a series.
    pub(crate) fn widen(&mut self, id: u32, first_ms: i64, last_ms: i64) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.first_ms = entry.first_ms.min(first_ms);
            entry.last_ms = entry.last_ms.max(last_ms);
        }
    }

    /// Removes series. Each posting they are in is gone through once, however many they are.
    pub(crate) fn remove(&mut self, gone: &BTreeSet<u32>) {
        let removed: Vec<SeriesEntry> =
            gone.iter().filter_map(|id| self.entries.remove(id)).collect();
        for entry in &removed {
            self.ids.remove(&entry.labels);
        }
        self.all.retain(|id| !gone.contains(id));
        let pairs: BTreeSet<(&str, &str)> =
            removed.iter().flat_map(|entry| entry.labels.iter()).collect();
        for (name, value) in pairs {
            let Some(values) = self.postings.get_mut(name) else { continue };
            if let Some(ids) = values.get_mut(value) {
                ids.retain(|id| !gone.contains(id));
                if ids.is_empty() {
                    values.remove(value);
                }
            }
            if values.is_empty() {
                self.postings.remove(name);
            }
        }
    }

    /// The id of a label set.
    pub(crate) fn id(&self, labels: &Labels) -> Option<u32> {
        self.ids.get(labels).copied()
    }

    /// What is known of a series.
    pub(crate) fn get(&self, id: u32) -> Option<&SeriesEntry> {
        self.entries.get(&id)
    }

    /// All series, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &SeriesEntry)> {
        self.entries.iter().map(|(&id, entry)| (id, entry))
    }

    /// The number of series.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The sorted ids of the series that fulfil all matchers and reach into the range.
    pub(crate) fn select(&self, matchers: &[Matcher], start_ms: i64, end_ms: i64) -> Vec<u32> {
        let mut ids = self.matching(matchers);
        ids.retain(|id| {
            let entry = self.entries.get(id);
            entry.is_some_and(|entry| entry.first_ms <= end_ms && entry.last_ms >= start_ms)
        });
        ids
    }

    fn matching(&self, matchers: &[Matcher]) -> Vec<u32> {
        let mut wanted: Option<Vec<u32>> = None;
        let mut unwanted: Vec<&Matcher> = Vec::new();
        for matcher in matchers {
            // A matcher that takes an empty value also takes series without the label, which no
            // posting lists; so it is applied by taking away what it does not match.
            if matcher.matches("") {
                unwanted.push(matcher);
                continue;
            }
            let ids = self.union(matcher.name(), |value| matcher.matches(value), exact(matcher));
            wanted = Some(match wanted {
                Some(sofar) => intersection(&sofar, &ids),
                None => ids,
            });
            if wanted.as_ref().is_some_and(Vec::is_empty) {
                return Vec::new();
            }
        }
        let mut ids = wanted.unwrap_or_else(|| self.all.iter().copied().collect());
        for matcher in unwanted {
            let gone = self.union(matcher.name(), |value| !matcher.matches(value), None);
            ids.retain(|id| gone.binary_search(id).is_err());
        }
        ids
    }

    /// The sorted ids of the series whose value of `name` is taken; looks at one value only when
    /// it is given.
    fn union(&self, name: &str, takes: impl Fn(&str) -> bool, only: Option<&str>) -> Vec<u32> {
        let Some(values) = self.postings.get(name) else { return Vec::new() };
        if let Some(value) = only {
            return values.get(value).cloned().unwrap_or_default();
        }
        let taken = values.iter().filter(|(value, _)| takes(value));
        let mut ids: Vec<u32> = taken.flat_map(|(_, ids)| ids.iter().copied()).collect();
        // A series has one value of a label, so no id is there twice.
        ids.sort_unstable();
        ids
    }

    /// The number of label pairs.
    pub(crate) fn pairs_len(&self) -> usize {
        self.postings.values().map(BTreeMap::len).sum()
    }

    /// Every label name with its values and how many series have each.
    pub(crate) fn cardinalities(
        &self,
    ) -> impl Iterator<Item = (&str, impl Iterator<Item = (&str, usize)>)> {
        self.postings.iter().map(|(name, values)| {
            (&**name, values.iter().map(|(value, ids)| (&**value, ids.len())))
        })
    }
}

/// The only value a matcher can take, when there is just one.
fn exact(matcher: &Matcher) -> Option<&str> {
    (matcher.op() == labstat_model::MatchOp::Equal).then(|| matcher.value())
}

/// New series have the highest ids, so this mostly appends.
fn insert_sorted(ids: &mut Vec<u32>, id: u32) {
    match ids.last() {
        Some(&last) if last >= id => {
            if let Err(at) = ids.binary_search(&id) {
                ids.insert(at, id);
            }
        }
        _ => ids.push(id),
    }
}

fn intersection(a: &[u32], b: &[u32]) -> Vec<u32> {
    let (short, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
    short.iter().copied().filter(|id| long.binary_search(id).is_ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use labstat_model::MatchOp;
    use proptest::prelude::*;

    fn any_op() -> impl Strategy<Value = MatchOp> {
        prop::sample::select(vec![
            MatchOp::Equal,
            MatchOp::NotEqual,
            MatchOp::Regex,
            MatchOp::NotRegex,
        ])
    }

    proptest! {
        /// Postings say the same as looking at every label set, for missing labels too.
        #[test]
        fn equals_a_scan(
            sets in prop::collection::btree_set(("[xy]", "[xyz]?", "[z]?"), 0..12),
            matchers in prop::collection::vec(
                ("[abcd]", any_op(), prop::sample::select(vec!["", "x", "x|y", ".*", ".+", "z?"])),
                0..4,
            ),
            removed in prop::collection::btree_set(0_u32..12, 0..4),
        ) {
            let mut index = Index::default();
            let mut all = BTreeMap::new();
            for (at, (a, b, c)) in sets.iter().enumerate() {
                let labels = Labels::new([("a", &**a), ("b", b), ("c", c)]);
                let id = u32::try_from(at).unwrap();
                index.insert(id, 0, labels.clone());
                index.widen(id, 0, 10);
                all.insert(id, labels);
            }
            index.remove(&removed);
            all.retain(|id, _| !removed.contains(id));
            let matchers: Vec<Matcher> = matchers
                .into_iter()
                .map(|(name, op, value)| Matcher::new(name, op, value).unwrap())
                .collect();
            let wanted: Vec<u32> = all
                .iter()
                .filter(|(_, labels)| matchers.iter().all(|m| m.matches_labels(labels)))
                .map(|(&id, _)| id)
                .collect();
            prop_assert_eq!(index.select(&matchers, 5, 7), wanted);
            prop_assert_eq!(index.select(&matchers, 11, 12), Vec::<u32>::new());
        }
    }
}
