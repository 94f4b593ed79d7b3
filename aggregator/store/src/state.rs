//! What readers see: the index, the head, and which blobs there are. One lock guards it, so that
//! a reader never sees a sample twice or not at all while it moves from the head into a blob.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use labstat_model::Metadata;

use crate::blob::BlobMeta;
use crate::catalog::{self, ShelfRow, Span};
use crate::db::{Content, Group};
use crate::head::Head;
use crate::index::Index;
use crate::log::Entry;
use crate::retire::Horizons;

/// A head that is being sealed: it only waits for its blobs to be on disk.
#[derive(Debug, Clone)]
pub(crate) struct Frozen {
    pub(crate) head: Arc<Head>,
    /// The newest log record that is in it.
    pub(crate) log_last: i64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) index: Index,
    pub(crate) active: Head,
    pub(crate) frozen: Option<Frozen>,
    pub(crate) metadata: BTreeMap<String, Metadata>,
    /// Since when there is what.
    pub(crate) horizons: Horizons,
    /// Series that have rows of their own on disk and are in no shelf's row yet, ascending.
    unfolded: Vec<u32>,
    /// Blobs of samples, by shelf.
    blobs: HashMap<u32, Vec<BlobMeta>>,
    /// Blobs of roll-ups, by shelf, tier and kind.
    rolled: HashMap<(u32, u32, u32), Vec<BlobMeta>>,
}

impl State {
    /// The state at start, before the log is replayed.
    pub(crate) fn new(content: Content) -> Self {
        let mut state = Self { index: content.index, ..Self::default() };
        for (id, shelf, labels) in content.series {
            state.index.insert(id, shelf, labels);
            state.unfolded.push(id);
        }
        for meta in content.blobs {
            state.blobs_like(&meta).push(meta);
        }
        state.metadata =
            content.metadata.into_iter().map(|one| (one.family.clone(), one)).collect();
        state
    }

    /// Takes in a record of the log. Samples of series that are not known, which only a damaged
    /// database has, are left out.
    pub(crate) fn replay(&mut self, mut entries: Vec<Entry>, now_ms: i64) {
        entries.retain(|entry| self.index.get(entry.series).is_some());
        self.add(&entries, now_ms);
    }

    /// Makes a committed group visible.
    pub(crate) fn apply(&mut self, group: &Group, now_ms: i64) {
        for (id, shelf, labels) in &group.series {
            self.index.insert(*id, *shelf, labels.clone());
            self.unfolded.push(*id);
        }
        self.add(&group.entries, now_ms);
        for metadata in &group.metadata {
            self.metadata.insert(metadata.family.clone(), metadata.clone());
        }
    }

    fn add(&mut self, entries: &[Entry], now_ms: i64) {
        self.active.add(entries, now_ms);
        for run in entries.chunk_by(|a, b| a.series == b.series) {
            let first_ms = run.iter().map(|entry| entry.time_ms).min();
            let last = run.iter().max_by_key(|entry| entry.time_ms);
            if let (Some(first_ms), Some(last)) = (first_ms, last) {
                self.index.widen(last.series, first_ms, last.time_ms, Some(last.bits));
            }
        }
        self.index.settle();
    }

    /// Series that have rows of their own on disk and are in no shelf's row yet, ascending.
    pub(crate) fn unfolded(&self) -> &[u32] {
        &self.unfolded
    }

    /// Notes that the series up to `last` are in their shelves' rows.
    pub(crate) fn folded(&mut self, last: u32) {
        self.unfolded.retain(|id| *id > last);
    }

    /// Forgets series.
    pub(crate) fn forget(&mut self, gone: &BTreeSet<u32>) {
        self.index.remove(gone);
        self.unfolded.retain(|id| !gone.contains(id));
    }

    /// A shelf's row of those of its series that `takes` tells.
    pub(crate) fn shelf_row(
        &self,
        shelf: u32,
        with_series: bool,
        takes: impl Fn(u32) -> bool,
    ) -> ShelfRow {
        let ids: Vec<u32> = self.index.shelf(shelf).filter(|id| takes(*id)).collect();
        let spans: Vec<Span> = ids.iter().filter_map(|id| self.index.span(*id)).collect();
        let series = with_series.then(|| {
            let series: Vec<_> = ids.iter().map(|id| (*id, self.index.pairs(*id))).collect();
            catalog::encode_series(shelf, &series)
        });
        ShelfRow { shelf, series, spans: catalog::encode_spans(shelf, &spans) }
    }

    /// The heads, the one being sealed first.
    pub(crate) fn heads(&self) -> impl Iterator<Item = &Head> {
        self.frozen.iter().map(|frozen| &*frozen.head).chain([&self.active])
    }

    /// The oldest sample that is in no blob yet, of each shelf that has any.
    pub(crate) fn unsealed(&self) -> HashMap<u32, i64> {
        let mut oldest: HashMap<u32, i64> = HashMap::new();
        for (id, first_ms) in self.heads().flat_map(Head::oldest) {
            let Some(entry) = self.index.get(id) else { continue };
            let known = oldest.entry(entry.shelf).or_insert(first_ms);
            *known = first_ms.min(*known);
        }
        oldest
    }

    /// The blobs of a shelf's samples, in no order.
    pub(crate) fn blobs_of(&self, shelf: u32) -> &[BlobMeta] {
        self.blobs.get(&shelf).map(Vec::as_slice).unwrap_or_default()
    }

    /// The blobs of one column of a shelf's roll-ups of one width, in no order.
    pub(crate) fn rolled_of(&self, shelf: u32, tier: u32, kind: u32) -> &[BlobMeta] {
        self.rolled.get(&(shelf, tier, kind)).map(Vec::as_slice).unwrap_or_default()
    }

    /// All blobs, roll-ups too, in no order.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = &BlobMeta> {
        self.blobs.values().chain(self.rolled.values()).flatten()
    }

    /// The blobs that `meta` is or would be among.
    fn blobs_like(&mut self, meta: &BlobMeta) -> &mut Vec<BlobMeta> {
        match meta.tier {
            0 => self.blobs.entry(meta.shelf).or_default(),
            tier => self.rolled.entry((meta.shelf, tier, meta.kind)).or_default(),
        }
    }

    /// Puts blobs in place of others.
    pub(crate) fn replace_blobs(
        &mut self,
        new: impl IntoIterator<Item = BlobMeta>,
        old: &[BlobMeta],
    ) {
        for meta in old {
            self.blobs_like(meta).retain(|known| known.id != meta.id);
        }
        for meta in new {
            self.blobs_like(&meta).push(meta);
        }
        self.blobs.retain(|_, blobs| !blobs.is_empty());
        self.rolled.retain(|_, blobs| !blobs.is_empty());
    }
}
