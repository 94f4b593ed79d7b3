//! Disks with the real binary: samples come in, a verdict comes out, people acknowledge and forget.

use std::path::Path;
use std::process::Output;

use labstat_model::{Clock, Labels, Sample, SystemClock, TimeSeries, WriteRequest, stale_marker};
use labstat_wire::remote_write;

use crate::support::{Labstat, command, eventually, get, post, query};

const SERIAL: &str = "WD-WCC4N1234567";

fn start(data: &Path) -> (Labstat, String) {
    let data = data.to_str().unwrap();
    let mut prepared = command(&["aggregator", "--listen", "127.0.0.1:0", "--data", data]);
    let mut server = Labstat::spawn(prepared.env("LABSTAT_DISKS_INTERVAL", "1s"));
    let base = server.url();
    eventually("ready", || get(&format!("{base}/-/ready")));
    (server, base)
}

/// A round of an agent that has just read its disk; without a number of sectors the disk is gone
/// and its series end.
fn send(base: &str, pending: Option<f64>) {
    let time_ms = SystemClock.now_ms();
    let one = |name: &str, more: &[(&str, &str)], value: f64| {
        let here =
            [("__name__", name), ("instance", "nas"), ("job", "smartctl"), ("device", "sda")];
        let labels = Labels::new(here.into_iter().chain(more.iter().copied()));
        let value = if pending.is_some() { value } else { stale_marker() };
        TimeSeries { labels, samples: vec![Sample { time_ms, value }] }
    };
    let raw = [
        ("attribute_id", "197"),
        ("attribute_name", "Current_Pending_Sector"),
        ("attribute_value_type", "raw"),
    ];
    let who = [("model_name", "WDC WD40EFRX"), ("serial_number", SERIAL), ("protocol", "ATA")];
    let series = vec![
        one("smartctl_device", &who, 1.0),
        one("smartctl_device_smart_status", &[], 1.0),
        one("smartctl_device_rotation_rate", &[], 5400.0),
        one("smartctl_device_power_on_seconds", &[], 158_400_000.0),
        one("smartctl_device_attribute", &raw, pending.unwrap_or_default()),
        one("labstat_smart_state", &[("state", "read")], 1.0),
        #[expect(clippy::cast_precision_loss, reason = "a time of today")]
        one("labstat_smart_last_success_timestamp_seconds", &[], time_ms as f64 / 1000.0),
    ];
    let body = remote_write::encode(&WriteRequest { series, metadata: Vec::new() }).unwrap();
    let headers = [
        ("content-type", remote_write::CONTENT_TYPE),
        ("content-encoding", remote_write::CONTENT_ENCODING),
        (remote_write::VERSION_HEADER.0, remote_write::VERSION_HEADER.1),
    ];
    let answer = post(&format!("{base}/api/v1/write"), &headers, &body);
    assert!(matches!(answer, Ok((204, _))), "{answer:?}");
}

fn labstat(base: &str, arguments: &[&str]) -> Output {
    command(arguments).env("LABSTAT_SERVER", base).env("TZ", "UTC").output().expect("it runs")
}

fn said(base: &str, arguments: &[&str]) -> String {
    let output = labstat(base, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// The only verdict in the history.
fn verdict(base: &str) -> Result<String, String> {
    let rows = query(base, "labstat_disk_verdict")?;
    match rows.as_slice() {
        [(labels, _)] => Ok(labels["verdict"].as_str().unwrap_or_default().to_owned()),
        rows => Err(format!("{rows:?}")),
    }
}

fn becomes(base: &str, wanted: &str) {
    eventually(wanted, || match verdict(base)? {
        found if found == wanted => Ok(()),
        found => Err(found),
    });
}

#[test]
fn from_samples_to_a_verdict_and_what_people_do_about_it() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let (server, base) = start(&data);
    send(&base, Some(0.0));
    becomes(&base, "ok");
    send(&base, Some(80.0));
    becomes(&base, "act");
    let disks = said(&base, &["disks"]);
    assert!(disks.contains("act") && disks.contains("nas") && disks.contains(SERIAL), "{disks}");
    let disk = said(&base, &["disk", "nas/sda"]);
    assert!(disk.starts_with(&format!("WDC WD40EFRX {SERIAL} (nas/sda): act since ")), "{disk}");
    assert!(disk.contains("Current_Pending_Sector"), "{disk}");
    assert!(disk.contains("age            1833d8h"), "{disk}");
    let status = said(&base, &["status"]);
    assert!(status.contains("1 TO REPLACE (nas/sda)"), "{status}");
    // Numbers and times, for whoever draws it elsewhere.
    let json = said(&base, &["disk", SERIAL, "--format", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let pending = json["numbers"].as_array().unwrap();
    let pending = pending.iter().find(|row| row["id"] == 197).expect("it is counted");
    assert_eq!(pending["raw"], 80, "{json:#}");
    let course = pending["history"].as_array().expect("a course");
    assert_eq!(course.last().expect("it ends with now")[1], 80.0, "{json:#}");
    let csv = said(&base, &["disk", SERIAL, "--format", "csv"]);
    assert!(csv.starts_with("id,name,value,worst,threshold,raw,change\n"), "{csv}");

    let ack = said(&base, &["disk", "ack", "nas/sda", "--note", "they are in an old file"]);
    assert!(ack.starts_with(&format!("Acknowledged WDC WD40EFRX {SERIAL} (nas/sda): ")), "{ack}");
    let after = eventually("a milder verdict", || match verdict(&base)? {
        found if found == "act" => Err(found),
        found => Ok(found),
    });
    server.kill();
    let (_server, base) = start(&data);
    send(&base, Some(80.0));
    becomes(&base, &after);
    let disk = said(&base, &["disk", SERIAL]);
    assert!(disk.contains(": they are in an old file"), "{disk}");
    send(&base, Some(160.0));
    becomes(&base, "act");

    let refused = labstat(&base, &["disk", "forget", SERIAL]);
    assert_eq!(refused.status.code(), Some(1), "it still answers: {refused:?}");
    send(&base, None);
    let forgot = eventually("it is forgotten", || {
        let output = labstat(&base, &["disk", "forget", SERIAL]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(output) } else { Err(text) }
    });
    assert!(String::from_utf8_lossy(&forgot.stdout).starts_with("Forgot WDC WD40EFRX"));
    assert_eq!(query(&base, "labstat_disk_verdict").unwrap(), []);
    let unknown = labstat(&base, &["disk", SERIAL]);
    assert_eq!(unknown.status.code(), Some(1));
    let text = String::from_utf8_lossy(&unknown.stderr);
    assert!(text.contains("no disk") && text.contains("labstat disks"), "{text}");
}
