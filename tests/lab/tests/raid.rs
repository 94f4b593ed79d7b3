//! Arrays: a member that fails is seen within two seconds and told to whom it may concern, its rebuild
//! has progress and an end in sight, and a check is no fault.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Aggregator, eventually, image, set_up};
use crate::machine::{Disk, Kind, Machine};
use crate::receiver::Receiver;

/// From the failure of a member to the sample that tells of it.
const SEEN_WITHIN: Duration = Duration::from_secs(2);

/// How long until an answer of the aggregator tells of it, at half the agent's interval: what does
/// not wait for the next round keeps that, also where the machine is emulated by a busy one.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// How long until somebody is told: the rules look every 15 s, and what is emulated by a busy
/// machine takes its time.
const TOLD_WITHIN: Duration = Duration::from_secs(40);

/// Other collectors would only make the emulated processor busy.
const START: &str = "setsid /tmp/labstat agent --aggregator http://10.0.2.100:8080 --only mdadm \
    --interval 10s > /tmp/agent.log 2>&1 < /dev/null & sleep 1; kill -0 $!";

const DISKS: [Disk; 6] = [
    Disk { kind: Kind::Scsi, serial: "LABMD000" },
    Disk { kind: Kind::Scsi, serial: "LABMD001" },
    Disk { kind: Kind::Scsi, serial: "LABMD002" },
    Disk { kind: Kind::Scsi, serial: "LABMD003" },
    Disk { kind: Kind::Scsi, serial: "LABMD004" },
    Disk { kind: Kind::Scsi, serial: "LABMD005" },
];

/// A mirror of two and a RAID 5 of three; the sixth disk is spare.
const CREATE: &str = "modprobe -a raid1 raid456; set -- $(ls /dev/sd?); \
    mdadm -q --create /dev/md0 --run --level=1 --raid-devices=2 --bitmap=none --assume-clean $1 $2 && \
    mdadm -q --create /dev/md1 --run --level=5 --raid-devices=3 --bitmap=none --assume-clean $3 $4 $5 && \
    echo $6 > /tmp/spare && echo ${4##*/} > /tmp/victim && cat /proc/mdstat";

#[test]
fn arrays_are_watched() {
    let Some(image) = image() else { return };
    let receiver = Receiver::start();
    let aggregator = Aggregator::with(|_| receiver.config());
    let mut machine = set_up(&image, &DISKS, 0, &aggregator);
    // One that started before there was an array, or the driver.
    machine.must(START);
    machine.must(CREATE);
    eventually("both arrays", || {
        let whole = aggregator
            .query("node_md_disks_required - ignoring(state) node_md_disks{state=\"active\"} == 0");
        (whole.len() == 2).then_some(())
    });
    let arrays = rows(&aggregator);
    assert!(arrays.iter().all(|array| array["state"] == "whole"), "{arrays:?}");
    assert_eq!(arrays[1]["level"], "raid5", "{arrays:?}");
    let failed_at = sees_a_failed_member_at_once(&aggregator, &mut machine);
    tells_of_it(&receiver, failed_at);
    shows_how_far_a_rebuild_is(&aggregator, &mut machine);
    takes_a_check_for_no_fault(&aggregator, &mut machine);
    eprintln!("done after {:.1} s", machine.age().as_secs_f64());
}

/// What `labstat raid` says, by array.
fn rows(aggregator: &Aggregator) -> Vec<Value> {
    serde_json::from_str(&aggregator.says(&["raid", "--format", "json"])).expect("JSON")
}

fn row(aggregator: &Aggregator, array: &str) -> Value {
    let found = rows(aggregator).into_iter().find(|row| row["array"] == array);
    found.unwrap_or_default()
}

/// When a member failed, which is seen by now.
fn sees_a_failed_member_at_once(aggregator: &Aggregator, machine: &mut Machine) -> Instant {
    // The moment is the guest's, and so is that of the sample.
    let said = machine.must(
        "date +%s.%N; mdadm -q /dev/md1 --fail /dev/$(cat /tmp/victim) 2>&1; cat /proc/mdstat",
    );
    let start = Instant::now();
    let failed_at: f64 = said.lines().find_map(|line| line.parse().ok()).expect(&said);
    let faulty =
        "min_over_time(timestamp(labstat_md_member_info{device=\"md1\", state=\"faulty\"})[1m:1s])";
    let (_, seen_at) = eventually("the failed member", || aggregator.query(faulty).pop());
    let answered = start.elapsed();
    eprintln!(
        "a failed member: a sample {:.2} s after it, an answer after {answered:?}",
        seen_at - failed_at
    );
    assert!(seen_at - failed_at < SEEN_WITHIN.as_secs_f64(), "{seen_at} {failed_at}");
    assert!(answered < ANSWERED_WITHIN, "{answered:?}");
    let failed = row(aggregator, "md1");
    assert_eq!(failed["state"], "degraded", "{failed}");
    assert_eq!(failed["disks_failed"].as_f64(), Some(1.0), "{failed}");
    assert_eq!(row(aggregator, "md0")["state"], "whole");
    start
}

/// By the rules as they are shipped, and of the right array.
fn tells_of_it(receiver: &Receiver, failed_at: Instant) {
    for name in ["RaidMemberFailed", "RaidDegraded"] {
        let (at, alert) = eventually("a message", || receiver.heard(&format!("{name} firing")));
        eprintln!("{name} is told after {:.1} s", (at - failed_at).as_secs_f64());
        assert!(at - failed_at < TOLD_WITHIN, "{name}: {:?}", at - failed_at);
        assert_eq!(alert["labels"]["device"], "md1", "{alert}");
        assert_eq!(alert["labels"]["severity"], "critical", "{alert}");
    }
}

fn shows_how_far_a_rebuild_is(aggregator: &Aggregator, machine: &mut Machine) {
    machine.must(
        "echo 1000 > /proc/sys/dev/raid/speed_limit_min; echo 1500 > /proc/sys/dev/raid/speed_limit_max; \
         mdadm -q /dev/md1 --remove /dev/$(cat /tmp/victim); mdadm -q /dev/md1 --add $(cat /tmp/spare); \
         cat /proc/mdstat",
    );
    let rebuild = eventually("a rebuild with its end in sight", || {
        let row = row(aggregator, "md1");
        let known = row["sync_ratio"].is_f64() && row["sync_remaining_seconds"].is_number();
        (row["sync_action"] == "recover" && known).then_some(row)
    });
    eprintln!("a rebuild: {rebuild}");
    assert_eq!(rebuild["state"], "degraded", "{rebuild}");
    assert!(rebuild["members"].as_str().unwrap().contains("(rebuilding"), "{rebuild}");
    machine.must("echo 500000 > /proc/sys/dev/raid/speed_limit_max; mdadm --wait /dev/md1 || true");
    eventually("the end of the rebuild", || {
        let row = row(aggregator, "md1");
        (row["state"] == "whole" && row["sync_action"].is_null()).then_some(())
    });
}

fn takes_a_check_for_no_fault(aggregator: &Aggregator, machine: &mut Machine) {
    machine.must(
        "echo 1500 > /proc/sys/dev/raid/speed_limit_max; echo check > /sys/block/md0/md/sync_action",
    );
    let check = eventually("a check", || {
        let row = row(aggregator, "md0");
        (row["sync_action"] == "check").then_some(row)
    });
    assert_eq!(check["state"], "whole", "{check}");
    let status = aggregator.says(&["status"]);
    assert!(status.contains("2 arrays, none degraded"), "{status}");
    machine.must("echo 500000 > /proc/sys/dev/raid/speed_limit_max; mdadm --wait /dev/md0 || true");
    let checked = eventually("its end", || {
        let row = row(aggregator, "md0");
        row["checked_timestamp_seconds"].is_number().then_some(row)
    });
    assert!(checked["sync_action"].is_null(), "{checked}");
    assert!(checked["mismatch_sectors"].is_number(), "{checked}");
}
