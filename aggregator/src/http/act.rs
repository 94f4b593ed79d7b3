//! `/api/labstat/v1/act/TOKEN`: what the buttons in messages lead to.
//!
//! A POST does what the token is good for, once. A GET only shows a page that asks: programs that
//! fetch every link of a message to show a preview of it must not acknowledge anything. The token is
//! the only login, so these paths stand before the guard, and pages of any site may ask: the web
//! page of an ntfy server is one of another site.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use labstat_model::duration;

use super::page::escaped;
use super::status::rfc3339;
use crate::app::App;
use crate::links::{Deed, Good, OnceError, Permit, Refused};

/// Alerts that the page lists; the message had no more either.
const LISTED_MAX: usize = 20;

/// The page that asks.
pub(crate) async fn ask(State(app): State<Arc<App>>, Path(token): Path<String>) -> Response {
    let now_ms = app.clock.now_ms();
    let good = match app.links.read(&token, now_ms) {
        Ok(good) => good,
        Err(refused) => return refusal(&refused),
    };
    match used(&app, &good).await {
        Ok(None) => {}
        Ok(Some(at_ms)) => return refusal(&Refused::Used { at_ms }),
        Err(text) => return page(StatusCode::INTERNAL_SERVER_ERROR, "Not now", &text),
    }
    let alerts = app.alerting.thread(&good.permit.thread);
    if alerts.is_empty() {
        return page(StatusCode::OK, "It is over", "None of these alerts fires any more.");
    }
    let button = "<form method=\"post\"><button>Yes</button></form>";
    page(StatusCode::OK, &question(good.permit.deed), &format!("{}{button}", list(&alerts)))
}

/// Does it.
pub(crate) async fn act(State(app): State<Arc<App>>, Path(token): Path<String>) -> Response {
    let now_ms = app.clock.now_ms();
    let good = match app.links.read(&token, now_ms) {
        Ok(good) => good,
        Err(refused) => return refusal(&refused),
    };
    let permit = good.permit.clone();
    let deed = app.alerting.act(&permit);
    match app.links.once(good, now_ms, deed).await {
        Ok(Ok(alerts)) if alerts.is_empty() => {
            page(StatusCode::OK, "It is over", "None of these alerts fires any more.")
        }
        Ok(Ok(alerts)) => page(StatusCode::OK, &done(&permit), &list(&alerts)),
        Ok(Err(why)) => page(StatusCode::SERVICE_UNAVAILABLE, "Not done", &escaped(&why)),
        Err(OnceError::Used(at_ms)) => refusal(&Refused::Used { at_ms }),
        Err(error) => {
            tracing::error!(error = crate::storage::chain(&error), "a link could not be used");
            let text = "What was done cannot be kept just now; see labstat's log.";
            page(StatusCode::INTERNAL_SERVER_ERROR, "Not done", text)
        }
    }
}

async fn used(app: &Arc<App>, good: &Good) -> Result<Option<i64>, String> {
    let (links, row) = (Arc::clone(&app.links), good.row());
    let look = tokio::task::spawn_blocking(move || links.used_ms(&row)).await;
    let failed = |error: &dyn std::error::Error| {
        tracing::error!(error = crate::storage::chain(error), "a link could not be looked up");
        "What was done already cannot be seen just now; see labstat's log.".to_owned()
    };
    look.map_err(|error| failed(&error))?.map_err(|error| failed(&error))
}

fn question(deed: Deed) -> String {
    match deed {
        Deed::Acknowledge => "Acknowledge these alerts?".to_owned(),
        Deed::Silence { minutes } => format!("Silence these alerts for {}?", length(minutes)),
    }
}

fn done(permit: &Permit) -> String {
    match permit.deed {
        Deed::Acknowledge => "Acknowledged".to_owned(),
        Deed::Silence { minutes } => format!("Silenced for {}", length(minutes)),
    }
}

fn length(minutes: u32) -> String {
    duration::format_ms(i64::from(minutes) * 60_000)
}

fn list(alerts: &[String]) -> String {
    let mut text = String::from("<ul>");
    for alert in alerts.iter().take(LISTED_MAX) {
        let _ = write!(text, "<li>{}</li>", escaped(alert));
    }
    if let Some(more) = alerts.len().checked_sub(LISTED_MAX).filter(|more| *more > 0) {
        let _ = write!(text, "<li>and {more} more</li>");
    }
    text.push_str("</ul>");
    text
}

fn refusal(refused: &Refused) -> Response {
    let (status, title) = match refused {
        Refused::Forged => (StatusCode::FORBIDDEN, "This link does nothing"),
        Refused::Expired => (StatusCode::GONE, "This link is too old"),
        Refused::Used { .. } => (StatusCode::OK, "This was done already"),
    };
    let text = match refused {
        Refused::Used { at_ms } => format!("At {}.", rfc3339(*at_ms)),
        other => escaped(&other.to_string()),
    };
    page(status, title, &text)
}

/// A page that pages of any site may fetch.
fn page(status: StatusCode, title: &str, body: &str) -> Response {
    let any = [(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"))];
    (any, super::page::page(status, title, body)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_an_alert_is_taken_for_html() {
        let list = list(&["<script>alert('x')</script> & \"y\"".to_owned()]);
        let text = "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;y&quot;";
        assert_eq!(list, format!("<ul><li>{text}</li></ul>"));
    }

    #[test]
    fn a_long_list_says_how_many_more_there_are() {
        let alerts: Vec<String> = (0..25).map(|n| n.to_string()).collect();
        assert!(list(&alerts).ends_with("<li>19</li><li>and 5 more</li></ul>"));
    }
}
