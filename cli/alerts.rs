//! `labstat alerts`: what is firing, what is about to, who looks after it, and what follows from what.

use std::collections::BTreeSet;
use std::process::ExitCode;

use clap::Subcommand;
use hyper::Method;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::answer::{Answer, Found, LabelMap};
use crate::client::{Client, ServerArgs, path_part};
use crate::failure::Failure;
use crate::human::Unit;
use crate::output;
use crate::runtime;
use crate::silence;
use crate::table::{Cell, Column, Format, Table, Tone};
use crate::view::{self, ViewArgs, look};

/// Shows alerts that fire or are pending, and who looks after them
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  labstat alerts                    firing first, what follows from an alert below it
  labstat alerts --node nas
  labstat alerts --format json      for scripts
  labstat alerts ack NodeDown --for 2h --comment \"on it\"
  labstat alerts show 3f2a81c09d5e7b46"
)]
pub(crate) struct Alerts {
    #[command(subcommand)]
    command: Option<AlertsCommand>,

    #[command(flatten)]
    view: ViewArgs,
}

#[derive(Debug, Subcommand)]
enum AlertsCommand {
    Ack(Ack),
    Show(Show),
}

/// Acknowledges alerts: they are not told again, and nobody else is called
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  labstat alerts ack NodeDown
  labstat alerts ack 3f2a81c09d5e7b46 --for 2h --comment \"disk is ordered\"
  labstat alerts ack NodeDown --undo

It holds until the alert is over, or for as long as --for says.")]
struct Ack {
    /// Names of alerts, or their fingerprints
    #[arg(value_name = "ALERT", required = true)]
    alerts: Vec<String>,

    /// How long it holds, such as 2h [default: until the alert is over]
    #[arg(long = "for", value_name = "DURATION", value_parser = length)]
    length: Option<String>,

    /// What others should know
    #[arg(long, value_name = "TEXT", default_value = "")]
    comment: String,

    /// Who acknowledges [default: you on this machine]
    #[arg(long, value_name = "NAME")]
    author: Option<String>,

    /// Takes it back
    #[arg(long, conflicts_with_all = ["length", "comment", "author"])]
    undo: bool,

    #[command(flatten)]
    server: ServerArgs,
}

/// Shows everything about one alert: labels, what to do, who hears of it, what happened so far
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  labstat alerts show NodeDown
  labstat alerts show 3f2a81c09d5e7b46 --format json")]
struct Show {
    /// Its fingerprint, or its name where one alert alone has it
    #[arg(value_name = "ALERT")]
    alert: String,

    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    format: Format,

    #[command(flatten)]
    server: ServerArgs,
}

fn length(text: &str) -> Result<String, String> {
    crate::settings::duration_ms(text).map(|_| text.to_owned())
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
    #[serde(default)]
    fingerprint: Option<String>,
    #[serde(default)]
    value: Option<Figure>,
    #[serde(default)]
    silenced_by: Vec<SilencedBy>,
    #[serde(default)]
    inhibited_by: Vec<String>,
    #[serde(default)]
    muted_by: Vec<String>,
    #[serde(default)]
    acknowledged: Option<Acknowledged>,
    #[serde(default)]
    caused_by: Option<String>,
    #[serde(default)]
    receivers: Vec<String>,
    #[serde(default)]
    timeline: Vec<Event>,
    #[serde(default)]
    flapping: Option<u64>,
}

/// A number, which Prometheus writes as a text.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Figure {
    Number(f64),
    Text(String),
}

#[derive(Debug, Clone, Deserialize)]
struct SilencedBy {
    #[serde(default)]
    by: String,
    #[serde(default)]
    until: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Acknowledged {
    #[serde(default)]
    by: String,
    #[serde(default)]
    comment: String,
}

/// Something that was told of an alert and its like.
#[derive(Debug, Clone, Deserialize)]
struct Event {
    at: String,
    status: String,
    text: String,
}

impl Figure {
    fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
        }
    }
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

    /// What keeps it from being told, and who looks after it; empty when nothing and nobody.
    pub(crate) fn attention(&self) -> String {
        let mut parts = Vec::new();
        if let Some(ack) = &self.acknowledged {
            parts.push(format!("acknowledged by {}", ack.by));
        }
        if let Some(silence) = self.silenced_by.first() {
            parts.push(format!("silenced by {}", silence.by));
        }
        if !self.inhibited_by.is_empty() {
            parts.push("follows from another".to_owned());
        }
        parts.extend(self.muted_by.first().map(|name| format!("muted ({name})")));
        parts.extend(self.flapping.map(|count| format!("flaps ({count} times)")));
        parts.join(", ")
    }

    /// Whether it is silenced, or muted by a time or a maintenance.
    pub(crate) fn is_silenced(&self) -> bool {
        !self.silenced_by.is_empty() || !self.muted_by.is_empty()
    }

    /// Whether somebody has acknowledged it.
    pub(crate) fn is_acknowledged(&self) -> bool {
        self.acknowledged.is_some()
    }
}

#[derive(Debug, Deserialize)]
struct Listing {
    alerts: Vec<Alert>,
}

impl Alerts {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        match self.command {
            Some(AlertsCommand::Ack(ack)) => return ack.run(),
            Some(AlertsCommand::Show(show)) => return show.run(),
            None => {}
        }
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

impl Ack {
    fn run(self) -> Result<ExitCode, Failure> {
        let author = self.author.unwrap_or_else(silence::author);
        let (number, what) = runtime::block_on(async {
            let client = Client::new(&self.server)?;
            if self.undo {
                for alert in &self.alerts {
                    let path = format!("/api/labstat/v1/ack/{}", path_part(alert));
                    client.delete(&path).await?;
                }
                return Ok((self.alerts.len(), "no longer acknowledged"));
            }
            let mut form = vec![("by", author), ("comment", self.comment)];
            form.extend(self.length.map(|length| ("for", length)));
            form.extend(self.alerts.iter().map(|alert| ("alert", alert.clone())));
            let reply = client.post_form("/api/labstat/v1/ack", &form).await?;
            let found = reply.data.get("acknowledged").and_then(|list| list.as_array());
            Ok((found.map_or(0, Vec::len), "acknowledged"))
        })?;
        output::result(&format!("{} {what}\n", view::count(number, "alert")))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Show {
    fn run(self) -> Result<ExitCode, Failure> {
        let (alert, data) = runtime::block_on(async {
            let client = Client::new(&self.server)?;
            let Heard { alerts, is_labstat } = hear(&client).await?;
            let known = meant(&alerts, &self.alert)?;
            if !is_labstat {
                return self.of_another(known, client.base());
            }
            // One that is over is known by its fingerprint for a while.
            let known = known.and_then(|alert| alert.fingerprint.as_ref());
            let fingerprint = known.unwrap_or(&self.alert);
            let path = format!("/api/labstat/v1/alerts/{}", path_part(fingerprint));
            let data = client.get(&path).await?.data;
            let alert: Alert = serde_json::from_value(data.clone()).map_err(|error| {
                Failure::new(format!("{} gave an answer we cannot read", client.base()))
                    .because(&error)
            })?;
            Ok((alert, Some(data)))
        })?;
        let text = match (self.format, data) {
            (Format::Json, Some(data)) => format!("{data}\n"),
            (format, _) => facts(&alert).render(format, &look()),
        };
        output::result(&text)?;
        Ok(ExitCode::SUCCESS)
    }

    /// An Alertmanager and a Prometheus have no page about one alert: what they list of it is all.
    fn of_another(
        &self,
        known: Option<&Alert>,
        base: &str,
    ) -> Result<(Alert, Option<serde_json::Value>), Failure> {
        let Some(alert) = known else {
            let what = format!("{base} has no alert {:?} now", self.alert);
            return Err(Failure::new(what).cure(
                "only labstat knows of those that are over; `labstat alerts` lists the others",
            ));
        };
        Ok((alert.clone(), None))
    }
}

/// The only alert that is called so, or has that fingerprint.
fn meant<'a>(alerts: &'a [Alert], name: &str) -> Result<Option<&'a Alert>, Failure> {
    let mut named = alerts.iter().filter(|alert| {
        let label = alert.labels.get("alertname");
        [label, alert.fingerprint.as_ref()].into_iter().flatten().any(|known| known == name)
    });
    match (named.next(), named.next()) {
        (Some(_), Some(_)) => Err(Failure::new(format!("several alerts are called {name:?}"))
            .cure("give a fingerprint: `labstat alerts --format csv` has them")),
        (first, _) => Ok(first),
    }
}

/// What is known of an alert, a line each.
fn facts(alert: &Alert) -> Table {
    let mut table = Table::new(
        [Column::text("what", "WHAT"), Column::prose("says", "SAYS")],
        "Nothing is known of it.",
    );
    let mut push = |what: &str, says: &str| {
        if !says.is_empty() {
            table.push(vec![Cell::text(what), Cell::text(says)]);
        }
    };
    push("state", &alert.state);
    push("attention", &alert.attention());
    let ack = alert.acknowledged.as_ref();
    push("comment", ack.map_or("", |ack| &ack.comment));
    let silence = alert.silenced_by.first();
    push("silenced until", silence.map_or("", |silence| &silence.until));
    push("since", alert.active_at.as_deref().unwrap_or(""));
    let value = alert.value.as_ref().and_then(Figure::number);
    push("value", &value.map_or_else(String::new, crate::human::plain));
    push("told to", &alert.receivers.join(", "));
    push("caused by", alert.caused_by.as_deref().unwrap_or(""));
    push("fingerprint", alert.fingerprint.as_deref().unwrap_or(""));
    for (name, value) in alert.annotations.iter().chain(&alert.labels) {
        push(name, value.trim());
    }
    for event in &alert.timeline {
        push(&event.at, &format!("{}: {}", event.status, event.text));
    }
    table
}

/// All alerts of a server that fire or are pending; of a Prometheus, or another server with its API,
/// without who looks after them, and of an Alertmanager without their values.
pub(crate) async fn ask(client: &Client) -> Result<Vec<Alert>, Failure> {
    hear(client).await.map(|heard| heard.alerts)
}

/// The alerts of a server.
struct Heard {
    alerts: Vec<Alert>,
    /// Whether it is a labstat, which knows more of each.
    is_labstat: bool,
}

async fn hear(client: &Client) -> Result<Heard, Failure> {
    let own = client.get("/api/labstat/v1/alerts").await;
    let own = own.ok().and_then(|reply| serde_json::from_value::<Vec<Alert>>(reply.data).ok());
    let is_labstat = own.is_some();
    let mut alerts = match own {
        Some(alerts) => alerts,
        None => match listing::<Listing>(client, "/api/v1/alerts").await {
            Ok(listing) => listing.alerts,
            // An Alertmanager has no other.
            Err(failure) => received(client).await?.ok_or(failure)?,
        },
    };
    if alerts.iter().any(|alert| alert.labels.contains_key(DISK)) {
        let reply = client.instant("labstat_disk_verdict", None).await;
        // Without it, the summaries still say where the disks are.
        if let Ok(Ok(Answer::Vector(found))) = reply.map(|reply| reply.answer(client.base())) {
            place(&mut alerts, &found);
        }
    }
    Ok(Heard { alerts, is_labstat })
}

/// An alert as an Alertmanager tells it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Received {
    labels: LabelMap,
    #[serde(default)]
    annotations: LabelMap,
    starts_at: Option<String>,
    fingerprint: Option<String>,
    #[serde(default)]
    receivers: Vec<Named>,
    status: Standing,
}

#[derive(Debug, Deserialize)]
struct Named {
    name: String,
}

/// What keeps an alert from being told: ids of silences, fingerprints, names of times.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Standing {
    #[serde(default)]
    silenced_by: Vec<String>,
    #[serde(default)]
    inhibited_by: Vec<String>,
    #[serde(default)]
    muted_by: Vec<String>,
}

/// All alerts of an Alertmanager; `None` of what is none.
async fn received(client: &Client) -> Result<Option<Vec<Alert>>, Failure> {
    let found = client.v2::<Vec<Received>>(Method::GET, "/api/v2/alerts", None).await;
    let Ok(Some(found)) = found else { return Ok(None) };
    let is_silenced = found.iter().any(|alert| !alert.status.silenced_by.is_empty());
    let silences = if is_silenced { silence::ask(client).await? } else { Vec::new() };
    Ok(Some(found.into_iter().map(|alert| alert.told(&silences)).collect()))
}

impl Received {
    /// The same as labstat tells it. Whoever sends to an Alertmanager sends what fires.
    fn told(self, silences: &[silence::Kept]) -> Alert {
        let Self { labels, annotations, starts_at, fingerprint, receivers, status } = self;
        let silence = |id: String| {
            let kept = silences.iter().find(|silence| silence.id == id);
            SilencedBy {
                by: kept.map_or(id, |silence| silence.created_by.clone()),
                until: kept.map_or_else(String::new, |silence| silence.ends_at.clone()),
            }
        };
        Alert {
            labels,
            annotations,
            state: "firing".to_owned(),
            active_at: starts_at,
            fingerprint,
            value: None,
            silenced_by: status.silenced_by.into_iter().map(silence).collect(),
            inhibited_by: status.inhibited_by,
            muted_by: status.muted_by,
            acknowledged: None,
            caused_by: None,
            receivers: receivers.into_iter().map(|receiver| receiver.name).collect(),
            timeline: Vec::new(),
            flapping: None,
        }
    }
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
            Column::new("value", "VALUE", Unit::Plain).sparse().minor(3),
            Column::text("attention", "ATTENTION").sparse().minor(2),
            Column::prose("summary", "SUMMARY"),
            Column::text("fingerprint", "FINGERPRINT").sparse().minor(4),
        ],
        "No alerts: nothing fires and nothing is pending.",
    );
    for (depth, alert) in tree(alerts) {
        let label = |name: &str| Cell::text_opt(alert.labels.get(name).cloned());
        let summary =
            ["summary", "description"].iter().find_map(|name| alert.annotations.get(*name));
        let branch = match depth {
            0 => String::new(),
            depth => format!("{}└ ", "  ".repeat(depth - 1)),
        };
        table.push(vec![
            Cell::text(&*alert.state).tone(tone(alert)),
            label("severity"),
            label("alertname").branch(branch),
            label("instance"),
            Cell::number(alert.active_at.as_deref().and_then(unix_seconds)),
            Cell::number(alert.value.as_ref().and_then(Figure::number)),
            Cell::text(alert.attention()),
            Cell::text_opt(summary.cloned()),
            Cell::text_opt(alert.fingerprint.clone()),
        ]);
    }
    table
}

/// How deep alerts are shown below their causes.
const DEPTH_MAX: usize = 8;

/// The alerts in the order in which they are shown, what follows from one right below it: firing
/// before pending ("firing" sorts before "pending"), the gravest first, the oldest of those above.
fn tree(alerts: &[Alert]) -> Vec<(usize, &Alert)> {
    let mut sorted: Vec<&Alert> = alerts.iter().collect();
    let rank = |alert: &'_ Alert| (alert.state.clone(), alert.gravity(), alert.active_at.clone());
    sorted.sort_by_cached_key(|alert| rank(alert));
    let known: BTreeSet<&str> =
        alerts.iter().filter_map(|alert| alert.fingerprint.as_deref()).collect();
    let cause = |alert: &'_ Alert| alert.caused_by.clone().filter(|by| known.contains(by.as_str()));
    let mut open: Vec<(usize, &Alert)> = sorted
        .iter()
        .rev()
        .filter(|alert| cause(alert).is_none())
        .map(|alert| (0, *alert))
        .collect();
    let mut shown = Vec::with_capacity(sorted.len());
    let mut seen = BTreeSet::new();
    while let Some((depth, alert)) = open.pop() {
        shown.push((depth, alert));
        let Some(fingerprint) = alert.fingerprint.as_deref() else { continue };
        if seen.insert(fingerprint) {
            let follows =
                sorted.iter().rev().filter(|other| cause(other).as_deref() == Some(fingerprint));
            open.extend(follows.map(|other| ((depth + 1).min(DEPTH_MAX), *other)));
        }
    }
    // Those that are each other's cause hang on nothing that was shown.
    let is_shown = |alert: &Alert| shown.iter().any(|(_, other)| std::ptr::eq(*other, alert));
    let rest: Vec<&Alert> = sorted.iter().copied().filter(|alert| !is_shown(alert)).collect();
    shown.extend(rest.into_iter().map(|alert| (0, alert)));
    shown
}

fn tone(alert: &Alert) -> Tone {
    match (alert.state.as_str(), alert.labels.get("severity").map(String::as_str)) {
        ("firing", Some("critical")) => Tone::Bad,
        ("firing", _) => Tone::Warn,
        _ => Tone::Plain,
    }
}

/// A time of the API in Unix seconds.
pub(crate) fn unix_seconds(rfc3339: &str) -> Option<f64> {
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
STATE    SEVERITY  ALERT     NODE                SINCE  VALUE  SUMMARY
firing   critical  NodeDown  nas   2025-11-21 05:43:56      -  nas says nothing
firing   -         Watchdog  -                       -      -  -
pending  warning   Hot       apex  2025-11-21 05:00:00     70  apex is hot
"
        );
    }

    #[test]
    fn what_follows_from_an_alert_stands_below_it_with_who_looks_after_it() {
        let alerts: Vec<Alert> = serde_json::from_str(
            r#"[
                {"fingerprint":"c","labels":{"alertname":"CephOsdDown","severity":"critical"},"state":"firing","causedBy":"a"},
                {"fingerprint":"b","labels":{"alertname":"RaidDegraded","severity":"warning"},"state":"firing","causedBy":"a",
                 "inhibitedBy":["a"]},
                {"fingerprint":"a","labels":{"alertname":"DiskDead","severity":"critical"},"state":"firing",
                 "acknowledged":{"by":"anna@nas","comment":"on it","at":"x"}},
                {"fingerprint":"x","labels":{"alertname":"X","severity":"info"},"state":"firing","causedBy":"gone",
                 "silencedBy":[{"id":"1","by":"bob","comment":"","until":"y"}]},
                {"fingerprint":"p","labels":{"alertname":"P"},"state":"firing","causedBy":"q"},
                {"fingerprint":"q","labels":{"alertname":"Q"},"state":"firing","causedBy":"p"}]"#,
        )
        .unwrap();
        let names: Vec<(usize, &str)> = tree(&alerts)
            .into_iter()
            .map(|(depth, alert)| (depth, alert.labels["alertname"].as_str()))
            .collect();
        assert_eq!(
            names,
            [
                (0, "DiskDead"),
                (1, "CephOsdDown"),
                (1, "RaidDegraded"),
                (0, "X"),
                (0, "P"),
                (0, "Q")
            ]
        );
        assert_eq!(alerts[2].attention(), "acknowledged by anna@nas");
        assert_eq!(alerts[1].attention(), "follows from another");
        assert_eq!(alerts[3].attention(), "silenced by bob");
        assert!(alerts[3].is_silenced() && alerts[2].is_acknowledged());
        let meant = meant(&alerts, "DiskDead").unwrap().unwrap();
        assert_eq!(meant.fingerprint.as_deref(), Some("a"));
        assert!(plain(&table(&alerts)).contains("└ RaidDegraded"));
    }
}
