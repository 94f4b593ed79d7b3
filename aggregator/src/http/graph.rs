//! `/graph?g0.expr=…`: where the links of alerts lead, as Prometheus writes them (`generatorURL`). A page that says
//! which alerts of that expression fire and where its values are: labstat draws no graphs, that is Grafana's.
//!
//! Whoever follows the link of a message has no token at hand. The page is there without one too, and then says
//! nothing but the expression that it was asked for.

use std::fmt::Write;
use std::sync::{Arc, PoisonError};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use labstat_alerts::Notification;
use labstat_alerts::manners::AlertsFilter;

use super::page::{escaped, page};
use super::params::Params;
use super::status::rfc3339;
use crate::app::App;

/// Where the page stands.
pub(crate) const PATH: &str = "/graph";

/// Alerts that the page lists.
const LISTED_MAX: usize = 20;

/// The page of one expression.
pub(crate) async fn graph(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    params: Params,
) -> Response {
    let Some(expr) = params.get("g0.expr") else {
        return page(StatusCode::OK, "No expression", "<p>This link names none.</p>");
    };
    let token = app.token.read().unwrap_or_else(PoisonError::into_inner).clone();
    let alerts = token.is_none_or(|token| token.is_in(&headers)).then(|| of_expression(&app, expr));
    page(StatusCode::OK, "Expression of an alert", &body(expr, alerts.as_deref()))
}

/// The alerts that fire and have a link with this expression.
fn of_expression(app: &App, expr: &str) -> Vec<Notification> {
    let alerts =
        app.alerting.look(|manners, now_ms| manners.alerts(&AlertsFilter::default(), now_ms));
    let is_of_it = |alert: &Notification| {
        let query = alert.generator_url.split_once("/graph?").map_or("", |(_, query)| query);
        Params::parse(query.as_bytes()).get("g0.expr") == Some(expr)
    };
    alerts.into_iter().map(|status| status.alert).filter(is_of_it).collect()
}

/// What the page says; nothing of alerts to whom may not know.
fn body(expr: &str, alerts: Option<&[Notification]>) -> String {
    // Relative, so that they hold behind a proxy that serves labstat below a path.
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("query", expr).finish();
    let mut text = format!("<p><code>{}</code></p>", escaped(expr));
    match alerts {
        None => text.push_str("<p>What fires is told to those who bring the token.</p>"),
        Some([]) => text.push_str("<p>No alert of it fires.</p>"),
        Some(alerts) => {
            text.push_str("<ul>");
            for alert in alerts.iter().take(LISTED_MAX) {
                let _ = write!(text, "<li>{}</li>", item(alert));
            }
            if let Some(more) = alerts.len().checked_sub(LISTED_MAX).filter(|more| *more > 0) {
                let _ = write!(text, "<li>and {more} more</li>");
            }
            text.push_str("</ul>");
        }
    }
    let _ = write!(
        text,
        "<p><a href=\"api/v1/query?{query}\">Its values now</a> (JSON), \
         <a href=\"runbooks\">what to do</a>, or <code>labstat query</code> and Grafana for how it went.</p>"
    );
    text
}

fn item(alert: &Notification) -> String {
    let labels = alert.labels.iter().filter(|(name, _)| *name != "alertname");
    let labels: Vec<String> = labels.map(|(name, value)| format!("{name}={value:?}")).collect();
    let name = alert.labels.get("alertname").map_or("", String::as_str);
    let summary = alert.annotation("summary").unwrap_or("");
    let value =
        if alert.value.is_finite() { format!(", value {}", alert.value) } else { String::new() };
    format!(
        "<strong>{}</strong> {} <small>{}; since {}{value}</small>",
        escaped(name),
        escaped(summary),
        escaped(&labels.join(", ")),
        rfc3339(alert.starts_at_ms),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_an_expression_is_taken_for_html_or_another_link() {
        let body = body("a{b=\"<script>\"} > 1 & x\"onload=", None);
        assert!(body.contains("<code>a{b=&quot;&lt;script&gt;&quot;} &gt; 1 &amp; x"), "{body}");
        assert!(body.contains("href=\"api/v1/query?query=a%7Bb%3D%22%3Cscript%3E"), "{body}");
    }
}
