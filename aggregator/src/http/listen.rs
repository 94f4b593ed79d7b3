//! The listener: accepts connections, bounds them in number and time, and ends them gracefully.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http_body_util::{BodyExt, Limited};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::config::Limits;

/// How long a request's head may take, and so how long a connection may idle between requests.
/// Above the 60 s of slow remote-write senders, so that they can keep their connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(90);

/// Bytes of a request's head, and of what is read ahead of a body. A query that a GET carries in
/// its URL fits; longer ones come by POST.
const HEAD_LEN_MAX: usize = 64 * 1024;

/// How long requests may still take once the aggregator was asked to stop.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// Bytes of an unwanted body that are taken before it is refused.
const DRAIN_LEN_MAX: usize = 1024 * 1024;

/// How long an unwanted body may take.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// How long to wait after an accept failed, as it does when file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Serves until `stopped` turns true, then lets the requests that were begun finish.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    mut stopped: watch::Receiver<bool>,
) {
    let permits = Arc::new(Semaphore::new(limits.connections_max));
    let graceful = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_LEN_MAX);
    loop {
        let accepted = async {
            // The permit comes first: beyond the limit, connections wait in the kernel's queue.
            let permit = Arc::clone(&permits).acquire_owned().await.ok()?;
            Some((permit, accept(&listener).await))
        };
        let (permit, stream) = tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => break,
            Some(accepted) = accepted => accepted,
            else => break,
        };
        let service = TowerToHyperService::new(router.clone());
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            // A connection that breaks off is the client's business and tells us nothing.
            if let Err(error) = connection.await {
                tracing::trace!(%error, "connection ended early");
            }
            drop(permit);
        });
    }
    drop(listener);
    if tokio::time::timeout(SHUTDOWN_GRACE, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests did not finish in time and were cut off");
    }
}

/// Takes and forgets what is left of a body that will not be used. A client that is still sending
/// when the connection closes may never see the answer, so small bodies are let in.
pub(crate) async fn drain(body: Body) {
    let rest = Limited::new(body, DRAIN_LEN_MAX).collect();
    // However it ends, the answer is sent next.
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, rest).await;
}

/// The next connection, however often accepting one fails before.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Answers are written whole, so waiting for more to send only adds delay.
                let _ = stream.set_nodelay(true);
                return stream;
            }
            Err(error) => {
                tracing::warn!(%error, "failed to accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
