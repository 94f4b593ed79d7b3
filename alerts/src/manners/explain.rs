//! Which routes there are, which of them an alert would take, and what would keep it quiet now: for those who ask
//! before it fires.

use std::collections::BTreeMap;

use labstat_model::duration;
use serde::{Deserialize, Serialize};

use super::Manners;
use super::route::Route;
use super::spec::{GroupBy, INCIDENT, MannersConfig, NOBODY};
use super::state::{AlertRow, Live, Origin};
use super::topology::Graph;
use crate::hash::fingerprint;
use crate::notification::{Notification, Status};

/// A route, with what it has inherited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteView {
    /// How many routes are above it.
    pub depth: usize,
    /// Its matchers as Alertmanager writes them; `{}` takes all that comes to it.
    pub matchers: String,
    /// The recipient; none where nobody is told.
    pub receiver: Option<String>,
    /// Whether the routes after it have the alert too.
    #[serde(rename = "continue")]
    pub proceed: bool,
    /// The labels that alerts are put together by; `...` for each by itself.
    pub group_by: Vec<String>,
    /// How long the first message of a group waits for more of it.
    pub group_wait: String,
    /// How long after a message the group is looked at again.
    pub group_interval: String,
    /// After how long what still fires is said again.
    pub repeat_interval: String,
    /// Times in which it is quiet.
    #[serde(default)]
    pub mute_time_intervals: Vec<String>,
    /// Times outside of which it is quiet.
    #[serde(default)]
    pub active_time_intervals: Vec<String>,
    /// Who is called when nobody has acknowledged it, and after how long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalation: Option<EscalationView>,
}

/// Who is called when nobody has acknowledged an alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EscalationView {
    /// After how long.
    pub after: String,
    /// The recipient.
    pub receiver: String,
}

/// A route that an alert would take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TakenRoute {
    /// The route.
    #[serde(flatten)]
    pub route: RouteView,
    /// The matchers of the routes on the way to it, the root's first, its own last.
    pub path: Vec<String>,
    /// The labels of the group that the alert would join; empty where its cause decides.
    #[serde(default)]
    pub group_labels: BTreeMap<String, String>,
    /// Names of its times that keep it quiet now.
    #[serde(default)]
    pub muted_by: Vec<String>,
}

/// What would become of an alert with certain labels.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The recipients that would hear of it, in the order of the routes.
    pub receivers: Vec<String>,
    /// The routes that it takes.
    #[serde(default)]
    pub routes: Vec<TakenRoute>,
    /// Ids of the silences that hold for it.
    #[serde(default)]
    pub silenced_by: Vec<String>,
    /// Fingerprints of the alerts that keep it quiet.
    #[serde(default)]
    pub inhibited_by: Vec<String>,
    /// Why its node is worked on, while it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<String>,
}

impl Explanation {
    /// Whether something keeps it from everybody now.
    pub fn is_suppressed(&self) -> bool {
        let is_quiet = |taken: &TakenRoute| !taken.muted_by.is_empty();
        !self.silenced_by.is_empty()
            || !self.inhibited_by.is_empty()
            || self.maintenance.is_some()
            || (!self.routes.is_empty() && self.routes.iter().all(is_quiet))
    }
}

impl Manners {
    /// What would become of an alert with these labels now.
    pub fn explain(&self, labels: &BTreeMap<String, String>, now_ms: i64) -> Explanation {
        let live = supposed(labels, &self.graph, now_ms);
        let muted = self.muted(&live.row.alert.fingerprint, &live, now_ms);
        Explanation {
            silenced_by: muted.silenced_by.to_vec(),
            inhibited_by: muted.inhibited_by.into_iter().collect(),
            maintenance: muted.maintenance.map(|(_, why)| why),
            ..self.config.explain_routes(labels, now_ms)
        }
    }
}

impl MannersConfig {
    /// All routes, each followed by those below it.
    pub fn routes(&self) -> Vec<RouteView> {
        self.tree.walk().into_iter().map(|(depth, _, route)| view(depth, route)).collect()
    }

    /// What would become of an alert with these labels by what is configured alone: nothing is known of silences,
    /// of other alerts, and of what hangs on what.
    pub fn explain(&self, labels: &BTreeMap<String, String>, now_ms: i64) -> Explanation {
        let (manners, _) = Manners::new(self.clone(), Vec::new(), now_ms);
        manners.explain(labels, now_ms)
    }

    fn explain_routes(&self, labels: &BTreeMap<String, String>, now_ms: i64) -> Explanation {
        let taken = self.tree.find(labels);
        let mut path: Vec<String> = Vec::new();
        let mut routes = BTreeMap::new();
        for (depth, at, route) in self.tree.walk() {
            path.truncate(depth);
            path.push(route.matchers.to_string());
            if !taken.contains(&at) {
                continue;
            }
            let group_labels = match route.group_by {
                GroupBy::Incident => BTreeMap::new(),
                _ => route.group_labels(labels, ""),
            };
            let muted_by = self.quiet_times_of(route, now_ms);
            let route = view(depth, route);
            routes.insert(at, TakenRoute { route, path: path.clone(), group_labels, muted_by });
        }
        let routes = taken.iter().filter_map(|at| routes.remove(at)).collect();
        Explanation { receivers: self.test_route(labels), routes, ..Explanation::default() }
    }

    /// The names of a route's times that keep it quiet now.
    pub(super) fn quiet_times_of(&self, route: &Route, now_ms: i64) -> Vec<String> {
        let holds =
            |name: &&String| self.times.get(*name).is_some_and(|times| times.contains(now_ms));
        let muting: Vec<String> = route.mute_times.iter().filter(holds).cloned().collect();
        // Outside of its active times a route is muted by their not holding.
        if muting.is_empty() && !route.active_times.iter().any(|name| holds(&name)) {
            return route.active_times.clone();
        }
        muting
    }
}

/// An alert with these labels, as if it began now.
fn supposed(labels: &BTreeMap<String, String>, graph: &Graph, now_ms: i64) -> Live {
    let mut labels = labels.clone();
    labels.retain(|_, value| !value.is_empty());
    let alert = Notification {
        fingerprint: fingerprint(labels.iter().map(|(name, value)| (&**name, &**value))),
        status: Status::Firing,
        labels,
        annotations: BTreeMap::new(),
        active_at_ms: now_ms,
        starts_at_ms: now_ms,
        ends_at_ms: None,
        value: f64::NAN,
        generator_url: String::new(),
    };
    Live::new(AlertRow::new(alert, Origin::Rules, None, now_ms), graph)
}

fn view(depth: usize, route: &Route) -> RouteView {
    let escalation = route.escalation.as_ref().map(|escalation| EscalationView {
        after: duration::format_ms(escalation.after_ms),
        receiver: escalation.receiver.clone(),
    });
    RouteView {
        depth,
        matchers: route.matchers.to_string(),
        receiver: (route.receiver != NOBODY).then(|| route.receiver.clone()),
        proceed: route.proceed,
        group_by: match &route.group_by {
            GroupBy::Incident => vec![INCIDENT.to_owned()],
            GroupBy::All => vec!["...".to_owned()],
            GroupBy::Labels(names) => names.iter().cloned().collect(),
        },
        group_wait: duration::format_ms(route.group_wait_ms),
        group_interval: duration::format_ms(route.group_interval_ms),
        repeat_interval: duration::format_ms(route.repeat_interval_ms),
        mute_time_intervals: route.mute_times.clone(),
        active_time_intervals: route.active_times.clone(),
        escalation,
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::manners::{Posted, Recipient, Silence, SilenceMatcher, alertmanager};

    const YAML: &str = r#"
route:
  receiver: mail
  group_by: [cluster]
  routes:
  - matchers: [severity="critical"]
    receiver: phone
    continue: true
    repeat_interval: 1h
    routes:
    - matchers: [team="db"]
      receiver: dba
      active_time_intervals: [never]
  - matchers: [severity=~"critical|warning"]
    receiver: chat
    group_by: [...]
    mute_time_intervals: [always]
inhibit_rules:
- source_matchers: [alertname="NodeDown"]
  target_matchers: [alertname!="NodeDown"]
  equal: [instance]
receivers: [{name: mail}, {name: phone}, {name: dba}, {name: chat}]
time_intervals:
- name: always
  time_intervals: [{times: [{start_time: '00:00', end_time: '24:00'}]}]
- name: never
  time_intervals: [{years: ['1999']}]
"#;

    fn config() -> MannersConfig {
        let file = alertmanager::read(YAML).unwrap();
        let names = file.receivers.iter().map(|receiver| Recipient::new(&*receiver.name, true));
        let names: Vec<Recipient> = names.collect();
        file.spec.build(&names, &TimeZone::UTC).unwrap()
    }

    fn labels(text: &str) -> BTreeMap<String, String> {
        let pairs = text.split(' ').filter_map(|pair| pair.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn the_routes_of_an_alert_are_told_with_the_way_to_them_and_what_is_quiet_there() {
        let told = config().explain(&labels("severity=critical team=db cluster=c1 x=y"), 0);
        assert_eq!(told.receivers, ["dba", "chat"]);
        let [dba, chat] = &told.routes[..] else { panic!("{told:?}") };
        assert_eq!(dba.path, ["{}", r#"{severity="critical"}"#, r#"{team="db"}"#]);
        assert_eq!((dba.route.depth, dba.route.repeat_interval.as_str()), (2, "1h"));
        assert_eq!(dba.group_labels, labels("cluster=c1"));
        assert_eq!(
            (&dba.muted_by[..], &chat.muted_by[..]),
            (&["never".to_owned()][..], &["always".to_owned()][..])
        );
        assert_eq!(chat.path, ["{}", r#"{severity=~"critical|warning"}"#]);
        assert_eq!(
            (&chat.route.group_by[..], chat.group_labels.len()),
            (&["...".to_owned()][..], 4)
        );
        assert!(told.is_suppressed());
        let told = config().explain(&labels("severity=critical"), 0);
        assert_eq!(told.receivers, ["phone", "chat"]);
        assert!(!told.is_suppressed(), "one of its routes speaks");
        let told = config().explain(&BTreeMap::new(), 0);
        assert_eq!((told.receivers, told.routes[0].path.len()), (vec!["mail".to_owned()], 1));
    }

    #[test]
    fn routes_are_listed_as_they_lie_in_the_tree() {
        let routes = config().routes();
        let told: Vec<(usize, &str, bool)> = routes
            .iter()
            .map(|route| (route.depth, route.receiver.as_deref().unwrap_or(""), route.proceed))
            .collect();
        assert_eq!(
            told,
            [(0, "mail", false), (1, "phone", true), (2, "dba", false), (1, "chat", false)]
        );
    }

    #[test]
    fn what_keeps_it_quiet_now_is_told_and_leaves_no_trace() {
        let (mut manners, _) = Manners::new(config(), Vec::new(), 0);
        let post = |text: &str| Posted { labels: labels(text), ..Posted::default() };
        let _ = manners.post(&[post("alertname=NodeDown instance=nas")], 1_000);
        let silence = Silence {
            matchers: vec![SilenceMatcher {
                name: "alertname".to_owned(),
                value: "Hot".to_owned(),
                is_regex: false,
                is_equal: true,
            }],
            starts_at_ms: 1_000,
            ends_at_ms: 9_000,
            id: String::new(),
            updated_at_ms: 0,
            created_by: "anna".to_owned(),
            comment: String::new(),
        };
        let (id, _) = manners.put_silence(silence, 1_000).unwrap();
        let told = manners.explain(&labels("alertname=Hot instance=nas"), 2_000);
        assert_eq!(told.silenced_by, [id]);
        assert_eq!(told.inhibited_by.len(), 1);
        assert!(told.is_suppressed());
        let _ = manners.advance(9_500);
        let told = manners.explain(&labels("alertname=Hot instance=pve"), 9_500);
        assert!(!told.is_suppressed(), "{told:?}");
        assert_eq!(manners.alerts_len(2_000).0, 1, "nothing fires for having been asked for");
    }
}
