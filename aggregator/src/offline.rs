//! What is done with a history's files while no aggregator has them, and what is left there for it.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use labstat_model::{BUCKET_WIDTHS_MS, Clock};
use labstat_store::{AppendError, MaintainError, Maintained, Notice, OpenError, Options, Store};

use crate::config::Config;
use crate::server::store_options;

/// Why a history was not compacted.
#[derive(Debug, thiserror::Error)]
pub enum CompactError {
    /// It could not be opened.
    #[error("failed to open the store")]
    Open(#[source] OpenError),
    /// It could not be rewritten; what was stored still is.
    #[error("failed to compact the store")]
    Compact(#[source] MaintainError),
    /// It was rewritten, and is not in good order until the next start.
    #[error("failed to close the store")]
    Close(#[source] AppendError),
}

impl CompactError {
    /// Whether another process has the folder, such as an aggregator that could do it instead.
    pub fn is_in_use(&self) -> bool {
        matches!(self, Self::Open(OpenError::InUse { .. }))
    }
}

/// Seals and compacts the history in the folder that `config` names. Gives what was noticed when it
/// was opened, and what was done. Nothing is dropped, whatever `config` says of ages and sizes: it
/// need not be what the aggregator of that folder is run with.
pub fn compact(
    config: &Config,
    clock: Arc<dyn Clock>,
) -> Result<(Vec<String>, Maintained), CompactError> {
    let for_ever = Options {
        retention_ms: None,
        rollups_ms: [None; BUCKET_WIDTHS_MS.len()],
        size_max_bytes: None,
        ..store_options(config, clock)
    };
    let opened = Store::open(&config.data_dir, for_ever);
    let (store, notices) = opened.map_err(CompactError::Open)?;
    let done = store.compact().map_err(CompactError::Compact)?;
    store.close().map_err(CompactError::Close)?;
    Ok((notices.iter().map(Notice::to_string).collect(), done))
}

/// The file in a data folder that says when the last backup of it was made: milliseconds since 1970.
const BACKUP_FILE: &str = "last-backup";

/// Bytes of that file.
const BACKUP_LEN_MAX: u64 = 64;

/// Notes in the data folder `dir` that its history was saved at `now_ms`, so that whoever keeps it can alarm
/// when that was long ago.
pub fn note_backup(dir: &Path, now_ms: i64) -> io::Result<()> {
    // In the place of the old one only when it is whole.
    let draft = dir.join(format!("{BACKUP_FILE}.new"));
    std::fs::write(&draft, format!("{now_ms}\n"))?;
    std::fs::rename(draft, dir.join(BACKUP_FILE))
}

/// When the history of a data folder was last saved; none where it never was, or nobody can tell.
pub(crate) fn backup_ms(dir: &Path) -> Option<i64> {
    let mut text = String::new();
    let file = std::fs::File::open(dir.join(BACKUP_FILE)).ok()?;
    file.take(BACKUP_LEN_MAX).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_backup_is_noted_and_nonsense_is_none() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(backup_ms(dir.path()), None);
        note_backup(dir.path(), 1_700_000_000_000).unwrap();
        note_backup(dir.path(), 1_700_000_000_001).unwrap();
        assert_eq!(backup_ms(dir.path()), Some(1_700_000_000_001));
        std::fs::write(dir.path().join(BACKUP_FILE), "soon").unwrap();
        assert_eq!(backup_ms(dir.path()), None);
        assert!(note_backup(&dir.path().join("none"), 1).is_err());
    }
}
