//! Facts that follow from others.

use nom::Parser;
use nom::character::complete::{char, space0};
use nom::combinator::opt;
use nom::sequence::{delimited, terminated};

use super::facts::{CELSIUS, set};
use super::number::{self, plain, signed};
use crate::smartctl::{Attribute, PowerOnTime, Report};

/// Beginnings of lines that only devices of one protocol have.
const PROTOCOLS: [(&str, &str); 34] = [
    ("Device Model:", "ATA"),
    ("Model Family:", "ATA"),
    ("LU WWN Device Id:", "ATA"),
    ("ATA Version is:", "ATA"),
    ("ATA Standard is:", "ATA"),
    ("SATA Version is:", "ATA"),
    ("SMART Attributes Data Structure", "ATA"),
    ("General SMART Values", "ATA"),
    ("SMART Error Log Version", "ATA"),
    ("SMART Extended ", "ATA"),
    ("SMART Self-test log structure", "ATA"),
    ("SCT Status Version", "ATA"),
    ("ATA Error Count:", "ATA"),
    ("Device Error Count:", "ATA"),
    ("Device Statistics (", "ATA"),
    ("Pending Defects log (", "ATA"),
    ("SATA Phy Event Counters", "ATA"),
    ("Model Number:", "NVMe"),
    ("PCI Vendor", "NVMe"),
    ("NVMe Version:", "NVMe"),
    ("=== START OF SMART DATA SECTION", "NVMe"),
    ("SMART/Health Information (NVMe", "NVMe"),
    ("Error Information (NVMe", "NVMe"),
    ("Self-test Log (NVMe", "NVMe"),
    ("Critical Warning:", "NVMe"),
    ("Vendor:", "SCSI"),
    ("Product:", "SCSI"),
    ("Revision:", "SCSI"),
    ("Device: ", "SCSI"),
    ("Logical Unit id:", "SCSI"),
    ("Transport protocol:", "SCSI"),
    ("SMART Health Status:", "SCSI"),
    ("Current Drive Temperature:", "SCSI"),
    ("Elements in grown defect list:", "SCSI"),
];

/// The protocol of a device that prints `line`, if that alone tells.
pub(super) fn protocol_of_line(line: &str) -> Option<&'static str> {
    PROTOCOLS.iter().find(|(begin, _)| line.starts_with(begin)).map(|&(_, protocol)| protocol)
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
    if let Some(limits) = &report.nvme_composite_temperature_threshold {
        let temperature = report.temperature.get_or_insert_default();
        set(&mut temperature.op_limit_max, limits.warning);
        set(&mut temperature.critical_limit_max, limits.critical);
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

/// The protocol of a device of which no line alone told it.
pub(super) fn protocol(report: &Report) -> Option<&'static str> {
    // The line with the device's own verdict is that of ATA devices and of NVMe devices, but no
    // report of the latter is without a line that is theirs alone.
    let ata = report.ata_smart_attributes.is_some() || report.smart_status.is_some();
    ata.then_some("ATA")
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
    let cycles = first(12, "Power_Cycle_Count").and_then(raw_text).and_then(number::leading);
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
    let (rest, degrees) = signed(raw_text(row)?).ok()?;
    let ended = rest.is_empty() || rest.starts_with([' ', '(']);
    (ended && CELSIUS.contains(&degrees)).then_some(degrees)
}

/// `14159`, `322 (142 219 0)`, `17086h+44m`, `32293h+50m+44s`, `16415h+51m+54.761s`
fn powered_on(row: &Attribute) -> Option<PowerOnTime> {
    let raw = raw_text(row)?;
    let minutes = opt(delimited((space0, char('+')), plain, char('m')));
    if let Ok((_, (hours, minutes))) = (terminated(plain, char('h')), minutes).parse(raw) {
        return Some(PowerOnTime { hours: Some(hours), minutes });
    }
    number::leading(raw).map(|hours| PowerOnTime { hours: Some(hours), minutes: None })
}
