//! Every disk ever seen. Pure: what was heard and the time come in, what to judge and what to
//! tell go out.

use std::collections::{BTreeMap, BTreeSet};

use labstat_disks::{State, Verdict};

use super::disk::{Acknowledged, Attempt, Disk, Judged};
use super::heard::Heard;
use super::identity::{Identity, Marks, Place};

/// Disks kept, with some 10 KiB each. Thirty machines with sixty each fit; a sender that invents
/// serial numbers must not take all memory.
pub(crate) const DISKS_MAX: usize = 2_048;

/// How long something is shown after it was last heard of that is not expected: it has no serial
/// number, or never told of its health.
const UNEXPECTED_KEPT_MS: i64 = 10 * 60_000;

/// How much later than due a look may come. More means that this machine slept or that its clock
/// was set: nobody could be heard, and everybody gets their time anew.
const LOOK_DELAY_MAX_MS: i64 = 5 * 60_000;

/// Nodes by name, and whether each is silent.
pub(crate) type Nodes = BTreeMap<String, bool>;

/// What may be another disk of the same serial number, and since when it is heard beside the first.
type Doubles = BTreeMap<Identity, i64>;

/// Every disk ever seen, and what is known of it.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    pub(crate) disks: BTreeMap<Identity, Disk>,
    /// Since when everybody could be heard.
    since_ms: i64,
    looked_ms: Option<i64>,
    /// Since when a node is back that was silent.
    back_ms: BTreeMap<String, i64>,
    down: BTreeSet<String>,
    doubles: Doubles,
    /// The time of the last samples that were told.
    pub(crate) told_ms: Option<i64>,
    /// Whether the families of those samples were described since the start.
    pub(crate) described: bool,
    pub(crate) changed: bool,
    /// Disks for which there was no room at the last look.
    pub(crate) refused: usize,
}

/// How the series of a disk call it that its serial number alone does not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Calling {
    /// By its place alone: it has no serial number, or one that another disk of its node has too.
    Place,
    /// By its place; the serial number stands beside it.
    PlaceAndSerial,
    /// There is no way that is not taken.
    Untold,
}

/// A disk of which something is new: its reading at `at_ms` is to be judged.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Due {
    pub(crate) identity: Identity,
    pub(crate) place: Place,
    pub(crate) job: String,
    pub(crate) at_ms: i64,
    pub(crate) attempt: Attempt,
}

/// Why something cannot be done to a disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error(
        "no disk {0:?} is known: a disk is named by its serial number or by NODE/DEVICE; \
         `labstat disks` lists those that are known"
    )]
    Unknown(String),
    #[error("{0:?} is several disks: name one by NODE/DEVICE ({1})")]
    Ambiguous(String, String),
    #[error("{0} has not been read yet: there is nothing to acknowledge")]
    NotRead(Place),
    #[error("{0} still answers: it would be back at once; `labstat disk ack` accepts what it says")]
    Present(Place),
}

/// Whether each of several has such a mark and no two of a node have the same.
fn tells_apart(all: &[&Heard], mark: fn(&Marks) -> &str) -> bool {
    let marks = || all.iter().map(|one| (one.place.node(), mark(&one.marks)));
    let unique: BTreeSet<(&str, &str)> = marks().collect();
    all.len() > 1 && unique.len() == all.len() && marks().all(|(_, mark)| !mark.is_empty())
}

impl Registry {
    /// One that knows `disks` from before and begins to listen now.
    pub(crate) fn with(disks: BTreeMap<Identity, Disk>, now_ms: i64) -> Self {
        Self { disks, since_ms: now_ms, ..Self::default() }
    }

    /// Takes note of a look, which comes every `interval_ms`: what was `heard`, and which nodes
    /// are silent. Gives what must be judged.
    pub(crate) fn look(
        &mut self,
        heard: &[Heard],
        nodes: &Nodes,
        interval_ms: i64,
        now_ms: i64,
    ) -> Vec<Due> {
        self.note_time(interval_ms, now_ms);
        self.note_nodes(nodes, now_ms);
        for disk in self.disks.values_mut() {
            disk.present = false;
        }
        let mut due = Vec::new();
        let mut heard_of = BTreeSet::new();
        let mut taken: BTreeSet<&Place> = BTreeSet::new();
        let before = std::mem::take(&mut self.doubles);
        self.refused = 0;
        for (identity, places) in by_identity(heard) {
            taken.extend(places.iter().map(|one| &one.place));
            let settled = self.settle(&identity, &places, &before, now_ms);
            for (identity, one) in &settled {
                let elsewhere = settled.iter().map(|(_, other)| &other.place);
                let paths = places.iter().map(|other| &other.place);
                let paths = paths.filter(|place| place.node() == one.place.node());
                let also: BTreeSet<&Place> = elsewhere.chain(paths).collect();
                due.extend(self.hear(identity, one, now_ms));
                let double = settled.iter().map(|(_, other)| &other.place);
                let double = double.filter(|place| **place != one.place).min().cloned();
                if let Some(disk) = self.disks.get_mut(identity) {
                    disk.double = double;
                    disk.also =
                        also.into_iter().filter(|place| **place != one.place).cloned().collect();
                }
                heard_of.insert(identity.clone());
            }
        }
        let by_place = self.by_place(now_ms);
        for one in heard.iter().filter(|one| !taken.contains(&one.place)) {
            let known = by_place.get(&one.place).filter(|known| {
                !heard_of.contains(known) && (one.model.is_empty() || one.model == known.model)
            });
            let identity = match known {
                Some(identity) => identity.clone(),
                None if one.state == State::Gone => continue,
                None => Identity::unnamed(&one.model, &one.place),
            };
            due.extend(self.hear(&identity, one, now_ms));
        }
        self.note_silence(now_ms);
        due
    }

    fn note_time(&mut self, interval_ms: i64, now_ms: i64) {
        let last_ms = self.looked_ms.replace(now_ms).unwrap_or(now_ms);
        let late_ms = now_ms.saturating_sub(last_ms).saturating_sub(interval_ms);
        if late_ms > LOOK_DELAY_MAX_MS || now_ms < last_ms {
            self.since_ms = now_ms;
        }
        if now_ms < last_ms {
            // Times that lie ahead now would make a disk look heard until they have come.
            for disk in self.disks.values_mut() {
                disk.answered_ms = disk.answered_ms.min(now_ms);
                disk.alive_ms = disk.alive_ms.min(now_ms);
                disk.read_ms = disk.read_ms.map(|read_ms| read_ms.min(now_ms));
            }
        }
    }

    fn note_nodes(&mut self, nodes: &Nodes, now_ms: i64) {
        for (name, is_down) in nodes {
            if *is_down {
                self.down.insert(name.clone());
            } else if self.down.remove(name) {
                self.back_ms.insert(name.clone(), now_ms);
            }
        }
        self.down.retain(|name| nodes.contains_key(name));
        self.back_ms.retain(|name, _| nodes.contains_key(name));
    }

    /// Which disks of the same model and serial number are where: mostly one.
    fn settle<'a>(
        &mut self,
        identity: &Identity,
        places: &[&'a Heard],
        before: &Doubles,
        now_ms: i64,
    ) -> Vec<(Identity, &'a Heard)> {
        let mut rest = self.without_paths(identity, places);
        rest.sort_by(|a, b| a.place.cmp(&b.place));
        let mut settled = self.where_they_were(identity, &mut rest);
        if rest.is_empty() {
            return settled;
        }
        // When it is not where it was, it has moved.
        let at = settled.iter().position(|(known, _)| known == identity);
        let mut main = match at {
            Some(at) => settled.swap_remove(at).1,
            None => rest.remove(0),
        };
        for other in rest {
            let answers = matches!(main.state, State::Read | State::Asleep);
            if !answers && other.read_ms > main.read_ms {
                // It is read elsewhere and no longer here: what is here are its last words.
                main = other;
                continue;
            }
            let here = |one: &Heard| one.place.node() == other.place.node();
            let is_second = here(main) || settled.iter().any(|(_, one)| here(one));
            let double = match is_second {
                true => identity.second(&other.place),
                false => identity.twin(&other.place),
            };
            if self.is_double(&double, (main, other), before, now_ms) {
                settled.push((double, other));
            }
        }
        settled.push((identity.clone(), main));
        settled
    }

    /// Takes those of the same model and serial number that are known from `rest`: those that are told
    /// apart by more than their names first, since names move at a restart; then those at their
    /// places, then those that are called otherwise now.
    fn where_they_were<'a>(
        &self,
        identity: &Identity,
        rest: &mut Vec<&'a Heard>,
    ) -> Vec<(Identity, &'a Heard)> {
        // Twins sort behind the first of them.
        let known = self.disks.range(identity.clone()..);
        let mut known: Vec<(&Identity, &Disk)> =
            known.take_while(|(twin, _)| twin.is_as(identity)).collect();
        let mut settled = Vec::new();
        for mark in Marks::EACH {
            if !tells_apart(rest, mark) {
                continue;
            }
            known.retain(|(twin, disk)| {
                let is_it = |one: &&Heard| {
                    let same = mark(&one.marks) == mark(&disk.marks);
                    same && one.place.node() == disk.place.node()
                };
                let there = rest.iter().position(is_it).filter(|_| disk.retired_ms.is_none());
                there.is_none_or(|at| {
                    settled.push(((*twin).clone(), rest.remove(at)));
                    false
                })
            });
        }
        for exactly in [true, false] {
            known.retain(|(twin, disk)| {
                let node = disk.place.node();
                // One that was forgotten comes back only where it was.
                let may_move = !exactly && (disk.retired_ms.is_none() || twin.at.is_none());
                let there = rest.iter().position(|one| {
                    one.place == disk.place || (may_move && one.place.node() == node)
                });
                there.is_none_or(|at| {
                    settled.push(((*twin).clone(), rest.remove(at)));
                    false
                })
            });
        }
        settled
    }

    /// An agent that tells states tells each disk once: two of its places are two disks. Of others,
    /// one disk can be seen twice by one machine (two paths, a controller and its volume): there it
    /// is where it was before, or under the first of its names.
    fn without_paths<'a>(&self, identity: &Identity, places: &[&'a Heard]) -> Vec<&'a Heard> {
        let mut nodes: BTreeMap<&str, Vec<&'a Heard>> = BTreeMap::new();
        let known = self.disks.range(identity.clone()..);
        let known = known.take_while(|(twin, _)| twin.is_as(identity));
        let known: BTreeSet<&Place> = known.map(|(_, disk)| &disk.place).collect();
        let rank = |one: &Heard| {
            (!one.once, one.state != State::Read, !known.contains(&one.place), one.place.clone())
        };
        for one in places {
            let here = nodes.entry(one.place.node()).or_default();
            match here.first() {
                Some(first) if first.once && one.once => here.push(one),
                Some(first) if rank(first) <= rank(one) => {}
                _ => *here = vec![one],
            }
        }
        nodes.into_values().flatten().collect()
    }

    /// Whether the same serial number is two disks: both were read after they were first heard
    /// side by side. Until then the second one may be the first, on its way.
    fn is_double(
        &mut self,
        double: &Identity,
        (one, two): (&Heard, &Heard),
        before: &Doubles,
        now_ms: i64,
    ) -> bool {
        let since_ms = before.get(double).copied().unwrap_or(now_ms);
        let is_double = one.read_ms.min(two.read_ms).is_some_and(|read_ms| read_ms > since_ms);
        if !is_double {
            self.doubles.insert(double.clone(), since_ms);
        }
        is_double
    }

    /// The disk that was last seen at each place: an expected one, or one that somebody forgot and
    /// that is still plugged in.
    fn by_place(&self, now_ms: i64) -> BTreeMap<Place, Identity> {
        let mut last: BTreeMap<&Place, &Disk> = BTreeMap::new();
        let is_there = |disk: &&Disk| {
            let heard_ms = disk.heard_ms.unwrap_or(self.since_ms);
            disk.is_expected()
                || disk.forgotten && now_ms.saturating_sub(heard_ms) <= UNEXPECTED_KEPT_MS
        };
        for disk in self.disks.values().filter(is_there) {
            let there = last.entry(&disk.place).or_insert(disk);
            let since = |disk: &Disk| (disk.heard_ms, disk.place_since_ms);
            if since(disk) > since(there) {
                *there = disk;
            }
        }
        let named = |(place, disk): (&Place, &Disk)| (place.clone(), disk.identity.clone());
        last.into_iter().map(named).collect()
    }

    /// Takes note of one disk; gives it when there is something to judge.
    fn hear(&mut self, identity: &Identity, one: &Heard, now_ms: i64) -> Option<Due> {
        if !self.disks.contains_key(identity) && !self.has_room(identity) {
            self.refused += 1;
            return None;
        }
        let mut is_new = false;
        let disk = self.disks.entry(identity.clone()).or_insert_with(|| {
            is_new = true;
            Disk::new(identity.clone(), one.place.clone(), now_ms)
        });
        if disk.retired_ms.is_some_and(|retired_ms| one.at_ms <= retired_ms) {
            return None;
        }
        let answers = matches!(one.state, State::Read | State::Asleep);
        if disk.forgotten && !answers {
            // It is plugged in and says nothing: that is why it was forgotten.
            if one.state != State::Gone {
                disk.heard_ms = Some(now_ms);
            }
            return None;
        }
        self.changed |= is_new || disk.retired_ms.is_some();
        disk.retired_ms = None;
        disk.forgotten = false;
        disk.present = one.state != State::Gone;
        self.changed |= disk.note_marks(&one.marks);
        if disk.place != one.place {
            self.changed = true;
            disk.place = one.place.clone();
            disk.place_since_ms = now_ms;
        }
        disk.also.clear();
        disk.double = None;
        disk.heard_ms = Some(now_ms);
        // A clock that runs ahead must not make a disk look heard until that time has come.
        let read_ms = one.read_ms.map(|read_ms| read_ms.min(now_ms));
        if is_new {
            disk.answered_ms = read_ms.unwrap_or(one.at_ms).min(now_ms);
        }
        if let Some(read_ms) = read_ms {
            disk.note_read(read_ms);
        }
        // An agent leaves a disk without I/O alone for hours, so that it can fall asleep. That it
        // says how its last attempt went, and that it went well, is a word of the disk.
        let answered = match one.state {
            State::Read | State::Asleep => Some(one.at_ms.min(now_ms)),
            _ => read_ms,
        };
        if let Some(answered_ms) = answered {
            disk.note_answer(answered_ms, now_ms);
        }
        let attempt =
            Attempt { read_ms: one.read_ms, state: one.state, reason: one.reason.clone() };
        disk.note_attempt(&attempt, now_ms).then(|| Due {
            identity: identity.clone(),
            place: one.place.clone(),
            job: one.job.clone(),
            at_ms: one.at_ms,
            attempt,
        })
    }

    /// Makes room for one more, by what is missed least.
    fn has_room(&mut self, identity: &Identity) -> bool {
        if self.disks.len() < DISKS_MAX {
            return true;
        }
        let retired = self.disks.values().filter(|disk| disk.retired_ms.is_some());
        let oldest = retired.min_by_key(|disk| disk.retired_ms).map(|disk| disk.identity.clone());
        match oldest {
            Some(oldest) if identity.is_named() => self.disks.remove(&oldest).is_some(),
            _ => false,
        }
    }

    /// Takes what was made of a reading.
    pub(crate) fn judged(&mut self, due: &Due, judged: Judged) {
        let Some(disk) = self.disks.get_mut(&due.identity) else { return };
        let before = (disk.finding.clone(), disk.fading.clone());
        let is_first = disk.first.is_none();
        disk.judged = Some(due.attempt.clone());
        disk.take(judged, due.attempt.read_ms.unwrap_or(due.at_ms));
        self.changed |= is_first || before.0 != disk.finding || before.1 != disk.fading;
    }

    /// Who is silent for too long, and who no longer counts.
    fn note_silence(&mut self, now_ms: i64) {
        let (since_ms, back_ms, down) = (self.since_ms, &self.back_ms, &self.down);
        // Their series were ended with the look before.
        let is_over = |disk: &Disk| {
            let heard_ms = disk.heard_ms.unwrap_or(since_ms);
            let is_there = now_ms.saturating_sub(heard_ms) <= UNEXPECTED_KEPT_MS;
            disk.retired_ms.is_some() && disk.told.is_none() && !(disk.forgotten && is_there)
        };
        self.disks.retain(|_, disk| disk.identity.is_named() || !is_over(disk));
        for disk in self.disks.values_mut() {
            if !disk.is_expected() {
                let heard_ms = disk.heard_ms.unwrap_or(since_ms);
                if now_ms.saturating_sub(heard_ms) > UNEXPECTED_KEPT_MS {
                    disk.retired_ms.get_or_insert(now_ms);
                }
                disk.silent_ms = None;
                continue;
            }
            let name = [disk.place.instance.as_str(), disk.place.node()];
            disk.node_down = name.iter().any(|name| down.contains(*name));
            let back_ms = name.iter().find_map(|name| back_ms.get(*name)).copied();
            let was_silent = disk.silent_ms.is_some();
            let from_ms = disk.alive_ms.max(back_ms.unwrap_or(i64::MIN)).max(since_ms);
            let is_mute = now_ms.saturating_sub(from_ms) > disk.silence_max_ms();
            // Who was silent before a start stays so until heard; and who was only silent because
            // its node was gets time anew when that is back.
            let since_ms = disk.silent_ms.unwrap_or(i64::MAX);
            let answered = disk.alive_ms > since_ms;
            let excused = !disk.was_told_silent() && back_ms.is_some_and(|ms| ms > since_ms);
            disk.silent_ms = match was_silent && !answered && !excused {
                true => disk.silent_ms,
                false => is_mute.then_some(now_ms),
            };
            self.changed |= was_silent != disk.silent_ms.is_some();
        }
    }

    /// Which disk a person means by `name`.
    pub(crate) fn find(&self, name: &str) -> Result<&Disk, Refused> {
        let by_serial: Vec<&Disk> = self
            .shown()
            .filter(|disk| disk.identity.is_named())
            .filter(|disk| disk.identity.serial.eq_ignore_ascii_case(name.trim()))
            .collect();
        let by_place = || -> Vec<&Disk> {
            // `nas//dev/sda` and `nas/sda` alike.
            let name = name.trim();
            let name = name.strip_prefix("/dev/").unwrap_or(name);
            let Some((node, device)) = name.split_once('/') else { return self.called(name) };
            let device = device.trim_start_matches('/');
            let device = device.strip_prefix("dev/").unwrap_or(device);
            let here = self.shown().filter(|disk| disk.place.is_called(node, device));
            // Who was there before is found by its serial number.
            let newest =
                |disk: &&Disk| (disk.place.device == device, disk.heard_ms, disk.answered_ms);
            here.max_by_key(newest).into_iter().collect()
        };
        let mut found = if by_serial.is_empty() { by_place() } else { by_serial };
        if found.iter().any(|disk| disk.identity.namespace.is_empty()) {
            // Of the namespaces of one disk, the first is the disk.
            found.retain(|disk| disk.identity.namespace.is_empty());
        }
        match found.as_slice() {
            [] => Err(Refused::Unknown(name.to_owned())),
            [one] => Ok(one),
            several => {
                let places: Vec<String> =
                    several.iter().map(|disk| disk.place.to_string()).collect();
                Err(Refused::Ambiguous(name.to_owned(), places.join(", ")))
            }
        }
    }

    /// The newest disk of each node that calls one `device`.
    fn called(&self, device: &str) -> Vec<&Disk> {
        let mut newest: BTreeMap<&str, &Disk> = BTreeMap::new();
        let known = |disk: &Disk| (disk.heard_ms, disk.answered_ms);
        for disk in self.shown() {
            let node = disk.place.node();
            if !disk.place.is_called(node, device) {
                continue;
            }
            let there = newest.entry(node).or_insert(disk);
            if known(disk) >= known(there) {
                *there = disk;
            }
        }
        newest.into_values().collect()
    }

    /// How the series of each disk call it that its serial number alone does not name. No two are
    /// called alike: one that is gone may have been where another is now.
    pub(crate) fn callings(&self) -> BTreeMap<Identity, Calling> {
        let mut disks: Vec<(&Disk, Calling)> =
            self.shown().filter_map(|disk| Some((disk, self.calling(disk)?))).collect();
        // Who is there now comes first.
        disks.sort_by_key(|(disk, _)| std::cmp::Reverse((disk.heard_ms, disk.answered_ms)));
        let mut taken = BTreeSet::new();
        let mut callings = BTreeMap::new();
        for (disk, calling) in disks {
            let mut is_free = |calling: &Calling| {
                let serial = match calling {
                    Calling::Place => "",
                    _ => &disk.identity.serial,
                };
                taken.insert((&disk.place, serial, &disk.identity.model))
            };
            let calling = [calling, Calling::PlaceAndSerial].into_iter().find(&mut is_free);
            callings.insert(disk.identity.clone(), calling.unwrap_or(Calling::Untold));
        }
        callings
    }

    /// How a disk would be called that is alone; nothing where the serial number does.
    fn calling(&self, disk: &Disk) -> Option<Calling> {
        if !disk.identity.is_named() {
            return Some(Calling::Place);
        }
        if !disk.identity.namespace.is_empty() {
            // The serial number is that of the first namespace, which is the disk.
            return Some(Calling::PlaceAndSerial);
        }
        let twins = self.disks.range(Identity { at: None, ..disk.identity.clone() }..);
        let twins = twins.take_while(|(twin, _)| twin.is_as(&disk.identity));
        let twins = twins.map(|(_, twin)| twin).filter(|twin| twin.retired_ms.is_none());
        let others = twins.filter(|twin| twin.identity != disk.identity);
        let here = others.map(|other| other.place.node() == disk.place.node());
        here.reduce(|one, other| one || other).map(|here| match here {
            true => Calling::Place,
            false => Calling::PlaceAndSerial,
        })
    }

    /// Those that are not retired.
    pub(crate) fn shown(&self) -> impl Iterator<Item = &Disk> {
        self.disks.values().filter(|disk| disk.retired_ms.is_none())
    }

    /// Accepts what a disk says now: from here on, only more than that counts.
    pub(crate) fn acknowledge(
        &mut self,
        name: &str,
        note: String,
        now_ms: i64,
    ) -> Result<Identity, Refused> {
        let identity = self.find(name)?.identity.clone();
        let Some(disk) = self.disks.get_mut(&identity) else {
            return Err(Refused::Unknown(name.to_owned()));
        };
        let latest = disk.latest.clone();
        let baseline = latest.ok_or_else(|| Refused::NotRead(disk.place.clone()))?;
        disk.acknowledge(Acknowledged { at_ms: now_ms, note, baseline });
        self.changed = true;
        Ok(identity)
    }

    /// Expects a disk no more, until it is read again or seen asleep. One that is still plugged in
    /// and does not answer stays forgotten.
    pub(crate) fn forget(&mut self, name: &str, now_ms: i64) -> Result<Identity, Refused> {
        let disk = self.find(name)?;
        let heard = disk.heard_ms.is_some() && disk.heard_ms == self.looked_ms;
        if heard && matches!(disk.state, State::Read | State::Asleep) {
            return Err(Refused::Present(disk.place.clone()));
        }
        let identity = disk.identity.clone();
        if let Some(disk) = self.disks.get_mut(&identity) {
            disk.retired_ms = Some(now_ms);
            disk.forgotten = true;
            disk.silent_ms = None;
            self.changed = true;
        }
        Ok(identity)
    }

    /// Expects no disk of a node that is forgotten itself.
    pub(crate) fn forget_node(&mut self, node: &str, now_ms: i64) {
        for disk in self.disks.values_mut().filter(|disk| disk.place.instance == node) {
            disk.retired_ms.get_or_insert(now_ms);
            disk.silent_ms = None;
            self.changed = true;
        }
    }

    /// How many disks there are of each verdict.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts: BTreeMap<_, usize> =
            Verdict::ALL.iter().map(|verdict| (verdict.as_str(), 0)).collect();
        for disk in self.shown() {
            *counts.entry(disk.verdict.as_str()).or_default() += 1;
        }
        counts
    }
}

/// The places of each model and serial number.
fn by_identity(heard: &[Heard]) -> BTreeMap<Identity, Vec<&Heard>> {
    let mut places: BTreeMap<Identity, Vec<&Heard>> = BTreeMap::new();
    for one in heard.iter().filter(|one| one.state != State::Gone) {
        if let Some(identity) = &one.identity {
            places.entry(identity.clone()).or_default().push(one);
        }
    }
    places
}
