//! The samples of a disk: their names, each once for everybody who writes or reads them.
//!
//! Names that begin with `smartctl_` are those of `smartctl_exporter`, with its labels and units;
//! what it leaves out is ours, under `labstat_smart_`. All have a label `device`; who the device
//! is, [`DEVICE`] says.
//!
//! - [`name`] has the bare names under the same identifiers, for `match`.
//! - Not here: what the numbers mean for the disk ([`crate::judge()`]).

use labstat_model::Family;

/// Declares each family as a static, its name as a constant, and the list of all.
macro_rules! families {
    ($($(#[$meta:meta])* $kind:ident $ident:ident = $name:literal, $help:literal;)*) => {
        $($(#[$meta])* pub static $ident: Family = Family::$kind($name, $help);)*

        /// The names of the families.
        pub mod name {
            $(#[doc = concat!("`", $name, "`")] pub const $ident: &str = $name;)*
        }

        /// All families of this module, in the order of their declaration.
        pub fn all() -> impl Iterator<Item = &'static Family> {
            [$(&$ident),*].into_iter()
        }
    };
}

families! {
    /// Info: identity. `interface`, `protocol`, `model_family`, `model_name`, `serial_number`, …
    gauge DEVICE = "smartctl_device", "Device info.";
    /// The device's own overall verdict: 1 passed, 0 failed.
    gauge STATUS = "smartctl_device_smart_status", "General smart status.";
    /// smartctl's exit status, a mask.
    gauge EXIT_STATUS = "smartctl_device_smartctl_exit_status",
        "Exit status of smartctl on device.";
    /// SCT state.
    gauge SCT_STATE = "smartctl_device_state",
        "Device state (0=active, 1=standby, 2=sleep, 3=dst, 4=offline, 5=sct).";
    /// ATA attributes: `attribute_id`, `attribute_name`, `attribute_flags_long`,
    /// `attribute_value_type` = `value`, `worst`, `thresh` or `raw`.
    gauge ATTRIBUTE = "smartctl_device_attribute", "Device attributes.";
    /// Temperatures by `temperature_type`.
    gauge TEMPERATURE = "smartctl_device_temperature", "Device temperature celsius.";
    /// Time on.
    counter POWER_ON = "smartctl_device_power_on_seconds", "Device power on seconds.";
    /// Times switched on.
    counter POWER_CYCLES = "smartctl_device_power_cycle_count", "Device power cycle count.";
    /// Rotations a minute; absent for what has no spindle.
    gauge ROTATION = "smartctl_device_rotation_rate", "Device rotation rate.";
    /// Capacity.
    gauge CAPACITY = "smartctl_device_capacity_bytes", "Device capacity in bytes.";
    /// Capacity.
    gauge BLOCKS = "smartctl_device_capacity_blocks", "Device capacity in blocks.";
    /// Capacity of all namespaces of an NVMe controller.
    gauge NVME_CAPACITY = "smartctl_device_nvme_capacity_bytes",
        "NVMe device total capacity in bytes.";
    /// Bytes of a block by `blocks_type`.
    gauge BLOCK_SIZE = "smartctl_device_block_size", "Device block size.";
    /// Bits a second by `speed_type`.
    gauge SPEED = "smartctl_device_interface_speed", "Device interface speed, bits per second.";
    /// Bytes read by the host.
    counter BYTES_READ = "smartctl_device_bytes_read",
        "Bytes the host read in the device's life.";
    /// Bytes written by the host.
    counter BYTES_WRITTEN = "smartctl_device_bytes_written",
        "Bytes the host wrote in the device's life.";
    /// ATA errors in the device's life by `error_log_type`.
    gauge ERROR_LOG = "smartctl_device_error_log_count", "Device SMART error log count.";
    /// Self-tests in the log.
    gauge SELF_TEST_LOG = "smartctl_device_self_test_log_count",
        "Device SMART self test log count.";
    /// Failed self-tests in the log.
    gauge SELF_TEST_LOG_ERRORS = "smartctl_device_self_test_log_error_count",
        "Device SMART self test log error count.";
    /// NVMe: mask of warnings.
    counter CRITICAL_WARNING = "smartctl_device_critical_warning",
        "Mask of the controller's critical warnings.";
    /// NVMe: spare left, in percent.
    counter SPARE = "smartctl_device_available_spare",
        "Percentage of the spare capacity that is left.";
    /// NVMe: the spare below which the device warns, in percent.
    counter SPARE_THRESHOLD = "smartctl_device_available_spare_threshold",
        "Percentage of spare capacity below which the device warns.";
    /// NVMe: life used, in percent; goes beyond 100.
    counter PERCENTAGE_USED = "smartctl_device_percentage_used",
        "Percentage of the device's life that is used, as its maker reckons.";
    /// NVMe: errors of the data's integrity.
    counter MEDIA_ERRORS = "smartctl_device_media_errors",
        "Unrecovered errors of the data's integrity.";
    /// NVMe: entries of the error log, most of which tell of commands that were refused.
    counter ERROR_ENTRIES = "smartctl_device_num_err_log_entries",
        "Entries of the error log in the device's life.";
    /// SCSI: grown defects.
    gauge GROWN_DEFECTS = "smartctl_scsi_grown_defect_list",
        "Device SCSI grown defect list counter.";
    /// SCSI reads: uncorrected errors.
    gauge READ_UNCORRECTED = "smartctl_read_total_uncorrected_errors",
        "Read total uncorrected errors.";
    /// SCSI writes: uncorrected errors.
    gauge WRITE_UNCORRECTED = "smartctl_write_total_uncorrected_errors",
        "Write total uncorrected errors.";

    /// How the last attempt to read the disk ended: `state` and `reason`, always 1.
    gauge STATE = "labstat_smart_state",
        "How the last attempt to read the disk ended, and why; always 1.";
    /// Whether the last attempt gave anything.
    gauge READ_SUCCESS = "labstat_smart_read_success",
        "Whether the last attempt to read the disk gave its state; 0 also while it sleeps.";
    /// When the disk was last read.
    gauge LAST_SUCCESS = "labstat_smart_last_success_timestamp_seconds",
        "When the disk was last read, in unixtime.";
    /// Age of the values.
    gauge AGE = "labstat_smart_reading_age_seconds",
        "Age of the disk's values when the collector last ran.";
    /// Power mode by `mode`.
    gauge POWER_MODE = "labstat_smart_power_mode",
        "Power mode the disk is in, as far as it is known; always 1.";
    /// What the disk is made of: `kind` = `hdd` or `ssd`, always 1.
    gauge KIND = "labstat_smart_kind_info", "Whether the disk spins or is solid state; always 1.";
    /// Decoded numbers of ATA attributes: `attribute_id`, `attribute_name`, `part`.
    gauge DECODED = "labstat_smart_attribute",
        "Numbers packed into the raw value of an attribute, decoded as the vendor does.";
    /// Life used, from 0; 1 is what the maker reckons with, and it goes beyond.
    gauge WEAR = "labstat_smart_wear_ratio",
        "Part of the life of its flash that the disk has used, as its maker reckons.";
    /// Whether the newest conclusive self-test of each `type` passed.
    gauge SELF_TEST_PASSED = "labstat_smart_self_test_passed",
        "Whether the newest self-test of a type that came to an end passed.";
    /// Hours on when that test ended.
    gauge SELF_TEST_HOURS = "labstat_smart_self_test_power_on_hours",
        "Hours the disk had been on when that self-test ended.";
    /// How that test ended: `type` and `status`, always 1.
    gauge SELF_TEST_STATUS = "labstat_smart_self_test_status_info",
        "How that self-test ended; always 1.";
    /// Part of a running self-test that is done.
    gauge SELF_TEST_PROGRESS = "labstat_smart_self_test_progress_ratio",
        "Part of the running self-test that is done.";
    /// Failed self-tests in the log after which no test of at least their reach has passed.
    gauge SELF_TESTS_FAILED = "labstat_smart_self_tests_failed",
        "Failed self-tests that no later one of at least their reach has outdated.";
    /// NVMe: times it lost power without notice.
    counter UNSAFE_SHUTDOWNS = "labstat_smart_nvme_unsafe_shutdowns_total",
        "Times the disk lost power without notice.";
    /// NVMe: minutes over its warning temperature.
    counter WARNING_MINUTES = "labstat_smart_nvme_warning_temperature_minutes_total",
        "Minutes the disk was over its warning temperature.";
    /// NVMe: minutes over its critical temperature.
    counter CRITICAL_MINUTES = "labstat_smart_nvme_critical_temperature_minutes_total",
        "Minutes the disk was over its critical temperature.";
    /// NVMe: sensors by number.
    gauge SENSOR = "labstat_smart_nvme_sensor_temperature_celsius",
        "Temperature of one sensor of the disk.";
    /// The drive's own limits: `limit` = `warning`, `critical`, `trip` or `max`.
    gauge TEMPERATURE_LIMIT = "labstat_smart_temperature_limit_celsius",
        "Temperature that the disk itself takes as a limit.";
    /// SCSI: blocks of the background scan's log that could not be read and were not replaced.
    gauge SCAN_UNREADABLE = "labstat_smart_scsi_scan_unreadable_blocks",
        "Blocks that the disk's own scan could not read and that were not replaced since.";
    /// SCSI: whether the background scan ended with a fatal error.
    gauge SCAN_HALTED = "labstat_smart_scsi_scan_halted",
        "Whether a fatal error ended the disk's own scan.";
    /// SCSI: why the disk does not say that all is well, by `asc` and `ascq`; always 1.
    gauge SCSI_SENSE = "labstat_smart_scsi_status_info",
        "Additional sense code and qualifier of the health that a SCSI disk tells; always 1.";
    /// SCSI verifies: uncorrected errors.
    counter VERIFY_UNCORRECTED = "labstat_smart_scsi_verify_uncorrected_errors_total",
        "Errors that stayed while the disk verified.";
    /// SCSI: errors that are not of the medium.
    counter NON_MEDIUM = "labstat_smart_scsi_non_medium_errors_total",
        "Errors of a SCSI disk that are not of its medium.";
    /// SCSI: starts and stops of the spindle.
    counter START_STOPS = "labstat_smart_scsi_start_stop_cycles_total",
        "Times the spindle was started.";
    /// SCSI: loads and unloads of the heads.
    counter LOAD_UNLOADS = "labstat_smart_scsi_load_unload_cycles_total",
        "Times the heads were parked.";
    /// Sectors that the disk knows to be bad and could not replace yet, of its own log for them.
    gauge PENDING_DEFECTS = "labstat_smart_pending_defects",
        "Sectors the disk knows to be bad and could not replace yet.";
    /// ATA device statistics: reads that could not be corrected.
    counter STATISTIC_UNCORRECTABLE = "labstat_smart_reported_uncorrectable_errors_total",
        "Reads that could not be corrected, by the device statistics.";
    /// ATA device statistics: sectors that were replaced by spare ones.
    counter STATISTIC_REALLOCATED = "labstat_smart_reallocated_sectors_total",
        "Sectors that were replaced by spare ones, by the device statistics.";
    /// What stood in a report and was not understood, or cannot be relied on, by `part`; always 1.
    gauge NOT_UNDERSTOOD = "labstat_smart_not_understood",
        "A part of the report that could not be understood or relied on; always 1.";
    /// Hours on when the newest ATA error happened that is none of the link or of a wrong command.
    gauge ERROR_LOG_DAMAGE_HOURS = "labstat_smart_error_log_damage_power_on_hours",
        "Hours the disk had been on when it last logged an error of its own.";
    /// Hours on when the newest logged ATA error happened in which data could not be read.
    gauge ERROR_LOG_UNCORRECTABLE_HOURS =
        "labstat_smart_error_log_uncorrectable_power_on_hours",
        "Hours the disk had been on when it last logged that it could not read data.";
    /// Hours on when the newest logged ATA error happened.
    gauge ERROR_LOG_HOURS = "labstat_smart_error_log_last_power_on_hours",
        "Hours the disk had been on when its newest logged error happened.";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_is_given_once() {
        let names: Vec<&str> = all().map(|family| &*family.name).collect();
        let distinct: BTreeSet<&str> = names.iter().copied().collect();
        assert_eq!(names.len(), distinct.len());
        assert_eq!(name::DEVICE, "smartctl_device");
        for name in names {
            assert!(name.starts_with("smartctl_") || name.starts_with("labstat_smart_"), "{name}");
        }
    }
}
