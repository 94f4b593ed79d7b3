//! What the lab is made of, beyond nodes and disks: arrays, pools, interfaces, OSDs and UPSes. Each that was
//! there for an hour is expected from then on, and its absence is told until it is back or somebody says
//! that it is gone for good.
//!
//! - Only where who tells of it is heard: a node that is down misses nothing, a collector that fails
//!   neither, and nor does a cluster that nobody reads. Whoever comes back has some time to find all.
//! - What is away is so by the time of who tells of it: its newest sample about anything is the present. A
//!   clock that is wrong and a backlog make nothing missing, and nor does a sleep of this machine.
//! - What was there for less than an hour was a trial, and is not expected; nor is an interface that was
//!   never up.
//! - What went and came back twice, each time for more than an hour, is carried in and out, as a pool on
//!   disks for backups: it is listed, and not expected any more.
//!
//! Nodes are in [`crate::presence`], disks in [`crate::disks`]. Pure: the newest samples and the time come
//! in, figures go out.

use std::collections::BTreeMap;
use std::fmt;

use labstat_model::{METRIC_NAME, MatchOp, Matcher, MatcherError, Series, is_stale};
use serde::{Deserialize, Serialize};

use crate::own::Figure;
use crate::presence::NodeView;

/// How long something must have been there to be expected.
const EXPECTED_AFTER_MS: i64 = 3_600_000;

/// How long it may be away before it is missing, and how long whoever comes back has to find it: a
/// collector that is not in a hurry looks once a minute, and an agent that is restarted takes a moment.
const MISSING_AFTER_MS: i64 = 120_000;

/// How far behind ours the time of a node may be. The samples about what one has that is further behind are
/// not looked for, so nothing can be said of them.
const BEHIND_MAX_MS: i64 = 3_600_000;

/// How far back a look goes beyond the time of who is furthest behind and the absence that is waited for:
/// what is just being delivered.
const BACK_MARGIN_MS: i64 = 60_000;

/// How much of its own time may pass for a node beyond ours between two looks, and how late one may come. More
/// means that a clock was set, that a backlog comes in, or that this machine slept: all have their time anew.
const JUMP_MAX_MS: i64 = 30_000;

/// An absence that makes something a thing that comes and goes.
const AWAY_MS: i64 = 3_600_000;

/// Such absences after which it is not expected any more.
const AWAYS_MAX: u32 = 2;

/// Things kept. Far beyond any lab; a sender that invents names must not take all memory.
const THINGS_MAX: usize = 20_000;

/// What is missing, and for how long.
const MISSING: &str = "labstat_inventory_missing_seconds";
const MISSING_HELP: &str =
    "For how long something that is expected has not been there, though who tells of it is.";

/// The series that tell what there is, who can be believed, and what fails.
const FAMILIES: [&str; 9] = [
    "ceph_osd_up",
    "labstat_ceph_reading_success",
    "labstat_lvm_thin_pool_state",
    "labstat_network_kind_info",
    "labstat_ups_up",
    "node_btrfs_info",
    "node_md_state",
    "node_scrape_collector_success",
    "node_zfs_zpool_state",
];

/// Whether an interface was ever up.
const UP: &str = "node_network_up";

/// Interfaces that do not come and go with guests.
const KINDS: [&str; 3] = ["physical", "bond", "vlan"];

/// What something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Array,
    Interface,
    Osd,
    Ups,
    Zpool,
    Btrfs,
    ThinPool,
}

impl Kind {
    /// Its name in labels, paths and on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Array => "array",
            Self::Interface => "interface",
            Self::Osd => "osd",
            Self::Ups => "ups",
            Self::Zpool => "zpool",
            Self::Btrfs => "btrfs",
            Self::ThinPool => "thin_pool",
        }
    }

    /// The collectors that tell of it; when one of them fails, nothing is known of its absence.
    fn collectors(self) -> &'static [&'static str] {
        match self {
            Self::Array => &["mdadm"],
            Self::Interface => &["links", "netclass"],
            Self::Osd => &[],
            Self::Ups => &["nut"],
            Self::Zpool => &["zfs", "zpool"],
            Self::Btrfs => &["btrfs"],
            Self::ThinPool => &["lvm"],
        }
    }
}

/// What something is called: its kind, who tells of it, and its name there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Name {
    pub(crate) kind: Kind,
    pub(crate) instance: String,
    pub(crate) name: String,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind.name(), self.instance, self.name)
    }
}

/// What is known of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Thing {
    #[serde(flatten)]
    pub(crate) name: Name,
    /// The labels of its alert, beside `instance` and `kind`.
    labels: BTreeMap<String, String>,
    pub(crate) first_seen_ms: i64,
    pub(crate) seen_ms: i64,
    /// Whether it was there for long enough, and in use.
    pub(crate) expected: bool,
    /// How often it was away for long and came back.
    pub(crate) aways: u32,
    /// Since when it has been missing.
    pub(crate) missing_ms: Option<i64>,
}

impl Thing {
    /// Whether it is carried in and out.
    pub(crate) fn comes_and_goes(&self) -> bool {
        self.aways >= AWAYS_MAX
    }
}

/// The version of what is kept; `docs/formats/inventory.md` describes it.
const SNAPSHOT_VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Snapshot {
    version: u32,
    things: Vec<Thing>,
}

/// A node that is expected, as a look wants to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Teller {
    /// Whether nothing of what it says is heard and stored.
    pub(crate) down: bool,
    /// The time of its newest sample, by its own clock.
    pub(crate) newest_ms: i64,
    /// How long it may be silent before it counts as down.
    pub(crate) silence_max_ms: i64,
}

impl From<&NodeView> for Teller {
    fn from(node: &NodeView) -> Self {
        let NodeView { newest_ms, silence_max_ms, .. } = *node;
        Self { down: !node.is_recorded(), newest_ms, silence_max_ms }
    }
}

impl Teller {
    /// How long what it tells of may be away.
    fn away_max_ms(&self) -> i64 {
        self.silence_max_ms.max(MISSING_AFTER_MS)
    }

    fn behind_ms(&self, now_ms: i64) -> i64 {
        now_ms.saturating_sub(self.newest_ms).max(0)
    }

    /// Whether it can be believed.
    fn is_heard(&self, now_ms: i64) -> bool {
        !self.down && self.behind_ms(now_ms) <= BEHIND_MAX_MS
    }
}

/// From when on a look needs samples.
pub(crate) fn from_ms(nodes: &BTreeMap<String, Teller>, now_ms: i64) -> i64 {
    let heard = nodes.values().filter(|node| node.is_heard(now_ms));
    let back = |node: &Teller| node.behind_ms(now_ms).saturating_add(node.away_max_ms());
    let back_ms = heard.map(back).max().unwrap_or(MISSING_AFTER_MS);
    now_ms.saturating_sub(back_ms).saturating_sub(BACK_MARGIN_MS)
}

/// What is known of a node or cluster that is heard.
#[derive(Debug, Clone, Copy)]
struct Hearing {
    /// Since when without a break, by our clock.
    since_ms: i64,
    /// The time of its newest sample, by its own; never ahead of ours.
    present_ms: i64,
    /// How long what it tells of may be away.
    away_max_ms: i64,
}

/// All things ever seen and not forgotten.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    things: BTreeMap<Name, Thing>,
    /// The nodes and clusters that are heard.
    hearings: BTreeMap<String, Hearing>,
    /// When the last look was.
    looked_ms: Option<i64>,
    changed: bool,
}

/// Which samples one look wants.
pub(crate) fn matchers() -> Result<Matcher, MatcherError> {
    let all: Vec<&str> = FAMILIES.iter().copied().chain([UP]).collect();
    Matcher::new(METRIC_NAME, MatchOp::Regex, all.join("|"))
}

impl Inventory {
    /// What is known from before, as [`Inventory::snapshot`] gave it.
    pub(crate) fn restore(document: Option<&[u8]>) -> Self {
        // One that does not read back is of another version: what there is is learned again.
        let snapshot = document.and_then(|json| serde_json::from_slice::<Snapshot>(json).ok());
        let known = snapshot.filter(|snapshot| snapshot.version == SNAPSHOT_VERSION);
        let things = known.map_or_else(Vec::new, |snapshot| snapshot.things);
        let things = things.into_iter().map(|thing| (thing.name.clone(), thing)).collect();
        Self { things, ..Self::default() }
    }

    /// What is known, to be kept.
    pub(crate) fn snapshot(&self) -> Vec<u8> {
        let things = self.things.values().cloned().collect();
        let snapshot = Snapshot { version: SNAPSHOT_VERSION, things };
        // Text and numbers always serialize.
        serde_json::to_vec(&snapshot).unwrap_or_default()
    }

    /// Whether something came, went or was forgotten since this was last asked.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// All things, by kind and name.
    pub(crate) fn things(&self) -> impl Iterator<Item = &Thing> {
        self.things.values()
    }

    /// Forgets one, if there is one of that name.
    pub(crate) fn forget(&mut self, kind: &str, instance: &str, name: &str) -> Option<Thing> {
        let is_meant = |known: &Name, _: &mut Thing| {
            known.kind.name() == kind && known.instance == instance && known.name == name
        };
        let (_, thing) = self.things.extract_if(.., is_meant).next()?;
        self.changed = true;
        Some(thing)
    }

    /// Forgets all that a node told of.
    pub(crate) fn forget_node(&mut self, instance: &str) {
        let before = self.things.len();
        self.things.retain(|known, _| known.instance != instance);
        self.changed |= self.things.len() < before;
    }

    /// Takes note of what the newest samples tell, of [`from_ms`] on. `nodes` are those that are expected, as
    /// they were before the samples were read: what they said until then is among them.
    pub(crate) fn look(
        &mut self,
        newest: &[Series],
        nodes: &BTreeMap<String, Teller>,
        interval_ms: i64,
        now_ms: i64,
    ) {
        let heard = Heard::of(newest);
        self.note_tellers(&heard, nodes, interval_ms, now_ms);
        for (name, seen) in &heard.things {
            self.note(name, seen, now_ms);
        }
        for thing in self.things.values_mut() {
            let name = &thing.name;
            let hearing = self.hearings.get(&name.instance);
            let fails = |collector: &str| {
                heard
                    .failing
                    .iter()
                    .any(|(instance, failing)| *instance == name.instance && failing == collector)
            };
            let believed = !name.kind.collectors().iter().any(|collector| fails(collector));
            let Some(hearing) = hearing.filter(|_| believed) else {
                // Nobody tells of it: what was missing stays so, and nothing new is.
                continue;
            };
            let is_away = |since_ms: i64, present_ms: i64| {
                present_ms.saturating_sub(since_ms) > hearing.away_max_ms
            };
            let is_missing = thing.expected
                && !thing.comes_and_goes()
                && is_away(thing.seen_ms, hearing.present_ms)
                && is_away(hearing.since_ms, now_ms);
            if is_missing && thing.missing_ms.is_none() {
                thing.missing_ms = Some(thing.seen_ms.max(hearing.since_ms));
                self.changed = true;
            }
        }
        // What was only tried out is not worth keeping.
        let things_len = self.things.len();
        self.things.retain(|_, thing| {
            thing.expected || now_ms.saturating_sub(thing.seen_ms) <= EXPECTED_AFTER_MS
        });
        self.changed |= self.things.len() < things_len;
    }

    fn note_tellers(
        &mut self,
        heard: &Heard,
        nodes: &BTreeMap<String, Teller>,
        interval_ms: i64,
        now_ms: i64,
    ) {
        let passed_ms = self.looked_ms.map_or(0, |looked_ms| now_ms.saturating_sub(looked_ms));
        let is_late = passed_ms.saturating_sub(interval_ms) > JUMP_MAX_MS;
        self.looked_ms = Some(now_ms);
        let up = nodes.iter().filter(|(_, node)| node.is_heard(now_ms));
        let up = up.map(|(name, node)| (name, node.newest_ms, node.away_max_ms()));
        let clusters = heard.clusters.iter();
        let clusters = clusters.map(|(name, newest_ms)| (name, *newest_ms, MISSING_AFTER_MS));
        let before = std::mem::take(&mut self.hearings);
        for (name, newest_ms, away_max_ms) in up.chain(clusters) {
            let present_ms = newest_ms.min(now_ms);
            let goes_on = before.get(name).filter(|before| {
                let ahead_ms = present_ms.saturating_sub(before.present_ms);
                !is_late && ahead_ms.saturating_sub(passed_ms) <= JUMP_MAX_MS
            });
            // A clock that was set back makes nobody silent.
            let since_ms = goes_on.map_or(now_ms, |before| before.since_ms.min(now_ms));
            self.hearings.insert(name.clone(), Hearing { since_ms, present_ms, away_max_ms });
        }
    }

    fn note(&mut self, name: &Name, seen: &Seen, now_ms: i64) {
        let at_ms = seen.at_ms.min(now_ms);
        // Who is not heard has no present of its own.
        let hearing = self.hearings.get(&name.instance);
        let (present_ms, away_max_ms) =
            hearing.map_or((now_ms, MISSING_AFTER_MS), |it| (it.present_ms, it.away_max_ms));
        let is_present = present_ms.saturating_sub(at_ms) <= away_max_ms;
        let is_full = self.things.len() >= THINGS_MAX;
        let thing = match self.things.get_mut(name) {
            Some(thing) => thing,
            None if is_full || !is_present => return,
            None => {
                self.changed = true;
                self.things.entry(name.clone()).or_insert_with(|| Thing {
                    name: name.clone(),
                    labels: seen.labels.clone(),
                    first_seen_ms: at_ms,
                    seen_ms: at_ms,
                    expected: false,
                    aways: 0,
                    missing_ms: None,
                })
            }
        };
        if at_ms < thing.seen_ms {
            return;
        }
        // What is found by a look after it went missing is back.
        let is_back = is_present && at_ms > thing.seen_ms;
        if let Some(missing_ms) = thing.missing_ms.filter(|_| is_back) {
            thing.aways += u32::from(at_ms.saturating_sub(missing_ms) > AWAY_MS);
            thing.missing_ms = None;
            self.changed = true;
        }
        thing.seen_ms = at_ms;
        let for_ms = at_ms.saturating_sub(thing.first_seen_ms);
        if !thing.expected && seen.in_use && for_ms >= EXPECTED_AFTER_MS {
            thing.expected = true;
            self.changed = true;
        }
    }

    /// What is missing, as figures. Nothing is told of what nodes miss that are down now, since it
    /// may be there.
    pub(crate) fn figures(&self, nodes: &BTreeMap<String, Teller>, now_ms: i64) -> Vec<Figure> {
        let is_down = |instance: &str| nodes.get(instance).is_some_and(|node| node.down);
        let missing = self.things.values().filter_map(|thing| Some((thing, thing.missing_ms?)));
        let missing = missing.filter(|(thing, _)| !is_down(&thing.name.instance));
        let figure = |(thing, since_ms): (&Thing, i64)| Figure {
            family: MISSING,
            help: MISSING_HELP,
            labels: thing.figure_labels(),
            value: crate::telemetry::seconds(now_ms.saturating_sub(since_ms).max(0)),
        };
        missing.map(figure).collect()
    }
}

impl Thing {
    /// Sets of labels, of which each alert about it has all of one: each exporter has its own name for what
    /// a thing is called.
    pub(crate) fn labels_of_alerts(&self) -> Vec<BTreeMap<String, String>> {
        let name = self.name.name.as_str();
        let gone = self.figure_labels().into_iter().map(|(name, value)| (name.to_owned(), value));
        let mut gone: BTreeMap<String, String> = gone.collect();
        let mut sets: Vec<Vec<(&str, &str)>> = Vec::new();
        match self.name.kind {
            Kind::Array | Kind::Osd | Kind::Ups => {}
            Kind::Interface => sets.push(vec![("master", name)]),
            Kind::Zpool => sets.push(vec![("zpool", name)]),
            Kind::Btrfs => sets.extend([vec![("label", name)], vec![("uuid", name)]]),
            Kind::ThinPool => {
                sets.extend(
                    name.split_once('/').map(|(vg, pool)| vec![("vg", vg), ("pool", pool)]),
                );
            }
        }
        // A pool may be called as one of another kind is. Alerts about other things do not say what kind they are.
        if !matches!(self.name.kind, Kind::Zpool | Kind::Btrfs | Kind::ThinPool) {
            gone.remove("kind");
        }
        let set = |pairs: Vec<(&str, &str)>| {
            let instance = ("instance", self.name.instance.as_str());
            let pairs = pairs.into_iter().chain([instance]);
            pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
        };
        [gone].into_iter().chain(sets.into_iter().map(set)).collect()
    }

    fn figure_labels(&self) -> Vec<(&'static str, String)> {
        let of = |name: &str| self.labels.get(name).cloned().unwrap_or_default();
        let mut labels = vec![
            ("kind", self.name.kind.name().to_owned()),
            ("instance", self.name.instance.clone()),
        ];
        let names: &[&'static str] = match self.name.kind {
            Kind::Array | Kind::Interface => &["device"],
            Kind::Osd => &["cluster", "ceph_daemon"],
            Kind::Ups => &["server", "ups"],
            Kind::Zpool | Kind::Btrfs | Kind::ThinPool => &["pool"],
        };
        let named = names.iter().map(|name| (*name, of(name)));
        labels.extend(named.filter(|(_, value)| !value.is_empty()));
        labels
    }
}

/// What one look says of one thing.
#[derive(Debug)]
struct Seen {
    at_ms: i64,
    labels: BTreeMap<String, String>,
    in_use: bool,
}

/// What the newest samples say.
#[derive(Debug, Default)]
struct Heard {
    things: BTreeMap<Name, Seen>,
    /// Clusters that are read, and when they last were.
    clusters: BTreeMap<String, i64>,
    /// Collectors that fail, by node.
    failing: Vec<(String, String)>,
}

impl Heard {
    fn of(newest: &[Series]) -> Self {
        let mut heard = Self::default();
        let mut up: Vec<(&str, &str)> = Vec::new();
        for series in newest {
            let label = |name| series.labels.get(name).unwrap_or_default();
            let Some(sample) = series.samples().last().filter(|it| !is_stale(it.value)) else {
                continue;
            };
            let (instance, is_set) = (label("instance"), sample.value != 0.0);
            match series.labels.metric_name() {
                UP if is_set => up.push((instance, label("device"))),
                "labstat_ceph_reading_success" if is_set && label("source") == "mon" => {
                    let newest_ms = heard.clusters.entry(instance.to_owned()).or_insert(i64::MIN);
                    *newest_ms = sample.time_ms.max(*newest_ms);
                }
                "node_scrape_collector_success" if !is_set => {
                    heard.failing.push((instance.to_owned(), label("collector").to_owned()));
                }
                metric => {
                    if let Some((kind, name, labels)) = thing(metric, &label, is_set) {
                        heard.add(kind, instance, name, labels, sample.time_ms);
                    }
                }
            }
        }
        for (name, seen) in &mut heard.things {
            let is_up = || up.contains(&(name.instance.as_str(), name.name.as_str()));
            seen.in_use = name.kind != Kind::Interface || is_up();
        }
        heard
    }

    fn add(
        &mut self,
        kind: Kind,
        instance: &str,
        name: String,
        labels: BTreeMap<String, String>,
        at_ms: i64,
    ) {
        if instance.is_empty() || name.is_empty() {
            return;
        }
        let name = Name { kind, instance: instance.to_owned(), name };
        let seen = self.things.entry(name).or_insert(Seen { at_ms, labels, in_use: false });
        seen.at_ms = seen.at_ms.max(at_ms);
    }
}

/// The thing that a series is about.
fn thing<'a>(
    metric: &str,
    label: &dyn Fn(&'static str) -> &'a str,
    is_set: bool,
) -> Option<(Kind, String, BTreeMap<String, String>)> {
    let labels = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let pool = |kind, name: String| Some((kind, name.clone(), labels(&[("pool", &name)])));
    match metric {
        "node_md_state" if is_set => {
            let device = label("device");
            Some((Kind::Array, device.to_owned(), labels(&[("device", device)])))
        }
        "labstat_network_kind_info" if KINDS.contains(&label("kind")) => {
            let device = label("device");
            Some((Kind::Interface, device.to_owned(), labels(&[("device", device)])))
        }
        "ceph_osd_up" => {
            let (cluster, daemon) = (label("cluster"), label("ceph_daemon"));
            let labels = labels(&[("cluster", cluster), ("ceph_daemon", daemon)]);
            Some((Kind::Osd, daemon.to_owned(), labels))
        }
        "labstat_ups_up" => {
            let (server, ups) = (label("server"), label("ups"));
            Some((
                Kind::Ups,
                format!("{ups}@{server}"),
                labels(&[("server", server), ("ups", ups)]),
            ))
        }
        "node_zfs_zpool_state" if is_set => pool(Kind::Zpool, label("zpool").to_owned()),
        "node_btrfs_info" => {
            let name = [label("label"), label("uuid")].into_iter().find(|name| !name.is_empty());
            pool(Kind::Btrfs, name.unwrap_or_default().to_owned())
        }
        "labstat_lvm_thin_pool_state" if is_set => {
            pool(Kind::ThinPool, format!("{}/{}", label("vg"), label("pool")))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use labstat_model::Labels;

    use super::*;

    const MINUTE_MS: i64 = 60_000;
    const T: i64 = 1_700_000_000_000;

    fn series(text: &str, at_ms: i64, value: f64) -> Series {
        let (name, rest) = text.split_once('{').unwrap();
        let pairs = rest.trim_end_matches('}').split(',').filter_map(|pair| pair.split_once('='));
        let pairs = pairs.map(|(name, value)| (name.trim(), value.trim()));
        let labels = Labels::new(pairs.chain([(METRIC_NAME, name)]));
        Series { labels, times: vec![at_ms], values: vec![value] }
    }

    /// A lab of one node, looked at each minute.
    struct Lab {
        inventory: Inventory,
        now_ms: i64,
        down: bool,
        /// How far its clock is behind.
        behind_ms: i64,
        silence_max_ms: i64,
    }

    impl Lab {
        fn new() -> Self {
            Self {
                inventory: Inventory::default(),
                now_ms: T,
                down: false,
                behind_ms: 5_000,
                silence_max_ms: 30_000,
            }
        }

        /// Lets minutes pass in which `told` is told in each.
        fn pass(&mut self, minutes: i64, told: &[&str]) {
            for _ in 0..minutes {
                self.now_ms += MINUTE_MS;
                let at_ms = self.now_ms - self.behind_ms;
                let told: Vec<Series> = told
                    .iter()
                    .map(|text| match text.strip_prefix('!') {
                        Some(text) => series(text, at_ms, 0.0),
                        None => series(text, at_ms, 1.0),
                    })
                    .collect();
                self.look(&told);
            }
        }

        fn nodes(&self) -> BTreeMap<String, Teller> {
            let newest_ms = self.now_ms - self.behind_ms;
            let Self { down, silence_max_ms, .. } = *self;
            BTreeMap::from([("nas".to_owned(), Teller { down, newest_ms, silence_max_ms })])
        }

        fn look(&mut self, told: &[Series]) {
            let nodes = self.nodes();
            self.inventory.look(told, &nodes, MINUTE_MS, self.now_ms);
        }

        fn missing(&self) -> Vec<String> {
            let figures = self.inventory.figures(&self.nodes(), self.now_ms);
            let line = |figure: &Figure| {
                let labels: Vec<String> =
                    figure.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
                format!("{} {}", labels.join(","), figure.value)
            };
            figures.iter().map(line).collect()
        }
    }

    const MD: &str = "node_md_state{instance=nas,device=md0,state=active}";

    #[test]
    fn what_was_there_for_an_hour_is_missed_until_it_is_back_or_forgotten() {
        let mut lab = Lab::new();
        lab.pass(65, &[MD]);
        lab.pass(1, &[]);
        assert!(lab.missing().is_empty(), "a moment is no absence");
        lab.pass(4, &[]);
        assert_eq!(lab.missing(), ["kind=array,instance=nas,device=md0 305"]);
        // A restart of the aggregator forgets neither.
        let document = lab.inventory.snapshot();
        lab.inventory = Inventory::restore(Some(&document));
        lab.pass(1, &[]);
        assert_eq!(lab.missing(), ["kind=array,instance=nas,device=md0 365"]);
        lab.pass(1, &[MD]);
        assert!(lab.missing().is_empty());
        lab.pass(10, &[]);
        assert_eq!(lab.missing().len(), 1);
        assert_eq!(lab.inventory.forget("array", "nas", "md1"), None);
        let labels = lab.inventory.forget("array", "nas", "md0").unwrap().labels_of_alerts();
        let named = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        assert_eq!(labels, [[("device", "md0"), ("instance", "nas")].map(named).into()]);
        lab.pass(10, &[]);
        assert!(lab.missing().is_empty());
    }

    #[test]
    fn what_was_there_for_a_moment_or_was_never_up_is_not_expected() {
        let mut lab = Lab::new();
        lab.pass(30, &[MD]);
        lab.pass(90, &[]);
        assert!(lab.missing().is_empty());
        assert_eq!(lab.inventory.things().count(), 0, "nor is it kept");
        let port = "labstat_network_kind_info{instance=nas,device=eno2,kind=physical}";
        let tap = "labstat_network_kind_info{instance=nas,device=tap0,kind=tap}";
        lab.pass(90, &[port, tap, "!node_network_up{instance=nas,device=eno2}"]);
        lab.pass(10, &[]);
        assert!(lab.missing().is_empty(), "nobody uses that port");
        lab.pass(90, &[port, "node_network_up{instance=nas,device=eno2}"]);
        lab.pass(10, &[]);
        assert_eq!(lab.missing(), ["kind=interface,instance=nas,device=eno2 605"]);
    }

    #[test]
    fn who_is_not_heard_misses_nothing_and_who_comes_back_has_time() {
        let mut lab = Lab::new();
        lab.pass(90, &[MD]);
        lab.down = true;
        lab.pass(60, &[]);
        assert!(lab.missing().is_empty(), "the node is down, which is told of it");
        lab.down = false;
        lab.pass(2, &[]);
        assert!(lab.missing().is_empty(), "it has just come back");
        lab.pass(3, &[]);
        assert_eq!(lab.missing(), ["kind=array,instance=nas,device=md0 240"]);
        // What was missing stays so while the node is away, and a collector that fails tells nothing.
        let mut lab = Lab::new();
        lab.pass(90, &[MD]);
        lab.pass(30, &["!node_scrape_collector_success{instance=nas,collector=mdadm}"]);
        assert!(lab.missing().is_empty());
        lab.pass(5, &["node_scrape_collector_success{instance=nas,collector=mdadm}"]);
        assert_eq!(lab.missing().len(), 1);
    }

    #[test]
    fn a_clock_that_is_wrong_makes_nothing_missing_and_hides_nothing() {
        let mut lab = Lab::new();
        lab.behind_ms = 150_000;
        lab.pass(90, &[MD]);
        assert!(lab.missing().is_empty(), "it is reported all the time");
        lab.pass(5, &[]);
        assert_eq!(lab.missing().len(), 1);
        lab.pass(1, &[MD]);
        assert!(lab.missing().is_empty(), "back by the same clock");
        // The clock is set right; what is read now and then tells of it a minute later.
        lab.behind_ms = 5_000;
        lab.pass(1, &[]);
        assert!(lab.missing().is_empty());
        lab.pass(30, &[MD]);
        assert!(lab.missing().is_empty());
    }

    #[test]
    fn a_look_goes_back_as_far_as_who_is_behind_and_no_further() {
        let mut lab = Lab::new();
        assert_eq!(lab.now_ms - from_ms(&lab.nodes(), lab.now_ms), 185_000);
        lab.behind_ms = 600_000;
        assert_eq!(lab.now_ms - from_ms(&lab.nodes(), lab.now_ms), 780_000);
        lab.behind_ms = BEHIND_MAX_MS + 1;
        assert_eq!(lab.now_ms - from_ms(&lab.nodes(), lab.now_ms), 180_000);
        // And of whoever is further behind, nothing can be said.
        let mut lab = Lab::new();
        lab.pass(90, &[MD]);
        lab.now_ms += 10 * MINUTE_MS;
        lab.behind_ms = BEHIND_MAX_MS + 1;
        lab.pass(30, &[]);
        assert!(lab.missing().is_empty());
    }

    #[test]
    fn after_a_sleep_of_this_machine_all_have_their_time_anew() {
        let mut lab = Lab::new();
        lab.pass(90, &[MD]);
        lab.now_ms += 10 * MINUTE_MS;
        lab.pass(1, &[]);
        assert!(lab.missing().is_empty(), "nobody was listened to");
        lab.pass(2, &[]);
        assert!(lab.missing().is_empty());
        lab.pass(1, &[]);
        assert_eq!(lab.missing(), ["kind=array,instance=nas,device=md0 180"]);
    }

    #[test]
    fn an_agent_that_is_not_in_a_hurry_gets_as_long_as_presence_waits_for_it() {
        let mut lab = Lab::new();
        lab.silence_max_ms = 180_000;
        lab.pass(90, &[MD]);
        lab.pass(2, &[]);
        assert!(lab.missing().is_empty());
        lab.pass(1, &[]);
        assert!(lab.missing().is_empty(), "three of its rounds");
        lab.pass(1, &[]);
        assert_eq!(lab.missing().len(), 1);
    }

    #[test]
    fn nothing_is_told_of_what_a_node_misses_that_is_down() {
        let mut lab = Lab::new();
        lab.pass(90, &[MD]);
        lab.pass(10, &[]);
        assert_eq!(lab.missing().len(), 1);
        lab.down = true;
        lab.pass(1, &[]);
        assert!(lab.missing().is_empty());
        lab.down = false;
        lab.pass(1, &[]);
        assert_eq!(lab.missing().len(), 1, "it was not found since");
    }

    #[test]
    fn an_osd_is_missed_only_while_its_cluster_is_read() {
        let osd = "ceph_osd_up{instance=ceph-1f,cluster=ceph,ceph_daemon=osd.2}";
        let reads = "labstat_ceph_reading_success{instance=ceph-1f,source=mon}";
        let mut lab = Lab::new();
        lab.pass(90, &[osd, reads]);
        lab.pass(30, &[]);
        assert!(lab.missing().is_empty());
        lab.pass(5, &[reads]);
        let missing = ["kind=osd,instance=ceph-1f,cluster=ceph,ceph_daemon=osd.2 240"];
        assert_eq!(lab.missing(), missing);
    }

    #[test]
    fn what_is_carried_in_and_out_is_not_expected_for_ever() {
        let pool = "node_zfs_zpool_state{instance=nas,zpool=backup,state=online}";
        let mut lab = Lab::new();
        for _ in 0..2 {
            lab.pass(90, &[pool]);
            lab.pass(90, &[]);
            assert_eq!(lab.missing().len(), 1);
        }
        lab.pass(90, &[pool]);
        lab.pass(90, &[]);
        assert!(lab.missing().is_empty());
        assert!(lab.inventory.things().all(Thing::comes_and_goes));
    }

    #[test]
    fn names_and_labels_of_each_kind() {
        let mut lab = Lab::new();
        lab.pass(
            90,
            &[
                "labstat_ups_up{instance=nas,server=127.0.0.1:3493,ups=myups}",
                "node_btrfs_info{instance=nas,label=,uuid=0abb}",
                "labstat_lvm_thin_pool_state{instance=nas,vg=pve,pool=data,state=writable}",
                "!node_zfs_zpool_state{instance=nas,zpool=tank,state=degraded}",
            ],
        );
        let names: Vec<String> =
            lab.inventory.things().map(|thing| thing.name.to_string()).collect();
        let wanted = ["ups nas/myups@127.0.0.1:3493", "btrfs nas/0abb", "thin_pool nas/pve/data"];
        assert_eq!(names, wanted);
        lab.pass(5, &[]);
        assert_eq!(
            lab.missing(),
            [
                "kind=ups,instance=nas,server=127.0.0.1:3493,ups=myups 305",
                "kind=btrfs,instance=nas,pool=0abb 305",
                "kind=thin_pool,instance=nas,pool=pve/data 305",
            ]
        );
    }

    /// The labels of the alerts of one name that a test of the shipped rules expects.
    fn shipped(tests: &str, alert: &str) -> Vec<BTreeMap<String, String>> {
        let cases = tests.split("alertname: ").filter(|case| case.lines().next() == Some(alert));
        let expected = cases.flat_map(|case| case.split("exp_labels:").skip(1));
        let labels = |text: &str| {
            let text = text.split("exp_annotations:").next().unwrap_or_default();
            let pairs = text.split([',', '\n', '{', '}']).filter_map(|pair| pair.split_once(": "));
            let plain = |text: &str| text.trim().trim_matches('\'').to_owned();
            pairs.map(|(name, value)| (plain(name), plain(value))).collect()
        };
        expected.map(labels).collect()
    }

    #[test]
    fn what_is_forgotten_has_the_labels_of_the_shipped_alerts_about_it() {
        macro_rules! tests {
            ($file:literal) => {
                include_str!(concat!("../../alerts/rules/", $file, ".test.yml"))
            };
        }
        let gone = tests!("inventory");
        for (seen, alerts) in [
            (
                "node_md_state{instance=vertex,device=md0,state=active}",
                vec![(tests!("raid"), "RaidDegraded"), (tests!("raid"), "RaidMemberFailed")],
            ),
            (
                "labstat_network_kind_info{instance=vertex,device=bond0,kind=bond}",
                vec![(tests!("network"), "BondLegDown")],
            ),
            (
                "labstat_network_kind_info{instance=vertex,device=enp3s0,kind=physical}",
                vec![(gone, "InterfaceGone")],
            ),
            ("ceph_osd_up{instance=lab,ceph_daemon=osd.2}", vec![(tests!("ceph"), "CephOsdDown")]),
            (
                "labstat_ups_up{instance=nas,server=127.0.0.1:3493,ups=myups}",
                vec![(gone, "UpsForgotten")],
            ),
            (
                "labstat_ups_up{instance=nas,server=127.0.0.1:3493,ups=rack}",
                vec![(tests!("ups"), "UpsOnBattery")],
            ),
            ("node_zfs_zpool_state{instance=nas,zpool=tank}", vec![(gone, "PoolGone")]),
            (
                "node_zfs_zpool_state{instance=vertex,zpool=tank}",
                vec![(tests!("zfs"), "ZfsPoolDegraded"), (tests!("zfs"), "ZfsDeviceErrors")],
            ),
            (
                "node_btrfs_info{instance=vertex,label=pool,uuid=0abb}",
                vec![
                    (tests!("btrfs"), "BtrfsDeviceErrors"),
                    (tests!("btrfs"), "BtrfsDeviceMissing"),
                ],
            ),
            (
                "node_btrfs_info{instance=vertex,label=,uuid=0abb}",
                vec![(tests!("btrfs"), "BtrfsDeviceErrors")],
            ),
            (
                "labstat_lvm_thin_pool_state{instance=vertex,vg=pve,pool=data}",
                vec![(tests!("lvm"), "ThinPoolFillsUp"), (tests!("lvm"), "ThinPoolFailed")],
            ),
        ] {
            let mut lab = Lab::new();
            lab.pass(1, &[seen]);
            let sets = lab.inventory.things().next().unwrap().labels_of_alerts();
            for (file, alert) in alerts {
                let told = shipped(file, alert);
                let fits = |told: &BTreeMap<String, String>| {
                    sets.iter()
                        .any(|set| set.iter().all(|(name, value)| told.get(name) == Some(value)))
                };
                assert!(told.iter().any(fits), "{alert} of {seen}: {told:?} {sets:?}");
            }
        }
    }

    #[test]
    fn a_pool_is_not_taken_for_one_of_another_kind() {
        let mut lab = Lab::new();
        lab.pass(1, &["node_zfs_zpool_state{instance=vertex,zpool=data}"]);
        let sets = lab.inventory.things().next().unwrap().labels_of_alerts();
        let thin = shipped(include_str!("../../alerts/rules/lvm.test.yml"), "ThinPoolFailed");
        let thin = thin.first().unwrap();
        let fits = |set: &BTreeMap<String, String>| set.iter().all(|(k, v)| thin.get(k) == Some(v));
        assert!(!sets.iter().any(fits), "{sets:?}");
    }
}
