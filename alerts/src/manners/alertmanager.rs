//! An Alertmanager's YAML: read into a [`MannersSpec`], and written from one, so that an existing
//! configuration goes on and Alertmanager's tools understand ours.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::spec::{Defaults, InhibitSpec, MannersConfig, MannersSpec, RouteSpec, SpecProblem};
use super::times::TimesSpec;

/// The kinds of receivers that can be taken over.
const KNOWN_KINDS: [&str; 2] = ["webhook_configs", "email_configs"];

/// The largest file that is read.
const FILE_LEN_MAX: usize = 4 * 1024 * 1024;

/// What an Alertmanager's configuration says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AlertmanagerFile {
    /// Routes, inhibition and times.
    pub spec: MannersSpec,
    /// The receivers.
    pub receivers: Vec<FileReceiver>,
    /// The `smtp_*` keys of `global`, as text.
    pub global: BTreeMap<String, String>,
}

/// A receiver of the file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FileReceiver {
    /// The name that routes give.
    pub name: String,
    /// Its webhooks.
    pub webhooks: Vec<FileWebhook>,
    /// Its mailboxes.
    pub emails: Vec<FileEmail>,
    /// The kinds that cannot be taken over, such as `pagerduty_configs`.
    pub unknown: Vec<String>,
}

/// An entry of `webhook_configs`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct FileWebhook {
    /// Whether it is told of the end; without it, yes.
    pub send_resolved: Option<bool>,
    /// Where to post to.
    pub url: Option<String>,
    /// A file that has the URL.
    pub url_file: Option<String>,
}

/// An entry of `email_configs`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct FileEmail {
    /// Whether it is told of the end; without it, no.
    pub send_resolved: Option<bool>,
    /// The addressees, separated by commas.
    pub to: Option<String>,
    /// The sender.
    pub from: Option<String>,
    /// The server and its port.
    pub smarthost: Option<String>,
    /// The user.
    pub auth_username: Option<String>,
    /// The password.
    pub auth_password: Option<String>,
    /// A file that has the password.
    pub auth_password_file: Option<String>,
    /// Whether the connection must be secured; without it, yes.
    pub require_tls: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    global: Option<BTreeMap<String, serde_json::Value>>,
    route: Option<RouteSpec>,
    #[serde(default)]
    inhibit_rules: Option<Vec<InhibitSpec>>,
    #[serde(default)]
    receivers: Option<Vec<BTreeMap<String, serde_json::Value>>>,
    #[serde(default)]
    mute_time_intervals: Option<Vec<TimesSpec>>,
    #[serde(default)]
    time_intervals: Option<Vec<TimesSpec>>,
    /// Go templates of messages: the words of ours are our own.
    #[serde(default)]
    templates: Option<Vec<String>>,
    #[serde(default)]
    tracing: Option<serde_json::Value>,
}

/// Reads an Alertmanager's configuration. What is known but not used is left out; a receiver's
/// unknown kinds are named in it.
pub fn read(text: &str) -> Result<AlertmanagerFile, SpecProblem> {
    let problem = |place: &str, text: String| SpecProblem { place: place.to_owned(), text };
    if text.len() > FILE_LEN_MAX {
        return Err(problem("file", format!("over {FILE_LEN_MAX} bytes")));
    }
    let document: Option<Document> = serde_saphyr::from_str(text)
        .map_err(|error| problem("file", error.without_snippet().to_string()))?;
    let document = document.unwrap_or_default();
    let route = document.route.ok_or_else(|| problem("file", "no routes provided".to_owned()))?;
    let mut receivers = Vec::new();
    for (at, fields) in document.receivers.unwrap_or_default().into_iter().enumerate() {
        let place = format!("receivers[{at}]");
        receivers.push(receiver(fields).map_err(|text| problem(&place, text))?);
    }
    let mut times = document.time_intervals.unwrap_or_default();
    times.extend(document.mute_time_intervals.unwrap_or_default());
    let global = document.global.unwrap_or_default().into_iter();
    let global: BTreeMap<String, String> =
        global.filter_map(|(key, value)| Some((key, scalar(&value)?))).collect();
    let spec = MannersSpec {
        route: Some(route),
        inhibit: document.inhibit_rules.unwrap_or_default(),
        times,
        resolve_timeout: global.get("resolve_timeout").cloned(),
        defaults: Defaults::Alertmanager,
        ..MannersSpec::default()
    };
    let _ = (document.templates, document.tracing);
    Ok(AlertmanagerFile { spec, receivers, global })
}

fn scalar(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        serde_json::Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

fn receiver(fields: BTreeMap<String, serde_json::Value>) -> Result<FileReceiver, String> {
    let mut receiver = FileReceiver::default();
    for (key, value) in fields {
        if value.is_null() {
            continue;
        }
        let bad = |error: serde_json::Error| format!("{key}: {error}");
        match key.as_str() {
            "name" => receiver.name = scalar(&value).unwrap_or_default(),
            "webhook_configs" => {
                receiver.webhooks = serde_json::from_value(value).map_err(bad)?;
            }
            "email_configs" => receiver.emails = serde_json::from_value(value).map_err(bad)?,
            _ => receiver.unknown.push(key),
        }
    }
    if receiver.name.is_empty() {
        return Err("missing name in receiver".to_owned());
    }
    Ok(receiver)
}

impl AlertmanagerFile {
    /// One line on the receivers that cannot be taken over; `None` when all can.
    pub fn unknown_kinds(&self) -> Option<String> {
        let unknown = self.receivers.iter().filter(|receiver| !receiver.unknown.is_empty());
        let named = unknown.map(|receiver| {
            let kinds = receiver.unknown.iter().map(|kind| kind.trim_end_matches("_configs"));
            format!("{} ({})", receiver.name, kinds.collect::<Vec<_>>().join(", "))
        });
        let named: Vec<String> = named.collect();
        let known = KNOWN_KINDS.map(|kind| kind.trim_end_matches("_configs")).join(" and ");
        (!named.is_empty()).then(|| {
            let named = named.join(", ");
            format!("receivers with kinds other than {known}, which are not sent to: {named}")
        })
    }
}

#[derive(Serialize)]
struct Written<'a> {
    global: BTreeMap<&'static str, String>,
    route: &'a RouteSpec,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    inhibit_rules: &'a [InhibitSpec],
    receivers: Vec<BTreeMap<&'static str, &'a str>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    time_intervals: &'a [TimesSpec],
}

impl MannersConfig {
    /// Routes, inhibition, times and the receivers' names as an Alertmanager's configuration: what
    /// `amtool` asks for. What Alertmanager has no word for is left out.
    pub fn to_alertmanager_yaml(&self) -> String {
        let mut route = self.original.route.clone().unwrap_or_default();
        complete_root(&mut route, self);
        strip(&mut route);
        let timeout = labstat_model::duration::format_ms(self.resolve_timeout_ms);
        let written = Written {
            global: BTreeMap::from([("resolve_timeout", timeout)]),
            route: &route,
            inhibit_rules: &self.original.inhibit,
            receivers: self
                .receivers()
                .map(|name| BTreeMap::from([("name", name.as_str())]))
                .collect(),
            time_intervals: &self.original.times,
        };
        serde_saphyr::to_string(&written).unwrap_or_default()
    }
}

/// The root says what is in force, whatever Alertmanager's own defaults are.
fn complete_root(route: &mut RouteSpec, config: &MannersConfig) {
    let Some(root) = config.tree.route(0) else { return };
    let duration = labstat_model::duration::format_ms;
    route.group_by.get_or_insert_with(|| root.group_by.names());
    route.group_wait.get_or_insert_with(|| duration(root.group_wait_ms));
    route.group_interval.get_or_insert_with(|| duration(root.group_interval_ms));
    route.repeat_interval.get_or_insert_with(|| duration(root.repeat_interval_ms));
}

/// Alertmanager knows no escalation; matchers are written as a list.
fn strip(route: &mut RouteSpec) {
    route.escalation = None;
    if let Some(texts) = &route.matchers {
        let list: Vec<String> = texts.iter().map(str::to_owned).collect();
        route.matchers = (!list.is_empty()).then_some(super::spec::Texts::Many(list));
    }
    route.routes.iter_mut().for_each(strip);
}

impl super::spec::GroupBy {
    fn names(&self) -> Vec<String> {
        match self {
            Self::Incident => vec![super::spec::INCIDENT.to_owned()],
            Self::All => vec!["...".to_owned()],
            Self::Labels(names) => names.iter().cloned().collect(),
        }
    }
}
