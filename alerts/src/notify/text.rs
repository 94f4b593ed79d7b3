//! A notification in words: a short title for a lock screen, and a body with what, where, since
//! when and what to do.

use std::collections::BTreeMap;
use std::fmt::Write;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use labstat_model::{duration, number};

use crate::notification::{Notification, Status};

/// Labels that the title and the rest of the body already say.
const TOLD_LABELS: [&str; 2] = ["alertname", "severity"];

/// The title: what is wrong, or that it is over.
pub(super) fn title(notification: &Notification) -> String {
    let what = notification.annotation("summary").unwrap_or_else(|| notification.name());
    // A title is one line everywhere.
    let what = what.split_whitespace().collect::<Vec<_>>().join(" ");
    match notification.status {
        Status::Firing => what,
        Status::Resolved => format!("Resolved: {what}"),
    }
}

/// The body; times are in `zone`.
pub(super) fn body(notification: &Notification, zone: &TimeZone) -> String {
    let mut text = String::new();
    if let Some(description) = notification.annotation("description") {
        text.push_str(description);
        text.push_str("\n\n");
    }
    // Writing to a String cannot fail.
    let since = time(notification.active_at_ms, zone);
    match notification.ends_at_ms {
        None => {
            let _ = writeln!(text, "Since {since}");
            let _ = writeln!(text, "Value {}", number::format_v(notification.value));
        }
        Some(ends_at_ms) => {
            let lasted_ms = ends_at_ms.saturating_sub(notification.active_at_ms).max(0);
            let lasted = duration::format_ms(lasted_ms - lasted_ms % 1000);
            let _ = writeln!(text, "Lasted {lasted}, from {since}");
            let _ = writeln!(text, "to {}", time(ends_at_ms, zone));
        }
    }
    if !notification.severity().is_empty() {
        let _ = writeln!(text, "Severity {}", notification.severity());
    }
    for (name, value) in &notification.labels {
        if !TOLD_LABELS.contains(&name.as_str()) {
            let _ = writeln!(text, "{name} {value}");
        }
    }
    if let Some(runbook) = notification.annotation("runbook_url") {
        let _ = writeln!(text, "Runbook {runbook}");
    }
    text.truncate(text.trim_end().len());
    text
}

fn time(time_ms: i64, zone: &TimeZone) -> String {
    let Ok(time) = Timestamp::from_millisecond(time_ms) else { return time_ms.to_string() };
    time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}

/// `text` cut to at most `len_max` bytes between two characters, with `…` where it was cut.
pub(super) fn cut(text: &str, len_max: usize) -> String {
    const MARK: &str = "…";
    if text.len() <= len_max {
        return text.to_owned();
    }
    let mut end = len_max.saturating_sub(MARK.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{MARK}", text.get(..end).unwrap_or_default())
}

/// The message with which a receiver is tested.
pub(super) fn test_message(now_ms: i64) -> Notification {
    let pairs = |list: &[(&str, &str)]| -> BTreeMap<String, String> {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let labels = pairs(&[("alertname", "LabstatTest"), ("severity", "info")]);
    let named = labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    Notification {
        fingerprint: crate::hash::fingerprint(named),
        status: Status::Firing,
        annotations: pairs(&[
            ("summary", "labstat test message"),
            ("description", "This receiver works. Nothing is wrong; somebody asked for a test."),
        ]),
        active_at_ms: now_ms,
        starts_at_ms: now_ms,
        ends_at_ms: None,
        value: 1.0,
        generator_url: String::new(),
        labels,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Notification {
        let mut notification = test_message(1_767_275_100_000);
        notification.labels.insert("instance".to_owned(), "vertex".to_owned());
        notification.annotations.insert("summary".to_owned(), "vertex is\n down".to_owned());
        notification
    }

    #[test]
    fn firing_says_what_since_when_and_where() {
        let notification = sample();
        assert_eq!(title(&notification), "vertex is down");
        assert_eq!(
            body(&notification, &TimeZone::UTC),
            "This receiver works. Nothing is wrong; somebody asked for a test.\n\n\
             Since 2026-01-01 13:45:00 UTC\nValue 1\nSeverity info\ninstance vertex"
        );
    }

    #[test]
    fn resolved_says_how_long_it_lasted() {
        let mut notification = sample();
        notification.status = Status::Resolved;
        notification.ends_at_ms = Some(1_767_275_100_000 + 3_723_400);
        assert_eq!(title(&notification), "Resolved: vertex is down");
        assert!(body(&notification, &TimeZone::UTC).contains("Lasted 1h2m3s, from 2026-01-01"));
    }

    #[test]
    fn cut_keeps_characters_whole() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("äöüäöü", 8), "äö…");
        assert!(cut(&"ü".repeat(3000), 4096).len() <= 4096);
    }
}
