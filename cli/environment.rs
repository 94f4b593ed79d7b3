//! Settings from the environment: every key of a configuration file has a variable, which is
//! `LABSTAT_` and the key in capitals; `size` of `[spool]` is `LABSTAT_SPOOL_SIZE`. They win over
//! the file, and arguments win over them.
//!
//! Not here: what a key may say, which its own room knows, and receivers and what names them, which
//! are tables.

use std::ffi::OsString;

use labstat_model::settings::Problem;

use crate::failure::Failure;

/// What the variables begin with.
const PREFIX: &str = "LABSTAT_";

/// How the text of a variable stands in a configuration file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// In quotes.
    Text,
    /// As it is: a number, true or false.
    Bare,
    /// As a list, taken apart at its commas.
    List,
    /// As a table, taken apart at its commas and their equals signs.
    Table,
}

/// The keys that have a variable.
pub(crate) type Keys = [(&'static str, Form)];

/// Those of `labstat agent`.
pub(crate) const AGENT: &Keys = &[
    ("aggregator", Form::Text),
    ("token_file", Form::Text),
    ("ca_file", Form::Text),
    ("state", Form::Text),
    ("interval", Form::Text),
    ("slow_interval", Form::Text),
    ("node", Form::Text),
    ("listen", Form::Text),
    ("listen_token_file", Form::Text),
    ("only", Form::List),
    ("also", Form::List),
    ("exclude", Form::List),
    ("host_root", Form::Text),
    ("smartctl.program", Form::Text),
    ("smartctl.interval", Form::Text),
    ("smartctl.deadline", Form::Text),
    ("smartctl.rescan", Form::Text),
    ("smartctl.nvme_direct", Form::Bare),
    ("smartctl.wake", Form::Bare),
    ("smartctl.idle_interval", Form::Text),
    ("smartctl.devices", Form::List),
    ("smartctl.include", Form::List),
    ("smartctl.exclude", Form::List),
    ("ceph.conf", Form::Text),
    ("ceph.run", Form::Text),
    ("cpu.info", Form::Bare),
    ("cpu.flags", Form::List),
    ("cpu.bugs", Form::List),
    ("ceph.cluster", Form::Text),
    ("ceph.name", Form::Text),
    ("ceph.user", Form::Text),
    ("ceph.keyring", Form::Text),
    ("ceph.source", Form::Text),
    ("ceph.interval", Form::Text),
    ("filesystems.include", Form::List),
    ("filesystems.exclude", Form::List),
    ("filesystems.types_include", Form::List),
    ("filesystems.types_exclude", Form::List),
    ("disks.include", Form::List),
    ("disks.exclude", Form::List),
    ("interfaces.include", Form::List),
    ("interfaces.exclude", Form::List),
    ("interrupts.zeros", Form::Bare),
    ("interrupts.include", Form::List),
    ("interrupts.exclude", Form::List),
    ("supplies.exclude", Form::List),
    ("nut.ups", Form::List),
    ("interfaces.vlan_names", Form::Table),
    ("systemd.include", Form::List),
    ("systemd.exclude", Form::List),
    ("textfile.directories", Form::List),
    ("spool.size", Form::Text),
    ("spool.age", Form::Text),
    ("alarm.after", Form::Text),
];

/// Those of `labstat aggregator`.
pub(crate) const AGGREGATOR: &Keys = &[
    ("listen", Form::Text),
    ("token_file", Form::Text),
    ("external_url", Form::Text),
    ("cors_origin", Form::Text),
    ("data", Form::Text),
    ("retention", Form::Text),
    ("size_max", Form::Text),
    ("presence_interval", Form::Text),
    ("disks_interval", Form::Text),
    ("rollups.five_minutes", Form::Text),
    ("rollups.one_hour", Form::Text),
    ("own_metrics_interval", Form::Text),
    ("heartbeat.url", Form::Text),
    ("heartbeat.url_file", Form::Text),
    ("heartbeat.interval", Form::Text),
    ("heartbeat.method", Form::Text),
    ("rules.paths", Form::List),
    ("rules.shipped", Form::Bare),
    ("rules.watchdog", Form::Bare),
    ("alerting.alertmanager_config", Form::Text),
    ("alerting.resolve_timeout", Form::Text),
    ("flapping.changes", Form::Bare),
    ("flapping.within", Form::Text),
    ("engine.url", Form::Text),
    ("engine.write_url", Form::Text),
    ("engine.read", Form::Text),
    ("engine.token_file", Form::Text),
    ("engine.username", Form::Text),
    ("engine.password_file", Form::Text),
    ("engine.headers", Form::List),
    ("engine.ca_file", Form::Text),
    ("engine.timeout", Form::Text),
    ("engine.queue_max", Form::Text),
    ("limits.connections", Form::Bare),
    ("limits.queries", Form::Bare),
    ("limits.queries_waiting", Form::Bare),
    ("limits.query_wait", Form::Text),
    ("limits.query_timeout", Form::Text),
    ("limits.query_samples", Form::Bare),
    ("limits.query_memory", Form::Text),
    ("limits.lookback", Form::Text),
    ("limits.write_bytes", Form::Bare),
    ("limits.cache_bytes", Form::Bare),
];

/// `config` with what the environment says of `keys` laid over it by `parse_over`.
pub(crate) fn lay_over<C>(
    config: C,
    keys: &Keys,
    parse_over: impl Fn(&str, C) -> Result<C, Vec<Problem>>,
) -> Result<C, Failure> {
    lay(config, keys, |name| std::env::var_os(name), parse_over)
}

fn lay<C>(
    mut config: C,
    keys: &Keys,
    variable: impl Fn(&str) -> Option<OsString>,
    parse_over: impl Fn(&str, C) -> Result<C, Vec<Problem>>,
) -> Result<C, Failure> {
    for (key, form) in keys {
        let name = name(key);
        // A variable that is set to nothing is how service managers unset one.
        let Some(value) = variable(&name).filter(|value| !value.is_empty()) else { continue };
        let wrong = |why: &str| Failure::new(format!("the variable {name} cannot be used: {why}"));
        let text = value.to_str().ok_or_else(|| wrong("it is not UTF-8"))?;
        config = parse_over(&setting(key, *form, text), config).map_err(|problems| {
            wrong(&problems.first().map_or_else(String::new, |problem| problem.message.clone()))
        })?;
    }
    Ok(config)
}

fn name(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_uppercase())
}

/// One setting as a line of a configuration file.
pub(crate) fn setting(key: &str, form: Form, text: &str) -> String {
    // The strings and lists of JSON are those of TOML too.
    let value = match form {
        Form::Bare if text.bytes().all(|byte| byte.is_ascii_alphanumeric()) => text.to_owned(),
        Form::Text | Form::Bare => serde_json::Value::from(text).to_string(),
        Form::List => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            serde_json::Value::from_iter(parts).to_string()
        }
        Form::Table => table(text),
    };
    format!("{key} = {value}\n")
}

/// `99=Ceph, 88=Mgmt` as a table on one line; braces around it change nothing.
fn table(text: &str) -> String {
    let quoted = |text: &str| serde_json::Value::from(text.trim()).to_string();
    let pairs = text.trim().trim_start_matches('{').trim_end_matches('}').split(',');
    let pairs = pairs.filter(|pair| !pair.trim().is_empty()).map(|pair| {
        // A pair without a name is one of an empty name, which its key refuses.
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        format!("{} = {}", quoted(key), quoted(value))
    });
    format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    /// The keys that a documented file shows, with their values, receivers aside.
    fn documented(text: &str) -> Vec<(String, String)> {
        let mut section = String::new();
        let mut found = Vec::new();
        for line in text.lines() {
            let line = line.strip_prefix('#').unwrap_or(line);
            if line.starts_with("[[") {
                break;
            }
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                section = format!("{name}.");
            } else if let Some((key, value)) = line.split_once(" = ")
                && !line.starts_with(' ')
            {
                found.push((format!("{section}{key}"), value.to_owned()));
            }
        }
        found
    }

    fn all<C>(
        keys: &Keys,
        text: &str,
        base: C,
        parse_over: impl Fn(&str, C) -> Result<C, Vec<Problem>>,
    ) -> C {
        let shown = documented(text);
        let mut known: Vec<&str> = keys.iter().map(|(key, _)| *key).collect();
        let mut named: Vec<&str> = shown.iter().map(|(key, _)| key.as_str()).collect();
        known.sort_unstable();
        named.sort_unstable();
        assert_eq!(known, named, "a key without a variable, or a variable without a key");
        let value = |name: &str| {
            let (_, value) = shown.iter().find(|(key, _)| super::name(key) == name)?;
            Some(value.replace(['[', ']', '"'], "").into())
        };
        lay(base, keys, value, parse_over).unwrap()
    }

    #[test]
    fn every_documented_key_has_a_variable_that_is_understood() {
        use labstat_agent::Config as Agent;
        use labstat_aggregator::Config as Aggregator;
        let agent = include_str!("../docs/agent.toml");
        let agent = all(AGENT, agent, Agent::default(), Agent::parse_over);
        assert_eq!(agent.node.as_deref(), Some("vertex"));
        assert_eq!(agent.collect.smartctl.exclude, ["/dev/sdx"]);
        let names = [(88, "Mgmt".to_owned()), (99, "Ceph".to_owned())];
        assert_eq!(agent.collect.interfaces.vlan_names, names.into());
        let aggregator = include_str!("../docs/aggregator.toml");
        let aggregator = all(AGGREGATOR, aggregator, Aggregator::default(), Aggregator::parse_over);
        assert_eq!(aggregator.size_max_bytes, Some(20 << 30));
        assert_eq!(aggregator.engine.url.as_deref(), Some("http://victoria:8428"));
    }

    #[test]
    fn a_bad_value_is_named_with_its_variable() {
        let fails = |value: &OsString| {
            let variable = |name: &str| (name == "LABSTAT_SPOOL_SIZE").then(|| value.clone());
            let base = labstat_agent::Config::default();
            let failed = lay(base, AGENT, variable, labstat_agent::Config::parse_over);
            failed.unwrap_err().text().unwrap()
        };
        let text = fails(&"much".into());
        assert!(text.starts_with("labstat: the variable LABSTAT_SPOOL_SIZE cannot be used: "));
        assert!(text.contains("spool.size"), "{text}");
        assert!(fails(&"1GiB\nnode = \"x\"".into()).contains("spool.size"));
        assert!(fails(&OsString::from_vec(vec![0xff])).contains("UTF-8"));
    }

    #[test]
    fn what_is_set_to_nothing_changes_nothing() {
        let base = labstat_agent::Config::default();
        let before = format!("{base:?}");
        let config = lay(base, AGENT, |_| Some(OsString::new()), labstat_agent::Config::parse_over);
        assert_eq!(format!("{:?}", config.unwrap()), before);
    }
}
