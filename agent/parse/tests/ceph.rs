//! Admin sockets of Ceph daemons: frames, counters, descriptions, names.

#![expect(clippy::unwrap_used, reason = "a test that fails may stop")]

use std::fs;
use std::path::Path;

use labstat_parse::ParseError;
use labstat_parse::ceph::{self, CounterKind, Value};
use proptest::prelude::*;

fn fixture(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/ceph");
    fs::read_to_string(root.join(name)).unwrap()
}

fn frame(body: &str) -> Vec<u8> {
    let mut frame = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    frame.extend(body.as_bytes());
    frame
}

#[test]
fn a_request_ends_in_a_zero_byte() {
    assert_eq!(ceph::request("perf dump"), b"{\"prefix\":\"perf dump\"}\0");
}

#[test]
fn a_reply_is_as_long_as_it_says() {
    assert_eq!(ceph::reply(&frame("{}")).unwrap(), "{}");
    let cut = &frame("{\"a\":1}")[..8];
    assert_eq!(ceph::reply(cut).unwrap_err().to_string(), "reply of a Ceph daemon has no end");
    assert_eq!(
        ceph::reply(&[0, 0]).unwrap_err().to_string(),
        "reply of a Ceph daemon has no length"
    );
    assert!(matches!(ceph::reply_len([0xff; 4]), Err(ParseError::Limit { .. })));
}

#[test]
fn an_error_comes_inside_the_frame() {
    let error = ceph::reply(&frame("ERROR: (22) Invalid argument\nunknown command prefix X\n"))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "Ceph daemon answered: (22) Invalid argument unknown command prefix X"
    );
}

#[test]
fn counters_of_an_osd() {
    let counters = ceph::perf_dump(&fixture("asok-osd.0-perf-dump.json")).unwrap();
    let value = |section: &str, name: &str| {
        let found = counters.iter().find(|it| it.section == section && it.name == name);
        found.unwrap_or_else(|| panic!("{section} {name}")).value
    };
    assert_eq!(value("bluefs", "db_total_bytes"), Value::Number(2_147_483_648.0));
    let average = Value::Average { count: 73, sum: 0.003_391_829 };
    assert_eq!(value("AsyncMessenger::Worker-0", "msgr_send_messages_queue_lat"), average);
    assert!(counters.len() > 500, "{}", counters.len());
    assert!(counters.iter().all(|it| !it.name.ends_with("avgcount")));
}

#[test]
fn descriptions_of_an_osd() {
    let schema = ceph::perf_schema(&fixture("perf-schema-osd.json")).unwrap();
    let latency = schema.get("osd", "op_r_latency").unwrap();
    assert!(latency.average && latency.time);
    assert_eq!(latency.kind, CounterKind::Counter);
    assert_eq!(schema.get("osd", "op_r").unwrap().kind, CounterKind::Counter);
    let gauge = schema.get("osd", "stat_bytes").unwrap();
    assert_eq!((gauge.kind, gauge.average, gauge.time), (CounterKind::Gauge, false, false));
    for counter in ceph::perf_dump(&fixture("asok-osd.0-perf-dump.json")).unwrap() {
        let described =
            schema.get(&counter.section, &counter.name).unwrap_or_else(|| panic!("{counter:?}"));
        assert_eq!(
            described.average,
            matches!(counter.value, Value::Average { .. }),
            "{counter:?}"
        );
    }
}

#[test]
fn names_are_those_of_cephs_exporter() {
    for (section, name, metric) in [
        ("osd", "op_r_latency", "ceph_osd_op_r_latency"),
        (
            "AsyncMessenger::Worker-0",
            "msgr_recv_bytes",
            "ceph_AsyncMessenger_Worker_0_msgr_recv_bytes",
        ),
        ("a/b", "c.d e+-", "ceph_a_b_c_d_e_plus_minus"),
        ("prioritycache:full", "x", "ceph_prioritycache:full_x"),
    ] {
        assert_eq!(ceph::metric_name(section, name), metric);
    }
}

/// Every counter that the manager of the same cluster exports is one of ours, by the same name.
#[test]
fn names_are_those_the_manager_exports() {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures/ceph-live/healthy");
    let Ok(exported) = fs::read_to_string(root.join("mgr-prometheus-metrics.txt")) else {
        println!("SKIPPED: {} is not there", root.display());
        return;
    };
    let mut ours = std::collections::BTreeSet::new();
    for counter in ceph::perf_dump(&fixture("asok-osd.0-perf-dump.json")).unwrap() {
        let name = ceph::metric_name(&counter.section, &counter.name);
        ours.insert(format!("{name}_sum"));
        ours.insert(format!("{name}_count"));
        ours.insert(name);
    }
    let (mut found, mut missing) = (0, Vec::new());
    for line in exported.lines().filter(|line| line.contains("ceph_daemon=\"osd.0\"")) {
        let name = line.split('{').next().unwrap();
        if ours.contains(name) { found += 1 } else { missing.push(name) }
    }
    // What the manager knows of an OSD from elsewhere than its counters.
    missing.retain(|name| {
        let own = [
            "_metadata",
            "_up",
            "_in",
            "_weight",
            "_latency_ms",
            "disk_occupation",
            "daemon_health",
        ];
        !own.iter().any(|end| name.contains(end))
    });
    assert_eq!(missing, Vec::<&str>::new());
    assert!(found > 150, "{found}");
}

#[test]
fn other_shapes_are_left_out_or_refused() {
    let dump = r#"{"osd":{"n":{"deep":1},"h":{"axes":[],"values":[[1]]},"t":"x","b":true},"x":3}"#;
    let counters = ceph::perf_dump(dump).unwrap();
    assert_eq!(counters.len(), 1);
    assert_eq!((counters[0].name.as_str(), counters[0].value), ("n.deep", Value::Number(1.0)));
    assert_eq!(ceph::perf_dump("[]").unwrap_err().to_string(), "failed to parse perf dump as JSON");
    assert!(ceph::perf_dump(&"{\"a\":".repeat(10_000)).is_err());
    let many: Vec<_> = (0..=ceph::COUNTERS_MAX).map(|n| format!("\"c{n}\":1")).collect();
    let many = format!("{{\"a\":{{{}}}}}", many.join(","));
    assert!(matches!(ceph::perf_dump(&many), Err(ParseError::Limit { .. })));
}

proptest! {
    #[test]
    fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in "\\PC{0,200}") {
        let _ = ceph::reply(&bytes);
        let _ = ceph::perf_dump(&text);
        let _ = ceph::perf_schema(&text);
        ceph::metric_name(&text, &text);
    }
}
