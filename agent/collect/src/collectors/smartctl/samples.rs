//! Samples of one report, under the names of `smartctl_exporter`.

use std::collections::HashSet;

use labstat_model::{Batch, Family};
use labstat_parse::smartctl::{
    Attribute, AttributeFlags, NvmeHealth, Report, ScsiErrorCounter, Temperature,
};

use super::Reading;

static VERSION: Family = Family::gauge("smartctl_version", "smartctl version.");
static DEVICE: Family = Family::gauge("smartctl_device", "Device info.");
static STATUS: Family = Family::gauge("smartctl_device_smart_status", "General smart status.");
static EXIT_STATUS: Family =
    Family::gauge("smartctl_device_smartctl_exit_status", "Exit status of smartctl on device.");
static STATE: Family = Family::gauge(
    "smartctl_device_state",
    "Device state (0=active, 1=standby, 2=sleep, 3=dst, 4=offline, 5=sct).",
);
static ATTRIBUTE: Family = Family::gauge("smartctl_device_attribute", "Device attributes.");
static TEMPERATURE: Family =
    Family::gauge("smartctl_device_temperature", "Device temperature celsius.");
static POWER_ON: Family =
    Family::counter("smartctl_device_power_on_seconds", "Device power on seconds.");
static POWER_CYCLES: Family =
    Family::counter("smartctl_device_power_cycle_count", "Device power cycle count.");
static ROTATION: Family = Family::gauge("smartctl_device_rotation_rate", "Device rotation rate.");
static BYTES: Family = Family::gauge("smartctl_device_capacity_bytes", "Device capacity in bytes.");
static BLOCKS: Family =
    Family::gauge("smartctl_device_capacity_blocks", "Device capacity in blocks.");
static NVME_BYTES: Family =
    Family::gauge("smartctl_device_nvme_capacity_bytes", "NVMe device total capacity in bytes.");
static BLOCK_SIZE: Family = Family::gauge("smartctl_device_block_size", "Device block size.");
static SPEED: Family =
    Family::gauge("smartctl_device_interface_speed", "Device interface speed, bits per second.");
static BYTES_READ: Family =
    Family::counter("smartctl_device_bytes_read", "Bytes the host read in the device's life.");
static BYTES_WRITTEN: Family =
    Family::counter("smartctl_device_bytes_written", "Bytes the host wrote in the device's life.");
static ERROR_LOG: Family =
    Family::gauge("smartctl_device_error_log_count", "Device SMART error log count.");
static SELF_TESTS: Family =
    Family::gauge("smartctl_device_self_test_log_count", "Device SMART self test log count.");
static SELF_TEST_ERRORS: Family = Family::gauge(
    "smartctl_device_self_test_log_error_count",
    "Device SMART self test log error count.",
);

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

/// All that the report says of the disk.
pub(super) fn push(device: &str, reading: &Reading, out: &mut Batch) {
    let report = &reading.report;
    push_identity(device, report, out);
    let label = [("device", device)];
    push_some(&EXIT_STATUS, device, reading.exit_status, out);
    if let Some(passed) = report.smart_status.as_ref().and_then(|status| status.passed) {
        out.push(&STATUS, &label, f64::from(u8::from(passed)));
    }
    let state = report.ata_sct_status.as_ref().and_then(|status| status.device_state.as_ref());
    push_some(&STATE, device, state.and_then(|state| state.value), out);
    push_capacity(device, report, out);
    if let Some(temperature) = &report.temperature {
        push_temperature(device, temperature, out);
    }
    if let Some(time) = &report.power_on_time
        && let Some(hours) = time.hours
    {
        let seconds = hours as f64 * 3600.0 + time.minutes.unwrap_or_default() as f64 * 60.0;
        out.push(&POWER_ON, &label, seconds);
    }
    push_some(&POWER_CYCLES, device, report.power_cycle_count, out);
    push_attributes(device, report, out);
    push_logs(device, report, out);
    if let Some(health) = &report.nvme_smart_health_information_log {
        push_nvme(device, health, out);
    }
    push_scsi(device, report, out);
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
    out.push(&DEVICE, &labels, 1.0);
}

fn push_capacity(device: &str, report: &Report, out: &mut Batch) {
    if let Some(capacity) = &report.user_capacity {
        push_some(&BLOCKS, device, capacity.blocks, out);
        push_some(&BYTES, device, capacity.bytes, out);
    }
    push_some(&NVME_BYTES, device, report.nvme_total_capacity, out);
    let sizes = [("logical", report.logical_block_size), ("physical", report.physical_block_size)];
    for (kind, size) in sizes {
        if let Some(size) = size {
            out.push(&BLOCK_SIZE, &[("blocks_type", kind), ("device", device)], size as f64);
        }
    }
    // A disk without a spindle says 0.
    push_some(&ROTATION, device, report.rotation_rate.filter(|rate| *rate > 0), out);
    if let Some(speed) = &report.interface_speed {
        for (kind, speed) in [("current", &speed.current), ("max", &speed.max)] {
            if let Some(speed) = speed
                && let (Some(units), Some(bits)) = (speed.units_per_second, speed.bits_per_unit)
            {
                let labels = [("device", device), ("speed_type", kind)];
                out.push(&SPEED, &labels, units as f64 * bits as f64);
            }
        }
    }
}

fn push_temperature(device: &str, temperature: &Temperature, out: &mut Batch) {
    // SCSI disks that have no sensor, and no limit, say 0 for both. What is as cold as an unset
    // byte (-128) or as absolute zero is an NVMe or ATA sensor that does not answer.
    let known = |celsius: Option<i64>| celsius.filter(|celsius| *celsius != 0 && *celsius > -128);
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
            out.push(&TEMPERATURE, &labels, celsius as f64);
        }
    }
}

/// Some firmware has a row twice; the first counts.
fn push_attributes(device: &str, report: &Report, out: &mut Batch) {
    let mut seen = HashSet::new();
    for attribute in report.ata_smart_attributes.iter().flat_map(|all| all.table.iter().flatten()) {
        if seen.insert((attribute.id, &attribute.name)) {
            push_attribute(device, attribute, out);
        }
    }
}

fn push_attribute(device: &str, attribute: &Attribute, out: &mut Batch) {
    let Some(id) = attribute.id else { return };
    let id = id.to_string();
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
            ("attribute_name", text(&attribute.name)),
            ("attribute_value_type", kind),
            ("device", device),
        ];
        out.push(&ATTRIBUTE, &labels, value as f64);
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
                out.push(&ERROR_LOG, &labels, count as f64);
            }
        }
    }
    if let Some(log) = &report.ata_smart_self_test_log {
        for (kind, log) in [("extended", &log.extended), ("standard", &log.standard)] {
            let Some(log) = log else { continue };
            let labels = [("device", device), ("self_test_log_type", kind)];
            if let Some(count) = log.count {
                out.push(&SELF_TESTS, &labels, count as f64);
            }
            if let Some(count) = log.error_count_total {
                out.push(&SELF_TEST_ERRORS, &labels, count as f64);
            }
        }
    }
}

static CRITICAL: Family = Family::counter(
    "smartctl_device_critical_warning",
    "Mask of the controller's critical warnings.",
);
static SPARE: Family = Family::counter(
    "smartctl_device_available_spare",
    "Percentage of the spare capacity that is left.",
);
static SPARE_LOW: Family = Family::counter(
    "smartctl_device_available_spare_threshold",
    "Percentage of spare capacity below which the device warns.",
);
static USED: Family = Family::counter(
    "smartctl_device_percentage_used",
    "Percentage of the device's life that is used, as its maker reckons.",
);
static MEDIA: Family =
    Family::counter("smartctl_device_media_errors", "Unrecovered errors of the data's integrity.");
static ERRORS: Family = Family::counter(
    "smartctl_device_num_err_log_entries",
    "Entries of the error log in the device's life.",
);

fn push_nvme(device: &str, health: &NvmeHealth, out: &mut Batch) {
    let values = [
        (&CRITICAL, health.critical_warning),
        (&SPARE, health.available_spare),
        (&SPARE_LOW, health.available_spare_threshold),
        (&USED, health.percentage_used),
        (&MEDIA, health.media_errors),
        (&ERRORS, health.num_err_log_entries),
    ];
    for (family, value) in values {
        push_some(family, device, value, out);
    }
    let units =
        [(&BYTES_READ, health.data_units_read), (&BYTES_WRITTEN, health.data_units_written)];
    for (family, units) in units {
        if let Some(units) = units.filter(|units| *units > 0) {
            out.push(family, &[("device", device)], units as f64 * DATA_UNIT);
        }
    }
}

static DEFECTS: Family =
    Family::gauge("smartctl_scsi_grown_defect_list", "Device SCSI grown defect list counter.");

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

fn push_scsi(device: &str, report: &Report, out: &mut Batch) {
    push_some(&DEFECTS, device, report.scsi_grown_defect_list, out);
    let Some(log) = &report.scsi_error_counter_log else { return };
    let directions =
        [(&log.read, &READ_ERRORS, &BYTES_READ), (&log.write, &WRITE_ERRORS, &BYTES_WRITTEN)];
    for (counter, families, bytes) in directions {
        if let Some(counter) = counter {
            push_scsi_counter(device, counter, families, bytes, out);
        }
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
