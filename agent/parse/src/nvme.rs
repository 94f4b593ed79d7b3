//! What an NVMe controller says of itself, from the bytes of its own pages (NVM Express base
//! specification 2.0, 5.16.1.2 and 5.17.2.1), as the report smartctl makes of them.
//!
//! All numbers are little-endian; temperatures are in kelvin; texts are ASCII, padded with spaces.
//! A page may be longer than it was when its version was young: what is beyond is not read.

use crate::ParseError;
use crate::smartctl::{
    Capacity, Device, NvmeHealth, NvmePciVendor, NvmeSelfTest, NvmeSelfTestLog, Places,
    PowerOnTime, Report, SmartStatus, SmartSupport, Temperature, TemperatureThreshold, Text,
};

/// Bytes of the data structure that identifies a controller.
pub const IDENTITY_LEN: usize = 4096;

/// Bytes of the health log.
pub const HEALTH_LEN: usize = 512;

/// Bytes of the self-test log.
pub const SELF_TESTS_LEN: usize = 564;

/// Bytes of one self-test in its log, and where the first stands.
const SELF_TEST_LEN: usize = 28;
const SELF_TESTS_AT: usize = 4;

/// The bit of the optional commands that says that there are self-tests.
const SELF_TESTS_BIT: u16 = 1 << 4;

/// The result of a place in the self-test log that was never used.
const UNUSED: u8 = 0xf;

const KELVIN: i64 = 273;

/// The pages of one controller.
#[derive(Debug, Clone, Copy)]
pub struct Pages<'a> {
    /// Identify, controller.
    pub identity: &'a [u8],
    /// Log page 2.
    pub health: &'a [u8],
    /// Log page 6, of a controller that has it.
    pub self_tests: Option<&'a [u8]>,
}

/// Bytes and block size of a controller's only namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Namespace {
    /// Its size.
    pub size_bytes: u64,
    /// Bytes of a logical block.
    pub block_bytes: u64,
}

/// Whether the controller has self-tests, and so log page 6.
pub fn has_self_tests(identity: &[u8]) -> bool {
    Page(identity).u16(256).is_some_and(|optional| optional & SELF_TESTS_BIT != 0)
}

/// What the pages of the controller at `path` say. Its namespace is only told of where it has no
/// more than one.
pub fn report(
    path: &str,
    pages: Pages<'_>,
    namespace: Option<Namespace>,
) -> Result<Report, ParseError> {
    let short = |what: &'static str, missing: &'static str, len: usize, page: &[u8]| {
        if page.len() < len { Err(ParseError::Missing { what, missing }) } else { Ok(()) }
    };
    short("an NVMe identity", "4096 bytes", IDENTITY_LEN, pages.identity)?;
    short("an NVMe health log", "512 bytes", HEALTH_LEN, pages.health)?;
    let identity = Page(pages.identity);
    let mut report = identify(path, identity);
    if identity.u32(516) == Some(1)
        && let Some(namespace) = namespace
    {
        report.user_capacity = Some(Capacity {
            blocks: namespace.size_bytes.checked_div(namespace.block_bytes),
            bytes: Some(namespace.size_bytes),
        });
        report.logical_block_size = Some(namespace.block_bytes);
    }
    let (warning, critical) = (identity.celsius(266), identity.celsius(268));
    let health = health(Page(pages.health), warning.is_some(), critical.is_some());
    report.smart_support = Some(SmartSupport { available: Some(true), enabled: Some(true) });
    report.smart_status = Some(SmartStatus {
        passed: health.critical_warning.map(|warnings| warnings == 0),
        scsi: None,
    });
    report.temperature = Some(Temperature {
        current: health.temperature,
        op_limit_max: warning,
        critical_limit_max: critical,
        ..Temperature::default()
    });
    report.nvme_composite_temperature_threshold = (warning.is_some() || critical.is_some())
        .then_some(TemperatureThreshold { warning, critical });
    report.power_cycle_count = health.power_cycles;
    report.power_on_time =
        Some(PowerOnTime { hours: health.power_on_hours, ..PowerOnTime::default() });
    report.nvme_smart_health_information_log = Some(health);
    if let Some(page) = pages.self_tests.filter(|page| page.len() >= SELF_TESTS_LEN) {
        report.nvme_self_test_log = Some(self_tests(page));
    }
    Ok(report)
}

fn identify(path: &str, page: Page<'_>) -> Report {
    let text = |from, to| Some(page.text(from, to)).filter(|text| !text.is_empty());
    let path = Some(path.to_owned());
    Report {
        smartctl: Some(crate::smartctl::Program::default()),
        device: Some(Device {
            name: path.clone(),
            info_name: path,
            kind: Some("nvme".to_owned()),
            protocol: Some("NVMe".to_owned()),
            ..Device::default()
        }),
        serial_number: text(4, 24),
        model_name: text(24, 64),
        firmware_version: text(64, 72),
        nvme_pci_vendor: Some(NvmePciVendor {
            id: page.u16(0).map(u64::from),
            subsystem_id: page.u16(2).map(u64::from),
        }),
        nvme_ieee_oui_identifier: page.number(73, 3),
        nvme_controller_id: page.u16(78).map(u64::from),
        nvme_version: page.u32(80).map(version),
        // A controller without namespace management says 0, which is no capacity.
        nvme_total_capacity: page.number(280, 16).filter(|bytes| *bytes > 0),
        nvme_unallocated_capacity: page
            .number(296, 16)
            .filter(|_| page.number(280, 16).is_some_and(|bytes| bytes > 0)),
        nvme_number_of_namespaces: page.u32(516).map(u64::from),
        ..Report::default()
    }
}

/// Versions before 1.2 had no number in the controller's identity.
fn version(number: u32) -> Text {
    let (major, minor, third) = (number >> 16, (number >> 8) & 0xff, number & 0xff);
    let string = match (number, third) {
        (0, _) => "<1.2".to_owned(),
        (_, 0) => format!("{major}.{minor}"),
        _ => format!("{major}.{minor}.{third}"),
    };
    Text { string: Some(string), value: Some(number.into()) }
}

fn health(page: Page<'_>, has_warning: bool, has_critical: bool) -> NvmeHealth {
    let byte = |at: usize| page.number(at, 1);
    let large = |at: usize| page.number(at, 16);
    let sensors: Vec<Option<i64>> = (0..8).map(|n| page.celsius(200 + 2 * n)).collect();
    let used = sensors.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    NvmeHealth {
        critical_warning: byte(0),
        temperature: page.celsius(1),
        available_spare: byte(3),
        available_spare_threshold: byte(4),
        percentage_used: byte(5),
        data_units_read: large(32),
        data_units_written: large(48),
        host_reads: large(64),
        host_writes: large(80),
        controller_busy_time: large(96),
        power_cycles: large(112),
        power_on_hours: large(128),
        unsafe_shutdowns: large(144),
        media_errors: large(160),
        num_err_log_entries: large(176),
        // Without a threshold nothing is counted.
        warning_temp_time: page.u32(192).filter(|_| has_warning).map(u64::from),
        critical_comp_time: page.u32(196).filter(|_| has_critical).map(u64::from),
        temperature_sensors: (used > 0).then(|| Places(sensors.into_iter().take(used).collect())),
    }
}

fn self_tests(page: &[u8]) -> NvmeSelfTestLog {
    let current = Page(page).number(0, 1).unwrap_or_default() & 0xf;
    let running = current != 0;
    let name = match current {
        0 => "No self-test in progress",
        1 => "Short self-test in progress",
        2 => "Extended self-test in progress",
        _ => "Vendor specific self-test in progress",
    };
    let tests = page.get(SELF_TESTS_AT..SELF_TESTS_LEN).unwrap_or_default();
    let table: Vec<NvmeSelfTest> = tests.chunks(SELF_TEST_LEN).filter_map(self_test).collect();
    NvmeSelfTestLog {
        current_self_test_operation: Some(named(current, name)),
        current_self_test_completion_percent: Page(page)
            .number(1, 1)
            .map(|percent| percent & 0x7f)
            .filter(|_| running),
        table: (!table.is_empty()).then_some(table),
    }
}

fn self_test(entry: &[u8]) -> Option<NvmeSelfTest> {
    let status = *entry.first()?;
    let (code, result) = (status >> 4, status & 0xf);
    if result == UNUSED {
        return None;
    }
    let kind = match code {
        1 => "Short",
        2 => "Extended",
        0xe => "Vendor specific",
        _ => "Unknown",
    };
    let outcome = match result {
        0 => "Completed without error",
        1 => "Aborted: Self-test command",
        2 => "Aborted: Controller Reset",
        3 => "Aborted: Namespace removed",
        4 => "Aborted: Format NVM command",
        5 => "Fatal or unknown test error",
        6 => "Completed: unknown failed segment",
        7 => "Completed: failed segments",
        8 => "Aborted: unknown reason",
        9 => "Aborted: sanitize operation",
        _ => "Unknown result",
    };
    Some(NvmeSelfTest {
        self_test_code: Some(named(code.into(), kind)),
        self_test_result: Some(named(result.into(), outcome)),
        power_on_hours: Page(entry).number(4, 8),
    })
}

fn named(value: u64, string: &str) -> Text {
    Text { string: Some(string.to_owned()), value: Some(value) }
}

/// Bytes with numbers in them. What lies beyond the end is absent.
#[derive(Debug, Clone, Copy)]
struct Page<'a>(&'a [u8]);

impl Page<'_> {
    /// A number of `len` bytes; absent when it is larger than 64 bits hold.
    fn number(self, at: usize, len: usize) -> Option<u64> {
        let bytes = self.0.get(at..at.checked_add(len)?)?;
        let (low, high) = bytes.split_at_checked(8).unwrap_or((bytes, &[]));
        let fits = high.iter().all(|byte| *byte == 0);
        fits.then(|| low.iter().rev().fold(0, |number, byte| (number << 8) | u64::from(*byte)))
    }

    fn u16(self, at: usize) -> Option<u16> {
        self.number(at, 2).and_then(|number| u16::try_from(number).ok())
    }

    fn u32(self, at: usize) -> Option<u32> {
        self.number(at, 4).and_then(|number| u32::try_from(number).ok())
    }

    /// A temperature; 0 kelvin is none.
    fn celsius(self, at: usize) -> Option<i64> {
        let kelvin = self.u16(at).filter(|kelvin| *kelvin > 0)?;
        Some(i64::from(kelvin) - KELVIN)
    }

    fn text(self, from: usize, to: usize) -> String {
        let bytes = self.0.get(from..to).unwrap_or_default();
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(page: &mut [u8], at: usize, bytes: &[u8]) {
        page[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn identity() -> Vec<u8> {
        let mut page = vec![0; IDENTITY_LEN];
        put(&mut page, 0, &[0x4d, 0x14, 0x4e, 0x14]);
        put(&mut page, 4, b"S6B0NL0T615860K     ");
        put(&mut page, 24, b"Samsung SSD 980 1TB                     ");
        put(&mut page, 64, b"3B4QFXO7");
        put(&mut page, 73, &[0x38, 0x25, 0x00]);
        put(&mut page, 78, &[5, 0]);
        put(&mut page, 80, &[0x00, 0x04, 0x01, 0x00]);
        put(&mut page, 256, &[0x17, 0x00]);
        put(&mut page, 266, &(273_u16 + 82).to_le_bytes());
        put(&mut page, 268, &(273_u16 + 85).to_le_bytes());
        put(&mut page, 280, &1_000_204_886_016_u128.to_le_bytes());
        put(&mut page, 516, &[1, 0, 0, 0]);
        page
    }

    fn health_page() -> Vec<u8> {
        let mut page = vec![0; HEALTH_LEN];
        put(&mut page, 0, &[0, 0x36, 0x01, 100, 10, 3]);
        let counters: [u128; 10] = [11, 12, 13, 14, 15, 16, 17, 18, 19, u128::from(u64::MAX)];
        for (n, counter) in counters.iter().enumerate() {
            put(&mut page, 32 + 16 * n, &counter.to_le_bytes());
        }
        put(&mut page, 192, &[7, 0, 0, 0, 8, 0, 0, 0]);
        put(&mut page, 200, &(273_u16 + 37).to_le_bytes());
        put(&mut page, 204, &(273_u16 - 5).to_le_bytes());
        page
    }

    fn read(identity: &[u8], health: &[u8], self_tests: Option<&[u8]>) -> Report {
        let namespace = Namespace { size_bytes: 1_000_204_886_016, block_bytes: 512 };
        report("/dev/nvme0", Pages { identity, health, self_tests }, Some(namespace)).unwrap()
    }

    #[test]
    fn pages_say_what_the_specification_says_they_do() {
        let report = read(&identity(), &health_page(), None);
        assert_eq!(report.model_name.as_deref(), Some("Samsung SSD 980 1TB"));
        assert_eq!(report.serial_number.as_deref(), Some("S6B0NL0T615860K"));
        assert_eq!(report.firmware_version.as_deref(), Some("3B4QFXO7"));
        let vendor = report.nvme_pci_vendor.unwrap();
        assert_eq!((vendor.id, vendor.subsystem_id), (Some(0x144d), Some(0x144e)));
        assert_eq!(report.nvme_ieee_oui_identifier, Some(0x2538));
        assert_eq!(report.nvme_version.unwrap().string.as_deref(), Some("1.4"));
        assert_eq!(report.nvme_total_capacity, Some(1_000_204_886_016));
        assert_eq!(report.user_capacity.unwrap().blocks, Some(1_953_525_168));
        assert_eq!(report.smart_status.unwrap().passed, Some(true));
        let temperature = report.temperature.unwrap();
        assert_eq!(temperature.current, Some(37));
        assert_eq!(
            (temperature.op_limit_max, temperature.critical_limit_max),
            (Some(82), Some(85))
        );
        let health = report.nvme_smart_health_information_log.unwrap();
        let counters = [
            health.data_units_read,
            health.data_units_written,
            health.host_reads,
            health.host_writes,
            health.controller_busy_time,
            health.power_cycles,
            health.power_on_hours,
            health.unsafe_shutdowns,
            health.media_errors,
        ];
        assert_eq!(counters, [11, 12, 13, 14, 15, 16, 17, 18, 19].map(Some));
        assert_eq!(health.num_err_log_entries, Some(u64::MAX));
        assert_eq!((health.available_spare, health.percentage_used), (Some(100), Some(3)));
        assert_eq!((health.warning_temp_time, health.critical_comp_time), (Some(7), Some(8)));
        assert_eq!(health.temperature_sensors.unwrap().0, [Some(37), None, Some(-5)]);
        assert_eq!(report.nvme_self_test_log, None);
    }

    #[test]
    fn what_the_controller_does_not_say_is_absent() {
        let mut identity = identity();
        put(&mut identity, 266, &[0; 4]);
        put(&mut identity, 280, &[0; 32]);
        put(&mut identity, 516, &[32, 0, 0, 0]);
        let mut health = health_page();
        put(&mut health, 0, &[4, 0, 0]);
        put(&mut health, 112, &[0xff; 16]);
        put(&mut health, 200, &[0; 16]);
        let report = read(&identity, &health, None);
        assert_eq!(report.nvme_total_capacity, None);
        assert_eq!(report.user_capacity, None, "of several namespaces none stands for all");
        assert_eq!(report.power_cycle_count, None, "more than can be");
        assert_eq!(report.smart_status.unwrap().passed, Some(false));
        assert_eq!(report.nvme_composite_temperature_threshold, None);
        let temperature = report.temperature.unwrap();
        assert_eq!(temperature, Temperature::default(), "0 kelvin is no temperature");
        let health = report.nvme_smart_health_information_log.unwrap();
        assert_eq!((health.warning_temp_time, health.critical_comp_time), (None, None));
        assert_eq!(health.temperature_sensors, None);
    }

    #[test]
    fn self_tests_newest_first_and_only_those_that_were() {
        let mut page = vec![0; SELF_TESTS_LEN];
        put(&mut page, 0, &[2, 40]);
        for n in 0..20 {
            put(&mut page, SELF_TESTS_AT + n * SELF_TEST_LEN, &[0x0f]);
        }
        put(&mut page, SELF_TESTS_AT, &[0x17, 3, 0, 0, 0x39, 0x30]);
        put(&mut page, SELF_TESTS_AT + SELF_TEST_LEN, &[0x20, 0, 0, 0, 0x10, 0x27]);
        assert!(has_self_tests(&identity()));
        let log = read(&identity(), &health_page(), Some(&page)).nvme_self_test_log.unwrap();
        assert_eq!(log.current_self_test_completion_percent, Some(40));
        let table = log.table.unwrap();
        let told: Vec<_> = table
            .iter()
            .map(|test| {
                let text = |text: &Option<Text>| text.clone().unwrap().string.unwrap();
                (text(&test.self_test_code), text(&test.self_test_result), test.power_on_hours)
            })
            .collect();
        let wanted = [
            ("Short".to_owned(), "Completed: failed segments".to_owned(), Some(12_345)),
            ("Extended".to_owned(), "Completed without error".to_owned(), Some(10_000)),
        ];
        assert_eq!(told, wanted);
    }

    #[test]
    fn pages_that_are_cut_are_refused_and_noise_is_survived() {
        let pages = |identity, health| Pages { identity, health, self_tests: None };
        let (identity, health) = (identity(), health_page());
        for (short, good) in [(&identity[..100], &health[..]), (&identity[..], &health[..511])] {
            assert!(report("/dev/nvme0", pages(short, good), None).is_err());
        }
        let noise = vec![0xff; IDENTITY_LEN];
        let report = report("/dev/nvme0", pages(&noise, &noise), None).unwrap();
        assert!(serde_json::to_string(&report).is_ok());
    }
}
