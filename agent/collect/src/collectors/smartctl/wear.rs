//! Part of its life that a disk has used, by its maker's reckoning.

use labstat_disks::decode::Packed;
use labstat_disks::{Attribute, attributes, parts, wear_told};
use labstat_parse::smartctl::{self, Report};

use super::samples;

/// Highest percentage of life used that a standard knows; some ATA disks have it for "unknown".
const PERCENT_MAX: u64 = 255;
/// The name of the ATA device statistic for it.
const STATISTIC: &str = "Percentage Used Endurance Indicator";

/// The ratio, from 0; 1 is what the maker reckons with, and it goes beyond.
pub(super) fn ratio(report: &Report) -> Option<f64> {
    let told = percent_told(report).filter(|percent| *percent <= PERCENT_MAX);
    told.map(|percent| percent as f64 / 100.0).or_else(|| by_attributes(report))
}

/// What the disk says in the words of a standard.
fn percent_told(report: &Report) -> Option<u64> {
    let nvme = report.nvme_smart_health_information_log.as_ref();
    let statistics = report.ata_device_statistics.iter().flat_map(|it| it.pages.iter().flatten());
    let mut statistics = statistics.flat_map(|page| page.table.iter().flatten());
    let statistic = statistics.find(|it| {
        let valid = it.flags.as_ref().and_then(|flags| flags.valid) != Some(false);
        valid && it.name.as_deref() == Some(STATISTIC)
    });
    nvme.and_then(|health| health.percentage_used)
        .or(report.scsi_percentage_used_endurance_indicator)
        .or_else(|| {
            let value = statistic?.value.and_then(|value| u64::try_from(value).ok());
            value.filter(|value| *value < PERCENT_MAX)
        })
        .or_else(|| {
            let used = report.endurance_used.as_ref()?.current_percent;
            used.filter(|used| *used < PERCENT_MAX)
        })
}

/// What attributes say, the worse where two do.
fn by_attributes(report: &Report) -> Option<f64> {
    let about = samples::about(report);
    let rows = report.ata_smart_attributes.iter().flat_map(|all| all.table.iter().flatten());
    let ratios = rows.filter_map(|row| {
        let attribute = attribute(row)?;
        let wear = attributes::find(attribute.id, &attribute.name, about)?.wear?;
        let raw = row.raw.as_ref();
        let packed = Packed {
            text: raw.and_then(|raw| raw.string.as_deref()),
            raw: raw.and_then(|raw| raw.value),
            value: attribute.value,
        };
        let decoded = parts(attribute.id, &attribute.name, packed, about);
        let parts = decoded.into_iter().map(|(part, number)| (part.to_owned(), number)).collect();
        wear_told(&Attribute { parts, ..attribute }, wear)
    });
    ratios.reduce(f64::max)
}

fn attribute(row: &smartctl::Attribute) -> Option<Attribute> {
    Some(Attribute {
        id: u8::try_from(row.id?).ok()?,
        name: row.name.clone().unwrap_or_default(),
        value: row.value.and_then(|value| u8::try_from(value).ok()),
        raw: row.raw.as_ref().and_then(|raw| raw.value),
        ..Attribute::default()
    })
}
