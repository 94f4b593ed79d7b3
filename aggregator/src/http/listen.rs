//! The listener: accepts connections, bounds them in number and time, and ends them gracefully.
//! What stands between a connection and hyper is in [`super::socket`].

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
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

use super::socket::{SEND_TIMEOUT, Socket};
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

/// One address may have one in so many of all connections: to connect and say nothing takes no
/// token, and a machine that does so must not keep all others out.
const PEER_SHARE: usize = 4;

/// Serves until `stopped` turns true, then lets the requests that were begun finish.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    mut stopped: watch::Receiver<bool>,
) {
    let permits = Arc::new(Semaphore::new(limits.connections_max));
    let peers = Peers::new(limits.connections_max.div_ceil(PEER_SHARE));
    let graceful = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_LEN_MAX);
    loop {
        let accepted = async {
            // The permit comes first: beyond the limit, connections wait in the kernel's queue.
            let permit = Arc::clone(&permits).acquire_owned().await.ok()?;
            Some((permit, accept(&listener).await))
        };
        let (permit, (stream, address)) = tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => break,
            Some(accepted) = accepted => accepted,
            else => break,
        };
        let Some(place) = peers.enter(address) else {
            tracing::debug!(%address, "refused a connection: this address has too many");
            continue;
        };
        let service = TowerToHyperService::new(router.clone());
        let socket = TokioIo::new(Socket::new(stream, SEND_TIMEOUT));
        let connection = graceful.watch(http.serve_connection(socket, service));
        tokio::spawn(async move {
            // A connection that breaks off is the client's business and tells us nothing.
            if let Err(error) = connection.await {
                tracing::trace!(%error, "connection ended early");
            }
            drop((permit, place));
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
async fn accept(listener: &TcpListener) -> (TcpStream, IpAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                // Answers are written whole, so waiting for more to send only adds delay.
                let _ = stream.set_nodelay(true);
                return (stream, address.ip());
            }
            Err(error) => {
                tracing::warn!(%error, "failed to accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// How many connections each address has.
#[derive(Debug, Clone)]
struct Peers {
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
    max: usize,
}

impl Peers {
    fn new(max: usize) -> Self {
        Self { counts: Arc::default(), max }
    }

    /// A place for one more connection of this address, if it may have one. This machine may have
    /// any number, since a proxy on it speaks for all.
    fn enter(&self, address: IpAddr) -> Option<Place> {
        let address = key_of(address);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_insert(0);
        if *count >= self.max && !address.is_loopback() {
            return None;
        }
        *count += 1;
        Some(Place { peers: self.clone(), address })
    }
}

/// One machine has all addresses of an IPv6 network of 64 bits.
fn key_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => {
            let network = v6.to_bits() >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
        other => other,
    }
}

/// One connection of an address; dropping it makes room for another.
#[derive(Debug)]
struct Place {
    peers: Peers,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.peers.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_have_all_connections() {
        let peers = Peers::new(2);
        let enter = |address: &str| peers.enter(address.parse().unwrap());
        let first = [enter("192.0.2.1"), enter("::ffff:192.0.2.1")];
        assert!(first.iter().all(Option::is_some) && enter("192.0.2.1").is_none());
        let second = [enter("2001:db8::1"), enter("2001:db8::2")];
        assert!(second.iter().all(Option::is_some) && enter("2001:db8::3").is_none());
        assert!(enter("192.0.2.2").is_some() && enter("2001:db8:0:1::1").is_some());
        let local: Vec<_> = (0..9).map(|_| enter("127.0.0.1")).collect();
        assert!(local.iter().all(Option::is_some));
        drop((first, second, local));
        assert!(enter("192.0.2.1").is_some() && enter("2001:db8::3").is_some());
        assert!(peers.counts.lock().unwrap().is_empty(), "who is gone is forgotten");
    }
}
