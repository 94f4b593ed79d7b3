//! Reports of smartctl: captured pairs of text and JSON, messages, cut and hostile input, and the
//! captures of other projects where they are at hand.

#![expect(clippy::unwrap_used, reason = "a test that fails may stop")]
#![expect(clippy::print_stdout, reason = "a test says that it was skipped")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use labstat_parse::smartctl::{self, Report};
use proptest::prelude::*;
use serde_json::Value;

/// Our own captures.
fn fixtures(folder: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/smartctl").join(folder);
    let mut files: Vec<_> = fs::read_dir(root).unwrap().map(|it| it.unwrap().path()).collect();
    files.sort();
    files
}

/// Captures of other projects; none when they are not there.
fn captures() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures/smartctl");
    if !root.is_dir() {
        println!("SKIPPED: {} is not there", root.display());
        return Vec::new();
    }
    let (mut files, mut folders) = (Vec::new(), vec![root]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

fn json(input: &[u8]) -> Value {
    let line = smartctl::to_json(input);
    assert!(!line.contains('\n'), "one object a line");
    serde_json::from_str(&line).unwrap()
}

/// Every value of a JSON tree by its path.
fn leaves(value: &Value) -> BTreeMap<String, Value> {
    fn walk(value: &Value, path: &str, out: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(map) => {
                map.iter().for_each(|(key, value)| walk(value, &format!("{path}.{key}"), out));
            }
            Value::Array(list) => {
                let items = list.iter().enumerate();
                items.for_each(|(n, value)| walk(value, &format!("{path}[{n}]"), out));
            }
            leaf => {
                out.insert(path.to_owned(), leaf.clone());
            }
        }
    }
    let mut out = BTreeMap::new();
    walk(value, "", &mut out);
    out
}

fn model(report: &Report) -> &str {
    report.model_name.as_deref().unwrap_or_default()
}

/// What we read from the text of a drive is what smartctl's own JSON says of it in the same
/// minute. Its JSON may say more.
#[test]
fn text_says_what_json_says() {
    let mut pairs = 0;
    for text in fixtures("reports").iter().filter(|path| path.extension().unwrap() == "txt") {
        let ours = leaves(&json(&fs::read(text).unwrap()));
        let theirs = leaves(&json(&fs::read(text.with_extension("json")).unwrap()));
        for (path, value) in &ours {
            // Keys of other versions than the one that was captured, and the minute.
            let elsewhere = [".model_name", ".temperature.drive_trip", ".local_time.asctime"];
            if elsewhere.contains(&path.as_str()) || path.starts_with(".smartctl.messages") {
                continue;
            }
            assert_eq!(Some(value), theirs.get(path), "{path} of {}", text.display());
        }
        assert!(ours.len() > 20, "{}", text.display());
        pairs += 1;
    }
    assert_eq!(pairs, 5);
}

/// A report may be cut anywhere: what is still there is as it was, and nothing is invented.
#[test]
fn a_cut_report_says_nothing_else() {
    for text in fixtures("reports").iter().filter(|path| path.extension().unwrap() == "txt") {
        let whole = fs::read(text).unwrap();
        let full = leaves(&json(&whole));
        for end in 0..whole.len() {
            for (path, value) in leaves(&json(&whole[..end])) {
                let told = path.starts_with(".smartctl.messages") || path == ".device.protocol";
                if !told {
                    assert_eq!(Some(&value), full.get(&path), "{path}, cut at {end} of {text:?}");
                }
            }
        }
    }
}

/// smartctl's own words why there is no report come out as messages, from text as from JSON.
#[test]
fn messages_are_kept() {
    for path in fixtures("messages") {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let report = smartctl::parse(&fs::read(&path).unwrap());
        let messages = report.smartctl.unwrap().messages.unwrap_or_default();
        let said =
            |words: &str| messages.iter().any(|it| it.string.as_deref().unwrap().contains(words));
        let words = match name.split('.').next().unwrap().trim_end_matches("-json") {
            "scan" if messages.is_empty() => continue,
            "scan" => "the input is empty",
            "version" => "printed its version and no report",
            "bad-option" => "=======> UNRECOGNIZED OPTION: frobnicate",
            "no-such-device" => "/dev/sdzz failed: No such device",
            "permission-denied" | "virtio-unknown-type" => "/dev/vda: Unable to detect device type",
            _ => "failed: Operation not permitted",
        };
        assert!(said(words), "{name}: {messages:?}");
        assert!(messages.iter().any(|it| it.severity.as_deref() == Some("error")), "{name}");
    }
}

#[test]
fn a_sleeping_drive_has_a_power_mode_and_nothing_else() {
    let text = b"smartctl 7.4 2023-08-01 r5530 [x86_64-linux] (local build)\n\nDevice is in STANDBY mode, exit(2)\n";
    let report = smartctl::parse(text);
    assert_eq!(report.power_mode.unwrap().name.as_deref(), Some("STANDBY"));
    assert_eq!((report.temperature, report.device), (None, None));
}

#[test]
fn a_disk_of_version_5() {
    let text = b"smartctl version 5.38 [i686-redhat-linux-gnu] Copyright (C) 2002-8 Bruce Allen\n\
        Device: SEAGATE  ST3300655LW      Version: 0003\n\
        Serial number: 3LM0ABCD\n\
        SMART Health Status: FAILURE PREDICTION THRESHOLD EXCEEDED [asc=5d, ascq=0]\n\
        Current Drive Temperature:     36 C\n\
        Elements in grown defect list: 7\n\
        \x20 number of hours powered up = 11343.27\n";
    let report = smartctl::parse(text);
    assert_eq!(report.smartctl.as_ref().unwrap().version, Some(vec![5, 38]));
    assert_eq!(model(&report), "SEAGATE ST3300655LW");
    assert_eq!(report.scsi_revision.as_deref(), Some("0003"));
    assert_eq!(report.smart_status.unwrap().passed, Some(false));
    assert_eq!(report.scsi_grown_defect_list, Some(7));
    assert_eq!(report.power_on_time.unwrap().hours, Some(11343));
}

#[test]
fn lines_before_the_report_are_passed_over() {
    let text = b"[sudo] password for me: \r\nroot@x:~# smartctl -a /dev/sda\r\n\
        smartctl 7.2 2020-12-30 r5155 [x86_64-linux] (local build)\r\n\
        Device Model:     Disk\xae 1\r\n";
    let report = smartctl::parse(text);
    assert_eq!(model(&report), "Disk® 1");
    let json = b"+ smartctl --json -i /dev/sda\n{\"smartctl\":{\"version\":[7,2]},\"model_name\":\"Disk 1\"}\n";
    assert_eq!(model(&smartctl::parse(json)), "Disk 1");
}

#[test]
fn of_two_reports_the_first_is_read() {
    let banner = "smartctl 7.2 2020-12-30 r5155 [x86_64-linux] (local build)\n";
    let text = format!("{banner}Device Model:     One\n{banner}Serial Number:    Two\n");
    let report = smartctl::parse(text.as_bytes());
    assert_eq!((model(&report), &report.serial_number), ("One", &None));
}

/// JSON goes out as it came, unknown keys, order and huge numbers included.
#[test]
fn json_passes_through() {
    let json = b"{ \"smartctl\": {\"version\": [7, 9]},\n \"new_key\": [1, \"a \\\" b\"],\n \"huge\": 340282366920938463463374607431768211455 }\ntrailing";
    assert_eq!(
        smartctl::to_json(json),
        r#"{"smartctl":{"version":[7,9]},"new_key":[1,"a \" b"],"huge":340282366920938463463374607431768211455}"#
    );
}

#[test]
fn a_fact_of_the_wrong_kind_costs_nothing_but_itself() {
    let json = br#"{"smartctl":{"exit_status":"4"},"temperature":[1],"power_cycle_count":{"a":1},
        "serial_number":12,"rotation_rate":-1,"ata_smart_attributes":{"table":[1,{"id":5}]}}"#;
    let report = smartctl::parse(json);
    assert_eq!(report.smartctl.unwrap().exit_status, Some(4));
    assert_eq!(
        (report.temperature, report.power_cycle_count, report.rotation_rate),
        (None, None, None)
    );
    assert_eq!(report.serial_number.as_deref(), Some("12"));
    assert_eq!(report.ata_smart_attributes.unwrap().table.unwrap()[0].id, Some(5));
}

#[test]
fn what_is_no_report_says_why() {
    for (input, why) in [
        (&b""[..], "the input is empty"),
        (b" \n\n", "the input is empty"),
        (b"hello\n", "the input is no report of smartctl"),
        (b"{\"a\":1}", "the input is JSON, but not of smartctl"),
        (b"{\"smartctl\":", "the input is broken JSON: EOF"),
        (b"[{\"smartctl\":{}}]", "a JSON list"),
    ] {
        let report = json(input);
        let message = &report["smartctl"]["messages"][0];
        assert!(message["string"].as_str().unwrap().contains(why), "{message}");
        assert_eq!(message["severity"], "error");
    }
}

#[test]
fn scsi_self_tests_stand_beside_each_other() {
    let json = br#"{"smartctl":{},"scsi_self_test_1":{"code":{"string":"b"}},"scsi_self_test_0":{"code":{"string":"a"}}}"#;
    let report = smartctl::parse(json);
    let codes: Vec<_> = report
        .scsi_self_tests
        .0
        .iter()
        .map(|it| it.code.as_ref().unwrap().string.as_deref().unwrap())
        .collect();
    assert_eq!(codes, ["a", "b"]);
    assert!(serde_json::to_string(&report).unwrap().contains("\"scsi_self_test_1\""));
}

/// Every row that looks like one is in the table, counted by other means than the parser's, and
/// every other capture is understood or says why not.
#[test]
fn captures_of_other_projects() {
    for path in captures() {
        let input = fs::read(&path).unwrap();
        let report = json(&input);
        let text = String::from_utf8_lossy(&input);
        let is_text = path.components().any(|it| it.as_os_str() == "text");
        if !is_text {
            let known = report["smartctl"].is_object() || report["device"].is_object();
            assert!(known, "{path:?}");
            continue;
        }
        let is_row = |line: &&str| {
            let words: Vec<_> = line.split_whitespace().take(4).collect();
            let [id, name, flags, value] = words.as_slice() else { return false };
            id.parse::<u8>().is_ok_and(|id| id > 0)
                && name.len() > 3
                && (flags.len() == 6 || flags.len() == 7)
                && (flags.starts_with("0x") || flags.chars().all(|c| "POSRCK-+".contains(c)))
                && (value.len() == 3 && value.chars().all(|c| c.is_ascii_digit() || c == '-'))
        };
        let rows = text.lines().filter(is_row).count();
        let table = report["ata_smart_attributes"]["table"].as_array().map_or(0, Vec::len);
        assert_eq!(table, rows, "{path:?}");
        // A test in a log begins with its number in all three.
        let is_test = |line: &&str| line.starts_with('#') && line.contains("0%");
        let tests = text.lines().filter(is_test).count();
        let logs = &report["ata_smart_self_test_log"];
        let count = |log: &str| logs[log]["table"].as_array().map_or(0, Vec::len);
        assert_eq!(count("extended") + count("standard"), tests, "{path:?}");
        assert!(
            report["device"]["protocol"].is_string()
                || report["smartctl"]["messages"].is_array()
                || report["devices"].is_array(),
            "{path:?}: {report}"
        );
    }
}

/// Spot checks, read by eye, of drives that print something odd.
#[test]
fn odd_drives_of_other_projects() {
    let files = captures();
    if files.is_empty() {
        return;
    }
    let facts = |name: &str| {
        let path = files.iter().find(|path| path.to_str().unwrap().contains(name)).unwrap();
        let report = json(&fs::read(path).unwrap());
        let at = |path: &str| report.pointer(path).cloned().unwrap_or(Value::Null);
        [
            at("/user_capacity/bytes"),
            at("/temperature/current"),
            at("/power_on_time/hours"),
            at("/power_cycle_count"),
            at("/smart_status/passed"),
        ]
    };
    let value = serde_json::from_str::<Value>;
    for (name, expected) in [
        ("HDD__Samsung__SP0812__", "[80060424192,15,18534,10632,true]"),
        ("HDD__Samsung__HD103__", "[1000204886016,41,26071,10011,false]"),
        ("SSD__Kingston__SMS200__", "[120034123776,48,47882,58,true]"),
        ("HDD__WDC__WD2500__", "[250059350016,55,null,null,true]"),
        ("HDD__China__CF__", "[2097930240,null,null,83,true]"),
        ("NVMe__Samsung__MZALQ256", "[256060514304,82,7663,29,false]"),
        ("smartctlNVMeInfoDataWindows", "[1000204886016,47,1290,10779,true]"),
        ("localised/HDD-narrow-nbsp", "[1000204886016,32,12931,1706,true]"),
        ("smartctlMegaraidInfo2", "[600000000000,47,16004,null,true]"),
        // The capacity is damaged, so it is not known.
        ("htSASInfoData", "[null,36,null,null,true]"),
        ("NETAPP_DRIVE", "[5243081326592,null,null,null,true]"),
        ("mockStandbyData", "[null,null,null,null,null]"),
    ] {
        assert_eq!(Value::from(facts(name).to_vec()), value(expected).unwrap(), "{name}");
    }
}

proptest! {
    #[test]
    fn any_bytes_never_panic(input in proptest::collection::vec(any::<u8>(), 0..2000)) {
        json(&input);
    }

    /// Lines of real reports in any order and with any damage.
    #[test]
    fn shuffled_lines_never_panic(
        picks in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 0..60),
    ) {
        let mut lines: Vec<Vec<u8>> = Vec::new();
        for path in fixtures("reports") {
            lines.extend(fs::read(path).unwrap().split_inclusive(|&b| b == b'\n').map(<[u8]>::to_vec));
        }
        let mut input = Vec::new();
        for (line, place, byte) in picks {
            let mut line = line.get(&lines).clone();
            if byte % 3 == 0 && !line.is_empty() {
                let place = place.index(line.len());
                line[place] = byte;
            }
            input.extend(line);
        }
        json(&input);
    }
}
