//! One HTTP client for the receivers: sends a request, gives the answer's status and what it says.
//!
//! What is told of a failure never holds a secret: neither the path of a URL, which often is one,
//! nor a token that the server repeats in its answer.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue, LOCATION, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{HttpConnector, capture_connection};
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::config::read_file;
use super::secret::{Secret, hide};
use super::{BuildError, SendError};

/// How long a connection may take to come about, with the name looked up and TLS agreed upon. Until
/// then nothing has gone out.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long TCP alone may take to each of a name's addresses, so that there is time for another.
const TCP_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a server may take over a request. Those that hand a message on before they answer are
/// slow, and what is left earlier arrives, and is sent again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// How long what follows an answer's status may take: the status alone says what became of the message.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of an answer that are read, for the words of its error.
const ANSWER_LEN_MAX: usize = 16 * 1024;

/// Characters of an answer that are quoted in an error.
const QUOTE_LEN_MAX: usize = 200;

/// Characters of the shortest part of a path that is taken for a secret when it comes back.
const PATH_SECRET_LEN_MIN: usize = 12;

/// Bytes of text in one encoded word, so that with its frame it stays below RFC 2047's 75.
const WORD_LEN_MAX: usize = 45;

/// How long to wait after an answer that only people can put right: a login that is refused, a
/// path that is not there. Servers shut out those who knock too often.
pub(super) const PEOPLE_PAUSE: Duration = Duration::from_secs(5 * 60);

/// Names of headers and their values.
pub(super) type Headers = Vec<(&'static str, String)>;

/// Asks servers, and knows one of them: its URL and the login there.
#[derive(Debug)]
pub(super) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    uri: Uri,
    login: Login,
    answer_timeout: Duration,
}

/// How a receiver proves who it is, as it is configured.
pub(super) struct LoginFiles<'a> {
    pub(super) token_file: Option<&'a Path>,
    pub(super) username: Option<&'a str>,
    pub(super) password_file: Option<&'a Path>,
}

#[derive(Debug)]
enum Login {
    None,
    Token(Secret),
    Password(String, Secret),
}

/// What a server said.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// How long it asks to be left alone.
    pub(super) retry_after: Option<Duration>,
    /// Where it sends those who ask, without the path.
    pub(super) moved_to: Option<String>,
    /// What was read of it: nothing when the answer broke off or is too long.
    pub(super) body: Bytes,
    pub(super) is_whole: bool,
}

/// One request.
#[derive(Debug)]
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) uri: &'a Uri,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: String,
    /// Bytes of the answer that are wanted.
    pub(super) answer_len_max: usize,
}

impl Http {
    pub(super) fn build(
        name: &str,
        url: &str,
        login: &LoginFiles<'_>,
        ca_file: Option<&Path>,
    ) -> Result<Self, BuildError> {
        let problem = |problem: String| BuildError::Config { name: name.to_owned(), problem };
        let uri = url.parse().map_err(|error| problem(format!("the URL is none: {error}")))?;
        let login = Login::read(name, login)?;
        let fits = login.header().is_none_or(|text| HeaderValue::try_from(text).is_ok());
        if !fits {
            return Err(problem("the secret is not fit for a header".to_owned()));
        }
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(TCP_TIMEOUT));
        connector.enforce_http(false);
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls(name, ca_file)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let client =
            Client::builder(TokioExecutor::new()).pool_max_idle_per_host(1).build(connector);
        Ok(Self { client, uri, login, answer_timeout: ANSWER_TIMEOUT })
    }

    /// Waits for answers no longer than this.
    pub(super) fn within(self, answer_timeout: Duration) -> Self {
        Self { answer_timeout, ..self }
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Posts once, and leaves it to the caller to judge the answer.
    pub(super) async fn post(&self, headers: Headers, body: String) -> Result<Answer, SendError> {
        let value = |text: String| HeaderValue::try_from(text);
        let headers: Result<Vec<_>, _> = headers
            .into_iter()
            .map(|(name, text)| Ok((HeaderName::from_static(name), value(text)?)))
            .collect();
        let headers = headers.map_err(|error: hyper::header::InvalidHeaderValue| {
            SendError::GiveUp(error.to_string())
        })?;
        let uri = &self.uri;
        let ask = Ask { method: Method::POST, uri, headers, body, answer_len_max: ANSWER_LEN_MAX };
        self.ask(ask).await
    }

    /// Sends one request and reads the start of the answer.
    pub(super) async fn ask(&self, ask: Ask<'_>) -> Result<Answer, SendError> {
        let agent = concat!("labstat/", env!("CARGO_PKG_VERSION"));
        let mut request =
            Request::builder().method(ask.method).uri(ask.uri.clone()).header(USER_AGENT, agent);
        if let Some(text) = self.login.header()
            && let Ok(mut value) = HeaderValue::try_from(text)
        {
            // Keeps it out of any debug output.
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        for (name, value) in ask.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::from(ask.body)));
        let request = request.map_err(|error| SendError::GiveUp(error.to_string()))?;
        let answer = self.exchange(request, ask.uri).await?;
        let status = answer.status();
        let after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        let moved_to = moved_to(&answer, ask.uri);
        let body = Limited::new(answer.into_body(), ask.answer_len_max).collect();
        let body = tokio::time::timeout(BODY_TIMEOUT, body).await.ok().and_then(Result::ok);
        let is_whole = body.is_some();
        let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        Ok(Answer { status, retry_after, moved_to, body, is_whole })
    }

    /// Sends a request and waits for the head of its answer. Only from when there is a connection may
    /// it have arrived.
    async fn exchange(
        &self,
        mut request: Request<Full<Bytes>>,
        uri: &Uri,
    ) -> Result<Response<Incoming>, SendError> {
        let told = |what: &str| self.hidden(&format!("{}: {what}", place(uri)), uri);
        let mut connection = capture_connection(&mut request);
        let connected = async { drop(connection.wait_for_connection_metadata().await) };
        let asking = self.client.request(request);
        tokio::pin!(asking);
        let early = tokio::select! {
            biased;
            answer = &mut asking => Some(answer),
            () = connected => None,
            () = tokio::time::sleep(CONNECT_TIMEOUT) => {
                let why = told(&format!("no connection within {} s", CONNECT_TIMEOUT.as_secs()));
                return Err(SendError::Retry { why, after: None });
            }
        };
        let answer = match early {
            Some(answer) => answer,
            None => tokio::time::timeout(self.answer_timeout, asking).await.map_err(|_| {
                let why = told(&format!("no answer within {} s", self.answer_timeout.as_secs()));
                SendError::Doubt { why, was_there: true }
            })?,
        };
        answer.map_err(|error| {
            let why = told(&labstat_model::error_chain(&error));
            if error.is_connect() {
                return SendError::Retry { why, after: None };
            }
            // Who has agreed upon TLS is the receiver or speaks for it.
            SendError::Doubt { why, was_there: uri.scheme_str() == Some("https") }
        })
    }

    /// `text` without this receiver's secrets.
    fn hidden(&self, text: &str, uri: &Uri) -> String {
        let login = self.login.secret();
        let parts = uri.path().split('/').chain(uri.query().unwrap_or_default().split(['&', '=']));
        let parts = parts.filter(|part| part.len() >= PATH_SECRET_LEN_MIN);
        hide(text, login.as_deref().into_iter().chain(parts))
    }
}

/// The place without its path, which may hold a secret.
pub(super) fn place(uri: &Uri) -> String {
    let scheme = uri.scheme_str().unwrap_or_default();
    // What stands before an @ is a login.
    let host = |authority: &str| authority.rsplit('@').next().unwrap_or_default().to_owned();
    format!("{scheme}://{}", uri.authority().map_or_else(String::new, |a| host(a.as_str())))
}

/// Where a redirect leads.
fn moved_to(answer: &Response<Incoming>, from: &Uri) -> Option<String> {
    let is_redirect = matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = answer.headers().get(LOCATION).filter(|_| is_redirect)?;
    let to = Uri::try_from(location.as_bytes()).ok();
    let to = to.filter(|to| to.scheme().is_some() && to.authority().is_some());
    Some(place(to.as_ref().unwrap_or(from)))
}

impl Answer {
    /// Whether it was taken; else an error that says whether to try again.
    pub(super) fn outcome(&self, http: &Http) -> Result<(), SendError> {
        if self.status.is_success() { Ok(()) } else { Err(self.refusal(http, http.uri(), &[])) }
    }

    /// What the answer means, for one that is no success; `secrets` beside the login are not told.
    pub(super) fn refusal(&self, http: &Http, uri: &Uri, secrets: &[String]) -> SendError {
        let status = self.status;
        // The page of a redirect has the whole link in it, and that may hold a secret.
        let said = if self.moved_to.is_some() { String::new() } else { quote(&self.body) };
        let told = format!("{} answered {status}{said}", place(uri));
        let why = hide(&http.hidden(&told, uri), secrets.iter().map(String::as_str));
        let cure = match (status, &self.moved_to) {
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => {
                " (the login is refused: look at the receiver's token, user and password)"
                    .to_owned()
            }
            (_, Some(place)) if *place == self::place(uri) => {
                " (it moved to another path there: write that into the receiver's URL)".to_owned()
            }
            (_, Some(place)) => {
                let place = hide(&http.hidden(place, uri), secrets.iter().map(String::as_str));
                format!(" (it moved to {place}: write that into the receiver's URL)")
            }
            _ => String::new(),
        };
        let why = format!("{why}{cure}");
        if is_about_message(status) {
            SendError::GiveUp(why)
        } else {
            let pause = (!is_passing(status)).then_some(PEOPLE_PAUSE);
            SendError::Retry { why, after: self.retry_after.or(pause) }
        }
    }
}

impl Login {
    fn read(name: &str, files: &LoginFiles<'_>) -> Result<Self, BuildError> {
        Ok(match (files.token_file, files.username, files.password_file) {
            (Some(file), _, _) => Self::Token(Secret::read(name, file)?),
            (None, Some(user), Some(file)) => {
                Self::Password(user.to_owned(), Secret::read(name, file)?)
            }
            _ => Self::None,
        })
    }

    fn secret(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Token(secret) | Self::Password(_, secret) => Some(secret.current()),
        }
    }

    fn header(&self) -> Option<String> {
        let secret = self.secret()?;
        Some(match self {
            Self::Password(user, _) => {
                format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{secret}").as_bytes()))
            }
            _ => format!("Bearer {secret}"),
        })
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

/// `text` as a header can carry it: itself when it is plain ASCII, else encoded words.
pub(super) fn header_text(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    if text.bytes().all(plain) && !text.contains("=?") {
        return text.to_owned();
    }
    let mut words = Vec::new();
    let mut word = String::new();
    for c in text.chars() {
        if word.len() + c.len_utf8() > WORD_LEN_MAX {
            words.push(std::mem::take(&mut word));
        }
        word.push(c);
    }
    words.push(word);
    let words: Vec<String> = words
        .iter()
        .map(|word| format!("=?UTF-8?B?{}?=", BASE64_STANDARD.encode(word.as_bytes())))
        .collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_plain_or_encoded_words() {
        assert_eq!(header_text("sda is failing"), "sda is failing");
        assert_eq!(header_text("45 °C"), "=?UTF-8?B?NDUgwrBD?=");
        let long = header_text(&"ü".repeat(60));
        assert!(long.split(' ').all(|word| word.len() <= 75), "{long}");
        assert!(header_text("=?UTF-8?Q?x?=").starts_with("=?UTF-8?B?"), "no double meaning");
    }

    #[test]
    fn quotes_are_short_and_on_one_line() {
        assert_eq!(quote(b"  a\n b\n"), ": a b");
        assert_eq!(quote(b""), "");
        assert_eq!(quote("x".repeat(999).as_bytes()).len(), QUOTE_LEN_MAX + 2);
    }
}
