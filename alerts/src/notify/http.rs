//! One HTTP client for the receivers: posts a body, gives the answer's status and what it says.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::config::{read_file, read_secret};
use super::{BuildError, SendError};

/// How long a connection may take to come about; the whole attempt has
/// [`SEND_TIMEOUT`](super::SEND_TIMEOUT).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of an answer that are read, for the words of its error.
const ANSWER_LEN_MAX: usize = 16 * 1024;

/// Characters of an answer that are quoted in an error.
const QUOTE_LEN_MAX: usize = 200;

/// How long to wait after an answer that only people can put right: a login that is refused, a
/// path that is not there. Servers shut out those who knock too often.
pub(super) const PEOPLE_PAUSE: Duration = Duration::from_secs(5 * 60);

/// Names of headers and their values.
pub(super) type Headers = Vec<(&'static str, String)>;

/// Posts to one place.
#[derive(Debug, Clone)]
pub(super) struct Post {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    uri: Uri,
    authorization: Option<HeaderValue>,
}

/// How a receiver proves who it is.
pub(super) struct Login<'a> {
    pub(super) token_file: Option<&'a Path>,
    pub(super) username: Option<&'a str>,
    pub(super) password_file: Option<&'a Path>,
}

impl Post {
    pub(super) fn build(
        name: &str,
        url: &str,
        login: &Login<'_>,
        ca_file: Option<&Path>,
    ) -> Result<Self, BuildError> {
        let problem = |problem: String| BuildError::Config { name: name.to_owned(), problem };
        let uri = url.parse().map_err(|error| problem(format!("the URL is none: {error}")))?;
        let authorization = match authorization(name, login)? {
            Some(text) => {
                let value = HeaderValue::try_from(text);
                let mut value =
                    value.map_err(|_| problem("the secret is not fit for a header".to_owned()))?;
                // Keeps it out of any debug output.
                value.set_sensitive(true);
                Some(value)
            }
            None => None,
        };
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.enforce_http(false);
        let tls = tls(name, ca_file)?;
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let client =
            Client::builder(TokioExecutor::new()).pool_max_idle_per_host(1).build(connector);
        Ok(Self { client, uri, authorization })
    }

    /// Posts once. What is not a success is an error that says whether to try again.
    pub(super) async fn send(&self, headers: Headers, body: String) -> Result<(), SendError> {
        let mut request = Request::post(self.uri.clone());
        let agent = concat!("labstat/", env!("CARGO_PKG_VERSION"));
        request = request.header(USER_AGENT, agent);
        if let Some(value) = &self.authorization {
            request = request.header(hyper::header::AUTHORIZATION, value);
        }
        for (name, value) in headers {
            request = request.header(HeaderName::from_static(name), value);
        }
        let request = request.body(Full::new(Bytes::from(body)));
        let request = request.map_err(|error| SendError::GiveUp(error.to_string()))?;
        let answer = self.client.request(request).await.map_err(|error| {
            let why = crate::manager::error_chain(&error);
            SendError::Retry { why: format!("{}: {why}", self.place()), after: None }
        })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let after = after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        let body = Limited::new(answer.into_body(), ANSWER_LEN_MAX).collect().await;
        let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let why = format!("{} answered {status}{}", self.place(), quote(&body));
        Err(if is_about_message(status) {
            SendError::GiveUp(why)
        } else {
            let pause = (!is_passing(status)).then_some(PEOPLE_PAUSE);
            SendError::Retry { why, after: after.or(pause) }
        })
    }

    /// The place without its path, which may hold a secret.
    fn place(&self) -> String {
        let scheme = self.uri.scheme_str().unwrap_or_default();
        format!(
            "{scheme}://{}",
            self.uri.authority().map_or("", |authority| {
                // What stands before an @ is a login.
                authority.as_str().rsplit('@').next().unwrap_or_default()
            })
        )
    }
}

/// Whether a status refuses the message itself: no other try makes it better. All else speaks of
/// the server, the way to it or the login; a proxy whose server is away may well answer 404.
fn is_about_message(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_REQUEST
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::URI_TOO_LONG
            | StatusCode::UNSUPPORTED_MEDIA_TYPE
            | StatusCode::UNPROCESSABLE_ENTITY
            | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
    )
}

/// Whether a status speaks of a condition that passes.
fn is_passing(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
        )
}

/// The start of an answer's text, on one line.
fn quote(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let line: Vec<&str> = text.split_whitespace().collect();
    let line: String = line.join(" ").chars().take(QUOTE_LEN_MAX).collect();
    if line.is_empty() { line } else { format!(": {line}") }
}

fn authorization(name: &str, login: &Login<'_>) -> Result<Option<String>, BuildError> {
    if let Some(file) = login.token_file {
        return Ok(Some(format!("Bearer {}", read_secret(name, file)?)));
    }
    let (Some(user), Some(file)) = (login.username, login.password_file) else { return Ok(None) };
    let pair = format!("{user}:{}", read_secret(name, file)?);
    Ok(Some(format!("Basic {}", base64(pair.as_bytes()))))
}

fn tls(name: &str, ca_file: Option<&Path>) -> Result<rustls::ClientConfig, BuildError> {
    let problem = |problem: String| BuildError::Config { name: name.to_owned(), problem };
    let mut roots = rustls::RootCertStore::empty();
    // A machine without certificates can still reach its own servers.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca_file {
        let pem = read_file(name, path)?;
        let mut any = false;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let bad = |error: String| problem(format!("{}: {error}", path.display()));
            let certificate = certificate.map_err(|error| bad(format!("{error:?}")))?;
            roots.add(certificate).map_err(|error| bad(error.to_string()))?;
            any = true;
        }
        if !any {
            return Err(problem(format!("{} holds no certificate", path.display())));
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| problem(error.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// Base64 with padding.
pub(super) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let digit = (bits >> (18 - 6 * at)) & 63;
            let digit = usize::try_from(digit).ok().and_then(|digit| DIGITS.get(digit));
            let padding = at > chunk.len();
            text.push(digit.filter(|_| !padding).map_or('=', |digit| char::from(*digit)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_pads() {
        for (plain, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn quotes_are_short_and_on_one_line() {
        assert_eq!(quote(b"  a\n b\n"), ": a b");
        assert_eq!(quote(b""), "");
        assert_eq!(quote("x".repeat(999).as_bytes()).len(), QUOTE_LEN_MAX + 2);
    }
}
