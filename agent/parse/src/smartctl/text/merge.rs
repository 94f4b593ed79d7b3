//! Several reports in one text: those of one disk are one report, a second disk is named.

use super::messages;
use crate::smartctl::{
    Attribute, Device, ErrorLogs, Report, SctStatus, SelfTestLogs, SmartData, SmartSupport,
    Temperature,
};

/// The reports of a text, as far as they are of one disk.
#[derive(Debug, Default)]
pub(super) struct Reports {
    report: Report,
    /// What was not read, in a message.
    unread: Option<String>,
}

impl Reports {
    /// Takes the next report of the text. `false` when it is of another disk: what follows it may
    /// be of that one.
    pub(super) fn add(&mut self, next: Report) -> bool {
        let first = &mut self.report;
        if *first == Report::default() {
            *first = next;
        } else if !has_facts(&next) {
            // A second way to a disk that was read already, and did not work.
            if !has_facts(first) {
                append_messages(first, next);
            }
        } else if !has_facts(first) {
            // The first try did not work, or found the disk asleep.
            *first = next;
        } else if is_same(first, &next) {
            fill(first, next);
        } else if has_health(first) || !has_health(&next) {
            self.unread = Some(unread(first, &next));
            return false;
        } else {
            let before = std::mem::replace(first, next);
            self.unread = Some(unread(first, &before));
        }
        true
    }

    /// What all of them say.
    pub(super) fn finish(mut self) -> Report {
        if let Some(message) = self.unread {
            messages::push(&mut self.report, &message, messages::WARNING);
        }
        messages::explain(&mut self.report);
        self.report
    }
}

/// Whether a report says anything of a disk, but that it sleeps.
fn has_facts(report: &Report) -> bool {
    has_identity(report) || has_health(report) || report.devices.is_some()
}

fn has_identity(report: &Report) -> bool {
    report.model_name.is_some()
        || report.serial_number.is_some()
        || report.scsi_vendor.is_some()
        || report.model_family.is_some()
        || report.firmware_version.is_some()
        || report.user_capacity.is_some()
        || report.wwn.is_some()
        || report.logical_unit_id.is_some()
        || report.ata_additional_product_id.is_some()
        || report.nvme_pci_vendor.is_some()
}

/// Whether a report says anything that a disk without SMART cannot say.
fn has_health(report: &Report) -> bool {
    report.smart_status.is_some()
        || report.ata_smart_attributes.is_some()
        || report.ata_smart_data.is_some()
        || report.ata_smart_error_log.is_some()
        || report.ata_smart_self_test_log.is_some()
        || report.ata_device_statistics.is_some()
        || report.ata_pending_defects_log.is_some()
        || report.nvme_smart_health_information_log.is_some()
        || report.nvme_self_test_log.is_some()
        || report.scsi_grown_defect_list.is_some()
        || report.scsi_error_counter_log.is_some()
        || report.scsi_background_scan.is_some()
        || report.scsi_percentage_used_endurance_indicator.is_some()
        || !report.scsi_self_tests.0.is_empty()
        || report.temperature.is_some()
}

/// Whether two reports can be of one disk: it is named the same in both, or it is not named in
/// one of them and nothing is told twice and otherwise.
fn is_same(first: &Report, next: &Report) -> bool {
    let serial = |report: &Report| report.serial_number.as_deref().map(letters);
    match (serial(first), serial(next)) {
        (Some(one), Some(other)) => return one == other,
        // What names a disk and not its number was cut, or is of a controller.
        (Some(_), None) if has_identity(next) => return false,
        (None, Some(_)) if has_identity(first) => return false,
        _ => {}
    }
    let protocol = |report: &Report| report.device.as_ref().and_then(|it| it.protocol.clone());
    agree(&first.model_name, &next.model_name)
        && agree(&first.firmware_version, &next.firmware_version)
        && agree(&first.user_capacity, &next.user_capacity)
        && agree(&protocol(first), &protocol(next))
        && agree(&first.smart_status, &next.smart_status)
        && (is_part(rows(first), rows(next)) || is_part(rows(next), rows(first)))
        && agree(&first.ata_smart_self_test_log, &next.ata_smart_self_test_log)
        && agree(&first.ata_smart_error_log, &next.ata_smart_error_log)
        && agree(&first.power_on_time, &next.power_on_time)
        && agree(&first.power_cycle_count, &next.power_cycle_count)
        && agree(&first.nvme_smart_health_information_log, &next.nvme_smart_health_information_log)
        && agree(&first.nvme_self_test_log, &next.nvme_self_test_log)
        && agree(&first.scsi_grown_defect_list, &next.scsi_grown_defect_list)
        && agree(&first.scsi_error_counter_log, &next.scsi_error_counter_log)
        && agree(&first.scsi_background_scan, &next.scsi_background_scan)
        && (first.scsi_self_tests.0.is_empty()
            || next.scsi_self_tests.0.is_empty()
            || first.scsi_self_tests == next.scsi_self_tests)
}

fn rows(report: &Report) -> &[Attribute] {
    let table = report.ata_smart_attributes.as_ref().and_then(|it| it.table.as_deref());
    table.unwrap_or_default()
}

/// Whether all rows of a table are in another one: `-H` prints those that have failed.
fn is_part(part: &[Attribute], whole: &[Attribute]) -> bool {
    part.len() <= whole.len() && part.iter().all(|row| whole.contains(row))
}

fn agree<T: PartialEq>(first: &Option<T>, next: &Option<T>) -> bool {
    first.is_none() || next.is_none() || first == next
}

/// A serial number without what programs put into it or leave out.
fn letters(serial: &str) -> String {
    let letters = serial.chars().filter(|it| !it.is_whitespace() && *it != '-' && *it != '_');
    letters.map(|it| it.to_ascii_uppercase()).collect()
}

/// Takes from the next report of a disk what the first did not say.
fn fill(first: &mut Report, mut next: Report) {
    fn both<T>(first: &mut Option<T>, next: &mut Option<T>, fill: fn(&mut T, T)) {
        if let Some(first) = first
            && let Some(next) = next.take()
        {
            fill(first, next);
        }
    }
    append_messages(first, Report { smartctl: next.smartctl.take(), ..Report::default() });
    // A report that names a model is surer of what it is.
    if first.model_name.is_none() && next.model_name.is_some() && next.device.is_some() {
        first.device = next.device.take();
    }
    both(&mut first.device, &mut next.device, Device::fill);
    both(&mut first.smart_support, &mut next.smart_support, SmartSupport::fill);
    both(&mut first.temperature, &mut next.temperature, Temperature::fill);
    both(&mut first.ata_smart_data, &mut next.ata_smart_data, SmartData::fill);
    both(&mut first.ata_sct_status, &mut next.ata_sct_status, SctStatus::fill);
    both(&mut first.ata_smart_error_log, &mut next.ata_smart_error_log, ErrorLogs::fill);
    both(&mut first.ata_smart_self_test_log, &mut next.ata_smart_self_test_log, SelfTestLogs::fill);
    if is_part(rows(first), rows(&next)) && !rows(&next).is_empty() {
        first.ata_smart_attributes = next.ata_smart_attributes.take();
    }
    first.fill(next);
}

fn append_messages(first: &mut Report, next: Report) {
    for message in next.smartctl.and_then(|it| it.messages).unwrap_or_default() {
        let (string, severity) = (message.string.as_deref(), message.severity.as_deref());
        messages::push(first, string.unwrap_or_default(), severity.unwrap_or_default());
    }
}

/// What to say of a report that was not read beside the one that was. Where one of them has no
/// name it may be of the same disk after all, and then nothing good follows from the other.
fn unread(read: &Report, other: &Report) -> String {
    if !has_identity(read) || !has_identity(other) {
        return "labstat: not understood: a second report in this input says something else, of \
                the same disk or of another"
            .to_owned();
    }
    let names = [&other.model_name, &other.serial_number].into_iter().flatten();
    let name = names.map(String::as_str).collect::<Vec<_>>().join(" ");
    let message = format!("labstat: a second disk in this input was not read: {name}");
    message.trim_end_matches([' ', ':']).to_owned()
}
