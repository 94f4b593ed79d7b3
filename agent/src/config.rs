//! What an agent is told: where to ship, how often, which collectors.
//!
//! A configuration is TOML. It is read key by key rather than by derive, so that one look at a
//! file gives all its problems, each with its line. What a file does not say keeps the value of
//! the [`Config`] it is read over. A configuration is read once, when the agent starts.
//!
//! Not here: reading the file or the environment, which is the command line's.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::Uri;
use labstat_collect::{Options, Reads, Source};
use labstat_model::settings::{
    self, Problem, Problems, Section, Value, boolean, duration_within, listen, name, path,
    size_within, text, wanted,
};

use crate::alarm::Voice;

/// The shortest interval: below it, reading the machine would show in what is read.
pub(crate) const INTERVAL_MIN_MS: i64 = 1_000;

/// The longest interval: a series counts as ended after five minutes without a sample.
pub(crate) const INTERVAL_MAX_MS: i64 = 120_000;

/// Receivers of the agent's own alarm: a phone and a mailbox, and some to spare.
const ALARM_RECEIVERS_MAX: usize = 8;

/// Where a URL without a path is taken to have its remote write receiver.
const WRITE_PATH: &str = "/api/v1/write";

/// How an agent runs. See [`Config::default`] for what each field is when nothing is said.
#[derive(Debug, Clone)]
pub struct Config {
    /// The receiver's URL, as [`write_url`] reads it; without one, nothing is shipped.
    pub aggregator: Option<String>,
    /// The file whose first line is the bearer token that requests carry.
    pub token_file: Option<PathBuf>,
    /// Certificates (PEM) to trust instead of the system's, for `https`.
    pub ca_file: Option<PathBuf>,
    /// Time between two rounds, in milliseconds.
    pub interval_ms: i64,
    /// Time between two runs of a slow collector, in milliseconds; `None` leaves each its own.
    pub slow_interval_ms: Option<i64>,
    /// The folder of the spool and of what must be known after a restart; without one, rounds that
    /// cannot be shipped wait in memory, and sleeping disks have no values until they wake up.
    pub state_dir: Option<PathBuf>,
    /// The address of the agent's own `/metrics`; port 0 takes a free one.
    pub listen: Option<SocketAddr>,
    /// The file whose first line is the bearer token that a scrape of `/metrics` must carry.
    /// Needed when `listen` is not a loopback address.
    pub listen_token_file: Option<PathBuf>,
    /// The node's name (`instance`); `None` takes the host's.
    pub node: Option<String>,
    /// The collectors to run; empty runs all but those that are off unless they are asked for.
    pub only: Vec<String>,
    /// The collectors to run beside those that are on.
    pub also: Vec<String>,
    /// The collectors not to run.
    pub exclude: Vec<String>,
    /// A captured machine to read in place of this one.
    pub host_root: Option<PathBuf>,
    /// The collectors' own settings.
    pub collect: Options,
    /// What the spool may hold.
    pub spool: SpoolBounds,
    /// Whom the agent tells itself when it cannot reach its aggregator.
    pub alarm: AlarmConfig,
}

/// The agent's own alarm.
#[derive(Debug, Clone)]
pub struct AlarmConfig {
    /// How long the aggregator must have been out of reach, in milliseconds.
    pub after_ms: i64,
    /// The receivers as they are configured; whoever starts the agent makes a [`Voice`] of each.
    pub receivers: Vec<serde_json::Value>,
    /// Who is told.
    pub voices: Vec<Arc<dyn Voice>>,
}

impl Default for AlarmConfig {
    fn default() -> Self {
        Self { after_ms: 600_000, receivers: Vec::new(), voices: Vec::new() }
    }
}

/// What the spool may hold; when it is more, the oldest rounds are dropped and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolBounds {
    /// Bytes on disk.
    pub bytes_max: u64,
    /// Age of a round, in milliseconds.
    pub age_max_ms: i64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            aggregator: None,
            token_file: None,
            ca_file: None,
            interval_ms: 10_000,
            slow_interval_ms: None,
            state_dir: None,
            listen: None,
            listen_token_file: None,
            node: None,
            only: Vec::new(),
            also: Vec::new(),
            exclude: Vec::new(),
            host_root: None,
            collect: Options::default(),
            spool: SpoolBounds::default(),
            alarm: AlarmConfig::default(),
        }
    }
}

impl Default for SpoolBounds {
    fn default() -> Self {
        // A round of 1,000 samples takes about 15 KiB: this is two days of them at 10 s.
        Self { bytes_max: 256 * 1024 * 1024, age_max_ms: 7 * 86_400_000 }
    }
}

impl Config {
    /// Reads a configuration text over the defaults.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        Self::parse_over(text, Self::default())
    }

    /// Reads a configuration text over `base`: what it does not say stays as it is there.
    pub fn parse_over(text: &str, base: Self) -> Result<Self, Vec<Problem>> {
        let mut config = base;
        settings::read(text, |root, problems| config.read(root, problems))?;
        Ok(config)
    }

    /// All that is wrong with a configuration text; empty when nothing is.
    pub fn check(text: &str) -> Vec<Problem> {
        Self::parse(text).err().unwrap_or_default()
    }

    fn read(&mut self, root: &mut Section<'_>, problems: &mut Problems<'_>) {
        root.take("aggregator", problems, &mut self.aggregator, |value| {
            let url = text(value)?;
            write_url(url).map_err(|error| error.to_string())?;
            Ok(Some(url.to_owned()))
        });
        root.take("token_file", problems, &mut self.token_file, |v| path(v).map(Some));
        root.take("ca_file", problems, &mut self.ca_file, |v| path(v).map(Some));
        root.take("interval", problems, &mut self.interval_ms, |v| {
            duration_within(v, INTERVAL_MIN_MS, INTERVAL_MAX_MS)
        });
        root.take("slow_interval", problems, &mut self.slow_interval_ms, |v| {
            duration_within(v, 10_000, 86_400_000).map(Some)
        });
        root.take("state", problems, &mut self.state_dir, |v| path(v).map(Some));
        root.take("listen", problems, &mut self.listen, |v| listen(v).map(Some));
        root.take("listen_token_file", problems, &mut self.listen_token_file, |v| {
            path(v).map(Some)
        });
        root.take("node", problems, &mut self.node, |v| name(v).map(Some));
        root.take("only", problems, &mut self.only, collectors);
        root.take("also", problems, &mut self.also, collectors);
        root.take("exclude", problems, &mut self.exclude, collectors);
        root.take("host_root", problems, &mut self.host_root, |v| path(v).map(Some));
        read_collectors(&mut self.collect, root, problems);
        root.section("spool", problems, |section, problems| {
            section.take("size", problems, &mut self.spool.bytes_max, |v| {
                size_within(v, 4 << 20, 1 << 40)
            });
            section.take("age", problems, &mut self.spool.age_max_ms, |v| {
                duration_within(v, 60_000, 365 * 86_400_000)
            });
        });
        root.section("alarm", problems, |section, problems| {
            section.take("after", problems, &mut self.alarm.after_ms, |v| {
                duration_within(v, 1_000, 7 * 86_400_000)
            });
            let receivers = &mut self.alarm.receivers;
            section.deserialize(
                "receivers",
                problems,
                |receiver: serde_json::Value, at, problems| match receivers.len() {
                    ..ALARM_RECEIVERS_MAX => receivers.push(receiver),
                    _ => problems.at(at, format!("more than {ALARM_RECEIVERS_MAX} receivers")),
                },
            );
        });
    }
}

/// The sections of single collectors.
fn read_collectors(options: &mut Options, root: &mut Section<'_>, problems: &mut Problems<'_>) {
    root.section("smartctl", problems, |section, problems| {
        read_smartctl(&mut options.smartctl, section, problems);
    });
    root.section("ceph", problems, |section, problems| {
        let ceph = &mut options.ceph;
        section.take("conf", problems, &mut ceph.conf, |v| full_path(v).map(Some));
        section.take("run", problems, &mut ceph.run_dir, full_path);
        section.take("cluster", problems, &mut ceph.cluster, reads);
        section.take("name", problems, &mut ceph.name, |v| name(v).map(Some));
        section.take("user", problems, &mut ceph.user, |v| name(v).map(Some));
        section.take("keyring", problems, &mut ceph.keyring, |v| full_path(v).map(Some));
        section.take("source", problems, &mut ceph.source, source);
        section.take("interval", problems, &mut ceph.interval, |v| {
            Ok(duration_of(duration_within(v, 10_000, 600_000)?))
        });
    });
    root.section("cpu", problems, |section, problems| {
        section.take("info", problems, &mut options.cpu.info, boolean);
        section.take("flags", problems, &mut options.cpu.flags, names);
        section.take("bugs", problems, &mut options.cpu.bugs, names);
    });
    root.section("filesystems", problems, |section, problems| {
        let filesystems = &mut options.filesystems;
        section.take("include", problems, &mut filesystems.include, names);
        section.take("exclude", problems, &mut filesystems.exclude, names);
        section.take("types_include", problems, &mut filesystems.types_include, names);
        section.take("types_exclude", problems, &mut filesystems.types_exclude, names);
    });
    root.section("disks", problems, |section, problems| {
        section.take("include", problems, &mut options.disks.include, names);
        section.take("exclude", problems, &mut options.disks.exclude, names);
    });
    root.section("interfaces", problems, |section, problems| {
        let interfaces = &mut options.interfaces;
        section.take("include", problems, &mut interfaces.include, names);
        section.take("exclude", problems, &mut interfaces.exclude, names);
        section.take("vlan_names", problems, &mut interfaces.vlan_names, vlan_names);
    });
    root.section("interrupts", problems, |section, problems| {
        let interrupts = &mut options.interrupts;
        section.take("zeros", problems, &mut interrupts.zeros, boolean);
        section.take("include", problems, &mut interrupts.include, names);
        section.take("exclude", problems, &mut interrupts.exclude, names);
    });
    root.section("supplies", problems, |section, problems| {
        section.take("exclude", problems, &mut options.supplies.exclude, names);
    });
    root.section("systemd", problems, |section, problems| {
        let systemd = &mut options.systemd;
        section.take("include", problems, &mut systemd.include, names);
        section.take("exclude", problems, &mut systemd.exclude, names);
    });
    root.section("textfile", problems, |section, problems| {
        let textfile = &mut options.textfile;
        section.take("directories", problems, &mut textfile.directories, names);
    });
    root.section("nut", problems, |section, problems| {
        section.take("ups", problems, &mut options.nut.ups, names);
    });
}

fn read_smartctl(
    smartctl: &mut labstat_collect::Smartctl,
    section: &mut Section<'_>,
    problems: &mut Problems<'_>,
) {
    /// The longest time between two readings that still is a watch.
    const DAY_MS: i64 = 86_400_000;
    let within = |min_ms: i64, max_ms: i64| {
        move |value: &Value<'_>| Ok(duration_of(duration_within(value, min_ms, max_ms)?))
    };
    section.take("program", problems, &mut smartctl.program, name);
    section.take("interval", problems, &mut smartctl.interval, |v| {
        within(10_000, DAY_MS)(v).map(Some)
    });
    section.take("deadline", problems, &mut smartctl.device_deadline, within(1_000, 600_000));
    section.take("rescan", problems, &mut smartctl.rescan, within(10_000, DAY_MS));
    section.take("nvme_direct", problems, &mut smartctl.nvme_direct, boolean);
    section.take("wake", problems, &mut smartctl.wake, boolean);
    section.take("idle_interval", problems, &mut smartctl.idle_interval, within(10_000, DAY_MS));
    section.take("devices", problems, &mut smartctl.devices, typed_devices);
    section.take("include", problems, &mut smartctl.include, names);
    section.take("exclude", problems, &mut smartctl.exclude, names);
}

/// Why a text is no URL to ship to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a URL to ship to: {0} (such as https://lab.example:5227)")]
pub struct UrlError(String);

/// Reads the URL of a receiver. Without a path, remote write's usual one is added.
pub fn write_url(text: &str) -> Result<Uri, UrlError> {
    // Credentials in a URL end up in logs, and the client would not send them.
    if text.contains('@') {
        return Err(UrlError(
            "a login (what stands before an @) is not sent; name a token file".to_owned(),
        ));
    }
    let error = || UrlError(format!("{text:?}"));
    let uri: Uri = text.parse().map_err(|_| error())?;
    let scheme_known = matches!(uri.scheme_str(), Some("http" | "https"));
    if !scheme_known || uri.host().is_none_or(str::is_empty) {
        return Err(error());
    }
    let mut parts = uri.into_parts();
    if parts.path_and_query.as_ref().is_none_or(|path| path.as_str() == "/") {
        parts.path_and_query = Some(hyper::http::uri::PathAndQuery::from_static(WRITE_PATH));
    }
    Uri::from_parts(parts).map_err(|_| error())
}

/// `ms` as a duration of the standard library; a negative one is none at all.
pub(crate) fn duration_of(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

fn names(value: &Value<'_>) -> Result<Vec<String>, String> {
    let list = value.as_array().ok_or_else(|| wanted(value, "a list of texts"))?;
    list.iter().map(|item| name(item.get_ref())).collect()
}

/// Whether this node reads a cluster.
fn reads(value: &Value<'_>) -> Result<Reads, String> {
    match text(value)? {
        "auto" => Ok(Reads::Auto),
        "always" => Ok(Reads::Always),
        "never" => Ok(Reads::Never),
        _ => Err(wanted(value, "\"auto\", \"always\" or \"never\"")),
    }
}

fn source(value: &Value<'_>) -> Result<Source, String> {
    match text(value)? {
        "auto" => Ok(Source::Auto),
        "commands" => Ok(Source::Commands),
        "module" => Ok(Source::Module),
        _ => Err(wanted(value, "\"auto\", \"commands\" or \"module\"")),
    }
}

/// A path from the root: there is no folder that others would be meant from.
fn full_path(value: &Value<'_>) -> Result<String, String> {
    let path = name(value)?;
    match path.starts_with('/') {
        true => Ok(path),
        false => Err(format!("expected a path that begins with a slash, found {path:?}")),
    }
}

/// Names of VLANs by their ids, as in `{ 99 = "Ceph" }`.
fn vlan_names(value: &Value<'_>) -> Result<BTreeMap<u16, String>, String> {
    const ID_MAX: u16 = 4094;
    let table =
        value.as_table().ok_or_else(|| wanted(value, "a table such as { 99 = \"Ceph\" }"))?;
    let named = |(id, value): (&str, &Value<'_>)| match id.parse() {
        Ok(number @ 1..=ID_MAX) => Ok((number, name(value)?)),
        _ => Err(format!("expected a VLAN's id from 1 to {ID_MAX}, found {id:?}")),
    };
    table.iter().map(|(id, value)| named((id.get_ref(), value.get_ref()))).collect()
}

/// Disks with smartctl's type of each, as in `["/dev/sdc:sat"]`.
fn typed_devices(value: &Value<'_>) -> Result<Vec<(String, String)>, String> {
    let typed = |device: String| match device.rsplit_once(':') {
        // Names by path have colons of their own; no type has a slash.
        Some((path, kind)) if path.starts_with('/') && !kind.is_empty() && !kind.contains('/') => {
            Ok((path.to_owned(), kind.to_owned()))
        }
        _ => Err(format!("expected a path and a type such as /dev/sdc:sat, found {device:?}")),
    };
    names(value)?.into_iter().map(typed).collect()
}

fn collectors(value: &Value<'_>) -> Result<Vec<String>, String> {
    let names = names(value)?;
    match unknown_collector(&names) {
        Some(unknown) => Err(unknown.to_string()),
        None => Ok(names),
    }
}

/// A collector was named that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no collector {name:?} (there are: {known})")]
pub struct UnknownCollector {
    name: String,
    known: String,
}

/// The first of `names` that is no collector's.
pub(crate) fn unknown_collector(names: &[String]) -> Option<UnknownCollector> {
    let known: Vec<&str> = labstat_collect::registry().iter().map(|entry| entry.name).collect();
    // A job's name stands for all its collectors.
    let is_job = |name: &str| labstat_collect::registry().iter().any(|entry| entry.job == name);
    let name = names.iter().find(|name| !known.contains(&name.as_str()) && !is_job(name))?;
    Some(UnknownCollector { name: name.clone(), known: known.join(", ") })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn all_problems_are_told_at_once_with_their_lines() {
        let text = "aggregator = \"ftp://x\"\ninterval = \"10\"\ncolour = 3\nonly = [\"nonsense\"]\n\
                    listen = 9100\n\n[spool]\nsize = \"1KiB\"\nage = \"1s\"\n[smartctl]\nprogramme = \"x\"\n";
        let problems: Vec<String> = Config::check(text).iter().map(Problem::to_string).collect();
        let starts = [
            "line 1: aggregator: not a URL to ship to: \"ftp://x\"",
            "line 2: interval: not a duration: \"10\"",
            "line 3: unknown key colour (known here: aggregator, ",
            "line 4: only: no collector \"nonsense\" (there are: ",
            "line 5: listen: expected a text, found an integer",
            "line 8: spool.size: expected a size from 4MiB to 1024GiB, found \"1KiB\"",
            "line 9: spool.age: expected a duration from 1m to 1y, found 1s",
            "line 11: unknown key smartctl.programme (known here: deadline, devices, exclude, idle_interval, include, interval, nvme_direct, program, rescan, wake)",
        ];
        assert_eq!(problems.len(), starts.len(), "{problems:#?}");
        for (problem, start) in problems.iter().zip(starts) {
            assert!(problem.starts_with(start), "{problem} | {start}");
        }
    }

    #[test]
    fn paths_of_ceph_begin_at_the_root() {
        for key in ["conf", "run", "keyring"] {
            let problems = Config::check(&format!("[ceph]\n{key} = \"run/ceph\"\n"));
            let problems: Vec<String> = problems.iter().map(Problem::to_string).collect();
            let said = "expected a path that begins with a slash, found \"run/ceph\"";
            assert_eq!(problems, [format!("line 2: ceph.{key}: {said}")]);
        }
    }

    /// The example that is handed out says everything, and says it right.
    #[test]
    fn the_example_is_right_and_holds_the_defaults() {
        let example = include_str!("../../docs/agent.toml");
        assert_eq!(Config::check(example), []);
        let all: String = example
            .lines()
            .map(|line| {
                line.strip_prefix('#').filter(|line| !line.starts_with(' ')).unwrap_or(line)
            })
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(Config::check(&all), [], "what is commented out is right, too");
        let example = Config::parse(example).unwrap();
        let mut default = Config::default();
        default.aggregator.clone_from(&example.aggregator);
        default.state_dir.clone_from(&example.state_dir);
        assert_eq!(format!("{example:?}"), format!("{default:?}"));
    }

    #[test]
    fn disks_are_named_with_their_type() {
        let parse = |list: &str| Config::parse(&format!("[smartctl]\ndevices = [{list}]\n"));
        let config = parse("\"/dev/sdc:sat\", \"/dev/disk/by-path/pci-0000:00:14.0:sntjmicron\"");
        let wanted = [("/dev/sdc", "sat"), ("/dev/disk/by-path/pci-0000:00:14.0", "sntjmicron")];
        let wanted = wanted.map(|(path, kind)| (path.to_owned(), kind.to_owned()));
        assert_eq!(config.unwrap().collect.smartctl.devices, wanted);
        for wrong in ["\"/dev/sdc\"", "\"sdc:sat\"", "\"/dev/sdc:\"", "\"/a:b/c\"", "3"] {
            assert_eq!(parse(wrong).unwrap_err().len(), 1, "{wrong}");
        }
    }

    #[test]
    fn vlans_are_named_by_their_ids() {
        let parse = |table: &str| Config::parse(&format!("[interfaces]\nvlan_names = {table}\n"));
        let config = parse("{ 99 = \"Ceph\", \"1337\" = \"VPN\" }").unwrap();
        let wanted = [(99, "Ceph".to_owned()), (1337, "VPN".to_owned())];
        assert_eq!(config.collect.interfaces.vlan_names, wanted.into());
        for wrong in ["{ 0 = \"x\" }", "{ 4095 = \"x\" }", "{ x = \"x\" }", "{ 9 = 9 }", "[]"] {
            assert_eq!(parse(wrong).unwrap_err().len(), 1, "{wrong}");
        }
    }

    #[test]
    fn syntax_errors_have_a_line() {
        let problems = Config::check("node = \"a\"\ninterval = \n");
        assert_eq!(problems.first().map(|problem| problem.line), Some(2), "{problems:?}");
    }

    #[test]
    fn what_is_said_is_taken_and_the_rest_stays_as_in_the_base() {
        let text = "aggregator = \"https://lab.example:5227\"\ninterval = \"1s\"\nnode = \"apex\"\n\
                    listen = \"localhost:0\"\n[spool]\nsize = \"64MiB\"\n[ceph]\nrun = \"/x\"\n";
        let base = Config { state_dir: Some("/mine".into()), ..Config::default() };
        let config = Config::parse_over(text, base).unwrap();
        assert_eq!(config.interval_ms, 1_000);
        assert_eq!(config.node.as_deref(), Some("apex"));
        assert_eq!(config.listen, Some("127.0.0.1:0".parse().unwrap()));
        assert_eq!(config.state_dir.as_deref(), Some(Path::new("/mine")));
        assert_eq!(config.spool.bytes_max, 64 << 20);
        assert_eq!(config.spool.age_max_ms, SpoolBounds::default().age_max_ms);
        assert_eq!(config.collect.ceph.run_dir, "/x");
    }

    #[test]
    fn urls_get_the_usual_path() {
        for (text, url) in [
            ("http://127.0.0.1:5227", "http://127.0.0.1:5227/api/v1/write"),
            ("https://lab.example/", "https://lab.example/api/v1/write"),
            ("https://mimir.example/api/v1/push", "https://mimir.example/api/v1/push"),
            ("http://[::1]:9", "http://[::1]:9/api/v1/write"),
        ] {
            assert_eq!(write_url(text).unwrap().to_string(), url);
        }
        let error = write_url("http://user:s3cret@x").unwrap_err().to_string();
        assert!(error.contains("token file") && !error.contains("s3cret"), "{error}");
        for text in ["", "lab.example:5227", "ftp://x", "http://", "http://user:pw@x", "http://a b"]
        {
            assert!(write_url(text).is_err(), "{text}");
        }
    }
}
