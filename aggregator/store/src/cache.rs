//! What reads unpacked lately, within a bound of bytes: directories of blobs, columns of times,
//! parts, and the newest samples. What was not used for the longest time leaves first.
//!
//! Blobs never change and their ids are never given twice, so that nothing in here can be wrong; it
//! can only be of no more use, when its blob is gone.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::blob::Directory;
use crate::tail::Tail;

/// Memory of one entry beside what it holds, roughly: keys, counters and its share of the nodes.
const ENTRY_LEN: usize = 160;

/// What an entry is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Directory,
    /// By how far it lies back.
    Tail(u32),
    Times(usize),
    Part(u32),
}

/// By blob, so that those of one blob are next to each other.
type Key = (i64, What);

#[derive(Debug, Clone)]
enum Unpacked {
    Tail(Arc<Tail>),
    /// There is no tail yet; series that were asked for.
    TailAsked(usize),
    Directory(Arc<Directory>),
    Times(Arc<Vec<i64>>),
    Part(Arc<Vec<u8>>),
}

impl Unpacked {
    fn size_bytes(&self) -> usize {
        ENTRY_LEN
            + match self {
                Self::Directory(directory) => directory.size_bytes(),
                Self::Tail(tail) => tail.size_bytes(),
                Self::TailAsked(_) => 0,
                Self::Times(times) => times.capacity() * size_of::<i64>(),
                Self::Part(part) => part.capacity(),
            }
    }
}

#[derive(Debug)]
struct Entry {
    unpacked: Unpacked,
    size_bytes: usize,
    /// When it was used last.
    used: u64,
    /// Where it stands in the order of uses.
    noted: u64,
}

#[derive(Debug, Default)]
struct Entries {
    all: BTreeMap<Key, Entry>,
    /// Each entry by a use of it that is not after its last one. Only what is let go is put right
    /// in here, so that a use costs little.
    by_use: BTreeMap<u64, Key>,
    uses: u64,
    size_bytes: usize,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Cache {
    size_max_bytes: usize,
    entries: Mutex<Entries>,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// What is known of the newest samples of a blob.
pub(crate) enum Asked {
    Ready(Arc<Tail>),
    /// So many series were asked for so far.
    For(usize),
}

/// How a cache does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) size_bytes: usize,
    pub(crate) hits: u64,
    pub(crate) misses: u64,
}

impl Cache {
    pub(crate) fn new(size_max_bytes: usize) -> Self {
        Self {
            size_max_bytes,
            entries: Mutex::default(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    pub(crate) fn directory(&self, blob: i64) -> Option<Arc<Directory>> {
        match self.get((blob, What::Directory))? {
            Unpacked::Directory(directory) => Some(directory),
            _ => None,
        }
    }

    pub(crate) fn times(&self, blob: i64, column: usize) -> Option<Arc<Vec<i64>>> {
        match self.get((blob, What::Times(column)))? {
            Unpacked::Times(times) => Some(times),
            _ => None,
        }
    }

    pub(crate) fn part(&self, blob: i64, part: u32) -> Option<Arc<Vec<u8>>> {
        match self.get((blob, What::Part(part)))? {
            Unpacked::Part(part) => Some(part),
            _ => None,
        }
    }

    pub(crate) fn tail(&self, blob: i64, back: u32) -> Asked {
        match self.entries().get((blob, What::Tail(back))) {
            Some(Unpacked::Tail(tail)) => Asked::Ready(tail),
            Some(Unpacked::TailAsked(series)) => Asked::For(series),
            _ => Asked::For(0),
        }
    }

    /// Takes note that the newest samples of so many series were asked for.
    pub(crate) fn ask_tail(&self, blob: i64, back: u32, series: usize) {
        self.keep((blob, What::Tail(back)), Unpacked::TailAsked(series));
    }

    pub(crate) fn keep_tail(&self, blob: i64, back: u32, tail: &Arc<Tail>) {
        self.keep((blob, What::Tail(back)), Unpacked::Tail(Arc::clone(tail)));
    }

    pub(crate) fn keep_directory(&self, blob: i64, directory: &Arc<Directory>) {
        self.keep((blob, What::Directory), Unpacked::Directory(Arc::clone(directory)));
    }

    pub(crate) fn keep_times(&self, blob: i64, column: usize, times: &Arc<Vec<i64>>) {
        self.keep((blob, What::Times(column)), Unpacked::Times(Arc::clone(times)));
    }

    pub(crate) fn keep_part(&self, blob: i64, part: u32, content: &Arc<Vec<u8>>) {
        self.keep((blob, What::Part(part)), Unpacked::Part(Arc::clone(content)));
    }

    /// Lets go of all that is of a blob.
    pub(crate) fn forget(&self, blob: i64) {
        let mut entries = self.entries();
        let of_blob = entries.all.range((blob, What::Directory)..(blob + 1, What::Directory));
        let keys: Vec<Key> = of_blob.map(|(&key, _)| key).collect();
        for key in keys {
            entries.remove(key);
        }
    }

    pub(crate) fn usage(&self) -> Usage {
        Usage {
            size_bytes: self.entries().size_bytes,
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
        }
    }

    fn get(&self, key: Key) -> Option<Unpacked> {
        let found = self.entries().get(key);
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    fn keep(&self, key: Key, unpacked: Unpacked) {
        let size_bytes = unpacked.size_bytes();
        if size_bytes > self.size_max_bytes {
            return;
        }
        let mut entries = self.entries();
        entries.remove(key);
        while entries.size_bytes + size_bytes > self.size_max_bytes {
            let Some(oldest) = entries.oldest() else { break };
            entries.remove(oldest);
        }
        entries.insert(key, unpacked, size_bytes);
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn get(&mut self, key: Key) -> Option<Unpacked> {
        let entry = self.all.get_mut(&key)?;
        self.uses += 1;
        entry.used = self.uses;
        Some(entry.unpacked.clone())
    }

    /// What was not used for the longest time.
    fn oldest(&mut self) -> Option<Key> {
        while let Some((noted, key)) = self.by_use.pop_first() {
            let Some(entry) = self.all.get_mut(&key) else { continue };
            // Those after it were used later than noted, if anything.
            let is_oldest = entry.used == noted;
            entry.noted = entry.used;
            self.by_use.insert(entry.used, key);
            if is_oldest {
                return Some(key);
            }
        }
        None
    }

    fn insert(&mut self, key: Key, unpacked: Unpacked, size_bytes: usize) {
        self.uses += 1;
        self.by_use.insert(self.uses, key);
        let (used, noted) = (self.uses, self.uses);
        self.all.insert(key, Entry { unpacked, size_bytes, used, noted });
        self.size_bytes += size_bytes;
    }

    fn remove(&mut self, key: Key) {
        if let Some(entry) = self.all.remove(&key) {
            self.by_use.remove(&entry.noted);
            self.size_bytes -= entry.size_bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(len: usize) -> Arc<Vec<u8>> {
        Arc::new(vec![0; len])
    }

    #[test]
    fn what_was_not_used_for_longest_leaves_first() {
        let cache = Cache::new(3 * (1_000 + ENTRY_LEN));
        for blob in 1..=3 {
            cache.keep_part(blob, 0, &part(1_000));
        }
        assert!(cache.part(1, 0).is_some());
        cache.keep_part(4, 0, &part(1_000));
        let there = [1, 2, 3, 4].map(|blob| cache.part(blob, 0).is_some());
        assert_eq!(there, [true, false, true, true]);
        assert_eq!(cache.usage(), Usage { size_bytes: 3 * 1_160, hits: 4, misses: 1 });
        // Used in the order 1, 3, 4 just now, and then 3 and 1 again.
        assert!(cache.part(3, 0).is_some() && cache.part(1, 0).is_some());
        cache.keep_part(5, 0, &part(1_000));
        cache.keep_part(6, 0, &part(1_000));
        let there = [1, 3, 4, 5, 6].map(|blob| cache.part(blob, 0).is_some());
        assert_eq!(there, [true, false, false, true, true]);
    }

    #[test]
    fn what_is_larger_than_all_of_it_pushes_nothing_out() {
        let cache = Cache::new(2_000);
        cache.keep_part(1, 0, &part(1_000));
        cache.keep_part(1, 1, &part(2_000));
        assert!(cache.part(1, 0).is_some());
        assert!(cache.part(1, 1).is_none());
        cache.keep_part(1, 0, &part(1_500));
        assert_eq!(cache.usage().size_bytes, 1_500 + ENTRY_LEN, "kept again is kept once");
    }

    #[test]
    fn a_blob_that_is_gone_takes_all_of_its_entries_with_it() {
        let cache = Cache::new(1 << 20);
        cache.keep_times(1, 3, &Arc::new(vec![7; 10]));
        for blob in 1..=2 {
            cache.keep_part(blob, 0, &part(10));
            cache.keep_part(blob, 9, &part(10));
        }
        cache.forget(1);
        assert!(cache.times(1, 3).is_none() && cache.part(1, 0).is_none());
        assert!(cache.part(1, 9).is_none() && cache.part(2, 0).is_some());
        cache.forget(2);
        assert_eq!(cache.usage().size_bytes, 0);
    }
}
