//! `/runbooks`: what to do when an alert fires, as pages for a phone. They are embedded, so that the link
//! in a message works in a lab that the internet does not reach; they say nothing of the lab, so that
//! whoever follows the link needs no token.

use std::fmt::Write;

use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use labstat_alerts::shipped::{self, Advice};
use pulldown_cmark::{Parser, html};

use super::error::plain;
use super::page::escaped;

/// Where the pages stand.
pub(crate) const PATH: &str = "/runbooks";

/// The look of the pages: one column, both by day and by night, commands that can be scrolled.
const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:0 auto;padding:1rem}\
h1{font-size:1.4rem;overflow-wrap:anywhere}h2{font-size:1.15rem;margin-top:2rem;overflow-wrap:anywhere}\
pre{padding:.7rem;overflow-x:auto;border-radius:.4rem;background:#8882}\
code{font:.9em ui-monospace,monospace;overflow-wrap:anywhere}pre code{overflow-wrap:normal}\
nav{font-size:.9rem;opacity:.8}li{margin:.2rem 0}";

/// All families with their alerts.
pub(crate) async fn index() -> Html<String> {
    let mut body =
        String::from("<h1>Runbooks</h1>\n<p>What each alert means and how to mend it.</p>\n");
    for (page, text) in shipped::RUNBOOKS {
        let title = escaped(title(text));
        // Writing to a String cannot fail.
        let _ = write!(body, "<h2><a href=\"{PATH}/{page}\">{title}</a></h2>\n<ul>\n");
        for advice in shipped::advice().filter(|advice| advice.page == *page) {
            let alert = advice.alert;
            let _ = writeln!(body, "<li><a href=\"{PATH}/{alert}\">{alert}</a></li>");
        }
        body.push_str("</ul>\n");
    }
    document("Runbooks", &body)
}

/// One alert's advice, or a family's.
pub(crate) async fn one(Path(name): Path<String>) -> Response {
    if let Some(advice) = shipped::advice().find(|advice| advice.alert == name) {
        return of_alert(&advice).into_response();
    }
    let page = shipped::RUNBOOKS.iter().find(|(page, _)| *page == name.trim_end_matches(".md"));
    match page {
        Some((page, text)) => of_family(page, text).into_response(),
        None => plain(StatusCode::NOT_FOUND, "there is no such runbook; /runbooks lists them\n"),
    }
}

fn of_alert(advice: &Advice) -> Html<String> {
    let Advice { alert, page, text } = *advice;
    let body = format!("<h1>{alert}</h1>\n{}{}", rendered(text), links(page));
    document(alert, &body)
}

fn of_family(page: &str, text: &str) -> Html<String> {
    document(title(text), &format!("{}{}", rendered(text), links(page)))
}

fn links(page: &str) -> String {
    let family = shipped::RUNBOOKS.iter().find(|(name, _)| *name == page);
    let title = escaped(family.map_or(page, |(_, text)| title(text)));
    format!(
        "<nav><p><a href=\"{PATH}/{page}\">{title}</a> · <a href=\"{PATH}\">All runbooks</a></p></nav>\n"
    )
}

/// The heading of a page.
fn title(text: &str) -> &str {
    let first = text.lines().next().unwrap_or("");
    first.trim_start_matches('#').trim()
}

/// Markdown as HTML. The text is our own; links to other pages of the documentation lead nowhere here and
/// are left out.
fn rendered(markdown: &str) -> String {
    use pulldown_cmark::{Event, Tag, TagEnd};

    let mut inside = Vec::new();
    let events = Parser::new(markdown).filter(|event| match event {
        Event::Start(Tag::Link { dest_url, .. }) => {
            let leads = !dest_url.starts_with("../");
            inside.push(leads);
            leads
        }
        Event::End(TagEnd::Link) => inside.pop().unwrap_or(true),
        _ => true,
    });
    let mut out = String::new();
    html::push_html(&mut out, events);
    out
}

fn document(title: &str, body: &str) -> Html<String> {
    let title = escaped(title);
    Html(format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{title} · labstat</title><style>{STYLE}</style></head>\n<body>\n{body}</body></html>\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_has_a_page_of_its_own_and_one_with_its_family() {
        let advice = shipped::advice().find(|advice| advice.alert == "RaidDegraded").unwrap();
        let Html(page) = of_alert(&advice);
        assert!(page.contains("<h1>RaidDegraded</h1>"), "{page}");
        assert!(page.contains("mdadm --detail /dev/md0"), "{page}");
        assert!(!page.contains("RaidMemberFailed"), "{page}");
        assert!(page.contains("<a href=\"/runbooks/raid\">Software RAID (md)</a>"), "{page}");
        let (name, text) = shipped::RUNBOOKS.iter().find(|(name, _)| *name == "disks").unwrap();
        let Html(page) = of_family(name, text);
        assert!(page.contains("<h2>DiskDead</h2>") && page.contains("What counts"), "{page}");
        assert!(!page.contains("href=\"../"), "{page}");
    }
}
