//! A durable queue of writes that wait for somebody else to take them, in a database of its own.
//!
//! What [`Queue::push`] acknowledged is on the disk, and stays until [`Queue::ack`] says that it
//! was delivered; it comes out in the order it went in. Pushes that arrive together share one wait
//! for the disk. An acknowledgement is not waited for: after a power loss, what was delivered last
//! may come out once more.
//!
//! What is queued is bytes: this module knows neither samples nor whom they are for. `db` has the
//! statements; the table is described in `docs/formats/queue.md`.

mod db;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::db::is_damage;
use crate::{AppendError, Notice, OpenError};
use db::{Content, Db};

/// Bytes that an item takes beside its content: its row and its share of a page.
const ITEM_OVERHEAD_BYTES: u64 = 64;

/// Items of one group: enough for hundreds of senders, and a bound on one transaction.
const GROUP_ITEMS_MAX: usize = 1024;

/// Why something was not queued. The sender still has it and may try again.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PushError {
    /// There are as many bytes in the queue as may be.
    #[error("the queue holds as much as it may ({size_max_bytes} bytes)")]
    Full {
        /// The bound.
        size_max_bytes: u64,
    },
    /// It could not be written.
    #[error(transparent)]
    Write(#[from] AppendError),
}

/// Why the queue could not be read.
#[derive(Debug, thiserror::Error)]
pub enum PeekError {
    /// The database could not be read.
    #[error("failed to read the queue")]
    Read(#[source] rusqlite::Error),
    /// The database is damaged, and no fresh one could be made.
    #[error("failed to put a fresh queue in the place of a damaged one")]
    Renew(#[source] OpenError),
    /// Damaged items could not be removed.
    #[error("failed to remove what is damaged from the queue")]
    Forget(#[source] AppendError),
}

/// Something that was queued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queued {
    /// Its place: later ones are larger.
    pub id: i64,
    /// When it was queued, in milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// How many samples it has, as whoever pushed it said.
    pub samples: u64,
    /// What was pushed.
    pub content: Vec<u8>,
}

/// How much there is in a queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueStats {
    /// Items.
    pub items: u64,
    /// Their samples.
    pub samples: u64,
    /// Bytes they take.
    pub size_bytes: u64,
    /// When the oldest was queued, in milliseconds since the Unix epoch.
    pub oldest_ms: Option<i64>,
    /// Items that were found damaged since the queue was opened, and are lost.
    pub damaged: u64,
}

/// A durable queue. All methods may be called from many threads at once.
///
/// Nothing keeps two processes from opening one queue: whoever opens it holds its directory, as
/// [`Store`](crate::Store) does.
#[derive(Debug)]
pub struct Queue {
    size_max_bytes: u64,
    /// Whoever has it commits; those who wait for it find their group committed, or lead the next.
    /// Locks are taken in the order of these fields.
    db: Mutex<Db>,
    /// The writes that wait for the next commit.
    forming: Mutex<Group>,
    content: Mutex<Content>,
}

/// Writes that are committed together.
#[derive(Debug, Default)]
struct Group {
    items: Vec<NewItem>,
    size_bytes: u64,
    outcome: Arc<OnceLock<Result<(), AppendError>>>,
}

#[derive(Debug)]
struct NewItem {
    time_ms: i64,
    samples: u64,
    content: Vec<u8>,
}

impl Queue {
    /// The name of the database in its directory.
    pub const FILE: &'static str = "labstat-queue.db";

    /// Opens the queue in `dir`, or makes one there. It takes up to `size_max_bytes`. A damaged
    /// one is set aside, what reads is kept, and the notices say so; `now_ms` goes into the name of
    /// what is set aside.
    pub fn open(
        dir: &Path,
        size_max_bytes: u64,
        now_ms: i64,
    ) -> Result<(Self, Vec<Notice>), OpenError> {
        let (db, content, notices) = db::open(&dir.join(Self::FILE), now_ms)?;
        let queue = Self {
            size_max_bytes,
            db: Mutex::new(db),
            forming: Mutex::default(),
            content: Mutex::new(content),
        };
        Ok((queue, notices))
    }

    /// Adds to the end; on return it is on the disk. `samples` is only counted.
    pub fn push(&self, time_ms: i64, samples: u64, content: Vec<u8>) -> Result<(), PushError> {
        let outcome = self.join(NewItem { time_ms, samples, content })?;
        loop {
            let mut db = self.db();
            if let Some(result) = outcome.get() {
                return Ok(result.clone()?);
            }
            let group = std::mem::take(&mut *self.forming());
            // Whoever took the group of this item and never came back from the disk panicked.
            let led = Arc::ptr_eq(&group.outcome, &outcome);
            self.commit(&mut db, &group);
            if !led && outcome.get().is_none() {
                return Err(PushError::Write(AppendError::Interrupted));
            }
        }
    }

    /// Puts an item into the group that forms.
    fn join(&self, item: NewItem) -> Result<Arc<OnceLock<Result<(), AppendError>>>, PushError> {
        loop {
            let mut forming = self.forming();
            if forming.items.len() < GROUP_ITEMS_MAX {
                let size_bytes = size_bytes(&item.content);
                let queued = self.content().size_bytes + forming.size_bytes;
                if queued.saturating_add(size_bytes) > self.size_max_bytes {
                    return Err(PushError::Full { size_max_bytes: self.size_max_bytes });
                }
                forming.size_bytes += size_bytes;
                forming.items.push(item);
                return Ok(Arc::clone(&forming.outcome));
            }
            drop(forming);
            // The group is on its way when the database is free again.
            drop(self.db());
            std::thread::yield_now();
        }
    }

    fn commit(&self, db: &mut Db, group: &Group) {
        if group.items.is_empty() {
            return;
        }
        let first_id = self.content().next_id;
        let result = db.insert(first_id, &group.items);
        if result.is_ok() {
            let mut content = self.content();
            group.items.iter().for_each(|item| content.note(item));
        }
        // Each group is committed once.
        let _ = group.outcome.set(result);
    }

    /// The oldest items, up to `items_max` of them and `size_max_bytes` of content, but at least
    /// one when there is any. Damaged ones are passed over and told in the log; of a database that
    /// is damaged itself, what reads goes into a fresh one.
    pub fn peek(&self, items_max: usize, size_max_bytes: usize) -> Result<Vec<Queued>, PeekError> {
        let mut db = self.db();
        let acked_id = self.content().acked_id;
        let read = match db.read(acked_id, items_max, size_max_bytes) {
            Err(error) if is_damage(&error) => {
                let damage = error.to_string();
                let (content, notice) = db.renew(&damage).map_err(PeekError::Renew)?;
                tracing::error!("{notice}");
                self.content().renew(&content);
                db.read(acked_id, items_max, size_max_bytes)
            }
            read => read,
        };
        drop(db);
        let (items, damaged) = read.map_err(PeekError::Read)?;
        self.content().note_damaged(&damaged);
        if let (true, Some(last)) = (items.is_empty(), damaged.last()) {
            // Nobody will acknowledge what nobody gets.
            self.ack(*last).map_err(PeekError::Forget)?;
        }
        Ok(items)
    }

    /// Forgets all up to and including the item `id`. They do not come out again as long as this
    /// queue is open, even when this fails, which it can do for want of space.
    pub fn ack(&self, id: i64) -> Result<(), AppendError> {
        let mut db = self.db();
        let removed = db.extent(self.content().acked_id, id);
        let next = {
            let mut content = self.content();
            content.acked_id = content.acked_id.max(id);
            content.acked_id
        };
        let done = db.delete(next);
        let oldest_ms = db.oldest_ms(next);
        let mut content = self.content();
        if let Ok(removed) = removed {
            content.forget(removed);
        }
        content.oldest_ms = oldest_ms.unwrap_or(content.oldest_ms);
        done
    }

    /// How much there is. Waits for nobody.
    pub fn stats(&self) -> QueueStats {
        let content = self.content();
        QueueStats {
            items: content.items,
            samples: content.samples,
            size_bytes: content.size_bytes,
            oldest_ms: content.oldest_ms.filter(|_| content.items > 0),
            damaged: content.damaged,
        }
    }

    /// Moves SQLite's write-ahead log into the database.
    pub fn close(&self) -> Result<(), AppendError> {
        self.db().checkpoint()
    }

    fn forming(&self) -> MutexGuard<'_, Group> {
        self.forming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn db(&self) -> MutexGuard<'_, Db> {
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes that an item counts for.
const fn size_bytes(content: &[u8]) -> u64 {
    content.len() as u64 + ITEM_OVERHEAD_BYTES
}
