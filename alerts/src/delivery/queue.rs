//! The queue of one receiver, as a pure state machine: messages and the time come in, what to do
//! next and rows to keep come out. `delivery` does it.
//!
//! - Messages of one thread go out in their order. Otherwise the urgent come first, then those that
//!   failed least often, then the oldest, so that one message that a receiver cannot bear does not
//!   keep the rest from it.
//! - What some of a receiver's addresses have and others do not holds nothing up: it has left its
//!   thread, and is tried for the others alone, by its own pauses and after everything else.
//! - A receiver that fails is left alone for longer and longer, whatever the message. Where it has
//!   failed with one message alone, and has not asked to be left alone, another is tried soon.
//! - What the rate does not allow is held back and becomes one summary. So does what is more than a
//!   queue may hold.
//! - An attempt is on disk as begun before it is made. One whose outcome nobody knows leaves its
//!   message in doubt: the receiver is asked whether it has it before it gets it again.

use std::collections::{BTreeMap, HashSet};
use std::mem;
use std::time::Duration;

use super::rate::{Rate, Room, Window};
use super::row::{self, Attempts, Queued, Rows, Sent};
use super::summary::{self, Urgency};
use super::{DeliveryOptions, QUEUE_LEN_MAX, QUEUE_WEIGHT_MAX};
use crate::hash::fnv;
use crate::ledger::Entry;
use crate::message::{Message, Reason};
use crate::notify::{Delivered, Refusal, SendError};

/// Messages that stay as they are when the others of a full queue become one: the newest.
const QUEUE_LEN_KEPT: usize = QUEUE_LEN_MAX / 5;

/// Bytes that they may take.
const QUEUE_WEIGHT_KEPT: usize = QUEUE_WEIGHT_MAX / 5;

/// How long messages that the rate does not allow are gathered before they become one.
const GATHER_MS: i64 = 30_000;

/// How long a receiver is left alone at most because it says so.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60 * 60);

/// For how long a receiver that does not answer whether it has a message is asked. Then it gets it: told
/// twice is better than not.
const ASKED_FOR_MS: i64 = 60_000;

/// Threads that a summary keeps from being overtaken.
const THREADS_MAX: usize = 10_000;

/// Messages that some addresses have and others do not: as many as may wait otherwise. Of more, those
/// who do not have the oldest get it no more.
const PARTED_LEN_MAX: usize = QUEUE_LEN_MAX;

/// A message and its fate so far.
#[derive(Debug)]
struct Pending {
    queued: Queued,
    /// About how many bytes it takes.
    weight: usize,
    urgency: Urgency,
    attempts: Attempts,
    /// How many attempts may have arrived at this receiver, which was there and did not say.
    doubts: u32,
    /// Since when the receiver is asked whether it has it.
    asked_ms: Option<i64>,
    not_before_ms: i64,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Next {
    /// Nothing.
    Idle,
    /// Nothing before this time, in milliseconds since the epoch.
    Wait(i64),
    /// The attempt that has begun. Its outcome is told with [`Queue::delivered`] or
    /// [`Queue::failed`].
    Attempt(Box<Attempt>),
}

/// An attempt.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Attempt {
    pub(super) seq: u64,
    pub(super) message: Message,
    /// Whether the receiver is first to be asked whether it has it from before.
    pub(super) ask: bool,
    /// Whether it is to be sent even when it does not answer that.
    pub(super) send_unasked: bool,
    /// How many attempts before may have arrived at a receiver that was there.
    pub(super) doubts: u32,
    /// The addresses that it is for, when others have it; none stands for all.
    pub(super) only: Vec<String>,
}

impl Attempt {
    /// Whether anybody has the message by this attempt.
    pub(super) fn has_reached(&self, delivered: &Delivered) -> bool {
        has_reached(self.only.len(), delivered)
    }
}

/// Whether anybody has taken a message that was for so many addresses alone, or with 0 for all.
fn has_reached(only_len: usize, delivered: &Delivered) -> bool {
    only_len == 0 || delivered.refused.len() + delivered.later.len() < only_len
}

/// Addresses that do not get a message which others have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unreached {
    /// The message's id.
    pub(super) message: String,
    /// The addresses, with what was said last.
    pub(super) refusals: Vec<Refusal>,
}

/// What a failed attempt leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The receiver is left alone for so long, in milliseconds.
    Again(i64),
    /// The message was refused for good.
    Refused,
    /// The message is too old.
    Expired,
    /// Some have the message, and it is given up for the others.
    Unreached(Unreached),
}

/// What waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) len: usize,
    pub(super) oldest_ms: Option<i64>,
    pub(super) failing_since_ms: Option<i64>,
    /// Messages that became part of a summary.
    pub(super) summarized: u64,
    /// When it is tried next after a failure, if something waits for that.
    pub(super) retry_ms: Option<i64>,
    /// Since when the rate holds messages back.
    pub(super) held_since_ms: Option<i64>,
}

/// A message that a receiver may not be able to bear, while it bears others.
#[derive(Debug, Clone, Copy)]
struct Suspect {
    seq: u64,
    /// From when on another is tried.
    others_ms: i64,
}

/// Messages for one receiver.
#[derive(Debug)]
pub(super) struct Queue {
    receiver: String,
    rate: Rate,
    retry_first_ms: i64,
    retry_max_ms: i64,
    retry_total_ms: i64,
    pending: BTreeMap<u64, Pending>,
    /// Messages that some addresses of the receiver have and others do not.
    parted: BTreeMap<u64, Pending>,
    /// What is being attempted.
    in_flight: Option<u64>,
    paused_until_ms: i64,
    /// Attempts that failed since the last that did not.
    failures: u32,
    failing_since_ms: Option<i64>,
    /// What it has failed with since then, while that is one message alone.
    suspect: Option<Suspect>,
    window: Window,
    summary_ms: Option<i64>,
    /// Since when the rate holds something back.
    held_since_ms: Option<i64>,
    summarized: u64,
}

fn weight(among: &BTreeMap<u64, Pending>) -> usize {
    among.values().map(|pending| pending.weight).sum()
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl Queue {
    pub(super) fn new(receiver: &str, rate: Rate, options: &DeliveryOptions) -> Self {
        Self {
            receiver: receiver.to_owned(),
            rate,
            retry_first_ms: milliseconds(options.retry_first),
            retry_max_ms: milliseconds(options.retry_max),
            retry_total_ms: milliseconds(options.retry_total),
            pending: BTreeMap::new(),
            parted: BTreeMap::new(),
            in_flight: None,
            paused_until_ms: i64::MIN,
            failures: 0,
            failing_since_ms: None,
            suspect: None,
            window: Window::default(),
            summary_ms: None,
            held_since_ms: None,
            summarized: 0,
        }
    }

    /// Takes over what was kept of this receiver.
    pub(super) fn restore(&mut self, rows: &mut Rows) {
        if let Some(sent) = rows.sent.remove(&self.receiver) {
            self.window = Window::new(sent.times_ms);
            self.summary_ms = sent.summary_ms;
        }
        let own = |_: &u64, (queued, _): &mut (Queued, Attempts)| {
            queued.message.receiver == self.receiver
        };
        let own: Vec<_> = rows.messages.extract_if(.., own).collect();
        own.into_iter().for_each(|(seq, (queued, attempts))| self.insert(seq, queued, attempts));
    }

    pub(super) fn set_rate(&mut self, rate: Rate) {
        self.rate = rate;
    }

    /// Forgets what failed: the receiver is another one now, and what was wrong may be mended.
    pub(super) fn try_anew(&mut self) {
        self.paused_until_ms = i64::MIN;
        self.failures = 0;
        self.suspect = None;
        for pending in self.all_mut() {
            pending.not_before_ms = i64::MIN;
            pending.doubts = 0;
        }
    }

    /// Adds a message whose row is kept.
    pub(super) fn push(&mut self, seq: u64, queued: Queued) {
        self.insert(seq, queued, Attempts::default());
    }

    fn insert(&mut self, seq: u64, queued: Queued, attempts: Attempts) {
        let urgency = Urgency::of(&queued.message);
        let pending = Pending {
            weight: queued.weight(),
            queued,
            urgency,
            attempts,
            doubts: 0,
            asked_ms: None,
            not_before_ms: i64::MIN,
        };
        let is_parted = !pending.attempts.missing.is_empty();
        let among = if is_parted { &mut self.parted } else { &mut self.pending };
        among.insert(seq, pending);
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Pending> {
        self.pending.values_mut().chain(self.parted.values_mut())
    }

    fn get_mut(&mut self, seq: u64) -> Option<&mut Pending> {
        self.pending.get_mut(&seq).or_else(|| self.parted.get_mut(&seq))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.parted.is_empty()
    }

    pub(super) fn is_over_full(&self) -> bool {
        self.pending.len() > QUEUE_LEN_MAX || weight(&self.pending) > QUEUE_WEIGHT_MAX
    }

    pub(super) fn waiting(&self) -> Waiting {
        let all = self.pending.values().chain(self.parted.values());
        Waiting {
            len: self.pending.len() + self.parted.len(),
            oldest_ms: all.map(|pending| pending.queued.since_ms).min(),
            failing_since_ms: self.failing_since_ms,
            summarized: self.summarized,
            retry_ms: self.retry_ms(),
            held_since_ms: self.held_since_ms.filter(|_| !self.pending.is_empty()),
        }
    }

    /// The end of the pause after a failure, while something waits for it.
    fn retry_ms(&self) -> Option<i64> {
        let heads = if self.failures > 0 { self.heads() } else { Vec::new() };
        let heads = heads.iter().filter_map(|seq| self.pending.get(seq));
        let ready_ms = heads.chain(self.parted.values()).map(|p| p.not_before_ms).min();
        let ready_ms = ready_ms.filter(|_| self.in_flight.is_none())?;
        Some(ready_ms.max(self.paused_until_ms))
    }

    /// What to do now. An attempt has begun with it, when `entries` are kept.
    pub(super) fn next(
        &mut self,
        now_ms: i64,
        seq: impl FnOnce() -> u64,
        entries: &mut Vec<Entry>,
    ) -> Next {
        self.heed_clock(now_ms);
        if self.in_flight.is_some() || self.is_empty() {
            return Next::Idle;
        }
        if now_ms < self.paused_until_ms {
            return self.next_beside_suspect(now_ms, entries);
        }
        match self.next_whole(now_ms, seq, entries) {
            Next::Idle => self.next_parted(now_ms, None, entries),
            Next::Wait(until_ms) => self.next_parted(now_ms, Some(until_ms), entries),
            attempt @ Next::Attempt(_) => attempt,
        }
    }

    /// What to do now while the receiver is left alone: what was never tried may go out when it is one
    /// other message alone that has failed. The rate has to allow it as it is.
    fn next_beside_suspect(&mut self, now_ms: i64, entries: &mut Vec<Entry>) -> Next {
        let wait = Next::Wait(self.paused_until_ms);
        let Some(suspect) = self.suspect else { return wait };
        let is_fresh = |seq: &u64| self.pending.get(seq).is_some_and(|p| p.attempts.begun == 0);
        let fresh: Vec<u64> = self.heads().into_iter().filter(is_fresh).collect();
        let room = self.window.room(self.rate, now_ms);
        let Some(seq) = self.best(&fresh, room) else { return wait };
        if now_ms < suspect.others_ms {
            return Next::Wait(suspect.others_ms.min(self.paused_until_ms));
        }
        self.begin(seq, now_ms, entries)
    }

    /// What to do now of what some have and others do not, when there is nothing else to do before
    /// `until_ms`. Those who have it are what the rate counts.
    fn next_parted(
        &mut self,
        now_ms: i64,
        until_ms: Option<i64>,
        entries: &mut Vec<Entry>,
    ) -> Next {
        let first = self.parted.iter().map(|(seq, pending)| (pending.not_before_ms, *seq)).min();
        match first {
            Some((at_ms, seq)) if at_ms <= now_ms => self.begin(seq, now_ms, entries),
            first => {
                let at_ms = first.map(|(at_ms, _)| at_ms).into_iter().chain(until_ms).min();
                at_ms.map_or(Next::Idle, Next::Wait)
            }
        }
    }

    /// What to do now of what nobody has.
    fn next_whole(
        &mut self,
        now_ms: i64,
        seq: impl FnOnce() -> u64,
        entries: &mut Vec<Entry>,
    ) -> Next {
        let heads = self.heads();
        let ready = |seq: &&u64| self.pending.get(seq).is_some_and(|p| p.not_before_ms <= now_ms);
        let ready: Vec<u64> = heads.iter().filter(ready).copied().collect();
        let later = heads.iter().filter_map(|seq| self.pending.get(seq)).map(|p| p.not_before_ms);
        let later = later.filter(|at_ms| *at_ms > now_ms).min();
        let room = self.window.room(self.rate, now_ms);
        let due_ms = self.summary_due_ms();
        // What was held back goes out as one when it still does not fit.
        let is_flood = due_ms
            .is_some_and(|due_ms| now_ms >= due_ms && ready.len() > self.window.places(self.rate));
        if let Some(seq) = self.best(&ready, room).filter(|_| !is_flood || room == Room::None) {
            self.held_since_ms = self.held_since_ms.filter(|_| room != Room::All);
            return self.begin(seq, now_ms, entries);
        }
        if ready.is_empty() {
            return later.map_or(Next::Idle, Next::Wait);
        }
        self.held_since_ms.get_or_insert(now_ms);
        let due_ms = self.summary_due_ms().unwrap_or(now_ms);
        if now_ms < due_ms || room == Room::None {
            let room_ms = self.window.next_ms(self.rate).filter(|_| room == Room::None);
            let at_ms = room_ms.unwrap_or(due_ms).max(due_ms);
            // A message that the present room is enough for may be ready before.
            return Next::Wait(later.map_or(at_ms, |later| at_ms.min(later)));
        }
        let seq = self.fold(seq, now_ms, usize::MAX, entries);
        self.summary_ms = Some(now_ms);
        seq.map_or(Next::Idle, |seq| self.begin(seq, now_ms, entries))
    }

    /// When what the rate holds back becomes one message.
    fn summary_due_ms(&self) -> Option<i64> {
        let gap_ms = self.rate.summary_gap_ms();
        let gathered_ms = self.held_since_ms?.saturating_add(GATHER_MS.min(gap_ms));
        let apart_ms = self.summary_ms.map_or(i64::MIN, |at_ms| at_ms.saturating_add(gap_ms));
        Some(gathered_ms.max(apart_ms))
    }

    /// A clock that was set back must not stop anything for longer than was meant.
    fn heed_clock(&mut self, now_ms: i64) {
        let most_ms = now_ms.saturating_add(milliseconds(RETRY_AFTER_MAX).max(self.retry_max_ms));
        self.paused_until_ms = self.paused_until_ms.min(most_ms);
        if let Some(suspect) = &mut self.suspect {
            suspect.others_ms = suspect.others_ms.min(most_ms);
        }
        for pending in self.all_mut() {
            pending.not_before_ms = pending.not_before_ms.min(most_ms);
            pending.asked_ms = pending.asked_ms.map(|asked_ms| asked_ms.min(now_ms));
        }
        for at_ms in [&mut self.summary_ms, &mut self.held_since_ms, &mut self.failing_since_ms] {
            *at_ms = at_ms.map(|at_ms| at_ms.min(now_ms));
        }
    }

    /// The first message of each thread.
    fn heads(&self) -> Vec<u64> {
        let mut seen: HashSet<&str> = HashSet::new();
        let mut heads = Vec::new();
        for (seq, pending) in &self.pending {
            let own = std::iter::once(&pending.queued.message.thread);
            let mut is_first = true;
            for thread in own.chain(&pending.queued.threads) {
                is_first &= seen.insert(thread);
            }
            if is_first {
                heads.push(*seq);
            }
        }
        heads
    }

    /// What comes first of what may go out now.
    fn best(&self, ready: &[u64], room: Room) -> Option<u64> {
        let candidates = ready.iter().filter_map(|seq| Some((*seq, self.pending.get(seq)?)));
        let allowed = candidates.filter(|(_, pending)| {
            // What may be there already is not counted twice.
            pending.attempts.in_doubt
                || match room {
                    Room::All => true,
                    Room::Urgent => pending.urgency == Urgency::Urgent || pending.is_summary(),
                    Room::Summary => pending.is_summary(),
                    Room::None => false,
                }
        });
        let order = |(seq, pending): &(u64, &Pending)| {
            (!pending.attempts.in_doubt, pending.urgency, pending.attempts.begun, *seq)
        };
        allowed.min_by_key(order).map(|(seq, _)| seq)
    }

    fn begin(&mut self, seq: u64, now_ms: i64, entries: &mut Vec<Entry>) -> Next {
        let Some(pending) = self.get_mut(seq) else { return Next::Idle };
        let ask = pending.attempts.in_doubt;
        let asked_ms = pending.asked_ms.filter(|_| ask).unwrap_or(now_ms);
        let send_unasked = now_ms.saturating_sub(asked_ms) >= ASKED_FOR_MS;
        pending.asked_ms = ask.then_some(asked_ms);
        let begun = pending.attempts.begun.saturating_add(1);
        let missing = mem::take(&mut pending.attempts.missing);
        pending.attempts = Attempts { begun, time_ms: now_ms, in_doubt: true, missing };
        entries.push(row::put_attempts(seq, &pending.attempts));
        let (message, doubts) = (pending.queued.message.clone(), pending.doubts);
        let only = pending.attempts.missing.keys().cloned().collect();
        self.in_flight = Some(seq);
        Next::Attempt(Box::new(Attempt { seq, message, ask, send_unasked, doubts, only }))
    }

    /// The attempt has ended well: the receiver has the message, or some of its addresses have. What
    /// is given up with that is returned.
    pub(super) fn delivered(
        &mut self,
        now_ms: i64,
        delivered: &Delivered,
        entries: &mut Vec<Entry>,
    ) -> Vec<Unreached> {
        let Some(seq) = self.in_flight.take() else { return Vec::new() };
        let only_len = self.parted.get(&seq).map_or(0, |parted| parted.attempts.missing.len());
        if only_len == 0 {
            self.count(now_ms, entries);
        }
        if has_reached(only_len, delivered) {
            self.is_back(now_ms);
        }
        if delivered.later.is_empty() {
            self.remove(seq, entries);
            return Vec::new();
        }
        let parted = self.pending.remove(&seq).or_else(|| self.parted.remove(&seq));
        let Some(mut parted) = parted else { return Vec::new() };
        let words = |refusal: &Refusal| (refusal.to.clone(), refusal.why.clone());
        parted.attempts.missing = delivered.later.iter().map(words).collect();
        parted.attempts.in_doubt = false;
        let pause_ms = self.pause_ms(seq, parted.attempts.begun, now_ms);
        parted.not_before_ms = now_ms.saturating_add(pause_ms);
        entries.push(row::put_attempts(seq, &parted.attempts));
        let is_old = self.is_old(&parted, now_ms);
        self.parted.insert(seq, parted);
        let mut ended = Vec::new();
        while let Some(oldest) = self.surplus_parted() {
            ended.extend(self.give_up_parted(oldest, entries));
        }
        if is_old {
            ended.extend(self.give_up_parted(seq, entries));
        }
        ended
    }

    /// The oldest of more than may be kept of what some addresses have.
    fn surplus_parted(&self) -> Option<u64> {
        let is_over_full =
            self.parted.len() > PARTED_LEN_MAX || weight(&self.parted) > QUEUE_WEIGHT_MAX;
        let oldest = self.parted.keys().next().copied();
        oldest.filter(|_| is_over_full && self.parted.len() > 1)
    }

    /// The attempt has ended before it was made: the receiver has the message, as far as can be known.
    pub(super) fn presumed(&mut self, now_ms: i64, entries: &mut Vec<Entry>) {
        let Some(seq) = self.in_flight.take() else { return };
        if self.pending.contains_key(&seq) {
            self.count(now_ms, entries);
        }
        self.remove(seq, entries);
    }

    /// Notes for the rate that a message has gone out.
    fn count(&mut self, now_ms: i64, entries: &mut Vec<Entry>) {
        if self.rate != Rate::OFF {
            self.window.note(self.rate, now_ms);
            let times_ms = self.window.times_ms().collect();
            let sent = Sent { times_ms, summary_ms: self.summary_ms };
            entries.push(row::put_sent(&self.receiver, &sent));
        }
    }

    /// The receiver takes messages.
    fn is_back(&mut self, now_ms: i64) {
        if mem::take(&mut self.failures) > 1 {
            // What failed because it was away need not wait for long.
            let soon_ms = now_ms.saturating_add(self.retry_first_ms);
            for pending in self.all_mut() {
                pending.not_before_ms = pending.not_before_ms.min(soon_ms);
            }
        }
        self.failing_since_ms = None;
        self.suspect = None;
        self.paused_until_ms = i64::MIN;
    }

    /// The attempt has failed.
    pub(super) fn failed(
        &mut self,
        now_ms: i64,
        error: &SendError,
        was_in_doubt: bool,
        entries: &mut Vec<Entry>,
    ) -> Failure {
        let Some(seq) = self.in_flight.take() else { return Failure::Refused };
        let (after, in_doubt, was_there) = match error {
            SendError::GiveUp(_) => return self.give_up(seq, Failure::Refused, entries),
            SendError::Retry { after, .. } => (*after, was_in_doubt, false),
            SendError::Doubt { was_there, .. } => (None, true, *was_there),
        };
        let is_alone = self.failures == 0 || self.suspect.is_some_and(|known| known.seq == seq);
        let others_ms = now_ms.saturating_add(self.retry_first_ms);
        self.suspect = (is_alone && after.is_none()).then_some(Suspect { seq, others_ms });
        self.failures = self.failures.saturating_add(1);
        self.failing_since_ms.get_or_insert(now_ms);
        let after_ms = milliseconds(after.unwrap_or_default().min(RETRY_AFTER_MAX));
        let pause_ms = self.pause_ms(seq, self.failures, now_ms).max(after_ms);
        self.paused_until_ms = now_ms.saturating_add(pause_ms);
        let pending = self.pending.get(&seq).or_else(|| self.parted.get(&seq));
        let Some(pending) = pending.filter(|pending| !self.is_old(pending, now_ms)) else {
            return self.give_up(seq, Failure::Expired, entries);
        };
        let own_ms = self.pause_ms(seq, pending.attempts.begun, now_ms);
        if let Some(pending) = self.get_mut(seq) {
            pending.attempts.in_doubt = in_doubt;
            pending.doubts = pending.doubts.saturating_add(u32::from(was_there));
            pending.not_before_ms = now_ms.saturating_add(own_ms);
            entries.push(row::put_attempts(seq, &pending.attempts));
        }
        Failure::Again(pause_ms)
    }

    fn is_old(&self, pending: &Pending, now_ms: i64) -> bool {
        now_ms.saturating_sub(pending.queued.fresh_ms()) >= self.retry_total_ms
    }

    /// Gives a message up: for those who do not have it, or because of `failure` for all.
    fn give_up(&mut self, seq: u64, failure: Failure, entries: &mut Vec<Entry>) -> Failure {
        if let Some(unreached) = self.give_up_parted(seq, entries) {
            return Failure::Unreached(unreached);
        }
        self.remove(seq, entries);
        failure
    }

    fn give_up_parted(&mut self, seq: u64, entries: &mut Vec<Entry>) -> Option<Unreached> {
        let parted = self.parted.remove(&seq)?;
        row::delete(seq, entries);
        let refusal = |(to, why): (String, String)| Refusal { to, why };
        let refusals = parted.attempts.missing.into_iter().map(refusal).collect();
        Some(Unreached { message: parted.queued.message.id, refusals })
    }

    /// Gives up what is too old, for a receiver that is not there any more: how many messages, and
    /// what others have.
    pub(super) fn expire(
        &mut self,
        now_ms: i64,
        entries: &mut Vec<Entry>,
    ) -> (usize, Vec<Unreached>) {
        let old_of = |among: &BTreeMap<u64, Pending>| -> Vec<u64> {
            among.iter().filter(|(_, p)| self.is_old(p, now_ms)).map(|(seq, _)| *seq).collect()
        };
        let (old, parted) = (old_of(&self.pending), old_of(&self.parted));
        old.iter().for_each(|seq| drop(self.remove(*seq, entries)));
        let unreached = parted.iter().filter_map(|seq| self.give_up_parted(*seq, entries));
        (old.len(), unreached.collect())
    }

    fn remove(&mut self, seq: u64, entries: &mut Vec<Entry>) -> Option<Pending> {
        row::delete(seq, entries);
        self.pending.remove(&seq).or_else(|| self.parted.remove(&seq))
    }

    /// The pause after so many failures: between half and the whole of a time that doubles, so that
    /// receivers of many senders are not hit at once.
    fn pause_ms(&self, seq: u64, failures: u32, now_ms: i64) -> i64 {
        let doubled = 2_i64.saturating_pow(failures.saturating_sub(1));
        let pause_ms = self.retry_first_ms.saturating_mul(doubled).min(self.retry_max_ms);
        let text = format!("{} {seq} {failures} {now_ms}", self.receiver);
        let percent = 50 + i64::try_from(fnv([text.as_str()]) % 51).unwrap_or(0);
        pause_ms.saturating_mul(percent) / 100
    }

    /// Makes one message of what is more than a queue may hold.
    pub(super) fn fold_overflow(
        &mut self,
        seq: impl FnOnce() -> u64,
        now_ms: i64,
        entries: &mut Vec<Entry>,
    ) {
        let mut left = QUEUE_WEIGHT_KEPT;
        let fits = |pending: &&Pending| {
            let after = left.checked_sub(pending.weight);
            left = after.unwrap_or(0);
            after.is_some()
        };
        let kept = self.pending.values().rev().take(QUEUE_LEN_KEPT).take_while(fits).count();
        let count = self.pending.len().saturating_sub(kept);
        self.fold(seq, now_ms, count, entries);
    }

    /// Makes a summary of the oldest `count` messages; those that may have arrived are left as they
    /// are. One alone needs no summary. Gives the message to be sent.
    fn fold(
        &mut self,
        seq: impl FnOnce() -> u64,
        now_ms: i64,
        count: usize,
        entries: &mut Vec<Entry>,
    ) -> Option<u64> {
        let whole =
            |(seq, p): &(&u64, &Pending)| !p.attempts.in_doubt && self.in_flight != Some(**seq);
        let held: Vec<u64> =
            self.pending.iter().take(count).filter(whole).map(|(seq, _)| *seq).collect();
        self.held_since_ms = None;
        if held.len() < 2 {
            return held.first().copied();
        }
        let held: Vec<Queued> = held
            .into_iter()
            .filter_map(|seq| self.remove(seq, entries))
            .map(|pending| pending.queued)
            .collect();
        let new = held.iter().filter(|queued| queued.message.reason != Reason::Summary).count();
        self.summarized += new as u64;
        let seq = seq();
        let mut summary = summary::of(&self.receiver, seq, now_ms, &held);
        summary.threads.truncate(THREADS_MAX);
        entries.push(row::put_message(seq, &summary));
        self.push(seq, summary);
        Some(seq)
    }
}

impl Pending {
    fn is_summary(&self) -> bool {
        self.queued.message.reason == Reason::Summary
    }
}

#[cfg(test)]
mod tests;
