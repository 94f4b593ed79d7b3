//! Whom to tell and how, ready for use: out of our own configuration, or out of that of an
//! Alertmanager. Reads files.

use std::path::Path;

use jiff::tz::TimeZone;
use labstat_alerts::manners::alertmanager::{
    self, AlertmanagerFile, FileEmail, FileHttp, FileReceiver, FileWebhook,
};
use labstat_alerts::manners::{MannersConfig, MannersSpec, Part, Recipient};
use labstat_alerts::notify::ReceiverConfig;
use serde_json::{Map, Value, json};

use super::Config;
use super::manners::recipient;

/// Receivers, and who of them hears what.
#[derive(Debug, Clone)]
pub struct Audience {
    /// The receivers.
    pub receivers: Vec<ReceiverConfig>,
    /// Who hears what.
    pub manners: MannersConfig,
    /// What of an Alertmanager's file is not used.
    pub remarks: Vec<String>,
}

/// Why there is nobody to tell.
#[derive(Debug, thiserror::Error)]
pub enum AudienceError {
    /// Our own configuration makes no sense.
    #[error("{}", .0.join("; "))]
    Settings(Vec<String>),
    /// An Alertmanager's configuration cannot be used.
    #[error("failed to use {file}: {}", .problems.join("; "))]
    Alertmanager {
        /// The file.
        file: String,
        /// Everything that is wrong with it.
        problems: Vec<String>,
    },
}

impl Config {
    /// Whom to tell and how. Blocks.
    pub fn audience(&self) -> Result<Audience, AudienceError> {
        if let Some((_, problem)) = self.manners.missing() {
            return Err(AudienceError::Settings(vec![problem.to_owned()]));
        }
        if let Some(file) = &self.manners.alertmanager_config {
            let wrong = |problems| AudienceError::Alertmanager {
                file: file.display().to_string(),
                problems,
            };
            return self.audience_of(file).map_err(wrong);
        }
        let manners = self.manners.build(&self.receivers).map_err(|problems| {
            AudienceError::Settings(problems.iter().map(ToString::to_string).collect())
        })?;
        Ok(Audience { receivers: self.receivers.clone(), manners, remarks: Vec::new() })
    }

    /// Routes and receivers of an Alertmanager's file, beside our own receivers, which stand in for
    /// those of the file that are called the same.
    fn audience_of(&self, path: &Path) -> Result<Audience, Vec<String>> {
        let text = std::fs::read_to_string(path).map_err(|error| vec![error.to_string()])?;
        let file = alertmanager::read(&text).map_err(|problem| vec![problem.to_string()])?;
        let mut receivers = self.receivers.clone();
        let mut recipients: Vec<Recipient> = receivers.iter().map(recipient).collect();
        let mut problems = Vec::new();
        let folder = path.parent().unwrap_or(Path::new(""));
        for known in &file.receivers {
            if self.receivers.iter().any(|receiver| receiver.name == known.name) {
                continue;
            }
            match parts(&file, known, folder) {
                Ok(parts) => {
                    let part = |config: &ReceiverConfig| Part {
                        receiver: config.name.clone(),
                        send_resolved: config.send_resolved,
                    };
                    let parts_of = parts.iter().map(part).collect();
                    recipients
                        .push(Recipient { parts: parts_of, ..Recipient::new(&*known.name, true) });
                    receivers.extend(parts);
                }
                Err(problem) => problems.push(format!("receiver {:?}: {problem}", known.name)),
            }
        }
        let own = self.manners.spec();
        let spec = MannersSpec {
            maintenance: own.maintenance,
            escalation: own.escalation,
            flapping: own.flapping,
            ..file.spec.clone()
        };
        let built = spec.build(&recipients, &TimeZone::system());
        problems.extend(built.as_ref().err().into_iter().flatten().map(ToString::to_string));
        match built {
            Ok(manners) if problems.is_empty() => {
                Ok(Audience { receivers, manners, remarks: file.remarks() })
            }
            _ => Err(problems),
        }
    }
}

/// The receivers that a receiver of the file stands for.
fn parts(
    file: &AlertmanagerFile,
    known: &FileReceiver,
    folder: &Path,
) -> Result<Vec<ReceiverConfig>, String> {
    let mut parts = Vec::new();
    let name = |kind: &str, at: usize| format!("{}/{kind}[{at}]", known.name);
    for (at, hook) in known.webhooks.iter().enumerate() {
        let mut webhook = Map::from_iter([("url".to_owned(), json!(hook_url(hook, folder)?))]);
        if let Some(http) = hook.http_config.as_ref().or(file.http.as_ref()) {
            webhook.extend(access(http, folder)?);
        }
        parts.push(json!({
            "name": name("webhook", at),
            "send_resolved": hook.send_resolved.unwrap_or(true),
            "webhook": webhook,
        }));
    }
    for (at, mail) in known.emails.iter().enumerate() {
        parts.push(json!({
            "name": name("email", at),
            "send_resolved": mail.send_resolved.unwrap_or(false),
            "email": email(file, mail, folder)?,
        }));
    }
    let read = |value: Value| {
        let config: ReceiverConfig = serde_json::from_value(value).map_err(|e| e.to_string())?;
        config.problems().into_iter().next().map_or(Ok(config), Err)
    };
    parts.into_iter().map(read).collect()
}

fn hook_url(hook: &FileWebhook, folder: &Path) -> Result<String, String> {
    match (&hook.url, &hook.url_file) {
        (Some(url), None) => Ok(url.clone()),
        (None, Some(file)) => {
            let path = folder.join(file);
            let text = std::fs::read_to_string(&path);
            let text =
                text.map_err(|error| format!("failed to read {}: {error}", path.display()))?;
            Ok(text.trim().to_owned())
        }
        _ => Err("a webhook needs either url or url_file".to_owned()),
    }
}

/// What a server asks for and who it is, as our own configuration says it: paths are relative to the file's
/// folder, and secrets stand in files.
fn access(http: &FileHttp, folder: &Path) -> Result<Map<String, Value>, String> {
    let mut fields = Map::new();
    let mut put = |key: &str, value: Value| fields.insert(key.to_owned(), value);
    if http.bearer_token.is_some() {
        return Err(in_a_file("bearer_token", "bearer_token_file"));
    }
    if let Some(file) = &http.bearer_token_file {
        put("token_file", json!(folder.join(file)));
    }
    if let Some(authorization) = &http.authorization {
        let kind = authorization.r#type.as_deref().unwrap_or("Bearer");
        if !kind.eq_ignore_ascii_case("bearer") {
            return Err(format!("authorization of type {kind:?}: only Bearer is known"));
        }
        if authorization.credentials.is_some() {
            return Err(in_a_file("credentials", "credentials_file"));
        }
        let file = authorization.credentials_file.as_ref();
        put("token_file", json!(folder.join(file.ok_or("an authorization needs credentials")?)));
    }
    if let Some(basic) = &http.basic_auth {
        if basic.password.is_some() {
            return Err(in_a_file("password", "password_file"));
        }
        put("username", json!(basic.username));
        put("password_file", json!(basic.password_file.as_ref().map(|file| folder.join(file))));
    }
    if let Some(file) = http.tls_config.as_ref().and_then(|tls| tls.ca_file.as_ref()) {
        put("ca_file", json!(folder.join(file)));
    }
    Ok(fields)
}

fn in_a_file(key: &str, key_of_file: &str) -> String {
    format!("put {key} into a file, and name it in {key_of_file}")
}

fn email(file: &AlertmanagerFile, mail: &FileEmail, folder: &Path) -> Result<Value, String> {
    let said = |own: &Option<String>, global: &str| {
        own.clone().or_else(|| file.global.get(global).cloned()).filter(|text| !text.is_empty())
    };
    let host = said(&mail.smarthost, "smtp_smarthost").ok_or("an email needs a smarthost")?;
    let (host, port) = host.rsplit_once(':').ok_or("a smarthost needs a port")?;
    let port: u16 = port.parse().map_err(|_| format!("not a port: {port:?}"))?;
    let from = said(&mail.from, "smtp_from").ok_or("an email needs a from")?;
    let to = mail.to.as_deref().unwrap_or("").split(',').map(str::trim);
    let to: Vec<&str> = to.filter(|address| !address.is_empty()).collect();
    if said(&mail.auth_password, "smtp_auth_password").is_some() {
        return Err(in_a_file("auth_password", "auth_password_file"));
    }
    let secured = mail
        .require_tls
        .unwrap_or_else(|| file.global.get("smtp_require_tls").is_none_or(|text| text != "false"));
    let tls = match (port, secured) {
        (465, _) => "tls",
        (_, true) => "starttls",
        (_, false) => "none",
    };
    let mut fields = Map::new();
    let mut put = |key: &str, value: Value| fields.insert(key.to_owned(), value);
    put("host", json!(host.trim_matches(['[', ']'])));
    put("port", json!(port));
    put("tls", json!(tls));
    put("from", json!(from));
    put("to", json!(to));
    if let Some(user) = said(&mail.auth_username, "smtp_auth_username") {
        put("username", json!(user));
    }
    if let Some(password) = said(&mail.auth_password_file, "smtp_auth_password_file") {
        put("password_file", json!(folder.join(password)));
    }
    if let Some(trusted) = mail.tls_config.as_ref().and_then(|tls| tls.ca_file.as_ref()) {
        put("ca_file", json!(folder.join(trusted)));
    }
    Ok(Value::Object(fields))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn audience(yaml: &str, toml: &str) -> Result<Audience, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("alertmanager.yml");
        std::fs::write(&file, yaml).unwrap();
        std::fs::write(dir.path().join("url"), "http://chat.example/secret\n").unwrap();
        let text = format!("{toml}\n[alerting]\nalertmanager_config = {file:?}\n");
        Config::parse(&text).unwrap().audience().map_err(|error| error.to_string())
    }

    fn heard(audience: &Audience, labels: &str) -> Vec<String> {
        let pairs = labels.split(' ').filter_map(|pair| pair.split_once('='));
        let labels: BTreeMap<String, String> =
            pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        audience.manners.test_route(&labels)
    }

    const YAML: &str = "
global: {smtp_smarthost: 'mail.example:587', smtp_from: 'lab@example.org'}
route:
  receiver: mailbox
  routes:
  - {matchers: ['severity=\"critical\"'], receiver: phone}
  - {matchers: ['team=\"a\"'], receiver: chat}
receivers:
- name: mailbox
  email_configs: [{to: 'a@example.org, b@example.org'}]
- name: chat
  webhook_configs: [{url: 'http://one.example/h'}, {url_file: url, send_resolved: false}]
- name: phone
  pushover_configs: [{user_key: x, token: y}]
";

    #[test]
    fn an_alertmanagers_file_is_used_with_what_we_know() {
        let audience = audience(YAML, "").unwrap();
        let names: Vec<&str> =
            audience.receivers.iter().map(|receiver| receiver.name.as_str()).collect();
        assert_eq!(names, ["mailbox/email[0]", "chat/webhook[0]", "chat/webhook[1]"]);
        let mail = audience.receivers[0].email.as_ref().unwrap();
        assert_eq!((mail.host.as_str(), mail.port, mail.to.len()), ("mail.example", Some(587), 2));
        assert!(!audience.receivers[0].send_resolved, "Alertmanager's mails tell no end");
        assert_eq!(
            audience.receivers[2].webhook.as_ref().unwrap().url,
            "http://chat.example/secret"
        );
        assert_eq!(heard(&audience, "severity=critical"), ["phone"]);
        assert_eq!(heard(&audience, "team=a"), ["chat"]);
        assert_eq!(heard(&audience, "team=b"), ["mailbox"]);
        assert!(audience.remarks[0].contains("phone (pushover)"), "{:?}", audience.remarks);
    }

    #[test]
    fn what_a_server_of_the_file_asks_for_is_taken_over() {
        let yaml = "
global:
  smtp_smarthost: 'mail.example:587'
  smtp_from: 'lab@example.org'
  smtp_auth_username: lab
  smtp_auth_password_file: secrets/mail
  smtp_hello: lab.example
  http_config: {authorization: {credentials_file: secrets/token}, proxy_url: 'http://proxy:3128'}
route: {receiver: all}
templates: ['*.tmpl']
receivers:
- name: all
  email_configs: [{to: 'a@example.org', tls_config: {ca_file: ca.pem}, html: '{{ .x }}'}]
  webhook_configs:
  - {url: 'https://one.example/h'}
  - url: 'https://two.example/h'
    max_alerts: 5
    http_config:
      basic_auth: {username: u, password_file: /etc/p}
      tls_config: {ca_file: ca.pem, insecure_skip_verify: true}
";
        let audience = audience(yaml, "").unwrap();
        let hooks: Vec<_> = audience.receivers.iter().filter_map(|r| r.webhook.as_ref()).collect();
        let ends = |path: &Option<std::path::PathBuf>, end: &str| {
            path.as_ref().is_some_and(|path| path.is_absolute() && path.ends_with(end))
        };
        assert!(ends(&hooks[0].token_file, "secrets/token"), "{hooks:?}");
        assert_eq!((&hooks[1].token_file, hooks[1].username.as_deref()), (&None, Some("u")));
        assert!(ends(&hooks[1].password_file, "/etc/p") && ends(&hooks[1].ca_file, "ca.pem"));
        let mail = audience.receivers.iter().find_map(|r| r.email.as_ref()).unwrap();
        assert!(ends(&mail.password_file, "secrets/mail") && ends(&mail.ca_file, "ca.pem"));
        assert_eq!(
            audience.remarks,
            ["keys that mean nothing here: templates, global.http_config.proxy_url, \
              global.smtp_hello, all.webhook_configs[1].max_alerts, \
              all.webhook_configs[1].http_config.tls_config.insecure_skip_verify, \
              all.email_configs[0].html"]
        );
    }

    #[test]
    fn a_receiver_of_ours_stands_in_for_one_of_the_file() {
        let ours =
            "[[receivers]]\nname = \"phone\"\nntfy = { url = \"https://ntfy.sh\", topic = \"l\" }";
        let audience = audience(YAML, ours).unwrap();
        assert!(audience.receivers[0].ntfy.is_some());
        assert_eq!(heard(&audience, "severity=critical"), ["phone"]);
    }

    #[test]
    fn what_is_wrong_with_the_file_is_named() {
        for (yaml, part) in [
            ("route: {receiver: nobody-here}", "nobody-here"),
            ("route: [", "failed to use"),
            ("receivers: [{name: a}]", "no routes"),
            (
                "route: {receiver: a}\nreceivers: [{name: a, email_configs: [{to: x@y.z}]}]",
                "smarthost",
            ),
            (
                "global: {smtp_smarthost: 'm:25', smtp_from: 'a@b.c', smtp_auth_password: p}\n\
                 route: {receiver: a}\nreceivers: [{name: a, email_configs: [{to: x@y.z}]}]",
                "auth_password_file",
            ),
            ("route: {receiver: a}\nreceivers: [{name: a, webhook_configs: [{}]}]", "url_file"),
            (
                "route: {receiver: a}\nreceivers: [{name: a, webhook_configs: [{url: 'http://h', \
                 http_config: {authorization: {credentials: x}}}]}]",
                "credentials_file",
            ),
            (
                "global: {http_config: {basic_auth: {username: u, password: p}}}\nroute: {receiver: a}\n\
                 receivers: [{name: a, webhook_configs: [{url: 'http://h'}]}]",
                "password_file",
            ),
        ] {
            let error = audience(yaml, "").unwrap_err();
            assert!(error.contains(part), "{yaml}: {error}");
        }
        let text = "[alerting]\nalertmanager_config = \"/nowhere/alertmanager.yml\"\n";
        let error = Config::parse(text).unwrap().audience().unwrap_err().to_string();
        assert!(error.contains("/nowhere/alertmanager.yml"), "{error}");
    }
}
