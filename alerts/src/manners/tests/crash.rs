//! A crash between any two commits loses nothing and repeats nothing: what happens is made up at
//! random, told to two services of which one crashes, and both must have said the same.

use proptest::prelude::*;

use super::*;

/// What may happen.
#[derive(Debug, Clone)]
enum Event {
    /// Time passes: seconds.
    Wait(i64),
    Begin(usize),
    End(usize),
    Post(usize, Option<i64>),
    Silence(usize, i64, i64),
    Expire(usize),
    Acknowledge(usize, Option<i64>),
    Unacknowledge(usize),
    Topology(bool),
    Reconfigure(bool),
}

const ALERTS: [&str; 10] = [
    "alertname=NodeDown instance=nas severity=critical",
    "alertname=DiskDead instance=nas device=sda severity=critical",
    "alertname=DiskWatch instance=nas device=sdb severity=warning",
    "alertname=RaidDegraded instance=nas device=md0 severity=critical",
    "alertname=FilesystemAlmostFull instance=nas mountpoint=/srv severity=warning",
    "alertname=NodeMemoryLow instance=nas severity=warning",
    "alertname=NodeMemoryLow instance=vertex severity=warning",
    "alertname=NodeDown instance=vertex severity=critical",
    "alertname=Own severity=info",
    "alertname=Else n=1",
];

const SILENCED: [&str; 4] =
    ["instance=nas", "alertname=~\"Raid.*|Disk.*\"", "severity!=critical,n!=1", "device=sda"];

fn topology(whole: bool) -> Topology {
    let disk = |name: &str| {
        Entity::new(
            format!("disk/{name}"),
            EntityKind::Disk,
            &[("instance", "nas"), ("device", name)],
        )
        .on("node/nas")
    };
    let array = [("instance", "nas"), ("device", "md0")];
    let mut entities = vec![Entity::node("nas"), disk("sda")];
    if whole {
        entities.push(disk("sdb"));
        let md0 = Entity::new("array/md0", EntityKind::Array, &array);
        entities.push(md0.on("disk/sda").on("disk/sdb"));
    }
    Topology { entities }
}

fn specs(other: bool) -> MannersSpec {
    let by_name = if other { "[alertname, instance]" } else { "[alertname]" };
    let mut spec = by_labels(&format!(
        "{{receiver: a, group_by: [labstat_incident], group_wait: 1s, group_interval: 2m,
           repeat_interval: 1h, routes: [
             {{receiver: b, matchers: ['severity=~\"critical|warning\"'], group_by: {by_name},
               group_wait: 10s, group_interval: 1m, continue: true}},
             {{receiver: c, matchers: ['severity=critical'], continue: true,
               mute_time_intervals: [sometimes]}},
             {{receiver: a, matchers: ['alertname!=Never']}}]}}"
    ));
    spec.times = serde_saphyr::from_str(
        "[{name: sometimes, time_intervals: [{times: [{start_time: '04:20', end_time: '04:50'}]}]}]",
    )
    .unwrap();
    spec.escalation = Some(EscalationSpec { after: "10m".to_owned(), receiver: "c".to_owned() });
    spec.inhibit = vec![InhibitSpec {
        source_matchers: Some(Texts::One("alertname=Own".to_owned())),
        target_matchers: Some(Texts::One("alertname=Else".to_owned())),
        ..InhibitSpec::default()
    }];
    spec.maintenance = vec![MaintenanceSpec {
        node: Texts::One("vertex".to_owned()),
        every: Some("04:30-04:40".to_owned()),
        from: None,
        to: None,
        location: None,
        comment: String::new(),
    }];
    spec
}

fn configs(other: bool) -> MannersConfig {
    static BUILT: std::sync::OnceLock<[MannersConfig; 2]> = std::sync::OnceLock::new();
    let built = BUILT.get_or_init(|| [build(specs(false)), build(specs(true))]);
    built[usize::from(other)].clone()
}

fn event() -> impl Strategy<Value = Event> {
    let alert = 0..ALERTS.len();
    prop_oneof![
        6 => prop_oneof![0..5_i64, 5..90_i64, 90..900_i64].prop_map(Event::Wait),
        6 => alert.clone().prop_map(Event::Begin),
        4 => alert.clone().prop_map(Event::End),
        1 => (alert.clone(), proptest::option::of(-10..1_i64)).prop_map(|(n, e)| Event::Post(n, e)),
        1 => (0..SILENCED.len(), -5..300_i64, 1..900_i64)
            .prop_map(|(n, from, len)| Event::Silence(n, from, len)),
        1 => (0..4_usize).prop_map(Event::Expire),
        1 => (alert.clone(), proptest::option::of(1..3000_i64))
            .prop_map(|(n, until)| Event::Acknowledge(n, until)),
        1 => alert.prop_map(Event::Unacknowledge),
        1 => any::<bool>().prop_map(Event::Topology),
        1 => any::<bool>().prop_map(Event::Reconfigure),
    ]
}

/// What happens to a service; `None` when it refuses.
fn happen(manners: &mut Manners, event: &Event, now_ms: i64) -> Option<Step> {
    let one = |n: usize| AckTarget::Fingerprints(vec![fp(ALERTS[n])]);
    match event {
        Event::Wait(_) => Some(manners.advance(now_ms)),
        Event::Begin(n) => Some(manners.take(&[firing(ALERTS[*n], now_ms)], now_ms)),
        Event::End(n) => Some(manners.take(&[resolved(ALERTS[*n], now_ms)], now_ms)),
        Event::Post(n, ends) => {
            let posted = Posted {
                labels: labels(ALERTS[*n]),
                starts_at_ms: Some(now_ms - 60_000),
                // An end to come is put off by a restart, and is no part of this.
                ends_at_ms: Some(now_ms + ends.unwrap_or(1_000_000) * 1000),
                ..Posted::default()
            };
            Some(manners.post(&[posted], now_ms).0)
        }
        Event::Silence(n, from, len) => {
            let matchers = Matchers::parse(SILENCED[*n]).unwrap();
            let silence = Silence {
                id: String::new(),
                matchers: matchers.iter().map(SilenceMatcher::from_matcher).collect(),
                starts_at_ms: now_ms + from * 1000,
                ends_at_ms: now_ms + (from + len) * 1000,
                updated_at_ms: 0,
                created_by: String::new(),
                comment: String::new(),
            };
            manners.put_silence(silence, now_ms).ok().map(|(_, step)| step)
        }
        Event::Expire(n) => {
            let id = manners.silences(now_ms).get(*n).map(|(silence, _)| silence.id.clone())?;
            manners.expire_silence(&id, now_ms).ok()
        }
        Event::Acknowledge(n, until) => {
            let until_ms = until.map(|seconds| now_ms + seconds * 1000);
            manners.acknowledge(&one(*n), "me", "", until_ms, now_ms).ok().map(|(_, step)| step)
        }
        Event::Unacknowledge(n) => {
            manners.unacknowledge(&one(*n), now_ms).ok().map(|(_, step)| step)
        }
        Event::Topology(whole) => Some(manners.set_topology(topology(*whole))),
        Event::Reconfigure(other) => Some(manners.reconfigure(configs(*other), now_ms)),
    }
}

/// A service that crashes before a commit (what it did is done again) or after it.
struct Service {
    stage: Stage,
    /// Bits that say when to crash.
    crashes: Vec<(bool, bool)>,
    at: usize,
    /// The configuration in force.
    other: bool,
}

impl Service {
    fn new(crashes: Vec<(bool, bool)>) -> Self {
        Self { stage: Stage::with(configs(false)), crashes, at: 0, other: false }
    }

    fn step(&mut self, event: &Event) {
        let (before, after) = self.crashes.get(self.at).copied().unwrap_or_default();
        self.at = (self.at + 1) % self.crashes.len().max(1);
        if before {
            let _ = happen(&mut self.stage.manners, event, self.stage.now_ms);
            self.restart();
        }
        if let Event::Reconfigure(other) = event {
            self.other = *other;
        }
        if let Some(step) = happen(&mut self.stage.manners, event, self.stage.now_ms) {
            self.stage.settle(step);
        }
        if after {
            self.restart();
        }
    }

    fn restart(&mut self) {
        let kept = self.stage.rows.clone().into_iter().collect();
        let (manners, step) = Manners::new(configs(self.other), kept, self.stage.now_ms);
        self.stage.manners = manners;
        self.stage.settle(step);
    }

    /// The rows that are left when all is over and told, but for what is kept for its own sake.
    fn left(&mut self) -> Vec<String> {
        let all = (0..ALERTS.len()).flat_map(|n| [Event::Post(n, Some(-1)), Event::End(n)]);
        let all: Vec<Event> = all.chain([Event::Wait(200 * 3600)]).collect();
        self.run(&all);
        let rows = self.stage.rows.keys();
        rows.filter(|key| !key.starts_with("topology/")).cloned().collect()
    }

    fn run(&mut self, events: &[Event]) {
        for event in events {
            let Event::Wait(seconds) = event else {
                self.step(event);
                continue;
            };
            let end_ms = self.stage.now_ms + seconds * 1000;
            while let Some(due_ms) =
                self.stage.manners.next_due_ms(self.stage.now_ms).filter(|ms| *ms <= end_ms)
            {
                self.stage.now_ms = due_ms.max(self.stage.now_ms);
                self.step(event);
            }
            self.stage.now_ms = end_ms;
        }
    }
}

/// As many stories as an ordinary test has time for, or `PROPTEST_CASES`.
fn stories() -> ProptestConfig {
    const ORDINARY: u32 = 48;
    let asked = ProptestConfig::default();
    let cases = if asked.cases == 256 { ORDINARY } else { asked.cases };
    ProptestConfig { cases, ..asked }
}

proptest! {
    #![proptest_config(stories())]

    #[test]
    fn a_crash_loses_nothing_and_repeats_nothing(
        events in proptest::collection::vec(event(), 1..60),
        crashes in proptest::collection::vec(any::<(bool, bool)>(), 1..50),
    ) {
        let mut steady = Service::new(Vec::new());
        let mut crashing = Service::new(crashes);
        steady.run(&events);
        crashing.run(&events);
        prop_assert_eq!(&steady.stage.said, &crashing.stage.said);
        // As text, since a value that nobody knows equals nothing.
        let written = |stage: &Stage| serde_json::to_string(&stage.messages).unwrap();
        prop_assert_eq!(written(&steady.stage), written(&crashing.stage));
        // When an alert was last posted is not kept each time.
        let rows = |stage: &Stage| -> Vec<(String, serde_json::Value)> {
            let read = |(key, value): (&String, &Vec<u8>)| {
                let mut row: serde_json::Value = serde_json::from_slice(value).unwrap();
                if let Some(fields) = row.as_object_mut() {
                    fields.retain(|name, _| name != "updated_ms" && name != "until_ms");
                }
                (key.clone(), row)
            };
            stage.rows.iter().map(read).collect()
        };
        prop_assert_eq!(rows(&steady.stage), rows(&crashing.stage));
        let mut ids: Vec<&String> = steady.stage.messages.iter().map(|m| &m.id).collect();
        ids.sort();
        ids.dedup();
        prop_assert_eq!(ids.len(), steady.stage.messages.len());
        prop_assert_eq!(steady.left(), Vec::<String>::new());
    }
}

#[test]
fn what_begins_again_for_another_reason_is_of_its_first_incident_no_more() {
    const DISK: usize = 1;
    const ARRAY: usize = 3;
    const NODE: usize = 0;
    let mut service = Service::new(Vec::new());
    service.run(&[
        Event::Begin(DISK),
        Event::Topology(true),
        Event::Begin(ARRAY),
        Event::End(ARRAY),
        // Without the array's entity the alert about it begins an incident of its own.
        Event::Topology(false),
        Event::Silence(0, 0, 2),
        Event::Wait(10),
        Event::Begin(ARRAY),
        Event::Begin(DISK),
        // All of it becomes one.
        Event::Begin(NODE),
    ]);
    assert_eq!(service.left(), Vec::<String>::new());
}
