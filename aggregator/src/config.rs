//! What an aggregator is told: where to listen, what to keep, which rules, whom to tell.
//!
//! A configuration is TOML. It is read key by key rather than by derive, so that one look at a
//! file gives all its problems, each with its line. What a file does not say keeps the value of
//! the [`Config`] it is read over, which is how a command line gives its own defaults.
//!
//! Not here: reading the file or the environment, which is the command line's, and what becomes
//! of a receiver, which is `labstat-alerts`'.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use labstat_model::duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

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
    /// The file whose first line is the bearer token that every request must carry.
    pub token_file: Option<PathBuf>,
    /// The address under which people reach this aggregator, for links in notifications.
    pub external_url: Option<String>,
    /// Rule files, and folders whose `*.yml` and `*.yaml` files are rule files.
    pub rules: Vec<PathBuf>,
    /// Whether the rules that labstat ships are evaluated too.
    pub shipped_rules: bool,
    /// How often rule groups that say no interval of their own are evaluated, and how often it is
    /// looked at which nodes have fallen silent, in milliseconds.
    pub evaluation_interval_ms: i64,
    /// Bounds on what requests may cost.
    pub limits: Limits,
}

/// Bounds on what requests may cost; the defaults suit a small machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections open at a time; more wait to be accepted.
    pub connections_max: usize,
    /// Queries that run at a time; more wait, within their timeout.
    pub queries_max: usize,
    /// How long a query may take, waiting included, in milliseconds.
    pub query_timeout_ms: i64,
    /// Samples that one query may hold in memory.
    pub query_samples_max: usize,
    /// How far back an instant looks for a series' last sample, in milliseconds.
    pub lookback_ms: i64,
    /// Bytes of write bodies, compressed and not, that may be in memory at a time.
    pub write_bytes_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)),
            data_dir: PathBuf::from("/var/lib/labstat"),
            retention_ms: Some(365 * 86_400_000),
            token_file: None,
            external_url: None,
            rules: vec![PathBuf::from("/etc/labstat/rules.d")],
            shipped_rules: true,
            evaluation_interval_ms: 15_000,
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 256,
            queries_max: 4,
            query_timeout_ms: 120_000,
            // Prometheus' default is 50 million; a fifth of that is 160 MB at 16 bytes each.
            query_samples_max: 10_000_000,
            lookback_ms: 300_000,
            // Room for one request at the model's limits, or for hundreds of ordinary ones.
            write_bytes_max: 64 * 1024 * 1024,
        }
    }
}

/// One thing that is wrong in a configuration text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line it stands on, from 1.
    pub line: usize,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl Config {
    /// Reads a configuration text over the defaults.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        Self::parse_over(text, Self::default())
    }

    /// Reads a configuration text over `base`: what it does not say stays as it is there.
    pub fn parse_over(text: &str, base: Self) -> Result<Self, Vec<Problem>> {
        let mut problems = Problems { text, found: Vec::new() };
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            problems.at(error.span().map_or(0, |span| span.start), error.message().to_owned());
        }
        if !problems.found.is_empty() {
            // What follows a syntax error is guesswork; its own problems would mislead.
            return Err(problems.found);
        }
        let mut config = base;
        config.read(&mut Section::new(table.into_inner(), ""), &mut problems);
        problems.found.sort_by_key(|problem| problem.line);
        if problems.found.is_empty() { Ok(config) } else { Err(problems.found) }
    }

    /// All that is wrong with a configuration text; empty when nothing is.
    pub fn check(text: &str) -> Vec<Problem> {
        Self::parse(text).err().unwrap_or_default()
    }

    fn read(&mut self, root: &mut Section<'_>, problems: &mut Problems<'_>) {
        root.take("listen", problems, &mut self.listen, |value| {
            parse_listen(text(value)?).map_err(|error| error.to_string())
        });
        root.take("data", problems, &mut self.data_dir, path);
        root.take("retention", problems, &mut self.retention_ms, |value| {
            parse_retention(text(value)?).map_err(|error| error.to_string())
        });
        root.take("token_file", problems, &mut self.token_file, |value| path(value).map(Some));
        root.take("external_url", problems, &mut self.external_url, |value| url(value).map(Some));
        root.take("evaluation_interval", problems, &mut self.evaluation_interval_ms, |value| {
            duration_within(value, 1_000, 3_600_000)
        });
        root.section("rules", problems, |rules, problems| {
            rules.take("paths", problems, &mut self.rules, paths);
            rules.take("shipped", problems, &mut self.shipped_rules, boolean);
        });
        root.section("limits", problems, |limits, problems| self.limits.read(limits, problems));
        root.finish(problems);
    }
}

impl Limits {
    fn read(&mut self, limits: &mut Section<'_>, problems: &mut Problems<'_>) {
        limits.take("connections", problems, &mut self.connections_max, |v| count(v, 1, 65_536));
        limits.take("queries", problems, &mut self.queries_max, |v| count(v, 1, 64));
        limits.take("query_timeout", problems, &mut self.query_timeout_ms, |v| {
            duration_within(v, 1_000, 3_600_000)
        });
        limits.take("query_samples", problems, &mut self.query_samples_max, |v| {
            count(v, 1_000, 1_000_000_000)
        });
        limits.take("lookback", problems, &mut self.lookback_ms, |v| {
            duration_within(v, 1_000, 86_400_000)
        });
        limits.take("write_bytes", problems, &mut self.write_bytes_max, |v| {
            // Less than one request at the model's limits could never be admitted.
            count(v, crate::http::write::REQUEST_BYTES_MAX, 1 << 40)
        });
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
    let full = if named.starts_with(':') { format!("[::]{named}") } else { named };
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

/// Collects what is wrong, by its place in the text.
struct Problems<'a> {
    text: &'a str,
    found: Vec<Problem>,
}

impl Problems<'_> {
    fn at(&mut self, offset: usize, message: String) {
        let before = self.text.as_bytes().get(..offset).unwrap_or_default();
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        self.found.push(Problem { line, message });
    }
}

/// A table whose keys are taken out one by one, so that what is left is unknown.
struct Section<'a> {
    table: DeTable<'a>,
    prefix: String,
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    fn new(table: DeTable<'a>, prefix: &str) -> Self {
        Self { table, prefix: prefix.to_owned(), known: Vec::new() }
    }

    fn remove(&mut self, key: &'static str) -> Option<Spanned<DeValue<'a>>> {
        self.known.push(key);
        self.table.remove(key)
    }

    fn take<T>(
        &mut self,
        key: &'static str,
        problems: &mut Problems<'_>,
        field: &mut T,
        read: impl Fn(&DeValue<'_>) -> Result<T, String>,
    ) {
        let Some(value) = self.remove(key) else { return };
        match read(value.get_ref()) {
            Ok(read) => *field = read,
            Err(message) => {
                problems.at(value.span().start, format!("{}{key}: {message}", self.prefix));
            }
        }
    }

    fn section(
        &mut self,
        key: &'static str,
        problems: &mut Problems<'_>,
        read: impl FnOnce(&mut Section<'a>, &mut Problems<'_>),
    ) {
        let Some(value) = self.remove(key) else { return };
        let start = value.span().start;
        match value.into_inner() {
            DeValue::Table(table) => {
                let mut section = Section::new(table, &format!("{}{key}.", self.prefix));
                read(&mut section, problems);
                section.finish(problems);
            }
            other => problems.at(start, wanted(&other, &format!("a [{key}] section"))),
        }
    }

    fn finish(&mut self, problems: &mut Problems<'_>) {
        self.known.sort_unstable();
        for key in self.table.keys() {
            let message = format!(
                "unknown key {}{} (known here: {})",
                self.prefix,
                key.get_ref(),
                self.known.join(", ")
            );
            problems.at(key.span().start, message);
        }
    }
}

fn wanted(value: &DeValue<'_>, what: &str) -> String {
    format!("expected {what}, found {} {}", article(value.type_str()), value.type_str())
}

fn article(word: &str) -> &'static str {
    if word.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

fn text<'v>(value: &'v DeValue<'_>) -> Result<&'v str, String> {
    value.as_str().ok_or_else(|| wanted(value, "a text"))
}

fn boolean(value: &DeValue<'_>) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| wanted(value, "true or false"))
}

fn path(value: &DeValue<'_>) -> Result<PathBuf, String> {
    match text(value)? {
        "" => Err("expected a path, found an empty text".to_owned()),
        path => Ok(Path::new(path).to_owned()),
    }
}

fn paths(value: &DeValue<'_>) -> Result<Vec<PathBuf>, String> {
    let list = value.as_array().ok_or_else(|| wanted(value, "a list of paths"))?;
    list.iter().map(|item| path(item.get_ref())).collect()
}

fn url(value: &DeValue<'_>) -> Result<String, String> {
    let url = text(value)?;
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    match rest {
        Some(host) if !host.is_empty() => Ok(url.trim_end_matches('/').to_owned()),
        _ => Err(format!("expected a URL such as https://lab.example, found {url:?}")),
    }
}

fn count(value: &DeValue<'_>, min: usize, max: usize) -> Result<usize, String> {
    let number = value.as_integer().ok_or_else(|| wanted(value, "a whole number"))?;
    match usize::from_str_radix(number.as_str(), number.radix()) {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(format!("expected a number from {min} to {max}, found {number}")),
    }
}

fn duration_within(value: &DeValue<'_>, min_ms: i64, max_ms: i64) -> Result<i64, String> {
    let text = text(value)?;
    let ms = duration::parse_ms(text).map_err(|error| error.to_string())?;
    if (min_ms..=max_ms).contains(&ms) {
        return Ok(ms);
    }
    let (min, max) = (duration::format_ms(min_ms), duration::format_ms(max_ms));
    Err(format!("expected a duration from {min} to {max}, found {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_problems_are_told_at_once_with_their_lines() {
        let text = "listen = \"nowhere\"\nretention = \"1s\"\ncolour = 3\n\n[rules]\nshipped = \
                    1\n\n[limits]\nqueries = 0\nwrite_bytes = 1\nfoo = 1\n";
        let problems: Vec<String> = Config::check(text).iter().map(Problem::to_string).collect();
        let starts = [
            "line 1: listen: not an address to listen on: \"nowhere\"",
            "line 2: retention: not a retention: \"1s\"",
            "line 3: unknown key colour (known here: data, ",
            "line 6: rules.shipped: expected true or false, found an integer",
            "line 9: limits.queries: expected a number from 1 to 64, found 0",
            "line 10: limits.write_bytes: expected a number from",
            "line 11: unknown key limits.foo (known here: connections, ",
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
                    evaluation_interval = \"1m\"\nexternal_url = \"https://lab.example/\"\n\
                    [rules]\npaths = [\"/a\", \"/b\"]\nshipped = false\n\
                    [limits]\nquery_timeout = \"30s\"\n";
        let base = Config { data_dir: PathBuf::from("/mine"), ..Config::default() };
        let config = Config::parse_over(text, base).unwrap();
        assert_eq!(config.listen, "[::1]:0".parse().unwrap());
        assert_eq!(config.data_dir, Path::new("/mine"));
        assert_eq!(config.retention_ms, None);
        assert_eq!(config.token_file.as_deref(), Some(Path::new("/t")));
        assert_eq!(config.external_url.as_deref(), Some("https://lab.example"));
        assert_eq!(config.rules, [PathBuf::from("/a"), PathBuf::from("/b")]);
        assert!(!config.shipped_rules);
        assert_eq!(config.evaluation_interval_ms, 60_000);
        assert_eq!(config.limits, Limits { query_timeout_ms: 30_000, ..Limits::default() });
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
