//! Pictures of clusters, healthy and not.

use jiff::tz::TimeZone;

use super::*;
use crate::view::tests::canned;

fn plain(answers: &Answers) -> String {
    text(answers, Format::Table, &Look { colour: false, width: None, zone: TimeZone::UTC })
}

/// Three hosts, three copies; all is well but for a disk that is to be watched.
const HEALTHY: &str = r#"
    now {} 1000
    info {instance="lab",fsid="f",version="18.2.7",reader="apex"} 1
    health {instance="lab"} 0
    reading {instance="lab",source="mon"} 1
    reading {instance="lab",source="mgr"} 1
    read_at {instance="lab",source="mon"} 992
    read_at {instance="lab",source="mgr"} 992
    mon {instance="lab",ceph_daemon="mon.apex"} 1
    mon {instance="lab",ceph_daemon="mon.vertex"} 1
    mon {instance="lab",ceph_daemon="mon.zenith"} 1
    mon_leader {instance="apex",ceph_daemon="mon.apex"} 1
    mgr {instance="lab",ceph_daemon="mgr.apex"} 1
    mgr {instance="lab",ceph_daemon="mgr.zenith"} 0
    up {instance="lab",ceph_daemon="osd.0"} 1
    up {instance="lab",ceph_daemon="osd.1"} 1
    up {instance="lab",ceph_daemon="osd.10"} 1
    in {instance="lab",ceph_daemon="osd.0"} 1
    in {instance="lab",ceph_daemon="osd.1"} 1
    in {instance="lab",ceph_daemon="osd.10"} 1
    osd {instance="lab",ceph_daemon="osd.0",hostname="apex",device="nvme0n1",serial="S0",device_class="ssd"} 1
    osd {instance="lab",ceph_daemon="osd.1",hostname="vertex",device="nvme0n1",serial="S1",device_class="ssd"} 1
    osd {instance="lab",ceph_daemon="osd.10",hostname="zenith",device="nvme0n1",serial="S2",device_class="ssd"} 1
    answers {instance="apex",ceph_daemon="osd.0"} 1
    answers {instance="vertex",ceph_daemon="osd.1"} 1
    answers {instance="zenith",ceph_daemon="osd.10"} 1
    answers {instance="zenith",ceph_daemon="osd.7"} 0
    own_state {instance="apex",ceph_daemon="osd.0",state="active"} 1
    verdict {instance="apex",device="nvme0n1",serial_number="S0",verdict="ok"} 1
    verdict {instance="vertex",device="nvme0n1",serial_number="S1",verdict="watch"} 1
    write {instance="apex",ceph_daemon="osd.0"} 0.004
    write {instance="vertex",ceph_daemon="osd.1"} NaN
    commit_ms {instance="lab",ceph_daemon="osd.0"} 3
    size {instance="lab",ceph_daemon="osd.0"} 1099511627776
    used {instance="lab",ceph_daemon="osd.0"} 549755813888
    pgs {instance="lab",ceph_daemon="osd.0"} 33
    only {instance="lab",ceph_daemon="osd.0"} 4
    degraded {instance="lab"} 0
    misplaced {instance="lab"} 0
    tolerated {instance="lab",domain="osd",until="unavailable"} 1
    tolerated {instance="lab",domain="osd",until="loss"} 2
    tolerated {instance="lab",domain="host",until="unavailable"} 1
    tolerated {instance="lab",domain="host",until="loss"} 2
    pool {instance="lab",pool_id="2",name="vms",description="replica:3"} 1
    stored {instance="lab",pool_id="2"} 107374182400
    objects {instance="lab",pool_id="2"} 25600
    percent {instance="lab",pool_id="2"} 0.31
    avail {instance="lab",pool_id="2"} 214748364800
    quota {instance="lab",pool_id="2"} 115964116992
    reads {instance="lab",pool_id="2"} 12.3456
    writes {instance="lab",pool_id="2"} 0
    write_bytes {instance="lab",pool_id="2"} 2097152
"#;

#[test]
fn a_healthy_cluster() {
    assert_eq!(
        plain(&canned(HEALTHY)),
        "\
lab

AREA      STATE
health    HEALTH_OK
read      8s ago by apex, Ceph 18.2.7
monitors  3 of 3 in quorum, apex leads
managers  apex; zenith stands by
osds      3: 3 up, 3 in
may fail  any one OSD may fail and all data is still served, any 2 OSDs and none is lost; of whole hosts any one and any 2

OSD     HOST    STATE  DISK     SERIAL  CLASS  VERDICT   SIZE  USED  PGS  READ  WRITE  COMMIT  APPLY
osd.1   vertex  up     nvme0n1  S1      ssd    watch        -     -    -     -      -       -      -
osd.0   apex    up     nvme0n1  S0      ssd    ok       1 TiB  50 %   33     -    4ms     3ms      -
osd.10  zenith  up     nvme0n1  S2      ssd    -            -     -    -     -      -       -      -

POOL  KEPT AS    STORED  OBJECTS  USED  AVAILABLE    QUOTA  READS/S  WRITES/S  READ  WRITTEN
vms   3 copies  100 GiB    25600  31 %    200 GiB  108 GiB     12.3         0     -  2 MiB/s
"
    );
}

/// Of `HEALTHY`, but for the lines that begin with one of `without`, and with `more`.
fn changed(without: &[&str], more: &str) -> Answers {
    let is_kept = |line: &&str| !without.iter().any(|start| line.trim().starts_with(start));
    let lines: Vec<&str> = HEALTHY.lines().filter(is_kept).collect();
    canned(&format!("{}\n{more}", lines.join("\n")))
}

/// Each limit by its own name; one that nobody tells is none.
#[test]
fn osds_that_are_too_full() {
    let state = |used: u64, more: &str| {
        let limits = r#"nearfull {instance="lab"} 0.85
            backfillfull {instance="lab"} 0.9
            full {instance="lab"} 0.95"#;
        let size = r#"size {instance="lab",ceph_daemon="osd.0"} 100"#;
        let used = format!(r#"used {{instance="lab",ceph_daemon="osd.0"}} {used}"#);
        let answers = changed(&["size", "used"], &[limits, size, &used, more].join("\n"));
        let text = plain(&answers);
        let row = text.lines().find(|line| line.starts_with("osd.0 ")).unwrap().to_owned();
        row.split("  ").filter(|cell| !cell.is_empty()).nth(2).unwrap().trim().to_owned()
    };
    assert_eq!(state(84, ""), "up");
    assert_eq!(state(85, ""), "up, nearfull");
    assert_eq!(state(90, ""), "up, backfillfull");
    assert_eq!(state(97, ""), "up, full");
    assert_eq!(state(97, r#"in {instance="lab",ceph_daemon="osd.0"} 0"#), "up, full");
}

#[test]
fn who_serves_the_files() {
    let files = |more: &str| {
        let text = plain(&changed(&[], more));
        let line = text.lines().find(|line| line.starts_with("files "));
        line.map(|line| line.trim_start_matches("files").trim().to_owned())
    };
    let both = r#"
        mds {instance="lab",ceph_daemon="mds.a",filesystem="iso",state="up:active"} 1
        mds {instance="lab",ceph_daemon="mds.b",state="up:standby"} 1
        ranks {instance="lab",filesystem="iso"} 1
        served {instance="lab",filesystem="iso"} 1"#;
    assert_eq!(files(""), None);
    assert_eq!(files(both).as_deref(), Some("iso is served: a; b stands by"));
    let without = |line: &str| both.lines().filter(|it| !it.contains(line)).collect::<Vec<_>>();
    assert_eq!(files(&without("served").join("\n")), None, "nobody knows");
    let gone = r#"
        served {instance="lab",filesystem="iso"} 0
        laggy {instance="lab",ceph_daemon="mds.a"} 1
        laggy {instance="lab",ceph_daemon="mds.b"} 1"#;
    let gone = without("served").join("\n") + gone;
    assert_eq!(files(&gone).as_deref(), Some("iso is not served: a does not answer"));
    let none = r#"ranks {instance="lab",filesystem="iso"} 1
        served {instance="lab",filesystem="iso"} 0"#;
    assert_eq!(files(none).as_deref(), Some("iso is not served"));
    let shut = none.replacen("} 1", "} 0", 1);
    assert_eq!(files(&shut).as_deref(), Some("iso is shut down"));
}

#[test]
fn an_osd_that_is_down_with_reasons_recovery_and_what_must_not_fail_now() {
    let answers = changed(
        &[
            "health",
            "degraded",
            "misplaced",
            "tolerated",
            "up {instance=\"lab\",ceph_daemon=\"osd.1\"}",
        ],
        r#"
        health {instance="lab"} 1
        up {instance="lab",ceph_daemon="osd.1"} 0
        answers {instance="vertex",ceph_daemon="osd.1"} 0
        check {instance="lab",name="OSD_DOWN",severity="HEALTH_WARN",muted="false"} 1
        check {instance="lab",name="OSD_ON_FIRE",severity="HEALTH_ERR",muted="false"} 1
        check {instance="lab",name="OSDMAP_FLAGS",severity="HEALTH_WARN",muted="true"} 1
        check_count {instance="lab",name="OSD_DOWN"} 1
        flag {instance="lab",__name__="ceph_osd_flag_nodeep_scrub"} 1
        flag {instance="lab",__name__="ceph_osd_flag_noout"} 1
        degraded {instance="lab"} 19200
        misplaced {instance="lab"} 0
        most_wrong {instance="lab"} 25600
        recovered {instance="lab"} 120
        read {instance="vertex",ceph_daemon="osd.1"} 0.002
        commit_ms {instance="lab",ceph_daemon="osd.1"} 7
        recovered_bytes {instance="lab"} 8388608
        remaining {instance="lab"} 160
        only {instance="lab",ceph_daemon="osd.10"} 2
        tolerated {instance="lab",domain="osd",until="unavailable"} 0
        tolerated {instance="lab",domain="osd",until="loss"} 1
        "#,
    );
    let text = plain(&answers);
    let (glance, rest) = text.split_once("\n\nCHECK").unwrap();
    assert_eq!(
        glance,
        "\
lab

AREA         STATE
health       HEALTH_WARN
read         8s ago by apex, Ceph 18.2.7
monitors     3 of 3 in quorum, apex leads
managers     apex; zenith stands by
osds         3: 2 up, 3 in
data         19200 copies are missing (25 %)
recovery     25 % done, 120 objects/s, 8 MiB/s, 2m40s left at this speed
may fail     no OSD may fail without data standing still until it is back; any one OSD may, and none is lost
last copies  lie on osd.0 (4 PGs), osd.10 (2 PGs): do not restart or take out
flags        nodeep-scrub, noout"
    );
    assert_eq!(
        rest.split_once("\n\n").unwrap().0,
        "         SEVERITY        COUNT  MEANING
OSD_ON_FIRE   error               -  -
OSD_DOWN      warning             1  OSDs are down
OSDMAP_FLAGS  warning, muted      -  flags hold back what Ceph would do by itself"
    );
    // The rate of five minutes and Ceph's last figure are of a time when it ran.
    let osd = rest.lines().find(|line| line.starts_with("osd.1 ")).unwrap();
    assert!(!osd.contains("ms"), "{osd}");
    assert!(osd.contains("vertex") && osd.contains("down"), "{osd}");
    assert!(
        !rest.contains("osd.7"),
        "a socket that was left behind is no OSD of the cluster: {rest}"
    );
}

#[test]
fn what_nobody_can_say_is_not_said() {
    // The manager has gone: what it counts is absent, and that is told.
    let answers = changed(
        &[
            "reading {instance=\"lab\",source=\"mgr\"",
            "read_at {instance=\"lab\",source=\"mgr\"",
            "degraded",
            "misplaced",
            "tolerated",
            "size",
            "used",
            "pgs",
            "mgr",
            "stored",
        ],
        r#"
        reading {instance="lab",source="mgr"} 0
        read_at {instance="lab",source="mgr"} 880
        "#,
    );
    let text = plain(&answers);
    assert!(
        text.contains("manager   does not answer; last answer 2m ago: usage, placement groups and recovery are unknown\n"),
        "{text}"
    );
    assert!(!text.contains("may fail") && !text.contains("data "), "{text}");
    let pool = text.lines().find(|line| line.starts_with("vms")).unwrap();
    assert!(!pool.contains("12.3") && !pool.contains("MiB/s"), "{pool}");

    // No monitor answers: the OSDs speak for themselves.
    let gone = [
        "health",
        "reading",
        "read_at",
        "mon",
        "mgr",
        "up",
        "in",
        "info",
        "tolerated",
        "degraded",
        "misplaced",
    ];
    let answers = changed(
        &gone,
        r#"
        reading {instance="lab",source="mon"} 0
        read_at {instance="lab",source="mon"} 700
        mon_own {instance="apex",ceph_daemon="mon.apex"} 0
        "#,
    );
    let text = plain(&answers);
    for line in [
        "health    unknown\n",
        "read      the monitors do not answer; last answer 5m ago: health and OSDs are unknown\n",
        "monitors  not in quorum, by their own word: apex\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
    let osd = text.lines().find(|line| line.starts_with("osd.0 ")).unwrap();
    assert!(osd.contains("runs") && osd.contains("S0"), "{osd}");

    // Nobody reads: all that is known is how long ago that was.
    let answers = canned("now {} 1000\nread_at {instance=\"lab\",source=\"mon\"} 400");
    assert_eq!(
        plain(&answers),
        "lab\n\nAREA    STATE\nhealth  unknown\n\
         read    nobody reads this cluster; last answer 10m ago: no monitor leads where an agent runs\n"
    );
}

/// Of four monitors three are a quorum, and two are none.
#[test]
fn the_last_quorum_of_monitors() {
    let line = |more: &[&str]| {
        let mons = more.iter().map(|mon| {
            let (name, is_there) = mon.split_once(' ').unwrap();
            format!(r#"mon {{instance="lab",ceph_daemon="mon.{name}"}} {is_there}"#)
        });
        let text = plain(&changed(&[], &mons.collect::<Vec<_>>().join("\n")));
        text.lines().find(|line| line.starts_with("monitors")).unwrap().to_owned()
    };
    let last = "; when one more goes, the cluster stands still";
    assert!(line(&["d 0"]).ends_with(&format!("3 of 4 in quorum, apex leads; out: d{last}")));
    assert!(line(&["d 1", "e 0"]).ends_with("4 of 5 in quorum, apex leads; out: e"));
    assert!(line(&["d 0", "e 0"]).ends_with(last), "three of five");
}

#[test]
fn daemons_whose_cluster_was_never_read() {
    let answers = canned(
        r#"
        answers {instance="apex",ceph_daemon="mon.a"} 1
        answers {instance="apex",ceph_daemon="osd.0"} 1
        answers {instance="apex",ceph_daemon="osd.1"} 0
        own_state {instance="apex",ceph_daemon="osd.0",state="booting"} 1
        "#,
    );
    let text = plain(&answers);
    assert!(text.starts_with("Ceph (its cluster is not read)\n"), "{text}");
    let line = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap();
    assert!(line("osd.0").contains("apex  runs (booting)"), "{text}");
    assert!(line("osd.1").contains("does not answer"), "{text}");
    assert_eq!(plain(&canned("now {} 5")), NONE);
}

#[test]
fn two_clusters_keep_their_daemons_apart() {
    let second = HEALTHY
        .replace("instance=\"lab\"", "instance=\"other\"")
        .replace("hostname=\"apex\"", "hostname=\"delta\"")
        .replace("instance=\"apex\"", "instance=\"delta\"")
        .replace("} 0.004", "} 0.9");
    let answers = canned(&format!("{HEALTHY}\n{second}"));
    let text = plain(&answers);
    let osds: Vec<&str> = text.lines().filter(|line| line.starts_with("osd.0 ")).collect();
    assert!(osds[0].contains("apex") && osds[0].contains(" 4ms"), "{}", osds[0]);
    assert!(osds[1].contains("delta") && osds[1].contains(" 900ms"), "{}", osds[1]);
    let csv = super::text(&answers, Format::Csv, &crate::view::look());
    assert_eq!(csv.lines().filter(|line| line.starts_with("other,osd.")).count(), 3, "{csv}");
    assert_eq!(in_short(&answers), Some((Tone::Good, "lab HEALTH_OK; other HEALTH_OK".to_owned())));
}

#[test]
fn the_disk_under_an_osd_by_what_its_node_sees_and_how_much_is_moved() {
    let answers = changed(
        &["verdict"],
        r#"
        use {instance="apex",device="sda",kind="ceph_osd",name="osd.0"} 1
        use {instance="apex",device="sdb",kind="ceph_osd",name="osd.0"} 1
        verdict {instance="apex",device="sda",serial_number="A",verdict="ok"} 1
        verdict {instance="apex",device="sdb",serial_number="B",verdict="act"} 1
        verdict {instance="apex",device="nvme0n1",serial_number="S9",verdict="dead"} 1
        verdict {instance="other",device="nvme0n1",serial_number="S1",verdict="dead"} 1
        pgs_most {instance="lab",ceph_daemon="osd.0"} 100
        "#,
    );
    let json: Value =
        serde_json::from_str(&text(&answers, Format::Json, &crate::view::look())).unwrap();
    let osd = |name: &str| {
        let osds = json[0]["osds"].as_array().unwrap();
        osds.iter().find(|osd| osd["osd"] == name).unwrap().clone()
    };
    assert_eq!(osd("osd.0")["verdict"], "act", "the worst of those it stands on");
    assert_eq!(osd("osd.0")["device"], "sdb");
    assert_eq!(osd("osd.0")["moved_ratio"], 0.67);
    assert_eq!(osd("osd.1")["verdict"], "dead", "by its serial number, wherever it is");
    assert_eq!(
        osd("osd.10")["verdict"],
        Value::Null,
        "a disk of the same name elsewhere is another"
    );
    assert_eq!(json[0]["health"], "HEALTH_OK");
    assert_eq!(json[0]["readings"]["mon"]["age_seconds"], 8.0);
    assert_eq!(json[0]["failures_tolerated"]["host"]["loss"], 2.0);
}

#[test]
fn states_that_are_more_than_up_and_down() {
    let base = [
        "up {instance=\"lab\",ceph_daemon=\"osd.0\"",
        "in {instance=\"lab\",ceph_daemon=\"osd.0\"",
        "answers {instance=\"apex\"",
        "own_state",
    ];
    for (more, wanted) in [
        (
            "up {instance=\"lab\",ceph_daemon=\"osd.0\"} 1\nanswers {instance=\"apex\",ceph_daemon=\"osd.0\"} 0",
            "up, does not answer",
        ),
        (
            "up {instance=\"lab\",ceph_daemon=\"osd.0\"} 1\nin {instance=\"lab\",ceph_daemon=\"osd.0\"} 0",
            "up, out",
        ),
        (
            "up {instance=\"lab\",ceph_daemon=\"osd.0\"} 0\nin {instance=\"lab\",ceph_daemon=\"osd.0\"} 0",
            "down, out",
        ),
        (
            "destroyed {instance=\"lab\",ceph_daemon=\"osd.0\"} 1\nup {instance=\"lab\",ceph_daemon=\"osd.0\"} 0",
            "destroyed",
        ),
        (
            "answers {instance=\"apex\",ceph_daemon=\"osd.0\"} 1\nup {instance=\"lab\",ceph_daemon=\"osd.0\"} 0\nown_state {instance=\"apex\",ceph_daemon=\"osd.0\",state=\"waiting_for_healthy\"} 1",
            "down (waiting_for_healthy)",
        ),
        ("", "unknown"),
    ] {
        let answers = changed(&base, more);
        let json: Value =
            serde_json::from_str(&text(&answers, Format::Json, &crate::view::look())).unwrap();
        let osds = json[0]["osds"].as_array().unwrap();
        let osd = osds.iter().find(|osd| osd["osd"] == "osd.0").unwrap();
        assert_eq!(osd["state"], wanted);
    }
}
