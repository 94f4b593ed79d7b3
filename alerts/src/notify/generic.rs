//! Any HTTP interface: method, URL, headers and body are templates over the message, so that labstat
//! need not know Telegram, Discord, Gotify, Pushover or Matrix (`docs/notifications.md` has them).
//!
//! Secrets come from files as `.Secrets.NAME`; whatever is told of a failure is without them.

use std::collections::BTreeMap;
use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, StatusCode, Uri};
use serde::Deserialize;

use super::config::HttpConfig;
use super::context::SILENCE_MS;
use super::http::{Answer, Ask, Http, LoginFiles};
use super::secret::{Secret, hide};
use super::story::{Story, Tone, title};
use super::text::{self, Markup};
use super::{BuildError, Context, SendError, units};
use crate::message::{Message, Reason};
use crate::notification::Notification;
use crate::template::{MessageTemplate, Object};

/// Bytes of an answer that are read.
const ANSWER_LEN_MAX: usize = 16 * 1024;

/// The longest that an answer may ask to be left alone, in seconds.
const RETRY_AFTER_MAX_S: f64 = 86_400.0;

/// Any HTTP interface.
#[derive(Debug)]
pub(super) struct Generic {
    http: Http,
    method: Method,
    url: MessageTemplate,
    headers: Vec<(HeaderName, MessageTemplate)>,
    body: MessageTemplate,
    secrets: BTreeMap<String, Secret>,
    config: HttpConfig,
    external_url: String,
}

impl Generic {
    pub(super) fn build(
        name: &str,
        config: &HttpConfig,
        external_url: &str,
    ) -> Result<Self, BuildError> {
        let problem = |problem: String| BuildError::Config { name: name.to_owned(), problem };
        let template = |what: &str, text: &str| {
            MessageTemplate::parse(what, text).map_err(|error| problem(error.to_string()))
        };
        let login = LoginFiles { token_file: None, username: None, password_file: None };
        let mut headers = Vec::new();
        for (key, value) in &config.headers {
            let key = HeaderName::try_from(key.as_str());
            let key = key.map_err(|_| problem("a header has no valid name".to_owned()))?;
            headers.push((key, template("headers", value)?));
        }
        let mut secrets = BTreeMap::new();
        for (key, file) in &config.secrets {
            secrets.insert(key.clone(), Secret::read(name, file)?);
        }
        let method = Method::from_bytes(config.method.as_bytes());
        let generic = Self {
            http: Http::build(name, "http://unset.invalid", &login, config.ca_file.as_deref())?,
            method: method.map_err(|_| problem("method is none".to_owned()))?,
            url: template("url", &config.url)?,
            headers,
            body: template("body", &config.body)?,
            secrets,
            config: config.clone(),
            external_url: external_url.to_owned(),
        };
        // What does not work for a test would not work for an alert.
        let sample = Message::about(text::test_alert(0), name);
        generic.ask(&sample, &Context::default()).map_err(|error| problem(error.to_string()))?;
        Ok(generic)
    }

    pub(super) async fn send(&self, message: &Message, context: &Context) -> Result<(), SendError> {
        let (uri, headers, body) = self.ask(message, context)?;
        let ask = Ask {
            method: self.method.clone(),
            uri: &uri,
            headers,
            body,
            answer_len_max: ANSWER_LEN_MAX,
        };
        let answer = self.http.ask(ask).await.map_err(|error| self.hidden(error))?;
        self.judge(&answer, &uri)
    }

    fn judge(&self, answer: &Answer, uri: &Uri) -> Result<(), SendError> {
        let status = answer.status;
        let expected = match self.config.success.as_slice() {
            [] => status.is_success(),
            list => list.contains(&status.as_u16()),
        };
        if expected {
            return Ok(());
        }
        let error = self.hidden(answer.refusal(&self.http, uri, &[]));
        let code = status.as_u16();
        Err(match error {
            SendError::GiveUp(why) if self.config.retry.contains(&code) => {
                SendError::Retry { why, after: retry_after(answer) }
            }
            SendError::Retry { why, .. } if self.config.give_up.contains(&code) => {
                SendError::GiveUp(why)
            }
            SendError::Retry { why, after } if status == StatusCode::TOO_MANY_REQUESTS => {
                SendError::Retry { why, after: after.or_else(|| retry_after(answer)) }
            }
            error => error,
        })
    }

    /// The request for a message.
    #[expect(clippy::type_complexity, reason = "the parts of a request")]
    fn ask(
        &self,
        message: &Message,
        context: &Context,
    ) -> Result<(Uri, Vec<(HeaderName, HeaderValue)>, String), SendError> {
        let object = self.object(message, context);
        let fail = |what: &str, error: String| {
            self.hidden(SendError::GiveUp(format!("the template of {what} failed: {error}")))
        };
        let render = |what: &str, template: &MessageTemplate| {
            template.render(&object).map_err(|error| fail(what, error))
        };
        let url = render("url", &self.url)?;
        let uri: Option<Uri> = url.trim().parse().ok();
        let is_http =
            |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
        let uri = uri.filter(is_http);
        let uri = uri.ok_or_else(|| fail("url", "what comes of it is no URL".to_owned()))?;
        let mut headers = Vec::new();
        for (name, template) in &self.headers {
            let what = format!("header {name}");
            let text = render(&what, template)?;
            let mut value = HeaderValue::try_from(text.trim())
                .map_err(|_| fail(&what, "what comes of it is not fit for a header".to_owned()))?;
            value.set_sensitive(true);
            headers.push((name.clone(), value));
        }
        Ok((uri, headers, render("body", &self.body)?))
    }

    /// What templates are rendered over: Alertmanager's data, and more.
    fn object(&self, message: &Message, context: &Context) -> Object {
        let story = Story::of(message, context);
        let mut object = Object::default();
        object.text("Receiver", &message.receiver).text("Status", message.status().as_str());
        object.text("ExternalURL", &self.external_url).text("GroupKey", &message.group_key);
        object.texts("GroupLabels", &message.group_labels);
        object.texts("CommonLabels", &message.common_labels());
        object.texts("CommonAnnotations", &message.common_annotations());
        object.count("TruncatedAlerts", message.alerts_omitted);
        let alerts = message.alerts.iter().map(|alert| alert_object(alert, context));
        object.list("Alerts", alerts.collect());
        object.text("ID", &message.id).text("Thread", &message.thread);
        object.text("Title", &story.title).text("Emoji", story.tone.emoji());
        object.text("Severity", severity(story.tone)).text("Reason", reason(message.reason));
        object.text("Text", text::body(&story, Markup::Plain));
        object.text("Markdown", text::body(&story, Markup::Markdown));
        let links = context.links_for(message);
        let acknowledge = links.and_then(|links| links.acknowledge(message));
        let silence = links.and_then(|links| links.silence(message, SILENCE_MS));
        object.text("AcknowledgeURL", acknowledge.unwrap_or_default());
        object.text("SilenceURL", silence.unwrap_or_default());
        let secrets: BTreeMap<String, String> =
            self.secrets.iter().map(|(name, secret)| (name.clone(), secret.current())).collect();
        object.texts("Secrets", &secrets);
        object
    }

    /// The error without the secrets.
    fn hidden(&self, error: SendError) -> SendError {
        let secrets: Vec<String> = self.secrets.values().map(Secret::current).collect();
        let hide = |why: String| hide(&why, secrets.iter().map(String::as_str));
        match error {
            SendError::Retry { why, after } => SendError::Retry { why: hide(why), after },
            SendError::Doubt { why, was_there } => SendError::Doubt { why: hide(why), was_there },
            SendError::GiveUp(why) => SendError::GiveUp(hide(why)),
        }
    }
}

fn alert_object(alert: &Notification, context: &Context) -> Object {
    let mut object = Object::default();
    object.text("Status", alert.status.as_str()).text("Fingerprint", &alert.fingerprint);
    object.texts("Labels", &alert.labels).texts("Annotations", &alert.annotations);
    object.time("StartsAt", alert.starts_at_ms).float("Value", alert.value);
    object.time("EndsAt", alert.ends_at_ms.unwrap_or(crate::views::NEVER_MS));
    object.text("GeneratorURL", &alert.generator_url);
    object.text("Since", units::time(alert.active_at_ms, &context.zone));
    let lasted = alert.ends_at_ms.map(|end_ms| units::span(end_ms - alert.active_at_ms));
    object.text("Lasted", lasted.unwrap_or_default());
    object.text("Title", title(&Message::about(alert.clone(), "")));
    object
}

fn severity(tone: Tone) -> &'static str {
    match tone {
        Tone::Critical => "critical",
        Tone::Warning | Tone::Plain => "warning",
        Tone::Info => "info",
        Tone::Resolved => "resolved",
    }
}

fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::New => "new",
        Reason::Changed => "changed",
        Reason::Reminder => "reminder",
        Reason::Escalation => "escalation",
        Reason::Resolved => "resolved",
        Reason::Summary => "summary",
        Reason::Test => "test",
    }
}

/// How long the body of an answer asks to be left alone, as Discord and Telegram write it.
fn retry_after(answer: &Answer) -> Option<Duration> {
    #[derive(Deserialize)]
    struct Limits {
        retry_after: Option<f64>,
        parameters: Option<Box<Limits>>,
    }
    let limits: Limits = serde_json::from_slice(&answer.body).ok()?;
    let nested = || limits.parameters.as_ref()?.retry_after;
    let seconds = limits.retry_after.or_else(nested)?;
    Duration::try_from_secs_f64(seconds.clamp(0.0, RETRY_AFTER_MAX_S)).ok()
}

#[cfg(test)]
mod tests {
    use super::super::story::tests::{context, hot, message};
    use super::*;

    fn generic(toml: &str, secret: &str) -> Result<Generic, BuildError> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        std::fs::write(&file, secret).unwrap();
        let toml = format!("{toml}\nsecrets = {{ token = '{}' }}", file.display());
        Generic::build("x", &toml::from_str(&toml).unwrap(), "http://lab")
    }

    #[test]
    fn a_request_is_made_of_templates() {
        let generic = generic(
            "url = 'https://x.test/bot{{ .Secrets.token }}/send?m={{ urlquery .Title }}'\n\
             headers = { X-Severity = '{{ .Severity }}' }\n\
             body = '{\"text\": {{ toJson .Text }}, \"n\": {{ len .Alerts }}}'",
            "12:abcdef",
        )
        .unwrap();
        let message = message(vec![hot()], Reason::New);
        let (uri, headers, body) = generic.ask(&message, &context()).unwrap();
        assert!(uri.to_string().starts_with("https://x.test/bot12:abcdef/send?m=Disk+nvme0"));
        assert_eq!(
            (headers[0].0.as_str(), &headers[0].1.to_str().unwrap()),
            ("x-severity", &"warning")
        );
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert!(body["text"].as_str().unwrap().starts_with("84 °C, limit 80 °C\n"), "{body}");
        assert_eq!(body["n"], 1);
        assert!(
            !format!("{:?}", generic.hidden(SendError::GiveUp("a 12:abcdef".to_owned())))
                .contains("abcdef")
        );
        assert!(!format!("{generic:?}").contains("abcdef"));
    }

    #[test]
    fn what_cannot_work_is_told_at_the_start_and_without_secrets() {
        for (toml, wanted) in [
            ("url = 'https://x.test/{{ nothing }}'", "nothing"),
            ("url = '{{ .Secrets.token }}'", "no URL"),
            ("url = 'http://x'\nbody = '{{ first .CommonLabels }}'", "body"),
            ("url = 'http://x'\nheaders = { A = \"{{ .Secrets.token }}\\nX: 1\" }", "header"),
        ] {
            let error = generic(toml, "s3cret-token").unwrap_err().to_string();
            assert!(error.contains(wanted) && !error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn answers_in_json_say_how_long_to_wait() {
        let after = |body: &str| {
            let body = bytes::Bytes::from(body.to_owned());
            let status = StatusCode::TOO_MANY_REQUESTS;
            retry_after(&Answer { status, retry_after: None, moved_to: None, body, is_whole: true })
        };
        assert_eq!(after(r#"{"retry_after": 1.5}"#), Some(Duration::from_millis(1500)));
        let telegram = r#"{"ok":false,"parameters":{"retry_after":35}}"#;
        assert_eq!(after(telegram), Some(Duration::from_secs(35)));
        for none in ["", "{}", r#"{"retry_after":"x"}"#] {
            assert_eq!(after(none), None, "{none}");
        }
        assert_eq!(after(r#"{"retry_after":1e99}"#), Some(Duration::from_secs(86_400)));
    }
}
