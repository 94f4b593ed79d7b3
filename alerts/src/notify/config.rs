//! Receivers as the configuration has them. In TOML:
//!
//! ```toml
//! [[receivers]]
//! name = "phone"
//! severity = "warning"                    # this and above; without it everything
//! matchers = ['instance=~"vertex|apex"']  # all must match
//! ntfy = { url = "https://ntfy.sh", topic = "my-lab", token_file = "/etc/labstat/ntfy.token" }
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use labstat_model::{METRIC_NAME, Matcher};
use serde::Deserialize;

use super::BuildError;
use crate::delivery::Rate;
use crate::hash::fnv;
use crate::template::MessageTemplate;

/// Bytes of a file with a secret; a longer one is not what was meant.
const SECRET_LEN_MAX: usize = 64 * 1024;

/// One receiver: exactly one of `ntfy`, `email`, `webhook`, `alertmanager` and `http`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiverConfig {
    /// The name, unique among receivers.
    pub name: String,
    /// Only alerts whose labels fulfil all of these, written as in PromQL: `severity="critical"`.
    #[serde(default)]
    pub matchers: Vec<String>,
    /// Only alerts of this severity and above. Alerts without one, or with one that is not known,
    /// are told.
    #[serde(default)]
    pub severity: Option<Severity>,
    /// Whether the end of an alert is told too.
    #[serde(default = "yes")]
    pub send_resolved: bool,
    /// An ntfy topic.
    #[serde(default)]
    pub ntfy: Option<NtfyConfig>,
    /// A mailbox.
    #[serde(default)]
    pub email: Option<EmailConfig>,
    /// A URL that takes Alertmanager's webhook.
    #[serde(default)]
    pub webhook: Option<WebhookConfig>,
    /// Alertmanagers to forward to.
    #[serde(default)]
    pub alertmanager: Option<AlertmanagerConfig>,
    /// Any HTTP interface, by templates.
    #[serde(default)]
    pub http: Option<HttpConfig>,
    /// The most messages within a time, such as `20/10m`; what is beyond comes as one summary.
    #[serde(default)]
    pub rate: Option<Rate>,
}

/// How urgent an alert is, by the label `severity`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Worth a look today.
    Warning,
    /// Worth getting up for.
    Critical,
}

impl Severity {
    /// The severity of a label's value, in the words people use.
    pub fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "info" | "information" | "none" | "low" => Some(Self::Info),
            "warning" | "warn" | "medium" => Some(Self::Warning),
            "critical" | "error" | "page" | "high" | "emergency" => Some(Self::Critical),
            _ => None,
        }
    }
}

/// An ntfy topic.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NtfyConfig {
    /// The server, such as `https://ntfy.sh`.
    pub url: String,
    /// The topic: letters, digits, `-` and `_`, at most 64.
    pub topic: String,
    /// A file with an access token.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// The user, with `password_file`, in place of a token.
    #[serde(default)]
    pub username: Option<String>,
    /// A file with the user's password.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// Tags (or names of emoji) put on every message, beside those labstat sets.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Where a tap leads; without it, to the alert's dashboard, its page of advice or its expression.
    #[serde(default)]
    pub click: Option<String>,
    /// Whether messages are marked up, which ntfy's pages and Android show; other phones show the marks.
    #[serde(default = "yes")]
    pub markdown: bool,
    /// A file with certificates to trust beside the system's, as PEM.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

/// A mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmailConfig {
    /// The mail server's name.
    pub host: String,
    /// The port; without it 587 for STARTTLS, 465 for TLS, 25 for none.
    #[serde(default)]
    pub port: Option<u16>,
    /// How the connection is secured.
    #[serde(default)]
    pub tls: SmtpTls,
    /// The user, when the server wants one.
    #[serde(default)]
    pub username: Option<String>,
    /// A file with the user's password.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// The sender's address.
    pub from: String,
    /// The addresses to send to.
    pub to: Vec<String>,
    /// A file with certificates to trust beside the system's, as PEM.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

/// How a mail connection is secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SmtpTls {
    /// Plain at first, then secured; a server that cannot is refused.
    #[default]
    Starttls,
    /// Secured from the first byte.
    Tls,
    /// Not secured: for a server on this very machine only.
    None,
}

/// A URL that takes Alertmanager's webhook.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// Where to post to.
    pub url: String,
    /// A file with a bearer token.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// The user, with `password_file`, in place of a token.
    #[serde(default)]
    pub username: Option<String>,
    /// A file with the user's password.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// A file with certificates to trust beside the system's, as PEM.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

/// Alertmanagers to forward to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertmanagerConfig {
    /// Where they are, such as `http://alertmanager:9093`: all of a cluster.
    pub urls: Vec<String>,
    /// A file with a bearer token.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// The user, with `password_file`, in place of a token.
    #[serde(default)]
    pub username: Option<String>,
    /// A file with the user's password.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// A file with certificates to trust beside the system's, as PEM.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

/// Any HTTP interface. URL, headers and body are templates over the message.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// Where to.
    pub url: String,
    /// How: `POST` unless said otherwise.
    #[serde(default = "post")]
    pub method: String,
    /// Headers by their names.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body.
    #[serde(default)]
    pub body: String,
    /// Files with secrets, by the names that templates know them by: `.Secrets.NAME`.
    #[serde(default)]
    pub secrets: BTreeMap<String, PathBuf>,
    /// Statuses that say that it was taken; without them all of 200 to 299.
    #[serde(default)]
    pub success: Vec<u16>,
    /// Statuses after which it is tried again, beside those that always mean so (429, 5xx …).
    #[serde(default)]
    pub retry: Vec<u16>,
    /// Statuses after which it is not tried again, beside those that always mean so (400, 413 …).
    #[serde(default)]
    pub give_up: Vec<u16>,
    /// A file with certificates to trust beside the system's, as PEM.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

fn post() -> String {
    "POST".to_owned()
}

fn yes() -> bool {
    true
}

impl ReceiverConfig {
    /// Everything that is wrong with it, without reading any file; empty when it is fine.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.name.is_empty() {
            problems.push("a receiver needs a name".to_owned());
        }
        if let Err(problem) = self.parsed_matchers() {
            problems.push(problem);
        }
        let kinds = [
            self.ntfy.as_ref().map(NtfyConfig::problems),
            self.email.as_ref().map(EmailConfig::problems),
            self.webhook.as_ref().map(WebhookConfig::problems),
            self.alertmanager.as_ref().map(AlertmanagerConfig::problems),
            self.http.as_ref().map(HttpConfig::problems),
        ];
        if kinds.iter().flatten().count() != 1 {
            let kinds = "ntfy, email, webhook, alertmanager and http";
            problems.push(format!("exactly one of {kinds} must be given"));
        }
        problems.extend(kinds.into_iter().flatten().flatten());
        if self.alertmanager.is_some() && !self.send_resolved {
            let why = "an Alertmanager must hear of ends, else what is over goes on there";
            problems.push(format!("send_resolved = false is not for alertmanager: {why}"));
        }
        problems
    }

    /// The most messages within a time: what is `usual` where none is given, and as many as there are
    /// for an Alertmanager, which sums up by itself.
    pub fn rate(&self, usual: Rate) -> Rate {
        let usual = if self.alertmanager.is_some() { Rate::OFF } else { usual };
        self.rate.unwrap_or(usual)
    }

    /// A hash of what a receiver is made of: what stands here, and what the files say that it names.
    pub(super) fn shape(&self) -> u64 {
        let read = |path: &PathBuf| read_file(&self.name, path).unwrap_or_default();
        let text = |path| String::from_utf8_lossy(&read(path)).into_owned();
        let parts: Vec<String> =
            [format!("{self:?}")].into_iter().chain(self.files().into_iter().map(text)).collect();
        fnv(parts.iter().map(String::as_str))
    }

    /// The files with secrets and certificates.
    fn files(&self) -> Vec<&PathBuf> {
        let mut files: Vec<&Option<PathBuf>> = Vec::new();
        if let Some(ntfy) = &self.ntfy {
            files.extend([&ntfy.token_file, &ntfy.password_file, &ntfy.ca_file]);
        }
        if let Some(email) = &self.email {
            files.extend([&email.password_file, &email.ca_file]);
        }
        if let Some(hook) = &self.webhook {
            files.extend([&hook.token_file, &hook.password_file, &hook.ca_file]);
        }
        if let Some(peer) = &self.alertmanager {
            files.extend([&peer.token_file, &peer.password_file, &peer.ca_file]);
        }
        if let Some(http) = &self.http {
            files.push(&http.ca_file);
        }
        let secrets = self.http.iter().flat_map(|http| http.secrets.values());
        files.into_iter().flatten().chain(secrets).collect()
    }

    /// The matchers; the error says which is not one.
    pub fn parsed_matchers(&self) -> Result<Vec<Matcher>, String> {
        // PromQL refuses a selector that could match everything, such as `{a!="b"}`; with a metric
        // name before it, which is dropped again, it cannot.
        const NAME: &str = "alert";
        let mut matchers = Vec::new();
        for text in &self.matchers {
            let parsed = labstat_promql::selector(&format!("{NAME}{{{text}}}"));
            let parsed = parsed.map_err(|error| format!("matcher {text:?}: {error}"))?;
            matchers.extend(parsed.into_iter().filter(|m| m.name() != METRIC_NAME));
        }
        Ok(matchers)
    }
}

impl NtfyConfig {
    fn problems(&self) -> Vec<String> {
        // Words with a meaning of their own in a server's paths.
        const TAKEN: [&str; 10] = [
            "docs", "static", "file", "app", "metrics", "account", "settings", "signup", "login",
            "v1",
        ];
        let mut problems = check_url(&self.url);
        let in_topic = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let topic = &self.topic;
        let sane = (1..=64).contains(&topic.len()) && topic.bytes().all(in_topic);
        if !sane || TAKEN.contains(&topic.as_str()) {
            problems.push(format!("{topic:?} is not a topic (letters, digits, - and _, up to 64)"));
        }
        if self.tags.iter().any(|tag| !is_header_text(tag) || tag.contains(',')) {
            problems.push("tags are ASCII words without commas".to_owned());
        }
        if self.click.as_ref().is_some_and(|click| !is_header_text(click)) {
            problems.push("click is not a URL".to_owned());
        }
        problems.extend(check_logins((&self.token_file, &self.username, &self.password_file)));
        problems
    }
}

impl WebhookConfig {
    fn problems(&self) -> Vec<String> {
        let mut problems = check_url(&self.url);
        problems.extend(check_logins((&self.token_file, &self.username, &self.password_file)));
        problems
    }
}

impl AlertmanagerConfig {
    fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> = self.urls.iter().flat_map(|url| check_url(url)).collect();
        if self.urls.is_empty() {
            problems.push("urls needs at least one URL".to_owned());
        }
        problems.extend(check_logins((&self.token_file, &self.username, &self.password_file)));
        problems
    }
}

impl HttpConfig {
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        // A URL that is a template all through cannot be looked at before it is filled in.
        if !self.url.starts_with("{{") {
            let start = self.url.split("{{").next().unwrap_or_default();
            let start =
                if start.len() < self.url.len() { format!("{start}x") } else { start.to_owned() };
            problems.extend(check_url(&start));
        }
        let is_method =
            |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_uppercase());
        if !is_method(&self.method) {
            problems.push(format!("method {:?} is none, such as \"POST\"", self.method));
        }
        let headers = self.headers.iter().map(|(name, text)| ("headers", name.as_str(), text));
        let both = [("url", "", &self.url), ("body", "", &self.body)];
        for (what, name, text) in both.into_iter().chain(headers) {
            if let Err(error) = MessageTemplate::parse(what, text) {
                problems.push(error.to_string());
            }
            if what == "headers" && hyper::header::HeaderName::try_from(name).is_err() {
                problems.push(format!("{name:?} is no name of a header"));
            }
        }
        for status in self.success.iter().chain(&self.retry).chain(&self.give_up) {
            if !(100..=999).contains(status) {
                problems.push(format!("{status} is no status"));
            }
        }
        if self.retry.iter().any(|status| self.give_up.contains(status)) {
            problems.push("a status cannot be in both retry and give_up".to_owned());
        }
        problems
    }
}

impl EmailConfig {
    fn problems(&self) -> Vec<String> {
        let mut problems = check_login(&self.username, &self.password_file);
        if self.tls == SmtpTls::None && !is_loopback(&self.host) {
            let host = &self.host;
            problems
                .push(format!("tls = \"none\" is for this very machine only, not for {host:?}"));
        }
        if self.to.is_empty() {
            problems.push("to needs at least one address".to_owned());
        }
        for address in self.to.iter().chain([&self.from]) {
            if address.parse::<lettre::message::Mailbox>().is_err() {
                problems.push(format!("{address:?} is not a mail address"));
            }
        }
        problems
    }

    /// The port, by the kind of connection where none is given.
    pub(super) fn port(&self) -> u16 {
        self.port.unwrap_or(match self.tls {
            SmtpTls::Starttls => 587,
            SmtpTls::Tls => 465,
            SmtpTls::None => 25,
        })
    }
}

fn check_url(url: &str) -> Vec<String> {
    let parsed: Option<hyper::Uri> = url.parse().ok();
    let fits = parsed.is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()
    });
    // A URL may hold a secret, in its login, path or query: only its start is quoted.
    let start: String = url.chars().take_while(char::is_ascii_alphanumeric).take(12).collect();
    if fits { Vec::new() } else { vec![format!("\"{start}…\" is not an http or https URL")] }
}

fn check_login(username: &Option<String>, password_file: &Option<PathBuf>) -> Vec<String> {
    if username.is_some() == password_file.is_some() {
        Vec::new()
    } else {
        vec!["username and password_file belong together".to_owned()]
    }
}

type LoginConfig<'a> = (&'a Option<PathBuf>, &'a Option<String>, &'a Option<PathBuf>);

fn check_logins((token_file, username, password_file): LoginConfig<'_>) -> Vec<String> {
    let mut problems = check_login(username, password_file);
    if token_file.is_some() && username.is_some() {
        problems.push("token_file and username exclude each other".to_owned());
    }
    problems
}

fn is_header_text(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
}

fn is_loopback(host: &str) -> bool {
    let address: Option<std::net::IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    host == "localhost" || address.is_some_and(|address| address.is_loopback())
}

/// The secret in a file: its text without the white space around it.
pub(super) fn read_secret(name: &str, path: &Path) -> Result<String, BuildError> {
    let bytes = read_file(name, path)?;
    let text = String::from_utf8(bytes).unwrap_or_default();
    let text = text.trim();
    if text.is_empty() || text.contains(['\n', '\r']) {
        let problem = format!("{} does not hold one line of text", path.display());
        return Err(BuildError::Config { name: name.to_owned(), problem });
    }
    Ok(text.to_owned())
}

/// The bytes of a file that a receiver needs.
pub(super) fn read_file(name: &str, path: &Path) -> Result<Vec<u8>, BuildError> {
    let bytes = std::fs::read(path).map_err(|cause| BuildError::Secret {
        name: name.to_owned(),
        path: path.display().to_string(),
        cause,
    })?;
    if bytes.len() > SECRET_LEN_MAX {
        let problem = format!("{} is over {SECRET_LEN_MAX} bytes", path.display());
        return Err(BuildError::Config { name: name.to_owned(), problem });
    }
    Ok(bytes)
}
