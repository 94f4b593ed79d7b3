//! What series there are, as people and tools ask: label sets, names, values, and of what there is
//! most.
//!
//! Names and values are told from the label pairs, not by going through the series.

use std::collections::{BTreeSet, HashMap};

use labstat_model::{HISTOGRAM_LABEL, Labels, METRIC_NAME, Matcher};
use roaring::RoaringBitmap;

use super::{Index, Which, unranked_len};
use crate::ReadError;
use crate::patience::Patience;
use crate::symbols::{Ids, Tier};

/// Names and values.
impl Index {
    /// The label sets of the series that fulfil any of the lists (all when there is none) and reach
    /// into the range, sorted; and how many of them have no place in the order yet.
    pub(crate) fn series(
        &self,
        any: &[Vec<Matcher>],
        range: (i64, i64),
        patience: &Patience<'_>,
    ) -> Result<(Vec<Labels>, usize), ReadError> {
        let every: &[Vec<Matcher>] = &[Vec::new()];
        let any = if any.is_empty() { every } else { any };
        let mut ids = Vec::new();
        for matchers in any {
            ids.extend(self.select_which(Which::Listed, matchers, range, patience));
        }
        let mut ids = patience.whole(ids)?;
        ids.sort_unstable();
        ids.dedup();
        let keys = self.ordered(ids);
        let unranked = unranked_len(&keys);
        let keys = keys.into_iter().take_while(|_| patience.lasts());
        let all: Vec<Labels> = keys.filter_map(|(_, id)| self.labels(id)).collect();
        let mut all = patience.whole(all)?;
        if self.has_parts() {
            for labels in all.iter_mut().filter(|labels| labels.get(HISTOGRAM_LABEL).is_some()) {
                *labels = labels.without(|name| name == HISTOGRAM_LABEL);
            }
        }
        if unranked > 0 || self.has_parts() {
            // The sort is fast where most are in order already.
            all.sort();
            // A series may have histograms and floats.
            all.dedup();
        }
        Ok((all, unranked))
    }

    /// The label names of the same series, sorted.
    pub(crate) fn label_names(
        &self,
        any: &[Vec<Matcher>],
        range: (i64, i64),
        patience: &Patience<'_>,
    ) -> Result<Vec<String>, ReadError> {
        let mut names = BTreeSet::new();
        for tier in self.tiers_in(range.0) {
            let among = Among::new(self, any, tier, range, patience);
            for (name, text) in self.symbols.names() {
                let mut pairs = self.symbols.pairs_of(name, tier).iter();
                let is_seen = text != HISTOGRAM_LABEL;
                if is_seen && !names.contains(text) && pairs.any(|pair| among.has(*pair)) {
                    names.insert(text);
                }
            }
        }
        patience.whole(names.into_iter().map(str::to_owned).collect())
    }

    /// The values of a label of the same series, sorted.
    pub(crate) fn label_values(
        &self,
        name: &str,
        any: &[Vec<Matcher>],
        range: (i64, i64),
        patience: &Patience<'_>,
    ) -> Result<Vec<String>, ReadError> {
        let name = Some(name).filter(|name| *name != HISTOGRAM_LABEL);
        let Some(name) = name.and_then(|name| self.symbols.name(name)) else {
            return Ok(Vec::new());
        };
        let mut found = RoaringBitmap::new();
        for tier in self.tiers_in(range.0) {
            let among = Among::new(self, any, tier, range, patience);
            let pairs = self.symbols.pairs_of(name, tier).iter().copied();
            found.extend(pairs.filter(|pair| among.has(*pair)));
        }
        let found = patience.whole(found)?;
        let mut values: Vec<&str> = found.iter().map(|pair| self.symbols.value(pair)).collect();
        values.sort_unstable();
        Ok(values.into_iter().map(str::to_owned).collect())
    }

    /// The number of label pairs, but for that of the label nobody sees.
    pub(crate) fn pairs_len(&self) -> usize {
        let unseen = self.symbols.name(HISTOGRAM_LABEL).map_or(0, |name| self.values_len(name));
        self.symbols.pairs_len().saturating_sub(unseen)
    }

    /// How many values a name has.
    fn values_len(&self, name: u32) -> usize {
        let [live, ended] = Tier::BOTH.map(|tier| self.symbols.pairs_of(name, tier));
        // Only values of both tiers would count twice.
        let both = live.iter().filter(|pair| !self.symbols.ids(**pair, Tier::Ended).is_empty());
        live.len() + ended.len() - both.count()
    }

    /// How many series of lists have a pair.
    fn listed_len(&self, pair: u32) -> u64 {
        let all = self.symbols.series_len(pair);
        if !self.has_parts() {
            return all;
        }
        let unlisted = Tier::BOTH.into_iter().map(|tier| match self.symbols.ids(pair, tier) {
            Ids::None => 0,
            Ids::One(id) => u64::from(self.hidden.is_unlisted(id)),
            Ids::Many(ids) => self.hidden.unlisted_of(ids),
        });
        all.saturating_sub(unlisted.sum())
    }

    /// What there is most of, at most `max` of each.
    pub(crate) fn cardinality(
        &self,
        max: usize,
        patience: &Patience<'_>,
    ) -> Result<Cardinality, ReadError> {
        let symbols = &self.symbols;
        let mut found = Cardinality::default();
        let mut most = Most::new(max);
        let mut most_of_metrics = Most::new(max);
        let metric = symbols.name(METRIC_NAME);
        let mut bytes: HashMap<u32, u64> = HashMap::new();
        let unseen = symbols.name(HISTOGRAM_LABEL);
        for pair in symbols.pairs().take_while(|_| patience.lasts()) {
            if unseen.is_some() && symbols.name_of(pair) == unseen {
                continue;
            }
            let series = self.listed_len(pair);
            let value_len = symbols.value(pair).len() as u64;
            if let Some(name) = symbols.name_of(pair) {
                *bytes.entry(name).or_default() += value_len * series;
            }
            if most.would_take(series) {
                let (name, value) = symbols.texts(pair);
                most.push(series, (name.to_owned(), value.to_owned()));
            }
            if symbols.name_of(pair) == metric && most_of_metrics.would_take(series) {
                most_of_metrics.push(series, symbols.value(pair).to_owned());
            }
        }
        let mut names = Most::new(max);
        let mut bytes_of_names = Most::new(max);
        for (name, text) in symbols.names().filter(|(name, _)| Some(*name) != unseen) {
            names.push(self.values_len(name) as u64, text.to_owned());
            bytes_of_names.push(bytes.get(&name).copied().unwrap_or(0), text.to_owned());
        }
        found.pairs = most.finish();
        found.metric_names = most_of_metrics.finish();
        found.label_names = names.finish();
        found.label_bytes = bytes_of_names.finish();
        patience.whole(found)
    }
}

/// The series of one tier that names and values are asked of.
struct Among<'a> {
    index: &'a Index,
    tier: Tier,
    range: (i64, i64),
    /// `None` for all that reach into the range.
    ids: Option<RoaringBitmap>,
    patience: &'a Patience<'a>,
}

impl<'a> Among<'a> {
    fn new(
        index: &'a Index,
        any: &[Vec<Matcher>],
        tier: Tier,
        range: (i64, i64),
        patience: &'a Patience<'a>,
    ) -> Self {
        let all: &[Vec<Matcher>] = &[Vec::new()];
        let any = if any.is_empty() && index.has_parts() { all } else { any };
        let ids = (!any.is_empty()).then(|| {
            let mut ids = RoaringBitmap::new();
            for matchers in any {
                ids |= index.matching(Which::Listed, matchers, tier, patience);
            }
            let ids = ids.iter().take_while(|_| patience.lasts());
            ids.filter(|id| index.overlaps(*id, range.0, range.1)).collect()
        });
        Self { index, tier, range, ids, patience }
    }

    fn has(&self, pair: u32) -> bool {
        if !self.patience.lasts() {
            return false;
        }
        let having: Ids<'_> = self.index.symbols.ids(pair, self.tier);
        match &self.ids {
            Some(ids) => having.meets(ids),
            None => having.any(|id| self.index.overlaps(id, self.range.0, self.range.1)),
        }
    }
}

/// What there is most of, most first, and among equals by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Cardinality {
    /// Metric names by their series.
    pub(crate) metric_names: Vec<(String, usize)>,
    /// Label names by their values.
    pub(crate) label_names: Vec<(String, usize)>,
    /// Label names by the bytes of their values, counted in each series.
    pub(crate) label_bytes: Vec<(String, usize)>,
    /// Label pairs by their series.
    pub(crate) pairs: Vec<((String, String), usize)>,
}

/// The few largest of many.
struct Most<T> {
    max: usize,
    found: BTreeSet<(std::cmp::Reverse<u64>, T)>,
}

impl<T: Ord> Most<T> {
    const fn new(max: usize) -> Self {
        Self { max, found: BTreeSet::new() }
    }

    /// Whether something of this size can be among them.
    fn would_take(&self, size: u64) -> bool {
        self.found.len() < self.max || self.found.last().is_some_and(|(least, _)| least.0 <= size)
    }

    fn push(&mut self, size: u64, what: T) {
        self.found.insert((std::cmp::Reverse(size), what));
        if self.found.len() > self.max {
            self.found.pop_last();
        }
    }

    fn finish(self) -> Vec<(T, usize)> {
        let count = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
        self.found.into_iter().map(|(size, what)| (what, count(size.0))).collect()
    }
}
