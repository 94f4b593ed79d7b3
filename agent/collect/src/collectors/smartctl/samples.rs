//! Samples of one report: under the names of `smartctl_exporter`, and what it leaves out under
//! our own ([`labstat_disks::families`]).
//!
//! Not here: self-tests, the flash's wear, and how the attempt to read the disk ended.

use std::collections::{BTreeSet, HashSet};

use labstat_disks::attributes::About;
use labstat_disks::decode::Packed;
use labstat_disks::{Kind, families, part, parts, printable};
use labstat_model::{Batch, Family};
use labstat_parse::smartctl::{
    Attribute, AttributeFlags, LoggedError, NvmeHealth, Report, ScsiBackgroundScan,
    ScsiErrorCounter, Temperature,
};

use super::{Reading, self_tests, wear};

static VERSION: Family = Family::gauge("smartctl_version", "smartctl version.");

/// As cold as an unset byte: an NVMe or ATA sensor that does not answer.
const UNSET_CELSIUS: i64 = -128;

/// Bytes of an NVMe data unit: a thousand sectors of 512.
const DATA_UNIT: f64 = 512_000.0;

/// The version of smartctl that made the report.
pub(super) fn push_version(report: &Report, out: &mut Batch) {
    let Some(program) = &report.smartctl else { return };
    let dotted = |numbers: &Option<Vec<u64>>| {
        let parts = numbers.iter().flatten().map(ToString::to_string);
        parts.collect::<Vec<_>>().join(".")
    };
    let labels = [
        ("build_info", text(&program.build_info)),
        ("json_format_version", &dotted(&report.json_format_version)),
        ("smartctl_version", &dotted(&program.version)),
        ("svn_revision", text(&program.svn_revision)),
    ];
    out.push(&VERSION, &labels, 1.0);
}

/// All that a reading says of the disk.
pub(super) fn push(device: &str, reading: &Reading, out: &mut Batch) {
    push_some(&families::EXIT_STATUS, device, reading.exit_status, out);
    push_report(device, &reading.report, out);
}

/// All that a report says of the disk called `device`, as samples. How the attempt to read it
/// ended is not among them: see [`super::push_state`].
pub fn push_report(device: &str, report: &Report, out: &mut Batch) {
    push_identity(device, report, out);
    let label = [("device", device)];
    if let Some(passed) = report.smart_status.as_ref().and_then(|status| status.passed) {
        out.push(&families::STATUS, &label, f64::from(u8::from(passed)));
    }
    let state = report.ata_sct_status.as_ref().and_then(|status| status.device_state.as_ref());
    let scsi = report.smart_status.as_ref().and_then(|status| status.scsi.as_ref());
    if let Some(asc) = scsi.and_then(|scsi| scsi.asc) {
        let ascq = scsi.and_then(|scsi| scsi.ascq).unwrap_or_default();
        let (asc, ascq) = (format!("{asc:#04x}"), format!("{ascq:#04x}"));
        let labels = [("asc", asc.as_str()), ("ascq", ascq.as_str()), ("device", device)];
        out.push(&families::SCSI_SENSE, &labels, 1.0);
    }
    push_some(&families::SCT_STATE, device, state.and_then(|state| state.value), out);
    push_capacity(device, report, out);
    if let Some(temperature) = &report.temperature {
        push_temperature(device, temperature, out);
    }
    if let Some(time) = &report.power_on_time
        && let Some(hours) = time.hours
    {
        let seconds = hours as f64 * 3600.0 + time.minutes.unwrap_or_default() as f64 * 60.0;
        out.push(&families::POWER_ON, &label, seconds);
    }
    push_some(&families::POWER_CYCLES, device, report.power_cycle_count, out);
    push_attributes(device, report, out);
    push_logs(device, report, out);
    if let Some(health) = &report.nvme_smart_health_information_log {
        push_nvme(device, health, out);
    }
    push_scsi(device, report, out);
    if let Some(kind) = kind(report) {
        out.push(&families::KIND, &[("device", device), ("kind", kind.as_str())], 1.0);
    }
    push_limits(device, report, out);
    push_defects(device, report, out);
    push_doubts(device, report, out);
    if let Some(ratio) = wear::ratio(report) {
        out.push(&families::WEAR, &label, ratio);
    }
    self_tests::push(device, report, out);
}

/// What the disk is made of.
pub(super) fn kind(report: &Report) -> Option<Kind> {
    let rows = report.ata_smart_attributes.iter().flat_map(|all| all.table.iter().flatten());
    let names = rows.filter_map(|row| {
        Some((u8::try_from(row.id?).ok()?, row.name.as_deref().unwrap_or_default()))
    });
    let protocol = report.device.as_ref().map_or("", |device| text(&device.protocol));
    let protocol = match &report.nvme_smart_health_information_log {
        Some(_) => "NVMe",
        None => protocol,
    };
    Kind::infer(
        report.rotation_rate,
        protocol,
        text(&report.model_family),
        text(&report.model_name),
        names,
    )
}

/// What is known of the disk for looking up its attributes.
pub(super) fn about(report: &Report) -> About<'_> {
    About {
        family: text(&report.model_family),
        model: text(&report.model_name),
        kind: kind(report),
    }
}

fn text(value: &Option<String>) -> &str {
    value.as_deref().unwrap_or_default()
}

fn push_some(family: &Family, device: &str, value: Option<u64>, out: &mut Batch) {
    if let Some(value) = value {
        out.push(family, &[("device", device)], value as f64);
    }
}

fn push_identity(device: &str, report: &Report, out: &mut Batch) {
    let kind = report.device.as_ref();
    let words = |version: &Option<labstat_parse::smartctl::Text>| {
        version.as_ref().and_then(|version| version.string.clone()).unwrap_or_default()
    };
    let model = report.model_name.as_ref().or(report.scsi_model_name.as_ref());
    let (ata, sata) = (words(&report.ata_version), words(&report.sata_version));
    let form = report.form_factor.as_ref().and_then(|form| form.name.as_deref());
    let labels = [
        ("ata_additional_product_id", text(&report.ata_additional_product_id)),
        ("ata_version", &ata),
        ("device", device),
        ("firmware_version", text(&report.firmware_version)),
        ("form_factor", form.unwrap_or_default()),
        ("interface", kind.map_or("", |kind| text(&kind.kind))),
        ("model_family", report.model_family.as_deref().unwrap_or("unknown")),
        ("model_name", model.map_or("unknown", String::as_str)),
        ("protocol", kind.map_or("", |kind| text(&kind.protocol))),
        ("sata_version", &sata),
        ("scsi_product", text(&report.scsi_product)),
        ("scsi_revision", text(&report.scsi_revision)),
        ("scsi_vendor", text(&report.scsi_vendor)),
        ("scsi_version", text(&report.scsi_version)),
        ("serial_number", text(&report.serial_number)),
    ];
    // Firmware may say anything, and labels go everywhere.
    let shown = labels.map(|(name, value)| (name, printable(value)));
    let labels = shown.each_ref().map(|(name, value)| (*name, value.as_ref()));
    out.push(&families::DEVICE, &labels, 1.0);
}

fn push_capacity(device: &str, report: &Report, out: &mut Batch) {
    if let Some(capacity) = &report.user_capacity {
        push_some(&families::BLOCKS, device, capacity.blocks, out);
        push_some(&families::CAPACITY, device, capacity.bytes, out);
    }
    push_some(&families::NVME_CAPACITY, device, report.nvme_total_capacity, out);
    let sizes = [("logical", report.logical_block_size), ("physical", report.physical_block_size)];
    for (kind, size) in sizes {
        if let Some(size) = size {
            out.push(
                &families::BLOCK_SIZE,
                &[("blocks_type", kind), ("device", device)],
                size as f64,
            );
        }
    }
    // A disk without a spindle says 0.
    push_some(&families::ROTATION, device, report.rotation_rate.filter(|rate| *rate > 0), out);
    if let Some(speed) = &report.interface_speed {
        for (kind, speed) in [("current", &speed.current), ("max", &speed.max)] {
            if let Some(speed) = speed
                && let (Some(units), Some(bits)) = (speed.units_per_second, speed.bits_per_unit)
            {
                let labels = [("device", device), ("speed_type", kind)];
                out.push(&families::SPEED, &labels, units as f64 * bits as f64);
            }
        }
    }
}

fn push_temperature(device: &str, temperature: &Temperature, out: &mut Batch) {
    // SCSI disks that have no sensor, and no limit, say 0 for both. What is as cold as an unset
    // byte (-128) or as absolute zero is an NVMe or ATA sensor that does not answer.
    let known =
        |celsius: Option<i64>| celsius.filter(|celsius| *celsius != 0 && *celsius > UNSET_CELSIUS);
    let kinds = [
        ("current", known(temperature.current)),
        ("drive_trip", known(temperature.drive_trip)),
        ("power_cycle_min", temperature.power_cycle_min),
        ("power_cycle_max", temperature.power_cycle_max),
        ("lifetime_min", temperature.lifetime_min),
        ("lifetime_max", temperature.lifetime_max),
        ("lifetime_over_limit_minutes", temperature.lifetime_over_limit_minutes),
        ("lifetime_under_limit_minutes", temperature.lifetime_under_limit_minutes),
        ("op_limit_min", temperature.op_limit_min),
        ("op_limit_max", temperature.op_limit_max),
        ("limit_min", temperature.limit_min),
        ("limit_max", temperature.limit_max),
    ];
    for (kind, celsius) in kinds {
        if let Some(celsius) = celsius {
            let labels = [("device", device), ("temperature_type", kind)];
            out.push(&families::TEMPERATURE, &labels, celsius as f64);
        }
    }
}

/// Some firmware has a row twice; the first counts.
fn push_attributes(device: &str, report: &Report, out: &mut Batch) {
    let about = about(report);
    let mut seen = HashSet::new();
    for attribute in report.ata_smart_attributes.iter().flat_map(|all| all.table.iter().flatten()) {
        if seen.insert((attribute.id, &attribute.name)) {
            push_attribute(device, attribute, out);
            push_decoded(device, attribute, about, out);
        }
    }
}

/// Numbers that the vendor packed into the raw value.
fn push_decoded(device: &str, attribute: &Attribute, about: About<'_>, out: &mut Batch) {
    let Some(id) = attribute.id.and_then(|id| u8::try_from(id).ok()) else { return };
    let name = text(&attribute.name);
    let raw = attribute.raw.as_ref();
    let packed = Packed {
        text: raw.and_then(|raw| raw.string.as_deref()),
        raw: raw.and_then(|raw| raw.value),
        value: attribute.value.and_then(|value| u8::try_from(value).ok()),
    };
    for (part, number) in parts(id, name, packed, about) {
        let labels = [
            ("attribute_id", id.to_string()),
            ("attribute_name", printable(name).into_owned()),
            ("device", device.to_owned()),
            ("part", part.to_owned()),
        ];
        let labels = labels.each_ref().map(|(name, value)| (*name, value.as_str()));
        out.push(&families::DECODED, &labels, number);
    }
}

fn push_attribute(device: &str, attribute: &Attribute, out: &mut Batch) {
    let Some(id) = attribute.id else { return };
    let id = id.to_string();
    let name = printable(text(&attribute.name));
    let flags = attribute.flags.as_ref();
    let short = flags.map_or("", |flags| text(&flags.string)).trim();
    let long = flags.map(long_flags).unwrap_or_default();
    let raw = attribute.raw.as_ref().and_then(|raw| raw.value);
    let values = [
        ("value", attribute.value),
        ("worst", attribute.worst),
        ("thresh", attribute.thresh),
        ("raw", raw),
    ];
    for (kind, value) in values {
        let Some(value) = value else { continue };
        let labels = [
            ("attribute_flags_long", long.as_str()),
            ("attribute_flags_short", short),
            ("attribute_id", &id),
            ("attribute_name", &name),
            ("attribute_value_type", kind),
            ("device", device),
        ];
        out.push(&families::ATTRIBUTE, &labels, value as f64);
    }
}

fn long_flags(flags: &AttributeFlags) -> String {
    let words = [
        ("prefailure", flags.prefailure),
        ("updated_online", flags.updated_online),
        ("performance", flags.performance),
        ("error_rate", flags.error_rate),
        ("event_count", flags.event_count),
        ("auto_keep", flags.auto_keep),
    ];
    let set = words.iter().filter(|(_, set)| *set == Some(true)).map(|(word, _)| *word);
    set.collect::<Vec<_>>().join(",")
}

fn push_logs(device: &str, report: &Report, out: &mut Batch) {
    if let Some(log) = &report.ata_smart_error_log {
        for (kind, count) in [("extended", &log.extended), ("summary", &log.summary)] {
            if let Some(count) = count.as_ref().and_then(|log| log.count) {
                let labels = [("device", device), ("error_log_type", kind)];
                out.push(&families::ERROR_LOG, &labels, count as f64);
            }
        }
    }
    if let Some(log) = &report.ata_smart_self_test_log {
        for (kind, log) in [("extended", &log.extended), ("standard", &log.standard)] {
            let Some(log) = log else { continue };
            let labels = [("device", device), ("self_test_log_type", kind)];
            if let Some(count) = log.count {
                out.push(&families::SELF_TEST_LOG, &labels, count as f64);
            }
            if let Some(count) = log.error_count_total {
                out.push(&families::SELF_TEST_LOG_ERRORS, &labels, count as f64);
            }
        }
    }
}

fn push_nvme(device: &str, health: &NvmeHealth, out: &mut Batch) {
    let values = [
        (&families::UNSAFE_SHUTDOWNS, health.unsafe_shutdowns),
        (&families::WARNING_MINUTES, health.warning_temp_time),
        (&families::CRITICAL_MINUTES, health.critical_comp_time),
        (&families::CRITICAL_WARNING, health.critical_warning),
        (&families::SPARE, health.available_spare),
        (&families::SPARE_THRESHOLD, health.available_spare_threshold),
        (&families::PERCENTAGE_USED, health.percentage_used),
        (&families::MEDIA_ERRORS, health.media_errors),
        (&families::ERROR_ENTRIES, health.num_err_log_entries),
    ];
    for (family, value) in values {
        push_some(family, device, value, out);
    }
    let sensors = health.temperature_sensors.iter().flat_map(|places| places.0.iter());
    for (at, celsius) in sensors.enumerate() {
        // 0 is a sensor that is not there.
        let Some(celsius) = celsius.filter(|celsius| *celsius != 0 && *celsius > UNSET_CELSIUS)
        else {
            continue;
        };
        let sensor = (at + 1).to_string();
        let labels = [("device", device), ("sensor", sensor.as_str())];
        out.push(&families::SENSOR, &labels, celsius as f64);
    }
    let units = [
        (&families::BYTES_READ, health.data_units_read),
        (&families::BYTES_WRITTEN, health.data_units_written),
    ];
    for (family, units) in units {
        if let Some(units) = units.filter(|units| *units > 0) {
            out.push(family, &[("device", device)], units as f64 * DATA_UNIT);
        }
    }
}

/// Families of one direction.
type Corrected = [Family; 4];

static READ_ERRORS: Corrected = [
    Family::gauge(
        "smartctl_read_errors_corrected_by_eccfast",
        "Read errors corrected by ECC fast.",
    ),
    Family::gauge(
        "smartctl_read_errors_corrected_by_eccdelayed",
        "Read errors corrected by ECC delayed.",
    ),
    Family::gauge(
        "smartctl_read_errors_corrected_by_rereads_rewrites",
        "Read errors corrected by rereads or rewrites.",
    ),
    Family::gauge("smartctl_read_total_uncorrected_errors", "Read total uncorrected errors."),
];
static WRITE_ERRORS: Corrected = [
    Family::gauge(
        "smartctl_write_errors_corrected_by_eccfast",
        "Write errors corrected by ECC fast.",
    ),
    Family::gauge(
        "smartctl_write_errors_corrected_by_eccdelayed",
        "Write errors corrected by ECC delayed.",
    ),
    Family::gauge(
        "smartctl_write_errors_corrected_by_rereads_rewrites",
        "Write errors corrected by rereads or rewrites.",
    ),
    Family::gauge("smartctl_write_total_uncorrected_errors", "Write total uncorrected errors."),
];

/// The disk's own limits of its temperature.
fn push_limits(device: &str, report: &Report, out: &mut Batch) {
    let temperature = report.temperature.as_ref();
    let nvme = report.nvme_composite_temperature_threshold.as_ref();
    let limits = [
        // What an ATA disk recommends is not what it warns at; that has a name of its own.
        ("warning", nvme.and_then(|it| it.warning)),
        (
            "critical",
            nvme.and_then(|it| it.critical).or(temperature.and_then(|it| it.critical_limit_max)),
        ),
        ("trip", temperature.and_then(|it| it.drive_trip)),
        ("max", temperature.and_then(|it| it.limit_max)),
    ];
    for (limit, celsius) in limits {
        // 0 is no limit, and so is the highest that a byte can hold.
        if let Some(celsius) = celsius.filter(|celsius| (1..i64::from(i8::MAX)).contains(celsius)) {
            let labels = [("device", device), ("limit", limit)];
            out.push(&families::TEMPERATURE_LIMIT, &labels, celsius as f64);
        }
    }
}

/// Words of logged errors in which data could not be read.
const UNREADABLE: [&str; 2] = ["UNC", "AMNF"];
/// Words of logged errors that are neither of the link (ICRC) nor of a wrong command (ABRT).
const DAMAGE: [&str; 5] = ["UNC", "AMNF", "IDNF", "WP", "TK0NF"];

/// What the disk itself knows to be bad, and the newest errors it logged.
fn push_defects(device: &str, report: &Report, out: &mut Batch) {
    let pending = report.ata_pending_defects_log.as_ref().or(report.scsi_pending_defects.as_ref());
    push_some(&families::PENDING_DEFECTS, device, pending.and_then(|log| log.count), out);
    let pages = report.ata_device_statistics.iter().flat_map(|it| it.pages.iter().flatten());
    let statistics = pages.flat_map(|page| page.table.iter().flatten());
    // They stand for attributes 187 and 5 where a disk has none.
    for (name, family) in [
        ("Number of Reported Uncorrectable Errors", &families::STATISTIC_UNCORRECTABLE),
        ("Number of Reallocated Logical Sectors", &families::STATISTIC_REALLOCATED),
    ] {
        let found = statistics.clone().find(|it| {
            let valid = it.flags.as_ref().and_then(|flags| flags.valid) != Some(false);
            valid && it.name.as_deref() == Some(name)
        });
        let count = found.and_then(|it| it.value).and_then(|it| u64::try_from(it).ok());
        push_some(family, device, count, out);
    }
    let logs = report.ata_smart_error_log.iter();
    let logged = logs.flat_map(|logs| [&logs.extended, &logs.summary]).flatten();
    // The extended log is the longer one; what stands in both is the same.
    let Some(table) = logged.filter_map(|log| log.table.as_ref()).find(|table| !table.is_empty())
    else {
        return;
    };
    push_some(
        &families::ERROR_LOG_HOURS,
        device,
        table.first().and_then(|newest| newest.lifetime_hours),
        out,
    );
    let newest = |words: &[&str]| {
        let is_one = |text: &str| {
            text.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| words.contains(&word))
        };
        let found = |error: &&LoggedError| error.error_description.as_deref().is_some_and(is_one);
        table.iter().find(found).and_then(|error| error.lifetime_hours)
    };
    push_some(&families::ERROR_LOG_UNCORRECTABLE_HOURS, device, newest(&UNREADABLE), out);
    push_some(&families::ERROR_LOG_DAMAGE_HOURS, device, newest(&DAMAGE), out);
}

/// Words of messages, and the part of the report that they doubt.
const DOUBTS: [(&str, &str); 4] = [
    ("Attribute Data Structure error", part::CHECKSUM),
    ("Attribute Thresholds Structure error", part::THRESHOLDS),
    ("SMART Data failed", part::ATTRIBUTES),
    ("SMART Values failed", part::ATTRIBUTES),
];
/// Words of the lines in which a disk gives its own verdict.
const VERDICTS: [&str; 2] = ["self-assessment test result", "SMART Health Status"];
/// How its message of another disk in the input begins.
const SECOND: &str = "labstat: a second disk";
/// How the parser's own messages begin, of what it saw and did not understand.
const NOT_UNDERSTOOD: &str = "labstat: not understood";

/// Attributes of which even one counts: one without its raw value says nothing.
const WITHOUT_RAW: [u64; 4] = [5, 187, 197, 198];

/// What stood in the report and cannot be relied on.
fn push_doubts(device: &str, report: &Report, out: &mut Batch) {
    let messages = report.smartctl.as_ref().and_then(|program| program.messages.as_ref());
    let texts = messages.into_iter().flatten().filter_map(|message| message.string.as_deref());
    let parts = texts.filter_map(|text| match text.strip_prefix(NOT_UNDERSTOOD) {
        Some(rest) if VERDICTS.iter().any(|words| rest.contains(words)) => Some(part::HEALTH),
        Some(_) => Some(part::LINES),
        // Two outputs of which the first does not say what it is of may be of one disk.
        None if text.starts_with(SECOND) && report.serial_number.is_none() => Some(part::LINES),
        None => DOUBTS.iter().find(|(words, _)| text.contains(words)).map(|(_, part)| *part),
    });
    let mut rows = report.ata_smart_attributes.iter().flat_map(|all| all.table.iter().flatten());
    let is_bare = |row: &Attribute| {
        let raw = row.raw.as_ref().map(|raw| (&raw.string, raw.value));
        WITHOUT_RAW.iter().any(|id| row.id == Some(*id)) && matches!(raw, None | Some((None, None)))
    };
    let bare = rows.any(is_bare).then_some(part::RAW);
    for part in parts.chain(bare).collect::<BTreeSet<_>>() {
        out.push(&families::NOT_UNDERSTOOD, &[("device", device), ("part", part)], 1.0);
    }
}

fn push_scsi(device: &str, report: &Report, out: &mut Batch) {
    push_some(&families::GROWN_DEFECTS, device, report.scsi_grown_defect_list, out);
    push_some(&families::NON_MEDIUM, device, report.scsi_non_medium_error_count, out);
    if let Some(cycles) = &report.scsi_start_stop_cycle_counter {
        let starts = cycles.accumulated_start_stop_cycles;
        push_some(&families::START_STOPS, device, starts, out);
        let loads = cycles.accumulated_load_unload_cycles;
        push_some(&families::LOAD_UNLOADS, device, loads, out);
    }
    if let Some(scan) = &report.scsi_background_scan {
        push_scan(device, scan, out);
    }
    let Some(log) = &report.scsi_error_counter_log else { return };
    let verify = log.verify.as_ref().and_then(|verify| verify.total_uncorrected_errors);
    push_some(&families::VERIFY_UNCORRECTED, device, verify, out);
    let directions = [
        (&log.read, &READ_ERRORS, &families::BYTES_READ),
        (&log.write, &WRITE_ERRORS, &families::BYTES_WRITTEN),
    ];
    for (counter, families, bytes) in directions {
        if let Some(counter) = counter {
            push_scsi_counter(device, counter, families, bytes, out);
        }
    }
}

/// The sense key of errors of the medium.
const MEDIUM_ERROR: u64 = 3;
/// What became of a block that still cannot be read.
const UNREPLACED: [&str; 3] = ["require write", "reassignment by disk failed", "unsuccessful"];

/// What the disk's own scan found, where it found anything.
fn push_scan(device: &str, scan: &ScsiBackgroundScan, out: &mut Batch) {
    let words = |text: Option<&String>| text.map_or_else(String::new, |it| it.to_ascii_lowercase());
    let state = words(scan.status.as_ref().and_then(|status| status.string.as_ref()));
    if state.contains("fatal") {
        out.push(&families::SCAN_HALTED, &[("device", device)], 1.0);
    }
    let unreadable = scan.results.0.iter().filter(|result| {
        let key = result.sense_key.as_ref().and_then(|key| key.value);
        let became = words(result.reassign_status.as_ref().and_then(|it| it.string.as_ref()));
        key == Some(MEDIUM_ERROR) && UNREPLACED.iter().any(|words| became.contains(words))
    });
    if !scan.results.0.is_empty() {
        let count = unreadable.count();
        out.push(&families::SCAN_UNREADABLE, &[("device", device)], count as f64);
    }
}

fn push_scsi_counter(
    device: &str,
    counter: &ScsiErrorCounter,
    families: &Corrected,
    bytes: &Family,
    out: &mut Batch,
) {
    let counts = [
        counter.errors_corrected_by_eccfast,
        counter.errors_corrected_by_eccdelayed,
        counter.errors_corrected_by_rereads_rewrites,
        counter.total_uncorrected_errors,
    ];
    for (family, count) in families.iter().zip(counts) {
        push_some(family, device, count, out);
    }
    let gigabytes =
        counter.gigabytes_processed.as_deref().and_then(|text| text.parse::<f64>().ok());
    if let Some(gigabytes) = gigabytes.filter(|gigabytes| gigabytes.is_finite()) {
        out.push(bytes, &[("device", device)], gigabytes * 1e9);
    }
}
