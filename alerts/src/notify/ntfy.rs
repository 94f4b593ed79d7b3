//! ntfy: one POST to a topic, the rest in headers.
//!
//! Titles that are not ASCII are written as RFC 2047 encoded words, which ntfy decodes; the body is
//! plain UTF-8 and is cut at the server's limit, since a longer one would become an attachment.

use jiff::tz::TimeZone;

use super::config::{NtfyConfig, Severity};
use super::http::{Headers, Login, Post, base64};
use super::{BuildError, SendError, text};
use crate::notification::{Notification, Status};

/// Bytes of a message; a longer one becomes an attachment, or is refused.
const MESSAGE_LEN_MAX: usize = 4096;

/// Bytes of a title: what a lock screen shows many times over.
const TITLE_LEN_MAX: usize = 250;

/// Bytes of a link. Servers and proxies refuse requests with long headers; the message matters more.
const CLICK_LEN_MAX: usize = 2_000;

/// Bytes of text in one encoded word, so that with its frame it stays below RFC 2047's 75.
const WORD_LEN_MAX: usize = 45;

/// An ntfy topic.
#[derive(Debug)]
pub(super) struct Ntfy {
    post: Post,
    tags: Vec<String>,
    click: Option<String>,
    has_links: bool,
}

impl Ntfy {
    pub(super) fn build(
        name: &str,
        config: &NtfyConfig,
        external_url: &str,
    ) -> Result<Self, BuildError> {
        let url = format!("{}/{}", config.url.trim_end_matches('/'), config.topic);
        let login = Login {
            token_file: config.token_file.as_deref(),
            username: config.username.as_deref(),
            password_file: config.password_file.as_deref(),
        };
        Ok(Self {
            post: Post::build(name, &url, &login, config.ca_file.as_deref())?,
            tags: config.tags.clone(),
            click: config.click.clone(),
            has_links: !external_url.is_empty(),
        })
    }

    pub(super) async fn send(&self, notification: &Notification) -> Result<(), SendError> {
        let body = text::cut(&text::body(notification, &TimeZone::system()), MESSAGE_LEN_MAX);
        self.post.send(self.headers(notification), body).await
    }

    fn headers(&self, notification: &Notification) -> Headers {
        let title = text::cut(&text::title(notification), TITLE_LEN_MAX);
        let mut tags = self.tags.clone();
        tags.push(tag(notification).to_owned());
        let mut headers = vec![
            ("title", header_text(&title)),
            ("priority", priority(notification).to_owned()),
            ("tags", tags.join(",")),
        ];
        let link = Some(&notification.generator_url).filter(|_| self.has_links);
        let fits = |url: &&String| (1..=CLICK_LEN_MAX).contains(&url.len());
        if let Some(click) = self.click.as_ref().or(link).filter(fits) {
            headers.push(("click", click.clone()));
        }
        headers
    }
}

/// ntfy's priorities: 1 to 5, 3 is the ordinary one. The end of an alert wakes nobody.
fn priority(notification: &Notification) -> &'static str {
    match (notification.status, Severity::parse(notification.severity())) {
        (Status::Firing, Some(Severity::Critical)) => "5",
        (Status::Firing, Some(Severity::Warning)) => "4",
        (Status::Resolved, Some(Severity::Info)) => "2",
        (Status::Firing, Some(Severity::Info) | None) | (Status::Resolved, _) => "3",
    }
}

/// The emoji beside the title.
fn tag(notification: &Notification) -> &'static str {
    match (notification.status, Severity::parse(notification.severity())) {
        (Status::Resolved, _) => "white_check_mark",
        (Status::Firing, Some(Severity::Critical)) => "rotating_light",
        (Status::Firing, Some(Severity::Info)) => "information_source",
        (Status::Firing, _) => "warning",
    }
}

/// `text` as a header can carry it: itself when it is plain ASCII, else encoded words.
fn header_text(text: &str) -> String {
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
    let words: Vec<String> =
        words.iter().map(|word| format!("=?UTF-8?B?{}?=", base64(word.as_bytes()))).collect();
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
    fn nothing_in_an_alert_makes_another_header_or_a_long_one() {
        let config: NtfyConfig = toml::from_str("url = 'http://127.0.0.1'\ntopic = 'lab'").unwrap();
        let ntfy = Ntfy::build("phone", &config, "http://lab").unwrap();
        let mut message = text::test_message(0);
        let summary = "a\r\nX-Evil: 1\r\n\r\nbody\u{7}".to_owned();
        message.annotations.insert("summary".to_owned(), summary);
        message.generator_url = "x".repeat(9_000);
        let headers = ntfy.headers(&message);
        assert!(headers.iter().all(|(_, value)| {
            value.len() < 2_000 && value.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
        }));
        assert!(headers.iter().all(|(name, _)| *name != "click"), "{headers:?}");
    }

    #[test]
    fn urgency_follows_severity_and_status() {
        let mut message = text::test_message(0);
        for (severity, firing, resolved) in
            [("critical", "5", "3"), ("warning", "4", "3"), ("info", "3", "2"), ("odd", "3", "3")]
        {
            message.labels.insert("severity".to_owned(), severity.to_owned());
            message.status = Status::Firing;
            assert_eq!(priority(&message), firing, "{severity}");
            message.status = Status::Resolved;
            assert_eq!(priority(&message), resolved, "{severity}");
        }
    }
}
