//! Rule files: Prometheus' YAML to a [`RuleSet`].
//!
//! Loading is all or nothing: a set of files either gives a whole rule set or the list of
//! everything that is wrong with them, each with its file and line, and the caller keeps the set
//! it had. One who has none to keep takes the files that can be read ([`Loaded`]). What a rule may say
//! is what Prometheus 3 accepts, no more and no less.
//!
//! `crate::yaml` reads the YAML, [`check`] turns it into rules, [`lint()`] says what is doubtful of them;
//! nothing of it evaluates anything.

mod check;
mod lint;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use labstat_model::{METRIC_NAME, Matcher};

use crate::template::Template;

pub use lint::{duplicates, lint, unused};

/// Bytes of one rule file. The largest published one has about 200 KiB.
pub const FILE_LEN_MAX: u64 = 4 * 1024 * 1024;

/// Files of one rule set; a folder with more is not a folder of rules.
pub const FILES_MAX: usize = 1_000;

/// How often a group is evaluated that does not say: Prometheus' default is a minute, a lab that
/// samples every 10 s wants to know sooner.
pub const INTERVAL_DEFAULT_MS: i64 = 15_000;

/// The shortest interval of a group, whatever it asks for; below it evaluation would be all the machine
/// does.
pub const INTERVAL_MIN_MS: i64 = 1_000;

/// The annotation that has an alert's second expression: the alert goes on firing while that gives
/// something for it.
pub const KEEP_WHILE: &str = "labstat_keep_while";

/// All groups of all rule files.
#[derive(Debug, Clone, Default)]
pub struct RuleSet {
    /// The groups: files in the order they were given (folders by file name), groups as they stand.
    pub groups: Vec<Arc<Group>>,
}

/// What could be read of a set of rule files, file by file.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// The rules of the files that were read whole.
    pub rules: RuleSet,
    /// What is wrong with the others.
    pub problems: Vec<Problem>,
    /// These others, and folders whose files cannot be listed: what rules they hold is not known.
    pub unread: Vec<PathBuf>,
}

/// How strictly rule files are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// Pass over keys that no rule file has.
    pub ignore_unknown: bool,
    /// Refuse expressions that our engine takes and Prometheus 3.5 does not, or not unless a feature
    /// is switched on there.
    pub strict: bool,
}

/// Rules that are evaluated together, in order.
#[derive(Debug, Clone)]
pub struct Group {
    /// The file it stands in, as it was given.
    pub file: String,
    /// The name, unique in its file.
    pub name: String,
    /// Time between evaluations.
    pub interval_ms: i64,
    /// The most alerts or series one rule may have; 0 for no limit.
    pub limit: usize,
    /// How far in the past the rules look, so that late samples are in.
    pub query_offset_ms: i64,
    /// The rules, in the order of the file.
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The alert's name, or that of the recorded metric.
    pub name: String,
    /// The expression, as written.
    pub expr: String,
    /// The line of the file where the rule starts.
    pub line: usize,
    /// What it makes.
    pub kind: RuleKind,
}

/// What a rule makes.
#[derive(Debug, Clone)]
pub enum RuleKind {
    /// Alerts.
    Alert(AlertRule),
    /// A series per result; the labels are put on each.
    Record {
        /// The labels, those of the group included; ascending by name. One with an empty value takes
        /// the label of that name away.
        labels: Vec<(String, String)>,
    },
}

/// What an alerting rule has beyond its expression.
#[derive(Debug, Clone, Default)]
pub struct AlertRule {
    /// How long the condition must hold before the alert fires.
    pub for_ms: i64,
    /// How long the alert goes on firing after the condition has ceased.
    pub keep_firing_for_ms: i64,
    /// Labels put on each alert, those of the group included; ascending by name.
    pub labels: Vec<(String, Template)>,
    /// Texts for people; ascending by name.
    pub annotations: Vec<(String, Template)>,
}

/// One thing that is wrong with a rule file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, as it was given.
    pub file: String,
    /// The line, counted from 1, where it is known.
    pub line: Option<usize>,
    /// What is wrong, without file and line.
    pub message: String,
}

impl Rule {
    /// The matchers of each selector of its expression, the metric name as `__name__`.
    pub fn selectors(&self) -> Vec<Vec<Matcher>> {
        labstat_promql::check(&self.expr).map_or_else(|_| Vec::new(), |checked| checked.selectors)
    }
}

/// Whether a selector with these matchers may have series of the metric `name`.
pub(crate) fn may_select(matchers: &[Matcher], name: &str) -> bool {
    matchers.iter().filter(|m| m.name() == METRIC_NAME).all(|m| m.matches(name))
}

impl AlertRule {
    /// The rule's second expression, where it has one ([`KEEP_WHILE`]).
    pub fn keep_while(&self) -> Option<&str> {
        let (_, text) = self.annotations.iter().find(|(name, _)| name == KEEP_WHILE)?;
        Some(text.source())
    }

    /// Whether a result of the second expression is about an alert whose labels `alert` gives: of the
    /// labels that both have, those that the rule sets and the metric's name aside, all must be equal,
    /// and a result that has labels must share one.
    pub fn keeps<'l>(
        &self,
        result: impl IntoIterator<Item = (&'l str, &'l str)>,
        alert: impl Fn(&str) -> Option<&'l str>,
    ) -> bool {
        let is_set = |name: &str| {
            name == METRIC_NAME
                || name == "alertname"
                || self.labels.iter().any(|(own, _)| own == name)
        };
        let mut has_labels = false;
        let mut shares = false;
        for (name, value) in result.into_iter().filter(|(name, _)| !is_set(name)) {
            has_labels = true;
            match alert(name) {
                Some(own) if own != value => return false,
                Some(_) => shares = true,
                None => {}
            }
        }
        shares || !has_labels
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.message),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

/// Everything that is wrong with a set of rule files; at least one problem.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

/// One problem a line.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.0.iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl RuleSet {
    /// The rules of files and folders. Of a folder, the files `*.yml` and `*.yaml` are taken,
    /// ascending by name, but not unit tests (`*.test.yml`), and not those of its subfolders.
    pub fn load(paths: &[PathBuf]) -> Result<Self, Problems> {
        Self::load_as(paths, Reading::default())
    }

    /// The same, read as `reading` says.
    pub fn load_as(paths: &[PathBuf], reading: Reading) -> Result<Self, Problems> {
        Loaded::load(paths, reading).whole()
    }

    /// The rules of texts, each with the name it is to have as a file.
    pub fn parse(files: &[(&str, &str)]) -> Result<Self, Problems> {
        Self::read(files, Reading::default())
    }

    /// The same, read as `reading` says.
    pub fn read(files: &[(&str, &str)], reading: Reading) -> Result<Self, Problems> {
        Loaded::read(files, reading).whole()
    }

    /// The rules labstat ships (see [`crate::shipped`]).
    pub fn shipped() -> Result<Self, Problems> {
        Self::parse(crate::shipped::FILES)
    }

    /// This set with the groups of `other` after its own.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.groups.extend(other.groups);
        self
    }

    /// The number of rules.
    pub fn rules_len(&self) -> usize {
        self.groups.iter().map(|group| group.rules.len()).sum()
    }
}

impl Loaded {
    /// The rules of files and folders, as [`RuleSet::load`] takes them.
    pub fn load(paths: &[PathBuf], reading: Reading) -> Self {
        let mut loaded = Self::default();
        let mut files = Vec::new();
        for path in paths {
            match list(path) {
                Ok(found) => files.extend(found),
                Err(problem) => loaded.leave_out(path.clone(), problem),
            }
        }
        if files.len() > FILES_MAX {
            let message = format!("{} rule files, over the limit of {FILES_MAX}", files.len());
            loaded.problems.push(Problem { file: "rules".to_owned(), line: None, message });
            loaded.unread.append(&mut files);
        }
        let mut texts = Vec::new();
        for file in files {
            match read(&file) {
                Ok(text) => texts.push((file.display().to_string(), text)),
                Err(problem) => loaded.leave_out(file, problem),
            }
        }
        let texts: Vec<_> =
            texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        loaded.and(Self::read(&texts, reading))
    }

    /// The rules of texts, each with the name it is to have as a file.
    pub fn read(files: &[(&str, &str)], reading: Reading) -> Self {
        let mut loaded = Self::default();
        for (name, text) in files {
            let known = loaded.problems.len();
            let groups = check::groups(name, text, reading, &mut loaded.problems);
            if loaded.problems.len() == known {
                loaded.rules.groups.extend(groups.into_iter().map(Arc::new));
            } else {
                loaded.unread.push(PathBuf::from(name));
            }
        }
        loaded
    }

    /// What this and `other` have, this one's first.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.rules = self.rules.and(other.rules);
        self.problems.extend(other.problems);
        self.unread.extend(other.unread);
        self
    }

    /// The rules, if nothing is wrong with any file.
    pub fn whole(self) -> Result<RuleSet, Problems> {
        if self.problems.is_empty() { Ok(self.rules) } else { Err(Problems(self.problems)) }
    }

    fn leave_out(&mut self, path: PathBuf, problem: Problem) {
        self.unread.push(path);
        self.problems.push(problem);
    }
}

/// The rule files that `path` stands for: itself, or those of the folder.
fn list(path: &Path) -> Result<Vec<PathBuf>, Problem> {
    let problem = |error: &std::io::Error| Problem {
        file: path.display().to_string(),
        line: None,
        message: format!("cannot be read: {error}"),
    };
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|error| problem(&error))? {
        let found = entry.map_err(|error| problem(&error))?.path();
        let name = found.file_name().unwrap_or_default().to_string_lossy();
        let is_yaml = name.ends_with(".yml") || name.ends_with(".yaml");
        let is_test = name.ends_with(".test.yml") || name.ends_with(".test.yaml");
        // A leading dot is how editors name their half-written copies.
        if is_yaml && !is_test && !name.starts_with('.') && found.is_file() {
            files.push(found);
        }
    }
    files.sort();
    Ok(files)
}

/// The text of a rule file, or of one of tests.
pub(crate) fn read(path: &Path) -> Result<String, Problem> {
    let problem =
        |message: String| Problem { file: path.display().to_string(), line: None, message };
    let size = std::fs::metadata(path).map_err(|e| problem(format!("cannot be read: {e}")))?.len();
    if size > FILE_LEN_MAX {
        return Err(problem(format!("{size} bytes, over the limit of {FILE_LEN_MAX}")));
    }
    std::fs::read_to_string(path).map_err(|e| problem(format!("cannot be read: {e}")))
}

#[cfg(test)]
mod tests;
