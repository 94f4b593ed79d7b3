//! ntfy: one POST to a topic, the rest in headers.
//!
//! Titles that are not ASCII are written as RFC 2047 encoded words, which ntfy decodes; the body is
//! plain UTF-8, or a little Markdown, and is cut at the server's limit, since a longer one would
//! become an attachment. All messages of a thread have one sequence, so that the phone shows them in
//! one place (ntfy 2.16; older servers take no notice).
//!
//! A message is known by a mark at the end of its link, so that the topic can be asked whether it
//! has arrived.

use std::time::Duration;

use hyper::{Method, StatusCode, Uri};
use serde::{Deserialize, Serialize};

use super::config::NtfyConfig;
use super::context::SILENCE_MS;
use super::http::{Answer, Ask, Headers, Http, LoginFiles, header_text};
use super::story::{Story, Tone, is_link};
use super::text::{self, Markup};
use super::{Arrival, BuildError, Context, PROMPT_TIMEOUT, SendError};
use crate::hash::fnv;
use crate::message::{Message, Reason};
use crate::notification::Status;

/// Bytes of a message; a longer one becomes an attachment, or is refused.
const MESSAGE_LEN_MAX: usize = 4096;

/// Bytes of a message that was refused for its length: a proxy may allow less than ntfy does.
const MESSAGE_LEN_SHORT: usize = 1000;

/// Bytes of a title: what a lock screen shows many times over.
const TITLE_LEN_MAX: usize = 250;

/// Bytes of a link. Servers and proxies refuse requests with long headers; the message matters more.
const CLICK_LEN_MAX: usize = 2_000;

/// Bytes of all buttons together, likewise.
const ACTIONS_LEN_MAX: usize = 3_500;

/// Bytes of a topic's cache that are looked through. A lab's day is far below.
const CACHE_LEN_MAX: usize = 2 * 1024 * 1024;

/// How far the server's clock may be behind ours, in seconds, when it is asked what came lately.
const CLOCK_SLACK_S: i64 = 600;

/// How long to wait when the day's messages are used up: the count begins anew at midnight, UTC.
const QUOTA_PAUSE: Duration = Duration::from_secs(3600);

/// ntfy's code for "you have sent as many as you may today".
const QUOTA_CODE: u32 = 42_908;

/// ntfy's code for "too long, and attachments are off".
const TOO_LONG_CODE: u32 = 40_014;

/// What stands before a message's mark in its link.
const MARK: &str = "#labstat-";

/// An ntfy topic.
#[derive(Debug)]
pub(super) struct Ntfy {
    http: Http,
    poll: String,
    tags: Vec<String>,
    click: Option<String>,
    markup: Markup,
    has_links: bool,
}

/// A button.
#[derive(Debug, Serialize)]
struct Action {
    action: &'static str,
    label: String,
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'static str>,
    /// Whether the notification goes away with it.
    clear: bool,
}

impl Ntfy {
    pub(super) fn build(
        name: &str,
        config: &NtfyConfig,
        external_url: &str,
    ) -> Result<Self, BuildError> {
        let url = format!("{}/{}", config.url.trim_end_matches('/'), config.topic);
        let login = LoginFiles {
            token_file: config.token_file.as_deref(),
            username: config.username.as_deref(),
            password_file: config.password_file.as_deref(),
        };
        Ok(Self {
            http: Http::build(name, &url, &login, config.ca_file.as_deref())?
                .within(PROMPT_TIMEOUT),
            poll: format!("{url}/json?poll=1&since="),
            tags: config.tags.clone(),
            click: config.click.clone(),
            markup: if config.markdown { Markup::Markdown } else { Markup::Plain },
            has_links: !external_url.is_empty(),
        })
    }

    pub(super) async fn send(&self, message: &Message, context: &Context) -> Result<(), SendError> {
        let story = Story::of(message, context);
        let body = text::cut(&text::body(&story, self.markup), MESSAGE_LEN_MAX);
        let answer = self.http.post(self.headers(message, context), body).await?;
        if !is_too_long(&answer) {
            return self.judge(&answer);
        }
        let body = text::cut(&text::body(&story, Markup::Plain), MESSAGE_LEN_SHORT);
        let mut headers = self.headers(message, context);
        headers.retain(|(name, _)| *name != "actions" && *name != "markdown");
        self.judge(&self.http.post(headers, body).await?)
    }

    fn judge(&self, answer: &Answer) -> Result<(), SendError> {
        match answer.outcome(&self.http) {
            Err(SendError::Retry { why, after: None }) if code(answer) == Some(QUOTA_CODE) => {
                Err(SendError::Retry { why, after: Some(QUOTA_PAUSE) })
            }
            outcome => outcome,
        }
    }

    /// Looks for the message among those that the server keeps, for twelve hours as it comes.
    pub(super) async fn was_delivered(&self, message: &Message) -> Arrival {
        let since = message.created_ms.div_euclid(1000) - CLOCK_SLACK_S;
        let Ok(uri) = format!("{}{}", self.poll, since.max(1)).parse::<Uri>() else {
            return Arrival::Unknowable;
        };
        let ask = Ask {
            method: Method::GET,
            uri: &uri,
            headers: Vec::new(),
            body: String::new(),
            answer_len_max: CACHE_LEN_MAX,
        };
        let Ok(answer) = self.http.ask(ask).await else { return Arrival::Unanswered };
        match answer.status {
            StatusCode::OK => {}
            // Who may write may not always read.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => {
                return Arrival::Unknowable;
            }
            _ => return Arrival::Unanswered,
        }
        let text = String::from_utf8_lossy(&answer.body);
        let title = text::cut(&super::story::title(message), TITLE_LEN_MAX);
        let is_it = |line: &str| {
            serde_json::from_str(line).is_ok_and(|kept: Kept| kept.is(message, &title))
        };
        match text.lines().any(is_it) {
            true => Arrival::There,
            false if answer.is_whole => Arrival::Missing,
            // What is not in a part of an answer may be in the rest.
            false => Arrival::Unanswered,
        }
    }

    fn headers(&self, message: &Message, context: &Context) -> Headers {
        let title = text::cut(&super::story::title(message), TITLE_LEN_MAX);
        let tone = Tone::of_message(message);
        let mut tags = self.tags.clone();
        tags.push(tag(message.reason, tone).to_owned());
        let mut headers = vec![
            ("title", header_text(&title)),
            ("priority", priority(message.reason, tone).to_string()),
            ("tags", tags.join(",")),
            ("x-sequence-id", sequence(message)),
            ("idempotency-key", header_text(&message.id)),
        ];
        if self.markup == Markup::Markdown {
            headers.push(("markdown", "yes".to_owned()));
        }
        if let Some(click) = self.click(message) {
            headers.push(("click", marked(&click, message)));
        }
        let actions = actions(message, context);
        if let Ok(json) = serde_json::to_string(&actions)
            && !actions.is_empty()
            && json.len() <= ACTIONS_LEN_MAX
        {
            headers.push(("actions", header_text(&json)));
        }
        headers
    }

    /// Where a tap leads: to what is configured, else to the alert's dashboard, its page of advice
    /// or its expression.
    fn click(&self, message: &Message) -> Option<String> {
        if let Some(click) = &self.click {
            return Some(click.clone());
        }
        let alert = message.lead()?;
        let annotations = ["dashboard_url", "runbook_url"].map(|name| alert.annotation(name));
        let own = Some(alert.generator_url.as_str()).filter(|_| self.has_links);
        let mut urls = annotations.into_iter().chain([own]).flatten();
        let fits = |url: &&str| is_link(url) && url.len() <= CLICK_LEN_MAX;
        urls.find(fits).map(str::to_owned)
    }
}

/// A message as the server keeps it.
#[derive(Debug, Deserialize)]
struct Kept {
    #[serde(default)]
    time: i64,
    #[serde(default)]
    title: String,
    #[serde(default)]
    click: String,
    #[serde(default)]
    sequence_id: String,
}

impl Kept {
    fn is(&self, message: &Message, title: &str) -> bool {
        if self.click.contains(MARK) {
            return self.click.ends_with(&mark(message));
        }
        // One whose link has no room for a mark is known by its words and its time.
        let is_new = self.time.saturating_mul(1000) >= message.created_ms.saturating_sub(10_000);
        self.title == title && self.sequence_id == sequence(message) && is_new
    }
}

fn mark(message: &Message) -> String {
    format!("{MARK}{:016x}", fnv([message.id.as_str()]))
}

/// The link with the mark, unless it has a fragment of its own.
fn marked(url: &str, message: &Message) -> String {
    if url.contains('#') { url.to_owned() } else { format!("{url}{}", mark(message)) }
}

/// What a phone shows in one place.
fn sequence(message: &Message) -> String {
    format!("labstat-{:016x}", fnv([message.thread.as_str()]))
}

/// At most three buttons, as ntfy has it.
fn actions(message: &Message, context: &Context) -> Vec<Action> {
    let post = |label: String, url: String| Action {
        action: "http",
        label,
        url,
        method: Some("POST"),
        clear: true,
    };
    let mut actions = Vec::new();
    if let Some(links) = context.links_for(message) {
        let acknowledge = links.acknowledge(message);
        actions.extend(acknowledge.map(|url| post("Acknowledge".to_owned(), url)));
        let hours = SILENCE_MS / 3_600_000;
        let silence = links.silence(message, SILENCE_MS);
        actions.extend(silence.map(|url| post(format!("Silence {hours} h"), url)));
    }
    let firing = message.lead().filter(|alert| alert.status == Status::Firing);
    let runbook = firing.and_then(|alert| alert.annotation("runbook_url"));
    let runbook = runbook.filter(|url| is_link(url) && url.len() <= CLICK_LEN_MAX);
    actions.extend(runbook.map(|url| Action {
        action: "view",
        label: "What to do".to_owned(),
        url: url.to_owned(),
        method: None,
        clear: false,
    }));
    actions
}

/// ntfy's own code for an error.
fn code(answer: &Answer) -> Option<u32> {
    #[derive(Deserialize)]
    struct Error {
        code: u32,
    }
    serde_json::from_slice(&answer.body).ok().map(|error: Error| error.code)
}

fn is_too_long(answer: &Answer) -> bool {
    let by_status = [
        StatusCode::PAYLOAD_TOO_LARGE,
        StatusCode::URI_TOO_LONG,
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    ];
    by_status.contains(&answer.status) || code(answer) == Some(TOO_LONG_CODE)
}

/// ntfy's priorities: 1 to 5, 3 is the ordinary one. Neither the end of an alert nor a reminder
/// wakes anybody; what nobody has acknowledged does.
fn priority(reason: Reason, tone: Tone) -> u8 {
    match (reason, tone) {
        (_, Tone::Resolved) | (Reason::Reminder | Reason::Test, _) => 3,
        (Reason::Escalation, _) | (_, Tone::Critical) => 5,
        (_, Tone::Warning) => 4,
        (_, Tone::Info | Tone::Plain) => 3,
    }
}

/// The emoji beside the title.
fn tag(reason: Reason, tone: Tone) -> &'static str {
    match (reason, tone) {
        (Reason::Test, _) => "test_tube",
        (_, Tone::Resolved) => "white_check_mark",
        (_, Tone::Critical) => "rotating_light",
        (_, Tone::Info) => "information_source",
        (_, Tone::Warning | Tone::Plain) => "warning",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::story::tests::{context, hot, message, over};
    use super::*;
    use crate::notify::Links;

    fn ntfy(more: &str) -> Ntfy {
        let text = format!("url = 'http://127.0.0.1'\ntopic = 'lab'\n{more}");
        let config: NtfyConfig = toml::from_str(&text).unwrap();
        Ntfy::build("phone", &config, "http://lab").unwrap()
    }

    fn header(headers: &Headers, name: &str) -> Option<String> {
        headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
    }

    struct Signed;

    impl Links for Signed {
        fn acknowledge(&self, message: &Message) -> Option<String> {
            Some(format!("http://lab/ack/{}", message.thread))
        }

        fn silence(&self, _: &Message, duration_ms: i64) -> Option<String> {
            Some(format!("http://lab/silence/{duration_ms}"))
        }
    }

    #[test]
    fn nothing_in_an_alert_makes_another_header_or_a_long_one() {
        let mut alert = hot();
        alert.annotations.clear();
        let summary = "a\r\nX-Evil: 1\r\n\r\nbody\u{7}".to_owned();
        alert.annotations.insert("summary".to_owned(), summary);
        alert.annotations.insert("runbook_url".to_owned(), "http://x\r\nX-Evil: 1".to_owned());
        alert.generator_url = format!("http://{}", "x".repeat(9_000));
        let mut message = message(vec![alert], Reason::New);
        message.id = "a\r\nb".to_owned();
        let headers = ntfy("").headers(&message, &context());
        assert!(headers.iter().all(|(_, value)| {
            value.len() < 2_000 && value.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
        }));
        assert_eq!(header(&headers, "click"), None);
        assert_eq!(header(&headers, "actions"), None);
    }

    #[test]
    fn urgency_follows_severity_reason_and_status() {
        for (reason, tone, wanted) in [
            (Reason::New, Tone::Critical, 5),
            (Reason::New, Tone::Warning, 4),
            (Reason::Changed, Tone::Info, 3),
            (Reason::New, Tone::Plain, 3),
            (Reason::Reminder, Tone::Critical, 3),
            (Reason::Escalation, Tone::Warning, 5),
            (Reason::Resolved, Tone::Resolved, 3),
            (Reason::Test, Tone::Critical, 3),
        ] {
            assert_eq!(priority(reason, tone), wanted, "{reason:?} {tone:?}");
        }
    }

    #[test]
    fn buttons_act_on_what_fires_and_on_nothing_else() {
        let mut context = context();
        context.links = Some(Arc::new(Signed));
        let labels = |message: &Message| -> Vec<String> {
            actions(message, &context).into_iter().map(|action| action.label).collect()
        };
        let firing = message(vec![hot()], Reason::New);
        assert_eq!(labels(&firing), ["Acknowledge", "Silence 4 h", "What to do"]);
        let json = header(&ntfy("").headers(&firing, &context), "actions").unwrap();
        assert!(json.contains(r#""url":"http://lab/silence/14400000","method":"POST""#), "{json}");
        assert_eq!(labels(&message(vec![over(hot())], Reason::Resolved)), [""; 0]);
        let summary = message(vec![hot()], Reason::Summary);
        assert_eq!(labels(&summary), ["What to do"], "it has no thread that links could act on");
    }

    #[test]
    fn a_tap_leads_to_the_best_page_there_is() {
        let mut alert = hot();
        let click = |ntfy: &Ntfy, alert: &crate::Notification| {
            ntfy.click(&message(vec![alert.clone()], Reason::New)).unwrap()
        };
        assert_eq!(click(&ntfy("click = 'http://own'"), &alert), "http://own");
        assert_eq!(click(&ntfy(""), &alert), "http://lab:5227/runbooks/DiskTooHot");
        alert.annotations.insert("dashboard_url".to_owned(), "https://grafana/d/1".to_owned());
        assert_eq!(click(&ntfy(""), &alert), "https://grafana/d/1");
        alert.annotations.clear();
        assert!(click(&ntfy(""), &alert).starts_with("http://lab:5227/graph?"));
    }

    #[test]
    fn a_kept_message_is_known_by_its_mark_else_by_its_words() {
        let message = message(vec![hot()], Reason::New);
        let kept = |click: &str, title: &str, time: i64| Kept {
            time,
            title: title.to_owned(),
            click: click.to_owned(),
            sequence_id: sequence(&message),
        };
        let now = message.created_ms / 1000;
        assert!(kept(&marked("http://x", &message), "other", 0).is(&message, "t"));
        let other = Message { id: "other".to_owned(), ..message.clone() };
        assert!(!kept(&marked("http://x", &other), "t", now).is(&message, "t"));
        assert!(kept("http://x#own", "t", now).is(&message, "t"));
        assert!(!kept("http://x#own", "u", now).is(&message, "t"));
        assert!(!kept("http://x#own", "t", now - 60).is(&message, "t"));
    }
}
