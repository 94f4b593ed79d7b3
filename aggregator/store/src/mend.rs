//! Going on when the structure of the database turns out to be broken while it is read or written.
//!
//! The rows are there, and SQLite does not find them or can add none. What a start would do is done at once: what is
//! whole is saved into a fresh file that takes the place of the broken one, and state and writer
//! are made anew from it. All that was acknowledged is in the file, so that nothing is lost that
//! is in memory alone. Reads go on meanwhile, from the file that was there; writes are refused.

use std::fs;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use crate::db::{self, Db, outside};
use crate::salvage::{self, Opened};
use crate::store::Store;
use crate::write::Writer;
use crate::{AppendError, MaintainError};

/// How long after a mending that failed the next one is tried.
const RETRY_MS: i64 = 3_600_000;

impl Store {
    /// Mends the database when it is broken. Maintenance must be held.
    pub(crate) fn mend_when_broken(&self) -> Result<(), MaintainError> {
        let now_ms = self.options().clock.now_ms();
        let after_ms = self.mend_after_ms().load(Ordering::Relaxed);
        if now_ms < after_ms || !db::broken_mark(self.path()).exists() {
            return Ok(());
        }
        // A disk that did not answer for a moment looks as a broken file does.
        if self.with_reader(outside::is_sound).unwrap_or(false) {
            let _ = fs::remove_file(db::broken_mark(self.path()));
            self.mended(0);
            return Ok(());
        }
        self.stop_writers();
        let mended = self.mend();
        self.start_writers();
        // There was no room for it, most likely; it reads all that there is, so not every minute.
        let wait_ms = if db::broken_mark(self.path()).exists() { RETRY_MS } else { 0 };
        self.mend_after_ms().store(now_ms.saturating_add(wait_ms), Ordering::Relaxed);
        mended
    }

    /// On return nobody commits, and everybody who waited for a commit was told that there is none.
    fn stop_writers(&self) {
        let leading = self.leading().lock().unwrap_or_else(PoisonError::into_inner);
        let woken = self.landing().wait_while(leading, |leading| *leading);
        *woken.unwrap_or_else(PoisonError::into_inner) = true;
        self.writer().pause(Some(AppendError::Broken { path: self.path().to_owned() }));
        self.landing().notify_all();
    }

    fn start_writers(&self) {
        self.writer().pause(None);
        *self.leading().lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.landing().notify_all();
    }

    fn mend(&self) -> Result<(), MaintainError> {
        let path = self.path();
        let Some(dir) = path.parent() else { return Ok(()) };
        let failed = |cause: String| {
            MaintainError::Write(AppendError::Database { path: path.to_owned(), cause })
        };
        let mut db = self.db();
        // SQLite lets go of its files before they are moved; what reads now keeps its own.
        db.let_go().map_err(|cause| failed(cause.to_string()))?;
        let opened = salvage::open(dir, self.options());
        let (opened, notices) = opened.map_err(|error| {
            let again = Db::open(path, self.options().size_max_bytes);
            // Broken as it is, it still takes documents and writes that need no new page.
            if let Ok(again) = again {
                *db = again;
            }
            failed(error.to_string())
        })?;
        for notice in notices {
            tracing::error!(%notice, "the database was broken and has been mended");
        }
        let Opened { db: fresh, state, next_series, next_blob } = opened;
        self.writer().renew(Writer::new(&state.index, next_series));
        self.mended(next_blob);
        *self.state_mut() = state;
        *db = fresh;
        // Who read meanwhile read the file that was set aside.
        self.generation().fetch_add(1, Ordering::SeqCst);
        self.readers().lock().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(())
    }
}
