//! What others see: alerts with why they are quiet and who hears of them, groups, silences, the
//! account of an incident. For API v2, the command line and test programs.

use std::collections::{BTreeMap, BTreeSet};

use super::Manners;
use super::flush::shown;
use super::matchers::Matchers;
use super::silences::{Silence, SilenceState};
use super::spec::{NOBODY, Part};
use super::state::{Acknowledgement, Live};
use crate::message::Event;
use crate::notification::Notification;

/// An alert and what is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertStatus {
    /// The alert; one that is over is not shown unless asked for by its fingerprint.
    pub alert: Notification,
    /// When it was last heard of, in milliseconds.
    pub updated_ms: i64,
    /// When it is over, or would be if nothing more were heard of it, in milliseconds.
    pub ends_at_ms: i64,
    /// Ids of the silences that hold for it.
    pub silenced_by: Vec<String>,
    /// Fingerprints of the alerts that keep it quiet.
    pub inhibited_by: Vec<String>,
    /// What keeps it quiet besides: names of mute times in force on all of its routes, and
    /// `maintenance: WHY` when its node is worked on.
    pub muted_by: Vec<String>,
    /// Who hears of it.
    pub receivers: Vec<String>,
    /// Who knows of it.
    pub acknowledged: Option<Acknowledgement>,
    /// The incident that it is part of.
    pub incident: String,
    /// The fingerprint of the alert that is its cause.
    pub caused_by: Option<String>,
    /// How often it has begun, when it flaps.
    pub flapping: Option<usize>,
}

impl AlertStatus {
    /// Whether something keeps it quiet.
    pub fn is_suppressed(&self) -> bool {
        !(self.silenced_by.is_empty() && self.inhibited_by.is_empty() && self.muted_by.is_empty())
    }

    /// The word of the API: `active` or `suppressed`.
    pub fn state(&self) -> &'static str {
        if self.is_suppressed() { "suppressed" } else { "active" }
    }
}

/// Which alerts are asked for; the default is all.
#[derive(Debug, Clone)]
pub struct AlertsFilter {
    /// What their labels must fulfil.
    pub matchers: Matchers,
    /// A pattern that the name of one of their receivers must match as a whole.
    pub receiver: Option<regex::Regex>,
    /// Whether those are shown that nothing keeps quiet.
    pub active: bool,
    /// Whether those are shown that a silence keeps quiet.
    pub silenced: bool,
    /// Whether those are shown that another alert keeps quiet.
    pub inhibited: bool,
    /// Whether those are shown that a mute time or a maintenance keeps quiet.
    pub muted: bool,
}

impl Default for AlertsFilter {
    fn default() -> Self {
        Self {
            matchers: Matchers::default(),
            receiver: None,
            active: true,
            silenced: true,
            inhibited: true,
            muted: true,
        }
    }
}

impl AlertsFilter {
    fn takes_receiver(&self, name: &str) -> bool {
        self.receiver
            .as_ref()
            .is_none_or(|pattern| pattern.find(name).is_some_and(|found| found.len() == name.len()))
    }

    fn takes(&self, alert: &AlertStatus) -> bool {
        (self.active || alert.is_suppressed())
            && (self.silenced || alert.silenced_by.is_empty())
            && (self.inhibited || alert.inhibited_by.is_empty())
            && (self.muted || alert.muted_by.is_empty())
    }
}

/// A group of a receiver.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupView {
    /// The receiver.
    pub receiver: String,
    /// The labels it is grouped by.
    pub labels: BTreeMap<String, String>,
    /// Its key as messages have it.
    pub key: String,
    /// Its alerts that fire.
    pub alerts: Vec<AlertStatus>,
    /// What happened since its first message.
    pub timeline: Vec<Event>,
    /// The message that began the thread, by the receiver that got it.
    pub threads: BTreeMap<String, String>,
}

impl Manners {
    /// The alerts that fire, ascending by fingerprint.
    pub fn alerts(&self, filter: &AlertsFilter, now_ms: i64) -> Vec<AlertStatus> {
        let all = self.alerts.iter().filter(|(_, live)| live.fires);
        let wanted = all.filter(|(_, live)| filter.matchers.matches(&live.row.alert.labels));
        let heard = |(fp, live): (&String, &Live)| {
            let heard = filter.receiver.is_none()
                || self.receivers_of(live).iter().any(|name| filter.takes_receiver(name));
            heard.then(|| self.status(fp, live, now_ms))
        };
        wanted.filter_map(heard).filter(|alert| filter.takes(alert)).collect()
    }

    /// One alert, also when it is over but not yet forgotten.
    pub fn alert(&self, fingerprint: &str, now_ms: i64) -> Option<AlertStatus> {
        self.alerts.get(fingerprint).map(|live| self.status(fingerprint, live, now_ms))
    }

    /// The numbers of alerts that nothing keeps quiet, and that something does.
    pub fn alerts_len(&self, now_ms: i64) -> (usize, usize) {
        let firing = self.alerts.iter().filter(|(_, live)| live.fires);
        let quiet = firing.clone().filter(|(fp, live)| {
            self.muted(fp, live, now_ms).is_muted() || !self.quiet_times(live, now_ms).is_empty()
        });
        let quiet = quiet.count();
        (firing.count() - quiet, quiet)
    }

    /// The groups with alerts that fire, by receiver and labels. A receiver that nobody listens at
    /// is left out.
    pub fn groups(&self, filter: &AlertsFilter, now_ms: i64) -> Vec<GroupView> {
        let mut views = Vec::new();
        for group in self.groups.values() {
            let Some(route) = self.config.tree.route(group.route) else { continue };
            if route.receiver == NOBODY || !filter.takes_receiver(&route.receiver) {
                continue;
            }
            let alerts = group.alerts.iter().filter_map(|fp| Some((fp, self.alerts.get(fp)?)));
            let alerts = alerts
                .filter(|(_, live)| live.fires && filter.matchers.matches(&live.row.alert.labels));
            let alerts = alerts.map(|(fp, live)| self.status(fp, live, now_ms));
            let alerts: Vec<AlertStatus> = alerts.filter(|alert| filter.takes(alert)).collect();
            if alerts.is_empty() {
                continue;
            }
            let told = group.row.told.iter().filter(|(_, told)| !told.firing.is_empty());
            views.push(GroupView {
                receiver: route.receiver.clone(),
                labels: group.row.labels.clone(),
                key: self.group_key(group),
                alerts,
                timeline: group.row.timeline.clone(),
                threads: told.map(|(name, told)| (name.clone(), told.thread.clone())).collect(),
            });
        }
        views.sort_by(|a, b| (&a.labels, &a.receiver).cmp(&(&b.labels, &b.receiver)));
        views
    }

    /// The names of all recipients, ascending.
    pub fn receivers(&self) -> Vec<String> {
        self.config.receivers().cloned().collect()
    }

    /// All silences, with how far they have come: those that hold by their end, those to come by
    /// their beginning, those that are over, the latest first.
    pub fn silences(&self, now_ms: i64) -> Vec<(Silence, SilenceState)> {
        let all = self.silences.iter().map(|silence| (silence.clone(), silence.state(now_ms)));
        let mut all: Vec<_> = all.collect();
        all.sort_by_key(|(silence, state)| {
            let time_ms = match state {
                SilenceState::Active => silence.ends_at_ms,
                SilenceState::Pending => silence.starts_at_ms,
                SilenceState::Expired => silence.ends_at_ms.saturating_neg(),
            };
            (*state, time_ms, silence.id.clone())
        });
        all
    }

    /// One silence.
    pub fn silence(&self, id: &str, now_ms: i64) -> Option<(Silence, SilenceState)> {
        self.silences.get(id).map(|silence| (silence.clone(), silence.state(now_ms)))
    }

    /// The firing alerts that a silence would take, whether it exists or not.
    pub fn silenced_by(&self, silence: &Silence) -> Vec<Notification> {
        let Ok(matchers) = silence.matchers() else { return Vec::new() };
        let firing = self.alerts.values().filter(|live| live.fires);
        let taken = firing.filter(|live| matchers.matches(&live.row.alert.labels));
        taken.map(shown).collect()
    }

    /// The fingerprints of an incident's alerts.
    pub fn incident(&self, incident: &str) -> Vec<String> {
        self.relations.members(incident).cloned().collect()
    }

    /// All silences.
    pub fn silences_len(&self, now_ms: i64) -> BTreeMap<SilenceState, usize> {
        let mut counts = BTreeMap::new();
        for silence in self.silences.iter() {
            *counts.entry(silence.state(now_ms)).or_default() += 1;
        }
        counts
    }

    fn receivers_of(&self, live: &Live) -> Vec<String> {
        self.config.receivers_of(&live.routes)
    }

    /// The mute times that keep an alert quiet: those in force, when all of its routes are quiet.
    fn quiet_times(&self, live: &Live, now_ms: i64) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for at in live.routes.iter() {
            let Some(route) = self.config.tree.route(*at) else { continue };
            if !self.is_quiet_time(route, now_ms) {
                return BTreeSet::new();
            }
            names.extend(self.config.quiet_times_of(route, now_ms));
        }
        names
    }

    fn status(&self, fp: &str, live: &Live, now_ms: i64) -> AlertStatus {
        let muted = self.muted(fp, live, now_ms);
        let mut muted_by: Vec<String> = self.quiet_times(live, now_ms).into_iter().collect();
        muted_by.extend(muted.maintenance.map(|(_, why)| {
            if why.is_empty() { "maintenance".to_owned() } else { format!("maintenance: {why}") }
        }));
        let row = &live.row;
        let until_ms = row.alert.ends_at_ms.or(row.until_ms);
        AlertStatus {
            alert: shown(live),
            updated_ms: row.updated_ms,
            ends_at_ms: until_ms.unwrap_or(now_ms + self.config.resolve_timeout_ms),
            silenced_by: muted.silenced_by.to_vec(),
            inhibited_by: muted.inhibited_by.into_iter().collect(),
            muted_by,
            receivers: self.receivers_of(live),
            acknowledged: self.acks.get(fp).filter(|_| self.is_acknowledged(fp, now_ms)).cloned(),
            incident: row.incident.clone(),
            caused_by: self.cause_of(fp, live),
            flapping: row.flapping.as_ref().map(|flap| flap.count),
        }
    }

    /// The nearest alert of the incident that says that something is broken on which this one's
    /// thing hangs.
    fn cause_of(&self, fp: &str, live: &Live) -> Option<String> {
        let place = live.place.as_ref()?;
        let members = self.relations.members(&live.row.incident).filter(|other| *other != fp);
        let causes = members.filter_map(|other| Some((other, self.alerts.get(other)?)));
        let causes = causes.filter(|(_, cause)| {
            let theirs = cause.place.as_ref();
            cause.fires
                && cause.breaks
                && theirs.is_some_and(|theirs| {
                    place.above.contains(&theirs.id) || (theirs.id == place.id && !live.breaks)
                })
        });
        let nearest = causes
            .max_by_key(|(_, cause)| cause.place.as_ref().map_or(0, |place| place.above.len()));
        nearest.map(|(fp, _)| fp.clone())
    }
}

impl super::MannersConfig {
    /// The names of all recipients; the one that nobody listens at only where a route has it.
    pub fn receivers(&self) -> impl Iterator<Item = &String> {
        let named = |name: &&String| *name != NOBODY || self.tree.has_receiver(NOBODY);
        self.recipients.keys().filter(named)
    }

    /// The recipients that would hear of an alert with these labels, in the order of the routes.
    pub fn test_route(&self, labels: &BTreeMap<String, String>) -> Vec<String> {
        self.receivers_of(&self.tree.find(labels))
    }

    /// The receivers that a recipient stands for: most for one of the same name.
    pub fn parts(&self, recipient: &str) -> Option<&[Part]> {
        self.recipients.get(recipient).map(Vec::as_slice)
    }

    fn receivers_of(&self, routes: &[usize]) -> Vec<String> {
        let routes = routes.iter().filter_map(|at| self.tree.route(*at));
        let mut names: Vec<String> = routes.map(|route| route.receiver.clone()).collect();
        if names.len() > 1 {
            names.retain(|name| name != NOBODY);
        }
        names
    }
}
