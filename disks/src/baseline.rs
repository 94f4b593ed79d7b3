//! What a reading is compared with: an earlier reading, or numbers that somebody acknowledged.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::attributes::Meaning;
use crate::reading::{Failing, Identity, Reading};

/// The numbers of one disk that somebody has seen and found acceptable, or those of an earlier
/// reading. Made by [`Reading::baseline`]; kept as JSON, one for each serial number.
///
/// Unknown keys are passed over and missing ones are empty, so that a baseline outlives versions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Baseline {
    /// Whose they are.
    pub identity: Identity,
    /// Its size.
    pub capacity_bytes: Option<u64>,
    /// Hours the disk had been on.
    pub power_on_hours: Option<u64>,
    /// Counters by their key: `attribute_5`, `media_errors`, `grown_defects`, …
    pub counters: BTreeMap<String, u64>,
    /// Whether the disk's own verdict was a failure.
    pub failed: bool,
    /// Attributes that were at or below their threshold.
    pub failing: Vec<u8>,
    /// Attributes that had been at or below their threshold once.
    pub failed_past: Vec<u8>,
    /// The bits of an NVMe disk's critical warnings.
    pub critical_warning: u64,
    /// Spare that was left, in percent.
    pub available_spare: Option<u64>,
    /// Part of its life that was used.
    pub wear_ratio: Option<f64>,
    /// Failed self-tests by type, each with the hours the disk had been on.
    pub self_tests: BTreeMap<String, Option<u64>>,
}

impl Reading {
    /// The numbers to acknowledge, so that from now on only what goes beyond them counts.
    pub fn baseline(&self) -> Baseline {
        let failing = |wanted| {
            let here = self.attributes.iter().filter(move |it| it.failing() == wanted);
            here.map(|it| it.id).collect()
        };
        let failed = self.self_tests.iter().filter(|test| !test.passed);
        Baseline {
            identity: self.identity.clone(),
            capacity_bytes: self.capacity_bytes,
            power_on_hours: self.power_on_hours,
            counters: counters(self),
            failed: self.passed == Some(false),
            failing: failing(Failing::Now),
            failed_past: failing(Failing::Past),
            critical_warning: self.nvme.critical_warning.unwrap_or_default(),
            available_spare: self.nvme.available_spare,
            wear_ratio: self.wear_ratio,
            self_tests: failed.map(|test| (test.kind.clone(), test.hours)).collect(),
        }
    }
}

/// Key of an attribute's counter.
pub(crate) fn attribute_key(id: u8) -> String {
    format!("attribute_{id}")
}

/// The count that an attribute with this meaning is judged by.
pub(crate) fn attribute_count(
    attribute: &crate::reading::Attribute,
    meaning: Meaning,
) -> Option<u64> {
    match meaning {
        // What counts is what is gone.
        Meaning::Helium => {
            let left = attribute.part("percent").filter(|left| *left > 0.0)?;
            crate::reading::whole(100.0 - left)
        }
        _ => attribute.count(),
    }
}

fn counters(reading: &Reading) -> BTreeMap<String, u64> {
    let attributes = reading.known_attributes().filter_map(|(attribute, row)| {
        let count = attribute_count(attribute, row.meaning)?;
        Some((attribute_key(attribute.id), count))
    });
    let plain = [
        ("media_errors", reading.nvme.media_errors),
        ("error_log_entries", reading.nvme.error_log_entries),
        ("grown_defects", reading.scsi.grown_defects),
        ("read_uncorrected", reading.scsi.read_uncorrected),
        ("write_uncorrected", reading.scsi.write_uncorrected),
        ("verify_uncorrected", reading.scsi.verify_uncorrected),
        ("scan_unreadable", reading.scsi.scan_unreadable),
        ("error_log_count", reading.error_log_count),
        ("error_log_uncorrectable_hours", reading.error_log_uncorrectable_hours),
        ("error_log_damage_hours", reading.error_log_damage_hours),
        ("reallocated_statistic", reading.reallocated_sectors),
        ("pending_defects", reading.pending_defects),
        ("reported_uncorrectable", reading.reported_uncorrectable),
    ];
    let plain = plain.into_iter().filter_map(|(key, count)| Some((key.to_owned(), count?)));
    attributes.chain(plain).collect()
}

/// What a reading is compared with.
#[derive(Debug, Clone, Copy)]
pub enum Before<'a> {
    /// An earlier reading of the disk: what has grown since counts more than what has not.
    Earlier(&'a Reading),
    /// The numbers of an earlier reading: as [`Before::Earlier`], for whoever keeps no readings.
    Seen(&'a Baseline),
    /// Numbers that somebody acknowledged: only what goes beyond them counts.
    Acknowledged(&'a Baseline),
}

impl<'a> From<&'a Reading> for Before<'a> {
    fn from(reading: &'a Reading) -> Self {
        Self::Earlier(reading)
    }
}

impl<'a> From<&'a Baseline> for Before<'a> {
    fn from(baseline: &'a Baseline) -> Self {
        Self::Acknowledged(baseline)
    }
}

/// Why two readings are not of one disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DifferentDisks {
    /// The serial numbers differ.
    #[error("the serial numbers differ: {now} and, earlier, {before}")]
    Serial {
        /// That of the reading.
        now: String,
        /// That of the earlier one.
        before: String,
    },
    /// The models differ.
    #[error("the models differ: {now} and, earlier, {before}")]
    Model {
        /// That of the reading.
        now: String,
        /// That of the earlier one.
        before: String,
    },
    /// The sizes differ.
    #[error("the sizes differ: {now} bytes and, earlier, {before} bytes")]
    Capacity {
        /// That of the reading.
        now: u64,
        /// That of the earlier one.
        before: u64,
    },
    /// Without serial numbers, a disk that has been on for less time than earlier is another one.
    #[error(
        "no serial number tells whether it is one disk, and it has been on for {now} h, \
         earlier for {before} h"
    )]
    Hours {
        /// Those of the reading.
        now: u64,
        /// Those of the earlier one.
        before: u64,
    },
    /// One of the two does not say which disk it is of.
    #[error("one of the reports does not say which disk it is of")]
    Nameless,
}

/// Whether a reading says which disk it is of.
pub(crate) fn is_named(reading: &Reading) -> bool {
    let identity = &reading.identity;
    [identity.serial(), identity.model.as_deref()]
        .into_iter()
        .flatten()
        .any(|it| named(it).is_some())
}

/// Whether the baseline is of the disk that was read now.
///
/// Serial numbers decide where both have one; where they were blanked, model and size must agree
/// and the hours must not go back.
pub(crate) fn same_disk(now: &Reading, before: &Baseline) -> Result<(), DifferentDisks> {
    let serials = (now.identity.serial(), before.identity.serial());
    let models = (now.identity.model.as_deref(), before.identity.model.as_deref());
    let serials = (serials.0.and_then(named), serials.1.and_then(named));
    let models = (models.0.and_then(named), models.1.and_then(named));
    if let (Some(now), Some(before)) = (&serials.0, &serials.1)
        // A bridge leaves out what is no letter and no digit.
        && now.plain.replace(' ', "") != before.plain.replace(' ', "")
    {
        let (now, before) = (now.text.to_owned(), before.text.to_owned());
        return Err(DifferentDisks::Serial { now, before });
    }
    if let (Some(now), Some(before)) = (&models.0, &models.1)
        // A bridge puts words before or behind the model.
        && !now.plain.contains(&before.plain)
        && !before.plain.contains(&now.plain)
    {
        let (now, before) = (now.text.to_owned(), before.text.to_owned());
        return Err(DifferentDisks::Model { now, before });
    }
    if serials.0.is_some() && serials.1.is_some() {
        return Ok(());
    }
    let (Some(_), Some(_)) = models else { return Err(DifferentDisks::Nameless) };
    if let (Some(now), Some(before)) = (now.capacity_bytes, before.capacity_bytes)
        && now != before
    {
        return Err(DifferentDisks::Capacity { now, before });
    }
    if let (Some(now), Some(before)) = (now.power_on_hours, before.power_on_hours)
        && now < before
    {
        return Err(DifferentDisks::Hours { now, before });
    }
    Ok(())
}

/// A name as it was said, and as it is compared.
struct Named<'a> {
    text: &'a str,
    plain: String,
}

/// Nothing when there is no letter or digit in it.
fn named(text: &str) -> Option<Named<'_>> {
    let plain = plain(text);
    (!plain.is_empty()).then_some(Named { text, plain })
}

/// Upper-case letters and digits, with single spaces for all between them.
fn plain(text: &str) -> String {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ").to_ascii_uppercase()
}
