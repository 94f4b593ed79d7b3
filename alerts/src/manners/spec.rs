//! Manners as they are configured, with Alertmanager's names, and what is made of them. The same
//! types read a TOML table and an Alertmanager's YAML; strings are judged in [`MannersSpec::build`],
//! which names all problems at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::tz::TimeZone;
use labstat_model::{MatchOp, Matcher, duration};
use serde::{Deserialize, Serialize};

use super::inhibit::InhibitRule;
use super::maintenance::Window;
use super::matchers::{Matchers, is_classic_name};
use super::route::{Route, Tree};
use super::times::{NamedTimes, Times, TimesSpec};
use crate::notify::Severity;

/// The label by which a route groups alerts that have one cause. It is put on no alert.
pub const INCIDENT: &str = "labstat_incident";

/// The receiver that nobody listens at: where alerts go that no route takes.
pub const NOBODY: &str = "nobody";

/// The most routes of a tree; more are a mistake of whatever wrote them.
const ROUTES_MAX: usize = 10_000;

/// How deep routes may lie in each other.
const DEPTH_MAX: usize = 32;

/// After this time an alert that was posted without an end, and not again, is over.
const RESOLVE_TIMEOUT_MS: i64 = 5 * 60_000;

/// A route with what lies below it. What is not given is inherited from above.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RouteSpec {
    /// Who hears of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receiver: Option<String>,
    /// The labels by which alerts are put into one message; `...` for all, `labstat_incident` for
    /// those with one cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_by: Option<Vec<String>>,
    /// Whether the routes after this one are tried too.
    #[serde(default, rename = "continue", skip_serializing_if = "is_false")]
    pub proceed: bool,
    /// Matchers, all of which must hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matchers: Option<Texts>,
    /// Labels and values, as Alertmanager had it before matchers.
    #[serde(default, rename = "match", skip_serializing_if = "BTreeMap::is_empty")]
    pub equals: BTreeMap<String, String>,
    /// Labels and patterns, as Alertmanager had it before matchers.
    #[serde(default, rename = "match_re", skip_serializing_if = "BTreeMap::is_empty")]
    pub patterns: BTreeMap<String, String>,
    /// How long a new group is waited with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_wait: Option<String>,
    /// How often a group is looked at again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_interval: Option<String>,
    /// After what time the same is said again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat_interval: Option<String>,
    /// Names of times in which nothing is said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mute_time_intervals: Vec<String>,
    /// Names of times outside of which nothing is said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub active_time_intervals: Vec<String>,
    /// Who hears of it when nobody acknowledges it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalation: Option<EscalationSpec>,
    /// The routes below.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteSpec>,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// One text or a list of them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Texts {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl Texts {
    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
        .iter()
        .map(String::as_str)
    }
}

/// Alerts that keep others quiet.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct InhibitSpec {
    /// What the alert has that keeps others quiet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_matchers: Option<Texts>,
    /// What the alerts have that are kept quiet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_matchers: Option<Texts>,
    /// Older form of `source_matchers`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub source_match: BTreeMap<String, String>,
    /// Older form of `source_matchers`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub source_match_re: BTreeMap<String, String>,
    /// Older form of `target_matchers`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub target_match: BTreeMap<String, String>,
    /// Older form of `target_matchers`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub target_match_re: BTreeMap<String, String>,
    /// Labels that both must have with one value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub equal: Vec<String>,
}

/// A time in which nothing is said of a node and what hangs on it.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MaintenanceSpec {
    /// The node or nodes.
    pub node: Texts,
    /// `02:00-04:00` for each day, `sunday 02:00-04:00`, `monday:friday 23:30-00:30`.
    #[serde(default)]
    pub every: Option<String>,
    /// The beginning of one that comes once: `2026-11-22 20:00`, or RFC 3339.
    #[serde(default)]
    pub from: Option<String>,
    /// Its end.
    #[serde(default)]
    pub to: Option<String>,
    /// A zone of the time zone database; without it that of the machine.
    #[serde(default)]
    pub location: Option<String>,
    /// Why.
    #[serde(default)]
    pub comment: String,
}

/// Who hears of what nobody has acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct EscalationSpec {
    /// After what time.
    pub after: String,
    /// Who.
    pub receiver: String,
}

/// When an alert counts as flapping.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FlappingSpec {
    /// It has begun more often than this; 0 turns it off.
    #[serde(default = "flaps_max")]
    pub changes: usize,
    /// Within this time; after as long without a beginning it is quiet again.
    #[serde(default = "flaps_within")]
    pub within: String,
}

fn flaps_max() -> usize {
    3
}

fn flaps_within() -> String {
    "30m".to_owned()
}

impl Default for FlappingSpec {
    fn default() -> Self {
        Self { changes: flaps_max(), within: flaps_within() }
    }
}

/// Everything that is configured about who hears what and when.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MannersSpec {
    /// The tree; without one each recipient hears what its own matchers say.
    pub route: Option<RouteSpec>,
    /// Alerts that keep others quiet.
    pub inhibit: Vec<InhibitSpec>,
    /// Named times.
    pub times: Vec<TimesSpec>,
    /// Times in which a node is worked on.
    pub maintenance: Vec<MaintenanceSpec>,
    /// Who hears of what nobody has acknowledged, on all routes that do not say otherwise.
    pub escalation: Option<EscalationSpec>,
    /// When an alert counts as flapping.
    pub flapping: FlappingSpec,
    /// After what time an alert that was posted without an end is over.
    pub resolve_timeout: Option<String>,
    /// What routes do that do not say.
    pub defaults: Defaults,
}

/// What the root route does where it does not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Defaults {
    /// Groups by cause, 1 s, 5 m, 24 h.
    #[default]
    Ours,
    /// One group, 30 s, 5 m, 4 h.
    Alertmanager,
}

/// Somebody a route can name.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipient {
    /// The name that routes give.
    pub name: String,
    /// Where its messages go: most have one part, of the same name.
    pub parts: Vec<Part>,
    /// What it wants to hear of; looked at where no route is configured.
    pub matchers: Vec<Matcher>,
    /// The least severity that it wants to hear of; looked at where no route is configured.
    pub severity: Option<Severity>,
}

/// One receiver's share in a recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The receiver's name.
    pub receiver: String,
    /// Whether it is told of the end.
    pub send_resolved: bool,
}

impl Recipient {
    /// One receiver under its own name.
    pub fn new(name: impl Into<String>, send_resolved: bool) -> Self {
        let name = name.into();
        let parts = vec![Part { receiver: name.clone(), send_resolved }];
        Self { name, parts, matchers: Vec::new(), severity: None }
    }
}

/// What is wrong with a configuration, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpecProblem {
    /// The key, such as `route.routes[1]`.
    pub place: String,
    /// What is wrong.
    pub text: String,
}

impl fmt::Display for SpecProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

/// What [`super::Manners`] works by.
#[derive(Debug, Clone)]
pub struct MannersConfig {
    pub(super) tree: Tree,
    pub(super) inhibit: Vec<InhibitRule>,
    pub(super) times: NamedTimes,
    pub(super) maintenance: Vec<Window>,
    pub(super) flapping: Option<Flapping>,
    pub(super) resolve_timeout_ms: i64,
    pub(super) recipients: BTreeMap<String, Vec<Part>>,
    /// What was configured, for those who ask.
    pub(super) original: MannersSpec,
}

/// See [`FlappingSpec`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Flapping {
    pub(super) changes_max: usize,
    pub(super) within_ms: i64,
}

/// See [`EscalationSpec`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Escalation {
    pub(super) after_ms: i64,
    pub(super) receiver: String,
}

/// By what alerts are put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum GroupBy {
    /// Those with one cause.
    Incident,
    /// Each by itself.
    All,
    /// Those with the same values of these.
    Labels(BTreeSet<String>),
}

impl Default for MannersConfig {
    fn default() -> Self {
        Self {
            tree: Tree::new(root(Defaults::Ours), Vec::new()),
            inhibit: Vec::new(),
            times: NamedTimes::new(),
            maintenance: Vec::new(),
            flapping: None,
            resolve_timeout_ms: RESOLVE_TIMEOUT_MS,
            recipients: BTreeMap::new(),
            original: MannersSpec::default(),
        }
    }
}

fn root(defaults: Defaults) -> Route {
    let ours = defaults == Defaults::Ours;
    Route {
        receiver: NOBODY.to_owned(),
        group_by: if ours { GroupBy::Incident } else { GroupBy::Labels(BTreeSet::new()) },
        group_wait_ms: if ours { 500 } else { 30_000 },
        group_interval_ms: 5 * 60_000,
        repeat_interval_ms: if ours { 24 } else { 4 } * 3_600_000,
        ..Route::default()
    }
}

impl MannersSpec {
    /// The tree that is in force where none is configured: each recipient by its own matchers.
    pub fn default_route(recipients: &[Recipient]) -> RouteSpec {
        let child = |recipient: &Recipient| {
            let mut list = recipient.matchers.clone();
            list.extend(recipient.severity.and_then(severity_matcher));
            let texts = list.iter().map(super::matchers::matcher_text).collect();
            RouteSpec {
                receiver: Some(recipient.name.clone()),
                proceed: true,
                matchers: Some(Texts::Many(texts)),
                ..RouteSpec::default()
            }
        };
        RouteSpec {
            receiver: Some(NOBODY.to_owned()),
            routes: recipients.iter().map(child).collect(),
            ..RouteSpec::default()
        }
    }

    /// What is configured, ready for use, or everything that is wrong with it. `zone` is the
    /// machine's own.
    pub fn build(
        mut self,
        recipients: &[Recipient],
        zone: &TimeZone,
    ) -> Result<MannersConfig, Vec<SpecProblem>> {
        let mut builder = Builder::default();
        for recipient in recipients {
            let known = builder.recipients.insert(recipient.name.clone(), recipient.parts.clone());
            if known.is_some() {
                let text = format!("notification config name {:?} is not unique", recipient.name);
                builder.problem("receivers", text);
            }
        }
        builder.recipients.entry(NOBODY.to_owned()).or_default();
        let times = builder.times(&self.times);
        let spec = self.route.take().unwrap_or_else(|| Self::default_route(recipients));
        let escalation = builder.escalation("escalation", self.escalation.as_ref());
        let tree = builder.tree(&spec, &Route { escalation, ..root(self.defaults) }, &times);
        let inhibit = builder.inhibit(&self.inhibit);
        let mut maintenance = Vec::new();
        for (at, spec) in self.maintenance.iter().enumerate() {
            match Window::build(spec, zone) {
                Ok(window) => maintenance.push(window),
                Err(text) => builder.problem(&format!("maintenance[{at}]"), text),
            }
        }
        let within_ms = builder.duration("flapping.within", Some(&self.flapping.within), 1);
        let timeout = self.resolve_timeout.as_ref();
        let resolve_timeout_ms =
            builder.duration("resolve_timeout", timeout, 1).unwrap_or(RESOLVE_TIMEOUT_MS);
        let changes_max = self.flapping.changes;
        let flapping = within_ms.filter(|_| changes_max > 0);
        self.route = Some(spec);
        let Builder { recipients, mut problems } = builder;
        if problems.is_empty() {
            Ok(MannersConfig {
                tree,
                inhibit,
                times,
                maintenance,
                flapping: flapping.map(|within_ms| Flapping { changes_max, within_ms }),
                resolve_timeout_ms,
                recipients,
                original: self,
            })
        } else {
            problems.sort();
            Err(problems)
        }
    }
}

/// Everything but what is less than `least`: a severity that nobody knows is told, not lost.
fn severity_matcher(least: Severity) -> Option<Matcher> {
    let lower = match least {
        Severity::Info => return None,
        Severity::Warning => "(?i)info|information|none|low",
        Severity::Critical => "(?i)info|information|none|low|warning|warn|medium",
    };
    Matcher::new("severity", MatchOp::NotRegex, lower).ok()
}

/// Builds, and gathers what is wrong.
#[derive(Default)]
struct Builder {
    recipients: BTreeMap<String, Vec<Part>>,
    problems: Vec<SpecProblem>,
}

impl Builder {
    fn problem(&mut self, place: &str, text: impl Into<String>) {
        self.problems.push(SpecProblem { place: place.to_owned(), text: text.into() });
    }

    fn duration(&mut self, place: &str, text: Option<&String>, least_ms: i64) -> Option<i64> {
        let ms = match duration::parse_ms(text?) {
            Ok(ms) => ms,
            Err(error) => {
                self.problem(place, error.to_string());
                return None;
            }
        };
        if ms < least_ms {
            self.problem(place, "cannot be zero");
            return None;
        }
        Some(ms)
    }

    fn times(&mut self, specs: &[TimesSpec]) -> NamedTimes {
        let mut named = NamedTimes::new();
        for spec in specs {
            let place = format!("time interval {:?}", spec.name);
            if spec.name.is_empty() {
                self.problem(&place, "missing name in time interval");
            }
            match Times::build(&spec.time_intervals, &TimeZone::UTC) {
                Ok(times) => {
                    if named.insert(spec.name.clone(), times).is_some() {
                        self.problem(&place, "is not unique");
                    }
                }
                Err(text) => self.problem(&place, text),
            }
        }
        named
    }

    fn escalation(&mut self, place: &str, spec: Option<&EscalationSpec>) -> Option<Escalation> {
        let spec = spec?;
        let after_ms = self.duration(&format!("{place}.after"), Some(&spec.after), 1)?;
        self.receiver(place, &spec.receiver);
        Some(Escalation { after_ms, receiver: spec.receiver.clone() })
    }

    fn receiver(&mut self, place: &str, name: &str) {
        if !self.recipients.contains_key(name) {
            self.problem(place, format!("undefined receiver {name:?} used in route"));
        }
    }

    fn matchers(
        &mut self,
        place: &str,
        texts: Option<&Texts>,
        equals: &BTreeMap<String, String>,
        patterns: &BTreeMap<String, String>,
    ) -> Matchers {
        let mut list = Vec::new();
        match texts.map(|texts| Matchers::parse_all(texts.iter())) {
            Some(Ok(matchers)) => list.extend(matchers.iter().cloned()),
            Some(Err(error)) => self.problem(place, error.to_string()),
            None => {}
        }
        for name in equals.keys().chain(patterns.keys()) {
            if !is_classic_name(name) || name.contains(':') {
                self.problem(place, format!("invalid label name {name:?}"));
            }
        }
        list.extend(equals.iter().map(|(name, value)| Matcher::equal(name, value)));
        for (name, pattern) in patterns {
            match Matcher::new(name, MatchOp::Regex, pattern) {
                Ok(matcher) => list.push(matcher),
                Err(error) => self.problem(place, error.to_string()),
            }
        }
        Matchers::new(list)
    }

    fn inhibit(&mut self, specs: &[InhibitSpec]) -> Vec<InhibitRule> {
        let mut rules = Vec::new();
        for (at, spec) in specs.iter().enumerate() {
            let place = format!("inhibit_rules[{at}]");
            let source = spec.source_matchers.as_ref();
            let source = self.matchers(&place, source, &spec.source_match, &spec.source_match_re);
            let target = spec.target_matchers.as_ref();
            let target = self.matchers(&place, target, &spec.target_match, &spec.target_match_re);
            rules.push(InhibitRule { source, target, equal: spec.equal.clone() });
        }
        rules
    }

    fn tree(&mut self, spec: &RouteSpec, above: &Route, times: &NamedTimes) -> Tree {
        if spec.receiver.as_ref().is_none_or(String::is_empty) {
            self.problem("route", "root route must specify a default receiver");
        }
        let has_matchers =
            spec.matchers.as_ref().is_some_and(|texts| texts.iter().next().is_some());
        if has_matchers || !spec.equals.is_empty() || !spec.patterns.is_empty() {
            self.problem("route", "root route must not have any matchers");
        }
        if !spec.mute_time_intervals.is_empty() {
            self.problem("route", "root route must not have any mute time intervals");
        }
        if !spec.active_time_intervals.is_empty() {
            self.problem("route", "root route must not have any active time intervals");
        }
        let route = self.route("route", spec, above, times);
        let mut nodes = Vec::new();
        let mut tree_left = ROUTES_MAX;
        self.children("route", spec, &route, times, (&mut nodes, &mut tree_left), 1);
        Tree::new(route, nodes)
    }

    fn children(
        &mut self,
        place: &str,
        spec: &RouteSpec,
        above: &Route,
        times: &NamedTimes,
        (nodes, left): (&mut Vec<super::route::Branch>, &mut usize),
        depth: usize,
    ) {
        for (at, child) in spec.routes.iter().enumerate() {
            let place = format!("{place}.routes[{at}]");
            if depth > DEPTH_MAX || *left == 0 {
                self.problem(&place, "there are too many routes, or they lie too deep");
                return;
            }
            *left -= 1;
            let route = self.route(&place, child, above, times);
            let mut below = Vec::new();
            self.children(&place, child, &route, times, (&mut below, left), depth + 1);
            nodes.push(super::route::Branch { route, below });
        }
    }

    fn route(&mut self, place: &str, spec: &RouteSpec, above: &Route, times: &NamedTimes) -> Route {
        let mut route = above.clone();
        route.matchers = self.matchers(place, spec.matchers.as_ref(), &spec.equals, &spec.patterns);
        route.proceed = spec.proceed;
        if let Some(receiver) = spec.receiver.as_ref().filter(|name| !name.is_empty()) {
            self.receiver(place, receiver);
            route.receiver.clone_from(receiver);
        }
        if let Some(labels) = &spec.group_by {
            match group_by(labels) {
                Ok(group_by) => route.group_by = group_by,
                Err(text) => self.problem(place, text),
            }
        }
        let (wait, interval) = (spec.group_wait.as_ref(), spec.group_interval.as_ref());
        if let Some(ms) = self.duration(&format!("{place}.group_wait"), wait, 0) {
            route.group_wait_ms = ms;
        }
        if let Some(ms) = self.duration(&format!("{place}.group_interval"), interval, 1) {
            route.group_interval_ms = ms;
        }
        let repeat = spec.repeat_interval.as_ref();
        if let Some(ms) = self.duration(&format!("{place}.repeat_interval"), repeat, 1) {
            route.repeat_interval_ms = ms;
        }
        if spec.escalation.is_some() {
            route.escalation = self.escalation(place, spec.escalation.as_ref());
        }
        for name in spec.mute_time_intervals.iter().chain(&spec.active_time_intervals) {
            if !times.contains_key(name) {
                self.problem(place, format!("undefined time interval {name:?} used in route"));
            }
        }
        route.mute_times.clone_from(&spec.mute_time_intervals);
        route.active_times.clone_from(&spec.active_time_intervals);
        route
    }
}

fn group_by(labels: &[String]) -> Result<GroupBy, String> {
    let mut set = BTreeSet::new();
    for label in labels {
        if !set.insert(label.clone()) {
            return Err(format!("duplicated label {label:?} in group_by"));
        }
        if label != "..." && (!is_classic_name(label) || label.contains(':')) {
            return Err(format!("invalid label name {label:?} in group_by list"));
        }
    }
    let whole = |name: &str| set.contains(name);
    if (whole("...") || whole(INCIDENT)) && set.len() > 1 {
        let which = if whole("...") { "..." } else { INCIDENT };
        return Err(format!(
            "cannot have wildcard group_by (`{which}`) and other labels at the same time"
        ));
    }
    Ok(if whole("...") {
        GroupBy::All
    } else if whole(INCIDENT) {
        GroupBy::Incident
    } else {
        GroupBy::Labels(set)
    })
}
