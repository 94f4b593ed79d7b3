//! The runtime a command works in: one thread for what waits, the aggregator's for what serves.

use std::future::Future;

use tokio::runtime::{Builder, Runtime};

use crate::failure::Failure;

/// Runs `work` on this thread.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    started(Builder::new_current_thread().enable_all().build())?.block_on(work)
}

/// Runs `work` with the threads of an aggregator.
pub(crate) fn serve<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    started(labstat_aggregator::runtime())?.block_on(work)
}

fn started(runtime: std::io::Result<Runtime>) -> Result<Runtime, Failure> {
    runtime.map_err(|error| Failure::new("failed to start the runtime").because(&error))
}

/// Waits until the process is asked to end: Ctrl-C, or SIGTERM as service managers send it.
pub(crate) async fn asked_to_end() -> Result<(), Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| {
        signal(kind).map_err(|error| Failure::new("failed to listen for signals").because(&error))
    };
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// Tells each time the process is asked to read its files again: SIGHUP.
pub(crate) fn asked_to_reload() -> Result<tokio::signal::unix::Signal, Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    signal(SignalKind::hangup())
        .map_err(|error| Failure::new("failed to listen for signals").because(&error))
}
