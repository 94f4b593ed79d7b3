//! Admin sockets of Ceph daemons: frames, counters, descriptions, names.

use std::fs;
use std::path::Path;

use labstat_model::Kind;
use labstat_parse::ParseError;
use labstat_parse::ceph::{self, CounterKind, Plan, Schema};
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
    let request = b"{\"format\":\"json\",\"prefix\":\"perf dump\"}\0";
    assert_eq!(ceph::request("perf dump"), request);
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

/// Name and value of all samples of a dump, with the labels they have beside their daemon's.
fn samples(schema: Option<&Schema>, dump: &str) -> Vec<(String, f64)> {
    let plan = Plan::new(schema, dump).unwrap();
    let mut values = vec![7.0];
    assert!(plan.read(dump, &mut values).unwrap(), "a dump is written by its own plan");
    assert_eq!(values.len(), plan.series().len());
    let name = |series: &ceph::Series| {
        let labels: Vec<_> = series.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
        match labels.join(",") {
            labels if labels.is_empty() => series.family.name.to_string(),
            labels => format!("{}{{{labels}}}", series.family.name),
        }
    };
    plan.series().iter().map(name).zip(values).collect()
}

fn schema(json: &str) -> Schema {
    let mut schema = Schema::parse(json).unwrap();
    schema.keep_useful();
    schema
}

#[test]
fn counters_of_an_osd() {
    let counters = samples(None, &fixture("asok-osd.0-perf-dump.json"));
    let value = |name: &str| {
        let found = counters.iter().find(|it| it.0 == name);
        found.unwrap_or_else(|| panic!("{name}")).1
    };
    assert_eq!(value("ceph_bluefs_db_total_bytes"), 2_147_483_648.0);
    assert_eq!(value("ceph_AsyncMessenger_Worker_0_msgr_send_messages_queue_lat_count"), 73.0);
    assert_eq!(
        value("ceph_AsyncMessenger_Worker_0_msgr_send_messages_queue_lat_sum"),
        0.003_391_829
    );
    assert!(counters.len() > 500, "{}", counters.len());
    assert!(counters.iter().all(|it| !it.0.ends_with("avgcount") && !it.0.ends_with("avgtime")));
}

#[test]
fn descriptions_of_an_osd() {
    let schema = Schema::parse(&fixture("perf-schema-osd.json")).unwrap();
    let latency = schema.get("osd", "op_r_latency").unwrap();
    assert!(latency.average && latency.time);
    assert_eq!(latency.kind, CounterKind::Counter);
    assert_eq!(schema.get("osd", "op_r").unwrap().kind, CounterKind::Counter);
    let gauge = schema.get("osd", "stat_bytes").unwrap();
    assert_eq!((gauge.kind, gauge.average, gauge.time), (CounterKind::Gauge, false, false));
    // The recording is not of the same moment, but of the same OSD: all is described.
    let dump = fixture("asok-osd.0-perf-dump.json");
    assert_eq!(samples(Some(&schema), &dump), samples(None, &dump));
    let mut useful = schema.clone();
    useful.keep_useful();
    assert!(useful.len() < schema.len() && !useful.is_empty());
    let plan = Plan::new(Some(&useful), &dump).unwrap();
    let about = |name: &str| {
        let found = plan.series().iter().find(|it| it.family.name == name).unwrap();
        (found.family.kind, found.family.help.to_string())
    };
    let words = "Latency of read operation (including queue time)";
    assert_eq!(about("ceph_osd_op_r_latency_sum"), (Kind::Counter, format!("{words} Total")));
    assert_eq!(about("ceph_osd_op_r_latency_count"), (Kind::Counter, format!("{words} Count")));
    assert_eq!(about("ceph_osd_numpg"), (Kind::Gauge, "Placement groups".to_owned()));
}

/// The next dump of the same daemon is read without a new plan; one with another name, another
/// order, more or less of it is not.
#[test]
fn a_plan_reads_what_it_was_made_of_and_nothing_else() {
    let plan =
        Plan::new(None, r#"{"a":{"x":1,"y":{"avgcount":2,"sum":0.5,"avgtime":0.25}},"t":"s"}"#);
    let plan = plan.unwrap();
    let mut values = Vec::new();
    let next =
        r#"{"a":{"x":-1.5,"y":{"avgcount":18446744073709551615,"sum":nan,"avgtime":0}},"t":"u"}"#;
    assert!(plan.read(next, &mut values).unwrap());
    assert_eq!(values[..2], [-1.5, 18_446_744_073_709_551_615.0]);
    assert!(values[2].is_nan(), "a sum that is no number is not known");
    for other in [
        r#"{"a":{"x":1,"z":{"avgcount":2,"sum":0.5,"avgtime":0.25}},"t":"s"}"#,
        r#"{"a":{"y":{"avgcount":2,"sum":0.5,"avgtime":0.25},"x":1},"t":"s"}"#,
        r#"{"a":{"x":1,"y":{"avgcount":2,"sum":0.5,"avgtime":0.25}},"t":"s","u":1}"#,
        r#"{"a":{"x":1,"y":{"avgcount":2,"sum":0.5,"avgtime":0.25}}}"#,
        r#"{"a":{"x":1,"y":{"avgcount":2,"sum":0.5,"avgtime":0.25}},"t":1}"#,
        r#"{"a":[{"x":1}]}"#,
        "{}",
    ] {
        assert!(!plan.read(other, &mut values).unwrap(), "{other}");
    }
    assert!(plan.read(r#"{"a":{"x":1,"#, &mut values).is_err());
}

/// Since Reef: one group of counters for each bucket, image or client.
#[test]
fn counters_with_labels() {
    let group = |labels: &str, counters: &str| {
        format!("{{\"labels\":{{{labels}}},\"counters\":{{{counters}}}}}")
    };
    let about = r#""put_b":{"type":10,"description":"Size of puts","priority":5},"low":{"type":2,"priority":0}"#;
    let schema = schema(&format!(
        "{{\"rgw_op\":[{},{}]}}",
        group("", about),
        group(r#""Bucket":"a""#, about)
    ));
    let op = [
        group("", r#""put_b":1,"low":9"#),
        group(r#""Bucket":"a","User":"","instance":"x""#, r#""put_b":2,"low":9"#),
        group(r#""Bucket":"b\u00e9","User":"u""#, r#""put_b":3,"low":9"#),
    ];
    let dump = format!("{{\"rgw_op\":[{}],\"other\":[]}}", op.join(","));
    assert_eq!(
        samples(Some(&schema), &dump),
        [
            ("ceph_rgw_op_put_b".to_owned(), 1.0),
            ("ceph_rgw_op_put_b{Bucket=a}".to_owned(), 2.0),
            ("ceph_rgw_op_put_b{Bucket=bé,User=u}".to_owned(), 3.0),
        ]
    );
    // A bucket of another name is another dump.
    let plan = Plan::new(Some(&schema), &dump).unwrap();
    assert!(!plan.read(&dump.replace("\"a\"", "\"c\""), &mut Vec::new()).unwrap());
}

/// What stands in a section's name and is a label at Ceph's own exporters.
#[test]
fn zones_and_images_are_labels() {
    let dump = r#"{"data-sync-from-us-east":{"fetch_bytes":{"avgcount":1,"sum":2}},
        "rbd_mirror_image_rbd/ns/vm-1":{"replay_bytes":3},"rbd_mirror_image_rbd/vm-2":{"replay":4},
        "objecter-0x7fe9b4054480":{"op":5},"a.b":{"c":6},"a/b":{"c":7}}"#;
    let names: Vec<String> = samples(None, dump).into_iter().map(|it| it.0).collect();
    assert_eq!(
        names,
        [
            "ceph_data_sync_from_zone_fetch_bytes_count{source_zone=us-east}",
            "ceph_data_sync_from_zone_fetch_bytes_sum{source_zone=us-east}",
            "ceph_rbd_mirror_image_replay_bytes{pool=rbd,image=vm-1,namespace=ns}",
            "ceph_rbd_mirror_image_replay{pool=rbd,image=vm-2}",
            "ceph_a_b_c",
            "ceph_a_b_c",
        ]
    );
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
    let schema = schema(&fixture("perf-schema-osd.json"));
    let ours = samples(Some(&schema), &fixture("asok-osd.0-perf-dump.json"));
    let ours: std::collections::BTreeSet<_> = ours.into_iter().map(|it| it.0).collect();
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
    assert_eq!(found, ours.len(), "and we have nothing that it has not");
}

#[test]
fn other_shapes_are_left_out_or_refused() {
    let dump = r#"{"osd":{"n":{"deep":1},"h":{"axes":[],"values":[[1]]},"t":"x","b":true},"x":3}"#;
    assert_eq!(samples(None, dump), [("ceph_osd_n_deep".to_owned(), 1.0)]);
    let error = |json: &str| Plan::new(None, json).unwrap_err().to_string();
    assert_eq!(error("[]"), "failed to parse perf dump as JSON");
    assert_eq!(error("{"), "failed to parse perf dump as JSON");
    assert!(Plan::new(None, &"{\"a\":".repeat(10_000)).is_err());
    let deep = format!("{}1{}", "{\"a\":".repeat(60), "}".repeat(60));
    assert_eq!(error(&deep), "perf dump has no shape that is known");
    let many: Vec<_> = (0..=ceph::COUNTERS_MAX).map(|n| format!("\"c{n}\":1")).collect();
    let many = format!("{{\"a\":{{{}}}}}", many.join(","));
    assert!(matches!(Plan::new(None, &many), Err(ParseError::Limit { .. })));
    let many = many.replace(":1", ":{\"type\":2}");
    assert!(matches!(Schema::parse(&many), Err(ParseError::Limit { .. })));
    assert!(Schema::parse("[]").is_err());
}

/// Every answer to `perf dump` that was recorded anywhere is read, and by its own plan again.
#[test]
fn all_recorded_dumps_are_read() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures");
    let Ok(states) = fs::read_dir(root.join("ceph-live")) else {
        println!("SKIPPED: {} is not there", root.display());
        return;
    };
    let states = states.map(|state| state.unwrap().path()).filter(|state| state.is_dir());
    let files = states.chain([root.join("ceph")]).flat_map(|dir| fs::read_dir(dir).unwrap());
    let files = files.map(|file| file.unwrap().path());
    let mut seen = 0;
    for file in files.filter(|file| file.to_string_lossy().contains("perf-dump")) {
        let counters = samples(None, &fs::read_to_string(&file).unwrap());
        assert!(counters.len() > 20, "{}: {}", file.display(), counters.len());
        // A manager has one of its counters twice; the first counts.
        let names: std::collections::BTreeSet<_> = counters.iter().map(|it| &it.0).collect();
        let known = counters.iter().filter(|it| !it.1.is_nan()).count();
        assert_eq!(known, names.len(), "{}", file.display());
        seen += 1;
    }
    assert!(seen > 60, "{seen}");
}

/// Those too that Ceph itself wrote of slow operations which are over.
#[test]
fn all_recorded_slow_operations_are_counted() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures/ceph-live");
    let Ok(states) = fs::read_dir(&root) else {
        println!("SKIPPED: {} is not there", root.display());
        return;
    };
    let states = states.map(|state| state.unwrap().path()).filter(|state| state.is_dir());
    let files = states.flat_map(|dir| fs::read_dir(dir).unwrap()).map(|file| file.unwrap().path());
    let mut seen = 0;
    for file in files.filter(|file| file.to_string_lossy().contains("dump_historic_slow_ops")) {
        let past = ceph::past_slow_ops(&fs::read_to_string(&file).unwrap()).unwrap();
        assert_eq!(past.newest_age_seconds.is_some(), past.count > 0, "{}", file.display());
        seen += 1;
    }
    assert!(seen > 30, "{seen}");
}

proptest! {
    #[test]
    fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in "\\PC{0,200}") {
        let _ = ceph::reply(&bytes);
        let _ = Plan::new(None, &text);
        let _ = Schema::parse(&text);
        ceph::metric_name(&text, &text);
    }

    /// Whatever a daemon dumps, the plan made of it reads it, and finds as many numbers.
    #[test]
    fn any_dump_is_read_by_its_plan(
        sections in proptest::collection::btree_map("[a-z-]{1,3}", proptest::collection::btree_map("[a-z]{1,3}", any::<u32>(), 0..4), 0..4),
    ) {
        let dump = serde_json::to_string(&sections).unwrap();
        let mut values = Vec::new();
        prop_assert!(Plan::new(None, &dump).unwrap().read(&dump, &mut values).unwrap());
        prop_assert!(values.iter().all(|value| value.is_finite()));
    }
}
