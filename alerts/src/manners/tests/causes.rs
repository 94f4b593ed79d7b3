//! Incidents: one cause, one message.

use super::super::state::GroupRow;
use super::*;

/// A NAS with an array of two disks, an OSD on one of them, a filesystem on the array, and a UPS
/// that feeds it and another node.
fn lab() -> Topology {
    let disk = |name: &str| {
        Entity::new(format!("disk/{name}"), EntityKind::Disk, &[("disk", name)])
            .named(&[("instance", "nas"), ("device", name)])
            .on("node/nas")
    };
    let array = [("instance", "nas"), ("device", "md0")];
    let mount = [("instance", "nas"), ("mountpoint", "/srv")];
    let osd = [("cluster", "c1"), ("ceph_daemon", "osd.3")];
    Topology {
        entities: vec![
            Entity::node("nas").on("ups/1"),
            Entity::node("vertex").on("ups/1"),
            Entity::new("ups/1", EntityKind::Ups, &[("ups", "eaton")]),
            disk("sda"),
            disk("sdb"),
            Entity::new("array/md0", EntityKind::Array, &array).on("disk/sda").on("disk/sdb"),
            Entity::new("fs/srv", EntityKind::Filesystem, &mount).on("array/md0"),
            Entity::new("osd/3", EntityKind::Osd, &osd).on("disk/sda"),
        ],
    }
}

const DEAD: &str = "alertname=DiskDead disk=sda severity=critical";
const DEGRADED: &str = "alertname=RaidDegraded instance=nas device=md0 severity=critical";
const OSD_DOWN: &str =
    "alertname=CephOsdDown instance=ceph-1 cluster=c1 ceph_daemon=osd.3 severity=critical";
const READ_ONLY: &str =
    "alertname=FilesystemTurnedReadOnly instance=nas mountpoint=/srv severity=critical";
const DOWN: &str = "alertname=NodeDown instance=nas severity=critical";
const LOW: &str = "alertname=NodeMemoryLow instance=nas severity=warning";

fn stage() -> Stage {
    let mut stage = Stage::of_causes();
    let step = stage.manners.set_topology(lab());
    stage.settle(step);
    stage
}

#[test]
fn a_dead_disk_and_what_it_brings_about_are_one_message() {
    let mut stage = stage();
    stage.begin(DEGRADED);
    stage.until_ms(300);
    stage.begin(OSD_DOWN);
    stage.until_ms(600);
    stage.begin(DEAD);
    stage.until(4000);
    assert_eq!(stage.told(), ["1 a New +DiskDead +RaidDegraded +CephOsdDown"]);
    let times: Vec<i64> =
        stage.messages[0].timeline.iter().map(|event| event.time_ms - T0).collect();
    assert_eq!(times, [0, 300, 600]);
    let caused = stage.manners.alert(&fp(OSD_DOWN), stage.now_ms).unwrap();
    assert_eq!(caused.caused_by, Some(fp(DEAD)));
    stage.end(DEGRADED);
    stage.until(5000);
    assert!(stage.told().is_empty(), "the end is told when all of it is over");
    stage.end(DEAD);
    stage.end(OSD_DOWN);
    stage.until(6000);
    assert_eq!(stage.told(), ["5001 a Resolved -DiskDead -RaidDegraded -CephOsdDown"]);
    assert_eq!(stage.messages[1].thread, stage.messages[0].id);
    assert_eq!(stage.messages[1].timeline.len(), 6);
    stage.until(20_000);
    assert_eq!(stage.rows.keys().collect::<Vec<_>>(), ["topology/now"]);
}

#[test]
fn an_effect_that_follows_is_told_with_the_next_message_only() {
    let mut stage = stage();
    stage.begin(DEAD);
    stage.until(100);
    stage.begin(DEGRADED);
    stage.until(86_400);
    assert_eq!(stage.told(), ["1 a New +DiskDead"]);
    stage.until(86_401);
    assert_eq!(stage.told(), ["86401 a Reminder +DiskDead +RaidDegraded"]);
    stage.begin(READ_ONLY);
    stage.until(86_500);
    assert_eq!(
        stage.told(),
        ["86402 a Changed +DiskDead +RaidDegraded +FilesystemTurnedReadOnly"],
        "a day later it has another reason, whatever it lies on"
    );
}

#[test]
fn a_filesystem_that_fails_on_what_still_works_is_told_at_once() {
    let mut stage = stage();
    stage.begin(DEGRADED);
    stage.until(1200);
    stage.begin(READ_ONLY);
    stage.until(1300);
    let both = "1201 a Changed +RaidDegraded +FilesystemTurnedReadOnly";
    assert_eq!(stage.told(), ["1 a New +RaidDegraded", both]);
}

#[test]
fn a_filesystem_whose_array_is_broken_is_an_effect() {
    let mut stage = stage();
    stage.begin("alertname=RaidBroken instance=nas device=md0 severity=critical");
    stage.until(1200);
    stage.begin(READ_ONLY);
    stage.until(1300);
    assert_eq!(stage.told(), ["1 a New +RaidBroken"]);
}

#[test]
fn what_begins_again_is_news_when_it_had_been_over_for_long() {
    let mut stage = stage();
    stage.begin(DEAD);
    stage.begin(DEGRADED);
    stage.until(100);
    stage.end(DEGRADED);
    stage.until(1000);
    stage.begin(DEGRADED);
    stage.until(2000);
    assert_eq!(stage.told(), ["1 a New +DiskDead +RaidDegraded"], "soon after, it is not");
    stage.end(DEGRADED);
    stage.until(8000);
    stage.begin(DEGRADED);
    stage.until(8100);
    assert_eq!(stage.told(), ["8001 a Changed +DiskDead +RaidDegraded"]);
}

#[test]
fn a_graver_effect_is_told_at_once() {
    let mut stage = stage();
    let cause = "alertname=DiskAct disk=sda severity=warning";
    stage.begin(cause);
    stage.until(100);
    stage.begin(DEGRADED);
    stage.until(200);
    assert_eq!(stage.told(), ["1 a New +DiskAct", "101 a Changed +DiskAct +RaidDegraded"]);
}

#[test]
fn a_cause_that_shows_itself_late_is_told_once_as_the_cause() {
    let mut stage = stage();
    stage.begin(DEGRADED);
    stage.until(60);
    stage.begin(OSD_DOWN);
    stage.until(120);
    assert_eq!(stage.told(), ["1 a New +RaidDegraded", "61 a New +CephOsdDown"]);
    stage.begin(DEAD);
    stage.restart();
    stage.until(1000);
    assert_eq!(stage.told(), ["121 a Changed +DiskDead +RaidDegraded +CephOsdDown"]);
    for alert in [DEAD, DEGRADED, OSD_DOWN] {
        stage.end(alert);
    }
    stage.until(2000);
    assert_eq!(stage.told(), ["1001 a Resolved -DiskDead -RaidDegraded -CephOsdDown"]);
}

#[test]
fn what_has_held_for_long_is_no_effect_of_what_begins() {
    let mut stage = stage();
    stage.begin(DEGRADED);
    stage.until(7200);
    stage.begin(DEAD);
    stage.until(7300);
    assert_eq!(stage.told(), ["1 a New +RaidDegraded", "7201 a New +DiskDead"]);
}

#[test]
fn a_node_that_is_down_mutes_what_hangs_on_it() {
    let mut stage = stage();
    stage.begin(DOWN);
    stage.until(60);
    for alert in [LOW, DEGRADED, OSD_DOWN] {
        stage.begin(alert);
        let status = stage.manners.alert(&fp(alert), stage.now_ms).unwrap();
        assert_eq!(status.inhibited_by, [fp(DOWN)], "{alert}");
    }
    stage.begin("alertname=NodeMemoryLow instance=vertex severity=warning");
    stage.until(1000);
    assert_eq!(stage.told(), ["1 a New +NodeDown", "61 a New +NodeMemoryLow"]);
    stage.end(LOW);
    stage.end(DOWN);
    stage.until(2000);
    assert_eq!(
        stage.told(),
        ["1201 a Changed +RaidDegraded +CephOsdDown -NodeDown -NodeMemoryLow"],
        "what still holds is told at the next turn"
    );
}

#[test]
fn a_guest_that_is_a_node_is_muted_by_its_host_and_mutes_its_own() {
    let mut stage = Stage::of_causes();
    let entities = vec![
        Entity::node("pve"),
        Entity::new("guest/100", EntityKind::Guest, &[("guest", "100")]).on("node/pve"),
        Entity::node("vm").on("guest/100"),
        Entity::new("disk/v", EntityKind::Disk, &[("disk", "v")]).on("node/vm"),
        Entity::node("other"),
        Entity::new("osd/1", EntityKind::Osd, &[("ceph_daemon", "osd.1")]).on("node/vm"),
        Entity::new("osd/2", EntityKind::Osd, &[("ceph_daemon", "osd.2")]).on("node/other"),
        Entity::new("cluster/c", EntityKind::Cluster, &[("cluster", "c")]).on("osd/1").on("osd/2"),
    ];
    let step = stage.manners.set_topology(Topology { entities });
    stage.settle(step);
    let down = |node: &str| format!("alertname=NodeDown instance={node} severity=critical");
    let (disk, whole) = ("alertname=DiskTooHot disk=v", "alertname=CephScrubLate cluster=c");
    stage.begin(disk);
    stage.begin(whole);
    let by = |stage: &Stage, alert: &str| {
        stage.manners.alert(&fp(alert), stage.now_ms).unwrap().inhibited_by
    };
    stage.begin(&down("vm"));
    assert_eq!(by(&stage, disk), [fp(&down("vm"))]);
    assert!(by(&stage, &down("vm")).is_empty() && by(&stage, whole).is_empty());
    stage.begin(&down("pve"));
    assert_eq!(by(&stage, &down("vm")), [fp(&down("pve"))]);
    assert!(by(&stage, &down("pve")).is_empty() && by(&stage, whole).is_empty());
    stage.end(&down("vm"));
    assert_eq!(by(&stage, disk), [fp(&down("pve"))]);
    stage.begin(&down("other"));
    assert_eq!(by(&stage, whole).len(), 2, "all that it stands on is down");
}

#[test]
fn nodes_of_one_power_supply_are_one_incident() {
    let mut stage = stage();
    stage.begin("alertname=UpsOnBattery instance=nas ups=eaton severity=warning");
    stage.begin("alertname=UpsOnBattery instance=vertex ups=eaton severity=warning");
    stage.until(600);
    stage.begin(DOWN);
    stage.begin("alertname=NodeDown instance=vertex severity=critical");
    stage.until(700);
    assert_eq!(
        stage.told(),
        [
            "1 a New +UpsOnBattery +UpsOnBattery",
            "601 a Changed +UpsOnBattery +UpsOnBattery +NodeDown +NodeDown"
        ]
    );
}

/// Several nodes ask one UPS, each at its own moment.
#[test]
fn what_several_nodes_say_of_one_thing_is_told_once() {
    let mut stage = stage();
    let worn = |instance: &str, severity: &str| {
        format!("alertname=UpsReplaceBattery instance={instance} ups=eaton severity={severity}")
    };
    stage.begin(&worn("nas", "warning"));
    stage.until(20);
    stage.begin(&worn("vertex", "warning"));
    stage.until(600);
    assert_eq!(stage.told(), ["1 a New +UpsReplaceBattery"]);
    stage.begin("alertname=UpsOverload instance=vertex ups=eaton severity=warning");
    stage.until(700);
    let told = ["601 a Changed +UpsReplaceBattery +UpsReplaceBattery +UpsOverload"];
    assert_eq!(stage.told(), told, "another matter");
}

#[test]
fn things_of_one_node_are_not_one_incident_for_that() {
    let mut stage = stage();
    stage.begin(LOW);
    stage.begin("alertname=RebootRequired instance=nas severity=info");
    stage.begin("alertname=DiskWatch disk=sdb severity=warning");
    stage.begin(DEGRADED);
    stage.until(60);
    let mut told = stage.told();
    told.sort();
    assert_eq!(
        told,
        [
            "1 a New +DiskWatch",
            "1 a New +NodeMemoryLow",
            "1 a New +RaidDegraded",
            "1 a New +RebootRequired"
        ]
    );
}

#[test]
fn without_a_topology_a_node_still_stands_for_what_it_reports() {
    let mut stage = Stage::of_causes();
    stage.begin(LOW);
    stage.until(30);
    stage.begin(DOWN);
    stage.until(60);
    assert_eq!(stage.told(), ["1 a New +NodeMemoryLow", "31 a Changed +NodeDown"]);
    let low = stage.manners.alert(&fp(LOW), stage.now_ms).unwrap();
    assert_eq!(low.inhibited_by, [fp(DOWN)]);
}

#[test]
fn a_button_of_a_message_about_what_became_part_of_another_incident_means_that() {
    let mut stage = stage();
    stage.begin(DEGRADED);
    stage.until(60);
    stage.begin(OSD_DOWN);
    stage.until(120);
    stage.begin(DEAD);
    stage.until(200);
    let threads: Vec<String> = stage.messages.iter().map(|m| m.thread.clone()).collect();
    assert_eq!(threads.len(), 3);
    assert_ne!(threads[0], threads[1]);
    stage.restart();
    for thread in threads {
        let target = AckTarget::Thread(thread);
        let acked = stage.manners.acknowledge(&target, "me", "", None, stage.now_ms);
        assert_eq!(acked.unwrap().0.len(), 3);
    }
}

#[test]
fn who_was_called_in_for_one_of_two_incidents_hears_the_end_of_both() {
    use super::super::state::Told;
    let told =
        |thread: &str, escalated| Told { thread: thread.to_owned(), escalated, ..Told::default() };
    let row = |told: Told| {
        let mut row = GroupRow::new(String::new(), BTreeMap::new(), T0);
        row.told.insert("b".to_owned(), told);
        row
    };
    let mut ours = row(told("000", false));
    ours.absorb(row(told("001", true)));
    assert!(ours.told["b"].escalated);
    (100..400).for_each(|n| ours.absorb(row(told(&n.to_string(), false))));
    assert!(ours.told["b"].is_of_thread("000") && ours.told["b"].is_of_thread("399"));
    assert!(ours.told["b"].merged.len() < 100, "not all of them for ever");
}
