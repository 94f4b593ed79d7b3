//! Facts of `Key: value` lines, and the few that follow from others.

use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::{tag, take_until};
use nom::character::complete::{char, space0, space1};
use nom::combinator::{map, opt};
use nom::sequence::{delimited, preceded, separated_pair, terminated};

use super::number::{self, grouped, plain, signed};
use crate::smartctl::{
    Attribute, Capacity, Device, InterfaceSpeed, LocalTime, Name, NvmePciVendor, Places, PowerMode,
    PowerOnTime, Program, Report, ScsiErrorCounter, SctStatus, SmartStatus, Speed, Text, Wwn,
};

/// Degrees Celsius a sensor of a disk can show; what is beyond is a counter read as one.
const CELSIUS: std::ops::RangeInclusive<i64> = -60..=150;
/// Sensors of an NVMe device: the standard has eight.
const SENSORS_MAX: u64 = 8;
/// Bits of the unit SATA speeds are given in, 100 Mbit/s.
const SPEED_UNIT_BITS: u64 = 100_000_000;

/// Sets what is not set yet.
fn set<T>(place: &mut Option<T>, value: Option<T>) {
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

fn texted(value: &str) -> Option<Text> {
    Some(Text { string: Some(value.to_owned()), value: None })
}

/// `smartctl 7.4 2023-08-01 r5530 [x86_64-linux-6.6.30] (local build)`
pub(super) fn banner(line: &str) -> Option<Program> {
    let begin = (tag("smartctl "), opt(tag("version ")));
    let version = separated_pair(plain, char('.'), plain);
    let (rest, (major, minor)) = preceded(begin, version).parse(line).into_parsed()?;
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
        "Namespace 1 Size/Capacity" | "Namespace 1 Size" => {
            set_capacity(report, measured(value));
        }
        "Total NVM Capacity" => set(&mut report.nvme_total_capacity, measured(value)),
        "Unallocated NVM Capacity" => set(&mut report.nvme_unallocated_capacity, measured(value)),
        "Namespace 1 Formatted LBA Size" => {
            set(&mut report.logical_block_size, number::whole(value));
        }
        "Sector Size" | "Sector Sizes" => sector_sizes(report, value),
        "Logical block size" => set(&mut report.logical_block_size, bytes_of(value)),
        "Physical block size" => set(&mut report.physical_block_size, bytes_of(value)),
        _ => return false,
    }
    true
}

fn set_capacity(report: &mut Report, bytes: Option<u64>) {
    let capacity = bytes.map(|bytes| Capacity { blocks: None, bytes: Some(bytes) });
    set(&mut report.user_capacity, capacity);
}

/// A count with the same in round units behind it: `512,110,190,592 [512 GB]`, or 0 alone.
fn measured(value: &str) -> Option<u64> {
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
    let passed = match (key, value) {
        ("SMART overall-health self-assessment test result", "PASSED") => true,
        ("SMART overall-health self-assessment test result", _) if value.starts_with("FAILED") => {
            false
        }
        ("SMART Health Status", _) => value == "OK",
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
    set(&mut report.smart_status, Some(SmartStatus { passed: Some(passed) }));
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
        "Percentage used endurance indicator" => {
            set(&mut report.scsi_percentage_used_endurance_indicator, percent(value));
        }
        "Accumulated power on time, hours" => {
            set(&mut report.power_on_time, hours_and_minutes(value));
        }
        "number of hours powered up" => set(&mut report.power_on_time, hours_and_parts(value)),
        "Accumulated start-stop cycles" => {
            let counter = report.scsi_start_stop_cycle_counter.get_or_insert_default();
            set(&mut counter.accumulated_start_stop_cycles, number::whole(value));
        }
        "Accumulated load-unload cycles" => {
            let counter = report.scsi_start_stop_cycle_counter.get_or_insert_default();
            set(&mut counter.accumulated_load_unload_cycles, number::whole(value));
        }
        _ => return false,
    }
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
fn hours_and_parts(value: &str) -> Option<PowerOnTime> {
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

/// What only NVMe devices say of themselves.
pub(super) fn nvme_identity(report: &mut Report, key: &str, value: &str) -> bool {
    match key {
        "PCI Vendor/Subsystem ID" => {
            let id = hexadecimal(value);
            set(&mut report.nvme_pci_vendor, Some(NvmePciVendor { id, subsystem_id: id }));
        }
        "PCI Vendor ID" => {
            set(&mut report.nvme_pci_vendor.get_or_insert_default().id, hexadecimal(value));
        }
        "PCI Vendor Subsystem ID" => {
            let vendor = report.nvme_pci_vendor.get_or_insert_default();
            set(&mut vendor.subsystem_id, hexadecimal(value));
        }
        "IEEE OUI Identifier" => set(&mut report.nvme_ieee_oui_identifier, hexadecimal(value)),
        "Controller ID" => set(&mut report.nvme_controller_id, number::whole(value)),
        "NVMe Version" => set(&mut report.nvme_version, texted(value)),
        "Number of Namespaces" => {
            set(&mut report.nvme_number_of_namespaces, number::whole(value));
        }
        _ => return false,
    }
    true
}

/// The health log of an NVMe device.
pub(super) fn nvme_health(report: &mut Report, key: &str, value: &str) -> bool {
    if let Some(sensor) = key.strip_prefix("Temperature Sensor ") {
        sensor_temperature(report, sensor, value);
        return true;
    }
    let log = &mut report.nvme_smart_health_information_log;
    let (place, value) = match key {
        "Temperature" => {
            if let Some(celsius) = celsius(value) {
                set(&mut log.get_or_insert_default().temperature, Some(celsius));
            }
            return true;
        }
        "Critical Warning" => {
            (&mut log.get_or_insert_default().critical_warning, hexadecimal(value))
        }
        "Available Spare" => (&mut log.get_or_insert_default().available_spare, percent(value)),
        "Available Spare Threshold" => {
            (&mut log.get_or_insert_default().available_spare_threshold, percent(value))
        }
        "Percentage Used" => (&mut log.get_or_insert_default().percentage_used, percent(value)),
        "Data Units Read" => (&mut log.get_or_insert_default().data_units_read, measured(value)),
        "Data Units Written" => {
            (&mut log.get_or_insert_default().data_units_written, measured(value))
        }
        _ => match nvme_counter(report, key) {
            Some(place) => (place, number::whole(value)),
            None => return false,
        },
    };
    set(place, value);
    true
}

/// The place of a plain counter of the NVMe health log.
fn nvme_counter<'a>(report: &'a mut Report, key: &str) -> Option<&'a mut Option<u64>> {
    let log = report.nvme_smart_health_information_log.as_mut()?;
    Some(match key {
        "Host Read Commands" => &mut log.host_reads,
        "Host Write Commands" => &mut log.host_writes,
        "Controller Busy Time" => &mut log.controller_busy_time,
        "Power Cycles" => &mut log.power_cycles,
        "Power On Hours" => &mut log.power_on_hours,
        "Unsafe Shutdowns" => &mut log.unsafe_shutdowns,
        "Media and Data Integrity Errors" => &mut log.media_errors,
        "Error Information Log Entries" => &mut log.num_err_log_entries,
        "Warning Comp. Temperature Time" => &mut log.warning_temp_time,
        "Critical Comp. Temperature Time" => &mut log.critical_comp_time,
        _ => return None,
    })
}

/// Sensor N stands at place N-1.
fn sensor_temperature(report: &mut Report, sensor: &str, value: &str) {
    let sensor = number::whole(sensor).filter(|sensor| (1..=SENSORS_MAX).contains(sensor));
    let (Some(sensor), Some(celsius)) = (sensor, celsius(value)) else { return };
    let log = report.nvme_smart_health_information_log.get_or_insert_default();
    let Places(places) = log.temperature_sensors.get_or_insert_default();
    let place = usize::try_from(sensor - 1).unwrap_or_default();
    if places.len() <= place {
        places.resize(place + 1, None);
    }
    if let Some(place) = places.get_mut(place) {
        set(place, Some(celsius));
    }
}

/// What only ATA devices say.
pub(super) fn ata(report: &mut Report, key: &str, value: &str) -> bool {
    match key {
        "ATA Version is" => set(&mut report.ata_version, texted(value)),
        "SATA Version is" => sata_version(report, value),
        "Device State" => {
            let device_state = state(value);
            set(&mut report.ata_sct_status, Some(SctStatus { device_state }));
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
fn percent(value: &str) -> Option<u64> {
    terminated(plain, char('%')).parse(value).into_parsed().map(|(_, percent)| percent)
}

/// `0x1b36`
fn hexadecimal(value: &str) -> Option<u64> {
    u64::from_str_radix(value.strip_prefix("0x")?, 16).ok()
}

/// The protocol the facts are those of.
pub(super) fn protocol(report: &Report) -> Option<&'static str> {
    if report.nvme_smart_health_information_log.is_some() || report.nvme_pci_vendor.is_some() {
        Some("NVMe")
    } else if report.ata_smart_attributes.is_some()
        || report.ata_version.is_some()
        || report.ata_sct_status.is_some()
        || report.wwn.is_some()
    {
        Some("ATA")
    } else if report.scsi_vendor.is_some() || report.scsi_error_counter_log.is_some() {
        Some("SCSI")
    } else if report.firmware_version.is_some() && report.user_capacity.is_some() {
        // An ATA device of which a bridge lets nothing through but its identity.
        Some("ATA")
    } else {
        None
    }
}

/// Facts that follow from others, as in smartctl's JSON.
pub(super) fn conclude(report: &mut Report, sct_temperature: Option<i64>) {
    let names = [&report.scsi_vendor, &report.scsi_product].map(Option::as_deref);
    // The revision follows the product: a report that has only the vendor may have been cut.
    if report.scsi_product.is_some() || report.scsi_revision.is_some() {
        let model = names.into_iter().flatten().collect::<Vec<_>>().join(" ");
        let model = Some(model.trim().to_owned());
        set(&mut report.scsi_model_name, model.clone());
        set(&mut report.model_name, model);
    }
    let bytes = report.user_capacity.as_ref().and_then(|capacity| capacity.bytes);
    if let (Some(capacity), Some(bytes)) = (report.user_capacity.as_mut(), bytes) {
        let block = report.logical_block_size.filter(|&block| block > 0);
        set(&mut capacity.blocks, block.and_then(|block| bytes.checked_div(block)));
    }
    conclude_nvme(report);
    conclude_ata(report, sct_temperature);
    if report.temperature.as_ref().is_some_and(|temperature| *temperature == Default::default()) {
        report.temperature = None;
    }
}

fn conclude_nvme(report: &mut Report) {
    let Some(log) = report.nvme_smart_health_information_log.as_ref() else { return };
    set(&mut report.power_cycle_count, log.power_cycles);
    let hours = log.power_on_hours;
    set(&mut report.power_on_time, hours.map(|_| PowerOnTime { hours, minutes: None }));
    if log.temperature.is_some() {
        set(&mut report.temperature.get_or_insert_default().current, log.temperature);
    }
}

fn conclude_ata(report: &mut Report, sct_temperature: Option<i64>) {
    let rows = report.ata_smart_attributes.as_ref().and_then(|it| it.table.as_deref());
    let rows = rows.unwrap_or_default();
    let first = |id, begin| rows.iter().find(|row| is_named(row, id, begin));
    let hours = first(9, "Power_On_").and_then(powered_on);
    let cycles = first(12, "Power_Cycle").and_then(raw_text).and_then(number::leading);
    let temperature = sct_temperature
        .or_else(|| first(194, "").and_then(raw_celsius))
        .or_else(|| first(190, "").filter(|row| is_temperature(row)).and_then(raw_celsius));
    set(&mut report.power_on_time, hours);
    set(&mut report.power_cycle_count, cycles);
    if temperature.is_some() {
        set(&mut report.temperature.get_or_insert_default().current, temperature);
    }
}

fn is_named(row: &Attribute, id: u64, begin: &str) -> bool {
    row.id == Some(id) && row.name.as_deref().is_some_and(|name| name.starts_with(begin))
}

fn is_temperature(row: &Attribute) -> bool {
    row.name.as_deref().is_some_and(|name| name.contains("Temperature"))
}

fn raw_text(row: &Attribute) -> Option<&str> {
    row.raw.as_ref()?.string.as_deref()
}

/// `34 (Min/Max 20/45)`
fn raw_celsius(row: &Attribute) -> Option<i64> {
    let (rest, degrees) = signed(raw_text(row)?).into_parsed()?;
    let ended = rest.is_empty() || rest.starts_with([' ', '(']);
    (ended && CELSIUS.contains(&degrees)).then_some(degrees)
}

/// `14159`, `322 (142 219 0)`, `17086h+44m`, `32293h+50m+44s`, `16415h+51m+54.761s`
fn powered_on(row: &Attribute) -> Option<PowerOnTime> {
    let raw = raw_text(row)?;
    let minutes = opt(delimited((space0, char('+')), plain, char('m')));
    if let Some((_, (hours, minutes))) =
        (terminated(plain, char('h')), minutes).parse(raw).into_parsed()
    {
        return Some(PowerOnTime { hours: Some(hours), minutes });
    }
    number::leading(raw).map(|hours| PowerOnTime { hours: Some(hours), minutes: None })
}
