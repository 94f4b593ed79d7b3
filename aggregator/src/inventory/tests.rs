//! Whole stories: things are seen, go away and come back, and what is missing comes out. Not here: reading
//! of samples by itself, which the stories go through.

use labstat_model::{Labels, METRIC_NAME};

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
    let names: Vec<String> = lab.inventory.things().map(|thing| thing.name.to_string()).collect();
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
            include_str!(concat!("../../../alerts/rules/", $file, ".test.yml"))
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
            vec![(tests!("btrfs"), "BtrfsDeviceErrors"), (tests!("btrfs"), "BtrfsDeviceMissing")],
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
                sets.iter().any(|set| set.iter().all(|(name, value)| told.get(name) == Some(value)))
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
    let thin = shipped(include_str!("../../../alerts/rules/lvm.test.yml"), "ThinPoolFailed");
    let thin = thin.first().unwrap();
    let fits = |set: &BTreeMap<String, String>| set.iter().all(|(k, v)| thin.get(k) == Some(v));
    assert!(!sets.iter().any(fits), "{sets:?}");
}
