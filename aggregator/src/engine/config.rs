//! What is said of another engine: where it is, how it is asked, how much may wait for it.

use std::path::PathBuf;

use hyper::header::{HeaderName, HeaderValue};
use labstat_model::settings::{
    Problems, Section, Value, duration_within, name, names, path, size_within, text, url,
};

/// The engine that keeps the samples in the store's place, when there is a `url`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineConfig {
    /// Where its Prometheus API is, without `/api/v1/…`; `None` keeps the samples in the store.
    pub url: Option<String>,
    /// Where it takes remote write, when that is not `url` with `/api/v1/write`.
    pub write_url: Option<String>,
    /// How samples are read from it.
    pub read: ReadWay,
    /// The file whose first line is the bearer token that it wants.
    pub token_file: Option<PathBuf>,
    /// The user that it knows us by.
    pub username: Option<String>,
    /// The file whose first line is the user's password.
    pub password_file: Option<PathBuf>,
    /// Headers of every request, such as a tenant's `X-Scope-OrgID`: name and value.
    pub headers: Vec<(String, String)>,
    /// A file with certificates to trust beside the system's, as PEM.
    pub ca_file: Option<PathBuf>,
    /// How long a request may take, in milliseconds.
    pub timeout_ms: i64,
    /// Bytes of writes that may wait for it, compressed. When they are used up, writes are refused
    /// for now (507) and senders keep what they have.
    pub queue_max_bytes: u64,
}

/// How samples are read from another engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadWay {
    /// By the first of the others that it answers to.
    Auto,
    /// `/api/v1/export`, as VictoriaMetrics has it.
    Export,
    /// Prometheus' remote read, `/api/v1/read`; Mimir has it too.
    RemoteRead,
    /// `/api/v1/query`, which all have, but which leaves out the markers that end a series.
    Query,
}

/// The least bound on the queue: room for the largest write, and some.
const QUEUE_MIN_BYTES: u64 = 64 * 1024 * 1024;

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            url: None,
            write_url: None,
            read: ReadWay::Auto,
            token_file: None,
            username: None,
            password_file: None,
            headers: Vec::new(),
            ca_file: None,
            timeout_ms: 60_000,
            // A lab of 5,000 samples a second for a day, at two bytes each.
            queue_max_bytes: 1 << 30,
        }
    }
}

impl EngineConfig {
    pub(crate) fn read(&mut self, engine: &mut Section<'_>, problems: &mut Problems<'_>) {
        engine.take("url", problems, &mut self.url, |value| place(value).map(Some));
        engine.take("write_url", problems, &mut self.write_url, |value| place(value).map(Some));
        engine.take("read", problems, &mut self.read, way);
        engine.take("token_file", problems, &mut self.token_file, |value| path(value).map(Some));
        engine.take("username", problems, &mut self.username, |value| name(value).map(Some));
        engine.take("password_file", problems, &mut self.password_file, |value| {
            path(value).map(Some)
        });
        engine.take("headers", problems, &mut self.headers, headers);
        engine.take("ca_file", problems, &mut self.ca_file, |value| path(value).map(Some));
        engine.take("timeout", problems, &mut self.timeout_ms, |value| {
            duration_within(value, 1_000, 3_600_000)
        });
        engine.take("queue_max", problems, &mut self.queue_max_bytes, |value| {
            size_within(value, QUEUE_MIN_BYTES, 1 << 50)
        });
    }

    /// What does not go together, or is missing, when all has been said: by the file, by the
    /// environment and by arguments.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        if self.url.is_none() {
            let said = *self != Self::default();
            return said.then_some("[engine] has no url");
        }
        if self.token_file.is_some() && (self.username.is_some() || self.password_file.is_some()) {
            return Some("[engine] has either a token_file, or username and password_file");
        }
        (self.username.is_some() != self.password_file.is_some())
            .then_some("username and password_file of [engine] go together")
    }

    /// Where it takes remote write.
    pub(crate) fn write_url(&self) -> Option<String> {
        let usual = || self.url.as_ref().map(|url| format!("{url}/api/v1/write"));
        self.write_url.clone().or_else(usual)
    }
}

/// Reads a URL without a login, which would stand in logs.
fn place(value: &Value<'_>) -> Result<String, String> {
    let url = url(value)?;
    let authority = url.split('/').nth(2).unwrap_or_default();
    if authority.contains('@') {
        return Err("a login stands in username and password_file, not in the URL".to_owned());
    }
    if url.contains(['?', '#']) || url.parse::<hyper::Uri>().is_err() {
        return Err(format!("expected a URL such as http://victoria:8428, found {url:?}"));
    }
    Ok(url)
}

fn way(value: &Value<'_>) -> Result<ReadWay, String> {
    match text(value)? {
        "auto" => Ok(ReadWay::Auto),
        "export" => Ok(ReadWay::Export),
        "remote-read" => Ok(ReadWay::RemoteRead),
        "query" => Ok(ReadWay::Query),
        other => Err(format!("expected auto, export, remote-read or query, found {other:?}")),
    }
}

fn headers(value: &Value<'_>) -> Result<Vec<(String, String)>, String> {
    let header = |line: String| {
        let wrong = || format!("expected a header such as X-Scope-OrgID: lab, found {line:?}");
        let (name, value) = line.split_once(':').ok_or_else(wrong)?;
        let (name, value) = (name.trim(), value.trim());
        let fits = HeaderName::try_from(name).is_ok() && HeaderValue::try_from(value).is_ok();
        if fits { Ok((name.to_owned(), value.to_owned())) } else { Err(wrong()) }
    };
    names(value)?.into_iter().map(header).collect()
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn each_key_is_checked_with_its_line() {
        let text = "[engine]\nurl = \"http://me:secret@victoria:8428\"\nwrite_url = \"victoria\"\n\
                    read = \"sql\"\nheaders = [\"X-Scope-OrgID lab\"]\nqueue_max = \"1MiB\"\n\
                    timeout = \"1ms\"\n";
        let problems = Config::check(text);
        let lines: Vec<usize> = problems.iter().map(|problem| problem.line).collect();
        assert_eq!(lines, [2, 3, 4, 5, 6, 7], "{problems:#?}");
        assert!(!format!("{problems:?}").contains("secret"), "no login in a message");
    }

    #[test]
    fn what_does_not_go_together_is_said() {
        let check = |text: &str| {
            let problems = Config::check(&format!("retention = \"1y\"\n[engine]\n{text}"));
            problems.first().map(ToString::to_string).unwrap_or_default()
        };
        let url = "url = \"http://victoria:8428/\"\n";
        assert_eq!(check(""), "");
        assert_eq!(check(url), "");
        assert_eq!(check("token_file = \"/t\""), "line 2: [engine] has no url");
        let both = format!("{url}token_file = \"/t\"\nusername = \"me\"\npassword_file = \"/p\"");
        assert!(check(&both).starts_with("line 2: [engine] has either"), "{}", check(&both));
        let half = format!("{url}username = \"me\"");
        assert!(check(&half).contains("go together"), "{}", check(&half));
    }

    #[test]
    fn writes_go_below_the_url_unless_said_otherwise() {
        let engine = |text: &str| Config::parse(&format!("[engine]\n{text}")).unwrap().engine;
        let usual = engine("url = \"http://victoria:8428/\"\n");
        assert_eq!(usual.write_url().unwrap(), "http://victoria:8428/api/v1/write");
        let other = engine(
            "url = \"http://mimir/prometheus\"\nwrite_url = \"http://mimir/api/v1/push\"\n\
             headers = [\"X-Scope-OrgID: lab\"]",
        );
        assert_eq!(other.write_url().unwrap(), "http://mimir/api/v1/push");
        assert_eq!(other.headers, [("X-Scope-OrgID".to_owned(), "lab".to_owned())]);
    }
}
