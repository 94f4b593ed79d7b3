//! An Alertmanager's YAML: read into a [`MannersSpec`], and written from one, so that an existing
//! configuration goes on and Alertmanager's tools understand ours.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::spec::{Defaults, InhibitSpec, MannersConfig, MannersSpec, RouteSpec, SpecProblem};
use super::times::TimesSpec;

/// The kinds of receivers that can be taken over.
const KNOWN_KINDS: [&str; 2] = ["webhook_configs", "email_configs"];

/// The keys of `global` for mail that are used.
const USED_GLOBALS: [&str; 6] = [
    "smtp_smarthost",
    "smtp_from",
    "smtp_auth_username",
    "smtp_auth_password",
    "smtp_auth_password_file",
    "smtp_require_tls",
];

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
    /// How webhooks that say nothing of it are asked.
    pub http: Option<FileHttp>,
    /// Keys that are not used, such as `templates`.
    pub unused: Vec<String>,
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
    /// How it is asked.
    pub http_config: Option<FileHttp>,
    /// All that is not used.
    #[serde(flatten)]
    pub more: More,
}

/// What else there is in a part of the file: keys of Alertmanager's that mean nothing here.
pub type More = BTreeMap<String, serde_json::Value>;

/// How a server is asked: `http_config`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct FileHttp {
    /// A token, or something else in a header.
    pub authorization: Option<FileAuthorization>,
    /// A user and a password.
    pub basic_auth: Option<FileBasicAuth>,
    /// The name of the first key of `authorization`, before there was that.
    pub bearer_token: Option<String>,
    /// A file with a token, likewise.
    pub bearer_token_file: Option<String>,
    /// Whom to trust.
    pub tls_config: Option<FileTls>,
    /// Whether redirects are followed: they are not.
    pub follow_redirects: Option<bool>,
    /// Whether HTTP/2 may be used: it is not.
    pub enable_http2: Option<bool>,
    /// All that is not used.
    #[serde(flatten)]
    pub more: More,
}

/// `authorization`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct FileAuthorization {
    /// The word before the credentials; without it `Bearer`.
    pub r#type: Option<String>,
    /// The credentials.
    pub credentials: Option<String>,
    /// A file that has the credentials.
    pub credentials_file: Option<String>,
}

/// `basic_auth`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct FileBasicAuth {
    /// The user.
    pub username: Option<String>,
    /// The password.
    pub password: Option<String>,
    /// A file that has the password.
    pub password_file: Option<String>,
    /// All that is not used.
    #[serde(flatten)]
    pub more: More,
}

/// `tls_config`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct FileTls {
    /// A file with certificates to trust.
    pub ca_file: Option<String>,
    /// All that is not used.
    #[serde(flatten)]
    pub more: More,
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
    /// Whom to trust.
    pub tls_config: Option<FileTls>,
    /// All that is not used.
    #[serde(flatten)]
    pub more: More,
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
    let mut global = document.global.unwrap_or_default();
    let http = global.remove("http_config").map(serde_json::from_value).transpose();
    let http: Option<FileHttp> =
        http.map_err(|error| problem("global", format!("http_config: {error}")))?;
    let mut unused = Vec::new();
    unused.extend(document.templates.filter(|list| !list.is_empty()).map(|_| "templates".into()));
    unused.extend(document.tracing.map(|_| "tracing".into()));
    unused.extend(http.iter().flat_map(|http| http.unused("global.http_config")));
    let used = |key: &str| key == "resolve_timeout" || USED_GLOBALS.contains(&key);
    // Those of kinds that are not taken over are told with the receivers.
    let of_mail = global.keys().filter(|key| key.starts_with("smtp_") && !used(key));
    unused.extend(of_mail.map(|key| format!("global.{key}")));
    let global: BTreeMap<String, String> =
        global.into_iter().filter_map(|(key, value)| Some((key, scalar(&value)?))).collect();
    let spec = MannersSpec {
        route: Some(route),
        inhibit: document.inhibit_rules.unwrap_or_default(),
        times,
        resolve_timeout: global.get("resolve_timeout").cloned(),
        defaults: Defaults::Alertmanager,
        ..MannersSpec::default()
    };
    unused.extend(receivers.iter().flat_map(FileReceiver::unused));
    Ok(AlertmanagerFile { spec, receivers, global, http, unused })
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

fn named<'k>(place: &'k str, more: &'k More) -> impl Iterator<Item = String> + 'k {
    let used = more.iter().filter(|(_, value)| !value.is_null());
    used.map(move |(key, _)| format!("{place}.{key}"))
}

impl FileHttp {
    fn unused(&self, place: &str) -> Vec<String> {
        let mut unused: Vec<String> = named(place, &self.more).collect();
        unused.extend(self.basic_auth.iter().flat_map(|auth| {
            let place = format!("{place}.basic_auth");
            named(&place, &auth.more).collect::<Vec<_>>()
        }));
        unused.extend(self.tls_config.iter().flat_map(|tls| tls.unused(place)));
        unused
    }
}

impl FileTls {
    fn unused(&self, place: &str) -> Vec<String> {
        named(&format!("{place}.tls_config"), &self.more).collect()
    }
}

impl FileReceiver {
    fn unused(&self) -> Vec<String> {
        let mut unused = Vec::new();
        for (at, hook) in self.webhooks.iter().enumerate() {
            let place = format!("{}.webhook_configs[{at}]", self.name);
            unused.extend(named(&place, &hook.more));
            let http = format!("{place}.http_config");
            unused.extend(hook.http_config.iter().flat_map(|config| config.unused(&http)));
        }
        for (at, mail) in self.emails.iter().enumerate() {
            let place = format!("{}.email_configs[{at}]", self.name);
            unused.extend(named(&place, &mail.more));
            unused.extend(mail.tls_config.iter().flat_map(|tls| tls.unused(&place)));
        }
        unused
    }
}

impl AlertmanagerFile {
    /// What of the file is not used, a line each: receivers of other kinds, and keys.
    pub fn remarks(&self) -> Vec<String> {
        let unused = self.unused.join(", ");
        let unused = (!unused.is_empty()).then(|| format!("keys that mean nothing here: {unused}"));
        self.unknown_kinds().into_iter().chain(unused).collect()
    }

    /// One line on the receivers that cannot be taken over; `None` when all can.
    fn unknown_kinds(&self) -> Option<String> {
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
