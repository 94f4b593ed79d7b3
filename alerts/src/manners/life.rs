//! The life of an alert: it begins, goes on, ends, and comes again, or flaps: then its ends are held back until
//! it is quiet.
//!
//! Not here: where it comes from and whether there is room for it, which is in the module above, what it enters,
//! which is in `groups`, and what is told of it, which is in `flush`.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Manners;
use super::state::{AlertRow, FlapRow, Live, Origin};
use super::topology::{self, Graph};
use crate::notification::{Notification, Status};

impl Manners {
    /// An alert fires, whether that is news or not.
    pub(super) fn fires(
        &mut self,
        mut alert: Notification,
        origin: Origin,
        until_ms: Option<i64>,
        now_ms: i64,
    ) {
        let fp = alert.fingerprint.clone();
        alert.status = Status::Firing;
        alert.ends_at_ms = None;
        let Some(live) = self.alerts.get_mut(&fp) else {
            // What tells of the lack of room takes none away.
            let most = self.room.alerts_max;
            if self.alerts.len() < most + usize::from(self.refused_ms.is_some()) {
                self.begin(&fp, AlertRow::new(alert, origin, until_ms, now_ms), now_ms);
            } else {
                self.refused += usize::from(origin == Origin::Rules);
                self.refuse(&format!("More than {most} alerts at one time"), now_ms);
            }
            return;
        };
        let goes_on = live.goes_on();
        let row = &mut live.row;
        let was_ruled = row.origin == Origin::Rules;
        if goes_on && was_ruled && origin != Origin::Rules {
            // While a rule holds it to fire, nobody else says what it is and when it is over.
            return;
        }
        let mut until_ms = until_ms;
        if goes_on || (live.fires && !(was_ruled && origin == Origin::Rules)) {
            // What overlaps is one alert: it began with the earlier, and an end that somebody has
            // named stands against one that was only supposed.
            alert.starts_at_ms = alert.starts_at_ms.min(row.alert.starts_at_ms);
            alert.active_at_ms = alert.active_at_ms.min(row.alert.active_at_ms);
            if row.origin == Origin::Posted && origin != Origin::Rules {
                until_ms = until_ms.max(row.until_ms);
            }
        }
        if goes_on {
            let is_news = row.origin != origin
                || row.alert.annotations != alert.annotations
                || row.alert.starts_at_ms != alert.starts_at_ms;
            row.alert = alert;
            (row.origin, row.until_ms, row.updated_ms) = (origin, until_ms, now_ms);
            if is_news {
                self.dirty.alerts.insert(fp.clone());
            }
            self.schedule(&fp);
        } else {
            let mut row = row.clone();
            row.alert = alert;
            (row.origin, row.until_ms, row.updated_ms) = (origin, until_ms, now_ms);
            self.begin(&fp, row, now_ms);
        }
    }

    /// An alert begins, for the first time or again.
    pub(super) fn begin(&mut self, fp: &str, mut row: AlertRow, now_ms: i64) {
        let was = self.alerts.remove(fp);
        let held_up = was.as_ref().is_some_and(|live| live.fires);
        row.left.clear();
        if let Some(flapping) = self.config.flapping {
            row.begins_ms.retain(|begin_ms| *begin_ms > now_ms - flapping.within_ms);
            row.begins_ms.push(now_ms);
            let often = row.begins_ms.len() > flapping.changes_max;
            let count = row.flapping.as_ref().map_or(row.begins_ms.len(), |flap| flap.count + 1);
            if often || row.flapping.is_some() {
                row.flapping = Some(FlapRow { count, changed_ms: now_ms, ended_ms: None });
            }
            // Beyond what makes it flap, no more need be known.
            let surplus = row.begins_ms.len().saturating_sub(flapping.changes_max + 1);
            row.begins_ms.drain(..surplus);
        }
        let (groups, deadline_ms) =
            was.map_or_else(Default::default, |live| (live.groups, live.deadline_ms));
        let mut live = Live::new(row, &self.graph);
        (live.groups, live.deadline_ms) = (groups, deadline_ms);
        if held_up {
            // For the groups it had never ended.
            self.dirty.alerts.insert(fp.to_owned());
            self.alerts.insert(fp.to_owned(), live);
            self.schedule(fp);
            return;
        }
        let stays = !live.groups.is_empty() && !live.row.incident.is_empty();
        if !stays {
            self.relations.leave(&live.row.incident, fp);
            live.row.incident = self.join(fp, &live, now_ms);
        }
        self.relations.insert(fp, &live);
        self.relations.belong(&live.row.incident, fp);
        self.inhibitor.begin(fp, &live.row.alert.labels);
        self.dirty.alerts.insert(fp.to_owned());
        self.alerts.insert(fp.to_owned(), live);
        self.route(fp, now_ms);
        self.kick(fp, now_ms);
        self.schedule(fp);
    }

    /// An alert is said to be over.
    pub(super) fn ceases(
        &mut self,
        fp: &str,
        ends_at_ms: i64,
        last: Option<&Notification>,
        now_ms: i64,
    ) {
        let Some(live) = self.alerts.get_mut(fp).filter(|live| live.fires) else { return };
        live.row.updated_ms = now_ms;
        if let Some(last) = last {
            if !last.annotations.is_empty() {
                live.row.alert.annotations.clone_from(&last.annotations);
            }
            if !last.value.is_nan() {
                live.row.alert.value = last.value;
            }
        }
        match &mut live.row.flapping {
            Some(flap) => {
                // An end may be told many times over; only the first is a change.
                if flap.ended_ms.is_none() {
                    (flap.ended_ms, flap.changed_ms) = (Some(ends_at_ms), now_ms);
                    self.dirty.alerts.insert(fp.to_owned());
                    self.schedule(fp);
                }
            }
            None => self.end(fp, ends_at_ms, now_ms),
        }
    }

    /// An alert is over.
    fn end(&mut self, fp: &str, ends_at_ms: i64, now_ms: i64) {
        let Some(live) = self.alerts.get_mut(fp) else { return };
        live.fires = false;
        live.row.alert.status = Status::Resolved;
        live.row.alert.ends_at_ms = Some(ends_at_ms.max(live.row.alert.starts_at_ms));
        live.row.until_ms = None;
        live.row.flapping = None;
        self.relations.remove(fp, live);
        self.inhibitor.end(fp, &live.row.alert.labels);
        if self.acks.remove(fp).is_some() {
            self.dirty.acks.insert(fp.to_owned());
        }
        self.dirty.alerts.insert(fp.to_owned());
        self.kick_if_over(fp, now_ms);
        self.schedule(fp);
    }

    pub(super) fn expire(&mut self, fp: &str, now_ms: i64) {
        let within_ms = self.config.flapping.map_or(0, |flapping| flapping.within_ms);
        let Some(live) = self.alerts.get_mut(fp) else { return };
        live.deadline_ms = None;
        if !live.fires {
            if live.groups.is_empty() {
                self.forget(fp);
            }
            return;
        }
        match live.row.flapping.clone() {
            Some(flap) if flap.changed_ms.saturating_add(within_ms) <= now_ms => {
                live.row.flapping = None;
                live.row.begins_ms.clear();
                self.dirty.alerts.insert(fp.to_owned());
                match flap.ended_ms {
                    Some(ended_ms) => self.end(fp, ended_ms, now_ms),
                    None => {
                        self.kick(fp, now_ms);
                        self.schedule(fp);
                    }
                }
            }
            _ => match live.row.until_ms {
                Some(until_ms) if until_ms <= now_ms => self.ceases(fp, until_ms, None, now_ms),
                _ => self.schedule(fp),
            },
        }
    }

    /// Sets an alert's deadline anew.
    pub(super) fn schedule(&mut self, fp: &str) {
        let within_ms = self.config.flapping.map_or(0, |flapping| flapping.within_ms);
        let Some(live) = self.alerts.get_mut(fp) else { return };
        if let Some(deadline_ms) = live.deadline_ms.take() {
            self.deadlines.remove(&(deadline_ms, fp.to_owned()));
        }
        let quiet_ms =
            live.row.flapping.as_ref().map(|flap| flap.changed_ms.saturating_add(within_ms));
        // While its end is held back, an end that it once named says nothing.
        let until_ms = live.row.until_ms.filter(|_| !live.is_held_up());
        live.deadline_ms = if live.fires {
            [quiet_ms, until_ms].into_iter().flatten().min()
        } else if live.groups.is_empty() {
            let begin_ms = live.row.begins_ms.last();
            let quiet_ms = begin_ms.map(|begin_ms| begin_ms.saturating_add(within_ms));
            Some(quiet_ms.unwrap_or(live.row.updated_ms))
        } else {
            None
        };
        if let Some(deadline_ms) = live.deadline_ms {
            self.deadlines.insert((deadline_ms, fp.to_owned()));
        }
    }

    fn forget(&mut self, fp: &str) {
        let Some(live) = self.alerts.remove(fp) else { return };
        self.room.set(fp, None);
        self.relations.leave(&live.row.incident, fp);
        if let Some(deadline_ms) = live.deadline_ms {
            self.deadlines.remove(&(deadline_ms, fp.to_owned()));
        }
        self.dirty.alerts.insert(fp.to_owned());
    }
}

impl Live {
    /// Whether it fires, and not only because it flaps.
    pub(super) fn goes_on(&self) -> bool {
        self.fires && !self.is_held_up()
    }

    /// Whether it has ended and is held up as firing, since it flaps.
    fn is_held_up(&self) -> bool {
        self.row.flapping.as_ref().is_some_and(|flap| flap.ended_ms.is_some())
    }

    pub(super) fn new(row: AlertRow, graph: &Graph) -> Self {
        let alert = &row.alert;
        let place = graph.locate(&alert.labels);
        let broken = |place: &Arc<topology::Place>| {
            topology::breaks(&alert.labels, &alert.annotations, place)
        };
        Self {
            fires: alert.status == Status::Firing,
            breaks: place.as_ref().is_some_and(broken),
            place,
            routes: Arc::default(),
            groups: BTreeSet::new(),
            silenced: (u64::MAX, Arc::default()),
            deadline_ms: None,
            row,
        }
    }
}
