//! The HTTP client of another engine: one request, and what its answer means.
//!
//! Reads are made from blocking threads: a body is a [`Read`] that waits for the network, so that
//! an answer of any length is parsed as it comes. When the engine cannot be reached, further reads
//! fail at once for a moment: sixty rules must not wait sixty times.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{Buf as _, Bytes};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::runtime::Handle;

use crate::config::duration_of;
use crate::engine::{EngineConfig, EngineError};
use crate::storage::chain;

/// How long a connection may take to open.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// How long an idle connection is kept: longer than rules are usually apart.
const IDLE_TIME_MAX: Duration = Duration::from_secs(90);

/// Idle connections that are kept: as many as queries may run, and one for writes.
const IDLE_CONNECTIONS_MAX: usize = 8;

/// Bytes of an answer's body that are read for its reason.
const REASON_LEN_MAX: usize = 4096;

/// The longest wait that the engine may ask for with `Retry-After`.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// How long reads fail at once after the engine could not be reached.
const AWAY_PAUSE: Duration = Duration::from_secs(2);

/// Bytes of the first line of a file with a secret.
const SECRET_LEN_MAX: u64 = 4096;

/// Why a request did not work, by what is to be done about it.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum HttpError {
    /// It speaks about the request itself: sending it again is of no use.
    #[error("{place} answers {status}: {reason}")]
    Refused {
        /// The engine's address.
        place: String,
        /// Its status.
        status: StatusCode,
        /// The words it has for it.
        reason: String,
    },
    /// The engine cannot be reached, is not well, or is not set up for this.
    #[error("{what}")]
    Away {
        /// What happened, with the engine's address.
        what: String,
        /// The status, where there was an answer.
        status: Option<StatusCode>,
        /// How long it asks to be left alone.
        retry_after: Option<Duration>,
    },
}

/// The client.
#[derive(Debug)]
pub(super) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    handle: Handle,
    timeout: Duration,
    headers: HeaderMap,
    login: Login,
    authorization: RwLock<Option<HeaderValue>>,
    /// When the engine could last not be reached, and why.
    away: Mutex<Option<(Instant, String)>>,
}

/// What a request is made of.
pub(super) struct Ask {
    pub(super) uri: Uri,
    /// With a body it is a POST.
    pub(super) body: Option<Bytes>,
    pub(super) headers: &'static [(&'static str, &'static str)],
}

impl Http {
    /// A client for what `config` says. Within a tokio runtime, which does its work.
    pub(super) fn new(config: &EngineConfig) -> Result<Self, EngineError> {
        let login = Login::of(config);
        let authorization = RwLock::new(login.header()?);
        let urls = [config.url.clone(), config.write_url()];
        let https = urls.iter().flatten().any(|url| url.starts_with("https:"));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(EngineError::Tls)?
            .with_root_certificates(roots(https, config.ca_file.as_deref())?)
            .with_no_client_auth();
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(CONNECT_TIME_MAX));
        connector.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_TIME_MAX)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .pool_timer(TokioTimer::new())
            .build(connector);
        let mut headers = HeaderMap::new();
        let agent = concat!("labstat/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        for (name, value) in &config.headers {
            // Their form was checked when the configuration was read.
            if let (Ok(name), Ok(value)) =
                (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str()))
            {
                headers.insert(name, value);
            }
        }
        let timeout = duration_of(config.timeout_ms);
        let (handle, away) = (Handle::current(), Mutex::default());
        Ok(Self { client, handle, timeout, headers, login, authorization, away })
    }

    /// What runs the requests.
    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Sends a request; the answer is one of success. In a task.
    pub(super) async fn send(&self, ask: Ask) -> Result<Response<Incoming>, HttpError> {
        let place = place(&ask.uri);
        let away = |what: String| HttpError::Away {
            what: format!("{place} {what}"),
            status: None,
            retry_after: None,
        };
        let request = self.request(ask).map_err(|error| away(chain(&error)))?;
        let answer = tokio::time::timeout(self.timeout, self.client.request(request)).await;
        let answer = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                return Err(away(format!("cannot be reached: {}", innermost(&error))));
            }
            Err(_) => return Err(away(format!("did not answer within {:?}", self.timeout))),
        };
        if answer.status().is_success() {
            return Ok(answer);
        }
        let error = judge(answer, &place).await;
        // A secret that was replaced on disk is taken up without a restart.
        match self.login.header() {
            Ok(header) => self.set_authorization(header),
            Err(error) => tracing::warn!(error = chain(&error), "keeping the secret read before"),
        }
        Err(error)
    }

    fn set_authorization(&self, header: Option<HeaderValue>) {
        *self.authorization.write().unwrap_or_else(PoisonError::into_inner) = header;
    }

    fn request(&self, ask: Ask) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let method = if ask.body.is_some() { "POST" } else { "GET" };
        let mut request = Request::builder().method(method).uri(ask.uri);
        for (name, value) in ask.headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Full::new(ask.body.unwrap_or_default()))?;
        request.headers_mut().extend(self.headers.clone());
        let authorization = self.authorization.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = &*authorization {
            request.headers_mut().insert(AUTHORIZATION, value.clone());
        }
        Ok(request)
    }

    /// Sends a request from a blocking thread; gives the body, of which `len_max` bytes are read.
    pub(super) fn read(&self, ask: Ask, len_max: usize) -> Result<Body<'_>, HttpError> {
        self.fail_early()?;
        let deadline = Instant::now() + self.timeout;
        let answer = self.handle.block_on(self.send(ask)).inspect_err(|error| self.note(error))?;
        let (incoming, chunk) = (answer.into_body(), Bytes::new());
        Ok(Body { http: self, incoming, chunk, left: len_max, deadline })
    }

    fn fail_early(&self) -> Result<(), HttpError> {
        let away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        match &*away {
            Some((since, what)) if since.elapsed() < AWAY_PAUSE => {
                Err(HttpError::Away { what: what.clone(), status: None, retry_after: None })
            }
            _ => Ok(()),
        }
    }

    fn note(&self, error: &HttpError) {
        if let HttpError::Away { what, status: None, .. } = error {
            let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
            *away = Some((Instant::now(), what.clone()));
        }
    }
}

/// The body of an answer, read on a blocking thread as it comes.
pub(super) struct Body<'a> {
    http: &'a Http,
    incoming: Incoming,
    chunk: Bytes,
    left: usize,
    deadline: Instant,
}

/// An answer was longer than may be.
#[derive(Debug, thiserror::Error)]
#[error("the answer is longer than may be (ask for less)")]
pub(super) struct TooLong;

impl Read for Body<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            let deadline = tokio::time::Instant::from_std(self.deadline);
            let frame = self.incoming.frame();
            let frame = async { tokio::time::timeout_at(deadline, frame).await };
            match self.http.handle.block_on(frame) {
                Err(_) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(None) => return Ok(0),
                Ok(Some(Err(error))) => return Err(io::Error::other(error)),
                Ok(Some(Ok(frame))) => self.chunk = frame.into_data().unwrap_or_default(),
            }
            self.left = self
                .left
                .checked_sub(self.chunk.len())
                .ok_or_else(|| io::Error::new(io::ErrorKind::FileTooLarge, TooLong))?;
        }
        let len = out.len().min(self.chunk.len());
        if let Some(out) = out.get_mut(..len) {
            self.chunk.copy_to_slice(out);
        }
        Ok(len)
    }
}

/// What an answer that is no success means. Only those that speak about the samples or the query
/// refuse them; a wrong token or path is put right by people.
async fn judge(answer: Response<Incoming>, place: &str) -> HttpError {
    let status = answer.status();
    let retry_after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = retry_after.and_then(|seconds| seconds.trim().parse().ok());
    let retry_after = retry_after.map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
    let body = Limited::new(answer.into_body(), REASON_LEN_MAX).collect();
    let body = tokio::time::timeout(CONNECT_TIME_MAX, body).await.ok().and_then(Result::ok);
    let reason = body.map(|body| reason(&body.to_bytes())).unwrap_or_default();
    if is_refusal(status) {
        return HttpError::Refused { place: place.to_owned(), status, reason };
    }
    let hint = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => " (is the token right?)",
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
            " (is the URL right, and does it take what is sent there?)"
        }
        _ => "",
    };
    let what = format!("{place} answers {status}: {reason}{hint}");
    HttpError::Away { what, status: Some(status), retry_after }
}

/// Whether a status refuses what was sent for good: bad, too large, or against what is there
/// already (Thanos answers 409, Mimir 422).
fn is_refusal(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_REQUEST
            | StatusCode::CONFLICT
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNPROCESSABLE_ENTITY
    )
}

/// The words of an answer on one line: the `error` of the Prometheus API, or the text as it is.
fn reason(body: &[u8]) -> String {
    let json: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let error = json.as_ref().and_then(|json| json.get("error")?.as_str());
    let text = error.map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn place(uri: &Uri) -> String {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    format!("{}://{authority}", uri.scheme_str().unwrap_or_default())
}

/// The innermost cause: hyper's own words ("client error (Connect)") say less.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    innermost.to_string()
}

/// How we prove who we are.
#[derive(Debug)]
enum Login {
    None,
    Token(std::path::PathBuf),
    User(String, std::path::PathBuf),
}

impl Login {
    fn of(config: &EngineConfig) -> Self {
        match (&config.token_file, &config.username, &config.password_file) {
            (Some(file), ..) => Self::Token(file.clone()),
            (None, Some(user), Some(file)) => Self::User(user.clone(), file.clone()),
            _ => Self::None,
        }
    }

    fn header(&self) -> Result<Option<HeaderValue>, EngineError> {
        let (text, file) = match self {
            Self::None => return Ok(None),
            Self::Token(file) => (format!("Bearer {}", secret(file)?), file),
            Self::User(user, file) => {
                let pair = format!("{user}:{}", secret(file)?);
                (format!("Basic {}", BASE64_STANDARD.encode(pair.as_bytes())), file)
            }
        };
        let value = HeaderValue::try_from(text);
        let mut value = value.map_err(|_| EngineError::Secret { path: file.clone() })?;
        // Keeps it out of any debug output.
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

/// The first line of a file.
fn secret(path: &Path) -> Result<String, EngineError> {
    let failed = |cause| EngineError::File { path: path.to_owned(), cause };
    let mut line = Vec::new();
    let file = File::open(path).map_err(failed)?;
    BufReader::new(file.take(SECRET_LEN_MAX)).read_until(b'\n', &mut line).map_err(failed)?;
    let secret = str::from_utf8(&line).map(str::trim).unwrap_or_default();
    if secret.is_empty() {
        return Err(EngineError::Secret { path: path.to_owned() });
    }
    Ok(secret.to_owned())
}

/// The certificates that are trusted. The system's take a megabyte of memory, so they are read
/// where they are needed only.
fn roots(https: bool, ca_file: Option<&Path>) -> Result<rustls::RootCertStore, EngineError> {
    let mut roots = rustls::RootCertStore::empty();
    if !https {
        return Ok(roots);
    }
    // A machine without certificates can still reach its own servers.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let Some(path) = ca_file else { return Ok(roots) };
    let pem = std::fs::read(path);
    let pem = pem.map_err(|cause| EngineError::File { path: path.to_owned(), cause })?;
    let unfit = || EngineError::Certificates { path: path.to_owned() };
    let found: Vec<_> =
        CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(|_| unfit())?;
    let (added, _) = roots.add_parsable_certificates(found);
    if added > 0 { Ok(roots) } else { Err(unfit()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_the_words_of_the_api_or_the_text_on_one_line() {
        assert_eq!(reason(br#"{"status":"error","error":"too old"}"#), "too old");
        assert_eq!(reason(b" out of\n bounds\n"), "out of bounds");
    }

    #[test]
    fn secrets_are_the_first_line_of_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, "open sesame\nnote\n").unwrap();
        let user = Login::User("me".to_owned(), path.clone()).header().unwrap().unwrap();
        assert_eq!(user, "Basic bWU6b3BlbiBzZXNhbWU=");
        assert!(user.is_sensitive());
        assert_eq!(Login::Token(path.clone()).header().unwrap().unwrap(), "Bearer open sesame");
        std::fs::write(&path, "\n").unwrap();
        assert!(matches!(Login::Token(path).header(), Err(EngineError::Secret { .. })));
    }
}
