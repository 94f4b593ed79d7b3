//! What a report says, in the schema of smartctl 7's own JSON.
//!
//! Every fact is optional, because every fact is missing in some report. Field names are the
//! keys of the JSON, but for `type`, which Rust keeps for itself (`kind` here).

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Serialize, Serializer};

pub use crate::loose::Places;
use crate::loose::{self, Loose};

/// Declares a struct of optional facts that reads itself loosely and leaves out what is absent.
macro_rules! facts {
    ($($(#[$meta:meta])* pub struct $name:ident {
        $($(#[$field_meta:meta])* pub $field:ident: $kind:ty,)*
        $(.. $(#[$rest_meta:meta])* pub $rest:ident: $rest_kind:ty,)?
    })*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub struct $name {$(
            $(#[$field_meta])*
            #[serde(default, deserialize_with = "loose::field", skip_serializing_if = "Option::is_none")]
            pub $field: Option<$kind>,
        )*$(
            $(#[$rest_meta])*
            #[serde(flatten)]
            pub $rest: $rest_kind,
        )?}

        impl Loose for $name {
            fn from_map<'de, A: MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
                loose::map(map)
            }
        }

        impl $name {
            /// Takes from `other` the facts that are absent here.
            pub fn fill(&mut self, other: Self) {
                $(if self.$field.is_none() {
                    self.$field = other.$field;
                })*
                $(if self.$rest == <$rest_kind>::default() {
                    self.$rest = other.$rest;
                })?
            }
        }
    )*};
}

facts! {
    /// One report of smartctl about one device, or its word why there is none.
    pub struct Report {
        /// Version of the JSON format, such as `[1, 0]`.
        pub json_format_version: Vec<u64>,
        /// The program itself and what it had to say.
        pub smartctl: Program,
        /// When the report was made.
        pub local_time: LocalTime,
        /// The device as it was opened.
        pub device: Device,
        /// What `smartctl --scan` found.
        pub devices: Vec<Device>,
        /// The family smartctl's drive database knows the model by.
        pub model_family: String,
        /// The model as the device names itself.
        pub model_name: String,
        /// SCSI vendor as JSON of version 7.0 and 7.1 had it.
        pub vendor: String,
        /// SCSI product as JSON of version 7.0 and 7.1 had it.
        pub product: String,
        /// SCSI revision as JSON of version 7.0 and 7.1 had it.
        pub revision: String,
        /// SCSI vendor.
        pub scsi_vendor: String,
        /// SCSI product.
        pub scsi_product: String,
        /// SCSI vendor and product.
        pub scsi_model_name: String,
        /// SCSI firmware revision.
        pub scsi_revision: String,
        /// SCSI standard, such as `SPC-4`.
        pub scsi_version: String,
        /// Serial number.
        pub serial_number: String,
        /// World wide name, in its three parts.
        pub wwn: Wwn,
        /// The logical unit's id, as SCSI devices print it.
        pub logical_unit_id: String,
        /// Firmware version.
        pub firmware_version: String,
        /// Additional product id of an ATA device.
        pub ata_additional_product_id: String,
        /// NVMe PCI vendor and subsystem.
        pub nvme_pci_vendor: NvmePciVendor,
        /// NVMe IEEE OUI, as a number.
        pub nvme_ieee_oui_identifier: u64,
        /// Bytes of all namespaces of an NVMe device together.
        pub nvme_total_capacity: u64,
        /// Bytes of an NVMe device that belong to no namespace.
        pub nvme_unallocated_capacity: u64,
        /// NVMe controller id.
        pub nvme_controller_id: u64,
        /// NVMe version.
        pub nvme_version: Text,
        /// Namespaces an NVMe device supports.
        pub nvme_number_of_namespaces: u64,
        /// The namespaces that were looked at.
        pub nvme_namespaces: Vec<NvmeNamespace>,
        /// Capacity as the user sees it.
        pub user_capacity: Capacity,
        /// Bytes of a logical block.
        pub logical_block_size: u64,
        /// Bytes of a physical block.
        pub physical_block_size: u64,
        /// Rotations a minute; 0 is a solid state device.
        pub rotation_rate: u64,
        /// Form factor.
        pub form_factor: Name,
        /// Whether the model is in smartctl's drive database.
        pub in_smartctl_database: bool,
        /// ATA version.
        pub ata_version: Text,
        /// SATA version.
        pub sata_version: Text,
        /// Speed of the link.
        pub interface_speed: InterfaceSpeed,
        /// SCSI transport.
        pub scsi_transport_protocol: Name,
        /// SCSI kind of device.
        pub device_type: Name,
        /// Whether SMART is there and on.
        pub smart_support: SmartSupport,
        /// The device's own verdict.
        pub smart_status: SmartStatus,
        /// State of the SCT status log.
        pub ata_sct_status: SctStatus,
        /// Whether the device is awake (`-n` was given).
        pub power_mode: PowerMode,
        /// Temperatures, in degrees Celsius.
        pub temperature: Temperature,
        /// Temperatures that versions 7.3 and 7.4 have apart for SCSI devices.
        pub scsi_temperature: Temperature,
        /// Time the device was on.
        pub power_on_time: PowerOnTime,
        /// Times the device was switched on.
        pub power_cycle_count: u64,
        /// ATA attributes.
        pub ata_smart_attributes: Attributes,
        /// ATA capabilities and the state of the last self-test.
        pub ata_smart_data: SmartData,
        /// ATA error logs.
        pub ata_smart_error_log: ErrorLogs,
        /// ATA self-test logs.
        pub ata_smart_self_test_log: SelfTestLogs,
        /// NVMe health log.
        pub nvme_smart_health_information_log: NvmeHealth,
        /// NVMe self-test log.
        pub nvme_self_test_log: NvmeSelfTestLog,
        /// The device's own limits of the composite temperature, in degrees Celsius.
        pub nvme_composite_temperature_threshold: TemperatureThreshold,
        /// NVMe error log.
        pub nvme_error_information_log: NvmeErrorLog,
        /// ATA device statistics.
        pub ata_device_statistics: DeviceStatistics,
        /// Sectors an ATA device knows to be bad and could not replace yet.
        pub ata_pending_defects_log: DefectCount,
        /// Part of its life a device has used up, of any protocol (from version 7.4 on).
        pub endurance_used: Percentage,
        /// Spare blocks a device has left, of any protocol (from version 7.4 on).
        pub spare_available: Percentage,
        /// Entries of the SCSI grown defect list.
        pub scsi_grown_defect_list: u64,
        /// Blocks a SCSI device knows to be bad and could not replace yet.
        pub scsi_pending_defects: DefectCount,
        /// Errors of a SCSI device that were not of the medium. smartctl's JSON has no such key.
        pub scsi_non_medium_error_count: u64,
        /// The running self-test of a SCSI device.
        pub scsi_self_test_status: ScsiSelfTestStatus,
        /// What a SCSI device found while it looked at all of its medium by itself.
        pub scsi_background_scan: ScsiBackgroundScan,
        /// SCSI error counters.
        pub scsi_error_counter_log: ScsiErrorCounters,
        /// SCSI start-stop counters.
        pub scsi_start_stop_cycle_counter: ScsiStartStop,
        /// Percentage of its life a SCSI solid state device has used up.
        pub scsi_percentage_used_endurance_indicator: u64,
        ..
        /// SCSI self-tests, newest first.
        pub scsi_self_tests: ScsiSelfTests,
    }

    /// The program that made the report.
    pub struct Program {
        /// Version, such as `[7, 4]`.
        pub version: Vec<u64>,
        /// Whether it is a version before its release.
        pub pre_release: bool,
        /// Revision of its source.
        pub svn_revision: String,
        /// System it was built for.
        pub platform_info: String,
        /// Who built it.
        pub build_info: String,
        /// Its arguments.
        pub argv: Vec<String>,
        /// What it had to say beside the report.
        pub messages: Vec<Message>,
        /// Its exit status: a mask of eight bits.
        pub exit_status: u64,
    }

    /// One thing smartctl said about its own work.
    pub struct Message {
        /// The words.
        pub string: String,
        /// `error`, `warning` or `information`.
        pub severity: String,
    }

    /// When a report was made.
    pub struct LocalTime {
        /// Seconds since 1970.
        pub time_t: i64,
        /// The time as printed.
        pub asctime: String,
    }

    /// A device as smartctl opened it.
    pub struct Device {
        /// Path.
        pub name: String,
        /// Path and how it was reached, such as `/dev/sda [SAT]`.
        pub info_name: String,
        /// smartctl's word for how it was reached: `sat`, `nvme`, `scsi`, `megaraid,1` …
        #[serde(rename = "type")]
        pub kind: String,
        /// `ATA`, `NVMe` or `SCSI`.
        pub protocol: String,
        /// Why a scanned device could not be opened.
        pub open_error: String,
    }

    /// A world wide name.
    pub struct Wwn {
        /// Naming authority.
        pub naa: u64,
        /// Vendor.
        pub oui: u64,
        /// The vendor's number.
        pub id: u64,
    }

    /// NVMe PCI ids.
    pub struct NvmePciVendor {
        /// Vendor.
        pub id: u64,
        /// Subsystem vendor.
        pub subsystem_id: u64,
    }

    /// One NVMe namespace.
    pub struct NvmeNamespace {
        /// Number, from 1.
        pub id: u64,
        /// Size.
        pub size: Capacity,
        /// Capacity.
        pub capacity: Capacity,
        /// Blocks in use.
        pub utilization: Capacity,
        /// Bytes of a block.
        pub formatted_lba_size: u64,
    }

    /// A number of blocks and the same in bytes.
    pub struct Capacity {
        /// Logical blocks.
        pub blocks: u64,
        /// Bytes.
        pub bytes: u64,
    }

    /// A thing with a name.
    pub struct Name {
        /// The name.
        pub name: String,
    }

    /// A thing with text and a number.
    pub struct Text {
        /// The text.
        pub string: String,
        /// The number.
        pub value: u64,
    }

    /// Speed of a link.
    pub struct InterfaceSpeed {
        /// What it can do.
        pub max: Speed,
        /// What it does.
        pub current: Speed,
    }

    /// One speed.
    pub struct Speed {
        /// Code in the SATA standard.
        pub sata_value: u64,
        /// Text, such as `6.0 Gb/s`.
        pub string: String,
        /// Units a second.
        pub units_per_second: u64,
        /// Bits of one unit.
        pub bits_per_unit: u64,
    }

    /// Whether SMART can be used.
    pub struct SmartSupport {
        /// The device has it.
        pub available: bool,
        /// It is on.
        pub enabled: bool,
    }

    /// The device's own verdict.
    pub struct SmartStatus {
        /// `false` is a device that expects to fail.
        pub passed: bool,
        /// Why a SCSI device does not say that all is well.
        pub scsi: ScsiStatus,
    }

    /// What a SCSI device says of its health: the additional sense code, its qualifier, and both
    /// in words.
    pub struct ScsiStatus {
        /// Additional sense code: 0x0b is a warning, 0x5d a failure that is predicted.
        pub asc: u64,
        /// Its qualifier.
        pub ascq: u64,
        /// The words.
        pub ie_string: String,
    }

    /// SCT status of an ATA device.
    pub struct SctStatus {
        /// What the device does.
        pub device_state: Text,
        /// What this log alone says of temperatures; the rest is in the report's own.
        pub temperature: Temperature,
    }

    /// Power mode.
    pub struct PowerMode {
        /// `ACTIVE`, `STANDBY`, `IDLE_A` …
        pub name: String,
        /// Code in the ATA standard.
        pub ata_value: u64,
        /// Code in the SCSI standard.
        pub scsi_value: u64,
    }

    /// Temperatures, in degrees Celsius.
    pub struct Temperature {
        /// Now.
        pub current: i64,
        /// The device reports a failure from here on.
        pub drive_trip: i64,
        /// Lowest since it was switched on.
        pub power_cycle_min: i64,
        /// Highest since it was switched on.
        pub power_cycle_max: i64,
        /// Lowest in its life.
        pub lifetime_min: i64,
        /// Highest in its life.
        pub lifetime_max: i64,
        /// Minutes over the limit in its life.
        pub lifetime_over_limit_minutes: i64,
        /// Minutes under the limit in its life.
        pub lifetime_under_limit_minutes: i64,
        /// Lowest that is recommended.
        pub op_limit_min: i64,
        /// Highest that is recommended.
        pub op_limit_max: i64,
        /// Lowest it may have.
        pub limit_min: i64,
        /// Highest it may have.
        pub limit_max: i64,
        /// The device reports a critical temperature from here on.
        pub critical_limit_max: i64,
        /// Times it was below the limit since it was switched on.
        pub under_limit_count: u64,
        /// Times it was above the limit since it was switched on.
        pub over_limit_count: u64,
    }

    /// Limits of the composite temperature of an NVMe device, in degrees Celsius.
    pub struct TemperatureThreshold {
        /// The device warns from here on.
        pub warning: i64,
        /// The device is in danger from here on.
        pub critical: i64,
    }

    /// A percentage and what it should not go below.
    pub struct Percentage {
        /// Now.
        pub current_percent: u64,
        /// The limit.
        pub threshold_percent: u64,
    }

    /// ATA device statistics.
    pub struct DeviceStatistics {
        /// The pages that were read.
        pub pages: Vec<StatisticsPage>,
    }

    /// One page of ATA device statistics.
    pub struct StatisticsPage {
        /// Number of the page.
        pub number: u64,
        /// Its name, such as `Solid State Device Statistics`.
        pub name: String,
        /// Revision of its layout.
        pub revision: u64,
        /// The statistics.
        pub table: Vec<Statistic>,
    }

    /// One ATA device statistic.
    pub struct Statistic {
        /// Where it stands in its page.
        pub offset: u64,
        /// Its name, such as `Percentage Used Endurance Indicator`.
        pub name: String,
        /// Bytes of the value.
        pub size: u64,
        /// The value; absent when the device says that it is not valid.
        pub value: i64,
        /// Flags.
        pub flags: StatisticFlags,
    }

    /// Flags of an ATA device statistic.
    pub struct StatisticFlags {
        /// The value can be used.
        pub valid: bool,
        /// The value is scaled to a range.
        pub normalized: bool,
    }

    /// How many defects a log counts.
    pub struct DefectCount {
        /// Defects.
        pub count: u64,
    }

    /// The running self-test of a SCSI device.
    pub struct ScsiSelfTestStatus {
        /// One runs.
        pub in_progress: bool,
        /// How much of it is done.
        pub completion_percent: u64,
    }

    /// Time a device was on.
    pub struct PowerOnTime {
        /// Whole hours.
        pub hours: u64,
        /// Minutes beyond the hours.
        pub minutes: u64,
    }

    /// The table of ATA attributes.
    pub struct Attributes {
        /// Revision of the structure.
        pub revision: u64,
        /// The rows.
        pub table: Vec<Attribute>,
    }

    /// One ATA attribute.
    pub struct Attribute {
        /// Number, 1 to 255.
        pub id: u64,
        /// Name from smartctl's drive database.
        pub name: String,
        /// Normalised value.
        pub value: u64,
        /// Lowest normalised value so far.
        pub worst: u64,
        /// At or below this the attribute has failed.
        pub thresh: u64,
        /// `""`, `now` or `past`.
        pub when_failed: String,
        /// Flags.
        pub flags: AttributeFlags,
        /// Raw value.
        pub raw: Raw,
    }

    /// Flags of an ATA attribute.
    pub struct AttributeFlags {
        /// All as a number.
        pub value: u64,
        /// All as letters, such as `PO--CK `.
        pub string: String,
        /// Its failing foretells that the device fails.
        pub prefailure: bool,
        /// Updated while the device works, too.
        pub updated_online: bool,
        /// About performance.
        pub performance: bool,
        /// An error rate.
        pub error_rate: bool,
        /// Counts events.
        pub event_count: bool,
        /// Kept over a power cycle by the device itself.
        pub auto_keep: bool,
    }

    /// Raw value of an ATA attribute.
    pub struct Raw {
        /// The number.
        pub value: u64,
        /// As smartctl prints it for this model.
        pub string: String,
    }

    /// General SMART values of an ATA device.
    pub struct SmartData {
        /// The last or running self-test.
        pub self_test: SelfTestState,
    }

    /// The last or running self-test of an ATA device.
    pub struct SelfTestState {
        /// How it went, or goes.
        pub status: SelfTestStatus,
    }

    /// ATA error logs.
    pub struct ErrorLogs {
        /// The extended comprehensive log.
        pub extended: LogCount,
        /// The summary log.
        pub summary: LogCount,
    }

    /// How much a log counts.
    pub struct LogCount {
        /// Errors in the device's life.
        pub count: u64,
        /// The newest errors, newest first.
        pub table: Vec<LoggedError>,
    }

    /// One logged error of an ATA device.
    pub struct LoggedError {
        /// Its number, counted from 1 over the device's life.
        pub error_number: u64,
        /// Hours the device had been on.
        pub lifetime_hours: u64,
        /// What happened, such as `Error: UNC at LBA = 0x00123456 = 1193046`.
        pub error_description: String,
    }

    /// ATA self-test logs.
    pub struct SelfTestLogs {
        /// The extended log.
        pub extended: SelfTestLog,
        /// The log of before.
        pub standard: SelfTestLog,
    }

    /// One ATA self-test log.
    pub struct SelfTestLog {
        /// Self-tests in the log.
        pub count: u64,
        /// Self-tests in the log that found an error.
        pub error_count_total: u64,
        /// Those of them that a later good one has outdated.
        pub error_count_outdated: u64,
        /// The self-tests, newest first.
        pub table: Vec<SelfTest>,
    }

    /// One ATA self-test.
    pub struct SelfTest {
        /// What was tested.
        #[serde(rename = "type")]
        pub kind: Text,
        /// How it went.
        pub status: SelfTestStatus,
        /// Hours the device had been on.
        pub lifetime_hours: u64,
        /// First block that could not be read.
        pub lba: u64,
    }

    /// How a self-test went.
    pub struct SelfTestStatus {
        /// Code in the ATA standard.
        pub value: u64,
        /// As text.
        pub string: String,
        /// Without error.
        pub passed: bool,
        /// Percent still to do.
        pub remaining_percent: u64,
    }

    /// NVMe health log.
    pub struct NvmeHealth {
        /// Mask of warnings; 0 is none.
        pub critical_warning: u64,
        /// Composite temperature, in degrees Celsius.
        pub temperature: i64,
        /// Spare blocks left, in percent.
        pub available_spare: u64,
        /// The device warns below this, in percent.
        pub available_spare_threshold: u64,
        /// Percentage of its life used up; can go beyond 100.
        pub percentage_used: u64,
        /// Units of 512,000 bytes read.
        pub data_units_read: u64,
        /// Units of 512,000 bytes written.
        pub data_units_written: u64,
        /// Read commands.
        pub host_reads: u64,
        /// Write commands.
        pub host_writes: u64,
        /// Minutes the controller was busy.
        pub controller_busy_time: u64,
        /// Times switched on.
        pub power_cycles: u64,
        /// Hours on.
        pub power_on_hours: u64,
        /// Times switched off without notice.
        pub unsafe_shutdowns: u64,
        /// Errors of the medium.
        pub media_errors: u64,
        /// Entries of the error log in the device's life.
        pub num_err_log_entries: u64,
        /// Minutes over the warning temperature.
        pub warning_temp_time: u64,
        /// Minutes over the critical temperature.
        pub critical_comp_time: u64,
        /// Sensor N stands at place N-1, in degrees Celsius.
        pub temperature_sensors: Places<i64>,
    }

    /// NVMe self-test log.
    pub struct NvmeSelfTestLog {
        /// What runs now.
        pub current_self_test_operation: Text,
        /// How much of it is done.
        pub current_self_test_completion_percent: u64,
        /// The self-tests, newest first.
        pub table: Vec<NvmeSelfTest>,
    }

    /// One NVMe self-test.
    pub struct NvmeSelfTest {
        /// What was tested.
        pub self_test_code: Text,
        /// How it went.
        pub self_test_result: Text,
        /// Hours the device had been on.
        pub power_on_hours: u64,
    }

    /// NVMe error log.
    pub struct NvmeErrorLog {
        /// Entries the device can hold.
        pub size: u64,
        /// Entries read.
        pub read: u64,
        /// Entries not read.
        pub unread: u64,
    }

    /// Background scan of a SCSI device.
    pub struct ScsiBackgroundScan {
        /// How far it is.
        pub status: ScsiScanStatus,
        ..
        /// Blocks that gave trouble.
        pub results: ScsiScanResults,
    }

    /// State of a background scan.
    pub struct ScsiScanStatus {
        /// Code in the SCSI standard.
        pub value: u64,
        /// As text.
        pub string: String,
        /// Scans that were made.
        pub number_scans_performed: u64,
    }

    /// One block that gave trouble in a background scan.
    pub struct ScsiScanResult {
        /// Address of the block.
        pub lba: u64,
        /// Kind of the trouble: 1 was recovered, 3 is an error of the medium.
        pub sense_key: Text,
        /// Additional sense code.
        pub asc: u64,
        /// Its qualifier.
        pub ascq: u64,
        /// Whether the block was replaced, or waits for that.
        pub reassign_status: Text,
    }

    /// SCSI error counters.
    pub struct ScsiErrorCounters {
        /// While reading.
        pub read: ScsiErrorCounter,
        /// While writing.
        pub write: ScsiErrorCounter,
        /// While verifying.
        pub verify: ScsiErrorCounter,
    }

    /// One row of SCSI error counters.
    pub struct ScsiErrorCounter {
        /// Corrected without delay.
        pub errors_corrected_by_eccfast: u64,
        /// Corrected with delay.
        pub errors_corrected_by_eccdelayed: u64,
        /// Corrected by reading or writing again.
        pub errors_corrected_by_rereads_rewrites: u64,
        /// Corrected in all.
        pub total_errors_corrected: u64,
        /// Times the correction was called.
        pub correction_algorithm_invocations: u64,
        /// Gigabytes (10^9 bytes), as text with three decimals.
        pub gigabytes_processed: String,
        /// Errors that stayed.
        pub total_uncorrected_errors: u64,
    }

    /// SCSI start-stop counters.
    pub struct ScsiStartStop {
        /// Year of manufacture.
        pub year_of_manufacture: String,
        /// Week of manufacture.
        pub week_of_manufacture: String,
        /// Start-stop cycles the device is made for.
        pub specified_cycle_count_over_device_lifetime: u64,
        /// Start-stop cycles so far.
        pub accumulated_start_stop_cycles: u64,
        /// Load-unload cycles the device is made for.
        pub specified_load_unload_count_over_device_lifetime: u64,
        /// Load-unload cycles so far.
        pub accumulated_load_unload_cycles: u64,
    }

    /// One SCSI self-test.
    pub struct ScsiSelfTest {
        /// What was tested.
        pub code: Text,
        /// How it went.
        pub result: Text,
        /// How long the device had been on.
        pub power_on_time: PowerOnTime,
    }
}

/// SCSI self-tests, newest first. In JSON they stand beside each other as `scsi_self_test_0`,
/// `scsi_self_test_1` and so on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScsiSelfTests(pub Vec<ScsiSelfTest>);

/// What the names of SCSI self-tests begin with in JSON.
const SCSI_SELF_TEST: &str = "scsi_self_test_";

/// Self-tests in the log of a SCSI device: the standard has room for 20.
pub(super) const SCSI_SELF_TESTS_MAX: usize = 20;

impl Serialize for ScsiSelfTests {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let tests = self.0.iter().enumerate();
        to.collect_map(tests.map(|(n, test)| (format!("{SCSI_SELF_TEST}{n}"), test)))
    }
}

impl<'de> Deserialize<'de> for ScsiSelfTests {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let numbered =
            Numbered { before: SCSI_SELF_TEST, max: SCSI_SELF_TESTS_MAX, kind: PhantomData };
        from.deserialize_map(numbered).map(Self)
    }
}

/// Results of a SCSI background scan. In JSON they stand beside each other as `result_1`,
/// `result_2` and so on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScsiScanResults(pub Vec<ScsiScanResult>);

/// What the names of results of a background scan begin with in JSON.
const SCSI_SCAN_RESULT: &str = "result_";

/// Results of a background scan: the standard has room for 2048.
pub(super) const SCSI_SCAN_RESULTS_MAX: usize = 2048;

impl Serialize for ScsiScanResults {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let results = self.0.iter().enumerate();
        to.collect_map(results.map(|(n, it)| (format!("{SCSI_SCAN_RESULT}{}", n + 1), it)))
    }
}

impl<'de> Deserialize<'de> for ScsiScanResults {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let max = SCSI_SCAN_RESULTS_MAX + 1;
        let numbered = Numbered { before: SCSI_SCAN_RESULT, max, kind: PhantomData };
        from.deserialize_map(numbered).map(Self)
    }
}

/// Reads the values of keys that differ in a number at their end, by that number.
struct Numbered<T> {
    /// What stands before the number.
    before: &'static str,
    /// The number is less than this.
    max: usize,
    kind: PhantomData<T>,
}

impl<'de, T: Loose> Visitor<'de> for Numbered<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = BTreeMap::new();
        while let Some(key) = map.next_key::<String>()? {
            let number = key.strip_prefix(self.before).and_then(|n| n.parse::<usize>().ok());
            match number.filter(|&number| number < self.max) {
                Some(number) => {
                    if let loose::Element(Some(value)) = map.next_value()? {
                        found.insert(number, value);
                    }
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found.into_values().collect())
    }
}
