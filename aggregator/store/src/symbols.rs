//! Label names and values, each kept once, and the series that have them.
//!
//! A *pair* is a name with a value; it has a number. Its text lies with all others in one buffer,
//! and the series that have it are one id, as for most values of a lab that runs containers, or
//! two bitmaps: series that live and series that ended are kept apart, so that who asks for what
//! is going on never looks at what was.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use roaring::RoaringBitmap;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::slots::Slots;

/// The buffer of texts is packed when it holds this many bytes, at least, of texts that are gone.
const GARBAGE_MIN_BYTES: usize = 1024 * 1024;

/// Whether series have a sample of the last days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tier {
    Live = 0,
    Ended = 1,
}

impl Tier {
    pub(crate) const BOTH: [Self; 2] = [Self::Live, Self::Ended];

    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Live => Self::Ended,
            Self::Ended => Self::Live,
        }
    }
}

/// One thing for each tier.
#[derive(Debug, Default)]
pub(crate) struct Tiers<T>([T; 2]);

impl<T> Tiers<T> {
    pub(crate) const fn of(&self, tier: Tier) -> &T {
        let Self([live, ended]) = self;
        match tier {
            Tier::Live => live,
            Tier::Ended => ended,
        }
    }

    pub(crate) const fn of_mut(&mut self, tier: Tier) -> &mut T {
        let Self([live, ended]) = self;
        match tier {
            Tier::Live => live,
            Tier::Ended => ended,
        }
    }
}

/// The series that have a pair.
#[derive(Debug, Default)]
enum Postings {
    #[default]
    None,
    One(u32, Tier),
    Many(Box<Tiers<RoaringBitmap>>),
}

/// The series of one tier that have a pair.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ids<'a> {
    None,
    One(u32),
    Many(&'a RoaringBitmap),
}

impl Ids<'_> {
    pub(crate) fn len(self) -> u64 {
        match self {
            Self::None => 0,
            Self::One(_) => 1,
            Self::Many(ids) => ids.len(),
        }
    }

    pub(crate) fn is_empty(self) -> bool {
        self.len() == 0
    }

    pub(crate) fn any(self, mut takes: impl FnMut(u32) -> bool) -> bool {
        match self {
            Self::None => false,
            Self::One(id) => takes(id),
            Self::Many(ids) => ids.iter().any(takes),
        }
    }

    pub(crate) fn meets(self, others: &RoaringBitmap) -> bool {
        match self {
            Self::None => false,
            Self::One(id) => others.contains(id),
            Self::Many(ids) => !ids.is_disjoint(others),
        }
    }
}

impl Postings {
    fn of(&self, tier: Tier) -> Ids<'_> {
        match self {
            Self::One(id, at) if *at == tier => Ids::One(*id),
            Self::None | Self::One(..) => Ids::None,
            Self::Many(ids) => Ids::Many(ids.of(tier)),
        }
    }

    fn insert(&mut self, id: u32, tier: Tier) {
        match self {
            Self::None => *self = Self::One(id, tier),
            Self::One(only, at) if (*only, *at) == (id, tier) => {}
            Self::One(only, at) => {
                let mut both: Box<Tiers<RoaringBitmap>> = Box::default();
                both.of_mut(*at).insert(*only);
                both.of_mut(tier).insert(id);
                *self = Self::Many(both);
            }
            Self::Many(ids) => {
                ids.of_mut(tier).insert(id);
            }
        }
    }

    fn remove(&mut self, id: u32, tier: Tier) {
        match self {
            Self::One(only, at) if (*only, *at) == (id, tier) => *self = Self::None,
            Self::None | Self::One(..) => {}
            Self::Many(ids) => {
                ids.of_mut(tier).remove(id);
                // A value that changes its tier with its only series must not stay large.
                let left = Tier::BOTH.map(|tier| (ids.of(tier).len(), ids.of(tier).min(), tier));
                match left {
                    [(0, ..), (0, ..)] => *self = Self::None,
                    [(1, Some(only), at), (0, ..)] | [(0, ..), (1, Some(only), at)] => {
                        *self = Self::One(only, at);
                    }
                    _ => {}
                }
            }
        }
    }
}

#[derive(Debug)]
struct Pair {
    hash: u32,
    name: u32,
    start: u32,
    len: u32,
    postings: Postings,
}

#[derive(Debug)]
struct Name {
    text: Box<str>,
    hash: u64,
    /// The pairs that series of a tier have, in no order.
    pairs: Tiers<Vec<u32>>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Symbols {
    seed: u64,
    texts: String,
    garbage: usize,
    names: Slots<Name>,
    names_free: Vec<u32>,
    names_by_text: HashTable<u32>,
    pairs: Slots<Pair>,
    pairs_free: Vec<u32>,
    pairs_by_text: HashTable<u32>,
}

impl Default for Symbols {
    fn default() -> Self {
        Self {
            // Senders choose the texts, so they must not know where these land.
            seed: RandomState::new().hash_one(0),
            texts: String::new(),
            garbage: 0,
            names: Slots::default(),
            names_free: Vec::new(),
            names_by_text: HashTable::new(),
            pairs: Slots::default(),
            pairs_free: Vec::new(),
            pairs_by_text: HashTable::new(),
        }
    }
}

/// The hash of a label set so far, to which the hash of the next pair comes.
pub(crate) const fn mix(hash: u32, pair: u32) -> u32 {
    (hash.rotate_left(5) ^ pair).wrapping_mul(0x9e37_79b1)
}

/// What a table takes: the high bits of a hash tell entries apart, the low ones place them.
pub(crate) const fn spread(hash: u32) -> u64 {
    (hash as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Reading.
impl Symbols {
    /// The hash of a pair, whether there is such a pair or not.
    pub(crate) fn hash(&self, name: &str, value: &str) -> u32 {
        self.hash_with(self.name_hash(name), value)
    }

    #[expect(clippy::cast_possible_truncation, reason = "any half of a hash is a hash")]
    fn hash_with(&self, name_hash: u64, value: &str) -> u32 {
        xxh3_64_with_seed(value.as_bytes(), name_hash) as u32
    }

    fn name_hash(&self, name: &str) -> u64 {
        xxh3_64_with_seed(name.as_bytes(), self.seed)
    }

    /// The hash of a pair there is.
    pub(crate) fn hash_of(&self, pair: u32) -> u32 {
        self.pairs.get(pair).map_or(0, |pair| pair.hash)
    }

    /// The number of a name.
    pub(crate) fn name(&self, text: &str) -> Option<u32> {
        let hash = self.name_hash(text);
        let is = |id: &u32| self.names.get(*id).is_some_and(|name| &*name.text == text);
        self.names_by_text.find(hash, is).copied()
    }

    /// The number of a pair.
    pub(crate) fn pair(&self, name: u32, value: &str) -> Option<u32> {
        let hash = self.hash_with(self.names.get(name)?.hash, value);
        let is = |id: &u32| {
            let pair = self.pairs.get(*id).filter(|pair| pair.name == name && pair.hash == hash);
            pair.is_some_and(|pair| self.text(pair) == value)
        };
        self.pairs_by_text.find(spread(hash), is).copied()
    }

    fn text(&self, pair: &Pair) -> &str {
        let start = pair.start as usize;
        self.texts.get(start..start + pair.len as usize).unwrap_or_default()
    }

    /// Name and value of a pair.
    pub(crate) fn texts(&self, pair: u32) -> (&str, &str) {
        let Some(pair) = self.pairs.get(pair) else { return ("", "") };
        let name = self.names.get(pair.name).map(|name| &*name.text).unwrap_or_default();
        (name, self.text(pair))
    }

    /// The name of a pair.
    pub(crate) fn name_of(&self, pair: u32) -> Option<u32> {
        self.pairs.get(pair).map(|pair| pair.name)
    }

    /// The value of a pair.
    pub(crate) fn value(&self, pair: u32) -> &str {
        self.pairs.get(pair).map(|pair| self.text(pair)).unwrap_or_default()
    }

    /// The series of a tier that have a pair.
    pub(crate) fn ids(&self, pair: u32, tier: Tier) -> Ids<'_> {
        self.pairs.get(pair).map_or(Ids::None, |pair| pair.postings.of(tier))
    }

    /// How many series have a pair.
    pub(crate) fn series_len(&self, pair: u32) -> u64 {
        Tier::BOTH.iter().map(|tier| self.ids(pair, *tier).len()).sum()
    }

    /// The pairs of a name that series of a tier have, in no order.
    pub(crate) fn pairs_of(&self, name: u32, tier: Tier) -> &[u32] {
        self.names.get(name).map(|name| name.pairs.of(tier).as_slice()).unwrap_or_default()
    }

    /// All names.
    pub(crate) fn names(&self) -> impl Iterator<Item = (u32, &str)> {
        self.names.iter().map(|(id, name)| (id, &*name.text))
    }

    /// All pairs.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = u32> {
        self.pairs.iter().map(|(id, _)| id)
    }

    /// The number of pairs.
    pub(crate) const fn pairs_len(&self) -> usize {
        self.pairs.len()
    }

    /// The series that have any of the pairs.
    pub(crate) fn union(&self, pairs: impl IntoIterator<Item = u32>, tier: Tier) -> RoaringBitmap {
        let mut union = RoaringBitmap::new();
        // Values with one series each are many, and single ones go in best in order.
        let mut ones = Vec::new();
        for pair in pairs {
            match self.ids(pair, tier) {
                Ids::None => {}
                Ids::One(id) => ones.push(id),
                Ids::Many(ids) => union |= ids,
            }
        }
        ones.sort_unstable();
        union.extend(ones);
        union
    }
}

/// Changing.
impl Symbols {
    /// The number of a pair, which is made when it is new. What no series gets is never forgotten,
    /// so one must.
    pub(crate) fn intern(&mut self, name: &str, value: &str) -> u32 {
        let name = self.intern_name(name);
        if let Some(pair) = self.pair(name, value) {
            return pair;
        }
        let name_hash = self.names.get(name).map_or(0, |name| name.hash);
        let hash = self.hash_with(name_hash, value);
        // The store bounds all labels together to less than this; the texts of removed ones are
        // bounded by those.
        let start = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        let len = u32::try_from(value.len()).unwrap_or(0);
        self.texts.push_str(value);
        let next = u32::try_from(self.pairs.len()).unwrap_or(u32::MAX);
        let id = self.pairs_free.pop().unwrap_or(next);
        self.pairs.insert(id, Pair { hash, name, start, len, postings: Postings::None });
        let Self { pairs, pairs_by_text, .. } = self;
        let hash_of = |id: &u32| spread(pairs.get(*id).map_or(0, |pair| pair.hash));
        pairs_by_text.insert_unique(spread(hash), id, hash_of);
        id
    }

    fn intern_name(&mut self, text: &str) -> u32 {
        if let Some(name) = self.name(text) {
            return name;
        }
        let hash = self.name_hash(text);
        let next = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        let id = self.names_free.pop().unwrap_or(next);
        self.names.insert(id, Name { text: text.into(), hash, pairs: Tiers::default() });
        let Self { names, names_by_text, .. } = self;
        let hash_of = |id: &u32| names.get(*id).map_or(0, |name| name.hash);
        names_by_text.insert_unique(hash, id, hash_of);
        id
    }

    /// Notes that a series of a tier has a pair.
    pub(crate) fn add(&mut self, pair: u32, id: u32, tier: Tier) {
        let Some(known) = self.pairs.get_mut(pair) else { return };
        if known.postings.of(tier).is_empty()
            && let Some(name) = self.names.get_mut(known.name)
        {
            name.pairs.of_mut(tier).push(pair);
        }
        known.postings.insert(id, tier);
    }

    /// Notes that series of a tier no longer have some pairs, given as (pair, series). Pairs that
    /// no series has are forgotten.
    pub(crate) fn remove(&mut self, gone: &[(u32, u32)], tier: Tier) {
        let mut emptied = RoaringBitmap::new();
        let mut names = RoaringBitmap::new();
        for &(pair, id) in gone {
            let Some(known) = self.pairs.get_mut(pair) else { continue };
            known.postings.remove(id, tier);
            if known.postings.of(tier).is_empty() {
                emptied.insert(pair);
                names.insert(known.name);
            }
        }
        // Each list is gone through once, however many of its pairs go.
        for name in &names {
            if let Some(name) = self.names.get_mut(name) {
                name.pairs.of_mut(tier).retain(|pair| !emptied.contains(*pair));
            }
        }
        for pair in &emptied {
            self.forget(pair);
        }
        for name in &names {
            self.forget_name(name);
        }
        if self.garbage >= GARBAGE_MIN_BYTES && self.garbage > self.texts.len() / 2 {
            self.pack();
        }
    }

    fn forget(&mut self, pair: u32) {
        let Some(known) = self.pairs.get(pair) else { return };
        if !matches!(known.postings, Postings::None) {
            return;
        }
        if let Ok(entry) = self.pairs_by_text.find_entry(spread(known.hash), |id| *id == pair) {
            entry.remove();
        }
        self.garbage += known.len as usize;
        self.pairs.remove(pair);
        self.pairs_free.push(pair);
    }

    fn forget_name(&mut self, name: u32) {
        let Some(known) = self.names.get(name) else { return };
        if Tier::BOTH.iter().any(|tier| !known.pairs.of(*tier).is_empty()) {
            return;
        }
        if let Ok(entry) = self.names_by_text.find_entry(known.hash, |id| *id == name) {
            entry.remove();
        }
        self.names.remove(name);
        self.names_free.push(name);
    }

    /// Lays the texts that are left into a new buffer.
    fn pack(&mut self) {
        let mut texts = String::with_capacity(self.texts.len() - self.garbage);
        let ids: Vec<u32> = self.pairs().collect();
        for id in ids {
            let Some(pair) = self.pairs.get_mut(id) else { continue };
            let start = pair.start as usize;
            let text = self.texts.get(start..start + pair.len as usize).unwrap_or_default();
            pair.start = u32::try_from(texts.len()).unwrap_or(u32::MAX);
            texts.push_str(text);
        }
        self.texts = texts;
        self.garbage = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_kept_once_and_forgotten_with_their_last_series() {
        let mut symbols = Symbols::default();
        let pair = symbols.intern("job", "node");
        assert_eq!(symbols.intern("job", "node"), pair);
        let other = symbols.intern("node", "job");
        assert_ne!(other, pair);
        assert_eq!(symbols.texts(pair), ("job", "node"));
        symbols.add(pair, 7, Tier::Live);
        symbols.add(pair, 9, Tier::Ended);
        symbols.add(other, 9, Tier::Ended);
        let job = symbols.name("job").unwrap();
        assert_eq!(symbols.pairs_of(job, Tier::Live), [pair]);
        assert_eq!(symbols.series_len(pair), 2);
        symbols.remove(&[(pair, 9), (other, 9)], Tier::Ended);
        assert_eq!(symbols.name("node"), None);
        assert_eq!(symbols.pair(job, "node"), Some(pair));
        assert!(symbols.pairs_of(job, Tier::Ended).is_empty());
        symbols.remove(&[(pair, 7)], Tier::Live);
        assert_eq!(symbols.pairs_len(), 0);
        assert_eq!(symbols.names().count(), 0);
        let again = symbols.intern("job", "node");
        assert_eq!(symbols.texts(again), ("job", "node"));
    }

    #[test]
    fn the_texts_of_what_is_forgotten_are_given_back() {
        let mut symbols = Symbols::default();
        for round in 0..40_u32 {
            let pairs: Vec<u32> = (0..100)
                .map(|at| symbols.intern("a", &format!("{round} {at} {:>990}", "")))
                .collect();
            for (id, pair) in (0..).zip(&pairs) {
                symbols.add(*pair, id, Tier::Live);
            }
            let gone: Vec<(u32, u32)> = pairs.iter().copied().zip(0..).skip(1).collect();
            symbols.remove(&gone, Tier::Live);
            assert!(symbols.texts.len() < 3 * GARBAGE_MIN_BYTES, "{}", symbols.texts.len());
        }
        assert_eq!(symbols.pairs_len(), 40);
        let name = symbols.name("a").unwrap();
        for round in 0..40 {
            let value = format!("{round} 0 {:>990}", "");
            assert!(symbols.pair(name, &value).is_some(), "{round}");
        }
    }
}
