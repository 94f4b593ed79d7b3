//! The client of a Prometheus API: labstat's aggregator, or any server that speaks it.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::{Method, Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::answer::{Answer, AnswerError};
use crate::failure::Failure;

/// Where `labstat up` and `labstat aggregator` listen when nobody says otherwise.
pub(crate) const DEFAULT_SERVER: &str = "http://127.0.0.1:5227";

/// A server gives up on a query after two minutes; a little longer tells its reason from ours.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(130);

/// A server that is up takes a connection in milliseconds, one behind a slow link in a second.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of one answer: 11,000 points of hundreds of series fit.
const ANSWER_LEN_MAX: usize = 256 * 1024 * 1024;

/// Media types of what we send.
const FORM: &str = "application/x-www-form-urlencoded";
/// See [`FORM`].
const JSON: &str = "application/json";

/// Bytes of an error's text that are shown; a proxy's error page is longer than anyone reads.
const REASON_LEN_MAX: usize = 300;

/// Which server to ask, and how.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct ServerArgs {
    /// The aggregator to ask (any server with the Prometheus API will do)
    #[arg(long, value_name = "URL", env = "LABSTAT_SERVER", hide_env_values = true, default_value = DEFAULT_SERVER)]
    pub(crate) server: String,

    /// File that holds the bearer token, where the server wants one
    #[arg(long, value_name = "FILE", env = "LABSTAT_TOKEN_FILE", hide_env_values = true)]
    pub(crate) token_file: Option<PathBuf>,
}

/// A connection to one server, kept open between questions.
pub(crate) struct Client {
    http: Http,
    base: String,
    token: Option<String>,
}

/// Plain HTTP does not load the machine's certificates, which takes longer than a local query.
enum Http {
    Plain(Pool<HttpConnector, Full<Bytes>>),
    Tls(Pool<HttpsConnector<HttpConnector>, Full<Bytes>>),
}

/// The envelope of every answer of the Prometheus API.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    status: String,
    #[serde(default)]
    data: serde_json::Value,
    #[serde(default)]
    error_type: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(default)]
    infos: Vec<String>,
}

/// What a question was answered with, before it is taken apart.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The `data` of the envelope.
    pub(crate) data: serde_json::Value,
    /// What the server wants people to know about the answer.
    pub(crate) remarks: Vec<String>,
}

impl Client {
    /// A client of the server that `args` name. Reads the token; connects to nothing yet.
    pub(crate) fn new(args: &ServerArgs) -> Result<Self, Failure> {
        let base = args.server.trim_end_matches('/').to_owned();
        let http = match base.split_once("://") {
            Some(("http", _)) => Http::Plain(pool(connector())),
            Some(("https", _)) => Http::Tls(pool(tls(connector())?)),
            _ => {
                return Err(Failure::new(format!("not a server URL: {base:?}"))
                    .cure(format!("write it with its scheme, as in {DEFAULT_SERVER}")));
            }
        };
        let token = args.token_file.as_deref().map(read_token).transpose()?;
        Ok(Self { http, base, token })
    }

    /// The server's URL, without a slash at its end.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// An instant query, now on the server's clock or at `time_ms`.
    pub(crate) async fn instant(
        &self,
        query: &str,
        time_ms: Option<i64>,
    ) -> Result<Reply, Failure> {
        let mut form = vec![("query", query.to_owned())];
        form.extend(time_ms.map(|ms| ("time", seconds(ms))));
        self.ask(Method::POST, "/api/v1/query", &form).await
    }

    /// A range query; all in milliseconds, both ends included.
    pub(crate) async fn range(
        &self,
        query: &str,
        (start_ms, end_ms): (i64, i64),
        step_ms: i64,
    ) -> Result<Reply, Failure> {
        let form = [
            ("query", query.to_owned()),
            ("start", seconds(start_ms)),
            ("end", seconds(end_ms)),
            ("step", seconds(step_ms)),
        ];
        self.ask(Method::POST, "/api/v1/query_range", &form).await
    }

    /// A GET of a path of the API.
    pub(crate) async fn get(&self, path: &str) -> Result<Reply, Failure> {
        self.ask(Method::GET, path, &[]).await
    }

    /// A POST that takes as long as what it asks for.
    pub(crate) async fn post(&self, path: &str, timeout: Duration) -> Result<Reply, Failure> {
        self.ask_within(timeout, Method::POST, path, &[]).await
    }

    /// A POST of a form.
    pub(crate) async fn post_form(
        &self,
        path: &str,
        form: &[(&str, String)],
    ) -> Result<Reply, Failure> {
        self.ask(Method::POST, path, form).await
    }

    /// A DELETE of a path of the API.
    pub(crate) async fn delete(&self, path: &str) -> Result<Reply, Failure> {
        self.ask(Method::DELETE, path, &[]).await
    }

    /// A request of the Alertmanager API, with `body` as JSON where there is one. Its answers have
    /// no envelope, and its errors are a text, or a code with a text. `None` is for what is not there.
    pub(crate) async fn v2<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> Result<Option<T>, Failure> {
        let body = body.map(|body| (JSON, body.to_string()));
        let sent = tokio::time::timeout(ANSWER_TIMEOUT, self.send_body(method, path, body)).await;
        let (status, body) = sent.map_err(|_| self.silent(ANSWER_TIMEOUT))??;
        if status == StatusCode::NOT_FOUND
            && (body.is_empty() || serde_json::from_slice::<String>(&body).is_ok())
        {
            return Ok(None);
        }
        if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
            return Err(self.unauthorized(status));
        }
        if !status.is_success() {
            let reason = refusal(&body).unwrap_or_else(|| {
                String::from_utf8_lossy(&body).trim().chars().take(REASON_LEN_MAX).collect()
            });
            let reason = crate::table::printable(&reason);
            return Err(Failure::new(format!("{} answered {status}: {reason}", self.base)));
        }
        // Where nothing is said, nothing was to be said.
        let body = if body.is_empty() { &b"null"[..] } else { &body };
        serde_json::from_slice(body).map(Some).map_err(|error| {
            Failure::new(format!("{} does not speak the Alertmanager API", self.base))
                .because(&error)
                .cure("is that the address of an aggregator?")
        })
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        form: &[(&str, String)],
    ) -> Result<Reply, Failure> {
        self.ask_within(ANSWER_TIMEOUT, method, path, form).await
    }

    async fn ask_within(
        &self,
        timeout: Duration,
        method: Method,
        path: &str,
        form: &[(&str, String)],
    ) -> Result<Reply, Failure> {
        match tokio::time::timeout(timeout, self.send(method, path, form)).await {
            Ok(answer) => answer.and_then(|(status, body)| self.open(status, &body)),
            Err(_) => Err(self.silent(timeout)),
        }
    }

    fn silent(&self, timeout: Duration) -> Failure {
        Failure::new(format!("no answer from {} in {} s", self.base, timeout.as_secs()))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        form: &[(&str, String)],
    ) -> Result<(StatusCode, Bytes), Failure> {
        let text = || form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let body = (!form.is_empty()).then(|| (FORM, text()));
        self.send_body(method, path, body).await
    }

    async fn send_body(
        &self,
        method: Method,
        path: &str,
        body: Option<(&'static str, String)>,
    ) -> Result<(StatusCode, Bytes), Failure> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        let (kind, body) = body.unwrap_or_default();
        if !kind.is_empty() {
            request = request.header(CONTENT_TYPE, kind);
        }
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(|error| {
            Failure::new(format!("not a server URL: {:?}", self.base)).because(&error)
        })?;
        let answer = match &self.http {
            Http::Plain(pool) => pool.request(request).await,
            Http::Tls(pool) => pool.request(request).await,
        };
        let answer = answer.map_err(|error| self.unreachable(&error))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_LEN_MAX).collect().await;
        let body = body.map_err(|error| {
            Failure::new(format!("failed to read the answer of {}", self.base)).because(&*error)
        })?;
        Ok((status, body.to_bytes()))
    }

    fn unreachable(&self, error: &(dyn Error + 'static)) -> Failure {
        let failure = Failure::new(format!("failed to reach {}", self.base));
        // hyper's own words ("client error (Connect)") say less than the innermost cause.
        let mut cause = error;
        while let Some(next) = cause.source() {
            cause = next;
        }
        failure.because(cause).cure(
            "is it running? `labstat up` starts one here; --server URL or LABSTAT_SERVER names another",
        )
    }

    fn unauthorized(&self, status: StatusCode) -> Failure {
        let failure = Failure::new(format!("{} refused us: {status}", self.base));
        failure.cure(match self.token {
            Some(_) => "the token of --token-file (LABSTAT_TOKEN_FILE) is not the one it wants",
            None => "name the file that holds its bearer token with --token-file",
        })
    }

    fn open(&self, status: StatusCode, body: &[u8]) -> Result<Reply, Failure> {
        let envelope: Result<Envelope, _> = serde_json::from_slice(body);
        match (status, envelope) {
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => Err(self.unauthorized(status)),
            (_, Ok(envelope)) if envelope.status == "success" => {
                let mut remarks = envelope.warnings;
                remarks.extend(envelope.infos);
                Ok(Reply { data: envelope.data, remarks })
            }
            (_, Ok(envelope)) => Err(Failure::new(format!(
                "{} refused the question: {}: {}",
                self.base, envelope.error_type, envelope.error
            ))),
            (status, Err(_)) if !status.is_success() => {
                let reason: String =
                    String::from_utf8_lossy(body).trim().chars().take(REASON_LEN_MAX).collect();
                let what = format!("{} answered {status}", self.base);
                let failure = Failure::new(if reason.is_empty() {
                    what
                } else {
                    format!("{what}: {}", crate::table::printable(&reason))
                });
                Err(failure.cure("is that the address of an aggregator?"))
            }
            (_, Err(error)) => {
                Err(Failure::new(format!("{} does not speak the Prometheus API", self.base))
                    .because(&error)
                    .cure("is that the address of an aggregator?"))
            }
        }
    }
}

impl Reply {
    /// The answer of a query.
    pub(crate) fn answer(&self, server: &str) -> Result<Answer, Failure> {
        Answer::read(&self.data).map_err(|error: AnswerError| {
            Failure::new(format!("{server} gave an answer we cannot read")).because(&error)
        })
    }
}

/// What an error of the Alertmanager API says: a text, or a code with one.
fn refusal(body: &[u8]) -> Option<String> {
    let error: serde_json::Value = serde_json::from_slice(body).ok()?;
    error.as_str().or_else(|| error.get("message")?.as_str()).map(str::to_owned)
}

/// `text` as a part of a URL's path.
pub(crate) fn path_part(text: &str) -> String {
    // A form has `+` for a blank, a path has not.
    form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector
}

fn tls(connector: HttpConnector) -> Result<HttpsConnector<HttpConnector>, Failure> {
    let builder = HttpsConnectorBuilder::new().with_native_roots().map_err(|error| {
        Failure::new("failed to load this machine's certificates")
            .because(&error)
            .cure("install the package ca-certificates")
    })?;
    Ok(builder.https_only().enable_http1().wrap_connector(connector))
}

fn pool<C>(connector: C) -> Pool<C, Full<Bytes>>
where
    C: hyper_util::client::legacy::connect::Connect + Clone,
{
    Pool::builder(TokioExecutor::new()).build(connector)
}

/// The token in `file`: its text without the white space around it.
pub(crate) fn read_token(file: &Path) -> Result<String, Failure> {
    let what = || format!("failed to read the token file {}", file.display());
    let text = std::fs::read_to_string(file).map_err(|e| Failure::new(what()).because(&e))?;
    let token = text.trim();
    if token.is_empty() || token.contains(char::is_whitespace) {
        return Err(Failure::new(format!("{}: it must hold one token and nothing else", what())));
    }
    Ok(token.to_owned())
}

/// Milliseconds as the decimal seconds of the API.
fn seconds(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    let size = ms.unsigned_abs();
    format!("{sign}{}.{:03}", size / 1000, size % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_decimal_seconds() {
        assert_eq!(seconds(1_763_703_836_250), "1763703836.250");
        assert_eq!(seconds(-1_500), "-1.500");
        assert_eq!(seconds(0), "0.000");
    }

    #[test]
    fn names_of_disks_are_parts_of_paths() {
        assert_eq!(path_part("S1 2+3"), "S1%202%2B3");
        assert_eq!(path_part("nas/sda"), "nas%2Fsda");
    }

    #[test]
    fn errors_of_the_alertmanager_api_have_two_shapes() {
        assert_eq!(refusal(b"\"silence not found\"\n").as_deref(), Some("silence not found"));
        let coded = br#"{"code":602,"message":"comment in body is required"}"#;
        assert_eq!(refusal(coded).as_deref(), Some("comment in body is required"));
        assert_eq!(refusal(b"404 page not found"), None);
    }

    #[test]
    fn a_url_needs_its_scheme() {
        let args = ServerArgs { server: "nas:5227".into(), token_file: None };
        let text = Client::new(&args).err().and_then(|failure| failure.text()).unwrap();
        assert!(text.contains("not a server URL: \"nas:5227\""), "{text}");
    }

    #[test]
    fn a_token_is_one_word() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, "  s3cret\n").unwrap();
        assert_eq!(read_token(&file).unwrap(), "s3cret");
        std::fs::write(&file, "two words").unwrap();
        assert!(read_token(&file).is_err());
        std::fs::write(&file, "\n").unwrap();
        assert!(read_token(&file).is_err());
    }
}
