//! Which series a question is about: the one rule that hides the series of parts of histograms.
//!
//! A series with the label [`HISTOGRAM_LABEL`] is a part of a native histogram (see `histogram`).
//! Nobody but the store sees it. In lists of series, the part that every histogram has stands for
//! the histogram, without the label.

use labstat_model::{HISTOGRAM_LABEL, Matcher};
use roaring::RoaringBitmap;

use crate::histogram::SHAPE;

/// Which series a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// Those of float samples.
    Samples,
    /// Those of parts of histograms.
    Parts,
    /// Those of float samples, and of each series of histograms one.
    Listed,
}

/// The series of parts.
#[derive(Debug, Default)]
pub(super) struct Hidden {
    all: RoaringBitmap,
    /// All but those that stand for their histogram.
    unlisted: RoaringBitmap,
}

impl Hidden {
    /// Takes note of a series that has the label, with this value.
    pub(super) fn insert(&mut self, id: u32, part: &str) {
        self.all.insert(id);
        if part != SHAPE {
            self.unlisted.insert(id);
        }
    }

    /// Takes note that a series is gone.
    pub(super) fn remove(&mut self, id: u32) {
        self.all.remove(id);
        self.unlisted.remove(id);
    }

    /// Whether there are none, so that there is nothing to hide.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// How many are in no list.
    pub(super) fn unlisted_len(&self) -> u64 {
        self.unlisted.len()
    }

    /// How many of these series are in no list.
    pub(super) fn unlisted_of(&self, ids: &RoaringBitmap) -> u64 {
        ids.intersection_len(&self.unlisted)
    }

    /// Whether a series is in no list.
    pub(super) fn is_unlisted(&self, id: u32) -> bool {
        self.unlisted.contains(id)
    }

    /// Leaves those that the question is about.
    pub(super) fn narrow(&self, ids: &mut RoaringBitmap, which: Which) {
        if self.is_empty() {
            if which == Which::Parts {
                ids.clear();
            }
            return;
        }
        match which {
            Which::Samples => *ids -= &self.all,
            Which::Parts => *ids &= &self.all,
            Which::Listed => *ids -= &self.unlisted,
        }
    }
}

/// Whether the label that nobody sees fulfils a matcher; `None` for matchers of other labels.
pub(super) fn fulfils_unseen(matcher: &Matcher) -> Option<bool> {
    (matcher.name() == HISTOGRAM_LABEL).then(|| matcher.matches(""))
}
