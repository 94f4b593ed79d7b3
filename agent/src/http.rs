//! The agent's own HTTP: `/metrics`, as an exporter has it, and `/-/healthy`.
//!
//! It shows the latest round, so scraping costs the machine nothing and any number of scrapers
//! see the same. Nothing can be changed through it. On addresses that other machines reach,
//! `/metrics` wants a bearer token.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use labstat_wire::exposition;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::round::Round;

/// Connections at a time; more wait to be accepted. A scraper needs one.
const CONNECTIONS_MAX: usize = 16;

/// How long a client may take to send its request's head.
const HEAD_TIME_MAX: Duration = Duration::from_secs(10);

/// How long a connection may last. Scrapers open another without a word, and one that a peer
/// forgot does not take a permit for ever.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(300);

/// How long to wait when no connection can be accepted (out of files), before trying again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// The latest round, for whoever wants to show it.
#[derive(Debug, Default)]
pub(crate) struct Latest(Mutex<Option<Arc<Round>>>);

impl Latest {
    pub(crate) fn set(&self, round: Arc<Round>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(round);
    }

    pub(crate) fn get(&self) -> Option<Arc<Round>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What is shown, and to whom.
struct Site {
    latest: Arc<Latest>,
    token: Option<HeaderValue>,
}

/// Answers on `listener` until it is dropped.
///
/// With a `token`, `/metrics` is for those who send it.
pub(crate) async fn serve(listener: TcpListener, latest: Arc<Latest>, token: Option<HeaderValue>) {
    let site = Arc::new(Site { latest, token });
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // Dropping the set ends its connections, so none outlives the agent.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let site = Arc::clone(&site);
                connections.spawn(async move {
                    connection(stream, peer, site).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "failed to accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, site: Arc<Site>) {
    let service = service_fn(|request| {
        let response = site.answer(&request);
        async move { Ok::<_, Infallible>(response) }
    });
    let serve = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = tokio::time::timeout(CONNECTION_TIME_MAX, serve).await {
        tracing::debug!(%peer, %error, "a connection ended early");
    }
}

impl Site {
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match request.uri().path() {
            "/metrics" if self.may_see(request) => self.metrics(),
            "/metrics" => {
                let mut response = plain(StatusCode::UNAUTHORIZED, "a bearer token is needed\n");
                let scheme = HeaderValue::from_static("Bearer");
                response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
                response
            }
            "/-/healthy" => plain(StatusCode::OK, "labstat agent is healthy\n"),
            "/" => plain(StatusCode::OK, "labstat agent: see /metrics and /-/healthy\n"),
            _ => plain(StatusCode::NOT_FOUND, "not found; there are /metrics and /-/healthy\n"),
        }
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        let Some(round) = self.latest.get() else {
            let text = "the first round is not done yet\n";
            return plain(StatusCode::SERVICE_UNAVAILABLE, text);
        };
        let mut response = Response::new(Full::new(Bytes::from(round.exposition())));
        let content_type = HeaderValue::from_static(exposition::CONTENT_TYPE);
        response.headers_mut().insert(CONTENT_TYPE, content_type);
        response
    }

    fn may_see(&self, request: &Request<Incoming>) -> bool {
        let Some(token) = &self.token else { return true };
        let given = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes);
        given.is_some_and(|given| is_same(given, token.as_bytes()))
    }
}

/// Compares in a time that does not tell how much of the beginning is right.
fn is_same(given: &[u8], wanted: &[u8]) -> bool {
    let differing = given.iter().zip(wanted).fold(0, |all, (a, b)| all | (a ^ b));
    given.len() == wanted.len() && differing == 0
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
