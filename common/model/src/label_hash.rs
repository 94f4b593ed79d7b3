//! Label sets told apart by a hash of their bytes, so that those seen before need no reading.
//!
//! Not here: what the labels are; see [`Labels`](crate::Labels).

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_128_with_secret;

/// Bytes of the key: what XXH3 takes for its secret.
const KEY_LEN: usize = 192;

/// 128 bits of some labels as they were laid out in memory. Two layouts of one set have two
/// hashes; two sets never have one, as far as chance goes: of a billion sets, the odds that any
/// two collide are below 1 in 10^20.
///
/// The hash (XXH3) has a random key of this process, so it must not leave it. Who knows the key
/// could construct collisions; but a sender that wants to spoil a series may simply write to it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LabelsHash([u64; 2]);

/// Which bytes were hashed. Equal bytes may mean different labels in different layouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// That of [`Labels`](crate::Labels).
    Set,
    /// The label fields of a remote write 1.0 time series, one after the other.
    RemoteWrite1,
    /// The hash of other labels, and the name of a part of what these stand for.
    Part,
}

impl LabelsHash {
    /// The hash of labels laid out as `layout`.
    pub fn new(layout: Layout, bytes: &[u8]) -> Self {
        let bits = xxh3_128_with_secret(bytes, key()).to_le_bytes();
        let (halves, _) = bits.as_chunks::<8>();
        let mut lanes = [0; 2];
        for (lane, half) in lanes.iter_mut().zip(halves) {
            *lane = u64::from_le_bytes(*half);
        }
        let [first, second] = lanes;
        // Any change that hashes of the other layouts do not have will do.
        Self([first ^ layout as u64, second])
    }

    /// The hash of the labels of a part of what these labels stand for.
    pub fn part(self, name: &[u8]) -> Self {
        let Self([first, second]) = self;
        let mut bytes = Vec::with_capacity(size_of::<Self>() + name.len());
        bytes.extend_from_slice(&first.to_le_bytes());
        bytes.extend_from_slice(&second.to_le_bytes());
        bytes.extend_from_slice(name);
        Self::new(Layout::Part, &bytes)
    }
}

impl fmt::Debug for LabelsHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self([first, second]) = self;
        write!(f, "{first:016x}{second:016x}")
    }
}

fn key() -> &'static [u8; KEY_LEN] {
    static KEY: OnceLock<[u8; KEY_LEN]> = OnceLock::new();
    KEY.get_or_init(|| {
        // The standard library's keys come from the system's source of randomness.
        let random = RandomState::new();
        let mut key = [0; KEY_LEN];
        let (words, _) = key.as_chunks_mut::<8>();
        for (at, word) in words.iter_mut().enumerate() {
            *word = random.hash_one(at).to_le_bytes();
        }
        key
    })
}

/// Something small remembered of each label set, by hash. Bounded: when it is full, all is
/// forgotten and learned again.
///
/// Senders repeat themselves: what came after a series the last time will come after it again.
/// Entries lie in the order in which they were first seen, so the next one is looked at first,
/// which saves nearly all lookups in the table, each of which would wait for memory.
#[derive(Debug, Clone)]
pub struct LabelsMemo<T> {
    /// Indices of `entries`.
    table: HashTable<u32>,
    entries: Vec<(LabelsHash, T)>,
    /// The entry after the one found last.
    next: usize,
    len_max: usize,
}

impl<T: Copy> LabelsMemo<T> {
    /// An empty memo that never holds more than `len_max` label sets.
    pub fn new(len_max: u32) -> Self {
        let len_max = usize::try_from(len_max).unwrap_or(usize::MAX);
        Self { table: HashTable::new(), entries: Vec::new(), next: 0, len_max }
    }

    /// What is remembered of a label set.
    #[inline]
    pub fn get(&mut self, hash: LabelsHash) -> Option<T> {
        if let Some((known, value)) = self.entries.get(self.next)
            && *known == hash
        {
            self.next += 1;
            return Some(*value);
        }
        let at = self.find(hash)?;
        self.next = at + 1;
        self.entries.get(at).map(|(_, value)| *value)
    }

    /// Remembers `value`, in place of what was there.
    pub fn insert(&mut self, hash: LabelsHash, value: T) {
        if let Some(at) = self.find(hash) {
            if let Some((_, known)) = self.entries.get_mut(at) {
                *known = value;
            }
            self.next = at + 1;
            return;
        }
        if self.entries.len() >= self.len_max {
            *self = Self { len_max: self.len_max, ..Self::new(0) };
        }
        if let Ok(at) = u32::try_from(self.entries.len()) {
            let entries = &self.entries;
            let rehash = |at: &u32| entries.get(*at as usize).map_or(0, |(hash, _)| hash.0[0]);
            self.table.insert_unique(hash.0[0], at, rehash);
            self.entries.push((hash, value));
            self.next = self.entries.len();
        }
    }

    fn find(&self, hash: LabelsHash) -> Option<usize> {
        let is_it = |at: &u32| self.entries.get(*at as usize).is_some_and(|(k, _)| *k == hash);
        self.table.find(hash.0[0], is_it).map(|at| *at as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn layouts_and_bytes_are_told_apart() {
        let hash = LabelsHash::new(Layout::Set, b"abc");
        assert_eq!(hash, LabelsHash::new(Layout::Set, b"abc"));
        assert_ne!(hash, LabelsHash::new(Layout::RemoteWrite1, b"abc"));
        let hash = LabelsHash::new(Layout::Set, b"abc");
        assert_eq!(hash.part(b"x"), hash.part(b"x"));
        assert_ne!(hash.part(b"x"), hash.part(b"y"));
        assert_ne!(hash.part(b"x"), LabelsHash::new(Layout::Set, b"abd").part(b"x"));
        let long = vec![7; 5000];
        for len in 0..long.len() {
            let (a, b) = (&long[..len], &long[..=len]);
            assert_ne!(LabelsHash::new(Layout::Set, a), LabelsHash::new(Layout::Set, b));
        }
    }

    #[test]
    fn a_full_memo_starts_anew() {
        let hash = |at: u8| LabelsHash::new(Layout::Set, &[at]);
        let mut memo = LabelsMemo::new(3);
        (0..5).for_each(|at| memo.insert(hash(at), at));
        let found: Vec<Option<u8>> = (0..5).map(|at| memo.get(hash(at))).collect();
        assert_eq!(found, [None, None, None, Some(3), Some(4)]);
    }

    proptest! {
        #[test]
        fn remembers_what_a_map_does(
            steps in prop::collection::vec((any::<bool>(), 0_u8..20, any::<u16>()), 0..200),
        ) {
            let mut memo = LabelsMemo::new(1000);
            let mut model = std::collections::HashMap::new();
            for (insert, key, value) in steps {
                let hash = LabelsHash::new(Layout::Set, &[key]);
                if insert {
                    memo.insert(hash, value);
                    model.insert(key, value);
                } else {
                    prop_assert_eq!(memo.get(hash), model.get(&key).copied());
                }
            }
        }
    }
}
