//! Disks as the API tells of them: from samples to a verdict, its acknowledgement, silence.

use std::sync::Arc;

use labstat_aggregator::Config;
use labstat_model::{Clock, ManualClock, TimeSeries};
use serde_json::{Value, json};

use super::support::{Server, eventually, series};

const START_MS: i64 = 1_700_000_000_000;
const MINUTE_MS: i64 = 60_000;
const DISKS: &str = "/api/labstat/v1/disks";

fn server(clock: &Arc<ManualClock>) -> Server {
    Server::with(often, Arc::<ManualClock>::clone(clock))
}

fn often(config: &mut Config) {
    config.disks_interval_ms = 20;
    config.presence_interval_ms = 20;
}

/// A round of an agent that has just read its disk, which has replaced some sectors.
fn round(now_ms: i64, sectors: f64) -> Vec<TimeSeries> {
    let one = |name: &str, more: &[(&str, &str)], value: f64| {
        let mut labels =
            vec![("__name__", name), ("instance", "nas"), ("job", "smartctl"), ("device", "sda")];
        labels.extend(more);
        series(&labels, &[(now_ms, value)])
    };
    let attribute = |id, name, kind, value| {
        let labels = [
            ("attribute_id", id),
            ("attribute_name", name),
            ("attribute_value_type", kind),
            ("attribute_flags_long", "prefailure"),
        ];
        one("smartctl_device_attribute", &labels, value)
    };
    let who = [
        ("model_name", "WDC WD40EFRX-68WT0N0"),
        ("serial_number", "WD-WCC4N1234567"),
        ("protocol", "ATA"),
    ];
    #[expect(clippy::cast_precision_loss, reason = "a time of today")]
    let read = now_ms as f64 / 1000.0;
    vec![
        one("smartctl_device", &who, 1.0),
        one("smartctl_device_smart_status", &[], 1.0),
        one("smartctl_device_rotation_rate", &[], 5400.0),
        one("labstat_smart_state", &[("state", "read"), ("reason", "")], 1.0),
        one("labstat_smart_read_success", &[], 1.0),
        one("labstat_smart_last_success_timestamp_seconds", &[], read),
        attribute("5", "Reallocated_Sector_Ct", "raw", sectors),
        attribute("5", "Reallocated_Sector_Ct", "value", 200.0),
        attribute("5", "Reallocated_Sector_Ct", "thresh", 140.0),
    ]
}

fn disk(server: &Server) -> Value {
    server.get(&format!("{DISKS}/WD-WCC4N1234567")).json()["data"].clone()
}

/// Waits until the disk is of this verdict.
fn verdict(server: &Server, wanted: &str) -> Value {
    eventually("the verdict", || {
        let disk = disk(server);
        if disk["verdict"] == json!(wanted) { Ok(disk) } else { Err(disk.to_string()) }
    })
}

/// The verdicts that are in the store at `at_ms`.
fn told(server: &Server, at_ms: i64) -> Vec<String> {
    let found = server.query("labstat_disk_verdict", &(at_ms / 1000 + 1).to_string());
    let found = found.as_array().cloned().unwrap_or_default();
    let text = |it: &Value| it["metric"]["verdict"].as_str().unwrap_or_default().to_owned();
    found.iter().map(text).collect()
}

#[test]
fn a_disk_is_judged_acknowledged_and_known_after_a_restart() {
    let clock = Arc::new(ManualClock::new(START_MS));
    let running = server(&clock);
    running.write(&round(START_MS, 0.0));
    let found = verdict(&running, "ok");
    assert_eq!((&found["instance"], &found["device"]), (&json!("nas"), &json!("sda")));
    assert_eq!(found["state"], "read");
    // Many sectors at once.
    clock.set_ms(START_MS + 5 * MINUTE_MS);
    running.write(&round(clock.now_ms(), 2_000.0));
    let found = eventually("a reason", || {
        let disk = disk(&running);
        if disk["verdict"] == json!("ok") { Err(disk.to_string()) } else { Ok(disk) }
    });
    let bad = found["verdict"].as_str().unwrap().to_owned();
    assert!(["watch", "act"].contains(&&*bad), "{found}");
    assert!(found["reasons"][0]["evidence"][0]["value"] == json!(2_000), "{found}");
    eventually("one verdict in the store", || {
        let told = told(&running, clock.now_ms());
        if told == [bad.clone()] { Ok(()) } else { Err(format!("{told:?}")) }
    });
    let described = running.get("/api/v1/metadata?metric=labstat_disk_verdict").json();
    assert_eq!(described["data"]["labstat_disk_verdict"][0]["type"], "gauge", "{described}");
    let reason = running.query("labstat_disk_reason", &(clock.now_ms() / 1000 + 1).to_string());
    let reason = &reason[0]["metric"];
    assert_eq!(reason["code"], found["reasons"][0]["code"]);
    assert!(!reason["reason"].as_str().unwrap().contains(|c: char| c.is_ascii_digit()), "{reason}");
    let number =
        running.query("labstat_disk_finding_value", &(clock.now_ms() / 1000 + 1).to_string());
    assert_eq!(number[0]["value"][1], "2000", "{number}");
    assert_eq!(number[0]["metric"]["disk"], "WD-WCC4N1234567", "{number}");
    let answer = running.post(
        &format!("{DISKS}/nas/sda/ack"),
        &[("content-type", "application/json")],
        br#"{"note": "scrubbed, all is well"}"#,
    );
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = answer.json()["data"].clone();
    assert_eq!(seen["acknowledged"]["note"], "scrubbed, all is well");
    let after = seen["verdict"].as_str().unwrap();
    assert!(after == "ok" || after == "watch" && bad == "act", "at once: {seen}");
    // Killed or stopped, it is known.
    let after = after.to_owned();
    let dir = running.stop();
    clock.set_ms(START_MS + 6 * MINUTE_MS);
    let running = Server::within(dir, often, Arc::<ManualClock>::clone(&clock));
    let found = verdict(&running, &after);
    assert_eq!(found["acknowledged"]["note"], "scrubbed, all is well");
    assert_eq!(running.get(DISKS).json()["data"].as_array().unwrap().len(), 1);
    let metrics = running.get("/metrics").text();
    assert!(metrics.contains(&format!("labstat_disks{{verdict=\"{after}\"}} 1")), "{metrics}");
}

#[test]
fn a_disk_that_is_missing_is_told_and_can_be_forgotten() {
    let clock = Arc::new(ManualClock::new(START_MS));
    let server = server(&clock);
    server.write(&round(START_MS, 0.0));
    verdict(&server, "ok");
    let refused = server.request("DELETE", &format!("{DISKS}/nas/sda"), &[], b"");
    assert_eq!((refused.status, refused.json()["errorType"].clone()), (400, json!("bad_data")));
    let up = [("__name__", "up"), ("instance", "nas"), ("job", "node")];
    let found = eventually("silence", || {
        // The node goes on, its disk does not. A jump would be one of the clock and no silence.
        clock.advance_ms(MINUTE_MS);
        server.write(&[series(&up, &[(clock.now_ms(), 1.0)])]);
        let disk = disk(&server);
        if disk["verdict"] == json!("silent") { Ok(disk) } else { Err(disk.to_string()) }
    });
    let text = found["reasons"][0]["text"].as_str().unwrap();
    assert!(text.starts_with("Serial WD-WCC4N1234567 on nas last answered "), "{text}");
    let seconds = || {
        let at = (clock.now_ms() / 1000 + 1).to_string();
        server.query("labstat_disk_silent_seconds", &at)[0]["value"][1].clone()
    };
    eventually("its silence in the store", || {
        let told: f64 = seconds().as_str().unwrap_or_default().parse().unwrap_or_default();
        if told >= 1_800.0 { Ok(()) } else { Err(told.to_string()) }
    });
    let forgotten = server.request("DELETE", &format!("{DISKS}/wd-wcc4n1234567"), &[], b"");
    assert_eq!(forgotten.status, 200, "{}", forgotten.text());
    assert!(forgotten.json()["data"]["retired"].is_string());
    assert_eq!(server.get(DISKS).json()["data"], json!([]));
    assert_eq!(seconds(), Value::Null);
    assert!(told(&server, clock.now_ms()).is_empty());
    let again = server.request("DELETE", &format!("{DISKS}/WD-WCC4N1234567"), &[], b"");
    assert_eq!((again.status, again.json()["errorType"].clone()), (404, json!("not_found")));
    // It is plugged in again.
    clock.advance_ms(MINUTE_MS);
    server.write(&round(clock.now_ms(), 0.0));
    verdict(&server, "ok");
}

/// A dead disk that stays plugged in for now.
#[test]
fn a_forgotten_disk_that_goes_on_failing_is_not_told_again() {
    let clock = Arc::new(ManualClock::new(START_MS));
    let server = server(&clock);
    server.write(&round(START_MS, 0.0));
    verdict(&server, "ok");
    let fail = || {
        clock.advance_ms(MINUTE_MS);
        let mut round = round(clock.now_ms(), 0.0);
        round.retain(|it| {
            ["labstat_smart_state", "smartctl_device"].contains(&it.labels.metric_name())
        });
        let state = [("state", "failed"), ("reason", "timeout")];
        for it in &mut round {
            if it.labels.metric_name() == "labstat_smart_state" {
                let here = [("instance", "nas"), ("job", "smartctl"), ("device", "sda")];
                let named = [("__name__", "labstat_smart_state")].into_iter().chain(here);
                *it = series(&named.chain(state).collect::<Vec<_>>(), &[(clock.now_ms(), 1.0)]);
            }
        }
        server.write(&round);
    };
    eventually("it is dead", || {
        fail();
        let disk = disk(&server);
        if disk["verdict"] == json!("dead") { Ok(()) } else { Err(disk.to_string()) }
    });
    let forgotten = server.request("DELETE", &format!("{DISKS}/nas/sda"), &[], b"");
    assert_eq!(forgotten.status, 200, "{}", forgotten.text());
    for _ in 0..5 {
        fail();
        // A look that has heard of it at the latest when another disk of the same round is judged.
        let other = ("serial_number", format!("OTHER{}", clock.now_ms()));
        let labels = [
            ("__name__", "smartctl_device"),
            ("instance", "nas"),
            ("job", "smartctl"),
            ("device", "sdb"),
            ("model_name", "WDC"),
            (other.0, &other.1),
        ];
        server.write(&[series(&labels, &[(clock.now_ms(), 1.0)])]);
        eventually("the next look", || {
            let list = server.get(DISKS).json()["data"].to_string();
            if list.contains(&other.1) { Ok(()) } else { Err(list) }
        });
        let list = server.get(DISKS).json()["data"].to_string();
        assert!(!list.contains("WD-WCC4N1234567"), "{list}");
    }
    clock.advance_ms(MINUTE_MS);
    server.write(&round(clock.now_ms(), 0.0));
    eventually("it is read and back", || {
        let disk = disk(&server);
        if disk["state"] == json!("read") { Ok(()) } else { Err(disk.to_string()) }
    });
}

/// What is acknowledged is on disk when the answer is there, and otherwise the answer says so.
#[test]
fn what_cannot_be_put_down_is_an_error_and_is_tried_again() {
    let clock = Arc::new(ManualClock::new(START_MS));
    let server = server(&clock);
    server.write(&round(START_MS, 16.0));
    eventually("the disk is judged", || {
        let answer = server.get(&format!("{DISKS}/sda")).json();
        let code = answer["data"]["reasons"][0]["code"].as_str();
        let judged = code.is_some_and(|code| !["not_read", "not_judged"].contains(&code));
        if judged { Ok(()) } else { Err(answer.to_string()) }
    });
    let store = rusqlite::Connection::open(server.dir.path().join("data/labstat.db")).unwrap();
    store.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    let refuse =
        "CREATE TRIGGER full BEFORE INSERT ON documents BEGIN SELECT RAISE(ABORT, 'no'); END";
    store.execute_batch(refuse).unwrap();
    let answer = server.post_form(&format!("{DISKS}/sda/ack"), "note=seen");
    assert_eq!((answer.status, answer.json()["errorType"].clone()), (500, json!("internal")));
    assert!(answer.text().contains("not after a restart"), "{}", answer.text());
    store.execute_batch("DROP TRIGGER full").unwrap();
    let kept = || -> Vec<u8> {
        let query = "SELECT document FROM documents WHERE key = 'disks'";
        store.query_row(query, [], |row| row.get(0)).unwrap_or_default()
    };
    eventually("the next look puts it down", || {
        clock.advance_ms(1_000);
        let kept = String::from_utf8_lossy(&kept()).into_owned();
        if kept.contains("\"seen\"") { Ok(()) } else { Err(kept) }
    });
}

#[test]
fn what_cannot_be_asked_is_refused_in_the_usual_words() {
    let clock = Arc::new(ManualClock::new(START_MS));
    let server = server(&clock);
    let unknown = server.get(&format!("{DISKS}/nas/sda"));
    assert_eq!((unknown.status, unknown.json()["errorType"].clone()), (404, json!("not_found")));
    let error = unknown.json()["error"].as_str().unwrap().to_owned();
    assert!(error.contains("nas/sda") && error.contains("`labstat disks`"), "{error}");
    server.write(&round(START_MS, 0.0));
    verdict(&server, "ok");
    let path = server.post(&format!("{DISKS}/nas/sda"), &[], b"");
    assert_eq!(path.status, 404, "{}", path.text());
    for body in [&b"{\"note\": 7}"[..], b"{\"remark\": \"x\"}", &vec![b'x'; 70_000]] {
        let answer = server.post(&format!("{DISKS}/nas/sda/ack"), &[], body);
        assert_eq!(answer.status, 400, "{}", answer.text());
    }
    let long = format!("note={}", "x".repeat(1_001));
    let answer = server.post_form(&format!("{DISKS}/nas/sda/ack"), &long);
    assert_eq!(answer.status, 400, "{}", answer.text());
    let answer = server.post_form(&format!("{DISKS}/nas/sda/ack"), "note=all+right");
    assert_eq!(answer.json()["data"]["acknowledged"]["note"], "all right", "{}", answer.text());
}

/// A stock exporter says nothing of how its reading went, and is believed all the same.
#[test]
fn a_stock_exporter_gets_verdicts_too() {
    let clock = Arc::new(ManualClock::new(START_MS));
    let server = server(&clock);
    let mut round = round(START_MS, 0.0);
    round.retain(|it| !it.labels.metric_name().starts_with("labstat_"));
    let failing = |it: &mut TimeSeries| {
        if it.labels.metric_name() == "smartctl_device_smart_status" {
            it.samples[0].value = 0.0;
        }
    };
    round.iter_mut().for_each(failing);
    server.write(&round);
    let found = verdict(&server, "act");
    assert_eq!(found["reasons"][0]["code"], "smart_failed");
}
