//! A [`Story`] as the HTML of a mail: tables and inline styles, which is what
//! all mail programs agree on; the rules for dark screens are an extra for those that know them.
//!
//! Nothing is fetched from anywhere: pictures come with the mail (`cid:`), and everything that is
//! in an alert is text.

use std::fmt::Write;

use jiff::tz::TimeZone;

use super::story::{Card, Line, Story, Tone, is_link};
use super::{sparkline, text, units};
use crate::history::Illustration;

/// Bytes of the reason of one alert.
const WHY_LEN_MAX: usize = 4_000;

const FONT: &str =
    "font-family:-apple-system,BlinkMacSystemFont,'Segoe UI',Roboto,Helvetica,Arial,sans-serif";
const MONO: &str = "font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace";

/// Colours for dark screens; classes, since inline styles cannot ask.
const STYLE: &str = "\
:root{color-scheme:light dark;supported-color-schemes:light dark}\
@media (prefers-color-scheme:dark){\
.page{background:#15171a!important}\
.sheet{background:#1f2226!important;border-left-color:#30343a!important;\
border-right-color:#30343a!important;border-bottom-color:#30343a!important}\
.critical{color:#ff7a70!important}.warning{color:#fdb022!important}\
.info{color:#84b4ff!important}.resolved{color:#47cd89!important}\
.pill{background:#2b3036!important}\
.ink{color:#eceef1!important}\
.soft{color:#a3aab4!important}\
.rule{border-color:#30343a!important}\
.code{background:#15171a!important;color:#eceef1!important;border-color:#30343a!important}\
.button{background:#2b3036!important;color:#eceef1!important;border-color:#3d434b!important}\
.link{color:#8ab4f8!important}}\
@media (max-width:480px){.pad{padding-left:18px!important;padding-right:18px!important}\
.value{font-size:30px!important}}";

/// What stands beside the story.
pub(super) struct Links {
    /// Acknowledges; asks first.
    pub(super) acknowledge: Option<String>,
    /// Silences for some hours; asks first.
    pub(super) silence: Option<(String, i64)>,
    /// Where people reach the aggregator.
    pub(super) home: Option<String>,
}

/// The name of the picture of the card at this place, within its mail.
pub(super) fn picture_name(at: usize) -> String {
    format!("picture{at}@labstat")
}

/// The page.
pub(super) fn page(story: &Story<'_>, links: &Links, zone: &TimeZone) -> String {
    let mut page = Page { out: String::with_capacity(8 * 1024), zone };
    page.head(story);
    page.opening(story);
    for (at, card) in story.cards.iter().enumerate() {
        page.card(at, card, at > 0);
        if at == 0 {
            page.buttons(card, links);
        }
    }
    page.lines(story);
    page.timeline(&story.timeline);
    page.foot(story, links);
    page.out
}

struct Page<'a> {
    out: String,
    zone: &'a TimeZone,
}

/// The class of a tone's words, whose colour is another on a dark ground.
fn class(tone: Tone) -> &'static str {
    match tone {
        Tone::Critical => "critical",
        Tone::Warning | Tone::Plain => "warning",
        Tone::Info => "info",
        Tone::Resolved => "resolved",
    }
}

/// Strong and weak colour of a tone: for a line and a word, and for the ground below it.
fn colors(tone: Tone) -> (&'static str, &'static str) {
    match tone {
        Tone::Critical => ("#d92d20", "#fef3f2"),
        Tone::Warning | Tone::Plain => ("#b54708", "#fffaeb"),
        Tone::Info => ("#175cd3", "#eff8ff"),
        Tone::Resolved => ("#067647", "#ecfdf3"),
    }
}

impl Page<'_> {
    /// Writing to a String cannot fail.
    fn add(&mut self, text: std::fmt::Arguments<'_>) {
        let _ = self.out.write_fmt(text);
    }

    fn head(&mut self, story: &Story<'_>) {
        let title = escape(&story.title);
        let preview = escape(&preview(story));
        let (strong, _) = colors(story.tone);
        self.add(format_args!(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
             <meta name=\"color-scheme\" content=\"light dark\">\
             <meta name=\"supported-color-schemes\" content=\"light dark\">\
             <title>{title}</title><style>{STYLE}</style></head>\n\
             <body class=\"page\" style=\"margin:0;padding:0;background:#f2f4f7;\
             -webkit-text-size-adjust:100%\">\n\
             <div style=\"display:none;max-height:0;overflow:hidden;opacity:0\">{preview}</div>\n\
             <table role=\"presentation\" class=\"page\" width=\"100%\" cellpadding=\"0\" \
             cellspacing=\"0\" style=\"background:#f2f4f7\"><tr><td align=\"center\" \
             style=\"padding:20px 10px\">\n\
             <table role=\"presentation\" class=\"sheet\" width=\"100%\" cellpadding=\"0\" \
             cellspacing=\"0\" style=\"max-width:600px;background:#ffffff;border:1px solid #e4e7ec;\
             border-top:4px solid {strong};border-radius:10px;border-collapse:separate\">\n",
        ));
    }

    /// A row over the whole width.
    fn row(&mut self, style: &str, content: &str) {
        self.add(format_args!(
            "<tr><td class=\"pad ink\" style=\"padding:{style};{FONT};color:#101828\">\
             {content}</td></tr>\n"
        ));
    }

    fn opening(&mut self, story: &Story<'_>) {
        let (strong, weak) = colors(story.tone);
        let word = story.tone.word();
        let mut content = format!(
            "<span class=\"pill {class}\" style=\"display:inline-block;padding:3px 10px;border-radius:12px;\
             background:{weak};color:{strong};font-size:12px;font-weight:600;\
             letter-spacing:.2px\">{word}</span>\
             <div class=\"ink\" style=\"margin:12px 0 0;font-size:21px;line-height:28px;\
             font-weight:650;color:#101828\">{}</div>",
            escape(&story.title),
            class = class(story.tone),
        );
        if let Some(note) = &story.note {
            let _ = write!(
                content,
                "<div class=\"soft\" style=\"margin:8px 0 0;font-size:15px;line-height:22px;\
                 color:#475467\">{}</div>",
                escape(note)
            );
        }
        self.row("24px 28px 0", &content);
    }

    fn card(&mut self, at: usize, card: &Card<'_>, with_headline: bool) {
        let mut content = String::new();
        if with_headline {
            let (strong, _) = colors(card.tone);
            let _ = write!(
                content,
                "<div class=\"rule\" style=\"border-top:1px solid #e4e7ec;margin:0 0 18px\"></div>\
                 <div class=\"{class}\" style=\"font-size:12px;font-weight:600;color:{strong}\">{}</div>\
                 <div class=\"ink\" style=\"margin:2px 0 6px;font-size:17px;line-height:24px;\
                 font-weight:600;color:#101828\">{}</div>",
                card.tone.word(),
                escape(&card.headline),
                class = class(card.tone),
            );
        }
        let mut facts = vec![card.when.clone()];
        if !card.places.is_empty() {
            facts.insert(0, card.places.join(" · "));
        }
        for fact in facts {
            let _ = write!(
                content,
                "<div class=\"soft\" style=\"font-size:14px;line-height:21px;color:#475467\">{}</div>",
                escape(&fact)
            );
        }
        if let Some((value, limit)) = &card.reading {
            content.push_str(&reading(value, limit.as_deref(), card.tone));
        }
        if let Some(picture) = card.picture {
            content.push_str(&self.figure(at, picture));
        }
        if let Some(why) = &card.why {
            let why = escape(&text::cut(why, WHY_LEN_MAX)).replace('\n', "<br>");
            let _ = write!(
                content,
                "<div class=\"ink\" style=\"margin:16px 0 0;font-size:15px;line-height:23px;\
                 color:#101828\">{why}</div>"
            );
        }
        if let Some(next) = &card.next {
            let text = escape(&next.text);
            let (family, size) = if next.is_command { (MONO, 13) } else { (FONT, 15) };
            let _ = write!(
                content,
                "<div class=\"soft\" style=\"margin:16px 0 6px;font-size:12px;font-weight:600;\
                 color:#475467\">Next</div><div class=\"code\" style=\"padding:11px 14px;\
                 background:#f2f4f7;border:1px solid #e4e7ec;border-radius:8px;{family};\
                 font-size:{size}px;line-height:20px;color:#101828;word-break:break-word\">\
                 {text}</div>"
            );
        }
        let top = if with_headline { "22px" } else { "10px" };
        self.row(&format!("{top} 28px 0"), &content);
    }

    /// The picture, with the words of its axes around it.
    fn figure(&self, at: usize, picture: &Illustration) -> String {
        let Some((low, high)) = picture.range() else { return String::new() };
        let value = |value| units::value(value, picture.unit).unwrap_or_default();
        let (start_ms, end_ms) = (picture.start_ms, picture.end_ms());
        let start = units::time_beside(start_ms, end_ms, self.zone);
        let end = units::time_beside(end_ms, start_ms, self.zone);
        let words = text::course_words(picture).unwrap_or_default();
        let limit = picture.limit.and_then(|limit| units::value(limit, picture.unit));
        let limit = limit.map(|limit| format!(", limit {limit}")).unwrap_or_default();
        let (width, height) = (sparkline::WIDTH / 2, sparkline::HEIGHT / 2);
        let small = "font-size:12px;line-height:16px;color:#667085";
        format!(
            "<table role=\"presentation\" width=\"100%\" cellpadding=\"0\" cellspacing=\"0\" \
             style=\"margin:14px 0 0\">\
             <tr><td class=\"soft\" colspan=\"2\" style=\"{FONT};{small};padding:0 0 2px\">\
             {low} to {high}{limit}</td></tr>\
             <tr><td colspan=\"2\"><img src=\"cid:{name}\" width=\"{width}\" height=\"{height}\" \
             alt=\"{words}{limit}\" style=\"display:block;width:100%;height:auto;border:0\"></td></tr>\
             <tr><td class=\"soft\" style=\"{FONT};{small}\">{start}</td>\
             <td class=\"soft\" align=\"right\" style=\"{FONT};{small}\">{end}</td></tr></table>",
            low = escape(&value(low)),
            high = escape(&value(high)),
            limit = escape(&limit),
            name = picture_name(at),
            words = escape(&words),
            start = escape(&start),
            end = escape(&end),
        )
    }

    fn buttons(&mut self, card: &Card<'_>, links: &Links) {
        let mut buttons: Vec<(String, &str)> = Vec::new();
        if let Some(url) = card.runbook {
            buttons.push(("What to do".to_owned(), url));
        }
        if let Some(url) = &links.acknowledge {
            buttons.push(("Acknowledge".to_owned(), url));
        }
        if let Some((url, hours)) = &links.silence {
            buttons.push((format!("Silence {hours} h"), url));
        }
        let dashboard = card.alert.annotation("dashboard_url").filter(|url| is_link(url));
        if let Some(url) = dashboard {
            buttons.push(("Dashboard".to_owned(), url));
        }
        if buttons.is_empty() {
            return;
        }
        let mut content = String::new();
        for (label, url) in buttons {
            let _ = write!(
                content,
                "<a class=\"button\" href=\"{}\" style=\"display:inline-block;margin:0 8px 8px 0;\
                 padding:9px 15px;border:1px solid #d0d5dd;border-radius:8px;background:#ffffff;\
                 color:#344054;font-size:14px;line-height:18px;font-weight:600;\
                 text-decoration:none\">{}</a>",
                escape(url),
                escape(&label)
            );
        }
        self.row("18px 28px 0", &content);
    }

    fn lines(&mut self, story: &Story<'_>) {
        if story.lines.is_empty() && story.omitted == 0 {
            return;
        }
        let mut content = table(&story.lines);
        if story.omitted > 0 {
            let _ = write!(
                content,
                "<div class=\"soft\" style=\"margin:6px 0 0;font-size:14px;line-height:21px;\
                 color:#475467\">… and {} more</div>",
                story.omitted
            );
        }
        self.section(if story.cards.is_empty() { "" } else { "Also" }, &content);
    }

    fn timeline(&mut self, lines: &[Line]) {
        if !lines.is_empty() {
            self.section("What happened", &table(lines));
        }
    }

    fn section(&mut self, heading: &str, content: &str) {
        let heading = match heading {
            "" => String::new(),
            _ => format!(
                "<div class=\"rule\" style=\"border-top:1px solid #e4e7ec;margin:0 0 16px\"></div>\
                 <div class=\"soft\" style=\"margin:0 0 6px;font-size:12px;font-weight:600;\
                 color:#475467\">{heading}</div>"
            ),
        };
        self.row("20px 28px 0", &format!("{heading}{content}"));
    }

    fn foot(&mut self, story: &Story<'_>, links: &Links) {
        let mut parts = Vec::new();
        if let Some(card) = story.cards.first() {
            let name = card.alert.name();
            let labels = card.labels.iter().map(|(name, value)| format!("{name}={value}"));
            let all: Vec<String> = [name.to_owned()].into_iter().chain(labels).collect();
            parts.push(escape(&all.join(" · ")));
        }
        let made = escape(&story.made);
        parts.push(match links.home.as_ref().filter(|url| is_link(url)) {
            Some(url) => {
                let url = escape(url);
                format!(
                    "labstat, {made}, <a class=\"link\" href=\"{url}\" \
                     style=\"color:#175cd3;text-decoration:none\">{url}</a>"
                )
            }
            None => format!("labstat, {made}"),
        });
        let content = format!(
            "<div class=\"soft rule\" style=\"border-top:1px solid #e4e7ec;padding:14px 0 0;\
             font-size:12px;line-height:18px;color:#667085;word-break:break-word\">{}</div>",
            parts.join("<br>")
        );
        self.row("22px 28px 22px", &content);
        self.out.push_str("</table>\n</td></tr></table>\n</body></html>\n");
    }
}

fn reading(value: &str, limit: Option<&str>, tone: Tone) -> String {
    let (strong, _) = colors(tone);
    if tone == Tone::Resolved {
        let limit = limit.map(|limit| format!(", limit {limit}")).unwrap_or_default();
        return format!(
            "<div class=\"soft\" style=\"font-size:14px;line-height:21px;color:#475467\">\
             Was at {}{}</div>",
            escape(value),
            escape(&limit)
        );
    }
    let limit = limit.map(|limit| {
        format!(
            "<span class=\"soft\" style=\"font-size:15px;color:#475467\"> &nbsp;limit {}</span>",
            escape(limit)
        )
    });
    format!(
        "<div style=\"margin:12px 0 0;line-height:42px\"><span class=\"value {class}\" \
         style=\"font-size:34px;font-weight:650;letter-spacing:-.5px;color:{strong}\">{}</span>{}</div>",
        escape(value),
        limit.unwrap_or_default(),
        class = class(tone),
    )
}

/// What a list of mails shows beside the subject.
fn preview(story: &Story<'_>) -> String {
    let mut parts: Vec<String> = story.note.iter().cloned().collect();
    if let Some(card) = story.cards.first() {
        if let Some((value, limit)) = &card.reading {
            let limit = limit.as_ref().map(|limit| format!(", limit {limit}")).unwrap_or_default();
            parts.push(format!("{value}{limit}"));
        }
        parts.push(card.when.clone());
        parts.extend(card.why.iter().map(|why| text::cut(why, 160)));
    }
    parts.join(" · ")
}

fn table(lines: &[Line]) -> String {
    let mut rows = String::new();
    for line in lines {
        let (strong, _) = colors(line.tone);
        let dot = if line.time.is_empty() { "" } else { "●" };
        let _ = write!(
            rows,
            "<tr><td class=\"{class}\" valign=\"top\" style=\"{FONT};padding:4px 8px 4px 0;font-size:12px;\
             line-height:20px;color:{strong}\">{dot}</td>\
             <td class=\"soft\" valign=\"top\" style=\"{FONT};padding:4px 12px 4px 0;font-size:13px;\
             line-height:20px;color:#475467;white-space:nowrap\">{}</td>\
             <td class=\"ink\" width=\"100%\" style=\"{FONT};padding:4px 0;font-size:14px;\
             line-height:20px;color:#101828;word-break:break-word\">{}</td></tr>",
            escape(&line.time),
            escape(&line.text),
            class = class(line.tone),
        );
    }
    format!(
        "<table role=\"presentation\" width=\"100%\" cellpadding=\"0\" cellspacing=\"0\">{rows}</table>"
    )
}

/// A text in which nothing is taken for markup.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() && c != '\n' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::story::tests::{alert, context, hot, message};
    use super::*;
    use crate::message::Reason;

    fn links() -> Links {
        Links {
            acknowledge: Some("http://lab/act/a?b=c&d=e".to_owned()),
            silence: Some(("http://lab/act/s".to_owned(), 4)),
            home: Some("http://lab".to_owned()),
        }
    }

    #[test]
    fn a_page_says_all_and_fetches_nothing() {
        let (message, context) = (message(vec![hot()], Reason::New), context());
        let page = page(&Story::of(&message, &context), &links(), &TimeZone::UTC);
        for wanted in [
            "84 °C</span>",
            "limit 80 °C",
            "vertex · nvme0 · bay 2",
            "labstat temps --node vertex",
            "href=\"http://lab/act/a?b=c&amp;d=e\"",
            "Silence 4 h",
            "href=\"http://lab:5227/runbooks/DiskTooHot\"",
        ] {
            assert!(page.contains(wanted), "{wanted}: {page}");
        }
        assert!(!page.contains("src=\"http"), "{page}");
        let open = page.matches("<table").count();
        assert_eq!(open, page.matches("</table>").count());
        assert_eq!(page.matches("<tr>").count(), page.matches("</tr>").count());
    }

    #[test]
    fn nothing_in_an_alert_is_markup() {
        let evil = "<script>alert(1)</script>\" onload=\"x";
        let mut alert = alert(
            "alertname=<b> instance=\"<i>\"",
            &[
                ("summary", evil),
                ("description", evil),
                ("next", evil),
                ("runbook_url", "javascript:alert(1)"),
            ],
        );
        alert.labels.insert("odd".to_owned(), evil.to_owned());
        let (message, context) = (message(vec![alert], Reason::New), context());
        let page = page(&Story::of(&message, &context), &links(), &TimeZone::UTC);
        for forbidden in ["<script", "<i>", "<b>", "javascript:", "\" onload"] {
            assert!(!page.contains(forbidden), "{forbidden}: {page}");
        }
    }
}
