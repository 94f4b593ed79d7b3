//! Reports of smartctl: captured pairs of text and JSON, messages, cut and hostile input, and the
//! captures of other projects where they are at hand.

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
    assert_eq!(compare_pairs("reports"), 5);
}

/// As above, of smartctl 7.3 on devices whose every answer was made up: attributes of all raw
/// formats and in all states, all results of self-tests, errors, wrong status, huge numbers.
#[test]
fn text_says_what_json_says_of_devices_that_do_not_exist() {
    assert_eq!(compare_pairs("emulated"), 12);
}

fn compare_pairs(folder: &str) -> usize {
    let texts = fixtures(folder);
    let texts = texts.iter().filter(|path| path.extension().unwrap() == "txt");
    texts.map(|path| compare_pair(path)).count()
}

fn compare_pair(text: &Path) {
    let ours = json(&fs::read(text).unwrap());
    let theirs = json(&fs::read(text.with_extension("json")).unwrap());
    for table in [
        "/ata_smart_attributes/table",
        "/ata_smart_error_log/extended/table",
        "/ata_smart_error_log/summary/table",
        "/ata_smart_self_test_log/extended/table",
        "/ata_smart_self_test_log/standard/table",
        "/ata_device_statistics/pages",
        "/nvme_smart_health_information_log/temperature_sensors",
    ] {
        let rows = |report: &Value| report.pointer(table)?.as_array().map(Vec::len);
        assert_eq!(rows(&ours), rows(&theirs), "{table} of {}", text.display());
    }
    let (ours, theirs) = (leaves(&ours), leaves(&theirs));
    for (path, value) in &ours {
        // Keys of other versions than the one that was captured, and the minute.
        let elsewhere = [
            ".model_name",
            ".temperature.drive_trip",
            ".temperature.op_limit_max",
            ".temperature.critical_limit_max",
            ".nvme_composite_temperature_threshold",
            ".scsi_non_medium_error_count",
            ".local_time.asctime",
            ".smartctl.messages",
        ];
        if elsewhere.iter().any(|begin| path.starts_with(begin)) {
            continue;
        }
        // Without a threshold an attribute has not failed; JSON does not say so.
        if path.ends_with(".when_failed") && value == "" && !theirs.contains_key(path) {
            continue;
        }
        assert_eq!(Some(value), theirs.get(path), "{path} of {}", text.display());
    }
    assert!(ours.len() > 20, "{}", text.display());
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

/// Lines of many versions, each by itself: what smartctl says of its own work is a message of
/// its severity, and what looks like one is none.
#[test]
fn messages_of_all_versions() {
    for (line, severity) in [
        ("Smartctl open device: /dev/sdb [megaraid_disk_08] failed: INQUIRY failed", Some("error")),
        ("Smartctl: Device Read Identity Failed (not an ATA/ATAPI device)", Some("error")),
        ("Error ATA GET HD Identity Failed: Inappropriate ioctl for device", Some("error")),
        ("Read NVMe SMART/Health Information failed: NVMe Status 0x02", Some("error")),
        ("Read 16 entries from Error Information Log failed: NVMe Status 0x09", Some("error")),
        ("/dev/sda: Unknown USB bridge [0x152d:0x0578 (0x100)]", Some("error")),
        ("/dev/sda: Unsupported USB bridge [0x0bc2:0x3332 (0x100)]", Some("error")),
        (">> Terminate command early due to bad response to IEC mode page", Some("error")),
        (
            "A mandatory SMART command failed: exiting. To continue, add one or more '-T permissive' options.",
            Some("error"),
        ),
        ("Error SMART Status command failed: Input/output error", Some("warning")),
        ("Warning! SMART Attribute Data Structure error: invalid SMART checksum.", Some("warning")),
        ("Warning: This result is based on an Attribute check.", Some("warning")),
        ("SCT (Get) Error Recovery Control command failed", Some("warning")),
        ("==> WARNING: A firmware update for this drive may be available,", Some("warning")),
        ("Device is in SLEEP mode, exit(2)", Some("information")),
        ("CHECK POWER MODE not implemented, ignoring -n option", Some("information")),
        ("device is NOT READY (e.g. spun down, busy)", Some("information")),
        ("Please specify device type with the -d option.", Some("information")),
        ("\t\t\t\t\tthe read element of the test failed.", None),
        ("0x0001  2            0  Command failed due to ICRC error", None),
        ("Wt Cache Reorder: Unknown (SCT Feature Control command failed)", None),
        (
            "# 1  Background short  Failed in first segment   1     302          77 [0x3 0x11 0x0]",
            None,
        ),
        ("Drive failure expected in less than 24 hours. SAVE ALL DATA.", None),
        ("Error 79 [18] log entry is empty", None),
    ] {
        let report = smartctl::parse(format!("Device Model:     X\n{line}\n").as_bytes());
        let messages = report.smartctl.and_then(|it| it.messages).unwrap_or_default();
        let found: Vec<_> = messages
            .iter()
            .map(|it| (it.string.as_deref().unwrap(), it.severity.as_deref().unwrap()))
            .collect();
        let expected: Vec<_> = severity.map(|severity| (line, severity)).into_iter().collect();
        assert_eq!(found, expected);
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

/// What was said before the report costs nothing of it, even where it is a message.
#[test]
fn a_message_before_the_report_costs_nothing() {
    let text = b"cat: /etc/x: Permission denied\n\
        smartctl pre-7.5 2024-12-04 r5634 [x86_64-linux] (local build)\n\
        Device Model:     Disk 1\n";
    let report = smartctl::parse(text);
    assert_eq!(model(&report), "Disk 1");
    let program = report.smartctl.unwrap();
    assert_eq!((program.version, program.pre_release), (Some(vec![7, 5]), Some(true)));
    assert_eq!(program.messages.unwrap().len(), 1);
}

/// Copies from mails and posts, and what PowerShell writes to a file.
#[test]
fn copies_say_what_the_report_said() {
    for path in fixtures("reports") {
        let original = fs::read(&path).unwrap();
        let text = String::from_utf8(original.clone()).unwrap();
        let mut little = vec![0xff, 0xfe];
        little.extend(text.replace('\n', "\r\n").encode_utf16().flat_map(u16::to_le_bytes));
        assert_eq!(json(&little), json(&original), "{path:?}");
        if path.extension().unwrap() == "txt" {
            for margin in ["    ", "> ", "\t", "| "] {
                let quoted: String = text
                    .lines()
                    .map(|line| format!("{margin}{line}").trim_end().to_owned() + "\n")
                    .collect();
                let quoted = format!("Here it is:\n\n{quoted}");
                assert_eq!(json(quoted.as_bytes()), json(&original), "{path:?} after {margin:?}");
            }
        }
    }
}

/// A last line without its end is read where nothing can have been cut off it.
#[test]
fn a_last_line_that_is_whole_is_read() {
    let raw = |line: &str| {
        let report = smartctl::parse(line.as_bytes());
        let row = report.ata_smart_attributes?.table?.pop()?;
        row.raw?.string
    };
    let row = "194 Temperature_Celsius     -O---K   066   021   000    -    ";
    assert_eq!(raw(&format!("{row}34 (Min/Max 14/79)")).as_deref(), Some("34 (Min/Max 14/79)"));
    assert_eq!(raw(&format!("{row}34 (Min/Max 14/7")), None);
    assert_eq!(raw(&format!("{row}34")), None);
    assert_eq!(raw(&format!("{row}34\n")).as_deref(), Some("34"));
    let bytes = |line: &str| smartctl::parse(line.as_bytes()).user_capacity?.bytes;
    assert_eq!(
        bytes("User Capacity:    1,000,204,886,016 bytes [1.00 TB]"),
        Some(1_000_204_886_016)
    );
    assert_eq!(bytes("User Capacity:    1,000,204,886"), None);
}

#[test]
fn pending_defects_are_those_of_a_log_that_is_over() {
    let log = "Pending Defects log (GP Log 0x0c)\n\
        Index                LBA    Hours\n    0          123456      789\n    1          123464        -\n";
    let count = |text: &str| smartctl::parse(text.as_bytes()).ata_pending_defects_log?.count;
    assert_eq!(count(log), None, "there may have been more");
    assert_eq!(count(&format!("{log}\nSATA Phy Event Counters (GP Log 0x11)\n")), Some(2));
    assert_eq!(count(&format!("{log}... (5 entries not shown)\n\n")), Some(7));
    assert_eq!(count("Pending Defects log (GP Log 0x0c)\nNo Defects Logged\n\n"), Some(0));
}

/// Columns may be apart by tabs, or by single spaces.
#[test]
fn columns_are_apart_by_anything() {
    let text = "SMART Self-test log structure revision number 1\n\
        # 1  Extended offline    Completed: read failure       90%     10643         443810896\n\
        Self-test Log (NVMe Log 0x06)\n \
        0   Short             Aborted: Controller Reset               570            -     -   -   -    -\n\
        SMART Self-test log\n\
        # 1  Background short  Failed in segment -->       7   12345           4096123 [0x3 0x11 0x0]\n\
        Error counter log:\n\
        read:          0        8         0         8      60614      16772.475           5\n\
        194 Temperature_Celsius     -O---K   066   021   000    -    34 (Min/Max 14/79)\n";
    let facts = json(text.as_bytes());
    assert_eq!(facts["scsi_error_counter_log"]["read"]["total_uncorrected_errors"], 5);
    assert_eq!(facts["scsi_self_test_0"]["result"]["string"], "Failed in segment");
    for apart in ["\t", " "] {
        let lines = text.lines().map(|line| {
            let words: Vec<_> =
                line.split("  ").map(str::trim).filter(|it| !it.is_empty()).collect();
            words.join(apart)
        });
        let moved = lines.collect::<Vec<_>>().join("\n") + "\n";
        assert_eq!(json(moved.as_bytes()), facts, "{moved}");
    }
}

#[test]
fn hours_of_the_standard_count_before_those_of_a_vendor() {
    let text = b"Vendor:               SEAGATE\n\
        \x20 number of hours powered up = 8558.03\n\
        \x20   Accumulated power on time, hours:minutes 47781:38 [2866898 minutes]\n";
    let time = smartctl::parse(text).power_on_time.unwrap();
    assert_eq!((time.hours, time.minutes), (Some(47_781), Some(38)));
}

/// The protocol follows from any part of a report.
#[test]
fn parts_of_reports_tell_the_protocol() {
    for (text, protocol) in [
        ("=== START OF READ SMART DATA SECTION ===\nSMART Health Status: OK\n", Some("SCSI")),
        (
            "=== START OF READ SMART DATA SECTION ===\n\
             SMART overall-health self-assessment test result: PASSED\n",
            Some("ATA"),
        ),
        (
            "=== START OF SMART DATA SECTION ===\n\
             SMART overall-health self-assessment test result: PASSED\n",
            Some("NVMe"),
        ),
        ("SMART Error Log Version: 1\nNo Errors Logged\n", Some("ATA")),
        ("Device Statistics (GP Log 0x04)\nPage  Offset Size        Value Flags\n", Some("ATA")),
        ("Temperature:                        38 Celsius\n", None),
    ] {
        let device = smartctl::parse(text.as_bytes()).device;
        assert_eq!(device.and_then(|it| it.protocol).as_deref(), protocol, "{text}");
    }
}

#[test]
fn the_state_of_a_self_test_is_told() {
    let state = |line: &str| {
        let report = smartctl::parse(line.as_bytes());
        let status = report.ata_smart_data.unwrap().self_test.unwrap().status.unwrap();
        (status.value, status.string.unwrap(), status.passed, status.remaining_percent)
    };
    let line = "Self-test execution status:      ( 121)\tThe previous self-test completed having\n";
    let string = "completed with error (read test element)".to_owned();
    assert_eq!(state(line), (Some(121), string, Some(false), None));
    let line = "Self-test execution status:      ( 249)\tSelf-test routine in progress...\n";
    assert_eq!(state(line), (Some(249), "in progress, 90% remaining".to_owned(), None, Some(90)));
    let scsi = smartctl::parse(b"Self-test execution status:\t\t98% of test remaining\n");
    assert_eq!(scsi.scsi_self_test_status.unwrap().completion_percent, Some(2));
    let nvme = smartctl::parse(
        b"Self-test Log (NVMe Log 0x06, NSID 0xffffffff)\n\
          Self-test status: Short self-test in progress (23% completed)\nNo Self-tests Logged\n",
    );
    let log = nvme.nvme_self_test_log.unwrap();
    assert_eq!(
        log.current_self_test_operation.unwrap().string.as_deref(),
        Some("Short self-test in progress")
    );
    assert_eq!(log.current_self_test_completion_percent, Some(23));
    assert_eq!(log.table, Some(Vec::new()));
}

#[test]
fn a_system_that_knows_that_a_disk_sleeps_says_standby() {
    let report = smartctl::parse(b"Device is in STANDBY (OS) mode, exit(2)\n");
    assert_eq!(report.power_mode.unwrap().name.as_deref(), Some("STANDBY"));
}

#[test]
fn scsi_facts_beyond_the_error_counters() {
    let text = b"Manufactured in week 37 of year 2017\n\
        Specified cycle count over device lifetime:  50000\n\
        Accumulated start-stop cycles:  101\n\
        Non-medium error count:    10237\n\
        SS Media used endurance indicator: 3%\n\
        \x20 Pending defect count:2 Pending Defects: index, LBA and accumulated_power_on_hours follow\n\
        Elements in grown defect list: <not available>\n\
        Current Drive Temperature:     <not available>\n";
    let report = smartctl::parse(text);
    let cycles = report.scsi_start_stop_cycle_counter.unwrap();
    assert_eq!(cycles.week_of_manufacture.as_deref(), Some("37"));
    assert_eq!(cycles.year_of_manufacture.as_deref(), Some("2017"));
    assert_eq!(cycles.specified_cycle_count_over_device_lifetime, Some(50_000));
    assert_eq!(cycles.accumulated_start_stop_cycles, Some(101));
    assert_eq!(report.scsi_non_medium_error_count, Some(10_237));
    assert_eq!(report.scsi_percentage_used_endurance_indicator, Some(3));
    assert_eq!(report.scsi_pending_defects.unwrap().count, Some(2));
    assert_eq!((report.scsi_grown_defect_list, report.temperature), (None, None));
}

/// JSON of programs that write a key twice, and JSON that was cut.
#[test]
fn json_that_is_not_quite_json() {
    let twice = br#"{"smartctl":{"version":[7,2]},"model_name":"a","model_name":"b"}"#;
    assert_eq!(model(&smartctl::parse(twice)), "b");
    let cut = br#"{"smartctl":{"version":[7,2]},"model_name":"a","serial_number":"12"#;
    let report = smartctl::parse(cut);
    assert_eq!((model(&report), &report.serial_number), ("a", &None));
    assert_eq!(smartctl::to_json(cut), r#"{"smartctl":{"version":[7,2]},"model_name":"a"}"#);
}

/// JSON may be cut anywhere: what is still there is as it was.
#[test]
fn cut_json_says_nothing_else() {
    for path in fixtures("reports").iter().filter(|path| path.extension().unwrap() == "json") {
        let whole = fs::read(path).unwrap();
        let full = leaves(&json(&whole));
        for end in (0..whole.len()).step_by(31) {
            for (key, value) in leaves(&json(&whole[..end])) {
                let told = key.starts_with(".smartctl.messages");
                assert!(told || full.get(&key) == Some(&value), "{key}, cut at {end} of {path:?}");
            }
        }
    }
}

const BANNER: &str = "smartctl 7.2 2020-12-30 r5155 [x86_64-linux] (local build)\n";

fn said(report: &Report) -> Vec<&str> {
    let messages = report.smartctl.as_ref().and_then(|it| it.messages.as_deref());
    messages.unwrap_or_default().iter().map(|it| it.string.as_deref().unwrap()).collect()
}

/// Outputs for one disk, one after the other, are one report.
#[test]
fn reports_of_one_disk_are_one() {
    let info =
        "=== START OF INFORMATION SECTION ===\nDevice Model:     One\nSerial Number:    A-1\n";
    let health = "=== START OF READ SMART DATA SECTION ===\n\
        SMART overall-health self-assessment test result: FAILED!\n";
    let table = "ID# ATTRIBUTE_NAME          FLAGS    VALUE WORST THRESH FAIL RAW_VALUE\n  \
        5 Reallocated_Sector_Ct   PO--CK   100   100   010    -    1500\n";
    let tests = "SMART Self-test log structure revision number 1\n\
        # 1  Extended offline    Completed: read failure       90%     10643         443810896\n";
    let whole = json(format!("{BANNER}{info}{health}{table}{tests}").as_bytes());
    for parts in
        [[info, health, table, tests], [health, info, table, tests], [tests, table, health, info]]
    {
        let text: String = parts.iter().map(|part| format!("{BANNER}{part}\n")).collect();
        assert_eq!(json(text.as_bytes()), whole, "{text}");
    }
    let again =
        format!("{BANNER}{info}{health}\n{BANNER}{}{table}{tests}", info.replace("A-1", "A1"));
    assert_eq!(json(again.as_bytes()), whole);
    // `-H` prints the rows that failed alone.
    let failed = table.replace("-    1500", "NOW  1500");
    let two = format!("{failed}  9 Power_On_Hours          -O--CK   100   100   000    -    7\n");
    let whole_table = json(format!("{BANNER}{health}{two}").as_bytes());
    for text in [
        format!("{BANNER}{two}\n{BANNER}{health}{failed}"),
        format!("{BANNER}{health}{failed}\n{BANNER}{two}"),
    ] {
        assert_eq!(json(text.as_bytes()), whole_table, "{text}");
    }
    // A first try that did not work, or found the disk asleep, counts for nothing.
    for failed in [
        "/dev/sda: Unknown USB bridge [0x152d:0x0578 (0x100)]\n",
        "Device is in STANDBY mode, exit(2)\n",
    ] {
        let text = format!("{BANNER}{failed}{BANNER}{info}{health}{table}{tests}");
        assert_eq!(json(text.as_bytes()), whole, "{failed}");
        let text = format!("{BANNER}{info}{health}{table}{tests}{BANNER}{failed}");
        assert_eq!(json(text.as_bytes()), whole, "{failed}");
    }
}

/// A second disk is named and not read, wherever its report was cut.
#[test]
fn of_two_disks_the_first_is_read() {
    let message = "labstat: a second disk in this input was not read: Two B";
    let one = "Device Model:     One\nSerial Number:    A\n";
    let two = "Device Model:     Two\nSerial Number:    B\n";
    for begin in [BANNER, "=== START OF INFORMATION SECTION ===\n"] {
        let report = smartctl::parse(format!("{begin}{one}{begin}{two}").as_bytes());
        assert_eq!((model(&report), report.serial_number.as_deref()), ("One", Some("A")));
        assert_eq!(said(&report), [message]);
    }
    // Without names, what is told twice and otherwise may be of one disk that got worse.
    let health =
        |word| format!("{BANNER}SMART overall-health self-assessment test result: {word}\n");
    let report = smartctl::parse((health("PASSED") + &health("FAILED!")).as_bytes());
    assert_eq!(said(&report).len(), 1);
    assert!(said(&report)[0].starts_with("labstat: not understood: a second report"));
    // What has no health of its own is not the disk that is meant.
    let text = format!("{BANNER}{one}{BANNER}{two}{}", &health("FAILED!")[BANNER.len()..]);
    assert_eq!(model(&smartctl::parse(text.as_bytes())), "Two");

    let texts: Vec<_> = ["baseline-sda.x.txt", "baseline-nvme0.x.txt", "baseline-sdl.a.txt"]
        .map(|name| fixtures("reports").into_iter().find(|it| it.ends_with(name)).unwrap())
        .map(|path| fs::read(path).unwrap())
        .into();
    for (n, first) in texts.iter().enumerate() {
        let expected = leaves(&json(first));
        let next = &texts[(n + 1) % texts.len()];
        for end in (0..next.len()).step_by(7) {
            let mut found = leaves(&json(&[first, &next[..end]].concat()));
            found.retain(|path, _| !path.starts_with(".smartctl.messages"));
            let mut expected = expected.clone();
            expected.retain(|path, _| !path.starts_with(".smartctl.messages"));
            assert_eq!(found, expected, "cut at {end}");
        }
    }
}

/// A line that bears on the health of a disk and is not understood is said to be there.
#[test]
fn what_is_not_understood_is_said() {
    let table = "ID# ATTRIBUTE_NAME          FLAG     VALUE WORST THRESH TYPE UPDATED  WHEN_FAILED RAW_VALUE\n";
    for line in [
        "SMART overall-health self-assessment test result: ~FAILED!~\n".to_owned(),
        "SMART Health Status: <?>\n".to_owned(),
        format!("{table}  5 Reallocated Sector Ct   0x?033   100   100   010    Pre-fail  Always       -       9\n"),
        format!("{table}5,Reallocated_Sector_Ct,0x0033 100 100 010 Pre-fail Always - 9\n"),
        "SMART Self-test log structure revision number 1\n# 1  Extended offline    Completed: read failure\n".to_owned(),
        "Error counter log:\nread:   1 2 3 x\n".to_owned(),
        "SMART/Health Information (NVMe Log 0x02)\nCritical Warning:                   none?\n".to_owned(),
    ] {
        let report = smartctl::parse(format!("{BANNER}{line}\n").as_bytes());
        let messages = report.smartctl.as_ref().unwrap().messages.as_deref().unwrap_or_default();
        let [message] = messages else { panic!("{line}: {messages:?}") };
        assert!(message.string.as_deref().unwrap().starts_with("labstat: not understood: "));
        assert_eq!(message.severity.as_deref(), Some("warning"));
        assert_eq!(report.smart_status, None, "{line}");
    }
    for line in [
        "Device Model: A\nSMART overall-health self-assessment test result: UNKNOWN!\n".to_owned(),
        format!(
            "{table}  5 Reallocated_Sector_Ct   0x0033   100   100   010    Pre-fail  Always       -       9\n\nSMART Selective self-test log data structure revision number 1\n    1        0        0  Not_testing\n"
        ),
    ] {
        let report = smartctl::parse(format!("{BANNER}{line}\n").as_bytes());
        assert!(said(&report).is_empty(), "{line}");
    }
    for path in fixtures("reports").into_iter().chain(fixtures("emulated")).chain(captures()) {
        let report = smartctl::parse(&fs::read(&path).unwrap());
        let ours = said(&report).into_iter().find(|it| it.starts_with("labstat: not understood"));
        assert_eq!(ours, None, "{path:?}");
    }
}

/// Rows that a mail or a terminal broke in two.
#[test]
fn broken_rows_are_joined() {
    let raw = |text: &str| {
        let table = smartctl::parse(text.as_bytes()).ata_smart_attributes.unwrap().table.unwrap();
        let raw = |it: &smartctl::Attribute| it.raw.clone().and_then(|it| it.string);
        table.iter().map(|row| (row.id.unwrap(), raw(row))).collect::<Vec<_>>()
    };
    let head = "ID# ATTRIBUTE_NAME          FLAG     VALUE WORST THRESH TYPE      UPDATED\nWHEN_FAILED RAW_VALUE\n";
    let row = "  5 Reallocated_Sector_Ct   0x0033   100   100   010    Pre-fail  Always";
    let next = "197 Current_Pending_Sector  0x0012   100   100   000    Old_age   Always       -";
    for (apart, value) in [
        ("       -\n1500", "1500"),
        ("\n-       34 (0 1)", "34 (0 1)"),
        ("       -\n       0\n", "0"),
    ] {
        let text = format!("{head}{row}{apart}\n{next}\n300\n\n9 end\n");
        let expected = [(5, Some(value.to_owned())), (197, Some("300".to_owned()))];
        assert_eq!(raw(&text), expected, "{text}");
    }
    let row = "190 Airflow_Temperature_Cel -O---K   059   027   040    Past 41 (Min/Max";
    for apart in [" 40/41\n#3239)", "\n40/41 #3239)", " 40/41 #\n3239)"] {
        let text = format!("{row}{apart}\n");
        assert_eq!(raw(&text)[0].1.as_deref(), Some("41 (Min/Max 40/41 #3239)"), "{text}");
    }
    let text = "Self-test Log (NVMe Log 0x06)\n\
        Num  Test_Description  Status                       Power_on_Hours  Failing_LBA\n \
        0   Short             Aborted: Controller Reset               570            -\n\
        -   -   -    -\n";
    let log = smartctl::parse(text.as_bytes()).nvme_self_test_log.unwrap();
    assert_eq!(log.table.unwrap()[0].power_on_hours, Some(570));
    let row = "  5 Reallocated_Sector_Ct   0x0033   100   100   010    Pre-fail  Always";
    // What follows a row without a raw value is no part of it.
    for after in ["\n", "SMART Error Log Version: 1\n", "Warning: checksum\n", next] {
        let text = format!("{head}{row}       -\n{after}\n");
        assert_eq!(raw(&text)[0], (5, None), "{text}");
    }
}

/// What a SCSI device says of its health, by the first word.
#[test]
fn the_health_of_a_scsi_device() {
    let status = |value: &str| {
        let text = format!("SMART Health Status: {value}\n");
        let status = smartctl::parse(text.as_bytes()).smart_status;
        status.map(|it| (it.passed.unwrap(), it.scsi))
    };
    for value in [
        "OK",
        "\u{1b}[32mOK\u{1b}[0m",
        "**OK**",
        "OK<br />",
        "[COLOR=green]OK[/COLOR]",
        "OK[/CODE]",
    ] {
        assert_eq!(status(value), Some((true, None)), "{value}");
    }
    let (passed, scsi) = status("WARNING: SPECIFIED TEMPERATURE EXCEEDED [asc=b, ascq=1]").unwrap();
    let scsi = scsi.unwrap();
    assert_eq!((passed, scsi.asc, scsi.ascq), (false, Some(11), Some(1)));
    assert_eq!(scsi.ie_string.as_deref(), Some("WARNING: SPECIFIED TEMPERATURE EXCEEDED"));
    assert!(!status("FAILURE PREDICTION THRESHOLD EXCEEDED").unwrap().0);
    assert_eq!(status("?"), None);
}

/// JSON as mails, posts and programs have it.
#[test]
fn copies_of_json_are_read() {
    let report = "{\n  \"smartctl\": {\n    \"version\": [\n      7,\n      2\n    ]\n  },\n  \"model_name\": \"A\"\n}\n";
    let line = r#"{"smartctl":{"version":[7,2]},"model_name":"A"}"#;
    let quoted: String = report.lines().map(|line| format!("> {line}\n")).collect();
    for copy in [
        quoted,
        format!("[CODE]{report}[/CODE]\n"),
        format!("```json\n{report}```\n"),
        format!("[{report}]"),
        format!("{{\"/dev/sda\": {report}}}"),
        report.replace('"', "&quot;"),
        report.replace('"', "\u{201d}"),
        report.replace("\"A\"\n", "\"A\",\n").replace("2\n", "2,\n"),
    ] {
        assert_eq!(smartctl::to_json(copy.as_bytes()), line, "{copy}");
    }
    let lines = br#"{"smartctl":{"version":[7,2],"output":["smartctl 7.2 2020","Device Model:     A",""]}}"#;
    assert_eq!(model(&smartctl::parse(lines)), "A");
    // A brace does not make JSON of a text.
    for before in ["{code}\n", "{noformat}\n", "{\n"] {
        assert_eq!(
            model(&smartctl::parse(format!("{before}{BANNER}Device Model:     A\n").as_bytes())),
            "A"
        );
    }
}

/// `value` as `smartctl --json=g` prints it.
fn assignments(value: &Value, path: &str, out: &mut String) {
    let empty = match value {
        Value::Object(_) => Some("{}"),
        Value::Array(_) => Some("[]"),
        _ => None,
    };
    let shown = empty.map_or_else(|| value.to_string(), str::to_owned);
    out.push_str(&format!("{path} = {shown};\n"));
    match value {
        Value::Object(map) => {
            map.iter().for_each(|(key, value)| assignments(value, &format!("{path}.{key}"), out));
        }
        Value::Array(list) => {
            let places = list.iter().enumerate();
            places.for_each(|(n, value)| assignments(value, &format!("{path}[{n}]"), out));
        }
        _ => {}
    }
}

/// smartctl prints its JSON in two other notations.
#[test]
fn json_in_other_notations_is_read() {
    let mut reports = 0;
    for path in fixtures("emulated").iter().filter(|it| it.extension().unwrap() == "json") {
        let original = fs::read(path).unwrap();
        let value: Value = serde_json::from_slice(&original).unwrap();
        let mut lines = String::new();
        assignments(&value, "json", &mut lines);
        assert_eq!(smartctl::parse(lines.as_bytes()), smartctl::parse(&original), "{path:?}");
        assert_eq!(json(lines.as_bytes()), value, "{path:?}");
        reports += 1;
    }
    assert!(reports > 0);
    let text = "---\njson_format_version:\n  - 1\n  - 0\nsmartctl:\n  version:\n    - 7\n    - 3\n  \
        messages:\n    - string: 'Warning: old'\n      severity: warning\n  exit_status: 0\n\
        device:\n  name: '/dev/sda'\n  protocol: ATA\nmodel_name: Disk 1\nata_smart_attributes:\n  \
        table:\n    - id: 5\n      name: Reallocated_Sector_Ct\n      raw:\n        value: 7\n        string: '7'\n    \
        - id: 9\n      name: Power_On_Hours\n";
    let report = smartctl::parse(text.as_bytes());
    assert_eq!(model(&report), "Disk 1");
    let rows = report.ata_smart_attributes.unwrap().table.unwrap();
    assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), [Some(5), Some(9)]);
    assert_eq!(rows[0].raw.as_ref().unwrap().value, Some(7));
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

/// Imitations write numbers as their languages do.
#[test]
fn numbers_of_imitations_are_numbers() {
    let json = br#"{"smartctl":{"version":["7","4"],"exit_status":4.0},
        "temperature":{"current":36.0,"drive_trip":36.5,"lifetime_max":1e300},
        "power_cycle_count":"12","smart_status":{"passed":1},
        "user_capacity":{"bytes":1000204886016.0},"nvme_smart_health_information_log":
        {"data_units_read":340282366920938463463374607431768211455,"temperature_sensors":[30,null,31.0]},
        "ata_smart_error_log":{"summary":{"count":-1}}}"#;
    let report = smartctl::parse(json);
    let program = report.smartctl.unwrap();
    assert_eq!((program.version, program.exit_status), (Some(vec![7, 4]), Some(4)));
    let temperature = report.temperature.unwrap();
    assert_eq!((temperature.current, temperature.drive_trip), (Some(36), None));
    assert_eq!(temperature.lifetime_max, None);
    assert_eq!(report.power_cycle_count, Some(12));
    assert_eq!(report.smart_status.unwrap().passed, Some(true));
    assert_eq!(report.user_capacity.unwrap().bytes, Some(1_000_204_886_016));
    let health = report.nvme_smart_health_information_log.unwrap();
    assert_eq!(health.data_units_read, None, "a number that does not fit is not known");
    assert_eq!(health.temperature_sensors.unwrap().0, [Some(30), None, Some(31)]);
    assert_eq!(report.ata_smart_error_log.unwrap().summary.unwrap().count, None);
}

#[test]
fn what_is_no_report_says_why() {
    for (input, why) in [
        (&b""[..], "the input is empty"),
        (b" \n\n", "the input is empty"),
        (b"hello\n", "the input is no report of smartctl"),
        (b"{\"a\":1}", "the input is JSON, but not of smartctl"),
        (b"{\"smartctl\":", "the input is broken JSON: EOF"),
        (b"{\"smartctl\":{\"version\":[7,4],", "the input is broken JSON: EOF"),
        (b"[{\"smartctl\":{}},{\"smartctl\":{}}]", "a JSON list"),
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

/// What is printed reads back as the same report.
fn reads_back(input: &[u8]) {
    let report = smartctl::parse(input);
    if report.smartctl.is_some() || report.device.is_some() {
        assert_eq!(smartctl::parse(smartctl::to_json(input).as_bytes()), report);
    }
}

proptest! {
    #[test]
    fn any_bytes_never_panic(input in proptest::collection::vec(any::<u8>(), 0..2000)) {
        json(&input);
        reads_back(&input);
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
        reads_back(&input);
    }
}

/// A page that keeps no line ends makes one line of a report.
#[test]
fn a_report_on_one_line_says_what_it_said() {
    let same = [
        "device",
        "model_name",
        "serial_number",
        "user_capacity",
        "smart_status",
        "ata_smart_attributes",
        "nvme_smart_health_information_log",
        "scsi_error_counter_log",
        "scsi_grown_defect_list",
        "power_on_time",
        "temperature",
    ];
    let mut reports = 0;
    for folder in ["reports", "emulated"] {
        for path in fixtures(folder).iter().filter(|it| it.extension().unwrap() == "txt") {
            let text = fs::read_to_string(path).unwrap();
            let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
            let (before, after) = (json(text.as_bytes()), json(flat.as_bytes()));
            for key in same {
                // Of the spaces inside a name nobody knows how many there were.
                let words = |report: &Value| {
                    let text = report[key].to_string();
                    text.split_whitespace().collect::<Vec<_>>().join(" ")
                };
                assert_eq!(words(&after), words(&before), "{key} of {path:?}");
            }
            for log in ["standard", "extended"] {
                let table =
                    |report: &Value| report["ata_smart_self_test_log"][log]["table"].clone();
                assert_eq!(table(&after), table(&before), "{log} tests of {path:?}");
            }
            reports += 1;
        }
    }
    assert!(reports > 0);
}
