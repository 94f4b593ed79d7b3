//! Which groups an alert enters, by what names they go, and when they are due.
//!
//! Not here: what a group says when it is, which is in `flush`.

use std::collections::{BTreeMap, BTreeSet};

use super::Manners;
use super::route::Route;
use super::state::{Group, GroupRow};
use crate::hash::fnv;

/// The most groups. Alerts that would need one more are put together, a group per route.
const GROUPS_MAX: usize = 100_000;

impl Manners {
    /// Puts an alert into its groups.
    pub(super) fn route(&mut self, fp: &str, now_ms: i64) {
        let Some(live) = self.alerts.get_mut(fp) else { return };
        let (labels, incident) = (&live.row.alert.labels, &live.row.incident);
        let routes = self.finder.find(&self.config.tree, labels);
        let mut wanted = Vec::new();
        for at in routes.iter() {
            let Some(route) = self.config.tree.route(*at) else { continue };
            let labels = route.group_labels(labels, incident);
            wanted.push((*at, route.clone(), labels));
        }
        live.routes = routes;
        for (at, route, labels) in wanted {
            self.enter(fp, at, &route, labels, now_ms);
        }
    }

    fn enter(
        &mut self,
        fp: &str,
        at: usize,
        route: &Route,
        labels: BTreeMap<String, String>,
        now_ms: i64,
    ) {
        let Some(live) = self.alerts.get_mut(fp) else { return };
        let mut id = group_id(route, &labels);
        let mut labels = labels;
        if !self.groups.contains_key(&id) && self.groups.len() >= GROUPS_MAX {
            labels.clear();
            id = group_id(route, &labels);
        }
        if !live.fires && live.row.left.contains(&id) {
            return;
        }
        live.groups.insert(id.clone());
        let waited_ms = live.row.alert.starts_at_ms.saturating_add(route.group_wait_ms);
        // What has held for longer than the wait is not waited with again.
        let anchor_ms = if waited_ms < now_ms { now_ms } else { now_ms + route.group_wait_ms };
        if let Some(group) = self.groups.get_mut(&id) {
            group.alerts.insert(fp.to_owned());
            if group.row.done_ms.is_none() && anchor_ms < group.row.anchor_ms {
                group.row.anchor_ms = anchor_ms;
                self.dirty.groups.insert(id.clone());
            }
        } else {
            let row = GroupRow::new(route.id.clone(), labels, anchor_ms);
            let alerts = BTreeSet::from([fp.to_owned()]);
            let group = Group { row, route: at, alerts, next_ms: i64::MAX, written: 0 };
            self.groups.insert(id.clone(), group);
            self.dirty.groups.insert(id.clone());
        }
        self.reschedule(&id);
    }

    /// Sets anew when a group is due.
    pub(super) fn reschedule(&mut self, id: &str) {
        let Some(group) = self.groups.get_mut(id) else { return };
        let Some(route) = self.config.tree.route(group.route) else { return };
        let next_ms = group.row.next_ms(route.group_interval_ms);
        if next_ms != group.next_ms {
            self.due.remove(&(group.next_ms, id.to_owned()));
        }
        group.next_ms = next_ms;
        self.due.insert((next_ms, id.to_owned()));
    }

    pub(super) fn group_key(&self, group: &Group) -> String {
        let key = self.config.tree.route(group.route).map_or("", |route| route.key.as_str());
        format!("{key}:{}", label_set_text(&group.row.labels))
    }
}

/// A group's name among rows: its route and labels, whatever their length.
pub(super) fn group_id(route: &Route, labels: &BTreeMap<String, String>) -> String {
    let pairs = labels.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]);
    format!("{:016x}", fnv([route.id.as_str()].into_iter().chain(pairs)))
}

/// A label set as Prometheus prints it: `{a="b", c="d"}`.
pub(super) fn label_set_text(labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}={}", quoted(value))).collect();
    format!("{{{}}}", pairs.join(", "))
}

/// A text in quotes as Go's `%q` writes it.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        let code = u32::from(c);
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' => out.push(c),
            // What Rust would escape cannot be printed.
            _ if c.escape_debug().len() == 1 => out.push(c),
            _ if code < 0x80 => out.push_str(&format!("\\x{code:02x}")),
            _ if code < 0x1_0000 => out.push_str(&format!("\\u{code:04x}")),
            _ => out.push_str(&format!("\\U{code:08x}")),
        }
    }
    out.push('"');
    out
}
