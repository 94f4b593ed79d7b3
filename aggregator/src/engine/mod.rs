//! Where the history is: the engines behind [`Storage`](crate::storage::Storage).
//!
//! - `local`: the store in the data folder, which is the usual one.
//! - `remote`: another Prometheus-compatible engine, for a lab that outgrows one machine.
//! - `config`: which of them it is.

mod config;
mod local;
mod remote;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use labstat_model::Clock;
use labstat_store::{Notice, OpenError, Store};

pub use config::{EngineConfig, ReadWay};

use crate::config::Config;
use crate::storage::SharedStorage;
use remote::RemoteEngine;

/// Why another engine cannot be used as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Something is missing.
    #[error("{0}")]
    Incomplete(&'static str),
    /// A file with a secret or with certificates cannot be read.
    #[error("failed to read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// A file with a secret holds none that can be sent.
    #[error("{} holds no secret: its first line must be visible text", path.display())]
    Secret {
        /// The file.
        path: PathBuf,
    },
    /// A file with certificates holds none that can be trusted.
    #[error("{} holds no certificate that can be trusted (a PEM file)", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
    },
    /// The TLS library refuses to start.
    #[error("failed to set up TLS")]
    Tls(#[source] rustls::Error),
    /// The queue cannot be opened.
    #[error("failed to open the queue")]
    Queue(#[source] OpenError),
}

/// Puts the engine that `config` names behind the door: the store itself, or another one with the
/// store for what it does not keep. Within a tokio runtime, on a blocking thread.
pub(crate) fn open(
    config: &Config,
    store: Store,
    clock: Arc<dyn Clock>,
) -> Result<(SharedStorage, Vec<Notice>), EngineError> {
    if let Some(problem) = config.engine.problem() {
        return Err(EngineError::Incomplete(problem));
    }
    let Some(url) = &config.engine.url else {
        return Ok((SharedStorage::new(store), Vec::new()));
    };
    if store.stats().series > 0 {
        let dir = config.data_dir.display();
        tracing::warn!(url, "the samples in {dir} are not in any answer: [engine] has the history");
    }
    let samples_max = config.limits.query_samples_max;
    let dir = &config.data_dir;
    let (engine, notices) = RemoteEngine::open(dir, &config.engine, store, samples_max, clock)?;
    Ok((SharedStorage::new(engine), notices))
}
