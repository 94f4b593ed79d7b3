//! What an aggregator is told: where to listen, what to keep, which rules, whom to tell.
//!
//! A configuration is TOML; one look at a file gives all its problems, each with its line. What a
//! file does not say keeps the value of the [`Config`] it is read over, which is how a command
//! line gives its own defaults. Who hears what and when is in [`manners`].
//!
//! Not here: reading the file or the environment, which is the command line's, and what becomes
//! of a receiver, which is `labstat-alerts`'.

mod audience;
mod manners;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use labstat_alerts::notify::ReceiverConfig;
pub use labstat_model::settings::Problem;
use labstat_model::settings::{
    self, Outline, Problems, Section, Value, boolean, count, duration_within, path, paths,
    size_within, text, url,
};
use labstat_model::{MatchOp, Matcher, duration};

use labstat_store::Keep;

use crate::engine::EngineConfig;
use crate::heartbeat::HeartbeatConfig;

pub use audience::{Audience, AudienceError};
pub use manners::MannersSettings;

/// Reads a configuration anew, or says all that is wrong with it.
type Reread = dyn Fn() -> Result<Config, Vec<String>> + Send + Sync;

/// Where a configuration came from, so that it can be read again.
#[derive(Clone)]
pub struct ConfigSource {
    /// The file; when it changes, it is read again.
    pub file: PathBuf,
    /// Reads it, with all that is laid over it.
    pub read: Arc<Reread>,
}

impl std::fmt::Debug for ConfigSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConfigSource").field("file", &self.file).finish_non_exhaustive()
    }
}

/// The port that spells LABS on a phone's keypad.
pub const PORT: u16 = 5227;

/// How an aggregator runs. See [`Config::default`] for what each field is when nothing is said.
#[derive(Debug, Clone)]
pub struct Config {
    /// The address and port to answer on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The folder of the store; made when it is not there.
    pub data_dir: PathBuf,
    /// How long samples are kept, in milliseconds; `None` keeps them for ever.
    pub retention_ms: Option<i64>,
    /// How long buckets of five minutes and of an hour are kept, in milliseconds; `None` keeps them
    /// for ever. They are kept for as long as samples at the least.
    pub rollups_ms: [Option<i64>; 2],
    /// Which series are kept as samples for longer. The first that takes a series decides; behind
    /// these come the series of disks, which are kept for ever.
    pub keep: Vec<Keep>,
    /// Bytes that the store's database may grow to; `None` is for as much as the disk has. When
    /// they are nearly used up, the oldest samples go, then the oldest buckets.
    pub size_max_bytes: Option<u64>,
    /// The file whose first line is the bearer token that every request must carry.
    pub token_file: Option<PathBuf>,
    /// The address under which people reach this aggregator, for links in notifications.
    pub external_url: Option<String>,
    /// Which web pages of other sites may read the API: what their origin must match as a whole.
    /// When nothing is said, those of this network, or all when a token is wanted.
    pub cors_origin: Option<Matcher>,
    /// Rule files, and folders whose `*.yml` and `*.yaml` files are rule files.
    pub rules: Vec<PathBuf>,
    /// Whether the rules that labstat ships are evaluated too.
    pub shipped_rules: bool,
    /// Whether the alert that always fires is, too, for those who route it to a dead man's switch.
    pub watchdog: bool,
    /// How often it is looked at which nodes have fallen silent, in milliseconds. (How often rules
    /// are evaluated is said by their groups.)
    pub presence_interval_ms: i64,
    /// How often it is looked at what is new of disks, and which have fallen silent, in
    /// milliseconds.
    pub disks_interval_ms: i64,
    /// How often the aggregator's own figures are kept in the history, in milliseconds; `None` does not.
    pub own_metrics_interval_ms: Option<i64>,
    /// The dead man's switch.
    pub heartbeat: HeartbeatConfig,
    /// Whom to tell of alerts.
    pub receivers: Vec<ReceiverConfig>,
    /// Who of them hears what and when.
    pub manners: MannersSettings,
    /// Where all of this came from: receivers, and who of them hears what, are read again on a
    /// reload. Without it they stay as they are.
    pub source: Option<ConfigSource>,
    /// The engine that keeps the samples in the store's place, when one is named.
    pub engine: EngineConfig,
    /// Bounds on what requests may cost.
    pub limits: Limits,
}

/// Series that are kept as samples for ever when nothing else is said of them: what disks said of
/// themselves, and what was made of it.
const KEPT: &[&str] = &[r#"{__name__=~"smartctl_.*|labstat_smart_.*|labstat_disk_.*"}"#];

/// The least bound on the database's size: below it, not even a day of one node fits.
const SIZE_MIN_BYTES: u64 = 64 * 1024 * 1024;

/// With less, hardly a dashboard is answered.
const QUERY_MEMORY_MIN_BYTES: u64 = 16 * 1024 * 1024;

/// Bounds on what requests may cost; the defaults suit a small machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections open at a time; more wait to be accepted.
    pub connections_max: usize,
    /// Queries and other reads that run at a time; more wait.
    pub queries_max: usize,
    /// Those that wait at a time; more are refused.
    pub queries_waiting_max: usize,
    /// How long one waits at the most, in milliseconds; less when its timeout is less.
    pub query_wait_ms: i64,
    /// How long a query may take, waiting included, in milliseconds.
    pub query_timeout_ms: i64,
    /// Samples that one query may hold in memory.
    pub query_samples_max: usize,
    /// Bytes that one query may hold in memory.
    pub query_memory_max: usize,
    /// How far back an instant looks for a series' last sample, in milliseconds.
    pub lookback_ms: i64,
    /// Bytes of write bodies, compressed and not, that may be in memory at a time.
    pub write_bytes_max: usize,
    /// Bytes of unpacked history kept for the next queries.
    pub cache_bytes_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)),
            data_dir: PathBuf::from("/var/lib/labstat"),
            retention_ms: Some(365 * 86_400_000),
            rollups_ms: [Some(2 * 365 * 86_400_000), Some(10 * 365 * 86_400_000)],
            keep: Vec::new(),
            size_max_bytes: None,
            token_file: None,
            external_url: None,
            cors_origin: None,
            rules: vec![PathBuf::from(crate::alerting::RULES_DIR)],
            shipped_rules: true,
            watchdog: false,
            presence_interval_ms: 15_000,
            disks_interval_ms: 30_000,
            own_metrics_interval_ms: Some(30_000),
            heartbeat: HeartbeatConfig::default(),
            receivers: Vec::new(),
            manners: MannersSettings::default(),
            source: None,
            engine: EngineConfig::default(),
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 256,
            queries_max: 4,
            // A dashboard asks some fifty at once; this is room for several that are opened.
            queries_waiting_max: 256,
            query_wait_ms: 60_000,
            query_timeout_ms: 120_000,
            // Prometheus' default is 50 million; a fifth of that is 160 MB at 16 bytes each.
            query_samples_max: 10_000_000,
            // Room for as many samples as that and what is made of them.
            query_memory_max: 256 * 1024 * 1024,
            lookback_ms: 300_000,
            // Room for one request at the model's limits, or for hundreds of ordinary ones.
            write_bytes_max: 64 * 1024 * 1024,
            cache_bytes_max: 16 * 1024 * 1024,
        }
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
        settings::read(text, |root, problems| {
            let outline = root.outline();
            config.read(root, &outline, problems);
        })?;
        Ok(config)
    }

    /// All that is wrong with a configuration text; empty when nothing is.
    pub fn check(text: &str) -> Vec<Problem> {
        let config = match Self::parse(text) {
            Ok(config) => config,
            Err(problems) => return problems,
        };
        let problem = |(section, message): (&str, &str)| {
            let head = format!("[{section}]");
            let line = text.lines().position(|line| line.trim_start().starts_with(&head));
            Problem { line: line.unwrap_or(0) + 1, message: message.to_owned() }
        };
        let engine = config.engine.problem().map(|message| ("engine", message));
        let missing: Vec<Problem> =
            engine.into_iter().chain(config.manners.missing()).map(problem).collect();
        if !missing.is_empty() || config.manners.alertmanager_config.is_none() {
            return missing;
        }
        let unusable = config.audience().err().map(|error| error.to_string());
        unusable.iter().map(|error| problem(("alerting", error))).collect()
    }

    fn read(&mut self, root: &mut Section<'_>, outline: &Outline, problems: &mut Problems<'_>) {
        root.take("listen", problems, &mut self.listen, |value| {
            parse_listen(text(value)?).map_err(|error| error.to_string())
        });
        root.take("data", problems, &mut self.data_dir, path);
        root.take("retention", problems, &mut self.retention_ms, retention);
        let [five_minutes, one_hour] = &mut self.rollups_ms;
        root.section("rollups", problems, |rollups, problems| {
            rollups.take("five_minutes", problems, five_minutes, retention);
            rollups.take("one_hour", problems, one_hour, retention);
        });
        let mut keep = Vec::new();
        root.sections("keep", problems, |section, problems| {
            keep.extend(read_keep(section, problems));
        });
        if !keep.is_empty() {
            self.keep = keep;
        }
        root.take("size_max", problems, &mut self.size_max_bytes, |value| {
            size_within(value, SIZE_MIN_BYTES, 1 << 50).map(Some)
        });
        root.take("token_file", problems, &mut self.token_file, |value| path(value).map(Some));
        root.take("external_url", problems, &mut self.external_url, |value| url(value).map(Some));
        root.take("cors_origin", problems, &mut self.cors_origin, |value| {
            Matcher::new("origin", MatchOp::Regex, text(value)?)
                .map(Some)
                .map_err(|error| error.to_string())
        });
        root.take("presence_interval", problems, &mut self.presence_interval_ms, |value| {
            duration_within(value, 1_000, 3_600_000)
        });
        root.take("disks_interval", problems, &mut self.disks_interval_ms, |value| {
            duration_within(value, 1_000, 3_600_000)
        });
        let own_metrics = &mut self.own_metrics_interval_ms;
        root.take("own_metrics_interval", problems, own_metrics, |value| match text(value)? {
            "off" => Ok(None),
            _ => duration_within(value, 1_000, 120_000).map(Some),
        });
        root.section("heartbeat", problems, |heartbeat, problems| {
            self.heartbeat.read(heartbeat, problems);
        });
        root.section("rules", problems, |rules, problems| {
            rules.take("paths", problems, &mut self.rules, paths);
            rules.take("shipped", problems, &mut self.shipped_rules, boolean);
            rules.take("watchdog", problems, &mut self.watchdog, boolean);
        });
        root.section("engine", problems, |engine, problems| self.engine.read(engine, problems));
        root.section("limits", problems, |limits, problems| self.limits.read(limits, problems));
        let told = problems.count();
        self.manners.read(root, problems);
        let mut receivers: Option<Vec<ReceiverConfig>> = None;
        root.deserialize("receivers", problems, |receiver: ReceiverConfig, at, problems| {
            let known = receivers.get_or_insert_default();
            for problem in receiver.problems() {
                problems.at(at, format!("receiver {:?}: {problem}", receiver.name));
            }
            if known.iter().any(|known| known.name == receiver.name) {
                problems.at(at, format!("receiver {:?} is given twice", receiver.name));
            }
            known.push(receiver);
        });
        if let Some(receivers) = receivers {
            self.receivers = receivers;
        }
        // What could not be read leaves gaps, which would be told as problems of their own.
        if problems.count() == told {
            self.manners.check(&self.receivers, outline, problems);
        }
    }
}

impl Config {
    /// Which series are kept as samples for longer, with those that are without being named.
    pub(crate) fn keep_all(&self) -> Vec<Keep> {
        let kept = KEPT.iter().filter_map(|text| labstat_promql::selector(text).ok());
        let kept = kept.map(|matchers| Keep { matchers, keep_ms: None });
        self.keep.iter().cloned().chain(kept).collect()
    }
}

fn retention(value: &Value<'_>) -> Result<Option<i64>, String> {
    parse_retention(text(value)?).map_err(|error| error.to_string())
}

fn read_keep(section: &mut Section<'_>, problems: &mut Problems<'_>) -> Option<Keep> {
    // What is there and wrong is a problem of its own; that something is missing is another.
    let (mut has_match, mut has_for) = (false, false);
    let (mut matchers, mut keep_ms) = (None, None);
    section.take("match", problems, &mut matchers, |value| {
        has_match = true;
        labstat_promql::selector(text(value)?).map(Some).map_err(|error| error.to_string())
    });
    section.take("for", problems, &mut keep_ms, |value| {
        has_for = true;
        retention(value).map(Some)
    });
    for (has, key) in [(has_match, "match"), (has_for, "for")] {
        if !has {
            problems.at(section.start(), format!("a [[keep]] section without {key}"));
        }
    }
    Some(Keep { matchers: matchers?, keep_ms: keep_ms? })
}

impl Limits {
    fn read(&mut self, limits: &mut Section<'_>, problems: &mut Problems<'_>) {
        limits.take("connections", problems, &mut self.connections_max, |v| count(v, 1, 65_536));
        limits.take("queries", problems, &mut self.queries_max, |v| {
            count(v, 1, crate::server::QUERIES_MAX)
        });
        limits.take("queries_waiting", problems, &mut self.queries_waiting_max, |v| {
            count(v, 0, 65_536)
        });
        limits.take("query_wait", problems, &mut self.query_wait_ms, |v| {
            duration_within(v, 10, 3_600_000)
        });
        limits.take("query_timeout", problems, &mut self.query_timeout_ms, |v| {
            duration_within(v, 1_000, 3_600_000)
        });
        limits.take("query_samples", problems, &mut self.query_samples_max, |v| {
            count(v, 1_000, 1_000_000_000)
        });
        limits.take("query_memory", problems, &mut self.query_memory_max, |v| {
            let size_bytes = size_within(v, QUERY_MEMORY_MIN_BYTES, 1 << 40)?;
            usize::try_from(size_bytes).map_err(|_| "more than this machine has".to_owned())
        });
        limits.take("lookback", problems, &mut self.lookback_ms, |v| {
            duration_within(v, 1_000, 86_400_000)
        });
        limits.take("write_bytes", problems, &mut self.write_bytes_max, |v| {
            // Less than one request at the model's limits could never be admitted.
            count(v, crate::http::write::REQUEST_BYTES_MAX, 1 << 40)
        });
        limits.take("cache_bytes", problems, &mut self.cache_bytes_max, |v| count(v, 0, 1 << 40));
    }
}

/// Why a text is no address to listen on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an address to listen on: {0:?} (such as 127.0.0.1:5227, [::]:5227 or localhost:5227)")]
pub struct ListenError(String);

/// Reads an address to listen on: `ADDRESS:PORT`, `ADDRESS`, `localhost:PORT` or `:PORT` (on all
/// addresses). Without a port it is [`PORT`].
pub fn parse_listen(text: &str) -> Result<SocketAddr, ListenError> {
    let named = text.replacen("localhost", "127.0.0.1", 1);
    let port = named.strip_prefix(':').filter(|port| port.parse::<u16>().is_ok());
    let full = port.map_or_else(|| named.clone(), |port| format!("[::]:{port}"));
    if let Ok(addr) = full.parse() {
        return Ok(addr);
    }
    let bare = full.trim_start_matches('[').trim_end_matches(']');
    let ip = bare.parse().map_err(|_| ListenError(text.to_owned()))?;
    Ok(SocketAddr::new(ip, PORT))
}

/// Why a text is no retention.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a retention: {0:?} (such as 90d, 1y or forever; at least 1h)")]
pub struct RetentionError(String);

/// The least retention: below it, rules over an hour would see nothing.
const RETENTION_MIN_MS: i64 = 3_600_000;

/// Reads a retention: a duration of at least an hour, or `forever`, which is `None`.
pub fn parse_retention(text: &str) -> Result<Option<i64>, RetentionError> {
    if text == "forever" {
        return Ok(None);
    }
    match duration::parse_ms(text) {
        Ok(ms) if ms >= RETENTION_MIN_MS => Ok(Some(ms)),
        _ => Err(RetentionError(text.to_owned())),
    }
}

/// `ms` as a duration of the standard library; a negative one is none at all.
pub(crate) fn duration_of(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn all_problems_are_told_at_once_with_their_lines() {
        let text = "listen = \"nowhere\"\nretention = \"1s\"\ncolour = 3\n\n[rules]\nshipped = \
                    1\n\n[limits]\nqueries = 0\nwrite_bytes = 1\nfoo = 1\n";
        let problems: Vec<String> = Config::check(text).iter().map(Problem::to_string).collect();
        let starts = [
            "line 1: listen: not an address to listen on: \"nowhere\"",
            "line 2: retention: not a retention: \"1s\"",
            "line 3: unknown key colour (known here: alerting, cors_origin, data, ",
            "line 6: rules.shipped: expected true or false, found an integer",
            "line 9: limits.queries: expected a number from 1 to 12, found 0",
            "line 10: limits.write_bytes: expected a number from",
            "line 11: unknown key limits.foo (known here: cache_bytes, ",
        ];
        assert_eq!(problems.len(), starts.len(), "{problems:#?}");
        for (problem, start) in problems.iter().zip(starts) {
            assert!(problem.starts_with(start), "{problem} | {start}");
        }
    }

    #[test]
    fn syntax_errors_have_a_line() {
        let problems = Config::check("listen = \"127.0.0.1:1\"\nretention = \n");
        assert_eq!(problems.first().map(|problem| problem.line), Some(2), "{problems:?}");
    }

    #[test]
    fn what_is_said_is_taken_and_the_rest_stays_as_in_the_base() {
        let text = "listen = \"[::1]:0\"\nretention = \"forever\"\ntoken_file = \"/t\"\n\
                    size_max = \"2GiB\"\npresence_interval = \"1m\"\ndisks_interval = \"2m\"\nexternal_url = \"https://lab.example/\"\n\
                    [rules]\npaths = [\"/a\", \"/b\"]\nshipped = false\n\
                    [limits]\nquery_timeout = \"30s\"\nquery_memory = \"64MiB\"\n";
        let base = Config { data_dir: PathBuf::from("/mine"), ..Config::default() };
        let config = Config::parse_over(text, base).unwrap();
        assert_eq!(config.listen, "[::1]:0".parse().unwrap());
        assert_eq!(config.data_dir, Path::new("/mine"));
        assert_eq!(config.retention_ms, None);
        assert_eq!(config.token_file.as_deref(), Some(Path::new("/t")));
        assert_eq!(config.external_url.as_deref(), Some("https://lab.example"));
        assert_eq!(config.rules, [PathBuf::from("/a"), PathBuf::from("/b")]);
        assert_eq!(config.size_max_bytes, Some(2 << 30));
        assert!(!config.shipped_rules);
        assert_eq!(config.presence_interval_ms, 60_000);
        assert_eq!(config.disks_interval_ms, 120_000);
        let limits =
            Limits { query_timeout_ms: 30_000, query_memory_max: 64 << 20, ..Limits::default() };
        assert_eq!(config.limits, limits);
        let problems = Config::check("[limits]\nquery_memory = \"1KiB\"\n");
        assert_eq!(problems.first().map(|problem| problem.line), Some(2), "{problems:?}");
    }

    #[test]
    fn series_that_are_kept_are_read_and_each_problem_has_a_line() {
        let text = "[rollups]\nfive_minutes = \"90d\"\none_hour = \"forever\"\n\
                    [[keep]]\nmatch = 'ups_load{instance=\"vertex\"}'\nfor = \"3y\"\n";
        let config = Config::parse(text).unwrap();
        assert_eq!(config.rollups_ms, [Some(90 * 86_400_000), None]);
        let keep = config.keep_all();
        assert_eq!(keep.len(), 1 + KEPT.len());
        assert_eq!(keep[0].keep_ms, Some(3 * 365 * 86_400_000));
        let takes = |keep: &Keep, name: &str| {
            let labels = labstat_model::Labels::new([("__name__", name), ("instance", "vertex")]);
            keep.matchers.iter().all(|matcher| matcher.matches_labels(&labels))
        };
        assert!(takes(&keep[0], "ups_load") && !takes(&keep[0], "node_load1"));
        assert!(takes(&keep[1], "smartctl_device_temperature") && !takes(&keep[1], "node_load1"));

        let wrong = "[[keep]]\nmatch = 'a{'\nfor = \"x\"\n[[keep]]\nfor = \"1y\"\n\
                     [[keep]]\nmatch = 'sum(a)'\nfor = \"1y\"\nfoo = 1\n";
        let problems = Config::check(wrong);
        let lines: Vec<usize> = problems.iter().map(|problem| problem.line).collect();
        assert_eq!(lines, [2, 3, 4, 7, 9], "{problems:#?}");
    }

    #[test]
    fn receivers_are_read_and_each_of_their_problems_has_a_line() {
        let phone = "[[receivers]]\nname = \"phone\"\n\
                     ntfy = { url = \"https://ntfy.sh\", topic = \"lab\" }\n";
        let config = Config::parse(phone).unwrap();
        assert_eq!(config.receivers.len(), 1);
        let twice = format!("{phone}{phone}[[receivers]]\nname = \"none\"\n[[receivers]]\nx = 1\n");
        let lines: Vec<usize> = Config::check(&twice).iter().map(|problem| problem.line).collect();
        assert_eq!(lines, [4, 7, 10], "{:#?}", Config::check(&twice));
    }

    /// The documented file says the defaults, and every key that it shows is one.
    #[test]
    fn the_documented_file_is_the_default() {
        let documented = include_str!("../../docs/aggregator.toml");
        let config = Config::parse(documented).unwrap();
        assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
        let shown: Vec<&str> = documented
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(shown) if !shown.starts_with(' ') => shown,
                _ => line,
            })
            .collect();
        let config = Config::parse(&shown.join("\n")).unwrap();
        assert_eq!(config.limits, Limits::default());
        let (samples, memory) = (config.limits.query_samples_max, config.limits.query_memory_max);
        let bounds = include_str!("../../docs/promql.md");
        assert!(
            bounds.contains(&format!("{} million samples (`query_samples`)", samples / 1_000_000))
        );
        assert!(bounds.contains(&format!("{} MiB (`query_memory`)", memory >> 20)));
        assert_eq!(config.receivers.len(), 3);
        let EngineConfig { read, timeout_ms, queue_max_bytes, .. } = EngineConfig::default();
        assert_eq!(config.engine.timeout_ms, timeout_ms);
        assert_eq!((config.engine.read, config.engine.queue_max_bytes), (read, queue_max_bytes));
        assert_eq!(config.presence_interval_ms, Config::default().presence_interval_ms);
    }

    #[test]
    fn addresses_are_read_as_people_write_them() {
        for (text, addr) in [
            ("127.0.0.1:9", "127.0.0.1:9"),
            ("localhost:9", "127.0.0.1:9"),
            ("localhost", "127.0.0.1:5227"),
            (":9", "[::]:9"),
            ("[::1]:9", "[::1]:9"),
            ("::1", "[::1]:5227"),
            ("0.0.0.0", "0.0.0.0:5227"),
        ] {
            assert_eq!(parse_listen(text), Ok(addr.parse().unwrap()), "{text}");
        }
        for text in ["", "lab.example:1", "127.0.0.1:70000", "5227", ":"] {
            assert!(parse_listen(text).is_err(), "{text}");
        }
    }
}
