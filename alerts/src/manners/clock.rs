//! A clock that was ahead and is set right: what was noted by it lies ahead, and must keep nobody from
//! hearing of anything until that time comes round again.
//!
//! Not here: times that people set, which mean what they say: silences, acknowledgements, mute times.

use super::Manners;
use super::route::Route;
use super::state::{GroupRow, Live, Origin};

/// How much earlier than the step before it one may be. Nothing waits longer for it.
const BACK_MAX_MS: i64 = 1_000;

impl Manners {
    /// Whether the clock has been set back since the last step.
    pub(super) fn is_ahead(&self, now_ms: i64) -> bool {
        now_ms < self.latest_ms.saturating_sub(BACK_MAX_MS)
    }

    /// Takes `now_ms` for the present, and back whatever lies ahead of it and may not.
    pub(super) fn heed_clock(&mut self, now_ms: i64) {
        if !self.is_ahead(now_ms) {
            self.latest_ms = self.latest_ms.max(now_ms);
            return;
        }
        self.latest_ms = now_ms;
        let ids: Vec<String> = self.groups.keys().cloned().collect();
        for id in ids {
            let Some(group) = self.groups.get_mut(&id) else { continue };
            let Some(route) = self.config.tree.route(group.route) else { continue };
            if group.row.heed_clock(route, now_ms) {
                self.dirty.groups.insert(id.clone());
                self.reschedule(&id);
            }
        }
        let timeout_ms = self.config.resolve_timeout_ms;
        let heeds = |(fp, live): (&String, &mut Live)| {
            live.heed_clock(timeout_ms, now_ms).then(|| fp.clone())
        };
        let changed: Vec<String> = self.alerts.iter_mut().filter_map(heeds).collect();
        for fp in changed {
            self.schedule(&fp);
            self.dirty.alerts.insert(fp);
        }
    }
}

/// Takes a time back to the latest that it may be; whether it was later.
fn take_back(time_ms: &mut i64, latest_ms: i64) -> bool {
    let is_ahead = *time_ms > latest_ms;
    *time_ms = latest_ms.min(*time_ms);
    is_ahead
}

impl GroupRow {
    /// Whether anything lay ahead. It is looked at at once then: much may have happened meanwhile.
    fn heed_clock(&mut self, route: &Route, now_ms: i64) -> bool {
        let first_ms = now_ms.saturating_add(route.group_wait_ms);
        let mut is_ahead = take_back(&mut self.anchor_ms, first_ms);
        is_ahead |= self.done_ms.as_mut().is_some_and(|done_ms| take_back(done_ms, now_ms));
        for told in self.told.values_mut() {
            is_ahead |= take_back(&mut told.at_ms, now_ms);
        }
        if is_ahead {
            if self.done_ms.is_some() {
                self.kick_ms = Some(now_ms);
            }
            let after_ms = route.escalation.as_ref().map_or(0, |escalation| escalation.after_ms);
            let called_ms = now_ms.saturating_add(after_ms);
            self.escalate_ms = self.escalate_ms.map(|escalate_ms| escalate_ms.min(called_ms));
        }
        is_ahead
    }
}

impl Live {
    /// Whether anything lay ahead.
    fn heed_clock(&mut self, resolve_timeout_ms: i64, now_ms: i64) -> bool {
        let row = &mut self.row;
        let mut is_ahead = take_back(&mut row.updated_ms, now_ms);
        for begin_ms in &mut row.begins_ms {
            is_ahead |= take_back(begin_ms, now_ms);
        }
        if let Some(flapping) = &mut row.flapping {
            is_ahead |= take_back(&mut flapping.changed_ms, now_ms);
        }
        if row.origin == Origin::PostedOpen
            && let Some(until_ms) = &mut row.until_ms
        {
            is_ahead |= take_back(until_ms, now_ms.saturating_add(resolve_timeout_ms));
        }
        is_ahead
    }
}
