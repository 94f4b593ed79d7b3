//! Rules, one by one. Real reports are judged by the tests of the collector, by hand.

use std::fmt::Write;

use labstat_model::Labels;
use proptest::prelude::*;

use super::*;
use crate::families::{self, name};
use crate::reading::SelfTest;
use crate::verdict::Verdict::{Act, Asleep, Dead, Ok as Fine, Silent, Watch};

/// A reading of samples written as `name{label="value",…} number`, one a line.
fn reading(samples: &str) -> Reading {
    let lines = samples.lines().map(str::trim).filter(|line| !line.is_empty());
    let parsed: Vec<(String, Labels, f64)> = lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.trim_end_matches('}').split_once('{').unwrap();
            let pairs: Vec<_> = labels
                .split("\",")
                .filter_map(|pair| pair.split_once("=\""))
                .map(|(name, value)| (name.trim(), value.trim_end_matches('"')))
                .collect();
            (name.to_owned(), Labels::new(pairs), value.parse().unwrap())
        })
        .collect();
    let samples =
        parsed.iter().map(|(name, labels, value)| (name.as_str(), labels.as_ref(), *value));
    Reading::from_samples(samples).unwrap()
}

/// Attributes as `(id, name, value, thresh, flags, raw)`.
type Row<'a> = (u8, &'a str, u8, u8, &'a str, u64);

/// A disk with these attributes, as a stock exporter tells it.
fn ata(model: &str, family: &str, rotation: u32, rows: &[Row<'_>]) -> Reading {
    let mut text = format!(
        "{}{{model_name=\"{model}\",model_family=\"{family}\",serial_number=\"Z1D4X7\",protocol=\"ATA\"}} 1\n\
         {}{{}} 1\n{}{{}} {}\n",
        name::DEVICE,
        name::STATUS,
        name::POWER_ON,
        20_000 * 3600,
    );
    if rotation > 0 {
        let _ = writeln!(text, "{}{{}} {rotation}", name::ROTATION);
    } else {
        let _ = writeln!(text, "{}{{kind=\"ssd\"}} 1", name::KIND);
    }
    for (id, attribute, value, thresh, flags, raw) in rows {
        let kinds = [
            ("value", u64::from(*value)),
            ("worst", u64::from(*value)),
            ("thresh", u64::from(*thresh)),
            ("raw", *raw),
        ];
        for (kind, number) in kinds {
            let _ = writeln!(
                text,
                "{}{{attribute_id=\"{id}\",attribute_name=\"{attribute}\",\
                 attribute_flags_long=\"{flags}\",attribute_value_type=\"{kind}\"}} {number}",
                name::ATTRIBUTE,
            );
        }
    }
    reading(&text)
}

fn wd(rows: &[Row<'_>]) -> Reading {
    ata("WDC WD40EFRX", "Western Digital Red", 5400, rows)
}

fn seagate(rows: &[Row<'_>]) -> Reading {
    ata("ST4000DM000-1F2168", "Seagate Desktop HDD.15", 5900, rows)
}

fn ssd(rows: &[Row<'_>]) -> Reading {
    ata("Samsung SSD 860 EVO", "Samsung based SSDs", 0, rows)
}

/// An attribute far from its threshold that counts `raw`.
fn row(id: u8, name: &str, raw: u64) -> Row<'_> {
    (id, name, 100, 0, "", raw)
}

fn verdict(reading: &Reading) -> Verdict {
    judge(reading, None).unwrap().verdict
}

/// A month later.
fn since(now: &Reading, before: &Reading) -> Verdict {
    let mut now = now.clone();
    now.power_on_hours = before.power_on_hours.map(|hours| hours + 720);
    let now = &now;
    let judgement = judge(now, Some(before.into())).unwrap();
    let numbers = before.baseline();
    assert_eq!(judge(now, Some(Before::Seen(&numbers))).unwrap(), judgement, "its numbers do");
    judgement.verdict
}

fn acknowledged(now: &Reading, before: &Reading) -> Verdict {
    judge(now, Some((&before.baseline()).into())).unwrap().verdict
}

fn codes(reading: &Reading) -> Vec<&'static str> {
    judge(reading, None).unwrap().reasons.iter().map(|reason| reason.code).collect()
}

#[test]
fn the_disk_s_own_word_counts() {
    let said = |passed: u8| reading(&format!("{}{{}} {passed}", name::STATUS));
    assert_eq!(verdict(&said(0)), Act);
    assert_eq!(verdict(&said(1)), Fine);
    assert_eq!(codes(&said(1)), ["partial"]);
}

#[test]
fn levels_of_a_disk_that_spins() {
    for (id, attribute, raw, expected) in [
        (5, "Reallocated_Sector_Ct", 0, Fine),
        (5, "Reallocated_Sector_Ct", 1, Watch),
        (5, "Reallocated_Sector_Ct", 2000, Act),
        (10, "Spin_Retry_Count", 1, Watch),
        (10, "Spin_Retry_Count", 60, Act),
        (184, "End-to-End_Error", 1, Watch),
        (184, "End-to-End_Error", 30, Act),
        (187, "Reported_Uncorrect", 1, Watch),
        (187, "Reported_Uncorrect", 150, Act),
        (188, "Command_Timeout", 12, Fine),
        (188, "Command_Timeout", 5000, Fine),
        (196, "Reallocated_Event_Count", 3, Fine),
        (196, "Reallocated_Event_Count", 30, Watch),
        (196, "Reallocated_Event_Count", 30_000, Watch),
        (197, "Current_Pending_Sector", 1, Watch),
        (197, "Current_Pending_Sector", 80, Act),
        (198, "Offline_Uncorrectable", 1, Watch),
        (198, "Offline_Uncorrectable", 300, Act),
        (199, "UDMA_CRC_Error_Count", 40, Fine),
        (199, "UDMA_CRC_Error_Count", 60_000, Watch),
        (201, "Soft_Read_Error_Rate", 50, Watch),
        (1, "Raw_Read_Error_Rate", 900_000, Fine),
        (7, "Seek_Error_Rate", 900_000, Fine),
        (193, "Load_Cycle_Count", 900_000, Fine),
        (250, "Unknown_Attribute", 900_000, Fine),
    ] {
        assert_eq!(verdict(&wd(&[row(id, attribute, raw)])), expected, "{id} {raw}");
    }
}

#[test]
fn levels_of_flash() {
    for (id, attribute, raw, expected) in [
        (5, "Reallocated_Sector_Ct", 3, Fine),
        (5, "Reallocated_Sector_Ct", 300, Watch),
        (171, "Program_Fail_Count", 12, Fine),
        (182, "Erase_Fail_Count_Total", 5000, Watch),
        (187, "Uncorrectable_Error_Cnt", 1, Watch),
        (188, "Command_Timeout", 700, Fine),
        (196, "Reallocated_Event_Count", 300, Fine),
        (197, "Current_Pending_ECC_Cnt", 1, Fine),
        (197, "Bogus_Current_Pend_Sect", 40, Fine),
        (199, "CRC_Error_Count", 204, Fine),
        (202, "Exception_Mode_Status", 1, Act),
    ] {
        assert_eq!(verdict(&ssd(&[row(id, attribute, raw)])), expected, "{id} {raw}");
    }
}

#[test]
fn flash_that_nobody_knows_is_watched_at_most_for_its_sectors() {
    let sectors = [row(197, "Current_Pending_Sector", 900), row(198, "Offline_Uncorrectable", 900)];
    assert_eq!(verdict(&ata("Netac SSD 128GB", "", 0, &sectors)), Watch);
    assert_eq!(verdict(&ata("INTEL SSDSC2", "Intel SSDs", 0, &sectors)), Act);
}

#[test]
fn seagate_packs_what_looks_like_millions_of_errors() {
    let packed = seagate(&[
        row(1, "Raw_Read_Error_Rate", 168_165_566),
        row(7, "Seek_Error_Rate", 43_556_810_755),
        row(188, "Command_Timeout", 25_770_198_088),
        row(195, "Hardware_ECC_Recovered", 168_165_566),
        (196, "Reallocated_Event_Count", 85, 30, "prefailure", 13_556),
        row(240, "Head_Flying_Hours", 122_817),
    ]);
    assert_eq!(verdict(&packed), Fine);
    assert!(codes(&packed).contains(&"excused"));
    assert_eq!(verdict(&seagate(&[row(184, "End-to-End_Error", 1)])), Act, "its own memory fails");
}

#[test]
fn thresholds() {
    fn one(id: u8, attribute: &str, value: u8, thresh: u8, flags: &str) -> Reading {
        wd(&[(id, attribute, value, thresh, flags, 0)])
    }
    for (reading, expected) in [
        (one(5, "Reallocated_Sector_Ct", 130, 140, "prefailure,updated_online"), Act),
        (one(1, "Raw_Read_Error_Rate", 1, 51, "prefailure"), Act),
        (one(44, "Unknown_Attribute", 10, 51, "prefailure"), Act),
        (one(44, "Unknown_Attribute", 10, 51, ""), Fine),
        (one(44, "Unknown_Attribute", 100, 100, ""), Fine),
        (one(44, "Unknown_Attribute", 100, 100, "prefailure"), Watch),
        (one(9, "Power_On_Hours", 1, 1, ""), Fine),
        (one(187, "Reported_Uncorrect", 1, 1, ""), Watch),
        (one(190, "Airflow_Temperature_Cel", 40, 45, ""), Watch),
        (one(194, "Temperature_Celsius", 40, 45, "prefailure"), Watch),
        (one(5, "Reallocated_Sector_Ct", 12, 10, "prefailure"), Watch),
    ] {
        assert_eq!(verdict(&reading), expected, "{:?}", reading.attributes);
    }
    let mut kept = one(232, "Perc_Avail_Resrvd_Space", 0, 5, "prefailure");
    kept.attributes[0].worst = Some(100);
    assert_eq!(verdict(&kept), Watch, "a value that the firmware does not keep");
    kept.passed = Some(false);
    assert_eq!(verdict(&kept), Watch, "and the check is made of it");
    let past = |id, attribute: &str, flags: &str| {
        let mut reading = one(id, attribute, 100, 45, flags);
        reading.attributes[0].worst = Some(40);
        verdict(&reading)
    };
    assert_eq!(past(5, "Reallocated_Sector_Ct", "prefailure"), Watch);
    assert_eq!(past(190, "Airflow_Temperature_Cel", ""), Fine, "a hot day long ago");
    assert_eq!(past(44, "Unknown_Attribute", ""), Fine);
}

#[test]
fn a_disk_that_fails_for_being_hot_is_to_be_cooled() {
    let mut hot = ssd(&[(194, "Temperature_Celsius", 18, 20, "prefailure", 82)]);
    hot.passed = Some(false);
    assert_eq!(verdict(&hot), Watch);
    let mut worse = ssd(&[
        (194, "Temperature_Celsius", 18, 20, "prefailure", 82),
        (5, "Reallocated_Sector_Ct", 5, 10, "prefailure", 900),
    ]);
    worse.passed = Some(false);
    assert_eq!(verdict(&worse), Act);
}

fn nvme(facts: &[(&str, u64)]) -> Reading {
    let mut text = format!(
        "{}{{model_name=\"CT1000P3SSD8\",serial_number=\"2311E6\",protocol=\"NVMe\"}} 1\n",
        name::DEVICE
    );
    for (name, value) in facts {
        let _ = writeln!(text, "{name}{{}} {value}");
    }
    reading(&text)
}

#[test]
fn critical_warnings_by_their_bits() {
    for (bits, expected) in [
        (0, Fine),
        (1, Act),
        (2, Watch),
        (3, Act),
        (4, Act),
        (8, Act),
        (16, Act),
        (32, Watch),
        (64, Watch),
    ] {
        let passed = u64::from(bits == 0);
        let reading = nvme(&[(name::CRITICAL_WARNING, bits), (name::STATUS, passed)]);
        assert_eq!(verdict(&reading), expected, "{bits:#x}");
    }
}

#[test]
fn spare_against_its_own_threshold() {
    for (spare, threshold, expected) in [
        (100, 10, Fine),
        (99, 10, Fine),
        (40, 10, Watch),
        (10, 10, Act),
        (9, 10, Act),
        (100, 99, Fine),
        (99, 99, Fine),
        (98, 99, Watch),
        (100, 0, Fine),
        (0, 0, Fine),
        (255, 10, Fine),
    ] {
        let reading = nvme(&[
            (name::CRITICAL_WARNING, 0),
            (name::SPARE, spare),
            (name::SPARE_THRESHOLD, threshold),
        ]);
        assert_eq!(verdict(&reading), expected, "{spare} {threshold}");
    }
}

#[test]
fn wear_alone_is_never_a_reason_to_act() {
    for (used, expected) in [(0, Fine), (60, Fine), (95, Watch), (137, Watch), (255, Watch)] {
        let reading = nvme(&[(name::CRITICAL_WARNING, 0), (name::PERCENTAGE_USED, used)]);
        assert_eq!(verdict(&reading), expected, "{used}");
    }
    // 100 down to 1, as Samsung counts.
    let worn = |value| ssd(&[(177, "Wear_Leveling_Count", value, 0, "prefailure", 7282)]);
    assert_eq!(verdict(&worn(1)), Watch);
    assert_eq!(verdict(&worn(60)), Fine);
    assert_eq!(worn(60).wear_ratio, Some(0.4));
    // Phison leaves the value at 100 and counts down; a Kingston counts up; an older one ends at 0.
    let left = |value, raw| {
        ata("KINGSTON SA400", "Phison Driven SSDs", 0, &[(231, "SSD_Life_Left", value, 0, "", raw)])
            .wear_ratio
    };
    assert_eq!(left(100, 74), Some(0.26));
    assert_eq!(left(99, 1), Some(0.01));
    assert_eq!(left(100, 0), None);
    assert_eq!(left(0, 0), Some(1.0));
    assert_eq!(left(93, 93), Some(0.07));
}

#[test]
fn a_worn_disk_that_warns_of_nothing_else_is_watched() {
    let facts = [
        (name::CRITICAL_WARNING, 4),
        (name::STATUS, 0),
        (name::PERCENTAGE_USED, 100),
        (name::SPARE, 100),
        (name::SPARE_THRESHOLD, 10),
        (name::MEDIA_ERRORS, 0),
    ];
    let worn = nvme(&facts);
    assert_eq!(verdict(&worn), Watch);
    let with = |name, value| {
        let facts = facts.map(|(known, old)| (known, if known == name { value } else { old }));
        verdict(&nvme(&facts))
    };
    assert_eq!(with(name::PERCENTAGE_USED, 60), Act, "then there is another cause");
    assert_eq!(with(name::MEDIA_ERRORS, 3), Act);
    assert_eq!(with(name::SPARE, 9), Act);
    let mut tested = worn;
    tested.self_tests = vec![SelfTest {
        kind: "short".to_owned(),
        passed: false,
        status: Some("segment_failure".to_owned()),
        hours: None,
    }];
    assert_eq!(verdict(&tested), Watch, "the test looks at the warning");
    tested.nvme.critical_warning = Some(0);
    assert_eq!(verdict(&tested), Act);
}

#[test]
fn media_errors_that_grow_and_refused_commands() {
    let errors = |count| nvme(&[(name::CRITICAL_WARNING, 0), (name::MEDIA_ERRORS, count)]);
    assert_eq!(verdict(&errors(7)), Watch);
    assert_eq!(since(&errors(7), &errors(7)), Watch);
    assert_eq!(acknowledged(&errors(7), &errors(7)), Fine);
    assert_eq!(acknowledged(&errors(8), &errors(7)), Watch);
    assert_eq!(acknowledged(&errors(70), &errors(7)), Act);
    let refused = nvme(&[(name::CRITICAL_WARNING, 0), (name::ERROR_ENTRIES, 23_323)]);
    assert_eq!(verdict(&refused), Fine);
    assert!(codes(&refused).contains(&"error_log_entries"));
}

/// As where nothing but one log was asked for.
#[test]
fn what_one_log_says_is_enough() {
    let mut errors = Reading {
        state: State::Read,
        error_log_count: Some(1811),
        error_log_uncorrectable_hours: Some(43_311),
        ..Reading::default()
    };
    assert_eq!(verdict(&errors), Watch, "nobody knows how long ago that was");
    errors.power_on_hours = Some(60_000);
    assert_eq!(verdict(&errors), Fine);
    let statistics = |count| Reading {
        state: State::Read,
        reallocated_sectors: Some(count),
        ..Reading::default()
    };
    assert_eq!(verdict(&statistics(4511)), Act);
    assert_eq!(verdict(&statistics(0)), Fine);
    assert_eq!(verdict(&Reading { state: State::Read, ..Reading::default() }), Silent);
}

#[test]
fn scsi_counters() {
    for (name, count, expected) in [
        (name::GROWN_DEFECTS, 2, Fine),
        (name::GROWN_DEFECTS, 56, Watch),
        (name::GROWN_DEFECTS, 4000, Act),
        (name::READ_UNCORRECTED, 1, Watch),
        (name::READ_UNCORRECTED, 60, Act),
        (name::WRITE_UNCORRECTED, 1, Watch),
        (name::WRITE_UNCORRECTED, 8, Act),
        (name::VERIFY_UNCORRECTED, 1, Watch),
        (name::SCAN_UNREADABLE, 0, Fine),
        (name::SCAN_UNREADABLE, 2, Watch),
        (name::SCAN_HALTED, 1, Watch),
        (name::SCAN_HALTED, 0, Fine),
        (name::NON_MEDIUM, 50_000, Fine),
        (name::VERIFY_UNCORRECTED, 0xAAAA_AAAA_u64, Fine),
    ] {
        let reading = reading(&format!("{name}{{}} {count}\n{}{{}} 1", name::STATUS));
        assert_eq!(verdict(&reading), expected, "{name} {count}");
    }
}

fn with_tests(tests: &[(&str, bool, &str, u64)], unresolved: u64) -> Reading {
    let mut reading = wd(&[]);
    reading.self_tests_failed = Some(unresolved);
    reading.self_tests = tests
        .iter()
        .map(|(kind, passed, status, hours)| SelfTest {
            kind: (*kind).to_owned(),
            passed: *passed,
            status: Some((*status).to_owned()),
            hours: Some(*hours),
        })
        .collect();
    reading
}

#[test]
fn self_tests() {
    let read = "read_failure";
    for (tests, unresolved, expected) in [
        (vec![("long", false, read, 19_990)], 1, Act),
        (vec![("short", false, read, 19_990)], 1, Act),
        (vec![("long", false, read, 2000)], 1, Watch),
        (vec![("long", false, read, 19_000), ("short", true, "completed", 19_990)], 1, Act),
        (vec![("short", false, read, 19_000), ("long", true, "completed", 19_990)], 0, Fine),
        (vec![("long", false, "fatal_error", 19_990)], 1, Watch),
        (vec![("offline", false, "servo_failure", 19_990)], 1, Watch),
        (vec![("long", true, "completed", 19_990)], 0, Fine),
    ] {
        assert_eq!(verdict(&with_tests(&tests, unresolved)), expected, "{tests:?}");
    }
    // The hours of the log begin anew after 65,535.
    let mut old = with_tests(&[("short", false, read, 10_643)], 1);
    old.power_on_hours = Some(76_195);
    assert_eq!(verdict(&old), Act, "16 hours ago");
}

#[test]
fn signs_that_stand_together() {
    let pending = |count| row(197, "Current_Pending_Sector", count);
    let offline = |count| row(198, "Offline_Uncorrectable", count);
    let reads = |count| row(187, "Reported_Uncorrect", count);
    let replaced = |count| row(5, "Reallocated_Sector_Ct", count);
    for (rows, expected) in [
        (vec![pending(16), offline(16)], Act),
        (vec![pending(8), offline(8)], Watch),
        (vec![pending(8), reads(1)], Watch),
        (vec![pending(16), reads(1)], Act),
        (vec![pending(1), offline(1)], Watch),
        (vec![pending(1), reads(20)], Act),
        (vec![replaced(200), pending(1)], Act),
        (vec![replaced(200), reads(1)], Watch),
        (vec![replaced(20), pending(1)], Watch),
    ] {
        assert_eq!(verdict(&wd(&rows)), expected, "{rows:?}");
    }
    let mut tested = with_tests(&[("long", false, "read_failure", 2000)], 1);
    tested.attributes = wd(&[pending(1)]).attributes;
    assert_eq!(verdict(&tested), Act, "old, and still there");
}

#[test]
fn a_count_of_attempts_that_foretells_a_failure_is_no_count() {
    let rows = [
        row(197, "Current_Pending_Sector", 1),
        (196, "Reallocated_Event_Count", 91, 30, "prefailure", 8398),
    ];
    assert_eq!(verdict(&ata("TOSHIBA MQ01ABD100", "Toshiba", 5400, &rows)), Watch);
    let plain = [rows[0], row(196, "Reallocated_Event_Count", 8398)];
    assert_eq!(verdict(&ata("TOSHIBA MQ01ABD100", "Toshiba", 5400, &plain)), Act);
}

#[test]
fn flash_that_loses_data_while_it_replaces_blocks() {
    let both = |replaced, lost, family| {
        let rows =
            [row(5, "Reallocated_Sector_Ct", replaced), row(187, "Uncorrectable_Error_Cnt", lost)];
        verdict(&ata("Samsung SSD 870 EVO 1TB", family, 0, &rows))
    };
    assert_eq!(both(250, 900, "Samsung based SSDs"), Act);
    assert_eq!(both(60, 400, "Samsung based SSDs"), Act);
    assert_eq!(both(3, 900, "Samsung based SSDs"), Watch);
    assert_eq!(both(250, 9, "Samsung based SSDs"), Watch);
    assert_eq!(both(250, 900, ""), Watch, "nobody knows what it counts");
}

#[test]
fn numbers_that_only_look_like_what_their_names_say() {
    let unknown = |rows: &[Row<'_>]| verdict(&ata("SSD 64GB", "", 0, rows));
    assert_eq!(unknown(&[row(184, "End-to-End_Error", 122)]), Fine, "bad from the beginning");
    assert_eq!(unknown(&[row(10, "Spin_Retry_Count", 120)]), Fine, "there is no motor");
    let named = [row(184, "End-to-End_Error", 122)];
    assert_eq!(verdict(&ata("INTEL SSDSC2", "Intel SSDs", 0, &named)), Act);
    assert_eq!(verdict(&wd(&[row(10, "Spin_Retry_Count", 120)])), Act);
    // Neither the model nor anything else says what it is made of.
    let mut nameless = wd(&[row(197, "Current_Pending_Sector", 55)]);
    assert_eq!(verdict(&nameless), Act);
    (nameless.kind, nameless.identity.family) = (None, None);
    assert_eq!(verdict(&nameless), Watch);
    nameless.identity.model = None;
    assert_eq!(verdict(&nameless), Act, "an excerpt of a disk's report");
}

#[test]
fn counters_that_are_full_missing_or_packed() {
    let at = |id, name, value, raw| verdict(&wd(&[(id, name, value, 0, "", raw)]));
    assert_eq!(at(187, "Reported_Uncorrect", 1, 65_535), Act);
    assert_eq!(at(197, "Current_Pending_Sector", 1, 65_535), Act);
    assert_eq!(at(5, "Reallocated_Sector_Ct", 1, 65_535), Act);
    assert_eq!(at(5, "Reallocated_Sector_Ct", 200, 65_535), Fine);
    assert_eq!(at(10, "Spin_Retry_Count", 100, 131_072), Fine);
    assert_eq!(at(10, "Spin_Retry_Count", 40, 131_072), Act);
    assert_eq!(at(197, "Current_Pending_Sector", 200, 65_536), Fine);
    assert_eq!(at(197, "Current_Pending_Sector", 200, 65_636), Act);
    assert_eq!(at(198, "Offline_Uncorrectable", 100, 98_943_383), Fine);
}

#[test]
fn firmware_that_did_not_start() {
    let named = |model: &str, firmware: &str, serial: &str, bytes: Option<u64>| {
        let mut reading = ssd(&[row(9, "Power_On_Hours", 8000)]);
        reading.identity.model = Some(model.to_owned());
        reading.identity.firmware = Some(firmware.to_owned());
        reading.identity.serial = Some(serial.to_owned());
        reading.capacity_bytes = bytes;
        codes(&reading)[0]
    };
    let large = Some(120_034_123_776);
    assert_eq!(named("SATAFIRM   S11", "SBFKB1D1", "5002", large), "firmware_panic");
    assert_eq!(named("WDC ROM MODEL-HAWK-----", "1", "5002", large), "firmware_panic");
    assert_eq!(named("SandForce{200026BB}", "1", "5002", Some(32_768)), "firmware_panic");
    assert_eq!(named("SAMSUNG MZVLB512", "ERRORMOD", "S1", large), "firmware_panic");
    assert_eq!(named("INTEL SSDSA2", "4PC1", "BAD_CTX 00000130", large), "firmware_panic");
    assert_eq!(named("INTEL SSDSA2", "4PC1", "CVPR1", Some(8_388_608)), "firmware_panic");
    assert_eq!(named("SandForce SSD", "1", "5002", large), "healthy");
    assert_eq!(named("INTEL SSDSA2", "4PC1", "CVPR1", None), "healthy");
    let protected = ssd(&[row(167, "Write_Protect_Mode", 1)]);
    assert_eq!(verdict(&protected), Act);
    assert_eq!(verdict(&ssd(&[row(167, "Write_Protect_Mode", 0)])), Fine);
    let mut bare = Reading::default();
    bare.identity.model = Some("SATAFIRM   S11".to_owned());
    assert_eq!(verdict(&bare), Act, "whatever else is not known");
}

#[test]
fn no_spare_block_and_no_life_left() {
    let spares = |count, replaced| {
        let rows =
            [row(5, "Reallocated_Sector_Ct", replaced), row(161, "Valid_Spare_Block_Cnt", count)];
        verdict(&ata("SSD 240GB", "Silicon Motion based SSDs", 0, &rows))
    };
    assert_eq!(spares(0, 40), Act);
    assert_eq!(spares(0, 0), Fine, "a number that nobody keeps");
    assert_eq!(spares(16, 0), Fine);
}

#[test]
fn what_was_not_understood_is_never_fine() {
    let doubtful = |mut reading: Reading, parts: &[&str]| {
        reading.not_understood = parts.iter().map(|part| (*part).to_owned()).collect();
        judge(&reading, None).unwrap()
    };
    let sound = wd(&[row(5, "Reallocated_Sector_Ct", 0)]);
    let passed = || reading(&format!("{}{{}} 1", name::STATUS));
    assert_eq!(doubtful(sound.clone(), &[]).verdict, Fine);
    assert_eq!(doubtful(sound.clone(), &["attributes"]).verdict, Watch);
    assert_eq!(doubtful(sound.clone(), &["raw"]).verdict, Watch);
    assert_eq!(doubtful(passed(), &["attributes"]).verdict, Silent);
    let unsaid = Reading { passed: None, ..sound.clone() };
    assert_eq!(doubtful(unsaid, &["health"]).verdict, Watch);
    assert_eq!(doubtful(sound.clone(), &["lines"]).verdict, Watch);
    assert_eq!(doubtful(passed(), &["lines"]).verdict, Silent);
    assert_eq!(doubtful(sound, &["checksum"]).verdict, Fine, "it looks as it should");
    let garbled = wd(&[
        (101, "Unknown_Attribute", 0, 71, "prefailure", 0),
        row(197, "Current_Pending_Sector", 1234),
        row(198, "Offline_Uncorrectable", 1234),
    ]);
    assert_eq!(verdict(&garbled), Act);
    let judged = doubtful(garbled, &["checksum"]);
    assert_eq!(judged.verdict, Watch);
    assert!(judged.reasons.iter().any(|reason| reason.code == "attributes_garbled"));
    let sample =
        format!("{}{{part=\"attributes\"}} 1\n{}{{}} 1", name::NOT_UNDERSTOOD, name::STATUS);
    assert_eq!(verdict(&reading(&sample)), Silent);
}

#[test]
fn errors_logged_of_late() {
    let logged = |count: u64, hours: Option<u64>| {
        let mut reading = wd(&[]);
        reading.error_log_count = Some(count);
        reading.error_log_damage_hours = hours;
        reading
    };
    assert_eq!(verdict(&logged(5236, Some(19_999))), Watch);
    assert_eq!(verdict(&logged(5236, Some(2_000))), Fine, "that is long ago");
    assert_eq!(verdict(&logged(5, Some(19_999))), Fine);
    assert_eq!(verdict(&logged(5236, None)), Fine, "all of the link or of wrong commands");
    let seen = logged(5236, Some(19_999));
    assert_eq!(acknowledged(&seen, &seen), Fine);
    assert_eq!(acknowledged(&logged(5300, Some(20_000)), &seen), Watch);
}

#[test]
fn sectors_that_only_the_statistics_count() {
    let replaced = |count, rows: &[Row<'_>]| {
        verdict(&Reading { reallocated_sectors: Some(count), ..wd(rows) })
    };
    assert_eq!(replaced(0, &[]), Fine);
    assert_eq!(replaced(8, &[]), Watch);
    assert_eq!(replaced(4500, &[]), Act);
    assert_eq!(replaced(4500, &[row(5, "Reallocated_Sector_Ct", 0)]), Fine, "attribute 5 knows");
    assert_eq!(replaced(420_000_000_000, &[]), Fine, "no count");
}

#[test]
fn the_newest_test_of_a_disk_without_hours_tells_how_old_another_is() {
    let mut old = with_tests(
        &[("long", false, "segment_failure", 10_000), ("short", true, "completed", 17_800)],
        1,
    );
    old.power_on_hours = None;
    assert_eq!(verdict(&old), Watch);
    old.self_tests[1].hours = Some(10_900);
    assert_eq!(verdict(&old), Act);
    let unnamed = with_tests(&[("unnamed", false, "read_failure", 0)], 1);
    assert_eq!(verdict(&unnamed), Watch, "nobody knows when that was");
}

#[test]
fn media_errors_by_themselves() {
    for (errors, spare, expected) in [
        (7, 100, Watch),
        (1_000, 100, Watch),
        (1_000, 60, Act),
        (15_000, 100, Act),
        (u64::from(u32::MAX), 100, Watch),
    ] {
        let disk = nvme(&[
            (name::CRITICAL_WARNING, 0),
            (name::MEDIA_ERRORS, errors),
            (name::SPARE, spare),
            (name::SPARE_THRESHOLD, 10),
        ]);
        assert_eq!(verdict(&disk), expected, "{errors} {spare}");
    }
}

#[test]
fn what_grows_counts_and_what_was_acknowledged_does_not() {
    let replaced = |count| wd(&[row(5, "Reallocated_Sector_Ct", count)]);
    assert_eq!(since(&replaced(2000), &replaced(2000)), Watch);
    assert_eq!(since(&replaced(2), &replaced(1)), Watch);
    assert_eq!(since(&replaced(90), &replaced(1)), Act);
    assert_eq!(acknowledged(&replaced(2000), &replaced(2000)), Fine);
    assert_eq!(acknowledged(&replaced(2001), &replaced(2000)), Watch);
    assert_eq!(acknowledged(&replaced(2100), &replaced(2000)), Act);
    assert_eq!(acknowledged(&replaced(1001), &replaced(999)), Act, "a level it had not reached");
    let cable = |count| wd(&[row(199, "UDMA_CRC_Error_Count", count)]);
    assert_eq!(acknowledged(&cable(100_000), &cable(2)), Watch, "never more than the cable");
    let pending = |count| wd(&[row(197, "Current_Pending_Sector", count)]);
    assert_eq!(since(&pending(0), &pending(8)), Fine, "they were written anew");
}

#[test]
fn what_has_not_grown_stands_still_only_after_some_time() {
    let pending = |count, hours| {
        let mut reading = wd(&[
            row(197, "Current_Pending_Sector", count),
            row(198, "Offline_Uncorrectable", count),
        ]);
        reading.power_on_hours = hours;
        reading
    };
    let against =
        |now: &Reading, before: &Reading| judge(now, Some(before.into())).unwrap().verdict;
    let before = pending(60, Some(20_000));
    assert_eq!(verdict(&before), Act);
    assert_eq!(against(&before, &before), Act, "the same report twice says no more than once");
    assert_eq!(against(&pending(60, Some(20_005)), &before), Act);
    assert_eq!(against(&pending(60, Some(20_100)), &before), Watch);
    assert_eq!(against(&pending(60, None), &before), Watch, "nobody knows");
    assert_eq!(acknowledged(&before, &before), Fine, "somebody has looked at it");
}

#[test]
fn a_disk_that_does_not_answer_needs_no_comparison() {
    let before = wd(&[]);
    for (state, expected) in [(State::Failed, Dead), (State::Asleep, Asleep)] {
        let now = Reading { state, ..Reading::default() };
        assert_eq!(judge(&now, Some((&before).into())).unwrap().verdict, expected);
    }
}

#[test]
fn a_scsi_disk_that_warns_does_not_fail() {
    let said = |asc: &str, ascq: &str| {
        let text = format!(
            "{}{{asc=\"{asc}\",ascq=\"{ascq}\"}} 1\n{}{{}} 0",
            name::SCSI_SENSE,
            name::STATUS,
        );
        let reading = reading(&text);
        (verdict(&reading), codes(&reading)[0])
    };
    assert_eq!(said("0x0b", "0x01"), (Watch, "smart_failed_hot"));
    assert_eq!(said("0x0b", "0x02"), (Watch, "smart_warning"));
    assert_eq!(said("0x0b", "0x03"), (Act, "smart_failed"), "its own test failed");
    assert_eq!(said("0x5d", "0x10"), (Act, "smart_failed"));
    assert_eq!(said("0x0", "nonsense"), (Act, "smart_failed"));
}

#[test]
fn an_acknowledged_failure_is_watched() {
    let mut failed = wd(&[(1, "Raw_Read_Error_Rate", 1, 51, "prefailure", 0)]);
    failed.passed = Some(false);
    assert_eq!(verdict(&failed), Act);
    assert_eq!(since(&failed, &failed), Act, "nobody has said that it may");
    assert_eq!(acknowledged(&failed, &failed), Watch);
    let mut broken = with_tests(&[("long", false, "read_failure", 19_990)], 1);
    assert_eq!(acknowledged(&broken, &broken.clone()), Watch);
    let before = broken.clone();
    broken.self_tests[0].hours = Some(20_000);
    assert_eq!(acknowledged(&broken, &before), Act, "it failed once more");
}

#[test]
fn different_disks_are_not_compared() {
    let disk = |model: &str, serial: &str, hours: u64| Reading {
        identity: crate::Identity {
            model: Some(model.to_owned()),
            serial: Some(serial.to_owned()).filter(|serial| !serial.is_empty()),
            ..Default::default()
        },
        power_on_hours: Some(hours),
        passed: Some(true),
        ..Reading::default()
    };
    let refused = |now: &Reading, before: &Reading| judge(now, Some(before.into())).is_err();
    assert!(refused(&disk("M1", "S1234", 5), &disk("M1", "S9999", 1)));
    assert!(refused(&disk("M1", "S1234", 5), &disk("M2", "S1234", 1)));
    assert!(!refused(&disk("M1", "S1234", 5), &disk("M1", "S1234", 1)));
    assert!(!refused(&disk("ATA M1", "S1234", 5), &disk("M1", "S1234", 1)), "behind a bridge");
    assert!(!refused(&disk("M1", "WDWCAZ1234", 5), &disk("M1", "WD-WCAZ1234", 1)));
    for blank in ["", "XXXXXXXX", "[REDACTED]", "00000000", "WD-XXXXXXXX", "********"] {
        assert!(!refused(&disk("M1", blank, 5), &disk("M1", blank, 1)), "{blank}");
        assert!(refused(&disk("M1", blank, 1), &disk("M1", blank, 5)), "{blank}: younger");
        assert!(refused(&disk("M1", blank, 5), &disk("M2", blank, 1)), "{blank}");
    }
    assert!(refused(&Reading::default(), &disk("M1", "S1234", 1)));
}

#[test]
fn disks_that_were_not_read() {
    let ended = |state: State, reason: &str| Reading {
        state,
        state_reason: Some(reason.to_owned()),
        ..Reading::default()
    };
    for (state, reason, expected) in [
        (State::Asleep, "standby", Asleep),
        (State::Asleep, "unknown", Asleep),
        (State::Denied, "permission", Silent),
        (State::Unsupported, "unknown_usb_bridge", Silent),
        (State::Unsupported, "virtual", Silent),
        (State::Failed, "identify_failed", Dead),
        (State::Failed, "timeout", Dead),
        (State::Failed, "not_run", Silent),
        (State::Failed, "no_report", Silent),
        (State::Gone, "", Silent),
        (State::Read, "", Silent),
    ] {
        assert_eq!(verdict(&ended(state, reason)), expected, "{state:?} {reason}");
    }
    let known = |state, rows: &[Row<'_>]| Reading { state, ..wd(rows) };
    assert_eq!(verdict(&known(State::Gone, &[])), Dead);
    assert_eq!(verdict(&known(State::Asleep, &[row(9, "Power_On_Hours", 5)])), Asleep);
    let dying = [row(197, "Current_Pending_Sector", 500)];
    assert_eq!(verdict(&known(State::Asleep, &dying)), Act, "sleep heals nothing");
    assert_eq!(verdict(&known(State::Failed, &dying)), Dead);
}

#[test]
fn temperature_against_its_own_limits() {
    let at = |celsius: i32, limit: i32| {
        let text = format!(
            "{}{{}} 1\n{}{{temperature_type=\"current\"}} {celsius}\n{}{{limit=\"max\"}} {limit}",
            name::STATUS,
            name::TEMPERATURE,
            name::TEMPERATURE_LIMIT,
        );
        verdict(&reading(&text))
    };
    assert_eq!(at(45, 60), Fine);
    assert_eq!(at(61, 60), Watch);
    assert_eq!(at(0, 60), Fine, "a sensor that is not there");
    assert_eq!(at(30, 5), Fine, "a limit that is none");
}

#[test]
fn a_baseline_survives_json() {
    let baseline = wd(&[row(5, "Reallocated_Sector_Ct", 8)]).baseline();
    assert_eq!(baseline.counters.get("attribute_5"), Some(&8));
    let json = serde_json::to_string(&baseline).unwrap();
    assert_eq!(serde_json::from_str::<Baseline>(&json).unwrap(), baseline);
    assert_eq!(serde_json::from_str::<Baseline>("{\"new\":1}").unwrap(), Baseline::default());
}

const NAMES: [(u8, &str); 16] = [
    (5, "Reallocated_Sector_Ct"),
    (10, "Spin_Retry_Count"),
    (184, "End-to-End_Error"),
    (187, "Reported_Uncorrect"),
    (188, "Command_Timeout"),
    (196, "Reallocated_Event_Count"),
    (197, "Current_Pending_Sector"),
    (198, "Offline_Uncorrectable"),
    (199, "UDMA_CRC_Error_Count"),
    (200, "Multi_Zone_Error_Rate"),
    (201, "Soft_Read_Error_Rate"),
    (22, "Helium_Level"),
    (177, "Wear_Leveling_Count"),
    (179, "Used_Rsvd_Blk_Cnt_Tot"),
    (190, "Airflow_Temperature_Cel"),
    (231, "SSD_Life_Left"),
];

prop_compose! {
    /// Any disk, sound or not, that says no word of failing itself.
    fn any_disk()(
        raws in prop::collection::vec(0_u64..3000, NAMES.len()),
        keep in prop::collection::vec(any::<bool>(), NAMES.len()),
        rotation in prop::sample::select(vec![0_u32, 5400, 7200]),
        model in prop::sample::select(vec!["ST4000", "WDC WD40", "SAMSUNG MZ7", "HGST H"]),
        media in prop::option::of(0_u64..100),
        defects in prop::option::of(0_u64..3000),
        wear in prop::option::of(0.0..3.0_f64),
    ) -> Reading {
        let rows: Vec<Row<'_>> = NAMES
            .iter()
            .zip(raws.iter().zip(&keep))
            .filter(|(_, (_, keep))| **keep)
            .map(|((id, name), (raw, _))| row(*id, name, *raw))
            .collect();
        let mut disk = ata(model, "", rotation, &rows);
        disk.nvme.media_errors = media;
        disk.scsi.grown_defects = defects;
        disk.wear_ratio = wear.or(disk.wear_ratio);
        disk
    }
}

proptest! {
    #[test]
    fn more_errors_never_make_it_better(
        disk in any_disk(), at in 0..NAMES.len(), more in 1_u64..3000, failed in any::<bool>(),
    ) {
        let mut worse = disk.clone();
        let (id, attribute) = NAMES[at];
        match worse.attributes.iter_mut().find(|it| it.id == id) {
            Some(attribute) => {
                if let Some(count) = attribute.parts.get_mut("count") {
                    *count += more as f64;
                }
            }
            None if id != 22 => {
                let added = ata("WDC WD40", "", 5400, &[row(id, attribute, more)]);
                worse.attributes.extend(added.attributes);
            }
            None => {}
        }
        if failed {
            worse.passed = Some(false);
        }
        prop_assert!(verdict(&worse).urgency() >= verdict(&disk).urgency());
    }

    #[test]
    fn what_stands_still_is_watched_at_most(disk in any_disk()) {
        prop_assert!(since(&disk, &disk).urgency() <= Watch.urgency());
        prop_assert!(acknowledged(&disk, &disk).urgency() <= Watch.urgency());
        prop_assert!(acknowledged(&disk, &disk).urgency() <= since(&disk, &disk).urgency());
    }

    #[test]
    fn any_samples_can_be_judged(
        samples in prop::collection::vec((0..60_usize, any::<f64>(), 0..8_usize, "[a-z0-9,_]{0,12}", 0..300_u32), 0..60),
    ) {
        let names: Vec<&str> = families::all().map(|family| &*family.name).collect();
        let kinds = ["value", "worst", "thresh", "raw", "current", "max", "long", "short"];
        let made: Vec<(&str, Labels, f64)> = samples
            .iter()
            .map(|(name, value, kind, text, id)| {
                let id = id.to_string();
                let labels = Labels::new([
                    ("attribute_id", id.as_str()),
                    ("attribute_name", text.as_str()),
                    ("attribute_value_type", kinds[*kind]),
                    ("temperature_type", kinds[*kind]),
                    ("type", kinds[*kind]),
                    ("part", text.as_str()),
                    ("state", State::ALL[*kind % 6].as_str()),
                    ("model_name", text.as_str()),
                ]);
                (names[*name % names.len()], labels, *value)
            })
            .collect();
        let samples = made.iter().map(|(name, labels, value)| (*name, labels.as_ref(), *value));
        if let Some(reading) = Reading::from_samples(samples) {
            let judgement = judge(&reading, None).unwrap();
            prop_assert!(!judgement.reasons.is_empty());
            let worst = judgement.reasons.iter().map(|reason| reason.verdict.urgency()).max();
            prop_assert!(worst >= Some(judgement.verdict.urgency()));
            let _ = judge(&reading, Some((&reading).into()));
            serde_json::to_string(&judgement).unwrap();
        }
    }
}
