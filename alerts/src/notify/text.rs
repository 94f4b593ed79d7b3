//! A [`Story`] as text: plain, or with a little Markdown that also reads well
//! where nobody renders it.

use std::collections::BTreeMap;

use super::story::{Card, Line, Story, Tone};
use super::{sparkline, units};
use crate::history::Illustration;
use crate::notification::{Notification, Status};

/// Bytes of the reason of one alert. Beyond it what to do next would not fit any more.
const WHY_LEN_MAX: usize = 1_200;

/// Whether text is marked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Markup {
    Plain,
    Markdown,
}

/// The body of a message; its title says the lead alert's headline already.
pub(super) fn body(story: &Story<'_>, markup: Markup) -> String {
    let mut text = Text { out: String::new(), markup };
    if let Some(note) = &story.note {
        text.line(&text.escaped(note));
        text.gap();
    }
    for (at, card) in story.cards.iter().enumerate() {
        // The first one's headline is the title, unless that stands for several.
        let is_titled = at == 0 && story.cards.len() + story.lines.len() == 1;
        text.card(card, !is_titled);
        text.gap();
    }
    for line in &story.lines {
        text.event(line);
    }
    if story.omitted > 0 {
        text.line(&format!("… and {} more", story.omitted));
    }
    if !story.timeline.is_empty() {
        text.gap();
        text.line("What happened:");
        story.timeline.iter().for_each(|line| text.event(line));
    }
    text.out.truncate(text.out.trim_end().len());
    text.out
}

struct Text {
    out: String,
    markup: Markup,
}

impl Text {
    fn is_markdown(&self) -> bool {
        self.markup == Markup::Markdown
    }

    /// A line of its own. Markdown joins lines but for two blanks at their end.
    fn line(&mut self, text: &str) {
        self.out.push_str(text);
        self.out.push_str(if self.is_markdown() { "  \n" } else { "\n" });
    }

    fn gap(&mut self) {
        if !self.out.is_empty() && !self.out.ends_with("\n\n") {
            self.out.push('\n');
        }
    }

    fn bold(&self, text: &str) -> String {
        let text = self.escaped(text);
        if self.is_markdown() { format!("**{text}**") } else { text }
    }

    /// A text in which nothing is taken for markup.
    fn escaped(&self, text: &str) -> String {
        if !self.is_markdown() {
            return text.to_owned();
        }
        let mut out = String::with_capacity(text.len());
        for line in text.split_inclusive('\n') {
            let start = line.trim_start();
            // What begins a heading, a quotation, a list or a block only does so at its line's start.
            if start.starts_with(['#', '>', '-', '+', '=', '|']) {
                out.push('\\');
                out.push_str(&inline(start));
            } else {
                out.push_str(&inline(line));
            }
        }
        out
    }

    fn card(&mut self, card: &Card<'_>, with_headline: bool) {
        if with_headline {
            let headline = self.bold(&card.headline);
            self.line(&format!("{} {headline}", card.tone.emoji()));
        }
        if let Some((value, limit)) = &card.reading {
            let value = self.bold(value);
            let limit = limit.as_ref().map(|limit| format!(", limit {limit}")).unwrap_or_default();
            let was = if card.tone == Tone::Resolved { "Was at " } else { "" };
            self.line(&format!("{was}{value}{limit}"));
        }
        if let Some(course) = card.picture.and_then(course) {
            self.line(&course);
        }
        if !card.places.is_empty() {
            self.line(&self.escaped(&card.places.join(" · ")));
        }
        self.line(&card.when);
        if let Some(why) = &card.why {
            self.gap();
            self.line(&self.escaped(&cut(why, WHY_LEN_MAX)));
        }
        if let Some(next) = &card.next {
            self.gap();
            let text = cut(&next.text, WHY_LEN_MAX);
            let text = match (next.is_command && self.is_markdown(), text.contains('`')) {
                (true, false) => format!("`{text}`"),
                _ => self.escaped(&text),
            };
            self.line(&format!("Next: {text}"));
        }
        if let Some(runbook) = card.runbook {
            self.line(&format!("Runbook: {runbook}"));
        }
        let labels: Vec<String> =
            card.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if !labels.is_empty() {
            self.line(&self.escaped(&labels.join(", ")));
        }
    }

    fn event(&mut self, line: &Line) {
        let text = self.escaped(&line.text);
        if line.time.is_empty() {
            self.line(&text);
        } else {
            self.line(&format!("{} {} {text}", line.tone.emoji(), line.time));
        }
    }
}

/// A line of Markdown with nothing special in it.
fn inline(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut before = ' ';
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        // Within a word an underscore is only itself.
        let is_in_word = before.is_alphanumeric()
            && chars.peek().is_some_and(|next| next.is_alphanumeric() || *next == '_');
        let is_special = match c {
            '*' | '`' | '[' | ']' | '<' | '\\' | '~' => true,
            '_' => !is_in_word && before != '_',
            _ => false,
        };
        if is_special {
            out.push('\\');
        }
        out.push(c);
        before = c;
    }
    out
}

/// The course of a value in letters, and in words.
pub(super) fn course(picture: &Illustration) -> Option<String> {
    Some(format!("{}  {}", sparkline::letters(picture), course_words(picture)?))
}

/// `61 °C to 84 °C in 6 h`: the lowest and highest value of the picture, and its time.
pub(super) fn course_words(picture: &Illustration) -> Option<String> {
    let (low, high) = picture.range()?;
    let low = units::value(low, picture.unit)?;
    let high = units::value(high, picture.unit)?;
    let span = units::span(picture.end_ms().saturating_sub(picture.start_ms));
    Some(if low == high {
        format!("{low} for {span}")
    } else {
        format!("{low} to {high} in {span}")
    })
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

/// The alert with which a receiver is tested.
pub fn test_alert(now_ms: i64) -> Notification {
    let pairs = |list: &[(&str, &str)]| -> BTreeMap<String, String> {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let labels = pairs(&[("alertname", "LabstatTest"), ("severity", "info")]);
    let named = labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    Notification {
        fingerprint: crate::hash::fingerprint(named),
        status: Status::Firing,
        annotations: pairs(&[
            ("summary", "Test message from labstat"),
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
    use super::super::story::tests::{START_MS, alert, context, hot, message, over};
    use super::*;
    use crate::message::{Event, Message, Reason};
    use crate::notify::Context;

    fn of(message: &Message, context: &Context, markup: Markup) -> String {
        body(&Story::of(message, context), markup)
    }

    fn picture(fingerprint: &str) -> Illustration {
        Illustration {
            fingerprint: fingerprint.to_owned(),
            start_ms: START_MS,
            step_ms: 180_000,
            values: (0..=120).map(|at| Some(61.0 + f64::from(at) * 23.0 / 120.0)).collect(),
            limit: Some(80.0),
            is_upper: true,
            unit: Some(labstat_promql::Unit::Celsius),
        }
    }

    #[test]
    fn one_alert_is_told_whole() {
        let mut context = context();
        context.pictures = vec![picture(&hot().fingerprint)];
        let message = message(vec![hot()], Reason::New);
        assert_eq!(
            of(&message, &context, Markup::Plain),
            "84 °C, limit 80 °C\n\
             ▁▂▂▃▃▄▄▄▅▅▆▆▇▇██  61 °C to 84 °C in 6 h\n\
             vertex · nvme0 · bay 2 · serial S3Z8NB0K\n\
             Since Thu 1 Jan 13:45 UTC\n\n\
             It wears out early, and NVMe disks slow down.\n\n\
             Next: labstat temps --node vertex\n\
             Runbook: http://lab:5227/runbooks/DiskTooHot"
        );
        let marked = of(&message, &context, Markup::Markdown);
        assert!(marked.starts_with("**84 °C**, limit 80 °C  \n"), "{marked}");
        assert!(marked.contains("Next: `labstat temps --node vertex`  \n"), "{marked}");
    }

    #[test]
    fn several_alerts_are_told_cause_first_with_their_timeline() {
        let effect = alert(
            "alertname=RaidDegraded severity=critical instance=vertex",
            &[("summary", "md0 on vertex is degraded")],
        );
        let mut message = message(vec![hot(), effect.clone()], Reason::Changed);
        message.timeline = vec![
            Event {
                time_ms: START_MS,
                fingerprint: hot().fingerprint,
                text: "nvme0 is hot".to_owned(),
                status: Status::Firing,
            },
            Event {
                time_ms: START_MS + 62_000,
                fingerprint: effect.fingerprint,
                text: "md0 is degraded".to_owned(),
                status: Status::Firing,
            },
        ];
        message.alerts_omitted = 12;
        let text = of(&message, &context(), Markup::Plain);
        assert!(
            text.starts_with("14 alerts now.\n\n🟠 Disk nvme0 in vertex is at 84 °C\n"),
            "{text}"
        );
        assert!(text.contains("\n🔴 md0 on vertex is degraded\nvertex\nSince"), "{text}");
        assert!(text.contains("\n… and 12 more\n"), "{text}");
        let end = "What happened:\n🟠 13:45:00 nvme0 is hot\n🔴 13:46:02 md0 is degraded";
        assert!(text.ends_with(end), "{text}");
    }

    #[test]
    fn what_is_over_is_told_with_its_length() {
        let message = message(vec![over(hot())], Reason::Resolved);
        let text = of(&message, &context(), Markup::Plain);
        assert!(text.contains("Lasted 1 h 2 min, 13:45 to 14:47 UTC"), "{text}");
        assert!(text.starts_with("Was at 84 °C, limit 80 °C\n"), "{text}");
        assert!(!text.contains("Next:") && !text.contains("wears out"), "{text}");
    }

    /// Whatever is in labels and annotations, it is text and no markup.
    #[test]
    fn nothing_in_an_alert_is_markup() {
        let text = Text { out: String::new(), markup: Markup::Markdown };
        for (plain, escaped) in [
            ("a_b node_md_disks", "a_b node_md_disks"),
            ("_x_ *y*", "\\_x\\_ \\*y\\*"),
            ("[a](http://b)", "\\[a\\](http://b)"),
            ("# no\n- no", "\\# no\n\\- no"),
            ("a`b` <b>", "a\\`b\\` \\<b>"),
            ("C:\\x", "C:\\\\x"),
        ] {
            assert_eq!(text.escaped(plain), escaped);
        }
    }

    #[test]
    fn a_long_reason_leaves_room_for_what_to_do() {
        let mut long = hot();
        long.annotations.insert("description".to_owned(), "ü".repeat(5_000));
        let text = of(&message(vec![long], Reason::New), &context(), Markup::Plain);
        assert!(text.len() < 2_000 && text.contains("ü…\n\nNext: labstat temps"), "{text}");
    }

    #[test]
    fn cut_keeps_characters_whole() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("äöüäöü", 8), "äö…");
        assert!(cut(&"ü".repeat(3000), 4096).len() <= 4096);
    }
}
