//! The HTTP client: one request, and what its answer means for the samples in it.
//!
//! One connection is kept open between rounds. Certificates are loaded for `https` only: the
//! system's store takes a megabyte of memory.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, USER_AGENT};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use labstat_model::error_chain;
use labstat_wire::remote_write;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::config::{UrlError, write_url};

/// How long a request may take, connecting included. A receiver that syncs to a slow disk under
/// load needs seconds; one that needs more than this is as good as away.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(30);

/// How long a connection may take to open.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// How long an idle connection is kept: longer than the longest interval.
const IDLE_TIME_MAX: Duration = Duration::from_secs(150);

/// Bytes of an answer's body that are read for its reason.
const REASON_LEN_MAX: usize = 1024;

/// The longest wait that a receiver may ask for with `Retry-After`.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// Bytes of a token file's first line; a token has some dozens.
const TOKEN_LEN_MAX: u64 = 4096;

/// Why nothing can be shipped with these settings.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The URL is none.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The token file cannot be read.
    #[error(
        "failed to read the token file {path} (a file with the bearer token as its first line)"
    )]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// The token file holds nothing that can be a token.
    #[error("the token file {path} holds no token: its first line must be visible ASCII text")]
    Token {
        /// The file.
        path: PathBuf,
    },
    /// The CA file cannot be read.
    #[error("failed to read certificates from {path} (a PEM file)")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What the parser or the system said.
        #[source]
        cause: rustls::pki_types::pem::Error,
    },
    /// The CA file holds no certificate that can be used.
    #[error("{path} holds no certificate that can be trusted")]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The system has no certificates to trust.
    #[error(
        "no trusted certificates found on this system; install ca-certificates or name a CA file"
    )]
    NoSystemCertificates,
    /// The TLS library refuses to start.
    #[error("failed to set up TLS")]
    Tls(#[source] rustls::Error),
}

/// Why a request failed, by what is to be done about it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// The receiver will never take this request: sending it again is of no use.
    #[error("the receiver refused the samples with {status}: {reason}")]
    Rejected { status: StatusCode, reason: String },
    /// The receiver did not take it now, or could not be reached, or is not set up to take it.
    #[error("{what}")]
    Unavailable { what: String, retry_after: Option<Duration> },
}

/// A receiver of remote write.
pub(crate) struct Remote {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    uri: Uri,
    token_file: Option<PathBuf>,
    token: Option<HeaderValue>,
}

impl Remote {
    pub(crate) fn new(
        url: &str,
        token_file: Option<&Path>,
        ca_file: Option<&Path>,
    ) -> Result<Self, RemoteError> {
        let uri = write_url(url)?;
        let token = token_file.map(read_token).transpose()?;
        let https = uri.scheme_str() == Some("https");
        let roots = if https { roots(ca_file)? } else { rustls::RootCertStore::empty() };
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(RemoteError::Tls)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_connect_timeout(Some(CONNECT_TIME_MAX));
        http.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_TIME_MAX)
            .pool_max_idle_per_host(1)
            .pool_timer(TokioTimer::new())
            .build(connector);
        if token.is_some() && !https && !is_loopback(&uri) {
            tracing::warn!(%uri, "the token goes over the network unencrypted; use https");
        }
        Ok(Self { client, uri, token_file: token_file.map(Path::to_owned), token })
    }

    /// Where requests go.
    pub(crate) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Sends one body.
    pub(crate) async fn send(&mut self, body: Vec<u8>) -> Result<(), SendError> {
        let answer = tokio::time::timeout(REQUEST_TIME_MAX, self.exchange(body)).await;
        let result = answer.unwrap_or_else(|_| {
            Err(unavailable(format!("no answer within {} s", REQUEST_TIME_MAX.as_secs())))
        });
        if result.is_err() {
            // A token that was replaced on disk is taken up without a restart.
            self.reload_token();
        }
        result
    }

    async fn exchange(&self, body: Vec<u8>) -> Result<(), SendError> {
        let (version, value) = remote_write::VERSION_HEADER;
        let mut request = Request::post(&self.uri)
            .header(CONTENT_TYPE, remote_write::CONTENT_TYPE)
            .header(CONTENT_ENCODING, remote_write::CONTENT_ENCODING)
            .header(version, value)
            .header(USER_AGENT, concat!("labstat/", env!("CARGO_PKG_VERSION")));
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token);
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| unavailable(error_chain(&error)))?;
        let response =
            self.client.request(request).await.map_err(|error| unavailable(error_chain(&error)))?;
        judge(response).await
    }

    fn reload_token(&mut self) {
        let Some(path) = &self.token_file else { return };
        match read_token(path) {
            Ok(token) => self.token = Some(token),
            Err(error) => {
                tracing::warn!(error = error_chain(&error), "keeping the token read before");
            }
        }
    }
}

fn unavailable(what: String) -> SendError {
    SendError::Unavailable { what, retry_after: None }
}

/// What an answer means. Only answers that speak about the samples cost them; a wrong token or
/// path is put right by people, and the samples wait.
async fn judge<B>(response: Response<B>) -> Result<(), SendError>
where
    B: hyper::body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let status = response.status();
    if status.is_success() {
        // Reading the body to its end is what lets the connection be used again.
        let _ = Limited::new(response.into_body(), REASON_LEN_MAX).collect().await;
        return Ok(());
    }
    let retry_after = response
        .headers()
        .get("retry-after")
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
    let body = Limited::new(response.into_body(), REASON_LEN_MAX).collect().await;
    let reason = body.map(|body| one_line(&body.to_bytes())).unwrap_or_default();
    Err(if is_about_samples(status) {
        SendError::Rejected { status, reason }
    } else {
        let what = format!("the receiver answers {status}: {reason}{}", hint(status));
        SendError::Unavailable { what, retry_after }
    })
}

/// Whether a status refuses the samples for good: bad, too many for one request, or against what
/// is there already (Thanos answers 409, Mimir 422). Sending those again would hold up all others.
fn is_about_samples(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_REQUEST
            | StatusCode::CONFLICT
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNPROCESSABLE_ENTITY
    )
}

fn hint(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => " (is the token right?)",
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => " (is the URL right?)",
        _ => "",
    }
}

fn one_line(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    text.split(|c: char| c.is_control())
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The value of `Authorization` for the token in a file.
pub(crate) fn read_token(path: &Path) -> Result<HeaderValue, RemoteError> {
    let file = File::open(path)
        .map_err(|cause| RemoteError::TokenFile { path: path.to_owned(), cause })?;
    let mut line = Vec::new();
    // One byte over the limit, to tell a token that is too long from one that is cut.
    BufReader::new(file.take(TOKEN_LEN_MAX + 1))
        .read_until(b'\n', &mut line)
        .map_err(|cause| RemoteError::TokenFile { path: path.to_owned(), cause })?;
    let error = || RemoteError::Token { path: path.to_owned() };
    let token = std::str::from_utf8(&line).map_err(|_| error())?.trim();
    let is_long = u64::try_from(line.len()).is_ok_and(|len| len > TOKEN_LEN_MAX);
    if token.is_empty() || is_long || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(error());
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| error())?;
    value.set_sensitive(true);
    Ok(value)
}

fn roots(ca_file: Option<&Path>) -> Result<rustls::RootCertStore, RemoteError> {
    let mut roots = rustls::RootCertStore::empty();
    let Some(path) = ca_file else {
        let found = rustls_native_certs::load_native_certs();
        let (added, _) = roots.add_parsable_certificates(found.certs);
        return if added > 0 { Ok(roots) } else { Err(RemoteError::NoSystemCertificates) };
    };
    let error = |cause| RemoteError::CaFile { path: path.to_owned(), cause };
    let certificates = CertificateDer::pem_file_iter(path)
        .map_err(error)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(error)?;
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added > 0 { Ok(roots) } else { Err(RemoteError::NoCertificate { path: path.to_owned() }) }
}

fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn only_answers_about_the_samples_cost_them() {
        for (status, is_refused) in [
            (302, false),
            (400, true),
            (401, false),
            (403, false),
            (404, false),
            (408, false),
            (409, true),
            (413, true),
            (422, true),
            (429, false),
            (503, false),
        ] {
            let mut response = Response::new(Full::new(Bytes::from_static(b"why")));
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            let error = judge(response).await.unwrap_err();
            assert_eq!(matches!(error, SendError::Rejected { .. }), is_refused, "{status}");
        }
    }

    #[test]
    fn tokens_are_one_line_of_text() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let read = |content: &str| {
            fs::write(&path, content).unwrap();
            read_token(&path)
        };
        assert_eq!(read("s3cret\n# note\n").unwrap(), "Bearer s3cret");
        let long = "x".repeat(5_000);
        for bad in ["", "\nsecond", "two words", "ümlaut", &long] {
            assert!(matches!(read(bad), Err(RemoteError::Token { .. })), "{bad:?}");
        }
        // An endless file is read as far as a token goes.
        assert!(matches!(read_token(Path::new("/dev/zero")), Err(RemoteError::Token { .. })));
        let error = read_token(&dir.path().join("none")).unwrap_err();
        assert!(error.to_string().starts_with("failed to read the token file /"), "{error}");
    }

    #[test]
    fn bad_ca_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let open = || Remote::new("https://lab.example", None, Some(&path)).err().unwrap();
        assert!(matches!(open(), RemoteError::CaFile { .. }));
        fs::write(&path, "no certificate").unwrap();
        assert!(matches!(open(), RemoteError::NoCertificate { .. }));
        assert!(Remote::new("http://lab.example", None, Some(&path)).is_ok(), "not needed");
    }
}
