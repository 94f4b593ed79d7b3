//! `labstat alerts`: what is firing, what is about to.

use std::process::ExitCode;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::answer::{Answer, Found, LabelMap};
use crate::client::Client;
use crate::failure::Failure;
use crate::human::Unit;
use crate::output;
use crate::runtime;
use crate::table::{Cell, Column, Table, Tone};
use crate::view::{self, ViewArgs, look};

/// Shows alerts that fire or are pending
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  labstat alerts                    firing first, then pending
  labstat alerts --node nas
  labstat alerts --format json      for scripts")]
pub(crate) struct Alerts {
    #[command(flatten)]
    view: ViewArgs,
}

/// One alert, as the API tells it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Alert {
    /// Its labels, with `alertname`.
    pub(crate) labels: LabelMap,
    #[serde(default)]
    annotations: LabelMap,
    /// `firing` or `pending`.
    pub(crate) state: String,
    #[serde(default)]
    active_at: Option<String>,
}

impl Alert {
    /// 0 for what is critical, more for what can wait.
    pub(crate) fn gravity(&self) -> u8 {
        match self.labels.get("severity").map(String::as_str) {
            Some("critical") => 0,
            Some("warning") => 1,
            _ => 2,
        }
    }
}

#[derive(Debug, Deserialize)]
struct Listing {
    alerts: Vec<Alert>,
}

impl Alerts {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let alerts = runtime::block_on(async {
            let client = Client::new(&self.view.server)?;
            let mut alerts = ask(&client).await?;
            if let Some(node) = &self.view.node {
                alerts.retain(|alert| alert.labels.get("instance") == Some(node));
                if alerts.is_empty() {
                    view::must_be_known(&client, node).await?;
                }
            }
            Ok(alerts)
        })?;
        output::result(&table(&alerts).render(self.view.format, &look()))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// All alerts of a server that fire or are pending.
pub(crate) async fn ask(client: &Client) -> Result<Vec<Alert>, Failure> {
    let mut alerts = listing::<Listing>(client, "/api/v1/alerts").await?.alerts;
    if alerts.iter().any(|alert| alert.labels.contains_key(DISK)) {
        let reply = client.instant("labstat_disk_verdict", None).await;
        // Without it, the summaries still say where the disks are.
        if let Ok(Ok(Answer::Vector(found))) = reply.map(|reply| reply.answer(client.base())) {
            place(&mut alerts, &found);
        }
    }
    Ok(alerts)
}

/// The label of alerts about a disk, which are the same wherever it is plugged in.
const DISK: &str = "disk";

/// Adds the node to alerts about a disk, as it is now.
fn place(alerts: &mut [Alert], disks: &[Found]) {
    for alert in alerts.iter_mut().filter(|alert| !alert.labels.contains_key("instance")) {
        let same = |found: &&Found, name: &str| alert.labels.get(name) == found.labels.get(name);
        let is_of_it = |found: &&Found| same(found, DISK) && same(found, "model_name");
        let found = disks.iter().find(is_of_it).filter(|found| found.labels.contains_key(DISK));
        if let Some(node) = found.and_then(|found| found.labels.get("instance")) {
            alert.labels.insert("instance".to_owned(), node.clone());
        }
    }
}

/// What the API tells of all rules, as far as it matters here.
#[derive(Debug, Deserialize)]
struct RuleListing {
    #[serde(default)]
    groups: Vec<RuleGroup>,
}

#[derive(Debug, Deserialize)]
struct RuleGroup {
    rules: Vec<RuleHealth>,
}

#[derive(Debug, Deserialize)]
struct RuleHealth {
    name: String,
    #[serde(default)]
    health: String,
}

/// The rules of a server that it cannot evaluate, and which therefore never fire.
pub(crate) async fn ask_failing_rules(client: &Client) -> Result<Vec<String>, Failure> {
    let listing: RuleListing = listing(client, "/api/v1/rules").await?;
    let rules = listing.groups.into_iter().flat_map(|group| group.rules);
    Ok(rules.filter(|rule| rule.health == "err").map(|rule| rule.name).collect())
}

async fn listing<T: DeserializeOwned>(client: &Client, path: &str) -> Result<T, Failure> {
    let reply = client.get(path).await?;
    serde_json::from_value(reply.data).map_err(|error| {
        Failure::new(format!("{} gave an answer we cannot read", client.base())).because(&error)
    })
}

fn table(alerts: &[Alert]) -> Table {
    let mut table = Table::new(
        [
            Column::text("state", "STATE"),
            Column::text("severity", "SEVERITY"),
            Column::text("alert", "ALERT"),
            Column::text("node", "NODE"),
            Column::new("since_unix_seconds", "SINCE", Unit::Time).minor(1),
            Column::prose("summary", "SUMMARY"),
        ],
        "No alerts: nothing fires and nothing is pending.",
    );
    let mut alerts: Vec<&Alert> = alerts.iter().collect();
    // "firing" sorts before "pending"; of each, the gravest stand first, the oldest of those above.
    let rank = |alert: &'_ Alert| (alert.state.clone(), alert.gravity(), alert.active_at.clone());
    alerts.sort_by_cached_key(|alert| rank(alert));
    for alert in alerts {
        let label = |name: &str| Cell::text_opt(alert.labels.get(name).cloned());
        let summary =
            ["summary", "description"].iter().find_map(|name| alert.annotations.get(*name));
        table.push(vec![
            Cell::text(&*alert.state).tone(tone(alert)),
            label("severity"),
            label("alertname"),
            label("instance"),
            Cell::number(alert.active_at.as_deref().and_then(unix_seconds)),
            Cell::text_opt(summary.cloned()),
        ]);
    }
    table
}

fn tone(alert: &Alert) -> Tone {
    match (alert.state.as_str(), alert.labels.get("severity").map(String::as_str)) {
        ("firing", Some("critical")) => Tone::Bad,
        ("firing", _) => Tone::Warn,
        _ => Tone::Plain,
    }
}

fn unix_seconds(rfc3339: &str) -> Option<f64> {
    let moment: Timestamp = rfc3339.parse().ok()?;
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of this era fit 53 bits")]
    Some(moment.as_millisecond() as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::plain;

    #[test]
    fn alerts_of_a_disk_are_of_the_node_that_has_it_now() {
        let listing: Listing = serde_json::from_str(
            r#"{"alerts":[
                {"labels":{"alertname":"DiskAct","disk":"S1","model_name":"WDC"},"state":"firing"},
                {"labels":{"alertname":"DiskAct","disk":"S1"},"state":"firing"},
                {"labels":{"alertname":"Watchdog"},"state":"firing"}]}"#,
        )
        .unwrap();
        let mut alerts = listing.alerts;
        let answers = crate::view::tests::canned(
            r#"
            verdict {instance="old"} 1
            verdict {instance="apex",disk="S1",model_name="WDC"} 1
            "#,
        );
        place(&mut alerts, answers.all("verdict"));
        let nodes = alerts.iter().map(|alert| alert.labels.get("instance").map(String::as_str));
        assert_eq!(nodes.collect::<Vec<_>>(), [Some("apex"), None, None]);
    }

    #[test]
    fn firing_first_and_the_gravest_first() {
        let listing: Listing = serde_json::from_str(
            r#"{"alerts":[
                {"labels":{"alertname":"Hot","instance":"apex","severity":"warning"},
                 "annotations":{"summary":"apex is hot"},"state":"pending",
                 "activeAt":"2025-11-21T05:00:00Z","value":"7e+01"},
                {"labels":{"alertname":"NodeDown","instance":"nas","severity":"critical"},
                 "annotations":{"description":"nas says nothing"},"state":"firing",
                 "activeAt":"2025-11-21T05:43:56.5Z"},
                {"labels":{"alertname":"Watchdog"},"state":"firing"}]}"#,
        )
        .unwrap();
        assert_eq!(
            plain(&table(&listing.alerts)),
            "\
STATE    SEVERITY  ALERT     NODE                SINCE  SUMMARY
firing   critical  NodeDown  nas   2025-11-21 05:43:56  nas says nothing
firing   -         Watchdog  -                       -  -
pending  warning   Hot       apex  2025-11-21 05:00:00  apex is hot
"
        );
    }
}
