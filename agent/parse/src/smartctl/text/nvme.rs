//! What only NVMe devices say: who they are, their health log, their self-tests.

use nom::Parser;
use nom::bytes::complete::tag;
use nom::sequence::terminated;

use super::facts::{celsius, hexadecimal, measured, percent, set, texted};
use super::number::{self, plain};
use crate::smartctl::{NvmePciVendor, Places, Report, Text};

/// Sensors of an NVMe device: the standard has eight.
const SENSORS_MAX: u64 = 8;

/// What only NVMe devices say of themselves.
pub(super) fn identity(report: &mut Report, key: &str, value: &str) -> bool {
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
        "Total NVM Capacity" => set(&mut report.nvme_total_capacity, measured(value)),
        "Unallocated NVM Capacity" => set(&mut report.nvme_unallocated_capacity, measured(value)),
        "Warning Comp. Temp. Threshold" => {
            let limits = report.nvme_composite_temperature_threshold.get_or_insert_default();
            set(&mut limits.warning, celsius(value));
        }
        "Critical Comp. Temp. Threshold" => {
            let limits = report.nvme_composite_temperature_threshold.get_or_insert_default();
            set(&mut limits.critical, celsius(value));
        }
        "Self-test status" => running_test(report, value),
        _ => return false,
    }
    true
}

/// The health log of an NVMe device.
pub(super) fn health(report: &mut Report, key: &str, value: &str) -> bool {
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
        _ => match counter(report, key) {
            Some(place) => (place, number::whole(value)),
            None => return false,
        },
    };
    set(place, value);
    true
}

/// The place of a plain counter of the NVMe health log.
fn counter<'a>(report: &'a mut Report, key: &str) -> Option<&'a mut Option<u64>> {
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

/// `Short self-test in progress (23% completed)`
fn running_test(report: &mut Report, value: &str) {
    let log = report.nvme_self_test_log.get_or_insert_default();
    let (operation, completed) = match value.split_once(" (").filter(|(_, it)| it.ends_with("ed)"))
    {
        Some((operation, rest)) => (operation, terminated(plain, tag("% completed")).parse(rest)),
        None => (value, plain("")),
    };
    let text = Text { string: Some(operation.to_owned()), value: None };
    set(&mut log.current_self_test_operation, Some(text));
    set(&mut log.current_self_test_completion_percent, completed.ok().map(|(_, done)| done));
}
