//! What is done with a history's files while no aggregator has them.

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
