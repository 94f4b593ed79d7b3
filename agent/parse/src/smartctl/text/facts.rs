//! Facts of `Key: value` lines that are not of NVMe devices alone.

use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::{tag, take_until};
use nom::character::complete::{char, space1};
use nom::combinator::{map, opt};
use nom::sequence::{preceded, separated_pair, terminated};

use super::number::{self, grouped, plain, signed};
use super::self_test;
use crate::smartctl::{
    Capacity, Device, InterfaceSpeed, LocalTime, Name, PowerMode, PowerOnTime, Program, Report,
    ScsiErrorCounter, ScsiSelfTestStatus, ScsiStatus, SmartStatus, Speed, Text, Wwn,
};

/// Degrees Celsius a sensor of a disk can show; what is beyond is a counter read as one.
pub(super) const CELSIUS: std::ops::RangeInclusive<i64> = -60..=150;
/// What smartctl prints in place of a text that is empty.
const NOTHING_FOUND: &str = "[No Information Found]";
/// All of something.
const PERCENT_MAX: u64 = 100;
/// Bits of the unit SATA speeds are given in, 100 Mbit/s.
const SPEED_UNIT_BITS: u64 = 100_000_000;

/// Sets what is not set yet.
pub(super) fn set<T>(place: &mut Option<T>, value: Option<T>) {
    if place.is_none() {
        *place = value;
    }
}

fn set_text(place: &mut Option<String>, value: &str) {
    set(place, Some(value.to_owned()));
}

fn named(value: &str) -> Option<Name> {
    Some(Name { name: Some(value.to_owned()) })
}

pub(super) fn texted(value: &str) -> Option<Text> {
    Some(Text { string: Some(value.to_owned()), value: None })
}

/// `smartctl 7.4 2023-08-01 r5530 [x86_64-linux-6.6.30] (local build)`
pub(super) fn banner(line: &str) -> Option<Program> {
    let begin = (tag("smartctl "), opt(tag("version ")));
    let version = (opt(tag("pre-")), separated_pair(plain, char('.'), plain));
    let (rest, (before, (major, minor))) = preceded(begin, version).parse(line).into_parsed()?;
    let bracketed = |open, close| {
        let from = rest.find(open)? + 1;
        let text = rest.get(from..)?;
        Some(text.get(..text.find(close)?)?.to_owned())
    };
    let revision = rest
        .split_whitespace()
        .take_while(|word| !word.starts_with('['))
        .find_map(|word| word.strip_prefix('r').filter(|digits| number::whole(digits).is_some()));
    Some(Program {
        version: Some(vec![major, minor]),
        pre_release: before.map(|_| true),
        svn_revision: revision.map(str::to_owned),
        platform_info: bracketed('[', ']'),
        build_info: bracketed('(', ')').map(|build| format!("({build})")),
        ..Program::default()
    })
}

/// What a nom parser gave, or nothing.
trait Parsed<'a, T> {
    fn into_parsed(self) -> Option<(&'a str, T)>;
}

impl<'a, T> Parsed<'a, T> for nom::IResult<&'a str, T> {
    fn into_parsed(self) -> Option<(&'a str, T)> {
        self.ok()
    }
}

/// One line of `smartctl --scan`: `/dev/sda -d sat # /dev/sda [SAT], ATA device`. A line that
/// begins with `#` names a device that could not be opened.
pub(super) fn scanned(line: &str) -> Option<Device> {
    let (line, closed) = match line.strip_prefix("# ") {
        Some(rest) => (rest, true),
        None => (line, false),
    };
    let name = terminated(take_until(" -d "), tag(" -d "));
    let (rest, (name, kind)) =
        (name, terminated(take_until(" # "), tag(" # "))).parse(line).into_parsed()?;
    if name.contains(' ') || kind.contains(' ') {
        return None;
    }
    let (info, rest) = rest.rsplit_once(", ").unwrap_or((rest, ""));
    let (what, error) = match rest.split_once(" open failed: ") {
        Some((what, error)) if closed => (what, Some(error.to_owned())),
        _ => (rest, None),
    };
    Some(Device {
        name: Some(name.to_owned()),
        info_name: Some(info.to_owned()),
        kind: Some(kind.to_owned()),
        protocol: what.strip_suffix(" device").map(str::to_owned),
        open_error: error,
    })
}

/// What names the device, whatever its kind.
pub(super) fn identity(report: &mut Report, key: &str, value: &str) -> bool {
    match key {
        "Model Family" => set_text(&mut report.model_family, value),
        "Device Model" | "Model Number" => set_text(&mut report.model_name, value),
        "Serial Number" | "Serial number" => set_text(&mut report.serial_number, value),
        "Firmware Version" => set_text(&mut report.firmware_version, value),
        "Add. Product Id" => set_text(&mut report.ata_additional_product_id, value),
        "LU WWN Device Id" => set(&mut report.wwn, wwn(value)),
        "Logical Unit id" => set_text(&mut report.logical_unit_id, value),
        "Rotation Rate" => set(&mut report.rotation_rate, rotation(value)),
        "Form Factor" => set(&mut report.form_factor, named(value)),
        "Local Time is" => {
            let asctime = Some(value.to_owned());
            set(&mut report.local_time, Some(LocalTime { time_t: None, asctime }));
        }
        "Device is" => set(
            &mut report.in_smartctl_database,
            match value {
                _ if value.starts_with("In smartctl database") => Some(true),
                _ if value.starts_with("Not in smartctl database") => Some(false),
                _ => None,
            },
        ),
        "Power mode is" | "Power mode was" => {
            let name = Some(value.to_owned());
            set(&mut report.power_mode, Some(PowerMode { name, ..PowerMode::default() }));
        }
        _ => return false,
    }
    true
}

/// `5 002538 d40a1b2c3`, all hexadecimal.
fn wwn(value: &str) -> Option<Wwn> {
    let mut parts = value.split(' ').map(|part| u64::from_str_radix(part, 16).ok());
    let (naa, oui, id) = (parts.next()??, parts.next()??, parts.next()??);
    Some(Wwn { naa: Some(naa), oui: Some(oui), id: Some(id) })
}

fn rotation(value: &str) -> Option<u64> {
    match value {
        "Solid State Device" => Some(0),
        _ => terminated(plain, tag(" rpm")).parse(value).into_parsed().map(|(_, rpm)| rpm),
    }
}

/// Sizes of the whole and of its blocks.
pub(super) fn capacity(report: &mut Report, key: &str, value: &str) -> bool {
    match key {
        "User Capacity" => {
            let bytes = terminated(grouped, (space1, tag("bytes"))).parse(value).into_parsed();
            set_capacity(report, bytes.map(|(_, bytes)| bytes));
        }
        "Sector Size" | "Sector Sizes" => sector_sizes(report, value),
        "Logical block size" => set(&mut report.logical_block_size, bytes_of(value)),
        "Physical block size" => set(&mut report.physical_block_size, bytes_of(value)),
        _ => return namespace(report, key, value),
    }
    true
}

/// `Namespace 1 Size/Capacity: 512,110,190,592 [512 GB]`; a report is about one namespace.
fn namespace(report: &mut Report, key: &str, value: &str) -> bool {
    let Some((number, what)) = key.strip_prefix("Namespace ").and_then(|it| it.split_once(' '))
    else {
        return false;
    };
    match what {
        _ if number::whole(number).is_none() => return false,
        "Size/Capacity" | "Size" => set_capacity(report, measured(value)),
        "Formatted LBA Size" => set(&mut report.logical_block_size, number::whole(value)),
        _ => return false,
    }
    true
}

fn set_capacity(report: &mut Report, bytes: Option<u64>) {
    let capacity = bytes.map(|bytes| Capacity { blocks: None, bytes: Some(bytes) });
    set(&mut report.user_capacity, capacity);
}

/// A count with the same in round units behind it: `512,110,190,592 [512 GB]`, or 0 alone.
pub(super) fn measured(value: &str) -> Option<u64> {
    let (rest, count) = grouped(value).into_parsed()?;
    let rest = rest.trim_start();
    (rest.is_empty() || rest.starts_with('[')).then_some(count)
}

fn bytes_of(value: &str) -> Option<u64> {
    terminated(plain, tag(" bytes")).parse(value).into_parsed().map(|(_, bytes)| bytes)
}

/// `512 bytes logical/physical` or `512 bytes logical, 4096 bytes physical`
fn sector_sizes(report: &mut Report, value: &str) {
    let same = map(terminated(plain, tag(" bytes logical/physical")), |size| (size, size));
    let physical = terminated(plain, tag(" bytes physical"));
    let both = separated_pair(plain, tag(" bytes logical, "), physical);
    if let Some((_, (logical, physical))) = alt((same, both)).parse(value).into_parsed() {
        set(&mut report.logical_block_size, Some(logical));
        set(&mut report.physical_block_size, Some(physical));
    }
}

/// The device's own verdict, and whether it can give one.
pub(super) fn health(report: &mut Report, key: &str, value: &str) -> bool {
    let status = match (key, value) {
        ("SMART overall-health self-assessment test result", _) => {
            let passed = match () {
                () if value.starts_with("PASSED") => true,
                () if value.starts_with("FAILED") => false,
                () => return false,
            };
            SmartStatus { passed: Some(passed), scsi: None }
        }
        ("SMART Health Status", _) => match scsi_status(value) {
            Some(status) => status,
            None => return false,
        },
        ("SMART support is", _) => {
            let support = report.smart_support.get_or_insert_default();
            match value.split([' ', '-']).next() {
                Some("Available") => set(&mut support.available, Some(true)),
                Some("Unavailable") => set(&mut support.available, Some(false)),
                Some("Enabled") => set(&mut support.enabled, Some(true)),
                Some("Disabled") => set(&mut support.enabled, Some(false)),
                _ => {}
            }
            return true;
        }
        _ => return false,
    };
    set(&mut report.smart_status, Some(status));
    true
}

/// `OK`, or `FAILURE PREDICTION THRESHOLD EXCEEDED [asc=5d, ascq=10]`: what is no word is not
/// known.
fn scsi_status(value: &str) -> Option<SmartStatus> {
    let words = value.split_once('[').map_or(value, |(words, _)| words).trim();
    let first = words.split(|it: char| !it.is_ascii_alphanumeric()).next().unwrap_or_default();
    let is_word = first.len() > 1 && first.starts_with(|it: char| it.is_ascii_alphabetic());
    let code = |name: &str| {
        let (_, rest) = value.split_once(name)?;
        let end = rest.find(|it: char| !it.is_ascii_hexdigit()).unwrap_or(rest.len());
        u64::from_str_radix(rest.get(..end)?, 16).ok()
    };
    if first == "OK" {
        return Some(SmartStatus { passed: Some(true), scsi: None });
    }
    let asc = code("[asc=");
    let ie_string = Some(words.to_owned()).filter(|it| !it.is_empty());
    let scsi = Some(ScsiStatus { asc, ascq: code("ascq="), ie_string });
    (is_word || asc.is_some()).then_some(SmartStatus { passed: Some(false), scsi })
}

/// Lines that are sentences.
pub(super) fn statement(report: &mut Report, line: &str) -> bool {
    if let Some(rest) = line.strip_prefix("Device supports SMART and is ") {
        let support = report.smart_support.get_or_insert_default();
        set(&mut support.available, Some(true));
        set(
            &mut support.enabled,
            (rest == "Enabled" || rest == "Disabled").then(|| rest == "Enabled"),
        );
    } else if line.starts_with("Device does not support SMART") {
        set(&mut report.smart_support.get_or_insert_default().available, Some(false));
    } else if let Some(rest) = line.strip_prefix("Manufactured in week ") {
        let Some((week, year)) = rest.split_once(" of year ") else { return false };
        let counter = report.scsi_start_stop_cycle_counter.get_or_insert_default();
        set_text(&mut counter.week_of_manufacture, week);
        set_text(&mut counter.year_of_manufacture, year);
    } else {
        return false;
    }
    true
}

/// What only SCSI devices say.
pub(super) fn scsi(report: &mut Report, key: &str, value: &str) -> bool {
    match key {
        "Vendor" => set_text(&mut report.scsi_vendor, value),
        "Product" => set_text(&mut report.scsi_product, value),
        "Revision" => set_text(&mut report.scsi_revision, value),
        "Compliance" => set_text(&mut report.scsi_version, value),
        "Device" => old_device(report, value),
        "Device type" => set(&mut report.device_type, named(value)),
        "Transport protocol" => set(&mut report.scsi_transport_protocol, named(value)),
        "Current Drive Temperature" => {
            let place = &mut report.temperature.get_or_insert_default().current;
            set(place, degrees(value));
        }
        "Drive Trip Temperature" => {
            let place = &mut report.temperature.get_or_insert_default().drive_trip;
            set(place, degrees(value));
        }
        "Elements in grown defect list" => {
            set(&mut report.scsi_grown_defect_list, number::whole(value));
        }
        // The second is of versions 5.42 to 6.1.
        "Percentage used endurance indicator" | "SS Media used endurance indicator" => {
            set(&mut report.scsi_percentage_used_endurance_indicator, percent(value));
        }
        "Accumulated power on time, hours" => {
            set(&mut report.power_on_time, hours_and_minutes(value));
        }
        "Non-medium error count" => {
            set(&mut report.scsi_non_medium_error_count, number::whole(value));
        }
        "Pending defect count" => {
            let defects = report.scsi_pending_defects.get_or_insert_default();
            set(&mut defects.count, number::leading(value));
        }
        _ => return start_stop(report, key, value),
    }
    true
}

/// SCSI devices on how often their motors started and their heads were parked.
fn start_stop(report: &mut Report, key: &str, value: &str) -> bool {
    let counter = &mut report.scsi_start_stop_cycle_counter;
    let place = match key {
        "Accumulated start-stop cycles" | "Current start stop count" => {
            &mut counter.get_or_insert_default().accumulated_start_stop_cycles
        }
        "Accumulated load-unload cycles" => {
            &mut counter.get_or_insert_default().accumulated_load_unload_cycles
        }
        "Specified cycle count over device lifetime" | "Recommended maximum start stop count" => {
            &mut counter.get_or_insert_default().specified_cycle_count_over_device_lifetime
        }
        "Specified load-unload count over device lifetime" => {
            &mut counter.get_or_insert_default().specified_load_unload_count_over_device_lifetime
        }
        _ => return false,
    };
    // Versions up to 5.40 print `34 times`.
    set(place, number::leading(value));
    true
}

/// `SEAGATE  ST3300655LW      Version: 0003`, the way versions up to 5.40 name a device.
fn old_device(report: &mut Report, value: &str) {
    let (names, revision) = match value.split_once("Version:") {
        Some((names, revision)) => (names, Some(revision.trim())),
        None => return,
    };
    let mut words = names.split_whitespace();
    if let Some(vendor) = words.next() {
        set_text(&mut report.scsi_vendor, vendor);
        set(&mut report.scsi_product, Some(words.collect::<Vec<_>>().join(" ")));
    }
    set(&mut report.scsi_revision, revision.filter(|it| !it.is_empty()).map(str::to_owned));
}

/// `minutes 146:02 [8762 minutes]`: the key ended at the colon of `hours:minutes`.
fn hours_and_minutes(value: &str) -> Option<PowerOnTime> {
    let time = separated_pair(plain, char(':'), plain);
    let (_, (hours, minutes)) =
        preceded((tag("minutes"), space1), time).parse(value).into_parsed()?;
    Some(PowerOnTime { hours: Some(hours), minutes: Some(minutes) })
}

/// `11343.27`
pub(super) fn hours_and_parts(value: &str) -> Option<PowerOnTime> {
    let (_, hours) = plain(value).into_parsed()?;
    Some(PowerOnTime { hours: Some(hours), minutes: None })
}

/// One row of the SCSI error counters, by name.
pub(super) fn error_counter(line: &str) -> Option<(&str, ScsiErrorCounter)> {
    let (name, rest) = line.split_once(':')?;
    let columns: Vec<_> = rest.split_whitespace().collect();
    let &[fast, delayed, rereads, corrected, calls, gigabytes, uncorrected] = columns.as_slice()
    else {
        return None;
    };
    let count = |text: &str| text.parse::<u64>().ok();
    let counter = ScsiErrorCounter {
        errors_corrected_by_eccfast: count(fast),
        errors_corrected_by_eccdelayed: count(delayed),
        errors_corrected_by_rereads_rewrites: count(rereads),
        total_errors_corrected: count(corrected),
        correction_algorithm_invocations: count(calls),
        // Some locales have a comma before the decimals.
        gigabytes_processed: Some(gigabytes.replace(',', "."))
            .filter(|text| text.parse::<f64>().is_ok_and(f64::is_finite)),
        total_uncorrected_errors: count(uncorrected),
    };
    counter.total_uncorrected_errors.is_some().then_some((name.trim(), counter))
}

/// What only ATA devices say.
pub(super) fn ata(report: &mut Report, key: &str, value: &str) -> bool {
    match key {
        "ATA Version is" if value == NOTHING_FOUND => {}
        "ATA Version is" => set(&mut report.ata_version, texted(value)),
        "SATA Version is" => sata_version(report, value),
        "Self-test execution status" => self_test_status(report, value),
        "Device State" => {
            let status = report.ata_sct_status.get_or_insert_default();
            set(&mut status.device_state, state(value));
        }
        "Power Cycle Min/Max Temperature" => {
            let temperature = report.temperature.get_or_insert_default();
            let (min, max) = extremes(value);
            set(&mut temperature.power_cycle_min, min);
            set(&mut temperature.power_cycle_max, max);
        }
        "Lifetime Min/Max Temperature" => {
            let temperature = report.temperature.get_or_insert_default();
            let (min, max) = extremes(value);
            set(&mut temperature.lifetime_min, min);
            set(&mut temperature.lifetime_max, max);
        }
        "Specified Max Operating Temperature" => {
            let temperature = report.temperature.get_or_insert_default();
            set(&mut temperature.op_limit_max, celsius(value).filter(|&limit| limit != 0));
        }
        "Under/Over Temperature Limit Count" => {
            let status = report.ata_sct_status.get_or_insert_default();
            let temperature = status.temperature.get_or_insert_default();
            if let Some((under, over)) = value.split_once('/') {
                set(&mut temperature.under_limit_count, number::whole(under));
                set(&mut temperature.over_limit_count, number::whole(over));
            }
        }
        "Min/Max recommended Temperature" => {
            let temperature = report.temperature.get_or_insert_default();
            let (min, max) = limits(value);
            set(&mut temperature.op_limit_min, min);
            set(&mut temperature.op_limit_max, max);
        }
        "Min/Max Temperature Limit" => {
            let temperature = report.temperature.get_or_insert_default();
            let (min, max) = limits(value);
            set(&mut temperature.limit_min, min);
            set(&mut temperature.limit_max, max);
        }
        _ => return false,
    }
    true
}

/// `( 121)` and what it means, or of a SCSI device `98% of test remaining`.
fn self_test_status(report: &mut Report, value: &str) {
    if let Ok((_, remaining)) = terminated(plain, tag("% of test remaining")).parse(value) {
        let completion_percent = PERCENT_MAX.checked_sub(remaining);
        let status = ScsiSelfTestStatus { in_progress: Some(true), completion_percent };
        set(&mut report.scsi_self_test_status, Some(status));
        return;
    }
    let code = value.strip_prefix('(').and_then(|rest| rest.split_once(')'));
    let Some(byte) = code.and_then(|(byte, _)| number::whole(byte)).filter(|&byte| byte < 256)
    else {
        return;
    };
    let status = self_test::state(byte);
    set(
        &mut report.ata_smart_data.get_or_insert_default().self_test.get_or_insert_default().status,
        Some(status),
    );
}

/// `SATA 3.1, 6.0 Gb/s (current: 3.0 Gb/s)`
fn sata_version(report: &mut Report, value: &str) {
    let (version, speeds) = value.split_once(", ").unwrap_or((value, ""));
    set(&mut report.sata_version, texted(version));
    let (max, current) = match speeds.split_once(" (current: ") {
        Some((max, current)) => (speed(max), speed(current.trim_end_matches(')'))),
        None => (speed(speeds), None),
    };
    if max.is_some() || current.is_some() {
        set(&mut report.interface_speed, Some(InterfaceSpeed { max, current }));
    }
}

/// `6.0 Gb/s`
fn speed(text: &str) -> Option<Speed> {
    let gigabits = separated_pair(plain, char('.'), plain);
    let (_, (whole, tenth)) = terminated(gigabits, tag(" Gb/s")).parse(text).into_parsed()?;
    let units = whole.checked_mul(10)?.checked_add(tenth).filter(|_| tenth < 10)?;
    Some(Speed {
        sata_value: None,
        string: Some(text.to_owned()),
        units_per_second: Some(units),
        bits_per_unit: Some(SPEED_UNIT_BITS),
    })
}

/// `Active (0)`
fn state(value: &str) -> Option<Text> {
    let (string, code) = value.rsplit_once(" (")?;
    let code = number::whole(code.strip_suffix(')')?);
    Some(Text { string: Some(string.to_owned()), value: code })
}

/// `23/41 Celsius`, `?/ ? Celsius`: what is not known is a question mark.
fn extremes(value: &str) -> (Option<i64>, Option<i64>) {
    let (min, max) = value.split_once('/').unwrap_or((value, ""));
    let degrees = |text: &str| {
        let (_, degrees) = signed(text.trim_start()).into_parsed()?;
        CELSIUS.contains(&degrees).then_some(degrees)
    };
    match max.ends_with("Celsius") {
        true => (degrees(min), degrees(max)),
        false => (None, None),
    }
}

/// As [`extremes`]; a device that has no limits shows them as 0 and 0.
fn limits(value: &str) -> (Option<i64>, Option<i64>) {
    match extremes(value) {
        (Some(0), Some(0)) => (None, None),
        limits => limits,
    }
}

/// `43 Celsius`
pub(super) fn celsius(value: &str) -> Option<i64> {
    let (_, degrees) = terminated(signed, (space1, tag("Celsius"))).parse(value).into_parsed()?;
    CELSIUS.contains(&degrees).then_some(degrees)
}

/// `36 C`
fn degrees(value: &str) -> Option<i64> {
    let (_, degrees) = terminated(signed, (space1, tag("C"))).parse(value).into_parsed()?;
    CELSIUS.contains(&degrees).then_some(degrees)
}

/// `100%`
pub(super) fn percent(value: &str) -> Option<u64> {
    terminated(plain, char('%')).parse(value).into_parsed().map(|(_, percent)| percent)
}

/// `0x1b36`
pub(super) fn hexadecimal(value: &str) -> Option<u64> {
    u64::from_str_radix(value.strip_prefix("0x")?, 16).ok()
}
