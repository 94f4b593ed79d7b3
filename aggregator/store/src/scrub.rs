//! Looking through what nobody reads, so that bits that rot are found while a backup still has
//! them right: every blob once a week, a little at a time, in the background.
//!
//! Checksums are compared, nothing is decoded. What is damaged is left out of answers from then
//! on, named and counted, as if a read had met it.

use std::sync::Arc;

use crate::blob::{BlobMeta, check_part};
use crate::maintain::Maintenance;
use crate::read::{BlobReader, Failed, part_missing};
use crate::store::Store;
use crate::{MaintainError, db};

/// Bytes looked through at a time, about once a minute: 5 GB a day, which no disk notices.
const BYTES_AT_ONCE: u64 = 4 * 1024 * 1024;

/// How often each blob is looked at.
const ROUND_MS: i64 = 7 * 86_400_000;

/// How far the background check has come. A start begins anew.
#[derive(Debug, Default)]
pub(crate) struct Scrub {
    /// The blob that was looked at last.
    last: i64,
    /// When this round began.
    since_ms: Option<i64>,
    is_done: bool,
}

impl Store {
    /// Looks through a few more blobs, when it is time to.
    pub(crate) fn scrub(&self, alone: &mut Maintenance, now_ms: i64) -> Result<(), MaintainError> {
        let scrub = alone.scrub();
        let since_ms = *scrub.since_ms.get_or_insert(now_ms);
        if scrub.is_done {
            if now_ms.abs_diff(since_ms) < ROUND_MS.unsigned_abs() {
                return Ok(());
            }
            *scrub = Scrub { since_ms: Some(now_ms), ..Scrub::default() };
        }
        let mut next: Vec<BlobMeta> =
            self.state().blobs().filter(|meta| meta.id > scrub.last).copied().collect();
        next.sort_unstable_by_key(|meta| meta.id);
        let mut bytes = 0;
        let mut all = true;
        for meta in next {
            if bytes >= BYTES_AT_ONCE {
                all = false;
                break;
            }
            bytes += meta.size_bytes;
            // Behind one that cannot be read at all, the next call goes on.
            scrub.last = meta.id;
            if !self.is_damaged(meta.id) {
                self.scrub_blob(&meta)?;
            }
        }
        scrub.is_done = all;
        Ok(())
    }

    /// Nothing is replaced meanwhile: maintenance is held.
    fn scrub_blob(&self, meta: &BlobMeta) -> Result<(), MaintainError> {
        let looked = self.reading(|conn| {
            let blob = BlobReader::open(conn, *meta)?;
            let mut parts: Vec<u32> =
                Arc::clone(&blob.directory).columns.iter().map(|column| column.part).collect();
            parts.sort_unstable();
            parts.dedup();
            for part in parts {
                let row = db::part(conn, meta.id, part).map_err(Failed::from);
                let row = row.and_then(|row| row.ok_or_else(|| part_missing().into()));
                match row.and_then(|row| Ok(check_part(meta.id, part, &row)?)) {
                    Err(Failed::Damaged(cause)) => self.set_part_damaged(meta, part, cause),
                    other => other?,
                }
            }
            Ok(())
        });
        match looked {
            Err(Failed::Damaged(cause)) => self.set_damaged(meta, cause),
            Err(failed @ Failed::Database(_)) => {
                return Err(MaintainError::Read(self.read_failed(failed)));
            }
            // A blob that is gone is met by the next read, which knows whether it should be there.
            Ok(()) | Err(Failed::Gone | Failed::TooMany | Failed::Part(..)) => {}
        }
        Ok(())
    }
}
